/* Plays the stories in tests/transcript/raft: lines "> command" drive a toy cluster, the lines
 * below each are what it did. Usage: raft_transcript [--rewrite] FILE... ; --rewrite puts what
 * happened in the place of what was expected: review the diff as behaviour. Commands are listed in
 * tests/transcript/README.md. Invariants are judged all along. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/bytes.h"
#include "proto/base/log.h"
#include "tests/unit/raft/toy.h"

#define WORDS_MAX 16

struct stage {
    struct toy toy;
    bool set; /* the toy is there */
    struct kb_buf out;
    const char *path;
    int line;
    char *words[WORDS_MAX];
    int n_words;
};

static void bad(const struct stage *s, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", s->path, s->line, what);
    exit(2);
}

static void hear(void *arg, const char *line)
{
    struct stage *s = arg;
    kb_buf_printf(&s->out, "%s\n", line);
}

static const char *word(const struct stage *s, int i)
{
    if (i >= s->n_words)
        bad(s, "a word is missing");
    return s->words[i];
}

static uint64_t number(const struct stage *s, int i)
{
    char *end;
    uint64_t n = strtoull(word(s, i), &end, 10);
    if (*end != '\0')
        bad(s, "not a number");
    return n;
}

static uint64_t number_or(const struct stage *s, int i, uint64_t otherwise)
{
    return i < s->n_words ? number(s, i) : otherwise;
}

/* "leader", or a node by its id. */
static int node(const struct stage *s, int i)
{
    if (strcmp(word(s, i), "leader") == 0) {
        int n = toy_leader(&s->toy);
        if (n < 0)
            bad(s, "nobody leads");
        return n;
    }
    uint64_t id = number(s, i);
    if (id < 1 || id > (uint64_t)s->toy.n_nodes)
        bad(s, "no such node");
    return (int)id - 1;
}

static void say_answer(struct stage *s, const char *what, int n, int answer)
{
    toy_say(&s->toy, "n%d %s: %s", n + 1, what, raft_answer_name((enum raft_answer)answer));
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void do_cluster(struct stage *s)
{
    int n = (int)number(s, 1);
    if (s->set)
        toy_release(&s->toy);
    toy_init(&s->toy, number_or(s, 3, 1), n, (int)number_or(s, 2, (uint64_t)n));
    s->set = true;
    s->toy.tell = hear;
    s->toy.tell_arg = s;
}

static void do_start(struct stage *s)
{
    s->toy.founding = strcmp(word(s, 1), "founding") == 0;
    if (strcmp(word(s, 1), "all") != 0 && !s->toy.founding) {
        for (int i = 1; i < s->n_words; i++)
            toy_start(&s->toy, node(s, i));
        return;
    }
    for (int n = 0; n < s->toy.n_nodes; n++)
        if (!s->toy.nodes[n].alive)
            toy_start(&s->toy, n);
}

static void do_run(struct stage *s)
{
    toy_run(&s->toy, number(s, 1));
}

/* Start all, and skip the story of the first election. */
static void do_settle(struct stage *s)
{
    s->toy.tell = NULL;
    for (int n = 0; n < s->toy.n_nodes; n++)
        if (!s->toy.nodes[n].alive)
            toy_start(&s->toy, n);
    int leader = toy_run_to_leader(&s->toy, 5000);
    toy_run_until(&s->toy, (s->toy.now_ms + 999) / 1000 * 1000);
    s->toy.tell = hear;
    if (leader < 0)
        toy_say(&s->toy, "nobody leads");
    else
        toy_say(&s->toy, "n%d leads term %" PRIu64, leader + 1, s->toy.nodes[leader].term);
}

static void do_propose(struct stage *s)
{
    int n = node(s, 1);
    uint64_t times = number_or(s, 2, 1);
    int answer = RAFT_OK;
    uint64_t done = 0;
    for (; done < times && answer == RAFT_OK; done++)
        answer = toy_propose(&s->toy, n, (uint32_t)number_or(s, 3, 1),
                             (uint32_t)number_or(s, 4, 100));
    if (answer != RAFT_OK)
        toy_say(&s->toy, "n%d takes %" PRIu64 " and answers %s", n + 1, done - 1,
                raft_answer_name((enum raft_answer)answer));
}

static void do_kill(struct stage *s)
{
    for (int i = 1; i < s->n_words; i++)
        toy_kill(&s->toy, node(s, i), false);
}

static void do_power(struct stage *s)
{
    for (int i = 1; i < s->n_words; i++)
        toy_kill(&s->toy, node(s, i), true);
}

static void do_cut(struct stage *s)
{
    toy_cut(&s->toy, node(s, 1), node(s, 2));
}

static void do_part(struct stage *s)
{
    toy_cut(&s->toy, node(s, 1), node(s, 2));
    toy_cut(&s->toy, node(s, 2), node(s, 1));
}

static void do_isolate(struct stage *s)
{
    int a = node(s, 1);
    for (int b = 0; b < s->toy.n_nodes; b++) {
        if (a == b)
            continue;
        toy_cut(&s->toy, a, b);
        toy_cut(&s->toy, b, a);
    }
}

static void do_heal(struct stage *s)
{
    toy_heal(&s->toy);
}

static void do_close(struct stage *s)
{
    static const struct {
        const char *name;
        enum raft_link_state state;
    } states[] = {
        {"closed", RAFT_LINK_CLOSED}, {"accepted", RAFT_LINK_ACCEPTED}, {"dead", RAFT_LINK_DEAD}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(word(s, 3), states[i].name) == 0) {
            toy_close_link(&s->toy, node(s, 1), node(s, 2), states[i].state);
            return;
        }
    }
    bad(s, "closed, accepted or dead?");
}

