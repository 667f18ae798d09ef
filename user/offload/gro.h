/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Strings segments of one TCP flow together, as pieces of one large frame (GRO). */
#ifndef GRO_H
#define GRO_H

#include <stdint.h>

#include "switch/batch.h"

/**
 * gro_join() - join what belongs together among the last frames of a batch
 * @b:     the batch; its pieces are memory of ours (UMEM) that nobody rewrites
 * @first: the first frame in question; up to the last, all have the same destination
 * @takes: OFFLOAD_* that the destination takes
 *
 * Frames are joined as the kernel's GRO does: in-order segments of one flow whose checksums were
 * verified here. The first one's headers are rewritten in place, and its offload says how to cut
 * the frame again. b->n and b->n_pieces are brought up to date, order within each flow is kept.
 * DATA_VALID stands on frames that were verified, but not joined. The worker that filled the batch.
 *
 * Return: how many frames went into others.
 */
unsigned gro_join(struct batch *b, unsigned first, uint32_t takes);

#endif
