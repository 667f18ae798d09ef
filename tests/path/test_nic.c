/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink by itself (user/nic and its XDP program), without vxsd. Root. */

/*
 *   test: worker and control ── nic0 ═══ veth ═══ wire0 ── test: packet socket
 */
#include "check.h"

#include <string.h>
#include <sys/epoll.h>

#include "nic_lab.h"

#define VM_A   2
#define VM_B   3
#define CYCLES 1000

static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
static bool entered;

/* A lab with two queues unless said, or NULL with the reason. */
static struct nic_lab *lab(unsigned queues)
{
	if (!entered) {
		check_skip("needs root and network namespaces");
		return NULL;
	}
	return nic_lab_new(queues);
}

static void add_vm(struct nic_lab *l, uint32_t id)
{
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, id, &l->stats[id]), 0);
	nic_lab_learn(l, id);
}

static void send_to(struct nic_lab *l, uint32_t id, unsigned n, unsigned len, bool socket)
{
	uint8_t mac[6];

	nic_lab_mac(id, mac);
	nic_lab_send(l, mac, n, len, socket);
}

static void test_in(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);
	struct nic_state state;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, false), 0);
	add_vm(l, VM_A); /* before and after nic_attach() */
	CU_ASSERT_EQUAL(nic_attach(l->nic), 0);
	add_vm(l, VM_B);
	send_to(l, VM_A, 300, 60, true);
	send_to(l, VM_B, 200, 1514, true);
	send_to(l, 99, 100, 33, true);
	nic_lab_send(l, broadcast, 50, 200, true);
	/* Each queue had its share. */
	CU_ASSERT(*l->nic->vm[VM_A][0].in.producer > 0);
	CU_ASSERT(*l->nic->vm[VM_A][1].in.producer > 0);
	CU_ASSERT_EQUAL(nic_lab_take(l), 650);
	CU_ASSERT_EQUAL(l->got[VM_A], 300);
	CU_ASSERT_EQUAL(l->got[VM_B], 200);
	CU_ASSERT_EQUAL(l->got[0], 150);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].in_frames, 650);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].in_bytes,
			300 * 60 + 200 * 1514 + 100 * 33 + 50 * 200);
	/* The NIC's own address passes to the host. */
	nic_state(l->nic, &state);
	CU_ASSERT_EQUAL(state.queues, LAB_QUEUES);
	CU_ASSERT(state.up);
	CU_ASSERT_STRING_EQUAL(state.mode, "native copy");
	nic_lab_send(l, state.mac, 50, 60, false);
	send_to(l, VM_A, 1, 60, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 1);
	nic_lab_free(l);
}

static void test_host_share(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, true, true), 0);
	add_vm(l, VM_A);
	send_to(l, 99, 64, 60, false);
	nic_lab_send(l, broadcast, 64, 60, false);
	send_to(l, VM_A, 64, 60, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 64);
	CU_ASSERT_EQUAL(l->got[VM_A], 64);
	nic_lab_free(l);
}

static void test_out(void)
{
	static const unsigned sizes[] = {14, 15, 20, 21, 60, 1000, 1514};
	struct nic_lab *l = lab(LAB_QUEUES);
	struct vxs_port_stats *s;
	uint64_t bytes = 0;
	unsigned i;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	s = &l->stats[VXS_PORT_UPLINK];
	for (i = 0; i < 7; i++) {
		nic_lab_out(l, BATCH_FRAMES, sizes[i], false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
		bytes += BATCH_FRAMES * sizes[i];
	}
	CU_ASSERT_EQUAL(s->out_frames, 7 * BATCH_FRAMES);
	CU_ASSERT_EQUAL(s->out_bytes, bytes);
	nic_lab_out(l, 10, 1515, false);
	nic_lab_out(l, 10, 1519, true);
	CU_ASSERT_EQUAL(s->drops.too_big, 20);
	nic_lab_out(l, 10, 1518, true);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 10), 10);
	/* More than there are frames to send with: they come back. */
	for (i = 0; i < 3 * UMEM_OUT_FRAMES / BATCH_FRAMES; i++) {
		nic_lab_out(l, BATCH_FRAMES, 60, false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	}
	CU_ASSERT_EQUAL(s->drops.nic_full, 0);
	umem_collect(&l->nic->queue[0]->umem);
	CU_ASSERT_EQUAL(l->nic->queue[0]->umem.n_free, UMEM_OUT_FRAMES);
	nic_lab_free(l);
}

