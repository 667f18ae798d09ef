/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user's transport: framing of messages, and the file descriptors that travel with them. */
#include "vm/vu_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/log.h"
#include "vm/vu_close.h"

/*
 * Theory of operation
 *
 * A message is a header of 12 bytes and a payload of as many bytes as the header says. The peer may
 * be slow, hung or hostile, so nothing here waits: vu_conn_read() takes what there is, and goes on
 * where it stopped when the loop calls again.
 *
 * File descriptors belong to the first byte of a message. The kernel hands them over with whatever
 * read touches the bytes they were sent with, so each read brings room for them: those of a first
 * byte are kept, all others are closed, and the connection with them. There is room for as many as
 * can come at once, since the kernel would close the others, and might have us wait for that. A
 * list that it had to cut all the same (MSG_CTRUNC) ends the connection, too.
 */

#define BACKLOG     8
#define FDS_AT_ONCE 253 /* the kernel's SCM_MAX_FD */

int vu_message_take_fd(struct vu_message *m, unsigned i)
{
	int fd;

	if (i >= m->n_fds)
		return -1;
	fd = m->fd[i];
	m->fd[i] = -1;
	return fd;
}

void vu_message_close_fds(struct vu_message *m)
{
	unsigned i;

	for (i = 0; i < m->n_fds; i++)
		vu_close(m->port, m->fd[i]);
	m->n_fds = 0;
}

/*
 * Tells a live socket from one that a killed process left. The peer sees a connection that ends
 * without a word, which vm.c takes care not to prefer to a front-end that is at work.
 */
static int probe_socket(const struct sockaddr_un *address)
{
	int fd, ret = 0;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		ret = -EADDRINUSE;
	else if (errno != ECONNREFUSED && errno != ENOENT)
		ret = -errno;
	close(fd);
	return ret;
}

static int remove_stale(const struct sockaddr_un *address)
{
	const char *path = address->sun_path;
	struct stat st;
	int ret;

	if (lstat(path, &st) < 0) /* without a directory, bind() says so */
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	ret = probe_socket(address);
	if (!ret && unlink(path) < 0 && errno != ENOENT)
		ret = -errno;
	return ret;
}

const char *vu_sock_remedy(int err)
{
	switch (err) {
	case -ENOENT:
		return "make its directory first, or choose another path with socket=";
	case -EEXIST:
		return "it is no socket: remove it, or choose another path with socket=";
	case -EADDRINUSE:
		return "stop the process that listens on it, or choose another path with socket=";
	case -EACCES:
	case -EPERM:
		return "vxsd has no right to make or replace it: choose another path with socket=";
	case -EMFILE:
	case -ENFILE:
		return "raise the limit of open files (`ulimit -n`)";
	case -ENAMETOOLONG:
		return "choose a shorter one with socket= or --run-dir";
	}
	return "choose another path with socket=";
}

int vu_sock_listen(const char *name, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	bool bound = false;
	int fd = -1, ret = -ENAMETOOLONG;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		goto err;
	memcpy(address.sun_path, path, strlen(path) + 1);
	ret = remove_stale(&address);
	if (ret)
		goto err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		ret = -errno;
		goto err;
	}
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = -errno;
		goto err;
	}
	bound = true;
	if (chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0) {
		ret = -errno;
		goto err;
	}
	return fd;
err:
	log_error("vm %s: can't listen on %s: %s; %s", name, path, strerror(-ret),
		  vu_sock_remedy(ret));
	if (bound)
		unlink(path);
	if (fd >= 0)
		close(fd);
	return ret;
}

int vu_sock_dial(int *fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (*fd < 0)
		*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	return connect(*fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* The path that a socket listens on, if it has one that a file system knows. */
static void find_path(int fd, char *path, size_t size)
{
	struct sockaddr_un address = {};
	socklen_t len = sizeof(address);

	if (!getsockname(fd, (struct sockaddr *)&address, &len) && address.sun_path[0] == '/')
		snprintf(path, size, "%.*s", (int)sizeof(address.sun_path), address.sun_path);
	else
		snprintf(path, size, "fd %d", fd);
}

int vu_sock_adopt(const char *name, int fd, bool *listens, char *path, size_t size)
{
	struct sockaddr_un peer;
	int accepts = 0, ret = 0;
	socklen_t len = sizeof(accepts);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) < 0)
		ret = -errno;
	len = sizeof(peer);
	if (!ret && !accepts && getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		ret = -errno;
	/* accept() must not wait if somebody else who has this socket was quicker */
	if (!ret &&
	    (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (accepts && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)))
		ret = -errno;
	if (ret) {
		log_error("vm %s: can't use fd %d: %s; give a Unix stream socket that listens or "
			  "is connected",
			  name, fd, strerror(-ret));
		return ret;
	}
	*listens = accepts;
	if (accepts)
		find_path(fd, path, size);
	else
		snprintf(path, size, "fd %d", fd);
	return 0;
}

void vu_conn_open(struct vu_conn *c, int fd)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer.pid = 0;
	c->fd = fd;
	c->have = 0;
	c->pid = peer.pid;
	c->msg.n_fds = 0;
	c->why[0] = 0;
}

