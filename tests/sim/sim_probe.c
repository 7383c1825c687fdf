#include "tests/sim/sim_probe.h"

#include <stdio.h>
#include <string.h>

#include "broker/node/node_internal.h"
#include "broker/node/quorum.h"
#include "coordinator/raft/core.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"
#include "replication/log/dir_text.h"
#include "replication/log/impl.h"
#include "replication/replica/internal.h"

static void take_set(const struct raft_voters *from, struct sim_voter_set *ret)
{
    ret->index = from->index;
    ret->count = (uint32_t)from->count;
    for (size_t i = 0; i < from->count && i < SIM_VOTERS_MAX; i++) {
        ret->voters[i].id = from->nodes[i].id;
        memcpy(ret->voters[i].directory, from->nodes[i].directory.bytes, SIM_DIRECTORY_BYTES);
    }
}

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
    ret->leader_commit = s.commit_index;
    ret->candidacies = s.elections;
    ret->transferred = n->quorum->core->transferred;
    ret->cuts = n->quorum->core->generation;
    ret->cut_index = n->quorum->core->cut_index;
    take_set(&s.voters, &ret->set);
    if (n->image != NULL) {
        ret->applied_index = meta_image_last_index(n->image);
        ret->applied_digest = meta_image_digest(n->image);
    }
    return true;
}

static struct node_partition *find(const struct node *n, const char *topic, int32_t partition)
{
    struct node_partition *p;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->index == partition && p->rep != NULL && strcmp(p->topic, topic) == 0)
            return p;
    }
    return NULL;
}

static struct node_partition *find_open(const struct node *n, const char *topic, int32_t partition)
{
    struct node_partition *p = find(n, topic, partition);
    return p != NULL && p->state == NODE_PARTITION_OPEN ? p : NULL;
}

_Static_assert(sizeof(struct sim_epoch_entry) == sizeof(struct log_epoch_entry) &&
                   offsetof(struct sim_epoch_entry, start) ==
                       offsetof(struct log_epoch_entry, start_offset),
               "one is looked at as the other");

static int32_t number_of(const struct sim_topics *topics, const struct node_partition *p)
{
    int32_t first = 0;
    for (uint32_t t = 0; t < topics->count; t++) {
        if (strcmp(topics->topic[t].name, p->topic) == 0)
            return p->index >= 0 && p->index < topics->topic[t].partitions ? first + p->index : -1;
        first += topics->topic[t].partitions;
    }
    return -1;
}

/* The name of a replica follows from its topic id. */
static int32_t number_at(struct sim_replicas *r, size_t place, const struct node_partition *p,
                         const struct sim_topics *topics)
{
    if (place == r->count) {
        kb_array_reserve(r->places, r->count, r->capacity);
        r->places[r->count++] = (struct sim_place){0};
    }
    struct sim_place *at = &r->places[place];
    if (at->there != p || at->index != p->index ||
        memcmp(at->topic_id, p->topic_id.bytes, sizeof(at->topic_id)) != 0) {
        *at = (struct sim_place){.there = p, .index = p->index, .number = number_of(topics, p)};
        memcpy(at->topic_id, p->topic_id.bytes, sizeof(at->topic_id));
    }
    return at->number;
}

void sim_replicas_find(struct sim_replicas *r, const struct node *n,
                       const struct sim_topics *topics)
{
    size_t place = 0;
    memset(r->held, 0, sizeof(r->held));
    memset(r->led, 0, sizeof(r->led));
    for (const struct node_partition *p = n->partitions; p != NULL; p = p->hh.next) {
        int32_t number = number_at(r, place++, p, topics);
        if (number < 0 || number >= SIM_REPLICAS_MAX || p->rep == NULL)
            continue;
        if (r->held[number] == NULL)
            r->held[number] = p;
        if (r->led[number] == NULL && p->state == NODE_PARTITION_OPEN && rep_is_leader(p->rep))
            r->led[number] = p;
    }
}

void sim_replicas_release(struct sim_replicas *r)
{
    r->places = kb_free(r->places);
    r->count = r->capacity = 0;
}

static bool is_damaged(const struct rep *r)
{
    return r->log_state == REP_LOG_DAMAGED || r->must_drop;
}

