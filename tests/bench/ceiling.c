/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The least that a switch between two VMs can do: copies from ring to ring, and nothing else. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>

#include "control/loop.h"
#include "switch/rcu.h"
#include "switch/switch.h"
#include "vm/vm.h"

/*
 * What all switches are measured against. The front-ends' messages are handled by the daemon's own
 * code, in the main thread; the loop in the other one is bare: each chain is one descriptor, both
 * guests' memory is one region, nobody wants to be notified, and nothing is checked, looked up or
 * counted. Frames longer than a receive buffer go into several. So it serves the load generator
 * alone, and no guest.
 */
#define CEILING_BATCH 64

static struct {
	const char *socket[2];
	int cpu;
} opt = {.cpu = -1};

static struct vm *vm[2];
static struct vxs_port_stats stats[2];

static void usage(bool asked)
{
	fputs("usage: ceiling --a SOCKET --b SOCKET [--cpu N]\n", asked ? stdout : stderr);
	exit(asked ? 0 : 2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"a", required_argument, NULL, 'a'},
		{"b", required_argument, NULL, 'b'},
		{"cpu", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'a' || o == 'b')
			opt.socket[o - 'a'] = optarg;
		else if (o == 'c')
			opt.cpu = atoi(optarg);
		else
			usage(o == 'H');
	}
	if (!opt.socket[0] || !opt.socket[1])
		usage(false);
}

/* 64 bytes at once, and an overlapping rest: no call, no loop by bytes. */
static inline void copy_short(uint8_t *to, const uint8_t *from, uint32_t n)
{
	uint8_t rest[16];

	memcpy(rest, from + n - 16, 16);
	memcpy(to, from, 64);
	memcpy(to + n - 16, rest, 16);
}

static inline uint8_t *at(const struct vq *q, uint64_t gpa)
{
	return q->mem->region[0].at + (gpa - q->mem->region[0].gpa);
}

static inline uint16_t avail(const struct vq *q)
{
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) - q->avail_at;
}

/* Frames that take several of the receiver's buffers each. */
static void copy_merged(struct vq *from, struct vq *to, uint16_t n)
{
	uint16_t room = avail(to), mask_from = from->size - 1, mask_to = to->size - 1, i, parts;

	for (i = 0; i < n; i++) {
		uint16_t a = from->avail->ring[(from->avail_at + i) & mask_from];
		uint32_t size = to->desc[to->avail->ring[to->avail_at & mask_to]].len, len, part;
		const uint8_t *src = at(from, from->desc[a].addr);
		uint8_t *first = NULL;

		len = from->desc[a].len;
		parts = (len + size - 1) / size;
		if (parts > room)
			break;
		room -= parts;
		for (; len; len -= part, src += part) {
			uint16_t b = to->avail->ring[to->avail_at++ & mask_to];
			uint8_t *dst = at(to, to->desc[b].addr);

			part = len < size ? len : size;
			memcpy(dst, src, part);
			first = first ? first : dst;
			to->used->ring[to->used_at++ & mask_to] =
				(struct vring_used_elem){.id = b, .len = part};
		}
		first[10] = parts;
		first[11] = 0;
		from->used->ring[(from->used_at + i) & mask_from] =
			(struct vring_used_elem){.id = a, .len = 0};
	}
	from->avail_at += i;
	from->used_at += i;
	__atomic_store_n(&to->used->idx, to->used_at, __ATOMIC_RELEASE);
	__atomic_store_n(&from->used->idx, from->used_at, __ATOMIC_RELEASE);
}

/* All buffers of a ring are as long as its first. */
static bool is_merged(const struct vq *from, const struct vq *to)
{
	return from->desc[0].len > to->desc[0].len;
}

static void copy_ring(struct vq *from, struct vq *to)
{
	uint16_t n = avail(from), room, mask_from, mask_to, i;

	if (!n)
		return;
	if (is_merged(from, to)) {
		copy_merged(from, to, n);
		return;
	}
	room = avail(to);
	n = n < room ? n : room;
	n = n < CEILING_BATCH ? n : CEILING_BATCH;
	mask_from = from->size - 1;
	mask_to = to->size - 1;
	for (i = 0; i < n; i++) {
		uint16_t a = from->avail->ring[(from->avail_at + i) & mask_from];
		uint16_t b = to->avail->ring[(to->avail_at + i) & mask_to];
		struct vring_used_elem *u = &from->used->ring[(from->used_at + i) & mask_from];
		struct vring_used_elem *v = &to->used->ring[(to->used_at + i) & mask_to];
		uint32_t len = from->desc[a].len;
		uint8_t *dst = at(to, to->desc[b].addr);
		const uint8_t *src = at(from, from->desc[a].addr);

		if (len >= 64 && len <= 80)
			copy_short(dst, src, len);
		else
			memcpy(dst, src, len);
		dst[10] = 1; /* num_buffers */
		*u = (struct vring_used_elem){.id = a, .len = 0};
		*v = (struct vring_used_elem){.id = b, .len = len};
	}
	from->avail_at += n;
	from->used_at += n;
	to->avail_at += n;
	to->used_at += n;
	__atomic_store_n(&to->used->idx, to->used_at, __ATOMIC_RELEASE);
	__atomic_store_n(&from->used->idx, from->used_at, __ATOMIC_RELEASE);
}

