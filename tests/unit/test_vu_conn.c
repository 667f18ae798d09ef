/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The vhost-user connection: pieces of messages, file descriptors, hang-ups, a second front-end. */
#include <fcntl.h>
#include <sys/stat.h>

#include "vu_peer.h"

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

static void test_byte_by_byte(void)
{
	struct vhost_user_header set = {VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, 40};
	struct vhost_user_memory memory = {.n = 1, .region = {{0, PEER_MEM, PEER_UVA, 0}}};
	struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	uint8_t stream[12 + 40 + 2 * 12], *at;

	peer_setup(1);
	peer_connect();
	memcpy(stream, &set, 12);
	memcpy(stream + 12, &memory, 40);
	memcpy(stream + 52, &get, 12);
	memcpy(stream + 64, &get, 12);
	for (at = stream; at < stream + sizeof(stream); at++) {
		CU_ASSERT_TRUE(peer_put(t.fd, at, 1, &t.memory, at == stream));
		peer_pump();
		CU_ASSERT_EQUAL(state().regions, at - stream >= 51);
	}
	CU_ASSERT_TRUE(peer_reply(VHOST_USER_GET_FEATURES, 8) != PEER_SILENCE);
	CU_ASSERT_TRUE(peer_reply(VHOST_USER_GET_FEATURES, 8) != PEER_SILENCE);
	/* the same in one piece */
	CU_ASSERT_TRUE(peer_put(t.fd, stream, sizeof(stream), &t.memory, 1));
	peer_pump();
	CU_ASSERT_TRUE(peer_reply(VHOST_USER_GET_FEATURES, 8) != PEER_SILENCE);
	CU_ASSERT_TRUE(peer_reply(VHOST_USER_GET_FEATURES, 8) != PEER_SILENCE);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* Half a message, then nothing: the loop goes on, and the hang-up ends it at every byte. */
static void test_hang_up_anywhere(void)
{
	uint8_t bytes[12 + 40] = {
		VHOST_USER_SET_VRING_ADDR, 0, 0, 0, VHOST_USER_VERSION, 0, 0, 0, 40};
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	peer_hang_up();
	peer_pump();
	fds = check_fds();
	for (i = 0; i <= sizeof(bytes); i++) {
		peer_connect();
		CU_ASSERT_TRUE(state().connected);
		if (i)
			peer_put(t.fd, bytes, i, &t.memory, 1);
		peer_pump();
		peer_hang_up();
		peer_pump();
		CU_ASSERT_FALSE(state().connected);
		CU_ASSERT_EQUAL(check_fds(), fds);
	}
	peer_end();
}

static void test_hang_up_at_each_step(void)
{
	unsigned step, i, fds;

	peer_setup(1);
	peer_connect();
	peer_hang_up();
	peer_pump();
	fds = check_fds();
	for (step = 0; step < 12; step++) {
		peer_connect();
		if (step > 0)
			peer_u64(VHOST_USER_SET_FEATURES, VERSION_1);
		if (step > 1)
			peer_memory_at(PEER_UVA);
		for (i = 0; i < 2; i++) {
			if (step > 2 + 4 * i)
				peer_ring_but_kick(i);
			if (step > 3 + 4 * i)
				close(peer_eventfd(VHOST_USER_SET_VRING_CALL, i));
			if (step > 4 + 4 * i)
				close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
			if (step > 5 + 4 * i)
				close(peer_eventfd(VHOST_USER_SET_VRING_ERR, i));
		}
		CU_ASSERT_EQUAL(state().running, step > 8);
		CU_ASSERT_FALSE(peer_is_closed());
		peer_hang_up();
		peer_pump();
		CU_ASSERT_FALSE(state().connected || t.vm->in[0] || t.vm->out[0]);
		CU_ASSERT_EQUAL(t.vm->n_out, 0);
		CU_ASSERT_EQUAL(check_fds(), fds);
		CU_ASSERT_EQUAL(count_maps(), 0);
	}
	peer_end();
}

/* Every request with 0, 1, 8 and 9 fds, again and again: none stays, nor do mappings. */
static void test_fds_of_any_message(void)
{
	static const unsigned counts[] = {0, 1, 8, 9};
	unsigned i, fds = 0;
	uint8_t payload[40] = {0};
	int fd[9], event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	peer_setup(1);
	for (i = 0; i < 10000; i++) {
		uint32_t request = i / 4 % (VHOST_USER_REQUESTS + 2), size;
		unsigned j, n = counts[i % 4];

		if (t.fd < 0 || peer_is_closed())
			peer_connect();
		if (i % 3 == 0)
			peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(3));
		for (j = 0; j < n; j++)
			fd[j] = i & 64 ? event : t.memory;
		payload[0] = request == VHOST_USER_SET_MEM_TABLE; /* n, or the queue's index */
		payload[17] = 0x10;                               /* a region's size */
		size = request == VHOST_USER_SET_MEM_TABLE || request == VHOST_USER_SET_VRING_ADDR
			       ? 40
			       : 8;
		peer_send(request, i & 16 ? VHOST_USER_NEED_REPLY : 0, payload, size, fd, n);
		if (i % 1000 != 999)
			continue;
		peer_hang_up();
		peer_pump();
		if (i == 999) {
			fds = check_fds();
		}
		CU_ASSERT_EQUAL(check_fds(), fds);
		CU_ASSERT_EQUAL(count_maps(), 0);
	}
	close(event);
	peer_end();
}

