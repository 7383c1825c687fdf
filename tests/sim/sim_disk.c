#include "tests/sim/sim_private.h"

#include <string.h>

#include "tests/sim/sim_image.h"

/* Names, space and faults; the bytes of one file are sim_image.c's. */

#define SIM_PATH_PARTS_MAX 32

enum dir_op_kind { DIR_LINK, DIR_UNLINK, DIR_RENAME };

/* A change of a directory that no sync has made durable yet. */
struct dir_op {
    enum dir_op_kind kind;
    struct sim_inode *dir; /* LINK and RENAME: where the name appears */
    char *name;
    struct sim_inode *inode;
    struct sim_inode *from_dir; /* RENAME: where it disappears */
    char *from_name;
};

struct sim_disk {
    struct sim_world *world;
    struct kb_prng prng;
    struct sim_disk_settings settings;
    enum sim_crash_mode crash_mode;
    uint64_t stalled_until_us;
    uint64_t used_bytes;
    uint64_t syncs;
    uint64_t inode_ids;
    struct sim_inode *root;
    struct dir_op *ops; /* in the order they were made */
    size_t op_count, op_capacity;
    char *foreign_lock; /* path, or NULL */
};

static bool chance(struct sim_disk *d, uint32_t ppm)
{
    return ppm != 0 && kb_prng_below(&d->prng, 1000000) < ppm;
}

static bool fails(struct sim_disk *d, uint32_t *next, uint32_t ppm)
{
    if (*next > 0) {
        (*next)--;
        return true;
    }
    return chance(d, ppm);
}

/* ---- life ---- */

struct sim_disk *sim_disk_new(struct sim_world *w, uint64_t seed)
{
    struct sim_disk *d = kb_new(struct sim_disk);
    d->world = w;
    kb_prng_init(&d->prng, seed);
    d->settings = (struct sim_disk_settings){.write_us_min = 10,
                                             .write_us_max = 60,
                                             .sync_us_min = 150,
                                             .sync_us_max = 900,
                                             .read_us_min = 5,
                                             .read_us_max = 120,
                                             .cold_ppm = 20000};
    d->root = sim_inode_new(++d->inode_ids, true);
    return d;
}

static void op_release(struct sim_disk *d, struct dir_op *op)
{
    (void)sim_inode_unref(d, op->dir);
    (void)sim_inode_unref(d, op->inode);
    (void)sim_inode_unref(d, op->from_dir);
    (void)kb_free(op->name);
    (void)kb_free(op->from_name);
    *op = (struct dir_op){0};
}

static void ops_clear(struct sim_disk *d)
{
    for (size_t i = 0; i < d->op_count; i++)
        op_release(d, &d->ops[i]);
    d->op_count = 0;
}

struct sim_disk *sim_disk_free(struct sim_disk *d)
{
    if (d == NULL)
        return NULL;
    ops_clear(d);
    free(d->ops);
    free(d->foreign_lock);
    (void)sim_inode_unref(d, d->root);
    free(d);
    return NULL;
}

struct sim_disk_settings *sim_disk_settings(struct sim_disk *d)
{
    return &d->settings;
}

void sim_disk_set_crash_mode(struct sim_disk *d, enum sim_crash_mode mode)
{
    d->crash_mode = mode;
}

/* ---- paths ---- */

struct path {
    char *text;
    const char *parts[SIM_PATH_PARTS_MAX];
    size_t count;
};

static void path_parse(struct path *p, const char *text)
{
    p->text = kb_strdup(text);
    p->count = 0;
    char *save = NULL;
    for (char *s = strtok_r(p->text, "/", &save); s != NULL; s = strtok_r(NULL, "/", &save)) {
        if (strcmp(s, ".") == 0)
            continue;
        KB_ASSERT(p->count < SIM_PATH_PARTS_MAX);
        p->parts[p->count++] = s;
    }
}

