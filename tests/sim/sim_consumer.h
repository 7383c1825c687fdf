#ifndef SIM_CONSUMER_H
#define SIM_CONSUMER_H

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_start_check.h"

/* A consumer without a group: reads every partition from offset 0 (or, assigned, what it is told),
 * each leader by one long poll at a time, and hands on what it reads. It judges that offsets come
 * without gaps, that nothing it has read is taken back (P10), and that its position is never out of
 * range, unless what it would read may be gone: then it goes on where the log begins. */
struct sim_consumer;

struct kw_record;

typedef void sim_record_fn(void *arg, uint32_t partition, int64_t offset, struct kb_view value);
typedef void sim_keyed_fn(void *arg, uint32_t partition, const struct kw_record *record);
struct sim_consumer_options {
    struct sim_client_options client;
    struct sim_checks *checks; /* borrowed */
    uint32_t number;
    uint32_t max_wait_ms;
    bool assigned;                  /* reads nothing until sim_consumer_assign */
    struct sim_start_check *starts; /* what may be gone; borrowed, NULL: nothing */
    bool gaps;                      /* offsets may be missing: the topics are compacted */
    sim_record_fn *on_record;       /* or on_keyed */
    sim_keyed_fn *on_keyed;
    void *arg;
};
struct sim_consumer *sim_consumer_new(struct kb_env *env,
                                      const struct sim_consumer_options *options);
struct sim_consumer *sim_consumer_free(struct sim_consumer *c);
/* Read this partition from offset on; -1: not any more. What is on its way does not count. */
void sim_consumer_assign(struct sim_consumer *c, uint32_t partition, int64_t offset);
/* The offset it reads next; -1 = not assigned. */
int64_t sim_consumer_position(const struct sim_consumer *c, uint32_t partition);
/* Where it went on last after finding that what it wanted to read is gone; 0: it never did. */
int64_t sim_consumer_began(const struct sim_consumer *c, uint32_t partition);
/* The largest high watermark a leader told it; 0 before. */
int64_t sim_consumer_high_watermark(const struct sim_consumer *c, uint32_t partition);

#endif
