/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside the uplink: the NIC, its queues and their AF_XDP sockets, as control and workers see them.
 */
#ifndef NIC_QUEUE_H
#define NIC_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <net/if.h>

#include "nic/nic.h"
#include "nic/nic_features.h"
#include "nic/nic_set.h"
#include "nic/umem.h"
#include "port/port.h"

#define NIC_TRUNK_RING 2048 /* entries of a trunk socket's receive ring */
#define NIC_VM_RING    1024 /* entries of a VM socket's receive ring */

/* One AF_XDP socket: a queue's trunk, or a VM's receive-only one. */
struct nic_socket {
	/* the owning worker's while in the table, else control's */
	struct xsk_ring_cons in;
	bool skip; /* what comes next belongs to a frame in too many pieces */

	/* constant while in the table */
	uint32_t out; /* the port that its frames are for; FRAME_PORT_NONE: the switch decides */
	int fd;

	/* control's */
	struct umem_map map;
	struct vxs_port_stats *stats;
	bool watched;
	uint64_t seen_full, seen_dropped; /* kernel's counters at the last look */
};

/* The sockets that a worker polls; published as a whole, never edited in place. */
struct nic_table {
	unsigned n;
	struct nic_socket *socket[];
};

struct nic_queue {
	/* constant while open */
	unsigned index;
	bool zero_copy;
	bool sg;    /* frames may be in several descriptors */
	int out_fd; /* of the socket that transmits, the UMEM's; -1: none */
	struct umem_map out_map;

	/* written by control, read by the owning worker */
	struct nic_table *table; /* RCU */
	int busy_fd; /* the socket to poll the driver by; -1: it comes by itself (relaxed) */

	/* written by the owning worker, read by control (relaxed) */
	uint64_t busy_polls, busy_hits; /* polls of the driver; those that brought frames */

	/* the owning worker's */
	unsigned first;  /* where the next round begins, so that no socket starves */
	unsigned n_lent; /* frames to go back to the fill ring in done() */
	uint64_t lent[2 * BATCH_FRAMES];

	/* whoever sends: under @lock */
	pthread_spinlock_t lock;
	struct xsk_ring_prod out;
	bool down;      /* the kernel refused the last kick: link or device down */
	unsigned calls; /* system calls made to send */
	bool left; /* written under @lock, read by the owning worker: descriptors wait for a kick */

	/* control's */
	bool lock_ready;
	uint64_t seen_empty; /* failed takes from the fill ring at the last look */
	uint64_t empty_left; /* of them, not yet ascribed to a socket */

	struct nic_socket trunk;
	struct umem umem;
};

/* Descriptors of one frame: what an skb of the kernel holds, in copy mode. */
#define NIC_PARTS_MAX 18

struct nic_in_bpf;

struct nic {
	struct port port; /* first: workers get from the one to the other */

	/* constant while published */
	unsigned queues;
	bool no_gro; /* gro=off */
	bool hashes; /* the NIC's flow hash stands before VMs' frames */
	struct nic_queue *queue[VXS_NIC_QUEUES_MAX];

	/* written by control, read by workers (relaxed) */
	uint32_t mtu; /* what fits a frame, if that is less than the interface's */

	/* control's */
	char ifname[IF_NAMESIZE];
	int ifindex;
	unsigned nic_queues; /* that the hardware has */
	uint32_t frame_size;
	bool sg;            /* the MTU is more than a UMEM frame holds */
	bool meta;          /* before frames to be sent: checksums are left to the NIC */
	unsigned parts_max; /* descriptors of a frame */
	struct nic_features features;
	uint8_t mac[6];
	const char *mode;
	bool attached;                 /* sockets go into the map, frames come in */
	bool busy_poll;                /* busy-poll=on, and the kernel knows it */
	bool busy_deferred, busy_told; /* done once: see nic_busy_look() */
	int sockets_fd;
	struct nic_in_bpf *bpf;      /* the XDP program */
	struct nic_in_bpf *hash_bpf; /* the same, with the NIC's flow hash; NULL: not to be had */
	int link_fd;
	struct nic_set set;
	struct nic_socket *vm[VXS_PORTS_MAX]; /* one per queue each, NULL: no such port */
};

