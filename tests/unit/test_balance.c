/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Queues move from worker to worker while they carry frames: none overtakes, no kick is lost. */
#include "balance_rig.h"

#include <time.h>

#include "nic/nic_queue.h"

#define BUSY_MS 2500 /* after which an eighth of the moves is enough: there is other work, too */

static unsigned long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static void move_under(enum poll_mode poll, void *(*run)(void *), unsigned pause, unsigned moves)
{
	struct traffic t = {.window = 60};
	unsigned long long until;
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
	until = now_ms() + BUSY_MS;
	for (; ok && l.moves < (now_ms() < until ? moves : moves / 8); round++) {
		others += stir(&l, round % 2, false); /* only others run: it is they that move */
		ok = !pause || goes_on(&t, pause);
		stir(&l, 0, true);
		CU_ASSERT(is_level(&(struct wish){&l, X_PAIRS + 2 * PAIRS}));
		ok = ok && goes_on(&t, 1 + pause);
	}
	CU_ASSERT(ok && l.moves >= moves / 8);
	CU_ASSERT(others > 0); /* some, the daemon's own timer may have moved before we did */
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
		{"slow_nic", test_slow_nic},
		{},
	};

	return lab_main("balance", tests, argc, argv);
}
