/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A vhost-user front-end for tests: connection, guest memory and frames of a VM that isn't. */
#include "fake_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/*
 * Theory of operation
 *
 * The guest's memory is one memfd per region, mapped here and sent to the back-end. Each virtqueue
 * has a block in one region: the rings of both formats, indirect tables, buffers. The bytes of
 * buffer i ("slot" i) lie in one piece whatever the layout: descriptors only say where the cuts
 * are. So frames are copied with one memcpy, and what a back-end did with odd cuts is seen in the
 * bytes. What is particular to a ring format is in fake_vm_split.c and fake_vm_packed.c.
 *
 * The messages follow the order in which QEMU sends them.
 */

#define REGION_ALIGN (2ull << 20)
#define ALIGN(n, to) (((n) + (to)-1) / (to) * (to))

#define fail fake_vm_fail

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int fake_vm_fail(struct fake_vm *vm, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(vm->error, sizeof(vm->error), format, args);
	va_end(args);
	return err;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Waits for @events on @fd (-1: just lets up to a millisecond pass) until @end; what poll() saw. */
static short wait_fd(struct fake_vm *vm, int fd, short events, uint64_t end)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now;
	int ms;

	do {
		now = now_ms();
		ms = now < end ? end - now : 0;
		if (vm->opt.idle) {
			vm->opt.idle(vm->opt.idle_arg);
			ms = 0;
		} else if (fd < 0 && ms > 1) {
			ms = 1;
		}
		if (poll(&p, 1, ms) > 0)
			return p.revents;
	} while (fd >= 0 && now < end);
	return 0;
}

/* ---- the connection ---- */

