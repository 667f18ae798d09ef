/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The daemon in one process with the test: starts, ends, ports come and go, addresses are learned.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "control/daemon.h"
#include "control/log.h"
#include "fake_vm.h"
#include "vxs_ctl.h"

/*
 * The test's thread is the control thread: it runs the daemon's loop whenever a fake VM waits. The
 * worker is a thread of its own. No root and no NIC.
 */
static char base[64];

struct lab {
	struct options opt;
	struct vm_options vm[2];
	struct daemon *d;
};

static void turn(void *arg)
{
	struct lab *l = arg;

	loop_once(l->d->loop, 1);
}

/* Which CPU a worker is on doesn't matter: all of them share the one that we are on. */
static int lab_open_workers(struct lab *l, unsigned n)
{
	int cpu = sched_getcpu();

	memset(l, 0, sizeof(*l));
	while (l->opt.n_cpus < n)
		l->opt.cpu[l->opt.n_cpus++] = cpu;
	strcpy(l->opt.name, "test-daemon");
	snprintf(l->opt.run_dir, sizeof(l->opt.run_dir), "%s/run", base);
	l->opt.ageing = 300;
	l->opt.log_level = LOG_ERROR;
	l->opt.n_vms = 2;
	l->opt.vm = l->vm;
	l->vm[0] = (struct vm_options){.name = "a", .queues = 1};
	l->vm[1] = (struct vm_options){.name = "b", .queues = 1};
	return daemon_open(&l->d, &l->opt);
}

static int lab_open(struct lab *l)
{
	return lab_open_workers(l, 0);
}

static void lab_close(struct lab *l)
{
	daemon_close(l->d);
	CU_ASSERT(access(l->opt.run_dir, F_OK)); /* nothing left behind */
}

static struct fake_vm *connect_vm(struct lab *l, const char *name)
{
	struct fake_vm_options opt = {.idle = turn, .idle_arg = l};
	struct fake_vm *vm = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", l->opt.run_dir, name);
	opt.socket = path;
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

static void mac_of(unsigned n, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){0x52, 0x54, 0, 0, 0, n}, 6);
}

static uint64_t key_of(unsigned n)
{
	uint8_t mac[6];

	mac_of(n, mac);
	return fdb_key(fdb_mac(mac), 0);
}

static void send_frame(struct fake_vm *vm, unsigned to, unsigned from)
{
	uint8_t frame[60] = {};

	mac_of(to, frame);
	mac_of(from, frame + 6);
	CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
}

static bool received(struct fake_vm *vm)
{
	uint8_t buf[2048];

	return fake_vm_recv_wait(vm, 0, buf, sizeof(buf), FAKE_VM_TIMEOUT) == 60;
}

struct place {
	struct lab *l;
	struct fake_vm *sender; /* NULL: nobody sends meanwhile */
	uint64_t key;
	uint32_t port;
};

#define NOWHERE VXS_PORTS_MAX

static bool is_there(void *arg)
{
	struct place *p = arg;
	uint32_t value, port = NOWHERE;

	if (p->sender)
		send_frame(p->sender, 255, 1);
	turn(p->l);
	if (fdb_find(p->l->d->sw.fdb, p->key, &value))
		port = FDB_SLOT_PORT(value);
	return port == p->port;
}

/* Waits until the address is behind the port. */
static bool found_at(struct lab *l, unsigned mac, uint32_t port)
{
	return check_until(is_there, &(struct place){l, NULL, key_of(mac), port}, FAKE_VM_TIMEOUT);
}

static int add(struct lab *l, const char *name, unsigned mac)
{
	struct vm_options opt = {.queues = 1};
	char err[256] = "";
	int ret;

	snprintf(opt.name, sizeof(opt.name), "%s", name);
	if (mac)
		mac_of(mac, opt.mac);
	ret = daemon_add_vm(l->d, &opt, err, sizeof(err));
	CU_ASSERT(!ret == !err[0]);
	CU_ASSERT_PTR_NULL(strchr(err, '\n'));
	return ret;
}

