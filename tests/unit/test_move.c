/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM moves from one vxsd to another with its port's state (DEVICE_STATE). */
#include <errno.h>
#include <stdlib.h>

#include "vms.h"

/* VM "a" moves from the switch of vms.h to another, where "c" and "d" are. */
#define FRAME 100

static struct child there;
static struct fake_vm *vm[4]; /* a and b here; a and c there */
static uint8_t state[1 << 18];
static int state_len;

static void make_frame(uint8_t *f, uint8_t from, uint8_t to)
{
	memset(f, 0, FRAME);
	vms_mac(to, f);
	vms_mac(from, f + 6);
	f[12] = 0x88;
	f[13] = 0xb5;
}

/* @to: the last byte of an address; true if the frame came out at @taker. */
static bool passes(struct fake_vm *sender, uint8_t from, uint8_t to, struct fake_vm *taker)
{
	uint8_t frame[FRAME], got[2048];

	make_frame(frame, from, to);
	return !fake_vm_send(sender, 0, frame, FRAME) &&
	       fake_vm_recv_wait(taker, 0, got, sizeof(got), VMS_WAIT) == FRAME &&
	       !memcmp(frame, got, FRAME);
}

static struct fake_vm *join(const char *run_dir, const char *name, bool start)
{
	struct fake_vm_options opt = {
		.device_state = true, .timeout_ms = VMS_WAIT, .no_start = !start};
	struct fake_vm *v = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", run_dir, name);
	opt.socket = path;
	CU_ASSERT_EQUAL(fake_vm_open(&v, &opt), 0);
	return v;
}

static struct json_object *show(struct child *c, const char *port)
{
	struct json_object *o, *first;
	char words[64];

	snprintf(words, sizeof(words), "port show %s", port);
	o = child_ctl(c, words, NULL);
	if (!json_object_is_type(o, json_type_array))
		return o;
	first = json_object_get(json_object_array_get_idx(o, 0));
	json_object_put(o);
	return first;
}

static uint64_t in_frames_there(void)
{
	struct json_object *all = child_ctl(&there, "stats a", NULL);
	uint64_t n = vms_number(json_object_array_get_idx(all, 0), "in_frames");

	json_object_put(all);
	return n;
}

/* Both switches; "a" sends @n frames here, from addresses 0x61 and 0x77, stops, and is saved. */
static bool begin(const char *here_words, const char *there_words, unsigned n)
{
	unsigned i;

	if (!vms_start(here_words, true))
		return false;
	CU_ASSERT_EQUAL_FATAL(child_open(&there, NULL), 0);
	there.bare = true;
	CU_ASSERT_EQUAL(child_start(&there, there_words), 0);
	vm[0] = join(vxsd.run_dir, "a", true);
	vm[1] = join(vxsd.run_dir, "b", true);
	if (!vm[0] || !vm[1])
		return false;
	for (i = 0; i < n; i++)
		CU_ASSERT(passes(vm[0], i & 1 ? 0x77 : 0x61, 0xff, vm[1]));
	CU_ASSERT_EQUAL(fake_vm_stop(vm[0]), 0);
	state_len = fake_vm_save(vm[0], state, sizeof(state));
	CU_ASSERT(state_len > 0);
	return state_len > 0;
}

static void end(void)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		fake_vm_close(vm[i]);
		vm[i] = NULL;
	}
	CU_ASSERT_EQUAL(child_end(&there, SIGTERM), 0);
	child_close(&there);
	vms_stop();
}

