/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* VMs on a vxsd without uplink that a test starts as its child, and what vxsctl says about them. */
#ifndef VMS_H
#define VMS_H

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "fake_vm.h"
#include "vxs_bpf.h"
#include "vxs_ctl.h"

/*
 * One switch at a time. VMs have names of one letter, and addresses that follow from them; a test
 * that wants to flood nothing gives them to vxsd with VMS_PORT().
 */
#define VMS_WAIT 20000 /* ms; sanitizers are slow, and so is a busy machine */

/* --vm of the VM whose name has the hexadecimal ASCII code @hex: VMS_PORT("a", "61"). */
#define VMS_PORT(name, hex) " --vm " name ",mac=02:00:00:00:00:" hex

static struct child vxsd;

static inline unsigned long long vms_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/** vms_start() - start the switch; @bare: without any capability, so without BPF. */
static inline bool vms_start(const char *words, bool bare)
{
	if (strstr(words, "--cpus 0,1") && sysconf(_SC_NPROCESSORS_CONF) < 2) {
		check_skip("needs two CPUs");
		return false;
	}
	CU_ASSERT_EQUAL_FATAL(child_open(&vxsd, NULL), 0);
	vxsd.bare = bare;
	if (!child_start(&vxsd, words))
		return true;
	CU_FAIL("vxsd did not start");
	child_close(&vxsd);
	return false;
}

/** vms_stop() - end the switch, which has nothing to complain about (leaks and races among it). */
static inline void vms_stop(void)
{
	int status = child_end(&vxsd, SIGTERM);

	CU_ASSERT_EQUAL(status, 0);
	if (status)
		child_dump(&vxsd);
	child_close(&vxsd);
}

static inline void vms_mac(char name, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){2, 0, 0, 0, 0, name}, 6);
}

/** vms_join() - a running VM on port @name; NULL: it failed, and that was said. */
static inline struct fake_vm *vms_join(const char *name, const struct fake_vm_options *opt)
{
	struct fake_vm_options o = *opt;
	struct fake_vm *vm = NULL;
	char path[128];
	int err;

	snprintf(path, sizeof(path), "%s/%s.sock", vxsd.run_dir, name);
	o.socket = path;
	o.timeout_ms = VMS_WAIT;
	err = fake_vm_open(&vm, &o);
	if (err)
		printf("--- VM %s: %s\n", name, strerror(-err));
	CU_ASSERT_EQUAL(err, 0);
	return err ? NULL : vm;
}

static inline struct json_object *vms_member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

static inline uint64_t vms_number(struct json_object *o, const char *key)
{
	return json_object_get_int64(vms_member(o, key));
}

/** vms_read_stats() - the counters of a port, out of what `vxsctl -j stats` says of it. */
static inline void vms_read_stats(struct json_object *one, struct vxs_port_stats *s)
{
	struct json_object *drops = vms_member(one, "drops");

	memset(s, 0, sizeof(*s));
	s->in_frames = vms_number(one, "in_frames");
	s->in_bytes = vms_number(one, "in_bytes");
	s->out_frames = vms_number(one, "out_frames");
	s->out_bytes = vms_number(one, "out_bytes");
#define VMS_READ(field, text) s->drops.field = vms_number(drops, #field);
	VXS_DROP_LIST(VMS_READ)
#undef VMS_READ
}

/** vms_stats() - a port's counters, as `vxsctl -j stats` has them. */
static inline bool vms_stats(const char *port, struct vxs_port_stats *s)
{
	struct json_object *all, *one;
	char words[64];

	memset(s, 0, sizeof(*s));
	snprintf(words, sizeof(words), "stats %s", port);
	all = child_ctl(&vxsd, words, NULL);
	one = json_object_is_type(all, json_type_array) ? json_object_array_get_idx(all, 0) : NULL;
	if (one)
		vms_read_stats(one, s);
	json_object_put(all);
	return one;
}

/** vms_drops() - all that a port dropped. */
static inline uint64_t vms_drops(const struct vxs_port_stats *s)
{
	uint64_t sum = 0;

#define VMS_ADD(field, text) sum += s->drops.field;
	VXS_DROP_LIST(VMS_ADD)
#undef VMS_ADD
	return sum;
}

/** vms_worker() - which worker takes the frames of transmit queue @pair of a port; -1: none. */
static inline int vms_worker(const char *port, unsigned pair)
{
	struct json_object *o, *queues, *q;
	char words[64];
	int id = -1;
	size_t i;

	snprintf(words, sizeof(words), "port show %s", port);
	o = child_ctl(&vxsd, words, NULL);
	queues = json_object_is_type(o, json_type_array) ? json_object_array_get_idx(o, 0) : o;
	queues = vms_member(queues, "queues");
	for (i = 0; queues && i < json_object_array_length(queues); i++) {
		q = json_object_array_get_idx(queues, i);
		if (vms_number(q, "index") == 2 * pair + 1 && vms_member(q, "worker"))
			id = vms_number(q, "worker");
	}
	json_object_put(o);
	return id;
}

/** vms_addresses() - how many addresses the switch knows. */
static inline unsigned vms_addresses(void)
{
	struct json_object *o = child_ctl(&vxsd, "status", NULL);
	unsigned n = vms_number(o, "addresses");

	json_object_put(o);
	return n;
}

/** vms_dial() - a connection to the control socket, or -1. */
static inline int vms_dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/" VXS_CTL_SOCKET, vxsd.run_dir);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/** vms_ask() - send a request, its newline included, and wait for the reply. True: granted. */
static inline bool vms_ask(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline bool vms_ask(int fd, const char *format, ...)
{
	static char line[1 << 18];
	size_t len = 0;
	va_list args;
	ssize_t n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (send(fd, line, n, MSG_NOSIGNAL) != n)
		return false;
	line[0] = '\0';
	while (len < sizeof(line) - 1 && !strchr(line, '\n')) {
		n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
		if (n <= 0)
			return false;
		len += n;
		line[len] = '\0';
	}
	if (!strncmp(line, "{\"ok\"", 5) || !strncmp(line, "{ \"ok\"", 6))
		return true;
	printf("--- %.200s\n", line);
	return false;
}

#endif
