/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Moves queues from worker to worker while they carry frames. Control thread only. */

/*
 * Theory of operation
 *
 * Two workers must never poll one queue at the same time, and frames of a flow must not overtake
 * each other. So a queue is first taken out of all lists of sources; once every worker has passed a
 * quiet point, the last batch of it has been delivered and given back. Frames for guests and the
 * host have arrived by then, since out() copies them. Those for the wire may still wait in the NIC
 * queue that the old worker sends through, while the new one will send through another: they are
 * waited for, and if the NIC takes too long the queue goes back to where it was (nic_drain()).
 * Nobody has the queue meanwhile, so control may write its port.worker[]. Then lists are published
 * that have it in its new place. Frames that come in between wait in the guest's ring.
 *
 * No kick is lost: the new worker watches the kick fd before the old one ceases to, and every
 * worker is woken when its list is new, and then looks at all its queues once. The old worker may
 * have asked the guest for kicks before it slept, and the new one may poll for long: so the guest
 * is asked for silence on the way.
 *
 * Front-ends enable and disable queues one by one, a message each, and a boot brings many changes
 * within milliseconds: so spreading is put off by BALANCE_MS, once for all that happens meanwhile.
 * A front-end that changes its mind for ever must not have others' queues moved about for ever:
 * after MOVES_PER_SECOND times the next one waits for the next second.
 */
#include "control/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon.h"
#include "control/log.h"
#include "control/spread.h"
#include "control/workers.h"
#include "switch/rcu.h"

#define BALANCE_MS       50
#define MOVES_PER_SECOND 4
#define TRIES            5 /* then it is tried again when something changes, once a second */

bool balance_counts(const struct port *p, unsigned queue)
{
	return p->kind != VXS_KIND_VM || vm_queue_runs((const struct vm *)p, queue);
}

/* The queues that run, in the order of port numbers; only how many if @place is NULL. */
static unsigned collect(const struct port_table *table, struct place *place)
{
	unsigned i, q, n = 0;

	for (i = 0; i < table->n; i++) {
		struct port *p = table->all[i];

		for (q = 0; q < p->n_in; q++) {
			if (!balance_counts(p, q)) {
				p->counted[q] = false;
				continue;
			}
			if (place)
				place[n] = (struct place){
					.port = p,
					.queue = q,
					.at = p->worker[q]->id,
					.fixed = p->kind != VXS_KIND_VM,
					.fresh = !p->counted[q],
				};
			n++;
		}
	}
	return n;
}

/* What to do with the queues that move. */
struct moving {
	struct daemon *d;
	struct place *place;
	unsigned n; /* places; those whose port.next[] is set do move */
	unsigned moves;
};

static void stay(struct moving *m, struct place *at)
{
	at->port->next[at->queue] = NULL;
	at->to = at->at;
	m->moves--;
}

/* The new worker watches as well. Whatever cannot be watched stays where it is. */
static void prepare(struct moving *m)
{
	unsigned i;

	for (i = 0; i < m->n; i++) {
		struct place *at = &m->place[i];
		struct worker *to = m->d->worker[at->to];
		int err;

		if (at->to == at->at)
			continue;
		err = vm_queue_watch(vm_of(at->port), at->queue, to);
		if (!err) {
			at->port->next[at->queue] = to;
			continue;
		}
		log_warn("vm %s: queue %u stays on worker %u, since worker %u cannot wait for its "
			 "kicks: %s",
			 at->port->name, 2 * at->queue + 1, at->at, at->to, strerror(-err));
		stay(m, at);
	}
}

/* Undoes prepare(). */
static void give_up(struct moving *m)
{
	unsigned i;

	for (i = 0; i < m->n; i++) {
		struct place *at = &m->place[i];
		struct worker *to = at->port->next[at->queue];

		if (!to)
			continue;
		vm_queue_unwatch(vm_of(at->port), at->queue, to);
		stay(m, at);
	}
}

/* No worker has the queues now. */
static void silence(struct moving *m)
{
	unsigned i;

	for (i = 0; i < m->n; i++) {
		struct place *at = &m->place[i];
		struct worker *to = at->port->next[at->queue];

		if (to)
			at->port->ops->wait(at->port, to, at->queue, false);
	}
}

