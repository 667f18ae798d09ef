/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A guest's memory comes, goes and is cut short under full traffic, over two workers. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "mark.h"
#include "vms.h"

/*
 *	thread of its own:	a ⇄ b and c ⇄ d, all queues at once
 *	main thread:		the memory of a
 *
 * Each queue of a lies with its buffers in a region of its own. What a sends waits while that is
 * away, and all of it arrives; what is for a may be lost meanwhile. c and d notice nothing.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 60
#else
#define ROUNDS 100
#endif
#define BURST  8
#define WINDOW 64  /* frames on their way between two VMs */
#define STEP   200 /* that c and d exchange between two things that happen to a */
#define VMS    4

static struct talker {
	struct fake_vm *vm;
	struct inbox in;
	uint32_t sent; /* to its partner, since the books were opened */
	bool lossy;    /* what comes to it may be lost */
} vm_of[VMS];

static struct {
	pthread_t thread;
	bool end, failed, quiet; /* atomic; quiet: a is left alone, but not by b */
	unsigned steps;          /* atomic: frames that c and d got */
	unsigned rounds;         /* atomic */
} talk;

static bool drain(struct talker *t)
{
	uint8_t frame[2048];
	int len;

	while ((len = fake_vm_recv(t->vm, 0, frame, sizeof(frame))) > 0) {
		inbox_put(&t->in, frame, len);
		if (t >= &vm_of[2])
			__atomic_fetch_add(&talk.steps, 1, __ATOMIC_RELAXED);
	}
	return len == 0 || len == -EAGAIN;
}

static bool push(unsigned i)
{
	struct talker *t = &vm_of[i], *to = &vm_of[i ^ 1];
	static uint8_t frame[BURST][2048];
	struct fake_vm_frame many[BURST];
	struct mark m = {};
	unsigned k;
	int n;

	if (!to->lossy && t->sent - to->in.flow[0] > WINDOW - BURST)
		return true;
	if (t->sent + BURST > MARK_SEQS) {
		/* the rest is on its way; where some is lost, until the switch has given all back
		 */
		if (to->lossy ? fake_vm_reclaim(t->vm, 0) > 0 : to->in.flow[0] != t->sent)
			return true;
		if (!drain(to))
			return false;
		if (!inbox_clean(&to->in))
			return false;
		inbox_clear(&to->in);
		t->sent = 0;
	}
	vms_mac("abcd"[i ^ 1], m.dst);
	vms_mac("abcd"[i], m.src);
	for (k = 0; k < BURST; k++) {
		m.seq = t->sent + k;
		many[k] = (struct fake_vm_frame){frame[k], 60 + m.seq % 1400};
		mark_write(frame[k], many[k].len, &m);
	}
	n = fake_vm_send_batch(t->vm, 0, many, BURST);
	t->sent += n > 0 ? n : 0;
	return n >= 0 || n == -EAGAIN;
}

static void *talk_on(void *arg)
{
	unsigned i;
	bool ok = true;

	while (ok && !__atomic_load_n(&talk.end, __ATOMIC_ACQUIRE)) {
		bool quiet = __atomic_load_n(&talk.quiet, __ATOMIC_ACQUIRE);

		for (i = quiet; ok && i < VMS; i++)
			ok = push(i) && drain(&vm_of[i]);
		__atomic_fetch_add(&talk.rounds, 1, __ATOMIC_RELEASE);
		sched_yield();
	}
	if (!ok)
		__atomic_store_n(&talk.failed, true, __ATOMIC_RELEASE);
	return arg;
}

static bool has_failed(void)
{
	return __atomic_load_n(&talk.failed, __ATOMIC_ACQUIRE);
}

static bool reached(void *steps)
{
	return (int)(__atomic_load_n(&talk.steps, __ATOMIC_RELAXED) - *(unsigned *)steps) >= 0 ||
	       has_failed();
}

/* c and d go on. */
static bool goes_on(void)
{
	unsigned until = __atomic_load_n(&talk.steps, __ATOMIC_RELAXED) + STEP;

	return check_until(reached, &until, VMS_WAIT) && !has_failed();
}

static bool rounds_over(void *rounds)
{
	return (int)(__atomic_load_n(&talk.rounds, __ATOMIC_ACQUIRE) - *(unsigned *)rounds) > 1 ||
	       has_failed();
}

static bool begin(uint64_t features)
{
	unsigned i, before = CU_get_number_of_failures();

	memset(&talk, 0, sizeof(talk));
	memset(vm_of, 0, sizeof(vm_of));
	for (i = 0; i < VMS; i++) {
		struct fake_vm_options opt = {.ring_size = 256,
					      .regions = i ? 1 : 2,
					      .gap = i ? 0 : 2 << 20,
					      .features = FAKE_VM_ALL | (i ? 0 : features)};

		if (!i)
			opt.protocol = FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
		vm_of[i].lossy = !i;
		vm_of[i].vm = vms_join((char[2]){"abcd"[i]}, &opt);
		CU_ASSERT_EQUAL(inbox_open(&vm_of[i].in), 0);
	}
	CU_ASSERT_EQUAL(vm_of[0].vm->features & features, features);
	if (CU_get_number_of_failures() == before &&
	    !pthread_create(&talk.thread, NULL, talk_on, NULL))
		return true;
	CU_FAIL("not everybody is there");
	return false;
}

