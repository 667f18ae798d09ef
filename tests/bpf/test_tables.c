/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tables in BPF maps: pins, live counters, stale pins, a second switch, a missing bpffs. Root. */
#include "check.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "control/log.h"
#include "control/tables.h"
#include "switch/fdb.h"
#include "vxs_ctl.h"

#define NAME "bpf-tables"
#define DIR  VXS_PIN_DIR "/" NAME

#define WORKERS 3

static const struct tables_options with_nic = {
	.name = NAME, .need_bpf = true, .nic_queues = 2, .workers = WORKERS};
static bool have_bpffs;

/* A mount namespace of our own with a bpffs of its own: nothing of the machine's is touched. */
static void open_bpffs(void)
{
	have_bpffs = !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		     !mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL);
}

static bool can_run(void)
{
	if (!have_bpffs)
		check_skip("needs root and a kernel with bpffs");
	return have_bpffs;
}

static bool exists(const char *path)
{
	struct stat st;

	return !stat(path, &st);
}

/* What a command prints; the buffer is this function's. */
static const char *output_of(const char *command)
{
	static char text[1 << 20];
	FILE *f = popen(command, "r");
	size_t n = 0;

	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		pclose(f);
	}
	text[n] = '\0';
	return text;
}

static void test_pins(void)
{
	unsigned fds = check_fds();
	struct tables *t = NULL;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &with_nic), 0);
	CU_ASSERT_STRING_EQUAL(tables_pin_dir(t), DIR);
	CU_ASSERT(tables_fd_fdb(t) >= 0);
	CU_ASSERT(tables_fd_sockets(t) >= 0);
	CU_ASSERT(exists(DIR "/fdb"));
	CU_ASSERT(exists(DIR "/ports"));
	CU_ASSERT(exists(DIR "/port_stats"));
	CU_ASSERT(exists(DIR "/worker_stats"));
	CU_ASSERT(exists(DIR "/sockets"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(output_of("bpftool map show pinned " DIR "/sockets"), "max_entries 1024"));
	tables_close(t);
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
	CU_ASSERT_EQUAL(check_fds(), fds);
}

static void test_no_nic(void)
{
	struct tables_options opt = {.name = NAME};
	struct tables *t = NULL;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &opt), 0);
	CU_ASSERT(tables_fd_fdb(t) >= 0);
	CU_ASSERT_EQUAL(tables_fd_sockets(t), -1);
	CU_ASSERT(exists(DIR "/port_stats"));
	CU_ASSERT_FALSE(exists(DIR "/sockets"));
	tables_close(t);
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
}

static void test_names(void)
{
	static const uint8_t mac[6] = {2, 0x34, 0x56, 0x78, 0x9a, 0xbc};
	struct vxs_port port = {.name = "guest-a", .kind = VXS_KIND_VM, .up = 1, .queues = 3};
	uint64_t key = fdb_key(fdb_mac(mac), 42);
	struct tables *t = NULL;
	const char *text;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &with_nic), 0);
	CU_ASSERT_EQUAL(tables_set_address(t, key, 2, VXS_FDB_STATIC), 0);
	text = output_of("bpftool map dump pinned " DIR "/fdb | tr -d ' \\n'");
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"key\":{\"mac\":[2,52,86,120,154,188],\"vlan\":42}"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"value\":{\"port\":2,\"flags\":1}"));
	tables_del_address(t, key);
	text = output_of("bpftool map dump pinned " DIR "/fdb | tr -d ' \\n'");
	CU_ASSERT_PTR_NULL(strstr(text, "\"key\""));

	tables_set_port(t, 2, &port);
	text = output_of("bpftool map lookup pinned " DIR "/ports key 2 0 0 0 | tr -d ' \\n'");
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"name\":\"guest-a\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"kind\":\"VXS_KIND_VM\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"queues\":3"));
	tables_close(t);
}

static void test_live_counters(void)
{
	struct vxs_port_stats *s, sum;
	struct tables *t = NULL;
	char command[128], want[64];
	const char *text;
	unsigned i;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &with_nic), 0);
	CU_ASSERT_PTR_NULL(tables_stats(t, VXS_PORTS_MAX));
	/* the last one shows that our stride is the kernel's */
	for (i = 0; i < WORKERS * VXS_PORTS_MAX; i += WORKERS * VXS_PORTS_MAX - 1) {
		s = tables_stats(t, 0) + i;
		s->in_frames = 1000 + i;
		s->drops.socket_error = 2000 + i;
		snprintf(command, sizeof(command),
			 "bpftool map lookup pinned " DIR
			 "/port_stats key %u %u 0 0 | tr -d ' \\n'",
			 i & 0xff, i >> 8);
		text = output_of(command);
		snprintf(want, sizeof(want), "\"in_frames\":%u,", 1000 + i);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, want));
		snprintf(want, sizeof(want), "\"socket_error\":%u", 2000 + i);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, want));
	}
	tables_sum_stats(t, VXS_PORTS_MAX - 1, &sum);
	CU_ASSERT_EQUAL(sum.in_frames, 1000 + WORKERS * VXS_PORTS_MAX - 1);
	tables_stats(t, VXS_PORTS_MAX - 1)->in_frames = 1;
	tables_sum_stats(t, VXS_PORTS_MAX - 1, &sum);
	CU_ASSERT_EQUAL(sum.in_frames, 1001 + WORKERS * VXS_PORTS_MAX - 1);
	tables_clear_stats(t, VXS_PORTS_MAX - 1);
	tables_sum_stats(t, VXS_PORTS_MAX - 1, &sum);
	CU_ASSERT_EQUAL(sum.in_frames + sum.drops.socket_error, 0);
	tables_sum_stats(t, 0, &sum);
	CU_ASSERT_EQUAL(sum.in_frames, 1000);
	tables_close(t);
}

