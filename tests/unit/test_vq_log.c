/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What queues tell the dirty log: every page that they write, after each batch, and no other. */
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdlib.h>

#include "any_frame.h"
#include "log_rig.h"
#include "packed_rig.h"

/* An address of ours is the guest's physical one, or none. */
static void test_places(void)
{
	struct rig *r = rig_new(64, RIG_V1, 0);

	CU_ASSERT_EQUAL(vu_log_gpa(&r->mem, rig_at(r, RIG_DATA + 12345)), RIG_DATA + 12345);
	CU_ASSERT_EQUAL(vu_log_gpa(&r->mem, rig_at(r, RIG_FAR)), RIG_FAR);
	CU_ASSERT_EQUAL(vu_log_gpa(&r->mem, (uint8_t *)rig_at(r, RIG_FAR) + RIG_FAR_SIZE - 1),
			RIG_FAR + RIG_FAR_SIZE - 1);
	CU_ASSERT_EQUAL(vu_log_gpa(&r->mem, r), UINT64_MAX);
	rig_free(r);
}

/* ---- rings: what differs afterwards is marked ---- */

/* Buffers lie here: the end of one region and the whole of the next, which begins a page. */
#define AT     (RIG_NEXT - 60 * PAGE)
#define SIZE   (60 * PAGE + RIG_NEXT_SIZE)
#define TABLES (AT - 64 * PAGE) /* of 1024 bytes each */
#define RING   32
#define ROUNDS 400

struct segment {
	uint64_t gpa;
	uint32_t len;
};

static struct {
	struct rig *r;
	struct vu_log *log;
	bool packed;
	unsigned n[RING]; /* of each chain that is offered, by id */
	struct segment segment[RING][8];
	uint64_t features;
	uint8_t was[SIZE], rings[2 * PAGE], want[SIZE / PAGE + 2];
} g;

static void log_on(struct rig *r, struct vu_log *log, uint64_t used)
{
	r->q->log = log;
	r->q->log_used = used;
	r->q->log_fd = -1;
}

static void guest_new(uint64_t features, int fd)
{
	memset(&g, 0, sizeof(g));
	g.features = features;
	g.packed = features & RIG_PACKED;
	g.r = rig_new(RING, features, g.packed ? 0x8000 : 0);
	g.log = log_new(fd, (RIG_FAR + PAGE) / PAGE / 8 + 1, 0);
	log_on(g.r, g.log,
	       vu_log_gpa(&g.r->mem, g.packed ? (void *)g.r->device : (void *)g.r->used));
}

static void guest_free(void)
{
	memset(g.log->at, 0, g.log->pages / 8); /* the next one's, too */
	vu_log_free(g.log);
	rig_free(g.r);
}

/* A chain of up to 8 descriptors anywhere, of any length, none among them. */
static void any_chain(unsigned id)
{
	unsigned i, n = any(4) ? 1 : 1 + any(8);

	g.n[id] = n;
	for (i = 0; i < n; i++) {
		struct segment *s = &g.segment[id][i];

		s->len = any(3) ? 64 + any(3 * PAGE) : any(40);
		s->gpa = AT + any(SIZE - s->len);
		if (!any(4)) /* up to the end of a page, or of all */
			s->gpa = (s->gpa + s->len + PAGE - 1) / PAGE * PAGE - s->len;
	}
}

static void offer_split(unsigned id, bool indirect)
{
	struct vring_desc *table = indirect ? rig_at(g.r, TABLES + 1024 * id) : g.r->desc;
	unsigned i, n = g.n[id], at = indirect ? 0 : id;

	for (i = 0; i < n; i++) {
		const struct segment *s = &g.segment[id][i];

		rig_desc(table, at + i, s->gpa, s->len,
			 VRING_DESC_F_WRITE | (i + 1 < n ? VRING_DESC_F_NEXT : 0), at + i + 1);
	}
	if (indirect)
		rig_desc(g.r->desc, id, TABLES + 1024 * id, 16 * n, VRING_DESC_F_INDIRECT, 0);
	rig_offer(g.r, id);
}

