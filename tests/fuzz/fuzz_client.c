/* Any bytes as what Kafka clients send to a broker, over several connections: a whole broker hears
 * them (tests/fuzz/client_stage.h). The first byte: bit 0 = at the end the broker is killed and
 * must come back with the same offsets. Then one step after the other, a byte that chooses (bits
 * 0-2), in which connection (bits 3-4), and whether the world runs before the next step (bit 5: it
 * does not, requests are pipelined; bit 6: a frame comes in two parts):
 *   0, 1, 2  a request made of the following bytes (client_words.h)
 *   3        the same, then a count and as many edits of its bytes: position (2), value
 *   4        size(2) frame, with handles put in (words_put_handles)
 *   5        size(2) bytes as they are: half frames, impossible sizes
 *   6        wait, in 10 ms (a byte)
 *   7        close the connection (a byte with bit 0) or open it
 * The broker must live, answer each well-formed request, close only what is broken, and give back
 * all it holds. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "tests/fuzz/client_stage.h"

enum { STEPS_MAX = 40, EDITS_MAX = 8, BETWEEN_MS = 20, EDITED = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void edit(struct words_input *in, struct kb_buf *frame)
{
    int edits = 1 + words_byte(in) % EDITS_MAX;
    for (int i = 0; i < edits; i++) {
        size_t at = (size_t)words_byte(in) << 8;
        at = (at | words_byte(in)) % frame->size;
        frame->data[at] = words_byte(in);
    }
}

static void send_frame(struct cstage *s, size_t slot, const struct kb_buf *frame, bool in_parts)
{
    struct kb_buf whole = {0};
    uint8_t head[4];
    kb_put_be32(head, (uint32_t)frame->size);
    kb_buf_append(&whole, head, sizeof(head));
    kb_buf_append(&whole, frame->data, frame->size);
    size_t first = in_parts ? whole.size % 7 + whole.size / 2 : whole.size;
    first = first < whole.size ? first : whole.size;
    cstage_send(s, slot, whole.data, first);
    if (first < whole.size) {
        cstage_run(s, 1);
        cstage_send(s, slot, whole.data + first, whole.size - first);
    }
    kb_buf_release(&whole);
}

static void make_frame(struct cstage *s, struct words_input *in, int kind, struct kb_buf *frame)
{
    if (kind <= EDITED) {
        if (words_request(in, &s->handles, ++s->correlation_id, frame) && kind == EDITED)
            edit(in, frame);
        return;
    }
    struct kb_view v = words_bytes(in);
    kb_buf_append(frame, v.data, v.size);
    words_put_handles(&s->handles, frame->data, frame->size);
}

static void step(struct cstage *s, struct words_input *in)
{
    uint8_t choice = words_byte(in);
    int kind = choice & 7;
    size_t slot = choice >> 3 & 3;
    struct kb_buf frame = {0};
    struct kb_view raw;
    switch (kind) {
    case 5:
        raw = words_bytes(in);
        cstage_send(s, slot, raw.data, raw.size);
        break;
    case 6:
        cstage_run(s, (uint64_t)words_byte(in) * 10);
        return;
    case 7:
        if ((words_byte(in) & 1) != 0)
            cstage_close(s, slot);
        else
            cstage_open(s, slot);
        break;
    default:
        make_frame(s, in, kind, &frame);
        if (frame.size > 0)
            send_frame(s, slot, &frame, (choice & 0x40) != 0);
        kb_buf_release(&frame);
        break;
    }
    if ((choice & 0x20) == 0)
        cstage_run(s, BETWEEN_MS);
}

static void log_nothing(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct words_input in = {data, size};
    struct cstage stage;
    if (getenv("KVORUM_FUZZ_LOG") == NULL)
        kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    bool reopen = (words_byte(&in) & 1) != 0;
    cstage_init(&stage);
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++)
        step(&stage, &in);
    cstage_release(&stage, reopen);
    return 0;
}
