/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The worker's loop: poll the queues, switch what comes, sleep when nothing does. */
#include "switch/worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "switch/account.h"
#include "switch/rcu.h"
#include "switch/switch.h"

/*
 * A round visits every in-queue once and takes one batch at most from each, so a flooding VM gets
 * no more than its share. At its end the worker holds nothing that control published (rcu_quiet()).
 *
 * VMs' queues that have had no work for IDLE_ROUNDS, in BESIDE_ROUNDS of which others had, go to
 * rest: they are asked for notifications (wait() on) and no longer visited, until epoll, which the
 * worker asks without waiting every now and then, says that the guest has kicked. So hundreds of
 * idle VMs cost a busy one nothing. The NIC's and the host's queues don't rest: they have more to
 * do in a round than to look for frames.
 *
 * Sleep: every queue that doesn't rest is asked for notifications, which also looks once more
 * whether work came in between; only if no queue has any does the worker wait in epoll. Who has
 * been idle for long by then stays at rest afterwards. What control changes while a worker sleeps,
 * or a queue rests, is followed by worker_wake(), which rouses all. No event is lost: a kick that
 * comes after wait() makes its eventfd readable (edge-triggered: a new edge), one before it is seen
 * by wait().
 */

char rcu_tsan; /* see rcu.h */

#define EVENTS_MAX_AT_ONCE 16
#define IDLE_ROUNDS        256
#define BESIDE_ROUNDS      64
#define CROWD_GAP_US       100   /* a round that takes so long: somebody else had the CPU */
#define CROWD_PER_SECOND   2     /* for what part of a second that makes the worker sleep early, */
#define CROWD_IDLE_US      5     /* and how early */
#define REST_PER_ROUND     4     /* asking a queue for notifications costs a fence */
#define LOOK_PER_SECOND    32768 /* times that a busy worker asks epoll who was roused */
#define LOOK_ROUNDS        256   /* and no rarer than in so many rounds */
#define RENEW_PER_SECOND   16
#define WAKE_KEY           UINT64_MAX /* of control's eventfd: like source_key() */

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Seconds don't change so often that the kernel's clock had to be read in every round. */
static void renew_seconds(struct worker *w)
{
	struct timespec t;

	if ((int64_t)(w->accounted - w->renew_at) < 0)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	w->now = t.tv_sec;
	w->renew_at = w->accounted + w->renew_every;
}

bool worker_event(struct worker *w, enum event_kind kind, uint32_t port, uint64_t key)
{
	struct event_ring *r = &w->events;
	uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	struct event *e = &r->event[r->head % EVENTS_MAX];

	if (r->head - tail >= EVENTS_MAX)
		return false;
	*e = (struct event){.kind = kind, .port = port, .key = key};
	/* Pairs with the acquire in worker_next_event(). */
	__atomic_store_n(&r->head, r->head + 1, __ATOMIC_RELEASE);
	w->has_events = true;
	return true;
}

bool worker_next_event(struct worker *w, struct event *e)
{
	struct event_ring *r = &w->events;

	if (__atomic_load_n(&r->head, __ATOMIC_ACQUIRE) == r->tail)
		return false;
	*e = r->event[r->tail % EVENTS_MAX];
	/* Pairs with the acquire in worker_event(): the slot may be written again. */
	__atomic_store_n(&r->tail, r->tail + 1, __ATOMIC_RELEASE);
	return true;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	/* EAGAIN means that the counter is full, so the fd is readable: as good. */
	n = write(fd, &one, sizeof(one));
	(void)n;
}

static bool source_wait(struct worker *w, const struct source *at, bool on)
{
	return at->port->ops->wait(at->port, w, at->queue, on);
}

/* The worker's queues as they are now. New ones are told that they are polled. */
static struct sources *sources_now(struct worker *w)
{
	struct sources *s = rcu_get(w->sources);
	unsigned i;

	if (!s || s->told)
		return s;
	s->told = true;
	for (i = 0; i < s->n; i++)
		source_wait(w, &s->source[i], false);
	return s;
}

static void rouse(struct worker *w, struct sources *s, unsigned i)
{
	source_wait(w, sources_rouse(s, i), false);
}

static void rouse_all(struct worker *w, struct sources *s)
{
	while (s->n_resting)
		rouse(w, s, s->n - s->n_resting);
}

static bool may_rest(const struct source *at)
{
	return at->idle >= IDLE_ROUNDS && at->port->kind == VXS_KIND_VM;
}

/*
 * Others had work again and again, and it had none. After a moment in which all guests stood still
 * the first of them to go on doesn't send the others to rest: a kick costs them 20 microseconds.
 */
