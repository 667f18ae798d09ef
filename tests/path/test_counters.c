/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters add up exactly after 100 million frames: in = out + drops by name, bytes as well. */
#include <sched.h>

#include "vms.h"

/*
 * a ⇄ b carry most of it. Now and then a receiver takes nothing for a while, and what its ring
 * can't hold is dropped; VM c sends to port d, where no VM is, and from a bad source address. The
 * guests are this one thread, which moves indices only (fake_vm_bench), and knows of each frame
 * whether it arrived: the switch has to say the same. At 64 bytes a frame the count of bytes passes
 * 2^32 on the way.
 *
 * Rings are large so that on a machine with other work much is done between two turns of a thread.
 */
#define MILLION  1000000ull
#define RING     16384
#define BURST    128
#define OUT_MAX  12288 /* frames that a VM has out at most, so that a receiver has room for all */
#define DEAF     20000 /* frames sent while the receiver takes none */
#define STALL_MS 20000 /* without a frame: something hangs */

/* Frames from one queue pair of a VM to another VM, NULL: to nobody who receives. */
struct stream {
	struct fake_vm *from, *to;
	unsigned pair;
	uint64_t sent, got;
};

/* Sends frames of @len bytes to @to, and has room for those of @room bytes. */
static struct fake_vm *vm_open(const char *name, unsigned pairs, char to, size_t len, size_t room)
{
	const struct fake_vm_options opt = {.pairs = pairs,
					    .ring_size = RING,
					    .send_size = (len / 64 + 1) * 64 + 64,
					    .buffer_size = (room / 64 + 1) * 64 + 64,
					    .features = FAKE_VM_ALL | FAKE_VM_MQ};
	struct fake_vm *vm = vms_join(name, &opt);
	uint8_t frame[1514] = {};
	unsigned i;

	vms_mac(to, frame);
	vms_mac(name[0], frame + 6);
	for (i = 0; vm && i < pairs; i++)
		CU_ASSERT_EQUAL_FATAL(fake_vm_bench(vm, i, frame, len), 0);
	return vm;
}

static uint64_t taken(const struct stream *s)
{
	return fake_vm_bench_sent(s->from, s->pair);
}

/* A burst if not too many are out, and what arrived unless @deaf. True: something moved. */
static bool pump(struct stream *s, uint64_t until, bool deaf)
{
	uint64_t left = until - s->sent, got = 0;
	unsigned n = 0;

	if (left && s->sent - taken(s) <= OUT_MAX - BURST)
		n = fake_vm_bench_send(s->from, s->pair, left < BURST ? left : BURST);
	s->sent += n;
	if (!deaf && s->to)
		got = fake_vm_bench_recv(s->to, s->pair);
	s->got += got;
	return n || got;
}

/* @n frames more on each of the streams; false: the switch doesn't take them. */
static bool carry(struct stream *s, unsigned n_streams, uint64_t n, bool deaf)
{
	unsigned long long end = vms_now() + STALL_MS;
	uint64_t until[8] = {};
	unsigned i, round = 0;
	bool moved, left;

	for (i = 0; i < n_streams; i++)
		until[i] = s[i].sent + n;
	do {
		moved = left = false;
		for (i = 0; i < n_streams; i++) {
			moved |= pump(&s[i], until[i], deaf);
			left |= s[i].sent < until[i] || taken(&s[i]) < until[i];
		}
		if (moved)
			round = 0;
		else if (++round % 64 == 0)
			sched_yield();
		if (round == 1)
			end = vms_now() + STALL_MS;
	} while (left && (round % 1024 || vms_now() < end));
	/* All were given back, so all that were delivered are there. */
	for (i = 0; i < n_streams; i++)
		pump(&s[i], until[i], false);
	if (left)
		printf("--- stopped after %llu of %llu frames\n", (unsigned long long)s->sent,
		       (unsigned long long)until[0]);
	return !left;
}

/* What a port's counters have to be. */
struct books {
	const char *port;
	uint64_t in, in_len, out, out_len;
	uint64_t queue_full, not_running, bad_source;
};

static bool is_even(const struct books *b, bool say)
{
	struct vxs_port_stats s;
	bool even;

	if (!vms_stats(b->port, &s))
		return false;
	even = s.in_frames == b->in && s.in_bytes == b->in * b->in_len && s.out_frames == b->out &&
	       s.out_bytes == b->out * b->out_len && s.drops.queue_full == b->queue_full &&
	       s.drops.not_running == b->not_running && s.drops.bad_source == b->bad_source &&
	       vms_drops(&s) == b->queue_full + b->not_running + b->bad_source;
	if (!even && say)
		printf("--- %s: in %llu/%llu (is %llu/%llu) out %llu/%llu (is %llu/%llu) queue_full"
		       " %llu (is %llu) not_running %llu (is %llu) bad_source %llu (is %llu),"
		       " all drops %llu\n",
		       b->port, (unsigned long long)b->in, (unsigned long long)(b->in * b->in_len),
		       s.in_frames, s.in_bytes, (unsigned long long)b->out,
		       (unsigned long long)(b->out * b->out_len), s.out_frames, s.out_bytes,
		       (unsigned long long)b->queue_full, s.drops.queue_full,
		       (unsigned long long)b->not_running, s.drops.not_running,
		       (unsigned long long)b->bad_source, s.drops.bad_source,
		       (unsigned long long)vms_drops(&s));
	return even;
}

static bool are_even(void *books)
{
	const struct books *b = books;
	bool even = true;

	for (; b->port; b++)
		even &= is_even(b, false);
	return even;
}

