/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two VMs on a vxsd of an ordinary user, without an uplink: all features, no frame lost. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "fake_vm.h"
#include "mark.h"

#define WAIT 10000 /* ms; sanitizers are slow */

static struct child vxsd;

/* A VM with its address and what it got. */
struct side {
	struct fake_vm *vm;
	uint8_t mac[6];
	struct inbox in;
};

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static bool start(const char *words)
{
	if (strstr(words, "--cpus") && sysconf(_SC_NPROCESSORS_CONF) < 2) {
		check_skip("needs two CPUs");
		return false;
	}
	CU_ASSERT_EQUAL_FATAL(child_open(&vxsd, NULL), 0);
	if (!child_start(&vxsd, words))
		return true;
	CU_FAIL("vxsd did not start");
	child_close(&vxsd);
	return false;
}

static void stop(void)
{
	int status = child_end(&vxsd, SIGTERM);

	CU_ASSERT_EQUAL(status, 0);
	if (status)
		child_dump(&vxsd);
	child_close(&vxsd);
}

static bool side_open(struct side *s, const char *name, const struct fake_vm_options *opt)
{
	struct fake_vm_options o = *opt;
	char path[128];
	int err;

	snprintf(path, sizeof(path), "%s/%s.sock", vxsd.run_dir, name);
	memset(s, 0, sizeof(*s));
	s->mac[0] = 2;
	s->mac[5] = name[0];
	o.socket = path;
	o.timeout_ms = WAIT;
	CU_ASSERT_EQUAL_FATAL(inbox_open(&s->in), 0);
	err = fake_vm_open(&s->vm, &o);
	if (err)
		printf("--- VM %s: %s\n", name, strerror(-err));
	CU_ASSERT_EQUAL(err, 0);
	return !err;
}

static void side_close(struct side *s)
{
	fake_vm_close(s->vm);
	inbox_close(&s->in);
}

/* Takes in what is there, on all pairs; false if the switch broke a rule of virtio. */
static bool drain(struct side *s)
{
	static uint8_t frame[FAKE_VM_FRAME_MAX];
	unsigned pair;
	int len = 0;

	for (pair = 0; pair < s->vm->opt.pairs; pair++) {
		while ((len = fake_vm_recv(s->vm, pair, frame, sizeof(frame))) > 0)
			inbox_put(&s->in, frame, len);
		if (len < 0) {
			printf("--- %s\n", fake_vm_error(s->vm));
			return false;
		}
	}
	return true;
}

static bool got(struct side *s, unsigned flow, unsigned n)
{
	unsigned long long end = now_ms() + WAIT;
	struct timespec moment = {.tv_nsec = 20000};

	while (s->in.flow[flow] < n) {
		if (!drain(s))
			return false;
		if (s->in.flow[flow] >= n)
			break;
		if (now_ms() > end) {
			printf("--- %u of %u frames of flow %u\n", s->in.flow[flow], n, flow);
			return false;
		}
		nanosleep(&moment, NULL);
	}
	return true;
}

static bool send_one(struct side *from, struct side *to, unsigned pair, const struct mark *mark,
		     size_t len)
{
	static uint8_t frame[FAKE_VM_FRAME_MAX];
	unsigned long long end = now_ms() + WAIT;
	int err;

	mark_write(frame, len, mark);
	while ((err = fake_vm_send(from->vm, pair, frame, len)) == -EAGAIN && now_ms() < end)
		drain(to);
	if (err)
		printf("--- not sent: %s %s\n", strerror(-err), fake_vm_error(from->vm));
	return !err;
}

/* @n frames one way in windows of @window, sizes from 64 to @max: all arrive, in order. */
static bool carry(struct side *from, struct side *to, unsigned n, unsigned window, size_t max)
{
	struct mark m = {.flow = 0};
	size_t len;

	inbox_clear(&to->in);
	inbox_clear(&from->in);
	memcpy(m.dst, to->mac, 6);
	memcpy(m.src, from->mac, 6);
	for (; m.seq < n; m.seq++) {
		len = m.seq < 4 ? (size_t[]){64, 65, max, max - 1}[m.seq]
				: 64 + (m.seq * 7919ul) % (max - 63);
		if (!send_one(from, to, 0, &m, len))
			return false;
		if (m.seq % window == window - 1 && !got(to, 0, m.seq + 1))
			return false;
	}
	return got(to, 0, n) && inbox_clean(&to->in) && !from->in.n;
}

