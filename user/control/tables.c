/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's tables: made, pinned, mapped, and written to. */
#include "control/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "control/log.h"
#include "switch/fdb.h"
#include "vxs_ctl.h"
#include "tables.skel.h"

/*
 * Theory of operation
 *
 * With BPF the tables are four maps, pinned in a directory of the switch's own. That directory is
 * locked (flock) for as long as we live: the kernel drops the lock with the process, however it
 * ends, so pins found in a directory that we could lock are left over and may be replaced, and a
 * second switch of the same name is told so even if it has another run directory.
 *
 * Without BPF only the counters exist, in anonymous memory of the same layout. Which of the two it
 * is shows in the fds alone (-1 or not).
 */

#define STATS_STRIDE sizeof(struct vxs_port_stats)
_Static_assert(STATS_STRIDE % 8 == 0, "the kernel rounds an array's elements up to 8 bytes");
_Static_assert(sizeof(struct vxs_worker_stats) % 8 == 0, "these as well");

#define TOO_FEW_RIGHTS "run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW"

struct tables {
	struct tables_bpf *maps; /* NULL without BPF */
	unsigned workers;
	struct vxs_port_stats *stats;          /* the map's mapping, or plain memory */
	struct vxs_worker_stats *worker_stats; /* likewise */
	int fdb_fd, ports_fd, sockets_fd;
	int lock_fd;      /* the pin directory, locked; -1: not ours */
	char pin_dir[96]; /* "" without BPF */
};

/* libbpf's chatter belongs to the debug log: whoever calls it says what went wrong, once. */
static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

static size_t page_align(size_t n)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (n + page - 1) / page * page;
}

/* Makes the maps. On failure @why says so for the user. */
static int load_maps(struct tables *t, const struct tables_options *opt, char *why, size_t why_len)
{
	int err;

	t->maps = tables_bpf__open();
	if (!t->maps) {
		err = -errno;
		snprintf(why, why_len, "can't read the built-in maps: %s", strerror(-err));
		return err;
	}
	if (opt->nic_queues)
		err = bpf_map__set_max_entries(t->maps->maps.sockets,
					       VXS_PORTS_MAX * opt->nic_queues);
	else
		err = bpf_map__set_autocreate(t->maps->maps.sockets, false);
	if (!err)
		err = bpf_map__set_max_entries(t->maps->maps.port_stats,
					       VXS_PORTS_MAX * (t->workers + 1));
	if (!err)
		err = bpf_map__set_max_entries(t->maps->maps.worker_stats, t->workers);
	if (!err)
		err = tables_bpf__load(t->maps);
	if (err == -EPERM || err == -EACCES)
		snprintf(why, why_len, "the kernel refuses BPF maps: too few rights; %s",
			 TOO_FEW_RIGHTS);
	else if (err)
		snprintf(why, why_len, "the kernel refuses BPF maps: %s", strerror(-err));
	return err;
}

static int make_dir(const char *path)
{
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

/* Opens and locks the pin directory, which its former owner may be about to remove. */
static int lock_pin_dir(struct tables *t)
{
	struct stat ours, there;
	int fd, err, tries;

	for (tries = 0; tries < 10; tries++) {
		err = make_dir(VXS_PIN_DIR);
		if (!err)
			err = make_dir(t->pin_dir);
		if (err)
			return err;
		fd = open(t->pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT) {
			err = -errno;
			rmdir(t->pin_dir); /* what we made, if nobody has anything in it */
			rmdir(VXS_PIN_DIR);
			return err;
		}
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			err = errno == EWOULDBLOCK ? -EBUSY : -errno;
			close(fd);
			return err;
		}
		if (!fstat(fd, &ours) && !stat(t->pin_dir, &there) && ours.st_ino == there.st_ino) {
			t->lock_fd = fd;
			return 0;
		}
		close(fd);
	}
	return -EAGAIN;
}

