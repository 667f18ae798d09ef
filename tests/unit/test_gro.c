/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* GRO: what is joined, what isn't, and that cutting it again gives what came. */
#include "check.h"
#include "unit/gro_rig.h"

static struct spec plain(bool v6)
{
	return (struct spec){.v6 = v6,
			     .ttl = 64,
			     .df = true,
			     .id = 65530,
			     .seq = 0xfffff000,
			     .ack = 77,
			     .flags = ACK,
			     .window = 500,
			     .opts = 12,
			     .opt = 1,
			     .payload = 1448,
			     .pieces = 1};
}

static void next(struct spec *s)
{
	s->seq += s->payload;
	s->id++;
}

/* @n frames of one flow, of which @change may make frame @k different; true: all as it should be,
 * and @left frames of it. */
static bool row(unsigned n, bool v6, void (*change)(struct spec *s, unsigned k), unsigned left)
{
	struct spec s = plain(v6), one;
	unsigned k;

	begin();
	for (k = 0; k < n; k++) {
		one = s;
		if (change)
			change(&one, k);
		add(&one);
		next(&s);
	}
	if (!run(TSO_ECN))
		return false;
	if (b.n != left)
		printf("--- %u frames, not %u\n", b.n, left);
	return b.n == left;
}

static void test_long(void)
{
	bool v6;

	for (v6 = false;; v6 = true) {
		CU_ASSERT(row(1, v6, NULL, 1));
		CU_ASSERT(row(2, v6, NULL, 1));
		CU_ASSERT(row(45, v6, NULL, 1)); /* 65,212 bytes of IP */
		CU_ASSERT(row(46, v6, NULL, 2));
		CU_ASSERT(row(200, v6, NULL, 5));
		if (v6)
			break;
	}
}

#define CHANGE(name, what)                                                                         \
	static void name(struct spec *s, unsigned k)                                               \
	{                                                                                          \
		if (k == 2) {                                                                      \
			what;                                                                      \
		}                                                                                  \
	}

CHANGE(other_tos, s->tos = 4)
CHANGE(other_ttl, s->ttl--)
CHANGE(other_df, s->df = false)
CHANGE(other_id, s->id += 5)
CHANGE(same_id, s->id -= 2)
CHANGE(other_ack, s->ack++)
CHANGE(other_window, s->window++)
CHANGE(other_urged, s->urged++)
CHANGE(other_opt, s->opt = 2)
CHANGE(other_opts, s->opts = 8)
CHANGE(gap, s->seq++)
CHANGE(again, s->seq -= 1448)
CHANGE(has_ece, s->flags |= ECE)
CHANGE(has_syn, s->flags |= SYN)
CHANGE(has_rst, s->flags |= RST)
CHANGE(has_urg, s->flags |= URG)
CHANGE(has_psh, s->flags |= PSH)
CHANGE(has_fin, s->flags |= FIN)
CHANGE(has_cwr, s->flags |= CWR)
CHANGE(longer, s->payload++)
CHANGE(shorter, s->payload--)
CHANGE(pure_ack, s->payload = 0)
CHANGE(bad_sum, s->odd = ODD_CSUM)
CHANGE(bad_ip_sum, s->odd = ODD_IP_CSUM)
CHANGE(padded, s->odd = ODD_PADDED)
CHANGE(truncated, s->odd = ODD_CUT)
CHANGE(extended, s->odd = ODD_EXTENSION)
CHANGE(fragment, s->odd = ODD_FRAGMENT)
CHANGE(no_header, s->odd = ODD_OFFSET)
CHANGE(udp, s->odd = ODD_UDP)
CHANGE(tagged, s->tags = 1)
CHANGE(in_pieces, s->pieces = 3)

