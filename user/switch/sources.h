/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The in-queues of one worker: those that it polls, and those that rest until the guest kicks. */
#ifndef SOURCES_H
#define SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "port/port.h"

struct source {
	struct port *port;
	unsigned queue;
	/* the worker's own; control sets them to 0 */
	unsigned idle;   /* rounds since it last had work */
	unsigned beside; /* of them, those that followed one in which another queue had work */
};

/* Published to the worker as a whole; from then on it is the worker's, who alone changes it. */
struct sources {
	unsigned n;
	unsigned n_resting; /* the last ones of source[]; control sets it to 0 */
	bool told;          /* all were told that they are polled; control sets it to false */
	struct source source[];
};

/* Source @i, which is polled, rests from now on; another has its number. */
static inline void sources_rest(struct sources *s, unsigned i)
{
	struct source *last = &s->source[s->n - ++s->n_resting], was = *last;

	*last = s->source[i];
	s->source[i] = was;
}

/* The reverse, for @i of the resting ones; returns where it is now. */
static inline struct source *sources_rouse(struct sources *s, unsigned i)
{
	struct source *first = &s->source[s->n - s->n_resting--], was = *first;

	*first = s->source[i];
	s->source[i] = was;
	first->idle = first->beside = 0;
	return first;
}

/* What an event says of the queue that it is for; never 0. */
static inline uint64_t source_key(const struct port *p, unsigned queue)
{
	return (uint64_t)(p->id + 1) << 32 | queue;
}

/* The number of the resting source that an event is for, or -1. */
static inline int sources_find_resting(const struct sources *s, uint64_t key)
{
	unsigned i;

	for (i = s->n - s->n_resting; i < s->n; i++)
		if (source_key(s->source[i].port, s->source[i].queue) == key)
			return i;
	return -1;
}

#endif
