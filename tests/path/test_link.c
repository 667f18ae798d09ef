/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a guest is told of its link is the uplink's speed, and it is told of changes. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_net.h>

#include "check.h"
#include "lab.h"

#define P(name) (1ull << VHOST_USER_PROTOCOL_F_##name)

static struct lab lab;

static bool read_config(struct fake_vm *vm, struct virtio_net_config *config)
{
	struct vhost_user_config ask = {.size = sizeof(*config)};
	struct vhost_user_header header;
	union vhost_user_payload reply;

	if (fake_vm_message(vm, VHOST_USER_GET_CONFIG, &ask,
			    VHOST_USER_CONFIG_HEAD + sizeof(*config), NULL, 0, NULL) ||
	    fake_vm_reply(vm, &header, &reply, LAB_WAIT) ||
	    header.size != VHOST_USER_CONFIG_HEAD + sizeof(*config))
		return false;
	memcpy(config, reply.config.bytes, sizeof(*config));
	return true;
}

/* Waits for CONFIG_CHANGE_MSG until the link has speed @speed. */
static bool is_told(struct fake_vm *vm, int channel, uint32_t speed, uint8_t duplex)
{
	struct virtio_net_config config = {};
	struct pollfd p = {.fd = channel, .events = POLLIN};
	struct vhost_user_header header;

	while (poll(&p, 1, LAB_WAIT) == 1) {
		if (recv(channel, &header, sizeof(header), 0) != sizeof(header) ||
		    header.request != VHOST_USER_BACKEND_CONFIG_CHANGE_MSG ||
		    !read_config(vm, &config))
			return false;
		if (config.speed == speed && config.duplex == duplex)
			return true;
	}
	return false;
}

static void set_far(const char *state)
{
	CU_ASSERT_EQUAL(net_run(lab.net.wire, "ip link set " NET_FAR " %s", state), 0);
}

/* A veth says 10 Gbit/s, full duplex, as long as both of its ends are up. */
static void test_speed(void)
{
	const struct fake_vm_options opt = {.no_negotiate = true};
	uint64_t protocol = P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG);
	struct virtio_net_config config = {};
	struct end *a;
	int pair[2];

	if (!lab_open(&lab, 1, "--uplink nic0 --vm a"))
		return;
	a = lab_vm(&lab, "a", &opt);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CU_ASSERT_EQUAL(fake_vm_request(a->vm, VHOST_USER_SET_PROTOCOL_FEATURES, &protocol,
					sizeof(protocol), NULL, 0),
			0);
	CU_ASSERT(read_config(a->vm, &config));
	CU_ASSERT(config.speed == 10000 && config.duplex == 1);
	CU_ASSERT_EQUAL(fake_vm_request(a->vm, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
			0);
	close(pair[1]);
	set_far("down");
	CU_ASSERT(is_told(a->vm, pair[0], UINT32_MAX, UINT8_MAX));
	CU_ASSERT_EQUAL(config.status, VIRTIO_NET_S_LINK_UP);
	set_far("up");
	CU_ASSERT(is_told(a->vm, pair[0], 10000, 1));
	/* the interface goes, and with it what is known of it */
	CU_ASSERT_EQUAL(net_run(lab.net.wire, "ip link del " NET_FAR), 0);
	CU_ASSERT(is_told(a->vm, pair[0], UINT32_MAX, UINT8_MAX));
	close(pair[0]);
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"speed", test_speed},
		{},
	};

	return check_main("link", tests, argc, argv);
}
