/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC programs on NIC and TAP: loaded, attached, and taken away again. */
#ifndef HOST_TC_H
#define HOST_TC_H

#include <stdbool.h>

struct host_tc;

struct host_tc_setup {
	int nic_ifindex;
	const char *nic_name;
	int tap_ifindex;
	const char *tap_name;
	int fdb_fd;
};

/**
 * host_tc_open() - attach the programs of bpf/host_share.bpf.c
 *
 * Logs reason and remedy when it fails. Control thread. Return: 0 or -errno.
 */
int host_tc_open(struct host_tc **out, const struct host_tc_setup *setup);

/**
 * host_tc_tidy() - take away what a killed daemon left on a NIC that nobody shares now
 *
 * Filters of others stay, and with them the qdisc. Control thread.
 */
void host_tc_tidy(int nic_ifindex, const char *nic_name);

/** host_tc_close() - take them away, and the qdisc too if it is ours and empty. NULL is fine. */
void host_tc_close(struct host_tc *tc);

#endif
