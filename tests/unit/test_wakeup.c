/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A worker over real rings: no wake-up is ever lost, and no kick is asked for in vain. */
#include "packed_rig.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "switch/rcu.h"
#include "switch/switch.h"
#include "switch/worker.h"

/*
 *   this thread: a driver that keeps the rules ── ring ── worker: polls, asks for kicks, sleeps
 *
 * A round of the race: a frame is offered about when the worker falls asleep, with a kick only if
 * the ring says that one is wanted, and must come back. A wake-up that got lost shows as a frame
 * that doesn't: nobody else would ever wake the worker. Or the ring is a VM's beside a queue that
 * is never without work: then it is about when the ring goes to rest, and nobody else would rouse
 * it.
 */
#define RING    64
#define SILENT  48    /* queues beside that ring */
#define LOST_MS 10000 /* a worker that isn't asleep needs far less, however busy the machine is */
#if defined(__SANITIZE_THREAD__)
#define RACES 20000 /* of each kind; there are six, and three of a fifth of that */
#elif defined(__SANITIZE_ADDRESS__)
#define RACES 50000
#else
#define RACES 250000
#endif
#define POLLS   70000 /* frames of a worker that never sleeps; more than an index can count */
#define RACE_MS 1500  /* after which a fiftieth of them is enough: the machine has other work */

/* A port whose one in-queue is a rig's transmit ring. */
struct guest {
	struct port port; /* first */
	struct rig *r;
	int kick_fd;
	uint64_t kicks; /* the driver's */
};

static unsigned guest_in(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	struct guest *g = (struct guest *)p;
	unsigned taken;

	(void)by;
	(void)queue;
	taken = vq_in(g->r->q, p->stats, b);
	b->n = 0; /* it is about the ring: the frames go nowhere */
	return taken;
}

static void guest_done(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	(void)by;
	(void)queue;
	(void)b;
	vq_done(((struct guest *)p)->r->q);
}

static bool guest_wait(struct port *p, struct worker *by, unsigned queue, bool on)
{
	(void)by;
	(void)queue;
	return vq_wait(((struct guest *)p)->r->q, on);
}

static const struct port_ops guest_ops = {
	.in = guest_in,
	.done = guest_done,
	.wait = guest_wait,
};

/* Queues that never have anything: looking at them gives the driver time to be the first. */
static unsigned silent_in(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	(void)p;
	(void)by;
	(void)queue;
	(void)b;
	return 0;
}

static bool silent_wait(struct port *p, struct worker *by, unsigned queue, bool on)
{
	(void)p;
	(void)by;
	(void)queue;
	(void)on;
	return false;
}

static const struct port_ops silent_ops = {.in = silent_in, .wait = silent_wait};

/* A queue that always has something, of which no frame comes. */
static unsigned endless_in(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	(void)p;
	(void)by;
	(void)queue;
	b->n = 0;
	return 1;
}

static void endless_done(struct port *p, struct worker *by, unsigned queue, struct batch *b)
{
	(void)p;
	(void)by;
	(void)queue;
	(void)b;
}

static const struct port_ops endless_ops = {
	.in = endless_in, .done = endless_done, .wait = silent_wait};

static struct vswitch sw;
static struct worker *w;
static struct guest guest;
static struct port silent = {.ops = &silent_ops, .id = 6, .n_in = SILENT};
static struct port endless = {.ops = &endless_ops, .id = 7, .n_in = 1};
static struct vxs_port_stats endless_stats;
static struct sources *sources;
static cpu_set_t cpus; /* of this thread, before the test */

