/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The device's configuration space, for front-ends that have us answer for it (CONFIG). */
#ifndef VU_CONFIG_H
#define VU_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct vm_control;

/**
 * vu_config_read() - copy a part of struct virtio_net_config (virtio 1.2, 5.1.4)
 * @c:      the VM
 * @offset: bytes from its beginning
 * @size:   bytes
 * @to:     where they go
 *
 * Control thread. Return: 0; -ERANGE if they are not all within it.
 */
int vu_config_read(const struct vm_control *c, uint32_t offset, uint32_t size, void *to);

/** vu_config_has() - those bytes are within the configuration space. */
bool vu_config_has(uint32_t offset, uint32_t size);

/** vu_config_changed() - send CONFIG_CHANGE_MSG if the front-end takes it; now, or with room. */
void vu_config_changed(struct vm_control *c);

/** vu_config_resume() - there is a back-end channel, and room in it: send what waits. */
void vu_config_resume(struct vm_control *c);

#endif
