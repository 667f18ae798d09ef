/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A flooding VM takes no more than its share of a worker's rounds: a batch between two of others.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "switch/batch.h"
#include "vms.h"

/*
 * VM f floods, VMs 1 to 3 ("g") also send, all to VM d, in whose one receive queue the frames lie
 * in the order in which the only worker took them. That order is what is looked at: no clock, no
 * rate. So that all have their frames ready at the same moment, the switch is stopped (SIGSTOP)
 * while the rings are filled: what is in them then is the same as what arrives at full rate, for
 * RING / BATCH_FRAMES rounds.
 *
 * The worker may have been stopped in the middle of a round, so all bounds have a round of slack.
 * It sleeps when there is nothing (--poll interrupt): one that polls would look at queues that were
 * idle for 256 rounds only when they have kicked, which is a test of its own, the last one.
 */
#define SLEEPS " --poll interrupt"
#define RING   4096
#define BIG    32768 /* the receiver's, with room for all */
#define LEN    60
#define VMS_G  3

static const char *const g_name[VMS_G] = {"1", "2", "3"};

#define PORTS " --vm f --vm 1 --vm 2 --vm 3" VMS_PORT("d", "64")

static struct fake_vm *f, *g[VMS_G], *d;

/* The senders in the order in which their frames came to d: their names. */
static char *order;
static unsigned n_order;

static bool open_all(const char *words, unsigned ring_f)
{
	const struct fake_vm_options flood = {
		.ring_size = ring_f, .send_size = 128, .recv_buffers = 16, .extra = 1 << 20};
	const struct fake_vm_options some = {
		.ring_size = RING, .send_size = 128, .recv_buffers = 16};
	const struct fake_vm_options to = {.ring_size = BIG, .buffer_size = 128, .send_size = 128};
	unsigned i;
	bool ok;

	if (!vms_start(words, false))
		return false;
	order = malloc(1 << 22);
	n_order = 0;
	f = vms_join("f", &flood);
	d = vms_join("d", &to);
	ok = order && f && d;
	for (i = 0; i < VMS_G; i++) {
		g[i] = vms_join(g_name[i], &some);
		ok = ok && g[i];
	}
	if (!ok)
		CU_FAIL("not everybody is there");
	return ok;
}

static void close_all(void)
{
	unsigned i;

	fake_vm_close(f);
	fake_vm_close(d);
	for (i = 0; i < VMS_G; i++)
		fake_vm_close(g[i]);
	f = d = g[0] = g[1] = g[2] = NULL;
	free(order);
	order = NULL;
	vms_stop();
}

/* Stops all threads of the switch; when it returns, none runs any more. */
static void halt(void)
{
	int status;

	CU_ASSERT_EQUAL_FATAL(kill(vxsd.pid, SIGSTOP), 0);
	CU_ASSERT_EQUAL_FATAL(waitpid(vxsd.pid, &status, WUNTRACED), vxsd.pid);
	CU_ASSERT_FATAL(WIFSTOPPED(status));
}

static void go_on(void)
{
	CU_ASSERT_EQUAL(kill(vxsd.pid, SIGCONT), 0);
}

static void make_frame(uint8_t frame[LEN], char from, char to)
{
	memset(frame, 0, LEN);
	vms_mac(to, frame);
	if (!to)
		memset(frame, 0xff, 6);
	vms_mac(from, frame + 6);
}

/* @to: a VM's name, or 0 for everybody. */
static void fill(struct fake_vm *vm, char from, char to, unsigned n)
{
	uint8_t frame[LEN];
	unsigned i;
	int err = 0;

	make_frame(frame, from, to);
	for (i = 0; i < n && !err; i++)
		err = fake_vm_send(vm, 0, frame, LEN);
	CU_ASSERT_EQUAL(err, 0);
}

/* Takes what came to d; false if the switch broke a rule. */
static bool drain(void)
{
	uint8_t frame[256];
	int len;

	while ((len = fake_vm_recv(d, 0, frame, sizeof(frame))) > 0)
		if (n_order < 1 << 22)
			order[n_order++] = frame[11];
	return !len;
}

static bool has_come(void *n)
{
	return !drain() || n_order >= *(unsigned *)n;
}

static bool wait_for(unsigned n)
{
	bool ok = check_until(has_come, &n, VMS_WAIT) && n_order >= n;

	if (!ok)
		printf("--- %u of %u frames: %s\n", n_order, n, fake_vm_error(d));
	return ok;
}

/* How many frames of @from are among the first @n. */
static unsigned count(char from, unsigned n)
{
	unsigned i, sum = 0;

	for (i = 0; i < n && i < n_order; i++)
		sum += order[i] == from;
	return sum;
}

/* Where the last frame of @from stands; the number of frames before it. */
static unsigned last(char from)
{
	unsigned i, at = 0;

	for (i = 0; i < n_order; i++)
		if (order[i] == from)
			at = i;
	return at;
}

/* At every moment until the frames of the first of them are used up, nobody is ahead by more than
 * @most. */
