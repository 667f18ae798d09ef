/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SEND_RARP: a guest that can't announce itself is announced, and everybody knows where it is. */
#include "vms.h"

#include <errno.h>

#define LEN 60

static const uint8_t moved[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static struct fake_vm *a, *b;

/* What the specification leaves to RFC 903, byte by byte. */
static void make_rarp(uint8_t *to, const uint8_t mac[6])
{
	static const uint8_t head[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};

	memset(to, 0, LEN);
	memset(to, 0xff, 6);
	memcpy(to + 6, mac, 6);
	memcpy(to + 12, head, sizeof(head));
	memcpy(to + 22, mac, 6);
	memcpy(to + 32, mac, 6);
}

static struct fake_vm *join(const char *name, unsigned pairs, bool start)
{
	struct fake_vm_options opt = {.protocol = FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_RARP),
				      .pairs = pairs,
				      .no_start = !start};

	return vms_join(name, &opt);
}

static bool begin(const char *words, unsigned pairs, bool a_starts)
{
	if (!vms_start(words, true))
		return false;
	a = join("a", pairs, a_starts);
	b = join("b", 1, true);
	return a && b;
}

static void end(void)
{
	fake_vm_close(a);
	fake_vm_close(b);
	a = b = NULL;
	vms_stop();
}

struct ear {
	struct fake_vm *vm;
	uint8_t got[2048];
	int len;
};

/* A frame has come, to whichever queue. */
static bool has_come(void *arg)
{
	struct ear *e = arg;
	unsigned pair;

	for (pair = 0; pair < e->vm->opt.pairs; pair++) {
		e->len = fake_vm_recv(e->vm, pair, e->got, sizeof(e->got));
		if (e->len)
			return true;
	}
	return false;
}

/* @vm receives a RARP request of @mac's, with an empty header. */
static bool hears(struct fake_vm *vm, const uint8_t mac[6])
{
	static const struct virtio_net_hdr_mrg_rxbuf closed = {.num_buffers = 1};
	struct ear e = {.vm = vm};
	uint8_t want[LEN];

	make_rarp(want, mac);
	return check_until(has_come, &e, VMS_WAIT) && e.len == LEN && !memcmp(e.got, want, LEN) &&
	       !memcmp(&vm->hdr, &closed, sizeof(closed));
}

struct place {
	const char *mac, *port;
};

/* The table has the address behind the port; without one, nowhere. */
static bool is_behind(void *arg)
{
	const struct place *p = arg;
	struct json_object *all = child_ctl(&vxsd, "fdb show", NULL), *one, *port;
	bool found = !p->port;
	size_t i, n = json_object_is_type(all, json_type_array) ? json_object_array_length(all) : 0;

	for (i = 0; i < n; i++) {
		one = json_object_array_get_idx(all, i);
		port = vms_member(one, "port");
		if (!strcmp(json_object_get_string(vms_member(one, "mac")), p->mac))
			found = p->port && !strcmp(json_object_get_string(port), p->port);
	}
	json_object_put(all);
	return found;
}

static bool known(const char *mac, const char *port)
{
	struct place p = {mac, port};

	return check_until(is_behind, &p, VMS_WAIT);
}

static void test_running(void)
{
	struct vxs_port_stats s;

	if (!begin("--vm a --vm b", 1, true))
		return;
	CU_ASSERT_EQUAL(fake_vm_rarp(a, moved), 0);
	CU_ASSERT_TRUE(hears(b, moved));
	CU_ASSERT_TRUE(known("52:54:00:12:34:56", "a"));
	CU_ASSERT_TRUE(vms_stats("a", &s));
	CU_ASSERT_EQUAL(s.in_frames, 1);
	CU_ASSERT_EQUAL(s.in_bytes, LEN);
	/* the guest is behind b now: its own word counts, then b's */
	CU_ASSERT_EQUAL(fake_vm_rarp(b, moved), 0);
	CU_ASSERT_TRUE(hears(a, moved));
	CU_ASSERT_TRUE(known("52:54:00:12:34:56", "b"));
	end();
}

/* QEMU asks for it before it lets the guest go on. */
static void test_before_start(void)
{
	static const char *const modes[] = {"--poll adaptive --vm a,queues=4 --vm b",
					    "--poll interrupt --vm a,queues=4 --vm b",
					    "--poll busy --vm a,queues=4 --vm b"};
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (!begin(modes[i], 4, false))
			return;
		CU_ASSERT_EQUAL(fake_vm_rarp(a, moved), 0);
		CU_ASSERT_TRUE(hears(b, moved));
		CU_ASSERT_TRUE(known("52:54:00:12:34:56", "a"));
		/* and the guest finds its rings as if nothing had been */
		fake_vm_reset_rings(a);
		CU_ASSERT_EQUAL(fake_vm_share(a), 0);
		CU_ASSERT_EQUAL(fake_vm_start(a), 0);
		CU_ASSERT_EQUAL(fake_vm_rarp(b, moved), 0);
		CU_ASSERT_TRUE(hears(a, moved));
		end();
	}
}

