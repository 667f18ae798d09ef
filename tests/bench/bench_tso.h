/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The frame of the TSO measurement, and a VM that sends and takes such frames. */
#ifndef BENCH_TSO_H
#define BENCH_TSO_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"

/*
 * What a Linux guest's TCP hands to its driver: a frame far over the MTU with true headers, whose
 * checksum is left open and whose segments are still to be cut. Between two guests that both
 * negotiated it, a switch can pass it on as it is.
 */
#define BENCH_TSO_SIZE    60000
#define BENCH_TSO_SEGMENT 1448 /* of payload: an MTU of 1500 less the headers, with timestamps */
#define BENCH_TSO_HEADERS (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) + 12)
/* A frame takes 15 receive buffers of a page, the ring holds 34 of them: as bench_send(), twice
 * what may be out must find room. */
#define BENCH_TSO_PAGE  4096
#define BENCH_TSO_OUT   16
#define BENCH_TSO_BURST 4

static inline uint32_t bench_sum(const void *at, size_t len, uint32_t sum)
{
	const uint8_t *p = at;
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/** bench_tso_frame() - a TCP frame of BENCH_TSO_SIZE bytes at @to; its virtio-net header. */
static inline struct virtio_net_hdr_mrg_rxbuf bench_tso_frame(uint8_t *to, const uint8_t *dst,
							      const uint8_t *src)
{
	const uint8_t options[12] = {1, 1, 8, 10}; /* padding, timestamps */
	const size_t tcp_len = BENCH_TSO_SIZE - ETH_HLEN - sizeof(struct iphdr);
	const uint16_t type = htons(ETH_P_IP);
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons(BENCH_TSO_SIZE - ETH_HLEN),
		.frag_off = htons(0x4000), /* don't fragment */
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = htonl(0xc6120000 | src[5]), /* 198.18.0.0/15 is there for benchmarks */
		.daddr = htonl(0xc6120000 | dst[5]),
	};
	struct tcphdr tcp = {
		.source = htons(5001),
		.dest = htons(5001),
		.seq = htonl(1),
		.ack_seq = htonl(1),
		.doff = 8,
		.ack = 1,
		.window = htons(0xffff),
	};

	bench_frame(to, dst, src, BENCH_TSO_SIZE);
	memcpy(to + 12, &type, sizeof(type));
	ip.check = htons(~bench_sum(&ip, sizeof(ip), 0));
	/* an open checksum field holds the sum of the pseudo header alone */
	tcp.check = htons(bench_sum(&ip.saddr, 8, IPPROTO_TCP + tcp_len));
	memcpy(to + ETH_HLEN, &ip, sizeof(ip));
	memcpy(to + ETH_HLEN + sizeof(ip), &tcp, sizeof(tcp));
	memcpy(to + ETH_HLEN + sizeof(ip) + sizeof(tcp), options, sizeof(options));
	return (struct virtio_net_hdr_mrg_rxbuf){
		.hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
			.hdr_len = BENCH_TSO_HEADERS,
			.gso_size = BENCH_TSO_SEGMENT,
			.csum_start = ETH_HLEN + sizeof(ip),
			.csum_offset = offsetof(struct tcphdr, check)},
	};
}

/** bench_listen() - wait on @path for a switch that is a client. */
static inline int bench_listen(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		bench_die(path, strerror(errno));
	return fd;
}

/*
 * The VM of a switch that connects to @server; DPDK's tries once a second, and again if the VM
 * hung up. The first time it may still find out that the VM before is gone.
 */
static inline struct fake_vm *bench_accept(int server, const struct fake_vm_options *opt)
{
	struct pollfd p = {.fd = server, .events = POLLIN};
	struct fake_vm_options o = *opt;
	struct fake_vm *vm = NULL;
	unsigned i;

	o.socket = NULL;
	for (i = 0; i < 3 && !vm; i++) {
		o.huge = i < 2;
		o.fd = poll(&p, 1, 10000) > 0 ? accept4(server, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (o.fd < 0)
			bench_die(opt->socket, "nobody connects");
		if (fake_vm_open(&vm, &o))
			vm = NULL;
	}
	close(server);
	unlink(opt->socket);
	if (!vm)
		bench_die(opt->socket, "no VM");
	return vm;
}

/**
 * bench_tso_open() - a VM that offers itself for TSO frames
 * @socket: of the switch
 * @large:  receive buffers that hold a whole frame each, as of a guest without mergeable ones;
 *	    else pages, several of which make a frame
 * @server: -1, or a socket that listens for the switch: it has the other role
 * @more:   features that are wanted besides
 *
 * What of it the switch offers stands in vm->features.
 */
static inline struct fake_vm *bench_tso_open(const char *socket, bool large, int server,
					     uint64_t more)
{
	const struct fake_vm_options opt = {
		.socket = socket,
		.ring_size = BENCH_RING,
		.buffer_size = large ? bench_buffer(BENCH_TSO_SIZE) : BENCH_TSO_PAGE,
		.send_size = bench_buffer(BENCH_TSO_SIZE),
		.features = (large ? FAKE_VM_ALL & ~FAKE_VM_MRG_RXBUF : FAKE_VM_ALL) | FAKE_VM_TSO |
			    more,
	};

	return server < 0 ? bench_connect(&opt) : bench_accept(server, &opt);
}

/** bench_tso_send() - a burst, as bench_send(). */
static inline unsigned bench_tso_send(struct fake_vm *vm)
{
	if (vm->vq[1].frames - fake_vm_bench_sent(vm, 0) > BENCH_TSO_OUT - BENCH_TSO_BURST)
		return 0;
	return fake_vm_bench_send(vm, 0, BENCH_TSO_BURST);
}

#endif
