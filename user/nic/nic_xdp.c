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
#include "nic_in_hash.skel.h"
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
/*
 * There are two programs from one source, and the second's skeleton is used as the first's: their
 * maps and variables are the same.
 */
_Static_assert(
	sizeof(struct nic_in_hash_bpf) == sizeof(struct nic_in_bpf) &&
		offsetof(struct nic_in_hash_bpf, maps) == offsetof(struct nic_in_bpf, maps) &&
		offsetof(struct nic_in_hash_bpf, progs) == offsetof(struct nic_in_bpf, progs) &&
		offsetof(struct nic_in_hash_bpf, bss) == offsetof(struct nic_in_bpf, bss) &&
		offsetof(struct nic_in_hash_bpf, rodata) == offsetof(struct nic_in_bpf, rodata),
	"one layout");

#ifndef BPF_F_XDP_DEV_BOUND_ONLY /* Linux 6.3 */
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif

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

/* Loads an opened program on the switch's maps. */
static int load(const struct nic *nic, struct nic_in_bpf *bpf, const struct nic_setup *setup,
		uint32_t flags)
{
	int err;

	if (!bpf)
		return -errno;
	bpf->rodata->queues = nic->queues;
	bpf->rodata->host_share = setup->host_share;
	if (nic->sg)
		flags |= BPF_F_XDP_HAS_FRAGS;
	err = bpf_program__set_flags(bpf->progs.nic_in, flags);
	if (err)
		return err;
	err = bpf_map__reuse_fd(bpf->maps.fdb, setup->fdb_fd);
	if (err)
		return err;
	err = bpf_map__reuse_fd(bpf->maps.sockets, setup->sockets_fd);
	if (err)
		return err;
	return bpf_object__load_skeleton(bpf->skeleton);
}

/* The program that asks the driver for flow hashes: the kernel ties it to the one device. */
static void load_hash(struct nic *nic, const struct nic_setup *setup)
{
	struct nic_in_bpf *bpf;
	int err;

	if (!nic->features.hash)
		return;
	bpf = (struct nic_in_bpf *)nic_in_hash_bpf__open();
	if (bpf)
		bpf_program__set_ifindex(bpf->progs.nic_in, nic->ifindex);
	err = load(nic, bpf, setup, BPF_F_XDP_DEV_BOUND_ONLY);
	if (err) {
		log_debug("uplink %s: no flow hash by the NIC: cannot load its XDP program (%s)",
			  nic->ifname, strerror(-err));
		nic_in_bpf__destroy(bpf);
		return;
	}
	nic->hash_bpf = bpf;
}

int nic_xdp_load(struct nic *nic, const struct nic_setup *setup)
{
	int err;

	nic->bpf = nic_in_bpf__open();
	err = load(nic, nic->bpf, setup, 0);
	if (err) {
		log_error("uplink %s: cannot load the XDP program (%s)%s", nic->ifname,
			  strerror(-err),
			  err == -EPERM ? "; run vxsd as root or with CAP_BPF and CAP_NET_ADMIN"
					: "; --log-level debug shows the kernel's reasons");
		return err;
	}
	load_hash(nic, setup);
	nic_xdp_set_mac(nic);
	return 0;
}

static int attach(struct nic *nic, const struct nic_in_bpf *bpf, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd;

	fd = bpf_link_create(bpf_program__fd(bpf->progs.nic_in), nic->ifindex, BPF_XDP, &opts);
	if (fd < 0)
		return fd;
	nic->link_fd = fd;
	return 0;
}

int nic_xdp_attach(struct nic *nic, uint32_t flags)
{
	int err;

	/* A driver's hash is not to be had without the driver. */
	if (nic->hash_bpf && flags & XDP_FLAGS_DRV_MODE) {
		err = attach(nic, nic->hash_bpf, flags);
		nic->hashes = !err;
		if (!err)
			return 0;
		log_debug("uplink %s: no flow hash by the NIC: cannot attach its XDP program (%s)",
			  nic->ifname, strerror(-err));
	}
	return attach(nic, nic->bpf, flags);
}

void nic_xdp_detach(struct nic *nic)
{
	nic->hashes = false;
	if (nic->link_fd < 0)
		return;
	/* Detaching first: closing alone may leave the work to a kernel thread for later. */
	bpf_link_detach(nic->link_fd);
	close(nic->link_fd);
	nic->link_fd = -1;
}

void nic_xdp_unload(struct nic *nic)
{
	nic_in_bpf__destroy(nic->hash_bpf);
	nic_in_bpf__destroy(nic->bpf);
	nic->hash_bpf = NULL;
	nic->bpf = NULL;
}

void nic_xdp_set_mac(struct nic *nic)
{
	uint64_t mac = fdb_mac(nic->mac);

	__atomic_store_n(&nic->bpf->bss->nic_mac, mac, __ATOMIC_RELAXED);
	if (nic->hash_bpf)
		__atomic_store_n(&nic->hash_bpf->bss->nic_mac, mac, __ATOMIC_RELAXED);
}

void nic_want_hash(struct nic *nic)
{
	if (nic->hash_bpf)
		__atomic_store_n(&nic->hash_bpf->bss->hash_wanted, 1, __ATOMIC_RELAXED);
}
