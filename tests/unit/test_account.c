/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A worker's account of itself: frames and cycles by path, idling, sleep, system calls. */
#include "check.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "switch/account.h"
#include "switch/switch.h"
#include "unit/vq_rig.h"
#include "vm/vm.h"

/*
 * Ports that are nothing but a number, a kind and the time that their out() takes; VM 2 sends. Its
 * in() has a batch of one frame, or of none, as often as the test says. Times are compared with
 * what the ports are known to have taken at least, and with each other: nothing here depends on
 * how fast the machine is.
 */
#define VMS  3
#define SPIN 200000 /* cycles that a slow port takes */

static struct lab {
	struct port port[VXS_PORT_VM + VMS];
	struct vxs_port_stats stats[VXS_PORT_VM + VMS];
	struct port_table table;
	struct vswitch sw;
	struct worker *w;
	struct sources *sources;
	unsigned slow; /* the port that takes its time */
	int fd;
	unsigned todo, done, frames; /* batches that VM 2 sends, and frames in each */
	bool wants_kick;
} l;

static void mac(uint8_t *at, unsigned n)
{
	memcpy(at, (uint8_t[6]){0x52, 0x54, 0, 0, 0, n}, 6);
}

/* Adds a frame from VM 2; to the port of that number, or to everybody. */
static void add(struct batch *b, unsigned to)
{
	struct frame *f = &b->frame[b->n++];

	*f = (struct frame){.shape.head_len = FRAME_HEAD, .len = 60, .out = FRAME_PORT_NONE};
	memset(f->head, 0xff, 6);
	if (to < VXS_PORTS_MAX)
		mac(f->head, to);
	mac(f->head + 6, 2);
}

#define EVERYBODY VXS_PORTS_MAX

static unsigned fake_in(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	unsigned i;

	(void)p;
	(void)w;
	(void)queue;
	b->n = 0;
	if (__atomic_load_n(&l.todo, __ATOMIC_ACQUIRE) == l.done)
		return 0;
	for (i = 0; i < l.frames; i++)
		add(b, 3);
	return 1;
}

static void fake_done(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	(void)p;
	(void)w;
	(void)queue;
	(void)b;
	__atomic_store_n(&l.done, l.done + 1, __ATOMIC_RELEASE);
}

static void fake_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
		     unsigned n)
{
	uint64_t begin = cycles_now();

	(void)w;
	(void)b;
	(void)which;
	(void)n;
	while (p->id == l.slow && cycles_now() - begin < SPIN)
		;
}

static bool fake_wait(struct port *p, struct worker *w, unsigned queue, bool on)
{
	(void)p;
	(void)w;
	(void)queue;
	__atomic_store_n(&l.wants_kick, on, __ATOMIC_SEQ_CST);
	return on && __atomic_load_n(&l.todo, __ATOMIC_SEQ_CST) != l.done;
}

static const struct port_ops fake_ops = {fake_in, fake_done, fake_out, fake_wait};

static void setup(void)
{
	uint8_t at[6];
	unsigned id;

	memset(&l, 0, sizeof(l));
	l.sw.fdb = fdb_new();
	for (id = 0; id < VXS_PORT_VM + VMS; id++) {
		l.port[id] = (struct port){.ops = &fake_ops, .id = id, .kind = VXS_KIND_VM};
		l.port[id].stats = &l.stats[id];
		l.table.all[l.table.n++] = l.table.by_id[id] = &l.port[id];
		mac(at, id);
		fdb_set(l.sw.fdb, fdb_key(fdb_mac(at), 0), id, false, 0);
	}
	l.port[0].kind = VXS_KIND_UPLINK;
	l.port[1].kind = VXS_KIND_HOST;
	l.port[0].group = l.port[1].group = PORT_GROUP_WIRE;
	l.sw.ports = &l.table;
	l.slow = EVERYBODY;
	l.frames = 1;
	CU_ASSERT_EQUAL_FATAL(worker_new(&l.w, 0, &l.sw), 0);
	l.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(worker_watch(l.w, l.fd, &l.port[2], 0), 0);
	l.sources = calloc(1, sizeof(*l.sources) + sizeof(struct source));
	l.sources->n = 1;
	l.sources->source[0].port = &l.port[2];
	l.w->sources = l.sources;
	l.w->accounted = l.w->stats->started = cycles_now();
}

