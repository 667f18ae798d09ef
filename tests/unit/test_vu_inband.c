/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Notifications as messages: what they start, wake and call, and that none is lost. */
#include "vu_peer.h"

#include <malloc.h>

#include "fake_vm.h"
#include "vm/vm_control.h"

#define P(name) FEATURE(VHOST_USER_PROTOCOL_F_##name)
#define INBAND  (P(REPLY_ACK) | P(BACKEND_REQ) | P(INBAND_NOTIFICATIONS))

struct message {
	struct vhost_user_header header;
	struct vhost_user_vring_state state;
};

static int give_channel(void)
{
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	close(pair[1]);
	return pair[0];
}

/* How many requests @request came about queue @index; all others are a mistake. */
static unsigned take(int channel, uint32_t request, unsigned index)
{
	struct message m;
	unsigned n = 0;

	peer_pump();
	while (recv(channel, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		CU_ASSERT(m.header.request == request && m.header.flags == VHOST_USER_VERSION);
		CU_ASSERT(m.header.size == sizeof(m.state) && m.state.index == index);
		n++;
	}
	return n;
}

static bool is_awake(void)
{
	uint64_t count;

	return read(t.worker->wake_fd, &count, sizeof(count)) == sizeof(count);
}

/* Negotiated, and both rings have all but a kick. */
static int begin(void)
{
	int channel;

	peer_setup(1);
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, INBAND);
	channel = give_channel();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	peer_memory_at(PEER_UVA);
	peer_ring_but_kick(0);
	peer_ring_but_kick(1);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	CU_ASSERT_FALSE(peer_is_closed());
	return channel;
}

static void test_needs(void)
{
	static const uint64_t bad[] = {P(INBAND_NOTIFICATIONS),
				       P(INBAND_NOTIFICATIONS) | P(REPLY_ACK),
				       P(INBAND_NOTIFICATIONS) | P(BACKEND_REQ)};
	struct vhost_user_vring_state s = {};
	unsigned i;

	peer_setup(1);
	for (i = 0; i < 3; i++) {
		peer_connect();
		peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, bad[i]);
		CU_ASSERT(peer_is_closed());
	}
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, INBAND);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_state(VHOST_USER_VRING_KICK, 1, 0); /* of a ring that isn't there */
	CU_ASSERT_FALSE(peer_is_closed());
	s.index = 2;
	peer_send(VHOST_USER_VRING_KICK, 0, &s, sizeof(s), NULL, 0);
	CU_ASSERT(peer_is_closed());
	/* nor is the message known without it */
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, P(REPLY_ACK) | P(BACKEND_REQ));
	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT(peer_is_closed());
	peer_end();
}

/* A ring starts with the first message, is not polled, and its worker is woken by the next. */
static void test_kick(void)
{
	int channel = begin(), kick;

	CU_ASSERT(!t.vm->in[0] && !t.vm->out[0]);
	peer_state(VHOST_USER_VRING_KICK, 0, 0);
	CU_ASSERT_PTR_NOT_NULL(t.vm->out[0]);
	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.vm->in[0]);
	CU_ASSERT_FALSE(t.vm->in[0]->no_kick);
	CU_ASSERT_FALSE(t.vm->port.ops->wait(&t.vm->port, t.worker, 0, true));
	CU_ASSERT(is_awake());
	CU_ASSERT_FALSE(is_awake());
	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT(is_awake());
	/* nothing waits for the guest's kicks of its receive queue */
	peer_state(VHOST_USER_VRING_KICK, 0, 0);
	CU_ASSERT_FALSE(is_awake());
	/* "no fd" asks for polling, in-band or not, and an eventfd for neither */
	peer_u64(VHOST_USER_SET_VRING_KICK, 1 | VHOST_USER_VRING_NOFD);
	CU_ASSERT(t.vm->in[0]->no_kick);
	peer_memory_at(PEER_UVA);
	CU_ASSERT(t.vm->in[0]->no_kick);
	kick = peer_eventfd(VHOST_USER_SET_VRING_KICK, 1);
	CU_ASSERT_FALSE(t.vm->in[0]->no_kick);
	/* stopped: a kick that was on its way doesn't start it again */
	peer_get_base(1);
	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	peer_addr(1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.vm->in[0]);
	CU_ASSERT_FALSE(t.vm->in[0]->no_kick);
	CU_ASSERT_FALSE(peer_is_closed());
	close(kick);
	close(channel);
	peer_end();
}

