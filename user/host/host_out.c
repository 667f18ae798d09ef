/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to the host: written into the TAP, whose TC program has them arrive at the NIC. */
#include "host/host.h"

#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "offload/cutter.h"
#include "switch/frame.h"
#include "switch/worker.h"

#define PIECES_MAX (IOV_MAX - 2) /* beside header and head[] */

/*
 * A frame goes with its offloads as they are, if the kernel takes them; else each cut is written as
 * a frame of its own. Frames that are dropped count as they came, once: also one whose first cuts
 * were written, but not all.
 */
struct writer {
	int fd;
	const struct batch *b;
	uint64_t frames, bytes, full, calls;
};

/* A virtio-net header, the number of buffers in it 0 (virtio 1.2, 5.1.6). */
struct header {
	struct frame_offload offload;
	uint16_t num_buffers;
};
_Static_assert(sizeof(struct header) == HOST_HDR_LEN, "as the TAP has it");

/* More pieces than one system call takes: put together first. The kernel wants a frame in one. */
static __attribute__((noinline)) ssize_t write_many(int fd, const struct batch *b,
						    const struct frame *f, const struct header *hdr)
{
	uint8_t whole[HOST_HDR_LEN + FRAME_MAX];

	if (f->len > FRAME_MAX)
		return -1;
	memcpy(whole, hdr, HOST_HDR_LEN);
	frame_copy(whole + HOST_HDR_LEN, b, f);
	return write(fd, whole, HOST_HDR_LEN + f->len);
}

static ssize_t write_frame(int fd, const struct batch *b, const struct frame *f)
{
	struct header hdr = {.offload = f->offload};
	struct iovec iov[2 + PIECES_MAX];
	unsigned i;

	if (f->shape.n_pieces > PIECES_MAX)
		return write_many(fd, b, f, &hdr);
	iov[0] = (struct iovec){&hdr, sizeof(hdr)};
	iov[1] = (struct iovec){(void *)(f->head + f->shape.head_at), f->shape.head_len};
	for (i = 0; i < f->shape.n_pieces; i++) {
		const struct piece *piece = &b->piece[f->piece + i];

		iov[2 + i] = (struct iovec){(void *)piece->at, piece->len};
	}
	return writev(fd, iov, 2 + f->shape.n_pieces);
}

static bool count(struct writer *to, ssize_t written, uint32_t len)
{
	to->calls++;
	if (written < 0) {
		to->full++;
		return false;
	}
	to->frames++;
	to->bytes += len;
	return true;
}

static __attribute__((noinline)) void write_cuts(struct writer *to, const struct frame *f,
						 uint32_t takes)
{
	uint8_t whole[HOST_HDR_LEN + FRAME_MAX];
	struct span span = {whole + HOST_HDR_LEN, FRAME_MAX};
	struct header hdr = {};
	struct cutter c;

	cutter_open(&c, to->b, f, takes);
	while (cutter_next(&c)) {
		hdr.offload = c.offload;
		memcpy(whole, &hdr, sizeof(hdr));
		cutter_write(&c, &span, 1);
		if (!count(to, write(to->fd, whole, HOST_HDR_LEN + c.len), c.len))
			return;
	}
}

void host_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	      unsigned n)
{
	struct host *h = host_of(p);
	struct writer to = {.fd = h->tap_fd, .b = b};
	uint32_t mtu = __atomic_load_n(&h->mtu, __ATOMIC_RELAXED);
	uint64_t too_big = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct frame *f = &b->frame[which[i]];

		if (offload_cut_len(f) > frame_max_len(f, mtu))
			too_big++;
		else if (offload_is_none(f) || offload_fits(b, f, h->takes))
			count(&to, write_frame(to.fd, b, f), f->len);
		else
			write_cuts(&to, f, h->takes);
	}
	worker_syscalls(w, to.calls);
	stat_add(&port_stats(p, w)->out_frames, to.frames);
	stat_add(&port_stats(p, w)->out_bytes, to.bytes);
	port_drop(p, w, too_big, too_big);
	port_drop(p, w, host_full, to.full);
}
