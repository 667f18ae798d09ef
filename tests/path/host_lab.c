/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Host and wire, and the guest that answers pings and takes TCP. */
#include "host_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/icmp.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "check.h"
#include "offload/cutter.h"

#define NUMBERED 0x88b5 /* IEEE's type for experiments: no stack answers */
#define QUIET_MS 60
#define WAIT_MS  5000

const uint8_t host_lab_vm_mac[6] = {2, 0, 0, 0, 0x77, 0x63};
const uint8_t host_lab_everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* ---- open and close ---- */

struct host_lab *host_lab_new(void)
{
	struct tables_options opt = {.name = HOST_LAB_NAME, .need_bpf = true};
	struct host_lab *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return NULL;
	l->host_sock = l->wire_sock = -1;
	err = net_open(&l->net, 1);
	if (err) {
		free(l);
		if (err == -EPERM)
			check_skip("needs root");
		else
			CU_FAIL("no namespaces");
		return NULL;
	}
	l->host_sock = net_packet(&l->net, l->net.host, NET_NIC);
	l->wire_sock = net_packet(&l->net, l->net.wire, NET_FAR);
	if (worker_new(&l->worker, 0, NULL))
		l->worker = NULL;
	err = net_enter(l->net.host);
	if (!err)
		err = tables_open(&l->tables, &opt);
	if (err || !l->worker || l->host_sock < 0 || l->wire_sock < 0) {
		CU_FAIL("no lab");
		host_lab_free(l);
		return NULL;
	}
	l->stats = tables_stats(l->tables, VXS_PORT_HOST);
	return l;
}

void host_lab_free(struct host_lab *l)
{
	if (!l)
		return;
	host_lab_close(l);
	tables_close(l->tables);
	worker_free(l->worker);
	close(l->host_sock);
	close(l->wire_sock);
	net_enter(l->net.home);
	net_close(&l->net);
	free(l);
}

struct host_setup host_lab_setup(struct host_lab *l)
{
	return (struct host_setup){
		.name = HOST_LAB_NAME,
		.nic_ifindex = if_nametoindex(NET_NIC),
		.nic_name = NET_NIC,
		.nic_mtu = 1500,
		.fdb_fd = tables_fd_fdb(l->tables),
		.stats = l->stats,
	};
}

int host_lab_open(struct host_lab *l)
{
	struct host_setup setup = host_lab_setup(l);
	uint64_t key = fdb_key(fdb_mac(host_lab_vm_mac), 0);
	int err;

	err = host_open(&l->host, &setup);
	if (err)
		return err;
	l->host->port.worker[0] = l->worker;
	err = host_attach(l->host);
	if (!err)
		err = tables_set_address(l->tables, key, HOST_LAB_VM, 0);
	if (err)
		host_lab_close(l);
	return err;
}

void host_lab_close(struct host_lab *l)
{
	if (l->host)
		host_detach(l->host);
	host_free(l->host);
	l->host = NULL;
}

/* ---- frames ---- */

size_t host_lab_frame(uint8_t *at, size_t len, const uint8_t *dst, const uint8_t *src,
		      uint16_t tpid, uint16_t tci, unsigned number)
{
	uint8_t *p = at + 12;
	size_t i;

	memcpy(at, dst, 6);
	memcpy(at + 6, src, 6);
	if (tpid) {
		*p++ = tpid >> 8;
		*p++ = tpid;
		*p++ = tci >> 8;
		*p++ = tci;
	}
	*p++ = NUMBERED >> 8;
	*p++ = NUMBERED & 0xff;
	*p++ = number;
	for (i = p - at; i < len; i++)
		at[i] = number + i;
	return len;
}

bool host_lab_send(int sock, const uint8_t *frame, size_t len)
{
	return send(sock, frame, len, 0) == (ssize_t)len;
}

void host_lab_out(struct host_lab *l, const uint8_t *frame, size_t len, unsigned pieces)
{
	host_lab_out_open(l, frame, len, pieces, &(struct frame_offload){});
}

