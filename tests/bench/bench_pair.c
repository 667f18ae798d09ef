/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two VMs on two vhost-user sockets of any switch: how many frames a second go through. */
#include "bench.h"

#include <getopt.h>

/*
 * Both guests are this one thread. They touch no frame: buffers are made ready once, and from then
 * on only indices move, so that the switch is what takes the time.
 *
 * Prints "FRAMES-PER-SECOND sent N received N lost N"; with --mode ping, round trips.
 */

static struct {
	const char *a, *b, *mode;
	unsigned size;
	double seconds;
	int cpu;
} opt = {.mode = "one", .size = 64, .seconds = 1, .cpu = -1};

static void usage(void)
{
	fputs("usage: bench_pair --a SOCKET --b SOCKET [--mode one|both|ping] [--size BYTES]\n"
	      "                  [--seconds S] [--cpu N]\n",
	      stderr);
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"a", required_argument, NULL, 'a'},
		{"b", required_argument, NULL, 'b'},
		{"mode", required_argument, NULL, 'm'},
		{"size", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"cpu", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'a')
			opt.a = optarg;
		else if (o == 'b')
			opt.b = optarg;
		else if (o == 'm')
			opt.mode = optarg;
		else if (o == 's')
			opt.size = atoi(optarg);
		else if (o == 't')
			opt.seconds = atof(optarg);
		else if (o == 'c')
			opt.cpu = atoi(optarg);
		else
			usage();
	}
	if (!opt.a || !opt.b || opt.size < 14 || opt.size > 1514 || opt.seconds <= 0)
		usage();
}

/* Until frames go through (and the switch knows both addresses), at most five seconds. */
static void settle(struct fake_vm *from, struct fake_vm *to)
{
	uint64_t end = bench_ns() + 5000000000ull, quiet;

	do {
		fake_vm_bench_send(from, 0, 1);
		quiet = bench_ns() + 2000000;
		while (bench_ns() < quiet)
			if (fake_vm_bench_recv(to, 0))
				return;
	} while (bench_ns() < end);
	bench_die("no frame goes through", opt.a);
}

/* Until nothing comes any more. */
static uint64_t drain(struct fake_vm *to)
{
	uint64_t end = bench_ns() + 20000000, got = 0, n;

	while (bench_ns() < end) {
		n = fake_vm_bench_recv(to, 0);
		got += n;
		if (n)
			end = bench_ns() + 20000000;
	}
	return got;
}

static void run_flow(struct fake_vm *a, struct fake_vm *b, bool both)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, got = 0;
	unsigned i;

	while (now < end) {
		for (i = 0; i < 16; i++) {
			sent += bench_send(a);
			got += fake_vm_bench_recv(b, 0);
			if (both) {
				sent += bench_send(b);
				got += fake_vm_bench_recv(a, 0);
			}
		}
		now = bench_ns();
	}
	/* what is still on its way arrives late, but isn't lost */
	i = drain(b) + (both ? drain(a) : 0);
	bench_report(now - began, got, sent, got + i);
}

/* Waits for one frame; false: it is lost. */
static bool await(struct fake_vm *to)
{
	uint64_t end = 0;
	unsigned i;

	for (;;) {
		for (i = 0; i < 100000; i++)
			if (fake_vm_bench_recv(to, 0))
				return true;
		if (!end)
			end = bench_ns() + 1000000000ull;
		else if (bench_ns() > end)
			return false;
	}
}

static void run_ping(struct fake_vm *a, struct fake_vm *b)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, got = 0;
	unsigned i;

	while (now < end) {
		for (i = 0; i < 256; i++) {
			sent += fake_vm_bench_send(a, 0, 1);
			if (!await(b))
				continue;
			fake_vm_bench_send(b, 0, 1);
			got += await(a);
		}
		now = bench_ns();
	}
	bench_report(now - began, got, sent, got);
}

int main(int argc, char **argv)
{
	uint8_t to_b[1514], to_a[1514];
	struct fake_vm *a, *b;

	parse(argc, argv);
	bench_pin(opt.cpu);
	bench_frame(to_b, bench_mac_b, bench_mac_a, opt.size);
	bench_frame(to_a, bench_mac_a, bench_mac_b, opt.size);
	a = bench_open(opt.a, to_b, opt.size);
	b = bench_open(opt.b, to_a, opt.size);
	settle(a, b);
	settle(b, a);
	drain(a);
	drain(b);
	if (!strcmp(opt.mode, "one"))
		run_flow(a, b, false);
	else if (!strcmp(opt.mode, "both"))
		run_flow(a, b, true);
	else if (!strcmp(opt.mode, "ping"))
		run_ping(a, b);
	else
		usage();
	fake_vm_close(a);
	fake_vm_close(b);
	return 0;
}
