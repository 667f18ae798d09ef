/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The QEMU arguments that attach a VM to a port. */
#include "ctl/qemu.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/print.h"

#define SIZE_DIGITS_MAX 9

int qemu_memory(const char *text, char *size, size_t size_len)
{
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits;

	if (!digits || digits > SIZE_DIGITS_MAX || text[0] == '0')
		return -1;
	if (*unit && (!strchr("KMGT", toupper((unsigned char)*unit)) || unit[1]))
		return -1;
	/* -m takes a bare number for MiB, a memory backend takes it for bytes. */
	snprintf(size, size_len, "%.*s%c", (int)digits, text,
		 *unit ? toupper((unsigned char)*unit) : 'M');
	return 0;
}

__attribute__((format(printf, 2, 3))) static void append(struct json_object *list,
							 const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return;
	json_object_array_add(list, json_object_new_string(text));
	free(text);
}

/* FNV-1a, 64 bits. The NUL goes in too: "ab", "c" is not "a", "bc". */
static uint64_t hash(uint64_t h, const char *text)
{
	do {
		h = (h ^ (unsigned char)*text) * 0x100000001b3ull;
	} while (*text++);
	return h;
}

/* An address that stays the same, and that no other port, switch or machine is likely to have. */
static void make_mac(char text[18], const char *switch_name, const char *port)
{
	char machine[128] = "";
	FILE *file = fopen("/etc/machine-id", "re");
	uint64_t h = 0xcbf29ce484222325ull;

	if (!file || !fgets(machine, sizeof(machine), file))
		gethostname(machine, sizeof(machine) - 1);
	if (file)
		fclose(file);
	h = hash(hash(hash(h, machine), switch_name), port);
	h ^= h >> 24 ^ h >> 48;
	snprintf(text, 18, "52:54:00:%02x:%02x:%02x", (unsigned)(h >> 16 & 0xff),
		 (unsigned)(h >> 8 & 0xff), (unsigned)(h & 0xff));
}

/* QEMU ends a value at a comma, unless there are two. */
static void double_commas(char *to, size_t size, const char *from)
{
	size_t used = 0;

	for (; *from && used + 2 < size; from++) {
		to[used++] = *from;
		if (*from == ',')
			to[used++] = ',';
	}
	to[used] = '\0';
}

struct json_object *qemu_arguments(struct json_object *port, const char *switch_name,
				   const char *memory)
{
	struct json_object *list = json_object_new_array();
	const char *name = get_text(port, "name"), *fixed = get_text(port, "mac");
	const char *socket = get_text(port, "socket");
	int pairs = get_int(port, "pairs");
	int64_t mtu = get_int(port, "mtu_option");
	char queues[32] = "", vectors[48] = "", host_mtu[32] = "";
	char path[256], mac[18];

	if (!list || !name || !socket)
		return list;
	double_commas(path, sizeof(path), socket);
	make_mac(mac, switch_name, name);
	if (pairs > 1) {
		snprintf(queues, sizeof(queues), ",queues=%d", pairs);
		/* One for each queue, one for the configuration, one for the control queue. */
		snprintf(vectors, sizeof(vectors), ",mq=on,vectors=%d", 2 * pairs + 2);
	}
	/* The guest's driver learns it from QEMU alone. */
	if (mtu)
		snprintf(host_mtu, sizeof(host_mtu), ",host_mtu=%" PRId64, mtu);
	append(list, "-m");
	append(list, "%s", memory);
	append(list, "-object");
	append(list, "memory-backend-memfd,id=vxs-mem,size=%s,share=on", memory);
	append(list, "-machine");
	append(list, "memory-backend=vxs-mem");
	append(list, "-chardev");
	/* Either side may be started anew under the other. */
	append(list, "socket,id=vxs-chr-%s,path=%s%s", name, path,
	       strcmp(text_of(port, "role"), "client") ? ",reconnect=1" : ",server=on,wait=off");
	append(list, "-netdev");
	append(list, "vhost-user,id=vxs-net-%s,chardev=vxs-chr-%s%s", name, name, queues);
	append(list, "-device");
	append(list, "virtio-net-pci,netdev=vxs-net-%s,mac=%s%s%s", name, fixed ? fixed : mac,
	       vectors, host_mtu);
	return list;
}

/* As a shell reads it: plain where nothing in it is special, else in quotes. */
static void print_quoted(const char *text)
{
	const char *at;

	for (at = text; isalnum((unsigned char)*at) || (*at && strchr("_./:=,+-@%", *at)); at++)
		;
	if (!*at) {
		printf("%s", text);
		return;
	}
	putchar('\'');
	for (at = text; *at; at++)
		if (*at == '\'')
			printf("'\\''");
		else
			putchar(*at);
	putchar('\'');
}

void qemu_print(struct json_object *arguments)
{
	size_t n = json_object_array_length(arguments), i;

	for (i = 0; i + 1 < n; i += 2) {
		printf("%s ", json_object_get_string(json_object_array_get_idx(arguments, i)));
		print_quoted(json_object_get_string(json_object_array_get_idx(arguments, i + 1)));
		printf("%s\n", i + 2 < n ? " \\" : "");
	}
}