void sim_probe_replica(const struct node_partition *p, uint8_t ret_topic_id[16],
                       struct sim_replica_view *ret)
{
    const struct rep *r = p->rep;
    memcpy(ret_topic_id, p->topic_id.bytes, 16);
    ret->open = p->state == NODE_PARTITION_OPEN;
    ret->leader = r->state == REP_LEADER;
    ret->cutting = r->state == REP_TRUNCATING;
    ret->damaged = is_damaged(r);
    ret->leader_epoch = r->image.leader_epoch;
    if (!ret->open)
        return;
    ret->high_watermark = r->hw;
    ret->start = log_start_offset(p->log);
    ret->end = log_end_offset(p->log);
    ret->epochs = (const struct sim_epoch_entry *)p->log->epochs.entries;
    ret->epoch_count = p->log->epochs.count;
}

size_t sim_probe_damaged(const struct node *n)
{
    size_t count = 0;
    for (const struct node_partition *p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->rep != NULL && is_damaged(p->rep))
            count++;
    }
    return count;
}

bool sim_probe_is_voter(const struct node *n)
{
    const struct raft_core *core = node_quorum_core(n);
    struct raft_status status;
    if (core == NULL)
        return false;
    raft_core_status(core, &status);
    return status.role != RAFT_OBSERVER;
}

int64_t sim_probe_high_watermark(const struct node *n, const char *topic, int32_t partition)
{
    const struct node_partition *p = find_open(n, topic, partition);
    if (p == NULL || is_damaged(p->rep))
        return -1;
    int64_t written = log_written_offset(p->log);
    return rep_hw(p->rep) < written ? rep_hw(p->rep) : written;
}

static const struct node_partition *find_led(const struct node *n, const char *topic,
                                             int32_t partition)
{
    for (const struct node_partition *p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->rep != NULL && p->index == partition && p->state == NODE_PARTITION_OPEN &&
            rep_is_leader(p->rep) && strcmp(p->topic, topic) == 0)
            return p;
    }
    return NULL;
}

void sim_probe_led(const struct node_partition *p, struct sim_leader_view *ret)
{
    memcpy(ret->topic_id, p->topic_id.bytes, sizeof(ret->topic_id));
    ret->leader_epoch = rep_leader_epoch(p->rep);
    ret->high_watermark = rep_hw(p->rep);
}

bool sim_probe_leads(const struct node *n, const char *topic, int32_t partition,
                     struct sim_leader_view *ret)
{
    const struct node_partition *p = find_led(n, topic, partition);
    if (p != NULL)
        sim_probe_led(p, ret);
    return p != NULL;
}

bool sim_probe_strong(const struct node *n, const char *topic, int32_t partition,
                      int64_t *ret_epoch_start)
{
    const struct node_partition *p = find_led(n, topic, partition);
    struct rep_inspect i;
    if (p == NULL)
        return false;
    const struct meta_partition *m = meta_image_partition(n->image, &p->topic_id, partition);
    rep_inspect(p->rep, node_now(p->node), &i);
    *ret_epoch_start = i.epoch_start;
    return m != NULL && meta_topic_strong(n->image, m->topic) && !m->unsynced;
}

bool sim_probe_start(const struct node *n, const char *topic, int32_t partition,
                     struct sim_start_probe *ret)
{
    const struct node_partition *p = find_open(n, topic, partition);
    /* A log begins anew at once in memory. If the disk fails meanwhile, the replica, which serves
     * nobody from then on, never hears of it, and its high watermark stays behind (seed 3000681);
     * the next start ends the cut. */
    if (p == NULL || rep_state(p->rep) == REP_TRUNCATING ||
        p->rep->generation != log_generation(p->log))
        return false;
    memcpy(ret->topic_id, p->topic_id.bytes, sizeof(ret->topic_id));
    ret->start = log_start_offset(p->log);
    ret->high_watermark = rep_hw(p->rep);
    return true;
}

int32_t sim_probe_epoch_at(const struct node *n, const char *topic, int32_t partition,
                           int64_t offset)
{
    const struct node_partition *p = find_open(n, topic, partition);
    if (p == NULL || offset < log_start_offset(p->log) || offset >= log_end_offset(p->log))
        return -1;
    return log_epoch_at(p->log, offset);
}

bool sim_probe_image(const struct node *n, uint64_t *ret_index, uint64_t *ret_image)
{
    struct kb_buf bytes = {0};
    if (n->image == NULL)
        return false;
    meta_snapshot_write(n->image, &bytes);
    *ret_index = meta_image_last_index(n->image);
    *ret_image = (uint64_t)kb_crc32c(1, bytes.data, bytes.size) << 32 |
                 kb_crc32c(2, bytes.data, bytes.size);
    kb_buf_release(&bytes);
    return true;
}