static void offer_packed(unsigned id, bool indirect)
{
	struct vring_packed_desc d, *table = rig_at(g.r, TABLES + 1024 * id);
	unsigned i, n = g.n[id];

	for (i = 0; i < n; i++) {
		const struct segment *s = &g.segment[id][i];
		uint16_t flags = VRING_DESC_F_WRITE;

		d = (struct vring_packed_desc){.addr = s->gpa, .len = s->len, .flags = flags};
		if (indirect)
			table[i] = d;
		else
			packed_desc(g.r, s->gpa, s->len, id,
				    flags | packed_turn(g.r) | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
	}
	g.r->length[id] = n;
	if (indirect)
		packed_offer(g.r, TABLES + 1024 * id, 16 * n, id, VRING_DESC_F_INDIRECT);
}

/* The pages of the first @len bytes of chain @id were written. */
static void expect(unsigned id, uint32_t len)
{
	unsigned i;

	for (i = 0; len && i < g.n[id]; i++) {
		const struct segment *s = &g.segment[id][i];
		uint32_t n = len < s->len ? len : s->len;
		uint64_t page = (s->gpa - AT) / PAGE, end = (s->gpa - AT + n + PAGE - 1) / PAGE;

		for (; n && page < end; page++)
			g.want[page] = 1;
		len -= n;
	}
}

/* What the guest sees as used since @used_at. */
static void take_used(uint16_t used_at)
{
	struct vring_packed_desc d;

	if (g.packed) {
		while (packed_used(g.r, &d))
			expect(d.id, d.len);
		return;
	}
	for (; used_at != g.r->used->idx; used_at++) {
		const struct vring_used_elem *e = &g.r->used->ring[used_at % RING];

		expect(e->id, e->len);
	}
}

/* Buffers: those pages, and no others. Rings: what differs, and nothing but rings. */
static bool compare(void)
{
	const uint64_t first = AT / PAGE;
	const uint32_t rings = g.r->mem.region[0].size;
	unsigned i, marked = 0, at_rings = 0;
	bool good = true;

	for (i = 0; i < SIZE / PAGE; i++) {
		bool is = is_marked(g.log, first + i);

		good &= is == g.want[i];
		if (memcmp(g.was + i * PAGE, rig_at(g.r, AT + i * PAGE), PAGE))
			good &= is;
		marked += is;
	}
	for (i = 0; i * PAGE < rings; i++) {
		uint32_t n = rings - i * PAGE < PAGE ? rings - i * PAGE : PAGE;
		bool is = is_marked(g.log, RIG_RINGS / PAGE + i);

		if (memcmp(g.rings + i * PAGE, rig_at(g.r, RIG_RINGS + i * PAGE), n))
			good &= is;
		at_rings += is;
	}
	return good && count_marked(g.log) == marked + at_rings;
}

static void snapshot(void)
{
	unsigned i;

	memset(g.log->at + RIG_RINGS / PAGE / 8, 0, 2);
	memset(g.log->at + AT / PAGE / 8, 0, SIZE / PAGE / 8 + 2);
	memset(g.want, 0, sizeof(g.want));
	for (i = 0; i < SIZE / PAGE; i++)
		memcpy(g.was + i * PAGE, rig_at(g.r, AT + i * PAGE), PAGE);
	memcpy(g.rings, rig_at(g.r, RIG_RINGS), g.r->mem.region[0].size);
}

/* One batch of random frames to a guest with random buffers; everything is given back at its end,
 * since the ring is a new one in each round. */
static bool receive(unsigned round)
{
	static uint8_t frame[FRAME_MAX];
	const bool indirect = g.features & RIG_INDIRECT && round % 2;
	unsigned i, id = 0, n = 1 + any(8), left;
	uint16_t which[8], used_at = g.r->q->used_at;

	for (left = any(RING); left; left -= indirect ? 1 : g.n[id], id += indirect ? 1 : g.n[id]) {
		any_chain(id);
		if (g.n[id] > left && !indirect)
			g.n[id] = left;
		g.packed ? offer_packed(id, indirect) : offer_split(id, indirect);
	}
	g.r->b.n = g.r->b.n_pieces = 0;
	for (i = 0; i < n; i++) {
		uint32_t len = any(3) ? 60 + any(1455) : 14 + any(9000);

		any_bytes(frame, len);
		rig_make_frame(g.r, frame, len, len > FRAME_HEAD ? 1 + any(3) : 0);
		which[i] = i;
	}
	snapshot();
	vq_out(g.r->q, &g.r->stats, &g.r->b, which, n);
	take_used(used_at);
	return compare();
}

static void test_receive(void)
{
	static const uint64_t sets[] = {0, RIG_V1, RIG_MRG | RIG_V1, RIG_EVENT | RIG_V1,
					RIG_MRG | RIG_V1 | RIG_INDIRECT | RIG_EVENT};
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned i, round, bad = 0, frames = 0;

	for (i = 0; i < 10; i++) {
		for (round = 0; round < ROUNDS / 10; round++) {
			guest_new(sets[i / 2] | (i % 2 ? RIG_PACKED : 0), fd);
			bad += !receive(round);
			frames += g.r->stats.out_frames;
			guest_free();
		}
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT(frames > ROUNDS / 10);
	close(fd);
}

/* The other way only rings are written: what was used, and whether kicks are wanted. */
static bool transmit(void)
{
	unsigned i, n = 1 + any(RING);
	bool good = true;

	for (i = 0; i < n; i++) {
		if (g.packed) {
			packed_offer(g.r, AT + i * PAGE, 100, i, 0);
			continue;
		}
		rig_desc(g.r->desc, i, AT + i * PAGE, 100, 0, 0);
		rig_offer(g.r, i);
	}
	snapshot();
	good &= rig_in(g.r) == n;
	vq_done(g.r->q);
	good &= compare();
	snapshot();
	vq_wait(g.r->q, true);
	good &= compare() && is_marked(g.log, RIG_RINGS / PAGE);
	snapshot();
	vq_wait(g.r->q, false);
	return good && compare();
}

static void test_transmit(void)
{
	static const uint64_t sets[] = {RIG_V1, RIG_EVENT | RIG_V1, RIG_IN_ORDER | RIG_V1};
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned i, round, bad = 0;

	for (i = 0; i < 6; i++) {
		for (round = 0; round < 20; round++) {
			guest_new(sets[i / 2] | (i % 2 ? RIG_PACKED : 0), fd);
			bad += !transmit();
			guest_free();
		}
	}
	CU_ASSERT_EQUAL(bad, 0);
	close(fd);
}

/* A chain of @n descriptors, a page from each other, of @len bytes each, and the last of @last. */
static bool receive_thin(bool packed, unsigned n, uint32_t len, uint32_t last, int fd)
{
	static uint8_t frame[400];
	uint16_t which = 0;
	uint32_t left;
	unsigned i;
	bool good;

	guest_new(RIG_V1 | RIG_MRG | (packed ? RIG_PACKED : 0), fd);
	for (i = 0, left = 12 + sizeof(frame); i < n; i++) {
		uint16_t flags = VRING_DESC_F_WRITE | (i + 1 < n ? VRING_DESC_F_NEXT : 0);
		uint32_t part = i + 1 < n ? len : last;

		if (packed)
			packed_desc(g.r, AT + i * PAGE, part, 0, flags | packed_turn(g.r));
		else
			rig_desc(g.r->desc, i, AT + i * PAGE, part, flags, i + 1);
	}
	g.r->length[0] = n;
	if (!packed)
		rig_offer(g.r, 0);
	snapshot();
	for (i = 0; i < n; i++) {
		uint32_t part = i + 1 < n ? len : last;

		g.want[i] = part && left;
		left -= part < left ? part : left;
	}
	rig_make_frame(g.r, frame, sizeof(frame), 1);
	good = vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1) == !left && compare();
	guest_free();
	return good;
}

/*
 * Descriptors of no length, and more of any length than a header has bytes (CVE-2019-14835: some
 * of them had none).
 */
static void test_thin(void)
{
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned packed;

	for (packed = 0; packed < 2; packed++) {
		CU_ASSERT_TRUE(receive_thin(packed, 20, 0, 2048, fd));
		CU_ASSERT_TRUE(receive_thin(packed, 30, 1, 2048, fd));
		CU_ASSERT_TRUE(receive_thin(packed, 30, 16, 16, fd));
		CU_ASSERT_TRUE(receive_thin(packed, 32, 13, 14, fd));
	}
	close(fd);
}

/* One frame through a split ring, out or in, whose used ring is at @address of the log. */
static void use_one(uint64_t address, bool out)
{
	static uint8_t frame[64];
	uint16_t which = 0;

	log_on(g.r, g.log, address);
	if (out) {
		g.n[0] = 1;
		g.segment[0][0] = (struct segment){AT, 2048};
		offer_split(0, false);
		rig_make_frame(g.r, frame, sizeof(frame), 1);
		vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1);
		return;
	}
	rig_desc(g.r->desc, 0, AT, 100, 0, 0);
	rig_offer(g.r, 0);
	CU_ASSERT_EQUAL(rig_in(g.r), 1);
	vq_done(g.r->q);
}

