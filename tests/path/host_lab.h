/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For tests of user/host: host and wire, the host's port driven by hand, and a guest behind it. */
#ifndef HOST_LAB_H
#define HOST_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/tables.h"
#include "host/host.h"
#include "switch/fdb.h"
#include "net.h"
#include "switch/worker.h"

#define HOST_LAB_NAME   "path-host"
#define HOST_LAB_TAP    "vxs-path-host"
#define HOST_LAB_VM     VXS_PORT_VM
#define HOST_LAB_VM_IP  "10.77.0.99"
#define HOST_LAB_VM_IP6 "fd77::99"
#define HOST_LAB_FRAMES 256
#define HOST_LAB_SEQ    1000 /* of the first byte that the guest sends on its connection */
#define HOST_LAB_VM_IP6_BYTES                                                                      \
	{                                                                                          \
		0xfd, 0x77, [15] = 0x99                                                            \
	}

extern const uint8_t host_lab_vm_mac[6], host_lab_everybody[6];

/* What one of host, wire and guest got of the numbered frames, and the last of them as it was. */
struct seen {
	unsigned n[HOST_LAB_FRAMES]; /* by number */
	unsigned bad;                /* numbered frames that had changed on their way */
	uint8_t last[2048];
	size_t last_len;
};

/* The guest's TCP, as far as it goes: it accepts one connection and never acknowledges data. */
struct vm_tcp {
	unsigned segments, bytes, longest; /* of data; longest frame */
	unsigned bad;                      /* wrong checksums, of UDP also; wrong data */
	unsigned datagrams;                /* UDP */
	unsigned open, gso;                /* frames with a checksum, and segmentation, left open */
	uint32_t first;                    /* sequence number of the first byte of data */
	uint8_t answer[128];               /* to the connection: headers of the guest's frames */
	unsigned answer_len;
};

/* The byte at @at of what is sent on a connection, either way. */
static inline uint8_t host_lab_stream(uint32_t at)
{
	return at * 7 + (at >> 8);
}

/*
 *   namespace host                              namespace wire
 *   this test's thread, host's stack
 *   vxs-path-host    nic0 ===================== far0
 *    (the guest: in(), out() of the host's port)
 */
struct host_lab {
	struct net net;
	struct tables *tables;
	struct worker *worker;
	struct host *host;
	struct vxs_port_stats *stats;
	int host_sock, wire_sock;
	struct seen by_host, by_wire, by_vm;
	struct vm_tcp tcp;
	uint32_t vm_takes; /* OFFLOAD_* that the guest takes; none to begin with */
	struct batch in, out;
};

/** host_lab_new() - namespaces, tables, sockets; no port yet. NULL: skipped, or failed. */
struct host_lab *host_lab_new(void);
void host_lab_free(struct host_lab *l);

/** host_lab_open() - host_open() and host_attach(), and the guest's address in the map fdb. */
int host_lab_open(struct host_lab *l);
void host_lab_close(struct host_lab *l);
/** host_lab_setup() - what host_lab_open() gives to host_open(). */
struct host_setup host_lab_setup(struct host_lab *l);

/* Frames with a number, of an experimental type. @tpid 0: no tag. Returns the length. */
size_t host_lab_frame(uint8_t *at, size_t len, const uint8_t *dst, const uint8_t *src,
		      uint16_t tpid, uint16_t tci, unsigned number);
bool host_lab_send(int sock, const uint8_t *frame, size_t len);
/** host_lab_out() - the guest sends: out(), the rest behind the head in @pieces pieces. */
void host_lab_out(struct host_lab *l, const uint8_t *frame, size_t len, unsigned pieces);
/** host_lab_out_open() - the same, with an offload, which offload_check() puts in order. */
void host_lab_out_open(struct host_lab *l, const uint8_t *frame, size_t len, unsigned pieces,
		       const struct frame_offload *offload);

/** host_lab_quiet() - take in what comes anywhere until nothing has for a while. */
void host_lab_quiet(struct host_lab *l);
/** host_lab_until() - the same, until @done(@l); false: it wasn't for 5 seconds. */
bool host_lab_until(struct host_lab *l, bool (*done)(struct host_lab *l));
void host_lab_clear(struct host_lab *l);

/** host_lab_ping() - ask @ip from namespace @ns; does it answer? */
bool host_lab_ping(struct host_lab *l, int ns, const char *ip);
/** host_lab_says() - does the output of @command, in namespace host, contain @text? */
bool host_lab_says(struct host_lab *l, const char *command, const char *text);

/* ---- host_check.c ---- */

/** host_lab_new_open() - the lab with the port open and nothing seen; NULL: skipped or failed. */
struct host_lab *host_lab_new_open(void);
/** host_lab_seen() - each of the numbers 0 to @n - 1 @times times, unchanged, and no other? */
bool host_lab_seen(const struct seen *s, unsigned n, unsigned times);
/** host_lab_pings() - host and guest, host and wire, wire and host. */
void host_lab_pings(struct host_lab *l);
/** host_lab_broadcasts() - each of the three sends to everybody: each other one gets it once, and
 * nobody his own. */
void host_lab_broadcasts(struct host_lab *l);

#endif
