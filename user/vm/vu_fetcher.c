/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A process that waits in page faults, so that nobody else has to, and holds nothing else. */
#include "vm/vu_fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>

#include "vhost_user.h"

/*
 * Theory of operation
 *
 * In a post-copy migration a guest runs at its new place before its memory is there. Who touches a
 * page that is not, waits until the front-end has fetched it; the front-end learns of it from a
 * userfaultfd that the back-end gives away. This fd is a key to the whole address space of the
 * process that opened it: whoever has it may have other pages watched, and so stop any thread, and
 * may fill any private page that was never touched with what he likes. So it must not be ours.
 *
 * The fetcher is the same program, executed anew with nothing but two sockets. It opens the
 * userfaultfd, maps the guest's memory, touches what it is told to, and says when it has returned
 * from that. What it maps are files that the front-end has anyway, and after its start it may make
 * hardly any system call. What it says is believed no more than what the front-end says. It ends
 * when its sockets are closed, or is killed, whatever it waits for.
 */

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true /* they make system calls of their own */
#else
#define SANITIZED false
#endif
#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0 /* none that we know: no filter */
#endif

#define ROOM_MIN (1ull << 32)
#define ROOM_GAP (1ull << 26) /* on both sides of it: for stacks, and what is mapped later */
#define STACK    (256u << 10)
#define REGIONS  VHOST_USER_REGIONS_MAX

static bool has_begun;

int vu_fetcher_has_begun(void)
{
	return has_begun;
}

static int open_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0 && errno == EINVAL) /* before Linux 5.11 */
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	return api.features & UFFD_FEATURE_MISSING_SHMEM ? fd : -EOPNOTSUPP;
}

/* Keeps the largest ones, in order. */
static void add_room(struct vu_fetcher_hello *h, uint64_t at, uint64_t end)
{
	struct vu_fetcher_room room, other;
	unsigned i;

	at = (at + 2 * ROOM_GAP - 1) & ~(ROOM_GAP - 1);
	end = (end - ROOM_GAP) & ~(ROOM_GAP - 1);
	if (end < at + ROOM_MIN || end > INT64_MAX)
		return;
	room = (struct vu_fetcher_room){at, end - at};
	for (i = 0; i < VU_FETCHER_ROOMS; i++)
		if (room.len > h->room[i].len) {
			other = h->room[i];
			h->room[i] = room;
			room = other;
		}
}

/*
 * Finds what lies between our mappings, and leaves it empty: memory that could be filled through
 * the userfaultfd would be ours to pay for.
 */
