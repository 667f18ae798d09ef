/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Several workers, NIC queues and pairs of a VM's queues; sleeping and waking. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_packet.h>

#include "check.h"
#include "lab.h"

static struct lab lab;

enum { A, B, WIRE, HOST };

static struct end *at(unsigned i)
{
	return &lab.end[i];
}

/* Lets @fd send without a queueing discipline: the CPU then chooses the queue of a veth. */
static void bypass(struct end *wire)
{
	int on = 1;

	CU_ASSERT_EQUAL(setsockopt(wire->sock, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)),
			0);
}

static bool on_cpu(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* Frames that queue @queue of the NIC has taken in, as its driver counts them. */
static unsigned long on_queue(unsigned queue)
{
	unsigned long n = 0;
	char text[64];

	if (!net_ask(lab.net.host, text, sizeof(text),
		     "ethtool -S " NET_NIC " | sed -n 's/ *rx_queue_%u_xdp_packets: //p'", queue))
		sscanf(text, "%lu", &n);
	return n;
}

/* From the wire, on both queues in turns, to both VMs. */
static void test_nic_queues(void)
{
	unsigned long before[2];
	cpu_set_t all;
	unsigned seq, q;

	sched_getaffinity(0, sizeof(all), &all);
	if (CPU_COUNT(&all) < 2) {
		check_skip("needs two CPUs to reach two queues");
		return;
	}
	if (!lab_full(&lab, 2, "--uplink nic0 --vm a --vm b --cpus 0,1"))
		return;
	bypass(at(WIRE));
	before[0] = on_queue(0);
	before[1] = on_queue(1);
	lab_clear(&lab);
	for (seq = 0; seq < 1000; seq++) {
		struct shot shot = {.seq = seq, .len = 64 + seq};

		/* One flow per VM and queue. */
		for (q = 0; q < 4; q++) {
			if (!on_cpu(q & 1))
				CU_FAIL("affinity");
			shot.flow = q;
			shot.to = at(q & 2 ? B : A)->mac;
			CU_ASSERT_EQUAL(end_shoot(&lab, at(WIRE), &shot), 0);
		}
		if (seq % 16 == 15)
			for (q = 0; q < 4; q++)
				lab_got(&lab, at(q & 2 ? B : A), q, seq + 1);
	}
	sched_setaffinity(0, sizeof(all), &all);
	for (q = 0; q < 4; q++)
		CU_ASSERT(lab_got(&lab, at(q & 2 ? B : A), q, 1000));
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT_EQUAL(at(A)->in.n, 2000);
	CU_ASSERT_EQUAL(at(HOST)->in.n, 0);
	CU_ASSERT(on_queue(0) > before[0] && on_queue(1) > before[1]);
	CU_ASSERT(lab_talk(&lab, 100));
	CU_ASSERT(lab_shout(&lab, 50));
	lab_close(&lab);
}

/* The same, with one worker for both queues, and without the host: floods on both queues. */
static void test_nic_queues_trunk(void)
{
	struct end *a, *wire;
	cpu_set_t all;
	unsigned seq;

	sched_getaffinity(0, sizeof(all), &all);
	if (CPU_COUNT(&all) < 2) {
		check_skip("needs two CPUs to reach two queues");
		return;
	}
	if (!lab_open(&lab, 2, "--uplink nic0 --vm a --vm b --host off"))
		return;
	a = lab_vm(&lab, "a", NULL);
	wire = lab_wire(&lab);
	CU_ASSERT_FATAL(a && wire);
	bypass(wire);
	for (seq = 0; seq < 200; seq++) {
		CU_ASSERT(on_cpu(seq & 1));
		CU_ASSERT_EQUAL(end_shoot(&lab, wire, &(struct shot){.flow = seq & 1, .seq = seq}),
				0);
		CU_ASSERT(lab_got(&lab, a, seq & 1, seq / 2 + 1));
	}
	sched_setaffinity(0, sizeof(all), &all);
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT(on_queue(0) > 0 && on_queue(1) > 0);
	lab_close(&lab);
}

/* VMs with several pairs of queues, on two workers: every pair forwards, flows stay in order. */
static void pairs(unsigned n, const char *words)
{
	const struct fake_vm_options opt = {.pairs = n, .features = FAKE_VM_ALL | FAKE_VM_MQ};
	struct end *a, *b, *wire;
	unsigned seq, flow;

	if (!lab_open(&lab, 1, words))
		return;
	a = lab_vm(&lab, "a", &opt);
	b = lab_vm(&lab, "b", &opt);
	wire = lab_wire(&lab);
	if (!a || !b || !wire || !lab_host(&lab) || !lab_learn(&lab)) {
		CU_FAIL("not everybody is there");
		lab_close(&lab);
		return;
	}
	a->spread = b->spread = true;
	/* Twice as many flows as pairs, both ways and from the wire at the same time. */
	for (seq = 0; seq < 1000; seq++) {
		for (flow = 0; flow < 2 * n; flow++) {
			struct shot shot = {.flow = flow, .seq = seq, .len = 64 + seq};

			shot.to = b->mac;
			CU_ASSERT_EQUAL(end_shoot(&lab, a, &shot), 0);
			shot.to = a->mac;
			CU_ASSERT_EQUAL(end_shoot(&lab, b, &shot), 0);
		}
		CU_ASSERT_EQUAL(
			end_shoot(&lab, wire, &(struct shot){.to = a->mac, .flow = 30, .seq = seq}),
			0);
		if (seq % 16 < 15)
			continue;
		for (flow = 0; flow < 2 * n; flow++) {
			CU_ASSERT(lab_got(&lab, a, flow, seq + 1));
			CU_ASSERT(lab_got(&lab, b, flow, seq + 1));
		}
		CU_ASSERT(lab_got(&lab, a, 30, seq + 1));
	}
	for (flow = 0; flow < 2 * n; flow++)
		CU_ASSERT(lab_got(&lab, a, flow, 1000) && lab_got(&lab, b, flow, 1000));
	CU_ASSERT(lab_got(&lab, a, 30, 1000));
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT(lab_talk(&lab, 50));
	CU_ASSERT(lab_shout(&lab, 20));
	lab_close(&lab);
}

static void test_two_pairs(void)
{
	pairs(2, "--uplink nic0 --vm a,queues=2 --vm b,queues=2 --cpus 0,1");
}

static void test_four_pairs(void)
{
	pairs(4, "--uplink nic0 --vm a,queues=4 --vm b,queues=4 --cpus 0,1");
}

static void test_four_pairs_one_worker(void)
{
	pairs(4, "--uplink nic0 --vm a,queues=4 --vm b,queues=4 --poll busy");
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Of one CPU, over a second in which nothing happens. */
static double idle_share(void)
{
	unsigned long ticks = child_ticks(&lab.vxsd);
	double start = seconds();

	sleep(1);
	ticks = child_ticks(&lab.vxsd) - ticks;
	return ticks / (double)sysconf(_SC_CLK_TCK) / (seconds() - start);
}

/* After a second of silence: each way carries a frame, and then many. */
static void wakes(const char *words, bool sleeps)
{
	static const unsigned way[][2] = {{A, B}, {A, WIRE}, {WIRE, A}, {HOST, B}, {B, HOST}};
	unsigned i;
	double share;

	if (!lab_full(&lab, 1, words))
		return;
	lab_quiet(&lab, 50);
	for (i = 0; i < sizeof(way) / sizeof(*way); i++) {
		struct end *from = at(way[i][0]), *to = at(way[i][1]);
		struct shot shot = {.to = to->mac, .flow = 6};

		/* The first time in earnest, then long enough to fall asleep. */
		if (!i) {
			share = idle_share();
			if (sleeps && share >= 0.1)
				printf("--- idle vxsd used %.1f %% of a CPU\n", 100 * share);
			CU_ASSERT(!sleeps || share < 0.1);
		} else {
			lab_quiet(&lab, 60);
		}
		lab_clear(&lab);
		CU_ASSERT_EQUAL(end_shoot(&lab, from, &shot), 0);
		CU_ASSERT(lab_got(&lab, to, 6, 1));
	}
	CU_ASSERT(lab_talk(&lab, 200));
	CU_ASSERT(lab_shout(&lab, 20));
	/* Without a word from us: it falls asleep after work, too. */
	share = sleeps ? idle_share() : 0;
	CU_ASSERT(share < 0.1);
	lab_close(&lab);
}

static void test_adaptive(void)
{
	wakes("--uplink nic0 --vm a --vm b --poll adaptive", true);
}

static void test_interrupt(void)
{
	wakes("--uplink nic0 --vm a --vm b --poll interrupt", true);
}

static void test_busy(void)
{
	wakes("--uplink nic0 --vm a --vm b --poll busy", false);
}

/* Busy polling of the NIC, in each way to poll: everything arrives, also after a pause. */
static void test_busy_poll(void)
{
	static const char *const poll[] = {"adaptive", "busy", "interrupt"};
	char words[128];
	unsigned i, k;

	for (i = 0; i < 3; i++) {
		snprintf(words, sizeof(words), "--uplink nic0,busy-poll=on --vm a --vm b --poll %s",
			 poll[i]);
		if (!lab_full(&lab, 1, words))
			return;
		for (k = 0; k < 3; k++) {
			CU_ASSERT(lab_talk(&lab, 100));
			lab_quiet(&lab, 20);
		}
		CU_ASSERT(lab_shout(&lab, 20));
		lab_close(&lab);
	}
}

static void test_adaptive_workers(void)
{
	wakes("--uplink nic0 --vm a --vm b --poll adaptive --cpus 0,1", true);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"nic_queues", test_nic_queues},
		{"nic_queues_trunk", test_nic_queues_trunk},
		{"two_pairs", test_two_pairs},
		{"four_pairs", test_four_pairs},
		{"four_pairs_one_worker", test_four_pairs_one_worker},
		{"adaptive", test_adaptive},
		{"interrupt", test_interrupt},
		{"busy", test_busy},
		{"busy_poll", test_busy_poll},
		{"adaptive_workers", test_adaptive_workers},
		{},
	};

	return check_main("workers", tests, argc, argv);
}
