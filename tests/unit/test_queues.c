/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Many queue pairs, some of them disabled, and single queues that are reset under traffic. */
#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

#include "mark.h"
#include "vms.h"

/*
 *	a ── vxsd ── b, both with as many queue pairs; a sends on each, b may have it by any
 *
 * Nothing is ever sent that b has no buffer for, so nothing may be lost.
 */
#define RESETS 32 /* of each kind */
#define BURST  8  /* frames on a queue pair at a time */

static struct fake_vm *a, *b;
static struct inbox in;
static uint32_t seq[MARK_FLOWS]; /* the next one of each flow */
static unsigned sent;

static bool drain_pair(unsigned pair)
{
	uint8_t frame[2048];
	int len;

	while ((len = fake_vm_recv(b, pair, frame, sizeof(frame))) > 0)
		inbox_put(&in, frame, len);
	return len == 0;
}

/* Waits until b has all that was sent. */
static bool settle(void)
{
	unsigned long long end = vms_now() + VMS_WAIT;
	unsigned pair;

	while (in.n < sent && vms_now() < end) {
		for (pair = 0; pair < b->opt.pairs; pair++)
			if (!drain_pair(pair))
				return false;
		sched_yield();
	}
	return in.n == sent;
}

/* A burst on a queue pair, which is its flow (those of more pairs than flows share one). */
static bool push(unsigned pair, unsigned n)
{
	struct mark m = {.flow = pair % MARK_FLOWS};
	uint8_t frame[128];
	unsigned i;

	vms_mac('b', m.dst);
	vms_mac('a', m.src);
	for (i = 0; i < n; i++) {
		m.seq = seq[m.flow]++;
		mark_write(frame, 60 + m.seq % 60, &m);
		if (fake_vm_send(a, pair, frame, 60 + m.seq % 60))
			return false;
		sent++;
	}
	return true;
}

static bool push_all(unsigned but)
{
	unsigned pair;

	for (pair = 0; pair < a->opt.pairs; pair++)
		if (pair != but && !push(pair, BURST))
			return false;
	return true;
}

static bool open_both(const char *words, const struct fake_vm_options *opt)
{
	sent = 0;
	memset(seq, 0, sizeof(seq));
	if (!vms_start(words, false))
		return false;
	a = vms_join("a", opt);
	b = vms_join("b", opt);
	if (a && b && !inbox_open(&in))
		return true;
	CU_FAIL("not everybody is there");
	fake_vm_close(a);
	fake_vm_close(b);
	vms_stop();
	return false;
}

static void close_both(void)
{
	struct vxs_port_stats s;

	if (fake_vm_error(a)[0] || fake_vm_error(b)[0])
		printf("--- a: %s, b: %s\n", fake_vm_error(a), fake_vm_error(b));
	CU_ASSERT_STRING_EQUAL(fake_vm_error(a), "");
	CU_ASSERT_STRING_EQUAL(fake_vm_error(b), "");
	CU_ASSERT_EQUAL(in.bad, 0);
	CU_ASSERT_EQUAL(in.twice, 0);
	CU_ASSERT_TRUE(vms_stats("b", &s));
	CU_ASSERT_EQUAL(s.out_frames, sent);
	CU_ASSERT_EQUAL(vms_drops(&s), 0);
	CU_ASSERT_TRUE(vms_stats("a", &s));
	CU_ASSERT_EQUAL(vms_drops(&s), 0);
	inbox_close(&in);
	fake_vm_close(a);
	fake_vm_close(b);
	vms_stop();
}

/* What `port show b` says: how many queues are enabled, and over how many frames are spread. */
static void shown(unsigned enabled, unsigned spread)
{
	struct json_object *list = child_ctl(&vxsd, "port show b", NULL), *p, *queues;
	unsigned i, n = 0;

	p = json_object_array_get_idx(list, 0);
	queues = vms_member(p, "queues");
	CU_ASSERT_PTR_NOT_NULL_FATAL(queues);
	for (i = 0; i < json_object_array_length(queues); i++)
		n += vms_number(json_object_array_get_idx(queues, i), "enabled");
	CU_ASSERT_EQUAL(n, enabled);
	CU_ASSERT_EQUAL(vms_number(p, "spread"), spread);
	json_object_put(list);
}

/* The guest's `ethtool -L`: the front-end enables and disables, and stops nothing. */
static bool use_pairs(unsigned n)
{
	unsigned i;

	for (i = 0; i < b->n_queues; i++)
		if (fake_vm_enable_ring(b, i, i / 2 < n))
			return false;
	return true;
}

/* Three file descriptors for each of 512 queues. */
static bool may_open(rlim_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max < n)
		return false;
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit);
}

