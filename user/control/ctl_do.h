/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the control socket can do: from the text of one request to the reply. */
#ifndef CTL_DO_H
#define CTL_DO_H

#include <stddef.h>

#include <json-c/json.h>

struct daemon;

/**
 * ctl_do() - carry out one request
 * @d:    the switch
 * @text: the request's line with its newline; anything may be in it
 * @len:  bytes
 *
 * Control thread.
 *
 * Return: the reply, {"ok": ...} or {"error": ...}; NULL if there is no memory.
 */
struct json_object *ctl_do(struct daemon *d, const char *text, size_t len);

/** ctl_error() - the reply {"error": @text}; NULL if there is no memory. */
struct json_object *ctl_error(const char *text);

#endif
