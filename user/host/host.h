/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The host as a port: a TAP device, and TC programs that join it with the NIC's kernel side. */
#ifndef HOST_H
#define HOST_H

#include <stdint.h>

#include "port/port.h"

struct host_control; /* host.c: the TAP, the filters */

struct host {
	struct port port; /* first: workers get from the one to the other */

	/* constant while the port is published */
	int tap_fd;     /* non-blocking; read by the owner of the in-queue, written by any worker */
	uint8_t *pool;  /* HOST_BATCH buffers of HOST_BUFFER bytes, lent by host_in() */
	uint32_t takes; /* OFFLOAD_* that the kernel takes from the TAP */

	uint32_t mtu;                 /* of the NIC; atomic, written by control */
	struct host_control *control; /* control thread only */
};

/* A virtio-net header lies before each frame in the TAP: offloads go both ways. */
#define HOST_HDR_LEN 12
/* One byte more than the longest frame shows a longer one; an odd number of cache lines spreads
 * the buffers over the cache's sets. */
#define HOST_BATCH  128 /* frames that are read at once: a buffer for each is kept */
#define HOST_BUFFER (1025 * 64)
_Static_assert(HOST_BUFFER > FRAME_MAX, "a frame fits");
_Static_assert(HOST_BATCH <= BATCH_FRAMES, "into a batch");

static inline struct host *host_of(struct port *p)
{
	return (struct host *)p;
}

/* The hot side: host_in.c, host_out.c. */
unsigned host_in(struct port *p, struct worker *w, unsigned queue, struct batch *b);
void host_done(struct port *p, struct worker *w, unsigned queue, struct batch *b);
bool host_wait(struct port *p, struct worker *w, unsigned queue, bool on);
void host_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	      unsigned n);

struct host_setup {
	const char *name; /* of the switch: the TAP is vxs-NAME (cut to 15 characters) */
	int nic_ifindex;
	const char *nic_name;
	unsigned nic_mtu;
	int fdb_fd;
	struct vxs_port_stats *stats;
};

/**
 * host_open() - make the TAP and attach the TC programs
 * @out:   where it goes, untouched on failure
 * @setup: see there; the NIC is in this process's network namespace
 *
 * What a killed daemon left on the NIC is replaced. Logs reason and remedy when it fails, and
 * leaves the NIC as it was. No frame moves before host_attach(). Control thread.
 *
 * Return: 0 or -errno (-EPERM; -EBUSY: the TAP's name is taken; -ENOENT: no /dev/net/tun;
 * -EEXIST: somebody else's filter is in our place).
 */
int host_open(struct host **out, const struct host_setup *setup);

/** host_attach() - let frames in; port.worker[0] is set, the port is published. 0 or -errno. */
int host_attach(struct host *host);

/** host_detach() - TC programs go; the port must be unpublished before host_free(). */
void host_detach(struct host *host);

/** host_free() - the TAP goes. NULL and half-opened are fine. */
void host_free(struct host *host);

/** host_set_mtu() - follow the NIC's MTU. Control thread. */
void host_set_mtu(struct host *host, unsigned mtu);

/** host_read_drops() - bring the TAP's own drop counter into port_stats. Control thread. */
void host_read_drops(struct host *host);

struct port *host_port(struct host *host);
/** host_ifname() - name of the TAP; lives as long as @host. */
const char *host_ifname(const struct host *host);

#endif
