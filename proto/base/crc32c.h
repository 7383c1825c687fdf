#ifndef KB_CRC32C_H
#define KB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli). Start with crc 0; results chain: crc(ab) = kb_crc32c(kb_crc32c(0, a), b).
 * "123456789" gives 0xe3069283. Uses SSE4.2 where the CPU has it. */
uint32_t kb_crc32c(uint32_t crc, const void *data, size_t size);
/* The portable table version, for tests and other CPUs. */
uint32_t kb_crc32c_table(uint32_t crc, const void *data, size_t size);

#endif
