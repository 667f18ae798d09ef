/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink, control side: opened in the best mode that the NIC offers, ports come and go. */
#include "nic/nic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <linux/if_ether.h>
#include <linux/if_link.h>

#include "control/log.h"
#include "nic/nic_queue.h"

/*
 * Theory of operation
 *
 * nic_open() attaches the XDP program and binds the trunk sockets, but leaves the map of sockets
 * empty: all frames still pass to the kernel. nic_attach() fills the map, and frames come in. So
 * the host's traffic is never without a way, whatever fails in between.
 *
 * nic.c has modes, nic_ports.c ports, nic_queue.c one queue and its sockets, umem.c the frames,
 * nic_xdp.c the XDP program, nic_set.c the NIC's settings, nic_features.c what its driver can do,
 * nic_busy.c busy polling, nic_stats.c the kernel's counters; nic_in.c and nic_out.c are what
 * workers run.
 */
#define TAGS_LEN (ETH_HLEN + 2 * 4) /* what may stand before an IP packet that the MTU counts */

static const struct port_ops nic_port_ops = {
	.in = nic_in,
	.done = nic_done,
	.out = nic_out,
	.wait = nic_wait,
};

/* Metadata of frames to be sent takes less than what the kernel keeps free before those that come.
 */
_Static_assert(UMEM_OUT_META <= UMEM_HEADROOM, "what fits on the way in fits on the way out");

/* The largest MTU whose frames fit @parts UMEM frames. */
static uint32_t mtu_max(uint32_t frame_size, unsigned parts)
{
	return parts * (frame_size - UMEM_HEADROOM) - TAGS_LEN;
}

static int read_info(const char *ifname, struct nic_info *info)
{
	int err = nic_info_read(ifname, info);

	if (err)
		log_error("uplink %s: %s; `ip link` lists the interfaces there are", ifname,
			  err == -ENODEV ? "no such interface" : strerror(-err));
	return err;
}

int nic_count_queues(const struct uplink_options *opt)
{
	struct nic_info info;
	int err, n;

	err = read_info(opt->ifname, &info);
	if (err)
		return err;
	n = nic_info_queues(opt->ifname);
	if (opt->queues > (unsigned)n) {
		log_error(
			"uplink %s: queues=%u, but the NIC has %d; ask for at most %d, or set its "
			"number with `ethtool -L`",
			opt->ifname, opt->queues, n, n);
		return -EINVAL;
	}
	if (opt->queues)
		n = opt->queues;
	return n < VXS_NIC_QUEUES_MAX ? n : VXS_NIC_QUEUES_MAX;
}

/*
 * How large UMEM frames are, and whether one frame may be in several of them. Not where the MTU
 * doesn't need it: with a program that takes such frames, a veth's far end sends what it would have
 * had to segment, 64 KB at a time.
 */
static int choose_frames(struct nic *nic, const struct nic_setup *setup, uint32_t mtu)
{
	const char *ifname = setup->opt->ifname;
	uint32_t max = mtu_max(UMEM_FRAME_LARGE, 1);

	nic->frame_size = mtu <= mtu_max(UMEM_FRAME_SMALL, 1) ? UMEM_FRAME_SMALL : UMEM_FRAME_LARGE;
	nic->sg = mtu > max;
	nic->parts_max = nic->sg ? NIC_PARTS_MAX : 1;
	if (nic->sg && (setup->trial.no_sg || !nic_queue_can_sg())) {
		log_error("uplink %s: MTU %u is more than the %u that fit a page, and longer "
			  "frames need Linux 6.6; lower it with `ip link set dev %s mtu %u`",
			  ifname, mtu, max, ifname, max);
		return -EMSGSIZE;
	}
	return 0;
}

