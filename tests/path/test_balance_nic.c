/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's queue goes from worker to worker, and so from NIC queue to NIC queue: the wire sees its
 * frames in order, and all of them. Root. */

/*
 *   VM x ─┬─ worker 0 ─ queue 0 ┐
 *         │                     ├ nic0 ═══ veth ═══ wire0 ── a thread that sends by VM b,
 *   VM b ─┴─ worker 1 ─ queue 1 ┘                            and looks at what comes out
 *
 * The daemon lives in this process, its control thread is the test's. VM x disables those of its
 * queues that b's worker doesn't have, and enables them again: b moves to and fro.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "control/balance.h"
#include "control/daemon.h"
#include "control/log.h"
#include "fake_vm.h"
#include "mark.h"
#include "nic_lab.h"

#define WAIT    20000
#define X_PAIRS 4
#define MOVES   15
#define WINDOW  64 /* the kernel's queue between the ends of a veth holds 256 */

static const uint8_t b_mac[6] = {2, 0, 0, 0, 0, 0xb}, wire_mac[6] = {2, 0, 0, 0, 0, 0xee};

struct scene {
	struct nic_lab *l; /* of which only the veth is used */
	struct options opt;
	struct vm_options vm[2];
	struct daemon *d;
	struct fake_vm *x, *b;
	struct inbox in;
	bool stop;     /* atomic */
	bool failed;   /* atomic */
	unsigned done; /* atomic: windows that arrived */
};

static struct scene s;

static void turn(void *arg)
{
	(void)arg;
	loop_once(s.d->loop, 1);
}

