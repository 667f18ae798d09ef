/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What guests may ask: everything that isn't right is refused, and what is passed on is true. */
#include <stdarg.h>

#include "check.h"
#include "offload/cutter.h"
#include "offload/offload.h"
#include "unit/offload_rig.h"

static struct batch b;
static struct pkt p;

static const struct spec tcp4 = {
	.tcp = true, .payload = 4000, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448};
static const struct spec tcp6 = {.tcp = true,
				 .ip6 = true,
				 .payload = 4000,
				 .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
				 .gso_size = 1428};
static const struct spec uso4 = {
	.payload = 4000, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 1000};
static const struct spec uso6 = {
	.ip6 = true, .payload = 4000, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 1000};
static const struct spec ufo4 = {
	.payload = 4000, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1480};
static const struct spec ufo6 = {
	.ip6 = true, .payload = 4000, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1448};
static const struct spec *const all_gso[] = {&tcp4, &tcp6, &uso4, &uso6, &ufo4, &ufo6};
#define N_GSO 6

static uint64_t bits(int first, ...)
{
	uint64_t all = 0;
	va_list more;

	va_start(more, first);
	for (; first >= 0; first = va_arg(more, int))
		all |= 1ull << first;
	va_end(more);
	return all;
}

/* p as it is now, checked; what stands on the frame afterwards is in *f. */
static bool check(uint32_t asked)
{
	struct frame *f = pkt_lend(&b, &p, 5, 100);

	return offload_check(&b, f, asked);
}

/* Drains a cutter without writing anything; how many cuts there were. */
static unsigned count_cuts(const struct frame *f, uint32_t takes)
{
	struct cutter c;
	unsigned n = 0;

	cutter_open(&c, &b, f, takes);
	while (cutter_next(&c))
		n++;
	return n;
}

static void test_takes(void)
{
	uint64_t csum = 1ull << VIRTIO_NET_F_GUEST_CSUM;
	uint64_t all = bits(VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
			    VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_GUEST_USO4,
			    VIRTIO_NET_F_GUEST_USO6, -1);

	CU_ASSERT_EQUAL(offload_guest_takes(0), 0);
	CU_ASSERT_EQUAL(offload_guest_takes(csum), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_takes(all), 0);
	CU_ASSERT_EQUAL(offload_guest_takes(all | csum), OFFLOAD_ALL);
	CU_ASSERT_EQUAL(offload_guest_takes(csum | bits(VIRTIO_NET_F_GUEST_ECN, -1)), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_takes(
				csum | bits(VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO6, -1)),
			OFFLOAD_CSUM | OFFLOAD_ECN | OFFLOAD_TSO6);
	CU_ASSERT_EQUAL(offload_guest_takes(csum | bits(VIRTIO_NET_F_GUEST_USO6, -1)),
			OFFLOAD_CSUM | OFFLOAD_USO6);
	/* the other direction's bits mean nothing here */
	CU_ASSERT_EQUAL(offload_guest_takes(bits(VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4, -1)),
			0);
}

static void test_asks(void)
{
	uint64_t csum = 1ull << VIRTIO_NET_F_CSUM;
	uint64_t all = bits(VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_ECN,
			    VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_HOST_USO, -1);

	CU_ASSERT_EQUAL(offload_guest_asks(0), 0);
	CU_ASSERT_EQUAL(offload_guest_asks(csum), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_asks(all), 0);
	CU_ASSERT_EQUAL(offload_guest_asks(all | csum), OFFLOAD_ALL);
	CU_ASSERT_EQUAL(offload_guest_asks(csum | bits(VIRTIO_NET_F_HOST_ECN, -1)), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_asks(csum | bits(VIRTIO_NET_F_HOST_USO, -1)),
			OFFLOAD_CSUM | OFFLOAD_USO4 | OFFLOAD_USO6);
	CU_ASSERT_EQUAL(
		offload_guest_asks(bits(VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, -1)), 0);
}

/* 5.1.6.2.2: "The device MUST ignore flag bits that it does not recognize"; csum_* and the rest
 * mean nothing without NEEDS_CSUM, DATA_VALID is for the other direction. */
