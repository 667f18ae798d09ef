/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The host's port comes and goes: what it leaves, whom it lets alone, what it refuses. Root. */
#include "check.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "control/log.h"
#include "host_lab.h"

#define OUR_PREF 0x7678 /* the priority of our filters: users may have to remove one by hand */

/* ---- coming and going ---- */

static void test_silent(void)
{
	struct host_lab *l = host_lab_new();
	uint64_t frames;

	if (!l)
		return;
	/* even where the host has IPv6 */
	net_run(l->net.host, "echo 0 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
	frames = l->stats->in_frames;
	CU_ASSERT_EQUAL_FATAL(host_lab_open(l), 0);
	CU_ASSERT_STRING_EQUAL(host_ifname(l->host), HOST_LAB_TAP);
	CU_ASSERT(host_lab_says(l, "ip link show " HOST_LAB_TAP, "NOARP,UP"));
	CU_ASSERT(host_lab_says(l, "ip link show " HOST_LAB_TAP, "qlen 4096"));
	CU_ASSERT(
		host_lab_says(l, "cat /proc/sys/net/ipv6/conf/" HOST_LAB_TAP "/disable_ipv6", "1"));
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(l->stats->in_frames, frames);
	host_lab_free(l);
}

static bool has_clsact(struct host_lab *l)
{
	return host_lab_says(l, "tc qdisc show dev " NET_NIC, "clsact");
}

static void test_cycles(void)
{
	struct host_lab *l = host_lab_new();
	unsigned fds, i;
	int err = 0;

	if (!l)
		return;
	log_set_level(LOG_WARN);
	CU_ASSERT_EQUAL(host_lab_open(l), 0);
	CU_ASSERT(has_clsact(l));
	host_lab_close(l);
	fds = check_fds();
	for (i = 0; i < 200 && !err; i++) {
		err = host_lab_open(l);
		host_lab_close(l);
	}
	CU_ASSERT_EQUAL(err, 0);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_FALSE(has_clsact(l));
	CU_ASSERT_EQUAL(if_nametoindex(HOST_LAB_TAP), 0);
	log_set_level(LOG_INFO);
	host_lab_free(l);
}

/* A filter of somebody else's, which only passes on, with @priority. Returns 0 or -errno. */
static int add_foreign(unsigned priority)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TC_ACT_UNSPEC},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(NET_NIC),
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = priority);
	int err;

	opts.prog_fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", insns, 2, NULL);
	if (opts.prog_fd < 0)
		return -errno;
	bpf_tc_hook_create(&hook);
	err = bpf_tc_attach(&hook, &opts);
	close(opts.prog_fd);
	return err;
}

static void test_foreign_filters(void)
{
	static const char show[] = "tc filter show dev " NET_NIC " ingress";
	struct host_lab *l = host_lab_new();
	struct host_setup setup;
	struct host *h = NULL;
	unsigned fds;

	if (!l)
		return;
	/* there before us: qdisc and filter stay */
	CU_ASSERT_EQUAL(add_foreign(10), 0);
	CU_ASSERT_EQUAL(host_lab_open(l), 0);
	host_lab_pings(l);
	CU_ASSERT(host_lab_says(l, show, "foreign"));
	CU_ASSERT(host_lab_says(l, show, "vxs_nic_ingress"));
	host_lab_close(l);
	CU_ASSERT(host_lab_says(l, show, "foreign"));
	CU_ASSERT_FALSE(host_lab_says(l, show, "vxs_nic"));
	net_run(l->net.host, "tc qdisc del dev " NET_NIC " clsact");

	/* added while we ran: our qdisc stays for its sake */
	CU_ASSERT_EQUAL(host_lab_open(l), 0);
	CU_ASSERT_EQUAL(add_foreign(50000), 0);
	host_lab_close(l);
	CU_ASSERT(host_lab_says(l, show, "foreign"));
	net_run(l->net.host, "tc qdisc del dev " NET_NIC " clsact");

	/* in our very place: refused, and left alone */
	CU_ASSERT_EQUAL(add_foreign(OUR_PREF), 0);
	fds = check_fds();
	setup = host_lab_setup(l);
	CU_ASSERT_EQUAL(host_open(&h, &setup), -EEXIST);
	CU_ASSERT_PTR_NULL(h);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(host_lab_says(l, show, "foreign"));
	CU_ASSERT_FALSE(host_lab_says(l, "tc filter show dev " NET_NIC " egress", "vxs_nic"));
	host_lab_free(l);
}

