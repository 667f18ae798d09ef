/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a VM's port offers its guest (offloads=, mtu=), and what comes of the answers. */
#include <sys/prctl.h>

#include "vm/vm_control.h"
#include "vm/vu_fetch.h"
#include "vu_peer.h"

#include "offload/offload.h"

#define CSUM FEATURE(0)
#define MTU  FEATURE(3)
#define TAKEN                                                                                      \
	(FEATURE(1) | FEATURE(7) | FEATURE(8) | FEATURE(54)) /* GUEST_CSUM, TSO4, TSO6, USO4 */

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

static uint64_t offered(struct vm_options opt)
{
	uint64_t features;

	opt.queues = 1;
	peer_setup_vm(opt);
	peer_connect();
	features = peer_get(VHOST_USER_GET_FEATURES);
	CU_ASSERT_EQUAL(state().offered, features);
	CU_ASSERT_EQUAL(state().offloads, opt.offloads);
	peer_end();
	return features;
}

/* Each step offers what the one before did, and more. */
static void test_offloads(void)
{
	uint64_t none = offered((struct vm_options){.name = "a", .offloads = VM_OFFLOADS_NONE});
	uint64_t csum = offered((struct vm_options){.name = "a", .offloads = VM_OFFLOADS_CSUM});
	uint64_t all = offered((struct vm_options){.name = "a", .offloads = VM_OFFLOADS_ALL});

	CU_ASSERT_EQUAL(offload_guest_takes(none), 0);
	CU_ASSERT_EQUAL(offload_guest_asks(none), 0);
	CU_ASSERT_EQUAL(csum & ~none, FEATURE(0) | FEATURE(1));
	CU_ASSERT_EQUAL(offload_guest_takes(csum), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_asks(csum), OFFLOAD_CSUM);
	CU_ASSERT_EQUAL(offload_guest_takes(all), OFFLOAD_ALL);
	CU_ASSERT_EQUAL(offload_guest_asks(all), OFFLOAD_ALL);
	CU_ASSERT_EQUAL(none & ~csum, 0);
	CU_ASSERT_EQUAL(csum & ~all, 0);
	/* what concerns no offload is the same for all */
	CU_ASSERT_EQUAL(all & FEATURE(24), FEATURE(24));
	CU_ASSERT_EQUAL(none & FEATURE(24), FEATURE(24));
	CU_ASSERT_EQUAL(none & FEATURE(40), FEATURE(40));
	CU_ASSERT_EQUAL(all & MTU, 0);
	CU_ASSERT_EQUAL(offered((struct vm_options){.name = "a", .mtu = 1400}), all | MTU);
}

static bool has_slots(bool postcopy)
{
	uint64_t features;

	peer_setup_vm((struct vm_options){.name = "a", .queues = 1, .postcopy = postcopy});
	peer_connect();
	features = peer_get(VHOST_USER_GET_PROTOCOL_FEATURES);
	peer_end();
	return features & FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
}

/* A front-end that has memory slots does no post-copy: one is offered, or the other. */
static void test_slots(void)
{
	CU_ASSERT(has_slots(false));
	CU_ASSERT(!has_slots(true));
}

/* Reset of single queues: not with QEMU, which tells us nothing of it, whoever else asks. */
static void test_ring_reset(void)
{
	struct vm_options opt = {.name = "a"};
	char name[16];

	CU_ASSERT_EQUAL_FATAL(prctl(PR_GET_NAME, name), 0);
	CU_ASSERT_FALSE(vm_peer_is_qemu(getpid()));
	CU_ASSERT_EQUAL(offered(opt) & FEATURE(40), FEATURE(40));
	prctl(PR_SET_NAME, "qemu-system-x86");
	CU_ASSERT(vm_peer_is_qemu(getpid()));
	CU_ASSERT_EQUAL(offered(opt) & FEATURE(40), 0);
	opt.ring_reset = VM_RING_RESET_ON;
	CU_ASSERT_EQUAL(offered(opt) & FEATURE(40), FEATURE(40));
	prctl(PR_SET_NAME, name);
	opt.ring_reset = VM_RING_RESET_OFF;
	CU_ASSERT_EQUAL(offered(opt) & FEATURE(40), 0);
	CU_ASSERT(vm_peer_is_qemu(0)); /* nobody's */
}

