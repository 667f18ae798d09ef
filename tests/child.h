/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A vxsd that a test starts as its child, watches and ends; and vxsctl's answers about it. */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <json-c/json.h>

/*
 * The programs are $VXSD and $VXSCTL, by default those in the build directory that the test program
 * lies in. A child dies with the test (PR_SET_PDEATHSIG); its directory goes with child_close(),
 * or when the test is ended by SIGINT or SIGTERM.
 */
struct child {
	char name[32];    /* of the switch, nobody else's */
	char pins[64];    /* where its maps are pinned, while it has that name */
	char dir[64];     /* the test's own; the run directory and the notify socket lie in it */
	char run_dir[80]; /* what --run-dir says */
	int net_ns;       /* network namespace to start in; -1: the caller's */
	bool bare;        /* start it without any capability: the kernel refuses it BPF */
	pid_t pid;        /* 0: not running */
	int status;       /* of wait(), once it ended */
	int notify_fd, err_fd;
	bool stopping; /* it said STOPPING=1 */
	size_t log_len;
	char log[256 * 1024]; /* what it wrote to stderr, ends with NUL */
};

/** child_open() - make the directory; @dir is NULL or an existing directory to make it in. */
int child_open(struct child *c, const char *dir);
/** child_close() - kill what runs, remove the directory. Once more is fine. */
void child_close(struct child *c);

/** child_spawn() - start vxsd --name --run-dir and @words (separated by spaces). 0 or -errno. */
int child_spawn(struct child *c, const char *words);
/** child_start() - child_spawn(), and wait until it is ready; -ECHILD if it ended instead. */
int child_start(struct child *c, const char *words);
/** child_end() - send @signal and wait; exit status, 128 + signal, or -ETIMEDOUT (then killed). */
int child_end(struct child *c, int signal);
/** child_wait() - wait until it ends by itself, as child_end(). */
int child_wait(struct child *c, unsigned ms);
/** child_is_running() - false once it ended; its status is then in @c->status. */
bool child_is_running(struct child *c);

/** child_count() - how many lines of its log contain @text. */
unsigned child_count(struct child *c, const char *text);
/** child_says() - wait until a line of its log contains @text. */
bool child_says(struct child *c, const char *text, unsigned ms);
/** child_dump() - show its log, for a test that failed. */
void child_dump(struct child *c);

/**
 * child_ctl() - run vxsctl
 * @c:	    which switch
 * @words:  command and arguments, separated by spaces
 * @status: NULL, or where vxsctl's exit status goes
 *
 * Return: what `vxsctl -j` printed, to be freed with json_object_put(); NULL if it was no JSON.
 */
struct json_object *child_ctl(struct child *c, const char *words, int *status);
/** child_do() - vxsctl's exit status alone. */
int child_do(struct child *c, const char *words);
/** child_do_start() - start vxsctl, for a test that goes on meanwhile; its process or -errno. */
pid_t child_do_start(struct child *c, const char *words);
/** child_do_done() - true once it ended; exit status goes to @status. */
bool child_do_done(pid_t pid, int *status);

/** child_ticks() - CPU time that it used so far, in clock ticks (sysconf(_SC_CLK_TCK)). */
unsigned long child_ticks(struct child *c);

#endif
