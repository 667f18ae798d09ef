/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user's transport: the listening socket, and whole messages from a byte stream. */
#ifndef VU_SOCK_H
#define VU_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost_user.h"

/* Payloads beyond what we know are read and thrown away up to this size; more is an error. */
#define VU_PAYLOAD_MAX 4096

struct vu_message {
	struct vhost_user_header header;
	union {
		union vhost_user_payload payload;
		uint8_t bytes[VU_PAYLOAD_MAX];
	};
	unsigned port; /* id of the port whose peer sends it: for vu_close() */
	unsigned n_fds;
	int fd[VHOST_USER_FDS_MAX]; /* ours to close; -1 once somebody took it */
};

/* A connection. It never blocks: what has come of a message waits here for the rest. */
struct vu_conn {
	int fd;      /* -1: none */
	size_t have; /* bytes of @msg's header and payload that have come */
	int pid;     /* of the peer */
	struct vu_message msg;
	char why[96]; /* what was wrong, when vu_conn_read() or vu_conn_send() failed */
};

/**
 * vu_sock_listen() - make a listening socket
 * @name: whose it is, for the log
 * @path: where; a stale socket there is replaced, anything else never
 *
 * Logs reason and remedy when it fails.
 *
 * Return: the fd, or -errno: -EADDRINUSE if something listens there, -ENAMETOOLONG, -EEXIST if
 * there is something that is not a socket.
 */
int vu_sock_listen(const char *name, const char *path);

/** vu_sock_remedy() - what a user can do about an error of vu_sock_listen(). */
const char *vu_sock_remedy(int err);

/**
 * vu_sock_dial() - call the front-end that listens at @path, without waiting
 * @fd:   -1, or where an earlier try left it; kept for the next try when it fails
 * @path: where
 *
 * Return: 0: *@fd is connected; -errno: -ENOENT, -ECONNREFUSED (nobody listens), -EAGAIN (it has
 * too many calls to answer), ...
 */
int vu_sock_dial(int *fd, const char *path);

/**
 * vu_sock_adopt() - make ready a socket that we were given
 * @name: whose it is, for the log
 * @fd:   a Unix stream socket; stays the caller's
 * @listens: set: whether it listens, or is connected
 * @path: where its path goes if it has one, else "fd N"
 * @size: bytes of room there
 *
 * Logs reason and remedy when it fails. Return: 0 or -errno (-ENOTCONN: neither of both).
 */
int vu_sock_adopt(const char *name, int fd, bool *listens, char *path, size_t size);

/** vu_sock_accept() - take a waiting front-end into @c; -EAGAIN if there is none, or -errno. */
int vu_sock_accept(int listen_fd, struct vu_conn *c);

/** vu_conn_open() - begin a connection on @fd, which is @c's from now on. */
void vu_conn_open(struct vu_conn *c, int fd);

/**
 * vu_conn_read() - read on until a message is whole
 * @c: the connection
 *
 * Return: 1: @c->msg is a message, valid until the next call, which also closes those of its fds
 * that nobody took; 0: more has to come; -ENOTCONN: the peer closed between two messages; another
 * -errno, @c->why tells the reason: the stream can't be used any more.
 */
int vu_conn_read(struct vu_conn *c);

/**
 * vu_conn_send() - answer @request with @size bytes of @payload, all at once or -errno
 *
 * @fd goes with it, and stays the caller's; -1: none.
 */
int vu_conn_send(struct vu_conn *c, uint32_t request, const void *payload, uint32_t size, int fd);

/** vu_conn_close() - close it and the message's fds. An unset one is fine. */
void vu_conn_close(struct vu_conn *c);

/** vu_message_close_fds() - close what nobody took. */
void vu_message_close_fds(struct vu_message *m);

/** vu_message_take_fd() - fd @i is the caller's from now on; -1 if there is none. */
int vu_message_take_fd(struct vu_message *m, unsigned i);

#endif
