#include "tests/crash/crash.h"

#include "proto/base/assert.h"

static void witness(void *arg, const struct sim_disk_change *c)
{
    struct crash_trace *t = arg;
    kb_array_reserve(t->changes, t->count, t->capacity);
    t->changes[t->count++] = (struct crash_change){
        .kind = c->kind,
        .inode = c->inode,
        .in_dir = c->in_dir,
        .from_dir = c->from_dir,
        .dir = c->dir,
        .position = c->position,
        .size = c->size,
        .data = c->data != NULL ? kb_memdup(c->data, c->size) : NULL,
        .name = c->name != NULL ? kb_strdup(c->name) : NULL,
        .from_name = c->from_name != NULL ? kb_strdup(c->from_name) : NULL,
    };
}

void crash_trace_begin(struct crash_trace *t, struct sim_disk *d)
{
    *t = (struct crash_trace){.disk = d};
    KB_ASSERT(sim_disk_used_bytes(d) == 0);
    sim_disk_set_witness(d, witness, t);
}

void crash_trace_note(struct crash_trace *t, const void *promise)
{
    kb_array_reserve(t->notes, t->note_count, t->note_capacity);
    t->notes[t->note_count++] = (struct crash_note){t->count, promise};
}

void crash_trace_end(struct crash_trace *t)
{
    if (t->disk != NULL)
        sim_disk_set_witness(t->disk, NULL, NULL);
    t->disk = NULL;
}

void crash_trace_release(struct crash_trace *t)
{
    crash_trace_end(t);
    for (size_t i = 0; i < t->count; i++) {
        (void)kb_free(t->changes[i].data);
        (void)kb_free(t->changes[i].name);
        (void)kb_free(t->changes[i].from_name);
    }
    (void)kb_free(t->changes);
    (void)kb_free(t->notes);
}

/* ---- dumps ---- */

struct dump {
    struct sim_disk *disk;
    const char *path;
    struct kb_buf *ret;
};

static int dump_entry(void *arg, const char *name, enum kb_fs_type type)
{
    const struct dump *d = arg;
    struct kb_view v;
    char *path = kb_asprintf("%s/%s", d->path, name);
    if (type == KB_FS_DIR) {
        kb_buf_printf(d->ret, "%s/\n", path);
        crash_dump(d->disk, path, d->ret);
    } else {
        KB_ASSERT(sim_disk_view(d->disk, path, false, &v) == 0);
        kb_buf_printf(d->ret, "%s %zu\n", path, v.size);
        kb_buf_append(d->ret, v.data, v.size);
        kb_buf_append_str(d->ret, "\n");
    }
    (void)kb_free(path);
    return 0;
}

void crash_dump(struct sim_disk *d, const char *path, struct kb_buf *ret)
{
    struct dump dump = {d, path, ret};
    (void)sim_disk_list(d, path, false, dump_entry, &dump);
}

bool crash_dumps_equal(const struct kb_buf *a, const struct kb_buf *b, char *ret_where,
                       size_t where_size)
{
    size_t at = 0;
    size_t line = 0; /* where the last line of both that looks like a path began */
    while (at < a->size && at < b->size && a->data[at] == b->data[at]) {
        if (a->data[at] == '\n' && at + 1 < a->size && a->data[at + 1] == '/')
            line = at + 1;
        at++;
    }
    if (at == a->size && at == b->size)
        return true;
    size_t size = 0;
    while (line + size < a->size && a->data[line + size] != '\n')
        size++;
    (void)snprintf(ret_where, where_size, "byte %zu of %zu and %zu, in %.*s", at, a->size, b->size,
                   (int)size, (const char *)a->data + line);
    return false;
}
