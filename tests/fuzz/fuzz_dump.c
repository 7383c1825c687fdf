/* Any bytes as a file that `kvorum log dump` is given, by a person, from any broker or disk. The
 * first byte: bits 0-2 choose what the file calls itself, bit 3 = --verify, bit 4 = --deep, bit 5 =
 * CRCs of batches and frames are made right, bit 6 = an index has a segment of the same bytes
 * beside it. In JSON each line must be an object with a type; the words must come too. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/cli/dump.h"
#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "proto/kafka/batch.h"

enum { FRAME_HEAD = 8, PATH_MAX_ = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The names by which the command knows what a file is, and the folders that say more. */
static const char *const names[] = {
    "orders-0/00000000000000000003.log",
    "orders-0/00000000000000000003.index",
    "orders-0/00000000000000000003.timeindex",
    "orders-0/00000000000000000003.snapshot",
    "orders-0/leader-epoch-checkpoint",
    "__cluster_metadata-0/00000000000000000003-0000000001.checkpoint",
    "__cluster_metadata-0/00000000000000000003.log",
    "__consumer_offsets-0/00000000000000000003.log",
};

static char root[] = "/tmp/kvorum-fuzz-XXXXXX";
static bool rooted;

static void remove_root(void)
{
    char path[PATH_MAX_];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        (void)unlink(path);
        *strrchr(path, '/') = '\0';
        (void)rmdir(path);
    }
    (void)rmdir(root);
}

static void make_root(void)
{
    static const char *const folders[] = {"orders-0", "__cluster_metadata-0",
                                          "__consumer_offsets-0"};
    char path[PATH_MAX_];
    if (mkdtemp(root) == NULL)
        abort();
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, folders[i]);
        if (mkdir(path, 0700) < 0)
            abort();
    }
    (void)atexit(remove_root);
    rooted = true;
}

static void put_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)close(fd);
}

static void seal(uint8_t *data, size_t size, bool frames)
{
    struct kw_batches it;
    struct kw_batch b;
    if (frames) {
        for (size_t at = 0; size - at >= FRAME_HEAD;) {
            size_t body = kb_get_be32(data + at);
            if (body > size - at - FRAME_HEAD)
                return;
            kb_put_be32(data + at + 4, kb_crc32c(0, data + at + FRAME_HEAD, body));
            at += FRAME_HEAD + body;
        }
        return;
    }
    kw_batches_init(&it, data, size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        uint8_t *at = data + (b.data - data);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp);
    }
}

static void check_lines(char *text)
{
    char *rest = NULL;
    size_t lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        json_error_t error;
        json_t *o = json_loads(line, JSON_ALLOW_NUL, &error);
        KB_ASSERT(json_is_object(o));
        KB_ASSERT(json_is_string(json_object_get(o, "type")));
        json_decref(o);
        lines++;
    }
    KB_ASSERT(lines >= 1);
}

static int dump(const char *path, uint8_t mode, bool json)
{
    struct cli_args args = {.operands = {path}, .operands_count = 1};
    char *text = NULL;
    size_t size = 0;
    args.out = open_memstream(&text, &size);
    args.json = json;
    args.json_lines = json;
    args.verify = (mode & 8) != 0;
    args.deep = (mode & 16) != 0;
    int r = cli_log_dump(&args);
    (void)fclose(args.out);
    if (json)
        check_lines(text);
    free(text);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[PATH_MAX_];
    if (size == 0)
        return 0;
    if (!rooted)
        make_root();
    uint8_t mode = data[0];
    struct kb_buf bytes = {0};
    kb_buf_append(&bytes, data + 1, size - 1);
    if ((mode & 32) != 0 && bytes.size > 0)
        seal(bytes.data, bytes.size, (mode & 7) == 5);
    (void)snprintf(path, sizeof(path), "%s/%s", root, names[0]);
    if ((mode & 64) != 0)
        put_file(path, bytes.data, bytes.size);
    else
        (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/%s", root, names[mode & 7]);
    put_file(path, bytes.data, bytes.size);
    int in_json = dump(path, mode, true);
    int in_words = dump(path, mode, false);
    KB_ASSERT(in_json == in_words);
    kb_buf_release(&bytes);
    return 0;
}