static int connect_once(const char *path, unsigned ms)
{
	struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* it also limits connect(), which waits where nobody accepts */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int connect_socket(struct fake_vm *vm)
{
	uint64_t end = now_ms() + vm->opt.timeout_ms;
	struct timeval limit = {.tv_sec = vm->opt.timeout_ms / 1000,
				.tv_usec = vm->opt.timeout_ms % 1000 * 1000};
	int fd;

	if (!vm->opt.socket) {
		vm->fd = vm->opt.fd;
		vm->opt.fd = -1;
	}
	while (vm->fd < 0) {
		if (!vm->opt.socket)
			return fail(vm, -ENOTCONN, "no socket to connect to");
		fd = connect_once(vm->opt.socket, vm->opt.timeout_ms);
		if (fd >= 0) {
			vm->fd = fd;
		} else if (fd != -ENOENT && fd != -ECONNREFUSED && fd != -EAGAIN) {
			return fail(vm, fd, "connect to %s: %s", vm->opt.socket, strerror(-fd));
		} else if (now_ms() >= end) {
			return fail(vm, -ETIMEDOUT, "connect to %s: time is up (%s)",
				    vm->opt.socket, strerror(-fd));
		} else {
			wait_fd(vm, -1, 0, end);
		}
	}
	setsockopt(vm->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return 0;
}

int fake_vm_raw(struct fake_vm *vm, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	if (vm->fd < 0)
		return fail(vm, -ENOTCONN, "not connected");
	if (n_fds > 16)
		return -EINVAL;
	if (n_fds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	while (iov.iov_len) {
		n = sendmsg(vm->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return fail(vm, -ETIMEDOUT, "the back-end reads no messages");
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return fail(vm, -ECONNRESET, "the back-end hung up");
		if (n < 0)
			return fail(vm, -errno, "sendmsg: %s", strerror(errno));
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

/* recv() that takes a file descriptor along, if @fd is given and one is there. */
static ssize_t recv_fd(int from, void *to, size_t len, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = to, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	if (fd) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
	}
	n = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	c = n > 0 && fd ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS && *fd < 0)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

static int read_all(struct fake_vm *vm, void *to, size_t len, uint64_t end, int *fd)
{
	ssize_t n;

	while (len) {
		if (!wait_fd(vm, vm->fd, POLLIN, end))
			return fail(vm, -ETIMEDOUT, "no reply");
		n = recv_fd(vm->fd, to, len, fd);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return fail(vm, -ECONNRESET, "the back-end hung up");
		to = (char *)to + n;
		len -= n;
	}
	return 0;
}

static int read_reply(struct fake_vm *vm, struct vhost_user_header *header,
		      union vhost_user_payload *payload, unsigned ms, int *fd)
{
	uint64_t end = now_ms() + ms;
	int err;

	if (vm->fd < 0)
		return fail(vm, -ENOTCONN, "not connected");
	err = read_all(vm, header, sizeof(*header), end, fd);
	if (err)
		return err;
	if (header->size > sizeof(*payload))
		return fail(vm, -EBADMSG, "reply of %u bytes", header->size);
	memset(payload, 0, sizeof(*payload));
	return read_all(vm, payload, header->size, end, NULL);
}

int fake_vm_reply(struct fake_vm *vm, struct vhost_user_header *header,
		  union vhost_user_payload *payload, unsigned ms)
{
	return read_reply(vm, header, payload, ms, NULL);
}

/* Bytes of the reply that a request has by itself; 0: none. */
static size_t reply_size(uint32_t request)
{
	switch (request) {
	case VHOST_USER_GET_FEATURES:
	case VHOST_USER_GET_PROTOCOL_FEATURES:
	case VHOST_USER_GET_QUEUE_NUM:
	case VHOST_USER_CHECK_DEVICE_STATE:
	case VHOST_USER_SET_LOG_BASE:
		return sizeof(uint64_t);
	case VHOST_USER_GET_VRING_BASE:
		return sizeof(struct vhost_user_vring_state);
	default:
		return 0;
	}
}

int fake_vm_message(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds, union vhost_user_payload *reply)
{
	bool acks = vm->protocol_features & FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	size_t expect = reply_size(request);
	struct vhost_user_header header = {
		.request = request, .flags = VHOST_USER_VERSION, .size = size};
	uint8_t bytes[sizeof(header) + 4096];
	int err;

	if (size > 4096)
		return -EINVAL;
	if (reply && !expect && acks) {
		header.flags |= VHOST_USER_NEED_REPLY;
		expect = sizeof(uint64_t);
	}
	memcpy(bytes, &header, sizeof(header));
	if (size)
		memcpy(bytes + sizeof(header), payload, size);
	err = fake_vm_raw(vm, bytes, sizeof(header) + size, fds, n_fds);
	if (err || !reply)
		return err;
	memset(reply, 0, sizeof(*reply));
	if (!expect)
		return 0;
	err = fake_vm_reply(vm, &header, reply, vm->opt.timeout_ms);
	if (err)
		return err;
	if (header.request != request || header.size != expect ||
	    header.flags != (VHOST_USER_VERSION | VHOST_USER_REPLY))
		return fail(vm, -EBADMSG, "reply to request %u: request %u, flags 0x%x, %u bytes",
			    request, header.request, header.flags, header.size);
	return 0;
}

int fake_vm_request(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds)
{
	union vhost_user_payload reply;
	int err;

	err = fake_vm_message(vm, request, payload, size, fds, n_fds, &reply);
	if (!err && reply.u64)
		err = fail(vm, -EPROTO, "the back-end refused request %u", request);
	return err;
}

int fake_vm_ask(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		const int *fds, unsigned n_fds, union vhost_user_payload *reply, size_t reply_size,
		int *fd)
{
	struct vhost_user_header header;
	int err;

	*fd = -1;
	err = fake_vm_message(vm, request, payload, size, fds, n_fds, NULL);
	if (!err)
		err = read_reply(vm, &header, reply, vm->opt.timeout_ms, fd);
	if (!err && (header.request != request || header.size != reply_size ||
		     header.flags != (VHOST_USER_VERSION | VHOST_USER_REPLY)))
		err = fail(vm, -EBADMSG, "reply to request %u: request %u, flags 0x%x, %u bytes",
			   request, header.request, header.flags, header.size);
	if (err)
		close_fd(fd);
	return err;
}

int fake_vm_inflight(struct fake_vm *vm)
{
	struct vhost_user_inflight wanted = {.n_queues = vm->n_queues,
					     .queue_size = vm->opt.ring_size};
	union vhost_user_payload reply;
	int err;

	if (vm->inflight_fd < 0) {
		err = fake_vm_ask(vm, VHOST_USER_GET_INFLIGHT_FD, &wanted, sizeof(wanted), NULL, 0,
				  &reply, sizeof(wanted), &vm->inflight_fd);
		if (err)
			return err;
		vm->inflight = reply.inflight;
	}
	if (vm->inflight_fd < 0)
		return fail(vm, -EBADMSG, "no fd came with the reply to GET_INFLIGHT_FD");
	return fake_vm_request(vm, VHOST_USER_SET_INFLIGHT_FD, &vm->inflight, sizeof(vm->inflight),
			       &vm->inflight_fd, 1);
}

/* As QEMU: a pipe is offered, of which the back-end gets one end; it may prefer its own file. */
static int transfer(struct fake_vm *vm, uint32_t direction, int *fd)
{
	const struct vhost_user_transfer m = {.direction = direction};
	union vhost_user_payload reply;
	int end[2], mine, err;

	if (pipe2(end, O_CLOEXEC))
		return -errno;
	mine = end[direction];
	err = fake_vm_ask(vm, VHOST_USER_SET_DEVICE_STATE_FD, &m, sizeof(m), &end[!direction], 1,
			  &reply, sizeof(reply.u64), fd);
	close(end[!direction]);
	if (!err && reply.u64 & 0xff)
		err = fail(vm, -EPROTO, "the back-end refused a transfer");
	else if (!err && !(reply.u64 & VHOST_USER_STATE_NOFD) != (*fd >= 0))
		err = fail(vm, -EBADMSG, "reply 0x%x to SET_DEVICE_STATE_FD", (unsigned)reply.u64);
	if (err || *fd >= 0)
		close(mine);
	else
		*fd = mine;
	if (err)
		close_fd(fd);
	return err;
}

static int check_state(struct fake_vm *vm)
{
	union vhost_user_payload reply;
	int err = fake_vm_message(vm, VHOST_USER_CHECK_DEVICE_STATE, NULL, 0, NULL, 0, &reply);

	return !err && reply.u64 ? fail(vm, -EPROTO, "the back-end says that it failed") : err;
}

int fake_vm_save(struct fake_vm *vm, void *state, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;
	int fd, err;

	err = transfer(vm, VHOST_USER_STATE_SAVE, &fd);
	if (err)
		return err;
	while (n > 0 && len < size) {
		n = read(fd, (char *)state + len, size - len);
		len += n > 0 ? n : 0;
	}
	close(fd);
	err = n < 0 ? -EIO : check_state(vm);
	return err ? err : (int)len;
}

int fake_vm_load(struct fake_vm *vm, const void *state, size_t size)
{
	ssize_t n = 1;
	int fd, err;

	err = transfer(vm, VHOST_USER_STATE_LOAD, &fd);
	if (err)
		return err;
	for (; size && n > 0; size -= n, state = (const char *)state + n) {
		n = write(fd, state, size);
		if (n < 0)
			break;
	}
	close(fd);
	err = check_state(vm);
	return n < 0 && !err ? -EFBIG : err;
}

static int get_u64(struct fake_vm *vm, uint32_t request, uint64_t *value)
{
	union vhost_user_payload reply;
	int err;

	err = fake_vm_message(vm, request, NULL, 0, NULL, 0, &reply);
	if (!err)
		*value = reply.u64;
	return err;
}

static int set_u64(struct fake_vm *vm, uint32_t request, uint64_t value)
{
	return fake_vm_request(vm, request, &value, sizeof(value), NULL, 0);
}

int fake_vm_sync(struct fake_vm *vm)
{
	uint64_t features;

	return get_u64(vm, VHOST_USER_GET_FEATURES, &features);
}

bool fake_vm_hung_up(struct fake_vm *vm, unsigned ms)
{
	uint64_t end = now_ms() + ms;
	char byte[256];
	ssize_t n;

	while (vm->fd >= 0 && wait_fd(vm, vm->fd, POLLIN, end)) {
		n = recv(vm->fd, byte, sizeof(byte), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return true;
	}
	return false;
}

static void set_features(struct fake_vm *vm, uint64_t features)
{
	vm->features = features;
	vm->hdr_len = features & (FAKE_VM_VERSION_1 | FAKE_VM_MRG_RXBUF) ? 12 : 10;
}

/* SET_BACKEND_REQ_FD */
static int give_channel(struct fake_vm *vm)
{
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(vm, -errno, "socketpair: %s", strerror(errno));
	vm->channel = pair[0];
	err = fake_vm_request(vm, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
	close(pair[1]);
	return err;
}

int fake_vm_negotiate(struct fake_vm *vm)
{
	uint64_t wanted = FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_MQ) | vm->opt.protocol;
	int err;

	if (!vm->opt.no_reply_ack)
		wanted |= FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	if (vm->opt.inflight)
		wanted |= FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	if (vm->opt.device_state)
		wanted |= FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE);
	if (vm->opt.inband)
		wanted |= FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
			  FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS);
	vm->protocol_features = 0;
	err = get_u64(vm, VHOST_USER_GET_FEATURES, &vm->offered);
	if (!err && vm->offered & vm->opt.features & FAKE_VM_PROTOCOL) {
		err = get_u64(vm, VHOST_USER_GET_PROTOCOL_FEATURES, &vm->protocol_offered);
		wanted &= vm->protocol_offered;
		if (!err)
			err = set_u64(vm, VHOST_USER_SET_PROTOCOL_FEATURES, wanted);
		vm->protocol_features = wanted;
	}
	if (!err && vm->protocol_features & FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_MQ)) {
		err = get_u64(vm, VHOST_USER_GET_QUEUE_NUM, &vm->queue_num);
		if (!err && vm->queue_num < vm->opt.pairs)
			err = fail(vm, -EPROTO, "the back-end has %u queue pairs only",
				   (unsigned)vm->queue_num);
	}
	if (!err && vm->opt.inband)
		err = give_channel(vm);
	if (!err)
		err = fake_vm_request(vm, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	if (!err) {
		set_features(vm, vm->opt.features & vm->offered);
		err = set_u64(vm, VHOST_USER_SET_FEATURES, vm->features);
	}
	return err;
}

/* ---- the guest's memory ---- */

static bool is_recv(unsigned index)
{
	return index % 2 == 0;
}

/* Lays out virtqueue @index from @at on (NULL: just adds up); how many bytes it takes. */
static size_t place_queue(struct fake_vm *vm, unsigned index, uint8_t *at)
{
	const struct fake_vm_layout *l = is_recv(index) ? &vm->opt.recv : &vm->opt.send;
	size_t size = vm->opt.ring_size, avail, used, ring, event, table, buffers;
	struct fake_vq *q = &vm->vq[index];

	q->size = size;
	q->device_writes = is_recv(index);
	q->room = is_recv(index) ? vm->opt.buffer_size : vm->opt.send_size;
	q->stride = ALIGN(q->room, 64);
	q->pieces = l->pieces ? l->pieces : 1;
	avail = size * sizeof(struct vring_desc);
	used = ALIGN(avail + (3 + size) * sizeof(uint16_t), 64);
	ring = ALIGN(used + 3 * sizeof(uint16_t) + size * sizeof(struct vring_used_elem), 64);
	event = ring + size * sizeof(struct vring_packed_desc);
	table = ALIGN(event + 2 * sizeof(struct vring_packed_desc_event), 64);
	buffers = table + size * q->pieces * sizeof(struct vring_desc);
	buffers = ALIGN(buffers, 4096);
	if (at) {
		q->desc = (struct vring_desc *)at;
		q->avail = (struct vring_avail *)(at + avail);
		q->used = (struct vring_used *)(at + used);
		q->ring = (struct vring_packed_desc *)(at + ring);
		q->driver = (struct vring_packed_desc_event *)(at + event);
		q->device = q->driver + 1;
		q->table = (struct vring_desc *)(at + table);
		q->buffers = at + buffers;
	}
	return ALIGN(buffers + size * q->stride, 4096);
}

static int make_region(struct fake_vm *vm, unsigned i, uint64_t gpa, uint64_t size)
{
	int flags = MFD_CLOEXEC | (vm->opt.huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	uint64_t offset = i * REGION_ALIGN; /* not 0, so that its use is tested */
	void *at;

	vm->memory_fd[i] = memfd_create("fake_vm", flags);
	if (vm->memory_fd[i] < 0)
		return fail(vm, -errno, "memfd_create: %s", strerror(errno));
	if (ftruncate(vm->memory_fd[i], offset + size) < 0)
		return fail(vm, -errno, "ftruncate: %s", strerror(errno));
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memory_fd[i], offset);
	if (at == MAP_FAILED)
		return fail(vm, -errno, "mmap of %llu bytes%s: %s", (unsigned long long)size,
			    vm->opt.huge ? " of huge pages" : "", strerror(errno));
	vm->memory_at[i] = at;
	vm->memory.region[i] = (struct vhost_user_region){
		.gpa = gpa, .size = size, .uva = (uintptr_t)at, .mmap_offset = offset};
	vm->memory.n = i + 1;
	return 0;
}

static int make_memory(struct fake_vm *vm)
{
	uint64_t size[VHOST_USER_REGIONS_MAX] = {vm->opt.extra}, gpa = FAKE_VM_GPA;
	unsigned i, n = vm->opt.regions;
	size_t at[VHOST_USER_REGIONS_MAX] = {0};
	int err;

	for (i = 0; i < vm->n_queues; i++)
		size[i % n] += place_queue(vm, i, NULL);
	for (i = 0; i < n; i++) {
		size[i] = size[i] ? ALIGN(size[i], REGION_ALIGN) : REGION_ALIGN;
		err = make_region(vm, i, gpa, size[i]);
		if (err)
			return err;
		gpa += size[i] + vm->opt.gap;
	}
	for (i = 0; i < vm->n_queues; i++)
		at[i % n] += place_queue(vm, i, vm->memory_at[i % n] + at[i % n]);
	vm->extra_gpa = FAKE_VM_GPA + at[0];
	return 0;
}

void *fake_vm_at(const struct fake_vm *vm, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < vm->memory.n; i++) {
		const struct vhost_user_region *r = &vm->memory.region[i];

		if (gpa - r->gpa < r->size)
			return vm->memory_at[i] + (gpa - r->gpa);
	}
	return NULL;
}

uint64_t fake_vm_gpa(const struct fake_vm *vm, const void *at)
{
	unsigned i;

	for (i = 0; i < vm->memory.n; i++) {
		const struct vhost_user_region *r = &vm->memory.region[i];

		if ((uintptr_t)at - r->uva < r->size)
			return (uintptr_t)at - r->uva + r->gpa;
	}
	return UINT64_MAX;
}

void *fake_vm_extra(const struct fake_vm *vm)
{
	return fake_vm_at(vm, vm->extra_gpa);
}

int fake_vm_share(struct fake_vm *vm)
{
	size_t size = 8 + vm->memory.n * sizeof(struct vhost_user_region);

	return fake_vm_request(vm, VHOST_USER_SET_MEM_TABLE, &vm->memory, size, vm->memory_fd,
			       vm->memory.n);
}

/* ---- rings ---- */

/* Asks to be called for what is used from now on, or for silence. */
static void want_calls(struct fake_vm *vm, struct fake_vq *q, bool on)
{
	q->format->want_calls(vm, q, on || vm->opt.want_call);
}

/* VRING_KICK, without asking for an answer. */
static void kick_in_band(struct fake_vq *q)
{
	struct {
		struct vhost_user_header header;
		struct vhost_user_vring_state state;
	} message = {
		{VHOST_USER_VRING_KICK, VHOST_USER_VERSION, sizeof(message.state)},
		{.index = q->index},
	};

	if (send(q->kick_socket, &message, sizeof(message), MSG_NOSIGNAL) == sizeof(message))
		q->kicks++;
}

void fake_vq_kick(struct fake_vq *q)
{
	uint64_t one = 1;

	if (q->kick_socket >= 0)
		kick_in_band(q);
	if (q->kick_fd >= 0 && write(q->kick_fd, &one, sizeof(one)) == sizeof(one))
		q->kicks++;
}

/* Where piece @i of @n of a buffer of @total bytes ends. */
static size_t cut(const struct fake_vm *vm, size_t total, unsigned i, unsigned n)
{
	if (i == n)
		return total;
	return n == 2 ? vm->hdr_len : total * i / n;
}

unsigned fake_vq_piece(struct fake_vm *vm, struct fake_vq *q, unsigned slot, unsigned i,
		       struct fake_piece *piece)
{
	size_t total = q->total[slot], from;
	unsigned n = q->pieces;

	/* no descriptor of no bytes */
	if (n > total)
		n = total;
	if (n == 2 && total <= vm->hdr_len)
		n = 1;
	from = i ? cut(vm, total, i, n) : 0;
	piece->gpa = fake_vm_gpa(vm, q->buffers + (size_t)slot * q->stride) + from;
	piece->len = cut(vm, total, i + 1, n) - from;
	return n;
}

int fake_vq_slot(struct fake_vm *vm, struct fake_vq *q, uint32_t id)
{
	unsigned slot = id < q->size ? q->slot_of[id] : UINT16_MAX;

	/* an id of split rings is used again by another slot if in order */
	if (slot >= q->slots || !q->lent[slot] || q->id[slot] != id)
		return fail(vm, -EBADMSG, "virtqueue %u: used id %u was not lent",
			    fake_vq_index(vm, q), id);
	return slot;
}

/* Any slot that isn't lent. */
static unsigned free_slot(struct fake_vq *q)
{
	unsigned slot;

	q->n_free--;
	if (!q->in_order)
		return q->free[q->n_free];
	slot = q->next_slot;
	q->next_slot = (slot + 1) % q->slots;
	return slot;
}

static void offer_slot(struct fake_vm *vm, struct fake_vq *q, unsigned slot)
{
	q->lent[slot] = true;
	q->format->offer(vm, q, slot);
}

static void reset_ring(struct fake_vm *vm, unsigned index)
{
	const struct fake_vm_layout *l = is_recv(index) ? &vm->opt.recv : &vm->opt.send;
	struct fake_vq *q = &vm->vq[index];
	unsigned i;

	q->packed = vm->features & FAKE_VM_PACKED;
	q->in_order = vm->features & FAKE_VM_IN_ORDER;
	q->format = q->packed ? &fake_ring_packed : &fake_ring_split;
	q->indirect = l->indirect && vm->features & FAKE_VM_INDIRECT;
	q->chain = q->indirect ? 1 : q->pieces;
	q->slots = q->size / q->chain;
	q->avail_at = q->used_at = q->shown = 0;
	q->next_slot = q->batch = 0;
	memset(q->desc, 0, q->size * sizeof(*q->desc));
	memset(q->lent, 0, q->size * sizeof(*q->lent));
	memset(q->slot_of, 0xff, q->size * sizeof(*q->slot_of));
	q->n_free = q->slots;
	for (i = 0; i < q->slots; i++) {
		q->free[i] = q->slots - 1 - i; /* slot 0 is taken first */
		q->total[i] = q->room;
	}
	q->format->reset(vm, q);
	want_calls(vm, q, false);
}

static void offer_buffers(struct fake_vm *vm, unsigned pair)
{
	fake_vm_refill(vm, pair, vm->opt.recv_buffers ? vm->opt.recv_buffers : UINT32_MAX);
}

void fake_vm_reset_rings(struct fake_vm *vm)
{
	unsigned i;

	for (i = 0; i < vm->n_queues; i++)
		reset_ring(vm, i);
	for (i = 0; i < vm->opt.pairs; i++)
		offer_buffers(vm, i);
}

static int set_ring_fd(struct fake_vm *vm, uint32_t request, unsigned index, int fd)
{
	uint64_t value = fd < 0 ? index | VHOST_USER_VRING_NOFD : index;

	return fake_vm_request(vm, request, &value, sizeof(value), &fd, fd >= 0);
}

static int set_ring_state(struct fake_vm *vm, uint32_t request, unsigned index, unsigned num)
{
	struct vhost_user_vring_state state = {.index = index, .num = num};

	return fake_vm_request(vm, request, &state, sizeof(state), NULL, 0);
}

static int set_ring_addr(struct fake_vm *vm, unsigned index)
{
	struct fake_vq *q = &vm->vq[index];
	struct vhost_user_vring_addr addr = {
		.index = index,
		.flags = vm->log ? VHOST_USER_ADDR_LOG : 0,
		.log = fake_vm_gpa(vm, q->packed ? (void *)q->device : q->used),
		.desc = (uintptr_t)(q->packed ? (void *)q->ring : q->desc),
		.avail = (uintptr_t)(q->packed ? (void *)q->driver : q->avail),
		.used = (uintptr_t)(q->packed ? (void *)q->device : q->used),
	};

	return fake_vm_request(vm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

int fake_vm_start_ring(struct fake_vm *vm, unsigned index)
{
	struct fake_vq *q = &vm->vq[index];
	int err;

	if (!vm->opt.inband && q->kick_fd < 0)
		q->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!vm->opt.inband && q->call_fd < 0 && !vm->opt.no_call_fd)
		q->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!vm->opt.inband && q->err_fd < 0)
		q->err_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!vm->opt.inband && (q->kick_fd < 0 || q->err_fd < 0))
		return fail(vm, -errno, "eventfd: %s", strerror(errno));
	err = set_ring_state(vm, VHOST_USER_SET_VRING_NUM, index, q->size);
	if (!err)
		err = set_ring_state(vm, VHOST_USER_SET_VRING_BASE, index, q->base);
	if (!err)
		err = set_ring_addr(vm, index);
	if (vm->opt.inband)
		q->kick_socket = vm->fd;
	if (!err && !vm->opt.inband)
		err = set_ring_fd(vm, VHOST_USER_SET_VRING_ERR, index, q->err_fd);
	if (!err && !vm->opt.inband)
		err = set_ring_fd(vm, VHOST_USER_SET_VRING_KICK, index, q->kick_fd);
	if (!err && !vm->opt.inband)
		err = set_ring_fd(vm, VHOST_USER_SET_VRING_CALL, index, q->call_fd);
	if (err)
		return err;
	q->started = true;
	/* what was offered while the ring stood still is announced, as drivers do at start */
	fake_vq_kick(q);
	return 0;
}

int fake_vm_stop_ring(struct fake_vm *vm, unsigned index)
{
	struct vhost_user_vring_state state = {.index = index};
	struct fake_vq *q = &vm->vq[index];
	union vhost_user_payload reply;
	int err;

	err = fake_vm_message(vm, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), NULL, 0,
			      &reply);
	if (err)
		return err;
	q->started = false;
	q->base = reply.state.num;
	/* used in order and nothing held back: what was taken was used */
	if (reply.state.index != index || reply.state.num != q->format->base(vm, q))
		return fail(vm, -EBADMSG, "virtqueue %u: base of %u is 0x%x, not 0x%x", index,
			    reply.state.index, reply.state.num, q->format->base(vm, q));
	return 0;
}

int fake_vm_enable_ring(struct fake_vm *vm, unsigned index, bool on)
{
	int err;

	err = set_ring_state(vm, VHOST_USER_SET_VRING_ENABLE, index, on);
	if (!err)
		vm->vq[index].enabled = on;
	return err;
}

static int enable_all(struct fake_vm *vm, bool on)
{
	unsigned i;
	int err = 0;

	/* without bit 30 rings are enabled by starting them */
	for (i = 0; i < vm->n_queues && !err && vm->features & FAKE_VM_PROTOCOL; i++)
		err = fake_vm_enable_ring(vm, i, on);
	return err;
}

int fake_vm_start(struct fake_vm *vm)
{
	unsigned i;
	int err;

	if (vm->protocol_features & FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
		err = fake_vm_inflight(vm);
		if (err)
			return err;
	}
	/* enabled first, as QEMU does: frames on a ring that runs disabled would be discarded */
	err = enable_all(vm, true);
	for (i = 0; i < vm->n_queues && !err; i++)
		err = fake_vm_start_ring(vm, i);
	/* without acknowledgements nothing else tells that it is done */
	return err ? err : fake_vm_sync(vm);
}

int fake_vm_stop(struct fake_vm *vm)
{
	unsigned i;
	int err = 0;

	for (i = 0; i < vm->n_queues && !err; i++)
		err = fake_vm_stop_ring(vm, i);
	return err ? err : enable_all(vm, false);
}

int fake_vm_reset_ring(struct fake_vm *vm, unsigned index)
{
	int err;

	err = fake_vm_stop_ring(vm, index);
	if (err)
		return err;
	reset_ring(vm, index);
	if (is_recv(index))
		offer_buffers(vm, index / 2);
	err = fake_vm_start_ring(vm, index);
	return err ? err : fake_vm_sync(vm);
}

int fake_vm_reboot(struct fake_vm *vm)
{
	int err;

	err = fake_vm_stop(vm);
	if (err)
		return err;
	fake_vm_reset_rings(vm);
	err = set_u64(vm, VHOST_USER_SET_FEATURES, vm->features);
	if (!err)
		err = fake_vm_share(vm);
	return err ? err : fake_vm_start(vm);
}

int fake_vm_set_log(struct fake_vm *vm, int fd, uint64_t size, uint64_t offset)
{
	struct vhost_user_log log = {.size = size, .offset = offset};

	return fake_vm_request(vm, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), &fd, 1);
}

