/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Moves queues from worker to worker, so that each has as many as the others. Control thread only.
 */
#ifndef BALANCE_H
#define BALANCE_H

#include <stdbool.h>

#include "port/port.h"

struct daemon;

/** balance_open() - the workers have started. 0 or -errno. */
int balance_open(struct daemon *d);
void balance_close(struct daemon *d);
/** balance_soon() - queues began or ceased to run: have them spread anew, once, in a moment. */
void balance_soon(struct daemon *d);
/** balance_second() - once a second: what couldn't be done in a moment is done now. */
void balance_second(struct daemon *d);

/**
 * balance_now() - spread the queues that run over the workers, by the rule of spread.h
 * @d: the daemon
 *
 * Waits for all workers twice if a queue has to move, and for what they sent to be on the wire.
 *
 * Return: how many queues moved; -ENOMEM, or -EAGAIN if the NIC was too slow: nothing has moved,
 * and it is tried again in the next seconds.
 */
int balance_now(struct daemon *d);

/** balance_counts() - whether in-queue @queue runs, so that it costs its worker something. */
bool balance_counts(const struct port *p, unsigned queue);

#endif
