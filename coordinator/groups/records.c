/* Records of __consumer_offsets in Kafka's formats: an int16 version, then the message. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

enum {
    KEY_OFFSET = 1,
    KEY_METADATA = 2,
    VALUE_OFFSET_EXPIRES = 1, /* the one version with an expiry time */
    VALUE_OFFSET = 3,
    VALUE_OFFSET_TOPIC_ID = 4,
    VALUE_METADATA = 3,
};

static void finish(struct kw_writer *w, struct kb_chain *chain, size_t key_size, bool tombstone,
                   struct group *g, struct group_effects *fx)
{
    int r = kw_writer_finish(w);
    KB_ASSERT(r == 0); /* all strings came through the protocol */
    group_effects_add(fx, chain, key_size, tombstone);
    g->shard->owed_records++;
}

static size_t put_metadata_key(struct kw_writer *w, const struct group *g)
{
    struct kw_group_metadata_key key = {.group = g->id};
    kw_put_int16(w, KEY_METADATA);
    kw_group_metadata_key_write(w, 0, &key);
    return (size_t)w->size;
}

static struct kw_bytes assignment_of(const struct group_member *m,
                                     const struct group_record_source *source)
{
    const struct group_image_member *im = NULL;
    if (source->assignments == GROUP_ASSIGN_FRESH)
        return m->fresh_assignment;
    if (source->assignments == GROUP_ASSIGN_IMAGE)
        im = group_image_member(m->group,
                                kw_str_equal(m->id, source->new_id) ? source->replaced_id : m->id);
    return im != NULL ? im->assignment : kw_bytes_of("", 0);
}

static void fill_member(const struct group_member *m, const struct group_record_source *source,
                        struct kw_group_metadata_value_member *ret)
{
    const struct group_protocol *p = group_member_protocol(m, source->protocol);
    kw_group_metadata_value_member_init(ret);
    ret->member_id = m->id;
    ret->group_instance_id = m->instance_id;
    ret->client_id = m->client_id;
    ret->client_host = m->client_host;
    ret->rebalance_timeout = m->rebalance_timeout_ms;
    ret->session_timeout = m->session_timeout_ms;
    ret->subscription = p != NULL ? p->metadata : kw_bytes_of("", 0);
    ret->assignment = assignment_of(m, source);
}

void group_record_metadata(struct group *g, const struct group_record_source *source,
                           struct group_effects *fx)
{
    struct kw_group_metadata_value value;
    struct kb_chain chain = {0};
    struct kw_writer w;
    const struct group_member *m = NULL;
    size_t count = group_members_count(g);
    struct kw_group_metadata_value_member *members =
        kb_new_array(struct kw_group_metadata_value_member, count);
    kw_group_metadata_value_init(&value);
    value.protocol_type = g->protocol_type;
    value.generation = source->generation;
    value.protocol = source->protocol;
    value.leader = g->leader != NULL ? g->leader->id : kw_str_null();
    value.current_state_timestamp = source->wall_ms;
    value.members = members;
    for (m = g->members; m != NULL; m = m->hh.next)
        fill_member(m, source, &members[value.members_count++]);
    kw_writer_init(&w, &chain);
    size_t key_size = put_metadata_key(&w, g);
    kw_put_int16(&w, VALUE_METADATA);
    kw_group_metadata_value_write(&w, VALUE_METADATA, &value);
    finish(&w, &chain, key_size, false, g, fx);
    (void)kb_free(members);
}

void group_record_metadata_tombstone(struct group *g, struct group_effects *fx)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    size_t key_size = put_metadata_key(&w, g);
    finish(&w, &chain, key_size, true, g, fx);
}

void group_shard_prove(struct group_shard *s, struct group_effects *fx)
{
    struct group nobody = {.shard = s, .id = KW_STR("")};
    group_handler_begin(s);
    group_record_metadata_tombstone(&nobody, fx);
}

static size_t put_offset_key(struct kw_writer *w, const struct group *g, struct kw_str topic,
                             int32_t partition)
{
    struct kw_offset_commit_key key = {.group = g->id, .topic = topic, .partition = partition};
    kw_put_int16(w, KEY_OFFSET);
    kw_offset_commit_key_write(w, 0, &key);
    return (size_t)w->size;
}

static int16_t offset_version(const struct group_offset *o)
{
    if (o->expire_wall_ms >= 0)
        return VALUE_OFFSET_EXPIRES;
    return kb_uuid_is_zero(&o->topic_id) ? VALUE_OFFSET : VALUE_OFFSET_TOPIC_ID;
}

