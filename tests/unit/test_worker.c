/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The worker's loop, over a port that is nothing but a counter and an eventfd. */
#include "check.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "switch/cycles.h"
#include "switch/rcu.h"
#include "switch/switch.h"
#include "switch/worker.h"

/* A port with work to do: @todo is raised by the test, lowered by the worker. */
struct counter {
	struct port port; /* first */
	int fd;
	unsigned todo, done;
	unsigned looks; /* times that the worker looked for work */
	bool wants_kick;
	bool endless; /* it is never without work */
};

static unsigned counter_in(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	struct counter *c = (struct counter *)p;

	(void)by;
	(void)queue;
	b->n = 0;
	__atomic_store_n(&c->looks, c->looks + 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&c->endless, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&c->todo, __ATOMIC_ACQUIRE) >
		       __atomic_load_n(&c->done, __ATOMIC_RELAXED);
}

static void counter_done(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	struct counter *c = (struct counter *)p;

	(void)by;
	(void)queue;
	(void)b;
	__atomic_store_n(&c->done, c->done + 1, __ATOMIC_RELEASE);
}

static bool counter_wait(struct port *p, struct worker *by, unsigned queue, bool on)
{
	struct counter *c = (struct counter *)p;

	(void)by;
	(void)queue;
	__atomic_store_n(&c->wants_kick, on, __ATOMIC_SEQ_CST);
	return on && __atomic_load_n(&c->todo, __ATOMIC_SEQ_CST) != c->done;
}

static const struct port_ops counter_ops = {
	.in = counter_in,
	.done = counter_done,
	.wait = counter_wait,
};

static struct vswitch sw;
static struct worker *w;
static struct counter counter;
static struct sources *sources;
static unsigned idle_us;

static void setup(enum poll_mode poll)
{
	counter = (struct counter){.port = {.ops = &counter_ops, .id = 5}};
	counter.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	sw.fdb = fdb_new();
	CU_ASSERT_EQUAL_FATAL(worker_new(&w, 0, &sw), 0);
	w->poll = poll;
	w->idle_us = idle_us ? idle_us : 5;
	sources = calloc(1, sizeof(*sources) + sizeof(struct source));
	sources->n = 1;
	sources->source[0].port = &counter.port;
	rcu_set(w->sources, sources);
	CU_ASSERT_EQUAL_FATAL(worker_watch(w, counter.fd, &counter.port, 0), 0);
}

static void teardown(void)
{
	worker_stop(w);
	worker_free(w);
	free(sources);
	fdb_free(sw.fdb);
	close(counter.fd);
}

static bool is_done(void *arg)
{
	(void)arg;
	return __atomic_load_n(&counter.done, __ATOMIC_ACQUIRE) == counter.todo;
}

/* Raises todo by one, and kicks only if the worker asked for it: as a driver does. */
static void add_work(void)
{
	__atomic_store_n(&counter.todo, counter.todo + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&counter.wants_kick, __ATOMIC_SEQ_CST))
		eventfd_write(counter.fd, 1);
}

static void race(enum poll_mode poll, unsigned times)
{
	unsigned i, lost = 0;

	setup(poll);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
	for (i = 0; i < times && !lost; i++) {
		unsigned spin = i * 7919u % 400;

		add_work();
		while (spin-- && !is_done(NULL))
			;
		for (spin = 0; spin < 100000 && !is_done(NULL); spin++)
			sched_yield();
		if (!check_until(is_done, NULL, 5000))
			lost++;
	}
	CU_ASSERT_EQUAL(lost, 0);
	teardown();
}

static void test_wakeup_adaptive(void)
{
	race(POLL_ADAPTIVE, 20000);
}

static void test_wakeup_interrupt(void)
{
	race(POLL_INTERRUPT, 20000);
}

static bool is_asleep(void *arg)
{
	(void)arg;
	return __atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED) > 0;
}

/* A sleeping worker doesn't hold up rcu_wait(), and stops when told to. */
static void test_sleep(void)
{
	unsigned i;

	setup(POLL_ADAPTIVE);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
	CU_ASSERT(check_until(is_asleep, NULL, 5000));
	for (i = 0; i < 1000; i++)
		rcu_wait();
	teardown();
}

static void test_new_sources(void)
{
	struct sources *old, *new;
	unsigned i;

	setup(POLL_INTERRUPT);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
	for (i = 0; i < 2000; i++) {
		new = calloc(1, sizeof(*new) + sizeof(struct source));
		new->n = i % 2;
		new->source[0].port = &counter.port;
		old = sources;
		rcu_set(w->sources, new);
		rcu_wait();
		free(old);
		sources = new;
		worker_wake(w);
		if (i % 2) {
			add_work();
			CU_ASSERT(check_until(is_done, NULL, 5000));
		}
	}
	teardown();
}

