#ifndef NODE_QUORUM_H
#define NODE_QUORUM_H

/* Private to quorum*.c: the Raft driver's state. The core decides; the driver owns the log's bytes,
 * the vote file, snapshots, and carries effects out in the order raft.h demands. */

#include "broker/node/node_internal.h"

enum {
    QUORUM_VOTE_BYTES_MAX = 512,
    QUORUM_SNAPSHOT_BYTES_MAX = 256 << 20,
    QUORUM_APPLY_BYTES = 1 << 20,
};

/* What the log must do, in order; the log may be busy. */
enum quorum_op_kind { QUORUM_APPEND_OWN, QUORUM_APPEND_COPY, QUORUM_TRUNCATE, QUORUM_RESET };
struct quorum_op {
    enum quorum_op_kind kind;
    struct kb_block *block;
    size_t position;
    size_t size;
    uint64_t term;  /* own appends */
    uint64_t index; /* truncate: keep up to here; reset: begin behind it; own append: first index */
    uint64_t generation; /* of the core, once this is done */
    uint64_t hard_term;  /* the vote file says this term, or a later one, before this is done */
    TAILQ_ENTRY(quorum_op) entries;
};

/* Entries on their way to a peer: read from the log first. */
struct quorum_send {
    struct node_quorum *quorum;
    uint64_t send_id;
    uint64_t from_index;
    uint64_t last_index;
    struct raft_message header;
    struct log_read read;
    bool reading;
    TAILQ_ENTRY(quorum_send) entries;
};

/* A snapshot chunk on its way to a peer. */
struct quorum_chunk {
    struct node_quorum *quorum;
    uint64_t send_id;
    struct raft_message header;
    struct kb_read read;
    struct kb_block *block;
    TAILQ_ENTRY(quorum_chunk) entries;
};

struct quorum_wait {
    uint64_t index;
    uint64_t term;  /* 0 = any: only the index counts */
    uint64_t round; /* a majority has to follow in this one or a later; 0 = no matter */
    uint64_t deadline_ms;
    node_committed_fn *fn;
    void *arg;
    TAILQ_ENTRY(quorum_wait) entries;
};
TAILQ_HEAD(quorum_waits, quorum_wait);

struct quorum_job {
    struct kb_job job;
    struct node_quorum *quorum;
    char *path;
    char *path_remove; /* older snapshot to drop, or NULL */
    struct kb_buf bytes;
    uint64_t sequence, term;       /* of a vote */
    struct raft_position position; /* of a snapshot */
    bool installing;
    /* Found by the start job. */
    struct kb_buf vote;
    struct kb_buf snapshot, older;
    char *snapshot_name, *older_name;
    int vote_result;
    TAILQ_ENTRY(quorum_job) entries;
};

/* What the core knows about one linked peer. */
struct quorum_link {
    int32_t id;
    uint64_t number;
    enum raft_link_state state;
    struct raft_node node;
    uint64_t incarnation;
};

struct node_quorum {
    struct node *node;
    struct raft_core *core; /* NULL before node_quorum_begin */
    struct log *log;
    struct log_dir_log *dir_log;
    enum raft_log_state log_state;
    int64_t damaged_from;  /* the log is good below this offset only; -1: all of it */
    bool damage_drops;     /* the first operation drops what is damaged: see quorum_ops_run */
    uint64_t bar_sequence; /* hard state that says that this directory may not vote; 0: none yet */
    bool bar_durable;
    bool log_found;
    bool begun;
    bool stopping;

    struct raft_hard_state hard; /* as read at the start */
    bool vote_missing;
    bool vote_damaged;
    struct raft_position snapshot;
    char *snapshot_path;
    uint64_t snapshot_size;
    struct kb_file *snapshot_file;
    bool snapshotting;
    struct kb_buf incoming; /* a snapshot being received */
    struct raft_position incoming_position;

    /* Voter sets known at the start, then only passed on. */
    struct raft_voters *voters;
    size_t voters_count;
    size_t voters_capacity;
    uint64_t voters_index; /* of the newest set that was passed on */
    struct log_read scan;  /* the start's walk over the log */
    bool scanning;
    struct node_load load; /* of the walk, then of applying */

    struct kb_map links; /* node id -> quorum_link */
    uint64_t link_counter;

