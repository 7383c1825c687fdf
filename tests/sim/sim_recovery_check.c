#include "tests/sim/sim_recovery_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_logs.h"

#define NAME_MAX_ 48

/* What a directory holds. */
struct file {
    char name[NAME_MAX_];
    size_t size;
    uint32_t crc;
};
struct files {
    struct sim_disk *disk;
    const char *dir;
    struct file *list;
    size_t count, capacity;
};

static int add_file(void *arg, const char *name, enum kb_fs_type type)
{
    struct files *f = arg;
    struct kb_view bytes;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    if (type != KB_FS_FILE || sim_disk_view(f->disk, path, false, &bytes) < 0)
        return 0;
    kb_array_reserve(f->list, f->count, f->capacity);
    struct file *file = &f->list[f->count++];
    *file = (struct file){.size = bytes.size, .crc = kb_crc32c(0, bytes.data, bytes.size)};
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    return 0;
}

static struct files files_of(struct sim_disk *disk, const char *dir)
{
    struct files f = {.disk = disk, .dir = dir};
    (void)sim_disk_list(disk, dir, false, add_file, &f);
    return f;
}

static bool is_log(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

/* The first difference, by name; NULL none. */
static const char *difference(const struct files *a, const struct files *b, bool logs_only)
{
    size_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        if (logs_only && i < a->count && !is_log(a->list[i].name)) {
            i++;
            continue;
        }
        if (logs_only && k < b->count && !is_log(b->list[k].name)) {
            k++;
            continue;
        }
        if (i == a->count)
            return b->list[k].name;
        if (k == b->count || strcmp(a->list[i].name, b->list[k].name) != 0 ||
            a->list[i].size != b->list[k].size || a->list[i].crc != b->list[k].crc)
            return a->list[i].name;
        i++;
        k++;
    }
    return NULL;
}

static const char *state_name(enum sim_recovered_state state)
{
    static const char *const names[] = {"whole", "cut", "damaged", "missing"};
    return names[state];
}

/* The former life may have taken the oldest segments away, which an earlier image of the directory
 * still holds: it was killed before it synced that, or the sync failed (seed 3000888). It knew why,
 * and recovery cannot: what is asked begins with the first segment that is there. */
static size_t first_kept(const struct sim_log *was, const struct files *before)
{
    size_t i = 0, first = 0;
    while (i < before->count && !is_log(before->list[i].name))
        i++;
    while (i < before->count && first < was->count &&
           strcmp(was->batches[first].segment, before->list[i].name) < 0)
        first++;
    return first;
}

/* What lay durably below the end it found is there, as it was. */
static void check_kept(struct sim_checks *checks, uint32_t node, const char *dir,
                       const struct sim_log *was, size_t first, struct sim_disk *scratch,
                       const struct sim_recovered *r)
{
    struct sim_log now = {0};
    size_t i = first;
    sim_log_refresh(&now, scratch, dir, true);
    while (i < was->count && was->batches[i].last < r->end && i - first < now.count &&
           was->batches[i].first == now.batches[i - first].first &&
           was->batches[i].crc == now.batches[i - first].crc)
        i++;
    sim_check(checks, SIM_CHECK_P20, i == was->count || was->batches[i].last >= r->end,
              "node %u: recovery of %s finds it %s up to %lld, and what was durable at %lld is not "
              "there any more",
              node + 1, dir, state_name(r->state), (long long)r->end,
              i < was->count ? (long long)was->batches[i].first : -1);
    sim_log_release(&now);
}

/* First offset of what a process cannot read as it was written, for a bit has turned there; the
 * log's end when there is none. */
static int64_t sound_end(const struct sim_log *was, size_t first, struct sim_env *env,
                         const char *dir)
{
    struct sim_disk *disk = sim_host_disk(sim_env_host(env));
    struct kb_buf read = {0};
    const char *segment = "";
    size_t i = first;
    for (; i < was->count; i++) {
        const struct sim_log_batch *b = &was->batches[i];
        struct kb_view written = sim_log_bytes(b, disk, dir, true);
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, b->segment);
        if (strcmp(segment, b->segment) != 0) {
            kb_buf_release(&read);
            (void)kb_fs_read_all(sim_env_fs(env), path, 64 << 20, &read);
            segment = b->segment;
        }
        if (written.size != b->size || read.data == NULL || b->position + b->size > read.size ||
            memcmp(written.data, read.data + b->position, b->size) != 0)
            break;
    }
    kb_buf_release(&read);
    return i < was->count ? was->batches[i].first : sim_log_end(was);
}