/* Makes the pin directory ours. On failure @why says so for the user. */
static int open_pin_dir(struct tables *t, const char *name, char *why, size_t why_len)
{
	struct statfs fs;
	int err;

	if (statfs("/sys/fs/bpf", &fs) || fs.f_type != BPF_FS_MAGIC) {
		snprintf(why, why_len,
			 "no BPF file system on /sys/fs/bpf; mount it: mount -t bpf bpf "
			 "/sys/fs/bpf");
		return -ENOENT;
	}
	/* The kernel keeps dots in names on bpffs for itself and says no more than EPERM. */
	if (!name[0] || strlen(name) >= VXS_NAME_SIZE || strpbrk(name, "./")) {
		snprintf(why, why_len,
			 "the BPF file system takes no name with '.' or '/' in it; choose another "
			 "--name");
		return -EINVAL;
	}
	snprintf(t->pin_dir, sizeof(t->pin_dir), "%s/%s", VXS_PIN_DIR, name);
	err = lock_pin_dir(t);
	if (err == -EBUSY)
		snprintf(why, why_len,
			 "%s is in use: a switch of this name runs already; stop it, or choose "
			 "another --name",
			 t->pin_dir);
	else if (err == -EPERM || err == -EACCES)
		snprintf(why, why_len, "can't make %s: too few rights; %s", t->pin_dir,
			 TOO_FEW_RIGHTS);
	else if (err)
		snprintf(why, why_len, "can't make %s: %s", t->pin_dir, strerror(-err));
	if (err)
		t->pin_dir[0] = '\0';
	return err;
}

static void pin_path(const struct tables *t, const struct bpf_map *map, char *path, size_t len)
{
	snprintf(path, len, "%s/%s", t->pin_dir, bpf_map__name(map));
}

/* Unpins what we pinned, or what a former run left. The directory is locked. */
static void unpin_maps(struct tables *t)
{
	char path[128];
	struct bpf_map *map;

	bpf_object__for_each_map (map, t->maps->obj) {
		pin_path(t, map, path, sizeof(path));
		unlink(path);
	}
}

static int pin_maps(struct tables *t, char *why, size_t why_len)
{
	char path[128];
	struct bpf_map *map;

	unpin_maps(t);
	bpf_object__for_each_map (map, t->maps->obj) {
		if (bpf_map__fd(map) < 0)
			continue;
		pin_path(t, map, path, sizeof(path));
		if (bpf_obj_pin(bpf_map__fd(map), path)) {
			int err = -errno;

			snprintf(why, why_len, "can't pin %s: %s", path, strerror(-err));
			return err;
		}
	}
	return 0;
}

static size_t stats_size(const struct tables *t)
{
	return page_align((t->workers + 1) * VXS_PORTS_MAX * STATS_STRIDE);
}

static size_t worker_stats_size(const struct tables *t)
{
	return page_align(t->workers * sizeof(struct vxs_worker_stats));
}

