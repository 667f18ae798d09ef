/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One large frame to everybody: VMs of different offloads, the wire and the host, all at once. */
#include "check.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "gso.h"
#include "lab.h"

#define WORDS "--uplink nic0 --vm a --vm b --vm c,offloads=csum --vm d,offloads=none --vm e"
#define SIZE  1400  /* gso_size; a multiple of 8, so UFO's fragments are as long */
#define LEN   20001 /* bytes of payload */

static struct lab lab;
static struct end *from;
static uint8_t sent[GSO_PAYLOAD + 100];
static unsigned sent_len;
static struct virtio_net_hdr sent_hdr;

static struct {
	const char *name; /* of the VM; NULL: wire or host */
	uint64_t features;
	struct end *end;
	struct gso_seen seen;
	bool whole; /* it came as it was sent */
} to[] = {
	{"b", FAKE_VM_ALL | FAKE_VM_CSUM | FAKE_VM_GUEST_OFFLOADS, .whole = false},
	{"c", FAKE_VM_ALL | FAKE_VM_PACKED | FAKE_VM_CSUM | FAKE_VM_GUEST_CSUM, .whole = false},
	{"d", FAKE_VM_LEGACY, .whole = false},
	{"e", FAKE_VM_VERSION_1 | FAKE_VM_PROTOCOL | FAKE_VM_PACKED | FAKE_VM_IN_ORDER,
	 .whole = false},
	{},
	{},
};
enum { B, C, D, E, WIRE, HOST, N_TO };

/* As a driver does with a checksum that was left open. */
static void complete(uint8_t *frame, unsigned len, const struct virtio_net_hdr *h)
{
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		gso_put16(frame + h->csum_start + h->csum_offset,
			  (uint16_t)~gso_sum(frame + h->csum_start, len - h->csum_start, 0));
}

static bool is_ours(const uint8_t *frame, ssize_t len)
{
	return len > 34 && !memcmp(frame + 6, from->mac, 6) && frame[12] != 0x88;
}

static unsigned take(unsigned i, const struct gso_kind *k)
{
	static uint8_t frame[GSO_PAYLOAD + 200];
	struct end *e = to[i].end;
	struct virtio_net_hdr h = {};
	ssize_t len;

	if (e->vm)
		len = fake_vm_recv(e->vm, 0, frame, sizeof(frame));
	else
		len = recv(e->sock, frame, sizeof(frame), MSG_DONTWAIT);
	if (len <= 0)
		return 0;
	if (!is_ours(frame, len))
		return 1;
	if (e->vm)
		h = e->vm->hdr.hdr;
	if (len == sent_len && !memcmp(frame, sent, len) &&
	    (!e->vm || (h.gso_type == sent_hdr.gso_type && h.gso_size == sent_hdr.gso_size))) {
		to[i].whole = true;
		to[i].seen.frames++;
		return 1;
	}
	to[i].seen.bad |= h.gso_type != VIRTIO_NET_HDR_GSO_NONE;
	complete(frame, len, &h);
	gso_see(&to[i].seen, k, frame, len);
	return 1;
}

/* All that comes until @wire segments are on the wire and everybody has something, and then some.
 */
static void take_all(const struct gso_kind *k, unsigned segments)
{
	unsigned i, n, quiet = 0;

	for (i = 0; i < N_TO; i++) {
		memset(&to[i].seen, 0, sizeof(to[i].seen));
		to[i].whole = false;
	}
	while (quiet < LAB_WAIT) {
		bool all = true;

		for (n = i = 0; i < N_TO; i++) {
			n += take(i, k);
			all &= to[i].seen.frames >= (to[i].whole ? 1 : segments);
		}
		if (!n && all)
			break;
		quiet = n ? 0 : quiet + 1;
		if (!n)
			poll(NULL, 0, 1);
	}
}

