/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The dirty log: every page that we write to is marked, and none else; whatever the peer says. */
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdint.h>
#include <sys/resource.h>

#include "any_frame.h"
#include "packed_rig.h"
#include "vm/vm_control.h"
#include "vm/vu_log.h"
#include "vu_peer.h"

#define PAGE VHOST_USER_LOG_PAGE

static int log_file(uint64_t size)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, size), 0);
	return fd;
}

static struct vu_log *log_new(int fd, uint64_t size, uint64_t offset)
{
	struct vhost_user_log said = {size, offset};
	struct vu_log *log = NULL;

	CU_ASSERT_EQUAL_FATAL(vu_log_new(&log, &said, fd), 0);
	return log;
}

static bool is_marked(const struct vu_log *log, uint64_t page)
{
	return log->at[page / 8] & 1 << page % 8;
}

static unsigned count_marked(const struct vu_log *log)
{
	unsigned n = 0;
	uint64_t i;

	for (i = 0; i < log->pages / 8; i++)
		n += __builtin_popcount(log->at[i]);
	return n;
}

/* ---- the marks ---- */

/* A log of 3 bytes in the middle of a file: bits 0 to 23, and not one beside them. */
static void test_mark(void)
{
	static const struct {
		uint64_t at, len;
		uint32_t bits;
	} marks[] = {
		{0, 0, 0},
		{0, 1, 1},
		{PAGE - 1, 1, 1},
		{PAGE - 1, 2, 3},
		{PAGE, PAGE, 2},
		{PAGE, PAGE + 1, 6},
		{7 * PAGE + 5, PAGE, 0x180},
		{0, 24 * PAGE, 0xffffff},
		{23 * PAGE + PAGE - 1, 1, 0x800000}, /* the last page */
		{23 * PAGE + PAGE - 1, 2, 0x800000}, /* and beyond */
		{22 * PAGE, 1000 * PAGE, 0xc00000},
		{24 * PAGE, 1, 0},
		{1ull << 40, 65536, 0},
		{UINT64_MAX, 1, 0},
		{UINT64_MAX - PAGE, 65536, 0},
		{UINT64_MAX, 0, 0},
	};
	static uint8_t all[3 * PAGE];
	int fd = log_file(sizeof(all));
	struct vu_log *log = log_new(fd, 3, PAGE + 77);
	unsigned i;

	for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		uint32_t got = 0;

		memset(log->at, 0, 3);
		CU_ASSERT_EQUAL(vu_log_mark(log, marks[i].at, marks[i].len), !!marks[i].bits);
		CU_ASSERT_FALSE(vu_log_mark(log, marks[i].at, marks[i].len));
		memcpy(&got, log->at, 3);
		CU_ASSERT_EQUAL(got, marks[i].bits);
	}
	memset(log->at, 0xff, 3);
	CU_ASSERT_EQUAL(pread(fd, all, sizeof(all), 0), sizeof(all));
	for (i = 0; i < sizeof(all); i++)
		CU_ASSERT_EQUAL(all[i], i - (PAGE + 77) < 3 ? 0xff : 0);
	vu_log_free(log);
	vu_log_free(NULL);
	close(fd);
}

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

/* Descriptors of no length, more of them than a header has bytes (CVE-2019-14835). */
static void test_no_length(void)
{
	static uint8_t frame[64];
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	uint16_t which = 0;
	unsigned i, packed;

	for (packed = 0; packed < 2; packed++) {
		guest_new(RIG_V1 | RIG_MRG | (packed ? RIG_PACKED : 0), fd);
		for (i = 0; i < 20; i++) {
			uint16_t next = i < 19 ? VRING_DESC_F_NEXT : 0;
			uint32_t len = i < 19 ? 0 : 2048;

			if (packed)
				packed_desc(g.r, AT + i * PAGE, len, 0,
					    VRING_DESC_F_WRITE | next | packed_turn(g.r));
			else
				rig_desc(g.r->desc, i, AT + i * PAGE, len,
					 VRING_DESC_F_WRITE | next, i + 1);
		}
		g.r->length[0] = 20;
		if (!packed)
			rig_offer(g.r, 0);
		snapshot();
		rig_make_frame(g.r, frame, sizeof(frame), 1);
		CU_ASSERT_EQUAL(vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1), 1);
		g.want[19] = 1;
		CU_ASSERT_TRUE(compare());
		guest_free();
	}
	close(fd);
}

/* A used ring has the address in the log that SET_VRING_ADDR gives it, or none at all. */
static void test_used_ring(void)
{
	static uint8_t frame[64];
	int fd = log_file((RIG_FAR + PAGE) / PAGE / 8 + 1);
	uint16_t which = 0;
	unsigned i;

	for (i = 0; i < 3; i++) {
		static const uint64_t address[] = {5 * PAGE - 8, VQ_NOT_LOGGED, UINT64_MAX - 2};
		struct vu_log *log;

		guest_new(RIG_V1, fd);
		log = g.log;
		log_on(g.r, log, address[i]);
		g.n[0] = 1;
		g.segment[0][0] = (struct segment){AT, 2048};
		offer_split(0, false);
		rig_make_frame(g.r, frame, sizeof(frame), 1);
		vq_out(g.r->q, &g.r->stats, &g.r->b, &which, 1);
		CU_ASSERT_TRUE(is_marked(log, AT / PAGE));
		CU_ASSERT_FALSE(is_marked(log, RIG_RINGS / PAGE));
		/* index at 2, entry at 4 to 12: the one before the page's end, the other across */
		CU_ASSERT_EQUAL(is_marked(log, 4), i == 0);
		CU_ASSERT_EQUAL(is_marked(log, 5), i == 0);
		CU_ASSERT_EQUAL(count_marked(log), i == 0 ? 3 : i == 1 ? 1 : 2);
		guest_free();
	}
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

/* ---- the messages ---- */

static void negotiate(void)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
			 FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK));
}

