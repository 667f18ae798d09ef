/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hands a port's state to the front-end, and takes one from it. Control thread only. */
#include "vm/vm_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vm/vm_control.h"
#include "vm/vm_saved.h"

/*
 * Theory of operation
 *
 * The specification (vhost-user.rst, "Migrating back-end state") has the front-end offer a pipe,
 * and lets the back-end answer with a file of its own, to be used instead. We always do: a pipe's
 * other end can make any call on it wait, O_NONBLOCK or not, by sitting on the pipe's lock (it
 * writes from memory whose pages it brings itself). On a file in memory of our own nobody can make
 * us wait. To save, the state is in it before the front-end gets it; to load, it has room for the
 * largest state, and is read when the front-end says that it is done.
 *
 * A front-end that doesn't look at the file which it was given saves nothing, and loads nothing:
 * the VM then moves without its port's state, as if we knew no such thing.
 */

static int make_file(size_t size, const void *bytes)
{
	int fd = memfd_create("vxs-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (bytes ? F_SEAL_WRITE : 0), ret;

	if (fd < 0)
		return -errno;
	/* pwrite() leaves the place where the front-end begins to read, which it shares */
	if ((bytes ? pwrite(fd, bytes, size, 0) != (ssize_t)size : ftruncate(fd, size) < 0) ||
	    fcntl(fd, F_ADD_SEALS, seals) < 0) {
		ret = errno ? -errno : -EIO;
		close(fd);
		return ret;
	}
	return fd;
}

static bool is_suspended(const struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].q || c->ring[i].kicked)
			return false;
	return true;
}

/* Queue pairs that the front-end has set up; it may have fewer than the port. */
static unsigned used_pairs(const struct vm_control *c)
{
	unsigned i, n = 1;

	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].size)
			n = i / 2 + 1;
	return n;
}

static int save(struct vm_control *c)
{
	struct vm_saved *s = calloc(1, sizeof(*s));
	uint8_t *bytes = malloc(VM_SAVED_WRITE_MAX);
	int ret = -ENOMEM;

	if (s && bytes) {
		memcpy(s->name, c->vm->port.name, sizeof(s->name));
		s->mac = c->vm->port.fix_mac;
		s->mtu = c->vm->mtu;
		s->queues = used_pairs(c);
		s->features = c->features;
		if (c->carrier)
			c->carrier->save(c->carrier_arg, c->vm, s);
		ret = make_file(vm_saved_write(s, bytes), bytes);
	}
	free(s);
	free(bytes);
	return ret;
}

int vm_transfer_start(struct vm_control *c, bool load)
{
	struct vm_transfer *t;
	int fd;

	vm_transfer_free(c->transfer);
	c->transfer = NULL;
	if (!is_suspended(c))
		return -EBUSY;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	fd = load ? make_file(VM_SAVED_READ_MAX, NULL) : save(c);
	if (fd < 0) {
		free(t);
		return fd;
	}
	t->fd = fd;
	t->load = load;
	c->transfer = t;
	return 0;
}

/* What the VM was told there, and can't be told otherwise now. */
#define PROMISES ~(1ull << VHOST_USER_F_LOG_ALL | 1ull << VHOST_USER_F_PROTOCOL_FEATURES)

/* The remedy is part of it: whoever moves the VM has to make this port as that one was. */
static bool fits(struct vm_control *c, const struct vm_saved *s, char *why, size_t len)
{
	uint64_t missing = s->features & PROMISES & ~vm_features(c);
	uint64_t mac = c->vm->port.fix_mac;

	if (s->queues > c->n_rings / 2)
		snprintf(why, len,
			 "the VM uses %u queue pairs, and here are %u: change queues=", s->queues,
			 c->n_rings / 2);
	else if (c->mtu_option && s->mtu > c->mtu_option)
		snprintf(why, len, "the VM's MTU is %u, and here %u at most: change mtu=", s->mtu,
			 c->mtu_option);
	else if (mac && s->mac && mac != s->mac)
		snprintf(why, len, "it had another mac=: change mac=");
	else if (missing)
		snprintf(why, len,
			 "the VM uses features 0x%llx, which are not offered here: change "
			 "offloads=, "
			 "queues= or mtu= to what they were there",
			 (unsigned long long)missing);
	else
		return true;
	return false;
}

static int take_over(struct vm_control *c, struct vm_saved *s, const uint8_t *bytes, size_t len)
{
	char misfit[160];
	const char *why;

	if (vm_saved_read(s, bytes, len, &why)) {
		vm_log(c, LOG_WARN, "the port's state that came with the VM: %s", why);
		return -EINVAL;
	}
	if (!fits(c, s, misfit, sizeof(misfit))) {
		vm_log(c, LOG_WARN, "can't take port \"%s\" over from where the VM was: %s",
		       s->name, misfit);
		return -EINVAL;
	}
	c->moved_addresses = c->carrier ? c->carrier->load(c->carrier_arg, c->vm, s) : 0;
	c->moved_in = time(NULL);
	memcpy(c->moved_from, s->name, sizeof(c->moved_from));
	vm_log(c, LOG_INFO, "moved in: port \"%s\" of where it was, with %u of its %u addresses",
	       s->name, c->moved_addresses, s->n_addresses);
	return 0;
}

static int load(struct vm_control *c, int fd)
{
	off_t len = lseek(fd, 0, SEEK_CUR);
	struct vm_saved *s;
	uint8_t *bytes;
	ssize_t n;
	int ret = -ENOMEM;

	if (len < 0 || len > VM_SAVED_READ_MAX)
		return -EINVAL;
	if (!len) {
		vm_log(c, LOG_INFO, "moved in without its port's state");
		return 0;
	}
	s = malloc(sizeof(*s));
	bytes = malloc(len);
	if (s && bytes) {
		n = pread(fd, bytes, len, 0);
		ret = n == len ? take_over(c, s, bytes, len) : -EIO;
	}
	free(s);
	free(bytes);
	return ret;
}

int vm_transfer_end(struct vm_control *c)
{
	struct vm_transfer *t = c->transfer;
	int ret = 0;

	if (!t)
		return -ENOENT;
	c->transfer = NULL;
	if (t->load)
		ret = is_suspended(c) ? load(c, t->fd) : -EBUSY;
	vm_transfer_free(t);
	return ret;
}

void vm_transfer_free(struct vm_transfer *t)
{
	if (!t)
		return;
	close(t->fd);
	free(t);
}
