/* The vote file and snapshots, beside the metadata log. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/node/quorum.h"
#include "proto/base/crc32c.h"
#include "proto/base/mutant.h"

#define VOTE_FILE "quorum-state"
#define SNAPSHOT_SUFFIX ".checkpoint"

enum { RESERVE_CHECK_MS = 5000 };

static struct quorum_job *job_new(struct node_quorum *q,
                                  int (*run)(struct kb_job *, struct kb_fs *),
                                  void (*done)(struct kb_job *, int))
{
    struct quorum_job *j = kb_new(struct quorum_job);
    j->quorum = q;
    j->job.run = run;
    j->job.done = done;
    TAILQ_INSERT_TAIL(&q->jobs, j, entries);
    return j;
}

static void job_free(struct quorum_job *j)
{
    TAILQ_REMOVE(&j->quorum->jobs, j, entries);
    kb_buf_release(&j->bytes);
    kb_buf_release(&j->vote);
    kb_buf_release(&j->snapshot);
    kb_buf_release(&j->older);
    (void)kb_free(j->path);
    (void)kb_free(j->path_remove);
    (void)kb_free(j->snapshot_name);
    (void)kb_free(j->older_name);
    (void)kb_free(j);
}

/* ---- the vote: "kvorum vote 1", term, vote id and directory, commit index, barred, CRC of all
 * before it ---- */

static void vote_format(const struct raft_hard_state *h, struct kb_buf *ret)
{
    char uuid[KB_UUID_TEXT_SIZE];
    kb_uuid_format(&h->vote.directory, uuid);
    kb_buf_printf(ret, "kvorum-vote 1\nterm=%llu\nvote=%d %s\ncommit=%llu\nbarred=%d\n",
                  (unsigned long long)h->term, h->vote.id, uuid,
                  (unsigned long long)h->commit_index, h->barred ? 1 : 0);
    kb_buf_printf(ret, "crc=%08x\n", kb_crc32c(0, ret->data, ret->size));
}

static int vote_parse(const char *text, struct raft_hard_state *ret)
{
    unsigned long long term = 0;
    unsigned long long commit = 0;
    int id = 0;
    int barred = 0;
    unsigned crc = 0;
    int body = 0;
    char uuid[KB_UUID_TEXT_SIZE];
    if (sscanf(text, "kvorum-vote 1\nterm=%llu\nvote=%d %22s\ncommit=%llu\nbarred=%d\n%ncrc=%8x",
               &term, &id, uuid, &commit, &barred, &body, &crc) != 6)
        return -KB_ECORRUPT;
    if (crc != kb_crc32c(0, text, (size_t)body) || term > RAFT_TERM_MAX)
        return -KB_ECORRUPT;
    *ret = (struct raft_hard_state){
        .term = term,
        .vote = {.id = id},
        .commit_index = commit,
        .barred = barred != 0,
    };
    return kb_uuid_parse(uuid, &ret->vote.directory) < 0 ? -KB_ECORRUPT : 0;
}

static int vote_run(struct kb_job *job, struct kb_fs *fs)
{
    struct quorum_job *j = (struct quorum_job *)job;
    if (KB_MUTANT("raft-vote-not-written"))
        return 0;
    return kb_fs_replace(fs, j->path, j->bytes.data, j->bytes.size);
}

static void vote_again(struct quorum_job *j);

static void reserve_released(void *arg, int result)
{
    (void)result;
    vote_again(arg);
}

/* A vote that finds no space waits: this node neither votes nor acknowledges (fault row 30), and
 * the others go on. A newer one takes the place of an older one, never the other way round. */
static void vote_without_space(struct quorum_job *j)
{
    struct node_quorum *q = j->quorum;
    if (j->sequence < q->vote_newest) {
        job_free(j);
    } else if (!q->reserve_asked) {
        quorum_no_space(q, "vote");
        log_dir_reserve_release(q->node->dir, reserve_released, j);
    } else {
        q->vote_waiting = j;
        q->vote_retry_ms = node_now(q->node) + NODE_DISK_RETRY_MS;
    }
}

