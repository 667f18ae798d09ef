/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NIC's settings: read, changed while vxsd runs, and put back. */
#include "nic/nic_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>

#include <bpf/libbpf.h>

#include "control/log.h"
#include "nic/nic_defer.h"

/*
 * Theory of operation
 *
 * Two kinds of settings. Features (VLAN stripping, LRO) and what busy polling needs (nic_defer.c)
 * stay as they are when a process dies, so
 * the former values are written to the state file before the first change; the next start, even
 * after kill -9, takes them from there. Address filters are memberships of a packet socket, and the
 * kernel undoes those when the socket closes, however the process ended.
 *
 * With a hardware filter the NIC takes in the addresses of VMs and nothing else; where the driver
 * has none, the kernel itself makes the device promiscuous for the first entry. Promiscuous mode is
 * never asked for beyond that: unknown unicast that a physical switch floods is for other machines
 * nearly always, and each such frame would cost the host an interrupt. A VM is known from its first
 * frame on, or from the start with mac=. Multicast is different: guests join groups (each IPv6
 * address is one) without telling us, so all of it must come in.
 */
static const struct feature {
	uint32_t flag;
	const char *name;
	const char *harm; /* what happens if it can't be switched off */
} features[] = {
	{ETH_FLAG_RXVLAN, "rxvlan", "VLAN tags that the NIC strips are lost to VMs"},
	{ETH_FLAG_LRO, "lro", "frames that the NIC merges don't reach VMs"},
};
#define FEATURES (sizeof(features) / sizeof(features[0]))

static int do_ioctl(const char *ifname, unsigned long request, struct ifreq *ifr)
{
	int fd, err = 0;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", ifname);
	if (ioctl(fd, request, ifr) < 0)
		err = -errno;
	close(fd);
	return err;
}

int nic_info_read(const char *ifname, struct nic_info *info)
{
	struct nic_info new = {0};
	struct ifreq ifr = {0};
	int err;

	err = do_ioctl(ifname, SIOCGIFINDEX, &ifr);
	if (err)
		return err;
	new.ifindex = ifr.ifr_ifindex;
	err = do_ioctl(ifname, SIOCGIFFLAGS, &ifr);
	if (err)
		return err;
	new.up = ifr.ifr_flags &IFF_UP;
	new.running = new.up &&ifr.ifr_flags &IFF_RUNNING;
	new.loopback = ifr.ifr_flags &IFF_LOOPBACK;
	err = do_ioctl(ifname, SIOCGIFMTU, &ifr);
	if (err)
		return err;
	new.mtu = ifr.ifr_mtu;
	err = do_ioctl(ifname, SIOCGIFHWADDR, &ifr);
	if (err)
		return err;
	new.ethernet = ifr.ifr_hwaddr.sa_family == ARPHRD_ETHER;
	memcpy(new.mac, ifr.ifr_hwaddr.sa_data, sizeof(new.mac));
	*info = new;
	return 0;
}

int nic_info_queues(const char *ifname)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {.ifr_data = (void *)&channels};
	int n;

	if (do_ioctl(ifname, SIOCETHTOOL, &ifr))
		return 1;
	n = channels.rx_count + channels.combined_count;
	return n > 0 ? n : 1;
}

void nic_info_speed(const char *ifname, uint32_t *speed, uint8_t *duplex)
{
	uint32_t room[sizeof(struct ethtool_link_settings) / 4 + 3 * INT8_MAX] = {
		0}; /* and masks */
	struct ethtool_link_settings *link = (void *)room;
	struct ifreq ifr = {.ifr_data = (void *)room};

	*speed = SPEED_UNKNOWN;
	*duplex = DUPLEX_UNKNOWN;
	link->cmd = ETHTOOL_GLINKSETTINGS;
	/* the kernel first says how many words its masks have, negative, and nothing else */
	if (do_ioctl(ifname, SIOCETHTOOL, &ifr) || link->link_mode_masks_nwords >= 0)
		return;
	link->cmd = ETHTOOL_GLINKSETTINGS;
	link->link_mode_masks_nwords = -link->link_mode_masks_nwords;
	if (do_ioctl(ifname, SIOCETHTOOL, &ifr) || link->link_mode_masks_nwords <= 0)
		return;
	/* 0: what virtio allows ends at INT_MAX, and some drivers say 0 while there is no link */
	if (link->speed && link->speed <= INT32_MAX)
		*speed = link->speed;
	if (link->duplex <= DUPLEX_FULL)
		*duplex = link->duplex;
}

