/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control thread's event loop: file descriptors and timers, level-triggered epoll. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_watch;

/* @events are EPOLLIN and so on. The function may free its own or any other watch. */
typedef void (*loop_function)(void *arg, uint32_t events);

int loop_new(struct loop **out);
void loop_free(struct loop *loop);

/** loop_watch() - call @function for @events on @fd. The fd stays the caller's. 0 or -errno. */
int loop_watch(struct loop *loop, struct loop_watch **out, int fd, uint32_t events,
	       loop_function function, void *arg);
/** loop_timer() - call @function every @ms milliseconds. 0 or -errno. */
int loop_timer(struct loop *loop, struct loop_watch **out, unsigned ms, loop_function function,
	       void *arg);
/** loop_alarm() - a timer that calls @function once each time that it is set. 0 or -errno. */
int loop_alarm(struct loop *loop, struct loop_watch **out, loop_function function, void *arg);
/** loop_alarm_set() - in @ms milliseconds, at least 1; instead of what was set before. */
void loop_alarm_set(struct loop_watch *alarm, unsigned ms);
/** loop_change() - wait for other events on the same fd. */
int loop_change(struct loop_watch *watch, uint32_t events);
/** loop_unwatch() - forget it; safe from inside any function of the loop. NULL is fine. */
void loop_unwatch(struct loop_watch *watch);

/** loop_run() - handle events until loop_end(); loop_once() - wait up to @ms (-1: for ever) once.
 */
int loop_run(struct loop *loop);
int loop_once(struct loop *loop, int ms);
void loop_end(struct loop *loop);

#endif