void host_lab_out_open(struct host_lab *l, const uint8_t *frame, size_t len, unsigned pieces,
		       const struct frame_offload *offload)
{
	struct batch *b = &l->out;
	struct frame *f = &b->frame[0];
	uint16_t which = 0;
	size_t rest, part;

	memset(f, 0, sizeof(*f));
	f->len = len;
	f->offload = *offload;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = len < FRAME_HEAD ? len : FRAME_HEAD;
	memcpy(f->head + f->shape.head_at, frame, f->shape.head_len);
	b->n = 1;
	b->n_pieces = 0;
	frame += f->shape.head_len;
	for (rest = len - f->shape.head_len; rest; rest -= part) {
		part = rest / (pieces - b->n_pieces);
		if (!part)
			part = 1;
		b->piece[b->n_pieces++] = (struct piece){frame, part};
		frame += part;
	}
	f->shape.n_pieces = b->n_pieces;
	if (!offload_is_none(f))
		CU_ASSERT(offload_check(b, f, OFFLOAD_ALL));
	host_port(l->host)->ops->out(host_port(l->host), l->worker, b, &which, 1);
}

/* Notes a numbered frame; its number is behind the type, which may be behind a tag. */
static bool note(struct seen *s, const uint8_t *frame, size_t len)
{
	size_t at = 12, i;
	unsigned type, number;

	type = frame[at] << 8 | frame[at + 1];
	if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
		at += 4;
		type = frame[at] << 8 | frame[at + 1];
	}
	if (type != NUMBERED)
		return false;
	number = frame[at + 2];
	s->n[number]++;
	for (i = at + 3; i < len; i++)
		if (frame[i] != (uint8_t)(number + i)) {
			s->bad++;
			break;
		}
	memcpy(s->last, frame, len < sizeof(s->last) ? len : sizeof(s->last));
	s->last_len = len;
	return true;
}

/* ---- the guest ---- */

static uint32_t sum(uint32_t acc, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len > 1; p += 2, len -= 2)
		acc += p[0] << 8 | p[1];
	return len ? acc + (p[0] << 8) : acc;
}

static uint16_t fold(uint32_t acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return ~acc;
}

/* Where things are in an IP packet, and what it is. */
struct packet {
	uint8_t *frame;
	unsigned addr, addr_len; /* the two addresses */
	unsigned at, end;        /* layer 4 */
	uint8_t proto;
	const struct frame_offload *offload;
};

static uint32_t pseudo_sum(const struct packet *k)
{
	return sum(k->proto + k->end - k->at, k->frame + k->addr, 2 * k->addr_len);
}

static uint16_t transport_sum(const struct packet *k)
{
	return fold(pseudo_sum(k) + sum(0, k->frame + k->at, k->end - k->at));
}

/* Complete, or if it is left open the pseudo header's. */
static bool is_sum_right(const struct packet *k)
{
	unsigned field = k->at + (k->proto == IPPROTO_TCP ? 16 : 6);

	if (!k->offload->flags)
		return !transport_sum(k);
	return k->offload->csum_start == k->at &&
	       k->offload->csum_start + k->offload->csum_offset == field &&
	       fold(pseudo_sum(k)) + (k->frame[field] << 8) + k->frame[field + 1] == 0xffff;
}

static void answer_arp(struct host_lab *l, const uint8_t *frame, size_t len)
{
	uint8_t reply[60] = {};
	uint32_t ip = inet_addr(HOST_LAB_VM_IP);

	if (len < 42 || frame[21] != ARPOP_REQUEST || memcmp(frame + 38, &ip, 4))
		return;
	memcpy(reply, frame, 42);
	memcpy(reply, frame + 6, 6);
	memcpy(reply + 6, host_lab_vm_mac, 6);
	reply[21] = ARPOP_REPLY;
	memcpy(reply + 22, host_lab_vm_mac, 6);
	memcpy(reply + 28, frame + 38, 4);
	memcpy(reply + 32, frame + 22, 10);
	host_lab_out(l, reply, sizeof(reply), 1);
}

/* Sends an IP packet back to where it came from; its addresses are turned round here. */
static void send_back(struct host_lab *l, const struct packet *k, size_t len)
{
	uint8_t *addr = k->frame + k->addr, first[16];

	memcpy(first, addr, k->addr_len);
	memcpy(addr, addr + k->addr_len, k->addr_len);
	memcpy(addr + k->addr_len, first, k->addr_len);
	memcpy(k->frame, k->frame + 6, 6);
	memcpy(k->frame + 6, host_lab_vm_mac, 6);
	host_lab_out(l, k->frame, len, 2);
}

/* Data that doesn't say where in the stream it belongs; see host_lab_stream(). */
static void take_data(struct host_lab *l, const struct packet *k, unsigned data, size_t len)
{
	const struct tcphdr *tcp = (const struct tcphdr *)(k->frame + k->at);
	uint32_t at = ntohl(tcp->seq) - l->tcp.first;
	unsigned i;

	l->tcp.segments++;
	l->tcp.bytes += k->end - data;
	l->tcp.longest = len > l->tcp.longest ? len : l->tcp.longest;
	for (i = data; i < k->end; i++, at++)
		if (k->frame[i] != host_lab_stream(at)) {
			l->tcp.bad++;
			return;
		}
}

