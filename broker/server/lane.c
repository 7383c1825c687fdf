#include "broker/server/lane.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/server/fs.h"
#include "broker/server/thread.h"
#include "broker/server/timer.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

/* Then it is synced: on a slow disk who waits hears something in between. */
#define ROUND_BYTES_MAX ((uint64_t)16 * 1024 * 1024)

/* A write of the round in work. Once "written" of an unsynced write is posted its owner may free
 * it, so what is needed later is kept here. */
struct srv_lane_item {
    struct kb_write *write;
    struct srv_file *file;
    uint64_t position;
    uint64_t size;
    size_t seq;
    size_t dirty; /* index of its file */
    int result;
    bool sync;
};
/* A file of the round in work. */
struct srv_lane_dirty {
    struct srv_file *file;
    struct srv_open *open;
    int result; /* of the sync */
    bool sync;
};

static void queue_push(struct srv_lane_queue *q, struct srv_lane_entry entry)
{
    kb_array_reserve(q->entries, q->count, q->capacity);
    q->entries[q->count++] = entry;
}

static void queue_swap(struct srv_lane_queue *a, struct srv_lane_queue *b)
{
    struct srv_lane_queue tmp = *a;
    *a = *b;
    *b = tmp;
}

void srv_lane_stage(struct srv_lane *l, void *request, bool is_job)
{
    queue_push(&l->staged, (struct srv_lane_entry){request, srv_now_us(), is_job});
}

void srv_lane_submit(struct srv_lane *l)
{
    if (l->staged.count == 0)
        return;
    (void)pthread_mutex_lock(&l->lock);
    bool wake = l->inbox.count == 0;
    if (wake) {
        queue_swap(&l->staged, &l->inbox);
    } else {
        for (size_t i = 0; i < l->staged.count; i++)
            queue_push(&l->inbox, l->staged.entries[i]);
    }
    l->staged.count = 0;
    if (wake)
        (void)pthread_cond_signal(&l->filled);
    (void)pthread_mutex_unlock(&l->lock);
}

/* Time of the first write at or behind from; 0 when there is none. */
static uint64_t first_write_us(const struct srv_lane_queue *q, size_t from)
{
    for (size_t i = from; i < q->count; i++) {
        if (!q->entries[i].is_job)
            return q->entries[i].since_us;
    }
    return 0;
}

uint64_t srv_lane_stall_ms(struct srv_lane *l)
{
    (void)pthread_mutex_lock(&l->lock);
    uint64_t since_us = first_write_us(&l->active, l->active_done);
    if (since_us == 0)
        since_us = first_write_us(&l->inbox, 0);
    uint64_t progress_us = l->progress_us;
    (void)pthread_mutex_unlock(&l->lock);
    if (since_us == 0)
        since_us = first_write_us(&l->staged, 0);
    if (since_us == 0)
        return 0;
    /* A lane that gets on with its work is slow, however long the queue. */
    if (since_us < progress_us)
        since_us = progress_us;
    uint64_t now_us = srv_now_us();
    return now_us > since_us ? (now_us - since_us) / 1000 : 0;
}

void srv_lane_figures(struct srv_lane *l, uint64_t *ret_writes, uint64_t *ret_syncs)
{
    (void)pthread_mutex_lock(&l->lock);
    *ret_writes = l->n_writes;
    *ret_syncs = l->n_syncs;
    (void)pthread_mutex_unlock(&l->lock);
}

/* ---- the thread ---- */