static int flags_get(const char *ifname, uint32_t *flags)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GFLAGS};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	int err;

	err = do_ioctl(ifname, SIOCETHTOOL, &ifr);
	if (!err)
		*flags = value.data;
	return err;
}

/* One flag at a time: the kernel refuses a change as a whole if one of its flags is fixed. */
static int flag_set(const char *ifname, uint32_t flag, bool on)
{
	struct ethtool_value value = {.cmd = ETHTOOL_SFLAGS};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	uint32_t now;
	int err;

	err = flags_get(ifname, &now);
	if (err)
		return err;
	value.data = on ? now | flag : now & ~flag;
	return value.data == now ? 0 : do_ioctl(ifname, SIOCETHTOOL, &ifr);
}

/* The state file is one line: IFNAME rxvlan=0|1 lro=0|1 defer=NIC_DEFER_*; older ones had no defer.
 */
static bool state_read(const char *path, char ifname[IF_NAMESIZE], uint32_t *before,
		       unsigned *defer)
{
	unsigned rxvlan, lro;
	bool ok;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return false;
	*defer = 0;
	ok = fscanf(f, "%15s rxvlan=%u lro=%u defer=%u", ifname, &rxvlan, &lro, defer) >= 3;
	fclose(f);
	if (ok)
		*before = (rxvlan ? ETH_FLAG_RXVLAN : 0) | (lro ? ETH_FLAG_LRO : 0);
	return ok;
}

static int state_write(const char *path, const char *ifname, uint32_t before, unsigned defer)
{
	char new[4096];
	FILE *f;

	if (snprintf(new, sizeof(new), "%s.new", path) >= (int)sizeof(new))
		return -ENAMETOOLONG;
	f = fopen(new, "we");
	if (!f)
		return -errno;
	fprintf(f, "%s rxvlan=%d lro=%d defer=%u\n", ifname, !!(before & ETH_FLAG_RXVLAN),
		!!(before & ETH_FLAG_LRO), defer);
	if (fclose(f) || rename(new, path)) {
		int err = -errno;

		unlink(new);
		return err;
	}
	return 0;
}

/* Writes down what is to be put back; without a state file it is not kept. */
static void keep(const struct nic_set *set)
{
	int err = 0;

	if (set->state_file)
		err = state_write(set->state_file, set->ifname, set->before, set->defer);
	if (err)
		log_warn("uplink %s: cannot keep its settings in %s (%s): they are lost if vxsd is "
			 "killed",
			 set->ifname, set->state_file, strerror(-err));
}

static void put_back_defer(const char *ifname, unsigned defer)
{
	int err = nic_defer_put_back(ifname, defer);

	if (err)
		log_warn("uplink %s: cannot put napi_defer_hard_irqs and gro_flush_timeout back "
			 "(%s); write 0 into these files of /sys/class/net/%s",
			 ifname, strerror(-err), ifname);
}

static void put_back(const char *ifname, uint32_t before, unsigned defer)
{
	struct nic_info info;
	unsigned i;
	int err;

	if (nic_info_read(ifname, &info))
		return; /* it is gone, and its settings with it */
	put_back_defer(ifname, defer);
	for (i = 0; i < FEATURES; i++) {
		if (!(before & features[i].flag))
			continue;
		err = flag_set(ifname, features[i].flag, true);
		if (err)
			log_warn("uplink %s: cannot put %s back (%s); do it with "
				 "`ethtool -K %s %s on`",
				 ifname, features[i].name, strerror(-err), ifname,
				 features[i].name);
	}
}

