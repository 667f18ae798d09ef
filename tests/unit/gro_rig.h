/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP segments made of specs, and a reference that says what GRO does with them. */
#ifndef GRO_RIG_H
#define GRO_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "offload/gro.h"
#include "offload/offload.h"

/*
 * Frames are made of specs, and the reference below judges these, not bytes. The batch is filled as
 * nic_in() does it: each frame in a slot of "UMEM", its first bytes in head[], pieces behind them.
 */
#define SLOT     12288
#define OPTS_MAX 40
#define FIN      0x01
#define SYN      0x02
#define RST      0x04
#define PSH      0x08
#define ACK      0x10
#define URG      0x20
#define ECE      0x40
#define CWR      0x80
#define TSO      (OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6)
#define TSO_ECN  (TSO | OFFLOAD_ECN)

/* What is the matter with a frame beyond its numbers. */
enum odd {
	ODD_NONE,
	ODD_CSUM,      /* wrong TCP checksum */
	ODD_IP_CSUM,   /* wrong IPv4 header checksum; IPv6: as ODD_CSUM */
	ODD_PADDED,    /* 4 bytes behind the packet */
	ODD_CUT,       /* 1 byte short of what the IP header says */
	ODD_EXTENSION, /* an IPv4 option, or an IPv6 extension header */
	ODD_FRAGMENT,  /* the first one of some */
	ODD_UDP,       /* isn't TCP */
	ODD_OFFSET,    /* TCP header length under 20 */
	ODD_MAX,
};

struct spec {
	unsigned flow; /* addresses and ports */
	bool v6;
	uint8_t tags; /* VLAN tags: 0 to 2 */
	uint8_t tos, ttl;
	bool df;
	uint16_t id;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window, urged;
	uint8_t opts; /* bytes, a multiple of 4 */
	uint8_t opt;  /* of this value */
	uint16_t payload;
	enum odd odd;
	uint8_t pieces;
};

struct made {
	struct spec s;
	uint32_t len, hdr_len, l3, l4;
	uint8_t *at; /* a copy, as it came */
};

static struct batch b;
static struct made made[BATCH_FRAMES];
static uint8_t *umem, *copies;

