#include "replication/log/epochs.h"

#include <stdlib.h>

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

void log_epochs_format(const struct log_epochs *e, struct kb_buf *ret)
{
    kb_buf_printf(ret, "0\n%zu\n", e->count);
    for (size_t i = 0; i < e->count; i++)
        kb_buf_printf(ret, "%d %lld\n", e->entries[i].epoch, (long long)e->entries[i].start_offset);
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

int log_epochs_parse(const void *data, size_t size, struct log_epochs *ret)
{
    const char *p = data;
    const char *end = p + size;
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
