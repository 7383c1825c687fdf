#include "tests/sim/sim_voters_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

/* A directory that was ever seen on a disk. */
struct directory {
    uint8_t id[SIM_DIRECTORY_BYTES];
    uint32_t disk;
    uint64_t term; /* its newest durable vote */
    int32_t voted_for;
    uint64_t lost_term; /* the same, when it was damaged */
    int32_t lost_for;
    int64_t kept_end; /* what it held when it was lost or went back in time; 0 = never */
    bool damaged;     /* and no leader has brought it up since */
    bool was_barred;  /* since then: its process has noticed */
    bool barred;      /* durably; followed while no set has it */
};

struct sim_voters_check {
    struct sim_voters_options options;
    struct directory *directories;
    size_t count, capacity;
    struct sim_voter *known; /* of any set that anybody went by */
    size_t known_count, known_capacity;
    struct sim_log logs[8]; /* durable */
};

struct sim_voters_check *sim_voters_check_new(const struct sim_voters_options *options)
{
    struct sim_voters_check *c = kb_new(struct sim_voters_check);
    KB_ASSERT(options->disk_count <= 8);
    c->options = *options;
    return c;
}

struct sim_voters_check *sim_voters_check_free(struct sim_voters_check *c)
{
    if (c == NULL)
        return NULL;
    for (uint32_t d = 0; d < c->options.disk_count; d++)
        sim_log_release(&c->logs[d]);
    free(c->directories);
    free(c->known);
    free(c);
    return NULL;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, SIM_DIRECTORY_BYTES) == 0;
}

/* ---- sets ---- */

static bool set_has(const struct sim_voter_set *set, int32_t id, const uint8_t *directory)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->voters[i].id == id && same(set->voters[i].directory, directory))
            return true;
    }
    return false;
}

static bool is_known(const struct sim_voters_check *c, int32_t id, const uint8_t *directory)
{
    for (size_t i = 0; i < c->known_count; i++) {
        if (c->known[i].id == id && same(c->known[i].directory, directory))
            return true;
    }
    return false;
}

void sim_voters_check_know(struct sim_voters_check *c, const struct sim_voter_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct sim_voter *v = &set->voters[i];
        if (is_known(c, v->id, v->directory))
            continue;
        kb_array_reserve(c->known, c->known_count, c->known_capacity);
        c->known[c->known_count++] = *v;
    }
}

void sim_voters_check_changed(struct sim_voters_check *c, uint32_t disk,
                              const struct sim_voter_set *from, const struct sim_voter_set *to,
                              uint64_t committed, bool own)
{
    uint32_t differences = 0;
    for (uint32_t i = 0; i < from->count; i++)
        differences += !set_has(to, from->voters[i].id, from->voters[i].directory);
    for (uint32_t i = 0; i < to->count; i++)
        differences += !set_has(from, to->voters[i].id, to->voters[i].directory);
    if (differences == 0)
        return; /* other addresses, or the founding written down */
    sim_check(c->options.checks, SIM_CHECK_R15, differences == 1,
              "node %u changes %u voters in one step", disk + 1, differences);
    sim_check(c->options.checks, SIM_CHECK_R15, from->index <= committed,
              "node %u changes the voters of %llu, which is not committed (%llu is)", disk + 1,
              (unsigned long long)from->index, (unsigned long long)committed);
    sim_check(c->options.checks, SIM_CHECK_R15, own,
              "node %u changes the voters before it has committed an entry of its term", disk + 1);
}

/* ---- directories ---- */

static struct directory *find(const struct sim_voters_check *c, const uint8_t *id)
{
    for (size_t i = 0; i < c->count; i++) {
        if (same(c->directories[i].id, id))
            return &c->directories[i];
    }
    return NULL;
}

/* A directory that begins has no vote yet. One that has what this disk had under another name is
 * the former one, whose name was damaged (seed 1628): that vote was judged when it was made. Any
 * other is its own, and judged. */
static void take_former_vote(const struct sim_voters_check *c, struct directory *d)
{
    uint64_t term = 0;
    int32_t voted_for = -1;
    if (c->options.vote_of(c->options.disks[d->disk], &term, &voted_for) <= 0)
        return;
    for (size_t i = 0; i < c->count; i++) {
        const struct directory *f = &c->directories[i];
        if (f != d && f->disk == d->disk && f->term == term && f->voted_for == voted_for) {
            d->term = term;
            d->voted_for = voted_for;
            return;
        }
    }
}

static struct directory *on_disk(struct sim_voters_check *c, uint32_t disk)
{
    uint8_t id[SIM_DIRECTORY_BYTES];
    if (c->options.directory_of(c->options.disks[disk], id) != 1)
        return NULL;
    struct directory *d = find(c, id);
    if (d != NULL)
        return d;
    kb_array_reserve(c->directories, c->count, c->capacity);
    d = &c->directories[c->count++];
    *d = (struct directory){.disk = disk, .voted_for = -1};
    memcpy(d->id, id, sizeof(d->id));
    take_former_vote(c, d);
    return d;
}

