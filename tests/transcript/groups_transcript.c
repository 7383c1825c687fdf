/* Plays the stories in tests/transcript/groups: lines "> command" drive consumers against one
 * shard, the lines below each are what happened. Usage: groups_transcript [--rewrite] FILE... ;
 * review the diff of --rewrite as behaviour. Commands are listed in tests/transcript/README.md.
 * After each command the log must replay to the live state, and its compacted copy too. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "tests/unit/groups/toy.h"

enum { WORDS_MAX = 24, IDS_MAX = 128 };

struct stage {
    struct toy toy;
    struct kb_buf out;
    const char *path;
    int line;
    char *words[WORDS_MAX];
    int n_words;
    char *ids[IDS_MAX]; /* member ids in order of their appearance: m1, m2, … */
    int n_ids;
};

static void bad(const struct stage *s, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", s->path, s->line, what);
    exit(2);
}

static const char *word(const struct stage *s, int i)
{
    if (i >= s->n_words)
        bad(s, "a word is missing");
    return s->words[i];
}

/* The value of "key=value" among the words; NULL when absent. */
static const char *option(const struct stage *s, const char *key)
{
    size_t size = strlen(key);
    for (int i = 0; i < s->n_words; i++) {
        if (strncmp(s->words[i], key, size) == 0 && s->words[i][size] == '=')
            return s->words[i] + size + 1;
    }
    return NULL;
}

static void say(struct stage *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct stage *s, const char *format, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    kb_buf_printf(&s->out, "%6" PRIu64 " %s\n", s->toy.now_ms, text);
}

/* ---- member ids read as m1, m2, …
 * ------------------------------------------------------------- */

static const char *alias(struct stage *s, const char *id, size_t size)
{
    static char text[16];
    int i = 0;
    if (size == 0)
        return "nobody";
    while (i < s->n_ids && (strlen(s->ids[i]) != size || memcmp(s->ids[i], id, size) != 0))
        i++;
    if (i == s->n_ids) {
        if (s->n_ids == IDS_MAX)
            bad(s, "too many members");
        s->ids[s->n_ids++] = kb_strndup(id, size);
    }
    (void)snprintf(text, sizeof(text), "m%d", i + 1);
    return text;
}

static const char *id_of(const struct stage *s, const char *text)
{
    int n = text[0] == 'm' ? atoi(text + 1) : 0;
    return n >= 1 && n <= s->n_ids ? s->ids[n - 1] : text;
}

/* Text with every known id replaced. */
static void put_aliased(struct stage *s, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        int found = -1;
        for (int i = 0; i < s->n_ids && found < 0; i++) {
            size_t n = strlen(s->ids[i]);
            if (n <= size - at && memcmp(text + at, s->ids[i], n) == 0)
                found = i;
        }
        if (found >= 0) {
            kb_buf_printf(&s->out, "m%d", found + 1);
            at += strlen(s->ids[found]);
        } else {
            kb_buf_append(&s->out, text + at++, 1);
        }
    }
}

/* ---- what happens
 * ---------------------------------------------------------------------------- */

static void say_join(struct stage *s, const struct toy_client *c)
{
    char text[2048] = "";
    if (c->error != KW_NONE) {
        say(s, "%s join: %s%s%s", c->name, kw_error_name((int16_t)c->error),
            c->error == KW_MEMBER_ID_REQUIRED ? " as " : "",
            c->error == KW_MEMBER_ID_REQUIRED ? alias(s, c->member, strlen(c->member)) : "");
        return;
    }
    for (size_t i = 0; i < c->members_count; i++) {
        (void)strcat(text, i == 0 ? ": " : " ");
        (void)strcat(text, alias(s, c->members[i], strlen(c->members[i])));
    }
    say(s, "%s is %s in generation %d%s%s%s", c->name, alias(s, c->member, strlen(c->member)),
        c->generation, c->leads ? ", leads" : "", c->skip_assignment ? ", skips assignment" : "",
        text);
}

static void answered(void *arg, struct toy_client *c, enum group_reply_kind kind)
{
    struct stage *s = arg;
    if (kind == GROUP_REPLY_JOIN)
        say_join(s, c);
    else if (c->error != KW_NONE)
        say(s, "%s sync: %s", c->name, kw_error_name((int16_t)c->error));
    else
        say(s, "%s has \"%s\"", c->name, c->assignment);
}

