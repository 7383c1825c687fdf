/* DescribeQuorum: what the Raft leader knows of voters and observers. Other brokers pass it on. */
#include "broker/api/internal.h"

API_WRITER(write_response, kw_describe_quorum_response_write, kw_describe_quorum_response)

/* Kafka gives wall-clock times; ours are monotonic. */
static int64_t to_wall(struct node *n, uint64_t at_ms)
{
    return at_ms == 0 ? -1 : kb_env_wall_ms(n->env) - (int64_t)(node_now(n) - at_ms);
}

static bool fill_partition(struct node_request *rq, struct kw_describe_quorum_response_partition *w)
{
    struct node *n = rq->node;
    const struct raft_core *core = node_quorum_core(n);
    struct raft_status status;
    size_t count = raft_core_peers(core, NULL, 0);
    struct raft_peer_status *peers = api_new_array(rq, struct raft_peer_status, count);
    raft_core_status(core, &status);
    w->leader_id = status.leader.id;
    w->leader_epoch = (int32_t)status.term;
    w->high_watermark = (int64_t)status.commit_index + 1;
    w->current_voters = api_new_array(rq, struct kw_describe_quorum_response_replica_state, count);
    w->observers = api_new_array(rq, struct kw_describe_quorum_response_replica_state, count);
    if (peers == NULL || w->current_voters == NULL || w->observers == NULL)
        return false;
    count = raft_core_peers(core, peers, count);
    for (size_t i = 0; i < count; i++) {
        struct kw_describe_quorum_response_replica_state *s =
            peers[i].voter ? &w->current_voters[w->current_voters_count++]
                           : &w->observers[w->observers_count++];
        bool self = peers[i].node.id == n->config.node_id;
        kw_describe_quorum_response_replica_state_init(s);
        s->replica_id = peers[i].node.id;
        if (rq->header.api_version >= 2)
            s->replica_directory_id = peers[i].node.directory;
        s->log_end_offset = (int64_t)peers[i].end_index + 1;
        s->last_fetch_timestamp = self ? kb_env_wall_ms(n->env) : to_wall(n, peers[i].last_ack_ms);
        s->last_caught_up_timestamp = self ? kb_env_wall_ms(n->env)
                                           : to_wall(n, peers[i].last_caught_up_ms);
    }
    return true;
}

static bool fill_nodes(struct node_request *rq, struct kw_describe_quorum_response *resp)
{
    const struct meta_voter *voters = NULL;
    size_t count = meta_image_voters(rq->node->image, &voters);
    resp->nodes = api_new_array(rq, struct kw_describe_quorum_response_node, count);
    if (resp->nodes == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct kw_describe_quorum_response_node *w = &resp->nodes[resp->nodes_count++];
        w->node_id = voters[i].id;
        w->listeners = api_new_array(rq, struct kw_describe_quorum_response_listener, 1);
        if (w->listeners == NULL)
            return false;
        w->listeners[0].name = api_str(rq->node->controller_listener->name);
        w->listeners[0].host = api_str(voters[i].host);
        w->listeners[0].port = voters[i].port;
        w->listeners_count = 1;
    }
    return true;
}

void api_describe_quorum(struct node_request *rq)
{
    struct kw_describe_quorum_request req;
    struct kw_describe_quorum_response resp;
    API_DECODE(rq, kw_describe_quorum_request_read, &req);
    kw_describe_quorum_response_init(&resp);
    resp.topics = api_new_array(rq, struct kw_describe_quorum_response_topic, req.topics_count);
    bool good = resp.topics != NULL && (rq->header.api_version < 2 || fill_nodes(rq, &resp));
    for (int32_t i = 0; good && i < req.topics_count; i++) {
        struct kw_describe_quorum_response_topic *t = &resp.topics[resp.topics_count++];
        int32_t count = req.topics[i].partitions_count;
        t->topic_name = req.topics[i].topic_name;
        t->partitions = api_new_array(rq, struct kw_describe_quorum_response_partition, count);
        good = t->partitions != NULL;
        for (int32_t k = 0; good && k < count; k++) {
            struct kw_describe_quorum_response_partition *w = &t->partitions[t->partitions_count++];
            kw_describe_quorum_response_partition_init(w);
            w->partition_index = req.topics[i].partitions[k].partition_index;
            if (w->partition_index == 0 && kw_str_is(t->topic_name, NODE_RAFT_TOPIC))
                good = fill_partition(rq, w);
            else
                w->error_code = KW_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    if (good)
        node_request_reply(rq, write_response, &resp);
    else
        node_request_reject(rq, "its answer needs too much memory");
}
