#include "proto/kafka/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"

#define GZIP_WINDOW_BITS (15 + 16)
#define GZIP_MEMORY_LEVEL 8
#define ZSTD_LEVEL 3
#define SNAPPY_BLOCK_BYTES 32768

/* Room for size more bytes at the end of b. */
static uint8_t *reserve(struct kb_buf *b, size_t size)
{
    kb_buf_reserve(b, size);
    return b->data + b->size;
}

static void compress_gzip(const void *data, size_t size, struct kb_buf *ret)
{
    z_stream z = {0};
    int r = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                         Z_DEFAULT_STRATEGY);
    KB_ASSERT(r == Z_OK);
    uLong bound = deflateBound(&z, size);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = reserve(ret, bound);
    z.avail_out = (uInt)bound;
    r = deflate(&z, Z_FINISH);
    KB_ASSERT(r == Z_STREAM_END);
    ret->size += z.total_out;
    (void)deflateEnd(&z);
}

static void compress_snappy(const uint8_t *data, size_t size, struct kb_buf *ret)
{
    static const uint8_t head[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    kb_buf_append(ret, head, sizeof(head));
    for (size_t at = 0; at < size; at += SNAPPY_BLOCK_BYTES) {
        size_t part = size - at < SNAPPY_BLOCK_BYTES ? size - at : SNAPPY_BLOCK_BYTES;
        size_t out = snappy_max_compressed_length(part);
        uint8_t *p = reserve(ret, 4 + out);
        snappy_status status = snappy_compress((const char *)data + at, part, (char *)p + 4, &out);
        KB_ASSERT(status == SNAPPY_OK);
        kb_put_be32(p, (uint32_t)out);
        ret->size += 4 + out;
    }
}

/* Java's decoder takes only independent blocks. */
static void compress_lz4(const void *data, size_t size, struct kb_buf *ret)
{
    const LZ4F_preferences_t preferences = {
        .frameInfo = {.blockMode = LZ4F_blockIndependent, .blockSizeID = LZ4F_max64KB}};
    size_t bound = LZ4F_compressFrameBound(size, &preferences);
    size_t out = LZ4F_compressFrame(reserve(ret, bound), bound, data, size, &preferences);
    KB_ASSERT(!LZ4F_isError(out));
    ret->size += out;
}

static void compress_zstd(const void *data, size_t size, struct kb_buf *ret)
{
    size_t bound = ZSTD_compressBound(size);
    size_t out = ZSTD_compress(reserve(ret, bound), bound, data, size, ZSTD_LEVEL);
    KB_ASSERT(!ZSTD_isError(out));
    ret->size += out;
}

int kw_compress(int codec, const void *data, size_t size, struct kb_buf *ret)
{
    switch (codec) {
    case KW_CODEC_NONE:
        kb_buf_append(ret, data, size);
        return 0;
    case KW_CODEC_GZIP:
        compress_gzip(data, size, ret);
        return 0;
    case KW_CODEC_SNAPPY:
        compress_snappy(data, size, ret);
        return 0;
    case KW_CODEC_LZ4:
        compress_lz4(data, size, ret);
        return 0;
    case KW_CODEC_ZSTD:
        compress_zstd(data, size, ret);
        return 0;
    default:
        return -KB_EUNSUPPORTED;
    }
}
