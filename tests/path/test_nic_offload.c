/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames with offloads left open, to the wire: cut, and with right checksums. Root. */

/*
 *   test: a VM's part ── nic0 ═══ veth ═══ wire0 ── test: packet socket, which sums up each frame
 */
#include "check.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_ether.h>

#include "gso.h"
#include "nic_lab.h"
#include "offload/offload.h"

static const uint8_t to_mac[6] = {2, 0, 0, 0, 0, 0xee}, from_mac[6] = {2, 0, 0, 0, 0, 7};
static const uint8_t vm_mac[6] = {2, 0, 0, 0, 0, 2}; /* VM_A's */
static bool entered;

/* Gives @n copies of a frame, in pieces, to the NIC. */
static void out(struct nic_lab *l, const uint8_t *data, uint32_t len, const struct frame_offload *o,
		unsigned n)
{
	struct batch *b = &l->worker->batch;
	struct port *p = nic_port(l->nic);
	uint16_t which[BATCH_FRAMES];
	unsigned i;

	b->n = n;
	b->n_pieces = 0;
	b->open = true;
	for (i = 0; i < n; i++) {
		struct frame *f = &b->frame[i];
		uint32_t third = (len - FRAME_HEAD) / 3;

		*f = (struct frame){.len = len, .shape = frame_plain, .piece = b->n_pieces};
		memcpy(f->head + FRAME_HEAD_ROOM, data, FRAME_HEAD);
		f->offload = *o;
		f->shape.n_pieces = 2;
		b->piece[b->n_pieces++] = (struct piece){data + FRAME_HEAD, third};
		b->piece[b->n_pieces++] =
			(struct piece){data + FRAME_HEAD + third, len - FRAME_HEAD - third};
		CU_ASSERT(offload_check(b, f, OFFLOAD_ALL));
		which[i] = i;
	}
	p->ops->out(p, l->worker, b, which, n);
}