/* What was queued but not sent yet is sent, and waited for until the device is done with it. */
static void test_drain(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);
	const bool all[2] = {true, true}, second[2] = {false, true}, none[2] = {};
	struct nic_queue *q;
	struct xdp_desc *d;
	uint32_t at = 0;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	q = l->nic->queue[0];
	CU_ASSERT(nic_drain(l->nic, all, 2));
	nic_lab_out(l, BATCH_FRAMES, 60, false);
	CU_ASSERT(nic_drain(l->nic, all, 2));
	CU_ASSERT_EQUAL(q->umem.n_free, UMEM_OUT_FRAMES);
	CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	/* A frame that nobody has the kernel send. */
	CU_ASSERT_EQUAL_FATAL(xsk_ring_prod__reserve(&q->out, 1, &at), 1);
	d = xsk_ring_prod__tx_desc(&q->out, at);
	*d = (struct xdp_desc){.addr = q->umem.free[--q->umem.n_free], .len = 60};
	xsk_ring_prod__submit(&q->out, 1);
	CU_ASSERT(nic_drain(l->nic, none, 2));
	CU_ASSERT(nic_drain(l->nic, second, 2)); /* worker 1 sends by the other queue */
	CU_ASSERT_EQUAL(q->umem.n_free, UMEM_OUT_FRAMES - 1);
	CU_ASSERT(nic_drain(l->nic, all, 2));
	CU_ASSERT_EQUAL(q->umem.n_free, UMEM_OUT_FRAMES);
	/* One that never comes back: as if it had been queued. */
	q->out.cached_prod++;
	CU_ASSERT(!nic_drain(l->nic, all, 2));
	/* A link that is down isn't waited for. */
	CU_ASSERT_EQUAL(nic_lab_run("ip link set " NIC " down"), 0);
	CU_ASSERT(nic_drain(l->nic, all, 2));
	q->out.cached_prod--;
	nic_lab_free(l);
}

static void test_down(void)
{
	struct nic_lab *l = lab(1);
	struct vxs_port_stats *s;
	struct nic_state state;
	uint64_t syscalls;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	s = &l->stats[VXS_PORT_UPLINK];
	CU_ASSERT_EQUAL(nic_lab_run("ip link set " NIC " down"), 0);
	nic_lab_out(l, 10, 60, false);
	nic_lab_out(l, 20, 60, false);
	CU_ASSERT_EQUAL(s->drops.nic_down, 30);
	CU_ASSERT_EQUAL(s->out_frames, 0);
	nic_state(l->nic, &state);
	CU_ASSERT(!state.up);
	/* Nobody waits for it: a worker may sleep. */
	CU_ASSERT(!nic_port(l->nic)->ops->wait(nic_port(l->nic), l->worker, 0, true));
	CU_ASSERT_EQUAL(nic_lab_run("ip link set " NIC " up"), 0);
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	nic_lab_receive(l, 0);
	syscalls = l->worker->stats->syscalls;
	nic_lab_out(l, 20, 60, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 20), 20);
	CU_ASSERT_EQUAL(s->out_frames, 20);
	CU_ASSERT(l->worker->stats->syscalls > syscalls);
	/* No carrier: the device takes each frame and throws it away. */
	CU_ASSERT_EQUAL(nic_lab_run("ip link set " WIRE " down"), 0);
	nic_lab_out(l, 20, 60, false);
	CU_ASSERT_EQUAL(s->drops.nic_down, 50);
	CU_ASSERT_EQUAL(s->out_frames, 20);
	nic_lab_free(l);
}

/* As many frames as the UMEM has can wait in rings; those after that are counted as lost. */
static void check_capacity(struct nic_lab *l)
{
	uint64_t empty = 0, full = 0;
	unsigned i;

	memset(l->stats, 0, sizeof(l->stats));
	for (i = VM_A; i < VM_A + 5; i++)
		send_to(l, i, NIC_VM_RING, 60, true);
	nic_read_drops(l->nic);
	for (i = 0; i < VXS_PORTS_MAX; i++) {
		empty += l->stats[i].drops.umem_empty;
		full += l->stats[i].drops.socket_full;
		CU_ASSERT_EQUAL(l->stats[i].drops.socket_error, 0);
	}
	CU_ASSERT_EQUAL(empty, 5 * NIC_VM_RING - UMEM_IN_FRAMES);
	CU_ASSERT_EQUAL(full, 0);
	CU_ASSERT_EQUAL(l->stats[VM_A + 4].drops.umem_empty, 5 * NIC_VM_RING - UMEM_IN_FRAMES);
	CU_ASSERT_EQUAL(nic_lab_take(l), UMEM_IN_FRAMES);
}

static void test_drops(void)
{
	struct nic_lab *l = lab(1);
	unsigned i;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	for (i = VM_A; i < VM_A + 5; i++)
		add_vm(l, i);
	send_to(l, VM_A, NIC_VM_RING + 76, 60, true);
	send_to(l, VM_B, 100, 60, true);
	nic_read_drops(l->nic);
	CU_ASSERT_EQUAL(l->stats[VM_A].drops.socket_full, 76);
	CU_ASSERT_EQUAL(l->stats[VM_B].drops.socket_full, 0);
	CU_ASSERT_EQUAL(nic_lab_take(l), NIC_VM_RING + 100);
	CU_ASSERT_EQUAL(l->got[VM_B], 100);
	for (i = 0; i < 3; i++)
		check_capacity(l);
	nic_lab_free(l);
}

