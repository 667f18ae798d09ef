/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A back-end dies after each single instruction of a batch: the next one goes on with the ring. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "check.h"
#include "switch/frame.h"
#include "vm/vq_journal.h"
#include "vxs_bpf.h"

/*
 * A child does one batch on memory that it shares with us, instruction by instruction. Whenever
 * that has changed the ring or its journal, a copy of it is what would be left if the child died
 * now: a successor takes the copy over, uses all buffers that it finds, and a driver looks at them.
 */
#define SIZE    8 /* descriptors */
#define BUFFER  2048
#define HDR     12
#define SHORT   60   /* bytes of the frames that the child delivers, */
#define LONG    1000 /* and its successor, who needs buffers as they were offered */
#define STEPS   2000000
#define FEATURE (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED)
#define MRG     (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define ORDERED (1ull << VIRTIO_F_IN_ORDER)

struct memory {
	struct vring_packed_desc ring[SIZE];
	struct vring_packed_desc_event driver, device;
	struct vu_inflight_packed journal;
	struct vu_inflight_packed_desc desc[SIZE];
	uint8_t buffer[SIZE][BUFFER];
};
#define WATCHED offsetof(struct memory, buffer)

static struct scene {
	const char *name;
	uint64_t features;
	bool in;             /* a transmit queue */
	struct place start;  /* where the ring stands, */
	unsigned n, pieces;  /* with so many buffers, of so many descriptors each */
	unsigned room;       /* bytes of a descriptor */
	unsigned frames;     /* of the batch that the child delivers */
	unsigned len, again; /* their bytes, and those of its successor's */
} scene;

static struct memory *shared, *copy;
static struct vxs_port_stats stats;
static struct batch batch;

static struct place behind(struct place p, unsigned n)
{
	return p.at + n < SIZE ? (struct place){p.at + n, p.wrap}
			       : (struct place){p.at + n - SIZE, !p.wrap};
}

static void set_up(struct memory *m)
{
	struct place p = scene.start;
	unsigned i, k;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < SIZE; i++) /* as left by the last lap */
		m->ring[i].flags = flags_used((i < p.at) == p.wrap);
	for (i = 0; i < scene.n; i++) {
		for (k = 0; k < scene.pieces; k++, p = behind(p, 1)) {
			struct vring_packed_desc *d = &m->ring[p.at];

			d->addr = (uintptr_t)m->buffer[p.at] - (uintptr_t)m;
			d->len = scene.room;
			d->id = k + 1 < scene.pieces ? 0xdead : i;
			d->flags = flags_avail(p.wrap) | (scene.in ? 0 : VRING_DESC_F_WRITE) |
				   (k + 1 < scene.pieces ? VRING_DESC_F_NEXT : 0);
		}
	}
}

static struct vq *attach(struct memory *m, struct vu_mem *mem, bool resume)
{
	uint64_t at = (uintptr_t)m;
	uint32_t half = scene.start.at | (scene.start.wrap ? 0x8000 : 0);
	struct vq_setup setup = {
		.mem = mem,
		.desc_uva = (uintptr_t)m->ring,
		.avail_uva = (uintptr_t)&m->driver,
		.used_uva = (uintptr_t)&m->device,
		.size = SIZE,
		.base = half | half << 16,
		.features = scene.features,
		.enabled = true,
		.call_fd = -1,
		.journal = &m->journal,
		.resume = resume,
	};
	struct vq *q = NULL;

	*mem = (struct vu_mem){.n = 1,
			       .region = {{0, at, sizeof(*m), (uint8_t *)m, m, sizeof(*m)}}};
	if (resume) /* what the front-end says is not what counts */
		setup.base = 0x80018001;
	CU_ASSERT_EQUAL_FATAL(vq_new(&q, &setup), 0);
	return q;
}

/* Frames of @len bytes, @n of them, to a receive queue. */
static unsigned put(struct vq *q, unsigned n, unsigned len)
{
	static const uint8_t bytes[BUFFER];
	uint16_t which[SIZE];
	unsigned i;

	memset(&batch, 0, offsetof(struct batch, frame));
	batch.n = n;
	for (i = 0; i < n; i++) {
		which[i] = i;
		batch.frame[i] = (struct frame){
			.len = len, .piece = i, .shape = {.n_pieces = 1, .head_len = FRAME_HEAD}};
		batch.piece[i] = (struct piece){bytes, len - FRAME_HEAD};
	}
	return vq_packed_out(q, &stats, &batch, which, n);
}