bool sim_probe_proposes(const struct node *n, int32_t broker)
{
    const struct node_partition *p;
    struct rep_inspect i;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->rep == NULL || p->state != NODE_PARTITION_OPEN || !rep_is_leader(p->rep))
            continue;
        rep_inspect(p->rep, node_now(p->node), &i);
        for (size_t k = 0; k < i.n_peers && i.proposal_in_flight; k++) {
            if (i.peers[k].node_id == broker && i.peers[k].joining)
                return true;
        }
    }
    return false;
}

bool sim_probe_broker_epoch(const struct node *n, uint64_t *ret_incarnation, uint64_t *ret_epoch)
{
    *ret_incarnation = n->incarnation;
    *ret_epoch = n->broker_epoch;
    return n->broker_epoch != 0;
}

int32_t sim_probe_leader_epoch(const struct node *n, const char *topic, int32_t partition)
{
    const struct node_partition *p = find_open(n, topic, partition);
    return p != NULL ? rep_leader_epoch(p->rep) : -1;
}

bool sim_probe_recovered(const struct node *n, const char *topic, int32_t partition,
                         int64_t *ret_end, bool *ret_told)
{
    const struct node_partition *p = find_open(n, topic, partition);
    if (p == NULL || n->broker_epoch != 0)
        return false;
    *ret_end = log_end_offset(p->log);
    *ret_told = p->log_state != LOG_WHOLE;
    return true;
}

int sim_probe_recover(struct kb_fs *fs, const char *dir, int64_t mark, struct sim_recovered *ret)
{
    static const enum sim_recovered_state states[] = {
        [LOG_WHOLE] = SIM_RECOVERED_WHOLE,
        [LOG_CUT] = SIM_RECOVERED_CUT,
        [LOG_DAMAGED] = SIM_RECOVERED_DAMAGED,
        [LOG_MISSING] = SIM_RECOVERED_MISSING,
    };
    struct log_config config;
    log_config_init(&config);
    struct log_recovery rc = {.dir = dir,
                              .durable_mark = mark,
                              .index_interval_bytes = config.index_interval_bytes,
                              .remember_cut = true};
    int r = log_recovery_run(fs, &rc);
    *ret = (struct sim_recovered){.state = states[rc.found.state],
                                  .start = rc.found.start_offset,
                                  .end = rc.found.end_offset,
                                  .last_epoch = rc.found.last_epoch,
                                  .mark = mark};
    if (rc.cut_limit >= 0 && rc.cut_limit < mark)
        ret->mark = rc.cut_limit;
    log_recovery_release(&rc);
    return r;
}

struct marked {
    const char *topic;
    int32_t partition;
    int64_t mark;
};

static void take_mark(void *arg, const char *topic, size_t topic_size, int32_t partition,
                      int64_t offset)
{
    struct marked *m = arg;
    if (partition == m->partition && strlen(m->topic) == topic_size &&
        memcmp(topic, m->topic, topic_size) == 0)
        m->mark = offset;
}

int64_t sim_probe_mark(struct sim_disk *disk, const char *data_dir, const char *topic,
                       int32_t partition)
{
    struct marked m = {topic, partition, -1};
    struct kb_view text;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/recovery-point-offset-checkpoint", data_dir);
    if (sim_disk_view(disk, path, false, &text) == 0)
        (void)dir_checkpoint_parse(text, take_mark, &m);
    return m.mark;
}

uint64_t sim_probe_applied(const struct node *n)
{
    return n->image != NULL ? meta_image_last_index(n->image) : 0;
}

void sim_probe_audit(struct node *n, const struct kb_uuid *topic_id, int32_t partition,
                     struct sim_audit_view *ret)
{
    const struct node_partition *p = node_partition_find(n, topic_id, partition);
    if (p == NULL || p->rep == NULL || p->state != NODE_PARTITION_OPEN)
        return;
    ret->open = true;
    ret->leads = p->rep->state == REP_LEADER;
    ret->leader_epoch = p->rep->image.leader_epoch;
    ret->start = log_start_offset(p->log);
    ret->high_watermark = p->rep->hw;
    ret->end = log_end_offset(p->log);
    ret->epoch_start = p->rep->epoch_start;
}

uint64_t sim_probe_epoch_of(const struct node *n, int32_t id)
{
    const struct meta_broker *b = n->image != NULL ? meta_image_broker(n->image, id) : NULL;
    return b != NULL ? b->epoch : 0;
}

