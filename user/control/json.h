/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Members and elements for the JSON that show.c makes. */
#ifndef CONTROL_JSON_H
#define CONTROL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "control/options.h"

/* json-c refuses to add only where it has no memory; a member then lacks, and nothing breaks. */
static inline void add(struct json_object *to, const char *key, struct json_object *value)
{
	if (json_object_object_add(to, key, value))
		json_object_put(value);
}

static inline void add_int(struct json_object *to, const char *key, uint64_t value)
{
	add(to, key, json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

static inline void add_bool(struct json_object *to, const char *key, bool value)
{
	add(to, key, json_object_new_boolean(value));
}

/* 0 becomes null. */
static inline void add_int_or_null(struct json_object *to, const char *key, uint64_t value)
{
	if (value)
		add_int(to, key, value);
	else
		add(to, key, NULL);
}

/* NULL and "" become null. */
static inline void add_text(struct json_object *to, const char *key, const char *value)
{
	add(to, key, value && value[0] ? json_object_new_string(value) : NULL);
}

static inline void add_hex(struct json_object *to, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	add_text(to, key, text);
}

/* An address of only zeros becomes null. */
static inline void add_mac(struct json_object *to, const char *key, const uint8_t mac[6])
{
	static const uint8_t none[6];
	char text[18] = "";

	if (memcmp(mac, none, sizeof(none)))
		options_format_mac(mac, text);
	add_text(to, key, text);
}

static inline void append(struct json_object *to, struct json_object *value)
{
	if (json_object_array_add(to, value))
		json_object_put(value);
}

#endif
