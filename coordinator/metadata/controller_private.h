#ifndef META_CONTROLLER_PRIVATE_H
#define META_CONTROLLER_PRIVATE_H

#include "coordinator/metadata/controller.h"
#include "coordinator/metadata/image_private.h"
#include "coordinator/metadata/topic_config.h"
#include "proto/base/prng.h"

/* What the controller's files share. session.c judges brokers, elect.c chooses leaders, change.c
 * turns a decision about one partition into a record; everything else walks partitions and calls
 * these. */

#define META_NEVER UINT64_MAX

enum {
    META_PLAN_BYTES_MAX = 2 << 20, /* records of one broker event; the rest follows (6.5) */
    META_PRODUCER_ID_BLOCK = 1000,
    META_RETURN_MS = 5000,         /* rule 7.5 */
    META_GRACE_DECAY_MS = 3600000, /* rule 7.5 */
    META_GAVE_UP_MS = 60000,       /* such a broker does not get its leaderships back before */
    META_BALANCE_BATCH = 1000,     /* preferred leaders moved at once */
    META_REQUEST_PARTITIONS_MAX = 10000, /* made by one request */
};

/* Soft state of one broker. */
struct meta_session {
    int32_t broker_id;
    enum meta_link link;
    uint64_t link_since_ms;
    uint64_t incarnation; /* of the last hello; 0 = none */
    uint64_t heard_ms;    /* last sign of life of that incarnation; 0 = none */
    uint64_t grace_ms;    /* rule 7.2, doubled by 7.5 */
    uint64_t grace_changed_ms;
    uint64_t fenced_ms;              /* by this controller; 0 = not, or it has returned since */
    uint64_t gave_up_ms;             /* last asked for another leader (1.7, 9.3); 0 = never */
    bool stalled;                    /* rule 9.4, by its last heartbeat */
    bool stall_known;                /* it has sent one to this controller */
    uint64_t reported_epoch;         /* broker epoch the reports belong to; 0 = none */
    struct meta_log_report *reports; /* by (topic id, partition) */
    size_t reports_count;
    int32_t *dead_links;
    size_t dead_links_count;
};
/* A leaderless partition whose live members are all cut (rule 4.5). */
struct meta_wait {
    struct kb_uuid topic_id;
    int32_t partition;
    uint64_t since_ms;
};
/* When a partition's leader was changed for its links (rule 4.8). */
struct meta_link_election {
    struct kb_uuid topic_id;
    int32_t partition;
    uint64_t at_ms;
};
struct meta_controller {
    struct meta_controller_config config;
    struct meta_image *image; /* speculative */
    struct kb_prng prng;
    struct meta_session **sessions; /* by broker id */
    size_t sessions_count;
    size_t sessions_capacity;
    bool scanning;
    uint64_t scan_until_ms;
    bool recheck_all;    /* walk all partitions for members that are not live */
    bool recheck_stall;  /* a disk began or ceased to stall */
    bool recheck_links;  /* a broker does not reach another one (4.8) */
    bool unbalanced;     /* some partition is not led by its preferred leader */
    uint64_t balance_ms; /* when to move leaders back; META_NEVER = not planned */
    struct meta_wait *waits;
    size_t waits_count;
    size_t waits_capacity;
    struct meta_link_election *link_elections;
    size_t link_elections_count;
    size_t link_elections_capacity;
};

/* ---- session.c ----------------------------------------------------------------------------------
 */

struct meta_session *meta_session_find(const struct meta_controller *c, int32_t broker_id);
struct meta_session *meta_session_get(struct meta_controller *c, int32_t broker_id);
void meta_sessions_free(struct meta_controller *c);
/* When the registered incarnation is dead (rule 7.2) if nothing else happens; <= now: it is. */
uint64_t meta_session_dead_at(const struct meta_controller *c, const struct meta_broker *b);
/* Its control link is open or it may still be alive; used by the take-over scan. */
bool meta_session_decided(const struct meta_controller *c, const struct meta_broker *b,
                          uint64_t now_ms);
/* The control link of the registered incarnation lives (rule 1.3). */
bool meta_session_lives(const struct meta_controller *c, const struct meta_broker *b,
                        uint64_t now_ms);
bool meta_session_stalled(const struct meta_controller *c, int32_t broker_id);
/* This replica's recovery report of the broker's present registration; NULL = not handed in. */
const struct meta_log_report *meta_session_report(const struct meta_controller *c,
                                                  const struct meta_partition *p,
                                                  int32_t broker_id);
/* Take over reports (copied and sorted). */
void meta_session_set_reports(struct meta_session *s, uint64_t broker_epoch,
                              const struct meta_log_report *reports, size_t count);
/* What the broker's replica is worth from now on: damaged as it says itself (2.8), whole again once
 * it is in an ISR. Nothing when its reports are not known. Says whether that is news. */
