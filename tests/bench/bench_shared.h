/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What ceiling_nic, the bare AF_XDP loops, and wire, at the far end, share: a page of counters. */
#ifndef BENCH_SHARED_H
#define BENCH_SHARED_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

struct bench_shared {
	/* written by wire */
	uint32_t send; /* bytes of the frames to be sent without end; 0: receive */
	/* written by ceiling_nic */
	uint64_t received __attribute__((aligned(64)));
	uint64_t sent;
};

/** bench_share() - map the file @path, which is made if it isn't there. */
static inline struct bench_shared *bench_share(const char *path)
{
	struct bench_shared *s;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*s)) < 0)
		bench_die(path, strerror(errno));
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		bench_die(path, strerror(errno));
	close(fd);
	return s;
}

#endif
