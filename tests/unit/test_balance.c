/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Queues move from worker to worker while they carry frames: none overtakes, no kick is lost. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "control/balance.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/show.h"
#include "fake_vm.h"
#include "mark.h"
#include "nic/nic_queue.h"

/*
 * The test's thread is the control thread: it runs the daemon's loop whenever a fake VM waits. A
 * thread of its own carries frames between VMs a and b, two pairs of queues each. A third VM, x,
 * disables those of its queues that one worker has, and enables them again: each time queues of a
 * and b have to move, since they are the last of their worker.
 */
#define WAIT    10000 /* ms; sanitizers are slow */
#define PAIRS   2
#define X_PAIRS 8

static char base[64];
static unsigned comes_by[2]; /* the pair by which a, b get what the other sends: one MAC flow */

struct lab {
	struct options opt;
	struct vm_options vm[3];
	struct daemon *d;
	struct fake_vm *x, *a, *b;
	unsigned moves;
};

static void turn(void *arg)
{
	struct lab *l = arg;

	loop_once(l->d->loop, 1);
}

/* @n workers on what CPUs we have, if need be several on one. */
static void set_cpus(struct options *opt, unsigned n)
{
	cpu_set_t may;
	unsigned cpu;

	sched_getaffinity(0, sizeof(may), &may);
	while (opt->n_cpus < n)
		for (cpu = 0; cpu < CPU_SETSIZE && opt->n_cpus < n; cpu++)
			if (CPU_ISSET(cpu, &may))
				opt->cpu[opt->n_cpus++] = cpu;
}

static void lab_open(struct lab *l, unsigned n_workers, enum poll_mode poll)
{
	memset(l, 0, sizeof(*l));
	snprintf(l->opt.name, sizeof(l->opt.name), "balance-%d", getpid());
	snprintf(l->opt.run_dir, sizeof(l->opt.run_dir), "%s/run", base);
	set_cpus(&l->opt, n_workers);
	l->opt.poll = poll;
	l->opt.ageing = 300;
	l->opt.n_vms = 3;
	l->opt.vm = l->vm;
	l->vm[0] = (struct vm_options){.name = "x", .queues = X_PAIRS};
	l->vm[1] = (struct vm_options){.name = "a", .queues = PAIRS};
	l->vm[2] = (struct vm_options){.name = "b", .queues = PAIRS};
	CU_ASSERT_EQUAL_FATAL(daemon_open(&l->d, &l->opt), 0);
}

static void lab_close(struct lab *l)
{
	fake_vm_close(l->x);
	fake_vm_close(l->a);
	fake_vm_close(l->b);
	daemon_close(l->d);
	CU_ASSERT(access(l->opt.run_dir, F_OK)); /* nothing left behind */
}

static struct fake_vm *join(struct lab *l, const char *name, unsigned pairs)
{
	struct fake_vm_options opt = {
		.idle = turn,
		.idle_arg = l,
		.pairs = pairs,
		.ring_size = 512,
		.features = FAKE_VM_ALL | (pairs > 1 ? FAKE_VM_MQ : 0),
		.timeout_ms = WAIT,
	};
	struct fake_vm *vm = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", l->opt.run_dir, name);
	opt.socket = path;
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

/* Queues that run on worker @id, as `vxsctl status` tells. */
static unsigned shown(struct lab *l, unsigned id)
{
	struct json_object *status = show_status(l->d), *list, *queues;
	unsigned n;

	json_object_object_get_ex(status, "workers", &list);
	json_object_object_get_ex(json_object_array_get_idx(list, id), "queues", &queues);
	n = json_object_array_length(queues);
	json_object_put(status);
	return n;
}

struct wish {
	struct lab *l;
	unsigned total;
};

static bool is_level(void *arg)
{
	struct wish *w = arg;
	unsigned i, n, least = UINT32_MAX, most = 0, total = 0;

	turn(w->l);
	for (i = 0; i < w->l->d->n_workers; i++) {
		n = shown(w->l, i);
		total += n;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	return total == w->total && most <= least + 1;
}

/* Soon, and without being told, @total queues run and are level. */
static bool levels(struct lab *l, unsigned total)
{
	return check_until(is_level, &(struct wish){l, total}, WAIT);
}

/* ---- frames between a and b ---- */

struct traffic {
	struct fake_vm *vm[2];
	struct inbox in[2];
	unsigned window; /* frames of a flow before the receivers are waited for */
	bool stop;       /* atomic */
	bool failed;     /* atomic */
	unsigned done;   /* atomic: windows that arrived */
	pthread_t thread;
};

static bool fail(struct traffic *t, const char *what, const char *why)
{
	printf("--- %s: %s\n", what, why);
	__atomic_store_n(&t->failed, true, __ATOMIC_RELEASE);
	return false;
}

static void mac_of(unsigned i, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){0x52, 0x54, 0, 0, 0, 1 + i}, 6);
}

