/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Watches one network interface over rtnetlink: its address, its state, its end. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "control/link.h"
#include "control/log.h"
#include "control/loop.h"

#define READS_MAX 64 /* datagrams in one turn of the loop */

struct link {
	int fd;
	int ifindex;
	struct loop_watch *watch;
	link_function function;
	void *arg;
};

/* Asks for the interface as it is now: at the start, and when messages were lost. */
static int ask(const struct link *link)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		.info = {.ifi_family = AF_UNSPEC, .ifi_index = link->ifindex},
	};

	return send(link->fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

/* Reads one message; false if it is not about our interface. */
static bool parse(const struct link *link, const struct nlmsghdr *head, struct link_state *state)
{
	const struct ifinfomsg *info = NLMSG_DATA(head);
	const struct nlmsgerr *error = NLMSG_DATA(head);
	const struct rtattr *attr;
	int len;

	memset(state, 0, sizeof(*state));
	if (head->nlmsg_type == NLMSG_ERROR) { /* the answer to ask() if it isn't there */
		if (head->nlmsg_len < NLMSG_LENGTH(sizeof(*error)) || error->error != -ENODEV)
			return false;
		state->gone = true;
		return true;
	}
	if (head->nlmsg_type != RTM_NEWLINK && head->nlmsg_type != RTM_DELLINK)
		return false;
	if (head->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) || info->ifi_index != link->ifindex ||
	    info->ifi_family != AF_UNSPEC) /* AF_BRIDGE: it left a bridge, which is not its end */
		return false;
	if (head->nlmsg_type == RTM_DELLINK) {
		state->gone = true;
		return true;
	}
	state->up = (info->ifi_flags & IFF_UP) && (info->ifi_flags & IFF_RUNNING);
	len = head->nlmsg_len - NLMSG_LENGTH(sizeof(*info));
	for (attr = IFLA_RTA(info); RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
		if (attr->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(attr) == 6)
			memcpy(state->mac, RTA_DATA(attr), 6);
		else if (attr->rta_type == IFLA_MTU && RTA_PAYLOAD(attr) == 4)
			memcpy(&state->mtu, RTA_DATA(attr), 4);
	}
	return true;
}

/* Reads what came; only the last state counts, and the function may close us: it comes last. */
static void on_message(void *arg, uint32_t events)
{
	char buf[16384] __attribute__((aligned(8)));
	struct link_state state, last;
	struct link *link = arg;
	bool changed = false;
	unsigned i;

	(void)events;
	for (i = 0; i < READS_MAX; i++) {
		ssize_t n = recv(link->fd, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *head = (const struct nlmsghdr *)buf;
		unsigned left; /* the kernel pads messages, so it never wraps */

		if (n < 0 && errno == ENOBUFS) {
			ask(link);
			continue;
		}
		if (n <= 0)
			break;
		for (left = n; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
			if (!parse(link, head, &state) || (changed && last.gone))
				continue;
			last = state;
			changed = true;
		}
	}
	if (changed)
		link->function(link->arg, &last);
}

int link_open(struct link **out, struct loop *loop, int ifindex, link_function function, void *arg)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct link *link = calloc(1, sizeof(*link));
	int err;

	if (!link)
		return -ENOMEM;
	link->ifindex = ifindex;
	link->function = function;
	link->arg = arg;
	link->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (link->fd < 0 || bind(link->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		err = -errno;
		goto err;
	}
	err = loop_watch(loop, &link->watch, link->fd, EPOLLIN, on_message, link);
	if (!err)
		err = ask(link);
	if (err)
		goto err;
	*out = link;
	return 0;

err:
	link_close(link);
	return err;
}

void link_close(struct link *link)
{
	if (!link)
		return;
	loop_unwatch(link->watch);
	if (link->fd >= 0)
		close(link->fd);
	free(link);
}
