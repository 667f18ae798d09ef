/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The device's configuration space, for front-ends that have us answer for it (CONFIG). */
#include "vm/vu_config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <linux/virtio_net.h>

#include "vm/vm_control.h"
#include "vm/vu_back.h"

/*
 * The link is up whatever the uplink's is: VMs still talk to each other. Fields of features that we
 * don't offer are 0, and nobody may look at them.
 */
static struct virtio_net_config config_of(const struct vm_control *c)
{
	struct virtio_net_config config = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16(c->n_rings / 2),
		.mtu = htole16(c->mtu_option),
		.speed = htole32(c->link.speed),
		.duplex = c->link.duplex,
	};

	memcpy(config.mac, c->mac, sizeof(config.mac));
	return config;
}

bool vu_config_has(uint32_t offset, uint32_t size)
{
	return offset <= sizeof(struct virtio_net_config) &&
	       size <= sizeof(struct virtio_net_config) - offset;
}

int vu_config_read(const struct vm_control *c, uint32_t offset, uint32_t size, void *to)
{
	const struct virtio_net_config config = config_of(c);

	if (!vu_config_has(offset, size))
		return -ERANGE;
	memcpy(to, (const uint8_t *)&config + offset, size);
	return 0;
}

void vu_config_changed(struct vm_control *c)
{
	c->config_due = c->protocol_features >> VHOST_USER_PROTOCOL_F_CONFIG & 1;
	vu_config_resume(c);
}

void vu_config_resume(struct vm_control *c)
{
	if (c->config_due)
		c->config_due = vu_back_send(c, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0);
}

void vm_set_link(struct vm *vm, const struct vm_link *link)
{
	struct vm_control *c = vm->control;

	if (c->link.speed == link->speed && c->link.duplex == link->duplex)
		return;
	c->link = *link;
	vu_config_changed(c);
}
