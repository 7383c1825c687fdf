#ifndef CLI_PRODUCE_H
#define CLI_PRODUCE_H

#include "broker/cli/producer.h"

/* What produce and consume share: waiting for a topic, and words. */

/* Is the topic known? CLI_OK; -1: not yet, look again after the next change; or the exit code, told
 * on stderr: it does not exist, or no node can be reached within --timeout. */
int cli_topic_wait(const struct cli_args *args, struct cli_wire *wire, size_t topic,
                   uint64_t began_ms);
/* Why a batch was not acknowledged, on stderr. Asks the nodes who left the ISR, and why. */
void cli_produce_tell(const struct cli_args *args, const struct cli_wire *wire,
                      const struct cli_delivery *d);
/* "Nodes 1 and 2 left the ISR 4.1 s and 3.8 s ago (lagging)." of what a leader says; appended. */
void cli_produce_leavers(const Kvorum__StatusPartition *p, struct kb_buf *ret);

#endif
