#include "proto/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"

#define LINE_BYTES_MAX 2048

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static void sink_stderr(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)fprintf(stderr, "%s %s %s\n", level_names[level], component, text);
}

static struct {
    kb_log_sink_fn *fn;
    void *arg;
    _Atomic int level_min;
} sink = {.fn = sink_stderr, .level_min = KB_LOG_INFO};

void kb_log_set_sink(kb_log_sink_fn *fn, void *arg, enum kb_log_level level_min)
{
    sink.fn = fn != NULL ? fn : sink_stderr;
    sink.arg = arg;
    sink.level_min = (int)level_min;
}

void kb_log_set_level(enum kb_log_level level_min)
{
    sink.level_min = (int)level_min;
}

enum kb_log_level kb_log_get_level(void)
{
    return (enum kb_log_level)sink.level_min;
}

int kb_log_level_parse(const char *text, enum kb_log_level *ret)
{
    for (int i = KB_LOG_DEBUG; i <= KB_LOG_ERROR; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum kb_log_level)i;
            return 0;
        }
    }
    return -KB_EINVAL;
}

void kb_log_write(enum kb_log_level level, const char *component, const char *format, ...)
{
    char text[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sink.fn(sink.arg, level, component, text);
}

int kb_log_rate_allow(struct kb_log_rate *r, uint64_t now_ms, uint64_t interval_ms,
                      uint64_t *ret_suppressed)
{
    if (now_ms < r->next_ms) {
        r->suppressed++;
        return 0;
    }
    *ret_suppressed = r->suppressed;
    r->suppressed = 0;
    r->next_ms = now_ms + interval_ms;
    return 1;
}