static void vote_done(struct kb_job *job, int result)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct node_quorum *q = j->quorum;
    if (result == -KB_ENOSPC) {
        vote_without_space(j);
        return;
    }
    if (result < 0) {
        node_panic_disk(q->node, "the vote cannot be written", result);
        return;
    }
    struct raft_input in = {.kind = RAFT_IN_HARD_PERSISTED, .sequence = j->sequence};
    if (j->term > q->term_saved)
        q->term_saved = j->term;
    if (q->bar_sequence != 0 && j->sequence >= q->bar_sequence)
        q->bar_durable = true;
    job_free(j);
    quorum_step(q, &in, NULL, NULL);
}

static void vote_again(struct quorum_job *j)
{
    if (j->sequence < j->quorum->vote_newest)
        job_free(j);
    else
        kb_lane_job(j->quorum->node->env, KB_LANE_RAFT, &j->job);
}

/* ---- a full disk, and space again ---- */

void quorum_no_space(struct node_quorum *q, const char *what)
{
    q->reserve_asked = true;
    q->reserve_check_ms = node_now(q->node) + RESERVE_CHECK_MS;
    kb_log_error("quorum", "event=no_space what=%s action=%s", what,
                 q->node->config.reserve_bytes != 0 ? "reserve_released" : "wait");
}

static void reserve_restored(void *arg, int result)
{
    struct node_quorum *q = arg;
    if (result < 0) /* still short of space */
        return;
    q->reserve_asked = false;
    kb_log_info("quorum", "event=reserve_restored");
}

void quorum_space_tick(struct node_quorum *q, uint64_t now_ms)
{
    struct quorum_job *j = q->vote_waiting;
    if (j != NULL && now_ms >= q->vote_retry_ms) {
        q->vote_waiting = NULL;
        vote_again(j);
    }
    if (q->reserve_asked && q->node->config.reserve_bytes != 0 && !q->stopping &&
        now_ms >= q->reserve_check_ms) {
        q->reserve_check_ms = now_ms + RESERVE_CHECK_MS;
        log_dir_reserve_restore(q->node->dir, reserve_restored, q);
    }
}

void quorum_save_hard(struct node_quorum *q, const struct raft_hard_state *hard, uint64_t sequence)
{
    struct quorum_job *j = job_new(q, vote_run, vote_done);
    j->path = kb_asprintf("%s/" VOTE_FILE, log_dir_log_path(q->dir_log));
    j->sequence = sequence;
    q->vote_newest = sequence;
    j->term = q->hard_term = hard->term;
    if (hard->barred && q->bar_sequence == 0)
        q->bar_sequence = sequence;
    if (q->vote_waiting != NULL)
        job_free(q->vote_waiting);
    q->vote_waiting = NULL;
    vote_format(hard, &j->bytes);
    kb_lane_job(q->node->env, KB_LANE_RAFT, &j->job);
}

/* ---- the start
 * -------------------------------------------------------------------------------------------- */

/* Snapshot names sort by index: %020llu-%010llu.checkpoint. The newest two are kept: the older one
 * is there when a crash came before its removal, and stands in for a damaged newest one. */
static int find_snapshot(void *arg, const char *name, enum kb_fs_type type)
{
    struct quorum_job *j = arg;
    size_t size = strlen(name);
    size_t suffix = strlen(SNAPSHOT_SUFFIX);
    if (type != KB_FS_FILE || size <= suffix || strcmp(name + size - suffix, SNAPSHOT_SUFFIX) != 0)
        return 0;
    (void)kb_free(j->older_name);
    j->older_name = j->snapshot_name;
    j->snapshot_name = kb_strdup(name);
    return 0;
}

static int read_snapshot(struct kb_fs *fs, const char *dir, const char *name, struct kb_buf *ret)
{
    if (name == NULL)
        return 0;
    char *path = kb_asprintf("%s/%s", dir, name);
    int r = kb_fs_read_all(fs, path, QUORUM_SNAPSHOT_BYTES_MAX, ret);
    (void)kb_free(path);
    return r;
}