/* Takes @n frames off the wire. */
static void receive(struct nic_lab *l, struct gso_seen *s, const struct gso_kind *k, unsigned n)
{
	struct pollfd p = {.fd = l->wire_fd, .events = POLLIN};
	uint8_t frame[NIC_LAB_FRAME];
	ssize_t len;

	memset(s, 0, sizeof(*s));
	while (poll(&p, 1, s->frames < n ? 5000 : 0) > 0) {
		len = recv(l->wire_fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (len >= 14 && frame[5] == 0xee)
			gso_see(s, k, frame, len);
	}
}

static struct gso_seen seen;
static uint8_t data[GSO_PAYLOAD + 100];

/* One frame of @len bytes of payload, to be cut at @size. */
static void try(struct nic_lab *l, const struct gso_kind *k, bool tag, unsigned len, unsigned size)
{
	struct vxs_port_stats *st = &l->stats[VXS_PORT_UPLINK];
	bool ufo = k->gso_type == VIRTIO_NET_HDR_GSO_UDP;
	uint64_t frames = st->out_frames, bytes = st->out_bytes;
	unsigned hdr, n = (len + size - 1) / size, skip = 0, mtu = l->nic->mtu;
	struct frame_offload o;

	hdr = gso_make(data, k, to_mac, from_mac, tag, len, &o);
	o.gso_type = k->gso_type;
	o.gso_size = size;
	/* IP fragments: the first has the UDP header, and each fits what gso_size says. */
	if (ufo && len + 8 > size / 8 * 8) {
		skip = 8;
		n = (len + 8 + size / 8 * 8 - 1) / (size / 8 * 8);
	}
	out(l, data, hdr + len, &o, 1);
	receive(l, &seen, k, n);
	if (seen.frames != n || seen.bad || !gso_is_right(&seen, len, skip))
		printf("--- %s%s, %u bytes by %u: %u frames of %u, %u bytes%s\n", k->name,
		       tag ? " tagged" : "", len, size, seen.frames, n, seen.bytes,
		       seen.bad ? ", bad" : "");
	CU_ASSERT_EQUAL(seen.frames, n);
	CU_ASSERT(!seen.bad);
	CU_ASSERT(gso_is_right(&seen, len, skip));
	CU_ASSERT(seen.longest <= mtu + 14);
	CU_ASSERT_EQUAL(st->out_frames - frames, n);
	CU_ASSERT(st->out_bytes - bytes >= hdr + len);
	if (skip && !seen.bad) {
		/* Only the whole datagram has a checksum. */
		const uint8_t *ip = data + (tag ? 18 : 14);

		CU_ASSERT_EQUAL(
			gso_sum(seen.data, len + 8, gso_sum_pseudo(ip, k->v6, k->proto, len + 8)),
			0xffff);
	}
}

static unsigned fit(const struct gso_kind *k, unsigned mtu)
{
	unsigned hdr = (k->v6 ? 40 : 20) + (k->proto == IPPROTO_TCP ? 20 : 8);

	if (k->gso_type == VIRTIO_NET_HDR_GSO_UDP)
		return (mtu - (k->v6 ? 48 : 20)) / 8 * 8;
	return mtu - hdr;
}

static struct nic_lab *lab(unsigned mtu, bool out_csum)
{
	struct nic_lab *l;

	if (!entered || (mtu > 3000 && !nic_queue_can_sg())) {
		check_skip("needs root, network namespaces, and Linux 6.6 for long frames");
		return NULL;
	}
	l = nic_lab_new(1);
	nic_lab_run("ip link set " NIC " mtu %u; ip link set " WIRE " mtu %u", mtu, mtu);
	nic_lab_run("ethtool -K " WIRE " tx off >/dev/null");
	l->trial.out_csum = out_csum;
	/* The device "can't", and so the kernel does it in its place. */
	if (out_csum)
		nic_lab_run("ethtool -K " NIC " tx off >/dev/null");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	return l;
}

static void try_kinds(struct nic_lab *l, unsigned mtu)
{
	unsigned k, i;

	for (k = 0; k < GSO_KINDS; k++) {
		unsigned size = fit(&gso_kinds[k], mtu);
		const unsigned lens[] = {1,        size - 1, size,          size + 1,
					 2 * size, 64,       5 * size + 77, 60000};

		for (i = 0; i < 2 * sizeof(lens) / sizeof(lens[0]); i++)
			try(l, &gso_kinds[k], i & 1, lens[i / 2], size);
		try(l, &gso_kinds[k], false, 4000, 104);
	}
}

/* No UMEM frame is missing. */
static void check_complete(struct nic_lab *l)
{
	struct umem *u = &l->nic->queue[0]->umem;

	umem_collect(u);
	CU_ASSERT_EQUAL(u->n_free, UMEM_OUT_FRAMES);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.nic_full, 0);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.nic_down, 0);
}

static void test_cut(void)
{
	struct nic_lab *l = lab(1500, false);

	if (!l)
		return;
	try_kinds(l, 1500);
	check_complete(l);
	nic_lab_free(l);
}

static void test_cut_jumbo(void)
{
	struct nic_lab *l = lab(9000, false);

	if (!l)
		return;
	try_kinds(l, 9000);
	try_kinds(l, 1500);
	check_complete(l);
	nic_lab_free(l);
}

/* Only a checksum is open. */
static void try_csum(struct nic_lab *l)
{
	static const unsigned lens[] = {0, 1, 2, 17, 64, 1000, 1001, 1440};
	struct frame_offload o;
	unsigned k, i, hdr;

	for (k = 0; k < GSO_KINDS; k++) {
		for (i = 0; i < 16; i++) {
			hdr = gso_make(data, &gso_kinds[k], to_mac, from_mac, i & 1, lens[i / 2],
				       &o);
			out(l, data, hdr + lens[i / 2], &o, 1);
			receive(l, &seen, &gso_kinds[k], 1);
			CU_ASSERT_EQUAL(seen.frames, 1);
			CU_ASSERT(!seen.bad);
			CU_ASSERT(gso_is_right(&seen, lens[i / 2], 0));
		}
	}
}