static struct sim_inode *walk(struct sim_disk *d, const struct path *p, size_t count, bool durable)
{
    struct sim_inode *at = d->root;
    for (size_t i = 0; i < count && at != NULL; i++)
        at = at->dir ? sim_names_get(durable ? &at->durable_names : &at->names, p->parts[i]) : NULL;
    return at;
}

static struct sim_inode *find_in(struct sim_disk *d, const char *text, bool durable)
{
    struct path p;
    path_parse(&p, text);
    struct sim_inode *found = walk(d, &p, p.count, durable);
    (void)kb_free(p.text);
    return found;
}

struct sim_inode *sim_disk_find(struct sim_disk *d, const char *path)
{
    return find_in(d, path, false);
}

/* The directory that holds the last part, or NULL; path "/" has none. */
static struct sim_inode *parent(struct sim_disk *d, const struct path *p)
{
    if (p->count == 0)
        return NULL;
    struct sim_inode *dir = walk(d, p, p->count - 1, false);
    return dir != NULL && dir->dir ? dir : NULL;
}

/* ---- space ---- */

static uint64_t charge_of(const struct sim_inode *i)
{
    return i->now.size > i->reserved ? i->now.size : i->reserved;
}

static bool fits(const struct sim_disk *d, uint64_t more)
{
    return d->settings.capacity_bytes == 0 || d->used_bytes + more <= d->settings.capacity_bytes;
}

uint64_t sim_disk_free_bytes(const struct sim_disk *d)
{
    if (d->settings.capacity_bytes == 0)
        return UINT64_C(1) << 40;
    return d->used_bytes < d->settings.capacity_bytes ? d->settings.capacity_bytes - d->used_bytes
                                                      : 0;
}

uint64_t sim_disk_used_bytes(const struct sim_disk *d)
{
    return d->used_bytes;
}

uint64_t sim_disk_sync_count(const struct sim_disk *d)
{
    return d->syncs;
}

/* A visible name comes or goes: its space is charged while any name shows it. */
static void links_change(struct sim_disk *d, struct sim_inode *i, int by)
{
    if (by > 0 && i->links++ == 0)
        d->used_bytes += charge_of(i);
    if (by < 0 && --i->links == 0)
        d->used_bytes -= charge_of(i);
}

static void recharge(struct sim_disk *d, struct sim_inode *i, uint64_t before)
{
    if (i->links > 0)
        d->used_bytes = d->used_bytes - before + charge_of(i);
}

/* ---- names ---- */

static void op_add(struct sim_disk *d, struct dir_op op)
{
    kb_array_reserve(d->ops, d->op_count, d->op_capacity);
    op.dir = sim_inode_ref(op.dir);
    op.inode = op.inode != NULL ? sim_inode_ref(op.inode) : NULL;
    op.from_dir = op.from_dir != NULL ? sim_inode_ref(op.from_dir) : NULL;
    op.name = kb_strdup(op.name);
    op.from_name = op.from_name != NULL ? kb_strdup(op.from_name) : NULL;
    d->ops[d->op_count++] = op;
}

static void name_set(struct sim_disk *d, struct sim_inode *dir, const char *name,
                     struct sim_inode *i)
{
    links_change(d, i, 1);
    struct sim_inode *old = sim_names_put(&dir->names, name, sim_inode_ref(i));
    if (old != NULL) {
        links_change(d, old, -1);
        (void)sim_inode_unref(d, old);
    }
}

static void name_drop(struct sim_disk *d, struct sim_inode *dir, const char *name)
{
    struct sim_inode *old = sim_names_remove(&dir->names, name);
    KB_ASSERT(old != NULL);
    links_change(d, old, -1);
    (void)sim_inode_unref(d, old);
}

static void durable_set(struct sim_disk *d, struct sim_inode *dir, const char *name,
                        struct sim_inode *i)
{
    (void)sim_inode_unref(d, sim_names_put(&dir->durable_names, name, sim_inode_ref(i)));
}

static void durable_drop(struct sim_disk *d, struct sim_inode *dir, const char *name)
{
    (void)sim_inode_unref(d, sim_names_remove(&dir->durable_names, name));
}