static int load_run(struct kb_job *job, struct kb_fs *fs)
{
    struct quorum_job *j = (struct quorum_job *)job;
    char *vote = kb_asprintf("%s/" VOTE_FILE, j->path);
    j->vote_result = kb_fs_read_all(fs, vote, QUORUM_VOTE_BYTES_MAX, &j->vote);
    kb_buf_append(&j->vote, "", 1);
    (void)kb_free(vote);
    int r = kb_fs_list(fs, j->path, find_snapshot, j);
    if (r == 0)
        r = read_snapshot(fs, j->path, j->snapshot_name, &j->snapshot);
    if (r == 0)
        r = read_snapshot(fs, j->path, j->older_name, &j->older);
    return r;
}

static bool load_snapshot(struct node_quorum *q, const struct quorum_job *j, const char *name,
                          const struct kb_buf *bytes)
{
    struct meta_image *image = NULL;
    struct raft_voters v = {0};
    const struct meta_voter *voters = NULL;
    int r = meta_snapshot_read(kb_view_of(bytes->data, bytes->size), &image);
    if (r < 0) {
        kb_log_error("quorum", "event=snapshot_damaged file=%s error=%s", name, kb_err_name(r));
        return false;
    }
    q->node->image = meta_image_free(q->node->image);
    q->node->image = image;
    v.index = meta_image_last_index(image);
    v.count = meta_image_voters(image, &voters);
    for (size_t i = 0; i < v.count && i < RAFT_VOTERS_MAX; i++)
        v.nodes[i] = (struct raft_node){.id = voters[i].id, .directory = voters[i].directory};
    quorum_set_snapshot(
        q, (struct raft_position){.index = v.index, .term = meta_image_last_term(image)},
        kb_asprintf("%s/%s", j->path, name), bytes->size);
    kb_array_reserve(q->voters, q->voters_count, q->voters_capacity);
    q->voters[q->voters_count++] = v;
    q->voters_index = v.index;
    return true;
}

static void load_done(struct kb_job *job, int result)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct node_quorum *q = j->quorum;
    const char *what = "snapshot";
    q->hard = (struct raft_hard_state){.vote = {.id = RAFT_NOBODY}};
    if (j->vote_result == -KB_ENOENT)
        q->vote_missing = true;
    else if (j->vote_result < 0 || vote_parse((const char *)j->vote.data, &q->hard) < 0)
        q->vote_damaged = true;
    if (KB_MUTANT("raft-forget-vote"))
        q->hard.vote.id = RAFT_NOBODY;
    q->bar_durable = q->hard.barred;
    q->hard_term = q->term_saved = q->hard.term;
    if (q->vote_damaged)
        kb_log_error("quorum", "event=vote_damaged");
    if (result == 0 && j->snapshot_name != NULL &&
        !load_snapshot(q, j, j->snapshot_name, &j->snapshot) && j->older_name != NULL)
        (void)load_snapshot(q, j, j->older_name, &j->older);
    job_free(j);
    quorum_loaded(q, result, what);
}

void quorum_load(struct node_quorum *q)
{
    struct quorum_job *j = job_new(q, load_run, load_done);
    j->path = kb_strdup(log_dir_log_path(q->dir_log));
    kb_lane_job(q->node->env, KB_LANE_RAFT, &j->job);
}

/* ---- snapshots
 * --------------------------------------------------------------------------------------------- */

void quorum_set_snapshot(struct node_quorum *q, struct raft_position position, char *path,
                         uint64_t size)
{
    (void)kb_free(q->snapshot_path);
    q->snapshot_file = kb_file_unref(q->snapshot_file);
    q->snapshot = position;
    q->snapshot_path = path;
    q->snapshot_size = size;
    q->snapshot_file = kb_file_new(q->node->env, path);
}

static int snapshot_run(struct kb_job *job, struct kb_fs *fs)
{
    struct quorum_job *j = (struct quorum_job *)job;
    int r = KB_MUTANT("snapshot-not-written")
                ? 0
                : kb_fs_replace(fs, j->path, j->bytes.data, j->bytes.size);
    if (r == 0 && j->path_remove != NULL && strcmp(j->path, j->path_remove) != 0 &&
        kb_fs_unlink(fs, j->path_remove) == -KB_EIO)
        r = -KB_EIO; /* any other leftover is harmless */
    return r;
}

