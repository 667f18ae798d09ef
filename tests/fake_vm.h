/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A vhost-user front-end for tests: what QEMU and a guest's virtio-net driver are to a back-end. */
#ifndef FAKE_VM_H
#define FAKE_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "vhost_user.h"

/*
 * No threads, no root, no QEMU: all calls act at once, in the caller's thread; those that wait have
 * a time limit. Nothing here trusts the back-end, and nothing ends the process: a call that finds a
 * rule of virtio broken returns -EBADMSG, and fake_vm_error() says in words what was wrong.
 *
 * Virtqueue 2i is the guest's receive queue of pair i, 2i + 1 its transmit queue.
 */

#define FAKE_VM_PAIRS_MAX 128
#define FAKE_VM_RING_MAX  32768
#define FAKE_VM_GPA       0x100000ull /* guest physical address of the first region */
#define FAKE_VM_TIMEOUT   5000        /* ms that any wait for the back-end lasts, unless set */
#define FAKE_VM_FRAME_MAX 65553

#define FAKE_VM_BIT(n)    (1ull << (n))
#define FAKE_VM_VERSION_1 FAKE_VM_BIT(32)
#define FAKE_VM_MRG_RXBUF FAKE_VM_BIT(15)
#define FAKE_VM_INDIRECT  FAKE_VM_BIT(28)
#define FAKE_VM_EVENT_IDX FAKE_VM_BIT(29)
#define FAKE_VM_MQ        FAKE_VM_BIT(22)
/* None of FAKE_VM_ALL from here on: what a test is about. */
#define FAKE_VM_PACKED          FAKE_VM_BIT(34)
#define FAKE_VM_IN_ORDER        FAKE_VM_BIT(35)
#define FAKE_VM_RING_RESET      FAKE_VM_BIT(40)
#define FAKE_VM_NOTIFY_ON_EMPTY FAKE_VM_BIT(24)
#define FAKE_VM_ANY_LAYOUT      FAKE_VM_BIT(27)
#define FAKE_VM_LOG_ALL         FAKE_VM_BIT(VHOST_USER_F_LOG_ALL)
#define FAKE_VM_MTU             FAKE_VM_BIT(VIRTIO_NET_F_MTU)
#define FAKE_VM_CSUM            FAKE_VM_BIT(VIRTIO_NET_F_CSUM)
#define FAKE_VM_GUEST_CSUM      FAKE_VM_BIT(VIRTIO_NET_F_GUEST_CSUM)
#define FAKE_VM_HOST_TSO4       FAKE_VM_BIT(VIRTIO_NET_F_HOST_TSO4)
#define FAKE_VM_HOST_TSO6       FAKE_VM_BIT(VIRTIO_NET_F_HOST_TSO6)
#define FAKE_VM_HOST_ECN        FAKE_VM_BIT(VIRTIO_NET_F_HOST_ECN)
#define FAKE_VM_HOST_UFO        FAKE_VM_BIT(VIRTIO_NET_F_HOST_UFO)
#define FAKE_VM_HOST_USO        FAKE_VM_BIT(56) /* newer than the headers of some systems */
#define FAKE_VM_GUEST_TSO4      FAKE_VM_BIT(VIRTIO_NET_F_GUEST_TSO4)
#define FAKE_VM_GUEST_TSO6      FAKE_VM_BIT(VIRTIO_NET_F_GUEST_TSO6)
#define FAKE_VM_GUEST_ECN       FAKE_VM_BIT(VIRTIO_NET_F_GUEST_ECN)
#define FAKE_VM_GUEST_UFO       FAKE_VM_BIT(VIRTIO_NET_F_GUEST_UFO)
#define FAKE_VM_GUEST_USO4      FAKE_VM_BIT(54)
#define FAKE_VM_GUEST_USO6      FAKE_VM_BIT(55)
/* What a guest may ask of the switch, and what the switch may ask of a guest. */
#define FAKE_VM_HOST_OFFLOADS                                                                      \
	(FAKE_VM_CSUM | FAKE_VM_HOST_TSO4 | FAKE_VM_HOST_TSO6 | FAKE_VM_HOST_ECN |                 \
	 FAKE_VM_HOST_UFO | FAKE_VM_HOST_USO)
