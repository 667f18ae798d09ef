/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside fake_vm: what a ring format does for the driver. One file each behind these functions. */
#ifndef FAKE_RING_H
#define FAKE_RING_H

#include "fake_vm.h"

/*
 * A slot is a buffer; the format writes descriptors for it, shows them to the back-end, and tells
 * which slots came back. All of this trusts nothing that the back-end wrote: -EBADMSG then, and
 * fake_vm_error() has it in words.
 */
struct fake_ring {
	/** reset() - empty, at its start; @q->base is what SET_VRING_BASE says then. */
	void (*reset)(struct fake_vm *vm, struct fake_vq *q);
	/** want_calls() - ask to be called for what is used from now on, or for silence. */
	void (*want_calls)(struct fake_vm *vm, struct fake_vq *q, bool on);
	/** offer() - write @slot, whose buffer has total[slot] bytes, behind what was offered. */
	void (*offer)(struct fake_vm *vm, struct fake_vq *q, unsigned slot);
	/** publish() - show the back-end all that was offered, kick it if it wants; how many. */
	void (*publish)(struct fake_vm *vm, struct fake_vq *q);
	/** ready() - how many buffers were used and not taken yet; may stop counting at @max. */
	int (*ready)(struct fake_vm *vm, struct fake_vq *q, unsigned max);
	/** take() - the next of them: its slot, and the bytes written to it. */
	int (*take)(struct fake_vm *vm, struct fake_vq *q, uint32_t *len);
	/** base() - where the back-end is, as GET_VRING_BASE must say. */
	uint32_t (*base)(struct fake_vm *vm, struct fake_vq *q);
	/** chain() - offer the test's own descriptors from q->desc[@head] on, unpublished. */
	void (*chain)(struct fake_vm *vm, struct fake_vq *q, uint16_t head);
	/** chains() - how many used entries there are, of whatever was offered. */
	unsigned (*chains)(struct fake_vm *vm, struct fake_vq *q);
	/** bench_fill() - slot i is entry i, once and for all. */
	void (*bench_fill)(struct fake_vm *vm, struct fake_vq *q);
	/** bench_room() - how many entries of a transmit queue are free. */
	unsigned (*bench_room)(struct fake_vq *q);
	/** bench_offer() - offer the next @n entries again, unpublished. */
	void (*bench_offer)(struct fake_vq *q, unsigned n);
	/** bench_used() - @n buffers of a receive queue that were used, taken; @n frames in them.
	 */
	unsigned (*bench_used)(struct fake_vm *vm, struct fake_vq *q, unsigned *frames);
};

extern const struct fake_ring fake_ring_split, fake_ring_packed;

/* Where a piece of a buffer lies. */
struct fake_piece {
	uint64_t gpa;
	uint32_t len;
};

/* fake_vm.c, for the formats */
int fake_vm_fail(struct fake_vm *vm, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void fake_vq_kick(struct fake_vq *q);
/** fake_vq_piece() - piece @i of @slot; how many pieces there are. */
unsigned fake_vq_piece(struct fake_vm *vm, struct fake_vq *q, unsigned slot, unsigned i,
		       struct fake_piece *piece);
/** fake_vq_slot() - the slot of a used @id, or -EBADMSG if it isn't lent. */
int fake_vq_slot(struct fake_vm *vm, struct fake_vq *q, uint32_t id);
/** fake_vq_bench_look() - a frame's buffer or a part of one, @len bytes in @slot; true: a new one.
 */
bool fake_vq_bench_look(struct fake_vm *vm, struct fake_vq *q, unsigned slot, uint32_t len);

static inline unsigned fake_vq_index(const struct fake_vm *vm, const struct fake_vq *q)
{
	return q - vm->vq;
}

static inline unsigned fake_vq_lent(const struct fake_vq *q)
{
	return q->slots - q->n_free;
}

/* IN_ORDER: the slot that was lent for the longest time, and how many were lent before @slot. */
static inline unsigned fake_vq_oldest(const struct fake_vq *q)
{
	return (q->next_slot + q->n_free) % q->slots;
}

static inline unsigned fake_vq_behind(const struct fake_vq *q, unsigned slot)
{
	return (slot + q->slots - fake_vq_oldest(q)) % q->slots;
}

/* @slot isn't lent any more. */
static inline void fake_vq_give_back(struct fake_vq *q, unsigned slot)
{
	q->lent[slot] = false;
	if (!q->in_order)
		q->free[q->n_free] = slot;
	q->n_free++;
	q->buffers_used++;
}

/* How the next batch of buffers in order begins and ends, and what it is to take one of it. */
static inline unsigned fake_vq_next_of_batch(struct fake_vq *q, uint32_t *len)
{
	unsigned slot = fake_vq_oldest(q);

	/* all but the last were filled */
	*len = --q->batch ? (q->device_writes ? q->room : 0) : q->batch_len;
	fake_vq_give_back(q, slot);
	return slot;
}

#endif
