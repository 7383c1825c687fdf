#ifndef SIM_WIRE_CHECK_H
#define SIM_WIRE_CHECK_H

#include "proto/base/bytes.h"
#include "tests/sim/sim_metadata_check.h"

/* R17 by what brokers send each other: whoever asks the controller with a broker epoch that is not
 * the newest, or for a replica whose epoch is not, is refused. A request is old when a newer epoch
 * was committed before it arrived. */
struct sim_wire_check;

struct sim_wire_check *sim_wire_check_new(struct sim_checks *checks,
                                          const struct sim_metadata_check *metadata);
struct sim_wire_check *sim_wire_check_free(struct sim_wire_check *c);
/* A frame between brokers reached a process. conn: names the end it came to; other: the end it was
 * sent from. */
void sim_wire_check_frame(struct sim_wire_check *c, uint64_t conn, uint64_t other,
                          struct kb_view frame);
/* Requests so far that were old. */
uint64_t sim_wire_check_old(const struct sim_wire_check *c);

#endif
