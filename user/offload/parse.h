/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where things are in the headers of frames that are finished here. */
#ifndef PARSE_H
#define PARSE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <linux/if_ether.h>
#include <netinet/in.h>

#include "switch/batch.h"

/* Offsets of fields from their header's beginning, and lengths of headers without options. */
#define IP4_LEN      20 /* RFC 791, 3.1 */
#define IP4_TOTAL    2
#define IP4_ID       4
#define IP4_FRAGMENT 6 /* flags and offset */
#define IP4_PROTO    9
#define IP4_CHECK    10
#define IP4_ADDRS    12
#define IP4_DF       0x4000u
#define IP4_MF       0x2000u

#define IP6_LEN          40 /* RFC 8200, 3 */
#define IP6_PAYLOAD      4
#define IP6_NEXT         6
#define IP6_ADDRS        8
#define IP6_FRAGMENT_LEN 8 /* RFC 8200, 4.5 */

#define TCP_LEN    20 /* RFC 9293, 3.1 */
#define TCP_SEQ    4
#define TCP_OFFSET 12
#define TCP_FLAGS  13
#define TCP_CHECK  16
#define TCP_FIN    0x01
#define TCP_PSH    0x08
#define TCP_CWR    0x80

#define UDP_LEN    8 /* RFC 768 */
#define UDP_LENGTH 4
#define UDP_CHECK  6

static inline uint16_t get_u16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static inline void put_u16(uint8_t *at, uint16_t value)
{
	value = htobe16(value);
	memcpy(at, &value, sizeof(value));
}

/* Bytes as they lie in memory: to compare, to sum or to mix them. */
static inline uint32_t raw32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint64_t raw64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)get_u16(at) << 16 | get_u16(at + 2);
}

static inline void put_u32(uint8_t *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

/*
 * Where the layer 3 header begins, behind two VLAN tags at most: read in head[], which nobody
 * rewrites. A frame too short for that has no layer 3; its head[] is there all the same.
 */
static inline uint32_t frame_l3(const struct frame *f)
{
	const uint8_t *at = f->head + f->shape.head_at;
	uint32_t l3 = ETH_HLEN;

	while (l3 < ETH_HLEN + 8) {
		uint16_t type = get_u16(at + l3 - 2);

		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		l3 += 4;
	}
	return l3;
}

static inline uint16_t frame_type(const struct frame *f, uint32_t l3)
{
	return get_u16(f->head + f->shape.head_at + l3 - 2);
}

/* Extension headers that routers on the way may look at, all laid out alike (RFC 8200, 4.2). */
static inline bool ip6_is_extension(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

static inline uint32_t ip6_extension_len(const uint8_t *at)
{
	return (at[1] + 1u) * 8;
}

#endif
