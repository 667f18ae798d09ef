/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Random frames between guests of every ring layout and set of offloads, byte by byte. */
#include <stdlib.h>
#include <sys/resource.h>

#include "reference.h"
#include "unit/any_frame.h"
#include "vms.h"

/*
 *	LAYOUTS x SETS guests ── vxsd
 *
 * Each guest sends to each other one: some frames at a time, on some lanes (a sender and a
 *receiver) at the same time. What must arrive, the reference says (tests/reference.h); then it is
 *waited for and compared: header, num_buffers, bytes, order. What must not is in the counters at
 *the end.
 *
 *	SEED=N		where the generator begins; printed
 *	FRAMES=N	how many frames are sent
 */
#define LAYOUTS 18
#define SETS    9
#define GUESTS  (LAYOUTS * SETS)
#define LANES   8
#define BURST   8 /* frames on a lane */
#define RING    64
#define LARGE   65600 /* a buffer for all that there is */
#define ARENA   (1 << 20)

#if defined(__SANITIZE_THREAD__)
#define FRAMES 10000
#elif defined(__SANITIZE_ADDRESS__)
#define FRAMES 30000
#else
#define FRAMES 60000
#endif

struct guest {
	struct fake_vm *vm;
	char name[8];
	uint8_t mac[6];
	uint64_t short_frame, bad_offload, buffer_short, arrived; /* to be expected */
};

struct expected {
	struct virtio_net_hdr hdr;
	uint32_t len, id_at, number;
	uint16_t buffers;
	uint8_t *at;
};

struct lane {
	struct guest *from, *to;
	unsigned n, room; /* frames to arrive; buffers that are left for them */
	struct expected e[RING];
	uint32_t used;
	uint8_t bytes[ARENA];
};

static struct guest guest[GUESTS];
static struct lane lane[LANES];
static struct ref_result result;
static struct any_frame frame;
static unsigned sent, cut, whole, dropped, failed;
static unsigned long long seed;

/* ---- guests ---- */

static uint64_t offloads(unsigned set)
{
	const uint64_t csum = FAKE_VM_CSUM | FAKE_VM_GUEST_CSUM;
	const uint64_t tso4 = csum | FAKE_VM_HOST_TSO4 | FAKE_VM_GUEST_TSO4;
	const uint64_t sets[SETS] = {
		0,
		csum,
		tso4,
		csum | FAKE_VM_HOST_TSO6 | FAKE_VM_GUEST_TSO6,
		tso4 | FAKE_VM_HOST_ECN | FAKE_VM_GUEST_ECN,
		csum | FAKE_VM_HOST_UFO | FAKE_VM_GUEST_UFO,
		csum | FAKE_VM_HOST_USO | FAKE_VM_GUEST_USO4,
		csum | FAKE_VM_HOST_USO | FAKE_VM_GUEST_USO6,
		FAKE_VM_HOST_OFFLOADS | FAKE_VM_GUEST_OFFLOADS,
	};

	return sets[set];
}

static struct fake_vm_options options(unsigned i)
{
	unsigned layout = i % LAYOUTS, set = i / LAYOUTS;
	struct fake_vm_options o = {.ring_size = RING, .send_size = LARGE, .buffer_size = 2048};

	o.features = FAKE_VM_PROTOCOL | offloads(set) | (any(2) ? FAKE_VM_EVENT_IDX : 0);
	if (layout < 16) {
		o.features |= FAKE_VM_VERSION_1;
		o.features |= layout & 1 ? FAKE_VM_PACKED : 0;
		o.features |= layout & 2 ? FAKE_VM_MRG_RXBUF : 0;
		o.features |= layout & 4 ? FAKE_VM_IN_ORDER : 0;
		o.features |= layout & 8 ? FAKE_VM_INDIRECT : 0;
		o.ring_size = layout & 1 ? RING - any(3) : RING;
	} else {
		o.features |= layout & 1 ? FAKE_VM_MRG_RXBUF : 0;
		o.features |= any(2) ? FAKE_VM_ANY_LAYOUT : 0;
	}
	o.send.pieces = any(5);
	o.send.indirect = o.recv.indirect = o.features & FAKE_VM_INDIRECT;
	o.recv.pieces = o.recv.indirect ? any(4) : any(2);
	if (!(o.features & FAKE_VM_MRG_RXBUF) && set > 1)
		o.buffer_size = LARGE;
	return o;
}

static bool join(unsigned i)
{
	struct fake_vm_options o = options(i);

	guest[i].vm = vms_join(guest[i].name, &o);
	if (!guest[i].vm)
		return false;
	if (guest[i].vm->features == o.features)
		return true;
	printf("--- features %#llx of %#llx\n", (unsigned long long)guest[i].vm->features,
	       (unsigned long long)o.features);
	CU_FAIL("not all features are offered");
	return false;
}