static void say_metadata(struct stage *s, struct kw_reader *rd, const struct toy_record *r,
                         struct kb_arena *arena)
{
    struct kw_group_metadata_key key;
    struct kw_group_metadata_value v;
    struct kw_reader vr;
    char text[2048] = "";
    int bad_key = kw_group_metadata_key_read(rd, 0, arena, &key);
    KB_ASSERT(bad_key == 0);
    if (r->value == NULL) {
        say(s, "  record %.*s: deleted", key.group.size, key.group.data);
        return;
    }
    kw_reader_init(&vr, r->value, r->value_size);
    int16_t version = kw_get_int16(&vr);
    int bad_value = kw_group_metadata_value_read(&vr, version, arena, &v);
    KB_ASSERT(bad_value == 0);
    for (int32_t i = 0; i < v.members_count; i++) {
        const struct kw_group_metadata_value_member *m = &v.members[i];
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof(text) - at, " %s=\"%.*s\"",
                       alias(s, m->member_id.data, (size_t)m->member_id.size), m->assignment.size,
                       (const char *)m->assignment.data);
    }
    say(s, "  record %.*s: generation %d %.*s %.*s%s", key.group.size, key.group.data, v.generation,
        v.protocol_type.size, v.protocol_type.data, v.protocol.data != NULL ? v.protocol.size : 1,
        v.protocol.data != NULL ? v.protocol.data : "-", text);
}

static void say_offset(struct stage *s, struct kw_reader *rd, const struct toy_record *r,
                       struct kb_arena *arena)
{
    struct kw_offset_commit_key key;
    struct kw_offset_commit_value v;
    struct kw_reader vr;
    int bad_key = kw_offset_commit_key_read(rd, 0, arena, &key);
    KB_ASSERT(bad_key == 0);
    if (r->value == NULL) {
        say(s, "  record %.*s: %.*s-%d deleted", key.group.size, key.group.data, key.topic.size,
            key.topic.data, key.partition);
        return;
    }
    kw_reader_init(&vr, r->value, r->value_size);
    int16_t version = kw_get_int16(&vr);
    int bad_value = kw_offset_commit_value_read(&vr, version, arena, &v);
    KB_ASSERT(bad_value == 0);
    say(s, "  record %.*s: %.*s-%d=%" PRId64 " (v%d)", key.group.size, key.group.data,
        key.topic.size, key.topic.data, key.partition, v.offset, version);
}

static void recorded(void *arg, const struct toy_record *r)
{
    struct stage *s = arg;
    struct kw_reader rd;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    kw_reader_init(&rd, r->key, r->key_size);
    if (kw_get_int16(&rd) == 2)
        say_metadata(s, &rd, r, &arena);
    else
        say_offset(s, &rd, r, &arena);
    kb_arena_release(&arena);
}

/* ---- commands
 * -------------------------------------------------------------------------------- */

static void set_text(char *to, size_t size, const char *from)
{
    if (from != NULL)
        (void)snprintf(to, size, "%s", strcmp(from, "-") == 0 ? "" : from);
}

/* Options that stay with the client. */
static struct toy_client *client(struct stage *s, int i)
{
    struct toy_client *c = toy_client(&s->toy, word(s, i));
    const char *member = option(s, "member");
    set_text(c->group, sizeof(c->group), option(s, "group"));
    set_text(c->instance, sizeof(c->instance), option(s, "instance"));
    set_text(c->type, sizeof(c->type), option(s, "type"));
    set_text(c->protocols, sizeof(c->protocols), option(s, "protocols"));
    set_text(c->member, sizeof(c->member), member != NULL ? id_of(s, member) : NULL);
    if (option(s, "v") != NULL)
        c->version = (int16_t)atoi(option(s, "v"));
    if (option(s, "session") != NULL)
        c->session_ms = atoi(option(s, "session"));
    if (option(s, "rebalance") != NULL)
        c->rebalance_ms = atoi(option(s, "rebalance"));
    if (option(s, "generation") != NULL)
        c->generation = atoi(option(s, "generation"));
    return c;
}

