/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whatever the kernel or the heap refuses, at any moment: a connection ends, and nothing is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "conversation.h"

/*
 * The linker puts the functions below in place of the C library's (--wrap, see the Makefile). The
 * conversation is had again and again; the first time the back-end's first such call fails, the
 * second time its second one, until there are no more.
 */
#define TURNS_MAX 1000
#define WAIT      20000 /* ms */

static bool armed;         /* it is the back-end's turn */
static unsigned left;      /* calls until one fails */
static bool has_failed;    /* it has */
static const char *failed; /* which it was */

static bool fails(const char *name)
{
	if (!armed || has_failed || left--)
		return false;
	has_failed = true;
	failed = name;
	errno = ENOMEM;
	return true;
}

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t n, size_t size);
extern int __real_posix_memalign(void **at, size_t align, size_t size);
extern void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
extern int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
extern int __real_eventfd(unsigned n, int flags);
extern int __real_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags);
extern int __real_timerfd_create(int clock, int flags);
extern int __real_memfd_create(const char *name, unsigned flags);
extern int __real_ftruncate(int fd, off_t len);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __wrap_posix_memalign(void **at, size_t align, size_t size);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_eventfd(unsigned n, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_memfd_create(const char *name, unsigned flags);
int __wrap_ftruncate(int fd, off_t len);

void *__wrap_malloc(size_t size)
{
	return fails("malloc") ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails("calloc") ? NULL : __real_calloc(n, size);
}

int __wrap_posix_memalign(void **at, size_t align, size_t size)
{
	return fails("posix_memalign") ? ENOMEM : __real_posix_memalign(at, align, size);
}

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return fails("mmap") ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, offset);
}

/* What was added can always be taken out, as the kernel has it. */
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	return op == EPOLL_CTL_ADD && fails("epoll_ctl") ? -1
							 : __real_epoll_ctl(epoll, op, fd, event);
}

int __wrap_eventfd(unsigned n, int flags)
{
	return fails("eventfd") ? -1 : __real_eventfd(n, flags);
}

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
	return fails("accept4") ? -1 : __real_accept4(fd, peer, len, flags);
}

int __wrap_timerfd_create(int clock, int flags)
{
	return fails("timerfd_create") ? -1 : __real_timerfd_create(clock, flags);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
	return fails("memfd_create") ? -1 : __real_memfd_create(name, flags);
}

int __wrap_ftruncate(int fd, off_t len)
{
	return fails("ftruncate") ? -1 : __real_ftruncate(fd, len);
}

static struct talk_step step[TALK_STEPS];
static unsigned n_steps, n_up;

static void pump_armed(void)
{
	armed = true;
	peer_pump();
	armed = false;
}

static bool is_connected(void *arg)
{
	struct vm_state state;

	(void)arg;
	loop_once(t.loop, 10); /* after accept() failed, it is tried again a little later */
	vm_state(t.vm, &state);
	return state.connected;
}

static void expect_nothing(unsigned fds)
{
	struct vm_state state;

	vm_state(t.vm, &state);
	CU_ASSERT_FALSE(state.connected);
	CU_ASSERT(!t.vm->in[0] && !t.vm->out[0]);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* As far as it goes. */
static void talk(void (*pump)(void))
{
	unsigned i;

	t.fd = peer_dial();
	pump();
	for (i = 0; i < n_steps; i++) {
		if (!talk_say(t.fd, &step[i], talk_length(&step[i]), t.memory, true))
			break;
		pump();
	}
}

static void hang_up(void)
{
	peer_hang_up();
	peer_pump();
}

static void starve(void)
{
	unsigned fds, turn;

	peer_setup(1);
	talk(peer_pump); /* all goes well */
	CU_ASSERT(is_connected(NULL));
	hang_up();
	fds = check_fds();
	for (turn = 0; turn < TURNS_MAX; turn++) {
		unsigned before = CU_get_number_of_failures();

		left = turn;
		has_failed = false;
		talk(pump_armed);
		hang_up();
		if (!has_failed)
			break;
		t.fd = peer_dial();
		CU_ASSERT(check_until(is_connected, NULL, WAIT));
		hang_up();
		expect_nothing(fds);
		if (CU_get_number_of_failures() != before)
			printf("--- call %u: %s\n", turn, failed);
	}
	printf("     %u calls\n", turn);
	CU_ASSERT(turn > 10 && turn < TURNS_MAX);
	peer_end();
}

static void test_qemu(void)
{
	n_steps = talk_write(step, TALK_QEMU, &n_up);
	starve();
}

static void test_iommu(void)
{
	n_steps = talk_write(step, TALK_IOMMU, &n_up);
	starve();
}

/* Memory for buffers in flight, regions one by one, a device's state. */
static void test_newer(void)
{
	n_steps = talk_write(step, TALK_NEWER, &n_up);
	starve();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"qemu", test_qemu},
		{"iommu", test_iommu},
		{"newer", test_newer},
		{},
	};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (!getenv("VERBOSE"))
		dup2(null, STDERR_FILENO); /* hundreds of lines that are expected */
	return check_main("starved", tests, argc, argv);
}
