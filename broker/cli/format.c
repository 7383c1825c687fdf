/* How records are printed. */
#include "broker/cli/format.h"

#include <stdlib.h>

enum { VERBS_MAX = 256, HEADERS_MAX = 10000 };

/* Text, then a verb (0 at the end). */
struct piece {
    size_t text_at;
    size_t text_size;
    char verb;
};
struct cli_format {
    struct kb_buf text;
    struct piece pieces[VERBS_MAX];
    size_t count;
};

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The escape at text, behind its backslash: the byte, and how many characters it took; -1: none. */
static int escape_of(const char *text, size_t *ret_size)
{
    static const char letters[] = "ntr0\\";
    static const char bytes[] = "\n\t\r\0\\";
    const char *at = *text != '\0' ? strchr(letters, *text) : NULL;
    *ret_size = 1;
    if (at != NULL)
        return bytes[at - letters];
    if (text[0] != 'x' || hex_of(text[1]) < 0 || hex_of(text[2]) < 0)
        return -1;
    *ret_size = 3;
    return hex_of(text[1]) * 16 + hex_of(text[2]);
}

struct cli_format *cli_format_free(struct cli_format *f)
{
    if (f == NULL)
        return NULL;
    kb_buf_release(&f->text);
    return kb_free(f);
}

static void end_piece(struct cli_format *f, char verb)
{
    struct piece *p = &f->pieces[f->count++];
    p->text_size = f->text.size - p->text_at;
    p->verb = verb;
    if (f->count < VERBS_MAX)
        f->pieces[f->count].text_at = f->text.size;
}

struct cli_format *cli_format_new(const char *text)
{
    struct cli_format *f = kb_new(struct cli_format);
    for (const char *at = text; *at != '\0'; at++) {
        size_t size = 0;
        int byte = *at == '\\' ? escape_of(at + 1, &size) : -1;
        if (*at == '\\' && byte < 0) {
            cli_error("--format: \"%.2s\" is none of \\n \\t \\r \\0 \\\\ \\xHH", at);
            return cli_format_free(f);
        }
        if (byte >= 0) {
            char c = (char)byte;
            kb_buf_append(&f->text, &c, 1);
            at += size;
        } else if (*at == '%' && at[1] != '%') {
            if (f->count + 2 > VERBS_MAX) {
                cli_error("--format: more than %d verbs", VERBS_MAX - 1);
                return cli_format_free(f);
            }
            if (at[1] == '\0' || strchr("tpokvdh", at[1]) == NULL) {
                cli_error("--format: \"%.2s\" is none of %%t %%p %%o %%k %%v %%d %%h %%%%", at);
                return cli_format_free(f);
            }
            end_piece(f, *++at);
        } else {
            at += *at == '%';
            kb_buf_append(&f->text, at, 1);
        }
    }
    end_piece(f, 0);
    return f;
}

static void print_bytes(struct kw_bytes b, FILE *out)
{
    if (b.size > 0)
        (void)fwrite(b.data, 1, (size_t)b.size, out);
}

/* NAME=VALUE,NAME=VALUE */
static void print_headers(const struct kw_record *record, FILE *out)
{
    struct kw_reader rd;
    struct kw_record_header h;
    kw_reader_init(&rd, record->headers.data, (size_t)record->headers.size);
    for (int32_t i = 0; i < record->header_count && kw_record_header_next(&rd, &h) == 0; i++) {
        (void)fprintf(out, "%s%.*s=", i > 0 ? "," : "", h.key.size, h.key.data);
        print_bytes(h.value, out);
    }
}

void cli_format_print(const struct cli_format *f, const char *topic, int32_t partition,
                      const struct kw_record *record, FILE *out)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct piece *p = &f->pieces[i];
        if (p->text_size > 0)
            (void)fwrite(f->text.data + p->text_at, 1, p->text_size, out);
        switch (p->verb) {
        case 't':
            (void)fputs(topic, out);
            break;
        case 'p':
            (void)fprintf(out, "%d", partition);
            break;
        case 'o':
            (void)fprintf(out, "%" PRId64, record->offset);
            break;
        case 'k':
            print_bytes(record->key, out);
            break;
        case 'v':
            print_bytes(record->value, out);
            break;
        case 'd':
            (void)fprintf(out, "%" PRId64, record->timestamp);
            break;
        case 'h':
            print_headers(record, out);
            break;
        default:
            break;
        }
    }
}

/* ---- JSON --------------------------------------------------------------------------------------
 */

static void base64(const uint8_t *data, size_t size, struct kb_buf *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                     (left > 2 ? data[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        kb_buf_append(ret, four, sizeof(four));
    }
}

/* o[name] = text, or o[name_base64] for bytes that are no UTF-8. */
static void set_bytes(json_t *o, const char *name, struct kw_bytes b)
{
    if (b.data == NULL) {
        (void)json_object_set_new(o, name, json_null());
        return;
    }
    json_t *text = json_stringn((const char *)b.data, (size_t)b.size);
    if (text != NULL) {
        (void)json_object_set_new(o, name, text);
        return;
    }
    struct kb_buf coded = {0};
    char *other = kb_asprintf("%s_base64", name);
    base64(b.data, (size_t)b.size, &coded);
    (void)json_object_set_new(o, other, json_stringn((const char *)coded.data, coded.size));
    (void)kb_free(other);
    kb_buf_release(&coded);
}

static json_t *headers_json(const struct kw_record *record)
{
    json_t *list = json_array();
    struct kw_reader rd;
    struct kw_record_header h;
    kw_reader_init(&rd, record->headers.data, (size_t)record->headers.size);
    for (int32_t i = 0; i < record->header_count && i < HEADERS_MAX; i++) {
        if (kw_record_header_next(&rd, &h) < 0)
            break;
        json_t *o = json_object();
        set_bytes(o, "key", kw_bytes_of(h.key.data, (size_t)h.key.size));
        set_bytes(o, "value", h.value);
        (void)json_array_append_new(list, o);
    }
    return list;
}

void cli_record_json_print(const char *topic, int32_t partition, const struct kw_record *record,
                           FILE *out)
{
    json_t *o = json_pack("{s:i, s:s, s:i, s:I, s:I}", "schema_version", CLI_SCHEMA_VERSION,
                          "topic", topic, "partition", (int)partition, "offset",
                          (json_int_t)record->offset, "timestamp", (json_int_t)record->timestamp);
    set_bytes(o, "key", record->key);
    set_bytes(o, "value", record->value);
    (void)json_object_set_new(o, "headers", headers_json(record));
    (void)json_dumpf(o, out, JSON_COMPACT);
    (void)fputc('\n', out);
    json_decref(o);
}