/* Reads and judges the interface. */
static int inspect(struct nic *nic, const struct nic_setup *setup)
{
	const char *ifname = setup->opt->ifname;
	struct nic_info info;
	int err;

	err = read_info(ifname, &info);
	if (err)
		return err;
	snprintf(nic->ifname, sizeof(nic->ifname), "%s", ifname);
	if (info.loopback || !info.ethernet) {
		log_error("uplink %s: not an Ethernet interface; name a NIC", ifname);
		return -EINVAL;
	}
	err = nic_count_queues(setup->opt);
	if (err < 0)
		return err;
	nic->queues = err;
	nic->nic_queues = nic_info_queues(ifname);
	if (nic->queues < nic->nic_queues)
		log_warn("uplink %s: %u of %u queues served, frames on the others %s; `ethtool -L` "
			 "sets the NIC's number",
			 ifname, nic->queues, nic->nic_queues,
			 setup->host_share ? "take the slow way through the host"
					   : "do not reach VMs");
	err = choose_frames(nic, setup, info.mtu);
	if (err)
		return err;
	if (!info.up)
		log_warn("uplink %s: the interface is down; `ip link set dev %s up`", ifname,
			 ifname);
	nic->ifindex = info.ifindex;
	nic->mtu = info.mtu;
	memcpy(nic->mac, info.mac, sizeof(nic->mac));
	return 0;
}

static void close_queues(struct nic *nic)
{
	unsigned i;

	for (i = 0; i < nic->queues; i++)
		nic_queue_close(nic, i);
}

static int open_queues(struct nic *nic, uint16_t bind_flags)
{
	unsigned i;
	int err;

	for (i = 0; i < nic->queues; i++) {
		err = nic_queue_open(nic, i, bind_flags);
		if (err) {
			close_queues(nic);
			return err;
		}
	}
	return 0;
}

