/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets made from a description, put into batches in pieces: for the tests of offload/. */
#ifndef OFFLOAD_RIG_H
#define OFFLOAD_RIG_H

#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include <linux/virtio_net.h>

#include "offload/offload.h"
#include "switch/batch.h"

/* IPv6 extension headers, in the order in which they stand. */
#define EXT_HOP       1  /* hop-by-hop, 8 bytes */
#define EXT_DEST      2  /* destination options before routing, 16 bytes */
#define EXT_ROUTE     4  /* routing, no segments left, 24 bytes */
#define EXT_ROUTED    8  /* the same with one segment left */
#define EXT_DEST_LAST 16 /* destination options, 8 bytes */

struct spec {
	bool ip6, tcp;
	unsigned vlans, ext;
	unsigned ip_options;  /* IPv4: bytes, a multiple of 4 */
	unsigned tcp_options; /* bytes, a multiple of 4 */
	uint8_t tcp_flags;
	uint32_t payload;
	uint8_t gso_type;
	uint16_t gso_size;
	bool no_length; /* the partial checksum doesn't count it */
};

/* A whole frame as the guest has it. */
struct pkt {
	uint8_t at[80000];
	uint32_t len, l3, l4, end; /* end: of the layer 4 header */
	bool ip6, tcp;
	uint8_t dst[16]; /* the final destination's address, for the pseudo header */
	struct frame_offload offload;
};