/* No station has such an address; it is refused, and nothing else happens. */
static void test_refused(void)
{
	static const uint8_t none[6] = {0}, many[6] = {1, 0, 0x5e, 0, 0, 1},
			     all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct vxs_port_stats s;

	if (!begin("--vm a --vm b", 1, true))
		return;
	CU_ASSERT_EQUAL(fake_vm_rarp(a, none), -EPROTO);
	CU_ASSERT_EQUAL(fake_vm_rarp(a, many), -EPROTO);
	CU_ASSERT_EQUAL(fake_vm_rarp(a, all), -EPROTO);
	CU_ASSERT_EQUAL(fake_vm_rarp(a, moved), 0);
	CU_ASSERT_TRUE(hears(b, moved));
	CU_ASSERT_TRUE(vms_stats("a", &s));
	CU_ASSERT_EQUAL(s.in_frames, 1);
	CU_ASSERT_EQUAL(child_count(&vxsd, "no station's address"), 3);
	end();
}

/* An address of the port's own is the only one that is learned there, of this frame as of any. */
static void test_fixed(void)
{
	static const uint8_t own[6] = {2, 0, 0, 0, 0, 0x61};

	if (!begin("--vm a,mac=02:00:00:00:00:61 --vm b", 1, true))
		return;
	CU_ASSERT_EQUAL(fake_vm_rarp(a, moved), 0);
	CU_ASSERT_TRUE(hears(b, moved));
	CU_ASSERT_EQUAL(fake_vm_rarp(a, own), 0);
	CU_ASSERT_TRUE(hears(b, own));
	CU_ASSERT_TRUE(known("52:54:00:12:34:56", NULL));
	CU_ASSERT_TRUE(known("02:00:00:00:00:61", "a"));
	end();
}

/* However often it is asked for, one is on its way. */
static void test_flood(void)
{
	struct vxs_port_stats at_a, at_b;
	unsigned i, n = 0;
	uint8_t got[2048];

	if (!begin("--vm a --vm b", 1, true))
		return;
	for (i = 0; i < 10000; i++) {
		uint64_t value = 2;

		CU_ASSERT_EQUAL_FATAL(
			fake_vm_message(a, VHOST_USER_SEND_RARP, &value, 8, NULL, 0, NULL), 0);
		while (fake_vm_recv(b, 0, got, sizeof(got)) > 0)
			n++;
	}
	CU_ASSERT_EQUAL(fake_vm_sync(a), 0);
	while (fake_vm_recv(b, 0, got, sizeof(got)) > 0)
		n++;
	/* behind the last of them, or in its place */
	CU_ASSERT_EQUAL(fake_vm_rarp(a, moved), 0);
	do {
		CU_ASSERT_EQUAL_FATAL(fake_vm_recv_wait(b, 0, got, sizeof(got), VMS_WAIT), LEN);
		n++;
	} while (memcmp(got + 6, moved, 6));
	CU_ASSERT_TRUE(vms_stats("a", &at_a));
	CU_ASSERT_TRUE(vms_stats("b", &at_b));
	CU_ASSERT(at_a.in_frames <= 10001);
	CU_ASSERT_EQUAL(at_a.in_frames, n + at_b.drops.queue_full); /* we may be the slower one */
	CU_ASSERT_EQUAL(at_b.out_frames, n);
	end();
}

/* Who goes leaves nothing that would be sent in the name of the next. */
static void test_hang_up(void)
{
	struct fake_vm_options opt = {.protocol = FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_RARP),
				      .no_start = true};
	unsigned i;

	if (!begin("--vm a --vm b", 1, true))
		return;
	for (i = 0; i < 200; i++) {
		uint64_t value = 0x020000000002;

		fake_vm_message(a, VHOST_USER_SEND_RARP, &value, 8, NULL, 0, NULL);
		fake_vm_close(a);
		a = vms_join("a", &opt);
		CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	}
	CU_ASSERT_EQUAL(fake_vm_sync(b), 0);
	end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"running", test_running},
		{"before_start", test_before_start},
		{"refused", test_refused},
		{"fixed", test_fixed},
		{"flood", test_flood},
		{"hang_up", test_hang_up},
		{},
	};

	return check_main("rarp", tests, argc, argv);
}