static void both_ways(const struct fake_vm_options *opt_a, const struct fake_vm_options *opt_b,
		      unsigned n, unsigned window, size_t max)
{
	struct side a, b;
	bool ok = side_open(&a, "a", opt_a);

	ok = side_open(&b, "b", opt_b) && ok;
	if (ok) {
		ok = carry(&a, &b, n, window, max) && carry(&b, &a, n, window, max) &&
		     carry(&a, &b, n, window, max);
		if (!ok)
			printf("--- features %#lx to %#lx\n", (unsigned long)opt_a->features,
			       (unsigned long)opt_b->features);
	}
	CU_ASSERT(ok);
	side_close(&a);
	side_close(&b);
}

/* Every @step-th combination of features at VM a, while b stays as @opt_b says. */
static void each_set(const struct fake_vm_options *opt_b, unsigned step)
{
	static const uint64_t bits[] = {FAKE_VM_VERSION_1, FAKE_VM_MRG_RXBUF, FAKE_VM_INDIRECT,
					FAKE_VM_EVENT_IDX, FAKE_VM_PROTOCOL};
	struct side a, b;
	unsigned set, i;
	bool ok;

	CU_ASSERT_FATAL(side_open(&b, "b", opt_b));
	for (set = 0; set < 32; set += step) {
		struct fake_vm_options opt = {};

		for (i = 0; i < 5; i++)
			if (set & 1u << i)
				opt.features |= bits[i];
		/* Zero would mean the default. */
		if (!opt.features)
			opt.features = FAKE_VM_BIT(2); /* CTRL_GUEST_OFFLOADS: QEMU's */
		ok = side_open(&a, "a", &opt) && carry(&a, &b, 300, 64, 1514) &&
		     carry(&b, &a, 300, 64, 1514);
		if (!ok)
			printf("--- features %#lx\n", (unsigned long)opt.features);
		CU_ASSERT(ok);
		side_close(&a);
	}
	side_close(&b);
}

/* Each combination of features against all of them, and many against those of an old driver. */
static void test_features(void)
{
	const struct fake_vm_options all = {.features = FAKE_VM_ALL},
				     old = {.features = FAKE_VM_LEGACY};

	if (!start("--cpus 1 --poll busy --vm a --vm b"))
		return;
	each_set(&all, 1);
	each_set(&old, 5);
	stop();
}

/* Buffers in one piece and in many, direct and indirect, sent and received. */
static void test_layouts(void)
{
	static const struct fake_vm_layout layout[] = {
		{1, false}, {2, false}, {3, false}, {7, false}, {1, true}, {2, true}, {7, true},
	};
	unsigned i, k;

#define N_LAYOUTS (sizeof(layout) / sizeof(*layout))
	if (!start("--cpus 1 --poll busy --vm a --vm b"))
		return;
	for (i = 0; i < N_LAYOUTS; i++)
		for (k = i; k < i + N_LAYOUTS; k += 3) {
			struct fake_vm_options a = {.send = layout[i],
						    .recv = layout[k % N_LAYOUTS]};
			struct fake_vm_options b = {.send = layout[k % N_LAYOUTS],
						    .recv = layout[i]};

			both_ways(&a, &b, 100, 32, 1514);
		}
	stop();
}

/* Rings from tiny to large, memory in one region and in eight with holes. */
static void test_rings(void)
{
	static const unsigned size[] = {4, 16, 1024, 32768};
	unsigned i;

	if (!start("--cpus 1 --poll busy --vm a --vm b"))
		return;
	for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct fake_vm_options a = {.ring_size = size[i], .recv_buffers = 256};
		struct fake_vm_options b = {.ring_size = 256, .regions = 8, .gap = 64 << 20};

		if (size[i] < 256)
			a.recv_buffers = 0;
		both_ways(&a, &b, 1000, size[i] < 64 ? size[i] / 2 : 64, 1514);
	}
	stop();
}

/* Frames over 1,514 bytes in mergeable buffers, up to what 17 of them hold. */
static void test_large(void)
{
	const struct fake_vm_options big = {.send_size = 40000, .buffer_size = 2048};

	if (!start("--cpus 1 --poll busy --vm a --vm b"))
		return;
	both_ways(&big, &big, 300, 8, 9000);
	both_ways(&big, &big, 100, 4, 32000);
	stop();
}

