/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: answers vxsctl; the protocol is described in vxs_ctl.h. */
#include "control/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/ctl_do.h"
#include "control/daemon.h"
#include "vxs_ctl.h"

/*
 * Theory of operation
 *
 * All of it runs in the control thread, which also serves the VMs' sockets: nothing in here waits.
 *
 * A client is in one of two states. Either it has no reply to take, and we read what it sends into
 * its line buffer; or it has one, or a complete line lies in the buffer, and we look only whether
 * its socket takes data. One request is carried out at a time and one in a round of the loop, so a
 * client that sends thousands waits for its own replies, and the others get their turns in between.
 *
 * What clients can make us hold is limited: their number, the length of a line, one reply each, and
 * the bytes of all replies together. Where a limit is reached, those who have been silent longest
 * lose their connection: whoever is busy is served, and nobody can lock the others out.
 */

struct client {
	struct ctl *ctl;
	struct loop_watch *watch;
	int fd;
	bool ended;  /* it will send no more */
	bool last;   /* the connection ends with the reply */
	uint64_t at; /* when it last did something, in rounds of ours */
	size_t used; /* bytes in line[] */
	char line[VXS_CTL_LINE_MAX];
	struct json_object *reply; /* NULL: nothing to take */
	const char *text;          /* the reply's, owned by it; its newline is not in there */
	size_t text_len, sent;     /* of text and newline */
};

struct ctl {
	struct daemon *d;
	struct loop_watch *watch;
	int fd;
	int spare_fd; /* given up to accept, and refuse, a client when no other fd is to be had */
	bool bound;
	struct sockaddr_un address;
	uint64_t clock;
	size_t output; /* bytes of all replies that wait */
	struct client *client[CTL_CLIENTS_MAX];
};

static void client_drop_reply(struct client *cl)
{
	if (!cl->reply)
		return;
	cl->ctl->output -= cl->text_len;
	json_object_put(cl->reply);
	cl->reply = NULL;
}

static void client_close(struct client *cl)
{
	unsigned i;

	if (!cl)
		return;
	for (i = 0; i < CTL_CLIENTS_MAX; i++)
		if (cl->ctl->client[i] == cl)
			cl->ctl->client[i] = NULL;
	client_drop_reply(cl);
	loop_unwatch(cl->watch);
	if (cl->fd >= 0)
		close(cl->fd);
	free(cl);
}

/* The client that has been silent longest; only among those with a reply if @replies. */
static struct client *find_silent(struct ctl *c, const struct client *but, bool replies)
{
	struct client *found = NULL, *cl;
	unsigned i;

	for (i = 0; i < CTL_CLIENTS_MAX; i++) {
		cl = c->client[i];
		if (cl && cl != but && (cl->reply || !replies) && (!found || cl->at < found->at))
			found = cl;
	}
	return found;
}

/* Takes over @reply. False: the connection has to end. */
static bool client_queue(struct client *cl, struct json_object *reply)
{
	struct ctl *c = cl->ctl;
	struct client *silent;
	const char *text;
	size_t len;

	if (!reply)
		return false;
	text = json_object_to_json_string_length(
		reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text) {
		json_object_put(reply);
		return false;
	}
	while (c->output + len > CTL_OUTPUT_MAX && (silent = find_silent(c, cl, true)))
		client_close(silent);
	cl->reply = reply;
	cl->text = text;
	cl->text_len = len;
	cl->sent = 0;
	c->output += len;
	return true;
}

