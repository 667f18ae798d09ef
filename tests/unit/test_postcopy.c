/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Post-copy migration: a guest runs before its memory is there, and nobody waits for it but one. */
#include <linux/memfd.h>

#include "mark.h"
#include "postcopy_rig.h"

/*
 * VM a comes from elsewhere, b, c and d have always been here. What comes to a before its buffers
 * are there may be lost, and counts as memory_absent; what a sends may not.
 */
#define PORTS                                                                                      \
	VMS_PORT("a", "61")                                                                        \
	",postcopy=on" VMS_PORT("b", "62") VMS_PORT("c", "63") VMS_PORT("d", "64") ",postcopy=on"
#define FRAMES 300

static const struct fake_vm_options plain = {.ring_size = 64};
static struct fake_vm *b, *c;
static struct move m = {.own = -1, .theirs = -1, .poke = -1};
static unsigned fds;

static bool begin(void)
{
	int fd = move_uffd();

	if (fd < 0) {
		check_skip("this kernel has no userfaultfd for shared memory");
		return false;
	}
	close(fd);
	if (!vms_start(PORTS, false))
		return false;
	fds = check_fds_of(vxsd.pid);
	return true;
}

static void end(void)
{
	if (m.vm)
		move_free(&m);
	fake_vm_close(b);
	fake_vm_close(c);
	b = c = NULL;
	vms_stop();
}

/* Processes that vxsd has started, and that live; or those as well whose end it doesn't know yet.
 */
static unsigned children(bool dead)
{
	char path[64], text[4096] = "", state;
	unsigned n = 0;
	FILE *f;
	char *s;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", vxsd.pid, vxsd.pid);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	for (s = strtok(text, " "); s; s = strtok(NULL, " ")) {
		snprintf(path, sizeof(path), "/proc/%.10s/stat", s);
		f = fopen(path, "r");
		if (f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1)
			n += dead || state != 'Z';
		if (f)
			fclose(f);
	}
	return n;
}

static bool has_no_children(void *arg)
{
	return !children(arg);
}

static bool has_at_most(void *arg)
{
	return check_fds_of(vxsd.pid) <= *(unsigned *)arg;
}

/* Nothing is left of those that hung up. */
static void nothing_left(void)
{
	CU_ASSERT_TRUE(check_until(has_at_most, &fds, VMS_WAIT));
	CU_ASSERT_TRUE(check_until(has_no_children, NULL, VMS_WAIT));
}

static size_t frame_of(uint8_t *frame, char from, char to, uint32_t seq)
{
	size_t len = 60 + seq % 1000;
	struct mark mark = {.seq = seq};

	vms_mac(from, mark.src);
	vms_mac(to, mark.dst);
	mark_write(frame, len, &mark);
	return len;
}

/* All that @from sends arrives at @to, in order, from @seq on. */
static void all_arrive(struct fake_vm *from, char from_name, struct fake_vm *to, char to_name,
		       uint32_t seq)
{
	uint8_t frame[2048], got[2048];
	unsigned i;

	for (i = 0; i < FRAMES; i++, seq++) {
		size_t len = frame_of(frame, from_name, to_name, seq);
		int n;

		while ((n = fake_vm_send(from, 0, frame, len)) == -EAGAIN)
			;
		CU_ASSERT_EQUAL_FATAL(n, 0);
		n = fake_vm_recv_wait(to, 0, got, sizeof(got), VMS_WAIT);
		CU_ASSERT_EQUAL_FATAL(n, (int)len);
		CU_ASSERT_EQUAL(memcmp(frame, got, len), 0);
	}
}

