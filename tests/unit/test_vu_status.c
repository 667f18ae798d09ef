/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Device status and reset: what front-ends say, what sticks of it, and what a reset leaves. */
#include "vu_peer.h"

#include <linux/virtio_config.h>

#include "vm/vm_control.h"

#define P(name)     FEATURE(VHOST_USER_PROTOCOL_F_##name)
#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED      VIRTIO_CONFIG_S_FAILED
#define ALL_SET     (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

static const char *text(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s.status;
}

/* The acknowledgement. */
static uint64_t set(uint64_t status)
{
	peer_send(VHOST_USER_SET_STATUS, VHOST_USER_NEED_REPLY, &status, 8, NULL, 0);
	return peer_reply(VHOST_USER_SET_STATUS, 8);
}

static uint64_t get(void)
{
	return peer_get(VHOST_USER_GET_STATUS);
}

/* Both rings run, on a connection that has the features that this is about. */
static void begin(void)
{
	peer_setup(1);
	peer_connect();
	peer_start(2);
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 P(REPLY_ACK) | P(STATUS) | P(RESET_DEVICE) | P(MQ));
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
}

/* Each step of a driver, in words too. */
static void test_steps(void)
{
	peer_setup(1);
	peer_connect();
	CU_ASSERT_PTR_NULL(text());
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(STATUS));
	CU_ASSERT_STRING_EQUAL(text(), "reset");
	CU_ASSERT_EQUAL(get(), 0);
	CU_ASSERT_EQUAL(set(ACKNOWLEDGE), 0);
	CU_ASSERT_STRING_EQUAL(text(), "acknowledge");
	CU_ASSERT_EQUAL(set(ACKNOWLEDGE | DRIVER), 0);
	CU_ASSERT_STRING_EQUAL(text(), "driver");
	/* features that nobody has set can't be agreed on */
	CU_ASSERT_EQUAL(set(ACKNOWLEDGE | DRIVER | FEATURES_OK), 1);
	CU_ASSERT_EQUAL(get(), ACKNOWLEDGE | DRIVER);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	CU_ASSERT_EQUAL(set(ACKNOWLEDGE | DRIVER | FEATURES_OK), 0);
	CU_ASSERT_STRING_EQUAL(text(), "features ok");
	CU_ASSERT_EQUAL(set(ALL_SET), 0);
	CU_ASSERT_EQUAL(get(), ALL_SET);
	CU_ASSERT_STRING_EQUAL(text(), "driver ok");
	CU_ASSERT_EQUAL(set(ALL_SET | FAILED), 0);
	CU_ASSERT_STRING_EQUAL(text(), "failed");
	CU_ASSERT_EQUAL(set(0), 0);
	CU_ASSERT_EQUAL(get(), 0);
	/* QEMU's order */
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	CU_ASSERT_EQUAL(set(FEATURES_OK), 0);
	CU_ASSERT_EQUAL(set(ALL_SET), 0);
	CU_ASSERT_EQUAL(get(), ALL_SET);
	CU_ASSERT_FALSE(peer_is_closed());
	/* the next front-end begins anew */
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(STATUS));
	CU_ASSERT_EQUAL(get(), 0);
	peer_end();
}