/* Carry one change over to the durable image. */
static void op_apply(struct sim_disk *d, const struct dir_op *op)
{
    switch (op->kind) {
    case DIR_LINK:
        durable_set(d, op->dir, op->name, op->inode);
        break;
    case DIR_UNLINK:
        durable_drop(d, op->dir, op->name);
        break;
    case DIR_RENAME:
        if (sim_names_get(&op->from_dir->durable_names, op->from_name) == op->inode)
            durable_drop(d, op->from_dir, op->from_name);
        durable_set(d, op->dir, op->name, op->inode);
        break;
    }
}

int sim_disk_open(struct sim_disk *d, const char *path, int flags, int64_t wall_ms,
                  struct sim_inode **ret)
{
    struct path p;
    int r = 0;
    path_parse(&p, path);
    struct sim_inode *dir = parent(d, &p);
    struct sim_inode *i = walk(d, &p, p.count, false);
    if (i != NULL && i->dir) {
        r = -KB_EPERM;
    } else if (i != NULL) {
        if ((flags & KB_FS_CREATE) != 0 && (flags & KB_FS_EXCLUSIVE) != 0)
            r = -KB_EEXIST;
        else if ((flags & KB_FS_TRUNCATE) != 0)
            r = sim_inode_truncate(d, i, 0, wall_ms);
    } else if ((flags & KB_FS_CREATE) == 0 || dir == NULL) {
        r = -KB_ENOENT;
    } else if (!fits(d, 1)) {
        r = -KB_ENOSPC;
    } else {
        const char *name = p.parts[p.count - 1];
        i = sim_inode_new(++d->inode_ids, false);
        i->modified_wall_ms = wall_ms;
        name_set(d, dir, name, i);
        op_add(d, (struct dir_op){.kind = DIR_LINK, .dir = dir, .name = (char *)name, .inode = i});
        (void)sim_inode_unref(d, i);
    }
    (void)kb_free(p.text);
    if (r == 0)
        *ret = i;
    return r;
}

int sim_disk_mkdir(struct sim_disk *d, const char *path, int64_t wall_ms)
{
    struct path p;
    int r = 0;
    path_parse(&p, path);
    struct sim_inode *dir = parent(d, &p);
    if (walk(d, &p, p.count, false) != NULL) {
        r = -KB_EEXIST;
    } else if (dir == NULL) {
        r = -KB_ENOENT;
    } else if (!fits(d, 1)) {
        r = -KB_ENOSPC;
    } else {
        const char *name = p.parts[p.count - 1];
        struct sim_inode *i = sim_inode_new(++d->inode_ids, true);
        i->modified_wall_ms = wall_ms;
        name_set(d, dir, name, i);
        op_add(d, (struct dir_op){.kind = DIR_LINK, .dir = dir, .name = (char *)name, .inode = i});
        (void)sim_inode_unref(d, i);
    }
    (void)kb_free(p.text);
    return r;
}

static int remove_name(struct sim_disk *d, const char *path, bool want_dir)
{
    struct path p;
    int r = 0;
    path_parse(&p, path);
    struct sim_inode *dir = parent(d, &p);
    struct sim_inode *i = walk(d, &p, p.count, false);
    if (dir == NULL || i == NULL) {
        r = -KB_ENOENT;
    } else if (i->dir != want_dir) {
        r = -KB_EPERM;
    } else if (want_dir && i->names.count > 0) {
        r = -KB_EEXIST;
    } else {
        const char *name = p.parts[p.count - 1];
        op_add(d, (struct dir_op){.kind = DIR_UNLINK, .dir = dir, .name = (char *)name});
        name_drop(d, dir, name);
    }
    (void)kb_free(p.text);
    return r;
}

int sim_disk_unlink(struct sim_disk *d, const char *path)
{
    return remove_name(d, path, false);
}

int sim_disk_rmdir(struct sim_disk *d, const char *path)
{
    return remove_name(d, path, true);
}

