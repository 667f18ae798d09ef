/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a port passes no traffic: each state on the way from no connection to a guest that runs. */
#include "vu_peer.h"

#include <linux/virtio_ring.h>

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

static bool says(const char *text)
{
	const char *why = state().why_not;

	if (text ? why && strstr(why, text) : !why)
		return true;
	printf("     says %s\n", why ? why : "nothing");
	return false;
}

/* The guest's memory as the guest sees it, unless it maps it privately. */
static uint8_t *map(int flags)
{
	uint8_t *at = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, flags, t.memory, 0);

	CU_ASSERT_FATAL(at != MAP_FAILED);
	return at;
}

/* The driver offers a buffer in the ring of queue @index. */
static void offer(uint8_t *memory, unsigned index)
{
	uint8_t *ring = memory + index * PEER_RING;
	struct vring_avail *avail = (void *)(ring + PEER_AVAIL);

	*(struct vring_desc *)ring = (struct vring_desc){.addr = 0x80000, .len = 1526, .flags = 2};
	__atomic_store_n(&avail->idx, 1, __ATOMIC_RELEASE);
}

static void kick(unsigned index, unsigned times)
{
	int fd = peer_eventfd(VHOST_USER_SET_VRING_KICK, index);

	eventfd_write(fd, times);
	close(fd);
}

static void test_way_up(void)
{
	uint8_t *memory;

	peer_setup(2);
	CU_ASSERT(says("no front-end is connected to /"));
	peer_connect();
	CU_ASSERT(says("the front-end has not said anything yet"));
	peer_get(VHOST_USER_GET_FEATURES);
	CU_ASSERT(says("driver has not started yet"));
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
	CU_ASSERT(says("memory is not shared (QEMU: memory-backend with share=on)"));
	peer_memory_at(PEER_UVA);
	CU_ASSERT(says("has not started the queues"));
	peer_ring_but_kick(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT(says("has not started the queues to it"));
	peer_ring_but_kick(0);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 0));
	CU_ASSERT(says("queue 0 is not enabled"));
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	CU_ASSERT(says("queue 1 is not enabled"));
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	CU_ASSERT(says("offers no buffers to receive into"));
	CU_ASSERT_EQUAL(vm_count_running(t.vm), 1);
	memory = map(MAP_SHARED);
	offer(memory, 0);
	kick(0, 2);
	CU_ASSERT(says(NULL));
	/* the same with a queue that breaks */
	t.vm->in[0]->broken = VQ_BAD_CHAIN;
	CU_ASSERT(says("queue 1 broke: descriptor chain loops"));
	peer_get_base(0);
	peer_get_base(1);
	CU_ASSERT(says("has not started the queues"));
	munmap(memory, PEER_MEM);
	peer_end();
}

/* A guest whose memory the front-end has mapped privately writes where we don't see it. */
static void private_guest(uint64_t features)
{
	uint8_t *memory;
	unsigned i;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	if (features) {
		peer_get_base(0);
		peer_get_base(1);
		peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | features);
		for (i = 0; i < 2; i++) {
			peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
			peer_ring_but_kick(i);
			peer_state(VHOST_USER_SET_VRING_BASE, i, 0x80008000);
			kick(i, 0);
		}
	}
	CU_ASSERT(says("no buffers"));
	memory = map(MAP_PRIVATE);
	offer(memory, 0);
	kick(0, 1); /* as QEMU does by itself */
	CU_ASSERT(says("interface is down, its driver not ready, or its memory not shared"));
	kick(0, 2);
	CU_ASSERT(says("memory is not shared (QEMU: memory-backend with share=on): it notified us "
		       "of queue 0, but that is empty"));
	kick(1, 3);
	munmap(memory, PEER_MEM);
	memory = map(MAP_SHARED);
	offer(memory, 0);
	CU_ASSERT(says("of queue 1"));
	offer(memory, 1);
	CU_ASSERT(says(NULL));
	munmap(memory, PEER_MEM);
	peer_end();
}

static void test_private_memory(void)
{
	private_guest(0);
	private_guest(FEATURE(34)); /* packed: its first descriptor is enough */
}

/* The reason of the last end stays, whatever it was, until the next one. */
static void test_ends(void)
{
	struct vhost_user_header cut = {VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8};

	peer_setup(1);
	CU_ASSERT_PTR_NULL(state().ended);
	peer_connect();
	CU_ASSERT_PTR_NULL(state().ended);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_STRING_EQUAL(state().ended, "the front-end hung up");
	peer_connect();
	peer_u64(VHOST_USER_SET_FEATURES, FEATURE(50) | VERSION_1);
	CU_ASSERT_STRING_EQUAL(state().ended,
			       "SET_FEATURES: features 0x4000000000000 were not offered");
	CU_ASSERT_EQUAL(state().asked, FEATURE(50) | VERSION_1);
	CU_ASSERT_EQUAL(state().features, 0);
	peer_connect();
	CU_ASSERT_EQUAL(state().asked, 0);
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(63));
	CU_ASSERT_EQUAL(state().protocol_asked, FEATURE(63));
	CU_ASSERT_PTR_NOT_NULL(strstr(state().ended, "were not offered"));
	peer_connect();
	peer_put(t.fd, &cut, 7, NULL, 0);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_STRING_EQUAL(state().ended, "closed in the middle of a message");
	peer_connect();
	peer_start(2);
	CU_ASSERT_EQUAL(ftruncate(t.memory, 0), 0);
	(void)*(volatile uint16_t *)&t.vm->in[0]->avail->idx; /* as a worker would */
	vm_broken(t.vm);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().ended, "memory was gone"));
	peer_end();
}

/* A second one that takes over leaves no doubt. */
static void test_replaced(void)
{
	struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	int second;

	peer_setup(1);
	peer_connect();
	second = peer_dial();
	peer_put(second, &get, sizeof(get), NULL, 0);
	peer_pump();
	CU_ASSERT_STRING_EQUAL(state().ended, "a new front-end took its place");
	CU_ASSERT(state().connected);
	close(second);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"way_up", test_way_up},
		{"private_memory", test_private_memory},
		{"ends", test_ends},
		{"replaced", test_replaced},
		{NULL, NULL},
	};

	return check_main("vm_why", tests, argc, argv);
}