static inline void pkt_put16(uint8_t *at, unsigned value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static inline void pkt_put32(uint8_t *at, uint32_t value)
{
	pkt_put16(at, value >> 16);
	pkt_put16(at + 2, value);
}

static inline unsigned pkt_get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

/* As RFC 1071 says it, two bytes at a time, high one first. */
static inline uint32_t slow_add(uint32_t sum, const uint8_t *at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		sum += i & 1 ? at[i] : at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Of addresses, protocol and length. */
static inline uint32_t slow_pseudo(const uint8_t *ip, bool ip6, const uint8_t *dst, uint8_t proto,
				   uint32_t len)
{
	uint8_t rest[8] = {};
	uint32_t sum;

	pkt_put32(rest, len);
	rest[7] = proto;
	if (ip6)
		sum = slow_add(slow_add(0, ip + 8, 16), dst, 16);
	else
		sum = slow_add(slow_add(0, ip + 12, 4), dst, 4);
	return slow_add(sum, rest, 8);
}

static inline uint16_t slow_finish(uint32_t sum)
{
	uint16_t check = ~sum;

	return check ? check : 0xffff;
}

static inline void pkt_fill(uint8_t *at, uint32_t n, uint32_t seed)
{
	while (n--) {
		seed = seed * 1103515245 + 12345;
		*at++ = seed >> 16;
	}
}

/* Writes an extension header of @len bytes whose type goes into @next; returns where it ends. */
static inline uint8_t *pkt_ext(uint8_t **next, uint8_t *at, uint8_t type, unsigned len)
{
	memset(at, 0, len);
	at[1] = len / 8 - 1;
	if (type == IPPROTO_ROUTING)
		at[2] = 0x7a; /* of no type that there is */
	else {
		at[2] = 1; /* PadN over all of it */
		at[3] = len - 4;
	}
	**next = type;
	*next = at;
	return at + len;
}

static inline uint8_t *pkt_ip6(struct pkt *p, const struct spec *s, uint8_t *ip)
{
	uint8_t *next = ip + 6, *at = ip + 40;

	memset(ip, 0, 40);
	ip[0] = 0x60 | 1;
	ip[1] = 0x23;
	ip[7] = 64;
	pkt_fill(ip + 8, 32, 77);
	memcpy(p->dst, ip + 24, 16);
	if (s->ext & EXT_HOP)
		at = pkt_ext(&next, at, IPPROTO_HOPOPTS, 8);
	if (s->ext & EXT_DEST)
		at = pkt_ext(&next, at, IPPROTO_DSTOPTS, 16);
	if (s->ext & (EXT_ROUTE | EXT_ROUTED))
		at = pkt_ext(&next, at, IPPROTO_ROUTING, 24);
	if (s->ext & EXT_ROUTED) {
		next[3] = 1;
		pkt_fill(next + 8, 16, 99);
		memcpy(p->dst, next + 8, 16);
	}
	if (s->ext & EXT_DEST_LAST)
		at = pkt_ext(&next, at, IPPROTO_DSTOPTS, 8);
	*next = s->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	return at;
}

static inline uint8_t *pkt_ip4(struct pkt *p, const struct spec *s, uint8_t *ip)
{
	memset(ip, 0, 20);
	ip[0] = 0x45 + s->ip_options / 4;
	pkt_put16(ip + 4, 0xfffe); /* wraps in the third segment */
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = s->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	pkt_fill(ip + 12, 8, 55);
	memcpy(p->dst, ip + 16, 4);
	memset(ip + 20, 1, s->ip_options);
	return ip + 20 + s->ip_options;
}

static inline void pkt_l4(struct pkt *p, const struct spec *s)
{
	uint8_t *at = p->at + p->l4;
	uint32_t len = p->len - p->l4, sum;

	if (s->tcp) {
		pkt_fill(at, 12, 11);
		pkt_put32(at + 4, 0xffffff00);
		at[12] = (20 + s->tcp_options) / 4 << 4;
		at[13] = s->tcp_flags;
		pkt_put16(at + 14, 0x1234);
		pkt_put16(at + 18, 0);
		memset(at + 20, 1, s->tcp_options);
	} else {
		pkt_fill(at, 4, 22);
		pkt_put16(at + 4, len);
	}
	sum = slow_pseudo(p->at + p->l3, s->ip6, p->dst, s->tcp ? IPPROTO_TCP : IPPROTO_UDP,
			  s->no_length ? 0 : len);
	pkt_put16(at + (s->tcp ? 16 : 6), sum);
}

static inline void pkt_make(struct pkt *p, const struct spec *s)
{
	uint8_t *at = p->at;
	unsigned i;

	p->ip6 = s->ip6;
	p->tcp = s->tcp;
	pkt_fill(at, 12, 33);
	at[0] = 2;
	at += 12;
	for (i = 0; i < s->vlans; i++, at += 4) {
		pkt_put16(at, i + 1 < s->vlans ? 0x88a8 : 0x8100);
		pkt_put16(at + 2, 100 + i);
	}
	pkt_put16(at, s->ip6 ? 0x86dd : 0x0800);
	at += 2;
	p->l3 = at - p->at;
	at = s->ip6 ? pkt_ip6(p, s, at) : pkt_ip4(p, s, at);
	p->l4 = at - p->at;
	p->end = p->l4 + (s->tcp ? 20 + s->tcp_options : 8);
	p->len = p->end + s->payload;
	pkt_fill(p->at + p->end, s->payload, 44);
	if (s->ip6) {
		pkt_put16(p->at + p->l3 + 4, p->len - p->l3 - 40);
	} else {
		pkt_put16(p->at + p->l3 + 2, p->len - p->l3);
		pkt_put16(p->at + p->l3 + 10, (uint16_t)~slow_add(0, p->at + p->l3, p->l4 - p->l3));
	}
	pkt_l4(p, s);
	p->offload = (struct frame_offload){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .gso_type = s->gso_type,
					    .hdr_len = p->end,
					    .gso_size = s->gso_size,
					    .csum_start = p->l4,
					    .csum_offset = s->tcp ? 16 : 6};
}

/* Memory of the pieces, each an allocation of its own so that sanitizers know its ends. */
static uint8_t *pkt_memory[BATCH_PIECES];
static unsigned pkt_memories;

static inline void pkt_drop_memory(void)
{
	while (pkt_memories)
		free(pkt_memory[--pkt_memories]);
}

/* Frame 0 of @b: the head, then pieces of @first bytes, then of @each (0: all that is left). */
static inline struct frame *pkt_lend(struct batch *b, const struct pkt *p, uint32_t first,
				     uint32_t each)
{
	struct frame *f = &b->frame[0];
	uint32_t at, n = first;

	pkt_drop_memory();
	memset(f, 0, sizeof(*f));
	b->n = 1;
	b->n_pieces = 0;
	f->len = p->len;
	f->out = FRAME_PORT_NONE;
	f->offload = p->offload;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = p->len < FRAME_HEAD ? p->len : FRAME_HEAD;
	memcpy(f->head + FRAME_HEAD_ROOM, p->at, f->shape.head_len);
	for (at = f->shape.head_len; at < p->len; at += n, n = each) {
		if (!n || n > p->len - at || b->n_pieces == BATCH_PIECES - 1)
			n = p->len - at;
		pkt_memory[pkt_memories] = malloc(n);
		memcpy(pkt_memory[pkt_memories], p->at + at, n);
		b->piece[b->n_pieces++] = (struct piece){pkt_memory[pkt_memories++], n};
	}
	f->shape.n_pieces = b->n_pieces;
	return f;
}

#endif
