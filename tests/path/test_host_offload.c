/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP and UDP between the host and a guest, with checksums and segmentation left open. Root. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/udp.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host_lab.h"
#include "offload/offload.h"
#include "switch/frame.h"

#define PORT      7777
#define GROUP     "239.7.7.7"
#define HOST_IP6  "fd77::1"
#define SEGMENT   500 /* bytes of a datagram of many in one */
#define DATAGRAMS 20
#define SENT      40000 /* bytes on a connection, from the guest */

/* What guests take, and what the kernel is said to take from the TAP: as much as it does, or less.
 */
static const uint32_t takes[] = {0, OFFLOAD_CSUM, OFFLOAD_ALL};
#define N_TAKES 3

static uint8_t stream[SENT];

static struct host_lab *open_lab(void)
{
	struct host_lab *l = host_lab_new_open();
	unsigned i;

	if (!l)
		return NULL;
	for (i = 0; i < SENT; i++)
		stream[i] = host_lab_stream(i);
	net_run(l->net.host, "echo 0 > /proc/sys/net/ipv6/conf/" NET_NIC "/disable_ipv6");
	net_run(l->net.host, "ip -6 addr add " HOST_IP6 "/64 dev " NET_NIC " nodad");
	net_run(l->net.host,
		"ip -6 neigh replace " HOST_LAB_VM_IP6
		" lladdr %02x:%02x:%02x:%02x:%02x:%02x dev " NET_NIC " nud permanent",
		host_lab_vm_mac[0], host_lab_vm_mac[1], host_lab_vm_mac[2], host_lab_vm_mac[3],
		host_lab_vm_mac[4], host_lab_vm_mac[5]);
	host_lab_clear(l);
	return l;
}

struct address {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6;
	};
};

static struct address address_of(const char *ip, uint16_t port)
{
	struct address a = {.len = sizeof(a.ip4)};

	a.ip4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, ip, &a.ip4.sin_addr) == 1)
		return a;
	a.len = sizeof(a.ip6);
	a.ip6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
	CU_ASSERT_EQUAL(inet_pton(AF_INET6, ip, &a.ip6.sin6_addr), 1);
	return a;
}

static int open_socket(const struct address *a, int type)
{
	return socket(a->any.sa_family, type | SOCK_NONBLOCK, 0);
}

/* A connection of the host's to the guest. */
static int connect_to_vm(struct host_lab *l, const char *ip)
{
	struct address to = address_of(ip, PORT);
	const struct linger reset = {.l_onoff = 1}; /* what the guest never acknowledges */
	int fd = open_socket(&to, SOCK_STREAM);

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	connect(fd, &to.any, to.len);
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(connect(fd, &to.any, to.len), 0);
	return fd;
}

/* ---- host to guest ---- */

static bool got_stream(struct host_lab *l)
{
	return l->tcp.bytes >= 12000;
}

/* Each checksum is looked at by the lab: those that are left open, and those that must be done. */
static void tcp_to_vm(const char *ip)
{
	struct host_lab *l = open_lab();
	unsigned i;
	int fd;

	if (!l)
		return;
	for (i = 0; i < N_TAKES; i++) {
		l->vm_takes = takes[i];
		host_lab_clear(l);
		fd = connect_to_vm(l, ip);
		CU_ASSERT_EQUAL(send(fd, stream, 12000, 0), 12000);
		CU_ASSERT(host_lab_until(l, got_stream));
		CU_ASSERT_EQUAL(l->tcp.bad, 0);
		CU_ASSERT_EQUAL(l->tcp.open > 0, takes[i] != 0);
		CU_ASSERT_EQUAL(l->tcp.gso > 0, takes[i] == OFFLOAD_ALL);
		CU_ASSERT_EQUAL(l->tcp.longest > 1514, takes[i] == OFFLOAD_ALL);
		CU_ASSERT_EQUAL(l->stats->drops.bad_offload, 0);
		close(fd);
	}
	host_lab_free(l);
}

static void test_tcp4_to_vm(void)
{
	tcp_to_vm(HOST_LAB_VM_IP);
}

static void test_tcp6_to_vm(void)
{
	tcp_to_vm(HOST_LAB_VM_IP6);
}

static bool got_datagrams(struct host_lab *l)
{
	return l->tcp.datagrams >= DATAGRAMS;
}

static bool got_datagram(struct host_lab *l)
{
	return l->tcp.datagrams;
}