static void answer_tcp(struct host_lab *l, const struct packet *k, size_t len)
{
	struct tcphdr *tcp = (struct tcphdr *)(k->frame + k->at);
	unsigned data = k->at + tcp->doff * 4;
	uint16_t port = tcp->source;

	if (!tcp->syn) {
		if (k->end > data)
			take_data(l, k, data, len);
		return;
	}
	l->tcp.first = ntohl(tcp->seq) + 1;
	tcp->source = tcp->dest;
	tcp->dest = port;
	tcp->ack_seq = htonl(l->tcp.first);
	tcp->seq = htonl(HOST_LAB_SEQ - 1);
	tcp->ack = 1;
	tcp->window = htons(65535);
	tcp->check = 0;
	tcp->check = htons(transport_sum(k));
	send_back(l, k, len);
	memcpy(l->tcp.answer, k->frame, k->at + sizeof(*tcp));
	l->tcp.answer_len = k->at + sizeof(*tcp);
}

/* What is IPv4 or (without extension headers) IPv6, for the guest or for a group. */
static bool find_packet(struct packet *k, size_t len, unsigned type)
{
	struct iphdr *ip = (struct iphdr *)(k->frame + ETH_HLEN);
	static const uint8_t ip6[16] = HOST_LAB_VM_IP6_BYTES;

	if (type == ETH_P_IP && len >= 34) {
		k->addr = ETH_HLEN + 12;
		k->addr_len = 4;
		k->at = ETH_HLEN + ip->ihl * 4;
		k->end = ETH_HLEN + ntohs(ip->tot_len);
		k->proto = ip->protocol;
		if (ip->daddr != inet_addr(HOST_LAB_VM_IP) && !(k->frame[0] & 1))
			return false;
	} else if (type == ETH_P_IPV6 && len >= 54) {
		k->addr = ETH_HLEN + 8;
		k->addr_len = 16;
		k->at = ETH_HLEN + 40;
		k->end = k->at + (k->frame[18] << 8 | k->frame[19]);
		k->proto = k->frame[20];
		if (memcmp(k->frame + ETH_HLEN + 24, ip6, 16))
			return false;
	} else {
		return false;
	}
	return k->end <= len && k->end >= k->at + 8;
}

static void answer_ip(struct host_lab *l, struct packet *k, size_t len, unsigned type)
{
	struct icmphdr *icmp;

	if (!find_packet(k, len, type))
		return;
	if (k->proto == IPPROTO_TCP || k->proto == IPPROTO_UDP) {
		l->tcp.bad += !is_sum_right(k);
		l->tcp.open += k->offload->flags != 0;
		l->tcp.gso += k->offload->gso_type != 0;
	}
	icmp = (struct icmphdr *)(k->frame + k->at);
	if (k->proto == IPPROTO_ICMP && icmp->type == ICMP_ECHO) {
		icmp->type = ICMP_ECHOREPLY;
		icmp->checksum = 0;
		icmp->checksum = htons(fold(sum(0, icmp, k->end - k->at)));
		send_back(l, k, len);
	} else if (k->proto == IPPROTO_TCP && k->end >= k->at + 20) {
		answer_tcp(l, k, len);
	} else if (k->proto == IPPROTO_UDP) {
		l->tcp.datagrams++;
		l->tcp.longest = len > l->tcp.longest ? len : l->tcp.longest;
	}
}

/* The guest gets what it takes as it is, and the rest finished, as an out side does it. */
static void take_in(struct host_lab *l, const struct batch *b, const struct frame *f)
{
	static uint8_t room[2 + FRAME_MAX] __attribute__((aligned(4)));
	uint8_t *frame = room + 2; /* so that what is behind the Ethernet header is aligned */
	struct span span = {frame, FRAME_MAX};
	struct cutter c;
	unsigned type;

	cutter_open(&c, b, f, l->vm_takes);
	while (cutter_next(&c)) {
		struct packet k = {.frame = frame, .offload = &c.offload};

		cutter_write(&c, &span, 1);
		if (note(&l->by_vm, frame, c.len))
			continue;
		type = frame[12] << 8 | frame[13];
		if (type == ETH_P_ARP)
			answer_arp(l, frame, c.len);
		else
			answer_ip(l, &k, c.len, type);
	}
}

/* ---- taking in ---- */

