/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/nic_in.bpf.c by BPF_PROG_TEST_RUN: where each kind of frame goes. Root. */
#include "check.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include "nic_in.skel.h"
#include "nic_in_hash.skel.h"
#include "nic_in_test.skel.h"
#include "switch/fdb.h"
#include "vxs_bpf.h"

#define QUEUES  2
#define VM_PORT 7
#define VM_VLAN 100

static const uint8_t vm[6] = {2, 0, 0, 0, 0, 7};
static const uint8_t vm_in_vlan[6] = {2, 0, 0, 0, 0, 8};
static const uint8_t no_socket[6] = {2, 0, 0, 0, 0, 9};
static const uint8_t host[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t uplink[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t bad_port[6] = {2, 0, 0, 0, 0, 3};
static const uint8_t nobody[6] = {2, 0, 0, 0, 0, 0xff};
static const uint8_t nic[6] = {2, 0, 0, 0, 0, 0xcc};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
static const uint8_t multicast[6] = {0x33, 0x33, 0, 0, 0, 1};

static const uint8_t fixed_vm[6] = {2, 0, 0, 0, 0, 0x77}; /* its entry is static */

static void add(struct nic_in_bpf *s, const uint8_t mac[6], uint16_t vlan, uint32_t port)
{
	struct vxs_fdb_value value = {.port = port, .flags = mac == fixed_vm ? VXS_FDB_STATIC : 0};
	struct vxs_fdb_key key = {.vlan = vlan};

	memcpy(key.mac, mac, 6);
	CU_ASSERT_EQUAL(bpf_map__update_elem(s->maps.fdb, &key, sizeof(key), &value, sizeof(value),
					     BPF_ANY),
			0);
}

/* Puts a socket into the map for @port on both queues; it lives as long as its fd. */
static int add_socket(struct nic_in_bpf *s, uint32_t port)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	uint32_t i, index;

	for (i = 0; i < QUEUES; i++) {
		index = port * QUEUES + i;
		CU_ASSERT_EQUAL(bpf_map__update_elem(s->maps.sockets, &index, sizeof(index), &fd,
						     sizeof(fd), BPF_ANY),
				0);
	}
	return fd;
}

static struct nic_in_bpf *load(bool host_share)
{
	struct nic_in_bpf *s = nic_in_bpf__open();

	if (!s)
		return NULL;
	s->rodata->queues = QUEUES;
	s->rodata->host_share = host_share;
	bpf_map__set_max_entries(s->maps.sockets, VXS_PORTS_MAX * QUEUES);
	if (nic_in_bpf__load(s)) {
		nic_in_bpf__destroy(s);
		return NULL;
	}
	s->bss->nic_mac = fdb_mac(nic);
	add(s, vm, 0, VM_PORT);
	add(s, vm_in_vlan, VM_VLAN, VM_PORT);
	add(s, fixed_vm, 0, VM_PORT);
	add(s, no_socket, 0, VM_PORT + 1);
	add(s, host, 0, VXS_PORT_HOST);
	add(s, uplink, 0, VXS_PORT_UPLINK);
	add(s, bad_port, 0, 0x80000000u + VM_PORT);
	return s;
}

/* What the program says to @len bytes on receive queue @queue of @ifindex (0: queue 0 of any). */
static int run_on(struct nic_in_bpf *s, const void *frame, uint32_t len, int ifindex,
		  uint32_t queue)
{
	struct xdp_md ctx = {.data_end = len, .ingress_ifindex = ifindex, .rx_queue_index = queue};
	uint8_t out[2048];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .data_out = out,
		    .data_size_out = sizeof(out));

	if (ifindex) {
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
	}
	if (bpf_prog_test_run_opts(bpf_program__fd(s->progs.nic_in), &opts))
		return -errno;
	CU_ASSERT_EQUAL(opts.data_size_out, len);
	CU_ASSERT(!memcmp(frame, out, len)); /* it never writes */
	return opts.retval;
}

/* As run_on(), for a frame to @mac with the tag @type (0: none) and VLAN @tci, cut to @len bytes.
 */
static int run(struct nic_in_bpf *s, const uint8_t mac[6], uint16_t type, uint16_t tci,
	       uint32_t len)
{
	uint8_t frame[128] = {0};
	unsigned at = 12;

	memcpy(frame, mac, 6);
	frame[6] = 2;
	if (type) {
		memcpy(frame + at, (uint8_t[4]){type >> 8, type, tci >> 8, tci}, 4);
		at += 4;
	}
	frame[at] = 8; /* IPv4 */
	return run_on(s, frame, len, 0, 0);
}

static bool can_run(void)
{
	static int able = -1;
	struct nic_in_bpf *s;

	if (able < 0) {
		s = geteuid() ? NULL : load(true);
		able = s != NULL;
		nic_in_bpf__destroy(s);
	}
	if (!able)
		check_skip("needs root and a kernel that loads XDP programs");
	return able;
}

