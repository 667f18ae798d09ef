/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A virtqueue that runs: what workers need of it. A ring format is one file behind these functions.
 */
#ifndef VQ_H
#define VQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <linux/virtio_ring.h>

#include "switch/batch.h"
#include "vm/vu_mem.h"

struct vu_inflight_packed;
struct vxs_port_stats;

/* Bytes of the virtio-net header before each frame (virtio 1.2, 5.1.6). */
#define VQ_HDR_LEGACY      10 /* struct virtio_net_hdr */
#define VQ_HDR_MAX         12 /* struct virtio_net_hdr_v1, and legacy with MRG_RXBUF */
#define VQ_HDR_NUM_BUFFERS 10 /* where num_buffers stands in the latter */

/*
 * Work per call is bounded: in() takes BATCH_FRAMES chains at most, and begins no new one after
 * STEPS_MAX descriptors. A chain has CHAIN_MAX descriptors at most. Nor does it begin a new one
 * after frames that may have to be cut into CUTS_MAX: cutting is for the worker that took them, and
 * the smallest gso_size makes half a million segments of a batch. 256 frames of 64 KB in
 * segments of 1448 bytes are 11,776.
 */
#define CHAIN_MAX 1024 /* what any driver in use stays below (QEMU's own limit) */
#define STEPS_MAX 4096
#define CUTS_MAX  16384

/*
 * A look ahead. Guests lay their buffers out a page or two apart, which puts them all into a few
 * sets of the first-level cache, so they are found in the second at best. Workers look some chains
 * ahead of the one that they copy: descriptor copied and checked, address translated, first lines
 * of the buffer on their way. The more the worse for those few sets: LOOK_AHEAD was measured.
 */
#define LOOK_AHEAD 16

/* Why a queue stopped for good; texts in vq_broken_text(). */
enum vq_broken {
	VQ_OK,
	VQ_BAD_AVAIL,    /* the available index jumped by more than the ring's size */
	VQ_BAD_HEAD,     /* a head, next index or buffer id is not below the ring's size */
	VQ_BAD_CHAIN,    /* a chain is longer than the ring, or loops */
	VQ_BAD_ADDRESS,  /* a descriptor points outside the guest's memory */
	VQ_BAD_INDIRECT, /* an indirect table of wrong size, nested, or not negotiated */
	VQ_BAD_ORDER,    /* a readable descriptor where a writable one must be, or the reverse */
	VQ_BAD_HEADER,   /* a chain too short for the virtio-net header */
	VQ_BAD_PLACE,    /* a packed ring doesn't stand where the front-end believes it to */
	VQ_BAD_CALL,     /* writing the call eventfd waited: the front-end saw to that */
	VQ_BROKEN_MAX,
};

/*
 * Stands where a reason to break may: an address is the guest's, but what is there can't be had yet
 * (vu_mem.h). In: the chain stays in the ring, to be taken later; out: the frame is dropped and
 * counted (memory_absent). Nobody waits; vq->absent says what is wanted.
 */
#define VQ_ABSENT VQ_BROKEN_MAX

#define VQ_NOT_LOGGED UINT64_MAX

/* A chain of a packed ring that was taken, as far as the ring doesn't say it itself. */
struct vq_chain {
	uint16_t id;
	uint16_t length;  /* descriptors of the ring */
	uint32_t written; /* out: bytes; in: how many chains of the batch came before */
};

/*
 * Born by vq_new() when the front-end has started the ring, published to workers through the
 * VM's in[] or out[] (RCU), taken back and freed by control. The worker that owns the in-queue is
 * the only one to use it; an out-queue is used by any worker under @lock.
 */
struct vq {
	/* constant while published */
	bool packed; /* @ring, @driver, @device; else @desc, @avail, @used */
	bool iova;   /* cursors are worth something for a batch only: see vq_begin() */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device; /* event suppression: its, and ours */
	const struct vu_mem *mem;
	uint32_t size;    /* descriptors, 1 to 32768; a power of two if split */
	uint32_t hdr_len; /* bytes of the virtio-net header: 10 or 12 */
	bool event_idx;
	bool indirect;
	bool mergeable;
	bool in_order;
	bool notify_on_empty; /* call whenever all that was available is used (legacy) */
	uint32_t asks;        /* OFFLOAD_* that the driver may ask for; in-queue */
	uint32_t takes;       /* OFFLOAD_* that it takes; out-queue */
	struct vu_log *log;   /* dirty log that writes are told to; NULL: none is wanted */
	uint64_t log_used;    /* address of @used (@device) in it, or VQ_NOT_LOGGED */
	int log_fd;           /* eventfd to write when bits of it are new; -1: none */
	struct vu_inflight_packed *journal; /* packed: see vq_journal.h; NULL: none is kept */

