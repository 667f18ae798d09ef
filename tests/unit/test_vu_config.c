/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The device's configuration space as front-ends read it, and how they hear of changes. */
#include "vu_peer.h"

#include <sys/prctl.h>
#include <linux/virtio_net.h>

#include "vm/vm_control.h"
#include "vm/vu_config.h"

#define P(name) FEATURE(VHOST_USER_PROTOCOL_F_##name)
#define SIZE    sizeof(struct virtio_net_config)
#define HEAD    VHOST_USER_CONFIG_HEAD

static const struct vm_options full = {
	.name = "a", .queues = 3, .mac = {2, 0, 0, 0, 0, 1}, .mtu = 9000};

static void begin(const struct vm_options *opt, uint64_t protocol)
{
	peer_setup_vm(*opt);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, protocol);
}

/* Asks for @size bytes from @offset on; how many came, with @got, -1: the connection ended. */
static int get(uint32_t offset, uint32_t size, uint8_t *got)
{
	struct vhost_user_config ask = {.offset = offset, .size = size};
	struct {
		struct vhost_user_header header;
		struct vhost_user_config config;
	} reply;
	ssize_t n;

	peer_send(VHOST_USER_GET_CONFIG, 0, &ask, HEAD + (size <= 256 ? size : 256), NULL, 0);
	n = recv(t.fd, &reply, sizeof(reply), MSG_DONTWAIT);
	if (n <= 0)
		return -1;
	CU_ASSERT_EQUAL(reply.header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	CU_ASSERT_EQUAL(n, (ssize_t)(sizeof(reply.header) + reply.header.size));
	if (!reply.header.size)
		return 0;
	CU_ASSERT_EQUAL(reply.header.size, HEAD + size);
	CU_ASSERT(reply.config.offset == offset && reply.config.size == size);
	memcpy(got, reply.config.bytes, size);
	return size;
}

static struct virtio_net_config whole(void)
{
	struct virtio_net_config config = {};

	CU_ASSERT_EQUAL(get(0, SIZE, (uint8_t *)&config), SIZE);
	return config;
}

static void test_contents(void)
{
	struct virtio_net_config c;

	begin(&full, P(REPLY_ACK) | P(CONFIG));
	c = whole();
	CU_ASSERT_EQUAL(memcmp(c.mac, full.mac, 6), 0);
	CU_ASSERT_EQUAL(c.status, VIRTIO_NET_S_LINK_UP);
	CU_ASSERT_EQUAL(c.max_virtqueue_pairs, 3);
	CU_ASSERT_EQUAL(c.mtu, 9000);
	CU_ASSERT(c.speed == UINT32_MAX && c.duplex == UINT8_MAX);
	vm_set_link(t.vm, &(struct vm_link){.speed = 25000, .duplex = 1});
	c = whole();
	CU_ASSERT(c.speed == 25000 && c.duplex == 1);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* The payload is the head, and as many bytes as the head says. */
static void test_payload(void)
{
	const struct vhost_user_config ask = {.size = 6};
	uint8_t long_ask[HEAD + VHOST_USER_CONFIG_MAX + 1] = {0};
	unsigned size;

	memcpy(long_ask + 4, &(uint32_t){VHOST_USER_CONFIG_MAX + 1}, 4);
	begin(&full, P(REPLY_ACK) | P(CONFIG));
	peer_send(VHOST_USER_GET_CONFIG, 0, long_ask, sizeof(long_ask), NULL, 0);
	CU_ASSERT(peer_is_closed());
	for (size = 0; size <= HEAD + 7; size++) {
		peer_connect();
		peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(CONFIG));
		peer_send(VHOST_USER_GET_CONFIG, 0, &ask, size, NULL, 0);
		CU_ASSERT_EQUAL(peer_is_closed(), size != HEAD + 6);
	}
	peer_end();
}

/* What of it may be asked for. 0: an answer without payload, -1: the connection ends. */
static void test_ranges(void)
{
	static const struct {
		uint32_t offset, size;
		int got;
	} row[] = {
		{0, 1, 1},        {0, SIZE, SIZE},     {SIZE - 1, 1, 1},       {6, 2, 2},
		{0, SIZE + 1, 0}, {1, SIZE, 0},        {SIZE, 1, 0},           {0, 256, 0},
		{256, 1, 0},      {UINT32_MAX, 1, 0},  {UINT32_MAX - 3, 8, 0}, {UINT32_MAX, 256, 0},
		{0, 257, -1},     {0, UINT32_MAX, -1},
	};
	struct virtio_net_config c;
	uint8_t got[256];
	unsigned i;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		int n;

		begin(&full, P(REPLY_ACK) | P(CONFIG));
		c = whole();
		n = get(row[i].offset, row[i].size, got);
		if (n != row[i].got)
			printf("     offset %u, size %u: %d\n", row[i].offset, row[i].size, n);
		CU_ASSERT_EQUAL(n, row[i].got);
		CU_ASSERT(n <= 0 || !memcmp(got, (uint8_t *)&c + row[i].offset, n));
		CU_ASSERT_EQUAL(peer_is_closed(), n < 0);
		peer_end();
	}
}

