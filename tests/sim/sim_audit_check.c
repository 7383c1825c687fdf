#include "tests/sim/sim_audit_check.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/error.h"

#define PARTITIONS_MAX 64

struct record {
    int64_t offset, timestamp;
    int32_t epoch;
};

struct final_log {
    struct record *records;
    size_t count, capacity;
    int64_t end;
};

/* An answer that only the log of the end can judge. What lay below `committed` when it was given is
 * in that log, if it was not deleted since; what lies below `start` may not have counted, what lies
 * from `bound` on did not. */
struct waiting {
    struct sim_audit_question question;
    struct sim_audit_answer answer;
    int64_t start, committed, bound;
};

struct sim_audit_check {
    struct sim_checks *checks;
    struct waiting *waiting;
    size_t count, capacity;
    struct final_log logs[PARTITIONS_MAX];
};

static const char *const kinds[SIM_AUDIT_KIND_MAX_] = {"Fetch",
                                                       "ListOffsets earliest",
                                                       "ListOffsets latest",
                                                       "ListOffsets by time",
                                                       "ListOffsets largest time",
                                                       "OffsetForLeaderEpoch"};

struct sim_audit_check *sim_audit_check_new(struct sim_checks *checks)
{
    struct sim_audit_check *c = kb_new(struct sim_audit_check);
    c->checks = checks;
    return c;
}

struct sim_audit_check *sim_audit_check_free(struct sim_audit_check *c)
{
    if (c == NULL)
        return NULL;
    for (size_t p = 0; p < PARTITIONS_MAX; p++)
        free(c->logs[p].records);
    free(c->waiting);
    free(c);
    return NULL;
}

/* ---- P15 ---- */

/* The topic id: an answer to what does not exist is only that. */
static void check_topic(struct sim_audit_check *c, const struct sim_audit_question *q,
                        const struct sim_audit_answer *a, const struct sim_audit_view *after)
{
    bool unknown = a->error == KW_UNKNOWN_TOPIC_ID;
    if (q->before.knows_topic != after->knows_topic)
        return; /* it came or went meanwhile */
    sim_check(c->checks, SIM_CHECK_P15, unknown == !after->knows_topic,
              "broker %d: %s by a topic id that it %s is answered with %s", q->broker,
              kinds[q->kind], after->knows_topic ? "knows" : "does not know",
              kw_error_name(a->error));
}

/* The leader epoch. The broker's only rises, so that one below the first or above the last is so
 * whenever it looked. */
static void check_epoch(struct sim_audit_check *c, const struct sim_audit_question *q,
                        const struct sim_audit_answer *a, const struct sim_audit_view *after)
{
    const struct sim_audit_view *before = &q->before;
    int32_t asked = q->current_epoch;
    bool known = before->open && after->open;
    int16_t wanted = KW_NONE;
    if (asked >= 0 && asked < before->leader_epoch)
        wanted = KW_FENCED_LEADER_EPOCH;
    else if (asked >= 0 && asked > after->leader_epoch)
        wanted = KW_UNKNOWN_LEADER_EPOCH;
    else if (asked < 0 || before->leader_epoch != after->leader_epoch)
        return;
    bool fenced = a->error == KW_FENCED_LEADER_EPOCH || a->error == KW_UNKNOWN_LEADER_EPOCH;
    bool ok = wanted == KW_NONE ? !fenced || !known
                                : a->error == wanted || (!known && a->error != KW_NONE);
    sim_check(c->checks, SIM_CHECK_P15, ok,
              "partition %u: broker %d of epoch %d answers %s of one who knows epoch %d with %s",
              q->partition, q->broker, after->leader_epoch, kinds[q->kind], asked,
              kw_error_name(a->error));
}

/* ---- P18 and P19, by what the broker was ---- */

static void wait_for_the_end(struct sim_audit_check *c, const struct sim_audit_question *q,
                             const struct sim_audit_answer *a, const struct sim_audit_view *after)
{
    kb_array_reserve(c->waiting, c->count, c->capacity);
    c->waiting[c->count++] = (struct waiting){.question = *q,
                                              .answer = *a,
                                              .start = after->start,
                                              .committed = q->before.high_watermark,
                                              .bound = after->high_watermark};
}