static void take(struct vq *q)
{
	if (vq_packed_in(q, &stats, &batch))
		vq_packed_done(q);
}

static void do_batch(struct vq *q)
{
	if (scene.in)
		take(q);
	else
		put(q, scene.frames, scene.len);
}

static void child(void)
{
	struct vu_mem mem;
	struct vq *q = attach(shared, &mem, false);

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	do_batch(q);
	raise(SIGUSR1);
	_exit(0);
}

/* Every buffer was used, once, in order; of receive queues: with lengths of one or the other. */
static const char *drive(const struct memory *m, unsigned *by_child)
{
	struct place p = scene.start;
	unsigned i, left = 0;

	*by_child = 0;
	for (i = 0; i < scene.n; i++, p = behind(p, scene.pieces)) {
		const struct vring_packed_desc *d = &m->ring[p.at];

		if (left) { /* in order: one entry told of several */
			left--;
			continue;
		}
		if ((d->flags & (PACKED_AVAIL | PACKED_USED)) != flags_used(p.wrap))
			return "a buffer was not used";
		if (scene.features & ORDERED)
			left = d->id - i;
		else if (d->id != i)
			return "not the buffer that it is";
		if (scene.in)
			continue;
		if (d->len == (scene.len < scene.room ? scene.len + HDR : scene.room))
			++*by_child;
		else if (d->len != (scene.again < scene.room ? scene.again + HDR : scene.room))
			return "a length of neither";
		else if (scene.len == scene.again)
			++*by_child;
	}
	if (left)
		return "more than there were";
	p = behind(scene.start, scene.n * scene.pieces);
	if (scene.n * scene.pieces < SIZE &&
	    (m->ring[p.at].flags & (PACKED_AVAIL | PACKED_USED)) == flags_used(p.wrap))
		return "more buffers than there were";
	return NULL;
}

/* What the successor makes of it. */
static const char *take_over(unsigned *by_child)
{
	struct vu_mem mem;
	struct place end;
	const char *wrong;
	struct vq *q;

	memcpy(copy, shared, sizeof(*copy));
	q = attach(copy, &mem, true);
	if (scene.in)
		take(q);
	else
		put(q, SIZE, scene.again);
	if (q->broken)
		wrong = vq_broken_text(q->broken);
	else
		wrong = drive(copy, by_child);
	end = behind(scene.start, scene.n * scene.pieces);
	if (!wrong && (q->used_at != end.at || q->used_wrap != end.wrap))
		wrong = "it stands elsewhere than the driver";
	vq_free(q);
	return wrong;
}

