/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Guest memory: which tables are taken, and where addresses lead. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "vm/vu_mem.h"

#define PAGE 4096ull
#define HUGE (2ull << 20)

static int memory(uint64_t size, unsigned flags)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | flags);

	if (fd >= 0 && ftruncate(fd, size) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void test_translate(void)
{
	/* two neighbours in the guest that are none here, and one far away, at an odd offset */
	struct vhost_user_memory table = {
		.n = 3,
		.region = {{0, 2 * PAGE, 0x10000, 0},
			   {2 * PAGE, PAGE, 0x40000, 4 * PAGE},
			   {UINT64_MAX - PAGE, 100, UINT64_MAX - PAGE, 5 * PAGE + 100}},
	};
	int fd = memory(8 * PAGE, 0), fds[3] = {fd, fd, fd};
	struct vu_cursor c = {0};
	struct vu_mem *mem = NULL;
	uint32_t len;
	uint8_t *p;

	CU_ASSERT_EQUAL_FATAL(vu_mem_new(&mem, &table, fds, 3), 0);
	pwrite(fd, "A", 1, 0);
	pwrite(fd, "B", 1, 4 * PAGE);
	pwrite(fd, "C", 1, 5 * PAGE + 100);
	close(fd);

	len = 10;
	p = vu_mem_gpa(mem, &c, 0, &len);
	CU_ASSERT_TRUE(p && *p == 'A' && len == 10);
	len = UINT32_MAX;
	p = vu_mem_gpa(mem, &c, 2 * PAGE - 16, &len);
	CU_ASSERT_TRUE(p && len == 16); /* the rest is somewhere else */
	len = 1;
	p = vu_mem_gpa(mem, &c, 2 * PAGE, &len);
	CU_ASSERT_TRUE(p && *p == 'B' && len == 1);
	len = 1;
	CU_ASSERT_PTR_NULL(vu_mem_gpa(mem, &c, 3 * PAGE, &len));
	len = 0;
	CU_ASSERT_PTR_NULL(vu_mem_gpa(mem, &c, 0, &len));
	len = 200;
	p = vu_mem_gpa(mem, &c, UINT64_MAX - PAGE, &len);
	CU_ASSERT_TRUE(p && *p == 'C' && len == 100);
	len = 1;
	CU_ASSERT_PTR_NULL(vu_mem_gpa(mem, &c, UINT64_MAX, &len));

	p = vu_mem_uva(mem, 0x10000, 2 * PAGE);
	CU_ASSERT_TRUE(p && *p == 'A');
	CU_ASSERT_PTR_NULL(vu_mem_uva(mem, 0x10000, 2 * PAGE + 1));
	CU_ASSERT_PTR_NULL(vu_mem_uva(mem, 0x10001, UINT64_MAX));
	CU_ASSERT_PTR_NULL(vu_mem_uva(mem, 0xffff, 1));
	CU_ASSERT_PTR_NULL(vu_mem_uva(mem, 0, 1));
	CU_ASSERT_PTR_NOT_NULL(vu_mem_uva(mem, UINT64_MAX - PAGE + 99, 1));
	CU_ASSERT_PTR_NULL(vu_mem_uva(mem, UINT64_MAX - PAGE + 99, 2));
	vu_mem_free(mem);
	vu_mem_free(NULL);
}

static void test_bad_tables(void)
{
	static const struct {
		const char *what;
		struct vhost_user_memory table;
		unsigned fds;
	} bad[] = {
		{"no region", {.n = 0}, 0},
		{"nine", {.n = 9}, 8},
		{"many", {.n = UINT32_MAX}, 1},
		{"no fd", {.n = 1, .region = {{0, PAGE, 0, 0}}}, 0},
		{"an fd more", {.n = 1, .region = {{0, PAGE, 0, 0}}}, 2},
		{"empty", {.n = 1, .region = {{0, 0, 0, 0}}}, 1},
		{"gpa wraps", {.n = 1, .region = {{-PAGE + 1, PAGE, 0, 0}}}, 1},
		{"uva wraps", {.n = 1, .region = {{0, PAGE, -PAGE + 1, 0}}}, 1},
		{"past the end", {.n = 1, .region = {{0, PAGE, 0, 8 * PAGE}}}, 1},
		{"a byte past", {.n = 1, .region = {{0, PAGE, 0, 7 * PAGE + 1}}}, 1},
		{"offset wraps", {.n = 1, .region = {{0, PAGE, 0, -PAGE}}}, 1},
		{"size wraps", {.n = 1, .region = {{0, -PAGE, 0, 2 * PAGE}}}, 1},
		{"gpa overlap",
		 {.n = 2, .region = {{0, 2 * PAGE, 0, 0}, {PAGE, PAGE, 8 * PAGE, 0}}},
		 2},
		{"uva overlap",
		 {.n = 2, .region = {{0, PAGE, PAGE, 0}, {PAGE, 2 * PAGE, 0, 0}}},
		 2},
		{"the second is bad",
		 {.n = 2, .region = {{0, PAGE, 0, 0}, {PAGE, PAGE, PAGE, 9 * PAGE}}},
		 2},
	};
	static const struct vhost_user_memory tiny = {.n = 1, .region = {{0, 16, 0, 0}}};
	int fd = memory(8 * PAGE, 0), fds[9], pipes[2];
	struct vu_mem *mem = (void *)1;
	unsigned i;

	for (i = 0; i < 9; i++)
		fds[i] = fd;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int ret = vu_mem_new(&mem, &bad[i].table, fds, bad[i].fds);

		if (ret != -EINVAL)
			printf("     %s: %d\n", bad[i].what, ret);
		CU_ASSERT_EQUAL(ret, -EINVAL);
		CU_ASSERT_PTR_EQUAL(mem, (void *)1);
	}
	/* what is no memory at all */
	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(vu_mem_new(&mem, &bad[3].table, &pipes[0], 1), -EMEDIUMTYPE);
	close(pipes[0]), close(pipes[1]);
	fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_EQUAL(vu_mem_new(&mem, &tiny, fds, 1), -EMEDIUMTYPE);
	close(fds[0]);
	fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a file, but on a disk */
	CU_ASSERT_EQUAL(vu_mem_new(&mem, &tiny, fds, 1), -EMEDIUMTYPE);
	close(fds[0]);
	fds[0] = -1;
	CU_ASSERT_EQUAL(vu_mem_new(&mem, &bad[3].table, fds, 1), -EBADF);
	close(fd);
}

