#include "tests/sim/sim_heal_check.h"

#include <stddef.h>

void sim_heal_check_begin(struct sim_heal_check *h, struct sim_checks *checks, uint64_t now_us,
                          uint64_t committed)
{
    *h = (struct sim_heal_check){.checks = checks, .healed_us = now_us, .committed = committed};
}

static void check_quorum(struct sim_heal_check *h, uint64_t since_us, bool leader,
                         uint64_t committed)
{
    bool done = leader && committed > h->committed;
    bool late = since_us > SIM_HEAL_QUORUM_MS * 1000;
    if (done && h->quorum_us == 0)
        h->quorum_us = since_us;
    if (h->judged_quorum || (!done && !late))
        return;
    h->judged_quorum = true;
    sim_check(h->checks, SIM_CHECK_R14, !late,
              "%llu ms after the heal: leader %d, committed %llu, at the heal %llu",
              (unsigned long long)since_us / 1000, leader, (unsigned long long)committed,
              (unsigned long long)h->committed);
}

static void check_whole(struct sim_heal_check *h, uint64_t since_us, const char *broken)
{
    uint64_t found_us = h->found_us != 0 ? h->found_us - h->healed_us : 0;
    bool late = since_us > found_us + SIM_HEAL_WHOLE_MS * 1000;
    bool news = broken == NULL && !h->was_whole;
    h->was_whole = broken == NULL;
    if (news)
        h->whole_us = since_us;
    if (h->failed_whole || (!news && (!late || broken == NULL)))
        return;
    h->failed_whole = late;
    sim_check(h->checks, SIM_CHECK_P21, !late, "%llu ms after the heal: %s",
              (unsigned long long)since_us / 1000, broken != NULL ? broken : "whole only now");
}

void sim_heal_check_step(struct sim_heal_check *h, uint64_t now_us, bool leader, uint64_t committed,
                         const char *broken)
{
    if (h->healed_us == 0)
        return;
    check_quorum(h, now_us - h->healed_us, leader, committed);
    check_whole(h, now_us - h->healed_us, broken);
}

void sim_heal_check_found(struct sim_heal_check *h, uint64_t now_us)
{
    if (h->was_whole)
        h->found_us = now_us;
}

void sim_heal_check_end(struct sim_heal_check *h, const char *broken)
{
    if (h->healed_us == 0 || h->failed_whole)
        return;
    sim_check(h->checks, SIM_CHECK_P21, broken == NULL, "at the end of the run: %s", broken);
}
