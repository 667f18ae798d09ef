/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every out side does with a frame of a batch: measure it, and copy it out. */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>
#include <string.h>

#include <linux/if_ether.h>

#include "switch/batch.h"

/* The longest frame that an MTU allows: it counts neither the Ethernet header nor one VLAN tag. */
static inline uint32_t frame_max_len(const struct frame *f, uint32_t mtu)
{
	const uint8_t *at = f->head + f->shape.head_at + 2 * ETH_ALEN;
	uint16_t type = at[0] << 8 | at[1];

	return mtu + ETH_HLEN + (type == ETH_P_8021Q || type == ETH_P_8021AD ? 4 : 0);
}

/*
 * Small copies without a call: two overlapping moves of a fixed size cover every length of a class.
 * Fixed sizes also read head[] as it was written, in wide moves, which the CPU's store buffer
 * forwards; smaller reads wait for the cache.
 */
static __always_inline void copy_ends(uint8_t *to, const uint8_t *from, uint32_t n, size_t size)
{
	uint8_t first[64], last[64];

	memcpy(first, from, size);
	memcpy(last, from + n - size, size);
	memcpy(to, first, size);
	memcpy(to + n - size, last, size);
}

static __always_inline void copy_piece(uint8_t *to, const uint8_t *from, uint32_t n)
{
	if (n - 16 <= 16)
		copy_ends(to, from, n, 16);
	else if (n > 128 || n < 16)
		memcpy(to, from, n);
	else if (n > 64)
		copy_ends(to, from, n, 64);
	else
		copy_ends(to, from, n, 32);
}

/* A run of memory that a frame is written to. */
struct span {
	uint8_t *at;
	uint32_t len;
};

/* A frame read as a stream, for destinations that take it in parts. */
struct frame_stream {
	const uint8_t *at;
	uint32_t left; /* bytes of the current part */
	const struct piece *piece;
	unsigned n_pieces; /* that come after it */
};

static inline void stream_open(struct frame_stream *s, const struct batch *b, const struct frame *f)
{
	s->at = f->head + f->shape.head_at;
	s->left = f->shape.head_len;
	s->piece = &b->piece[f->piece];
	s->n_pieces = f->shape.n_pieces;
}

/* Copies the next @n bytes; the caller never asks for more than the frame has. */
static inline void stream_copy(struct frame_stream *s, uint8_t *to, uint32_t n)
{
	while (n) {
		uint32_t part = n < s->left ? n : s->left;

		copy_piece(to, s->at, part);
		to += part;
		n -= part;
		s->at += part;
		s->left -= part;
		if (!s->left && s->n_pieces) {
			s->at = s->piece->at;
			s->left = s->piece->len;
			s->piece++;
			s->n_pieces--;
		}
	}
}

/* The whole frame into one run of memory. */
static __always_inline void frame_copy(uint8_t *to, const struct batch *b, const struct frame *f)
{
	const struct piece *p = &b->piece[f->piece];
	unsigned i;

	if (__builtin_expect(frame_is_plain(f), 1)) {
		memcpy(to, f->head + FRAME_HEAD_ROOM, FRAME_HEAD);
		copy_piece(to + FRAME_HEAD, p->at, p->len);
		return;
	}
	memcpy(to, f->head + f->shape.head_at, f->shape.head_len);
	to += f->shape.head_len;
	for (i = 0; i < f->shape.n_pieces; i++) {
		copy_piece(to, p[i].at, p[i].len);
		to += p[i].len;
	}
}

/* The whole frame over @n runs of memory, which are of its length together or longer. */
static inline void frame_write(const struct span *to, unsigned n, const struct batch *b,
			       const struct frame *f)
{
	struct frame_stream s;
	uint32_t left = f->len, part;

	if (n && to->len >= left) {
		frame_copy(to->at, b, f);
		return;
	}
	stream_open(&s, b, f);
	for (; n && left; n--, to++) {
		part = to->len < left ? to->len : left;
		stream_copy(&s, to->at, part);
		left -= part;
	}
}

#endif
