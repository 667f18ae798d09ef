/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Plays the service manager: binds a notify socket and waits for "READY=1" on it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* A message is lines of NAME=VALUE. */
static int is_ready(const char *text)
{
	const char *at = strstr(text, "READY=1");

	return at && (at == text || at[-1] == '\n') && (at[7] == '\n' || !at[7]);
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct pollfd p = {.events = POLLIN};
	long long end, left;
	char text[1024];
	ssize_t n;

	if (argc != 3 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "usage: notify PATH SECONDS\n");
		return 2;
	}
	end = now_ms() + 1000ll * atoi(argv[2]);
	strcpy(addr.sun_path, argv[1]);
	p.fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (p.fd < 0 || bind(p.fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror(argv[1]);
		return 1;
	}
	while ((left = end - now_ms()) > 0) {
		if (poll(&p, 1, left) <= 0)
			continue;
		n = recv(p.fd, text, sizeof(text) - 1, 0);
		if (n <= 0)
			continue;
		text[n] = '\0';
		puts(text);
		if (is_ready(text))
			return 0;
	}
	fprintf(stderr, "no READY=1 came\n");
	return 1;
}
