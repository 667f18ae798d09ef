/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC programs on NIC and TAP. */
#include "host/host_tc.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "control/log.h"
#include "host_share.skel.h"

/*
 * Theory of operation
 *
 * The filters have one handle and one priority, always the same, so that those of a killed daemon
 * are found again and replaced in one step. Filters that users number are below our priority and
 * come first; those that the kernel numbers (from 49152 down) come after ours.
 *
 * The clsact qdisc goes at the end only if we made it (or a killed daemon did, whose filters we
 * found) and if nobody else has put a filter there meanwhile.
 */

#define HANDLE   1
#define PRIORITY 0x7678

/* One filter: where it hangs, and which program it is. */
struct filter {
	int ifindex;
	enum bpf_tc_attach_point where;
	bool attached;
};

enum { NIC_EGRESS, NIC_INGRESS, TAP_INGRESS, FILTERS };

struct host_tc {
	char nic_name[IFNAMSIZ], tap_name[IFNAMSIZ];
	struct host_share_bpf *skel;
	struct filter filter[FILTERS];
	bool own_qdisc; /* of the NIC */
};

static struct bpf_tc_hook hook_of(const struct filter *f)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = f->ifindex, .attach_point = f->where);

	return hook;
}

static const char *place(const struct filter *f)
{
	return f->where == BPF_TC_EGRESS ? "egress" : "ingress";
}

/* Whether a program of this name is in our place: 1 it is, 0 there is none, -EEXIST another is. */
static int find_stale(const struct filter *f, const char *name)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
	struct bpf_tc_hook hook = hook_of(f);
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int fd, err;

	if (bpf_tc_query(&hook, &opts))
		return 0;
	fd = bpf_prog_get_fd_by_id(opts.prog_id);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = bpf_obj_get_info_by_fd(fd, &info, &len) ? -errno : 0;
	close(fd);
	if (err)
		return err;
	return strncmp(info.name, name, sizeof(info.name) - 1) ? -EEXIST : 1;
}

/* Whether anybody's filter hangs there; in doubt somebody's does. */
static bool has_filters(const struct filter *f)
{
	struct {
		struct nlmsghdr nl;
		struct tcmsg tc;
	} ask = {
		.nl = {.nlmsg_len = sizeof(ask),
		       .nlmsg_type = RTM_GETTFILTER,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.tc = {.tcm_family = AF_UNSPEC,
		       .tcm_ifindex = f->ifindex,
		       .tcm_parent = TC_H_MAKE(TC_H_CLSACT, f->where == BPF_TC_EGRESS
								    ? TC_H_MIN_EGRESS
								    : TC_H_MIN_INGRESS)},
	};
	struct timeval limit = {.tv_sec = 2};
	struct nlmsghdr *first;
	char answer[32768];
	bool found = true;
	ssize_t n;
	int fd;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return true;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (send(fd, &ask, sizeof(ask), 0) == sizeof(ask)) {
		/* The first message tells: it is a filter, or the end of the list. */
		n = recv(fd, answer, sizeof(answer), 0);
		first = (struct nlmsghdr *)answer;
		found = n < (ssize_t)sizeof(*first) || first->nlmsg_type != NLMSG_DONE;
	}
	close(fd);
	return found;
}

static struct bpf_program *program_of(const struct host_tc *tc, unsigned i)
{
	switch (i) {
	case NIC_EGRESS:
		return tc->skel->progs.vxs_nic_egress;
	case NIC_INGRESS:
		return tc->skel->progs.vxs_nic_ingress;
	default:
		return tc->skel->progs.vxs_tap_ingress;
	}
}

static const char *ifname_of(const struct host_tc *tc, unsigned i)
{
	return i == TAP_INGRESS ? tc->tap_name : tc->nic_name;
}

static int load_programs(struct host_tc *tc, const struct host_tc_setup *setup)
{
	int err;

	tc->skel = host_share_bpf__open();
	if (!tc->skel) {
		err = -errno;
		log_error("host: can't read the built-in TC programs: %s", strerror(-err));
		return err;
	}
	tc->skel->rodata->nic_ifindex = setup->nic_ifindex;
	tc->skel->rodata->tap_ifindex = setup->tap_ifindex;
	err = bpf_map__reuse_fd(tc->skel->maps.fdb, setup->fdb_fd);
	if (!err)
		err = host_share_bpf__load(tc->skel);
	if (err == -EPERM || err == -EACCES)
		log_error("host: the kernel refuses the TC programs for %s: too few rights; run as "
			  "root or with CAP_BPF and CAP_NET_ADMIN, or use --host off",
			  setup->nic_name);
	else if (err)
		log_error("host: the kernel refuses the TC programs for %s: %s; --log-level debug "
			  "shows why, --host off does without",
			  setup->nic_name, strerror(-err));
	return err;
}

/* Makes sure that the NIC has a clsact qdisc, and finds out whose it is. */
static int open_qdisc(struct host_tc *tc)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = tc->filter[NIC_EGRESS].ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	unsigned i;
	int err;

	err = bpf_tc_hook_create(&hook);
	if (err && err != -EEXIST) {
		log_error("host: can't add a clsact qdisc to %s: %s; the kernel needs "
			  "CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF (modprobe sch_ingress), "
			  "--host off does without",
			  tc->nic_name, strerror(-err));
		return err;
	}
	tc->own_qdisc = !err;
	for (i = NIC_EGRESS; i <= NIC_INGRESS; i++) {
		err = find_stale(&tc->filter[i], bpf_program__name(program_of(tc, i)));
		if (err < 0) {
			log_error("host: %s has a TC filter on %s that isn't ours; remove it: tc "
				  "filter del dev %s %s pref %d",
				  tc->nic_name, place(&tc->filter[i]), tc->nic_name,
				  place(&tc->filter[i]), PRIORITY);
			return err;
		}
		if (err) {
			log_info("host: replacing the filter of a former run on %s %s",
				 tc->nic_name, place(&tc->filter[i]));
			tc->own_qdisc = true;
			tc->filter[i].attached = true; /* goes with ours, should the rest fail */
		}
	}
	return 0;
}

