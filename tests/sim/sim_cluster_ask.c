#include "tests/sim/sim_cluster_private.h"

bool sim_cluster_leads(const struct sim_cluster *c, uint32_t partition, int32_t broker,
                       int32_t leader_epoch)
{
    const struct member *m = &c->members[broker - 1];
    struct sim_leader_view view;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_leads(m->node, c->options.topics->topic[topic].name, index, &view) &&
           view.leader_epoch == leader_epoch;
}

bool sim_cluster_is_behind_in(const struct sim_cluster *c, const char *topic, int32_t index,
                              int32_t broker)
{
    int32_t own = -1, newest = -1;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env))
            continue;
        int32_t epoch = sim_probe_leader_epoch(m->node, topic, index);
        newest = epoch > newest ? epoch : newest;
        if ((int32_t)i + 1 == broker)
            own = epoch;
    }
    return own < newest || own < 0;
}

bool sim_cluster_is_behind(const struct sim_cluster *c, uint32_t partition, int32_t broker)
{
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    return sim_cluster_is_behind_in(c, c->options.topics->topic[topic].name, index, broker);
}

int32_t sim_cluster_newest_epoch(const struct sim_cluster *c, uint32_t partition)
{
    int32_t newest = -1;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        struct sim_start_probe probe;
        struct sim_metadata_partition now;
        if (!sim_member_probe_start(m, partition, &probe, &now))
            continue;
        int32_t known = sim_probe_leader_epoch(m->node, c->options.topics->topic[topic].name,
                                               index);
        newest = known > newest ? known : newest;
        newest = now.leader_epoch > newest ? now.leader_epoch : newest;
    }
    return newest;
}

bool sim_cluster_is_running(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    return m->env != NULL && !sim_env_is_down(m->env) && node_state(m->node) == NODE_RUNNING;
}

bool sim_cluster_was_replaced(const struct sim_cluster *c, uint32_t i)
{
    return c->members[i].replaced;
}

bool sim_cluster_is_voter(const struct sim_cluster *c, uint32_t i)
{
    return sim_cluster_is_running(c, i) && sim_probe_is_voter(c->members[i].node);
}

bool sim_cluster_is_member(const struct sim_cluster *c, uint32_t i)
{
    return i < c->options.voters ? sim_cluster_is_voter(c, i) : sim_cluster_is_running(c, i);
}

bool sim_cluster_is_registered(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    uint64_t incarnation = 0, epoch = 0;
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_broker_epoch(m->node, &incarnation, &epoch);
}

bool sim_cluster_proposes(const struct sim_cluster *c, uint32_t i, uint32_t joiner)
{
    const struct member *m = &c->members[i];
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_proposes(m->node, (int32_t)joiner + 1);
}

uint64_t sim_cluster_commit_index(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    struct sim_raft_view view;
    if (m->env == NULL || sim_env_is_down(m->env) || !sim_probe_raft(m->node, &view))
        return 0;
    return view.commit_index;
}

bool sim_cluster_holds(const struct sim_cluster *c, uint32_t i, uint32_t partition)
{
    return sim_member_high_watermark(&c->members[i], partition) >= 0;
}

uint32_t sim_cluster_partitions(const struct sim_cluster *c)
{
    return sim_topics_partitions(c->options.topics);
}

int64_t sim_cluster_high_watermark(const struct sim_cluster *c, uint32_t partition)
{
    int64_t highest = -1;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        int64_t hw = sim_member_high_watermark(&c->members[i], partition);
        highest = hw > highest ? hw : highest;
    }
    return highest;
}

int32_t sim_cluster_controller(const struct sim_cluster *c)
{
    int32_t found = -1;
    uint64_t term = 0;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct sim_raft_view view;
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env) || !sim_probe_raft(m->node, &view))
            continue;
        if (view.leader && view.term >= term) {
            term = view.term;
            found = (int32_t)i;
        }
    }
    return found;
}

uint64_t sim_cluster_broker_epoch(const struct sim_cluster *c, uint32_t at, uint32_t of)
{
    const struct member *m = &c->members[at];
    return m->node != NULL ? sim_probe_epoch_of(m->node, (int32_t)of + 1) : 0;
}

int32_t sim_cluster_leader(const struct sim_cluster *c, uint32_t partition)
{
    struct sim_metadata_partition now;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    if (!sim_metadata_check_find(sim_raft_check_metadata(c->raft), c->topic_ids[topic], index,
                                 &now) ||
        now.leader < 1)
        return -1;
    return now.leader - 1;
}

struct kb_uuid sim_cluster_any_topic(const struct sim_cluster *c, uint64_t chance)
{
    struct kb_uuid id = {{0}};
    const uint8_t *found = sim_metadata_check_any_topic(sim_raft_check_metadata(c->raft), chance);
    if (found != NULL)
        memcpy(id.bytes, found, sizeof(id.bytes));
    return id;
}

void sim_cluster_look(const struct sim_cluster *c, uint32_t i, const struct kb_uuid *topic_id,
                      int32_t partition, struct sim_audit_view *ret)
{
    const struct member *m = &c->members[i];
    *ret = (struct sim_audit_view){.leader_epoch = -1};
    if (m->env == NULL || sim_env_is_down(m->env))
        return;
    ret->life = sim_env_life(m->env);
    ret->knows_topic = sim_metadata_check_has_topic(sim_raft_check_metadata(c->raft),
                                                    topic_id->bytes, sim_probe_applied(m->node));
    sim_probe_audit(m->node, topic_id, partition, ret);
}

void sim_cluster_describe(struct sim_cluster *c, FILE *out)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env))
            (void)fprintf(out, "node %u: down\n", i + 1);
        else
            sim_probe_describe(m->node, out);
    }
}
