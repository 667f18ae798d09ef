/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's AF_XDP interface where Debian 12's headers are older than the kernel may be. */
#ifndef UMEM_KERNEL_H
#define UMEM_KERNEL_H

#include <stdint.h>

#include <linux/if_xdp.h>

/* Linux 6.6: frames in several descriptors. */
#ifndef XDP_USE_SG
#define XDP_USE_SG    (1 << 4) /* bind() */
#define XDP_PKT_CONTD (1 << 0) /* the frame goes on in the next descriptor */
#endif

/* Frames that one sendto() may send in copy mode (6.11). */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

/* Linux 6.8, with the flag that registers its length since 6.11: metadata of frames to be sent. */
#ifndef XDP_TX_METADATA
#define XDP_TX_METADATA (1 << 1) /* descriptor: there is metadata before the frame */
#endif
#ifndef XDP_UMEM_TX_METADATA_LEN
#define XDP_UMEM_TX_METADATA_LEN (1 << 2)
#endif
#ifndef XDP_TXMD_FLAGS_CHECKSUM
#define XDP_TXMD_FLAGS_CHECKSUM (1 << 1)
#endif

/* What XDP_UMEM_REG takes now: its fifth field was padding once. */
struct umem_reg {
	uint64_t addr, len;
	uint32_t chunk_size, headroom, flags, tx_metadata_len;
};

/* The kernel's struct xsk_tx_metadata, as a request. */
struct umem_out_meta {
	uint64_t flags; /* XDP_TXMD_FLAGS_* */
	uint16_t csum_start, csum_offset;
	uint32_t reserved;
	uint64_t launch_time;
};

#endif
