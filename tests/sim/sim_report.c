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
    uint64_t five_voters, two_brokers; /* runs of these shapes; the others have three nodes */
    uint64_t quorum_healed_ms, quorum_healed_seed; /* the slowest */
    uint64_t whole_ms, whole_seed;
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
    t->elections += s->elections;
    t->crashes += s->crashes;
    t->exits += s->exits;
    t->old_requests += s->old_requests;
    r->five_voters += s->nodes == 5 && s->voters == 5;
    r->two_brokers += s->nodes == 5 && s->voters == 3;
    if (s->quorum_healed_ms > r->quorum_healed_ms) {
        r->quorum_healed_ms = s->quorum_healed_ms;
        r->quorum_healed_seed = s->seed;
    }
    if (s->whole_ms > r->whole_ms) {
        r->whole_ms = s->whole_ms;
        r->whole_seed = s->seed;
    }
    t->quorum_healed_ms += s->quorum_healed_ms;
    t->whole_ms += s->whole_ms;
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

/* What no run looked at was not shown, and a fault that never came was not survived. */
static void print_zeros(FILE *out, const struct sim_result *t)
{
    const char *separator = "never: ";
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (t->checks[i] == 0) {
            (void)fprintf(out, "%scheck %s", separator, sim_check_name((enum sim_check_id)i));
            separator = ", ";
        }
    }
    for (int i = 0; i < SIM_FAULT_MAX_; i++) {
        if (t->faults[i] == 0) {
            (void)fprintf(out, "%sfault %s", separator, sim_fault_name((enum sim_fault)i));
            separator = ", ";
        }
    }
    (void)fprintf(out, "%s", separator[0] == ',' ? "\n" : "");
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
        "node_starts=%llu crashes=%llu exits=%llu terms=%llu elections=%llu committed=%llu "
        "old_requests=%llu\n",
        (unsigned long long)t->virtual_ms / 1000, (unsigned long long)t->events,
        (unsigned long long)t->frames, (unsigned long long)t->retransmissions,
        (unsigned long long)t->resets, (unsigned long long)t->blocked,
        (unsigned long long)t->starts, (unsigned long long)t->crashes, (unsigned long long)t->exits,
        (unsigned long long)t->leader_terms, (unsigned long long)t->elections,
        (unsigned long long)t->committed, (unsigned long long)t->old_requests);
}

/* How long the quorum and all partitions took from the heal on (R14, P21). */
static void print_heals(FILE *out, const struct sim_report *r)
{
    uint64_t count = r->count > 0 ? r->count : 1;
    (void)fprintf(
        out,
        "heal: quorum in %llu ms at most (seed %llu), %llu on average; partitions whole in "
        "%llu ms at most (seed %llu), %llu on average\n",
        (unsigned long long)r->quorum_healed_ms, (unsigned long long)r->quorum_healed_seed,
        (unsigned long long)(r->total.quorum_healed_ms / count), (unsigned long long)r->whole_ms,
        (unsigned long long)r->whole_seed, (unsigned long long)(r->total.whole_ms / count));
}

void sim_report_print(FILE *out, const struct sim_report *r)
{
    double seconds = seconds_since(&r->started);
    for (size_t i = 0; i < r->failure_count && i < FAILURES_SHOWN; i++)
        (void)fprintf(out, "FAILED seed %llu: %s\n", (unsigned long long)r->failures[i].seed,
                      r->failures[i].failure);
    print_counts(out, &r->total);
    print_zeros(out, &r->total);
    print_heals(out, r);
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
    (void)fprintf(out,
                  "seed %llu: %s, digest %016llx, %llu ms of CPU, quorum healed in %llu ms, "
                  "partitions in %llu ms\n",
                  (unsigned long long)s->seed, s->ok ? "kept every promise" : s->failure,
                  (unsigned long long)s->hash, (unsigned long long)s->cpu_ms,
                  (unsigned long long)s->quorum_healed_ms, (unsigned long long)s->whole_ms);
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

static void set_count(json_t *o, const char *name, uint64_t count)
{
    (void)json_object_set_new(o, name, json_integer((json_int_t)count));
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
    json_t *o = json_pack(
        "{s:I, s:I, s:s, s:f, s:I, s:f, s:I, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I}}", "seeds",
        (json_int_t)r->count, "failed", (json_int_t)r->failed, "digest", digest, "seconds",
        seconds_since(&r->started), "cpu_ms", (json_int_t)t->cpu_ms, "simulated_hours",
        (double)t->virtual_ms / 3600000.0, "events", (json_int_t)t->events, "records", "sent",
        (json_int_t)t->sent, "acknowledged", (json_int_t)t->acked, "read", (json_int_t)t->reads,
        "fewest_acknowledged", (json_int_t)(r->acked_min == UINT64_MAX ? 0 : r->acked_min), "nodes",
        "three", (json_int_t)(r->count - r->five_voters - r->two_brokers), "five_voters",
        (json_int_t)r->five_voters, "three_voters_two_brokers", (json_int_t)r->two_brokers);
    set_count(o, "crashes", t->crashes);
    set_count(o, "exits", t->exits);
    set_count(o, "slowest_quorum_heal_ms", r->quorum_healed_ms);
    set_count(o, "slowest_whole_heal_ms", r->whole_ms);
    set_count(o, "node_starts", t->starts);
    set_count(o, "controller_elections", t->leader_terms);
    set_count(o, "partition_elections", t->elections);
    (void)json_object_set_new(o, "checks", counts_json(t->checks, SIM_CHECK_MAX_, check_name));
    (void)json_object_set_new(o, "violations",
                              counts_json(t->failures, SIM_CHECK_MAX_, check_name));
    (void)json_object_set_new(o, "faults", counts_json(t->faults, SIM_FAULT_MAX_, fault_name));
    (void)json_object_set_new(o, "failures", failed);
    return o;
}

int sim_report_json(const char *path, const struct sim_report *r)
{
    json_t *o = report_json(r);
    int result = o != NULL ? json_dump_file(o, path, JSON_INDENT(1)) : -1;
    json_decref(o);
    return result < 0 ? -KB_EIO : 0;
}