static bool open_all(void)
{
	static char words[GUESTS * 64];
	struct rlimit limit;
	size_t at = 0;
	unsigned i;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max < 16 * GUESTS) {
		check_skip("needs more file descriptors (ulimit -Hn)");
		return false;
	}
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < GUESTS; i++) {
		struct guest *g = &guest[i];

		memset(g, 0, sizeof(*g));
		snprintf(g->name, sizeof(g->name), "v%u", i);
		memcpy(g->mac, (uint8_t[6]){2, 0, 0, 0, 1, i}, 6);
		at += snprintf(words + at, sizeof(words) - at, " --vm %s,mac=02:00:00:00:01:%02x",
			       g->name, i);
	}
	if (!vms_start(words, false))
		return false;
	for (i = 0; i < GUESTS; i++)
		if (!join(i))
			return false;
	return true;
}

/* ---- frames ---- */

/* What the receiver will have of the frame in the result; false: more than it has room for. */
static bool expect(struct lane *l)
{
	const struct fake_vm *vm = l->to->vm;
	const bool mergeable = vm->features & FAKE_VM_MRG_RXBUF;
	uint32_t room = vm->vq[0].room, need = 0, used = l->used, k;
	struct expected *e = &l->e[l->n];

	for (k = 0; k < result.n; k++, e++) {
		const struct ref_frame *f = &result.frame[k];
		uint32_t n = (vm->hdr_len + f->len + room - 1) / room;

		if (need == l->room) /* for one that is too long as well: not for want of any */
			return false;
		if (!mergeable && n > 1) /* then so is what follows, or is given up with it */
			break;
		need += n;
		if (need > l->room || used + f->len > ARENA)
			return false;
		*e = (struct expected){f->hdr, f->len, f->id_at, sent, n, l->bytes + used};
		memcpy(e->at, f->at, f->len);
		used += f->len;
	}
	l->to->buffer_short += result.n - k;
	l->to->arrived += k;
	l->n += k;
	l->used = used;
	l->room -= need;
	cut += result.n > 1;
	whole += result.frame[0].hdr.gso_type > 0;
	dropped += k < result.n;
	return true;
}

static bool stop(const struct lane *l, const char *what)
{
	printf("--- SEED=%llu, by frame %u, from %s (%#llx) to %s (%#llx): %s %s %s\n", seed, sent,
	       l->from->name, (unsigned long long)l->from->vm->features, l->to->name,
	       (unsigned long long)l->to->vm->features, what, fake_vm_error(l->from->vm),
	       fake_vm_error(l->to->vm));
	failed++;
	return false;
}

static bool send_one(struct lane *l)
{
	int err;

	do {
		err = fake_vm_send_hdr(l->from->vm, 0, &frame.hdr, frame.at, frame.len);
	} while (err == -EAGAIN && !fake_vm_flush(l->from->vm, 0, VMS_WAIT));
	return err ? stop(l, "not sent:") : true;
}

/* Some frames from one to the other. */
static bool push(struct lane *l)
{
	unsigned n = 1 + any(BURST), i;
	enum ref_verdict verdict;

	l->n = l->used = 0;
	l->room = l->to->vm->vq[0].slots;
	for (i = 0; i < n; i++) {
		any_make(&frame, l->to->mac, l->from->mac);
		verdict = ref_pass(&result, l->from->vm->features, l->to->vm->features,
				   &frame.hdr.hdr, frame.at, frame.len);
		/* Requests that the sender may not make are most of all: not so often. */
		if (verdict == REF_BAD_OFFLOAD && any(8))
			continue;
		if (verdict == REF_SHORT_FRAME)
			l->from->short_frame++;
		else if (verdict == REF_BAD_OFFLOAD)
			l->from->bad_offload++;
		else if (!expect(l))
			continue; /* another one */
		dropped += verdict != REF_PASSES;
		sent++;
		if (!send_one(l))
			return false;
	}
	return true;
}

static void print_hdr(const char *who, const struct virtio_net_hdr *h, unsigned buffers,
		      uint32_t len)
{
	printf("--- %s: flags %u, gso %#x of %u, hdr_len %u, csum %u + %u, %u buffers, %u bytes\n",
	       who, h->flags, h->gso_type, h->gso_size, h->hdr_len, h->csum_start, h->csum_offset,
	       buffers, len);
}

static bool same(const struct lane *l, const struct expected *e, const uint8_t *at, uint32_t len)
{
	const struct fake_vm *vm = l->to->vm;
	unsigned buffers = vm->hdr_len == 12 ? vm->hdr.num_buffers : e->buffers;
	uint32_t i;

	if (len == e->len && !memcmp(&vm->hdr.hdr, &e->hdr, sizeof(e->hdr)) &&
	    buffers == e->buffers && !memcmp(at, e->at, len))
		return true;
	stop(l, "differs");
	printf("--- frame %u\n", e->number);
	print_hdr("expected", &e->hdr, e->buffers, e->len);
	print_hdr("arrived ", &vm->hdr.hdr, buffers, len);
	for (i = 0; i < len && i < e->len && at[i] == e->at[i]; i++)
		;
	printf("--- bytes differ from %u on\n", i);
	for (i = 0; i < len && i < e->len && i < 120; i++)
		printf("%s%02x/%02x", i % 16 ? " " : "\n", e->at[i], at[i]);
	printf("\n");
	return false;
}

