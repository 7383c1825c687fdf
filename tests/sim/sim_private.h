#ifndef SIM_PRIVATE_H
#define SIM_PRIVATE_H

#include <stdlib.h>
#include <sys/queue.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_world.h"

/* Shared insides of the simulated world; only tests/sim/sim_*.c include this. */

#define SIM_WALL_START_MS INT64_C(1790000000000) /* the world begins in September 2026 */

/* What an event is, for the trace. */
enum sim_kind {
    SIM_EV_CALL,
    SIM_EV_TIMER,
    SIM_EV_ARRIVE,
    SIM_EV_FRAME,
    SIM_EV_ACCEPT,
    SIM_EV_OPEN,
    SIM_EV_CLOSE,
    SIM_EV_DRAIN,
    SIM_EV_CONNECT,
    SIM_EV_PUMP,
    SIM_EV_WRITTEN,
    SIM_EV_DURABLE,
    SIM_EV_JOB,
    SIM_EV_JOB_DONE,
    SIM_EV_READ,
    SIM_EV_FAULT,
    SIM_EV_KIND_MAX_
};

/* An event lives inside its owner and is in the queue, waiting in a frozen process, or idle. */
struct sim_event {
    uint64_t at_us;
    uint64_t sequence;
    size_t heap_slot; /* index + 1; 0 = not queued */
    struct sim_env *env;
    void (*fn)(void *arg);
    void *arg;
    enum sim_kind kind;
    bool frozen;
    TAILQ_ENTRY(sim_event) frozen_link;
};
TAILQ_HEAD(sim_event_list, sim_event);

void sim_event_init(struct sim_event *ev, struct sim_env *env, enum sim_kind kind,
                    void (*fn)(void *arg), void *arg);
/* Queue, or move, to this time. */
void sim_event_at(struct sim_world *w, struct sim_event *ev, uint64_t at_us);
void sim_event_in(struct sim_world *w, struct sim_event *ev, uint64_t delay_us);
void sim_event_cancel(struct sim_world *w, struct sim_event *ev);
static inline bool sim_event_waiting(const struct sim_event *ev)
{
    return ev->heap_slot != 0 || ev->frozen;
}

/* Add to the trace: what happened in which process, with a number that must repeat. */
void sim_trace(struct sim_world *w, enum sim_kind kind, const struct sim_env *env, uint64_t detail);

struct sim_link {
    struct sim_link_settings settings;
    bool cut;
    uint64_t clogged_until_us;
    uint64_t heard_us;  /* last frame that reached the process at the end; 0 none */
    uint64_t steady_us; /* since then without a gap, a late segment or a connection that ended */
};

struct sim_conn;
struct sim_listener;
struct sim_timer;
struct sim_file;
struct kb_fd;
LIST_HEAD(sim_conn_list, sim_conn);
LIST_HEAD(sim_listener_list, sim_listener);
LIST_HEAD(sim_timer_list, sim_timer);
LIST_HEAD(sim_file_list, sim_file);
LIST_HEAD(sim_fd_list, kb_fd);
struct sim_call;
LIST_HEAD(sim_call_list, sim_call);

struct sim_item;
STAILQ_HEAD(sim_item_queue, sim_item);

struct sim_host {
    struct sim_world *world;
    char *name;
    size_t index;
    struct sim_disk *disk;
    struct sim_env *env; /* the running process, or a down one not yet freed */
    bool up;
    uint32_t lives;
    uint16_t next_port;
    int64_t skew_ms;
    uint64_t boot_us; /* added to the monotonic clock: hosts do not agree on it */
    struct kb_prng prng;
};

struct sim_world {
    uint64_t seed;
    uint64_t now_us;
    uint64_t sequence;
    struct kb_prng prng;     /* the driver's */
    struct kb_prng net_prng; /* the network's */
    struct sim_event **heap;
    size_t heap_count, heap_capacity;
    struct sim_host **hosts;
    size_t host_count, host_capacity;
    struct sim_link *links; /* host_count squared, row = from */
    struct sim_link_settings link_default;
    uint64_t tcp_timeout_us;
    uint64_t conn_ids;
    struct sim_net_counts net;
    sim_frame_fn *frame_fn; /* NULL: nobody is told */
    void *frame_arg;
    struct sim_call_list calls;
    struct sim_env *last_env;
    sim_call_fn *step_fn;
    void *step_arg;
    sim_down_fn *down_fn;
    void *down_arg;
    uint64_t events;
    uint64_t standstill; /* events since the clock moved */
    uint64_t hash;
    FILE *trace;
    bool trace_events;
};

