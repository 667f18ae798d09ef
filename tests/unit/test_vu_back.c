/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The back-end channel: what goes over it, and front-ends that don't treat it as they should. */
#include "vu_peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "vm/vm_control.h"
#include "vm/vu_back.h"

#define P(name) FEATURE(VHOST_USER_PROTOCOL_F_##name)

#ifdef __SANITIZE_ADDRESS__
#define PAGES_MORE (1 << 20) /* what was freed is kept for a while */
#else
#define PAGES_MORE 100
#endif

static long resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long total, resident = 0;

	if (fscanf(f, "%ld %ld", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident;
}

/* Gives the VM one end of a new socket; the other is returned. */
static int give_channel(void)
{
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	close(pair[1]);
	return pair[0];
}

static void begin(void)
{
	peer_setup(1);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 P(REPLY_ACK) | P(BACKEND_REQ) | P(BACKEND_SEND_FD));
}

/* Requests are whole, in order, and want no reply. */
static void test_send(void)
{
	struct vhost_user_vring_state s = {3, 0};
	struct {
		struct vhost_user_header header;
		struct vhost_user_vring_state state;
	} got;
	struct vm_control *c;
	int channel;

	begin();
	c = t.vm->control;
	CU_ASSERT_EQUAL(vu_back_send(c, VHOST_USER_BACKEND_VRING_CALL, &s, sizeof(s)), -ENOTCONN);
	channel = give_channel();
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_EQUAL(vu_back_send(c, VHOST_USER_BACKEND_VRING_CALL, &s, sizeof(s)), 0);
	CU_ASSERT_EQUAL(vu_back_send(c, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0), 0);
	CU_ASSERT_EQUAL(recv(channel, &got, 20, MSG_DONTWAIT), 20);
	CU_ASSERT(got.header.request == 4 && got.header.flags == 1 && got.header.size == 8);
	CU_ASSERT_EQUAL(got.state.index, 3);
	CU_ASSERT_EQUAL(recv(channel, &got, 20, MSG_DONTWAIT), 12);
	CU_ASSERT(got.header.request == 2 && got.header.flags == 1 && got.header.size == 0);
	close(channel);
	peer_end();
}

/* A front-end that doesn't read loses requests, not its connection; none is cut in two. */
static void test_full(void)
{
	struct vhost_user_iotlb message = {.iova = 1};
	uint8_t got[sizeof(struct vhost_user_header) + sizeof(message)];
	struct vm_control *c;
	unsigned sent = 0, read = 0, round;
	int channel;

	begin();
	c = t.vm->control;
	channel = give_channel();
	for (round = 0; round < 3; round++) {
		while (sent < 100000 &&
		       !vu_back_send(c, VHOST_USER_BACKEND_IOTLB_MSG, &message, sizeof(message)))
			sent++;
		CU_ASSERT_FATAL(sent > read && sent < 100000);
		CU_ASSERT_EQUAL(
			vu_back_send(c, VHOST_USER_BACKEND_IOTLB_MSG, &message, sizeof(message)),
			-EAGAIN);
		peer_pump(); /* and does not spin */
		while (recv(channel, got, sizeof(got), MSG_DONTWAIT) == sizeof(got)) {
			CU_ASSERT_EQUAL(*(uint32_t *)got, VHOST_USER_BACKEND_IOTLB_MSG);
			read++;
		}
		CU_ASSERT_EQUAL(read, sent);
		peer_pump();
	}
	CU_ASSERT_FALSE(peer_is_closed());
	close(channel);
	peer_end();
}

static void put_nothing(int channel)
{
	(void)channel;
}

static void put_reply(int channel)
{
	struct vhost_user_header h = {VHOST_USER_BACKEND_VRING_CALL,
				      VHOST_USER_VERSION | VHOST_USER_REPLY, 0};

	CU_ASSERT(peer_put(channel, &h, sizeof(h), NULL, 0));
}

static void put_garbage(int channel)
{
	static uint8_t bytes[5000];

	CU_ASSERT(peer_put(channel, bytes, sizeof(bytes), NULL, 0));
}

static void put_fds(int channel)
{
	int fds[8];
	unsigned i;

	for (i = 0; i < 8; i++)
		fds[i] = t.memory;
	for (i = 0; i < 20; i++)
		CU_ASSERT(peer_put(channel, "x", 1, fds, 8));
}

/* Whatever comes of the front-end ends the channel, and the connection goes on. */
static void test_end(void)
{
	static void (*const put[])(int) = {put_nothing, put_reply, put_garbage, put_fds};
	unsigned i, before, maps;
	int channel;

	begin();
	before = check_fds();
	maps = count_maps();
	for (i = 0; i < 4; i++) {
		channel = give_channel();
		CU_ASSERT_PTR_NOT_NULL(t.vm->control->back);
		put[i](channel);
		if (!i)
			shutdown(channel, SHUT_WR);
		peer_pump();
		CU_ASSERT_PTR_NULL(t.vm->control->back);
		CU_ASSERT(peer_is_closed_fd(channel));
		close(channel);
		CU_ASSERT_FALSE(peer_is_closed());
	}
	CU_ASSERT_EQUAL(check_fds(), before);
	CU_ASSERT_EQUAL(count_maps(), maps);

	/* closed while we send: nobody is killed, and later sends know */
	channel = give_channel();
	close(channel);
	CU_ASSERT_EQUAL(vu_back_send(t.vm->control, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0),
			-ENOTCONN);
	CU_ASSERT_EQUAL(vu_back_send(t.vm->control, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0),
			-ENOTCONN);
	peer_pump();
	CU_ASSERT_PTR_NULL(t.vm->control->back);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

static int make_listener(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family));
	listen(fd, 1);
	return fd;
}

