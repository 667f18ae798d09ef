/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Front-ends that pull what they gave away from under a worker's hands. */
#include "vu_peer.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <sys/wait.h>

#include "control/watchdog.h"
#include "switch/fdb.h"
#include "switch/switch.h"
#include "vm/vu_mem.h"

static struct batch batch;

/* What a worker does with both queues of pair 0, in this thread. */
static void work(void)
{
	static const uint16_t which[] = {0};
	static const uint8_t bytes[200];
	struct port *p = &t.vm->port;

	if (p->ops->in(p, t.worker, 0, &batch))
		p->ops->done(p, t.worker, 0, &batch);
	p->ops->wait(p, t.worker, 0, true);
	p->ops->wait(p, t.worker, 0, false);
	batch.n = 1;
	batch.in_queue = 0;
	batch.frame[0] =
		(struct frame){.len = 232, .shape = {.n_pieces = 1, .head_len = FRAME_HEAD}};
	batch.piece[0] = (struct piece){bytes, sizeof(bytes)};
	p->ops->out(p, t.worker, &batch, which, 1);
}

static bool is_connected(void)
{
	struct vm_state state;

	vm_state(t.vm, &state);
	return state.connected;
}

static bool is_broken(void *arg)
{
	struct vm_queue_state state;

	(void)arg;
	vm_queue_state(t.vm, 1, &state);
	return state.broken;
}

/* The worker has published the used index, and is about to call the guest. */
static bool is_taken(void *arg)
{
	(void)arg;
	return __atomic_load_n(&t.stats.drops.bad_source, __ATOMIC_RELAXED);
}

static void begin(void)
{
	peer_setup(1);
	peer_connect();
	peer_start(2);
	CU_ASSERT_FATAL(is_connected() && t.vm->in[0] && t.vm->out[0]);
	work();
	vm_broken(t.vm);
	CU_ASSERT(is_connected());
}

/* The memory file is cut short while rings run: that front-end goes, we stay, the next one works.
 */
