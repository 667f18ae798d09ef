/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The load generator's side of a measurement: what it sends is right, and what it counts is so. */
#include "bench/bench_tso.h"
#include "check.h"

#include <sys/socket.h>

#define BUFFER 4096

static uint8_t frame[BENCH_TSO_SIZE];

/* A VM without a switch: the test itself uses its buffers. */
static struct fake_vm *alone(uint64_t features, int *peer)
{
	struct fake_vm_options opt = {
		.ring_size = 64,
		.buffer_size = BUFFER,
		.send_size = 61440,
		.features = features,
		.no_negotiate = true,
	};
	struct fake_vm *vm = NULL;
	int fd[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	opt.fd = fd[0];
	*peer = fd[1];
	CU_ASSERT_EQUAL_FATAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

/* Fills the next receive buffers with a frame of @len bytes, as a switch does. */
static void deliver(struct fake_vm *vm, size_t len, uint8_t gso_type)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {.hdr.gso_type = gso_type};
	struct fake_vq *q = &vm->vq[0];
	size_t left = len + vm->hdr_len, part;
	uint16_t at = q->used->idx, id;

	hdr.num_buffers = (left + BUFFER - 1) / BUFFER;
	for (; left; left -= part, at++) {
		id = q->avail->ring[at & (q->size - 1)];
		part = left < BUFFER ? left : BUFFER;
		memset(q->buffers + (size_t)id * q->stride, 0xff, part);
		if (at == q->used->idx)
			memcpy(q->buffers + (size_t)id * q->stride, &hdr, vm->hdr_len);
		q->used->ring[at & (q->size - 1)] = (struct vring_used_elem){id, part};
	}
	__atomic_store_n(&q->used->idx, at, __ATOMIC_RELEASE);
}

/* Frames in several buffers count once each, with all their bytes, beyond the ring's end too. */
static void test_counts_mergeable(void)
{
	const struct virtio_net_hdr_mrg_rxbuf hdr =
		bench_tso_frame(frame, bench_mac_b, bench_mac_a);
	struct fake_vm *vm;
	unsigned round;
	int peer;

	vm = alone(FAKE_VM_ALL | FAKE_VM_TSO, &peer);
	CU_ASSERT_EQUAL(fake_vm_bench_hdr(vm, 0, &hdr, frame, sizeof(frame)), 0);
	CU_ASSERT_EQUAL(fake_vm_bench_recv(vm, 0), 0);
	for (round = 0; round < 20; round++) {
		uint64_t bytes = vm->vq[0].bytes, frames = vm->vq[0].frames;

		deliver(vm, 60000, VIRTIO_NET_HDR_GSO_TCPV4);
		deliver(vm, 64, VIRTIO_NET_HDR_GSO_NONE);
		deliver(vm, 2 * BUFFER - vm->hdr_len, VIRTIO_NET_HDR_GSO_UDP);
		CU_ASSERT_EQUAL(fake_vm_bench_recv(vm, 0), 3);
		CU_ASSERT_EQUAL(vm->vq[0].frames - frames, 3);
		CU_ASSERT_EQUAL(vm->vq[0].bytes - bytes, 60064 + 2 * BUFFER - vm->hdr_len);
		CU_ASSERT_EQUAL(vm->hdr.hdr.gso_type, VIRTIO_NET_HDR_GSO_UDP);
		CU_ASSERT_EQUAL((uint16_t)(vm->vq[0].avail_at - vm->vq[0].used_at), 64);
	}
	fake_vm_close(vm);
	close(peer);
}

/* Of small frames nothing is read, and each buffer is one. */
static void test_counts_small(void)
{
	struct fake_vm *vm;
	int peer;

	vm = alone(FAKE_VM_ALL, &peer);
	CU_ASSERT_EQUAL(fake_vm_bench(vm, 0, frame, 64), 0);
	deliver(vm, 64, VIRTIO_NET_HDR_GSO_NONE);
	deliver(vm, 1514, VIRTIO_NET_HDR_GSO_NONE);
	CU_ASSERT_EQUAL(fake_vm_bench_recv(vm, 0), 2);
	CU_ASSERT_EQUAL(vm->vq[0].frames, 2);
	fake_vm_close(vm);
	close(peer);
}

/* Every transmit buffer has the header and the frame that were given. */
static void test_sends_header(void)
{
	const struct virtio_net_hdr_mrg_rxbuf hdr =
		bench_tso_frame(frame, bench_mac_b, bench_mac_a);
	const struct fake_vq *q;
	struct fake_vm *vm;
	unsigned i;
	int peer;

	vm = alone(FAKE_VM_ALL | FAKE_VM_TSO, &peer);
	CU_ASSERT_EQUAL(fake_vm_bench_hdr(vm, 0, &hdr, frame, sizeof(frame)), 0);
	CU_ASSERT_EQUAL(fake_vm_bench_send(vm, 0, 5), 5);
	q = &vm->vq[1];
	for (i = 0; i < 5; i++) {
		const struct vring_desc *d = &q->desc[q->avail->ring[i]];
		const uint8_t *at = fake_vm_at(vm, d->addr);

		CU_ASSERT_EQUAL(d->len, vm->hdr_len + sizeof(frame));
		CU_ASSERT(!memcmp(at, &hdr, vm->hdr_len));
		CU_ASSERT(!memcmp(at + vm->hdr_len, frame, sizeof(frame)));
	}
	fake_vm_close(vm);
	close(peer);
}

/* True headers: lengths that agree, the IP checksum, and TCP's left open as virtio has it. */
static void test_tso_frame(void)
{
	const struct virtio_net_hdr_mrg_rxbuf hdr =
		bench_tso_frame(frame, bench_mac_b, bench_mac_a);
	const size_t at = ETH_HLEN + sizeof(struct iphdr), tcp_len = sizeof(frame) - at;
	struct tcphdr tcp;
	struct iphdr ip;
	uint32_t pseudo;

	memcpy(&ip, frame + ETH_HLEN, sizeof(ip));
	memcpy(&tcp, frame + at, sizeof(tcp));
	CU_ASSERT_EQUAL(ntohs(ip.tot_len), sizeof(frame) - ETH_HLEN);
	CU_ASSERT_EQUAL(bench_sum(&ip, sizeof(ip), 0), 0xffff);
	CU_ASSERT_EQUAL(hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	CU_ASSERT_EQUAL(hdr.hdr.hdr_len, at + tcp.doff * 4);
	CU_ASSERT_EQUAL(hdr.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	CU_ASSERT_EQUAL(hdr.hdr.gso_size, 1448);
	CU_ASSERT_EQUAL(hdr.hdr.csum_start, at);
	CU_ASSERT_EQUAL(hdr.hdr.csum_offset, 16);
	/* a NIC sums up from csum_start on, and puts the complement there: then it is right */
	tcp.check = htons(~bench_sum(frame + at, tcp_len, 0));
	memcpy(frame + at, &tcp, sizeof(tcp));
	pseudo = bench_sum(&ip.saddr, 8, IPPROTO_TCP + tcp_len);
	CU_ASSERT_EQUAL(bench_sum(frame + at, tcp_len, pseudo), 0xffff);
}

static const struct check tests[] = {
	{"counts frames in several buffers", test_counts_mergeable},
	{"counts small frames", test_counts_small},
	{"sends the header given", test_sends_header},
	{"a true TSO frame", test_tso_frame},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("bench", tests, argc, argv);
}