/* The answer, UINT64_MAX if there was none, or PEER_SILENCE. */
static uint64_t set_log(uint64_t size, uint64_t offset, int fd, unsigned n, uint32_t flags)
{
	struct vhost_user_log said = {size, offset};
	const int fds[2] = {fd, fd};

	peer_send(VHOST_USER_SET_LOG_BASE, flags, &said, sizeof(said), fds, n);
	return peer_is_closed() ? UINT64_MAX : peer_reply(VHOST_USER_SET_LOG_BASE, 8);
}

static void test_set_log(void)
{
	static const struct vhost_user_log bad[] = {
		{0, 0},
		{0, PAGE},
		{0x1000, 0 - 0x800ull}, /* CVE-2020-10722 */
		{0 - 0x1000ull, 0x1000},
		{0 - 0x1000ull, 0},
		{1ull << 63, 1ull << 63},
		{UINT64_MAX, 1},
		{1, UINT64_MAX},
		{2 * PAGE + 1, 0},
		{1, 2 * PAGE},
		{PAGE + 1, PAGE},
	};
	static const struct vhost_user_log good[] = {
		{1, 0}, {2 * PAGE, 0}, {1, 2 * PAGE - 1}, {5, 3}};
	int fd = log_file(2 * PAGE), ends[2];
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 1, 0), UINT64_MAX); /* not negotiated */
	fds = check_fds() - 1;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		negotiate();
		CU_ASSERT_EQUAL(set_log(bad[i].size, bad[i].offset, fd, 1, 0), UINT64_MAX);
	}
	negotiate();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 0, 0), UINT64_MAX);
	negotiate();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 2, 0), UINT64_MAX);
	negotiate();
	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL(set_log(PAGE, 0, ends[0], 1, 0), UINT64_MAX);
	close(ends[0]);
	close(ends[1]);
	negotiate();
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		/* QEMU doesn't ask for an acknowledgement, and waits for an answer all the same */
		CU_ASSERT_EQUAL(set_log(good[i].size, good[i].offset, fd, 1, 0), 0);
		CU_ASSERT_EQUAL(set_log(good[i].size, good[i].offset, fd, 1, VHOST_USER_NEED_REPLY),
				0);
	}
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(check_fds(), fds);
	close(fd);
	peer_end();
}

static long resident(void)
{
	long size = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CU_ASSERT_EQUAL(fscanf(f, "%ld %ld", &size, &rss), 2);
	fclose(f);
	return rss;
}

static unsigned count_logs(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, "memfd:log");
	fclose(f);
	return n;
}

/* With rings that run, as a migration does it, and far more often. */
static void test_many(void)
{
	int fd = log_file(PAGE);
	unsigned i, fds;
	long rss;

	peer_setup(1);
	negotiate();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | FEATURE(VHOST_USER_F_LOG_ALL));
	peer_memory_at(PEER_UVA);
	for (i = 0; i < 2; i++) {
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		peer_ring_but_kick(i);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
	}
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 1, 0), 0);
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	fds = check_fds();
	rss = resident();
	for (i = 0; i < 10000 && !peer_is_closed(); i++) {
		set_log(1 + i % PAGE, 0, fd, 1, 0);
		if (i % 8 == 0)
			peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0,
				  &t.vm->control->ring[0].kick_fd, 1);
	}
	CU_ASSERT_EQUAL(i, 10000);
	CU_ASSERT_EQUAL(check_fds(), fds + 1); /* that of SET_LOG_FD */
	CU_ASSERT_EQUAL(count_logs(), 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CU_ASSERT(resident() - rss < 256);
#else
	(void)rss;
#endif
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(count_logs(), 0);
	close(fd);
	peer_end();
}

static uint64_t events(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* Told once for each batch that brings something new. */
static void test_log_fd(void)
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

	peer_setup(1);
	negotiate();
	peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, &t.memory, 1);
	CU_ASSERT_TRUE(peer_is_closed()); /* nothing but eventfds is written to */
	negotiate();
	peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, NULL, 0);
	CU_ASSERT_TRUE(peer_is_closed());
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"mark", test_mark},
		{"places", test_places},
		{"receive", test_receive},
		{"transmit", test_transmit},
		{"no_length", test_no_length},
		{"used_ring", test_used_ring},
		{"start", test_start},
		{"set_log", test_set_log},
		{"many", test_many},
		{"log_fd", test_log_fd},
		{},
	};

	any_state = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 20261121;
	return check_main("log", tests, argc, argv);
}
