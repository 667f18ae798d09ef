/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hashes flows by their addresses and ports. */
#include "offload/flow.h"

#include <string.h>

#include <netinet/in.h>

#include "offload/parse.h"
#include "switch/frame.h"

/*
 * Ports may lie behind two VLAN tags and 40 bytes of IPv4 options: within the first 86 bytes. What
 * isn't in head[] is read out of the pieces, which a guest may rewrite at any time. That is
 * harmless: each byte is copied once, into a copy of fixed size, and whatever it says, the hash
 * only chooses among queues that are all the receiver's own. A guest that rewrites frames on their
 * way puts its own flows out of order, nobody else's.
 */
#define FROM_PIECES 64
#define FIRST_BYTES (FRAME_HEAD + FROM_PIECES)

/* One round: every bit of either goes into the upper half of the product, which comes down. */
static inline uint64_t mix(uint64_t sum, uint64_t value)
{
	sum = (sum ^ value) * 0x9e3779b97f4a7c15ull;
	return sum ^ sum >> 32;
}

/* Copies the first bytes; behind the frame's end stand zeros. */
static inline void read_first(uint8_t *to, const struct batch *b, const struct frame *f)
{
	const struct piece *p = &b->piece[f->piece];
	struct frame_stream s;

	if (frame_is_plain(f) && p->len >= FROM_PIECES) {
		memcpy(to, f->head + FRAME_HEAD_ROOM, FRAME_HEAD);
		memcpy(to + FRAME_HEAD, p->at, FROM_PIECES);
		return;
	}
	memset(to, 0, FIRST_BYTES);
	stream_open(&s, b, f);
	stream_copy(&s, to, f->len < FIRST_BYTES ? f->len : FIRST_BYTES);
}

static inline bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
	       protocol == IPPROTO_SCTP;
}

static inline uint64_t hash_ip4(const uint8_t *ip)
{
	uint64_t ports = 0;

	if (has_ports(ip[IP4_PROTO]) && !(get_u16(ip + IP4_FRAGMENT) & 0x3fff))
		ports = raw32(ip + (ip[0] & 0xf) * 4);
	return mix(mix(0, raw64(ip + IP4_ADDRS)), ports << 8 | ip[IP4_PROTO]);
}

static inline uint64_t hash_ip6(const uint8_t *ip)
{
	const uint8_t *at = ip + IP6_ADDRS;
	uint64_t ports = has_ports(ip[IP6_NEXT]) ? raw32(ip + IP6_LEN) : 0;
	uint64_t sum = mix(mix(0, raw64(at)), raw64(at + 8));

	sum = mix(mix(sum, raw64(at + 16)), raw64(at + 24));
	return mix(sum, ports << 8 | ip[IP6_NEXT]);
}

uint32_t flow_hash(const struct batch *b, unsigned i)
{
	const struct frame *f = &b->frame[i];
	uint8_t first[FIRST_BYTES];
	uint32_t l3, type;
	uint64_t sum;

	if (b->hashed && b->hash[i])
		return b->hash[i];
	l3 = frame_l3(f);
	type = frame_type(f, l3);
	read_first(first, b, f);
	if (type == ETH_P_IP)
		sum = hash_ip4(first + l3);
	else if (type == ETH_P_IPV6)
		sum = hash_ip6(first + l3);
	else
		sum = mix(mix(0, raw64(first)), raw32(first + 8));
	return sum * 0x9e3779b97f4a7c15ull >> 32;
}
