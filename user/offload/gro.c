/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Strings segments of one TCP flow together, as pieces of one large frame (GRO). */
#include "offload/gro.h"

#include <stdbool.h>
#include <string.h>

#include <linux/if_ether.h>
#include <netinet/in.h>

#include "offload/csum.h"
#include "offload/offload.h"
#include "offload/parse.h"

/*
 * Theory of operation
 *
 * The frames of the batch are looked at in their order. The last one of each flow that others may
 * still be joined to is held: a small table finds it by addresses and ports. The next frame of that
 * flow either joins it or ends it, by the rules of the kernel's inet_gro_receive() and
 * tcp_gro_receive(). Whatever of a flow can't be joined ends what is held of it, so nothing is ever
 * overtaken by a frame of its own flow.
 *
 * Checksums come last of all, when everything else says that two frames belong together: a frame
 * alone of its flow costs no reading of its payload.
 *
 * While frames are looked at, joined ones are only linked to each other. Afterwards the pieces of
 * each large frame are written anew behind all the others of the batch, where they stand in one
 * run, its headers are rewritten, and the frames that went into others are closed up.
 *
 * Where two frames differ in something that the kernel doesn't compare but that would be lost in
 * the large frame (the urgent pointer without URG), they aren't joined here. What is lost is what
 * is lost in the kernel: with DF set all segments may have one and the same IP ID, and cut again
 * they will count up from it.
 *
 * Reads and writes are within the lent memory whatever the frames say. That memory is UMEM, which
 * neither guest nor kernel writes to while it is lent.
 */

#define IP_MAX 65535
#define SLOTS  64  /* of the table of flows: bits of a word */
#define PROBES 0xf /* those of them that are tried, from the flow's own on */

/* Other offsets in headers than those that the rest of offload/ needs. */
#define IP4_TOS   1
#define IP4_TTL   8
#define IP6_HOPS  7
#define TCP_ACK   8
#define TCP_URGED 18 /* the urgent pointer */
#define TCP_SYN   0x02
#define TCP_RST   0x04
#define TCP_URG   0x20

/* A frame's headers, all in one run: the bytes before its first piece are those in head[]. */
struct segment {
	uint8_t *at;
	uint16_t l3_at, l4_at;
	uint16_t hdr_len; /* to the end of the TCP header */
	uint16_t payload; /* bytes; 0: can neither join nor be joined */
	bool v6;
};

struct held {
	struct segment s; /* of its first frame */
	uint32_t hash;
	uint32_t next_seq;
	uint32_t len;         /* of the IP packet so far */
	uint16_t first, last; /* frames of the batch */
	uint16_t n;           /* frames */
	uint8_t end_flags;    /* FIN and PSH of the last one */
	bool counts;          /* IP IDs count up; else they are all the same */
	bool verified;
};

struct gro {
	struct batch *b;
	uint32_t takes;
	uint64_t used; /* slots of held[], a bit each */
	unsigned n_joined;
	unsigned room;               /* pieces that may still be used in the batch */
	uint16_t next[BATCH_FRAMES]; /* of the frames of one flow, up to held.last */
	struct held held[SLOTS];
};

enum kind {
	KIND_OTHER,   /* not TCP over IP */
	KIND_UNKNOWN, /* perhaps TCP, but of which flow doesn't stand where it usually does */
	KIND_TCP,
};

