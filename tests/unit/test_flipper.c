/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Guests that rewrite what was just read of them: only what was checked is used. */
#include "packed_rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "offload/cutter.h"

/*
 * No second thread, which would have to be lucky: the guest's memory is out of reach while the
 * switch's side runs, so each access to it traps. The access is then let through alone (the CPU's
 * trap flag), and the guest "rewrites" what was read, at once. Each run does so at one access, in
 * one way; there are runs for all accesses and all ways.
 *
 * Whatever the switch makes of it: pieces of frames are in the guest's memory and as long as the
 * frame says, offloads are what offload.h promises, no place of the ring is taken twice, and
 * nothing outside the guest's memory is touched.
 */
#define SIZE  4
#define SLOT  4096u /* bytes between buffers; they follow the page that the ring is in */
#define SENT  100u  /* bytes of a frame */
#define ROOM  300u  /* and of a buffer to receive */
#define AVAIL 1024u /* where the other parts of the ring are in its page */
#define USED  2048u
#define WAYS  16
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STRIDE 5 /* traps are slow, and with sanitizers there are many more */
#else
#define STRIDE 1
#endif

#define IN_ORDER_OF(list, i) ((list)[(i) % (sizeof(list) / sizeof((list)[0]))])

static struct {
	uint8_t *at; /* what is out of reach: the ring's page and the buffers */
	uint64_t gpa;
	size_t len;
	struct rig *r;
	unsigned accesses; /* so far in this run */
	unsigned when, way;
	uint8_t *fault;
	bool wrote;
	bool done; /* the rest of this run is as fast as ever */
} trap;

static uint64_t slot(unsigned i)
{
	return trap.gpa + (i + 1) * SLOT;
}

/* ---- what the guest does ---- */

static const uint32_t lens[] = {0, 11, 13, 26, 40, 65600, 1u << 31, UINT32_MAX};
static const uint64_t addresses[] = {RIG_NEXT + RIG_NEXT_SIZE - 16, RIG_FAR + RIG_FAR_SIZE - 16,
				     0x900000ull, UINT64_MAX - 15};
static const uint16_t words[] = {0, 0xffff, 1, 34, 512, SENT, SENT - 1, 1000};

static void rewrite_split(struct vring_desc *d, unsigned way)
{
	if (way < 8)
		d->len = IN_ORDER_OF(lens, way);
	else if (way < 12)
		d->addr = IN_ORDER_OF(addresses, way);
	else if (way < 14)
		d->next = way == 12 ? 0xffff : 0;
	else
		d->flags ^= way == 14 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE;
}

static void rewrite_packed(struct vring_packed_desc *d, unsigned way)
{
	if (way < 8)
		d->len = IN_ORDER_OF(lens, way);
	else if (way < 12)
		d->addr = IN_ORDER_OF(addresses, way);
	else if (way == 12)
		d->id = 0xffff;
	else if (way == 13) /* as if the next lap had begun */
		d->flags ^= PACKED_AVAIL | PACKED_USED;
	else
		d->flags ^= way == 14 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE;
}

static void rewrite_buffer(struct virtio_net_hdr *hdr, uint8_t *packet, unsigned way)
{
	if (way == 0)
		hdr->flags ^= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	else if (way == 1)
		hdr->gso_type = VIRTIO_NET_HDR_GSO_UDP;
	else if (way == 2)
		hdr->gso_type = VIRTIO_NET_HDR_GSO_NONE;
	else if (way < 6)
		hdr->gso_size = IN_ORDER_OF(words, way - 3);
	else if (way < 9)
		hdr->csum_start = IN_ORDER_OF(words, way - 5);
	else if (way < 12)
		hdr->csum_offset = IN_ORDER_OF(words, way - 8);
	else if (way == 12)
		packet[14] = 0x4f; /* length of the IP header */
	else if (way == 13)
		packet[34 + 12] = 0xf0; /* and of TCP's */
	else
		packet[12] = way == 14 ? 0x86 : 0x81; /* IPv6, VLAN */
}

/* The word at @at was just read. */
static void rewrite(uint8_t *at)
{
	size_t off = at - trap.at;
	uint8_t *buffer = at - off % SLOT;
	struct rig *r = trap.r;

	if (off >= SLOT)
		rewrite_buffer((void *)buffer, buffer + 12, trap.way);
	else if (off < 16 * SIZE && r->ring)
		rewrite_packed(&r->ring[off / 16], trap.way);
	else if (off < 16 * SIZE)
		rewrite_split(&r->desc[off / 16], trap.way);
	else if (!r->ring && off >= AVAIL + 4 && off < USED)
		r->avail->ring[(off - AVAIL - 4) / 2 % SIZE] = IN_ORDER_OF(words, trap.way);
	else if (!r->ring && off == AVAIL + 2)
		r->avail->idx += trap.way;
}