static void do_open(struct stage *s)
{
    toy_open_link(&s->toy, node(s, 1), node(s, 2));
}

static void do_stop(struct stage *s)
{
    toy_sleep(&s->toy, node(s, 1), number(s, 2));
}

static void do_disk(struct stage *s)
{
    struct toy_node *n = &s->toy.nodes[node(s, 1)];
    if (strcmp(word(s, 2), "stuck") == 0) {
        n->disk_stuck = true;
        return;
    }
    n->disk_stuck = false;
    n->disk_ms_min = number(s, 2);
    n->disk_ms_max = number_or(s, 3, n->disk_ms_min);
}

static void do_damage(struct stage *s)
{
    int n = node(s, 1);
    if (strcmp(word(s, 2), "vote") == 0)
        toy_damage_vote(&s->toy, n);
    else if (strcmp(word(s, 2), "log") == 0)
        toy_damage_log(&s->toy, n, number(s, 3));
    else if (strcmp(word(s, 2), "tail") == 0)
        toy_cut_log(&s->toy, n, number(s, 3));
    else if (strcmp(word(s, 2), "all") == 0)
        toy_wipe(&s->toy, n);
    else
        bad(s, "vote, log, tail or all?");
}

static void do_save(struct stage *s)
{
    toy_save_disk(&s->toy, node(s, 1));
}

static void do_rollback(struct stage *s)
{
    toy_restore_disk(&s->toy, node(s, 1));
}

static void do_snapshot(struct stage *s)
{
    toy_take_snapshot(&s->toy, node(s, 1));
}

static void do_transfer(struct stage *s)
{
    int n = node(s, 1);
    struct raft_node to = {.id = RAFT_NOBODY};
    if (s->n_words > 2)
        to = toy_node_of(node(s, 2));
    say_answer(s, "transfer", n,
               toy_step(&s->toy, n, (struct raft_input){.kind = RAFT_IN_TRANSFER, .node = to}));
}

static void do_confirm(struct stage *s)
{
    int n = node(s, 1);
    say_answer(s, "confirm", n, toy_step(&s->toy, n, (struct raft_input){.kind = RAFT_IN_CONFIRM}));
}

