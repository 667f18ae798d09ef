/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The host's port between a real host, a real wire and a guest of the test's own. Root. */
#include "check.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host_lab.h"

#define ROUNDS 20

static const uint8_t stranger[6] = {2, 0, 0, 0, 0x77, 0x50};
static const uint8_t macvlan[6] = {2, 0, 0, 0, 0x77, 0x51};

static void test_exchange(void)
{
	struct host_lab *l = host_lab_new_open();

	if (!l)
		return;
	host_lab_pings(l);
	host_lab_broadcasts(l);
	host_lab_free(l);
}

/* The same under an XDP program that passes everything, in @flags mode. */
static void under_xdp(__u32 flags)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct host_lab *l = host_lab_new_open();
	int prog, nic;

	if (!l)
		return;
	nic = if_nametoindex(NET_NIC);
	prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", pass, 2, NULL);
	CU_ASSERT(prog >= 0);
	CU_ASSERT_EQUAL(bpf_xdp_attach(nic, prog, flags, NULL), 0);
	host_lab_pings(l);
	host_lab_broadcasts(l);
	bpf_xdp_detach(nic, flags, NULL);
	close(prog);
	host_lab_free(l);
}

static void test_skb_xdp(void)
{
	under_xdp(XDP_FLAGS_SKB_MODE);
}

static void test_native_xdp(void)
{
	under_xdp(XDP_FLAGS_DRV_MODE);
}

/* ---- unicast ---- */

static void test_unicast(void)
{
	struct host_lab *l = host_lab_new_open();
	uint8_t frame[128];

	if (!l)
		return;
	/* host to guest: there, and not on the wire */
	host_lab_frame(frame, 100, host_lab_vm_mac, l->net.nic_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1));
	CU_ASSERT(host_lab_seen(&l->by_wire, 0, 0));

	/* host to wire: not the guest's business */
	host_lab_clear(l);
	host_lab_frame(frame, 100, l->net.far_mac, l->net.nic_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 0, 0));
	CU_ASSERT(host_lab_seen(&l->by_wire, 1, 1));

	/* wire to guest where XDP let it pass */
	host_lab_clear(l);
	host_lab_frame(frame, 100, host_lab_vm_mac, l->net.far_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1));
	CU_ASSERT(host_lab_seen(&l->by_wire, 0, 0));

	/* wire to host */
	host_lab_clear(l);
	host_lab_frame(frame, 100, l->net.nic_mac, l->net.far_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, 1, 1));
	CU_ASSERT(host_lab_seen(&l->by_vm, 0, 0));

	/* wire to a stranger: flooded to the guests, until it turns out to be the host's */
	host_lab_clear(l);
	host_lab_frame(frame, 100, macvlan, l->net.far_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1));
	host_lab_frame(frame, 100, l->net.far_mac, macvlan, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	host_lab_clear(l);
	host_lab_frame(frame, 100, macvlan, l->net.far_mac, 0, 0, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 0, 0));
	CU_ASSERT(host_lab_seen(&l->by_host, 1, 1));
	host_lab_free(l);
}

/* ---- tags ---- */

static bool tag_is(const struct seen *s, uint16_t tpid, uint16_t tci)
{
	const uint8_t want[4] = {tpid >> 8, tpid, tci >> 8, tci};

	return s->last_len == 104 && !memcmp(s->last + 12, want, 4);
}