/* Driver and worker on two CPUs, if there are two: on one they would only take turns. */
static void part(void)
{
	int cpu, first = -1;
	cpu_set_t one;

	CPU_ZERO(&cpus);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (cpu = 0; cpu < CPU_SETSIZE && w->cpu < 0; cpu++) {
		if (!CPU_ISSET(cpu, &cpus))
			continue;
		if (first < 0)
			first = cpu;
		else
			w->cpu = cpu;
	}
	if (w->cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void setup_sources(bool beside_busy)
{
	unsigned i;

	sources = calloc(1, sizeof(*sources) + (SILENT + 1) * sizeof(struct source));
	sources->n = beside_busy ? 2 : SILENT + 1;
	for (i = 0; i < sources->n - 1; i++)
		sources->source[i] = (struct source){.port = &silent, .queue = i};
	if (beside_busy)
		sources->source[0].port = &endless;
	sources->source[i].port = &guest.port;
	endless.stats = &endless_stats;
	rcu_set(w->sources, sources);
}

static void setup(uint64_t features, enum poll_mode poll, unsigned idle_us, bool beside_busy)
{
	unsigned i;

	guest = (struct guest){.port = {.ops = &guest_ops, .id = 5, .n_in = 1}};
	guest.port.kind = VXS_KIND_VM;
	guest.r = rig_new(RING, RIG_V1 | features, features & RIG_PACKED ? 0x8000 : 0);
	guest.port.stats = &guest.r->stats;
	guest.r->q->call_fd = -1; /* the driver polls the used ring */
	for (i = 0; i < RING && !guest.r->ring; i++)
		rig_desc(guest.r->desc, i, RIG_DATA, 12 + 60, 0, 0);
	guest.kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	sw.fdb = fdb_new();
	CU_ASSERT_EQUAL_FATAL(worker_new(&w, 0, &sw), 0);
	w->poll = poll;
	w->idle_us = idle_us;
	part();
	setup_sources(beside_busy);
	CU_ASSERT_EQUAL_FATAL(worker_watch(w, guest.kick_fd, &guest.port, 0), 0);
	CU_ASSERT_EQUAL_FATAL(worker_start(w), 0);
}

static void teardown(void)
{
	worker_stop(w);
	worker_free(w);
	free(sources);
	fdb_free(sw.fdb);
	close(guest.kick_fd);
	rig_free(guest.r);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void offer_split(struct rig *r)
{
	uint16_t at = r->avail_at++;

	__atomic_store_n(&r->avail->ring[at & (RING - 1)], at & (RING - 1), __ATOMIC_RELAXED);
	__atomic_store_n(&r->avail->idx, r->avail_at, __ATOMIC_RELEASE);
}

static bool wants_kick_split(const struct rig *r)
{
	uint16_t event;

	if (!r->q->event_idx)
		return !(__atomic_load_n(&r->used->flags, __ATOMIC_RELAXED) &
			 VRING_USED_F_NO_NOTIFY);
	event = __atomic_load_n((uint16_t *)&r->used->ring[RING], __ATOMIC_RELAXED);
	return vring_need_event(event, r->avail_at, r->avail_at - 1);
}

/* Offers a frame, and kicks if the worker wants that (virtio 1.2, 2.7.13). */
static void offer(void)
{
	struct rig *r = guest.r;

	if (r->ring)
		packed_offer(r, RIG_DATA, 12 + 60, r->avail_at, 0);
	else
		offer_split(r);
	/* Pairs with vq_wait()'s: the worker sees our frame, or we see its wish. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(r->ring ? packed_wants_kick(r, 1) : wants_kick_split(r)))
		return;
	eventfd_write(guest.kick_fd, 1);
	guest.kicks++;
}

static bool is_back(void *arg)
{
	struct vring_packed_desc d;

	(void)arg;
	if (guest.r->ring)
		return packed_used(guest.r, &d);
	return __atomic_load_n(&guest.r->used->idx, __ATOMIC_ACQUIRE) == guest.r->avail_at;
}

static bool comes_back(void)
{
	unsigned i;

	for (i = 0; i < 2000; i++)
		if (is_back(NULL))
			return true;
	for (i = 0; i < 20000; i++) {
		if (is_back(NULL))
			return true;
		sched_yield();
	}
	return check_until(is_back, NULL, LOST_MS);
}

/*
 * Waits a moment that homes in on the one at which the worker asks for kicks, on whatever machine:
 * shorter after a frame that needed a kick, a little longer after one that needed none. Four of
 * five need none, as waking a worker takes its time on a machine that has other work.
 */
struct aim {
	unsigned turns;
	uint32_t seed;
	uint64_t kicks;
};

static void dawdle(struct aim *a)
{
	unsigned step = a->turns / 64 + 1;
	volatile unsigned turns;

	if (guest.kicks == a->kicks)
		a->turns += step;
	else
		a->turns -= a->turns > 4 * step ? 4 * step : a->turns;
	a->kicks = guest.kicks;
	a->seed = a->seed * 1664525 + 1013904223;
	turns = a->turns + (a->seed >> 16) % (a->turns / 4 + 16);
	while (turns)
		turns--;
}

static unsigned long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* @n times, or some less; returns how often the frame came back. */
static unsigned race_on(unsigned n)
{
	unsigned long long until = now_ms() + RACE_MS;
	struct aim aim = {.seed = 1};
	unsigned i;

	for (i = 0; i < n; i++) {
		if (i >= n / 50 && i % 64 == 0 && now_ms() >= until)
			break;
		offer();
		if (!comes_back()) {
			printf("--- lost in round %u: the worker %s, frame %u never came back\n", i,
			       __atomic_load_n(&w->asleep, __ATOMIC_RELAXED) ? "sleeps"
									     : "is awake",
			       guest.r->avail_at - 1);
			CU_FAIL("a wake-up was lost");
			break;
		}
		dawdle(&aim);
	}
	printf("--- %u races, %llu kicks, slept %llu times\n", i, (unsigned long long)guest.kicks,
	       (unsigned long long)__atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED));
	CU_ASSERT(guest.kicks > i / 1000); /* or there was no race */
	return i;
}

static void race(uint64_t features, enum poll_mode poll, unsigned idle_us)
{
	unsigned n;

	setup(features, poll, idle_us, false);
	n = race_on(RACES);
	CU_ASSERT(__atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED) > n / 1000);
	teardown();
}

/* The ring rests again and again: the worker never sleeps, and is kicked all the same. */
static void race_rest(uint64_t features, enum poll_mode poll)
{
	setup(features, poll, 1, true);
	race_on(RACES / 5);
	CU_ASSERT_EQUAL(__atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED), 0);
	teardown();
}

static void test_race_flag_adaptive(void)
{
	race(0, POLL_ADAPTIVE, 1);
}

static void test_race_flag_interrupt(void)
{
	race(0, POLL_INTERRUPT, 0);
}

static void test_race_event_adaptive(void)
{
	race(RIG_EVENT, POLL_ADAPTIVE, 1);
}

static void test_race_event_interrupt(void)
{
	race(RIG_EVENT, POLL_INTERRUPT, 0);
}

static void test_race_packed_adaptive(void)
{
	race(RIG_PACKED, POLL_ADAPTIVE, 1);
}

static void test_race_packed_event(void)
{
	race(RIG_PACKED | RIG_EVENT, POLL_INTERRUPT, 0);
}

static void test_race_packed_rest(void)
{
	race_rest(RIG_PACKED | RIG_EVENT, POLL_ADAPTIVE);
}

static void test_race_flag_rest(void)
{
	race_rest(0, POLL_ADAPTIVE);
}

static void test_race_event_rest(void)
{
	race_rest(RIG_EVENT, POLL_BUSY);
}

/* A worker that polls on and on is never kicked. */
static void polls(uint64_t features, unsigned kicks_max)
{
	unsigned i;

	setup(features, POLL_BUSY, 0, false);
	for (i = 0; i < POLLS; i++) {
		offer();
		if (!comes_back())
			break;
	}
	CU_ASSERT_EQUAL(i, POLLS);
	CU_ASSERT_EQUAL(guest.r->stats.in_frames, POLLS);
	CU_ASSERT(guest.kicks <= kicks_max);
	CU_ASSERT_EQUAL(__atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED), 0);
	teardown();
}

static void test_polls_flag(void)
{
	polls(0, 0);
}

/* An index can only be out of the way for 65,536 frames: then it is passed once. */
static void test_polls_event(void)
{
	polls(RIG_EVENT, 2);
}

/* Silence is a flag of its own in a packed ring. */
static void test_polls_packed(void)
{
	polls(RIG_PACKED | RIG_EVENT, 0);
}

static const struct check tests[] = {
	{"race_flag_adaptive", test_race_flag_adaptive},
	{"race_flag_interrupt", test_race_flag_interrupt},
	{"race_event_adaptive", test_race_event_adaptive},
	{"race_event_interrupt", test_race_event_interrupt},
	{"race_flag_rest", test_race_flag_rest},
	{"race_event_rest", test_race_event_rest},
	{"polls_flag", test_polls_flag},
	{"polls_event", test_polls_event},
	{"race_packed_adaptive", test_race_packed_adaptive},
	{"race_packed_event", test_race_packed_event},
	{"race_packed_rest", test_race_packed_rest},
	{"polls_packed", test_polls_packed},
	{},
};

int main(int argc, char **argv)
{
	return check_main("wakeup", tests, argc, argv);
}
