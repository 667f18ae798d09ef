/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fake VM's packed rings (virtio 1.2, 2.8). */
#include <errno.h>
#include <string.h>

#include "fake_ring.h"

/*
 * Buffer ids are not what a back-end might take them for: they differ from places in the ring and
 * from the order of use, and only the last descriptor of a chain has the right one.
 */

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

struct place {
	uint16_t at;
	bool wrap;
};

static struct place move(const struct fake_vq *q, struct place p, unsigned n)
{
	unsigned at = p.at + n;

	return at < q->size ? (struct place){at, p.wrap} : (struct place){at - q->size, !p.wrap};
}

static struct place used_place(const struct fake_vq *q)
{
	return (struct place){q->used_at, q->used_wrap};
}

static void set_used_place(struct fake_vq *q, struct place p)
{
	q->used_at = p.at;
	q->used_wrap = p.wrap;
}

static uint16_t turn(bool wrap)
{
	return wrap ? AVAIL : USED;
}

/* The part of a descriptor that changes hands, in one word: the driver fills it in again. */
typedef uint64_t __attribute__((may_alias)) packed_word;

static uint64_t rest_of(uint32_t len, uint16_t id, uint16_t flags)
{
	return len | (uint64_t)id << 32 | (uint64_t)flags << 48;
}

/* Writes the next descriptor; the first since the last publish() stays unseen, and all with it. */
static void put_desc(struct fake_vq *q, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	struct vring_packed_desc *d = &q->ring[q->avail_at];
	struct place p = {q->avail_at, q->avail_wrap};

	d->addr = addr;
	/* the back-end may be looking at the flags, and then reads these as well */
	__atomic_store_n(&d->len, len, __ATOMIC_RELAXED);
	__atomic_store_n(&d->id, id, __ATOMIC_RELAXED);
	if (!q->n_new++) {
		q->first_at = q->avail_at;
		q->first_flags = flags;
	} else {
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
	}
	p = move(q, p, 1);
	q->avail_at = p.at;
	q->avail_wrap = p.wrap;
}

static unsigned gcd(unsigned a, unsigned b)
{
	return b ? gcd(b, a % b) : a;
}

static void packed_reset(struct fake_vm *vm, struct fake_vq *q)
{
	unsigned step = q->size * 5 / 8 + 1, i;

	(void)vm;
	while (gcd(step, q->size) != 1 || gcd(step - 1, q->size) > 2)
		step++;
	for (i = 0; i < q->slots; i++) {
		q->id[i] = ((uint64_t)i * step + q->size / 3) % q->size;
		q->slot_of[q->id[i]] = i;
	}
	memset(q->ring, 0, q->size * sizeof(*q->ring));
	memset(q->driver, 0, sizeof(*q->driver));
	memset(q->device, 0, sizeof(*q->device));
	q->avail_wrap = q->used_wrap = true;
	q->n_new = 0;
	q->base = 0x80008000;
}

