/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two fake VMs with a real vxsd between them: every layout, every feature, every byte compared. */
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

static void test_sizes(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	size_t len;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	for (len = 64; a && b && len <= 1514; len++)
		if (!send_sizes(a, b, true, 2, len, len) || !send_sizes(b, a, false, 2, len, len))
			break;
	CU_ASSERT_EQUAL(len, 1515);
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

static void test_features(void)
{
	static const uint64_t bit[] = {FAKE_VM_VERSION_1, FAKE_VM_MRG_RXBUF, FAKE_VM_INDIRECT,
				       FAKE_VM_EVENT_IDX, FAKE_VM_PROTOCOL};
	struct fake_vm_options a = {.send = {.pieces = 2, .indirect = true}}, b = a;
	unsigned set, i;

	if (!start("adaptive", ""))
		return;
	for (set = 0; set < 1u << 5; set++) {
		a.features = 1ull << 63; /* never offered, and so never negotiated: no features */
		for (i = 0; i < 5; i++)
			if (set & 1u << i)
				a.features |= bit[i];
		b.features = set % 3 ? FAKE_VM_ALL : a.features;
		if (!talk(&a, &b, 64)) {
			fprintf(stderr, "with features 0x%llx\n", (unsigned long long)a.features);
			CU_FAIL("features");
			break;
		}
	}
	stop();
}

static void test_layouts(void)
{
	static const unsigned pieces[] = {1, 2, 3, 4, 7, 12, 40};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i, j, mode;

	if (!start("adaptive", ""))
		return;
	for (mode = 0; mode < 8; mode++) {
		for (i = 0; i < 7; i++) {
			j = (i + mode) % 7;
			a.send = b.recv = (struct fake_vm_layout){pieces[i], mode & 1};
			a.recv = b.send = (struct fake_vm_layout){pieces[j], mode & 2};
			a.features = b.features = mode & 4 ? FAKE_VM_LEGACY : FAKE_VM_ALL;
			if (!talk(&a, &b, 64)) {
				fprintf(stderr, "with %u and %u pieces, mode %u\n", pieces[i],
					pieces[j], mode);
				CU_FAIL("layout");
			}
		}
	}
	stop();
}

static void test_mergeable(void)
{
	static const unsigned size[] = {16, 60, 128, 512, 1526};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i;

	if (!start("adaptive", ""))
		return;
	for (i = 0; i < 5; i++) {
		b.buffer_size = size[i];
		b.recv.pieces = i % 2 + 1;
		if (!talk(&a, &b, 500)) {
			fprintf(stderr, "with buffers of %u bytes\n", size[i]);
			CU_FAIL("mergeable");
		}
	}
	stop();
}

static void test_ring_sizes(void)
{
	struct fake_vm_options a = {0}, b = {0};
	unsigned size;

	if (!start("adaptive", ""))
		return;
	for (size = 1; size <= 32768; size *= 2) {
		a.ring_size = size;
		b.ring_size = 32768 / size;
		if (!talk(&a, &b, 100)) {
			fprintf(stderr, "with rings of %u and %u\n", a.ring_size, b.ring_size);
			CU_FAIL("ring size");
		}
	}
	stop();
}

static void test_regions(void)
{
	struct fake_vm_options a = {0}, b = {0};

	if (!start("adaptive", ""))
		return;
	for (a.regions = 1; a.regions <= 8; a.regions++) {
		a.gap = a.regions % 2 ? 0 : 64ull << 20;
		b.regions = 9 - a.regions;
		CU_ASSERT(talk(&a, &b, 64));
	}
	stop();
}

static void test_wrap(void)
{
	struct fake_vm_options opt = {.ring_size = 64};

	if (!start("adaptive", ""))
		return;
	CU_ASSERT(talk(&opt, &opt, 70000)); /* the rings' 16-bit indices come round */
	stop();
}

static void test_poll_modes(void)
{
	static const char *const mode[] = {"busy", "interrupt", "adaptive"};
	struct fake_vm_options opt = {0}, poll = {.no_call_fd = true}, call = {.want_call = true};
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (!start(mode[i], ""))
			return;
		CU_ASSERT(talk(&opt, &poll, 3000));
		CU_ASSERT(talk(&call, &opt, 3000));
		stop();
	}
}

/* A guest that sleeps is woken by a call, and only as often as it asks. */
static void test_calls(void)
{
	struct fake_vm_options opt = {0};
	uint8_t frame[64], got[2048];
	struct fake_vm *a, *b;
	unsigned i;

	if (!start("interrupt", ""))
		return;
	for (i = 0; i < 2; i++) {
		opt.features = FAKE_VM_ALL ^ (i ? FAKE_VM_EVENT_IDX : 0);
		a = open_vm(0, &opt);
		b = open_vm(1, &opt);
		if (!a || !b)
			break;
		make_frame(frame, true, 0, sizeof(frame));
		CU_ASSERT_EQUAL(fake_vm_wait(b, 0, 0), 0);
		CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, sizeof(frame)), 0);
		CU_ASSERT_EQUAL(fake_vm_wait(b, 0, 2000), 1);
		CU_ASSERT_EQUAL(fake_vm_recv(b, 0, got, sizeof(got)), sizeof(frame));
		/* many frames while it doesn't wait: no call at all */
		b->vq[0].calls = 0;
		CU_ASSERT(send_sizes(a, b, true, 20, 64, 64));
		fake_vm_close(a);
		fake_vm_close(b);
	}
	stop();
}

