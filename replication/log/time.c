/* Offsets by time. Always a job: an exact answer needs the records of a batch. */
#include <stdlib.h>

#include "proto/kafka/batch.h"
#include "replication/log/impl.h"

#define TIME_OUTPUT_MAX ((uint64_t)LOG_BATCH_BYTES_MAX)
enum { TIME_TRIES_MAX = 5 };

struct time_segment {
    char *path;
    char *dir;
    int64_t base_offset;
    int64_t max_timestamp;
    bool active;
    struct log_index_time entry; /* active: from whose batch on to look for the timestamp */
    uint64_t position;           /* active: where to look for that batch */
};

struct log_time_op {
    struct log_job j;
    struct log_time_query *q; /* NULL: cancelled */
    struct time_segment *segments;
    size_t segment_count;
    int64_t timestamp; /* LOG_TIME_MAX as in the query */
    int64_t bound;
    int64_t start_offset;
    uint32_t generation, layout;
    unsigned tries;
    struct log_time_offset found;
};

static void time_release(struct log_work *work)
{
    struct log_time_op *op = (struct log_time_op *)work;
    if (op->q != NULL)
        op->q->op_ = NULL;
    for (size_t i = 0; i < op->segment_count; i++) {
        free(op->segments[i].path);
        free(op->segments[i].dir);
    }
    free(op->segments);
    free(op);
}

/* ---- in the job ---- */

struct time_search {
    const struct log_time_op *op;
    int64_t at_least; /* timestamps below do not count */
    bool maximum;     /* go on for a larger one */
    struct log_time_offset found;
    int error;
};

/* The first record of the batch that counts. */
static int search_batch(struct time_search *s, const struct log_head *h, const uint8_t *bytes)
{
    struct kw_batch b;
    struct kw_records *records = NULL;
    struct kw_record record;
    int r = kw_batch_parse(bytes, h->size, &b);
    if (r == 0)
        r = kw_records_open(&b, TIME_OUTPUT_MAX, &records);
    if (r != 0)
        return r < 0 ? r : -KB_ECORRUPT;
    while ((r = kw_records_next(records, &record)) == 1) {
        if (record.offset < s->op->start_offset || record.timestamp < s->at_least)
            continue;
        if (record.offset >= s->op->bound)
            break;
        s->found = (struct log_time_offset){record.timestamp, record.offset, h->epoch};
        if (!s->maximum)
            break;
        s->at_least = record.timestamp + 1;
    }
    (void)kw_records_close(records);
    return r < 0 ? r : 0;
}

enum { SEARCH_STOP = 1 };

static int search_step(void *arg, const struct log_head *h, const uint8_t *bytes, uint64_t position)
{
    struct time_search *s = arg;
    if (h->base_offset >= s->op->bound)
        return SEARCH_STOP;
    if (h->max_timestamp < s->at_least || h->last_offset < s->op->start_offset ||
        h->record_count == 0)
        return 0;
    s->error = search_batch(s, h, bytes);
    return s->error < 0 || (!s->maximum && s->found.offset >= 0) ? SEARCH_STOP : 0;
}

/* Where to look from for the timestamp: as the index says (a closed segment's own files), where the
 * batches say the same, else the start. A position, or negative. */
static int64_t begin_at(struct kb_fs *fs, struct kb_fd *fd, const struct time_segment *g,
                        uint64_t size, int64_t timestamp)
{
    struct log_index_time entry = g->entry;
    uint64_t position = g->position;
    if (!g->active) {
        struct log_index ix;
        log_index_init(&ix, 0);
        entry.timestamp = -1;
        if (log_index_load(fs, g->dir, g->base_offset, size, &ix) == 0) {
            entry = log_index_lookup_time(&ix, timestamp);
            position = log_index_lookup(&ix, entry.relative_offset);
        }
        log_index_release(&ix);
    }
    if (entry.timestamp < 0)
        return 0;
    int r = log_index_check_time(fs, fd, g->base_offset, position, &entry);
    return r <= 0 ? r : (int64_t)position;
}

static int search_segment(struct kb_fs *fs, struct time_search *s, const struct time_segment *g,
                          bool indexed)
{
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, g->path, KB_FS_READ, &fd);
    int64_t size = r == 0 ? kb_fs_size(fs, fd) : r;
    if (size < 0) {
        r = (int)size;
        goto out;
    }
    int64_t position = indexed ? begin_at(fs, fd, g, (uint64_t)size, s->at_least) : 0;
    if (position < 0) {
        r = (int)position;
        goto out;
    }
    for (;;) {
        struct log_scan scan = {.segment_base = g->base_offset,
                                .position = (uint64_t)position,
                                .limit = UINT64_MAX,
                                .stop_offset = INT64_MAX,
                                .epoch = -1,
                                .fn = search_step,
                                .arg = s};
        log_scan_trust(&scan);
        r = log_scan_run(fs, fd, &scan);
        bool misled = scan.bad && scan.position == (uint64_t)position && position != 0;
        if (r == 0 && scan.bad && !misled && scan.next_offset < s->op->bound)
            r = -KB_ECORRUPT;
        if (!misled)
            break;
        position = 0; /* a garbled index file */
    }
    if (r == 0)
        r = s->error;
