/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Words of the command line, "FIRST[,key=value...]", read by a table of keys; values; complaints.
 */
#include "control/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS_MAX    64 /* of one table; a bit each tells whether it was given */
#define HELP_WIDTH  80
#define HELP_COLUMN 33 /* where the texts of keys begin */

/* Bytes of the UTF-8 character at @at, 0 if there is none; surrogates and the like pass. */
static unsigned utf8_length(const unsigned char *at)
{
	unsigned len = at[0] < 0x80   ? 1
		       : at[0] < 0xc2 ? 0
		       : at[0] < 0xe0 ? 2
		       : at[0] < 0xf0 ? 3
		       : at[0] < 0xf5 ? 4
				      : 0;
	unsigned i;

	for (i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

int complain(struct complaint *c, const char *format, ...)
{
	unsigned char *at;
	unsigned len;
	va_list args;

	va_start(args, format);
	vsnprintf(c->text, c->size, format, args);
	va_end(args);
	/*
	 * What users typed is quoted in here, perhaps cut: keep it one line, harmless to a
	 * terminal, and fit for JSON.
	 */
	for (at = (unsigned char *)c->text; c->size && *at; at += len) {
		len = utf8_length(at);
		if (!len || *at < 0x20 || *at == 0x7f) {
			*at = '?';
			len = 1;
		}
	}
	return -EINVAL;
}

void words_join(char *text, size_t size, const char *const *list)
{
	size_t used = 0;

	text[0] = '\0';
	for (; *list && used < size; list++)
		used += snprintf(text + used, size - used, "%s%s", used ? ", " : "", *list);
}

static int find_key(const struct words *words, const char *name, struct complaint *c)
{
	const char *list[KEYS_MAX + 1];
	char keys[256];
	int i;

	for (i = 0; words->key[i].name; i++) {
		if (!strcmp(words->key[i].name, name))
			return i;
		list[i] = words->key[i].name;
	}
	list[i] = NULL;
	words_join(keys, sizeof(keys), list);
	return complain(c, "unknown key \"%.60s\"; keys are %s", name, keys);
}

static int parse_key(const struct words *words, void *to, char *word, uint64_t *seen,
		     struct complaint *c)
{
	char *value = strchr(word, '=');
	int i;

	if (value)
		*value++ = '\0';
	if (!*word)
		return complain(c, "a key is missing: write %s[,key=value...]", words->first_name);
	i = find_key(words, word, c);
	if (i < 0)
		return i;
	if (!value || !*value)
		return complain(c, "key \"%s\" has no value: write %s=%s", word, word,
				words->key[i].value);
	if (*seen & 1ull << i)
		return complain(c, "key \"%s\" is given twice: give it once", word);
	*seen |= 1ull << i;
	return words->key[i].parse(to, value, c);
}

int words_parse(const struct words *words, void *to, const char *text, struct complaint *c)
{
	char *copy = strdup(text), *word, *rest;
	uint64_t seen = 0;
	int err;

	if (!copy)
		return -ENOMEM;
	rest = copy;
	word = strsep(&rest, ",");
	err = words->first(to, word, c);
	while (!err && rest) {
		word = strsep(&rest, ",");
		err = parse_key(words, to, word, &seen, c);
	}
	free(copy);
	return err;
}

void words_help(const struct words *words, FILE *to)
{
	const struct words_key *key;
	char left[64];

	for (key = words->key; key->name; key++) {
		snprintf(left, sizeof(left), "%s=%s", key->name, key->value);
		fprintf(to, "          %-22s ", left);
		words_wrap(key->help, HELP_COLUMN, to);
	}
}

void words_wrap(const char *text, unsigned column, FILE *to)
{
	unsigned at = column;
	size_t len;

	while (*text) {
		len = strcspn(text, " ");
		if (at > column && at + 1 + len > HELP_WIDTH) {
			fprintf(to, "\n%*s", (int)column, "");
			at = column;
		} else if (at > column) {
			fputc(' ', to);
			at++;
		}
		fprintf(to, "%.*s", (int)len, text);
		at += len;
		text += len + (text[len] == ' ');
	}
	fputc('\n', to);
}

int words_number(const char *text, unsigned min, unsigned max, unsigned *value, struct complaint *c)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || number < min || number > max)
		return complain(c, "\"%.60s\" is not a number from %u to %u", text, min, max);
	*value = number;
	return 0;
}

int words_choice(const char *text, const char *const *list, struct complaint *c)
{
	char words[256];
	int i;

	for (i = 0; list[i]; i++)
		if (!strcmp(list[i], text))
			return i;
	words_join(words, sizeof(words), list);
	return complain(c, "\"%.60s\" is none of %s", text, words);
}

int words_name(const char *text, char *name, size_t size, struct complaint *c)
{
	size_t len = strlen(text), i;

	if (!len)
		return complain(c, "the name is empty: give one");
	if (len >= size)
		return complain(c, "name \"%.60s\" is too long: take %zu characters at most", text,
				size - 1);
	for (i = 0; i < len; i++)
		if (!isascii(text[i]) || (!isalnum(text[i]) && !strchr("._-", text[i])))
			return complain(c,
					"\"%.60s\" is not a name: take letters, digits, '.', "
					"'_' and '-'",
					text);
	if (!isalnum(text[0]))
		return complain(c, "\"%.60s\" is not a name: begin it with a letter or a digit",
				text);
	memcpy(name, text, len + 1);
	return 0;
}

int words_path(const char *text, char *path, size_t size, struct complaint *c)
{
	char here[4096] = "";
	size_t len = strlen(text);
	int n;

	if (!len)
		return complain(c, "the path is empty: give one");
	if (text[0] != '/' && !getcwd(here, sizeof(here)))
		return complain(c, "the current directory is gone: give an absolute path");
	while (len > 1 && text[len - 1] == '/')
		len--;
	n = snprintf(NULL, 0, "%s%s%.*s", here, here[0] ? "/" : "", (int)len, text);
	if ((size_t)n >= size)
		return complain(c, "the path is too long with %d bytes: take %zu at most", n,
				size - 1);
	snprintf(path, size, "%s%s%.*s", here, here[0] ? "/" : "", (int)len, text);
	return 0;
}
