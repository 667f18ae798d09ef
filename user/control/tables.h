/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's tables: BPF maps pinned for bpftool where the kernel lets us, plain memory
 * elsewhere. */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "vxs_bpf.h"

/*
 * Opened once at start. With BPF, the maps "fdb", "ports", "port_stats", "worker_stats" (and
 * "sockets", when there is an uplink) lie in /sys/fs/bpf/vxs/NAME/, and the stats are mappings of
 * theirs; without, the stats are plain memory and all fds are -1. Control thread only, but for
 * stats, in which each worker has entries of its own.
 */
struct tables;

struct tables_options {
	const char *name;    /* of the switch */
	bool need_bpf;       /* there is an uplink: plain memory won't do */
	unsigned nic_queues; /* sockets is VXS_PORTS_MAX times this; 0: no sockets map */
	unsigned workers;    /* that have entries in the stats; 0: one. Behind
			      * theirs are those of what VMs brought along */
};

/** tables_open() - logs the reason (bpffs missing, too few rights) and remedy when it fails. */
int tables_open(struct tables **out, const struct tables_options *opt);
/** tables_close() - unpin and free. NULL and half-opened are fine. */
void tables_close(struct tables *t);

/** tables_stats() - a port's counters by worker 0; those by worker w are w * VXS_PORTS_MAX further
 * on. NULL: no such port. */
struct vxs_port_stats *tables_stats(struct tables *t, uint32_t port);
/** tables_worker_stats() - what worker @id counts of itself. NULL: no such worker. */
struct vxs_worker_stats *tables_worker_stats(struct tables *t, unsigned id);
/** tables_sum_stats() - a port's counters, of all workers together. */
void tables_sum_stats(const struct tables *t, uint32_t port, struct vxs_port_stats *sum);
/** tables_carry_stats() - a port's counters go on from @from, where they are not there yet. */
void tables_carry_stats(struct tables *t, uint32_t port, const struct vxs_port_stats *from);
/** tables_clear_stats() - all of a port's counters; no worker knows the port any more. */
void tables_clear_stats(struct tables *t, uint32_t port);
int tables_fd_fdb(const struct tables *t);          /* -1 without BPF */
int tables_fd_sockets(const struct tables *t);      /* -1 without BPF or uplink */
const char *tables_pin_dir(const struct tables *t); /* NULL without BPF */

int tables_set_address(struct tables *t, uint64_t key, uint32_t port, uint32_t flags);
void tables_del_address(struct tables *t, uint64_t key);
void tables_set_port(struct tables *t, uint32_t port, const struct vxs_port *value);

#endif
