#ifndef KB_UUID_H
#define KB_UUID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* 16 bytes in wire order; all zero means "none". Text form is Kafka's: 22 characters base64url
 * without padding. */
struct kb_uuid {
    uint8_t bytes[16];
};
#define KB_UUID_TEXT_SIZE 23 /* with the NUL */

static inline bool kb_uuid_equal(const struct kb_uuid *a, const struct kb_uuid *b)
{
    return memcmp(a->bytes, b->bytes, 16) == 0;
}
static inline int kb_uuid_compare(const struct kb_uuid *a, const struct kb_uuid *b)
{
    return memcmp(a->bytes, b->bytes, 16);
}
bool kb_uuid_is_zero(const struct kb_uuid *u);
void kb_uuid_format(const struct kb_uuid *u, char text[KB_UUID_TEXT_SIZE]);
/* 0, or -KB_EINVAL when text is not 22 base64url characters. */
int kb_uuid_parse(const char *text, struct kb_uuid *ret);
/* Turn 16 random bytes into a version 4 UUID whose text does not start with '-'. */
void kb_uuid_from_random(struct kb_uuid *u, const uint8_t random[16]);

#endif
