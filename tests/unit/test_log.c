/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The dirty log: SET_LOG_BASE and SET_LOG_FD, and which bits are whose. */
#include <fcntl.h>
#include <sys/eventfd.h>

#include "log_rig.h"
#include "vm/vm_control.h"
#include "vu_peer.h"

/* ---- the marks ---- */

/* A log of 3 bytes in the middle of a file: bits 0 to 23, and not one beside them. */
static void test_mark(void)
{
	static const struct {
		uint64_t at, len;
		uint32_t bits;
	} marks[] = {
		{0, 0, 0},
		{0, 1, 1},
		{PAGE - 1, 1, 1},
		{PAGE - 1, 2, 3},
		{PAGE, PAGE, 2},
		{PAGE, PAGE + 1, 6},
		{7 * PAGE + 5, PAGE, 0x180},
		{0, 24 * PAGE, 0xffffff},
		{23 * PAGE + PAGE - 1, 1, 0x800000}, /* the last page */
		{23 * PAGE + PAGE - 1, 2, 0x800000}, /* and beyond */
		{22 * PAGE, 1000 * PAGE, 0xc00000},
		{24 * PAGE, 1, 0},
		{1ull << 40, 65536, 0},
		{UINT64_MAX, 1, 0},
		{UINT64_MAX - PAGE, 65536, 0},
		{UINT64_MAX, 0, 0},
	};
	static uint8_t all[3 * PAGE];
	int fd = log_file(sizeof(all));
	struct vu_log *log = log_new(fd, 3, PAGE + 77);
	unsigned i;

	for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		uint32_t got = 0;

		memset(log->at, 0, 3);
		CU_ASSERT_EQUAL(vu_log_mark(log, marks[i].at, marks[i].len), !!marks[i].bits);
		CU_ASSERT_FALSE(vu_log_mark(log, marks[i].at, marks[i].len));
		memcpy(&got, log->at, 3);
		CU_ASSERT_EQUAL(got, marks[i].bits);
	}
	memset(log->at, 0xff, 3);
	CU_ASSERT_EQUAL(pread(fd, all, sizeof(all), 0), sizeof(all));
	for (i = 0; i < sizeof(all); i++)
		CU_ASSERT_EQUAL(all[i], i - (PAGE + 77) < 3 ? 0xff : 0);
	vu_log_free(log);
	vu_log_free(NULL);
	close(fd);
}

/* ---- the messages ---- */

static void negotiate(void)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
			 FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK));
}

/* The answer, UINT64_MAX if there was none, or PEER_SILENCE. */
static uint64_t set_log(uint64_t size, uint64_t offset, int fd, unsigned n, uint32_t flags)
{
	struct vhost_user_log said = {size, offset};
	const int fds[2] = {fd, fd};

	peer_send(VHOST_USER_SET_LOG_BASE, flags, &said, sizeof(said), fds, n);
	return peer_is_closed() ? UINT64_MAX : peer_reply(VHOST_USER_SET_LOG_BASE, 8);
}

static void test_set_log(void)
{
	static const struct vhost_user_log bad[] = {
		{0, 0},
		{0, PAGE},
		{0x1000, 0 - 0x800ull}, /* CVE-2020-10722 */
		{0 - 0x1000ull, 0x1000},
		{0 - 0x1000ull, 0},
		{1ull << 63, 1ull << 63},
		{UINT64_MAX, 1},
		{1, UINT64_MAX},
		{2 * PAGE + 1, 0},
		{1, 2 * PAGE},
		{PAGE + 1, PAGE},
	};
	static const struct vhost_user_log good[] = {
		{1, 0}, {2 * PAGE, 0}, {1, 2 * PAGE - 1}, {5, 3}};
	int fd = log_file(2 * PAGE), ends[2];
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 1, 0), UINT64_MAX); /* not negotiated */
	fds = check_fds() - 1;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		negotiate();
		CU_ASSERT_EQUAL(set_log(bad[i].size, bad[i].offset, fd, 1, 0), UINT64_MAX);
	}
	negotiate();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 0, 0), UINT64_MAX);
	negotiate();
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 2, 0), UINT64_MAX);
	negotiate();
	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL(set_log(PAGE, 0, ends[0], 1, 0), UINT64_MAX);
	close(ends[0]);
	close(ends[1]);
	negotiate();
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		/* QEMU doesn't ask for an acknowledgement, and waits for an answer all the same */
		CU_ASSERT_EQUAL(set_log(good[i].size, good[i].offset, fd, 1, 0), 0);
		CU_ASSERT_EQUAL(set_log(good[i].size, good[i].offset, fd, 1, VHOST_USER_NEED_REPLY),
				0);
	}
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(check_fds(), fds);
	close(fd);
	peer_end();
}

static long resident(void)
{
	long size = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CU_ASSERT_EQUAL(fscanf(f, "%ld %ld", &size, &rss), 2);
	fclose(f);
	return rss;
}

static unsigned count_logs(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, "memfd:log");
	fclose(f);
	return n;
}

/* With rings that run, as a migration does it, and far more often. */
static void test_many(void)
{
	int fd = log_file(PAGE);
	unsigned i, fds;
	long rss;

	peer_setup(1);
	negotiate();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | FEATURE(VHOST_USER_F_LOG_ALL));
	peer_memory_at(PEER_UVA);
	for (i = 0; i < 2; i++) {
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		peer_ring_but_kick(i);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
	}
	CU_ASSERT_EQUAL(set_log(PAGE, 0, fd, 1, 0), 0);
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	fds = check_fds();
	rss = resident();
	for (i = 0; i < 10000 && !peer_is_closed(); i++) {
		set_log(1 + i % PAGE, 0, fd, 1, 0);
		if (i % 8 == 0)
			peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0,
				  &t.vm->control->ring[0].kick_fd, 1);
	}
	CU_ASSERT_EQUAL(i, 10000);
	CU_ASSERT_EQUAL(check_fds(), fds + 1); /* that of SET_LOG_FD */
	CU_ASSERT_EQUAL(count_logs(), 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CU_ASSERT(resident() - rss < 256);
#else
	(void)rss;
#endif
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(count_logs(), 0);
	close(fd);
	peer_end();
}

/* Nothing but eventfds is written to. */
static void test_log_fd(void)
{
	peer_setup(1);
	negotiate();
	{
		int fd = eventfd(0, EFD_CLOEXEC);

		/* a full counter makes no worker wait */
		peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, &fd, 1);
		CU_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
		close(fd);
	}
	peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, &t.memory, 1);
	CU_ASSERT_TRUE(peer_is_closed());
	negotiate();
	peer_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, NULL, 0);
	CU_ASSERT_TRUE(peer_is_closed());
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"mark", test_mark},
		{"set_log", test_set_log},
		{"many", test_many},
		{"log_fd", test_log_fd},
		{},
	};

	return check_main("log", tests, argc, argv);
}
