#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "broker/cli/internal.h"

/* `kvorum log dump`: files of a partition, offline. Each line is one object that begins with its
 * "type": one JSON object a line, or TYPE NAME=VALUE… for people. */

struct cli_dump {
    const struct cli_args *args;
    const char *path;
    char *directory;     /* name of the folder: "orders-0" */
    int64_t base_offset; /* of the file's name; -1: the name has none */
    int fd;
    uint64_t size;
    uint64_t problems;
};

/* Print and free. With --verify only problems and summaries appear. */
void cli_dump_emit(struct cli_dump *d, json_t *line);
void cli_dump_problem(struct cli_dump *d, uint64_t position, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* All bytes at position, or false (told as a problem). */
bool cli_dump_read(struct cli_dump *d, uint64_t position, void *data, size_t size);
/* The whole file; false when it is larger than size_max (told as a problem). */
bool cli_dump_read_all(struct cli_dump *d, size_t size_max, struct kb_buf *ret);

void cli_dump_segment(struct cli_dump *d);           /* NNN.log */
void cli_dump_index(struct cli_dump *d);             /* NNN.index */
void cli_dump_time_index(struct cli_dump *d);        /* NNN.timeindex */
void cli_dump_producers(struct cli_dump *d);         /* NNN.snapshot */
void cli_dump_epochs(struct cli_dump *d);            /* leader-epoch-checkpoint */
void cli_dump_metadata_snapshot(struct cli_dump *d); /* *.checkpoint */

/* A metadata record in words: {"kind": "topic", …}; NULL when these bytes are none. */
json_t *cli_dump_metadata_record(struct kb_view bytes);
/* Key and value of __consumer_offsets; NULL when they are none. */
json_t *cli_dump_group_record(struct kw_bytes key, struct kw_bytes value);

#endif
