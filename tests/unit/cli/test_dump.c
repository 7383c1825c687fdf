/* A segment that the partition log wrote is decoded again, batch by batch and record by record; a
 * changed byte, a cut and an index that points elsewhere are found. Metadata and group records come
 * in words. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/cli/dump.h"
#include "proto/base/env.h"
#include "proto/cluster/metadata.pb-c.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

/* ---- files ------------------------------------------------------------------------------------
 */

struct copy {
    struct kb_fs *fs;
    char dir[64];
    char first[320];    /* the oldest segment */
    char index[320];    /* an index with entries */
    char snapshot[320]; /* a producer snapshot */
};

static void write_file(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    (void)close(fd);
}

static int copy_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct copy *c = arg;
    struct kb_buf bytes = {0};
    char from[160];
    char to[320];
    (void)type;
    (void)snprintf(from, sizeof(from), LW_DIR "/%s", name);
    (void)snprintf(to, sizeof(to), "%s/orders-0/%s", c->dir, name);
    if (kb_fs_read_all(c->fs, from, 1 << 20, &bytes) < 0)
        return 0;
    write_file(to, bytes.data, bytes.size);
    if (strcmp(name, "00000000000000000000.log") == 0)
        memcpy(c->first, to, sizeof(to));
    if (strstr(name, ".index") != NULL && bytes.size > 0 && c->index[0] == '\0')
        memcpy(c->index, to, sizeof(to));
    if (strstr(name, ".snapshot") != NULL)
        memcpy(c->snapshot, to, sizeof(to));
    kb_buf_release(&bytes);
    return 0;
}

/* A log of several segments, closed in order, in a directory of this machine. */
static void make_log(struct copy *c)
{
    struct lw l;
    char dir[80];
    *c = (struct copy){.dir = "/tmp/kvorum-test-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(c->dir));
    (void)snprintf(dir, sizeof(dir), "%s/orders-0", c->dir);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    lw_init(&l, 7);
    l.options.config.segment_bytes = 8000;
    l.options.config.index_interval_bytes = 500;
    lw_create(&l, 0);
    for (int i = 0; i < 60; i++)
        ck_assert_int_eq(lw_append(&l, i / 20, 1 + i % 3, 100, 1000000 + 10L * i), 0);
    lw_settle(&l);
    lw_close(&l);
    c->fs = sim_env_fs(l.env);
    ck_assert_int_eq(kb_fs_list(c->fs, LW_DIR, copy_entry, c), 0);
    lw_release(&l);
    ck_assert(c->first[0] != '\0' && c->index[0] != '\0');
}

static void remove_log(struct copy *c)
{
    char command[96];
    (void)snprintf(command, sizeof(command), "rm -r %s", c->dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- running ----------------------------------------------------------------------------------
 */

struct lines {
    json_t *list;
    int exit;
};

static struct lines dump(const char *path, bool deep, bool verify)
{
    struct cli_args args = {
        .json = true, .deep = deep, .verify = verify, .operands = {path}, .operands_count = 1};
    struct lines r = {.list = json_array()};
    char *text = NULL;
    size_t size = 0;
    args.out = open_memstream(&text, &size);
    r.exit = cli_log_dump(&args);
    (void)fclose(args.out);
    for (char *at = text; *at != '\0';) {
        char *end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        ck_assert_ptr_nonnull(line);
        ck_assert_int_eq(json_integer_value(json_object_get(line, "schema_version")), 1);
        (void)json_array_append_new(r.list, line);
        at = end + 1;
    }
    free(text);
    return r;
}

static const char *type_of(const json_t *line)
{
    return json_string_value(json_object_get(line, "type"));
}

static json_int_t number(const json_t *line, const char *name)
{
    ck_assert(json_is_integer(json_object_get(line, name)));
    return json_integer_value(json_object_get(line, name));
}

static size_t count(const struct lines *r, const char *type)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(r->list); i++)
        n += strcmp(type_of(json_array_get(r->list, i)), type) == 0;
    return n;
}

static const json_t *last(const struct lines *r, const char *type)
{
    for (size_t i = json_array_size(r->list); i > 0; i--) {
        const json_t *line = json_array_get(r->list, i - 1);
        if (strcmp(type_of(line), type) == 0)
            return line;
    }
    ck_abort_msg("no line of this type");
    return NULL;
}

static void change_byte(const char *path, off_t position)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte = 0;
    ck_assert_int_eq(pread(fd, &byte, 1, position), 1);
    byte ^= 0x40;
    ck_assert_int_eq(pwrite(fd, &byte, 1, position), 1);
    (void)close(fd);
}

