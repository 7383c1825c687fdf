#include "tests/sim/sim_group_log.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_logs.h"
#include "tests/sim/sim_probe.h"

#define DIR "/data/" SIM_GROUP_TOPIC "-0"
#define RECORD_BYTES_MAX (1 << 20)

struct sim_group_log {
    struct sim_cluster *cluster;
    struct sim_checks *checks;
    struct sim_group_offsets *offsets;
    struct sim_log logs[SIM_CLUSTER_NODES_MAX];
    int64_t next[SIM_CLUSTER_NODES_MAX]; /* read up to here */
};

struct sim_group_log *sim_group_log_new(struct sim_cluster *cluster, struct sim_checks *checks,
                                        struct sim_group_offsets *offsets)
{
    struct sim_group_log *l = kb_new(struct sim_group_log);
    l->cluster = cluster;
    l->checks = checks;
    l->offsets = offsets;
    return l;
}

struct sim_group_log *sim_group_log_free(struct sim_group_log *l)
{
    if (l == NULL)
        return NULL;
    for (uint32_t i = 0; i < SIM_CLUSTER_NODES_MAX; i++)
        sim_log_release(&l->logs[i]);
    free(l);
    return NULL;
}

typedef void record_fn(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                       struct kb_view key, struct kb_view value);

/* The records of a batch from l->next[node] on. */
static void read_batch(struct sim_group_log *l, uint32_t node, const struct sim_log_batch *at,
                       record_fn *fn)
{
    struct kb_view bytes = sim_log_bytes(at, sim_host_disk(sim_cluster_host(l->cluster, node)), DIR,
                                         false);
    struct kw_batch b;
    struct kw_records *it = NULL;
    struct kw_record r;
    if (kw_batch_parse(bytes.data, bytes.size, &b) != KW_BATCH_WHOLE ||
        kw_batch_is(&b, KW_BATCH_CONTROL) || kw_records_open(&b, RECORD_BYTES_MAX, &it) < 0)
        return;
    while (kw_records_next(it, &r) == 1) {
        if (r.offset >= l->next[node])
            fn(l->offsets, node, r.offset, kw_bytes_view(r.key), kw_bytes_view(r.value));
    }
    (void)kw_records_close(it);
}

static void read_up_to(struct sim_group_log *l, uint32_t node, int64_t end, record_fn *fn)
{
    struct sim_log *log = &l->logs[node];
    sim_log_refresh(log, sim_host_disk(sim_cluster_host(l->cluster, node)), DIR, false);
    size_t i = log->count;
    while (i > 0 && log->batches[i - 1].last >= l->next[node])
        i--;
    for (; i < log->count && log->batches[i].last < end; i++) {
        read_batch(l, node, &log->batches[i], fn);
        l->next[node] = log->batches[i].last + 1;
    }
}

void sim_group_log_read(struct sim_group_log *l)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(l->cluster); i++) {
        const struct node *n = sim_cluster_node(l->cluster, i);
        if (n == NULL || sim_env_is_down(sim_cluster_env(l->cluster, i)))
            continue;
        int64_t end = sim_probe_high_watermark(n, SIM_GROUP_TOPIC, 0);
        if (end > l->next[i])
            read_up_to(l, i, end, sim_group_offsets_record);
    }
}

void sim_group_log_final(struct sim_group_log *l)
{
    int64_t end = -1; /* of the first node that holds a copy */
    uint32_t copies = 0;
    sim_group_log_read(l);
    for (uint32_t i = 0; i < sim_cluster_nodes(l->cluster); i++) {
        sim_log_release(&l->logs[i]);
        l->next[i] = 0;
        read_up_to(l, i, INT64_MAX, sim_group_offsets_final);
        if (l->next[i] == 0) /* with more than three nodes not all hold one */
            continue;
        sim_group_offsets_final_end(l->offsets, i, l->next[i]);
        end = end < 0 ? l->next[i] : end;
        copies++;
        sim_check(l->checks, SIM_CHECK_P3, l->next[i] == end,
                  SIM_GROUP_TOPIC " ends at %lld on node %u, at %lld on another",
                  (long long)l->next[i], i + 1, (long long)end);
    }
    sim_check(l->checks, SIM_CHECK_P3, end < 0 || copies == SIM_GROUP_REPLICAS,
              SIM_GROUP_TOPIC " lies on %u nodes", copies);
}