static int compare_items(const void *pa, const void *pb)
{
    const struct srv_lane_item *a = pa;
    const struct srv_lane_item *b = pb;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static int compare_seq(const void *pa, const void *pb)
{
    const struct srv_lane_item *a = pa;
    const struct srv_lane_item *b = pb;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* All of iov at position; *ret_done bytes were written when it fails. */
static int write_all(int fd, struct iovec *iov, size_t count, uint64_t position, uint64_t *ret_done)
{
    *ret_done = 0;
    while (count > 0) {
        int window = count < IOV_MAX ? (int)count : IOV_MAX;
        ssize_t n = pwritev(fd, iov, window, (off_t)(position + *ret_done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_err_from_errno(errno);
        if (n == 0)
            return -KB_EIO;
        *ret_done += (uint64_t)n;
        size_t left = (size_t)n;
        while (count > 0 && left >= iov->iov_len) {
            left -= iov->iov_len;
            iov++;
            count--;
        }
        if (left > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + left;
            iov->iov_len -= left;
        }
    }
    return 0;
}

static size_t add_iov(struct srv_lane *l, size_t n_iov, const struct kb_chain *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct kb_slice *s = &c->slices[i];
        KB_ASSERT(s->block != NULL);
        kb_array_reserve(l->iov, n_iov, l->iov_capacity);
        l->iov[n_iov++] = (struct iovec){s->block->data + s->position, (size_t)s->size};
    }
    return n_iov;
}

/* Writes of one file, in order: each run of adjacent ones is one pwritev. After the first failure
 * the file is doubtful and nothing more is written to it. */
static void write_file(struct srv_lane *l, struct srv_lane_item *items, size_t count, int fd)
{
    size_t i = 0;
    while (i < count && !items[i].file->failed) {
        uint64_t start = items[i].position;
        uint64_t end = start;
        size_t n_iov = 0;
        size_t j = i;
        for (; j < count && items[j].position == end; j++) {
            n_iov = add_iov(l, n_iov, &items[j].write->chain);
            end += items[j].size;
        }
        uint64_t done = 0;
        int r = write_all(fd, l->iov, n_iov, start, &done);
        for (; i < j && items[i].position + items[i].size <= start + done; i++)
            items[i].result = 0;
        if (r < 0) {
            items[i++].result = r;
            items[i - 1].file->failed = true;
        }
    }
    for (; i < count; i++)
        items[i].result = -KB_EIO;
}

/* Open and write one file's share; returns 1 if it was added to the dirty list at index. */
static size_t write_share(struct srv_lane *l, struct srv_lane_item *items, size_t count,
                          size_t index)
{
    struct srv_file *f = items[0].file;
    struct srv_open *o = NULL;
    int r = f->failed ? -KB_EIO : srv_file_pin(f, &o);
    if (r < 0) {
        f->failed = true;
        for (size_t i = 0; i < count; i++)
            items[i].result = i == 0 ? r : -KB_EIO;
        return 0;
    }
    write_file(l, items, count, o->fd);
    bool sync = false;
    for (size_t i = 0; i < count; i++) {
        items[i].dirty = index;
        sync = sync || (items[i].sync && items[i].result == 0);
    }
    kb_array_reserve(l->dirty, index, l->dirty_capacity);
    l->dirty[index] = (struct srv_lane_dirty){.file = f, .open = o, .sync = sync};
    return 1;
}

/* Post the results of count items in the order they were queued. */
static void report(struct srv_lane *l, const struct srv_lane_item *items, size_t count,
                   bool durable)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (durable && !items[i].sync)
            continue;
        srv_lane_result_fn *fn = durable         ? srv_lane_callbacks.durable
                                 : items[i].sync ? srv_lane_callbacks.written
                                                 : srv_lane_callbacks.finished;
        kb_array_reserve(l->posts, n, l->posts_capacity);
        l->posts[n++] = (struct srv_post){fn, items[i].write, items[i].result};
    }
    srv_mailbox_post(l->mailbox, l->posts, n);
}

/* Sync the dirty files that asked for it, and unpin all. */
static void sync_round(struct srv_lane *l, size_t n_dirty)
{
    struct srv_file *last = NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_dirty; i++) {
        struct srv_lane_dirty *d = &l->dirty[i];
        if (!d->sync)
            continue;
        kb_array_reserve(l->sync_files, n, l->sync_files_capacity);
        l->sync_files[n++] = (struct srv_sync_file){.fd = d->open->fd, .device = d->open->device};
        last = d->file;
    }
    if (n > 0) {
        char *path = srv_sync_wants_dir(&l->sync, n) ? srv_file_path_copy(last) : NULL;
        srv_sync_files(&l->sync, l->sync_files, n, path);
        (void)kb_free(path);
    }
    bool synced = n > 0;
    n = 0;
    for (size_t i = 0; i < n_dirty; i++) {
        struct srv_lane_dirty *d = &l->dirty[i];
        if (d->sync)
            d->result = l->sync_files[n++].result;
        if (d->result < 0)
            d->file->failed = true;
        int fd = srv_file_unpin(l->files, d->open);
        if (fd >= 0)
            (void)close(fd);
    }
    (void)pthread_mutex_lock(&l->lock);
    l->n_syncs += synced;
    (void)pthread_mutex_unlock(&l->lock);
}

static void set_done(struct srv_lane *l, size_t done)
{
    (void)pthread_mutex_lock(&l->lock);
    l->active_done = done;
    l->progress_us = srv_now_us();
    (void)pthread_mutex_unlock(&l->lock);
}