START_TEST(segment__every_batch_and_record)
{
    struct copy c;
    make_log(&c);
    struct lines r = dump(c.first, true, false);
    json_int_t next = 0;
    size_t batches = 0;
    ck_assert_int_eq(r.exit, CLI_OK);
    for (size_t i = 0; i < json_array_size(r.list); i++) {
        const json_t *line = json_array_get(r.list, i);
        if (strcmp(type_of(line), "batch") == 0) {
            batches++;
            ck_assert_int_eq(number(line, "base_offset"), next);
            ck_assert_int_eq(number(line, "last_offset") - next + 1, number(line, "count"));
            ck_assert_str_eq(json_string_value(json_object_get(line, "crc")), "ok");
        } else if (strcmp(type_of(line), "record") == 0) {
            ck_assert_int_eq(number(line, "offset"), next++);
            ck_assert_uint_eq(json_string_length(json_object_get(line, "value")), 100);
        }
    }
    ck_assert_uint_gt(batches, 5);
    ck_assert_int_eq(number(last(&r, "summary"), "records"), next);
    ck_assert_int_eq(number(last(&r, "summary"), "batches"), (json_int_t)batches);
    ck_assert_uint_eq(count(&r, "problem"), 0);
    json_decref(r.list);
    remove_log(&c);
}
END_TEST

START_TEST(verify__finds_a_changed_byte)
{
    struct copy c;
    make_log(&c);
    struct lines good = dump(c.first, false, true);
    ck_assert_int_eq(good.exit, CLI_OK);
    ck_assert_uint_eq(json_array_size(good.list), 1); /* the summary alone */
    change_byte(c.first, 100);                        /* in the first batch's records */
    struct lines bad = dump(c.first, false, true);
    ck_assert_int_eq(bad.exit, CLI_FAILED);
    ck_assert_uint_eq(count(&bad, "problem"), 1);
    ck_assert_int_eq(number(last(&bad, "problem"), "position"), 0);
    /* The batches behind it are still read. */
    ck_assert_int_eq(number(last(&bad, "summary"), "records"),
                     number(last(&good, "summary"), "records"));
    json_decref(good.list);
    json_decref(bad.list);
    remove_log(&c);
}
END_TEST

START_TEST(verify__finds_a_torn_end_and_a_bad_length)
{
    struct copy c;
    struct stat st;
    make_log(&c);
    ck_assert_int_eq(stat(c.first, &st), 0);
    ck_assert_int_eq(truncate(c.first, st.st_size - 1), 0);
    struct lines r = dump(c.first, false, true);
    ck_assert_int_eq(r.exit, CLI_FAILED);
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_object_get(last(&r, "problem"), "what")), "torn"));
    json_decref(r.list);
    change_byte(c.first, 8); /* the length becomes huge */
    r = dump(c.first, false, true);
    ck_assert_int_eq(r.exit, CLI_FAILED);
    ck_assert_int_eq(number(last(&r, "summary"), "batches"), 0);
    json_decref(r.list);
    remove_log(&c);
}
END_TEST

START_TEST(index__points_to_batches)
{
    struct copy c;
    make_log(&c);
    struct lines r = dump(c.index, false, false);
    ck_assert_int_eq(r.exit, CLI_OK);
    ck_assert_uint_gt(count(&r, "index_entry"), 2);
    json_decref(r.list);
    change_byte(c.index, 7); /* position of the first entry */
    r = dump(c.index, false, true);
    ck_assert_int_eq(r.exit, CLI_FAILED);
    json_decref(r.list);
    remove_log(&c);
}
END_TEST

START_TEST(epochs__are_listed)
{
    struct copy c;
    char path[400];
    make_log(&c);
    (void)snprintf(path, sizeof(path), "%s/orders-0/leader-epoch-checkpoint", c.dir);
    struct lines r = dump(path, false, false);
    ck_assert_int_eq(r.exit, CLI_OK);
    ck_assert_uint_eq(count(&r, "leader_epoch"), 3);
    ck_assert_int_eq(number(last(&r, "leader_epoch"), "epoch"), 2);
    json_decref(r.list);
    write_file(path, "0\n2\n1 5\n0 7\n", 12); /* falls */
    r = dump(path, false, false);
    ck_assert_int_eq(r.exit, CLI_FAILED);
    json_decref(r.list);
    remove_log(&c);
}
END_TEST