#define FAKE_VM_GUEST_OFFLOADS                                                                     \
	(FAKE_VM_GUEST_CSUM | FAKE_VM_GUEST_TSO4 | FAKE_VM_GUEST_TSO6 | FAKE_VM_GUEST_ECN |        \
	 FAKE_VM_GUEST_UFO | FAKE_VM_GUEST_USO4 | FAKE_VM_GUEST_USO6)
/* Checksums left open and TCP segments up to 64 KiB, both ways. */
#define FAKE_VM_TSO      (FAKE_VM_CSUM | FAKE_VM_GUEST_CSUM | FAKE_VM_HOST_TSO4 | FAKE_VM_GUEST_TSO4)
#define FAKE_VM_PROTOCOL FAKE_VM_BIT(VHOST_USER_F_PROTOCOL_FEATURES)
/* What a usual driver takes; MQ is added when more than one pair is wanted. */
#define FAKE_VM_ALL                                                                                \
	(FAKE_VM_VERSION_1 | FAKE_VM_MRG_RXBUF | FAKE_VM_INDIRECT | FAKE_VM_EVENT_IDX |            \
	 FAKE_VM_PROTOCOL)
/* A legacy driver: header of 10 bytes, no mergeable buffers. */
#define FAKE_VM_LEGACY (FAKE_VM_INDIRECT | FAKE_VM_EVENT_IDX | FAKE_VM_PROTOCOL)

/* How a buffer (virtio-net header and frame) lies in descriptors. */
struct fake_vm_layout {
	/* 0 or 1: all in one; 2: the header in one, the frame in another; more: header and frame
	 * cut into that many parts of about equal length, wherever the cuts come to lie. */
	unsigned pieces;
	bool indirect; /* the pieces stand in an indirect table (if INDIRECT was negotiated) */
};

/* Zero means the default everywhere. */
struct fake_vm_options {
	const char *socket; /* path to connect to, or NULL to use @fd */
	int fd; /* with socket NULL: a connected socket, owned by the fake VM from then on */
	unsigned pairs;        /* queue pairs; default 1 */
	unsigned ring_size;    /* descriptors per virtqueue; a power of two if split; default 256 */
	unsigned buffer_size;  /* bytes of a receive buffer, its header included; default 2048 */
	unsigned send_size;    /* bytes of a transmit buffer, its header included; default 2048 */
	unsigned recv_buffers; /* receive buffers to offer; default: as many as fit the ring */
	uint64_t features;     /* virtio features wanted; default FAKE_VM_ALL */
	uint64_t protocol;     /* protocol features wanted beside MQ and REPLY_ACK */
	struct fake_vm_layout send, recv;
	unsigned regions;  /* memory regions, 1 to 8; virtqueue i lies in region i % regions */
	uint64_t gap;      /* bytes between regions' guest addresses; multiple of 2 MiB */
	uint64_t extra;    /* bytes of memory more in region 0, at fake_vm_extra(), for the test */
	bool huge;         /* memory on huge pages of 2 MiB */
	bool want_call;    /* ask to be called for every used buffer, not only in fake_vm_wait() */
	bool no_call_fd;   /* SET_VRING_CALL says "no fd": fake_vm_wait() then polls */
	bool no_reply_ack; /* don't negotiate REPLY_ACK */
	bool inflight; /* keep memory for the back-end (INFLIGHT_SHMFD), as QEMU does for disks */
	bool device_state; /* negotiate DEVICE_STATE */
	bool inband;       /* kicks, calls and errors are messages, there are no eventfds */
	bool no_start;     /* stop after the negotiation: fake_vm_share() and _start() are yours */
	bool no_negotiate; /* stop after connecting: every message is yours */
	unsigned timeout_ms; /* for each wait for the back-end; default FAKE_VM_TIMEOUT */
	/* Called over and over while waiting: runs a back-end that lives in this very thread. */
	void (*idle)(void *arg);
	void *idle_arg;
};

struct fake_ring;

