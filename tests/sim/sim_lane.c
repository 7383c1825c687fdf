#include <string.h>

#include "proto/base/crc32c.h"
#include "tests/sim/sim_private.h"

/* The disk workers: two lanes in order, jobs and reads in none. A lane takes all writes that wait,
 * writes (one event), syncs (another), and only then takes more; a job has its round for itself. */

enum item_kind { ITEM_WRITE, ITEM_JOB, ITEM_READ };

struct sim_item {
    STAILQ_ENTRY(sim_item) link;
    struct sim_env *env;
    struct sim_lane *lane; /* NULL = background */
    enum item_kind kind;
    union {
        struct kb_write *write;
        struct kb_job *job;
        struct kb_read *read;
    };
    struct sim_inode *inode; /* of a write, once written */
    struct sim_event event;  /* of a job or read */
    uint64_t since_us;
    int result;
};

static struct sim_disk *disk_of(struct sim_env *e)
{
    return e->host->disk;
}

/* ---- handles ---- */

struct kb_file *sim_file_new(struct kb_env *env, const char *path)
{
    struct sim_env *e = sim_env_from(env);
    struct sim_file *f = kb_new(struct sim_file);
    f->base = (struct kb_file){.env = env, .path = kb_strdup(path), .refs = 1};
    LIST_INSERT_HEAD(&e->files, f, link);
    return &f->base;
}

void sim_file_release(struct kb_file *file)
{
    struct sim_file *f = (struct sim_file *)file;
    LIST_REMOVE(f, link);
    (void)kb_free(f->base.path);
    free(f);
}

void sim_file_set_path(struct kb_file *file, const char *path)
{
    (void)kb_free(file->path);
    file->path = kb_strdup(path);
}

static struct sim_file *file_of(const struct sim_item *item)
{
    return (struct sim_file *)item->write->file;
}

/* ---- items ---- */

static struct sim_item *item_new(struct sim_env *e, struct sim_lane *lane, enum item_kind kind)
{
    struct sim_item *item = kb_new(struct sim_item);
    item->env = e;
    item->lane = lane;
    item->kind = kind;
    item->since_us = e->world->now_us;
    return item;
}

static void item_free(struct sim_item *item)
{
    sim_event_cancel(item->env->world, &item->event);
    (void)sim_inode_unref(disk_of(item->env), item->inode);
    free(item);
}

/* ---- lanes ---- */

static void lane_start(struct sim_lane *lane);
static void lane_wake(void *arg);
static void job_run(void *arg);

static void lane_finish(struct sim_lane *lane)
{
    lane->busy = false;
    lane_start(lane);
}

/* Write one item; false when the process died at it. */
static bool item_write(struct sim_item *item)
{
    struct sim_env *e = item->env;
    struct kb_write *w = item->write;
    if (file_of(item)->failed) {
        item->result = -KB_EIO;
        return true;
    }
    if (sim_fs_count_call(e) < 0)
        return false;
    struct sim_inode *inode = NULL;
    int r = sim_disk_open(disk_of(e), w->file->path, KB_FS_WRITE, 0, &inode);
    uint64_t at = w->position;
    uint32_t crc = (uint32_t)at;
    if (r == 0)
        item->inode = sim_inode_ref(inode);
    for (size_t i = 0; i < w->chain.count && r == 0; i++) {
        const struct kb_slice *s = &w->chain.slices[i];
        KB_ASSERT(s->block != NULL);
        const uint8_t *data = s->block->data + s->position;
        crc = kb_crc32c(crc, data, s->size);
        r = sim_inode_write(disk_of(e), inode, data, s->size, at, e->base.ops->wall_ms(&e->base));
        at += s->size;
    }
    sim_trace(e->world, SIM_EV_WRITTEN, e, crc);
    if (r < 0)
        file_of(item)->failed = true;
    item->result = r;
    return true;
}

/* Sync one item's file, once per round; false when the process died at it. */
static bool item_sync(struct sim_lane *lane, struct sim_item *item)
{
    struct sim_item *other;
    if (item->result < 0 || item->inode == NULL)
        return true;
    STAILQ_FOREACH(other, &lane->syncing, link)
    {
        if (other == item)
            break;
        if (other->inode == item->inode) {
            item->result = other->result;
            return true;
        }
    }
    if (sim_fs_count_call(item->env) < 0)
        return false;
    item->result = sim_inode_sync(disk_of(item->env), item->inode);
    if (item->result < 0)
        file_of(item)->failed = true;
    return true;
}