/* A lane's worker: rounds of writes, or one job. */
struct sim_lane {
    struct sim_env *env;
    struct sim_item_queue waiting;
    struct sim_item_queue round;   /* taken from the queue, to be written */
    struct sim_item_queue syncing; /* written, to be synced */
    struct sim_event event;        /* the next step of the round */
    bool busy;
};

struct sim_fs {
    struct kb_fs base;
    struct sim_env *env;
    uint64_t elapsed_us;
    bool outside; /* the test's own: no time, no planned crash */
};

struct sim_env {
    struct kb_env base;
    struct sim_host *host;
    struct sim_world *world;
    uint32_t life;
    bool down;   /* nothing is delivered any more */
    bool doomed; /* a planned crash struck inside a job that still runs */
    bool doomed_power;
    bool frozen;
    uint64_t crash_calls; /* file calls until the planned crash; 0 = none */
    bool crash_power;
    int exit_status;
    char *exit_reason;
    struct kb_prng prng;
    struct sim_event_list frozen_events;
    struct sim_event down_event; /* belongs to the world: env NULL */
    struct sim_timer_list timers;
    struct sim_listener_list listeners;
    struct sim_conn_list conns;
    struct sim_file_list files;
    struct sim_fd_list fds;
    struct sim_item_queue background; /* jobs and reads under way */
    struct sim_lane lanes[KB_LANE_COUNT_];
    struct sim_fs fs;
};

/* sim_env.c */
/* End a process; the world's on_down follows as an event when notify is set. */
void sim_env_end(struct sim_env *e, bool power, bool notify);
/* A planned crash struck: finish it. */
void sim_env_finish_crash(struct sim_env *e);
static inline struct sim_env *sim_env_from(struct kb_env *env)
{
    return (struct sim_env *)env;
}
static inline bool sim_env_gone(const struct sim_env *e)
{
    return e->down || e->doomed;
}

/* sim_lane.c: lanes, jobs, reads, handles */
struct sim_file {
    struct kb_file base;
    LIST_ENTRY(sim_file) link;
    bool failed; /* a write or sync failed: later ones fail too */
};
struct kb_file *sim_file_new(struct kb_env *env, const char *path);
void sim_file_release(struct kb_file *f);
void sim_file_set_path(struct kb_file *f, const char *path);
void sim_lane_init(struct sim_env *e);
void sim_lane_write(struct kb_env *env, enum kb_lane lane, struct kb_write *w);
void sim_lane_job(struct kb_env *env, enum kb_lane lane, struct kb_job *job);
void sim_env_job(struct kb_env *env, struct kb_job *job);
uint64_t sim_lane_stall_ms(struct kb_env *env, enum kb_lane lane);
int64_t sim_read_now(struct kb_env *env, struct kb_file *file, uint64_t position, void *ret,
                     size_t size);
void sim_read(struct kb_env *env, struct kb_read *r);
/* Forget everything under way. */
void sim_lane_drop(struct sim_env *e);

/* sim_fs.c */
void sim_fs_init(struct sim_fs *fs, struct sim_env *e, bool outside);
void sim_fs_drop(struct sim_env *e); /* free forgotten descriptors */
/* Count one file call: 0, or -KB_ECRASHED when the process is gone or goes now. */
int sim_fs_count_call(struct sim_env *e);

/* sim_net.c, sim_conn.c */
extern const struct kb_conn_handler sim_no_handler;
int sim_listen(struct kb_env *env, const char *host, uint16_t port, const struct kb_conn_options *o,
               kb_accept_fn *fn, void *arg, struct kb_listener **ret);
