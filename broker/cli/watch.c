/* The same picture again and again: redrawn on a terminal, else printed when it has changed. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/internal.h"

enum { PAUSE_MS = 500, ERRORS_BYTES_MAX = 64 << 10 };

struct picture {
    char *text;
    size_t text_size;
    char *key;
    size_t key_size;
    char errors[ERRORS_BYTES_MAX]; /* what went to stderr meanwhile */
    size_t errors_size;
};

static void release(struct picture *p)
{
    free(p->text);
    free(p->key);
    p->text = p->key = NULL;
}

/* What is written to stderr while the picture is made is part of it. */
static int capture(const struct cli_args *args, cli_render_fn *render, struct picture *p)
{
    struct cli_args inner = *args;
    FILE *key = open_memstream(&p->key, &p->key_size);
    int saved = dup(STDERR_FILENO);
    int errors = memfd_create("errors", MFD_CLOEXEC);
    inner.out = open_memstream(&p->text, &p->text_size);
    if (key == NULL || inner.out == NULL || saved < 0 || errors < 0)
        abort();
    (void)dup2(errors, STDERR_FILENO);
    int r = render(&inner, key);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)fclose(inner.out);
    (void)fclose(key);
    ssize_t n = pread(errors, p->errors, sizeof(p->errors), 0);
    p->errors_size = n > 0 ? (size_t)n : 0;
    (void)close(errors);
    return r;
}

static void draw_lines(const char *text, size_t size)
{
    while (size > 0) {
        const char *end = memchr(text, '\n', size);
        size_t n = end != NULL ? (size_t)(end - text) : size;
        (void)fwrite(text, 1, n, stdout);
        (void)fputs("\033[K\n", stdout);
        n += end != NULL;
        text += n;
        size -= n;
    }
}

/* From the top left; each line overwrites the old one, so that nothing flickers. */
static void redraw(const struct picture *p, bool first)
{
    (void)fputs(first ? "\033[2J\033[H" : "\033[H", stdout);
    draw_lines(p->text, p->text_size);
    draw_lines(p->errors, p->errors_size);
    (void)fputs("\033[J", stdout);
    (void)fflush(stdout);
}

static bool same(const struct picture *a, const struct picture *b)
{
    return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0 &&
           a->errors_size == b->errors_size && memcmp(a->errors, b->errors, a->errors_size) == 0;
}

static void print(const struct cli_args *args, const struct picture *p)
{
    char at[40];
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    cli_time_text((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, at);
    if (p->text_size > 0 && !args->json)
        (void)printf("-- %s\n", at);
    (void)fwrite(p->text, 1, p->text_size, stdout);
    (void)fwrite(p->errors, 1, p->errors_size, stderr);
    (void)fflush(stdout);
}

/* Ctrl-C and SIGTERM, taken between two pictures. */
static bool stopped(const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    return sigtimedwait(signals, NULL, &pause) > 0;
}

int cli_watch(const struct cli_args *args, cli_render_fn *render)
{
    struct cli_args inner = *args;
    struct picture *now = kb_new(struct picture);
    struct picture *before = kb_new(struct picture);
    bool terminal = isatty(STDOUT_FILENO) && !args->json;
    bool first = true;
    sigset_t signals;
    inner.json_lines = true;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    do {
        int r = capture(&inner, render, now);
        if (r == CLI_USAGE) {
            (void)fwrite(now->errors, 1, now->errors_size, stderr);
            release(now);
            release(before);
            (void)kb_free(now);
            (void)kb_free(before);
            return r;
        }
        if (terminal)
            redraw(now, first);
        else if (first || !same(now, before))
            print(args, now);
        struct picture *spare = before;
        before = now;
        now = spare;
        release(now);
        first = false;
    } while (!ferror(stdout) && !stopped(&signals));
    release(before);
    (void)kb_free(now);
    (void)kb_free(before);
    return CLI_INTERRUPTED;
}

int cli_show(const struct cli_args *args, cli_render_fn *render)
{
    char *text = NULL;
    size_t size = 0;
    if (args->watch)
        return cli_watch(args, render);
    FILE *key = open_memstream(&text, &size);
    if (key == NULL)
        abort();
    int r = render(args, key);
    (void)fclose(key);
    free(text);
    return r;
}
