/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A front-end at the new place of a guest: it fetches pages as they are missed, as QEMU does. */
#ifndef POSTCOPY_RIG_H
#define POSTCOPY_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "vms.h"

/*
 * The guest's memory is copied aside ("its old place") and its file made empty. A thread then
 * answers faults: ours, since fake_vm is the guest and touches its rings and buffers, and those of
 * the back-end. Either way the page is copied into our mapping, and the back-end woken.
 */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct move {
	struct fake_vm *vm;
	int own, theirs; /* userfaultfds; -1: none */
	int poke;        /* eventfd: @hold or @end have changed */
	bool hold;       /* atomic: the back-end's faults are not answered */
	bool end;        /* atomic */
	unsigned asked;  /* atomic: faults of the back-end that were answered */
	uint64_t page;
	uint8_t *copy[VHOST_USER_REGIONS_MAX];
	uint64_t base[VHOST_USER_REGIONS_MAX]; /* there; atomic */
	pthread_t thread;
	bool runs;
};

static inline int move_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 &&
	    (ioctl(fd, UFFDIO_API, &api) || !(api.features & UFFD_FEATURE_MISSING_SHMEM)))
		return -1;
	return fd;
}

static inline uint64_t move_base(struct move *m, unsigned i)
{
	return __atomic_load_n(&m->base[i], __ATOMIC_RELAXED);
}

/* Brings the page that has @off in region @i, and wakes who waits for it there. */
static inline void move_bring(struct move *m, unsigned i, uint64_t off)
{
	struct uffdio_copy copy = {.len = m->page};
	struct uffdio_range wake = {.len = m->page};

	off &= ~(m->page - 1);
	copy.src = (uintptr_t)m->copy[i] + off;
	copy.dst = (uintptr_t)m->vm->memory_at[i] + off;
	if (ioctl(m->own, UFFDIO_COPY, &copy) && errno == EEXIST) {
		wake.start = copy.dst;
		ioctl(m->own, UFFDIO_WAKE, &wake);
	}
	if (m->theirs < 0 || !move_base(m, i))
		return;
	wake.start = move_base(m, i) + off;
	ioctl(m->theirs, UFFDIO_WAKE, &wake);
}

static inline void move_answer(struct move *m, int fd)
{
	struct uffd_msg msg;
	unsigned i;

	while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
		uint64_t at = msg.arg.pagefault.address;

		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		for (i = 0; i < m->vm->memory.n; i++) {
			uint64_t base = fd == m->own ? (uintptr_t)m->vm->memory_at[i]
						     : move_base(m, i);

			if (at - base < m->vm->memory.region[i].size)
				move_bring(m, i, at - base);
		}
		if (fd == m->theirs)
			__atomic_fetch_add(&m->asked, 1, __ATOMIC_RELAXED);
	}
}

static inline void *move_run(void *arg)
{
	struct move *m = arg;
	eventfd_t n;

	while (!__atomic_load_n(&m->end, __ATOMIC_ACQUIRE)) {
		bool hold = __atomic_load_n(&m->hold, __ATOMIC_ACQUIRE);
		struct pollfd p[3] = {{m->poke, POLLIN, 0},
				      {m->own, POLLIN, 0},
				      {hold ? -1 : m->theirs, POLLIN, 0}};

		poll(p, 3, -1);
		if (p[0].revents)
			eventfd_read(m->poke, &n);
		if (p[1].revents & POLLIN)
			move_answer(m, m->own);
		if (p[2].revents & POLLIN)
			move_answer(m, m->theirs);
	}
	return NULL;
}

static inline void move_hold(struct move *m, bool on)
{
	__atomic_store_n(&m->hold, on, __ATOMIC_RELEASE);
	eventfd_write(m->poke, 1);
}

