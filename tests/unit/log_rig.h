/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A dirty log in a file of its own, for tests in one process. */
#ifndef LOG_RIG_H
#define LOG_RIG_H

#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "vm/vu_log.h"

#define PAGE VHOST_USER_LOG_PAGE

static inline int log_file(uint64_t size)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, size), 0);
	return fd;
}

static inline struct vu_log *log_new(int fd, uint64_t size, uint64_t offset)
{
	struct vhost_user_log said = {size, offset};
	struct vu_log *log = NULL;

	CU_ASSERT_EQUAL_FATAL(vu_log_new(&log, &said, fd), 0);
	return log;
}

static inline bool is_marked(const struct vu_log *log, uint64_t page)
{
	return log->at[page / 8] & 1 << page % 8;
}

static inline unsigned count_marked(const struct vu_log *log)
{
	unsigned n = 0;
	uint64_t i;

	for (i = 0; i < log->pages / 8; i++)
		n += __builtin_popcount(log->at[i]);
	return n;
}

#endif
