/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the kernel dropped on its way into the TAP, brought into the host port's counters. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "host/host_stats.h"

/* Asks rtnetlink for one interface's counters: sysfs shows another network namespace's after
 * nsenter. */
static int ask(int fd, int ifindex)
{
	struct {
		struct nlmsghdr head;
		struct if_stats_msg body;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_GETSTATS,
			 .nlmsg_flags = NLM_F_REQUEST},
		.body = {.ifindex = ifindex,
			 .filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)},
	};

	return send(fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

static int read_answer(int fd, struct rtnl_link_stats64 *stats)
{
	char buf[4096] __attribute__((aligned(8)));
	const struct nlmsghdr *head = (const struct nlmsghdr *)buf;
	const struct rtattr *attr;
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct if_stats_msg) + sizeof(*attr)) ||
	    head->nlmsg_type != RTM_NEWSTATS)
		return -ENODATA;
	attr = (const struct rtattr *)((const char *)NLMSG_DATA(head) +
				       NLMSG_ALIGN(sizeof(struct if_stats_msg)));
	if (attr->rta_type != IFLA_STATS_LINK_64 || attr->rta_len < RTA_LENGTH(sizeof(*stats)) ||
	    (const char *)RTA_DATA(attr) + sizeof(*stats) > buf + n)
		return -ENODATA;
	memcpy(stats, RTA_DATA(attr), sizeof(*stats));
	return 0;
}

int host_stats_read(int ifindex, uint64_t *dropped)
{
	struct rtnl_link_stats64 stats;
	int fd, err;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	err = ask(fd, ifindex);
	if (!err)
		err = read_answer(fd, &stats); /* the kernel has answered within send() */
	if (!err)
		*dropped = stats.tx_dropped;
	close(fd);
	return err;
}