int fake_vm_log(struct fake_vm *vm, bool on)
{
	uint64_t features = vm->features & ~FAKE_VM_LOG_ALL;
	unsigned i;
	int err;

	vm->log = on;
	err = set_u64(vm, VHOST_USER_SET_FEATURES, on ? features | FAKE_VM_LOG_ALL : features);
	for (i = 0; i < vm->n_queues && !err; i++)
		if (vm->vq[i].started)
			err = set_ring_addr(vm, i);
	return err ? err : fake_vm_sync(vm);
}

int fake_vm_rarp(struct fake_vm *vm, const uint8_t mac[6])
{
	uint64_t value = 0;

	memcpy(&value, mac, 6);
	return set_u64(vm, VHOST_USER_SEND_RARP, value);
}

/* ---- frames ---- */

void fake_vm_kick(struct fake_vm *vm, unsigned index)
{
	fake_vq_kick(&vm->vq[index]);
}

unsigned fake_vm_refill(struct fake_vm *vm, unsigned pair, unsigned n)
{
	struct fake_vq *q = &vm->vq[2 * pair];
	unsigned i;

	for (i = 0; i < n && q->n_free; i++)
		offer_slot(vm, q, free_slot(q));
	if (i)
		q->format->publish(vm, q);
	return i;
}