/* What a front-end was offered is still shown when it has gone: it may have asked for more. */
static void test_gone(void)
{
	uint64_t features, protocol;
	char name[16];

	CU_ASSERT_EQUAL_FATAL(prctl(PR_GET_NAME, name), 0);
	prctl(PR_SET_NAME, "qemu-system-x86");
	peer_setup(1);
	peer_connect();
	features = peer_get(VHOST_USER_GET_FEATURES);
	protocol = peer_get(VHOST_USER_GET_PROTOCOL_FEATURES);
	peer_u64(VHOST_USER_SET_FEATURES, FEATURE(40) | FEATURE(32));
	CU_ASSERT_FALSE(state().connected);
	CU_ASSERT(state().offered == features && state().protocol_offered == protocol);
	CU_ASSERT_EQUAL(state().asked & ~state().offered, FEATURE(40));
	prctl(PR_SET_NAME, name);
	peer_connect();
	CU_ASSERT_EQUAL(peer_get(VHOST_USER_GET_FEATURES) & FEATURE(40), FEATURE(40));
	peer_end();
}

/* What is withheld can't be had. */
static void test_withheld(void)
{
	peer_setup_vm((struct vm_options){.name = "a", .queues = 1, .offloads = VM_OFFLOADS_CSUM});
	peer_connect();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | CSUM);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | CSUM | FEATURE(11));
	CU_ASSERT_TRUE(peer_is_closed());
	peer_end();
}

/* port.takes is for GRO: nothing while the guest can't have frames. */
static void test_takes(void)
{
	peer_setup(1);
	peer_connect();
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_start(2);
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | TAKEN);
	CU_ASSERT_EQUAL(t.vm->port.takes,
			OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_USO4);
	/* a driver that breaks the rules is left with what they allow */
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | (TAKEN & ~FEATURE(1)));
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | TAKEN);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 0);
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	CU_ASSERT_NOT_EQUAL(t.vm->port.takes, 0);
	peer_get_base(1);
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_addr(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_NOT_EQUAL(t.vm->port.takes, 0);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(t.vm->port.takes, 0);
	peer_end();
}

/* NET_SET_MTU as QEMU sends it; the acknowledgement, 0 if it is granted. */
static uint64_t set_mtu(uint64_t mtu)
{
	peer_send(VHOST_USER_NET_SET_MTU, VHOST_USER_NEED_REPLY, &mtu, sizeof(mtu), NULL, 0);
	return peer_reply(VHOST_USER_NET_SET_MTU, 8);
}

static void negotiate(void)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		 FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK) | FEATURE(VHOST_USER_PROTOCOL_F_NET_MTU));
}

/* Without mtu= the front-end decides, and what it said goes with it. */
static void test_mtu_told(void)
{
	static const uint64_t bad[] = {0,         1, 67, 65536, 1ull << 32, (1ull << 32) + 1500,
				       UINT64_MAX};
	unsigned i;

	peer_setup(1);
	negotiate();
	CU_ASSERT_EQUAL(t.vm->mtu, 0);
	CU_ASSERT_EQUAL(set_mtu(9000), 0);
	CU_ASSERT_EQUAL(t.vm->mtu, 9000);
	CU_ASSERT_EQUAL(state().mtu_told, 9000);
	CU_ASSERT_EQUAL(state().mtu_option, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(set_mtu(bad[i]), 1);
		CU_ASSERT_FALSE(peer_is_closed());
		CU_ASSERT_EQUAL(t.vm->mtu, 9000);
	}
	CU_ASSERT_EQUAL(set_mtu(68), 0);
	CU_ASSERT_EQUAL(set_mtu(65535), 0);
	CU_ASSERT_EQUAL(state().mtu, 65535);
	t.changes = 0;
	peer_u64(VHOST_USER_NET_SET_MTU, 1500);
	CU_ASSERT_EQUAL(t.vm->mtu, 1500);
	CU_ASSERT_EQUAL(t.changes, 1);
	peer_u64(VHOST_USER_NET_SET_MTU, 1500);
	CU_ASSERT_EQUAL(t.changes, 1);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(t.vm->mtu, 0);
	CU_ASSERT_EQUAL(state().mtu_told, 0);
	/* not negotiated, not known */
	peer_connect();
	peer_u64(VHOST_USER_NET_SET_MTU, 1500);
	CU_ASSERT_TRUE(peer_is_closed());
	CU_ASSERT_EQUAL(t.vm->mtu, 0);
	peer_end();
}