/* Nor now. */
static void hand_over(struct moving *m)
{
	unsigned i;

	for (i = 0; i < m->n; i++) {
		struct place *at = &m->place[i];
		struct port *p = at->port;

		if (!p->next[at->queue])
			continue;
		vm_queue_unwatch(vm_of(p), at->queue, p->worker[at->queue]);
		p->worker[at->queue] = p->next[at->queue];
		p->next[at->queue] = NULL;
	}
}

/* What those workers that lose a queue have sent is on the wire. */
static bool drain(const struct moving *m)
{
	bool from[OPTIONS_CPUS_MAX] = {};
	unsigned i;

	if (!m->d->nic)
		return true;
	for (i = 0; i < m->n; i++)
		if (m->place[i].to != m->place[i].at)
			from[m->place[i].at] = true;
	return nic_drain(m->d->nic, from, m->d->n_workers);
}

static int move(struct moving *m)
{
	struct worker_plan without, with;
	struct daemon *d = m->d;
	int err;
	bool go;

	err = workers_plan(d, d->sw.ports, &without, PLAN_WITHOUT_MOVING);
	if (err)
		return err;
	err = workers_plan(d, d->sw.ports, &with, PLAN_MOVED);
	if (err) {
		workers_plan_free(&without);
		return err;
	}
	workers_swap(d, &without);
	rcu_wait();
	silence(m);
	go = drain(m);
	if (go)
		hand_over(m);
	/* After the first swap @without holds the lists as they were. */
	if (!go)
		workers_plan_renew(&without);
	workers_swap(d, go ? &with : &without);
	rcu_wait();
	workers_plan_free(&without);
	workers_plan_free(&with);
	return go ? 0 : -EAGAIN;
}

static int balance(struct moving *m)
{
	unsigned i;
	int err;

	m->moves = spread_level(m->place, m->n, m->d->n_workers);
	if (m->moves)
		prepare(m);
	if (m->moves) {
		err = move(m);
		if (err) {
			give_up(m);
			return err;
		}
		log_debug("%u queue%s moved to another worker", m->moves, m->moves == 1 ? "" : "s");
	}
	for (i = 0; i < m->n; i++)
		m->place[i].port->counted[m->place[i].queue] = true;
	return m->moves;
}

int balance_now(struct daemon *d)
{
	const struct port_table *table = d->sw.ports;
	struct moving m = {.d = d};
	int ret = 0;

	d->balance_due = false;
	if (!table || d->n_workers < 2)
		return 0;
	m.n = collect(table, NULL);
	if (!m.n)
		return 0;
	m.place = malloc(m.n * sizeof(*m.place));
	if (m.place) {
		m.n = collect(table, m.place); /* fewer, if one has just broken */
		ret = balance(&m);
		free(m.place);
	} else {
		ret = -ENOMEM;
	}
	if (ret >= 0) {
		d->balance_failed = 0;
	} else if (++d->balance_failed < TRIES) {
		d->balance_due = true;
	} else if (d->balance_failed == TRIES) {
		log_warn("queues stay on the workers where they are: %s",
			 ret == -EAGAIN ? "the uplink doesn't get rid of what was sent"
					: "out of memory");
	}
	return ret;
}

static void on_balance(void *arg, uint32_t events)
{
	struct daemon *d = arg;

	(void)events;
	d->balance_set = false;
	d->balance_moved += !!balance_now(d);
}

int balance_open(struct daemon *d)
{
	return d->n_workers < 2 ? 0 : loop_alarm(d->loop, &d->balance_alarm, on_balance, d);
}

void balance_soon(struct daemon *d)
{
	if (!d->balance_alarm)
		return;
	d->balance_due = true;
	if (d->balance_set || d->balance_moved >= MOVES_PER_SECOND || d->balance_failed >= TRIES)
		return; /* balance_second() does it */
	d->balance_set = true;
	loop_alarm_set(d->balance_alarm, BALANCE_MS);
}

void balance_second(struct daemon *d)
{
	d->balance_moved = 0;
	if (d->balance_due && !d->balance_set)
		d->balance_moved += !!balance_now(d);
}

void balance_close(struct daemon *d)
{
	loop_unwatch(d->balance_alarm);
	d->balance_alarm = NULL;
}
