/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsctl's side of the control socket: one request, one reply. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stddef.h>

#include <json-c/json.h>

/* Which daemon to ask. */
struct client {
	const char *name;    /* of the switch */
	const char *run_dir; /* NULL: the one that follows from the name */
};

/**
 * client_ask() - send a request and wait for its reply
 * @c:	     which daemon
 * @request: stays the caller's
 * @result:  what came with "ok", to be freed with json_object_put()
 * @err:     one line: object, reason, remedy
 * @err_len: its size in bytes
 *
 * Return: 0, or -1 with @err.
 */
int client_ask(const struct client *c, struct json_object *request, struct json_object **result,
	       char *err, size_t err_len);

#endif
