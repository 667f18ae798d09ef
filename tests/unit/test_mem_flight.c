/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A guest's memory is taken back while a worker is in the middle of using it. */
#include "vu_peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "switch/fdb.h"
#include "switch/rcu.h"
#include "switch/switch.h"
#include "vm/vm_control.h"

/*
 * A thread plays the worker: it holds what in() lent, or stands in the middle of out(), until the
 * ring (or the IOTLB's entry) was taken away from it; then for some time more, in which the message
 * that takes the memory must not be answered.
 */
#define SLOTS     FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
#define ACCESS    FEATURE(VIRTIO_F_ACCESS_PLATFORM)
#define PACKED    FEATURE(VIRTIO_F_RING_PACKED)
#define MRG       FEATURE(VIRTIO_NET_F_MRG_RXBUF)
#define PAGE      4096ull
#define BLOCK     0x10000ull /* a region; blocks 0 and 1 are the rings' */
#define HEADER    8u         /* the block that goes: a frame from the guest, or the header of one */
#define REST      9u         /* and one that stays */
#define LEN       1000
#define HEADER_IN 100 /* bytes of the first of two buffers */
#define GRACE_MS  50  /* in which a wait that is missing would be over */
#define WAIT_MS   20000

static struct {
	uint8_t *memory;
	bool packed, by_table;
	struct batch batch;
	const struct vu_iotlb_table *table; /* that was there before; NULL: it's about a ring */
	unsigned ring;
	bool holds, returned, early; /* atomic */
	int uffd;
	uint8_t *page; /* of the source of a frame: whoever reads it waits */
} g;

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static bool is_set(void *flag)
{
	return __atomic_load_n((bool *)flag, __ATOMIC_ACQUIRE);
}

static struct vhost_user_region block(unsigned i)
{
	return (struct vhost_user_region){i * BLOCK, BLOCK, PEER_UVA + i * BLOCK, i * BLOCK};
}

static void begin(uint64_t features)
{
	static const unsigned blocks[] = {0, 1, HEADER, REST};
	unsigned i;

	peer_setup(1);
	memset(&g, 0, sizeof(g));
	memset(&t.stats, 0, sizeof(t.stats));
	g.packed = features & PACKED;
	g.memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	CU_ASSERT_FATAL(g.memory != MAP_FAILED);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, SLOTS);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | features);
	for (i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
		struct vhost_user_one_region m = {.region = block(blocks[i])};

		peer_send(VHOST_USER_ADD_MEM_REG, 0, &m, sizeof(m), &t.memory, 1);
	}
	for (i = 0; i < 2; i++) {
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		peer_ring_but_kick(i);
		if (g.packed)
			peer_state(VHOST_USER_SET_VRING_BASE, i, 0x80008000);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
	}
}

