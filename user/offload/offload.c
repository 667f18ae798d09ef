/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Judges the offloads that a frame's virtio-net header asks for. */
#include "offload/offload.h"

#include <netinet/in.h>
#include <string.h>

#include <linux/if_ether.h>

#include "offload/parse.h"
#include "switch/frame.h"

#define FEATURE(bit) (1ull << (bit))

/* The three kinds of UDP and both of TCP need the checksum (virtio 1.3, 5.1.3.1). */
static uint32_t take_needed(uint32_t kinds)
{
	if (!(kinds & OFFLOAD_CSUM))
		return 0;
	if (!(kinds & (OFFLOAD_TSO4 | OFFLOAD_TSO6)))
		kinds &= ~OFFLOAD_ECN;
	return kinds;
}

uint32_t offload_guest_takes(uint64_t features)
{
	uint32_t kinds = 0;

	if (features & FEATURE(VIRTIO_NET_F_GUEST_CSUM))
		kinds |= OFFLOAD_CSUM;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO4))
		kinds |= OFFLOAD_TSO4;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO6))
		kinds |= OFFLOAD_TSO6;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_ECN))
		kinds |= OFFLOAD_ECN;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_UFO))
		kinds |= OFFLOAD_UFO;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_USO4))
		kinds |= OFFLOAD_USO4;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_USO6))
		kinds |= OFFLOAD_USO6;
	return take_needed(kinds);
}

uint32_t offload_guest_asks(uint64_t features)
{
	uint32_t kinds = 0;

	if (features & FEATURE(VIRTIO_NET_F_CSUM))
		kinds |= OFFLOAD_CSUM;
	if (features & FEATURE(VIRTIO_NET_F_HOST_TSO4))
		kinds |= OFFLOAD_TSO4;
	if (features & FEATURE(VIRTIO_NET_F_HOST_TSO6))
		kinds |= OFFLOAD_TSO6;
	if (features & FEATURE(VIRTIO_NET_F_HOST_ECN))
		kinds |= OFFLOAD_ECN;
	if (features & FEATURE(VIRTIO_NET_F_HOST_UFO))
		kinds |= OFFLOAD_UFO;
	if (features & FEATURE(VIRTIO_NET_F_HOST_USO))
		kinds |= OFFLOAD_USO4 | OFFLOAD_USO6;
	return take_needed(kinds);
}

/* What a gso_type is called here; 0: there is no such. */
static uint32_t kind_of(uint8_t gso_type, bool is_ip6)
{
	switch (gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return OFFLOAD_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		return OFFLOAD_TSO4 | OFFLOAD_ECN;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return OFFLOAD_TSO6;
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		return OFFLOAD_TSO6 | OFFLOAD_ECN;
	case VIRTIO_NET_HDR_GSO_UDP:
		return OFFLOAD_UFO;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return is_ip6 ? OFFLOAD_USO6 : OFFLOAD_USO4;
	default:
		return 0;
	}
}

/* The headers of a frame, read from the front on, each byte once, as far as they are looked at. */
struct headers {
	struct frame_stream from;
	uint32_t have, max;
	uint8_t at[OFFLOAD_HDR_MAX];
};

static bool need(struct headers *h, uint32_t n)
{
	if (n > h->max)
		return false;
	if (n > h->have) {
		stream_copy(&h->from, h->at + h->have, n - h->have);
		h->have = n;
	}
	return true;
}

/* Where the layer 4 header begins, and its protocol in *@proto; 0: it can't be cut behind that. */
static uint32_t find_l4_ip4(struct headers *h, uint32_t l3, uint8_t *proto)
{
	const uint8_t *ip = h->at + l3;
	uint32_t len;

	if (!need(h, l3 + IP4_LEN) || ip[0] >> 4 != 4)
		return 0;
	len = (ip[0] & 15) * 4;
	if (len < IP4_LEN || get_u16(ip + IP4_FRAGMENT) & ~IP4_DF)
		return 0;
	*proto = ip[IP4_PROTO];
	return need(h, l3 + len) ? l3 + len : 0;
}

/* Each header takes 8 bytes or more of at most OFFLOAD_HDR_MAX, so there is an end. */
static uint32_t find_l4_ip6(struct headers *h, uint32_t l3, uint8_t *proto)
{
	uint32_t at = l3 + IP6_LEN;

	if (!need(h, at) || h->at[l3] >> 4 != 6)
		return 0;
	*proto = h->at[l3 + IP6_NEXT];
	while (ip6_is_extension(*proto)) {
		if (!need(h, at + 8))
			return 0;
		*proto = h->at[at];
		at += ip6_extension_len(h->at + at);
	}
	return need(h, at) ? at : 0;
}

