#include "tests/sim/sim_disk.h"

#include <string.h>

#include "tests/sim/sim_disk_private.h"

/* Names, space and faults; the bytes of one file are sim_image.c's. */

static bool chance(struct sim_disk *d, uint32_t ppm)
{
    return ppm != 0 && kb_prng_below(&d->prng, 1000000) < ppm;
}

static bool failed(struct sim_disk *d)
{
    d->failures++;
    if (d->failed_us == 0)
        d->failed_us = d->world->now_us;
    return true;
}

static bool fails(struct sim_disk *d, uint32_t *next, uint32_t ppm)
{
    if (d->settings.dead)
        return failed(d);
    if (*next > 0) {
        (*next)--;
        return failed(d);
    }
    return chance(d, ppm) && failed(d);
}

/* Changes of names: only a dead disk refuses them. */
static bool names_fail(struct sim_disk *d)
{
    return d->settings.dead && failed(d);
}

uint64_t sim_disk_failures(const struct sim_disk *d)
{
    return d->failures;
}

uint64_t sim_disk_failed_us(const struct sim_disk *d)
{
    return d->failed_us;
}

void sim_disk_forget_failures(struct sim_disk *d)
{
    d->failed_us = 0;
}

bool sim_disk_is_failing(const struct sim_disk *d)
{
    const struct sim_disk_settings *s = &d->settings;
    return s->dead || s->write_eio_ppm != 0 || s->sync_eio_ppm != 0 || s->write_fail_next != 0 ||
           s->sync_fail_next != 0;
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

static void op_release(struct sim_disk *d, struct sim_dir_op *op)
{
    (void)sim_inode_unref(d, op->dir);
    (void)sim_inode_unref(d, op->inode);
    (void)sim_inode_unref(d, op->from_dir);
    (void)kb_free(op->name);
    (void)kb_free(op->from_name);
    *op = (struct sim_dir_op){0};
}

void sim_disk_ops_clear(struct sim_disk *d)
{
    for (size_t i = 0; i < d->op_count; i++)
        op_release(d, &d->ops[i]);
    d->op_count = 0;
}

struct sim_disk *sim_disk_free(struct sim_disk *d)
{
    if (d == NULL)
        return NULL;
    sim_disk_ops_clear(d);
    free(d->ops);
    free(d->foreign_lock);
    (void)sim_inode_unref(d, d->root);
    free(d);
    return NULL;
}

void sim_disk_set_witness(struct sim_disk *d, sim_disk_witness_fn *fn, void *arg)
{
    d->witness = fn;
    d->witness_arg = arg;
}

static void tell(struct sim_disk *d, const struct sim_disk_change *change)
{
    if (d->witness != NULL)
        d->witness(d->witness_arg, change);
}

static void tell_of(struct sim_disk *d, enum sim_disk_change_kind kind, const struct sim_inode *i)
{
    tell(d, &(struct sim_disk_change){.kind = kind, .inode = i->id, .dir = i->dir});
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

/* Cut text into the parts of a path, which point into it. */
static void split_path(struct sim_path *p, char *text)
{
    p->text = text;
    p->count = 0;
    for (char *s = text; *s != '\0';) {
        char *end = strchrnul(s, '/');
        bool last = *end == '\0';
        *end = '\0';
        if (end != s && strcmp(s, ".") != 0) {
            KB_ASSERT(p->count < SIM_PATH_PARTS_MAX);
            p->parts[p->count++] = s;
        }
        s = last ? end : end + 1;
    }
}

void sim_path_parse(struct sim_path *p, const char *text)
{
    split_path(p, kb_strdup(text));
}

struct sim_inode *sim_disk_walk(struct sim_disk *d, const struct sim_path *p, size_t count,
                                bool durable)
{
    struct sim_inode *at = d->root;
    for (size_t i = 0; i < count && at != NULL; i++)
        at = at->dir ? sim_names_get(durable ? &at->durable_names : &at->names, p->parts[i]) : NULL;
    return at;
}

struct sim_inode *sim_disk_find_in(struct sim_disk *d, const char *text, bool durable)
{
    struct sim_path p;
    char own[512];
    size_t size = strlen(text) + 1;
    KB_ASSERT(size <= sizeof(own));
    memcpy(own, text, size);
    split_path(&p, own);
    return sim_disk_walk(d, &p, p.count, durable);
}

struct sim_inode *sim_disk_find(struct sim_disk *d, const char *path)
{
    return sim_disk_find_in(d, path, false);
}

/* The directory that holds the last part, or NULL; path "/" has none. */
struct sim_inode *sim_disk_parent(struct sim_disk *d, const struct sim_path *p)
{
    if (p->count == 0)
        return NULL;
    struct sim_inode *dir = sim_disk_walk(d, p, p->count - 1, false);
    return dir != NULL && dir->dir ? dir : NULL;
}

/* ---- space ---- */

uint64_t sim_inode_charge(const struct sim_inode *i)
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
void sim_disk_links_change(struct sim_disk *d, struct sim_inode *i, int by)
{
    if (by > 0 && i->links++ == 0)
        d->used_bytes += sim_inode_charge(i);
    if (by < 0 && --i->links == 0)
        d->used_bytes -= sim_inode_charge(i);
}

void sim_disk_recharge(struct sim_disk *d, struct sim_inode *i, uint64_t before)
{
    if (i->links > 0)
        d->used_bytes = d->used_bytes - before + sim_inode_charge(i);
}

/* ---- names ---- */

static void op_add(struct sim_disk *d, struct sim_dir_op op)
{
    kb_array_reserve(d->ops, d->op_count, d->op_capacity);
    op.dir = sim_inode_ref(op.dir);
    op.inode = op.inode != NULL ? sim_inode_ref(op.inode) : NULL;
    op.from_dir = op.from_dir != NULL ? sim_inode_ref(op.from_dir) : NULL;
    op.name = kb_strdup(op.name);
    op.from_name = op.from_name != NULL ? kb_strdup(op.from_name) : NULL;
    d->ops[d->op_count++] = op;
    static const enum sim_disk_change_kind kinds[] = {[SIM_DIR_LINK] = SIM_CHANGE_LINK,
                                                      [SIM_DIR_UNLINK] = SIM_CHANGE_UNLINK,
                                                      [SIM_DIR_RENAME] = SIM_CHANGE_RENAME};
    tell(d, &(struct sim_disk_change){.kind = kinds[op.kind],
                                      .inode = op.inode != NULL ? op.inode->id : 0,
                                      .dir = op.inode != NULL && op.inode->dir,
                                      .in_dir = op.dir->id,
                                      .name = op.name,
                                      .from_dir = op.from_dir != NULL ? op.from_dir->id : 0,
                                      .from_name = op.from_name});
}

void sim_disk_name_set(struct sim_disk *d, struct sim_inode *dir, const char *name,
                       struct sim_inode *i)
{
    sim_disk_links_change(d, i, 1);
    struct sim_inode *old = sim_names_put(&dir->names, name, sim_inode_ref(i));
    if (old != NULL) {
        sim_disk_links_change(d, old, -1);
        (void)sim_inode_unref(d, old);
    }
}

static void name_drop(struct sim_disk *d, struct sim_inode *dir, const char *name)
{
    struct sim_inode *old = sim_names_remove(&dir->names, name);
    KB_ASSERT(old != NULL);
    sim_disk_links_change(d, old, -1);
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
void sim_disk_op_apply(struct sim_disk *d, const struct sim_dir_op *op)
{
    switch (op->kind) {
    case SIM_DIR_LINK:
        durable_set(d, op->dir, op->name, op->inode);
        break;
    case SIM_DIR_UNLINK:
        durable_drop(d, op->dir, op->name);
        break;
    case SIM_DIR_RENAME:
        if (sim_names_get(&op->from_dir->durable_names, op->from_name) == op->inode)
            durable_drop(d, op->from_dir, op->from_name);
        durable_set(d, op->dir, op->name, op->inode);
        break;
    }
}

int sim_disk_open(struct sim_disk *d, const char *path, int flags, int64_t wall_ms,
                  struct sim_inode **ret)
{
    struct sim_path p;
    int r = 0;
    sim_path_parse(&p, path);
    struct sim_inode *dir = sim_disk_parent(d, &p);
    struct sim_inode *i = sim_disk_walk(d, &p, p.count, false);
    if (i != NULL && i->dir) {
        r = -KB_EPERM;
    } else if (i != NULL) {
        if ((flags & KB_FS_CREATE) != 0 && (flags & KB_FS_EXCLUSIVE) != 0)
            r = -KB_EEXIST;
        else if ((flags & KB_FS_TRUNCATE) != 0)
            r = sim_inode_truncate(d, i, 0, wall_ms);
    } else if ((flags & KB_FS_CREATE) == 0 || dir == NULL) {
        r = -KB_ENOENT;
    } else if (names_fail(d)) {
        r = -KB_EIO;
    } else if (!fits(d, 1)) {
        r = -KB_ENOSPC;
    } else {
        const char *name = p.parts[p.count - 1];
        i = sim_inode_new(++d->inode_ids, false);
        i->modified_wall_ms = wall_ms;
        sim_disk_name_set(d, dir, name, i);
        op_add(d, (struct sim_dir_op){
                      .kind = SIM_DIR_LINK, .dir = dir, .name = (char *)name, .inode = i});
        (void)sim_inode_unref(d, i);
    }
    (void)kb_free(p.text);
    if (r == 0)
        *ret = i;
    return r;
}

int sim_disk_mkdir(struct sim_disk *d, const char *path, int64_t wall_ms)
{
    struct sim_path p;
    int r = 0;
    sim_path_parse(&p, path);
    struct sim_inode *dir = sim_disk_parent(d, &p);
    if (sim_disk_walk(d, &p, p.count, false) != NULL) {
        r = -KB_EEXIST;
    } else if (dir == NULL) {
        r = -KB_ENOENT;
    } else if (names_fail(d)) {
        r = -KB_EIO;
    } else if (!fits(d, 1)) {
        r = -KB_ENOSPC;
    } else {
        const char *name = p.parts[p.count - 1];
        struct sim_inode *i = sim_inode_new(++d->inode_ids, true);
        i->modified_wall_ms = wall_ms;
        sim_disk_name_set(d, dir, name, i);
        op_add(d, (struct sim_dir_op){
                      .kind = SIM_DIR_LINK, .dir = dir, .name = (char *)name, .inode = i});
        (void)sim_inode_unref(d, i);
    }
    (void)kb_free(p.text);
    return r;
}

static int remove_name(struct sim_disk *d, const char *path, bool want_dir)
{
    struct sim_path p;
    int r = 0;
    sim_path_parse(&p, path);
    struct sim_inode *dir = sim_disk_parent(d, &p);
    struct sim_inode *i = sim_disk_walk(d, &p, p.count, false);
    if (dir == NULL || i == NULL) {
        r = -KB_ENOENT;
    } else if (i->dir != want_dir) {
        r = -KB_EPERM;
    } else if (want_dir && i->names.count > 0) {
        r = -KB_EEXIST;
    } else if (names_fail(d)) {
        r = -KB_EIO;
    } else {
        const char *name = p.parts[p.count - 1];
        op_add(d, (struct sim_dir_op){.kind = SIM_DIR_UNLINK, .dir = dir, .name = (char *)name});
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
    struct sim_path pf, pt;
    int r = 0;
    sim_path_parse(&pf, from);
    sim_path_parse(&pt, to);
    struct sim_inode *from_dir = sim_disk_parent(d, &pf);
    struct sim_inode *to_dir = sim_disk_parent(d, &pt);
    struct sim_inode *i = sim_disk_walk(d, &pf, pf.count, false);
    struct sim_inode *old = sim_disk_walk(d, &pt, pt.count, false);
    if (from_dir == NULL || i == NULL || to_dir == NULL) {
        r = -KB_ENOENT;
    } else if (old != NULL && (old->dir != i->dir || (old->dir && old->names.count > 0))) {
        r = -KB_EEXIST;
    } else if (names_fail(d)) {
        r = -KB_EIO;
    } else if (old != i) {
        const char *from_name = pf.parts[pf.count - 1];
        const char *name = pt.parts[pt.count - 1];
        op_add(d, (struct sim_dir_op){.kind = SIM_DIR_RENAME,
                                      .dir = to_dir,
                                      .name = (char *)name,
                                      .inode = i,
                                      .from_dir = from_dir,
                                      .from_name = (char *)from_name});
        sim_disk_name_set(d, to_dir, name, i);
        name_drop(d, from_dir, from_name);
    }
    (void)kb_free(pf.text);
    (void)kb_free(pt.text);
    return r;
}

int sim_disk_link(struct sim_disk *d, const char *from, const char *to)
{
    struct sim_path pf, pt;
    int r = 0;
    sim_path_parse(&pf, from);
    sim_path_parse(&pt, to);
    struct sim_inode *dir = sim_disk_parent(d, &pt);
    struct sim_inode *i = sim_disk_walk(d, &pf, pf.count, false);
    if (i == NULL || dir == NULL) {
        r = -KB_ENOENT;
    } else if (i->dir) {
        r = -KB_EPERM;
    } else if (sim_disk_walk(d, &pt, pt.count, false) != NULL) {
        r = -KB_EEXIST;
    } else if (names_fail(d)) {
        r = -KB_EIO;
    } else {
        const char *name = pt.parts[pt.count - 1];
        sim_disk_name_set(d, dir, name, i);
        op_add(d, (struct sim_dir_op){
                      .kind = SIM_DIR_LINK, .dir = dir, .name = (char *)name, .inode = i});
    }
    (void)kb_free(pf.text);
    (void)kb_free(pt.text);
    return r;
}

/* A rename made durable through its new directory takes the creation it rests on with it. */
static bool op_rests_on(const struct sim_dir_op *earlier, const struct sim_dir_op *rename)
{
    return rename->kind == SIM_DIR_RENAME && earlier->dir == rename->from_dir &&
           strcmp(earlier->name, rename->from_name) == 0;
}

void sim_disk_commit_dir(struct sim_disk *d, struct sim_inode *dir)
{
    for (size_t i = 0; i < d->op_count; i++) {
        struct sim_dir_op *op = &d->ops[i];
        if (op->dir == NULL || (op->dir != dir && op->from_dir != dir))
            continue;
        for (size_t j = 0; j < i; j++) {
            if (d->ops[j].dir != NULL && op_rests_on(&d->ops[j], op))
                op_release(d, &d->ops[j]);
        }
        sim_disk_op_apply(d, op);
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
    d->syncs++;
    if (fails(d, &d->settings.sync_fail_next, d->settings.sync_eio_ppm))
        return -KB_EIO;
    sim_disk_commit_dir(d, dir);
    tell_of(d, SIM_CHANGE_SYNC_DIR, dir);
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
        sim_disk_links_change(d, child, -1);
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
    if (i->rot_count > 0)
        sim_inode_rot_read(i, ret, size, position);
    return (int64_t)size;
}

bool sim_inode_is_hidden(const struct sim_inode *i, uint64_t position, size_t size)
{
    return i->rot_count > 0 && sim_inode_rot_hidden(i, position, size);
}

int sim_inode_write(struct sim_disk *d, struct sim_inode *i, const void *data, size_t size,
                    uint64_t position, int64_t wall_ms)
{
    uint64_t before = sim_inode_charge(i);
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
    tell(d, &(struct sim_disk_change){.kind = SIM_CHANGE_WRITE,
                                      .inode = i->id,
                                      .position = position,
                                      .data = data,
                                      .size = size});
    i->modified_wall_ms = wall_ms;
    sim_disk_recharge(d, i, before);
    return r;
}

int sim_inode_truncate(struct sim_disk *d, struct sim_inode *i, uint64_t size, int64_t wall_ms)
{
    uint64_t before = sim_inode_charge(i);
    if (size > before && !fits(d, size - before))
        return -KB_ENOSPC;
    if (fails(d, &d->settings.write_fail_next, d->settings.write_eio_ppm))
        return -KB_EIO;
    sim_inode_resize(i, size);
    tell(d, &(struct sim_disk_change){.kind = SIM_CHANGE_SIZE, .inode = i->id, .size = size});
    i->modified_wall_ms = wall_ms;
    if (i->reserved > size)
        i->reserved = size;
    sim_disk_recharge(d, i, before);
    return 0;
}

int sim_inode_allocate(struct sim_disk *d, struct sim_inode *i, uint64_t end)
{
    if (names_fail(d))
        return -KB_EIO;
    if (d->settings.no_allocate)
        return -KB_EUNSUPPORTED;
    uint64_t before = sim_inode_charge(i);
    if (end > before && !fits(d, end - before))
        return -KB_ENOSPC;
    if (end > i->reserved)
        i->reserved = end;
    sim_disk_recharge(d, i, before);
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
    tell_of(d, SIM_CHANGE_SYNC, i);
    return 0;
}

void sim_inode_drop_cache(struct sim_disk *d, struct sim_inode *i)
{
    uint64_t before = sim_inode_charge(i);
    sim_inode_forget_lost(i);
    sim_inode_rot_uncache(i);
    sim_disk_recharge(d, i, before);
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

static uint64_t call_us(struct sim_disk *d, uint64_t in_us, uint32_t min, uint32_t max)
{
    uint64_t us = max > min ? kb_prng_range(&d->prng, min, max) : min;
    uint64_t from_us = d->world->now_us + in_us;
    if (d->stalled_until_us > from_us)
        us += d->stalled_until_us - from_us;
    return us;
}

uint64_t sim_disk_write_us(struct sim_disk *d, uint64_t in_us)
{
    return call_us(d, in_us, d->settings.write_us_min, d->settings.write_us_max);
}

uint64_t sim_disk_sync_us(struct sim_disk *d, uint64_t in_us)
{
    return call_us(d, in_us, d->settings.sync_us_min, d->settings.sync_us_max);
}

uint64_t sim_disk_read_us(struct sim_disk *d, uint64_t in_us)
{
    return call_us(d, in_us, d->settings.read_us_min, d->settings.read_us_max);
}

bool sim_disk_is_cold(struct sim_disk *d)
{
    return sim_disk_stalled_until_us(d) != 0 || chance(d, d->settings.cold_ppm);
}
