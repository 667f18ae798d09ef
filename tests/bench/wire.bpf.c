/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The far end of a veth: a source that sends what it is run on, and a sink that counts. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sent SEC(".maps"), received SEC(".maps");

/* Run by BPF_PROG_TEST_RUN on live frames: each of them goes out of the interface. */
SEC("xdp")
int wire_source(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *n = bpf_map_lookup_elem(&sent, &key);

	(void)ctx;
	if (n)
		++*n;
	return XDP_TX;
}

SEC("xdp")
int wire_sink(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u64 *n;
	__u32 key = 0;

	if (data + 14 > (__u8 *)(long)ctx->data_end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_PASS;
	n = bpf_map_lookup_elem(&received, &key);
	if (n)
		++*n;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