static void lane_durable(void *arg)
{
    struct sim_lane *lane = arg;
    struct sim_env *e = lane->env;
    struct sim_item *item;
    STAILQ_FOREACH(item, &lane->syncing, link)
    {
        if (!item_sync(lane, item)) {
            sim_env_finish_crash(e);
            return;
        }
    }
    while ((item = STAILQ_FIRST(&lane->syncing)) != NULL) {
        struct kb_write *w = item->write;
        int result = item->result;
        STAILQ_REMOVE_HEAD(&lane->syncing, link);
        item_free(item);
        kb_chain_release(&w->chain);
        w->on_durable(w, result);
        if (e->down)
            return;
    }
    lane_finish(lane);
}

static void lane_written(void *arg)
{
    struct sim_lane *lane = arg;
    struct sim_env *e = lane->env;
    struct sim_item *item;
    STAILQ_FOREACH(item, &lane->round, link)
    {
        if (!item_write(item)) {
            sim_env_finish_crash(e);
            return;
        }
    }
    while ((item = STAILQ_FIRST(&lane->round)) != NULL) {
        struct kb_write *w = item->write;
        int result = item->result;
        STAILQ_REMOVE_HEAD(&lane->round, link);
        if (w->sync) {
            STAILQ_INSERT_TAIL(&lane->syncing, item, link);
        } else {
            item_free(item);
            kb_chain_release(&w->chain);
        }
        if (w->on_written != NULL)
            w->on_written(w, result);
        if (e->down)
            return;
    }
    if (STAILQ_EMPTY(&lane->syncing)) {
        lane_finish(lane);
        return;
    }
    sim_event_init(&lane->event, e, SIM_EV_DURABLE, lane_durable, lane);
    sim_event_in(e->world, &lane->event, sim_disk_sync_us(disk_of(e), 0));
}

static void lane_start(struct sim_lane *lane)
{
    struct sim_env *e = lane->env;
    struct sim_item *item = STAILQ_FIRST(&lane->waiting);
    if (lane->busy || item == NULL)
        return;
    lane->busy = true;
    if (item->kind == ITEM_JOB) {
        STAILQ_REMOVE_HEAD(&lane->waiting, link);
        STAILQ_INSERT_TAIL(&lane->round, item, link);
        sim_event_init(&item->event, e, SIM_EV_JOB, job_run, item);
        sim_event_in(e->world, &item->event, sim_disk_write_us(disk_of(e), 0));
        return;
    }
    /* What is queued until the worker wakes belongs to the round: lane_wake takes it. */
    sim_event_init(&lane->event, e, SIM_EV_PUMP, lane_wake, lane);
    sim_event_in(e->world, &lane->event, 1);
}

/* Take all leading writes and write them. */
static void lane_wake(void *arg)
{
    struct sim_lane *lane = arg;
    struct sim_item *item;
    while ((item = STAILQ_FIRST(&lane->waiting)) != NULL && item->kind == ITEM_WRITE) {
        STAILQ_REMOVE_HEAD(&lane->waiting, link);
        STAILQ_INSERT_TAIL(&lane->round, item, link);
    }
    sim_event_init(&lane->event, lane->env, SIM_EV_WRITTEN, lane_written, lane);
    sim_event_in(lane->env->world, &lane->event, sim_disk_write_us(disk_of(lane->env), 0));
}

static void lane_add(struct sim_lane *lane, struct sim_item *item)
{
    STAILQ_INSERT_TAIL(&lane->waiting, item, link);
    if (lane->busy)
        return;
    lane_start(lane);
}

void sim_lane_write(struct kb_env *env, enum kb_lane lane, struct kb_write *w)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e)) {
        kb_chain_release(&w->chain);
        return;
    }
    struct sim_item *item = item_new(e, &e->lanes[lane], ITEM_WRITE);
    item->write = w;
    lane_add(&e->lanes[lane], item);
}

uint64_t sim_lane_stall_ms(struct kb_env *env, enum kb_lane lane)
{
    struct sim_env *e = sim_env_from(env);
    const struct sim_lane *l = &e->lanes[lane];
    const struct sim_item_queue *const queues[] = {&l->syncing, &l->round, &l->waiting};
    for (size_t i = 0; i < 3; i++) {
        const struct sim_item *item;
        STAILQ_FOREACH(item, queues[i], link)
        {
            if (item->kind == ITEM_WRITE)
                return (e->world->now_us - item->since_us) / 1000;
        }
    }
    return 0;
}

/* ---- jobs ---- */

