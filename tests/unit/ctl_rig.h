/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A daemon and clients of its control socket, all in one thread. */
#ifndef CTL_RIG_H
#define CTL_RIG_H

#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "control/ctl.h"
#include "control/daemon.h"
#include "vxs_ctl.h"

/*
 * Daemon and clients live in this one thread: a client sends, the loop runs until the reply is
 * there. The daemon is a whole one without uplink; as root its maps lie under a name of our own.
 */
#define ROUNDS_MAX 20000

static struct options opt;
static struct daemon *d;
static char dir[64], path[108];

static inline bool start(void)
{
	char name[32], err[512], run_dir[80];
	char *argv[] = {"vxsd",
			"--name",
			name,
			"--run-dir",
			run_dir,
			"--log-level",
			"error",
			"--idle-us",
			"250",
			"--vm",
			"a",
			"--vm",
			"b,mac=52:54:00:00:00:0b,queues=2"};

	snprintf(dir, sizeof(dir), "/tmp/vxs-ctl-XXXXXX");
	if (!mkdtemp(dir))
		return false;
	snprintf(name, sizeof(name), "ctl-%d", getpid());
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	snprintf(path, sizeof(path), "%s/" VXS_CTL_SOCKET, run_dir);
	if (options_parse(&opt, sizeof(argv) / sizeof(argv[0]), argv, err, sizeof(err)))
		return false;
	log_set_level(LOG_ERROR);
	return !daemon_open(&d, &opt);
}

static inline int stop(void)
{
	daemon_close(d);
	options_free(&opt);
	if (!rmdir(dir))
		return 0;
	printf("FAIL ctl/stop: something is left in %s\n", dir);
	return 1;
}

static inline int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline void turn(unsigned rounds)
{
	while (rounds--)
		loop_once(d->loop, 0);
}

/* One line of a reply without its newline; NULL if the connection ends or nothing comes. */
static inline char *hear(int fd)
{
	size_t used = 0, size = 1 << 16;
	char *line = malloc(size);
	unsigned i;
	ssize_t n;

	for (i = 0; line && i < ROUNDS_MAX; i++) {
		n = recv(fd, line + used, 1, 0);
		if (!n || (n < 0 && errno != EAGAIN))
			break;
		if (n < 0) {
			loop_once(d->loop, 10);
			continue;
		}
		i = 0;
		if (line[used] == '\n') {
			line[used] = '\0';
			return line;
		}
		if (++used == size)
			line = realloc(line, size *= 2);
	}
	free(line);
	return NULL;
}

static inline bool say(int fd, const char *text, size_t len)
{
	return send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Asks, and returns the reply to be put; NULL if there was none. */
static inline struct json_object *ask(int fd, const char *request)
{
	struct json_object *reply;
	char *line;

	if (!say(fd, request, strlen(request)) || !say(fd, "\n", 1))
		return NULL;
	line = hear(fd);
	reply = line ? json_tokener_parse(line) : NULL;
	free(line);
	return reply;
}

static inline struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

static inline const char *text(struct json_object *o, const char *key)
{
	const char *value = json_object_get_string(member(o, key));

	return value ? value : "(none)";
}

static inline void expect_error(int fd, const char *request, const char *error)
{
	struct json_object *reply = ask(fd, request);

	if (strcmp(text(reply, "error"), error))
		printf("     %s\n     says %s\n     not  %s\n", request, text(reply, "error"),
		       error);
	CU_ASSERT_STRING_EQUAL(text(reply, "error"), error);
	json_object_put(reply);
}

/* Requests and what they are told. */
static const char *const bad[][2] = {
	{"", "the request is not JSON: it ends too early"},
	{"{", "the request is not JSON: it ends too early"},
	{"status", "the request is not JSON: unexpected character"},
	{"[1]", "the request is not a JSON object: write {\"do\": \"status\"}"},
	{"null", "the request is not a JSON object: write {\"do\": \"status\"}"},
	{"{}", "the request has no \"do\": write {\"do\": \"status\"}"},
	{"{\"do\":1}", "\"do\" is not text: give a string"},
	{"{\"do\":null}", "\"do\" is not text: give a string"},
	{"{\"do\":\"stat\\u0000us\"}", "\"do\" is not text: give a string"},
	{"{\"do\":\"fly\\n\"}", "\"fly?\": no such command; commands are status, ports, fdb, "
				"stats, workers, port_add, port_del"},
	{"{\"do\":\"status\",\"colour\":\"red\"}",
	 "unknown argument \"colour\"; arguments are port, vm"},
	{"{\"do\":\"status\",\"port\":\"a\"}", "status takes no \"port\": leave it out"},
	{"{\"do\":\"ports\",\"vm\":\"a\"}", "ports takes no \"vm\": leave it out"},
	{"{\"do\":\"ports\",\"port\":\"x\"}", "x: no such port; see `vxsctl port show`"},
	{"{\"do\":\"port_add\"}", "port_add needs \"vm\", NAME[,key=value...]"},
	{"{\"do\":\"port_del\"}", "port_del needs \"port\", a port's name"},
	{"{\"do\":\"port_add\",\"vm\":\"c,colour=red\"}",
	 "c,colour=red: unknown key \"colour\"; keys are mac, socket, role, fd, queues, offloads, "
	 "mtu, "
	 "ring-reset, postcopy"},
	{"{\"do\":\"port_add\",\"vm\":\"c,mac=zz\"}",
	 "c,mac=zz: \"zz\" is not a MAC address (six bytes like 52:54:00:12:34:56)"},
	{"[[[[[[[[[[[[", "the request is not JSON: nesting too deep"},
	{"{\"do\":\"\xff\xfe\"}", "the request is not JSON: invalid utf-8 string"},
};

#define N_BAD (sizeof(bad) / sizeof(bad[0]))

/* main() of a test program: the daemon lives as long as its tests. */
static inline int ctl_main(const char *suite, const struct check *tests, int argc, char **argv)
{
	int ret;

	if (!start()) {
		printf("FAIL %s/start\n0 passed, 1 failed\n", suite);
		return 1;
	}
	ret = check_main(suite, tests, argc, argv);
	return stop() ? 1 : ret;
}

#endif
