/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsd as management tools start it for one VM: --fd, --socket-path, --print-capabilities. */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include <json-c/json.h>

#include "control/options.h"
#include "vms.h"

static int parse(struct options *opt, const char *words, char *err, size_t err_len)
{
	char copy[512], *argv[16] = {"vxsd"}, *rest = copy;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", words);
	while (argc < 15 && (argv[argc] = strsep(&rest, " ")))
		argc++;
	err[0] = '\0';
	return options_parse(opt, argc, argv, err, err_len);
}

static void refused(const char *words, const char *why)
{
	struct options opt;
	char err[512];

	CU_ASSERT_EQUAL(parse(&opt, words, err, sizeof(err)), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err, why);
	if (strcmp(err, why))
		printf("     says %s\n", err);
	options_free(&opt);
}

/* An open file that isn't a socket, or not one that a front-end can come by, is refused at once. */
static void test_refused(void)
{
	int file = dup(STDERR_FILENO), datagram = socket(AF_UNIX, SOCK_DGRAM, 0);
	char words[128], why[256];

	refused("--fd 2", "--fd 2: \"2\" is not a number from 3 to 1000000");
	refused("--fd 999999", "--vm vm0,fd=999999: Bad file descriptor: start vxsd with a Unix "
			       "stream socket");
	snprintf(words, sizeof(words), "--vm a,fd=%d", file);
	snprintf(why, sizeof(why),
		 "--vm a,fd=%d: Socket operation on non-socket: start vxsd with a Unix stream "
		 "socket",
		 file);
	refused(words, why);
	snprintf(words, sizeof(words), "--fd %d", datagram);
	snprintf(why, sizeof(why),
		 "--vm vm0,fd=%d: Protocol wrong type for socket: start vxsd with a Unix stream "
		 "socket",
		 datagram);
	refused(words, why);
	refused("--fd 9 --socket-path /x",
		"--socket-path /x: --fd was given, too: give one of them");
	refused("--socket-path /x --fd 9",
		"--fd 9: --socket-path was given, too: give one of them");
	refused("--socket-path /x --vm vm0",
		"--vm vm0: another VM has this name: take a different one");
	close(file);
	close(datagram);
}

