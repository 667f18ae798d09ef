/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two fake VMs with a real vxsd between them: they talk, and every byte is compared. */
#ifndef FAKE_TALK_H
#define FAKE_TALK_H

#include "check.h"
#include "fake_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Each test starts its own vxsd: no uplink, no privileges (if this runs as root, vxsd still runs as
 * nobody). The program is $VXSD, else the one of this build.
 *
 * FAKE_VM_SOCKETS=A:B names two sockets of some other vhost-user switch instead, one that forwards
 * all frames from each to the other: this is how the fake VM itself is checked against a known one.
 */

#define NOBODY 65534
#define WINDOW 32 /* frames on their way at most, so that the receiver keeps up */

/* Added to the features of all VMs: every test runs with split rings, some with others again. */
static uint64_t format;

static char run_dir[64];
static char socket_path[2][128];
static pid_t vxsd_pid = -1;
static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb};

static int open_vxsd(void)
{
	const char *path = getenv("VXSD");
	char exe[4096];
	ssize_t n;
	int i;

	if (path)
		return open(path, O_RDONLY | O_CLOEXEC);
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 8);
	if (n < 0)
		return -1;
	exe[n] = '\0';
	for (i = 0; i < 3 && strrchr(exe, '/'); i++) /* BUILD/tests/unit/test_fake_vm */
		*strrchr(exe, '/') = '\0';
	strcat(exe, "/vxsd");
	return open(exe, O_RDONLY | O_CLOEXEC);
}

static void run_vxsd(int fd, const char *mode, const char *queues)
{
	char vm_a[32], vm_b[32];
	char *argv[] = {"vxsd",   "--name",      "test",  "--run-dir", run_dir,
			"--poll", (char *)mode,  "--vm",  vm_a,        "--vm",
			vm_b,     "--log-level", "error", NULL};

	snprintf(vm_a, sizeof(vm_a), "a%s", queues);
	snprintf(vm_b, sizeof(vm_b), "b%s", queues);
	if (geteuid() == 0 && (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)))
		_exit(98);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user would undo it */
	fexecve(fd, argv, environ);
	_exit(99);
}

/* @queues is "" or ",queues=N". */
static bool start(const char *mode, const char *queues)
{
	char *other = getenv("FAKE_VM_SOCKETS");
	int fd;

	if (other) {
		if (queues[0]) {
			check_skip("not with other switches");
			return false;
		}
		sscanf(other, "%127[^:]:%127s", socket_path[0], socket_path[1]);
		return true;
	}
	fd = open_vxsd();
	if (fd < 0) {
		CU_FAIL("no vxsd: build it, or name it in $VXSD");
		return false;
	}
	strcpy(run_dir, "/tmp/vxs-test-XXXXXX");
	if (!mkdtemp(run_dir) || (geteuid() == 0 && chown(run_dir, NOBODY, NOBODY))) {
		CU_FAIL("no directory in /tmp");
		close(fd);
		return false;
	}
	snprintf(socket_path[0], sizeof(socket_path[0]), "%s/a.sock", run_dir);
	snprintf(socket_path[1], sizeof(socket_path[1]), "%s/b.sock", run_dir);
	vxsd_pid = fork();
	if (!vxsd_pid)
		run_vxsd(fd, mode, queues);
	close(fd);
	CU_ASSERT(vxsd_pid > 0);
	return vxsd_pid > 0;
}

static bool has_exited(void *arg)
{
	return waitpid(vxsd_pid, arg, WNOHANG) == vxsd_pid;
}

/* Ends vxsd, which must still be there, and must clean up. */
static void stop(void)
{
	int status = -1;

	if (vxsd_pid <= 0)
		return;
	CU_ASSERT(kill(vxsd_pid, SIGTERM) == 0);
	if (!check_until(has_exited, &status, 5000)) {
		CU_FAIL("vxsd doesn't end");
		kill(vxsd_pid, SIGKILL);
		waitpid(vxsd_pid, &status, 0);
	}
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(access(socket_path[0], F_OK) < 0);
	vxsd_pid = -1;
	if (rmdir(run_dir) < 0 && errno != ENOENT)
		CU_FAIL("vxsd leaves files in its directory");
}

static struct fake_vm *open_vm(unsigned which, const struct fake_vm_options *opt)
{
	struct fake_vm_options o = *opt;
	struct fake_vm *vm = NULL;
	int err;

	o.socket = socket_path[which];
	if (format)
		o.features = (o.features ? o.features : FAKE_VM_ALL) | format;
	err = fake_vm_open(&vm, &o);
	CU_ASSERT_EQUAL(err, 0);
	return err ? NULL : vm;
}

