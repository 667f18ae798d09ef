/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What comes of frames that are finished, against a reference that goes by the definitions. */
#include <stdio.h>

#include "check.h"
#include "offload/cutter.h"
#include "unit/offload_rig.h"

static struct batch b;
static struct pkt p;

/*
 * The reference: cut @k of a frame, made from its flat bytes, one byte after the other.
 */
struct want {
	uint8_t at[80000];
	uint32_t len;
	struct frame_offload offload;
	bool last;
};

static bool is_gso(void)
{
	return p.offload.gso_type != VIRTIO_NET_HDR_GSO_NONE;
}

static uint32_t kinds(void)
{
	uint32_t all = OFFLOAD_CSUM;

	switch (p.offload.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		all |= OFFLOAD_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		all |= OFFLOAD_TSO6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP:
		all |= OFFLOAD_UFO;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		all |= p.ip6 ? OFFLOAD_USO6 : OFFLOAD_USO4;
		break;
	}
	return p.offload.gso_type & VIRTIO_NET_HDR_GSO_ECN ? all | OFFLOAD_ECN : all;
}

static void want_l4_check(struct want *w, uint32_t takes)
{
	uint8_t proto = p.tcp ? IPPROTO_TCP : IPPROTO_UDP;
	uint8_t *check = w->at + p.l4 + p.offload.csum_offset;
	uint32_t sum = slow_pseudo(w->at + p.l3, p.ip6, p.dst, proto, w->len - p.l4);

	if (takes & OFFLOAD_CSUM) {
		pkt_put16(check, sum);
		w->offload = (struct frame_offload){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						    .csum_start = p.l4,
						    .csum_offset = p.offload.csum_offset};
		return;
	}
	pkt_put16(check, 0);
	pkt_put16(check, slow_finish(slow_add(sum, w->at + p.l4, w->len - p.l4)));
}

static void want_l3(struct want *w)
{
	uint8_t *ip = w->at + p.l3;

	if (p.ip6) {
		pkt_put16(ip + 4, w->len - p.l3 - 40);
		return;
	}
	pkt_put16(ip + 2, w->len - p.l3);
	pkt_put16(ip + 10, 0);
	pkt_put16(ip + 10, (uint16_t)~slow_add(0, ip, (ip[0] & 15) * 4));
}

/* TCP segments and UDP datagrams. */
static void want_segment(struct want *w, unsigned k, uint32_t takes)
{
	uint32_t from = p.end + k * p.offload.gso_size, n = p.len - from;
	uint8_t *l4 = w->at + p.l4;

	w->last = n <= p.offload.gso_size;
	if (!w->last)
		n = p.offload.gso_size;
	memcpy(w->at, p.at, p.end);
	memcpy(w->at + p.end, p.at + from, n);
	w->len = p.end + n;
	if (!p.ip6)
		pkt_put16(w->at + p.l3 + 4, pkt_get16(p.at + p.l3 + 4) + k);
	if (p.tcp) {
		pkt_put32(l4 + 4, 0xffffff00 + k * p.offload.gso_size);
		if (!w->last)
			l4[13] &= ~0x09;
		if (k)
			l4[13] &= ~0x80;
	} else {
		pkt_put16(l4 + 4, w->len - p.l4);
	}
	want_l3(w);
	want_l4_check(w, takes);
}

/* Where the part of an IPv6 packet begins that can be fragmented, and whose next header says so. */
static uint32_t find_fragmentable(uint32_t *next_at)
{
	uint32_t at = p.l3 + 40, field = p.l3 + 6, best = at;

	*next_at = field;
	while (at < p.l4) {
		uint8_t type = p.at[field];

		field = at;
		at += (p.at[at + 1] + 1) * 8;
		if (type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING) {
			best = at;
			*next_at = field;
		}
	}
	return best;
}

