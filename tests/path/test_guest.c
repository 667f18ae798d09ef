/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets of the host and of the wire, and guests that answer ARP and UDP through the NIC. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "lab.h"

#define GUEST_A "10.77.0.11"
#define GUEST_B "10.77.0.12"
#define WORDS   "--uplink nic0 --vm a --vm b"

static struct lab lab;

static uint32_t ip_of(const char *text)
{
	struct in_addr a;

	inet_pton(AF_INET, text, &a);
	return a.s_addr;
}

static uint32_t add(const uint8_t *data, size_t len, uint32_t sum)
{
	size_t i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? data[i] : data[i] << 8;
	return sum;
}

static bool is_right(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* A guest of one address: answers ARP, and sends UDP datagrams back to where they came from. */
struct guest {
	struct end *end;
	uint32_t ip;
	unsigned arps, datagrams, broadcasts, bad;
	unsigned open; /* datagrams whose checksum was left open; sent back so */
};

static void swap(uint8_t *x, uint8_t *y, size_t len)
{
	while (len--) {
		uint8_t z = *x;

		*x++ = *y;
		*y++ = z;
	}
}

static void answer_arp(struct guest *g, uint8_t *f)
{
	if (f[21] != 1 || memcmp(f + 38, &g->ip, 4))
		return;
	g->arps++;
	f[21] = 2;
	memcpy(f + 32, f + 22, 10); /* its addresses become the target's */
	memcpy(f + 22, g->end->mac, 6);
	memcpy(f + 28, &g->ip, 4);
	memcpy(f, f + 6, 6);
	memcpy(f + 6, g->end->mac, 6);
	end_raw(&lab, g->end, f, 42);
}

/* Of the whole datagram; a guest that didn't ask for offloads must get it complete. */
static bool is_udp_right(const uint8_t *ip, size_t udp_len)
{
	const uint8_t *udp = ip + 20;

	if (!udp[6] && !udp[7])
		return true;
	return is_right(add(udp, udp_len, add(ip + 12, 8, 17 + udp_len)));
}

/* A checksum left open holds the pseudo header's sum, which is the same on the way back. */
static bool is_open_right(const struct guest *g, const uint8_t *f, size_t udp_len)
{
	const struct virtio_net_hdr *h = &g->end->vm->hdr.hdr;
	const uint8_t *check = f + 40;
	uint32_t sum = add(f + 26, 8, 17 + udp_len);

	return g->end->vm->features & FAKE_VM_GUEST_CSUM && !h->gso_type && h->csum_start == 34 &&
	       h->csum_offset == 6 && is_right(sum + 0xffff - (check[0] << 8 | check[1]));
}

static bool is_header_right(struct guest *g, const uint8_t *f, size_t udp_len, bool fragment)
{
	const struct virtio_net_hdr *h = &g->end->vm->hdr.hdr;

	if (h->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		g->open++;
		return is_open_right(g, f, udp_len);
	}
	return !h->flags && !h->gso_type && (fragment || is_udp_right(f + 14, udp_len));
}

static void answer_ip(struct guest *g, uint8_t *f, size_t len)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {.hdr = g->end->vm->hdr.hdr};
	uint8_t *ip = f + 14;
	size_t ip_len = ip[2] << 8 | ip[3];
	unsigned fragment = (ip[6] & 0x3f) << 8 | ip[7];

	if (ip[0] != 0x45 || ip[9] != 17 || ip_len + 14 > len)
		return;
	if (!is_right(add(ip, 20, 0)) || !is_header_right(g, f, ip_len - 20, fragment))
		g->bad++;
	if (f[0] & 1) {
		g->broadcasts++;
		return;
	}
	if (memcmp(ip + 16, &g->ip, 4))
		return;
	g->datagrams++;
	swap(f, f + 6, 6);
	swap(ip + 12, ip + 16, 4);
	if (!(fragment & 0x1fff))
		swap(ip + 20, ip + 22, 2);
	if (hdr.hdr.flags)
		g->bad += fake_vm_send_hdr(g->end->vm, 0, &hdr, f, 14 + ip_len) != 0;
	else
		end_raw(&lab, g->end, f, 14 + ip_len);
}

static void serve(struct guest *g)
{
	static uint8_t f[65536];
	int len;

	while ((len = fake_vm_recv(g->end->vm, 0, f, sizeof(f))) > 0) {
		if (f[12] == 8 && f[13] == 6 && len >= 42)
			answer_arp(g, f);
		else if (f[12] == 8 && f[13] == 0 && len >= 34)
			answer_ip(g, f, len);
	}
	if (len < 0)
		g->bad++;
}

