/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs the ways of a frame through the switch, for callgrind to count instructions (insn.sh). */
#include "bench.h"

#include "nic/nic_queue.h"
#include "switch/account.h"
#include "switch/switch.h"
#include "unit/packed_rig.h"
#include "vm/vm.h"

/*
 * Theory of operation
 *
 * One worker that doesn't run, and in its place this thread, with everything in plain memory: two
 * guests' rings, or one guest's and a NIC queue whose rings the kernel would have mapped. Each
 * round the other side offers a full batch, and insn_round() does what a worker does with it:
 * in(), switch_batch() and so out(), done(). callgrind counts inside of insn_round() alone, and
 * writes its sum whenever insn_path() ends; for each of these sums, in the same order, there is a
 * line here: "NAME FRAMES".
 *
 * The guests poll, so nobody is notified, as with real ones under load.
 */
#define RING    1024
#define ROUNDS  200
#define WARM_UP 10
#define VM_A    (VXS_PORT_VM + 0)
#define VM_B    (VXS_PORT_VM + 1)
#define SLOT    2048                  /* bytes of a buffer's place */
#define TABLES  (2u << 20)            /* indirect tables, behind the buffers */
#define RX_ROOM (UMEM_HEADROOM + 256) /* before a frame that comes from the kernel */
#define RX_RING NIC_VM_RING
#define MERGE   1024 /* a mergeable buffer: 1500 bytes take two */
#define BUFFER  1536

_Static_assert(RING / 2 >= 2 * BATCH_FRAMES, "a batch finds buffers, two for each frame");
_Static_assert(RING / 2 * SLOT <= TABLES, "buffers end before the tables");

enum layout { ONE, TWO, INDIRECT };