/* The complete datagram is what is fragmented. */
static void want_fragment(struct want *w, unsigned k)
{
	static uint8_t whole[80000];
	uint32_t size = p.offload.gso_size & ~7u, begin, next_at = 0, from, n, ext;
	uint8_t *frag;

	memcpy(whole, p.at, p.len);
	pkt_put16(whole + p.l4 + 6, 0);
	pkt_put16(whole + p.l4 + 6, slow_finish(slow_add(slow_pseudo(whole + p.l3, p.ip6, p.dst,
								     IPPROTO_UDP, p.len - p.l4),
							 whole + p.l4, p.len - p.l4)));
	begin = p.ip6 ? find_fragmentable(&next_at) : p.l4;
	ext = p.l4 - begin;
	from = k ? begin + ext + k * size : begin;
	n = k ? size : ext + size;
	w->last = n >= p.len - from;
	if (w->last)
		n = p.len - from;
	memcpy(w->at, whole, begin);
	frag = w->at + begin;
	if (p.ip6) {
		memset(frag, 0, 8);
		frag[0] = whole[next_at];
		w->at[next_at] = IPPROTO_FRAGMENT;
		pkt_put16(frag + 2, (from - begin) | !w->last);
		frag += 8;
	} else {
		pkt_put16(w->at + p.l3 + 6, (from - begin) / 8 | (w->last ? 0 : 0x2000));
	}
	memcpy(frag, whole + from, n);
	w->len = frag + n - w->at;
	want_l3(w);
}

static void want_cut(struct want *w, unsigned k, uint32_t takes)
{
	w->offload = (struct frame_offload){0};
	w->last = true;
	if (!(kinds() & ~takes)) {
		memcpy(w->at, p.at, p.len);
		w->len = p.len;
		w->offload = p.offload;
	} else if (!is_gso()) {
		memcpy(w->at, p.at, p.len);
		w->len = p.len;
		want_l4_check(w, takes);
	} else if (p.offload.gso_type == VIRTIO_NET_HDR_GSO_UDP) {
		want_fragment(w, k);
	} else {
		want_segment(w, k, takes);
	}
}

/* Writes the current cut into spans of @first bytes, then of @each (0: the rest); flat in @to. */
static void write_cut(struct cutter *c, uint8_t *to, uint32_t first, uint32_t each)
{
	static struct span span[2048];
	uint32_t at, n = first, i;

	for (at = i = 0; at < c->len; at += n, i++, n = each) {
		if (!n || n > c->len - at || i == 2047)
			n = c->len - at;
		span[i] = (struct span){malloc(n), n};
	}
	cutter_write(c, span, i);
	for (at = n = 0; n < i; n++) {
		memcpy(to + at, span[n].at, span[n].len);
		at += span[n].len;
		free(span[n].at);
	}
}

static uint32_t last_id;

/* The one field that the reference can't know: the same in all fragments, another each time. */
static void take_id(struct want *w, const uint8_t *got, unsigned k)
{
	uint32_t next_at, at = find_fragmentable(&next_at), id;

	memcpy(&id, got + at + 4, sizeof(id));
	if (!k)
		CU_ASSERT_NOT_EQUAL_FATAL(id, last_id);
	if (k)
		CU_ASSERT_EQUAL_FATAL(id, last_id);
	last_id = id;
	memcpy(w->at + at + 4, &id, sizeof(id));
}

/* Cuts p as @f lends it, for a peer that takes @takes, into spans, and compares each. */
static void check_cuts(const struct frame *f, uint32_t takes, uint32_t first, uint32_t each)
{
	static struct want w;
	static uint8_t got[80000];
	struct cutter c;
	uint32_t longest = 0;
	unsigned k = 0;

	cutter_open(&c, &b, f, takes);
	w.last = false;
	while (cutter_next(&c)) {
		CU_ASSERT_FALSE_FATAL(w.last);
		want_cut(&w, k, takes);
		CU_ASSERT_EQUAL_FATAL(c.len, w.len);
		CU_ASSERT_EQUAL_FATAL(memcmp(&c.offload, &w.offload, sizeof(w.offload)), 0);
		write_cut(&c, got, first, each);
		if (p.ip6 && p.offload.gso_type == VIRTIO_NET_HDR_GSO_UDP && kinds() & ~takes)
			take_id(&w, got, k);
		if (memcmp(got, w.at, w.len)) {
			uint32_t at = 0;

			while (got[at] == w.at[at])
				at++;
			printf("cut %u of gso_type %u: byte %u (l3 %u, l4 %u, end %u) %02x for "
			       "%02x\n",
			       k, p.offload.gso_type, at, p.l3, p.l4, p.end, got[at], w.at[at]);
		}
		CU_ASSERT_EQUAL_FATAL(memcmp(got, w.at, w.len), 0);
		longest = c.len > longest ? c.len : longest;
		k++;
	}
	CU_ASSERT_TRUE_FATAL(w.last);
	if (kinds() & ~takes)
		CU_ASSERT_EQUAL_FATAL(longest, offload_cut_len(f));
}

