/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every message with anything in it: whatever comes, nothing of it stays, and the next one works.
 */
#include "vu_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>

/* Values at which counts, indexes, sizes and addresses go wrong. */
static const uint64_t odd[] = {
	0,
	1,
	2,
	3,
	0xff,
	0x100,
	0x101,
	0xffff,
	0x10000,
	0x10001,
	0x7fffffff,
	0x80000000,
	UINT32_MAX,
	0x100000000,
	0x100000001,
	INT64_MAX,
	1ull << 63,
	UINT64_MAX - 0x7ff,
	UINT64_MAX - 4095,
	UINT64_MAX,
	PEER_SIZE,
	PEER_MEM,
	PEER_MEM - 1,
	PEER_UVA,
	PEER_UVA + PEER_MEM,
	BIT30 | VERSION_1,
};

#define N_ODD (sizeof(odd) / sizeof(odd[0]))

/* Messages that are there without any feature, and the size of their payload. */
static const struct {
	uint32_t request, size, fds;
} plain[] = {
	{VHOST_USER_GET_FEATURES, 0, 0},
	{VHOST_USER_SET_FEATURES, 8, 0},
	{VHOST_USER_SET_OWNER, 0, 0},
	{VHOST_USER_RESET_OWNER, 0, 0},
	{VHOST_USER_SET_MEM_TABLE, 40, 1},
	{VHOST_USER_SET_VRING_NUM, 8, 0},
	{VHOST_USER_SET_VRING_ADDR, 40, 0},
	{VHOST_USER_SET_VRING_BASE, 8, 0},
	{VHOST_USER_GET_VRING_BASE, 8, 0},
	{VHOST_USER_SET_VRING_KICK, 8, 1},
	{VHOST_USER_SET_VRING_CALL, 8, 1},
	{VHOST_USER_SET_VRING_ERR, 8, 1},
	{VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0},
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0},
	{VHOST_USER_SET_VRING_ENABLE, 8, 0},
};

#define N_PLAIN (sizeof(plain) / sizeof(plain[0]))

static uint32_t mix = 1;

static uint32_t pick(uint32_t n)
{
	mix = mix * 1664525 + 1013904223;
	return (mix >> 8) % n;
}

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

