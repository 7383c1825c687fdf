/* The small steps that creation, recovery, truncation and roll are made of; all inside jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "replication/log/recover.h"

/* ---- lists of segments ---- */

void log_bases_release(struct log_bases *b)
{
    free(b->bases);
    *b = (struct log_bases){0};
}

struct bases_list {
    struct log_bases *bases;
    const char *suffix;
};

/* Entries come in name order, and 20 digits sort as numbers. */
static int bases_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct bases_list *l = arg;
    int64_t base = 0;
    if (type == KB_FS_FILE && log_segment_name_parse(name, l->suffix, &base)) {
        kb_array_reserve(l->bases->bases, l->bases->count, l->bases->capacity);
        l->bases->bases[l->bases->count++] = base;
    }
    return 0;
}

int log_bases_list(struct kb_fs *fs, const char *dir, const char *suffix, struct log_bases *ret)
{
    ret->count = 0;
    struct bases_list l = {ret, suffix};
    return kb_fs_list(fs, dir, bases_entry, &l);
}

static int unlink_if_there(struct kb_fs *fs, const char *dir, int64_t base, const char *suffix)
{
    char *path = log_segment_path(dir, base, suffix);
    int r = kb_fs_unlink(fs, path);
    free(path);
    return r == -KB_ENOENT ? 0 : r;
}

static int unlink_all(struct kb_fs *fs, const char *dir, int64_t from, const char *listed,
                      const char *const *suffixes, size_t suffix_count)
{
    struct log_bases bases = {0};
    int r = log_bases_list(fs, dir, listed, &bases);
    for (size_t i = bases.count; r == 0 && i > 0 && bases.bases[i - 1] >= from; i--) {
        for (size_t k = 0; r == 0 && k < suffix_count; k++)
            r = unlink_if_there(fs, dir, bases.bases[i - 1], suffixes[k]);
        if (r == 0)
            r = kb_fs_sync_dir(fs, dir);
    }
    log_bases_release(&bases);
    return r;
}

int log_segments_unlink_from(struct kb_fs *fs, const char *dir, int64_t from)
{
    static const char *const swaps[] = {".log.swap", ".index.swap", ".timeindex.swap"};
    static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex",
                                           ".snapshot"};
    /* A damaged swap is the only one that can be there. */
    int r = unlink_all(fs, dir, from, ".log.swap", swaps, sizeof(swaps) / sizeof(swaps[0]));
    if (r == 0)
        r = unlink_all(fs, dir, from, ".log", suffixes, sizeof(suffixes) / sizeof(suffixes[0]));
    return r;
}

/* ---- single files ---- */

int log_segment_create(struct kb_fs *fs, const char *dir, int64_t base_offset,
                       uint64_t allocate_bytes)
{
    char *path = log_segment_path(dir, base_offset, ".log");
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, &fd);
    if (r == 0 && allocate_bytes != 0) {
        r = kb_fs_allocate(fs, fd, 0, allocate_bytes);
        if (r == -KB_EUNSUPPORTED)
            r = 0;
    }
    if (r == 0)
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    free(path);
    return r;
}

static int replace_text(struct kb_fs *fs, const char *dir, const char *name,
                        const struct kb_buf *text)
{
    char *path = kb_asprintf("%s/%s", dir, name);
    int r = kb_fs_replace(fs, path, text->data, text->size);
    free(path);
    return r;
}

int log_epochs_save(struct kb_fs *fs, const char *dir, const struct log_epochs *e)
{
    struct kb_buf text = {0};
    log_epochs_format(e, &text);
    int r = replace_text(fs, dir, LOG_FILE_EPOCHS, &text);
    kb_buf_release(&text);
    return r;
}

int log_cut_limit_save(struct kb_fs *fs, const char *dir, enum log_cut_kind kind, int64_t offset)
{
    struct kb_buf text = {0};
    kb_buf_printf(&text, "0\n%s %lld\n", kind == LOG_CUT_RESET ? "reset" : "cut",
                  (long long)offset);
    int r = replace_text(fs, dir, LOG_FILE_CUT_LIMIT, &text);
    kb_buf_release(&text);
    return r;
}

int log_cut_tail_save(struct kb_fs *fs, const char *dir)
{
    struct kb_buf text = {0};
    kb_buf_printf(&text, "0\n");
    int r = replace_text(fs, dir, LOG_FILE_CUT_TAIL, &text);
    kb_buf_release(&text);
    return r == -KB_ENOSPC ? 0 : r;
}

int log_snapshot_save(struct kb_fs *fs, const char *dir, int64_t offset, struct kb_view bytes)
{
    char *path = log_segment_path(dir, offset, ".snapshot");
    int r = kb_fs_replace(fs, path, bytes.data, bytes.size);
    free(path);
    return r;
}

#define SNAPSHOT_BYTES_MAX (256u << 20)

int log_snapshot_load(struct kb_fs *fs, const char *dir, int64_t offset_max, int64_t floor,
                      struct log_producers *p, int64_t *ret_offset)
{
    struct log_bases found = {0};
    int r = log_bases_list(fs, dir, ".snapshot", &found);
    int64_t at = -1;
    for (size_t i = found.count; r == 0 && at < 0 && i > 0; i--) {
        int64_t offset = found.bases[i - 1];
        if (offset > offset_max || offset < floor)
            continue;
        char *path = log_segment_path(dir, offset, ".snapshot");
        struct kb_buf bytes = {0};
        r = kb_fs_read_all(fs, path, SNAPSHOT_BYTES_MAX, &bytes);
        if (r == 0 && log_producers_load(p, bytes.data, bytes.size, offset, kb_fs_now_ms(fs)) == 0)
            at = offset;
        if (r == -KB_ENOENT || r == -KB_ETOOBIG)
            r = 0;
        kb_buf_release(&bytes);
        free(path);
    }
    log_bases_release(&found);
    if (r < 0)
        return r;
    if (at < 0)
        log_producers_reset(p, floor);
    *ret_offset = at < 0 ? floor : at;
    return 0;
}

