#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/compact_internal.h"

/* From cleaned files to the log's own, so that a crash at any point leaves the old segments or the
 * new one. The rename NNN.log.cleaned -> NNN.log.swap, made durable, is the moment of truth: before
 * it recovery throws the new file away, behind it recovery finishes the swap. A new segment ends at
 * the same offset as the old ones (its last batch stays, if need be empty), which is how recovery
 * knows which segments it replaces. Index files are never needed: the log makes them anew. */

static const char *const index_suffixes[] = {".index", ".timeindex"};
enum { INDEX_SUFFIX_COUNT = 2 };

char *compact_path(const char *dir, int64_t base_offset, const char *suffix, const char *state)
{
    char *path = log_segment_path(dir, base_offset, suffix);
    char *whole = kb_asprintf("%s%s", path, state);
    (void)kb_free(path);
    return whole;
}

int compact_unlink(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *suffix,
                   const char *state)
{
    char *path = compact_path(dir, base_offset, suffix, state);
    int r = kb_fs_unlink(fs, path);
    (void)kb_free(path);
    return r == -KB_ENOENT ? 0 : r;
}

/* -KB_ENOENT when it is not there. */
static int move(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *suffix,
                const char *from, const char *to)
{
    char *old_path = compact_path(dir, base_offset, suffix, from);
    char *new_path = compact_path(dir, base_offset, suffix, to);
    int r = kb_fs_rename(fs, old_path, new_path);
    (void)kb_free(old_path);
    (void)kb_free(new_path);
    return r;
}

static int move_if_there(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *suffix,
                         const char *from, const char *to)
{
    int r = move(fs, dir, base_offset, suffix, from, to);
    return r == -KB_ENOENT ? 0 : r;
}

static bool is_there(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *state)
{
    struct kb_fs_stat st;
    char *path = compact_path(dir, base_offset, ".log", state);
    int r = kb_fs_stat(fs, path, &st);
    (void)kb_free(path);
    return r == 0 && st.type == KB_FS_FILE;
}

char *log_compact_old_path(const char *dir, int64_t base_offset, uint32_t token)
{
    char *path = log_segment_path(dir, base_offset, ".log");
    char *whole = kb_asprintf("%s.%u.deleted", path, token);
    (void)kb_free(path);
    return whole;
}

/* A second name for an old segment, for those who still read it. */
static int name_old(struct kb_fs *fs, const char *dir, int64_t base_offset, uint32_t token)
{
    char *from = log_segment_path(dir, base_offset, ".log");
    char *to = log_compact_old_path(dir, base_offset, token);
    int r = kb_fs_link(fs, from, to);
    if (r ==
        -KB_EUNSUPPORTED) /* then a reader may find neither name for a moment, and asks again */
        r = kb_fs_rename(fs, from, to);
    (void)kb_free(from);
    (void)kb_free(to);
    return r == -KB_EEXIST ? 0 : r; /* repeated */
}

int log_compact_commit(struct kb_fs *fs, const char *dir, const int64_t *old_bases, size_t count,
                       uint32_t token)
{
    int64_t base = old_bases[0];
    int r = 0;
    for (size_t i = 0; i < INDEX_SUFFIX_COUNT && r == 0; i++)
        r = move_if_there(fs, dir, base, index_suffixes[i], ".cleaned", ".swap");
    if (r == 0)
        r = move(fs, dir, base, ".log", ".cleaned", ".swap");
    if (r == -KB_ENOENT && is_there(fs, dir, base, ".swap"))
        r = 0; /* repeated */
    if (r == 0)
        r = kb_fs_sync_dir(fs, dir);
    for (size_t i = 0; i < count && r == 0; i++)
        r = name_old(fs, dir, old_bases[i], token);
    return r;
}

/* The old indexes, and all but the first of the old segments. */
static int unlink_old(struct kb_fs *fs, const char *dir, int64_t base_offset, bool first)
{
    int r = 0;
    for (size_t k = 0; k < INDEX_SUFFIX_COUNT && r == 0; k++)
        r = compact_unlink(fs, dir, base_offset, index_suffixes[k], "");
    if (r == 0 && !first)
        r = compact_unlink(fs, dir, base_offset, ".snapshot", "");
    if (r == 0 && !first)
        r = compact_unlink(fs, dir, base_offset, ".log", "");
    return r;
}

int log_compact_finish(struct kb_fs *fs, const char *dir, const int64_t *old_bases, size_t count)
{
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = unlink_old(fs, dir, old_bases[i], i == 0);
    /* The old ones are durably gone before the last witness of the swap takes its name. */
    if (r == 0)
        r = kb_fs_sync_dir(fs, dir);
    if (r == 0)
        r = move(fs, dir, old_bases[0], ".log", ".swap", "");
    if (r == -KB_ENOENT && is_there(fs, dir, old_bases[0], ""))
        r = 0; /* repeated */
    return r < 0 ? r : kb_fs_sync_dir(fs, dir);
}

int log_compact_install(struct kb_fs *fs, const char *dir, int64_t base_offset)
{
    int r = 0;
    for (size_t i = 0; i < INDEX_SUFFIX_COUNT && r == 0; i++)
        r = move_if_there(fs, dir, base_offset, index_suffixes[i], ".swap", "");
    return r;
}

int log_compact_discard(struct kb_fs *fs, const char *dir, int64_t base_offset, uint32_t token)
{
    char *path = log_compact_old_path(dir, base_offset, token);
    int r = kb_fs_unlink(fs, path);
    (void)kb_free(path);
    return r == -KB_ENOENT ? 0 : r;
}

