/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys and values of the BPF maps: what bpf/, user/ and bpftool must agree on. */
#ifndef VXS_BPF_H
#define VXS_BPF_H

#include <linux/types.h>

#include "vxs_drop.h"
#include "vxs_path.h"

#define VXS_PORTS_MAX      512   /* ports of one switch, the uplink and the host among them */
#define VXS_FDB_MAX        16384 /* entries of the forwarding database */
#define VXS_NAME_SIZE      32    /* a port's name with its NUL */
#define VXS_NIC_QUEUES_MAX 64

/* Port numbers with a meaning of their own; VMs have the numbers from VXS_PORT_VM on. */
#define VXS_PORT_UPLINK 0
#define VXS_PORT_HOST   1
#define VXS_PORT_VM     2

/* Map "fdb" (hash): where an address is. It holds the addresses of VMs and of the host. */
struct vxs_fdb_key {
	__u8 mac[6];
	__u16 vlan; /* VLAN ID in host byte order, 0 for untagged frames */
};

#define VXS_FDB_STATIC 1 /* fixed on the command line: neither ages nor moves */

struct vxs_fdb_value {
	__u32 port;
	__u32 flags; /* VXS_FDB_* */
};

/* Map "ports" (array, by port number): who a port is. */
enum vxs_port_kind {
	VXS_KIND_NONE,
	VXS_KIND_UPLINK,
	VXS_KIND_HOST,
	VXS_KIND_VM,
};

struct vxs_port {
	char name[VXS_NAME_SIZE];
	enum vxs_port_kind kind;
	__u32 up; /* 1: connected, and its queues run */
	__u8 mac[6];
	__u16 queues;
};

/*
 * Map "port_stats" (array, mapped into the daemon): the key is worker * VXS_PORTS_MAX + port, so
 * with one worker, the default, it is the port's number. A port's counters are the sum over all
 * workers, and one worker more than there are: what the port's VM brought along when it moved in.
 */
#define VXS_DROP_FIELD(field, text) __u64 field;
struct vxs_drops {
	VXS_DROP_LIST(VXS_DROP_FIELD)
};
#undef VXS_DROP_FIELD

/*
 * In and out are seen from the switch: in_frames came from the port, out_frames were delivered to
 * it. Towards the wire out_frames are as they leave, each segment of a large one by itself; frames
 * that are dropped are counted as they came. A worker adds to its own entry once a batch, and
 * nobody else does; anyone may read at any time. What the kernel counts (socket_full, umem_empty,
 * socket_error, tap_full) is written by control, in worker 0's entry: no worker ever drops for one
 * of these reasons.
 */
struct vxs_port_stats {
	__u64 in_frames;
	__u64 in_bytes;
	__u64 unused[6]; /* out counters begin on a cache line of their own */
	__u64 out_frames;
	__u64 out_bytes;
	__u64 out_calls; /* notifications sent to the guest about them */
	struct vxs_drops drops;
} __attribute__((aligned(64)));

/* Map "worker_stats" (array, by worker, mapped into the daemon). */
struct vxs_path_stats {
	__u64 frames;  /* handed to destinations of this kind, delivered or not */
	__u64 batches; /* in which they were handed over; nowhere: of which nothing went anywhere */
	__u64 cycles;
};

#define VXS_PATH_FIELD(field, text) struct vxs_path_stats field;
struct vxs_paths {
	VXS_PATH_LIST(VXS_PATH_FIELD)
};
#undef VXS_PATH_FIELD

/*
 * A worker's entry is written by that worker alone; anyone may read at any time. Cycles are those
 * of the CPU's time stamp counter. Each one since @started is in one path's cycles, in idle_cycles
 * or in sleep_cycles, but for those since the last batch, idle round or sleep ended: a sleep is
 * added when it is over.
 */
struct vxs_worker_stats {
	__u64 cycles_per_second;
	__u64 started;     /* what the counter showed then; 0: not yet */
	__u64 rounds;      /* looks at the queues */
	__u64 busy_rounds; /* of them, those that found work */
	__u64 batches;     /* taken from a queue */
	__u64 frames;      /* in them */
	__u64 syscalls;    /* made by the worker, for frames and for sleeping */
	__u64 sleeps;      /* times that it waited for events */
	__u64 wakeups;     /* of them, ended by a guest's kick or by frames from wire or host;
			    * the others were ended by control, or are not over */
	__u64 idle_cycles; /* polled, and found no work */
	__u64 sleep_cycles;
	struct vxs_paths paths;  /* their cycles are the worker's busy time */
} __attribute__((aligned(128))); /* CPUs fetch cache lines in pairs */

/* What the XDP program puts before VMs' frames if it can ask the NIC. */
struct vxs_nic_meta {
	__u32 hash; /* of the flow; 0: unknown */
};

/* Map "sockets" (XSKMAP): index = port number * queues of the NIC + receive queue. */

#endif
