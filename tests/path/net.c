/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes the two namespaces and their veth, and opens sockets in them. */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define RECV_BYTES (64 << 20)

int net_enter(int ns)
{
	return setns(ns, CLONE_NEWNET) ? -errno : 0;
}

/* A network namespace that lives as long as the descriptor; the thread is back home after it. */
static int new_ns(int home)
{
	int fd, err;

	if (unshare(CLONE_NEWNET))
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	err = fd < 0 ? -errno : fd;
	if (net_enter(home))
		abort(); /* never go on in the wrong namespace */
	return err;
}

/* Mounts of our own: bpffs, so that pins end with us, and /run. Once a process. */
static int own_mounts(void)
{
	static bool done;

	if (done)
		return 0;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
		return -errno;
	done = true;
	return 0;
}

static int run(int ns, char *out, size_t size, const char *command)
{
	size_t len = 0;
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		if (net_enter(ns))
			_exit(126);
		if (out)
			dup2(fd[1], 1);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(fd[1]);
	while (out && len < size - 1 && (n = read(fd[0], out + len, size - 1 - len)) > 0)
		len += n;
	if (out)
		out[len] = '\0';
	close(fd[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int net_run(int ns, const char *format, ...)
{
	char command[4096] = "PATH=$PATH:/usr/sbin:/sbin; ";
	size_t at = strlen(command);
	va_list args;

	va_start(args, format);
	vsnprintf(command + at, sizeof(command) - at, format, args);
	va_end(args);
	return run(ns, NULL, 0, command);
}

int net_ask(int ns, char *out, size_t size, const char *format, ...)
{
	char command[4096] = "PATH=$PATH:/usr/sbin:/sbin; ";
	size_t at = strlen(command);
	va_list args;

	va_start(args, format);
	vsnprintf(command + at, sizeof(command) - at, format, args);
	va_end(args);
	return run(ns, out, size, command);
}

static int make_veth(struct net *net, unsigned queues)
{
	static const char quiet[] = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; "
				    "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; "
				    "ip link set lo up;";
	static const uint8_t nic[6] = {2, 0, 0, 0, 0x77, 1}, far[6] = {2, 0, 0, 0, 0x77, 2};

	memcpy(net->nic_mac, nic, 6);
	memcpy(net->far_mac, far, 6);
	if (net_run(net->host,
		    "%s ip link add " NET_NIC " address 02:00:00:00:77:01 numrxqueues %u "
		    "numtxqueues %u type veth peer name " NET_FAR " address 02:00:00:00:77:02 "
		    "netns /proc/%d/fd/%d numrxqueues %u numtxqueues %u && "
		    "ip address add " NET_HOST_IP "/24 dev " NET_NIC " && ip link set " NET_NIC
		    " up",
		    quiet, queues, queues, getpid(), net->wire, queues, queues))
		return -EIO;
	/* A veth hands partial checksums over as they are: let the far end compute them. */
	if (net_run(net->wire,
		    "%s ip address add " NET_WIRE_IP "/24 dev " NET_FAR " && ip link set " NET_FAR
		    " up && ethtool -K " NET_FAR " tx off >/dev/null",
		    quiet))
		return -EIO;
	return 0;
}

int net_open(struct net *net, unsigned queues)
{
	int err;

	net->home = net->host = net->wire = -1;
	if (geteuid())
		return -EPERM;
	err = own_mounts();
	if (err)
		return err;
	net->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (net->home < 0)
		return -errno;
	net->host = err = new_ns(net->home);
	if (err < 0)
		goto err;
	net->wire = err = new_ns(net->home);
	if (err < 0)
		goto err;
	err = make_veth(net, queues);
	if (err)
		goto err;
	return 0;
err:
	net_close(net);
	return err;
}

void net_close(struct net *net)
{
	/* Don't leave it to the kernel's own time: the next test makes devices of the same names,
	 * though in other namespaces. */
	if (net->host >= 0 && net->wire >= 0)
		net_run(net->host, "ip link del " NET_NIC " 2>/dev/null");
	if (net->host >= 0)
		close(net->host);
	if (net->wire >= 0)
		close(net->wire);
	if (net->home >= 0)
		close(net->home);
	net->home = net->host = net->wire = -1;
}

int net_socket(struct net *net, int ns, int domain, int type, int protocol)
{
	int fd, err = net_enter(ns);

	if (err)
		return err;
	fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	err = fd < 0 ? -errno : fd;
	if (net_enter(net->home))
		abort();
	return err;
}

static int index_of(int fd, const char *ifname)
{
	struct ifreq req = {};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	return ioctl(fd, SIOCGIFINDEX, &req) ? -errno : req.ifr_ifindex;
}

int net_packet(struct net *net, int ns, const char *ifname)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = net_socket(net, ns, AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
	int on = 1, bytes = RECV_BYTES, err;

	if (fd < 0)
		return fd;
	addr.sll_ifindex = index_of(fd, ifname);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
	/* The kernel hides VLAN tags from the frame: the auxiliary data has them. */
	setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (addr.sll_ifindex < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		err = addr.sll_ifindex < 0 ? addr.sll_ifindex : -errno;
		close(fd);
		return err;
	}
	return fd;
}

int net_udp(struct net *net, int ns, const char *ip, uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = net_socket(net, ns, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int bytes = RECV_BYTES, on = 1, err;

	if (fd < 0)
		return fd;
	inet_pton(AF_INET, ip, &addr.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int net_flags(struct net *net, int ns, const char *ifname)
{
	int fd = net_socket(net, ns, AF_INET, SOCK_DGRAM, 0), flags = -1;
	struct ifreq req = {};

	if (fd < 0)
		return -1;
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	if (!ioctl(fd, SIOCGIFFLAGS, &req))
		flags = req.ifr_flags & 0xffff;
	close(fd);
	return flags;
}

/* Frames that a device dropped instead of sending; 0 if there is none of that name. */
static uint64_t dropped_by(int ns, const char *ifname)
{
	uint64_t dropped = 0;
	char line[1024], *at;

	if (net_ask(ns, line, sizeof(line), "grep -e '%s' /proc/net/dev", ifname))
		return 0;
	/* Eight columns of what came, then bytes, frames, errors, drops of what went. */
	at = strchr(line, ':');
	if (at)
		sscanf(at + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lu", &dropped);
	return dropped;
}

uint64_t net_dropped(struct net *net)
{
	return dropped_by(net->wire, NET_FAR);
}
