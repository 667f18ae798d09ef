/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The process that waits for a migrating guest's pages: how it is entered, and what it is told. */
#ifndef VU_FETCHER_H
#define VU_FETCHER_H

#include <stdint.h>

#define VU_FETCHER_NAME    "vxs-fetcher" /* its argv[0] */
#define VU_FETCHER_COMMAND 3             /* file descriptors that it finds open: two sockets of */
#define VU_FETCHER_TOUCH   4             /* packets, whose other ends are ours */
#define VU_FETCHER_THREADS 4             /* pages that are waited for at the same time */
#define VU_FETCHER_ROOMS   4

/* Addresses that nothing else will be mapped at. */
struct vu_fetcher_room {
	uint64_t at, len;
};

/* The first packet on COMMAND, by the fetcher. Its userfaultfd comes with it. */
struct vu_fetcher_hello {
	int32_t error; /* 0, or an errno: it can't be a fetcher, and has ended */
	uint32_t pad;
	struct vu_fetcher_room room[VU_FETCHER_ROOMS]; /* the largest first; @len 0: none */
};

/* What it is told on COMMAND: to map a part of a file, which comes with it, or @len 0: go. */
struct vu_fetcher_map {
	uint64_t at;     /* address; within one of its rooms, and never used before */
	uint64_t len;    /* bytes; 0: all parts are told, watch them for absent pages */
	uint64_t offset; /* in the file */
	uint32_t round;  /* number of the memory table that it is part of */
	uint32_t pad;
};

/* Its answer to that with @len 0, on COMMAND. Only then may it be told to touch an address. */
struct vu_fetcher_ready {
	int32_t error; /* 0, or an errno of one of the parts; it has ended */
	uint32_t round;
};

/*
 * On TOUCH: uint64_t, the address of a page that is wanted, and the same back when it has come.
 */

/**
 * vu_fetcher_begin() - be the fetcher, if this process was started as one
 * @argc: as main() has them
 * @argv:
 *
 * To be called first of all in main() of programs that may do post-copy migrations; others don't
 * offer them. A fetcher doesn't return from it.
 */
void vu_fetcher_begin(int argc, char **argv);

/** vu_fetcher_has_begun() - vu_fetcher_begin() was called, so this program can be a fetcher. */
int vu_fetcher_has_begun(void);

#endif
