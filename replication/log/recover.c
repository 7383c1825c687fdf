#include "replication/log/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mutant.h"
#include "replication/log/compact.h"

/* Order of work: leftovers → what the small files say → closed segments, oldest first → the newest
 * one → judgement. A first try trusts indexes and the clean marker (`trust`); whatever contradicts
 * itself makes a second try that reads the newest segment whole, with its CRCs. */

enum { RECOVER_AGAIN = 1, RECOVER_NO_TABLE = 2 };

void log_recovery_release(struct log_recovery *rc)
{
    free(rc->segments);
    rc->segments = NULL;
    rc->segment_count = rc->segment_capacity = 0;
    log_index_release(&rc->index);
    log_epochs_release(&rc->epochs);
}

/* One try. */
struct recover_try {
    struct kb_fs *fs;
    struct log_recovery *rc;
    const struct log_bases *bases;
    int64_t mark;         /* F after the cut limit */
    bool trust;           /* clean, and nothing contradicted so far */
    bool table_bad;       /* the epoch file contradicts batches that agree with each other */
    bool epochs_bad;      /* to be rebuilt from the batches */
    bool closer;          /* file and batches contradict each other: read all of them */
    int64_t snapshot;     /* producer state holds what lies below */
    int32_t epoch;        /* of the last batch seen */
    int64_t damaged_from; /* -1 */
};

static void add_segment(struct log_recovery *rc, const struct log_rebuild *b)
{
    kb_array_reserve(rc->segments, rc->segment_count, rc->segment_capacity);
    rc->segments[rc->segment_count++] = (struct log_segment_facts){
        .base_offset = b->scan.segment_base,
        .size_bytes = b->scan.position,
        .max_timestamp = b->index.max_timestamp,
        .max_timestamp_offset = b->scan.segment_base + b->index.max_timestamp_relative,
        .first_timestamp = b->first_timestamp,
    };
}

/* ---- small files ---- */

static int read_small(struct kb_fs *fs, const char *dir, const char *name, struct kb_buf *ret)
{
    char *path = kb_asprintf("%s/%s", dir, name);
    int r = kb_fs_read_all(fs, path, 64u << 20, ret);
    free(path);
    if (r == 0) /* text: let it end with a NUL */
        kb_buf_append(ret, "", 1);
    return r == -KB_ENOENT || r == -KB_ETOOBIG ? 0 : r;
}

static int read_metadata(struct kb_fs *fs, struct log_recovery *rc)
{
    struct kb_buf b = {0};
    int r = read_small(fs, rc->dir, LOG_FILE_METADATA, &b);
    if (r == 0 && b.size != 0) {
        static const char key[] = "topic_id: ";
        const char *p = strstr((const char *)b.data, key);
        char text[KB_UUID_TEXT_SIZE] = {0};
        if (p != NULL) {
            (void)snprintf(text, sizeof(text), "%s", p + sizeof(key) - 1);
            text[strcspn(text, "\r\n")] = 0;
        }
        struct kb_uuid id;
        if (kb_uuid_parse(text, &id) == 0)
            rc->found.topic_id = id;
        long long gaps = -1;
        p = strstr((const char *)b.data, "\ngaps_below: ");
        if (p != NULL && sscanf(p, "\ngaps_below: %lld\n", &gaps) == 1 && gaps >= 0)
            rc->gaps_below = gaps;
    }
    kb_buf_release(&b);
    return r;
}

static int read_cut_limit(struct kb_fs *fs, const char *dir, enum log_cut_kind *ret_kind,
                          int64_t *ret_offset)
{
    struct kb_buf b = {0};
    int r = read_small(fs, dir, LOG_FILE_CUT_LIMIT, &b);
    *ret_kind = LOG_CUT_NONE;
    *ret_offset = -1;
    if (r == 0 && b.size != 0) {
        char kind[8] = {0};
        long long offset = -1;
        /* Garbled: no mark can be believed, so everything is judged as above it. */
        *ret_kind = LOG_CUT_TO;
        *ret_offset = 0;
        if (sscanf((const char *)b.data, "0\n%7s %lld\n", kind, &offset) == 2 && offset >= 0) {
            *ret_kind = strcmp(kind, "reset") == 0 ? LOG_CUT_RESET : LOG_CUT_TO;
            *ret_offset = offset;
        }
    }
    kb_buf_release(&b);
    return r;
}

struct leftovers {
    struct kb_fs *fs;
    const char *dir;
};