/* A virtqueue as the guest sees it. Tests may write to everything that the pointers point at. */
struct fake_vq {
	const struct fake_ring *format; /* its functions: fake_vm_split.c or fake_vm_packed.c */
	bool packed, in_order;
	/* split; of a packed queue, @desc is where fake_vm_set_desc() writes, unseen by others */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* packed */
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver,
		*device;          /* event suppression: ours, the back-end's */
	uint8_t *buffers;         /* @slots buffers of @stride bytes */
	struct vring_desc *table; /* @slots indirect tables of @pieces entries, of either format */
	unsigned size;            /* descriptors of the ring */
	unsigned room;            /* bytes of one buffer that may be used */
	unsigned stride, slots;
	unsigned pieces; /* descriptors of one buffer, at most */
	unsigned chain;  /* descriptors of the ring that one buffer takes: 1 if indirect */
	bool indirect, device_writes;
	bool look;     /* fake_vm_bench_recv() looks at headers, and counts bytes too */
	unsigned left; /* buffers that are still to come of the frame it looked at last */
	int kick_fd, call_fd, err_fd; /* eventfds; -1 while there is none */
	int kick_socket;              /* in-band: where kicks go; -1: they don't */
	unsigned index;
	bool enabled, started;
	uint16_t avail_at; /* next entry of the available ring to write, and avail->idx */
	uint16_t used_at;  /* next entry of the used ring to read */
	/* of a packed queue these are places in @ring, each with its wrap counter */
	bool avail_wrap, used_wrap;
	uint16_t shown;       /* split: avail->idx as the back-end sees it */
	unsigned n_new;       /* packed: descriptors written that it doesn't see yet */
	uint16_t first_at;    /* packed: the first of them, and */
	uint16_t first_flags; /* its flags, to be written last */
	uint32_t base;        /* where the ring starts: what the last GET_VRING_BASE answered */
	unsigned n_free;
	uint16_t *free;     /* slots not lent to the back-end, a stack; not used with IN_ORDER */
	unsigned next_slot; /* IN_ORDER: slots are used one behind the other, round and round */
	unsigned desc_at;   /* IN_ORDER, split: and so are descriptors */
	unsigned batch;     /* IN_ORDER: buffers still to be taken that one used entry tells of */
	uint32_t batch_len; /* and the length of the last of them */
	bool *lent;         /* by slot */
	uint32_t *total;    /* by slot: bytes of the buffer that its descriptors show */
	uint16_t *id; /* by slot: the buffer's id (split: the number of its first descriptor) */
	uint16_t *slot_of; /* by id: UINT16_MAX if it was never one */
	uint16_t *length;  /* by id: descriptors of @ring that it took */
	/* counters */
	uint64_t frames, bytes, buffers_used, kicks, calls, full;
	uint64_t errors; /* in-band */
};

struct fake_vm {
	struct fake_vm_options opt; /* with defaults filled in */
	int fd;                     /* the connection; -1: none */
	int channel;                /* our end of the back-end channel; -1: none */
	uint64_t offered, features; /* virtio features that the back-end has, and negotiated ones */
	uint64_t protocol_offered, protocol_features;
	uint64_t queue_num;              /* GET_QUEUE_NUM's answer, 0 if not asked */
	unsigned hdr_len;                /* 10 or 12 */
	unsigned n_queues;               /* virtqueues: 2 * pairs */
	struct vhost_user_memory memory; /* what fake_vm_share() sends */
	int memory_fd[VHOST_USER_REGIONS_MAX];
	uint8_t *memory_at[VHOST_USER_REGIONS_MAX];
	bool log;  /* writes are to be logged: fake_vm_log() */
	bool hold; /* fake_vm_recv() doesn't offer the buffers again: fake_vm_refill() does */
	struct virtio_net_hdr_mrg_rxbuf hdr; /* header of the frame received last */
	struct fake_vq *vq;
	uint64_t extra_gpa; /* of fake_vm_extra() */
	int inflight_fd;    /* what GET_INFLIGHT_FD gave; -1: nothing. Kept over reconnections */
	struct vhost_user_inflight inflight; /* and its size */
	char error[160];
};

/* ---- life ---- */

/**
 * fake_vm_open() - become a running VM
 * @out: where it goes
 * @opt: what is wanted; see there
 *
 * Connects (again and again while the socket isn't there or nobody listens, until the time limit),
 * negotiates, shares the memory, starts and enables all rings, and offers receive buffers. Features
 * that the back-end doesn't offer are left out: see vm->features.
 *
 * Return: 0 or -errno: -ETIMEDOUT, -ECONNRESET (the back-end hung up), -EPROTO (it refused a
 * message), -EBADMSG (it answered wrongly), -EINVAL, -ENOMEM.
 */
