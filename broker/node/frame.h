#ifndef NODE_FRAME_H
#define NODE_FRAME_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/cluster/peer.pb-c.h"

/* Peer frames: int32 size, int32 header size (both big-endian), PeerMessage, payload. The last
 * field of the message is a CRC of the sizes and of all other fields; what the payload holds has
 * CRCs of its own. A bit that flips on the way is found here, and the link closed (row 27): a
 * number that still makes sense, of the request that is answered or of an offset that is durable,
 * would be believed. */

/* Append a whole frame to chain; the payload's slices (may be NULL) are moved behind the header. */
void node_frame_write(struct kb_chain *chain, const Kvorum__PeerMessage *m,
                      struct kb_chain *payload);
/* Parse a frame without its size prefix. The message lives in the arena, its byte fields included;
 * the payload is a view into the frame. 0, -KB_EINVAL (malformed), -KB_ECORRUPT or -KB_ELIMIT (more
 * memory than the arena grants). */
int node_frame_read(struct kb_view frame, struct kb_arena *arena, Kvorum__PeerMessage **ret_message,
                    struct kb_view *ret_payload);

/* Whether a frame without its size prefix has the check: who sends one sends them all. */
bool node_frame_has_check(struct kb_view frame);

#endif
