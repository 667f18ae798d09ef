/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A vhost-user message on its way through the handlers. */
#ifndef VU_REQUEST_H
#define VU_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm_control;
struct vm_ring;
struct vu_message;

struct request {
	struct vm_control *c;
	struct vu_message *m;
	struct vm_ring *ring; /* for messages with an index */
	unsigned index;
	bool refused; /* the answer is a no, but the connection stays */
	bool reply;   /* the payload is a reply, of @reply_size bytes */
	uint32_t reply_size;
	int reply_fd; /* goes with it, and stays the handler's; -1: none */
	char *why;
	size_t why_len;
};

/** msg_refuse() - say what is wrong with a message; -EPROTO, which ends the connection. */
__attribute__((format(printf, 2, 3))) int msg_refuse(struct request *q, const char *format, ...);
/** msg_reply() - the payload, as the handler has left it, is the reply. */
void msg_reply(struct request *q, uint32_t size);
void msg_reply_u64(struct request *q, uint64_t value);

/**
 * msg_fd_is_eventfd() - whether @fd is one
 *
 * Nothing else is taken. Polling or writing other kinds of files runs other people's code, and a
 * FUSE file's, for one, may never return. Where there is no /proc, there is no telling.
 */
bool msg_fd_is_eventfd(int fd);

/*
 * The handlers, by the file that they are in. Sizes, file descriptors, index and negotiation are
 * checked before by the message's row in vu_msg.c; control thread. 0, or -errno: the connection
 * ends.
 */

/* vu_dev_msg.c */
int msg_get_features(struct request *q);
int msg_set_features(struct request *q);
int msg_get_protocol_features(struct request *q);
int msg_set_protocol_features(struct request *q);
int msg_set_owner(struct request *q);
int msg_reset_owner(struct request *q);
int msg_get_queue_num(struct request *q);
int msg_net_set_mtu(struct request *q);
int msg_set_backend_req_fd(struct request *q);
int msg_get_config(struct request *q);
int msg_set_config(struct request *q);
int msg_reset_device(struct request *q);
int msg_set_status(struct request *q);
int msg_get_status(struct request *q);

/* vu_ring_msg.c */
int msg_set_vring_num(struct request *q);
int msg_set_vring_addr(struct request *q);
int msg_set_vring_base(struct request *q);
int msg_get_vring_base(struct request *q);
int msg_set_vring_enable(struct request *q);
int msg_set_vring_kick(struct request *q);
int msg_set_vring_call(struct request *q);
int msg_set_vring_err(struct request *q);
int msg_vring_kick(struct request *q);

/* vu_mem_msg.c */
int msg_set_mem_table(struct request *q);
int msg_get_max_mem_slots(struct request *q);
int msg_add_mem_reg(struct request *q);
int msg_rem_mem_reg(struct request *q);

/* vm_iotlb.c */
int msg_iotlb(struct request *q);

/* vu_migrate_msg.c */
int msg_set_log_base(struct request *q);
int msg_set_log_fd(struct request *q);
int msg_send_rarp(struct request *q);

/* vu_postcopy_msg.c */
int msg_postcopy_advise(struct request *q);
int msg_postcopy_listen(struct request *q);
int msg_postcopy_end(struct request *q);
/* The end of SET_MEM_TABLE, if it is part of one: the answer to it. */
int msg_postcopy_table(struct request *q);
/* Whatever message comes after that has to be the front-end's acknowledgement. */
int msg_postcopy_ack(struct request *q);

/* vu_keep_msg.c */
int msg_get_inflight_fd(struct request *q);
int msg_set_inflight_fd(struct request *q);
int msg_set_device_state_fd(struct request *q);
int msg_check_device_state(struct request *q);

#endif
