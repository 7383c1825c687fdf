/* How answers look: tables for people, JSON for programs. */
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/cli/internal.h"

struct libscols_table *cli_table_new(const struct cli_args *args, const char *const *columns)
{
    struct libscols_table *t = scols_new_table();
    (void)scols_table_set_stream(t, args->out);
    (void)scols_table_enable_noheadings(t, args->no_headers);
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

void cli_table_print(struct libscols_table *t)
{
    (void)scols_print_table(t);
    scols_unref_table(t);
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