int fake_vm_reclaim(struct fake_vm *vm, unsigned pair)
{
	struct fake_vq *q = &vm->vq[2 * pair + 1];
	int n = q->format->ready(vm, q, UINT32_MAX), slot;
	uint32_t len;

	if (n <= 0)
		return n < 0 ? n : (int)fake_vq_lent(q);
	for (; n > 0; n--) {
		slot = q->format->take(vm, q, &len);
		if (slot < 0)
			return slot;
		if (len)
			return fail(vm, -EBADMSG, "virtqueue %u: %u bytes written to a sent frame",
				    2 * pair + 1, len);
	}
	if (vm->opt.want_call)
		want_calls(vm, q, true);
	return fake_vq_lent(q);
}

/* Puts a frame into the ring, unpublished. */
static int put_frame(struct fake_vm *vm, struct fake_vq *q, const void *hdr, const void *frame,
		     size_t len)
{
	uint8_t *at;
	unsigned slot;

	if (len + vm->hdr_len > q->room)
		return fail(vm, -EMSGSIZE, "frame of %zu bytes in a buffer of %u", len, q->room);
	if (!q->n_free) {
		q->full++;
		return -EAGAIN;
	}
	slot = free_slot(q);
	at = q->buffers + (size_t)slot * q->stride;
	memcpy(at, hdr, vm->hdr_len);
	memcpy(at + vm->hdr_len, frame, len);
	q->total[slot] = vm->hdr_len + len;
	offer_slot(vm, q, slot);
	q->frames++;
	q->bytes += len;
	return 0;
}