/* Write, report, sync, report. Figures change before the report that lets others look at them. */
static void run_writes(struct srv_lane *l, const struct srv_lane_entry *entries, size_t count,
                       size_t done)
{
    bool sync = false;
    (void)pthread_mutex_lock(&l->lock);
    l->n_writes += count;
    (void)pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < count; i++) {
        struct kb_write *w = entries[i].request;
        kb_array_reserve(l->items, i, l->items_capacity);
        l->items[i] = (struct srv_lane_item){.write = w,
                                             .file = (struct srv_file *)w->file,
                                             .position = w->position,
                                             .size = w->chain.size,
                                             .seq = i,
                                             .sync = w->sync};
        sync = sync || w->sync;
    }
    struct srv_lane_item *items = l->items;
    qsort(items, count, sizeof(*items), compare_items);
    size_t n_dirty = 0;
    for (size_t i = 0, j = 0; i < count; i = j) {
        for (j = i; j < count && items[j].file == items[i].file; j++)
            ;
        n_dirty += write_share(l, items + i, j - i, n_dirty);
    }
    qsort(items, count, sizeof(*items), compare_seq);
    if (!sync)
        set_done(l, done);
    report(l, items, count, false);
    sync_round(l, n_dirty);
    for (size_t i = 0; i < count; i++) {
        if (items[i].sync && items[i].result == 0)
            items[i].result = l->dirty[items[i].dirty].result;
    }
    if (sync)
        set_done(l, done);
    report(l, items, count, true);
}

static void run_job(struct srv_lane *l, struct kb_job *job)
{
    struct srv_fs fs;
    srv_fs_init(&fs, l->files);
    int r = job->run(job, &fs.fs);
    struct srv_post post = {srv_lane_callbacks.job_done, job, r};
    srv_mailbox_post(l->mailbox, &post, 1);
}

static uint64_t write_bytes(const struct srv_lane_entry *e)
{
    return ((const struct kb_write *)e->request)->chain.size;
}

/* Jobs in any order come first: they cut no round in two, and who waits for them is soon served.
 * The others move up; how many they are. */
static size_t run_ahead(struct srv_lane *l)
{
    size_t n_ahead = 0;
    size_t left = 0;
    (void)pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->active.count; i++) {
        struct srv_lane_entry *e = &l->active.entries[i];
        if (e->is_job && ((struct kb_job *)e->request)->any_order) {
            /* NOLINTNEXTLINE(bugprone-sizeof-expression): of pointers */
            kb_array_reserve(l->ahead, n_ahead, l->ahead_capacity);
            l->ahead[n_ahead++] = e->request;
        } else {
            l->active.entries[left++] = *e;
        }
    }
    l->active.count = left;
    (void)pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < n_ahead; i++)
        run_job(l, l->ahead[i]);
    return left;
}

static void *lane_main(void *arg)
{
    struct srv_lane *l = arg;
    for (;;) {
        (void)pthread_mutex_lock(&l->lock);
        l->active.count = 0;
        l->active_done = 0;
        while (l->inbox.count == 0 && !l->stopping)
            (void)pthread_cond_wait(&l->filled, &l->lock);
        queue_swap(&l->inbox, &l->active);
        (void)pthread_mutex_unlock(&l->lock);
        const struct srv_lane_entry *entries = l->active.entries;
        if (l->active.count == 0)
            return NULL;
        size_t count = run_ahead(l);
        for (size_t i = 0, j = 0; i < count; i = j) {
            j = i + 1;
            if (entries[i].is_job) {
                run_job(l, entries[i].request);
                set_done(l, j);
            } else {
                uint64_t bytes = write_bytes(&entries[i]);
                while (j < count && !entries[j].is_job && bytes < ROUND_BYTES_MAX)
                    bytes += write_bytes(&entries[j++]);
                run_writes(l, entries + i, j - i, j);
            }
        }
    }
}

int srv_lane_init(struct srv_lane *l, const char *name, struct srv_files *files,
                  struct srv_mailbox *mailbox)
{
    *l = (struct srv_lane){.files = files, .mailbox = mailbox};
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->filled, NULL);
    srv_sync_init(&l->sync);
    int r = srv_thread_start(name, lane_main, l, &l->thread);
    l->started = r == 0;
    return r;
}

void srv_lane_stop(struct srv_lane *l)
{
    if (!l->started)
        return;
    srv_lane_submit(l);
    (void)pthread_mutex_lock(&l->lock);
    l->stopping = true;
    (void)pthread_cond_signal(&l->filled);
    (void)pthread_mutex_unlock(&l->lock);
    (void)pthread_join(l->thread, NULL);
    l->started = false;
}

void srv_lane_release(struct srv_lane *l)
{
    srv_lane_stop(l);
    srv_sync_release(&l->sync);
    l->staged.entries = kb_free(l->staged.entries);
    l->inbox.entries = kb_free(l->inbox.entries);
    l->active.entries = kb_free(l->active.entries);
    l->items = kb_free(l->items);
    l->dirty = kb_free(l->dirty);
    l->sync_files = kb_free(l->sync_files);
    l->iov = kb_free(l->iov);
    l->posts = kb_free(l->posts);
    l->ahead = kb_free(l->ahead);
    (void)pthread_cond_destroy(&l->filled);
    (void)pthread_mutex_destroy(&l->lock);
}