void group_record_offset(struct group *g, struct kw_str topic, const struct group_offset *o,
                         struct group_effects *fx)
{
    struct kw_offset_commit_value value;
    struct kb_chain chain = {0};
    struct kw_writer w;
    int16_t version = offset_version(o);
    kw_offset_commit_value_init(&value);
    value.offset = o->offset;
    value.leader_epoch = o->leader_epoch;
    value.metadata = o->metadata;
    value.commit_timestamp = o->commit_wall_ms;
    value.expire_timestamp = o->expire_wall_ms;
    value.topic_id = o->topic_id;
    kw_writer_init(&w, &chain);
    size_t key_size = put_offset_key(&w, g, topic, o->partition);
    kw_put_int16(&w, version);
    kw_offset_commit_value_write(&w, version, &value);
    finish(&w, &chain, key_size, false, g, fx);
}

void group_record_offset_tombstone(struct group *g, struct kw_str topic, int32_t partition,
                                   struct group_effects *fx)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    size_t key_size = put_offset_key(&w, g, topic, partition);
    finish(&w, &chain, key_size, true, g, fx);
}

void group_record_offsets_tombstones(struct group *g, struct group_effects *fx)
{
    for (struct group_topic *t = g->topics; t != NULL; t = t->hh.next) {
        for (size_t i = 0; i < t->count; i++)
            group_record_offset_tombstone(g, t->name, t->offsets[i].partition, fx);
    }
}

/* ---- replay
 * ---------------------------------------------------------------------------------- */

static int replay_offset(struct group_shard *s, struct kw_reader *rd, struct kb_view value,
                         struct kb_arena *arena)
{
    struct kw_offset_commit_key key;
    struct kw_offset_commit_value v;
    struct kw_reader vr;
    int r = kw_offset_commit_key_read(rd, 0, arena, &key);
    if (r < 0)
        return -KB_ECORRUPT;
    if (value.data == NULL) {
        struct group *g = group_find(s, key.group);
        if (g != NULL && !KB_MUTANT("offset-tombstone-ignored")) {
            group_offset_remove(g, key.topic, key.partition);
            group_drop_if_nothing(g);
        }
        return GROUP_REPLAY_DONE;
    }
    kw_reader_init(&vr, value.data, value.size);
    int16_t version = kw_get_int16(&vr);
    if (kw_reader_ok(&vr) && (version < 0 || version > VALUE_OFFSET_TOPIC_ID))
        return GROUP_REPLAY_IGNORED;
    if (!kw_reader_ok(&vr) || kw_offset_commit_value_read(&vr, version, arena, &v) < 0)
        return -KB_ECORRUPT;
    if (KB_MUTANT("offsets-dropped-on-replay") && !s->loaded)
        return GROUP_REPLAY_DONE;
    group_offset_put(group_add(s, key.group), key.topic, key.partition, &v);
    return GROUP_REPLAY_DONE;
}

static int replay_metadata(struct group_shard *s, struct kw_reader *rd, struct kb_view value,
                           struct kb_arena *arena)
{
    struct kw_group_metadata_key key;
    struct kw_group_metadata_value v;
    struct kw_reader vr;
    if (kw_group_metadata_key_read(rd, 0, arena, &key) < 0)
        return -KB_ECORRUPT;
    if (value.data == NULL) {
        struct group *g = group_find(s, key.group);
        if (g != NULL) {
            group_image_remove(g);
            group_drop_if_nothing(g);
        }
        return GROUP_REPLAY_DONE;
    }
    kw_reader_init(&vr, value.data, value.size);
    int16_t version = kw_get_int16(&vr);
    if (kw_reader_ok(&vr) && (version < 0 || version > 4))
        return GROUP_REPLAY_IGNORED;
    if (!kw_reader_ok(&vr) || kw_group_metadata_value_read(&vr, version, arena, &v) < 0)
        return -KB_ECORRUPT;
    group_image_replace(group_add(s, key.group), &v);
    return GROUP_REPLAY_DONE;
}

int group_shard_replay(struct group_shard *s, struct kb_view key, struct kb_view value)
{
    struct kw_reader rd;
    struct kb_arena arena;
    int r = GROUP_REPLAY_IGNORED;
    kw_reader_init(&rd, key.data, key.size);
    int16_t version = kw_get_int16(&rd);
    if (!kw_reader_ok(&rd))
        return -KB_ECORRUPT;
    if (s->owed_records > 0)
        s->owed_records--;
    kb_arena_init(&arena, SIZE_MAX / 2);
    if (version == 0 || version == KEY_OFFSET)
        r = replay_offset(s, &rd, value, &arena);
    else if (version == KEY_METADATA)
        r = replay_metadata(s, &rd, value, &arena);
    kb_arena_release(&arena);
    group_charge(s);
    return r;
}

void group_effects_replay(struct group_shard *s, const struct group_effects *fx)
{
    for (size_t i = 0; i < fx->records_count; i++) {
        struct kb_view key;
        struct kb_view value;
        group_effects_record(fx, i, &key, &value);
        int r = group_shard_replay(s, key, value);
        KB_ASSERT(r == GROUP_REPLAY_DONE);
    }
}