static void check_drops(struct sim_checks *checks, uint32_t node, const char *dir, int64_t owed,
                        int64_t sound, const struct sim_recovered *r)
{
    if (r->state == SIM_RECOVERED_DAMAGED || r->state == SIM_RECOVERED_MISSING)
        return; /* it says so, and the broker asks for a good copy */
    sim_check(checks, SIM_CHECK_P20, r->end >= r->mark,
              "node %u: recovery of %s cuts at %lld, below the durable mark of %lld", node + 1, dir,
              (long long)r->end, (long long)r->mark);
    sim_check(checks, SIM_CHECK_P20, r->end >= sound,
              "node %u: recovery of %s cuts at %lld, %lld were durable and can be read", node + 1,
              dir, (long long)r->end, (long long)sound);
    sim_check(checks, SIM_CHECK_P20, r->end >= owed || r->state == SIM_RECOVERED_CUT,
              "node %u: recovery of %s drops from %lld on silently, %lld were durable", node + 1,
              dir, (long long)r->end, (long long)owed);
}

static void check_twice(struct sim_checks *checks, uint32_t node, const char *dir,
                        const struct sim_recovered *a, const struct sim_recovered *b,
                        const char *file)
{
    bool same = a->state == b->state && a->start == b->start && a->end == b->end &&
                a->last_epoch == b->last_epoch;
    sim_check(checks, SIM_CHECK_P20, same,
              "node %u: %s is recovered as %s, %lld to %lld, epoch %d, and then as %s, %lld to "
              "%lld, epoch %d",
              node + 1, dir, state_name(a->state), (long long)a->start, (long long)a->end,
              a->last_epoch, state_name(b->state), (long long)b->start, (long long)b->end,
              b->last_epoch);
    sim_check(checks, SIM_CHECK_P20, file == NULL,
              "node %u: a second recovery of %s leaves another %s than the first", node + 1, dir,
              file);
}

static void recover_twice(struct sim_checks *checks, uint32_t node, struct sim_env *env,
                          const char *dir, const struct sim_log *was, int64_t owed,
                          sim_recover_fn *fn, void *arg)
{
    struct sim_disk *scratch = sim_host_disk(sim_env_host(env));
    struct sim_recovered first = {0}, second = {0};
    struct files before = files_of(scratch, dir);
    size_t kept = first_kept(was, &before);
    int64_t sound = sound_end(was, kept, env, dir);
    int r = fn(arg, sim_env_fs(env), dir, &first);
    struct files once = files_of(scratch, dir);
    if (r == 0)
        r = fn(arg, sim_env_fs(env), dir, &second);
    struct files twice = files_of(scratch, dir);
    if (sim_check(checks, SIM_CHECK_P20, r == 0, "node %u: recovery of %s fails with %s", node + 1,
                  dir, kb_err_name(r))) {
        check_twice(checks, node, dir, &first, &second, difference(&once, &twice, false));
        check_drops(checks, node, dir, owed, sound, &first);
        check_kept(checks, node, dir, was, kept, scratch, &first);
        const char *cut = difference(&before, &once, true);
        if (first.state == SIM_RECOVERED_DAMAGED)
            sim_check(checks, SIM_CHECK_P20, cut == NULL,
                      "node %u: recovery of %s finds damage, and changes %s", node + 1, dir, cut);
    }
    free(before.list);
    free(once.list);
    free(twice.list);
}

int64_t sim_recovery_owed(struct sim_disk *disk, const char *dir, int64_t end)
{
    char path[256], text[32] = {0};
    struct kb_view v;
    long long offset = -1;
    (void)snprintf(path, sizeof(path), "%s/cut-limit", dir);
    if (sim_disk_view(disk, path, true, &v) < 0)
        return end;
    memcpy(text, v.data, v.size < sizeof(text) ? v.size : sizeof(text) - 1);
    if (strstr(text, "reset") != NULL)
        return 0; /* it was beginning anew, and does so again */
    if (sscanf(text, "0\ncut %lld\n", &offset) != 1 || offset >= end)
        return end;
    struct sim_log seen = {0};
    sim_log_refresh(&seen, disk, dir, false);
    int64_t left = sim_log_end(&seen);
    sim_log_release(&seen);
    if (left < offset)
        left = offset;
    return left < end ? left : end;
}

void sim_recovery_check(struct sim_checks *checks, uint32_t node, struct sim_disk *disk,
                        const char *dir, sim_recover_fn *fn, void *arg)
{
    struct sim_world *w = sim_world_new(1);
    struct sim_env *env = sim_world_add_env(w, "scratch");
    struct sim_log was = {0};
    sim_log_refresh(&was, disk, dir, true);
    sim_disk_copy_dir(sim_host_disk(sim_env_host(env)), disk, dir);
    recover_twice(checks, node, env, dir, &was, sim_recovery_owed(disk, dir, sim_log_end(&was)), fn,
                  arg);
    sim_log_release(&was);
    (void)sim_world_free(w);
}

void sim_recovery_check_opened(struct sim_checks *checks, uint32_t node, uint32_t partition,
                               int64_t was, int64_t end, bool told)
{
    sim_check(
        checks, SIM_CHECK_P20, end >= was || told,
        "partition %u: node %u starts with %lld, of which %lld were durable, and says nothing",
        partition, node + 1, (long long)end, (long long)was);
}
