/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames between VMs, the wire and the host: every size, every mode, every byte, every account. */

/*
 *   VM a ---+
 *   VM b ---+-- vxsd --- nic0 ======== far0   wire
 *              host
 */
#include <signal.h>
#include <string.h>

#include "check.h"
#include "lab.h"

#define UPLINK "--uplink nic0 --vm a --vm b --poll adaptive"

static struct lab lab;

enum { A, B, WIRE, HOST }; /* lab_full()'s ends */

static struct end *at(unsigned i)
{
	return &lab.end[i];
}

/* Ten frames of each size, one way; all must arrive as they were sent. */
static void send_sizes(struct end *from, struct end *to, const unsigned *sizes, unsigned n)
{
	unsigned i, sent = 0;
	struct account books;

	lab_clear(&lab);
	CU_ASSERT(lab_begin(&lab, &books, from->name, to->name));
	for (; n--; sizes++)
		for (i = 0; i < 10; i++) {
			struct shot shot = {.to = to->mac, .seq = sent, .len = *sizes};

			CU_ASSERT_EQUAL(end_shoot(&lab, from, &shot), 0);
			sent++;
			CU_ASSERT(lab_got(&lab, to, 0, sent));
		}
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT_EQUAL(to->in.n, sent);
	CU_ASSERT(lab_balances(&lab, &books, sent, to->in.flow[0]));
}

static const unsigned sizes[] = {64, 65, 128, 512, 1500, 1514};
#define N_SIZES (sizeof(sizes) / sizeof(*sizes))

static void test_sizes(void)
{
	struct vxs_port_stats before, after;
	unsigned i, k;

	if (!lab_full(&lab, 1, UPLINK))
		return;
	for (i = A; i <= HOST; i++)
		for (k = A; k <= HOST; k++)
			if (i != k && (i < WIRE || k < WIRE))
				send_sizes(at(i), at(k), sizes, N_SIZES);

	/* What the counters say in full, once: b receives 60 frames, and the wire. */
	lab_stats(&lab, "b", &before);
	send_sizes(at(A), at(B), sizes, N_SIZES);
	lab_stats(&lab, "b", &after);
	CU_ASSERT_EQUAL(after.out_frames - before.out_frames, 60);
	CU_ASSERT_EQUAL(after.out_bytes - before.out_bytes,
			10 * (64 + 65 + 128 + 512 + 1500 + 1514));
	lab_stats(&lab, NET_NIC, &before);
	send_sizes(at(A), at(WIRE), sizes, N_SIZES);
	lab_stats(&lab, NET_NIC, &after);
	CU_ASSERT_EQUAL(after.out_frames - before.out_frames, 60);
	lab_stats(&lab, NET_NIC, &before);
	send_sizes(at(WIRE), at(A), sizes, N_SIZES);
	lab_stats(&lab, NET_NIC, &after);
	CU_ASSERT_EQUAL(after.in_frames - before.in_frames, 60);
	CU_ASSERT_EQUAL(after.in_bytes - before.in_bytes, 10 * (64 + 65 + 128 + 512 + 1500 + 1514));
	lab_close(&lab);
}

