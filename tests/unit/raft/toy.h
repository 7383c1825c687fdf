#ifndef TESTS_RAFT_TOY_H
#define TESTS_RAFT_TOY_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/raft/raft.h"
#include "proto/base/prng.h"

/* A toy cluster: raft cores with a virtual clock, a network that loses, delays and duplicates, and
 * disks that forget what was not synced. After every step the invariants R1-R11 are judged; a
 * broken one prints the seed and the step and aborts. Everything follows from the seed. */

#define TOY_NODES_MAX 7
#define TOY_BATCH_RECORDS_MAX 5

/* One record batch of the metadata log. */
struct toy_batch {
    struct raft_entry entry;
    uint64_t value;
    bool has_voters;
    struct raft_voters voters; /* when it carries a voters record: its last record */
};
struct toy_log {
    struct raft_position base;
    uint64_t base_digest; /* of everything applied up to base */
    struct toy_batch *batches;
    size_t count;
    size_t capacity;
};
struct toy_snapshot {
    struct raft_position at;
    uint64_t digest;
    struct raft_voters voters;
};

/* What a power cut leaves. */
struct toy_disk {
    struct raft_hard_state hard;
    struct toy_log log;
    struct toy_snapshot snapshot;
};

enum toy_op_kind {
    TOY_OP_HARD,
    TOY_OP_TRUNCATE,
    TOY_OP_APPEND,
    TOY_OP_RESET,
    TOY_OP_SNAPSHOT,
    TOY_OP_CHUNK
};
struct toy_op {
    enum toy_op_kind kind;
    uint64_t done_ms;
    uint64_t sequence;   /* HARD */
    uint64_t index;      /* TRUNCATE */
    uint64_t generation; /* APPEND */
    uint64_t offset;     /* CHUNK */
    bool received;       /* SNAPSHOT: from a leader, else taken here */
    struct raft_hard_state hard;
    struct toy_batch batch;
    struct toy_snapshot snapshot;
};

struct toy_node {
    struct raft_node self;
    bool alive;
    bool damaged_ever; /* its disk was harmed on purpose: its copies prove nothing */
    uint32_t life;
    struct raft_core *core;
    struct toy_log log; /* as written, synced or not */
    struct toy_disk disk;
    struct toy_snapshot snapshot;
    struct toy_disk saved; /* a copy of the disk, to be rolled back to */
    struct toy_op *ops;    /* one lane, in order */
    size_t n_ops;
    size_t ops_capacity;
    uint64_t disk_ms_min;
    uint64_t disk_ms_max;
    bool disk_stuck;
    struct raft_input *queue; /* what the driver owes the core */
    size_t n_queue;
    size_t queue_capacity;
    struct raft_voters *queue_voters; /* one per queued input */
    size_t queue_voters_capacity;
    uint64_t applied_index;
    uint64_t applied_told;
    uint64_t digest;
    uint64_t deadline_ms;
    uint64_t commit_seen;
    uint64_t became_leader_ms;
    uint64_t asleep_until_ms; /* SIGSTOP */
    uint64_t slept_from_ms;
    enum raft_role role;
    uint64_t term;
    struct raft_node leader;
    enum raft_log_state log_state; /* for the next start */
    bool vote_damaged;
};

/* What travels. */
struct toy_mail {
    uint64_t at_ms;
    uint64_t order;
    int from;
    int to;
    uint64_t link;
    bool link_event; /* else a message */
    enum raft_link_state link_state;
    struct raft_message message;
    struct toy_batch *batches; /* payload of an append */
    struct toy_snapshot snapshot;
};

/* A batch that somebody applied. */
struct toy_committed {
    struct raft_entry entry;
    uint64_t digest;  /* of all up to it */
    uint64_t in_term; /* of whoever applied it first: it was committed in that term at the latest */
};

struct toy_link {
    uint64_t number; /* 0 = closed */
    bool cut;        /* this direction drops silently */
    uint64_t last_ms[2];
};

struct toy {
    uint64_t seed;
    struct kb_prng prng;
    uint64_t now_ms;
    uint64_t steps;
    int n_nodes;
    struct toy_node nodes[TOY_NODES_MAX];
    struct raft_voters founders;
    bool founding; /* what is started now founds the cluster */
    struct toy_link links[TOY_NODES_MAX][TOY_NODES_MAX]; /* [from][to] */
    uint64_t link_numbers;
    struct toy_mail **mail; /* a heap by (at_ms, order) */
    size_t n_mail;
    size_t mail_capacity;
    uint64_t mail_order;
    uint64_t values;
    /* Weather. */
    uint64_t delay_ms_min;
    uint64_t delay_ms_max;
    uint32_t loss_per_mille;
    uint32_t twice_per_mille;
    /* Story. NULL = silent. */
    void (*tell)(void *arg, const char *line);
    void *tell_arg;
    bool tell_messages;
    /* What is known for ever, for the judge. */
    struct toy_fact *facts;
    size_t n_facts;
    size_t facts_capacity;
    struct toy_committed *committed;
    size_t n_committed;
    size_t committed_capacity;
    int *leaders; /* by term */
    size_t n_leaders;
    size_t leaders_capacity;
    uint64_t leader_changes;
    bool lossy_disks; /* R8 cannot be judged: disks were harmed on purpose */
};