static void teardown(void)
{
	worker_stop(l.w);
	worker_free(l.w);
	free(l.sources);
	fdb_free(l.sw.fdb);
	close(l.fd);
}

static uint64_t load(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t busy_cycles(void)
{
	uint64_t sum = 0;

#define ADD(field, text) sum += load(&l.w->stats->paths.field.cycles);
	VXS_PATH_LIST(ADD)
#undef ADD
	return sum;
}

/* Of all time since the start there is no cycle that is not in one of the sums, or in two. */
static bool adds_up(void)
{
	const struct vxs_worker_stats *s = l.w->stats;

	return busy_cycles() + s->idle_cycles + s->sleep_cycles == l.w->accounted - s->started;
}

/* Switches a batch from port @from with frames for the ports of @to, which ends with -1. */
static void pass(unsigned from, const int *to)
{
	struct batch *b = &l.w->batch;

	b->in = &l.port[from];
	b->n = 0;
	while (*to >= 0)
		add(b, *to++);
	switch_batch(l.w, b);
	account_batch(l.w, b);
	CU_ASSERT_PTR_NULL(l.w->path);
}

#define PASS(from, ...) pass(from, (const int[]){__VA_ARGS__, -1})
#define PATH(path, n, n_batches)                                                                   \
	CU_ASSERT(l.w->stats->paths.path.frames == (n) &&                                          \
		  l.w->stats->paths.path.batches == (n_batches))

static void test_paths(void)
{
	setup();
	PASS(2, 3, 3, 4);
	PATH(vm_vm, 3, 2);
	PASS(2, 0, 0);
	PATH(vm_uplink, 2, 1);
	PASS(2, 1);
	PATH(vm_host, 1, 1);
	PASS(0, 2, 3, 3, 3);
	PATH(uplink_vm, 4, 2);
	PASS(1, 4);
	PATH(host_vm, 1, 1);
	PATH(vm_vm, 3, 2);
	PATH(nowhere, 0, 0);
	CU_ASSERT_EQUAL(l.w->stats->batches, 5);
	CU_ASSERT_EQUAL(l.w->stats->frames, 11);
	CU_ASSERT(adds_up());
	teardown();
}

/* To everybody, in front of and behind a frame for one VM: each kind gets what it was sent. */
static void test_flood(void)
{
	setup();
	PASS(2, EVERYBODY, 3, EVERYBODY);
	PATH(vm_uplink, 2, 1);
	PATH(vm_host, 2, 1);
	PATH(vm_vm, 5, 2);
	PASS(0, EVERYBODY); /* not to the host, which is of the same group */
	PATH(uplink_vm, 3, 3);
	PATH(vm_host, 2, 1);
	CU_ASSERT_EQUAL(l.w->stats->frames, 4);
	CU_ASSERT(adds_up());
	teardown();
}

/* The time that a destination takes is put down to its kind, wherever in the batch it comes. */
static void test_times(void)
{
	static const int mixed[] = {3, 0, 4, 1, EVERYBODY, -1}, floods[] = {EVERYBODY, -1};
	const int *const batch[] = {mixed, floods};
	struct vxs_paths *paths;
	unsigned i;

	for (i = 0; i < 2; i++) {
		setup();
		paths = &l.w->stats->paths;
		l.slow = 0;
		pass(2, batch[i]);
		CU_ASSERT(paths->vm_uplink.cycles >= SPIN);
		l.slow = 1;
		pass(2, batch[i]);
		CU_ASSERT(paths->vm_host.cycles >= SPIN);
		l.slow = 4;
		pass(2, batch[i]);
		CU_ASSERT(paths->vm_vm.cycles >= SPIN);
		CU_ASSERT_EQUAL(paths->nowhere.cycles, 0);
		CU_ASSERT(adds_up());
		teardown();
	}
}

static void test_nowhere(void)
{
	setup();
	PASS(2, 2, 2, 99, 3); /* back, back, to everybody, to VM 3 */
	PATH(nowhere, 2, 0);
	CU_ASSERT_EQUAL(l.w->stats->paths.nowhere.cycles, 0);
	PASS(2, 2);
	PATH(nowhere, 3, 1);
	l.table.n = 1;
	l.table.all[0] = &l.port[2];
	PASS(2, EVERYBODY, EVERYBODY);
	PATH(nowhere, 5, 2);
	pass(2, (const int[]){-1}); /* in() dropped them all */
	PATH(nowhere, 5, 3);
	CU_ASSERT(adds_up());
	teardown();
}

/* A clock that goes back, as from one core to another, takes nothing away and adds nothing. */
static void test_clock_goes_back(void)
{
	setup();
	l.w->accounted = cycles_now() + (1ull << 40);
	account_idle(l.w);
	CU_ASSERT_EQUAL(l.w->stats->idle_cycles, 0);
	CU_ASSERT(l.w->accounted - l.w->stats->started < 1ull << 40);
	teardown();
}

/* ---- a VM's notifications ---- */

static struct vm vm;

/* A frame of the guest behind @from, by way of the worker, to the guest behind @to. */
static void carry(struct rig *from, struct rig *to)
{
	struct batch *b = &l.w->batch;
	const uint16_t which[] = {0};

	rig_desc(from->desc, 0, RIG_DATA, from->hdr_len + 60, 0, 0);
	rig_desc(to->desc, 0, RIG_DATA, 2000, VRING_DESC_F_WRITE, 0);
	rig_offer(from, 0);
	rig_offer(to, 0);
	CU_ASSERT_EQUAL(vm_in(&vm.port, l.w, 0, b), 1);
	vm_out(&vm.port, l.w, b, which, b->n);
	vm_done(&vm.port, l.w, 0, b);
}

/* Each notification is a system call of the worker that sent it, and no other is counted. */
static void test_notifications(void)
{
	struct rig *from = rig_new(8, RIG_V1, 0), *to = rig_new(8, RIG_V1, 0);
	uint64_t calls = 0, in, out;
	unsigned i;

	setup();
	vm = (struct vm){.port = {.ops = &vm_port_ops, .id = 2, .stats = &l.stats[2]}};
	vm.in[0] = from->q;
	vm.out[0] = to->q;
	for (i = 0; i < 8; i++) {
		from->avail->flags = i & 1 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		to->avail->flags = i & 2 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		carry(from, to);
		in = rig_calls(from);
		out = rig_calls(to);
		CU_ASSERT_EQUAL(in, !(i & 1));
		CU_ASSERT_EQUAL(out, !(i & 2));
		calls += in + out;
		CU_ASSERT_EQUAL(l.w->stats->syscalls, calls);
	}
	CU_ASSERT_EQUAL(l.stats[2].out_frames, 8);
	CU_ASSERT_EQUAL(l.stats[2].out_calls, 4);
	rig_free(from);
	rig_free(to);
	teardown();
}

/* ---- the worker's thread ---- */

static bool all_done(void *arg)
{
	(void)arg;
	return __atomic_load_n(&l.done, __ATOMIC_ACQUIRE) == l.todo;
}

static bool has_slept(void *arg)
{
	return load(&l.w->stats->sleeps) >= *(unsigned *)arg;
}

static bool sleeps_again(unsigned times)
{
	return check_until(has_slept, &times, 5000);
}

static void add_work(void)
{
	__atomic_store_n(&l.todo, l.todo + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l.wants_kick, __ATOMIC_SEQ_CST))
		eventfd_write(l.fd, 1);
}

