/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC programs that share the NIC with the host, each by BPF_PROG_TEST_RUN. Root. */
#include "check.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host/tap.h"
#include "vxs_bpf.h"
#include "host_share.skel.h"

/*
 * Two TAPs in a namespace of our own: one stands for the NIC (its address decides what is for the
 * host), what the programs clone can be read from the other. A redirect is only reported by the
 * kernel's test run, not done; a clone is done.
 */
#define HDR    12
#define UNSPEC ((__u32)TC_ACT_UNSPEC)

static const __u8 everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const __u8 group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
static const __u8 vm[6] = {2, 0, 0, 0, 0, 0x10};
static const __u8 tagged_vm[6] = {2, 0, 0, 0, 0, 0x11};
static const __u8 host_entry[6] = {2, 0, 0, 0, 0, 0x12};
static const __u8 wild_entry[6] = {2, 0, 0, 0, 0, 0x13};
static const __u8 stranger[6] = {2, 0, 0, 0, 0, 0x20};
static const __u8 sender[6] = {2, 0, 0, 0, 0, 0x30};

static bool in_netns;
static struct tap nic, tap;
static __u8 nic_mac[6];
static struct host_share_bpf *skel;

static const __u8 fixed_vm[6] = {2, 0, 0, 0, 0, 0x77}; /* its entry is static */

static void add_entry(const __u8 *mac, __u16 vlan, __u32 port)
{
	struct vxs_fdb_key key = {.vlan = vlan};
	struct vxs_fdb_value value = {.port = port, .flags = mac == fixed_vm ? VXS_FDB_STATIC : 0};

	memcpy(key.mac, mac, 6);
	CU_ASSERT_EQUAL(bpf_map_update_elem(bpf_map__fd(skel->maps.fdb), &key, &value, 0), 0);
}

static bool in_host_macs(const __u8 *mac, __u16 vlan)
{
	struct vxs_fdb_key key = {.vlan = vlan};
	__u8 value;

	memcpy(key.mac, mac, 6);
	return !bpf_map_lookup_elem(bpf_map__fd(skel->maps.host_macs), &key, &value);
}

static bool read_mac(void)
{
	struct ifreq ifr = {};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), err;

	memcpy(ifr.ifr_name, nic.name, IFNAMSIZ);
	err = ioctl(fd, SIOCGIFHWADDR, &ifr);
	close(fd);
	memcpy(nic_mac, ifr.ifr_hwaddr.sa_data, 6);
	return !err;
}

static bool open_all(void)
{
	if (!in_netns) {
		check_skip("needs root");
		return false;
	}
	CU_ASSERT_EQUAL_FATAL(tap_open(&nic, "test-nic", HDR), 0);
	CU_ASSERT_EQUAL_FATAL(tap_open(&tap, "test-tap", HDR), 0);
	CU_ASSERT_EQUAL(tap_set_up(&nic, true), 0);
	CU_ASSERT_EQUAL(tap_set_up(&tap, true), 0);
	CU_ASSERT(read_mac());
	skel = host_share_bpf__open();
	CU_ASSERT_PTR_NOT_NULL_FATAL(skel);
	skel->rodata->nic_ifindex = nic.ifindex;
	skel->rodata->tap_ifindex = tap.ifindex;
	CU_ASSERT_EQUAL_FATAL(host_share_bpf__load(skel), 0);
	add_entry(vm, 0, 2);
	add_entry(tagged_vm, 5, 3);
	add_entry(fixed_vm, 0, 3);
	add_entry(host_entry, 0, VXS_PORT_HOST);
	add_entry(wild_entry, 0, VXS_PORTS_MAX);
	add_entry(nic_mac, 0, 2); /* what a VM may claim */
	return true;
}

static void close_all(void)
{
	host_share_bpf__destroy(skel);
	tap_close(&tap);
	tap_close(&nic);
}

struct test_frame {
	__u8 at[128];
	unsigned len;
};

/* An Ethernet frame; @tpid 0: untagged. */
static struct test_frame frame_to(const __u8 *dst, __u16 tpid, __u16 tci)
{
	struct test_frame f = {.len = 60};
	__u8 *at = f.at + 12;
	unsigned i;