static void test_ours(void)
{
	struct nic_in_bpf *s;
	int fd;

	if (!can_run())
		return;
	s = load(true);
	CU_ASSERT_EQUAL(run(s, vm, 0, 0, 60), XDP_PASS); /* no socket yet */
	fd = add_socket(s, VM_PORT);
	CU_ASSERT_EQUAL(run(s, vm, 0, 0, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, vm, 0, 0, 128), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, no_socket, 0, 0, 60), XDP_PASS);
	close(fd);
	CU_ASSERT_EQUAL(run(s, vm, 0, 0, 60), XDP_PASS);
	nic_in_bpf__destroy(s);
}

static void test_not_ours(void)
{
	struct nic_in_bpf *s;
	int share, vm_fd, trunk_fd;

	if (!can_run())
		return;
	for (share = 0; share < 2; share++) {
		int to_nobody = share ? XDP_PASS : XDP_REDIRECT;

		s = load(share);
		CU_ASSERT_EQUAL(run(s, nobody, 0, 0, 60), XDP_PASS); /* no trunk yet */
		vm_fd = add_socket(s, VM_PORT);
		trunk_fd = add_socket(s, VXS_PORT_UPLINK);
		CU_ASSERT_EQUAL(run(s, nobody, 0, 0, 60), to_nobody);
		CU_ASSERT_EQUAL(run(s, broadcast, 0, 0, 60), to_nobody);
		CU_ASSERT_EQUAL(run(s, multicast, 0, 0, 60), to_nobody);
		CU_ASSERT_EQUAL(run(s, broadcast, 0x8100, 5, 60), to_nobody);
		CU_ASSERT_EQUAL(run(s, host, 0, 0, 60), XDP_PASS);
		CU_ASSERT_EQUAL(run(s, uplink, 0, 0, 60), XDP_PASS);
		CU_ASSERT_EQUAL(run(s, bad_port, 0, 0, 60), XDP_PASS);
		CU_ASSERT_EQUAL(run(s, vm, 0, 0, 60), XDP_REDIRECT);
		close(vm_fd);
		close(trunk_fd);
		nic_in_bpf__destroy(s);
	}
}

static void test_vlan(void)
{
	struct nic_in_bpf *s;
	int fd;

	if (!can_run())
		return;
	s = load(true);
	fd = add_socket(s, VM_PORT);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x8100, VM_VLAN, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x88a8, VM_VLAN, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x8100, 0xf000 | VM_VLAN, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x8100, VM_VLAN + 1, 60), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0, 0, 60), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, vm, 0x8100, VM_VLAN, 60), XDP_PASS);
	/* a static address is there on every VLAN */
	CU_ASSERT_EQUAL(run(s, fixed_vm, 0, 0, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, fixed_vm, 0x8100, VM_VLAN, 60), XDP_REDIRECT);
	/* VLAN 0 is a priority and no VLAN */
	CU_ASSERT_EQUAL(run(s, vm, 0x8100, 0xe000, 60), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run(s, vm, 0x88a8, 0, 60), XDP_REDIRECT);
	close(fd);
	nic_in_bpf__destroy(s);
}

static void test_short(void)
{
	struct nic_in_bpf *s;
	uint32_t len;
	int fd;

	if (!can_run())
		return;
	s = load(false);
	fd = add_socket(s, VM_PORT);
	CU_ASSERT_EQUAL(run(s, vm, 0, 0, 14), XDP_REDIRECT);
	for (len = 14; len < 18; len++)
		CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x8100, VM_VLAN, len), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, vm_in_vlan, 0x8100, VM_VLAN, 18), XDP_REDIRECT);
	close(fd);
	nic_in_bpf__destroy(s);
}

static void test_nic_address(void)
{
	static const uint8_t new_nic[6] = {2, 0, 0, 0, 0, 0xcd};
	struct nic_in_bpf *s;
	int fd, trunk_fd;

	if (!can_run())
		return;
	s = load(false);
	fd = add_socket(s, VM_PORT);
	trunk_fd = add_socket(s, VXS_PORT_UPLINK);
	add(s, nic, 0, VM_PORT); /* a VM claims it: the host keeps it */
	CU_ASSERT_EQUAL(run(s, nic, 0, 0, 60), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, nic, 0x8100, 5, 60), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, new_nic, 0, 0, 60), XDP_REDIRECT);
	s->bss->nic_mac = fdb_mac(new_nic);
	CU_ASSERT_EQUAL(run(s, new_nic, 0, 0, 60), XDP_PASS);
	CU_ASSERT_EQUAL(run(s, nic, 0, 0, 60), XDP_REDIRECT);
	close(fd);
	close(trunk_fd);
	nic_in_bpf__destroy(s);
}

