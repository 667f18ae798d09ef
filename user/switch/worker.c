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
 * Queues that have been idle for long are looked at in one of IDLE_SHARE rounds only, by turns, as
 * long as others keep the worker busy: hundreds of idle VMs then cost a busy one next to nothing.
 *
 * Sleep: every queue is asked for notifications (wait() on), which also looks once more whether
 * work came in between; only if no queue has any does the worker wait in epoll. What control
 * changes while a worker sleeps is followed by worker_wake(). No event is lost: a kick that comes
 * after wait() makes its eventfd readable (edge-triggered: a new edge), one before it is seen by
 * wait().
 */

char rcu_tsan; /* see rcu.h */

#define EVENTS_PER_SLEEP 16
#define IDLE_ROUNDS      256
#define IDLE_SHARE       16
#define RENEW_PER_SECOND 16

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

static bool work_round(struct worker *w)
{
	struct sources *s = rcu_get(w->sources);
	struct batch *b = &w->batch;
	bool busy = false;
	unsigned i;

	for (i = 0; s && i < s->n; i++) {
		struct port *p = s->source[i].port;
		unsigned queue = s->source[i].queue;

		if (w->was_busy && s->source[i].idle >= IDLE_ROUNDS &&
		    (w->stats->rounds + i) % IDLE_SHARE)
			continue;
		if (!p->ops->in(p, w, queue, b)) {
			s->source[i].idle++;
			continue;
		}
		s->source[i].idle = 0;
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

/* Asks for events, or for silence; true if some queue has work already. */
static bool wait_all(struct worker *w, bool on)
{
	struct sources *s = rcu_get(w->sources);
	bool work = false;
	unsigned i;

	for (i = 0; s && i < s->n; i++) {
		struct port *p = s->source[i].port;

		work |= p->ops->wait(p, w, s->source[i].queue, on);
	}
	return work;
}

/* Whether one of @n events is a queue's, and not control's. */
static bool has_queue_event(const struct worker *w, const struct epoll_event *e, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (e[i].data.fd != w->wake_fd)
			return true;
	return false;
}

static void work_sleep(struct worker *w)
{
	struct epoll_event e[EVENTS_PER_SLEEP];
	uint64_t count;
	ssize_t got;
	int n;

	if (!wait_all(w, true)) {
		stat_add(&w->stats->sleeps, 1);
		__atomic_store_n(&w->asleep, true, __ATOMIC_RELAXED);
		rcu_away();
		account_idle(w);
		n = epoll_wait(w->epoll_fd, e, EVENTS_PER_SLEEP, -1);
		got = read(w->wake_fd, &count, sizeof(count)); /* non-blocking */
		(void)got;
		account_sleep(w);
		rcu_back();
		__atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
		stat_add(&w->stats->wakeups, has_queue_event(w, e, n));
		worker_syscalls(w, 2);
	}
	wait_all(w, false);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t idle_since = w->accounted;

	urcu_qsbr_register_thread();
	__atomic_store_n(&w->tid, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		bool busy;

		renew_seconds(w);
		busy = work_round(w);
		if (w->has_events) {
			w->has_events = false;
			if (w->events.wake_fd >= 0) {
				signal_fd(w->events.wake_fd);
				worker_syscalls(w, 1);
			}
		}
		rcu_quiet();
		stat_add(&w->stats->rounds, 1);
		if (busy) {
			stat_add(&w->stats->busy_rounds, 1);
			idle_since = w->accounted;
			continue;
		}
		account_idle(w);
		relax();
		if (w->poll == POLL_BUSY)
			continue;
		if (w->poll == POLL_ADAPTIVE && w->accounted - idle_since < w->patience)
			continue;
		work_sleep(w);
		idle_since = w->accounted;
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
	e.data.fd = w->wake_fd;
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
	w->renew_every = rate / RENEW_PER_SECOND;
	w->accounted = w->renew_at = cycles_now();
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

int worker_watch(struct worker *w, int fd)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

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
