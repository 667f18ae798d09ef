/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The dirty log of a live migration: a bit for each page of guest memory that we write to. */
#ifndef VU_LOG_H
#define VU_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost_user.h"
#include "vm/vu_mem.h"

/*
 * Theory of operation
 *
 * The front-end shares a file with a bit for each page, sets all of them to 0 and from then on
 * fetches them, each time setting them to 0 again, and sends the pages that they stand for. So a
 * bit must be set after the page was written, or the page may be sent as it was before and never
 * again; and it must be set each time, since nobody can tell whether one that is set has just been
 * fetched.
 *
 * The file is the front-end's, as the guest's memory is: it is mapped in the same way, with the
 * same checks, and guarded against being cut short (vu_mem.c).
 */

struct vu_log {
	struct vu_mem *mem; /* the file's part as one region that begins at address 0 */
	uint8_t *at;
	uint64_t pages; /* that it has bits for; others aren't marked */
};

/**
 * vu_log_new() - map a dirty log (vhost-user.rst, "Migration")
 * @out:  where it goes
 * @said: SET_LOG_BASE's payload: size and offset in bytes, checked here
 * @fd:   the file; it stays the caller's, who may close it at once
 *
 * Control thread.
 *
 * Return: 0; -EINVAL if it is empty or beyond the end of the file; -errno of mmap().
 */
int vu_log_new(struct vu_log **out, const struct vhost_user_log *said, int fd);

/** vu_log_free() - unmap; the caller has made sure that no worker uses it. NULL is fine. */
void vu_log_free(struct vu_log *log);

/** vu_log_is_lost() - the file was cut short: what is marked goes nowhere. Any thread. */
static inline bool vu_log_is_lost(const struct vu_log *log)
{
	return vu_mem_is_lost(log->mem);
}

/**
 * vu_log_mark() - mark the pages of guest memory that were just written
 * @log: the log
 * @gpa: guest physical address, or whatever the front-end calls so; any value
 * @len: bytes; pages beyond the log's end are left out
 *
 * Any thread. Return: whether a bit was set that wasn't.
 */
bool vu_log_mark(struct vu_log *log, uint64_t gpa, uint64_t len);

/**
 * vu_log_mark_at() - the same for an address of ours
 * @log: the log
 * @mem: the regions that @at is in
 * @at:  @len bytes of one region
 * @len: bytes
 */
bool vu_log_mark_at(struct vu_log *log, const struct vu_mem *mem, const void *at, uint64_t len);

/** vu_log_gpa() - guest physical address of what is at @at here; UINT64_MAX: it isn't a guest's. */
uint64_t vu_log_gpa(const struct vu_mem *mem, const void *at);

#endif