static bool is_even(unsigned most)
{
	unsigned sum[4] = {}, i, k, low, high;
	const char *who = "f123", *at;

	for (i = 0; i < n_order; i++) {
		at = strchr(who, order[i]);
		if (!at)
			return false;
		sum[at - who]++;
		low = high = sum[0];
		for (k = 1; k < 4; k++) {
			low = sum[k] < low ? sum[k] : low;
			high = sum[k] > high ? sum[k] : high;
		}
		if (high - low > most) {
			printf("--- after %u frames: %u, %u, %u, %u\n", i + 1, sum[0], sum[1],
			       sum[2], sum[3]);
			return false;
		}
		if (high == RING)
			return true;
	}
	return true;
}

/* All offer as much as they can: all get the same. */
static void test_equal(void)
{
	unsigned i;

	if (open_all(PORTS SLEEPS, RING)) {
		halt();
		fill(f, 'f', 'd', RING);
		for (i = 0; i < VMS_G; i++)
			fill(g[i], *g_name[i], 'd', RING);
		go_on();
		CU_ASSERT(wait_for(4 * RING));
		CU_ASSERT(is_even(2 * BATCH_FRAMES));
	}
	close_all();
}

/*
 * f floods, the others send little: what a round finds of theirs goes with it, and what is more
 * than a batch with the rounds after it, one batch of f's for each.
 */
static void few_beside(char flood_to, unsigned each)
{
	unsigned i, rounds = (each + BATCH_FRAMES - 1) / BATCH_FRAMES;

	halt();
	n_order = 0;
	fill(f, 'f', flood_to, RING);
	for (i = 0; i < VMS_G; i++)
		fill(g[i], *g_name[i], 'd', each);
	go_on();
	CU_ASSERT(wait_for(RING + VMS_G * each));
	for (i = 0; i < VMS_G; i++) {
		unsigned ahead = count('f', last(*g_name[i]));

		CU_ASSERT_EQUAL(count(*g_name[i], n_order), each);
		if (ahead > (rounds + 1) * BATCH_FRAMES)
			printf("--- %u frames of f before the last of %u of %s\n", ahead, each,
			       g_name[i]);
		CU_ASSERT(ahead <= (rounds + 1) * BATCH_FRAMES);
	}
}

static void test_few(void)
{
	if (open_all(PORTS SLEEPS, RING)) {
		few_beside('d', 1);
		few_beside('d', BATCH_FRAMES);
		few_beside('d', 5 * BATCH_FRAMES + 1);
	}
	close_all();
}

/* Each frame of f goes to everybody; the others offer 16 buffers, so nearly all are dropped. */
static void test_broadcast(void)
{
	struct vxs_port_stats s;

	if (open_all(PORTS SLEEPS, RING)) {
		few_beside(0, 1);
		few_beside(0, 3 * BATCH_FRAMES);
		CU_ASSERT(vms_stats("1", &s));
		CU_ASSERT_EQUAL(s.out_frames, 16);
		CU_ASSERT_EQUAL(s.drops.queue_full, 2 * RING - 16);
	}
	close_all();
}

/*
 * Half of what f sends is for a VM that takes nothing. That half is dropped; the other half and the
 * others' frames arrive as if it weren't there.
 */
static void test_deaf(void)
{
	struct vxs_port_stats s;
	unsigned i;

	if (open_all(PORTS SLEEPS " --vm s,mac=02:00:00:00:00:73", RING)) {
		const struct fake_vm_options few = {.recv_buffers = 16};
		struct fake_vm *deaf = vms_join("s", &few);

		halt();
		for (i = 0; i < RING; i++)
			fill(f, 'f', i & 1 ? 's' : 'd', 1);
		for (i = 0; i < VMS_G; i++)
			fill(g[i], *g_name[i], i ? 'd' : 's', 4 * BATCH_FRAMES);
		go_on();
		CU_ASSERT(wait_for(RING / 2 + 2 * 4 * BATCH_FRAMES));
		for (i = 1; i < VMS_G; i++)
			CU_ASSERT(count('f', last(*g_name[i])) <= 5 * BATCH_FRAMES / 2);
		CU_ASSERT_EQUAL(fake_vm_flush(f, 0, VMS_WAIT), 0);
		CU_ASSERT_EQUAL(fake_vm_flush(g[0], 0, VMS_WAIT), 0);
		CU_ASSERT(vms_stats("s", &s));
		CU_ASSERT_EQUAL(s.out_frames, 16);
		CU_ASSERT_EQUAL(s.drops.queue_full, RING / 2 + 4 * BATCH_FRAMES - 16);
		fake_vm_close(deaf);
	}
	close_all();
}

/*
 * f makes work: each of its frames is a chain of 1,024 descriptors, of which all but one are of no
 * bytes. A round gets through four of them, and the others have a batch each in the same time.
 */
#define HOSTILE   500
#define TABLE     1024
#define PER_ROUND 5 /* 4,096 descriptors are over before the fifth, or with it */