static void test_large(void)
{
	static const unsigned large[] = {1515, 2000, 2036, 2037, 4096, 6000, 8999, 9000};
	const struct fake_vm_options big = {.send_size = 9100},
				     plain = {.send_size = 9100,
					      .features = FAKE_VM_ALL & ~FAKE_VM_MRG_RXBUF};
	struct shot shot = {.len = 4000};
	struct vxs_port_stats stats;
	struct end *a, *b, *c, *wire;
	struct account books;

	if (!lab_open(&lab, 1, UPLINK " --vm c"))
		return;
	a = lab_vm(&lab, "a", &big);
	b = lab_vm(&lab, "b", &big);
	c = lab_vm(&lab, "c", &plain);
	wire = lab_wire(&lab);
	if (!a || !b || !c || !wire || !lab_learn(&lab)) {
		CU_FAIL("VMs");
		lab_close(&lab);
		return;
	}
	send_sizes(a, b, large, sizeof(large) / sizeof(*large));

	/* One buffer of 2,048 bytes doesn't take it. */
	CU_ASSERT(lab_begin(&lab, &books, "a", "c"));
	shot.to = c->mac;
	CU_ASSERT_EQUAL(end_shoot(&lab, a, &shot), 0);
	CU_ASSERT(lab_balances(&lab, &books, 1, 0));
	lab_stats(&lab, "c", &stats);
	CU_ASSERT_EQUAL(stats.drops.buffer_short, 1);
	send_sizes(a, c, sizes, N_SIZES);

	/* Nor does the wire, whose MTU is 1,500. */
	CU_ASSERT(lab_begin(&lab, &books, "a", NET_NIC));
	shot.to = wire->mac;
	CU_ASSERT_EQUAL(end_shoot(&lab, a, &shot), 0);
	CU_ASSERT(lab_balances(&lab, &books, 1, 0));
	lab_stats(&lab, NET_NIC, &stats);
	CU_ASSERT_EQUAL(stats.drops.too_big, 1);
	send_sizes(a, wire, sizes, N_SIZES);
	lab_close(&lab);
}

/* Everybody with everybody, unicast and broadcast. */
static void everything(unsigned queues, const char *words)
{
	if (!lab_full(&lab, queues, words))
		return;
	CU_ASSERT(lab_talk(&lab, 100));
	CU_ASSERT(lab_shout(&lab, 50));
	lab_close(&lab);
}

static void test_share(void)
{
	everything(1, UPLINK);
}

static void test_copy_mode(void)
{
	everything(1, "--uplink nic0,mode=copy --vm a --vm b");
}

static void test_skb_mode(void)
{
	everything(1, "--uplink nic0,mode=skb --vm a --vm b");
}

/* Without the host: VMs and wire as before; the host keeps what is for its own address. */
static void host_off(const char *words)
{
	struct end *a, *b, *wire, *host;
	struct shot shot = {.flow = 3, .len = 200};

	if (!lab_open(&lab, 1, words))
		return;
	a = lab_vm(&lab, "a", NULL);
	b = lab_vm(&lab, "b", NULL);
	wire = lab_wire(&lab);
	if (!a || !b || !wire || !lab_learn(&lab)) {
		CU_FAIL("not everybody is there");
		lab_close(&lab);
		return;
	}
	CU_ASSERT(lab_talk(&lab, 100));
	CU_ASSERT(lab_shout(&lab, 50));
	host = lab_host(&lab);
	CU_ASSERT_PTR_NOT_NULL_FATAL(host);
	lab_clear(&lab);
	for (shot.to = host->mac; shot.seq < 50; shot.seq++) {
		CU_ASSERT_EQUAL(end_shoot(&lab, wire, &shot), 0);
		CU_ASSERT(lab_got(&lab, host, 3, shot.seq + 1));
	}
	shot.to = wire->mac;
	shot.flow = 4;
	for (shot.seq = 0; shot.seq < 50; shot.seq++) {
		CU_ASSERT_EQUAL(end_shoot(&lab, host, &shot), 0);
		CU_ASSERT(lab_got(&lab, wire, 4, shot.seq + 1));
	}
	lab_quiet(&lab, 20);
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT_EQUAL(a->in.n + b->in.n, 0);
	CU_ASSERT_EQUAL(host->in.n, 50);
	CU_ASSERT_EQUAL(wire->in.n, 50);
	lab_close(&lab);
}

static void test_host_off(void)
{
	host_off(UPLINK " --host off");
}

static void test_host_off_skb(void)
{
	host_off("--uplink nic0,mode=skb --vm a --vm b --host off");
}

