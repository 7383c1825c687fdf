#ifndef KW_CODEC_H
#define KW_CODEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/base/uuid.h"

/* Primitive types of the Kafka wire protocol: what a generated message is made of, a reader that
 * never leaves its bytes, and a writer that appends to a chain. None of it is thread-safe. */

/* Text, not NUL-terminated; data NULL means null. Decoded ones are views into the frame. */
struct kw_str {
    const char *data;
    int32_t size;
};
/* Bytes; data NULL means null. Decoded ones are views into the frame. */
struct kw_bytes {
    const uint8_t *data;
    int32_t size;
};

#define KW_STR(literal) ((struct kw_str){"" literal, (int32_t)sizeof(literal) - 1})
static inline struct kw_str kw_str_null(void)
{
    return (struct kw_str){NULL, 0};
}
/* Borrows s; NULL gives null. */
static inline struct kw_str kw_str_of(const char *s)
{
    return (struct kw_str){s, s != NULL ? (int32_t)strlen(s) : 0};
}
static inline struct kw_str kw_str_of_view(struct kb_view v)
{
    return (struct kw_str){(const char *)v.data, (int32_t)v.size};
}
static inline struct kb_view kw_str_view(struct kw_str s)
{
    return (struct kb_view){(const uint8_t *)s.data, (size_t)s.size};
}
static inline struct kw_bytes kw_bytes_of(const void *data, size_t size)
{
    return (struct kw_bytes){data, (int32_t)size};
}
static inline struct kb_view kw_bytes_view(struct kw_bytes b)
{
    return (struct kb_view){b.data, (size_t)b.size};
}
/* Same text; null equals only null. */
static inline bool kw_str_equal(struct kw_str a, struct kw_str b)
{
    return a.size == b.size && (a.data == NULL) == (b.data == NULL) &&
           (a.size == 0 || a.data == NULL || memcmp(a.data, b.data, (size_t)a.size) == 0);
}
/* Same text as s; null equals nothing. */
static inline bool kw_str_is(struct kw_str a, const char *s)
{
    return a.data != NULL && (size_t)a.size == strlen(s) && memcmp(a.data, s, (size_t)a.size) == 0;
}

/* ---- reading ---- */

/* Bounds-checked, with a sticky error: after the first failure every getter returns zero, null or
 * an empty value, and the error stays. Borrows the bytes. */
struct kw_reader {
    const uint8_t *next;
    const uint8_t *end;
    int error; /* 0 or the first negative kb_err */
};
void kw_reader_init(struct kw_reader *rd, const void *data, size_t size);
static inline bool kw_reader_ok(const struct kw_reader *rd)
{
    return rd->error == 0;
}
static inline size_t kw_reader_left(const struct kw_reader *rd)
{
    return (size_t)(rd->end - rd->next);
}
/* Record the first failure; later ones change nothing. */
void kw_reader_fail(struct kw_reader *rd, int negative_error);
/* 0 when nothing failed and all bytes are used, else -KB_EINVAL or the error. */
int kw_reader_finish(struct kw_reader *rd);

bool kw_get_bool(struct kw_reader *rd);
int8_t kw_get_int8(struct kw_reader *rd);
int16_t kw_get_int16(struct kw_reader *rd);
uint16_t kw_get_uint16(struct kw_reader *rd);
int32_t kw_get_int32(struct kw_reader *rd);
int64_t kw_get_int64(struct kw_reader *rd);
double kw_get_float64(struct kw_reader *rd);
struct kb_uuid kw_get_uuid(struct kw_reader *rd);
/* At most 5 bytes and 32 bits, else the reader fails. */
uint32_t kw_get_uvarint(struct kw_reader *rd);
/* Zigzag forms, as records use them; at most 5 and 10 bytes. */
int32_t kw_get_varint(struct kw_reader *rd);
int64_t kw_get_varlong(struct kw_reader *rd);
/* Strings, bytes and array counts: flexible selects the compact form. Null where nullable is false
 * fails the reader. */
