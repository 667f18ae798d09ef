/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Clients of the control socket that say anything, to a whole daemon in our own loop. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/capability.h>

#include <json-c/json.h>

#include "control/ctl.h"
#include "control/daemon.h"
#include "fuzz/fuzz.h"
#include "vxs_ctl.h"

/*
 * Input: what a client sends, as it is, but for three bytes:
 *	0	it hangs up, and another one comes
 *	1	it pauses: the daemon reads what it has said so far
 *	2	the other client goes on; there are two
 *
 * Nothing leaves this process: without capabilities there is no BPF, and ports' sockets lie in the
 * run directory whatever socket= says (the linker puts our daemon_add_vm() before the real one).
 */
#define CLIENTS   2
#define REPLY_MAX (1u << 20)
#define TURNS_MAX 8192 /* of the loop; a client has one request answered in each */
#define ASKS_MAX  200  /* requests of one input: more would be slow, and show nothing new */

int __real_daemon_add_vm(struct daemon *d, const struct vm_options *vm, char *err, size_t size);
int __wrap_daemon_add_vm(struct daemon *d, const struct vm_options *vm, char *err, size_t size);

struct client {
	int fd;
	size_t line;    /* bytes of the request that it has begun */
	unsigned asked; /* requests that wait for their reply */
	bool too_long;  /* it was told so, and is hung up on */
	size_t have;
	char reply[REPLY_MAX];
};

static struct {
	struct options opt;
	struct daemon *d;
	char dir[64], run_dir[80];
	struct sockaddr_un address;
	struct client client[CLIENTS];
	unsigned asked;
	int next_fd; /* the lowest free file descriptor: it shows leaks */
} f;

int __wrap_daemon_add_vm(struct daemon *d, const struct vm_options *vm, char *err, size_t size)
{
	struct vm_options inside = *vm;

	inside.socket[0] = '\0';
	return __real_daemon_add_vm(d, &inside, err, size);
}

static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	FUZZ_CHECK(!syscall(SYS_capset, &head, none));
}

static void clean_up(void)
{
	daemon_close(f.d);
	options_free(&f.opt);
	rmdir(f.dir);
}

static void set_up(void)
{
	char *argv[] = {"vxsd",
			"--name",
			"fuzz",
			"--run-dir",
			f.run_dir,
			"--poll",
			"interrupt",
			"--log-level",
			"error",
			"--vm",
			"a",
			"--vm",
			"b,mac=52:54:00:00:00:0b,queues=2"};
	char err[256] = "";
	unsigned i;

	if (f.d)
		return;
	drop_capabilities();
	strcpy(f.dir, "/tmp/vxs-fuzz-XXXXXX");
	FUZZ_CHECK(mkdtemp(f.dir));
	snprintf(f.run_dir, sizeof(f.run_dir), "%s/run", f.dir);
	FUZZ_CHECK(!options_parse(&f.opt, sizeof(argv) / sizeof(argv[0]), argv, err, sizeof(err)));
	log_set_level(LOG_ERROR);
	FUZZ_CHECK(!daemon_open(&f.d, &f.opt));
	atexit(clean_up);
	f.address.sun_family = AF_UNIX;
	snprintf(f.address.sun_path, sizeof(f.address.sun_path), "%s/" VXS_CTL_SOCKET, f.run_dir);
	for (i = 0; i < CLIENTS; i++)
		f.client[i].fd = -1;
	log_set_level(LOG_ERROR);
}

