/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flows: hashed evenly, alike wherever their bytes lie, each to one receive queue and in order. */
#include <sched.h>
#include <stdlib.h>

#include "offload/flow.h"
#include "port/port.h"
#include "vms.h"

/* ---- frames ---- */

struct flow {
	uint32_t src, dst; /* the addresses' last 4 bytes */
	uint16_t sport, dport;
	bool v6;
	uint8_t tags;
	uint8_t protocol;
	uint8_t opts; /* bytes of IPv4 options */
	bool fragment;
};

static struct batch b;

static void put2(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static void put4(uint8_t *at, uint32_t v)
{
	put2(at, v >> 16);
	put2(at + 2, v);
}

/* Of a length that any of them has; returns where layer 4 begins. */
static uint32_t make(uint8_t *at, const struct flow *f, uint32_t len)
{
	uint8_t *ip = at + 14 + 4 * f->tags;
	uint32_t l4 = 14 + 4 * f->tags + (f->v6 ? 40 : 20 + f->opts);
	unsigned i;

	memset(at, 0, len);
	vms_mac('b', at);
	vms_mac('a', at + 6);
	for (i = 0; i < f->tags; i++)
		put4(at + 12 + 4 * i, 0x81000005);
	put2(ip - 2, f->v6 ? 0x86dd : 0x0800);
	if (f->v6) {
		ip[0] = 0x60;
		put2(ip + 4, len - l4);
		ip[6] = f->fragment ? 44 : f->protocol;
		put4(ip + 8, 0x20010db8);
		put4(ip + 20, f->src);
		put4(ip + 24, 0x20010db8);
		put4(ip + 36, f->dst);
	} else {
		ip[0] = 0x45 + f->opts / 4;
		put2(ip + 2, len - (14 + 4 * f->tags));
		put2(ip + 6, f->fragment ? 0x2000 : 0x4000);
		ip[9] = f->protocol;
		put4(ip + 12, f->src);
		put4(ip + 16, f->dst);
		memset(ip + 20, 1, f->opts);
	}
	put2(at + l4, f->sport);
	put2(at + l4 + 2, f->dport);
	return l4;
}

/* Its hash as it comes in, @n pieces behind a head of @head bytes. */
static uint32_t hash_cut(const uint8_t *at, uint32_t len, uint8_t head, unsigned n)
{
	struct frame *f = &b.frame[0];
	uint32_t done, part;
	uint8_t *copy[8];
	unsigned i;
	uint32_t hash;

	b.n = 1;
	b.n_pieces = 0;
	memset(f, 0xaa, sizeof(*f));
	f->len = len;
	f->piece = 0;
	f->shape = (struct frame_shape){.head_at = FRAME_HEAD_ROOM,
					.head_len = len < head ? len : head};
	memcpy(f->head + FRAME_HEAD_ROOM, at, f->shape.head_len);
	for (done = f->shape.head_len, i = 0; done < len; done += part, i++) {
		part = i + 1 < n ? (len - done + 1) / 2 : len - done;
		copy[i] = malloc(part); /* of its size: a sanitizer sees the byte behind it */
		memcpy(copy[i], at + done, part);
		b.piece[b.n_pieces++] = (struct piece){copy[i], part};
		f->shape.n_pieces++;
	}
	hash = flow_hash(&b, 0);
	while (i)
		free(copy[--i]);
	return hash;
}

static uint32_t hash_of(const struct flow *f, uint32_t len)
{
	uint8_t at[1514];

	make(at, f, len);
	return hash_cut(at, len, FRAME_HEAD, 1);
}

static uint32_t seed = 1;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint64_t)seed * n >> 32;
}

static struct flow any_flow(void)
{
	static const uint8_t protocols[] = {6, 17, 132, 136};

	return (struct flow){
		.src = any(UINT32_MAX),
		.dst = any(UINT32_MAX),
		.sport = any(65536),
		.dport = any(65536),
		.v6 = any(2),
		.tags = any(3),
		.protocol = protocols[any(4)],
		.opts = any(11) * 4,
	};
}

