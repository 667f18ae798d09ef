/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A table for people: columns as wide as their widest cell. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include <stdbool.h>
#include <stdio.h>

struct columns;

/**
 * columns_new() - begin a table
 * @heads: of the columns, NULL-terminated; '>' as the first character aligns a column to the right
 *
 * Return: NULL if there is no memory; columns_cell() and the others then do nothing.
 */
struct columns *columns_new(const char *const *heads);

/** columns_cell() - add the next cell, row by row from left to right; an empty one shows as "-". */
__attribute__((format(printf, 2, 3))) void columns_cell(struct columns *t, const char *format, ...);

/** columns_limit() - cut lines that have more than @most characters, with "..." at their end. */
void columns_limit(struct columns *t, size_t most);

/** columns_print() - write it, each line indented by @indent spaces, and free it. */
void columns_print(struct columns *t, FILE *to, int indent);

/** columns_empty() - whether no cell has been added. */
bool columns_empty(const struct columns *t);

/** columns_free() - free it without a word. */
void columns_free(struct columns *t);

#endif