static bool may_rest_beside(const struct source *at)
{
	return at->beside >= BESIDE_ROUNDS && may_rest(at);
}

/* True: it rests now. */
static bool try_rest(struct worker *w, struct sources *s, unsigned i)
{
	struct source *at = &s->source[i];

	if (source_wait(w, at, true)) { /* there is work, or nobody would kick */
		source_wait(w, at, false);
		at->idle = at->beside = 0;
		return false;
	}
	sources_rest(s, i);
	return true;
}

static bool work_round(struct worker *w, struct sources *s)
{
	unsigned i, rests = w->was_busy ? REST_PER_ROUND : 0;
	struct batch *b = &w->batch;
	bool busy = false;

	for (i = 0; i < s->n - s->n_resting; i++) {
		struct port *p = s->source[i].port;
		unsigned queue = s->source[i].queue;

		if (!p->ops->in(p, w, queue, b)) {
			s->source[i].idle++;
			s->source[i].beside += w->was_busy;
			if (rests && may_rest_beside(&s->source[i])) {
				rests--;
				if (try_rest(w, s, i))
					i--;
			}
			continue;
		}
		s->source[i].idle = s->source[i].beside = 0;
		busy = true;
		b->in = p;
		b->in_queue = queue;
		if (b->n)
			switch_batch(w, b);
		p->ops->done(p, w, queue, b);
		account_batch(w, b);
	}
	w->was_busy = busy;
	return busy;
}

/* Rouses the queues that @n events are for; returns whether there is a queue's among them. */
static bool take_events(struct worker *w, struct sources *s, const struct epoll_event *e, int n)
{
	bool queue = false;
	uint64_t count;
	ssize_t got;
	int i, at;

	for (i = 0; i < n; i++) {
		if (e[i].data.u64 == WAKE_KEY) {
			got = read(w->wake_fd, &count, sizeof(count)); /* non-blocking */
			(void)got;
			worker_syscalls(w, 1);
			if (s)
				rouse_all(w, s);
			continue;
		}
		queue = true;
		at = s ? sources_find_resting(s, e[i].data.u64) : -1;
		if (at >= 0)
			rouse(w, s, at);
	}
	return queue;
}

/*
 * If some queue rests, and it is time again: looks, without waiting, who was roused. True:
 * something has come, which may be control's word of new queues, or to stop.
 */
static bool look_for_events(struct worker *w, struct sources *s)
{
	struct epoll_event e[EVENTS_MAX_AT_ONCE];
	int n;

	if (!s->n_resting || (--w->look_in && (int64_t)(w->accounted - w->look_at) < 0))
		return false;
	n = epoll_wait(w->epoll_fd, e, EVENTS_MAX_AT_ONCE, 0);
	worker_syscalls(w, 1);
	w->look_at = w->accounted + w->look_every;
	w->look_in = LOOK_ROUNDS;
	take_events(w, s, e, n);
	return n > 0;
}

/* Asks all that don't rest for events; true if one of them has work already. */
static bool wait_on(struct worker *w, struct sources *s)
{
	bool work = false;
	unsigned i;

	for (i = 0; i < s->n - s->n_resting; i++)
		work |= source_wait(w, &s->source[i], true);
	return work;
}

/* And for silence again. */
static void wait_off(struct worker *w, struct sources *s)
{
	unsigned i;

	for (i = 0; i < s->n - s->n_resting; i++)
		source_wait(w, &s->source[i], false);
}

/* All are asked for events: those that were idle for long may as well stay at it. */
static void rest_idle(struct sources *s)
{
	unsigned i;

	for (i = 0; i < s->n - s->n_resting; i++)
		if (may_rest(&s->source[i]))
			sources_rest(s, i--);
}

static void work_sleep(struct worker *w, struct sources *s)
{
	struct epoll_event e[EVENTS_MAX_AT_ONCE];
	int n;

	if (s && wait_on(w, s)) {
		wait_off(w, s);
		return;
	}
	if (s)
		rest_idle(s);
	stat_add(&w->stats->sleeps, 1);
	__atomic_store_n(&w->asleep, true, __ATOMIC_RELAXED);
	rcu_away();
	account_idle(w);
	n = epoll_wait(w->epoll_fd, e, EVENTS_MAX_AT_ONCE, -1);
	account_sleep(w);
	rcu_back();
	__atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
	worker_syscalls(w, 1);
	s = sources_now(w); /* these may be others */
	if (s)
		wait_off(w, s);
	stat_add(&w->stats->wakeups, take_events(w, s, e, n));
}

