/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 extension headers of a frame that is finished: routing, and fragment headers (RFC 8200). */
#ifndef FRAGMENT_H
#define FRAGMENT_H

#include <stdbool.h>
#include <stdint.h>

/**
 * fragment_is_routed() - there is a routing header with segments left
 * @hdr: the frame's headers; @l3 and @l4: where IPv6 and layer 4 begin in them, @l3 + 40 <= @l4
 */
bool fragment_is_routed(const uint8_t *hdr, uint32_t l3, uint32_t l4);

/**
 * fragment_insert() - put a fragment header with a new identification in
 * @hdr: as above, @len bytes, with room for 8 more
 *
 * It stands behind what routers on the way look at (RFC 8200, 4.5). Any worker.
 *
 * Return: where it stands.
 */
uint32_t fragment_insert(uint8_t *hdr, uint32_t l3, uint32_t l4, uint32_t len);

/** fragment_set() - @offset in bytes, a multiple of 8, into the fragment header @at. */
void fragment_set(uint8_t *at, uint32_t offset, bool more);

#endif