/* The modes from best to worst. */
static const struct mode {
	enum uplink_mode option;
	const char *name;
	uint32_t attach;
	uint16_t bind;
} modes[] = {
	{UPLINK_ZC, "zero-copy", XDP_FLAGS_DRV_MODE, XDP_ZEROCOPY},
	{UPLINK_COPY, "native copy", XDP_FLAGS_DRV_MODE, XDP_COPY},
	{UPLINK_SKB, "skb", XDP_FLAGS_SKB_MODE, XDP_COPY},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* Descriptors of a frame that the mode allows; drivers have less than an skb holds. */
static int choose_parts(struct nic *nic, const struct mode *mode)
{
	uint32_t zc = nic->features.zc_parts;

	if (!nic->sg)
		return 0;
	nic->parts_max = NIC_PARTS_MAX;
	if (mode->bind == XDP_ZEROCOPY && zc && zc < NIC_PARTS_MAX)
		nic->parts_max = zc;
	return nic->mtu <= mtu_max(nic->frame_size, nic->parts_max) ? 0 : -EMSGSIZE;
}

static int try_mode(struct nic *nic, const struct mode *mode, const char **step)
{
	int err;

	*step = "hold frames of its MTU";
	err = choose_parts(nic, mode);
	if (err)
		return err;
	*step = "attach the XDP program";
	err = nic_xdp_attach(nic, mode->attach);
	if (err)
		return err;
	*step = "bind AF_XDP sockets";
	err = open_queues(nic, mode->bind);
	if (err)
		nic_xdp_detach(nic);
	return err;
}

const char *nic_remedy(int err)
{
	switch (err) {
	case -EPERM:
		return "run vxsd as root or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";
	case -EBUSY:
	case -EEXIST:
		return "another program has the NIC's XDP hook or an AF_XDP socket on its queues; "
		       "end it";
	case -ENOBUFS:
		return "raise the limit of locked memory (`ulimit -l unlimited`)";
	case -ERANGE:
		return "lower the MTU of the interface, or of the far end of a veth";
	case -EAFNOSUPPORT:
		return "the kernel needs CONFIG_XDP_SOCKETS";
	}
	return "the kernel's log (dmesg) may say more";
}

static int choose_mode(struct nic *nic, enum uplink_mode asked)
{
	const char *step = "", *name = "";
	char refused[64] = "";
	int err = -EOPNOTSUPP;
	unsigned i;

	for (i = 0; i < MODES; i++) {
		if (asked != UPLINK_AUTO && asked != modes[i].option)
			continue;
		name = modes[i].name;
		err = try_mode(nic, &modes[i], &step);
		if (!err) {
			nic->mode = name;
			log_info("uplink %s: %s mode%s, %u of %u queues, UMEM on %s", nic->ifname,
				 nic->mode, refused, nic->queues, nic->nic_queues,
				 nic->queue[0]->umem.huge ? "huge pages" : "pages");
			return 0;
		}
		/* These are not about the mode: the next one would meet the same. */
		if (err == -EPERM || err == -EBUSY || err == -EEXIST || err == -ENOBUFS)
			break;
		snprintf(refused, sizeof(refused), " (%s: %s)", name, strerror(-err));
	}
	log_error("uplink %s: %s mode: cannot %s (%s); %s", nic->ifname, name, step, strerror(-err),
		  asked != UPLINK_AUTO && (err == -EOPNOTSUPP || err == -EINVAL)
			  ? "leave mode= out, and vxsd takes the best that works"
			  : nic_remedy(err));
	return err;
}

/* What the driver can do beside moving frames. */
static void look_at_features(struct nic *nic, const struct nic_setup *setup)
{
	int err = nic_features_read(nic->ifindex, &nic->features);

	if (err)
		log_debug("uplink %s: the kernel doesn't tell what the driver can do (%s)",
			  nic->ifname, strerror(-err));
	nic->meta = setup->trial.out_csum || nic->features.out_csum;
}

static void tell_features(const struct nic *nic)
{
	log_debug("uplink %s: frames in %s, checksums of sent frames by %s, flow hash by %s",
		  nic->ifname, nic->sg ? "several buffers" : "one buffer",
		  nic->meta ? "the NIC" : "vxsd", nic->hashes ? "the NIC" : "vxsd");
}

int nic_open(struct nic **out, const struct nic_setup *setup)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct nic *nic;
	int err;

	nic = calloc(1, sizeof(*nic));
	if (!nic)
		return -ENOMEM;
	nic->link_fd = -1;
	nic->sockets_fd = setup->sockets_fd;
	nic_set_init(&nic->set);
	err = inspect(nic, setup);
	if (err)
		goto err;
	nic->port = (struct port){
		.ops = &nic_port_ops,
		.id = VXS_PORT_UPLINK,
		.kind = VXS_KIND_UPLINK,
		.group = PORT_GROUP_WIRE,
		.n_in = nic->queues,
		.stats = setup->stats,
	};
	snprintf(nic->port.name, sizeof(nic->port.name), "%s", nic->ifname);
	nic->no_gro = setup->opt->no_gro;
	look_at_features(nic, setup);
	nic->busy_poll = setup->opt->busy_poll && nic_busy_check(nic->ifname);
	/* Only old kernels, or those without CAP_IPC_LOCK, need it; so failing is not fatal. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	err = nic_xdp_check(nic);
	if (err)
		goto err;
	err = nic_set_open(&nic->set, nic->ifname, nic->ifindex, setup->state_file);
	if (err)
		goto err;
	err = nic_xdp_load(nic, setup);
	if (err)
		goto err;
	err = choose_mode(nic, setup->opt->mode);
	if (err)
		goto err;
	tell_features(nic);
	*out = nic;
	return 0;
err:
	nic_free(nic);
	return err;
}

void nic_free(struct nic *nic)
{
	unsigned i, id;

	if (!nic)
		return;
	nic_detach(nic);
	for (id = 0; id < VXS_PORTS_MAX; id++) {
		for (i = 0; i < nic->queues && nic->vm[id]; i++)
			nic_socket_close(nic->queue[i], &nic->vm[id][i]);
		free(nic->vm[id]);
	}
	close_queues(nic);
	nic_xdp_unload(nic);
	nic_set_close(&nic->set);
	free(nic);
}

struct port *nic_port(struct nic *nic)
{
	return &nic->port;
}

int nic_add_address(struct nic *nic, const uint8_t mac[6])
{
	int err = nic_set_address(&nic->set, mac, true);

	if (err)
		log_warn("uplink %s: cannot let frames for %02x:%02x:%02x:%02x:%02x:%02x in (%s); "
			 "`ip link set dev %s promisc on` does",
			 nic->ifname, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
			 strerror(-err), nic->ifname);
	return err;
}

void nic_del_address(struct nic *nic, const uint8_t mac[6])
{
	nic_set_address(&nic->set, mac, false);
}

void nic_read_drops(struct nic *nic)
{
	unsigned i;

	for (i = 0; i < nic->queues; i++)
		nic_queue_read_drops(nic, nic->queue[i]);
}

int nic_refresh(struct nic *nic)
{
	char ifname[IF_NAMESIZE];
	struct nic_info info;
	uint32_t mtu;
	unsigned i;
	int err;

	/* It may have been renamed. */
	if (if_indextoname(nic->ifindex, ifname)) {
		memcpy(nic->ifname, ifname, sizeof(nic->ifname));
		memcpy(nic->set.ifname, ifname, sizeof(nic->set.ifname));
	}
	err = nic_info_read(nic->ifname, &info);
	if (err || info.ifindex != nic->ifindex) {
		if (nic->ifindex)
			log_error("uplink %s: the interface is gone; restart vxsd when it is back",
				  nic->ifname);
		nic->ifindex = 0;
		return -ENODEV;
	}
	if (memcmp(info.mac, nic->mac, sizeof(nic->mac)) != 0) {
		memcpy(nic->mac, info.mac, sizeof(nic->mac));
		nic_xdp_set_mac(nic);
	}
	mtu = mtu_max(nic->frame_size, nic->parts_max);
	if (info.mtu > mtu && mtu != nic->mtu)
		log_warn("uplink %s: MTU %u is more than the %u that fit its frames; restart vxsd "
			 "for larger ones",
			 nic->ifname, info.mtu, mtu);
	mtu = info.mtu < mtu ? info.mtu : mtu;
	__atomic_store_n(&nic->mtu, mtu, __ATOMIC_RELAXED);
	for (i = 0; i < nic->queues; i++)
		if (__atomic_load_n(&nic->queue[i]->left, __ATOMIC_RELAXED))
			nic_out_retry(nic->queue[i]);
	return 0;
}