/* ---- the hash ---- */

/* Neither length nor layout nor what is behind the ports make a difference. */
static void test_alike(void)
{
	uint8_t at[1514];
	unsigned i, k;

	for (i = 0; i < 2000; i++) {
		struct flow f = any_flow();
		uint32_t len = 120 + any(1300), hash = hash_of(&f, 200), l4 = make(at, &f, len);

		for (k = 4; l4 + k < len; k++)
			at[l4 + k] = any(256);
		for (k = 1; k < 8; k++)
			CU_ASSERT_EQUAL(hash_cut(at, len, FRAME_HEAD, k), hash);
		CU_ASSERT_EQUAL(hash_cut(at, len, 28, 1), hash);
		CU_ASSERT_EQUAL(hash_cut(at, l4 + 4, FRAME_HEAD, 1), hash);
		CU_ASSERT_EQUAL(hash_cut(at, l4 + 4, FRAME_HEAD, 3), hash);
	}
}

/* Each field of a flow makes a difference; for fragments and other protocols ports do not. */
static void test_differ(void)
{
	unsigned i, same = 0;

	for (i = 0; i < 2000; i++) {
		struct flow f = any_flow(), g = f;
		uint32_t hash = hash_of(&f, 200);

		g.src ^= 1u << any(32);
		same += hash_of(&g, 200) == hash;
		g = f;
		g.dst ^= 1u << any(32);
		same += hash_of(&g, 200) == hash;
		g = f;
		g.sport ^= 1u << any(16);
		same += hash_of(&g, 200) == hash;
		g.protocol = 50;
		hash = hash_of(&g, 200);
		g.dport ^= 1u << any(16);
		CU_ASSERT_EQUAL(hash_of(&g, 200), hash);
		g = f;
		g.dport ^= 1u << any(16);
		same += hash_of(&g, 200) == hash_of(&f, 200);
		g.fragment = true;
		hash = hash_of(&g, 200);
		g.sport ^= 1u << any(16);
		CU_ASSERT_EQUAL(hash_of(&g, 200), hash);
	}
	CU_ASSERT_EQUAL(same, 0);
}

/* What isn't IP goes by its MAC addresses; short frames, and any bytes at all, do no harm. */
static void test_other(void)
{
	uint8_t at[128] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
	uint32_t hash = hash_cut(at, 64, FRAME_HEAD, 1);
	unsigned i, len, k;

	memset(at + 20, 7, 40);
	CU_ASSERT_EQUAL(hash_cut(at, 64, FRAME_HEAD, 1), hash);
	CU_ASSERT_EQUAL(hash_cut(at, 100, FRAME_HEAD, 3), hash);
	for (i = 0; i < 12; i++) {
		at[i] ^= 4;
		CU_ASSERT_NOT_EQUAL(hash_cut(at, 64, FRAME_HEAD, 1), hash);
		at[i] ^= 4;
	}
	for (i = 0; i < 20000; i++) {
		static const uint16_t types[] = {0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806};

		len = FRAME_MIN + any(sizeof(at) - FRAME_MIN + 1);
		for (k = 0; k < sizeof(at); k++)
			at[k] = any(256);
		put2(at + 12, types[any(5)]);
		put2(at + 16, types[any(5)]);
		put2(at + 20, types[any(5)]);
		hash_cut(at, len, FRAME_HEAD, 1 + any(4));
	}
}

static void test_nic(void)
{
	const struct flow f = {.src = 1, .dst = 2, .protocol = 17};
	uint32_t own = hash_of(&f, 200);

	b.hash[0] = 4711;
	CU_ASSERT_EQUAL(hash_of(&f, 200), own);
	b.hashed = true;
	CU_ASSERT_EQUAL(hash_of(&f, 200), 4711);
	b.hash[0] = 0; /* it knew none */
	CU_ASSERT_EQUAL(hash_of(&f, 200), own);
	b.hashed = false;
}

