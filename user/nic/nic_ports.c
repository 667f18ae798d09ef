/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports on the uplink: sockets come and go, in the map and in what workers poll. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/membarrier.h>

#include "control/log.h"
#include "switch/rcu.h"
#include "switch/worker.h"

static uint32_t map_index(const struct nic *nic, uint32_t port, unsigned queue)
{
	return port * nic->queues + queue;
}

static int let_in(struct nic *nic, unsigned queue, struct nic_socket *s, uint32_t port)
{
	uint32_t index = map_index(nic, port, queue);
	int err;

	if (!s->watched && nic->port.worker[queue]) {
		err = worker_watch(nic->port.worker[queue], s->fd, &nic->port, queue);
		if (err)
			return err;
		s->watched = true;
	}
	return bpf_map_update_elem(nic->sockets_fd, &index, &s->fd, BPF_ANY);
}

static void keep_out(struct nic *nic, unsigned queue, struct nic_socket *s, uint32_t port)
{
	uint32_t index = map_index(nic, port, queue);

	bpf_map_delete_elem(nic->sockets_fd, &index);
	if (s->watched)
		worker_unwatch(nic->port.worker[queue], s->fd);
	s->watched = false;
}

int nic_attach(struct nic *nic)
{
	unsigned i, id;
	int err;

	nic->attached = true;
	for (i = 0; i < nic->queues; i++) {
		err = let_in(nic, i, &nic->queue[i]->trunk, VXS_PORT_UPLINK);
		for (id = 0; id < VXS_PORTS_MAX && !err; id++)
			if (nic->vm[id])
				err = let_in(nic, i, &nic->vm[id][i], id);
		if (err) {
			log_error("uplink %s: cannot let frames in on queue %u (%s)", nic->ifname,
				  i, strerror(-err));
			return err;
		}
	}
	nic_busy_look(nic);
	return 0;
}

void nic_detach(struct nic *nic)
{
	unsigned i, id;

	nic_xdp_detach(nic);
	for (i = 0; i < nic->queues && nic->attached; i++) {
		for (id = 0; id < VXS_PORTS_MAX; id++)
			if (nic->vm[id])
				keep_out(nic, i, &nic->vm[id][i], id);
		keep_out(nic, i, &nic->queue[i]->trunk, VXS_PORT_UPLINK);
	}
	nic->attached = false;
}

/*
 * Waits until each XDP program that was running has ended: one of them may have read the map before
 * an entry was deleted. membarrier() waits for exactly that (an RCU grace period of the kernel);
 * where it is not to be had, closing a packet socket waits for one as well.
 */
static void wait_for_programs(void)
{
	int fd;

	if (!syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		return;
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
}

void nic_del_port(struct nic *nic, uint32_t id)
{
	struct nic_table *old[VXS_NIC_QUEUES_MAX] = {0};
	struct nic_socket *s = nic->vm[id];
	unsigned i;

	if (!s)
		return;
	for (i = 0; i < nic->queues; i++) {
		keep_out(nic, i, &s[i], id);
		nic_busy_leave(nic->queue[i], &s[i]);
	}
	if (nic->attached)
		wait_for_programs();
	for (i = 0; i < nic->queues; i++)
		if (nic_queue_publish(nic->queue[i], NULL, &s[i], &old[i])) {
			log_error("uplink %s: out of memory, sockets of port %u stay open",
				  nic->ifname, id);
			rcu_wait();
			goto out;
		}
	rcu_wait();
	nic_read_drops(nic);
	for (i = 0; i < nic->queues; i++) {
		nic_socket_close(nic->queue[i], &s[i]);
		if (nic->port.worker[i])
			worker_wake(nic->port.worker[i]); /* frames wait for it in the back ring */
	}
	nic->vm[id] = NULL;
	free(s);
out:
	for (i = 0; i < nic->queues; i++)
		free(old[i]);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

bool nic_drain(struct nic *nic, const bool *worker, unsigned n_workers)
{
	uint64_t end = now_ms() + NIC_DRAIN_MS;
	bool meant[VXS_NIC_QUEUES_MAX] = {};
	uint32_t mark[VXS_NIC_QUEUES_MAX];
	unsigned i;

	if (nic->queues == 1) /* all send through it */
		return true;
	for (i = 0; i < n_workers; i++)
		if (worker[i])
			meant[nic_out_queue(nic, i)->index] = true;
	for (i = 0; i < nic->queues; i++)
		mark[i] = meant[i] ? nic_out_mark(nic->queue[i]) : 0;
	for (i = 0; i < nic->queues; i++) {
		while (meant[i] && !nic_out_is_past(nic->queue[i], mark[i])) {
			if (now_ms() >= end)
				return false;
			poll(NULL, 0, 1);
		}
	}
	return true;
}

int nic_add_port(struct nic *nic, uint32_t id, struct vxs_port_stats *stats)
{
	struct nic_table *old[VXS_NIC_QUEUES_MAX] = {0};
	struct nic_socket *s;
	unsigned i;
	int err = 0;

	if (id < VXS_PORT_VM || id >= VXS_PORTS_MAX || nic->vm[id])
		return -EINVAL;
	s = aligned_alloc(64, (nic->queues * sizeof(*s) + 63) / 64 * 64);
	if (!s)
		return -ENOMEM;
	memset(s, 0, nic->queues * sizeof(*s));
	for (i = 0; i < nic->queues; i++)
		s[i].fd = -1;
	nic->vm[id] = s;
	for (i = 0; i < nic->queues && !err; i++) {
		err = nic_socket_open(nic, nic->queue[i], &s[i], id, stats);
		if (!err)
			err = nic_queue_publish(nic->queue[i], &s[i], NULL, &old[i]);
	}
	rcu_wait();
	for (i = 0; i < nic->queues; i++)
		free(old[i]);
	for (i = 0; i < nic->queues && nic->attached && !err; i++)
		err = let_in(nic, i, &s[i], id);
	if (err) {
		log_error("uplink %s: cannot open an AF_XDP socket for port %u (%s); %s",
			  nic->ifname, id, strerror(-err), nic_remedy(err));
		nic_del_port(nic, id);
	}
	return err;
}
