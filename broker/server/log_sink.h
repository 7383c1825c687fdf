#ifndef SRV_LOG_SINK_H
#define SRV_LOG_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/log.h"

/* The process's log: one line per event on a descriptor, written by a thread of its own from a
 * bounded ring, so that a stuck reader of standard error never holds up the broker. Lines that do
 * not fit are dropped and counted in the next one that does.
 *   2026-11-22T12:04:11.302Z INFO raft node=3 event=became_leader term=8
 *   {"time":"2026-…","level":"info","component":"raft","node":3,"event":"became_leader","term":8}
 */
struct srv_log_options {
    int fd; /* not closed */
    bool json;
    enum kb_log_level level;
    int32_t node_id;
};
/* Becomes the sink of kb_log. 0 or -KB_ENOMEM. */
int srv_log_open(const struct srv_log_options *options);
/* Wait until all is written, a second at most. Any thread. */
void srv_log_flush(void);
/* Flush, end the thread, give the sink back. */
void srv_log_close(void);

struct kb_buf;
/* Append one line, with its newline (for the sink and tests). wall_ms: since 1970. */
void srv_log_format(struct kb_buf *to, bool json, int64_t wall_ms, enum kb_log_level level,
                    const char *component, int32_t node_id, const char *text);

#endif
