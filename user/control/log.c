/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Log lines on stderr. */
#include "control/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static const struct {
	const char *word;
	const char *prefix;
} levels[] = {
	[LOG_ERROR] = {"error", "vxsd: error: "},
	[LOG_WARN] = {"warn", "vxsd: warning: "},
	[LOG_INFO] = {"info", "vxsd: "},
	[LOG_DEBUG] = {"debug", "vxsd: debug: "},
};

#define N_LEVELS (sizeof(levels) / sizeof(levels[0]))

static enum log_level max_level = LOG_INFO;

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_parse_level(const char *word, enum log_level *level)
{
	unsigned i;

	for (i = 0; i < N_LEVELS; i++) {
		if (!strcmp(word, levels[i].word)) {
			*level = i;
			return 0;
		}
	}
	return -EINVAL;
}

/**
 * log_line() - write one line
 * @level:  lines above the level of log_set_level() are left out
 * @format: as in printf(), without a newline
 *
 * The line goes out with a single write(), so that it stays whole where several processes share
 * stderr. Control characters become '?': names and paths in it may come from others, and one event
 * must stay one line. errno is left as it was.
 */
void log_line(enum log_level level, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	size_t len, i;
	va_list args;

	if (level > max_level)
		return;
	len = strlen(levels[level].prefix);
	memcpy(line, levels[level].prefix, len);
	va_start(args, format);
	vsnprintf(line + len, sizeof(line) - len - 1, format, args);
	va_end(args);
	len = strlen(line);
	for (i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* nowhere to say it */
	}
	errno = saved;
}
