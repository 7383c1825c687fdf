/* Scenario: the same records give the same image, however one gets there; records that break an
 * invariant change nothing; snapshots cut or flipped anywhere are refused. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

#include <string.h>

#include "coordinator/metadata/records.h"
#include "proto/cluster/unpack.h"

static int apply(struct meta_image *image, const Kc__Record *record, struct meta_delta *delta)
{
    struct meta_records records = {0};
    meta_records_add(&records, record);
    int r = meta_image_apply(image, meta_image_last_index(image) + 1, 1,
                             meta_records_at(&records, 0), delta);
    meta_records_release(&records);
    return r;
}

/* A cluster with something of everything. */
static struct toy *full(void)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "orders", "1,2,3;2,3,1;3,1,2", "retention.ms=5000,segment.bytes=1048576");
    (void)toy_topic(t, "b.c", "3,1", NULL);
    (void)toy_set_config(t, NULL, "log.retention.ms", "777");
    int64_t first;
    int32_t count;
    (void)meta_controller_producer_ids(t->c, 1, t->brokers[1].epoch, &t->result, &first, &count);
    Kc__FeatureRecord feature = KC__FEATURE_RECORD__INIT;
    feature.name = kc_str("group.version");
    feature.has_level = 1;
    feature.level = 1;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_FEATURE;
    record.feature = &feature;
    meta_records_add(&t->result.records, &record);
    const struct meta_voter *voters = NULL;
    size_t count_voters = meta_image_voters(t->committed, &voters);
    struct meta_voter retired = {.id = 2, .directory = {{9}}};
    meta_records_add_voters(&t->result.records, voters, count_voters, &retired, 1);
    (void)toy_commit(t);
    toy_kill(t, 3);
    toy_tick(t);
    return t;
}

/* R10: a snapshot is the image, and what follows applies to both alike. */
START_TEST(snapshot__is_the_image)
{
    struct toy *t = full();
    struct kb_buf bytes = {0};
    struct kb_buf again = {0};
    struct meta_image *copy = NULL;
    meta_snapshot_write(t->committed, &bytes);
    ck_assert_int_eq(meta_snapshot_read(kb_view_of(bytes.data, bytes.size), &copy), 0);
    ck_assert_uint_eq(meta_image_digest(copy), meta_image_digest(t->committed));
    ck_assert_uint_eq(meta_image_last_index(copy), meta_image_last_index(t->committed));
    ck_assert_uint_eq(meta_image_last_term(copy), meta_image_last_term(t->committed));
    ck_assert_uint_eq(meta_image_content_hash(copy), meta_image_content_hash(t->committed));
    meta_snapshot_write(copy, &again);
    ck_assert_uint_eq(bytes.size, again.size);
    ck_assert_mem_eq(bytes.data, again.data, bytes.size);
    ck_assert_int_eq(meta_image_feature_level(copy, "group.version"), 1);
    ck_assert_int_eq(meta_image_next_producer_id(copy), 1000);
    ck_assert_uint_eq(meta_image_partitions_count(copy), 4);
    ck_assert_str_eq(meta_image_cluster_id(copy), "toy-cluster");
    ck_assert_int_eq(meta_image_founding_voter_count(copy), 3);
    const struct meta_voter *retired = NULL;
    ck_assert_uint_eq(meta_image_retired(copy, &retired), 1);
    ck_assert_int_eq(retired[0].id, 2);
    ck_assert_uint_eq(retired[0].directory.bytes[0], 9);

    uint64_t next = meta_image_last_index(copy) + 1;
    meta_records_add_no_op(&t->result.records);
    ck_assert_int_eq(
        meta_image_apply(copy, next, t->term, meta_records_at(&t->result.records, 0), NULL), 0);
    (void)toy_commit(t);
    ck_assert_uint_eq(meta_image_digest(copy), meta_image_digest(t->committed));
    (void)meta_image_free(copy);
    kb_buf_release(&bytes);
    kb_buf_release(&again);
    (void)toy_free(t);
}
END_TEST

START_TEST(snapshot__cut_or_flipped_is_refused)
{
    struct toy *t = full();
    struct kb_buf bytes = {0};
    struct meta_image *copy = NULL;
    meta_snapshot_write(t->committed, &bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *part = malloc(size > 0 ? size : 1);
        memcpy(part, bytes.data, size);
        ck_assert_int_lt(meta_snapshot_read(kb_view_of(part, size), &copy), 0);
        free(part);
    }
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 0x10;
        ck_assert_int_lt(meta_snapshot_read(kb_view_of(bytes.data, bytes.size), &copy), 0);
        bytes.data[i] ^= 0x10;
    }
    kb_buf_append(&bytes, "x", 1);
    ck_assert_int_lt(meta_snapshot_read(kb_view_of(bytes.data, bytes.size), &copy), 0);
    kb_buf_release(&bytes);
    (void)toy_free(t);
}
END_TEST