static int leftover_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct leftovers *l = arg;
    const char *dot = strrchr(name, '.');
    if (type != KB_FS_FILE || dot == NULL || strcmp(dot, ".tmp") != 0)
        return 0;
    char *path = kb_asprintf("%s/%s", l->dir, name);
    int r = kb_fs_unlink(l->fs, path);
    free(path);
    return r;
}

static int read_epochs(struct recover_try *t)
{
    struct kb_buf b = {0};
    char *path = kb_asprintf("%s/%s", t->rc->dir, LOG_FILE_EPOCHS);
    int r = kb_fs_read_all(t->fs, path, 64u << 20, &b);
    free(path);
    if (r < 0 && r != -KB_ENOENT && r != -KB_ETOOBIG)
        return r;
    t->epochs_bad = t->table_bad || r < 0 || log_epochs_parse(b.data, b.size, &t->rc->epochs) < 0;
    /* One without entries is no witness against batches, but a lost one (KAFKA-7897). */
    t->epochs_bad = t->epochs_bad || t->rc->epochs.count == 0;
    t->rc->epoch_saved = t->epochs_bad ? -1 : log_epochs_last(&t->rc->epochs);
    kb_buf_release(&b);
    return 0;
}

/* ---- segments ---- */

static int open_segment(struct recover_try *t, int64_t base, bool suspect, struct kb_fd **ret)
{
    char *path = log_segment_path(t->rc->dir, base, ".log");
    int r = kb_fs_open(t->fs, path, suspect ? KB_FS_WRITE : KB_FS_READ, ret);
    if (r == 0 && suspect && !KB_MUTANT("recovered-not-synced")) {
        /* 8.1: what is only in the page cache may be lost by the next power cut; what is on the
         * disk may differ from it. */
        r = kb_fs_sync(t->fs, *ret);
        kb_fs_drop_cache(t->fs, *ret);
    }
    free(path);
    return r;
}

/* The first batch's head; epoch -1 when there is none (for the scan to judge). */
static int look_at_first(struct recover_try *t, struct kb_fd *fd, struct log_head *ret)
{
    uint8_t bytes[LOG_HEAD_SIZE];
    *ret = (struct log_head){.epoch = -1, .max_timestamp = -1};
    int64_t n = kb_fs_pread(t->fs, fd, bytes, sizeof(bytes), 0);
    if (n < 0)
        return (int)n;
    (void)log_head_parse(bytes, (size_t)n, ret);
    return 0;
}

static void prepare_rebuild(struct recover_try *t, struct log_rebuild *b)
{
    b->scan.check_crc = true;
    b->scan.epoch = t->epoch;
    b->scan.gaps_below = t->rc->gaps_below;
    b->scan.known = t->epochs_bad ? NULL : &t->rc->epochs;
    b->epochs = t->epochs_bad ? &t->rc->epochs : NULL;
    b->producers = KB_MUTANT("producers-forgotten-at-recovery") ? NULL : t->rc->producers;
    b->now_ms = kb_fs_now_ms(t->fs);
}

/* A closed segment, read whole. */
static int scan_closed(struct recover_try *t, struct kb_fd *fd, int64_t next_base,
                       struct log_rebuild *b)
{
    prepare_rebuild(t, b);
    b->scan.known_below = INT64_MAX; /* a roll saves the table */
    b->scan.end_offset = next_base;
    int r = log_rebuild_run(t->fs, fd, b);
    if (r == 0 && b->scan.known_bad)
        r = RECOVER_NO_TABLE;
    if (r != 0)
        return r;
    t->epoch = b->scan.epoch;
    if (b->scan.next_offset != next_base) {
        /* Compaction and roll both keep a segment's end at its successor's base. */
        t->damaged_from = b->scan.next_offset;
        return 0;
    }
    struct kb_buf offsets = {0};
    struct kb_buf times = {0};
    log_index_format(&b->index, &offsets, &times);
    r = log_index_save(t->fs, t->rc->dir, b->scan.segment_base, &offsets, &times);
    kb_buf_release(&offsets);
    kb_buf_release(&times);
    return r == -KB_ENOSPC ? 0 : r; /* an index can be made again later */
}

