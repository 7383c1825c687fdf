/* What logs need from time to time: retention, compaction one log at a time, expiry of idle
 * producers. */
#include "broker/node/node_internal.h"
#include "proto/base/mutant.h"
#include "replication/log/compact.h"

enum {
    EXPIRE_CHECK_MS = 60000,
    MAP_SHARE_PERCENT = 3, /* of the memory limit: the map of a compaction */
    WALL_JUMP_MS = 60000,  /* a larger difference to the wall clock is worth a word */
};

/* One compaction under way. The job owns everything but `partition`. */
struct cleaner {
    struct kb_job job;
    struct node *node;
    struct kb_uuid topic_id;
    int32_t index;
    uint32_t generation;
    char *dir;
    struct log_compact_segment *segments;
    struct log_producer_last *producers;
    struct log_epochs epochs;
    struct log_compact_input input;
    struct log_compact_result result;
    size_t group; /* being swapped in */
    int64_t *bases;
    bool abandoned;
};

struct node_retention {
    uint64_t retention_ms;
    uint64_t compact_ms;
    uint64_t expire_ms;
    struct cleaner *cleaner;
    struct kb_log_rate rate;
};

static struct node_retention *retention_of(struct node *n)
{
    if (n->retention == NULL) {
        uint64_t now_ms = node_now(n);
        n->retention = kb_new(struct node_retention);
        n->retention->retention_ms = now_ms + n->config.retention_check_ms;
        n->retention->compact_ms = now_ms + n->config.cleaner_backoff_ms;
        n->retention->expire_ms = now_ms + EXPIRE_CHECK_MS;
    }
    return n->retention;
}

/* Jumps, small or large, are followed by a thousandth of the time that passes. */
static int64_t steady_wall_ms(struct node *n)
{
    struct node_retention *t = retention_of(n);
    int64_t wall = kb_env_wall_ms(n->env);
    int64_t steady = node_wall_ms(n);
    int64_t difference = wall > steady ? wall - steady : steady - wall;
    if (difference > WALL_JUMP_MS)
        kb_log_rate_warn(
            &t->rate, node_now(n), "retention",
            "event=clock_jump wall_ahead_ms=%lld action=\"retention follows it slowly\"",
            (long long)(wall - steady));
    return steady;
}

static void retain(struct node_partition *p, int64_t wall_ms)
{
    int64_t start = log_start_offset(p->log);
    int removed = log_clean_by_retention(p->log, wall_ms, rep_hw(p->rep));
    if (removed > 0)
        kb_log_info("retention", "event=segments_removed tp=%s-%d count=%d start=%lld", p->topic,
                    p->index, removed, (long long)log_start_offset(p->log));
    if (log_start_offset(p->log) != start)
        node_partition_start_moved(p);
}

/* ---- compaction
 * ---------------------------------------------------------------------------------------- */

static void cleaner_free(struct cleaner *c)
{
    if (c == NULL)
        return;
    log_compact_result_release(&c->result);
    log_epochs_release(&c->epochs);
    (void)kb_free(c->dir);
    (void)kb_free(c->segments);
    (void)kb_free(c->producers);
    (void)kb_free(c->bases);
    (void)kb_free(c);
}

static int cleaner_run(struct kb_job *job, struct kb_fs *fs)
{
    struct cleaner *c = (struct cleaner *)job;
    return log_compact_run(fs, &c->input, &c->result);
}

static void cleaner_next_group(struct cleaner *c);

static void cleaner_end(struct cleaner *c, bool complete)
{
    struct node *n = c->node;
    struct node_partition *p = node_partition_find(n, &c->topic_id, c->index);
    if (complete && p != NULL && p->dir_log != NULL) {
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_CLEANER, c->result.first_dirty);
        kb_log_info(
            "cleaner",
            "event=compacted tp=%s-%d read=%llu kept=%llu bytes_read=%llu bytes_written=%llu",
            p->topic, p->index, (unsigned long long)c->result.records_read,
            (unsigned long long)c->result.records_kept, (unsigned long long)c->result.bytes_read,
            (unsigned long long)c->result.bytes_written);
    }
    n->retention->cleaner = NULL;
    cleaner_free(c);
}