static int attach(struct host_tc *tc, unsigned i)
{
	struct filter *f = &tc->filter[i];
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY,
		    .prog_fd = bpf_program__fd(program_of(tc, i)), .flags = BPF_TC_F_REPLACE);
	struct bpf_tc_hook hook = hook_of(f);
	int err = 0;

	if (i == TAP_INGRESS) /* it goes with the TAP */
		err = bpf_tc_hook_create(&hook);
	if (!err || err == -EEXIST)
		err = bpf_tc_attach(&hook, &opts);
	if (err)
		log_error("host: can't attach a TC filter to %s %s: %s; is a qdisc other than "
			  "clsact in its place? (tc qdisc show dev %s)",
			  ifname_of(tc, i), place(f), strerror(-err), ifname_of(tc, i));
	else
		f->attached = true;
	return err;
}

int host_tc_open(struct host_tc **out, const struct host_tc_setup *setup)
{
	struct host_tc *tc;
	unsigned i;
	int err;

	tc = calloc(1, sizeof(*tc));
	if (!tc)
		return -ENOMEM;
	snprintf(tc->nic_name, sizeof(tc->nic_name), "%s", setup->nic_name);
	snprintf(tc->tap_name, sizeof(tc->tap_name), "%s", setup->tap_name);
	tc->filter[NIC_EGRESS] = (struct filter){setup->nic_ifindex, BPF_TC_EGRESS, false};
	tc->filter[NIC_INGRESS] = (struct filter){setup->nic_ifindex, BPF_TC_INGRESS, false};
	tc->filter[TAP_INGRESS] = (struct filter){setup->tap_ifindex, BPF_TC_INGRESS, false};

	err = load_programs(tc, setup);
	if (!err)
		err = open_qdisc(tc);
	for (i = FILTERS; !err && i-- > 0;) /* the way out of the TAP before the ways into it */
		err = attach(tc, i);
	if (err)
		goto err;
	/* The filters hold the programs from now on. */
	host_share_bpf__destroy(tc->skel);
	tc->skel = NULL;
	*out = tc;
	return 0;
err:
	host_tc_close(tc);
	return err;
}

/* The NIC's clsact qdisc goes, unless somebody has a filter there. */
static void remove_qdisc(const struct filter *egress, const struct filter *ingress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = egress->ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	if (!has_filters(egress) && !has_filters(ingress))
		bpf_tc_hook_destroy(&hook);
}

void host_tc_tidy(int nic_ifindex, const char *nic_name)
{
	static const char *const program[] = {"vxs_nic_egress", "vxs_nic_ingress"};
	struct filter f[] = {{nic_ifindex, BPF_TC_EGRESS, false},
			     {nic_ifindex, BPF_TC_INGRESS, false}};
	bool ours = false;
	unsigned i;

	for (i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
		struct bpf_tc_hook hook = hook_of(&f[i]);

		if (find_stale(&f[i], program[i]) != 1)
			continue;
		log_info("host: removing the filter of a former run from %s %s", nic_name,
			 place(&f[i]));
		bpf_tc_detach(&hook, &opts);
		ours = true;
	}
	if (ours)
		remove_qdisc(&f[0], &f[1]);
}

void host_tc_close(struct host_tc *tc)
{
	unsigned i;

	if (!tc)
		return;
	for (i = 0; i < FILTERS; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
		struct bpf_tc_hook hook = hook_of(&tc->filter[i]);

		if (tc->filter[i].attached)
			bpf_tc_detach(&hook, &opts); /* fails if the device is gone: fine */
	}
	if (tc->own_qdisc)
		remove_qdisc(&tc->filter[NIC_EGRESS], &tc->filter[NIC_INGRESS]);
	host_share_bpf__destroy(tc->skel);
	free(tc);
}