/* Offsets and lengths that are no multiples of the huge page must map, and unmap. */
static void test_huge_pages(void)
{
	struct vhost_user_memory table = {
		.n = 2,
		.region = {{0, HUGE / 2, 0, 0}, {HUGE, PAGE, HUGE, HUGE / 2}},
	};
	struct vu_mem *mem = NULL;
	int fd = memory(HUGE, MFD_HUGETLB | MFD_HUGE_2MB), fds[2] = {fd, fd}, ret;
	void *at, *probe;

	if (fd < 0) {
		check_skip("no hugetlbfs");
		return;
	}
	ret = vu_mem_new(&mem, &table, fds, 2);
	close(fd);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
	CU_ASSERT_EQUAL(mem->region[0].map_len, HUGE);
	CU_ASSERT_PTR_EQUAL(mem->region[1].at, (uint8_t *)mem->region[1].map + HUGE / 2);
	at = mem->region[1].map;
	vu_mem_free(mem);
	/* it is gone: the place is free again */
	probe = mmap(at, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CU_ASSERT_PTR_EQUAL(probe, at);
	if (probe != MAP_FAILED)
		munmap(probe, PAGE);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"translate", test_translate},
		{"bad_tables", test_bad_tables},
		{"huge_pages", test_huge_pages},
		{NULL, NULL},
	};

	return check_main("vu_mem", tests, argc, argv);
}
