#include "coordinator/metadata/controller.h"

#include <stdlib.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/assert.h"
#include "proto/base/mem.h"

void meta_controller_config_default(struct meta_controller_config *config)
{
    *config = (struct meta_controller_config){
        .session_timeout_ms = 1500,
        .link_grace_ms = 150,
        .takeover_scan_ms = 300,
        .disk_stall_ms = 3000,
        .cut_wait_ms = 10000,
        .link_election_ms = 30000,
        .num_partitions = 1,
        .offsets_topic_partitions = 50,
        .delete_topic_enable = true,
        .auto_leader_rebalance = true,
        .leader_rebalance_delay_ms = 2000,
    };
}

static void take_evidence(struct meta_controller *c, uint64_t now_ms,
                          const struct meta_evidence *evidence, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct meta_session *s = meta_session_get(c, evidence[i].broker_id);
        s->link = evidence[i].link;
        s->link_since_ms = evidence[i].link_since_ms != 0 ? evidence[i].link_since_ms : now_ms;
        s->incarnation = evidence[i].incarnation;
        s->heard_ms = evidence[i].heard_ms;
    }
}

struct meta_controller *meta_controller_new(const struct meta_image *committed,
                                            const struct meta_controller_config *config,
                                            uint64_t seed, uint64_t now_ms,
                                            const struct meta_evidence *evidence, size_t count)
{
    struct meta_controller *c = kb_new(struct meta_controller);
    c->config = *config;
    c->image = meta_image_clone(committed);
    kb_prng_init(&c->prng, seed);
    c->scanning = true;
    c->scan_until_ms = now_ms + config->takeover_scan_ms;
    c->recheck_all = true;
    c->unbalanced = true;
    c->balance_ms = META_NEVER;
    take_evidence(c, now_ms, evidence, count);
    meta_controller_link(c, now_ms, config->node_id, META_LINK_UP, config->incarnation);
    return c;
}

struct meta_controller *meta_controller_free(struct meta_controller *c)
{
    if (c == NULL)
        return NULL;
    (void)meta_image_free(c->image);
    meta_sessions_free(c);
    free(c->waits);
    free(c->link_elections);
    return kb_free(c);
}

const struct meta_image *meta_controller_image(const struct meta_controller *c)
{
    return c->image;
}

bool meta_controller_scanning(const struct meta_controller *c)
{
    return c->scanning;
}

void meta_result_clear(struct meta_result *r)
{
    meta_records_clear(&r->records);
    r->notes.size = 0;
}

void meta_result_release(struct meta_result *r)
{
    meta_records_release(&r->records);
    kb_buf_release(&r->notes);
}

/* What replay makes of the partition decides what the next tick has to look at. */
static void partition_replayed(struct meta_controller *c, const struct meta_delta_partition *d)
{
    const struct meta_partition *p = meta_image_partition(c->image, &d->topic_id, d->index);
    if (p->leader >= 0 && p->leader != p->replicas[0] && meta_partition_in_isr(p, p->replicas[0]))
        c->unbalanced = true;
    /* A member has what was acknowledged, whatever its recovery once found. */
    for (size_t i = 0; i < p->isr_count; i++)
        (void)meta_session_mark(c, p, p->isr[i], META_LOG_WHOLE);
    if (p->leader < 0)
        return;
    for (size_t i = 0; i < c->waits_count; i++) {
        if (c->waits[i].partition == d->index &&
            kb_uuid_equal(&c->waits[i].topic_id, &d->topic_id)) {
            c->waits[i] = c->waits[--c->waits_count];
            return;
        }
    }
}

void meta_controller_replay(struct meta_controller *c, const struct meta_records *records,
                            uint64_t first_index, uint64_t term)
{
    struct meta_delta delta = {0};
    for (size_t i = 0; i < records->count; i++) {
        int r = meta_image_apply(c->image, first_index + i, term, meta_records_at(records, i),
                                 &delta);
        KB_ASSERT(r == 0);
    }
    meta_delta_finish(&delta);
    for (size_t i = 0; i < delta.partitions_count; i++)
        partition_replayed(c, &delta.partitions[i]);
    if (delta.brokers_count > 0)
        c->unbalanced = true;
    /* A topic's config may make a leader possible. */
    for (size_t i = 0; i < delta.topics_count; i++)
        c->recheck_all |= (delta.topics[i].changes & META_TOPIC_CONFIG) != 0;
    meta_delta_release(&delta);
}
