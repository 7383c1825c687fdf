#ifndef KW_COMPRESS_H
#define KW_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* The four codecs of record batches, as bounded streams. */

enum kw_codec {
    KW_CODEC_NONE,
    KW_CODEC_GZIP,
    KW_CODEC_SNAPPY, /* xerial stream or one raw block */
    KW_CODEC_LZ4,    /* frame format */
    KW_CODEC_ZSTD,
    KW_CODEC_COUNT,
};
/* "gzip"; "none"; "unknown" for anything else. */
const char *kw_codec_name(int codec);
/* Codec called by that name, or -KB_EINVAL. */
int kw_codec_parse(const char *name);

/* Decodes borrowed bytes piece by piece. Own memory is a few buffers of fixed size, for snappy one
 * block of at most output_bytes_max, for zstd the window its frame asks for (at most 128 MB, of
 * which only what is really decoded gets touched). Not thread-safe. */
struct kw_decoder;
/* 0; -KB_EUNSUPPORTED for an unknown codec; -KB_ENOMEM. KW_CODEC_NONE copies. */
int kw_decoder_new(int codec, const void *data, size_t size, uint64_t output_bytes_max,
                   struct kw_decoder **ret);
struct kw_decoder *kw_decoder_free(struct kw_decoder *d);
/* Fill up to capacity bytes. *ret_size 0 = the end, and all input was used. -KB_ECORRUPT for broken
 * input or bytes behind its end, -KB_ETOOBIG when more than output_bytes_max come out, -KB_ENOMEM.
 * After a failure only kw_decoder_free is allowed. */
int kw_decoder_read(struct kw_decoder *d, void *out, size_t capacity, size_t *ret_size);

/* Append the compressed form of data to ret, as Kafka's Java client reads it. 0 or
 * -KB_EUNSUPPORTED; KW_CODEC_NONE copies. */
int kw_compress(int codec, const void *data, size_t size, struct kb_buf *ret);

#endif