/* 6.2: the speculative copy shares nothing. */
START_TEST(clone__is_equal_and_separate)
{
    struct toy *t = full();
    struct meta_image *copy = meta_image_clone(t->committed);
    uint64_t hash = meta_image_content_hash(t->committed);
    ck_assert_uint_eq(meta_image_content_hash(copy), hash);
    ck_assert_ptr_ne(meta_image_topic(copy, "orders"), meta_image_topic(t->committed, "orders"));
    Kc__TopicRemoveRecord gone = KC__TOPIC_REMOVE_RECORD__INIT;
    gone.has_topic_id = 1;
    gone.topic_id = kc_uuid_field(&meta_image_topic(t->committed, "orders")->id);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_TOPIC_REMOVE;
    record.topic_remove = &gone;
    ck_assert_int_eq(meta_image_apply(copy, 0, 1, kb_view_of(NULL, 0), NULL), -KB_ECORRUPT);
    struct meta_records records = {0};
    meta_records_add(&records, &record);
    ck_assert_int_eq(meta_image_apply(copy, meta_image_last_index(copy) + 1, t->term,
                                      meta_records_at(&records, 0), NULL),
                     0);
    ck_assert_ptr_null(meta_image_topic(copy, "orders"));
    ck_assert_uint_eq(meta_image_partitions_count(copy), 1);
    ck_assert_uint_eq(meta_image_content_hash(t->committed), hash);
    meta_records_release(&records);
    (void)meta_image_free(copy);
    (void)toy_free(t);
}
END_TEST

static Kc__PartitionRecord partition_record(struct toy *t, int32_t *replicas)
{
    const struct meta_partition *p = toy_partition(t, "orders", 0);
    Kc__PartitionRecord r = KC__PARTITION_RECORD__INIT;
    r.has_topic_id = 1;
    r.topic_id = kc_uuid_field(&p->topic->id);
    r.has_partition = 1;
    r.n_replicas = 3;
    r.replicas = replicas;
    r.has_leader = 1;
    r.leader = 1;
    r.has_leader_broker_epoch = 1;
    r.leader_broker_epoch = p->leader_broker_epoch;
    r.has_leader_epoch = 1;
    r.leader_epoch = p->leader_epoch;
    r.has_partition_epoch = 1;
    r.partition_epoch = p->partition_epoch + 1;
    r.n_isr = 2;
    r.isr = replicas;
    return r;
}

static int apply_partition(struct toy *t, Kc__PartitionRecord *r)
{
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_PARTITION;
    record.partition = r;
    return apply(t->committed, &record, NULL);
}

/* R16 holds against whatever bytes come. */
START_TEST(apply__refuses_partitions_that_break_r16)
{
    struct toy *t = full();
    int32_t ids[] = {1, 2, 3};
    int32_t twice[] = {1, 1, 3};
    int32_t foreign[] = {1, 7};
    uint64_t hash = meta_image_content_hash(t->committed);
    uint64_t index = meta_image_last_index(t->committed);
    Kc__PartitionRecord r = partition_record(t, ids);
    r.leader = 3; /* not in the ISR */
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.leader_broker_epoch++; /* another incarnation needs another epoch */
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.partition_epoch--;
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.leader_epoch--;
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.n_elr = 1;
    r.elr = ids; /* in ISR and ELR */
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.isr = foreign;
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, twice);
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.partition = 4; /* a gap */
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    r = partition_record(t, ids);
    r.n_replicas = 2; /* other replicas without their directories */
    ck_assert_int_eq(apply_partition(t, &r), -KB_ECORRUPT);
    ck_assert_uint_eq(meta_image_content_hash(t->committed), hash);
    ck_assert_uint_eq(meta_image_last_index(t->committed), index);
    r = partition_record(t, ids);
    ck_assert_int_eq(apply_partition(t, &r), 0);
    (void)toy_free(t);
}
END_TEST

START_TEST(apply__refuses_what_cannot_follow)
{
    struct toy *t = full();
    Kc__Record record = KC__RECORD__INIT;
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_EUNSUPPORTED);
    Kc__ProducerIdsRecord ids = KC__PRODUCER_IDS_RECORD__INIT;
    ids.has_next_id = 1;
    ids.next_id = 1000; /* issued already */
    record.kind_case = KC__RECORD__KIND_PRODUCER_IDS;
    record.producer_ids = &ids;
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_ECORRUPT);
    Kc__BrokerChangeRecord change = KC__BROKER_CHANGE_RECORD__INIT;
    change.has_broker_id = 1;
    change.broker_id = 2;
    change.has_broker_epoch = 1;
    change.broker_epoch = 1; /* not its epoch */
    record.kind_case = KC__RECORD__KIND_BROKER_CHANGE;
    record.broker_change = &change;
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_ECORRUPT);
    Kc__ClusterRecord cluster = KC__CLUSTER_RECORD__INIT;
    cluster.cluster_id = kc_str("another");
    record.kind_case = KC__RECORD__KIND_CLUSTER;
    record.cluster = &cluster;
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_ECORRUPT);
    Kc__TopicRecord topic = KC__TOPIC_RECORD__INIT;
    struct kb_uuid id = {{1}};
    topic.has_topic_id = 1;
    topic.topic_id = kc_uuid_field(&id);
    topic.name = kc_str("orders"); /* there already */
    record.kind_case = KC__RECORD__KIND_TOPIC;
    record.topic = &topic;
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_ECORRUPT);
    topic.name = kc_str("no/such");
    ck_assert_int_eq(apply(t->committed, &record, NULL), -KB_ECORRUPT);
    (void)toy_free(t);
}
END_TEST

