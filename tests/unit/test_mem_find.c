/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Translation of guest addresses alone: against a plain reference, at every boundary. */
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "vm/vu_mem.h"

/*
 * Address space of PAGES pages of guest physical addresses; each is in a region, or is not, and has
 * come, or has not. What the reference says of a byte, a cursor must say, whatever it was asked
 * before, and no piece may go beyond what the reference has in one piece.
 */
#define PAGE    VU_PAGE
#define PAGES   400
#define BEGIN   0x7fff0000ull /* of the addresses */
#define ROUNDS  40
#define LOOKUPS 3000

struct model {
	struct vu_mem *mem;
	struct vu_present present;
	uint8_t *at[PAGES]; /* where a page is; NULL: no region has it */
	bool come[PAGES];
	int fd;
};

static uint32_t mix = 7;

static unsigned pick(unsigned n)
{
	mix = mix * 1664525 + 1013904223;
	return (mix >> 8) % n;
}

/* Regions of random sizes, some side by side, each somewhere else in the file. */
static void model_new(struct model *m, bool migrates)
{
	unsigned page = pick(5), i, k;

	memset(m, 0, sizeof(*m));
	m->fd = memfd_create("guest", MFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(ftruncate(m->fd, PAGES * PAGE), 0);
	while (page < PAGES - 30) {
		unsigned n = 1 + pick(30), at = pick(PAGES - n);
		struct vhost_user_region r = {BEGIN + page * PAGE, n * PAGE,
					      (1ull << 40) + page * PAGE, at * PAGE};
		struct vu_mem *next = NULL;

		if (m->mem && m->mem->n == VU_REGIONS_MAX)
			break;
		CU_ASSERT_EQUAL_FATAL(vu_mem_add(&next, m->mem, &r, m->fd), 0);
		vu_mem_free(m->mem);
		m->mem = next;
		page += n + (pick(2) ? pick(9) : 0);
	}
	for (i = 0; i < m->mem->n; i++) {
		const struct vu_region *r = &m->mem->region[i];
		unsigned first = (r->gpa - BEGIN) / PAGE;

		if (migrates)
			m->present.word[i] = calloc(r->size / PAGE / 64 + 1, 8);
		for (k = 0; k < r->size / PAGE; k++) {
			m->at[first + k] = r->at + k * PAGE;
			m->come[first + k] = !migrates || pick(3);
			if (migrates && m->come[first + k])
				m->present.word[i][k / 64] |= 1ull << k % 64;
		}
	}
	m->mem->present = migrates ? &m->present : NULL;
}

static void model_free(struct model *m)
{
	unsigned i;

	for (i = 0; i < m->mem->n; i++)
		free(m->present.word[i]);
	vu_mem_free(m->mem);
	close(m->fd);
}

/* Where a byte is; NULL: nowhere, and *@absent if it will come. */
static uint8_t *byte(const struct model *m, uint64_t gpa, bool *absent)
{
	uint64_t page = (gpa - BEGIN) / PAGE;

	*absent = false;
	if (gpa < BEGIN || page >= PAGES || !m->at[page])
		return NULL;
	*absent = !m->come[page];
	return *absent ? NULL : m->at[page] + gpa % PAGE;
}

static bool is_right(const struct model *m, struct vu_cursor *c, uint64_t gpa, uint32_t want)
{
	uint32_t len = want, i;
	uint8_t *at = vu_mem_gpa(m->mem, c, gpa, &len), *first;
	bool absent;

	first = byte(m, gpa, &absent);
	if (!first || !want)
		return !at && (!want || !!c->absent == absent) &&
		       (!absent || !want || (c->absent ^ gpa) <= VU_ABSENT_MASK);
	if (at != first || !len || len > want)
		return false;
	/* all of it is there, and whatever comes behind it is elsewhere */
	for (i = 0; i < len; i += i + PAGE < len ? PAGE : len - i)
		if (byte(m, gpa + i, &absent) != at + i)
			return false;
	if (byte(m, gpa + len - 1, &absent) != at + len - 1)
		return false;
	return len == want || byte(m, gpa + len, &absent) != at + len ||
	       vu_mem_region(m->mem, gpa) != vu_mem_region(m->mem, gpa + len);
}

static void compare(bool migrates)
{
	static const int off[] = {-17, -16, -1, 0, 1};
	struct vu_cursor c = {0}, fresh;
	unsigned i, k, j, wrong = 0;
	struct model m;

	for (i = 0; i < ROUNDS; i++) {
		model_new(&m, migrates);
		memset(&c, 0, sizeof(c));
		for (k = 0; k < LOOKUPS; k++)
			wrong += !is_right(&m, &c, BEGIN - PAGE + pick((PAGES + 2) * PAGE),
					   pick(4) ? pick(100) : pick(40 * PAGE));
		for (k = 0; k <= PAGES; k++) {
			for (j = 0; j < sizeof(off) / sizeof(*off); j++) {
				memset(&fresh, 0, sizeof(fresh));
				wrong += !is_right(&m, &fresh, BEGIN + k * PAGE + off[j], 32);
				wrong += !is_right(&m, &c, BEGIN + k * PAGE + off[j], UINT32_MAX);
			}
		}
		wrong += !is_right(&m, &c, 0, 1) + !is_right(&m, &c, UINT64_MAX, 1) +
			 !is_right(&m, &c, UINT64_MAX - 15, UINT32_MAX);
		model_free(&m);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_regions(void)
{
	compare(false);
}

static void test_pages_to_come(void)
{
	compare(true);
}

/* A run of pages is looked at for a bounded time, and found whole where it is short enough. */
static void test_long_run(void)
{
	const uint64_t pages = 64 * 200;
	struct vhost_user_region r = {0, pages * PAGE - 100, 1ull << 40, 100};
	struct vu_present present = {0};
	struct vu_window w;
	struct vu_mem *mem = NULL;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, pages * PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(vu_mem_add(&mem, NULL, &r, fd), 0);
	close(fd);
	present.word[0] = malloc(pages / 8);
	memset(present.word[0], 0xff, pages / 8);
	mem->present = &present;
	CU_ASSERT_TRUE(vu_mem_find(mem, 100 * 64 * PAGE, false, &w));
	CU_ASSERT(w.size > 60 * 64 * PAGE && w.size < 70 * 64 * PAGE);
	CU_ASSERT(w.gpa <= 100 * 64 * PAGE && w.at == mem->region[0].at + w.gpa);
	/* both ends, at an offset that is no page's */
	CU_ASSERT_TRUE(vu_mem_find(mem, 0, false, &w));
	CU_ASSERT(w.gpa == 0 && w.at == mem->region[0].at);
	CU_ASSERT_TRUE(vu_mem_find(mem, r.size - 1, false, &w));
	CU_ASSERT_EQUAL(w.gpa + w.size, r.size);
	present.word[0][0] = ~1ull; /* the first page, of which the region has all but 100 bytes */
	CU_ASSERT_FALSE(vu_mem_find(mem, PAGE - 101, true, &w));
	CU_ASSERT_EQUAL(w.absent, ((PAGE - 101) & ~VU_ABSENT_MASK) | VU_ABSENT | VU_ABSENT_WRITE);
	CU_ASSERT_TRUE(vu_mem_find(mem, PAGE - 100, true, &w));
	CU_ASSERT_EQUAL(w.gpa, PAGE - 100);
	free(present.word[0]);
	vu_mem_free(mem);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"regions", test_regions},
		{"pages_to_come", test_pages_to_come},
		{"long_run", test_long_run},
		{NULL, NULL},
	};

	return check_main("mem_find", tests, argc, argv);
}
