/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A port's state on its way between us and the front-end, while a VM moves to another host. */
#ifndef VM_TRANSFER_H
#define VM_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>

struct vm_control;

struct vm_transfer {
	int fd; /* the file that we share with the front-end */
	bool load;
};

/**
 * vm_transfer_start() - SET_DEVICE_STATE_FD; ends the transfer before
 * @c:    the VM, whose rings are all stopped
 * @load: the front-end will write the state, or else read it
 *
 * c->transfer->fd is for the front-end. Return: 0 or -errno; -EBUSY: rings run.
 */
int vm_transfer_start(struct vm_control *c, bool load);

/**
 * vm_transfer_end() - CHECK_DEVICE_STATE: the front-end has read, or written, all
 * @c: the VM
 *
 * What came is checked as a whole, and then taken over; logs what is wrong with it. Return: 0;
 * -ENOENT: there is no transfer; -EBUSY: rings run; -EINVAL; -errno.
 */
int vm_transfer_end(struct vm_control *c);

/** vm_transfer_free() - whatever became of it. NULL is fine. */
void vm_transfer_free(struct vm_transfer *t);

#endif