static void packed_want_calls(struct fake_vm *vm, struct fake_vq *q, bool on)
{
	uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

	if (on)
		flags = vm->features & FAKE_VM_EVENT_IDX ? VRING_PACKED_EVENT_FLAG_DESC
							 : VRING_PACKED_EVENT_FLAG_ENABLE;
	__atomic_store_n(&q->driver->off_wrap, q->used_at | (q->used_wrap ? WRAP : 0),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&q->driver->flags, flags, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Whether the back-end wants to know of the last @n descriptors (2.8.10). */
static bool wants_kick(const struct fake_vq *q, unsigned n)
{
	uint32_t event = __atomic_load_n((uint32_t *)q->device, __ATOMIC_RELAXED);
	uint16_t off_wrap = event & 0xffff, flags = event >> 16, off = off_wrap & (WRAP - 1);

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (!!(off_wrap & WRAP) != q->avail_wrap)
		off -= q->size;
	return vring_need_event(off, q->avail_at, q->avail_at - n);
}

static void packed_publish(struct fake_vm *vm, struct fake_vq *q)
{
	unsigned n = q->n_new;

	(void)vm;
	if (!n)
		return;
	q->n_new = 0;
	__atomic_store_n(&q->ring[q->first_at].flags, q->first_flags, __ATOMIC_RELEASE);
	/* pairs with the back-end's: it asks for kicks, then looks at the ring again */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wants_kick(q, n))
		fake_vq_kick(q);
}

/* The table of @slot: its entries have neither id nor NEXT (2.8.7). How many bytes. */
static uint32_t write_table(struct fake_vm *vm, struct fake_vq *q, unsigned slot)
{
	struct vring_packed_desc *table = (struct vring_packed_desc *)(q->table + slot * q->pieces);
	struct fake_piece piece;
	unsigned i, n = 1;

	for (i = 0; i < n; i++) {
		n = fake_vq_piece(vm, q, slot, i, &piece);
		table[i] = (struct vring_packed_desc){
			.addr = piece.gpa,
			.len = piece.len,
			.id = 0xdead,
			.flags = q->device_writes ? VRING_DESC_F_WRITE : 0,
		};
	}
	return n * sizeof(*table);
}

static void packed_offer(struct fake_vm *vm, struct fake_vq *q, unsigned slot)
{
	uint16_t write = q->device_writes ? VRING_DESC_F_WRITE : 0, id = q->id[slot];
	struct fake_piece piece;
	unsigned i, n = 1;

	if (q->indirect) {
		uint64_t gpa = fake_vm_gpa(vm, q->table + slot * q->pieces);

		put_desc(q, gpa, write_table(vm, q, slot), id,
			 VRING_DESC_F_INDIRECT | turn(q->avail_wrap));
		q->length[id] = 1;
		return;
	}
	for (i = 0; i < n; i++) {
		n = fake_vq_piece(vm, q, slot, i, &piece);
		if (i + 1 < n)
			put_desc(q, piece.gpa, piece.len, (id + 1) % q->size,
				 write | VRING_DESC_F_NEXT | turn(q->avail_wrap));
		else
			put_desc(q, piece.gpa, piece.len, id, write | turn(q->avail_wrap));
	}
	q->length[id] = n;
}

/* Whether the back-end has written a used descriptor to place @p. */
static bool is_used(const struct fake_vq *q, struct place p)
{
	uint16_t flags = __atomic_load_n(&q->ring[p.at].flags, __ATOMIC_ACQUIRE);

	return !!(flags & AVAIL) == p.wrap && !!(flags & USED) == p.wrap;
}

/* The same for a place that is lent, where there is just one other thing that may stand. */
static int look_at(struct fake_vm *vm, struct fake_vq *q, struct place p)
{
	uint16_t flags = __atomic_load_n(&q->ring[p.at].flags, __ATOMIC_ACQUIRE);

	if ((flags & (AVAIL | USED)) == turn(p.wrap))
		return 0;
	if (!!(flags & AVAIL) == p.wrap && !!(flags & USED) == p.wrap)
		return 1;
	return fake_vm_fail(vm, -EBADMSG, "virtqueue %u: flags 0x%x at %u with wrap counter %d",
			    fake_vq_index(vm, q), flags, p.at, p.wrap);
}

/*
 * Walks over used descriptors from where the last one was taken, @max buffers at most. How many
 * there were; @p is then the place behind them.
 */
static int walk(struct fake_vm *vm, struct fake_vq *q, unsigned max, struct place *p)
{
	unsigned n = 0, lent = fake_vq_lent(q), batch = q->batch, slot;
	int used;

	*p = used_place(q);
	while (n < max) {
		if (batch) {
			slot = (fake_vq_oldest(q) + n) % q->slots;
			*p = move(q, *p, q->length[q->id[slot]]);
			batch--;
			n++;
			continue;
		}
		if (n == lent) {
			if (is_used(q, *p))
				return fake_vm_fail(vm, -EBADMSG,
						    "virtqueue %u: more than %u buffers used",
						    fake_vq_index(vm, q), lent);
			break;
		}
		used = look_at(vm, q, *p);
		if (used < 0)
			return used;
		if (!used)
			break;
		used = fake_vq_slot(vm, q, q->ring[p->at].id);
		if (used < 0)
			return used;
		if (q->in_order) {
			batch = fake_vq_behind(q, used) + 1;
			if (batch <= n)
				return fake_vm_fail(vm, -EBADMSG, "virtqueue %u: used id %u twice",
						    fake_vq_index(vm, q), q->ring[p->at].id);
			batch -= n;
			continue;
		}
		*p = move(q, *p, q->length[q->id[used]]);
		n++;
	}
	return n;
}

static int packed_ready(struct fake_vm *vm, struct fake_vq *q, unsigned max)
{
	struct place p;

	return walk(vm, q, max, &p);
}

static int packed_take(struct fake_vm *vm, struct fake_vq *q, uint32_t *len)
{
	const struct vring_packed_desc *d = &q->ring[q->used_at];
	int slot;

	if (!q->batch) {
		slot = fake_vq_slot(vm, q, d->id);
		if (slot < 0)
			return slot;
		/* without WRITE the length says nothing (2.8.4) */
		*len = d->flags & VRING_DESC_F_WRITE ? d->len : 0;
		if (q->device_writes && !(d->flags & VRING_DESC_F_WRITE))
			return fake_vm_fail(vm, -EBADMSG, "virtqueue %u: used id %u not written to",
					    fake_vq_index(vm, q), d->id);
		if (!q->in_order) {
			set_used_place(q, move(q, used_place(q), q->length[d->id]));
			fake_vq_give_back(q, slot);
			return slot;
		}
		q->batch = fake_vq_behind(q, slot) + 1;
		q->batch_len = *len;
	}
	slot = fake_vq_next_of_batch(q, len);
	set_used_place(q, move(q, used_place(q), q->length[q->id[slot]]));
	return slot;
}

static uint32_t packed_base(struct fake_vm *vm, struct fake_vq *q)
{
	struct place p;
	uint32_t half;

	if (walk(vm, q, UINT32_MAX, &p) < 0)
		return 0;
	half = p.at | (uint32_t)p.wrap << 15;
	return half << 16 | half;
}

static void packed_chain(struct fake_vm *vm, struct fake_vq *q, uint16_t head)
{
	const struct vring_desc *d = &q->desc[head % q->size];
	unsigned n = 1;

	(void)vm;
	while (d->flags & VRING_DESC_F_NEXT && n < q->size) {
		put_desc(q, d->addr, d->len, head, d->flags | turn(q->avail_wrap));
		d = &q->desc[d->next % q->size];
		n++;
	}
	put_desc(q, d->addr, d->len, head, d->flags | turn(q->avail_wrap));
	q->length[head % q->size] = n;
}

static unsigned packed_chains(struct fake_vm *vm, struct fake_vq *q)
{
	struct place p = used_place(q);
	unsigned n = 0;

	(void)vm;
	for (n = 0; n < q->size && is_used(q, p); n++)
		p = move(q, p, q->length[q->ring[p.at].id % q->size]);
	return n;
}

/* ---- for benchmarks ---- */

static void packed_bench_fill(struct fake_vm *vm, struct fake_vq *q)
{
	unsigned i;

	for (i = 0; i < q->size; i++) {
		q->ring[i].addr = fake_vm_gpa(vm, q->buffers + (size_t)i * q->stride);
		q->n_free = q->size;
	}
}

/* How many buffers behind place @p were used with it. */
static unsigned bench_step(const struct fake_vq *q, struct place p)
{
	uint16_t id = q->ring[p.at].id;

	if (!q->in_order || id >= q->size)
		return 1;
	return (q->slot_of[id] + q->size - p.at) % q->size + 1;
}

/* Slot i is at place i, so neither ids nor lengths need a look. */
static unsigned packed_bench_room(struct fake_vq *q)
{
	struct place p = used_place(q);
	unsigned n;

	while (q->n_free < q->size && is_used(q, p)) {
		n = bench_step(q, p);
		q->n_free += n;
		p = move(q, p, n);
	}
	set_used_place(q, p);
	return q->n_free;
}

static void packed_bench_offer(struct fake_vq *q, unsigned n)
{
	uint16_t flags = turn(q->avail_wrap) | (q->device_writes ? VRING_DESC_F_WRITE : 0);
	uint32_t at = q->avail_at, len = q->total[0];

	if (!n)
		return;
	q->n_free -= n;
	q->n_new = n;
	q->first_at = at;
	q->first_flags = flags;
	/* all but the flags of the first, whose old ones say that it is not available yet */
	__atomic_store_n(&q->ring[at].len, len, __ATOMIC_RELAXED);
	__atomic_store_n(&q->ring[at].id, q->id[at], __ATOMIC_RELAXED);
	while (--n) {
		uint64_t rest;

		if (++at == q->size) {
			at = 0;
			q->avail_wrap = !q->avail_wrap;
			flags ^= AVAIL | USED;
		}
		rest = rest_of(len, q->id[at], flags);
		__atomic_store_n((packed_word *)&q->ring[at].len, rest, __ATOMIC_RELAXED);
	}
	if (++at == q->size) {
		at = 0;
		q->avail_wrap = !q->avail_wrap;
	}
	q->avail_at = at;
}

static unsigned packed_bench_used(struct fake_vm *vm, struct fake_vq *q, unsigned *frames)
{
	struct place p = used_place(q);
	unsigned n = 0, step;

	*frames = 0;
	while (n < q->size && is_used(q, p)) {
		step = bench_step(q, p);
		if (q->look)
			*frames += fake_vq_bench_look(vm, q, p.at, q->ring[p.at].len);
		else
			*frames += step;
		p = move(q, p, step);
		n += step;
	}
	set_used_place(q, p);
	q->n_free += n;
	return n;
}

const struct fake_ring fake_ring_packed = {
	.reset = packed_reset,
	.want_calls = packed_want_calls,
	.offer = packed_offer,
	.publish = packed_publish,
	.ready = packed_ready,
	.take = packed_take,
	.base = packed_base,
	.chain = packed_chain,
	.chains = packed_chains,
	.bench_fill = packed_bench_fill,
	.bench_room = packed_bench_room,
	.bench_offer = packed_bench_offer,
	.bench_used = packed_bench_used,
};

uint16_t fake_vm_turn(const struct fake_vm *vm, unsigned index)
{
	return turn(vm->vq[index].avail_wrap);
}

void fake_vm_offer_packed(struct fake_vm *vm, unsigned index, const struct vring_packed_desc *d)
{
	struct fake_vq *q = &vm->vq[index];

	put_desc(q, d->addr, d->len, d->id, d->flags);
	q->length[d->id % q->size] = 1;
	packed_publish(vm, q);
	fake_vq_kick(q);
}