/* With mtu= a front-end can say less, but not more; then `port show` tells why nothing starts. */
static void test_mtu_option(void)
{
	peer_setup_vm((struct vm_options){.name = "a", .queues = 1, .mtu = 1500});
	CU_ASSERT_EQUAL(t.vm->mtu, 1500);
	negotiate();
	CU_ASSERT_EQUAL(set_mtu(9000), 1);
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_EQUAL(t.vm->mtu, 1500);
	CU_ASSERT_STRING_EQUAL(state().why_not,
			       "the front-end's MTU of 9000 was refused: give it 68 to 1500 "
			       "(QEMU: host_mtu=), or add the port with mtu=9000");
	CU_ASSERT_EQUAL(set_mtu(UINT64_MAX), 1);
	CU_ASSERT_STRING_EQUAL(state().why_not,
			       "the front-end's MTU of 18446744073709551615 was refused: give it "
			       "68 to 1500 (QEMU: host_mtu=)");
	CU_ASSERT_EQUAL(set_mtu(1400), 0);
	CU_ASSERT_EQUAL(t.vm->mtu, 1400);
	CU_ASSERT_PTR_NULL(strstr(state().why_not, "MTU"));
	/* a front-end that starts the queues regardless has what mtu= allows */
	CU_ASSERT_EQUAL(set_mtu(9000), 1);
	peer_start(2);
	CU_ASSERT_PTR_NULL(strstr(state().why_not, "MTU"));
	CU_ASSERT_EQUAL(t.vm->mtu, 1400);
	peer_hang_up();
	peer_pump();
	CU_ASSERT_EQUAL(t.vm->mtu, 1500);
	CU_ASSERT_PTR_NULL(strstr(state().why_not, "MTU"));
	peer_end();
}

/* Of a frame that is still to be cut, the longest piece counts: Ethernet, IPv4, TCP, 1460 bytes. */
static void test_mtu_of_segments(void)
{
	struct frame f = {.len = 60000, .shape = {.head_at = FRAME_HEAD_ROOM}};

	CU_ASSERT_TRUE(vm_is_over_mtu(&f, 1500));
	CU_ASSERT_FALSE(vm_is_over_mtu(&f, 60000 - 14));
	CU_ASSERT_TRUE(vm_is_over_mtu(&f, 60000 - 15));
	f.offload = (struct frame_offload){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					   .hdr_len = 54,
					   .gso_size = 1460,
					   .csum_start = 34,
					   .csum_offset = 16};
	CU_ASSERT_FALSE(vm_is_over_mtu(&f, 1500));
	CU_ASSERT_TRUE(vm_is_over_mtu(&f, 1499));
	f.offload.gso_size++;
	CU_ASSERT_TRUE(vm_is_over_mtu(&f, 1500));
	/* behind a VLAN tag, the same packet is as long */
	f.head[FRAME_HEAD_ROOM + 12] = 0x81;
	f.offload.hdr_len += 4;
	CU_ASSERT_TRUE(vm_is_over_mtu(&f, 1500));
	f.offload.gso_size--;
	CU_ASSERT_FALSE(vm_is_over_mtu(&f, 1500));
}

static void test_mtu_refused_options(void)
{
	struct vm_options opt = {.name = "a", .queues = 1, .mtu = 67, .socket = "/nonexistent/a"};
	struct vm *vm = NULL;

	log_set_level(LOG_ERROR);
	CU_ASSERT_EQUAL(vm_new(&vm, NULL, &opt, VXS_PORT_VM, NULL), -EINVAL);
	opt.mtu = 65536;
	CU_ASSERT_EQUAL(vm_new(&vm, NULL, &opt, VXS_PORT_VM, NULL), -EINVAL);
	CU_ASSERT_PTR_NULL(vm);
}

/* This program is none that can be executed anew as a fetcher, so it starts none. */
static void test_no_fetcher(void)
{
	unsigned fds = check_fds();
	struct vu_fetch f;

	CU_ASSERT_EQUAL(vu_fetch_start(&f), -EOPNOTSUPP);
	CU_ASSERT_FALSE(vu_fetch_is_possible());
	CU_ASSERT_EQUAL(check_fds(), fds);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"offloads", test_offloads},
		{"slots", test_slots},
		{"ring_reset", test_ring_reset},
		{"gone", test_gone},
		{"withheld", test_withheld},
		{"takes", test_takes},
		{"mtu_told", test_mtu_told},
		{"mtu_option", test_mtu_option},
		{"mtu_of_segments", test_mtu_of_segments},
		{"mtu_refused_options", test_mtu_refused_options},
		{"no_fetcher", test_no_fetcher},
		{NULL, NULL},
	};

	return check_main("vm_offer", tests, argc, argv);
}
