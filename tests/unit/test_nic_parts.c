/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames in several descriptors, over made-up AF_XDP rings: what no kernel would do on demand. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "nic/nic_queue.h"
#include "offload/offload.h"
#include "switch/frame.h"
#include "switch/switch.h"
#include "switch/worker.h"

/* No kernel, no root: this test is the kernel, and the worker. */
#define RING   1024
#define FRAMES 2048 /* for what comes in */
#define SIZE   UMEM_FRAME_LARGE
#define ROOM   (SIZE - UMEM_OUT_META)

struct rig {
	struct nic nic;
	struct nic_queue *q;
	struct nic_socket socket;
	struct vxs_port_stats stats;
	struct batch b;
	uint32_t fill_producer, fill_consumer, in_producer, in_consumer;
	uint32_t out_producer, out_consumer, done_producer, done_consumer, flags;
};

static struct worker worker = {.stats = &worker.own_stats}; /* never started: we are it */

static struct xsk_ring_prod make_prod(struct rig *r, uint32_t *producer, uint32_t *consumer,
				      uint32_t size, size_t entry)
{
	return (struct xsk_ring_prod){
		.mask = size - 1,
		.size = size,
		.cached_cons = size,
		.producer = producer,
		.consumer = consumer,
		.ring = calloc(size, entry),
		.flags = &r->flags,
	};
}

static struct xsk_ring_cons make_cons(struct rig *r, uint32_t *producer, uint32_t *consumer,
				      uint32_t size, size_t entry)
{
	return (struct xsk_ring_cons){
		.mask = size - 1,
		.size = size,
		.producer = producer,
		.consumer = consumer,
		.ring = calloc(size, entry),
		.flags = &r->flags,
	};
}

