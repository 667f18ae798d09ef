/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A table for people: columns as wide as their widest cell. */
#include "ctl/columns.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16

struct columns {
	const char *const *heads;
	unsigned n; /* columns */
	size_t width[COLUMNS_MAX];
	size_t most; /* characters of a line; 0: any */
	size_t cells, size;
	char **cell;
};

struct columns *columns_new(const char *const *heads)
{
	struct columns *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->heads = heads;
	for (; heads[t->n] && t->n < COLUMNS_MAX; t->n++)
		t->width[t->n] = strlen(heads[t->n]) - (heads[t->n][0] == '>');
	return t;
}

void columns_cell(struct columns *t, const char *format, ...)
{
	char **grown, *text;
	va_list args;
	size_t len;
	int n;

	if (!t)
		return;
	if (t->cells == t->size) {
		grown = reallocarray(t->cell, 2 * t->size + 64, sizeof(*grown));
		if (!grown)
			return;
		t->cell = grown;
		t->size = 2 * t->size + 64;
	}
	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return;
	len = n ? n : 1;
	if (t->width[t->cells % t->n] < len)
		t->width[t->cells % t->n] = len;
	t->cell[t->cells++] = text;
}

static void print_row(const struct columns *t, const char *const *row, FILE *to, int indent)
{
	char line[512];
	size_t used = 0;
	unsigned i;

	for (i = 0; i < t->n; i++) {
		int right = t->heads[i][0] == '>', width = t->width[i];
		const char *text = row[i] + (row == t->heads && right);

		if (!*text)
			text = "-";
		if (used < sizeof(line))
			used += snprintf(line + used, sizeof(line) - used, "%*s%s",
					 right ? width : -width, text, i + 1 < t->n ? "  " : "");
	}
	if (used >= sizeof(line))
		used = sizeof(line) - 1;
	while (used && line[used - 1] == ' ')
		used--;
	if (t->most && used > t->most && t->most > 3) {
		used = t->most;
		memcpy(line + used - 3, "...", 3);
	}
	fprintf(to, "%*s%.*s\n", indent, "", (int)used, line);
}

void columns_limit(struct columns *t, size_t most)
{
	if (t)
		t->most = most;
}

bool columns_empty(const struct columns *t)
{
	return !t || !t->cells;
}

void columns_print(struct columns *t, FILE *to, int indent)
{
	size_t i;

	if (!t)
		return;
	print_row(t, t->heads, to, indent);
	for (i = 0; i + t->n <= t->cells; i += t->n)
		print_row(t, (const char *const *)t->cell + i, to, indent);
	columns_free(t);
}

void columns_free(struct columns *t)
{
	size_t i;

	if (!t)
		return;
	for (i = 0; i < t->cells; i++)
		free(t->cell[i]);
	free(t->cell);
	free(t);
}