static void start(enum poll_mode poll)
{
	setup();
	l.w->poll = poll;
	CU_ASSERT_EQUAL_FATAL(worker_start(l.w), 0);
}

/* A sleep that a queue ended is a wake-up, one that control ended is not. */
static void test_sleeps(void)
{
	struct vxs_worker_stats *s;

	start(POLL_INTERRUPT);
	s = l.w->stats;
	CU_ASSERT(sleeps_again(1));
	CU_ASSERT_EQUAL(load(&s->wakeups), 0);
	add_work();
	CU_ASSERT(check_until(all_done, NULL, 5000));
	CU_ASSERT(sleeps_again(2));
	CU_ASSERT_EQUAL(load(&s->wakeups), 1);
	worker_wake(l.w);
	CU_ASSERT(sleeps_again(3));
	CU_ASSERT_EQUAL(load(&s->wakeups), 1);
	worker_stop(l.w);
	CU_ASSERT_EQUAL(s->batches, 1);
	CU_ASSERT_EQUAL(s->busy_rounds, 1);
	CU_ASSERT(s->rounds > s->busy_rounds);
	CU_ASSERT_EQUAL(s->syscalls, s->sleeps + 2); /* epoll_wait(), and read() for control */
	CU_ASSERT(s->sleep_cycles > 0);
	CU_ASSERT(adds_up());
	teardown();
}

