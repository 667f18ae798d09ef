/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports come, go, stall and break while traffic runs between others, who don't notice. */
#include <stdio.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <linux/virtio_net.h>

#include "check.h"
#include "lab.h"

static struct lab lab;

/* Frames under way between two ends, never more than fit the receiver's ring. */
struct stream {
	struct end *from, *to;
	unsigned flow;
	unsigned sent;
};

static void flow_on(struct stream *s)
{
	struct shot shot = {.to = s->to->mac, .flow = s->flow};

	while (s->sent < MARK_SEQS && s->sent - s->to->in.flow[s->flow] < 32) {
		shot.seq = s->sent;
		shot.len = 64 + s->sent % 1400;
		if (end_shoot(&lab, s->from, &shot))
			break;
		s->sent++;
	}
	lab_drain(&lab);
}

/* Until each of @s has sent @n frames in all. */
static void flow_until(struct stream *s, unsigned n_streams, unsigned n)
{
	time_t end = time(NULL) + 20;
	unsigned i, done = 0;

	while (done < n_streams && time(NULL) < end) {
		for (i = done = 0; i < n_streams; i++) {
			unsigned before = s[i].sent;

			flow_on(&s[i]);
			if (s[i].sent == before)
				poll(NULL, 0, 1);
			done += s[i].sent >= n;
		}
	}
	CU_ASSERT_EQUAL(done, n_streams);
}

/* vxsctl's exit status; the traffic of @s goes on while it runs. */
static int do_under(struct stream *s, unsigned n, const char *words)
{
	pid_t pid = child_do_start(&lab.vxsd, words);
	int status = -1;
	unsigned i;

	while (pid > 0 && !child_do_done(pid, &status))
		for (i = 0; i < n; i++)
			flow_on(&s[i]);
	return status;
}

/* All that was sent has come, unharmed, once and in order. */
static void check_flowed(struct stream *s, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		CU_ASSERT(s[i].sent > 100);
		CU_ASSERT(lab_got(&lab, s[i].to, s[i].flow, s[i].sent));
	}
	CU_ASSERT(lab_clean(&lab));
}

/* Ports are added, used and removed while a and b talk, and a and the wire. */
static void come_and_go(const char *words, bool uplink)
{
	struct stream s[3] = {};
	unsigned round, i, n = uplink ? 3 : 2;
	struct end *x;

	if (uplink ? !lab_full(&lab, 1, words) : !lab_open(&lab, 1, words))
		return;
	if (!uplink && (!lab_vm(&lab, "a", NULL) || !lab_vm(&lab, "b", NULL) || !lab_learn(&lab))) {
		CU_FAIL("VMs");
		lab_close(&lab);
		return;
	}
	s[0] = (struct stream){.from = &lab.end[0], .to = &lab.end[1], .flow = 1};
	s[1] = (struct stream){.from = &lab.end[1], .to = &lab.end[0], .flow = 2};
	if (uplink)
		s[2] = (struct stream){.from = &lab.end[2], .to = &lab.end[0], .flow = 3};
	for (round = 0; round < 4; round++) {
		struct shot shot = {.flow = 10, .seq = round};

		CU_ASSERT_EQUAL(do_under(s, n, "port add x"), 0);
		CU_ASSERT(lab_port(&lab, "x") >= VXS_PORT_VM);
		x = lab_vm(&lab, "x", NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(x);
		for (i = 0; i < n; i++)
			flow_on(&s[i]);
		CU_ASSERT_EQUAL(end_shoot(&lab, x, &shot), 0);
		CU_ASSERT(lab_got(&lab, &lab.end[0], 10, round + 1));
		CU_ASSERT(lab_learned(&lab, x->mac, 0, "x"));
		CU_ASSERT_EQUAL(do_under(s, n, "port show"), 0);
		/* Once with its VM still on it, once after it left. */
		if (round & 1)
			lab_leave(x);
		CU_ASSERT_EQUAL(do_under(s, n, "port del x"), 0);
		CU_ASSERT_EQUAL(lab_port(&lab, "x"), -1);
		if (!(round & 1)) {
			CU_ASSERT(fake_vm_hung_up(x->vm, LAB_WAIT));
			lab_leave(x);
		}
		CU_ASSERT(lab_learned(&lab, (const uint8_t[6]){0x52, 0x54, 'x', 0, 0, 0}, 0, NULL));
		for (i = 0; i < n; i++)
			flow_on(&s[i]);
	}
	check_flowed(s, n);
	CU_ASSERT_EQUAL(s[0].sent, s[0].to->in.flow[1]);
	lab_close(&lab);
}

static void test_come_and_go(void)
{
	come_and_go("--vm a --vm b --poll adaptive", false);
}

static void test_come_and_go_uplink(void)
{
	come_and_go("--uplink nic0 --vm a --vm b --poll adaptive", true);
}

static void test_come_and_go_workers(void)
{
	come_and_go("--uplink nic0 --vm a --vm b --cpus 0,1", true);
}

/* A port that comes and goes loses none of what is counted: the number is used again, from 0. */
static void test_same_number(void)
{
	struct vxs_port_stats stats;
	struct end *a, *x;
	int first;

	if (!lab_open(&lab, 1, "--vm a"))
		return;
	a = lab_vm(&lab, "a", NULL);
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "port add x"), 0);
	first = lab_port(&lab, "x");
	x = lab_vm(&lab, "x", NULL);
	if (!a || !x || !lab_learn(&lab)) {
		CU_FAIL("VMs");
		lab_close(&lab);
		return;
	}
	CU_ASSERT(lab_stats(&lab, "x", &stats));
	CU_ASSERT(stats.in_frames > 0);
	lab_leave(x);
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "port del x"), 0);
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "port add y"), 0);
	if (lab_port(&lab, "y") == first) {
		CU_ASSERT(lab_stats(&lab, "y", &stats));
		CU_ASSERT_EQUAL(stats.in_frames + stats.out_frames, 0);
	}
	x = lab_vm(&lab, "y", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x);
	CU_ASSERT(lab_learn(&lab));
	CU_ASSERT(lab_talk(&lab, 20));
	lab_close(&lab);
}

