/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about a live migration: the dirty log, and the word to the new network. */
#include "vm/vm_control.h"
#include "vm/vu_request.h"

int msg_set_log_base(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_set_log_fd(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_send_rarp(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}