/* ---- whole steps ---- */

/* Nothing of the old log's producers is true of the new one. */
static int snapshots_unlink_all(struct kb_fs *fs, const char *dir)
{
    struct log_bases found = {0};
    int r = log_bases_list(fs, dir, ".snapshot", &found);
    for (size_t i = 0; r == 0 && i < found.count; i++)
        r = unlink_if_there(fs, dir, found.bases[i], ".snapshot");
    if (r == 0 && found.count != 0)
        r = kb_fs_sync_dir(fs, dir);
    log_bases_release(&found);
    return r;
}

/* The new log's producers wait under a name of their own, until nothing of the old log is left. */
static int reset_begin(struct kb_fs *fs, const char *dir, int64_t start_offset,
                       struct kb_view producers)
{
    char *staged = kb_asprintf("%s/%s", dir, LOG_FILE_RESET_PRODUCERS);
    int r = unlink_if_there(fs, dir, start_offset, ".snapshot");
    if (r == 0 && producers.size != 0) {
        r = kb_fs_replace(fs, staged, producers.data, producers.size);
    } else if (r == 0) {
        r = kb_fs_unlink(fs, staged);
        r = r == -KB_ENOENT ? 0 : r;
        if (r == 0)
            r = kb_fs_sync_dir(fs, dir);
    }
    if (r == 0)
        r = log_cut_limit_save(fs, dir, LOG_CUT_RESET, start_offset);
    free(staged);
    return r;
}

/* Of an earlier attempt; reset_begin left no other of this name. */
static int reset_move_producers(struct kb_fs *fs, const char *dir, int64_t start_offset, bool back)
{
    char *staged = kb_asprintf("%s/%s", dir, LOG_FILE_RESET_PRODUCERS);
    char *path = log_segment_path(dir, start_offset, ".snapshot");
    int r = back ? kb_fs_rename(fs, path, staged) : kb_fs_rename(fs, staged, path);
    if (r == 0)
        r = kb_fs_sync_dir(fs, dir);
    free(staged);
    free(path);
    return r == -KB_ENOENT ? 0 : r;
}

int log_reset_finish(struct kb_fs *fs, const char *dir, int64_t start_offset)
{
    struct log_epochs none = {0};
    int r = reset_move_producers(fs, dir, start_offset, true);
    if (r == 0)
        r = log_segments_unlink_from(fs, dir, 0);
    if (r == 0)
        r = snapshots_unlink_all(fs, dir);
    if (r == 0)
        r = log_epochs_save(fs, dir, &none);
    if (r == 0)
        r = log_segment_create(fs, dir, start_offset, 0);
    if (r == 0)
        r = kb_fs_sync_dir(fs, dir);
    if (r == 0)
        r = reset_move_producers(fs, dir, start_offset, false);
    if (r == 0)
        r = log_cut_limit_save(fs, dir, LOG_CUT_TO, start_offset);
    return r;
}

int log_reset_run(struct kb_fs *fs, const char *dir, int64_t start_offset, struct kb_view producers)
{
    int r = reset_begin(fs, dir, start_offset, producers);
    return r == 0 ? log_reset_finish(fs, dir, start_offset) : r;
}

int log_metadata_save(struct kb_fs *fs, const char *dir, const struct kb_uuid *topic_id,
                      int64_t gaps_below)
{
    char text[KB_UUID_TEXT_SIZE];
    struct kb_buf b = {0};
    kb_uuid_format(topic_id, text);
    kb_buf_printf(&b, "version: 0\ntopic_id: %s\ngaps_below: %lld\n", text, (long long)gaps_below);
    int r = replace_text(fs, dir, LOG_FILE_METADATA, &b);
    kb_buf_release(&b);
    return r;
}

int log_create_run(struct kb_fs *fs, const char *dir, int64_t first_offset,
                   const struct kb_uuid *topic_id, uint64_t allocate_bytes,
                   struct kb_view producers)
{
    struct log_bases bases = {0};
    int r = kb_fs_mkdirs(fs, dir);
    if (r == 0)
        r = log_bases_list(fs, dir, ".log", &bases);
    for (size_t i = 0; r == 0 && i < bases.count; i++) {
        struct kb_fs_stat st;
        char *path = log_segment_path(dir, bases.bases[i], ".log");
        r = kb_fs_stat(fs, path, &st);
        if (r == 0 && st.size != 0)
            r = -KB_EEXIST;
        free(path);
    }
    if (r == 0)
        r = log_segments_unlink_from(fs, dir, 0);
    if (r == 0)
        r = snapshots_unlink_all(fs, dir);
    if (r == 0 && producers.size != 0)
        r = log_snapshot_save(fs, dir, first_offset, producers);
    if (r == 0 && !kb_uuid_is_zero(topic_id))
        r = log_metadata_save(fs, dir, topic_id, 0);
    if (r == 0)
        r = log_segment_create(fs, dir, first_offset, allocate_bytes);
    if (r == 0)
        r = kb_fs_sync_dir(fs, dir);
    log_bases_release(&bases);
    return r;
}