static void check_range(struct sim_audit_check *c, const struct sim_audit_question *q,
                        const struct sim_audit_answer *a, int64_t low, int64_t high,
                        const char *what)
{
    sim_check(c->checks, q->kind == SIM_AUDIT_EPOCH_END ? SIM_CHECK_P19 : SIM_CHECK_P18,
              a->offset >= low && a->offset <= high,
              "partition %u: broker %d answers %s with %lld, its %s was %lld and became %lld",
              q->partition, q->broker, kinds[q->kind], (long long)a->offset, what, (long long)low,
              (long long)high);
}

static void check_epoch_end(struct sim_audit_check *c, const struct sim_audit_question *q,
                            const struct sim_audit_answer *a, const struct sim_audit_view *after)
{
    if (q->epoch == after->leader_epoch) {
        check_range(c, q, a, q->before.end, after->end, "log's end");
    } else if (q->epoch < 0 || q->epoch > after->leader_epoch) {
        sim_check(c->checks, SIM_CHECK_P19, a->epoch == -1 && a->offset == -1,
                  "partition %u: broker %d of epoch %d tells the end of epoch %d: %lld (epoch %d)",
                  q->partition, q->broker, after->leader_epoch, q->epoch, (long long)a->offset,
                  a->epoch);
        return;
    }
    sim_check(c->checks, SIM_CHECK_P19, a->epoch <= q->epoch,
              "partition %u: broker %d is asked for the end of epoch %d and tells that of %d",
              q->partition, q->broker, q->epoch, a->epoch);
    if (q->epoch < after->leader_epoch)
        wait_for_the_end(c, q, a, after);
}

void sim_audit_check_answer(struct sim_audit_check *c, const struct sim_audit_question *question,
                            const struct sim_audit_answer *answer,
                            const struct sim_audit_view *after)
{
    const struct sim_audit_question *q = question;
    const struct sim_audit_view *before = &q->before;
    KB_ASSERT(q->partition < PARTITIONS_MAX);
    if (before->life == 0 || before->life != after->life)
        return;
    if (q->by_id)
        check_topic(c, q, answer, after);
    if (q->other_topic)
        return;
    check_epoch(c, q, answer, after);
    if (answer->error != KW_NONE || !before->leads || !after->leads ||
        before->leader_epoch != after->leader_epoch)
        return;
    switch (q->kind) {
    case SIM_AUDIT_LATEST:
        check_range(c, q, answer, before->high_watermark, after->high_watermark, "high watermark");
        sim_check(c->checks, SIM_CHECK_P18, answer->offset >= after->epoch_start,
                  "partition %u: broker %d answers %s with %lld, its epoch %d began at %lld",
                  q->partition, q->broker, kinds[q->kind], (long long)answer->offset,
                  after->leader_epoch, (long long)after->epoch_start);
        wait_for_the_end(c, q, answer, after);
        break;
    case SIM_AUDIT_EARLIEST:
        check_range(c, q, answer, before->start, after->start, "log's start");
        wait_for_the_end(c, q, answer, after);
        break;
    case SIM_AUDIT_TIME:
    case SIM_AUDIT_MAX_TIME:
        wait_for_the_end(c, q, answer, after);
        break;
    case SIM_AUDIT_EPOCH_END:
        check_epoch_end(c, q, answer, after);
        break;
    default:
        break;
    }
}

/* ---- P18 and P19, by the log of the end ---- */

void sim_audit_check_record(struct sim_audit_check *c, uint32_t partition, int64_t offset,
                            int32_t epoch, int64_t timestamp)
{
    struct final_log *l = &c->logs[partition];
    kb_array_reserve(l->records, l->count, l->capacity);
    l->records[l->count++] =
        (struct record){.offset = offset, .timestamp = timestamp, .epoch = epoch};
}

void sim_audit_check_end(struct sim_audit_check *c, uint32_t partition, int64_t end)
{
    c->logs[partition].end = end;
}

static int64_t final_end(const struct final_log *l)
{
    return l->count > 0 ? l->records[l->count - 1].offset + 1 : l->end;
}

static int64_t final_start(const struct final_log *l)
{
    return l->count > 0 ? l->records[0].offset : l->end;
}

static bool later_than(const struct record *r, int64_t timestamp)
{
    return r->timestamp > timestamp;
}

static bool newer_than(const struct record *r, int64_t epoch)
{
    return r->epoch > epoch;
}

/* The first record from this offset on of which this is true; behind the last when none. */
static int64_t first_with(const struct final_log *l, int64_t from,
                          bool (*fn)(const struct record *r, int64_t than), int64_t than)
{
    for (size_t i = 0; i < l->count; i++) {
        if (l->records[i].offset >= from && fn(&l->records[i], than))
            return l->records[i].offset;
    }
    return final_end(l);
}

