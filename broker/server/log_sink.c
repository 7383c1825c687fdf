#include "broker/server/log_sink.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/server/thread.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define RING_BYTES ((size_t)64 * 1024)
#define FLUSH_LIMIT_S 1

/* The one global, as kb_log's sink is. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t emptied;
    pthread_t thread;
    bool running;
    bool stopping;
    bool writing; /* the thread holds bytes that are not out yet */
    struct srv_log_options options;
    struct kb_buf pending; /* at most RING_BYTES */
    uint64_t dropped;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .filled = PTHREAD_COND_INITIALIZER,
          .emptied = PTHREAD_COND_INITIALIZER};

/* ---- form ---- */

static const char *const level_text[] = {"DEBUG", "INFO", "WARN", "ERROR"};
static const char *const level_json[] = {"debug", "info", "warn", "error"};

static void append_time(struct kb_buf *to, int64_t wall_ms)
{
    struct tm tm;
    time_t seconds = (time_t)(wall_ms / 1000);
    (void)gmtime_r(&seconds, &tm);
    kb_buf_printf(to, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                  tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_ms % 1000));
}

/* One line stays one line. */
static void append_plain(struct kb_buf *to, const char *text)
{
    for (; *text != '\0'; text++) {
        char c = (unsigned char)*text < 0x20 ? ' ' : *text;
        kb_buf_append(to, &c, 1);
    }
}

static void append_json_bytes(struct kb_buf *to, const char *text, size_t size)
{
    kb_buf_append(to, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            kb_buf_append(to, "\\", 1);
        if (c < 0x20)
            kb_buf_printf(to, "\\u%04x", c);
        else
            kb_buf_append(to, &c, 1);
    }
    kb_buf_append(to, "\"", 1);
}

static bool is_number(const char *text, size_t size)
{
    size_t i = size > 0 && text[0] == '-';
    if (i == size || size > 18 || (text[i] == '0' && size > i + 1))
        return false;
    for (; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return true;
}

/* The next key=value of a logfmt text; false when what follows is no pair. */
static bool next_pair(const char **at, struct kb_view *ret_key, struct kb_view *ret_value)
{
    const char *p = *at + strspn(*at, " ");
    size_t key_size = strcspn(p, "= \"");
    if (key_size == 0 || p[key_size] != '=')
        return false;
    *ret_key = kb_view_of(p, key_size);
    p += key_size + 1;
    if (*p == '"') {
        const char *end = strchr(p + 1, '"');
        if (end == NULL)
            return false;
        *ret_value = kb_view_of(p + 1, (size_t)(end - p - 1));
        *at = end + 1;
        return true;
    }
    *ret_value = kb_view_of(p, strcspn(p, " "));
    *at = p + ret_value->size;
    return true;
}

static void append_json_fields(struct kb_buf *to, const char *text)
{
    struct kb_view key;
    struct kb_view value;
    while (next_pair(&text, &key, &value)) {
        kb_buf_append(to, ",", 1);
        append_json_bytes(to, (const char *)key.data, key.size);
        kb_buf_append(to, ":", 1);
        if (is_number((const char *)value.data, value.size))
            kb_buf_append(to, value.data, value.size);
        else
            append_json_bytes(to, (const char *)value.data, value.size);
    }
    text += strspn(text, " ");
    if (*text == '\0')
        return;
    kb_buf_append_str(to, ",\"text\":");
    append_json_bytes(to, text, strlen(text));
}

/* The text without " node=<id>": the sink says it for all, and shared code says it too, because in
 * the simulator one log holds several nodes. */
static const char *without_node(struct kb_buf *to, const char *text, int32_t node_id)
{
    char part[24];
    size_t size = (size_t)snprintf(part, sizeof(part), " node=%d", (int)node_id);
    const char *at = strstr(text, part);
    if (at == NULL || (at[size] != ' ' && at[size] != '\0'))
        return text;
    kb_buf_append(to, text, (size_t)(at - text));
    kb_buf_append(to, at + size, strlen(at + size) + 1);
    return (const char *)to->data;
}

void srv_log_format(struct kb_buf *to, bool json, int64_t wall_ms, enum kb_log_level level,
                    const char *component, int32_t node_id, const char *text)
{
    struct kb_buf shorter = {0};
    text = without_node(&shorter, text, node_id);
    if (json) {
        kb_buf_append_str(to, "{\"time\":\"");
        append_time(to, wall_ms);
        kb_buf_printf(to, "\",\"level\":\"%s\",\"component\":", level_json[level]);
        append_json_bytes(to, component, strlen(component));
        kb_buf_printf(to, ",\"node\":%d", (int)node_id);
        append_json_fields(to, text);
        kb_buf_append_str(to, "}\n");
    } else {
        append_time(to, wall_ms);
        kb_buf_printf(to, " %s %s node=%d ", level_text[level], component, (int)node_id);
        append_plain(to, text);
        kb_buf_append(to, "\n", 1);
    }
    kb_buf_release(&shorter);
}

/* ---- ring and thread ---- */

static int64_t wall_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void write_out(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody reads: there is no better place to say so */
        data += n;
        size -= (size_t)n;
    }
}

