/* From a batch to a write in the lane, and the reports that come back. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/mutant.h"
#include "replication/log/impl.h"

struct log_write {
    struct log_work work;
    struct kb_write w;
    uint32_t generation;
    int64_t end_offset; /* behind this write */
};
#define WRITE_OF(ptr) ((struct log_write *)((char *)(ptr)-offsetof(struct log_write, w)))

static void write_release(struct log_work *work)
{
    struct log_write *lw = (struct log_write *)work;
    kb_chain_release(&lw->w.chain);
    (void)kb_file_unref(lw->w.file);
    free(lw);
}

static void write_end(struct log *log, struct log_write *lw)
{
    log_work_remove(&lw->work);
    write_release(&lw->work);
    log->writes_pending--;
    log_steps_run(log);
}

static void advance_durable(struct log *log, uint32_t generation, int64_t offset)
{
    if (log->failure != 0 || generation != log->generation || offset <= log->durable)
        return;
    log->durable = offset;
    if (log->cut_limit >= 0)
        log_cut_limit_check(log);
    if (log->handler->on_durable != NULL)
        log->handler->on_durable(log, log->user, generation, offset);
}

static void write_written(struct kb_write *w, int result)
{
    struct log_write *lw = WRITE_OF(w);
    struct log *log = lw->work.log;
    if (result < 0) {
        log_fail(log, result);
    } else if (log->failure == 0 && lw->generation == log->generation &&
               lw->end_offset > log->written) {
        log->written = lw->end_offset;
        if (KB_MUTANT("written-is-durable"))
            advance_durable(log, lw->generation, lw->end_offset);
        if (log->handler->on_written != NULL)
            log->handler->on_written(log, log->user, lw->generation, lw->end_offset);
    }
    if (!w->sync)
        write_end(log, lw);
}

static void write_durable(struct kb_write *w, int result)
{
    struct log_write *lw = WRITE_OF(w);
    struct log *log = lw->work.log;
    if (result < 0)
        log_fail(log, result);
    else
        advance_durable(log, lw->generation, lw->end_offset);
    write_end(log, lw);
}

/* ---- flushing weak logs ---- */

struct flush_job {
    struct log_job j;
    char *path;
    uint32_t generation;
    int64_t end_offset;
};

static void flush_release(struct log_work *work)
{
    struct flush_job *f = (struct flush_job *)work;
    free(f->path);
    free(f);
}

static int flush_run(struct kb_job *job, struct kb_fs *fs)
{
    struct flush_job *f = (struct flush_job *)LOG_JOB_OF(job);
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, f->path, KB_FS_WRITE, &fd);
    if (r == 0)
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    return r;
}

static void flush_finish(struct log *log, struct log_job *j, int result)
{
    struct flush_job *f = (struct flush_job *)j;
    log->flushing = false;
    if (result < 0)
        log_fail(log, result);
    else
        advance_durable(log, f->generation, f->end_offset);
}

void log_flush(struct log *log)
{
    if (!log_is_open(log) || log->failure != 0 || log->cutting || log->flushing ||
        log->durable == log->end)
        return;
    struct flush_job *f = kb_new(struct flush_job);
    f->path = kb_strdup(kb_file_path(log_active(log)->file));
    f->generation = log->generation;
    f->end_offset = log->end; /* the lane writes all of it first */
    log->flushing = true;
    log->unflushed_records = 0;
    log_job_lane(log, &f->j, flush_run, flush_finish, flush_release);
}

static void flush_due(void *arg)
{
    log_flush(arg);
}

/* Must this append be synced? Weak logs count records and time. */
static bool append_syncs(struct log *log, int64_t records)
{
    if (log_is_strong(log))
        return true;
    log->unflushed_records += records;
    if (log->unflushed_records >= log->config.flush_messages) {
        log->unflushed_records = 0;
        return true;
    }
    if (log->config.flush_ms < LOG_FLUSH_NEVER) {
        if (log->flush_timer == NULL)
            log->flush_timer = kb_timer_new(log->env, flush_due, log);
        if (!kb_timer_armed(log->flush_timer))
            kb_timer_arm(log->flush_timer, (uint64_t)log->config.flush_ms);
    }
    return false;
}

