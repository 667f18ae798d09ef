/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* nic_in.bpf.c for NICs whose driver tells a frame's flow hash (Linux 6.3; bound to the device). */

/*
 * An object of its own: a kernel without the function, or without BTF, refuses all of an object
 * that mentions it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* As the kernel's enum xdp_rss_hash_type: which fields the hash is of. */
enum rss_type { RSS_TYPE_NONE };

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
				    enum rss_type *type) __ksym;

#define NIC_IN_HASH 1
static __always_inline int read_hash(struct xdp_md *ctx, __u32 *hash)
{
	enum rss_type type = RSS_TYPE_NONE;

	return bpf_xdp_metadata_rx_hash(ctx, hash, &type);
}

#include "nic_in.bpf.c"