/* Sends one frame again and again until it arrives. How often it took. */
static unsigned some_arrive(struct fake_vm *from, char from_name, struct fake_vm *to, char to_name)
{
	unsigned long long until = vms_now() + VMS_WAIT;
	uint8_t frame[2048], got[2048];
	unsigned tries = 0;
	size_t len = frame_of(frame, from_name, to_name, 1);

	while (vms_now() < until) {
		CU_ASSERT_EQUAL(fake_vm_send(from, 0, frame, len), 0);
		tries++;
		if (fake_vm_recv_wait(to, 0, got, sizeof(got), 20) == (int)len)
			return tries;
	}
	CU_FAIL("no frame arrives");
	return tries;
}

/* Sanitizers fill the fetcher's address space, or have it look like ours, so there may be no room.
 */
static bool is_same_place(uint64_t base, const struct vhost_user_region *r)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#endif
	return base == r->uva;
}

static void moves(const struct fake_vm_options *opt, bool held)
{
	struct vxs_port_stats s;
	uint8_t got[2048];

	b = vms_join("b", &plain);
	m.vm = move_join("a", opt);
	if (!b || !m.vm)
		return;
	CU_ASSERT_TRUE_FATAL(move_begin(&m, m.vm, held));
	CU_ASSERT(is_same_place(m.base[0], m.vm->memory.region)); /* QEMU needs it so */
	if (held) {
		CU_ASSERT_EQUAL(fake_vm_sync(m.vm), 0);
		move_hold(&m, false);
	}
	all_arrive(m.vm, 'a', b, 'b', 0);
	some_arrive(b, 'b', m.vm, 'a');
	CU_ASSERT_TRUE(vms_stats("a", &s));
	CU_ASSERT_EQUAL(vms_drops(&s), s.drops.memory_absent + s.drops.not_running);
	CU_ASSERT(opt->huge || __atomic_load_n(&m.asked, __ATOMIC_RELAXED) > 0);
	CU_ASSERT_TRUE(move_end(&m));
	CU_ASSERT_TRUE(check_until(has_no_children, NULL, VMS_WAIT));
	while (fake_vm_recv_wait(m.vm, 0, got, sizeof(got), 1) > 0)
		;
	all_arrive(b, 'b', m.vm, 'a', 0);
	all_arrive(m.vm, 'a', b, 'b', 0);
	move_free(&m);
	fake_vm_close(b);
	b = NULL;
	nothing_left();
}

static void test_split(void)
{
	if (!begin())
		return;
	moves(&plain, false);
	moves(&(struct fake_vm_options){.ring_size = 256, .regions = 2, .gap = 2 << 20}, true);
	moves(&(struct fake_vm_options){.ring_size = 64, .send = {3, true}, .recv = {3, true}},
	      true);
	end();
}

static void test_packed(void)
{
	uint64_t features = FAKE_VM_ALL | FAKE_VM_PACKED;

	if (!begin())
		return;
	moves(&(struct fake_vm_options){.ring_size = 64, .features = features}, false);
	moves(&(struct fake_vm_options){.ring_size = 100, .features = features, .send = {2, true}},
	      true);
	end();
}

/* Who doesn't answer harms nobody but himself. */
static void test_never(void)
{
	struct vxs_port_stats s;
	uint8_t frame[64];
	unsigned i;

	if (!begin())
		return;
	b = vms_join("b", &plain);
	c = vms_join("c", &plain);
	m.vm = move_join("a", &plain);
	if (b && c && m.vm) {
		CU_ASSERT_TRUE(move_begin(&m, m.vm, true));
		CU_ASSERT_EQUAL(fake_vm_sync(m.vm), 0);
		for (i = 0; i < 100; i++) { /* to a as well, whose rings can't run */
			frame_of(frame, 'b', 'a', 0);
			fake_vm_send(b, 0, frame, 60);
		}
		all_arrive(b, 'b', c, 'c', 0);
		CU_ASSERT_TRUE(vms_stats("a", &s));
		CU_ASSERT_EQUAL(fake_vm_sync(m.vm), 0);
		CU_ASSERT_EQUAL(children(false), 1);
		CU_ASSERT_EQUAL(__atomic_load_n(&m.asked, __ATOMIC_RELAXED), 0);
		/* the userfaultfd stays open here, and the faults in it unanswered */
		fake_vm_hang_up(m.vm);
		CU_ASSERT_TRUE(check_until(has_no_children, NULL, VMS_WAIT));
		all_arrive(c, 'c', b, 'b', 0);
	}
	end();
}

