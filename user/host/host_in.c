/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames from the host, and what the wire sends to everybody: read from the TAP into a pool. */
#include "host/host.h"

#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "offload/offload.h"
#include "switch/worker.h"

/*
 * One readv() a frame into the buffer of its place in the batch; done() has nothing to give back,
 * as the next in() comes after it. The virtio-net header before the frame says what the host's
 * stack has left to its NIC: checksums of nearly all that it sends, and segmentation.
 */
static struct frame *lend(struct batch *b, const uint8_t *at, uint32_t len)
{
	struct frame *f = &b->frame[b->n];

	f->len = len;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = len < FRAME_HEAD ? len : FRAME_HEAD;
	memcpy(f->head + FRAME_HEAD_ROOM, at, f->shape.head_len);
	f->piece = b->n_pieces;
	f->shape.n_pieces = 0;
	if (len > f->shape.head_len) {
		b->piece[b->n_pieces++] =
			(struct piece){at + f->shape.head_len, len - f->shape.head_len};
		f->shape.n_pieces = 1;
	}
	f->out = FRAME_PORT_NONE;
	return f;
}

/* The frame goes into the batch if its header is right; the kernel's are, but a batch needs hdr_len
 * where it truly is, and no DATA_VALID (offload.h). */
static bool take(struct batch *b, const uint8_t *hdr, const uint8_t *at, uint32_t len)
{
	unsigned n_pieces = b->n_pieces;
	struct frame *f = lend(b, at, len);

	memcpy(&f->offload, hdr, sizeof(f->offload));
	if (!offload_is_none(f)) {
		if (!offload_check(b, f, OFFLOAD_ALL)) {
			b->n_pieces = n_pieces;
			return false;
		}
		b->open = true;
	}
	b->n++;
	return true;
}

unsigned host_in(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	struct host *h = host_of(p);
	uint64_t bytes = 0, too_short = 0, too_long = 0, bad_offload = 0;
	uint8_t hdr[HOST_HDR_LEN];
	unsigned reads;

	(void)queue;
	b->n = b->n_pieces = 0;
	b->hashed = b->open = false;
	for (reads = 0; reads < HOST_BATCH; reads++) {
		uint8_t *at = h->pool + (size_t)reads * HOST_BUFFER;
		struct iovec iov[] = {{hdr, sizeof(hdr)}, {at, HOST_BUFFER}};
		ssize_t n = readv(h->tap_fd, iov, 2) - HOST_HDR_LEN;

		/* Drained (EAGAIN), or the TAP was taken from us: nothing more will come. */
		if (n < 0)
			break;
		if (n < FRAME_MIN) {
			too_short++;
		} else if (n > FRAME_MAX) {
			too_long++;
		} else if (!take(b, hdr, at, n)) {
			bad_offload++;
		} else {
			bytes += n;
		}
	}
	worker_syscalls(w, reads < HOST_BATCH ? reads + 1 : reads);
	stat_add(&port_stats(p, w)->in_frames, b->n);
	stat_add(&port_stats(p, w)->in_bytes, bytes);
	port_drop(p, w, short_frame, too_short);
	port_drop(p, w, long_frame, too_long);
	port_drop(p, w, bad_offload, bad_offload);
	return reads;
}

void host_done(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	(void)p;
	(void)w;
	(void)queue;
	(void)b;
}

/* The fd is watched edge-triggered all the time; in() always reads until there is nothing more or
 * comes again, so the only thing to do is to look once more. */
bool host_wait(struct port *p, struct worker *w, unsigned queue, bool on)
{
	struct pollfd fd = {.fd = host_of(p)->tap_fd, .events = POLLIN};

	(void)queue;
	worker_syscalls(w, on);
	return on && poll(&fd, 1, 0) == 1 && fd.revents & POLLIN;
}
