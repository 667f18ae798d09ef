/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One VM, and the far end of the veth that is the switch's NIC: frames a second between them. */
#include "bench.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>

#include "wire.skel.h"

/*
 * Runs in the network namespace of the far end; the VM's socket has a path, which is the same in
 * all of them. Guest and wire are this one thread: with --mode in it sends a burst from the wire
 * (BPF_PROG_TEST_RUN with live frames), then takes what the VM got; with --mode out it keeps the
 * VM's transmit ring full, and an XDP program counts and drops what comes out at the far end.
 *
 * Prints "FRAMES-PER-SECOND sent N received N lost N".
 */
#define SOURCE_BURST 64

static struct {
	const char *vm, *ifname, *mode;
	unsigned size;
	double seconds;
	int cpu;
} opt = {.mode = "in", .size = 64, .seconds = 1, .cpu = -1};

static struct wire_bpf *skel;
static unsigned ifindex;
static uint8_t to_vm[1514], to_wire[1514];

static void usage(void)
{
	fputs("usage: wire --vm SOCKET --if FAR-END [--mode in|out] [--size BYTES] [--seconds S]\n"
	      "            [--cpu N]\n",
	      stderr);
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"vm", required_argument, NULL, 'v'},
		{"if", required_argument, NULL, 'i'},
		{"mode", required_argument, NULL, 'm'},
		{"size", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"cpu", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'v')
			opt.vm = optarg;
		else if (o == 'i')
			opt.ifname = optarg;
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
	if (!opt.vm || !opt.ifname || opt.size < 14 || opt.size > 1514 || opt.seconds <= 0)
		usage();
	ifindex = if_nametoindex(opt.ifname);
	if (!ifindex)
		bench_die(opt.ifname, "no such interface");
}

static void load(void)
{
	skel = wire_bpf__open_and_load();
	if (!skel)
		bench_die("BPF programs", strerror(errno));
	if (bpf_xdp_attach(ifindex, bpf_program__fd(skel->progs.wire_sink), XDP_FLAGS_DRV_MODE,
			   NULL))
		bench_die(opt.ifname, "can't attach the counting XDP program");
}

static void unload(void)
{
	bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL);
	wire_bpf__destroy(skel);
}

static unsigned wire_send(unsigned n)
{
	struct xdp_md ctx = {.data_end = opt.size, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = to_vm, .data_size_in = opt.size,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = n,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = n);

	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.wire_source), &o))
		bench_die("BPF_PROG_TEST_RUN", strerror(errno));
	return n;
}

static uint64_t wire_counted(void)
{
	uint64_t value[1024] = {0}, sum = 0;
	int i, cpus = libbpf_num_possible_cpus();
	uint32_t key = 0;

	bpf_map_lookup_elem(bpf_map__fd(skel->maps.counted), &key, value);
	for (i = 0; i < cpus; i++)
		sum += value[i];
	return sum;
}

/* What the switch does with frames until it has learned, and what is on its way, is not counted. */
static void settle(struct fake_vm *vm)
{
	uint64_t end = bench_ns() + 5000000000ull, quiet;
	bool in = false, out = false;

	while (!in || !out) {
		if (bench_ns() > end)
			bench_die(in ? "VM to wire" : "wire to VM", "no frame goes through");
		fake_vm_bench_send(vm, 0, 1);
		wire_send(1);
		quiet = bench_ns() + 5000000;
		while (bench_ns() < quiet)
			in |= fake_vm_bench_recv(vm, 0) > 0;
		out = wire_counted() > 0;
	}
	quiet = bench_ns() + 50000000;
	while (bench_ns() < quiet)
		fake_vm_bench_recv(vm, 0);
}

static void run_in(struct fake_vm *vm)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, got = 0, late = 0, quiet;

	while (now < end) {
		sent += wire_send(SOURCE_BURST);
		got += fake_vm_bench_recv(vm, 0);
		now = bench_ns();
	}
	for (quiet = bench_ns() + 50000000; bench_ns() < quiet;)
		late += fake_vm_bench_recv(vm, 0);
	printf("%.0f sent %llu received %llu lost %lld\n", got * 1e9 / (now - began),
	       (unsigned long long)sent, (unsigned long long)(got + late),
	       (long long)(sent - got - late));
}

static void run_out(struct fake_vm *vm)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, before = wire_counted(), got, quiet;
	unsigned i;

	while (now < end) {
		for (i = 0; i < 64; i++)
			sent += fake_vm_bench_send(vm, 0, BENCH_BURST);
		now = bench_ns();
	}
	got = wire_counted() - before;
	for (quiet = bench_ns() + 50000000; bench_ns() < quiet;)
		;
	before = wire_counted() - before;
	printf("%.0f sent %llu received %llu lost %lld\n", got * 1e9 / (now - began),
	       (unsigned long long)sent, (unsigned long long)before, (long long)(sent - before));
}

int main(int argc, char **argv)
{
	struct fake_vm *vm;

	parse(argc, argv);
	bench_pin(opt.cpu);
	bench_frame(to_vm, bench_mac_a, bench_mac_b, opt.size);
	bench_frame(to_wire, bench_mac_b, bench_mac_a, opt.size);
	load();
	vm = bench_open(opt.vm, to_wire, opt.size);
	settle(vm);
	if (!strcmp(opt.mode, "in"))
		run_in(vm);
	else if (!strcmp(opt.mode, "out"))
		run_out(vm);
	else
		usage();
	fake_vm_close(vm);
	unload();
	return 0;
}
