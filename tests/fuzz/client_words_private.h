#ifndef FUZZ_CLIENT_WORDS_PRIVATE_H
#define FUZZ_CLIENT_WORDS_PRIVATE_H

#include "tests/fuzz/client_words.h"

/* Values for fields, and what fills requests with them. */

struct words {
    struct words_input *in;
    struct words_handles *h;
    struct kb_arena arena;
    int16_t version;
};

uint8_t words_pick(struct words *w, size_t count);
bool words_flag(struct words *w);
int64_t words_number(struct words *w);
int32_t words_number32(struct words *w);
int32_t words_timeout(struct words *w);
struct kw_str words_text(struct words *w, const char *const *usual, size_t count);
struct kw_str words_topic(struct words *w);
struct kw_str words_group(struct words *w);
struct kw_str words_member(struct words *w);
struct kw_str words_instance(struct words *w);
struct kb_uuid words_topic_id(struct words *w);
int32_t words_partition(struct words *w);
int32_t words_epoch(struct words *w);
int32_t words_generation(struct words *w);
int64_t words_offset(struct words *w);
void *words_array(struct words *w, size_t element_size, bool nullable, int32_t *ret_count);
struct kw_bytes words_blob(struct words *w);

#define TEXT(w, ...)                                                                               \
    words_text(w, (const char *const[]){__VA_ARGS__},                                              \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

#define ARRAY(w, field, nullable)                                                                  \
    (field = words_array(w, sizeof(*(field)), nullable, &field##_count), field##_count)

#define EACH(w, i, field, nullable)                                                                \
    for (int32_t i = 0, i##_end = ARRAY(w, field, nullable); i < i##_end; i++)

/* ---- client_words_admin.c: groups and administration ---- */

void words_join(struct words *w, void *message);
void words_sync(struct words *w, void *message);
void words_heartbeat(struct words *w, void *message);
void words_leave(struct words *w, void *message);
void words_commit(struct words *w, void *message);
void words_fetch_offsets(struct words *w, void *message);
void words_delete_offsets(struct words *w, void *message);
void words_describe_groups(struct words *w, void *message);
void words_list_groups(struct words *w, void *message);
void words_delete_groups(struct words *w, void *message);
void words_find_coordinator(struct words *w, void *message);
void words_create_topics(struct words *w, void *message);
void words_delete_topics(struct words *w, void *message);
void words_create_partitions(struct words *w, void *message);
void words_delete_records(struct words *w, void *message);
void words_elect(struct words *w, void *message);
void words_describe_configs(struct words *w, void *message);
void words_alter_configs(struct words *w, void *message);
void words_incremental_configs(struct words *w, void *message);
void words_describe_cluster(struct words *w, void *message);
void words_describe_quorum(struct words *w, void *message);
void words_describe_topic_partitions(struct words *w, void *message);

#endif