/* The rest of look_at(), for what is TCP. @ip_len: bytes of the IP packet, by its header. */
static enum kind look_at_tcp(const struct batch *b, const struct frame *f, struct segment *s,
			     uint32_t ip_len)
{
	const struct piece *p = &b->piece[f->piece];
	uint32_t run = FRAME_HEAD + p->len;
	bool alone;

	if (!f->shape.n_pieces || run < (uint32_t)s->l4_at + TCP_LEN)
		return KIND_UNKNOWN;
	/* Our own memory, which nobody but us reads now: no guest lends it. */
	s->at = (uint8_t *)p->at - FRAME_HEAD;
	s->hdr_len = s->l4_at + (s->at[s->l4_at + TCP_OFFSET] >> 4) * 4;
	/* A frame that is longer than its packet was padded; a shorter one is broken. */
	alone = s->l3_at + ip_len != f->len || s->hdr_len < s->l4_at + TCP_LEN ||
		s->hdr_len > run || s->hdr_len > f->len ||
		s->at[s->l4_at + TCP_FLAGS] & (TCP_URG | TCP_RST | TCP_SYN);
	s->payload = alone ? 0 : f->len - s->hdr_len;
	return KIND_TCP;
}

/* Is it for us? Most of what isn't is seen in the first bytes. */
static inline enum kind look_at(const struct batch *b, const struct frame *f, struct segment *s)
{
	const uint8_t *head = f->head + FRAME_HEAD_ROOM, *ip;
	uint32_t type;

	if (f->shape.head_len != FRAME_HEAD || f->shape.head_at != FRAME_HEAD_ROOM)
		return f->shape.n_pieces ? KIND_UNKNOWN : KIND_OTHER; /* its head was cut short */
	s->l3_at = frame_l3(f);
	type = frame_type(f, s->l3_at);
	ip = head + s->l3_at;
	if (type == ETH_P_IP) {
		if (ip[IP4_PROTO] != IPPROTO_TCP)
			return KIND_OTHER;
		if (ip[0] != 0x45 || get_u16(ip + IP4_FRAGMENT) & ~IP4_DF)
			return KIND_UNKNOWN; /* options, or a fragment */
		s->v6 = false;
		s->l4_at = s->l3_at + IP4_LEN;
		return look_at_tcp(b, f, s, get_u16(ip + IP4_TOTAL));
	}
	if (type != ETH_P_IPV6)
		return KIND_OTHER;
	if (ip6_is_extension(ip[IP6_NEXT]) || ip[IP6_NEXT] == IPPROTO_FRAGMENT)
		return KIND_UNKNOWN;
	if (ip[IP6_NEXT] != IPPROTO_TCP)
		return KIND_OTHER;
	s->v6 = true;
	s->l4_at = s->l3_at + IP6_LEN;
	return look_at_tcp(b, f, s, IP6_LEN + get_u16(ip + IP6_PAYLOAD));
}

/* Addresses and ports stand in one run, in both versions. */
static inline const uint8_t *flow_of(const struct segment *s)
{
	return s->at + s->l4_at - (s->v6 ? 32 : 8);
}

/* Of TCP's pseudo header (RFC 9293, 3.1), @len bytes of TCP. */
static inline uint64_t pseudo_sum(const struct segment *s, uint32_t len)
{
	const uint8_t *at = flow_of(s);
	uint64_t sum = htons(IPPROTO_TCP) + htons(len);

	sum += (uint64_t)raw32(at) + raw32(at + 4);
	if (s->v6) {
		sum += (uint64_t)raw32(at + 8) + raw32(at + 12) + raw32(at + 16);
		sum += (uint64_t)raw32(at + 20) + raw32(at + 24) + raw32(at + 28);
	}
	return sum;
}

/* Of an IPv4 header without options; 0xffff: its checksum is right. */
static inline uint16_t ip4_sum(const uint8_t *ip)
{
	return csum_fold((uint64_t)raw32(ip) + raw32(ip + 4) + raw32(ip + 8) + raw32(ip + 12) +
			 raw32(ip + 16));
}

static inline uint32_t hash_of(const struct segment *s)
{
	const uint8_t *at = flow_of(s);
	uint64_t sum = raw64(at), ports = raw32(s->at + s->l4_at);

	if (s->v6)
		sum = sum * 3 + raw64(at + 8) + raw64(at + 16) * 5 + raw64(at + 24);
	sum = (sum ^ ports << 16) * 0x9e3779b97f4a7c15ull;
	return sum >> 32;
}

