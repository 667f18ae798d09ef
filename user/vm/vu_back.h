/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The back-end channel: a socket on which we send requests to the front-end. */
#ifndef VU_BACK_H
#define VU_BACK_H

#include <stdint.h>

struct vm_control;
struct vu_back;

/**
 * vu_back_open() - take the socket of SET_BACKEND_REQ_FD, in place of an earlier one
 * @c:  the VM; c->back is set
 * @fd: ours if 0 is returned
 *
 * Control thread. Return: 0; -ENOTSOCK if it is not a connected stream socket of AF_UNIX; -ENOMEM
 * or what epoll says.
 */
int vu_back_open(struct vm_control *c, int fd);

/** vu_back_close() - close c->back; harmless if there is none. Control thread. */
void vu_back_close(struct vm_control *c);

/**
 * vu_back_send() - send a request that wants no reply
 * @c:       the VM
 * @request: enum vhost_user_backend_request
 * @payload: of @size bytes, 0 to sizeof(union vhost_user_payload)
 * @size:    bytes
 *
 * It never waits and never ends the connection. All of the request goes out, or nothing of it.
 * Control thread.
 *
 * Return: 0; -ENOTCONN: there is no channel (any more); -EAGAIN: the front-end doesn't read it, the
 * request is dropped, and so are all others until it has read.
 */
int vu_back_send(struct vm_control *c, uint32_t request, const void *payload, uint32_t size);

#endif
