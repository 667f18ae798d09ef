/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsd: the switch's daemon. Runs in the foreground until SIGTERM or SIGINT. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon.h"
#include "control/log.h"
#include "control/options.h"
#include "vm/vu_fetcher.h"

#define EXIT_USAGE 2

/* Started with stderr closed, the first socket would become it, and log lines would go there. */
static int keep_std_fds(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

/* Each VM takes about ten file descriptors; the usual limit of 1024 is too low for hundreds. */
static void allow_many_fds(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	struct daemon *daemon = NULL;
	struct options opt;
	char why[512] = "";
	int err;

	vu_fetcher_begin(argc, argv);
	if (keep_std_fds())
		return EXIT_FAILURE;
	err = options_parse(&opt, argc, argv, why, sizeof(why));
	if (err) {
		options_free(&opt);
		if (err == OPTIONS_DONE)
			return EXIT_SUCCESS;
		fprintf(stderr, "vxsd: %s\n", *why ? why : "out of memory");
		return *why ? EXIT_USAGE : EXIT_FAILURE;
	}
	log_set_level(opt.log_level);
	allow_many_fds();
	/* Whoever may write to a socket controls a port: owner and group, nobody else. */
	umask(0007);
	err = daemon_open(&daemon, &opt);
	if (!err)
		err = daemon_run(daemon);
	daemon_close(daemon);
	options_free(&opt);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
