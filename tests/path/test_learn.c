/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where addresses are: learned per VLAN, fixed, moving, ageing; in the kernel's map at once. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "check.h"
#include "lab.h"
#include "vxs_ctl.h"

#define WORDS "--uplink nic0 --vm a --vm b"

static struct lab lab;

enum { A, B, WIRE, HOST };

static const uint8_t roamer[6] = {2, 1, 1, 1, 1, 1};

static struct end *at(unsigned i)
{
	return &lab.end[i];
}

/* @from sends a frame to @to's address on @vlan: it comes to @to and to nobody else. */
static bool only(struct end *from, const uint8_t mac[6], uint16_t vlan, struct end *to)
{
	struct shot shot = {.to = mac, .vlan = vlan, .flow = 20};
	unsigned i;
	bool ok;

	lab_clear(&lab);
	ok = !end_shoot(&lab, from, &shot) && lab_got(&lab, to, 20, 1);
	lab_quiet(&lab, 10);
	for (i = 0; i < lab.n_ends; i++)
		if (at(i) != to && at(i)->in.n) {
			printf("--- %s saw a frame by %s for %s\n", at(i)->name, from->name,
			       to->name);
			ok = false;
		}
	return ok && to->in.n == 1;
}

/* @from says from @mac that it is there, to @to, who hears it. */
static bool announce(struct end *from, const uint8_t mac[6], uint16_t vlan, struct end *to)
{
	struct shot shot = {.from = mac, .vlan = vlan, .flow = 21};
	bool ok;

	lab_clear(&lab);
	ok = !end_shoot(&lab, from, &shot) && lab_got(&lab, to, 21, 1);
	lab_quiet(&lab, 10);
	return ok;
}

/* @from sends to @mac: the frame comes to @to, wherever else. */
static bool reaches(struct end *from, const uint8_t mac[6], struct end *to)
{
	struct shot shot = {.to = mac, .flow = 22};
	bool ok;

	lab_clear(&lab);
	ok = !end_shoot(&lab, from, &shot) && lab_got(&lab, to, 22, 1);
	lab_quiet(&lab, 10);
	return ok && lab_clean(&lab) && !from->in.n;
}

/* @from, as @mac, sends a frame to @to alone. */
static bool tell(struct end *from, const uint8_t mac[6], struct end *to)
{
	struct shot shot = {.to = to->mac, .from = mac, .flow = 23};

	lab_clear(&lab);
	return !end_shoot(&lab, from, &shot) && lab_got(&lab, to, 23, 1);
}

static void test_per_vlan(void)
{
	if (!lab_full(&lab, 1, WORDS))
		return;
	/* The same address on two VLANs is two stations. */
	CU_ASSERT(announce(at(A), roamer, 10, at(B)));
	CU_ASSERT(lab_learned(&lab, roamer, 10, "a"));
	CU_ASSERT(announce(at(B), roamer, 20, at(A)));
	CU_ASSERT(lab_learned(&lab, roamer, 20, "b"));
	CU_ASSERT_EQUAL(lab_fdb(&lab, roamer, 0), -1);
	CU_ASSERT(only(at(WIRE), roamer, 10, at(A)));
	CU_ASSERT(only(at(WIRE), roamer, 20, at(B)));
	CU_ASSERT(only(at(B), roamer, 10, at(A)));
	CU_ASSERT(only(at(A), roamer, 20, at(B)));
	CU_ASSERT(only(at(HOST), roamer, 10, at(A)));
	CU_ASSERT(only(at(HOST), roamer, 20, at(B)));
	lab_close(&lab);
}