/* Maps @size bytes of a BPF array, or plain memory if @fd is -1; NULL with errno. */
static void *map_array(int fd, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void unmap_stats(struct tables *t)
{
	if (t->stats)
		munmap(t->stats, stats_size(t));
	if (t->worker_stats)
		munmap(t->worker_stats, worker_stats_size(t));
	t->stats = NULL;
	t->worker_stats = NULL;
}

/* Maps both kinds of counters, @fd is that of port_stats, @worker_fd that of worker_stats. */
static int map_stats(struct tables *t, int fd, int worker_fd)
{
	int err;

	t->stats = map_array(fd, stats_size(t));
	if (t->stats)
		t->worker_stats = map_array(worker_fd, worker_stats_size(t));
	if (t->worker_stats)
		return 0;
	err = -errno;
	unmap_stats(t);
	return err;
}

static void close_bpf(struct tables *t)
{
	if (t->lock_fd >= 0) {
		if (t->maps)
			unpin_maps(t);
		rmdir(t->pin_dir);
		rmdir(VXS_PIN_DIR); /* stays if another switch is in there */
		close(t->lock_fd);
	}
	tables_bpf__destroy(t->maps);
	t->maps = NULL;
	t->pin_dir[0] = '\0';
	t->lock_fd = t->fdb_fd = t->ports_fd = t->sockets_fd = -1;
}

static int open_bpf(struct tables *t, const struct tables_options *opt, char *why, size_t why_len)
{
	int err;

	err = load_maps(t, opt, why, why_len);
	if (!err)
		err = open_pin_dir(t, opt->name, why, why_len);
	if (!err)
		err = pin_maps(t, why, why_len);
	if (err)
		return err;
	err = map_stats(t, bpf_map__fd(t->maps->maps.port_stats),
			bpf_map__fd(t->maps->maps.worker_stats));
	if (err) {
		snprintf(why, why_len, "can't map port_stats and worker_stats: %s", strerror(-err));
		return err;
	}
	t->fdb_fd = bpf_map__fd(t->maps->maps.fdb);
	t->ports_fd = bpf_map__fd(t->maps->maps.ports);
	if (opt->nic_queues)
		t->sockets_fd = bpf_map__fd(t->maps->maps.sockets);
	return 0;
}

int tables_open(struct tables **out, const struct tables_options *opt)
{
	char why[256] = "";
	struct tables *t;
	int err;

	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->lock_fd = t->fdb_fd = t->ports_fd = t->sockets_fd = -1;
	t->workers = opt->workers ? opt->workers : 1;
	libbpf_set_print(print_libbpf);

	err = open_bpf(t, opt, why, sizeof(why));
	if (err) {
		close_bpf(t);
		/* A second switch of one name is a mistake with or without an uplink. */
		if (opt->need_bpf || err == -EBUSY) {
			log_error("tables of switch %s: %s", opt->name, why);
			goto err;
		}
		log_info("tables of switch %s are in plain memory, for vxsctl alone: %s", opt->name,
			 why);
		err = map_stats(t, -1, -1);
		if (err) {
			log_error("tables of switch %s: no memory", opt->name);
			goto err;
		}
	}
	*out = t;
	return 0;
err:
	tables_close(t);
	return err;
}

void tables_close(struct tables *t)
{
	if (!t)
		return;
	unmap_stats(t);
	close_bpf(t);
	free(t);
}

struct vxs_port_stats *tables_stats(struct tables *t, uint32_t port)
{
	return port < VXS_PORTS_MAX ? &t->stats[port] : NULL;
}

struct vxs_worker_stats *tables_worker_stats(struct tables *t, unsigned id)
{
	return id < t->workers ? &t->worker_stats[id] : NULL;
}

/* An entry is counters and nothing else, and so is summed without knowing their names. */
#define STATS_COUNTERS (STATS_STRIDE / sizeof(__u64))
_Static_assert(sizeof(struct vxs_drops) % sizeof(__u64) == 0, "a struct of counters");

void tables_sum_stats(const struct tables *t, uint32_t port, struct vxs_port_stats *sum)
{
	__u64 *to = (__u64 *)sum;
	unsigned w, i;

	memset(sum, 0, sizeof(*sum));
	for (w = 0; w <= t->workers; w++) {
		const __u64 *from = (const __u64 *)&t->stats[w * VXS_PORTS_MAX + port];

		for (i = 0; i < STATS_COUNTERS; i++)
			to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	}
}

void tables_carry_stats(struct tables *t, uint32_t port, const struct vxs_port_stats *from)
{
	__u64 *to = (__u64 *)&t->stats[t->workers * VXS_PORTS_MAX + port];
	const __u64 *want = (const __u64 *)from, *have;
	struct vxs_port_stats sum;
	unsigned i;

	tables_sum_stats(t, port, &sum);
	have = (const __u64 *)&sum;
	for (i = 0; i < STATS_COUNTERS; i++)
		if (want[i] > have[i])
			__atomic_store_n(&to[i], to[i] + (want[i] - have[i]), __ATOMIC_RELAXED);
}

void tables_clear_stats(struct tables *t, uint32_t port)
{
	unsigned w;

	for (w = 0; w <= t->workers; w++)
		memset(&t->stats[w * VXS_PORTS_MAX + port], 0, STATS_STRIDE);
}

int tables_fd_fdb(const struct tables *t)
{
	return t->fdb_fd;
}

int tables_fd_sockets(const struct tables *t)
{
	return t->sockets_fd;
}

const char *tables_pin_dir(const struct tables *t)
{
	return t->pin_dir[0] ? t->pin_dir : NULL;
}

static struct vxs_fdb_key map_key(uint64_t key)
{
	struct vxs_fdb_key k = {.vlan = fdb_key_vlan(key)};
	unsigned i;

	for (i = 0; i < sizeof(k.mac); i++)
		k.mac[i] = fdb_key_mac(key) >> 8 * i;
	return k;
}

int tables_set_address(struct tables *t, uint64_t key, uint32_t port, uint32_t flags)
{
	struct vxs_fdb_key k = map_key(key);
	struct vxs_fdb_value v = {.port = port, .flags = flags};

	if (t->fdb_fd < 0)
		return 0;
	return bpf_map_update_elem(t->fdb_fd, &k, &v, BPF_ANY) ? -errno : 0;
}

void tables_del_address(struct tables *t, uint64_t key)
{
	struct vxs_fdb_key k = map_key(key);

	if (t->fdb_fd >= 0)
		bpf_map_delete_elem(t->fdb_fd, &k);
}

void tables_set_port(struct tables *t, uint32_t port, const struct vxs_port *value)
{
	if (t->ports_fd >= 0)
		bpf_map_update_elem(t->ports_fd, &port, value, BPF_ANY);
}
