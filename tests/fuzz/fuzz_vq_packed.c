/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packed rings whose memory is the input: descriptors, event structures and buffers. */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "fuzz/fuzz.h"
#include "vm/vq.h"
#include "vxs_bpf.h"

/*
 * Input: the ring's size - 1 (7 bits), features, the base (place and wrap counter, both halves),
 * then guest memory from address 0 on. The ring lies at 0, driver and device events behind it. What
 * the input doesn't fill is 0. Between the rounds the other guest's memory takes its turns: what
 * one gave back as used, the other finds available.
 *
 * Three regions, each an allocation of its own so that AddressSanitizer knows its ends: two that
 * follow each other, and one alone.
 */
#define LOW_SIZE  8192
#define HIGH_SIZE 1024
#define FAR_GPA   0x4000
#define FAR_SIZE  100

struct guest {
	struct vu_mem mem;
	struct vq *q;
	struct vxs_port_stats stats;
};

static void add_region(struct guest *g, uint64_t gpa, size_t size, struct fuzz_input *in)
{
	struct vu_region *r = &g->mem.region[g->mem.n++];
	void *at;

	if (posix_memalign(&at, 64, size))
		abort();
	fuzz_take(in, at, size);
	*r = (struct vu_region){
		.gpa = gpa, .uva = gpa, .size = size, .at = at, .map = at, .map_len = size};
}

static bool open_guest(struct guest *g, struct fuzz_input in)
{
	unsigned size = (fuzz_take_u8(&in) & 127) + 1, flags = fuzz_take_u8(&in);
	struct vq_setup setup = {.mem = &g->mem, .size = size, .call_fd = -1, .enabled = flags & 1};

	memset(g, 0, sizeof(*g));
	if (flags & 2)
		setup.features |= 1ull << VIRTIO_F_VERSION_1;
	if (flags & 4)
		setup.features |= 1ull << VIRTIO_NET_F_MRG_RXBUF;
	if (flags & 8)
		setup.features |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	if (flags & 16)
		setup.features |= 1ull << VIRTIO_RING_F_EVENT_IDX;
	if (flags & 32)
		setup.features |= 1ull << VIRTIO_F_IN_ORDER;
	if (flags & 64)
		setup.features |= 1ull << VIRTIO_F_NOTIFY_ON_EMPTY;
	setup.features |= 1ull << VIRTIO_F_RING_PACKED;
	setup.base = fuzz_take_u16(&in);
	setup.base |= setup.base << 16;
	add_region(g, 0, LOW_SIZE, &in);
	add_region(g, LOW_SIZE, HIGH_SIZE, &in);
	add_region(g, FAR_GPA, FAR_SIZE, &in);
	setup.avail_uva = 16 * size;
	setup.used_uva = 16 * size + 4;
	return !vq_new(&g->q, &setup);
}

static void close_guest(struct guest *g)
{
	unsigned i;

	vq_free(g->q);
	for (i = 0; i < g->mem.n; i++)
		free(g->mem.region[i].at);
}

static bool is_inside(const struct guest *g, const uint8_t *at, size_t len)
{
	unsigned i;

	for (i = 0; i < g->mem.n; i++) {
		const struct vu_region *r = &g->mem.region[i];

		if (at >= r->at && at + len <= r->at + r->size)
			return true;
	}
	return false;
}

static void check_batch(const struct guest *g, const struct batch *b)
{
	unsigned i, k;

	FUZZ_CHECK(b->n <= BATCH_FRAMES && b->n_pieces <= BATCH_PIECES);
	for (i = 0; i < b->n; i++) {
		const struct frame *f = &b->frame[i];
		uint64_t len = f->shape.head_len;

		FUZZ_CHECK(f->len >= FRAME_MIN && f->len <= FRAME_MAX);
		FUZZ_CHECK(f->shape.head_len == (f->len < FRAME_HEAD ? f->len : FRAME_HEAD));
		FUZZ_CHECK(f->shape.head_at + f->shape.head_len <= (int)sizeof(f->head));
		FUZZ_CHECK(f->piece + f->shape.n_pieces <= b->n_pieces);
		for (k = f->piece; k < f->piece + f->shape.n_pieces; k++) {
			FUZZ_CHECK(is_inside(g, b->piece[k].at, b->piece[k].len));
			len += b->piece[k].len;
		}
		FUZZ_CHECK(len == f->len);
	}
}

static unsigned all_drops(const struct vxs_port_stats *stats)
{
	const __u64 *drop = (const __u64 *)&stats->drops;
	unsigned i, sum = 0;

	for (i = 0; i < sizeof(stats->drops) / sizeof(*drop); i++)
		sum += drop[i];
	return sum;
}

/* Takes what the one guest sends, and gives it to the other: every frame must be accounted for. */
static void forward(struct guest *from, struct guest *to)
{
	static struct batch b;
	uint16_t which[BATCH_FRAMES], i;
	unsigned taken, sent, dropped, before = all_drops(&from->stats);

	taken = vq_packed_in(from->q, &from->stats, &b);
	FUZZ_CHECK(taken <= BATCH_FRAMES && b.n <= taken);
	FUZZ_CHECK(all_drops(&from->stats) - before == taken - b.n);
	check_batch(from, &b);
	for (i = 0; i < b.n; i++)
		which[i] = i;
	dropped = all_drops(&to->stats);
	sent = vq_packed_out(to->q, &to->stats, &b, which, b.n);
	FUZZ_CHECK(sent + (all_drops(&to->stats) - dropped) == b.n);
	vq_packed_done(from->q);
	FUZZ_CHECK(taken <= from->q->size && vq_base(from->q) >> 16 == (vq_base(from->q) & 65535));
	FUZZ_CHECK(vq_base(to->q) >> 16 == (vq_base(to->q) & 65535));
	FUZZ_CHECK(from->q->avail_at < from->q->size && to->q->avail_at < to->q->size);
	vq_packed_wait(from->q, true);
	vq_packed_wait(from->q, false);
}

/* What is used becomes available for the next lap, as a driver would have it that changes nothing.
 */
static void turn_flags(struct guest *g)
{
	const uint16_t avail = 1u << VRING_PACKED_DESC_F_AVAIL,
		       used = 1u << VRING_PACKED_DESC_F_USED;
	unsigned i;

	for (i = 0; i < g->q->size; i++) {
		uint16_t flags = g->q->ring[i].flags;

		if (!(flags & avail) == !(flags & used))
			g->q->ring[i].flags = flags ^ avail;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct guest from, to;
	unsigned i;

	/* both have the same memory to begin with: what one reads, the other writes */
	if (open_guest(&from, in) && open_guest(&to, in)) {
		for (i = 0; i < 8; i++) {
			forward(&from, &to);
			turn_flags(&from);
			turn_flags(&to);
		}
		close_guest(&to);
	}
	close_guest(&from);
	return 0;
}
