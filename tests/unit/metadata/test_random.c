/* Scenario: thousands of random commands from a seed: brokers die, freeze, restart, lose logs, are
 * fenced and return; leaders alter ISRs; controllers take over; topics come and go. After each
 * batch the toy checks R16-R18 and that both images agree; from time to time the committed image is
 * replaced by its snapshot (R10). At the end everything heals and every partition that has an
 * eligible replica has a leader. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 400, BROKERS = 5 };

struct game {
    struct toy *t;
    struct kb_prng prng;
    int topics;
};

static uint64_t below(struct game *g, uint64_t bound)
{
    return kb_prng_below(&g->prng, bound);
}

static int32_t some_broker(struct game *g)
{
    return (int32_t)below(g, BROKERS) + 1;
}

static const struct meta_partition *some_partition(struct game *g)
{
    size_t topics = meta_image_topics_count(g->t->committed);
    if (topics == 0)
        return NULL;
    const struct meta_topic *t = meta_image_topic_at(g->t->committed, below(g, topics));
    return t->partitions[below(g, t->partitions_count)];
}

static void make_topic(struct game *g)
{
    static const char *const sets[] = {"1,2,3", "2,3,4;3,4,5", "5,1",
                                       "3;4",   "4,5,1,2,3",   "2,1;1,2;2,5"};
    static const char *const configs[] = {NULL, "flush.messages=100", "min.insync.replicas=1",
                                          "min.insync.replicas=3"};
    char name[16];
    for (int32_t id = 1; id <= BROKERS; id++) {
        const struct meta_broker *b = meta_image_broker(g->t->committed, id);
        if (b == NULL || b->fenced || b->stopping)
            return;
    }
    (void)snprintf(name, sizeof(name), "t%d", g->topics++);
    (void)toy_topic(g->t, name, sets[below(g, 6)], configs[below(g, 4)]);
}

static void restart(struct game *g, int32_t id)
{
    struct toy_start how = {
        .unclean = below(g, 2) == 0,
        .new_directory = below(g, 12) == 0,
        .state = (enum meta_log_state)(below(g, 3) == 0 ? below(g, 4) : 0),
        .end_offset = (int64_t)below(g, 1000) + 1,
        .no_logs = below(g, 15) == 0,
        .boot_id = below(g, 2) == 0 ? "boot-1" : "boot-2",
    };
    if (id == g->t->config.node_id && g->t->brokers[id].up)
        return; /* the controller's own process */
    toy_kill(g->t, id);
    if (below(g, 2) == 0)
        toy_tick(g->t);
    (void)toy_start(g->t, id, &how);
}

static void unfence(struct game *g, int32_t id)
{
    if (!g->t->brokers[id].up || meta_image_broker(g->t->committed, id) == NULL)
        return;
    struct meta_heartbeat_request r = toy_beat(g->t, id);
    r.want_unfence = true;
    r.disk_stall_ms = below(g, 10) == 0 ? 4000 : 0;
    (void)toy_heartbeat(g->t, &r);
}

static void alter(struct game *g)
{
    const struct meta_partition *p = some_partition(g);
    int32_t isr[META_REPLICAS_MAX];
    size_t count = 0;
    if (p == NULL || p->leader < 0)
        return;
    for (size_t i = 0; i < p->replicas_count; i++) {
        bool in = meta_partition_in_isr(p, p->replicas[i]);
        if (p->replicas[i] == p->leader || below(g, 3) != (in ? 0u : 1u))
            isr[count++] = p->replicas[i];
    }
    (void)toy_alter(g->t, p->topic->name, p->index, isr, count);
}

static void give_up(struct game *g)
{
    const struct meta_partition *p = some_partition(g);
    if (p == NULL || p->leader < 0)
        return;
    int32_t id = p->replicas[below(g, p->replicas_count)];
    struct meta_election_item item = {.topic_id = p->topic->id,
                                      .partition = p->index,
                                      .leader_epoch = p->leader_epoch,
                                      .damaged = below(g, 3) == 0};
    if (meta_image_broker_live(g->t->committed, id))
        (void)meta_controller_ask_election(g->t->c, g->t->now_ms, id, g->t->brokers[id].epoch,
                                           &item, 1, &g->t->result);
    (void)toy_commit(g->t);
}

