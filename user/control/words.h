/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Words of the command line, "FIRST[,key=value...]", read by a table of keys; values; complaints.
 */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>
#include <stdio.h>

/* Where one line for the user goes: the reason and the remedy. */
struct complaint {
	char *text;
	size_t size;
};

/* A key of a list of words. The last entry of a table has no name. */
struct words_key {
	const char *name;
	const char *value; /* what its value is, for people: MAC, PATH, auto|zc */
	const char *help;
	int (*parse)(void *to, const char *value, struct complaint *c);
};

/* An option's words: one parser for the first, which stands alone, and a table of keys. */
struct words {
	const char *first_name; /* NAME, IF */
	int (*first)(void *to, const char *word, struct complaint *c);
	const struct words_key *key;
};

/**
 * words_parse() - read "FIRST[,key=value...]" into @to
 * @words: the table
 * @to:    what the parsers of the table fill in
 * @text:  the words
 * @c:     reason and remedy if -EINVAL is returned; the caller names the object
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int words_parse(const struct words *words, void *to, const char *text, struct complaint *c);

/** words_help() - each key and its help, indented. */
void words_help(const struct words *words, FILE *to);

/**
 * words_wrap() - print a help text in lines of 80 columns at most
 * @text:   words with one space between them
 * @column: where the text begins, which is where it goes on in further lines
 * @to:     stands at that column already; after this, at the beginning of a line
 */
void words_wrap(const char *text, unsigned column, FILE *to);

/** words_join() - "a, b, c" of a NULL-terminated list, cut to @size. */
void words_join(char *text, size_t size, const char *const *list);

/** complain() - write the line, without control characters whatever the arguments hold: -EINVAL. */
__attribute__((format(printf, 2, 3))) int complain(struct complaint *c, const char *format, ...);

/** words_number() - a decimal number from @min to @max and nothing else; 0 or -EINVAL. */
int words_number(const char *text, unsigned min, unsigned max, unsigned *value,
		 struct complaint *c);

/** words_choice() - which of a NULL-terminated list @text is; its index, or -EINVAL. */
int words_choice(const char *text, const char *const *list, struct complaint *c);

/** words_name() - a name that is fit for a file's and an option's; @size includes the NUL. */
int words_name(const char *text, char *name, size_t size, struct complaint *c);

/** words_path() - made absolute, without slashes at its end; @size includes the NUL. */
int words_path(const char *text, char *path, size_t size, struct complaint *c);

#endif
