#include "proto/kafka/dump.h"

#include <inttypes.h>
#include <string.h>

#include "proto/kafka/messages_table.h"

void kw_dump_comma(struct kb_buf *out)
{
    if (out->size > 0 && strchr("{[", out->data[out->size - 1]) == NULL)
        kb_buf_append_str(out, ",");
}

void kw_dump_name(struct kb_buf *out, const char *name)
{
    kw_dump_comma(out);
    kb_buf_printf(out, "\"%s\":", name);
}

void kw_dump_bool(struct kb_buf *out, bool v)
{
    kb_buf_append_str(out, v ? "true" : "false");
}

void kw_dump_number(struct kb_buf *out, int64_t v)
{
    kb_buf_printf(out, "%" PRId64, v);
}

void kw_dump_uuid(struct kb_buf *out, const struct kb_uuid *v)
{
    char text[KB_UUID_TEXT_SIZE];
    kb_uuid_format(v, text);
    kb_buf_printf(out, "\"%s\"", text);
}

void kw_dump_str(struct kb_buf *out, struct kw_str v, bool nullable)
{
    if (v.data == NULL) {
        kb_buf_append_str(out, nullable ? "null" : "\"\"");
        return;
    }
    kb_buf_append_str(out, "\"");
    for (int32_t i = 0; i < v.size; i++) {
        unsigned char ch = (unsigned char)v.data[i];
        if (ch == '"' || ch == '\\')
            kb_buf_printf(out, "\\%c", ch);
        else if (ch < 0x20)
            kb_buf_printf(out, "\\u%04X", ch);
        else
            kb_buf_append(out, &ch, 1);
    }
    kb_buf_append_str(out, "\"");
}

void kw_dump_bytes(struct kb_buf *out, struct kw_bytes v, bool nullable)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (v.data == NULL) {
        kb_buf_append_str(out, nullable ? "null" : "\"\"");
        return;
    }
    kb_buf_append_str(out, "\"");
    for (int32_t i = 0; i < v.size; i += 3) {
        int32_t left = v.size - i;
        uint32_t word = (uint32_t)v.data[i] << 16;
        word |= left > 1 ? (uint32_t)v.data[i + 1] << 8 : 0;
        word |= left > 2 ? v.data[i + 2] : 0;
        char text[4] = {digits[word >> 18], digits[word >> 12 & 63],
                        left > 1 ? digits[word >> 6 & 63] : '=',
                        left > 2 ? digits[word & 63] : '='};
        kb_buf_append(out, text, sizeof(text));
    }
    kb_buf_append_str(out, "\"");
}

void kw_dump_records(struct kb_buf *out, const char *name, struct kw_bytes v)
{
    kw_dump_comma(out);
    if (v.data == NULL)
        kb_buf_printf(out, "\"%s\":null", name);
    else
        kb_buf_printf(out, "\"%sSizeInBytes\":%" PRId32, name, v.size);
}

const struct kw_message *kw_message_find(const char *name)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}