static void test_ignores(void)
{
	static const struct frame_offload none;
	unsigned flags;

	pkt_make(&p, &tcp4);
	for (flags = 0; flags < 256; flags++) {
		p.offload = (struct frame_offload){.flags = flags,
						   .hdr_len = 0xffff,
						   .gso_size = 0xffff,
						   .csum_start = 0xffff,
						   .csum_offset = 0xffff};
		if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
			CU_ASSERT_FALSE(check(OFFLOAD_ALL));
			continue;
		}
		CU_ASSERT_TRUE(check(0));
		CU_ASSERT_EQUAL(memcmp(&b.frame[0].offload, &none, sizeof(none)), 0);
		CU_ASSERT_TRUE(offload_fits(&b, &b.frame[0], 0));
	}
	pkt_make(&p, &tcp4);
	p.offload.flags = 0xff;
	CU_ASSERT_TRUE(check(OFFLOAD_ALL));
	CU_ASSERT_EQUAL(b.frame[0].offload.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

/* Every kind, allowed and not: a driver that asks for what it didn't negotiate (5.1.6.2.1). */
static void test_not_asked(void)
{
	static const uint32_t needs[N_GSO] = {OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_USO4,
					      OFFLOAD_USO6, OFFLOAD_UFO,  OFFLOAD_UFO};
	unsigned i;

	for (i = 0; i < N_GSO; i++) {
		pkt_make(&p, all_gso[i]);
		CU_ASSERT_TRUE(check(OFFLOAD_ALL));
		CU_ASSERT_TRUE(check(OFFLOAD_CSUM | needs[i]));
		CU_ASSERT_FALSE(check(OFFLOAD_ALL & ~needs[i]));
		CU_ASSERT_FALSE(check(needs[i]));
		CU_ASSERT_FALSE(check(0));
		p.offload.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
		CU_ASSERT_EQUAL(check(OFFLOAD_ALL), i < 2);
		CU_ASSERT_FALSE(check(OFFLOAD_ALL & ~OFFLOAD_ECN));
		p.offload.gso_type = 0;
		CU_ASSERT_TRUE(check(OFFLOAD_CSUM));
		CU_ASSERT_FALSE(check(0));
	}
}

/* "gso_type != NONE implies NEEDS_CSUM" (5.1.6.2.1), and there is no other type than the known. */
static void test_types(void)
{
	unsigned i, type;

	for (i = 0; i < N_GSO; i++) {
		pkt_make(&p, all_gso[i]);
		p.offload.flags = 0;
		CU_ASSERT_FALSE(check(OFFLOAD_ALL));
		p.offload.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		CU_ASSERT_FALSE(check(OFFLOAD_ALL));
		for (type = 0; type < 256; type++) {
			pkt_make(&p, all_gso[i]);
			p.offload.gso_type = type;
			/* both tunnel bits, one of them, or any other: not of this frame */
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL),
					type == 0 || type == all_gso[i]->gso_type ||
						(i < 2 && type == (all_gso[i]->gso_type | 0x80)) ||
						(i >= 2 && (type == VIRTIO_NET_HDR_GSO_UDP ||
							    type == VIRTIO_NET_HDR_GSO_UDP_L4)));
		}
	}
}

/* csum_start and csum_offset anywhere: what is passed lies within the frame. */
static void test_csum_bounds(void)
{
	struct spec s = {.payload = 600};
	uint32_t start, offset;

	pkt_make(&p, &s);
	for (start = 0; start < 700; start++) {
		for (offset = 0; offset < 700; offset += 1 + (start & 3)) {
			p.offload = (struct frame_offload){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
							   .csum_start = start,
							   .csum_offset = offset};
			CU_ASSERT_EQUAL_FATAL(check(OFFLOAD_CSUM),
					      start >= OFFLOAD_AT_MIN &&
						      start + offset + 2 <= OFFLOAD_HDR_MAX);
		}
	}
	for (start = 0; start < 2; start++) {
		p.len = 60;
		p.offload.csum_start = 34;
		p.offload.csum_offset = 24 + start;
		CU_ASSERT_EQUAL(check(OFFLOAD_CSUM), !start);
	}
	p.len = 35; /* and frames that are shorter than any of it */
	CU_ASSERT_FALSE(check(OFFLOAD_CSUM));
	p.len = 14;
	p.offload.csum_offset = 0;
	CU_ASSERT_FALSE(check(OFFLOAD_CSUM));
	p.offload.csum_start = 0xffff;
	p.offload.csum_offset = 0xffff;
	CU_ASSERT_FALSE(check(OFFLOAD_CSUM));
	p.offload.csum_offset = 1; /* wraps in 16 bits */
	CU_ASSERT_FALSE(check(OFFLOAD_CSUM));
}

/* Only the header's own place is right for segments. */
static void test_gso_csum(void)
{
	unsigned i, start, offset;

	for (i = 0; i < N_GSO; i++) {
		pkt_make(&p, all_gso[i]);
		for (start = 0; start < 100; start++) {
			p.offload.csum_start = start;
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), start == p.l4);
		}
		p.offload.csum_start = p.l4;
		for (offset = 0; offset < 30; offset++) {
			p.offload.csum_offset = offset;
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), offset == (p.tcp ? 16 : 6));
		}
	}
}

