/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Closes what peers have sent, by threads that may have to wait for it. */
#include "vm/vu_close.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "vxs_bpf.h"

/*
 * Theory of operation
 *
 * close() may wait for ever, whatever flags a file has: for a FUSE server, which is told of each;
 * for a pipe's lock, which somebody holds who writes to it from memory whose pages he brings
 * himself; for the data of a socket that is to linger. A socket also takes along what is on its
 * way in it: more such files. Eventfds, and files in memory, have nothing to wait for.
 *
 * So anything else is closed by a thread, which is there as long as there is something to close.
 * Each port has one of its own, so that none waits for what another's peer has sent. A port with
 * many, one of which is being closed for long, is closed itself (vm_conn.c), which bounds fds and
 * threads; if it is only that its thread has had no turn yet, control gives it one. What is never
 * closed has an end when its peer has: until then, it may also outlast us.
 */
#define LANE  512 /* VU_CLOSE_MAX, and what one message and a hang-up add to it */
#define STACK (64u << 10)

static struct lane {
	int fd[LANE];
	unsigned n;     /* that are not closed yet; the first is being closed, */
	uint64_t since; /* from then on, ms; 0: not yet */
	bool runs;
} lanes[VXS_PORTS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void *close_all(void *arg)
{
	struct lane *l = arg;

	pthread_mutex_lock(&lock);
	while (l->n) {
		int fd = l->fd[0];

		l->since = now_ms();
		pthread_mutex_unlock(&lock);
		close(fd);
		pthread_mutex_lock(&lock);
		l->since = 0;
		memmove(l->fd, l->fd + 1, --l->n * sizeof(l->fd[0]));
	}
	l->runs = false;
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int start(struct lane *l)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&thread, &attr, close_all, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

/* The name of no other file begins without a slash and has a colon and brackets. */
static bool is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(want)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == sizeof(want) - 1 && !memcmp(target, want, n);
}

static void close_aside(unsigned port, int fd)
{
	struct lane *l = &lanes[port % VXS_PORTS_MAX];

	pthread_mutex_lock(&lock);
	if (l->n < LANE) /* else it stays open: better than to wait */
		l->fd[l->n++] = fd;
	if (l->n && !l->runs)
		l->runs = !start(l); /* without memory for it, the next one tries again */
	pthread_mutex_unlock(&lock);
}

void vu_close(unsigned port, int fd)
{
	if (fd < 0)
		return;
	if (fcntl(fd, F_GET_SEALS) >= 0 || is_eventfd(fd))
		close(fd);
	else
		close_aside(port, fd);
}

unsigned vu_close_pending(unsigned port)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = lanes[port % VXS_PORTS_MAX].n;
	pthread_mutex_unlock(&lock);
	return n;
}

bool vu_close_is_stuck(unsigned port)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct lane *l = &lanes[port % VXS_PORTS_MAX];
	uint64_t now, begin = now_ms();
	bool many, stuck;

	for (;;) {
		now = now_ms();
		pthread_mutex_lock(&lock);
		many = l->n >= VU_CLOSE_MAX;
		stuck = many && l->since && now >= l->since + VU_CLOSE_STUCK_MS;
		pthread_mutex_unlock(&lock);
		if (!many || stuck || now - begin > VU_CLOSE_STUCK_MS)
			return stuck;
		nanosleep(&pause, NULL);
	}
}

void vu_close_socket(unsigned port, int fd)
{
	int unread = 0;

	if (fd < 0)
		return;
	/* from now on nothing more can come */
	shutdown(fd, SHUT_RDWR);
	if (ioctl(fd, SIOCINQ, &unread) || unread)
		close_aside(port, fd);
	else
		close(fd);
}
