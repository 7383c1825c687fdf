/* Any bytes as metadata: the first byte chooses. 0: a snapshot; 1: records of the metadata log,
 * replayed from the first on, those that are refused left out. Both are framed { u32 size, u32 CRC,
 * record }; the CRCs are made right first, so that damage reaches the records. Whatever image comes
 * out must be one that its own snapshot gives back. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/image.h"
#include "proto/base/assert.h"
#include "proto/base/crc32c.h"

enum { FRAME_HEAD = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next frame; 0 at the end. */
static size_t frame_next(const uint8_t *data, size_t size, size_t at)
{
    if (size - at < FRAME_HEAD)
        return 0;
    size_t body = kb_get_be32(data + at);
    return body <= size - at - FRAME_HEAD ? FRAME_HEAD + body : 0;
}

static void seal(uint8_t *data, size_t size)
{
    size_t at = 0;
    for (size_t n = 0; (n = frame_next(data, size, at)) != 0; at += n)
        kb_put_be32(data + at + 4, kb_crc32c(0, data + at + FRAME_HEAD, n - FRAME_HEAD));
}

static void check_image(const struct meta_image *image)
{
    struct kb_buf once = {0};
    struct kb_buf twice = {0};
    struct meta_image *copy = NULL;
    meta_snapshot_write(image, &once);
    int r = meta_snapshot_read(kb_view_of(once.data, once.size), &copy);
    KB_ASSERT(r == 0);
    meta_snapshot_write(copy, &twice);
    KB_ASSERT(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    struct meta_image *clone = meta_image_clone(copy);
    KB_ASSERT(meta_image_content_hash(clone) == meta_image_content_hash(image));
    (void)meta_image_free(clone);
    (void)meta_image_free(copy);
    kb_buf_release(&once);
    kb_buf_release(&twice);
}

static void replay(const uint8_t *data, size_t size)
{
    struct meta_image *image = meta_image_new();
    struct meta_delta delta = {0};
    size_t at = 0;
    for (size_t n = 0; (n = frame_next(data, size, at)) != 0; at += n) {
        uint64_t hash = meta_image_content_hash(image);
        struct kb_view record = kb_view_of(data + at + FRAME_HEAD, n - FRAME_HEAD);
        int r = meta_image_apply(image, meta_image_last_index(image) + 1, 1, record, &delta);
        KB_ASSERT(r == 0 || meta_image_content_hash(image) == hash);
    }
    meta_delta_finish(&delta);
    meta_delta_release(&delta);
    check_image(image);
    (void)meta_image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct meta_image *image = NULL;
    if (size == 0)
        return 0;
    uint8_t *copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    seal(copy, size - 1);
    if (data[0] % 2 == 1) {
        replay(copy, size - 1);
    } else if (meta_snapshot_read(kb_view_of(copy, size - 1), &image) == 0) {
        check_image(image);
        (void)meta_image_free(image);
    }
    free(copy);
    return 0;
}
