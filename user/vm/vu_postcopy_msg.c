/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about post-copy migration. */
#include "vm/vm_control.h"
#include "vm/vu_request.h"

int msg_postcopy_advise(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_postcopy_listen(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_postcopy_end(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}
