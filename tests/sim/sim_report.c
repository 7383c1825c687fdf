#include "tests/sim/sim_report.h"

#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"

#define FAILURES_SHOWN 50

struct sim_report {
    uint64_t seeds, count, failed;
    struct sim_result total; /* sums */
    struct sim_result *failures;
    size_t failure_count, failure_capacity;
    uint64_t acked_min, virtual_ms_min;
    uint64_t digest; /* over seeds and their digests, in whatever order they ended */
    struct timespec started;
};

struct sim_report *sim_report_new(uint64_t seeds)
{
    struct sim_report *r = kb_new(struct sim_report);
    r->seeds = seeds;
    r->acked_min = UINT64_MAX;
    r->virtual_ms_min = UINT64_MAX;
    (void)clock_gettime(CLOCK_MONOTONIC, &r->started);
    return r;
}

struct sim_report *sim_report_free(struct sim_report *r)
{
    if (r == NULL)
        return NULL;
    free(r->failures);
    free(r);
    return NULL;
}

void sim_report_add(struct sim_report *r, const struct sim_result *s)
{
    struct sim_result *t = &r->total;
    r->count++;
    r->digest ^= (s->hash ^ s->seed) * UINT64_C(0x9e3779b97f4a7c15);
    t->events += s->events;
    t->virtual_ms += s->virtual_ms;
    t->cpu_ms += s->cpu_ms;
    t->sent += s->sent;
    t->acked += s->acked;
    t->reads += s->reads;
    t->frames += s->frames;
    t->retransmissions += s->retransmissions;
    t->resets += s->resets;
    t->blocked += s->blocked;
    t->leader_terms += s->leader_terms;
    t->committed += s->committed;
    t->starts += s->starts;
    for (int i = 0; i < SIM_FAULT_MAX_; i++)
        t->faults[i] += s->faults[i];
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        t->checks[i] += s->checks[i];
        t->failures[i] += s->failures[i];
    }
    if (s->ok) {
        r->acked_min = s->acked < r->acked_min ? s->acked : r->acked_min;
        r->virtual_ms_min = s->virtual_ms < r->virtual_ms_min ? s->virtual_ms : r->virtual_ms_min;
        return;
    }
    r->failed++;
    kb_array_reserve(r->failures, r->failure_count, r->failure_capacity);
    r->failures[r->failure_count++] = *s;
}

uint64_t sim_report_count(const struct sim_report *r)
{
    return r->count;
}

uint64_t sim_report_failed(const struct sim_report *r)
{
    return r->failed;
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* A promise that no run looked at was not shown. */
static bool all_looked_at(const struct sim_report *r)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (r->total.checks[i] == 0)
            return false;
    }
    return true;
}

static void print_counts(FILE *out, const struct sim_result *t)
{
    (void)fprintf(out, "checks:");
    for (int i = 0; i < SIM_CHECK_MAX_; i++)
        (void)fprintf(out, " %s=%llu%s", sim_check_name((enum sim_check_id)i),
                      (unsigned long long)t->checks[i], t->failures[i] > 0 ? "(!)" : "");
    (void)fprintf(out, "\nfaults:");
    for (int i = 0; i < SIM_FAULT_MAX_; i++)
        (void)fprintf(out, " %s=%llu", sim_fault_name((enum sim_fault)i),
                      (unsigned long long)t->faults[i]);
    (void)fprintf(out, "\nrecords: sent=%llu acknowledged=%llu read=%llu\n",
                  (unsigned long long)t->sent, (unsigned long long)t->acked,
                  (unsigned long long)t->reads);
    (void)fprintf(
        out,
        "world: virtual_s=%llu events=%llu frames=%llu late=%llu resets=%llu blocked=%llu "
        "node_starts=%llu terms=%llu committed=%llu\n",
        (unsigned long long)t->virtual_ms / 1000, (unsigned long long)t->events,
        (unsigned long long)t->frames, (unsigned long long)t->retransmissions,
        (unsigned long long)t->resets, (unsigned long long)t->blocked,
        (unsigned long long)t->starts, (unsigned long long)t->leader_terms,
        (unsigned long long)t->committed);
}