	/* written by control at any time, read by workers (relaxed atomics) */
	bool enabled; /* SET_VRING_ENABLE; frames from a disabled in-queue are discarded */
	int call_fd;  /* -1: none. The old one is closed after an rcu_wait(). Released, acquired. */
	bool no_kick; /* in-queue without a kick fd: its worker has to poll */

	/* written by the user of the queue, read by control (relaxed atomics) */
	uint32_t broken; /* enum vq_broken; once set, the queue is left alone */
	/*
	 * Addresses that were found absent, as in struct vu_cursor; 0: none. @absent is still to be
	 * told to control, @told was, and no chain was taken since.
	 */
	uint64_t absent, told;

	/* the user's own (under @lock for an out-queue); control's while not published */
	pthread_spinlock_t lock;
	uint16_t avail_at; /* next entry of the available ring to take */
	uint16_t used_at;  /* next entry of the used ring to write */
	/* packed: both are places in @ring, and the same but between in() and done() */
	bool avail_wrap, used_wrap; /* their wrap counters */
	uint16_t left;              /* descriptors that the current batch may still take */
	uint16_t n_chains;          /* in @chain */
	struct vq_chain *chain;     /* @size of them; in: those of several descriptors */
	uint16_t saved;             /* descriptors of the batch in @journal */
	uint16_t signalled; /* used_at when the guest was last considered for notification */
	bool signalled_valid;
	bool quiet;     /* the guest was told not to kick */
	uint16_t lent;  /* chains of the last in(), already in the used ring, to be given back */
	bool log_fresh; /* bits of @log are new since the last batch */
	struct vu_cursor cursor; /* of buffers */
	struct vu_cursor tables; /* of indirect tables */
	uint64_t calls;          /* notifications sent; statistics */
};

/*
 * What vq_new() needs, all checked by it. Addresses are the front-end's (uva), or I/O addresses if
 * @mem has an IOTLB.
 */
struct vq_setup {
	const struct vu_mem *mem;
	uint64_t desc_uva, avail_uva, used_uva;
	uint32_t size;
	uint32_t base;     /* SET_VRING_BASE */
	uint64_t features; /* negotiated virtio features */
	bool out;          /* it receives: buffers are written */
	bool enabled;
	int call_fd;
	struct vu_log *log; /* NULL: none. With it: */
	bool log_used;      /* SET_VRING_ADDR says that the used ring is to be logged, */
	uint64_t log_addr;  /* and at which address */
	int log_fd;         /* -1: none */
	uint64_t absent;    /* with -EAGAIN: the address that is absent, as in struct vu_cursor */
	struct vu_inflight_packed *journal; /* NULL: none; of a packed ring */
	bool resume;                        /* where @journal stands, rather than at @base */
};

/**
 * vq_new() - start a virtqueue (virtio 1.2, 2.7 and 2.8)
 * @out:   where it goes
 * @setup: see there
 *
 * Control thread. The used index of split rings is taken from the guest's memory, as vhost-user
 * asks. A packed ring goes on where buffers were used last: those that another back-end had taken
 * but not used are taken again.
 *
 * Return: 0; -EINVAL for a bad size, or a base that can't be; -EFAULT if a part of the ring is not
 * in guest memory or not aligned; -EAGAIN if it is, but absent; -ENOMEM.
 */
int vq_new(struct vq **out, struct vq_setup *setup);

/** vq_base() - where it stands, as GET_VRING_BASE says it; control thread, not published. */
uint32_t vq_base(const struct vq *q);

/** vq_free() - free it; file descriptors and memory stay the caller's. NULL is fine. */
void vq_free(struct vq *q);

/** vq_broken_text() - why a queue broke, for people. */
const char *vq_broken_text(enum vq_broken why);

/* A queue that breaks the rules is left alone for good; what was lent of it stays valid. */
static inline void vq_break(struct vq *q, enum vq_broken why)
{
	__atomic_store_n(&q->broken, why, __ATOMIC_RELEASE);
}

