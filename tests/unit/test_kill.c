/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsd is killed under traffic, and started again: rings go on, no buffer is lost or used twice. */
#include <errno.h>
#include <stdlib.h>

#include "vms.h"

/*
 * Two VMs send to each other as fast as they can. Frames that are under way when vxsd dies may be
 * lost, or come twice; what a ring has, never: fake_vm finds ids that were not lent, lengths and
 * flags that can't be. In the end every buffer is back, which it would not be if a ring had lost
 * its place.
 */
#define KILLS 100
#define PORTS VMS_PORT("a", "61") VMS_PORT("b", "62")
#define FRAME 200

static struct fake_vm *vm[2];
static char path[2][128];
static uint64_t came;

static void make_frame(uint8_t *f, char from, char to)
{
	memset(f, 0, FRAME);
	vms_mac(to, f);
	vms_mac(from, f + 6);
	f[12] = 0x88;
	f[13] = 0xb5;
}

/* A turn of both guests; false: a rule was broken, and it was said which. */
static bool turn(void)
{
	static uint8_t frame[2][FRAME], got[2048];
	struct fake_vm_frame out[16];
	unsigned i, k;
	int n = 0;

	make_frame(frame[0], 'a', 'b');
	make_frame(frame[1], 'b', 'a');
	for (i = 0; i < 2 && n >= 0; i++) {
		for (k = 0; k < 16; k++)
			out[k] = (struct fake_vm_frame){frame[i], FRAME - k};
		n = fake_vm_send_batch(vm[i], 0, out, 16);
		if (n < 0 && n != -EAGAIN)
			break;
		n = 1;
		for (k = 0; k < 64 && n > 0; k++) {
			n = fake_vm_recv(vm[i], 0, got, sizeof(got));
			came += n > 0;
			if (n > 0 && (n > FRAME || n <= FRAME - 16 || got[12] != 0x88)) {
				printf("--- a frame of %d bytes that nobody sent\n", n);
				return false;
			}
		}
	}
	if (n < 0)
		printf("--- VM %u: %s\n", i, fake_vm_error(vm[i]));
	return n >= 0;
}

static void turns(unsigned us)
{
	struct timespec t;
	uint64_t end, now;

	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec * 1000000ull + t.tv_nsec / 1000 + us;
	do {
		if (!turn()) {
			CU_FAIL("a ring's rule was broken");
			return;
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = t.tv_sec * 1000000ull + t.tv_nsec / 1000;
	} while (now < end);
}

/* Frames pass in both directions, through every descriptor of the rings. */
static bool passes(void)
{
	uint64_t before = came, end = vms_now() + VMS_WAIT;

	while (came - before < 2000 && vms_now() < end)
		if (!turn())
			return false;
	return came - before >= 2000;
}

static void kill_often(uint64_t features, bool inflight, unsigned kills)
{
	struct fake_vm_options opt = {
		.features = FAKE_VM_ALL | features, .inflight = inflight, .ring_size = 64};
	unsigned i, seed = getpid();
	int err = 0;

	if (!vms_start(PORTS, true))
		return;
	vm[0] = vms_join("a", &opt);
	vm[1] = vms_join("b", &opt);
	if (!vm[0] || !vm[1])
		goto end;
	for (i = 0; i < 2; i++) { /* where it will connect again */
		snprintf(path[i], sizeof(path[i]), "%s/%c.sock", vxsd.run_dir, "ab"[i]);
		vm[i]->opt.socket = path[i];
	}
	for (i = 0; i < kills && !err; i++) {
		turns(500 + rand_r(&seed) % 1000);
		CU_ASSERT_EQUAL(child_end(&vxsd, SIGKILL), 128 + SIGKILL);
		err = child_start(&vxsd, PORTS);
		if (!err)
			err = fake_vm_reconnect(vm[0]);
		if (!err)
			err = fake_vm_reconnect(vm[1]);
		if (!err && (i % 10 == 9 || i + 1 == kills) && !passes()) {
			printf("--- after %u kills (seed %d) nothing passes\n", i + 1, getpid());
			err = -EIO;
		}
	}
	CU_ASSERT_EQUAL(err, 0);
	if (err)
		printf("--- %s; %s; %s\n", strerror(-err), fake_vm_error(vm[0]),
		       fake_vm_error(vm[1]));
	for (i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(fake_vm_flush(vm[i], 0, VMS_WAIT), 0);
end:
	fake_vm_close(vm[0]);
	fake_vm_close(vm[1]);
	vm[0] = vm[1] = NULL;
	vms_stop();
}

static void test_packed(void)
{
	kill_often(FAKE_VM_PACKED, true, KILLS);
}

static void test_in_order(void)
{
	kill_often(FAKE_VM_PACKED | FAKE_VM_IN_ORDER, true, KILLS / 4);
}

/* Needs nothing of the front-end; what it keeps all the same does no harm. */
static void test_split(void)
{
	kill_often(0, false, KILLS / 2);
	kill_often(0, true, KILLS / 10);
}

static const struct check tests[] = {
	{"packed", test_packed},
	{"packed, in order", test_in_order},
	{"split", test_split},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("kill", tests, argc, argv);
}