/* Nothing that c and d (and b, if @all) got was lost, late or altered. */
static void end(bool all)
{
	struct vxs_port_stats s;
	unsigned i;

	__atomic_store_n(&talk.end, true, __ATOMIC_RELEASE);
	pthread_join(talk.thread, NULL);
	CU_ASSERT_FALSE(talk.failed);
	for (i = all ? 1 : 2; i < VMS; i++) {
		unsigned long long until = vms_now() + VMS_WAIT;

		while (vm_of[i].in.flow[0] < vm_of[i ^ 1].sent && vms_now() < until)
			if (fake_vm_wait(vm_of[i].vm, 0, 100) < 0 || !drain(&vm_of[i]))
				break;
		CU_ASSERT_EQUAL(vm_of[i].in.flow[0], vm_of[i ^ 1].sent);
		CU_ASSERT_TRUE(inbox_clean(&vm_of[i].in));
		CU_ASSERT_TRUE(vms_stats((char[2]){"abcd"[i]}, &s));
		CU_ASSERT_EQUAL(vms_drops(&s), 0);
	}
	CU_ASSERT(vm_of[0].in.bad == 0 && vm_of[0].in.twice == 0 && vm_of[0].in.swapped == 0);
	for (i = 0; i < VMS; i++) {
		fake_vm_close(vm_of[i].vm);
		inbox_close(&vm_of[i].in);
	}
}

/* Region @i of a's goes or comes. */
static bool region(unsigned i, bool comes)
{
	struct fake_vm *vm = vm_of[0].vm;
	struct vhost_user_one_region m = {.region = vm->memory.region[i]};

	return !fake_vm_request(vm, comes ? VHOST_USER_ADD_MEM_REG : VHOST_USER_REM_MEM_REG, &m,
				sizeof(m), &vm->memory_fd[i], comes);
}

static void changes(uint64_t features)
{
	struct vxs_port_stats s;
	bool ok = begin(features);
	unsigned i;

	for (i = 0; ok && i < ROUNDS; i++) {
		switch (i % 3) {
		case 0: /* all of it at once */
			ok = !fake_vm_share(vm_of[0].vm);
			break;
		case 1: /* at once, or after others had their turn without it */
			ok = region(i & 1, false) && (i & 2 || goes_on()) && region(i & 1, true);
			break;
		default:
			ok = region(0, false) && region(1, false) &&
			     (i & 2 ? !fake_vm_share(vm_of[0].vm)
				    : region(1, true) && region(0, true));
		}
		ok = ok && (i % 4 || goes_on());
	}
	CU_ASSERT_TRUE(ok);
	CU_ASSERT_TRUE(goes_on());
	CU_ASSERT_TRUE(vms_stats("a", &s));
	CU_ASSERT_EQUAL(vms_drops(&s), s.drops.not_running + s.drops.queue_full);
	CU_ASSERT(s.in_frames > 0 && s.out_frames > 0);
	end(true);
}

#define PORTS                                                                                      \
	"--cpus 0,1 --log-level warn" VMS_PORT("a", "61") VMS_PORT("b", "62") VMS_PORT("c", "63")  \
		VMS_PORT("d", "64")

static void test_changes(void)
{
	if (!vms_start(PORTS, false))
		return;
	changes(0);
	changes(FAKE_VM_PACKED);
	vms_stop();
}

static bool says_why(void *arg)
{
	struct json_object *o = child_ctl(&vxsd, "port show a", NULL);
	bool yes = strstr(json_object_to_json_string(o), arg);

	json_object_put(o);
	return yes;
}

/* Its file ends while workers of both write to it and read from it. */
static void cut_short(uint64_t features, unsigned which)
{
	struct fake_vm *a;
	unsigned rounds;

	if (!begin(features))
		return;
	a = vm_of[0].vm;
	CU_ASSERT_TRUE(goes_on());
	/* b goes on; we are not to touch that memory ourselves */
	__atomic_store_n(&talk.quiet, true, __ATOMIC_RELEASE);
	rounds = __atomic_load_n(&talk.rounds, __ATOMIC_ACQUIRE);
	CU_ASSERT_TRUE(check_until(rounds_over, &rounds, VMS_WAIT));
	CU_ASSERT_EQUAL(ftruncate(a->memory_fd[which], 0), 0);
	eventfd_write(a->vq[1].kick_fd,
		      1); /* a queue at rest is not looked at, and loses nothing */
	CU_ASSERT_TRUE(fake_vm_hung_up(a, VMS_WAIT));
	CU_ASSERT_TRUE(check_until(says_why, "the guest's memory was gone", VMS_WAIT));
	CU_ASSERT_TRUE(goes_on());
	end(false);
}

static void test_cut_short(void)
{
	if (!vms_start(PORTS, false))
		return;
	cut_short(0, 0);
	cut_short(FAKE_VM_PACKED, 1);
	vms_stop();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"changes", test_changes},
		{"cut_short", test_cut_short},
		{},
	};

	return check_main("mem_traffic", tests, argc, argv);
}
