/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fake VM's packed rings and IN_ORDER, with a little back-end that is right, or wrong. */
#include "check.h"
#include "fake_vm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define ALL   (FAKE_VM_ALL | FAKE_VM_PACKED)

/* The back-end's view of one virtqueue. */
struct device {
	struct fake_vm *vm;
	struct fake_vq *q;
	unsigned at;
	bool wrap;
};

/* A buffer that it took: an id, places in the ring, bytes in guest memory. */
struct taken {
	uint16_t id;
	unsigned at, length;
	bool wrap;
	uint64_t gpa; /* the fake VM's buffers are in one piece */
	uint32_t len;
};

static struct fake_vm *open_vm(const struct fake_vm_options *opt, int *peer)
{
	struct fake_vm_options o = *opt;
	struct fake_vm *vm = NULL;
	int fd[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	o.fd = fd[0];
	o.no_negotiate = true;
	*peer = fd[1];
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &o), 0);
	return vm;
}

static void close_vm(struct fake_vm *vm, int peer)
{
	fake_vm_close(vm);
	close(peer);
}

static struct device device_of(struct fake_vm *vm, unsigned index)
{
	return (struct device){.vm = vm, .q = &vm->vq[index], .wrap = true};
}

static void advance(struct device *d, unsigned n)
{
	d->at += n;
	if (d->at >= d->q->size) {
		d->at -= d->q->size;
		d->wrap = !d->wrap;
	}
}

/* Adds a descriptor's bytes; false: they don't follow the ones before, or go the wrong way. */
static bool add_bytes(const struct device *d, struct taken *t, const struct vring_packed_desc *desc)
{
	bool write = desc->flags & VRING_DESC_F_WRITE;

	if (write != d->q->device_writes || (t->len && t->gpa + t->len != desc->addr))
		return false;
	if (!t->len)
		t->gpa = desc->addr;
	t->len += desc->len;
	return true;
}

/* Takes the next buffer; false: there is none. */
static bool take(struct device *d, struct taken *t)
{
	const struct vring_packed_desc *desc = &d->q->ring[d->at];
	uint16_t flags = desc->flags;
	unsigned i;

	*t = (struct taken){.at = d->at, .wrap = d->wrap};
	if (!!(flags & AVAIL) != d->wrap || !!(flags & USED) == d->wrap)
		return false;
	if (flags & VRING_DESC_F_INDIRECT) {
		desc = fake_vm_at(d->vm, desc->addr);
		for (i = 0; i < d->q->ring[d->at].len / 16; i++)
			CU_ASSERT(add_bytes(d, t, &desc[i]));
		t->id = d->q->ring[d->at].id;
		t->length = 1;
		advance(d, 1);
		return true;
	}
	do {
		desc = &d->q->ring[d->at];
		flags = desc->flags;
		/* a whole chain is made available together, across the end as well */
		CU_ASSERT(!!(flags & AVAIL) == d->wrap && !!(flags & USED) != d->wrap);
		CU_ASSERT(add_bytes(d, t, desc));
		t->id = desc->id;
		t->length++;
		advance(d, 1);
	} while (flags & VRING_DESC_F_NEXT && t->length < d->q->size);
	return true;
}

/* Gives a buffer back in the place where @at was taken. */
static void use(struct device *d, const struct taken *at, uint16_t id, uint32_t len)
{
	struct vring_packed_desc *desc = &d->q->ring[at->at];

	desc->id = id;
	desc->len = len;
	desc->flags = (at->wrap ? AVAIL | USED : 0) |
		      (d->q->device_writes ? VRING_DESC_F_WRITE : 0);
}

/* Copies one frame from the transmit queue into the receive queue; false: there is none. */
static bool echo(struct device *from, struct device *to)
{
	struct taken in, out[64] = {0};
	uint32_t at = 0, part, len[64];
	unsigned n = 0, i;
	uint8_t *data;

	if (!take(from, &in))
		return false;
	data = fake_vm_at(from->vm, in.gpa);
	for (; at < in.len && n < 64; at += part, n++) {
		if (!take(to, &out[n])) {
			CU_FAIL("no room");
			return false;
		}
		part = in.len - at < out[n].len ? in.len - at : out[n].len;
		memcpy(fake_vm_at(to->vm, out[n].gpa), data + at, part);
		len[n] = part;
	}
	((struct virtio_net_hdr_mrg_rxbuf *)fake_vm_at(to->vm, out[0].gpa))->num_buffers = n;
	for (i = n; i-- > 0;) /* the first is the last */
		use(to, &out[i], out[i].id, len[i]);
	use(from, &in, in.id, 0);
	return true;
}