static inline struct nic *nic_of(struct port *p)
{
	return (struct nic *)p;
}

/* nic_in.c, nic_out.c: the hot side. */
unsigned nic_in(struct port *p, struct worker *w, unsigned queue, struct batch *b);
void nic_done(struct port *p, struct worker *w, unsigned queue, struct batch *b);
bool nic_wait(struct port *p, struct worker *w, unsigned queue, bool on);
void nic_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	     unsigned n);
/** nic_out_retry() - send what a kick left behind, unless another worker is about to. Any thread.
 * Returns how many system calls it took. */
unsigned nic_out_retry(struct nic_queue *q);
/** nic_out_mark() - up to where frames were queued until now; for nic_out_is_past(). Any thread. */
uint32_t nic_out_mark(struct nic_queue *q);
/** nic_out_is_past() - kick; true if the device is done with all up to @mark, or down. Any thread.
 */
bool nic_out_is_past(struct nic_queue *q, uint32_t mark);

/* The queue that a worker sends through. */
static inline struct nic_queue *nic_out_queue(const struct nic *nic, unsigned worker)
{
	return nic->queue[worker % nic->queues];
}

/* nic_queue.c, control thread. */

/** nic_queue_can_sg() - the kernel knows frames in several descriptors (Linux 6.6). */
bool nic_queue_can_sg(void);

/**
 * nic_queue_open() - UMEM and trunk socket of queue @index
 * @bind_flags: XDP_ZEROCOPY or XDP_COPY
 * Return: 0 or -errno (-EOPNOTSUPP: the driver can't; -EBUSY: another socket has the queue).
 */
int nic_queue_open(struct nic *nic, unsigned index, uint16_t bind_flags);
void nic_queue_close(struct nic *nic, unsigned index);

/** nic_socket_open() - port @id's receive-only socket on queue @q; not in map or table yet. */
int nic_socket_open(struct nic *nic, struct nic_queue *q, struct nic_socket *s, uint32_t id,
		    struct vxs_port_stats *stats);
/** nic_socket_close() - out of the table, seen by no worker: frames go back, the socket goes. */
void nic_socket_close(struct nic_queue *q, struct nic_socket *s);

/** nic_queue_publish() - the table with @add (or NULL) and without @del (or NULL). The old one is
 * stored in @old, for free() after an rcu_wait(). 0 or -ENOMEM. */
int nic_queue_publish(struct nic_queue *q, struct nic_socket *add, struct nic_socket *del,
		      struct nic_table **old);

/* nic_busy.c, control thread: busy polling. */

/** nic_busy_check() - whether the kernel lets us; logs if it doesn't. */
bool nic_busy_check(const char *ifname);
/** nic_busy_prefer() - for a receiving socket that was just made. */
void nic_busy_prefer(const struct nic *nic, int fd);
/** nic_busy_leave() - the queue isn't polled by @s any more; rcu_wait() before it is closed. */
void nic_busy_leave(struct nic_queue *q, const struct nic_socket *s);

/* nic_stats.c, control thread: the kernel's counters of one queue's sockets. */
void nic_queue_read_drops(struct nic *nic, struct nic_queue *q);

/* nic_xdp.c, control thread: the XDP program. */

/** nic_xdp_check() - -EBUSY, logged, if a program that isn't ours is attached. */
int nic_xdp_check(const struct nic *nic);
/** nic_xdp_load() - load the program on the maps of @setup; logs. */
int nic_xdp_load(struct nic *nic, const struct nic_setup *setup);
/** nic_xdp_attach() - @flags: XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE; doesn't log. */
int nic_xdp_attach(struct nic *nic, uint32_t flags);
void nic_xdp_detach(struct nic *nic);
void nic_xdp_unload(struct nic *nic);
void nic_xdp_set_mac(struct nic *nic);

#endif