static void check_spec(const struct spec *s, uint32_t piece, uint32_t span)
{
	static const uint32_t takes[] = {0, OFFLOAD_CSUM, OFFLOAD_ALL,
					 OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6,
					 OFFLOAD_CSUM | OFFLOAD_UFO};
	struct frame *f;
	unsigned i;

	pkt_make(&p, s);
	f = pkt_lend(&b, &p, piece, piece * 3);
	CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
	p.offload = f->offload;
	for (i = 0; i < sizeof(takes) / sizeof(*takes); i++)
		check_cuts(f, takes[i], span, span * 2);
}

static void each_shape(struct spec s)
{
	static const uint32_t piece[] = {0, 1, 7, 333}, span[] = {0, 1, 13, 1000};
	unsigned i, k;

	for (s.vlans = 0; s.vlans <= 2; s.vlans++) {
		for (i = 0; i < 4; i++)
			for (k = 0; k < 4; k++)
				check_spec(&s, piece[i], span[k]);
	}
}

static void each_header(struct spec s)
{
	for (s.ext = 0; s.ip6 && s.ext < 32; s.ext++)
		if ((s.ext & (EXT_ROUTE | EXT_ROUTED)) != (EXT_ROUTE | EXT_ROUTED))
			each_shape(s);
	for (s.ip_options = 0; !s.ip6 && s.ip_options <= 40; s.ip_options += 20)
		each_shape(s);
}

static void test_tcp(void)
{
	struct spec s = {.tcp = true, .tcp_flags = 0x99, .payload = 4001};
	unsigned ip6, options;

	for (ip6 = 0; ip6 < 2; ip6++) {
		for (options = 0; options <= 40; options += 20) {
			s.ip6 = ip6;
			s.tcp_options = options;
			s.gso_type = ip6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
			s.gso_size = options == 20 ? 1001 : 1448;
			each_header(s);
			s.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
			each_header(s);
		}
	}
}

static void test_udp(void)
{
	struct spec s = {.payload = 4001, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4};
	unsigned ip6;

	for (ip6 = 0; ip6 < 2; ip6++) {
		s.ip6 = ip6;
		s.gso_size = 1001;
		each_header(s);
		s.gso_size = 1472;
		each_header(s);
	}
}

static void test_fragments(void)
{
	struct spec s = {.payload = 4001, .gso_type = VIRTIO_NET_HDR_GSO_UDP};
	unsigned ip6;

	for (ip6 = 0; ip6 < 2; ip6++) {
		s.ip6 = ip6;
		s.gso_size = 1480;
		each_header(s);
		s.gso_size = 1003;
		each_header(s);
	}
}

static void test_checksum(void)
{
	struct spec s = {.payload = 1001};
	unsigned i;

	for (i = 0; i < 4; i++) {
		s.ip6 = i & 1;
		s.tcp = i & 2;
		each_header(s);
	}
}

/* Anywhere in the frame, at odd places too: the sum of all from csum_start on, and the field's. */
static void test_anywhere(void)
{
	struct spec s = {.payload = 301};
	static uint8_t got[80000];
	unsigned start, offset;

	for (start = OFFLOAD_AT_MIN; start < 60; start++) {
		for (offset = 0; offset < 40; offset++) {
			struct frame *f;
			struct cutter c;

			pkt_make(&p, &s);
			p.offload.csum_start = start;
			p.offload.csum_offset = offset;
			f = pkt_lend(&b, &p, 17, 0);
			CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
			cutter_open(&c, &b, f, 0);
			CU_ASSERT_TRUE_FATAL(cutter_next(&c));
			CU_ASSERT_EQUAL(c.offload.flags, 0);
			write_cut(&c, got, start & 1 ? 50 : 0, 0);
			CU_ASSERT_FALSE(cutter_next(&c));
			pkt_put16(p.at + start + offset,
				  slow_finish(slow_add(0, p.at + start, p.len - start)));
			CU_ASSERT_EQUAL_FATAL(memcmp(got, p.at, p.len), 0);
		}
	}
}