START_TEST(producers__a_damaged_snapshot)
{
    struct copy c;
    make_log(&c);
    ck_assert(c.snapshot[0] != '\0');
    struct lines r = dump(c.snapshot, false, false);
    ck_assert_int_eq(r.exit, CLI_OK);
    json_decref(r.list);
    change_byte(c.snapshot, 3);
    r = dump(c.snapshot, false, false);
    ck_assert_int_eq(r.exit, CLI_FAILED);
    json_decref(r.list);
    remove_log(&c);
}
END_TEST

static int exit_of(const char *path)
{
    struct lines r = dump(path, false, false);
    json_decref(r.list);
    return r.exit;
}

START_TEST(files__that_are_none)
{
    ck_assert_int_eq(exit_of("/nowhere/00000000000000000000.log"), CLI_NOT_FOUND);
    ck_assert_int_eq(exit_of("/tmp"), CLI_FAILED);
    ck_assert_int_eq(exit_of("/etc/passwd"), CLI_USAGE);
}
END_TEST

/* ---- words ------------------------------------------------------------------------------------
 */

START_TEST(metadata__record_in_words)
{
    Kc__Record record = KC__RECORD__INIT;
    Kc__PartitionRecord p = KC__PARTITION_RECORD__INIT;
    uint8_t id[16] = {1, 2, 3};
    int32_t replicas[] = {3, 1, 2};
    struct kb_buf bytes = {0};
    record.kind_case = KC__RECORD__KIND_PARTITION;
    record.partition = &p;
    p.has_topic_id = true;
    p.topic_id = (ProtobufCBinaryData){.len = 16, .data = id};
    p.has_partition = true;
    p.partition = 7;
    p.replicas = replicas;
    p.n_replicas = 3;
    (void)kc_pack(&bytes, (const ProtobufCMessage *)&record);
    json_t *o = cli_dump_metadata_record(kb_view_of(bytes.data, bytes.size));
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(json_string_value(json_object_get(o, "kind")), "partition");
    ck_assert_int_eq(number(o, "partition"), 7);
    ck_assert_uint_eq(json_array_size(json_object_get(o, "replicas")), 3);
    ck_assert_uint_eq(json_string_length(json_object_get(o, "topic_id")), 22);
    ck_assert_ptr_null(json_object_get(o, "leader")); /* absent: none */
    json_decref(o);
    ck_assert_ptr_null(cli_dump_metadata_record(kb_view_of("\xff\xff", 2)));
    kb_buf_release(&bytes);
}
END_TEST

START_TEST(group__record_in_words)
{
    static const uint8_t key[] = {0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 5};
    static const uint8_t value[] = {0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0,
                                    0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    json_t *o = cli_dump_group_record(kw_bytes_of(key, sizeof(key)),
                                      kw_bytes_of(value, sizeof(value)));
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(json_string_value(json_object_get(o, "kind")), "offset_commit");
    ck_assert_str_eq(json_string_value(json_object_get(o, "group")), "g");
    ck_assert_int_eq(number(o, "partition"), 5);
    ck_assert_int_eq(number(json_object_get(o, "value"), "offset"), 9);
    json_decref(o);
    o = cli_dump_group_record(kw_bytes_of(key, sizeof(key)), kw_bytes_of(NULL, 0));
    ck_assert(json_is_true(json_object_get(o, "tombstone")));
    json_decref(o);
    /* Cut values are null, not a crash; other keys are none. */
    o = cli_dump_group_record(kw_bytes_of(key, sizeof(key)), kw_bytes_of(value, 5));
    ck_assert(json_is_null(json_object_get(o, "value")));
    json_decref(o);
    ck_assert_ptr_null(cli_dump_group_record(kw_bytes_of("\0\x7", 2), kw_bytes_of(NULL, 0)));
}
END_TEST

UNIT_MAIN("cli_dump", segment__every_batch_and_record, verify__finds_a_changed_byte,
          verify__finds_a_torn_end_and_a_bad_length, index__points_to_batches, epochs__are_listed,
          producers__a_damaged_snapshot, files__that_are_none, metadata__record_in_words,
          group__record_in_words)