/* fds anywhere but with a message's first byte, and replies or versions that aren't for us. */
static void test_bad_frames(void)
{
	struct vhost_user_header h = {VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8};
	static const struct vhost_user_header bad[] = {
		{VHOST_USER_GET_FEATURES, 0, 0},
		{VHOST_USER_GET_FEATURES, 2, 0},
		{VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_REPLY, 0},
		{VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 4097},
		{VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, UINT32_MAX},
		{VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, UINT32_MAX - 11},
	};
	unsigned i, fds;

	peer_setup(1);
	peer_connect();
	fds = check_fds();
	CU_ASSERT_TRUE(peer_put(t.fd, &h, 6, NULL, 0));
	peer_pump(); /* else the kernel hands both pieces out in one read */
	CU_ASSERT_TRUE(peer_put(t.fd, (char *)&h + 6, 6, &t.memory, 1));
	peer_pump();
	CU_ASSERT_TRUE(peer_is_closed());
	peer_connect();
	CU_ASSERT_TRUE(peer_put(t.fd, &h, sizeof(h), NULL, 0));
	CU_ASSERT_TRUE(peer_put(t.fd, &h, 1, &t.memory, 1));
	peer_pump();
	CU_ASSERT_TRUE(peer_is_closed());
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		peer_connect();
		CU_ASSERT_EQUAL(check_fds(), fds);
		CU_ASSERT_TRUE(peer_put(t.fd, &bad[i], sizeof(bad[i]), NULL, 0));
		peer_pump();
		CU_ASSERT_TRUE(peer_is_closed());
	}
	peer_end();
}

/* A peer that asks and never reads is closed when its socket is full; the loop doesn't wait. */
static void test_unread_answers(void)
{
	struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	unsigned i;

	peer_setup(1);
	peer_connect();
	for (i = 0; i < 100000 && state().connected; i++) {
		peer_put(t.fd, &get, sizeof(get), NULL, 0);
		peer_pump();
	}
	CU_ASSERT_FALSE(state().connected);
	peer_connect();
	CU_ASSERT_TRUE(peer_get(VHOST_USER_GET_FEATURES) != PEER_SILENCE);
	peer_end();
}