/* VM to VM, VM to wire, and back: each time, frames follow the address from every side. */
static void test_moves(void)
{
	unsigned round;

	if (!lab_full(&lab, 1, WORDS))
		return;
	for (round = 0; round < 3; round++) {
		CU_ASSERT(announce(at(A), roamer, 0, at(WIRE)));
		CU_ASSERT(lab_learned(&lab, roamer, 0, "a"));
		CU_ASSERT(only(at(B), roamer, 0, at(A)));
		CU_ASSERT(only(at(WIRE), roamer, 0, at(A)));
		CU_ASSERT(only(at(HOST), roamer, 0, at(A)));

		CU_ASSERT(announce(at(B), roamer, 0, at(WIRE)));
		CU_ASSERT(lab_learned(&lab, roamer, 0, "b"));
		CU_ASSERT(only(at(A), roamer, 0, at(B)));
		CU_ASSERT(only(at(WIRE), roamer, 0, at(B)));
		CU_ASSERT(only(at(HOST), roamer, 0, at(B)));

		/* To the wire, which a broadcast from there says: the kernel's map of VMs forgets
		 * it, and frames for it go there (and elsewhere: nobody knows the side yet). */
		CU_ASSERT(announce(at(WIRE), roamer, 0, at(A)));
		CU_ASSERT(lab_learned(&lab, roamer, 0, NULL));
		CU_ASSERT(reaches(at(A), roamer, at(WIRE)));
		CU_ASSERT(reaches(at(B), roamer, at(WIRE)));

		/* What it sends to a VM says that it is on the uplink. */
		CU_ASSERT(tell(at(WIRE), roamer, at(B)));
		CU_ASSERT(lab_shown(&lab, roamer, 0, NET_NIC));
		CU_ASSERT(only(at(A), roamer, 0, at(WIRE)));
		CU_ASSERT(only(at(B), roamer, 0, at(WIRE)));
	}
	lab_close(&lab);
}

static void test_fixed(void)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 0x42};

	if (!lab_full(&lab, 1, WORDS " --vm f,mac=52:54:00:00:00:42"))
		return;
	/* Known before the VM is there, and before it sends. */
	CU_ASSERT(lab_learned(&lab, mac, 0, "f"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(lab_vm(&lab, "f", NULL));
	CU_ASSERT(only(at(A), mac, 0, at(4)));
	CU_ASSERT(only(at(WIRE), mac, 0, at(4)));
	CU_ASSERT(only(at(HOST), mac, 0, at(4)));

	/* Nobody else can take it, and the VM gets no other. */
	CU_ASSERT(announce(at(A), mac, 0, at(B)));
	CU_ASSERT(announce(at(WIRE), mac, 0, at(B)));
	CU_ASSERT(announce(at(4), roamer, 0, at(B)));
	CU_ASSERT_EQUAL(lab_fdb(&lab, mac, 0), lab_port(&lab, "f"));
	CU_ASSERT_EQUAL(lab_fdb(&lab, roamer, 0), -1);
	CU_ASSERT(only(at(B), mac, 0, at(4)));
	CU_ASSERT(only(at(WIRE), mac, 0, at(4)));

	/* It goes with its port. */
	lab_leave(at(4));
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "port del f"), 0);
	CU_ASSERT(lab_learned(&lab, mac, 0, NULL));
	lab_close(&lab);
}

/* The host's own address is nobody else's. */
static void test_host_address(void)
{
	uint8_t mac[6];

	if (!lab_full(&lab, 1, WORDS))
		return;
	memcpy(mac, at(HOST)->mac, 6);
	CU_ASSERT(announce(at(A), mac, 0, at(B)));
	CU_ASSERT(only(at(B), mac, 0, at(HOST)));
	CU_ASSERT(only(at(WIRE), mac, 0, at(HOST)));
	lab_close(&lab);
}

static void test_ageing(void)
{
	static const uint8_t fixed[6] = {0x52, 0x54, 0, 0, 0, 0x42};

	if (!lab_full(&lab, 1, WORDS " --vm f,mac=52:54:00:00:00:42 --ageing 1"))
		return;
	CU_ASSERT(announce(at(A), roamer, 0, at(B)));
	CU_ASSERT(lab_learned(&lab, roamer, 0, "a"));
	/* Silent for more than a second: gone from the maps; the fixed one stays. */
	CU_ASSERT(lab_learned(&lab, roamer, 0, NULL));
	CU_ASSERT(lab_learned(&lab, at(A)->mac, 0, NULL));
	CU_ASSERT_EQUAL(lab_fdb(&lab, fixed, 0), lab_port(&lab, "f"));
	/* Learned anew with the next frame. */
	CU_ASSERT(announce(at(B), roamer, 0, at(A)));
	CU_ASSERT(lab_learned(&lab, roamer, 0, "b"));
	CU_ASSERT(only(at(WIRE), roamer, 0, at(B)));
	lab_close(&lab);
}

