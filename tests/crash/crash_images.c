#include "tests/crash/crash.h"

#include "proto/base/assert.h"
#include "proto/base/prng.h"

/* What a file's unsynced writes may leave of it.
 *
 * Subsets: the file has one of the sizes it had since the last sync, and each sector (512 bytes) of
 * it that was written since then is as it was then or after any of the writes. A sector behind the
 * old end that was never written back shows zeros, garbage, or bytes that an older file left there.
 * Cuts: all but the last write are there, and of that one the bytes before each of its bytes; the
 * file ends there, or it has its new size and the rest is zeros, garbage or old bytes. */

enum { SECTOR = 512, FILLS = 3 };
enum fill { FILL_ZEROS, FILL_GARBAGE, FILL_STALE };

uint64_t crash_hash(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return (hash ^ size) * UINT64_C(0x9e3779b97f4a7c15);
}

static void image_add(struct crash_images *im, const struct kb_buf *bytes)
{
    uint64_t hash = crash_hash(UINT64_C(0xcbf29ce484222325), bytes->data, bytes->size);
    for (size_t i = 0; i < im->count; i++)
        if (im->images[i].hash == hash)
            return;
    kb_array_reserve(im->images, im->count, im->capacity);
    struct crash_image *n = &im->images[im->count++];
    *n = (struct crash_image){.hash = hash};
    kb_buf_append(&n->bytes, bytes->data, bytes->size);
}

void crash_images_release(struct crash_images *im)
{
    for (size_t i = 0; i < im->count; i++)
        kb_buf_release(&im->images[i].bytes);
    (void)kb_free(im->images);
    *im = (struct crash_images){0};
}

/* ---- one file through its writes ---- */

static void resize(struct kb_buf *b, size_t size)
{
    if (size > b->size) {
        kb_buf_reserve(b, size - b->size);
        memset(b->data + b->size, 0, size - b->size);
    }
    b->size = size;
}

static void apply(struct kb_buf *b, const struct crash_change *c, size_t size)
{
    if (c->kind == SIM_CHANGE_SIZE) {
        resize(b, c->size);
        return;
    }
    if (c->position + size > b->size)
        resize(b, c->position + size);
    if (size != 0)
        memcpy(b->data + c->position, c->data, size);
}

struct file {
    struct crash_images *im;
    struct kb_buf *versions; /* 0: durable, n: after the n-th change */
    size_t version_count;
    struct kb_prng prng;
    struct kb_view stale; /* what an older file may have left on new sectors */
    size_t *dirty;        /* sectors that differ between versions */
    size_t dirty_count;
};

static uint8_t byte_at(const struct kb_buf *b, size_t at)
{
    return at < b->size ? b->data[at] : 0;
}

static bool sector_equal(const struct kb_buf *a, const struct kb_buf *b, size_t sector)
{
    for (size_t i = sector * SECTOR; i < (sector + 1) * SECTOR; i++)
        if (byte_at(a, i) != byte_at(b, i))
            return false;
    return true;
}

static void fill_range(struct file *f, struct kb_buf *b, size_t from, size_t to, enum fill fill)
{
    for (size_t i = from; i < to && i < b->size; i++) {
        b->data[i] = fill == FILL_ZEROS || (fill == FILL_STALE && f->stale.size == 0) ? 0
                     : fill == FILL_GARBAGE ? (uint8_t)(kb_prng_next(&f->prng) | 1)
                                            : f->stale.data[(i - from) % f->stale.size];
    }
}

/* versions[k] for the k-th dirty sector; the size of version `size_of`. */
static void subset_add(struct file *f, const size_t *version, size_t size_of, enum fill fill)
{
    struct kb_buf b = {0};
    size_t old_end = f->versions[0].size;
    kb_buf_append(&b, f->versions[0].data, old_end);
    resize(&b, f->versions[size_of].size);
    for (size_t k = 0; k < f->dirty_count; k++) {
        size_t from = f->dirty[k] * SECTOR;
        if (version[k] == 0 && from >= old_end) {
            fill_range(f, &b, from, from + SECTOR, fill);
            continue;
        }
        for (size_t i = from; i < from + SECTOR && i < b.size; i++)
            b.data[i] = byte_at(&f->versions[version[k]], i);
    }
    image_add(f->im, &b);
    kb_buf_release(&b);
}

static void subset_add_all_ways(struct file *f, const size_t *version)
{
    for (size_t s = 0; s < f->version_count; s++) {
        bool seen = false;
        for (size_t before = 0; before < s; before++)
            seen = seen || f->versions[before].size == f->versions[s].size;
        for (int fill = 0; fill < FILLS && !seen; fill++)
            subset_add(f, version, s, (enum fill)fill);
    }
}

/* Does version v of a sector differ from the ones before? */
static bool version_counts(const struct file *f, size_t sector, size_t v)
{
    for (size_t before = 0; before < v; before++)
        if (sector_equal(&f->versions[before], &f->versions[v], sector))
            return false;
    return true;
}

