/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frees a thread that a hostile front-end's eventfd holds. */
#include "control/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "switch/worker.h"

/*
 * Theory of operation
 *
 * Workers write to eventfds that front-ends made. We set O_NONBLOCK on them, but that flag belongs
 * to the open file, which the front-end has as well: it can take the flag back and fill the
 * counter, and the next write() waits for ever; with the worker all its VMs stand still, and with
 * them control, as soon as it waits for workers. There is no write to an eventfd that can't wait,
 * and looking before writing loses the race.
 *
 * So a thread looks twice a second whether all workers go round or sleep. One that does neither
 * gets a signal, whose only effect is that a system call that waits ends with EINTR: the worker
 * marks the queue as broken (VQ_BAD_CALL), and vm.c closes that port for good. A worker that is
 * merely slow, or waits for its CPU, does not notice the signal. The same for control's own writes,
 * between watchdog_enter() and watchdog_leave().
 */
#define PERIOD_MS 500

struct watchdog {
	pthread_t thread;
	int end_fd;
	struct worker *const *worker;
	unsigned n;
	uint64_t *rounds; /* of each worker, at the last look */
	uint32_t writes;  /* control's @control_writes at the last look */
	int control;      /* its thread ID */
};

static uint32_t control_writes; /* odd while control writes */

void watchdog_enter(void)
{
	__atomic_store_n(&control_writes, control_writes + 1, __ATOMIC_RELAXED);
}

void watchdog_leave(void)
{
	__atomic_store_n(&control_writes, control_writes + 1, __ATOMIC_RELAXED);
}

static void on_signal(int number)
{
	(void)number; /* to have interrupted a system call is all */
}

static void interrupt(int thread)
{
	/* By thread ID: one that has ended in the meantime is no harm. */
	if (thread)
		syscall(SYS_tgkill, getpid(), thread, SIGURG);
}

static void look(struct watchdog *dog)
{
	uint32_t writes = __atomic_load_n(&control_writes, __ATOMIC_RELAXED);
	unsigned i;

	for (i = 0; i < dog->n; i++) {
		const struct worker *w = dog->worker[i];
		uint64_t rounds = __atomic_load_n(&w->stats->rounds, __ATOMIC_RELAXED);

		if (rounds == dog->rounds[i] && !__atomic_load_n(&w->asleep, __ATOMIC_RELAXED))
			interrupt(__atomic_load_n(&w->tid, __ATOMIC_RELAXED));
		dog->rounds[i] = rounds;
	}
	if (writes & 1 && writes == dog->writes)
		interrupt(dog->control);
	dog->writes = writes;
}

static void *watch(void *arg)
{
	struct watchdog *dog = arg;
	struct pollfd end = {.fd = dog->end_fd, .events = POLLIN};

	while (poll(&end, 1, PERIOD_MS) <= 0)
		look(dog);
	return NULL;
}

int watchdog_start(struct watchdog **out, struct worker *const *worker, unsigned n)
{
	struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
	struct watchdog *dog = calloc(1, sizeof(*dog));
	int err = -ENOMEM;

	if (!dog)
		return -ENOMEM;
	dog->end_fd = -1;
	dog->worker = worker;
	dog->n = n;
	dog->control = syscall(SYS_gettid);
	dog->rounds = calloc(n, sizeof(*dog->rounds));
	if (!dog->rounds)
		goto err;
	dog->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dog->end_fd < 0 || sigaction(SIGURG, &action, NULL)) {
		err = -errno;
		goto err;
	}
	err = -pthread_create(&dog->thread, NULL, watch, dog);
	if (err)
		goto err;
	*out = dog;
	return 0;
err:
	if (dog->end_fd >= 0)
		close(dog->end_fd);
	free(dog->rounds);
	free(dog);
	return err;
}

void watchdog_stop(struct watchdog *dog)
{
	if (!dog)
		return;
	eventfd_write(dog->end_fd, 1);
	pthread_join(dog->thread, NULL);
	close(dog->end_fd);
	free(dog->rounds);
	free(dog);
}