static void check_books(struct books *books)
{
	struct books *b;

	/* All frames were given back, but perhaps not counted at this very moment. */
	if (check_until(are_even, books, 2000))
		return;
	for (b = books; b->port; b++)
		CU_ASSERT(is_even(b, true));
}

#define LEN_A 64
#define LEN_B 1514
#define LEN_C 300

#define PORTS_ONE                                                                                  \
	VMS_PORT("a", "61")                                                                        \
	VMS_PORT("b", "62") VMS_PORT("c", "63") ",queues=2" VMS_PORT("d", "64")

/* One worker, @millions of frames from a to b in 20 parts. */
static void one_worker(bool bare, unsigned millions)
{
	struct stream ab = {}, ba = {}, c[2] = {};
	struct fake_vm *vm_c;
	struct books books[5] = {};
	uint8_t *bad;
	unsigned i;
	bool ok;

	if (!vms_start("--poll adaptive" PORTS_ONE, bare))
		return;
	ab.from = ba.to = vm_open("a", 1, 'b', LEN_A, LEN_B);
	ba.from = ab.to = vm_open("b", 1, 'a', LEN_B, LEN_A);
	vm_c = c[0].from = c[1].from = vm_open("c", 2, 'd', LEN_C, LEN_C);
	c[1].pair = 1;
	ok = ab.from && ba.from && vm_c;
	for (i = 0; ok && i < RING; i++) {
		bad = vm_c->vq[3].buffers + (size_t)i * vm_c->vq[3].stride + vm_c->hdr_len;
		bad[6] = 3; /* pair 1 sends from a multicast address */
	}
	for (i = 0; ok && i < 20; i++) {
		ok = carry(&ab, 1, millions * MILLION / 20, false) &&
		     carry(&ab, 1, DEAF + i, true) && carry(&ba, 1, MILLION / 20, false) &&
		     carry(&ba, 1, DEAF - i, true) && carry(c, 2, MILLION / 100, false);
	}
	CU_ASSERT(ok);
	CU_ASSERT(ab.sent >= millions * MILLION && ab.got < ab.sent && ba.got < ba.sent);
	books[0] = (struct books){.port = "a",
				  .in = ab.sent,
				  .in_len = LEN_A,
				  .out = ba.got,
				  .out_len = LEN_B,
				  .queue_full = ba.sent - ba.got};
	books[1] = (struct books){.port = "b",
				  .in = ba.sent,
				  .in_len = LEN_B,
				  .out = ab.got,
				  .out_len = LEN_A,
				  .queue_full = ab.sent - ab.got};
	books[2] = (struct books){
		.port = "c", .in = c[0].sent + c[1].sent, .in_len = LEN_C, .bad_source = c[1].sent};
	books[3] = (struct books){.port = "d", .not_running = c[0].sent};
	check_books(books);
	fake_vm_close(ab.from);
	fake_vm_close(ba.from);
	fake_vm_close(vm_c);
	vms_stop();
}

/* Whether the switch keeps its counters in BPF maps. */
static bool has_maps(void)
{
	struct json_object *o = child_ctl(&vxsd, "status", NULL);
	bool has = vms_member(o, "maps") != NULL;

	json_object_put(o);
	return has;
}

static void probe(bool bare, bool *maps)
{
	if (!vms_start("--poll interrupt", bare))
		return;
	*maps = has_maps();
	vms_stop();
}

static void test_plain(void)
{
	bool maps = true;

	probe(true, &maps);
	if (maps)
		check_skip("the kernel lets anybody have BPF maps");
	else
		one_worker(true, 100);
}

static void test_bpf(void)
{
	bool maps = false;

	probe(false, &maps);
	if (!maps)
		check_skip("needs root and /sys/fs/bpf, for BPF maps");
	else
		one_worker(false, 20);
}

/* Two workers count into the same ports, in and out, at the same time. */
static void test_workers(void)
{
	struct stream s[4] = {};
	struct books books[3] = {};
	struct fake_vm *a, *b;
	unsigned i;
	bool ok;

	if (!vms_start("--cpus 0,1 --poll adaptive" VMS_PORT("a", "61") ",queues=2" VMS_PORT(
			       "b", "62") ",queues=2",
		       false))
		return;
	a = vm_open("a", 2, 'b', LEN_A, LEN_C);
	b = vm_open("b", 2, 'a', LEN_C, LEN_A);
	ok = a && b;
	for (i = 0; i < 4; i++)
		s[i] = (struct stream){.from = i & 1 ? b : a, .to = i & 1 ? a : b, .pair = i / 2};
	CU_ASSERT_NOT_EQUAL(vms_worker("a", 0), vms_worker("a", 1));
	CU_ASSERT_NOT_EQUAL(vms_worker("b", 0), vms_worker("b", 1));
	for (i = 0; ok && i < 10; i++)
		ok = carry(s, 4, MILLION / 4, false) && carry(s, 4, DEAF, true);
	CU_ASSERT(ok);
	for (i = 0; i < 2; i++) {
		/* streams 0 and 2 are a's, 1 and 3 b's */
		const struct stream *to = &s[i], *from = &s[!i];

		books[i] = (struct books){.port = i ? "b" : "a",
					  .in = to[0].sent + to[2].sent,
					  .in_len = i ? LEN_C : LEN_A,
					  .out = from[0].got + from[2].got,
					  .out_len = i ? LEN_A : LEN_C};
		books[i].queue_full = from[0].sent + from[2].sent - books[i].out;
	}
	check_books(books);
	fake_vm_close(a);
	fake_vm_close(b);
	vms_stop();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"plain", test_plain},
		{"bpf", test_bpf},
		{"workers", test_workers},
		{},
	};

	return check_main("counters", tests, argc, argv);
}
