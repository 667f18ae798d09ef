/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a switch owes two guests: the frames that must arrive, by virtio's rules and the RFCs. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>

/*
 * Written for clarity, from the virtio specification (1.2 and, for USO, 1.3: 5.1.3, 5.1.6) and from
 * RFC 768, 791, 1071, 8200 and 9293, and sharing no code with the switch. Where those leave a
 * choice, this says what vxs does:
 *
 * - A request that can't be right is dropped as bad_offload, never repaired, but for hdr_len, which
 *   is a hint and comes out as the truth.
 * - A checksum that turns out 0 is sent as 0xffff, for TCP as well.
 * - IPv4 IDs of TCP segments and of USO's datagrams count up.
 * - Fragments carry all IPv4 options, gso_size bytes (down to a multiple of 8) from the UDP header
 *   on, and in the first also the IPv6 extension headers that aren't for routers.
 */
#define REF_FRAME_MAX 65553 /* bytes of a frame that the switch takes */
#define REF_HDR_MAX   512   /* headers end, and checksums are stored, within so many bytes */
#define REF_CUTS_MAX  2048  /* segments of one frame */

enum ref_verdict { REF_PASSES, REF_SHORT_FRAME, REF_BAD_OFFLOAD };

/* One frame that arrives. */
struct ref_frame {
	struct virtio_net_hdr hdr;
	uint32_t len;
	uint32_t id_at; /* of an IPv6 fragment's identification, which is anything; 0: there is none
			 */
	uint8_t *at;
};

struct ref_result {
	unsigned n;
	struct ref_frame frame[REF_CUTS_MAX];
	uint32_t used;
	uint8_t bytes[REF_CUTS_MAX * (REF_HDR_MAX + 8) + REF_FRAME_MAX];
};

/**
 * ref_pass() - what arrives of a frame
 * @r:    filled in: the frames, in their order
 * @from: virtio features that its sender negotiated
 * @to:   those of the receiver
 * @hdr:  the sender's virtio-net header
 * @at:   its frame
 * @len:  bytes
 *
 * Return: REF_PASSES, or as what it is dropped.
 */
enum ref_verdict ref_pass(struct ref_result *r, uint64_t from, uint64_t to,
			  const struct virtio_net_hdr *hdr, const uint8_t *at, uint32_t len);

/* For tests that make frames. */

/** ref_sum() - RFC 1071: @sum and the big-endian 16-bit words of @n bytes, folded. */
uint32_t ref_sum(uint32_t sum, const uint8_t *at, uint32_t n);

#endif