/* ---- traps ---- */

static void protect(int how)
{
	mprotect(trap.at, trap.len, how);
}

#ifdef __x86_64__
#define TRAP_FLAG 0x100

static void on_fault(int number, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	trap.fault = info->si_addr;
	if (trap.fault < trap.at || trap.fault >= trap.at + trap.len) {
		signal(number, SIG_DFL); /* this is what must not be */
		return;
	}
	trap.wrote = c->uc_mcontext.gregs[REG_ERR] & 2;
	c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
	protect(PROT_READ | PROT_WRITE);
}

static void on_step(int number, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)number, (void)info;
	c->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (!trap.wrote && trap.accesses++ == trap.when) {
		rewrite(trap.fault);
		trap.done = true;
	}
	if (!trap.done)
		protect(PROT_NONE);
}

static bool can_trap(void)
{
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO},
			 step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

	return !sigaction(SIGSEGV, &fault, NULL) && !sigaction(SIGTRAP, &step, NULL);
}
#else
static bool can_trap(void)
{
	return false;
}
#endif

/* ---- runs ---- */

/* A rig whose ring and buffers have pages for themselves. */
static struct rig *open_rig(uint64_t features)
{
	struct rig *r =
		rig_new(SIZE, RIG_V1 | RIG_MRG | features, features & RIG_PACKED ? 0x8000 : 0);

	trap.r = r;
	trap.at = (uint8_t *)(((uintptr_t)r->mem.region[1].at + SLOT - 1) & ~(uintptr_t)(SLOT - 1));
	trap.gpa = RIG_DATA + (trap.at - r->mem.region[1].at);
	trap.len = (SIZE + 1) * SLOT;
	return r;
}

static __attribute__((noinline)) void make_frame(struct rig *r, uint64_t gpa)
{
	rig_tso(r, gpa, SENT, 40);
}

/* The ring anew, all of it offered: two plain chains, and one of two descriptors. */
static void offer(struct rig *r, uint64_t features, uint16_t write)
{
	struct vq_setup s = {.mem = &r->mem,
			     .size = SIZE,
			     .base = features & RIG_PACKED ? 0x80008000 : 0,
			     .features = RIG_V1 | RIG_MRG | features,
			     .desc_uva = (uintptr_t)trap.at,
			     .avail_uva = (uintptr_t)trap.at + AVAIL,
			     .used_uva = (uintptr_t)trap.at + USED,
			     .enabled = true,
			     .call_fd = -1};
	unsigned i;

	memset(trap.at, 0, SLOT);
	vq_free(r->q);
	CU_ASSERT_EQUAL_FATAL(vq_new(&r->q, &s), 0);
	r->avail = (void *)(trap.at + AVAIL);
	for (i = 0; i < SIZE; i++) {
		uint16_t flags = write | (i == 2 ? VRING_DESC_F_NEXT : 0);
		uint32_t len = write ? ROOM : 12 + SENT;

		make_frame(r, slot(i));
		if (i == 1)
			memset(trap.at + (i + 1) * SLOT, 0, 12); /* nothing open */
		if (features & RIG_PACKED) {
			r->ring = (void *)trap.at;
			r->ring[i] =
				(struct vring_packed_desc){slot(i), len, i, flags | PACKED_AVAIL};
		} else {
			r->desc = (void *)trap.at;
			rig_desc(r->desc, i, slot(i), len, flags, i + 1);
			r->avail->ring[i] = i;
		}
	}
	r->avail->idx = features & RIG_PACKED ? r->avail->idx : SIZE - 1;
}

static bool is_guest_memory(const struct rig *r, const uint8_t *at, uint32_t len)
{
	unsigned i;

	for (i = 0; i < r->mem.n; i++) {
		const struct vu_region *m = &r->mem.region[i];

		if (at >= m->at && at < m->at + m->size)
			return len <= m->at + m->size - at;
	}
	return false;
}

