/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tables without BPF: what every user gets who may not make maps. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/log.h"
#include "control/tables.h"
#include "switch/fdb.h"

#define NOBODY 65534

/* Runs @test as a user without rights; what it writes to stderr goes to @err. Returns its result.
 */
static int as_nobody(int (*test)(void), char *err, size_t err_len)
{
	int pipe_fd[2], status = -1;
	size_t at = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fd))
		return -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(pipe_fd[1], STDERR_FILENO);
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		if (!geteuid() && (setgid(NOBODY) || setuid(NOBODY)))
			_exit(99);
		_exit(test());
	}
	close(pipe_fd[1]);
	while (at + 1 < err_len && (n = read(pipe_fd[0], err + at, err_len - 1 - at)) > 0)
		at += n;
	err[at] = '\0';
	close(pipe_fd[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static int open_plain(void)
{
	struct tables_options opt = {.name = "unit-tables", .workers = 2};
	struct vxs_port port = {.name = "a"};
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct vxs_port_stats *s, sum;
	struct tables *t = NULL;
	unsigned fds = check_fds();

	log_set_level(LOG_INFO);
	if (tables_open(&t, &opt))
		return 1;
	if (tables_fd_fdb(t) != -1 || tables_fd_sockets(t) != -1 || tables_pin_dir(t))
		return 2;
	s = tables_stats(t, VXS_PORTS_MAX - 1);
	if (!s || s->in_frames || tables_stats(t, VXS_PORTS_MAX))
		return 3;
	s->drops.queue_full = 7;
	if (tables_stats(t, VXS_PORTS_MAX - 1)->drops.queue_full != 7)
		return 4;
	if (!tables_worker_stats(t, 1) || tables_worker_stats(t, 2))
		return 10;
	tables_worker_stats(t, 1)->paths.nowhere.cycles = 1;
	if (tables_worker_stats(t, 0)->paths.nowhere.cycles)
		return 11;
	/* the second worker's, in the last entry of all */
	s[VXS_PORTS_MAX].drops.queue_full = 3;
	s[VXS_PORTS_MAX].in_frames = 1ull << 40;
	tables_sum_stats(t, VXS_PORTS_MAX - 1, &sum);
	if (sum.drops.queue_full != 10 || sum.in_frames != 1ull << 40 || sum.out_frames)
		return 7;
	tables_sum_stats(t, 0, &sum);
	if (sum.drops.queue_full)
		return 8;
	tables_clear_stats(t, VXS_PORTS_MAX - 1);
	tables_sum_stats(t, VXS_PORTS_MAX - 1, &sum);
	if (sum.drops.queue_full || sum.in_frames || s->drops.queue_full)
		return 9;
	if (tables_set_address(t, fdb_key(fdb_mac(mac), 5), 2, 0))
		return 5;
	tables_del_address(t, fdb_key(fdb_mac(mac), 5));
	tables_set_port(t, 2, &port);
	tables_close(t);
	return check_fds() == fds ? 0 : 6;
}

static int open_needed(void)
{
	struct tables_options opt = {.name = "unit-tables", .need_bpf = true, .nic_queues = 1};
	struct tables *t = (void *)1;
	unsigned fds = check_fds();
	int err;

	err = tables_open(&t, &opt);
	if (!err)
		return 1;
	if (t != (void *)1)
		return 2;
	return check_fds() == fds ? 0 : 3;
}

static void test_plain(void)
{
	char err[1024];

	CU_ASSERT_EQUAL(as_nobody(open_plain, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(count_lines(err), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "unit-tables"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "plain memory"));
}

static void test_needed(void)
{
	char err[1024];

	CU_ASSERT_EQUAL(as_nobody(open_needed, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(count_lines(err), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "unit-tables"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW"));
}

static void test_close_null(void)
{
	tables_close(NULL);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"plain_memory", test_plain},
		{"too_few_rights", test_needed},
		{"close_null", test_close_null},
		{},
	};

	return check_main("tables", tests, argc, argv);
}
