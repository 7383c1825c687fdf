/* The checker of what brokers ask the controller (R17), shown requests with old epochs that are
 * answered, and others that are not old or refused. */
#include "proto/cluster/metadata.pb-c.h"
#include "proto/cluster/peer.pb-c.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_wire_check.h"
#include "tests/unit/unit.h"

static struct {
    struct sim_checks checks;
    struct sim_metadata_check *metadata;
    struct sim_wire_check *wire;
    int64_t index;
} w;

static uint8_t topic_id[16] = {9};

/* A registration: the epoch is the index it gets, returned. */
static uint64_t registers(int32_t id)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    struct kb_buf value = {0};
    Kc__BrokerRecord broker = KC__BROKER_RECORD__INIT;
    Kc__Record record = KC__RECORD__INIT;
    broker.has_broker_id = broker.has_incarnation = 1;
    broker.broker_id = id;
    broker.incarnation = (uint64_t)w.index + 1000;
    record.kind_case = KC__RECORD__KIND_BROKER;
    record.broker = &broker;
    (void)kc_pack(&value, &record.base);
    kw_batch_builder_init(&b);
    b.base_offset = w.index;
    b.leader_epoch = 1;
    ck_assert_int_eq(
        kw_batch_builder_add(&b, 1, kw_bytes_of(NULL, 0), kw_bytes_of(value.data, value.size)), 0);
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    kb_buf_release(&value);
    sim_metadata_check_batch(w.metadata, kb_view_of(block->data, block->size));
    (void)kb_block_unref(block);
    return (uint64_t)w.index++;
}

/* Connection end 5 is the controller's, 6 the broker's. */
static void deliver(const Kvorum__PeerMessage *m, bool to_controller)
{
    uint8_t frame[512];
    size_t size = kvorum__peer_message__get_packed_size(m);
    ck_assert_uint_le(size + 4, sizeof(frame));
    kb_put_be32(frame, (uint32_t)size);
    (void)kvorum__peer_message__pack(m, frame + 4);
    sim_wire_check_frame(w.wire, to_controller ? 5 : 6, to_controller ? 6 : 5,
                         kb_view_of(frame, size + 4));
}

static void beat(uint64_t request, int32_t id, uint64_t epoch)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__HeartbeatRequest q = KVORUM__HEARTBEAT_REQUEST__INIT;
    m.has_request_id = 1;
    m.request_id = request;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST;
    m.heartbeat_request = &q;
    q.has_node_id = q.has_broker_epoch = 1;
    q.node_id = id;
    q.broker_epoch = epoch;
    deliver(&m, true);
}

static void answer_beat(uint64_t request, int32_t error)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__HeartbeatResponse r = KVORUM__HEARTBEAT_RESPONSE__INIT;
    m.has_response_to = 1;
    m.response_to = request;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_RESPONSE;
    m.heartbeat_response = &r;
    r.has_error = 1;
    r.error = error;
    deliver(&m, false);
}

/* Broker 1 wants itself and broker 2 in the ISR of partition 3. */
static void alter(uint64_t request, uint64_t epoch, uint64_t member_epoch)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__AlterPartitionRequest q = KVORUM__ALTER_PARTITION_REQUEST__INIT;
    Kvorum__AlterPartitionRequest__Item item = KVORUM__ALTER_PARTITION_REQUEST__ITEM__INIT;
    Kvorum__AlterPartitionRequest__Item *items[] = {&item};
    int32_t isr[] = {1, 2};
    uint64_t epochs[] = {epoch, member_epoch};
    m.has_request_id = 1;
    m.request_id = request;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST;
    m.alter_partition_request = &q;
    q.has_node_id = q.has_broker_epoch = 1;
    q.node_id = 1;
    q.broker_epoch = epoch;
    q.items = items;
    q.n_items = 1;
    item.has_topic_id = item.has_partition = 1;
    item.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    item.partition = 3;
    item.isr = isr;
    item.n_isr = 2;
    item.isr_broker_epochs = epochs;
    item.n_isr_broker_epochs = 2;
    deliver(&m, true);
}

static void answer_alter(uint64_t request, int32_t error, int32_t item_error)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__AlterPartitionResponse r = KVORUM__ALTER_PARTITION_RESPONSE__INIT;
    Kvorum__AlterPartitionResponse__Item item = KVORUM__ALTER_PARTITION_RESPONSE__ITEM__INIT;
    Kvorum__AlterPartitionResponse__Item *items[] = {&item};
    m.has_response_to = 1;
    m.response_to = request;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE;
    m.alter_partition_response = &r;
    r.has_error = 1;
    r.error = error;
    r.items = items;
    r.n_items = 1;
    item.has_topic_id = item.has_partition = item.has_error = 1;
    item.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    item.partition = 3;
    item.error = item_error;
    deliver(&m, false);
}

static void begin(void)
{
    memset(&w, 0, sizeof(w));
    w.index = 1;
    w.metadata = sim_metadata_check_new(&w.checks);
    w.wire = sim_wire_check_new(&w.checks, w.metadata);
    ck_assert_uint_eq(registers(1), 1);
    ck_assert_uint_eq(registers(2), 2);
}

static void end(int only)
{
    w.wire = sim_wire_check_free(w.wire);
    w.metadata = sim_metadata_check_free(w.metadata);
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(w.checks.check[i].failures == 1, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(w.checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          w.checks.check[i].first);
    }
}

START_TEST(wire_check__accepts_new_requests_and_refusals_of_old_ones)
{
    begin();
    beat(1, 2, 2);
    (void)registers(2); /* behind the request: it was not old when it came */
    answer_beat(1, 0);
    alter(2, 1, 3);
    answer_alter(2, 0, 0);
    ck_assert_uint_eq(sim_wire_check_old(w.wire), 0);
    beat(3, 2, 2);
    answer_beat(3, 77);
    alter(4, 1, 2);
    answer_alter(4, 0, 107);
    alter(5, 0, 3);
    answer_alter(5, 77, 0);
    beat(6, 2, 2);  /* and never an answer */
    beat(7, 2, 99); /* ahead of what this checker has seen committed */
    answer_beat(7, 0);
    ck_assert_uint_eq(sim_wire_check_old(w.wire), 5);
    ck_assert_uint_gt(w.checks.check[SIM_CHECK_R17].checks, 6);
    end(-1);
}
END_TEST

START_TEST(wire_check__names_old_requests_that_are_answered)
{
    begin();
    (void)registers(2);
    beat(1, 2, 2);
    answer_beat(1, 0);
    end(SIM_CHECK_R17);
    begin();
    (void)registers(2);
    alter(1, 1, 2); /* KIP-903 */
    answer_alter(1, 0, 0);
    end(SIM_CHECK_R17);
    begin();
    (void)registers(1);
    alter(1, 1, 2);
    answer_alter(1, 0, 107);
    end(SIM_CHECK_R17);
}
END_TEST

UNIT_MAIN("sim_wire_check", wire_check__accepts_new_requests_and_refusals_of_old_ones,
          wire_check__names_old_requests_that_are_answered)
