/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What users are shown of a VM's port: its front-end, what was agreed with it, its queues. */
#include <linux/virtio_config.h>

#include "vm/vm_control.h"

/* It carries frames, or would if memory came that it waits for. */
static bool is_ready(const struct vm_control *c, unsigned index)
{
	return (c->ring[index].q || c->ring[index].absent) && vm_ring_is_enabled(c, index);
}

/** vm_rings_rest() - they don't run, but would if all came that some of them wait for. */
bool vm_rings_rest(const struct vm_control *c)
{
	bool may[2] = {false, false};
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		may[i & 1] |= is_ready(c, i);
	return may[0] && may[1] && !vm_rings_run(c);
}

unsigned vm_count_running(const struct vm *vm)
{
	const struct vm_control *c = vm->control;
	unsigned i, n = 0;

	for (i = 0; i < c->n_rings; i += 2)
		n += is_ready(c, i) && is_ready(c, i + 1);
	return n;
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
		.rests = vm_rings_rest(c),
		.peer_pid = c->conn.fd >= 0 ? c->conn.pid : 0,
		.role = c->role,
		.over = c->over,
		.ended = c->ended[0] ? c->ended : NULL,
		.offered = vm_features(c),
		.asked = c->asked,
		.features = c->features,
		.protocol_offered = vm_protocol_features(c),
		.protocol_asked = c->asked_protocol,
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
		.why_not = vm_why_not(c),
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
