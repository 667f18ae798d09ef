/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What several tests of the host's port check: pings, and broadcasts seen once by each. */
#include "host_lab.h"

#include "check.h"

#define ROUNDS 20

struct host_lab *host_lab_new_open(void)
{
	struct host_lab *l = host_lab_new();
	int err;

	if (!l)
		return NULL;
	err = host_lab_open(l);
	CU_ASSERT_EQUAL(err, 0);
	if (err) {
		host_lab_free(l);
		return NULL;
	}
	host_lab_clear(l);
	return l;
}

bool host_lab_seen(const struct seen *s, unsigned n, unsigned times)
{
	unsigned i;

	for (i = 0; i < HOST_LAB_FRAMES; i++)
		if (s->n[i] != (i < n ? times : 0))
			return false;
	return !s->bad;
}

void host_lab_pings(struct host_lab *l)
{
	CU_ASSERT(host_lab_ping(l, l->net.host, HOST_LAB_VM_IP));
	CU_ASSERT(host_lab_ping(l, l->net.host, NET_WIRE_IP));
	CU_ASSERT(host_lab_ping(l, l->net.wire, NET_HOST_IP));
}

void host_lab_broadcasts(struct host_lab *l)
{
	uint8_t frame[128];
	unsigned i;

	host_lab_clear(l);
	for (i = 0; i < ROUNDS; i++) {
		host_lab_frame(frame, 100, host_lab_everybody, l->net.nic_mac, 0, 0, i);
		CU_ASSERT(host_lab_send(l->host_sock, frame, 100));
	}
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, 0, 0));
	CU_ASSERT(host_lab_seen(&l->by_wire, ROUNDS, 1));
	CU_ASSERT(host_lab_seen(&l->by_vm, ROUNDS, 1));

	host_lab_clear(l);
	for (i = 0; i < ROUNDS; i++) {
		host_lab_frame(frame, 100, host_lab_everybody, l->net.far_mac, 0, 0, i);
		CU_ASSERT(host_lab_send(l->wire_sock, frame, 100));
	}
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, ROUNDS, 1));
	CU_ASSERT(host_lab_seen(&l->by_wire, 0, 0));
	CU_ASSERT(host_lab_seen(&l->by_vm, ROUNDS, 1));

	/* The wire gets a guest's broadcast from the uplink's port, not from here. */
	host_lab_clear(l);
	for (i = 0; i < ROUNDS; i++) {
		host_lab_frame(frame, 100, host_lab_everybody, host_lab_vm_mac, 0, 0, i);
		host_lab_out(l, frame, 100, 1 + i);
	}
	host_lab_quiet(l);
	CU_ASSERT(host_lab_seen(&l->by_host, ROUNDS, 1));
	CU_ASSERT(host_lab_seen(&l->by_wire, 0, 0));
	CU_ASSERT(host_lab_seen(&l->by_vm, 0, 0));
}