bool sim_probe_coordinates(const struct node *n, int32_t partition)
{
    const struct node_partition *p = find_open(n, NODE_OFFSETS_TOPIC, partition);
    return p != NULL && p->group != NULL && node_group_ready_shard(p->group) != NULL;
}

bool sim_probe_may_coordinate(const struct node *n, int32_t partition)
{
    const struct node_partition *p = find_open(n, NODE_OFFSETS_TOPIC, partition);
    struct rep_inspect i;
    if (p == NULL)
        return false;
    rep_inspect(p->rep, 0, &i);
    return rep_is_leader(p->rep) && i.high_watermark >= i.epoch_start;
}

static const struct node_event *last_about(const struct node_events *e, int32_t id,
                                           enum node_event_kind a, enum node_event_kind b)
{
    for (size_t i = node_events_count(e); i > 0; i--) {
        const struct node_event *event = node_events_at(e, i - 1);
        if ((id < 0 || event->node_id == id) && (event->kind == a || event->kind == b))
            return event;
    }
    return NULL;
}

static bool events_in_order(const struct node_events *e, char reason[160])
{
    for (size_t i = 1; i < node_events_count(e); i++) {
        const struct node_event *a = node_events_at(e, i - 1);
        const struct node_event *b = node_events_at(e, i);
        if (b->sequence == a->sequence + 1 && b->mono_ms >= a->mono_ms)
            continue;
        (void)snprintf(reason, 160, "event %llu follows %llu", (unsigned long long)b->sequence,
                       (unsigned long long)a->sequence);
        return false;
    }
    return true;
}

/* A broker is fenced and unfenced in turns; only a new registration begins anew. */
static bool fences_alternate(const struct node_events *e, int32_t id)
{
    int fenced = -1;
    for (size_t i = 0; i < node_events_count(e); i++) {
        const struct node_event *event = node_events_at(e, i);
        if (event->node_id != id)
            continue;
        if (event->kind == NODE_EVENT_REGISTERED)
            fenced = -1;
        if (event->kind != NODE_EVENT_FENCED && event->kind != NODE_EVENT_UNFENCED)
            continue;
        if (fenced == (event->kind == NODE_EVENT_FENCED))
            return false;
        fenced = event->kind == NODE_EVENT_FENCED;
    }
    return true;
}

size_t sim_probe_client_bytes(const struct node *n)
{
    size_t used = n->client_budget.used_bytes;
    size_t cached = n->cache != NULL ? log_cache_bytes(n->cache) : 0;
    return used > cached ? used - cached : 0;
}

bool sim_probe_events(struct node *n, char reason[160])
{
    const struct node_events *e = node_watch_events(n);
    const struct node_event *last = NULL;
    struct node_peer *p = NULL;
    size_t cursor = 0;
    if (!events_in_order(e, reason))
        return false;
    last = last_about(e, -1, NODE_EVENT_CONTROLLER, NODE_EVENT_CONTROLLER);
    if (last == NULL || last->node_id != node_quorum_leader_id(n) ||
        last->term != node_quorum_term(n)) {
        (void)snprintf(reason, 160, "the controller was told as node %d in term %llu",
                       last != NULL ? last->node_id : -1,
                       (unsigned long long)(last != NULL ? last->term : 0));
        return false;
    }
    for (size_t i = 0; i < meta_image_brokers_count(n->image); i++) {
        const struct meta_broker *b = meta_image_broker_at(n->image, i);
        last = last_about(e, b->id, NODE_EVENT_FENCED, NODE_EVENT_UNFENCED);
        if ((last == NULL || (last->kind == NODE_EVENT_FENCED) == b->fenced) &&
            fences_alternate(e, b->id))
            continue;
        (void)snprintf(reason, 160, "node %d was told as %s, or twice so", b->id,
                       last != NULL ? node_event_kind_name(last->kind) : "nothing");
        return false;
    }
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        last = last_about(e, p->id, NODE_EVENT_LINK_LOST, NODE_EVENT_PEER_BACK);
        bool lost = last != NULL && last->kind == NODE_EVENT_LINK_LOST;
        if (!p->voter && n->config.observer) /* control links are kept with voters (7.1) */
            continue;
        if (p->id == n->config.node_id || lost == (node_peer_link(p, NODE_CONTROL) == NULL) ||
            (last == NULL && e->last > NODE_EVENTS_MAX))
            continue;
        (void)snprintf(reason, 160, "the link to node %d was told as %s", p->id,
                       lost ? "lost" : "open");
        return false;
    }
    return true;
}

