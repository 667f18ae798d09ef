/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* GET_INFLIGHT_FD and SET_INFLIGHT_FD: what is asked for, what is given, and what is refused. */
#include "vu_peer.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "vm/vm_control.h"
#include "vm/vq_journal.h"
#include "vm/vu_inflight.h"

#define PACKED   FEATURE(34)
#define INFLIGHT FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GROWTH_MAX LONG_MAX /* their own memory grows */
#else
#define GROWTH_MAX 64 /* pages */
#endif
#define ROUNDS 10000

static void begin(unsigned pairs, uint64_t features)
{
	peer_setup(pairs);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 INFLIGHT | FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK));
	if (features)
		peer_u64(VHOST_USER_SET_FEATURES, features | VERSION_1 | BIT30);
}

static void again(uint64_t features)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, INFLIGHT);
	peer_u64(VHOST_USER_SET_FEATURES, features | VERSION_1 | BIT30);
}

/* The reply's fd, or -1; @m is the reply's payload. */
static int get(struct vhost_user_inflight *m)
{
	struct {
		struct vhost_user_header h;
		struct vhost_user_inflight m;
	} __attribute__((packed)) r = {0};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&r, sizeof(r)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int fd = -1;

	peer_send(VHOST_USER_GET_INFLIGHT_FD, 0, m, sizeof(*m), NULL, 0);
	if (recvmsg(t.fd, &msg, MSG_DONTWAIT) != sizeof(r) ||
	    r.h.request != VHOST_USER_GET_INFLIGHT_FD)
		return -1;
	*m = r.m;
	c = CMSG_FIRSTHDR(&msg);
	if (c)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static void set(const struct vhost_user_inflight *m, int fd)
{
	peer_send(VHOST_USER_SET_INFLIGHT_FD, 0, m, sizeof(*m), &fd, 1);
}

static int memory_of(uint64_t size)
{
	int fd = memfd_create("guest-inflight", MFD_CLOEXEC);

	CU_ASSERT_EQUAL(ftruncate(fd, size), 0);
	return fd;
}

static void test_get(void)
{
	struct vhost_user_inflight m = {.n_queues = 3, .queue_size = 256};
	struct stat st;
	int fd;

	begin(2, PACKED);
	fd = get(&m);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(m.mmap_size, 3 * 8256); /* 32 bytes, and 256 times 32, in lines of 64 */
	CU_ASSERT_EQUAL(m.mmap_offset, 0);
	CU_ASSERT(m.n_queues == 3 && m.queue_size == 256);
	CU_ASSERT(!fstat(fd, &st) && (uint64_t)st.st_size == m.mmap_size);
	CU_ASSERT(ftruncate(fd, 0) < 0); /* or whoever maps it would be at anybody's mercy */
	CU_ASSERT(ftruncate(fd, 1 << 20) < 0);
	close(fd);
	again(0);
	m = (struct vhost_user_inflight){.n_queues = 4, .queue_size = 7};
	fd = get(&m);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(m.mmap_size, 4 * 128); /* 16 bytes, and 7 times 16 */
	close(fd);
	peer_end();
}

/* Numbers that a back-end was once written out of its bounds with (CVE-2021-3839), and others. */
static void test_refused(void)
{
	static const uint16_t n[][2] = {{0, 256}, {5, 256},   {257, 256}, {65535, 256},
					{4, 0},   {4, 32769}, {4, 65535}};
	static const uint64_t area[][2] = {
		{0, 0},          {4 * 8256 - 1, 0},     {4 * 8256, 64},  {4 * 8256, 1},
		{4 * 8256, 8},   {4 * 8256 + 1, 0},     {UINT64_MAX, 0}, {4 * 8256, UINT64_MAX},
		{4 * 8256, -64}, {UINT64_MAX - 63, 64}, {1ull << 45, 0}};
	struct vhost_user_inflight m;
	unsigned i, fds = 0;
	int fd = memory_of(4 * 8256);

	begin(2, PACKED);
	for (i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
		m = (struct vhost_user_inflight){
			.mmap_size = 4 * 8256, .n_queues = n[i][0], .queue_size = n[i][1]};
		CU_ASSERT(get(&m) < 0 && peer_is_closed());
		again(PACKED);
		set(&m, fd);
		CU_ASSERT(peer_is_closed());
		again(PACKED);
	}
	for (i = 0; i < sizeof(area) / sizeof(area[0]); i++) {
		m = (struct vhost_user_inflight){area[i][0], area[i][1], 4, 256, {0}};
		set(&m, fd);
		CU_ASSERT(peer_is_closed());
		again(PACKED);
		fds = fds ? fds : check_fds();
		CU_ASSERT_EQUAL(check_fds(), fds);
	}
	CU_ASSERT_EQUAL(count_maps(), 0);
	close(fd);
	peer_end();
}

/* Files of other kinds, and messages before the ring format is known. */
static void test_other_files(void)
{
	struct vhost_user_inflight m = {8256, 0, 1, 256, {0}};
	int fd[3], i;

	begin(1, PACKED);
	fd[0] = eventfd(0, EFD_CLOEXEC);
	fd[1] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	fd[2] = open("/", O_RDONLY | O_CLOEXEC);
	for (i = 0; i < 3; i++) {
		set(&m, fd[i]);
		CU_ASSERT(peer_is_closed());
		again(PACKED);
	}
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, INFLIGHT);
	CU_ASSERT(get(&m) < 0 && peer_is_closed());
	peer_connect(); /* not negotiated */
	peer_u64(VHOST_USER_SET_FEATURES, PACKED | VERSION_1 | BIT30);
	CU_ASSERT(get(&m) < 0 && peer_is_closed());
	for (i = 0; i < 3; i++)
		close(fd[i]);
	peer_end();
}

