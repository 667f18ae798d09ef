/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to the host: written into the TAP, whose TC program has them arrive at the NIC. */
#include "host/host.h"

#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "switch/frame.h"
#include "switch/worker.h"

#define PIECES_MAX (IOV_MAX - 2) /* beside header and head[] */

static const uint8_t no_offload[HOST_HDR_LEN];

/* More pieces than one system call takes: put together first. The kernel wants a frame in one. */
static __attribute__((noinline)) ssize_t write_many(int fd, const struct batch *b,
						    const struct frame *f)
{
	uint8_t whole[HOST_HDR_LEN + FRAME_MAX];

	if (f->len > FRAME_MAX)
		return -1;
	memset(whole, 0, HOST_HDR_LEN);
	frame_copy(whole + HOST_HDR_LEN, b, f);
	return write(fd, whole, HOST_HDR_LEN + f->len);
}

static ssize_t write_frame(int fd, const struct batch *b, const struct frame *f)
{
	struct iovec iov[2 + PIECES_MAX];
	unsigned i;

	if (f->shape.n_pieces > PIECES_MAX)
		return write_many(fd, b, f);
	iov[0] = (struct iovec){(void *)no_offload, sizeof(no_offload)};
	iov[1] = (struct iovec){(void *)(f->head + f->shape.head_at), f->shape.head_len};
	for (i = 0; i < f->shape.n_pieces; i++) {
		const struct piece *piece = &b->piece[f->piece + i];

		iov[2 + i] = (struct iovec){(void *)piece->at, piece->len};
	}
	return writev(fd, iov, 2 + f->shape.n_pieces);
}

void host_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	      unsigned n)
{
	struct host *h = host_of(p);
	uint32_t mtu = __atomic_load_n(&h->mtu, __ATOMIC_RELAXED);
	uint64_t frames = 0, bytes = 0, too_big = 0, full = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct frame *f = &b->frame[which[i]];

		if (f->len > frame_max_len(f, mtu)) {
			too_big++;
		} else if (write_frame(h->tap_fd, b, f) < 0) {
			full++;
		} else {
			frames++;
			bytes += f->len;
		}
	}
	worker_syscalls(w, frames + full);
	stat_add(&port_stats(p, w)->out_frames, frames);
	stat_add(&port_stats(p, w)->out_bytes, bytes);
	port_drop(p, w, too_big, too_big);
	port_drop(p, w, host_full, full);
}