static int find_rooms(struct vu_fetcher_hello *h)
{
	uint64_t from, to, last = ROOM_MIN;
	FILE *maps;
	void *some;

	/* not what sanitizers have instead; and not if there is a limit to it */
	some = (void *)syscall(SYS_mmap, 0, ROOM_MIN, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (some == MAP_FAILED)
		return errno;
	syscall(SYS_munmap, some, ROOM_MIN);
	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return errno;
	while (fscanf(maps, "%" SCNx64 "-%" SCNx64 "%*[^\n]", &from, &to) == 2) {
		if (from > last && from <= INT64_MAX) /* beyond are the kernel's */
			add_room(h, last, from);
		if (to > last)
			last = to;
	}
	fclose(maps);
	return h->room[0].len ? 0 : ENOMEM;
}

static __thread sigjmp_buf *touching;

static void on_fault(int number)
{
	(void)number;
	if (touching)
		siglongjmp(*touching, 1);
	_exit(EXIT_FAILURE);
}

/* The wait, in the middle of this function. What is wanted may be unmapped meanwhile. */
__attribute__((no_sanitize("address", "thread"), noinline)) static void touch(uint64_t at)
{
	sigjmp_buf here;

	touching = &here;
	if (!sigsetjmp(here, 1))
		(void)*(volatile const uint8_t *)(uintptr_t)at;
	touching = NULL;
}

static void *run(void *arg)
{
	uint64_t at;

	while (recv(VU_FETCHER_TOUCH, &at, sizeof(at), 0) == sizeof(at)) {
		touch(at);
		if (send(VU_FETCHER_TOUCH, &at, sizeof(at), MSG_NOSIGNAL) != sizeof(at))
			break;
	}
	_exit(0);
	return arg;
}

static int start_threads(void)
{
	struct sigaction action = {.sa_handler = on_fault};
	pthread_attr_t attr;
	pthread_t thread;
	unsigned i;
	int err;

	sigaction(SIGSEGV, &action, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (i = 0, err = 0; i < VU_FETCHER_THREADS && !err; i++)
		err = pthread_create(&thread, &attr, run, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

#define ALLOW(name)                                                                                \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                                     \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))

/* Whoever gets hold of it through its userfaultfd finds himself with this. */
static int lock_up(void)
{
	struct sock_filter filter[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
		ALLOW(recvfrom),
		ALLOW(sendto),
		ALLOW(recvmsg),
		ALLOW(sendmsg),
		ALLOW(ioctl),
		ALLOW(close),
		ALLOW(munmap),
		ALLOW(exit_group),
		ALLOW(rt_sigprocmask), /* sigsetjmp() */
		/* what threads begin with */
		ALLOW(rseq),
		ALLOW(set_robust_list),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		LOAD(args[2]), /* protection: not for code */
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (SANITIZED || !ARCH)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
		return errno == ENOSYS || errno == EINVAL ? 0 : errno; /* a kernel without it */
	return 0;
}

/* No core file with guests' secrets, the first to go when memory is short, gone with its parent. */
static void be_modest(void)
{
	struct rlimit none = {0, 0};
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_NAME, VU_FETCHER_NAME);
	setrlimit(RLIMIT_CORE, &none);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1000", 4) != 4)
			prctl(PR_SET_DUMPABLE, 0); /* as good as nothing */
		close(fd);
	}
	prctl(PR_SET_DUMPABLE, 0);
}

/* Says hello with @uffd, which is -1 if there is none. */
static bool say_hello(const struct vu_fetcher_hello *h, int uffd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = (void *)h, .iov_len = sizeof(*h)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (uffd >= 0) {
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		cmsg = CMSG_FIRSTHDR(&m);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(uffd));
		memcpy(CMSG_DATA(cmsg), &uffd, sizeof(uffd));
	}
	return sendmsg(VU_FETCHER_COMMAND, &m, MSG_NOSIGNAL) == sizeof(*h);
}

/* One command, with its fd or -1. False: nobody is there any more. */
static bool next_command(struct vu_fetcher_map *map, int *fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = map, .iov_len = sizeof(*map)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};
	struct cmsghdr *cmsg;

	*fd = -1;
	if (recvmsg(VU_FETCHER_COMMAND, &m, MSG_CMSG_CLOEXEC) != sizeof(*map))
		return false;
	cmsg = CMSG_FIRSTHDR(&m);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return true;
}

/* The parts of the table that holds; they are watched all at once. */
static struct uffdio_range part[REGIONS];
static unsigned n_parts;
static uint32_t part_round;

/* Another table takes its place. Who waits for a page of it is woken, and finds nothing. */
static void drop_parts(int uffd)
{
	unsigned i;

	for (i = 0; i < n_parts; i++) {
		munmap((void *)(uintptr_t)part[i].start, part[i].len);
		ioctl(uffd, UFFDIO_WAKE, &part[i]);
	}
	n_parts = 0;
}

static int add_part(const struct vu_fetcher_map *map, int uffd, int fd)
{
	long at;

	if (map->round != part_round)
		drop_parts(uffd);
	part_round = map->round;
	if (fd < 0 || n_parts == REGIONS)
		return EINVAL;
	at = syscall(SYS_mmap, map->at, map->len, PROT_READ,
		     MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, map->offset);
	if (at == -1)
		return errno;
	part[n_parts++] = (struct uffdio_range){at, map->len};
	return (uint64_t)at == map->at ? 0 : EEXIST; /* kernels before Linux 4.17 don't know */
}

static int watch_parts(int uffd)
{
	unsigned i;

	for (i = 0; i < n_parts; i++) {
		struct uffdio_register r = {.range = part[i], .mode = UFFDIO_REGISTER_MODE_MISSING};

		if (ioctl(uffd, UFFDIO_REGISTER, &r) < 0)
			return errno;
	}
	return 0;
}

static int fetch(void)
{
	struct vu_fetcher_hello hello = {0};
	struct vu_fetcher_ready ready = {0};
	struct vu_fetcher_map map;
	int uffd, fd;

	be_modest();
	uffd = open_uffd();
	if (uffd < 0)
		hello.error = -uffd;
	if (!hello.error)
		hello.error = start_threads();
	if (!hello.error)
		hello.error = find_rooms(&hello);
	if (!hello.error)
		hello.error = lock_up();
	if (!say_hello(&hello, hello.error ? -1 : uffd) || hello.error)
		return EXIT_FAILURE;
	while (!ready.error && next_command(&map, &fd)) {
		ready.round = map.round;
		ready.error = map.len ? add_part(&map, uffd, fd) : watch_parts(uffd);
		if (fd >= 0)
			close(fd);
		if ((ready.error || !map.len) &&
		    send(VU_FETCHER_COMMAND, &ready, sizeof(ready), MSG_NOSIGNAL) < 0)
			break;
	}
	return EXIT_SUCCESS;
}

void vu_fetcher_begin(int argc, char **argv)
{
	if (argc == 1 && !strcmp(argv[0], VU_FETCHER_NAME))
		_exit(fetch());
	has_begun = true;
}
