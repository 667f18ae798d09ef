/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP program on the NIC: loaded on the switch's maps, attached by a link. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "control/log.h"
#include "nic_in.skel.h"
#include "switch/fdb.h"

/*
 * Theory of operation
 *
 * The program is attached by a BPF link, not through libxdp's dispatcher. A link ends with the
 * process that holds it, also after kill -9: the host's frames then go on to the kernel as ever,
 * and the next start finds the NIC clean. The dispatcher would have to be pinned for its programs
 * to share the NIC, so that it would stay behind, and it needs BPF_PROG_TYPE_EXT, which many places
 * (containers, confidential guests) refuse. The price is that the NIC must have no other program.
 */
#define PROGRAM "nic_in"
#define LEFT_MS 3000 /* how long a killed vxsd may take to leave the NIC */
#define STEP_MS 20

static int quiet_print(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[512];
	size_t len;

	(void)level;
	vsnprintf(line, sizeof(line), format, args);
	len = strcspn(line, "\n");
	line[len] = 0;
	if (len)
		log_debug("%s", line);
	return 0;
}

/* Id of the program that is attached, 0: none; and what `ip link` calls its hook. */
static uint32_t attached_program(int ifindex, const char **hook)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query(ifindex, 0, &opts))
		return 0;
	if (opts.skb_prog_id) {
		*hook = "xdpgeneric";
		return opts.skb_prog_id;
	}
	if (opts.hw_prog_id) {
		*hook = "xdpoffload";
		return opts.hw_prog_id;
	}
	*hook = "xdp";
	return opts.drv_prog_id ?: opts.prog_id;
}

static void program_name(uint32_t id, char *name, size_t size)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd;

	snprintf(name, size, "?");
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		snprintf(name, size, "%s", info.name);
	close(fd);
}

int nic_xdp_check(const struct nic *nic)
{
	char name[BPF_OBJ_NAME_LEN] = "?";
	const char *hook = "xdp";
	unsigned waited = 0;
	uint32_t id;

	libbpf_set_print(quiet_print);
	for (;;) {
		id = attached_program(nic->ifindex, &hook);
		if (!id)
			return 0;
		program_name(id, name, sizeof(name));
		/* One of ours may be a vxsd that was killed just now and isn't quite gone. */
		if (strcmp(name, PROGRAM) != 0 || waited >= LEFT_MS)
			break;
		poll(NULL, 0, STEP_MS);
		waited += STEP_MS;
	}
	log_error("uplink %s: XDP program %u (%s) is attached already; end its owner, or remove it "
		  "with `ip link set dev %s %s off`",
		  nic->ifname, id, name, nic->ifname, hook);
	return -EBUSY;
}

int nic_xdp_load(struct nic *nic, const struct nic_setup *setup)
{
	int err;

	nic->bpf = (struct nic_in_bpf *)nic_in_bpf__open();
	if (!nic->bpf) {
		err = -errno;
		goto err;
	}
	nic->bpf->rodata->queues = nic->queues;
	nic->bpf->rodata->host_share = setup->host_share;
	err = bpf_map__reuse_fd(nic->bpf->maps.fdb, setup->fdb_fd);
	if (err)
		goto err;
	err = bpf_map__reuse_fd(nic->bpf->maps.sockets, setup->sockets_fd);
	if (err)
		goto err;
	err = nic_in_bpf__load(nic->bpf);
	if (err)
		goto err;
	nic_xdp_set_mac(nic);
	return 0;
err:
	log_error("uplink %s: cannot load the XDP program (%s)%s", nic->ifname, strerror(-err),
		  err == -EPERM ? "; run vxsd as root or with CAP_BPF and CAP_NET_ADMIN"
				: "; --log-level debug shows the kernel's reasons");
	return err;
}

int nic_xdp_attach(struct nic *nic, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd;

	fd = bpf_link_create(bpf_program__fd(nic->bpf->progs.nic_in), nic->ifindex, BPF_XDP, &opts);
	if (fd < 0)
		return fd;
	nic->link_fd = fd;
	return 0;
}

void nic_xdp_detach(struct nic *nic)
{
	if (nic->link_fd < 0)
		return;
	/* Detaching first: closing alone may leave the work to a kernel thread for later. */
	bpf_link_detach(nic->link_fd);
	close(nic->link_fd);
	nic->link_fd = -1;
}

void nic_xdp_unload(struct nic *nic)
{
	nic_in_bpf__destroy(nic->bpf);
	nic->bpf = NULL;
}

void nic_xdp_set_mac(struct nic *nic)
{
	__atomic_store_n(&nic->bpf->bss->nic_mac, fdb_mac(nic->mac), __ATOMIC_RELAXED);
}
