/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Watches one network interface over rtnetlink: its address, its state, its end. */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct link;

struct link_state {
	bool gone; /* removed, or moved to another namespace; the rest is then zero */
	bool up;   /* administratively up, and with carrier */
	uint8_t mac[6];
	uint32_t mtu;
};

/* May close the link that it is called for. */
typedef void (*link_function)(void *arg, const struct link_state *state);

/**
 * link_open() - call @function once soon, and then whenever interface @ifindex changes
 *
 * Needs no privilege. Control thread. Return: 0 or -errno; logs nothing.
 */
int link_open(struct link **out, struct loop *loop, int ifindex, link_function function, void *arg);
void link_close(struct link *link);

#endif