static void end(void)
{
	munmap(g.memory, PEER_MEM);
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* Descriptor @at of ring @i, in buffers of one each. */
static void offer(unsigned i, uint16_t at, uint64_t addr, uint32_t len)
{
	uint8_t *ring = g.memory + i * PEER_RING;
	uint16_t write = i ? 0 : VRING_DESC_F_WRITE;
	struct vring_packed_desc *p = (void *)ring;
	struct vring_avail *avail = (void *)(ring + PEER_AVAIL);
	struct vring_desc *d = (void *)ring;

	if (g.packed) {
		p[at].addr = addr;
		p[at].len = len;
		p[at].id = at;
		__atomic_store_n(&p[at].flags, write | 1u << VRING_PACKED_DESC_F_AVAIL,
				 __ATOMIC_RELEASE);
		return;
	}
	d[at] = (struct vring_desc){.addr = addr, .len = len, .flags = write};
	avail->ring[at] = at;
	__atomic_store_n(&avail->idx, at + 1, __ATOMIC_RELEASE);
}

static void write_frame(uint8_t *at)
{
	memset(at, 0, 12);
	memset(at + 12, 0xff, 6);
	memset(at + 18, 2, LEN - 6);
}

static bool is_gone(void *arg)
{
	(void)arg;
	if (g.table)
		return rcu_get(t.vm->control->mem->iotlb->table) != g.table;
	return !(g.ring ? rcu_get(t.vm->in[0]) : rcu_get(t.vm->out[0]));
}

/* From here on control must wait for us; false: it did not. */
static bool is_waited_for(void)
{
	set(&g.holds);
	if (!check_until(is_gone, NULL, WAIT_MS) || check_until(is_set, &g.returned, GRACE_MS))
		set(&g.early);
	return !is_set(&g.early);
}

/* ---- a frame of the guest's that was lent ---- */

static void *lend(void *arg)
{
	struct port *p = &t.vm->port;
	unsigned i, sum = 0;

	urcu_qsbr_register_thread();
	CU_ASSERT_EQUAL(p->ops->in(p, t.worker, 0, &g.batch), 1);
	if (is_waited_for()) {
		for (i = 0; i < g.batch.piece[0].len; i++)
			sum += g.batch.piece[0].at[i];
		CU_ASSERT_EQUAL(sum, 2 * (LEN - FRAME_HEAD));
		p->ops->done(p, t.worker, 0, &g.batch);
	}
	rcu_quiet();
	urcu_qsbr_unregister_thread();
	return arg;
}

static void take_away(const struct vhost_user_region *r)
{
	static const unsigned stays[] = {0, 1, REST};
	struct vhost_user_one_region one = {.region = *r};
	struct vhost_user_memory m = {.n = 3};
	int fd[3] = {t.memory, t.memory, t.memory};
	unsigned i;

	for (i = 0; i < 3; i++)
		m.region[i] = block(stays[i]);
	if (g.by_table)
		peer_send(VHOST_USER_SET_MEM_TABLE, 0, &m, 8 + 3 * sizeof(m.region[0]), fd, 3);
	else
		peer_send(VHOST_USER_REM_MEM_REG, 0, &one, sizeof(one), NULL, 0);
	set(&g.returned);
}

static void lent_both(uint64_t features, bool table)
{
	struct vhost_user_region gone = block(HEADER);
	pthread_t thread;

	begin(features);
	g.by_table = table;
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	g.ring = 1;
	write_frame(g.memory + gone.mmap_offset);
	offer(1, 0, gone.gpa, 12 + LEN);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, lend, NULL), 0);
	CU_ASSERT_TRUE(check_until(is_set, &g.holds, WAIT_MS));
	take_away(&gone);
	pthread_join(thread, NULL);
	CU_ASSERT_FALSE(g.early);
	/* the buffer was given back, and its memory is an error from now on */
	CU_ASSERT_FATAL(t.vm->in[0] != NULL);
	offer(1, 1, gone.gpa, 12 + LEN);
	CU_ASSERT_EQUAL(t.vm->port.ops->in(&t.vm->port, t.worker, 0, &g.batch), 0);
	CU_ASSERT_EQUAL(t.vm->in[0]->broken, VQ_BAD_ADDRESS);
	end();
}

static void test_lent(void)
{
	lent_both(0, false);
	lent_both(0, true);
	lent_both(PACKED, false);
	lent_both(PACKED, true);
}

/* The same for an entry of the IOTLB: it is removed, narrowed, or is other memory now. */
static void iotlb_one(uint64_t features, uint8_t type, uint64_t uva, uint8_t perm)
{
	const uint64_t frame = 0x123456000;
	struct vhost_user_iotlb m[] = {
		{PEER_UVA, 2 * BLOCK, PEER_UVA, 3, VHOST_USER_IOTLB_UPDATE, {0}},
		{frame, PAGE, PEER_UVA + HEADER * BLOCK, 3, VHOST_USER_IOTLB_UPDATE, {0}},
		{frame, PAGE, uva, perm, type, {0}}};
	unsigned i;
	pthread_t thread;

	begin(features | ACCESS);
	for (i = 0; i < 2; i++) {
		peer_send(VHOST_USER_IOTLB_MSG, 0, &m[i], sizeof(m[i]), NULL, 0);
		CU_ASSERT_EQUAL(peer_reply(VHOST_USER_IOTLB_MSG, 8), 0);
	}
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	g.table = t.vm->control->mem->iotlb->table;
	write_frame(g.memory + HEADER * BLOCK);
	offer(1, 0, frame, 12 + LEN);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, lend, NULL), 0);
	CU_ASSERT_TRUE(check_until(is_set, &g.holds, WAIT_MS));
	peer_send(VHOST_USER_IOTLB_MSG, 0, &m[2], sizeof(m[2]), NULL, 0);
	set(&g.returned);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_IOTLB_MSG, 8), 0);
	CU_ASSERT_FALSE(g.early);
	end();
}

