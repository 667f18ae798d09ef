/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink with an MTU of 9000: frames in several UMEM frames, both ways. Root. */

/*
 *   test: worker and control ── nic0 ═══ veth, MTU 9000 ═══ wire0 ── test: packet socket
 */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic_lab.h"

#define VM_A 2
#define MTU  9000
#define ROOM (UMEM_FRAME_LARGE - UMEM_HEADROOM) /* of a UMEM frame, for what comes in */

static bool entered;

/* An opened lab with VM_A, or NULL with the reason. */
static struct nic_lab *lab(unsigned queues)
{
	struct nic_lab *l;

	if (!entered || !nic_queue_can_sg()) {
		check_skip("needs root, network namespaces and Linux 6.6");
		return NULL;
	}
	l = nic_lab_new(queues);
	nic_lab_run("ip link set " NIC " mtu %u; ip link set " WIRE " mtu %u", MTU, MTU);
	/* Nothing is segmented or checksummed for us, as by a wire. */
	nic_lab_run("ethtool -K " WIRE " tx off >/dev/null");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, VM_A, &l->stats[VM_A]), 0);
	nic_lab_learn(l, VM_A);
	return l;
}

static void send_to(struct nic_lab *l, uint32_t id, unsigned n, unsigned len)
{
	uint8_t mac[6];

	nic_lab_mac(id, mac);
	nic_lab_send(l, mac, n, len, true);
}

/* No UMEM frame is missing: as many can wait as there are, and all are there to be sent. */
static void check_complete(struct nic_lab *l)
{
	struct nic_queue *q = l->nic->queue[0];
	uint64_t empty = 0;
	unsigned i;

	memset(l->stats, 0, sizeof(l->stats));
	for (i = 0; i < 5; i++) {
		if (!l->nic->vm[VM_A + i])
			CU_ASSERT_EQUAL(nic_add_port(l->nic, VM_A + i, &l->stats[VM_A + i]), 0);
		nic_lab_learn(l, VM_A + i);
		send_to(l, VM_A + i, NIC_VM_RING, 60);
	}
	nic_read_drops(l->nic);
	for (i = 0; i < VXS_PORTS_MAX; i++)
		empty += l->stats[i].drops.umem_empty;
	CU_ASSERT_EQUAL(empty, 5 * NIC_VM_RING - UMEM_IN_FRAMES);
	CU_ASSERT_EQUAL(nic_lab_take(l), UMEM_IN_FRAMES);
	umem_collect(&q->umem);
	CU_ASSERT_EQUAL(q->umem.n_free, UMEM_OUT_FRAMES);
}

static void test_state(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);
	struct nic_state state;

	if (!l)
		return;
	nic_state(l->nic, &state);
	CU_ASSERT(state.sg);
	CU_ASSERT_EQUAL(state.mtu, MTU);
	nic_lab_close(l);
	/* Where it isn't needed it isn't used. */
	nic_lab_run("ip link set " NIC " mtu 1500; ip link set " WIRE " mtu 1500");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_state(l->nic, &state);
	CU_ASSERT(!state.sg);
	nic_lab_free(l);
}

static void test_in(void)
{
	static const unsigned sizes[] = {
		14,           31,       32,           33,        60,        1514,
		ROOM - 1,     ROOM,     ROOM + 1,     ROOM + 31, ROOM + 32, 4096,
		2 * ROOM - 1, 2 * ROOM, 2 * ROOM + 1, 9000,      9013,      9014,
	};
	struct nic_lab *l = lab(LAB_QUEUES);
	struct vxs_port_stats *s;
	uint64_t bytes = 0;
	unsigned i;

	if (!l)
		return;
	s = &l->stats[VXS_PORT_UPLINK];
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		send_to(l, VM_A, 64, sizes[i]);
		CU_ASSERT_EQUAL(nic_lab_take(l), 64);
		bytes += 64 * sizes[i];
	}
	CU_ASSERT_EQUAL(l->got[VM_A], 64 * i);
	CU_ASSERT_EQUAL(s->in_frames, 64 * i);
	CU_ASSERT_EQUAL(s->in_bytes, bytes);
	CU_ASSERT_EQUAL(s->drops.short_frame + s->drops.long_frame, 0);
	nic_lab_free(l);
}

static void test_out(void)
{
	static const unsigned sizes[] = {14,   60,   1514, 4095, 4096, 4097,
					 8191, 8192, 8193, 9000, 9013, 9014};
	struct nic_lab *l = lab(LAB_QUEUES);
	struct vxs_port_stats *s;
	uint64_t bytes = 0;
	unsigned i;

	if (!l)
		return;
	s = &l->stats[VXS_PORT_UPLINK];
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		nic_lab_out(l, BATCH_FRAMES, sizes[i], false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
		bytes += BATCH_FRAMES * sizes[i];
	}
	CU_ASSERT_EQUAL(s->out_frames, i * BATCH_FRAMES);
	CU_ASSERT_EQUAL(s->out_bytes, bytes);
	nic_lab_out(l, 10, 9018, true);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 10), 10);
	nic_lab_out(l, 10, 9015, false);
	nic_lab_out(l, 10, 9019, true);
	CU_ASSERT_EQUAL(s->drops.too_big, 20);
	CU_ASSERT_EQUAL(s->drops.nic_full, 0);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 0), 0);
	nic_lab_free(l);
}

