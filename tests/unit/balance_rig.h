/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A daemon in the test's own thread, and fake VMs whose queues it spreads over its workers. */
#ifndef BALANCE_RIG_H
#define BALANCE_RIG_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "control/balance.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/show.h"
#include "fake_vm.h"
#include "mark.h"

/*
 * The test's thread is the control thread: it runs the daemon's loop whenever a fake VM waits. A
 * thread of its own carries frames between VMs a and b, two pairs of queues each. A third VM, x,
 * disables those of its queues that one worker has, and enables them again: each time queues of a
 * and b have to move, since they are the last of their worker.
 */
#define WAIT    10000 /* ms; sanitizers are slow */
#define PAIRS   2
#define X_PAIRS 8

static char base[64];
static unsigned comes_by[2]; /* the pair by which a, b get what the other sends: one MAC flow */

struct lab {
	struct options opt;
	struct vm_options vm[3];
	struct daemon *d;
	struct fake_vm *x, *a, *b;
	unsigned moves;
};

static inline void turn(void *arg)
{
	struct lab *l = arg;

	loop_once(l->d->loop, 1);
}

/* @n workers on what CPUs we have, if need be several on one. */
static inline void set_cpus(struct options *opt, unsigned n)
{
	cpu_set_t may;
	unsigned cpu;

	sched_getaffinity(0, sizeof(may), &may);
	while (opt->n_cpus < n)
		for (cpu = 0; cpu < CPU_SETSIZE && opt->n_cpus < n; cpu++)
			if (CPU_ISSET(cpu, &may))
				opt->cpu[opt->n_cpus++] = cpu;
}

static inline void lab_open(struct lab *l, unsigned n_workers, enum poll_mode poll)
{
	memset(l, 0, sizeof(*l));
	snprintf(l->opt.name, sizeof(l->opt.name), "balance-%d", getpid());
	snprintf(l->opt.run_dir, sizeof(l->opt.run_dir), "%s/run", base);
	set_cpus(&l->opt, n_workers);
	l->opt.poll = poll;
	l->opt.ageing = 300;
	l->opt.n_vms = 3;
	l->opt.vm = l->vm;
	l->vm[0] = (struct vm_options){.name = "x", .queues = X_PAIRS};
	l->vm[1] = (struct vm_options){.name = "a", .queues = PAIRS};
	l->vm[2] = (struct vm_options){.name = "b", .queues = PAIRS};
	CU_ASSERT_EQUAL_FATAL(daemon_open(&l->d, &l->opt), 0);
}

static inline void lab_close(struct lab *l)
{
	fake_vm_close(l->x);
	fake_vm_close(l->a);
	fake_vm_close(l->b);
	daemon_close(l->d);
	CU_ASSERT(access(l->opt.run_dir, F_OK)); /* nothing left behind */
}

static inline struct fake_vm *join(struct lab *l, const char *name, unsigned pairs)
{
	struct fake_vm_options opt = {
		.idle = turn,
		.idle_arg = l,
		.pairs = pairs,
		.ring_size = 512,
		.features = FAKE_VM_ALL | (pairs > 1 ? FAKE_VM_MQ : 0),
		.timeout_ms = WAIT,
	};
	struct fake_vm *vm = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", l->opt.run_dir, name);
	opt.socket = path;
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

/* Queues that run on worker @id, as `vxsctl status` tells. */
static inline unsigned shown(struct lab *l, unsigned id)
{
	struct json_object *status = show_status(l->d), *list, *queues;
	unsigned n;

	json_object_object_get_ex(status, "workers", &list);
	json_object_object_get_ex(json_object_array_get_idx(list, id), "queues", &queues);
	n = json_object_array_length(queues);
	json_object_put(status);
	return n;
}

struct wish {
	struct lab *l;
	unsigned total;
};

static inline bool is_level(void *arg)
{
	struct wish *w = arg;
	unsigned i, n, least = UINT32_MAX, most = 0, total = 0;

	turn(w->l);
	for (i = 0; i < w->l->d->n_workers; i++) {
		n = shown(w->l, i);
		total += n;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	return total == w->total && most <= least + 1;
}

/* Soon, and without being told, @total queues run and are level. */
static inline bool levels(struct lab *l, unsigned total)
{
	return check_until(is_level, &(struct wish){l, total}, WAIT);
}

/* ---- frames between a and b ---- */

struct traffic {
	struct fake_vm *vm[2];
	struct inbox in[2];
	unsigned window; /* frames of a flow before the receivers are waited for */
	bool stop;       /* atomic */
	bool failed;     /* atomic */
	unsigned done;   /* atomic: windows that arrived */
	pthread_t thread;
};

static inline bool fail(struct traffic *t, const char *what, const char *why)
{
	printf("--- %s: %s\n", what, why);
	__atomic_store_n(&t->failed, true, __ATOMIC_RELEASE);
	return false;
}

static inline void mac_of(unsigned i, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){0x52, 0x54, 0, 0, 0, 1 + i}, 6);
}

