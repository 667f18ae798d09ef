/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's tables as BPF maps; no program, so that BTF names their fields for bpftool. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "vxs_bpf.h"

/* Where an address is. Written by the daemon and by hand, read by the NIC's programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, VXS_FDB_MAX);
	__type(key, struct vxs_fdb_key);
	__type(value, struct vxs_fdb_value);
} fdb SEC(".maps");

/* Who a port is, by port number. Written by the daemon, for people to read. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VXS_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct vxs_port);
} ports SEC(".maps");

/*
 * Counters by worker and port number. Mapped into the daemon, whose workers add to them; it sets
 * max_entries before load, VXS_PORTS_MAX for each worker, and for one more (vxs_bpf.h).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VXS_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct vxs_port_stats);
} port_stats SEC(".maps");

/* What each worker did. Mapped into the daemon as well, with an entry for each worker. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vxs_worker_stats);
} worker_stats SEC(".maps");

/* AF_XDP sockets; the daemon sets max_entries before load, as it depends on the NIC's queues. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