static bool same_flow(const struct segment *a, const struct segment *b)
{
	const uint8_t *x = flow_of(a), *y = flow_of(b);

	if (a->l4_at != b->l4_at || a->v6 != b->v6)
		return false;
	if ((raw64(x) ^ raw64(y)) | (raw32(x + 8) ^ raw32(y + 8)))
		return false;
	if (a->v6 && memcmp(x + 12, y + 12, 24))
		return false;
	return !memcmp(a->at, b->at, a->l3_at);
}

/* What is held of @s's flow, or NULL; then *@slot is one for it, perhaps in use. */
static struct held *find(struct gro *g, const struct segment *s, uint32_t hash, unsigned *slot)
{
	const unsigned home = hash % SLOTS;
	/* The slots that are tried, from the lowest bit on. */
	uint64_t tried = g->used >> home | g->used << (SLOTS - home) % SLOTS;
	uint64_t left = tried & PROBES;

	for (; left; left &= left - 1) {
		struct held *h = &g->held[(home + __builtin_ctzll(left)) % SLOTS];

		if (h->hash == hash && same_flow(&h->s, s))
			return h;
	}
	*slot = ~tried & PROBES ? (home + __builtin_ctzll(~tried)) % SLOTS : home;
	return NULL;
}

/* Header checksum of IPv4 and the TCP checksum are right. */
static bool verify(const struct batch *b, const struct frame *f, const struct segment *s)
{
	const struct piece *p = &b->piece[f->piece];
	uint32_t at = FRAME_HEAD + p->len - s->l4_at;
	uint64_t sum = pseudo_sum(s, f->len - s->l4_at);
	unsigned i;

	if (!s->v6 && ip4_sum(s->at + s->l3_at) != 0xffff)
		return false;
	sum += csum_of(s->at + s->l4_at, at);
	for (i = 1; i < f->shape.n_pieces; i++) {
		sum += csum_at(csum_of(p[i].at, p[i].len), at);
		at += p[i].len;
	}
	return csum_fold(sum) == 0xffff;
}

/* IP says that @s may follow: what inet_gro_receive() and ipv6_gro_receive() compare. */
static bool ip_follows(const struct held *h, const struct segment *s, bool *counts)
{
	const uint8_t *was = h->s.at + h->s.l3_at, *is = s->at + s->l3_at;
	uint32_t ahead;

	if (s->v6) /* version, traffic class, flow label; hop limit */
		return raw32(was) == raw32(is) && was[IP6_HOPS] == is[IP6_HOPS];
	/* type of service, DF, time to live */
	if (was[IP4_TOS] != is[IP4_TOS] || was[IP4_FRAGMENT] != is[IP4_FRAGMENT] ||
	    was[IP4_TTL] != is[IP4_TTL])
		return false;
	/* The ID counts up, or, if there are to be no fragments, may stay what it is: the second
	 * frame shows which of the two. */
	ahead = (get_u16(is + IP4_ID) - get_u16(was + IP4_ID)) & 0xffff;
	if (h->n == 1)
		*counts = ahead || !(get_u16(is + IP4_FRAGMENT) & IP4_DF);
	return ahead == (*counts ? h->n : 0);
}

/* TCP says that @s may follow: what tcp_gro_receive() compares. */
static bool tcp_follows(const struct held *h, const struct segment *s)
{
	const uint8_t *was = h->s.at + h->s.l4_at, *is = s->at + s->l4_at;
	uint32_t differ = get_u32(was + TCP_OFFSET) ^
			  get_u32(is + TCP_OFFSET); /* header length, flags, window */

	differ &= ~((uint32_t)(TCP_CWR | TCP_FIN | TCP_PSH) << 16);
	if (differ | (is[TCP_FLAGS] & TCP_CWR) | (raw32(was + TCP_ACK) ^ raw32(is + TCP_ACK)))
		return false;
	if (get_u32(is + TCP_SEQ) != h->next_seq ||
	    get_u16(was + TCP_URGED) != get_u16(is + TCP_URGED))
		return false;
	return !memcmp(was + TCP_LEN, is + TCP_LEN, s->hdr_len - s->l4_at - TCP_LEN);
}

