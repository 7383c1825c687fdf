#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/dir_internal.h"

/* The start of a data directory, as one job. Each step leaves a state from which the next start
 * goes on, so a crash anywhere between is harmless. */

enum { SMALL_FILE_MAX = 4096 };

const char *dir_mark_file(enum log_dir_mark mark)
{
    static const char *const names[LOG_DIR_MARK_COUNT_] = {
        [LOG_DIR_HIGH_WATERMARK] = "replication-offset-checkpoint",
        [LOG_DIR_DURABLE] = "recovery-point-offset-checkpoint",
        [LOG_DIR_START] = "log-start-offset-checkpoint",
        [LOG_DIR_CLEANER] = "cleaner-offset-checkpoint",
    };
    return names[mark];
}

char *dir_join(const char *dir, const char *name)
{
    return kb_asprintf("%s/%s", dir, name);
}

/* The bytes of a file in the directory; caller releases. */
static int read_small(struct dir_start *s, struct kb_fs *fs, const char *name, size_t size_max,
                      struct kb_buf *ret)
{
    char *path = dir_join(s->path, name);
    int r = kb_fs_read_all(fs, path, size_max, ret);
    (void)kb_free(path);
    return r;
}

static int fail(struct dir_start *s, int error, const char *what)
{
    if (s->reason == NULL)
        s->reason = kb_asprintf("%s: %s (%s)", s->path, what, kb_err_text(error));
    return error;
}

/* ---- steps ---- */

static int lock(struct dir_start *s, struct kb_fs *fs)
{
    int r = kb_fs_mkdirs(fs, s->path);
    if (r < 0)
        return fail(s, r, "the data directory cannot be made");
    char *path = dir_join(s->path, DIR_FILE_LOCK);
    r = kb_fs_lock(fs, path);
    (void)kb_free(path);
    if (r == -KB_EBUSY)
        return fail(s, r, "another broker uses this data directory");
    return r < 0 ? fail(s, r, "the data directory cannot be locked") : 0;
}

/* Rule 8.5: whatever happens from here on, this life is not clean until it says so itself. */
static int take_marker(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_buf text = {0};
    s->clean_broker_epoch = -1;
    int r = read_small(s, fs, DIR_FILE_MARKER, SMALL_FILE_MAX, &text);
    if (r == -KB_ENOENT)
        return 0;
    if (r < 0)
        return fail(s, r, "the clean shutdown marker cannot be read");
    int parsed = dir_marker_parse(kb_view_of(text.data, text.size), &s->clean_broker_epoch);
    kb_buf_release(&text);
    char *path = dir_join(s->path, DIR_FILE_MARKER);
    r = kb_fs_unlink(fs, path);
    (void)kb_free(path);
    if (r == 0)
        r = kb_fs_sync_dir(fs, s->path);
    if (r < 0)
        return fail(s, r, "the clean shutdown marker cannot be removed");
    s->clean = parsed == 0; /* a damaged marker proves nothing */
    return 0;
}

/* Rule 8.1 for names: what a life that was killed made or renamed here is seen by this one, which
 * builds on it, and was perhaps never synced: a power cut would take it away again. The directory's
 * own name likewise. */
static int sync_names(struct dir_start *s, struct kb_fs *fs)
{
    int r = 0;
    if (s->clean) /* take_marker has */
        return 0;
    char *parent = kb_strdup(s->path);
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = '\0';
    r = kb_fs_sync_dir(fs, s->path);
    if (r == 0)
        r = kb_fs_sync_dir(fs, slash != NULL ? parent : ".");
    if (r == -KB_EPERM) /* a parent this user may not read was not written by it either */
        r = 0;
    (void)kb_free(parent);
    return r < 0 ? fail(s, r, "the data directory cannot be synced") : 0;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t a = strlen(name);
    size_t b = strlen(suffix);
    return a > b && strcmp(name + a - b, suffix) == 0;
}

