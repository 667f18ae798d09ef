/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control thread's event loop on epoll and timerfd. */
#include "control/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/*
 * Theory of operation
 *
 * Each watch is one entry of the epoll set. A function may unwatch any watch, its own too, while
 * events of the same epoll_wait() that point to it still lie in our array. So an unwatched entry
 * leaves the epoll set at once, is marked dead, and its memory goes only when the events of that
 * round have all been handled.
 */

#define EVENTS_PER_ROUND 64

struct loop_watch {
	struct loop *loop;
	struct loop_watch *next;  /* in loop->live or loop->dead */
	struct loop_watch **link; /* what points to it, while live */
	int fd;
	int timer_fd; /* -1, or ours to read and close */
	bool dead;
	loop_function function;
	void *arg;
};

struct loop {
	int epoll_fd;
	unsigned depth; /* rounds under way: a function may call loop_once() */
	bool end;
	struct loop_watch *live, *dead;
};

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		ret = -errno;
		free(loop);
		return ret;
	}
	*out = loop;
	return 0;
}

static void free_dead(struct loop *loop)
{
	struct loop_watch *watch;

	while ((watch = loop->dead)) {
		loop->dead = watch->next;
		free(watch);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->live)
		loop_unwatch(loop->live);
	free_dead(loop);
	close(loop->epoll_fd);
	free(loop);
}

static int add_watch(struct loop *loop, struct loop_watch **out, int fd, uint32_t events,
		     loop_function function, void *arg)
{
	struct loop_watch *watch = calloc(1, sizeof(*watch));
	struct epoll_event event = {.events = events, .data.ptr = watch};
	int ret;

	if (!watch)
		return -ENOMEM;
	*watch = (struct loop_watch){
		.loop = loop, .fd = fd, .timer_fd = -1, .function = function, .arg = arg};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		ret = -errno;
		free(watch);
		return ret;
	}
	watch->next = loop->live;
	watch->link = &loop->live;
	if (watch->next)
		watch->next->link = &watch->next;
	loop->live = watch;
	*out = watch;
	return 0;
}

int loop_watch(struct loop *loop, struct loop_watch **out, int fd, uint32_t events,
	       loop_function function, void *arg)
{
	return add_watch(loop, out, fd, events, function, arg);
}

static int add_timer(struct loop *loop, struct loop_watch **out, const struct itimerspec *when,
		     loop_function function, void *arg)
{
	int fd, ret;

	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, 0, when, NULL) < 0) {
		ret = -errno;
		goto err;
	}
	ret = add_watch(loop, out, fd, EPOLLIN, function, arg);
	if (ret)
		goto err;
	(*out)->timer_fd = fd;
	return 0;
err:
	close(fd);
	return ret;
}

static struct timespec time_of(unsigned ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
}

int loop_timer(struct loop *loop, struct loop_watch **out, unsigned ms, loop_function function,
	       void *arg)
{
	const struct itimerspec every = {.it_interval = time_of(ms), .it_value = time_of(ms)};

	return ms ? add_timer(loop, out, &every, function, arg) : -EINVAL;
}

int loop_alarm(struct loop *loop, struct loop_watch **out, loop_function function, void *arg)
{
	const struct itimerspec never = {};

	return add_timer(loop, out, &never, function, arg);
}

void loop_alarm_set(struct loop_watch *alarm, unsigned ms)
{
	const struct itimerspec once = {.it_value = time_of(ms)};

	/* It fails for bad arguments only. */
	timerfd_settime(alarm->timer_fd, 0, &once, NULL);
}

int loop_change(struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0)
		return -errno;
	return 0;
}

void loop_unwatch(struct loop_watch *watch)
{
	struct loop *loop;

	if (!watch || watch->dead)
		return;
	loop = watch->loop;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	if (watch->timer_fd >= 0)
		close(watch->timer_fd);
	*watch->link = watch->next;
	if (watch->next)
		watch->next->link = watch->link;
	watch->dead = true;
	watch->next = loop->dead;
	loop->dead = watch;
	if (!loop->depth)
		free_dead(loop);
}

static void handle(struct loop_watch *watch, uint32_t events)
{
	uint64_t expired;

	if (watch->dead)
		return;
	/* Missed periods are one call, not several. */
	if (watch->timer_fd >= 0 && read(watch->timer_fd, &expired, sizeof(expired)) < 0)
		return;
	watch->function(watch->arg, events);
}

/**
 * loop_once() - wait for events and handle them
 * @loop: the loop
 * @ms:   how long to wait if there is none, in milliseconds; -1: for ever
 *
 * Return: the number of events handled (0: time is up, or a signal came), or -errno.
 */
int loop_once(struct loop *loop, int ms)
{
	struct epoll_event event[EVENTS_PER_ROUND];
	int i, n;

	n = epoll_wait(loop->epoll_fd, event, EVENTS_PER_ROUND, ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->depth++;
	for (i = 0; i < n; i++)
		handle(event[i].data.ptr, event[i].events);
	if (!--loop->depth)
		free_dead(loop);
	return n;
}

int loop_run(struct loop *loop)
{
	int ret = 0;

	loop->end = false;
	while (!loop->end && ret >= 0)
		ret = loop_once(loop, -1);
	return ret < 0 ? ret : 0;
}

void loop_end(struct loop *loop)
{
	loop->end = true;
}
