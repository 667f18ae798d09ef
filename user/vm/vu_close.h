/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Closes what peers have sent, without having to wait for it. */
#ifndef VU_CLOSE_H
#define VU_CLOSE_H

#include <stdbool.h>

#define VU_CLOSE_MAX      64  /* of one port, that may be on their way */
#define VU_CLOSE_STUCK_MS 500 /* that one may take when there are so many */

/**
 * vu_close() - close a file descriptor that a peer gave us
 * @port: id of its port
 * @fd:   any kind of file; gone for us when this returns, though it may be open still
 *
 * Control thread.
 */
void vu_close(unsigned port, int fd);

/** vu_close_pending() - how many of a port's are not closed yet. Control thread. */
unsigned vu_close_pending(unsigned port);

/**
 * vu_close_is_stuck() - whether a port has too many, the first of which isn't closed in time
 *
 * Waits if that remains to be seen, for VU_CLOSE_STUCK_MS at most. Control thread.
 */
bool vu_close_is_stuck(unsigned port);

/**
 * vu_close_socket() - end a connection with a peer, and close our end
 *
 * What it has sent and we haven't read goes with it. Control thread.
 */
void vu_close_socket(unsigned port, int fd);

#endif