struct kw_str kw_get_str(struct kw_reader *rd, bool flexible, bool nullable);
struct kw_bytes kw_get_bytes(struct kw_reader *rd, bool flexible, bool nullable);
/* -1 for null. Fails when count elements of element_size_min bytes (at least 1) cannot be left. */
int32_t kw_get_count(struct kw_reader *rd, bool flexible, bool nullable, size_t element_size_min);
/* size bytes at the reader, which moves past them; NULL and a failed reader when fewer are left. */
const uint8_t *kw_get_raw(struct kw_reader *rd, size_t size);
/* Skip a tag section of which nothing is known. */
void kw_skip_tags(struct kw_reader *rd);
/* Open the next tagged field as a reader of its own and move past it. */
uint32_t kw_get_tag(struct kw_reader *rd, struct kw_reader *ret_field);
/* Close a tagged field: left-over bytes or an error in it fail rd. */
void kw_end_tag(struct kw_reader *rd, struct kw_reader *field);
/* count zeroed elements; a refusing arena fails the reader with -KB_ENOMEM and gives NULL. */
void *kw_reader_alloc(struct kw_reader *rd, struct kb_arena *arena, int32_t count,
                      size_t element_size);

/* ---- writing ---- */

/* Appends to a chain, packing small values into blocks. With a sticky error. The chain must not be
 * touched by others between kw_writer_init and kw_writer_finish. */
struct kw_writer {
    struct kb_chain *chain; /* NULL: only count bytes */
    struct kb_block *block; /* being filled; bytes from block_start on are not in the chain yet */
    uint32_t block_start;
    size_t chain_count; /* slices before this writer */
    uint64_t size;      /* bytes written by this writer */
    uint8_t *frame;     /* size field of the open frame, or NULL */
    uint64_t frame_start;
    int error;
};
void kw_writer_init(struct kw_writer *w, struct kb_chain *chain);
/* A writer that only counts bytes in w->size. */
void kw_writer_init_measure(struct kw_writer *w);
void kw_writer_fail(struct kw_writer *w, int negative_error);
/* Hand everything to the chain. 0; or the negative error, and the chain is as it was before
 * kw_writer_init: -KB_EUNSUPPORTED when a message held a value that its version cannot carry,
 * -KB_ETOOBIG when a length does not fit its field. */
int kw_writer_finish(struct kw_writer *w);

/* Start a frame: leave room for its int32 size. Frames do not nest. */
void kw_frame_begin(struct kw_writer *w);
/* End the frame: fill in the size of what was written since. */
void kw_frame_end(struct kw_writer *w);

void kw_put_raw(struct kw_writer *w, const void *data, size_t size);
void kw_put_bool(struct kw_writer *w, bool v);
void kw_put_int8(struct kw_writer *w, int8_t v);
void kw_put_int16(struct kw_writer *w, int16_t v);
void kw_put_uint16(struct kw_writer *w, uint16_t v);
void kw_put_int32(struct kw_writer *w, int32_t v);
void kw_put_int64(struct kw_writer *w, int64_t v);
void kw_put_float64(struct kw_writer *w, double v);
void kw_put_uuid(struct kw_writer *w, const struct kb_uuid *v);
void kw_put_uvarint(struct kw_writer *w, uint32_t v);
void kw_put_varint(struct kw_writer *w, int32_t v);
void kw_put_varlong(struct kw_writer *w, int64_t v);
/* Null where nullable is false is written as empty. */
void kw_put_str(struct kw_writer *w, bool flexible, bool nullable, struct kw_str v);
void kw_put_bytes(struct kw_writer *w, bool flexible, bool nullable, struct kw_bytes v);
/* The chain's slices follow by reference, without a copy, when chain is not NULL; else as bytes. */
void kw_put_records(struct kw_writer *w, bool flexible, bool nullable, struct kw_bytes v,
                    const struct kb_chain *chain);
/* count < 0 is null, or empty where nullable is false; returns the number of elements to write. */
int32_t kw_put_count(struct kw_writer *w, bool flexible, bool nullable, int32_t count);

/* ---- headers ---- */

struct kw_request_header {
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct kw_str client_id; /* data NULL when the client sent null */
};
enum kw_header_result {
    KW_HEADER_OK,
    KW_HEADER_UNKNOWN_API,         /* not in the table of api.h; read as header v1 */
    KW_HEADER_UNSUPPORTED_VERSION, /* ApiVersions answers this with a v0 body, others close */
};
/* Read the header that fits the API and version. An enum kw_header_result, or -KB_EINVAL. */
int kw_request_header_read(struct kw_reader *rd, struct kw_request_header *ret);
void kw_request_header_write(struct kw_writer *w, const struct kw_request_header *header);
/* v0 or v1 as the API and version want it; ApiVersions always has v0. */
void kw_response_header_write(struct kw_writer *w, int16_t api_key, int16_t version,
                              int32_t correlation_id);
/* 0 or -KB_EINVAL. */
int kw_response_header_read(struct kw_reader *rd, int16_t api_key, int16_t version,
                            int32_t *ret_correlation_id);

#endif