int fake_vm_send_hdr(struct fake_vm *vm, unsigned pair, const struct virtio_net_hdr_mrg_rxbuf *hdr,
		     const void *frame, size_t len)
{
	struct fake_vq *q = &vm->vq[2 * pair + 1];
	int err;

	err = fake_vm_reclaim(vm, pair);
	if (err >= 0)
		err = put_frame(vm, q, hdr, frame, len);
	if (!err)
		q->format->publish(vm, q);
	return err;
}

int fake_vm_send(struct fake_vm *vm, unsigned pair, const void *frame, size_t len)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {0};

	return fake_vm_send_hdr(vm, pair, &hdr, frame, len);
}

int fake_vm_send_batch(struct fake_vm *vm, unsigned pair, const struct fake_vm_frame *frame,
		       unsigned n)
{
	struct fake_vq *q = &vm->vq[2 * pair + 1];
	struct virtio_net_hdr_mrg_rxbuf hdr = {0};
	unsigned i;
	int err;

	err = fake_vm_reclaim(vm, pair);
	if (err < 0)
		return err;
	err = 0;
	for (i = 0; i < n; i++) {
		err = put_frame(vm, q, &hdr, frame[i].data, frame[i].len);
		if (err)
			break;
	}
	if (i)
		q->format->publish(vm, q);
	return err && err != -EAGAIN ? err : (int)i;
}

