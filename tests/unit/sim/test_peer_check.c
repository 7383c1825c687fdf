/* Frames between a follower (node 1) and a leader (node 0), as the brokers write them: reports must
 * be handed on, and answers to what was not asked must be named. */
#include "tests/sim/sim_peer_check.h"

#include "proto/base/mem.h"
#include "proto/cluster/peer.pb-c.h"
#include "tests/unit/unit.h"

#define CONN 7

struct fixture {
    struct sim_checks checks;
    struct sim_peer_check *c;
    uint32_t reports;
    int64_t reported;      /* last */
    uint64_t broker_epoch; /* of the follower, as the leader knows */
};

static uint8_t topic_id[16] = {5};

static int32_t partition_of(void *arg, struct kb_view id, int32_t index)
{
    return memcmp(id.data, topic_id, sizeof(topic_id)) == 0 ? index : -1;
}

static void on_reported(void *arg, uint32_t node, uint32_t partition, int64_t durable)
{
    struct fixture *f = arg;
    ck_assert_uint_eq(node, 1);
    ck_assert_uint_eq(partition, 2);
    f->reports++;
    f->reported = durable;
}

static uint64_t broker_epoch(void *arg, uint32_t at, uint32_t of)
{
    ck_assert_uint_eq(at, 0);
    ck_assert_uint_eq(of, 1);
    return ((struct fixture *)arg)->broker_epoch;
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->broker_epoch = 30;
    struct sim_peer_options o = {.checks = &f->checks,
                                 .partitions = 3,
                                 .partition_of = partition_of,
                                 .on_reported = on_reported,
                                 .broker_epoch = broker_epoch,
                                 .arg = f};
    f->c = sim_peer_check_new(&o);
}

static void expect(struct fixture *f, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(f->checks.check[i].failures > 0, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->c = sim_peer_check_free(f->c);
}

static void tell(struct fixture *f, uint32_t from, bool sent, const Kvorum__PeerMessage *m)
{
    size_t size = kvorum__peer_message__get_packed_size(m);
    uint8_t *frame = kb_alloc(4 + size + 3);
    kb_put_be32(frame, (uint32_t)size);
    (void)kvorum__peer_message__pack(m, frame + 4);
    sim_peer_check_frame(f->c, from, 1 - from, CONN, sent, kb_view_of(frame, 4 + size + 3));
    kb_free(frame);
}

/* A fetch for partition 2, on its way and there. */
static void ask(struct fixture *f, int32_t epoch, uint64_t life, int64_t durable)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__FetchRequest q = KVORUM__FETCH_REQUEST__INIT;
    Kvorum__FetchPartition p = KVORUM__FETCH_PARTITION__INIT;
    Kvorum__FetchPartition *list = &p;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST;
    m.fetch_request = &q;
    m.has_request_id = 1;
    m.request_id = 300;
    q.n_partitions = 1;
    q.partitions = &list;
    q.has_broker_epoch = 1;
    q.broker_epoch = life;
    p.has_topic_id = p.has_partition = p.has_leader_epoch = p.has_fetch_offset = p.has_durable = 1;
    p.has_last_fetched_epoch = 1;
    p.last_fetched_epoch = -1;
    p.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    p.partition = 2;
    p.leader_epoch = epoch;
    p.fetch_offset = durable + 5;
    p.durable = durable;
    tell(f, 1, true, &m);
    tell(f, 1, false, &m);
}

/* To a request for this offset; -1 does not say. */
static void answer_from(struct fixture *f, int64_t offset, int32_t epoch, int32_t error)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__FetchResponse s = KVORUM__FETCH_RESPONSE__INIT;
    Kvorum__FetchResponse__Item i = KVORUM__FETCH_RESPONSE__ITEM__INIT;
    Kvorum__FetchResponse__Item *list = &i;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FETCH_RESPONSE;
    m.fetch_response = &s;
    m.has_response_to = 1;
    m.response_to = 300;
    s.n_items = 1;
    s.items = &list;
    i.has_topic_id = i.has_partition = i.has_leader_epoch = 1;
    i.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    i.partition = 2;
    i.leader_epoch = epoch;
    i.has_error = error != 0;
    i.error = error;
    i.has_fetch_offset = offset >= 0;
    i.fetch_offset = offset;
    tell(f, 0, true, &m);
    tell(f, 0, false, &m);
}

static void answer(struct fixture *f, int32_t epoch, int32_t error)
{
    answer_from(f, -1, epoch, error);
}

START_TEST(peer_check__hands_on_what_is_reported_as_durable)
{
    struct fixture f;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__DurableReport r = KVORUM__DURABLE_REPORT__INIT;
    Kvorum__DurableReport__Item i = KVORUM__DURABLE_REPORT__ITEM__INIT;
    Kvorum__DurableReport__Item *list = &i;
    setup(&f);
    ask(&f, 1, 30, 1000);
    ck_assert_uint_eq(f.reports, 1); /* as it leaves, once */
    ck_assert_int_eq(f.reported, 1000);
    m.body_case = KVORUM__PEER_MESSAGE__BODY_DURABLE_REPORT;
    m.durable_report = &r;
    r.n_items = 1;
    r.items = &list;
    i.has_topic_id = i.has_partition = i.has_written = i.has_durable = 1;
    i.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    i.partition = 2;
    i.written = 2100;
    i.durable = 2000;
    tell(&f, 1, true, &m);
    tell(&f, 1, false, &m);
    ck_assert_uint_eq(f.reports, 2);
    ck_assert_int_eq(f.reported, 2000);
    expect(&f, -1);
}
END_TEST

START_TEST(peer_check__accepts_answers_to_what_was_asked)
{
    struct fixture f;
    setup(&f);
    ask(&f, 1, 30, 0);
    answer(&f, 1, 0);
    answer(&f, 1, 0); /* more of the same */
    ask(&f, 2, 30, 0);
    answer(&f, 1, 0); /* it was on its way already */
    answer(&f, 2, 0);
    answer(&f, 3, 74);
    f.broker_epoch = 40; /* its new life has registered */
    answer(&f, 2, 0);
    ask(&f, 2, 40, 0);
    answer(&f, 2, 0);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P15].checks, 12);
    expect(&f, -1);
}
END_TEST

START_TEST(peer_check__names_who_serves_another_epoch)
{
    struct fixture f;
    setup(&f);
    ask(&f, 1, 30, 0);
    answer(&f, 2, 0); /* it leads a later one */
    expect(&f, SIM_CHECK_P15);
    setup(&f);
    ask(&f, 1, 30, 0);
    ask(&f, 2, 30, 0);
    answer(&f, 2, 0);
    answer(&f, 1, 0); /* it does not know yet of the one it was asked for */
    expect(&f, SIM_CHECK_P15);
}
END_TEST

START_TEST(peer_check__names_who_serves_a_former_life)
{
    struct fixture f;
    setup(&f);
    ask(&f, 1, 30, 0);
    f.broker_epoch = 31;
    answer(&f, 1, 0); /* it was on its way already */
    ask(&f, 1, 30, 0);
    answer(&f, 1, 0); /* which of both it is for nobody knows */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P15].failures, 0);
    ask(&f, 1, 30, 3);
    answer_from(&f, 8, 1, 0);
    expect(&f, SIM_CHECK_P15);
}
END_TEST

UNIT_MAIN("sim_peer_check", peer_check__hands_on_what_is_reported_as_durable,
          peer_check__accepts_answers_to_what_was_asked, peer_check__names_who_serves_another_epoch,
          peer_check__names_who_serves_a_former_life)