static struct counter busy; /* a queue beside it */

static uint64_t rounds_now(void)
{
	return __atomic_load_n(&w->stats->rounds, __ATOMIC_RELAXED);
}

static uint64_t calls_now(void)
{
	return __atomic_load_n(&w->stats->syscalls, __ATOMIC_RELAXED);
}

static void pass_rounds(unsigned n)
{
	uint64_t from = rounds_now();

	while (rounds_now() - from < n)
		sched_yield();
}

static bool rests(void *arg)
{
	(void)arg;
	return __atomic_load_n(&counter.wants_kick, __ATOMIC_SEQ_CST);
}

/* @counter beside @busy, both of @kind. */
static void setup_two(enum poll_mode poll, enum vxs_port_kind kind)
{
	struct sources *two = calloc(1, sizeof(*two) + 2 * sizeof(struct source));

	setup(poll);
	busy = (struct counter){.port = {.ops = &counter_ops, .id = 6, .kind = kind},
				.endless = true};
	counter.port.kind = kind;
	two->n = 2;
	two->source[0].port = &busy.port;
	two->source[1].port = &counter.port;
	free(sources);
	sources = two;
	rcu_set(w->sources, two);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
}

/* A VM's queue that was idle for long isn't looked at until it kicks, and then is served. */
static void rest_beside_busy(enum poll_mode poll)
{
	unsigned i, looks, served = 0;

	setup_two(poll, VXS_KIND_VM);
	for (i = 0; i < 50; i++) {
		CU_ASSERT_FATAL(check_until(rests, NULL, 5000));
		looks = __atomic_load_n(&counter.looks, __ATOMIC_RELAXED);
		pass_rounds(1000);
		CU_ASSERT_EQUAL(__atomic_load_n(&counter.looks, __ATOMIC_RELAXED), looks);
		add_work();
		served += check_until(is_done, NULL, 5000);
	}
	CU_ASSERT_EQUAL(served, 50);
	teardown();
}

static void test_rest_adaptive(void)
{
	rest_beside_busy(POLL_ADAPTIVE);
}

static void test_rest_busy(void)
{
	rest_beside_busy(POLL_BUSY);
}

/* The NIC's queues do more than to look for frames: they don't rest. */
static void test_nic_never_rests(void)
{
	unsigned looks;

	setup_two(POLL_BUSY, VXS_KIND_UPLINK);
	pass_rounds(1000);
	looks = __atomic_load_n(&counter.looks, __ATOMIC_RELAXED);
	pass_rounds(1000);
	CU_ASSERT(__atomic_load_n(&counter.looks, __ATOMIC_RELAXED) - looks >= 999);
	CU_ASSERT_FALSE(rests(NULL));
	teardown();
}

/* Work that nobody kicks for, and then control's word: all are looked at. */
static void test_wake_rouses(void)
{
	setup_two(POLL_ADAPTIVE, VXS_KIND_VM);
	CU_ASSERT_FATAL(check_until(rests, NULL, 5000));
	__atomic_store_n(&counter.todo, counter.todo + 1, __ATOMIC_SEQ_CST);
	worker_wake(w);
	CU_ASSERT(check_until(is_done, NULL, 5000));
	teardown();
}

/* Queues that don't rest, however many, don't keep one from resting that does. */
static void test_rest_behind_nics(void)
{
	static struct counter nic[8];
	struct sources *s = calloc(1, sizeof(*s) + 10 * sizeof(struct source));
	unsigned i;

	setup(POLL_BUSY);
	counter.port.kind = VXS_KIND_VM;
	busy = (struct counter){.port = {.ops = &counter_ops, .id = 6}, .endless = true};
	for (i = 0; i < 8; i++) {
		nic[i] = (struct counter){.port = {.ops = &counter_ops, .kind = VXS_KIND_UPLINK}};
		s->source[i].port = &nic[i].port;
	}
	s->source[8].port = &busy.port;
	s->source[9].port = &counter.port;
	s->n = 10;
	free(sources);
	sources = s;
	rcu_set(w->sources, s);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
	CU_ASSERT(check_until(rests, NULL, 5000));
	teardown();
}

/*
 * While one rests, a worker with little to do asks epoll once in so many rounds or so many
 * cycles: on a slow machine, where a round takes longer than that, in every one.
 */
