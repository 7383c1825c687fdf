#ifndef KW_MESSAGES_TABLE_H
#define KW_MESSAGES_TABLE_H

#include "proto/base/bytes.h"
#include "proto/kafka/codec.h"

/* Every generated message behind void pointers, for tools and tests that treat all alike. */
enum kw_message_kind { KW_MESSAGE_REQUEST, KW_MESSAGE_RESPONSE, KW_MESSAGE_DATA };
struct kw_message {
    const char *name; /* "FetchRequest" */
    int16_t api_key;  /* -1 for data messages */
    enum kw_message_kind kind;
    int16_t version_min;
    int16_t version_max;
    size_t size; /* of its struct */
    void (*init)(void *m);
    int (*read)(struct kw_reader *rd, int16_t version, struct kb_arena *arena, void *ret);
    void (*write)(struct kw_writer *w, int16_t version, const void *m);
    /* Append the JSON that Kafka's own JsonConverter prints for the message, on one line. */
    void (*dump)(struct kb_buf *out, int16_t version, const void *m);
};
const struct kw_message *kw_message_table(size_t *ret_count);
/* By "FetchRequest"; NULL when there is none. */
const struct kw_message *kw_message_find(const char *name);

#endif