/*
 * Flows as they come: ports or addresses that count up. Of @n flows on @queues queues none gets
 * more than 5 standard deviations off its share.
 */
static void even(unsigned queues, unsigned n, struct flow (*nth)(unsigned i))
{
	unsigned got[PORT_QUEUES_MAX] = {0}, i, bad = 0;
	double share = (double)n / queues;

	for (i = 0; i < n; i++) {
		const struct flow f = nth(i);

		got[flow_queue(hash_of(&f, 120), queues)]++;
	}
	for (i = 0; i < queues; i++) {
		double off = got[i] - share;

		if (off * off > 25 * share)
			printf("--- queue %u of %u: %u flows\n", i, queues, got[i]);
		bad += off * off > 25 * share;
	}
	CU_ASSERT_EQUAL(bad, 0);
}

static struct flow by_port(unsigned i)
{
	return (struct flow){
		.src = 0x0a000001, .dst = 0x0a000002, .sport = 32768 + i, .protocol = 6};
}

static struct flow by_address(unsigned i)
{
	return (struct flow){.src = 0x0a000000 + i, .dst = 0x0a000002, .dport = 443, .protocol = 6};
}

static struct flow by_address6(unsigned i)
{
	return (struct flow){.src = i << 1, .dst = 9, .dport = 443, .protocol = 17, .v6 = true};
}

static struct flow by_chance(unsigned i)
{
	(void)i;
	return any_flow();
}

static void test_even(void)
{
	struct flow (*const nth[])(unsigned i) = {by_port, by_address, by_address6, by_chance};
	unsigned i;

	for (i = 0; i < 4; i++) {
		even(2, 4096, nth[i]);
		even(4, 4096, nth[i]);
		even(7, 4096, nth[i]);
		even(128, 16384, nth[i]);
	}
}

/* ---- through the switch ---- */

/*
 *	a (one queue pair) ── vxsd ── b (four)
 *
 * FLOWS flows of numbered frames; never more on their way than b has buffers for in one queue, so
 * none may be lost.
 */
#define FLOWS  100
#define PAIRS  4
#define RING   256
#define FRAMES 20000
#define ROUNDS 40 /* of enabling and disabling */

static struct fake_vm *from, *to;
static uint32_t next_seq[FLOWS];        /* to be sent */
static uint32_t got_seq[FLOWS][PAIRS];  /* the last one of the flow by that queue, + 1 */
static unsigned got_flow[FLOWS][PAIRS]; /* how many came */
static unsigned sent, got, wrong;

static bool drain(void)
{
	uint8_t at[2048];
	unsigned pair;
	int len;

	for (pair = 0; pair < PAIRS; pair++) {
		while ((len = fake_vm_recv(to, pair, at, sizeof(at))) > 0) {
			uint32_t flow = at[35] - 1u, seq;

			memcpy(&seq, at + 42, 4);
			if (flow >= FLOWS || seq < got_seq[flow][pair]) {
				wrong++;
				continue;
			}
			got_seq[flow][pair] = seq + 1;
			got_flow[flow][pair]++;
			got++;
		}
		if (len < 0)
			return false;
	}
	return true;
}

static bool settle(void)
{
	unsigned long long end = vms_now() + VMS_WAIT;

	while (got < sent && vms_now() < end && drain())
		sched_yield();
	return got == sent;
}

static bool push(unsigned n)
{
	struct flow f = {.src = 0x0a000001, .dst = 0x0a000002, .dport = 9, .protocol = 17};
	uint8_t at[100];

	for (; n; n--) {
		uint32_t flow = any(FLOWS);

		f.sport = 0x4000 + flow + 1;
		make(at, &f, sizeof(at));
		memcpy(at + 42, &next_seq[flow], 4);
		next_seq[flow]++;
		while (fake_vm_send(from, 0, at, sizeof(at)))
			if (fake_vm_error(from)[0] || fake_vm_reclaim(from, 0) < 0 || !drain())
				return false;
		sent++;
	}
	return true;
}

