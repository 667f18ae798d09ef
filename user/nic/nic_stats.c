/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's counters of the AF_XDP sockets, ascribed to the ports whose frames were lost. */
#include "nic/nic_queue.h"

#include <string.h>
#include <sys/socket.h>

/*
 * What the kernel counts where (net/xdp/xsk.c, net/xdp/xsk_buff_pool.c):
 * - rx_ring_full: of the socket; the frame found its receive ring full.
 * - rx_dropped: of the socket; in copy mode no UMEM frame could be had, or the frame was too long
 *   for one. It doesn't include the former.
 * - rx_fill_ring_empty_descs: of the fill ring, so every socket of a queue shows the same number.
 *   In copy mode each such failure is also in one socket's rx_dropped; in zero-copy mode it counts
 *   a driver's attempts to stock up, and not frames.
 * So a frame that a socket dropped is put down to the empty fill ring as long as there are failures
 * that no socket has been charged with, and to other reasons after that.
 */
static bool look(const struct nic_socket *s, struct xdp_statistics *now)
{
	socklen_t len = sizeof(*now);

	memset(now, 0, sizeof(*now));
	return s->fd >= 0 && !getsockopt(s->fd, SOL_XDP, XDP_STATISTICS, now, &len);
}

static void charge(struct nic_queue *q, struct nic_socket *s, const struct xdp_statistics *now)
{
	uint64_t full = now->rx_ring_full - s->seen_full;
	uint64_t dropped = now->rx_dropped - s->seen_dropped;
	uint64_t empty = dropped < q->empty_left ? dropped : q->empty_left;

	s->seen_full = now->rx_ring_full;
	s->seen_dropped = now->rx_dropped;
	q->empty_left -= empty;
	stat_add(&s->stats->drops.socket_full, full);
	stat_add(&s->stats->drops.umem_empty, empty);
	stat_add(&s->stats->drops.socket_error, dropped - empty);
}

void nic_queue_read_drops(struct nic *nic, struct nic_queue *q)
{
	struct xdp_statistics now[VXS_PORTS_MAX], last;
	bool valid[VXS_PORTS_MAX];
	unsigned i;

	/* The fill ring's failures are read last: there must not be fewer than the sockets' drops.
	 */
	valid[0] = look(&q->trunk, &now[0]);
	for (i = 1; i < VXS_PORTS_MAX; i++)
		valid[i] = nic->vm[i] && look(&nic->vm[i][q->index], &now[i]);
	if (!look(&q->trunk, &last))
		return;
	q->empty_left += last.rx_fill_ring_empty_descs - q->seen_empty;
	q->seen_empty = last.rx_fill_ring_empty_descs;
	for (i = 0; i < VXS_PORTS_MAX; i++)
		if (valid[i])
			charge(q, i ? &nic->vm[i][q->index] : &q->trunk, &now[i]);
	if (q->zero_copy)
		q->empty_left = 0;
}
