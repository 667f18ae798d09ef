/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE from front-ends that do what they like. */
#include "vu_peer.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "vm/vm_saved.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GROWTH_MAX LONG_MAX /* their own memory grows */
#else
#define GROWTH_MAX 64 /* pages */
#endif
#define ROUNDS 10000
#define NOFD   VHOST_USER_STATE_NOFD
#define SAVE   VHOST_USER_STATE_SAVE
#define LOAD   VHOST_USER_STATE_LOAD

static void negotiate(void)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_DEVICE_STATE) | FEATURE(VHOST_USER_PROTOCOL_F_MQ));
}

static void begin(void)
{
	peer_setup_vm((struct vm_options){.name = "a", .queues = 2, .mtu = 1500});
	negotiate();
}

/* The answer; *@fd is what came with it, or -1. */
static uint64_t transfer_with(uint32_t direction, uint32_t phase, int offered, int *fd)
{
	const struct vhost_user_transfer m = {direction, phase};
	struct {
		struct vhost_user_header h;
		uint64_t value;
	} __attribute__((packed)) r = {0};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&r, sizeof(r)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;

	*fd = -1;
	peer_send(VHOST_USER_SET_DEVICE_STATE_FD, 0, &m, sizeof(m), &offered, 1);
	if (recvmsg(t.fd, &msg, MSG_DONTWAIT) != sizeof(r) ||
	    r.h.request != VHOST_USER_SET_DEVICE_STATE_FD)
		return PEER_SILENCE;
	c = CMSG_FIRSTHDR(&msg);
	if (c)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return r.value;
}

static uint64_t transfer(uint32_t direction, int *fd)
{
	int end[2];
	uint64_t value;

	CU_ASSERT_FATAL(!pipe2(end, O_CLOEXEC));
	value = transfer_with(direction, 0, end[!direction], fd);
	close(end[0]);
	close(end[1]);
	return value;
}

static bool check(void)
{
	return !peer_get(VHOST_USER_CHECK_DEVICE_STATE);
}

