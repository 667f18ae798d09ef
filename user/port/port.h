/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A port of the switch: the one table of functions behind which VMs, NIC and host meet. */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vxs_bpf.h"
#include "switch/batch.h"
#include "switch/count.h"

#define PORT_QUEUES_MAX 128 /* in-queues of one port (a VM's queue pairs, the NIC's queues) */

struct port;
struct worker;

/*
 * The functions are called by workers, once a batch. They neither allocate nor log nor wait. A
 * queue's in(), done() and wait() are only ever called by the one worker that owns the queue;
 * out() is called by any worker, several at the same time. @w is the worker that calls.
 */
struct port_ops {
	/* Lends up to BATCH_FRAMES frames of @queue: sets b->n, b->n_pieces and each frame's
	 * fields. Faulty frames are dropped and counted in here. Returns b->n, or more than 0 with
	 * b->n == 0 if there was work but no frame came of it (done() is then still called). */
	unsigned (*in)(struct port *p, struct worker *w, unsigned queue, struct batch *b);

	/* Gives the frames of the last in() back. */
	void (*done)(struct port *p, struct worker *w, unsigned queue, struct batch *b);

	/* Copies the @n frames b->frame[which[i]] out in this order, or drops and counts them. */
	void (*out)(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
		    unsigned n);

	/* @on: asks for an event on the queue's fd when work arrives, and returns true if there is
	 * work already. Off: asks for silence, the worker polls. */
	bool (*wait)(struct port *p, struct worker *w, unsigned queue, bool on);
};

struct port {
	/* constant from port_init() to the end, read by workers and control */
	const struct port_ops *ops;
	uint32_t id; /* VXS_PORT_*: index in the maps and in the switch's table */
	enum vxs_port_kind kind;
	uint32_t group;   /* frames never go from a port to one of the same group; 0: no group */
	unsigned n_in;    /* in-queues that workers poll */
	bool learn;       /* learn source addresses here */
	uint64_t fix_mac; /* if not 0: learn only this address (as fdb_mac() has it) */
	char name[VXS_NAME_SIZE];
	/* worker 0's entry for this port in the map port_stats; see port_stats() in worker.h */
	struct vxs_port_stats *stats;

	/* written by control at any time, read by workers (relaxed) */
	uint32_t takes; /* OFFLOAD_* that the port's peer takes: for GRO. out() may know better */

	/* set by control before the port is published, and changed while no worker has the queue */
	struct worker *worker[PORT_QUEUES_MAX]; /* who polls each in-queue */

	/* control's (balance.c) */
	struct worker *next[PORT_QUEUES_MAX]; /* who shall poll it, while it moves; else NULL */
	bool counted[PORT_QUEUES_MAX];        /* it ran when queues were last spread */
};

/* Frames of group PORT_GROUP_WIRE (uplink and host) never meet inside: the kernel joined them. */
#define PORT_GROUP_WIRE 1

#endif