/* 10,000 frames as fast as they go; the receiver reads all the time. Losses are accounted for. */
static void burst(struct end *from, struct end *to)
{
	struct shot shot = {.to = to->mac, .flow = 1, .len = 256};
	struct account books;

	lab_clear(&lab);
	CU_ASSERT(lab_begin(&lab, &books, from->name, to->name));
	for (; shot.seq < 10000; shot.seq++) {
		if (end_shoot(&lab, from, &shot)) {
			CU_FAIL("send");
			break;
		}
		if (shot.seq % 16 == 15)
			lab_drain(&lab);
	}
	lab_quiet(&lab, 100);
	CU_ASSERT(lab_balances(&lab, &books, shot.seq, to->in.flow[1]));
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT(to->in.flow[1] > 0);
}

static void test_bursts(void)
{
	if (!lab_full(&lab, 1, UPLINK))
		return;
	burst(at(A), at(B));
	burst(at(B), at(A));
	burst(at(A), at(WIRE));
	burst(at(WIRE), at(B));
	burst(at(A), at(HOST));
	burst(at(HOST), at(B));
	lab_close(&lab);
}

/* A sender that never has more frames under way than the receiver has buffers loses none. */
static void test_window(void)
{
	static const unsigned pair[][2] = {{A, B}, {A, WIRE}, {WIRE, B}, {A, HOST}, {HOST, B}};
	struct account books;
	unsigned i;

	if (!lab_full(&lab, 1, UPLINK))
		return;
	for (i = 0; i < sizeof(pair) / sizeof(*pair); i++) {
		struct end *from = at(pair[i][0]), *to = at(pair[i][1]);
		struct shot shot = {.to = to->mac, .flow = 2};

		lab_clear(&lab);
		CU_ASSERT(lab_begin(&lab, &books, from->name, to->name));
		for (; shot.seq < 4000; shot.seq++) {
			shot.len = 64 + shot.seq % 1451;
			if (end_shoot(&lab, from, &shot) ||
			    (shot.seq % 64 == 63 && !lab_got(&lab, to, 2, shot.seq + 1))) {
				CU_FAIL("lost");
				break;
			}
		}
		CU_ASSERT(lab_got(&lab, to, 2, 4000));
		CU_ASSERT(lab_clean(&lab));
		CU_ASSERT(lab_balances(&lab, &books, 4000, 4000));
	}
	lab_close(&lab);
}

/* vxsd stands still while frames pour in: what the kernel drops meanwhile is counted, too. */
static void test_standstill(void)
{
	static const unsigned way[][2] = {{WIRE, B}, {HOST, B}};
	struct account books;
	unsigned i;

	if (!lab_full(&lab, 1, UPLINK))
		return;
	for (i = 0; i < 2; i++) {
		struct end *from = at(way[i][0]), *to = at(way[i][1]);
		struct shot shot = {.to = to->mac, .flow = 4};

		lab_clear(&lab);
		CU_ASSERT(lab_begin(&lab, &books, from->name, to->name));
		kill(lab.vxsd.pid, SIGSTOP);
		for (; shot.seq < 12000; shot.seq++)
			if (end_shoot(&lab, from, &shot))
				break;
		kill(lab.vxsd.pid, SIGCONT);
		CU_ASSERT_EQUAL(shot.seq, 12000);
		lab_quiet(&lab, 200);
		CU_ASSERT(to->in.flow[4] > 0 && to->in.flow[4] < 12000);
		CU_ASSERT(lab_balances(&lab, &books, 12000, to->in.flow[4]));
		CU_ASSERT(lab_clean(&lab));
		CU_ASSERT(lab_talk(&lab, 20));
	}
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"sizes", test_sizes},
		{"large", test_large},
		{"share", test_share},
		{"copy_mode", test_copy_mode},
		{"skb_mode", test_skb_mode},
		{"host_off", test_host_off},
		{"host_off_skb", test_host_off_skb},
		{"bursts", test_bursts},
		{"window", test_window},
		{"standstill", test_standstill},
		{},
	};

	return check_main("forward", tests, argc, argv);
}