/* ---- appending ---- */

static bool must_roll(const struct log *log, const struct log_head *h, int64_t last_offset)
{
    const struct log_segment *s = log_active(log);
    if (s->size_bytes == 0)
        return false;
    if (s->size_bytes + h->size > log->config.segment_bytes ||
        s->size_bytes + h->size > UINT32_MAX || last_offset - s->base_offset > INT32_MAX)
        return true;
    int64_t age = s->first_timestamp >= 0 && h->max_timestamp >= 0
                      ? h->max_timestamp - s->first_timestamp
                      : kb_env_wall_ms(log->env) - s->made_wall_ms;
    return age > log->config.segment_ms - log->config.segment_jitter_ms;
}

/* 0, LOG_APPEND_BUSY, LOG_APPEND_NO_SPACE or negative. */
static int append_gate(struct log *log)
{
    if (log->failure != 0)
        return -KB_EIO;
    if (!log_is_open(log))
        return -KB_ECLOSED;
    if (log->rolling || log->cutting || log->widening) {
        log->space_wanted = true;
        return log->space == LOG_SPACE_FULL ? LOG_APPEND_NO_SPACE : LOG_APPEND_BUSY;
    }
    return log->damaged ? -KB_ECORRUPT : 0;
}

/* Space for this batch. *ret_roll: it needs a new segment first, which append_roll begins once all
 * that was noted is with the lane. */
static int append_room(struct log *log, const struct log_head *h, int64_t last_offset,
                       bool *ret_roll)
{
    *ret_roll = must_roll(log, h, last_offset);
    if (!*ret_roll)
        return log_space_take(log, h->size);
    log->space_wanted = true;
    return log->space == LOG_SPACE_FULL ? LOG_APPEND_NO_SPACE : LOG_APPEND_BUSY;
}

static void append_roll(struct log *log, bool roll)
{
    if (roll && log->space != LOG_SPACE_FULL)
        log_roll_start(log, NULL, NULL);
}

/* Bookkeeping of one batch that has its final offsets and epoch. */
static void append_note(struct log *log, struct kb_block *block, size_t position,
                        const struct log_head *h)
{
    struct log_segment *s = log_active(log);
    if (s->size_bytes == 0)
        s->first_timestamp = h->max_timestamp;
    if (h->max_timestamp > s->max_timestamp) {
        s->max_timestamp = h->max_timestamp;
        s->max_timestamp_offset = h->last_offset;
    }
    log_index_add(&log->index, (uint32_t)(h->last_offset - s->base_offset), (uint32_t)s->size_bytes,
                  h->size, h->max_timestamp);
    if (log_epochs_assign(&log->epochs, h->epoch, h->base_offset))
        log_proof_epoch(log, h->base_offset);
    if (log->producers != NULL) {
        struct log_producer_batch p;
        if (log_producer_batch_parse(block->data + position, h->size, &p) == 0)
            (void)log_producers_update(log->producers, &p, kb_env_now_ms(log->env), NULL);
        log_producers_advance(log->producers, h->last_offset + 1);
    }
    s->size_bytes += h->size;
    log->end = h->last_offset + 1;
    log_cache_add(log, block, position, h);
}

/* Hand [position, position + size) of the block to the lane; it was noted already. */
static void append_write(struct log *log, struct kb_block *block, size_t position, size_t size,
                         int64_t records)
{
    struct log_segment *s = log_active(log);
    struct log_write *lw = kb_new(struct log_write);
    lw->generation = log->generation;
    lw->end_offset = log->end;
    lw->work.release = write_release;
    lw->w.file = kb_file_ref(s->file);
    lw->w.position = s->size_bytes - size;
    lw->w.sync = append_syncs(log, records);
    lw->w.on_written = write_written;
    lw->w.on_durable = lw->w.sync ? write_durable : NULL;
    kb_chain_add_block(&lw->w.chain, block, position, size);
    log->writes_pending++;
    log_work_add(log, &lw->work);
    kb_lane_write(log->env, log->lane, &lw->w);
}

