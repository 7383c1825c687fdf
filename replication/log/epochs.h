#ifndef LOG_EPOCHS_H
#define LOG_EPOCHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Leader epochs of one log: where each begins. Pure; owned by one log or one job.
 * Invariant: both epochs and start offsets rise strictly. Zero-initialise to start. */
struct log_epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};
struct log_epochs {
    struct log_epoch_entry *entries;
    size_t count, capacity;
};
void log_epochs_release(struct log_epochs *e);
void log_epochs_copy(struct log_epochs *to, const struct log_epochs *from);

/* Enter (epoch, start). Ignored unless epoch is above the last one. An entry that starts at or
 * behind start held no records and is replaced. True when something changed. */
bool log_epochs_assign(struct log_epochs *e, int32_t epoch, int64_t start_offset);
/* The log now ends at offset: entries that start at or behind it go, all of them (KAFKA-10706). */
void log_epochs_truncate_end(struct log_epochs *e, int64_t offset);
/* The log now starts at offset: older entries go, the one in force there starts there. */
void log_epochs_truncate_start(struct log_epochs *e, int64_t offset);
int32_t log_epochs_last(const struct log_epochs *e); /* -1: none */
/* Epoch in force at offset; -1: before the first entry. */
int32_t log_epochs_at(const struct log_epochs *e, int64_t offset);

/* log_epoch_end_offset of log.h. Entries are kept as long as their batches are in the files, so
 * that epochs never seem to fall in a file; what lies below log_start does not count here. */
struct log_epoch_end;
struct log_epoch_end log_epochs_end_offset(const struct log_epochs *e, int32_t epoch,
                                           int64_t log_start, int64_t log_end);

/* Kafka's leader-epoch-checkpoint: "0\n" count "\n" then "epoch start\n" each. Kafka takes any
 * white space at the end of an entry: the last one has a checksum there, 32 blanks and tabs. Files
 * without are taken, too. */
void log_epochs_format(const struct log_epochs *e, struct kb_buf *ret);
/* 0, or -KB_ECORRUPT (malformed, not rising, another checksum) with *ret untouched. */
int log_epochs_parse(const void *data, size_t size, struct log_epochs *ret);

#endif
