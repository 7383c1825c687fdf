#include "broker/server/properties.h"

#include <stdbool.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct reader {
    const char *text;
    size_t size;
    size_t position;
    unsigned line;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_end(char c)
{
    return c == '\n' || c == '\r';
}

static bool at_line_end(const struct reader *r)
{
    return r->position >= r->size || is_end(r->text[r->position]);
}

static void skip_blanks(struct reader *r)
{
    while (r->position < r->size && is_blank(r->text[r->position]))
        r->position++;
}

static void skip_line_end(struct reader *r)
{
    if (r->position >= r->size)
        return;
    if (r->text[r->position] == '\r' && r->position + 1 < r->size &&
        r->text[r->position + 1] == '\n')
        r->position++;
    r->position++;
    r->line++;
}

static void append_utf8(struct kb_buf *b, unsigned c)
{
    char out[4];
    size_t n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else if (c < 0x800) {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        out[n++] = (char)(0xe0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (c & 0x3f));
    }
    kb_buf_append(b, out, n);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The four digits behind \u. A surrogate half is kept as three bytes, as CESU-8 does. */
static int read_unicode(struct reader *r, struct kb_buf *to)
{
    unsigned c = 0;
    if (r->size - r->position < 4)
        return -KB_EINVAL;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(r->text[r->position++]);
        if (digit < 0)
            return -KB_EINVAL;
        c = c << 4 | (unsigned)digit;
    }
    if (c == 0)
        return -KB_EINVAL;
    append_utf8(to, c);
    return 0;
}

/* What follows a backslash: an escape, or the end of a line that goes on. */
static int read_escape(struct reader *r, struct kb_buf *to)
{
    if (r->position >= r->size)
        return 0;
    char c = r->text[r->position];
    if (is_end(c)) {
        skip_line_end(r);
        skip_blanks(r);
        return 0;
    }
    r->position++;
    switch (c) {
    case 't':
        kb_buf_append(to, "\t", 1);
        return 0;
    case 'n':
        kb_buf_append(to, "\n", 1);
        return 0;
    case 'r':
        kb_buf_append(to, "\r", 1);
        return 0;
    case 'f':
        kb_buf_append(to, "\f", 1);
        return 0;
    case 'u':
        return read_unicode(r, to);
    default:
        kb_buf_append(to, &c, 1);
        return 0;
    }
}

/* Up to the end of the logical line, or of the key. */
static int read_part(struct reader *r, struct kb_buf *to, bool key)
{
    to->size = 0;
    kb_buf_reserve(to, 1);
    while (!at_line_end(r)) {
        char c = r->text[r->position];
        if (key && (c == '=' || c == ':' || is_blank(c)))
            break;
        if (c == '\0')
            return -KB_EINVAL;
        r->position++;
        if (c == '\\') {
            int e = read_escape(r, to);
            if (e < 0)
                return e;
        } else {
            kb_buf_append(to, &c, 1);
        }
    }
    return 0;
}

static void terminate(struct kb_buf *b)
{
    while (b->size > 0 &&
           (is_blank((char)b->data[b->size - 1]) || is_end((char)b->data[b->size - 1])))
        b->size--;
    kb_buf_append(b, "", 1);
}

static int read_pair(struct reader *r, struct kb_buf *key, struct kb_buf *value)
{
    int e = read_part(r, key, true);
    if (e < 0)
        return e;
    skip_blanks(r);
    if (r->position < r->size && (r->text[r->position] == '=' || r->text[r->position] == ':')) {
        r->position++;
        skip_blanks(r);
    }
    e = read_part(r, value, false);
    terminate(key);
    terminate(value);
    return e;
}

int srv_properties_parse(const char *text, size_t size, srv_property_fn *fn, void *arg,
                         unsigned *ret_line)
{
    struct reader r = {.text = text, .size = size, .line = 1};
    struct kb_buf key = {0};
    struct kb_buf value = {0};
    int e = 0;
    while (e == 0 && r.position < r.size) {
        skip_blanks(&r);
        if (at_line_end(&r)) {
            skip_line_end(&r);
            continue;
        }
        if (r.text[r.position] == '#' || r.text[r.position] == '!') {
            while (!at_line_end(&r))
                r.position++;
            continue;
        }
        unsigned line = r.line;
        e = read_pair(&r, &key, &value);
        if (e < 0)
            *ret_line = r.line;
        else
            e = fn(arg, (const char *)key.data, (const char *)value.data, line);
    }
    kb_buf_release(&key);
    kb_buf_release(&value);
    return e;
}
