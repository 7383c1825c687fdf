#include "proto/kafka/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "proto/base/err.h"

#define XERIAL_MAGIC "\x82SNAPPY"
#define XERIAL_MAGIC_BYTES 8 /* with the NUL */
#define XERIAL_HEAD_BYTES 16 /* and two versions */
#define GZIP_WINDOW_BITS (15 + 16)
/* A snappy copy of 64 bytes takes 3; more output than that is a lie about the size. */
#define SNAPPY_RATIO_MAX 22

struct kw_decoder {
    int codec;
    bool at_end; /* a stream, frame or block has ended here: input may end too */
    const uint8_t *next;
    const uint8_t *end;
    uint64_t output_left;
    z_stream gzip;
    LZ4F_dctx *lz4;
    ZSTD_DStream *zstd;
    uint8_t *block; /* snappy: the current block */
    size_t block_size;
    size_t block_position;
};

static const char *const codec_names[KW_CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};

const char *kw_codec_name(int codec)
{
    return codec >= 0 && codec < KW_CODEC_COUNT ? codec_names[codec] : "unknown";
}

int kw_codec_parse(const char *name)
{
    for (int i = 0; i < KW_CODEC_COUNT; i++)
        if (strcmp(name, codec_names[i]) == 0)
            return i;
    return -KB_EINVAL;
}

static int open_codec(struct kw_decoder *d)
{
    switch (d->codec) {
    case KW_CODEC_NONE:
        d->at_end = true;
        return 0;
    case KW_CODEC_GZIP:
        return inflateInit2(&d->gzip, GZIP_WINDOW_BITS) == Z_OK ? 0 : -KB_ENOMEM;
    case KW_CODEC_SNAPPY:
        return 0;
    case KW_CODEC_LZ4:
        return LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION)) ? -KB_ENOMEM
                                                                                    : 0;
    case KW_CODEC_ZSTD:
        d->zstd = ZSTD_createDStream();
        return d->zstd != NULL ? 0 : -KB_ENOMEM;
    default:
        return -KB_EUNSUPPORTED;
    }
}