static bool echoes(const struct fake_vm_options *opt, unsigned count, size_t max)
{
	static uint8_t frame[4096], got[4096];
	struct device from, to;
	struct fake_vm *vm;
	unsigned i;
	int peer, n;

	vm = open_vm(opt, &peer);
	from = device_of(vm, 1);
	to = device_of(vm, 0);
	for (i = 0; i < count; i++) {
		size_t len = 60 + i * 37 % (max - 59), j;

		for (j = 0; j < len; j++)
			frame[j] = i + j * 7;
		if (fake_vm_send(vm, 0, frame, len) || !echo(&from, &to) || echo(&from, &to))
			break;
		n = fake_vm_recv(vm, 0, got, sizeof(got));
		if (n != (int)len || memcmp(got, frame, len) || fake_vm_recv(vm, 0, got, 1))
			break;
	}
	if (i < count)
		fprintf(stderr, "frame %u, ring of %u: %s\n", i, opt->ring_size, fake_vm_error(vm));
	n = fake_vm_reclaim(vm, 0);
	close_vm(vm, peer);
	return i == count && n == 0;
}

static void test_layouts(void)
{
	static const unsigned size[] = {1, 2, 3, 7, 64, 100, 255, 1000, 32768};
	struct fake_vm_options opt = {.features = ALL};
	unsigned i, pieces;

	for (i = 0; i < 9; i++) {
		for (pieces = 1; pieces <= 5 && pieces <= size[i]; pieces++) {
			opt.ring_size = size[i];
			opt.send = (struct fake_vm_layout){pieces, i & 1};
			opt.recv = (struct fake_vm_layout){6 - pieces, !(i & 1)};
			if (opt.recv.pieces > size[i])
				opt.recv.pieces = 1;
			CU_ASSERT(echoes(&opt, 400, 1514));
		}
	}
}

static void test_mergeable(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 97, .buffer_size = 128};

	CU_ASSERT(echoes(&opt, 1000, 1514));
	opt.recv.pieces = 3;
	CU_ASSERT(echoes(&opt, 1000, 1514));
	opt.features |= FAKE_VM_IN_ORDER;
	CU_ASSERT(echoes(&opt, 1000, 1514));
}

/* Ids are neither places nor the order of use. */
static void test_ids(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 60};
	bool seen[60] = {false};
	unsigned i, same = 0, next = 0;
	struct fake_vm *vm;
	int peer;

	vm = open_vm(&opt, &peer);
	for (i = 0; i < 60; i++) {
		uint16_t id = vm->vq[0].ring[i].id;

		CU_ASSERT(id < 60 && !seen[id]);
		seen[id % 60] = true;
		same += id == i;
		next += i && id == (vm->vq[0].ring[i - 1].id + 1) % 60;
	}
	CU_ASSERT(same < 4 && !next);
	close_vm(vm, peer);
}

/* Buffers may come back in any order, each in the next place. */
static void test_out_of_order(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 30, .send.pieces = 3};
	uint8_t frame[60] = {0};
	struct taken t[5];
	struct device d;
	struct fake_vm *vm;
	unsigned round, i;
	int peer;

	vm = open_vm(&opt, &peer);
	d = device_of(vm, 1);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 5; i++)
			CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
		for (i = 0; i < 5; i++)
			CU_ASSERT(take(&d, &t[i]));
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 5);
		use(&d, &t[0], t[3].id, 0); /* all are of the same length */
		use(&d, &t[1], t[0].id, 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 3);
		use(&d, &t[2], t[4].id, 0);
		use(&d, &t[3], t[2].id, 0);
		use(&d, &t[4], t[1].id, 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 0);
	}
	close_vm(vm, peer);
}