/* A memory file that is cut short ends the migration, and nothing else. */
static void test_cut_short(void)
{
	if (!begin())
		return;
	b = vms_join("b", &plain);
	c = vms_join("c", &plain);
	m.vm = move_join("a", &plain);
	if (b && c && m.vm) {
		CU_ASSERT_TRUE(move_begin(&m, m.vm, true));
		CU_ASSERT_EQUAL(fake_vm_sync(m.vm), 0);
		CU_ASSERT_EQUAL(ftruncate(m.vm->memory_fd[0], 0), 0);
		/* the faults are repeated, beyond the end of the file */
		ioctl(m.theirs, UFFDIO_WAKE,
		      &(struct uffdio_range){m.base[0], m.vm->memory.region[0].size});
		CU_ASSERT_TRUE(fake_vm_hung_up(m.vm, VMS_WAIT));
		CU_ASSERT_TRUE(child_says(&vxsd, "was its memory file cut short?", VMS_WAIT));
		all_arrive(b, 'b', c, 'c', 0);
	}
	end();
}

/*
 * The userfaultfd is a key to the address space of whoever opened it. That one has nothing of the
 * switch, which goes on when it is killed.
 */
static void test_key(void)
{
	unsigned long from, to;
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	if (!begin())
		return;
	b = vms_join("b", &plain);
	c = vms_join("c", &plain);
	m.vm = move_join("a", &plain);
	if (b && c && m.vm) {
		CU_ASSERT_TRUE(move_begin(&m, m.vm, true));
		snprintf(path, sizeof(path), "/proc/%d/maps", vxsd.pid);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};

			if (!strstr(line, "[heap]") && !strstr(line, "memfd:"))
				continue;
			CU_ASSERT_EQUAL(sscanf(line, "%lx-%lx", &from, &to), 2);
			r.range = (struct uffdio_range){from, to - from};
			CU_ASSERT(ioctl(m.theirs, UFFDIO_REGISTER, &r) < 0);
			n++;
		}
		if (f)
			fclose(f);
		CU_ASSERT(n >= 3); /* guests at least */
		all_arrive(b, 'b', c, 'c', 0);
	}
	end();
}

/* The front-end's messages in every wrong order. */
enum step { ADVISE, LISTEN, TABLE, ACK, BAD_ACK, LONG_ACK, START, END_, STEPS };

