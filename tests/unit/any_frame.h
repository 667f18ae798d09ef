/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Random frames with random offload requests, most of them right, some of them wrong. */
#ifndef ANY_FRAME_H
#define ANY_FRAME_H

#include <stdint.h>
#include <string.h>

#include "reference.h"

struct any_frame {
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint32_t len;
	uint8_t at[REF_FRAME_MAX + 8];
	/* how it was made */
	bool ip6, tcp;
	uint32_t l3, l4, end;
};

static uint64_t any_state;

static inline uint64_t any64(void)
{
	any_state = any_state * 6364136223846793005ull + 1442695040888963407ull;
	return (any_state ^ any_state >> 29) * 0x9e3779b97f4a7c15ull;
}

/* 0 to @n - 1. */
static inline uint32_t any(uint32_t n)
{
	return (any64() >> 32) * n >> 32;
}

static inline void any_bytes(uint8_t *at, uint32_t n)
{
	uint64_t value;

	for (; n >= 8; n -= 8, at += 8) {
		value = any64();
		memcpy(at, &value, 8);
	}
	value = any64();
	memcpy(at, &value, n);
}

static inline void any_put2(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

/* Extension headers in an order that RFC 8200, 4.1 allows; returns where layer 4 begins. */
static inline uint32_t any_extensions(uint8_t *at, uint32_t here, uint32_t next_at, uint8_t proto)
{
	static const uint8_t order[] = {0, 60, 43, 60};
	unsigned i, n;

	for (i = 0; i < 4; i++) {
		if (any(6))
			continue;
		n = any(4) ? 0 : any(6);
		at[next_at] = order[i];
		next_at = here;
		any_bytes(at + here, 8 * (n + 1));
		at[here + 1] = n;
		at[here + 3] = 0; /* a routing header that is done with */
		here += 8 * (n + 1);
	}
	at[next_at] = proto;
	return here;
}

/* Headers up to the end of TCP's or UDP's; their lengths and checksums are the guest's business. */
static inline void any_headers(struct any_frame *f)
{
	uint8_t *at = f->at, *ip, proto;
	unsigned tags = any(3) ? 0 : any(3), i, options = any(8) ? 0 : any(11);

	f->ip6 = any(2);
	f->tcp = any(2);
	proto = f->tcp ? 6 : 17;
	for (i = 0; i < tags; i++) {
		any_put2(at + 12 + 4 * i, any(2) ? 0x8100 : 0x88a8);
		any_put2(at + 14 + 4 * i, any(4096));
	}
	f->l3 = 14 + 4 * tags;
	any_put2(at + f->l3 - 2, f->ip6 ? 0x86dd : 0x0800);
	ip = at + f->l3;
	any_bytes(ip, 60);
	if (f->ip6) {
		ip[0] = 0x60 | (ip[0] & 15);
		f->l4 = any_extensions(at, f->l3 + 40, f->l3 + 6, proto);
	} else {
		ip[0] = 0x45 + options;
		any_put2(ip + 6, any(2) ? 0x4000 : 0);
		ip[9] = proto;
		f->l4 = f->l3 + 20 + 4 * options;
	}
	any_bytes(at + f->l4, 60);
	f->end = f->l4 + 8;
	if (f->tcp) {
		i = any(2) ? 8 : 5 + any(11);
		at[f->l4 + 12] = i << 4 | any(2);
		f->end = f->l4 + 4 * i;
	}
}

/* What a driver leaves for the device: lengths, and the pseudo header's sum. */
static inline void any_finish(struct any_frame *f)
{
	uint8_t *ip = f->at + f->l3, rest[4] = {0, f->tcp ? 6 : 17};
	uint32_t len = f->len - f->l4, sum;

	if (f->ip6) {
		any_put2(ip + 4, f->len - f->l3 - 40);
		sum = ref_sum(0, ip + 8, 32);
	} else {
		any_put2(ip + 2, f->len - f->l3);
		sum = ref_sum(0, ip + 12, 8);
	}
	any_put2(rest + 2, len);
	any_put2(f->at + f->hdr.hdr.csum_start + f->hdr.hdr.csum_offset, ref_sum(sum, rest, 4));
}

static inline void any_request(struct any_frame *f)
{
	struct virtio_net_hdr *h = &f->hdr.hdr;
	uint32_t payload = f->len - f->end;

	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = f->l4;
	h->csum_offset = f->tcp ? 16 : 6;
	any_finish(f);
	if (!any(4))
		return;
	if (f->tcp) {
		h->gso_type = f->ip6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		h->gso_type |= any(4) ? 0 : VIRTIO_NET_HDR_GSO_ECN;
	} else {
		h->gso_type = any(3) ? 5 : VIRTIO_NET_HDR_GSO_UDP;
	}
	/* up to some 30 cuts, or none */
	h->gso_size = 8 + payload / (1 + any(30)) + any(100);
}

/* One thing that isn't as it should be; what becomes of it, the reference says. */
static inline void any_fault(struct any_frame *f)
{
	static const uint8_t types[] = {0, 1, 2, 3, 4, 5, 6, 0x81, 0x84, 0x80, 0x83, 0x85, 0xff};
	struct virtio_net_hdr *h = &f->hdr.hdr;

	switch (any(11)) {
	case 0:
		h->flags = any(256);
		break;
	case 1:
		h->gso_type = types[any(sizeof(types))];
		break;
	case 2:
		h->gso_size = any(3) ? any(65536) : any(20);
		break;
	case 3:
		h->csum_start = any(3) ? any(600) : any(65536);
		break;
	case 4:
		h->csum_offset = any(3) ? any(600) : any(65536);
		break;
	case 5:
		f->len = any(f->len + 1);
		break;
	case 6:
		f->len = any(120) < f->len ? any(120) % (f->len + 1) : f->len;
		break;
	case 7:
		f->at[f->l3] = any(256); /* version, header length */
		break;
	case 8:
		f->at[f->l3 + (f->ip6 ? 6 : any(2) ? 9 : 6)] = any(256); /* protocol, fragment */
		break;
	case 9:
		any_put2(f->at + f->l3 - 2, any(2) ? 0x8100 : 0x0806);
		break;
	case 10:
		f->at[f->l4 + 12] = any(256); /* TCP header length */
		break;
	}
}

/** any_make() - a frame from @src to @dst. */
static inline void any_make(struct any_frame *f, const uint8_t *dst, const uint8_t *src)
{
	static const uint32_t sizes[] = {100, 100, 1500, 1500, 1500, 1500, 1500, 9000, 9000, 65000};
	uint32_t size = sizes[any(sizeof(sizes) / sizeof(sizes[0]))];

	memset(&f->hdr, 0, sizeof(f->hdr));
	memcpy(f->at, dst, 6);
	memcpy(f->at + 6, src, 6);
	any_headers(f);
	f->len = f->end + (any(200) ? any(size) : 0);
	if (!any(500)) /* about as long as there are */
		f->len = REF_FRAME_MAX - any(60);
	if (f->len > REF_FRAME_MAX)
		f->len = REF_FRAME_MAX;
	any_bytes(f->at + f->end, f->len > f->end ? f->len - f->end : 0);
	if (any(4))
		any_request(f);
	if (!any(5))
		any_fault(f);
	f->hdr.hdr.hdr_len = any(2) ? f->end : any(65536); /* never believed */
	f->hdr.num_buffers = any(2) ? 0 : any(65536);
	if (!f->hdr.hdr.flags && !f->hdr.hdr.gso_type && any(2))
		f->hdr.hdr.csum_start = any(65536);
}

#endif
