/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Notifications as messages instead of eventfds (INBAND_NOTIFICATIONS). */
#ifndef VU_INBAND_H
#define VU_INBAND_H

#include <stdbool.h>

struct vm_control;
struct vu_inband;

/** vu_inband_is_on() - whether the front-end took the feature. */
bool vu_inband_is_on(const struct vm_control *c);

/**
 * vu_inband_begin() - give a ring that has no call_fd one of our own
 * @c:     the VM; ring[index].call_fd and .inband are set
 * @index: of the ring
 *
 * Each time that a worker writes to it, VRING_CALL goes to the front-end. Does nothing if the ring
 * has a call_fd, or the front-end didn't take the feature. Control thread.
 *
 * Return: 0 or -errno (-EMFILE, -ENOMEM).
 */
int vu_inband_begin(struct vm_control *c, unsigned index);

/** vu_inband_end() - no more messages; the eventfd stays in ring[index].call_fd. NULL is fine. */
void vu_inband_end(struct vu_inband *inband);

/** vu_inband_resume() - there is a back-end channel, and room in it: send what waits. */
void vu_inband_resume(struct vm_control *c);

/** vu_inband_err() - send VRING_ERR; true: nothing more is to be done about it. */
bool vu_inband_err(struct vm_control *c, unsigned index);

#endif
