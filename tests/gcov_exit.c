/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For `make coverage` only: processes that leave by _exit() write down what they executed, too. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The linker puts these in place of the C library's (--wrap). A process that locks itself up must
 * not do so here, or it couldn't write; that the lock holds is for other builds to see.
 */
extern void __gcov_dump(void);
extern void __real__exit(int status) __attribute__((noreturn));
extern long __real_syscall(long number, ...);

void __wrap__exit(int status) __attribute__((noreturn));
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

void __wrap__exit(int status)
{
	static atomic_flag begun = ATOMIC_FLAG_INIT;

	while (atomic_flag_test_and_set(&begun)) /* another thread's exit ends this one, too */
		pause();
	/* who has become nobody may not write there, and tests read what he says of it */
	dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
	__gcov_dump();
	__real__exit(status);
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return number == SYS_seccomp ? 0 : __real_syscall(number, a, b, c, d, e, f);
}
