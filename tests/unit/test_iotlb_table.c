/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of a guest's IOMMU: what it says of each byte after any updates and invalidations. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "vhost_user.h"
#include "vm/vu_iotlb.h"

#define PAGE  VU_IOTLB_PAGE
#define RO    VHOST_USER_ACCESS_RO
#define RW    (VHOST_USER_ACCESS_RO | VHOST_USER_ACCESS_WO)
#define PAGES 64

static uint32_t mix = 1;

static unsigned pick(unsigned n)
{
	mix = mix * 1664525 + 1013904223;
	return (mix >> 8) % n;
}

static void check_all(const struct vu_iotlb *tlb, const struct vu_iotlb_entry *want)
{
	unsigned i, bad = 0;

	for (i = 0; i < tlb->table->n; i++)
		bad += tlb->table->entry[i].last < tlb->table->entry[i].iova ||
		       (i && tlb->table->entry[i].iova <= tlb->table->entry[i - 1].last);
	for (i = 0; i < PAGES; i++) {
		uint64_t at = i * PAGE + pick(PAGE);
		const struct vu_iotlb_entry *e = vu_iotlb_find(tlb, at);

		if (!e || !want[i].perm)
			bad += e || want[i].perm;
		else
			bad += e->perm != want[i].perm ||
			       e->uva + (at - e->iova) != want[i].uva + at % PAGE;
	}
	CU_ASSERT_EQUAL_FATAL(bad, 0);
}

/* Against an array that has a word for each page. */
static void test_reference(void)
{
	struct vu_iotlb_entry want[PAGES] = {0};
	struct vu_iotlb *tlb = NULL;
	unsigned i, k;

	CU_ASSERT_EQUAL_FATAL(vu_iotlb_new(&tlb), 0);
	for (i = 0; i < 20000; i++) {
		unsigned from = pick(PAGES), n = 1 + pick(PAGES - from), changed = 0;
		/* few places, so that neighbours often continue each other */
		uint64_t uva = pick(3) ? (from + 100) * PAGE : pick(500) * PAGE;
		uint8_t perm = 1 + pick(3);
		struct vu_iotlb_entry new = {from * PAGE, (from + n) * PAGE - 1, uva, perm};
		bool told = false;

		n = pick(4) ? 1 + pick(n < 4 ? n : 4) : n;
		new.last = (from + n) * PAGE - 1;
		if (pick(3)) {
			for (k = 0; k < n; k++) {
				struct vu_iotlb_entry *w = &want[from + k];

				changed |= w->perm && (w->uva != uva + k * PAGE || w->perm & ~perm);
				*w = (struct vu_iotlb_entry){.uva = uva + k * PAGE, .perm = perm};
			}
			CU_ASSERT_EQUAL(vu_iotlb_update(tlb, &new, &told), 0);
			CU_ASSERT_EQUAL(told, changed);
		} else {
			memset(want + from, 0, n * sizeof(*want));
			CU_ASSERT_EQUAL(vu_iotlb_invalidate(tlb, new.iova, new.last), 0);
		}
		check_all(tlb, want);
	}
	CU_ASSERT_EQUAL(vu_iotlb_invalidate(tlb, 0, UINT64_MAX), 0);
	CU_ASSERT_EQUAL(tlb->table->n, 0);
	vu_iotlb_settle(tlb);
	vu_iotlb_free(tlb);
	vu_iotlb_free(NULL);
}

/* Both ends of the address space, and more entries than there is room for. */
static void test_limits(void)
{
	struct vu_iotlb_entry e = {UINT64_MAX - PAGE + 1, UINT64_MAX, 0, RW};
	struct vu_iotlb *tlb = NULL;
	bool changed;
	unsigned i, missing = 0;

	CU_ASSERT_EQUAL_FATAL(vu_iotlb_new(&tlb), 0);
	CU_ASSERT_EQUAL(vu_iotlb_update(tlb, &e, &changed), 0);
	CU_ASSERT_PTR_NOT_NULL(vu_iotlb_find(tlb, UINT64_MAX));
	CU_ASSERT_PTR_NULL(vu_iotlb_find(tlb, UINT64_MAX - PAGE));
	e = (struct vu_iotlb_entry){0, UINT64_MAX, 0, RO};
	CU_ASSERT_EQUAL(vu_iotlb_update(tlb, &e, &changed), 0);
	CU_ASSERT(changed && tlb->table->n == 1);
	CU_ASSERT_EQUAL(vu_iotlb_invalidate(tlb, PAGE, UINT64_MAX - PAGE), 0);
	CU_ASSERT_EQUAL(tlb->table->n, 2);
	CU_ASSERT(vu_iotlb_find(tlb, 0) && !vu_iotlb_find(tlb, PAGE) &&
		  vu_iotlb_find(tlb, UINT64_MAX));
	/* nearly full; by hand, since each entry costs a copy */
	free(tlb->table);
	tlb->table = malloc(sizeof(*tlb->table) + VU_IOTLB_MAX * sizeof(e));
	for (i = 0; i < VU_IOTLB_MAX - 100; i++)
		tlb->table->entry[i] = (struct vu_iotlb_entry){4 * i * PAGE, 4 * i * PAGE, 0, RW};
	tlb->table->n = i;
	for (i = 0; i < 400; i++) {
		uint64_t iova = 4 * PAGE * (i * 7919 % VU_IOTLB_MAX) + 2 * PAGE;

		e = (struct vu_iotlb_entry){iova, iova + PAGE - 1, i * PAGE, RW};
		CU_ASSERT_EQUAL(vu_iotlb_update(tlb, &e, &changed), 0);
		missing += vu_iotlb_find(tlb, iova + 5)->uva != e.uva;
	}
	CU_ASSERT_EQUAL(missing, 0);
	CU_ASSERT_EQUAL(tlb->table->n, VU_IOTLB_MAX);
	vu_iotlb_free(tlb);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"reference", test_reference},
		{"limits", test_limits},
		{NULL, NULL},
	};

	return check_main("iotlb_table", tests, argc, argv);
}
