/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs a fuzz target on each file of a directory: the corpus as a test, without libFuzzer. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

static int replay(const char *dir, const char *name)
{
	static uint8_t room[INPUT_MAX];
	char path[4096];
	uint8_t *data;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		return -errno;
	n = fread(room, 1, sizeof(room), f);
	fclose(f);
	/* an allocation of the exact size, so that sanitizers see reads behind its end */
	data = malloc(n ? n : 1);
	if (!data)
		return -ENOMEM;
	memcpy(data, room, n);
	fprintf(stderr, "replay %s\n", path); /* the last line before a crash tells the file */
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;
	struct dirent *e;
	DIR *d;
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	d = opendir(argv[1]);
	if (!d) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		err = replay(argv[1], e->d_name);
		if (err) {
			fprintf(stderr, "%s/%s: %s\n", argv[1], e->d_name, strerror(-err));
			failed++;
		} else {
			passed++;
		}
	}
	closedir(d);
	fprintf(stderr, "%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
