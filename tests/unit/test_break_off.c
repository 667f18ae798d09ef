/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Front-ends that end at any byte of what they have to say, while others carry traffic. */
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "conversation.h"
#include "vms.h"

/*
 * The first tests have the back-end in this process, and cut the conversation at every place. The
 * last has a vxsd with four ports: in a thread of its own, a sends to b as fast as b's ring has
 * room; the main thread has thousands of front-ends come to x and y and break off, after a random
 * part of the conversation, with some bytes changed, with the wrong fds or with memory that
 * shrinks. SEED=N in the environment repeats what a failed run printed.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define BREAKS  600
#define RSS_KIB (1 << 20) /* freed memory is kept for a while to catch its users */
#else
#define BREAKS  10000
#define RSS_KIB 1024
#endif
#define RSS     "RssAnon:" /* pages of guests' and programs' files come as they are touched */
#define WARM_UP 200        /* connections after which nothing is done for the first time */
#define FRAME   64
#define BURST   32

static struct talk_step step[TALK_STEPS];
static unsigned n_steps, n_up;

/* Front-end and all its fds gone: nothing may be left here. */
static void expect_nothing(unsigned fds)
{
	struct vm_state state;

	vm_state(t.vm, &state);
	CU_ASSERT_FALSE(state.connected);
	CU_ASSERT(!t.vm->in[0] && !t.vm->out[0]);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_EQUAL(count_maps(), 0);
}

static void expect_next_works(void)
{
	struct vm_state state;
	unsigned i;

	peer_connect();
	for (i = 0; i < n_up; i++) {
		CU_ASSERT(talk_say(t.fd, &step[i], talk_length(&step[i]), t.memory, true));
		peer_pump();
	}
	vm_state(t.vm, &state);
	CU_ASSERT(state.connected && state.running);
	peer_hang_up();
	peer_pump();
}

static unsigned begin(enum talk_kind kind)
{
	n_steps = talk_write(step, kind, &n_up);
	peer_setup_vm(
		(struct vm_options){.name = "a", .queues = 1, .postcopy = kind == TALK_POSTCOPY});
	expect_next_works();
	return check_fds();
}

/* Each step whole but the last, of which come as many bytes as there are places to stop at. */
static void every_place(enum talk_kind kind)
{
	unsigned fds = begin(kind), last, i, place;

	for (last = 0; last < n_steps; last++) {
		size_t size = step[last].header.size;
		const size_t places[] = {0, 1, 6, 11, 12, 13, 12 + size / 2, 11 + size, 12 + size};

		for (place = 0; place < 2 * sizeof(places) / sizeof(places[0]); place++) {
			size_t len = places[place / 2];

			if (len > 12 + size || (!step[last].fd && place & 1))
				continue;
			peer_connect();
			for (i = 0; i < last; i++)
				talk_say(t.fd, &step[i], talk_length(&step[i]), t.memory, true);
			if (place & 1)
				peer_pump(); /* else all comes at once, and the hang-up with it */
			talk_say(t.fd, &step[last], len, t.memory, !(place & 1));
			if (place & 2)
				peer_pump();
			peer_hang_up();
			peer_pump();
			expect_nothing(fds);
		}
	}
	expect_next_works();
	expect_nothing(fds);
	peer_end();
}

static void test_every_place(void)
{
	every_place(TALK_QEMU);
}

static void test_every_place_iommu(void)
{
	every_place(TALK_IOMMU);
}

static void test_every_place_newer(void)
{
	every_place(TALK_NEWER);
}

/* The same by SIGKILL: descriptors of memory and eventfds that only it had go with it. */
static void killed(enum talk_kind kind)
{
	unsigned fds = begin(kind), last, i;
	int status;
	pid_t pid;

	for (last = 0; last < n_steps; last++) {
		pid = fork();
		if (!pid) {
			int memory = memfd_create("guest", MFD_CLOEXEC), to = peer_dial();

			if (!ftruncate(memory, PEER_MEM))
				for (i = 0; i <= last; i++)
					talk_say(to, &step[i],
						 i < last ? talk_length(&step[i]) : 12, memory,
						 true);
			raise(SIGKILL);
		}
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		peer_pump();
		expect_nothing(fds);
	}
	expect_next_works();
	peer_end();
}

static void test_killed(void)
{
	killed(TALK_QEMU);
	killed(TALK_NEWER);
}

/* ---- the pair ---- */