static uint64_t set(uint32_t offset, uint32_t size, uint32_t flags)
{
	struct vhost_user_config config = {.offset = offset, .size = size, .flags = flags};

	peer_send(VHOST_USER_SET_CONFIG, VHOST_USER_NEED_REPLY, &config, HEAD + size, NULL, 0);
	return peer_reply(VHOST_USER_SET_CONFIG, 8);
}

/* The driver writes nothing; a migration may say what it likes, within the space. */
static void test_set(void)
{
	struct virtio_net_config before, after;

	begin(&full, P(REPLY_ACK) | P(CONFIG));
	before = whole();
	CU_ASSERT_EQUAL(set(0, 6, 0), 1);
	CU_ASSERT_EQUAL(set(0, SIZE, 0), 1);
	CU_ASSERT_EQUAL(set(0, SIZE, 1), 0);
	CU_ASSERT_EQUAL(set(0, SIZE + 1, 1), 1);
	CU_ASSERT_EQUAL(set(UINT32_MAX, 2, 1), 1);
	CU_ASSERT_EQUAL(set(0, 6, 2), 1);
	after = whole();
	CU_ASSERT_EQUAL(memcmp(&before, &after, SIZE), 0);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* Features go with it, the address only if there is one; and none of it for QEMU. */
static void test_offer(void)
{
	struct vm_options plain = {.name = "a", .queues = 1};
	uint64_t features, protocol;
	char name[16];

	begin(&full, P(REPLY_ACK));
	features = peer_get(VHOST_USER_GET_FEATURES);
	CU_ASSERT_EQUAL(features & (FEATURE(5) | FEATURE(16) | FEATURE(63)),
			FEATURE(5) | FEATURE(16) | FEATURE(63));
	peer_end();
	begin(&plain, P(REPLY_ACK));
	features = peer_get(VHOST_USER_GET_FEATURES);
	CU_ASSERT_EQUAL(features & (FEATURE(5) | FEATURE(16) | FEATURE(63)),
			FEATURE(16) | FEATURE(63));
	/* not negotiated: not known */
	CU_ASSERT_EQUAL(get(0, 6, (uint8_t[6]){}), -1);
	peer_end();

	CU_ASSERT_EQUAL_FATAL(prctl(PR_GET_NAME, name), 0);
	prctl(PR_SET_NAME, "qemu-system-x86");
	peer_setup_vm(full);
	peer_connect();
	features = peer_get(VHOST_USER_GET_FEATURES);
	protocol = peer_get(VHOST_USER_GET_PROTOCOL_FEATURES);
	CU_ASSERT_EQUAL(features & (FEATURE(5) | FEATURE(16) | FEATURE(63)), 0);
	CU_ASSERT_EQUAL(protocol & (P(CONFIG) | P(INBAND_NOTIFICATIONS)), 0);
	CU_ASSERT_EQUAL(protocol & (P(STATUS) | P(BACKEND_REQ) | P(RESET_DEVICE)),
			P(STATUS) | P(BACKEND_REQ) | P(RESET_DEVICE));
	peer_end();
	prctl(PR_SET_NAME, name);
}

static int give_channel(void)
{
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	close(pair[1]);
	return pair[0];
}

/* How many CONFIG_CHANGE_MSG have come. */
static unsigned changes(int channel)
{
	struct vhost_user_header h;
	unsigned n = 0;

	peer_pump();
	while (recv(channel, &h, sizeof(h), MSG_DONTWAIT) == sizeof(h)) {
		CU_ASSERT_EQUAL(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
		CU_ASSERT(h.flags == VHOST_USER_VERSION && !h.size);
		n++;
	}
	return n;
}

static void test_change(void)
{
	const struct vm_link fast = {.speed = 25000, .duplex = 1}, none = VM_LINK_UNKNOWN;
	unsigned i;
	int channel;

	begin(&full, P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG));
	vm_set_link(t.vm, &fast); /* before there is a channel: told with it */
	channel = give_channel();
	CU_ASSERT_EQUAL(changes(channel), 1);
	vm_set_link(t.vm, &fast);
	CU_ASSERT_EQUAL(changes(channel), 0);
	vm_set_link(t.vm, &none);
	CU_ASSERT_EQUAL(changes(channel), 1);
	/* not read: the last change is told when there is room */
	for (i = 0; i < 10000; i++)
		vm_set_link(t.vm, i & 1 ? &none : &fast);
	CU_ASSERT(t.vm->control->config_due);
	CU_ASSERT(changes(channel) < 10000);
	CU_ASSERT_EQUAL(changes(channel), 1);
	CU_ASSERT_FALSE(t.vm->control->config_due);
	/* who didn't ask for it hears nothing */
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(BACKEND_REQ));
	vm_set_link(t.vm, &fast);
	CU_ASSERT_EQUAL(changes(channel), 0);
	CU_ASSERT_FALSE(peer_is_closed());
	close(channel);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"contents", test_contents},
		{"ranges", test_ranges},
		{"set", test_set},
		{"payload", test_payload},
		{"offer", test_offer},
		{"change", test_change},
		{NULL, NULL},
	};

	return check_main("vu_config", tests, argc, argv);
}
