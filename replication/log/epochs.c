#include "replication/log/epochs.h"

#include <stdlib.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mutant.h"
#include "replication/log/log.h"

void log_epochs_release(struct log_epochs *e)
{
    free(e->entries);
    *e = (struct log_epochs){0};
}

static void epochs_push(struct log_epochs *e, int32_t epoch, int64_t start_offset)
{
    kb_array_reserve(e->entries, e->count, e->capacity);
    e->entries[e->count++] = (struct log_epoch_entry){epoch, start_offset};
}

void log_epochs_copy(struct log_epochs *to, const struct log_epochs *from)
{
    log_epochs_release(to);
    for (size_t i = 0; i < from->count; i++)
        epochs_push(to, from->entries[i].epoch, from->entries[i].start_offset);
}

bool log_epochs_assign(struct log_epochs *e, int32_t epoch, int64_t start_offset)
{
    if (epoch < 0 || (e->count != 0 && epoch <= e->entries[e->count - 1].epoch))
        return false;
    log_epochs_truncate_end(e, start_offset);
    epochs_push(e, epoch, start_offset);
    return true;
}

void log_epochs_truncate_end(struct log_epochs *e, int64_t offset)
{
    while (e->count != 0 && e->entries[e->count - 1].start_offset >= offset &&
           !KB_MUTANT("epoch-table-not-cut"))
        e->count--;
}

void log_epochs_truncate_start(struct log_epochs *e, int64_t offset)
{
    size_t gone = 0;
    while (gone + 1 < e->count && e->entries[gone + 1].start_offset <= offset)
        gone++;
    if (gone != 0) {
        e->count -= gone;
        memmove(e->entries, e->entries + gone, e->count * sizeof(e->entries[0]));
    }
    if (e->count != 0 && e->entries[0].start_offset < offset)
        e->entries[0].start_offset = offset;
}

int32_t log_epochs_last(const struct log_epochs *e)
{
    return e->count != 0 ? e->entries[e->count - 1].epoch : -1;
}

int32_t log_epochs_at(const struct log_epochs *e, int64_t offset)
{
    for (size_t i = e->count; i > 0; i--) {
        if (e->entries[i - 1].start_offset <= offset)
            return e->entries[i - 1].epoch;
    }
    return -1;
}

struct log_epoch_end log_epochs_end_offset(const struct log_epochs *e, int32_t epoch,
                                           int64_t log_start, int64_t log_end)
{
    struct log_epoch_end none = {-1, -1};
    size_t first = 0; /* older ones lie below the log start: they are not known any more */
    while (first + 1 < e->count && e->entries[first + 1].start_offset <= log_start)
        first++;
    if (epoch == -1 || e->count == 0)
        return none;
    size_t i = e->count; /* entries[i - 1] is the largest epoch <= asked */
    while (i > first && e->entries[i - 1].epoch > epoch)
        i--;
    if (i == e->count) {
        if (e->entries[i - 1].epoch == epoch)
            return (struct log_epoch_end){epoch, log_end};
        return none; /* newer than all */
    }
    int64_t start = KB_MUTANT("epoch-ends-at-log-end") ? log_end : e->entries[i].start_offset;
    return (struct log_epoch_end){i == first ? epoch : e->entries[i - 1].epoch,
                                  start < log_start ? log_start : start};
}

enum { CRC_BITS = 32 };

/* The checksum of all before it, a blank or a tab for each bit. */
static void crc_format(uint32_t crc, char ret[CRC_BITS])
{
    for (int i = 0; i < CRC_BITS; i++)
        ret[i] = (crc >> i & 1) != 0 ? '\t' : ' ';
}

void log_epochs_format(const struct log_epochs *e, struct kb_buf *ret)
{
    size_t start = ret->size;
    char crc[CRC_BITS];
    kb_buf_printf(ret, "0\n%zu\n", e->count);
    for (size_t i = 0; i < e->count; i++)
        kb_buf_printf(ret, "%s%d %lld", i > 0 ? "\n" : "", e->entries[i].epoch,
                      (long long)e->entries[i].start_offset);
    if (e->count == 0)
        return;
    crc_format(kb_crc32c(0, ret->data + start, ret->size - start), crc);
    kb_buf_append(ret, crc, sizeof(crc));
    kb_buf_append_str(ret, "\n");
}

/* Takes a checksum off the end of the text: 0, also when there is none; -KB_ECORRUPT. */
static int crc_take(struct kb_buf *text)
{
    char want[CRC_BITS];
    size_t end = 0;
    if (text->size == 0 || text->data[text->size - 1] != '\n')
        return -KB_ECORRUPT;
    end = text->size - 1;
    while (end > 0 && (text->data[end - 1] < '0' || text->data[end - 1] > '9'))
        end--;
    if (end + 1 == text->size)
        return 0;
    crc_format(kb_crc32c(0, text->data, end), want);
    if (end == 0 || text->size - 1 - end != CRC_BITS ||
        memcmp(text->data + end, want, CRC_BITS) != 0)
        return -KB_ECORRUPT;
    text->data[end] = '\n';
    text->size = end + 1;
    return 0;
}

/* A decimal number, then the given end character. False when it is not there. */
static bool read_number(const char **p, const char *end, char stop, int64_t max, int64_t *ret)
{
    int64_t v = 0;
    const char *s = *p;
    const char *first = s;
    for (; s < end && *s >= '0' && *s <= '9'; s++) {
        int digit = *s - '0';
        if (digit > max || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (s == first || s == end || *s != stop)
        return false;
    *p = s + 1;
    *ret = v;
    return true;
}

static int text_parse(const struct kb_buf *text, struct log_epochs *ret)
{
    const char *p = (const char *)text->data;
    const char *end = p + text->size;
    size_t size = text->size;
    struct log_epochs e = {0};
    int64_t version = 0;
    int64_t count = 0;
    if (!read_number(&p, end, '\n', 0, &version) ||
        !read_number(&p, end, '\n', (int64_t)size, &count))
        return -KB_ECORRUPT;
    for (int64_t i = 0; i < count; i++) {
        int64_t epoch = 0;
        int64_t start = 0;
        if (!read_number(&p, end, ' ', INT32_MAX, &epoch) ||
            !read_number(&p, end, '\n', INT64_MAX, &start))
            goto corrupt;
        if (e.count != 0 &&
            (epoch <= e.entries[e.count - 1].epoch || start <= e.entries[e.count - 1].start_offset))
            goto corrupt;
        epochs_push(&e, (int32_t)epoch, start);
    }
    if (p != end)
        goto corrupt;
    log_epochs_release(ret);
    *ret = e;
    return 0;
corrupt:
    log_epochs_release(&e);
    return -KB_ECORRUPT;
}

int log_epochs_parse(const void *data, size_t size, struct log_epochs *ret)
{
    struct kb_buf text = {0};
    kb_buf_append(&text, data, size);
    int r = crc_take(&text);
    if (r == 0)
        r = text_parse(&text, ret);
    kb_buf_release(&text);
    return r;
}