int kw_decoder_new(int codec, const void *data, size_t size, uint64_t output_bytes_max,
                   struct kw_decoder **ret)
{
    struct kw_decoder *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return -KB_ENOMEM;
    d->codec = codec;
    d->next = data;
    d->end = d->next + size;
    d->output_left = output_bytes_max;
    int r = open_codec(d);
    if (r < 0) {
        d->codec = KW_CODEC_NONE; /* nothing to close */
        (void)kw_decoder_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct kw_decoder *kw_decoder_free(struct kw_decoder *d)
{
    if (d == NULL)
        return NULL;
    if (d->codec == KW_CODEC_GZIP)
        (void)inflateEnd(&d->gzip);
    (void)LZ4F_freeDecompressionContext(d->lz4);
    (void)ZSTD_freeDStream(d->zstd);
    free(d->block);
    free(d);
    return NULL;
}

static size_t input_left(const struct kw_decoder *d)
{
    return (size_t)(d->end - d->next);
}

static int read_none(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    size_t size = input_left(d) < capacity ? input_left(d) : capacity;
    if (size != 0)
        memcpy(out, d->next, size);
    d->next += size;
    *ret_size = size;
    return 0;
}

/* One step of inflate; members may follow each other. */
static int read_gzip(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    z_stream *z = &d->gzip;
    if (d->at_end && inflateReset(z) != Z_OK)
        return -KB_ECORRUPT;
    z->next_in = (Bytef *)(uintptr_t)d->next;
    z->avail_in = (uInt)input_left(d);
    z->next_out = out;
    z->avail_out = (uInt)capacity;
    int r = inflate(z, Z_NO_FLUSH);
    d->next = z->next_in;
    *ret_size = capacity - z->avail_out;
    d->at_end = r == Z_STREAM_END;
    if (r == Z_MEM_ERROR)
        return -KB_ENOMEM;
    return r == Z_OK || r == Z_STREAM_END ? 0 : -KB_ECORRUPT;
}

static int read_lz4(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    size_t in_size = input_left(d);
    size_t out_size = capacity;
    if (d->at_end)
        return -KB_ECORRUPT; /* bytes behind the frame */
    size_t hint = LZ4F_decompress(d->lz4, out, &out_size, d->next, &in_size, NULL);
    if (LZ4F_isError(hint))
        return -KB_ECORRUPT;
    d->next += in_size;
    d->at_end = hint == 0;
    *ret_size = out_size;
    return 0;
}

static int read_zstd(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    ZSTD_inBuffer in = {d->next, input_left(d), 0};
    ZSTD_outBuffer to = {out, capacity, 0};
    size_t hint = ZSTD_decompressStream(d->zstd, &to, &in);
    if (ZSTD_isError(hint))
        return ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation ? -KB_ENOMEM : -KB_ECORRUPT;
    d->next += in.pos;
    d->at_end = hint == 0;
    *ret_size = to.pos;
    return 0;
}

/* Find the next compressed block: a sized one of a xerial stream, or all the input. */
static int next_snappy_block(struct kw_decoder *d, const uint8_t **ret_data, size_t *ret_size)
{
    bool first = d->block == NULL;
    size_t left = input_left(d);
    bool head = left >= XERIAL_HEAD_BYTES && memcmp(d->next, XERIAL_MAGIC, XERIAL_MAGIC_BYTES) == 0;
    if (first && !head) {
        *ret_data = d->next;
        *ret_size = left;
        return 0;
    }
    if (head) { /* streams may follow each other */
        d->next += XERIAL_HEAD_BYTES;
        left -= XERIAL_HEAD_BYTES;
    }
    if (left < 4 || kb_get_be32(d->next) > left - 4)
        return -KB_ECORRUPT;
    *ret_size = kb_get_be32(d->next);
    *ret_data = d->next + 4;
    return 0;
}

static int read_snappy_block(struct kw_decoder *d)
{
    const uint8_t *data = NULL;
    size_t size = 0;
    size_t plain_size = 0;
    int r = next_snappy_block(d, &data, &size);
    if (r < 0)
        return r;
    if (snappy_uncompressed_length((const char *)data, size, &plain_size) != SNAPPY_OK ||
        plain_size / SNAPPY_RATIO_MAX > size)
        return -KB_ECORRUPT;
    if (plain_size > d->output_left)
        return -KB_ETOOBIG;
    uint8_t *block = realloc(d->block, plain_size + 1);
    if (block == NULL)
        return -KB_ENOMEM;
    d->block = block;
    d->block_size = plain_size;
    d->block_position = 0;
    if (snappy_uncompress((const char *)data, size, (char *)block, &d->block_size) != SNAPPY_OK)
        return -KB_ECORRUPT;
    d->next = data + size;
    return 0;
}

static int read_snappy(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    if (d->block_position == d->block_size) {
        int r = read_snappy_block(d);
        if (r < 0)
            return r;
    }
    size_t size = d->block_size - d->block_position;
    if (size > capacity)
        size = capacity;
    memcpy(out, d->block + d->block_position, size);
    d->block_position += size;
    d->at_end = d->block_position == d->block_size;
    *ret_size = size;
    return 0;
}

static int read_some(struct kw_decoder *d, uint8_t *out, size_t capacity, size_t *ret_size)
{
    switch (d->codec) {
    case KW_CODEC_GZIP:
        return read_gzip(d, out, capacity, ret_size);
    case KW_CODEC_SNAPPY:
        return read_snappy(d, out, capacity, ret_size);
    case KW_CODEC_LZ4:
        return read_lz4(d, out, capacity, ret_size);
    case KW_CODEC_ZSTD:
        return read_zstd(d, out, capacity, ret_size);
    default:
        return read_none(d, out, capacity, ret_size);
    }
}

int kw_decoder_read(struct kw_decoder *d, void *out, size_t capacity, size_t *ret_size)
{
    size_t size = 0;
    while (size == 0 && capacity > 0 && (input_left(d) > 0 || !d->at_end)) {
        size_t before = input_left(d);
        int r = read_some(d, out, capacity, &size);
        if (r < 0)
            return r;
        if (size == 0 && input_left(d) == before && !(before == 0 && d->at_end))
            return -KB_ECORRUPT; /* stuck: the input ends too early */
    }
    if (size > d->output_left)
        return -KB_ETOOBIG;
    d->output_left -= size;
    *ret_size = size;
    return 0;
}
