/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a device MUST do with virtio-net headers (virtio 1.2, 5.1.6): a test each, on every ring. */
#include "offload_rig.h"
#include "vms.h"

/*
 *	sender a ── vxsd ── b receiver
 *
 * Each test runs with split and packed rings, in order or not; both have one layout.
 */
#define WORDS VMS_PORT("a", "61") VMS_PORT("b", "62")
#define PLAIN (FAKE_VM_VERSION_1 | FAKE_VM_INDIRECT | FAKE_VM_EVENT_IDX | FAKE_VM_PROTOCOL)

static const uint64_t layouts[] = {
	0,
	FAKE_VM_IN_ORDER,
	FAKE_VM_PACKED,
	FAKE_VM_PACKED | FAKE_VM_IN_ORDER,
};

static struct fake_vm *a, *b;
static struct pkt sent;
static uint8_t got[FAKE_VM_FRAME_MAX + 1];
static int got_len;

static bool open_with(uint64_t layout, uint64_t asks, uint64_t takes, unsigned buffer)
{
	struct fake_vm_options opt = {
		.ring_size = 256, .send_size = 65600, .features = PLAIN | layout | asks};

	a = vms_join("a", &opt);
	opt.features = PLAIN | layout | takes;
	opt.buffer_size = buffer;
	b = vms_join("b", &opt);
	if (!a || !b)
		return false;
	CU_ASSERT_EQUAL(a->features, a->opt.features);
	CU_ASSERT_EQUAL(b->features, b->opt.features);
	return true;
}

static void close_both(void)
{
	fake_vm_close(a);
	fake_vm_close(b);
}

/* What a guest hands over, with whatever header a test wants; its addresses are a's and b's. */
static void make(const struct spec *s)
{
	pkt_make(&sent, s);
	vms_mac('b', sent.at);
	vms_mac('a', sent.at + 6);
}

static int send_it(void)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {0};

	memcpy(&hdr.hdr, &sent.offload, sizeof(sent.offload));
	return fake_vm_send_hdr(a, 0, &hdr, sent.at, sent.len);
}

static bool receive(void)
{
	got_len = fake_vm_recv_wait(b, 0, got, sizeof(got), VMS_WAIT);
	if (got_len < 0)
		printf("--- b: %s\n", fake_vm_error(b));
	return got_len > 0;
}

static uint64_t bad_offloads(void)
{
	struct vxs_port_stats s;

	CU_ASSERT_TRUE(vms_stats("a", &s));
	return s.drops.bad_offload;
}

/* Layer 4's checksum is complete and right: its sum with the pseudo header is all ones. */
static bool is_right(const struct pkt *p, const uint8_t *at, uint32_t len)
{
	uint32_t sum = slow_pseudo(at + p->l3, p->ip6, p->dst, p->tcp ? 6 : 17, len - p->l4);

	return slow_add(sum, at + p->l4, len - p->l4) == 0xffff;
}

static const struct spec tcp4 = {.tcp = true,
				 .tcp_flags = 0x18,
				 .payload = 20000,
				 .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				 .gso_size = 1448};
static const struct spec small = {.tcp = true, .tcp_flags = 0x18, .payload = 700};

static void on_all(void (*test)(uint64_t layout))
{
	unsigned i;

	if (!vms_start(WORDS, true))
		return;
	for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		test(layouts[i]);
	vms_stop();
}

static void num_buffers_is_1(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 65600))
		return;
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && b->hdr.num_buffers == 1);
	CU_ASSERT_EQUAL((uint32_t)got_len, sent.len);
	close_both();
}

/* fake_vm_recv() checks that all but the last buffer are full; here, that they are all needed. */
static void buffers_are_full(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS | FAKE_VM_MRG_RXBUF,
		       1500))
		return;
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && b->hdr.num_buffers == (sent.len + 12 + 1499) / 1500);
	CU_ASSERT_EQUAL((uint32_t)got_len, sent.len);
	CU_ASSERT(!memcmp(got, sent.at, sent.len));
	close_both();
}

