/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes and checks marked frames, and keeps the book of those that arrived. */
#include "mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x7ea5d00d

/* Behind the Ethernet header or the tag. Unaligned in the frame, so it is copied. */
struct stamp {
	uint32_t magic, flow, seq, len;
};

static uint8_t pattern(uint32_t flow, uint32_t seq, size_t at)
{
	return (at * 31 + seq * 7 + flow * 101 + (at >> 8)) & 0xff;
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

void mark_write(uint8_t *frame, size_t len, const struct mark *m)
{
	struct stamp stamp = {MAGIC, m->flow, m->seq, len};
	size_t at = 12;

	memcpy(frame, m->dst, 6);
	memcpy(frame + 6, m->src, 6);
	if (m->vlan) {
		put16(frame + at, 0x8100);
		put16(frame + at + 2, m->vlan);
		at += 4;
	}
	put16(frame + at, MARK_ETHERTYPE);
	memcpy(frame + at + 2, &stamp, sizeof(stamp));
	for (at += 2 + sizeof(stamp); at < len; at++)
		frame[at] = pattern(m->flow, m->seq, at);
}

int mark_read(const uint8_t *frame, size_t len, struct mark *m)
{
	struct stamp stamp;
	size_t at = 12;

	if (len < MARK_MIN - 4)
		return -ENOMSG;
	memcpy(m->dst, frame, 6);
	memcpy(m->src, frame + 6, 6);
	m->vlan = 0;
	if (get16(frame + at) == 0x8100) {
		m->vlan = get16(frame + at + 2) & 0xfff;
		at += 4;
	}
	if (get16(frame + at) != MARK_ETHERTYPE || at + 2 + sizeof(stamp) > len)
		return -ENOMSG;
	memcpy(&stamp, frame + at + 2, sizeof(stamp));
	if (stamp.magic != MAGIC || stamp.len != len)
		return -EBADMSG;
	m->flow = stamp.flow;
	m->seq = stamp.seq;
	for (at += 2 + sizeof(stamp); at < len; at++)
		if (frame[at] != pattern(m->flow, m->seq, at))
			return -EBADMSG;
	return 0;
}

int inbox_open(struct inbox *in)
{
	memset(in, 0, sizeof(*in));
	in->seen = calloc(MARK_FLOWS, MARK_SEQS);
	return in->seen ? 0 : -ENOMEM;
}

void inbox_close(struct inbox *in)
{
	free(in->seen);
	in->seen = NULL;
}

void inbox_clear(struct inbox *in)
{
	uint8_t *seen = in->seen;

	memset(seen, 0, MARK_FLOWS * MARK_SEQS);
	memset(in, 0, sizeof(*in));
	in->seen = seen;
}

int inbox_put(struct inbox *in, const uint8_t *frame, size_t len)
{
	struct mark m;
	int err = mark_read(frame, len, &m);
	uint8_t *seen;

	if (err == -ENOMSG) {
		in->foreign++;
		return err;
	}
	if (err || m.flow >= MARK_FLOWS || m.seq >= MARK_SEQS) {
		in->bad++;
		return -EBADMSG;
	}
	seen = &in->seen[m.flow * MARK_SEQS + m.seq];
	in->n++;
	if (*seen)
		in->twice++;
	else
		in->flow[m.flow]++;
	if (*seen < UINT8_MAX)
		++*seen;
	if (m.seq + 1 < in->last[m.flow])
		in->swapped++;
	else
		in->last[m.flow] = m.seq + 1;
	return 0;
}

unsigned inbox_count(const struct inbox *in, uint32_t flow, uint32_t seq)
{
	return in->seen[flow * MARK_SEQS + seq];
}

bool inbox_clean(const struct inbox *in)
{
	return !in->bad && !in->twice && !in->swapped;
}