/* A used ring has the address in the log that SET_VRING_ADDR gives it, or none at all. */
static void test_used_ring(void)
{
	/* flags, index, entries: the index ends a page, the entry begins the next */
	static const uint64_t address[] = {5 * PAGE - 4, VQ_NOT_LOGGED, UINT64_MAX - 3};
	static const unsigned pages[] = {2, 0, 1};
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned i, out;

	for (i = 0; i < 6; i++) {
		out = i % 2;
		guest_new(RIG_V1, fd);
		use_one(address[i / 2], out);
		CU_ASSERT_EQUAL(is_marked(g.log, AT / PAGE), out);
		CU_ASSERT_FALSE(is_marked(g.log, RIG_RINGS / PAGE));
		CU_ASSERT_EQUAL(is_marked(g.log, 4), i / 2 == 0);
		CU_ASSERT_EQUAL(is_marked(g.log, 5), i / 2 == 0);
		CU_ASSERT_EQUAL(is_marked(g.log, 0), i / 2 == 2);
		CU_ASSERT_EQUAL(count_marked(g.log), out + pages[i / 2]);
		guest_free();
	}
	close(fd);
}

/* Places of a ring of several pages, over its end: those of the first four and of the last. */
static void use_over_end(bool packed, bool out, int fd)
{
	static uint8_t frame[64];
	uint16_t which[8] = {0, 1, 2, 3, 4, 5, 6, 7}, flags = out ? VRING_DESC_F_WRITE : 0;
	const unsigned size = 1024, base = size - 4;
	struct rig *r =
		rig_new(size, RIG_V1 | (packed ? RIG_PACKED : 0), base | (packed ? 0x8000 : 0));
	struct vu_log *log = log_new(fd, (RIG_FAR + PAGE) / PAGE / 8 + 1, 0);
	unsigned i;

	log_on(r, log, packed ? VQ_NOT_LOGGED : 5 * PAGE - 4);
	for (i = 0; i < 8; i++) {
		if (packed) {
			packed_offer(r, AT, 2048, i, flags);
		} else {
			rig_desc(r->desc, i, AT, 2048, flags, 0);
			rig_offer(r, i);
		}
		if (out)
			rig_make_frame(r, frame, sizeof(frame), 1);
	}
	if (out) {
		CU_ASSERT_EQUAL(vq_out(r->q, &r->stats, &r->b, which, 8), 8);
	} else {
		CU_ASSERT_EQUAL(rig_in(r), 8);
		vq_done(r->q);
	}
	if (packed) {
		CU_ASSERT_TRUE(is_marked(log, vu_log_gpa(&r->mem, &r->ring[0]) / PAGE));
		CU_ASSERT_TRUE(is_marked(log, vu_log_gpa(&r->mem, &r->ring[base]) / PAGE));
	} else { /* index, first entries, last entries */
		CU_ASSERT_TRUE(is_marked(log, 4) && is_marked(log, 5) && is_marked(log, 6));
	}
	CU_ASSERT_EQUAL(count_marked(log), 2 + !packed + out);
	memset(log->at, 0, log->pages / 8);
	vu_log_free(log);
	rig_free(r);
}

