/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Many VMs that are connected to a switch and do nothing. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>

/*
 * Each is what a guest is after its boot: rings that run, receive buffers offered, and no frame.
 * Prints "ready" when all are connected, and stays until it gets a signal, its parent ends, or the
 * switch hangs up on one of them.
 */
#define IDLE_RING 64

static struct {
	const char *dir;
	unsigned vms;
	int cpu;
} opt = {.cpu = -1};

static void usage(bool asked)
{
	fputs("usage: bench_idle --dir DIRECTORY --vms N [--cpu N]\n"
	      "       the sockets are DIRECTORY/i1.sock, DIRECTORY/i2.sock, ...\n",
	      asked ? stdout : stderr);
	exit(asked ? 0 : 2);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"dir", required_argument, NULL, 'd'},
		{"vms", required_argument, NULL, 'n'},
		{"cpu", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'd')
			opt.dir = optarg;
		else if (o == 'n')
			opt.vms = atoi(optarg);
		else if (o == 'c')
			opt.cpu = atoi(optarg);
		else
			usage(o == 'H');
	}
	if (!opt.dir || !opt.vms)
		usage(false);
}

/* A connection, memory, and three eventfds a ring: eight each. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int connect_vm(unsigned i)
{
	char path[108];
	const struct fake_vm_options o = {.socket = path, .ring_size = IDLE_RING};
	struct fake_vm *vm;

	if (snprintf(path, sizeof(path), "%s/i%u.sock", opt.dir, i) >= (int)sizeof(path))
		bench_die(opt.dir, "too long a path for a socket");
	if (fake_vm_open(&vm, &o))
		bench_die(path, "no VM");
	return vm->fd; /* the VM itself stays until the process ends */
}

int main(int argc, char **argv)
{
	struct pollfd *fds;
	unsigned i;

	parse(argc, argv);
	bench_pin(opt.cpu);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	raise_limit();
	fds = calloc(opt.vms, sizeof(*fds));
	if (!fds)
		bench_die("bench_idle", strerror(ENOMEM));
	for (i = 0; i < opt.vms; i++)
		fds[i].fd = connect_vm(i + 1); /* of events a hang-up is always reported */
	puts("ready");
	fflush(stdout);
	while (poll(fds, opt.vms, -1) < 0 && errno == EINTR)
		;
	bench_die(opt.dir, "the switch hung up");
	return 1;
}