int fake_vm_flush(struct fake_vm *vm, unsigned pair, unsigned ms)
{
	uint64_t end = now_ms() + ms;
	int n;

	for (;;) {
		n = fake_vm_reclaim(vm, pair);
		if (n <= 0)
			return n;
		if (now_ms() >= end)
			return fail(vm, -ETIMEDOUT, "%d frames were not taken", n);
		wait_fd(vm, -1, 0, end);
	}
}

/* Takes the @n buffers of a frame, of which the first is known to be there. */
static int take_frame(struct fake_vm *vm, struct fake_vq *q, int ready, uint8_t *buf, size_t size)
{
	unsigned index = q - vm->vq, n = 1, i, skip = vm->hdr_len;
	size_t len = 0;
	uint32_t used;
	uint8_t *at;
	int slot;

	for (i = 0; i < n; i++, skip = 0) {
		slot = q->format->take(vm, q, &used);
		if (slot < 0)
			return slot;
		if (used > q->room || used < skip || (i && !used))
			return fail(vm, -EBADMSG, "virtqueue %u: %u bytes used of a buffer of %u",
				    index, used, q->room);
		at = q->buffers + (size_t)slot * q->stride;
		if (!i) {
			vm->hdr.num_buffers = 1;
			memcpy(&vm->hdr, at, vm->hdr_len);
			n = vm->hdr.num_buffers;
			if (n > 1 && q->packed) /* whose used buffers cost too much to be counted */
				ready = 1 + q->format->ready(vm, q, n - 1);
			if (!n || n > (unsigned)ready ||
			    (n > 1 && !(vm->features & FAKE_VM_MRG_RXBUF)))
				return fail(vm, -EBADMSG, "virtqueue %u: num_buffers %u of %d",
					    index, n, ready);
		}
		if (i + 1 < n && used != q->room)
			return fail(vm, -EBADMSG, "virtqueue %u: %u bytes used in buffer %u of %u",
				    index, used, i, n);
		if (len + used - skip <= size)
			memcpy(buf + len, at + skip, used - skip);
		len += used - skip;
	}
	q->frames++;
	q->bytes += len;
	if (!len)
		return fail(vm, -EBADMSG, "virtqueue %u: a frame of no bytes", index);
	return len <= size ? (int)len : -EMSGSIZE;
}

int fake_vm_recv(struct fake_vm *vm, unsigned pair, void *buf, size_t size)
{
	struct fake_vq *q = &vm->vq[2 * pair];
	unsigned before = q->n_free;
	int n = q->format->ready(vm, q, 1);

	if (n <= 0)
		return n;
	n = take_frame(vm, q, n, buf, size);
	if (n == -EBADMSG)
		return n;
	if (vm->opt.want_call)
		want_calls(vm, q, true);
	if (!vm->hold)
		fake_vm_refill(vm, pair, q->n_free - before);
	return n;
}

