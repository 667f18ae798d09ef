/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsctl's side of the control socket: one request, one reply. */
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "vxs_ctl.h"

#define REPLY_MAX     (256u * 1024 * 1024) /* more than the largest switch has to say */
#define REPLY_SECONDS 30

static int connect_to(const struct client *c, char *err, size_t err_len)
{
	struct timeval limit = {.tv_sec = REPLY_SECONDS};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[sizeof(address.sun_path) + 1];
	int fd, n;

	n = snprintf(path, sizeof(path), "%s%s/" VXS_CTL_SOCKET, c->run_dir ? "" : VXS_RUN_DIR "/",
		     c->run_dir ? c->run_dir : c->name);
	if (n >= (int)sizeof(address.sun_path)) {
		snprintf(err, err_len, "%s: the path is too long: choose another %s", path,
			 c->run_dir ? "--run-dir" : "--name");
		return -1;
	}
	memcpy(address.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(err, err_len, "%s: %s", path, strerror(errno));
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
		snprintf(err, err_len,
			 "switch %s%s%s does not run (%s %s): start vxsd, or choose %s",
			 c->run_dir ? "in " : "\"", c->run_dir ? c->run_dir : c->name,
			 c->run_dir ? "" : "\"", errno == ECONNREFUSED ? "nobody listens on" : "no",
			 path, c->run_dir ? "another --run-dir" : "--name");
	else if (errno == EACCES)
		snprintf(err, err_len,
			 "%s: permission denied: run vxsctl as the user or the group "
			 "that vxsd runs as",
			 path);
	else
		snprintf(err, err_len, "%s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

static int send_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	for (; len; text += n, len -= n) {
		n = send(fd, text, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			n = 0;
	}
	return 0;
}

/* Reads up to the newline. The text, which ends with NUL in its place, is the caller's to free. */
static int receive_line(int fd, char **out)
{
	size_t used = 0, size = 0;
	char *line = NULL, *grown, *end;
	int err = -EMSGSIZE;
	ssize_t n;

	while (used < REPLY_MAX) {
		if (used + 65536 > size) {
			size = 2 * size + 65536;
			grown = realloc(line, size);
			err = -ENOMEM;
			if (!grown)
				break;
			line = grown;
		}
		n = recv(fd, line + used, size - used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		err = n < 0 ? -errno : -ECONNRESET;
		if (n <= 0)
			break;
		end = memchr(line + used, '\n', n);
		if (end) {
			*end = '\0';
			*out = line;
			return 0;
		}
		used += n;
		err = -EMSGSIZE;
	}
	free(line);
	return err;
}

/* Takes the reply apart. */
static int read_reply(const char *line, struct json_object **result, char *err, size_t err_len)
{
	struct json_object *reply = json_tokener_parse(line), *part;
	int ret = -1;

	if (json_object_object_get_ex(reply, "ok", &part)) {
		*result = json_object_get(part);
		ret = 0;
	} else if (json_object_object_get_ex(reply, "error", &part)) {
		snprintf(err, err_len, "%s", json_object_get_string(part));
	} else {
		snprintf(err, err_len, "vxsd's reply makes no sense: are both of one version?");
	}
	json_object_put(reply);
	return ret;
}

int client_ask(const struct client *c, struct json_object *request, struct json_object **result,
	       char *err, size_t err_len)
{
	char *line = NULL;
	const char *text;
	int fd, ret;

	fd = connect_to(c, err, err_len);
	if (fd < 0)
		return -1;
	text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	ret = text ? send_all(fd, text, strlen(text)) : -ENOMEM;
	if (!ret)
		ret = send_all(fd, "\n", 1);
	if (!ret)
		ret = receive_line(fd, &line);
	close(fd);
	if (ret == -EAGAIN)
		snprintf(err, err_len, "switch \"%s\": vxsd did not answer in %d seconds", c->name,
			 REPLY_SECONDS);
	else if (ret)
		snprintf(err, err_len, "switch \"%s\": vxsd ended the connection: %s", c->name,
			 strerror(-ret));
	else
		ret = read_reply(line, result, err, err_len);
	free(line);
	return ret ? -1 : 0;
}
