/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A running switch with all that is around it: VMs, the wire, the host, and the accounts. */
#ifndef LAB_H
#define LAB_H

#include "child.h"
#include "fake_vm.h"
#include "mark.h"
#include "net.h"
#include "vxs_bpf.h"

#define LAB_ENDS 12
#define LAB_WAIT 5000 /* ms in which what must arrive arrives */

enum end_kind { END_VM, END_WIRE, END_HOST };

/* Somebody who sends and receives frames: a VM, the wire's far end, the host on its NIC. */
struct end {
	enum end_kind kind;
	char name[VXS_NAME_SIZE]; /* of its port */
	uint8_t mac[6];           /* what it sends from, unless told otherwise */
	struct fake_vm *vm;
	unsigned pair; /* the pair that the VM sends on next */
	bool spread;   /* flow by flow, the VM uses all its pairs */
	int sock;      /* wire and host */
	unsigned sent; /* frames that it got rid of */
	bool deaf;     /* never reads */
	struct inbox in;
};

struct lab {
	struct net net;
	struct child vxsd;
	struct end end[LAB_ENDS];
	unsigned n_ends;
};

/**
 * lab_open() - namespaces, a veth with @queues queues, vxsd with @words
 *
 * "--uplink nic0" stands in @words if it is wanted. False: the test was skipped or has failed, and
 * returns.
 */
bool lab_open(struct lab *lab, unsigned queues, const char *words);
/** lab_open_mtu() - likewise, both ends of the veth having MTU @mtu. */
bool lab_open_mtu(struct lab *lab, unsigned queues, const char *words, unsigned mtu);
/** lab_full() - lab_open(), then VMs a and b (end[0], end[1]), wire and host (end[2], end[3]),
 * whose addresses the switch knows. @words have "--uplink nic0 --vm a --vm b". */
bool lab_full(struct lab *lab, unsigned queues, const char *words);
/** lab_close() - ends vxsd by SIGTERM, which must end well. */
void lab_close(struct lab *lab);

/** lab_vm() - connect a fake VM to port @name, with @opt or (NULL) defaults. NULL: failed. */
struct end *lab_vm(struct lab *lab, const char *name, const struct fake_vm_options *opt);
/** lab_wire() - the far end of the wire; lab_host() - the host's end of the NIC. */
struct end *lab_wire(struct lab *lab);
struct end *lab_host(struct lab *lab);
/** lab_leave() - the end closes (a VM: hangs up). */
void lab_leave(struct end *e);

/* ---- sending and receiving ---- */

struct shot {
	const uint8_t *to;   /* NULL: broadcast */
	const uint8_t *from; /* NULL: the end's own */
	uint16_t vlan;
	unsigned flow, seq, len; /* len 0: 64 */
};

extern const uint8_t lab_broadcast[6];

/** end_shoot() - send one frame, waiting for room. 0 or -errno. */
int end_shoot(struct lab *lab, struct end *e, const struct shot *shot);
/** end_raw() - send any bytes. */
int end_raw(struct lab *lab, struct end *e, const void *frame, size_t len);
/** lab_drain() - take in what has arrived anywhere; how many frames. */
unsigned lab_drain(struct lab *lab);
/** lab_got() - wait until @e has @n different frames of @flow. */
bool lab_got(struct lab *lab, struct end *e, unsigned flow, unsigned n);
/** lab_quiet() - take in what comes until nothing has for @ms. */
void lab_quiet(struct lab *lab, unsigned ms);
/** lab_clear() - empty all inboxes. */
void lab_clear(struct lab *lab);
/** lab_clean() - nobody got anything bad, twice or out of order. */
bool lab_clean(struct lab *lab);

/** lab_learn() - each end broadcasts a frame, and the wire sends one to a VM, so that the switch
 * knows them all; empties inboxes. */
bool lab_learn(struct lab *lab);
/** lab_talk() - every end sends @n frames to every other: all must arrive, nowhere else. */
bool lab_talk(struct lab *lab, unsigned n);
/** lab_shout() - every end broadcasts @n frames: each other one gets each exactly once. */
bool lab_shout(struct lab *lab, unsigned n);

/* ---- accounts ---- */

/** lab_stats() - the counters of port @name, from the pinned maps. False: no such port. */
bool lab_stats(struct lab *lab, const char *name, struct vxs_port_stats *stats);
uint64_t lab_drops(const struct vxs_port_stats *stats);

/* The books of a conversation from one port to another. */
struct account {
	const char *from, *to; /* ports */
	struct vxs_port_stats from_stats, to_stats;
	uint64_t dropped; /* on devices and in the TAP */
};

/** lab_begin() - open the books. False: no such ports. */
bool lab_begin(struct lab *lab, struct account *a, const char *from, const char *to);
/** lab_balances() - wait until @sent frames = @got + the drops of both ports and of the devices. */
bool lab_balances(struct lab *lab, struct account *a, uint64_t sent, uint64_t got);
/** lab_fdb() - port number of an address in the pinned map "fdb"; -1: not there. */
int lab_fdb(struct lab *lab, const uint8_t mac[6], uint16_t vlan);
/** lab_port() - number of port @name in the pinned map "ports"; -1: none. */
int lab_port(struct lab *lab, const char *name);
/** lab_shown() - wait until `vxsctl fdb show` has @mac at port @name. */
bool lab_shown(struct lab *lab, const uint8_t mac[6], uint16_t vlan, const char *name);
/** lab_learned() - wait until @mac is at port @name (NULL: nowhere) in the pinned map "fdb". */
bool lab_learned(struct lab *lab, const uint8_t mac[6], uint16_t vlan, const char *name);

#endif
