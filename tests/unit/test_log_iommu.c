/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The dirty log of a guest behind an IOMMU: pages are marked by their guest physical addresses. */
#include "log_rig.h"
#include "vu_peer.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "vm/vm_control.h"

#define ACCESS FEATURE(VIRTIO_F_ACCESS_PLATFORM)
#define PACKED FEATURE(VIRTIO_F_RING_PACKED)
#define MRG    FEATURE(VIRTIO_NET_F_MRG_RXBUF)
#define LOG    FEATURE(VHOST_USER_F_LOG_ALL)
#define BLOCK  0x10000ull
#define GPA    0x1000000ull /* of block 0 */
#define BUFFER 0x8000ull    /* what the guest's IOMMU calls two pages: the log has such pages */
#define LOG_AT 0x20000ull   /* and the used ring, in SET_VRING_ADDR */
#define PAGES  ((GPA + PEER_MEM) / PAGE)
#define LEN    6000

/*
 *	I/O address			file (block)	guest physical
 *	PEER_UVA	rings		0		GPA
 *	BUFFER		a page		8		GPA + 8 * BLOCK
 *	BUFFER + PAGE	the next	9		GPA + 9 * BLOCK		another region
 */
static struct {
	uint8_t *memory, was[BLOCK];
	bool packed;
	uint16_t at;
	struct vu_log log; /* our view of it */
	struct batch batch;
} g;

static uint64_t map(uint64_t iova, uint64_t size, unsigned block, uint8_t type)
{
	struct vhost_user_iotlb m = {iova, size, PEER_UVA + block * BLOCK, 3, type, {0}};

	peer_send(VHOST_USER_IOTLB_MSG, 0, &m, sizeof(m), NULL, 0);
	return peer_reply(VHOST_USER_IOTLB_MSG, 8);
}

static void begin(uint64_t features)
{
	static const unsigned block[] = {0, 8, 9};
	struct vhost_user_vring_addr a = {.index = 0,
					  .flags = VHOST_USER_ADDR_LOG,
					  .desc = PEER_UVA,
					  .avail = PEER_UVA + PEER_AVAIL,
					  .used = PEER_UVA + PEER_USED,
					  .log = LOG_AT};
	struct vhost_user_memory m = {.n = 3};
	struct vhost_user_log log = {.size = PAGES / 8};
	int fd = log_file(PAGES / 8), fds[3];
	unsigned i;

	peer_setup(1);
	memset(&t.stats, 0, sizeof(t.stats));
	memset(&g, 0, sizeof(g));
	g.packed = features & PACKED;
	g.memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	g.log.at = mmap(NULL, PAGES / 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g.log.pages = PAGES;
	CU_ASSERT_FATAL(g.memory != MAP_FAILED && g.log.at != MAP_FAILED);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD));
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | MRG | ACCESS | LOG | features);
	for (i = 0; i < 3; i++) {
		m.region[i] = (struct vhost_user_region){GPA + block[i] * BLOCK, BLOCK,
							 PEER_UVA + block[i] * BLOCK,
							 block[i] * BLOCK};
		fds[i] = t.memory;
	}
	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &m, 8 + 3 * sizeof(m.region[0]), fds, 3);
	peer_send(VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &fd, 1);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_SET_LOG_BASE, 8), 0);
	close(fd);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	peer_state(VHOST_USER_SET_VRING_NUM, 0, PEER_SIZE);
	peer_state(VHOST_USER_SET_VRING_BASE, 0, g.packed ? 0x80008000 : 0);
	peer_send(VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 0));
	CU_ASSERT_EQUAL(map(PEER_UVA, BLOCK, 0, VHOST_USER_IOTLB_UPDATE), 0);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, 8, VHOST_USER_IOTLB_UPDATE), 0);
	CU_ASSERT_EQUAL(map(BUFFER + PAGE, PAGE, 9, VHOST_USER_IOTLB_UPDATE), 0);
	CU_ASSERT_FATAL(t.vm->out[0] != NULL);
}

