/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What QEMU says to a back-end from the first message to a migration, step by step. */
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

/** talk_write() - the steps of one pair of queues; how many. */
static inline unsigned talk_write(struct talk_step step[TALK_STEPS])
{
	uint64_t protocol =
		FEATURE(VHOST_USER_PROTOCOL_F_MQ) | FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		FEATURE(VHOST_USER_PROTOCOL_F_NET_MTU) | FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
		FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	struct talk_step *at = step, *s;
	uint32_t i;

	talk_add(&at, VHOST_USER_GET_FEATURES, 0);
	talk_add(&at, VHOST_USER_GET_PROTOCOL_FEATURES, 0);
	talk_add_u64(&at, VHOST_USER_SET_PROTOCOL_FEATURES, protocol, TALK_NO_FD);
	talk_add(&at, VHOST_USER_GET_QUEUE_NUM, 0);
	talk_add(&at, VHOST_USER_SET_OWNER, 0);
	talk_add(&at, VHOST_USER_SET_BACKEND_REQ_FD, 0)->fd = TALK_SOCKET;
	for (i = 0; i < 2; i++)
		talk_add_u64(&at, VHOST_USER_SET_VRING_CALL, i, TALK_EVENT);
	talk_add_u64(&at, VHOST_USER_NET_SET_MTU, 1500, TALK_NO_FD);
	talk_add_u64(&at, VHOST_USER_SET_FEATURES, VERSION_1 | BIT30, TALK_NO_FD);
	s = talk_add(&at, VHOST_USER_SET_MEM_TABLE, 40);
	s->payload.memory = (struct vhost_user_memory){
		.n = 1, .region = {{.gpa = 0, .size = PEER_MEM, .uva = PEER_UVA}}};
	s->fd = TALK_MEMORY;
	for (i = 0; i < 2; i++)
		talk_add_ring(&at, i);
	for (i = 0; i < 2; i++)
		talk_add_state(&at, VHOST_USER_SET_VRING_ENABLE, i, 1);
	for (i = 0; i < 2; i++)
		talk_add_u64(&at, VHOST_USER_SET_VRING_ERR, i, TALK_EVENT);
	/* and on to a migration */
	s = talk_add(&at, VHOST_USER_SET_LOG_BASE, sizeof(s->payload.log));
	s->payload.log.size = TALK_LOG_SIZE;
	s->fd = TALK_LOG;
	talk_add(&at, VHOST_USER_SET_LOG_FD, 0)->fd = TALK_EVENT;
	talk_add_u64(&at, VHOST_USER_SET_FEATURES,
		     VERSION_1 | BIT30 | FEATURE(VHOST_USER_F_LOG_ALL), TALK_NO_FD);
	for (i = 0; i < 2; i++)
		talk_add_state(&at, VHOST_USER_GET_VRING_BASE, i, 0);
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