static void test_looks_are_rationed(void)
{
	uint64_t outer, inner, calls, cycles;

	idle_us = 1000000000; /* it is at rest for good */
	setup_two(POLL_BUSY, VXS_KIND_VM);
	idle_us = 0;
	CU_ASSERT_FATAL(check_until(rests, NULL, 5000));
	__atomic_store_n(&busy.endless, false, __ATOMIC_SEQ_CST);
	pass_rounds(10);
	cycles = cycles_now();
	outer = rounds_now();
	calls = calls_now();
	inner = rounds_now();
	pass_rounds(100000);
	inner = rounds_now() - inner;
	calls = calls_now() - calls;
	outer = rounds_now() - outer;
	cycles = cycles_now() - cycles;
	CU_ASSERT(rests(NULL));
	CU_ASSERT(calls + 1 >= inner / 256);
	CU_ASSERT(calls <= outer / 256 + cycles / w->look_every + 2);
	teardown();
}

static bool is_polled(void *arg)
{
	return !rests(arg);
}

/* With busy polling, and nothing else to do, all are polled and nobody has to kick. */
static void test_busy_idle(void)
{
	setup_two(POLL_BUSY, VXS_KIND_VM);
	CU_ASSERT_FATAL(check_until(rests, NULL, 5000));
	__atomic_store_n(&busy.endless, false, __ATOMIC_SEQ_CST);
	CU_ASSERT(check_until(is_polled, NULL, 5000));
	teardown();
}

/* A queue that asked for kicks while it rested is told of silence when the list is a new one. */
static void test_new_list_silences(void)
{
	struct sources *old = NULL, *new = calloc(1, sizeof(*new) + 2 * sizeof(struct source));

	setup_two(POLL_BUSY, VXS_KIND_VM);
	CU_ASSERT_FATAL(check_until(rests, NULL, 5000));
	counter.port.kind = VXS_KIND_UPLINK; /* so that it doesn't rest again */
	new->n = 2;
	new->source[0].port = &busy.port;
	new->source[1].port = &counter.port;
	old = sources;
	rcu_set(w->sources, new);
	rcu_wait();
	free(old);
	sources = new;
	CU_ASSERT(check_until(is_polled, NULL, 5000));
	teardown();
}

static void test_events(void)
{
	struct event e;
	unsigned i;

	setup(POLL_BUSY);
	for (i = 0; i < EVENTS_MAX; i++)
		CU_ASSERT(worker_event(w, EVENT_LEARN, 7, i));
	CU_ASSERT_FALSE(worker_event(w, EVENT_LEARN, 7, 0));
	for (i = 0; i < EVENTS_MAX; i++) {
		CU_ASSERT(worker_next_event(w, &e));
		CU_ASSERT(e.kind == EVENT_LEARN && e.port == 7 && e.key == i);
	}
	CU_ASSERT_FALSE(worker_next_event(w, &e));
	CU_ASSERT(worker_event(w, EVENT_BROKEN, 8, 1));
	CU_ASSERT(worker_next_event(w, &e));
	CU_ASSERT(e.kind == EVENT_BROKEN && e.port == 8);
	teardown();
}

static void test_bad_cpu(void)
{
	setup(POLL_BUSY);
	w->cpu = 1000;
	CU_ASSERT_EQUAL(worker_start(w), -EINVAL);
	teardown();
}

static void test_bad_fd(void)
{
	char name[] = "/tmp/vxs-worker-XXXXXX";
	int fd = mkstemp(name);

	setup(POLL_BUSY);
	CU_ASSERT_EQUAL(worker_watch(w, fd, &counter.port, 0), -EPERM);
	close(fd);
	unlink(name);
	teardown();
}

static const struct check tests[] = {
	{"wakeup_adaptive", test_wakeup_adaptive},
	{"wakeup_interrupt", test_wakeup_interrupt},
	{"sleep", test_sleep},
	{"new_sources", test_new_sources},
	{"rest_adaptive", test_rest_adaptive},
	{"rest_busy", test_rest_busy},
	{"nic_never_rests", test_nic_never_rests},
	{"rest_behind_nics", test_rest_behind_nics},
	{"looks_are_rationed", test_looks_are_rationed},
	{"wake_rouses", test_wake_rouses},
	{"busy_idle", test_busy_idle},
	{"new_list_silences", test_new_list_silences},
	{"events", test_events},
	{"bad_cpu", test_bad_cpu},
	{"bad_fd", test_bad_fd},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("worker", tests, argc, argv);
}
