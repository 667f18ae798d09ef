/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: answers vxsctl; the protocol is described in vxs_ctl.h. */
#ifndef CTL_H
#define CTL_H

struct ctl;
struct daemon;

#define CTL_CLIENTS_MAX 32                  /* one more: the longest silent one has to go */
#define CTL_OUTPUT_MAX  (64u * 1024 * 1024) /* bytes of replies that clients have not taken yet */

/**
 * ctl_open() - listen on the control socket
 * @out:  where it goes
 * @d:    the switch that it tells about; d->loop runs it
 * @path: of the socket; a socket that lies there already is nobody's (the caller holds the run
 *        directory's lock) and is replaced
 *
 * Logs the reason and the remedy when it fails. Control thread.
 *
 * Return: 0 or -errno (-EEXIST: @path is there and no socket).
 */
int ctl_open(struct ctl **out, struct daemon *d, const char *path);

/** ctl_close() - end all connections and remove the socket. NULL is fine. */
void ctl_close(struct ctl *c);

#endif
