#include "tests/crash/crash.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/prng.h"

/* Names of one directory. */
struct names {
    struct {
        const char *text; /* of the trace */
        uint64_t inode;
    } * entries;
    size_t count, capacity;
};

struct node {
    uint64_t id;
    bool dir;
    struct kb_buf durable;
    struct names names;                  /* durable ones */
    const struct crash_change **pending; /* since the last sync */
    size_t pending_count, pending_capacity;
    struct crash_images images;
    bool fresh; /* images are those of pending */
    /* One choice: of a file an image, of a directory how many changes are kept. */
    size_t choice, choices;
    struct names now; /* scratch: names as chosen */
};

struct walk {
    const struct crash_trace *trace;
    const struct crash_limits *limits;
    crash_visit_fn *fn;
    void *arg;
    struct crash_counts *counts;
    struct sim_world *world;
    struct sim_env *env;
    struct node **nodes;
    size_t node_count, node_capacity;
    uint64_t *seen; /* hashes shown, open addressing */
    size_t seen_count, seen_capacity;
    struct kb_prng prng;
    const void *promise;
    size_t prefix;
};

/* ---- names ---- */

static size_t names_find(const struct names *n, const char *text)
{
    size_t i = 0;
    while (i < n->count && strcmp(n->entries[i].text, text) != 0)
        i++;
    return i;
}

static void names_set(struct names *n, const char *text, uint64_t inode)
{
    size_t i = names_find(n, text);
    if (i == n->count) {
        kb_array_reserve(n->entries, n->count, n->capacity);
        n->count++;
    }
    n->entries[i].text = text;
    n->entries[i].inode = inode;
}

static void names_drop(struct names *n, const char *text)
{
    size_t i = names_find(n, text);
    if (i < n->count)
        n->entries[i] = n->entries[--n->count];
}

static void names_copy(struct names *to, const struct names *from)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->entries[i].text, from->entries[i].inode);
}

/* ---- nodes ---- */

static struct node *node_of(struct walk *w, uint64_t id)
{
    for (size_t i = 0; i < w->node_count; i++)
        if (w->nodes[i]->id == id)
            return w->nodes[i];
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(w->nodes, w->node_count, w->node_capacity);
    struct node *n = kb_new(struct node);
    n->id = id;
    w->nodes[w->node_count++] = n;
    return n;
}

static void pend(struct node *n, const struct crash_change *c)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(n->pending, n->pending_count, n->pending_capacity);
    n->pending[n->pending_count++] = c;
    n->fresh = false;
}

static void name_apply(struct walk *w, const struct crash_change *c, bool durable)
{
    struct node *dir = node_of(w, c->in_dir);
    struct names *names = durable ? &dir->names : &dir->now;
    if (c->kind == SIM_CHANGE_UNLINK) {
        names_drop(names, c->name);
        return;
    }
    if (c->kind == SIM_CHANGE_RENAME) {
        struct node *from = node_of(w, c->from_dir);
        struct names *old = durable ? &from->names : &from->now;
        size_t i = names_find(old, c->from_name);
        if (i < old->count && old->entries[i].inode == c->inode)
            names_drop(old, c->from_name);
    }
    names_set(names, c->name, c->inode);
}

static void file_apply(struct kb_buf *b, const struct crash_change *c)
{
    size_t size = c->kind == SIM_CHANGE_SIZE        ? c->size
                  : c->position + c->size > b->size ? c->position + c->size
                                                    : b->size;
    if (size > b->size) {
        kb_buf_reserve(b, size - b->size);
        memset(b->data + b->size, 0, size - b->size);
    }
    b->size = size;
    if (c->kind == SIM_CHANGE_WRITE && c->size != 0)
        memcpy(b->data + c->position, c->data, c->size);
}

static void take(struct walk *w, const struct crash_change *c)
{
    struct node *n = NULL;
    switch (c->kind) {
    case SIM_CHANGE_WRITE:
    case SIM_CHANGE_SIZE:
        pend(node_of(w, c->inode), c);
        return;
    case SIM_CHANGE_LINK:
        node_of(w, c->inode)->dir = c->dir;
        pend(node_of(w, c->in_dir), c);
        return;
    case SIM_CHANGE_UNLINK:
    case SIM_CHANGE_RENAME:
        pend(node_of(w, c->in_dir), c);
        return;
    case SIM_CHANGE_SYNC:
        n = node_of(w, c->inode);
        for (size_t i = 0; i < n->pending_count; i++)
            file_apply(&n->durable, n->pending[i]);
        n->pending_count = 0;
        n->fresh = false;
        return;
    case SIM_CHANGE_SYNC_DIR:
        n = node_of(w, c->inode);
        for (size_t i = 0; i < n->pending_count; i++)
            name_apply(w, n->pending[i], true);
        n->pending_count = 0;
        return;
    }
}