/* In-band: what the back-end has sent on its channel is put down in the virtqueues. */
static void take_calls(struct fake_vm *vm)
{
	struct {
		struct vhost_user_header header;
		struct vhost_user_vring_state state;
	} message;
	struct fake_vq *q;

	/* sent at once, and so they come */
	while (recv(vm->channel, &message, sizeof(message), MSG_DONTWAIT) == sizeof(message)) {
		if (message.state.index >= vm->n_queues ||
		    message.header.flags != VHOST_USER_VERSION) {
			fail(vm, -EBADMSG, "back-end request %u, flags 0x%x, queue %u",
			     message.header.request, message.header.flags, message.state.index);
			return;
		}
		q = &vm->vq[message.state.index];
		q->calls += message.header.request == VHOST_USER_BACKEND_VRING_CALL;
		q->errors += message.header.request == VHOST_USER_BACKEND_VRING_ERR;
	}
}

int fake_vm_wait(struct fake_vm *vm, unsigned pair, unsigned ms)
{
	struct fake_vq *q = &vm->vq[2 * pair];
	uint64_t end = now_ms() + ms, n;
	bool there;

	do {
		want_calls(vm, q, true);
		there = q->format->ready(vm, q, 1);
		if (!there && vm->opt.inband && wait_fd(vm, vm->channel, POLLIN, end))
			take_calls(vm);
		else if (!there && wait_fd(vm, q->call_fd, POLLIN, end) &&
			 read(q->call_fd, &n, sizeof(n)) == sizeof(n))
			q->calls += n;
		there = q->format->ready(vm, q, 1);
	} while (!there && now_ms() < end);
	want_calls(vm, q, false);
	return there;
}

int fake_vm_recv_wait(struct fake_vm *vm, unsigned pair, void *buf, size_t size, unsigned ms)
{
	int n = fake_vm_recv(vm, pair, buf, size);

	if (!n && fake_vm_wait(vm, pair, ms) > 0)
		n = fake_vm_recv(vm, pair, buf, size);
	return n;
}

/* ---- for hostile tests ---- */