static bool load(const void *bytes, size_t len)
{
	int fd;

	if (transfer(LOAD, &fd) || fd < 0)
		return false;
	CU_ASSERT_EQUAL(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	return check();
}

static size_t save(uint8_t *bytes, size_t size)
{
	ssize_t n = 0;
	int fd;

	if (!transfer(SAVE, &fd) && fd >= 0)
		n = read(fd, bytes, size);
	close(fd);
	return n > 0 && check() ? n : 0;
}

static uint64_t moved_in(void)
{
	struct vm_state state;

	vm_state(t.vm, &state);
	return state.moved_in;
}

/* The file is ours, and can't be changed by anybody; what is in it can be loaded. */
static void test_save(void)
{
	static uint8_t bytes[VM_SAVED_WRITE_MAX], again[VM_SAVED_WRITE_MAX];
	static struct vm_saved s;
	const char *why;
	size_t len;
	int fd;

	begin();
	len = save(bytes, sizeof(bytes));
	CU_ASSERT_FATAL(len);
	CU_ASSERT_EQUAL(vm_saved_read(&s, bytes, len, &why), 0);
	CU_ASSERT_STRING_EQUAL(s.name, "a");
	CU_ASSERT(s.queues == 1 && s.mtu == 1500);
	peer_state(VHOST_USER_SET_VRING_NUM, 3, 256);
	CU_ASSERT_EQUAL(save(again, sizeof(again)), len);
	CU_ASSERT_EQUAL(vm_saved_read(&s, again, len, &why), 0);
	CU_ASSERT_EQUAL(s.queues, 2);
	CU_ASSERT_EQUAL(transfer(SAVE, &fd), 0);
	CU_ASSERT(write(fd, "x", 1) < 0 && ftruncate(fd, 0) < 0);
	close(fd);
	CU_ASSERT(check());
	CU_ASSERT(!check()); /* of nothing */
	CU_ASSERT(!moved_in());
	CU_ASSERT(load(bytes, len));
	CU_ASSERT(moved_in());
	peer_hang_up();
	peer_pump();
	CU_ASSERT(!moved_in());
	peer_end();
}

/* Whatever is wrong with what came, the answer is no, and the connection stays. */
static void test_load(void)
{
	static uint8_t bytes[VM_SAVED_WRITE_MAX];
	static const uint8_t zeros[VM_SAVED_READ_MAX];
	size_t i, len;
	int fd;

	begin();
	len = save(bytes, sizeof(bytes));
	for (i = 1; i < len; i++)
		CU_ASSERT(!load(bytes, i));
	CU_ASSERT(!load(zeros, 1000));
	CU_ASSERT(!load(zeros, sizeof(zeros)));
	CU_ASSERT(!moved_in());
	CU_ASSERT(load(bytes, 0)); /* nothing came along, which is no fault */
	CU_ASSERT(!moved_in());
	CU_ASSERT_EQUAL(transfer(LOAD, &fd), 0);
	CU_ASSERT(pwrite(fd, bytes, 1, VM_SAVED_READ_MAX) < 0); /* no more room than for that */
	CU_ASSERT(ftruncate(fd, 0) < 0);
	CU_ASSERT_EQUAL(lseek(fd, 1ll << 40, SEEK_SET), 1ll << 40);
	CU_ASSERT(!check());
	close(fd);
	CU_ASSERT(!peer_is_closed());
	CU_ASSERT(load(bytes, len));
	peer_end();
}

static bool load_saved(const struct vm_saved *s)
{
	static uint8_t bytes[VM_SAVED_WRITE_MAX];

	return load(bytes, vm_saved_write(s, bytes));
}

/* What the VM was promised there has to hold here. */
static void test_settings(void)
{
	static struct vm_saved s;

	begin();
	s = (struct vm_saved){.name = "x", .queues = 2, .mtu = 1500, .features = VERSION_1};
	CU_ASSERT(load_saved(&s));
	s.queues = 3;
	CU_ASSERT(!load_saved(&s));
	s.queues = 1;
	s.mtu = 1501;
	CU_ASSERT(!load_saved(&s));
	s.mtu = 0;
	CU_ASSERT(load_saved(&s));
	s.features |= FEATURE(17); /* a control queue, which we don't offer */
	CU_ASSERT(!load_saved(&s));
	s.features = VERSION_1 | BIT30 | FEATURE(VHOST_USER_F_LOG_ALL); /* the front-end's own */
	CU_ASSERT(load_saved(&s));
	peer_end();
}

/* Only while all rings are stopped. */
static void test_running(void)
{
	static struct vm_saved s = {.name = "x", .queues = 1};
	static uint8_t bytes[VM_SAVED_WRITE_MAX];
	size_t len = vm_saved_write(&s, bytes);
	int fd;

	begin();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	peer_memory_at(PEER_UVA);
	peer_ring_but_kick(1);
	CU_ASSERT_EQUAL(transfer(LOAD, &fd), 0);
	CU_ASSERT_EQUAL(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	CU_ASSERT(!check()); /* started since */
	CU_ASSERT_EQUAL(transfer(LOAD, &fd), NOFD | 1);
	CU_ASSERT(fd < 0);
	CU_ASSERT_EQUAL(transfer(SAVE, &fd), NOFD | 1);
	CU_ASSERT(fd < 0);
	CU_ASSERT(!moved_in());
	peer_get_base(1);
	CU_ASSERT(load(bytes, len));
	CU_ASSERT(moved_in());
	peer_end();
}

/* Files of any kind are closed unused; directions and phases that don't exist are refused. */
static void test_offers(void)
{
	int fd, kind[5], pair[2], end[2];
	unsigned i, fds;

	begin();
	CU_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CU_ASSERT(!pipe2(end, O_CLOEXEC));
	kind[0] = open("/", O_RDONLY | O_CLOEXEC);
	kind[1] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	kind[2] = eventfd(0, EFD_CLOEXEC);
	kind[3] = pair[0];
	kind[4] = end[0]; /* of the wrong direction, and empty for ever */
	fds = check_fds();
	for (i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(transfer_with(SAVE, 0, kind[i], &fd), 0);
		close(fd);
		CU_ASSERT(check());
	}
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_EQUAL(transfer_with(2, 0, kind[0], &fd), NOFD | 1);
	CU_ASSERT_EQUAL(transfer_with(UINT32_MAX, 0, kind[0], &fd), NOFD | 1);
	CU_ASSERT_EQUAL(transfer_with(SAVE, 1, kind[0], &fd), NOFD | 1);
	CU_ASSERT_EQUAL(transfer_with(LOAD, UINT32_MAX, kind[0], &fd), NOFD | 1);
	CU_ASSERT(!check());
	CU_ASSERT_EQUAL(check_fds(), fds);
	for (i = 0; i < 3; i++)
		close(kind[i]);
	for (i = 0; i < 2; i++) {
		close(pair[i]);
		close(end[i]);
	}
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

/* Begun, done, done badly, and cut off, again and again. */
static void test_often(void)
{
	static uint8_t bytes[VM_SAVED_WRITE_MAX];
	unsigned i, fds = 0;
	long pages = 0;
	size_t len;
	int fd;

	begin();
	len = save(bytes, sizeof(bytes));
	for (i = 0; i < ROUNDS; i++) {
		if (transfer(i & 1, &fd) || fd < 0)
			break;
		if (i % 4 == 1 && write(fd, bytes, len - i % 8 / 4) < 0)
			break;
		close(fd);
		if (i % 3 == 0)
			check();
		if (i % 50 == 0)
			negotiate();
		if (i == 1000) {
			fds = check_fds();
			pages = resident();
		}
	}
	CU_ASSERT_EQUAL(i, ROUNDS);
	CU_ASSERT(check_fds() <= fds + 1);
	CU_ASSERT(resident() - pages < GROWTH_MAX);
	fds = check_fds();
	peer_hang_up();
	peer_pump();
	CU_ASSERT(check_fds() < fds);
	peer_end();
}

static const struct check tests[] = {
	{"saved", test_save},
	{"loaded", test_load},
	{"settings", test_settings},
	{"only while rings rest", test_running},
	{"what is offered", test_offers},
	{"10,000 times", test_often},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("transfer", tests, argc, argv);
}
