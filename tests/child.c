/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Starts, watches and ends a vxsd for a test, and asks vxsctl about it. */
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS  15000 /* to readiness; sanitizers are slow, and so is a busy machine */
#define END_MS    10000
#define WORDS_MAX 512

/* The children that are open, and whose they are. */
static struct child *open_children[8];
static pid_t owner;

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Path of a program of the build: the environment's, or beside the directory tests/. */
static const char *program(const char *variable, const char *name, char path[4096])
{
	const char *given = getenv(variable);
	char *at, *next;
	ssize_t n;

	if (given)
		return given;
	n = path ? readlink("/proc/self/exe", path, 4000) : -1;
	if (n < 0)
		return name;
	path[n] = '\0';
	/* the last one: the tree may lie below a directory of that name */
	for (at = NULL, next = strstr(path, "/tests/"); next; next = strstr(at + 1, "/tests/"))
		at = next;
	if (!at)
		return name;
	strcpy(at + 1, name);
	return path;
}

static void remove_tree(const char *path)
{
	struct dirent *e;
	char below[512];
	DIR *dir = opendir(path);

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (unlink(below) && errno == EISDIR)
			remove_tree(below);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

/* What is left of one that had no chance to tidy up; its switch is nobody else's. */
static void remove_rest(const struct child *c)
{
	remove_tree(c->pins);
	remove_tree(c->dir);
}

/* The test itself ends, by a signal or with children still open: vxsd tidies up if it can. */
static void end_all(void)
{
	unsigned i, ms;

	for (i = 0; i < sizeof(open_children) / sizeof(*open_children); i++) {
		struct child *c = open_children[i];

		if (!c)
			continue;
		if (c->pid > 0) {
			kill(c->pid, SIGTERM);
			for (ms = 0; ms < 3000 && !waitpid(c->pid, NULL, WNOHANG); ms++)
				poll(NULL, 0, 1);
			kill(c->pid, SIGKILL);
		}
		remove_rest(c);
		open_children[i] = NULL;
	}
}

static void on_signal(int signal_number)
{
	end_all();
	_exit(128 + signal_number);
}

static void on_exit_of_test(void)
{
	if (getpid() == owner)
		end_all();
}

static int open_notify(struct child *c)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", c->dir);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int child_open(struct child *c, const char *dir)
{
	static unsigned count;
	unsigned i;
	int err;

	memset(c, 0, sizeof(*c));
	c->net_ns = c->notify_fd = c->err_fd = -1;
	snprintf(c->name, sizeof(c->name), "t%d-%u", getpid(), count++);
	snprintf(c->pins, sizeof(c->pins), "/sys/fs/bpf/vxs/%s", c->name);
	snprintf(c->dir, sizeof(c->dir), "%s/vxs-test-XXXXXX", dir ? dir : "/tmp");
	if (!mkdtemp(c->dir)) {
		err = -errno;
		c->dir[0] = '\0';
		return err;
	}
	snprintf(c->run_dir, sizeof(c->run_dir), "%s/run", c->dir);
	for (i = 0; i < sizeof(open_children) / sizeof(*open_children); i++)
		if (!open_children[i]) {
			open_children[i] = c;
			break;
		}
	if (owner != getpid() && !atexit(on_exit_of_test))
		owner = getpid();
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	c->notify_fd = open_notify(c);
	if (c->notify_fd < 0) {
		err = c->notify_fd;
		child_close(c);
		return err;
	}
	return 0;
}

void child_close(struct child *c)
{
	unsigned i;

	if (!c->dir[0])
		return;
	if (c->pid > 0)
		child_end(c, SIGKILL);
	if (c->notify_fd >= 0)
		close(c->notify_fd);
	if (c->err_fd >= 0)
		close(c->err_fd);
	c->notify_fd = c->err_fd = -1;
	remove_rest(c);
	for (i = 0; i < sizeof(open_children) / sizeof(*open_children); i++)
		if (open_children[i] == c)
			open_children[i] = NULL;
	c->dir[0] = '\0';
}

/* Cuts @words at its spaces; the last entry is NULL. */
static void split(char *words, char **argv, unsigned n, unsigned max)
{
	char *save, *word;

	for (word = strtok_r(words, " ", &save); word && n < max - 1;
	     word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	argv[n] = NULL;
}

/* In the new process: becomes vxsd. */
static void become(struct child *c, const char *path, char **argv, int err_fd, pid_t parent)
{
	char notify[96];
	unsigned cap;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	if (c->net_ns >= 0 && setns(c->net_ns, CLONE_NEWNET))
		_exit(127);
	/* What isn't in the bounding set is not given to root either when it executes a program. */
	for (cap = 0; c->bare && !geteuid() && prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap))
			_exit(127);
	snprintf(notify, sizeof(notify), "%s/notify", c->dir);
	setenv("NOTIFY_SOCKET", notify, 1);
	dup2(err_fd, 2);
	execvp(path, argv);
	dprintf(2, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

int child_spawn(struct child *c, const char *words)
{
	char path[4096], copy[1 << 15],
		*argv[WORDS_MAX] = {"vxsd", "--name", c->name, "--run-dir", c->run_dir};
	const char *vxsd = program("VXSD", "vxsd", path);
	pid_t parent = getpid();
	int fd[2];

	snprintf(copy, sizeof(copy), "%s", words);
	split(copy, argv, 5, WORDS_MAX);
	if (c->err_fd >= 0)
		close(c->err_fd);
	c->err_fd = -1;
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	fcntl(fd[0], F_SETPIPE_SZ, 1 << 20);
	c->err_fd = fd[0];
	c->stopping = false;
	c->pid = fork();
	if (!c->pid) {
		fcntl(fd[1], F_SETFL, 0);
		become(c, vxsd, argv, fd[1], parent);
	}
	close(fd[1]);
	if (c->pid < 0) {
		c->pid = 0;
		return -errno;
	}
	return 0;
}

/* Takes in what it wrote; true if something came. */
static bool read_log(struct child *c)
{
	bool any = false;
	ssize_t n;

	while (c->err_fd >= 0 && c->log_len < sizeof(c->log) - 1) {
		n = read(c->err_fd, c->log + c->log_len, sizeof(c->log) - 1 - c->log_len);
		if (n <= 0)
			break;
		if (getenv("VERBOSE"))
			fwrite(c->log + c->log_len, 1, n, stderr);
		c->log_len += n;
		c->log[c->log_len] = '\0';
		any = true;
	}
	return any;
}

/* Reads what came to the notify socket; true if READY=1 was in it. */
static bool read_notify(struct child *c)
{
	bool ready = false;
	char text[512];
	ssize_t n;

	while ((n = recv(c->notify_fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		ready |= !!strstr(text, "READY=1");
		c->stopping |= !!strstr(text, "STOPPING=1");
	}
	return ready;
}

int child_start(struct child *c, const char *words)
{
	unsigned long long end = now_ms() + START_MS;
	int err;

	read_notify(c);
	err = child_spawn(c, words);
	if (err)
		return err;
	while (now_ms() < end) {
		struct pollfd p = {.fd = c->notify_fd, .events = POLLIN};

		poll(&p, 1, 20);
		read_log(c);
		if (read_notify(c))
			return 0;
		if (!child_is_running(c)) {
			child_dump(c);
			return -ECHILD;
		}
	}
	child_dump(c);
	child_end(c, SIGKILL);
	return -ETIMEDOUT;
}

bool child_is_running(struct child *c)
{
	if (c->pid <= 0)
		return false;
	if (waitpid(c->pid, &c->status, WNOHANG) != c->pid)
		return true;
	c->pid = 0;
	read_log(c);
	return false;
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int child_wait(struct child *c, unsigned ms)
{
	unsigned long long end = now_ms() + ms;

	while (child_is_running(c)) {
		if (now_ms() >= end) {
			kill(c->pid, SIGKILL);
			waitpid(c->pid, &c->status, 0);
			c->pid = 0;
			child_dump(c);
			return -ETIMEDOUT;
		}
		read_log(c);
		read_notify(c);
		poll(NULL, 0, 2);
	}
	read_notify(c);
	return exit_status(c->status);
}

int child_end(struct child *c, int signal_number)
{
	if (c->pid > 0)
		kill(c->pid, signal_number);
	return child_wait(c, END_MS);
}

unsigned child_count(struct child *c, const char *text)
{
	const char *at = c->log;
	unsigned n = 0;

	read_log(c);
	while ((at = strstr(at, text))) {
		n++;
		at = strchr(at, '\n');
		if (!at++)
			break;
	}
	return n;
}

bool child_says(struct child *c, const char *text, unsigned ms)
{
	unsigned long long end = now_ms() + ms;

	while (!child_count(c, text)) {
		struct pollfd p = {.fd = c->err_fd, .events = POLLIN};

		if (now_ms() >= end)
			return false;
		poll(&p, 1, 10);
	}
	return true;
}

void child_dump(struct child *c)
{
	read_log(c);
	printf("--- %s said:\n%s---\n", c->name, c->log);
	fflush(stdout);
}

/* Starts vxsctl with @words and its output (-1: as ours) in @out_fd. Its process, or -errno. */
static pid_t spawn_ctl(struct child *c, bool json, const char *words, int out_fd)
{
	char path[4096], copy[4096],
		*argv[WORDS_MAX] = {"vxsctl", "--name", c->name, "--run-dir", c->run_dir};
	const char *vxsctl = program("VXSCTL", "vxsctl", path);
	unsigned n = 5;
	pid_t pid;

	if (json)
		argv[n++] = "-j";
	snprintf(copy, sizeof(copy), "%s", words);
	split(copy, argv, n, WORDS_MAX);
	pid = fork();
	if (!pid) {
		if (out_fd >= 0) {
			dup2(out_fd, 1);
			dup2(out_fd, 2);
		}
		execvp(vxsctl, argv);
		_exit(127);
	}
	return pid < 0 ? -errno : pid;
}

pid_t child_do_start(struct child *c, const char *words)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pid_t pid = spawn_ctl(c, false, words, fd);

	close(fd);
	return pid;
}

bool child_do_done(pid_t pid, int *status)
{
	int s;

	if (waitpid(pid, &s, WNOHANG) != pid)
		return false;
	*status = exit_status(s);
	return true;
}

/* Runs vxsctl with @words; what it printed goes to @out. Its exit status, or -errno. */
static int run_ctl(struct child *c, bool json, const char *words, char *out, size_t size)
{
	size_t len = 0;
	int fd[2], status;
	ssize_t got;
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	pid = spawn_ctl(c, json, words, fd[1]);
	close(fd[1]);
	while ((got = read(fd[0], out + len, size - 1 - len)) > 0)
		len += got;
	out[len] = '\0';
	close(fd[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	return exit_status(status);
}

struct json_object *child_ctl(struct child *c, const char *words, int *status)
{
	static char out[1 << 20];
	struct json_object *o;
	int ret = run_ctl(c, true, words, out, sizeof(out));

	if (status)
		*status = ret;
	o = json_tokener_parse(out);
	if (!o || ret)
		printf("--- vxsctl %s ended with %d: %s\n", words, ret, out);
	return o;
}

int child_do(struct child *c, const char *words)
{
	static char out[1 << 16];

	return run_ctl(c, false, words, out, sizeof(out));
}

unsigned long child_ticks(struct child *c)
{
	unsigned long user = 0, kernel = 0;
	char path[64], line[1024], *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", c->pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	at = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	/* The fields after the name: state, ppid, ..., utime is the 12th and stime the 13th. */
	if (!at || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			  &kernel) != 2)
		return 0;
	return user + kernel;
}
