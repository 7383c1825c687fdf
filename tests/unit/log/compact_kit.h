#ifndef TESTS_COMPACT_KIT_H
#define TESTS_COMPACT_KIT_H

#include "proto/base/prng.h"
#include "proto/kafka/batch.h"
#include "replication/log/compact.h"
#include "tests/sim/sim_disk.h"

/* A log of random batches on a simulated disk, and all of its content in memory. */

#define KIT_DIR "/data/orders-0"

struct kit_record {
    int64_t offset, timestamp;
    struct kb_buf key, value;
    bool null_key, null_value;
    int32_t header_count;
};
struct kit_batch {
    struct kb_buf raw;
    struct kw_batch head; /* over raw */
    int64_t segment_base;
    bool last_of_segment;
    enum log_marker marker;
    struct kit_record *records;
    size_t count;
};
struct kit_log {
    struct kit_batch *batches;
    size_t count, capacity;
    struct log_compact_segment *segments;
    size_t segment_count, segment_capacity;
    int64_t end_offset;
};
/* Read all NNN.log files, checking CRCs and order. */
void kit_read(struct sim_disk *d, struct kit_log *ret);
void kit_release(struct kit_log *l);
/* Same batches, byte for byte. */
bool kit_same(const struct kit_log *a, const struct kit_log *b);

/* Writes closed segments, one after the other, directly to the disk. */
struct kit_producer {
    int16_t epoch;
    int32_t next_sequence;
    bool in_txn;
    int64_t last_data_offset;
};
enum { KIT_PRODUCERS = 4 };
struct kit_writer {
    struct sim_disk *disk;
    struct kb_prng rng;
    uint64_t key_count;
    int64_t next_offset;
    int64_t now_ms; /* stamp of records */
    bool transactions;
    struct kit_producer producers[KIT_PRODUCERS];
    struct kb_buf segment;
    int64_t segment_base;
};
void kit_writer_init(struct kit_writer *w, struct sim_disk *d, uint64_t seed);
void kit_write_batch(struct kit_writer *w);
/* One record; value NULL = null. */
void kit_write_record(struct kit_writer *w, const char *key, const char *value);
void kit_write_txn_record(struct kit_writer *w, int producer, const char *key, const char *value);
void kit_write_marker(struct kit_writer *w, int producer, bool commit);
/* End all open transactions. */
void kit_end_txns(struct kit_writer *w);
/* Close the segment. */
void kit_roll(struct kit_writer *w);
void kit_writer_release(struct kit_writer *w);
/* What the log would say of its producers, all alive. Caller frees. */
struct log_producer_last *kit_producers(const struct kit_writer *w, size_t *ret_count);

#endif
