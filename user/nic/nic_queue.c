/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One NIC queue: its UMEM, its trunk socket, and the VMs' receive-only sockets on it. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control/log.h"
#include "switch/rcu.h"
#include "switch/worker.h"

/*
 * Theory of operation
 *
 * The socket that the UMEM is registered with transmits: it alone has a transmit ring (a second one
 * would switch the kernel's batched transmit off), and its bind chooses the mode. It receives
 * nothing and nobody waits for it: for a socket in an epoll set, the kernel would look for somebody
 * to wake at each frame that it has sent (7 % of its time in copy mode). Trunk and VM sockets share
 * the UMEM and have no rings but their receive ring.
 *
 * A socket is closed in this order, by nic.c: out of the map; wait until no XDP program can still
 * hold it (from then on its ring gets nothing more); out of the worker's table and rcu_wait(), so
 * that control alone has the ring; what is left in it to the back ring, for the worker to
 * put it into the fill ring; close. No frame of the UMEM is lost however often that is done.
 */

#define BUSY_WAIT_MS 3000 /* a queue stays taken for a while after its last socket was closed */
#define BUSY_STEP_MS 20

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Binds a socket, once more and again while the queue is still taken. */
static int bind_socket(const struct nic *nic, const struct nic_queue *q, int fd, uint16_t flags)
{
	const struct sockaddr_xdp to = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = flags,
		.sxdp_ifindex = nic->ifindex,
		.sxdp_queue_id = q->index,
		.sxdp_shared_umem_fd = flags & XDP_SHARED_UMEM ? q->umem.fd : 0,
	};
	uint64_t end = now_ms() + BUSY_WAIT_MS;

	while (bind(fd, (const struct sockaddr *)&to, sizeof(to))) {
		if (errno != EBUSY || now_ms() >= end)
			return -errno;
		poll(NULL, 0, BUSY_STEP_MS);
	}
	return 0;
}

bool nic_queue_can_sg(void)
{
	/* Flags are looked at before the interface, which doesn't exist. */
	const struct sockaddr_xdp nowhere = {.sxdp_family = AF_XDP, .sxdp_flags = XDP_USE_SG};
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	bool can;

	if (fd < 0)
		return false;
	can = bind(fd, (const struct sockaddr *)&nowhere, sizeof(nowhere)) && errno == ENODEV;
	close(fd);
	return can;
}

static void close_in(struct nic_socket *s)
{
	umem_ring_close(&s->map);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int open_in(struct nic *nic, struct nic_queue *q, struct nic_socket *s, uint32_t size)
{
	int err;

	s->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	err = umem_ring_in(&s->map, &s->in, s->fd, XDP_RX_RING, size);
	if (!err)
		err = bind_socket(nic, q, s->fd, XDP_SHARED_UMEM);
	if (err) {
		close_in(s);
		return err;
	}
	nic_busy_prefer(nic, s->fd);
	return 0;
}

static int open_out(struct nic *nic, struct nic_queue *q, uint16_t bind_flags)
{
	int budget = UMEM_OUT_FRAMES, err;

	err = umem_ring_out(&q->out_map, &q->out, q->umem.fd, XDP_TX_RING, UMEM_OUT_FRAMES);
	if (err)
		return err;
	if (nic->sg)
		bind_flags |= XDP_USE_SG; /* of the UMEM, and so of all its sockets */
	err = bind_socket(nic, q, q->umem.fd, bind_flags | XDP_USE_NEED_WAKEUP);
	if (err)
		return err;
	q->out_fd = q->umem.fd;
	/* Fewer calls a batch; kernels without it send 32 a call, at the same rate as measured. */
	setsockopt(q->out_fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	return 0;
}

/* The memory, with room for the metadata of frames to be sent if the kernel knows that. */
static int open_umem(struct nic *nic, struct nic_queue *q)
{
	int err = umem_open(&q->umem, nic->frame_size, nic->meta, true);

	if (err != -EINVAL || !nic->meta)
		return err;
	log_debug("uplink %s: the kernel refuses metadata of frames to be sent", nic->ifname);
	nic->meta = false;
	return umem_open(&q->umem, nic->frame_size, nic->meta, true);
}

int nic_queue_open(struct nic *nic, unsigned index, uint16_t bind_flags)
{
	struct nic_table *none;
	struct nic_queue *q;
	int err;

	q = aligned_alloc(64, (sizeof(*q) + 63) / 64 * 64);
	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	umem_init(&q->umem);
	q->trunk.fd = -1;
	q->out_fd = -1;
	q->busy_fd = -1;
	q->index = index;
	q->zero_copy = bind_flags & XDP_ZEROCOPY;
	q->sg = nic->sg;
	nic->queue[index] = q;
	err = -pthread_spin_init(&q->lock, PTHREAD_PROCESS_PRIVATE);
	if (err)
		goto err;
	q->lock_ready = true;
	err = open_umem(nic, q);
	if (err)
		goto err;
	err = open_out(nic, q, bind_flags);
	if (!err)
		err = open_in(nic, q, &q->trunk, NIC_TRUNK_RING);
	if (err)
		goto err;
	q->trunk.out = FRAME_PORT_NONE;
	q->trunk.stats = nic->port.stats;
	err = nic_queue_publish(q, &q->trunk, NULL, &none);
	if (err)
		goto err;
	return 0;
err:
	nic_queue_close(nic, index);
	return err;
}

void nic_queue_close(struct nic *nic, unsigned index)
{
	struct nic_queue *q = nic->queue[index];

	if (!q)
		return;
	if (q->trunk.watched)
		worker_unwatch(nic->port.worker[index], q->trunk.fd);
	close_in(&q->trunk);
	umem_ring_close(&q->out_map);
	umem_close(&q->umem);
	if (q->lock_ready)
		pthread_spin_destroy(&q->lock);
	free(q->table);
	free(q);
	nic->queue[index] = NULL;
}

int nic_socket_open(struct nic *nic, struct nic_queue *q, struct nic_socket *s, uint32_t id,
		    struct vxs_port_stats *stats)
{
	s->out = id;
	s->stats = stats;
	return open_in(nic, q, s, NIC_VM_RING);
}

void nic_socket_close(struct nic_queue *q, struct nic_socket *s)
{
	uint32_t at, n, i;

	if (s->fd < 0)
		return;
	n = xsk_ring_cons__peek(&s->in, NIC_VM_RING, &at);
	for (i = 0; i < n; i++)
		umem_give_back(&q->umem, xsk_ring_cons__rx_desc(&s->in, at + i)->addr);
	if (n)
		xsk_ring_cons__release(&s->in, n);
	close_in(s);
}

int nic_queue_publish(struct nic_queue *q, struct nic_socket *add, struct nic_socket *del,
		      struct nic_table **old)
{
	const struct nic_table *now = q->table;
	unsigned n = now ? now->n : 0, i;
	struct nic_table *t;

	t = malloc(sizeof(*t) + (n + 1) * sizeof(t->socket[0]));
	if (!t)
		return -ENOMEM;
	t->n = 0;
	for (i = 0; i < n; i++)
		if (now->socket[i] != del)
			t->socket[t->n++] = now->socket[i];
	if (add)
		t->socket[t->n++] = add;
	*old = q->table;
	rcu_set(q->table, t);
	return 0;
}