int sim_disk_rename(struct sim_disk *d, const char *from, const char *to)
{
    struct path pf, pt;
    int r = 0;
    path_parse(&pf, from);
    path_parse(&pt, to);
    struct sim_inode *from_dir = parent(d, &pf);
    struct sim_inode *to_dir = parent(d, &pt);
    struct sim_inode *i = walk(d, &pf, pf.count, false);
    struct sim_inode *old = walk(d, &pt, pt.count, false);
    if (from_dir == NULL || i == NULL || to_dir == NULL) {
        r = -KB_ENOENT;
    } else if (old != NULL && (old->dir != i->dir || (old->dir && old->names.count > 0))) {
        r = -KB_EEXIST;
    } else if (old != i) {
        const char *from_name = pf.parts[pf.count - 1];
        const char *name = pt.parts[pt.count - 1];
        op_add(d, (struct dir_op){.kind = DIR_RENAME,
                                  .dir = to_dir,
                                  .name = (char *)name,
                                  .inode = i,
                                  .from_dir = from_dir,
                                  .from_name = (char *)from_name});
        name_set(d, to_dir, name, i);
        name_drop(d, from_dir, from_name);
    }
    (void)kb_free(pf.text);
    (void)kb_free(pt.text);
    return r;
}

/* A rename made durable through its new directory takes the creation it rests on with it. */
static bool op_rests_on(const struct dir_op *earlier, const struct dir_op *rename)
{
    return rename->kind == DIR_RENAME && earlier->dir == rename->from_dir &&
           strcmp(earlier->name, rename->from_name) == 0;
}

static void commit_dir(struct sim_disk *d, struct sim_inode *dir)
{
    for (size_t i = 0; i < d->op_count; i++) {
        struct dir_op *op = &d->ops[i];
        if (op->dir == NULL || (op->dir != dir && op->from_dir != dir))
            continue;
        for (size_t j = 0; j < i; j++) {
            if (d->ops[j].dir != NULL && op_rests_on(&d->ops[j], op))
                op_release(d, &d->ops[j]);
        }
        op_apply(d, op);
        op_release(d, op);
    }
    size_t kept = 0;
    for (size_t i = 0; i < d->op_count; i++) {
        if (d->ops[i].dir != NULL)
            d->ops[kept++] = d->ops[i];
    }
    d->op_count = kept;
}

int sim_disk_sync_dir(struct sim_disk *d, const char *path)
{
    struct sim_inode *dir = sim_disk_find(d, path);
    if (dir == NULL || !dir->dir)
        return -KB_ENOENT;
    if (fails(d, &d->settings.sync_fail_next, d->settings.sync_eio_ppm))
        return -KB_EIO;
    commit_dir(d, dir);
    return 0;
}

/* ---- bytes ---- */

struct sim_inode *sim_inode_ref(struct sim_inode *i)
{
    i->refs++;
    return i;
}

struct sim_inode *sim_inode_unref(struct sim_disk *d, struct sim_inode *i)
{
    if (i == NULL || --i->refs > 0)
        return NULL;
    struct sim_inode *child;
    while ((child = sim_names_pop(&i->names)) != NULL) {
        links_change(d, child, -1);
        (void)sim_inode_unref(d, child);
    }
    while ((child = sim_names_pop(&i->durable_names)) != NULL)
        (void)sim_inode_unref(d, child);
    sim_inode_release(i);
    return NULL;
}

bool sim_inode_is_dir(const struct sim_inode *i)
{
    return i->dir;
}

uint64_t sim_inode_size(const struct sim_inode *i)
{
    return i->now.size;
}

int64_t sim_inode_modified(const struct sim_inode *i)
{
    return i->modified_wall_ms;
}

int64_t sim_inode_read(struct sim_disk *d, struct sim_inode *i, void *ret, size_t size,
                       uint64_t position)
{
    if (fails(d, &d->settings.read_fail_next, d->settings.read_eio_ppm))
        return -KB_EIO;
    if (position >= i->now.size)
        return 0;
    if (size > i->now.size - position)
        size = i->now.size - position;
    memcpy(ret, i->now.data + position, size);
    return (int64_t)size;
}