void nic_state(const struct nic *nic, struct nic_state *state)
{
	struct nic_info info = {0};
	unsigned i;

	nic_info_read(nic->ifname, &info);
	*state = (struct nic_state){
		.ifname = nic->ifname,
		.ifindex = nic->ifindex,
		.mode = nic->mode,
		.umem = nic->queue[0]->umem.huge ? "huge pages" : "pages",
		.queues = nic->queues,
		.nic_queues = nic->nic_queues,
		.mtu = nic->mtu,
		.mtu_set = info.mtu,
		.mtu_most = mtu_max(nic->frame_size, nic->parts_max),
		.sg = nic->sg,
		.out_csum = nic->meta,
		.hashes = nic->hashes,
		.up = info.running,
		.busy_poll = nic->busy_poll,
		.busy_vain = nic->busy_told,
	};
	for (i = 0; i < nic->queues; i++) {
		const struct nic_queue *q = nic->queue[i];

		state->busy_queues += q->busy_fd >= 0;
		state->busy_polls += __atomic_load_n(&q->busy_polls, __ATOMIC_RELAXED);
		state->busy_hits += __atomic_load_n(&q->busy_hits, __ATOMIC_RELAXED);
	}
	memcpy(state->mac, nic->mac, sizeof(state->mac));
}
