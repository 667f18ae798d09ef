/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The CPU's own clock: cheap enough to be read once a batch. */
#ifndef CYCLES_H
#define CYCLES_H

#include <stdint.h>
#include <time.h>

/*
 * What is counted is not the core's cycles but those of a counter of constant rate: x86's time
 * stamp counter, ARM's virtual counter, or nanoseconds where there is neither. It may differ a
 * little from core to core, so a thread that wanders may see it go back.
 */
static inline uint64_t cycles_now(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t now;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
	return now;
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
#endif
}

/**
 * cycles_per_second() - the counter's rate
 *
 * The first call measures it, which takes some milliseconds on x86. Any thread but a worker.
 */
uint64_t cycles_per_second(void);

#endif
