/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink's life: modes, settings changed and put back, kill -9, errors, changes from outside.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>

#include "nic_lab.h"

#define VM_A 2

static bool entered;

/* A lab with two queues, or NULL with the reason. */
static struct nic_lab *lab(void)
{
	if (!entered) {
		check_skip("needs root and network namespaces");
		return NULL;
	}
	return nic_lab_new(LAB_QUEUES);
}

static void add_vm(struct nic_lab *l, uint32_t id)
{
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, id, &l->stats[id]), 0);
	nic_lab_learn(l, id);
}

static void send_to(struct nic_lab *l, uint32_t id, unsigned n, unsigned len, bool socket)
{
	uint8_t mac[6];

	nic_lab_mac(id, mac);
	nic_lab_send(l, mac, n, len, socket);
}

#define SHOW     "ip -d link show " NIC
#define FEATURES "ethtool -k " NIC " | grep rx-vlan-offload"

static void test_settings(void)
{
	struct nic_lab *l = lab();
	uint8_t mac[6];

	if (!l)
		return;
	nic_lab_mac(VM_A, mac);
	CU_ASSERT(nic_lab_says(FEATURES, ": on"));
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT(nic_lab_says(FEATURES, ": off"));
	CU_ASSERT_EQUAL(access(l->state_file, F_OK), 0);
	CU_ASSERT(nic_lab_says(SHOW, "allmulti 1"));
	CU_ASSERT(nic_lab_says(SHOW, "promiscuity 0"));
	/* veth has no filter, so the kernel makes it promiscuous while there are addresses. */
	CU_ASSERT_EQUAL(nic_add_address(l->nic, mac), 0);
	CU_ASSERT_EQUAL(nic_add_address(l->nic, mac), 0);
	CU_ASSERT(nic_lab_says(SHOW, "promiscuity 1"));
	nic_del_address(l->nic, mac);
	CU_ASSERT(nic_lab_says(SHOW, "promiscuity 1"));
	nic_del_address(l->nic, mac);
	CU_ASSERT(nic_lab_says(SHOW, "promiscuity 0"));
	nic_lab_close(l);
	CU_ASSERT(nic_lab_says(FEATURES, ": on"));
	CU_ASSERT(!nic_lab_says(SHOW, "prog/xdp"));
	CU_ASSERT(nic_lab_says(SHOW, "allmulti 0"));
	CU_ASSERT(access(l->state_file, F_OK) != 0);
	/* What the user had off stays off. */
	nic_lab_run("ethtool -K " NIC " rxvlan off");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_lab_close(l);
	CU_ASSERT(nic_lab_says(FEATURES, ": off"));
	nic_lab_free(l);
}

static void test_kill(void)
{
	struct nic_lab *l = lab();
	int ready[2], status;
	uint8_t mac[6];
	char byte;
	pid_t pid;

	if (!l)
		return;
	nic_lab_mac(VM_A, mac);
	CU_ASSERT_EQUAL_FATAL(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		if (!nic_lab_open(l, false, true) && !nic_add_address(l->nic, mac) &&
		    !nic_add_port(l->nic, VM_A, &l->stats[VM_A]))
			if (write(ready[1], "x", 1) == 1)
				pause();
		_exit(1);
	}
	close(ready[1]);
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	CU_ASSERT(nic_lab_says(SHOW, "prog/xdp"));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	/* At once: no program, no filters; the features stay behind, and are known. */
	CU_ASSERT(!nic_lab_says(SHOW, "prog/xdp"));
	CU_ASSERT(nic_lab_says(SHOW, "promiscuity 0"));
	CU_ASSERT(nic_lab_says(SHOW, "allmulti 0"));
	CU_ASSERT(nic_lab_says(FEATURES, ": off"));
	CU_ASSERT_EQUAL(access(l->state_file, F_OK), 0);
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l, VM_A);
	send_to(l, VM_A, 64, 60, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 64);
	nic_lab_close(l);
	CU_ASSERT(nic_lab_says(FEATURES, ": on"));
	CU_ASSERT(access(l->state_file, F_OK) != 0);
	nic_lab_free(l);
}

static void test_busy(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct nic_lab *l = lab();
	unsigned fds, native;
	int fd;

	if (!l)
		return;
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", pass, 2, NULL);
	CU_ASSERT_FATAL(fd >= 0);
	for (native = 0; native < 2; native++) {
		CU_ASSERT_EQUAL(bpf_xdp_attach(if_nametoindex(NIC), fd,
					       native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE,
					       NULL),
				0);
		fds = check_fds();
		CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -EBUSY);
		CU_ASSERT_EQUAL(check_fds(), fds);
		CU_ASSERT(nic_lab_says(FEATURES, ": on"));
		CU_ASSERT(nic_lab_says(SHOW, "name other"));
		/* The remedy that the message names. */
		CU_ASSERT_EQUAL(nic_lab_run("ip link set dev " NIC " %s off",
					    native ? "xdp" : "xdpgeneric"),
				0);
		CU_ASSERT_EQUAL(nic_lab_open(l, false, true), 0);
		nic_lab_close(l);
	}
	close(fd);
	nic_lab_free(l);
}

