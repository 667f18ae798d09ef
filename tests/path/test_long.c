/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames over a page between VM and wire, and frames that the switch cuts for the wire. */

/*
 *   VM a ---+-- vxsd --- nic0 ==== MTU 9000 ==== far0   wire
 *              host
 */
#include "check.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "gso.h"
#include "lab.h"
#include "nic/nic_queue.h"

#define UPLINK "--uplink nic0 --vm a"
#define MTU    9000
#define ROOM   (UMEM_FRAME_LARGE - UMEM_HEADROOM)

static struct lab lab;
static struct end *vm, *wire;

/* The lab with a VM that has @features beside the usual. */
static bool open_lab(const char *words, unsigned mtu, uint64_t features)
{
	const struct fake_vm_options opt = {
		.send_size = 66000, .ring_size = 256, .features = FAKE_VM_ALL | features};

	if (!nic_queue_can_sg()) {
		check_skip("needs root and Linux 6.6");
		return false;
	}
	if (!lab_open_mtu(&lab, 1, words, mtu))
		return false;
	vm = lab_vm(&lab, "a", &opt);
	wire = lab_wire(&lab);
	if (vm && wire && lab_learn(&lab))
		return true;
	CU_FAIL("the ends");
	lab_close(&lab);
	return false;
}

/* Frames of each size, one way; all must arrive as they were sent. */
static void send_sizes(struct end *from, struct end *to, const struct shot *like,
		       const unsigned *sizes, unsigned n)
{
	struct account books;
	unsigned sent = 0, i;

	lab_clear(&lab);
	CU_ASSERT(lab_begin(&lab, &books, from->name, to->name));
	for (; n--; sizes++)
		for (i = 0; i < 10; i++) {
			struct shot shot = *like;

			shot.to = to->mac;
			shot.seq = sent++;
			shot.len = *sizes;
			CU_ASSERT_EQUAL(end_shoot(&lab, from, &shot), 0);
			CU_ASSERT_FATAL(lab_got(&lab, to, 0, sent));
		}
	CU_ASSERT(lab_clean(&lab));
	CU_ASSERT(lab_balances(&lab, &books, sent, to->in.flow[0]));
}

static const unsigned sizes[] = {
	64,       1514, ROOM - 1, ROOM, ROOM + 1,     4095, 4096, 4097, 2 * ROOM - 1,
	2 * ROOM, 8191, 8192,     8193, 2 * ROOM + 1, 9000, 9013, 9014,
};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void both_ways(const char *words)
{
	static const unsigned tagged[] = {64, 9014, 9015, 9018};
	const struct shot plain = {}, vlan = {.vlan = 5};
	struct vxs_port_stats stats;
	struct account books;
	struct shot shot = {.len = 9015};

	if (!open_lab(words, MTU, 0))
		return;
	send_sizes(vm, wire, &plain, sizes, N_SIZES);
	send_sizes(wire, vm, &plain, sizes, N_SIZES);
	send_sizes(vm, wire, &vlan, tagged, 4);
	/* The VM is known on VLAN 5 by now. */
	send_sizes(wire, vm, &vlan, tagged, 4);

	lab_clear(&lab);
	CU_ASSERT(lab_begin(&lab, &books, "a", NET_NIC));
	shot.to = wire->mac;
	CU_ASSERT_EQUAL(end_shoot(&lab, vm, &shot), 0);
	shot.vlan = 5;
	shot.len = 9019;
	CU_ASSERT_EQUAL(end_shoot(&lab, vm, &shot), 0);
	CU_ASSERT(lab_balances(&lab, &books, 2, 0));
	lab_stats(&lab, NET_NIC, &stats);
	CU_ASSERT_EQUAL(stats.drops.too_big, 2);
	lab_close(&lab);
}

static void test_host_off(void)
{
	both_ways(UPLINK " --host off");
}

static void test_host_share(void)
{
	both_ways(UPLINK " --host share");
}