/* A guest that left the length out of its partial checksum is right all the same. */
static void test_no_length(void)
{
	struct spec s = {.payload = 4001, .no_length = true};
	unsigned i;

	for (i = 0; i < 6; i++) {
		static const uint8_t type[] = {VIRTIO_NET_HDR_GSO_TCPV4,  VIRTIO_NET_HDR_GSO_TCPV6,
					       VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP_L4,
					       VIRTIO_NET_HDR_GSO_UDP,    VIRTIO_NET_HDR_GSO_UDP};

		s.ip6 = i & 1;
		s.tcp = i < 2;
		s.gso_type = type[i];
		s.gso_size = 1400;
		each_shape(s);
	}
}

/*
 * Sums of 32 bits that are just below 2^32, before length, protocol and ID are added: of the pseudo
 * header's addresses, then of the IPv4 header.
 */
static void test_carry(void)
{
	static const uint8_t addresses[] = {0x45, 0xd0, 0x23, 0x5a, 0x6b, 0x2f, 0xdc, 0xa5};
	struct spec s = {.tcp = true, .payload = 4000, .gso_type = 1, .gso_size = 1000};
	uint32_t word, k, i;
	struct frame *f;
	uint64_t sum;
	uint8_t *ip;

	for (k = 0; k < 2; k++) {
		pkt_make(&p, &s);
		ip = p.at + p.l3;
		memcpy(ip + 12, addresses, 8);
		for (i = sum = 0; k && i < 16; i += 4) {
			memcpy(&word, ip + i, 4);
			if (!i) /* without what differs from cut to cut */
				memset((uint8_t *)&word + 2, 0, 2);
			if (i == 4)
				memset(&word, 0, 2);
			if (i == 8)
				memset((uint8_t *)&word + 2, 0, 2);
			sum += word;
		}
		word = ~(uint32_t)((sum >> 32) + (uint32_t)sum) - 0x10;
		if (k)
			memcpy(ip + 16, &word, 4);
		memcpy(p.dst, ip + 16, 4);
		pkt_put16(ip + 10, 0);
		pkt_put16(ip + 10, (uint16_t)~slow_add(0, ip, 20));
		pkt_l4(&p, &s);
		f = pkt_lend(&b, &p, 0, 0);
		CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
		p.offload = f->offload;
		check_cuts(f, 0, 0, 0);
		check_cuts(f, OFFLOAD_CSUM, 0, 0);
	}
}

/* A sum of 0 is written as 0xffff: 0 would say that there is no checksum (RFC 768). */
static void test_zero_sum(void)
{
	struct spec s = {.payload = 2000, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 1000};
	unsigned i, k, check;

	for (i = 0; i < 6; i++) {
		s.ip6 = i & 1;
		s.gso_type = i < 2 ? VIRTIO_NET_HDR_GSO_UDP_L4 : i < 4 ? VIRTIO_NET_HDR_GSO_UDP : 0;
		pkt_make(&p, &s);
		for (k = 0; k < 2; k++) {
			struct frame *f = pkt_lend(&b, &p, 11, 0);
			static uint8_t got[80000];
			struct cutter c;

			/* the second time, the first cut's payload makes up for its checksum */
			CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
			cutter_open(&c, &b, f, 0);
			CU_ASSERT_TRUE_FATAL(cutter_next(&c));
			write_cut(&c, got, 0, 0);
			check = pkt_get16(got + p.l4 + 6 +
					  (s.ip6 && s.gso_type == VIRTIO_NET_HDR_GSO_UDP ? 8 : 0));
			CU_ASSERT_EQUAL(check == 0xffff, k);
			pkt_put16(p.at + p.end + 10, slow_add(slow_add(0, p.at + p.end + 10, 2),
							      (uint8_t[]){check >> 8, check}, 2));
		}
	}
}

