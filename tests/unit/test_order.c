/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Order within a flow over two workers: nothing swapped, doubled or lost on the way to one VM. */
#include <errno.h>
#include <sched.h>

#include "mark.h"
#include "vms.h"

/*
 *	worker 0   a/0, b  ┐
 *	                   ├ d (one or two receive queues)
 *	worker 1   a/1, c  ┘
 *
 * Four transmit queues with FLOWS numbered flows in each, all sent as fast as they are taken. No
 * more frames are out than d has buffers for, so none may be lost: they meet at d's lock at most.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FRAMES 2000 /* of one flow */
#else
#define FRAMES 12000
#endif
#define SOURCES  4
#define FLOWS    (MARK_FLOWS / SOURCES) /* of one source */
#define TOTAL    (SOURCES * FLOWS * FRAMES)
#define BURST    32
#define D_RING   1024
#define STALL_MS 20000

struct source {
	struct fake_vm *vm;
	char name;
	unsigned pair;
	unsigned sent; /* frames, over all its flows by turns */
	uint32_t mix;  /* pseudo-random: which flow is next */
	uint32_t next[FLOWS];
};

static struct source source[SOURCES];
static struct fake_vm *d;
static struct inbox in;

/* The next frame of a source: of any of its flows that is not at its end. */
static size_t next_frame(struct source *s, uint8_t *frame)
{
	struct mark m = {.flow = s->mix >> 16 & (FLOWS - 1)};
	size_t len;

	s->mix = s->mix * 1664525 + 1013904223;
	while (s->next[m.flow] == FRAMES)
		m.flow = (m.flow + 1) % FLOWS;
	m.seq = s->next[m.flow]++;
	m.flow += (s - source) * FLOWS;
	vms_mac('d', m.dst);
	vms_mac(s->name, m.src);
	len = 60 + m.seq % 5 * 90;
	mark_write(frame, len, &m);
	s->sent++;
	return len;
}

/* A burst of what is still to be sent; -errno if the switch broke a rule. */
static int push(struct source *s)
{
	static uint8_t frame[BURST][512];
	struct fake_vm_frame many[BURST];
	unsigned i, n = 0;
	int out = fake_vm_reclaim(s->vm, s->pair);

	if (out < 0)
		return out;
	for (; n < BURST && out + n < s->vm->opt.ring_size && s->sent < FLOWS * FRAMES; n++) {
		many[n].len = next_frame(s, frame[n]);
		many[n].data = frame[n];
	}
	if (!n)
		return 0;
	i = fake_vm_send_batch(s->vm, s->pair, many, n);
	return i == n ? 0 : -EBADMSG;
}

/* Enters all that d has; false if the switch broke a rule. */
static bool drain(void)
{
	uint8_t frame[2048];
	unsigned pair;
	int len;

	for (pair = 0; pair < d->opt.pairs; pair++) {
		while ((len = fake_vm_recv(d, pair, frame, sizeof(frame))) > 0)
			inbox_put(&in, frame, len);
		if (len < 0)
			return false;
	}
	return true;
}

static bool carry(void)
{
	unsigned long long end = vms_now() + STALL_MS;
	unsigned i, sent = 0, was, idle = 0;
	bool ok = true;

	while (ok && in.n < TOTAL) {
		was = in.n;
		for (i = 0; ok && i < SOURCES; i++) {
			if (sent - in.n <= D_RING / 2 - BURST) {
				sent -= source[i].sent;
				ok = !push(&source[i]);
				sent += source[i].sent;
			}
			ok = ok && drain();
		}
		if (in.n != was) {
			idle = 0;
			end = vms_now() + STALL_MS;
		} else if (++idle % 16 == 0) {
			sched_yield();
			if (vms_now() > end)
				break;
		}
	}
	for (i = 0; i < SOURCES; i++)
		if (fake_vm_error(source[i].vm)[0])
			printf("--- %c: %s\n", source[i].name, fake_vm_error(source[i].vm));
	if (fake_vm_error(d)[0])
		printf("--- d: %s\n", fake_vm_error(d));
	return ok;
}

static bool open_all(unsigned d_pairs)
{
	const struct fake_vm_options one = {.ring_size = 256};
	const struct fake_vm_options two = {
		.ring_size = 256, .pairs = 2, .features = FAKE_VM_ALL | FAKE_VM_MQ};
	const struct fake_vm_options to = {
		.ring_size = D_RING, .pairs = d_pairs, .features = FAKE_VM_ALL | FAKE_VM_MQ};
	struct fake_vm *a = vms_join("a", &two), *b = vms_join("b", &one);
	struct fake_vm *c = vms_join("c", &one);

	d = vms_join("d", &to);
	source[0] = (struct source){.vm = a, .name = 'a', .mix = 1};
	source[1] = (struct source){.vm = a, .name = 'a', .pair = 1, .mix = 2};
	source[2] = (struct source){.vm = b, .name = 'b', .mix = 3};
	source[3] = (struct source){.vm = c, .name = 'c', .mix = 4};
	return a && b && c && d && !inbox_open(&in);
}

static void check_all(void)
{
	struct vxs_port_stats s;
	unsigned i;

	for (i = 0; i < MARK_FLOWS; i++)
		CU_ASSERT_EQUAL(in.flow[i], FRAMES);
	CU_ASSERT_EQUAL(in.n, TOTAL);
	CU_ASSERT_EQUAL(in.foreign, 0);
	if (!inbox_clean(&in))
		printf("--- %u bad, %u twice, %u swapped of %u\n", in.bad, in.twice, in.swapped,
		       in.n);
	CU_ASSERT(inbox_clean(&in));
	CU_ASSERT(vms_stats("d", &s));
	CU_ASSERT_EQUAL(s.out_frames, TOTAL);
	CU_ASSERT_EQUAL(vms_drops(&s), 0);
}

static void order(const char *words, unsigned d_pairs)
{
	if (!vms_start(words, false))
		return;
	if (open_all(d_pairs)) {
		/* the picture above */
		CU_ASSERT_NOT_EQUAL(vms_worker("a", 0), vms_worker("a", 1));
		CU_ASSERT_NOT_EQUAL(vms_worker("b", 0), vms_worker("c", 0));
		CU_ASSERT(carry());
		check_all();
	} else {
		CU_FAIL("not everybody is there");
	}
	inbox_close(&in);
	fake_vm_close(source[0].vm);
	fake_vm_close(source[2].vm);
	fake_vm_close(source[3].vm);
	fake_vm_close(d);
	vms_stop();
}

#define SENDERS                                                                                    \
	VMS_PORT("a", "61")                                                                        \
	",queues=2" VMS_PORT("b", "62") VMS_PORT("c", "63") VMS_PORT("d", "6"                      \
									  "4")

static void test_one_queue(void)
{
	order("--cpus 0,1 --poll adaptive" SENDERS, 1);
}

static void test_two_queues(void)
{
	order("--cpus 0,1 --poll adaptive" SENDERS ",queues=2", 2);
}

/* Workers that sleep between two batches: more of them are on the way at once. */
static void test_sleepy(void)
{
	order("--cpus 0,1 --poll interrupt" SENDERS ",queues=2", 2);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"one_queue", test_one_queue},
		{"two_queues", test_two_queues},
		{"sleepy", test_sleepy},
		{},
	};

	return check_main("order", tests, argc, argv);
}