void toy_init(struct toy *t, uint64_t seed, int n_nodes, int n_voters);
void toy_release(struct toy *t);
void toy_say(struct toy *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void toy_fail(const struct toy *t, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Start a node from its disk, and link it to all that live and are not cut off. */
void toy_start(struct toy *t, int n);
/* kill -9: the page cache survives. power: unsynced writes are gone, from a random one on. */
void toy_kill(struct toy *t, int n, bool power);
/* SIGSTOP for so long, then SIGCONT; the node tells its core of the gap (7.3). */
void toy_sleep(struct toy *t, int n, uint64_t ms);
/* Drop everything from a to b, silently. */
void toy_cut(struct toy *t, int a, int b);
void toy_heal(struct toy *t);
/* The TCP links between two living nodes break: refused says the other process is gone. */
void toy_close_link(struct toy *t, int a, int b, enum raft_link_state after);
void toy_open_link(struct toy *t, int a, int b);
/* Harm a dead node's disk: its newest batches, or its vote, or everything. */
void toy_damage_log(struct toy *t, int n, size_t batches);
void toy_damage_vote(struct toy *t, int n);
/* A torn tail above the durable mark: what recovery cut (8.2). */
void toy_cut_log(struct toy *t, int n, size_t batches);
void toy_wipe(struct toy *t, int n);
/* Copy the disk, and put that copy in place of a dead node's disk: a rolled-back directory. */
void toy_save_disk(struct toy *t, int n);
void toy_restore_disk(struct toy *t, int n);

/* Run to a time. */
void toy_run_until(struct toy *t, uint64_t ms);
void toy_run(struct toy *t, uint64_t ms);
/* Until somebody leads with an own-term entry committed, at most so long; -1 when nobody. */
int toy_run_to_leader(struct toy *t, uint64_t ms);

/* One input for a node's core, with all its effects and what follows from them. */
int toy_step(struct toy *t, int n, struct raft_input in);
int toy_propose(struct toy *t, int n, uint32_t n_records, uint32_t size_bytes);
int toy_propose_voters(struct toy *t, int n, const struct raft_voters *voters);
void toy_take_snapshot(struct toy *t, int n);
/* The node that leads the highest term among the living; -1. */
int toy_leader(const struct toy *t);
struct raft_node toy_node_of(int n);

/* toy_log.c */
void toy_log_append(struct toy_log *l, const struct toy_batch *b);
void toy_log_truncate(struct toy_log *l, uint64_t index);
void toy_log_prune(struct toy_log *l, struct raft_position at, uint64_t digest);
void toy_log_reset(struct toy_log *l, struct raft_position at, uint64_t digest);
uint64_t toy_log_last(const struct toy_log *l);
uint64_t toy_log_term(const struct toy_log *l, uint64_t index);
const struct toy_batch *toy_log_find(const struct toy_log *l, uint64_t index);
void toy_log_copy(struct toy_log *to, const struct toy_log *from);
uint64_t toy_digest(uint64_t before, const struct toy_batch *b);

/* toy_net.c */
/* link of an event that is news even beside a newer link: a hello of another incarnation. */
#define TOY_BY_HELLO UINT64_MAX
void toy_send(struct toy *t, int from, const struct raft_message *m, bool bulk,
              struct toy_batch *batches, const struct toy_snapshot *snapshot);
void toy_link_event(struct toy *t, int n, int about, enum raft_link_state state, uint64_t link,
                    uint64_t delay_ms);
/* Keeps its order when it was in before. */
void toy_mail_push(struct toy *t, struct toy_mail *m);
struct toy_mail *toy_mail_pop(struct toy *t);
void toy_mail_free(struct toy_mail *m);

/* toy_judge.c: the invariants. */
struct toy_fact {
    struct raft_entry entry;
    uint64_t value;
    uint64_t prev_term;
};
void toy_judge_append(struct toy *t, int n, const struct toy_batch *b, uint64_t prev_term);
void toy_judge_hard(struct toy *t, int n, const struct raft_hard_state *next);
void toy_judge_message(struct toy *t, int n, const struct raft_message *m);
void toy_judge_leader(struct toy *t, int n);
void toy_judge_commit(struct toy *t, int n);
void toy_judge_applied(struct toy *t, int n, const struct toy_batch *b);

#endif
