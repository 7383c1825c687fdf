/* Why a request failed, in words, with the exit code that goes with it. */
#include <errno.h>
#include <unistd.h>

#include "broker/cli/client.h"

const char *cli_client_name(const struct cli_client *c, int32_t node_id)
{
    static char text[320];
    for (size_t i = 0; i < c->links_count_; i++) {
        if (c->links_[i].id == node_id) {
            (void)snprintf(text, sizeof(text), "node %d (%s:%u)", node_id, c->links_[i].host,
                           c->links_[i].port);
            return text;
        }
    }
    (void)snprintf(text, sizeof(text), "node %d", node_id);
    return text;
}

/* "localhost:19092 refused, localhost:29092 timed out after 1 s" */
static void name_all(const struct cli_client *c, struct kb_buf *text)
{
    for (size_t i = 0; i < c->links_count_; i++)
        kb_buf_printf(text, "%s%s:%u %s", i > 0 ? ", " : "", c->links_[i].host, c->links_[i].port,
                      cli_result_text(c->links_[i].result));
}

static int fail_any(struct cli_client *c, const char *what, int result)
{
    struct kb_buf text = {0};
    name_all(c, &text);
    kb_buf_append(&text, "", 1);
    if (result == -ETIMEDOUT)
        cli_error("%s: no answer within %.3g s (%s)", what, (double)c->args->timeout_ms / 1000,
                  (const char *)text.data);
    else
        cli_error("cannot reach any node: %s. Is the cluster up?", (const char *)text.data);
    kb_buf_release(&text);
    return result == -ETIMEDOUT ? CLI_TIMEOUT : CLI_NO_NODE;
}

int cli_client_fail(struct cli_client *c, const char *what, const struct cli_request *request)
{
    const struct kw_api *api = kw_api_find(request->api_key);
    const char *name = request->node_id == CLI_ANY_NODE ? "the cluster"
                                                        : cli_client_name(c, request->node_id);
    if (request->result == -EPROTONOSUPPORT) {
        cli_error("%s: %s does not speak %s in a version known here", what, name, api->name);
        return CLI_FAILED;
    }
    if (request->result == -EPROTO || request->result == -ENOMEM) {
        cli_error("%s: %s gave an answer that %s", what, name,
                  request->result == -EPROTO ? "cannot be read" : "is too large");
        return CLI_FAILED;
    }
    if (request->node_id == CLI_ANY_NODE)
        return fail_any(c, what, request->result);
    if (request->result == -ETIMEDOUT)
        cli_error("%s: no answer from %s within %.3g s", what, name,
                  (double)c->args->timeout_ms / 1000);
    else
        cli_error("%s: cannot reach %s: %s", what, name, cli_result_text(request->result));
    return request->result == -ETIMEDOUT ? CLI_TIMEOUT : CLI_FAILED;
}

int cli_kafka_exit(int16_t error)
{
    switch (error) {
    case KW_NONE:
        return CLI_OK;
    case KW_UNKNOWN_TOPIC_OR_PARTITION:
    case KW_UNKNOWN_TOPIC_ID:
    case KW_GROUP_ID_NOT_FOUND:
    case KW_RESOURCE_NOT_FOUND:
        return CLI_NOT_FOUND;
    case KW_TOPIC_AUTHORIZATION_FAILED:
    case KW_GROUP_AUTHORIZATION_FAILED:
    case KW_CLUSTER_AUTHORIZATION_FAILED:
        return CLI_UNAUTHORIZED;
    case KW_REQUEST_TIMED_OUT:
        return CLI_TIMEOUT;
    default:
        return CLI_FAILED;
    }
}

int cli_kafka_fail(const char *what, int16_t error, struct kw_str message)
{
    if (message.size > 0)
        cli_error("%s: %.*s (%s)", what, CLI_STR(message), kw_error_name(error));
    else
        cli_error("%s: %s (%s)", what, kw_error_message(error), kw_error_name(error));
    return cli_kafka_exit(error);
}

bool cli_tell_no_quorum(const struct cli_args *args)
{
    struct cli_args quiet = *args;
    struct cli_cluster c = {0};
    quiet.quiet = true;
    bool told = cli_cluster_gather(&quiet, false, &c) == CLI_OK && !c.changes;
    if (told) {
        struct kb_buf text = {0};
        cli_words_no_quorum(&c, &text);
        cli_error("%.*s", (int)text.size, (const char *)text.data);
        kb_buf_release(&text);
    }
    cli_cluster_release(&c);
    return told;
}

const struct kw_metadata_response_topic *cli_need_topic(const struct cli_client *c,
                                                        const char *name)
{
    const struct kw_metadata_response_topic *t = cli_client_topic(c, kw_str_of(name));
    struct cli_nearest near = {.word = name};
    char *names[2] = {NULL, NULL}; /* the best one, and the one that is offered */
    if (t != NULL && t->error_code != KW_UNKNOWN_TOPIC_OR_PARTITION)
        return t;
    for (int32_t i = 0; i < c->metadata->topics_count; i++) {
        struct kw_str other = c->metadata->topics[i].name;
        if (other.data == NULL || c->metadata->topics[i].error_code != KW_NONE)
            continue;
        names[1] = kb_strndup(other.data, (size_t)other.size);
        cli_nearest_offer(&near, names[1]);
        char *drop = near.best == names[1] ? names[0] : names[1];
        names[0] = near.best == names[1] ? names[1] : names[0];
        (void)kb_free(drop);
    }
    cli_error("topic \"%s\" does not exist (UNKNOWN_TOPIC_OR_PARTITION).%s List: kvorum topic ls",
              name, cli_nearest_text(&near));
    (void)kb_free(names[0]);
    return NULL;
}

int32_t cli_server_timeout_ms(const struct cli_client *c)
{
    uint64_t now_ms = cli_now_ms();
    uint64_t left_ms = c->deadline_ms > now_ms ? c->deadline_ms - now_ms : 0;
    return left_ms > 400 ? (int32_t)(left_ms - 200) : (int32_t)(left_ms / 2 + 1);
}

int cli_admin(struct cli_client *c, struct kb_arena *arena, const char *what,
              struct cli_request *request)
{
    int r = cli_client_ask(c, arena, request);
    if (r == 0)
        return CLI_OK;
    if (r == -ETIMEDOUT && cli_tell_no_quorum(c->args)) {
        cli_error("%s: not done within %.3g s (REQUEST_TIMED_OUT)", what,
                  (double)c->args->timeout_ms / 1000);
        return CLI_TIMEOUT;
    }
    return cli_client_fail(c, what, request);
}

int cli_confirm(const struct cli_args *args, const char *question)
{
    char line[16] = "";
    if (args->yes)
        return CLI_OK;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        cli_error("%s Nobody is asked here; add --yes to do it", question);
        return CLI_USAGE;
    }
    (void)fprintf(stderr, "%s Type yes: ", question);
    if (fgets(line, sizeof(line), stdin) != NULL &&
        (strcmp(line, "yes\n") == 0 || strcmp(line, "y\n") == 0))
        return CLI_OK;
    cli_error("nothing was changed");
    return CLI_FAILED;
}