/* Random flips and cuts of real records: an error or a consistent image, never a crash. */
START_TEST(apply__survives_broken_bytes)
{
    struct toy *t = full();
    struct kb_buf bytes = {0};
    struct kb_prng prng;
    kb_prng_init(&prng, 11);
    meta_snapshot_write(t->committed, &bytes);
    struct meta_image *image = meta_image_clone(t->committed);
    for (int round = 0; round < 3000; round++) {
        size_t at = 0;
        for (uint64_t skip = kb_prng_below(&prng, 14); skip > 0; skip--)
            at += 8 + kb_get_be32(bytes.data + at);
        size_t size = kb_get_be32(bytes.data + at);
        uint8_t *record = malloc(size + 1);
        memcpy(record, bytes.data + at + 8, size);
        for (int flips = 0; flips < 3 && size > 0; flips++)
            record[kb_prng_below(&prng, size)] ^= (uint8_t)(1u << kb_prng_below(&prng, 8));
        size -= kb_prng_below(&prng, 4) == 0 ? kb_prng_below(&prng, size + 1) : 0;
        (void)meta_image_apply(image, meta_image_last_index(image) + 1, t->term,
                               kb_view_of(record, size), NULL);
        free(record);
    }
    struct kb_buf after = {0};
    struct meta_image *copy = NULL;
    meta_snapshot_write(image, &after);
    ck_assert_int_eq(meta_snapshot_read(kb_view_of(after.data, after.size), &copy), 0);
    ck_assert_uint_eq(meta_image_content_hash(copy), meta_image_content_hash(image));
    (void)meta_image_free(copy);
    (void)meta_image_free(image);
    kb_buf_release(&bytes);
    kb_buf_release(&after);
    (void)toy_free(t);
}
END_TEST

START_TEST(delta__says_what_changed_once)
{
    struct toy *t = toy_up(3);
    struct meta_delta delta = {0};
    struct meta_image *image = meta_image_clone(t->committed);
    uint64_t first = meta_image_last_index(image) + 1;
    (void)toy_topic(t, "x", "1,2;2,1", "retention.ms=9");
    struct kb_uuid id = meta_image_topic(t->committed, "x")->id;
    toy_kill(t, 2);
    meta_controller_tick(t->c, t->now_ms, &t->result);
    for (size_t i = 0; i < t->result.records.count; i++) {
        (void)meta_image_apply(t->committed, meta_image_last_index(t->committed) + 1, t->term,
                               meta_records_at(&t->result.records, i), &delta);
    }
    meta_delta_finish(&delta);
    ck_assert_uint_eq(delta.topics_count, 0);
    ck_assert_uint_eq(delta.partitions_count, 2);
    ck_assert(kb_uuid_equal(&delta.partitions[0].topic_id, &id));
    ck_assert_int_eq(delta.partitions[1].index, 1);
    ck_assert(!delta.partitions[0].created);
    ck_assert_int_eq(delta.partitions[0].former_leader, 1);
    ck_assert_int_eq(delta.partitions[1].former_leader, 2);
    ck_assert_uint_eq(delta.partitions[1].former_isr, 3);
    ck_assert_uint_eq(delta.brokers_count, 1);
    ck_assert_int_eq(delta.brokers[0], 2);
    ck_assert(!delta.default_configs && !delta.voters && !delta.all);
    ck_assert_uint_eq(meta_image_last_index(image) + 1, first);
    meta_delta_release(&delta);
    (void)meta_image_free(image);
    (void)toy_free(t);
}
END_TEST

START_TEST(topic_name_check__kafkas_rules)
{
    char name[META_TOPIC_NAME_MAX + 1];
    memset(name, 'a', sizeof(name));
    ck_assert_int_eq(meta_topic_name_check(name, META_TOPIC_NAME_MAX, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check(name, META_TOPIC_NAME_MAX + 1, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check("", 0, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check(".", 1, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check("..", 2, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check("a b", 3, NULL), 0);
    ck_assert_int_lt(meta_topic_name_check("a\0b", 3, NULL), 0);
    ck_assert_int_eq(meta_topic_name_check("A.b_c-9", 7, NULL), 0);
    ck_assert(meta_topic_name_internal("__consumer_offsets"));
    ck_assert(!meta_topic_name_internal("__x"));
}
END_TEST

UNIT_MAIN("image", snapshot__is_the_image, snapshot__cut_or_flipped_is_refused,
          clone__is_equal_and_separate, apply__refuses_partitions_that_break_r16,
          apply__refuses_what_cannot_follow, apply__survives_broken_bytes,
          delta__says_what_changed_once, topic_name_check__kafkas_rules)
