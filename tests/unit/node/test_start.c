/* A node starts on what a crash may have left in its directory. */
#include <string.h>

#include "broker/node/node_internal.h"
#include "broker/node/quorum.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_solo.h"
#include "tests/unit/unit.h"

enum { START_MS = 20000 };

static struct sim_solo solo;

/* A directory as a crash leaves it between its creation and that of its first segment. */
static void leave_half_made_log(const char *name, const char *topic_id)
{
    char path[128];
    char text[128];
    (void)snprintf(path, sizeof(path), SIM_SOLO_DIR "/%s/partition.metadata", name);
    (void)snprintf(text, sizeof(text), "version: 0\ntopic_id: %s\n", topic_id);
    sim_disk_put(sim_host_disk(solo.host), path, text, strlen(text));
}

struct search {
    const char *prefix;
    bool found;
};

static int look(void *arg, const char *name, enum kb_fs_type type)
{
    struct search *s = arg;
    (void)type;
    s->found = s->found || strncmp(name, s->prefix, strlen(s->prefix)) == 0;
    return 0;
}

static bool directory_has(const char *prefix)
{
    struct search s = {.prefix = prefix};
    (void)sim_disk_list(sim_host_disk(solo.host), SIM_SOLO_DIR, false, look, &s);
    return s.found;
}

static void run_once(uint64_t seed)
{
    sim_solo_init(&solo, seed, 1);
    sim_solo_start(&solo);
    ck_assert(sim_solo_run_until(&solo, NODE_RUNNING, START_MS));
    sim_solo_kill(&solo);
}

START_TEST(start__sets_a_half_made_log_of_no_known_topic_aside)
{
    run_once(1);
    leave_half_made_log("ghost-0", "AAAAAAAAAAAAAAAAAAAAAQ");
    sim_solo_start(&solo);
    ck_assert(sim_solo_run_until(&solo, NODE_RUNNING, START_MS));
    sim_world_run_for(solo.world, 2000);
    ck_assert_int_eq(node_state(solo.node), NODE_RUNNING);
    ck_assert(directory_has("ghost-0."));
    sim_solo_release(&solo);
}
END_TEST

START_TEST(start__survives_the_next_start_as_well)
{
    run_once(2);
    leave_half_made_log("ghost-0", "AAAAAAAAAAAAAAAAAAAAAQ");
    leave_half_made_log("ghost-1", "AAAAAAAAAAAAAAAAAAAAAQ");
    for (int i = 0; i < 3; i++) {
        sim_solo_start(&solo);
        ck_assert(sim_solo_run_until(&solo, NODE_RUNNING, START_MS));
        sim_world_run_for(solo.world, 100);
        sim_solo_kill(&solo);
    }
    ck_assert(directory_has("ghost-1."));
    sim_solo_release(&solo);
}
END_TEST

/* The snapshot that a reset log stood on is gone. Nobody can bring it back to the only voter: it
 * waits without a vote, and never takes its log for an empty one. */
START_TEST(start__has_no_vote_with_a_metadata_log_that_begins_behind_its_snapshot)
{
    static const char cut[] = "0\nreset 5\n";
    run_once(3);
    sim_disk_put(sim_host_disk(solo.host), SIM_SOLO_DIR "/__cluster_metadata-0/cut-limit", cut,
                 strlen(cut));
    sim_solo_start(&solo);
    ck_assert(!sim_solo_run_until(&solo, NODE_RUNNING, START_MS));
    ck_assert_int_eq(solo.result, 0);
    ck_assert_int_lt(node_quorum_leader_id(solo.node), 0);
    sim_solo_release(&solo);
}
END_TEST

UNIT_MAIN("node_start", start__sets_a_half_made_log_of_no_known_topic_aside,
          start__survives_the_next_start_as_well,
          start__has_no_vote_with_a_metadata_log_that_begins_behind_its_snapshot)
