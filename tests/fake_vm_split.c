/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fake VM's split rings (virtio 1.2, 2.7). */
#include <errno.h>
#include <string.h>

#include "fake_ring.h"

static uint16_t *used_event(struct fake_vq *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t avail_event(struct fake_vq *q)
{
	return __atomic_load_n((uint16_t *)&q->used->ring[q->size], __ATOMIC_RELAXED);
}

static uint16_t used_idx(struct fake_vq *q)
{
	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
}

static void split_want_calls(struct fake_vm *vm, struct fake_vq *q, bool on)
{
	(void)vm;
	__atomic_store_n(&q->avail->flags, on ? 0 : VRING_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
	__atomic_store_n(used_event(q), on ? q->used_at : q->used_at - 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void split_publish(struct fake_vm *vm, struct fake_vq *q)
{
	uint16_t old = q->shown;
	bool want;

	q->shown = q->avail_at;
	__atomic_store_n(&q->avail->idx, q->avail_at, __ATOMIC_RELEASE);
	/* pairs with the back-end's: it asks for kicks, then looks at the index again */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vm->features & FAKE_VM_EVENT_IDX)
		want = vring_need_event(avail_event(q), q->avail_at, old);
	else
		want = !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) &
			 VRING_USED_F_NO_NOTIFY);
	if (want)
		fake_vq_kick(q);
}

/* Writes the descriptors of @slot: q->id[slot] is the first. */
static void write_slot(struct fake_vm *vm, struct fake_vq *q, unsigned slot)
{
	struct vring_desc *table = q->indirect ? q->table + slot * q->pieces : q->desc;
	unsigned first = q->indirect ? 0 : q->id[slot], wrap = q->indirect ? q->pieces : q->size;
	uint16_t flags = q->device_writes ? VRING_DESC_F_WRITE : 0;
	struct fake_piece piece;
	unsigned i, n = 1;

	for (i = 0; i < n; i++) {
		n = fake_vq_piece(vm, q, slot, i, &piece);
		table[(first + i) % wrap] = (struct vring_desc){
			.addr = piece.gpa,
			.len = piece.len,
			.flags = flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			.next = i + 1 < n ? (first + i + 1) % wrap : 0,
		};
	}
	if (q->indirect)
		q->desc[q->id[slot]] = (struct vring_desc){
			.addr = fake_vm_gpa(vm, table),
			.len = n * sizeof(*table),
			.flags = VRING_DESC_F_INDIRECT,
		};
	q->desc_at = (q->id[slot] + (q->indirect ? 1 : n)) % q->size;
}

static void split_reset(struct fake_vm *vm, struct fake_vq *q)
{
	unsigned i;

	memset(q->avail, 0, (3 + q->size) * sizeof(uint16_t));
	memset(q->used, 0, 3 * sizeof(uint16_t) + q->size * sizeof(q->used->ring[0]));
	q->base = 0;
	for (i = 0; i < q->slots; i++) {
		q->id[i] = i * q->chain;
		q->slot_of[q->id[i]] = i;
		/* receive buffers stay where they are, unless their order says where that is */
		if (q->device_writes && !q->in_order)
			write_slot(vm, q, i);
	}
	q->desc_at = 0;
}

static void split_offer(struct fake_vm *vm, struct fake_vq *q, unsigned slot)
{
	if (q->in_order) {
		q->id[slot] = q->desc_at;
		q->slot_of[q->desc_at] = slot;
	}
	if (!q->device_writes || q->in_order)
		write_slot(vm, q, slot);
	q->avail->ring[q->avail_at & (q->size - 1)] = q->id[slot];
	q->avail_at++;
}

static int split_ready(struct fake_vm *vm, struct fake_vq *q, unsigned max)
{
	uint16_t n = used_idx(q) - q->used_at;

	(void)max;
	if (n > fake_vq_lent(q))
		return fake_vm_fail(vm, -EBADMSG, "virtqueue %u: %u buffers used, but %u were lent",
				    fake_vq_index(vm, q), n, fake_vq_lent(q));
	return n;
}

static int split_take(struct fake_vm *vm, struct fake_vq *q, uint32_t *len)
{
	const struct vring_used_elem *e = &q->used->ring[q->used_at & (q->size - 1)];
	uint16_t n = used_idx(q) - q->used_at;
	int slot;

	if (!q->batch) {
		slot = fake_vq_slot(vm, q, e->id);
		if (slot < 0)
			return slot;
		*len = e->len;
		if (!q->in_order) {
			q->used_at++;
			fake_vq_give_back(q, slot);
			return slot;
		}
		q->batch = fake_vq_behind(q, slot) + 1;
		q->batch_len = e->len;
		if (q->batch > n)
			return fake_vm_fail(vm, -EBADMSG,
					    "virtqueue %u: used id %u is number %u of %u used",
					    fake_vq_index(vm, q), e->id, q->batch, n);
	}
	q->used_at++;
	return fake_vq_next_of_batch(q, len);
}

static uint32_t split_base(struct fake_vm *vm, struct fake_vq *q)
{
	(void)vm;
	return used_idx(q);
}

static void split_chain(struct fake_vm *vm, struct fake_vq *q, uint16_t head)
{
	(void)vm;
	q->avail->ring[q->avail_at & (q->size - 1)] = head;
	q->avail_at++;
}

static unsigned split_chains(struct fake_vm *vm, struct fake_vq *q)
{
	(void)vm;
	return (uint16_t)(used_idx(q) - q->used_at);
}

static void split_bench_fill(struct fake_vm *vm, struct fake_vq *q)
{
	unsigned i;

	for (i = 0; i < q->size; i++) {
		write_slot(vm, q, i);
		q->avail->ring[i] = i;
	}
}

static unsigned split_bench_room(struct fake_vq *q)
{
	return q->size - (uint16_t)(q->avail_at - used_idx(q));
}

static void split_bench_offer(struct fake_vq *q, unsigned n)
{
	q->avail_at += n;
}

static unsigned split_bench_used(struct fake_vm *vm, struct fake_vq *q, unsigned *frames)
{
	uint16_t n = used_idx(q) - q->used_at, i;
	const struct vring_used_elem *e;

	*frames = q->look ? 0 : n;
	for (i = 0; q->look && i < n; i++) {
		e = &q->used->ring[(uint16_t)(q->used_at + i) & (q->size - 1)];
		*frames += fake_vq_bench_look(vm, q, e->id, e->len);
	}
	q->used_at += n;
	return n;
}

const struct fake_ring fake_ring_split = {
	.reset = split_reset,
	.want_calls = split_want_calls,
	.offer = split_offer,
	.publish = split_publish,
	.ready = split_ready,
	.take = split_take,
	.base = split_base,
	.chain = split_chain,
	.chains = split_chains,
	.bench_fill = split_bench_fill,
	.bench_room = split_bench_room,
	.bench_offer = split_bench_offer,
	.bench_used = split_bench_used,
};