/* It was barred and is so no more. Observers are barred too when they lose their term or log (seed
 * 3000855: a term that found no space, and a crash), and the leader that brings them up becomes
 * their vote in that term (5.5): a promise to vote for no other if they are let in meanwhile.
 * Nobody asked for it or counts it. */
static bool is_freed(const struct sim_voters_check *c, struct directory *d, uint32_t disk)
{
    bool before = d->barred;
    return c->options.barred_of(c->options.disks[disk], &d->barred) == 1 && before && !d->barred;
}

void sim_voters_check_disk(struct sim_voters_check *c, uint32_t disk,
                           int32_t (*leader_of)(void *arg, uint64_t term), void *arg)
{
    struct directory *d = on_disk(c, disk);
    uint64_t term = 0;
    int32_t voted_for = -1;
    bool barred = false;
    if (d == NULL || c->options.vote_of(c->options.disks[disk], &term, &voted_for) <= 0)
        return;
    int32_t id = c->options.first_id + (int32_t)disk;
    bool known = is_known(c, id, d->id);
    bool freed = !known && is_freed(c, d, disk);
    if (term == d->term && voted_for == d->voted_for && !d->damaged)
        return;
    bool votes = voted_for >= 0 && (term != d->term || voted_for != d->voted_for);
    if (votes)
        sim_check(c->options.checks, SIM_CHECK_R15,
                  known || (freed && term == d->term && voted_for == leader_of(arg, term)),
                  "node %d votes for %d in term %llu with a directory that no voter set has", id,
                  voted_for, (unsigned long long)term);
    if (d->damaged && c->options.barred_of(c->options.disks[disk], &barred) == 1) {
        bool brought_up = !barred && d->was_barred && leader_of(arg, term) >= 0;
        d->was_barred = d->was_barred || barred;
        sim_check(c->options.checks, SIM_CHECK_R15, brought_up || !votes,
                  "node %d votes for %d in term %llu and has not been brought up since it was "
                  "damaged",
                  id, voted_for, (unsigned long long)term);
        d->damaged = !brought_up;
    }
    d->term = term;
    d->voted_for = voted_for;
}

void sim_voters_check_leaves(struct sim_voters_check *c, uint32_t disk)
{
    struct directory *d = on_disk(c, disk);
    if (d == NULL)
        return;
    struct sim_log *l = &c->logs[disk];
    sim_log_refresh(l, c->options.disks[disk], c->options.log_dir, true);
    int64_t end = sim_log_end(l) > l->snapshot ? sim_log_end(l) : l->snapshot + 1;
    d->kept_end = end > d->kept_end ? end : d->kept_end;
}

void sim_voters_check_damaged(struct sim_voters_check *c, uint32_t disk)
{
    struct directory *d = on_disk(c, disk);
    if (d == NULL)
        return;
    d->damaged = true;
    d->was_barred = false;
    d->lost_term = d->term;
    d->lost_for = d->voted_for;
}

/* ---- majorities ---- */

void sim_voters_check_elected(struct sim_voters_check *c, uint32_t disk, uint64_t term,
                              const struct sim_voter_set *set)
{
    int32_t leader = c->options.first_id + (int32_t)disk;
    const struct directory *own = on_disk(c, disk);
    uint32_t votes = 0;
    sim_check(c->options.checks, SIM_CHECK_R15, own != NULL && set_has(set, leader, own->id),
              "node %d leads term %llu with a directory that its voter set has not", leader,
              (unsigned long long)term);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct directory *d = find(c, set->voters[i].directory);
        votes += d != NULL &&
                 (d->term > term || (d->term == term && d->voted_for == leader) ||
                  d->lost_term > term || (d->lost_term == term && d->lost_for == leader));
    }
    sim_check(c->options.checks, SIM_CHECK_R15, votes > set->count / 2,
              "node %d leads term %llu by the votes of %u of %u directories", leader,
              (unsigned long long)term, votes, set->count);
}

static bool holds(struct sim_voters_check *c, const struct sim_voter *v,
                  const struct sim_log_batch *e)
{
    uint8_t there[SIM_DIRECTORY_BYTES];
    const struct directory *d = find(c, v->directory);
    if (d == NULL)
        return false;
    if (e->last < d->kept_end)
        return true; /* reported before it went */
    if (c->options.directory_of(c->options.disks[d->disk], there) != 1 || !same(there, d->id))
        return false;
    struct sim_log *l = &c->logs[d->disk];
    sim_log_refresh(l, c->options.disks[d->disk], c->options.log_dir, true);
    const struct sim_log_batch *b = sim_log_find(l, e->last);
    return e->last <= l->snapshot || (b != NULL && b->epoch == e->epoch && b->crc == e->crc);
}

void sim_voters_check_committed(struct sim_voters_check *c, uint32_t disk,
                                const struct sim_voter_set *set, const struct sim_log_batch *entry)
{
    uint32_t copies = 0;
    for (uint32_t i = 0; i < set->count; i++)
        copies += holds(c, &set->voters[i], entry);
    sim_check(c->options.checks, SIM_CHECK_R15, copies > set->count / 2,
              "node %u commits %lld, which %u of %u directories with a vote have", disk + 1,
              (long long)entry->last, copies, set->count);
}