static void offer_hostile(void)
{
	struct vring_desc *table = fake_vm_extra(f);
	uint8_t *bytes = (uint8_t *)(table + TABLE);
	uint64_t at = f->extra_gpa + TABLE * sizeof(*table);
	unsigned i;

	memset(bytes, 0, f->hdr_len);
	make_frame(bytes + f->hdr_len, 'f', 'd');
	for (i = 0; i < TABLE; i++)
		table[i] = (struct vring_desc){
			.addr = at,
			.len = i + 1 < TABLE ? 0 : f->hdr_len + LEN,
			.flags = i + 1 < TABLE ? VRING_DESC_F_NEXT : 0,
			.next = i + 1 < TABLE ? i + 1 : 0,
		};
	for (i = 0; i < HOSTILE; i++) {
		fake_vm_set_desc(f, 1, i, f->extra_gpa, TABLE * sizeof(*table),
				 VRING_DESC_F_INDIRECT, 0);
		fake_vm_offer(f, 1, i);
	}
}

static void test_slow_chains(void)
{
	unsigned i, rounds = RING / BATCH_FRAMES, ahead;

	if (open_all(PORTS SLEEPS, RING)) {
		halt();
		offer_hostile();
		for (i = 0; i < VMS_G; i++)
			fill(g[i], *g_name[i], 'd', RING);
		go_on();
		CU_ASSERT(wait_for(HOSTILE + VMS_G * RING));
		CU_ASSERT_EQUAL(count('f', n_order), HOSTILE);
		for (i = 0; i < VMS_G; i++) {
			ahead = count('f', last(*g_name[i]));
			if (ahead > PER_ROUND * (rounds + 1))
				printf("--- %u slow frames in %u rounds\n", ahead, rounds);
			CU_ASSERT(ahead <= PER_ROUND * (rounds + 1));
		}
	}
	close_all();
}

/*
 * Without stopping anything: f's ring is never empty, and VM 1 sends one frame at a time. Between
 * what f had given back right after that frame was offered and the frame itself is a batch that was
 * on its way, and one for each round until the worker looks who has kicked: LOOK at most, if the
 * queue was idle for IDLE rounds (worker.c), as it is before one of ten.
 */
#define LOOK        256
#define IDLE        256
#define SINGLES     100
#define SINGLES_MIN 20 /* on a machine that has other work */
#define OUT_MAX     16384

static struct {
	unsigned offered, seen; /* frames of 1 */
	unsigned sent, came;    /* of f */
	unsigned given_back;    /* of f when the last one of 1 was offered */
	unsigned came_then;     /* of f when it came */
	unsigned most;          /* of f before one of 1 */
} flow;

/* Keeps f's ring full; d always has room for all that is out. */
static bool flood(void)
{
	struct fake_vm_frame many[64];
	uint8_t frame[LEN];
	unsigned i;
	int n = 1;

	make_frame(frame, 'f', 'd');
	for (i = 0; i < 64; i++)
		many[i] = (struct fake_vm_frame){frame, LEN};
	while (n > 0 && flow.sent - flow.came < OUT_MAX) {
		n = fake_vm_send_batch(f, 0, many, 64);
		flow.sent += n > 0 ? n : 0;
	}
	return n >= 0;
}

static bool offer_one(void)
{
	unsigned pause = flow.offered % 10 ? 0 : (IDLE + LOOK) * BATCH_FRAMES;
	uint8_t frame[LEN];
	int n;

	if (flow.offered != flow.seen || flow.came - flow.came_then < pause)
		return true;
	make_frame(frame, '1', 'd');
	if (fake_vm_send(g[0], 0, frame, LEN))
		return false;
	n = fake_vm_reclaim(f, 0);
	flow.given_back = flow.sent - n;
	flow.offered++;
	return n >= 0;
}

static bool take_all(void)
{
	unsigned i;

	n_order = 0;
	if (!drain())
		return false;
	for (i = 0; i < n_order; i++) {
		if (order[i] == 'f') {
			flow.came++;
			continue;
		}
		flow.seen++;
		flow.came_then = flow.came;
		if (flow.came > flow.given_back && flow.came - flow.given_back > flow.most)
			flow.most = flow.came - flow.given_back;
	}
	return true;
}

static void test_one_at_a_time(void)
{
	unsigned long long end = vms_now() + VMS_WAIT / 4;
	bool ok = open_all(PORTS " --poll busy", BIG);

	memset(&flow, 0, sizeof(flow));
	while (ok && flow.seen < (vms_now() < end ? SINGLES : SINGLES_MIN) &&
	       vms_now() < end + VMS_WAIT)
		ok = flood() && offer_one() && take_all();
	CU_ASSERT(ok);
	CU_ASSERT(flow.seen >= SINGLES_MIN);
	if (flow.most > (LOOK + 2) * BATCH_FRAMES)
		printf("--- %u frames of f before one of 1\n", flow.most);
	CU_ASSERT(flow.most <= (LOOK + 2) * BATCH_FRAMES);
	close_all();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"equal", test_equal},
		{"few", test_few},
		{"broadcast", test_broadcast},
		{"deaf", test_deaf},
		{"slow_chains", test_slow_chains},
		{"one_at_a_time", test_one_at_a_time},
		{},
	};

	return check_main("fairness", tests, argc, argv);
}
