/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's port: its socket, its front-end's connection, and its virtqueues. */
#ifndef VM_H
#define VM_H

#include <stdint.h>

#include "offload/offload.h"
#include "port/port.h"
#include "switch/frame.h"
#include "vm/vq.h"

struct loop;
struct vm_control; /* vm.c: sockets, connection, what the front-end said */

/*
 * Virtqueue 2i is the guest's receive queue i (our out[i]), 2i + 1 its transmit queue (our in[i]).
 */
struct vm {
	struct port port;                /* first: workers get from the one to the other */
	struct vq *in[PORT_QUEUES_MAX];  /* RCU; NULL: not running */
	struct vq *out[PORT_QUEUES_MAX]; /* RCU; NULL: not running or not enabled */
	unsigned n_out;                  /* receive queues 0 to n_out - 1 all run; atomic */
	uint32_t mtu;                    /* of packets both ways; 0: any; atomic, by control */
	uint64_t rarp; /* a MAC as it lies in memory, to be announced by in-queue 0; 0: none;
			* atomic: set by control, taken by the queue's worker */
	uint8_t rarp_rest[28];      /* that worker's: what follows the frame's head */
	struct vm_control *control; /* control thread only */
};

static inline struct vm *vm_of(struct port *p)
{
	return (struct vm *)p;
}

/* A frame, or the longest that it will be cut into, is longer than an MTU allows. */
static inline bool vm_is_over_mtu(const struct frame *f, uint32_t mtu)
{
	uint32_t most = frame_max_len(f, mtu);

	return f->len > most && offload_cut_len(f) > most;
}

extern const struct port_ops vm_port_ops; /* vm_in.c, vm_out.c */
unsigned vm_in(struct port *p, struct worker *w, unsigned queue, struct batch *b);
void vm_done(struct port *p, struct worker *w, unsigned queue, struct batch *b);
bool vm_wait(struct port *p, struct worker *w, unsigned queue, bool on);
void vm_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	    unsigned n);
/** vm_tell_absent() - tell control of q->absent. Worker. */
void vm_tell_absent(const struct port *p, struct worker *w, struct vq *q);

/* Which offloads a VM is offered. */
enum vm_offloads { VM_OFFLOADS_ALL, VM_OFFLOADS_CSUM, VM_OFFLOADS_NONE };

/* Whether single queues may be reset; auto: by front-ends that tell us (vm_peer_is_qemu()). */
enum vm_ring_reset { VM_RING_RESET_AUTO, VM_RING_RESET_ON, VM_RING_RESET_OFF };

/* Who calls: the front-end calls vxsd, which listens, or vxsd calls the front-end. */
enum vm_role { VM_SERVER, VM_CLIENT };

#define VM_FD_MIN 3 /* of fd=: those below are vxsd's own stdin, stdout and stderr */

/* Bytes of an IP packet that mtu= and NET_SET_MTU may say (virtio 1.2, 5.1.4.1). */
#define VM_MTU_MIN 68u
#define VM_MTU_MAX 65535

/* What VMs are told of their link (virtio 1.2, 5.1.4): the uplink's. */
struct vm_link {
	uint32_t speed; /* Mbit/s; UINT32_MAX: unknown */
	uint8_t duplex; /* 0: half, 1: full, UINT8_MAX: unknown */
};

#define VM_LINK_UNKNOWN                                                                            \
	{                                                                                          \
		.speed = UINT32_MAX, .duplex = UINT8_MAX                                           \
	}

/* What --vm and `vxsctl port add` say; see control/options.h. */
struct vm_options {
	char name[VXS_NAME_SIZE];
	char socket[108]; /* "" for RUN-DIR/NAME.sock */
	enum vm_role role;
	int fd;          /* an open socket to use instead, VM_FD_MIN or more; 0: none */
	unsigned queues; /* queue pairs, 1 to PORT_QUEUES_MAX */
	uint8_t mac[6];  /* all zero: learn */
	enum vm_offloads offloads;
	enum vm_ring_reset ring_reset;
	unsigned mtu;  /* VM_MTU_MIN to VM_MTU_MAX; 0: not said */
	bool postcopy; /* offer PAGEFAULT instead of CONFIGURE_MEM_SLOTS: QEMU wants never both */
};

/**
 * vm_new() - make a VM's port and its socket, on which it listens unless it is the client
 * @out:  where it goes
 * @loop: the control thread's loop, in which messages will be handled
 * @opt:  what the user asked for; @opt->socket is set
 * @id:   the port's number
 * @stats: its entry of the map port_stats
 *
 * Logs the reason when it fails. The caller sets port.worker[] before vm_listen(). An fd of @opt is
 * the VM's once 0 is returned. Control thread.
 *
 * Return: 0 or -errno (-EADDRINUSE if something listens on the socket already).
 */