static int del(struct lab *l, const char *name)
{
	char err[256] = "";
	int ret = daemon_del_vm(l->d, name, err, sizeof(err));

	CU_ASSERT(!ret == !err[0]);
	return ret;
}

static void test_open_close(void)
{
	unsigned i, fds = 0;
	struct lab l;

	for (i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
		lab_close(&l);
		if (!i)
			fds = check_fds(); /* libraries keep one or the other */
	}
	CU_ASSERT_EQUAL(check_fds(), fds);
}

/* Whatever fails while it starts: all is taken back. */
static void test_half_open(void)
{
	struct lab l, second;
	unsigned fds;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	fds = check_fds();
	CU_ASSERT_EQUAL(lab_open(&second), -EBUSY);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(!access(l.opt.run_dir, F_OK));
	daemon_close(l.d);

	l.d = NULL;
	strcpy(l.vm[1].socket, "/nonexistent/b.sock");
	CU_ASSERT(daemon_open(&l.d, &l.opt) < 0);
	CU_ASSERT_PTR_NULL(l.d);
	CU_ASSERT(access(l.opt.run_dir, F_OK));
	l.vm[1].socket[0] = '\0';
	l.opt.n_cpus = 1;
	l.opt.cpu[0] = CPU_SETSIZE - 1; /* a CPU that isn't there */
	CU_ASSERT_EQUAL(daemon_open(&l.d, &l.opt), -EINVAL);
	CU_ASSERT(access(l.opt.run_dir, F_OK));
	daemon_close(NULL);
}

/* At whatever step file descriptors run out: it fails, and leaves nothing behind. */
static void test_few_fds(void)
{
	struct rlimit limit, few;
	unsigned fds = check_fds(), n;
	int err = open("/dev/null", O_WRONLY | O_CLOEXEC), saved = dup(STDERR_FILENO), ret = -1;
	char pins[64];
	struct lab l;

	dup2(err, STDERR_FILENO); /* each failure is logged */
	getrlimit(RLIMIT_NOFILE, &limit);
	few = limit;
	for (n = 4; ret && n < 100; n++) {
		few.rlim_cur = n;
		setrlimit(RLIMIT_NOFILE, &few);
		ret = lab_open(&l);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (!ret)
			lab_close(&l);
		CU_ASSERT(access(l.opt.run_dir, F_OK));
		snprintf(pins, sizeof(pins), VXS_PIN_DIR "/%s", l.opt.name);
		CU_ASSERT(access(pins, F_OK));
		CU_ASSERT_EQUAL(check_fds(), fds + 2);
	}
	CU_ASSERT_EQUAL(ret, 0);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(err);
}

static void test_names(void)
{
	struct port *p;
	struct lab l;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	CU_ASSERT_EQUAL(add(&l, "a", 0), -EEXIST);
	CU_ASSERT_EQUAL(add(&l, "uplink", 0), -EEXIST);
	CU_ASSERT_EQUAL(add(&l, "host", 0), -EEXIST);
	CU_ASSERT_EQUAL(add(&l, "c", 9), 0);
	CU_ASSERT_EQUAL(add(&l, "d", 9), -EEXIST); /* the address is taken */
	CU_ASSERT_EQUAL(del(&l, "d"), -ENOENT);
	CU_ASSERT_EQUAL(del(&l, "uplink"), -ENOENT);
	CU_ASSERT_EQUAL(del(&l, "a"), 0);
	CU_ASSERT_PTR_NULL(daemon_find_port(l.d, "a"));
	CU_ASSERT_EQUAL(add(&l, "e", 0), 0);
	p = daemon_find_port(l.d, "e"); /* the lowest number that is free */
	CU_ASSERT(p && p->id == VXS_PORT_VM);
	lab_close(&l);
}

static void test_static_address(void)
{
	struct lab l;
	uint32_t value = 0;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	CU_ASSERT_EQUAL(add(&l, "c", 9), 0);
	CU_ASSERT_PTR_NOT_NULL(fdb_find(l.d->sw.fdb, key_of(9), &value));
	CU_ASSERT_EQUAL(value, (VXS_PORT_VM + 2) | FDB_SLOT_STATIC);
	CU_ASSERT_EQUAL(del(&l, "c"), 0);
	CU_ASSERT_PTR_NULL(fdb_find(l.d->sw.fdb, key_of(9), &value));
	lab_close(&l);
}