/* Frame number @i of @len bytes; anything else about it follows from these. */
static void make_frame(uint8_t *to, bool from_a, uint32_t i, size_t len)
{
	uint32_t x = i * 2654435761u + len;
	size_t at;

	memcpy(to, from_a ? mac_b : mac_a, 6);
	memcpy(to + 6, from_a ? mac_a : mac_b, 6);
	to[12] = 0x88;
	to[13] = 0xb5;
	for (at = 14; at < len; at++) {
		x = x * 1664525 + 1013904223;
		to[at] = x >> 24;
	}
	memcpy(to + 14, &i, sizeof(i));
}

static size_t nth_size(uint32_t i, size_t min, size_t max)
{
	return i % 3 ? min + i * 37 % (max - min + 1) : i % 2 ? max : min;
}

/* Takes all frames that are there for @vm, on any pair; each must come once. -1: something's wrong.
 */
static int drain(struct fake_vm *vm, bool from_a, uint8_t *seen, uint32_t n, size_t min, size_t max)
{
	static uint8_t got[70000], want[70000];
	unsigned pair;
	int len, count = 0;
	uint32_t i;

	for (pair = 0; pair < vm->opt.pairs; pair++) {
		while ((len = fake_vm_recv(vm, pair, got, sizeof(got))) > 0) {
			memcpy(&i, got + 14, sizeof(i));
			if (len < 18 || i >= n || seen[i] || (size_t)len != nth_size(i, min, max)) {
				fprintf(stderr, "frame %u of %d bytes: not expected\n", i, len);
				return -1;
			}
			make_frame(want, from_a, i, len);
			if (memcmp(got, want, len)) {
				fprintf(stderr, "frame %u of %d bytes: altered\n", i, len);
				return -1;
			}
			seen[i] = 1;
			count++;
		}
		if (len < 0) {
			fprintf(stderr, "receive: %s\n", fake_vm_error(vm));
			return -1;
		}
	}
	return count;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Sends @n frames of @min to @max bytes; true if each arrived once, unaltered, within seconds. */
static bool send_sizes(struct fake_vm *from, struct fake_vm *to, bool from_a, uint32_t n,
		       size_t min, size_t max)
{
	uint8_t *seen = calloc(n, 1), frame[FAKE_VM_FRAME_MAX];
	unsigned window =
		to->vq[0].slots / ((max + 12 + to->opt.buffer_size - 1) / to->opt.buffer_size);
	uint32_t sent = 0, got = 0, pair;
	uint64_t end = now_ms() + 5000;
	int r = 0;

	window = window < 1 ? 1 : window > WINDOW ? WINDOW : window;
	while (got < n && r >= 0 && now_ms() < end) {
		while (sent < n && sent - got < window) {
			size_t len = nth_size(sent, min, max);

			pair = sent % from->opt.pairs;
			make_frame(frame, from_a, sent, len);
			r = fake_vm_send(from, pair, frame, len);
			if (r == -EAGAIN)
				break;
			if (r < 0) {
				fprintf(stderr, "send: %s\n", fake_vm_error(from));
				free(seen);
				return false;
			}
			sent++;
		}
		r = drain(to, from_a, seen, n, min, max);
		if (r == 0)
			fake_vm_wait(to, 0, to->opt.pairs > 1 ? 0 : 2);
		else if (r > 0)
			got += r;
	}
	free(seen);
	for (pair = 0; pair < from->opt.pairs && r >= 0; pair++)
		r = fake_vm_flush(from, pair, 1000);
	if (got != n || r < 0)
		fprintf(stderr, "%u sent, %u received of %u; %s\n", sent, got, n,
			fake_vm_error(from));
	return got == n && r >= 0;
}

static bool both_ways(struct fake_vm *a, struct fake_vm *b, uint32_t n)
{
	return send_sizes(a, b, true, n, 64, 1514) && send_sizes(b, a, false, n, 64, 1514);
}

/* Other switches need a while until they forward: until a frame from @from is seen at @to. */
static bool settle(struct fake_vm *from, struct fake_vm *to)
{
	uint64_t end = now_ms() + 5000;
	static uint8_t frame[70000];

	make_frame(frame, true, 0, 64);
	do {
		fake_vm_send(from, 0, frame, 64);
		if (fake_vm_recv_wait(to, 0, frame, sizeof(frame), 10) > 0)
			break;
	} while (now_ms() < end);
	while (fake_vm_recv_wait(to, 0, frame, sizeof(frame), 10) > 0)
		;
	return now_ms() < end;
}

/* Opens two VMs, has them talk, closes them. */
static bool talk(const struct fake_vm_options *opt_a, const struct fake_vm_options *opt_b,
		 uint32_t n)
{
	struct fake_vm *a = open_vm(0, opt_a), *b = open_vm(1, opt_b);
	bool ok = a && b;

	if (ok && getenv("FAKE_VM_SOCKETS"))
		ok = settle(a, b) && settle(b, a);
	ok = ok && both_ways(a, b, n);

	fake_vm_close(a);
	fake_vm_close(b);
	return ok;
}

#endif