static void test_iotlb(void)
{
	const uint64_t other = PEER_UVA + REST * BLOCK;

	iotlb_one(0, VHOST_USER_IOTLB_INVALIDATE, 0, 0);
	iotlb_one(PACKED, VHOST_USER_IOTLB_INVALIDATE, 0, 0);
	iotlb_one(0, VHOST_USER_IOTLB_UPDATE, other, VHOST_USER_ACCESS_RO);
	iotlb_one(0, VHOST_USER_IOTLB_UPDATE, PEER_UVA + HEADER * BLOCK, VHOST_USER_ACCESS_WO);
}

/* ---- CVE-2021-3748: the header's buffer goes before the frame is written ---- */

/* Reading g.page takes as long as we like. */
static bool stall_begin(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	g.uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	g.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.range = (struct uffdio_range){(uintptr_t)g.page, PAGE};
	if (g.uffd >= 0 && !ioctl(g.uffd, UFFDIO_API, &api) && !ioctl(g.uffd, UFFDIO_REGISTER, &r))
		return true;
	check_skip("this kernel has no userfaultfd");
	if (g.uffd >= 0)
		close(g.uffd);
	munmap(g.page, PAGE);
	return false;
}

static void *put(void *arg)
{
	static const uint16_t which[] = {0};
	struct port *p = &t.vm->port;
	struct frame *f = &g.batch.frame[0];

	memset(f, 0, sizeof(*f));
	g.batch.n = 1;
	f->len = LEN;
	f->shape = (struct frame_shape){.n_pieces = 1};
	g.batch.piece[0] = (struct piece){g.page, LEN};
	urcu_qsbr_register_thread();
	p->ops->out(p, t.worker, &g.batch, which, 1);
	rcu_quiet();
	urcu_qsbr_unregister_thread();
	return arg;
}

/* Lets the frame's bytes come, once control had time not to wait for it. */
static void *bring(void *arg)
{
	static uint8_t bytes[PAGE];
	struct uffdio_copy copy = {.dst = (uintptr_t)g.page, .src = (uintptr_t)bytes, .len = PAGE};

	memset(bytes, 0x5a, sizeof(bytes));
	is_waited_for();
	CU_ASSERT_EQUAL(ioctl(g.uffd, UFFDIO_COPY, &copy), 0);
	return arg;
}

