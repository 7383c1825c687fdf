/* Sessions: who is dead, by evidence of our own control links alone (rules 7.1-7.5). */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/mem.h"

static size_t session_lower_bound(const struct meta_controller *c, int32_t broker_id)
{
    size_t at = 0;
    while (at < c->sessions_count && c->sessions[at]->broker_id < broker_id)
        at++;
    return at;
}

struct meta_session *meta_session_find(const struct meta_controller *c, int32_t broker_id)
{
    size_t at = session_lower_bound(c, broker_id);
    return at < c->sessions_count && c->sessions[at]->broker_id == broker_id ? c->sessions[at]
                                                                             : NULL;
}

struct meta_session *meta_session_get(struct meta_controller *c, int32_t broker_id)
{
    struct meta_session *s = meta_session_find(c, broker_id);
    if (s != NULL)
        return s;
    s = kb_new(struct meta_session);
    s->broker_id = broker_id;
    s->grace_ms = c->config.link_grace_ms;
    size_t at = session_lower_bound(c, broker_id);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_insert(c->sessions, at, c->sessions_count, c->sessions_capacity);
    c->sessions[at] = s;
    return s;
}

void meta_sessions_free(struct meta_controller *c)
{
    for (size_t i = 0; i < c->sessions_count; i++) {
        free(c->sessions[i]->reports);
        free(c->sessions[i]->dead_links);
        free(c->sessions[i]);
    }
    free(c->sessions);
}

/* ---- judging ------------------------------------------------------------------------------------
 */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Last sign of life of the incarnation the session speaks of. */
static uint64_t last_sign(const struct meta_session *s)
{
    bool open_later = s->link == META_LINK_UP && s->link_since_ms > s->heard_ms;
    return open_later || s->heard_ms == 0 ? s->link_since_ms : s->heard_ms;
}

uint64_t meta_session_dead_at(const struct meta_controller *c, const struct meta_broker *b)
{
    const struct meta_session *s = meta_session_find(c, b->id);
    if (s == NULL)
        return c->scanning ? c->scan_until_ms : 0;
    if (s->link == META_LINK_DEAD)
        return s->link_since_ms;
    if (s->incarnation != b->incarnation) {
        /* An open link to another incarnation: this one is gone. Else the evidence is too old. */
        if (s->link == META_LINK_UP)
            return s->link_since_ms;
        return c->scanning ? c->scan_until_ms : 0;
    }
    if (b->id == c->config.node_id)
        return META_NEVER;
    uint64_t silent = last_sign(s) + c->config.session_timeout_ms;
    switch (s->link) {
    case META_LINK_UP:
    case META_LINK_ACCEPTING:
        return silent;
    case META_LINK_CLOSED:
        return earlier(silent, s->link_since_ms + s->grace_ms);
    case META_LINK_DEAD:
    case META_LINK_NONE:
        break;
    }
    return c->scanning ? c->scan_until_ms : 0;
}

bool meta_session_lives(const struct meta_controller *c, const struct meta_broker *b,
                        uint64_t now_ms)
{
    const struct meta_session *s = meta_session_find(c, b->id);
    if (s == NULL || s->incarnation != b->incarnation)
        return false;
    if (b->id == c->config.node_id)
        return true;
    return s->link == META_LINK_UP && now_ms < last_sign(s) + c->config.session_timeout_ms;
}

bool meta_session_decided(const struct meta_controller *c, const struct meta_broker *b,
                          uint64_t now_ms)
{
    return meta_session_lives(c, b, now_ms) || meta_session_dead_at(c, b) <= now_ms;
}

bool meta_session_stalled(const struct meta_controller *c, int32_t broker_id)
{
    const struct meta_session *s = meta_session_find(c, broker_id);
    return s != NULL && s->stalled;
}

/* ---- links --------------------------------------------------------------------------------------
 */

void meta_controller_link(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                          enum meta_link link, uint64_t incarnation)
{
    struct meta_session *s = meta_session_get(c, broker_id);
    const struct meta_broker *b = meta_image_broker(c->image, broker_id);
    if (link == META_LINK_UP) {
        /* Rule 1.3: a second process with this id proves nothing while the first one lives. */
        if (b != NULL && incarnation != b->incarnation && meta_session_lives(c, b, now_ms))
            return;
        if (s->incarnation != incarnation || s->link != META_LINK_UP)
            s->link_since_ms = now_ms;
        if (s->incarnation != incarnation) {
            s->stalled = s->stall_known = false;
            s->dead_links_count = 0;
        }
        s->incarnation = incarnation;
        s->heard_ms = now_ms;
    } else if (s->link != link) {
        s->link_since_ms = now_ms;
    }
    s->link = link;
}