static void stop(struct game *g, int32_t id)
{
    if (!g->t->brokers[id].up || meta_image_broker(g->t->committed, id) == NULL)
        return;
    struct meta_heartbeat_request r = toy_beat(g->t, id);
    r.want_stop = true;
    (void)toy_heartbeat(g->t, &r);
}

static void take_over(struct game *g)
{
    int32_t linked[BROKERS];
    size_t count = 0;
    for (int32_t id = 1; id <= BROKERS; id++) {
        if (id != g->t->config.node_id && g->t->brokers[id].up && below(g, 4) != 0)
            linked[count++] = id;
    }
    toy_take_over(g->t, linked, count);
    toy_run(g->t, 400);
    for (size_t i = 0; i < count; i++) {
        if (below(g, 3) != 0)
            toy_report_again(g->t, linked[i]);
    }
}

/* R10: restart from a snapshot. */
static void reload(struct game *g)
{
    struct kb_buf bytes = {0};
    struct meta_image *copy = NULL;
    meta_snapshot_write(g->t->committed, &bytes);
    ck_assert_int_eq(meta_snapshot_read(kb_view_of(bytes.data, bytes.size), &copy), 0);
    (void)meta_image_free(g->t->committed);
    g->t->committed = copy;
    kb_buf_release(&bytes);
}

static void change_config(struct game *g)
{
    static const char *const values[] = {"1", "2", "3", NULL};
    const struct meta_partition *p = some_partition(g);
    if (p == NULL)
        return;
    if (below(g, 2) == 0)
        (void)toy_set_config(g->t, p->topic->name, "min.insync.replicas", values[below(g, 4)]);
    else
        (void)toy_set_config(g->t, below(g, 4) == 0 ? NULL : p->topic->name, "flush.messages",
                             values[below(g, 4)]);
}

static void step(struct game *g)
{
    int32_t id = some_broker(g);
    switch (below(g, 16)) {
    case 0:
        make_topic(g);
        break;
    case 1:
    case 2:
        if (id != g->t->config.node_id)
            toy_kill(g->t, id);
        toy_tick(g->t);
        break;
    case 3:
    case 4:
        restart(g, id);
        break;
    case 5:
    case 6:
    case 7:
        unfence(g, id);
        break;
    case 8:
    case 9:
    case 10:
        alter(g);
        break;
    case 11:
        give_up(g);
        break;
    case 12:
        stop(g, id);
        break;
    case 13:
        below(g, 3) == 0 ? take_over(g) : reload(g);
        break;
    case 14:
        change_config(g);
        break;
    default:
        toy_run(g->t, below(g, 3000));
        break;
    }
    kb_arena_reset(&g->t->arena);
}

static void heal(struct game *g)
{
    struct toy *t = g->t;
    for (int32_t id = 1; id <= BROKERS; id++) {
        if (id == t->config.node_id)
            continue;
        toy_kill(t, id);
        ck_assert_int_eq(toy_start(t, id, NULL), KW_NONE);
        toy_unfence(t, id);
    }
    if (!meta_image_broker_live(t->committed, 1)) {
        (void)toy_start(t, 1, NULL);
        toy_unfence(t, 1);
    }
    toy_report_again(t, 1);
    toy_run(t, 30000);
    for (size_t i = 0; i < meta_image_topics_count(t->committed); i++) {
        const struct meta_topic *topic = meta_image_topic_at(t->committed, i);
        for (size_t k = 0; k < topic->partitions_count; k++) {
            const struct meta_partition *p = topic->partitions[k];
            if (p->isr_count + p->elr_count > 0)
                ck_assert_msg(p->leader >= 0, "%s-%zu: %s", topic->name, k,
                              toy_state(t, topic->name, (int32_t)k));
        }
    }
}

static void play(uint64_t seed)
{
    struct game g = {.t = toy_up(BROKERS)};
    g.t->allow_unclean = true; /* rule 4.6; the toy checks when */
    kb_prng_init(&g.prng, seed);
    make_topic(&g);
    for (int i = 0; i < STEPS; i++)
        step(&g);
    heal(&g);
    (void)toy_free(g.t);
}

START_TEST(random_commands__keep_the_invariants)
{
    const char *given = getenv("META_SEEDS");
    uint64_t seeds = given != NULL ? strtoull(given, NULL, 10) : 60;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (given != NULL)
            fprintf(stderr, "\rseed %llu ", (unsigned long long)seed);
        play(seed);
    }
}
END_TEST

UNIT_MAIN("random", random_commands__keep_the_invariants)
