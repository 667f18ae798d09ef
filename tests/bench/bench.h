/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the generators share: options, a clock, and one line of result. */
#ifndef BENCH_H
#define BENCH_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_vm.h"

#define BENCH_RING  512
#define BENCH_BURST 32
#define BENCH_OUT   384    /* frames that a VM has out at most: several batches of any switch */
#define BENCH_WAIT  200    /* ms without a frame after which what is missing is lost */
#define BENCH_FRAME 9014   /* the longest */
#define BENCH_TYPE  0xb588 /* 0x88b5 on the wire: an Ethertype for local experiments */

static const uint8_t bench_mac_a[6] = {2, 0, 0, 0, 0, 0xa}, bench_mac_b[6] = {2, 0, 0, 0, 0, 0xb};

static inline uint64_t bench_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline void bench_die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static inline void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu >= 0 && sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_die("--cpu", "no such CPU");
}

static inline void bench_frame(uint8_t *to, const uint8_t *dst, const uint8_t *src, size_t len)
{
	const uint16_t type = BENCH_TYPE;

	memset(to, 0x5a, len);
	memcpy(to, dst, 6);
	memcpy(to + 6, src, 6);
	memcpy(to + 12, &type, sizeof(type));
}

/*
 * Bytes of a buffer for frames of @len bytes: that of a Linux guest at least, and an odd number of
 * cache lines, so that buffers one behind the other don't all fall into the same few cache sets.
 */
static inline unsigned bench_buffer(size_t len)
{
	unsigned lines = (sizeof(struct virtio_net_hdr_mrg_rxbuf) + len + 63) / 64;

	return 64 * ((lines < 24 ? 24 : lines) | 1);
}

/** bench_connect() - a VM as @opt says, on huge pages where there are any. */
static inline struct fake_vm *bench_connect(const struct fake_vm_options *opt)
{
	struct fake_vm_options o = *opt;
	struct fake_vm *vm;

	o.huge = true;
	if (fake_vm_open(&vm, &o)) {
		o.huge = false;
		if (fake_vm_open(&vm, &o))
			bench_die(o.socket, "no VM");
	}
	return vm;
}

/**
 * bench_open() - a VM whose rings are ready to send @frame
 * @more: features that are wanted besides the usual ones; what isn't offered is done without
 */
static inline struct fake_vm *bench_open(const char *socket, const uint8_t *frame, size_t len,
					 uint64_t more)
{
	const struct fake_vm_options opt = {
		.socket = socket,
		.ring_size = BENCH_RING,
		.buffer_size = bench_buffer(len),
		.send_size = bench_buffer(len),
		.features = FAKE_VM_ALL | more,
	};
	struct fake_vm *vm = bench_connect(&opt);

	if (fake_vm_bench(vm, 0, frame, len))
		bench_die(socket, fake_vm_error(vm));
	return vm;
}

/**
 * bench_send() - send a burst
 *
 * Never more than BENCH_OUT at a time: the receiver, which takes all it has between two bursts,
 * then always has a buffer, even if this thread was off its CPU for a while, and even if the
 * switch has another burst inside that it gave the sender back already. What is lost was lost by
 * the switch.
 */
static inline unsigned bench_send(struct fake_vm *vm)
{
	if (vm->vq[1].frames - fake_vm_bench_sent(vm, 0) > BENCH_OUT - BENCH_BURST)
		return 0;
	return fake_vm_bench_send(vm, 0, BENCH_BURST);
}

/**
 * bench_report() - print a measurement's one line
 * @ns:	      its duration
 * @in_time:  frames that arrived within it
 * @sent:     all that were sent
 * @received: all that arrived, the late ones among them
 */
static inline void bench_report(uint64_t ns, uint64_t in_time, uint64_t sent, uint64_t received)
{
	printf("rate %.0f sent %llu lost %lld\n", in_time * 1e9 / ns, (unsigned long long)sent,
	       sent > received ? (long long)(sent - received) : 0);
}

#endif