static void test_worker_stats(void)
{
	struct vxs_worker_stats *s;
	struct tables *t = NULL;
	const char *text;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &with_nic), 0);
	CU_ASSERT_PTR_NULL(tables_worker_stats(t, WORKERS));
	s = tables_worker_stats(t, WORKERS - 1);
	s->sleeps = 1ull << 40;
	s->paths.uplink_vm.cycles = 77;
	s->paths.nowhere.frames = 78;
	text = output_of("bpftool map lookup pinned " DIR
			 "/worker_stats key 2 0 0 0 | tr -d ' \\n'");
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"sleeps\":1099511627776,"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(text, "\"uplink_vm\":{\"frames\":0,\"batches\":0,\"cycles\":77}"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"nowhere\":{\"frames\":78,"));
	tables_close(t);
}

static void test_full(void)
{
	struct tables *t = NULL;
	unsigned i;
	int err = 0;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &with_nic), 0);
	for (i = 0; i < VXS_FDB_MAX && !err; i++)
		err = tables_set_address(t, fdb_key(2 + ((uint64_t)i << 16), 0), 2, 0);
	CU_ASSERT_EQUAL(err, 0);
	CU_ASSERT_EQUAL(tables_set_address(t, fdb_key(0xff02, 0), 2, 0), -E2BIG);
	tables_close(t);
}

/* A child that opens the tables and then lives until it is killed. */
static pid_t open_in_child(void)
{
	struct tables *t;
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready))
		return -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		c = !tables_open(&t, &with_nic);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	close(ready[1]);
	CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
	CU_ASSERT_EQUAL(c, 1);
	close(ready[0]);
	return pid;
}

static void test_kill_and_second(void)
{
	struct tables_options plain = {.name = NAME};
	struct tables *t = NULL;
	struct vxs_fdb_key k;
	pid_t pid;

	if (!can_run())
		return;
	log_set_level(LOG_ERROR);
	pid = open_in_child();
	CU_ASSERT_EQUAL(tables_open(&t, &with_nic), -EBUSY);
	CU_ASSERT_EQUAL(tables_open(&t, &plain), -EBUSY);
	CU_ASSERT_PTR_NULL(t);
	CU_ASSERT(exists(DIR "/fdb")); /* the refused ones left it alone */
	CU_ASSERT(exists(DIR "/sockets"));

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CU_ASSERT(exists(DIR "/fdb"));
	CU_ASSERT_EQUAL_FATAL(tables_open(&t, &plain), 0);
	CU_ASSERT_FALSE(exists(DIR "/sockets"));
	CU_ASSERT(bpf_map_get_next_key(tables_fd_fdb(t), NULL, &k) < 0); /* a new, empty one */
	tables_close(t);
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
}

static void test_neighbours(void)
{
	struct tables_options other = {.name = NAME "2"};
	struct tables *a = NULL, *b = NULL;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(tables_open(&a, &with_nic), 0);
	CU_ASSERT_EQUAL_FATAL(tables_open(&b, &other), 0);
	tables_close(a);
	CU_ASSERT_FALSE(exists(DIR));
	CU_ASSERT(exists(DIR "2/fdb"));
	tables_close(b);
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
}

static void test_bad_name(void)
{
	struct tables_options opt = {.name = "bpf.tables", .need_bpf = true};
	unsigned fds = check_fds();
	struct tables *t = NULL;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL(tables_open(&t, &opt), -EINVAL);
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
	CU_ASSERT_EQUAL(check_fds(), fds);
}

static void test_no_bpffs(void)
{
	struct tables_options plain = {.name = NAME};
	struct tables *t = NULL;

	if (!can_run())
		return;
	CU_ASSERT_EQUAL_FATAL(mount("none", "/sys/fs/bpf", "tmpfs", 0, NULL), 0);
	CU_ASSERT_EQUAL(tables_open(&t, &with_nic), -ENOENT);
	CU_ASSERT_PTR_NULL(t);
	CU_ASSERT_EQUAL(tables_open(&t, &plain), 0);
	CU_ASSERT_EQUAL(tables_fd_fdb(t), -1);
	CU_ASSERT_PTR_NULL(tables_pin_dir(t));
	CU_ASSERT_FALSE(exists(VXS_PIN_DIR));
	tables_close(t);
	CU_ASSERT_EQUAL(umount("/sys/fs/bpf"), 0);
}

static void test_cycles(void)
{
	unsigned fds = check_fds(), i;
	struct tables *t = NULL;
	int err = 0;

	if (!can_run())
		return;
	for (i = 0; i < 100 && !err; i++) {
		err = tables_open(&t, &with_nic);
		if (!err)
			tables_close(t);
	}
	CU_ASSERT_EQUAL(err, 0);
	CU_ASSERT_EQUAL(check_fds(), fds);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"pins", test_pins},
		{"no_nic", test_no_nic},
		{"field_names", test_names},
		{"live_counters", test_live_counters},
		{"worker_stats", test_worker_stats},
		{"full", test_full},
		{"kill_and_second", test_kill_and_second},
		{"neighbours", test_neighbours},
		{"bad_name", test_bad_name},
		{"no_bpffs", test_no_bpffs},
		{"cycles", test_cycles},
		{},
	};

	open_bpffs();
	return check_main("bpf_tables", tests, argc, argv);
}