    TAILQ_HEAD(, quorum_op) ops;
    bool op_running;         /* a truncation or reset is under way in the log */
    uint64_t generation;     /* of the core */
    uint64_t log_generation; /* of the core, that the log has reached */
    TAILQ_HEAD(, quorum_send) sends;
    TAILQ_HEAD(, quorum_chunk) chunks;
    TAILQ_HEAD(, quorum_job) jobs;
    struct quorum_waits waits;

    /* Applying. */
    uint64_t applied;
    uint64_t commit;
    bool applying; /* a read or load is under way */
    bool apply_reading;
    struct log_read apply_read;
    struct meta_delta delta;
    struct kb_timer *apply_timer;
    uint64_t bytes_since_snapshot;

    enum raft_role role;
    uint64_t term;
    struct raft_node leader;
    uint64_t office_index; /* leader: its first own-term entry; in office once applied */
    bool in_office;
    uint64_t proposed; /* leader: last index proposed */
    struct kb_timer *timer;
    bool settling;
    uint64_t office_term; /* the term in which we began to lead */
    bool must_open_office;
    uint64_t confirmed_round;
    bool stall_told;
    void (*closed)(struct node *);
    uint64_t close_deadline_ms;
    bool reserve_asked; /* given up, and not there again */
    uint64_t reserve_check_ms;
    uint64_t vote_newest;            /* sequence of the newest vote on its way to the disk */
    uint64_t hard_term, term_saved;  /* of the newest vote, and of the file */
    struct quorum_job *vote_waiting; /* met a full disk: again at vote_retry_ms */
    uint64_t vote_retry_ms;
    uint64_t voters_changed; /* last index of a membership change of ours, until it is applied */
    struct kb_log_rate voters_rate;
};

/* quorum.c */
void quorum_on_timer(void *arg);
void quorum_on_apply_timer(void *arg);
void quorum_step(struct node_quorum *q, struct raft_input *in, const struct node_message *msg,
                 const struct raft_entry *entries);
/* quorum_log.c */
void quorum_ops_run(struct node_quorum *q);
struct quorum_op *quorum_op_add(struct node_quorum *q, enum quorum_op_kind kind);
void quorum_op_free(struct node_quorum *q, struct quorum_op *op);
void quorum_send_start(struct node_quorum *q, const struct raft_send *fx);
void quorum_sends_retry(struct node_quorum *q);
void quorum_send_free(struct quorum_send *s);
/* quorum.c */
void quorum_link_input(struct node_quorum *q, struct quorum_link *l);
void quorum_close_now(struct node_quorum *q);
void quorum_pass_voters(struct node_quorum *q, const uint8_t *data, size_t size);
/* quorum_wire.c: the protobuf form */
void quorum_send_message(struct node_quorum *q, const struct raft_message *m,
                         struct kb_chain *payload);
/* 0, or -KB_EINVAL: no kind of message, or a term above RAFT_TERM_MAX. */
int quorum_message_read(const Kvorum__RaftMessage *w, struct raft_message *ret);
/* quorum_file.c: vote file and snapshots */
void quorum_save_hard(struct node_quorum *q, const struct raft_hard_state *hard, uint64_t sequence);
void quorum_load(struct node_quorum *q); /* the start's job; then quorum_loaded */
void quorum_loaded(struct node_quorum *q, int result, const char *what);
void quorum_snapshot_if_due(struct node_quorum *q);
/* The reserve is given up for `what`; quorum_space_tick makes it again and repeats a vote's write.
 */
void quorum_no_space(struct node_quorum *q, const char *what);
void quorum_space_tick(struct node_quorum *q, uint64_t now_ms);
void quorum_take_chunk(struct node_quorum *q, const struct raft_message *m, struct kb_view chunk);
void quorum_send_chunk(struct node_quorum *q, const struct raft_snapshot_send *s);
void quorum_files_free(struct node_quorum *q);
void quorum_set_snapshot(struct node_quorum *q, struct raft_position position, char *path,
                         uint64_t size);
/* quorum_apply.c: from commit to image */
void quorum_apply(struct node_quorum *q);
/* fn runs when index is applied and a majority has followed in this round of this term. */
void quorum_wait_round(struct node_quorum *q, uint64_t index, uint64_t round, node_committed_fn *fn,
                       void *arg);
void quorum_waits_check(struct node_quorum *q);
void quorum_waits_fail(struct node_quorum *q, bool leadership_only, int result);
void quorum_apply_free(struct node_quorum *q);
void quorum_image_replaced(struct node_quorum *q, struct meta_image *image);
/* The voters record among these batches' records, if there is one. */
bool quorum_find_voters(const struct kw_batch *b, struct raft_voters *ret);

#endif