static int list_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct dir_start *s = arg;
    size_t topic_size = 0;
    int32_t partition = -1;
    if (type != KB_FS_DIR)
        return 0;
    if (ends_with(name, DIR_SUFFIX_DELETE)) {
        kb_array_reserve(s->leftovers, s->leftover_count, s->leftover_capacity);
        s->leftovers[s->leftover_count++] = kb_strdup(name);
    } else if (dir_log_name_parse(name, &topic_size, &partition)) {
        kb_array_reserve(s->logs, s->log_count, s->log_capacity);
        s->logs[s->log_count++] = (struct dir_start_log){
            .topic = kb_strndup(name, topic_size),
            .partition = partition,
        };
    }
    return 0;
}

static int list_logs(struct dir_start *s, struct kb_fs *fs)
{
    int r = kb_fs_list(fs, s->path, list_entry, s);
    if (r < 0)
        return fail(s, r, "the data directory cannot be listed");
    for (size_t i = 0; i < s->log_count; i++) {
        struct dir_start_log *log = &s->logs[i];
        struct kb_buf text = {0};
        char *name = kb_asprintf("%s-%d/partition.metadata", log->topic, log->partition);
        r = read_small(s, fs, name, SMALL_FILE_MAX, &text);
        (void)kb_free(name);
        if (r == -KB_ECRASHED)
            return r;
        if (r == 0)
            (void)dir_partition_metadata_parse(kb_view_of(text.data, text.size), &log->topic_id);
        kb_buf_release(&text);
    }
    return 0;
}

static int replace_text(struct dir_start *s, struct kb_fs *fs, const char *name,
                        struct kb_buf *text)
{
    char *path = dir_join(s->path, name);
    int r = kb_fs_replace(fs, path, text->data, text->size);
    kb_buf_release(text);
    (void)kb_free(path);
    return r;
}

/* meta.properties comes last: with it, a missing kvorum.state is damage. */
static int format(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_buf text = {0};
    s->fresh = true;
    s->meta = (struct dir_meta){.directory_id = s->new_directory_id, .node_id = s->node_id};
    s->state = (struct dir_state){.broker_epoch = -1, .meta = s->meta};
    dir_state_format(&s->state, &text);
    int r = replace_text(s, fs, DIR_FILE_STATE, &text);
    if (r == 0) {
        text = (struct kb_buf){0};
        dir_meta_format(&s->meta, &text);
        r = replace_text(s, fs, DIR_FILE_META, &text);
    }
    return r < 0 ? fail(s, r, "the data directory cannot be formatted") : 0;
}

/* meta.properties has no checksum; kvorum.state has, and a copy of it. Row 42: what contradicts the
 * copy is damage, and the copy tells what it was. */
static int repair_meta(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_buf text = {0};
    s->meta = s->state.meta;
    s->repaired = true;
    dir_meta_format(&s->meta, &text);
    int r = replace_text(s, fs, DIR_FILE_META, &text);
    return r < 0 ? fail(s, r, "meta.properties cannot be repaired") : 0;
}

/* A cluster id that only one of them has was being written. */
static bool meta_contradicts(const struct dir_meta *m, const struct dir_meta *copy)
{
    return m->node_id != copy->node_id || !kb_uuid_equal(&m->directory_id, &copy->directory_id) ||
           (copy->cluster_id[0] != '\0' && strcmp(m->cluster_id, copy->cluster_id) != 0);
}

static int check_meta(struct dir_start *s)
{
    if (s->meta.node_id != s->node_id) {
        s->reason = kb_asprintf("%s belongs to node %d, but node.id is %d. Refusing to start so "
                                "that no data is mixed. Use that id, or this node's own data "
                                "directory.",
                                s->path, s->meta.node_id, s->node_id);
        return -KB_EINVAL;
    }
    if (s->meta.cluster_id[0] != '\0' && s->cluster_id != NULL && s->cluster_id[0] != '\0' &&
        strcmp(s->meta.cluster_id, s->cluster_id) != 0) {
        s->reason = kb_asprintf("%s belongs to cluster %s, but cluster.id (CLUSTER_ID) is %s. "
                                "Refusing to start so that no data is mixed. Use the old id, or an "
                                "empty data directory.",
                                s->path, s->meta.cluster_id, s->cluster_id);
        return -KB_EINVAL;
    }
    return 0;
}