static bool do_step(struct fake_vm *vm, enum step step)
{
	static const uint64_t words[2] = {1, 0};
	uint64_t base[VHOST_USER_REGIONS_MAX];
	int fd;

	switch (step) {
	case ADVISE:
		fd = move_advise(vm);
		if (fd >= 0)
			close(fd);
		return fd >= 0;
	case LISTEN:
		return !fake_vm_request(vm, VHOST_USER_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
	case TABLE:
		return move_table(vm, base);
	case ACK:
		return move_ack(vm) && !fake_vm_sync(vm);
	case BAD_ACK:
		return !fake_vm_request(vm, VHOST_USER_SET_MEM_TABLE, words, 8, NULL, 0);
	case LONG_ACK:
		return !fake_vm_request(vm, VHOST_USER_SET_MEM_TABLE, words + 1, 4, NULL, 0);
	case START:
		return !fake_vm_start_ring(vm, 1);
	default:
		return !fake_vm_request(vm, VHOST_USER_POSTCOPY_END, NULL, 0, NULL, 0);
	}
}

static void test_order(void)
{
	static const struct {
		enum step step[6];
		const char *says;
	} row[] = {
		{{LISTEN, STEPS}, "POSTCOPY_LISTEN: no POSTCOPY_ADVISE came before it"},
		{{END_, STEPS}, "POSTCOPY_END: no POSTCOPY_LISTEN came before it"},
		{{ADVISE, END_, STEPS}, "POSTCOPY_END: no POSTCOPY_LISTEN came before it"},
		{{ADVISE, ADVISE, STEPS}, "a post-copy migration is under way already"},
		{{ADVISE, LISTEN, LISTEN, STEPS}, "POSTCOPY_LISTEN: it came before"},
		{{ADVISE, LISTEN, ACK, STEPS}, "SET_MEM_TABLE: 0 memory regions"},
		{{ADVISE, LISTEN, TABLE, TABLE, STEPS}, "SET_MEM_TABLE: before the post-copy"},
		{{ADVISE, LISTEN, TABLE, START, STEPS}, "SET_VRING_NUM: before the post-copy"},
		{{ADVISE, LISTEN, TABLE, END_, STEPS}, "POSTCOPY_END: before the post-copy"},
		{{ADVISE, LISTEN, TABLE, BAD_ACK, STEPS}, "table is refused with 0x1"},
		{{ADVISE, LISTEN, TABLE, LONG_ACK, STEPS}, "SET_MEM_TABLE: before the post-copy"},
		{{ADVISE, LISTEN, TABLE, ACK, LISTEN, STEPS}, "there is a memory table already"},
		{{ADVISE, LISTEN, TABLE, ACK, ADVISE, STEPS}, "is under way already"},
		{{ADVISE, LISTEN, TABLE, ACK, BAD_ACK, STEPS},
		 "SET_MEM_TABLE: payload of 8 bytes, not 40"},
	};
	unsigned i, j;

	if (!begin())
		return;
	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		/* by turns: a port doesn't log more than 20 lines in a second */
		struct fake_vm *vm = move_join(i % 2 ? "d" : "a", &plain);
		unsigned before = child_count(&vxsd, row[i].says);

		for (j = 0; vm && row[i].step[j + 1] != STEPS; j++)
			CU_ASSERT_TRUE(do_step(vm, row[i].step[j]));
		CU_ASSERT_FALSE(vm && do_step(vm, row[i].step[j]));
		CU_ASSERT_TRUE(fake_vm_hung_up(vm, VMS_WAIT));
		CU_ASSERT_EQUAL(child_count(&vxsd, row[i].says), before + 1);
		fake_vm_close(vm);
	}
	nothing_left();
	end();
}

/*
 * A migration that was over before it needed post-copy, and one that was told another table while
 * more pages of the first were asked for than the fetcher has threads.
 */
static void test_tables(void)
{
	const struct fake_vm_options large = {.ring_size = 2048};
	struct pollfd fault = {.events = POLLIN};
	uint64_t first;

	if (!begin())
		return;
	b = vms_join("b", &plain);
	m.vm = move_join("a", &plain);
	if (!b || !m.vm)
		goto out;
	CU_ASSERT_TRUE(do_step(m.vm, ADVISE));
	CU_ASSERT_EQUAL(fake_vm_share(m.vm), 0);
	CU_ASSERT_EQUAL(fake_vm_start(m.vm), 0);
	CU_ASSERT_TRUE(check_until(has_no_children, NULL, VMS_WAIT));
	all_arrive(m.vm, 'a', b, 'b', 0);
	fake_vm_close(m.vm);
	m.vm = move_join("a", &large);
	CU_ASSERT_TRUE_FATAL(move_begin(&m, m.vm, true));
	CU_ASSERT_EQUAL(fake_vm_sync(m.vm), 0);
	fault.fd = m.theirs;
	CU_ASSERT_EQUAL(poll(&fault, 1, VMS_WAIT), 1);
	first = m.base[0];
	CU_ASSERT_TRUE(move_table(m.vm, m.base));
	CU_ASSERT_NOT_EQUAL(m.base[0], first);
	CU_ASSERT_TRUE(move_ack(m.vm));
	move_hold(&m, false);
	all_arrive(m.vm, 'a', b, 'b', 0);
	CU_ASSERT_TRUE(move_end(&m));
	all_arrive(m.vm, 'a', b, 'b', 0);
out:
	end();
}