void fake_vm_set_desc(struct fake_vm *vm, unsigned index, unsigned i, uint64_t addr, uint32_t len,
		      uint16_t flags, uint16_t next)
{
	vm->vq[index].desc[i] =
		(struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

void fake_vm_offer(struct fake_vm *vm, unsigned index, uint16_t head)
{
	struct fake_vq *q = &vm->vq[index];

	q->format->chain(vm, q, head);
	q->format->publish(vm, q);
	fake_vq_kick(q);
}

bool fake_vm_used(struct fake_vm *vm, unsigned index, unsigned n, unsigned ms)
{
	struct fake_vq *q = &vm->vq[index];
	uint64_t end = now_ms() + ms;

	while (q->format->chains(vm, q) < n) {
		if (now_ms() >= end)
			return false;
		wait_fd(vm, -1, 0, end);
	}
	return true;
}

bool fake_vm_broken(struct fake_vm *vm, unsigned index, unsigned ms)
{
	uint64_t n, end = now_ms() + ms;

	while (vm->opt.inband && !vm->vq[index].errors && wait_fd(vm, vm->channel, POLLIN, end))
		take_calls(vm);
	if (vm->opt.inband)
		return vm->vq[index].errors;
	return wait_fd(vm, vm->vq[index].err_fd, POLLIN, now_ms() + ms) &&
	       read(vm->vq[index].err_fd, &n, sizeof(n)) == sizeof(n);
}

/* ---- for benchmarks ---- */

int fake_vm_bench_hdr(struct fake_vm *vm, unsigned pair, const struct virtio_net_hdr_mrg_rxbuf *hdr,
		      const void *frame, size_t len)
{
	struct fake_vq *in = &vm->vq[2 * pair], *out = in + 1;
	unsigned i;

	in->look = hdr->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE;
	if (in->pieces != 1 || out->pieces != 1 || out->avail_at || in->used_at || in->n_free ||
	    len + vm->hdr_len > out->room || (in->look && in->in_order))
		return fail(vm, -EINVAL, "not a freshly started VM with plain layouts");
	for (i = 0; i < out->size; i++) {
		uint8_t *at = out->buffers + (size_t)i * out->stride;

		memcpy(at, hdr, vm->hdr_len);
		memcpy(at + vm->hdr_len, frame, len);
		out->total[i] = vm->hdr_len + len;
	}
	out->format->bench_fill(vm, out);
	in->left = 0;
	return 0;
}

int fake_vm_bench(struct fake_vm *vm, unsigned pair, const void *frame, size_t len)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {0};

	return fake_vm_bench_hdr(vm, pair, &hdr, frame, len);
}

unsigned fake_vm_bench_send(struct fake_vm *vm, unsigned pair, unsigned n)
{
	struct fake_vq *q = &vm->vq[2 * pair + 1];
	unsigned room = q->format->bench_room(q);

	if (n > room)
		n = room;
	if (!n)
		return 0;
	q->format->bench_offer(q, n);
	q->frames += n;
	q->format->publish(vm, q);
	return n;
}

uint64_t fake_vm_bench_sent(struct fake_vm *vm, unsigned pair)
{
	struct fake_vq *q = &vm->vq[2 * pair + 1];

	return q->frames - (q->size - q->format->bench_room(q));
}

bool fake_vq_bench_look(struct fake_vm *vm, struct fake_vq *q, unsigned slot, uint32_t len)
{
	q->bytes += len;
	if (q->left) {
		q->left--;
		return false;
	}
	if (slot < q->slots)
		memcpy(&vm->hdr, q->buffers + (size_t)slot * q->stride, vm->hdr_len);
	q->bytes -= vm->hdr_len;
	if (vm->features & FAKE_VM_MRG_RXBUF && vm->hdr.num_buffers)
		q->left = vm->hdr.num_buffers - 1;
	return true;
}

unsigned fake_vm_bench_recv(struct fake_vm *vm, unsigned pair)
{
	struct fake_vq *q = &vm->vq[2 * pair];
	unsigned frames, n = q->format->bench_used(vm, q, &frames);

	if (!n)
		return 0;
	q->frames += frames;
	q->format->bench_offer(q, n);
	q->format->publish(vm, q);
	return frames;
}

/* ---- life ---- */

const char *fake_vm_error(const struct fake_vm *vm)
{
	return vm ? vm->error : "";
}

static int set_options(struct fake_vm *vm, const struct fake_vm_options *opt)
{
	struct fake_vm_options *o = &vm->opt;

	*o = *opt;
	o->pairs = o->pairs ? o->pairs : 1;
	o->ring_size = o->ring_size ? o->ring_size : 256;
	o->buffer_size = o->buffer_size ? o->buffer_size : 2048;
	o->send_size = o->send_size ? o->send_size : 2048;
	o->features = o->features ? o->features : FAKE_VM_ALL;
	o->regions = o->regions ? o->regions : 1;
	o->timeout_ms = o->timeout_ms ? o->timeout_ms : FAKE_VM_TIMEOUT;
	if (o->pairs > 1)
		o->features |= FAKE_VM_MQ;
	if (o->pairs > FAKE_VM_PAIRS_MAX || o->ring_size > FAKE_VM_RING_MAX ||
	    o->regions > VHOST_USER_REGIONS_MAX || o->send.pieces > o->ring_size ||
	    o->recv.pieces > o->ring_size)
		return -EINVAL;
	return 0;
}

static bool make_slots(struct fake_vq *q, unsigned n)
{
	q->free = calloc(n, sizeof(*q->free));
	q->lent = calloc(n, sizeof(*q->lent));
	q->total = calloc(n, sizeof(*q->total));
	q->id = calloc(n, sizeof(*q->id));
	q->slot_of = calloc(n, sizeof(*q->slot_of));
	q->length = calloc(n, sizeof(*q->length));
	return q->free && q->lent && q->total && q->id && q->slot_of && q->length;
}

static void free_slots(struct fake_vq *q)
{
	free(q->free);
	free(q->lent);
	free(q->total);
	free(q->id);
	free(q->slot_of);
	free(q->length);
}

static int make_queues(struct fake_vm *vm)
{
	unsigned i, n = 2 * vm->opt.pairs;

	vm->vq = calloc(n, sizeof(*vm->vq));
	if (!vm->vq)
		return -ENOMEM;
	vm->n_queues = n;
	for (i = 0; i < n; i++) {
		vm->vq[i].kick_fd = vm->vq[i].call_fd = vm->vq[i].err_fd = -1;
		vm->vq[i].kick_socket = -1;
		vm->vq[i].index = i;
		if (!make_slots(&vm->vq[i], vm->opt.ring_size))
			return -ENOMEM;
	}
	return 0;
}

/* The steps after the connection, as far as the options ask for them. */
static int bring_up(struct fake_vm *vm)
{
	int err = 0;

	set_features(vm, vm->opt.features);
	if (!vm->opt.no_negotiate)
		err = fake_vm_negotiate(vm);
	if (!err && !(vm->features & FAKE_VM_PACKED) && vm->opt.ring_size & (vm->opt.ring_size - 1))
		err = fail(vm, -EINVAL, "no split ring has %u descriptors", vm->opt.ring_size);
	if (!err)
		err = make_memory(vm);
	if (err)
		return err;
	fake_vm_reset_rings(vm);
	if (vm->opt.no_negotiate || vm->opt.no_start)
		return 0;
	err = fake_vm_share(vm);
	return err ? err : fake_vm_start(vm);
}

int fake_vm_open(struct fake_vm **out, const struct fake_vm_options *opt)
{
	struct fake_vm *vm;
	unsigned i;
	int err;

	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->fd = vm->channel = vm->inflight_fd = -1;
	for (i = 0; i < VHOST_USER_REGIONS_MAX; i++)
		vm->memory_fd[i] = -1;
	err = set_options(vm, opt);
	if (!err)
		err = connect_socket(vm);
	if (!err)
		err = make_queues(vm);
	if (!err)
		err = bring_up(vm);
	if (err) {
		fprintf(stderr, "fake_vm: %s\n", vm->error[0] ? vm->error : strerror(-err));
		fake_vm_close(vm);
		return err;
	}
	*out = vm;
	return 0;
}

void fake_vm_hang_up(struct fake_vm *vm)
{
	unsigned i;

	close_fd(&vm->fd);
	close_fd(&vm->channel);
	for (i = 0; i < vm->n_queues; i++) {
		/* a crash of the front-end closes all it had */
		close_fd(&vm->vq[i].kick_fd);
		close_fd(&vm->vq[i].call_fd);
		close_fd(&vm->vq[i].err_fd);
		vm->vq[i].kick_socket = -1;
		vm->vq[i].started = vm->vq[i].enabled = false;
	}
}

int fake_vm_reconnect(struct fake_vm *vm)
{
	unsigned i;
	int err;

	fake_vm_hang_up(vm);
	err = connect_socket(vm);
	if (!err)
		err = fake_vm_negotiate(vm);
	if (!err)
		err = fake_vm_share(vm);
	if (err)
		return err;
	/* no GET_VRING_BASE was answered, so go by what was used, as QEMU does; but of a packed
	 * ring it doesn't know that, which the back-end is to know by what was kept for it */
	for (i = 0; i < vm->n_queues; i++)
		if (!vm->vq[i].packed || vm->inflight_fd < 0)
			vm->vq[i].base = vm->vq[i].format->base(vm, &vm->vq[i]);
	return fake_vm_start(vm);
}

void fake_vm_close(struct fake_vm *vm)
{
	unsigned i;

	if (!vm)
		return;
	if (!vm->opt.socket && vm->opt.fd > 0)
		close_fd(&vm->opt.fd);
	fake_vm_hang_up(vm);
	close_fd(&vm->inflight_fd);
	for (i = 0; i < vm->n_queues; i++)
		free_slots(&vm->vq[i]);
	for (i = 0; i < VHOST_USER_REGIONS_MAX; i++) {
		if (vm->memory_at[i])
			munmap(vm->memory_at[i], vm->memory.region[i].size);
		close_fd(&vm->memory_fd[i]);
	}
	free(vm->vq);
	free(vm);
}