int log_append_leader(struct log *log, struct kb_block *block, size_t position, size_t size,
                      int32_t leader_epoch, struct log_appended *ret)
{
    struct log_head h;
    uint8_t *p = block->data + position;
    int r = append_gate(log);
    if (r != 0)
        return r;
    KB_ASSERT(position + size <= block->size && log_head_parse(p, size, &h) && h.size == size);
    KB_ASSERT(leader_epoch >= log_epochs_last(&log->epochs));
    if (size > log->config.segment_bytes)
        return LOG_APPEND_TOO_LARGE;
    int64_t delta = h.last_offset - h.base_offset;
    bool roll = false;
    r = append_room(log, &h, log->end + delta, &roll);
    append_roll(log, roll);
    if (r != 0)
        return r;
    h.base_offset = log->end;
    h.last_offset = log->end + delta;
    h.epoch = KB_MUTANT("append-in-former-epoch") && log->lane == KB_LANE_DATA && log->end > 0
                  ? log_epochs_at(&log->epochs, log->end - 1)
                  : leader_epoch;
    kb_put_be64(p, (uint64_t)h.base_offset);
    kb_put_be32(p + LOG_HEAD_BEFORE_LENGTH, (uint32_t)h.epoch);
    append_note(log, block, position, &h);
    append_write(log, block, position, size, delta + 1);
    *ret = (struct log_appended){h.base_offset, h.last_offset, size};
    return LOG_APPEND_OK;
}

/* Epoch of the last batch; entries that were assigned and got no record do not count. */
static int32_t last_record_epoch(const struct log *log)
{
    return log->end > log->start ? log_epochs_at(&log->epochs, log->end - 1) : -1;
}

/* Is the batch at p, with `size` bytes left, one this log may take next? */
static bool follower_takes(const struct log *log, const uint8_t *p, size_t size, int32_t epoch_max,
                           uint32_t flags, struct log_head *ret)
{
    if (!log_head_parse(p, size, ret) || ret->size > size)
        return false;
    bool in_place = (flags & LOG_APPEND_GAPS) != 0 ? ret->base_offset >= log->end
                                                   : ret->base_offset == log->end;
    return in_place && ret->epoch >= last_record_epoch(log) && ret->epoch <= epoch_max &&
           ret->epoch >= 0 && ((flags & LOG_APPEND_CHECK_CRC) == 0 || log_head_crc_holds(ret, p));
}

/* Where these batches end. */
static int64_t last_offset_of(const struct kb_block *block, size_t position, size_t size)
{
    struct log_head h;
    int64_t end = 0;
    for (size_t at = 0; at < size && log_head_parse(block->data + position + at, size - at, &h);
         at += h.size)
        end = h.last_offset + 1;
    return end;
}

int log_append_follower(struct log *log, struct kb_block *block, size_t position, size_t size,
                        int32_t epoch_max, uint32_t flags, struct log_appended *ret)
{
    KB_ASSERT(position + size <= block->size);
    int r = append_gate(log);
    if (r != 0)
        return r;
    struct log_appended done = {.first_offset = -1};
    int64_t end_before = log->end;
    bool roll = false;
    while (done.size_taken < size) {
        size_t at = position + done.size_taken;
        struct log_head h;
        if (!follower_takes(log, block->data + at, size - done.size_taken, epoch_max, flags, &h)) {
            r = LOG_APPEND_REFUSED;
            break;
        }
        if (h.base_offset != log->end &&
            !log_proof_gap(log, h.base_offset, last_offset_of(block, position, size))) {
            r = LOG_APPEND_BUSY;
            break;
        }
        r = append_room(log, &h, h.last_offset, &roll);
        if (r != 0)
            break;
        if (h.epoch < log_epochs_last(&log->epochs)) /* led without a record, then overtaken */
            log_epochs_truncate_end(&log->epochs, log->end);
        append_note(log, block, at, &h);
        if (done.first_offset < 0)
            done.first_offset = h.base_offset;
        done.last_offset = h.last_offset;
        done.size_taken += h.size;
    }
    if (done.size_taken > 0)
        append_write(log, block, position, done.size_taken, log->end - end_before);
    append_roll(log, roll);
    if (done.size_taken == 0)
        return r == 0 ? LOG_APPEND_REFUSED : r;
    *ret = done;
    return LOG_APPEND_OK;
}
