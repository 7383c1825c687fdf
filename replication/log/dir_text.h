#ifndef LOG_DIR_TEXT_H
#define LOG_DIR_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/uuid.h"

/* The small text files of a data directory: bytes to values and back. Pure. Readers take any bytes
 * and answer 0 or -KB_ECORRUPT; outputs are set only on success. */

#define DIR_TEXT_BYTES_MAX (64u << 20)

/* meta.properties. */
struct dir_meta {
    struct kb_uuid directory_id;
    int32_t node_id;
    char cluster_id[64]; /* "": blank */
};
/* Also -KB_EUNSUPPORTED: another version. */
int dir_meta_parse(struct kb_view text, struct dir_meta *ret);
void dir_meta_format(const struct dir_meta *m, struct kb_buf *ret);

/* kvorum.state. Under its checksum it has meta.properties a second time. */
struct dir_state {
    int64_t broker_epoch;     /* -1: none */
    uint64_t creations_index; /* 0: none */
    char boot_id[64];         /* "": unknown */
    struct dir_meta meta;     /* node_id -1: not there (written by an earlier version) */
};
int dir_state_parse(struct kb_view text, struct dir_state *ret);
void dir_state_format(const struct dir_state *s, struct kb_buf *ret);

/* The clean marker, Kafka's JSON. */
int dir_marker_parse(struct kb_view text, int64_t *ret_broker_epoch);
void dir_marker_format(int64_t broker_epoch, struct kb_buf *ret);

/* partition.metadata. */
int dir_partition_metadata_parse(struct kb_view text, struct kb_uuid *ret_topic_id);

/* Offset checkpoints: "0", count, lines "topic partition offset". fn is called for each line once
 * the whole file has proved sound. */
typedef void dir_checkpoint_fn(void *arg, const char *topic, size_t topic_size, int32_t partition,
                               int64_t offset);
int dir_checkpoint_parse(struct kb_view text, dir_checkpoint_fn *fn, void *arg);
void dir_checkpoint_begin(struct kb_buf *b, size_t count);
void dir_checkpoint_line(struct kb_buf *b, const char *topic, int32_t partition, int64_t offset);

/* "topic-partition", the name of a log's directory. False when it is none (also -stray, -delete,
 * -future). *ret_topic_size bytes of name are the topic. */
bool dir_log_name_parse(const char *name, size_t *ret_topic_size, int32_t *ret_partition);
/* NAME.<hex><suffix> within the 255 bytes of a file name. New string. */
char *dir_log_name_aside(const char *name, uint64_t random, const char *suffix);

#endif