static int switch_off(struct nic_set *set)
{
	char old[IF_NAMESIZE];
	uint32_t now = 0, before;
	unsigned i, defer;
	int err;

	if (set->state_file && state_read(set->state_file, old, &before, &defer) &&
	    !strcmp(old, set->ifname)) {
		set->before = before;
		put_back_defer(set->ifname, defer); /* it may be without busy polling this time */
	}
	if (flags_get(set->ifname, &now))
		now = 0; /* a driver without such features needs nothing */
	for (i = 0; i < FEATURES; i++)
		set->before |= now & features[i].flag;
	keep(set); /* even if none is on: the next start then knows which NIC it was */
	for (i = 0; i < FEATURES; i++) {
		if (!(now & features[i].flag))
			continue;
		err = flag_set(set->ifname, features[i].flag, false);
		if (err == -EPERM)
			return err;
		if (err) {
			set->before &= ~features[i].flag;
			log_warn("uplink %s: the driver keeps %s on (%s): %s", set->ifname,
				 features[i].name, strerror(-err), features[i].harm);
		}
	}
	return 0;
}

static int membership(const struct nic_set *set, uint16_t type, const uint8_t mac[6], bool add)
{
	struct packet_mreq mreq = {.mr_ifindex = set->ifindex, .mr_type = type};

	if (mac) {
		mreq.mr_alen = 6;
		memcpy(mreq.mr_address, mac, 6);
	}
	if (setsockopt(set->packet_fd, SOL_PACKET,
		       add ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, &mreq,
		       sizeof(mreq)) < 0)
		return -errno;
	return 0;
}

void nic_set_init(struct nic_set *set)
{
	memset(set, 0, sizeof(*set));
	set->packet_fd = -1;
}

int nic_set_open(struct nic_set *set, const char *ifname, int ifindex, const char *state_file)
{
	int err;

	snprintf(set->ifname, sizeof(set->ifname), "%s", ifname);
	set->ifindex = ifindex;
	if (state_file) {
		set->state_file = strdup(state_file);
		if (!set->state_file)
			return -ENOMEM;
	}
	/* Protocol 0: the socket holds memberships and never receives a frame. */
	set->packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (set->packet_fd < 0) {
		err = -errno;
		goto err;
	}
	err = membership(set, PACKET_MR_ALLMULTI, NULL, true);
	if (err)
		goto err;
	err = switch_off(set);
	if (err)
		goto err;
	return 0;
err:
	log_error("uplink %s: cannot change its settings (%s)%s", ifname, strerror(-err),
		  err == -EPERM ? "; run vxsd as root or with CAP_NET_ADMIN and CAP_NET_RAW" : "");
	return err;
}

void nic_set_defer(struct nic_set *set)
{
	int err = nic_defer_unset(set->ifname);

	if (err > 0) {
		set->defer = err;
		keep(set);
		err = nic_defer_set(set->ifname, set->defer);
	}
	if (err)
		log_warn("uplink %s: busy-poll=on: cannot hold its interrupts back (%s), so they "
			 "come as well; write 2 into napi_defer_hard_irqs and 200000 into "
			 "gro_flush_timeout of /sys/class/net/%s",
			 set->ifname, strerror(-err), set->ifname);
}

int nic_set_restore(const char *state_file, const char *except, char ifname[IF_NAMESIZE])
{
	uint32_t before, id = 0;
	unsigned defer;
	int ifindex;

	if (!state_read(state_file, ifname, &before, &defer) || !strcmp(ifname, except))
		return 0;
	unlink(state_file);
	ifindex = if_nametoindex(ifname);
	if (!ifindex || bpf_xdp_query_id(ifindex, 0, &id) || id)
		return 0;
	put_back(ifname, before, defer);
	return ifindex;
}

void nic_set_close(struct nic_set *set)
{
	if (set->packet_fd >= 0)
		close(set->packet_fd);
	set->packet_fd = -1;
	if (set->before || set->defer)
		put_back(set->ifname, set->before, set->defer);
	set->before = 0;
	set->defer = 0;
	if (set->state_file)
		unlink(set->state_file);
	free(set->state_file);
	set->state_file = NULL;
}

int nic_set_address(struct nic_set *set, const uint8_t mac[6], bool add)
{
	return membership(set, PACKET_MR_UNICAST, mac, add);
}