static void hang_up(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void dial(struct client *c)
{
	hang_up(c);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(c->fd >= 0);
	FUZZ_CHECK(!connect(c->fd, (struct sockaddr *)&f.address, sizeof(f.address)) ||
		   errno == EAGAIN);
	c->line = c->have = 0;
	c->asked = 0;
	c->too_long = false;
	loop_once(f.d->loop, 0);
}

/* One reply: JSON, an object, that grants or says why not in one line. */
static void check_reply(const char *line)
{
	struct json_object *o = json_tokener_parse(line), *ok, *error;
	bool has_ok, has_error;
	const char *text;

	FUZZ_CHECK(o && json_object_is_type(o, json_type_object));
	has_ok = json_object_object_get_ex(o, "ok", &ok);
	has_error = json_object_object_get_ex(o, "error", &error);
	FUZZ_CHECK(has_ok != has_error);
	text = has_error ? json_object_get_string(error) : "x";
	FUZZ_CHECK(text && *text && !strchr(text, '\n'));
	json_object_put(o);
}

/* Takes what replies there are. */
static void hear(struct client *c)
{
	char *end;
	ssize_t n;

	while ((n = recv(c->fd, c->reply + c->have, REPLY_MAX - 1 - c->have, 0)) > 0) {
		c->have += n;
		c->reply[c->have] = '\0';
		while ((end = memchr(c->reply, '\n', c->have))) {
			*end = '\0';
			check_reply(c->reply);
			FUZZ_CHECK(c->asked || c->line >= VXS_CTL_LINE_MAX);
			if (c->asked)
				c->asked--;
			else
				c->too_long = true;
			c->have -= end + 1 - c->reply;
			memmove(c->reply, end + 1, c->have);
		}
	}
	/* only whoever said too much in one line is hung up on */
	FUZZ_CHECK(n || c->too_long);
}

static void turn(void)
{
	unsigned i, k, waiting = 1;

	for (i = 0; i < TURNS_MAX && waiting; i++) {
		loop_once(f.d->loop, 0);
		for (k = waiting = 0; k < CLIENTS; k++) {
			hear(&f.client[k]);
			waiting += f.client[k].asked;
		}
	}
	FUZZ_CHECK(!waiting);
}

static void say(struct client *c, const uint8_t *bytes, size_t n)
{
	size_t i;

	if (c->too_long || !n)
		return;
	if (send(c->fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
		return;
	for (i = 0; i < n && c->line < VXS_CTL_LINE_MAX; i++) {
		c->line++;
		if (bytes[i] != '\n')
			continue;
		c->line = 0;
		c->asked++;
		f.asked++;
	}
}

/* The ports that there were at the beginning, and no others. */
static void put_back(void)
{
	struct vm_options vm = {};
	char err[256];
	unsigned id;

	for (id = 0; id < VXS_PORTS_MAX; id++) {
		if (!f.d->vm[id])
			continue;
		FUZZ_CHECK(!daemon_del_vm(f.d, f.d->vm[id]->port.name, err, sizeof(err)));
	}
	FUZZ_CHECK(!options_parse_vm(&vm, "a", err, sizeof(err)));
	FUZZ_CHECK(!__real_daemon_add_vm(f.d, &vm, err, sizeof(err)));
	FUZZ_CHECK(!options_parse_vm(&vm, "b,mac=52:54:00:00:00:0b,queues=2", err, sizeof(err)));
	FUZZ_CHECK(!__real_daemon_add_vm(f.d, &vm, err, sizeof(err)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *from = data, *end = data + size;
	struct client *c;
	unsigned i;

	set_up();
	put_back();
	if (!f.next_fd)
		f.next_fd = next_fd();
	for (i = 0; i < CLIENTS; i++)
		dial(&f.client[i]);
	c = &f.client[0];
	for (f.asked = 0; data < end && f.asked < ASKS_MAX; data++) {
		if (*data > 2 && data - from < 2000)
			continue;
		say(c, from, data - from);
		from = *data > 2 ? data : data + 1;
		turn();
		if (*data == 0 || c->too_long)
			dial(c);
		else if (*data == 2)
			c = c == f.client ? f.client + 1 : f.client;
	}
	say(c, from, data - from);
	turn();
	for (i = 0; i < CLIENTS; i++)
		hang_up(&f.client[i]);
	for (i = 0; i < 3; i++)
		loop_once(f.d->loop, 0);
	put_back();
	FUZZ_CHECK(next_fd() == f.next_fd);
	return 0;
}
