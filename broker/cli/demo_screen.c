/* kvorum demo at the keyboard: the status screen, drawn again and again, and keys that hurt. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "broker/cli/demo.h"
#include "broker/cli/loop.h"

enum { DRAW_MS = 300, AFTER_KEY_MS = 30 };

struct screen {
    const struct cli_args *args;
    struct demo_nodes *nodes;
    struct demo_load *load;
    struct cli_loop loop;
    struct cli_watch keys;
    struct cli_timer draw;
    struct termios before; /* of the terminal */
    bool pausing;          /* p was pressed: whom? */
    char note[96];         /* what the last key did */
    size_t asked;          /* partitions that are to recover */
    int code;
};

/* ---- drawing -----------------------------------------------------------------------------------
 */

static void print_lines(const char *text)
{
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t size = end != NULL ? (size_t)(end - text) : strlen(text);
        (void)printf("%.*s\033[K\r\n", (int)size, text);
        text += size + (end != NULL);
    }
}

static void print_load(const struct screen *s, FILE *out)
{
    uint64_t ms[DEMO_PARTITIONS];
    const struct demo_load *l = s->load;
    size_t back = demo_answers(l, ms);
    (void)fprintf(out,
                  "load: %d partitions written and read · %" PRIu64 " acknowledged · %" PRIu64
                  " read · %" PRIu64 " lost · %" PRIu64 " duplicated\n",
                  DEMO_PARTITIONS, atomic_load(&l->acked), atomic_load(&l->read),
                  atomic_load(&l->lost), atomic_load(&l->duplicated));
    if (s->asked > 0)
        (void)fprintf(out, "%s: %zu of %zu partitions it led are back, %s %" PRIu64 " ms\n",
                      s->note, back, s->asked, back == s->asked ? "the last after" : "so far after",
                      back > 0 ? ms[back - 1] : 0);
    else
        (void)fprintf(out, "%s\n", s->note);
}

static void print_nodes(const struct screen *s, FILE *out)
{
    for (int i = 0; i < DEMO_NODES; i++) {
        const struct demo_node *n = &s->nodes->nodes[i];
        (void)fprintf(out, "node %d: %s", n->id,
                      n->pid == 0 ? "killed"
                      : n->paused ? "paused"
                                  : "running");
        if (n->pid != 0)
            (void)fprintf(out, ", pid %d", (int)n->pid);
        (void)fputs(i + 1 < DEMO_NODES ? " · " : "\n", out);
    }
}

static void print_help(const struct screen *s, FILE *out)
{
    (void)fprintf(out,
                  "\n%s\n\nin another terminal:\n"
                  "  export KVORUM_BOOTSTRAP=%s\n"
                  "  kvorum topic describe " DEMO_TOPIC "\n"
                  "  echo hello | kvorum produce greetings; kvorum consume greetings -e\n"
                  "  kcat -b $KVORUM_BOOTSTRAP -L\n"
                  "data and logs: %s%s\n",
                  s->pausing ? "pause or revive which one?  1 2 3, or p: the leader of most"
                             : "keys:  1 2 3 kill or restart a node   p pause or revive one   q "
                               "quit",
                  s->nodes->bootstrap, s->nodes->dir,
                  s->nodes->keep ? "" : " (removed at the end)");
}

static void draw(void *arg)
{
    struct screen *s = arg;
    struct cli_args args = *s->args;
    char *text = NULL;
    size_t size = 0;
    args.out = open_memstream(&text, &size);
    if (args.out == NULL)
        abort();
    args.bootstrap = s->nodes->bootstrap;
    args.quiet = true;
    if (cli_status(&args) != CLI_OK)
        (void)fprintf(args.out, "no node answers\n");
    (void)fputc('\n', args.out);
    print_nodes(s, args.out);
    print_load(s, args.out);
    print_help(s, args.out);
    (void)fclose(args.out);
    (void)fputs("\033[H", stdout);
    print_lines(text);
    (void)fputs("\033[J", stdout);
    (void)fflush(stdout);
    free(text);
    const struct demo_node *dead = demo_nodes_dead(s->nodes);
    if (dead != NULL)
        (void)snprintf(s->note, sizeof(s->note), "node %d ended by itself: see its log", dead->id);
    if (demo_load_has_died(s->load)) {
        s->code = CLI_FAILED;
        s->loop.stop = true;
    }
    cli_timer_arm(&s->loop, &s->draw, DRAW_MS);
}