/* An entry made by hand takes effect on the wire side. */
static void test_by_hand(void)
{
	struct vxs_fdb_key key = {.vlan = 0};
	struct vxs_fdb_value value = {};
	struct vxs_port_stats before, after;
	struct shot shot = {.to = roamer, .flow = 5};
	char path[256];
	int fd;

	if (!lab_full(&lab, 1, WORDS))
		return;
	snprintf(path, sizeof(path), "%s/%s/fdb", VXS_PIN_DIR, lab.vxsd.name);
	fd = bpf_obj_get(path);
	CU_ASSERT_FATAL(fd >= 0);
	memcpy(key.mac, roamer, 6);
	value.port = lab_port(&lab, "b");
	CU_ASSERT_EQUAL(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	CU_ASSERT(only(at(WIRE), roamer, 0, at(B)));

	/* Numbers that stand for nothing harm nobody. */
	value.port = 400;
	CU_ASSERT_EQUAL(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	CU_ASSERT_EQUAL(end_shoot(&lab, at(WIRE), &shot), 0);
	value.port = 0xffffffff;
	CU_ASSERT_EQUAL(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	CU_ASSERT_EQUAL(end_shoot(&lab, at(WIRE), &shot), 0);
	bpf_map_delete_elem(fd, &key);
	close(fd);
	lab_quiet(&lab, 20); /* they count as unknown */
	CU_ASSERT(lab_stats(&lab, "b", &before));
	CU_ASSERT(only(at(WIRE), at(B)->mac, 0, at(B)));
	CU_ASSERT(lab_stats(&lab, "b", &after));
	CU_ASSERT_EQUAL(after.out_frames - before.out_frames, 1);
	lab_close(&lab);
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

/* vxsctl says what the maps say. */
static void test_shown(void)
{
	struct vxs_port_stats stats;
	struct json_object *list, *o;
	unsigned i, found = 0;

	if (!lab_full(&lab, 1, WORDS))
		return;
	CU_ASSERT(announce(at(A), roamer, 30, at(B)));
	CU_ASSERT(lab_learned(&lab, roamer, 30, "a"));
	list = child_ctl(&lab.vxsd, "fdb show", NULL);
	CU_ASSERT(json_object_is_type(list, json_type_array));
	for (i = 0; list && i < json_object_array_length(list); i++) {
		o = json_object_array_get_idx(list, i);
		if (strcmp(json_object_get_string(member(o, "mac")), "02:01:01:01:01:01"))
			continue;
		found++;
		CU_ASSERT_EQUAL(json_object_get_int(member(o, "vlan")), 30);
		CU_ASSERT_STRING_EQUAL(json_object_get_string(member(o, "port")), "a");
		CU_ASSERT_STRING_EQUAL(json_object_get_string(member(o, "type")), "learned");
	}
	CU_ASSERT_EQUAL(found, 1);
	json_object_put(list);

	CU_ASSERT(lab_stats(&lab, "a", &stats));
	list = child_ctl(&lab.vxsd, "stats", NULL);
	for (found = i = 0; list && i < json_object_array_length(list); i++) {
		o = json_object_array_get_idx(list, i);
		if (strcmp(json_object_get_string(member(o, "port")), "a"))
			continue;
		found++;
		CU_ASSERT_EQUAL(json_object_get_int64(member(o, "in_frames")),
				(int64_t)stats.in_frames);
		CU_ASSERT_EQUAL(json_object_get_int64(member(o, "out_bytes")),
				(int64_t)stats.out_bytes);
		CU_ASSERT_PTR_NOT_NULL(member(member(o, "drops"), "queue_full"));
	}
	CU_ASSERT_EQUAL(found, 1);
	json_object_put(list);
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"per_vlan", test_per_vlan}, {"moves", test_moves},
		{"fixed", test_fixed},       {"host_address", test_host_address},
		{"ageing", test_ageing},     {"by_hand", test_by_hand},
		{"shown", test_shown},       {},
	};

	return check_main("learn", tests, argc, argv);
}
