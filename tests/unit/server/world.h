#ifndef TESTS_UNIT_SERVER_WORLD_H
#define TESTS_UNIT_SERVER_WORLD_H

#include <stdio.h>

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/server/env.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

/* A real environment and a directory of its own for one test. */
struct world {
    struct srv_env *srv;
    struct kb_env *env;
    char dir[64];
    char exit_reason[64];
};

static inline void world_on_exit(void *arg, int status, const char *reason)
{
    struct world *w = arg;
    (void)status;
    (void)snprintf(w->exit_reason, sizeof(w->exit_reason), "%s", reason);
}

static inline void world_open(struct world *w, const struct srv_env_options *options)
{
    struct srv_env_options o = {0};
    memset(w, 0, sizeof(*w));
    if (options != NULL)
        o = *options;
    o.exit_fn = world_on_exit;
    o.exit_arg = w;
    (void)snprintf(w->dir, sizeof(w->dir), "./srv-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    ck_assert_int_eq(srv_env_new(&o, &w->srv), 0);
    w->env = srv_env_base(w->srv);
}

static inline void world_close(struct world *w)
{
    char command[128];
    w->srv = srv_env_free(w->srv);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", w->dir);
    ck_assert_int_eq(system(command), 0);
}

/* Run rounds until *flag; fails the test after ten seconds. */
static inline void world_until(struct world *w, const bool *flag)
{
    uint64_t end_ms = kb_env_now_ms(w->env) + 10000;
    while (!*flag) {
        ck_assert_uint_lt(kb_env_now_ms(w->env), end_ms);
        srv_env_round(w->srv, 50);
    }
}

static inline char *world_path(const struct world *w, const char *name)
{
    return kb_asprintf("%s/%s", w->dir, name);
}

/* Create a file with size bytes of a pattern that differs at every position. */
static inline uint8_t world_byte(uint64_t position)
{
    return (uint8_t)(position * 2654435761u >> 13);
}
static inline char *world_file(const struct world *w, const char *name, size_t size)
{
    char *path = world_path(w, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < size; i++)
        (void)putc(world_byte(i), f);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

#endif
