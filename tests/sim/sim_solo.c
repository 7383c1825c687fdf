#include "tests/sim/sim_solo.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"

void sim_solo_init(struct sim_solo *s, uint64_t seed, uint32_t voters)
{
    memset(s, 0, sizeof(*s));
    s->world = sim_world_new(seed);
    s->host = sim_world_add_host(s->world, "node1");
    s->number = 1;
    s->voters = voters;
}

void sim_solo_join(struct sim_solo *s, const struct sim_solo *first, uint32_t number)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", number);
    *s = (struct sim_solo){.world = first->world,
                           .number = number,
                           .voters = first->voters,
                           .apis = first->apis,
                           .snapshot_bytes = first->snapshot_bytes,
                           .apis_count = first->apis_count};
    s->host = sim_world_add_host(s->world, name);
}

static struct node_listener_config listener(const struct sim_solo *s, const char *name,
                                            uint16_t port, bool controller)
{
    return (struct node_listener_config){.name = kb_strdup(name),
                                         .host = kb_strdup(""),
                                         .port = port,
                                         .advertised_host = kb_strdup(sim_host_name(s->host)),
                                         .advertised_port = port,
                                         .controller = controller};
}

static void configure(const struct sim_solo *s, struct node_config *c)
{
    node_config_init(c);
    c->node_id = (int32_t)s->number;
    c->log_dir = kb_strdup(SIM_SOLO_DIR);
    c->version = kb_strdup("sim");
    c->boot_id = kb_strdup("boot");
    c->reserve_bytes = 16 << 10;
    if (s->snapshot_bytes != 0)
        c->snapshot_bytes = s->snapshot_bytes;
    c->offsets_topic_partitions = 1;
    c->memory_max_bytes = 64 << 20;
    c->listeners = kb_new_array(struct node_listener_config, 2);
    c->listeners[0] = listener(s, "PLAINTEXT", SIM_SOLO_PORT, false);
    c->listeners[1] = listener(s, "CONTROLLER", SIM_SOLO_PEER_PORT, true);
    c->listeners_count = 2;
    c->voters = kb_new_array(struct node_voter_config, s->voters);
    c->voters_count = s->voters;
    for (uint32_t i = 0; i < s->voters; i++)
        c->voters[i] = (struct node_voter_config){
            .id = (int32_t)i + 1, .host = kb_asprintf("node%u", i + 1), .port = SIM_SOLO_PEER_PORT};
    c->apis = s->apis;
    c->apis_count = s->apis_count;
}

static void on_started(void *arg, int result, const char *reason)
{
    struct sim_solo *s = arg;
    (void)reason;
    s->result = result;
}

void sim_solo_start(struct sim_solo *s)
{
    struct node_config config;
    s->env = sim_host_start(s->host);
    s->result = 1;
    configure(s, &config);
    s->node = node_new(sim_env_kb(s->env), &config);
    node_config_release(&config);
    node_start(s->node, on_started, s);
}

struct wish {
    const struct sim_solo *solo;
    enum node_state state;
};

static bool is_granted(void *arg)
{
    const struct wish *w = arg;
    return node_state(w->solo->node) == w->state;
}

bool sim_solo_run_until(struct sim_solo *s, enum node_state state, uint64_t limit_ms)
{
    struct wish w = {s, state};
    return sim_world_run_until(s->world, is_granted, &w, limit_ms);
}

void sim_solo_kill(struct sim_solo *s)
{
    if (s->env == NULL)
        return;
    if (!sim_env_is_down(s->env))
        sim_env_kill(s->env);
    s->node = node_free(s->node);
    s->env = sim_env_free(s->env);
}

void sim_solo_release(struct sim_solo *s)
{
    sim_solo_kill(s);
    s->world = s->number == 1 ? sim_world_free(s->world) : NULL;
}
