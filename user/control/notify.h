/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tells the service manager how we are: sd_notify(3)'s protocol. */
#ifndef NOTIFY_H
#define NOTIFY_H

/**
 * notify_manager() - send state to the socket that $NOTIFY_SOCKET names
 * @format: lines of KEY=VALUE ("READY=1\nSTATUS=..."), as printf() has it
 *
 * Does nothing without that variable; a manager that doesn't listen is no error. Control thread.
 */
__attribute__((format(printf, 1, 2))) void notify_manager(const char *format, ...);

#endif