static void check_tag(struct host_lab *l, uint16_t tpid, uint16_t tci)
{
	uint8_t frame[128];

	host_lab_clear(l);
	host_lab_frame(frame, 104, host_lab_everybody, l->net.nic_mac, tpid, tci, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 104));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1) && tag_is(&l->by_vm, tpid, tci));
	CU_ASSERT(host_lab_seen(&l->by_wire, 1, 1) && tag_is(&l->by_wire, tpid, tci));

	host_lab_clear(l);
	host_lab_frame(frame, 104, host_lab_everybody, l->net.far_mac, tpid, tci, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 104));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1) && tag_is(&l->by_vm, tpid, tci));
	CU_ASSERT(host_lab_seen(&l->by_host, 1, 1) && tag_is(&l->by_host, tpid, tci));

	host_lab_clear(l);
	host_lab_frame(frame, 104, host_lab_everybody, host_lab_vm_mac, tpid, tci, 0);
	host_lab_out(l, frame, 104, 1);
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, 1, 1) && tag_is(&l->by_host, tpid, tci));

	/* a guest on this VLAN; the wire's frame has its tag beside it by then */
	CU_ASSERT_EQUAL(tables_set_address(l->tables, fdb_key(fdb_mac(stranger), tci & 0xfff),
					   HOST_LAB_VM, 0),
			0);
	host_lab_clear(l);
	host_lab_frame(frame, 104, stranger, l->net.far_mac, tpid, tci, 0);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 104));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1) && tag_is(&l->by_vm, tpid, tci));
	host_lab_clear(l);
	host_lab_frame(frame, 104, stranger, l->net.nic_mac, tpid, tci, 0);
	CU_ASSERT(host_lab_send(l->host_sock, frame, 104));
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_vm, 1, 1) && tag_is(&l->by_vm, tpid, tci));
	CU_ASSERT(host_lab_seen(&l->by_wire, 0, 0));
}

static void test_tags(void)
{
	struct host_lab *l = host_lab_new_open();

	if (!l)
		return;
	check_tag(l, ETH_P_8021Q, 0xa005);
	check_tag(l, ETH_P_8021AD, 0x0ffe);
	host_lab_free(l);
}

/* ---- checksums, segments, lengths ---- */

static bool got_segments(struct host_lab *l)
{
	return l->tcp.segments >= 10;
}

static bool got_datagram(struct host_lab *l)
{
	return l->tcp.datagrams;
}

/* The host leaves checksums and segmentation to its NIC: a guest that takes neither gets both done.
 */
static void test_checksums(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7777)};
	struct host_lab *l = host_lab_new_open();
	static uint8_t data[12000];
	unsigned i;
	int tcp, udp;

	if (!l)
		return;
	for (i = 0; i < sizeof(data); i++)
		data[i] = host_lab_stream(i);
	to.sin_addr.s_addr = inet_addr(HOST_LAB_VM_IP);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CU_ASSERT_EQUAL(sendto(udp, data, 1401, 0, (struct sockaddr *)&to, sizeof(to)), 1401);
	CU_ASSERT(host_lab_until(l, got_datagram));

	tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(tcp, (struct sockaddr *)&to, sizeof(to));
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(connect(tcp, (struct sockaddr *)&to, sizeof(to)), 0);
	CU_ASSERT_EQUAL(send(tcp, data, sizeof(data), 0), sizeof(data));
	CU_ASSERT(host_lab_until(l, got_segments));
	CU_ASSERT(l->tcp.longest <= 1514);
	CU_ASSERT(l->tcp.longest > 500);
	CU_ASSERT_EQUAL(l->tcp.bad, 0);
	close(tcp);
	close(udp);
	host_lab_free(l);
}