static bool is_whole(const struct rig *r, const struct frame *f)
{
	uint32_t len = f->shape.head_len;
	unsigned i;

	for (i = f->piece; i < f->piece + f->shape.n_pieces; i++) {
		if (!is_guest_memory(r, r->b.piece[i].at, r->b.piece[i].len))
			return false;
		len += r->b.piece[i].len;
	}
	return len == f->len && len >= FRAME_MIN && len <= FRAME_MAX;
}

/* What offload.h promises. */
static bool is_checked(const struct frame *f)
{
	const struct frame_offload *o = &f->offload;
	uint32_t end = (uint32_t)o->csum_start + o->csum_offset + 2;

	if (!o->flags)
		return !o->gso_type && !o->gso_size && !o->csum_start && !o->csum_offset;
	if (o->flags != VIRTIO_NET_HDR_F_NEEDS_CSUM || o->csum_start < OFFLOAD_AT_MIN ||
	    end > f->len || end > OFFLOAD_HDR_MAX)
		return false;
	if (!o->gso_type)
		return !o->hdr_len && !o->gso_size;
	return o->gso_size && o->hdr_len >= o->csum_start + 8 && o->hdr_len <= f->len &&
	       o->hdr_len <= OFFLOAD_HDR_MAX;
}

/* A frame on its way to somebody who takes nothing open, into memory of just the right size. */
static bool cut_all(const struct rig *r, const struct frame *f)
{
	struct cutter cut;
	struct span to;
	unsigned n = 0;

	cutter_open(&cut, &r->b, f, 0);
	while (cutter_next(&cut) && n++ <= OFFLOAD_CUTS_MAX) {
		to = (struct span){malloc(cut.len), cut.len};
		cutter_write(&cut, &to, 1);
		free(to.at);
	}
	return n && n <= OFFLOAD_CUTS_MAX;
}

static bool take_all(struct rig *r)
{
	unsigned i, turns = 2, taken = 0;
	bool ok = true;

	protect(PROT_NONE);
	while (turns--) {
		taken += rig_in(r);
		for (i = 0; ok && i < r->b.n; i++)
			ok = is_whole(r, &r->b.frame[i]) && is_checked(&r->b.frame[i]) &&
			     cut_all(r, &r->b.frame[i]);
		ok = ok && r->q->lent <= SIZE && r->q->left <= SIZE;
		vq_done(r->q);
	}
	protect(PROT_READ | PROT_WRITE);
	return ok && taken <= 2 * SIZE;
}

static bool put_all(struct rig *r)
{
	static uint8_t bytes[2 * ROOM];
	unsigned i, n;

	r->b.n = r->b.n_pieces = 0;
	r->b.open = false;
	for (i = 0; i < SIZE; i++)
		rig_make_frame(r, bytes, i == 1 ? ROOM + 10 : 60, 1);
	protect(PROT_NONE);
	n = rig_out(r);
	protect(PROT_READ | PROT_WRITE);
	return n <= SIZE;
}

static void run(uint64_t features, bool in)
{
	struct rig *r = open_rig(features);
	unsigned most = 0;
	bool ok = true;

	if (in)
		features |= 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
			    1ull << VIRTIO_NET_F_HOST_UFO | 1ull << 56;
	if (!can_trap()) {
		check_skip("knows how to step over an instruction on x86-64 only");
		rig_free(r);
		return;
	}
	for (trap.way = 0; ok && trap.way < WAYS; trap.way++) {
		for (trap.when = trap.way % STRIDE; ok; trap.when += STRIDE) {
			trap.accesses = 0;
			trap.done = false;
			offer(r, features, in ? 0 : VRING_DESC_F_WRITE);
			ok = in ? take_all(r) : put_all(r);
			if (!trap.done)
				break; /* there were no so many */
			most = trap.when > most ? trap.when : most;
		}
	}
	if (!ok)
		printf("     access %u, way %u\n", trap.when - STRIDE, trap.way - 1);
	CU_ASSERT(ok);
	CU_ASSERT(most >= 2 * SIZE);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGTRAP, SIG_DFL);
	rig_free(r);
}

static void test_split_in(void)
{
	run(0, true);
}

static void test_split_out(void)
{
	run(0, false);
}

static void test_packed_in(void)
{
	run(RIG_PACKED, true);
}

static void test_packed_out(void)
{
	run(RIG_PACKED, false);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"split, in", test_split_in},
		{"split, out", test_split_out},
		{"packed, in", test_packed_in},
		{"packed, out", test_packed_out},
		{NULL, NULL},
	};

	alarm(100);
	return check_main("flipper", tests, argc, argv);
}