/* A header length from outside is never believed (5.1.6.4.1): it becomes the true one. */
static void test_hdr_len(void)
{
	static const uint16_t lies[] = {0, 1, 14, 33, 34, 54, 4000, 4096, 0xffff};
	unsigned i, k;

	for (i = 0; i < N_GSO; i++) {
		pkt_make(&p, all_gso[i]);
		for (k = 0; k < sizeof(lies) / sizeof(*lies); k++) {
			p.offload.hdr_len = lies[k];
			CU_ASSERT_TRUE(check(OFFLOAD_ALL));
			CU_ASSERT_EQUAL(b.frame[0].offload.hdr_len, p.end);
			CU_ASSERT_EQUAL(b.frame[0].offload.gso_size, all_gso[i]->gso_size);
		}
	}
	pkt_make(&p, &tcp4); /* not GSO: there is no such length */
	p.offload.gso_type = 0;
	CU_ASSERT_TRUE(check(OFFLOAD_ALL));
	CU_ASSERT_EQUAL(b.frame[0].offload.hdr_len, 0);
	CU_ASSERT_EQUAL(b.frame[0].offload.gso_size, 0);
}

static void test_gso_size(void)
{
	unsigned i, size;

	for (i = 0; i < N_GSO; i++) {
		bool ufo = all_gso[i]->gso_type == VIRTIO_NET_HDR_GSO_UDP;
		uint32_t payload = all_gso[i]->payload + (ufo ? 8 : 0);

		for (size = 0; size < 65536; size += size < 4100 ? 1 : 997) {
			uint32_t whole = ufo ? size & ~7u : size;
			bool right = whole && (payload + whole - 1) / whole <= OFFLOAD_CUTS_MAX;

			pkt_make(&p, all_gso[i]);
			p.offload.gso_size = size;
			CU_ASSERT_EQUAL_FATAL(check(OFFLOAD_ALL), right);
			if (!right)
				continue;
			CU_ASSERT_EQUAL_FATAL(b.frame[0].offload.gso_type,
					      size < payload ? all_gso[i]->gso_type : 0);
			CU_ASSERT_TRUE_FATAL(offload_cut_len(&b.frame[0]) <= p.len + 8);
			if (size < 20 || size > 3990)
				CU_ASSERT_EQUAL_FATAL(count_cuts(&b.frame[0], 0),
						      size < payload ? (payload + whole - 1) / whole
								     : 1);
		}
	}
}

/* Cut short anywhere: refused as long as the headers aren't whole. */
static void test_truncated(void)
{
	struct spec s;
	unsigned i;

	for (i = 0; i < N_GSO; i++) {
		s = *all_gso[i];
		s.ext = s.ip6 ? EXT_HOP | EXT_DEST | EXT_ROUTE | EXT_DEST_LAST : 0;
		s.ip_options = s.ip6 ? 0 : 40;
		s.tcp_options = 40;
		s.vlans = 2;
		pkt_make(&p, &s);
		for (p.len = p.end + 10; p.len >= FRAME_MIN; p.len--)
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), p.len >= p.end);
	}
}

/* Each header field that decides, with every value. */
static void test_headers_lie(void)
{
	unsigned i, v;

	for (i = 0; i < N_GSO; i++) {
		bool ip6 = all_gso[i]->ip6;

		for (v = 0; v < 256; v++) {
			pkt_make(&p, all_gso[i]);
			p.at[p.l3] = v;
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), ip6 ? v >> 4 == 6 : v == 0x45);
			pkt_make(&p, all_gso[i]);
			p.at[p.l3 + (ip6 ? 6 : 9)] = v;
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), v == (p.tcp ? 6 : 17));
			pkt_make(&p, all_gso[i]);
			p.at[p.l4 + 12] = v;
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), !p.tcp || v >> 4 >= 5);
			if (!ip6) {
				pkt_make(&p, all_gso[i]);
				p.at[p.l3 + 6] = v; /* fragments, and the reserved bit */
				CU_ASSERT_EQUAL(check(OFFLOAD_ALL), !(v & ~0x40));
			}
			pkt_make(&p, all_gso[i]);
			p.at[12] = v; /* Ethernet's type */
			CU_ASSERT_EQUAL(check(OFFLOAD_ALL), v == (ip6 ? 0x86 : 8));
		}
	}
}