/* A veth with one queue more than are served; receive queues exist while XDP is attached. */
static void test_queue(void)
{
	uint8_t frame[60] = {0};
	struct nic_in_bpf *s;
	int fd, ifindex;

	if (!can_run())
		return;
	if (unshare(CLONE_NEWNET) ||
	    system("ip link add nic0 numrxqueues 3 numtxqueues 3 type veth peer name wire0 "
		   "numrxqueues 3 numtxqueues 3 && ip link set nic0 up && ip link set wire0 up")) {
		check_skip("needs a network namespace and veth");
		return;
	}
	s = load(false);
	fd = add_socket(s, VM_PORT);
	ifindex = if_nametoindex("nic0");
	CU_ASSERT_EQUAL(
		bpf_xdp_attach(ifindex, bpf_program__fd(s->progs.nic_in), XDP_FLAGS_DRV_MODE, NULL),
		0);
	memcpy(frame, vm, 6);
	CU_ASSERT_EQUAL(run_on(s, frame, sizeof(frame), ifindex, 0), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run_on(s, frame, sizeof(frame), ifindex, 1), XDP_REDIRECT);
	CU_ASSERT_EQUAL(run_on(s, frame, sizeof(frame), ifindex, 2), XDP_PASS);
	system("ip link del nic0");
	close(fd);
	nic_in_bpf__destroy(s);
}

/* What stands before a frame when the program is done with it: -1 nothing, else the hash. */
static int64_t hash_before(struct nic_in_test_bpf *s, const uint8_t mac[6])
{
	uint8_t frame[64] = {0}, out[2048] = {0};
	struct xdp_md in = {.data_end = sizeof(frame)}, left = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .data_out = out, .data_size_out = sizeof(out), .ctx_in = &in,
		    .ctx_size_in = sizeof(in), .ctx_out = &left, .ctx_size_out = sizeof(left));
	struct vxs_nic_meta meta;

	memcpy(frame, mac, 6);
	CU_ASSERT_EQUAL(bpf_prog_test_run_opts(bpf_program__fd(s->progs.nic_in), &opts), 0);
	if (left.data == left.data_meta)
		return -1;
	CU_ASSERT_EQUAL(left.data - left.data_meta, sizeof(meta));
	CU_ASSERT_EQUAL(opts.data_size_out, sizeof(meta) + sizeof(frame));
	CU_ASSERT(!memcmp(out + sizeof(meta), frame, sizeof(frame)));
	memcpy(&meta, out, sizeof(meta));
	return meta.hash;
}

/*
 * Test runs are refused for programs that are bound to a device, so nic_in_test.bpf.c has the
 * program with a driver of its own.
 */
static void test_hash(void)
{
	struct nic_in_test_bpf *s;
	int fd, trunk_fd;

	if (!can_run())
		return;
	s = nic_in_test_bpf__open_and_load();
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	add((struct nic_in_bpf *)s, vm, 0, VM_PORT);
	fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	trunk_fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	CU_ASSERT(!bpf_map__update_elem(s->maps.sockets, &(uint32_t){VM_PORT}, 4, &fd, 4, 0));
	CU_ASSERT(!bpf_map__update_elem(s->maps.sockets, &(uint32_t){VXS_PORT_UPLINK}, 4, &trunk_fd,
					4, 0));
	s->bss->test_hash = 0x89abcdef;
	CU_ASSERT_EQUAL(hash_before(s, vm), -1);
	s->bss->hash_wanted = 1;
	CU_ASSERT_EQUAL(hash_before(s, vm), 0x89abcdef);
	CU_ASSERT_EQUAL(hash_before(s, nobody), -1);
	CU_ASSERT_EQUAL(hash_before(s, broadcast), -1);
	/* The driver knows none of this frame. */
	s->bss->test_error = -ENODATA;
	CU_ASSERT_EQUAL(hash_before(s, vm), 0);
	close(fd);
	close(trunk_fd);
	nic_in_test_bpf__destroy(s);
}

/* The real one loads on a device that has the function; elsewhere it is refused, and no harm done.
 */
static void test_hash_loads(void)
{
	struct nic_in_hash_bpf *s;
	int err;

	if (!can_run())
		return;
	if (unshare(CLONE_NEWNET) || system("ip link add nic0 type veth peer name wire0")) {
		check_skip("needs a network namespace and veth");
		return;
	}
	s = nic_in_hash_bpf__open();
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	bpf_program__set_ifindex(s->progs.nic_in, if_nametoindex("nic0"));
	bpf_program__set_flags(s->progs.nic_in, 1u << 6 /* BPF_F_XDP_DEV_BOUND_ONLY */);
	err = nic_in_hash_bpf__load(s);
	if (err)
		check_skip("the kernel has no metadata of XDP frames");
	else
		CU_ASSERT_EQUAL(bpf_xdp_attach(if_nametoindex("nic0"),
					       bpf_program__fd(s->progs.nic_in), XDP_FLAGS_DRV_MODE,
					       NULL),
				0);
	nic_in_hash_bpf__destroy(s);
	system("ip link del nic0");
}

static const struct check tests[] = {
	{"ours", test_ours},   {"not_ours", test_not_ours},       {"vlan", test_vlan},
	{"short", test_short}, {"nic_address", test_nic_address}, {"queue", test_queue},
	{"hash", test_hash},   {"hash_loads", test_hash_loads},   {},
};

int main(int argc, char **argv)
{
	return check_main("nic_in", tests, argc, argv);
}
