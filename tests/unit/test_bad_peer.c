/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Front-ends that pull what they gave away from under a worker's hands. */
#include "vu_peer.h"

#include <sys/wait.h>

#include "vm/vu_mem.h"

static struct batch batch;

/* What a worker does with both queues of pair 0, in this thread. */
static void work(void)
{
	static const uint16_t which[] = {0};
	static const uint8_t bytes[200];
	struct port *p = &t.vm->port;

	if (p->ops->in(p, 0, &batch))
		p->ops->done(p, 0, &batch);
	p->ops->wait(p, 0, true);
	p->ops->wait(p, 0, false);
	batch.n = 1;
	batch.in_queue = 0;
	batch.frame[0] = (struct frame){.len = 232, .head_len = FRAME_HEAD, .n_pieces = 1};
	batch.piece[0] = (struct piece){bytes, sizeof(bytes)};
	p->ops->out(p, t.worker, &batch, which, 1);
}

static bool is_connected(void)
{
	struct vm_state state;

	vm_state(t.vm, &state);
	return state.connected;
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

static const struct check tests[] = {
	{"memory cut short", test_memory_cut},
	{"buffers cut off", test_buffers_cut},
	{"cut before start", test_cut_before_start},
	{"other bus errors kill", test_other_bus_errors},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	alarm(60);
	return check_main("bad_peer", tests, argc, argv);
}
