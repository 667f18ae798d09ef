/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory that a front-end keeps for its back-ends, so that a new one goes on where one died. */
#ifndef VU_INFLIGHT_H
#define VU_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vhost_user_inflight;
struct vu_mem;

/*
 * What the specification (vhost-user.rst, "Inflight I/O tracking") has in it: one region per
 * virtqueue, in its order. All of it may be written by the front-end at any time.
 */
#define VU_INFLIGHT_VERSION 1 /* 0: nobody has used it yet */
#define VU_INFLIGHT_ALIGN   64

struct vu_inflight_split_desc {
	uint8_t inflight;
	uint8_t pad[5];
	uint16_t next;
	uint64_t counter;
};

struct vu_inflight_split {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vu_inflight_split_desc desc[];
};

/* One word, read and written as a whole. */
struct vu_inflight_place {
	uint16_t used, old_used;
	uint8_t wrap, old_wrap;
	uint16_t saved; /* padding in the specification: see vq_journal.h */
};

struct vu_inflight_packed_desc {
	uint8_t inflight;
	uint8_t pad;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

struct vu_inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head, old_free_head;
	struct vu_inflight_place place;
	uint8_t pad[8];
	struct vu_inflight_packed_desc desc[];
};
_Static_assert(sizeof(struct vu_inflight_split) == 16, "as in the specification");
_Static_assert(sizeof(struct vu_inflight_split_desc) == 16, "as in the specification");
_Static_assert(sizeof(struct vu_inflight_packed) == 32, "as in the specification");
_Static_assert(sizeof(struct vu_inflight_packed_desc) == 32, "as in the specification");

/* Control's; what workers see of it are the regions, through their queues. */
struct vu_inflight {
	int fd;             /* what GET_INFLIGHT_FD made last; -1: nothing */
	struct vu_mem *mem; /* what SET_INFLIGHT_FD gave, mapped; NULL: nothing */
	unsigned n_queues, queue_size;
	bool packed;
	dev_t dev; /* which file it is */
	ino_t ino;
};

/** vu_inflight_size() - bytes for @n_queues rings (1 to 256) of @queue_size (1 to 32768). */
uint64_t vu_inflight_size(unsigned n_queues, unsigned queue_size, bool packed);

/**
 * vu_inflight_make() - new memory for a front-end, all zeros
 * @f:    NULL at first; its fd is the memory, and stays its own
 * @size: bytes
 *
 * Nobody can cut it short, so that nobody who maps it is killed by that. Return: 0 or -errno.
 */
int vu_inflight_make(struct vu_inflight **f, uint64_t size);

/**
 * vu_inflight_map() - use the memory that a front-end has kept
 * @f:      NULL at first; no worker uses what was mapped before
 * @wanted: SET_INFLIGHT_FD's payload; its counts are within limits
 * @fd:     stays the caller's
 * @packed: the format of its regions
 * @same:   whether this file was mapped before
 *
 * Return: 0; -EINVAL if it is too small, misaligned, or not in the file; -errno.
 */
int vu_inflight_map(struct vu_inflight **f, const struct vhost_user_inflight *wanted, int fd,
		    bool packed, bool *same);

/** vu_inflight_region() - virtqueue @index's; NULL: it has none, or not for @size descriptors. */
void *vu_inflight_region(const struct vu_inflight *f, unsigned index, bool packed, unsigned size);

/** vu_inflight_use_split() - say that a split ring of @size uses its region; nothing else is kept.
 */
void vu_inflight_use_split(struct vu_inflight_split *region, unsigned size);

/** vu_inflight_is_lost() - its file was cut short. */
bool vu_inflight_is_lost(const struct vu_inflight *f);

/** vu_inflight_free() - unmap and close; no worker uses it. NULL is fine. */
void vu_inflight_free(struct vu_inflight *f);

#endif