/* Waits for a datagram while the guests live; its length, -1: none came. */
static ssize_t await(int sock, struct guest *g, void *buf, size_t size)
{
	struct timespec start, now, moment = {.tv_nsec = 30000};
	ssize_t n;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		serve(&g[0]);
		serve(&g[1]);
		n = recv(sock, buf, size, MSG_DONTWAIT);
		if (n >= 0)
			return n;
		nanosleep(&moment, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 5);
	return -1;
}

static bool send_to(int sock, const char *ip, uint16_t port, const void *data, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	to.sin_addr.s_addr = ip_of(ip);
	return sendto(sock, data, len, 0, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)len;
}

/* A datagram of @len bytes there and back. */
static bool echo(int sock, struct guest *g, const char *ip, size_t len, unsigned seq)
{
	static uint8_t out[65536], in[65536];
	size_t i;

	for (i = 0; i < len; i++)
		out[i] = i * 7 + seq;
	return send_to(sock, ip, 7, out, len) && await(sock, g, in, sizeof(in)) == (ssize_t)len &&
	       !memcmp(in, out, len);
}

/* Guest a has no offloads, b those of @offloads. */
static bool open_two(const char *words, struct guest g[2], uint64_t offloads)
{
	struct fake_vm_options opt = {.features = FAKE_VM_ALL | offloads};
	struct end *a, *b;

	if (!lab_open(&lab, 1, words))
		return false;
	a = lab_vm(&lab, "a", NULL);
	b = lab_vm(&lab, "b", &opt);
	if (!a || !b) {
		CU_FAIL("VMs");
		lab_close(&lab);
		return false;
	}
	memset(g, 0, 2 * sizeof(*g));
	g[0].end = a;
	g[0].ip = ip_of(GUEST_A);
	g[1].end = b;
	g[1].ip = ip_of(GUEST_B);
	return true;
}

static bool open_all(const char *words, struct guest g[2])
{
	return open_two(words, g, 0);
}

static const size_t lengths[] = {0, 1, 18, 100, 511, 1000, 1471, 1472, 4000, 20000};
#define N_LENGTHS (sizeof(lengths) / sizeof(*lengths))

/* From the host or the wire to both guests, and back. */
static void udp(const char *words, bool from_wire)
{
	struct guest g[2];
	unsigned i;
	int sock;

	if (!open_all(words, g))
		return;
	sock = net_udp(&lab.net, from_wire ? lab.net.wire : lab.net.host,
		       from_wire ? NET_WIRE_IP : NET_HOST_IP, 5000);
	CU_ASSERT_FATAL(sock >= 0);
	for (i = 0; i < 100; i++)
		CU_ASSERT(echo(sock, g, i & 1 ? GUEST_A : GUEST_B, lengths[i / 2 % N_LENGTHS], i));
	CU_ASSERT(g[0].arps >= 1 && g[1].arps >= 1);
	CU_ASSERT(g[0].datagrams >= 50 && g[1].datagrams >= 50);
	CU_ASSERT_EQUAL(g[0].bad + g[1].bad, 0);
	close(sock);
	lab_close(&lab);
}

static void test_udp_host(void)
{
	udp(WORDS, false);
}

static void test_udp_host_skb(void)
{
	udp("--uplink nic0,mode=skb --vm a --vm b", false);
}

static void test_udp_wire(void)
{
	udp(WORDS, true);
}

static void test_udp_wire_off(void)
{
	udp(WORDS " --host off", true);
}

/* The host leaves checksums open, and the guest that takes that does so, too. */
static void test_udp_host_open(void)
{
	struct guest g[2];
	unsigned i;
	int sock;

	if (!open_two(WORDS, g, FAKE_VM_HOST_OFFLOADS | FAKE_VM_GUEST_OFFLOADS))
		return;
	sock = net_udp(&lab.net, lab.net.host, NET_HOST_IP, 5000);
	CU_ASSERT_FATAL(sock >= 0);
	for (i = 0; i < 40; i++)
		CU_ASSERT(echo(sock, g, i & 1 ? GUEST_A : GUEST_B, lengths[i / 2 % N_LENGTHS], i));
	CU_ASSERT_EQUAL(g[0].bad + g[1].bad, 0);
	CU_ASSERT_EQUAL(g[0].open, 0);
	CU_ASSERT(g[1].open >= 10);
	close(sock);
	lab_close(&lab);
}

