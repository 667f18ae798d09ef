/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports and front-ends come and go at random while two pairs of VMs talk over two workers. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "mark.h"
#include "vms.h"

/*
 *	thread of its own:	a ⇄ b (two queue pairs each), c ⇄ d, on both workers
 *	main thread:		ports p0 to p3 and their front-ends, and the control socket
 *
 * The talkers lose nothing, and in the end the switch has the threads and file descriptors that it
 * had before. Races and leaks in it are for the sanitizers: vxsd itself then ends with an error.
 *
 * Each round of the main thread waits until all that the talkers had on their way has arrived: so
 * traffic runs in every state that there is, and no more frames of strangers come to a talker than
 * it has buffers for. SEED=N in the environment repeats what a failed run printed.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 300
#else
#define ROUNDS 500
#endif
#define TALKERS 4
#define GUESTS  4
#define BURST   8
#define PAIRS   2
#define STRANGE 0x88b6 /* Ethertype of the guests' frames: not one of mark.h's */

struct talker {
	struct fake_vm *vm;
	struct inbox in;
	char name;
	uint64_t sent;
};

static struct talker talker[TALKERS] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}};

static struct {
	pthread_t thread;
	bool end;      /* atomic: main says so */
	unsigned laps; /* atomic: all that was sent has arrived so often */
	bool failed;   /* atomic: and will not go on */
} talk;

struct guest {
	bool exists; /* its port */
	unsigned pairs;
	struct fake_vm *vm; /* runs; or NULL */
};

static struct guest guest[GUESTS];
static uint32_t mix;

static unsigned pick(unsigned n)
{
	mix = mix * 1664525 + 1013904223;
	return (mix >> 8) % n;
}

/* ---- the talkers' thread ---- */

static bool drain(struct talker *t)
{
	uint8_t frame[2048];
	unsigned pair;
	int len;

	for (pair = 0; pair < t->vm->opt.pairs; pair++) {
		while ((len = fake_vm_recv(t->vm, pair, frame, sizeof(frame))) > 0)
			inbox_put(&t->in, frame, len);
		if (len < 0)
			return false;
	}
	return true;
}

/* BURST frames on each queue pair to the other one of its couple; flow = queue pair. */
static bool push(struct talker *t, uint32_t seq)
{
	static uint8_t frame[BURST][256];
	struct fake_vm_frame many[BURST];
	struct mark m = {};
	unsigned i;

	vms_mac(talker[(t - talker) ^ 1].name, m.dst);
	vms_mac(t->name, m.src);
	for (m.flow = 0; m.flow < t->vm->opt.pairs; m.flow++) {
		for (i = 0; i < BURST; i++) {
			m.seq = seq + i;
			many[i] = (struct fake_vm_frame){frame[i], 60 + m.seq % 190};
			mark_write(frame[i], many[i].len, &m);
		}
		if (fake_vm_send_batch(t->vm, m.flow, many, BURST) != BURST)
			return false;
		t->sent += BURST;
	}
	return true;
}

static bool have_all(uint32_t seq)
{
	unsigned i, flow;

	for (i = 0; i < TALKERS; i++)
		for (flow = 0; flow < talker[i].vm->opt.pairs; flow++)
			if (talker[i].in.flow[flow] < seq)
				return false;
	return true;
}

static bool lap(uint32_t seq)
{
	unsigned long long end = vms_now() + VMS_WAIT;
	unsigned i;
	bool ok = true;

	for (i = 0; ok && i < TALKERS; i++)
		ok = push(&talker[i], seq);
	while (ok && !have_all(seq + BURST)) {
		for (i = 0; ok && i < TALKERS; i++)
			ok = drain(&talker[i]);
		if (vms_now() > end)
			return false;
		sched_yield();
	}
	return ok;
}

static void *talk_on(void *arg)
{
	uint32_t seq = 0;
	unsigned i;

	while (!__atomic_load_n(&talk.end, __ATOMIC_ACQUIRE)) {
		if (!lap(seq)) {
			__atomic_store_n(&talk.failed, true, __ATOMIC_RELEASE);
			break;
		}
		__atomic_fetch_add(&talk.laps, 1, __ATOMIC_RELEASE);
		seq += BURST;
		if (seq < MARK_SEQS)
			continue;
		/* from the beginning: with all that came so far the book is closed */
		seq = 0;
		for (i = 0; i < TALKERS; i++) {
			if (!inbox_clean(&talker[i].in))
				__atomic_store_n(&talk.failed, true, __ATOMIC_RELEASE);
			inbox_clear(&talker[i].in);
		}
	}
	return arg;
}

static bool next_lap(void *was)
{
	return __atomic_load_n(&talk.laps, __ATOMIC_ACQUIRE) >= *(unsigned *)was + 2 ||
	       __atomic_load_n(&talk.failed, __ATOMIC_ACQUIRE);
}

static bool is_talking(void)
{
	unsigned was = __atomic_load_n(&talk.laps, __ATOMIC_ACQUIRE);

	return check_until(next_lap, &was, VMS_WAIT) &&
	       !__atomic_load_n(&talk.failed, __ATOMIC_ACQUIRE);
}

