/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two fake VMs with a real vxsd between them: every layout, every feature, every byte compared. */
#include "fake_talk.h"

static void test_sizes(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	size_t len;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	for (len = 64; a && b && len <= 1514; len++)
		if (!send_sizes(a, b, true, 2, len, len) || !send_sizes(b, a, false, 2, len, len))
			break;
	CU_ASSERT_EQUAL(len, 1515);
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

static void test_features(void)
{
	static const uint64_t bit[] = {FAKE_VM_VERSION_1, FAKE_VM_MRG_RXBUF, FAKE_VM_INDIRECT,
				       FAKE_VM_EVENT_IDX, FAKE_VM_PROTOCOL};
	struct fake_vm_options a = {.send = {.pieces = 2, .indirect = true}}, b = a;
	unsigned set, i;

	if (!start("adaptive", ""))
		return;
	for (set = 0; set < 1u << 5; set++) {
		a.features = 1ull << 63; /* never offered, and so never negotiated: no features */
		for (i = 0; i < 5; i++)
			if (set & 1u << i)
				a.features |= bit[i];
		b.features = set % 3 ? FAKE_VM_ALL : a.features;
		if (!talk(&a, &b, 64)) {
			fprintf(stderr, "with features 0x%llx\n", (unsigned long long)a.features);
			CU_FAIL("features");
			break;
		}
	}
	stop();
}

static void test_layouts(void)
{
	static const unsigned pieces[] = {1, 2, 3, 4, 7, 12, 40};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i, j, mode;

	if (!start("adaptive", ""))
		return;
	for (mode = 0; mode < 8; mode++) {
		for (i = 0; i < 7; i++) {
			j = (i + mode) % 7;
			a.send = b.recv = (struct fake_vm_layout){pieces[i], mode & 1};
			a.recv = b.send = (struct fake_vm_layout){pieces[j], mode & 2};
			a.features = b.features = mode & 4 ? FAKE_VM_LEGACY : FAKE_VM_ALL;
			if (!talk(&a, &b, 64)) {
				fprintf(stderr, "with %u and %u pieces, mode %u\n", pieces[i],
					pieces[j], mode);
				CU_FAIL("layout");
			}
		}
	}
	stop();
}

static void test_mergeable(void)
{
	static const unsigned size[] = {16, 60, 128, 512, 1526};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i;

	if (!start("adaptive", ""))
		return;
	for (i = 0; i < 5; i++) {
		b.buffer_size = size[i];
		b.recv.pieces = i % 2 + 1;
		if (!talk(&a, &b, 500)) {
			fprintf(stderr, "with buffers of %u bytes\n", size[i]);
			CU_FAIL("mergeable");
		}
	}
	stop();
}

static void test_ring_sizes(void)
{
	struct fake_vm_options a = {0}, b = {0};
	unsigned size;

	if (!start("adaptive", ""))
		return;
	for (size = 1; size <= 32768; size *= 2) {
		a.ring_size = size;
		b.ring_size = 32768 / size;
		if (!talk(&a, &b, 100)) {
			fprintf(stderr, "with rings of %u and %u\n", a.ring_size, b.ring_size);
			CU_FAIL("ring size");
		}
	}
	stop();
}

static void test_regions(void)
{
	struct fake_vm_options a = {0}, b = {0};

	if (!start("adaptive", ""))
		return;
	for (a.regions = 1; a.regions <= 8; a.regions++) {
		a.gap = a.regions % 2 ? 0 : 64ull << 20;
		b.regions = 9 - a.regions;
		CU_ASSERT(talk(&a, &b, 64));
	}
	stop();
}

static void test_wrap(void)
{
	struct fake_vm_options opt = {.ring_size = 64};

	if (!start("adaptive", ""))
		return;
	CU_ASSERT(talk(&opt, &opt, 70000)); /* the rings' 16-bit indices come round */
	stop();
}

static void test_poll_modes(void)
{
	static const char *const mode[] = {"busy", "interrupt", "adaptive"};
	struct fake_vm_options opt = {0}, poll = {.no_call_fd = true}, call = {.want_call = true};
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (!start(mode[i], ""))
			return;
		CU_ASSERT(talk(&opt, &poll, 3000));
		CU_ASSERT(talk(&call, &opt, 3000));
		stop();
	}
}