/* "topic-3" */
static int32_t split_partition(const struct stage *s, char *text)
{
    char *dash = strrchr(text, '-');
    if (dash == NULL)
        bad(s, "not a partition");
    *dash = '\0';
    return atoi(dash + 1);
}

static void say_error(struct stage *s, const struct toy_client *c, const char *what,
                      enum kw_error error)
{
    say(s, "%s %s: %s", c->name, what, error == KW_NONE ? "ok" : kw_error_name((int16_t)error));
}

static void do_sync(struct stage *s, struct toy_client *c)
{
    struct kb_buf give = {0};
    for (int i = 2; i < s->n_words; i++) {
        char *equals = strchr(s->words[i], '=');
        if (equals == NULL || s->words[i][0] != 'm' || s->words[i][1] > '9')
            continue;
        *equals = '\0';
        kb_buf_printf(&give, "%s%s=%s", give.size > 0 ? "," : "", id_of(s, s->words[i]),
                      equals + 1);
    }
    if (give.size > 0)
        kb_buf_append(&give, "", 1);
    toy_sync(&s->toy, c, give.size > 0 ? (char *)give.data : NULL);
    kb_buf_release(&give);
}

static void do_commit(struct stage *s, struct toy_client *c)
{
    char topic[TOY_TEXT_MAX];
    char *equals = strchr(s->words[2], '=');
    if (equals == NULL)
        bad(s, "topic-partition=offset is wanted");
    *equals = '\0';
    (void)snprintf(topic, sizeof(topic), "%s", s->words[2]);
    int32_t partition = split_partition(s, topic);
    const char *metadata = option(s, "metadata");
    enum kw_error e = toy_commit(&s->toy, c, topic, partition, atoll(equals + 1),
                                 metadata != NULL ? metadata : "");
    say_error(s, c, "commit", e);
}

static bool client_command(struct stage *s)
{
    const char *verb = s->n_words > 1 ? s->words[1] : "";
    if (strcmp(verb, "join") == 0)
        toy_join(&s->toy, client(s, 0));
    else if (strcmp(verb, "sync") == 0)
        do_sync(s, client(s, 0));
    else if (strcmp(verb, "heartbeat") == 0)
        say_error(s, client(s, 0), "heartbeat", toy_heartbeat(&s->toy, client(s, 0)));
    else if (strcmp(verb, "leave") == 0)
        say_error(s, client(s, 0), "leave", toy_leave(&s->toy, client(s, 0)));
    else if (strcmp(verb, "commit") == 0)
        do_commit(s, client(s, 0));
    else if (strcmp(verb, "closes") == 0)
        toy_crash(&s->toy, client(s, 0));
    else if (strcmp(verb, "is") == 0)
        (void)client(s, 0);
    else
        return false;
    return true;
}

static void do_describe(struct stage *s, const char *group)
{
    struct kw_describe_groups_response_group r;
    struct kb_arena arena;
    char text[2048] = "";
    kb_arena_init(&arena, 1 << 20);
    int error = group_shard_describe(s->toy.shard, 6, kw_str_of(group), &arena, &r);
    KB_ASSERT(error == 0);
    for (int32_t i = 0; i < r.members_count; i++) {
        const struct kw_describe_groups_response_member *m = &r.members[i];
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof(text) - at, " %s/%.*s/%.*s",
                       alias(s, m->member_id.data, (size_t)m->member_id.size),
                       m->member_metadata.size, (const char *)m->member_metadata.data,
                       m->member_assignment.size, (const char *)m->member_assignment.data);
    }
    say(s, "%s: %.*s %.*s %.*s%s%s%s", group, r.group_state.size, r.group_state.data,
        r.protocol_type.size, r.protocol_type.data, r.protocol_data.size, r.protocol_data.data,
        text, r.error_code != KW_NONE ? " " : "",
        r.error_code != KW_NONE ? kw_error_name(r.error_code) : "");
    kb_arena_release(&arena);
}