/* What workers signal is sent; an eventfd is preferred, and what was given up is closed. */
static void test_call(void)
{
	unsigned before;
	int channel = begin(), call;
	eventfd_t count;

	peer_state(VHOST_USER_VRING_KICK, 0, 0);
	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->in[0]->call_fd >= 0);
	before = check_fds();
	eventfd_write(t.vm->in[0]->call_fd, 1);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 1);
	eventfd_write(t.vm->out[0]->call_fd, 1);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 0), 1);
	peer_memory_at(PEER_UVA); /* paused and resumed */
	eventfd_write(t.vm->in[0]->call_fd, 1);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 1);

	call = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
	CU_ASSERT_EQUAL(eventfd_read(call, &count), 0);
	eventfd_write(t.vm->in[0]->call_fd, 1);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 0);
	CU_ASSERT_EQUAL(eventfd_read(call, &count), 0);
	close(call);
	peer_u64(VHOST_USER_SET_VRING_CALL, 1 | VHOST_USER_VRING_NOFD);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 1);
	eventfd_write(t.vm->in[0]->call_fd, 1);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 1);
	CU_ASSERT_EQUAL(check_fds(), before);

	/* a queue that breaks is told once */
	t.vm->in[0]->broken = VQ_BAD_HEAD;
	vm_broken(t.vm);
	vm_broken(t.vm);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_ERR, 1), 1);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(check_fds(), before - 5); /* both ends, two of ours, the channel's */
	close(channel);
	peer_end();
}

/* A front-end that doesn't read finds its calls when it does, on whichever channel. */
static void test_none_lost(void)
{
	int channel = begin(), next;
	unsigned i, n;

	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.vm->in[0]);
	for (i = 0; i < 100000 && !t.vm->in[0]->broken; i++) {
		eventfd_write(t.vm->in[0]->call_fd, 1);
		peer_pump();
	}
	t.vm->in[0]->broken = VQ_BAD_HEAD;
	vm_broken(t.vm);
	n = take(channel, VHOST_USER_BACKEND_VRING_CALL, 1);
	CU_ASSERT(n && n < 100000);
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_CALL, 1), 1);
	vm_broken(t.vm); /* which is called once a second */
	CU_ASSERT_EQUAL(take(channel, VHOST_USER_BACKEND_VRING_ERR, 1), 1);

	close(channel);
	eventfd_write(t.vm->in[0]->call_fd, 1);
	peer_pump();
	CU_ASSERT_PTR_NULL(t.vm->control->back);
	CU_ASSERT_FALSE(peer_is_closed());
	next = give_channel();
	CU_ASSERT_EQUAL(take(next, VHOST_USER_BACKEND_VRING_CALL, 1), 1);
	close(next);
	peer_end();
}

/* What a ring's calls need is gone when they go another way. */
static void test_replaced(void)
{
	int channel = begin(), i;
	unsigned fds = 0;
	size_t heap = 0;

	peer_state(VHOST_USER_VRING_KICK, 1, 0);
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	for (i = 0; i < 1000; i++) {
		peer_u64(VHOST_USER_SET_VRING_CALL, 1 | VHOST_USER_VRING_NOFD);
		if (i < 10) {
			fds = check_fds();
			heap = mallinfo2().uordblks;
		}
	}
	CU_ASSERT_EQUAL(check_fds(), fds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CU_ASSERT_EQUAL(mallinfo2().uordblks, heap);
#else
	(void)heap;
#endif
	CU_ASSERT_FALSE(peer_is_closed());
	close(channel);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"needs", test_needs},         {"kick", test_kick},         {"call", test_call},
		{"none_lost", test_none_lost}, {"replaced", test_replaced}, {NULL, NULL},
	};

	return check_main("vu_inband", tests, argc, argv);
}
