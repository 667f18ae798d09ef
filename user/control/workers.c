/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The workers as a group: started, given their queues, stopped. Control thread only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon.h"
#include "control/log.h"
#include "control/watchdog.h"
#include "control/workers.h"
#include "switch/rcu.h"

/* Only a worker that was made is counted, so that d->worker[] has no gaps for anybody. */
static int start_one(struct daemon *d, unsigned id)
{
	struct worker *w;
	int err;

	err = worker_new(&d->worker[id], id, &d->sw);
	if (err) {
		log_error("cannot make worker %u: %s", id, strerror(-err));
		return err;
	}
	w = d->worker[id];
	d->n_workers++;
	w->cpu = d->opt->n_cpus ? d->opt->cpu[id] : -1;
	w->poll = d->opt->poll;
	w->idle_us = d->opt->idle_us;
	w->stats = tables_worker_stats(d->tables, id);
	w->events.wake_fd = d->event_fd;
	err = worker_start(w);
	if (err == -EINVAL && w->cpu >= 0)
		log_error("--cpus: CPU %d isn't online, or this process may not use it: see "
			  "/sys/devices/system/cpu/online",
			  w->cpu);
	else if (err)
		log_error("cannot start worker %u: %s", id, strerror(-err));
	return err;
}

unsigned workers_count(const struct options *opt)
{
	return opt->n_cpus ? opt->n_cpus : 1;
}

int workers_start(struct daemon *d)
{
	unsigned n = workers_count(d->opt);
	int err = 0;

	d->worker = calloc(n, sizeof(*d->worker));
	if (!d->worker)
		return -ENOMEM;
	while (!err && d->n_workers < n)
		err = start_one(d, d->n_workers);
	if (err)
		return err;
	err = watchdog_start(&d->watchdog, d->worker, d->n_workers);
	if (err)
		log_error("cannot start the watchdog: %s", strerror(-err));
	return err;
}

void workers_stop(struct daemon *d)
{
	unsigned i;

	for (i = 0; i < d->n_workers; i++)
		worker_stop(d->worker[i]);
	watchdog_stop(d->watchdog); /* a worker may have needed it to end */
	d->watchdog = NULL;
	for (i = 0; i < d->n_workers; i++) {
		free(d->worker[i]->sources);
		worker_free(d->worker[i]);
	}
	free(d->worker);
	d->worker = NULL;
	d->n_workers = 0;
}

void workers_assign(struct daemon *d, struct port *p)
{
	unsigned load[OPTIONS_CPUS_MAX] = {};
	unsigned q, i, best;

	for (i = 0; i < d->n_workers; i++)
		load[i] = d->worker[i]->sources ? d->worker[i]->sources->n : 0;
	for (q = 0; q < p->n_in; q++) {
		best = 0;
		if (p->kind == VXS_KIND_UPLINK)
			best = q % d->n_workers;
		else if (p->kind == VXS_KIND_VM)
			for (i = 1; i < d->n_workers; i++)
				if (load[i] < load[best])
					best = i;
		load[best]++;
		p->worker[q] = d->worker[best];
	}
}

/* Appends the queues of all ports to the lists, or only counts them. */
static void fill(struct worker_plan *plan, const struct port_table *table, enum plan_kind kind,
		 unsigned *count)
{
	unsigned i, q;

	for (i = 0; i < table->n; i++) {
		struct port *p = table->all[i];

		for (q = 0; q < p->n_in; q++) {
			bool moves = kind != PLAN_ALL && p->next[q];
			unsigned id = moves ? p->next[q]->id : p->worker[q]->id;
			struct sources *s = plan->sources[id];

			if (moves && kind == PLAN_WITHOUT_MOVING)
				continue;
			if (count)
				count[id]++;
			else
				s->source[s->n++] = (struct source){.port = p, .queue = q};
		}
	}
}

int workers_plan(struct daemon *d, const struct port_table *table, struct worker_plan *plan,
		 enum plan_kind kind)
{
	unsigned count[OPTIONS_CPUS_MAX] = {};
	unsigned i;

	*plan = (struct worker_plan){.n = d->n_workers};
	fill(plan, table, kind, count);
	for (i = 0; i < plan->n; i++) {
		struct sources *s = malloc(sizeof(*s) + count[i] * sizeof(s->source[0]));

		if (!s) {
			workers_plan_free(plan);
			return -ENOMEM;
		}
		*s = (struct sources){.n = 0};
		plan->sources[i] = s;
	}
	fill(plan, table, kind, NULL);
	return 0;
}

void workers_swap(struct daemon *d, struct worker_plan *plan)
{
	unsigned i;

	for (i = 0; i < d->n_workers; i++) {
		struct sources *was = d->worker[i]->sources;

		rcu_set(d->worker[i]->sources, plan->sources[i]);
		plan->sources[i] = was;
		worker_wake(d->worker[i]);
	}
}

void workers_plan_renew(struct worker_plan *plan)
{
	unsigned i, k;

	for (i = 0; i < plan->n; i++) {
		struct sources *s = plan->sources[i];

		s->n_resting = 0;
		s->told = false;
		for (k = 0; k < s->n; k++)
			s->source[k].idle = s->source[k].beside = 0;
	}
}

void workers_plan_free(struct worker_plan *plan)
{
	unsigned i;

	for (i = 0; i < plan->n; i++) {
		free(plan->sources[i]);
		plan->sources[i] = NULL;
	}
}
