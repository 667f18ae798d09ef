/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What program a front-end is: for faults of programs that no message of the protocol tells of. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vm/vm_control.h"

/* The first bytes of a file of /proc, or of a link's last component. "": can't be read. */
static void read_comm(int pid, char *text, size_t size)
{
	char path[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
}

static void read_program(int pid, char *text, size_t size)
{
	char path[32], target[4096];
	const char *name;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	name = strrchr(target, '/');
	snprintf(text, size, "%s", name ? name + 1 : "");
}

static bool is_qemu(const char *name)
{
	return !strncmp(name, "qemu", 4) || !strncmp(name, "kvm", 3);
}

bool vm_peer_is_qemu(int pid)
{
	char comm[32], program[32];

	read_comm(pid, comm, sizeof(comm));
	read_program(pid, program, sizeof(program));
	return (!comm[0] && !program[0]) || is_qemu(comm) || is_qemu(program);
}
