/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rate of the CPU's clock, measured once against the kernel's where the CPU doesn't tell. */
#include "switch/cycles.h"

#include <pthread.h>

static uint64_t rate;

#if defined(__x86_64__)
#define MEASURE_NS 4000000
#define TRIES      16

struct moment {
	uint64_t cycles, ns;
};

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Both clocks at the same moment, but for the shortest of some tries: nobody came in between. */
static struct moment look(void)
{
	uint64_t shortest = UINT64_MAX;
	struct moment best = {};
	unsigned i;

	for (i = 0; i < TRIES; i++) {
		uint64_t before = cycles_now(), ns = clock_ns(), took = cycles_now() - before;

		if (took < shortest) {
			shortest = took;
			best = (struct moment){before + took / 2, ns};
		}
	}
	return best;
}

static void measure(void)
{
	struct timespec rest = {.tv_nsec = MEASURE_NS};
	struct moment from = look(), to;

	do {
		nanosleep(&rest, NULL);
		to = look();
	} while (to.ns - from.ns < MEASURE_NS);
	rate = (double)(to.cycles - from.cycles) * 1e9 / (to.ns - from.ns);
}
#elif defined(__aarch64__)
static void measure(void)
{
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(rate));
}
#else
static void measure(void)
{
	rate = 1000000000;
}
#endif

uint64_t cycles_per_second(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, measure);
	return rate;
}