/* Many datagrams in one call, which the stack leaves as one as far as it can. */
static bool send_many(int fd, const char *ip)
{
	struct address to = address_of(ip, PORT);
	int size = SEGMENT, len = DATAGRAMS * SEGMENT - 7;

	CU_ASSERT_EQUAL(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	return sendto(fd, stream, len, 0, &to.any, to.len) == len;
}

static void udp_to_vm(const char *ip)
{
	struct address to = address_of(ip, PORT);
	struct host_lab *l = open_lab();
	bool whole;
	unsigned i;
	int fd;

	if (!l)
		return;
	for (i = 0; i < N_TAKES; i++) {
		whole = takes[i] & l->host->takes & OFFLOAD_USO4;
		l->vm_takes = takes[i];
		host_lab_clear(l);
		fd = open_socket(&to, SOCK_DGRAM);
		CU_ASSERT(send_many(fd, ip));
		CU_ASSERT(host_lab_until(l, whole ? got_datagram : got_datagrams));
		host_lab_quiet(l);
		CU_ASSERT_EQUAL(l->tcp.bad, 0);
		CU_ASSERT_EQUAL(l->tcp.datagrams, whole ? 1 : DATAGRAMS);
		CU_ASSERT_EQUAL(l->tcp.gso, whole);
		CU_ASSERT_EQUAL(l->tcp.open, !takes[i] ? 0 : l->tcp.datagrams);
		close(fd);
	}
	host_lab_free(l);
}

static void test_udp4_to_vm(void)
{
	udp_to_vm(HOST_LAB_VM_IP);
}

static void test_udp6_to_vm(void)
{
	udp_to_vm(HOST_LAB_VM_IP6);
}

/* To a group, from host and wire: what the guest gets is a clone, and the other one's is unharmed.
 */
static void multicast(struct host_lab *l, int ns, const char *from, const char *to)
{
	struct ip_mreq join = {.imr_multiaddr.s_addr = inet_addr(GROUP),
			       .imr_interface.s_addr = inet_addr(to)};
	struct in_addr out = {inet_addr(from)};
	int sender = net_udp(&l->net, ns, from, 0), listener;
	struct address group = address_of(GROUP, PORT);
	char got[2000];

	listener = net_udp(&l->net, ns == l->net.host ? l->net.wire : l->net.host, "0.0.0.0", PORT);
	net_enter(l->net.host);
	CU_ASSERT_EQUAL(setsockopt(listener, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)),
			0);
	CU_ASSERT_EQUAL(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)), 0);
	host_lab_clear(l);
	CU_ASSERT_EQUAL(sendto(sender, stream, 1201, 0, &group.any, group.len), 1201);
	CU_ASSERT(host_lab_until(l, got_datagram));
	CU_ASSERT_EQUAL(recv(listener, got, sizeof(got), 0), 1201);
	CU_ASSERT_EQUAL(memcmp(got, stream, 1201), 0);
	host_lab_clear(l);
	CU_ASSERT(send_many(sender, GROUP));
	CU_ASSERT(host_lab_until(l, l->vm_takes & l->host->takes & OFFLOAD_USO4 ? got_datagram
										: got_datagrams));
	host_lab_quiet(l);
	CU_ASSERT_EQUAL(l->tcp.bad, 0);
	CU_ASSERT_EQUAL(recv(listener, got, sizeof(got), 0), SEGMENT);
	CU_ASSERT_EQUAL(memcmp(got, stream, SEGMENT), 0);
	close(sender);
	close(listener);
}

static void test_multicast(void)
{
	struct host_lab *l = open_lab();
	unsigned i;

	if (!l)
		return;
	for (i = 0; i < N_TAKES; i++) {
		l->vm_takes = takes[i];
		multicast(l, l->net.host, NET_HOST_IP, NET_WIRE_IP);
		multicast(l, l->net.wire, NET_WIRE_IP, NET_HOST_IP);
	}
	host_lab_free(l);
}

/* ---- guest to host ---- */