/*
 * An entry of an IOTLB that is removed must be out of use once all workers were quiet: so no cursor
 * outlives the batch that it was used for.
 */
static inline void vq_begin(struct vq *q)
{
	if (__builtin_expect(q->iova, 0)) {
		vu_cursor_forget(&q->cursor);
		vu_cursor_forget(&q->tables);
	}
}

/** vq_missing() - what @c didn't find is absent (VQ_ABSENT), or no address of guest memory. */
unsigned vq_missing(struct vq *q, const struct vu_cursor *c);

/** vq_table_ends() - the rest of a table whose first @have of @len bytes are at @table. */
unsigned vq_table_ends(struct vq *q, uint64_t gpa, uint32_t have, uint32_t len,
		       const uint8_t *table);

/**
 * vq_ahead() - what the guest has made available, around what is absent
 * @q:      a queue that runs
 * @absent: what one of its descriptors points at
 * @addr:   where the addresses go that the next descriptors say, as they say them
 * @max:    as many as there is room for
 *
 * A guess, to have memory brought before it is wanted. Control thread: nothing of the worker's own
 * is looked at. Return: how many.
 */
unsigned vq_ahead(const struct vq *q, uint64_t absent, uint64_t *addr, unsigned max);

/** vq_next() - the same, of what @q will take next; it is not published. */
unsigned vq_next(const struct vq *q, uint64_t *addr, unsigned max);

/* Finds an indirect table of @len bytes, which must be in one piece here. */
static inline unsigned vq_find_table(struct vq *q, uint64_t gpa, uint32_t len,
				     const uint8_t **table)
{
	uint32_t have = len;

	*table = vu_mem_gpa(q->mem, &q->tables, gpa, &have);
	if (__builtin_expect(!*table || have != len, 0))
		return vq_table_ends(q, gpa, have, len, *table);
	return VQ_OK;
}

/*
 * Reads guest memory once: the compiler knows nothing of the value but that it is in a register,
 * and can't read it again where it is used after it was checked.
 */
static inline uint64_t guest_read64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	__asm__("" : "+r"(value));
	return value;
}

/*
 * After a batch: whether control is to be told of q->absent; @moved: chains were taken, so that
 * what was told before is over. What is absent is told once, and looked for in each call.
 */
static inline bool vq_wants_memory(struct vq *q, bool moved)
{
	const uint64_t absent = __atomic_load_n(&q->absent, __ATOMIC_RELAXED);
	const uint64_t told = __atomic_load_n(&q->told, __ATOMIC_RELAXED);

	if (__builtin_expect(!(absent | told), 1))
		return false;
	if (moved)
		__atomic_store_n(&q->told, 0, __ATOMIC_RELAXED);
	return absent;
}

/* The hot side, for split rings. @stats are the counters of its port. */
unsigned vq_split_in(struct vq *q, struct vxs_port_stats *stats, struct batch *b);
void vq_split_done(struct vq *q);
unsigned vq_split_out(struct vq *q, struct vxs_port_stats *stats, const struct batch *b,
		      const uint16_t *which, unsigned n);
bool vq_split_wait(struct vq *q, bool on);

/* The same for packed rings. */
unsigned vq_packed_in(struct vq *q, struct vxs_port_stats *stats, struct batch *b);
void vq_packed_done(struct vq *q);
unsigned vq_packed_out(struct vq *q, struct vxs_port_stats *stats, const struct batch *b,
		       const uint16_t *which, unsigned n);
bool vq_packed_wait(struct vq *q, bool on);

/* The hot side, for any ring: one branch per batch. */

static inline unsigned vq_in(struct vq *q, struct vxs_port_stats *stats, struct batch *b)
{
	return q->packed ? vq_packed_in(q, stats, b) : vq_split_in(q, stats, b);
}

static inline void vq_done(struct vq *q)
{
	if (q->packed)
		vq_packed_done(q);
	else
		vq_split_done(q);
}

static inline unsigned vq_out(struct vq *q, struct vxs_port_stats *stats, const struct batch *b,
			      const uint16_t *which, unsigned n)
{
	return q->packed ? vq_packed_out(q, stats, b, which, n)
			 : vq_split_out(q, stats, b, which, n);
}

static inline bool vq_wait(struct vq *q, bool on)
{
	return q->packed ? vq_packed_wait(q, on) : vq_split_wait(q, on);
}

#endif
