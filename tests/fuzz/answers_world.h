#ifndef FUZZ_ANSWERS_WORLD_H
#define FUZZ_ANSWERS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* The calls by which `kvorum` commands reach the network and the clock, replaced by the linker
 * (--wrap, see meson.build): every name resolves, every connection opens at once, what is sent on
 * it is given to a function that says what comes back, and time passes when somebody waits. Outside
 * of a run the real calls are made. */

enum { AW_CONNS_MAX = 64 };

/* Frames that came whole on a connection, without their size. What is appended to answer comes
 * back, framed or not; false: the other end closes behind it. */
typedef bool aw_request_fn(void *arg, struct kb_view frame, struct kb_buf *answer);

/* From here to aw_end the world is this one. input: what can be read from stdin. */
void aw_begin(aw_request_fn *fn, void *arg, struct kb_view input);
/* SIGINT comes, to who waits for signals; also by itself after a long time. */
void aw_interrupt(void);
/* Everything that was opened must have been closed. */
void aw_end(void);

#endif
