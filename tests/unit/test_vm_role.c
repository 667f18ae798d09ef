/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a front-end comes: vxsd as the client that calls it, and sockets that vxsd was given. */
#include <fcntl.h>

#include "vu_peer.h"

static int listener = -1; /* the front-end's */

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

static bool is_connected(void *arg)
{
	(void)arg;
	loop_once(t.loop, 10);
	return state().connected;
}

static bool is_noted(void *text)
{
	loop_once(t.loop, 10);
	return state().why_not && strstr(state().why_not, text);
}

static void begin_client(void)
{
	peer_setup_vm((struct vm_options){.name = "a", .queues = 1, .role = VM_CLIENT});
}

static void front_end_listens(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, t.socket);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
}

static void front_end_goes(void)
{
	close(listener);
	unlink(t.socket);
}

static void front_end_accepts(void)
{
	CU_ASSERT_FATAL(check_until(is_connected, NULL, 5000));
	t.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CU_ASSERT_FATAL(t.fd >= 0);
}

/* It is called until it answers, and again when it went; its socket's file is left alone. */
static void test_client(void)
{
	unsigned i, fds = 0;

	begin_client();
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "will be called in a moment"));
	CU_ASSERT(check_until(is_noted, "(No such file or directory)", 5000));
	CU_ASSERT_PTR_NULL(state().ended);
	for (i = 0; i < 3; i++) {
		front_end_listens();
		front_end_accepts();
		CU_ASSERT_EQUAL(state().peer_pid, getpid());
		CU_ASSERT_EQUAL(state().connections, i + 1);
		peer_start(2);
		CU_ASSERT(state().running);
		if (i == 1) { /* it stays, and only the connection ends: called again */
			peer_hang_up();
			peer_pump();
			CU_ASSERT_STRING_EQUAL(state().ended, "the front-end hung up");
			front_end_accepts();
			i++;
		}
		peer_hang_up();
		peer_pump();
		CU_ASSERT_FALSE(state().connected);
		close(listener); /* the file stays, nobody listens: as when it was killed */
		CU_ASSERT(check_until(is_noted, "(Connection refused)", 5000));
		if (!fds)
			fds = check_fds();
		CU_ASSERT_EQUAL(check_fds(), fds);
		CU_ASSERT_EQUAL(access(t.socket, F_OK), 0);
		front_end_goes();
	}
	peer_end();
}

/* vm_free() leaves the front-end's socket where it is. */
static void test_client_ends(void)
{
	begin_client();
	front_end_listens();
	front_end_accepts();
	vm_free(t.vm);
	t.vm = NULL;
	CU_ASSERT_EQUAL(access(t.socket, F_OK), 0);
	CU_ASSERT(peer_is_closed());
	front_end_goes();
	peer_end();
}

/* A front-end that is refused is called again, but not at once, and the log isn't flooded. */
static void test_client_refuses(void)
{
	unsigned i;

	begin_client();
	front_end_listens();
	for (i = 0; i < 3; i++) {
		front_end_accepts();
		peer_u64(VHOST_USER_SET_FEATURES, 4);
		CU_ASSERT(peer_is_closed());
		peer_hang_up();
		CU_ASSERT_FALSE(state().connected);
		CU_ASSERT_EQUAL(state().asked, 4);
		CU_ASSERT_STRING_EQUAL(state().ended,
				       "SET_FEATURES: features 0x4 were not offered");
		loop_once(t.loop, 0);
		CU_ASSERT_FALSE(state().connected);
	}
	front_end_goes();
	peer_end();
}

/* One line when it isn't there, and none again for the same reason. */
static void test_client_log(void)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char text[4096];
	unsigned lines = 0, i;
	ssize_t n;

	begin_client();
	log_set_level(LOG_INFO);
	dup2(log, STDERR_FILENO);
	CU_ASSERT(check_until(is_noted, "No such file", 5000));
	/* two more calls, as the clock has it: 500 ms apart */
	for (i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(loop_once(t.loop, 5000), 1);
	strcpy(a.sun_path, t.socket);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bind(listener, (struct sockaddr *)&a, sizeof(a));
	CU_ASSERT(check_until(is_noted, "refused", 5000));
	CU_ASSERT_EQUAL(loop_once(t.loop, 5000), 1);
	dup2(saved, STDERR_FILENO);
	n = pread(log, text, sizeof(text) - 1, 0);
	for (i = 0; n > 0 && i < n; i++)
		lines += text[i] == '\n';
	CU_ASSERT_EQUAL(lines, 2);
	close(saved), close(log);
	front_end_goes();
	peer_end();
}

/* The end of a pair that is connected already: when it goes, none can come again. */
static void test_given_connection(void)
{
	struct vm_options opt = {.name = "a", .queues = 1};
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	opt.fd = pair[0];
	peer_setup_vm(opt);
	t.fd = pair[1];
	CU_ASSERT(check_until(is_connected, NULL, 5000));
	CU_ASSERT_EQUAL(strncmp(state().socket, "fd ", 3), 0);
	peer_start(2);
	CU_ASSERT(state().running && !state().over);
	peer_hang_up();
	peer_pump();
	CU_ASSERT(state().over && !state().connected);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "has ended"));
	CU_ASSERT_EQUAL(loop_once(t.loop, 600), 0); /* nothing is tried again */
	peer_end();
}

/* One that listens is a server's, but its file isn't ours. */
static void test_given_listener(void)
{
	struct vm_options opt = {.name = "a", .queues = 1};
	char path[108], dir[] = "/tmp/vxs-given-XXXXXX";
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	strcpy(a.sun_path, path);
	opt.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CU_ASSERT_EQUAL_FATAL(bind(opt.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(opt.fd, 1), 0);
	peer_setup_vm(opt);
	CU_ASSERT_STRING_EQUAL(state().socket, path);
	strcpy(t.socket, path);
	peer_connect();
	peer_start(2);
	CU_ASSERT(state().running);
	peer_connect(); /* and again */
	peer_start(2);
	CU_ASSERT(state().running && !state().over);
	peer_hang_up();
	vm_free(t.vm);
	t.vm = NULL;
	CU_ASSERT_EQUAL(unlink(path), 0);
	rmdir(dir);
	peer_end();
}

static void test_given_wrong(void)
{
	struct vm_options opt = {.name = "a", .queues = 1};
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct vm *vm = NULL;

	dup2(null, STDERR_FILENO); /* the log line is expected */
	opt.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL(vm_new(&vm, NULL, &opt, VXS_PORT_VM, NULL), -ENOTCONN);
	close(opt.fd);
	CU_ASSERT_EQUAL(vm_new(&vm, NULL, &opt, VXS_PORT_VM, NULL), -EBADF);
	dup2(saved, STDERR_FILENO);
	close(saved), close(null);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"client", test_client},
		{"client_ends", test_client_ends},
		{"client_refuses", test_client_refuses},
		{"client_log", test_client_log},
		{"given_connection", test_given_connection},
		{"given_listener", test_given_listener},
		{"given_wrong", test_given_wrong},
		{NULL, NULL},
	};

	return check_main("vm_role", tests, argc, argv);
}
