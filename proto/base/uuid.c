#include "proto/base/uuid.h"

#include "proto/base/err.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool kb_uuid_is_zero(const struct kb_uuid *u)
{
    static const uint8_t zero[16];
    return memcmp(u->bytes, zero, 16) == 0;
}

void kb_uuid_format(const struct kb_uuid *u, char text[KB_UUID_TEXT_SIZE])
{
    uint32_t bits = 0;
    int n_bits = 0;
    int out = 0;
    for (int i = 0; i < 16; i++) {
        bits = (bits << 8) | u->bytes[i];
        n_bits += 8;
        while (n_bits >= 6) {
            n_bits -= 6;
            text[out++] = alphabet[(bits >> n_bits) & 63];
        }
    }
    text[out++] = alphabet[(bits << (6 - n_bits)) & 63];
    text[out] = '\0';
}

int kb_uuid_parse(const char *text, struct kb_uuid *ret)
{
    struct kb_uuid u = {0};
    uint32_t bits = 0;
    int n_bits = 0;
    int out = 0;
    if (strlen(text) != KB_UUID_TEXT_SIZE - 1)
        return -KB_EINVAL;
    for (int i = 0; i < KB_UUID_TEXT_SIZE - 1; i++) {
        const char *at = strchr(alphabet, text[i]);
        if (at == NULL)
            return -KB_EINVAL;
        bits = (bits << 6) | (uint32_t)(at - alphabet);
        n_bits += 6;
        if (n_bits >= 8 && out < 16) {
            n_bits -= 8;
            u.bytes[out++] = (uint8_t)(bits >> n_bits);
        }
    }
    *ret = u;
    return 0;
}

void kb_uuid_from_random(struct kb_uuid *u, const uint8_t random[16])
{
    memcpy(u->bytes, random, 16);
    u->bytes[0] &= 0x7f; /* the first character is then never '-' or '_' */
    u->bytes[6] = (uint8_t)((u->bytes[6] & 0x0f) | 0x40);
    u->bytes[8] = (uint8_t)((u->bytes[8] & 0x3f) | 0x80);
}