/* What was told was deleted then or since: the log of the end knows nothing of it. */
static bool is_gone(const struct waiting *w, const struct final_log *l)
{
    int64_t first = final_start(l);
    return w->answer.offset >= 0 && (w->answer.offset < first || w->answer.offset < w->start);
}

static const struct record *record_at(const struct final_log *l, int64_t offset)
{
    for (size_t i = 0; i < l->count; i++) {
        if (l->records[i].offset == offset)
            return &l->records[i];
    }
    return NULL;
}

static void judge_time(struct sim_audit_check *c, const struct waiting *w,
                       const struct final_log *l)
{
    int64_t first = first_with(l, w->start, later_than, w->question.timestamp - 1);
    int64_t told = w->answer.offset;
    const struct record *r = record_at(l, told);
    bool ok = told == first ? first < w->bound : told < 0 && first >= w->committed;
    sim_check(c->checks, SIM_CHECK_P18,
              ok && (told < 0 || (r != NULL && r->timestamp == w->answer.timestamp)),
              "partition %u: broker %d tells %lld (time %lld) as the first record from time %lld "
              "on; it is %lld, and %lld to %lld were committed",
              w->question.partition, w->question.broker, (long long)told,
              (long long)w->answer.timestamp, (long long)w->question.timestamp, (long long)first,
              (long long)w->committed, (long long)w->bound);
}

/* It was the first of the latest ones when some offset from committed to bound was the end. */
static void judge_max_time(struct sim_audit_check *c, const struct waiting *w,
                           const struct final_log *l)
{
    int64_t told = w->answer.offset;
    const struct record *r = record_at(l, told);
    int64_t first = final_start(l);
    first = first < w->start ? w->start : first;
    bool ok = told < 0 ? w->committed <= first
                       : r != NULL && told < w->bound && r->timestamp == w->answer.timestamp &&
                             first_with(l, w->start, later_than, r->timestamp - 1) == told &&
                             first_with(l, w->start, later_than, r->timestamp) >= w->committed;
    sim_check(c->checks, SIM_CHECK_P18, ok,
              "partition %u: broker %d tells %lld (time %lld) as the record with the largest time, "
              "of what was committed up to %lld to %lld",
              w->question.partition, w->question.broker, (long long)told,
              (long long)w->answer.timestamp, (long long)w->committed, (long long)w->bound);
}

static void judge_epoch_end(struct sim_audit_check *c, const struct waiting *w,
                            const struct final_log *l)
{
    int64_t end = first_with(l, 0, newer_than, w->question.epoch);
    int64_t told = w->answer.offset;
    bool committed = end < w->committed || told < w->committed;
    /* An epoch that ended below the log's start ends there. */
    bool at_start = told >= w->question.before.start && told <= w->start && end <= told;
    sim_check(c->checks, SIM_CHECK_P19, end == told || at_start || !committed,
              "partition %u: broker %d tells %lld as the end of epoch %d; by the log it is %lld",
              w->question.partition, w->question.broker, (long long)told, w->question.epoch,
              (long long)end);
}

void sim_audit_check_final(struct sim_audit_check *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct waiting *w = &c->waiting[i];
        const struct final_log *l = &c->logs[w->question.partition];
        int64_t first = final_start(l);
        if (is_gone(w, l) && w->question.kind != SIM_AUDIT_EARLIEST)
            continue;
        switch (w->question.kind) {
        case SIM_AUDIT_EARLIEST:
            if (w->start > 0)
                break; /* DeleteRecords or retention: P16 */
            sim_check(c->checks, SIM_CHECK_P18, w->answer.offset <= first || l->count == 0,
                      "partition %u: broker %d tells %lld as the earliest offset; %lld is there",
                      w->question.partition, w->question.broker, (long long)w->answer.offset,
                      (long long)first);
            break;
        case SIM_AUDIT_LATEST:
            sim_check(
                c->checks, SIM_CHECK_P18, w->answer.offset <= final_end(l),
                "partition %u: broker %d told %lld as the latest offset; the log ends at %lld",
                w->question.partition, w->question.broker, (long long)w->answer.offset,
                (long long)final_end(l));
            break;
        case SIM_AUDIT_TIME:
            judge_time(c, w, l);
            break;
        case SIM_AUDIT_MAX_TIME:
            judge_max_time(c, w, l);
            break;
        default:
            judge_epoch_end(c, w, l);
            break;
        }
    }
}