/* Tagged, and for nobody: the trunk has it. */
static void test_tagged(void)
{
	uint8_t frame[9018] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,
			       0,    0,    0,    0xee, 0x81, 0,    0, 5};
	struct nic_lab *l = lab(1);
	unsigned len, i;

	if (!l)
		return;
	for (i = 16; i < sizeof(frame); i++)
		frame[i] = i * 11;
	for (len = 9014; len <= 9018; len++) {
		struct batch *b = &l->worker->batch;
		struct port *p = nic_port(l->nic);
		const struct frame *f = &b->frame[0];
		uint8_t *at;

		nic_lab_send_raw(l, frame, len);
		CU_ASSERT_FATAL(p->ops->in(p, l->worker, 0, b) > 0);
		CU_ASSERT_EQUAL_FATAL(b->n, 1);
		CU_ASSERT_EQUAL_FATAL(f->len, len);
		CU_ASSERT_EQUAL(f->out, FRAME_PORT_NONE);
		at = malloc(len);
		CU_ASSERT_EQUAL(nic_lab_join(b, f, at), len);
		CU_ASSERT(!memcmp(at, frame, len));
		free(at);
		p->ops->done(p, l->worker, 0, b);
	}
	nic_lab_free(l);
}

/* A batch has room for 256 descriptors and so for no whole number of such frames. */
static void test_many(void)
{
	struct nic_lab *l = lab(1);
	unsigned i, n = 0;

	if (!l)
		return;
	for (i = 0; i < 34; i++) {
		send_to(l, VM_A, 300, 9014);
		n += nic_lab_take(l);
	}
	CU_ASSERT_EQUAL(n, 34 * 300);
	for (i = 0; i < 40; i++) {
		nic_lab_out(l, BATCH_FRAMES, 9014, false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	}
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.nic_full, 0);
	check_complete(l);
	nic_lab_free(l);
}

static bool all_dropped(void *arg)
{
	struct nic_lab *l = arg;

	nic_read_drops(l->nic);
	return l->stats[VM_A].drops.socket_full >= 20;
}

/* More than a receive ring holds: whole frames are dropped, and nothing of them stays. */
static void test_full(void)
{
	struct nic_lab *l = lab(1);
	unsigned fit = NIC_VM_RING / 3;
	uint8_t mac[6];

	if (!l)
		return;
	send_to(l, VM_A, fit, 9014);
	nic_lab_mac(VM_A, mac);
	nic_lab_send(l, mac, 20, 9014, false);
	CU_ASSERT(check_until(all_dropped, l, 5000));
	CU_ASSERT_EQUAL(l->stats[VM_A].drops.socket_full, 20);
	CU_ASSERT_EQUAL(nic_lab_take(l), fit);
	check_complete(l);
	nic_lab_free(l);
}

/* The MTU goes down and up again while it runs. */
static void test_mtu(void)
{
	struct nic_lab *l = lab(1);
	struct vxs_port_stats *s;
	struct nic_state state;

	if (!l)
		return;
	s = &l->stats[VXS_PORT_UPLINK];
	nic_lab_run("ip link set " NIC " mtu 4000; ip link set " WIRE " mtu 4000");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	nic_lab_out(l, 10, 4015, false);
	CU_ASSERT_EQUAL(s->drops.too_big, 10);
	nic_lab_out(l, 10, 4014, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 10), 10);
	nic_lab_run("ip link set " NIC " mtu 9100; ip link set " WIRE " mtu 9100");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	nic_state(l->nic, &state);
	CU_ASSERT_EQUAL(state.mtu, 9100);
	nic_lab_out(l, 10, 9114, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 10), 10);
	nic_lab_out(l, 10, 9115, false);
	CU_ASSERT_EQUAL(s->drops.too_big, 20);
	send_to(l, VM_A, 10, 9114);
	CU_ASSERT_EQUAL(nic_lab_take(l), 10);
	nic_lab_free(l);
}

static void test_skb(void)
{
	struct nic_lab *l;

	if (!entered || !nic_queue_can_sg()) {
		check_skip("needs root, network namespaces and Linux 6.6");
		return;
	}
	l = nic_lab_new(1);
	nic_lab_run("ip link set " NIC " mtu %u; ip link set " WIRE " mtu %u", MTU, MTU);
	nic_lab_run("ethtool -K " WIRE " tx off >/dev/null");
	l->opt.mode = UPLINK_SKB;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, VM_A, &l->stats[VM_A]), 0);
	nic_lab_learn(l, VM_A);
	send_to(l, VM_A, 100, 9014);
	CU_ASSERT_EQUAL(nic_lab_take(l), 100);
	nic_lab_out(l, BATCH_FRAMES, 9014, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"state", test_state},   {"in", test_in},     {"out", test_out},
	{"tagged", test_tagged}, {"many", test_many}, {"full", test_full},
	{"mtu", test_mtu},       {"skb", test_skb},   {},
};

int main(int argc, char **argv)
{
	entered = nic_lab_enter();
	return check_main("nic_jumbo", tests, argc, argv);
}