/* The pseudo header's sum, as a driver leaves it. */
static void put_partial(uint8_t *frame, unsigned at, unsigned len, bool tcp)
{
	bool ip6 = frame[12] == 0x86;
	unsigned i, from = ip6 ? 22 : 26, sum = (tcp ? IPPROTO_TCP : IPPROTO_UDP) + len - at;

	for (i = from; i < from + (ip6 ? 32 : 8); i += 2)
		sum += frame[i] << 8 | frame[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	frame[at + (tcp ? 16 : 6)] = sum >> 8;
	frame[at + (tcp ? 16 : 6) + 1] = sum;
}

static void put_lengths(uint8_t *frame, unsigned len)
{
	unsigned i, sum = 0, n = frame[12] == 0x86 ? len - 54 : len - 14;
	uint8_t *field = frame + (frame[12] == 0x86 ? 18 : 16);

	field[0] = n >> 8;
	field[1] = n;
	if (frame[12] == 0x86)
		return;
	frame[24] = frame[25] = 0;
	for (i = 14; i < 34; i += 2)
		sum += frame[i] << 8 | frame[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	frame[24] = sum >> 8;
	frame[25] = sum;
}

/* @n bytes of the stream from @from on, as the guest sends them on its connection. */
static void send_stream(struct host_lab *l, uint32_t from, uint32_t n, uint16_t gso_size)
{
	static uint8_t frame[FRAME_MAX];
	unsigned hdr = l->tcp.answer_len, at = hdr - 20;
	bool ip6;
	uint32_t seq = htonl(HOST_LAB_SEQ + from);
	struct frame_offload offload = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					.gso_size = gso_size,
					.csum_start = at,
					.csum_offset = 16};

	memcpy(frame, l->tcp.answer, hdr);
	ip6 = frame[12] == 0x86;
	if (gso_size)
		offload.gso_type = ip6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	memcpy(frame + at + 4, &seq, sizeof(seq));
	frame[at + 12] = 5 << 4;
	frame[at + 13] = 0x18;
	memcpy(frame + hdr, stream + from, n);
	put_lengths(frame, hdr + n);
	put_partial(frame, at, hdr + n, true);
	host_lab_out_open(l, frame, hdr + n, 7, &offload);
}

/* Reads until @n bytes of the stream were there; false: not within the time, or others. */
static bool read_stream(struct host_lab *l, int fd, uint32_t n)
{
	static uint8_t got[SENT];
	uint32_t have = 0, tries;

	for (tries = 0; have < n && tries < 50; tries++) {
		ssize_t part = recv(fd, got + have, n - have, 0);

		if (part > 0)
			have += part;
		else
			host_lab_quiet(l);
	}
	return have == n && !memcmp(got, stream, n);
}

static void tcp_from_vm(const char *ip, uint32_t under_xdp)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct host_lab *l = open_lab();
	int fd, prog, nic;
	uint64_t frames;
	unsigned i;

	if (!l)
		return;
	nic = if_nametoindex(NET_NIC);
	prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", pass, 2, NULL);
	if (under_xdp)
		CU_ASSERT_EQUAL(bpf_xdp_attach(nic, prog, under_xdp, NULL), 0);
	for (i = 0; i < N_TAKES; i++) {
		l->host->takes &= takes[N_TAKES - 1 - i];
		fd = connect_to_vm(l, ip);
		frames = l->stats->out_frames;
		send_stream(l, 0, 1000, 0);
		send_stream(l, 1000, SENT - 1000, 1400);
		CU_ASSERT(read_stream(l, fd, SENT));
		/* one and one where the kernel segments, else 28 segments */
		CU_ASSERT_EQUAL(l->stats->out_frames - frames,
				l->host->takes & OFFLOAD_TSO4 ? 2 : 1 + 28);
		CU_ASSERT_EQUAL(l->stats->drops.too_big, 0);
		CU_ASSERT_EQUAL(l->stats->drops.host_full, 0);
		close(fd);
	}
	if (under_xdp)
		bpf_xdp_detach(nic, under_xdp, NULL);
	close(prog);
	host_lab_free(l);
}

static void test_tcp4_from_vm(void)
{
	tcp_from_vm(HOST_LAB_VM_IP, 0);
}

static void test_tcp6_from_vm(void)
{
	tcp_from_vm(HOST_LAB_VM_IP6, 0);
}

static void test_tcp_from_vm_skb_xdp(void)
{
	tcp_from_vm(HOST_LAB_VM_IP, XDP_FLAGS_SKB_MODE);
}

static void test_tcp_from_vm_native_xdp(void)
{
	tcp_from_vm(HOST_LAB_VM_IP, XDP_FLAGS_DRV_MODE);
}

