#ifndef LOG_COMPACT_INTERNAL_H
#define LOG_COMPACT_INTERNAL_H

#include "proto/kafka/batch.h"
#include "replication/log/compact.h"
#include "replication/log/compact_map.h"
#include "replication/log/index.h"
#include "replication/log/scan.h"

/* Inside of a compaction run: compact.c finds out what is newest (the map, the transactions),
 * compact_clean.c judges batch by batch and writes the new segments. */

/* A transaction that aborted: its producer's data in [first, last] is void. */
struct compact_aborted {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* the marker's */
};

/* Producers with a transaction under way at some point of a scan. */
struct compact_open {
    int64_t producer_id;
    int64_t first_offset;
};
struct compact_open_list {
    struct compact_open *all;
    size_t count, capacity;
};
struct compact_open *compact_open_find(struct compact_open_list *list, int64_t producer_id);
void compact_open_add(struct compact_open_list *list, int64_t producer_id, int64_t first_offset);
void compact_open_remove(struct compact_open_list *list, struct compact_open *open);

struct compact {
    struct kb_fs *fs;
    const struct log_compact_input *in;
    struct log_compact_result *result;
    struct compact_map map;
    int64_t map_end;                 /* records below it are judged; the rest stays as it is */
    struct compact_aborted *aborted; /* by producer, then marker */
    size_t aborted_count, aborted_capacity;
};
/* What a call that changes the disk returned: notes whether the disk failed. */
int compact_wrote(struct compact *c, int result);
/* Does this data batch belong to an aborted transaction? */
bool compact_is_aborted(const struct compact *c, const struct kw_batch *b);

/* Walk the batches of one segment; a batch that is not good is damage. */
int compact_scan(struct compact *c, const struct log_compact_segment *segment, bool check_crc,
                 log_scan_fn *fn, void *arg);

/* Clean the segments of g into BASE.log.cleaned and its indexes, synced (the directory is not).
 * *ret_changed false: nothing would change, and nothing was left behind. */
struct compact_cleaner;
struct compact_cleaner *compact_cleaner_new(struct compact *c);
struct compact_cleaner *compact_cleaner_free(struct compact_cleaner *cl);
/* Groups are cleaned in log order: what is known of open transactions goes on from one to the next.
 */
int compact_clean_group(struct compact_cleaner *cl, struct log_compact_group *g, bool *ret_changed);

/* DIR/NNN.log.cleaned: suffix ".log", state ".cleaned". New string. */
char *compact_path(const char *dir, int64_t base_offset, const char *suffix, const char *state);
/* Remove what an earlier run left that was not swapped in to the end. */
int compact_clear_cleaned(struct kb_fs *fs, const char *dir);
/* Remove a file that may be there. */
int compact_unlink(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *suffix,
                   const char *state);

#endif
