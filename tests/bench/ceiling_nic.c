/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The least that AF_XDP takes: a loop that receives and drops, and one that sends. */
#include "bench_shared.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#include "ceiling_nic.skel.h"

/*
 * What all switches are measured against on the NIC's side: one socket in copy mode on queue 0 of
 * an interface, all of whose frames go to it. It receives without a look at the frames, or sends
 * one frame again and again, as the far end says in the shared page.
 */
#define RING    2048
#define FRAME   2048
#define FILL    (2 * RING)
#define IN      2048 /* frames for what arrives; the fill ring has room for twice as many */
#define OUT     2048 /* frames to send */
#define BATCH   64
#define RETRIES 100

/* Newer than Debian 12's linux/if_xdp.h. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

static struct {
	const char *ifname, *shared;
	int cpu;
} opt = {.cpu = -1};

static struct bench_shared *shared;
static struct ceiling_nic_bpf *skel;
static struct xsk_umem *umem;
static struct xsk_socket *xsk;
static struct xsk_ring_prod fill, out;
static struct xsk_ring_cons completion, in;
static uint8_t *area;
static uint64_t free_frame[OUT];
static unsigned n_free, ifindex;
static volatile sig_atomic_t stop;

static void usage(bool asked)
{
	fputs("usage: ceiling_nic --if INTERFACE --shared FILE [--cpu N]\n",
	      asked ? stdout : stderr);
	exit(asked ? 0 : 2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"if", required_argument, NULL, 'i'},
		{"shared", required_argument, NULL, 's'},
		{"cpu", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'i')
			opt.ifname = optarg;
		else if (o == 's')
			opt.shared = optarg;
		else if (o == 'c')
			opt.cpu = atoi(optarg);
		else
			usage(o == 'H');
	}
	if (!opt.ifname || !opt.shared)
		usage(false);
	ifindex = if_nametoindex(opt.ifname);
	if (!ifindex)
		bench_die(opt.ifname, "no such interface");
}

static void open_umem(void)
{
	const struct xsk_umem_config config = {
		.fill_size = FILL, .comp_size = RING, .frame_size = FRAME};
	const size_t size = (size_t)(IN + OUT) * FRAME;
	uint32_t at, i;
	int err;

	area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		    -1, 0);
	if (area == MAP_FAILED)
		area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		bench_die("memory", strerror(errno));
	err = xsk_umem__create(&umem, area, size, &fill, &completion, &config);
	if (err)
		bench_die("UMEM", strerror(-err));
	if (xsk_ring_prod__reserve(&fill, IN, &at) != IN)
		bench_die("UMEM", "no room in the fill ring");
	for (i = 0; i < IN; i++)
		*xsk_ring_prod__fill_addr(&fill, at + i) = (uint64_t)i * FRAME;
	xsk_ring_prod__submit(&fill, IN);
	for (i = 0; i < OUT; i++) {
		free_frame[n_free++] = (uint64_t)(IN + i) * FRAME;
		bench_frame(area + (uint64_t)(IN + i) * FRAME, bench_mac_b, bench_mac_a, 1514);
	}
}

static void open_socket(void)
{
	const struct xsk_socket_config config = {
		.rx_size = RING,
		.tx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
	};
	int err, fd, tries = 0, budget = RING;
	uint32_t key = 0;

	do {
		err = xsk_socket__create(&xsk, opt.ifname, 0, umem, &in, &out, &config);
	} while (err == -EBUSY && tries++ < RETRIES && !usleep(20000));
	if (err)
		bench_die(opt.ifname, strerror(-err));
	fd = xsk_socket__fd(xsk);
	setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	skel = ceiling_nic_bpf__open_and_load();
	if (!skel || bpf_map_update_elem(bpf_map__fd(skel->maps.sockets), &key, &fd, BPF_ANY))
		bench_die("BPF program", strerror(errno));
	err = bpf_xdp_attach(ifindex, bpf_program__fd(skel->progs.to_socket), XDP_FLAGS_DRV_MODE,
			     NULL);
	if (err)
		bench_die(opt.ifname, strerror(-err));
}

static void receive(void)
{
	uint32_t from, to, i, n = xsk_ring_cons__peek(&in, BATCH, &from);

	if (!n)
		return;
	if (xsk_ring_prod__reserve(&fill, n, &to) != n) {
		xsk_ring_cons__cancel(&in, n);
		return;
	}
	for (i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&fill, to + i) =
			xsk_ring_cons__rx_desc(&in, from + i)->addr & ~(uint64_t)(FRAME - 1);
	xsk_ring_prod__submit(&fill, n);
	xsk_ring_cons__release(&in, n);
	if (xsk_ring_prod__needs_wakeup(&fill))
		recvfrom(xsk_socket__fd(xsk), NULL, 0, MSG_DONTWAIT, NULL, NULL);
	__atomic_store_n(&shared->received, shared->received + n, __ATOMIC_RELAXED);
}

static void transmit(uint32_t len)
{
	uint32_t at, i, n = xsk_ring_cons__peek(&completion, RING, &at);

	for (i = 0; i < n; i++)
		free_frame[n_free++] = *xsk_ring_cons__comp_addr(&completion, at + i);
	if (n)
		xsk_ring_cons__release(&completion, n);
	n = n_free < BATCH ? n_free : BATCH;
	if (n && xsk_ring_prod__reserve(&out, n, &at) == n) {
		for (i = 0; i < n; i++)
			*xsk_ring_prod__tx_desc(&out, at + i) =
				(struct xdp_desc){.addr = free_frame[--n_free], .len = len};
		xsk_ring_prod__submit(&out, n);
		__atomic_store_n(&shared->sent, shared->sent + n, __ATOMIC_RELAXED);
	}
	if (xsk_ring_prod__needs_wakeup(&out))
		sendto(xsk_socket__fd(xsk), NULL, 0, MSG_DONTWAIT, NULL, 0);
}

static void end(int signal)
{
	(void)signal;
	stop = 1;
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	bench_pin(opt.cpu);
	shared = bench_share(opt.shared);
	open_umem();
	open_socket();
	signal(SIGTERM, end);
	signal(SIGINT, end);
	puts("ready");
	fflush(stdout);
	while (!stop) {
		uint32_t len = __atomic_load_n(&shared->send, __ATOMIC_RELAXED);

		if (len && len <= FRAME)
			transmit(len);
		else
			receive();
	}
	bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL);
	ceiling_nic_bpf__destroy(skel);
	xsk_socket__delete(xsk);
	xsk_umem__delete(umem);
	return 0;
}