/* ---- one composed disk ---- */

/* Names as chosen, in the order the changes were made. */
static void choose_names(struct walk *w, bool all)
{
    for (size_t i = 0; i < w->node_count; i++)
        if (w->nodes[i]->dir)
            names_copy(&w->nodes[i]->now, &w->nodes[i]->names);
    for (size_t k = 0; k < w->prefix; k++) {
        const struct crash_change *c = &w->trace->changes[k];
        if (c->kind != SIM_CHANGE_LINK && c->kind != SIM_CHANGE_UNLINK &&
            c->kind != SIM_CHANGE_RENAME)
            continue;
        const struct node *dir = node_of(w, c->in_dir);
        for (size_t p = 0; p < dir->pending_count && (all || p < dir->choice); p++)
            if (dir->pending[p] == c)
                name_apply(w, c, false);
    }
}

struct tree {
    struct walk *w;
    uint64_t hash;
    bool build;
};

static const struct kb_buf *image_of(const struct node *n)
{
    return n->pending_count == 0 ? &n->durable : &n->images.images[n->choice].bytes;
}

static void tree_walk(struct tree *t, const struct node *dir, const char *path)
{
    /* The hash is a sum, so that the order of names is none of its business. */
    for (size_t i = 0; i < dir->now.count; i++) {
        struct node *n = node_of(t->w, dir->now.entries[i].inode);
        char *at = kb_asprintf("%s/%s", path, dir->now.entries[i].text);
        uint64_t hash = crash_hash(7, at, strlen(at));
        if (n->dir) {
            if (t->build) {
                int r = kb_fs_mkdirs(sim_env_fs(t->w->env), at);
                KB_ASSERT(r == 0);
            }
            tree_walk(t, n, at);
        } else if (t->build) {
            const struct kb_buf *b = image_of(n);
            sim_disk_put(sim_host_disk(sim_env_host(t->w->env)), at, b->data, b->size);
        } else {
            uint64_t bytes = n->pending_count == 0 ? crash_hash(UINT64_C(0xcbf29ce484222325),
                                                                n->durable.data, n->durable.size)
                                                   : n->images.images[n->choice].hash;
            hash = crash_hash(hash, &bytes, sizeof(bytes));
        }
        t->hash += hash;
        (void)kb_free(at);
    }
}

static bool is_new(struct walk *w, uint64_t hash)
{
    if (w->seen_count * 2 >= w->seen_capacity) {
        size_t old_capacity = w->seen_capacity;
        uint64_t *old = w->seen;
        w->seen_capacity = old_capacity == 0 ? 1024 : old_capacity * 2;
        w->seen = kb_new_array(uint64_t, w->seen_capacity);
        w->seen_count = 0;
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i] != 0)
                (void)is_new(w, old[i]);
        (void)kb_free(old);
    }
    hash |= hash == 0;
    size_t at = (size_t)(hash % w->seen_capacity);
    while (w->seen[at] != 0 && w->seen[at] != hash)
        at = (at + 1) % w->seen_capacity;
    if (w->seen[at] == hash)
        return false;
    w->seen[at] = hash;
    w->seen_count++;
    return true;
}

static void show(struct walk *w, bool killed)
{
    struct crash_state s = {w->env, w->promise, w->prefix, killed};
    if (killed)
        w->counts->kills++;
    else
        w->counts->states++;
    w->fn(w->arg, &s);
}

static void compose(struct walk *w)
{
    struct tree t = {.w = w};
    w->counts->composed++;
    choose_names(w, false);
    tree_walk(&t, node_of(w, SIM_DISK_ROOT), "");
    uint64_t promise = (uint64_t)(uintptr_t)w->promise;
    if (!is_new(w, crash_hash(t.hash, &promise, sizeof(promise))))
        return;
    sim_disk_wipe(sim_host_disk(sim_env_host(w->env)));
    t.build = true;
    tree_walk(&t, node_of(w, SIM_DISK_ROOT), "");
    show(w, false);
}

/* ---- killed, not powered off ---- */