static struct fake_vm *join(const char *name, unsigned pairs)
{
	struct fake_vm_options opt = {
		.idle = turn,
		.pairs = pairs,
		.features = FAKE_VM_ALL | (pairs > 1 ? FAKE_VM_MQ : 0),
	};
	struct fake_vm *vm = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", s.opt.run_dir, name);
	opt.socket = path;
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

static bool open_scene(const char *dir, enum poll_mode poll)
{
	struct timeval wait = {.tv_sec = WAIT / 1000};
	cpu_set_t may;
	unsigned cpu;

	memset(&s, 0, sizeof(s));
	if (!nic_lab_enter()) {
		check_skip("needs root and network namespaces");
		return false;
	}
	s.l = nic_lab_new(2);
	setsockopt(s.l->wire_fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	snprintf(s.opt.name, sizeof(s.opt.name), "test-bn-%d", getpid());
	snprintf(s.opt.run_dir, sizeof(s.opt.run_dir), "%s/run", dir);
	strcpy(s.opt.uplink.ifname, NIC);
	sched_getaffinity(0, sizeof(may), &may);
	while (s.opt.n_cpus < 2)
		for (cpu = 0; cpu < CPU_SETSIZE && s.opt.n_cpus < 2; cpu++)
			if (CPU_ISSET(cpu, &may))
				s.opt.cpu[s.opt.n_cpus++] = cpu;
	s.opt.poll = poll;
	s.opt.ageing = 300;
	s.opt.n_vms = 2;
	s.opt.vm = s.vm;
	s.vm[0] = (struct vm_options){.name = "x", .queues = X_PAIRS};
	s.vm[1] = (struct vm_options){.name = "b", .queues = 1};
	CU_ASSERT_EQUAL_FATAL(daemon_open(&s.d, &s.opt), 0);
	CU_ASSERT_EQUAL(
		daemon_set_address(s.d, fdb_key(fdb_mac(wire_mac), 0), VXS_PORT_UPLINK, true), 0);
	s.x = join("x", X_PAIRS);
	s.b = join("b", 1);
	CU_ASSERT_EQUAL_FATAL(inbox_open(&s.in), 0);
	return true;
}

static void close_scene(void)
{
	fake_vm_close(s.x);
	fake_vm_close(s.b);
	inbox_close(&s.in);
	daemon_close(s.d);
	nic_lab_free(s.l);
}

static bool fail(const char *what)
{
	printf("--- %s\n", what);
	__atomic_store_n(&s.failed, true, __ATOMIC_RELEASE);
	return false;
}

/* One window: sent, and seen on the wire. */
static bool window(uint32_t *seq)
{
	struct mark m = {.flow = 1};
	uint8_t frame[2048];
	ssize_t len;
	unsigned i;

	memcpy(m.dst, wire_mac, 6);
	memcpy(m.src, b_mac, 6);
	for (i = 0; i < WINDOW; i++) {
		m.seq = (*seq)++;
		len = 64 + m.seq % 1000;
		mark_write(frame, len, &m);
		if (fake_vm_send(s.b, 0, frame, len))
			return fail(fake_vm_error(s.b));
	}
	while (s.in.flow[1] < *seq) {
		len = recv(s.l->wire_fd, frame, sizeof(frame), 0);
		if (len <= 0) {
			printf("--- %llu frames in, %llu out\n",
			       tables_stats(s.d->tables, VXS_PORT_VM + 1)->in_frames,
			       tables_stats(s.d->tables, VXS_PORT_UPLINK)->out_frames);
			return fail("a frame doesn't come out at the wire");
		}
		inbox_put(&s.in, frame, len);
	}
	return inbox_clean(&s.in) || fail("frames out of order, twice, or not as they were sent");
}

static void *carry(void *arg)
{
	uint32_t seq = 0;

	while (!__atomic_load_n(&s.stop, __ATOMIC_ACQUIRE) && window(&seq)) {
		if (seq >= MARK_SEQS / 2) {
			inbox_clear(&s.in);
			seq = 0;
		}
		__atomic_fetch_add(&s.done, 1, __ATOMIC_RELEASE);
	}
	return arg;
}

static bool has_done(void *arg)
{
	return __atomic_load_n(&s.failed, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&s.done, __ATOMIC_ACQUIRE) != *(unsigned *)arg;
}

/* Waits for one more window. */
static bool goes_on(void)
{
	unsigned now = __atomic_load_n(&s.done, __ATOMIC_ACQUIRE);

	return check_until(has_done, &now, 2 * WAIT) && !__atomic_load_n(&s.failed, 2);
}

/* Has queues of x run that worker @but has, and no others (@but NULL: all). */
static void stir(const struct worker *but)
{
	struct vm *x = vm_of(daemon_find_port(s.d, "x"));
	unsigned q;

	for (q = 0; q < X_PAIRS; q++) {
		bool run = !but || x->port.worker[q] == but;

		if (vm_queue_runs(x, q) == run)
			continue;
		CU_ASSERT_EQUAL_FATAL(fake_vm_enable_ring(s.x, 2 * q + 1, run), 0);
		CU_ASSERT_EQUAL_FATAL(fake_vm_sync(s.x), 0);
	}
}

static void moves(enum poll_mode poll)
{
	unsigned moved = 0, again = 0;
	char dir[] = "/tmp/vxs-balance-nic.XXXXXX";
	pthread_t thread;
	struct port *b;
	bool ok;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	if (!open_scene(dir, poll)) {
		rmdir(dir);
		return;
	}
	b = daemon_find_port(s.d, "b");
	s.b->opt.idle = NULL; /* from now on in a thread that isn't control's */
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, carry, NULL), 0);
	ok = goes_on();
	while (ok && moved < MOVES && again < 100) {
		struct worker *at;
		int ret;

		stir(NULL);
		again += balance_now(s.d) == -EAGAIN;
		at = b->worker[0];
		stir(at);
		ret = balance_now(s.d);
		CU_ASSERT(ret >= 0 || ret == -EAGAIN);
		again += ret == -EAGAIN;
		CU_ASSERT(ret <= 0 || b->worker[0] != at);
		moved += b->worker[0] != at;
		ok = goes_on();
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	s.b->opt.idle = turn;
	CU_ASSERT(ok && moved >= MOVES);
	close_scene();
	rmdir(dir);
}

static void test_order_busy(void)
{
	moves(POLL_BUSY);
}

static void test_order_adaptive(void)
{
	moves(POLL_ADAPTIVE);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"order_busy", test_order_busy},
		{"order_adaptive", test_order_adaptive},
		{},
	};

	log_set_level(LOG_ERROR);
	return check_main("balance_nic", tests, argc, argv);
}