static void test_name_taken(void)
{
	struct host_lab *l = host_lab_new_open();
	struct host_setup setup;
	struct host *h = NULL;
	unsigned fds;

	if (!l)
		return;
	setup = host_lab_setup(l);
	fds = check_fds();
	CU_ASSERT_EQUAL(host_open(&h, &setup), -EBUSY);
	CU_ASSERT_PTR_NULL(h);
	CU_ASSERT_EQUAL(check_fds(), fds);
	host_lab_pings(l); /* the first one isn't harmed */
	host_lab_close(l);

	CU_ASSERT_EQUAL(net_run(l->net.host, "ip link add " HOST_LAB_TAP " type veth"), 0);
	CU_ASSERT(host_open(&h, &setup) < 0);
	CU_ASSERT_PTR_NULL(h);
	CU_ASSERT_FALSE(has_clsact(l));
	CU_ASSERT_EQUAL(check_fds(), fds - 1); /* the first one's TAP */
	host_lab_free(l);
}

static void test_no_rights(void)
{
	struct host_lab *l = host_lab_new();
	struct host_setup setup;
	struct host *h;
	int status = -1;
	pid_t pid;

	if (!l)
		return;
	setup = host_lab_setup(l);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		status = host_open(&h, &setup);
		_exit(status == -EPERM || status == -EACCES ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_FALSE(has_clsact(l));
	host_lab_free(l);
}

/* Opens the port in a child, and kills it while it runs. */
static void kill_one(struct host_lab *l)
{
	int ready[2];
	char c = 1;
	pid_t pid;

	CU_ASSERT_EQUAL(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = host_lab_open(l) != 0;
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
	CU_ASSERT_EQUAL(c, 0);
	close(ready[0]);
	close(ready[1]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_kill(void)
{
	struct host_lab *l = host_lab_new();
	uint8_t frame[128];

	if (!l)
		return;
	kill_one(l);
	CU_ASSERT(has_clsact(l)); /* what it left */
	CU_ASSERT_EQUAL(if_nametoindex(HOST_LAB_TAP), 0);
	CU_ASSERT(host_lab_ping(l, l->net.host, NET_WIRE_IP));
	CU_ASSERT(host_lab_ping(l, l->net.wire, NET_HOST_IP));

	/* nothing gets lost, not even what is for a VM that was here: it may be elsewhere now */
	host_lab_clear(l);
	host_lab_frame(frame, 100, host_lab_everybody, l->net.nic_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	host_lab_frame(frame, 100, host_lab_vm_mac, l->net.nic_mac, 0, 0, 1);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	host_lab_frame(frame, 100, host_lab_everybody, l->net.far_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_frame(frame, 100, l->net.nic_mac, l->net.far_mac, 0, 0, 1);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_wire, 2, 1));
	CU_ASSERT(host_lab_seen(&l->by_host, 2, 1));

	CU_ASSERT_EQUAL(host_lab_open(l), 0);
	host_lab_pings(l);
	host_lab_broadcasts(l);
	host_lab_close(l);
	CU_ASSERT_FALSE(has_clsact(l)); /* the killed one had made it */
	host_lab_free(l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"silent", test_silent},
		{"cycles", test_cycles},
		{"foreign_filters", test_foreign_filters},
		{"name_taken", test_name_taken},
		{"no_rights", test_no_rights},
		{"kill", test_kill},
		{},
	};

	return check_main("host_life", tests, argc, argv);
}
