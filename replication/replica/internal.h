#ifndef REP_INTERNAL_H
#define REP_INTERNAL_H

#include "replication/replica/replica.h"

/* Shared by the files of this room only. */

/* One replica of the image, this one included. "This epoch" fields are forgotten when the leader
 * epoch or the replica's broker epoch changes (1.6, R17). */
struct rep_peer {
    struct rep_image_replica meta;
    uint64_t link;           /* highest link number seen of its incarnation (1.4) */
    int64_t checked;         /* this epoch: last position checked on that link; -1 = none */
    int32_t partition_epoch; /* this epoch: its image's when it last spoke; -1 = never */
    struct rep_ends ends;    /* this epoch: on disk there, as far as checked; -1 = unknown */
    uint64_t heard_ms;       /* in-epoch frame, or the epoch's start for members (3.6) */
    int64_t mark_offset;     /* 4.2: our LEO at mark_ms */
    uint64_t mark_ms;        /* 0 = no mark yet */
    uint64_t caught_up_ms;   /* 4.2; 0 = never in this epoch */
    bool joining;            /* proposed addition: part of the maximal ISR (3.3) */
    bool leaving;            /* proposed removal: still counts */
    enum rep_left_reason left_reason;
    uint64_t left_ms;
};

enum rep_proposal_phase {
    REP_PROPOSAL_NONE,
    REP_PROPOSAL_SENT,   /* may be asked for again */
    REP_PROPOSAL_RESEND, /* lost; goes out again at propose_after_ms */
    REP_PROPOSAL_AWAITS, /* decided: a higher partition epoch will be replayed */
};

struct rep {
    struct rep_config config;
    struct rep_view view;
    enum rep_state state;
    enum rep_report report; /* standing */
    int64_t broker_epoch;   /* own; -1 until registered */

    bool has_image;
    bool backwards;         /* an older image came (1.8) */
    bool must_drop;         /* the leader's log starts above our end (2.8), in this epoch */
    struct rep_image image; /* replicas points nowhere: see peers */
    struct rep_peer *peers;
    size_t n_peers;

    bool log_open;
    enum rep_log_state log_state;
    int32_t damaged_at; /* partition epoch when damage was found in this life; -1 = at the start */
    int64_t damaged_from; /* damaged: the log is good below this offset, as far as known */
    uint64_t generation;
    int64_t log_start;
    int64_t log_end;
    struct rep_ends ends;
    int64_t hw;
    int64_t lone_from;    /* of the facts; 0 = nothing to doubt */
    int32_t opened_epoch; /* highest epoch the log held when opened (1.8) */

    int64_t epoch_start;       /* leader: first offset of the epoch */
    int64_t leader_start;      /* follower: the same, as the leader said in this epoch; -1 */
    int64_t start_wanted;      /* follower: where the leader's log begins, as it said last; -1 */
    uint64_t epoch_start_ms;   /* leader */
    int64_t sync_mark;         /* leader, image unsynced: its LEO when it saw that; -1 = none */
    int64_t low_watermark;     /* leader: as last told */
    bool cut_off;              /* leader: as last told (3.7) */
    uint64_t propose_after_ms; /* after a refusal, or when to send a lost one again */
    uint64_t proposed_ms;      /* when the proposal last went out */
    uint64_t proposal_id;
    enum rep_proposal_phase proposal_phase;
    struct rep_proposal *proposal; /* allocated at the first one */
};