/* Rule 11.1: the directory id is made and synced before anybody hears of it. */
static int load_meta(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_buf text = {0};
    bool copy = s->state.meta.node_id >= 0;
    int r = read_small(s, fs, DIR_FILE_META, SMALL_FILE_MAX, &text);
    if (r == -KB_ENOENT && s->log_count == 0)
        return format(s, fs);
    if (r == 0)
        r = dir_meta_parse(kb_view_of(text.data, text.size), &s->meta);
    kb_buf_release(&text);
    /* Another version beside a kvorum.state of ours is a turned bit: who writes another one writes
     * that file, too. */
    if (copy && (r == -KB_ENOENT || r == -KB_ECORRUPT || r == -KB_ETOOBIG ||
                 r == -KB_EUNSUPPORTED || (r == 0 && meta_contradicts(&s->meta, &s->state.meta))))
        r = repair_meta(s, fs);
    if (s->reason != NULL)
        return r;
    if (r == -KB_ENOENT)
        return fail(s, -KB_ECORRUPT,
                    "there are logs but no meta.properties: restore that file, "
                    "or empty the directory to start it anew");
    if (r == -KB_EUNSUPPORTED)
        return fail(s, r, "meta.properties has another version than 1");
    if (r == -KB_ECORRUPT)
        return fail(s, r, "meta.properties is damaged");
    return r < 0 ? fail(s, r, "meta.properties cannot be read") : check_meta(s);
}

static int load_state(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_buf text = {0};
    int r = read_small(s, fs, DIR_FILE_STATE, SMALL_FILE_MAX, &text);
    if (r < 0 && r != -KB_ENOENT && r != -KB_ETOOBIG)
        return fail(s, r, "kvorum.state cannot be read");
    if (r == 0)
        r = dir_state_parse(kb_view_of(text.data, text.size), &s->state);
    kb_buf_release(&text);
    /* The careful reading: rolled back (8.4), machine restarted, nothing missing is empty (8.2). */
    if (r < 0)
        s->state = (struct dir_state){
            .broker_epoch = -1, .creations_index = INT64_MAX, .meta = {.node_id = -1}};
    return 0;
}

/* An earlier version has run here, or what this one wrote is lost: kvorum.state has no copy of
 * meta.properties. Offsets may have been left out since where no partition.metadata says so, and
 * what they say proves nothing any more (proof.c). */
static int forget_gaps(struct dir_start *s, struct kb_fs *fs)
{
    int r = 0;
    for (size_t i = 0; i < s->log_count && s->state.meta.node_id < 0 && r == 0; i++) {
        struct kb_buf text = {0};
        char *name = kb_asprintf("%s-%d/partition.metadata", s->logs[i].topic,
                                 s->logs[i].partition);
        if (read_small(s, fs, name, SMALL_FILE_MAX, &text) == 0) {
            const char *p = memmem(text.data, text.size, "\ngaps_below: ", 13);
            if (p != NULL) {
                text.size = (size_t)(p - (const char *)text.data);
                r = replace_text(s, fs, name, &text);
            }
        }
        kb_buf_release(&text);
        (void)kb_free(name);
    }
    return r < 0 ? fail(s, r, "partition.metadata cannot be written") : 0;
}

struct mark_walk {
    struct dir_start *start;
    enum log_dir_mark mark;
};

static void take_mark(void *arg, const char *topic, size_t topic_size, int32_t partition,
                      int64_t offset)
{
    struct mark_walk *w = arg;
    struct dir_start *s = w->start;
    kb_array_reserve(s->marks, s->mark_count, s->mark_capacity);
    s->marks[s->mark_count++] = (struct dir_start_mark){
        .mark = w->mark,
        .topic = kb_strndup(topic, topic_size),
        .partition = partition,
        .offset = offset,
    };
}

/* A checkpoint that cannot be understood is as good as none: all of them can be. */
static int load_marks(struct dir_start *s, struct kb_fs *fs)
{
    for (int mark = 0; mark < LOG_DIR_MARK_COUNT_; mark++) {
        struct mark_walk w = {.start = s, .mark = (enum log_dir_mark)mark};
        struct kb_buf text = {0};
        int r = read_small(s, fs, dir_mark_file(w.mark), DIR_TEXT_BYTES_MAX, &text);
        if (r == -KB_ECRASHED)
            return r;
        if (r == 0)
            (void)dir_checkpoint_parse(kb_view_of(text.data, text.size), take_mark, &w);
        kb_buf_release(&text);
    }
    return 0;
}

