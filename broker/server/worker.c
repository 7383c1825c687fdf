#include "broker/server/worker.h"

#include <errno.h>
#include <unistd.h>

#include "broker/server/fs.h"
#include "broker/server/thread.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define WARM_BYTES ((size_t)64 * 1024) /* step of a read that only warms the page cache */

/* Bytes read (short at the end of the file), or negative. */
static int64_t read_range(int fd, uint8_t *buffer, uint8_t *warm, uint64_t position, size_t size)
{
    size_t done = 0;
    while (done < size) {
        size_t step = size - done;
        if (buffer == NULL && step > WARM_BYTES)
            step = WARM_BYTES;
        uint8_t *to = buffer != NULL ? buffer + done : warm;
        ssize_t n = pread(fd, to, step, (off_t)(position + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_err_from_errno(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static void run_read(struct srv_workers *w, struct kb_read *r)
{
    struct srv_open *o = NULL;
    int64_t result = srv_file_pin((struct srv_file *)r->file, &o);
    if (result == 0) {
        uint8_t *warm = r->buffer == NULL ? kb_alloc(WARM_BYTES) : NULL;
        result = read_range(o->fd, r->buffer, warm, r->position, r->size);
        (void)kb_free(warm);
        int fd = srv_file_unpin(w->files, o);
        if (fd >= 0)
            (void)close(fd);
    }
    struct srv_post post = {srv_worker_read_done, r, result};
    srv_mailbox_post(w->mailbox, &post, 1);
}

static void run_job(struct srv_workers *w, struct kb_job *job)
{
    struct srv_fs fs;
    srv_fs_init(&fs, w->files);
    int r = job->run(job, &fs.fs);
    struct srv_post post = {srv_worker_job_done, job, r};
    srv_mailbox_post(w->mailbox, &post, 1);
}

/* One thing to do, taken under the lock; false when there is none. */
static bool take(struct srv_workers *w, struct kb_job **ret_job, struct kb_read **ret_read,
                 int *ret_fd)
{
    *ret_job = NULL;
    *ret_read = NULL;
    *ret_fd = -1;
    if (w->close_count > 0) {
        *ret_fd = w->close_fds[--w->close_count];
    } else if (w->reads != NULL) {
        *ret_read = w->reads;
        w->reads = w->reads->next_;
        if (w->reads == NULL)
            w->reads_end = &w->reads;
    } else if (w->jobs != NULL) {
        *ret_job = w->jobs;
        w->jobs = w->jobs->next_;
        if (w->jobs == NULL)
            w->jobs_end = &w->jobs;
    } else {
        return false;
    }
    return true;
}

static void *worker_main(void *arg)
{
    struct srv_workers *w = arg;
    struct kb_job *job;
    struct kb_read *read_request;
    int fd;
    (void)pthread_mutex_lock(&w->lock);
    for (;;) {
        if (!take(w, &job, &read_request, &fd)) {
            if (w->stopping)
                break;
            (void)pthread_cond_wait(&w->filled, &w->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&w->lock);
        if (fd >= 0)
            (void)close(fd);
        else if (read_request != NULL)
            run_read(w, read_request);
        else if (job != NULL)
            run_job(w, job);
        (void)pthread_mutex_lock(&w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

int srv_workers_init(struct srv_workers *w, const char *name, unsigned n_threads,
                     struct srv_files *files, struct srv_mailbox *mailbox)
{
    *w = (struct srv_workers){.files = files, .mailbox = mailbox};
    w->jobs_end = &w->jobs;
    w->reads_end = &w->reads;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->filled, NULL);
    if (n_threads > SRV_WORKER_THREADS_MAX)
        n_threads = SRV_WORKER_THREADS_MAX;
    while (w->n_threads < n_threads) {
        int r = srv_thread_start(name, worker_main, w, &w->threads[w->n_threads]);
        if (r < 0)
            return r;
        w->n_threads++;
    }
    return 0;
}

void srv_workers_stop(struct srv_workers *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    (void)pthread_cond_broadcast(&w->filled);
    (void)pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        (void)pthread_join(w->threads[i], NULL);
    w->n_threads = 0;
}

void srv_workers_release(struct srv_workers *w)
{
    srv_workers_stop(w);
    for (size_t i = 0; i < w->close_count; i++)
        (void)close(w->close_fds[i]);
    w->close_fds = kb_free(w->close_fds);
    (void)pthread_cond_destroy(&w->filled);
    (void)pthread_mutex_destroy(&w->lock);
}

void srv_workers_job(struct srv_workers *w, struct kb_job *job)
{
    job->next_ = NULL;
    (void)pthread_mutex_lock(&w->lock);
    *w->jobs_end = job;
    w->jobs_end = &job->next_;
    (void)pthread_cond_signal(&w->filled);
    (void)pthread_mutex_unlock(&w->lock);
}

void srv_workers_read(struct srv_workers *w, struct kb_read *r)
{
    r->next_ = NULL;
    (void)pthread_mutex_lock(&w->lock);
    *w->reads_end = r;
    w->reads_end = &r->next_;
    (void)pthread_cond_signal(&w->filled);
    (void)pthread_mutex_unlock(&w->lock);
}

void srv_workers_close_fd(struct srv_workers *w, int fd)
{
    if (fd < 0)
        return;
    (void)pthread_mutex_lock(&w->lock);
    kb_array_reserve(w->close_fds, w->close_count, w->close_capacity);
    w->close_fds[w->close_count++] = fd;
    (void)pthread_cond_signal(&w->filled);
    (void)pthread_mutex_unlock(&w->lock);
}
