/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Starts and ends the processes that wait for pages in our stead. */
#include "vm/vu_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vm/vu_fetcher.h"

#define START_MS 5000 /* that a machine with nothing but other work may take to start a process */
#define FD_ABOVE 16   /* sockets are put out of the way of the fetcher's fds */
#define ENDING   64   /* processes that were killed, but may not be gone yet */

static pid_t ending[ENDING];

void vu_fetch_reap(void)
{
	unsigned i;

	for (i = 0; i < ENDING; i++)
		if (ending[i] && waitpid(ending[i], NULL, WNOHANG))
			ending[i] = 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vu_fetch_end(struct vu_fetch *f)
{
	unsigned i;

	close_fd(&f->command);
	close_fd(&f->touch);
	close_fd(&f->uffd);
	if (f->pid <= 0)
		return;
	kill(f->pid, SIGKILL);
	vu_fetch_reap();
	for (i = 0; i < ENDING && ending[i]; i++)
		;
	if (i < ENDING)
		ending[i] = f->pid;
	else
		waitpid(f->pid, NULL, 0);
	f->pid = 0;
}

/* A pair of sockets: ours, and the fetcher's out of the way of where it will be. */
static int pair(int *ours, int *its)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	*ours = fd[0];
	*its = fcntl(fd[1], F_DUPFD_CLOEXEC, FD_ABOVE);
	close(fd[1]);
	if (*its < 0 || fcntl(*ours, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int spawn(pid_t *pid, int command, int touch)
{
	char name[] = VU_FETCHER_NAME, *argv[] = {name, NULL}, *envp[] = {NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;
	int err, i;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	/* Signals of a terminal are for us, who will end it then. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	err = posix_spawn_file_actions_adddup2(&files, command, VU_FETCHER_COMMAND);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, touch, VU_FETCHER_TOUCH);
	for (i = 0; i < VU_FETCHER_COMMAND && !err; i++)
		err = posix_spawn_file_actions_addopen(&files, i, "/dev/null", O_RDWR, 0);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(&files, VU_FETCHER_TOUCH + 1);
	if (!err)
		err = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -err;
}

static int hear_hello(struct vu_fetch *f)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct vu_fetcher_hello h;
	struct iovec iov = {.iov_base = &h, .iov_len = sizeof(h)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};
	struct pollfd p = {.fd = f->command, .events = POLLIN};
	struct cmsghdr *cmsg;
	int n;

	do {
		n = poll(&p, 1, START_MS);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		return n ? -errno : -ETIMEDOUT;
	if (recvmsg(f->command, &m, MSG_CMSG_CLOEXEC) != sizeof(h))
		return -ECHILD; /* it is no more */
	cmsg = CMSG_FIRSTHDR(&m);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&f->uffd, CMSG_DATA(cmsg), sizeof(f->uffd));
	if (h.error)
		return -h.error;
	memcpy(f->room, h.room, sizeof(f->room));
	return f->uffd < 0 ? -EPROTO : 0;
}

int vu_fetch_start(struct vu_fetch *f)
{
	int command = -1, touch = -1, ret;

	vu_fetch_reap();
	*f = (struct vu_fetch){.command = -1, .touch = -1, .uffd = -1};
	if (!vu_fetcher_has_begun())
		return -EOPNOTSUPP; /* this program, executed anew, would not be a fetcher */
	ret = pair(&f->command, &command);
	if (!ret)
		ret = pair(&f->touch, &touch);
	if (!ret)
		ret = spawn(&f->pid, command, touch);
	if (ret)
		f->pid = 0;
	close_fd(&command);
	close_fd(&touch);
	if (!ret)
		ret = hear_hello(f);
	if (ret)
		vu_fetch_end(f);
	return ret;
}

bool vu_fetch_is_possible(void)
{
	static enum { UNKNOWN, NO, YES } possible;
	struct vu_fetch f;

	if (possible == UNKNOWN) {
		possible = NO;
		if (!vu_fetch_start(&f)) {
			vu_fetch_end(&f);
			possible = YES;
		}
	}
	return possible == YES;
}

int vu_fetch_map(struct vu_fetch *f, const struct vu_fetcher_map *map, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = (void *)map, .iov_len = sizeof(*map)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (fd >= 0) {
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		cmsg = CMSG_FIRSTHDR(&m);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	return sendmsg(f->command, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(*map) ? 0 : -errno;
}