/* An IPv4 header under 20 bytes, behind which csum_start would be where it may be. */
static void test_short_ip4(void)
{
	struct spec s = *all_gso[0];
	unsigned words;

	s.vlans = 2;
	for (words = 3; words < 5; words++) {
		pkt_make(&p, &s);
		p.offload.csum_start = p.l3 + 4 * words;
		p.at[p.l3] = 0x40 | words;
		p.at[p.offload.csum_start + 12] = 0x50;
		CU_ASSERT_FALSE(check(OFFLOAD_ALL));
	}
}

/* Chains of extension headers: of odd lengths, that never end, that are longer than allowed. */
static void test_ip6_chains(void)
{
	struct spec s = tcp6;
	unsigned v;

	s.ext = EXT_HOP | EXT_ROUTE;
	for (v = 0; v < 256; v++) {
		pkt_make(&p, &s);
		p.at[p.l3 + 41] = v; /* length of the first */
		CU_ASSERT_EQUAL(check(OFFLOAD_ALL), v == 0);
		pkt_make(&p, &s);
		p.at[p.l3 + 40] = v; /* type of the second */
		CU_ASSERT_EQUAL(check(OFFLOAD_ALL), v == 0 || v == 43 || v == 60);
	}
	pkt_make(&p, &tcp6);
	p.at[p.l3 + 6] = 0;
	memset(p.at + p.l3 + 40, 0, p.len - p.l3 - 40); /* hop-by-hop, 8 bytes each, to the end */
	CU_ASSERT_FALSE(check(OFFLOAD_ALL));
	memset(p.at + p.l3 + 40, 60, p.len - p.l3 - 40);
	CU_ASSERT_FALSE(check(OFFLOAD_ALL));
	pkt_make(&p, &tcp6);
	p.at[p.l3 + 6] = 44; /* a fragment */
	CU_ASSERT_FALSE(check(OFFLOAD_ALL));
}

/* Three tags are one too many, and 64 KB are too long for an IP header. */
static void test_too_much(void)
{
	struct spec s = tcp4;

	for (s.vlans = 0; s.vlans <= 3; s.vlans++) {
		pkt_make(&p, &s);
		CU_ASSERT_EQUAL(check(OFFLOAD_ALL), s.vlans < 3);
	}
	s = tcp4;
	for (s.payload = 65535 - 40 - 2; s.payload <= 65535 - 40 + 2; s.payload++) {
		pkt_make(&p, &s);
		CU_ASSERT_EQUAL(check(OFFLOAD_ALL), s.payload <= 65535 - 40);
	}
	s.gso_size = 1;
	s.payload = 60000;
	pkt_make(&p, &s);
	CU_ASSERT_FALSE(check(OFFLOAD_ALL));
}

/* Never a type that the peer doesn't take (5.1.6.4.1), and everything that it does take. */
static void test_fits(void)
{
	uint32_t takes;
	unsigned i;

	for (i = 0; i < N_GSO; i++) {
		static const uint32_t needs[N_GSO] = {OFFLOAD_TSO4, OFFLOAD_TSO6 | OFFLOAD_ECN,
						      OFFLOAD_USO4, OFFLOAD_USO6,
						      OFFLOAD_UFO,  OFFLOAD_UFO};

		pkt_make(&p, all_gso[i]);
		if (i == 1)
			p.offload.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
		CU_ASSERT_TRUE(check(OFFLOAD_ALL));
		for (takes = 0; takes <= OFFLOAD_ALL; takes++)
			CU_ASSERT_EQUAL(offload_fits(&b, &b.frame[0], takes),
					!((needs[i] | OFFLOAD_CSUM) & ~takes));
		b.frame[0].offload.gso_type = 0;
		for (takes = 0; takes <= OFFLOAD_ALL; takes++)
			CU_ASSERT_EQUAL(offload_fits(&b, &b.frame[0], takes),
					!!(takes & OFFLOAD_CSUM));
	}
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"takes", test_takes},
		{"asks", test_asks},
		{"ignores", test_ignores},
		{"not_asked", test_not_asked},
		{"types", test_types},
		{"csum_bounds", test_csum_bounds},
		{"gso_csum", test_gso_csum},
		{"hdr_len", test_hdr_len},
		{"gso_size", test_gso_size},
		{"truncated", test_truncated},
		{"headers_lie", test_headers_lie},
		{"short IPv4 headers", test_short_ip4},
		{"ip6_chains", test_ip6_chains},
		{"too_much", test_too_much},
		{"fits", test_fits},
		{},
	};
	int status = check_main("offload", tests, argc, argv);

	pkt_drop_memory();
	return status;
}