static uint64_t frames_out(const char *port)
{
	struct vxs_port_stats stats = {};

	CU_ASSERT(lab_stats(&lab, port, &stats));
	CU_ASSERT_EQUAL(lab_drops(&stats), 0);
	return stats.out_frames;
}

/* One frame in; out, as many frames as each port was really given. */
static void flood(const struct gso_kind *k)
{
	bool ufo = k->gso_type == VIRTIO_NET_HDR_GSO_UDP;
	unsigned segments = ufo ? (LEN + 8 + SIZE - 1) / SIZE : (LEN + SIZE - 1) / SIZE, i;
	struct virtio_net_hdr_mrg_rxbuf h = {};
	struct vxs_port_stats before, after;
	uint64_t out[N_TO];
	struct frame_offload o;

	sent_len = gso_make(sent, k, lab_broadcast, from->mac, false, LEN, &o) + LEN;
	sent_hdr = h.hdr = (struct virtio_net_hdr){.flags = o.flags,
						   .gso_type = k->gso_type,
						   .hdr_len = o.hdr_len,
						   .gso_size = SIZE,
						   .csum_start = o.csum_start,
						   .csum_offset = o.csum_offset};
	for (i = 0; i < N_TO; i++)
		out[i] = frames_out(to[i].end->name);
	CU_ASSERT(lab_stats(&lab, from->name, &before));
	CU_ASSERT_EQUAL(fake_vm_send_hdr(from->vm, 0, &h, sent, sent_len), 0);
	take_all(k, segments);
	for (i = 0; i < N_TO; i++) {
		unsigned want = to[i].whole ? 1 : segments, skip = ufo ? 8 : 0;
		bool ok = !to[i].seen.bad && to[i].seen.frames == want &&
			  (to[i].whole || gso_is_right(&to[i].seen, LEN, skip));

		if (!ok)
			printf("--- %s to %s: %u frames of %u%s\n", k->name, to[i].end->name,
			       to[i].seen.frames, want, to[i].seen.bad ? ", bad" : "");
		CU_ASSERT(ok);
		if (i < WIRE)
			CU_ASSERT_EQUAL(frames_out(to[i].end->name) - out[i], want);
	}
	CU_ASSERT(to[B].whole && !to[C].whole && !to[D].whole && !to[E].whole && !to[WIRE].whole);
	CU_ASSERT_EQUAL(frames_out(NET_NIC) - out[WIRE], segments);
	CU_ASSERT(lab_stats(&lab, from->name, &after));
	CU_ASSERT_EQUAL(after.in_frames - before.in_frames, 1);
	CU_ASSERT_EQUAL(after.in_bytes - before.in_bytes, sent_len);
}

static bool open_lab(void)
{
	struct fake_vm_options opt = {.send_size = 66000,
				      .ring_size = 64,
				      .features = FAKE_VM_ALL | FAKE_VM_HOST_OFFLOADS};
	bool ok;
	unsigned i;

	if (!lab_open(&lab, 1, WORDS))
		return false;
	from = lab_vm(&lab, "a", &opt);
	ok = from;
	for (i = 0; i < WIRE; i++) {
		opt = (struct fake_vm_options){.ring_size = 512, .features = to[i].features};
		to[i].end = lab_vm(&lab, to[i].name, &opt);
		ok &= !!to[i].end;
	}
	to[WIRE].end = lab_wire(&lab);
	to[HOST].end = lab_host(&lab);
	if (ok && to[WIRE].end && to[HOST].end && lab_learn(&lab))
		return true;
	CU_FAIL("not everybody is there");
	lab_close(&lab);
	return false;
}

static void test_everybody(void)
{
	unsigned k, i;

	if (!open_lab())
		return;
	for (k = 0; k < GSO_KINDS; k++)
		for (i = 0; i < 3; i++)
			flood(&gso_kinds[k]);
	lab_close(&lab);
}

static const struct check tests[] = {
	{"everybody", test_everybody},
	{},
};

int main(int argc, char **argv)
{
	return check_main("flood_gso", tests, argc, argv);
}
