/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch itself: decides for a batch where each frame goes, and visits each destination once.
 */
#ifndef SWITCH_H
#define SWITCH_H

#include "port/port.h"
#include "switch/fdb.h"
#include "switch/worker.h"

/* All ports; published as a whole (RCU), never edited in place. */
struct port_table {
	unsigned n;                        /* ports in all[] */
	struct port *all[VXS_PORTS_MAX];   /* who gets floods, in ascending number */
	struct port *by_id[VXS_PORTS_MAX]; /* by port number, NULL where there is none */
};

struct vswitch {
	struct fdb *fdb;
	struct port_table *ports; /* RCU; written by control */
};

/**
 * switch_batch() - send each frame of a batch on its way
 * @w: the worker that runs it
 * @b: a batch that an in side filled
 *
 * Looks up all frames first, then calls out() once for each destination. Worker thread.
 */
void switch_batch(struct worker *w, struct batch *b);

#endif
