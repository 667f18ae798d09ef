/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A post-copy migration on its way in: a guest that runs before all of its memory is there. */
#ifndef VU_POSTCOPY_H
#define VU_POSTCOPY_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost_user.h"

struct loop;
struct vu_mem;
struct vu_postcopy;

struct vu_postcopy_events {
	/* Pages have come that were wanted. */
	void (*arrived)(void *arg);
	/* No more will come, for the reason @why; it may be freed from here. */
	void (*failed)(void *arg, const char *why);
	void *arg;
};

/** vu_postcopy_is_possible() - kernel and program allow it. Control thread, as all of these. */
bool vu_postcopy_is_possible(void);

/**
 * vu_postcopy_new() - POSTCOPY_ADVISE
 * @out:    where it goes
 * @loop:   the control thread's
 * @events: who wants to know
 *
 * Return: 0, or -errno of vu_fetch_start().
 */
int vu_postcopy_new(struct vu_postcopy **out, struct loop *loop,
		    const struct vu_postcopy_events *events);

/** vu_postcopy_free() - whatever pages it waits for; no worker uses its table. NULL is fine. */
void vu_postcopy_free(struct vu_postcopy *p);

/** vu_postcopy_fd() - the userfaultfd that the front-end gets; it stays ours. */
int vu_postcopy_fd(const struct vu_postcopy *p);

/** vu_postcopy_listen() - POSTCOPY_LISTEN; false: it was told before. */
bool vu_postcopy_listen(struct vu_postcopy *p);
bool vu_postcopy_listens(const struct vu_postcopy *p);

/** vu_postcopy_drop_table() - none holds any more: the old one may be freed, or be ordinary. */
void vu_postcopy_drop_table(struct vu_postcopy *p);

/**
 * vu_postcopy_table() - SET_MEM_TABLE after POSTCOPY_LISTEN
 * @p:     the migration
 * @mem:   what vu_mem_new() made of the message; used until it is dropped
 * @table: the message's payload; its uva are replaced by the addresses that faults will show
 * @fds:   its file descriptors
 *
 * All of @mem is absent from now on, until it has arrived.
 *
 * Return: 0; -ENOMEM; -ENOSPC if there were too many tables; -EAGAIN or another -errno if the
 * fetcher doesn't listen.
 */
int vu_postcopy_table(struct vu_postcopy *p, struct vu_mem *mem, struct vhost_user_memory *table,
		      const int *fds);

/** vu_postcopy_awaits_ack() - the front-end still has to say that it knows the addresses. */
bool vu_postcopy_awaits_ack(const struct vu_postcopy *p);
/** vu_postcopy_ack() - it did: pages may be asked for. 0 or -errno as vu_postcopy_table(). */
int vu_postcopy_ack(struct vu_postcopy *p);

/**
 * vu_postcopy_want() - ask for a page, once
 * @p:   the migration
 * @gpa: an address in it
 *
 * Return: true if it is there already, or not in guest memory at all; false: it will come, if there
 * was room to ask for it.
 */
bool vu_postcopy_want(struct vu_postcopy *p, uint64_t gpa);

/** vu_postcopy_poke() - have arrived() called soon, for what is there already. */
void vu_postcopy_poke(struct vu_postcopy *p);

#endif