static void end(void)
{
	munmap(g.memory, PEER_MEM);
	munmap(g.log.at, PAGES / 8);
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

static void offer(uint64_t addr, uint32_t len)
{
	struct vring_packed_desc *p = (void *)g.memory;
	struct vring_avail *avail = (void *)(g.memory + PEER_AVAIL);
	struct vring_desc *d = (void *)g.memory;
	uint16_t at = g.at++;

	if (g.packed) {
		p[at].addr = addr;
		p[at].len = len;
		p[at].id = at;
		p[at].flags = VRING_DESC_F_WRITE | 1u << VRING_PACKED_DESC_F_AVAIL;
		return;
	}
	d[at] = (struct vring_desc){.addr = addr, .len = len, .flags = VRING_DESC_F_WRITE};
	avail->ring[at] = at;
	avail->idx = g.at;
}

/* A frame of LEN bytes to the guest; true: it took it. What was marked before is fetched. */
static bool put(void)
{
	static const uint16_t which[] = {0};
	static uint8_t bytes[LEN];
	struct frame *f = &g.batch.frame[0];
	uint64_t before = t.stats.out_frames;

	memset(bytes, 0x5a, sizeof(bytes));
	memset(g.log.at, 0, PAGES / 8);
	memcpy(g.was, g.memory, BLOCK);
	memset(f, 0, sizeof(*f));
	g.batch.n = 1;
	f->len = LEN;
	f->shape = (struct frame_shape){.n_pieces = 1};
	g.batch.piece[0] = (struct piece){bytes, LEN};
	t.vm->port.ops->out(&t.vm->port, t.worker, &g.batch, which, 1);
	return t.stats.out_frames != before;
}

/* Pages of the rings that were written, each of which must be marked. */
static unsigned changed(void)
{
	unsigned i, n = 0;

	for (i = 0; i < BLOCK / PAGE; i++) {
		if (!memcmp(g.was + i * PAGE, g.memory + i * PAGE, PAGE))
			continue;
		CU_ASSERT_TRUE(is_marked(&g.log, GPA / PAGE + i));
		n++;
	}
	return n;
}

static void both(uint64_t features)
{
	const uint64_t first = (GPA + 8 * BLOCK) / PAGE, next = (GPA + 9 * BLOCK) / PAGE;
	unsigned rings;

	begin(features);
	/* from the middle of one page to that of the next, which is one buffer for the guest only;
	 * and the same in two */
	offer(BUFFER, 2 * PAGE);
	CU_ASSERT_TRUE(put());
	CU_ASSERT(g.memory[8 * BLOCK + PAGE - 1] == 0x5a && g.memory[9 * BLOCK] == 0x5a);
	CU_ASSERT(is_marked(&g.log, first) && is_marked(&g.log, next));
	rings = changed();
	CU_ASSERT_EQUAL(rings, 1);
	CU_ASSERT_EQUAL(count_marked(&g.log), 2 + rings);
	offer(BUFFER, 100);
	offer(BUFFER + PAGE - 2000, 2000);
	offer(BUFFER + PAGE, PAGE);
	CU_ASSERT_TRUE(put());
	CU_ASSERT(is_marked(&g.log, first) && is_marked(&g.log, next));
	CU_ASSERT_EQUAL(count_marked(&g.log), 2 + changed());
	/* a frame that is lost, since the second of its buffers is not known: what was written of
	 * the ring until then is marked */
	CU_ASSERT_EQUAL(map(BUFFER + PAGE, PAGE, 0, VHOST_USER_IOTLB_INVALIDATE), 0);
	offer(BUFFER, 100);
	offer(BUFFER + PAGE, PAGE);
	CU_ASSERT_FALSE(put());
	CU_ASSERT_EQUAL(t.stats.drops.memory_absent, 1);
	CU_ASSERT_EQUAL(count_marked(&g.log), changed());
	/* a page that is other memory now */
	CU_ASSERT_EQUAL(map(BUFFER + PAGE, PAGE, 8, VHOST_USER_IOTLB_UPDATE), 0);
	offer(BUFFER + PAGE, PAGE);
	CU_ASSERT_TRUE(put());
	CU_ASSERT(is_marked(&g.log, first) && !is_marked(&g.log, next));
	CU_ASSERT_EQUAL(count_marked(&g.log), 1 + changed());
	end();
}

static void test_split(void)
{
	both(0);
}

static void test_packed(void)
{
	both(PACKED);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"split", test_split},
		{"packed", test_packed},
		{NULL, NULL},
	};

	return check_main("log_iommu", tests, argc, argv);
}
