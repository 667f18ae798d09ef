/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames that can be told apart and checked byte for byte, and the book of those that arrived. */
#ifndef MARK_H
#define MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MARK_ETHERTYPE 0x88b5 /* for local experiments (IEEE 802) */
#define MARK_MIN       34     /* the shortest frame that holds a mark, tag included */
#define MARK_FLOWS     32
#define MARK_SEQS      16384

/* What stands in a frame: addresses, VLAN tag if not 0, which flow, which frame of it. */
struct mark {
	uint8_t dst[6], src[6];
	uint16_t vlan;
	uint32_t flow, seq;
};

/** mark_write() - make a frame of @len bytes (MARK_MIN or more), each one determined by @m. */
void mark_write(uint8_t *frame, size_t len, const struct mark *m);
/** mark_read() - 0; -ENOMSG: none of ours; -EBADMSG: one of ours, but not as it was sent. */
int mark_read(const uint8_t *frame, size_t len, struct mark *m);

/* What one receiver got. */
struct inbox {
	unsigned n;                /* marked frames, in all flows, doubles included */
	unsigned bad;              /* that were not as they were sent */
	unsigned foreign;          /* frames of other kinds */
	unsigned twice;            /* that had come before */
	unsigned swapped;          /* that came after a later one of their flow */
	unsigned flow[MARK_FLOWS]; /* different frames of this flow */
	uint32_t last[MARK_FLOWS]; /* highest seq of the flow + 1 */
	uint8_t *seen;             /* [MARK_FLOWS][MARK_SEQS] */
};

int inbox_open(struct inbox *in);
void inbox_close(struct inbox *in);
/** inbox_clear() - forget all. */
void inbox_clear(struct inbox *in);
/** inbox_put() - enter a frame that arrived; as mark_read(). */
int inbox_put(struct inbox *in, const uint8_t *frame, size_t len);
/** inbox_count() - how often frame @seq of @flow came. */
unsigned inbox_count(const struct inbox *in, uint32_t flow, uint32_t seq);
/** inbox_clean() - nothing bad, twice or out of order. */
bool inbox_clean(const struct inbox *in);

#endif
