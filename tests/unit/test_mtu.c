/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MTUs of VMs: which frames pass, which are dropped and under what name, and what is shown. */
#include <errno.h>
#include <sched.h>

#include "mark.h"
#include "vms.h"

/*
 *	a (no MTU) ── vxsd ── b (mtu=1000), c (mtu=1500)
 */
#define WORDS VMS_PORT("a", "61") VMS_PORT("b", "62") ",mtu=1000" VMS_PORT("c", "63") ",mtu=1500"
#define ETH   14

static struct fake_vm *a, *b, *c;

static bool open_all(void)
{
	const struct fake_vm_options opt = {.ring_size = 256};

	if (!vms_start(WORDS, true))
		return false;
	a = vms_join("a", &opt);
	b = vms_join("b", &opt);
	c = vms_join("c", &opt);
	if (a && b && c)
		return true;
	CU_FAIL("not everybody is there");
	return false;
}

static void close_all(void)
{
	fake_vm_close(a);
	fake_vm_close(b);
	fake_vm_close(c);
	vms_stop();
}

static size_t make(uint8_t *frame, char from, char to, unsigned len, unsigned vlan, unsigned seq)
{
	struct mark m = {.vlan = vlan, .seq = seq};

	vms_mac(from, m.src);
	vms_mac(to, m.dst);
	if (to == '*')
		memset(m.dst, 0xff, 6);
	mark_write(frame, len, &m);
	return len;
}

/* The next frame that a VM gets, which is as it was sent: its seq; -1: none. */
static int next(struct fake_vm *vm, unsigned ms)
{
	uint8_t frame[2048];
	struct mark m;
	int len = fake_vm_recv_wait(vm, 0, frame, sizeof(frame), ms);

	if (len <= 0)
		return -1;
	CU_ASSERT_EQUAL(mark_read(frame, len, &m), 0);
	return m.seq;
}

static uint64_t drops(const char *port, uint64_t *too_big, uint64_t *over_mtu)
{
	struct vxs_port_stats s;

	CU_ASSERT_TRUE(vms_stats(port, &s));
	*too_big = s.drops.too_big;
	*over_mtu = s.drops.over_mtu;
	return vms_drops(&s);
}

/* Frames of these lengths in one batch; those with an odd seq are too long. */
static void send_mixed(struct fake_vm *from, char name, char to)
{
	static const struct {
		unsigned len, vlan;
	} kind[] = {
		{1000 + ETH, 0}, {1000 + ETH + 1, 0}, {1000 + ETH + 4, 5}, {1000 + ETH + 5, 5},
		{60, 0},         {1500 + ETH, 0},     {1000 + ETH, 5},     {2000, 0},
	};
	static uint8_t frame[8][2048];
	struct fake_vm_frame many[8];
	unsigned i;

	for (i = 0; i < 8; i++) {
		many[i].data = frame[i];
		many[i].len = make(frame[i], name, to, kind[i].len, kind[i].vlan, i);
	}
	CU_ASSERT_EQUAL(fake_vm_send_batch(from, 0, many, 8), 8);
}

static void expect_even(struct fake_vm *vm)
{
	unsigned i;

	for (i = 0; i < 8; i += 2)
		CU_ASSERT_EQUAL(next(vm, VMS_WAIT), i);
}

/* Towards the VM: dropped on its port, and what fits goes on in its order. */
static void test_towards(void)
{
	uint64_t too_big, over_mtu;

	if (!open_all())
		return;
	send_mixed(a, 'a', 'b');
	expect_even(b);
	CU_ASSERT_EQUAL(fake_vm_flush(a, 0, VMS_WAIT), 0);
	CU_ASSERT_EQUAL(next(b, 0), -1);
	CU_ASSERT_EQUAL(drops("b", &too_big, &over_mtu), 4);
	CU_ASSERT_EQUAL(too_big, 4);
	CU_ASSERT_EQUAL(drops("a", &too_big, &over_mtu), 0);
	close_all();
}

/* From the VM: dropped on its port as well, under another name. */
static void test_from(void)
{
	uint64_t too_big, over_mtu;
	struct vxs_port_stats s;

	if (!open_all())
		return;
	send_mixed(b, 'b', 'a');
	expect_even(a);
	CU_ASSERT_EQUAL(fake_vm_flush(b, 0, VMS_WAIT), 0);
	CU_ASSERT_EQUAL(next(a, 0), -1);
	CU_ASSERT_EQUAL(drops("b", &too_big, &over_mtu), 4);
	CU_ASSERT_EQUAL(over_mtu, 4);
	CU_ASSERT_EQUAL(drops("a", &too_big, &over_mtu), 0);
	CU_ASSERT_TRUE(vms_stats("b", &s));
	CU_ASSERT_EQUAL(s.in_frames, 8);
	close_all();
}

