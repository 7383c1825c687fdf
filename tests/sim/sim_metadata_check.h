#ifndef SIM_METADATA_CHECK_H
#define SIM_METADATA_CHECK_H

#include "proto/base/bytes.h"
#include "tests/sim/sim_checks.h"

/* R16: the partition records the quorum commits, in order, move every partition only legally. R17:
 * brokers register with rising epochs, are changed by their newest one, and are in no new ISR while
 * fenced. R18: no epoch, topic id or producer id is given twice. Reads the bytes of the metadata
 * log, without the broker's image. */
struct sim_metadata_check;

struct sim_metadata_check *sim_metadata_check_new(struct sim_checks *checks);
struct sim_metadata_check *sim_metadata_check_free(struct sim_metadata_check *c);
/* A partition as the last committed record has it; bit n of isr and elr stands for
 * node id n. */
struct sim_metadata_partition {
    int32_t leader, leader_epoch, partition_epoch;
    uint32_t isr, elr;
};
/* False: no record yet. */
bool sim_metadata_check_find(const struct sim_metadata_check *c, const uint8_t topic_id[16],
                             int32_t partition, struct sim_metadata_partition *ret);
/* By the committed records up to this index the topic is there. */
bool sim_metadata_check_has_topic(const struct sim_metadata_check *c, const uint8_t topic_id[16],
                                  uint64_t index);
/* Some topic that ever was; NULL there is none. */
const uint8_t *sim_metadata_check_any_topic(const struct sim_metadata_check *c, uint64_t chance);
/* One committed batch of the metadata log, whole; batches come in order, each once. */
void sim_metadata_check_batch(struct sim_metadata_check *c, struct kb_view batch);
/* Producer ids below this one are given. */
int64_t sim_metadata_check_producer_ids(const struct sim_metadata_check *c);
/* A topic was made with this id; it may be gone. */
bool sim_metadata_check_topic(const struct sim_metadata_check *c, const uint8_t topic_id[16]);
/* Of its newest registration; 0 = none. ret_incarnation may be NULL. */
uint64_t sim_metadata_check_broker_epoch(const struct sim_metadata_check *c, int32_t id,
                                         uint64_t *ret_incarnation);
/* Every partition of every topic there is has a leader, and all its replicas are in the ISR.
 * Otherwise false, and the first that has not. */
bool sim_metadata_check_whole(const struct sim_metadata_check *c, char text[96]);
/* Some partition has had no eligible replica but this node's since it was made. */
bool sim_metadata_check_alone(const struct sim_metadata_check *c, int32_t id);

/* Changes of leader so far. */
uint64_t sim_metadata_check_elections(const struct sim_metadata_check *c);

#endif