int sim_inode_write(struct sim_disk *d, struct sim_inode *i, const void *data, size_t size,
                    uint64_t position, int64_t wall_ms)
{
    uint64_t before = charge_of(i);
    uint64_t end = position + size;
    int r = 0;
    if (fails(d, &d->settings.write_fail_next, d->settings.write_eio_ppm))
        r = -KB_EIO;
    else if (end > before && !fits(d, end - before))
        r = -KB_ENOSPC;
    if (r < 0) { /* an unknown part is written all the same */
        size = (size_t)kb_prng_below(&d->prng, size + 1);
        if (position + size > before && !fits(d, position + size - before))
            size = before > position ? (size_t)(before - position) : 0;
    }
    if (size > 0)
        sim_inode_put(i, data, size, position);
    i->modified_wall_ms = wall_ms;
    recharge(d, i, before);
    return r;
}

int sim_inode_truncate(struct sim_disk *d, struct sim_inode *i, uint64_t size, int64_t wall_ms)
{
    uint64_t before = charge_of(i);
    if (size > before && !fits(d, size - before))
        return -KB_ENOSPC;
    if (fails(d, &d->settings.write_fail_next, d->settings.write_eio_ppm))
        return -KB_EIO;
    sim_inode_resize(i, size);
    i->modified_wall_ms = wall_ms;
    if (i->reserved > size)
        i->reserved = size;
    recharge(d, i, before);
    return 0;
}

int sim_inode_allocate(struct sim_disk *d, struct sim_inode *i, uint64_t end)
{
    if (d->settings.no_allocate)
        return -KB_EUNSUPPORTED;
    uint64_t before = charge_of(i);
    if (end > before && !fits(d, end - before))
        return -KB_ENOSPC;
    if (end > i->reserved)
        i->reserved = end;
    recharge(d, i, before);
    return 0;
}

int sim_inode_sync(struct sim_disk *d, struct sim_inode *i)
{
    d->syncs++;
    if (fails(d, &d->settings.sync_fail_next, d->settings.sync_eio_ppm)) {
        sim_inode_sync_failed(i, &d->prng);
        return -KB_EIO;
    }
    sim_inode_make_durable(i);
    return 0;
}

void sim_inode_drop_cache(struct sim_disk *d, struct sim_inode *i)
{
    uint64_t before = charge_of(i);
    sim_inode_forget_lost(i);
    recharge(d, i, before);
}

/* ---- time ---- */

void sim_disk_stall(struct sim_disk *d, uint64_t duration_ms)
{
    uint64_t until = d->world->now_us + duration_ms * 1000;
    if (until > d->stalled_until_us)
        d->stalled_until_us = until;
}

uint64_t sim_disk_stalled_until_us(const struct sim_disk *d)
{
    return d->stalled_until_us > d->world->now_us ? d->stalled_until_us : 0;
}

static uint64_t call_us(struct sim_disk *d, uint32_t min, uint32_t max)
{
    uint64_t us = max > min ? kb_prng_range(&d->prng, min, max) : min;
    if (d->stalled_until_us > d->world->now_us)
        us += d->stalled_until_us - d->world->now_us;
    return us;
}

uint64_t sim_disk_write_us(struct sim_disk *d)
{
    return call_us(d, d->settings.write_us_min, d->settings.write_us_max);
}

uint64_t sim_disk_sync_us(struct sim_disk *d)
{
    return call_us(d, d->settings.sync_us_min, d->settings.sync_us_max);
}

uint64_t sim_disk_read_us(struct sim_disk *d)
{
    return call_us(d, d->settings.read_us_min, d->settings.read_us_max);
}

bool sim_disk_is_cold(struct sim_disk *d)
{
    return sim_disk_stalled_until_us(d) != 0 || chance(d, d->settings.cold_ppm);
}