/* The fetcher has memory where the front-end has it, if there is room, and in whole pages. */
static void test_places(void)
{
	const struct fake_vm_options two = {.ring_size = 64, .regions = 2};
	const uint64_t odd[] = {0x1000, 0x7ffffffff000, 1ull << 63, -(64ull << 20), 0};
	uint64_t base[VHOST_USER_REGIONS_MAX], own, size;
	struct vhost_user_region *r;
	struct fake_vm *vm;
	unsigned i;

	if (!begin())
		return;
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		vm = move_join("a", &two);
		if (!vm)
			break;
		r = vm->memory.region;
		own = r[0].uva;
		size = r[0].size;
		CU_ASSERT_TRUE(do_step(vm, ADVISE) && do_step(vm, LISTEN));
		r[0].uva = odd[i] ? odd[i] : own - (1 << 30) - 8;
		CU_ASSERT_TRUE_FATAL(move_table(vm, base));
		CU_ASSERT_NOT_EQUAL(base[0], r[0].uva);
		CU_ASSERT(is_same_place(base[1], &r[1]));
		CU_ASSERT(base[0] + size <= base[1] || base[1] + r[1].size <= base[0]);
		CU_ASSERT_EQUAL(base[0] % 4096, 0);
		CU_ASSERT_TRUE(do_step(vm, ACK));
		fake_vm_close(vm);
	}
	nothing_left();
	end();
}

/* Again and again, broken off anywhere: nothing is left of it. */
static void test_often(void)
{
	static const enum step way[] = {ADVISE, LISTEN, TABLE, ACK, START, STEPS};
	unsigned i, j;

	if (!begin())
		return;
	for (i = 0; i < 100; i++) {
		struct fake_vm *vm = move_join("a", &plain);

		for (j = 0; vm && j < 1 + i % 5; j++)
			CU_ASSERT_TRUE(do_step(vm, way[j]));
		fake_vm_close(vm);
	}
	nothing_left();
	CU_ASSERT_TRUE(check_until(has_no_children, &fds, VMS_WAIT));
	end();
}

static bool has_asked(void *arg)
{
	return __atomic_load_n(&m.asked, __ATOMIC_RELAXED) >= *(unsigned *)arg;
}

/*
 * Behind an IOMMU, too, nothing waits; and the buffers are asked for before any frame wants them,
 * by the physical addresses that are behind those in the ring.
 */
static void ahead_of_frames(uint64_t features, unsigned pieces)
{
	struct fake_vm_options opt = {
		.ring_size = 64, .features = FAKE_VM_ALL | features, .recv = {pieces, pieces > 1}};
	/* 64 buffers of 2048 bytes; the fake VM has touched the first few pages itself */
	unsigned pages = 64 * 2048 / 4096;

	m.vm = move_join("a", &opt);
	if (!m.vm)
		return;
	CU_ASSERT_EQUAL(m.vm->features & features, features);
	CU_ASSERT_TRUE_FATAL(move_begin(&m, m.vm, false));
	CU_ASSERT_TRUE(check_until(has_asked, &pages, VMS_WAIT));
	move_free(&m);
	nothing_left();
	moves(&opt, true);
}

static void test_iommu(void)
{
	if (!begin())
		return;
	ahead_of_frames(0, 1);
	ahead_of_frames(MOVE_IOMMU, 1);
	ahead_of_frames(MOVE_IOMMU, 2);
	ahead_of_frames(MOVE_IOMMU | FAKE_VM_PACKED, 1);
	end();
}

/*
 * A lazy IOMMU takes back all that it has said, and says it again: the port rests meanwhile, and is
 * not said to have stopped each time.
 */