/* ---- keys --------------------------------------------------------------------------------------
 */

/* Its leaders will move: measure. */
static void ask(struct screen *s, int32_t victim)
{
    struct demo_view v;
    demo_look(s->nodes, &v);
    s->asked = demo_ask(s->load, &v, victim);
}

static void key_kill(struct screen *s, struct demo_node *n)
{
    s->asked = 0;
    if (n->pid == 0) {
        demo_node_start(s->nodes, n);
        (void)snprintf(s->note, sizeof(s->note), "node %d restarted", n->id);
        return;
    }
    ask(s, n->id);
    demo_node_kill(n);
    (void)snprintf(s->note, sizeof(s->note), "node %d killed", n->id);
}

static void key_pause(struct screen *s, struct demo_node *n)
{
    s->asked = 0;
    if (n->pid == 0) {
        (void)snprintf(s->note, sizeof(s->note), "node %d is killed: nothing to pause", n->id);
        return;
    }
    if (!n->paused)
        ask(s, n->id);
    demo_node_pause(n, !n->paused);
    (void)snprintf(s->note, sizeof(s->note), "node %d %s", n->id, n->paused ? "paused" : "revived");
}

/* p twice: the one that is paused, else the leader of most. */
static struct demo_node *node_to_pause(struct screen *s)
{
    struct demo_view v;
    for (int i = 0; i < DEMO_NODES; i++) {
        if (s->nodes->nodes[i].paused)
            return &s->nodes->nodes[i];
    }
    demo_look(s->nodes, &v);
    int32_t id = demo_busiest(&v);
    return id > 0 ? &s->nodes->nodes[id - 1] : NULL;
}

static void take_key(struct screen *s, char key)
{
    struct demo_node *n = key >= '1' && key <= '3' ? &s->nodes->nodes[key - '1'] : NULL;
    bool pausing = s->pausing;
    s->pausing = false;
    if (key == 'q' || key == 'Q')
        s->loop.stop = true;
    else if (pausing && key == 'p')
        n = node_to_pause(s);
    else if (key == 'p')
        s->pausing = true;
    if (n != NULL && pausing)
        key_pause(s, n);
    else if (n != NULL)
        key_kill(s, n);
}

static void on_keys(void *arg, short revents)
{
    struct screen *s = arg;
    char keys[16];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));
    if (n <= 0 || (revents & (POLLHUP | POLLERR)) != 0)
        s->loop.stop = true; /* the terminal is gone */
    for (ssize_t i = 0; i < n && !s->loop.stop; i++)
        take_key(s, keys[i]);
    cli_timer_arm(&s->loop, &s->draw, AFTER_KEY_MS);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void enter(struct screen *s)
{
    struct termios raw;
    (void)tcgetattr(STDIN_FILENO, &s->before);
    raw = s->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    (void)fputs("\033[?1049h\033[?25l\033[2J", stdout); /* another screen, no cursor */
}

static void leave(struct screen *s)
{
    (void)fputs("\033[?25h\033[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
}

int demo_screen(const struct cli_args *args, struct demo_nodes *n, struct demo_load *l)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, 0};
    struct screen s = {.args = args, .nodes = n, .load = l};
    cli_loop_init(&s.loop);
    cli_loop_signals(&s.loop, signals);
    s.keys = (struct cli_watch){.fd = STDIN_FILENO, .events = POLLIN, .fn = on_keys, .arg = &s};
    s.draw = (struct cli_timer){.fn = draw, .arg = &s};
    cli_watch_add(&s.loop, &s.keys);
    cli_timer_arm(&s.loop, &s.draw, 0);
    enter(&s);
    cli_loop_run(&s.loop);
    leave(&s);
    cli_loop_release(&s.loop);
    if (s.code != CLI_OK)
        cli_error("the load has failed");
    (void)printf("%" PRIu64 " records acknowledged, %" PRIu64 " read, %" PRIu64 " lost, %" PRIu64
                 " duplicated%s\n",
                 atomic_load(&l->acked), atomic_load(&l->read), atomic_load(&l->lost),
                 atomic_load(&l->duplicated), n->keep ? "" : "; the data is removed");
    return s.loop.interrupted ? CLI_INTERRUPTED : s.code;
}
