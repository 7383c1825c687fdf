#include "replication/log/dir_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

/* ---- lines and numbers ---- */

/* Take the next line off text, without its end; false at the end. */
static bool next_line(struct kb_view *text, struct kb_view *ret)
{
    if (text->size == 0)
        return false;
    const uint8_t *end = memchr(text->data, '\n', text->size);
    size_t size = end == NULL ? text->size : (size_t)(end - text->data);
    size_t taken = end == NULL ? size : size + 1;
    *ret = kb_view_of(text->data, size);
    if (ret->size != 0 && ret->data[ret->size - 1] == '\r')
        ret->size--;
    *text = kb_view_of(text->data + taken, text->size - taken);
    return true;
}

/* Take the next word up to a blank. */
static struct kb_view next_word(struct kb_view *line)
{
    const uint8_t *end = line->size == 0 ? NULL : memchr(line->data, ' ', line->size);
    size_t size = end == NULL ? line->size : (size_t)(end - line->data);
    size_t taken = end == NULL ? size : size + 1;
    struct kb_view word = kb_view_of(line->data, size);
    *line = kb_view_of(line->data + taken, line->size - taken);
    return word;
}

/* A decimal number that fills the view. */
static bool parse_int(struct kb_view v, int64_t min, int64_t max, int64_t *ret)
{
    size_t i = 0;
    bool negative = v.size > 1 && v.data[0] == '-';
    uint64_t n = 0;
    if (negative)
        i = 1;
    if (i == v.size || v.size - i > 19)
        return false;
    for (; i < v.size; i++) {
        if (v.data[i] < '0' || v.data[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.data[i] - '0');
    }
    if (n > (uint64_t)INT64_MAX)
        return false;
    int64_t value = negative ? -(int64_t)n : (int64_t)n;
    if (value < min || value > max)
        return false;
    *ret = value;
    return true;
}

static bool copy_text(struct kb_view v, char *ret, size_t capacity)
{
    if (v.size >= capacity)
        return false;
    memcpy(ret, v.data, v.size);
    ret[v.size] = '\0';
    return true;
}

/* The value of "key=value" or, for Kafka's other files, "key: value". */
static bool value_of(struct kb_view line, const char *key, struct kb_view *ret)
{
    size_t size = strlen(key);
    if (line.size < size || memcmp(line.data, key, size) != 0)
        return false;
    *ret = kb_view_of(line.data + size, line.size - size);
    return true;
}

static bool parse_uuid(struct kb_view v, struct kb_uuid *ret)
{
    char text[KB_UUID_TEXT_SIZE];
    return copy_text(v, text, sizeof(text)) && kb_uuid_parse(text, ret) == 0 &&
           !kb_uuid_is_zero(ret);
}

/* ---- meta.properties ---- */

int dir_meta_parse(struct kb_view text, struct dir_meta *ret)
{
    struct dir_meta m = {.node_id = -1};
    struct kb_view line;
    struct kb_view v;
    int64_t version = -1;
    int64_t number = -1;
    while (next_line(&text, &line)) {
        bool good = true;
        if (value_of(line, "version=", &v))
            good = parse_int(v, 0, INT32_MAX, &version);
        else if (value_of(line, "node.id=", &v))
            good = parse_int(v, 0, INT32_MAX, &number);
        else if (value_of(line, "directory.id=", &v))
            good = parse_uuid(v, &m.directory_id);
        else if (value_of(line, "cluster.id=", &v))
            good = v.size != 0 && copy_text(v, m.cluster_id, sizeof(m.cluster_id));
        if (!good)
            return -KB_ECORRUPT;
    }
    if (version >= 0 && version != 1)
        return -KB_EUNSUPPORTED;
    if (version < 0 || number < 0 || kb_uuid_is_zero(&m.directory_id))
        return -KB_ECORRUPT;
    m.node_id = (int32_t)number;
    *ret = m;
    return 0;
}

void dir_meta_format(const struct dir_meta *m, struct kb_buf *ret)
{
    char id[KB_UUID_TEXT_SIZE];
    kb_uuid_format(&m->directory_id, id);
    kb_buf_append_str(ret, "#\n");
    if (m->cluster_id[0] != '\0')
        kb_buf_printf(ret, "cluster.id=%s\n", m->cluster_id);
    kb_buf_printf(ret, "directory.id=%s\nnode.id=%d\nversion=1\n", id, m->node_id);
}

/* ---- kvorum.state ---- */

int dir_state_parse(struct kb_view text, struct dir_state *ret)
{
    struct dir_state s = {.broker_epoch = -1, .meta = {.node_id = -1}};
    struct kb_view rest = text;
    struct kb_view line;
    struct kb_view v;
    int64_t version = -1;
    int64_t index = -1;
    int64_t node = -1;
    bool summed = false;
    const uint8_t *line_start = rest.data;
    while (next_line(&rest, &line)) {
        bool good = !summed; /* the checksum is the last line */
        if (value_of(line, "version=", &v))
            good = good && parse_int(v, 1, 1, &version);
        else if (value_of(line, "broker.epoch=", &v))
            good = good && parse_int(v, -1, INT64_MAX, &s.broker_epoch);
        else if (value_of(line, "boot.id=", &v))
            good = good && copy_text(v, s.boot_id, sizeof(s.boot_id));
        else if (value_of(line, "creations.index=", &v))
            good = good && parse_int(v, 0, INT64_MAX, &index);
        else if (value_of(line, "cluster.id=", &v))
            good = good && copy_text(v, s.meta.cluster_id, sizeof(s.meta.cluster_id));
        else if (value_of(line, "directory.id=", &v))
            good = good && parse_uuid(v, &s.meta.directory_id);
        else if (value_of(line, "node.id=", &v))
            good = good && parse_int(v, 0, INT32_MAX, &node);
        else if (value_of(line, "crc=", &v)) {
            char want[9];
            uint32_t crc = kb_crc32c(0, text.data, (size_t)(line_start - text.data));
            (void)snprintf(want, sizeof(want), "%08x", crc);
            summed = kb_view_equal(v, kb_view_str(want));
            good = good && summed;
        }
        if (!good)
            return -KB_ECORRUPT;
        line_start = rest.data;
    }
    if (!summed || version < 0 || index < 0)
        return -KB_ECORRUPT;
    s.creations_index = (uint64_t)index;
    if (!kb_uuid_is_zero(&s.meta.directory_id))
        s.meta.node_id = (int32_t)node;
    *ret = s;
    return 0;
}

void dir_state_format(const struct dir_state *s, struct kb_buf *ret)
{
    size_t start = ret->size;
    kb_buf_printf(ret, "version=1\nbroker.epoch=%lld\nboot.id=%s\ncreations.index=%llu\n",
                  (long long)s->broker_epoch, s->boot_id, (unsigned long long)s->creations_index);
    if (s->meta.node_id >= 0) {
        char id[KB_UUID_TEXT_SIZE];
        kb_uuid_format(&s->meta.directory_id, id);
        kb_buf_printf(ret, "cluster.id=%s\ndirectory.id=%s\nnode.id=%d\n", s->meta.cluster_id, id,
                      s->meta.node_id);
    }
    kb_buf_printf(ret, "crc=%08x\n", kb_crc32c(0, ret->data + start, ret->size - start));
}

/* ---- the clean marker, partition.metadata ---- */

int dir_marker_parse(struct kb_view text, int64_t *ret_broker_epoch)
{
    static const char key[] = "\"brokerEpoch\":";
    const uint8_t *at = text.size == 0 ? NULL : memmem(text.data, text.size, key, sizeof(key) - 1);
    if (at == NULL)
        return -KB_ECORRUPT;
    at += sizeof(key) - 1;
    const uint8_t *end = text.data + text.size;
    while (at < end && *at == ' ')
        at++;
    size_t size = 0;
    while (at + size < end && (at[size] == '-' || (at[size] >= '0' && at[size] <= '9')))
        size++;
    return parse_int(kb_view_of(at, size), -1, INT64_MAX, ret_broker_epoch) ? 0 : -KB_ECORRUPT;
}

void dir_marker_format(int64_t broker_epoch, struct kb_buf *ret)
{
    kb_buf_printf(ret, "{\"version\":0,\"brokerEpoch\":%lld}", (long long)broker_epoch);
}

int dir_partition_metadata_parse(struct kb_view text, struct kb_uuid *ret_topic_id)
{
    struct kb_view line;
    struct kb_view v;
    bool found = false;
    while (next_line(&text, &line)) {
        if (value_of(line, "version: ", &v) && !kb_view_equal(v, kb_view_str("0")))
            return -KB_ECORRUPT;
        if (value_of(line, "topic_id: ", &v)) {
            if (!parse_uuid(v, ret_topic_id))
                return -KB_ECORRUPT;
            found = true;
        }
    }
    return found ? 0 : -KB_ECORRUPT;
}

/* ---- checkpoints ---- */

static bool parse_line(struct kb_view line, struct kb_view *ret_topic, int64_t *ret_partition,
                       int64_t *ret_offset)
{
    *ret_topic = next_word(&line);
    struct kb_view partition = next_word(&line);
    return ret_topic->size != 0 && ret_topic->size <= 249 &&
           parse_int(partition, 0, INT32_MAX, ret_partition) &&
           parse_int(line, 0, INT64_MAX, ret_offset);
}

int dir_checkpoint_parse(struct kb_view text, dir_checkpoint_fn *fn, void *arg)
{
    struct kb_view line = {0};
    struct kb_view topic;
    int64_t version = -1;
    int64_t count = -1;
    int64_t partition = -1;
    int64_t offset = -1;
    if (!next_line(&text, &line) || !parse_int(line, 0, 0, &version) || !next_line(&text, &line) ||
        !parse_int(line, 0, INT32_MAX, &count))
        return -KB_ECORRUPT;
    struct kb_view rest = text;
    for (int64_t i = 0; i < count; i++)
        if (!next_line(&rest, &line) || !parse_line(line, &topic, &partition, &offset))
            return -KB_ECORRUPT;
    if (rest.size != 0)
        return -KB_ECORRUPT;
    while (next_line(&text, &line)) {
        (void)parse_line(line, &topic, &partition, &offset);
        fn(arg, (const char *)topic.data, topic.size, (int32_t)partition, offset);
    }
    return 0;
}

void dir_checkpoint_begin(struct kb_buf *b, size_t count)
{
    kb_buf_printf(b, "0\n%zu\n", count);
}

void dir_checkpoint_line(struct kb_buf *b, const char *topic, int32_t partition, int64_t offset)
{
    kb_buf_printf(b, "%s %d %lld\n", topic, partition, (long long)offset);
}

/* ---- names ---- */

bool dir_log_name_parse(const char *name, size_t *ret_topic_size, int32_t *ret_partition)
{
    const char *dash = strrchr(name, '-');
    int64_t partition = -1;
    if (dash == NULL || dash == name || dash - name > 249 || dash[1] == '-' ||
        (dash[1] == '0' && dash[2] != '\0') ||
        !parse_int(kb_view_str(dash + 1), 0, INT32_MAX, &partition))
        return false;
    for (const char *c = name; c < dash; c++) {
        bool legal = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '.' || *c == '_' || *c == '-';
        if (!legal)
            return false;
    }
    *ret_topic_size = (size_t)(dash - name);
    *ret_partition = (int32_t)partition;
    return true;
}

char *dir_log_name_aside(const char *name, uint64_t random, const char *suffix)
{
    enum { NAME_MAX_ = 255, HEX = 32 };
    size_t keep = NAME_MAX_ - 1 - HEX - strlen(suffix);
    if (strlen(name) < keep)
        keep = strlen(name);
    return kb_asprintf("%.*s.%032llx%s", (int)keep, name, (unsigned long long)random, suffix);
}