static void subsets_all(struct file *f, size_t *version)
{
    for (;;) {
        subset_add_all_ways(f, version);
        size_t k = 0;
        for (; k < f->dirty_count; k++) {
            do
                version[k]++;
            while (version[k] < f->version_count && !version_counts(f, f->dirty[k], version[k]));
            if (version[k] < f->version_count)
                break;
            version[k] = 0;
        }
        if (k == f->dirty_count)
            return;
    }
}

static void version_set(const struct file *f, size_t *version, size_t from, size_t to, bool new)
{
    for (size_t k = from; k < to; k++)
        version[k] = new ? f->version_count - 1 : 0;
}

/* In order up to each sector; all but one; one alone; then by chance. */
static void subsets_some(struct file *f, size_t *version, size_t limit)
{
    size_t n = f->dirty_count;
    f->im->bounded = true;
    for (size_t k = 0; k <= n; k++) {
        version_set(f, version, 0, k, true);
        version_set(f, version, k, n, false);
        subset_add_all_ways(f, version);
        if (k == n)
            break;
        for (int alone = 0; alone < 2; alone++) {
            version_set(f, version, 0, n, alone == 0);
            version[k] = alone == 0 ? 0 : f->version_count - 1;
            subset_add_all_ways(f, version);
        }
    }
    for (size_t i = 0; i < limit / 4; i++) {
        for (size_t k = 0; k < n; k++)
            version[k] = (size_t)kb_prng_below(&f->prng, f->version_count);
        subset_add(f, version, (size_t)kb_prng_below(&f->prng, f->version_count),
                   (enum fill)kb_prng_below(&f->prng, FILLS));
    }
}

static void subsets(struct file *f, size_t limit)
{
    size_t sectors = 0;
    double combinations = (double)f->version_count;
    for (size_t v = 0; v < f->version_count; v++)
        if ((f->versions[v].size + SECTOR - 1) / SECTOR > sectors)
            sectors = (f->versions[v].size + SECTOR - 1) / SECTOR;
    f->dirty = kb_new_array(size_t, sectors + 1);
    for (size_t s = 0; s < sectors; s++) {
        size_t differing = 0;
        for (size_t v = 0; v < f->version_count; v++)
            differing += version_counts(f, s, v);
        bool new = s *SECTOR >= f->versions[0].size;
        if (differing > 1 || new)
            f->dirty[f->dirty_count++] = s;
        combinations *= (double)differing + (new ? FILLS - 1 : 0);
    }
    size_t *version = kb_new_array(size_t, f->dirty_count + 1);
    if (combinations <= (double)limit)
        subsets_all(f, version);
    else
        subsets_some(f, version, limit);
    (void)kb_free(version);
    (void)kb_free(f->dirty);
}

static void cuts(struct file *f, const struct crash_change *last)
{
    const struct kb_buf *before = &f->versions[f->version_count - 2];
    size_t size = f->versions[f->version_count - 1].size;
    if (last->kind != SIM_CHANGE_WRITE)
        return;
    for (size_t cut = 0; cut < last->size; cut++) {
        struct kb_buf b = {0};
        kb_buf_append(&b, before->data, before->size);
        apply(&b, last, cut);
        image_add(f->im, &b);
        size_t end = last->position + cut;
        resize(&b, size);
        for (int fill = 0; fill < FILLS && end >= before->size; fill++) {
            fill_range(f, &b, end, size, (enum fill)fill);
            image_add(f->im, &b);
        }
        kb_buf_release(&b);
    }
}

void crash_images_make(struct crash_images *ret, const struct kb_buf *durable,
                       const struct crash_change *const *changes, size_t count, size_t limit,
                       uint64_t seed)
{
    struct file f = {.im = ret, .version_count = count + 1};
    *ret = (struct crash_images){0};
    kb_prng_init(&f.prng, seed);
    f.versions = kb_new_array(struct kb_buf, count + 1);
    kb_buf_append(&f.versions[0], durable->data, durable->size);
    for (size_t i = 0; i < count; i++) {
        kb_buf_append(&f.versions[i + 1], f.versions[i].data, f.versions[i].size);
        apply(&f.versions[i + 1], changes[i], changes[i]->size);
    }
    f.stale = kb_view_of(durable->data, durable->size);
    image_add(ret, &f.versions[0]);
    if (count != 0) {
        subsets(&f, limit);
        cuts(&f, changes[count - 1]);
    }
    /* The newest one comes last. */
    for (size_t i = 0; i + 1 < ret->count; i++) {
        struct crash_image *a = &ret->images[i];
        struct crash_image *b = &ret->images[ret->count - 1];
        const struct kb_buf *newest = &f.versions[count];
        if (i > 0 && kb_view_equal(kb_view_of(a->bytes.data, a->bytes.size),
                                   kb_view_of(newest->data, newest->size))) {
            struct crash_image swap = *a;
            *a = *b;
            *b = swap;
        }
    }
    for (size_t i = 0; i <= count; i++)
        kb_buf_release(&f.versions[i]);
    (void)kb_free(f.versions);
}
