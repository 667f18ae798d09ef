/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which worker a queue goes to, and when: those that run count, and nobody moves for nothing. */
#include "balance_rig.h"

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

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"fresh", test_fresh},           {"broken", test_broken}, {"no_leak", test_no_leak},
		{"one_worker", test_one_worker}, {"storm", test_storm},   {},
	};

	return lab_main("balance_place", tests, argc, argv);
}