static void test_over_end(void)
{
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned i;

	for (i = 0; i < 4; i++)
		use_over_end(i & 1, i & 2, fd);
	close(fd);
}

static struct vq *start_again(struct rig *r, struct vu_log *log, uint64_t features, bool used)
{
	struct vq_setup setup = {.mem = &r->mem,
				 .size = r->size,
				 .features = features,
				 .log = log,
				 .log_used = used,
				 .log_addr = 7 * PAGE,
				 .call_fd = -1,
				 .log_fd = -1};
	struct vq *q = NULL;

	setup.desc_uva = (uintptr_t)(r->ring ? (void *)r->ring : r->desc);
	setup.avail_uva = (uintptr_t)(r->ring ? (void *)r->driver : r->avail);
	setup.used_uva = (uintptr_t)(r->ring ? (void *)r->device : r->used);
	CU_ASSERT_EQUAL(vq_new(&q, &setup), 0);
	return q;
}

/* A ring may have run before its log came: all of what is used there counts as written. */
static void test_start(void)
{
	const uint64_t iommu = 1ull << VIRTIO_F_ACCESS_PLATFORM;
	static const struct {
		uint64_t features;
		bool used;
		unsigned at_7, at_ring, at_end;
	} cases[] = {
		{RIG_V1, true, 3, 0, 0}, /* 4 + 8 * 1024 bytes at page 7 */
		{RIG_V1, false, 0, 0, 0},
		{RIG_V1 | iommu, true, 0, 0, 3},      /* where the ring is */
		{RIG_V1 | RIG_PACKED, true, 1, 4, 0}, /* descriptors where they are, events there */
		{RIG_V1 | RIG_PACKED | iommu, true, 0, 4, 1},
	};
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	unsigned i, page;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *r = rig_new(1024, cases[i].features, 0);
		struct vu_log *log = log_new(fd, (RIG_FAR + PAGE) / PAGE / 8 + 1, 0);
		struct vq *q = start_again(r, log, cases[i].features, cases[i].used);
		unsigned at_7 = 0, at_ring = 0, at_end = 0;

		for (page = 0; page < 4; page++) {
			at_7 += is_marked(log, 7 + page);
			at_ring += is_marked(log, RIG_RINGS / PAGE + page);
			at_end += is_marked(log, RIG_RINGS / PAGE + 4 + page);
		}
		CU_ASSERT_EQUAL(at_7, cases[i].at_7);
		CU_ASSERT_EQUAL(at_ring, cases[i].at_ring);
		CU_ASSERT_EQUAL(at_end, cases[i].at_end);
		CU_ASSERT_EQUAL(count_marked(log), at_7 + at_ring + at_end);
		memset(log->at, 0, log->pages / 8);
		vq_free(q);
		vu_log_free(log);
		rig_free(r);
	}
	close(fd);
}

