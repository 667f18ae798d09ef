/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control thread's side of a VM: what the front-end said, and the rings made of it. */
#ifndef VM_CONTROL_H
#define VM_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "control/log.h"
#include "vhost_user.h"
#include "vm/vm.h"
#include "vm/vu_mem.h"
#include "vm/vu_sock.h"

/*
 * One virtqueue. A ring can run when there are SET_FEATURES, a memory table, a size, a base,
 * addresses, and a kick that came since it was last stopped; in whatever order. What runs is @q.
 */
struct vm_ring {
	uint32_t size; /* SET_VRING_NUM; 0: not said */
	struct vhost_user_vring_addr addr;
	uint32_t base; /* SET_VRING_BASE; where it stands, while it doesn't run */
	bool has_addr, has_base;
	bool resume;  /* the next start goes by what the front-end has kept for us (INFLIGHT) */
	bool kicked;  /* SET_VRING_KICK came, with an fd or without */
	bool no_kick; /* SET_VRING_KICK said that there will be no kicks: the ring is polled */
	bool enabled; /* SET_VRING_ENABLE; counts only if the front-end took bit 30 */
	int kick_fd, call_fd,
		err_fd;             /* -1: none. kick_fd of an in-queue is watched by its worker */
	struct vu_inband *inband;   /* call_fd is ours, calls are messages; NULL: it is not */
	struct vq *q;               /* NULL: doesn't run */
	uint32_t broken;            /* enum vq_broken; kept while the ring is paused */
	bool broken_told, err_told; /* logged, and signalled */
	uint64_t calls;             /* notifications by earlier incarnations of @q */
	uint64_t absent; /* what keeps it from starting, as in struct vu_cursor; 0: nothing does */
	bool misplaced;  /* it was in memory that has gone since; other memory may have it */
};

struct vm_control {
	struct vm *vm;
	struct loop *loop;
	unsigned n_rings;

	enum vm_role role;
	bool once;        /* a connection was given (fd=): when it ends, none can come again */
	bool over;        /* and it has ended */
	bool made_socket; /* we made @socket's file, and remove it */
	char socket[108]; /* its path; "fd N" if it has none */
	int listen_fd;    /* -1: none */
	int dial_fd;      /* client: not connected yet; -1: none. @once: the given one */
	int dial_error;   /* of the last call of the front-end, which was logged; 0: none */
	struct loop_watch *listen_watch, *retry_watch, *dial_alarm;

	struct vu_conn conn; /* the front-end */
	struct loop_watch *conn_watch;
	bool peer_is_qemu;      /* see vm_peer_is_qemu(); the last one's while there is none */
	struct vu_conn pending; /* a second one that has not said anything yet */
	struct loop_watch *pending_watch;
	bool heard; /* it has sent a message */
	uint64_t connections;
	char ended[256]; /* why the last one ended; "": none did */

	bool has_features;
	uint64_t features, protocol_features;
	uint8_t status;                 /* SET_STATUS: VIRTIO_CONFIG_S_*, but for NEEDS_RESET */
	uint64_t asked, asked_protocol; /* what the last front-end wanted, granted or refused */
	enum vm_offloads offloads;
	enum vm_ring_reset ring_reset;
	bool postcopy_option;          /* postcopy= */
	uint32_t mtu_option, mtu_told; /* mtu= and NET_SET_MTU; 0: not said */
	uint8_t mac[6];                /* mac=; all zero: not said */
	struct vm_link link;           /* the uplink's */
	bool config_due;               /* the front-end is still to hear of a change of these */
	uint64_t mtu_refused;          /* what NET_SET_MTU said last, if that was refused */
	struct vu_mem *mem;
	struct vm_iotlb *iotlb;         /* with ACCESS_PLATFORM; NULL: addresses are physical */
	struct vu_back *back;           /* SET_BACKEND_REQ_FD; NULL: none */
	struct vu_log *log;             /* SET_LOG_BASE; NULL: none */
	int log_fd;                     /* SET_LOG_FD; -1: none */
	struct vu_postcopy *postcopy;   /* from POSTCOPY_ADVISE to _END; else NULL */
	struct loop_watch *ahead_timer; /* with it: see vm_postcopy.c */
	struct vu_inflight *inflight;   /* GET_INFLIGHT_FD or SET_INFLIGHT_FD; NULL: none */
	struct vm_transfer *transfer;   /* SET_DEVICE_STATE_FD; NULL: none */
	struct vm_ring ring[2 * PORT_QUEUES_MAX];

	/*
	 * Has absent memory brought, and calls vm_addresses_arrived() once it is there, or if it is
	 * already: the queue may have looked before. May be asked again. NULL: none is ever absent.
	 * What an IOTLB doesn't know is not its concern (vm_iotlb_miss()).
	 */
	void (*want)(struct vm_control *c, uint64_t absent);

	void (*changed)(void *arg, struct vm *vm);
	void *changed_arg;
	const struct vm_carrier *carrier; /* NULL: nothing but settings moves */
	void *carrier_arg;
	uint64_t moved_in; /* CLOCK_REALTIME seconds, since this front-end came; 0: did not */
	unsigned moved_addresses;
	char moved_from[VXS_NAME_SIZE];
	bool was_connected, was_running, did_rest;
	unsigned in_changes, was_in_changes; /* of which in-queues run */
	uint32_t was_mtu;

	bool offended; /* a worker had to be freed from a write() to its eventfd */
	bool closed;   /* so the port takes no front-end any more */

	unsigned log_room;     /* lines that may still be logged now; see vm_log() */
	unsigned log_left_out; /* lines that were not, since the last that was */
	uint64_t log_at;       /* ms */

	char why_not[256], remedy[128];
};