#define PACKED_USED (1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED)

/* A place in a packed ring, and the wrap counter that goes with it. */
struct place {
	uint16_t at;
	bool wrap;
};

static inline struct place step(const struct vq *q, struct place p, uint16_t n)
{
	p.at += n;
	if (p.at >= q->size) {
		p.at -= q->size;
		p.wrap = !p.wrap;
	}
	return p;
}

static inline bool is_available(const struct vq *q, struct place p)
{
	uint16_t flags = __atomic_load_n(&q->ring[p.at].flags, __ATOMIC_ACQUIRE);

	return (flags & PACKED_USED) ==
	       (p.wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED);
}

static inline void set_used(struct vq *q, struct place p, uint16_t flags)
{
	__atomic_store_n(&q->ring[p.at].flags, flags | (p.wrap ? PACKED_USED : 0),
			 __ATOMIC_RELEASE);
}

/* One frame, into as many buffers as it takes; the next place, or where it was if they aren't
 * there. */
static inline struct place copy_one(struct vq *to, struct place p, const uint8_t *src, uint32_t len)
{
	uint32_t size = to->ring[p.at].len, part;
	uint16_t parts = len <= size ? 1 : (len + size - 1) / size, i;
	struct place first = p;
	uint8_t *dst = at(to, to->ring[p.at].addr);

	if (parts > 1 && !is_available(to, step(to, p, parts - 1)))
		return p;
	if (len >= 64 && len <= 80)
		copy_short(dst, src, len);
	else
		memcpy(dst, src, len < size ? len : size);
	dst[10] = parts; /* num_buffers */
	dst[11] = 0;
	to->ring[p.at].len = len < size ? len : size;
	for (i = 1; i < parts; i++) {
		p = step(to, p, 1);
		src += size;
		len -= size;
		part = len < to->ring[p.at].len ? len : to->ring[p.at].len;
		memcpy(at(to, to->ring[p.at].addr), src, part);
		to->ring[p.at].len = part;
		set_used(to, p, VRING_DESC_F_WRITE);
	}
	set_used(to, first, VRING_DESC_F_WRITE); /* last: the guest looks no further before */
	return step(to, p, 1);
}

/* Buffers' ids stay where they are: they are used in the order in which they came. */
static void copy_packed(struct vq *from, struct vq *to)
{
	struct place a = {from->avail_at, from->avail_wrap}, b = {to->avail_at, to->avail_wrap},
		     next;
	unsigned i;

	for (i = 0; i < CEILING_BATCH && is_available(from, a) && is_available(to, b); i++) {
		const struct vring_packed_desc *d = &from->ring[a.at];

		next = copy_one(to, b, at(from, d->addr), d->len);
		if (next.at == b.at)
			break;
		b = next;
		set_used(from, a, 0);
		a = step(from, a, 1);
	}
	from->avail_at = a.at;
	from->avail_wrap = a.wrap;
	to->avail_at = b.at;
	to->avail_wrap = b.wrap;
}

static void copy(struct vq *from, struct vq *to)
{
	if (!from || !to || from->packed != to->packed)
		return;
	if (from->packed)
		copy_packed(from, to);
	else
		copy_ring(from, to);
}

static void *copy_on(void *arg)
{
	unsigned round = 0;

	bench_pin(opt.cpu);
	urcu_qsbr_register_thread();
	for (;;) {
		struct vq *a_in = rcu_get(vm[0]->in[0]), *a_out = rcu_get(vm[0]->out[0]);
		struct vq *b_in = rcu_get(vm[1]->in[0]), *b_out = rcu_get(vm[1]->out[0]);

		copy(a_in, b_out);
		copy(b_in, a_out);
		if (!(++round % 64)) /* control can wait that long */
			rcu_quiet();
	}
	return arg;
}

int main(int argc, char **argv)
{
	struct vswitch sw = {0};
	struct worker *worker; /* not started: it stands for whom kicks would wake */
	struct loop *loop;
	pthread_t thread;
	unsigned i;

	parse(argc, argv);
	if (loop_new(&loop) || worker_new(&worker, 0, &sw))
		bench_die("ceiling", "out of memory");
	for (i = 0; i < 2; i++) {
		struct vm_options o = {.name = {'a' + i}, .queues = 1};

		snprintf(o.socket, sizeof(o.socket), "%s", opt.socket[i]);
		if (vm_new(&vm[i], loop, &o, VXS_PORT_VM + i, &stats[i]))
			return 1;
		vm[i]->port.worker[0] = worker;
	}
	if (pthread_create(&thread, NULL, copy_on, NULL))
		bench_die("ceiling", "no thread");
	for (i = 0; i < 2; i++)
		if (vm_listen(vm[i]))
			return 1;
	return loop_run(loop) ? 1 : 0;
}
