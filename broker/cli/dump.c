/* kvorum log dump: which file is what, and how lines are printed. */
#include "broker/cli/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1024 };

/* ---- lines ------------------------------------------------------------------------------------
 */

static bool plain(const char *s)
{
    return *s != '\0' &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/+-")] ==
               '\0';
}

static void print_value(FILE *out, const char *name, const json_t *v)
{
    size_t name_size = strlen(name);
    bool time = name_size >= 9 && strcmp(name + name_size - 9, "timestamp") == 0;
    if (json_is_integer(v) && time && json_integer_value(v) > 0) {
        char text[40];
        cli_time_text(json_integer_value(v), text);
        (void)fputs(text, out);
        return;
    }
    if (json_is_string(v) && plain(json_string_value(v))) {
        (void)fputs(json_string_value(v), out);
        return;
    }
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL && strlen(text) > TEXT_BYTES_MAX)
        (void)fprintf(out, "%.*s…", TEXT_BYTES_MAX, text);
    else
        (void)fputs(text != NULL ? text : "?", out);
    free(text);
}

static void print_line(FILE *out, json_t *line)
{
    const char *name = NULL;
    json_t *v = NULL;
    (void)fputs(json_string_value(json_object_get(line, "type")), out);
    json_object_foreach(line, name, v)
    {
        if (strcmp(name, "type") == 0 || json_is_null(v))
            continue;
        (void)fprintf(out, " %s=", name);
        print_value(out, name, v);
    }
    (void)fputc('\n', out);
}

void cli_dump_emit(struct cli_dump *d, json_t *line)
{
    const char *type = json_string_value(json_object_get(line, "type"));
    struct cli_args one_line = *d->args;
    bool wanted = !d->args->verify || strcmp(type, "problem") == 0 || strcmp(type, "summary") == 0;
    one_line.json_lines = true;
    if (!wanted) {
        json_decref(line);
    } else if (d->args->json) {
        if (json_object_get(line, "path") == NULL)
            (void)json_object_set_new(line, "path", json_string(d->path));
        cli_json_print(&one_line, line);
    } else {
        print_line(d->args->out, line);
        json_decref(line);
    }
}

void cli_dump_problem(struct cli_dump *d, uint64_t position, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    json_t *what = json_vsprintf(format, list);
    va_end(list);
    d->problems++;
    cli_dump_emit(d, json_pack("{s:s, s:I, s:o}", "type", "problem", "position",
                               (json_int_t)position, "what", what));
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

bool cli_dump_read(struct cli_dump *d, uint64_t position, void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(d->fd, (uint8_t *)data + done, size - done, (off_t)(position + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            cli_dump_problem(d, position, "%zu bytes cannot be read: %s", size,
                             n < 0 ? strerror(errno) : "the file has become shorter");
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

bool cli_dump_read_all(struct cli_dump *d, size_t size_max, struct kb_buf *ret)
{
    if (d->size > size_max) {
        cli_dump_problem(d, 0, "the file has %" PRIu64 " bytes; more than %zu are not read",
                         d->size, size_max);
        return false;
    }
    kb_buf_reserve(ret, (size_t)d->size + 1);
    if (!cli_dump_read(d, 0, ret->data, (size_t)d->size))
        return false;
    ret->size = (size_t)d->size;
    ret->data[ret->size] = '\0';
    return true;
}

/* ---- files ------------------------------------------------------------------------------------
 */

static const struct {
    const char *ending;
    void (*run)(struct cli_dump *d);
} kinds[] = {
    {".log", cli_dump_segment},
    {".index", cli_dump_index},
    {".timeindex", cli_dump_time_index},
    {".snapshot", cli_dump_producers},
    {"leader-epoch-checkpoint", cli_dump_epochs},
    {".checkpoint", cli_dump_metadata_snapshot},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static size_t kind_of(const char *name)
{
    size_t i = 0;
    for (; i < KINDS; i++) {
        size_t size = strlen(name);
        size_t ending = strlen(kinds[i].ending);
        if (size >= ending && strcmp(name + size - ending, kinds[i].ending) == 0)
            break;
    }
    return i;
}

/* 20 digits, as Kafka names its files; else -1. */
static int64_t base_of(const char *name)
{
    int64_t base = 0;
    size_t digits = strspn(name, "0123456789");
    char text[24] = {0};
    if (digits != 20 || name[digits] != '.')
        return -1;
    memcpy(text, name, digits);
    return cli_parse_number(text, 0, INT64_MAX, &base) ? base : -1;
}

static int open_file(struct cli_dump *d)
{
    struct stat st;
    d->fd = open(d->path, O_RDONLY | O_CLOEXEC);
    if (d->fd >= 0 && fstat(d->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        d->size = (uint64_t)st.st_size;
        return CLI_OK;
    }
    int error = d->fd >= 0 ? EISDIR : errno;
    cli_error("cannot open \"%s\": %s", d->path,
              error == EISDIR ? "it is no file; name the files in it" : strerror(error));
    return error == ENOENT ? CLI_NOT_FOUND : CLI_FAILED;
}

static int dump_file(const struct cli_args *args, const char *path)
{
    struct cli_dump d = {.args = args, .path = path, .fd = -1};
    char *whole = realpath(path, NULL);
    char *copy = kb_strdup(whole != NULL ? whole : path);
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    size_t kind = kind_of(name);
    int r = open_file(&d);
    d.directory = basename(dirname(copy));
    d.base_offset = base_of(name);
    if (r == CLI_OK && kind == KINDS) {
        cli_error("\"%s\" is no .log, .index, .timeindex, .snapshot, .checkpoint or "
                  "leader-epoch-checkpoint file",
                  path);
        r = CLI_USAGE;
    } else if (r == CLI_OK) {
        cli_dump_emit(&d, json_pack("{s:s, s:s, s:I}", "type", "file", "path", path, "size",
                                    (json_int_t)d.size));
        kinds[kind].run(&d);
        r = d.problems > 0 ? CLI_FAILED : CLI_OK;
    }
    if (d.fd >= 0)
        (void)close(d.fd);
    free(whole);
    (void)kb_free(copy);
    return r;
}

int cli_log_dump(const struct cli_args *args)
{
    int first = CLI_OK;
    for (size_t i = 0; i < args->operands_count; i++) {
        int r = dump_file(args, args->operands[i]);
        first = first == CLI_OK ? r : first;
    }
    return first;
}
