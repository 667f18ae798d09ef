/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A port as it travels with its VM to another host: what it is, and how that is written down. */
#ifndef VM_SAVED_H
#define VM_SAVED_H

#include <stddef.h>
#include <stdint.h>

#include "vxs_bpf.h"

#define VM_SAVED_ADDRESSES 2048         /* at most; a VM has 1024 learned ones */
#define VM_SAVED_COUNT_MAX (1ull << 60) /* what no counter reaches */
#define VM_SAVED_WRITE_MAX (64u << 10)  /* bytes that vm_saved_write() needs at most */
#define VM_SAVED_READ_MAX  (256u << 10) /* and that we read, with what newer versions may add */
#define VM_SAVED_FIXED     (1ull << 62) /* in an address: it was static there */

struct vm_saved {
	char name[VXS_NAME_SIZE]; /* of the port; for the log */
	uint64_t mac;             /* mac=, as fdb_mac() has it; 0: none */
	uint32_t mtu;             /* in effect; 0: any */
	uint32_t queues;          /* pairs that the VM uses, at least 1 */
	uint64_t features;        /* that were negotiated */
	unsigned n_addresses;
	uint64_t address[VM_SAVED_ADDRESSES]; /* fdb_key(), and VM_SAVED_FIXED */
	struct vxs_port_stats stats;
};

/**
 * vm_saved_write() - write a port down
 * @s:  the port
 * @to: VM_SAVED_WRITE_MAX bytes of room
 *
 * Return: the number of bytes.
 */
size_t vm_saved_write(const struct vm_saved *s, uint8_t *to);

/**
 * vm_saved_read() - read what vm_saved_write() wrote, here or in another version
 * @s:   where it goes; worthless if it fails
 * @from: @len bytes from anybody
 * @len:  how many
 * @why:  where what is wrong with it goes, a constant
 *
 * Records that are unknown are left out, and so are counters. Return: 0 or -EINVAL.
 */
int vm_saved_read(struct vm_saved *s, const uint8_t *from, size_t len, const char **why);

#endif
