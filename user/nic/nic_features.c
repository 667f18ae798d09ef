/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Asks the kernel by generic netlink what a NIC's driver can do for XDP and AF_XDP. */
#include "nic/nic_features.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/genetlink.h>
#include <linux/netlink.h>

/* Newer than Debian 12's headers: the family "netdev" (linux/netdev.h). */
#define FAMILY        "netdev"
#define CMD_DEV_GET   1
#define A_IFINDEX     1
#define A_ZC_MAX_SEGS 4
#define A_RX_METADATA 5
#define A_XSK         6
#define RX_HASH       2ull /* bit of A_RX_METADATA */
#define TX_CHECKSUM   2ull /* bit of A_XSK */

#define ANSWER_MAX 8192

struct request {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	struct nlattr attr;
	char value[16];
};

/* Attribute @type of a message's, if it has @size bytes or more; else NULL. */
static const void *find(const struct nlmsghdr *nl, uint16_t type, size_t size)
{
	size_t at = NLMSG_LENGTH(GENL_HDRLEN);
	struct nlattr a;

	while (at + NLA_HDRLEN <= nl->nlmsg_len) {
		memcpy(&a, (const char *)nl + at, sizeof(a));
		if (a.nla_len < NLA_HDRLEN || at + a.nla_len > nl->nlmsg_len)
			break;
		if ((a.nla_type & NLA_TYPE_MASK) == type)
			return a.nla_len >= NLA_HDRLEN + size ? (const char *)nl + at + NLA_HDRLEN
							      : NULL;
		at += NLA_ALIGN(a.nla_len);
	}
	return NULL;
}

static uint64_t get_u64(const struct nlmsghdr *nl, uint16_t type)
{
	const void *at = find(nl, type, sizeof(uint64_t));
	uint64_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return value;
}

/* Sends a request with one attribute, and waits for its answer. */
static int ask(int fd, uint16_t family, uint8_t cmd, uint16_t attr, const void *value, size_t len,
	       struct nlmsghdr *answer)
{
	struct request r = {
		.nl = {.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN + NLA_HDRLEN + NLA_ALIGN(len)),
		       .nlmsg_type = family,
		       .nlmsg_flags = NLM_F_REQUEST},
		.genl = {.cmd = cmd, .version = 1},
		.attr = {.nla_type = attr, .nla_len = NLA_HDRLEN + len},
	};
	const struct nlmsgerr *err;
	ssize_t n;

	memcpy(r.value, value, len);
	if (send(fd, &r, r.nl.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, answer, ANSWER_MAX, 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(answer, (size_t)n))
		return -EBADMSG;
	if (answer->nlmsg_type != NLMSG_ERROR)
		return answer->nlmsg_len >= NLMSG_LENGTH(GENL_HDRLEN) ? 0 : -EBADMSG;
	err = NLMSG_DATA(answer);
	return answer->nlmsg_len >= NLMSG_LENGTH(sizeof(*err)) && err->error < 0 ? err->error
										 : -EBADMSG;
}

static int ask_features(int fd, int ifindex, struct nic_features *f)
{
	union {
		struct nlmsghdr nl;
		char bytes[ANSWER_MAX];
	} answer;
	const uint32_t index = ifindex;
	const void *at;
	uint32_t segs = 0;
	uint16_t id;
	int err;

	err = ask(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, FAMILY,
		  sizeof(FAMILY), &answer.nl);
	if (err)
		return err;
	at = find(&answer.nl, CTRL_ATTR_FAMILY_ID, sizeof(id));
	if (!at)
		return -EBADMSG;
	memcpy(&id, at, sizeof(id));
	err = ask(fd, id, CMD_DEV_GET, A_IFINDEX, &index, sizeof(index), &answer.nl);
	if (err)
		return err;
	at = find(&answer.nl, A_ZC_MAX_SEGS, sizeof(segs));
	if (at)
		memcpy(&segs, at, sizeof(segs));
	*f = (struct nic_features){
		.zc_parts = segs,
		.hash = get_u64(&answer.nl, A_RX_METADATA) & RX_HASH,
		.out_csum = get_u64(&answer.nl, A_XSK) & TX_CHECKSUM,
	};
	return 0;
}

int nic_features_read(int ifindex, struct nic_features *f)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), err;

	memset(f, 0, sizeof(*f));
	if (fd < 0)
		return -errno;
	err = ask_features(fd, ifindex, f);
	close(fd);
	return err;
}