static void test_csum(void)
{
	struct nic_lab *l = lab(1500, false);

	if (!l)
		return;
	try_csum(l);
	check_complete(l);
	nic_lab_free(l);
}

/* Checksums through metadata. */
static void test_meta(void)
{
	static const unsigned mtus[] = {1500, 9000};
	struct nic_state state;
	struct nic_lab *l;
	unsigned i;

	for (i = 0; i < 2; i++) {
		l = lab(mtus[i], true);
		if (!l)
			return;
		nic_state(l->nic, &state);
		if (!state.out_csum) {
			check_skip("the kernel has no AF_XDP transmit metadata");
			nic_lab_free(l);
			return;
		}
		try_csum(l);
		try_kinds(l, mtus[i]);
		nic_lab_out(l, BATCH_FRAMES, mtus[i] + 14, false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
		check_complete(l);
		nic_lab_free(l);
	}
}

/* What is longer than the MTU when it is cut isn't sent. */
static void test_too_big(void)
{
	struct nic_lab *l = lab(1500, false);
	struct frame_offload o;
	unsigned hdr, k;

	if (!l)
		return;
	for (k = 0; k < GSO_KINDS; k++) {
		hdr = gso_make(data, &gso_kinds[k], to_mac, from_mac, false, 20000, &o);
		o.gso_type = gso_kinds[k].gso_type;
		o.gso_size = fit(&gso_kinds[k], 1500) + 8;
		out(l, data, hdr + 20000, &o, 3);
	}
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.too_big, 3 * GSO_KINDS);
	receive(l, &seen, &gso_kinds[0], 0);
	CU_ASSERT_EQUAL(seen.frames, 0);
	check_complete(l);
	nic_lab_free(l);
}

/* A batch of large frames is far more than the ring holds, and yet none is lost. */
static void test_batch(void)
{
	struct nic_lab *l = lab(1500, false);
	struct vxs_port_stats *st;
	struct frame_offload o;
	unsigned hdr;

	if (!l)
		return;
	st = &l->stats[VXS_PORT_UPLINK];
	hdr = gso_make(data, &gso_kinds[0], to_mac, from_mac, false, 64000, &o);
	o.gso_type = gso_kinds[0].gso_type;
	o.gso_size = 1460;
	out(l, data, hdr + 64000, &o, BATCH_FRAMES);
	CU_ASSERT_EQUAL(st->out_frames, BATCH_FRAMES * (64000 / 1460 + 1));
	check_complete(l);
	nic_lab_free(l);
}

/* ---- from the wire ---- */

#define VM_A  2
#define FLOWS 2
#define SIZE  1000 /* payload of a segment */

/* Segment number @i of flow number @flow, finished, for VM_A. */
static unsigned make_segment(uint8_t *to, const struct gso_kind *k, unsigned flow, unsigned i)
{
	struct frame_offload o;
	unsigned hdr = gso_make(to, k, vm_mac, from_mac, false, SIZE, &o), l4 = o.csum_start;

	if (!k->v6) {
		gso_put16(to + 14 + 4, 100 + i);
		gso_put16(to + 14 + 10, 0);
		gso_put16(to + 14 + 10, ~gso_sum(to + 14, 20, 0));
	}
	gso_put16(to + l4, GSO_PORT + flow);
	gso_put16(to + l4 + 4, (GSO_SEQ + i * SIZE) >> 16);
	gso_put16(to + l4 + 6, GSO_SEQ + i * SIZE);
	to[l4 + 13] = 0x10; /* ACK */
	gso_put16(to + l4 + 16, ~gso_sum(to + l4, hdr - l4 + SIZE, 0));
	return hdr + SIZE;
}

/* @n segments of each flow from the wire, taken in as one batch; how many frames it has. */
static unsigned come_in(struct nic_lab *l, const struct gso_kind *k, unsigned n)
{
	struct port *p = nic_port(l->nic);
	unsigned i, flow;

	for (i = 0; i < n; i++)
		for (flow = 0; flow < FLOWS; flow++)
			nic_lab_send_raw(l, data, make_segment(data, k, flow, i));
	CU_ASSERT(p->ops->in(p, l->worker, 0, &l->worker->batch) > 0);
	return l->worker->batch.n;
}

