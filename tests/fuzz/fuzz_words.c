/* Any bytes as what a person types to `kvorum`: a command line (words end with a byte 0 or 10), and
 * each word as an address, a time, a number, a topic with partitions, a config, a format of consume
 * and what a record in that format looks like. Nothing is sent anywhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cli/args.h"
#include "broker/cli/client.h"
#include "broker/cli/format.h"
#include "broker/cli/group.h"
#include "proto/base/assert.h"
#include "proto/kafka/batch.h"

enum { WORDS_MAX = 80, OUTPUT_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_partition(void *arg, struct kw_str topic, int32_t partition)
{
    size_t *count = arg;
    KB_ASSERT(topic.size >= 0);
    KB_ASSERT(partition >= -1);
    (*count)++;
}

static void check_address(const char *word)
{
    char *host = NULL;
    uint16_t port = 0;
    if (cli_address_parse(word, strlen(word), &host, &port) < 0)
        return;
    KB_ASSERT(port > 0);
    KB_ASSERT(host != NULL && *host != '\0');
    (void)kb_free(host);
}

static void check_format(const char *word, const struct kw_record *record, FILE *out)
{
    struct cli_format *f = cli_format_new(word);
    if (f == NULL)
        return;
    cli_format_print(f, "orders", 3, record, out);
    (void)cli_format_free(f);
}

/* The word is key, value and header of a record too. */
static void check_record(const char *word, FILE *out)
{
    struct kw_batch_builder b;
    struct kw_record_header header = {kw_str_of(word), kw_bytes_of(word, strlen(word))};
    struct kw_bytes bytes = kw_bytes_of(word, strlen(word));
    struct kb_block *block = NULL;
    struct kw_batch batch;
    struct kw_records *it = NULL;
    struct kw_record record;
    kw_batch_builder_init(&b);
    int r = kw_batch_builder_add_headers(&b, 1000, bytes, bytes, &header, 1);
    KB_ASSERT(r == 0);
    r = kw_batch_builder_finish(&b, &block);
    KB_ASSERT(r == 0);
    kw_batch_builder_release(&b);
    r = kw_batch_parse(block->data, block->size, &batch);
    KB_ASSERT(r == KW_BATCH_WHOLE);
    r = kw_records_open(&batch, OUTPUT_MAX, &it);
    KB_ASSERT(r == 0);
    r = kw_records_next(it, &record);
    KB_ASSERT(r == 1);
    check_format(word, &record, out);
    cli_record_json_print("orders", 3, &record, out);
    (void)kw_records_close(it);
    (void)kb_block_unref(block);
}

static void check_word(const char *word, FILE *out)
{
    struct kw_str name;
    struct kw_str value;
    int64_t number = 0;
    size_t partitions = 0;
    check_address(word);
    if (cli_parse_millis(word, &number))
        KB_ASSERT(number >= 0);
    if (cli_parse_number(word, -5, 1000000, &number))
        KB_ASSERT(number >= -5 && number <= 1000000);
    (void)cli_parse_datetime(word, &number);
    (void)cli_parse_topic(word, count_partition, &partitions);
    if (strchr(word, '=') != NULL)
        cli_split_config(word, &name, &value);
    json_t *text = cli_str_json(kw_str_of(word));
    KB_ASSERT(json_is_string(text));
    json_decref(text);
    check_record(word, out);
}

static void check_line(int argc, char **argv)
{
    struct cli_args args;
    int words = 0;
    const struct cli_command *c = cli_command_find(argc, argv, &words);
    if (c == NULL)
        return;
    KB_ASSERT(words <= argc);
    if (cli_args_parse(c, argc - words + 1, argv + words - 1, &args) != 0)
        return;
    KB_ASSERT(args.help || args.operands_count >= c->operands_min);
    KB_ASSERT(args.help || args.operands_count <= c->operands_max);
}

/* The words as the environment of the broker beside the command: listeners, what it advertises, the
 * names of controller listeners. */
static void check_local(char *const *argv)
{
    char address[64];
    if (cli_local_address(argv[0], argv[1], argv[2], address, sizeof(address)))
        check_address(address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[WORDS_MAX + 1] = {NULL};
    int argc = 0;
    char *shown = NULL;
    size_t shown_size = 0;
    static FILE *silence;
    if (silence == NULL && (silence = freopen("/dev/null", "w", stdout)) == NULL)
        abort();
    char *text = malloc(size + 1);
    FILE *out = open_memstream(&shown, &shown_size);
    if (text == NULL || out == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at < size && argc < WORDS_MAX; at += strlen(text + at) + 1) {
        char *end = strchr(text + at, '\n');
        if (end != NULL)
            *end = '\0';
        argv[argc++] = text + at;
    }
    for (int i = 0; i < argc; i++)
        check_word(argv[i], out);
    if (argc > 2)
        check_local(argv);
    if (argc > 0)
        check_line(argc, argv);
    (void)fclose(out);
    free(shown);
    free(text);
    return 0;
}