static bool receive(struct lane *l)
{
	static uint8_t at[LARGE];
	uint8_t id[4] = {0};
	unsigned i;
	int len;

	for (i = 0; i < l->n; i++) {
		struct expected *e = &l->e[i];

		len = fake_vm_recv_wait(l->to->vm, 0, at, sizeof(at), VMS_WAIT);
		if (len <= 0)
			return stop(l, "nothing arrives:");
		if (e->id_at && (uint32_t)len == e->len) {
			/* Any number, but the same one in all fragments of a datagram. */
			if (!i || e->number != e[-1].number)
				memcpy(id, at + e->id_at, sizeof(id));
			memcpy(e->at + e->id_at, id, sizeof(id));
		}
		if (!same(l, e, at, len))
			return false;
	}
	return true;
}

/* ---- all of them ---- */

static void check_counters(const struct guest *g, struct json_object *one)
{
	struct vxs_port_stats s;
	uint8_t at[64];

	CU_ASSERT_EQUAL(fake_vm_recv(g->vm, 0, at, sizeof(at)), 0); /* nothing more has come */
	vms_read_stats(one, &s);
	if (vms_drops(&s) != g->short_frame + g->bad_offload + g->buffer_short)
		printf("--- %s (%#llx): %llu, %llu, %llu short, bad and too long for its buffers, "
		       "expected %llu, %llu, %llu\n",
		       g->name, (unsigned long long)g->vm->features,
		       (unsigned long long)s.drops.short_frame,
		       (unsigned long long)s.drops.bad_offload,
		       (unsigned long long)s.drops.buffer_short, (unsigned long long)g->short_frame,
		       (unsigned long long)g->bad_offload, (unsigned long long)g->buffer_short);
	CU_ASSERT_EQUAL(s.out_frames, g->arrived);
	CU_ASSERT_EQUAL(s.drops.short_frame, g->short_frame);
	CU_ASSERT_EQUAL(s.drops.bad_offload, g->bad_offload);
	CU_ASSERT_EQUAL(s.drops.buffer_short, g->buffer_short);
	CU_ASSERT_EQUAL(vms_drops(&s), g->short_frame + g->bad_offload + g->buffer_short);
}

static void check_all(void)
{
	struct json_object *all, *one;
	unsigned i, k, n = 0;

	/* Whatever was sent has been counted when it is given back. */
	for (i = 0; i < GUESTS; i++)
		CU_ASSERT_EQUAL(fake_vm_flush(guest[i].vm, 0, VMS_WAIT), 0);
	all = child_ctl(&vxsd, "stats", NULL);
	CU_ASSERT_FATAL(json_object_is_type(all, json_type_array));
	for (i = 0; i < json_object_array_length(all); i++) {
		one = json_object_array_get_idx(all, i);
		for (k = 0; k < GUESTS; k++) {
			if (strcmp(json_object_get_string(vms_member(one, "port")), guest[k].name))
				continue;
			check_counters(&guest[k], one);
			n++;
		}
	}
	CU_ASSERT_EQUAL(n, GUESTS);
	json_object_put(all);
}

/* Guest @first and those after it, each to the one @ahead of it. */
static bool round_of(unsigned first, unsigned ahead)
{
	unsigned i, n;
	bool ok = true;

	for (n = 0; ok && n < LANES && first + n < GUESTS; n++) {
		lane[n].from = &guest[first + n];
		lane[n].to = &guest[(first + n + ahead) % GUESTS];
		ok = push(&lane[n]);
	}
	for (i = 0; ok && i < n; i++)
		ok = receive(&lane[i]);
	return ok;
}

static void test_pairs(void)
{
	const char *text = getenv("SEED"), *frames = getenv("FRAMES");
	unsigned max = frames ? strtoul(frames, NULL, 0) : FRAMES, turn, first, i;
	unsigned long long begin = vms_now();

	seed = text ? strtoull(text, NULL, 0) : 4;
	any_state = seed;
	sent = cut = whole = dropped = failed = 0;
	if (open_all()) {
		for (turn = any(GUESTS); sent < max && !failed; turn++)
			for (first = 0; first < GUESTS && sent < max && !failed; first += LANES)
				round_of(first, 1 + turn * 37 % (GUESTS - 1));
		CU_ASSERT_EQUAL(failed, 0);
		if (!failed)
			check_all();
	}
	printf("--- SEED=%llu: %u frames, %u cut, %u whole with GSO, %u dropped, %llu ms\n", seed,
	       sent, cut, whole, dropped, vms_now() - begin);
	for (i = 0; i < GUESTS; i++)
		fake_vm_close(guest[i].vm);
	vms_stop();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"pairs", test_pairs},
		{},
	};

	return check_main("property", tests, argc, argv);
}