uint16_t sim_listener_port(const struct kb_listener *l);
void sim_listener_close(struct kb_listener *l);
struct kb_conn *sim_connect(struct kb_env *env, const char *host, uint16_t port,
                            uint64_t timeout_ms, const struct kb_conn_options *o,
                            const struct kb_conn_handler *handler, void *user);
void sim_conn_set_handler(struct kb_conn *conn, const struct kb_conn_handler *h, void *user);
void sim_conn_send(struct kb_conn *conn, struct kb_chain *chain);
uint64_t sim_conn_queued_bytes(const struct kb_conn *conn);
bool sim_conn_congested(const struct kb_conn *conn);
void sim_conn_pause(struct kb_conn *conn);
void sim_conn_resume(struct kb_conn *conn);
void sim_conn_close(struct kb_conn *conn, bool after_send);
/* The process ends: tell the other ends (kill) or not (power). */
void sim_net_env_down(struct sim_env *e, bool power);
void sim_net_env_free(struct sim_env *e);
/* The host answers again: what was sent to its former life is now reset. */
void sim_net_host_up(struct sim_host *h);
void sim_net_host_added(struct sim_world *w);

/* sim_disk.c: calls on the visible image, without time. Failures as env.h says. */
struct sim_inode;
struct sim_disk *sim_disk_new(struct sim_world *w, uint64_t seed);
struct sim_disk *sim_disk_free(struct sim_disk *d);
/* The file or directory (NULL = none), borrowed. */
struct sim_inode *sim_disk_find(struct sim_disk *d, const char *path);
int sim_disk_open(struct sim_disk *d, const char *path, int flags, int64_t wall_ms,
                  struct sim_inode **ret); /* borrowed */
struct sim_inode *sim_inode_ref(struct sim_inode *i);
struct sim_inode *sim_inode_unref(struct sim_disk *d, struct sim_inode *i);
bool sim_inode_is_dir(const struct sim_inode *i);
uint64_t sim_inode_size(const struct sim_inode *i);
int64_t sim_inode_modified(const struct sim_inode *i);
int64_t sim_inode_read(struct sim_disk *d, struct sim_inode *i, void *ret, size_t size,
                       uint64_t position);
/* Not in memory for certain: a bit has turned there since. */
bool sim_inode_is_hidden(const struct sim_inode *i, uint64_t position, size_t size);
int sim_inode_write(struct sim_disk *d, struct sim_inode *i, const void *data, size_t size,
                    uint64_t position, int64_t wall_ms);
int sim_inode_truncate(struct sim_disk *d, struct sim_inode *i, uint64_t size, int64_t wall_ms);
int sim_inode_allocate(struct sim_disk *d, struct sim_inode *i, uint64_t end);
int sim_inode_sync(struct sim_disk *d, struct sim_inode *i);
void sim_inode_drop_cache(struct sim_disk *d, struct sim_inode *i);
int sim_disk_rename(struct sim_disk *d, const char *from, const char *to);
int sim_disk_link(struct sim_disk *d, const char *from, const char *to);
int sim_disk_unlink(struct sim_disk *d, const char *path);
int sim_disk_mkdir(struct sim_disk *d, const char *path, int64_t wall_ms);
int sim_disk_rmdir(struct sim_disk *d, const char *path);
int sim_disk_sync_dir(struct sim_disk *d, const char *path);
void sim_disk_power_cut(struct sim_disk *d); /* in the mode that was set */
uint64_t sim_disk_free_bytes(const struct sim_disk *d);
/* Virtual time one call takes that begins in_us from now, stalls included. */
uint64_t sim_disk_write_us(struct sim_disk *d, uint64_t in_us);
uint64_t sim_disk_sync_us(struct sim_disk *d, uint64_t in_us);
uint64_t sim_disk_read_us(struct sim_disk *d, uint64_t in_us);
/* When the current stall ends (0 = none). */
uint64_t sim_disk_stalled_until_us(const struct sim_disk *d);
bool sim_disk_is_locked_elsewhere(const struct sim_disk *d, const char *path);
bool sim_disk_is_cold(struct sim_disk *d); /* a chance */

#endif
