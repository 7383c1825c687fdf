#ifndef SRV_INTERNAL_H
#define SRV_INTERNAL_H

#include <sys/queue.h>

#include "broker/server/env.h"
#include "broker/server/file.h"
#include "broker/server/lane.h"
#include "broker/server/mailbox.h"
#include "broker/server/resolve.h"
#include "broker/server/timer.h"
#include "broker/server/worker.h"

/* What the pieces of srv_env share: the loop's state, and connections. Only the loop touches it;
 * files, lanes, workers and the mailbox lock their own parts. */

#define SRV_SCRATCH_BYTES ((size_t)64 * 1024)

TAILQ_HEAD(srv_conn_list, srv_conn);
LIST_HEAD(srv_listener_list, srv_listener);

struct srv_env {
    struct kb_env base;
    struct srv_env_options options;
    struct event_base *loop;
    bool stopping;
    bool halted;
    struct srv_timers timers;
    struct srv_mailbox mailbox;
    struct srv_files files;
    struct srv_lane lanes[KB_LANE_COUNT_];
    struct srv_workers jobs;
    struct srv_workers readers;
    struct srv_resolver *resolver;
    size_t outstanding; /* writes, jobs and reads without their last callback */
    struct kb_pool *pool;
    uint8_t *scratch; /* SRV_SCRATCH_BYTES: what one readv may take beyond a frame */
    struct srv_conn_list conns;
    struct srv_conn_list blocked;               /* in the order in which the budget refused them */
    struct srv_conn_list owing;                 /* have output charged to a budget of answers */
    struct srv_conn_list ready[SRV_PRIORITIES]; /* have input to look at, or output to send */
    struct srv_conn_list closing;               /* on_close is due */
    struct srv_listener_list listeners;
    size_t n_conns;
    size_t n_clients;  /* accepted, without the control flag */
    uint64_t slice_us; /* when clients' work of this round began; 0 = not yet */
    struct kb_timer *stall_timer;
    struct kb_timer *trim_timer;
    struct srv_env_stats stats;
};

enum srv_conn_state {
    SRV_CONN_RESOLVING,
    SRV_CONN_CONNECTING,
    SRV_CONN_OPEN,
    SRV_CONN_LINGERING, /* all sent, our side shut: waits for the other side's end */
    SRV_CONN_CLOSED,    /* in env->closing until on_close has run */
};

struct srv_conn {
    struct kb_conn base;
    struct srv_env *env;
    TAILQ_ENTRY(srv_conn) all;
    TAILQ_ENTRY(srv_conn) blocked_link;
    TAILQ_ENTRY(srv_conn) ready_link;
    TAILQ_ENTRY(srv_conn) closing_link;
    TAILQ_ENTRY(srv_conn) owing_link;
    enum srv_conn_state state;
    enum kb_close_reason reason;
    int fd;
    struct event *read_event;
    struct event *write_event;
    struct kb_conn_options options;
    const struct kb_conn_handler *handler;
    void *user;

    /* Incoming. */
    uint8_t prefix[4];
    uint8_t prefix_size;
    bool sized; /* the prefix is whole: frame_size is known */
    bool paused;
    bool blocked;     /* in env->blocked: the budget refused the frame */
    bool reading_off; /* the read event is not in the loop */
    bool incoming;    /* accepted, not dialled */
    bool ready;       /* in env->ready */
    uint32_t frame_size;
    struct kb_block *frame; /* being filled; NULL before its first byte */
    struct kb_block *rest;  /* read, but not yet parsed, because of pause or budget */
    size_t rest_position;
    uint64_t progress_us; /* when the frame being filled last grew */
    uint64_t began_us;    /* when its buffer was taken */

    /* Outgoing. */
    struct kb_chain out;
    size_t out_head;
    uint64_t queued_bytes;
    uint64_t charged_bytes; /* to options.answers; in env->owing while not 0 */
    uint64_t owing_us;      /* since when */
    uint64_t drained_us;    /* when the other side last took something */
    bool congested;
    bool writing_on;                 /* the write event is in the loop */
    bool waiting_disk;               /* a reader thread fetches the next range */
    const struct kb_file *warm_file; /* what it fetched last without keeping it: only compared */
    uint64_t warm_from, warm_to;
    bool ending; /* close_after_send was called */
    struct srv_cold *cold;

    /* Dialling. */
    char *host;
    uint16_t port;
    struct srv_lookup *lookup;
    struct srv_addresses addresses;
    size_t next_address;
    bool saw_refused;
    struct kb_timer *deadline; /* of dialling, and of ending */
};