/* @out_frames: how many UMEM frames there are to send with. */
static struct rig *rig_new(unsigned out_frames)
{
	struct rig *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);
	struct nic_table *none;
	struct umem *u;
	uint64_t addr;
	unsigned i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	memset(r, 0, sizeof(*r));
	r->q = aligned_alloc(64, (sizeof(*r->q) + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->q);
	memset(r->q, 0, sizeof(*r->q));
	u = &r->q->umem;
	u->frame_size = SIZE;
	u->out_meta = UMEM_OUT_META;
	u->out_room = ROOM;
	u->size = (size_t)(FRAMES + out_frames) * SIZE;
	u->area = aligned_alloc(4096, u->size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(u->area);
	memset(u->area, 0xaa, u->size);
	u->fill = make_prod(r, &r->fill_producer, &r->fill_consumer, 2 * FRAMES, sizeof(uint64_t));
	u->completion = make_cons(r, &r->done_producer, &r->done_consumer, RING, sizeof(uint64_t));
	r->socket.in =
		make_cons(r, &r->in_producer, &r->in_consumer, RING, sizeof(struct xdp_desc));
	r->q->out = make_prod(r, &r->out_producer, &r->out_consumer, RING, sizeof(struct xdp_desc));
	for (i = 0; i < FRAMES; i++) {
		addr = (uint64_t)i * SIZE;
		CU_ASSERT(umem_fill(u, &addr, 1));
	}
	for (i = 0; i < out_frames; i++)
		u->free[u->n_free++] = (uint64_t)(FRAMES + i) * SIZE;
	r->q->sg = true;
	r->q->trunk.fd = r->q->busy_fd = r->q->out_fd = r->socket.fd = -1;
	r->socket.out = FRAME_PORT_NONE;
	CU_ASSERT_EQUAL_FATAL(pthread_spin_init(&r->q->lock, PTHREAD_PROCESS_PRIVATE), 0);
	CU_ASSERT_EQUAL_FATAL(nic_queue_publish(r->q, &r->socket, NULL, &none), 0);
	r->nic.queues = 1;
	r->nic.queue[0] = r->q;
	r->nic.mtu = 9000;
	r->nic.parts_max = NIC_PARTS_MAX;
	r->nic.port.id = VXS_PORT_UPLINK;
	r->nic.port.stats = &r->stats;
	return r;
}

static void rig_free(struct rig *r)
{
	pthread_spin_destroy(&r->q->lock);
	free(r->q->table);
	free(r->q->umem.fill.ring);
	free(r->q->umem.completion.ring);
	free(r->q->umem.area);
	free(r->q->out.ring);
	free(r->socket.in.ring);
	free(r->q);
	free(r);
}

/* ---- in ---- */

/* The kernel hands over @n descriptors of @len bytes each; the last one ends the frame, if @ends.
 */
static void arrive(struct rig *r, unsigned n, uint32_t len, bool ends)
{
	const uint64_t *fill = r->q->umem.fill.ring;
	struct xdp_desc *in = r->socket.in.ring;

	while (n--) {
		CU_ASSERT_FATAL(r->fill_producer != r->fill_consumer);
		CU_ASSERT_FATAL(r->in_producer - r->in_consumer < RING);
		in[r->in_producer % RING] = (struct xdp_desc){
			.addr = fill[r->fill_consumer++ % (2 * FRAMES)] + UMEM_HEADROOM,
			.len = len,
			.options = n || !ends ? XDP_PKT_CONTD : 0,
		};
		memset(umem_at(&r->q->umem, in[r->in_producer % RING].addr),
		       (int)(r->in_producer + 1), len);
		r->in_producer++;
	}
}

static unsigned come_in(struct rig *r)
{
	nic_in(&r->nic.port, &worker, 0, &r->b);
	return r->b.n;
}

static void give_back(struct rig *r)
{
	nic_done(&r->nic.port, &worker, 0, &r->b);
}

/* Nothing is left in the rings, and all UMEM frames are in the fill ring, each once. */
static void check_complete(struct rig *r)
{
	static bool seen[FRAMES];
	const uint64_t *fill = r->q->umem.fill.ring;
	uint32_t i;

	CU_ASSERT_EQUAL(come_in(r), 0);
	give_back(r);
	CU_ASSERT_EQUAL(r->in_producer, r->in_consumer);
	CU_ASSERT_EQUAL_FATAL(r->fill_producer - r->fill_consumer, FRAMES);
	memset(seen, 0, sizeof(seen));
	for (i = r->fill_consumer; i != r->fill_producer; i++) {
		uint64_t n = fill[i % (2 * FRAMES)] / SIZE;

		CU_ASSERT_FATAL(n < FRAMES && !seen[n]);
		seen[n] = true;
	}
}

/* A frame of @parts parts that were handed over as number @first and following. */
static bool is_frame(const struct rig *r, const struct frame *f, uint32_t first, unsigned parts,
		     uint32_t len)
{
	uint8_t *at = malloc(f->len);
	struct span to = {at, f->len};
	bool right = f->len == parts * len;
	unsigned i;

	frame_write(&to, 1, &r->b, f);
	for (i = 0; i < f->len; i++)
		right &= at[i] == (uint8_t)(first + i / len + 1);
	free(at);
	return right;
}

/* As those who look at headers and metadata in the UMEM rely on: a full head is there as well. */
static bool is_head_in_place(const struct rig *r, const struct frame *f)
{
	const struct piece *p = &r->b.piece[f->piece];

	return f->shape.head_len < FRAME_HEAD || !f->shape.n_pieces ||
	       !memcmp(p->at - FRAME_HEAD, f->head + FRAME_HEAD_ROOM, FRAME_HEAD);
}

/* Every number of parts there may be, and of every size of them. */
static void test_parts(void)
{
	static const uint32_t sizes[] = {1, 5, 14, 31, 32, 33, 1000, 3640};
	struct rig *r = rig_new(0);
	unsigned n, i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (n = 1; n <= NIC_PARTS_MAX; n++) {
			uint32_t first = r->in_producer;
			bool valid = n * sizes[i] >= FRAME_MIN;

			arrive(r, n, sizes[i], true);
			CU_ASSERT_EQUAL_FATAL(come_in(r), valid);
			CU_ASSERT(!valid || is_frame(r, &r->b.frame[0], first, n, sizes[i]));
			CU_ASSERT(!valid || is_head_in_place(r, &r->b.frame[0]));
			give_back(r);
		}
	}
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 0);
	CU_ASSERT_EQUAL(r->stats.drops.short_frame, 13 + 2);
	check_complete(r);
	rig_free(r);
}

/* One in more parts is dropped as it comes, and what comes behind it is not. */
static void test_too_many(void)
{
	static const unsigned counts[] = {NIC_PARTS_MAX + 1, 2 * NIC_PARTS_MAX, 255, 256, 257, 600};
	struct rig *r = rig_new(0);
	unsigned i, got = 0, rounds;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		arrive(r, counts[i], 100, true);
		arrive(r, 2, 100, true);
		for (rounds = 0, got = 0; rounds < 5; rounds++) {
			got += come_in(r);
			give_back(r);
		}
		CU_ASSERT_EQUAL(got, 1);
		CU_ASSERT_EQUAL(r->stats.drops.long_frame, i + 1);
		check_complete(r);
	}
	/* Longer than any frame may be. */
	arrive(r, 18, 3840, true);
	CU_ASSERT_EQUAL(come_in(r), 0);
	give_back(r);
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, i + 1);
	CU_ASSERT_EQUAL(r->stats.in_frames, 2 * i + 1);
	check_complete(r);
	rig_free(r);
}

