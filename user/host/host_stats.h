/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's counters of the TAP. */
#ifndef HOST_STATS_H
#define HOST_STATS_H

#include <stdint.h>

/**
 * host_stats_read() - frames that a device dropped instead of sending them
 * @ifindex: of the device, in this process's network namespace
 * @dropped: how many since it was made; untouched on failure
 *
 * Control thread. Return: 0 or -errno.
 */
int host_stats_read(int ifindex, uint64_t *dropped);

#endif