/* A datagram of the guest's, to the host's port PORT. */
static void send_datagram(struct host_lab *l, uint32_t n, uint8_t gso_type, uint16_t gso_size)
{
	static uint8_t frame[FRAME_MAX];
	struct frame_offload offload = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					.gso_type = gso_type,
					.gso_size = gso_size,
					.csum_start = 34,
					.csum_offset = 6};
	uint32_t from = inet_addr(HOST_LAB_VM_IP), to = inet_addr(NET_HOST_IP);
	uint16_t port = htons(PORT), len = htons(8 + n);

	memset(frame, 0, 42);
	memcpy(frame, l->net.nic_mac, 6);
	memcpy(frame + 6, host_lab_vm_mac, 6);
	frame[12] = 8;
	frame[14] = 0x45;
	frame[19] = 0x33;
	frame[22] = 64;
	frame[23] = IPPROTO_UDP;
	memcpy(frame + 26, &from, 4);
	memcpy(frame + 30, &to, 4);
	memcpy(frame + 34, &port, 2);
	memcpy(frame + 36, &port, 2);
	memcpy(frame + 38, &len, 2);
	memcpy(frame + 42, stream, n);
	put_lengths(frame, 42 + n);
	put_partial(frame, 34, 42 + n, false);
	host_lab_out_open(l, frame, 42 + n, 3, &offload);
}

static void check_datagrams(struct host_lab *l, int fd, uint32_t n, uint32_t each)
{
	static uint8_t got[SENT];
	uint32_t at, want;

	host_lab_quiet(l);
	for (at = 0; at < n; at += each) {
		want = n - at < each ? n - at : each;
		CU_ASSERT_EQUAL(recv(fd, got, sizeof(got), 0), want);
		CU_ASSERT_EQUAL(memcmp(got, stream + at, want), 0);
	}
	CU_ASSERT(recv(fd, got, sizeof(got), 0) < 0 && errno == EAGAIN);
}

static void test_udp_from_vm(void)
{
	struct host_lab *l = open_lab();
	unsigned i;
	int fd;

	if (!l)
		return;
	fd = net_udp(&l->net, l->net.host, NET_HOST_IP, PORT);
	net_enter(l->net.host);
	for (i = 0; i < N_TAKES; i++) {
		l->host->takes &= takes[N_TAKES - 1 - i];
		send_datagram(l, 999, VIRTIO_NET_HDR_GSO_NONE, 0);
		check_datagrams(l, fd, 999, 999);
		send_datagram(l, 9999, VIRTIO_NET_HDR_GSO_UDP_L4, 1000);
		check_datagrams(l, fd, 9999, 1000);
		send_datagram(l, 9999, VIRTIO_NET_HDR_GSO_UDP, 1480);
		check_datagrams(l, fd, 9999, 9999);
		CU_ASSERT_EQUAL(l->stats->drops.host_full, 0);
	}
	close(fd);
	host_lab_free(l);
}

/* The MTU is for what comes of a frame, not for the whole. */
static void test_mtu(void)
{
	struct host_lab *l = open_lab();
	unsigned i;
	int fd;

	if (!l)
		return;
	for (i = 0; i < N_TAKES; i++) {
		struct vxs_port_stats before = *l->stats;

		l->host->takes &= takes[N_TAKES - 1 - i];
		fd = connect_to_vm(l, HOST_LAB_VM_IP);
		send_stream(l, 0, 5000, 1461);
		CU_ASSERT_EQUAL(l->stats->drops.too_big, before.drops.too_big + 1);
		send_stream(l, 0, 5000, 1460);
		CU_ASSERT_EQUAL(l->stats->drops.too_big, before.drops.too_big + 1);
		CU_ASSERT(read_stream(l, fd, 5000));
		close(fd);
	}
	host_lab_free(l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"tcp4_to_vm", test_tcp4_to_vm},
		{"tcp6_to_vm", test_tcp6_to_vm},
		{"udp4_to_vm", test_udp4_to_vm},
		{"udp6_to_vm", test_udp6_to_vm},
		{"multicast", test_multicast},
		{"tcp4_from_vm", test_tcp4_from_vm},
		{"tcp6_from_vm", test_tcp6_from_vm},
		{"tcp_from_vm_skb_xdp", test_tcp_from_vm_skb_xdp},
		{"tcp_from_vm_native_xdp", test_tcp_from_vm_native_xdp},
		{"udp_from_vm", test_udp_from_vm},
		{"mtu", test_mtu},
		{},
	};

	return check_main("host_offload", tests, argc, argv);
}