/* A frame whose end isn't there yet waits in the ring for it. */
static void test_incomplete(void)
{
	struct rig *r = rig_new(0);
	uint32_t first;
	unsigned i;

	arrive(r, 3, 1000, true);
	first = r->in_producer;
	arrive(r, 1, 1000, false);
	CU_ASSERT_EQUAL(come_in(r), 1);
	give_back(r);
	for (i = 0; i < NIC_PARTS_MAX - 2; i++) {
		CU_ASSERT_EQUAL(come_in(r), 0);
		give_back(r);
		arrive(r, 1, 1000, false);
	}
	CU_ASSERT_EQUAL(come_in(r), 0);
	give_back(r);
	arrive(r, 1, 1000, true);
	CU_ASSERT_EQUAL(come_in(r), 1);
	CU_ASSERT(is_frame(r, &r->b.frame[0], first, NIC_PARTS_MAX, 1000));
	give_back(r);
	/* One too many, one by one. */
	for (i = 0; i < 50; i++) {
		arrive(r, 1, 1000, false);
		CU_ASSERT_EQUAL(come_in(r), 0);
		give_back(r);
	}
	arrive(r, 1, 1000, true);
	CU_ASSERT_EQUAL(come_in(r), 0);
	give_back(r);
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 1);
	check_complete(r);
	rig_free(r);
}

/* A batch is full in the middle of a frame, wherever that is. */
static void test_batch_ends(void)
{
	struct rig *r = rig_new(0);
	unsigned parts, n, i, sent;
	uint32_t first;

	for (parts = 1; parts <= NIC_PARTS_MAX; parts++) {
		sent = RING / parts;
		first = r->in_producer;
		for (i = 0; i < sent; i++)
			arrive(r, parts, 60, true);
		for (n = 0; n < sent; n += r->b.n) {
			CU_ASSERT_FATAL(come_in(r) > 0);
			CU_ASSERT(r->b.n == BATCH_FRAMES / parts || n + r->b.n == sent);
			for (i = 0; i < r->b.n; i++)
				CU_ASSERT(is_frame(r, &r->b.frame[i], first + (n + i) * parts,
						   parts, 60));
			give_back(r);
		}
		check_complete(r);
	}
	rig_free(r);
}

/* ---- out ---- */

static uint8_t data[65536];

static void put_out(struct rig *r, unsigned n, uint32_t len, const struct frame_offload *o)
{
	uint16_t which[BATCH_FRAMES];
	unsigned i;

	memset(&r->b, 0, offsetof(struct batch, frame));
	r->b.n = n;
	r->b.open = o != NULL;
	for (i = 0; i < n; i++) {
		struct frame *f = &r->b.frame[i];

		*f = (struct frame){.len = len, .shape = frame_plain, .piece = i};
		memcpy(f->head + FRAME_HEAD_ROOM, data, FRAME_HEAD);
		r->b.piece[i] = (struct piece){data + FRAME_HEAD, len - FRAME_HEAD};
		if (o)
			f->offload = *o;
		which[i] = i;
	}
	r->b.n_pieces = n;
	nic_out(&r->nic.port, &worker, &r->b, which, n);
}

static const struct xdp_desc *out_desc(const struct rig *r, uint32_t i)
{
	return &((struct xdp_desc *)r->q->out.ring)[i % RING];
}

static void fill_data(void)
{
	unsigned i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 256;
	memcpy(data, (uint8_t[16]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0}, 16);
}

static void test_out(void)
{
	static const uint32_t lens[] = {33,       60,           ROOM - 1, ROOM, ROOM + 1,
					2 * ROOM, 2 * ROOM + 1, 9000,     9014};
	struct rig *r = rig_new(64);
	uint32_t at = 0;
	unsigned i, k;

	fill_data();
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		unsigned parts = (lens[i] + ROOM - 1) / ROOM;
		uint32_t done = 0;

		put_out(r, 1, lens[i], NULL);
		CU_ASSERT_EQUAL_FATAL(r->out_producer - at, parts);
		for (k = 0; k < parts; k++, at++) {
			const struct xdp_desc *d = out_desc(r, at);

			CU_ASSERT_EQUAL(d->options, k + 1 < parts ? XDP_PKT_CONTD : 0);
			CU_ASSERT_EQUAL(d->addr % SIZE, UMEM_OUT_META);
			CU_ASSERT(!memcmp(umem_at(&r->q->umem, d->addr), data + done, d->len));
			done += d->len;
		}
		CU_ASSERT_EQUAL(done, lens[i]);
	}
	CU_ASSERT_EQUAL(r->stats.out_frames, i);
	rig_free(r);
}

