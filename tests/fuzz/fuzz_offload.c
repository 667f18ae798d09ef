/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames with any virtio-net header: checked, then cut into memory of random pieces. */
#include "fuzz/fuzz.h"
#include "offload/cutter.h"

/*
 * Input: the offload as it lies in a virtio-net header, what may be asked and what is taken, how
 * long pieces and spans are (16 bits each, 0: all in one), then the frame. Pieces and spans are
 * allocations of their own, so that AddressSanitizer knows their ends. After the check the pieces'
 * first bytes change, as a guest can do.
 */
#define MEMORY_MAX 64

static void *memory[2 * MEMORY_MAX];
static unsigned n_memory;

static uint8_t *get_memory(uint32_t n)
{
	void *at = malloc(n ? n : 1);

	if (!at)
		abort();
	memory[n_memory++] = at;
	return at;
}

static void drop_memory(unsigned from)
{
	while (n_memory > from)
		free(memory[--n_memory]);
}

static void lend(struct batch *b, struct fuzz_input *in, uint32_t each)
{
	struct frame *f = &b->frame[0];
	uint32_t at, n;

	f->len = in->left < FRAME_MAX ? in->left : FRAME_MAX;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = f->len < FRAME_HEAD ? f->len : FRAME_HEAD;
	f->piece = 0;
	fuzz_take(in, f->head + FRAME_HEAD_ROOM, f->shape.head_len);
	b->n = 1;
	b->n_pieces = 0;
	for (at = f->shape.head_len; at < f->len; at += n) {
		n = each;
		if (!n || n > f->len - at || b->n_pieces == MEMORY_MAX - 1)
			n = f->len - at;
		b->piece[b->n_pieces] = (struct piece){get_memory(n), n};
		fuzz_take(in, (uint8_t *)b->piece[b->n_pieces++].at, n);
	}
	f->shape.n_pieces = b->n_pieces;
}

static void check_promises(const struct batch *b, const struct frame *f)
{
	const struct frame_offload *o = &f->offload;
	static const struct frame_offload none;

	(void)b;
	if (offload_is_none(f)) {
		FUZZ_CHECK(!memcmp(o, &none, sizeof(none)));
		return;
	}
	FUZZ_CHECK(o->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM);
	FUZZ_CHECK(o->csum_start >= OFFLOAD_AT_MIN);
	FUZZ_CHECK(o->csum_start + o->csum_offset + 2u <= f->len);
	FUZZ_CHECK(o->csum_start + o->csum_offset + 2 <= OFFLOAD_HDR_MAX);
	if (!o->gso_type)
		return;
	FUZZ_CHECK(o->gso_size && o->hdr_len > o->csum_start);
	FUZZ_CHECK(o->hdr_len <= OFFLOAD_HDR_MAX && o->hdr_len <= f->len);
}

static void write_cut(struct cutter *c, uint32_t each)
{
	struct span span[MEMORY_MAX];
	unsigned n_before = n_memory, i;
	uint32_t at, n;

	for (at = i = 0; at < c->len; at += n, i++) {
		n = each;
		if (!n || n > c->len - at || i == MEMORY_MAX - 1)
			n = c->len - at;
		span[i] = (struct span){get_memory(n), n};
	}
	cutter_write(c, span, i);
	drop_memory(n_before);
}

static void cut(const struct batch *b, const struct frame *f, uint32_t takes, uint32_t each)
{
	bool whole = offload_fits(b, f, takes), gso = f->offload.gso_type;
	struct frame left = *f;
	uint32_t longest = 0;
	struct cutter c;
	unsigned n;

	cutter_open(&c, b, f, takes);
	for (n = 0; cutter_next(&c); n++) {
		longest = c.len > longest ? c.len : longest;
		left.offload = c.offload;
		FUZZ_CHECK(offload_fits(b, &left, takes));
		if (n % 7 != 6)
			write_cut(&c, each);
	}
	FUZZ_CHECK(n >= 1 && n <= OFFLOAD_CUTS_MAX && (n == 1 || (gso && !whole)));
	FUZZ_CHECK(longest == (whole ? f->len : offload_cut_len(f)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct batch b;
	struct fuzz_input in = {data, size};
	struct frame *f = &b.frame[0];
	uint32_t asked, takes, pieces, spans;
	unsigned i;

	memset(f, 0, sizeof(*f));
	fuzz_take(&in, &f->offload, sizeof(f->offload));
	asked = fuzz_take_u8(&in);
	takes = fuzz_take_u8(&in);
	pieces = fuzz_take_u16(&in);
	spans = fuzz_take_u16(&in);
	if (in.left < FRAME_MIN)
		return 0;
	lend(&b, &in, pieces);
	if (offload_check(&b, f, asked)) {
		check_promises(&b, f);
		cut(&b, f, takes, spans);
		cut(&b, f, 0, spans);
		for (i = 0; i < b.n_pieces; i++)
			*(uint8_t *)b.piece[i].at ^= 1u << (size & 7);
		cut(&b, f, takes, spans);
	}
	drop_memory(0);
	return 0;
}