/* To everybody: each port has its own limit. */
static void test_flood(void)
{
	uint64_t too_big, over_mtu;
	uint8_t frame[2048];

	if (!open_all())
		return;
	CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, make(frame, 'a', '*', 1200, 0, 1)), 0);
	CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, make(frame, 'a', '*', 1600, 0, 2)), 0);
	CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, make(frame, 'a', '*', 100, 0, 3)), 0);
	CU_ASSERT_EQUAL(next(c, VMS_WAIT), 1);
	CU_ASSERT_EQUAL(next(c, VMS_WAIT), 3);
	CU_ASSERT_EQUAL(next(b, VMS_WAIT), 3);
	CU_ASSERT_EQUAL(drops("b", &too_big, &over_mtu), 2);
	CU_ASSERT_EQUAL(too_big, 2);
	CU_ASSERT_EQUAL(drops("c", &too_big, &over_mtu), 1);
	CU_ASSERT_EQUAL(too_big, 1);
	close_all();
}

static uint64_t set_mtu(struct fake_vm *vm, uint64_t mtu)
{
	uint64_t protocol = vm->protocol_features | 1u << VHOST_USER_PROTOCOL_F_NET_MTU;
	union vhost_user_payload reply = {.u64 = UINT64_MAX};

	CU_ASSERT_EQUAL(fake_vm_request(vm, VHOST_USER_SET_PROTOCOL_FEATURES, &protocol,
					sizeof(protocol), NULL, 0),
			0);
	CU_ASSERT_EQUAL(
		fake_vm_message(vm, VHOST_USER_NET_SET_MTU, &mtu, sizeof(mtu), NULL, 0, &reply), 0);
	return reply.u64;
}

/* What `port show` has of a VM's MTU; 0: null. */
static void shown(const char *words, unsigned mtu, unsigned option, unsigned told)
{
	struct json_object *list = child_ctl(&vxsd, words, NULL);
	struct json_object *p = json_object_array_get_idx(list, 0);

	CU_ASSERT_EQUAL(vms_number(p, "mtu"), mtu);
	CU_ASSERT_EQUAL(vms_number(p, "mtu_option"), option);
	CU_ASSERT_EQUAL(vms_number(p, "mtu_told"), told);
	json_object_put(list);
}

/* The front-end's word holds at once, and as long as its connection. */
static void test_told(void)
{
	uint64_t too_big, over_mtu;
	uint8_t frame[2048];
	char path[128];

	if (!open_all())
		return;
	shown("port show a", 0, 0, 0);
	CU_ASSERT_EQUAL(set_mtu(a, 900), 0);
	shown("port show a", 900, 0, 900);
	CU_ASSERT_EQUAL(set_mtu(b, 900), 0);
	shown("port show b", 900, 1000, 900);
	CU_ASSERT_EQUAL(set_mtu(b, 1001), 1);
	CU_ASSERT_TRUE(child_says(&vxsd,
				  "wants an MTU of 1001, which is refused: give it 68 to "
				  "1000 (QEMU: host_mtu=), or add the port with mtu=1001",
				  VMS_WAIT));
	shown("port show b", 900, 1000, 900);
	CU_ASSERT_EQUAL(fake_vm_send(c, 0, frame, make(frame, 'c', 'a', 915, 0, 1)), 0);
	CU_ASSERT_EQUAL(fake_vm_send(c, 0, frame, make(frame, 'c', 'a', 914, 0, 2)), 0);
	CU_ASSERT_EQUAL(next(a, VMS_WAIT), 2);
	CU_ASSERT_EQUAL(drops("a", &too_big, &over_mtu), 1);
	CU_ASSERT_EQUAL(too_big, 1);
	CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, make(frame, 'a', 'c', 915, 0, 3)), 0);
	CU_ASSERT_EQUAL(fake_vm_send(a, 0, frame, make(frame, 'a', 'c', 914, 0, 4)), 0);
	CU_ASSERT_EQUAL(next(c, VMS_WAIT), 4);
	CU_ASSERT_EQUAL(drops("a", &too_big, &over_mtu), 2);
	CU_ASSERT_EQUAL(over_mtu, 1);
	snprintf(path, sizeof(path), "%s/a.sock", vxsd.run_dir);
	a->opt.socket = path;
	CU_ASSERT_EQUAL(fake_vm_reconnect(a), 0);
	shown("port show a", 0, 0, 0);
	close_all();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"towards", test_towards},
		{"from", test_from},
		{"flood", test_flood},
		{"told", test_told},
		{},
	};

	return check_main("mtu", tests, argc, argv);
}
