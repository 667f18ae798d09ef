/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Cuts a frame into what the out side's peer takes, and fills checksums in while copying. */
#include "offload/cutter.h"

#include "offload/csum.h"
#include "offload/fragment.h"
#include "offload/parse.h"

/*
 * Theory of operation
 *
 * The headers are copied once, in cutter_open(), into hdr[]: that copy is parsed, and goes out with
 * every cut. Fields that differ from cut to cut are 0 in the sums that are made there, so that a
 * cut's checksum is such a sum, some words, and the payload's, which is summed while it is copied.
 * Then the headers go out, and those words are stored into them.
 *
 * What the in side checked (offload_check()) bounds everything: csum_start, hdr_len and gso_size
 * are in the frame's private part. Where the bytes in hdr[] aren't those that it looked at, because
 * the guest has rewritten them meanwhile, the frames are the guest's own mistake.
 */

enum cut_kind {
	CUT_NOTHING,  /* the frame as it is */
	CUT_CHECKSUM, /* the frame, its checksum completed */
	CUT_TCP,
	CUT_UDP,      /* datagrams of their own (USO) */
	CUT_FRAGMENTS /* one datagram in IP fragments (UFO) */
};

static void advance(struct frame_stream *s, uint32_t n)
{
	s->at += n;
	s->left -= n;
	while (!s->left && s->n_pieces) {
		s->at = s->piece->at;
		s->left = s->piece->len;
		s->piece++;
		s->n_pieces--;
	}
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void skip_payload(struct cutter *c, uint32_t n)
{
	while (n) {
		uint32_t part = least(n, c->payload.left);

		advance(&c->payload, part);
		n -= part;
	}
}

/* Sums the payload that is left, which stays there. */
static uint64_t sum_payload(const struct cutter *c)
{
	struct frame_stream s = c->payload;
	uint64_t sum = 0;
	uint32_t at = 0;

	while (at < c->payload_left) {
		uint32_t part = least(c->payload_left - at, s.left);

		sum += csum_at(csum_of(s.at, part), at);
		at += part;
		advance(&s, part);
	}
	return sum;
}

/* Takes @n bytes from the front of the frame into hdr[]. */
static void take_headers(struct cutter *c, uint32_t n)
{
	stream_open(&c->payload, c->b, c->f);
	stream_copy(&c->payload, c->hdr, n);
	advance(&c->payload, 0);
	c->hdr_len = n;
	c->payload_left = c->f->len - n;
}

static uint32_t fold32(uint64_t sum)
{
	return csum_fold(sum);
}

/* Of a length or the like, as a word of a header has it. */
static uint16_t word(uint32_t value)
{
	return htobe16((uint16_t)value);
}

/*
 * The pseudo header's sum without its length (RFC 9293, 3.1; RFC 8200, 8.1). A routing header that
 * isn't done holds the destination, in a way that depends on its type: there the sum is the
 * guest's, who has counted the length of the whole.
 */
static uint64_t sum_pseudo(const struct cutter *c, uint8_t proto, const uint8_t *check)
{
	const uint8_t *ip = c->hdr + c->l3_at;
	uint16_t guests;

	if (!c->is_ip6)
		return (uint64_t)csum_of(ip + IP4_ADDRS, 8) + word(proto);
	if (!fragment_is_routed(c->hdr, c->l3_at, c->l4_at))
		return (uint64_t)csum_of(ip + IP6_ADDRS, 32) + word(proto);
	memcpy(&guests, check, sizeof(guests));
	return guests + (uint64_t)(uint16_t)~word(c->f->len - c->l4_at);
}

static void open_ip4(struct cutter *c)
{
	uint8_t *ip = c->hdr + c->l3_at;

	c->id = get_u16(ip + IP4_ID);
	put_u16(ip + IP4_TOTAL, 0);
	put_u16(ip + IP4_CHECK, 0);
	if (c->kind == CUT_FRAGMENTS)
		put_u16(ip + IP4_FRAGMENT, 0);
	else
		put_u16(ip + IP4_ID, 0);
	c->l3_sum = fold32(csum_of(ip, c->l4_at - c->l3_at));
}

static void open_tcp(struct cutter *c)
{
	uint8_t *tcp = c->hdr + c->l4_at;
	uint64_t pseudo = sum_pseudo(c, IPPROTO_TCP, tcp + TCP_CHECK);

	c->seq = get_u32(tcp + TCP_SEQ);
	c->tcp_flags = tcp[TCP_FLAGS];
	put_u32(tcp + TCP_SEQ, 0);
	tcp[TCP_FLAGS] = 0;
	put_u16(tcp + TCP_CHECK, 0);
	if (c->offload.flags)
		c->l4_sum = fold32(pseudo);
	else
		c->l4_sum = fold32(pseudo + csum_of(tcp, c->hdr_len - c->l4_at));
}

static void open_udp(struct cutter *c)
{
	uint8_t *udp = c->hdr + c->l4_at;
	uint64_t pseudo = sum_pseudo(c, IPPROTO_UDP, udp + UDP_CHECK);

	put_u16(udp + UDP_LENGTH, 0);
	put_u16(udp + UDP_CHECK, 0);
	if (c->offload.flags)
		c->l4_sum = fold32(pseudo);
	else
		c->l4_sum = fold32(pseudo + csum_of(udp, UDP_LEN));
}

/* The whole datagram's header is made here: it goes out once, with the first fragment. */
static void open_fragments(struct cutter *c)
{
	uint8_t *udp = c->hdr + c->l4_at;
	uint32_t len = c->f->len - c->l4_at;
	uint64_t sum = sum_pseudo(c, IPPROTO_UDP, udp + UDP_CHECK) + word(len);
	uint16_t check;

	put_u16(udp + UDP_LENGTH, len);
	put_u16(udp + UDP_CHECK, 0);
	sum += csum_of(udp, UDP_LEN) + sum_payload(c);
	check = csum_finish(sum);
	memcpy(udp + UDP_CHECK, &check, sizeof(check));

	if (c->is_ip6) {
		c->fragment_at = fragment_insert(c->hdr, c->l3_at, c->l4_at, c->hdr_len);
		c->l4_at += IP6_FRAGMENT_LEN;
		c->hdr_len += IP6_FRAGMENT_LEN;
	}
	c->size &= ~7u;
}

static void open_gso(struct cutter *c)
{
	const struct frame_offload *o = &c->f->offload;

	c->l3_at = frame_l3(c->f);
	c->l4_at = o->csum_start;
	c->is_ip6 = frame_type(c->f, c->l3_at) == ETH_P_IPV6;
	c->size = o->gso_size;
	take_headers(c, o->hdr_len);
	if (c->kind != CUT_FRAGMENTS && c->takes & OFFLOAD_CSUM)
		c->offload = (struct frame_offload){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						    .csum_start = o->csum_start,
						    .csum_offset = o->csum_offset};
	if (!c->is_ip6)
		open_ip4(c);
	c->sums = c->kind != CUT_FRAGMENTS && !c->offload.flags;
	if (c->kind == CUT_TCP)
		open_tcp(c);
	else if (c->kind == CUT_UDP)
		open_udp(c);
	else
		open_fragments(c);
}

static uint8_t kind_of(const struct frame_offload *o)
{
	switch (o->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return CUT_CHECKSUM;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return CUT_UDP;
	case VIRTIO_NET_HDR_GSO_UDP:
		return CUT_FRAGMENTS;
	default:
		return CUT_TCP;
	}
}

void cutter_open(struct cutter *c, const struct batch *b, const struct frame *f, uint32_t takes)
{
	const struct frame_offload *o = &f->offload;

	memset(c, 0, offsetof(struct cutter, hdr));
	c->b = b;
	c->f = f;
	c->takes = takes;
	if (offload_fits(b, f, takes) || !(o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
		c->kind = CUT_NOTHING;
		if (o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM || takes & OFFLOAD_CSUM)
			c->offload = *o;
		take_headers(c, 0);
		c->size = f->len;
		return;
	}
	c->kind = kind_of(o);
	if (c->kind != CUT_CHECKSUM) {
		open_gso(c);
		return;
	}
	c->sums = true;
	take_headers(c, o->csum_start + o->csum_offset + 2);
	c->size = c->payload_left;
	c->l4_sum = csum_of(c->hdr + o->csum_start, o->csum_offset + 2);
}

bool cutter_next(struct cutter *c)
{
	uint32_t size = c->size;

	if (c->now) /* not written */
		skip_payload(c, c->now);
	if (c->n && !c->payload_left)
		return false;
	if (c->kind == CUT_FRAGMENTS) {
		if (!c->n)
			size -= UDP_LEN;
		else
			c->hdr_len = c->is_ip6 ? c->fragment_at + IP6_FRAGMENT_LEN : c->l4_at;
	}
	if (c->n)
		c->done += c->size;
	c->now = least(size, c->payload_left);
	c->payload_left -= c->now;
	c->is_last = !c->payload_left;
	c->len = c->hdr_len + c->now;
	c->n++;
	return true;
}

/* Where a cut is written: the rest of a span, and those after it. */
struct sink {
	uint8_t *at;
	uint32_t left;
	const struct span *next;
	unsigned n;
};

static void sink_skip(struct sink *s, uint32_t n)
{
	for (;;) {
		uint32_t part = least(n, s->left);

		s->at += part;
		s->left -= part;
		n -= part;
		if (s->left || !s->n)
			return;
		s->at = s->next->at;
		s->left = s->next->len;
		s->next++;
		s->n--;
	}
}

static uint32_t copy_part(uint8_t *to, const uint8_t *from, uint32_t n, bool sums)
{
	if (sums)
		return csum_copy(to, from, n);
	copy_piece(to, from, n);
	return 0;
}

/* Copies the cut's payload, and returns its sum if @sums. */
static uint64_t write_payload(struct cutter *c, struct sink to, bool sums)
{
	uint32_t n = c->now, at = 0;
	uint64_t sum = 0;

	c->now = 0;
	while (at < n) {
		uint32_t part = least(least(n - at, c->payload.left), to.left);

		sum += csum_at(copy_part(to.at, c->payload.at, part, sums), at);
		at += part;
		advance(&c->payload, part);
		sink_skip(&to, part);
	}
	return sum;
}

static void store_check(uint8_t *at, uint16_t check)
{
	memcpy(at, &check, sizeof(check));
}

static void finish_ip4(const struct cutter *c, uint8_t *ip)
{
	uint32_t total = c->len - c->l3_at, fragment;
	uint64_t sum = c->l3_sum + word(total);

	put_u16(ip + IP4_TOTAL, total);
	if (c->kind == CUT_FRAGMENTS) {
		fragment = c->done / 8 | (c->is_last ? 0 : IP4_MF);
		put_u16(ip + IP4_FRAGMENT, fragment);
		sum += word(fragment);
	} else {
		put_u16(ip + IP4_ID, c->id + c->n - 1);
		sum += word(c->id + c->n - 1);
	}
	store_check(ip + IP4_CHECK, ~csum_fold(sum));
}

static void finish_ip6(const struct cutter *c, uint8_t *hdr)
{
	put_u16(hdr + c->l3_at + IP6_PAYLOAD, c->len - c->l3_at - IP6_LEN);
	if (c->kind == CUT_FRAGMENTS)
		fragment_set(hdr + c->fragment_at,
			     c->n == 1 ? 0 : c->l4_at - c->fragment_at - IP6_FRAGMENT_LEN + c->done,
			     !c->is_last);
}

static void finish_tcp(const struct cutter *c, uint8_t *tcp, uint64_t sum)
{
	uint8_t flags = c->tcp_flags;
	uint32_t seq = htobe32(c->seq + c->done);

	if (!c->is_last)
		flags &= ~(TCP_FIN | TCP_PSH);
	if (c->n > 1)
		flags &= ~TCP_CWR;
	memcpy(tcp + TCP_SEQ, &seq, sizeof(seq));
	tcp[TCP_FLAGS] = flags;
	sum += c->l4_sum + word(c->len - c->l4_at);
	if (c->offload.flags)
		store_check(tcp + TCP_CHECK, csum_fold(sum));
	else
		store_check(tcp + TCP_CHECK, csum_finish(sum + seq + word(flags)));
}

static void finish_udp(const struct cutter *c, uint8_t *udp, uint64_t sum)
{
	uint16_t len = word(c->len - c->l4_at);

	memcpy(udp + UDP_LENGTH, &len, sizeof(len));
	sum += c->l4_sum + len;
	if (c->offload.flags)
		store_check(udp + UDP_CHECK, csum_fold(sum));
	else
		store_check(udp + UDP_CHECK, csum_finish(sum + len));
}

/* Stores into the headers at @hdr what is this cut's alone; @sum: the payload's. */
static void finish_headers(const struct cutter *c, uint8_t *hdr, uint64_t sum)
{
	const struct frame_offload *o = &c->f->offload;

	if (c->kind == CUT_NOTHING)
		return;
	if (c->kind == CUT_CHECKSUM) {
		sum = csum_at(fold32(sum), o->csum_offset);
		store_check(hdr + o->csum_start + o->csum_offset, csum_finish(c->l4_sum + sum));
		return;
	}
	if (c->is_ip6)
		finish_ip6(c, hdr);
	else
		finish_ip4(c, hdr + c->l3_at);
	if (c->kind == CUT_TCP)
		finish_tcp(c, hdr + c->l4_at, sum);
	else if (c->kind == CUT_UDP)
		finish_udp(c, hdr + c->l4_at, sum);
}

/* Headers and payload into one run of memory, the payload out of one piece: the usual case. */
static bool write_at_once(struct cutter *c, const struct span *to, bool sums)
{
	uint32_t n = c->now;
	uint64_t sum;

	if (to->len < c->len || c->payload.left < n)
		return false;
	c->now = 0;
	sum = copy_part(to->at + c->hdr_len, c->payload.at, n, sums);
	advance(&c->payload, n);
	/* Stores follow into what was just stored: what is read from hdr[] was stored long ago. */
	copy_piece(to->at, c->hdr, c->hdr_len);
	finish_headers(c, to->at, sum);
	return true;
}

void cutter_write(struct cutter *c, const struct span *to, unsigned n)
{
	struct sink s = {to->at, to->len, to + 1, n - 1}, body;
	uint32_t at, part;
	uint64_t sum;

	if (write_at_once(c, to, c->sums))
		return;
	sink_skip(&s, 0);
	body = s;
	sink_skip(&body, c->hdr_len);
	sum = write_payload(c, body, c->sums);
	finish_headers(c, c->hdr, sum);
	for (at = 0; at < c->hdr_len; at += part) {
		part = least(c->hdr_len - at, s.left);
		copy_piece(s.at, c->hdr + at, part);
		sink_skip(&s, part);
	}
}