/* Both directions at the same time, many frames, for each way of polling. */
static void flood_both(const char *words, unsigned pairs, unsigned n)
{
	const struct fake_vm_options opt = {
		.pairs = pairs, .features = FAKE_VM_ALL | FAKE_VM_MQ, .ring_size = 512};
	struct mark m = {};
	struct side s[2];
	unsigned flow, i;
	bool ok;

	if (!start(words))
		return;
	ok = side_open(&s[0], "a", &opt);
	ok = side_open(&s[1], "b", &opt) && ok;
	/* The addresses first, so that nothing is flooded. */
	ok = ok && carry(&s[0], &s[1], 1, 1, 64) && carry(&s[1], &s[0], 1, 1, 64);
	inbox_clear(&s[0].in);
	inbox_clear(&s[1].in);
	for (; ok && m.seq < n; m.seq++) {
		for (flow = 0; flow < 2 * pairs; flow++)
			for (i = 0; i < 2; i++) {
				m.flow = flow;
				memcpy(m.dst, s[!i].mac, 6);
				memcpy(m.src, s[i].mac, 6);
				ok = ok && send_one(&s[i], &s[!i], flow % pairs, &m,
						    64 + (m.seq * 31) % 1451);
			}
		for (flow = 0; m.seq % 32 == 31 && flow < 2 * pairs; flow++)
			ok = ok && got(&s[0], flow, m.seq + 1) && got(&s[1], flow, m.seq + 1);
	}
	for (flow = 0; flow < 2 * pairs; flow++)
		ok = ok && got(&s[0], flow, n) && got(&s[1], flow, n);
	CU_ASSERT(ok);
	CU_ASSERT(inbox_clean(&s[0].in) && inbox_clean(&s[1].in));
	if (!inbox_clean(&s[0].in) || !inbox_clean(&s[1].in))
		printf("--- swapped %u and %u, twice %u and %u\n", s[0].in.swapped, s[1].in.swapped,
		       s[0].in.twice, s[1].in.twice);
	side_close(&s[0]);
	side_close(&s[1]);
	stop();
}

static void test_busy(void)
{
	flood_both("--cpus 1 --poll busy --vm a --vm b", 1, 4000);
}

static void test_adaptive(void)
{
	flood_both("--poll adaptive --vm a --vm b", 1, 4000);
}

static void test_interrupt(void)
{
	flood_both("--poll interrupt --vm a --vm b", 1, 4000);
}

static void test_workers(void)
{
	flood_both("--cpus 0,1 --poll adaptive --vm a,queues=4 --vm b,queues=4", 4, 1000);
}

/* VMs that come, reboot, vanish and come again under traffic of the other. */
static void test_come_and_go(void)
{
	const struct fake_vm_options opt = {};
	struct side a, b, c;
	struct mark m = {.flow = 1};
	unsigned round;
	bool ok;

	if (!start("--cpus 0,1 --poll adaptive --vm a --vm b --vm c"))
		return;
	ok = side_open(&a, "a", &opt);
	ok = side_open(&b, "b", &opt) && ok;
	memcpy(m.dst, "\xff\xff\xff\xff\xff\xff", 6);
	memcpy(m.src, a.mac, 6);
	for (round = 0; ok && round < 30; round++) {
		unsigned sent = 0;

		ok = side_open(&c, "c", &opt);
		for (; ok && sent < 40; sent++) {
			ok = send_one(&a, &b, 0, &m, 100 + m.seq % 1000);
			m.seq++;
			if (sent == 20 && round % 3 == 0)
				ok = ok && !fake_vm_reboot(c.vm);
			if (sent == 20 && round % 3 == 1)
				fake_vm_hang_up(c.vm);
		}
		ok = ok && got(&b, 1, m.seq);
		side_close(&c);
	}
	CU_ASSERT(ok);
	CU_ASSERT(inbox_clean(&b.in));
	CU_ASSERT_EQUAL(b.in.n, m.seq);
	side_close(&a);
	side_close(&b);
	stop();
}

