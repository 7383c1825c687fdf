#ifndef KW_DUMP_H
#define KW_DUMP_H

#include "proto/base/bytes.h"
#include "proto/kafka/codec.h"

/* Pieces of JSON for the generated dumps of messages_table.h: one line, no spaces, the same text
 * that Kafka's JsonConverter and Jackson make. They append to out. */

/* A comma unless this is the first element of an object or array. */
void kw_dump_comma(struct kb_buf *out);
/* The comma and "name": */
void kw_dump_name(struct kb_buf *out, const char *name);
void kw_dump_bool(struct kb_buf *out, bool v);
void kw_dump_number(struct kb_buf *out, int64_t v);
void kw_dump_uuid(struct kb_buf *out, const struct kb_uuid *v);
/* Null as null where nullable, else as empty. Bytes are base64. */
void kw_dump_str(struct kb_buf *out, struct kw_str v, bool nullable);
void kw_dump_bytes(struct kb_buf *out, struct kw_bytes v, bool nullable);
/* "nameSizeInBytes":n, or "name":null. */
void kw_dump_records(struct kb_buf *out, const char *name, struct kw_bytes v);

#endif