/* Load a segment's index files and scan only behind their last entry. 0 or RECOVER_AGAIN. */
static int trust_indexed(struct recover_try *t, struct kb_fd *fd, struct log_rebuild *b)
{
    struct log_scan *s = &b->scan;
    int64_t size = kb_fs_size(t->fs, fd);
    if (size < 0)
        return (int)size;
    int r = log_index_load(t->fs, t->rc->dir, s->segment_base, (uint64_t)size, &b->index);
    if (r < 0)
        return r == -KB_ENOENT || r == -KB_ECORRUPT || r == -KB_ETOOBIG ? RECOVER_AGAIN : r;
    struct log_index_time largest = {b->index.max_timestamp, b->index.max_timestamp_relative};
    if (largest.timestamp >= 0) {
        /* Retention and lookups by time go by it. */
        uint32_t from = log_index_lookup(&b->index, largest.relative_offset);
        r = log_index_check_time(t->fs, fd, s->segment_base, from, &largest);
        if (r <= 0)
            return r < 0 ? r : RECOVER_AGAIN;
    }
    int64_t indexed_end = s->segment_base; /* the scan must come behind it */
    if (b->index.offset_count != 0) {
        const struct log_index_entry *last = &b->index.offsets[b->index.offset_count - 1];
        s->position = last->position;
        indexed_end = s->segment_base + last->relative_offset + 1;
    }
    s->fn = NULL; /* the index is complete */
    r = log_scan_run(t->fs, fd, s);
    if (r < 0)
        return r;
    return s->bad || s->next_offset < indexed_end ? RECOVER_AGAIN : 0;
}

static int recover_closed(struct recover_try *t, size_t i)
{
    int64_t base = t->bases->bases[i];
    int64_t next_base = t->bases->bases[i + 1];
    bool suspect = !t->trust && next_base > t->mark;
    bool replay = t->rc->producers != NULL && next_base > t->snapshot;
    struct log_rebuild b;
    log_rebuild_init(&b, base, t->rc->index_interval_bytes);
    struct kb_fd *fd = NULL;
    int r = open_segment(t, base, suspect, &fd);
    if (r < 0)
        goto out;
    r = suspect || replay || t->epochs_bad || t->closer ? RECOVER_AGAIN : trust_indexed(t, fd, &b);
    if (r == 0 && b.scan.next_offset != next_base)
        r = RECOVER_AGAIN;
    if (r == RECOVER_AGAIN) {
        log_rebuild_release(&b);
        log_rebuild_init(&b, base, t->rc->index_interval_bytes);
        r = scan_closed(t, fd, next_base, &b);
    }
    if (r == 0)
        add_segment(t->rc, &b);
out:
    (void)kb_fs_close(t->fs, fd);
    log_rebuild_release(&b);
    return r;
}

/* The newest segment of a cleanly closed log: only the stretch behind the last index entry. */
static int recover_newest_trusted(struct recover_try *t, struct kb_fd *fd,
                                  const struct log_head *first, struct log_rebuild *b)
{
    struct log_scan *s = &b->scan;
    if (t->epochs_bad ||
        (first->epoch >= 0 && log_epochs_at(&t->rc->epochs, first->base_offset) != first->epoch))
        return RECOVER_AGAIN;
    int r = trust_indexed(t, fd, b);
    if (r != 0)
        return r;
    if (s->next_offset < t->mark || (t->rc->producers != NULL && t->snapshot != s->next_offset))
        return RECOVER_AGAIN;
    t->epoch = s->epoch;
    return 0;
}

static int note_cut(struct recover_try *t)
{
    if (!t->rc->remember_cut || t->rc->cut_noted || KB_MUTANT("cut-not-remembered"))
        return 0;
    t->rc->cut_noted = true;
    return log_cut_tail_save(t->fs, t->rc->dir);
}

/* Everything from the segment's start, with CRCs; cuts a torn tail. */
static int recover_newest_whole(struct recover_try *t, struct kb_fd *fd, struct log_rebuild *b)
{
    struct log_scan *s = &b->scan;
    struct log_epochs known = {0};
    log_epochs_copy(&known, &t->rc->epochs);
    log_epochs_truncate_end(&t->rc->epochs, s->segment_base);
    prepare_rebuild(t, b);
    b->epochs = &t->rc->epochs;
    if (s->known != NULL)
        s->known = &known;
    /* No mark of a log that says where gaps are is above an epoch that is not in the file. */
    s->known_below = t->rc->gaps_below != INT64_MAX ? t->mark : s->segment_base;
    if (KB_MUTANT("recovery-cuts-at-mark"))
        s->stop_offset = t->mark;
    int r = log_rebuild_run(t->fs, fd, b);
    log_epochs_release(&known);
    s->known = NULL;
    size_t n = t->rc->epochs.count;
    bool lone = s->run_batches == 1 && s->run_from >= t->mark && n > 0 &&
                t->rc->epochs.entries[n - 1].start_offset == s->run_from;
    t->rc->found.lone_from = lone ? s->run_from : 0;
    if (r == 0 && s->known_bad)
        r = RECOVER_NO_TABLE;
    if (r != 0)
        return r;
    t->epoch = s->epoch;
    if (s->next_offset < t->mark && !KB_MUTANT("damage-taken-for-torn-tail")) {
        t->damaged_from = s->next_offset;
        return 0;
    }
    if (s->position < s->file_size) {
        if (!s->bad_is_zero) {
            t->rc->found.state = LOG_CUT;
            r = note_cut(t);
        }
        if (r == 0)
            r = kb_fs_truncate(t->fs, fd, s->position);
        if (r == 0)
            r = kb_fs_sync(t->fs, fd);
    }
    return r;
}