/* ---- control ---- */

static bool look(int fd)
{
	static const char *const what[] = {"stats", "status", "ports", "fdb"};

	return vms_ask(fd, "{\"do\":\"%s\"}\n", what[pick(4)]);
}

/* Somebody asks and doesn't wait for the answer. */
static bool ask_and_leave(void)
{
	static const char text[] = "{\"do\":\"stats\"}\n{\"do\":\"fdb\"}\n{\"do\":";
	size_t len = pick(sizeof(text));
	int fd = vms_dial();
	bool ok;

	if (fd < 0)
		return false;
	ok = send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
	close(fd);
	return ok;
}

/* ---- guests that come and go ---- */

static void options_of(const struct guest *g, struct fake_vm_options *opt, char path[128])
{
	snprintf(path, 128, "%s/p%u.sock", vxsd.run_dir, (unsigned)(g - guest));
	*opt = (struct fake_vm_options){
		.socket = path, .pairs = g->pairs, .ring_size = 64, .timeout_ms = VMS_WAIT};
	if (pick(2))
		opt->send.indirect = opt->recv.indirect = true;
}

/* Frames from many addresses, to everybody, to nobody in particular, and to talkers. */
static void chatter(struct fake_vm *vm, unsigned n)
{
	uint8_t frame[60] = {};
	unsigned i, to;

	for (i = 0; i < n; i++) {
		to = pick(4);
		memset(frame, 0xff, 6);
		if (to)
			vms_mac(to == 1 ? (char)(0x10 + pick(8)) : talker[pick(TALKERS)].name,
				frame);
		frame[6] = 2;
		frame[7] = 1;
		frame[11] = pick(64);
		frame[12] = STRANGE >> 8;
		frame[13] = STRANGE & 0xff;
		if (fake_vm_send(vm, pick(vm->opt.pairs), frame, sizeof(frame)))
			break;
	}
}

/* A front-end that gets as far as @stage, and is gone without a word. */
static bool stumble(struct guest *g, unsigned stage)
{
	struct fake_vm_options opt;
	struct fake_vm *vm;
	char path[128];
	int err;

	options_of(g, &opt, path);
	opt.no_negotiate = stage < 2;
	opt.no_start = stage < 7;
	if (fake_vm_open(&vm, &opt))
		return false;
	err = 0;
	if (stage == 1)
		err = fake_vm_raw(vm, "\1\0\0\0\1\0\0", 1 + pick(7), NULL, 0);
	if (stage >= 3 && stage < 7)
		err = fake_vm_share(vm);
	if (!err && stage >= 4 && stage < 7)
		err = fake_vm_start_ring(vm, pick(vm->n_queues));
	if (!err && stage == 5)
		err = fake_vm_start_ring(vm, 1);
	if (!err && stage == 5)
		err = fake_vm_enable_ring(vm, 1, true);
	if (!err && stage == 6)
		err = fake_vm_start(vm);
	if (!err && stage >= 5)
		chatter(vm, pick(16));
	fake_vm_close(vm);
	return !err;
}

static bool come(struct guest *g)
{
	struct fake_vm_options opt;
	char path[128];

	options_of(g, &opt, path);
	return !fake_vm_open(&g->vm, &opt);
}

static void leave(struct guest *g)
{
	fake_vm_close(g->vm);
	g->vm = NULL;
}

/* Another eventfd for calls, while the ring runs. */
static bool change_call(struct fake_vm *vm, unsigned index)
{
	uint64_t value = index;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return false;
	close(vm->vq[index].call_fd);
	vm->vq[index].call_fd = fd;
	return !fake_vm_request(vm, VHOST_USER_SET_VRING_CALL, &value, sizeof(value), &fd, 1);
}

/* What a driver and its VMM do while it runs. */
static bool live(struct guest *g)
{
	unsigned queue = pick(2 * g->pairs);

	chatter(g->vm, pick(16));
	switch (pick(6)) {
	case 0:
		return !fake_vm_reboot(g->vm);
	case 1:
		return !fake_vm_enable_ring(g->vm, queue, false) &&
		       !fake_vm_enable_ring(g->vm, queue, true);
	case 2:
		return !fake_vm_stop_ring(g->vm, queue) && !fake_vm_start_ring(g->vm, queue);
	case 3:
		return change_call(g->vm, queue);
	case 4:
		return !fake_vm_share(g->vm);
	default:
		return true;
	}
}

static bool add(struct guest *g, int fd)
{
	unsigned id = g - guest;

	g->pairs = 1 + pick(2);
	g->exists = vms_ask(fd, "{\"do\":\"port_add\",\"vm\":\"p%u,queues=%u%s\"}\n", id, g->pairs,
			    id ? "" : ",mac=02:01:00:00:00:07");
	return g->exists;
}

static bool del(struct guest *g, int fd)
{
	bool ok = vms_ask(fd, "{\"do\":\"port_del\",\"port\":\"p%u\"}\n", (unsigned)(g - guest));

	g->exists = false;
	leave(g); /* if it ran, it was cut off */
	return ok;
}

