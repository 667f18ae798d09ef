/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two VMs on two vhost-user sockets of any switch: how many frames a second go through. */
#include "bench_tso.h"

#include <getopt.h>

/*
 * Both guests are this one thread. They touch no frame: buffers are made ready once, and from then
 * on only indices move, so that the switch is what takes the time.
 *
 * Prints "rate FRAMES-PER-SECOND sent N lost N". With --mode ping there is never more than one
 * frame on its way, and the line also has the time of its way there and back, at the median and
 * further out: "p50 NS p99 NS p99.9 NS".
 *
 * With --ring packed both guests have packed rings, with --in-order either kind is used in order;
 * of a switch that doesn't offer that it says "none WHY".
 *
 * With --tso frames are 60,000 bytes long and still to be segmented, and go one way; the line
 * begins with "bits BITS-PER-SECOND". Of a switch that can't be measured so it says "none WHY".
 * --unasked sends them though the switch didn't offer to take them, for one that looks at no header
 * anyway.
 */

static struct {
	const char *a, *b, *mode;
	unsigned size;
	double seconds;
	int cpu;
	bool tso, large, unasked, listen;
	uint64_t ring; /* features of it */
} opt = {.mode = "one", .size = 64, .seconds = 1, .cpu = -1};

static void usage(bool asked)
{
	fputs("usage: bench_pair --a SOCKET --b SOCKET [--mode one|both|ping] [--size BYTES]\n"
	      "                  [--ring split|packed] [--in-order] [--seconds S] [--cpu N]\n"
	      "       bench_pair --a SOCKET --b SOCKET --tso mergeable|large [--unasked]\n"
	      "                  [--listen] [--ring split|packed] [--in-order] [--seconds S] "
	      "[--cpu N]\n",
	      asked ? stdout : stderr);
	exit(asked ? 0 : 2);
}

static void parse_tso(const char *buffers)
{
	opt.tso = true;
	opt.large = !strcmp(buffers, "large");
	if (!opt.large && strcmp(buffers, "mergeable") != 0)
		usage(false);
}

static void parse_ring(const char *ring)
{
	if (!strcmp(ring, "packed"))
		opt.ring |= FAKE_VM_PACKED;
	else if (strcmp(ring, "split") != 0)
		usage(false);
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
		{"tso", required_argument, NULL, 'o'},
		{"unasked", no_argument, NULL, 'u'},
		{"listen", no_argument, NULL, 'l'},
		{"ring", required_argument, NULL, 'r'},
		{"in-order", no_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'H'},
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
		else if (o == 'u')
			opt.unasked = true;
		else if (o == 'l')
			opt.listen = true;
		else if (o == 'r')
			parse_ring(optarg);
		else if (o == 'i')
			opt.ring |= FAKE_VM_IN_ORDER;
		else if (o == 'o')
			parse_tso(optarg);
		else
			usage(o == 'H');
	}
	if (!opt.a || !opt.b || opt.size < 14 || opt.size > BENCH_FRAME || opt.seconds <= 0)
		usage(false);
}

/* Takes what is on its way, up to @n frames, until nothing comes any more; how many there were. */
static uint64_t drain(struct fake_vm *a, struct fake_vm *b, uint64_t n)
{
	uint64_t end = bench_ns() + BENCH_WAIT * 1000000ull, sum = 0, got;

	while (sum < n && bench_ns() < end) {
		got = fake_vm_bench_recv(a, 0) + fake_vm_bench_recv(b, 0);
		sum += got;
		if (got)
			end = bench_ns() + BENCH_WAIT * 1000000ull;
	}
	return sum;
}

/*
 * Until frames go through, at most five seconds; the switch then knows both addresses. One at a
 * time, and all are awaited: none arrives later, in the measurement.
 */
static bool goes_through(struct fake_vm *from, struct fake_vm *to)
{
	uint64_t end = bench_ns() + 5000000000ull;

	do {
		fake_vm_bench_send(from, 0, 1);
		if (drain(from, to, 1))
			return true;
	} while (bench_ns() < end);
	return false;
}

static void settle(struct fake_vm *a, struct fake_vm *b)
{
	if (!goes_through(a, b) || !goes_through(b, a) || !goes_through(a, b))
		bench_die("no frame goes through", opt.a);
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
	bench_report(now - began, got, sent, got + drain(a, b, sent - got));
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
			end = bench_ns() + BENCH_WAIT * 1000000ull;
		else if (bench_ns() > end)
			return false;
	}
}

/* Times of round trips, in steps of the clock; what is longer counts as the longest. */
#define STEP_BITS 4
#define STEPS     (1u << 20)

static uint32_t times[STEPS];

/* The cheapest clock that there is; its unit is found out by comparing. */
static inline uint64_t ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return bench_ns();
#endif
}

/* The time below which @share of @n round trips stayed, in ticks. */
static double percentile(double share, uint64_t n)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < STEPS; i++) {
		sum += times[i];
		if (sum >= share * n)
			break;
	}
	return (i + 0.5) * (1 << STEP_BITS);
}