/* conn.c: life and death. */
struct srv_conn *srv_conn_new(struct srv_env *e, const struct kb_conn_options *options);
/* Take an accepted or connected socket. 0 or -KB_ENOMEM. */
int srv_conn_attach(struct srv_conn *c, int fd);
/* Close the socket and its events, if any. */
void srv_conn_drop_socket(struct srv_conn *c);
/* The one way out: legal from anywhere on the loop, any number of times; on_close follows. */
void srv_conn_fail(struct srv_conn *c, enum kb_close_reason reason);
/* Called by its events: the loop is left when the slice of the clients is over. */
void srv_conn_count_slice(struct srv_conn *c);
/* Have srv_conn_step called at the end of this round. */
void srv_conn_make_ready(struct srv_conn *c);
/* End of a round: deliver what is due. True when something was done (and more may be due). */
bool srv_conns_step(struct srv_env *e);
void srv_conns_free_all(struct srv_env *e);
void srv_conn_set_handler(struct kb_conn *kc, const struct kb_conn_handler *handler, void *user);
void srv_conn_send(struct kb_conn *kc, struct kb_chain *chain);
uint64_t srv_conn_queued_bytes(const struct kb_conn *kc);
bool srv_conn_congested(const struct kb_conn *kc);
void srv_conn_pause(struct kb_conn *kc);
void srv_conn_resume(struct kb_conn *kc);
void srv_conn_close(struct kb_conn *kc, bool after_send);
void srv_conn_set_timeout(struct srv_conn *c, uint64_t delay_ms);
/* All output is sent and the connection is to end: shut our side, wait a little for the other. */
void srv_conn_linger(struct srv_conn *c);

/* conn_read.c: bytes to frames. */
void srv_conn_on_readable(int fd, short what, void *arg);
/* Go on with input kept back by pause or budget. */
void srv_conn_continue(struct srv_conn *c);
void srv_conn_reading(struct srv_conn *c, bool on);
/* Look again at connections whose budget was exhausted. True when one moved. */
bool srv_conns_unblock(struct srv_env *e);
/* While connections wait for memory: close those that hold part of a frame and do not go on. */
void srv_conns_evict_stalled(struct srv_env *e, uint64_t now_us);
void srv_conn_forget_input(struct srv_conn *c);

/* conn_write.c: chains to the socket. */
void srv_conn_on_writable(int fd, short what, void *arg);
void srv_conn_flush(struct srv_conn *c);
void srv_conn_forget_output(struct srv_conn *c);
/* What is queued now is charged. */
void srv_conn_charge_chain(struct srv_conn *c, const struct kb_chain *chain);

/* shed.c: who is let go when memory is short. */
void srv_conn_charge(struct srv_conn *c, uint64_t size);
void srv_conn_discharge(struct srv_conn *c, uint64_t size);
/* Memory for answers runs short: answers are made of file ranges, not of their bytes. */
bool srv_conn_answers_short(const struct srv_conn *c);
/* It is spent: no frames are taken. */
bool srv_conn_answers_spent(const struct srv_conn *c);
/* The stall timer's: runs while anybody is blocked or owing. */
void srv_conns_shed(void *env);
void srv_conns_watch_memory(struct srv_env *e);
/* Every few seconds: freed memory goes back to the system. */
void srv_memory_trim(void *env);
/* Whether a finished read was a connection's own. */
bool srv_conn_owns_read(const struct kb_read *r);

/* connect.c: dialling and listening. */
struct kb_conn *srv_env_connect(struct kb_env *ke, const char *host, uint16_t port,
                                uint64_t timeout_ms, const struct kb_conn_options *options,
                                const struct kb_conn_handler *handler, void *user);
void srv_conn_dial_next(struct srv_conn *c, enum kb_close_reason last_reason);
void srv_conn_finish_dial(struct srv_conn *c);
int srv_env_listen(struct kb_env *ke, const char *host, uint16_t port,
                   const struct kb_conn_options *options, kb_accept_fn *fn, void *arg,
                   struct kb_listener **ret);
uint16_t srv_listener_port(const struct kb_listener *l);
void srv_listener_close(struct kb_listener *l);

/* env.c. Clients have had their time in this round: the rest waits for the next. */
bool srv_env_slice_over(struct srv_env *e);
/* Reads on behalf of connections, without waiting. */
int64_t srv_env_read_now(struct srv_env *e, struct srv_file *f, uint64_t position, void *ret,
                         size_t size);
void srv_env_read(struct srv_env *e, struct kb_read *r);

#endif
