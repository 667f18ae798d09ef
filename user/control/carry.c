/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a VM's port takes along when the VM moves: its addresses and its counters. */
#include "control/daemon.h"
#include "vm/vm_saved.h"

/*
 * On arrival an address is treated as if the VM had just sent a frame from it: it may be another
 * port's by now, or fixed, and the limits hold. So nothing comes this way that the VM couldn't do
 * by sending. What was static elsewhere is learned here: only the user of this switch fixes things.
 *
 * Counters go on from where they stood, and never back.
 */
struct collecting {
	struct vm_saved *s;
	uint32_t port;
};

static bool collect(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen)
{
	struct collecting *c = arg;

	(void)seen;
	if (port == c->port && c->s->n_addresses < VM_SAVED_ADDRESSES)
		c->s->address[c->s->n_addresses++] = key | (fixed ? VM_SAVED_FIXED : 0);
	return false;
}

static void save(void *arg, struct vm *vm, struct vm_saved *s)
{
	struct collecting c = {.s = s, .port = vm->port.id};
	struct daemon *d = arg;

	fdb_walk(d->sw.fdb, collect, &c);
	tables_sum_stats(d->tables, vm->port.id, &s->stats);
}

static unsigned load(void *arg, struct vm *vm, const struct vm_saved *s)
{
	struct daemon *d = arg;
	unsigned i, n = 0;

	for (i = 0; i < s->n_addresses; i++)
		n += daemon_learn_address(d, &vm->port, s->address[i] & ~VM_SAVED_FIXED);
	tables_carry_stats(d->tables, vm->port.id, &s->stats);
	return n;
}

const struct vm_carrier daemon_carrier = {.save = save, .load = load};