/* With IN_ORDER one used descriptor may tell of several buffers: it has the last one's id. */
static void test_in_order(void)
{
	struct fake_vm_options opt = {.features = ALL | FAKE_VM_IN_ORDER, .ring_size = 31};
	uint8_t frame[60] = {0}, got[2048];
	struct fake_vm *vm;
	struct device out, in;
	struct taken t[5];
	unsigned round, i;
	int peer;

	opt.send.pieces = 2;
	vm = open_vm(&opt, &peer);
	out = device_of(vm, 1);
	in = device_of(vm, 0);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 5; i++)
			CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
		for (i = 0; i < 5; i++)
			CU_ASSERT(take(&out, &t[i]));
		use(&out, &t[0], t[round % 5].id, 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 4 - round % 5);
		for (i = round % 5 + 1; i < 5; i++)
			use(&out, &t[i], t[i].id, 0);
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 0);
		/* received: all but the last are full */
		for (i = 0; i < 5; i++) {
			CU_ASSERT(take(&in, &t[i]));
			memset(fake_vm_at(vm, t[i].gpa), 0, 12);
			((uint8_t *)fake_vm_at(vm, t[i].gpa))[10] = 1;
		}
		use(&in, &t[0], t[4].id, 12 + 60);
		for (i = 0; i < 4; i++)
			CU_ASSERT_EQUAL(fake_vm_recv(vm, 0, got, sizeof(got)), 2048 - 12);
		CU_ASSERT_EQUAL(fake_vm_recv(vm, 0, got, sizeof(got)), 60);
		CU_ASSERT_EQUAL(fake_vm_recv(vm, 0, got, sizeof(got)), 0);
	}
	close_vm(vm, peer);
}

/* The same for split rings: descriptors and the entries of the used ring in ring order. */
static void test_in_order_split(void)
{
	struct fake_vm_options opt = {.features = FAKE_VM_ALL | FAKE_VM_IN_ORDER, .ring_size = 32};
	uint8_t frame[60] = {0};
	unsigned round, i, head = 0, old;
	struct fake_vm *vm;
	struct fake_vq *q;
	uint16_t at = 0;
	int peer;

	opt.send.pieces = 3;
	vm = open_vm(&opt, &peer);
	q = &vm->vq[1];
	for (round = 0; round < 100; round++) {
		old = at;
		for (i = 0; i < 7; i++, at++) {
			CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
			CU_ASSERT_EQUAL(q->avail->ring[at % 32], head);
			CU_ASSERT_EQUAL(q->desc[head].next, (head + 1) % 32);
			head = (head + 3) % 32;
		}
		CU_ASSERT_EQUAL(q->avail->idx, at);
		q->used->ring[old % 32] = (struct vring_used_elem){(head + 32 - 3) % 32, 0};
		if (round % 2) { /* or one by one */
			for (i = 0; i < 7; i++)
				q->used->ring[(old + i) % 32].id = q->avail->ring[(old + i) % 32];
		}
		q->used->idx = at;
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 0);
	}
	/* an entry that is further than the index says */
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
	q->used->ring[at % 32].id = q->avail->ring[(at + 2) % 32];
	q->used->idx = at + 2;
	CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), -EBADMSG);
	close_vm(vm, peer);
}

/* What a back-end can do wrong to one of two sent frames, or to a received one, in order of life.
 */
enum fault {
	UNKNOWN_ID,
	ID_NOT_LENT,
	ID_TWICE,
	WRONG_TURN,
	HALF_TURN,
	MORE_THAN_LENT,
	BYTES_IN_SENT,
	NOT_WRITTEN,
	TOO_LONG,
	NO_HEADER,
	TOO_MANY_BUFFERS,
	NO_BUFFERS,
	FAULTS,
};