/* Of five frames the third is different. What is left: IPv4, IPv6. */
static void test_differ(void)
{
	static const struct {
		void (*change)(struct spec *s, unsigned k);
		unsigned left4, left6;
	} table[] = {
		{other_tos, 3, 3},    {other_ttl, 3, 3}, {other_df, 3, 1},  {other_id, 3, 1},
		{same_id, 3, 1},      {other_ack, 3, 3}, {other_opt, 3, 3}, {other_opts, 3, 3},
		{other_window, 3, 3}, {gap, 3, 3},       {again, 3, 3},     {other_urged, 3, 3},
		{has_ece, 3, 3},      {has_syn, 3, 3},   {has_rst, 3, 3},   {has_urg, 3, 3},
		{has_psh, 2, 2},      {has_fin, 2, 2},   {has_cwr, 2, 2},   {longer, 3, 3},
		{shorter, 2, 2},      {pure_ack, 3, 3},  {bad_sum, 3, 3},   {bad_ip_sum, 3, 3},
		{padded, 3, 3},       {truncated, 3, 3}, {extended, 3, 3},  {fragment, 3, 3},
		{no_header, 3, 3},    {udp, 3, 3},       {tagged, 3, 3},    {in_pieces, 1, 1},
	};
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool ok = row(5, false, table[i].change, table[i].left4) &&
			  row(5, true, table[i].change, table[i].left6);

		if (!ok)
			printf("--- row %u of the table\n", i);
		CU_ASSERT(ok);
	}
}

/* Frames to a destination that doesn't take them joined stay as they are. */
static void test_takes(void)
{
	static const uint32_t takes[] = {0,
					 OFFLOAD_CSUM,
					 OFFLOAD_CSUM | OFFLOAD_TSO4,
					 OFFLOAD_CSUM | OFFLOAD_TSO6 | OFFLOAD_ECN,
					 TSO,
					 TSO_ECN};
	static const unsigned left[] = {9, 9, 6, 5, 3, 2};
	struct spec s;
	unsigned i, k;

	for (i = 0; i < 6; i++) {
		begin();
		s = plain(false);
		for (k = 0; k < 4; k++, next(&s))
			add(&s);
		s = plain(true);
		s.flags |= CWR;
		for (k = 0; k < 5; k++, next(&s)) {
			add(&s);
			s.flags = ACK;
		}
		CU_ASSERT(run(takes[i]));
		CU_ASSERT_EQUAL(b.n, left[i]);
	}
}

/* IDs that stay the same, where DF allows it, and where not. */
static void test_fixed_id(void)
{
	struct spec s = plain(false);
	unsigned k;

	for (s.df = false;; s.df = true) {
		begin();
		for (k = 0; k < 4; k++, s.seq += s.payload)
			add(&s);
		CU_ASSERT(run(TSO));
		CU_ASSERT_EQUAL(b.n, s.df ? 1 : 4);
		if (s.df)
			break;
	}
}

/* @n frames of @payload bytes behind @tags: together one byte or more too long. */
static bool too_long(unsigned n, uint16_t payload, unsigned tags)
{
	struct spec s = plain(false);
	unsigned k;

	begin();
	s.payload = payload;
	s.tags = tags;
	s.opts = 0;
	for (k = 0; k < n; k++, next(&s))
		add(&s);
	return run(TSO) && b.n == 2;
}

/* What an IP header can say, and what a frame may have. */
static void test_too_long(void)
{
	CU_ASSERT(too_long(21, 3119, 0)); /* 65,539 bytes of IP in 65,553 */
	CU_ASSERT(too_long(26, 2519, 2)); /* 65,534 bytes of IP in 65,556 */
}

/* Segments that would follow each other if their header lengths, under 20, were to be believed. */
static void test_short_headers(void)
{
	struct spec s = plain(false);
	unsigned k;

	begin();
	s.odd = ODD_OFFSET;
	for (k = 0; k < 4; k++, s.id++, s.seq += s.payload + s.opts + 4)
		add(&s);
	CU_ASSERT(run(TSO));
	CU_ASSERT_EQUAL(b.n, 4);
}

/* TCP options that go on in a second piece; other addresses of the link, under one IP flow. */
static void test_apart(void)
{
	struct spec s = plain(false);
	unsigned k, split;
	struct piece *p;

	for (split = 0; split < 2; split++) {
		begin();
		for (k = 0; k < 4; k++, next(&s)) {
			add(&s);
			p = &b.piece[b.n_pieces - 1];
			if (split) {
				p[1] = (struct piece){p->at + 26, p->len - 26};
				p->len = 26;
				b.n_pieces++;
				b.frame[k].shape.n_pieces = 2;
			} else {
				((uint8_t *)p->at - FRAME_HEAD)[5] = k;
				b.frame[k].head[FRAME_HEAD_ROOM + 5] = k;
			}
		}
		CU_ASSERT_EQUAL(gro_join(&b, 0, TSO), 0);
		CU_ASSERT_EQUAL(b.n, 4);
	}
}