int vm_new(struct vm **out, struct loop *loop, const struct vm_options *opt, uint32_t id,
	   struct vxs_port_stats *stats);

/** vm_listen() - accept front-ends, or call one, from now on; port.worker[] is set. */
int vm_listen(struct vm *vm);

/** vm_free() - close, stop the queues, wait for workers, remove the socket. NULL is fine. */
void vm_free(struct vm *vm);

/**
 * vm_broken() - see what workers found to be broken, log it, and tell the front-end
 * @vm: the VM
 *
 * A broken queue is told with VRING_ERR; without its memory a front-end loses its connection. To be
 * called when a worker reports that a queue broke (EVENT_BROKEN), and once a second, since a report
 * finds no room if a storm of others fills the ring. Control thread.
 */
void vm_broken(struct vm *vm);

/**
 * vm_absent() - a worker wants memory that is absent (EVENT_ABSENT)
 * @vm:     the VM
 * @absent: which, as in struct vu_cursor
 *
 * Has it brought, if somebody can. Control thread.
 */
void vm_absent(struct vm *vm, uint64_t absent);

/** vm_set_link() - the uplink's link is this now; the front-end is told of a change. Control
 * thread.
 */
void vm_set_link(struct vm *vm, const struct vm_link *link);

/* What `vxsctl port show` tells; strings are constants or live as long as the VM. */
struct vm_queue_state {
	bool started, enabled;
	uint32_t size;
	const char *broken; /* NULL: not broken */
	uint64_t calls;
};

struct vm_state {
	const char *socket;
	enum vm_role role;
	bool connected;
	bool over;         /* it was given one connection, which has ended */
	const char *ended; /* why the last connection ended; NULL: none did */
	bool running;      /* at least one queue of each direction runs */
	bool rests;        /* it would, but for memory that was asked for */
	int peer_pid;
	uint64_t offered, asked, features; /* @asked: by SET_FEATURES, @features: agreed */
	uint64_t protocol_offered, protocol_asked, protocol_features;
	unsigned regions;
	uint64_t memory; /* bytes */
	unsigned queues; /* pairs */
	unsigned spread; /* receive queues that frames are spread over */
	enum vm_offloads offloads;
	uint32_t mtu;             /* in effect; 0: none */
	uint32_t mtu_option;      /* mtu=; 0: not said */
	uint32_t mtu_told;        /* NET_SET_MTU; 0: not said */
	uint64_t connections;     /* since start */
	uint64_t moved_in;        /* when its state came from elsewhere (seconds); 0: it did not */
	const char *moved_from;   /* the port's name there */
	unsigned moved_addresses; /* that came along */
	const char *status;       /* device status; NULL: the front-end doesn't tell it */
	const char *why_not;      /* why no traffic passes, in words; NULL if it does */
};

void vm_state(const struct vm *vm, struct vm_state *state);
/** vm_count_running() - pairs of queues that carry frames both ways, but for absent memory. */
unsigned vm_count_running(const struct vm *vm);
/** vm_queue_state() - of virtqueue @index (0 to 2 * queues - 1). */
void vm_queue_state(const struct vm *vm, unsigned index, struct vm_queue_state *state);

/** vm_on_change() - @changed(@arg, vm) is called whenever connected, running or the MTU changes, or
 * which in-queues run. */
void vm_on_change(struct vm *vm, void (*changed)(void *arg, struct vm *vm), void *arg);

/*
 * What a VM's port takes along to another host, besides its settings. @load is called while no ring
 * runs, with what was checked; it returns how many addresses it took.
 */
struct vm_saved;
struct vm_carrier {
	void (*save)(void *arg, struct vm *vm, struct vm_saved *s);
	unsigned (*load)(void *arg, struct vm *vm, const struct vm_saved *s);
};

/** vm_on_move() - @carrier's functions are called with @arg when the VM moves out or in. */
void vm_on_move(struct vm *vm, const struct vm_carrier *carrier, void *arg);

/* For balance.c, which moves in-queues from worker to worker. Control thread. */

/** vm_queue_runs() - in-queue @queue is started, enabled and not broken. */
bool vm_queue_runs(const struct vm *vm, unsigned queue);
/** vm_queue_watch() - have the kicks of in-queue @queue wake @w, too. 0 or -errno. */
int vm_queue_watch(struct vm *vm, unsigned queue, struct worker *w);
/** vm_queue_unwatch() - have them no longer wake @w. */
void vm_queue_unwatch(struct vm *vm, unsigned queue, struct worker *w);

#endif
