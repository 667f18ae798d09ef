/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* RCU as vxs uses it: control publishes pointers, and waits until no worker can see the old ones.
 */
#ifndef RCU_H
#define RCU_H

/*
 * liburcu's QSBR flavour: a worker is inside a read section all the time but at the end of each
 * round (rcu_quiet()) and while it sleeps (between rcu_away() and rcu_back()).
 *
 * The library synchronizes with fences that ThreadSanitizer doesn't see; the annotations tell it.
 */
#include <urcu-qsbr.h>

#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
extern char rcu_tsan;
#define RCU_TSAN_RELEASE() __tsan_release(&rcu_tsan)
#define RCU_TSAN_ACQUIRE() __tsan_acquire(&rcu_tsan)
#else
#define RCU_TSAN_RELEASE() ((void)0)
#define RCU_TSAN_ACQUIRE() ((void)0)
#endif

/* Worker: reads a pointer that control publishes. */
#define rcu_get(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
/* Control: publishes a pointer (or NULL). */
#define rcu_set(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

/* Worker: holds nothing that control published. */
static inline void rcu_quiet(void)
{
	RCU_TSAN_RELEASE();
	urcu_qsbr_quiescent_state();
}

static inline void rcu_away(void)
{
	RCU_TSAN_RELEASE();
	urcu_qsbr_thread_offline();
}

static inline void rcu_back(void)
{
	urcu_qsbr_thread_online();
}

/* Control: returns when every worker has been quiet since the call. */
static inline void rcu_wait(void)
{
	urcu_qsbr_synchronize_rcu();
	RCU_TSAN_ACQUIRE();
}

#endif
