/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What front-ends say to a back-end from the first message to a migration, step by step. */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost_user.h"
#include "vu_peer.h"

#define TALK_STEPS    48
#define TALK_LOG_SIZE 4096

enum talk_fd { TALK_NO_FD, TALK_MEMORY, TALK_EVENT, TALK_SOCKET, TALK_LOG, TALK_FDS };

struct talk_step {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	enum talk_fd fd;
};

static inline struct talk_step *talk_add(struct talk_step **at, uint32_t request, uint32_t size)
{
	struct talk_step *s = (*at)++;

	*s = (struct talk_step){.header = {request, VHOST_USER_VERSION, size}};
	return s;
}

static inline void talk_add_u64(struct talk_step **at, uint32_t request, uint64_t value,
				enum talk_fd fd)
{
	struct talk_step *s = talk_add(at, request, sizeof(value));

	s->payload.u64 = value;
	s->fd = fd;
}

static inline void talk_add_state(struct talk_step **at, uint32_t request, uint32_t index,
				  uint32_t num)
{
	talk_add(at, request, 8)->payload.state = (struct vhost_user_vring_state){index, num};
}

static inline void talk_add_ring(struct talk_step **at, uint32_t index)
{
	uint64_t ring = PEER_UVA + index * PEER_RING;
	struct vhost_user_vring_addr a = {
		.index = index, .desc = ring, .avail = ring + PEER_AVAIL, .used = ring + PEER_USED};

	talk_add_state(at, VHOST_USER_SET_VRING_NUM, index, PEER_SIZE);
	talk_add_state(at, VHOST_USER_SET_VRING_BASE, index, 0);
	talk_add(at, VHOST_USER_SET_VRING_ADDR, sizeof(a))->payload.addr = a;
	talk_add_u64(at, VHOST_USER_SET_VRING_KICK, index, TALK_EVENT);
	talk_add_u64(at, VHOST_USER_SET_VRING_CALL, index, TALK_EVENT);
}

static inline void talk_add_region(struct talk_step **at, uint32_t request, enum talk_fd fd)
{
	struct talk_step *s = talk_add(at, request, sizeof(s->payload.one));

	s->payload.one.region = (struct vhost_user_region){.size = PEER_MEM, .uva = PEER_UVA};
	s->fd = fd;
}

static inline void talk_add_table(struct talk_step **at)
{
	struct talk_step *s = talk_add(at, VHOST_USER_SET_MEM_TABLE, 40);

	s->payload.memory = (struct vhost_user_memory){
		.n = 1, .region = {{.gpa = 0, .size = PEER_MEM, .uva = PEER_UVA}}};
	s->fd = TALK_MEMORY;
}

/* The guest's memory is there, at its own addresses, or not any more. */
static inline void talk_add_iotlb(struct talk_step **at, uint8_t type)
{
	talk_add(at, VHOST_USER_IOTLB_MSG, sizeof(struct vhost_user_iotlb))->payload.iotlb =
		(struct vhost_user_iotlb){PEER_UVA, PEER_MEM, PEER_UVA, 3, type, {0}};
}

static inline void talk_add_rings(struct talk_step **at)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		talk_add_ring(at, i);
	for (i = 0; i < 2; i++)
		talk_add_state(at, VHOST_USER_SET_VRING_ENABLE, i, 1);
	for (i = 0; i < 2; i++)
		talk_add_u64(at, VHOST_USER_SET_VRING_ERR, i, TALK_EVENT);
}

static inline void talk_add_stop(struct talk_step **at)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		talk_add_state(at, VHOST_USER_GET_VRING_BASE, i, 0);
}

#define TALK_P(name) FEATURE(VHOST_USER_PROTOCOL_F_##name)