static void test_lazy(void)
{
	struct fake_vm_options opt = {.ring_size = 64, .features = FAKE_VM_ALL | MOVE_IOMMU};
	struct vhost_user_iotlb all = {.type = VHOST_USER_IOTLB_INVALIDATE};
	union vhost_user_payload reply = {.u64 = 1};
	unsigned i;

	if (!begin())
		return;
	m.vm = move_join("a", &opt);
	if (m.vm) {
		CU_ASSERT_TRUE_FATAL(move_begin(&m, m.vm, false));
		CU_ASSERT_TRUE(child_says(&vxsd, "running, 1 queue pair", VMS_WAIT));
		for (i = 0; i < 10; i++) {
			CU_ASSERT_EQUAL(fake_vm_message(m.vm, VHOST_USER_IOTLB_MSG, &all,
							sizeof(all), NULL, 0, &reply),
					0);
			CU_ASSERT_TRUE(move_iotlb(m.vm));
		}
		fake_vm_hang_up(m.vm);
		CU_ASSERT_TRUE(child_says(&vxsd, "disconnected", VMS_WAIT));
		CU_ASSERT_EQUAL(child_count(&vxsd, "a: running"), 1);
		CU_ASSERT_EQUAL(child_count(&vxsd, "a: stopped"), 0);
	}
	end();
}

static bool have_run(void *arg)
{
	return child_count(&vxsd, "a: running") == *(unsigned *)arg;
}

static bool have_stopped(void *arg)
{
	return child_count(&vxsd, "a: stopped") == *(unsigned *)arg;
}

/* Addresses that never come again, and a guest that ends meanwhile: the log says that it stopped.
 */
static void test_taken_back(void)
{
	struct fake_vm_options opt = {.ring_size = 64, .features = FAKE_VM_ALL | MOVE_IOMMU};
	struct vhost_user_iotlb all = {.type = VHOST_USER_IOTLB_INVALIDATE};
	union vhost_user_payload reply = {.u64 = 1};
	unsigned i, n;

	if (!begin())
		return;
	for (i = 0; i < 2; i++) {
		m.vm = move_join("a", &opt);
		if (!m.vm)
			break;
		CU_ASSERT_TRUE_FATAL(move_begin(&m, m.vm, false));
		n = i + 1;
		CU_ASSERT_TRUE(check_until(have_run, &n, VMS_WAIT));
		CU_ASSERT_EQUAL(fake_vm_message(m.vm, VHOST_USER_IOTLB_MSG, &all, sizeof(all), NULL,
						0, &reply),
				0);
		if (i)
			CU_ASSERT_EQUAL(fake_vm_stop(m.vm), 0);
		CU_ASSERT_TRUE(check_until(have_stopped, &n, VMS_WAIT));
		fake_vm_hang_up(m.vm);
		CU_ASSERT_TRUE(child_says(&vxsd, "disconnected", VMS_WAIT));
		move_free(&m);
	}
	end();
}

static void test_huge(void)
{
	const struct fake_vm_options opt = {.ring_size = 64, .huge = true};
	int fd;

	fd = memfd_create("try", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (fd < 0 || ftruncate(fd, 8 << 20) ||
	    mmap(NULL, 8 << 20, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) {
		check_skip("needs 4 huge pages of 2 MiB");
		return;
	}
	close(fd);
	if (!begin())
		return;
	moves(&opt, true);
	end();
}

static const struct check tests[] = {
	{"split", test_split},   {"packed", test_packed},
	{"never", test_never},   {"cut_short", test_cut_short},
	{"key", test_key},       {"order", test_order},
	{"tables", test_tables}, {"places", test_places},
	{"often", test_often},   {"iommu", test_iommu},
	{"lazy", test_lazy},     {"taken_back", test_taken_back},
	{"huge", test_huge},     {},
};

int main(int argc, char **argv)
{
	return check_main("postcopy", tests, argc, argv);
}