static void do_list(struct stage *s)
{
    struct kw_list_groups_response_group *groups = NULL;
    struct kw_list_groups_request req;
    struct kw_str state = kw_str_of(option(s, "state"));
    struct kw_str type = kw_str_of(option(s, "type"));
    struct kb_arena arena;
    int32_t count = 0;
    kb_arena_init(&arena, 1 << 20);
    kw_list_groups_request_init(&req);
    req.states_filter = &state;
    req.states_filter_count = state.data != NULL;
    req.types_filter = &type;
    req.types_filter_count = type.data != NULL;
    int error = group_shard_list(s->toy.shard, &req, &arena, &groups, &count);
    KB_ASSERT(error == 0);
    for (int32_t i = 0; i < count; i++)
        say(s, "%.*s \"%.*s\" %.*s", groups[i].group_id.size, groups[i].group_id.data,
            groups[i].protocol_type.size, groups[i].protocol_type.data, groups[i].group_state.size,
            groups[i].group_state.data);
    kb_arena_release(&arena);
}

static void do_delete_offset(struct stage *s)
{
    char *topic = s->words[2];
    struct kw_offset_delete_request_partition p = {.partition_index = split_partition(s, topic)};
    struct kw_offset_delete_request_topic q = {
        .name = kw_str_of(topic), .partitions = &p, .partitions_count = 1};
    struct kw_offset_delete_request req;
    struct kw_offset_delete_response resp;
    struct group_effects fx;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    group_effects_init(&fx);
    kw_offset_delete_request_init(&req);
    req.group_id = kw_str_of(word(s, 1));
    req.topics = &q;
    req.topics_count = 1;
    int error = group_shard_delete_offsets(s->toy.shard, &req, &arena, &resp, &fx);
    KB_ASSERT(error == 0);
    int16_t e = resp.error_code != KW_NONE ? resp.error_code
                                           : resp.topics[0].partitions[0].error_code;
    say(s, "delete-offset: %s", e == KW_NONE ? "ok" : kw_error_name(e));
    kb_arena_release(&arena);
    toy_run(&s->toy, &fx);
}

static void do_set(struct stage *s)
{
    struct group_options *o = &s->toy.options;
    uint32_t value = (uint32_t)atol(word(s, 2));
    if (strcmp(s->words[1], "members-max") == 0)
        o->members_max = value;
    else if (strcmp(s->words[1], "initial-delay") == 0)
        o->initial_delay_ms = value;
    else if (strcmp(s->words[1], "retention") == 0)
        o->offset_retention_ms = value;
    else if (strcmp(s->words[1], "metadata-max") == 0)
        o->offset_metadata_max = value;
    else if (strcmp(s->words[1], "group-bytes") == 0)
        o->group_bytes_max = value;
    else if (strcmp(s->words[1], "groups-max") == 0)
        o->groups_max = value;
    else if (strcmp(s->words[1], "parked-max") == 0)
        o->parked_max = value;
    else
        bad(s, "no such setting");
    toy_take_over(&s->toy);
}

static void do_delete(struct stage *s)
{
    struct group_effects fx;
    group_effects_init(&fx);
    enum kw_error e = group_shard_delete(s->toy.shard, kw_str_of(word(s, 1)), &fx);
    say(s, "delete: %s", e == KW_NONE ? "ok" : kw_error_name((int16_t)e));
    toy_run(&s->toy, &fx);
}

static void do_topic_deleted(struct stage *s)
{
    struct kb_uuid none = {{0}};
    struct group_effects fx;
    group_effects_init(&fx);
    group_shard_topic_deleted(s->toy.shard, kw_str_of(word(s, 1)), &none, &fx);
    toy_run(&s->toy, &fx);
}

static void do_fetch(struct stage *s)
{
    for (int i = 2; i < s->n_words; i++) {
        char *topic = s->words[i];
        int32_t partition = split_partition(s, topic);
        say(s, "%s-%d=%" PRId64, topic, partition,
            toy_fetch(&s->toy, word(s, 1), topic, partition));
    }
}

static void do_show(struct stage *s)
{
    struct kb_buf text = {0};
    group_shard_dump(s->toy.shard, &text);
    put_aliased(s, (char *)text.data, text.size);
    kb_buf_release(&text);
}