/* Sends what the socket takes. 0, or -errno if the connection has to end. */
static int client_send(struct client *cl)
{
	while (cl->reply) {
		bool tail = cl->sent >= cl->text_len;
		ssize_t n = send(cl->fd, tail ? "\n" : cl->text + cl->sent,
				 tail ? 1 : cl->text_len - cl->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		cl->sent += n;
		cl->at = ++cl->ctl->clock;
		if (cl->sent > cl->text_len)
			client_drop_reply(cl);
	}
	return cl->last ? -ESHUTDOWN : 0;
}

/* Carries out the first line of the buffer, if it is complete. */
static bool client_next(struct client *cl)
{
	char *end = memchr(cl->line, '\n', cl->used);
	size_t len;

	if (!end) {
		if (cl->used < sizeof(cl->line))
			return true;
		cl->last = true;
		cl->used = 0;
		return client_queue(cl, ctl_error("the request is longer than 4096 bytes: make it "
						  "shorter"));
	}
	len = end + 1 - cl->line;
	if (!client_queue(cl, ctl_do(cl->ctl->d, cl->line, len)))
		return false;
	cl->used -= len;
	memmove(cl->line, end + 1, cl->used);
	return true;
}

/* Reads into the line buffer. 0, or -errno if the connection has to end. */
static int client_read(struct client *cl)
{
	ssize_t n = recv(cl->fd, cl->line + cl->used, sizeof(cl->line) - cl->used, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!n)
		cl->ended = true;
	cl->used += n;
	cl->at = ++cl->ctl->clock;
	return 0;
}

static void on_client(void *arg, uint32_t events)
{
	struct client *cl = arg;
	bool waiting;

	if (events & EPOLLERR)
		goto close;
	waiting = cl->reply || memchr(cl->line, '\n', cl->used);
	if (!waiting && client_read(cl))
		goto close;
	if (client_send(cl) || (!cl->reply && !client_next(cl)) || client_send(cl))
		goto close;
	waiting = cl->reply || memchr(cl->line, '\n', cl->used);
	if (!waiting && cl->ended)
		goto close;
	if (loop_change(cl->watch, waiting ? EPOLLOUT : EPOLLIN))
		goto close;
	return;
close:
	client_close(cl);
}

static int client_new(struct ctl *c, int fd)
{
	struct client *cl = calloc(1, sizeof(*cl));
	unsigned i;
	int err;

	if (!cl) {
		close(fd);
		return -ENOMEM;
	}
	cl->ctl = c;
	cl->fd = fd;
	cl->at = ++c->clock;
	for (i = 0; i < CTL_CLIENTS_MAX && c->client[i]; i++)
		;
	if (i == CTL_CLIENTS_MAX) {
		client_close(find_silent(c, NULL, false));
		for (i = 0; c->client[i]; i++)
			;
	}
	c->client[i] = cl;
	err = loop_watch(c->d->loop, &cl->watch, fd, EPOLLIN, on_client, cl);
	if (err)
		client_close(cl);
	return err;
}

static void on_connection(void *arg, uint32_t events)
{
	struct ctl *c = arg;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && c->spare_fd >= 0) {
		/* Left alone it would wake us for ever: take it, and end it at once. */
		close(c->spare_fd);
		fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			close(fd);
		c->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		log_warn("control socket: no file descriptor left for a client (ulimit -n)");
		return;
	}
	if (fd >= 0)
		client_new(c, fd);
}

/* Binds to the path, in the place of a socket that nobody has any more. */
static int bind_socket(struct ctl *c, const char *path)
{
	struct stat st;

	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode))
			return -EEXIST;
		if (unlink(path))
			return -errno;
	}
	if (bind(c->fd, (struct sockaddr *)&c->address, sizeof(c->address)))
		return -errno;
	c->bound = true;
	/*
	 * Nobody can connect before listen(), so no wider mode is ever of use. Not for the group:
	 * that is QEMUs', and a guest that has broken out of one is not to command the switch.
	 */
	if (chmod(path, 0600) || listen(c->fd, CTL_CLIENTS_MAX))
		return -errno;
	return 0;
}

int ctl_open(struct ctl **out, struct daemon *d, const char *path)
{
	struct ctl *c = calloc(1, sizeof(*c));
	int err = -ENAMETOOLONG;

	if (!c)
		return -ENOMEM;
	c->d = d;
	c->spare_fd = -1;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0) {
		err = -errno;
		goto err;
	}
	c->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	c->address.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(c->address.sun_path))
		goto err;
	memcpy(c->address.sun_path, path, strlen(path) + 1);
	err = bind_socket(c, path);
	if (err)
		goto err;
	err = loop_watch(d->loop, &c->watch, c->fd, EPOLLIN, on_connection, c);
	if (err)
		goto err;
	*out = c;
	return 0;
err:
	log_error("control socket %s: %s: %s", path, strerror(-err),
		  err == -EEXIST ? "remove that file, it is no socket"
				 : "choose another directory with --run-dir");
	ctl_close(c);
	return err;
}

void ctl_close(struct ctl *c)
{
	unsigned i;

	if (!c)
		return;
	for (i = 0; i < CTL_CLIENTS_MAX; i++)
		client_close(c->client[i]);
	loop_unwatch(c->watch);
	if (c->bound)
		unlink(c->address.sun_path);
	if (c->fd >= 0)
		close(c->fd);
	if (c->spare_fd >= 0)
		close(c->spare_fd);
	free(c);
}