/* A VM that never reads: its frames are dropped and counted, others lose nothing. */
static void test_slow_guest(void)
{
	const struct fake_vm_options few = {.recv_buffers = 16};
	struct vxs_port_stats before, after;
	struct stream s[2];
	struct end *slow;
	unsigned i;

	if (!lab_full(&lab, 1, "--uplink nic0 --vm a --vm b --vm slow"))
		return;
	slow = lab_vm(&lab, "slow", &few);
	CU_ASSERT_PTR_NOT_NULL_FATAL(slow);
	CU_ASSERT(lab_learn(&lab));
	lab_quiet(&lab, 20);
	slow->deaf = true;
	lab_stats(&lab, "slow", &before);
	s[0] = (struct stream){.from = &lab.end[0], .to = &lab.end[1], .flow = 1};
	s[1] = (struct stream){.from = &lab.end[2], .to = &lab.end[0], .flow = 2};
	for (i = 0; i < 1000; i++) {
		struct shot shot = {.to = slow->mac, .flow = 3, .seq = i};

		/* From a VM and from the wire. */
		CU_ASSERT_EQUAL(end_shoot(&lab, &lab.end[i & 1 ? 2 : 0], &shot), 0);
		flow_on(&s[0]);
		flow_on(&s[1]);
	}
	flow_until(s, 2, 1000);
	check_flowed(s, 2);
	lab_quiet(&lab, 50);
	CU_ASSERT(lab_stats(&lab, "slow", &after));
	CU_ASSERT_EQUAL(after.out_frames - before.out_frames, 16);
	CU_ASSERT(after.drops.queue_full - before.drops.queue_full > 500);
	CU_ASSERT_EQUAL(lab_drops(&after) - lab_drops(&before), 1000 - 16);
	/* It wakes up, and gets frames again. */
	slow->deaf = false;
	CU_ASSERT(lab_got(&lab, slow, 3, 16));
	lab_clear(&lab);
	CU_ASSERT_EQUAL(end_shoot(&lab, &lab.end[0], &(struct shot){.to = slow->mac, .flow = 4}),
			0);
	CU_ASSERT(lab_got(&lab, slow, 4, 1));
	lab_close(&lab);
}

/* A descriptor that points nowhere breaks that queue alone, with one log line. */
static void test_broken_queue(void)
{
	struct stream s[2];
	struct end *a;
	unsigned lines;

	if (!lab_full(&lab, 1, "--uplink nic0 --vm a --vm b --vm c"))
		return;
	if (!lab_vm(&lab, "c", NULL) || !lab_learn(&lab)) {
		CU_FAIL("VM");
		lab_close(&lab);
		return;
	}
	a = &lab.end[0];
	s[0] = (struct stream){.from = &lab.end[1], .to = &lab.end[4], .flow = 1};
	s[1] = (struct stream){.from = &lab.end[4], .to = &lab.end[1], .flow = 2};
	flow_on(&s[0]);
	flow_on(&s[1]);
	lines = child_count(&lab.vxsd, "\n");
	fake_vm_set_desc(a->vm, 1, 5, 0xdead00000000ull, 100, 0, 0);
	fake_vm_offer(a->vm, 1, 5);
	flow_until(s, 2, 2000);
	CU_ASSERT(fake_vm_broken(a->vm, 1, LAB_WAIT));
	check_flowed(s, 2);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "\n"), lines + 1);
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "port show a"), 0);
	/* A guest that reboots has a good queue again. */
	CU_ASSERT_EQUAL(fake_vm_reboot(a->vm), 0);
	lab_quiet(&lab, 20);
	CU_ASSERT(lab_learn(&lab));
	CU_ASSERT(lab_talk(&lab, 20));
	lab_close(&lab);
}