/* Its addresses are known at once, and it counts on from where it was. */
static void test_move(void)
{
	struct json_object *o;

	if (begin("--vm a --vm b", "--vm a --vm c --vm d", 10)) {
		vm[3] = join(there.run_dir, "c", true);
		vm[2] = join(there.run_dir, "a", false);
		CU_ASSERT_EQUAL(fake_vm_load(vm[2], state, state_len), 0);
		CU_ASSERT_EQUAL(in_frames_there(), 10);
		o = show(&there, "a");
		CU_ASSERT(vms_number(o, "moved_in") > 1600000000);
		CU_ASSERT_EQUAL(vms_number(o, "moved_addresses"), 2);
		CU_ASSERT_STRING_EQUAL(json_object_get_string(vms_member(o, "moved_from")), "a");
		json_object_put(o);
		CU_ASSERT(child_says(&there, "with 2 of its 2 addresses", VMS_WAIT));
		CU_ASSERT_EQUAL(fake_vm_share(vm[2]), 0);
		CU_ASSERT_EQUAL(fake_vm_start(vm[2]), 0);
		CU_ASSERT(passes(vm[3], 0x63, 0x77, vm[2]));
		CU_ASSERT(passes(vm[2], 0x77, 0x63, vm[3]));
		CU_ASSERT_EQUAL(in_frames_there(), 11);
		/* it goes on where it was, if it isn't moved after all */
		CU_ASSERT_EQUAL(fake_vm_start(vm[0]), 0);
		CU_ASSERT(passes(vm[0], 0x61, 0xff, vm[1]));
		fake_vm_close(vm[2]); /* whoever comes next did not move */
		vm[2] = join(there.run_dir, "a", true);
		o = show(&there, "a");
		CU_ASSERT_PTR_NULL(vms_member(o, "moved_in"));
		json_object_put(o);
		/* and loading the same again takes nothing back */
		CU_ASSERT_EQUAL(fake_vm_stop(vm[2]), 0);
		CU_ASSERT_EQUAL(fake_vm_load(vm[2], state, state_len), 0);
		CU_ASSERT_EQUAL(in_frames_there(), 11);
	}
	end();
}

/* What belongs to others there stays theirs. */
static void test_others_addresses(void)
{
	struct json_object *o;

	if (begin("--vm a --vm b", "--vm a --vm c,mac=02:00:00:00:00:77", 10)) {
		vm[3] = join(there.run_dir, "c", true);
		vm[2] = join(there.run_dir, "a", false);
		CU_ASSERT_EQUAL(fake_vm_load(vm[2], state, state_len), 0);
		o = show(&there, "a");
		CU_ASSERT_EQUAL(vms_number(o, "moved_addresses"), 1);
		json_object_put(o);
		CU_ASSERT_EQUAL(fake_vm_share(vm[2]), 0);
		CU_ASSERT_EQUAL(fake_vm_start(vm[2]), 0);
		CU_ASSERT(passes(vm[2], 0x61, 0x77, vm[3]));
	}
	end();
}

/* Ports that the VM can't live with say why. */
static void test_misfit(void)
{
	static const struct {
		const char *port, *says;
	} misfit[] = {
		{"c,mac=02:00:00:00:00:99", "it had another mac="},
		{"d,mtu=1500", "MTU is 9000, and here 1500 at most"},
		{"e,offloads=none,mtu=9000", NULL},
	};
	char words[128];
	unsigned i;

	if (begin("--vm a,mac=02:00:00:00:00:61,mtu=9000 --vm b", "--vm a", 0)) {
		for (i = 0; i < sizeof(misfit) / sizeof(misfit[0]); i++) {
			struct fake_vm *v;
			int err;

			snprintf(words, sizeof(words), "port add %s", misfit[i].port);
			CU_ASSERT_EQUAL(child_do(&there, words), 0);
			v = join(there.run_dir, (char[]){misfit[i].port[0], 0}, false);
			err = v ? fake_vm_load(v, state, state_len) : -ENOTCONN;
			CU_ASSERT_EQUAL(err, misfit[i].says ? -EPROTO : 0);
			if (misfit[i].says)
				CU_ASSERT(child_says(&there, misfit[i].says, VMS_WAIT));
			CU_ASSERT(v && !fake_vm_sync(v)); /* the connection stays */
			fake_vm_close(v);
		}
	}
	end();
}

static const struct check tests[] = {
	{"addresses and counters", test_move},
	{"addresses of others", test_others_addresses},
	{"ports of other settings", test_misfit},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("move", tests, argc, argv);
}
