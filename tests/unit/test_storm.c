/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM that kicks, talks and sends rubbish without an end; and switches that end amid traffic. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vms.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 100
#define LIVES  3
#else
#define ROUNDS 500
#define LIVES  8
#endif
#define LEN 60

static struct fake_vm *a, *b, *f;

static void make_frame(uint8_t frame[LEN], char from, char to)
{
	memset(frame, 0, LEN);
	vms_mac(to, frame);
	vms_mac(from, frame + 6);
}

/* Each of these is one turn of what f does to the switch. */

static void kick(unsigned round)
{
	unsigned i;

	for (i = 0; i < 50; i++)
		fake_vm_kick(f, (round + i) & 1);
}

/* It asks a lot before it reads the first answer. */
static void talk(unsigned round)
{
	static const struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION,
						     0};
	char answers[100 * (sizeof(get) + 8)];
	unsigned i;

	(void)round;
	for (i = 0; i < 100; i++)
		fake_vm_raw(f, &get, sizeof(get), NULL, 0);
	CU_ASSERT_EQUAL(recv(f->fd, answers, sizeof(answers), MSG_WAITALL), sizeof(answers));
}

/* Frames of 0 to 13 bytes, which the switch has to give back as any other. */
static void send_short(unsigned round)
{
	static const uint8_t bytes[14];
	unsigned i;

	for (i = 0; i < 100; i++)
		fake_vm_send(f, 0, bytes, (round + i) % 14);
}

/* Another eventfd each time. */
static void change_fds(unsigned round)
{
	fake_vm_start_ring(f, round & 1);
}

static bool comes(void)
{
	uint8_t frame[LEN], got[256];

	make_frame(frame, 'a', 'b');
	return !fake_vm_send(a, 0, frame, LEN) &&
	       fake_vm_recv_wait(b, 0, got, sizeof(got), VMS_WAIT) == LEN &&
	       !memcmp(frame, got, LEN);
}

static bool open_all(void)
{
	const struct fake_vm_options opt = {.ring_size = 128};

	if (!vms_start("--log-level error" VMS_PORT("a", "61") VMS_PORT("b", "62")
			       VMS_PORT("f", "66"),
		       false))
		return false;
	a = vms_join("a", &opt);
	b = vms_join("b", &opt);
	f = vms_join("f", &opt);
	CU_ASSERT(a && b && f);
	return a && b && f;
}

static void close_all(void)
{
	fake_vm_close(a);
	fake_vm_close(b);
	fake_vm_close(f);
	a = b = f = NULL;
}

static bool has_fds(void *n)
{
	return check_fds_of(vxsd.pid) == *(unsigned *)n;
}

/* While f does its worst, a's frames come to b, and the control socket answers. */
static void storm(void (*turn)(unsigned round))
{
	unsigned round, fds;
	bool ok = true;
	int fd;

	if (!open_all()) {
		close_all();
		return;
	}
	fd = vms_dial();
	CU_ASSERT(vms_ask(fd, "{\"do\":\"stats\"}\n")); /* so it was accepted */
	fds = check_fds_of(vxsd.pid);
	for (round = 0; ok && round < ROUNDS; round++) {
		turn(round);
		ok = comes() && (round % 50 || vms_ask(fd, "{\"do\":\"stats\"}\n"));
	}
	CU_ASSERT_EQUAL(round, ROUNDS);
	CU_ASSERT(check_until(has_fds, &fds, VMS_WAIT)); /* the last of them may be on their way */
	close(fd);
	close_all();
	vms_stop();
}

static void test_kicks(void)
{
	storm(kick);
}

static void test_messages(void)
{
	storm(talk);
}

static void test_short_frames(void)
{
	struct vxs_port_stats s = {};

	if (!open_all()) {
		close_all();
		return;
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		send_short(round);
		CU_ASSERT_EQUAL_FATAL(fake_vm_flush(f, 0, VMS_WAIT), 0);
		CU_ASSERT_FATAL(comes());
	}
	CU_ASSERT(vms_stats("f", &s));
	CU_ASSERT_EQUAL(s.in_frames, 0);
	CU_ASSERT_EQUAL(s.drops.short_frame, 100 * ROUNDS);
	close_all();
	vms_stop();
}

static void test_change_fds(void)
{
	storm(change_fds);
}

/* ---- switches that end ---- */

static bool end; /* atomic */

static void *send_on(void *arg)
{
	struct fake_vm *vm = arg;
	uint8_t frame[LEN], got[256];

	make_frame(frame, vm == a ? 'a' : 'b', vm == a ? 'b' : 'a');
	while (!__atomic_load_n(&end, __ATOMIC_ACQUIRE)) {
		fake_vm_send(vm, 0, frame, LEN);
		fake_vm_recv(vm, 0, got, sizeof(got));
	}
	return NULL;
}

static bool is_busy(void *arg)
{
	struct vxs_port_stats s;

	(void)arg;
	return vms_stats("a", &s) && s.in_frames > 100 && s.out_frames > 100;
}

/* vxsd ends in the middle of traffic, with nothing to complain about: no leak, no race, no crash.
 */
static void test_end(void)
{
	pthread_t thread[2];
	unsigned life;

	for (life = 0; life < LIVES; life++) {
		if (!open_all())
			break;
		end = false;
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[0], NULL, send_on, a), 0);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[1], NULL, send_on, b), 0);
		CU_ASSERT(check_until(is_busy, NULL, VMS_WAIT));
		vms_stop();
		__atomic_store_n(&end, true, __ATOMIC_RELEASE);
		pthread_join(thread[0], NULL);
		pthread_join(thread[1], NULL);
		close_all();
	}
	CU_ASSERT_EQUAL(life, LIVES);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"kicks", test_kicks},
		{"messages", test_messages},
		{"short frames", test_short_frames},
		{"other eventfds", test_change_fds},
		{"ends amid traffic", test_end},
		{},
	};

	return check_main("storm", tests, argc, argv);
}
