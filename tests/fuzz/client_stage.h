#ifndef FUZZ_CLIENT_STAGE_H
#define FUZZ_CLIENT_STAGE_H

#include "tests/fuzz/client_words.h"
#include "tests/sim/sim_solo.h"

/* A whole broker in the simulated world and the Kafka clients of it, played here: it starts on the
 * disk of a cluster of one that has the topics "t" (two partitions) and "u", records in them, a
 * committed offset of group "g", and then hears whatever bytes come over a few connections.
 *
 * What was sent is read along, byte for byte, as the protocol wants it read, and so what must come
 * back is known:
 *   - a well-formed request gets one answer, in order, with its correlation id, that can be read
 *     as the answer of its API and version with no byte left over; acks=0 gets none;
 *   - a frame of an impossible size, a header or body that is none, an API or version that is not
 *     offered close the connection, after all that came before was answered;
 *   - no other connection is closed by the broker, and none that only waits. */

enum { CSTAGE_SLOTS = 4, CSTAGE_WAITING_MAX = 64 };

struct cstage;

/* One request under way. */
struct cstage_waiting {
    int32_t correlation_id;
    int16_t api_key;
    int16_t version;
    uint32_t wait_ms; /* how long the broker may take, by what the request says */
    bool silent;      /* acks=0: no answer */
    bool may_close;   /* the broker may close instead of answering */
    bool must_close;
};

struct cstage_slot {
    struct cstage *stage;
    struct kb_conn *conn;  /* NULL: free */
    struct kb_buf pending; /* bytes of a frame that is not whole yet */
    struct cstage_waiting waiting[CSTAGE_WAITING_MAX];
    size_t waiting_count;
    bool broken; /* what was sent last must close it: nothing after it is read */
    bool mute;   /* more requests than are followed: no longer judged */
};

struct cstage {
    struct sim_solo solo;
    struct kb_env *env; /* of the clients */
    struct cstage_slot slots[CSTAGE_SLOTS];
    struct words_handles handles;
    uint32_t group_wait_ms; /* the longest session or rebalance timeout that was asked for */
    int32_t correlation_id;
};

/* The broker runs and a client is connected in slot 0. */
void cstage_init(struct cstage *s);
void cstage_open(struct cstage *s, size_t slot);
void cstage_close(struct cstage *s, size_t slot);
/* Bytes as they are. */
void cstage_send(struct cstage *s, size_t slot, const void *data, size_t size);
/* Let the world run. */
void cstage_run(struct cstage *s, uint64_t duration_ms);
/* Waits for every answer that must come, then closes all; with reopen the broker is killed, started
 * again, and must tell the same offsets. It has neither died nor kept anything. */
void cstage_release(struct cstage *s, bool reopen);

#endif