/* ---- power cut ---- */

/* Visible names become the durable ones, all the way down; file contents settle as mode says. */
static void settle_tree(struct sim_disk *d, struct sim_inode *dir, enum sim_crash_mode mode)
{
    struct sim_inode *old;
    while ((old = sim_names_pop(&dir->names)) != NULL) {
        links_change(d, old, -1);
        (void)sim_inode_unref(d, old);
    }
    for (size_t n = 0; n < dir->durable_names.count; n++) {
        struct sim_name *name = &dir->durable_names.names[n];
        struct sim_inode *i = name->inode;
        if (i->dir) {
            settle_tree(d, i, mode);
        } else {
            sim_inode_settle(i, mode, &d->prng);
            i->reserved = 0;
        }
        name_set(d, dir, name->text, i);
    }
}

/* Keep, of each directory's pending changes, a prefix. */
static void settle_ops(struct sim_disk *d, enum sim_crash_mode mode)
{
    for (size_t i = 0; i < d->op_count; i++) {
        struct sim_inode *dir = d->ops[i].dir;
        if (dir->settle_ops == 0) { /* first of this directory: 1 = all lost, 2 = some, 3 = all */
            dir->settle_ops = mode == SIM_CRASH_DROP   ? 1
                              : mode == SIM_CRASH_KEEP ? 3
                                                       : 1 + (int)kb_prng_below(&d->prng, 3);
        }
        if (dir->settle_ops == 2 && kb_prng_below(&d->prng, 3) == 0)
            dir->settle_ops = 1;
        if (dir->settle_ops != 1)
            op_apply(d, &d->ops[i]);
    }
    for (size_t i = 0; i < d->op_count; i++)
        d->ops[i].dir->settle_ops = 0;
    ops_clear(d);
}

void sim_disk_crash(struct sim_disk *d, enum sim_crash_mode mode)
{
    settle_ops(d, mode);
    settle_tree(d, d->root, mode);
    d->stalled_until_us = 0;
}

void sim_disk_power_cut(struct sim_disk *d)
{
    sim_disk_crash(d, d->crash_mode);
}

/* ---- looking and meddling ---- */

int sim_disk_view(struct sim_disk *d, const char *path, bool durable, struct kb_view *ret)
{
    struct sim_inode *i = find_in(d, path, durable);
    if (i == NULL || i->dir)
        return -KB_ENOENT;
    const struct sim_image *image = durable ? &i->durable : &i->now;
    *ret = kb_view_of(image->data, image->size);
    return 0;
}

static int read_image(struct sim_disk *d, const char *path, bool durable, struct kb_buf *ret)
{
    struct kb_view view;
    int r = sim_disk_view(d, path, durable, &view);
    if (r < 0)
        return r;
    *ret = (struct kb_buf){0};
    kb_buf_append(ret, view.data, view.size);
    return 0;
}

int sim_disk_read(struct sim_disk *d, const char *path, struct kb_buf *ret)
{
    return read_image(d, path, false, ret);
}

int sim_disk_read_durable(struct sim_disk *d, const char *path, struct kb_buf *ret)
{
    return read_image(d, path, true, ret);
}

int sim_disk_list(struct sim_disk *d, const char *path, bool durable, kb_fs_list_fn *fn, void *arg)
{
    struct sim_inode *dir = find_in(d, path, durable);
    if (dir == NULL || !dir->dir)
        return -KB_ENOENT;
    /* By name and not by index: fn may remove what it is shown. */
    char *last = NULL;
    int r = 0;
    for (;;) {
        struct sim_names *names = durable ? &dir->durable_names : &dir->names;
        size_t n = last == NULL ? 0 : sim_names_after(names, last);
        if (n >= names->count || r != 0)
            break;
        (void)kb_free(last);
        last = kb_strdup(names->names[n].text);
        r = fn(arg, last, names->names[n].inode->dir ? KB_FS_DIR : KB_FS_FILE);
    }
    (void)kb_free(last);
    return r;
}

