/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What each vhost-user message does. */
#ifndef VU_MSG_H
#define VU_MSG_H

#include <stddef.h>

struct vm_control;

/**
 * vu_msg_handle() - do what the message in @c->conn asks for, and answer it
 * @c:   the VM
 * @why: what was wrong, in words that begin with the message's name, if an error is returned
 * @len: bytes of @why
 *
 * vhost-user.rst, "Front-end message types". Control thread.
 *
 * Return: 0, or -errno: the connection must be closed (an error was answered if it was asked for).
 */
int vu_msg_handle(struct vm_control *c, char *why, size_t len);

#endif