static void commit(enum fault f, struct device *d, const struct taken t[2])
{
	struct vring_packed_desc *ring = d->q->ring;
	uint8_t *at = fake_vm_at(d->vm, t[0].gpa);

	if (d->q->device_writes)
		memset(at, 0, 12), at[10] = 1;
	use(d, &t[0], t[0].id, d->q->device_writes ? 72 : 0);
	switch (f) {
	case UNKNOWN_ID:
		ring[0].id = d->q->size;
		break;
	case ID_NOT_LENT:
		ring[0].id = d->q->id[d->q->free[0]];
		break;
	case ID_TWICE:
		use(d, &t[1], t[0].id, 0);
		break;
	case WRONG_TURN:
		ring[0].flags = 0;
		break;
	case HALF_TURN:
		ring[0].flags = USED;
		break;
	case MORE_THAN_LENT:
		use(d, &t[1], t[1].id, 0);
		ring[2].flags = AVAIL | USED;
		break;
	case BYTES_IN_SENT:
		ring[0].flags |= VRING_DESC_F_WRITE;
		ring[0].len = 1;
		break;
	case NOT_WRITTEN:
		ring[0].flags &= ~VRING_DESC_F_WRITE;
		break;
	case TOO_LONG:
		ring[0].len = d->q->room + 1;
		break;
	case NO_HEADER:
		ring[0].len = 11;
		break;
	case TOO_MANY_BUFFERS:
		at[10] = 2;
		break;
	case NO_BUFFERS:
		at[10] = 0;
		break;
	default:
		break;
	}
}

static void test_faults(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 8};
	uint8_t frame[60] = {0}, got[2048];
	struct taken t[2];
	struct device d;
	struct fake_vm *vm;
	enum fault f;
	int peer, ret;

	for (f = 0; f < FAULTS; f++) {
		vm = open_vm(&opt, &peer);
		if (f <= BYTES_IN_SENT) {
			d = device_of(vm, 1);
			CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
			CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
			CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 2);
		} else {
			d = device_of(vm, 0);
		}
		CU_ASSERT(take(&d, &t[0]) && take(&d, &t[1]));
		commit(f, &d, t);
		ret = d.q->device_writes ? fake_vm_recv(vm, 0, got, sizeof(got))
					 : fake_vm_reclaim(vm, 0);
		if (ret != -EBADMSG)
			fprintf(stderr, "fault %d: %d\n", f, ret);
		CU_ASSERT_EQUAL(ret, -EBADMSG);
		CU_ASSERT(fake_vm_error(vm)[0]);
		close_vm(vm, peer);
	}
}

/* Kicks as the device's event structure asks for them, calls as the driver's does. */
static void test_events(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 5};
	struct fake_vm_frame frames[3] = {{"", 0}, {"", 0}, {"", 0}};
	struct device d;
	struct fake_vm *vm;
	struct fake_vq *q;
	struct taken t;
	unsigned i, j;
	int peer;

	vm = open_vm(&opt, &peer);
	q = &vm->vq[1];
	q->kick_fd = dup(peer); /* anything that can be written to */
	d = device_of(vm, 1);
	for (i = 0; i < 100; i++) {
		unsigned event = (d.at + i % 4) % 5;
		bool wrap = d.wrap ^ (d.at + i % 4 >= 5);
		uint64_t kicks = q->kicks;

		q->device->flags = VRING_PACKED_EVENT_FLAG_DESC;
		q->device->off_wrap = event | (wrap ? WRAP : 0);
		CU_ASSERT_EQUAL(fake_vm_send_batch(vm, 0, frames, 3), 3);
		CU_ASSERT_EQUAL(q->kicks - kicks, i % 4 < 3);
		for (j = 0; j < 3 && take(&d, &t); j++)
			use(&d, &t, t.id, 0);
		CU_ASSERT_EQUAL(j, 3);
		CU_ASSERT_EQUAL(fake_vm_reclaim(vm, 0), 0);
		kicks = q->kicks;
		q->device->flags = i & 1 ? VRING_PACKED_EVENT_FLAG_ENABLE
					 : VRING_PACKED_EVENT_FLAG_DISABLE;
		CU_ASSERT_EQUAL(fake_vm_send_batch(vm, 0, frames, 1), 1);
		CU_ASSERT_EQUAL(q->kicks - kicks, i & 1);
		CU_ASSERT(take(&d, &t));
		use(&d, &t, t.id, 0);
		while (poll(&(struct pollfd){.fd = vm->fd, .events = POLLIN}, 1, 0) > 0)
			CU_ASSERT(read(vm->fd, &kicks, sizeof(kicks)) == sizeof(kicks));
	}
	/* while it waits it wants to know of the next descriptor, otherwise of none */
	CU_ASSERT_EQUAL(vm->vq[0].driver->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	vm->opt.want_call = true;
	fake_vm_wait(vm, 0, 0);
	CU_ASSERT_EQUAL(vm->vq[0].driver->flags, VRING_PACKED_EVENT_FLAG_DESC);
	CU_ASSERT_EQUAL(vm->vq[0].driver->off_wrap, WRAP);
	close_vm(vm, peer);
}

