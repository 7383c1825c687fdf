#ifndef META_RECORDS_H
#define META_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/metadata/image.h"
#include "proto/base/bytes.h"
#include "proto/cluster/metadata.pb-c.h"

/* Encoded metadata records in order: what is appended to the log as ONE batch (rule 6.5). Owned by
 * one thread. Zero-initialise to start. */
struct meta_span {
    uint32_t position;
    uint32_t size;
};
struct meta_records {
    struct kb_buf bytes;
    struct meta_span *spans;
    size_t count;
    size_t capacity;
};
/* The value of record i; valid until the next add. */
struct kb_view meta_records_at(const struct meta_records *r, size_t i);
static inline size_t meta_records_bytes(const struct meta_records *r)
{
    return r->bytes.size;
}
void meta_records_clear(struct meta_records *r);
void meta_records_release(struct meta_records *r);
/* Drop the records from the count-th on. */
void meta_records_truncate(struct meta_records *r, size_t count);

void meta_records_add(struct meta_records *r, const Kc__Record *record);
/* The no-op a new leader begins its term with. */
void meta_records_add_no_op(struct meta_records *r);
/* The whole new set; retired: all directories replaced so far, without hosts. */
void meta_records_add_voters(struct meta_records *r, const struct meta_voter *voters, size_t count,
                             const struct meta_voter *retired, size_t retired_count);

/* What a cluster is founded with (rule 11.2). */
struct meta_founding {
    const char *cluster_id;
    const struct meta_voter *voters;
    size_t voters_count;
    /* Explicitly configured topic defaults, topic-level names; unknown names are left out. */
    const struct meta_config_entry *topic_configs;
    size_t topic_configs_count;
};
void meta_records_add_founding(struct meta_records *r, const struct meta_founding *f);

#endif