static void test_lengths(void)
{
	struct host_lab *l = host_lab_new_open();
	struct vxs_port_stats before;
	uint8_t frame[1600];
	uint64_t syscalls;
	unsigned i;

	if (!l)
		return;
	before = *l->stats;
	/* the longest, in one piece, in many, and in more than one system call takes */
	static const unsigned pieces[] = {1, 64, 1000, 1023, 1024};
	for (i = 0; i < 5; i++) {
		host_lab_frame(frame, 1514, host_lab_everybody, host_lab_vm_mac, 0, 0, i);
		host_lab_out(l, frame, 1514, pieces[i]);
	}
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, 5, 1));
	CU_ASSERT_EQUAL(l->by_host.last_len, 1514);
	host_lab_frame(frame, 1518, host_lab_everybody, host_lab_vm_mac, ETH_P_8021Q, 5, 5);
	host_lab_out(l, frame, 1518, 3);
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(l->by_host.last_len, 1518);
	CU_ASSERT_EQUAL(l->stats->out_frames - before.out_frames, 6);
	CU_ASSERT_EQUAL(l->stats->out_bytes - before.out_bytes, 5 * 1514 + 1518);
	CU_ASSERT_EQUAL(l->stats->drops.too_big, before.drops.too_big);

	host_lab_frame(frame, 1515, host_lab_everybody, host_lab_vm_mac, 0, 0, 6);
	host_lab_out(l, frame, 1515, 1);
	host_lab_frame(frame, 1519, host_lab_everybody, host_lab_vm_mac, ETH_P_8021Q, 5, 7);
	host_lab_out(l, frame, 1519, 1);
	CU_ASSERT_EQUAL(l->stats->drops.too_big, before.drops.too_big + 2);
	host_set_mtu(l->host, 1501);
	host_lab_frame(frame, 1515, host_lab_everybody, host_lab_vm_mac, 0, 0, 6);
	host_lab_out(l, frame, 1515, 1);
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(l->by_host.n[6], 1);
	CU_ASSERT(host_lab_says(l, "ip link show " HOST_LAB_TAP, "mtu 1501"));
	syscalls = l->worker->stats->syscalls;
	host_lab_frame(frame, 60, host_lab_everybody, host_lab_vm_mac, 0, 0, 6);
	host_lab_out(l, frame, 60, 1);
	host_lab_frame(frame, 1520, host_lab_everybody, host_lab_vm_mac, 0, 0, 6);
	host_lab_out(l, frame, 1520, 1); /* too big, so it isn't tried */
	CU_ASSERT_EQUAL(l->worker->stats->syscalls, syscalls + 1);
	host_lab_quiet(l);

	/* and the shortest that there are */
	host_lab_clear(l);
	before = *l->stats;
	host_lab_frame(frame, 17, host_lab_everybody, host_lab_vm_mac, 0, 0, 0);
	host_lab_out(l, frame, 17, 1);
	host_lab_frame(frame, 17, host_lab_everybody, l->net.far_mac, 0, 0, 1);
	CU_ASSERT(host_lab_send(l->wire_sock, frame, 17));
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(l->by_host.n[0], 1);
	CU_ASSERT_EQUAL(l->by_vm.n[1], 1);
	CU_ASSERT_EQUAL(l->stats->in_frames - before.in_frames, 1);
	CU_ASSERT_EQUAL(l->stats->in_bytes - before.in_bytes, 17);
	CU_ASSERT_EQUAL(l->stats->drops.host_full, 0);
	host_lab_free(l);
}

/* Edge-triggered: what is there when the worker goes to sleep must be seen without an event. */
static void test_wait(void)
{
	struct host_lab *l = host_lab_new_open();
	struct port *p;
	uint8_t frame[64];
	unsigned i, n = 0, calls = 0;
	uint64_t syscalls;

	if (!l)
		return;
	p = host_port(l->host);
	syscalls = l->worker->stats->syscalls;
	CU_ASSERT_FALSE(p->ops->wait(p, l->worker, 0, true));
	CU_ASSERT_EQUAL(p->ops->in(p, l->worker, 0, &l->in), 0);
	for (i = 0; i < 3 * HOST_BATCH; i++) {
		host_lab_frame(frame, 60, host_lab_vm_mac, l->net.nic_mac, 0, 0, i);
		CU_ASSERT(host_lab_send(l->host_sock, frame, 60));
	}
	CU_ASSERT(p->ops->wait(p, l->worker, 0, true));
	CU_ASSERT_FALSE(p->ops->wait(p, l->worker, 0, false));
	while (p->ops->in(p, l->worker, 0, &l->in)) {
		calls++;
		n += l->in.n;
		p->ops->done(p, l->worker, 0, &l->in);
	}
	CU_ASSERT_EQUAL(n, 3 * HOST_BATCH);
	CU_ASSERT_EQUAL(calls, 3);
	CU_ASSERT_FALSE(p->ops->wait(p, l->worker, 0, true));
	/* three looks before sleeping, a read for each frame, and two in vain */
	syscalls = l->worker->stats->syscalls - syscalls;
	CU_ASSERT_EQUAL(syscalls, 3 + 3 * HOST_BATCH + 2);
	host_lab_free(l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"exchange", test_exchange},
		{"skb_xdp", test_skb_xdp},
		{"native_xdp", test_native_xdp},
		{"unicast", test_unicast},
		{"tags", test_tags},
		{"checksums", test_checksums},
		{"lengths", test_lengths},
		{"wait", test_wait},
		{},
	};

	return check_main("host", tests, argc, argv);
}