/* Many, with as many under way as there may be: no UMEM frame gets lost, or it would end. */
static void test_many(void)
{
	struct shot shot = {.len = 9014};
	unsigned i, way;

	if (!open_lab(UPLINK " --host off", MTU, 0))
		return;
	for (way = 0; way < 2; way++) {
		struct end *from = way ? wire : vm, *to = way ? vm : wire;

		lab_clear(&lab);
		shot.to = to->mac;
		for (i = 0; i < 10000; i++) {
			shot.seq = i;
			CU_ASSERT_EQUAL_FATAL(end_shoot(&lab, from, &shot), 0);
			if (i % 16 == 15)
				CU_ASSERT_FATAL(lab_got(&lab, to, 0, i + 1));
		}
		CU_ASSERT(lab_clean(&lab));
	}
	lab_close(&lab);
}

/* ---- large frames that are cut ---- */

static struct gso_seen seen;
static uint8_t data[GSO_PAYLOAD + 100];

static bool is_ours(const uint8_t *frame, ssize_t len)
{
	return len > 34 && !memcmp(frame, wire->mac, 6) && frame[12] != 0x88;
}

static void receive(const struct gso_kind *k, unsigned n)
{
	struct pollfd p = {.fd = wire->sock, .events = POLLIN};
	static uint8_t frame[10000];
	ssize_t len;

	memset(&seen, 0, sizeof(seen));
	while (poll(&p, 1, seen.frames < n ? LAB_WAIT : 0) > 0) {
		len = recv(wire->sock, frame, sizeof(frame), MSG_DONTWAIT);
		if (is_ours(frame, len))
			gso_see(&seen, k, frame, len);
	}
}

static void send_large(const struct gso_kind *k, bool tag, unsigned len, unsigned size)
{
	bool ufo = k->gso_type == VIRTIO_NET_HDR_GSO_UDP;
	struct virtio_net_hdr_mrg_rxbuf h = {};
	struct frame_offload o;
	unsigned hdr = gso_make(data, k, wire->mac, vm->mac, tag, len, &o), n;

	h.hdr = (struct virtio_net_hdr){
		.flags = o.flags,
		.gso_type = len ? k->gso_type : VIRTIO_NET_HDR_GSO_NONE,
		.hdr_len = o.hdr_len,
		.gso_size = size,
		.csum_start = o.csum_start,
		.csum_offset = o.csum_offset,
	};
	n = ufo ? (len + 8 + size / 8 * 8 - 1) / (size / 8 * 8) : (len + size - 1) / size;
	CU_ASSERT_EQUAL(fake_vm_send_hdr(vm->vm, 0, &h, data, hdr + len), 0);
	receive(k, n);
	if (seen.frames != n || seen.bad)
		printf("--- %s, %u bytes by %u: %u frames of %u%s\n", k->name, len, size,
		       seen.frames, n, seen.bad ? ", bad" : "");
	CU_ASSERT_EQUAL(seen.frames, n);
	CU_ASSERT(!seen.bad);
	CU_ASSERT(gso_is_right(&seen, len, ufo && n > 1 ? 8 : 0));
}

static void send_kinds(unsigned mtu)
{
	unsigned k, i, size;

	if ((vm->vm->features & FAKE_VM_HOST_OFFLOADS) != FAKE_VM_HOST_OFFLOADS) {
		check_skip("vxsd doesn't offer all of it");
		return;
	}
	for (k = 0; k < GSO_KINDS; k++) {
		size = mtu - (gso_kinds[k].v6 ? 48 : 20) - 20;
		for (i = 0; i < 2; i++) {
			send_large(&gso_kinds[k], i, 1, size);
			send_large(&gso_kinds[k], i, size - 100, size);
			send_large(&gso_kinds[k], i, 2 * size + 1, size);
			send_large(&gso_kinds[k], i, 60000, size);
		}
	}
}

static void test_cut(void)
{
	if (!open_lab(UPLINK " --host off", 1500, FAKE_VM_HOST_OFFLOADS))
		return;
	send_kinds(1500);
	lab_close(&lab);
}

static void test_cut_jumbo(void)
{
	if (!open_lab(UPLINK " --host off", MTU, FAKE_VM_HOST_OFFLOADS))
		return;
	send_kinds(MTU);
	send_kinds(1500);
	lab_close(&lab);
}

static const struct check tests[] = {
	{"host_off", test_host_off}, {"host_share", test_host_share}, {"many", test_many},
	{"cut", test_cut},           {"cut_jumbo", test_cut_jumbo},   {},
};

int main(int argc, char **argv)
{
	return check_main("long", tests, argc, argv);
}