/* Cuts that found no room: those after them are what they would have been. */
static void test_passed_over(void)
{
	struct spec s = {.payload = 5003};
	static const uint8_t type[] = {VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_HDR_GSO_UDP_L4,
				       VIRTIO_NET_HDR_GSO_UDP};
	static struct want w;
	static uint8_t got[80000];
	unsigned i, mask, k;

	for (i = 0; i < 6; i++) {
		s.ip6 = i < 3;
		s.gso_type = type[i % 3];
		s.tcp = !(i % 3);
		if (!s.ip6 && s.tcp)
			s.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		s.gso_size = 1000;
		pkt_make(&p, &s);
		for (mask = 0; mask < 64; mask++) {
			struct frame *f = pkt_lend(&b, &p, 9, 701);
			struct cutter c;

			CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
			p.offload = f->offload;
			cutter_open(&c, &b, f, 0);
			last_id = 0;
			for (k = 0; cutter_next(&c); k++) {
				if (mask >> k & 1)
					continue;
				want_cut(&w, k, 0);
				write_cut(&c, got, 3, 500);
				if (s.ip6 && s.gso_type == VIRTIO_NET_HDR_GSO_UDP)
					take_id(&w, got, last_id ? 1 : 0);
				CU_ASSERT_EQUAL_FATAL(c.len, w.len);
				CU_ASSERT_EQUAL_FATAL(memcmp(got, w.at, w.len), 0);
			}
			CU_ASSERT_EQUAL(k, 6);
		}
	}
}

static struct spec random_spec(void)
{
	static const uint8_t udp[] = {VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_UDP,
				      VIRTIO_NET_HDR_GSO_UDP_L4};
	struct spec s = {.ip6 = random() & 1,
			 .tcp = random() & 1,
			 .vlans = random() % 3,
			 .ext = random() % 32,
			 .ip_options = random() % 11 * 4,
			 .tcp_options = random() % 11 * 4,
			 .tcp_flags = random(),
			 .gso_type = udp[random() % 3]};

	if ((s.ext & (EXT_ROUTE | EXT_ROUTED)) == (EXT_ROUTE | EXT_ROUTED))
		s.ext &= ~EXT_ROUTED;
	if (s.tcp && s.gso_type)
		s.gso_type = (s.ip6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4) |
			     (random() & VIRTIO_NET_HDR_GSO_ECN);
	s.payload = random() % (random() % 8 ? 3000 : 65000);
	s.gso_size = 8 + s.payload / 500 + random() % (s.payload + 100);
	return s;
}

/* All of it, in any combination; the seed is printed for the day when it fails. */
static void test_random(void)
{
	unsigned seed = getenv("SEED") ? strtoul(getenv("SEED"), NULL, 0) : 1, round;
	struct spec s;
	struct frame *f;

	srandom(seed);
	printf("seed %u\n", seed);
	for (round = 0; round < 3000; round++) {
		s = random_spec();
		pkt_make(&p, &s);
		f = pkt_lend(&b, &p, random() % 100, random() % 5000);
		CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
		p.offload = f->offload;
		check_cuts(f, random() & OFFLOAD_ALL, random() % 100, random() % 2000);
	}
}

/* The guest rewrites headers after they were checked: wrong frames, but within their bounds. */
static void test_rewritten(void)
{
	static uint8_t got[80000];
	struct spec s;
	struct frame *f;
	struct cutter c;
	unsigned round, i;

	srandom(2);
	for (round = 0; round < 3000; round++) {
		s = random_spec();
		s.payload %= 3000;
		s.gso_size = 8 + s.payload / 500;
		pkt_make(&p, &s);
		f = pkt_lend(&b, &p, random() % 100, random() % 2000);
		CU_ASSERT_TRUE_FATAL(offload_check(&b, f, OFFLOAD_ALL));
		for (i = 0; i < b.n_pieces && i < 20; i++)
			memset(pkt_memory[i], random(), b.piece[i].len);
		cutter_open(&c, &b, f, random() & OFFLOAD_CSUM);
		for (i = 0; cutter_next(&c); i++) {
			CU_ASSERT_TRUE_FATAL(c.len <= f->len + 8);
			write_cut(&c, got, random() % 100, random() % 2000);
			/* head[] is delivered as it was decided on, but for lengths and the like */
			CU_ASSERT_EQUAL_FATAL(memcmp(got, p.at, 14), 0);
		}
		CU_ASSERT_TRUE(i <= OFFLOAD_CUTS_MAX);
	}
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"tcp", test_tcp},
		{"udp", test_udp},
		{"fragments", test_fragments},
		{"checksum", test_checksum},
		{"anywhere", test_anywhere},
		{"no_length", test_no_length},
		{"carry", test_carry},
		{"zero_sum", test_zero_sum},
		{"passed_over", test_passed_over},
		{"random", test_random},
		{"rewritten", test_rewritten},
		{},
	};
	int status = check_main("cutter", tests, argc, argv);

	pkt_drop_memory();
	return status;
}