static struct {
	pthread_t thread;
	struct fake_vm *from, *to;
	bool end; /* atomic: main says so */
	uint64_t sent, got;
	const char *failed; /* NULL: nothing was lost, doubled or overtaken */
} pair;

static bool receive(void)
{
	uint8_t frame[2048];
	uint64_t seq;
	int len;

	while ((len = fake_vm_recv(pair.to, 0, frame, sizeof(frame))) > 0) {
		memcpy(&seq, frame + 14, sizeof(seq));
		if (frame[12] != 0x88 || frame[13] != 0xb5)
			continue; /* a front-end at x managed to send something */
		if (len != FRAME || seq != pair.got)
			return false;
		pair.got++;
	}
	return !len;
}

/* No more are on their way than b has buffers for: so there is no reason to lose any. */
static void *carry(void *arg)
{
	unsigned room = pair.to->vq[0].size - BURST, i;
	uint8_t frame[BURST][FRAME] = {};
	struct fake_vm_frame list[BURST];
	unsigned long long since = vms_now();
	uint64_t before;
	int n;

	(void)arg;
	for (i = 0; i < BURST; i++) {
		vms_mac('b', frame[i]);
		vms_mac('a', frame[i] + 6);
		frame[i][12] = 0x88;
		frame[i][13] = 0xb5;
		list[i] = (struct fake_vm_frame){frame[i], FRAME};
	}
	while (!pair.failed &&
	       !(__atomic_load_n(&pair.end, __ATOMIC_RELAXED) && pair.got == pair.sent)) {
		before = pair.got;
		if (!receive())
			pair.failed = "a frame was lost, or is not what was sent";
		if (pair.got != before)
			since = vms_now();
		else if (vms_now() - since > VMS_WAIT)
			pair.failed = "nothing comes any more";
		if (__atomic_load_n(&pair.end, __ATOMIC_RELAXED) || pair.sent - pair.got > room)
			continue;
		for (i = 0; i < BURST; i++) {
			before = pair.sent + i;
			memcpy(frame[i] + 14, &before, sizeof(before));
		}
		n = fake_vm_send_batch(pair.from, 0, list, BURST);
		if (n < 0)
			pair.failed = "can't send";
		pair.sent += n > 0 ? n : 0;
	}
	return NULL;
}

/* ---- those who break off ---- */

static uint64_t mix;

static unsigned pick(unsigned n)
{
	mix = mix * 6364136223846793005ull + 1442695040888963407ull;
	return (mix >> 33) % n;
}

/* Some bytes of a step become others, or another number of them comes. */
static void change(struct talk_step *s)
{
	unsigned i, n = 1 + pick(3);

	for (i = 0; i < n; i++)
		switch (pick(4)) {
		case 0:
			((uint8_t *)&s->header)[pick(sizeof(s->header))] = pick(256);
			break;
		case 1:
			s->fd = pick(TALK_FDS);
			break;
		default:
			((uint8_t *)&s->payload)[pick(s->header.size % 256 + 1)] = pick(256);
		}
	if (s->header.size > sizeof(s->payload))
		s->header.size = sizeof(s->payload);
}

/* A guest's rings as they may be, before or while they run. */
static void scribble(int memory)
{
	uint64_t words[64];
	unsigned i;

	for (i = 0; i < 64; i++)
		words[i] = pick(2) ? 0 : pick(1u << 31);
	if (pwrite(memory, words, sizeof(words), pick(2) * PEER_RING + pick(3) * PEER_AVAIL) < 0)
		CU_FAIL("can't write the guest's memory");
}

static void break_off(int memory)
{
	enum talk_kind kind = pick(TALK_KINDS);
	bool changes = pick(2);
	unsigned i, last;
	int fd;

	/* x refuses post-copy, for which y has to start a process each time */
	snprintf(t.socket, sizeof(t.socket), "%s/%c.sock", vxsd.run_dir,
		 kind == TALK_POSTCOPY && !pick(64) ? 'y' : 'x');
	fd = peer_dial();
	n_steps = talk_write(step, kind, &n_up);
	last = pick(n_steps + 1);
	CU_ASSERT_FATAL(!ftruncate(memory, PEER_MEM));
	for (i = 0; i <= last && i < n_steps; i++) {
		struct talk_step s = step[i];
		size_t len;

		if (changes && !pick(8))
			change(&s);
		len = talk_length(&s);
		if (!talk_say(fd, &s, i < last ? len : pick(len + 1), memory, pick(64)))
			break;
		if (!pick(16))
			scribble(memory);
	}
	if (!pick(32))
		CU_ASSERT_FATAL(!ftruncate(memory, pick(PEER_MEM)));
	close(fd);
}