/* Host and wire among themselves, through the same NIC. */
static void test_udp_kernels(void)
{
	static uint8_t buf[65536];
	struct guest g[2];
	int host, wire;
	unsigned i;

	if (!open_all(WORDS, g))
		return;
	host = net_udp(&lab.net, lab.net.host, NET_HOST_IP, 6000);
	wire = net_udp(&lab.net, lab.net.wire, NET_WIRE_IP, 6000);
	CU_ASSERT_FATAL(host >= 0 && wire >= 0);
	for (i = 0; i < 200; i++) {
		size_t len = lengths[i % N_LENGTHS];

		CU_ASSERT(send_to(host, NET_WIRE_IP, 6000, buf, len));
		CU_ASSERT_EQUAL(await(wire, g, buf, sizeof(buf)), (ssize_t)len);
		CU_ASSERT(send_to(wire, NET_HOST_IP, 6000, buf, len));
		CU_ASSERT_EQUAL(await(host, g, buf, sizeof(buf)), (ssize_t)len);
	}
	CU_ASSERT_EQUAL(g[0].datagrams + g[1].datagrams + g[0].bad + g[1].bad, 0);
	close(host);
	close(wire);
	lab_close(&lab);
}

/* UDP broadcasts of the host and of the wire: once at each guest, once at the other kernel. */
static void test_udp_broadcast(void)
{
	static const char *const set = "ip address change %s/24 broadcast + dev %s";
	uint8_t buf[2048] = "to all";
	struct guest g[2];
	int sock[2];
	unsigned i;

	if (!open_all(WORDS, g))
		return;
	/* Sockets bound to an address don't hear broadcasts. */
	sock[0] = net_udp(&lab.net, lab.net.host, "0.0.0.0", 6000);
	sock[1] = net_udp(&lab.net, lab.net.wire, "0.0.0.0", 6000);
	CU_ASSERT_FATAL(sock[0] >= 0 && sock[1] >= 0);
	CU_ASSERT_EQUAL(net_run(lab.net.host, set, NET_HOST_IP, NET_NIC), 0);
	CU_ASSERT_EQUAL(net_run(lab.net.wire, set, NET_WIRE_IP, NET_FAR), 0);
	for (i = 0; i < 20; i++) {
		CU_ASSERT(send_to(sock[i & 1], "10.77.0.255", 6000, buf, 500));
		CU_ASSERT_EQUAL(await(sock[!(i & 1)], g, buf, sizeof(buf)), 500);
		/* The kernel hands a broadcast to its own sockets, too: once. */
		CU_ASSERT_EQUAL(await(sock[i & 1], g, buf, sizeof(buf)), 500);
	}
	for (i = 0; i < 1000 && (g[0].broadcasts < 20 || g[1].broadcasts < 20); i++) {
		poll(NULL, 0, 1);
		serve(&g[0]);
		serve(&g[1]);
	}
	poll(NULL, 0, 30); /* more would be wrong */
	serve(&g[0]);
	serve(&g[1]);
	CU_ASSERT_EQUAL(g[0].broadcasts, 20);
	CU_ASSERT_EQUAL(g[1].broadcasts, 20);
	CU_ASSERT_EQUAL(recv(sock[0], buf, sizeof(buf), MSG_DONTWAIT), -1);
	CU_ASSERT_EQUAL(recv(sock[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
	CU_ASSERT_EQUAL(g[0].bad + g[1].bad, 0);
	close(sock[0]);
	close(sock[1]);
	lab_close(&lab);
}

/* The guest asks first: ARP for the host and for the wire, answered by their kernels. */
static void test_guest_asks(void)
{
	static const char *const who[] = {NET_HOST_IP, NET_WIRE_IP};
	struct guest g[2];
	uint8_t f[2048];
	unsigned i;

	if (!open_all(WORDS, g))
		return;
	for (i = 0; i < 2; i++) {
		const uint8_t *mac = i ? lab.net.far_mac : lab.net.nic_mac;
		uint32_t ip = ip_of(who[i]);
		uint8_t ask[42] = {[12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
		bool answered = false;
		int len;

		memset(ask, 0xff, 6);
		memcpy(ask + 6, g[0].end->mac, 6);
		memcpy(ask + 22, g[0].end->mac, 6);
		memcpy(ask + 28, &g[0].ip, 4);
		memcpy(ask + 38, &ip, 4);
		CU_ASSERT_EQUAL(end_raw(&lab, g[0].end, ask, sizeof(ask)), 0);
		while (!answered &&
		       (len = fake_vm_recv_wait(g[0].end->vm, 0, f, sizeof(f), LAB_WAIT)) > 0)
			answered = len >= 42 && f[21] == 2 && !memcmp(f + 28, &ip, 4) &&
				   !memcmp(f + 22, mac, 6) && !memcmp(f, g[0].end->mac, 6);
		CU_ASSERT(answered);
	}
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"udp_host", test_udp_host},
		{"udp_host_skb", test_udp_host_skb},
		{"udp_host_open", test_udp_host_open},
		{"udp_wire", test_udp_wire},
		{"udp_wire_off", test_udp_wire_off},
		{"udp_kernels", test_udp_kernels},
		{"udp_broadcast", test_udp_broadcast},
		{"guest_asks", test_guest_asks},
		{},
	};

	return check_main("guest", tests, argc, argv);
}