static void test_full_table(void)
{
	char name[16];
	struct lab l;
	unsigned i;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	for (i = 2; i < VXS_PORTS_MAX - VXS_PORT_VM; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		CU_ASSERT_EQUAL_FATAL(add(&l, name, 0), 0);
	}
	CU_ASSERT_EQUAL(add(&l, "more", 0), -ENOSPC);
	CU_ASSERT_EQUAL(del(&l, "v100"), 0);
	CU_ASSERT_EQUAL(add(&l, "more", 0), 0);
	lab_close(&l);
}

/* Ports come and go for ever; frames between two others pass all the time. */
static void test_churn(void)
{
	struct fake_vm *a, *b;
	unsigned i, fds, lost = 0;
	struct lab l;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	a = connect_vm(&l, "a");
	b = connect_vm(&l, "b");
	send_frame(b, 1, 2);
	CU_ASSERT(received(a));
	CU_ASSERT(found_at(&l, 2, VXS_PORT_VM + 1));
	fds = check_fds();
	for (i = 0; i < 500; i++) {
		CU_ASSERT_EQUAL_FATAL(add(&l, "x", i % 2 ? 7 : 0), 0);
		send_frame(a, 2, 1);
		lost += !received(b);
		CU_ASSERT_EQUAL_FATAL(del(&l, "x"), 0);
	}
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT_EQUAL(check_fds(), fds);
	fake_vm_close(a);
	fake_vm_close(b);
	lab_close(&l);
}

static void test_learn(void)
{
	struct fake_vm *a, *b;
	struct lab l;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	CU_ASSERT_EQUAL(add(&l, "c", 9), 0);
	a = connect_vm(&l, "a");
	b = connect_vm(&l, "b");
	send_frame(a, 2, 1);
	CU_ASSERT(received(b)); /* unknown: flooded */
	CU_ASSERT(found_at(&l, 1, VXS_PORT_VM));
	send_frame(b, 1, 1); /* it moves */
	CU_ASSERT(found_at(&l, 1, VXS_PORT_VM + 1));
	send_frame(a, 2, 9); /* fixed elsewhere: stays */
	CU_ASSERT(received(b));
	CU_ASSERT(found_at(&l, 9, VXS_PORT_VM + 2));
	fake_vm_close(b); /* link down: forgotten */
	CU_ASSERT(found_at(&l, 1, NOWHERE));
	CU_ASSERT(found_at(&l, 9, VXS_PORT_VM + 2));
	fake_vm_close(a);
	lab_close(&l);
}

/* A number's next user starts with counters and addresses of its own. */
static void test_number_used_again(void)
{
	static const struct vxs_port_stats zero;
	struct fake_vm *a, *b;
	struct lab l;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	a = connect_vm(&l, "a");
	b = connect_vm(&l, "b");
	send_frame(a, 2, 1);
	CU_ASSERT(received(b));
	CU_ASSERT(found_at(&l, 1, VXS_PORT_VM));
	CU_ASSERT_EQUAL(tables_stats(l.d->tables, VXS_PORT_VM)->in_frames, 1);
	CU_ASSERT_EQUAL(del(&l, "a"), 0); /* with its front-end connected */
	CU_ASSERT(fake_vm_hung_up(a, FAKE_VM_TIMEOUT));
	CU_ASSERT(found_at(&l, 1, NOWHERE));
	CU_ASSERT_EQUAL(add(&l, "new", 0), 0);
	CU_ASSERT_EQUAL(daemon_find_port(l.d, "new")->id, VXS_PORT_VM);
	CU_ASSERT(!memcmp(tables_stats(l.d->tables, VXS_PORT_VM), &zero, sizeof(zero)));
	fake_vm_close(a);
	a = connect_vm(&l, "new");
	/* a worker reports an address once a second at most, and it has reported this one */
	CU_ASSERT(check_until(is_there, &(struct place){&l, a, key_of(1), VXS_PORT_VM},
			      FAKE_VM_TIMEOUT));
	fake_vm_close(a);
	fake_vm_close(b);
	lab_close(&l);
}