static void installed(struct node_quorum *q, struct quorum_job *j)
{
    struct meta_image *image = NULL;
    struct raft_voters v = {0};
    const struct meta_voter *voters = NULL;
    int r = meta_snapshot_read(kb_view_of(j->bytes.data, j->bytes.size), &image);
    KB_ASSERT(r == 0); /* it was read before it was written */
    v.index = meta_image_last_index(image);
    v.count = meta_image_voters(image, &voters);
    for (size_t i = 0; i < v.count && i < RAFT_VOTERS_MAX; i++)
        v.nodes[i] = (struct raft_node){.id = voters[i].id, .directory = voters[i].directory};
    /* A log that has reached the snapshot meanwhile is kept, and what it holds behind it was passed
     * on already (seed 56720); one that begins anew lowers this itself. */
    if (q->voters_index < v.index)
        q->voters_index = v.index;
    struct raft_input in = {
        .kind = RAFT_IN_SNAPSHOT_INSTALLED,
        .position = j->position,
        .voters = &v,
    };
    if (v.index > q->applied)
        quorum_image_replaced(q, image);
    else
        (void)meta_image_free(image);
    quorum_step(q, &in, NULL, NULL);
}

static void snapshot_done(struct kb_job *job, int result)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct node_quorum *q = j->quorum;
    q->snapshotting = false;
    if (result < 0) {
        struct raft_input in = {.kind = RAFT_IN_SNAPSHOT_FAILED, .position = j->position};
        bool installing = j->installing;
        kb_log_warn("quorum", "event=snapshot_failed error=%s", kb_err_name(result));
        job_free(j);
        if (installing)
            quorum_step(q, &in, NULL, NULL);
        if (result != -KB_ENOSPC) /* nobody needs this file, but the disk is not trusted (9.3) */
            node_lifecycle_disk_failed(q->node, result);
        return;
    }
    kb_log_info("quorum", "event=snapshot index=%llu bytes=%zu installed=%d",
                (unsigned long long)j->position.index, j->bytes.size, (int)j->installing);
    char *path = j->path;
    j->path = NULL;
    quorum_set_snapshot(q, j->position, path, j->bytes.size);
    if (j->installing) {
        installed(q, j);
    } else {
        struct raft_input in = {.kind = RAFT_IN_SNAPSHOT_TAKEN, .position = j->position};
        log_set_start_offset(q->log, (int64_t)j->position.index + 1);
        log_dir_mark_set(q->node->dir, q->dir_log, LOG_DIR_START, log_start_offset(q->log));
        quorum_step(q, &in, NULL, NULL);
    }
    job_free(j);
}

static void snapshot_write(struct node_quorum *q, struct raft_position position,
                           struct kb_buf *bytes, bool installing)
{
    struct quorum_job *j = job_new(q, snapshot_run, snapshot_done);
    j->position = position;
    j->installing = installing;
    j->bytes = *bytes;
    *bytes = (struct kb_buf){0};
    j->path = kb_asprintf("%s/%020llu-%010llu" SNAPSHOT_SUFFIX, log_dir_log_path(q->dir_log),
                          (unsigned long long)position.index, (unsigned long long)position.term);
    j->path_remove = q->snapshot_path != NULL ? kb_strdup(q->snapshot_path) : NULL;
    q->snapshotting = true;
    kb_lane_job(q->node->env, KB_LANE_RAFT, &j->job);
}

void quorum_snapshot_if_due(struct node_quorum *q)
{
    struct kb_buf bytes = {0};
    if (q->snapshotting || q->stopping ||
        q->bytes_since_snapshot < q->node->config.snapshot_bytes || q->applied <= q->snapshot.index)
        return;
    q->bytes_since_snapshot = 0;
    meta_snapshot_write(q->node->image, &bytes);
    snapshot_write(q,
                   (struct raft_position){.index = meta_image_last_index(q->node->image),
                                          .term = meta_image_last_term(q->node->image)},
                   &bytes, false);
}

/* ---- receiving one
 * -------------------------------------------------------------------------------------------- */