/** vm_log() - one line about a VM, at a rate that a hostile peer can't drive up. */
__attribute__((format(printf, 3, 4))) void vm_log(struct vm_control *c, enum log_level level,
						  const char *format, ...);

/** vm_tell_change() - call vm->changed if what users see has changed. */
void vm_tell_change(struct vm_control *c);

/**
 * vm_conn_open() - make the socket that the front-end comes by, or take the one that was given
 *
 * Logs the reason when it fails. vm_conn.c; control thread. Return: 0 or -errno.
 */
int vm_conn_open(struct vm_control *c, const struct vm_options *opt);
/** vm_conn_start() - listen, or call the front-end, from now on. Logs. 0 or -errno. */
int vm_conn_start(struct vm_control *c);
/** vm_conn_stop() - hang up for the reason @why, and let nobody in again. */
void vm_conn_stop(struct vm_control *c, const char *why);
/** vm_conn_close() - vm_conn_stop(), and close the socket; its file goes if we made it. */
void vm_conn_close(struct vm_control *c);
/** vm_disconnect() - forget the front-end and all that it gave us, but for @why it went. */
void vm_disconnect(struct vm_control *c, const char *why);

/* vm_ring.c: start, stop and pause. Indexes are checked by the caller. */
void vm_rings_init(struct vm_control *c);
void vm_rings_pause(struct vm_control *c, unsigned first, unsigned n);
int vm_rings_resume(struct vm_control *c, unsigned first, unsigned n, unsigned *failed);
void vm_ring_stop(struct vm_control *c, unsigned index);
void vm_rings_reset(struct vm_control *c);
void vm_rings_forget(struct vm_control *c);
int vm_ring_set_kick(struct vm_control *c, unsigned index, int fd);
void vm_ring_kick(struct vm_control *c, unsigned index);
int vm_ring_set_call(struct vm_control *c, unsigned index, int fd);
void vm_ring_set_err(struct vm_control *c, unsigned index, int fd);
void vm_ring_enable(struct vm_control *c, unsigned index, bool on);
bool vm_ring_is_enabled(const struct vm_control *c, unsigned index);
bool vm_rings_run(const struct vm_control *c);
bool vm_rings_rest(const struct vm_control *c);
void vm_ring_misplaced(struct vm_control *c, unsigned index);
void vm_rings_tell_broken(struct vm_control *c);
void vm_rings_want_again(struct vm_control *c);
void vm_addresses_arrived(struct vm_control *c);

/* vm_postcopy.c: POSTCOPY_ADVISE and its end. No ring runs when it ends. */
int vm_postcopy_new(struct vm_control *c);
void vm_postcopy_free(struct vm_control *c);

/** vm_close_port() - hang up, log @why, and take no front-end any more. */
void vm_close_port(struct vm_control *c, const char *why);
/** vm_hang_up() - end the connection for a reason that is not a message, and log it. */
void vm_hang_up(struct vm_control *c, const char *why);

/**
 * vm_peer_is_qemu() - whether the front-end of process @pid is QEMU, or a program that can't be
 * told
 *
 * QEMU (7.2 to 10.0 were tried) lets guests reset the queues of a vhost-user device, and keeps it
 * to itself: we would go on in memory that is the guest's own again. For what else it can't do, see
 * vm_offer.c. Control thread.
 */
bool vm_peer_is_qemu(int pid);

/** vm_status() - the device status (virtio 1.2, 2.1) as GET_STATUS says it. */
uint8_t vm_status(const struct vm_control *c);

/** vm_why_not() - the first thing that keeps frames from passing, in words; NULL: they pass
 * (vm_why.c). Control thread. */
const char *vm_why_not(struct vm_control *c);

/** vm_iotlb_reset() - SET_FEATURES: have an empty IOTLB, or none. All rings rest. 0 or -ENOMEM. */
int vm_iotlb_reset(struct vm_control *c);
/** vm_iotlb_close() - no IOTLB any more; no ring runs. */
void vm_iotlb_close(struct vm_control *c);
/** vm_iotlb_why() - why addresses can't be had, in words; NULL: they can. */
const char *vm_iotlb_why(const struct vm_control *c);
/** vm_iotlb_attach() - have c->mem use it; either is new only while no ring runs. */
void vm_iotlb_attach(struct vm_control *c);
/** vm_iotlb_miss() - ask the front-end what is at an address, unless that was just done. */
void vm_iotlb_miss(struct vm_control *c, uint64_t absent);
/** vm_iotlb_want_ring() - ask for all of a ring that can't start yet, not for one page at a time.
 */
void vm_iotlb_want_ring(struct vm_control *c, unsigned index);
/** vm_iotlb_note_buffers() - note what @q would take next, for when it is all forgotten. */
void vm_iotlb_note_buffers(struct vm_control *c, unsigned index, const struct vq *q);
/** vm_iotlb_want_buffers() - ask for what out-queue @q will take next; it is not published yet. */
void vm_iotlb_want_buffers(struct vm_control *c, const struct vq *q);

/** vm_features() - virtio features that we offer to this VM's front-end (vm_offer.c). */
uint64_t vm_features(const struct vm_control *c);
/** vm_protocol_features() - and features of vhost-user. */
uint64_t vm_protocol_features(const struct vm_control *c);

/**
 * vm_set_mtu() - NET_SET_MTU: the longest packet that the front-end told its guest of
 * @c:   the VM
 * @mtu: bytes; 0: what it told is forgotten, with it goes
 *
 * Return: 0; -EINVAL if it is not one, or longer than mtu= allows: what held before, holds.
 */
int vm_set_mtu(struct vm_control *c, uint64_t mtu);
/** vm_mtu_remedy() - what to do about c->mtu_refused. */
const char *vm_mtu_remedy(struct vm_control *c);

#endif
