/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* File descriptors whose close() waits for the peer: nobody here waits with it. */
#include "vu_peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

/*
 * A pipe whose lock is held: a thread writes to it from a page that isn't there, and that nobody
 * brings until held_end(). Whoever closes the last descriptor of its other end waits for it.
 */
static struct {
	int pipe[2], uffd;
	void *page;
	size_t size;
	pthread_t thread;
} held;

static void *write_page(void *arg)
{
	ssize_t n = write(held.pipe[1], held.page, 1);

	(void)arg;
	(void)n; /* nobody may be there to read it any more */
	return NULL;
}

static bool held_begin(void)
{
	struct uffdio_register all = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_api api = {.api = UFFD_API};
	struct pollfd p = {.events = POLLIN};

	held.size = sysconf(_SC_PAGESIZE);
	held.uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (held.uffd < 0 || ioctl(held.uffd, UFFDIO_API, &api)) {
		check_skip("no userfaultfd for faults of the kernel");
		return false;
	}
	signal(SIGPIPE, SIG_IGN);
	held.page =
		mmap(NULL, held.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	all.range = (struct uffdio_range){(uintptr_t)held.page, held.size};
	CU_ASSERT_FATAL(held.page != MAP_FAILED && !ioctl(held.uffd, UFFDIO_REGISTER, &all));
	CU_ASSERT_FATAL(!pipe2(held.pipe, O_CLOEXEC));
	CU_ASSERT_FATAL(!pthread_create(&held.thread, NULL, write_page, NULL));
	p.fd = held.uffd;
	CU_ASSERT_EQUAL(poll(&p, 1, -1), 1); /* it is in the middle of it */
	alarm(20);                           /* who waits must not do so for ever */
	return true;
}

static void held_end(void)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)held.page, held.size}};

	CU_ASSERT_EQUAL(ioctl(held.uffd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(held.thread, NULL);
	close(held.pipe[1]);
	close(held.uffd);
	munmap(held.page, held.size);
	t.leave_fds = false;
	alarm(0);
}

static bool next_works(void)
{
	peer_connect();
	return peer_get(VHOST_USER_GET_FEATURES) != PEER_SILENCE;
}

/* With a message that has no fds, so that it is refused and the fd closed. */
static void send_and_close(int fd)
{
	peer_send(VHOST_USER_GET_FEATURES, 0, NULL, 0, &fd, 1);
	close(fd);
}

static void drained(unsigned fds)
{
	while (vu_close_pending(VXS_PORT_VM) || vu_close_pending(VXS_PORT_VM + 1))
		sched_yield();
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(check_fds(), fds);
}

/* The port goes on, and so do all others; but not for ever. */
static void test_waits(void)
{
	unsigned fds, i;
	int other[2];

	peer_setup(1);
	t.leave_fds = true;
	fds = check_fds();
	if (!held_begin()) {
		peer_end();
		return;
	}
	for (i = 0; i < VU_CLOSE_MAX - 1; i++) {
		CU_ASSERT_FATAL(next_works());
		if (!i) {
			int end = held.pipe[0];

			/* the last but the one that is on its way */
			peer_put(t.fd, &(struct vhost_user_header){1, VHOST_USER_VERSION, 0}, 12,
				 &end, 1);
			close(end);
			peer_pump();
		} else {
			CU_ASSERT_FATAL(!pipe2(other, O_CLOEXEC));
			close(other[1]);
			send_and_close(other[0]);
		}
		CU_ASSERT(peer_is_closed());
		CU_ASSERT_EQUAL(vu_close_pending(VXS_PORT_VM), i + 1);
	}
	CU_ASSERT(next_works());
	CU_ASSERT_FATAL(!pipe2(other, O_CLOEXEC));
	vu_close(VXS_PORT_VM + 1, other[1]);
	while (vu_close_pending(VXS_PORT_VM + 1))
		sched_yield();
	send_and_close(other[0]);
	CU_ASSERT(peer_is_closed());
	{
		struct vm_state s;

		vm_state(t.vm, &s);
		CU_ASSERT(s.ended && strstr(s.ended, "can't be closed"));
	}
	peer_hang_up();
	t.fd = peer_dial();
	peer_pump();
	CU_ASSERT(peer_get(VHOST_USER_GET_FEATURES) == PEER_SILENCE);
	held_end();
	drained(fds);
	peer_end();
}

/* One that we never read, since what came before it was wrong. */
static void test_unread(void)
{
	const struct vhost_user_header bad = {VHOST_USER_GET_FEATURES, 0, 0};
	unsigned fds;

	peer_setup(1);
	t.leave_fds = true;
	fds = check_fds();
	if (held_begin()) {
		peer_connect();
		peer_put(t.fd, &bad, sizeof(bad), NULL, 0);
		peer_put(t.fd, &bad, sizeof(bad), &held.pipe[0], 1);
		close(held.pipe[0]);
		peer_pump();
		CU_ASSERT(peer_is_closed());
		CU_ASSERT_EQUAL(vu_close_pending(VXS_PORT_VM), 1);
		CU_ASSERT(next_works());
		held_end();
		drained(fds);
	}
	peer_end();
}

/* More than a message may have: the kernel doesn't close any of them in our place. */
static void test_many(void)
{
	const struct vhost_user_header h = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	int list[16], other[2];
	unsigned fds, i;

	peer_setup(1);
	t.leave_fds = true;
	fds = check_fds();
	if (held_begin()) {
		CU_ASSERT_FATAL(!pipe2(other, O_CLOEXEC));
		for (i = 0; i < 16; i++)
			list[i] = i < 15 ? other[0] : held.pipe[0];
		peer_connect();
		CU_ASSERT(peer_put(t.fd, &h, sizeof(h), list, 16));
		close(held.pipe[0]), close(other[0]), close(other[1]);
		peer_pump();
		CU_ASSERT(peer_is_closed());
		CU_ASSERT(next_works());
		held_end();
		drained(fds);
	}
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"waits", test_waits},
		{"unread", test_unread},
		{"many", test_many},
		{},
	};

	return check_main("vu_close", tests, argc, argv);
}