/* The newest front-end wins, but only when it has spoken. */
static void test_second_connection(void)
{
	struct vhost_user_header get = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	int second, third;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	close(peer_dial());
	peer_pump();
	second = peer_dial();
	peer_pump();
	CU_ASSERT_TRUE(state().running && !peer_is_closed());
	third = peer_dial(); /* replaces the silent one */
	peer_pump();
	CU_ASSERT_TRUE(peer_is_closed_fd(second));
	peer_put(third, &get, 5, NULL, 0);
	peer_pump();
	CU_ASSERT_TRUE(state().running && !peer_is_closed());
	peer_put(third, (char *)&get + 5, sizeof(get) - 5, NULL, 0);
	peer_pump();
	CU_ASSERT_TRUE(peer_is_closed());
	CU_ASSERT_TRUE(state().connected && !state().running);
	CU_ASSERT_EQUAL(state().connections, 2);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	close(second);
	close(t.fd);
	t.fd = third;
	CU_ASSERT_TRUE(peer_reply(VHOST_USER_GET_FEATURES, 8) != PEER_SILENCE);
	peer_start(2);
	CU_ASSERT_TRUE(state().running);
	CU_ASSERT_EQUAL(t.changes, 4);
	peer_end();
}

static int new_vm(const char *path)
{
	struct vm_options opt = {.name = "b", .queues = 1};
	struct vm *vm = NULL;
	int ret, null = open("/dev/null", O_WRONLY), saved = dup(2);

	snprintf(opt.socket, sizeof(opt.socket), "%s", path);
	dup2(null, 2); /* the log line is expected */
	ret = vm_new(&vm, t.loop, &opt, VXS_PORT_VM + 1, &t.stats);
	dup2(saved, 2);
	close(null), close(saved);
	CU_ASSERT_TRUE(ret || vm);
	vm_free(vm);
	return ret;
}

static void test_socket_path(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char path[120];
	unsigned fds;
	int fd;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	fds = check_fds();
	CU_ASSERT_EQUAL(new_vm(t.socket), -EADDRINUSE);
	peer_pump();
	CU_ASSERT_TRUE(state().running); /* the probe did no harm */
	CU_ASSERT_EQUAL(access(t.socket, F_OK), 0);
	CU_ASSERT_EQUAL(new_vm(""), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(new_vm("/nonexistent/x.sock"), -ENOENT);
	CU_ASSERT_EQUAL(new_vm(t.dir), -EEXIST);
	snprintf(path, sizeof(path), "%s/file", t.dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	CU_ASSERT_EQUAL(new_vm(path), -EEXIST);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	unlink(path);
	/* a stale one is replaced */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/file", t.dir);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	CU_ASSERT_EQUAL(new_vm(path), 0);
	CU_ASSERT_TRUE(access(path, F_OK) < 0);
	CU_ASSERT_EQUAL(check_fds(), fds);
	peer_end();
}

/* A peer that errs, comes back and errs can't fill the log. */
static void test_log_flood(void)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	unsigned i, lines = 0;
	char text[65536];
	ssize_t n;

	peer_setup(1);
	log_set_level(LOG_INFO);
	dup2(log, STDERR_FILENO);
	for (i = 0; i < 1000; i++) {
		peer_connect();
		peer_u64(VHOST_USER_SET_FEATURES, 4);
	}
	dup2(saved, STDERR_FILENO);
	n = pread(log, text, sizeof(text) - 1, 0);
	for (i = 0; n > 0 && i < n; i++)
		lines += text[i] == '\n';
	CU_ASSERT_TRUE(lines >= 2 && lines < 40);
	text[n > 0 ? n : 0] = 0;
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "vm a: SET_FEATURES: features 0x4 were not offered; "
					    "connection closed\n"));
	close(saved), close(log);
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"byte_by_byte", test_byte_by_byte},
		{"hang_up_anywhere", test_hang_up_anywhere},
		{"hang_up_at_each_step", test_hang_up_at_each_step},
		{"fds_of_any_message", test_fds_of_any_message},
		{"bad_frames", test_bad_frames},
		{"unread_answers", test_unread_answers},
		{"second_connection", test_second_connection},
		{"socket_path", test_socket_path},
		{"log_flood", test_log_flood},
		{NULL, NULL},
	};

	return check_main("vu_conn", tests, argc, argv);
}