static void test_most(void)
{
	const struct fake_vm_options opt = {
		.ring_size = 16, .pairs = 128, .features = FAKE_VM_ALL | FAKE_VM_MQ};
	uint64_t before = 0;
	unsigned pair;

	if (!may_open(4096)) {
		check_skip("needs 4096 file descriptors (ulimit -Hn)");
		return;
	}
	if (!open_both(VMS_PORT("a", "61") ",queues=128" VMS_PORT("b", "62") ",queues=128", &opt))
		return;
	CU_ASSERT_EQUAL(b->queue_num, 128);
	CU_ASSERT_TRUE(!!(b->features & FAKE_VM_MQ));
	shown(256, 128);
	for (pair = 0; pair < 128; pair++)
		CU_ASSERT_TRUE_FATAL(push(pair, 4) && settle());
	CU_ASSERT_TRUE(use_pairs(3));
	shown(6, 3);
	/* those that are disabled get nothing, all goes to the others */
	for (pair = 3; pair < 128; pair++)
		before += b->vq[2 * pair].frames;
	for (pair = 0; pair < 128; pair++)
		CU_ASSERT_TRUE_FATAL(push(pair, 4) && settle());
	for (pair = 3; pair < 128; pair++)
		before -= b->vq[2 * pair].frames;
	CU_ASSERT_EQUAL(before, 0);
	CU_ASSERT_TRUE(use_pairs(128));
	shown(256, 128);
	for (pair = 0; pair < 128; pair++)
		CU_ASSERT_TRUE_FATAL(push(pair, 4) && settle());
	close_both();
}

/* A single pair is no multiqueue. */
static void test_one(void)
{
	const struct fake_vm_options opt = {.features = FAKE_VM_ALL | FAKE_VM_MQ};

	if (!open_both(VMS_PORT("a", "61") VMS_PORT("b", "62") ",queues=1", &opt))
		return;
	CU_ASSERT_EQUAL(b->queue_num, 1);
	CU_ASSERT_EQUAL(b->offered & FAKE_VM_MQ, 0);
	shown(2, 1);
	CU_ASSERT_TRUE(push(0, 100) && settle());
	close_both();
}

static const struct fake_vm_options four = {.ring_size = 256,
					    .pairs = 4,
					    .extra = 1 << 20,
					    .features = FAKE_VM_ALL | FAKE_VM_MQ |
							FAKE_VM_RING_RESET};

#define FOUR                                                                                       \
	"--cpus 0,1 --poll adaptive" VMS_PORT("a", "61") ",queues=4" VMS_PORT("b", "62") ",queues" \
											 "=4"

/* The next incarnation of a stopped queue: another size every time, and other addresses. */
static void move_queue(struct fake_vm *vm, unsigned index, unsigned turn)
{
	uint8_t *at = (uint8_t *)fake_vm_extra(vm) + index * 0x10000 + (turn & 1) * 0x8000;
	struct fake_vq *q = &vm->vq[index];
	uint16_t idx = q->used->idx;

	q->size = turn & 1 ? 128 : 256;
	q->desc = (void *)at;
	q->avail = (void *)(at + 0x2000);
	q->used = (void *)(at + 0x4000);
	q->used->idx = idx; /* until the reset, which stops it once more and looks */
}

/* The driver reads what is left in a receive queue before it sets it up anew. */
static bool reset_recv(unsigned pair, unsigned turn)
{
	bool ok;

	if (fake_vm_stop_ring(b, 2 * pair))
		return false;
	ok = push_all(UINT32_MAX); /* to those that run */
	b->hold = true;
	ok = ok && drain_pair(pair);
	b->hold = false;
	move_queue(b, 2 * pair, turn);
	return ok && !fake_vm_reset_ring(b, 2 * pair);
}

static void test_reset_recv(void)
{
	unsigned i;
	bool ok;

	if (!open_both(FOUR, &four))
		return;
	CU_ASSERT_TRUE(!!(b->features & FAKE_VM_RING_RESET));
	for (i = 0; i < RESETS; i++) {
		CU_ASSERT_TRUE_FATAL(push_all(UINT32_MAX));
		ok = reset_recv(i % 4, i / 4);
		if (!ok)
			printf("--- turn %u: %s\n", i, fake_vm_error(b));
		CU_ASSERT_TRUE_FATAL(ok);
		CU_ASSERT_TRUE_FATAL(push_all(UINT32_MAX));
		CU_ASSERT_TRUE_FATAL(settle());
	}
	shown(8, 4);
	close_both();
}

static void test_reset_send(void)
{
	unsigned i, pair;

	if (!open_both(FOUR, &four))
		return;
	for (i = 0; i < RESETS; i++) {
		pair = i % 4;
		CU_ASSERT_TRUE_FATAL(push_all(UINT32_MAX));
		CU_ASSERT_EQUAL_FATAL(fake_vm_flush(a, pair, VMS_WAIT), 0);
		CU_ASSERT_EQUAL_FATAL(fake_vm_stop_ring(a, 2 * pair + 1), 0);
		CU_ASSERT_TRUE_FATAL(push_all(pair));
		move_queue(a, 2 * pair + 1, i / 4);
		CU_ASSERT_EQUAL_FATAL(fake_vm_reset_ring(a, 2 * pair + 1), 0);
		CU_ASSERT_TRUE_FATAL(push_all(UINT32_MAX));
		CU_ASSERT_TRUE_FATAL(settle());
	}
	CU_ASSERT_EQUAL(in.swapped, 0);
	close_both();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"one", test_one},
		{"most", test_most},
		{"reset_recv", test_reset_recv},
		{"reset_send", test_reset_send},
		{},
	};

	return check_main("queues", tests, argc, argv);
}