int fake_vm_open(struct fake_vm **out, const struct fake_vm_options *opt);
/** fake_vm_close() - hang up, without a word as a crash does, and free. NULL is fine. */
void fake_vm_close(struct fake_vm *vm);
/** fake_vm_error() - what was wrong when a call returned an error other than -EAGAIN; "" if
 * nothing. */
const char *fake_vm_error(const struct fake_vm *vm);

/** fake_vm_negotiate() - owner, features, protocol features, queue number. */
int fake_vm_negotiate(struct fake_vm *vm);
/** fake_vm_share() - SET_MEM_TABLE with vm->memory and vm->memory_fd. */
int fake_vm_share(struct fake_vm *vm);
/** fake_vm_start() - enable and start all rings, from where they were (vq->base). */
int fake_vm_start(struct fake_vm *vm);
/** fake_vm_stop() - stop all rings with GET_VRING_BASE, which is checked; then disable them. */
int fake_vm_stop(struct fake_vm *vm);
/** fake_vm_start_ring() - NUM, BASE, ADDR, CALL, ERR, KICK of virtqueue @index. */
int fake_vm_start_ring(struct fake_vm *vm, unsigned index);
/** fake_vm_stop_ring() - GET_VRING_BASE of virtqueue @index. */
int fake_vm_stop_ring(struct fake_vm *vm, unsigned index);
/** fake_vm_enable_ring() - SET_VRING_ENABLE of virtqueue @index. */
int fake_vm_enable_ring(struct fake_vm *vm, unsigned index, bool on);
/** fake_vm_reset_rings() - forget all buffers and indices, offer receive buffers anew (stopped). */
void fake_vm_reset_rings(struct fake_vm *vm);
/**
 * fake_vm_reset_ring() - what QEMU does when the driver resets one virtqueue (RING_RESET)
 *
 * It is stopped, forgets everything, and starts again at 0; the others run on.
 */
int fake_vm_reset_ring(struct fake_vm *vm, unsigned index);
/** fake_vm_reboot() - what QEMU does when the guest reboots: stop, reset, share, start at 0. */
int fake_vm_reboot(struct fake_vm *vm);
/** fake_vm_hang_up() - close the connection; memory and rings stay as they are. */
void fake_vm_hang_up(struct fake_vm *vm);
/** fake_vm_reconnect() - connect again (to @opt.socket) and resume the rings where they were. */
int fake_vm_reconnect(struct fake_vm *vm);

/**
 * fake_vm_set_log() - SET_LOG_BASE
 * @fd: the file; it stays yours
 *
 * For this and the next, @opt.protocol has LOG_SHMFD.
 */
int fake_vm_set_log(struct fake_vm *vm, int fd, uint64_t size, uint64_t offset);
/** fake_vm_log() - begin or end to have writes logged, as QEMU does, while the rings run. */
int fake_vm_log(struct fake_vm *vm, bool on);
/** fake_vm_rarp() - SEND_RARP; @opt.protocol has RARP. */
int fake_vm_rarp(struct fake_vm *vm, const uint8_t mac[6]);

/* ---- frames ---- */

/**
 * fake_vm_send() - send a frame
 * @vm:	   sender
 * @pair:  queue pair
 * @frame: the frame from its destination address on
 * @len:   bytes; 0 to send_size - header
 *
 * Takes back what the back-end is done with first, and kicks the back-end if it wants it.
 *
 * Return: 0; -EAGAIN if the ring is full; -EMSGSIZE; -EBADMSG if the back-end broke a rule.
 */
int fake_vm_send(struct fake_vm *vm, unsigned pair, const void *frame, size_t len);
/** fake_vm_send_hdr() - with a virtio-net header of your own (its first 10 or 12 bytes). */
int fake_vm_send_hdr(struct fake_vm *vm, unsigned pair, const struct virtio_net_hdr_mrg_rxbuf *hdr,
		     const void *frame, size_t len);

