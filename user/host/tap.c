/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A TAP device of our own. */
#include "host/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "control/log.h"
#include "offload/offload.h"

#define TUN_PATH    "/dev/net/tun"
#define TAP_QUEUE   4096         /* frames that wait for us in the kernel */
#define TAP_MTU_MAX (65535 - 14) /* the driver's own limit */

#ifndef IFF_TUN_EXCL
#define IFF_TUN_EXCL 0x8000
#endif
#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* One of the SIOC*IF* requests about the device. */
static int if_ioctl(unsigned long request, struct ifreq *ifr)
{
	int err = 0, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, request, ifr))
		err = -errno;
	close(fd);
	return err;
}

static struct ifreq if_request(const struct tap *tap)
{
	struct ifreq ifr = {};

	memcpy(ifr.ifr_name, tap->name, sizeof(ifr.ifr_name));
	return ifr;
}

static int log_no_tun(int err)
{
	if (err == -EPERM || err == -EACCES)
		log_error("host: can't open %s: too few rights; run as root or with CAP_NET_ADMIN, "
			  "or use --host off",
			  TUN_PATH);
	else if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		log_error("host: %s is missing; load the module (modprobe tun), or use --host off",
			  TUN_PATH);
	else
		log_error("host: can't open %s: %s; use --host off to do without", TUN_PATH,
			  strerror(-err));
	return err;
}

static int log_no_tap(const char *name, int err)
{
	if (err == -EPERM || err == -EACCES)
		log_error("host: can't make %s: too few rights; run as root or with CAP_NET_ADMIN, "
			  "or use --host off",
			  name);
	else if (err == -EBUSY || err == -EEXIST || err == -EINVAL)
		log_error("host: %s exists: another switch of this name? Remove it (ip link del "
			  "%s), or choose another --name",
			  name, name);
	else
		log_error("host: can't make %s: %s", name, strerror(-err));
	return err;
}

/* Without IPv6 addresses the kernel has nothing to announce there. No IPv6 at all is as good. */
static void disable_ipv6(const char *name)
{
	char path[64 + IFNAMSIZ];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT)
			log_warn("host: can't write %s: %s; VMs may see IPv6 packets of %s", path,
				 strerror(errno), name);
		return;
	}
	if (write(fd, "1", 1) != 1)
		log_warn("host: can't write %s: %s; VMs may see IPv6 packets of %s", path,
			 strerror(errno), name);
	close(fd);
}

/* All that is set once and that frames don't depend on for their way. */
static int set_up_tap(struct tap *tap, int hdr_len)
{
	struct ifreq ifr = if_request(tap);

	/* Without offloads the kernel finishes checksums and segments before we read. */
	if (ioctl(tap->fd, TUNSETVNETHDRSZ, &hdr_len) || tap_set_offloads(tap, 0))
		return -errno;
	disable_ipv6(tap->name);
	ifr.ifr_qlen = TAP_QUEUE;
	if (if_ioctl(SIOCSIFTXQLEN, &ifr))
		log_debug("host: %s keeps its short queue", tap->name);
	tap->ifindex = if_nametoindex(tap->name);
	return tap->ifindex ? 0 : -errno;
}

int tap_open(struct tap *tap, const char *name, int hdr_len)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL};
	int err;

	*tap = (struct tap){.fd = -1};
	snprintf(tap->name, sizeof(tap->name), "%s", name);
	tap->fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return log_no_tun(-errno);
	memcpy(ifr.ifr_name, tap->name, sizeof(ifr.ifr_name));
	if (ioctl(tap->fd, TUNSETIFF, &ifr)) {
		err = log_no_tap(name, -errno);
		goto err;
	}
	err = set_up_tap(tap, hdr_len);
	if (err) {
		log_error("host: can't set up %s: %s", name, strerror(-err));
		goto err;
	}
	return 0;
err:
	tap_close(tap);
	return err;
}

void tap_close(struct tap *tap)
{
	if (tap->fd >= 0)
		close(tap->fd);
	tap->fd = -1;
}

int tap_set_offloads(const struct tap *tap, uint32_t offloads)
{
	static const struct {
		uint32_t offload;
		unsigned long flag;
	} flags[] = {
		{OFFLOAD_CSUM, TUN_F_CSUM}, {OFFLOAD_TSO4, TUN_F_TSO4},
		{OFFLOAD_TSO6, TUN_F_TSO6}, {OFFLOAD_ECN, TUN_F_TSO_ECN},
		{OFFLOAD_UFO, TUN_F_UFO},   {OFFLOAD_USO4, TUN_F_USO4},
		{OFFLOAD_USO6, TUN_F_USO6},
	};
	unsigned long all = 0;
	unsigned i;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (offloads & flags[i].offload)
			all |= flags[i].flag;
	return ioctl(tap->fd, TUNSETOFFLOAD, all) ? -errno : 0;
}

int tap_set_up(const struct tap *tap, bool up)
{
	struct ifreq ifr = if_request(tap);
	int err;

	err = if_ioctl(SIOCGIFFLAGS, &ifr);
	if (err)
		return err;
	/* No ARP, and no multicast groups that somebody could report on it. */
	ifr.ifr_flags &= ~(IFF_UP | IFF_MULTICAST);
	ifr.ifr_flags |= IFF_NOARP | (up ? IFF_UP : 0);
	return if_ioctl(SIOCSIFFLAGS, &ifr);
}

int tap_set_mtu(const struct tap *tap, unsigned mtu)
{
	struct ifreq ifr = if_request(tap);

	ifr.ifr_mtu = mtu < TAP_MTU_MAX ? mtu : TAP_MTU_MAX;
	return if_ioctl(SIOCSIFMTU, &ifr);
}