static void start_ring(uint32_t index, uint32_t base)
{
	peer_state(VHOST_USER_SET_VRING_NUM, index, PEER_SIZE);
	peer_state(VHOST_USER_SET_VRING_BASE, index, base);
	peer_addr(index);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, index));
}

/* What stands there is believed by a new connection, and by rings that have not run on it. */
static void test_resume(void)
{
	const uint64_t size = vu_inflight_size(2, PEER_SIZE, true);
	struct vhost_user_inflight m = {size, 0, 2, PEER_SIZE, {0}};
	int fd = memory_of(size);
	struct vu_inflight_packed *area =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CU_ASSERT_FATAL(area != MAP_FAILED);
	begin(1, PACKED);
	peer_memory_at(PEER_UVA);
	set(&m, fd);
	start_ring(0, 0x80058005);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	CU_ASSERT_EQUAL(area->version, 1);
	CU_ASSERT_EQUAL(area->desc_num, PEER_SIZE);
	CU_ASSERT(area->place.used == 5 && area->place.old_used == 5 && area->place.wrap == 1);
	area->place = (struct vu_inflight_place){9, 9, 0, 0, 0};
	set(&m, fd); /* the same again: we know better */
	CU_ASSERT_EQUAL(peer_get_base(0) >> 32, 0x80058005);
	area->place = (struct vu_inflight_place){9, 9, 0, 0, 0};
	set(&m, fd); /* stopped since, perhaps by a reboot: the base counts */
	start_ring(0, 0x80008000);
	CU_ASSERT_EQUAL(peer_get_base(0) >> 32, 0x80008000);
	area->place = (struct vu_inflight_place){9, 9, 0, 0, 0};
	again(PACKED);
	peer_memory_at(PEER_UVA);
	set(&m, fd);
	start_ring(0, 0x80008000);
	CU_ASSERT_EQUAL(peer_get_base(0) >> 32, 0x00090009);
	munmap(area, size);
	close(fd);
	peer_end();
}

/* A ring has its place only if the area was made for it, and a place is aligned. */
static void test_place(void)
{
	const uint64_t size = vu_inflight_size(2, PEER_SIZE, true);
	struct vhost_user_inflight m = {size, 64, 2, PEER_SIZE, {0}};
	int fd = memory_of(size + 4096);
	const struct vu_inflight *f;

	begin(1, PACKED);
	set(&m, fd);
	f = t.vm->control->inflight;
	CU_ASSERT_PTR_NOT_NULL(vu_inflight_region(f, 0, true, PEER_SIZE));
	CU_ASSERT_PTR_NOT_NULL(vu_inflight_region(f, 1, true, PEER_SIZE));
	CU_ASSERT_PTR_NULL(vu_inflight_region(f, 2, true, PEER_SIZE));
	CU_ASSERT_PTR_NULL(vu_inflight_region(f, 0, true, PEER_SIZE + 1));
	CU_ASSERT_PTR_NULL(vu_inflight_region(f, 0, false, PEER_SIZE));
	CU_ASSERT_FALSE(peer_is_closed());
	m.mmap_offset = 8;
	set(&m, fd);
	CU_ASSERT(peer_is_closed());
	close(fd);
	peer_end();
}

/* The file is cut short under a ring's hands: as with guest memory. */
static void test_cut(void)
{
	const uint64_t size = vu_inflight_size(2, PEER_SIZE, true);
	struct vhost_user_inflight m = {size, 0, 2, PEER_SIZE, {0}};
	int fd = memory_of(size);
	struct vm_state state;

	begin(1, PACKED);
	peer_memory_at(PEER_UVA);
	set(&m, fd);
	CU_ASSERT_EQUAL(ftruncate(fd, 0), 0);
	start_ring(1, 0x80008000);
	vm_broken(t.vm);
	vm_state(t.vm, &state);
	CU_ASSERT(!state.connected && peer_is_closed());
	CU_ASSERT_EQUAL(count_maps(), 0);
	close(fd);
	peer_end();
}

static long resident(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		pages = -1;
	if (f)
		fclose(f);
	return pages;
}

/* Asking again and again costs nothing (CVE-2020-10726, CVE-2022-0669). */
static void test_often(void)
{
	struct vhost_user_inflight m = {.n_queues = 2, .queue_size = 256};
	unsigned i, fds = 0;
	long pages = 0;
	int fd;

	begin(1, PACKED);
	for (i = 0; i < ROUNDS; i++) {
		m = (struct vhost_user_inflight){.n_queues = 2, .queue_size = 256};
		fd = get(&m);
		if (fd < 0)
			break;
		if (i % 4 == 0)
			set(&m, fd);
		close(fd);
		if (i == 100) {
			fds = check_fds();
			pages = resident();
		}
	}
	CU_ASSERT_EQUAL(i, ROUNDS);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(resident() - pages < GROWTH_MAX);
	fds = check_fds();
	peer_hang_up();
	peer_pump();
	CU_ASSERT(check_fds() + 2 <= fds);
	peer_end();
}

static const struct check tests[] = {
	{"size and seals", test_get},
	{"refused", test_refused},
	{"other files", test_other_files},
	{"resumed", test_resume},
	{"place", test_place},
	{"cut short", test_cut},
	{"10,000 times", test_often},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("inflight", tests, argc, argv);
}