	memcpy(f.at, dst, 6);
	memcpy(f.at + 6, sender, 6);
	if (tpid) {
		*at++ = tpid >> 8;
		*at++ = tpid;
		*at++ = tci >> 8;
		*at++ = tci;
	}
	*at++ = 0x88; /* an experimental type, so that nobody answers */
	*at++ = 0xb5;
	for (i = at - f.at; i < f.len; i++)
		f.at[i] = i;
	return f;
}

/* Runs a program; the mark goes in and comes out. */
static __u32 run(struct bpf_program *prog, const struct test_frame *f, __u32 *mark)
{
	struct __sk_buff in = {.mark = mark ? *mark : 0, .ifindex = nic.ifindex}, out = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->at, .data_size_in = f->len,
		    .ctx_in = &in, .ctx_size_in = sizeof(in), .ctx_out = &out,
		    .ctx_size_out = sizeof(out));

	CU_ASSERT_EQUAL(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), 0);
	if (mark)
		*mark = out.mark;
	return opts.retval;
}

/* Frames that wait in the TAP; each must be @f, its tag in its place. */
static unsigned cloned(const struct test_frame *f)
{
	unsigned n = 0;
	__u8 at[2048];
	ssize_t len;

	while ((len = read(tap.fd, at, sizeof(at))) >= 0) {
		CU_ASSERT_EQUAL(len, HDR + f->len);
		CU_ASSERT_EQUAL(memcmp(at + HDR, f->at, f->len), 0);
		n++;
	}
	CU_ASSERT_EQUAL(errno, EAGAIN);
	return n;
}

struct expect {
	const char *what;
	const __u8 *dst;
	__u16 tpid, tci;
	__u32 verdict;
	unsigned clones;
};

static void run_table(struct bpf_program *prog, const struct expect *e)
{
	for (; e->what; e++) {
		struct test_frame f = frame_to(e->dst, e->tpid, e->tci);
		__u32 verdict = run(prog, &f, NULL);
		unsigned clones = cloned(&f);

		if (verdict != e->verdict || clones != e->clones)
			printf("     %s: verdict %d, %u clones\n", e->what, (int)verdict, clones);
		CU_ASSERT_EQUAL(verdict, e->verdict);
		CU_ASSERT_EQUAL(clones, e->clones);
	}
}

static void test_egress(void)
{
	const struct expect table[] = {
		{"broadcast", everybody, 0, 0, UNSPEC, 1},
		{"multicast", group, 0, 0, UNSPEC, 1},
		{"tagged broadcast", everybody, ETH_P_8021Q, 5, UNSPEC, 1},
		{"VM", vm, 0, 0, TC_ACT_REDIRECT, 0},
		{"VM, priority tag", vm, ETH_P_8021Q, 0xe000, TC_ACT_REDIRECT, 0},
		{"VM on another VLAN", vm, ETH_P_8021Q, 5, UNSPEC, 0},
		{"static VM on a VLAN", fixed_vm, ETH_P_8021Q, 7, TC_ACT_REDIRECT, 0},
		{"tagged VM, no tag", tagged_vm, 0, 0, UNSPEC, 0},
		{"tagged VM", tagged_vm, ETH_P_8021Q, 0x6005, TC_ACT_REDIRECT, 0},
		{"tagged VM, 802.1ad", tagged_vm, ETH_P_8021AD, 5, TC_ACT_REDIRECT, 0},
		{"stranger", stranger, 0, 0, UNSPEC, 0},
		{"entry of the host", host_entry, 0, 0, UNSPEC, 0},
		{"entry out of range", wild_entry, 0, 0, UNSPEC, 0},
		{},
	};

	if (!open_all())
		return;
	CU_ASSERT_FALSE(in_host_macs(sender, 0));
	run_table(skel->progs.vxs_nic_egress, table);
	CU_ASSERT(in_host_macs(sender, 0));
	CU_ASSERT(in_host_macs(sender, 5));
	CU_ASSERT_FALSE(in_host_macs(vm, 0));
	close_all();
}