/* No room for pieces any more, and more flows than are held. */
static void test_full(void)
{
	struct spec s = plain(false);
	unsigned k;

	begin();
	s.pieces = 6;
	s.payload = 300;
	for (k = 0; k < BATCH_FRAMES; k++, next(&s))
		add(&s);
	CU_ASSERT(run_loosely(TSO));
	CU_ASSERT(b.n < 200 && b.n > 100);
	begin();
	s.pieces = 1;
	for (k = 0; k < BATCH_FRAMES; k++) {
		s.flow = k % 100;
		s.seq = k / 100 * s.payload;
		s.id = k / 100;
		add(&s);
	}
	CU_ASSERT(run_loosely(TSO));
	CU_ASSERT(b.n < 256 && b.n >= 100);
}

/* ---- at random ---- */

static uint64_t mix;

static uint32_t any(uint32_t n)
{
	mix = mix * 6364136223846793005ull + 1442695040888963407ull;
	return (mix >> 33) % n;
}

static void spoil(struct spec *s)
{
	switch (any(14)) {
	case 0:
		s->flags ^= 1 << any(8);
		break;
	case 1:
		s->flags |= any(2) ? PSH : CWR;
		break;
	case 2:
		s->payload += any(2) || !s->payload ? 1 : -1;
		break;
	case 3:
		s->payload = any(2) ? 0 : any(s->payload + 1);
		break;
	case 4:
		s->seq += any(3) - 1;
		break;
	case 5:
		s->id += any(3) - 1;
		break;
	case 6:
		s->ack++;
		break;
	case 7:
		s->opts = any(11) * 4;
		s->opt = any(2);
		break;
	case 8:
		s->tos ^= any(2);
		s->ttl ^= any(2);
		break;
	case 9:
		s->df = any(2);
		break;
	case 10:
		s->window ^= any(2);
		s->urged ^= any(2);
		break;
	default:
		s->odd = any(ODD_MAX);
	}
}

static void random_batch(void)
{
	unsigned n = any(4) ? any(60) : any(BATCH_FRAMES + 1), flows = 1 + any(8), i;
	unsigned defects = any(40), now = 0, pieces = n > 100 ? 3 : 5;
	struct spec flow[8], s;

	begin();
	for (i = 0; i < flows; i++) {
		flow[i] = plain(any(2));
		flow[i].flow = i;
		flow[i].tags = any(3);
		flow[i].df = any(3);
		flow[i].payload = any(8) ? 1 + any(300) : 1 + any(8900);
		flow[i].opts = any(11) * 4;
		flow[i].pieces = any(3) ? 1 : 1 + any(pieces);
		flow[i].flags |= any(8) ? 0 : 1 << any(8);
	}
	for (i = 0; i < n; i++) {
		now = any(3) ? now : any(flows);
		s = flow[now];
		if (any(100) < defects)
			spoil(&s);
		add(&s);
		next(any(3) ? &flow[now] : &s);
		if (!any(10))
			flow[now] = s;
		flow[now].seq = s.seq + (s.seq == flow[now].seq ? s.payload : 0);
		flow[now].odd = ODD_NONE;
	}
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BATCHES 1000
#else
#define BATCHES 5000
#endif

static void test_property(void)
{
	static const uint32_t takes[] = {TSO, TSO_ECN, TSO_ECN, OFFLOAD_TSO4 | OFFLOAD_CSUM};
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 4;
	unsigned i, frames = 0;
	uint64_t was;

	mix = seed;
	joined_frames = valid_frames = fixed_ids = 0;
	for (i = 0; i < BATCHES; i++) {
		was = mix;
		random_batch();
		frames += b.n;
		if (run_from(any(4) ? 0 : any(b.n + 1), takes[any(4)]))
			continue;
		printf("--- batch %u: SEED=%llu\n", i, (unsigned long long)was);
		CU_FAIL("differs");
		break;
	}
	printf("--- seed %llu: %u frames, %u joined (%u with one IP ID), %u valid alone\n",
	       (unsigned long long)seed, frames, joined_frames, fixed_ids, valid_frames);
	CU_ASSERT(joined_frames > frames / 20 && valid_frames > 10 && fixed_ids > 10);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"long", test_long},         {"differ", test_differ},
		{"takes", test_takes},       {"fixed_id", test_fixed_id},
		{"too_long", test_too_long}, {"short_headers", test_short_headers},
		{"apart", test_apart},       {"full", test_full},
		{"property", test_property}, {},
	};

	return check_main("gro", tests, argc, argv);
}