static void command(struct stage *s, char *text)
{
    char *save = NULL;
    s->n_words = 0;
    for (char *w = strtok_r(text, " ", &save); w != NULL && s->n_words < WORDS_MAX;
         w = strtok_r(NULL, " ", &save))
        s->words[s->n_words++] = w;
    const char *verb = word(s, 0);
    if (strcmp(verb, "run") == 0)
        toy_wait(&s->toy, (uint64_t)atoll(word(s, 1)));
    else if (strcmp(verb, "take-over") == 0)
        toy_take_over(&s->toy);
    else if (strcmp(verb, "compact") == 0)
        toy_compact(&s->toy);
    else if (strcmp(verb, "wall") == 0)
        s->toy.wall_off_ms += atoll(word(s, 1));
    else if (strcmp(verb, "describe") == 0)
        do_describe(s, word(s, 1));
    else if (strcmp(verb, "list") == 0)
        do_list(s);
    else if (strcmp(verb, "delete") == 0)
        do_delete(s);
    else if (strcmp(verb, "delete-offset") == 0)
        do_delete_offset(s);
    else if (strcmp(verb, "topic-deleted") == 0)
        do_topic_deleted(s);
    else if (strcmp(verb, "fetch") == 0)
        do_fetch(s);
    else if (strcmp(verb, "show") == 0)
        do_show(s);
    else if (strcmp(verb, "set") == 0)
        do_set(s);
    else if (!client_command(s))
        bad(s, "no such command");
    toy_judge(&s->toy);
}

/* ---- files
 * ------------- */

static void read_file(const char *path, struct kb_buf *ret)
{
    char chunk[4096];
    FILE *f = fopen(path, "r");
    size_t n;
    if (f == NULL) {
        perror(path);
        exit(2);
    }
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        kb_buf_append(ret, chunk, n);
    (void)fclose(f);
}

static void play(struct stage *s, const struct kb_buf *text)
{
    char line[1024];
    size_t at = 0;
    while (at < text->size) {
        const uint8_t *end = memchr(text->data + at, '\n', text->size - at);
        size_t size = end != NULL ? (size_t)(end - text->data) - at : text->size - at;
        s->line++;
        if (size >= sizeof(line))
            bad(s, "a line is too long");
        memcpy(line, text->data + at, size);
        line[size] = '\0';
        at += size + 1;
        if (line[0] != '>' && line[0] != '#' && line[0] != '\0')
            continue; /* what was expected */
        kb_buf_printf(&s->out, "%s\n", line);
        if (line[0] == '>')
            command(s, line + 1);
    }
}

static void show_difference(const char *path, const struct kb_buf *was, const struct kb_buf *is)
{
    size_t at = 0;
    int line = 1;
    while (at < was->size && at < is->size && was->data[at] == is->data[at])
        line += was->data[at++] == '\n';
    fprintf(stderr, "%s:%d: another story; got from here on:\n", path, line);
    while (at > 0 && is->data[at - 1] != '\n')
        at--;
    size_t size = is->size - at < 2000 ? is->size - at : 2000;
    fprintf(stderr, "%.*s\n", (int)size, (const char *)is->data + at);
}

static int play_file(const char *path, bool rewrite)
{
    struct stage *s = kb_new(struct stage);
    struct kb_buf text = {0};
    s->path = path;
    toy_init(&s->toy);
    s->toy.answered = answered;
    s->toy.recorded = recorded;
    s->toy.arg = s;
    read_file(path, &text);
    play(s, &text);
    int r = 0;
    if (text.size != s->out.size || memcmp(text.data, s->out.data, text.size) != 0) {
        if (rewrite) {
            FILE *f = fopen(path, "w");
            if (f == NULL || fwrite(s->out.data, 1, s->out.size, f) != s->out.size)
                r = 2;
            if (f != NULL)
                (void)fclose(f);
        } else {
            show_difference(path, &text, &s->out);
            r = 1;
        }
    }
    toy_release(&s->toy);
    for (int i = 0; i < s->n_ids; i++)
        free(s->ids[i]);
    kb_buf_release(&text);
    kb_buf_release(&s->out);
    (void)kb_free(s);
    return r;
}

static void swallow(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

int main(int argc, char **argv)
{
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    int failed = 0;
    kb_log_set_sink(swallow, NULL, KB_LOG_ERROR);
    for (int i = rewrite ? 2 : 1; i < argc; i++)
        failed |= play_file(argv[i], rewrite);
    return failed;
}