struct fake_vm_frame {
	const void *data;
	size_t len;
};

/** fake_vm_send_batch() - up to @n frames with one kick. How many there was room for, or -errno. */
int fake_vm_send_batch(struct fake_vm *vm, unsigned pair, const struct fake_vm_frame *frame,
		       unsigned n);
/** fake_vm_reclaim() - take used transmit buffers back; how many are still out, or -EBADMSG. */
int fake_vm_reclaim(struct fake_vm *vm, unsigned pair);
/** fake_vm_flush() - wait until all that was sent was used. 0, -ETIMEDOUT or -EBADMSG. */
int fake_vm_flush(struct fake_vm *vm, unsigned pair, unsigned ms);

/**
 * fake_vm_recv() - take a frame, without waiting
 * @vm:	  receiver
 * @pair: queue pair
 * @buf:  where the frame goes; vm->hdr has its header
 * @size: bytes of room
 *
 * Checks what the back-end wrote: ids that were lent, lengths, num_buffers.
 *
 * Return: length; 0: none there; -EBADMSG; -EMSGSIZE (@buf too small; the frame is gone).
 */
int fake_vm_recv(struct fake_vm *vm, unsigned pair, void *buf, size_t size);
/** fake_vm_recv_wait() - fake_vm_recv(), waiting up to @ms for a frame; 0: none came. */
int fake_vm_recv_wait(struct fake_vm *vm, unsigned pair, void *buf, size_t size, unsigned ms);
/** fake_vm_wait() - wait for a call that something was received. 1: it is there, 0: time is up. */
int fake_vm_wait(struct fake_vm *vm, unsigned pair, unsigned ms);
/** fake_vm_refill() - offer up to @n free receive buffers; how many were. */
unsigned fake_vm_refill(struct fake_vm *vm, unsigned pair, unsigned n);
/** fake_vm_kick() - kick virtqueue @index, wanted or not. */
void fake_vm_kick(struct fake_vm *vm, unsigned index);

/* ---- for hostile tests ---- */

/**
 * fake_vm_message() - send any message
 * @vm:	     front-end
 * @request: VHOST_USER_*, or anything
 * @payload: of @size bytes
 * @size:    up to 4096
 * @fds:     @n_fds file descriptors to go with it, up to 16; they stay yours
 * @n_fds:   how many
 * @reply:   NULL: don't wait for one. Else a reply is asked for (need_reply, unless the request has
 *	     one by itself) and its payload goes here.
 *
 * Return: 0; -ECONNRESET if the back-end hung up; -ETIMEDOUT; -EBADMSG if the reply is malformed.
 * An acknowledgement of failure is no error here: reply->u64 has it (0 at once if the request has
 *no reply and REPLY_ACK was not negotiated).
 */
int fake_vm_message(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds, union vhost_user_payload *reply);
/** fake_vm_request() - fake_vm_message() whose refusal is -EPROTO (no ack without REPLY_ACK). */
int fake_vm_request(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds);
/** fake_vm_raw() - send any bytes, with any fds. 0 or -errno. */
int fake_vm_raw(struct fake_vm *vm, const void *bytes, size_t len, const int *fds, unsigned n_fds);
/** fake_vm_reply() - read one message. 0 or -errno. */
int fake_vm_reply(struct fake_vm *vm, struct vhost_user_header *header,
		  union vhost_user_payload *payload, unsigned ms);
/** fake_vm_ask() - fake_vm_message() whose reply of @size bytes may have an fd; *@fd, or -1. */
int fake_vm_ask(struct fake_vm *vm, uint32_t request, const void *payload, size_t size,
		const int *fds, unsigned n_fds, union vhost_user_payload *reply, size_t reply_size,
		int *fd);
/** fake_vm_inflight() - SET_INFLIGHT_FD with what is kept, after GET_INFLIGHT_FD if there is none.
 */