static void drain(void)
{
	char bytes[4096];

	while (recv(t.fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* ---- the fuzzer ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_EXACT 0 /* they keep what was freed; leaks are theirs to find */
#define MESSAGES 3000
#else
#define IS_EXACT 1
#define MESSAGES 10000
#endif

struct left {
	unsigned fds, maps, guest_maps;
	size_t heap;
};

static struct left what_is_left(void)
{
	struct left l = {.fds = check_fds(), .guest_maps = count_maps()};
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	while (fgets(line, sizeof(line), f))
		l.maps++;
	fclose(f);
	l.heap = mallinfo2().uordblks;
	return l;
}

/* Payloads of every size that there is, mostly of such values, a bit of noise, and some sense. */
static uint32_t any_payload(uint8_t *bytes, uint32_t request)
{
	static const uint32_t sizes[] = {0, 4, 8, 12, 16, 24, 32, 40, 44, 72, 264, 268};
	uint32_t size = sizes[pick(sizeof(sizes) / sizeof(sizes[0]))], i;

	for (i = 0; i < N_PLAIN; i++)
		if (plain[i].request == request && pick(4))
			size = plain[i].size;
	for (i = 0; i + 8 <= 512; i += 8) {
		uint64_t value = pick(16) ? odd[pick(N_ODD)] : (uint64_t)pick(1 << 24) << pick(40);

		if (pick(2)) /* two words of 32 bits */
			value = (uint32_t)odd[pick(4)] | odd[pick(N_ODD)] << 32;
		memcpy(bytes + i, &value, 8);
	}
	if (request == VHOST_USER_SET_MEM_TABLE && pick(2))
		memcpy(bytes, &(struct vhost_user_memory){1, 0, {{0, PEER_MEM, PEER_UVA, 0}}}, 40);
	return size;
}

static void any_message(unsigned i, const int kinds[4])
{
	static const unsigned counts[] = {0, 1, 8, 9};
	uint32_t request = i / 4 % (VHOST_USER_REQUESTS + 2), size;
	unsigned n = counts[i % 4], k;
	uint8_t payload[512];
	int fd[9];

	if (i % 7 == 0)
		request = pick(2) ? VHOST_USER_SET_MEM_TABLE : VHOST_USER_SET_VRING_KICK;
	for (k = 0; k < n; k++)
		fd[k] = kinds[pick(4)];
	size = any_payload(payload, request);
	peer_send(request, pick(2) ? VHOST_USER_NEED_REPLY : 0, payload, size, fd, n);
	drain();
}

/* As one that knows us: all that is offered, and every other time rings that run. */
static void greet(unsigned i)
{
	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, peer_get(VHOST_USER_GET_PROTOCOL_FEATURES));
	if (i & 1)
		peer_start(2);
	drain();
}

static void test_any_message(void)
{
	int kinds[4], pipes[2];
	struct left was = {0}, is;
	unsigned i;

	peer_setup(1);
	CU_ASSERT_EQUAL_FATAL(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	kinds[0] = t.memory;
	kinds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kinds[2] = pipes[1];
	kinds[3] = pipes[0];
	for (i = 0; i < MESSAGES; i++) {
		if (t.fd < 0 || peer_is_closed())
			greet(i);
		any_message(i, kinds);
		if (i % 1000 != 999)
			continue;
		peer_hang_up();
		peer_pump();
		is = what_is_left();
		if (i == 999)
			was = is;
		CU_ASSERT_EQUAL(is.fds, was.fds);
		CU_ASSERT_EQUAL(is.guest_maps, 0);
		CU_ASSERT_FALSE(state().connected || t.vm->in[0] || t.vm->out[0]);
		if (IS_EXACT) {
			CU_ASSERT(is.maps <= was.maps + 2);
			CU_ASSERT(is.heap <= was.heap + 4096);
		}
	}
	/* and whoever comes next is served */
	peer_connect();
	peer_start(2);
	CU_ASSERT(state().running && !peer_is_closed());
	close(kinds[1]), close(pipes[0]), close(pipes[1]);
	peer_end();
}

/* ---- boundaries ---- */

/* What a request of a feature that wasn't negotiated comes to: as if there were none of its name.
 */
static void test_not_negotiated(void)
{
	static const uint32_t gated[] = {6,  7,  17, 19, 20, 21, 22, 23, 24, 25,
					 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
					 36, 37, 38, 39, 40, 41, 42, 43, 44, 45};
	uint8_t payload[64] = {0};
	unsigned i, size;

	peer_setup(1);
	for (i = 0; i < sizeof(gated) / sizeof(gated[0]); i++) {
		for (size = 0; size <= 40; size += 8) {
			peer_connect();
			peer_send(gated[i], 0, payload, size, &t.memory, size == 16);
			if (!peer_is_closed())
				printf("     request %u was carried out\n", gated[i]);
			CU_ASSERT(peer_is_closed());
			peer_connect();
			peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
				 FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK));
			peer_send(gated[i], VHOST_USER_NEED_REPLY, payload, size, NULL, 0);
			CU_ASSERT_EQUAL(peer_reply(gated[i], 8), 1);
			CU_ASSERT_FALSE(peer_is_closed());
		}
	}
	peer_end();
}

/* Each index that there isn't, in each message that has one. */
static void test_indexes(void)
{
	static const uint32_t in_u32[] = {VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
					  VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ENABLE,
					  VHOST_USER_SET_VRING_ADDR};
	unsigned i, k, fds;
	uint64_t value;

	peer_setup(2);
	peer_connect();
	fds = check_fds();
	for (i = 0; i < N_ODD; i++) {
		for (k = 0; k < 5; k++) {
			uint32_t payload[10] = {odd[i], 1};

			if (peer_is_closed())
				peer_connect();
			peer_send(in_u32[k], 0, payload,
				  in_u32[k] == VHOST_USER_SET_VRING_ADDR ? 40 : 8, NULL, 0);
			drain();
			CU_ASSERT_EQUAL(peer_is_closed(), (uint32_t)odd[i] >= 4);
		}
	}
	for (value = 0; value < 1024; value++) {
		for (k = 0; k < 3; k++) {
			if (peer_is_closed())
				peer_connect();
			close(peer_eventfd(VHOST_USER_SET_VRING_KICK + k, value));
			CU_ASSERT_EQUAL(peer_is_closed(), (value & 0xff) >= 4 || value >> 9);
		}
	}
	peer_connect();
	CU_ASSERT_EQUAL(check_fds(), fds);
	peer_end();
}

/* One byte too few, one too many, none, and as many as there may be. */
static void test_sizes(void)
{
	uint8_t payload[4096] = {0};
	unsigned i, k;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	peer_setup(1);
	for (i = 0; i < N_PLAIN; i++) {
		const uint32_t sizes[] = {plain[i].size - 1, plain[i].size + 1, 0, 4, 4096};
		int fd = plain[i].request == VHOST_USER_SET_MEM_TABLE ? t.memory : event;

		for (k = 0; k < 5; k++) {
			if (sizes[k] == plain[i].size || sizes[k] > 4096)
				continue;
			peer_connect();
			payload[0] = plain[i].request == VHOST_USER_SET_MEM_TABLE;
			payload[17] = 0x10;
			peer_send(plain[i].request, 0, payload, sizes[k], &fd, plain[i].fds);
			if (!peer_is_closed())
				printf("     request %u with %u bytes\n", plain[i].request,
				       sizes[k]);
			CU_ASSERT(peer_is_closed());
		}
	}
	close(event);
	peer_end();
}

/* The kernel hands out as many fds as there is room for, and says that it cut the list. */
static void test_fds_cut(void)
{
	struct vhost_user_memory table = {.n = 8};
	struct rlimit limit, low;
	int fd[9];
	unsigned i, fds;

	peer_setup(1);
	for (i = 0; i < 9; i++)
		fd[i] = t.memory;
	for (i = 0; i < 8; i++)
		table.region[i] = (struct vhost_user_region){4096 * i, 4096, 4096 * i, 4096 * i};
	peer_connect();
	fds = check_fds();
	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), fd, 8);
	CU_ASSERT_EQUAL(state().regions, 8);
	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), fd, 9);
	CU_ASSERT(peer_is_closed());
	peer_connect();
	CU_ASSERT_EQUAL(check_fds(), fds);
	/* vxsd can't have more, so that we don't know which ones are missing */
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = dup(t.memory);
	close(low.rlim_cur);
	low.rlim_cur += 4;
	setrlimit(RLIMIT_NOFILE, &low);
	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), fd, 8);
	setrlimit(RLIMIT_NOFILE, &limit);
	CU_ASSERT(peer_is_closed());
	CU_ASSERT(state().ended && strstr(state().ended, "too many file descriptors"));
	peer_connect();
	CU_ASSERT_EQUAL(check_fds(), fds);
	/* counts whose table would be of 40 bytes, if the sum were of 32 bits */
	table.n = 0x08000001;
	peer_send(VHOST_USER_SET_MEM_TABLE, 0, &table, 40, fd, 1);
	CU_ASSERT(peer_is_closed());
	peer_end();
}

