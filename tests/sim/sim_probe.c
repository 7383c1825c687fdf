#include "tests/sim/sim_probe.h"

#include <stdio.h>
#include <string.h>

#include "broker/node/node_internal.h"
#include "broker/node/quorum.h"

bool sim_probe_raft(const struct node *n, struct sim_raft_view *ret)
{
    struct raft_status s;
    if (n->quorum == NULL || n->quorum->core == NULL)
        return false;
    raft_core_status(n->quorum->core, &s);
    memset(ret, 0, sizeof(*ret)); /* compared as bytes */
    ret->leader = s.role == RAFT_LEADER;
    ret->term = s.term;
    ret->last_index = s.last_index;
    ret->commit_index = s.commit_index < s.durable_index ? s.commit_index : s.durable_index;
    if (n->image != NULL) {
        ret->applied_index = meta_image_last_index(n->image);
        ret->applied_digest = meta_image_digest(n->image);
    }
    return true;
}

int64_t sim_probe_high_watermark(const struct node *n, const char *topic, int32_t partition)
{
    const struct node_partition *p;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->index == partition && strcmp(p->topic, topic) == 0 && p->rep != NULL &&
            p->state == NODE_PARTITION_OPEN)
            return rep_hw(p->rep);
    }
    return -1;
}

int sim_probe_vote(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for)
{
    struct kb_view v;
    char text[512];
    unsigned long long term = 0;
    int id = 0;
    if (sim_disk_view(disk, "/data/__cluster_metadata-0/quorum-state", true, &v) < 0 ||
        v.size >= sizeof(text))
        return 0;
    memcpy(text, v.data, v.size);
    text[v.size] = '\0';
    if (sscanf(text, "kvorum-vote 1\nterm=%llu\nvote=%d ", &term, &id) != 2)
        return 0;
    *ret_term = term;
    *ret_voted_for = id;
    return 1;
}