static const struct ring_kind {
	const char *name;
	uint64_t features;
	enum layout layout;
	unsigned buffer;
} kinds[] = {
	{"one", RIG_V1, ONE, BUFFER},
	{"two", RIG_V1, TWO, BUFFER},
	{"indirect", RIG_V1 | RIG_INDIRECT, INDIRECT, BUFFER},
	{"mergeable", RIG_V1 | RIG_MRG, ONE, MERGE},
	{"event", RIG_V1 | RIG_EVENT, ONE, BUFFER},
	{"packed-one", RIG_V1 | RIG_PACKED, ONE, BUFFER},
	{"packed-two", RIG_V1 | RIG_PACKED, TWO, BUFFER},
	{"packed-indirect", RIG_V1 | RIG_PACKED | RIG_INDIRECT, INDIRECT, BUFFER},
	{"packed-mergeable", RIG_V1 | RIG_PACKED | RIG_MRG, ONE, MERGE},
	{"packed-in-order", RIG_V1 | RIG_PACKED | RIG_IN_ORDER, ONE, BUFFER},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct lab {
	const struct ring_kind *kind;
	unsigned size; /* of the frames */
	uint8_t frame[BENCH_FRAME];

	struct worker *w;
	struct vswitch sw;
	struct port_table table;
	struct vxs_port_stats stats[VXS_PORTS_MAX];
	struct vm a, b;
	struct rig *a_in, *b_out; /* the guests' transmit and receive ring */

	struct nic nic;
	struct nic_queue *q;
	struct nic_socket socket;
	uint32_t fill_producer, fill_consumer, in_producer, in_consumer, flags;
	uint32_t out_producer, out_consumer, sent_producer, sent_consumer;

	struct port *from;
	uint32_t to;
};

static void fail(const char *why)
{
	bench_die("insn", why);
}

/* ---- the guests ---- */

/* Writes the descriptors of buffer @slot: header and frame in @room bytes. */
static void write_slot(struct lab *l, struct rig *r, unsigned slot, uint32_t room, uint16_t flags)
{
	uint64_t gpa = RIG_DATA + (uint64_t)slot * SLOT, table = RIG_DATA + TABLES + slot * 32ull;
	uint32_t cut[2] = {r->hdr_len, room};

	if (l->kind->layout == ONE) {
		rig_desc(r->desc, slot, gpa, room, flags, 0);
	} else if (l->kind->layout == TWO) {
		rig_chain(r->desc, 2 * slot, gpa, cut, 2, flags);
	} else {
		rig_chain(rig_at(r, table), 0, gpa, cut, 2, flags);
		rig_desc(r->desc, slot, table, 32, VRING_DESC_F_INDIRECT, 0);
	}
}

/* The same for a packed ring, whose descriptors are written each time anew. */
static void offer_packed(struct lab *l, struct rig *r, unsigned slot, bool sends)
{
	uint64_t gpa = RIG_DATA + (uint64_t)slot * SLOT, table = RIG_DATA + TABLES + slot * 32ull;
	uint32_t room = sends ? r->hdr_len + l->size : l->kind->buffer;
	uint32_t cut[2] = {r->hdr_len, room};
	uint16_t flags = sends ? 0 : VRING_DESC_F_WRITE;

	if (l->kind->layout == ONE)
		packed_offer(r, gpa, room, slot, flags);
	else if (l->kind->layout == TWO)
		packed_chain(r, gpa, cut, 2, slot, flags);
	else
		packed_table(r, table, gpa, cut, 2, slot, flags);
}

/* Offers the next @n of @slots buffers, which the switch is done with. */
static void offer(struct lab *l, struct rig *r, unsigned slots, unsigned n)
{
	unsigned per = l->kind->layout == TWO ? 2 : 1;

	for (; r->ring && n; n--)
		offer_packed(l, r, r->avail_at / per % slots, r == l->a_in);
	while (n--)
		rig_offer(r, r->avail_at % slots * per);
}

static bool is_packed(const struct lab *l)
{
	return l->kind->features & RIG_PACKED;
}

static struct rig *guest_ring(struct lab *l, bool sends)
{
	struct rig *r = rig_new(RING, l->kind->features, is_packed(l) ? 0x8000 : 0);
	unsigned i;

	for (i = 0; i < RING / 2; i++) {
		if (sends)
			memcpy((uint8_t *)rig_at(r, RIG_DATA + i * SLOT) + r->hdr_len, l->frame,
			       l->size);
		if (!r->ring)
			write_slot(l, r, i, sends ? r->hdr_len + l->size : l->kind->buffer,
				   sends ? 0 : VRING_DESC_F_WRITE);
	}
	if (r->ring)
		r->driver->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	if (l->kind->features & RIG_EVENT)
		r->avail->ring[RING] = UINT16_MAX; /* used_event: just behind */
	if (!sends)
		offer(l, r, RING / 2, RING / 2);
	return r;
}

static void add_vm(struct lab *l, struct vm *vm, uint32_t id, const uint8_t *mac)
{
	struct port *p = &vm->port;

	p->ops = &vm_port_ops;
	p->id = id;
	p->kind = VXS_KIND_VM;
	p->learn = true;
	p->n_in = 1;
	p->stats = &l->stats[id];
	p->worker[0] = l->w;
	l->table.all[l->table.n++] = p;
	l->table.by_id[id] = p;
	if (fdb_set(l->sw.fdb, fdb_key(fdb_mac(mac), 0), id, false, 0) < 0)
		fail("fdb_set");
}

/* ---- the NIC ---- */

static const struct port_ops nic_ops = {.in = nic_in, .done = nic_done, .out = nic_out};

static void make_out_rings(struct lab *l)
{
	struct umem *u = &l->q->umem;
	unsigned i;

	l->q->out = (struct xsk_ring_prod){
		.mask = UMEM_OUT_FRAMES - 1,
		.size = UMEM_OUT_FRAMES,
		.cached_cons = UMEM_OUT_FRAMES,
		.producer = &l->out_producer,
		.consumer = &l->out_consumer,
		.ring = calloc(UMEM_OUT_FRAMES, sizeof(struct xdp_desc)),
		.flags = &l->flags,
	};
	u->completion = (struct xsk_ring_cons){
		.mask = UMEM_OUT_FRAMES - 1,
		.size = UMEM_OUT_FRAMES,
		.producer = &l->sent_producer,
		.consumer = &l->sent_consumer,
		.ring = calloc(UMEM_OUT_FRAMES, sizeof(uint64_t)),
		.flags = &l->flags,
	};
	if (!l->q->out.ring || !u->completion.ring)
		fail("out of memory");
	for (i = 0; i < UMEM_OUT_FRAMES; i++)
		u->free[u->n_free++] = (uint64_t)(UMEM_IN_FRAMES + i) * u->frame_size;
	pthread_spin_init(&l->q->lock, PTHREAD_PROCESS_PRIVATE);
}

static void make_nic(struct lab *l)
{
	struct umem *u;
	struct nic_table *old;
	uint64_t addr;
	unsigned i;

	l->q = aligned_alloc(64, (sizeof(*l->q) + 63) / 64 * 64);
	if (!l->q)
		fail("out of memory");
	memset(l->q, 0, sizeof(*l->q));
	u = &l->q->umem;
	u->frame_size = UMEM_FRAME_SMALL;
	u->out_room = u->frame_size;
	u->size = (size_t)(UMEM_IN_FRAMES + UMEM_OUT_FRAMES) * u->frame_size;
	u->area = aligned_alloc(4096, u->size);
	u->fill = (struct xsk_ring_prod){
		.mask = UMEM_FILL_SIZE - 1,
		.size = UMEM_FILL_SIZE,
		.cached_cons = UMEM_FILL_SIZE,
		.producer = &l->fill_producer,
		.consumer = &l->fill_consumer,
		.ring = calloc(UMEM_FILL_SIZE, sizeof(uint64_t)),
		.flags = &l->flags,
	};
	l->socket.in = (struct xsk_ring_cons){
		.mask = RX_RING - 1,
		.size = RX_RING,
		.producer = &l->in_producer,
		.consumer = &l->in_consumer,
		.ring = calloc(RX_RING, sizeof(struct xdp_desc)),
		.flags = &l->flags,
	};
	if (!u->area || !u->fill.ring || !l->socket.in.ring)
		fail("out of memory");
	for (i = 0; i < UMEM_IN_FRAMES; i++) {
		addr = (uint64_t)i * u->frame_size;
		memcpy(u->area + addr + RX_ROOM, l->frame, l->size);
		if (!umem_fill(u, &addr, 1))
			fail("no room in the fill ring");
	}
	make_out_rings(l);
	l->socket.out = VM_B;
	l->socket.fd = l->q->trunk.fd = l->q->busy_fd = -1;
	if (nic_queue_publish(l->q, &l->socket, NULL, &old))
		fail("out of memory");
	l->nic.queues = 1;
	l->nic.queue[0] = l->q;
	l->nic.mtu = 1500;
	l->nic.parts_max = 1;
	l->nic.port.ops = &nic_ops;
	l->nic.port.id = VXS_PORT_UPLINK;
	l->nic.port.kind = VXS_KIND_UPLINK;
	l->nic.port.group = PORT_GROUP_WIRE;
	l->nic.port.learn = true;
	l->nic.port.stats = &l->stats[VXS_PORT_UPLINK];
	l->table.by_id[VXS_PORT_UPLINK] = &l->nic.port;
}

static void free_nic(struct lab *l)
{
	if (!l->q)
		return;
	free(l->q->table);
	free(l->q->umem.fill.ring);
	free(l->q->umem.area);
	free(l->socket.in.ring);
	free(l->q->out.ring);
	free(l->q->umem.completion.ring);
	free(l->q);
}

/* What the kernel does: takes buffers off the fill ring, and puts frames into the receive ring. */
static void kernel_receives(struct lab *l, unsigned n)
{
	const uint64_t *fill = l->q->umem.fill.ring;
	struct xdp_desc *in = l->socket.in.ring;

	while (n--) {
		in[l->in_producer++ % RX_RING] = (struct xdp_desc){
			.addr = fill[l->fill_consumer++ % UMEM_FILL_SIZE] + RX_ROOM,
			.len = l->size,
		};
	}
}

/* What the kernel does: sends all that there is, and gives the UMEM frames back. */
static void kernel_sends(struct lab *l)
{
	const struct xdp_desc *out = l->q->out.ring;
	uint64_t *sent = l->q->umem.completion.ring;

	while (l->out_consumer != l->out_producer)
		sent[l->sent_producer++ % UMEM_OUT_FRAMES] =
			out[l->out_consumer++ % UMEM_OUT_FRAMES].addr;
}

/* ---- what is counted ---- */

void insn_round(struct lab *l);
void insn_path(struct lab *l);

static inline void do_round(struct lab *l)
{
	struct batch *b = &l->w->batch;
	struct port *p = l->from;

	p->ops->in(p, l->w, 0, b);
	b->in = p;
	b->in_queue = 0;
	switch_batch(l->w, b);
	p->ops->done(p, l->w, 0, b);
	account_batch(l->w, b);
}

__attribute__((noinline)) void insn_round(struct lab *l)
{
	do_round(l);
}

/* A round, with what guests and kernel do before and after it. */
static void turn(struct lab *l, bool count)
{
	uint16_t used = is_packed(l) ? 0 : l->b_out->used->idx;
	struct vring_packed_desc d;
	unsigned n = 0;

	if (l->from == &l->nic.port)
		kernel_receives(l, BATCH_FRAMES);
	else
		offer(l, l->a_in, RING / 2, BATCH_FRAMES);
	if (count)
		insn_round(l);
	else
		do_round(l);
	if (is_packed(l))
		while (packed_used(l->b_out, &d))
			n++;
	else
		n = (uint16_t)(l->b_out->used->idx - used);
	offer(l, l->b_out, RING / 2, n);
	if (l->q)
		kernel_sends(l);
}

__attribute__((noinline)) void insn_path(struct lab *l)
{
	unsigned i;

	for (i = 0; i < ROUNDS; i++)
		turn(l, true);
}

/* ---- */

/* The ways, and which of their ends is the wire's. */
static const struct way {
	const char *name;
	bool from_wire, to_wire;
	unsigned kinds; /* of rings, the first ones */
} ways[] = {
	{"vm-vm", false, false, KINDS},
	{"wire-vm", true, false, 5},
	{"vm-wire", false, true, 1},
};

static struct lab *lab_new(const struct way *way, const struct ring_kind *kind, unsigned size)
{
	struct lab *l = calloc(1, sizeof(*l));

	if (!l)
		fail("out of memory");
	l->kind = kind;
	l->size = size;
	bench_frame(l->frame, bench_mac_b, bench_mac_a, size);
	l->sw.fdb = fdb_new();
	l->sw.ports = &l->table;
	if (!l->sw.fdb || worker_new(&l->w, 0, &l->sw))
		fail("out of memory");
	add_vm(l, &l->b, VM_B, bench_mac_b);
	l->b_out = guest_ring(l, false);
	l->b.out[0] = l->b_out->q;
	l->b.n_out = 1;
	l->to = way->to_wire ? VXS_PORT_UPLINK : VM_B;
	if (way->from_wire || way->to_wire)
		make_nic(l);
	if (way->to_wire)
		fdb_set(l->sw.fdb, fdb_key(fdb_mac(bench_mac_b), 0), VXS_PORT_UPLINK, false, 0);
	if (way->from_wire) {
		l->from = &l->nic.port;
		fdb_set(l->sw.fdb, fdb_key(fdb_mac(bench_mac_a), 0), VXS_PORT_UPLINK, false, 0);
	} else {
		add_vm(l, &l->a, VM_A, bench_mac_a);
		l->a_in = guest_ring(l, true);
		l->a.in[0] = l->a_in->q;
		l->from = &l->a.port;
	}
	return l;
}

static void lab_free(struct lab *l)
{
	free_nic(l);
	rig_free(l->b_out);
	if (l->a_in)
		rig_free(l->a_in);
	worker_free(l->w);
	fdb_free(l->sw.fdb);
	free(l);
}

/* All frames have arrived, and the last of them unharmed; or the count is worth nothing. */
static void check(struct lab *l, unsigned frames)
{
	struct rig *r = l->b_out;
	const uint8_t *at = rig_at(r, RIG_DATA);

	if (l->stats[l->to].out_frames != frames ||
	    l->stats[l->to].out_bytes != (uint64_t)frames * l->size)
		fail("frames are lost");
	if (l->to == VXS_PORT_UPLINK) {
		at = umem_at(&l->q->umem, ((const struct xdp_desc *)l->q->out.ring)->addr);
		if (memcmp(at, l->frame, l->size))
			fail("frames are wrong");
		return;
	}
	if (l->kind->buffer - r->hdr_len < l->size)
		return;
	if (memcmp(at + r->hdr_len, l->frame, l->size))
		fail("frames are wrong");
}

static void measure(const struct way *way, const struct ring_kind *kind, unsigned size)
{
	struct lab *l = lab_new(way, kind, size);
	unsigned i;

	for (i = 0; i < WARM_UP; i++)
		turn(l, false);
	insn_path(l);
	check(l, (ROUNDS + WARM_UP) * BATCH_FRAMES);
	printf("%s-%s-%u %u\n", way->name, kind->name, size, ROUNDS * BATCH_FRAMES);
	lab_free(l);
}

int main(void)
{
	static const unsigned sizes[] = {64, 1500};
	unsigned w, k, s;

	for (w = 0; w < sizeof(ways) / sizeof(ways[0]); w++)
		for (k = 0; k < ways[w].kinds; k++)
			for (s = 0; s < 2; s++)
				measure(&ways[w], &kinds[k], sizes[s]);
	return 0;
}