static struct {
	uint8_t *at; /* a page that can't be read until somebody tries to */
	bool seen, early;
} trap;

static void on_trap(int number, siginfo_t *info, void *context)
{
	(void)context;
	if ((uintptr_t)info->si_addr - (uintptr_t)trap.at >= PAGE)
		signal(number, SIG_DFL);
	trap.seen = true;
	trap.early |= is_marked(g.log, AT / PAGE);
	mprotect(trap.at, PAGE, PROT_READ | PROT_WRITE);
}

/* While the bytes are being written their page is not marked yet: it may be sent as it was. */
static void test_afterwards(void)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, was;
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	static uint8_t frame[200];
	uint16_t which = 0;
	unsigned packed;

	trap.at = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_EQUAL_FATAL(sigaction(SIGSEGV, &action, &was), 0);
	for (packed = 0; packed < 2; packed++) {
		guest_new(RIG_V1 | (packed ? RIG_PACKED : 0), fd);
		g.n[0] = 1;
		g.segment[0][0] = (struct segment){AT, 2048};
		packed ? offer_packed(0, false) : offer_split(0, false);
		rig_make_frame(g.r, frame, sizeof(frame), 1);
		g.r->b.piece[0].at = trap.at;
		trap.seen = trap.early = false;
		mprotect(trap.at, PAGE, PROT_NONE);
		CU_ASSERT_EQUAL(vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1), 1);
		CU_ASSERT_TRUE(trap.seen);
		CU_ASSERT_FALSE(trap.early);
		CU_ASSERT_TRUE(is_marked(g.log, AT / PAGE));
		guest_free();
	}
	sigaction(SIGSEGV, &was, NULL);
	munmap(trap.at, PAGE);
	close(fd);
}

static uint64_t events(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* Told once for each batch that brings something new. */
static void test_told(void)
{
	static uint8_t frame[64];
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1), told = eventfd(0, EFD_NONBLOCK);
	unsigned packed, i;

	for (packed = 0; packed < 2; packed++) {
		guest_new(RIG_V1 | (packed ? RIG_PACKED : 0), fd);
		g.r->q->log_fd = told;
		for (i = 0; i < 8; i++) {
			uint16_t which = 0;

			g.n[i] = 1;
			g.segment[i][0] = (struct segment){AT + i / 2 * PAGE, 2048};
			packed ? offer_packed(i, false) : offer_split(i, false);
			g.r->b.n = g.r->b.n_pieces = 0;
			rig_make_frame(g.r, frame, sizeof(frame), 1);
			vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1);
			CU_ASSERT_EQUAL(events(told), i % 2 == 0);
		}
		guest_free();
	}
	close(told);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"places", test_places},       {"receive", test_receive},
		{"transmit", test_transmit},   {"thin", test_thin},
		{"used_ring", test_used_ring}, {"over_end", test_over_end},
		{"start", test_start},         {"afterwards", test_afterwards},
		{"told", test_told},           {},
	};

	any_state = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 20261121;
	return check_main("vq_log", tests, argc, argv);
}
