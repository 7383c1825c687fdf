#include "proto/base/crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78U /* Castagnoli, reflected */

/* Eight tables: slice-by-8 for the portable version. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int t = 1; t < 8; t++)
            table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xff];
    }
}

uint32_t kb_crc32c_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    (void)pthread_once(&table_once, table_init);
    crc = ~crc;
    while (size >= 8) {
        uint32_t low = 0;
        uint32_t high = 0;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc; /* little-endian hosts only; meson checks */
        crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^
              table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][(high >> 8) & 0xff] ^
              table[1][(high >> 16) & 0xff] ^ table[0][high >> 24];
        p += 8;
        size -= 8;
    }
    while (size-- > 0)
        crc = (crc >> 8) ^ table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

/* Three independent streams hide the instruction's latency of three cycles; a stream's result is
 * shifted over the length of those behind it with a table of x^(8*LANE) products. */
#define LANE_BYTES 256

static uint32_t lane_shift[4][256]; /* crc of (crc, LANE_BYTES zero bytes), by byte of crc */
static pthread_once_t lane_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static uint32_t one_stream(uint32_t crc, const uint8_t *p,
                                                             size_t size)
{
    uint64_t c = crc;
    while (size >= 8) {
        uint64_t v = 0;
        memcpy(&v, p, 8);
        c = _mm_crc32_u64(c, v);
        p += 8;
        size -= 8;
    }
    while (size-- > 0)
        c = _mm_crc32_u8((uint32_t)c, *p++);
    return (uint32_t)c;
}

static void lane_init(void)
{
    static const uint8_t zeros[LANE_BYTES];
    for (int byte = 0; byte < 4; byte++) {
        for (uint32_t i = 0; i < 256; i++)
            lane_shift[byte][i] = one_stream(i << (8 * byte), zeros, LANE_BYTES);
    }
}

static uint32_t shift_lane(uint32_t crc)
{
    return lane_shift[0][crc & 0xff] ^ lane_shift[1][(crc >> 8) & 0xff] ^
           lane_shift[2][(crc >> 16) & 0xff] ^ lane_shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t three_streams(uint32_t crc, const uint8_t *p,
                                                                size_t size)
{
    (void)pthread_once(&lane_once, lane_init);
    while (size >= (size_t)3 * LANE_BYTES) {
        uint64_t a = crc;
        uint64_t b = 0;
        uint64_t c = 0;
        for (int i = 0; i < LANE_BYTES; i += 8) {
            uint64_t va = 0;
            uint64_t vb = 0;
            uint64_t vc = 0;
            memcpy(&va, p + i, 8);
            memcpy(&vb, p + LANE_BYTES + i, 8);
            memcpy(&vc, p + 2 * LANE_BYTES + i, 8);
            a = _mm_crc32_u64(a, va);
            b = _mm_crc32_u64(b, vb);
            c = _mm_crc32_u64(c, vc);
        }
        crc = shift_lane(shift_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
        p += (size_t)3 * LANE_BYTES;
        size -= (size_t)3 * LANE_BYTES;
    }
    return one_stream(crc, p, size);
}

uint32_t kb_crc32c(uint32_t crc, const void *data, size_t size)
{
    if (!__builtin_cpu_supports("sse4.2"))
        return kb_crc32c_table(crc, data, size);
    return ~three_streams(~crc, data, size);
}

#else

uint32_t kb_crc32c(uint32_t crc, const void *data, size_t size)
{
    return kb_crc32c_table(crc, data, size);
}

#endif