int fake_vm_inflight(struct fake_vm *vm);
/** fake_vm_save() - the device's state into @state: how many bytes (at most @size), or -errno. */
int fake_vm_save(struct fake_vm *vm, void *state, size_t size);
/** fake_vm_load() - have the back-end take @state; -EPROTO: it refused. */
int fake_vm_load(struct fake_vm *vm, const void *state, size_t size);
/** fake_vm_hung_up() - wait until the back-end closes the connection. */
bool fake_vm_hung_up(struct fake_vm *vm, unsigned ms);
/** fake_vm_sync() - wait until the back-end has handled all messages so far (asks its features). */
int fake_vm_sync(struct fake_vm *vm);
/** fake_vm_broken() - wait until the back-end signals VRING_ERR on virtqueue @index. */
bool fake_vm_broken(struct fake_vm *vm, unsigned index, unsigned ms);

/** fake_vm_at() - pointer to guest physical address @gpa; NULL if it isn't guest memory. */
void *fake_vm_at(const struct fake_vm *vm, uint64_t gpa);
/** fake_vm_gpa() - guest physical address of a pointer into guest memory; UINT64_MAX: isn't. */
uint64_t fake_vm_gpa(const struct fake_vm *vm, const void *at);
/** fake_vm_extra() - the test's own memory (options: extra). */
void *fake_vm_extra(const struct fake_vm *vm);
/**
 * fake_vm_set_desc() - write descriptor @i of virtqueue @index
 *
 * A packed ring has no such table: there it is kept aside until fake_vm_offer() of its chain.
 */
void fake_vm_set_desc(struct fake_vm *vm, unsigned index, unsigned i, uint64_t addr, uint32_t len,
		      uint16_t flags, uint16_t next);
/**
 * fake_vm_offer() - put @head into the available ring of virtqueue @index as it is, and kick
 *
 * If the queue is packed, the chain that begins at descriptor @head is written to the ring as one
 * buffer with that id: as many descriptors as have NEXT, up to the size of the ring.
 *
 * What comes back of it stands in the used ring, for the test to read: it isn't known to
 * fake_vm_recv() and fake_vm_reclaim(), which would take it for a fault of the back-end.
 */
void fake_vm_offer(struct fake_vm *vm, unsigned index, uint16_t head);
/**
 * fake_vm_offer_packed() - write @d, with all its flags, to the next place of a packed ring
 *
 * The place moves on, and the back-end is kicked. For flags with AVAIL and USED as they should be,
 * see fake_vm_turn().
 */
void fake_vm_offer_packed(struct fake_vm *vm, unsigned index, const struct vring_packed_desc *d);
/** fake_vm_turn() - AVAIL and USED as they mark the next place of a packed ring as available. */
uint16_t fake_vm_turn(const struct fake_vm *vm, unsigned index);
/** fake_vm_used() - wait until @n more entries were used since the last one read; true: they are.
 */
bool fake_vm_used(struct fake_vm *vm, unsigned index, unsigned n, unsigned ms);

/* ---- for benchmarks: a guest side that costs next to nothing ---- */

/**
 * fake_vm_bench() - make ready: every transmit buffer gets @frame, every ring entry is filled
 *
 * For rings that just started, with layouts of one descriptor. The back-end is trusted to use
 * buffers in order. From now on only
 * fake_vm_bench_send() and fake_vm_bench_recv() may be used on @pair. 0 or -EINVAL.
 */
int fake_vm_bench(struct fake_vm *vm, unsigned pair, const void *frame, size_t len);
/**
 * fake_vm_bench_hdr() - with a virtio-net header of your own
 *
 * If it says that the frame is to be segmented, frames may come in several buffers each:
 * fake_vm_bench_recv() then goes by num_buffers, counts vq->bytes, and vm->hdr is the last header.
 * -EINVAL with IN_ORDER, which may leave lengths out.
 */
int fake_vm_bench_hdr(struct fake_vm *vm, unsigned pair, const struct virtio_net_hdr_mrg_rxbuf *hdr,
		      const void *frame, size_t len);
/** fake_vm_bench_send() - send up to @n of the ready frames by moving the index; how many. */
unsigned fake_vm_bench_send(struct fake_vm *vm, unsigned pair, unsigned n);
/** fake_vm_bench_sent() - how many of the frames sent so far the back-end has used. */
uint64_t fake_vm_bench_sent(struct fake_vm *vm, unsigned pair);
/** fake_vm_bench_recv() - give all received frames back by moving the index; how many there were.
 */
unsigned fake_vm_bench_recv(struct fake_vm *vm, unsigned pair);

#endif
