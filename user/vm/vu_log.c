/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps the dirty log of a live migration, and marks pages in it. */
#include "vm/vu_log.h"

#include <errno.h>
#include <stdlib.h>

int vu_log_new(struct vu_log **out, const struct vhost_user_log *said, int fd)
{
	struct vhost_user_memory table = {
		.n = 1, .region = {{.size = said->size, .mmap_offset = said->offset}}};
	struct vu_log *log;
	int ret;

	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	ret = vu_mem_new(&log->mem, &table, &fd, 1);
	if (ret) {
		free(log);
		return ret;
	}
	log->at = log->mem->region[0].at;
	log->pages = said->size * 8; /* vu_mem_new() takes no size near 2^61 */
	*out = log;
	return 0;
}

void vu_log_free(struct vu_log *log)
{
	if (!log)
		return;
	vu_mem_free(log->mem);
	free(log);
}

bool vu_log_mark(struct vu_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t page = gpa / VHOST_USER_LOG_PAGE, end;
	bool fresh = false;

	end = page +
	      (gpa % VHOST_USER_LOG_PAGE + len + VHOST_USER_LOG_PAGE - 1) / VHOST_USER_LOG_PAGE;
	if (end > log->pages)
		end = log->pages;
	for (; len && page < end; page++) {
		uint8_t bit = 1u << page % 8, was;

		/* Pairs with the front-end's exchange: who fetches the bit sees what was written.
		 */
		was = __atomic_fetch_or(&log->at[page / 8], bit, __ATOMIC_RELEASE);
		fresh |= !(was & bit);
	}
	return fresh;
}

uint64_t vu_log_gpa(const struct vu_mem *mem, const void *at)
{
	unsigned i;

	for (i = 0; i < mem->n; i++) {
		const struct vu_region *r = &mem->region[i];
		uint64_t off = (uintptr_t)at - (uintptr_t)r->at;

		if (off < r->size)
			return r->gpa + off;
	}
	return UINT64_MAX;
}

bool vu_log_mark_at(struct vu_log *log, const struct vu_mem *mem, const void *at, uint64_t len)
{
	uint64_t gpa = vu_log_gpa(mem, at);

	return gpa != UINT64_MAX && vu_log_mark(log, gpa, len);
}