/* A guest that sleeps is woken by a call, and only as often as it asks. */
static void test_calls(void)
{
	struct fake_vm_options opt = {0};
	uint8_t frame[64], got[2048];
	struct fake_vm *a, *b;
	unsigned i;

	if (!start("interrupt", ""))
		return;
	for (i = 0; i < 2; i++) {
		opt.features = FAKE_VM_ALL ^ (i ? FAKE_VM_EVENT_IDX : 0);
		a = open_vm(0, &opt);
		b = open_vm(1, &opt);
		if (!a || !b)
			break;
		make_frame(frame, true, 0, sizeof(frame));
		CU_ASSERT_EQUAL(fake_vm_wait(b, 0, 0), 0);
		CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, sizeof(frame)), 0);
		CU_ASSERT_EQUAL(fake_vm_wait(b, 0, 2000), 1);
		CU_ASSERT_EQUAL(fake_vm_recv(b, 0, got, sizeof(got)), sizeof(frame));
		/* many frames while it doesn't wait: no call at all */
		b->vq[0].calls = 0;
		CU_ASSERT(send_sizes(a, b, true, 20, 64, 64));
		fake_vm_close(a);
		fake_vm_close(b);
	}
	stop();
}

static void test_queue_pairs(void)
{
	struct fake_vm_options four = {.pairs = 4}, one = {0};
	struct fake_vm *vm = NULL;

	if (!start("adaptive", ",queues=4"))
		return;
	CU_ASSERT(talk(&four, &four, 4000));
	CU_ASSERT(talk(&one, &four, 1000));
	four.pairs = 3;
	CU_ASSERT(talk(&four, &one, 1000));
	four.pairs = 5;
	four.socket = socket_path[0];
	CU_ASSERT_EQUAL(fake_vm_open(&vm, &four), -EPROTO);
	stop();
}

/* Rings stop at GET_VRING_BASE and resume where they were; a reboot begins at 0 again. */
static void test_stop_and_start(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	uint8_t frame[64], back[64], got[64];
	int i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	make_frame(frame, true, 0, sizeof(frame));
	make_frame(back, false, 0, sizeof(back));
	for (i = 0; a && b && i < 20; i++) {
		CU_ASSERT(both_ways(a, b, 100 + i));
		CU_ASSERT_EQUAL(fake_vm_stop(a), 0);
		/* what is sent meanwhile waits in the ring; what comes meanwhile is lost */
		CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, sizeof(frame)), 0);
		CU_ASSERT_EQUAL(fake_vm_send(b, 0, back, sizeof(back)), 0);
		CU_ASSERT_EQUAL(fake_vm_flush(b, 0, 2000), 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(a, 0), 1);
		CU_ASSERT_EQUAL(fake_vm_recv(a, 0, got, sizeof(got)), 0);
		CU_ASSERT_EQUAL(fake_vm_start(a), 0);
		CU_ASSERT_EQUAL(fake_vm_recv_wait(b, 0, got, sizeof(got), 2000), 64);
		CU_ASSERT(both_ways(a, b, 100));
		CU_ASSERT_EQUAL(fake_vm_reboot(i % 2 ? a : b), 0);
	}
	CU_ASSERT_EQUAL(i, 20);
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* A front-end that comes back, with the same rings or as a new one; the other keeps running. */
static void test_reconnect(void)
{
	struct fake_vm_options opt = {0};
	struct fake_vm *a, *b;
	int i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &opt);
	for (i = 0; a && b && i < 20; i++) {
		CU_ASSERT(both_ways(a, b, 50));
		if (i % 2) {
			CU_ASSERT_EQUAL(fake_vm_reconnect(a), 0);
		} else {
			fake_vm_close(a);
			a = open_vm(0, &opt);
		}
	}
	CU_ASSERT_EQUAL(i, 20);
	CU_ASSERT(a && b && both_ways(a, b, 50));
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* A receiver that doesn't take its frames costs the sender nothing, and gets what it has room for.
 */
static void test_full(void)
{
	struct fake_vm_options opt = {0}, few = {.recv_buffers = 10};
	uint8_t frame[256], got[2048];
	struct fake_vm *a, *b;
	uint32_t i;

	if (!start("adaptive", ""))
		return;
	a = open_vm(0, &opt);
	b = open_vm(1, &few);
	for (i = 0; a && b && i < 1000; i++) {
		make_frame(frame, true, i, sizeof(frame));
		while (fake_vm_send(a, 0, frame, sizeof(frame)) == -EAGAIN)
			CU_ASSERT_EQUAL_FATAL(fake_vm_flush(a, 0, 2000), 0);
	}
	CU_ASSERT(a && fake_vm_flush(a, 0, 2000) == 0);
	if (b)
		b->hold = true;
	for (i = 0; b && fake_vm_recv(b, 0, got, sizeof(got)) > 0; i++)
		CU_ASSERT_EQUAL(got[14], i);
	CU_ASSERT_EQUAL(i, 10);
	CU_ASSERT(b && fake_vm_refill(b, 0, 1000) == 256);
	CU_ASSERT(a && b && send_sizes(a, b, true, 200, 64, 1514));
	fake_vm_close(a);
	fake_vm_close(b);
	stop();
}