static unsigned count_in(const char *file, const char *text)
{
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", vxsd.pid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, text))
			n += strcmp(text, RSS) ? 1 : strtoul(line + sizeof(RSS) - 1, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static bool is_idle(const char *show)
{
	struct json_object *port = child_ctl(&vxsd, show, NULL);
	struct json_object *one = json_object_array_get_idx(port, 0);
	bool idle = one && !json_object_get_boolean(vms_member(one, "connected"));

	json_object_put(port);
	return idle;
}

/* All have been heard and forgotten: the ports are free for the next one, who works. */
static bool are_idle(void *arg)
{
	(void)arg;
	return is_idle("port show x") && is_idle("port show y");
}

/* vxsd may still be closing vxsctl's connection. */
static bool has_fds(void *fds)
{
	return check_fds_of(vxsd.pid) == *(unsigned *)fds;
}

static void expect_x_works(void)
{
	struct fake_vm_options opt = {.features = FAKE_VM_ALL};
	struct fake_vm *vm = vms_join("x", &opt);
	uint8_t frame[FRAME] = {2, 0, 0, 0, 0, 'x', 2, 0, 0, 0, 0, 'x', 8, 6};

	if (!vm)
		return;
	CU_ASSERT_EQUAL(fake_vm_send(vm, 0, frame, sizeof(frame)), 0);
	CU_ASSERT_EQUAL(fake_vm_flush(vm, 0, VMS_WAIT), 0);
	fake_vm_close(vm);
}

static void test_beside_traffic(void)
{
	struct fake_vm_options opt = {.features = FAKE_VM_ALL};
	const char *seed = getenv("SEED");
	unsigned i, fds = 0, maps = 0, rss = 0;
	int memory = memfd_create("guest", MFD_CLOEXEC);

	mix = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	printf("     SEED=%llu, %u connections\n", (unsigned long long)mix, BREAKS);
	if (!vms_start("--log-level error --cpus 0" VMS_PORT("a", "61") VMS_PORT("b", "62")
			       VMS_PORT("x", "78") VMS_PORT("y", "79") ",postcopy=on",
		       false))
		return;
	pair.from = vms_join("a", &opt);
	pair.to = vms_join("b", &opt);
	if (pair.from && pair.to && !pthread_create(&pair.thread, NULL, carry, NULL)) {
		fds = check_fds_of(vxsd.pid);
		for (i = 0; i < BREAKS + WARM_UP; i++) {
			break_off(memory);
			if (i != WARM_UP)
				continue;
			CU_ASSERT(check_until(are_idle, NULL, VMS_WAIT));
			maps = count_in("maps", "memfd:guest");
			rss = count_in("status", RSS);
		}
		CU_ASSERT(check_until(are_idle, NULL, VMS_WAIT));
		CU_ASSERT(check_until(has_fds, &fds, VMS_WAIT));
		CU_ASSERT_EQUAL(maps, 0);
		CU_ASSERT_EQUAL(count_in("maps", "memfd:guest"), 0);
		printf("     %u KiB of its own, %u before\n", count_in("status", RSS), rss);
		CU_ASSERT(count_in("status", RSS) < rss + RSS_KIB);
		expect_x_works();
		__atomic_store_n(&pair.end, true, __ATOMIC_RELAXED);
		pthread_join(pair.thread, NULL);
		printf("     %llu frames from a to b\n", (unsigned long long)pair.got);
		CU_ASSERT_PTR_NULL(pair.failed);
		if (pair.failed)
			printf("     %s: %llu sent, %llu came\n", pair.failed,
			       (unsigned long long)pair.sent, (unsigned long long)pair.got);
		CU_ASSERT(pair.sent && pair.got == pair.sent);
	}
	fake_vm_close(pair.from);
	fake_vm_close(pair.to);
	close(memory);
	vms_stop();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"every_place", test_every_place},
		{"every_place_iommu", test_every_place_iommu},
		{"every_place_newer", test_every_place_newer},
		{"killed", test_killed},
		{"beside_traffic", test_beside_traffic},
		{},
	};

	return check_main("break_off", tests, argc, argv);
}