static void test_unknown(void)
{
	static const uint64_t bad[] = {0x10, 0x20, 0x100, 1ull << 32, 1ull << 63, UINT64_MAX};
	unsigned i;

	begin();
	CU_ASSERT_EQUAL(set(ALL_SET), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(set(bad[i]), 1);
		CU_ASSERT_EQUAL(set(bad[i] | ALL_SET), 1);
		CU_ASSERT_EQUAL(get(), ALL_SET);
	}
	CU_ASSERT(t.vm->in[0] && t.vm->out[0]);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* NEEDS_RESET is ours to say: for as long as a queue is broken, whatever is sent back. */
static void test_needs_reset(void)
{
	begin();
	CU_ASSERT_EQUAL(set(ALL_SET | NEEDS_RESET), 0);
	CU_ASSERT_EQUAL(get(), ALL_SET);
	t.vm->in[0]->broken = VQ_BAD_HEAD;
	vm_broken(t.vm);
	CU_ASSERT_EQUAL(get(), ALL_SET | NEEDS_RESET);
	CU_ASSERT_STRING_EQUAL(text(), "needs reset");
	CU_ASSERT_EQUAL(set(ALL_SET | NEEDS_RESET), 0);
	peer_get_base(1);
	CU_ASSERT_EQUAL(get(), ALL_SET);
	peer_end();
}

static void check_reset(unsigned fds, unsigned maps)
{
	struct vm_queue_state q;
	struct vm_state s;

	vm_state(t.vm, &s);
	vm_queue_state(t.vm, 1, &q);
	CU_ASSERT(!t.vm->in[0] && !t.vm->out[0] && !t.vm->n_out);
	CU_ASSERT(!q.started && !q.enabled && !q.size && !q.broken);
	CU_ASSERT(s.connected && !s.running && !s.features);
	CU_ASSERT_EQUAL(s.protocol_features & P(STATUS), P(STATUS));
	CU_ASSERT_EQUAL(s.memory, PEER_MEM);
	CU_ASSERT_EQUAL(count_maps(), maps);
	CU_ASSERT_EQUAL(check_fds(), fds - 2); /* the kicks */
	CU_ASSERT_EQUAL(get(), 0);
	CU_ASSERT_FALSE(peer_is_closed());
}

/*
 * Rings and features go; connection, memory, protocol features and call_fd stay. Where rings stood,
 * QEMU before 8.1 asks only after it.
 */
static void test_reset(void)
{
	unsigned way, i, fds, maps;
	eventfd_t count;
	int call;

	for (way = 0; way < 2; way++) {
		begin();
		call = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
		CU_ASSERT_EQUAL(set(ALL_SET), 0);
		t.vm->in[0]->avail_at = 7;
		t.vm->in[0]->broken = VQ_BAD_HEAD;
		fds = check_fds();
		maps = count_maps();
		if (way)
			set(0);
		else
			peer_send(VHOST_USER_RESET_DEVICE, 0, NULL, 0, NULL, 0);
		check_reset(fds, maps);
		/* nothing comes back by itself, also not with features */
		peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
		CU_ASSERT_PTR_NULL(t.vm->in[0]);
		CU_ASSERT_EQUAL(peer_get_base(1), 1 | 7ull << 32); /* where it stood */
		/* and then it starts with the memory that it has */
		for (i = 0; i < 2; i++) {
			peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
			peer_ring_but_kick(i);
			close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
		}
		CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
		CU_ASSERT(t.vm->in[0]->avail_at == 0 && !t.vm->in[0]->broken);
		while (!eventfd_read(call, &count))
			;
		eventfd_write(t.vm->in[0]->call_fd, 1);
		CU_ASSERT_EQUAL(eventfd_read(call, &count), 0);
		CU_ASSERT_EQUAL(check_fds(), fds);
		close(call);
		peer_end();
	}
}

/* Neither is known to those who didn't take the feature. */
static void test_not_negotiated(void)
{
	static const uint32_t request[] = {VHOST_USER_SET_STATUS, VHOST_USER_GET_STATUS,
					   VHOST_USER_RESET_DEVICE};
	uint64_t zero = 0;
	unsigned i;

	peer_setup(1);
	for (i = 0; i < 3; i++) {
		peer_connect();
		peer_start(2);
		peer_send(request[i], 0, &zero, i ? 0 : 8, NULL, 0);
		CU_ASSERT(peer_is_closed());
	}
	peer_end();
}

/* A session may be owned as often as one likes. */
static void test_owner(void)
{
	begin();
	peer_send(VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	peer_send(VHOST_USER_SET_OWNER, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_SET_OWNER, 8), 0);
	CU_ASSERT(t.vm->in[0] && t.vm->out[0]);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"steps", test_steps},
		{"unknown", test_unknown},
		{"needs_reset", test_needs_reset},
		{"reset", test_reset},
		{"not_negotiated", test_not_negotiated},
		{"owner", test_owner},
		{NULL, NULL},
	};

	return check_main("vu_status", tests, argc, argv);
}