static int recover_newest(struct recover_try *t)
{
    int64_t base = t->bases->bases[t->bases->count - 1];
    struct log_rebuild b;
    log_rebuild_init(&b, base, t->rc->index_interval_bytes);
    struct kb_fd *fd = NULL;
    struct log_head first = {.epoch = -1};
    int r = open_segment(t, base, !t->trust, &fd);
    if (r == 0)
        r = look_at_first(t, fd, &first);
    if (r == 0)
        r = t->trust ? recover_newest_trusted(t, fd, &first, &b) : recover_newest_whole(t, fd, &b);
    if (r == 0) {
        b.first_timestamp = first.max_timestamp;
        add_segment(t->rc, &b);
        t->rc->found.end_offset = b.scan.next_offset;
        log_index_release(&t->rc->index);
        t->rc->index = b.index;
        log_index_init(&b.index, 0);
    }
    (void)kb_fs_close(t->fs, fd);
    log_rebuild_release(&b);
    return r;
}

/* ---- the whole ---- */

/* The epoch file against each segment's first batch. It must be complete below the newest segment,
 * behind that it may lack what a crash prevented. */
static int check_epochs(struct recover_try *t)
{
    int r = read_epochs(t);
    size_t newest = t->bases->count - 1;
    for (size_t i = 0; r == 0 && !t->epochs_bad && i <= newest; i++) {
        int64_t base = t->bases->bases[i];
        struct kb_fd *fd = NULL;
        struct log_head first = {.epoch = -1};
        r = open_segment(t, base, false, &fd);
        if (r == 0)
            r = look_at_first(t, fd, &first);
        (void)kb_fs_close(t->fs, fd);
        if (r < 0 || first.epoch < 0)
            continue;
        int32_t known = log_epochs_at(&t->rc->epochs, first.base_offset);
        /* Which of both is wrong the batches behind the first will tell. */
        t->closer = t->closer || known > first.epoch || (i < newest && known != first.epoch);
    }
    if (r == 0 && t->epochs_bad)
        log_epochs_truncate_end(&t->rc->epochs, 0);
    return r;
}

static int recover_once(struct recover_try *t)
{
    struct log_recovery *rc = t->rc;
    KB_ASSERT(t->bases->count > 0);
    int64_t newest = t->bases->bases[t->bases->count - 1];
    rc->segment_count = 0;
    rc->found.lone_from = 0;
    rc->found.state = LOG_WHOLE;
    t->epoch = -1;
    t->closer = false;
    t->damaged_from = -1;
    int r = check_epochs(t);
    if (r == 0 && t->closer && t->trust)
        return RECOVER_AGAIN;
    if (r == 0 && rc->producers != NULL)
        r = log_snapshot_load(t->fs, rc->dir, t->trust ? INT64_MAX : newest, t->bases->bases[0],
                              rc->producers, &t->snapshot);
    for (size_t i = 0; r == 0 && t->damaged_from < 0 && i + 1 < t->bases->count; i++)
        r = recover_closed(t, i);
    if (r == 0 && t->damaged_from < 0)
        r = recover_newest(t);
    return r;
}

/* What the log is, once its segments have been read. */
static void judge(struct log_recovery *rc, const struct recover_try *t)
{
    struct log_found *f = &rc->found;
    f->damaged_from = t->damaged_from;
    if (t->damaged_from >= 0) {
        f->state = LOG_DAMAGED;
        f->end_offset = t->damaged_from;
    } else if (rc->cut_noted) {
        f->state = LOG_CUT;
    }
    log_epochs_truncate_end(&rc->epochs, f->end_offset);
    if (rc->producers != NULL && log_producers_end_offset(rc->producers) < f->end_offset)
        log_producers_advance(rc->producers, f->end_offset);
    f->start_offset = rc->segments[0].base_offset;
    if (rc->start_offset > f->start_offset)
        f->start_offset = rc->start_offset;
    if (f->start_offset > f->end_offset)
        f->start_offset = f->end_offset;
    log_epochs_truncate_start(&rc->epochs, rc->segments[0].base_offset);
    f->last_epoch = log_epochs_last(&rc->epochs);
}

