/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What workers did, for people: `vxsctl stats --workers`. */
#ifndef CTL_WORKERS_H
#define CTL_WORKERS_H

#include <stdbool.h>

#include <json-c/json.h>

/**
 * workers_subtract() - what happened between two answers
 * @now:    the later one, changed into the difference
 * @before: the one before
 *
 * Return: false if they are not of the same run of vxsd.
 */
bool workers_subtract(struct json_object *now, struct json_object *before);

/** workers_print() - an answer, or a difference, as tables. */
void workers_print(struct json_object *list);

#endif
