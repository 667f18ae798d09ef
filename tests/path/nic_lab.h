/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For tests of user/nic: a veth whose one end is the NIC and whose other end is the wire. */
#ifndef NIC_LAB_H
#define NIC_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "nic/nic_queue.h"
#include "switch/switch.h"
#include "switch/worker.h"

#define NIC        "nic0"
#define WIRE       "wire0"
#define LAB_QUEUES 2

#define NIC_LAB_FRAME 9216 /* bytes of the longest frame */

#define NIC_LAB_VMS 8 /* ports that may be in the switch's table */

#define NIC_LAB_WORKERS 3 /* numbers from 0 to 2 may be used */

/* The test's one thread plays control and worker in turn. */
struct nic_lab {
	unsigned queues;
	int fdb_fd, sockets_fd;
	int wire_fd; /* packet socket on the wire's end */
	char state_file[64];
	struct uplink_options opt;
	struct nic_trial trial;
	struct vxs_port_stats stats[NIC_LAB_WORKERS * VXS_PORTS_MAX]; /* as in the map */
	struct vswitch sw;
	struct port_table table;                   /* sw's, once nic_lab_vm() was called */
	struct port vm[VXS_PORT_VM + NIC_LAB_VMS]; /* by number */
	struct worker *worker;
	struct nic *nic;
	unsigned got[VXS_PORTS_MAX]; /* frames taken in, by frame.out; [0]: FRAME_PORT_NONE */
	uint64_t sent;               /* frames that went onto the wire for the sockets */
};

/** nic_lab_enter() - a network namespace of our own for the rest of the process; false: no root. */
bool nic_lab_enter(void);

/** nic_lab_new() - the veth with @queues queues each way, maps, a worker; no NIC opened yet. */
struct nic_lab *nic_lab_new(unsigned queues);
void nic_lab_free(struct nic_lab *l);

/** nic_lab_open() - nic_open(), and if @attach nic_attach(). 0 or -errno. */
int nic_lab_open(struct nic_lab *l, bool host_share, bool attach);
void nic_lab_close(struct nic_lab *l);

/** nic_lab_vm() - port @id is a VM's with @queues queue pairs that takes @takes (OFFLOAD_*). */
void nic_lab_vm(struct nic_lab *l, uint32_t id, unsigned queues, uint32_t takes);

int nic_lab_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** nic_lab_says() - does the output of @command contain @text? */
bool nic_lab_says(const char *command, const char *text);

/** nic_lab_learn() - the address 02:00:00:00:00:@id is port @id's. */
void nic_lab_learn(struct nic_lab *l, uint32_t id);
void nic_lab_mac(uint32_t id, uint8_t mac[6]);

/** nic_lab_send() - @n frames of @len bytes from the wire to @mac, of many flows; each burst is
 * waited for until the sockets of the NIC have it, if @socket. */
void nic_lab_send(struct nic_lab *l, const uint8_t mac[6], unsigned n, unsigned len, bool socket);

/** nic_lab_send_raw() - one frame from the wire, waited for until a socket of the NIC has it. */
void nic_lab_send_raw(struct nic_lab *l, const void *frame, unsigned len);

/** nic_lab_join() - the whole frame as an out side would deliver it; its length. */
unsigned nic_lab_join(const struct batch *b, const struct frame *f, uint8_t *to);

/** nic_lab_parts() - descriptors in which a frame of @len bytes comes. */
unsigned nic_lab_parts(const struct nic_lab *l, unsigned len);

/** nic_lab_byte() - byte @i of frame @seq that nic_lab_send() makes, after the addresses. */
uint8_t nic_lab_byte(unsigned seq, unsigned i);

/** nic_lab_take() - in() and done() on all queues until nothing comes; checks each frame. */
unsigned nic_lab_take(struct nic_lab *l);

/** nic_lab_out() - one batch of @n frames of @len bytes to the wire, tagged if @tag. */
void nic_lab_out(struct nic_lab *l, unsigned n, unsigned len, bool tag);

/** nic_lab_receive() - frames that come out at the wire, waiting for @n; contents checked. */
unsigned nic_lab_receive(struct nic_lab *l, unsigned n);

/** nic_lab_landed() - descriptors that the sockets had, and frames that they refused so far. */
uint64_t nic_lab_landed(struct nic_lab *l);

#endif
