/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Broadcast, multicast and unknown unicast: each one sees each frame once, the sender never. */
#include <string.h>

#include "check.h"
#include "lab.h"

#define WORDS "--uplink nic0 --vm a --vm b --vm c"

static struct lab lab;

enum { A, B, WIRE, HOST, C };

static struct end *at(unsigned i)
{
	return &lab.end[i];
}

static bool open_all(const char *words)
{
	if (!lab_full(&lab, 1, words))
		return false;
	if (lab_vm(&lab, "c", NULL) && lab_learn(&lab))
		return true;
	CU_FAIL("not everybody is there");
	lab_close(&lab);
	return false;
}

/*
 * Each of the ends sends 20 frames to @to, and each other one has them exactly once, but for those
 * for which @skip returns true.
 */
static void flood(const uint8_t *to, uint16_t vlan, bool (*skip)(unsigned from, unsigned end))
{
	unsigned from, i;

	for (from = 0; from < lab.n_ends; from++) {
		struct shot shot = {.to = to, .vlan = vlan, .flow = from, .len = 300};

		lab_clear(&lab);
		for (; shot.seq < 20; shot.seq++)
			CU_ASSERT_EQUAL(end_shoot(&lab, at(from), &shot), 0);
		for (i = 0; i < lab.n_ends; i++)
			if (i != from && !(skip && skip(from, i)))
				CU_ASSERT(lab_got(&lab, at(i), from, 20));
		lab_quiet(&lab, 50);
		CU_ASSERT(lab_clean(&lab));
		for (i = 0; i < lab.n_ends; i++) {
			unsigned want = i == from || (skip && skip(from, i)) ? 0 : 20;

			if (at(i)->in.n != want)
				printf("--- from %s: %s got %u of %u\n", at(from)->name,
				       at(i)->name, at(i)->in.n, want);
			CU_ASSERT_EQUAL(at(i)->in.n, want);
		}
	}
}

static void test_broadcast(void)
{
	if (!open_all(WORDS))
		return;
	flood(NULL, 0, NULL);
	lab_close(&lab);
}

static void test_broadcast_skb(void)
{
	if (!open_all("--uplink nic0,mode=skb --vm a --vm b --vm c"))
		return;
	flood(NULL, 0, NULL);
	flood(NULL, 100, NULL);
	lab_close(&lab);
}

static void test_multicast(void)
{
	static const uint8_t ip4[6] = {1, 0, 0x5e, 1, 2, 3}, ip6[6] = {0x33, 0x33, 0, 0, 0, 1};

	if (!open_all(WORDS))
		return;
	flood(ip4, 0, NULL);
	flood(ip6, 0, NULL);
	lab_close(&lab);
}

static void test_vlan(void)
{
	static const uint8_t group[6] = {1, 0, 0x5e, 1, 2, 3};

	if (!open_all(WORDS))
		return;
	flood(NULL, 100, NULL);
	flood(group, 4094, NULL);
	lab_close(&lab);
}

/* What the host sends to an unknown address goes to the wire, as without vxs. */
static bool from_host_to_vm(unsigned from, unsigned end)
{
	return from == HOST && end != WIRE;
}

static void test_unknown(void)
{
	static const uint8_t nobody[6] = {2, 9, 9, 9, 9, 9};

	if (!open_all(WORDS))
		return;
	flood(nobody, 0, from_host_to_vm);
	flood(nobody, 7, from_host_to_vm);
	lab_close(&lab);
}

/* --host off: what is for nobody in particular comes through the trunk. */
static void host_off(const char *words)
{
	static const uint8_t nobody[6] = {2, 9, 9, 9, 9, 9}, group[6] = {1, 0, 0x5e, 1, 2, 3};

	if (!lab_open(&lab, 1, words))
		return;
	if (lab_vm(&lab, "a", NULL) && lab_vm(&lab, "b", NULL) && lab_wire(&lab) &&
	    lab_learn(&lab)) {
		flood(NULL, 0, NULL);
		flood(group, 0, NULL);
		flood(nobody, 0, NULL);
		flood(NULL, 5, NULL);
	} else {
		CU_FAIL("not everybody is there");
	}
	lab_close(&lab);
}

static void test_host_off(void)
{
	host_off("--uplink nic0 --vm a --vm b --host off");
}

static void test_host_off_skb(void)
{
	host_off("--uplink nic0,mode=skb --vm a --vm b --host off");
}

static uint64_t drop_of(const char *port, size_t offset)
{
	struct vxs_port_stats stats = {};

	lab_stats(&lab, port, &stats);
	return *(uint64_t *)((char *)&stats.drops + offset);
}