/* Path of an inode by the names as they are now; NULL: none. Caller frees. */
static char *path_of(struct walk *w, const struct node *dir, const char *path, uint64_t inode)
{
    for (size_t i = 0; i < dir->now.count; i++) {
        char *at = kb_asprintf("%s/%s", path, dir->now.entries[i].text);
        if (dir->now.entries[i].inode == inode)
            return at;
        const struct node *n = node_of(w, dir->now.entries[i].inode);
        char *found = n->dir ? path_of(w, n, at, inode) : NULL;
        (void)kb_free(at);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static char *dir_path(struct walk *w, uint64_t dir, const char *name)
{
    if (dir == SIM_DISK_ROOT)
        return kb_asprintf("/%s", name);
    char *path = path_of(w, node_of(w, SIM_DISK_ROOT), "", dir);
    KB_ASSERT(path != NULL);
    char *ret = kb_asprintf("%s/%s", path, name);
    (void)kb_free(path);
    return ret;
}

static void redo_name(struct walk *w, struct kb_fs *fs, const struct crash_change *c)
{
    char *to = dir_path(w, c->in_dir, c->name);
    char *from = NULL;
    struct kb_fd *fd = NULL;
    int r = 0;
    if (c->kind == SIM_CHANGE_UNLINK) {
        struct kb_fs_stat st;
        r = kb_fs_stat(fs, to, &st);
        if (r == 0)
            r = st.type == KB_FS_DIR ? kb_fs_rmdir(fs, to) : kb_fs_unlink(fs, to);
    } else if (c->kind == SIM_CHANGE_RENAME) {
        from = dir_path(w, c->from_dir, c->from_name);
        r = kb_fs_rename(fs, from, to);
    } else if (c->dir) {
        r = kb_fs_mkdir(fs, to);
    } else if ((from = path_of(w, node_of(w, SIM_DISK_ROOT), "", c->inode)) != NULL) {
        r = kb_fs_link(fs, from, to);
    } else {
        r = kb_fs_open(fs, to, KB_FS_WRITE | KB_FS_CREATE, &fd);
        (void)kb_fs_close(fs, fd);
        /* Synced with another name before this one: its bytes are there. */
        const struct node *n = node_of(w, c->inode);
        if (r == 0 && n->durable.size != 0) {
            r = kb_fs_open(fs, to, KB_FS_WRITE, &fd);
            if (r == 0)
                r = kb_fs_pwrite(fs, fd, n->durable.data, n->durable.size, 0);
            if (r == 0)
                r = kb_fs_sync(fs, fd);
            (void)kb_fs_close(fs, fd);
        }
    }
    KB_ASSERT(r == 0);
    name_apply(w, c, false);
    (void)kb_free(to);
    (void)kb_free(from);
}

static void redo_bytes(struct walk *w, struct kb_fs *fs, const struct crash_change *c)
{
    struct kb_fd *fd = NULL;
    char *path = path_of(w, node_of(w, SIM_DISK_ROOT), "", c->inode);
    if (path == NULL)
        return; /* nobody can reach it */
    int r = kb_fs_open(fs, path, KB_FS_WRITE, &fd);
    if (r == 0 && c->kind == SIM_CHANGE_SIZE)
        r = kb_fs_truncate(fs, fd, c->size);
    else if (r == 0)
        r = kb_fs_pwrite(fs, fd, c->data, c->size, c->position);
    (void)kb_fs_close(fs, fd);
    KB_ASSERT(r == 0);
    (void)kb_free(path);
}

/* What is durable, and upon it, unsynced, all that was done since. */
static void kill_here(struct walk *w)
{
    struct kb_fs *fs = sim_env_fs(w->env);
    struct tree t = {.w = w, .build = true};
    bool pending = false;
    for (size_t i = 0; i < w->node_count; i++) {
        w->nodes[i]->choice = 0;
        pending = pending || w->nodes[i]->pending_count != 0;
    }
    if (!pending)
        return;
    sim_disk_wipe(sim_host_disk(sim_env_host(w->env)));
    choose_names(w, false);
    tree_walk(&t, node_of(w, SIM_DISK_ROOT), "");
    for (size_t k = 0; k < w->prefix; k++) {
        const struct crash_change *c = &w->trace->changes[k];
        bool name = c->kind == SIM_CHANGE_LINK || c->kind == SIM_CHANGE_UNLINK ||
                    c->kind == SIM_CHANGE_RENAME;
        bool bytes = c->kind == SIM_CHANGE_WRITE || c->kind == SIM_CHANGE_SIZE;
        if (!name && !bytes)
            continue;
        const struct node *n = node_of(w, name ? c->in_dir : c->inode);
        bool open = false;
        for (size_t p = 0; p < n->pending_count && !open; p++)
            open = n->pending[p] == c;
        if (open && name)
            redo_name(w, fs, c);
        else if (open)
            redo_bytes(w, fs, c);
    }
    show(w, true);
}

/* ---- all choices of one prefix ---- */

static void choices_make(struct walk *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        struct node *n = w->nodes[i];
        n->choice = 0;
        if (n->dir) {
            n->choices = n->pending_count + 1;
            continue;
        }
        if (n->pending_count != 0 && !n->fresh) {
            crash_images_release(&n->images);
            crash_images_make(&n->images, &n->durable, n->pending, n->pending_count,
                              w->limits->images, n->id);
            n->fresh = true;
        }
        n->choices = n->pending_count == 0 ? 1 : n->images.count;
    }
}

static void choose_all(struct walk *w, bool newest)
{
    for (size_t i = 0; i < w->node_count; i++)
        w->nodes[i]->choice = newest ? w->nodes[i]->choices - 1 : 0;
}

/* Each file and directory in each of its states, the others with nothing or all of theirs; each
 * pair of directories in all of theirs; the rest by chance. */
static void combine_some(struct walk *w)
{
    for (int newest = 0; newest < 2; newest++) {
        for (size_t i = 0; i < w->node_count; i++) {
            struct node *n = w->nodes[i];
            for (size_t c = 0; c < n->choices && n->choices > 1; c++) {
                choose_all(w, newest != 0);
                n->choice = c;
                compose(w);
            }
        }
    }
    for (size_t s = 0; s < w->limits->states; s++) {
        for (size_t i = 0; i < w->node_count; i++)
            w->nodes[i]->choice = (size_t)kb_prng_below(&w->prng, w->nodes[i]->choices);
        compose(w);
    }
}

static void combine_all(struct walk *w)
{
    for (;;) {
        compose(w);
        size_t i = 0;
        for (; i < w->node_count; i++) {
            if (++w->nodes[i]->choice < w->nodes[i]->choices)
                break;
            w->nodes[i]->choice = 0;
        }
        if (i == w->node_count)
            return;
    }
}

static void prefix_show(struct walk *w)
{
    double combinations = 1;
    bool bounded = false;
    choices_make(w);
    for (size_t i = 0; i < w->node_count; i++) {
        combinations *= (double)w->nodes[i]->choices;
        bounded = bounded || (w->nodes[i]->pending_count != 0 && w->nodes[i]->images.bounded);
    }
    w->counts->prefixes++;
    w->counts->bounded_prefixes += bounded || combinations > (double)w->limits->states;
    if (combinations <= (double)w->limits->states)
        combine_all(w);
    else
        combine_some(w);
    if (!w->limits->no_kills)
        kill_here(w);
}

static void walk_release(struct walk *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        struct node *n = w->nodes[i];
        kb_buf_release(&n->durable);
        (void)kb_free(n->names.entries);
        (void)kb_free(n->now.entries);
        (void)kb_free(n->pending);
        crash_images_release(&n->images);
        (void)kb_free(n);
    }
    (void)kb_free(w->nodes);
    (void)kb_free(w->seen);
    w->env = sim_env_free(w->env);
    w->world = sim_world_free(w->world);
}