/*
 * Nothing to do. A worker that polls on a CPU which others want as well, a guest's own perhaps,
 * takes it from those whose work it waits for: they are back sooner if it sleeps at once. That
 * somebody else wanted the CPU, and got it, shows as a round without work that took far too long.
 */
static void account_idle_round(struct worker *w)
{
	uint64_t before = w->accounted;

	account_idle(w);
	if (w->accounted - before >= w->crowd_gap)
		w->crowded_until = w->accounted + w->crowded_for;
}

/* How long to poll without work. */
static uint64_t patience_now(const struct worker *w)
{
	return (int64_t)(w->crowded_until - w->accounted) > 0 ? w->crowd_patience : w->patience;
}

/* Nothing to do, for @idle cycles now; true: it slept, or at least tried to. */
static bool work_idle(struct worker *w, struct sources *s, uint64_t idle)
{
	if (s && look_for_events(w, s))
		return false;
	if (w->poll == POLL_BUSY && s && idle >= w->patience)
		rouse_all(w, s); /* there is time to look at them all */
	if (w->poll == POLL_BUSY || (w->poll == POLL_ADAPTIVE && idle < patience_now(w)))
		return false;
	work_sleep(w, s);
	return true;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t idle_since = w->accounted;

	urcu_qsbr_register_thread();
	__atomic_store_n(&w->tid, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		struct sources *s = sources_now(w);
		bool busy;

		renew_seconds(w);
		busy = s && work_round(w, s);
		if (w->has_events) {
			w->has_events = false;
			if (w->events.wake_fd >= 0) {
				signal_fd(w->events.wake_fd);
				worker_syscalls(w, 1);
			}
		}
		stat_add(&w->stats->rounds, 1);
		if (busy) {
			stat_add(&w->stats->busy_rounds, 1);
			idle_since = w->accounted;
			look_for_events(w, s);
		} else {
			account_idle_round(w);
			relax();
			if (work_idle(w, s, w->accounted - idle_since))
				idle_since = w->accounted;
		}
		rcu_quiet();
	}
	__atomic_store_n(&w->tid, 0, __ATOMIC_RELAXED);
	urcu_qsbr_unregister_thread();
	return NULL;
}

int worker_new(struct worker **out, unsigned id, struct vswitch *sw)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct worker *w;
	int err;

	if (posix_memalign((void **)&w, _Alignof(struct worker), sizeof(*w)))
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	memset(w->first, 0xff, sizeof(w->first)); /* no lists: switch.c's NO_RUN */
	w->id = id;
	w->cpu = -1;
	w->sw = sw;
	w->idle_us = WORKER_IDLE_US;
	w->stats = &w->own_stats;
	w->events.wake_fd = -1;
	w->wake_fd = -1;
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		goto err;
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		goto err;
	e.data.u64 = WAKE_KEY;
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &e) < 0)
		goto err;
	*out = w;
	return 0;
err:
	err = -errno;
	worker_free(w);
	return err;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	free(w);
}

static void start_clock(struct worker *w)
{
	uint64_t rate = cycles_per_second();

	w->patience = rate / 1000 * w->idle_us / 1000;
	w->crowd_patience = rate / 1000 * CROWD_IDLE_US / 1000;
	if (w->crowd_patience > w->patience)
		w->crowd_patience = w->patience;
	w->crowd_gap = rate / 1000 * CROWD_GAP_US / 1000;
	w->crowded_for = rate / CROWD_PER_SECOND;
	w->renew_every = rate / RENEW_PER_SECOND;
	w->look_every = rate / LOOK_PER_SECOND;
	w->look_in = LOOK_ROUNDS;
	w->accounted = w->renew_at = w->crowded_until = cycles_now();
	__atomic_store_n(&w->stats->cycles_per_second, rate, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats->started, w->accounted, __ATOMIC_RELAXED);
}

int worker_start(struct worker *w)
{
	pthread_attr_t attr;
	cpu_set_t cpus;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	start_clock(w);
	if (w->cpu >= 0) {
		CPU_ZERO(&cpus);
		CPU_SET(w->cpu, &cpus);
		err = pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	}
	if (!err)
		err = pthread_create(&w->thread, &attr, work, w);
	pthread_attr_destroy(&attr);
	if (!err)
		w->running = true;
	return -err;
}

void worker_stop(struct worker *w)
{
	if (!w || !w->running)
		return;
	__atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
	worker_wake(w);
	pthread_join(w->thread, NULL);
	w->running = false;
}

int worker_watch(struct worker *w, int fd, const struct port *p, unsigned queue)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = source_key(p, queue)};

	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

void worker_unwatch(struct worker *w, int fd)
{
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void worker_wake(struct worker *w)
{
	signal_fd(w->wake_fd);
}
