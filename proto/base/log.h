#ifndef KB_LOG_H
#define KB_LOG_H

#include <stdint.h>

/* The log sink: the one global. Lines are `component` plus logfmt text "event=… key=value"; no
 * payloads, no secrets. Safe from any thread when the sink is. */
enum kb_log_level { KB_LOG_DEBUG, KB_LOG_INFO, KB_LOG_WARN, KB_LOG_ERROR };

typedef void kb_log_sink_fn(void *arg, enum kb_log_level level, const char *component,
                            const char *text);
/* Install a sink (NULL = standard error) and the lowest level that reaches it. */
void kb_log_set_sink(kb_log_sink_fn *fn, void *arg, enum kb_log_level level_min);
void kb_log_set_level(enum kb_log_level level_min);
enum kb_log_level kb_log_get_level(void);
/* "debug", "info", "warn", "error"; -KB_EINVAL for others. */
int kb_log_level_parse(const char *text, enum kb_log_level *ret);

void kb_log_write(enum kb_log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define kb_log_at_(level, ...)                                                                     \
    ((level) >= kb_log_get_level() ? kb_log_write((level), __VA_ARGS__) : (void)0)
/* kb_log_info("raft", "event=became_leader term=%d", term) */
#define kb_log_debug(...) kb_log_at_(KB_LOG_DEBUG, __VA_ARGS__)
#define kb_log_info(...) kb_log_at_(KB_LOG_INFO, __VA_ARGS__)
#define kb_log_warn(...) kb_log_at_(KB_LOG_WARN, __VA_ARGS__)
#define kb_log_error(...) kb_log_at_(KB_LOG_ERROR, __VA_ARGS__)

/* Lets a noisy call site speak at most once per interval; the caller owns one of these per site or
 * object. Zero-initialise to start. */
struct kb_log_rate {
    uint64_t next_ms;
    uint64_t suppressed;
};
/* 1 when the site may log now; *ret_suppressed is how many were swallowed since. Else 0. */
int kb_log_rate_allow(struct kb_log_rate *r, uint64_t now_ms, uint64_t interval_ms,
                      uint64_t *ret_suppressed);

#define kb_log_rate_at_(level, rate, now_ms, ...)                                                  \
    do {                                                                                           \
        uint64_t suppressed_ = 0;                                                                  \
        if (kb_log_rate_allow((rate), (now_ms), 1000, &suppressed_)) {                             \
            kb_log_at_((level), __VA_ARGS__);                                                      \
            if (suppressed_ > 0)                                                                   \
                kb_log_at_((level), "log", "event=repeats suppressed=%llu",                        \
                           (unsigned long long)suppressed_);                                       \
        }                                                                                          \
    } while (0)
/* At most one line a second from this site. */
#define kb_log_rate_warn(...) kb_log_rate_at_(KB_LOG_WARN, __VA_ARGS__)
#define kb_log_rate_info(...) kb_log_rate_at_(KB_LOG_INFO, __VA_ARGS__)

#endif