static int sweep(struct dir_start *s, struct kb_fs *fs)
{
    for (size_t i = 0; i < s->leftover_count; i++) {
        char *path = dir_join(s->path, s->leftovers[i]);
        int r = kb_fs_remove_tree(fs, path);
        (void)kb_free(path);
        if (r < 0)
            return fail(s, r, "a deleted log cannot be removed");
    }
    return 0;
}

/* ---- the reserve ---- */

static int fill_zeros(struct kb_fs *fs, struct kb_fd *fd, uint64_t size_bytes)
{
    enum { PIECE = 64 << 10 };
    uint8_t *zeros = kb_alloc(PIECE);
    int r = 0;
    for (uint64_t at = 0; at < size_bytes && r == 0; at += PIECE) {
        uint64_t left = size_bytes - at;
        r = kb_fs_pwrite(fs, fd, zeros, left < PIECE ? (size_t)left : PIECE, at);
    }
    (void)kb_free(zeros);
    return r;
}

int dir_reserve_make(struct kb_fs *fs, const char *path, uint64_t size_bytes)
{
    struct kb_fd *fd = NULL;
    char *tmp = kb_asprintf("%s.tmp", path);
    int r = kb_fs_open(fs, tmp, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, &fd);
    if (r < 0)
        goto out;
    r = kb_fs_allocate(fs, fd, 0, size_bytes);
    if (r == -KB_EUNSUPPORTED)
        r = fill_zeros(fs, fd, size_bytes);
    if (r == 0)
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    if (r == 0)
        r = kb_fs_rename(fs, tmp, path);
    if (r < 0)
        (void)kb_fs_unlink(fs, tmp);
out:
    (void)kb_free(tmp);
    return r;
}

static int check_reserve(struct dir_start *s, struct kb_fs *fs)
{
    struct kb_fs_stat st;
    char *path = dir_join(s->path, DIR_FILE_RESERVE);
    int r = kb_fs_stat(fs, path, &st);
    if (r == 0 && s->reserve_bytes == 0 && st.type == KB_FS_FILE)
        r = kb_fs_unlink(fs, path);
    else if (r == 0 && s->reserve_bytes != 0 && st.type == KB_FS_NONE)
        r = dir_reserve_make(fs, path, s->reserve_bytes);
    (void)kb_free(path);
    s->reserve_present = r == 0 && s->reserve_bytes != 0;
    /* A full disk is a state, not a failure (9.3). */
    return r < 0 && r != -KB_ENOSPC ? fail(s, r, "the reserve file cannot be made") : 0;
}

/* ---- all of it ---- */

int dir_start_run(struct dir_start *s, struct kb_fs *fs)
{
    int r = lock(s, fs);
    if (r == 0)
        r = list_logs(s, fs);
    if (r == 0)
        r = load_state(s, fs);
    if (r == 0)
        r = load_meta(s, fs);
    if (r == 0) /* a refused start leaves what it refused as it was */
        r = take_marker(s, fs);
    if (r == 0)
        r = sync_names(s, fs);
    if (r == 0)
        r = forget_gaps(s, fs);
    if (r == 0)
        r = load_marks(s, fs);
    if (r == 0)
        r = sweep(s, fs);
    if (r == 0)
        r = check_reserve(s, fs);
    if (r < 0 && r != -KB_EBUSY) {
        char *path = dir_join(s->path, DIR_FILE_LOCK);
        kb_fs_unlock(fs, path);
        (void)kb_free(path);
    }
    return r;
}

void dir_start_release(struct dir_start *s)
{
    for (size_t i = 0; i < s->log_count; i++)
        (void)kb_free(s->logs[i].topic);
    for (size_t i = 0; i < s->mark_count; i++)
        (void)kb_free(s->marks[i].topic);
    for (size_t i = 0; i < s->leftover_count; i++)
        (void)kb_free(s->leftovers[i]);
    (void)kb_free(s->logs);
    (void)kb_free(s->marks);
    (void)kb_free(s->leftovers);
    (void)kb_free(s->path);
    (void)kb_free(s->cluster_id);
    (void)kb_free(s->reason);
}