static inline uint64_t rep_elapsed_ms(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}
static inline int64_t rep_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t rep_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- replica.c ---- */
void rep_fx_begin(struct rep_effects *fx);
/* Sets deadline_ms; the last step of every call that takes fx. */
void rep_fx_end(struct rep *r, uint64_t now_ms, struct rep_effects *fx);
/* The only place where state changes: checks the move against the table of legal ones. */
void rep_move(struct rep *r, enum rep_state to, struct rep_effects *fx);
void rep_set_report(struct rep *r, enum rep_report report, struct rep_effects *fx);
/* Decide from image and log what to be, and become it. new_epoch: the leader epoch changed. */
void rep_judge_role(struct rep *r, bool new_epoch, uint64_t now_ms, struct rep_effects *fx);
/* Committed bytes are lost here: stop, report, later start over (2.6, 2.8, 10.4). */
void rep_become_damaged(struct rep *r, int64_t from, uint64_t now_ms, struct rep_effects *fx);
struct rep_peer *rep_peer_find(const struct rep *r, int32_t node_id);
static inline bool rep_peer_is_self(const struct rep *r, const struct rep_peer *p)
{
    return p->meta.node_id == r->config.node_id;
}
/* Forget what was learnt of a peer in the epoch that ended. */
void rep_peer_forget(struct rep_peer *p);
/* The end that counts: durable, or written for weak topics. */
static inline int64_t rep_counted(const struct rep *r, struct rep_ends ends)
{
    return r->image.strong ? ends.durable : ends.written;
}
static inline int64_t rep_peer_counted(const struct rep *r, const struct rep_peer *p)
{
    return rep_counted(r, rep_peer_is_self(r, p) ? r->ends : p->ends);
}

/* ---- image.c ---- */
int rep_image_check(const struct rep_image *image);
/* Take over the image; peers keep what is known of them. */
void rep_image_adopt(struct rep *r, const struct rep_image *image, uint64_t now_ms);
size_t rep_isr_size(const struct rep *r);

/* ---- leader.c ---- */
void rep_leader_enter(struct rep *r, uint64_t now_ms, struct rep_effects *fx);
/* After any fact that may move HW, ISR or low watermark. */
void rep_leader_react(struct rep *r, uint64_t now_ms, struct rep_effects *fx);
uint64_t rep_peer_heard_ms(const struct rep *r, const struct rep_peer *p);
bool rep_cut_off_now(const struct rep *r, uint64_t now_ms);
uint64_t rep_leader_deadline(const struct rep *r, uint64_t now_ms);
/* Edge of 3.7: tells once when the leader becomes cut off. */
void rep_leader_tick(struct rep *r, uint64_t now_ms, struct rep_effects *fx);

/* ---- isr.c ---- */
/* 4.1 but for the offsets. */
bool rep_peer_eligible(const struct rep_peer *p);
/* How long a peer is behind by 4.2; REP_NEVER if it never was caught up. */
uint64_t rep_peer_lag_ms(const struct rep *r, const struct rep_peer *p, uint64_t now_ms);
void rep_isr_enter(struct rep *r, uint64_t now_ms);
/* Its counted end may have moved. */
void rep_isr_peer_moved(const struct rep *r, struct rep_peer *p, uint64_t now_ms);
/* Our LEO rises from old_end: peers that had all of it were caught up until now. */
void rep_isr_appended(struct rep *r, int64_t old_end, uint64_t now_ms);
void rep_isr_joined(const struct rep *r, struct rep_peer *p, uint64_t now_ms);
/* Propose a removal or an addition if one is due and none is in flight. */
void rep_isr_review(struct rep *r, uint64_t now_ms, struct rep_effects *fx);
/* The proposal is over, one way or the other. */
void rep_isr_settle(struct rep *r);
uint64_t rep_isr_deadline(const struct rep *r, uint64_t now_ms);

/* ---- follower.c ---- */
void rep_follower_enter(struct rep *r, struct rep_effects *fx);
/* Elected uncleanly with a damaged log: cut it at the damage, then lead. */
void rep_cut_damage(struct rep *r, struct rep_effects *fx);
/* Is a cut log whole again? After its durable end or the leader's word moved. */
void rep_follower_note_whole(struct rep *r);
/* Its log begins where the leader's does, as far as high watermark and disk are by now. */
void rep_follower_follow_start(struct rep *r, struct rep_effects *fx);
/* Start over from nothing, keeping the bad files aside (2.8). */
void rep_follower_refetch(struct rep *r, struct rep_effects *fx);

#endif