/* Only a connected stream socket of AF_UNIX is taken. */
static void test_other_files(void)
{
	unsigned i, before;
	int fd, pair[2];

	begin();
	peer_hang_up();
	peer_pump();
	before = check_fds();
	for (i = 0; i < 6; i++) {
		peer_connect();
		peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(BACKEND_REQ));
		pair[1] = -1;
		switch (i) {
		case 0:
			fd = eventfd(0, EFD_CLOEXEC);
			break;
		case 1:
			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			break;
		case 2:
			socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair);
			fd = pair[0];
			break;
		case 3:
			socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
			fd = pair[0];
			break;
		case 4:
			fd = make_listener();
			break;
		default:
			fd = epoll_create1(EPOLL_CLOEXEC);
			break;
		}
		peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &fd, 1);
		CU_ASSERT(peer_is_closed());
		CU_ASSERT_PTR_NULL(t.vm->control->back);
		close(fd);
		if (pair[1] >= 0)
			close(pair[1]);
		peer_hang_up();
		CU_ASSERT_EQUAL(check_fds(), before);
	}
	peer_end();
}

/* The newest counts, and none that is replaced stays. */
static void test_replaced(void)
{
	unsigned i, before;
	int channel, old;
	long resident = 0;

	begin();
	before = check_fds();
	old = give_channel();
	for (i = 0; i < 10000; i++) {
		channel = give_channel();
		if (i % 1000 == 0)
			CU_ASSERT(peer_is_closed_fd(old));
		close(old);
		old = channel;
		if (i == 1000)
			resident = resident_pages();
	}
	CU_ASSERT_EQUAL(check_fds(), before + 2);
	CU_ASSERT(resident_pages() < resident + PAGES_MORE);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_PTR_NULL(t.vm->control->back);
	CU_ASSERT(peer_is_closed_fd(old));
	close(old);
	peer_end();
}

/* A page that doesn't come, and who reads into it from the VM's own end of the channel. */
static struct {
	int fault_fd, socket;
	void *page;
	bool handled;
} stall;

static void *read_forever(void *arg)
{
	(void)arg;
	recv(stall.socket, stall.page, 16, 0);
	return NULL;
}

static bool is_handled(void *arg)
{
	(void)arg;
	return __atomic_load_n(&stall.handled, __ATOMIC_ACQUIRE);
}

/* Ends it when the VM has done its part, or failed to. */
static void *bring_page(void *arg)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)stall.page, 4096}};

	*(bool *)arg = check_until(is_handled, NULL, 2000);
	ioctl(stall.fault_fd, UFFDIO_ZEROPAGE, &zero);
	return NULL;
}

static bool stall_open(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	stall.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.range.start = (uintptr_t)stall.page;
	r.range.len = 4096;
	stall.fault_fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return stall.fault_fd >= 0 && !ioctl(stall.fault_fd, UFFDIO_API, &api) &&
	       !ioctl(stall.fault_fd, UFFDIO_REGISTER, &r);
}

static void stall_close(void)
{
	if (stall.fault_fd >= 0)
		close(stall.fault_fd);
	munmap(stall.page, 4096);
}

/* Whoever reads from the same file and gets no page for it doesn't make us wait. */
static void test_stalled_reader(void)
{
	struct pollfd p = {.events = POLLIN};
	pthread_t reader, bringer;
	bool in_time = false;
	int pair[2];

	if (!stall_open()) {
		check_skip("userfaultfd is not allowed here");
		stall_close();
		return;
	}
	begin();
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	stall.socket = pair[1];
	peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	CU_ASSERT_PTR_NOT_NULL(t.vm->control->back);
	CU_ASSERT(peer_put(pair[0], "some bytes, more than it reads", 30, NULL, 0));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_forever, NULL), 0);
	p.fd = stall.fault_fd;
	CU_ASSERT_EQUAL(poll(&p, 1, 5000), 1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&bringer, NULL, bring_page, &in_time), 0);
	CU_ASSERT_EQUAL(vu_back_send(t.vm->control, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0),
			0);
	peer_pump();
	CU_ASSERT_PTR_NULL(t.vm->control->back);
	__atomic_store_n(&stall.handled, true, __ATOMIC_RELEASE);
	pthread_join(bringer, NULL);
	pthread_join(reader, NULL);
	CU_ASSERT(in_time);
	CU_ASSERT_FALSE(peer_is_closed());
	close(pair[0]);
	close(pair[1]);
	stall_close();
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"requests", test_send},
		{"full", test_full},
		{"replies_and_hang_up", test_end},
		{"other_files", test_other_files},
		{"replaced", test_replaced},
		{"stalled_reader", test_stalled_reader},
		{NULL, NULL},
	};

	return check_main("vu_back", tests, argc, argv);
}