static void run_ping(struct fake_vm *a, struct fake_vm *b)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t first = ticks(), last = first, sent = 0, got = 0, step;
	double ns;
	unsigned i;

	while (now < end) {
		for (i = 0; i < 256; i++) {
			last = ticks();
			sent += fake_vm_bench_send(a, 0, 1);
			if (!await(b))
				continue;
			fake_vm_bench_send(b, 0, 1);
			if (!await(a))
				continue;
			step = (ticks() - last) >> STEP_BITS;
			times[step < STEPS ? step : STEPS - 1]++;
			got++;
		}
		now = bench_ns();
	}
	ns = (double)(now - began) / (ticks() - first);
	printf("p50 %.0f p99 %.0f p99.9 %.0f ", percentile(.5, got) * ns, percentile(.99, got) * ns,
	       percentile(.999, got) * ns);
	bench_report(now - began, got, sent, got);
}

/* What of the rings one of the VMs can't have; NULL: nothing. */
static const char *lacks_ring(const struct fake_vm *a, const struct fake_vm *b)
{
	uint64_t lacks = opt.ring & ~(a->features & b->features);

	if (lacks & FAKE_VM_PACKED)
		return "offers no packed rings";
	return lacks ? "offers no rings in order" : NULL;
}

static bool can_tso(const struct fake_vm *vm)
{
	return opt.unasked || (vm->features & FAKE_VM_TSO) == FAKE_VM_TSO;
}

/* What keeps TSO frames from being measured; NULL: nothing. */
static const char *settle_tso(struct fake_vm *a, struct fake_vm *b)
{
	const struct fake_vq *q = &b->vq[0];
	const char *why = lacks_ring(a, b);
	uint64_t frames, bytes;

	if (why)
		return why;
	if (!can_tso(a) || !can_tso(b))
		return "offers no TSO";
	if (!goes_through(a, b) || !goes_through(b, a))
		return "forwards no TSO frame";
	/* segments of the one before */
	drain(a, b, UINT64_MAX);
	frames = q->frames;
	bytes = q->bytes;
	if (!goes_through(a, b))
		return "forwards no TSO frame";
	drain(a, b, UINT64_MAX);
	/* segments are fine, in software too, but a large frame must say that it is one */
	if (q->frames == frames + 1 && b->hdr.hdr.gso_type != VIRTIO_NET_HDR_GSO_TCPV4)
		return "loses the TSO frame's header";
	if (q->bytes - bytes < BENCH_TSO_SIZE)
		return "cuts TSO frames short";
	return NULL;
}

static void run_tso(struct fake_vm *a, struct fake_vm *b)
{
	uint64_t began = bench_ns(), end = began + opt.seconds * 1e9, now = began;
	uint64_t sent = 0, got = 0, bytes = b->vq[0].bytes;
	unsigned i;

	while (now < end) {
		for (i = 0; i < 16; i++) {
			sent += bench_tso_send(a);
			got += fake_vm_bench_recv(b, 0);
		}
		now = bench_ns();
	}
	printf("bits %.0f ", (b->vq[0].bytes - bytes) * 8e9 / (now - began));
	bench_report(now - began, got, sent, got + drain(a, b, sent - got));
}

static void tso(void)
{
	static uint8_t to_b[BENCH_TSO_SIZE], to_a[BENCH_TSO_SIZE];
	struct virtio_net_hdr_mrg_rxbuf hdr;
	int listen_a = opt.listen ? bench_listen(opt.a) : -1;
	int listen_b = opt.listen ? bench_listen(opt.b) : -1;
	struct fake_vm *a = bench_tso_open(opt.a, opt.large, listen_a, opt.ring);
	struct fake_vm *b = bench_tso_open(opt.b, opt.large, listen_b, opt.ring);
	const char *why;

	hdr = bench_tso_frame(to_b, bench_mac_b, bench_mac_a);
	if (fake_vm_bench_hdr(a, 0, &hdr, to_b, sizeof(to_b)))
		bench_die(opt.a, fake_vm_error(a));
	hdr = bench_tso_frame(to_a, bench_mac_a, bench_mac_b);
	if (fake_vm_bench_hdr(b, 0, &hdr, to_a, sizeof(to_a)))
		bench_die(opt.b, fake_vm_error(b));
	why = settle_tso(a, b);
	if (why)
		printf("none %s\n", why);
	else
		run_tso(a, b);
	fake_vm_close(a);
	fake_vm_close(b);
}

/* Frames that are ready for their ways; false: --mode is none of them. */
static bool run(struct fake_vm *a, struct fake_vm *b)
{
	if (!strcmp(opt.mode, "one"))
		run_flow(a, b, false);
	else if (!strcmp(opt.mode, "both"))
		run_flow(a, b, true);
	else if (!strcmp(opt.mode, "ping"))
		run_ping(a, b);
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	static uint8_t to_b[BENCH_FRAME], to_a[BENCH_FRAME];
	struct fake_vm *a, *b;
	const char *why;

	parse(argc, argv);
	bench_pin(opt.cpu);
	if (opt.tso) {
		tso();
		return 0;
	}
	bench_frame(to_b, bench_mac_b, bench_mac_a, opt.size);
	bench_frame(to_a, bench_mac_a, bench_mac_b, opt.size);
	a = bench_open(opt.a, to_b, opt.size, opt.ring);
	b = bench_open(opt.b, to_a, opt.size, opt.ring);
	why = lacks_ring(a, b);
	if (why) {
		printf("none %s\n", why);
	} else {
		settle(a, b);
		if (!run(a, b))
			usage(false);
	}
	fake_vm_close(a);
	fake_vm_close(b);
	return 0;
}