static void describe_replica(struct node_partition *p, FILE *out)
{
    struct rep_inspect i;
    rep_inspect(p->rep, node_now(p->node), &i);
    (void)fprintf(
        out,
        "  %s-%d: %s leader=%d epoch=%d/%d start=%lld end=%lld written=%lld durable=%lld hw=%lld "
        "epoch_start=%lld%s%s report=%s\n",
        p->topic, p->index, rep_is_leader(p->rep) ? "LEADER" : "follower", i.leader, i.leader_epoch,
        i.partition_epoch, (long long)i.log_start, (long long)i.log_end, (long long)i.written,
        (long long)i.durable, (long long)i.high_watermark, (long long)i.epoch_start,
        i.cut_off ? " cut_off" : "", i.proposal_in_flight ? " proposing" : "",
        rep_report_name(i.report));
    for (size_t k = 0; k < i.n_peers && rep_is_leader(p->rep); k++)
        (void)fprintf(out, "      peer %d:%s%s%s start=%lld end=%lld durable=%lld\n",
                      i.peers[k].node_id, i.peers[k].in_isr ? " isr" : "",
                      i.peers[k].in_elr ? " elr" : "", i.peers[k].joining ? " joining" : "",
                      (long long)i.peers[k].log_start, (long long)i.peers[k].log_end,
                      (long long)i.peers[k].durable);
}

void sim_probe_describe(struct node *n, FILE *out)
{
    struct sim_raft_view v;
    struct node_partition *p;
    (void)fprintf(out, "node %d: %s broker_epoch=%llu", node_id(n), node_state_name(node_state(n)),
                  (unsigned long long)n->broker_epoch);
    if (sim_probe_raft(n, &v))
        (void)fprintf(out, " term=%llu%s last=%llu commit=%llu applied=%llu",
                      (unsigned long long)v.term, v.leader ? " LEADER" : "",
                      (unsigned long long)v.last_index, (unsigned long long)v.commit_index,
                      (unsigned long long)v.applied_index);
    (void)fprintf(out, "\n");
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->rep != NULL && p->state == NODE_PARTITION_OPEN)
            describe_replica(p, out);
        else
            (void)fprintf(out, "  %s-%d: state %d\n", p->topic, p->index, (int)p->state);
    }
}

/* A small file of the durable image as text; false when there is none. */
static bool small_text(struct sim_disk *disk, const char *path, char text[512])
{
    struct kb_view v;
    if (sim_disk_view(disk, path, true, &v) < 0 || v.size >= 512)
        return false;
    memcpy(text, v.data, v.size);
    text[v.size] = '\0';
    return true;
}

/* What follows this word, or NULL. */
static const char *after(const char *text, const char *word)
{
    size_t size = strlen(word);
    return strncmp(text, word, size) == 0 ? text + size : NULL;
}

/* Read after every sync, and so not by sscanf. */
int sim_probe_vote(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for)
{
    char text[512], *end = NULL;
    if (!small_text(disk, "/data/__cluster_metadata-0/quorum-state", text))
        return 0;
    const char *number = after(text, "kvorum-vote 1\nterm=");
    if (number == NULL)
        return 0;
    uint64_t term = strtoull(number, &end, 10);
    const char *id = end != number ? after(end, "\nvote=") : NULL;
    long voted_for = id != NULL ? strtol(id, &end, 10) : 0;
    if (id == NULL || end == id)
        return 0;
    *ret_term = term;
    *ret_voted_for = (int32_t)voted_for;
    return 1;
}

int sim_probe_barred(struct sim_disk *disk, bool *ret)
{
    char text[512];
    if (!small_text(disk, "/data/__cluster_metadata-0/quorum-state", text))
        return 0;
    *ret = strstr(text, "\nbarred=1\n") != NULL;
    return 1;
}

int sim_probe_directory(struct sim_disk *disk, uint8_t ret[SIM_DIRECTORY_BYTES])
{
    char text[512], word[KB_UUID_TEXT_SIZE] = "";
    struct kb_uuid id;
    if (!small_text(disk, "/data/meta.properties", text))
        return 0;
    const char *line = strstr(text, "directory.id=");
    if (line == NULL)
        return 0;
    line += strlen("directory.id=");
    memcpy(word, line, strnlen(line, sizeof(word) - 1));
    word[strcspn(word, "\n")] = '\0';
    if (kb_uuid_parse(word, &id) < 0)
        return 0;
    memcpy(ret, id.bytes, SIM_DIRECTORY_BYTES);
    return 1;
}