/* QEMU, behind an IOMMU or not: to the end of a migration. */
static inline unsigned talk_write_qemu(struct talk_step **at, bool iommu)
{
	const uint64_t features = VERSION_1 | BIT30 | (iommu ? FEATURE(33) : 0);
	struct talk_step *first = *at, *s;
	uint32_t i;
	unsigned up;

	talk_add(at, VHOST_USER_GET_FEATURES, 0);
	talk_add(at, VHOST_USER_GET_PROTOCOL_FEATURES, 0);
	talk_add_u64(at, VHOST_USER_SET_PROTOCOL_FEATURES,
		     TALK_P(MQ) | TALK_P(REPLY_ACK) | TALK_P(NET_MTU) | TALK_P(LOG_SHMFD) |
			     TALK_P(BACKEND_REQ),
		     TALK_NO_FD);
	talk_add(at, VHOST_USER_GET_QUEUE_NUM, 0);
	talk_add(at, VHOST_USER_SET_OWNER, 0);
	talk_add(at, VHOST_USER_SET_BACKEND_REQ_FD, 0)->fd = TALK_SOCKET;
	for (i = 0; i < 2; i++)
		talk_add_u64(at, VHOST_USER_SET_VRING_CALL, i, TALK_EVENT);
	talk_add_u64(at, VHOST_USER_NET_SET_MTU, 1500, TALK_NO_FD);
	talk_add_u64(at, VHOST_USER_SET_FEATURES, features, TALK_NO_FD);
	talk_add_table(at);
	if (iommu)
		talk_add_iotlb(at, VHOST_USER_IOTLB_UPDATE);
	talk_add_rings(at);
	s = talk_add(at, VHOST_USER_SET_LOG_BASE, sizeof(s->payload.log));
	s->payload.log.size = TALK_LOG_SIZE;
	s->fd = TALK_LOG;
	talk_add(at, VHOST_USER_SET_LOG_FD, 0)->fd = TALK_EVENT;
	up = *at - first;
	talk_add_u64(at, VHOST_USER_SET_FEATURES, features | FEATURE(VHOST_USER_F_LOG_ALL),
		     TALK_NO_FD);
	if (iommu)
		talk_add_iotlb(at, VHOST_USER_IOTLB_INVALIDATE);
	talk_add_stop(at);
	return up;
}

/* All that comes with the newer protocol features; QEMU has them for other devices. */
static inline unsigned talk_write_newer(struct talk_step **at)
{
	const struct vhost_user_inflight inflight = {
		.mmap_size = TALK_LOG_SIZE, .n_queues = 1, .queue_size = PEER_SIZE / 8};
	struct talk_step *first = *at, *s;
	unsigned up;

	talk_add_u64(at, VHOST_USER_SET_PROTOCOL_FEATURES,
		     TALK_P(CONFIGURE_MEM_SLOTS) | TALK_P(STATUS) | TALK_P(INFLIGHT_SHMFD) |
			     TALK_P(DEVICE_STATE) | TALK_P(RESET_DEVICE) | TALK_P(CONFIG) |
			     TALK_P(BACKEND_REQ) | TALK_P(REPLY_ACK) | TALK_P(RARP) |
			     TALK_P(INBAND_NOTIFICATIONS),
		     TALK_NO_FD);
	talk_add(at, VHOST_USER_GET_MAX_MEM_SLOTS, 0);
	talk_add(at, VHOST_USER_SET_BACKEND_REQ_FD, 0)->fd = TALK_SOCKET;
	s = talk_add(at, VHOST_USER_GET_CONFIG, VHOST_USER_CONFIG_HEAD + 6);
	s->payload.config.size = 6;
	s = talk_add(at, VHOST_USER_SET_CONFIG, VHOST_USER_CONFIG_HEAD + 6);
	s->payload.config.size = 6;
	talk_add_u64(at, VHOST_USER_SET_STATUS, 3, TALK_NO_FD);
	talk_add_u64(at, VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | FEATURE(34), TALK_NO_FD);
	talk_add_u64(at, VHOST_USER_SET_STATUS, 11, TALK_NO_FD);
	talk_add(at, VHOST_USER_GET_INFLIGHT_FD, sizeof(inflight))->payload.inflight = inflight;
	s = talk_add(at, VHOST_USER_SET_INFLIGHT_FD, sizeof(inflight));
	s->payload.inflight = inflight;
	s->fd = TALK_LOG;
	s = talk_add(at, VHOST_USER_SET_DEVICE_STATE_FD, sizeof(s->payload.transfer));
	s->payload.transfer.direction = VHOST_USER_STATE_LOAD;
	s->fd = TALK_SOCKET;
	talk_add(at, VHOST_USER_CHECK_DEVICE_STATE, 0);
	talk_add_region(at, VHOST_USER_ADD_MEM_REG, TALK_MEMORY);
	talk_add_rings(at);
	talk_add_state(at, VHOST_USER_VRING_KICK, 1, 0);
	talk_add_u64(at, VHOST_USER_SEND_RARP, 0x010000000002, TALK_NO_FD);
	talk_add_u64(at, VHOST_USER_SET_STATUS, 15, TALK_NO_FD);
	talk_add(at, VHOST_USER_GET_STATUS, 0);
	up = *at - first;
	talk_add_stop(at);
	talk_add(at, VHOST_USER_SET_DEVICE_STATE_FD, sizeof(s->payload.transfer))->fd = TALK_SOCKET;
	talk_add(at, VHOST_USER_CHECK_DEVICE_STATE, 0);
	talk_add_region(at, VHOST_USER_REM_MEM_REG, TALK_NO_FD);
	talk_add(at, VHOST_USER_RESET_DEVICE, 0);
	talk_add_u64(at, VHOST_USER_SET_STATUS, 0, TALK_NO_FD);
	return up;
}