void meta_controller_heard(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                           uint64_t incarnation)
{
    struct meta_session *s = meta_session_find(c, broker_id);
    if (s != NULL && s->incarnation == incarnation && s->link == META_LINK_UP)
        s->heard_ms = now_ms;
}

void meta_controller_stood_still(struct meta_controller *c, uint64_t gap_ms)
{
    uint64_t gap = earlier(gap_ms, c->config.session_timeout_ms);
    for (size_t i = 0; i < c->sessions_count; i++) {
        struct meta_session *s = c->sessions[i];
        if (s->heard_ms != 0)
            s->heard_ms += gap;
        if (s->link == META_LINK_CLOSED || s->link == META_LINK_UP)
            s->link_since_ms += gap;
    }
}

bool meta_controller_broker_heard(const struct meta_controller *c, int32_t broker_id,
                                  uint64_t *ret_heard_ms)
{
    const struct meta_session *s = meta_session_find(c, broker_id);
    if (s == NULL || s->heard_ms == 0)
        return false;
    *ret_heard_ms = s->heard_ms;
    return true;
}

uint64_t meta_controller_deadline(const struct meta_controller *c)
{
    uint64_t deadline = c->scanning ? c->scan_until_ms : META_NEVER;
    if (!c->scanning && (c->recheck_stall || c->recheck_all))
        return 0;
    for (size_t i = 0; i < c->image->brokers_count; i++) {
        const struct meta_broker *b = c->image->brokers[i];
        if (!b->fenced)
            deadline = earlier(deadline, meta_session_dead_at(c, b));
    }
    if (!c->scanning) {
        deadline = earlier(deadline, meta_waits_deadline(c));
        if (c->config.auto_leader_rebalance)
            deadline = earlier(deadline, c->unbalanced ? 0 : c->balance_ms);
    }
    return deadline;
}

/* ---- recovery reports ---------------------------------------------------------------------------
 */

int meta_report_order(const void *a, const void *b)
{
    const struct meta_log_report *x = a;
    const struct meta_log_report *y = b;
    int order = kb_uuid_compare(&x->topic_id, &y->topic_id);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

void meta_session_set_reports(struct meta_session *s, uint64_t broker_epoch,
                              const struct meta_log_report *reports, size_t count)
{
    free(s->reports);
    s->reports = kb_new_array(struct meta_log_report, count);
    for (size_t i = 0; i < count; i++)
        s->reports[i] = reports[i];
    qsort(s->reports, count, sizeof(s->reports[0]), meta_report_order);
    s->reports_count = count;
    s->reported_epoch = broker_epoch;
}

const struct meta_log_report *meta_session_report(const struct meta_controller *c,
                                                  const struct meta_partition *p, int32_t broker_id)
{
    const struct meta_session *s = meta_session_find(c, broker_id);
    const struct meta_broker *b = meta_image_broker(c->image, broker_id);
    if (s == NULL || b == NULL || s->reported_epoch != b->epoch)
        return NULL;
    /* Assigned to this very incarnation: there was nothing to recover. */
    static const struct meta_log_report fresh = {
        .last_epoch = -1, .end_offset = -1, .state = META_LOG_WHOLE};
    struct meta_log_report key = {.topic_id = p->topic->id, .partition = p->index};
    const struct meta_log_report *found = NULL;
    if (s->reports_count > 0)
        found = bsearch(&key, s->reports, s->reports_count, sizeof(key), meta_report_order);
    return found == NULL && p->assigned_index > b->epoch ? &fresh : found;
}

bool meta_session_mark(struct meta_controller *c, const struct meta_partition *p, int32_t broker_id,
                       enum meta_log_state state)
{
    const struct meta_log_report *known = meta_session_report(c, p, broker_id);
    if (known == NULL || known->state == state)
        return false;
    struct meta_session *s = meta_session_find(c, broker_id);
    struct meta_log_report mark = *known;
    mark.topic_id = p->topic->id;
    mark.partition = p->index;
    mark.state = state;
    size_t at = 0;
    while (at < s->reports_count && meta_report_order(&s->reports[at], &mark) < 0)
        at++;
    if (at == s->reports_count || meta_report_order(&s->reports[at], &mark) != 0) {
        s->reports = kb_realloc(s->reports,
                                (s->reports_count + 1) * sizeof(struct meta_log_report));
        memmove(&s->reports[at + 1], &s->reports[at],
                (s->reports_count - at) * sizeof(struct meta_log_report));
        s->reports_count++;
    }
    s->reports[at] = mark;
    return true;
}