static void test_modes(void)
{
	struct nic_lab *l = lab();
	struct nic_state state;
	unsigned fds;

	if (!l)
		return;
	fds = check_fds();
	l->opt.mode = UPLINK_ZC;
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(!nic_lab_says(SHOW, "prog/xdp"));
	l->opt.mode = UPLINK_COPY;
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), 0);
	nic_lab_close(l);
	CU_ASSERT_EQUAL(check_fds(), fds);
	l->opt.mode = UPLINK_SKB;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_state(l->nic, &state);
	CU_ASSERT_STRING_EQUAL(state.mode, "skb");
	add_vm(l, VM_A);
	send_to(l, VM_A, 100, 1514, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 100);
	nic_lab_out(l, BATCH_FRAMES, 1514, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
	nic_lab_free(l);
}

static void test_errors(void)
{
	struct nic_lab *l = lab();

	if (!l)
		return;
	l->opt.queues = LAB_QUEUES + 1;
	CU_ASSERT_EQUAL(nic_count_queues(&l->opt), -EINVAL);
	l->opt.queues = 1;
	CU_ASSERT_EQUAL(nic_count_queues(&l->opt), 1);
	l->opt.queues = 0;
	CU_ASSERT_EQUAL(nic_count_queues(&l->opt), LAB_QUEUES);
	strcpy(l->opt.ifname, "nosuch0");
	CU_ASSERT_EQUAL(nic_count_queues(&l->opt), -ENODEV);
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -ENODEV);
	strcpy(l->opt.ifname, "lo");
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -EINVAL);
	strcpy(l->opt.ifname, NIC);
	nic_lab_run("ip link set " NIC " mtu 9000");
	l->trial.no_sg = true;
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -EMSGSIZE);
	l->trial.no_sg = false;
	/* Of too few rights; the rest of the process has them again. */
	nic_lab_run("ip link set " NIC " mtu 1500");
	CU_ASSERT_EQUAL(seteuid(65534), 0);
	CU_ASSERT_EQUAL(nic_lab_open(l, false, true), -EPERM);
	CU_ASSERT_EQUAL(seteuid(0), 0);
	nic_lab_free(l);
}

static void test_refresh(void)
{
	struct nic_lab *l = lab();
	struct nic_state state;
	uint8_t mac[6];

	if (!l)
		return;
	nic_lab_mac(0xcd, mac);
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_lab_run("ip link set " NIC " mtu 1000 address 02:00:00:00:00:cd");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	nic_lab_out(l, 1, 1014, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 1), 1);
	nic_lab_out(l, 1, 1015, false);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.too_big, 1);
	/* More than its UMEM frames hold: as much as fits. */
	nic_lab_run("ip link set " NIC " mtu 9000");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	nic_state(l->nic, &state);
	CU_ASSERT_EQUAL(state.mtu, UMEM_FRAME_SMALL - UMEM_HEADROOM - 22);
	nic_lab_run("ip link set " WIRE " mtu 3000");
	nic_lab_out(l, 1, state.mtu + 14, false);
	CU_ASSERT_EQUAL(nic_lab_receive(l, 1), 1);
	nic_lab_out(l, 1, state.mtu + 15, false);
	nic_lab_out(l, 1, 9014, false);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.too_big, 3);
	nic_lab_send(l, mac, 10, 60, false);
	send_to(l, 99, 1, 60, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 1);
	/* Another name; then the NIC goes, and everything can still be taken down. */
	nic_lab_run("ip link set " NIC " down; ip link set " NIC " name nic1; ip link set nic1 up");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), 0);
	add_vm(l, VM_A);
	send_to(l, VM_A, 10, 60, true);
	CU_ASSERT_EQUAL(nic_lab_take(l), 10);
	nic_lab_run("ip link del nic1");
	CU_ASSERT_EQUAL(nic_refresh(l->nic), -ENODEV);
	nic_lab_out(l, 1, 60, false);
	CU_ASSERT_EQUAL(l->stats[VXS_PORT_UPLINK].drops.nic_down, 1);
	nic_lab_take(l);
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"settings", test_settings},
	{"kill", test_kill},
	{"busy", test_busy},
	{"modes", test_modes},
	{"errors", test_errors},
	{"refresh", test_refresh},
	{},
};

int main(int argc, char **argv)
{
	entered = nic_lab_enter();
	return check_main("nic_set", tests, argc, argv);
}
