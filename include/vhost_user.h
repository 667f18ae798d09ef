/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The vhost-user wire format: messages, payloads, feature bits. Shared with the tests' front-end.
 */
#ifndef VHOST_USER_H
#define VHOST_USER_H

#include <stdint.h>

#define VHOST_USER_REGIONS_MAX 8
#define VHOST_USER_FDS_MAX     8

#define VHOST_USER_VERSION      1
#define VHOST_USER_VERSION_MASK 3
#define VHOST_USER_REPLY        (1u << 2)
#define VHOST_USER_NEED_REPLY   (1u << 3)

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_POSTCOPY_ADVISE = 28,
	VHOST_USER_POSTCOPY_LISTEN = 29,
	VHOST_USER_POSTCOPY_END = 30,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_VRING_KICK = 35,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_SET_DEVICE_STATE_FD = 42,
	VHOST_USER_CHECK_DEVICE_STATE = 43,
	VHOST_USER_REQUESTS = 46, /* one more than the highest that the specification knows */
};

/* What a back-end asks of its front-end, on the socket of SET_BACKEND_REQ_FD. */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_VRING_CALL = 4,
	VHOST_USER_BACKEND_VRING_ERR = 5,
};

/* Protocol feature bits */
#define VHOST_USER_PROTOCOL_F_MQ                   0
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD            1
#define VHOST_USER_PROTOCOL_F_RARP                 2
#define VHOST_USER_PROTOCOL_F_REPLY_ACK            3
#define VHOST_USER_PROTOCOL_F_NET_MTU              4
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ          5
#define VHOST_USER_PROTOCOL_F_PAGEFAULT            8
#define VHOST_USER_PROTOCOL_F_CONFIG               9
#define VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD      10
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD       12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE         13
#define VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS 14
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS  15
#define VHOST_USER_PROTOCOL_F_STATUS               16
#define VHOST_USER_PROTOCOL_F_DEVICE_STATE         19

/* Virtio feature bits 26 and 30 belong to vhost and to vhost-user */
#define VHOST_USER_F_LOG_ALL           26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

#define VHOST_USER_LOG_PAGE                                                                        \
	4096 /* bytes of guest memory that a bit of the dirty log stands for                       \
	      */

#define VHOST_USER_ADDR_LOG (1u << 0) /* vring_addr.flags: log writes to the used ring */

#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NOFD       (1u << 8)

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, bytes */
};

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct vhost_user_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t mmap_offset;
};

struct vhost_user_memory {
	uint32_t n;
	uint32_t pad;
	struct vhost_user_region region[VHOST_USER_REGIONS_MAX];
};

struct vhost_user_one_region { /* ADD_MEM_REG, REM_MEM_REG */
	uint64_t pad;
	struct vhost_user_region region;
};

struct vhost_user_log {
	uint64_t size;
	uint64_t offset;
};

enum vhost_user_iotlb_type {
	VHOST_USER_IOTLB_MISS = 1,
	VHOST_USER_IOTLB_UPDATE = 2,
	VHOST_USER_IOTLB_INVALIDATE = 3,
	VHOST_USER_IOTLB_ACCESS_FAIL = 4,
};

#define VHOST_USER_ACCESS_RO 1 /* the device may read */
#define VHOST_USER_ACCESS_WO 2 /* or write */

struct vhost_user_iotlb { /* as the kernel's struct vhost_iotlb_msg */
	uint64_t iova;
	uint64_t size;
	uint64_t uva;
	uint8_t perm; /* VHOST_USER_ACCESS_* */
	uint8_t type; /* enum vhost_user_iotlb_type */
	uint8_t pad[6];
};

#define VHOST_USER_CONFIG_MAX  256
#define VHOST_USER_CONFIG_HEAD 12 /* bytes of the payload before the contents */

struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags; /* SET_CONFIG: 0 by the driver, 1 for a migration */
	uint8_t bytes[VHOST_USER_CONFIG_MAX];
};

struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t n_queues;
	uint16_t queue_size;
	uint8_t pad[4];
};

#define VHOST_USER_STATE_SAVE 0
#define VHOST_USER_STATE_LOAD 1
#define VHOST_USER_STATE_NOFD (1u << 8) /* in the reply: the front-end's own fd is used */

struct vhost_user_transfer { /* SET_DEVICE_STATE_FD */
	uint32_t direction;
	uint32_t phase; /* 0: the device is stopped */
};

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_one_region one;
	struct vhost_user_log log;
	struct vhost_user_iotlb iotlb;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
	struct vhost_user_transfer transfer;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_memory memory;
};

#endif