/* Two workers count the frames of one port, each in its own entry; the port's are their sum. */
static void test_counted_by_two(void)
{
	static const struct vxs_port_stats zero;
	struct vxs_port_stats *s, sum;
	struct fake_vm *a, *b;
	struct lab l;
	unsigned i;

	CU_ASSERT_EQUAL_FATAL(lab_open_workers(&l, 2), 0);
	a = connect_vm(&l, "a");
	b = connect_vm(&l, "b");
	s = tables_stats(l.d->tables, VXS_PORT_VM);
	for (i = 0; i < 3; i++) {
		send_frame(a, 2, 1);
		CU_ASSERT(received(b));
		send_frame(b, 1, 2);
		CU_ASSERT(received(a));
	}
	fake_vm_close(b);
	CU_ASSERT_EQUAL(del(&l, "b"), 0); /* and so waits until its worker has counted all */
	CU_ASSERT_EQUAL(s[0].in_frames + s[VXS_PORTS_MAX].in_frames, 3);
	CU_ASSERT_EQUAL(s[0].out_frames + s[VXS_PORTS_MAX].out_frames, 3);
	/* the queues of a and b are on different workers */
	CU_ASSERT(s[0].in_frames && s[VXS_PORTS_MAX].out_frames);
	/* each worker's own account */
	for (i = 0; i < 2; i++) {
		const struct vxs_worker_stats *w = tables_worker_stats(l.d->tables, i);

		CU_ASSERT_EQUAL(w->frames, 3);
		CU_ASSERT_EQUAL(w->paths.vm_vm.frames, 3);
		CU_ASSERT(w->started && w->cycles_per_second);
	}
	tables_sum_stats(l.d->tables, VXS_PORT_VM, &sum);
	CU_ASSERT_EQUAL(sum.in_frames, 3);
	CU_ASSERT_EQUAL(sum.in_bytes, 3 * 60);
	CU_ASSERT_EQUAL(sum.out_frames, 3);
	CU_ASSERT_EQUAL(del(&l, "a"), 0);
	CU_ASSERT(!memcmp(&s[0], &zero, sizeof(zero)));
	CU_ASSERT(!memcmp(&s[VXS_PORTS_MAX], &zero, sizeof(zero)));
	fake_vm_close(a);
	lab_close(&l);
}

/* A storm of other reports leaves no room for that of a broken queue: it is told all the same. */
static void test_lost_report(void)
{
	struct event_ring *events;
	struct fake_vm *a;
	struct lab l;

	CU_ASSERT_EQUAL_FATAL(lab_open(&l), 0);
	a = connect_vm(&l, "a");
	/* full, as the worker sees it: control, which is us, has not read what is in there */
	events = &l.d->worker[0]->events;
	__atomic_store_n(&events->tail,
			 __atomic_load_n(&events->head, __ATOMIC_ACQUIRE) - EVENTS_MAX,
			 __ATOMIC_RELEASE);
	fake_vm_set_desc(a, 1, 3, 0xfffffffffff0ull, 64, 0, 0);
	fake_vm_offer(a, 1, 3);
	CU_ASSERT(fake_vm_broken(a, 1, FAKE_VM_TIMEOUT));
	fake_vm_close(a);
	lab_close(&l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"open_close", test_open_close},
		{"half_open", test_half_open},
		{"few_fds", test_few_fds},
		{"names", test_names},
		{"static_address", test_static_address},
		{"full_table", test_full_table},
		{"churn", test_churn},
		{"learn", test_learn},
		{"lost_report", test_lost_report},
		{"number_used_again", test_number_used_again},
		{"counted_by_two", test_counted_by_two},
		{},
	};
	int status;

	strcpy(base, "/tmp/vxs-test-daemon.XXXXXX");
	if (!mkdtemp(base)) {
		perror(base);
		return 1;
	}
	log_set_level(LOG_ERROR);
	status = check_main("daemon", tests, argc, argv);
	rmdir(base);
	return status;
}
