/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Asks a front-end for the pages that are not there yet, and knows which ones are. */
#include "vm/vu_postcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>

#include "control/loop.h"
#include "vm/vu_fetch.h"
#include "vm/vu_fetcher.h"
#include "vm/vu_mem.h"

/*
 * Theory of operation
 *
 * Neither a worker nor the control thread waits for a page. Guest memory is mapped twice: here,
 * where workers look at a bitmap before they touch a page, and in the fetcher, a process that does
 * nothing but wait (vu_fetcher.c). The mapping here has nothing to do with the userfaultfd, so
 * whatever the front-end does with it, nobody here stops. Who finds a page absent leaves the work
 * for later, or drops it, and control asks for the page: FLYING at a time are asked for, the others
 * stand in a queue, each once. When one has come its bit is set, and control looks after those who
 * went without it.
 *
 * In the fetcher the memory lies where it lies in the front-end, if there is room. QEMU from 8.1 on
 * keeps a list of the pages that are under way, by its own addresses; those that a back-end asks
 * for are put on it by the back-end's, and never taken off if these differ. With postcopy-preempt
 * it then waits for them at the end, for ever. Later tables of a connection lie elsewhere: there
 * may still be answers to come for the addresses of the first.
 *
 * Most pages come without being asked for, since the front-end fills the file behind the memory in
 * order. mincore() tells so: for each that is asked for, all its neighbours are looked at too.
 */

#define FLYING  (4 * VU_FETCHER_THREADS) /* so that none of them has to wait for us */
#define QUEUE   8192                     /* a power of two; more will be asked for again */
#define ANSWERS 64                       /* in one go; then others have their turn */
#define ALIGN   (2ull << 20)
#define WORD    64 /* pages that share one */

enum state {
	ADVISED,
	LISTENS,
	TOLD,     /* the table; the front-end is to say that it knows */
	WATCHING, /* the fetcher is to say that faults are watched */
	FETCHES,
};

struct part {
	uint64_t at;    /* of its mapping, in the fetcher */
	uint64_t page;  /* bytes that come at once */
	uint64_t *want; /* as vu_present.word: what was asked for */
};

struct vu_postcopy {
	struct vu_postcopy_events events;
	struct vu_fetch fetch;
	struct loop_watch *command_watch, *touch_watch, *poke_watch;
	int poke; /* eventfd: something that was wanted is there already */
	enum state state;
	uint32_t round; /* number of the table */
	uint64_t next;  /* first address of the fetcher's first room that was never used, but for */
	struct vu_fetcher_room used[VU_REGIONS_MAX]; /* those of the front-end */
	unsigned n_used;
	struct vu_mem *mem;
	struct vu_present present;
	struct part part[VU_REGIONS_MAX];
	uint64_t queue[QUEUE]; /* addresses in the fetcher */
	unsigned head, n;
	uint64_t flying[FLYING]; /* 0: free */
	unsigned n_flying;
};

bool vu_postcopy_is_possible(void)
{
	return vu_fetch_is_possible();
}

int vu_postcopy_fd(const struct vu_postcopy *p)
{
	return p->fetch.uffd;
}

bool vu_postcopy_listen(struct vu_postcopy *p)
{
	if (p->state != ADVISED)
		return false;
	p->state = LISTENS;
	return true;
}

bool vu_postcopy_listens(const struct vu_postcopy *p)
{
	return p->state != ADVISED;
}

bool vu_postcopy_awaits_ack(const struct vu_postcopy *p)
{
	return p->state == TOLD;
}

/* Which of its two sockets tells it first, nobody knows. */
#define HAS_ENDED "the process that fetches its pages has ended; was its memory file cut short?"

static void fail(struct vu_postcopy *p, const char *why)
{
	p->events.failed(p->events.arg, why);
}