static void chunk_failed(struct node_quorum *q, struct raft_position position)
{
    struct raft_input in = {.kind = RAFT_IN_SNAPSHOT_FAILED, .position = position};
    kb_buf_release(&q->incoming);
    quorum_step(q, &in, NULL, NULL);
}

void quorum_take_chunk(struct node_quorum *q, const struct raft_message *m, struct kb_view chunk)
{
    struct meta_image *image = NULL;
    if (m->position == 0) {
        kb_buf_release(&q->incoming);
        q->incoming_position = m->snapshot;
    }
    if (m->position != q->incoming.size ||
        q->incoming.size + chunk.size > QUORUM_SNAPSHOT_BYTES_MAX || q->snapshotting ||
        q->term_saved < q->hard_term) {
        chunk_failed(q, m->snapshot);
        return;
    }
    kb_buf_append(&q->incoming, chunk.data, chunk.size);
    if (!m->done) {
        struct raft_input in = {
            .kind = RAFT_IN_SNAPSHOT_STORED,
            .position = m->snapshot,
            .offset = q->incoming.size,
        };
        quorum_step(q, &in, NULL, NULL);
        return;
    }
    int r = meta_snapshot_read(kb_view_of(q->incoming.data, q->incoming.size), &image);
    bool same = r == 0 && meta_image_last_index(image) == m->snapshot.index;
    (void)meta_image_free(image);
    if (!same) {
        chunk_failed(q, m->snapshot);
        return;
    }
    snapshot_write(q, m->snapshot, &q->incoming, true);
}

/* ---- sending one
 * ------------------------------------------------------------------------------------------------
 */

static void chunk_report(struct node_quorum *q, uint64_t send_id)
{
    struct raft_input in = {.kind = RAFT_IN_SNAPSHOT_SENT, .send_id = send_id};
    quorum_step(q, &in, NULL, NULL);
}

static void chunk_free(struct quorum_chunk *c)
{
    TAILQ_REMOVE(&c->quorum->chunks, c, entries);
    (void)kb_file_unref(c->read.file);
    (void)kb_block_unref(c->block);
    (void)kb_free(c);
}

static void on_chunk_read(struct kb_read *r, int64_t result)
{
    struct quorum_chunk *c =
        (struct quorum_chunk *)((char *)r - offsetof(struct quorum_chunk, read));
    struct node_quorum *q = c->quorum;
    uint64_t send_id = c->send_id;
    if (result == (int64_t)r->size) {
        struct kb_chain payload = {0};
        c->block->size = (uint32_t)result;
        kb_chain_add_block(&payload, c->block, 0, c->block->size);
        quorum_send_message(q, &c->header, &payload);
    }
    chunk_free(c);
    chunk_report(q, send_id);
}

void quorum_send_chunk(struct node_quorum *q, const struct raft_snapshot_send *s)
{
    struct quorum_chunk *c = kb_new(struct quorum_chunk);
    c->quorum = q;
    c->send_id = s->send_id;
    c->header = s->header;
    if (c->header.snapshot.index != q->snapshot.index) {
        c->header.snapshot = q->snapshot;
        c->header.position = 0;
    }
    uint64_t left = q->snapshot_size > c->header.position ? q->snapshot_size - c->header.position
                                                          : 0;
    uint64_t size = left < NODE_SNAPSHOT_CHUNK_BYTES ? left : NODE_SNAPSHOT_CHUNK_BYTES;
    c->header.done = size == left;
    c->block = kb_block_new((size_t)size);
    c->read = (struct kb_read){
        .file = kb_file_ref(q->snapshot_file),
        .position = c->header.position,
        .buffer = c->block->data,
        .size = (size_t)size,
        .done = on_chunk_read,
    };
    TAILQ_INSERT_TAIL(&q->chunks, c, entries);
    kb_env_read(q->node->env, &c->read);
}

void quorum_files_free(struct node_quorum *q)
{
    while (!TAILQ_EMPTY(&q->chunks))
        chunk_free(TAILQ_FIRST(&q->chunks));
    while (!TAILQ_EMPTY(&q->jobs))
        job_free(TAILQ_FIRST(&q->jobs));
    kb_buf_release(&q->incoming);
    (void)kb_free(q->snapshot_path);
    (void)kb_file_unref(q->snapshot_file);
}