static void test_ingress(void)
{
	const struct expect table[] = {
		{"broadcast", everybody, 0, 0, UNSPEC, 1},
		{"multicast", group, 0, 0, UNSPEC, 1},
		{"tagged broadcast", everybody, ETH_P_8021AD, 5, UNSPEC, 1},
		{"the NIC's own, claimed by a VM", nic_mac, 0, 0, UNSPEC, 0},
		{"VM", vm, 0, 0, TC_ACT_REDIRECT, 0},
		{"VM on another VLAN", vm, ETH_P_8021Q, 5, UNSPEC, 1},
		{"tagged VM", tagged_vm, ETH_P_8021Q, 0x6005, TC_ACT_REDIRECT, 0},
		{"stranger", stranger, 0, 0, UNSPEC, 1},
		{"tagged stranger", stranger, ETH_P_8021Q, 7, UNSPEC, 1},
		{},
	};
	struct test_frame f;

	if (!open_all())
		return;
	run_table(skel->progs.vxs_nic_ingress, table);

	/* an address that the host sent from is the host's, not a stranger's */
	f = frame_to(stranger, 0, 0);
	CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_egress, &f, NULL), UNSPEC);
	f = frame_to(sender, 0, 0);
	CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_ingress, &f, NULL), UNSPEC);
	CU_ASSERT_EQUAL(cloned(&f), 0);
	close_all();
}

static void test_marks(void)
{
	struct test_frame f = frame_to(everybody, 0, 0);
	__u32 mark = 0;

	if (!open_all())
		return;
	CU_ASSERT_EQUAL(run(skel->progs.vxs_tap_ingress, &f, &mark), TC_ACT_REDIRECT);
	CU_ASSERT_NOT_EQUAL(mark, 0);
	/* from the TAP: to the host, unmarked, and not back */
	CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_ingress, &f, &mark), UNSPEC);
	CU_ASSERT_EQUAL(mark, 0);
	CU_ASSERT_EQUAL(cloned(&f), 0);
	/* somebody else's mark means nothing to us, and stays */
	mark = 1;
	CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_ingress, &f, &mark), UNSPEC);
	CU_ASSERT_EQUAL(mark, 1);
	CU_ASSERT_EQUAL(cloned(&f), 1);
	close_all();
}

/* The shortest frames that the kernel lets through: a header, and a tag that isn't all there. */
static void test_short(void)
{
	struct test_frame f;
	unsigned len;

	if (!open_all())
		return;
	for (len = 14; len < 20; len++) {
		f = frame_to(vm, 0, 0);
		f.len = len;
		CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_egress, &f, NULL), TC_ACT_REDIRECT);
		CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_ingress, &f, NULL), TC_ACT_REDIRECT);
		CU_ASSERT_EQUAL(run(skel->progs.vxs_tap_ingress, &f, NULL), TC_ACT_REDIRECT);
		f = frame_to(tagged_vm, ETH_P_8021Q, 5);
		f.len = len;
		CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_egress, &f, NULL),
				len < 18 ? UNSPEC : TC_ACT_REDIRECT);
		f = frame_to(everybody, ETH_P_8021Q, 5);
		f.len = len;
		CU_ASSERT_EQUAL(run(skel->progs.vxs_nic_egress, &f, NULL), UNSPEC);
	}
	close_all();
}

/* After a kill -9 the programs stay and the TAP is gone: every frame goes its usual way. */
static void test_dead_tap(void)
{
	const struct expect table[] = {
		{"broadcast", everybody, 0, 0, UNSPEC, 0},
		{"VM", vm, 0, 0, UNSPEC, 0},
		{"tagged VM", tagged_vm, ETH_P_8021Q, 5, UNSPEC, 0},
		{"stranger", stranger, 0, 0, UNSPEC, 0},
		{"the NIC's own", nic_mac, 0, 0, UNSPEC, 0},
		{},
	};
	struct tap other;

	if (!open_all())
		return;
	tap_close(&tap);
	CU_ASSERT_EQUAL_FATAL(tap_open(&other, "test-other", HDR), 0);
	tap = other; /* where nothing must arrive */
	CU_ASSERT_EQUAL(tap_set_up(&tap, true), 0);
	run_table(skel->progs.vxs_nic_egress, table);
	run_table(skel->progs.vxs_nic_ingress, table);
	close_all();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"egress", test_egress}, {"ingress", test_ingress},   {"marks", test_marks},
		{"short", test_short},   {"dead_tap", test_dead_tap}, {},
	};

	in_netns = !unshare(CLONE_NEWNET);
	return check_main("bpf_host_share", tests, argc, argv);
}