static unsigned drain_port(struct host_lab *l)
{
	struct port *p;
	unsigned i, n = 0;

	if (!l->host)
		return 0;
	p = host_port(l->host);
	while (p->ops->in(p, l->worker, 0, &l->in)) {
		for (i = 0; i < l->in.n; i++)
			take_in(l, &l->in, &l->in.frame[i]);
		n += l->in.n;
		p->ops->done(p, l->worker, 0, &l->in);
	}
	return n;
}

/* Puts the tag that the kernel tells beside the frame back into it. */
static size_t put_tag(struct msghdr *msg, uint8_t *frame, size_t len)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct tpacket_auxdata aux;

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			return len;
		memmove(frame + 16, frame + 12, len - 12);
		frame[12] = aux.tp_vlan_tpid >> 8;
		frame[13] = aux.tp_vlan_tpid;
		frame[14] = aux.tp_vlan_tci >> 8;
		frame[15] = aux.tp_vlan_tci;
		return len + 4;
	}
	return len;
}

static unsigned drain_socket(int sock, struct seen *s)
{
	uint8_t frame[4096], control[256];
	unsigned n = 0;
	ssize_t len;

	for (;;) {
		struct iovec iov = {frame, sizeof(frame) - 4};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};

		len = recvmsg(sock, &msg, MSG_DONTWAIT);
		if (len < 0)
			return n;
		if (len >= 14)
			note(s, frame, put_tag(&msg, frame, len));
		n++;
	}
}

static unsigned drain(struct host_lab *l)
{
	return drain_port(l) + drain_socket(l->host_sock, &l->by_host) +
	       drain_socket(l->wire_sock, &l->by_wire);
}

/* Waits for anything to take in; @also is one more fd to look at, or -1. */
static int wait_for_any(struct host_lab *l, int also, int ms)
{
	struct pollfd fd[] = {{l->host ? l->host->tap_fd : -1, POLLIN, 0},
			      {l->host_sock, POLLIN, 0},
			      {l->wire_sock, POLLIN, 0},
			      {also, POLLIN, 0}};

	return poll(fd, 4, ms);
}

void host_lab_quiet(struct host_lab *l)
{
	unsigned long long end = now_ms() + WAIT_MS;

	while (wait_for_any(l, -1, QUIET_MS) > 0 && now_ms() < end)
		drain(l);
}

bool host_lab_until(struct host_lab *l, bool (*done)(struct host_lab *l))
{
	unsigned long long end = now_ms() + WAIT_MS;

	for (;;) {
		drain(l);
		if (done(l))
			return true;
		if (now_ms() > end)
			return false;
		wait_for_any(l, -1, QUIET_MS);
	}
}

void host_lab_clear(struct host_lab *l)
{
	host_lab_quiet(l);
	memset(&l->by_host, 0, sizeof(l->by_host));
	memset(&l->by_wire, 0, sizeof(l->by_wire));
	memset(&l->by_vm, 0, sizeof(l->by_vm));
	memset(&l->tcp, 0, sizeof(l->tcp));
}

bool host_lab_ping(struct host_lab *l, int ns, const char *ip)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip)};
	struct {
		struct icmphdr h;
		uint8_t data[32];
	} echo = {.h = {.type = ICMP_ECHO, .un.echo.id = htons(getpid())}};
	unsigned long long end = now_ms() + WAIT_MS;
	uint8_t answer[256];
	bool ok = false;
	int fd;

	echo.h.checksum = htons(fold(sum(0, &echo, sizeof(echo))));
	fd = net_socket(&l->net, ns, AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP);
	net_enter(l->net.host);
	if (fd < 0)
		return false;
	sendto(fd, &echo, sizeof(echo), 0, (struct sockaddr *)&to, sizeof(to));
	while (!ok && now_ms() < end) {
		struct sockaddr_in from = {};
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fd, answer, sizeof(answer), 0, (struct sockaddr *)&from,
				     &from_len);

		ok = n >= 28 && answer[20] == ICMP_ECHOREPLY &&
		     from.sin_addr.s_addr == to.sin_addr.s_addr &&
		     !memcmp(answer + 24, &echo.h.un.echo.id, 2);
		if (n < 0 && !drain(l))
			wait_for_any(l, fd, QUIET_MS);
	}
	close(fd);
	return ok;
}

bool host_lab_says(struct host_lab *l, const char *command, const char *text)
{
	static char out[65536];

	net_ask(l->net.host, out, sizeof(out), "%s", command);
	return strstr(out, text) != NULL;
}