/* Asks for what stands in the queue. */
static void pump(struct vu_postcopy *p)
{
	while (p->state == FETCHES && p->n && p->n_flying < FLYING) {
		uint64_t at = p->queue[p->head];
		unsigned i;

		if (send(p->fetch.touch, &at, sizeof(at), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return; /* full, or broken, which the loop tells */
		for (i = 0; p->flying[i]; i++)
			;
		p->flying[i] = at;
		p->n_flying++;
		p->head = (p->head + 1) % QUEUE;
		p->n--;
	}
}

static void on_command(void *arg, uint32_t events)
{
	struct vu_postcopy *p = arg;
	struct vu_fetcher_ready ready;
	ssize_t n = recv(p->fetch.command, &ready, sizeof(ready), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(ready))
		fail(p, HAS_ENDED);
	else if (ready.error)
		fail(p, strerror(ready.error > 0 ? ready.error : EPROTO));
	else if (p->state == WATCHING && ready.round == p->round) {
		p->state = FETCHES;
		pump(p);
	}
}

/* Bits of the page of @size bytes at @off in a mapping of region @i. */
static void set_present(struct vu_postcopy *p, unsigned i, uint64_t off, uint64_t size)
{
	uint64_t bit, end = (off + size) / VU_PAGE, last = p->mem->region[i].map_len / VU_PAGE;

	if (end > last)
		end = last;
	for (bit = off / VU_PAGE; bit < end; bit++)
		__atomic_fetch_or(&p->present.word[i][bit / WORD], 1ull << bit % WORD,
				  __ATOMIC_RELEASE);
}

/* False: nobody asked for it. One of an earlier table is of no use any more. */
static bool has_come(struct vu_postcopy *p, uint64_t at)
{
	unsigned i, j;

	for (j = 0; j < FLYING && p->flying[j] != at; j++)
		;
	if (j == FLYING || !at)
		return false;
	p->flying[j] = 0;
	p->n_flying--;
	for (i = 0; i < p->mem->n; i++)
		if (at - p->part[i].at < p->mem->region[i].map_len)
			set_present(p, i, at - p->part[i].at, p->part[i].page);
	return true;
}

static void on_touch(void *arg, uint32_t events)
{
	struct vu_postcopy *p = arg;
	unsigned done;

	(void)events;
	for (done = 0; done < ANSWERS; done++) {
		uint64_t at;
		ssize_t n = recv(p->fetch.touch, &at, sizeof(at), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n != sizeof(at) || !has_come(p, at)) {
			fail(p, HAS_ENDED);
			return;
		}
	}
	pump(p);
	if (done)
		p->events.arrived(p->events.arg);
}

static void on_poke(void *arg, uint32_t events)
{
	struct vu_postcopy *p = arg;
	eventfd_t n;

	(void)events;
	eventfd_read(p->poke, &n);
	p->events.arrived(p->events.arg);
}

int vu_postcopy_new(struct vu_postcopy **out, struct loop *loop,
		    const struct vu_postcopy_events *events)
{
	struct vu_postcopy *p;
	int ret;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->events = *events;
	p->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->fetch = (struct vu_fetch){.command = -1, .touch = -1, .uffd = -1};
	ret = p->poke < 0 ? -errno : vu_fetch_start(&p->fetch);
	if (ret)
		goto err;
	p->next = p->fetch.room[0].at;
	ret = loop_watch(loop, &p->command_watch, p->fetch.command, EPOLLIN, on_command, p);
	if (!ret)
		ret = loop_watch(loop, &p->touch_watch, p->fetch.touch, EPOLLIN, on_touch, p);
	if (!ret)
		ret = loop_watch(loop, &p->poke_watch, p->poke, EPOLLIN, on_poke, p);
	if (ret)
		goto err;
	*out = p;
	return 0;
err:
	vu_postcopy_free(p);
	return ret;
}

void vu_postcopy_drop_table(struct vu_postcopy *p)
{
	unsigned i;

	if (p->mem)
		p->mem->present = NULL;
	p->mem = NULL;
	for (i = 0; i < VU_REGIONS_MAX; i++) {
		free(p->present.word[i]);
		free(p->part[i].want);
		p->present.word[i] = p->part[i].want = NULL;
	}
	p->n = 0;
}

void vu_postcopy_free(struct vu_postcopy *p)
{
	if (!p)
		return;
	loop_unwatch(p->command_watch);
	loop_unwatch(p->touch_watch);
	loop_unwatch(p->poke_watch);
	if (p->poke >= 0)
		close(p->poke);
	vu_fetch_end(&p->fetch);
	vu_postcopy_drop_table(p);
	free(p);
}

static uint64_t page_of(int fd)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	struct statfs fs;

	if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC && (uint64_t)fs.f_bsize > page)
		page = fs.f_bsize;
	return page;
}

static bool is_in(const struct vu_fetcher_room *room, uint64_t at, uint64_t len)
{
	return at >= room->at && len <= room->len && at - room->at <= room->len - len;
}

/* The range that is used already and that @at is in, or some of the @len bytes there; or NULL. */
static const struct vu_fetcher_room *used_at(const struct vu_postcopy *p, uint64_t at, uint64_t len)
{
	unsigned i;

	for (i = 0; i < p->n_used; i++)
		if (at < p->used[i].at + p->used[i].len && p->used[i].at < at + len)
			return &p->used[i];
	return NULL;
}

