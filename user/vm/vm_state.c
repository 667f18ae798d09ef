/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What users are shown of a VM's port: its front-end, its queues, and why no traffic passes. */
#include <stdio.h>
#include <linux/virtio_config.h>

#include "vm/vm_control.h"

/* QEMU leaves the guest's device stopped when its MTU is refused. */
static const char *why_mtu(struct vm_control *c)
{
	snprintf(c->why_not, sizeof(c->why_not), "the front-end's MTU of %llu was refused: %s",
		 (unsigned long long)c->mtu_refused, vm_mtu_remedy(c));
	return c->why_not;
}

/* The first thing that keeps frames from passing, seen from the front-end's side to the guest's. */
static const char *why_not(struct vm_control *c)
{
	bool started[2] = {false, false}, enabled[2] = {false, false};
	unsigned i, idle[2] = {0, 0};

	if (c->closed)
		return "closed: its front-end made vxsd wait; delete the port and add it again";
	if (c->conn.fd < 0) {
		snprintf(c->why_not, sizeof(c->why_not), "no front-end is connected to %s",
			 c->socket);
		return c->why_not;
	}
	if (!c->mem && c->mtu_refused)
		return why_mtu(c);
	if (!c->mem)
		return "the guest's driver has not started yet, or its memory is not shared "
		       "(QEMU: memory-backend with share=on)";
	for (i = 0; i < c->n_rings; i++) {
		const struct vq *q = c->ring[i].q;
		uint32_t broken = q ? __atomic_load_n(&q->broken, __ATOMIC_RELAXED) : VQ_OK;

		if (broken) {
			snprintf(c->why_not, sizeof(c->why_not), "queue %u broke: %s", i,
				 vq_broken_text(broken));
			return c->why_not;
		}
		if (!q)
			continue;
		started[i & 1] = true;
		if (vm_ring_is_enabled(c, i))
			enabled[i & 1] = true;
		else
			idle[i & 1] = i;
	}
	if ((!started[0] || !started[1]) && c->mtu_refused)
		return why_mtu(c);
	if (!started[0] || !started[1])
		return "the guest's driver has not started the queues";
	if (enabled[0] && enabled[1])
		return NULL;
	snprintf(c->why_not, sizeof(c->why_not), "queue %u is not enabled", idle[enabled[0]]);
	return c->why_not;
}

uint8_t vm_status(const struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].q && __atomic_load_n(&c->ring[i].q->broken, __ATOMIC_RELAXED))
			return c->status | VIRTIO_CONFIG_S_NEEDS_RESET;
	return c->status;
}

/* What says most. */
static const char *status_text(const struct vm_control *c)
{
	static const struct {
		uint8_t bit;
		const char *text;
	} word[] = {
		{VIRTIO_CONFIG_S_FAILED, "failed"},
		{VIRTIO_CONFIG_S_NEEDS_RESET, "needs reset"},
		{VIRTIO_CONFIG_S_DRIVER_OK, "driver ok"},
		{VIRTIO_CONFIG_S_FEATURES_OK, "features ok"},
		{VIRTIO_CONFIG_S_DRIVER, "driver"},
		{VIRTIO_CONFIG_S_ACKNOWLEDGE, "acknowledge"},
	};
	uint8_t status = vm_status(c);
	unsigned i;

	if (!(c->protocol_features >> VHOST_USER_PROTOCOL_F_STATUS & 1))
		return NULL;
	for (i = 0; i < sizeof(word) / sizeof(word[0]); i++)
		if (status & word[i].bit)
			return word[i].text;
	return "reset";
}

void vm_state(const struct vm *vm, struct vm_state *state)
{
	struct vm_control *c = vm->control;
	unsigned i;

	*state = (struct vm_state){
		.socket = c->socket,
		.connected = c->conn.fd >= 0,
		.running = vm_rings_run(c),
		.peer_pid = c->conn.fd >= 0 ? c->conn.pid : 0,
		.features = c->features,
		.offered = vm_features(c),
		.protocol_features = c->protocol_features,
		.queues = c->n_rings / 2,
		.spread = __atomic_load_n(&vm->n_out, __ATOMIC_RELAXED),
		.offloads = c->offloads,
		.mtu = __atomic_load_n(&vm->mtu, __ATOMIC_RELAXED),
		.mtu_option = c->mtu_option,
		.mtu_told = c->mtu_told,
		.connections = c->connections,
		.moved_in = c->moved_in,
		.moved_from = c->moved_from,
		.moved_addresses = c->moved_in ? c->moved_addresses : 0,
		.status = status_text(c),
		.why_not = why_not(c),
	};
	if (!c->mem)
		return;
	state->regions = c->mem->n;
	for (i = 0; i < c->mem->n; i++)
		state->memory += c->mem->region[i].size;
}

void vm_queue_state(const struct vm *vm, unsigned index, struct vm_queue_state *state)
{
	const struct vm_control *c = vm->control;
	const struct vm_ring *r = &c->ring[index];
	uint32_t broken = 0;

	*state = (struct vm_queue_state){
		.started = r->q,
		.enabled = c->has_features ? vm_ring_is_enabled(c, index) : r->enabled,
		.size = r->size,
		.calls = r->calls,
	};
	if (!r->q)
		return;
	state->calls += __atomic_load_n(&r->q->calls, __ATOMIC_RELAXED);
	broken = __atomic_load_n(&r->q->broken, __ATOMIC_RELAXED);
	if (broken)
		state->broken = vq_broken_text(broken);
}