int log_compact_abandon(struct kb_fs *fs, const char *dir, int64_t base_offset)
{
    int r = compact_unlink(fs, dir, base_offset, ".log", ".cleaned");
    for (size_t i = 0; i < INDEX_SUFFIX_COUNT && r == 0; i++)
        r = compact_unlink(fs, dir, base_offset, index_suffixes[i], ".cleaned");
    return r;
}

/* ---- recovery ---- */

struct listing {
    int64_t *swaps; /* ascending */
    size_t swap_count, swap_capacity;
    int64_t *segments;
    size_t segment_count, segment_capacity;
    char **litter;
    size_t litter_count, litter_capacity;
};

static bool ends_with(const char *name, const char *suffix)
{
    size_t a = strlen(name);
    size_t b = strlen(suffix);
    return a > b && strcmp(name + a - b, suffix) == 0;
}

static int list_file(void *arg, const char *name, enum kb_fs_type type)
{
    struct listing *l = arg;
    int64_t base = -1;
    if (type != KB_FS_FILE)
        return 0;
    if (log_segment_name_parse(name, ".log.swap", &base)) {
        kb_array_reserve(l->swaps, l->swap_count, l->swap_capacity);
        l->swaps[l->swap_count++] = base;
    } else if (log_segment_name_parse(name, ".log", &base)) {
        kb_array_reserve(l->segments, l->segment_count, l->segment_capacity);
        l->segments[l->segment_count++] = base;
    } else if (ends_with(name, ".cleaned") || ends_with(name, ".deleted") ||
               ends_with(name, "index.swap")) {
        kb_array_reserve(l->litter, l->litter_count, l->litter_capacity);
        l->litter[l->litter_count++] = kb_strdup(name);
    }
    return 0;
}

static void listing_release(struct listing *l)
{
    for (size_t i = 0; i < l->litter_count; i++)
        (void)kb_free(l->litter[i]);
    (void)kb_free(l->litter);
    (void)kb_free(l->swaps);
    (void)kb_free(l->segments);
}

int compact_clear_cleaned(struct kb_fs *fs, const char *dir)
{
    struct listing l = {0};
    int r = kb_fs_list(fs, dir, list_file, &l);
    for (size_t i = 0; i < l.litter_count && r == 0; i++) {
        char *path = kb_asprintf("%s/%s", dir, l.litter[i]);
        if (ends_with(path, ".cleaned"))
            r = kb_fs_unlink(fs, path);
        (void)kb_free(path);
    }
    listing_release(&l);
    return r;
}

/* Where a segment file ends; all of it must be sound. */
static int segment_end(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *state,
                       int64_t *ret_next)
{
    struct kb_fd *fd = NULL;
    struct log_scan scan = {
        .segment_base = base_offset,
        .limit = UINT64_MAX,
        .next_offset = base_offset,
        .stop_offset = INT64_MAX,
        .epoch = -1,
        .check_crc = true,
    };
    log_scan_trust(&scan);
    char *path = compact_path(dir, base_offset, ".log", state);
    int r = kb_fs_open(fs, path, KB_FS_READ, &fd);
    (void)kb_free(path);
    if (r < 0)
        return r;
    r = log_scan_run(fs, fd, &scan);
    (void)kb_fs_close(fs, fd);
    if (r == 0 && (scan.bad || scan.position == 0))
        r = -KB_ECORRUPT;
    if (r == 0)
        *ret_next = scan.next_offset;
    return r;
}

/* A swap file went bad after it was synced. If nothing of the old segments is gone, it is not
 * needed: from its base on each must end where the next begins. */
static int drop_damaged(struct kb_fs *fs, const char *dir, int64_t base, const struct listing *l)
{
    int64_t next = base;
    int r = 0;
    for (size_t i = 0; i < l->segment_count && r == 0; i++) {
        if (l->segments[i] < base)
            continue;
        if (l->segments[i] != next)
            return -KB_ECORRUPT;
        if (i + 1 < l->segment_count)
            r = segment_end(fs, dir, next, "", &next);
    }
    if (r == 0 && next == base)
        r = -KB_ECORRUPT;
    return r < 0 ? r : compact_unlink(fs, dir, base, ".log", ".swap");
}

static int finish_swap(struct kb_fs *fs, const char *dir, int64_t base, const struct listing *l)
{
    int64_t next = -1;
    int64_t *old = kb_new_array(int64_t, l->segment_count + 1);
    size_t count = 1;
    old[0] = base;
    int r = segment_end(fs, dir, base, ".swap", &next);
    for (size_t i = 0; i < l->segment_count && r == 0; i++)
        if (l->segments[i] > base && l->segments[i] < next)
            old[count++] = l->segments[i];
    if (r == 0)
        r = log_compact_finish(fs, dir, old, count);
    else if (r == -KB_ECORRUPT)
        r = drop_damaged(fs, dir, base, l);
    (void)kb_free(old);
    return r;
}

static int clear_litter(struct kb_fs *fs, const char *dir, const struct listing *l)
{
    int r = 0;
    for (size_t i = 0; i < l->litter_count && r == 0; i++) {
        char *path = kb_asprintf("%s/%s", dir, l->litter[i]);
        r = kb_fs_unlink(fs, path);
        (void)kb_free(path);
    }
    return r < 0 || l->litter_count == 0 ? r : kb_fs_sync_dir(fs, dir);
}

int log_compact_recover(struct kb_fs *fs, const char *dir)
{
    struct listing l = {0};
    int r = kb_fs_list(fs, dir, list_file, &l);
    for (size_t i = 0; i < l.swap_count && r == 0; i++)
        r = finish_swap(fs, dir, l.swaps[i], &l);
    if (r == 0)
        r = clear_litter(fs, dir, &l);
    listing_release(&l);
    return r;
}