/* As many queues as can be, and one more. */
static void test_most_queues(void)
{
	struct vm_options opt = {.name = "b", .queues = PORT_QUEUES_MAX + 1};
	struct vm *vm = NULL;
	uint32_t index;

	peer_setup(PORT_QUEUES_MAX);
	snprintf(opt.socket, sizeof(opt.socket), "%s/b.sock", t.dir);
	CU_ASSERT_EQUAL(vm_new(&vm, t.loop, &opt, VXS_PORT_VM + 1, &t.stats), -EINVAL);
	for (index = 254; index < 258; index++) {
		peer_connect();
		peer_state(VHOST_USER_SET_VRING_NUM, index, 256);
		CU_ASSERT_EQUAL(peer_is_closed(), index >= 2 * PORT_QUEUES_MAX);
	}
	peer_end();
}

/* ---- what a stopped ring was given is of no use any more ---- */

static bool runs(unsigned i)
{
	return i ? t.vm->in[0] : t.vm->out[0];
}

static void test_stopped_stays(void)
{
	unsigned i;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_NOT_EQUAL(peer_get_base(i), PEER_SILENCE);
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		CU_ASSERT_FALSE(runs(i));
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
		peer_state(VHOST_USER_SET_VRING_NUM, i, PEER_SIZE);
		peer_state(VHOST_USER_SET_VRING_BASE, i, 0);
		CU_ASSERT_FALSE(runs(i));
		peer_addr(i);
		CU_ASSERT(runs(i));
		/* the other way round: addresses, but no kick */
		peer_get_base(i);
		peer_addr(i);
		peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
		CU_ASSERT_FALSE(runs(i));
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
		CU_ASSERT(runs(i));
	}
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* ---- again and again ---- */

