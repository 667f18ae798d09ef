/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rings that are paused, moved, stopped and started while a worker takes frames from them. */
#include "vu_peer.h"

#include <linux/virtio_ring.h>

#include "switch/switch.h"

/*
 * The guest's transmit ring is filled by hand, one frame per descriptor. The worker takes them
 * while the front-end keeps changing its mind. There is nobody to send them to: each frame must
 * end in a drop counter, none twice, none left out.
 */

#define FRAME_AT  0x80000ull /* all descriptors share one frame */
#define FRAME_LEN 72         /* with its header of 12 bytes */
#define ROUNDS    400

static struct vring_avail *avail;
static struct vring_used *used;
static struct fdb *fdb;
static struct port_table ports;
static struct vswitch sw;
static struct sources *sources;

static void guest_setup(uint8_t *memory)
{
	struct vring_desc *desc = (void *)(memory + PEER_RING);
	unsigned i;

	avail = (void *)(memory + PEER_RING + PEER_AVAIL);
	used = (void *)(memory + PEER_RING + PEER_USED);
	for (i = 0; i < PEER_SIZE; i++) {
		desc[i] = (struct vring_desc){.addr = FRAME_AT, .len = FRAME_LEN};
		avail->ring[i] = i;
	}
	memset(memory + FRAME_AT + 12, 0xff, 6);
	memory[FRAME_AT + 12 + 6] = 2;
}

static bool caught_up(void *arg)
{
	(void)arg;
	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == avail->idx;
}

static void send_frames(unsigned n)
{
	__atomic_store_n(&avail->idx, (uint16_t)(avail->idx + n), __ATOMIC_RELEASE);
	worker_wake(t.worker);
}

static void one_region(uint32_t request, uint64_t gpa, uint64_t uva)
{
	struct vhost_user_one_region m = {.region = {gpa, PEER_MEM, uva, 0}};

	peer_send(request, 0, &m, sizeof(m), &t.memory, 1);
}

static void take_slots(void)
{
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS));
}

static void change_something(unsigned i)
{
	uint64_t base;

	switch (i % 11) {
	case 0:
		peer_memory_at(PEER_UVA);
		break;
	case 1:
		close(peer_eventfd(VHOST_USER_SET_VRING_CALL, 1));
		break;
	case 2:
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
		break;
	case 3:
		peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | FEATURE(28));
		break;
	case 4:
		peer_u64(VHOST_USER_SET_VRING_CALL, 1 | VHOST_USER_VRING_NOFD);
		break;
	case 5:
		peer_addr(1);
		break;
	case 6: /* as a reboot, but that the driver goes on where it was */
		base = peer_get_base(1);
		CU_ASSERT_NOT_EQUAL(base, PEER_SILENCE);
		CU_ASSERT_EQUAL((uint16_t)(base >> 32), __atomic_load_n(&used->idx, 2));
		peer_state(VHOST_USER_SET_VRING_BASE, 1, base >> 32);
		peer_addr(1);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
		break;
	case 7: /* QEMU was restarted */
		peer_connect();
		take_slots();
		peer_u64(VHOST_USER_SET_VRING_ENABLE, 1 | 1ull << 32);
		peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
		peer_memory_at(PEER_UVA);
		peer_ring_but_kick(1);
		peer_state(VHOST_USER_SET_VRING_BASE, 1, __atomic_load_n(&used->idx, 2));
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
		break;
	case 8:
		peer_get_base(0);
		peer_addr(0);
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 0));
		peer_state(VHOST_USER_SET_VRING_ENABLE, 0, i & 1);
		break;
	case 9: /* memory is plugged, and unplugged */
		one_region(VHOST_USER_ADD_MEM_REG, 2 * PEER_MEM, PEER_UVA + 2 * PEER_MEM);
		one_region(VHOST_USER_REM_MEM_REG, 2 * PEER_MEM, PEER_UVA + 2 * PEER_MEM);
		break;
	case 10: /* the very memory that all is in */
		one_region(VHOST_USER_REM_MEM_REG, 0, PEER_UVA);
		CU_ASSERT_PTR_NULL(t.vm->in[0]);
		one_region(VHOST_USER_ADD_MEM_REG, 0, PEER_UVA);
		break;
	}
}

static void churn(enum poll_mode mode)
{
	unsigned i, sent = 0;
	uint8_t *memory;

	peer_setup(1);
	memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	guest_setup(memory);
	fdb = fdb_new();
	ports = (struct port_table){.n = 1, .all = {&t.vm->port}};
	ports.by_id[t.vm->port.id] = &t.vm->port;
	sw = (struct vswitch){.fdb = fdb, .ports = &ports};
	sources = calloc(1, sizeof(*sources) + sizeof(sources->source[0]));
	sources->n = 1;
	sources->source[0] = (struct source){.port = &t.vm->port};
	memset(&t.stats, 0, sizeof(t.stats));
	t.worker->sw = &sw;
	t.worker->sources = sources;
	t.worker->poll = mode;
	CU_ASSERT_EQUAL_FATAL(worker_start(t.worker), 0);
	peer_connect();
	peer_start(2);
	take_slots();
	for (i = 0; i < ROUNDS; i++) {
		send_frames(1 + i % 200);
		sent += 1 + i % 200;
		change_something(i);
		CU_ASSERT_FALSE_FATAL(peer_is_closed());
		CU_ASSERT_TRUE_FATAL(check_until(caught_up, NULL, 5000));
	}
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(__atomic_load_n(&t.stats.in_frames, 2), sent);
	CU_ASSERT_EQUAL(__atomic_load_n(&t.stats.drops.no_destination, 2), sent);
	worker_stop(t.worker);
	peer_end();
	free(sources);
	fdb_free(fdb);
	munmap(memory, PEER_MEM);
}

static void test_churn_busy(void)
{
	churn(POLL_BUSY);
}

static void test_churn_interrupt(void)
{
	churn(POLL_INTERRUPT);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"churn_busy", test_churn_busy},
		{"churn_interrupt", test_churn_interrupt},
		{NULL, NULL},
	};

	return check_main("vm_ring", tests, argc, argv);
}