static bool wanted(const struct walk *w)
{
    const struct crash_trace *t = w->trace;
    size_t stride = w->limits->stride;
    if (stride <= 1 || w->prefix == t->count || w->prefix % stride == 0)
        return true;
    enum sim_disk_change_kind next = t->changes[w->prefix].kind;
    return next == SIM_CHANGE_SYNC || next == SIM_CHANGE_SYNC_DIR;
}

void crash_walk(const struct crash_trace *t, const struct crash_limits *limits, crash_visit_fn *fn,
                void *arg, struct crash_counts *ret)
{
    struct walk w = {.trace = t, .limits = limits, .fn = fn, .arg = arg, .counts = ret};
    *ret = (struct crash_counts){0};
    w.world = sim_world_new(1);
    w.env = sim_world_add_env(w.world, "n1");
    kb_prng_init(&w.prng, 1);
    node_of(&w, SIM_DISK_ROOT)->dir = true;
    size_t note = 0;
    for (size_t k = 0; k <= t->count; k++) {
        if (k > 0)
            take(&w, &t->changes[k - 1]);
        w.prefix = k;
        /* Of the notes made here the first ones come after nothing new: the last decides. */
        while (note < t->note_count && t->notes[note].changes <= k)
            w.promise = t->notes[note++].promise;
        if (wanted(&w))
            prefix_show(&w);
    }
    walk_release(&w);
}

void crash_counts_print(const char *name, const struct crash_counts *c, size_t changes)
{
    printf("%-28s %4zu changes, %4zu prefixes (%zu bounded), %7zu disks composed, %6zu different, "
           "%4zu of killed processes\n",
           name, changes, c->prefixes, c->bounded_prefixes, c->composed, c->states, c->kills);
    (void)fflush(stdout);
}
