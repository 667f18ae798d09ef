/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsd as a back-end program that management tools start: --fd, --socket-path,
 * --print-capabilities.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/options.h"
#include "control/words.h"

#define FD_MAX 1000000

int options_parse_fd(const char *text, int *fd, struct complaint *c)
{
	unsigned number;
	int ret = words_number(text, VM_FD_MIN, FD_MAX, &number, c);

	if (ret)
		return ret;
	*fd = number;
	return 0;
}

int options_check_fd(int fd)
{
	int domain, type;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	len = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	return domain == AF_UNIX && type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

void options_print_capabilities(FILE *to)
{
	fprintf(to, "{\n  \"type\": \"net\"\n}\n");
}

/* FNV-1a, 32 bits: the same for the same path, and likely to be another for another one. */
static uint32_t hash(const char *text)
{
	uint32_t h = 0x811c9dc5;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x01000193;
	return h;
}

void options_name_backend(struct options *opt, const struct vm_options *vm)
{
	const char *home = getenv("XDG_RUNTIME_DIR");
	int n;

	if (vm->fd)
		snprintf(opt->name, sizeof(opt->name), "vm-%d", getpid());
	else
		snprintf(opt->name, sizeof(opt->name), "vm-%08x", hash(vm->socket));
	if (opt->run_dir[0] || !geteuid() || !home || home[0] != '/')
		return;
	/* who starts one for a user's VM has no right to /run/vxs */
	n = snprintf(opt->run_dir, sizeof(opt->run_dir), "%s/vxs/%s", home, opt->name);
	if (n < 0 || (size_t)n >= sizeof(opt->run_dir))
		opt->run_dir[0] = '\0';
}