/* Kicks and calls as messages of the protocol, with workers that sleep whenever they can. */
static void test_inband(void)
{
	static const uint64_t formats[] = {0, FAKE_VM_PACKED};
	static uint8_t frame[FAKE_VM_FRAME_MAX];
	struct mark m = {.flow = 1};
	struct side a, b;
	unsigned i;

	if (!start("--poll interrupt --vm a --vm b"))
		return;
	for (i = 0; i < 2; i++) {
		struct fake_vm_options opt = {.features = FAKE_VM_ALL | formats[i], .inband = true};
		bool ok = side_open(&a, "a", &opt);

		ok = side_open(&b, "b", &opt) && ok;
		ok = ok && carry(&a, &b, 500, 16, 1514) && carry(&b, &a, 500, 16, 1514);
		memcpy(m.dst, b.mac, 6);
		memcpy(m.src, a.mac, 6);
		for (m.seq = 0; ok && m.seq < 50; m.seq++)
			ok = send_one(&a, &b, 0, &m, 100) &&
			     fake_vm_recv_wait(b.vm, 0, frame, sizeof(frame), WAIT) == 100;
		CU_ASSERT(ok);
		CU_ASSERT(ok && a.vm->vq[1].kicks && b.vm->vq[0].calls);
		if (ok) {
			fake_vm_set_desc(a.vm, 1, 3, 0xfffffffffff0ull, 64, 0, 0);
			fake_vm_offer(a.vm, 1, 3);
			CU_ASSERT(fake_vm_broken(a.vm, 1, WAIT));
			CU_ASSERT_EQUAL(fake_vm_reboot(a.vm), 0);
			CU_ASSERT(carry(&a, &b, 50, 16, 1514));
		}
		side_close(&a);
		side_close(&b);
	}
	stop();
}

/* Ports by vxsctl while frames run. */
static void test_ports(void)
{
	const struct fake_vm_options opt = {};
	struct mark m = {.flow = 2};
	struct side a, b, x;
	unsigned round;
	pid_t pid = 0;
	int status;
	bool ok;

	if (!start("--cpus 0,1 --poll adaptive --vm a --vm b"))
		return;
	ok = side_open(&a, "a", &opt);
	ok = side_open(&b, "b", &opt) && ok;
	ok = ok && carry(&b, &a, 1, 1, 64);
	memcpy(m.dst, b.mac, 6);
	memcpy(m.src, a.mac, 6);
	for (round = 0; ok && round < 10; round++) {
		pid = child_do_start(&vxsd, round & 1 ? "port del x" : "port add x");
		status = -1;
		while (ok && !child_do_done(pid, &status)) {
			ok = m.seq >= MARK_SEQS || send_one(&a, &b, 0, &m, 200);
			m.seq += m.seq < MARK_SEQS;
			ok = ok && (m.seq % 32 || got(&b, 2, m.seq));
		}
		CU_ASSERT_EQUAL(status, 0);
		if (round & 1)
			side_close(&x);
		else
			ok = ok && side_open(&x, "x", &opt);
	}
	CU_ASSERT(ok);
	CU_ASSERT(got(&b, 2, m.seq));
	CU_ASSERT(inbox_clean(&b.in));
	side_close(&a);
	side_close(&b);
	stop();
}

/* A hostile descriptor breaks its own queue; the others don't notice. */
static void test_broken(void)
{
	const struct fake_vm_options opt = {};
	struct side a, b, c;

	if (!start("--cpus 1 --poll adaptive --vm a --vm b --vm c"))
		return;
	if (side_open(&a, "a", &opt) && side_open(&b, "b", &opt) && side_open(&c, "c", &opt)) {
		fake_vm_set_desc(a.vm, 1, 3, 0xfffffffffff0ull, 64, 0, 0);
		fake_vm_offer(a.vm, 1, 3);
		CU_ASSERT(fake_vm_broken(a.vm, 1, WAIT));
		CU_ASSERT(carry(&b, &c, 500, 64, 1514));
		CU_ASSERT(carry(&c, &b, 500, 64, 1514));
		CU_ASSERT_EQUAL(fake_vm_reboot(a.vm), 0);
		CU_ASSERT(carry(&a, &b, 100, 32, 1514));
	}
	side_close(&a);
	side_close(&b);
	side_close(&c);
	stop();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"features", test_features},
		{"layouts", test_layouts},
		{"rings", test_rings},
		{"large", test_large},
		{"busy", test_busy},
		{"adaptive", test_adaptive},
		{"interrupt", test_interrupt},
		{"workers", test_workers},
		{"inband", test_inband},
		{"come_and_go", test_come_and_go},
		{"ports", test_ports},
		{"broken", test_broken},
		{},
	};

	return check_main("pair", tests, argc, argv);
}