static void test_add_del(void)
{
	struct nic_lab *l = lab(1);
	unsigned i, fds, n = 0;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	fds = check_fds();
	for (i = 0; i < CYCLES; i++) {
		add_vm(l, VM_A);
		send_to(l, VM_A, 40, 60, true); /* left in its ring */
		nic_del_port(l->nic, VM_A);
		if (i % 20 == 0)
			n += nic_lab_take(l);
	}
	CU_ASSERT_EQUAL(n, 0); /* nothing for a port that is gone */
	CU_ASSERT_EQUAL(check_fds(), fds);
	nic_lab_take(l);
	for (i = VM_A; i < VM_A + 5; i++)
		add_vm(l, i);
	check_capacity(l);
	nic_lab_free(l);
}

static void test_sleep(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);
	struct epoll_event e;
	struct port *p;
	unsigned q;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l, VM_A);
	p = nic_port(l->nic);
	nic_lab_take(l);
	while (epoll_wait(l->worker->epoll_fd, &e, 1, 0) > 0)
		;
	for (q = 0; q < LAB_QUEUES; q++)
		CU_ASSERT(!p->ops->wait(p, l->worker, q, true));
	CU_ASSERT_EQUAL(epoll_wait(l->worker->epoll_fd, &e, 1, 0), 0);
	send_to(l, VM_A, 1, 60, true);
	CU_ASSERT_EQUAL(epoll_wait(l->worker->epoll_fd, &e, 1, 2000), 1);
	CU_ASSERT(p->ops->wait(p, l->worker, 0, true) || p->ops->wait(p, l->worker, 1, true));
	CU_ASSERT(!p->ops->wait(p, l->worker, 0, false));
	CU_ASSERT_EQUAL(nic_lab_take(l), 1);
	nic_lab_free(l);
}

/* Frames of 4096 bytes where 2048 don't do. */
static void test_large_mtu(void)
{
	struct nic_lab *l = lab(LAB_QUEUES);

	if (!l)
		return;
	nic_lab_run("ip link set " NIC " mtu 3000; ip link set " WIRE " mtu 3000");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l, VM_A);
	send_to(l, VM_A, 100, 3014, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 100);
	nic_lab_out(l, BATCH_FRAMES, 3014, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	nic_lab_free(l);
}

/* The hash of a frame's flow as the NIC has it: the same for each frame of one flow. */
static void test_hash(void)
{
	struct nic_lab *l = lab(1);
	struct batch *b;
	struct port *p;
	uint32_t of_flow[32];
	unsigned i, round;

	if (!l)
		return;
	b = &l->worker->batch;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	p = nic_port(l->nic);
	if (!l->nic->hashes) {
		check_skip("the kernel or its veth doesn't tell flow hashes");
		nic_lab_free(l);
		return;
	}
	add_vm(l, VM_A);
	add_vm(l, VM_B);
	nic_lab_vm(l, VM_A, 4, 0);
	nic_lab_vm(l, VM_B, 1, 0);
	for (round = 0; round < 2; round++) {
		send_to(l, VM_A, 32, 60, true);
		send_to(l, VM_B, 8, 60, true);
		nic_lab_send(l, broadcast, 8, 60, true);
		CU_ASSERT(p->ops->in(p, l->worker, 0, b) > 0);
		CU_ASSERT_EQUAL_FATAL(b->n, 48);
		CU_ASSERT(b->hashed);
		for (i = 0; i < b->n; i++) {
			const struct frame *f = &b->frame[i];
			unsigned flow = b->piece[f->piece].at[3] % 32; /* source port */

			if (f->out != VM_A) {
				CU_ASSERT_EQUAL(b->hash[i], 0);
				continue;
			}
			CU_ASSERT_NOT_EQUAL(b->hash[i], 0);
			CU_ASSERT(!round || of_flow[flow] == b->hash[i]);
			of_flow[flow] = b->hash[i];
		}
		p->ops->done(p, l->worker, 0, b);
	}
	for (i = 1; i < 32 && of_flow[i] == of_flow[0]; i++)
		;
	CU_ASSERT(i < 32);
	/* Nobody wants it. */
	nic_lab_vm(l, VM_A, 1, 0);
	send_to(l, VM_A, 32, 60, true);
	CU_ASSERT(p->ops->in(p, l->worker, 0, b) > 0);
	CU_ASSERT(!b->hashed);
	p->ops->done(p, l->worker, 0, b);
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"in", test_in},
	{"host_share", test_host_share},
	{"out", test_out},
	{"drain", test_drain},
	{"down", test_down},
	{"drops", test_drops},
	{"add_del", test_add_del},
	{"sleep", test_sleep},
	{"large_mtu", test_large_mtu},
	{"hash", test_hash},
	{},
};

int main(int argc, char **argv)
{
	entered = nic_lab_enter();
	return check_main("nic", tests, argc, argv);
}