/* The front-end goes and comes again, as when QEMU is restarted; others don't notice. */
static void test_reconnect(void)
{
	struct stream s[2];
	unsigned round;

	if (!lab_full(&lab, 1, "--uplink nic0 --vm a --vm b --vm c"))
		return;
	if (!lab_vm(&lab, "c", NULL) || !lab_learn(&lab)) {
		CU_FAIL("VM");
		lab_close(&lab);
		return;
	}
	s[0] = (struct stream){.from = &lab.end[0], .to = &lab.end[1], .flow = 1};
	s[1] = (struct stream){.from = &lab.end[2], .to = &lab.end[1], .flow = 2};
	for (round = 0; round < 5; round++) {
		flow_on(&s[0]);
		flow_on(&s[1]);
		if (round & 1) {
			lab_leave(&lab.end[4]);
			CU_ASSERT_PTR_NOT_NULL_FATAL(lab_vm(&lab, "c", NULL));
		} else {
			CU_ASSERT_EQUAL(fake_vm_reboot(lab.end[4].vm), 0);
		}
		flow_on(&s[0]);
		flow_on(&s[1]);
	}
	flow_until(s, 2, 500);
	check_flowed(s, 2);
	CU_ASSERT(lab_learn(&lab));
	CU_ASSERT(lab_talk(&lab, 20));
	lab_close(&lab);
}

/* Names, limits and mistakes of port add and port del. */
static void test_names(void)
{
	static const char *const bad[] = {
		"port add a", /* there is one */
		"port add ctl",
		"port add host",
		"port add uplink",
		"port add ../x",
		"port add x/y",
		"port add thisnameisfartoolongforaportofthisswitch",
		"port add x,mac=01:00:00:00:00:01",
		"port add x,mac=52:54:00:00:00",
		"port add x,queues=0",
		"port add x,queues=1000",
		"port add x,colour=red",
		"port add",
		"port del nobody",
		"port del uplink",
		"port del host",
		"port show nobody",
		"stats nobody",
		"fly",
	};
	char words[64];
	unsigned i, n = 0;

	if (!lab_open(&lab, 1, "--uplink nic0 --vm a"))
		return;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int status = child_do(&lab.vxsd, bad[i]);

		if (status != 1 && status != 2) {
			printf("--- vxsctl %s ended with %d\n", bad[i], status);
			CU_FAIL("status");
		}
	}
	CU_ASSERT_EQUAL(lab_port(&lab, "x"), -1);
	/* Thirty ports more, each with a socket on the NIC's queue, and away again. */
	for (i = 0; i < 30; i++) {
		snprintf(words, sizeof(words), "port add p%u", i);
		n += !child_do(&lab.vxsd, words);
	}
	CU_ASSERT_EQUAL(n, 30);
	CU_ASSERT(lab_vm(&lab, "a", NULL) && lab_vm(&lab, "p29", NULL) && lab_wire(&lab) &&
		  lab_host(&lab));
	CU_ASSERT(lab_learn(&lab));
	CU_ASSERT(lab_talk(&lab, 20));
	lab_leave(&lab.end[1]);
	for (i = n = 0; i < 30; i++) {
		snprintf(words, sizeof(words), "port del p%u", i);
		n += !child_do(&lab.vxsd, words);
	}
	CU_ASSERT_EQUAL(n, 30);
	CU_ASSERT(lab_talk(&lab, 20));
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"come_and_go", test_come_and_go},
		{"come_and_go_uplink", test_come_and_go_uplink},
		{"come_and_go_workers", test_come_and_go_workers},
		{"same_number", test_same_number},
		{"slow_guest", test_slow_guest},
		{"broken_queue", test_broken_queue},
		{"reconnect", test_reconnect},
		{"names", test_names},
		{},
	};

	return check_main("ports", tests, argc, argv);
}