static void do_voters(struct stage *s)
{
    int n = node(s, 1);
    struct raft_voters set = {0};
    for (int i = 2; i < s->n_words && set.count < RAFT_VOTERS_MAX; i++)
        set.nodes[set.count++] = s->toy.nodes[node(s, i)].self;
    say_answer(s, "voters", n, toy_propose_voters(&s->toy, n, &set));
}

static void do_problem(struct stage *s)
{
    struct raft_node nodes[WORDS_MAX];
    size_t count = 0;
    for (int i = 1; i < s->n_words; i++)
        nodes[count++] = toy_node_of((int)number(s, i) - 1);
    const char *problem = raft_voters_problem(nodes, count);
    toy_say(&s->toy, "%s", problem != NULL ? problem : "a good voter set");
}

static void do_messages(struct stage *s)
{
    s->toy.tell_messages = strcmp(word(s, 1), "on") == 0;
}

static void do_status(struct stage *s)
{
    for (int n = 0; n < s->toy.n_nodes; n++) {
        const struct toy_node *tn = &s->toy.nodes[n];
        struct raft_status st;
        if (!tn->alive) {
            toy_say(&s->toy, "n%d is down", n + 1);
            continue;
        }
        raft_core_status(tn->core, &st);
        char vote[16] = "nobody";
        if (st.vote.id != RAFT_NOBODY)
            (void)snprintf(vote, sizeof(vote), "n%d", st.vote.id);
        toy_say(&s->toy,
                "n%d %s term=%" PRIu64 " vote=%s last=%" PRIu64 " durable=%" PRIu64
                " commit=%" PRIu64 " snapshot=%" PRIu64 " voters=%zu%s%s",
                n + 1, raft_role_name(st.role), st.term, vote, st.last_index, st.durable_index,
                st.commit_index, st.snapshot.index, st.voters.count, st.barred ? " barred" : "",
                st.disk_stalled ? " disk-stalled" : "");
    }
}

static void do_peers(struct stage *s)
{
    struct raft_peer_status peers[TOY_NODES_MAX];
    int n = node(s, 1);
    size_t count = raft_core_peers(s->toy.nodes[n].core, peers, TOY_NODES_MAX);
    for (size_t i = 0; i < count; i++)
        toy_say(&s->toy,
                "n%d sees n%d %s end=%" PRIu64 " heard=%" PRIu64 " caught-up=%" PRIu64 "%s%s%s",
                n + 1, peers[i].node.id, peers[i].voter ? "voter" : "observer", peers[i].end_index,
                peers[i].last_ack_ms, peers[i].last_caught_up_ms, peers[i].barred ? " barred" : "",
                peers[i].fallen ? " fallen" : "", peers[i].snapshot ? " snapshot" : "");
}

static const struct {
    const char *name;
    void (*run)(struct stage *);
} commands[] = {
    {"cluster", do_cluster},   {"start", do_start},       {"run", do_run},
    {"settle", do_settle},     {"propose", do_propose},   {"kill", do_kill},
    {"power", do_power},       {"cut", do_cut},           {"part", do_part},
    {"isolate", do_isolate},   {"heal", do_heal},         {"close", do_close},
    {"open", do_open},         {"stop", do_stop},         {"disk", do_disk},
    {"damage", do_damage},     {"save", do_save},         {"rollback", do_rollback},
    {"snapshot", do_snapshot}, {"transfer", do_transfer}, {"confirm", do_confirm},
    {"voters", do_voters},     {"problem", do_problem},   {"messages", do_messages},
    {"status", do_status},     {"peers", do_peers},
};

static void command(struct stage *s, char *line)
{
    char *save = NULL;
    s->n_words = 0;
    for (char *w = strtok_r(line, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        if (s->n_words == WORDS_MAX)
            bad(s, "too many words");
        s->words[s->n_words++] = w;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (s->n_words > 0 && strcmp(s->words[0], commands[i].name) == 0) {
            if (!s->set && commands[i].run != do_cluster)
                bad(s, "a story begins with a cluster");
            commands[i].run(s);
            return;
        }
    }
    bad(s, "no such command");
}

/* ---- files ------------------------------------------------------------------------------------
 */

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
    if (s->set)
        toy_release(&s->toy);
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
