/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Plain chains, which are looked at ahead: the same checks as for any other, at their edges. */
#include "vq_rig.h"

#define LEN  200
#define RING 16

static uint8_t pattern[12 + LEN];

/* Writes to guest memory, across regions that are neighbours there and not here. */
static void guest_write(struct rig *r, uint64_t gpa, const uint8_t *from, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		*(uint8_t *)rig_at(r, gpa + i) = from[i];
}

static bool guest_has(struct rig *r, uint64_t gpa, const uint8_t *bytes, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (*(uint8_t *)rig_at(r, gpa + i) != bytes[i])
			return false;
	return true;
}

static void make_pattern(void)
{
	rig_fill(pattern + 12, LEN, 7);
	memset(pattern, 0, 12);
}

/* Whatever was found there last: a frame that passes its region's end is read from both. */
static void test_in_crosses(void)
{
	const uint64_t at[] = {RIG_DATA, RIG_NEXT - 30, RIG_DATA + 4096, RIG_NEXT - LEN - 11,
			       RIG_NEXT - LEN - 12};
	struct rig *r = rig_new(RING, RIG_V1, 0);
	static uint8_t got[FRAME_MAX];
	uint32_t len;
	unsigned i;

	make_pattern();
	for (i = 0; i < 5; i++) {
		guest_write(r, at[i], pattern, sizeof(pattern));
		rig_desc(r->desc, i, at[i], sizeof(pattern), 0, 0);
		rig_offer(r, i);
		CU_ASSERT_EQUAL(rig_in(r), 1);
		CU_ASSERT_FATAL(r->b.n == 1 && rig_read_frame(&r->b, 0, got, &len));
		CU_ASSERT(len == LEN && !memcmp(got, pattern + 12, LEN));
		vq_split_done(r->q);
	}
	CU_ASSERT_FALSE(r->q->broken);
	rig_free(r);
}

static void test_out_crosses(void)
{
	const uint64_t at[] = {RIG_DATA, RIG_NEXT - 30, RIG_DATA + 4096, RIG_NEXT - LEN - 11,
			       RIG_NEXT - LEN - 12};
	struct rig *r = rig_new(RING, RIG_V1, 0);
	unsigned i;

	make_pattern();
	pattern[10] = 1; /* num_buffers */
	for (i = 0; i < 5; i++) {
		rig_desc(r->desc, i, at[i], sizeof(pattern), VRING_DESC_F_WRITE, 0);
		rig_offer(r, i);
		r->b.n = r->b.n_pieces = 0;
		rig_make_frame(r, pattern + 12, LEN, 1);
		CU_ASSERT_EQUAL(rig_out(r), 1);
		CU_ASSERT(guest_has(r, at[i], pattern, sizeof(pattern)));
	}
	CU_ASSERT_FALSE(r->q->broken);
	rig_free(r);
}

/* And a buffer behind which there is nothing breaks the ring, before a byte is touched. */
static void test_beyond(bool in)
{
	const uint64_t end = RIG_NEXT + RIG_NEXT_SIZE;
	struct rig *r = rig_new(RING, RIG_V1, 0);
	const uint64_t at[] = {RIG_DATA, end - sizeof(pattern) + 1};
	unsigned i;

	make_pattern();
	for (i = 0; i < 2; i++) {
		rig_desc(r->desc, i, at[i], sizeof(pattern), in ? 0 : VRING_DESC_F_WRITE, 0);
		rig_offer(r, i);
	}
	if (in) {
		CU_ASSERT_EQUAL(rig_in(r), 1);
	} else {
		rig_make_frame(r, pattern + 12, LEN, 1);
		rig_make_frame(r, pattern + 12, LEN, 1);
		CU_ASSERT_EQUAL(rig_out(r), 1);
	}
	CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_ADDRESS);
	rig_free(r);
}

static void test_in_beyond(void)
{
	test_beyond(true);
}

static void test_out_beyond(void)
{
	test_beyond(false);
}

/*
 * A head that is the ring's size: behind the table lies the available ring, which can be made to
 * read as the descriptor of a buffer that exists.
 */
static void test_head_beyond(bool in)
{
	struct rig *r = rig_new(RING, RIG_V1, 0xff);
	const uint16_t flags = in ? 0 : VRING_DESC_F_WRITE;

	make_pattern();
	rig_desc(r->desc, 0, RIG_DATA, sizeof(pattern), flags, 0);
	r->avail->ring[0] = r->avail->ring[1] = r->avail->ring[3] = 0;
	r->avail->ring[2] = sizeof(pattern);
	r->avail->ring[4] = flags;
	rig_offer(r, RING); /* the index is 0x100 then, and the address 0x1000000 */
	if (in) {
		CU_ASSERT_EQUAL(rig_in(r), 0);
	} else {
		rig_make_frame(r, pattern + 12, LEN, 1);
		CU_ASSERT_EQUAL(rig_out(r), 0);
	}
	CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_HEAD);
	rig_free(r);
}

static void test_in_head(void)
{
	test_head_beyond(true);
}

static void test_out_head(void)
{
	test_head_beyond(false);
}

/* An eventfd that comes late is used for the next frame, whatever index was asked for until then.
 */
static void test_late_call(void)
{
	struct rig *r = rig_new(RING, RIG_V1 | RIG_EVENT, 0);
	unsigned i;

	make_pattern();
	r->avail->ring[RING] = 1; /* used_event: passed while there is nobody to call */
	for (i = 0; i < 5; i++) {
		rig_desc(r->desc, i, RIG_DATA + i * 4096, 1024, VRING_DESC_F_WRITE, 0);
		rig_offer(r, i);
		r->q->call_fd = i % 4 ? -1 : r->call_fd;
		r->b.n = r->b.n_pieces = 0;
		rig_make_frame(r, pattern + 12, LEN, 1);
		CU_ASSERT_EQUAL(rig_out(r), 1);
	}
	CU_ASSERT_EQUAL(rig_calls(r), 2);
	rig_free(r);
}

static const struct check tests[] = {
	{"in_crosses", test_in_crosses}, {"out_crosses", test_out_crosses},
	{"in_beyond", test_in_beyond},   {"out_beyond", test_out_beyond},
	{"in_head", test_in_head},       {"out_head", test_out_head},
	{"late_call", test_late_call},   {},
};

int main(int argc, char **argv)
{
	return check_main("vq_plain", tests, argc, argv);
}
