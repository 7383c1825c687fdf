#ifndef FUZZ_CLIENT_EXPECT_H
#define FUZZ_CLIENT_EXPECT_H

#include "tests/fuzz/client_stage.h"

/* What a broker owes a connection, known from the bytes that it was sent (client_stage.h). */

void expect_sent(struct cstage_slot *slot, const uint8_t *data, size_t size);
/* An answer without its size: the one that is due, or the run ends. Handles are taken from it. */
void expect_answer(struct cstage_slot *slot, struct kb_view frame);
/* The broker closed it: it had to, or might. */
void expect_close(const struct cstage_slot *slot);
/* Something must still come, an answer or the end; *ret_ms: within this time. */
bool expect_wait(const struct cstage_slot *slot, uint64_t *ret_ms);

#endif