static void header_goes(uint64_t features, bool table)
{
	struct vhost_user_region gone = block(HEADER), stays = block(REST);
	const uint8_t *hdr, *rest;
	pthread_t worker, helper;
	struct uffd_msg msg;
	unsigned i, bad = 0;

	begin(features | MRG);
	g.by_table = table;
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	if (!stall_begin())
		goto out;
	offer(0, 0, gone.gpa, HEADER_IN);
	offer(0, 1, stays.gpa, 2000);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&worker, NULL, put, NULL), 0);
	CU_ASSERT_EQUAL(read(g.uffd, &msg, sizeof(msg)), sizeof(msg)); /* it is in the middle */
	CU_ASSERT_EQUAL_FATAL(pthread_create(&helper, NULL, bring, NULL), 0);
	CU_ASSERT_TRUE(check_until(is_set, &g.holds, WAIT_MS));
	take_away(&gone);
	pthread_join(helper, NULL);
	pthread_join(worker, NULL);
	CU_ASSERT_FALSE(g.early);
	CU_ASSERT_EQUAL(t.stats.out_frames, 1);
	hdr = g.memory + gone.mmap_offset;
	rest = g.memory + stays.mmap_offset;
	CU_ASSERT(hdr[VQ_HDR_NUM_BUFFERS] == 2 && !hdr[VQ_HDR_NUM_BUFFERS + 1]);
	for (i = VQ_HDR_MAX; i < HEADER_IN; i++)
		bad += hdr[i] != 0x5a;
	for (i = 0; i < LEN - (HEADER_IN - VQ_HDR_MAX); i++)
		bad += rest[i] != 0x5a;
	CU_ASSERT(!bad && !hdr[HEADER_IN] && !rest[i]);
	/* and from now on that memory is none */
	offer(0, 2, gone.gpa, HEADER_IN);
	put(NULL);
	CU_ASSERT(t.stats.out_frames == 1 && t.vm->out[0]->broken == VQ_BAD_ADDRESS);
	close(g.uffd);
	munmap(g.page, PAGE);
out:
	end();
}

static void test_header(void)
{
	header_goes(0, false);
	header_goes(0, true);
	header_goes(PACKED, false);
	header_goes(PACKED, true);
}

/* ---- a worker that sleeps while memory comes ---- */

static bool has_frame(void *arg)
{
	return __atomic_load_n(&t.stats.in_frames, __ATOMIC_RELAXED) >= *(unsigned *)arg;
}

static bool sleeps(void *arg)
{
	struct vxs_worker_stats *s = arg;
	uint64_t n = __atomic_load_n(&s->sleeps, __ATOMIC_RELAXED);

	return n && __atomic_load_n(&t.vm->in[0]->told, __ATOMIC_RELAXED);
}

/* Nobody kicks: what wakes it is that its memory has come. */
static void test_asleep(void)
{
	const uint64_t frame = 0x123456000;
	struct vhost_user_iotlb m[] = {
		{PEER_UVA, 2 * BLOCK, PEER_UVA, 3, VHOST_USER_IOTLB_UPDATE, {0}},
		{frame, PAGE, PEER_UVA + HEADER * BLOCK, 1, VHOST_USER_IOTLB_UPDATE, {0}}};
	struct port_table ports = {.n = 1};
	struct sources *sources = calloc(1, sizeof(*sources) + sizeof(sources->source[0]));
	struct vswitch sw = {.fdb = fdb_new(), .ports = &ports};
	static struct vxs_worker_stats stats;
	unsigned one = 1;

	begin(ACCESS);
	memset(&stats, 0, sizeof(stats));
	peer_send(VHOST_USER_IOTLB_MSG, 0, &m[0], sizeof(m[0]), NULL, 0);
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	write_frame(g.memory + HEADER * BLOCK);
	offer(1, 0, frame, 12 + LEN);
	sources->n = 1;
	sources->source[0] = (struct source){.port = &t.vm->port};
	ports.all[0] = ports.by_id[t.vm->port.id] = &t.vm->port;
	t.worker->sw = &sw;
	t.worker->sources = sources;
	t.worker->stats = &stats;
	t.worker->poll = POLL_INTERRUPT;
	CU_ASSERT_EQUAL_FATAL(worker_start(t.worker), 0);
	CU_ASSERT_TRUE(check_until(sleeps, &stats, WAIT_MS));
	CU_ASSERT_EQUAL(t.stats.in_frames, 0);
	peer_send(VHOST_USER_IOTLB_MSG, 0, &m[1], sizeof(m[1]), NULL, 0);
	CU_ASSERT_TRUE(check_until(has_frame, &one, WAIT_MS));
	worker_stop(t.worker);
	end();
	free(sources);
	fdb_free(sw.fdb);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"lent", test_lent},     {"iotlb", test_iotlb}, {"header", test_header},
		{"asleep", test_asleep}, {NULL, NULL},
	};

	return check_main("mem_flight", tests, argc, argv);
}