/* A guest that comes by post-copy migration, all of whose memory is there already. */
static inline unsigned talk_write_postcopy(struct talk_step **at)
{
	struct talk_step *first = *at;
	unsigned up;

	talk_add_u64(at, VHOST_USER_SET_PROTOCOL_FEATURES,
		     TALK_P(MQ) | TALK_P(REPLY_ACK) | TALK_P(PAGEFAULT), TALK_NO_FD);
	talk_add_u64(at, VHOST_USER_SET_FEATURES, VERSION_1 | BIT30, TALK_NO_FD);
	talk_add(at, VHOST_USER_POSTCOPY_ADVISE, 0);
	talk_add(at, VHOST_USER_POSTCOPY_LISTEN, 0);
	talk_add_table(at);
	talk_add_u64(at, VHOST_USER_SET_MEM_TABLE, 0, TALK_NO_FD);
	talk_add_rings(at);
	talk_add(at, VHOST_USER_POSTCOPY_END, 0);
	up = *at - first;
	talk_add_stop(at);
	return up;
}

enum talk_kind { TALK_QEMU, TALK_IOMMU, TALK_NEWER, TALK_POSTCOPY, TALK_KINDS };

/** talk_write() - the steps of one pair of queues; how many. After *@up of them they run. */
static inline unsigned talk_write(struct talk_step step[TALK_STEPS], enum talk_kind kind,
				  unsigned *up)
{
	struct talk_step *at = step;

	if (kind == TALK_NEWER)
		*up = talk_write_newer(&at);
	else if (kind == TALK_POSTCOPY)
		*up = talk_write_postcopy(&at);
	else
		*up = talk_write_qemu(&at, kind == TALK_IOMMU);
	return at - step;
}

/* A new one, of which the peer keeps nothing but what the back-end gets; @memory stays its own. */
static inline int talk_open(enum talk_fd kind, int memory)
{
	static int other = -1; /* end of the last channel: only the back-end closes it as yet */
	int fd = -1, pair[2];

	switch (kind) {
	case TALK_MEMORY:
		return dup(memory);
	case TALK_EVENT:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case TALK_SOCKET:
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return -1;
		if (other >= 0)
			close(other);
		other = pair[1];
		return pair[0];
	case TALK_LOG:
		fd = memfd_create("guest-log", MFD_CLOEXEC);
		if (ftruncate(fd, TALK_LOG_SIZE)) {
			close(fd);
			return -1;
		}
		return fd;
	default:
		return -1;
	}
}

/** talk_say() - the first @len bytes of a step on @to, with its fd, or without; true: all sent. */
static inline bool talk_say(int to, const struct talk_step *s, size_t len, int memory, bool with_fd)
{
	uint8_t bytes[sizeof(s->header) + sizeof(s->payload)];
	int fd;
	bool ok;

	if (!len)
		return true;
	memcpy(bytes, &s->header, sizeof(s->header));
	memcpy(bytes + sizeof(s->header), &s->payload, sizeof(s->payload));
	fd = with_fd ? talk_open(s->fd, memory) : -1;
	ok = peer_put(to, bytes, len, &fd, fd >= 0);
	if (fd >= 0)
		close(fd);
	return ok;
}

static inline size_t talk_length(const struct talk_step *s)
{
	return sizeof(s->header) + s->header.size;
}

#endif