static void give_back(struct nic_lab *l)
{
	nic_port(l->nic)->ops->done(nic_port(l->nic), l->worker, 0, &l->worker->batch);
}

static void check_joined(struct nic_lab *l, const struct gso_kind *k, unsigned n)
{
	const struct batch *b = &l->worker->batch;
	unsigned flow, hdr = k->v6 ? 74 : 54, i;

	CU_ASSERT_EQUAL_FATAL(b->n, FLOWS);
	CU_ASSERT(b->open);
	for (flow = 0; flow < FLOWS; flow++) {
		const struct frame *f = &b->frame[flow];

		CU_ASSERT_EQUAL(f->out, VM_A);
		CU_ASSERT_EQUAL(f->offload.gso_type, k->gso_type);
		CU_ASSERT_EQUAL(f->offload.gso_size, SIZE);
		CU_ASSERT_EQUAL_FATAL(f->len, hdr + n * SIZE);
		CU_ASSERT_EQUAL(nic_lab_join(b, f, data), f->len);
		CU_ASSERT_EQUAL(gso_get16(data + hdr - 20), GSO_PORT + flow);
		for (i = 0; i < n * SIZE; i++)
			if (data[hdr + i] != gso_pattern(i % SIZE))
				break;
		CU_ASSERT_EQUAL(i, n * SIZE);
		CU_ASSERT(!l->nic->hashes || b->hash[flow]);
	}
	CU_ASSERT(!l->nic->hashes || b->hash[0] != b->hash[1]);
}

static struct nic_lab *gro_lab(uint32_t takes, bool no_gro)
{
	struct nic_lab *l;

	if (!entered) {
		check_skip("needs root and network namespaces");
		return NULL;
	}
	l = nic_lab_new(1);
	l->opt.no_gro = no_gro;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, VM_A, &l->stats[VM_A]), 0);
	nic_lab_vm(l, VM_A, 2, takes);
	return l;
}

static void test_join(void)
{
	const struct gso_kind *kind[] = {&gso_kinds[0], &gso_kinds[1]};
	struct nic_lab *l = gro_lab(OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6, false);
	unsigned i;

	if (!l)
		return;
	/* For nobody in particular. */
	CU_ASSERT_EQUAL(come_in(l, kind[0], 5), 5 * FLOWS);
	give_back(l);
	nic_lab_learn(l, VM_A);
	for (i = 0; i < 2; i++) {
		come_in(l, kind[i], 20);
		check_joined(l, kind[i], 20);
		give_back(l);
	}
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].in_frames, 45 * FLOWS);
	/* The guest has other wishes now. */
	l->vm[VM_A].takes = OFFLOAD_CSUM | OFFLOAD_TSO6;
	CU_ASSERT_EQUAL(come_in(l, kind[0], 5), 5 * FLOWS);
	give_back(l);
	l->vm[VM_A].takes = OFFLOAD_CSUM;
	CU_ASSERT_EQUAL(come_in(l, kind[1], 5), 5 * FLOWS);
	CU_ASSERT(!l->worker->batch.open);
	give_back(l);
	nic_lab_free(l);
	l = gro_lab(OFFLOAD_ALL, true);
	nic_lab_learn(l, VM_A);
	CU_ASSERT_EQUAL(come_in(l, kind[0], 5), 5 * FLOWS);
	CU_ASSERT(!l->worker->batch.open);
	give_back(l);
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"cut", test_cut},         {"cut_jumbo", test_cut_jumbo},
	{"csum", test_csum},       {"meta", test_meta},
	{"too_big", test_too_big}, {"batch", test_batch},
	{"join", test_join},       {},
};

int main(int argc, char **argv)
{
	entered = nic_lab_enter();
	return check_main("nic_offload", tests, argc, argv);
}
