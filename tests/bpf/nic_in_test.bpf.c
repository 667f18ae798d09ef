/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* nic_in.bpf.c with flow hashes that a test says, for BPF_PROG_TEST_RUN. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

__u32 test_hash;
int test_error;

#define NIC_IN_HASH 1
static __always_inline int read_hash(struct xdp_md *ctx, __u32 *hash)
{
	(void)ctx;
	*hash = *(volatile __u32 *)&test_hash;
	return *(volatile int *)&test_error;
}

#include "../../bpf/nic_in.bpf.c"