static void checksum_is_full(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_CSUM, 0, 2048))
		return;
	make(&small);
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && !b->hdr.hdr.flags && !b->hdr.hdr.gso_type);
	CU_ASSERT((uint32_t)got_len == sent.len && is_right(&sent, got, got_len));
	close_both();
}

static void flags_are_0(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, 0, 2048))
		return;
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	do {
		if (!receive())
			break;
		CU_ASSERT(!b->hdr.hdr.flags && !b->hdr.hdr.gso_type && !b->hdr.hdr.csum_start);
		CU_ASSERT(is_right(&sent, got, got_len));
	} while (got_len >= 1448 + (int)sent.end);
	CU_ASSERT_EQUAL((uint32_t)got_len, sent.end + 20000 % 1448);
	close_both();
}

/* Of each kind that is cut, for a driver that takes all kinds but that one. */
static void gso_is_accepted(uint64_t layout)
{
	static const struct {
		uint64_t kind;
		struct spec spec;
	} kinds[] = {
		{FAKE_VM_GUEST_TSO4 | FAKE_VM_GUEST_ECN, {.tcp = true, .gso_type = 1}},
		{FAKE_VM_GUEST_TSO6 | FAKE_VM_GUEST_ECN, {.ip6 = true, .tcp = true, .gso_type = 4}},
		{FAKE_VM_GUEST_ECN, {.tcp = true, .tcp_flags = 0x90, .gso_type = 0x81}},
		{FAKE_VM_GUEST_UFO, {.gso_type = 3}},
		{FAKE_VM_GUEST_USO4, {.gso_type = 5}},
		{FAKE_VM_GUEST_USO6, {.ip6 = true, .gso_type = 5}},
	};
	unsigned i, n;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct spec s = kinds[i].spec;

		if (!open_with(layout, FAKE_VM_HOST_OFFLOADS,
			       FAKE_VM_GUEST_OFFLOADS & ~kinds[i].kind, 2048))
			return;
		s.payload = 4000;
		s.gso_size = 1000;
		make(&s);
		CU_ASSERT_EQUAL(send_it(), 0);
		for (n = 0; n < 4; n++) {
			CU_ASSERT_FATAL(receive());
			CU_ASSERT_EQUAL(b->hdr.hdr.gso_type, 0);
			CU_ASSERT((uint32_t)got_len <= sent.end + 1008);
		}
		close_both();
	}
}

static void gso_says_all(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 65600))
		return;
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT_FATAL(receive());
	CU_ASSERT_EQUAL(b->hdr.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	CU_ASSERT_EQUAL(b->hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	CU_ASSERT_EQUAL(b->hdr.hdr.gso_size, 1448);
	CU_ASSERT_EQUAL(b->hdr.hdr.csum_start, sent.l4);
	CU_ASSERT_EQUAL(b->hdr.hdr.csum_offset, 16);
	close_both();
}

static void hdr_len_is_not_trusted(uint64_t layout)
{
	static const uint16_t lies[] = {0, 1, 14, 53, 55, 1500, 20054, 65535};
	unsigned i;

	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 65600))
		return;
	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		make(&tcp4);
		sent.offload.hdr_len = lies[i];
		CU_ASSERT_EQUAL(send_it(), 0);
		CU_ASSERT(receive() && b->hdr.hdr.hdr_len == sent.end);
		CU_ASSERT_EQUAL((uint32_t)got_len, sent.len);
	}
	close_both();
}

static void unknown_flags_are_ignored(uint64_t layout)
{
	unsigned bit;

	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 2048))
		return;
	for (bit = 0; bit < 8; bit++) {
		make(&small);
		sent.offload.flags |= 1 << bit;
		CU_ASSERT_EQUAL(send_it(), 0);
		CU_ASSERT(receive() && b->hdr.hdr.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM);
		sent.offload.flags = (1 << bit) & ~VIRTIO_NET_HDR_F_NEEDS_CSUM;
		CU_ASSERT_EQUAL(send_it(), 0);
		CU_ASSERT(receive() && b->hdr.hdr.flags == 0);
		CU_ASSERT(!memcmp(got, sent.at, sent.len));
	}
	close_both();
}

