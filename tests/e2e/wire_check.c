/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Watches a wire: is every checksum right in every frame that comes in on an interface? */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Says "ready" when no frame can escape it any more, and at SIGTERM one line of counts:
 *
 *   frames N tcp4 N tcp6 N udp4 N udp6 N icmp N fragments N other N bad N missed N longest BYTES
 *
 * bad: any checksum or length in the headers that is wrong; missed: what the kernel couldn't keep
 * for us. The first bad frames are told on stderr. Shares no line with the switch that it watches.
 */
#define MAX_FRAME 65550
#define MAX_TOLD  5

static struct {
	unsigned long frames, tcp4, tcp6, udp4, udp6, icmp, fragments, other, bad, longest;
} seen;

static volatile sig_atomic_t ended;

static void end(int sig)
{
	(void)sig;
	ended = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "wire_check: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint16_t be16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

/* The sum of RFC 1071, one word after the other; not folded. */
static uint64_t sum(const uint8_t *p, size_t n, uint64_t s)
{
	size_t i;

	for (i = 0; i + 1 < n; i += 2)
		s += be16(p + i);
	return n % 2 ? s + (p[n - 1] << 8) : s;
}

/* With its own checksum in it, what is right sums up to all ones. */
static bool is_right(uint64_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s == 0xffff;
}

/* NULL, or what is wrong with the @n bytes of @protocol; @pseudo: sum of both addresses. */
static const char *check_payload(uint8_t protocol, const uint8_t *p, size_t n, uint64_t pseudo,
				 bool v6)
{
	uint64_t s = sum(p, n, pseudo + protocol + n);

	if (protocol == IPPROTO_TCP) {
		*(v6 ? &seen.tcp6 : &seen.tcp4) += 1;
		if (n < 20 || (p[12] >> 4) * 4u > n)
			return "TCP header";
		return is_right(s) ? NULL : "TCP checksum";
	}
	if (protocol == IPPROTO_UDP) {
		*(v6 ? &seen.udp6 : &seen.udp4) += 1;
		if (n < 8 || be16(p + 4) != n)
			return "UDP length";
		if (!v6 && !be16(p + 6)) /* none is allowed there */
			return NULL;
		return is_right(s) ? NULL : "UDP checksum";
	}
	if (protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		seen.icmp++;
		return is_right(v6 ? s : sum(p, n, 0)) ? NULL : "ICMP checksum";
	}
	seen.other++;
	return NULL;
}

static const char *check_v4(const uint8_t *p, size_t n)
{
	size_t header, total;

	if (n < 20)
		return "IPv4 header";
	header = (p[0] & 15) * 4;
	total = be16(p + 2);
	if (p[0] >> 4 != 4 || header < 20 || total < header || total > n)
		return "IPv4 lengths";
	if (!is_right(sum(p, header, 0)))
		return "IPv4 header checksum";
	if (be16(p + 6) & 0x3fff) {
		seen.fragments++;
		return NULL;
	}
	return check_payload(p[9], p + header, total - header, sum(p + 12, 8, 0), false);
}

static const char *check_v6(const uint8_t *p, size_t n)
{
	uint64_t pseudo;
	uint8_t next;
	size_t left, len;

	if (n < 40 || p[0] >> 4 != 6)
		return "IPv6 header";
	left = be16(p + 4);
	if (left > n - 40)
		return "IPv6 length";
	pseudo = sum(p + 8, 32, 0);
	next = p[6];
	for (p += 40; next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING;
	     p += len, left -= len) {
		if (left < 8 || left < (len = (p[1] + 1) * 8u))
			return "IPv6 extension header";
		next = p[0];
	}
	if (next == IPPROTO_FRAGMENT) {
		seen.fragments++;
		return NULL;
	}
	return check_payload(next, p, left, pseudo, true);
}

static void check(const uint8_t *p, size_t n)
{
	const char *why = NULL;
	size_t at = 12;

	seen.frames++;
	if (n > seen.longest)
		seen.longest = n;
	while (at + 6 <= n && (be16(p + at) == ETH_P_8021Q || be16(p + at) == ETH_P_8021AD))
		at += 4;
	if (at + 2 > n)
		why = "Ethernet header";
	else if (be16(p + at) == ETH_P_IP)
		why = check_v4(p + at + 2, n - at - 2);
	else if (be16(p + at) == ETH_P_IPV6)
		why = check_v6(p + at + 2, n - at - 2);
	else
		seen.other++;
	if (why && seen.bad++ < MAX_TOLD)
		fprintf(stderr, "frame %lu, %zu bytes: wrong %s\n", seen.frames, n, why);
}

static int listen_on(const char *name)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), room = 128 << 20;

	addr.sll_ifindex = if_nametoindex(name);
	if (fd < 0 || !addr.sll_ifindex)
		die(name);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(name);
	return fd;
}

int main(int argc, char **argv)
{
	static uint8_t frame[MAX_FRAME];
	struct tpacket_stats stats = {0};
	struct sigaction act = {.sa_handler = end};
	struct sockaddr_ll from;
	socklen_t len = sizeof(stats);
	struct pollfd p;
	ssize_t n;

	if (argc != 2) {
		fputs("usage: wire_check INTERFACE\n", stderr);
		return 2;
	}
	p = (struct pollfd){.fd = listen_on(argv[1]), .events = POLLIN};
	sigaction(SIGTERM, &act, NULL);
	puts("ready");
	fflush(stdout);
	while (!ended) {
		if (poll(&p, 1, 100) <= 0) /* a signal just before it isn't missed for long */
			continue;
		for (;;) {
			socklen_t from_len = sizeof(from);

			n = recvfrom(p.fd, frame, sizeof(frame), MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);
			if (n < 0)
				break;
			if (from.sll_pkttype != PACKET_OUTGOING)
				check(frame, n);
		}
	}
	if (getsockopt(p.fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) < 0)
		die("statistics");
	printf("frames %lu tcp4 %lu tcp6 %lu udp4 %lu udp6 %lu icmp %lu fragments %lu other %lu "
	       "bad %lu "
	       "missed %u longest %lu\n",
	       seen.frames, seen.tcp4, seen.tcp6, seen.udp4, seen.udp6, seen.icmp, seen.fragments,
	       seen.other, seen.bad, stats.tp_drops, seen.longest);
	return 0;
}