static inline uint32_t word(uint32_t sum, const uint8_t *at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		sum += i & 1 ? at[i] : at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static inline void put2(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static inline void put4(uint8_t *at, uint32_t v)
{
	put2(at, v >> 16);
	put2(at + 2, v);
}

static inline uint32_t pseudo(const uint8_t *f, uint32_t l3, uint32_t l4, uint32_t len, bool v6)
{
	uint32_t sum = v6 ? word(0, f + l3 + 8, 32) : word(0, f + l3 + 12, 8);
	uint8_t rest[4] = {0, 6, (len - l4) >> 8, len - l4};

	return word(sum, rest, 4);
}

/* Both checksums, as they must be. */
static inline void fill_sums(uint8_t *f, uint32_t l3, uint32_t l4, uint32_t len, bool v6)
{
	if (!v6) {
		put2(f + l3 + 10, 0);
		put2(f + l3 + 10, ~word(0, f + l3, l4 - l3));
	}
	put2(f + l4 + 16, 0);
	put2(f + l4 + 16, ~word(pseudo(f, l3, l4, len, v6), f + l4, len - l4));
}

static inline uint32_t make_l3(struct made *m, uint8_t *f)
{
	const struct spec *s = &m->s;
	unsigned i, ext = s->odd == ODD_EXTENSION ? (s->v6 ? 8 : 4) : 0;
	uint8_t *ip = f + m->l3;

	if (s->v6) {
		put4(ip, 6u << 28 | s->tos << 20 | 0x12345);
		ip[6] = s->odd == ODD_UDP ? 17 : 6;
		ip[7] = s->ttl;
		for (i = 0; i < 32; i++)
			ip[8 + i] = i ^ s->flow;
		if (s->odd == ODD_EXTENSION || s->odd == ODD_FRAGMENT) {
			ip[40] = ip[6];
			ip[6] = s->odd == ODD_FRAGMENT ? 44 : 60;
			ip[43] = s->odd == ODD_FRAGMENT;
			ext = 8;
		}
		return m->l3 + 40 + ext;
	}
	ip[0] = 0x45 + ext / 4;
	ip[1] = s->tos;
	put2(ip + 4, s->id);
	put2(ip + 6, (s->df ? 0x4000 : 0) | (s->odd == ODD_FRAGMENT ? 0x2000 : 0));
	ip[8] = s->ttl;
	ip[9] = s->odd == ODD_UDP ? 17 : 6;
	put4(ip + 12, 0x0a000001 + s->flow);
	put4(ip + 16, 0x0a000100);
	memset(ip + 20, 1, ext);
	return m->l3 + 20 + ext;
}

/* The frame in m->at. */
static inline void make(struct made *m)
{
	static const uint8_t mac[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	const struct spec *s = &m->s;
	uint8_t *f = m->at, *tcp;
	unsigned i;

	memset(f, 0, 256);
	memcpy(f, mac, 12);
	for (i = 0; i < s->tags; i++) {
		put2(f + 12 + 4 * i, i ? 0x8100 : 0x88a8);
		put2(f + 14 + 4 * i, 5 + s->tags);
	}
	m->l3 = 14 + 4 * s->tags;
	put2(f + m->l3 - 2, s->v6 ? 0x86dd : 0x0800);
	m->l4 = make_l3(m, f);
	tcp = f + m->l4;
	put2(tcp, 1000 + s->flow % 3);
	put2(tcp + 2, 80);
	put4(tcp + 4, s->seq);
	put4(tcp + 8, s->ack);
	tcp[12] = s->odd == ODD_OFFSET ? 4 << 4 : (20 + s->opts) / 4 << 4;
	tcp[13] = s->flags;
	put2(tcp + 14, s->window);
	put2(tcp + 18, s->urged);
	memset(tcp + 20, s->opt, s->opts);
	m->hdr_len = m->l4 + 20 + s->opts;
	m->len = m->hdr_len + s->payload;
	for (i = 0; i < s->payload; i++)
		f[m->hdr_len + i] = (s->seq + i) * 2654435761u >> 13;
	if (s->v6)
		put2(f + m->l3 + 4, m->len - m->l3 - 40);
	else
		put2(f + m->l3 + 2, m->len - m->l3);
	fill_sums(f, m->l3, m->l4, m->len, s->v6);
	if (s->odd == ODD_CSUM || (s->odd == ODD_IP_CSUM && s->v6))
		f[m->l4 + 16] ^= 0x10;
	else if (s->odd == ODD_IP_CSUM)
		f[m->l3 + 11] ^= 1;
	else if (s->odd == ODD_PADDED)
		memset(f + m->len, 0, 4);
	m->len += s->odd == ODD_PADDED ? 4 : s->odd == ODD_CUT ? -1 : 0;
}

static inline void begin(void)
{
	if (!umem) {
		umem = malloc(BATCH_FRAMES * SLOT);
		copies = malloc(BATCH_FRAMES * SLOT);
	}
	b.n = b.n_pieces = 0;
	b.hashed = true;
}

/* As nic_in.c's lend(); the pieces of a multi-buffer packet lie apart. */
static inline void add(const struct spec *s)
{
	struct frame *f = &b.frame[b.n];
	struct made *m = &made[b.n];
	uint8_t *slot = umem + b.n * SLOT, *at;
	uint32_t done, n;

	m->s = *s;
	m->at = copies + b.n * SLOT;
	make(m);
	memset(f, 0, sizeof(*f));
	f->len = m->len;
	f->out = b.n; /* to know it again */
	f->piece = b.n_pieces;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = FRAME_HEAD;
	memcpy(f->head + FRAME_HEAD_ROOM, m->at, FRAME_HEAD);
	done = s->pieces > 1 && m->hdr_len + 41 < m->len ? m->hdr_len + 41 : m->len;
	memcpy(slot, m->at, done);
	b.piece[b.n_pieces++] = (struct piece){slot + FRAME_HEAD, done - FRAME_HEAD};
	f->shape.n_pieces = 1;
	for (at = slot + done; done < m->len; done += n) {
		n = f->shape.n_pieces + 1 < s->pieces ? (m->len - done + 1) / 2 : m->len - done;
		memcpy(at += 3, m->at + done, n);
		b.piece[b.n_pieces++] = (struct piece){at, n};
		f->shape.n_pieces++;
		at += n;
	}
	b.hash[b.n++] = 1000 + f->out;
}

/* ---- the reference ---- */

struct group {
	unsigned which[BATCH_FRAMES]; /* frames, by number */
	unsigned n;
	uint32_t bytes; /* of the IP packet */
	bool open;
	bool counts;
	bool verified; /* the first one; all, if there are more */
};

static struct group group[BATCH_FRAMES];
static unsigned n_groups;

static inline bool is_unknown(const struct spec *s)
{
	return s->odd == ODD_EXTENSION || s->odd == ODD_FRAGMENT ||
	       (s->odd == ODD_CUT && !s->payload && !s->opts); /* half a header */
}

static inline bool is_sound(const struct spec *s)
{
	return s->payload && s->odd != ODD_PADDED && s->odd != ODD_CUT && s->odd != ODD_OFFSET &&
	       !(s->flags & (SYN | RST | URG));
}

static inline bool right_sums(const struct spec *s)
{
	return s->odd != ODD_CSUM && s->odd != ODD_IP_CSUM;
}

static inline bool ref_id(struct group *g, const struct spec *a, const struct spec *s, bool *counts)
{
	*counts = g->counts;
	if (s->v6)
		return true;
	if (g->n == 1)
		*counts = !(s->df && s->id == a->id);
	return s->id == (uint16_t)(a->id + (*counts ? g->n : 0));
}

static inline bool ref_joins(struct group *g, const struct spec *s)
{
	const struct spec *a = &made[g->which[0]].s, *z = &made[g->which[g->n - 1]].s;
	const unsigned loose = CWR | FIN | PSH;
	bool counts;

	if (!is_sound(s) || s->payload > a->payload || g->bytes + s->payload > 65535 ||
	    made[g->which[0]].l3 + g->bytes + s->payload > FRAME_MAX)
		return false;
	if (s->tos != a->tos || s->ttl != a->ttl || (!s->v6 && s->df != a->df))
		return false;
	if (s->flags & CWR || (s->flags & ~loose) != (a->flags & ~loose))
		return false;
	if (s->window != a->window || s->ack != a->ack || s->urged != a->urged)
		return false;
	if (s->opts != a->opts || (s->opts && s->opt != a->opt))
		return false;
	if (s->seq != z->seq + z->payload || !ref_id(g, a, s, &counts))
		return false;
	if (!right_sums(a))
		return false;
	g->verified = true;
	if (!right_sums(s))
		return false;
	g->counts = counts;
	return true;
}

static inline bool ref_may_begin(const struct spec *s, uint32_t takes)
{
	return is_sound(s) && !(s->flags & (PSH | FIN)) &&
	       (!(s->flags & CWR) || takes & OFFLOAD_ECN);
}

static inline void ref_take(unsigned i, uint32_t takes)
{
	const struct spec *s = &made[i].s;
	bool ours = s->odd != ODD_UDP && takes & (s->v6 ? OFFLOAD_TSO6 : OFFLOAD_TSO4);
	struct group *g, *n = &group[n_groups];

	for (g = group; g < n && (ours || is_unknown(s)); g++) {
		const struct spec *a = &made[g->which[0]].s;

		if (!g->open)
			continue;
		if (is_unknown(s)) {
			g->open = false;
			continue;
		}
		if (a->flow != s->flow || a->v6 != s->v6 || a->tags != s->tags)
			continue;
		g->open = ref_joins(g, s);
		if (!g->open)
			continue;
		g->which[g->n++] = i;
		g->bytes += s->payload;
		if (s->payload < a->payload || s->flags & (PSH | FIN))
			g->open = false;
		return;
	}
	*n = (struct group){.which = {i}, .n = 1, .bytes = made[i].len - made[i].l3};
	n->open = ours && !is_unknown(s) && ref_may_begin(s, takes);
	n_groups++;
}

/* ---- comparing ---- */

static unsigned fixed_ids, joined_frames, valid_frames;

static inline uint32_t read_frame(const struct frame *f, uint8_t *to)
{
	uint32_t n = f->shape.head_len;
	unsigned i;

	memcpy(to, f->head + f->shape.head_at, n);
	for (i = f->piece; i < f->piece + (unsigned)f->shape.n_pieces; i++) {
		if (n + b.piece[i].len > FRAME_MAX)
			return 0;
		memcpy(to + n, b.piece[i].at, b.piece[i].len);
		n += b.piece[i].len;
	}
	return n;
}

/* Segment @k of a joined frame, by its bytes and what its offload says. */
static inline uint32_t cut(const uint8_t *f, uint32_t len, const struct frame_offload *o,
			   unsigned k, uint32_t l3, uint8_t *to)
{
	uint32_t hdr = o->hdr_len, at = hdr + k * o->gso_size, l4 = o->csum_start;
	uint32_t n = len - at < o->gso_size ? len - at : o->gso_size;
	bool v6 = (o->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6;

	memcpy(to, f, hdr);
	memcpy(to + hdr, f + at, n);
	if (v6)
		put2(to + l3 + 4, hdr + n - l3 - 40);
	else
		put2(to + l3 + 2, hdr + n - l3);
	if (!v6)
		put2(to + l3 + 4, (f[l3 + 4] << 8 | f[l3 + 5]) + k);
	put4(to + l4 + 4,
	     ((uint32_t)f[l4 + 4] << 24 | f[l4 + 5] << 16 | f[l4 + 6] << 8 | f[l4 + 7]) +
		     k * o->gso_size);
	if (at + n < len)
		to[l4 + 13] &= ~(FIN | PSH);
	if (k)
		to[l4 + 13] &= ~CWR;
	fill_sums(to, l3, l4, hdr + n, v6);
	return hdr + n;
}

static inline bool check_joined(const struct group *g, const struct frame *f, uint8_t *bytes)
{
	static uint8_t one[FRAME_MAX];
	const struct made *a = &made[g->which[0]];
	struct frame_offload want = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = a->s.v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = a->hdr_len,
		.gso_size = a->s.payload,
		.csum_start = a->l4,
		.csum_offset = 16,
	};
	uint32_t len = a->l3 + g->bytes;
	unsigned k;

	if (a->s.flags & CWR)
		want.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	if (memcmp(&f->offload, &want, sizeof(want)) || f->len != len ||
	    read_frame(f, bytes) != len)
		return false;
	/* What is in head[] stands in UMEM as well. */
	if (memcmp(b.piece[f->piece].at - FRAME_HEAD, bytes, FRAME_HEAD))
		return false;
	if (word(pseudo(bytes, a->l3, a->l4, len, a->s.v6), NULL, 0) !=
		    (uint32_t)(bytes[a->l4 + 16] << 8 | bytes[a->l4 + 17]) ||
	    (!a->s.v6 && word(0, bytes + a->l3, 20) != 0xffff))
		return false;
	for (k = 0; k < g->n; k++) {
		const struct made *m = &made[g->which[k]];

		len = cut(bytes, a->l3 + g->bytes, &f->offload, k, a->l3, one);
		if (!m->s.v6 && k && m->s.id == a->s.id) {
			/* All had one ID: segments that are cut again count up from it. */
			put2(one + a->l3 + 4, a->s.id);
			fill_sums(one, m->l3, m->l4, len, false);
			fixed_ids++;
		}
		if (len != m->len || memcmp(one, m->at, len))
			return false;
	}
	joined_frames += g->n;
	return true;
}

static inline bool check_group(const struct group *g, const struct frame *f, uint32_t hash)
{
	static uint8_t bytes[FRAME_MAX];
	const struct made *a = &made[g->which[0]];
	struct frame_offload want = {.flags = g->verified ? VIRTIO_NET_HDR_F_DATA_VALID : 0};

	if (f->out != g->which[0] || hash != 1000 + g->which[0])
		return false;
	if (g->n > 1)
		return check_joined(g, f, bytes);
	valid_frames += g->verified;
	return !memcmp(&f->offload, &want, sizeof(want)) && f->len == a->len &&
	       read_frame(f, bytes) == a->len && !memcmp(bytes, a->at, a->len);
}

/* Runs what is in the batch through both; false: they don't agree. */
static inline bool run_from(unsigned first, uint32_t takes)
{
	unsigned i, came = b.n, left;
	bool ok = true;

	n_groups = 0;
	for (i = 0; i < came; i++)
		ref_take(i, i < first ? 0 : takes);
	left = came - gro_join(&b, first, takes);
	ok = left == b.n && b.n == n_groups && b.n_pieces <= BATCH_PIECES;
	for (i = 0; ok && i < n_groups; i++)
		ok = check_group(&group[i], &b.frame[i], b.hash[i]);
	if (!ok)
		printf("--- %u of %u frames left, the reference has %u; differs at %u\n", b.n, came,
		       n_groups, i - 1);
	return ok;
}

static inline bool run(uint32_t takes)
{
	return run_from(0, takes);
}

/* Where the reference doesn't know how much is joined: all is there, and in order. */
static inline bool run_loosely(uint32_t takes)
{
	bool seen[BATCH_FRAMES] = {false};
	unsigned i, k, came = b.n, all = 0;
	struct group g;

	if (gro_join(&b, 0, takes) != came - b.n || b.n_pieces > BATCH_PIECES)
		return false;
	for (i = 0; i < b.n; i++) {
		const struct frame *f = &b.frame[i];
		const struct made *a = &made[f->out];

		g = (struct group){.bytes = f->len - a->l3};
		for (k = f->out; k < came && g.n * a->s.payload < f->len - a->hdr_len; k++) {
			if (made[k].s.flow != a->s.flow)
				continue;
			if (seen[k])
				return false;
			seen[k] = true;
			g.which[g.n++] = k;
		}
		g.verified = f->offload.flags;
		all += g.n;
		if (!check_group(&g, f, b.hash[i]))
			return false;
	}
	return all == came;
}

#endif