int vu_sock_accept(int listen_fd, struct vu_conn *c)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	vu_conn_open(c, fd);
	return 0;
}

void vu_conn_close(struct vu_conn *c)
{
	vu_message_close_fds(&c->msg);
	vu_close_socket(c->msg.port, c->fd);
	c->fd = -1;
	c->have = 0;
}

static int fail(struct vu_conn *c, int error, const char *why)
{
	snprintf(c->why, sizeof(c->why), "%s", why);
	return error;
}

/* Takes the fds of one recvmsg(); those that come where none may are closed. */
static int take_fds(struct vu_conn *c, struct msghdr *hdr, bool first)
{
	struct vu_message *m = &c->msg;
	struct cmsghdr *cmsg;
	bool stray = false;

	for (cmsg = CMSG_FIRSTHDR(hdr); cmsg; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
		unsigned i, n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (first && m->n_fds < VHOST_USER_FDS_MAX) {
				m->fd[m->n_fds++] = fd;
			} else {
				vu_close(m->port, fd);
				stray = true;
			}
		}
	}
	if (hdr->msg_flags & (MSG_CTRUNC | MSG_TRUNC) || (stray && first))
		return fail(c, -EMSGSIZE, "too many file descriptors in one message");
	if (stray)
		return fail(c, -EPROTO, "file descriptors in the middle of a message");
	return 0;
}

/* Reads up to @len bytes that follow what we @have. 1: some came; 0: none now; or -errno. */
static int read_some(struct vu_conn *c, void *to, size_t len)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = len};
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	ssize_t n;
	int ret;

	do {
		n = recvmsg(c->fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			return 0;
		ret = -errno;
		return fail(c, ret == -ENOTCONN ? -ECONNRESET : ret, strerror(-ret));
	}
	ret = take_fds(c, &hdr, !c->have);
	if (ret)
		return ret;
	if (!n)
		return c->have ? fail(c, -ECONNRESET, "closed in the middle of a message")
			       : -ENOTCONN;
	c->have += n;
	return 1;
}

static int check_header(struct vu_conn *c)
{
	const struct vhost_user_header *h = &c->msg.header;

	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return fail(c, -EPROTO, "a message of another version of the protocol");
	if (h->flags & VHOST_USER_REPLY)
		return fail(c, -EPROTO, "a reply that nobody asked for");
	if (h->size > VU_PAYLOAD_MAX)
		return fail(c, -EMSGSIZE, "a message longer than any that there is");
	return 0;
}

int vu_conn_read(struct vu_conn *c)
{
	const size_t header = sizeof(c->msg.header);
	int ret;

	/* the last call gave a whole message away */
	if (c->have >= header && c->have == header + c->msg.header.size) {
		vu_message_close_fds(&c->msg);
		c->have = 0;
	}
	while (c->have < header) {
		ret = read_some(c, (uint8_t *)&c->msg.header + c->have, header - c->have);
		if (ret <= 0)
			return ret;
		if (c->have == header) {
			ret = check_header(c);
			if (ret)
				return ret;
		}
	}
	while (c->have < header + c->msg.header.size) {
		ret = read_some(c, c->msg.bytes + (c->have - header),
				header + c->msg.header.size - c->have);
		if (ret <= 0)
			return ret;
	}
	return 1;
}

int vu_conn_send(struct vu_conn *c, uint32_t request, const void *payload, uint32_t size, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct vhost_user_header header = {
		.request = request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
		.size = size,
	};
	struct iovec iov[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = size},
	};
	struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd >= 0) {
		hdr.msg_control = control.room;
		hdr.msg_controllen = sizeof(control.room);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}

	do {
		n = sendmsg(c->fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(sizeof(header) + size))
		return 0;
	if (n < 0 && errno != EAGAIN)
		return fail(c, -errno, strerror(errno));
	return fail(c, -EAGAIN, "the front-end doesn't read its answers");
}
