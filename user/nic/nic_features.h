/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the NIC's driver can do for XDP and AF_XDP, as the kernel tells by netlink. */
#ifndef NIC_FEATURES_H
#define NIC_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: nothing, or the kernel doesn't say. */
struct nic_features {
	uint32_t zc_parts; /* descriptors of a frame in zero-copy mode */
	bool hash;         /* an XDP program can ask for a frame's flow hash */
	bool out_csum;     /* fills in checksums of frames sent through AF_XDP */
};

/**
 * nic_features_read() - ask the kernel's generic netlink family "netdev" (Linux 6.3)
 * @ifindex: the interface
 * @f:       filled in; zero if it fails
 *
 * Control thread, at start-up: waits for the kernel's answer.
 *
 * Return: 0 or -errno (-ENOENT: the kernel has no such family).
 */
int nic_features_read(int ifindex, struct nic_features *f);

#endif