/* Pushes @n frames, and never has more on their way than fit. */
static bool carry(unsigned n)
{
	bool ok = true;

	for (; ok && n; n -= n < 32 ? n : 32)
		ok = push(n < 32 ? n : 32) && (sent - got < RING / 2 || settle()) && drain();
	return ok;
}

static unsigned queues_of(unsigned flow)
{
	unsigned pair, n = 0;

	for (pair = 0; pair < PAIRS; pair++)
		n += got_flow[flow][pair] > 0;
	return n;
}

static void forget(void)
{
	memset(next_seq, 0, sizeof(next_seq));
	memset(got_seq, 0, sizeof(got_seq));
	memset(got_flow, 0, sizeof(got_flow));
	sent = got = wrong = 0;
}

static bool use_pairs(unsigned n)
{
	unsigned i;

	for (i = 0; i < PAIRS; i++)
		if (fake_vm_enable_ring(to, 2 * i, i < n))
			return false;
	return true;
}

static bool open_both(void)
{
	const struct fake_vm_options one = {.ring_size = RING};
	const struct fake_vm_options four = {
		.ring_size = RING, .pairs = PAIRS, .features = FAKE_VM_ALL | FAKE_VM_MQ};

	forget();
	if (!vms_start(VMS_PORT("a", "61") VMS_PORT("b", "62") ",queues=4", false))
		return false;
	from = vms_join("a", &one);
	to = vms_join("b", &four);
	if (from && to)
		return true;
	CU_FAIL("not everybody is there");
	fake_vm_close(from);
	fake_vm_close(to);
	vms_stop();
	return false;
}

static void close_both(void)
{
	struct vxs_port_stats s;

	CU_ASSERT_STRING_EQUAL(fake_vm_error(from), "");
	CU_ASSERT_STRING_EQUAL(fake_vm_error(to), "");
	CU_ASSERT(vms_stats("b", &s));
	CU_ASSERT_EQUAL(vms_drops(&s), 0);
	fake_vm_close(from);
	fake_vm_close(to);
	vms_stop();
}

/* Each flow by one queue, in order; all queues have some. */
static void test_queues(void)
{
	unsigned flow, pair, used[PAIRS] = {0};

	if (!open_both())
		return;
	CU_ASSERT(carry(FRAMES) && settle());
	CU_ASSERT_EQUAL(wrong, 0);
	for (flow = 0; flow < FLOWS; flow++) {
		CU_ASSERT_EQUAL(queues_of(flow), 1);
		for (pair = 0; pair < PAIRS; pair++)
			used[pair] += got_flow[flow][pair] > 0;
	}
	for (pair = 0; pair < PAIRS; pair++)
		CU_ASSERT(used[pair] > FLOWS / PAIRS / 2);
	close_both();
}

/*
 * The guest uses fewer queues and more again, under traffic: nothing is lost, each queue has the
 * frames of a flow in order, and afterwards each flow is on one queue once more.
 */
static void test_enable(void)
{
	unsigned i, flow, n = PAIRS;

	if (!open_both())
		return;
	for (i = 0; i < ROUNDS; i++) {
		CU_ASSERT_FATAL(carry(200));
		n = 1 + (n + any(PAIRS - 1)) % PAIRS; /* another number */
		CU_ASSERT_FATAL(use_pairs(n));
		CU_ASSERT_FATAL(carry(200));
		if (i % 4 != 3)
			continue;
		CU_ASSERT_FATAL(settle() && !fake_vm_sync(to));
		CU_ASSERT_EQUAL(wrong, 0);
		forget();
		CU_ASSERT_FATAL(carry(1000) && settle());
		for (flow = 0; flow < FLOWS; flow++)
			CU_ASSERT_EQUAL(queues_of(flow), 1);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	close_both();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"alike", test_alike},   {"differ", test_differ},
		{"other", test_other},   {"nic", test_nic},
		{"even", test_even},     {"queues", test_queues},
		{"enable", test_enable}, {},
	};

	return check_main("flow", tests, argc, argv);
}
