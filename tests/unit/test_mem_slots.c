/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Memory that comes and goes one region at a time: ADD_MEM_REG and REM_MEM_REG. */
#include "vu_peer.h"

#include <dirent.h>

#include "vm/vm_control.h"

#define SLOTS FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
#define PAGE  4096ull
#define BLOCK 0x10000ull /* a region of the tests: a ring's place, 16 of them in PEER_MEM */
#define MANY  10000

static void one(uint32_t request, struct vhost_user_region r, bool with_fd)
{
	struct vhost_user_one_region m = {.region = r};

	peer_send(request, 0, &m, sizeof(m), &t.memory, with_fd);
}

/* Block @i of the file, where peer_memory_at(PEER_UVA) has it as well. */
static struct vhost_user_region block(unsigned i)
{
	return (struct vhost_user_region){i * BLOCK, BLOCK, PEER_UVA + i * BLOCK, i * BLOCK};
}

static void add(struct vhost_user_region r)
{
	one(VHOST_USER_ADD_MEM_REG, r, true);
}

static void rem(struct vhost_user_region r)
{
	one(VHOST_USER_REM_MEM_REG, r, false);
}

static void begin(void)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, SLOTS);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
}

static void start_ring(uint32_t i)
{
	peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
	peer_ring_but_kick(i);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages = 0;

	if (fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = -1;
	fclose(f);
	return pages;
}

static void test_life(void)
{
	peer_setup(1);
	begin();
	CU_ASSERT_EQUAL(peer_get(VHOST_USER_GET_MAX_MEM_SLOTS), VU_REGIONS_MAX);
	start_ring(0);
	start_ring(1);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	add(block(1)); /* in whatever order */
	CU_ASSERT(t.vm->in[0] && !t.vm->out[0]);
	add(block(0));
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	CU_ASSERT(count_maps()); /* of two neighbours the kernel may make one */
	/* a ring rests while its region is away, and goes on where it was; the other one runs */
	t.vm->in[0]->avail_at = 5;
	rem(block(1));
	CU_ASSERT(!t.vm->in[0] && t.vm->out[0]);
	CU_ASSERT_EQUAL(count_maps(), 1);
	add(block(2));
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	add(block(1));
	CU_ASSERT_FATAL(t.vm->in[0] && t.vm->out[0]);
	CU_ASSERT_EQUAL(t.vm->in[0]->avail_at, 5);
	rem(block(2));
	CU_ASSERT(t.vm->in[0] && t.vm->out[0]);
	/* all of them, one by one: an empty table is one */
	rem(block(0));
	rem(block(1));
	CU_ASSERT(!t.vm->in[0] && !t.vm->out[0] && !peer_is_closed());
	CU_ASSERT_EQUAL(count_maps(), 0);
	/* a whole table stays possible, and replaces what there is */
	add(block(3));
	peer_memory_at(PEER_UVA);
	CU_ASSERT(t.vm->in[0] && t.vm->out[0] && !peer_is_closed());
	CU_ASSERT_EQUAL(count_maps(), 1);
	rem((struct vhost_user_region){0, PEER_MEM, PEER_UVA, 0});
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

static void test_as_many_as_there_are(void)
{
	struct vhost_user_region r = {0, PAGE, PEER_UVA, 0};
	struct vu_mem *mem = NULL;
	struct vm_state state;
	unsigned i;

	peer_setup(1);
	begin();
	for (i = 0; i < VU_REGIONS_MAX; i++) {
		/* from the middle outwards, so that they are sorted in */
		unsigned k = i & 1 ? 128 + i : 128 - i;

		add((struct vhost_user_region){k * PAGE, PAGE, PEER_UVA + k * PAGE, k * PAGE});
	}
	vm_state(t.vm, &state);
	CU_ASSERT_EQUAL(state.regions, VU_REGIONS_MAX);
	CU_ASSERT_FALSE(peer_is_closed());
	for (i = 1; i < VU_REGIONS_MAX; i++)
		CU_ASSERT(t.vm->control->mem->region[i - 1].gpa <
			  t.vm->control->mem->region[i].gpa);
	/* the table itself has no room, and nor has the message */
	CU_ASSERT_EQUAL(vu_mem_add(&mem, t.vm->control->mem, &r, t.memory), -ENOSPC);
	CU_ASSERT_PTR_NULL(mem);
	add(r);
	CU_ASSERT_TRUE(peer_is_closed());
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* QEMU before 8.2 sends each of the two messages once for each pair of queues. */
static void test_again(void)
{
	struct vhost_user_region wrong[] = {
		{1, BLOCK, PEER_UVA, 0},             /* another gpa */
		{0, BLOCK, PEER_UVA + 1, 0},         /* another uva */
		{0, BLOCK - 1, PEER_UVA, 0},         /* a part */
		{BLOCK, BLOCK, PEER_UVA + BLOCK, 0}, /* nothing */
	};
	unsigned i;

	peer_setup(1);
	begin();
	rem(block(0)); /* there is no table at all */
	add(block(0));
	add(block(0));
	start_ring(0);
	CU_ASSERT_EQUAL(t.vm->control->mem->n, 1);
	CU_ASSERT_EQUAL(count_maps(), 1);
	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		rem(wrong[i]);
	CU_ASSERT_EQUAL(t.vm->control->mem->n, 1);
	CU_ASSERT_PTR_NOT_NULL(t.vm->out[0]);
	rem(block(0));
	rem(block(0));
	CU_ASSERT_EQUAL(t.vm->control->mem->n, 0);
	CU_ASSERT_EQUAL(count_maps(), 0);
	/* one pair has another in its place before the next lets it go, as when a map is split */
	add(block(0));
	add(block(0));
	for (i = 0; i < 2; i++) {
		rem(block(0));
		add((struct vhost_user_region){0, PAGE, PEER_UVA, 0});
	}
	CU_ASSERT_EQUAL(t.vm->control->mem->n, 1);
	/* it may be another part of the file by now */
	add((struct vhost_user_region){0, PAGE, PEER_UVA, BLOCK});
	CU_ASSERT_EQUAL(pwrite(t.memory, "x", 1, BLOCK), 1);
	CU_ASSERT_EQUAL(t.vm->control->mem->n, 1);
	CU_ASSERT_EQUAL(*t.vm->control->mem->region[0].at, 'x');
	/* also when there is room for no other */
	for (i = 1; i < VU_REGIONS_MAX; i++)
		add((struct vhost_user_region){i * PAGE, PAGE, PEER_UVA + i * PAGE, i * PAGE});
	add((struct vhost_user_region){PAGE, PAGE, PEER_UVA + PAGE, PAGE});
	CU_ASSERT_EQUAL(t.vm->control->mem->n, VU_REGIONS_MAX);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

static void test_refused(void)
{
	static const struct {
		const char *what;
		struct vhost_user_region r;
	} bad[] = {
		{"empty", {BLOCK, 0, PEER_UVA + BLOCK, 0}},
		{"the same but for its uva", {0, BLOCK, PEER_UVA + BLOCK, 0}},
		{"the same but for its gpa", {BLOCK, BLOCK, PEER_UVA, 0}},
		{"in it", {PAGE, PAGE, PEER_UVA + BLOCK, 0}},
		{"around it", {0, 2 * BLOCK, PEER_UVA + BLOCK, 0}},
		{"its last byte", {BLOCK - 1, PAGE, PEER_UVA + BLOCK, 0}},
		{"uva overlap", {BLOCK, BLOCK, PEER_UVA + BLOCK - 1, 0}},
		{"gpa wraps", {-PAGE + 1, PAGE, PEER_UVA + BLOCK, 0}},
		{"uva wraps", {BLOCK, PAGE, -PAGE + 1, 0}},
		{"past the end", {BLOCK, PAGE, PEER_UVA + BLOCK, PEER_MEM}},
		{"a byte past", {BLOCK, PAGE, PEER_UVA + BLOCK, PEER_MEM - PAGE + 1}},
		{"offset wraps", {BLOCK, PAGE, PEER_UVA + BLOCK, -PAGE}},
		{"far too large", {BLOCK, 1ull << 45, 0, 0}},
	};
	unsigned i;

	peer_setup(1);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		begin();
		add(block(0));
		CU_ASSERT_FALSE(peer_is_closed());
		add(bad[i].r);
		if (!peer_is_closed())
			printf("     %s\n", bad[i].what);
		CU_ASSERT_TRUE(peer_is_closed());
	}
	/* without its file; and messages that were not negotiated */
	begin();
	one(VHOST_USER_ADD_MEM_REG, block(0), false);
	CU_ASSERT_TRUE(peer_is_closed());
	peer_connect();
	add(block(0));
	CU_ASSERT_TRUE(peer_is_closed());
	peer_end();
	peer_setup_vm((struct vm_options){.name = "a", .queues = 1, .postcopy = true});
	peer_connect();
	CU_ASSERT_FALSE(peer_get(VHOST_USER_GET_PROTOCOL_FEATURES) & SLOTS);
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* For hours on end; a file that comes with REM_MEM_REG is closed. */
static void test_many(void)
{
	unsigned i, fds, maps;
	long pages;

	peer_setup(1);
	begin();
	start_ring(1);
	add(block(1));
	for (i = 0; i < 100; i++) {
		add(block(2 + i % 14));
		one(VHOST_USER_REM_MEM_REG, block(2 + i % 14), true);
	}
	fds = count_fds();
	maps = count_maps();
	pages = resident();
	for (i = 0; i < MANY; i++) {
		add(block(2 + i % 14));
		one(VHOST_USER_REM_MEM_REG, block(2 + i % 14), i & 1);
	}
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	CU_ASSERT_EQUAL(count_fds(), fds);
	CU_ASSERT_EQUAL(count_maps(), maps);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed for a while */
	CU_ASSERT(resident() - pages < 64);
#else
	(void)pages;
#endif
	peer_end();
}

/* A mapping that two tables have shared is still known when its file is cut short. */
static void test_cut(void)
{
	struct vm_state state;

	peer_setup(1);
	begin();
	add(block(15));
	add(block(0));
	rem(block(0));
	vm_broken(t.vm);
	vm_state(t.vm, &state);
	CU_ASSERT_TRUE(state.connected);
	CU_ASSERT_EQUAL(ftruncate(t.memory, BLOCK), 0);
	*(volatile uint8_t *)t.vm->control->mem->region[0].at = 1;
	vm_broken(t.vm);
	vm_state(t.vm, &state);
	CU_ASSERT_FALSE(state.connected);
	CU_ASSERT_EQUAL(count_maps(), 0);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"life", test_life},   {"as_many_as_there_are", test_as_many_as_there_are},
		{"again", test_again}, {"refused", test_refused},
		{"many", test_many},   {"cut", test_cut},
		{NULL, NULL},
	};

	return check_main("mem_slots", tests, argc, argv);
}