/* POSTCOPY_ADVISE: the back-end's userfaultfd, or -1. */
static inline int move_advise(struct fake_vm *vm)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct vhost_user_header h = {0};
	struct iovec iov = {&h, sizeof(h)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = sizeof(control.room)};
	struct pollfd p = {vm->fd, POLLIN, 0};
	struct cmsghdr *cmsg;
	int fd = -1;

	if (fake_vm_message(vm, VHOST_USER_POSTCOPY_ADVISE, NULL, 0, NULL, 0, NULL) ||
	    poll(&p, 1, VMS_WAIT) != 1 || recvmsg(vm->fd, &msg, MSG_CMSG_CLOEXEC) != sizeof(h))
		return -1;
	CU_ASSERT_EQUAL(h.request, VHOST_USER_POSTCOPY_ADVISE);
	CU_ASSERT_EQUAL(h.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	CU_ASSERT_EQUAL(h.size, 0);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/*
 * With ACCESS_PLATFORM the guest's addresses are its IOMMU's, which are those of the fake VM; what
 * the back-end is told of as physical is so far from there.
 */
#define MOVE_IOMMU (1ull << 33)
#define MOVE_SHIFT (1ull << 40)

static inline bool move_has_iommu(const struct fake_vm *vm)
{
	return vm->features & MOVE_IOMMU;
}

/* All that there is at once: buffers by the fake VM's physical address, rings by its virtual one.
 */
static inline bool move_iotlb(struct fake_vm *vm)
{
	unsigned i, k;
	bool ok = true;

	for (i = 0; move_has_iommu(vm) && i < vm->memory.n; i++) {
		const struct vhost_user_region *r = &vm->memory.region[i];

		for (k = 0; k < 2; k++) {
			struct vhost_user_iotlb m = {.iova = k ? r->uva : r->gpa,
						     .size = r->size,
						     .uva = r->uva,
						     .perm = VHOST_USER_ACCESS_RO |
							     VHOST_USER_ACCESS_WO,
						     .type = VHOST_USER_IOTLB_UPDATE};
			union vhost_user_payload reply = {.u64 = 1};

			ok &= !fake_vm_message(vm, VHOST_USER_IOTLB_MSG, &m, sizeof(m), NULL, 0,
					       &reply) &&
			      !reply.u64;
		}
	}
	return ok;
}

/* SET_MEM_TABLE after POSTCOPY_LISTEN: the addresses there. The acknowledgement is the caller's. */
static inline bool move_table(struct fake_vm *vm, uint64_t *base)
{
	size_t size = 8 + vm->memory.n * sizeof(struct vhost_user_region);
	struct vhost_user_memory table = vm->memory;
	union vhost_user_payload reply = {};
	struct vhost_user_header h;
	unsigned i;

	for (i = 0; move_has_iommu(vm) && i < table.n; i++)
		table.region[i].gpa += MOVE_SHIFT;
	if (fake_vm_message(vm, VHOST_USER_SET_MEM_TABLE, &table, size, vm->memory_fd, table.n,
			    NULL) ||
	    fake_vm_reply(vm, &h, &reply, VMS_WAIT) || h.request != VHOST_USER_SET_MEM_TABLE ||
	    h.size != size || reply.memory.n != vm->memory.n)
		return false;
	for (i = 0; i < vm->memory.n; i++) {
		CU_ASSERT_EQUAL(reply.memory.region[i].gpa, table.region[i].gpa);
		__atomic_store_n(&base[i], reply.memory.region[i].uva, __ATOMIC_RELAXED);
	}
	return true;
}

static inline bool move_ack(struct fake_vm *vm)
{
	uint64_t zero = 0;

	return !fake_vm_message(vm, VHOST_USER_SET_MEM_TABLE, &zero, 8, NULL, 0, NULL);
}

/* A VM that knows of post-copy, connected and negotiated, its rings laid out but not started. */
static inline struct fake_vm *move_join(const char *name, const struct fake_vm_options *opt)
{
	struct fake_vm_options o = *opt;
	struct fake_vm *vm;
	uint64_t wanted;

	o.no_start = true;
	vm = vms_join(name, &o);
	if (!vm)
		return NULL;
	wanted = vm->protocol_features | FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_PAGEFAULT);
	CU_ASSERT(vm->protocol_offered & FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_PAGEFAULT));
	CU_ASSERT_EQUAL(fake_vm_request(vm, VHOST_USER_SET_PROTOCOL_FEATURES, &wanted, 8, NULL, 0),
			0);
	vm->protocol_features = wanted;
	return vm;
}

static inline bool move_empty(struct move *m)
{
	struct fake_vm *vm = m->vm;
	unsigned i;

	for (i = 0; i < vm->memory.n; i++) {
		const struct vhost_user_region *r = &vm->memory.region[i];
		struct uffdio_register reg = {
			.range = {(uintptr_t)vm->memory_at[i], r->size},
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};

		m->copy[i] = mmap(NULL, r->size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memcpy(m->copy[i], vm->memory_at[i], r->size);
		if (fallocate(vm->memory_fd[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      r->mmap_offset, r->size) ||
		    ioctl(m->own, UFFDIO_REGISTER, &reg))
			return false;
	}
	return true;
}

/* The guest has moved, without its memory: all up to its running rings. @hold: see struct move. */
static inline bool move_begin(struct move *m, struct fake_vm *vm, bool hold)
{
	*m = (struct move){.vm = vm, .own = -1, .theirs = -1, .poke = -1, .hold = hold};
	m->page = vm->opt.huge ? 2 << 20 : 4096;
	m->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->own = move_uffd();
	m->theirs = move_advise(vm);
	CU_ASSERT_FATAL(m->theirs >= 0);
	CU_ASSERT_TRUE_FATAL(move_empty(m));
	m->runs = !pthread_create(&m->thread, NULL, move_run, m);
	CU_ASSERT_EQUAL(fake_vm_request(vm, VHOST_USER_POSTCOPY_LISTEN, NULL, 0, NULL, 0), 0);
	CU_ASSERT_TRUE_FATAL(move_table(vm, m->base));
	CU_ASSERT_TRUE(move_ack(vm));
	CU_ASSERT_TRUE(move_iotlb(vm));
	return !fake_vm_start(vm);
}

/* POSTCOPY_END, after all of the memory was brought. */
static inline bool move_end(struct move *m)
{
	union vhost_user_payload reply;
	uint64_t off;
	unsigned i;

	for (i = 0; i < m->vm->memory.n; i++)
		for (off = 0; off < m->vm->memory.region[i].size; off += m->page)
			move_bring(m, i, off);
	return !fake_vm_message(m->vm, VHOST_USER_POSTCOPY_END, NULL, 0, NULL, 0, &reply) &&
	       reply.u64 == 0;
}

/* Whatever state it is in; the VM is closed as well. */
static inline void move_free(struct move *m)
{
	unsigned i;

	if (m->runs) {
		__atomic_store_n(&m->end, true, __ATOMIC_RELEASE);
		eventfd_write(m->poke, 1);
		pthread_join(m->thread, NULL);
	}
	for (i = 0; m->vm && i < m->vm->memory.n; i++)
		if (m->copy[i])
			munmap(m->copy[i], m->vm->memory.region[i].size);
	close(m->own); /* before fake_vm touches its memory again */
	close(m->theirs);
	close(m->poke);
	fake_vm_close(m->vm);
	m->vm = NULL;
}

#endif
