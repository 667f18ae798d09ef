/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Offloads as metadata on a frame: what a guest may ask, and what an out side takes. */
#ifndef OFFLOAD_H
#define OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#include "switch/batch.h"

/* Newer than Debian 12's linux/virtio_net.h (virtio 1.3, 5.1.3 and 5.1.6). */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/*
 * One bit for each kind of work that may be left open on a frame: for an in side those that its
 * peer may ask for, for an out side those that its peer takes as they are. Everything but CSUM
 * needs CSUM; ECN stands beside TSO4 or TSO6.
 */
#define OFFLOAD_CSUM 0x01u /* a checksum that holds the pseudo header's sum only */
#define OFFLOAD_TSO4 0x02u
#define OFFLOAD_TSO6 0x04u
#define OFFLOAD_ECN  0x08u /* TSO of segments with CWR */
#define OFFLOAD_UFO  0x10u /* one UDP datagram, to be sent in IP fragments */
#define OFFLOAD_USO4 0x20u /* UDP datagrams of one size, one behind the other */
#define OFFLOAD_USO6 0x40u
#define OFFLOAD_ALL  0x7fu

/*
 * The longest headers of a frame that we finish, from the destination address to the end of the TCP
 * or UDP header: two VLAN tags, IPv6 with extension headers of common sizes, TCP with all options.
 */
#define OFFLOAD_HDR_MAX 512
#define OFFLOAD_AT_MIN  34 /* csum_start: no less than Ethernet and the smallest IP header */
/*
 * Frames that one may be cut into: 64 KB with the smallest segment that Linux sends (48 bytes with
 * options) are 1821. Bounds the work that a gso_size of 1 would make.
 */
#define OFFLOAD_CUTS_MAX 2048

/* What a frame, checked before, becomes when it is cut: no fewer, and hardly more. */
static inline uint32_t offload_cuts(const struct frame *f)
{
	return f->offload.gso_type ? f->len / f->offload.gso_size + 1 : 1;
}

/** offload_guest_takes() - OFFLOAD_* that a driver takes, by its virtio features (GUEST_*). */
uint32_t offload_guest_takes(uint64_t features);
/** offload_guest_asks() - OFFLOAD_* that a driver may ask for (CSUM, HOST_*). */
uint32_t offload_guest_asks(uint64_t features);

/* Nothing is left open on this frame: the usual case, and one comparison. */
static inline bool offload_is_none(const struct frame *f)
{
	uint16_t both;

	_Static_assert(offsetof(struct frame_offload, gso_type) == 1, "behind flags");
	memcpy(&both, &f->offload, sizeof(both));
	return !both;
}

/**
 * offload_check() - judge and put in order what a frame's virtio-net header asks for
 * @b:     the batch that @f is in
 * @f:     a frame whose head, pieces, len and offload (as it came from outside) are filled in
 * @asked: OFFLOAD_* that the in side's peer may ask for
 *
 * For in sides, of each frame whose offload isn't all zero. Afterwards what stands in f->offload is
 * true, and out sides build on it:
 *
 * - flags is 0 or NEEDS_CSUM; every other bit is ignored (virtio 1.2, 5.1.6.2.2). If both flags and
 *   gso_type are 0, the rest is, too.
 * - With NEEDS_CSUM, csum_start is at least OFFLOAD_AT_MIN, and csum_start + csum_offset + 2 is
 *   within the frame and within OFFLOAD_HDR_MAX.
 * - gso_type is NONE, TCPV4, TCPV6 (perhaps with ECN), UDP or UDP_L4; if not NONE, NEEDS_CSUM is
 *   set, gso_size is not 0, the headers were parsed and are what gso_type says, csum_start is where
 *   the TCP or UDP header begins, and hdr_len is where it ends: within the frame and within
 *   OFFLOAD_HDR_MAX. hdr_len as it came is never believed (5.1.6.4.1). It becomes no more than
 *   OFFLOAD_CUTS_MAX cuts.
 * - A frame whose payload is no longer than gso_size has nothing to be cut: gso_type is NONE.
 *
 * Headers are copied once out of memory that the guest may rewrite, and judged there. The layer 3
 * header begins behind the VLAN tags in f->head. Any worker.
 *
 * Return: true; false if the frame is to be dropped as bad_offload.
 */
bool offload_check(const struct batch *b, struct frame *f, uint32_t asked);

/** offload_fits() - a peer that takes @takes can have the frame, checked before, as it is. */
bool offload_fits(const struct batch *b, const struct frame *f, uint32_t takes);

/** offload_cut_len() - bytes of the longest frame that comes of a checked one when it is cut: what
 * an MTU applies to. Its length if there is nothing to cut. */
uint32_t offload_cut_len(const struct frame *f);

#endif
