#ifndef FUZZ_CLIENT_WORDS_H
#define FUZZ_CLIENT_WORDS_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/uuid.h"
#include "proto/kafka/messages.h"

/* Requests made of an input's bytes: each byte chooses an API, a version, or a value for a field,
 * among them what the broker has handed out. So an input speaks whole sentences of the protocol and
 * its mutations are other sentences, while the bytes on the wire stay well-formed. */

enum { WORDS_MEMBERS = 4, WORDS_MEMBER_BYTES = 64, WORDS_TOPIC_IDS = 4 };

/* What the broker has handed out, the newest first. */
struct words_handles {
    struct kb_uuid topic_ids[WORDS_TOPIC_IDS];
    char members[WORDS_MEMBERS][WORDS_MEMBER_BYTES];
    int32_t generation;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence; /* the next of that producer */
    int32_t leader_epoch;
    int64_t end_offset;
    int32_t session_id; /* of Fetch */
    int32_t session_epoch;
};

/* Bytes of an input that are still there; behind the end come zeros. */
struct words_input {
    const uint8_t *data;
    size_t size;
};
uint8_t words_byte(struct words_input *in);
/* A size (two bytes) and that many bytes, or what is left. */
struct kb_view words_bytes(struct words_input *in);

/* The next request, header and body without its size, appended to ret. false: these values cannot
 * be written in this version. */
bool words_request(struct words_input *in, struct words_handles *h, int32_t correlation_id,
                   struct kb_buf *ret);
/* In bytes that came as they are: 16 times 'T' become a topic's id, 38 times 'M' a member's, eight
 * times 'P' the producer id, four times 'G' the generation, four times 'E' the leader epoch. */
void words_put_handles(const struct words_handles *h, uint8_t *data, size_t size);

#endif