/* Takes one frame in. */
static int take(struct traffic *t, unsigned i)
{
	uint8_t frame[2048];
	int len = fake_vm_recv_wait(t->vm[i], comes_by[i], frame, sizeof(frame), WAIT);

	if (len > 0)
		inbox_put(&t->in[i], frame, len);
	return len;
}

static bool shoot(struct traffic *t, unsigned i, unsigned flow, unsigned seq)
{
	struct mark m = {.flow = flow, .seq = seq};
	uint8_t frame[2048];
	size_t len = 64 + (seq * 31) % 1400;
	int err;

	mac_of(!i, m.dst);
	mac_of(i, m.src);
	mark_write(frame, len, &m);
	err = fake_vm_send(t->vm[i], flow % PAIRS, frame, len);
	return !err || fail(t, "not sent", err == -EAGAIN ? "ring full" : fake_vm_error(t->vm[i]));
}

static bool arrived(struct traffic *t, unsigned i, unsigned flow, unsigned n)
{
	while (t->in[i].flow[flow] < n)
		if (take(t, i) <= 0)
			return fail(t, "frame lost", fake_vm_error(t->vm[i]));
	return true;
}

static void *carry(void *arg)
{
	struct traffic *t = arg;
	unsigned seq = 0, flow, i;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		for (flow = 0; flow < 2 * PAIRS; flow++)
			for (i = 0; i < 2; i++)
				if (!shoot(t, i, flow, seq))
					return NULL;
		if (++seq % t->window)
			continue;
		for (flow = 0; flow < 2 * PAIRS; flow++)
			for (i = 0; i < 2; i++)
				if (!arrived(t, i, flow, seq))
					return NULL;
		for (i = 0; i < 2; i++)
			if (!inbox_clean(&t->in[i])) {
				fail(t, "frames", "out of order, twice, or not as they were sent");
				return NULL;
			}
		if (seq >= MARK_SEQS / 2) {
			inbox_clear(&t->in[0]);
			inbox_clear(&t->in[1]);
			seq = 0;
		}
		__atomic_fetch_add(&t->done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* One frame at a time, by each of the queues in turn: each needs a kick of its own. */
static void *ping(void *arg)
{
	struct traffic *t = arg;
	unsigned seq = 0, i;

	for (; !__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE); seq = (seq + 1) % MARK_SEQS) {
		if (!seq) {
			inbox_clear(&t->in[0]);
			inbox_clear(&t->in[1]);
		}
		i = seq / PAIRS % 2;
		if (!shoot(t, i, seq % PAIRS, seq))
			return NULL;
		if (take(t, !i) <= 0) {
			fail(t, "no wake-up", fake_vm_error(t->vm[!i]));
			return NULL;
		}
		__atomic_fetch_add(&t->done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

struct progress {
	struct traffic *t;
	unsigned done;
};

static bool has_done(void *arg)
{
	struct progress *p = arg;

	return __atomic_load_n(&p->t->failed, __ATOMIC_ACQUIRE) ||
	       (int)(__atomic_load_n(&p->t->done, __ATOMIC_ACQUIRE) - p->done) >= 0;
}

/* Waits until @n more windows or pings went through. */
static bool goes_on(struct traffic *t, unsigned n)
{
	struct progress p = {t, __atomic_load_n(&t->done, __ATOMIC_ACQUIRE) + n};

	return check_until(has_done, &p, 2 * WAIT) && !__atomic_load_n(&t->failed, 2);
}

static void traffic_start(struct traffic *t, struct lab *l, void *(*run)(void *))
{
	unsigned i;

	t->vm[0] = l->a;
	t->vm[1] = l->b;
	for (i = 0; i < 2; i++) {
		t->vm[i]->opt.idle = NULL; /* from now on in a thread that isn't control's */
		CU_ASSERT_EQUAL_FATAL(inbox_open(&t->in[i]), 0);
	}
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t->thread, NULL, run, t), 0);
}

static void traffic_stop(struct traffic *t, struct lab *l)
{
	unsigned i;

	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	pthread_join(t->thread, NULL);
	for (i = 0; i < 2; i++) {
		CU_ASSERT(inbox_clean(&t->in[i]));
		t->vm[i]->opt.idle = turn;
		t->vm[i]->opt.idle_arg = l;
		inbox_close(&t->in[i]);
	}
}

/* Addresses and their ports are known, so that nothing is flooded. */
static bool introduce(struct lab *l)
{
	struct fake_vm *vm[2] = {l->a, l->b};
	uint8_t frame[2048];
	struct mark m = {};
	uint32_t value;
	unsigned i, n;

	for (i = 0; i < 2; i++) {
		mac_of(i, m.src);
		mac_of(!i, m.dst);
		mark_write(frame, 64, &m);
		if (fake_vm_send(vm[i], 0, frame, 64))
			return false;
		for (n = 0; n < WAIT; n++)
			if (fake_vm_recv_wait(vm[!i], n % PAIRS, frame, sizeof(frame), 1) == 64)
				break;
		comes_by[!i] = n % PAIRS;
		for (n = 0; n < WAIT && !fdb_find(l->d->sw.fdb, fdb_key(fdb_mac(m.src), 0), &value);
		     n++)
			turn(l);
	}
	return n < WAIT;
}

/* ---- the tests ---- */

/* Has queues of x that are on worker @id stop, or all run; then spreads. How many queues moved. */
static int stir(struct lab *l, unsigned id, bool run)
{
	struct vm *x = vm_of(daemon_find_port(l->d, "x"));
	bool there[X_PAIRS];
	unsigned q;
	int moved;

	for (q = 0; q < X_PAIRS; q++) /* now: the loop that we run may move some meanwhile */
		there[q] = x->port.worker[q]->id == id;
	for (q = 0; q < X_PAIRS; q++) {
		if (vm_queue_runs(x, q) == run || (!run && !there[q]))
			continue;
		CU_ASSERT_EQUAL_FATAL(fake_vm_enable_ring(l->x, 2 * q + 1, run), 0);
		CU_ASSERT_EQUAL_FATAL(fake_vm_sync(l->x), 0);
	}
	moved = balance_now(l->d);
	CU_ASSERT(moved >= 0);
	l->moves += moved > 0 ? moved : 0;
	return moved;
}

static void move_under(enum poll_mode poll, void *(*run)(void *), unsigned pause, unsigned moves)
{
	struct traffic t = {.window = 60};
	unsigned round = 0, others = 0;
	struct lab l;
	bool ok;

	lab_open(&l, 2, poll);
	l.x = join(&l, "x", X_PAIRS);
	l.a = join(&l, "a", PAIRS);
	l.b = join(&l, "b", PAIRS);
	CU_ASSERT_FATAL(introduce(&l));
	CU_ASSERT(levels(&l, X_PAIRS + 2 * PAIRS));
	traffic_start(&t, &l, run);
	ok = goes_on(&t, 1);
	for (; ok && l.moves < moves; round++) {
		others += stir(&l, round % 2, false); /* only others run: it is they that move */
		ok = !pause || goes_on(&t, pause);
		stir(&l, 0, true);
		CU_ASSERT(is_level(&(struct wish){&l, X_PAIRS + 2 * PAIRS}));
		ok = ok && goes_on(&t, 1 + pause);
	}
	CU_ASSERT(ok && l.moves >= moves);
	CU_ASSERT(others >= moves / 4);
	traffic_stop(&t, &l);
	lab_close(&l);
}

/* All along the way frames of a flow arrive in order, and all of them. */
static void test_order_busy(void)
{
	move_under(POLL_BUSY, carry, 0, 200);
}

static void test_order_adaptive(void)
{
	move_under(POLL_ADAPTIVE, carry, 0, 200);
}

/* After each move every queue wakes its new worker, which nothing else does. */
static void test_kicks_interrupt(void)
{
	move_under(POLL_INTERRUPT, ping, 4 * PAIRS, 80);
}

static void test_kicks_adaptive(void)
{
	move_under(POLL_ADAPTIVE, ping, 4 * PAIRS, 80);
}

/* Front-ends connect and leave, ports come and go, frames pass: nobody has to ask for it. */
static void test_come_and_go(void)
{
	struct traffic t = {.window = 60};
	struct vm_options y = {.name = "y", .queues = 3};
	char err[256];
	struct lab l;
	unsigned i;

	lab_open(&l, 3, POLL_ADAPTIVE);
	CU_ASSERT(levels(&l, 0));
	l.a = join(&l, "a", PAIRS);
	l.b = join(&l, "b", PAIRS);
	CU_ASSERT_FATAL(introduce(&l));
	CU_ASSERT(levels(&l, 2 * PAIRS));
	traffic_start(&t, &l, carry);
	for (i = 0; i < 3; i++) {
		struct fake_vm *vm;

		l.x = join(&l, "x", X_PAIRS);
		CU_ASSERT(levels(&l, 2 * PAIRS + X_PAIRS));
		CU_ASSERT_EQUAL(daemon_add_vm(l.d, &y, err, sizeof(err)), 0);
		CU_ASSERT(levels(&l, 2 * PAIRS + X_PAIRS)); /* nobody is there yet */
		vm = join(&l, "y", 3);
		CU_ASSERT(levels(&l, 2 * PAIRS + X_PAIRS + 3));
		fake_vm_close(l.x);
		l.x = NULL;
		CU_ASSERT(levels(&l, 2 * PAIRS + 3));
		CU_ASSERT_EQUAL(daemon_del_vm(l.d, "y", err, sizeof(err)), 0);
		CU_ASSERT(levels(&l, 2 * PAIRS));
		fake_vm_close(vm);
		CU_ASSERT(goes_on(&t, 2));
	}
	traffic_stop(&t, &l);
	lab_close(&l);
}

/* A queue that begins to run goes to the emptiest worker; those that run stay. */
static void test_fresh(void)
{
	unsigned i, q, before[PAIRS];
	struct port *a;
	struct lab l;

	lab_open(&l, 4, POLL_INTERRUPT);
	l.a = join(&l, "a", PAIRS);
	CU_ASSERT(levels(&l, PAIRS));
	a = daemon_find_port(l.d, "a");
	for (i = 0; i < PAIRS; i++)
		before[i] = a->worker[i]->id;
	l.x = join(&l, "x", X_PAIRS);
	CU_ASSERT(levels(&l, PAIRS + X_PAIRS));
	for (i = 0; i < PAIRS; i++)
		CU_ASSERT_EQUAL(a->worker[i]->id, before[i]);
	for (q = 0; q < X_PAIRS; q++) { /* the guest takes fewer, and more again */
		CU_ASSERT_EQUAL(fake_vm_enable_ring(l.x, 2 * q + 1, q < 2), 0);
		CU_ASSERT_EQUAL(fake_vm_sync(l.x), 0);
	}
	CU_ASSERT(levels(&l, PAIRS + 2));
	lab_close(&l);
}

/* A queue that broke costs nothing; the guest's reboot makes it count again. */
static void test_broken(void)
{
	struct lab l;

	lab_open(&l, 2, POLL_ADAPTIVE);
	l.a = join(&l, "a", PAIRS);
	l.b = join(&l, "b", PAIRS);
	CU_ASSERT(levels(&l, 2 * PAIRS));
	fake_vm_set_desc(l.a, 1, 3, 0xfffffffffff0ull, 64, 0, 0);
	fake_vm_offer(l.a, 1, 3);
	CU_ASSERT(fake_vm_broken(l.a, 1, WAIT));
	fake_vm_set_desc(l.a, 3, 3, 0xfffffffffff0ull, 64, 0, 0);
	fake_vm_offer(l.a, 3, 3);
	CU_ASSERT(fake_vm_broken(l.a, 3, WAIT));
	CU_ASSERT(levels(&l, PAIRS));
	CU_ASSERT_EQUAL(fake_vm_reboot(l.a), 0);
	CU_ASSERT(levels(&l, 2 * PAIRS));
	lab_close(&l);
}

/* A queue that is moved leaves no trace at its old worker, and its kick fd none when it goes. */
static void test_no_leak(void)
{
	unsigned i, fds = 0;
	struct lab l;

	lab_open(&l, 2, POLL_INTERRUPT);
	for (i = 0; i < 4; i++) {
		l.x = join(&l, "x", X_PAIRS);
		CU_ASSERT(levels(&l, X_PAIRS));
		stir(&l, 0, false);
		CU_ASSERT(levels(&l, X_PAIRS / 2));
		fake_vm_close(l.x);
		l.x = NULL;
		CU_ASSERT(levels(&l, 0));
		while (l.d->balance_set)
			turn(&l);
		if (!i)
			fds = check_fds();
	}
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(l.moves > 0);
	lab_close(&l);
}

/* One worker has them all, and nothing is ever due. */
static void test_one_worker(void)
{
	struct lab l;

	lab_open(&l, 1, POLL_ADAPTIVE);
	l.a = join(&l, "a", PAIRS);
	CU_ASSERT(levels(&l, PAIRS));
	CU_ASSERT_EQUAL(balance_now(l.d), 0);
	CU_ASSERT(!l.d->balance_due && !l.d->balance_set);
	lab_close(&l);
}

/* A guest that enables and disables for ever has others' queues moved a few times a second only. */
static void test_storm(void)
{
	unsigned i;
	struct lab l;

	lab_open(&l, 2, POLL_INTERRUPT);
	l.x = join(&l, "x", X_PAIRS);
	l.a = join(&l, "a", PAIRS);
	CU_ASSERT(levels(&l, X_PAIRS + PAIRS));
	while (l.d->balance_set)
		turn(&l);
	l.d->balance_moved = UINT32_MAX; /* as if there had been many */
	balance_soon(l.d);
	CU_ASSERT(l.d->balance_due && !l.d->balance_set);
	balance_second(l.d);
	CU_ASSERT(!l.d->balance_due);
	for (i = 0; i < 3; i++) {
		l.d->balance_moved = 0;
		balance_soon(l.d);
		CU_ASSERT(l.d->balance_set);
		balance_soon(l.d); /* once for all that happens meanwhile */
		while (l.d->balance_set)
			turn(&l);
		CU_ASSERT(!l.d->balance_due);
	}
	lab_close(&l);
}

/* A NIC queue whose device hasn't sent what it was given. */
static void stuck(struct nic_queue *q, uint32_t *zero)
{
	memset(q, 0, sizeof(*q));
	pthread_spin_init(&q->lock, PTHREAD_PROCESS_PRIVATE);
	q->zero_copy = true;
	q->out.cached_prod = 1;
	q->out.consumer = q->out.flags = zero;
	q->umem.completion.producer = q->umem.completion.consumer = zero;
}

/* As long as the old worker's frames are not on the wire, its queues stay, and carry frames. */
static void test_slow_nic(void)
{
	struct traffic t = {};
	static struct nic_queue queue[2];
	uint32_t zero[2] = {};
	struct nic nic = {.queues = 2, .queue = {&queue[0], &queue[1]}};
	struct worker *before[X_PAIRS + PAIRS];
	struct port *x, *b;
	struct lab l;
	unsigned i;

	lab_open(&l, 2, POLL_INTERRUPT);
	l.x = join(&l, "x", X_PAIRS);
	l.a = join(&l, "a", PAIRS);
	l.b = join(&l, "b", PAIRS);
	CU_ASSERT_FATAL(introduce(&l));
	CU_ASSERT(levels(&l, X_PAIRS + 2 * PAIRS));
	while (l.d->balance_set)
		turn(&l);
	loop_unwatch(l.d->second); /* nothing moves but by our call */
	l.d->second = NULL;
	l.d->balance_moved = UINT32_MAX;
	x = daemon_find_port(l.d, "x");
	b = daemon_find_port(l.d, "b");
	for (i = 0; i < X_PAIRS; i++)
		if (x->worker[i]->id == 0) {
			CU_ASSERT_EQUAL(fake_vm_enable_ring(l.x, 2 * i + 1, false), 0);
			CU_ASSERT_EQUAL(fake_vm_sync(l.x), 0);
		}
	for (i = 0; i < X_PAIRS + PAIRS; i++)
		before[i] = i < PAIRS ? b->worker[i] : x->worker[i - PAIRS];
	stuck(&queue[0], &zero[0]);
	stuck(&queue[1], &zero[1]);
	queue[1].index = 1;
	traffic_start(&t, &l, ping);
	CU_ASSERT(goes_on(&t, 4 * PAIRS));
	l.d->nic = &nic; /* only for balance.c to see */
	CU_ASSERT_EQUAL(balance_now(l.d), -EAGAIN);
	l.d->nic = NULL;
	CU_ASSERT(l.d->balance_due);
	for (i = 0; i < X_PAIRS + PAIRS; i++)
		CU_ASSERT_PTR_EQUAL(i < PAIRS ? b->worker[i] : x->worker[i - PAIRS], before[i]);
	CU_ASSERT(goes_on(&t, 4 * PAIRS));
	queue[0].umem.completion.cached_cons = queue[1].umem.completion.cached_cons = 1;
	queue[0].umem.completion.cached_prod = queue[1].umem.completion.cached_prod = 1;
	zero[0] = zero[1] = 1;
	l.d->nic = &nic;
	CU_ASSERT(balance_now(l.d) > 0);
	l.d->nic = NULL;
	CU_ASSERT(!l.d->balance_due);
	CU_ASSERT(goes_on(&t, 4 * PAIRS));
	traffic_stop(&t, &l);
	pthread_spin_destroy(&queue[0].lock);
	pthread_spin_destroy(&queue[1].lock);
	lab_close(&l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"order_busy", test_order_busy},
		{"order_adaptive", test_order_adaptive},
		{"kicks_interrupt", test_kicks_interrupt},
		{"kicks_adaptive", test_kicks_adaptive},
		{"come_and_go", test_come_and_go},
		{"fresh", test_fresh},
		{"broken", test_broken},
		{"no_leak", test_no_leak},
		{"one_worker", test_one_worker},
		{"storm", test_storm},
		{"slow_nic", test_slow_nic},
		{},
	};
	int status;

	strcpy(base, "/tmp/vxs-test-balance.XXXXXX");
	if (!mkdtemp(base)) {
		perror(base);
		return 1;
	}
	log_set_level(LOG_ERROR);
	status = check_main("balance", tests, argc, argv);
	rmdir(base);
	return status;
}
