/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words of --vm (and `vxsctl port add`) and of --uplink: their keys, as tables. */
#include "control/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "control/words.h"

#define MAC_EXAMPLE "six bytes like 52:54:00:12:34:56"

_Static_assert(sizeof(((struct vm_options *)0)->socket) ==
		       sizeof(((struct sockaddr_un *)0)->sun_path),
	       "vm_options.socket holds what a socket address can");

/* Six bytes of two hexadecimal digits, ':' between them. */
static int mac_bytes(const char *text, uint8_t mac[6])
{
	uint8_t bytes[6];
	char pair[3] = "";
	int i;

	for (i = 0; i < 6; i++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
		    text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		memcpy(pair, text, 2);
		bytes[i] = strtoul(pair, NULL, 16);
	}
	memcpy(mac, bytes, 6);
	return 0;
}

int options_parse_mac(const char *text, uint8_t mac[6])
{
	static const uint8_t zero[6];
	uint8_t bytes[6];

	if (mac_bytes(text, bytes) || bytes[0] & 1 || !memcmp(bytes, zero, 6))
		return -EINVAL;
	memcpy(mac, bytes, 6);
	return 0;
}

void options_format_mac(const uint8_t mac[6], char text[18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
}

static int parse_vm_name(void *to, const char *word, struct complaint *c)
{
	static const char *const taken[] = {"ctl", "host", "uplink", NULL};
	struct vm_options *vm = to;
	int i;

	for (i = 0; taken[i]; i++)
		if (!strcmp(word, taken[i]))
			return complain(c, "vxsd itself uses the name \"%s\": take another", word);
	return words_name(word, vm->name, sizeof(vm->name), c);
}

static int parse_vm_mac(void *to, const char *value, struct complaint *c)
{
	struct vm_options *vm = to;
	uint8_t mac[6];

	if (mac_bytes(value, mac))
		return complain(c, "\"%.60s\" is not a MAC address (" MAC_EXAMPLE ")", value);
	if (options_parse_mac(value, vm->mac))
		return complain(c, "%s is %s: give a VM's own address (" MAC_EXAMPLE ")", value,
				mac[0] & 1 ? "a multicast address" : "no station's address");
	return 0;
}

static int parse_vm_socket(void *to, const char *value, struct complaint *c)
{
	struct vm_options *vm = to;

	return words_path(value, vm->socket, sizeof(vm->socket), c);
}

static int parse_vm_role(void *to, const char *value, struct complaint *c)
{
	static const char *const words[] = {"server", "client", NULL}; /* vm_role */
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	((struct vm_options *)to)->role = i;
	return 0;
}

static int parse_vm_fd(void *to, const char *value, struct complaint *c)
{
	return options_parse_fd(value, &((struct vm_options *)to)->fd, c);
}

static int parse_vm_queues(void *to, const char *value, struct complaint *c)
{
	return words_number(value, 1, PORT_QUEUES_MAX, &((struct vm_options *)to)->queues, c);
}

static int parse_vm_offloads(void *to, const char *value, struct complaint *c)
{
	static const char *const words[] = {"all", "csum", "none", NULL}; /* vm_offloads */
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	((struct vm_options *)to)->offloads = i;
	return 0;
}

static int parse_vm_mtu(void *to, const char *value, struct complaint *c)
{
	return words_number(value, VM_MTU_MIN, VM_MTU_MAX, &((struct vm_options *)to)->mtu, c);
}

static int parse_vm_ring_reset(void *to, const char *value, struct complaint *c)
{
	static const char *const words[] = {"auto", "on", "off", NULL}; /* vm_ring_reset */
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	((struct vm_options *)to)->ring_reset = i;
	return 0;
}

static int off_or_on(const char *value, bool *on, struct complaint *c)
{
	static const char *const words[] = {"off", "on", NULL};
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	*on = i;
	return 0;
}

static int parse_vm_postcopy(void *to, const char *value, struct complaint *c)
{
	return off_or_on(value, &((struct vm_options *)to)->postcopy, c);
}

int options_check_vm(const struct vm_options *vm, struct complaint *c)
{
	if (vm->fd && vm->socket[0])
		return complain(c, "fd= is the socket itself: leave socket= out");
	if (vm->fd && vm->role == VM_CLIENT)
		return complain(c, "fd= says by itself who called whom: leave role= out");
	if (vm->role == VM_CLIENT && !vm->socket[0])
		return complain(c, "role=client needs to know where the front-end listens: give "
				   "socket=PATH");
	return 0;
}

static const struct words_key vm_keys[] = {
	{"mac", "MAC",
	 "the VM's address, which then neither moves nor ages (not given: learned from what the "
	 "VM sends)",
	 parse_vm_mac},
	{"socket", "PATH",
	 "where vxsd or the front-end listens for the other (default RUN-DIR/NAME.sock)",
	 parse_vm_socket},
	{"role", "server|client",
	 "whether vxsd listens on the socket, or the front-end does and vxsd connects, again and "
	 "again until it answers (default server; client needs socket=)",
	 parse_vm_role},
	{"fd", "N",
	 "a Unix stream socket that vxsd was started with, instead of socket= and role=: one that "
	 "listens, or one that is connected to the front-end",
	 parse_vm_fd},
	{"queues", "N", "pairs of queues, 1 to 128 (default 1)", parse_vm_queues},
	{"offloads", "none|csum|all",
	 "what the guest may leave to the switch, and be left with: checksums, or TSO, UFO and USO "
	 "as well (default all)",
	 parse_vm_offloads},
	{"mtu", "N",
	 "longest packet to and from the VM, 68 to 65535 bytes; longer ones are dropped (not "
	 "given: what its front-end says, or any)",
	 parse_vm_mtu},
	{"ring-reset", "auto|on|off",
	 "whether the guest may reset single queues, as Linux does for ethtool -G (default auto: "
	 "unless the front-end is QEMU, which doesn't pass it on)",
	 parse_vm_ring_reset},
	{"postcopy", "on|off",
	 "on: the VM may be migrated to here by post-copy, but gets no memory plugged in one piece "
	 "at a time (default off)",
	 parse_vm_postcopy},
	{},
};

const struct words options_vm_words = {"NAME", parse_vm_name, vm_keys};

static int parse_uplink_name(void *to, const char *word, struct complaint *c)
{
	struct uplink_options *uplink = to;
	size_t len = strlen(word);

	if (!len || strchr(word, '/') || strpbrk(word, " \t\n:") || word[0] == '.')
		return complain(c, "\"%.60s\" is not the name of an interface: see `ip link`",
				word);
	if (len >= sizeof(uplink->ifname))
		return complain(c, "\"%.60s\" is too long for an interface: see `ip link`", word);
	memcpy(uplink->ifname, word, len + 1);
	return 0;
}

static int parse_uplink_mode(void *to, const char *value, struct complaint *c)
{
	static const char *const modes[] = {"auto", "zc", "copy", "skb", NULL}; /* uplink_mode */
	int i = words_choice(value, modes, c);

	if (i < 0)
		return i;
	((struct uplink_options *)to)->mode = i;
	return 0;
}

static int parse_uplink_queues(void *to, const char *value, struct complaint *c)
{
	return words_number(value, 1, VXS_NIC_QUEUES_MAX, &((struct uplink_options *)to)->queues,
			    c);
}

static int parse_uplink_busy_poll(void *to, const char *value, struct complaint *c)
{
	return off_or_on(value, &((struct uplink_options *)to)->busy_poll, c);
}

static int parse_uplink_gro(void *to, const char *value, struct complaint *c)
{
	bool on = true;
	int err = off_or_on(value, &on, c);

	((struct uplink_options *)to)->no_gro = !on;
	return err;
}

static const struct words_key uplink_keys[] = {
	{"mode", "auto|zc|copy|skb",
	 "zero-copy, native copy or SKB mode (default: the first of these that works)",
	 parse_uplink_mode},
	{"queues", "N", "receive queues to serve, 1 to 64 (default: all that it has)",
	 parse_uplink_queues},
	{"busy-poll", "on|off",
	 "whether workers poll the NIC's driver themselves instead of waiting for its interrupts "
	 "(default off)",
	 parse_uplink_busy_poll},
	{"gro", "on|off",
	 "whether TCP segments from the wire are joined to large ones for guests that take TSO "
	 "(default on)",
	 parse_uplink_gro},
	{},
};

const struct words options_uplink_words = {"IF", parse_uplink_name, uplink_keys};

int options_parse_vm(struct vm_options *vm, const char *text, char *err, size_t err_len)
{
	char reason[OPTIONS_REASON_SIZE] = "";
	struct complaint why = {reason, sizeof(reason)}, c = {err, err_len};
	struct vm_options parsed = {.queues = 1};
	int ret = words_parse(&options_vm_words, &parsed, text, &why);

	if (!ret)
		ret = options_check_vm(&parsed, &why);
	/* whatever number it is, here it would be a file that vxsd itself has open */
	if (!ret && parsed.fd)
		ret = complain(&why, "fd= is for vxsd's own command line: give socket=PATH");
	if (ret == -EINVAL)
		return complain(&c, "%.200s: %s", text, reason);
	if (ret)
		return ret;
	*vm = parsed;
	return 0;
}