/* The frame would be no larger than it may be, and there is room for its pieces. */
static bool has_room(const struct gro *g, const struct held *h, const struct frame *f,
		     const struct segment *s)
{
	const struct frame *to = &g->b->frame[h->first];
	uint32_t pieces = f->shape.n_pieces + (h->n == 1 ? to->shape.n_pieces : 0);

	return h->len + s->payload <= IP_MAX && h->s.l3_at + h->len + s->payload <= FRAME_MAX &&
	       pieces <= g->room;
}

/* Both checksums; a held frame that was verified will be told so if nothing is joined to it. */
static bool both_right(struct gro *g, struct held *h, const struct frame *f,
		       const struct segment *s)
{
	struct frame *to = &g->b->frame[h->first];

	if (!h->verified) {
		if (!verify(g->b, to, &h->s))
			return false;
		h->verified = true;
		to->offload.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	return verify(g->b, f, s);
}

/* Frame @i goes into the held one, if it may. */
static bool join(struct gro *g, struct held *h, unsigned i, const struct segment *s)
{
	const struct frame *f = &g->b->frame[i], *to = &g->b->frame[h->first];
	bool counts = h->counts;

	if (!s->payload || s->payload > h->s.payload || !tcp_follows(h, s) ||
	    !ip_follows(h, s, &counts) || !has_room(g, h, f, s) || !both_right(g, h, f, s))
		return false;
	g->room -= f->shape.n_pieces + (h->n == 1 ? to->shape.n_pieces : 0);
	g->next[h->last] = i;
	g->n_joined++;
	h->last = i;
	h->n++;
	h->counts = counts;
	h->next_seq += s->payload;
	h->len += s->payload;
	h->end_flags = s->at[s->l4_at + TCP_FLAGS] & (TCP_FIN | TCP_PSH);
	return true;
}

/* The pieces of all frames that were joined, in one run behind those of the batch. */
static void string_pieces(struct gro *g, const struct held *h)
{
	struct batch *b = g->b;
	struct frame *to = &b->frame[h->first], *f = to;
	struct piece *p = &b->piece[b->n_pieces];
	uint32_t skip = 0; /* what comes of the headers in the first piece */
	unsigned i, at = h->first;

	for (;;) {
		const struct piece *from = &b->piece[f->piece];

		*p = (struct piece){from->at + skip, from->len - skip};
		p += p->len > 0;
		for (i = 1; i < f->shape.n_pieces; i++)
			*p++ = from[i];
		if (at == h->last)
			break;
		at = g->next[at];
		f = &b->frame[at];
		skip = h->s.hdr_len - FRAME_HEAD;
	}
	to->piece = b->n_pieces;
	to->shape.n_pieces = p - &b->piece[b->n_pieces];
	b->n_pieces = p - b->piece;
}

/* Headers and offload of the large frame, as offload_check() would leave them. */
static void rewrite(struct gro *g, const struct held *h)
{
	const struct segment *s = &h->s;
	uint8_t *ip = s->at + s->l3_at, *tcp = s->at + s->l4_at;
	struct frame *f = &g->b->frame[h->first];
	uint32_t tcp_len = h->len - (s->l4_at - s->l3_at);
	uint16_t sum;

	if (s->v6) {
		put_u16(ip + IP6_PAYLOAD, h->len - IP6_LEN);
	} else {
		put_u16(ip + IP4_TOTAL, h->len);
		put_u16(ip + IP4_CHECK, 0);
		sum = ~ip4_sum(ip);
		memcpy(ip + IP4_CHECK, &sum, sizeof(sum));
	}
	tcp[TCP_FLAGS] |= h->end_flags;
	sum = csum_fold(pseudo_sum(s, tcp_len));
	memcpy(tcp + TCP_CHECK, &sum, sizeof(sum));
	memcpy(f->head + FRAME_HEAD_ROOM, s->at, FRAME_HEAD);
	f->len = s->l3_at + h->len;
	f->offload = (struct frame_offload){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = s->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = s->hdr_len,
		.gso_size = s->payload,
		.csum_start = s->l4_at,
		.csum_offset = TCP_CHECK,
	};
	if (tcp[TCP_FLAGS] & TCP_CWR)
		f->offload.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
}

/* Nothing will be joined to the held frame any more. */
static void end(struct gro *g, struct held *h)
{
	unsigned at;

	g->used &= ~(1ull << (h - g->held));
	if (h->n == 1)
		return;
	string_pieces(g, h);
	rewrite(g, h);
	for (at = h->first; at != h->last;) {
		at = g->next[at];
		g->b->frame[at].len = 0; /* gone: as short as no frame is */
	}
}

static void end_all(struct gro *g)
{
	while (g->used)
		end(g, &g->held[__builtin_ctzll(g->used)]);
}

/* Frame @i may be the first of a large one. */
static void hold(struct gro *g, unsigned slot, unsigned i, const struct segment *s, uint32_t hash)
{
	struct held *h = &g->held[slot];

	if (g->used >> slot & 1)
		end(g, h);
	g->used |= 1ull << slot;
	h->s = *s;
	h->hash = hash;
	h->next_seq = get_u32(s->at + s->l4_at + TCP_SEQ) + s->payload;
	h->len = s->hdr_len - s->l3_at + s->payload;
	h->first = h->last = i;
	h->n = 1;
	h->end_flags = 0;
	h->counts = false;
	h->verified = false;
}

static void take(struct gro *g, unsigned i, const struct segment *s)
{
	unsigned flags = s->at[s->l4_at + TCP_FLAGS], slot;
	uint32_t hash;
	struct held *h;

	if (!s->payload && !g->used)
		return; /* nothing but acknowledgements */
	hash = hash_of(s);
	h = find(g, s, hash, &slot);
	if (h && join(g, h, i, s)) {
		if (s->payload < h->s.payload || flags & (TCP_FIN | TCP_PSH))
			end(g, h);
		return;
	}
	if (h)
		end(g, h);
	if (s->payload && !(flags & (TCP_FIN | TCP_PSH)) &&
	    (!(flags & TCP_CWR) || g->takes & OFFLOAD_ECN))
		hold(g, h ? h - g->held : slot, i, s, hash);
}

/* Closes up the frames that are still there. */
static void close_up(struct batch *b, unsigned first)
{
	unsigned i, n = first;

	for (i = first; i < b->n; i++) {
		if (!b->frame[i].len)
			continue;
		if (i != n) {
			b->frame[n] = b->frame[i];
			b->hash[n] = b->hash[i];
		}
		n++;
	}
	b->n = n;
}

unsigned gro_join(struct batch *b, unsigned first, uint32_t takes)
{
	struct segment s;
	struct gro g;
	unsigned i;

	if (b->n - first < 2 || !(takes & (OFFLOAD_TSO4 | OFFLOAD_TSO6)))
		return 0;
	g.b = b;
	g.takes = takes;
	g.used = 0;
	g.n_joined = 0;
	g.room = BATCH_PIECES - b->n_pieces;
	for (i = first; i < b->n; i++) {
		enum kind kind = look_at(b, &b->frame[i], &s);

		if (kind == KIND_UNKNOWN)
			end_all(&g);
		else if (kind == KIND_TCP && takes & (s.v6 ? OFFLOAD_TSO6 : OFFLOAD_TSO4))
			take(&g, i, &s);
	}
	end_all(&g);
	if (g.n_joined)
		close_up(b, first);
	return g.n_joined;
}