/* A committed compaction whose file is damaged: what it stands for is lost from its base on. */
static int swap_damaged(struct kb_fs *fs, struct log_recovery *rc)
{
    struct log_bases swaps = {0};
    int r = log_bases_list(fs, rc->dir, ".log.swap", &swaps);
    int64_t base = swaps.count != 0 ? swaps.bases[0] : 0;
    log_bases_release(&swaps);
    rc->segment_count = 0;
    kb_array_reserve(rc->segments, rc->segment_count, rc->segment_capacity);
    rc->segments[rc->segment_count++] =
        (struct log_segment_facts){.base_offset = base, .max_timestamp = -1, .first_timestamp = -1};
    log_index_init(&rc->index, rc->index_interval_bytes);
    if (rc->producers != NULL)
        log_producers_reset(rc->producers, base);
    rc->found.state = LOG_DAMAGED;
    rc->found.start_offset = rc->found.end_offset = rc->found.damaged_from = base;
    return r;
}

static int look_for_note(struct kb_fs *fs, struct log_recovery *rc)
{
    struct kb_fs_stat st = {0};
    char *path = kb_asprintf("%s/%s", rc->dir, LOG_FILE_CUT_TAIL);
    int r = rc->remember_cut ? kb_fs_stat(fs, path, &st) : 0;
    rc->cut_noted = r == 0 && rc->remember_cut && st.type == KB_FS_FILE;
    free(path);
    return r;
}

static int recover_segments(struct kb_fs *fs, struct log_recovery *rc)
{
    struct log_bases bases = {0};
    struct recover_try t = {.fs = fs, .rc = rc, .bases = &bases, .trust = rc->clean};
    t.mark = rc->durable_mark;
    if (rc->cut_limit >= 0 && rc->cut_limit < t.mark)
        t.mark = rc->cut_limit;
    int r = log_compact_recover(fs, rc->dir);
    if (r == -KB_ECORRUPT)
        return swap_damaged(fs, rc);
    if (r == 0)
        r = log_bases_list(fs, rc->dir, ".log", &bases);
    if (r == 0 && bases.count == 0) {
        rc->found.state = LOG_MISSING;
        goto out;
    }
    if (r == 0)
        r = recover_once(&t);
    if (r == RECOVER_AGAIN) {
        t.trust = false;
        r = recover_once(&t);
        KB_ASSERT(r != RECOVER_AGAIN);
    }
    if (r == RECOVER_NO_TABLE) {
        t.trust = false;
        t.table_bad = true;
        r = recover_once(&t);
        KB_ASSERT(r <= 0);
    }
    if (r == 0)
        judge(rc, &t);
out:
    log_bases_release(&bases);
    return r;
}

int log_recovery_run(struct kb_fs *fs, struct log_recovery *rc)
{
    rc->found = (struct log_found){.damaged_from = -1, .last_epoch = -1};
    rc->cut_limit = -1;
    rc->gaps_below = INT64_MAX;
    rc->epoch_saved = -1;
    struct kb_fs_stat st;
    int r = kb_fs_stat(fs, rc->dir, &st);
    if (r < 0)
        return r;
    if (st.type != KB_FS_DIR) {
        rc->found.state = LOG_MISSING;
        return 0;
    }
    struct leftovers left = {fs, rc->dir};
    enum log_cut_kind kind = LOG_CUT_NONE;
    int64_t offset = -1;
    /* 8.1 holds for names too: what a dying process removed or made may be undone by a power cut,
     * after this life has built on it. */
    r = rc->clean ? 0 : kb_fs_sync_dir(fs, rc->dir);
    if (r == 0)
        r = kb_fs_list(fs, rc->dir, leftover_entry, &left);
    if (r == 0)
        r = read_metadata(fs, rc);
    if (r == 0)
        r = read_cut_limit(fs, rc->dir, &kind, &offset);
    if (r == 0)
        r = look_for_note(fs, rc);
    if (r == 0 && kind == LOG_CUT_RESET)
        r = log_reset_finish(fs, rc->dir, offset);
    if (r < 0)
        return r;
    rc->cut_limit = kind == LOG_CUT_NONE ? -1 : offset;
    return recover_segments(fs, rc);
}