bool meta_session_mark(struct meta_controller *c, const struct meta_partition *p, int32_t broker_id,
                       enum meta_log_state state);
int meta_report_order(const void *a, const void *b);

/* ---- change.c -----------------------------------------------------------------------------------
 */

/* One command at work: what it assumes about brokers, and where its records go. */
struct meta_plan {
    struct meta_controller *c;
    struct meta_result *result;
    uint64_t now_ms;
    const int32_t *dead; /* not live from now on, whatever the image says */
    size_t dead_count;
    int32_t joining;  /* unfenced by this batch; -1 = none */
    int32_t avoiding; /* should not lead (stopping by this batch); -1 = none */
};
struct meta_plan meta_plan_make(struct meta_controller *c, uint64_t now_ms,
                                struct meta_result *result);
/* The batch is as large as it may become. */
bool meta_plan_full(const struct meta_plan *plan);
/* Ids (heap) of all unfenced brokers that are dead now, and of `also` (-1 = none). */
int32_t *meta_dead_now(const struct meta_controller *c, uint64_t now_ms, int32_t also,
                       size_t *ret_count);
/* Visit the partitions with a replica on this broker (-1 = all), in one fixed order; false when the
 * batch became full first. */
typedef void meta_visit_fn(struct meta_plan *plan, const struct meta_partition *p, void *arg);
bool meta_walk(struct meta_plan *plan, int32_t broker_id, meta_visit_fn *visit, void *arg);
/* A visit: elect a leader if there is none. */
void meta_visit_leaderless(struct meta_plan *plan, const struct meta_partition *p, void *arg);
/* Registered, unfenced, not dead. */
bool meta_plan_live(const struct meta_plan *plan, int32_t broker_id);
/* Live, and neither stopping nor stalled. */
bool meta_plan_fit(const struct meta_plan *plan, int32_t broker_id);

/* The next state of a partition, made step by step. */
struct meta_change {
    const struct meta_partition *old;
    int32_t leader;
    bool new_epoch; /* leader epoch rises although the leader stays (rule 1.7) */
    bool unclean;
    bool touched; /* a directory or flag changed */
    bool unsynced;
    size_t isr_count;
    size_t elr_count;
    size_t known_count;
    int32_t isr[META_REPLICAS_MAX];
    int32_t elr[META_REPLICAS_MAX];
    int32_t known[META_REPLICAS_MAX]; /* last known ELR */
    struct kb_uuid directories[META_REPLICAS_MAX];
};
void meta_change_begin(struct meta_change *ch, const struct meta_partition *p);
/* Replace the ISR by `isr` (a subset of the replicas); the ELR follows rule 4.3. */
void meta_change_set_isr(struct meta_change *ch, const struct meta_plan *plan, const int32_t *isr,
                         size_t count);
/* Remove all ISR members that are not live, in one step (rule 4.3). */
void meta_change_remove_dead(struct meta_change *ch, const struct meta_plan *plan);
/* The member leaves ISR and ELR (rules 2.8, 4.4). */
void meta_change_disqualify(struct meta_change *ch, const struct meta_plan *plan,
                            int32_t broker_id);
/* Write the record if anything changed: epochs by rules 1.1 and 4.7. */
bool meta_change_emit(struct meta_change *ch, struct meta_plan *plan);

void meta_emit_broker_change(struct meta_result *result, const struct meta_broker *b, int fenced,
                             int stopping); /* -1 = unchanged */
void meta_emit_broker_stall(struct meta_result *result, const struct meta_broker *b, bool stalled);
void meta_note(struct meta_result *result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- alter.c ------------------------------------------------------------------------------------
 */

/* Rule 4.8: most members say the leader cannot be reached, so one of them leads instead. Once per
 * 30 s and partition. */
bool meta_elect_for_links(struct meta_change *ch, struct meta_plan *plan);
/* No ISR member reports its link to that broker down. */
bool meta_isr_reaches(const struct meta_controller *c, const struct meta_partition *p, int32_t id);

/* ---- elect.c ------------------------------------------------------------------------------------
 */

/* Give the partition a leader if it has none that is live and a member (rules 4.5, 4.6). */
void meta_elect(struct meta_change *ch, struct meta_plan *plan);
/* Unclean election by name: any live replica, the one with the longest log known. False = nobody.
 */
bool meta_elect_unclean(struct meta_change *ch, struct meta_plan *plan);
/* Deadline of the partitions that wait for members (rule 4.5). */
uint64_t meta_waits_deadline(const struct meta_controller *c);

/* ---- strings
 * ------------------------------------------------------------------------------------- */

#define META_TP "%s-%d"
#define META_TP_ARGS(p) (p)->topic->name, (p)->index

#endif