static void on_replaced(struct log *log, void *user, int result)
{
    struct cleaner *c = user;
    (void)log;
    if (result != LOG_REPLACE_OK) {
        cleaner_end(c, false);
        return;
    }
    c->group++;
    cleaner_next_group(c);
}

static void cleaner_next_group(struct cleaner *c)
{
    struct node_partition *p = node_partition_find(c->node, &c->topic_id, c->index);
    if (p == NULL || p->state != NODE_PARTITION_OPEN || p->log == NULL ||
        log_generation(p->log) != c->generation) {
        cleaner_end(c, false);
        return;
    }
    if (c->group == c->result.group_count) {
        cleaner_end(c, true);
        return;
    }
    const struct log_compact_group *g = &c->result.groups[c->group];
    for (size_t i = 0; i < g->count; i++)
        c->bases[i] = c->segments[g->first + i].base_offset;
    log_replace_segments(p->log, c->bases, g->count, on_replaced, c);
}

static void cleaner_done(struct kb_job *job, int result)
{
    struct cleaner *c = (struct cleaner *)job;
    struct node *n = c->node;
    if (result < 0) {
        bool disk_failed = c->result.disk_failed;
        kb_log_warn("cleaner", "event=compaction_failed dir=%s error=%s", c->dir,
                    kb_err_name(result));
        if (result == -KB_ECORRUPT && c->result.damaged_from >= 0)
            node_partition_damaged(node_partition_find(c->node, &c->topic_id, c->index),
                                   c->generation, c->result.damaged_from);
        cleaner_end(c, false);
        if (disk_failed) /* what a failed sync says of one file it says of the disk (9.3) */
            node_lifecycle_disk_failed(n, -KB_EIO);
        return;
    }
    cleaner_next_group(c);
}

static void compact_config(struct node *n, const struct meta_log_config *m,
                           struct log_compact_config *ret)
{
    /* With less it takes more passes. */
    uint64_t map_max = n->config.memory_max_bytes / 100 * MAP_SHARE_PERCENT;
    *ret = (struct log_compact_config){
        .delete_retention_ms = (uint64_t)m->delete_retention_ms,
        .min_compaction_lag_ms = (uint64_t)m->min_compaction_lag_ms,
        .max_compaction_lag_ms =
            m->max_compaction_lag_ms == INT64_MAX ? UINT64_MAX : (uint64_t)m->max_compaction_lag_ms,
        .min_cleanable_ratio = m->min_cleanable_dirty_ratio,
        .segment_bytes = (uint64_t)m->segment_bytes,
        .index_interval_bytes = (uint32_t)m->index_interval_bytes,
        .map_bytes = n->config.cleaner_dedupe_bytes < map_max ? n->config.cleaner_dedupe_bytes
                                                              : map_max,
        .batch_bytes_max = n->config.request_bytes_max,
    };
}

static size_t closed_segments(struct node_partition *p, struct log_compact_segment **ret,
                              int64_t *ret_end)
{
    size_t total = log_segment_count(p->log);
    struct log_compact_segment *s = kb_new_array(struct log_compact_segment, total);
    size_t count = 0;
    int64_t hw = rep_hw(p->rep);
    *ret_end = log_start_offset(p->log);
    for (size_t i = 0; i < total; i++) {
        struct log_segment_info info = log_segment_info(p->log, i);
        if (info.active || (info.next_offset > hw && !KB_MUTANT("compaction-past-hw")))
            break;
        s[count].base_offset = info.base_offset;
        s[count].size_bytes = info.size_bytes;
        s[count].first_timestamp = info.first_timestamp;
        s[count].max_timestamp = info.max_timestamp;
        count++;
        *ret_end = info.next_offset;
    }
    *ret = s;
    return count;
}

struct candidate {
    struct node_partition *partition;
    struct log_compact_plan plan;
    struct log_compact_config config;
    struct log_compact_segment *segments;
};