static void csum_fields_need_the_flag(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_CSUM, 0, 2048))
		return;
	make(&small);
	sent.offload.flags = 0;
	sent.offload.csum_start = 60000;
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && !b->hdr.hdr.csum_start && !b->hdr.hdr.csum_offset);
	CU_ASSERT((uint32_t)got_len == sent.len && !memcmp(got, sent.at, sent.len));
	close_both();
}

/* A guest's word for it is no verification. */
static void data_valid_is_verified(uint64_t layout)
{
	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 2048))
		return;
	make(&small);
	sent.offload.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && b->hdr.hdr.flags == 0);
	close_both();
}

/* Both tunnel bits together, or one: no such offload was negotiated. */
static void tunnels_are_refused(uint64_t layout)
{
	static const uint8_t bits[] = {0x20, 0x40, 0x60};
	uint64_t before = bad_offloads();
	unsigned i;

	if (!open_with(layout, FAKE_VM_HOST_OFFLOADS, FAKE_VM_GUEST_OFFLOADS, 65600))
		return;
	for (i = 0; i < 3; i++) {
		make(&tcp4);
		sent.offload.gso_type |= bits[i];
		CU_ASSERT_EQUAL(send_it(), 0);
	}
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && b->hdr.hdr.gso_type == VIRTIO_NET_HDR_GSO_TCPV4);
	CU_ASSERT_EQUAL(bad_offloads() - before, 3);
	close_both();
}

/* What wasn't negotiated isn't done. */
static void only_what_was_negotiated(uint64_t layout)
{
	uint64_t before = bad_offloads();

	if (!open_with(layout, 0, FAKE_VM_GUEST_OFFLOADS, 65600))
		return;
	make(&small);
	CU_ASSERT_EQUAL(send_it(), 0);
	make(&tcp4);
	CU_ASSERT_EQUAL(send_it(), 0);
	make(&small);
	sent.offload.flags = 0;
	CU_ASSERT_EQUAL(send_it(), 0);
	CU_ASSERT(receive() && (uint32_t)got_len == sent.len);
	CU_ASSERT_EQUAL(bad_offloads() - before, 2);
	close_both();
}

#define TEST(name)                                                                                 \
	static void test_##name(void)                                                              \
	{                                                                                          \
		on_all(name);                                                                      \
	}
TEST(num_buffers_is_1)
TEST(buffers_are_full)
TEST(checksum_is_full)
TEST(flags_are_0)
TEST(gso_is_accepted)
TEST(gso_says_all)
TEST(hdr_len_is_not_trusted)
TEST(unknown_flags_are_ignored)
TEST(csum_fields_need_the_flag)
TEST(data_valid_is_verified)
TEST(tunnels_are_refused)
TEST(only_what_was_negotiated)

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"num_buffers is 1 without MRG_RXBUF", test_num_buffers_is_1},
		{"with it, all buffers but the last are full", test_buffers_are_full},
		{"without GUEST_CSUM the checksum is complete", test_checksum_is_full},
		{"without GUEST_CSUM flags are 0, segments or not", test_flags_are_0},
		{"no gso_type that the driver didn't accept", test_gso_is_accepted},
		{"gso_type comes with NEEDS_CSUM and gso_size", test_gso_says_all},
		{"hdr_len is not trusted", test_hdr_len_is_not_trusted},
		{"unknown flags are ignored", test_unknown_flags_are_ignored},
		{"csum_* mean nothing without NEEDS_CSUM", test_csum_fields_need_the_flag},
		{"DATA_VALID only if it was verified", test_data_valid_is_verified},
		{"tunnel bits are refused", test_tunnels_are_refused},
		{"only what was negotiated", test_only_what_was_negotiated},
		{},
	};

	return check_main("musts", tests, argc, argv);
}
