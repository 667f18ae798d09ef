/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Our side of a fetcher: its birth, its end, and what it is told (vu_fetcher.h). */
#ifndef VU_FETCH_H
#define VU_FETCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vm/vu_fetcher.h"

/* A running fetcher. The front-end has power over it: nothing that it says is to be trusted. */
struct vu_fetch {
	pid_t pid;
	int command, touch; /* sockets to it; both don't block */
	int uffd;           /* its userfaultfd, for the front-end */
	struct vu_fetcher_room room[VU_FETCHER_ROOMS];
};

/**
 * vu_fetch_is_possible() - whether this kernel and this program can have fetchers
 *
 * The first call tries it, with one that is ended at once. Control thread.
 */
bool vu_fetch_is_possible(void);

/**
 * vu_fetch_start() - start one
 * @f: where it goes
 *
 * Waits until it is ready, some milliseconds; the front-end has no power over it yet. Control
 * thread.
 *
 * Return: 0 or -errno: of posix_spawn(), or userfaultfd() there; -ETIMEDOUT; -EOPNOTSUPP if this
 * program didn't call vu_fetcher_begin() first.
 */
int vu_fetch_start(struct vu_fetch *f);

/** vu_fetch_map() - tell it @map with @fd (-1: none). 0; -EAGAIN if it doesn't listen; -errno. */
int vu_fetch_map(struct vu_fetch *f, const struct vu_fetcher_map *map, int fd);

/** vu_fetch_end() - kill it, whatever it waits for. Nobody waits for its end: vu_fetch_reap(). */
void vu_fetch_end(struct vu_fetch *f);

/** vu_fetch_reap() - those that were killed and are gone by now, as nobody else asks for them. */
void vu_fetch_reap(void);

#endif
