/* How answers look: tables for people, JSON for programs. */
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/internal.h"

struct libscols_table *cli_table_new(const struct cli_args *args, const char *const *columns)
{
    struct libscols_table *t = scols_new_table();
    (void)scols_table_set_stream(t, args->out);
    (void)scols_table_enable_noheadings(t, args->no_headers);
    (void)scols_table_enable_colors(t, args->color);
    for (; *columns != NULL; columns++) {
        bool right = (*columns)[0] == '>';
        (void)scols_table_new_column(t, *columns + right, 0, right ? SCOLS_FL_RIGHT : 0);
    }
    (void)scols_table_enable_maxout(t, 0);
    if (!isatty(STDOUT_FILENO))
        (void)scols_table_set_termwidth(t, 4096);
    return t;
}

void cli_table_row(struct libscols_table *t, const char *format, ...)
{
    struct libscols_line *line = scols_table_new_line(t, NULL);
    va_list list;
    char *text = NULL;
    size_t column = 0;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0)
        abort();
    va_end(list);
    for (char *cell = text; cell != NULL; column++) {
        char *end = strchr(cell, '\t');
        if (end != NULL)
            *end++ = '\0';
        (void)scols_line_set_data(line, column, cell);
        cell = end;
    }
    free(text);
}

void cli_table_color(const struct cli_args *args, struct libscols_table *t, enum cli_color color)
{
    static const char *const names[] = {NULL, "green", "yellow", "red"};
    size_t count = scols_table_get_nlines(t);
    if (args->color && count > 0 && color != CLI_PLAIN)
        (void)scols_line_set_color(scols_table_get_line(t, count - 1), names[color]);
}

void cli_print_colored(const struct cli_args *args, enum cli_color color, const char *text)
{
    static const char *const codes[] = {"", "\033[32m", "\033[33m", "\033[31m"};
    if (args->color && color != CLI_PLAIN)
        (void)fprintf(args->out, "%s%s\033[0m", codes[color], text);
    else
        (void)fputs(text, args->out);
}

void cli_table_free(struct libscols_table *t)
{
    scols_unref_table(t);
}

void cli_table_print(struct libscols_table *t)
{
    (void)scols_print_table(t);
    scols_unref_table(t);
}

json_t *cli_str_json(struct kw_str s)
{
    json_t *j = s.data != NULL ? json_stringn(s.data, (size_t)s.size) : json_null();
    struct kb_buf text = {0};
    if (j != NULL)
        return j;
    for (int32_t i = 0; i < s.size; i++) {
        unsigned char byte = (unsigned char)s.data[i];
        kb_buf_printf(&text, byte >= 0x20 && byte < 0x7f ? "%c" : "\\x%02x", byte);
    }
    j = json_stringn((const char *)text.data, text.size);
    kb_buf_release(&text);
    return j;
}

json_t *cli_uuid_json(const struct kb_uuid *u)
{
    char text[KB_UUID_TEXT_SIZE];
    if (kb_uuid_is_zero(u))
        return json_null();
    kb_uuid_format(u, text);
    return json_string(text);
}

void cli_json_print(const struct cli_args *args, json_t *object)
{
    json_t *whole = json_object();
    (void)json_object_set_new(whole, "schema_version", json_integer(CLI_SCHEMA_VERSION));
    (void)json_object_update(whole, object);
    (void)json_dumpf(whole, args->out, args->json_lines ? JSON_COMPACT : JSON_INDENT(2));
    (void)fputc('\n', args->out);
    json_decref(whole);
    json_decref(object);
}

void cli_time_text(int64_t wall_ms, char text[40])
{
    time_t seconds = (time_t)(wall_ms / 1000 - (wall_ms % 1000 < 0));
    struct tm tm;
    char date[32] = "?";
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text, 40, "%s.%03dZ", date, (int)(wall_ms - (int64_t)seconds * 1000));
}

void cli_bytes_text(uint64_t bytes, char text[16])
{
    static const char units[] = "BKMGTP";
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 1000 && unit + 2 < sizeof(units)) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(text, 16, unit == 0 || v >= 100 ? "%.0f %c" : "%.1f %c", v, units[unit]);
}

void cli_age_text(int64_t age_ms, char text[32])
{
    if (age_ms < 0)
        (void)snprintf(text, 32, "never");
    else if (age_ms < 100000)
        (void)snprintf(text, 32, "%.1f s ago", (double)age_ms / 1000);
    else
        (void)snprintf(text, 32, "%lld min ago", (long long)(age_ms / 60000));
}