static void job_done(void *arg)
{
    struct sim_item *item = arg;
    struct sim_env *e = item->env;
    struct sim_lane *lane = item->lane;
    struct kb_job *job = item->job;
    int result = item->result;
    STAILQ_REMOVE(lane != NULL ? &lane->round : &e->background, item, sim_item, link);
    item_free(item);
    job->done(job, result);
    if (!e->down && lane != NULL)
        lane_finish(lane);
}

static void job_run(void *arg)
{
    struct sim_item *item = arg;
    struct sim_env *e = item->env;
    struct sim_fs fs;
    sim_fs_init(&fs, e, false);
    item->result = item->job->run(item->job, &fs.base);
    if (e->doomed) {
        sim_env_finish_crash(e);
        return;
    }
    sim_event_init(&item->event, e, SIM_EV_JOB_DONE, job_done, item);
    sim_event_in(e->world, &item->event, fs.elapsed_us + 1);
}

void sim_lane_job(struct kb_env *env, enum kb_lane lane, struct kb_job *job)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return;
    struct sim_item *item = item_new(e, &e->lanes[lane], ITEM_JOB);
    item->job = job;
    lane_add(&e->lanes[lane], item);
}

void sim_env_job(struct kb_env *env, struct kb_job *job)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return;
    struct sim_item *item = item_new(e, NULL, ITEM_JOB);
    item->job = job;
    STAILQ_INSERT_TAIL(&e->background, item, link);
    sim_event_init(&item->event, e, SIM_EV_JOB, job_run, item);
    sim_event_in(e->world, &item->event, sim_disk_read_us(disk_of(e), 0));
}

/* ---- reads ---- */

static int64_t read_file(struct sim_env *e, const char *path, uint64_t position, void *ret,
                         size_t size)
{
    struct sim_inode *inode = NULL;
    int r = sim_disk_open(disk_of(e), path, KB_FS_READ, 0, &inode);
    return r < 0 ? r : sim_inode_read(disk_of(e), inode, ret, size, position);
}

int64_t sim_read_now(struct kb_env *env, struct kb_file *file, uint64_t position, void *ret,
                     size_t size)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return -KB_ECRASHED;
    struct sim_inode *inode = NULL;
    if (sim_disk_is_cold(disk_of(e)) ||
        (sim_disk_open(disk_of(e), file->path, KB_FS_READ, 0, &inode) == 0 &&
         sim_inode_is_hidden(inode, position, size)))
        return -KB_EAGAIN;
    return read_file(e, file->path, position, ret, size);
}

static void read_done(void *arg)
{
    struct sim_item *item = arg;
    struct sim_env *e = item->env;
    struct kb_read *r = item->read;
    STAILQ_REMOVE(&e->background, item, sim_item, link);
    item_free(item);
    r->done(r, read_file(e, r->file->path, r->position, r->buffer, r->size));
}

void sim_read(struct kb_env *env, struct kb_read *r)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return;
    struct sim_item *item = item_new(e, NULL, ITEM_READ);
    item->read = r;
    STAILQ_INSERT_TAIL(&e->background, item, link);
    sim_event_init(&item->event, e, SIM_EV_READ, read_done, item);
    sim_event_in(e->world, &item->event, sim_disk_read_us(disk_of(e), 0));
}

/* ---- life ---- */

void sim_lane_init(struct sim_env *e)
{
    STAILQ_INIT(&e->background);
    for (int i = 0; i < KB_LANE_COUNT_; i++) {
        struct sim_lane *lane = &e->lanes[i];
        lane->env = e;
        STAILQ_INIT(&lane->waiting);
        STAILQ_INIT(&lane->round);
        STAILQ_INIT(&lane->syncing);
        sim_event_init(&lane->event, e, SIM_EV_PUMP, lane_wake, lane);
    }
}

static void queue_drop(struct sim_item_queue *q)
{
    struct sim_item *item;
    while ((item = STAILQ_FIRST(q)) != NULL) {
        STAILQ_REMOVE_HEAD(q, link);
        if (item->kind == ITEM_WRITE)
            kb_chain_release(&item->write->chain);
        item_free(item);
    }
}

void sim_lane_drop(struct sim_env *e)
{
    queue_drop(&e->background);
    for (int i = 0; i < KB_LANE_COUNT_; i++) {
        struct sim_lane *lane = &e->lanes[i];
        sim_event_cancel(e->world, &lane->event);
        queue_drop(&lane->waiting);
        queue_drop(&lane->round);
        queue_drop(&lane->syncing);
    }
}
