/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A worker: one thread on one CPU that polls its queues, switches what comes, and sleeps. */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "port/port.h"
#include "switch/batch.h"
#include "switch/sources.h"
#include "switch/count.h"

struct vswitch;

enum poll_mode { POLL_ADAPTIVE, POLL_BUSY, POLL_INTERRUPT };

#define WORKER_IDLE_US 100 /* unless the user says otherwise */

/* What a worker tells control; a ring of one producer and one consumer, full means dropped. */
enum event_kind {
	EVENT_LEARN,  /* a frame came from address @key on port @port */
	EVENT_BROKEN, /* queue @key of port @port broke; the queue itself says why */
	EVENT_ABSENT, /* memory of port @port's guest is absent: @key is a vq's (vq.h) */
};

struct event {
	uint32_t kind;
	uint32_t port;
	uint64_t key;
};

#define EVENTS_MAX 1024

struct event_ring {
	struct event event[EVENTS_MAX];
	uint32_t head __attribute__((aligned(64))); /* written by the worker */
	uint32_t tail __attribute__((aligned(64))); /* written by control */
	int wake_fd; /* control's eventfd, written at the end of a round that had events; or -1 */
};

#define LEARN_RECENT 64 /* addresses just reported, so that one is not reported per frame */

struct worker {
	/* constant while the thread runs */
	unsigned id;
	int cpu; /* -1: not pinned */
	enum poll_mode poll;
	unsigned idle_us;  /* time without work before an adaptive worker sleeps */
	uint64_t patience; /* the same in cycles */
	uint64_t crowd_patience, crowd_gap, crowded_for; /* see account_idle_round(); cycles */
	uint64_t renew_every;                            /* cycles after which @now is renewed */
	uint64_t look_every; /* cycles after which a busy worker looks who was roused */
	struct vswitch *sw;
	struct vxs_worker_stats *stats; /* written by the worker, read by anyone */
	int epoll_fd;
	int wake_fd;
	pthread_t thread;

	/* written by control, read by the worker */
	struct sources *sources; /* RCU */
	bool stop;

	/* the worker's own */
	struct event_ring events;
	bool has_events; /* of this round */
	bool was_busy;   /* the last round had work */
	bool running;    /* control's: the thread exists */
	struct {
		uint64_t key;
		uint32_t port;
		uint32_t at;
	} recent[LEARN_RECENT];
	uint32_t now;                  /* coarse seconds, renewed some 16 times a second */
	uint64_t renew_at;             /* cycles */
	uint64_t crowded_until;        /* cycles: when the CPU will be believed to be ours alone */
	uint64_t look_at;              /* cycles: when to look for events */
	unsigned look_in;              /* or in how many rounds */
	uint64_t accounted;            /* account.h: when what was last put down ended, cycles */
	struct vxs_path_stats *path;   /* account.h: of the batch so far; NULL: none yet */
	uint16_t first[VXS_PORTS_MAX]; /* switch.c: list heads by destination port */
	uint16_t last[VXS_PORTS_MAX];
	struct batch batch;

	/* written by the worker, read by anyone */
	bool asleep;                       /* in epoll, or about to be */
	int tid;                           /* its thread ID; 0: not begun yet, or ended */
	struct vxs_worker_stats own_stats; /* where @stats points unless the caller has a map */
};

/* Hot side: workers only. */

/* The worker's entry for a port in the map port_stats: the worker is its only writer. */
static inline struct vxs_port_stats *port_stats(const struct port *p, const struct worker *w)
{
	return p->stats + (size_t)w->id * VXS_PORTS_MAX;
}

#define port_drop(p, w, reason, n) stat_drop(port_stats(p, w), reason, n)

/* The worker made @n system calls. */
static inline void worker_syscalls(struct worker *w, uint64_t n)
{
	stat_add(&w->stats->syscalls, n);
}

/**
 * worker_event() - report something to control
 * @w:    the worker
 * @kind: EVENT_*
 * @port: port number
 * @key:  see enum event_kind
 *
 * Control is woken at the end of the round. Worker thread.
 *
 * Return: false if control is behind and the event was dropped.
 */
bool worker_event(struct worker *w, enum event_kind kind, uint32_t port, uint64_t key);

/* Control side: control thread only. */

/**
 * worker_new() - make a worker that doesn't run yet
 * @out: where it goes; the caller sets cpu, poll, idle_us, stats and events.wake_fd before
 *       worker_start()
 * @id:  its number
 * @sw:  the switch that it works for
 *
 * Return: 0 or -errno.
 */
int worker_new(struct worker **out, unsigned id, struct vswitch *sw);
/** worker_free() - after worker_stop() if it ran. NULL is fine; sources stay the caller's. */
void worker_free(struct worker *w);

/** worker_start() - start its thread; -EINVAL if the CPU isn't there. */
int worker_start(struct worker *w);
/** worker_stop() - end its thread; harmless if it doesn't run. */
void worker_stop(struct worker *w);

/** worker_watch() - have events on @fd (edge-triggered, never read) rouse the in-queue @queue of
 * @p, and end the worker's sleep. 0 or -errno (-EPERM: not a kind of file that can be waited for).
 */
int worker_watch(struct worker *w, int fd, const struct port *p, unsigned queue);
void worker_unwatch(struct worker *w, int fd);
/** worker_wake() - end its sleep: there is something new to look at in any of its queues. */
void worker_wake(struct worker *w);
/** worker_next_event() - take the oldest report; false if there is none. */
bool worker_next_event(struct worker *w, struct event *e);

#endif
