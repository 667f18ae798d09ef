/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A TAP device of our own: made, set up and gone with its file descriptor. */
#ifndef TAP_H
#define TAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct tap {
	int fd; /* -1: none */
	int ifindex;
	char name[IFNAMSIZ];
};

/**
 * tap_open() - make a TAP that lives as long as its fd, in this process's network namespace
 * @tap:     filled in; tap->fd is -1 on failure
 * @name:    of the device
 * @hdr_len: bytes of the virtio-net header before each frame
 *
 * Non-blocking; no offloads, no addresses, and nothing that makes the kernel send on it by itself.
 * It is down. Logs reason and remedy when it fails. Control thread. Return: 0 or -errno.
 */
int tap_open(struct tap *tap, const char *name, int hdr_len);

/** tap_close() - the device goes. One whose fd is -1 is fine. */
void tap_close(struct tap *tap);

/**
 * tap_set_offloads() - let frames with offloads left open through
 * @tap:      open
 * @offloads: OFFLOAD_* that the kernel may leave open on what it gives; of these it takes frames,
 *            too. USO4 and USO6 are only known together.
 *
 * Not logged. Control thread. Return: 0 or -errno (-EINVAL: the kernel doesn't know all of them).
 */
int tap_set_offloads(const struct tap *tap, uint32_t offloads);

/** tap_set_up() - up or down. 0 or -errno, not logged. */
int tap_set_up(const struct tap *tap, bool up);

/** tap_set_mtu() - at most what a TAP allows. 0 or -errno, not logged. */
int tap_set_mtu(const struct tap *tap, unsigned mtu);

#endif