static void test_memory_cut(void)
{
	unsigned maps;

	begin();
	CU_ASSERT_EQUAL(ftruncate(t.memory, 0), 0);
	work();
	work();
	vm_broken(t.vm);
	CU_ASSERT(!is_connected() && peer_is_closed());
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	CU_ASSERT_EQUAL(ftruncate(t.memory, PEER_MEM), 0);
	peer_connect();
	peer_start(2);
	work();
	vm_broken(t.vm);
	CU_ASSERT(is_connected() && t.vm->in[0] && t.vm->out[0]);
	maps = count_maps();
	CU_ASSERT_EQUAL(maps, 1);
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* Only its end is missing, where the buffers are. */
static void test_buffers_cut(void)
{
	uint8_t *memory;
	struct vring_desc *desc;
	struct vring_avail *avail;
	unsigned i;

	begin();
	memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	CU_ASSERT_FATAL(memory != MAP_FAILED);
	for (i = 0; i < 2; i++) {
		desc = (void *)(memory + i * PEER_RING);
		avail = (void *)(memory + i * PEER_RING + PEER_AVAIL);
		*desc = (struct vring_desc){
			.addr = PEER_MEM - 8192, .len = 1000, .flags = i ? 0 : VRING_DESC_F_WRITE};
		avail->idx = 1;
	}
	CU_ASSERT_EQUAL(ftruncate(t.memory, PEER_MEM / 2), 0);
	work();
	vm_broken(t.vm);
	CU_ASSERT(!is_connected());
	munmap(memory, PEER_MEM);
	peer_end();
}

/* Cut before the rings are looked at for the first time, by control. */
static void test_cut_before_start(void)
{
	peer_setup(1);
	peer_connect();
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1);
	peer_memory_at(PEER_UVA);
	CU_ASSERT_EQUAL(ftruncate(t.memory, 0), 0);
	peer_ring_but_kick(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	vm_broken(t.vm);
	CU_ASSERT(!is_connected());
	peer_end();
}

/* Only guest memory is special. */
static void test_other_bus_errors(void)
{
	int status = 0;
	pid_t pid;
	char *at;

	begin();
	pid = fork();
	if (!pid) {
		int fd = memfd_create("other", MFD_CLOEXEC);

		at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		*(volatile char *)at = 1;
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	peer_end();
}

/*
 * A call eventfd that is full, and made to block after we got it: the worker comes free again, that
 * port is closed, and everything can end.
 */
static void block_worker(bool stop_ring)
{
	struct port_table ports = {.n = 0};
	struct vswitch sw = {.fdb = fdb_new(), .ports = &ports};
	struct sources *sources = calloc(1, sizeof(*sources) + sizeof(sources->source[0]));
	uint64_t one, count = UINT64_MAX - 1;
	struct watchdog *dog = NULL;
	struct vring_avail *avail;
	struct vm_state state;
	uint8_t *memory;
	int call;

	peer_setup(1);
	memset(&t.stats, 0, sizeof(t.stats));
	sources->n = 1;
	sources->source[0].port = &t.vm->port;
	t.worker->sw = &sw;
	t.worker->sources = sources;
	CU_ASSERT_EQUAL_FATAL(worker_start(t.worker), 0);
	CU_ASSERT_EQUAL_FATAL(watchdog_start(&dog, &t.worker, 1), 0);
	peer_connect();
	peer_start(2);
	call = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
	CU_ASSERT_FATAL(is_connected());
	fcntl(call, F_SETFL, 0);
	CU_ASSERT(read(call, &one, sizeof(one)) == sizeof(one)); /* it was signalled when set */
	CU_ASSERT_FATAL(write(call, &count, sizeof(count)) == sizeof(count));

	memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	CU_ASSERT_FATAL(memory != MAP_FAILED);
	avail = (void *)(memory + PEER_RING + PEER_AVAIL);
	*(struct vring_desc *)(memory + PEER_RING) =
		(struct vring_desc){.addr = 0x80000, .len = 72};
	__atomic_store_n(&avail->idx, 1, __ATOMIC_RELEASE);
	worker_wake(t.worker);
	CU_ASSERT(check_until(is_taken, NULL, 10000));
	if (stop_ring) { /* waits for the worker, and has the ring forget what was wrong */
		CU_ASSERT_EQUAL(peer_get_base(1), 1 | 1ull << 32);
	} else {
		CU_ASSERT(check_until(is_broken, NULL, 10000));
	}
	vm_broken(t.vm);
	CU_ASSERT(!is_connected() && peer_is_closed());
	peer_connect();
	vm_state(t.vm, &state);
	CU_ASSERT(!state.connected && state.why_not && !strncmp(state.why_not, "closed", 6));

	worker_stop(t.worker);
	watchdog_stop(dog);
	munmap(memory, PEER_MEM);
	close(call);
	peer_end();
	fdb_free(sw.fdb);
	free(sources);
}

static void test_call_blocks(void)
{
	block_worker(false);
}

static void test_call_blocks_and_stop(void)
{
	block_worker(true);
}

/* A queue without a kick fd keeps its worker awake, but not for ever when nothing can come of it.
 */
static void test_no_kick_and_broken(void)
{
	struct port *p;
	uint8_t *memory;

	begin();
	p = &t.vm->port;
	CU_ASSERT(!p->ops->wait(p, t.worker, 0, true));
	peer_u64(VHOST_USER_SET_VRING_KICK, 1 | VHOST_USER_VRING_NOFD);
	CU_ASSERT(p->ops->wait(p, t.worker, 0, true));
	peer_state(VHOST_USER_SET_VRING_NUM, 1, PEER_SIZE); /* started anew: it still has none */
	CU_ASSERT(p->ops->wait(p, t.worker, 0, true));
	memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	CU_ASSERT_FATAL(memory != MAP_FAILED);
	((struct vring_avail *)(memory + PEER_RING + PEER_AVAIL))->idx = 2 * PEER_SIZE;
	work();
	CU_ASSERT(is_broken(NULL));
	CU_ASSERT(!p->ops->wait(p, t.worker, 0, true));
	munmap(memory, PEER_MEM);
	peer_end();
}

static const struct check tests[] = {
	{"memory cut short", test_memory_cut},
	{"buffers cut off", test_buffers_cut},
	{"cut before start", test_cut_before_start},
	{"no kick, and broken", test_no_kick_and_broken},
	{"call eventfd blocks", test_call_blocks},
	{"call eventfd blocks, ring is stopped", test_call_blocks_and_stop},
	{"other bus errors kill", test_other_bus_errors},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	alarm(60);
	return check_main("bad_peer", tests, argc, argv);
}
