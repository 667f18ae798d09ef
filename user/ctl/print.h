/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vxsctl shows to people: the daemon's JSON as tables and sentences. */
#ifndef PRINT_H
#define PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

struct columns;

/* A member's value; NULL and 0 if it is null, missing, or of another type. */
const char *get_text(struct json_object *o, const char *key);
int64_t get_int(struct json_object *o, const char *key);
struct json_object *get(struct json_object *o, const char *key);

/* Of an array; 0 of anything else. */
size_t get_length(struct json_object *list);

bool get_bool(struct json_object *o, const char *key);
const char *text_of(struct json_object *o, const char *key); /* or "" */

const char *plural(int64_t n); /* "s", or "" */

#define INDENT 11 /* where the texts behind "uplink" and the like begin */

/* A number, or @none if there is none. */
void cell_number_or(struct columns *t, struct json_object *o, const char *key, const char *none);

void print_status(struct json_object *status);
void print_ports(struct json_object *list);
void print_port(struct json_object *port); /* all that is known about it */
void print_vm(struct json_object *port);   /* the part of it that only VMs have */
void print_fdb(struct json_object *list);
void print_stats(struct json_object *list);

#endif
