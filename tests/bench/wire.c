/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One VM, and the far end of the veth that is the switch's NIC: frames a second between them. */
#include "bench_shared.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "wire.skel.h"

/*
 * Runs in the network namespace of the far end; the VM's socket has a path, which is the same in
 * all of them. With --mode in a thread of its own has the kernel send from the wire for as long as
 * it lasts (BPF_PROG_TEST_RUN with live frames), and this one takes what the VM got; both share one
 * CPU. With --mode out this thread keeps the VM's transmit ring full, and an XDP program counts and
 * drops what comes out at the far end.
 *
 * With --shared instead of --vm there is ceiling_nic, a bare AF_XDP loop, in the switch's and the
 * VM's place: the page that both map says how many frames it got, and it sends when told to.
 *
 * Prints "rate FRAMES-PER-SECOND sent N lost N". The wire is faster than any switch: with --mode in
 * frames are lost by all of them.
 */
#define QUIET 50000000ull /* ns */

static struct {
	const char *vm, *shared, *ifname, *mode;
	unsigned size;
	double seconds;
	int cpu;
} opt = {.mode = "in", .size = 64, .seconds = 1, .cpu = -1};

static struct wire_bpf *skel;
static unsigned ifindex;
static uint8_t to_vm[1514], to_wire[1514];

/* Who is behind the NIC: one of the two. */
static struct fake_vm *vm;
static struct bench_shared *shared;

static void usage(bool asked)
{
	fputs("usage: wire --vm SOCKET | --shared FILE --if FAR-END [--mode in|out] [--size "
	      "BYTES]\n"
	      "            [--seconds S] [--cpu N]\n",
	      asked ? stdout : stderr);
	exit(asked ? 0 : 2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"vm", required_argument, NULL, 'v'},
		{"shared", required_argument, NULL, 'h'},
		{"if", required_argument, NULL, 'i'},
		{"mode", required_argument, NULL, 'm'},
		{"size", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"cpu", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'v')
			opt.vm = optarg;
		else if (o == 'h')
			opt.shared = optarg;
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
			usage(o == 'H');
	}
	if (!opt.vm == !opt.shared || !opt.ifname || opt.size < 14 || opt.size > 1514 ||
	    opt.seconds <= 0)
		usage(false);
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

/* Sends up to @n frames out of the far end; a signal ends it early. */
static void wire_send(int n)
{
	struct xdp_md ctx = {.data_end = opt.size, .ingress_ifindex = ifindex};
	int err;

	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = to_vm, .data_size_in = opt.size,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = n,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.wire_source), &o);
	if (err && err != -EINTR)
		bench_die("BPF_PROG_TEST_RUN", strerror(-err));
}

/*
 * The guest has to empty its ring in time, or what is measured is how the scheduler shares the CPU
 * between it and the source.
 */
static void guest_first(bool on)
{
	const struct sched_param param = {.sched_priority = on};

	if (sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &param) < 0)
		bench_die("scheduler", strerror(errno));
}

static void *wire_send_on(void *arg)
{
	guest_first(false);
	wire_send(INT32_MAX);
	return arg;
}

static uint64_t count(struct bpf_map *map)
{
	uint64_t value[1024] = {0}, sum = 0;
	int i, cpus = libbpf_num_possible_cpus();
	uint32_t key = 0;

	bpf_map_lookup_elem(bpf_map__fd(map), &key, value);
	for (i = 0; i < cpus; i++)
		sum += value[i];
	return sum;
}

static uint64_t wire_received(void)
{
	return count(skel->maps.received);
}

static uint64_t wire_sent(void)
{
	return count(skel->maps.sent);
}

/* How many frames the VM got since the last time. */
static uint64_t take(void)
{
	static uint64_t before;
	uint64_t now, n;

	if (vm)
		return fake_vm_bench_recv(vm, 0);
	now = __atomic_load_n(&shared->received, __ATOMIC_RELAXED);
	n = now - before;
	before = now;
	return n;
}

static void set_sending(bool on)
{
	__atomic_store_n(&shared->send, on ? opt.size : 0, __ATOMIC_RELAXED);
}

/* Until nothing comes on either side for a while; how many frames the VM got meanwhile. */
static uint64_t drain(void)
{
	uint64_t end = bench_ns() + QUIET, got = 0, wire = wire_received(), n, now;

	while (bench_ns() < end) {
		n = take();
		now = wire_received();
		if (n || now != wire)
			end = bench_ns() + QUIET;
		got += n;
		wire = now;
	}
	return got;
}

/* Until frames go through both ways; the switch then knows both addresses. */
static void settle(void)
{
	uint64_t end = bench_ns() + 5000000000ull, quiet;
	bool in = false, out = false;

	while (!in || !out) {
		if (bench_ns() > end)
			bench_die(in ? "VM to wire" : "wire to VM", "no frame goes through");
		if (vm)
			fake_vm_bench_send(vm, 0, 1);
		else
			set_sending(in && !out);
		wire_send(1);
		for (quiet = bench_ns() + 5000000; bench_ns() < quiet;)
			in |= take() > 0;
		out = wire_received() > 0;
	}
	if (shared)
		set_sending(false);
	drain();
}

static void wake(int signal)
{
	(void)signal;
}

static void run_in(void)
{
	const struct timespec nap = {.tv_nsec = 20000};
	struct sigaction action = {.sa_handler = wake}; /* no SA_RESTART */
	uint64_t began, end, now, sent = wire_sent(), got = 0, late;
	pthread_t source;

	sigaction(SIGUSR1, &action, NULL);
	prctl(PR_SET_TIMERSLACK, 1);
	guest_first(true);
	began = now = bench_ns();
	end = began + opt.seconds * 1e9;
	if (pthread_create(&source, NULL, wire_send_on, NULL))
		bench_die("thread", strerror(errno));
	while (now < end) {
		got += take();
		nanosleep(&nap, NULL);
		now = bench_ns();
	}
	pthread_kill(source, SIGUSR1);
	pthread_join(source, NULL);
	guest_first(false);
	late = drain();
	bench_report(now - began, got, wire_sent() - sent, got + late);
}

static void run_out(void)
{
	const struct timespec nap = {.tv_nsec = 1000000};
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, before = wire_received(), got;
	unsigned i;

	if (shared) {
		sent = -__atomic_load_n(&shared->sent, __ATOMIC_RELAXED);
		set_sending(true);
	}
	while (now < end) {
		for (i = 0; vm && i < 64; i++)
			sent += bench_send(vm);
		if (shared)
			nanosleep(&nap, NULL);
		now = bench_ns();
	}
	got = wire_received() - before;
	if (shared)
		set_sending(false);
	drain();
	if (shared)
		sent += __atomic_load_n(&shared->sent, __ATOMIC_RELAXED);
	bench_report(now - began, got, sent, wire_received() - before);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	bench_pin(opt.cpu);
	bench_frame(to_vm, bench_mac_a, bench_mac_b, opt.size);
	bench_frame(to_wire, bench_mac_b, bench_mac_a, opt.size);
	load();
	if (opt.vm)
		vm = bench_open(opt.vm, to_wire, opt.size, 0);
	else
		shared = bench_share(opt.shared);
	take();
	settle();
	if (!strcmp(opt.mode, "in"))
		run_in();
	else if (!strcmp(opt.mode, "out"))
		run_out();
	else
		usage(false);
	fake_vm_close(vm);
	unload();
	return 0;
}