/* Descriptors of a test's own. */
static void test_hostile(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 6};
	struct vring_packed_desc raw = {.addr = 77, .len = 5, .id = 0xffff};
	struct device d;
	struct fake_vm *vm;
	struct taken t;
	unsigned i;
	int peer;

	vm = open_vm(&opt, &peer);
	d = device_of(vm, 1);
	for (i = 0; i < 20; i++) {
		fake_vm_set_desc(vm, 1, 3, 1000, 10, VRING_DESC_F_NEXT, 1);
		fake_vm_set_desc(vm, 1, 1, 1010, 20, 0, 0);
		CU_ASSERT(!take(&d, &t));
		fake_vm_offer(vm, 1, 3);
		CU_ASSERT(take(&d, &t) && t.length == 2 && t.gpa == 1000 && t.len == 30);
		CU_ASSERT(!fake_vm_used(vm, 1, 1, 0));
		use(&d, &t, t.id, 0);
		CU_ASSERT(fake_vm_used(vm, 1, 1, 0));
		raw.flags = VRING_DESC_F_NEXT | fake_vm_turn(vm, 1);
		fake_vm_offer_packed(vm, 1, &raw);
		raw.addr = 82;
		raw.flags = fake_vm_turn(vm, 1);
		fake_vm_offer_packed(vm, 1, &raw);
		CU_ASSERT(take(&d, &t) && t.length == 2 && t.id == 0xffff);
		fake_vm_reset_rings(vm);
		d = device_of(vm, 1);
		raw.addr = 77;
	}
	close_vm(vm, peer);
}

/* The load generator's calls, with rings whose size is no power of two. */
static void test_bench(void)
{
	struct fake_vm_options opt = {.features = ALL, .ring_size = 100};
	uint64_t sent = 0, got = 0, order;
	uint8_t frame[64];
	struct device from, to;
	unsigned i, n, j;
	struct fake_vm *vm;
	struct taken t;
	int peer;

	memset(frame, 0x5a, sizeof(frame));
	for (order = 0; order < 2; order++) {
		opt.features = order ? ALL | FAKE_VM_IN_ORDER : ALL;
		vm = open_vm(&opt, &peer);
		from = device_of(vm, 1);
		to = device_of(vm, 0);
		CU_ASSERT_EQUAL(fake_vm_bench(vm, 0, frame, sizeof(frame)), 0);
		sent = got = 0;
		for (i = 0; i < 300; i++) {
			sent += fake_vm_bench_send(vm, 0, i % 70);
			for (n = 0; n < i % 50 && echo(&from, &to); n++)
				got++;
			CU_ASSERT_EQUAL(fake_vm_bench_recv(vm, 0), n);
			CU_ASSERT_EQUAL(fake_vm_bench_sent(vm, 0), got);
			CU_ASSERT(sent - got <= 100);
		}
		CU_ASSERT(got > 5000);
		CU_ASSERT_EQUAL(vm->vq[0].frames, got);
		while (echo(&from, &to))
			;
		/* as many as there are: the ring full, then empty */
		CU_ASSERT_EQUAL(fake_vm_bench_send(vm, 0, 1000), 100);
		CU_ASSERT_EQUAL(fake_vm_bench_send(vm, 0, 1000), 0);
		for (j = 0; take(&from, &t); j++) {
			CU_ASSERT(t.len == 76 && !memcmp(fake_vm_at(vm, t.gpa + 12), frame, 64));
			use(&from, &t, t.id, 0);
		}
		CU_ASSERT_EQUAL(j, 100);
		CU_ASSERT_EQUAL(fake_vm_bench_send(vm, 0, 1000), 100);
		close_vm(vm, peer);
	}
}

static const struct check tests[] = {
	{"layouts", test_layouts},
	{"mergeable", test_mergeable},
	{"ids", test_ids},
	{"out of order", test_out_of_order},
	{"in order", test_in_order},
	{"in order, split", test_in_order_split},
	{"faults", test_faults},
	{"events", test_events},
	{"hostile", test_hostile},
	{"bench", test_bench},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("fake_rings", tests, argc, argv);
}
