/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rule by which in-queues are spread over workers: arithmetic alone, nothing is moved here. */
#ifndef SPREAD_H
#define SPREAD_H

#include <stdbool.h>

struct port;

/* An in-queue that runs. */
struct place {
	struct port *port; /* the caller's own business, as is @queue */
	unsigned queue;
	unsigned at; /* number of the worker that polls it */
	unsigned to; /* filled in: the worker that shall */
	bool fixed;  /* it counts, but stays */
	bool fresh;  /* it began to run since the last time: it may still choose */
};

/**
 * spread_level() - decide which worker polls which queue
 * @place:     the queues that run, in an order that doesn't change by itself
 * @n:         how many
 * @n_workers: 1 to OPTIONS_CPUS_MAX
 *
 * Every queue counts one. A fresh queue goes to the worker that has the fewest: to the one where it
 * is, if that is among them, else to the lowest-numbered. Then, as long as the counts of two
 * workers differ by more than one, the last queue of the fullest goes to the emptiest. No smaller
 * number of moves brings queues that aren't fresh to within one of each other; fixed ones may make
 * that impossible.
 *
 * Return: how many queues have another @to than @at.
 */
unsigned spread_level(struct place *place, unsigned n, unsigned n_workers);

#endif
