/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about what outlives us: in-flight buffers, and the device's state. */
#include "vm/vm_control.h"
#include "vm/vu_request.h"

int msg_get_inflight_fd(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_set_inflight_fd(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_set_device_state_fd(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_check_device_state(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}
