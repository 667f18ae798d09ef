/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a NIC holds its interrupts back: read, set and put back by way of sysfs. */
#include "nic/nic_defer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

/*
 * Theory of operation
 *
 * While a worker polls the driver, interrupts would only be in its way. With both settings the
 * kernel leaves them off after each poll, and looks by itself when nobody has polled for
 * gro_flush_timeout; after so many such looks without a frame it turns them on again. So a worker
 * may go to sleep at any time: what comes then is seen after that time at the latest.
 *
 * Netlink knows these settings since Linux 6.13 only; sysfs always had them. But /sys shows the
 * interfaces of the network namespace that it was mounted in, and that need not be ours. So we make
 * a mount of our own for each access: it belongs to our namespace, and is attached nowhere, so that
 * nobody else sees it and nothing is left behind. It takes CAP_SYS_ADMIN.
 */
static const struct setting {
	unsigned which;
	const char *name;
	unsigned long value; /* what the kernel's documentation of AF_XDP recommends */
} settings[] = {
	{NIC_DEFER_IRQS, "napi_defer_hard_irqs", 2},
	{NIC_DEFER_FLUSH, "gro_flush_timeout", 200000},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int close_with(int fd, int err)
{
	close(fd);
	return err;
}

/* A sysfs of our network namespace; or -errno. */
static int open_sysfs(void)
{
	int fs, mount;

	fs = fsopen("sysfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return close_with(fs, -errno);
	mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return close_with(fs, mount < 0 ? -errno : mount);
}

static int open_setting(const char *ifname, const struct setting *s, int flags)
{
	char path[128];
	int sysfs, fd;

	sysfs = open_sysfs();
	if (sysfs < 0)
		return sysfs;
	snprintf(path, sizeof(path), "class/net/%s/%s", ifname, s->name);
	fd = openat(sysfs, path, flags | O_CLOEXEC);
	return close_with(sysfs, fd < 0 ? -errno : fd);
}

static int get(const char *ifname, const struct setting *s, unsigned long *value)
{
	char text[32];
	ssize_t n;
	int fd;

	fd = open_setting(ifname, s, O_RDONLY);
	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return close_with(fd, -errno);
	text[n] = '\0';
	*value = strtoul(text, NULL, 10);
	return close_with(fd, 0);
}

static int set(const char *ifname, const struct setting *s, unsigned long value)
{
	char text[32];
	int fd, len;

	fd = open_setting(ifname, s, O_WRONLY);
	if (fd < 0)
		return fd;
	len = snprintf(text, sizeof(text), "%lu\n", value);
	return close_with(fd, write(fd, text, len) == len ? 0 : -errno);
}

int nic_defer_unset(const char *ifname)
{
	unsigned long value;
	unsigned i;
	int which = 0, err;

	for (i = 0; i < SETTINGS; i++) {
		err = get(ifname, &settings[i], &value);
		if (err)
			return err;
		if (!value)
			which |= settings[i].which;
	}
	return which;
}

int nic_defer_set(const char *ifname, unsigned which)
{
	unsigned i;
	int err;

	for (i = 0; i < SETTINGS; i++) {
		if (!(which & settings[i].which))
			continue;
		err = set(ifname, &settings[i], settings[i].value);
		if (err)
			return err;
	}
	return 0;
}

int nic_defer_put_back(const char *ifname, unsigned which)
{
	unsigned long value;
	unsigned i;
	int err = 0, ret;

	for (i = 0; i < SETTINGS; i++) {
		if (!(which & settings[i].which))
			continue;
		ret = get(ifname, &settings[i], &value);
		if (!ret && value == settings[i].value)
			ret = set(ifname, &settings[i], 0);
		if (ret)
			err = ret;
	}
	return err;
}