static void test_queue_pairs(void)
{
	struct fake_vm_options four = {.pairs = 4}, one = {0};
	struct fake_vm *vm = NULL;

	if (!start("adaptive", ",queues=4"))
		return;
	CU_ASSERT(talk(&four, &four, 4000));
	CU_ASSERT(talk(&one, &four, 1000));
	four.pairs = 3;
	CU_ASSERT(talk(&four, &one, 1000));
	four.pairs = 5;
	four.socket = socket_path[0];
	CU_ASSERT_EQUAL(fake_vm_open(&vm, &four), -EPROTO);
	stop();
}

/* Rings stop at GET_VRING_BASE and resume where they were; a reboot begins at 0 again. */
static void test_stop_and_start(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	uint8_t frame[64], back[64], got[64];
	int i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	make_frame(frame, true, 0, sizeof(frame));
	make_frame(back, false, 0, sizeof(back));
	for (i = 0; a && b && i < 20; i++) {
		CU_ASSERT(both_ways(a, b, 100 + i));
		CU_ASSERT_EQUAL(fake_vm_stop(a), 0);
		/* what is sent meanwhile waits in the ring; what comes meanwhile is lost */
		CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, sizeof(frame)), 0);
		CU_ASSERT_EQUAL(fake_vm_send(b, 0, back, sizeof(back)), 0);
		CU_ASSERT_EQUAL(fake_vm_flush(b, 0, 2000), 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(a, 0), 1);
		CU_ASSERT_EQUAL(fake_vm_recv(a, 0, got, sizeof(got)), 0);
		CU_ASSERT_EQUAL(fake_vm_start(a), 0);
		CU_ASSERT_EQUAL(fake_vm_recv_wait(b, 0, got, sizeof(got), 2000), 64);
		CU_ASSERT(both_ways(a, b, 100));
		CU_ASSERT_EQUAL(fake_vm_reboot(i % 2 ? a : b), 0);
	}
	CU_ASSERT_EQUAL(i, 20);
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* A front-end that comes back, with the same rings or as a new one; the other keeps running. */
static void test_reconnect(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	int i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	for (i = 0; a && b && i < 20; i++) {
		CU_ASSERT(both_ways(a, b, 50));
		if (i % 2) {
			CU_ASSERT_EQUAL(fake_vm_reconnect(a), 0);
		} else {
			fake_vm_close(a);
			a = open_vm(0, &opt);
		}
	}
	CU_ASSERT_EQUAL(i, 20);
	CU_ASSERT(a && b && both_ways(a, b, 50));
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* A receiver that doesn't take its frames costs the sender nothing, and gets what it has room for.
 */
static void test_full(void)
{
	struct fake_vm_options opt = {0}, few = {.recv_buffers = 10};
	uint8_t frame[256], got[2048];
	struct fake_vm *a, *b;
	uint32_t i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &few);
	for (i = 0; a && b && i < 1000; i++) {
		make_frame(frame, true, i, sizeof(frame));
		while (fake_vm_send(a, 0, frame, sizeof(frame)) == -EAGAIN)
			CU_ASSERT_EQUAL_FATAL(fake_vm_flush(a, 0, 2000), 0);
	}
	CU_ASSERT(a && fake_vm_flush(a, 0, 2000) == 0);
	if (b)
		b->hold = true;
	for (i = 0; b && fake_vm_recv(b, 0, got, sizeof(got)) > 0; i++)
		CU_ASSERT_EQUAL(got[14], i);
	CU_ASSERT_EQUAL(i, 10);
	CU_ASSERT(b && fake_vm_refill(b, 0, 1000) == 256);
	CU_ASSERT(a && b && send_sizes(a, b, true, 200, 64, 1514));
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* The largest frames that guests make, in all kinds of buffers. */
static void test_large(void)
{
	struct fake_vm_options a = {.send_size = 66000, .buffer_size = 66000}, b = a;
	struct fake_vm *va, *vb;
	unsigned i;

	if (!start("adaptive", ""))
		return;
	for (i = 0; i < 4; i++) {
		a.send.pieces = i % 2 ? 17 : 1;
		b.recv.pieces = i ? 1 : 18;
		b.buffer_size = i < 2 ? 66000 : 1526;
		va = open_vm(0, &a);
		vb = open_vm(1, &b);
		CU_ASSERT(va && vb && send_sizes(va, vb, true, 200, 9000, 65549));
		CU_ASSERT(va && vb && send_sizes(vb, va, false, 200, 9000, 65549));
		fake_vm_close(va);
		fake_vm_close(vb);
	}
	stop();
}

static const struct check tests[] = {
	{"sizes", test_sizes},
	{"features", test_features},
	{"layouts", test_layouts},
	{"mergeable", test_mergeable},
	{"ring sizes", test_ring_sizes},
	{"regions", test_regions},
	{"wrap", test_wrap},
	{"poll modes", test_poll_modes},
	{"calls", test_calls},
	{"queue pairs", test_queue_pairs},
	{"stop and start", test_stop_and_start},
	{"reconnect", test_reconnect},
	{"full", test_full},
	{"large", test_large},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("fake_vm", tests, argc, argv);
}