/* Either the whole frame finds UMEM frames, or none is taken for it. */
static void test_all_or_none(void)
{
	struct rig *r = rig_new(8);

	fill_data();
	put_out(r, 4, 9014, NULL);
	CU_ASSERT_EQUAL(r->stats.out_frames, 2);
	CU_ASSERT_EQUAL(r->stats.drops.nic_full, 2);
	CU_ASSERT_EQUAL(r->q->umem.n_free, 2);
	CU_ASSERT_EQUAL(r->out_producer, 6);
	put_out(r, 4, 60, NULL); /* shorter ones still do */
	CU_ASSERT_EQUAL(r->stats.out_frames, 4);
	CU_ASSERT_EQUAL(r->stats.drops.nic_full, 4);
	rig_free(r);
}

/* A TCP frame whose checksum is open, to be cut every 1000 bytes. */
static struct frame_offload open_tcp(uint32_t len)
{
	memset(data + 14, 0, 40);
	data[14] = 0x45;
	data[16] = (len - 14) >> 8;
	data[17] = len - 14;
	data[14 + 9] = 6;
	data[34 + 12] = 0x50;
	return (struct frame_offload){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1000,
		.csum_start = 34,
		.csum_offset = 16,
	};
}

/* What a frame that is cut asks of the NIC; one that ends halfway is one dropped frame. */
static void test_cuts(void)
{
	struct rig *r = rig_new(8);
	struct umem_out_meta meta;
	struct frame_offload o;
	unsigned i;

	fill_data();
	o = open_tcp(54 + 5000);
	put_out(r, 2, 54 + 5000, &o);
	CU_ASSERT_EQUAL(r->out_producer, 8);
	CU_ASSERT_EQUAL(r->stats.out_frames, 8);
	CU_ASSERT_EQUAL(r->stats.drops.nic_full, 1);
	for (i = 0; i < 8; i++) {
		const struct xdp_desc *d = out_desc(r, i);

		CU_ASSERT_EQUAL(d->len, 1054);
		CU_ASSERT_EQUAL(d->options, XDP_TX_METADATA);
		memcpy(&meta, umem_at(&r->q->umem, d->addr) - UMEM_OUT_META, sizeof(meta));
		CU_ASSERT_EQUAL(meta.flags, XDP_TXMD_FLAGS_CHECKSUM);
		CU_ASSERT_EQUAL(meta.csum_start, 34);
		CU_ASSERT_EQUAL(meta.csum_offset, 16);
		CU_ASSERT(!memcmp(umem_at(&r->q->umem, d->addr) + 54, data + 54 + i % 5 * 1000,
				  1000));
	}
	rig_free(r);
	r = rig_new(8);
	o.gso_size = 4990; /* a cut in two UMEM frames */
	put_out(r, 1, 54 + 5000, &o);
	CU_ASSERT_EQUAL_FATAL(r->out_producer, 3);
	CU_ASSERT_EQUAL(out_desc(r, 0)->options, XDP_TX_METADATA | XDP_PKT_CONTD);
	CU_ASSERT_EQUAL(out_desc(r, 1)->options, 0);
	CU_ASSERT_EQUAL(out_desc(r, 2)->options, XDP_TX_METADATA);
	CU_ASSERT_EQUAL(r->stats.out_frames, 2);
	rig_free(r);
}

/* The MTU is of what leaves, and what doesn't fit it isn't cut for it. */
static void test_mtu(void)
{
	struct rig *r = rig_new(8);
	struct frame_offload o;

	fill_data();
	put_out(r, 1, 9015, NULL);
	CU_ASSERT_EQUAL(r->stats.drops.too_big, 1);
	r->nic.mtu = 1040;
	o = open_tcp(54 + 5000);
	put_out(r, 1, 54 + 5000, &o);
	CU_ASSERT_EQUAL(r->stats.out_frames, 5);
	r->nic.mtu = 1039;
	put_out(r, 1, 54 + 5000, &o);
	CU_ASSERT_EQUAL(r->stats.drops.too_big, 2);
	CU_ASSERT_EQUAL(r->stats.out_frames, 5);
	rig_free(r);
}

static const struct check tests[] = {
	{"parts", test_parts},
	{"too_many", test_too_many},
	{"incomplete", test_incomplete},
	{"batch_ends", test_batch_ends},
	{"out", test_out},
	{"all_or_none", test_all_or_none},
	{"cuts", test_cuts},
	{"mtu", test_mtu},
	{},
};

int main(int argc, char **argv)
{
	return check_main("nic_parts", tests, argc, argv);
}
