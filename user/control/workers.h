/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The workers as a group: started, given their queues, stopped. Control thread only. */
#ifndef WORKERS_H
#define WORKERS_H

#include "control/options.h"
#include "switch/switch.h"

struct daemon;

/* A new list of sources for each worker, made before anything is published: it may fail. */
struct worker_plan {
	unsigned n;
	struct sources *sources[OPTIONS_CPUS_MAX];
};

/** workers_count() - how many --cpus asks for. */
unsigned workers_count(const struct options *opt);
/** workers_start() - one for each CPU of --cpus, else one that isn't pinned; logs. 0 or -errno. */
int workers_start(struct daemon *d);
/** workers_stop() - end and free them all; what they were given is freed. */
void workers_stop(struct daemon *d);

/**
 * workers_assign() - choose who polls each in-queue of a port that comes
 *
 * A NIC's queue q goes to worker q modulo their number, so that every worker has a queue to send
 * on; the host's to worker 0: both stay there. A VM's queues go each to the worker that has the
 * fewest; once they run, balance.c moves them where needed.
 */
void workers_assign(struct daemon *d, struct port *p);

enum plan_kind {
	PLAN_ALL,            /* by port.worker[] */
	PLAN_WITHOUT_MOVING, /* the same, less the queues with a port.next[] */
	PLAN_MOVED,          /* by port.next[] where there is one */
};

/** workers_plan() - lists for the ports of @table. 0 or -ENOMEM. */
int workers_plan(struct daemon *d, const struct port_table *table, struct worker_plan *plan,
		 enum plan_kind kind);
/** workers_swap() - publish the plan, which then holds what was: free it after an rcu_wait(). */
void workers_swap(struct daemon *d, struct worker_plan *plan);
/** workers_plan_renew() - lists that workers had, and that nobody has now, are as good as new. */
void workers_plan_renew(struct worker_plan *plan);
void workers_plan_free(struct worker_plan *plan);

#endif