static void test_replaced_fds(void)
{
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	for (i = 0; i < 2; i++)
		close(peer_eventfd(VHOST_USER_SET_VRING_ERR, i));
	fds = check_fds();
	for (i = 0; i < 3000; i++)
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK + i % 3, i / 3 % 2));
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(state().running);
	for (i = 0; i < 6; i++)
		peer_u64(VHOST_USER_SET_VRING_KICK + i % 3, i / 3 | VHOST_USER_VRING_NOFD);
	CU_ASSERT_EQUAL(check_fds(), fds - 6);
	CU_ASSERT(state().running);
	peer_end();
}

static void test_replaced_memory(void)
{
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	fds = check_fds();
	for (i = 0; i < 300; i++)
		peer_memory_at(PEER_UVA);
	CU_ASSERT_EQUAL(count_maps(), 1);
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT(state().running);
	peer_end();
}

/* An eventfd that blocks, and is full: we may not wait for it. */
static void test_full_eventfds(void)
{
	uint64_t count = UINT64_MAX - 1, err = 1, call = 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	alarm(60);
	peer_setup(1);
	peer_connect();
	peer_start(2);
	CU_ASSERT_EQUAL(write(fd, &count, sizeof(count)), sizeof(count));
	peer_send(VHOST_USER_SET_VRING_ERR, 0, &err, sizeof(err), &fd, 1);
	peer_send(VHOST_USER_SET_VRING_CALL, 0, &call, sizeof(call), &fd, 1);
	fcntl(fd, F_SETFL, 0);
	CU_ASSERT_FATAL(t.vm->in[0] != NULL);
	t.vm->in[0]->broken = VQ_BAD_HEAD;
	vm_broken(t.vm);
	CU_ASSERT_FALSE(peer_is_closed());
	close(fd);
	peer_end();
	alarm(0);
}

/* ---- one that says far too much ---- */

/* What one VM says is for one turn of the loop no more than so much. */
static void test_many_messages(void)
{
	struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	unsigned i, answers = 0;
	char answer[20];

	peer_setup(1);
	peer_connect();
	for (i = 0; i < 100; i++)
		CU_ASSERT(peer_put(t.fd, &get, sizeof(get), NULL, 0));
	CU_ASSERT(loop_once(t.loop, 0) > 0);
	while (recv(t.fd, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer))
		answers++;
	CU_ASSERT(answers > 0 && answers <= 32);
	peer_pump();
	while (recv(t.fd, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer))
		answers++;
	CU_ASSERT_EQUAL(answers, 100);
	peer_end();
}

/* What stands in the place of an fd that didn't come is nothing that a handler may look at. */
static void test_fds_missing(void)
{
	static const struct {
		uint32_t request, size, protocol;
	} with[] = {
		{VHOST_USER_SET_MEM_TABLE, 40, VHOST_USER_PROTOCOL_F_MQ},
		{VHOST_USER_SET_LOG_BASE, 16, VHOST_USER_PROTOCOL_F_LOG_SHMFD},
		{VHOST_USER_SET_LOG_FD, 0, VHOST_USER_PROTOCOL_F_LOG_SHMFD},
		{VHOST_USER_SET_BACKEND_REQ_FD, 0, VHOST_USER_PROTOCOL_F_BACKEND_REQ},
		{VHOST_USER_SET_INFLIGHT_FD, 24, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD},
		{VHOST_USER_ADD_MEM_REG, 40, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS},
		{VHOST_USER_SET_DEVICE_STATE_FD, 8, VHOST_USER_PROTOCOL_F_DEVICE_STATE},
	};
	const uint32_t payload[10] = {1};
	struct vm_state s;
	unsigned i;

	peer_setup(1);
	for (i = 0; i < sizeof(with) / sizeof(with[0]); i++) {
		peer_connect();
		peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(with[i].protocol));
		peer_send(with[i].request, 0, payload, with[i].size, NULL, 0);
		CU_ASSERT(peer_is_closed());
		s = state();
		CU_ASSERT(s.ended && strstr(s.ended, "comes with 0 file descriptors"));
	}
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"any message", test_any_message},
		{"not negotiated", test_not_negotiated},
		{"indexes", test_indexes},
		{"sizes", test_sizes},
		{"fds cut", test_fds_cut},
		{"fds missing", test_fds_missing},
		{"most queues", test_most_queues},
		{"stopped stays stopped", test_stopped_stays},
		{"replaced eventfds", test_replaced_fds},
		{"replaced memory", test_replaced_memory},
		{"full eventfds", test_full_eventfds},
		{"many messages", test_many_messages},
		{NULL, NULL},
	};

	return check_main("vu_rows", tests, argc, argv);
}
