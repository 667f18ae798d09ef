/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control thread's loop: events, timers, and watches that go while their events are pending. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "control/log.h"
#include "control/loop.h"

static struct loop *loop;
static struct loop_watch *watch[3];
static unsigned calls[3];
static uint32_t last_events;

static void count(void *arg, uint32_t events)
{
	++*(unsigned *)arg;
	last_events = events;
}

static void count_and_end(void *arg, uint32_t events)
{
	count(arg, events);
	loop_end(loop);
}

static int ready(void)
{
	return eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void test_events(void)
{
	int fd = ready();
	uint64_t v;

	CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
	calls[0] = 0;
	CU_ASSERT_EQUAL(loop_once(loop, 0), 0);
	CU_ASSERT_EQUAL(loop_watch(loop, &watch[0], fd, EPOLLIN, count, &calls[0]), 0);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 1);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 1); /* level-triggered */
	CU_ASSERT_EQUAL(calls[0], 2);
	CU_ASSERT_EQUAL(read(fd, &v, 8), 8);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 0);
	CU_ASSERT_EQUAL(loop_change(watch[0], EPOLLOUT), 0);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 1);
	CU_ASSERT_EQUAL(last_events, EPOLLOUT);
	CU_ASSERT_EQUAL(loop_change(watch[0], 0), 0);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 0);
	loop_unwatch(watch[0]);
	loop_unwatch(NULL);
	loop_free(loop);
	loop_free(NULL);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC); /* still the caller's */
	close(fd);
}

static void unwatch_all(void *arg, uint32_t events)
{
	unsigned i;

	count(arg, events);
	for (i = 0; i < 3; i++)
		loop_unwatch(watch[i]);
	/* memory of the dead must not be taken for the living of the same round */
	CU_ASSERT_EQUAL(loop_watch(loop, &watch[0], *(int *)(calls + 1), EPOLLIN, count, &calls[2]),
			0);
}

static void test_unwatch_inside(void)
{
	int fd[3] = {ready(), ready(), ready()};
	unsigned i;

	CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
	memset(calls, 0, sizeof(calls));
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(loop_watch(loop, &watch[i], fd[i], EPOLLIN, unwatch_all, &calls[0]),
				0);
	calls[1] = fd[1];
	CU_ASSERT_EQUAL(loop_once(loop, 0), 3);
	CU_ASSERT_EQUAL(calls[0], 1); /* the first took the other two away */
	CU_ASSERT_EQUAL(calls[2], 0);
	CU_ASSERT_EQUAL(loop_once(loop, 0), 1);
	CU_ASSERT_EQUAL(calls[2], 1);
	loop_free(loop); /* takes what is left along */
	for (i = 0; i < 3; i++)
		close(fd[i]);
}

static void test_timer(void)
{
	unsigned fds;

	CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
	fds = check_fds();
	calls[0] = 0;
	CU_ASSERT_EQUAL(loop_timer(loop, &watch[0], 0, count, &calls[0]), -EINVAL);
	CU_ASSERT_EQUAL(loop_timer(loop, &watch[0], 1, count_and_end, &calls[0]), 0);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_EQUAL(calls[0], 2);
	loop_unwatch(watch[0]);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_EQUAL(loop_once(loop, 5), 0);
	CU_ASSERT_EQUAL(calls[0], 2);
	loop_free(loop);
}

static void test_refused(void)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
	CU_ASSERT_EQUAL(loop_watch(loop, &watch[0], -1, EPOLLIN, count, NULL), -EBADF);
	CU_ASSERT_EQUAL(loop_watch(loop, &watch[0], fd, EPOLLIN, count, NULL), -EPERM);
	close(fd);
	loop_free(loop);
}

static void test_log(void)
{
	int saved = dup(STDERR_FILENO), pipes[2];
	enum log_level level;
	char text[256] = "";

	CU_ASSERT_EQUAL(log_parse_level("debug", &level), 0);
	CU_ASSERT_EQUAL(level, LOG_DEBUG);
	CU_ASSERT_EQUAL(log_parse_level("loud", &level), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	log_set_level(LOG_INFO);
	log_debug("not this");
	errno = 7;
	log_info("one\nline %d\033[2J", 42);
	CU_ASSERT_EQUAL(errno, 7);
	log_error("%2000d", 1);
	dup2(saved, STDERR_FILENO);
	CU_ASSERT_TRUE(read(pipes[0], text, sizeof(text) - 1) > 0);
	CU_ASSERT_EQUAL(strncmp(text, "vxsd: one?line 42?[2J\nvxsd: error: ", 35), 0);
	close(saved), close(pipes[0]), close(pipes[1]);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"events", test_events}, {"unwatch_inside", test_unwatch_inside},
		{"timer", test_timer},   {"refused", test_refused},
		{"log", test_log},       {NULL, NULL},
	};

	return check_main("loop", tests, argc, argv);
}