static void run_scene(struct scene s)
{
	static struct memory was;
	unsigned looks = 0, steps = 0, by_child, none = 0, all = 0;
	const char *wrong = NULL;
	int status;
	pid_t pid;

	scene = s;
	set_up(shared);
	pid = fork();
	if (!pid)
		child();
	CU_ASSERT_FATAL(pid > 0);
	waitpid(pid, &status, 0);
	CU_ASSERT_FATAL(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	memset(&was, 0xff, sizeof(was));
	while (WIFSTOPPED(status) && WSTOPSIG(status) != SIGUSR1 && steps++ < STEPS && !wrong) {
		if (memcmp(&was, shared, WATCHED)) {
			memcpy(&was, shared, WATCHED);
			wrong = take_over(&by_child);
			looks++;
			none += !by_child;
			all += !!by_child;
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid)
			break;
	}
	if (wrong || getenv("VERBOSE"))
		printf("--- %s: %u moments in %u instructions (%u before, %u after): %s\n", s.name,
		       looks, steps, none, all, wrong ? wrong : "fine");
	CU_ASSERT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1);
	CU_ASSERT_PTR_NULL(wrong);
	/* the place, what was saved, the ring, the place behind it, the flags, and the end of it */
	CU_ASSERT(looks > 6);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void test_out(void)
{
	run_scene((struct scene){.name = "one descriptor each",
				 .features = FEATURE,
				 .start = {0, true},
				 .n = 6,
				 .pieces = 1,
				 .room = BUFFER,
				 .frames = 4,
				 .len = SHORT,
				 .again = LONG});
	run_scene((struct scene){.name = "the ring's end in the middle",
				 .features = FEATURE,
				 .start = {6, true},
				 .n = 8,
				 .pieces = 1,
				 .room = BUFFER,
				 .frames = 4,
				 .len = SHORT,
				 .again = LONG});
	run_scene((struct scene){.name = "all of the ring",
				 .features = FEATURE,
				 .start = {5, false},
				 .n = 8,
				 .pieces = 1,
				 .room = BUFFER,
				 .frames = 8,
				 .len = SHORT,
				 .again = LONG});
	run_scene((struct scene){.name = "fewer buffers than frames",
				 .features = FEATURE,
				 .start = {7, false},
				 .n = 3,
				 .pieces = 1,
				 .room = BUFFER,
				 .frames = 7,
				 .len = SHORT,
				 .again = LONG});
}

static void test_chains(void)
{
	run_scene((struct scene){.name = "chains",
				 .features = FEATURE,
				 .start = {3, true},
				 .n = 3,
				 .pieces = 2,
				 .room = 1500,
				 .frames = 2,
				 .len = SHORT,
				 .again = LONG});
	run_scene((struct scene){.name = "frames of several buffers",
				 .features = FEATURE | MRG,
				 .start = {4, true},
				 .n = 8,
				 .pieces = 1,
				 .room = 256,
				 .frames = 2,
				 .len = 4 * 256 - HDR,
				 .again = 4 * 256 - HDR});
}

static void test_in(void)
{
	struct scene s = {.name = "from the guest",
			  .features = FEATURE,
			  .in = true,
			  .start = {6, true},
			  .n = 5,
			  .pieces = 1,
			  .room = 200};

	run_scene(s);
	s.name = "from the guest, chains";
	s.n = 3;
	s.pieces = 2;
	run_scene(s);
	s.name = "from the guest, in order";
	s.features |= ORDERED;
	run_scene(s);
	s.n = 8;
	s.pieces = 1;
	s.name = "from the guest, in order, all of the ring";
	run_scene(s);
}

/* Whatever a front-end has written there, it is the guest's ring alone that suffers. */
static void test_nonsense(void)
{
	static const struct vu_inflight_place place[] = {
		{.used = SIZE},      {.old_used = SIZE}, {.wrap = 2},          {.old_wrap = 0xff},
		{.saved = SIZE + 1}, {.used = 0xffff},   {.old_used = 0xffff},
	};
	struct vu_mem mem;
	struct vq *q;
	unsigned i;

	scene = (struct scene){.features = FEATURE, .start = {0, true}, .n = 1, .pieces = 1};
	for (i = 0; i < sizeof(place) / sizeof(place[0]); i++) {
		set_up(shared);
		shared->journal.version = VU_INFLIGHT_VERSION;
		shared->journal.desc_num = SIZE;
		shared->journal.place = place[i];
		q = attach(shared, &mem, true);
		CU_ASSERT_EQUAL(q->avail_at, 1); /* as the base says */
		CU_ASSERT(q->avail_wrap);
		vq_free(q);
	}
	set_up(shared);
	shared->journal.place = (struct vu_inflight_place){3, 3, 1, 1, 0};
	q = attach(shared, &mem, true);
	CU_ASSERT_EQUAL(q->avail_at, 1); /* nobody has used it: version 0 */
	vq_free(q);
	shared->journal.place = (struct vu_inflight_place){3, 3, 0, 0, 0};
	q = attach(shared, &mem, true);
	CU_ASSERT_EQUAL(q->avail_at, 3);
	CU_ASSERT(!q->avail_wrap);
	vq_free(q);
	shared->journal.desc_num = SIZE + 1; /* another ring's */
	q = attach(shared, &mem, true);
	CU_ASSERT_EQUAL(q->avail_at, 1);
	vq_free(q);
}

static const struct check tests[] = {
	{"killed while it delivers", test_out},
	{"killed while it delivers, several descriptors", test_chains},
	{"killed while it gives back", test_in},
	{"nonsense", test_nonsense},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	copy = mmap(NULL, sizeof(*copy), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || copy == MAP_FAILED)
		return 1;
	return check_main("journal", tests, argc, argv);
}
