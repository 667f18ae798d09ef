/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The process that waits for pages: what it does when it is told well, told wrong, and left. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "vhost_user.h"
#include "vm/vu_fetch.h"
#include "vm/vu_fetcher.h"

#define WAIT 20000 /* ms */
#define SIZE (2u << 20)
#define PAGE 4096u

static struct vu_fetch f;
static int file = -1;
static unsigned fds;

/* A fetcher, and a file of which only the second page is there. */
static bool begin(void)
{
	if (!vu_fetch_is_possible()) {
		check_skip("this kernel has no userfaultfd for shared memory");
		return false;
	}
	vu_fetch_reap();
	fds = check_fds();
	CU_ASSERT_EQUAL_FATAL(vu_fetch_start(&f), 0);
	CU_ASSERT(f.pid > 0 && f.uffd >= 0 && f.room[0].at && f.room[0].len >= 64ull * SIZE);
	file = memfd_create("guest", MFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(ftruncate(file, SIZE), 0);
	CU_ASSERT_EQUAL_FATAL(pwrite(file, "x", 1, PAGE), 1);
	return true;
}

static void end(void)
{
	vu_fetch_end(&f);
	close(file);
	CU_ASSERT_EQUAL(check_fds(), fds);
}

/* It ends by itself, with @status. */
static void expect_end(int status)
{
	int got = -1;

	CU_ASSERT_EQUAL(waitpid(f.pid, &got, 0), f.pid);
	CU_ASSERT(WIFEXITED(got) && WEXITSTATUS(got) == status);
	f.pid = 0;
}

static int map(uint64_t at, uint64_t len, uint32_t round, int fd)
{
	struct vu_fetcher_map m = {.at = f.room[0].at + at, .len = len, .round = round};

	return vu_fetch_map(&f, &m, fd);
}

/* A packet on one of its sockets. */
static bool hears(int fd, void *packet, size_t len)
{
	struct pollfd p = {fd, POLLIN, 0};

	return poll(&p, 1, WAIT) == 1 && recv(fd, packet, len, 0) == (ssize_t)len;
}

static int ready(uint32_t round)
{
	struct vu_fetcher_ready r = {.error = -1};

	CU_ASSERT_TRUE(hears(f.command, &r, sizeof(r)));
	CU_ASSERT_EQUAL(r.round, round);
	return r.error;
}

static void want(uint64_t at)
{
	at += f.room[0].at;
	CU_ASSERT_EQUAL(send(f.touch, &at, sizeof(at), 0), sizeof(at));
}

static void expect_come(uint64_t at)
{
	uint64_t got = 0;

	CU_ASSERT_TRUE(hears(f.touch, &got, sizeof(got)));
	CU_ASSERT_EQUAL(got, f.room[0].at + at);
}

static void share(uint32_t round, uint64_t at)
{
	CU_ASSERT_EQUAL(map(at, SIZE, round, file), 0);
	CU_ASSERT_EQUAL(map(0, 0, round, -1), 0);
	CU_ASSERT_EQUAL(ready(round), 0);
}

/* A page that is there comes at once, as does an address at which nothing is. */
static void test_touch(void)
{
	if (!begin())
		return;
	share(1, 0);
	want(PAGE);
	expect_come(PAGE);
	want(4 * SIZE);
	expect_come(4 * SIZE);
	end();
}

/* Who waits for a page of a table is let go when another one takes its place. */
static void test_another_table(void)
{
	struct pollfd p;
	uint64_t fault[4];

	if (!begin())
		return;
	share(1, 0);
	want(0);
	p = (struct pollfd){f.uffd, POLLIN, 0};
	CU_ASSERT_EQUAL(poll(&p, 1, WAIT), 1); /* it waits */
	CU_ASSERT_EQUAL(read(f.uffd, fault, sizeof(fault)), sizeof(fault));
	share(2, 2 * SIZE);
	expect_come(0);
	want(2 * SIZE + PAGE);
	expect_come(2 * SIZE + PAGE);
	end();
}

/* With its sockets closed it is of no use, and doesn't stay. */
static void test_left(void)
{
	if (!begin())
		return;
	share(1, 0);
	want(PAGE);
	expect_come(PAGE);
	want(4 * SIZE);
	expect_come(4 * SIZE);
	share(2, 2 * SIZE);
	close(f.command);
	f.command = -1;
	expect_end(0);
	end();
	if (!begin())
		return;
	close(f.touch);
	f.touch = -1;
	expect_end(0);
	end();
}

static void refuses(uint64_t at, int fd, bool mapped, int error)
{
	CU_ASSERT_EQUAL(map(at, SIZE, 1, fd), 0);
	if (mapped)
		CU_ASSERT_EQUAL(map(0, 0, 1, -1), 0);
	if (fd >= 0 && fd != file)
		close(fd);
	CU_ASSERT_EQUAL(ready(1), error);
	expect_end(0);
	end();
}

/* What it can't do it says, and ends. */
static void test_wrong(void)
{
	unsigned i;
	int fd;

	if (!begin())
		return;
	refuses(0, -1, false, EINVAL);
	begin();
	CU_ASSERT_EQUAL(map(0, SIZE, 1, file), 0); /* twice at one place */
	refuses(PAGE, file, false, EEXIST);
	begin();
	for (i = 0; i < VHOST_USER_REGIONS_MAX; i++)
		CU_ASSERT_EQUAL(map(2ull * i * SIZE, SIZE, 1, file), 0);
	refuses(2ull * i * SIZE, file, false, EINVAL);
	begin();
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* not memory: can't be watched */
	refuses(0, fd, true, EINVAL);
	begin();
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	refuses(0, fd, false, EACCES);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void limit(int what, rlim_t to, int error)
{
	(void)what, (void)to, (void)error;
}
#else
static void limit(int what, rlim_t to, int error)
{
	struct rlimit before, now;
	int got;

	CU_ASSERT_EQUAL_FATAL(getrlimit(what, &before), 0);
	now = (struct rlimit){to, before.rlim_max};
	setrlimit(what, &now);
	got = vu_fetch_start(&f);
	CU_ASSERT_EQUAL(got, -error);
	setrlimit(what, &before);
	CU_ASSERT(f.pid <= 0 && f.command < 0 && f.touch < 0 && f.uffd < 0);
	CU_ASSERT_EQUAL(check_fds(), fds);
}
#endif

/* No fds, no room, no memory to begin with: none is started, and nothing is left of it. */
static void test_limits(void)
{
	if (!begin())
		return;
	end();
	fds = check_fds();
	limit(RLIMIT_NOFILE, 3, EMFILE);
	limit(RLIMIT_NOFILE, 10, EINVAL); /* no fds out of its way, */
	limit(RLIMIT_NOFILE, 17, EMFILE); /* or a single one */
	limit(RLIMIT_AS, 1u << 30, ENOMEM);
}

/* More that are ended at once than are remembered: the others are waited for. */
static void test_many(void)
{
	static struct vu_fetch many[70];
	unsigned i, n;

	if (!begin())
		return;
	for (n = 0; n < sizeof(many) / sizeof(many[0]); n++)
		if (vu_fetch_start(&many[n]))
			break;
	CU_ASSERT_EQUAL(n, sizeof(many) / sizeof(many[0]));
	for (i = 0; i < n; i++)
		vu_fetch_end(&many[i]);
	end();
	while (waitpid(-1, NULL, WNOHANG) >= 0)
		vu_fetch_reap();
	CU_ASSERT_EQUAL(errno, ECHILD);
}

static const struct check tests[] = {
	{"touch", test_touch},
	{"another_table", test_another_table},
	{"left", test_left},
	{"wrong", test_wrong},
	{"many", test_many},
	{"limits", test_limits},
	{},
};

int main(int argc, char **argv)
{
	vu_fetcher_begin(argc, argv);
	return check_main("fetcher", tests, argc, argv);
}
