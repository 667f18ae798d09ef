/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's state as JSON, for the control socket; the forms are described in vxs_ctl.h. */
#ifndef SHOW_H
#define SHOW_H

#include <json-c/json.h>

struct daemon;
struct port;

/*
 * Each returns a new object, or NULL if there is no memory. @only is the one port to tell about, or
 * NULL for all. Control thread.
 */
struct json_object *show_status(struct daemon *d);
struct json_object *show_ports(struct daemon *d, struct port *only);
struct json_object *show_fdb(struct daemon *d);
struct json_object *show_stats(struct daemon *d, struct port *only);
struct json_object *show_workers(struct daemon *d);

struct vm;
/** show_vm() - what a PORT of kind vm has beyond others, into @o; show_vm.c. */
void show_vm(struct json_object *o, const struct daemon *d, const struct vm *vm);

#endif