/* With work, without and asleep, by turns: no sum ever shrinks, and together they are all time. */
static void test_times_add_up(void)
{
	uint64_t idle = 0, sleep = 0, busy = 0;
	struct vxs_worker_stats *s;
	unsigned i;

	start(POLL_ADAPTIVE);
	s = l.w->stats;
	l.slow = 3;
	for (i = 0; i < 200; i++) {
		uint64_t was_idle = idle, was_asleep = sleep, was_busy = busy;
		unsigned sleeps = load(&s->sleeps);

		add_work();
		CU_ASSERT(check_until(all_done, NULL, 5000));
		if (i % 8 == 0)
			CU_ASSERT(sleeps_again(sleeps + 1));
		busy = busy_cycles();
		idle = load(&s->idle_cycles);
		sleep = load(&s->sleep_cycles);
		CU_ASSERT(busy >= was_busy && idle >= was_idle && sleep >= was_asleep);
		sched_yield(); /* CPUs read the clock before what stands before, if they like */
		CU_ASSERT(busy + idle + sleep <= cycles_now() - load(&s->started));
	}
	worker_stop(l.w);
	CU_ASSERT_EQUAL(s->batches, 200);
	CU_ASSERT_EQUAL(s->frames, 200);
	PATH(vm_vm, 200, 200);
	CU_ASSERT(s->paths.vm_vm.cycles >= 200ull * SPIN);
	CU_ASSERT(s->sleeps >= 25);
	CU_ASSERT(s->wakeups <= s->sleeps);
	CU_ASSERT(adds_up());
	teardown();
}

static bool has_polled(void *arg)
{
	const struct vxs_worker_stats *s = l.w->stats;

	return load(&s->started) + load(&s->idle_cycles) >= *(uint64_t *)arg;
}

/* A worker that polls makes no system call, and yet it knows which second it is. */
static void test_polling(void)
{
	struct timespec begin, t;
	uint64_t until;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &begin);
	start(POLL_BUSY);
	do {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	} while (t.tv_sec == begin.tv_sec);
	/* The clock was last read before now: an eighth of a second later it has been again. */
	until = cycles_now() + cycles_per_second() / 8;
	CU_ASSERT(check_until(has_polled, &until, 10000));
	worker_stop(l.w);
	CU_ASSERT(l.w->now > begin.tv_sec);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	CU_ASSERT(l.w->now <= t.tv_sec);
	CU_ASSERT_EQUAL(l.w->stats->syscalls, 0);
	CU_ASSERT_EQUAL(l.w->stats->sleeps, 0);
	CU_ASSERT_EQUAL(l.w->stats->busy_rounds, 0);
	CU_ASSERT_EQUAL(busy_cycles(), 0);
	CU_ASSERT(adds_up());
	teardown();
}

/* Less than a percent from what a longer look at both clocks says. */
static void test_rate(void)
{
	struct timespec from, to, rest = {.tv_nsec = 100 * 1000 * 1000};
	uint64_t rate = cycles_per_second(), begin[2], end[2];
	double seconds;

	begin[0] = cycles_now();
	clock_gettime(CLOCK_MONOTONIC, &from);
	begin[1] = cycles_now();
	nanosleep(&rest, NULL);
	end[0] = cycles_now();
	clock_gettime(CLOCK_MONOTONIC, &to);
	end[1] = cycles_now();
	seconds = to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9;
	/* Whoever interrupts us between the two widens what is compared with. */
	CU_ASSERT((end[0] - begin[1]) / seconds < rate * 1.01);
	CU_ASSERT((end[1] - begin[0]) / seconds > rate * 0.99);
	CU_ASSERT_EQUAL(cycles_per_second(), rate);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"paths", test_paths},
		{"flood", test_flood},
		{"times", test_times},
		{"nowhere", test_nowhere},
		{"clock_goes_back", test_clock_goes_back},
		{"notifications", test_notifications},
		{"sleeps", test_sleeps},
		{"times_add_up", test_times_add_up},
		{"polling", test_polling},
		{"rate", test_rate},
		{},
	};

	return check_main("account", tests, argc, argv);
}