/* Where the frame's TCP or UDP header ends; 0 if it isn't what gso_type says. */
static uint32_t find_payload(const struct batch *b, const struct frame *f, uint32_t kinds,
			     uint32_t l3)
{
	bool is_tcp = kinds & (OFFLOAD_TSO4 | OFFLOAD_TSO6),
	     is_ip6 = frame_type(f, l3) == ETH_P_IPV6;
	struct headers h;
	uint32_t l4, len = UDP_LEN;
	uint8_t proto;

	h.have = 0;
	h.max = f->len < OFFLOAD_HDR_MAX ? f->len : OFFLOAD_HDR_MAX;
	stream_open(&h.from, b, f);
	l4 = is_ip6 ? find_l4_ip6(&h, l3, &proto) : find_l4_ip4(&h, l3, &proto);
	if (!l4 || l4 != f->offload.csum_start || proto != (is_tcp ? IPPROTO_TCP : IPPROTO_UDP))
		return 0;
	if (is_tcp) {
		if (!need(&h, l4 + TCP_LEN))
			return 0;
		len = (h.at[l4 + TCP_OFFSET] >> 4) * 4;
		if (len < TCP_LEN)
			return 0;
	}
	return need(&h, l4 + len) ? l4 + len : 0;
}

/* The largest length that an IP header can say. */
static bool is_too_long(const struct frame *f, uint32_t l3)
{
	return f->len - l3 > UINT16_MAX + (frame_type(f, l3) == ETH_P_IPV6 ? IP6_LEN : 0);
}

static bool check_gso(const struct batch *b, struct frame *f, uint32_t asked)
{
	struct frame_offload *o = &f->offload;
	uint32_t l3 = frame_l3(f), kinds, end, payload, size = o->gso_size;
	uint16_t type = frame_type(f, l3);

	kinds = kind_of(o->gso_type, type == ETH_P_IPV6);
	if (!kinds || kinds & ~asked)
		return false;
	if (type != ETH_P_IP && type != ETH_P_IPV6)
		return false;
	if (kinds & OFFLOAD_TSO4 && type != ETH_P_IP)
		return false;
	if (kinds & OFFLOAD_TSO6 && type != ETH_P_IPV6)
		return false;
	if (o->csum_offset != (kinds & (OFFLOAD_TSO4 | OFFLOAD_TSO6) ? TCP_CHECK : UDP_CHECK))
		return false;
	end = find_payload(b, f, kinds, l3);
	if (!end || is_too_long(f, l3))
		return false;
	/* A datagram's fragments share what is behind the IP header, in pieces of 8 bytes. */
	payload = f->len - (kinds & OFFLOAD_UFO ? o->csum_start : end);
	if (kinds & OFFLOAD_UFO)
		size &= ~7u;
	if (!size || payload > size * OFFLOAD_CUTS_MAX)
		return false;
	o->hdr_len = end;
	if (payload <= o->gso_size)
		o->gso_type = VIRTIO_NET_HDR_GSO_NONE;
	return true;
}

bool offload_check(const struct batch *b, struct frame *f, uint32_t asked)
{
	struct frame_offload *o = &f->offload;
	uint32_t end = (uint32_t)o->csum_start + o->csum_offset + 2;

	o->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (!o->flags) {
		if (o->gso_type)
			return false;
		*o = (struct frame_offload){0};
		return true;
	}
	if (!(asked & OFFLOAD_CSUM))
		return false;
	if (o->csum_start < OFFLOAD_AT_MIN || end > f->len || end > OFFLOAD_HDR_MAX)
		return false;
	if (o->gso_type && !check_gso(b, f, asked))
		return false;
	if (!o->gso_type)
		o->gso_size = o->hdr_len = 0;
	return true;
}

bool offload_fits(const struct batch *b, const struct frame *f, uint32_t takes)
{
	bool is_ip6;

	(void)b;
	if (offload_is_none(f))
		return true;
	if (!(takes & OFFLOAD_CSUM))
		return false;
	if (!f->offload.gso_type)
		return true;
	is_ip6 = frame_type(f, frame_l3(f)) == ETH_P_IPV6;
	return !(kind_of(f->offload.gso_type, is_ip6) & ~takes);
}

uint32_t offload_cut_len(const struct frame *f)
{
	const struct frame_offload *o = &f->offload;

	if (!o->gso_type)
		return f->len;
	if (o->gso_type != VIRTIO_NET_HDR_GSO_UDP)
		return o->hdr_len + o->gso_size;
	return o->csum_start + (o->gso_size & ~7u) +
	       (frame_type(f, frame_l3(f)) == ETH_P_IPV6 ? IP6_FRAGMENT_LEN : 0);
}
