/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's own directory: made if need be, locked against a second daemon, tidied at the end.
 */
#ifndef RUN_DIR_H
#define RUN_DIR_H

#include <stddef.h>

struct run_dir;

/**
 * run_dir_open() - make and lock the run directory
 * @out:  where it goes
 * @name: of the switch, for messages
 * @path: the directory, with or without its parents present
 *
 * What a killed daemon left there (sockets that nobody listens on) is removed. Logs the reason and
 * the remedy when it fails, and leaves nothing behind. Control thread.
 *
 * Return: 0; -EBUSY if a daemon holds the lock; -errno of mkdir(), open() or flock().
 */
int run_dir_open(struct run_dir **out, const char *name, const char *path);

/** run_dir_close() - unlock; the directories that we made go if they are empty. NULL is fine. */
void run_dir_close(struct run_dir *dir);

/**
 * run_dir_file() - the path of a file in there
 * @dir:  the directory
 * @text: where the path goes
 * @len:  its size in bytes
 * @name: the file's name
 * @suffix: added to it, may be ""
 *
 * Return: 0, or -ENAMETOOLONG.
 */
int run_dir_file(const struct run_dir *dir, char *text, size_t len, const char *name,
		 const char *suffix);

#endif