static void *sink_main(void *arg)
{
    struct kb_buf taken = {0};
    (void)arg;
    (void)pthread_mutex_lock(&sink.lock);
    for (;;) {
        while (sink.pending.size == 0 && !sink.stopping)
            (void)pthread_cond_wait(&sink.filled, &sink.lock);
        if (sink.pending.size == 0)
            break;
        struct kb_buf tmp = taken;
        taken = sink.pending;
        sink.pending = tmp;
        sink.pending.size = 0;
        sink.writing = true;
        (void)pthread_mutex_unlock(&sink.lock);
        write_out(sink.options.fd, taken.data, taken.size);
        (void)pthread_mutex_lock(&sink.lock);
        sink.writing = false;
        (void)pthread_cond_broadcast(&sink.emptied);
    }
    (void)pthread_mutex_unlock(&sink.lock);
    kb_buf_release(&taken);
    return NULL;
}

static void on_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    struct kb_buf line = {0};
    int64_t now_ms = wall_ms();
    (void)arg;
    srv_log_format(&line, sink.options.json, now_ms, level, component, sink.options.node_id, text);
    (void)pthread_mutex_lock(&sink.lock);
    if (sink.pending.size + line.size + 256 > RING_BYTES) {
        sink.dropped++;
    } else {
        if (sink.dropped > 0) {
            char lost[64];
            (void)snprintf(lost, sizeof(lost), "event=log_lines_dropped count=%llu",
                           (unsigned long long)sink.dropped);
            srv_log_format(&sink.pending, sink.options.json, now_ms, KB_LOG_WARN, "log",
                           sink.options.node_id, lost);
            sink.dropped = 0;
        }
        kb_buf_append(&sink.pending, line.data, line.size);
        (void)pthread_cond_signal(&sink.filled);
    }
    (void)pthread_mutex_unlock(&sink.lock);
    kb_buf_release(&line);
}

int srv_log_open(const struct srv_log_options *options)
{
    sink.options = *options;
    sink.stopping = false;
    sink.dropped = 0;
    int r = srv_thread_start("kv-log", sink_main, NULL, &sink.thread);
    if (r < 0)
        return r;
    sink.running = true;
    kb_log_set_sink(on_line, NULL, options->level);
    return 0;
}

void srv_log_flush(void)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += FLUSH_LIMIT_S;
    (void)pthread_mutex_lock(&sink.lock);
    while (sink.running && (sink.pending.size > 0 || sink.writing)) {
        if (pthread_cond_timedwait(&sink.emptied, &sink.lock, &end) != 0)
            break;
    }
    (void)pthread_mutex_unlock(&sink.lock);
}

void srv_log_close(void)
{
    if (!sink.running)
        return;
    kb_log_set_sink(NULL, NULL, sink.options.level);
    (void)pthread_mutex_lock(&sink.lock);
    sink.stopping = true;
    (void)pthread_cond_signal(&sink.filled);
    (void)pthread_mutex_unlock(&sink.lock);
    (void)pthread_join(sink.thread, NULL);
    sink.running = false;
    kb_buf_release(&sink.pending);
}
