#ifndef SRV_SERVER_H
#define SRV_SERVER_H

#include <stdint.h>

#include "broker/server/config.h"
#include "proto/base/env.h"

/* One broker process: log, limits, signals, environment, and in it a service, which is the node
 * (node_service.c) or in tests something smaller. */

typedef void srv_started_fn(void *arg, int result, const char *reason);
typedef void srv_stopped_fn(void *arg);
struct srv_service {
    /* The service for this configuration, not yet doing anything; NULL with a logged reason. */
    void *(*open)(struct kb_env *env, const struct srv_config *config, void *arg);
    /* Begin; started comes once: 0, or negative with a sentence for people. */
    void (*start)(void *service, srv_started_fn *started, void *arg);
    /* Controlled stop within timeout_ms, then stopped. */
    void (*stop)(void *service, uint64_t timeout_ms, srv_stopped_fn *stopped, void *arg);
    /* Free; no callback comes any more. */
    void (*close)(void *service);
};

/* Run until a signal: SIGTERM and SIGINT stop in a controlled way, a second one at once. Exit
 * status: 0 stopped as asked, 1 could not start. config has no errors. */
int srv_run(const struct srv_config *config, const struct srv_service *service, void *arg);

/* `kvorum server …`: load the configuration, report its problems (status 2), run. argv[0] is the
 * sub-command's name. */
int srv_main(int argc, char *const *argv, char *const *environment,
             const struct srv_service *service, void *arg);

/* The broker itself; arg is a srv_node_apis. */
extern const struct srv_service srv_node_service;
struct node_api;
struct srv_node_apis {
    const struct node_api *apis; /* of broker/api; static storage */
    size_t count;
};

/* What the node is told: everything of c that it knows. *ret is released by node_config_release. */
struct node_config;
void srv_node_config(const struct srv_config *c, struct node_config *ret);

#endif