void sim_report_print(FILE *out, const struct sim_report *r)
{
    double seconds = seconds_since(&r->started);
    for (size_t i = 0; i < r->failure_count && i < FAILURES_SHOWN; i++)
        (void)fprintf(out, "FAILED seed %llu: %s\n", (unsigned long long)r->failures[i].seed,
                      r->failures[i].failure);
    print_counts(out, &r->total);
    if (!all_looked_at(r))
        (void)fprintf(out, "some promises were never looked at\n");
    (void)fprintf(out,
                  "seeds: %llu run, %llu failed, digest %016llx, %.1f s (%.0f a minute, %.0f ms of "
                  "CPU each), fewest acknowledged %llu\n",
                  (unsigned long long)r->count, (unsigned long long)r->failed,
                  (unsigned long long)r->digest, seconds, (double)r->count * 60.0 / seconds,
                  (double)r->total.cpu_ms / (double)(r->count > 0 ? r->count : 1),
                  (unsigned long long)(r->acked_min == UINT64_MAX ? 0 : r->acked_min));
}

void sim_report_one(FILE *out, const struct sim_result *s)
{
    print_counts(out, s);
    (void)fprintf(out, "seed %llu: %s, digest %016llx, %llu ms of CPU\n",
                  (unsigned long long)s->seed, s->ok ? "kept every promise" : s->failure,
                  (unsigned long long)s->hash, (unsigned long long)s->cpu_ms);
}

static json_t *counts_json(const uint64_t *counts, int n, const char *(*name_of)(int))
{
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        (void)json_object_set_new(o, name_of(i), json_integer((json_int_t)counts[i]));
    return o;
}

static const char *check_name(int i)
{
    return sim_check_name((enum sim_check_id)i);
}

static const char *fault_name(int i)
{
    return sim_fault_name((enum sim_fault)i);
}

static json_t *report_json(const struct sim_report *r)
{
    const struct sim_result *t = &r->total;
    char digest[17];
    json_t *failed = json_array();
    for (size_t i = 0; i < r->failure_count; i++)
        (void)json_array_append_new(failed,
                                    json_pack("{s:I, s:s}", "seed", (json_int_t)r->failures[i].seed,
                                              "why", r->failures[i].failure));
    (void)snprintf(digest, sizeof(digest), "%016llx", (unsigned long long)r->digest);
    return json_pack(
        "{s:I, s:I, s:s, s:f, s:I, s:{s:I, s:I, s:I, s:I}, s:I, s:I, s:o, s:o, s:o, s:o}", "seeds",
        (json_int_t)r->count, "failed", (json_int_t)r->failed, "digest", digest, "seconds",
        seconds_since(&r->started), "cpu_ms", (json_int_t)t->cpu_ms, "records", "sent",
        (json_int_t)t->sent, "acknowledged", (json_int_t)t->acked, "read", (json_int_t)t->reads,
        "fewest_acknowledged", (json_int_t)(r->acked_min == UINT64_MAX ? 0 : r->acked_min),
        "virtual_ms", (json_int_t)t->virtual_ms, "events", (json_int_t)t->events, "checks",
        counts_json(t->checks, SIM_CHECK_MAX_, check_name), "violations",
        counts_json(t->failures, SIM_CHECK_MAX_, check_name), "faults",
        counts_json(t->faults, SIM_FAULT_MAX_, fault_name), "failures", failed);
}

int sim_report_json(const char *path, const struct sim_report *r)
{
    json_t *o = report_json(r);
    int result = o != NULL ? json_dump_file(o, path, JSON_INDENT(1)) : -1;
    json_decref(o);
    return result < 0 ? -KB_EIO : 0;
}