/* Two that were started so don't meet, unless they were for one socket. */
static void test_names(void)
{
	struct options a, b;
	char err[512], name[32];
	int pair[2];

	CU_ASSERT_EQUAL(parse(&a, "--socket-path /tmp/a", err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(parse(&b, "--socket-path=/tmp/b --vm x", err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(strncmp(a.name, "vm-", 3), 0);
	CU_ASSERT_STRING_NOT_EQUAL(a.name, b.name);
	CU_ASSERT_STRING_NOT_EQUAL(a.run_dir, b.run_dir);
	CU_ASSERT_STRING_EQUAL(a.vm[0].socket, "/tmp/a");
	CU_ASSERT_STRING_EQUAL(a.vm[0].name, "vm0");
	CU_ASSERT_EQUAL(b.n_vms, 2);
	options_free(&b);
	CU_ASSERT_EQUAL(parse(&b, "--socket-path /tmp/a", err, sizeof(err)), 0);
	CU_ASSERT_STRING_EQUAL(a.name, b.name);
	options_free(&b);
	CU_ASSERT_EQUAL(parse(&b, "--socket-path /tmp/a --name n --run-dir /r", err, sizeof(err)),
			0);
	CU_ASSERT_STRING_EQUAL(b.name, "n");
	CU_ASSERT_STRING_EQUAL(b.run_dir, "/r");
	options_free(&b);
	options_free(&a);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(name, sizeof(name), "--fd %d", pair[0]);
	CU_ASSERT_EQUAL(parse(&a, name, err, sizeof(err)), 0);
	snprintf(name, sizeof(name), "vm-%d", getpid());
	CU_ASSERT_STRING_EQUAL(a.name, name);
	CU_ASSERT_EQUAL(a.vm[0].fd, pair[0]);
	options_free(&a);
	close(pair[0]);
	close(pair[1]);
}

/* Whatever else is said, and however wrong it is. */
static void test_capabilities(void)
{
	const char *vxsd_path = getenv("VXSD") ? getenv("VXSD") : "build/vxsd";
	char command[4096 + 64], text[256];
	struct json_object *o;
	FILE *p;
	size_t n;

	snprintf(command, sizeof(command), "%s --fd 1 --bogus x --print-capabilities --help",
		 vxsd_path);
	p = popen(command, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	n = fread(text, 1, sizeof(text) - 1, p);
	text[n] = '\0';
	CU_ASSERT_EQUAL(pclose(p), 0);
	o = json_tokener_parse(text);
	CU_ASSERT_STRING_EQUAL(json_object_get_string(vms_member(o, "type")), "net");
	json_object_put(o);
}

/* @words has a %d for @number, and maybe a %s for the test's own directory. */
__attribute__((format(printf, 1, 0))) static void start(const char *words, int number)
{
	char all[512];

	CU_ASSERT_EQUAL_FATAL(child_open(&vxsd, NULL), 0);
	snprintf(all, sizeof(all), words, number, vxsd.dir);
	CU_ASSERT_EQUAL_FATAL(child_start(&vxsd, all), 0);
}

static struct fake_vm *join(const char *path, int fd)
{
	struct fake_vm_options opt = {.socket = path, .fd = fd, .timeout_ms = VMS_WAIT};
	struct fake_vm *vm = NULL;

	CU_ASSERT_EQUAL(fake_vm_open(&vm, &opt), 0);
	return vm;
}

static void ends_by_itself(int status)
{
	CU_ASSERT_EQUAL(child_wait(&vxsd, VMS_WAIT), status);
	CU_ASSERT(access(vxsd.run_dir, F_OK) < 0);
	child_close(&vxsd);
}

/* A front-end at the other end of a pair: vxsd ends with it, in peace. */
static void test_connected(void)
{
	struct fake_vm *vm;
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fcntl(pair[1], F_SETFD, FD_CLOEXEC); /* or vxsd would hold both ends */
	start("--fd %d", pair[0]);
	close(pair[0]);
	vm = join(NULL, pair[1]);
	CU_ASSERT(child_says(&vxsd, "vm vm0: running, 1 queue pair", VMS_WAIT));
	CU_ASSERT_EQUAL(child_do(&vxsd, "qemu vm0"), 1);
	fake_vm_close(vm);
	ends_by_itself(0);
}

/* Not while there are other VMs; and SIGTERM ends it with the front-end there. */
static void test_connected_among_others(void)
{
	struct fake_vm *vm;
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fcntl(pair[1], F_SETFD, FD_CLOEXEC);
	start("--vm a,fd=%d --vm b", pair[0]);
	close(pair[0]);
	vm = join(NULL, pair[1]);
	CU_ASSERT(child_says(&vxsd, "vm a: running", VMS_WAIT));
	fake_vm_close(vm);
	CU_ASSERT(child_says(&vxsd, "vm a: front-end disconnected", VMS_WAIT));
	vm = vms_join("b", &(struct fake_vm_options){});
	CU_ASSERT_PTR_NOT_NULL(vm);
	CU_ASSERT_EQUAL(child_end(&vxsd, SIGTERM), 0);
	CU_ASSERT(fake_vm_hung_up(vm, VMS_WAIT));
	fake_vm_close(vm);
	child_close(&vxsd);
}

static void test_listening(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int i, fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/vxs-backend-%d", getpid());
	unlink(a.sun_path);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
	start("--fd=%d", fd);
	close(fd);
	for (i = 0; i < 2; i++)
		fake_vm_close(join(a.sun_path, 0));
	CU_ASSERT_EQUAL(child_do(&vxsd, "qemu vm0"), 0);
	CU_ASSERT_EQUAL(child_end(&vxsd, SIGTERM), 0);
	child_close(&vxsd);
	CU_ASSERT_EQUAL(unlink(a.sun_path), 0); /* it isn't vxsd's to remove */
}

static void test_socket_path(void)
{
	char path[128];
	int i;

	start("--ageing %d --socket-path %s/vm.sock", 1);
	snprintf(path, sizeof(path), "%s/vm.sock", vxsd.dir);
	for (i = 0; i < 2; i++) {
		fake_vm_close(join(path, 0));
		if (!i) { /* what a killed one left is no hindrance */
			char words[256];

			child_end(&vxsd, SIGKILL);
			snprintf(words, sizeof(words), "--socket-path %s", path);
			CU_ASSERT_EQUAL(child_start(&vxsd, words), 0);
		}
	}
	CU_ASSERT_EQUAL(child_end(&vxsd, SIGTERM), 0);
	CU_ASSERT(access(path, F_OK) < 0);
	child_close(&vxsd);
}

/* A client's socket isn't made, tidied or removed by vxsd, so it can't be in its directory. */
static void test_client_in_run_dir(void)
{
	char words[256];

	CU_ASSERT_EQUAL_FATAL(child_open(&vxsd, NULL), 0);
	CU_ASSERT_EQUAL(child_start(&vxsd, "--vm a"), 0);
	snprintf(words, sizeof(words), "port add b,role=client,socket=%s/b.sock", vxsd.run_dir);
	CU_ASSERT_EQUAL(child_do(&vxsd, words), 1);
	CU_ASSERT(child_says(&vxsd, "b.sock is in vxsd's own directory", VMS_WAIT));
	snprintf(words, sizeof(words), "port add b,role=client,socket=%s/b.sock", vxsd.dir);
	CU_ASSERT_EQUAL(child_do(&vxsd, words), 0);
	CU_ASSERT(child_says(&vxsd, "no front-end answers on", VMS_WAIT));
	CU_ASSERT_EQUAL(child_do(&vxsd, "port add c,fd=5"), 1);
	CU_ASSERT_EQUAL(child_end(&vxsd, SIGTERM), 0);
	child_close(&vxsd);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"refused", test_refused},
		{"names", test_names},
		{"capabilities", test_capabilities},
		{"connected", test_connected},
		{"connected_among_others", test_connected_among_others},
		{"listening", test_listening},
		{"socket_path", test_socket_path},
		{"client_in_run_dir", test_client_in_run_dir},
		{},
	};

	return check_main("backend", tests, argc, argv);
}