/* Takes one frame in. */
static inline int take(struct traffic *t, unsigned i)
{
	uint8_t frame[2048];
	int len = fake_vm_recv_wait(t->vm[i], comes_by[i], frame, sizeof(frame), WAIT);

	if (len > 0)
		inbox_put(&t->in[i], frame, len);
	return len;
}

static inline bool shoot(struct traffic *t, unsigned i, unsigned flow, unsigned seq)
{
	struct mark m = {.flow = flow, .seq = seq};
	uint8_t frame[2048];
	size_t len = 64 + (seq * 31) % 1400;
	int err;

	mac_of(!i, m.dst);
	mac_of(i, m.src);
	mark_write(frame, len, &m);
	err = fake_vm_send(t->vm[i], flow % PAIRS, frame, len);
	return !err || fail(t, "not sent", err == -EAGAIN ? "ring full" : fake_vm_error(t->vm[i]));
}

static inline bool arrived(struct traffic *t, unsigned i, unsigned flow, unsigned n)
{
	while (t->in[i].flow[flow] < n)
		if (take(t, i) <= 0)
			return fail(t, "frame lost", fake_vm_error(t->vm[i]));
	return true;
}

static inline void *carry(void *arg)
{
	struct traffic *t = arg;
	unsigned seq = 0, flow, i;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		for (flow = 0; flow < 2 * PAIRS; flow++)
			for (i = 0; i < 2; i++)
				if (!shoot(t, i, flow, seq))
					return NULL;
		if (++seq % t->window)
			continue;
		for (flow = 0; flow < 2 * PAIRS; flow++)
			for (i = 0; i < 2; i++)
				if (!arrived(t, i, flow, seq))
					return NULL;
		for (i = 0; i < 2; i++)
			if (!inbox_clean(&t->in[i])) {
				fail(t, "frames", "out of order, twice, or not as they were sent");
				return NULL;
			}
		if (seq >= MARK_SEQS / 2) {
			inbox_clear(&t->in[0]);
			inbox_clear(&t->in[1]);
			seq = 0;
		}
		__atomic_fetch_add(&t->done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* One frame at a time, by each of the queues in turn: each needs a kick of its own. */
static inline void *ping(void *arg)
{
	struct traffic *t = arg;
	unsigned seq = 0, i;

	for (; !__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE); seq = (seq + 1) % MARK_SEQS) {
		if (!seq) {
			inbox_clear(&t->in[0]);
			inbox_clear(&t->in[1]);
		}
		i = seq / PAIRS % 2;
		if (!shoot(t, i, seq % PAIRS, seq))
			return NULL;
		if (take(t, !i) <= 0) {
			fail(t, "no wake-up", fake_vm_error(t->vm[!i]));
			return NULL;
		}
		__atomic_fetch_add(&t->done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

struct progress {
	struct traffic *t;
	unsigned done;
};

static inline bool has_done(void *arg)
{
	struct progress *p = arg;

	return __atomic_load_n(&p->t->failed, __ATOMIC_ACQUIRE) ||
	       (int)(__atomic_load_n(&p->t->done, __ATOMIC_ACQUIRE) - p->done) >= 0;
}

/* Waits until @n more windows or pings went through. */
static inline bool goes_on(struct traffic *t, unsigned n)
{
	struct progress p = {t, __atomic_load_n(&t->done, __ATOMIC_ACQUIRE) + n};

	return check_until(has_done, &p, 2 * WAIT) && !__atomic_load_n(&t->failed, 2);
}

static inline void traffic_start(struct traffic *t, struct lab *l, void *(*run)(void *))
{
	unsigned i;

	t->vm[0] = l->a;
	t->vm[1] = l->b;
	for (i = 0; i < 2; i++) {
		t->vm[i]->opt.idle = NULL; /* from now on in a thread that isn't control's */
		CU_ASSERT_EQUAL_FATAL(inbox_open(&t->in[i]), 0);
	}
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t->thread, NULL, run, t), 0);
}

static inline void traffic_stop(struct traffic *t, struct lab *l)
{
	unsigned i;

	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	pthread_join(t->thread, NULL);
	for (i = 0; i < 2; i++) {
		CU_ASSERT(inbox_clean(&t->in[i]));
		t->vm[i]->opt.idle = turn;
		t->vm[i]->opt.idle_arg = l;
		inbox_close(&t->in[i]);
	}
}

/* Addresses and their ports are known, so that nothing is flooded. */
static inline bool introduce(struct lab *l)
{
	struct fake_vm *vm[2] = {l->a, l->b};
	uint8_t frame[2048];
	struct mark m = {};
	uint32_t value;
	unsigned i, n;

	for (i = 0; i < 2; i++) {
		mac_of(i, m.src);
		mac_of(!i, m.dst);
		mark_write(frame, 64, &m);
		if (fake_vm_send(vm[i], 0, frame, 64))
			return false;
		for (n = 0; n < WAIT; n++)
			if (fake_vm_recv_wait(vm[!i], n % PAIRS, frame, sizeof(frame), 1) == 64)
				break;
		comes_by[!i] = n % PAIRS;
		for (n = 0; n < WAIT && !fdb_find(l->d->sw.fdb, fdb_key(fdb_mac(m.src), 0), &value);
		     n++)
			turn(l);
	}
	return n < WAIT;
}

/* Has queues of x that are on worker @id stop, or all run; then spreads. How many queues moved. */
static inline int stir(struct lab *l, unsigned id, bool run)
{
	struct vm *x = vm_of(daemon_find_port(l->d, "x"));
	bool there[X_PAIRS];
	unsigned q;
	int moved;

	for (q = 0; q < X_PAIRS; q++) /* now: the loop that we run may move some meanwhile */
		there[q] = x->port.worker[q]->id == id;
	for (q = 0; q < X_PAIRS; q++) {
		if (vm_queue_runs(x, q) == run || (!run && !there[q]))
			continue;
		CU_ASSERT_EQUAL_FATAL(fake_vm_enable_ring(l->x, 2 * q + 1, run), 0);
		CU_ASSERT_EQUAL_FATAL(fake_vm_sync(l->x), 0);
	}
	moved = balance_now(l->d);
	CU_ASSERT(moved >= 0);
	l->moves += moved > 0 ? moved : 0;
	return moved;
}

/* Runs @tests, with a directory for their switches. */
static inline int lab_main(const char *suite, const struct check *tests, int argc, char **argv)
{
	int status;

	snprintf(base, sizeof(base), "/tmp/vxs-test-%s.XXXXXX", suite);
	if (!mkdtemp(base)) {
		perror(base);
		return 1;
	}
	log_set_level(LOG_ERROR);
	status = check_main(suite, tests, argc, argv);
	rmdir(base);
	return status;
}

#endif