static void consider(struct node_partition *p, int64_t wall_ms, struct candidate *best)
{
    struct meta_log_config m;
    struct log_compact_config config;
    struct log_compact_segment *segments = NULL;
    struct log_compact_plan plan;
    int64_t end = 0;
    node_topic_log_config(p->node, &p->topic_id, &m);
    if (!m.cleanup_compact)
        return;
    compact_config(p->node, &m, &config);
    size_t count = closed_segments(p, &segments, &end);
    log_compact_plan(segments, count, end, log_dir_mark_get(p->dir_log, LOG_DIR_CLEANER), &config,
                     wall_ms, &plan);
    if (plan.due && plan.segment_count > 0 &&
        (best->partition == NULL || plan.ratio > best->plan.ratio)) {
        (void)kb_free(best->segments);
        *best = (struct candidate){
            .partition = p, .plan = plan, .config = config, .segments = segments};
        return;
    }
    (void)kb_free(segments);
}

static void compact_start(struct node *n, struct candidate *best, int64_t wall_ms)
{
    struct node_partition *p = best->partition;
    struct cleaner *c = kb_new(struct cleaner);
    size_t producers = 0;
    c->job.run = cleaner_run;
    c->job.done = cleaner_done;
    c->node = n;
    c->topic_id = p->topic_id;
    c->index = p->index;
    c->generation = log_generation(p->log);
    c->dir = kb_strdup(log_dir_path(p->log));
    c->segments = best->segments;
    c->bases = kb_new_array(int64_t, best->plan.segment_count);
    c->producers = log_producers_last(log_producers(p->log), &producers);
    log_epochs_take(p->log, &c->epochs);
    c->input = (struct log_compact_input){
        .dir = c->dir,
        .segments = c->segments,
        .segment_count = best->plan.segment_count,
        .first_dirty = best->plan.first_dirty,
        .end_offset = best->plan.end_offset,
        .config = best->config,
        .now_wall_ms = wall_ms,
        .producers = c->producers,
        .producer_count = producers,
        .hash_seed = {kb_env_random_u64(n->env), kb_env_random_u64(n->env)},
        .epochs = &c->epochs,
        .gaps_below = log_gaps_below(p->log),
    };
    n->retention->cleaner = c;
    kb_env_job(n->env, &c->job);
}

static void compact_if_due(struct node *n, int64_t wall_ms)
{
    struct candidate best = {0};
    struct node_partition *p = NULL;
    if (!n->config.cleaner_enable || n->retention->cleaner != NULL)
        return;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->state == NODE_PARTITION_OPEN && !p->leaving)
            consider(p, wall_ms, &best);
    }
    if (best.partition != NULL)
        compact_start(n, &best, wall_ms);
}

/* ---- the clock
 * -------------------------------------------------------------------------------------------- */

void node_retention_tick(struct node *n, uint64_t now_ms)
{
    struct node_retention *t = retention_of(n);
    struct node_partition *p = NULL;
    if (now_ms >= t->retention_ms) {
        int64_t wall_ms = steady_wall_ms(n);
        t->retention_ms = now_ms + n->config.retention_check_ms;
        for (p = n->partitions; p != NULL; p = p->hh.next) {
            if (p->state == NODE_PARTITION_OPEN && !p->leaving)
                retain(p, wall_ms);
        }
    }
    if (now_ms >= t->compact_ms) {
        t->compact_ms = now_ms + n->config.cleaner_backoff_ms;
        compact_if_due(n, steady_wall_ms(n));
    }
    if (now_ms >= t->expire_ms) {
        t->expire_ms = now_ms + EXPIRE_CHECK_MS;
        for (p = n->partitions; p != NULL; p = p->hh.next) {
            if (p->state == NODE_PARTITION_OPEN && log_producers(p->log) != NULL)
                (void)log_producers_expire(log_producers(p->log), now_ms);
        }
    }
}

void node_retention_free(struct node *n)
{
    if (n->retention == NULL)
        return;
    cleaner_free(n->retention->cleaner);
    n->retention = kb_free(n->retention);
}
