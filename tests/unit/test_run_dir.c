/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The run directory: made, locked, found after a kill, tidied; and the notes to a manager. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "control/log.h"
#include "control/notify.h"
#include "control/run_dir.h"

static char base[64];

static const char *in_base(const char *name)
{
	static char path[4][PATH_MAX];
	static unsigned at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s%s", base, name);
	return path[at];
}

static bool there_is(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void test_made_and_removed(void)
{
	struct run_dir *dir = NULL;
	char path[PATH_MAX];
	unsigned fds = check_fds();
	struct stat st;
	mode_t mask = umask(0077);

	CU_ASSERT_EQUAL_FATAL(run_dir_open(&dir, "t", in_base("/a/b/c//")), 0);
	umask(mask);
	CU_ASSERT(there_is(in_base("/a/b/c/lock")));
	CU_ASSERT(!stat(in_base("/a/b/c"), &st) && (st.st_mode & 0777) == 0755);
	CU_ASSERT_EQUAL(run_dir_file(dir, path, sizeof(path), "vm", ".sock"), 0);
	CU_ASSERT_STRING_EQUAL(path, in_base("/a/b/c/vm.sock"));
	CU_ASSERT_EQUAL(run_dir_file(dir, path, 10, "vm", ".sock"), -ENAMETOOLONG);
	run_dir_close(dir);
	CU_ASSERT(!there_is(in_base("/a")));
	CU_ASSERT(there_is(base));
	CU_ASSERT_EQUAL(check_fds(), fds);
	run_dir_close(NULL);
}

/* What others made, or put there, stays. */
static void test_leaves_others_alone(void)
{
	struct run_dir *dir;
	int fd;

	CU_ASSERT_EQUAL(mkdir(in_base("/own"), 0700), 0);
	CU_ASSERT_EQUAL_FATAL(run_dir_open(&dir, "t", in_base("/own")), 0);
	run_dir_close(dir);
	CU_ASSERT(there_is(in_base("/own")));
	CU_ASSERT(!there_is(in_base("/own/lock")));
	CU_ASSERT_EQUAL_FATAL(run_dir_open(&dir, "t", in_base("/own/more")), 0);
	fd = open(in_base("/own/more/file"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	run_dir_close(dir);
	CU_ASSERT(there_is(in_base("/own/more/file")));
	unlink(in_base("/own/more/file"));
	rmdir(in_base("/own/more"));
	rmdir(in_base("/own"));
}

static void test_locked(void)
{
	struct run_dir *dir, *second = NULL;
	unsigned fds;

	CU_ASSERT_EQUAL_FATAL(run_dir_open(&dir, "t", in_base("/x")), 0);
	fds = check_fds();
	CU_ASSERT_EQUAL(run_dir_open(&second, "t", in_base("/x")), -EBUSY);
	CU_ASSERT_PTR_NULL(second);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(there_is(in_base("/x/lock"))); /* the first one's is not taken away */
	run_dir_close(dir);
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", in_base("/x")), 0);
	run_dir_close(dir);
}

static void test_refused(void)
{
	struct run_dir *dir = NULL;
	char *long_path;
	int fd = open(in_base("/file"), O_CREAT | O_WRONLY, 0600);

	close(fd);
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", in_base("/file")), -ENOTDIR);
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", in_base("/file/sub")), -ENOTDIR);
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", ""), -EINVAL);
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", "/proc/none"), -ENOENT);
	CU_ASSERT_EQUAL(symlink("/nowhere/else", in_base("/lock")), 0);
	CU_ASSERT(run_dir_open(&dir, "t", base) < 0); /* the lock is never somebody's link */
	unlink(in_base("/lock"));
	long_path = malloc(PATH_MAX + 1);
	memset(long_path, 'a', PATH_MAX);
	long_path[PATH_MAX] = '\0';
	CU_ASSERT_EQUAL(run_dir_open(&dir, "t", long_path), -ENAMETOOLONG);
	free(long_path);
	CU_ASSERT_PTR_NULL(dir);
	unlink(in_base("/file"));
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A daemon that is killed: its directory, lock file and socket stay. */
static void leave_behind(void)
{
	int status, ready[2];
	char byte;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct run_dir *dir;

		if (run_dir_open(&dir, "t", in_base("/k/t")) ||
		    listen_at(in_base("/k/t/a.sock")) < 0)
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void test_after_a_kill(void)
{
	struct run_dir *dir;
	int alive;

	leave_behind();
	CU_ASSERT(there_is(in_base("/k/t/a.sock")));
	alive = listen_at(in_base("/k/t/other.sock"));
	CU_ASSERT_EQUAL_FATAL(run_dir_open(&dir, "t", in_base("/k/t")), 0);
	CU_ASSERT(!there_is(in_base("/k/t/a.sock")));
	CU_ASSERT(there_is(in_base("/k/t/other.sock"))); /* somebody listens there */
	close(alive);
	unlink(in_base("/k/t/other.sock"));
	run_dir_close(dir);
	CU_ASSERT(!there_is(in_base("/k"))); /* made by the one that was killed */
}

/* Many start at once: exactly one has it at any time, and none is left without reason. */
static void test_race(void)
{
	unsigned i, strange = 0;
	int status;

	log_set_level(LOG_ERROR);
	for (i = 0; i < 16; i++) {
		if (!fork()) {
			unsigned n;

			fclose(stderr);
			for (n = 0; n < 50; n++) {
				struct run_dir *dir;
				int err = run_dir_open(&dir, "t", in_base("/r"));

				if (err && err != -EBUSY && err != -EAGAIN)
					_exit(3);
				if (!err) {
					int fd = open(in_base("/r/only"), O_CREAT | O_EXCL, 0600);

					if (fd < 0)
						_exit(4);
					unlink(in_base("/r/only"));
					close(fd);
					run_dir_close(dir);
				}
			}
			_exit(0);
		}
	}
	for (i = 0; i < 16; i++) {
		wait(&status);
		strange += status != 0;
	}
	log_set_level(LOG_INFO);
	CU_ASSERT_EQUAL(strange, 0);
	/* the last one need not be the one that made it, but it left nothing in there */
	CU_ASSERT(!rmdir(in_base("/r")) || errno == ENOENT);
}

static int manager(const char *name, size_t len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, name, len);
	CU_ASSERT_EQUAL(
		bind(fd, (struct sockaddr *)&addr, offsetof(struct sockaddr_un, sun_path) + len),
		0);
	return fd;
}

static void heard(int fd, const char *want)
{
	char text[256] = "";

	CU_ASSERT(recv(fd, text, sizeof(text) - 1, 0) > 0);
	CU_ASSERT_STRING_EQUAL(text, want);
	close(fd);
}

static void test_notify(void)
{
	char name[100];
	int fd, n;

	unsetenv("NOTIFY_SOCKET");
	notify_manager("READY=1");
	setenv("NOTIFY_SOCKET", in_base("/manager"), 1);
	notify_manager("READY=1"); /* nobody there: no harm */
	fd = manager(in_base("/manager"), strlen(in_base("/manager")) + 1);
	notify_manager("READY=1\nSTATUS=%d ports", 3);
	heard(fd, "READY=1\nSTATUS=3 ports");
	unlink(in_base("/manager"));

	n = snprintf(name, sizeof(name), "@vxs-test-%d", getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	name[0] = '\0';
	fd = manager(name, n);
	notify_manager("STOPPING=1");
	heard(fd, "STOPPING=1");
	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1); /* not our kind: left alone */
	notify_manager("READY=1");
	unsetenv("NOTIFY_SOCKET");
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"made_and_removed", test_made_and_removed},
		{"leaves_others_alone", test_leaves_others_alone},
		{"locked", test_locked},
		{"refused", test_refused},
		{"after_a_kill", test_after_a_kill},
		{"race", test_race},
		{"notify", test_notify},
		{},
	};
	int status;

	snprintf(base, sizeof(base), "/tmp/vxs-test-run-dir.XXXXXX");
	if (!mkdtemp(base)) {
		perror(base);
		return 1;
	}
	status = check_main("run_dir", tests, argc, argv);
	if (rmdir(base)) {
		printf("FAIL run_dir: %s is not empty at the end\n", base);
		status = 1;
	}
	return status;
}