out:
    (void)kb_fs_close(fs, fd);
    return r;
}

/* Raise s to the segment's largest record, if that is larger. The segment's own largest timestamp
 * finds it at once, unless that lies above the bound. */
static int search_maximum(struct kb_fs *fs, struct time_search *s, const struct time_segment *g)
{
    struct time_search exact = *s;
    exact.maximum = false;
    exact.at_least = g->max_timestamp;
    exact.found.offset = -1;
    int r = search_segment(fs, &exact, g, true);
    if (r == 0 && exact.found.offset >= 0) {
        s->found = exact.found;
        s->at_least = exact.found.timestamp + 1;
    } else if (r == 0) {
        r = search_segment(fs, s, g, false);
    }
    return r;
}

/* Largest timestamp first, of equals the older segment. */
static int compare_newest(const void *a, const void *b)
{
    const struct time_segment *x = a;
    const struct time_segment *y = b;
    if (x->max_timestamp != y->max_timestamp)
        return x->max_timestamp > y->max_timestamp ? -1 : 1;
    return x->base_offset < y->base_offset ? -1 : 1;
}

static int time_run(struct kb_job *job, struct kb_fs *fs)
{
    struct log_time_op *op = (struct log_time_op *)LOG_JOB_OF(job);
    struct time_search s = {.op = op,
                            .maximum = op->timestamp == LOG_TIME_MAX,
                            .at_least = op->timestamp == LOG_TIME_MAX ? 0 : op->timestamp,
                            .found = {-1, -1, -1}};
    if (s.maximum)
        qsort(op->segments, op->segment_count, sizeof(op->segments[0]), compare_newest);
    int r = 0;
    for (size_t i = 0; r == 0 && i < op->segment_count; i++) {
        const struct time_segment *g = &op->segments[i];
        if (g->max_timestamp < s.at_least)
            continue;
        r = s.maximum ? search_maximum(fs, &s, g) : search_segment(fs, &s, g, true);
        if (!s.maximum && s.found.offset >= 0)
            break;
    }
    op->found = s.found;
    return r;
}

/* ---- on the loop ---- */

static void time_start(struct log *log, struct log_time_query *q, unsigned tries);

static void time_finish(struct log *log, struct log_job *j, int result)
{
    struct log_time_op *op = (struct log_time_op *)j;
    struct log_time_query *q = op->q;
    if (q == NULL)
        return;
    op->q = NULL;
    q->op_ = NULL;
    if (op->generation != log->generation || (result < 0 && op->layout != log->layout)) {
        if (op->tries < TIME_TRIES_MAX && log->phase == LOG_OPEN) {
            time_start(log, q, op->tries + 1);
            return;
        }
        result = -KB_EIO;
    }
    if (result == 0)
        q->found = op->found;
    q->done(q, result);
}

static void note_segment(struct log *log, struct log_time_op *op, size_t i)
{
    const struct log_segment *s = log->segments[i];
    struct time_segment *g = &op->segments[op->segment_count++];
    g->path = kb_strdup(kb_file_path(s->file));
    g->dir = kb_strdup(log->dir);
    g->base_offset = s->base_offset;
    g->max_timestamp = s->max_timestamp;
    g->active = i + 1 == log->segment_count;
    int64_t timestamp = op->timestamp == LOG_TIME_MAX ? s->max_timestamp : op->timestamp;
    g->entry.timestamp = -1;
    if (g->active && log->index_valid) {
        g->entry = log_index_lookup_time(&log->index, timestamp);
        g->position = log_index_lookup(&log->index, g->entry.relative_offset);
    }
}

static void time_start(struct log *log, struct log_time_query *q, unsigned tries)
{
    struct log_time_op *op = kb_new(struct log_time_op);
    op->q = q;
    op->timestamp = q->timestamp;
    op->bound = q->bound_offset < log->written ? q->bound_offset : log->written;
    op->start_offset = log->start;
    op->generation = log->generation;
    op->layout = log->layout;
    op->tries = tries;
    op->segments = kb_new_array(struct time_segment, log->segment_count);
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct log_segment *g = log->segments[i];
        if (g->max_timestamp >= q->timestamp && g->base_offset < op->bound)
            note_segment(log, op, i);
    }
    q->op_ = op;
    log_job_background(log, &op->j, time_run, time_finish, time_release);
}

void log_offset_for_time(struct log *log, struct log_time_query *q)
{
    KB_ASSERT(log->phase == LOG_OPEN || log->phase == LOG_CLOSING);
    q->found = (struct log_time_offset){-1, -1, -1};
    time_start(log, q, 0);
}

void log_time_cancel(struct log_time_query *q)
{
    if (q->op_ != NULL) {
        q->op_->q = NULL;
        q->op_ = NULL;
    }
}