void sim_disk_put(struct sim_disk *d, const char *path, const void *data, size_t size)
{
    struct path p;
    path_parse(&p, path);
    KB_ASSERT(p.count > 0);
    struct kb_buf at = {0};
    for (size_t n = 0; n + 1 < p.count; n++) {
        kb_buf_printf(&at, "/%s", p.parts[n]);
        int r = sim_disk_mkdir(d, (const char *)at.data, 0);
        KB_ASSERT(r == 0 || r == -KB_EEXIST);
        commit_dir(d, walk(d, &p, n, false));
    }
    kb_buf_release(&at);
    struct sim_inode *i = NULL;
    int r = sim_disk_open(d, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, 0, &i);
    KB_ASSERT(r == 0);
    uint64_t before = charge_of(i);
    if (size > 0)
        sim_inode_put(i, data, size, 0);
    recharge(d, i, before);
    sim_inode_make_durable(i);
    commit_dir(d, parent(d, &p));
    (void)kb_free(p.text);
}

int sim_disk_flip_bit(struct sim_disk *d, const char *path, uint64_t position, unsigned bit)
{
    struct sim_inode *i = sim_disk_find(d, path);
    if (i == NULL || i->dir || position >= i->now.size)
        return -KB_ENOENT;
    i->now.data[position] ^= (uint8_t)(1U << (bit % 8));
    if (position < i->durable.size)
        i->durable.data[position] = i->now.data[position];
    return 0;
}

int sim_disk_remove(struct sim_disk *d, const char *path)
{
    struct path p;
    int r = sim_disk_unlink(d, path);
    if (r < 0)
        return r;
    path_parse(&p, path);
    commit_dir(d, parent(d, &p));
    (void)kb_free(p.text);
    return 0;
}

void sim_disk_lock_elsewhere(struct sim_disk *d, const char *path)
{
    d->foreign_lock = kb_free(d->foreign_lock);
    if (path != NULL)
        d->foreign_lock = kb_strdup(path);
}

bool sim_disk_is_locked_elsewhere(const struct sim_disk *d, const char *path)
{
    return d->foreign_lock != NULL && strcmp(d->foreign_lock, path) == 0;
}

void sim_disk_wipe(struct sim_disk *d)
{
    ops_clear(d);
    (void)sim_inode_unref(d, d->root);
    d->root = sim_inode_new(++d->inode_ids, true);
    KB_ASSERT(d->used_bytes == 0);
}

struct sim_disk_copy {
    struct sim_inode *root; /* durable images only */
};

static struct sim_inode *copy_tree(struct sim_disk *d, const struct sim_inode *from)
{
    struct sim_inode *to = sim_inode_new(++d->inode_ids, from->dir);
    to->modified_wall_ms = from->modified_wall_ms;
    if (!from->dir) {
        if (from->durable.size > 0)
            sim_inode_put(to, from->durable.data, from->durable.size, 0);
        sim_inode_make_durable(to);
    }
    for (size_t n = 0; n < from->durable_names.count; n++) {
        const struct sim_name *name = &from->durable_names.names[n];
        (void)sim_names_put(&to->durable_names, name->text, copy_tree(d, name->inode));
    }
    return to;
}

struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *d)
{
    struct sim_disk_copy *copy = kb_new(struct sim_disk_copy);
    copy->root = copy_tree(d, d->root);
    return copy;
}

void sim_disk_restore(struct sim_disk *d, const struct sim_disk_copy *copy)
{
    sim_disk_wipe(d);
    (void)sim_inode_unref(d, d->root);
    d->root = copy_tree(d, copy->root);
    settle_tree(d, d->root, SIM_CRASH_KEEP);
}

/* The copy's inodes have no visible names and so no charge on any disk. */
struct sim_disk_copy *sim_disk_copy_free(struct sim_disk_copy *copy)
{
    if (copy == NULL)
        return NULL;
    (void)sim_inode_unref(NULL, copy->root);
    free(copy);
    return NULL;
}
