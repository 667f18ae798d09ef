/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames on their way through the switch: lent by an in side, copied by out sides, given back. */
#ifndef BATCH_H
#define BATCH_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * One batch belongs to one worker, which fills it, switches it and gives it back before it touches
 * the next: nothing in here is shared between threads or lives longer than a round.
 *
 * What was checked is what is delivered: the first bytes of each frame are copied once into head[],
 * every decision is made on that copy, and out sides deliver that copy followed by the pieces. The
 * pieces are memory that a guest can rewrite at any time: copy from them, never decide on them.
 */

/*
 * What a batch costs beside its frames is some cache lines that travel between guest's and switch's
 * CPU. VM to VM, 64 bytes, batches of 64, 128 and 256 made 58, 76 and 84 Mpps where that takes long
 * (a microsecond there and back), 101 and 103 Mpps for the latter two where it takes 0.3.
 */
#define BATCH_FRAMES    256          /* frames in one batch */
#define BATCH_PIECES    2048         /* pieces of all frames of one batch */
#define FRAME_HEAD      32           /* bytes of a frame that are copied for decisions */
#define FRAME_HEAD_ROOM 8            /* room before them, for two VLAN tags */
#define FRAME_MIN       14           /* an Ethernet header */
#define FRAME_MAX       (65535 + 18) /* the largest IP packet, with Ethernet header and a VLAN tag */
#define FRAME_PORT_NONE UINT16_MAX

/* A run of bytes of a frame in memory that is lent for the time of the batch. */
struct piece {
	const uint8_t *at;
	uint32_t len;
};

/* What a virtio-net header says beyond the bytes (virtio 1.2, 5.1.6): offload metadata, laid out as
 * there. */
struct frame_offload {
	uint8_t flags;    /* VIRTIO_NET_HDR_F_* */
	uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_* */
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

/* Where a frame's bytes are: first those in head[], then the pieces. */
struct frame_shape {
	uint16_t n_pieces; /* may be 0 */
	uint8_t head_at;   /* where the frame begins in head[] */
	uint8_t head_len;  /* bytes of it in head[]; the pieces hold len - head_len bytes */
};

/* One cache line. Written by the in side, only read by everybody else. */
struct frame {
	uint8_t head[FRAME_HEAD_ROOM + FRAME_HEAD];
	struct frame_shape shape;
	uint16_t piece; /* index of the first one in the batch's piece[] */
	uint16_t out;   /* destination port if the in side knows it, else FRAME_PORT_NONE */
	uint32_t len;   /* bytes, from the destination address on, without FCS */
	struct frame_offload offload;
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct frame) == 64, "and no more");

/* The usual shape: FRAME_HEAD bytes, and one piece with the rest. */
static const struct frame_shape frame_plain = {
	.n_pieces = 1, .head_at = FRAME_HEAD_ROOM, .head_len = FRAME_HEAD};

static inline bool frame_is_plain(const struct frame *f)
{
	return !memcmp(&f->shape, &frame_plain, sizeof(frame_plain));
}

/* Shape, piece and out of such a frame that is for nobody in particular, in one store. */
static inline void frame_set_plain(struct frame *f, uint16_t piece)
{
	const uint64_t none = htole64((uint64_t)FRAME_PORT_NONE << 48 | (uint64_t)FRAME_HEAD << 24 |
				      (uint64_t)FRAME_HEAD_ROOM << 16 | 1);
	uint64_t all = none | htole64((uint64_t)piece << 32);

	_Static_assert(offsetof(struct frame, out) == offsetof(struct frame, shape) + 6, "in one");
	memcpy(&f->shape, &all, sizeof(all));
}

struct port;

struct batch {
	struct port *in;   /* where the frames come from */
	unsigned in_queue; /* and through which of its queues */
	void *lent;        /* the in side's own, from in() to done() */
	bool hashed;       /* the NIC has told hash[] of each frame */
	bool open;         /* offload says something on some frames; false: all zero on all */
	unsigned n;
	unsigned n_pieces;
	struct frame frame[BATCH_FRAMES];
	struct piece piece[BATCH_PIECES];
	uint32_t hash[BATCH_FRAMES]; /* of the flow, by frame; 0: the NIC knows none */
};

#endif