/* One thing that happens. */
static bool step(int fd)
{
	struct guest *g = &guest[pick(GUESTS)];
	unsigned what = pick(8);

	if (what == 0)
		return look(fd);
	if (what == 1)
		return ask_and_leave();
	if (!g->exists)
		return add(g, fd);
	if (what == 2)
		return del(g, fd);
	if (!g->vm)
		return what < 5 ? come(g) : stumble(g, pick(8));
	if (what == 3) {
		leave(g);
		return true;
	}
	return live(g);
}

/* ---- the whole ---- */

static unsigned count_threads(void)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", vxsd.pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static bool has_fds(void *n)
{
	return check_fds_of(vxsd.pid) == *(unsigned *)n;
}

static bool open_talkers(void)
{
	unsigned i;
	bool ok = true;

	for (i = 0; i < TALKERS; i++) {
		struct fake_vm_options opt = {.ring_size = 1024,
					      .pairs = i < 2 ? PAIRS : 1,
					      .features = FAKE_VM_ALL | FAKE_VM_MQ};

		talker[i].vm = vms_join((char[2]){talker[i].name}, &opt);
		talker[i].sent = 0;
		ok = ok && talker[i].vm && !inbox_open(&talker[i].in);
	}
	return ok;
}

/* All counted, nothing lost: what each talker sent, and what came to it, strangers' included. */
static void check_talkers(void)
{
	struct vxs_port_stats s;
	uint64_t got;
	unsigned i, pair;

	for (i = 0; i < TALKERS; i++) {
		struct talker *t = &talker[i];

		CU_ASSERT(drain(t));
		CU_ASSERT(inbox_clean(&t->in));
		CU_ASSERT_STRING_EQUAL(fake_vm_error(t->vm), "");
		for (got = pair = 0; pair < t->vm->opt.pairs; pair++)
			got += t->vm->vq[2 * pair].frames;
		CU_ASSERT(vms_stats((char[2]){t->name}, &s));
		CU_ASSERT_EQUAL(s.in_frames, t->sent);
		CU_ASSERT_EQUAL(s.out_frames, got);
		CU_ASSERT_EQUAL(vms_drops(&s), 0);
	}
}

static void churn(void)
{
	unsigned round, i, fds = check_fds_of(vxsd.pid), threads = count_threads();
	bool ok = true, talks = true;
	int fd = vms_dial();

	CU_ASSERT_FATAL(fd >= 0);
	for (round = 0; ok && talks && round < ROUNDS; round++) {
		ok = step(fd);
		talks = is_talking();
	}
	if (!ok || !talks)
		printf("--- stopped in round %u: %s\n", round, ok ? "no traffic" : "refused");
	CU_ASSERT(ok && talks);
	for (i = 0; i < GUESTS; i++)
		if (guest[i].exists)
			CU_ASSERT(del(&guest[i], fd));
	close(fd);
	CU_ASSERT(check_until(has_fds, &fds, VMS_WAIT));
	CU_ASSERT_EQUAL(check_fds_of(vxsd.pid), fds);
	CU_ASSERT_EQUAL(count_threads(), threads);
	CU_ASSERT_EQUAL(vms_addresses(), TALKERS);
}

static void test_churn(const char *poll)
{
	const char *seed = getenv("SEED");
	char words[256];
	unsigned i, before = CU_get_number_of_failures();

	snprintf(words, sizeof(words), "--cpus 0,1 --log-level error --poll %s%s", poll,
		 VMS_PORT("a", "61") ",queues=2" VMS_PORT("b", "62") ",queues=2" VMS_PORT("c", "63")
			 VMS_PORT("d", "64"));
	if (!vms_start(words, false))
		return;
	mix = seed ? strtoul(seed, NULL, 0) : vms_now();
	snprintf(words, sizeof(words), "--- SEED=%u\n", mix);
	memset(guest, 0, sizeof(guest));
	memset(&talk, 0, sizeof(talk));
	if (open_talkers() && !pthread_create(&talk.thread, NULL, talk_on, NULL)) {
		CU_ASSERT_NOT_EQUAL(vms_worker("a", 0), vms_worker("a", 1));
		CU_ASSERT(is_talking());
		churn();
		__atomic_store_n(&talk.end, true, __ATOMIC_RELEASE);
		pthread_join(talk.thread, NULL);
		CU_ASSERT_FALSE(talk.failed);
		check_talkers();
	} else {
		CU_FAIL("not everybody is there");
	}
	for (i = 0; i < TALKERS; i++) {
		fake_vm_close(talker[i].vm);
		inbox_close(&talker[i].in);
	}
	vms_stop();
	if (CU_get_number_of_failures() != before)
		fputs(words, stdout);
}

static void test_adaptive(void)
{
	test_churn("adaptive");
}

static void test_interrupt(void)
{
	test_churn("interrupt");
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"adaptive", test_adaptive},
		{"interrupt", test_interrupt},
		{},
	};

	return check_main("churn", tests, argc, argv);
}
