/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Busy polling of the NIC (busy-poll=on): sockets that prefer it, and which of them to poll by. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/log.h"

/*
 * Theory of operation
 *
 * The driver takes frames in where its NAPI instance is polled: in a softirq after an interrupt,
 * or, with SO_PREFER_BUSY_POLL, inside a recvfrom() of a socket that knows the instance. All
 * sockets of a NIC queue have the same one, so the worker that owns the queue polls by one of them,
 * once in each round that finds all receive rings empty (nic_in.c), and at best no softirq runs
 * any more.
 *
 * The transmitting socket has none of this. A send must reach the driver whoever polls it just
 * then, and for a socket that prefers busy polling the kernel leaves the wake-up out.
 *
 * Which instance it is a socket learns when it is bound (Linux 6.13 and later, 6.17 in copy mode),
 * from drivers that tell; before 6.13 with its first frame. So we look once a second for a socket
 * that knows, and until there is one the worker calls nobody in vain, and the NIC's settings stay
 * as they are.
 */
#define BUDGET    64 /* frames of one poll: what drivers are written for */
#define BUSY_USEC 20 /* how long a blocking call polls: ours don't block, but 0 means never */

static int prefer(int fd)
{
	const int on = 1, usec = BUSY_USEC, budget = BUDGET;

	if (setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec)) ||
	    setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)))
		return -errno;
	return 0;
}

bool nic_busy_check(const char *ifname)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	err = fd < 0 ? -errno : prefer(fd);
	if (err)
		log_warn(
			"uplink %s: busy-poll=on is refused (%s), so frames come by interrupts; it "
			"needs CAP_NET_ADMIN and Linux 5.11 with CONFIG_NET_RX_BUSY_POLL",
			ifname, strerror(-err));
	if (fd >= 0)
		close(fd);
	return !err;
}

void nic_busy_prefer(const struct nic *nic, int fd)
{
	if (nic->busy_poll)
		prefer(fd); /* nic_busy_check() saw that it works */
}

/* Has the socket had a frame? The kernel's own index says so. */
static bool had_frames(const struct nic_socket *s)
{
	return s->fd >= 0 && __atomic_load_n(s->in.producer, __ATOMIC_RELAXED);
}

static bool knows_napi(const struct nic_socket *s)
{
	socklen_t len = sizeof(int);
	int id = 0;

	return s->fd >= 0 && !getsockopt(s->fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &len) &&
	       id > 0;
}

/* Finds the socket to poll by. *@frames: some socket had one. */
static int find(const struct nic *nic, const struct nic_queue *q, bool *frames)
{
	unsigned id;

	*frames |= had_frames(&q->trunk);
	if (knows_napi(&q->trunk))
		return q->trunk.fd;
	for (id = 0; id < VXS_PORTS_MAX; id++) {
		const struct nic_socket *s = nic->vm[id] ? &nic->vm[id][q->index] : NULL;

		if (!s || !had_frames(s))
			continue;
		*frames = true;
		if (knows_napi(s))
			return s->fd;
	}
	return -1;
}

void nic_busy_look(struct nic *nic)
{
	bool frames = false, polled = false;
	unsigned i;

	if (!nic->busy_poll || !nic->attached)
		return;
	for (i = 0; i < nic->queues; i++) {
		struct nic_queue *q = nic->queue[i];

		if (q->busy_fd < 0)
			__atomic_store_n(&q->busy_fd, find(nic, q, &frames), __ATOMIC_RELAXED);
		polled |= q->busy_fd >= 0;
	}
	if (polled && !nic->busy_deferred) {
		nic->busy_deferred = true;
		nic_set_defer(&nic->set);
	}
	if (frames && !polled && !nic->busy_told) {
		nic->busy_told = true;
		log_warn(
			"uplink %s: busy-poll=on has no effect, frames come by interrupts: sockets "
			"are not told of the driver's NAPI; leave it out, or try another kernel",
			nic->ifname);
	}
}

void nic_busy_leave(struct nic_queue *q, const struct nic_socket *s)
{
	if (q->busy_fd >= 0 && q->busy_fd == s->fd)
		__atomic_store_n(&q->busy_fd, -1, __ATOMIC_RELAXED);
}
