/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frees a thread that a hostile front-end's eventfd holds. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

struct watchdog;
struct worker;

/**
 * watchdog_start() - watch over these workers, and over the thread that calls (control)
 * @out:    where it goes
 * @worker: the workers; both array and workers live until watchdog_stop()
 * @n:      how many
 *
 * Return: 0 or -errno.
 */
int watchdog_start(struct watchdog **out, struct worker *const *worker, unsigned n);
/** watchdog_stop() - after the workers have ended, since they may need it for that. NULL is fine.
 */
void watchdog_stop(struct watchdog *dog);

/** watchdog_enter(), watchdog_leave() - control, around a write() that must not wait. */
void watchdog_enter(void);
void watchdog_leave(void);

#endif