/* Whether a part can be where the front-end has it, in the first table. */
static bool same_place(struct vu_postcopy *p, uint64_t at, uint64_t len, uint64_t page)
{
	const struct vu_fetcher_room *first = &p->fetch.room[0];
	unsigned i;

	if (p->round != 1 || p->n_used == VU_REGIONS_MAX || at % page || used_at(p, at, len))
		return false;
	for (i = 0; i < VU_FETCHER_ROOMS && !is_in(&p->fetch.room[i], at, len); i++)
		;
	if (i == VU_FETCHER_ROOMS || (at < p->next && at + len > first->at))
		return false;
	p->used[p->n_used++] = (struct vu_fetcher_room){at, len};
	return true;
}

/* A place that was never used. False: there is none. */
static bool new_place(struct vu_postcopy *p, uint64_t *at, uint64_t len, uint64_t page)
{
	uint64_t align = page > ALIGN ? page : ALIGN;
	const struct vu_fetcher_room *used;

	for (used = NULL;; p->next = used->at + used->len) {
		*at = (p->next + align - 1) & ~(align - 1);
		if (!is_in(&p->fetch.room[0], *at, len))
			return false;
		used = used_at(p, *at, len);
		if (!used)
			break;
	}
	p->next = *at + len;
	return true;
}

static int tell_part(struct vu_postcopy *p, struct vhost_user_region *told, int fd)
{
	const struct vu_region *r = vu_mem_region(p->mem, told->gpa);
	unsigned i = r - p->mem->region; /* the table's order is not the message's */
	uint64_t skip = r->at - (uint8_t *)r->map, pages = r->map_len / VU_PAGE;
	struct part *part = &p->part[i];
	struct vu_fetcher_map map = {.len = r->map_len, .round = p->round};

	part->page = page_of(fd);
	part->at = told->uva - skip;
	if (!same_place(p, part->at, r->map_len, part->page) &&
	    !new_place(p, &part->at, r->map_len, part->page))
		return -ENOSPC;
	p->present.word[i] = calloc(pages / WORD + 1, sizeof(uint64_t));
	part->want = calloc(pages / WORD + 1, sizeof(uint64_t));
	if (!p->present.word[i] || !part->want)
		return -ENOMEM;
	map.at = part->at;
	map.offset = told->mmap_offset - skip;
	told->uva = part->at + skip;
	return vu_fetch_map(&p->fetch, &map, fd);
}

int vu_postcopy_table(struct vu_postcopy *p, struct vu_mem *mem, struct vhost_user_memory *table,
		      const int *fds)
{
	unsigned i;
	int ret;

	vu_postcopy_drop_table(p);
	p->round++;
	p->mem = mem;
	mem->present = &p->present;
	p->state = TOLD;
	for (i = 0; i < mem->n; i++) {
		ret = tell_part(p, &table->region[i], fds[i]);
		if (ret)
			return ret;
	}
	return 0;
}

int vu_postcopy_ack(struct vu_postcopy *p)
{
	struct vu_fetcher_map go = {.round = p->round};

	p->state = WATCHING;
	return vu_fetch_map(&p->fetch, &go, -1);
}

/* Asks the kernel which pages of a word are there. A huge page is, only if it was touched here. */
static uint64_t look(struct vu_postcopy *p, unsigned i, uint64_t bit)
{
	const struct vu_region *r = &p->mem->region[i];
	uint64_t first = bit & ~(WORD - 1ull), n = r->map_len / VU_PAGE - first, mask = 0;
	unsigned char there[WORD];
	unsigned j;

	if (sysconf(_SC_PAGESIZE) != VU_PAGE)
		return 0;
	if (n > WORD)
		n = WORD;
	if (mincore((uint8_t *)r->map + first * VU_PAGE, n * VU_PAGE, there))
		return 0;
	for (j = 0; j < n; j++)
		mask |= (uint64_t)(there[j] & 1) << j;
	return mask;
}

bool vu_postcopy_want(struct vu_postcopy *p, uint64_t gpa)
{
	const struct vu_region *r = p->mem ? vu_mem_region(p->mem, gpa) : NULL;
	uint64_t off, bit, mask, *word, *want;
	struct part *part;
	unsigned i;

	if (!r)
		return true;
	i = r - p->mem->region;
	part = &p->part[i];
	off = (r->at - (uint8_t *)r->map) + (gpa - r->gpa);
	off &= ~(part->page - 1);
	bit = off / VU_PAGE;
	mask = 1ull << bit % WORD;
	word = &p->present.word[i][bit / WORD];
	if (*word & mask)
		return true;
	if (__atomic_or_fetch(word, look(p, i, bit), __ATOMIC_RELEASE) & mask)
		return true;
	want = &part->want[bit / WORD];
	if (*want & mask || p->n == QUEUE)
		return false;
	*want |= mask;
	p->queue[(p->head + p->n++) % QUEUE] = part->at + off;
	pump(p);
	return false;
}

void vu_postcopy_poke(struct vu_postcopy *p)
{
	eventfd_write(p->poke, 1);
}
