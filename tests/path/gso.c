/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Large frames as a guest leaves them to be cut, and what must come of them: slow and clear. */
#include "gso.h"

#include <string.h>

#include <linux/if_ether.h>
#include <netinet/in.h>

const struct gso_kind gso_kinds[GSO_KINDS] = {
	{"tso4", false, IPPROTO_TCP, VIRTIO_NET_HDR_GSO_TCPV4},
	{"tso6", true, IPPROTO_TCP, VIRTIO_NET_HDR_GSO_TCPV6},
	{"ecn4", false, IPPROTO_TCP, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN},
	{"uso4", false, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4},
	{"uso6", true, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4},
	{"ufo4", false, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP},
	{"ufo6", true, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP},
};

uint8_t gso_pattern(unsigned i)
{
	return i * 7 + i / 251;
}

void gso_put16(uint8_t *at, unsigned value)
{
	at[0] = value >> 8;
	at[1] = value;
}

unsigned gso_get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

uint16_t gso_sum(const uint8_t *at, unsigned len, uint32_t sum)
{
	unsigned i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint16_t gso_sum_pseudo(const uint8_t *ip, bool v6, uint8_t proto, unsigned l4_len)
{
	return v6 ? gso_sum(ip + 8, 32, proto + l4_len) : gso_sum(ip + 12, 8, proto + l4_len);
}

unsigned gso_make(uint8_t *to, const struct gso_kind *k, const uint8_t *dst, const uint8_t *src,
		  bool tag, unsigned len, struct frame_offload *o)
{
	unsigned l3 = tag ? 18 : 14, l4 = l3 + (k->v6 ? 40 : 20), i;
	unsigned hdr = l4 + (k->proto == IPPROTO_TCP ? 20 : 8), l4_len = hdr - l4 + len;
	unsigned sum = l4 + (k->proto == IPPROTO_TCP ? 16 : 6);
	uint8_t *ip = to + l3;

	memset(to, 0, hdr);
	memcpy(to, dst, 6);
	memcpy(to + 6, src, 6);
	if (tag)
		memcpy(to + 12, (uint8_t[4]){0x81, 0, 0, 5}, 4);
	gso_put16(to + l3 - 2, k->v6 ? ETH_P_IPV6 : ETH_P_IP);
	if (k->v6) {
		memcpy(ip, (uint8_t[8]){0x60, 0, 0, 0, l4_len >> 8, l4_len, k->proto, 64}, 8);
		for (i = 8; i < 40; i++)
			ip[i] = 0xfd + i;
	} else {
		memcpy(ip, (uint8_t[20]){0x45, 0, 0,  0, 0x12, 0x34, 0,  0, 64, k->proto,
					 0,    0, 10, 0, 0,    1,    10, 0, 0,  2},
		       20);
		gso_put16(ip + 2, 20 + l4_len);
		gso_put16(ip + 10, ~gso_sum(ip, 20, 0));
	}
	gso_put16(to + l4, GSO_PORT);
	gso_put16(to + l4 + 2, GSO_PORT + 1);
	if (k->proto == IPPROTO_TCP) {
		gso_put16(to + l4 + 4, GSO_SEQ >> 16);
		gso_put16(to + l4 + 6, GSO_SEQ & 0xffff);
		to[l4 + 12] = 5 << 4;
		to[l4 + 13] = 0x18; /* ACK, PSH */
	} else {
		gso_put16(to + l4 + 4, l4_len);
	}
	gso_put16(to + sum, gso_sum_pseudo(ip, k->v6, k->proto, l4_len));
	for (i = 0; i < len; i++)
		to[hdr + i] = gso_pattern(i);
	*o = (struct frame_offload){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = l4,
		.csum_offset = sum - l4,
		.hdr_len = hdr,
	};
	return hdr;
}

static void see_fragment(struct gso_seen *s, const uint8_t *at, unsigned len, unsigned offset)
{
	if (offset + len > sizeof(s->data))
		return;
	memcpy(s->data + offset, at, len);
	s->bytes += len;
}

void gso_see(struct gso_seen *s, const struct gso_kind *k, const uint8_t *at, unsigned len)
{
	const uint8_t *ip = at + 14, *l4 = ip + (k->v6 ? 40 : 20);
	unsigned ip_len = k->v6 ? 40 + gso_get16(ip + 4) : gso_get16(ip + 2), l4_len, hdr;

	s->frames++;
	s->longest = len > s->longest ? len : s->longest;
	s->bad |= gso_get16(at + 12) != (k->v6 ? ETH_P_IPV6 : ETH_P_IP) || 14 + ip_len != len;
	if (s->bad)
		return;
	l4_len = at + len - l4;
	s->bad |= !k->v6 && gso_sum(ip, 20, 0) != 0xffff;
	if (!k->v6 && gso_get16(ip + 6) & 0x3fff) {
		see_fragment(s, l4, l4_len, (gso_get16(ip + 6) & 0x1fff) * 8);
		return;
	}
	if (k->v6 && ip[6] == IPPROTO_FRAGMENT) {
		see_fragment(s, l4 + 8, l4_len - 8, gso_get16(l4 + 2) & ~7u);
		return;
	}
	hdr = k->proto == IPPROTO_TCP ? 20 : 8;
	s->bad |= gso_sum(l4, l4_len, gso_sum_pseudo(ip, k->v6, k->proto, l4_len)) != 0xffff;
	if (k->proto == IPPROTO_TCP)
		see_fragment(s, l4 + hdr, l4_len - hdr,
			     ((uint32_t)gso_get16(l4 + 4) << 16 | gso_get16(l4 + 6)) - GSO_SEQ);
	else /* in the order that they came in */
		see_fragment(s, l4 + hdr, l4_len - hdr, s->bytes);
	s->bad |= k->proto == IPPROTO_UDP && gso_get16(l4 + 4) != l4_len;
}

bool gso_is_right(const struct gso_seen *s, unsigned len, unsigned skip)
{
	unsigned i;

	for (i = 0; i < len; i++)
		if (s->data[skip + i] != gso_pattern(i))
			return false;
	return s->bytes == skip + len;
}