/* The largest frames that guests make, in all kinds of buffers. */
static void test_large(void)
{
	struct fake_vm_options a = {.send_size = 66000, .buffer_size = 66000}, b = a;
	struct fake_vm *va, *vb;
	unsigned i;

	if (!start("adaptive", ""))
		return;
	for (i = 0; i < 4; i++) {
		a.send.pieces = i % 2 ? 17 : 1;
		b.recv.pieces = i ? 1 : 18;
		b.buffer_size = i < 2 ? 66000 : 1526;
		va = open_vm(0, &a);
		vb = open_vm(1, &b);
		CU_ASSERT(va && vb && send_sizes(va, vb, true, 200, 9000, 65549));
		CU_ASSERT(va && vb && send_sizes(vb, va, false, 200, 9000, 65549));
		fake_vm_close(va);
		fake_vm_close(vb);
	}
	stop();
}

/* Packed rings have any size, up to the same. */
static void test_packed_sizes(void)
{
	static const unsigned size[] = {1, 2, 3, 7, 100, 255, 1023, 32767, 32768};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i;

	if (!start("adaptive", ""))
		return;
	format = FAKE_VM_PACKED;
	for (i = 0; i < 9; i++) {
		a.ring_size = size[i];
		b.ring_size = size[8 - i];
		CU_ASSERT(talk(&a, &b, 100));
		format ^= FAKE_VM_IN_ORDER;
	}
	format = 0;
	stop();
}

/* A format in which one VM has it, the other has not. */
static void test_formats(void)
{
	static const uint64_t formats[] = {0, FAKE_VM_PACKED, FAKE_VM_IN_ORDER,
					   FAKE_VM_PACKED | FAKE_VM_IN_ORDER};
	struct fake_vm_options a = {0}, b = {0};
	unsigned i, j;

	if (!start("adaptive", ""))
		return;
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 4; j++) {
			a.features = FAKE_VM_ALL | formats[i];
			b.features = FAKE_VM_ALL | formats[j];
			a.send.pieces = b.recv.pieces = 1 + (i + j) % 3;
			a.send.indirect = i & 1;
			CU_ASSERT(talk(&a, &b, 500));
		}
	}
	stop();
}

static void with(uint64_t bits, void (*test)(void))
{
	format = bits;
	test();
	format = 0;
}

static void test_packed_layouts(void)
{
	with(FAKE_VM_PACKED, test_layouts);
}

static void test_packed_mergeable(void)
{
	with(FAKE_VM_PACKED, test_mergeable);
	with(FAKE_VM_PACKED | FAKE_VM_IN_ORDER, test_large);
}

static void test_packed_polling(void)
{
	with(FAKE_VM_PACKED, test_poll_modes);
	with(FAKE_VM_PACKED, test_calls);
}

static void test_packed_life(void)
{
	with(FAKE_VM_PACKED, test_stop_and_start);
	with(FAKE_VM_PACKED, test_reconnect);
	with(FAKE_VM_PACKED, test_full);
}

static void test_in_order_life(void)
{
	with(FAKE_VM_IN_ORDER, test_stop_and_start);
	with(FAKE_VM_IN_ORDER, test_mergeable);
	with(FAKE_VM_PACKED | FAKE_VM_IN_ORDER, test_stop_and_start);
}

static const struct check tests[] = {
	{"sizes", test_sizes},
	{"features", test_features},
	{"layouts", test_layouts},
	{"mergeable", test_mergeable},
	{"ring sizes", test_ring_sizes},
	{"regions", test_regions},
	{"wrap", test_wrap},
	{"poll modes", test_poll_modes},
	{"calls", test_calls},
	{"queue pairs", test_queue_pairs},
	{"stop and start", test_stop_and_start},
	{"reconnect", test_reconnect},
	{"full", test_full},
	{"large", test_large},
	{"formats", test_formats},
	{"packed: ring sizes", test_packed_sizes},
	{"packed: layouts", test_packed_layouts},
	{"packed: mergeable, large", test_packed_mergeable},
	{"packed: poll modes, calls", test_packed_polling},
	{"packed: stop, reconnect, full", test_packed_life},
	{"in order: stop, mergeable", test_in_order_life},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("fake_vm", tests, argc, argv);
}
