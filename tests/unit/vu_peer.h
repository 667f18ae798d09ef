/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM in a loop of our own, and a peer that sends it messages made by hand, good and bad. */
#ifndef VU_PEER_H
#define VU_PEER_H

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "control/log.h"
#include "control/loop.h"
#include "switch/worker.h"
#include "vhost_user.h"
#include "vm/vm.h"
#include "vm/vq.h"
#include "vm/vu_close.h"

#define PEER_MEM   (1u << 20)
#define PEER_UVA   0x7f0000000000ull
#define PEER_SIZE  256 /* descriptors of a ring */
#define PEER_RING  0x10000ull
#define PEER_AVAIL 0x1000ull
#define PEER_USED  0x2000ull
#define FEATURE(n) (1ull << (n))
#define BIT30      FEATURE(VHOST_USER_F_PROTOCOL_FEATURES)
#define VERSION_1  FEATURE(32)

static struct {
	char dir[64], socket[108];
	struct loop *loop;
	struct worker *worker; /* never started: we look at what it would see */
	struct vm *vm;
	struct vxs_port_stats stats;
	unsigned changes;
	int fd;         /* the peer's end */
	int memory;     /* memfd */
	bool leave_fds; /* peer_pump() doesn't wait until odd ones are closed */
} t = {.fd = -1, .memory = -1};

static inline void peer_changed(void *arg, struct vm *vm)
{
	(void)arg;
	(void)vm;
	t.changes++;
}

static inline void peer_setup_vm(struct vm_options opt)
{
	unsigned i, queues = opt.queues;

	log_set_level(getenv("VERBOSE") ? LOG_DEBUG : LOG_ERROR);
	strcpy(t.dir, "/tmp/vxs-vu-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(t.dir));
	snprintf(t.socket, sizeof(t.socket), "%s/a.sock", t.dir);
	strcpy(opt.socket, t.socket);
	CU_ASSERT_EQUAL_FATAL(loop_new(&t.loop), 0);
	CU_ASSERT_EQUAL_FATAL(worker_new(&t.worker, 0, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vm_new(&t.vm, t.loop, &opt, VXS_PORT_VM, &t.stats), 0);
	for (i = 0; i < queues; i++)
		t.vm->port.worker[i] = t.worker;
	vm_on_change(t.vm, peer_changed, NULL);
	CU_ASSERT_EQUAL_FATAL(vm_listen(t.vm), 0);
	t.memory = memfd_create("guest", MFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(ftruncate(t.memory, PEER_MEM), 0);
	t.changes = 0;
}

static inline void peer_setup(unsigned queues)
{
	peer_setup_vm((struct vm_options){.name = "a", .queues = queues});
}

static inline void peer_hang_up(void)
{
	if (t.fd >= 0)
		close(t.fd);
	t.fd = -1;
}

static inline void peer_end(void)
{
	peer_hang_up();
	vm_free(t.vm);
	CU_ASSERT(access(t.socket, F_OK) < 0);
	loop_free(t.loop);
	worker_free(t.worker);
	close(t.memory);
	rmdir(t.dir);
}

/* Lets the VM handle all that has come. */
static inline void peer_pump(void)
{
	while (loop_once(t.loop, 0) > 0)
		while (vu_close_pending(VXS_PORT_VM) && !t.leave_fds)
			sched_yield();
}

static inline int peer_dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, t.socket);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline void peer_connect(void)
{
	peer_hang_up();
	peer_pump();
	t.fd = peer_dial();
	peer_pump();
}

static inline bool peer_put(int to, const void *bytes, size_t len, const int *fds, unsigned n)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (n) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&m);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	}
	return sendmsg(to, &m, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Sends a message on t.fd and lets the VM handle it. */
static inline void peer_send(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
			     const int *fds, unsigned n)
{
	uint8_t bytes[8192];
	struct vhost_user_header h = {request, flags | VHOST_USER_VERSION, size};

	memcpy(bytes, &h, sizeof(h));
	if (size)
		memcpy(bytes + sizeof(h), payload, size);
	peer_put(t.fd, bytes, sizeof(h) + size, fds, n);
	peer_pump();
}

static inline void peer_u64(uint32_t request, uint64_t value)
{
	peer_send(request, 0, &value, sizeof(value), NULL, 0);
}

static inline void peer_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state s = {index, num};

	peer_send(request, 0, &s, sizeof(s), NULL, 0);
}

/* KICK, CALL, ERR with a fresh eventfd; the peer's own is returned. */
static inline int peer_eventfd(uint32_t request, uint64_t index)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	peer_send(request, 0, &index, sizeof(index), &fd, 1);
	return fd;
}

static inline void peer_addr(uint32_t index)
{
	uint64_t at = PEER_UVA + index * PEER_RING;
	struct vhost_user_vring_addr a = {
		.index = index, .desc = at, .avail = at + PEER_AVAIL, .used = at + PEER_USED};

	peer_send(VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
}

static inline void peer_memory_at(uint64_t uva)
{
	struct vhost_user_memory m = {.n = 1, .region = {{0, PEER_MEM, uva, 0}}};

	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &m, 8 + sizeof(m.region[0]), &t.memory, 1);
}

/* One reply: its u64 (or the first 8 bytes), or UINT64_MAX - 1 if none came. */
#define PEER_SILENCE (UINT64_MAX - 1)
static inline uint64_t peer_reply(uint32_t request, uint32_t size)
{
	struct {
		struct vhost_user_header h;
		uint64_t value;
	} __attribute__((packed)) r;

	if (recv(t.fd, &r, sizeof(r), MSG_DONTWAIT) != (ssize_t)(sizeof(r.h) + size))
		return PEER_SILENCE;
	CU_ASSERT_EQUAL(r.h.request, request);
	CU_ASSERT_EQUAL(r.h.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	CU_ASSERT_EQUAL(r.h.size, size);
	return r.value;
}

static inline uint64_t peer_get(uint32_t request)
{
	peer_send(request, 0, NULL, 0, NULL, 0);
	return peer_reply(request, 8);
}

static inline uint64_t peer_get_base(uint32_t index)
{
	peer_state(VHOST_USER_GET_VRING_BASE, index, 0);
	return peer_reply(VHOST_USER_GET_VRING_BASE, 8);
}

/* True if the VM has closed the connection (and left nothing unread). */
static inline bool peer_is_closed_fd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, 0) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) <= 0;
}

static inline bool peer_is_closed(void)
{
	return peer_is_closed_fd(t.fd);
}

static inline void peer_ring_but_kick(uint32_t index)
{
	peer_state(VHOST_USER_SET_VRING_NUM, index, PEER_SIZE);
	peer_state(VHOST_USER_SET_VRING_BASE, index, 0);
	peer_addr(index);
}

/* As QEMU does it. */
static inline void peer_start(unsigned rings)
{
	unsigned i;

	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_MQ) | FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
			 FEATURE(VHOST_USER_PROTOCOL_F_NET_MTU));
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	peer_memory_at(PEER_UVA);
	for (i = 0; i < rings; i++) {
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		peer_ring_but_kick(i);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
		close(peer_eventfd(VHOST_USER_SET_VRING_CALL, i));
	}
}

/* Mappings of the guest's memory in this process. */
static inline unsigned count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, "memfd:guest");
	fclose(f);
	return n;
}

#endif
