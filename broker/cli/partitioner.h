#ifndef CLI_PARTITIONER_H
#define CLI_PARTITIONER_H

#include <stddef.h>
#include <stdint.h>

/* Where keyed records go: as Kafka's Java client does, so that both agree. */

uint32_t cli_murmur2(const void *data, size_t size);
/* Partition of a key; count >= 1. */
int32_t cli_key_partition(const void *key, size_t size, int32_t count);

#endif