/* @shot by VM a isn't delivered to anybody, and stands in the drop counter at @offset. */
static void goes_nowhere(struct shot shot, size_t offset)
{
	struct shot after = {.to = at(B)->mac, .flow = 9};
	uint64_t before = drop_of("a", offset);
	unsigned i;

	lab_clear(&lab);
	CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &shot), 0);
	CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &after), 0);
	CU_ASSERT(lab_got(&lab, at(B), 9, 1));
	lab_quiet(&lab, 20);
	for (i = 0; i < lab.n_ends; i++)
		CU_ASSERT_EQUAL(at(i)->in.n, i == B);
	CU_ASSERT_EQUAL(drop_of("a", offset), before + 1);
}

#define DROP(field) offsetof(struct vxs_drops, field)

/* Frames that no bridge forwards, and those for where they came from. */
static void test_nowhere(void)
{
	static const uint8_t stp[6] = {1, 0x80, 0xc2, 0, 0, 0}, lldp[6] = {1, 0x80, 0xc2, 0, 0, 14};
	static const uint8_t group[6] = {1, 0, 0x5e, 1, 2, 3}, zero[6];
	static const uint8_t alias[6] = {2, 3, 3, 3, 3, 3};
	uint64_t before;

	if (!open_all(WORDS))
		return;
	goes_nowhere((struct shot){.to = stp}, DROP(link_local));
	goes_nowhere((struct shot){.to = lldp}, DROP(link_local));
	goes_nowhere((struct shot){.from = group}, DROP(bad_source));
	goes_nowhere((struct shot){.to = at(B)->mac, .from = lab_broadcast}, DROP(bad_source));
	goes_nowhere((struct shot){.from = zero}, DROP(bad_source));
	goes_nowhere((struct shot){.to = at(A)->mac}, DROP(same_port));

	/* A second address behind the same port. */
	CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &(struct shot){.from = alias}), 0);
	CU_ASSERT(lab_learned(&lab, alias, 0, "a"));
	lab_quiet(&lab, 20);
	goes_nowhere((struct shot){.to = alias}, DROP(same_port));

	/* Shorter than an Ethernet header. */
	before = drop_of("a", DROP(short_frame));
	lab_clear(&lab);
	CU_ASSERT_EQUAL(end_raw(&lab, at(A), "thirteenbytes", 13), 0);
	CU_ASSERT_EQUAL(fake_vm_flush(at(A)->vm, 0, LAB_WAIT), 0);
	CU_ASSERT_EQUAL(drop_of("a", DROP(short_frame)), before + 1);
	lab_quiet(&lab, 20);
	CU_ASSERT_EQUAL(at(B)->in.n + at(C)->in.n + at(WIRE)->in.n + at(HOST)->in.n, 0);
	CU_ASSERT_EQUAL(at(B)->in.foreign + at(C)->in.foreign, 0);
	lab_close(&lab);
}

/* A flood counts at each of those who miss it: ports without a VM, and one that doesn't read. */
static void test_accounts(void)
{
	struct fake_vm_options few = {.recv_buffers = 8};
	struct vxs_port_stats b0, b1, d0, d1;
	struct shot shot = {.flow = 1};
	struct end *a, *b, *c;

	if (!lab_open(&lab, 1, "--vm a --vm b --vm c --vm d"))
		return;
	a = lab_vm(&lab, "a", NULL);
	b = lab_vm(&lab, "b", &few);
	c = lab_vm(&lab, "c", NULL);
	if (!a || !b || !c) {
		CU_FAIL("VMs");
		lab_close(&lab);
		return;
	}
	b->deaf = true;
	lab_stats(&lab, "b", &b0);
	lab_stats(&lab, "d", &d0);
	for (; shot.seq < 100; shot.seq++) {
		CU_ASSERT_EQUAL(end_shoot(&lab, a, &shot), 0);
		CU_ASSERT(lab_got(&lab, c, 1, shot.seq + 1));
	}
	CU_ASSERT_EQUAL(fake_vm_flush(a->vm, 0, LAB_WAIT), 0);
	lab_stats(&lab, "b", &b1);
	lab_stats(&lab, "d", &d1);
	CU_ASSERT_EQUAL(b1.out_frames - b0.out_frames, 8);
	CU_ASSERT_EQUAL(b1.drops.queue_full - b0.drops.queue_full, 92);
	CU_ASSERT_EQUAL(d1.drops.not_running - d0.drops.not_running, 100);
	b->deaf = false;
	CU_ASSERT(lab_got(&lab, b, 1, 8));
	CU_ASSERT(lab_clean(&lab));
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"broadcast", test_broadcast},       {"broadcast_skb", test_broadcast_skb},
		{"multicast", test_multicast},       {"vlan", test_vlan},
		{"unknown", test_unknown},           {"host_off", test_host_off},
		{"host_off_skb", test_host_off_skb}, {"nowhere", test_nowhere},
		{"accounts", test_accounts},         {},
	};

	return check_main("flood", tests, argc, argv);
}
