/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: what it answers. */
#include <fcntl.h>
#include <sys/stat.h>

#include "ctl_rig.h"

static void test_status(void)
{
	struct json_object *reply, *ok, *worker;
	int fd = dial();

	reply = ask(fd, "{\"do\": \"status\"}");
	ok = member(reply, "ok");
	CU_ASSERT_STRING_EQUAL(text(ok, "name"), opt.name);
	CU_ASSERT_STRING_EQUAL(text(ok, "run_dir"), opt.run_dir);
	CU_ASSERT_STRING_EQUAL(text(ok, "version"), VXS_VERSION);
	CU_ASSERT_STRING_EQUAL(text(ok, "poll"), "adaptive");
	CU_ASSERT_EQUAL(json_object_get_int(member(ok, "idle_us")), 250);
	CU_ASSERT_EQUAL(d->worker[0]->idle_us, 250);
	CU_ASSERT_EQUAL(json_object_get_int(member(ok, "pid")), getpid());
	CU_ASSERT_EQUAL(json_object_get_int(member(ok, "ports")), 2);
	CU_ASSERT_EQUAL(json_object_array_length(member(ok, "workers")), 1);
	worker = json_object_array_get_idx(member(ok, "workers"), 0);
	CU_ASSERT_EQUAL(json_object_array_length(member(worker, "queues")), 0); /* none runs */
	CU_ASSERT_TRUE(json_object_object_get_ex(ok, "uplink", NULL));
	CU_ASSERT_PTR_NULL(member(ok, "uplink"));
	json_object_put(reply);
	close(fd);
}

static void test_ports(void)
{
	struct json_object *reply, *list, *p, *q;
	int fd = dial();

	reply = ask(fd, "{\"do\": \"ports\"}");
	list = member(reply, "ok");
	CU_ASSERT_EQUAL_FATAL(json_object_array_length(list), 2);
	p = json_object_array_get_idx(list, 0);
	CU_ASSERT_STRING_EQUAL(text(p, "name"), "a");
	CU_ASSERT_STRING_EQUAL(text(p, "kind"), "vm");
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "id")), VXS_PORT_VM);
	CU_ASSERT_PTR_NULL(member(p, "mac"));
	CU_ASSERT_FALSE(json_object_get_boolean(member(p, "up")));
	CU_ASSERT_TRUE(json_object_is_type(member(p, "why_not"), json_type_string));
	p = json_object_array_get_idx(list, 1);
	CU_ASSERT_STRING_EQUAL(text(p, "mac"), "52:54:00:00:00:0b");
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "pairs")), 2);
	CU_ASSERT_EQUAL(json_object_array_length(member(p, "queues")), 4);
	q = json_object_array_get_idx(member(p, "queues"), 3);
	CU_ASSERT_STRING_EQUAL(text(q, "direction"), "in");
	json_object_put(reply);

	reply = ask(fd, "{\"do\": \"ports\", \"port\": \"b\"}");
	CU_ASSERT_EQUAL(json_object_array_length(member(reply, "ok")), 1);
	json_object_put(reply);
	close(fd);
}

/* MTU and offloads of a port that nobody is connected to, and of all. */
static void test_offers(void)
{
	struct json_object *reply, *p;
	int fd = dial();

	reply = ask(fd, "{\"do\":\"port_add\",\"vm\":\"m,mtu=9000,offloads=none\"}");
	CU_ASSERT_PTR_NOT_NULL(member(reply, "ok"));
	json_object_put(reply);
	reply = ask(fd, "{\"do\": \"ports\", \"port\": \"m\"}");
	p = json_object_array_get_idx(member(reply, "ok"), 0);
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "mtu")), 9000);
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "mtu_option")), 9000);
	CU_ASSERT_PTR_NULL(member(p, "mtu_told"));
	CU_ASSERT_PTR_NULL(member(p, "mtu_uplink"));
	CU_ASSERT_STRING_EQUAL(text(p, "offloads"), "none");
	CU_ASSERT_STRING_EQUAL(
		json_object_get_string(json_object_array_get_idx(member(p, "offered"), 0)), "mtu");
	CU_ASSERT_EQUAL(json_object_array_length(member(p, "negotiated")), 0);
	CU_ASSERT_PTR_NULL(member(p, "ring"));
	json_object_put(reply);
	reply = ask(fd, "{\"do\": \"status\"}");
	p = member(member(reply, "ok"), "vm_mtus");
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "least")), 9000);
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "most")), 9000);
	CU_ASSERT_EQUAL(json_object_get_int(member(p, "over_uplink")), 0);
	json_object_put(reply);
	json_object_put(ask(fd, "{\"do\":\"port_del\",\"port\":\"m\"}"));
	reply = ask(fd, "{\"do\": \"status\"}");
	CU_ASSERT_PTR_NULL(member(member(member(reply, "ok"), "vm_mtus"), "most"));
	json_object_put(reply);
	close(fd);
}

static void test_fdb(void)
{
	struct json_object *reply, *list, *a;
	int fd = dial();

	reply = ask(fd, "{\"do\": \"fdb\"}");
	list = member(reply, "ok");
	CU_ASSERT_EQUAL_FATAL(json_object_array_length(list), 1);
	a = json_object_array_get_idx(list, 0);
	CU_ASSERT_STRING_EQUAL(text(a, "mac"), "52:54:00:00:00:0b");
	CU_ASSERT_STRING_EQUAL(text(a, "port"), "b");
	CU_ASSERT_STRING_EQUAL(text(a, "type"), "static");
	CU_ASSERT_PTR_NULL(member(a, "age"));
	json_object_put(reply);
	close(fd);
}

static void test_stats(void)
{
	struct vxs_port_stats *stats = tables_stats(d->tables, VXS_PORT_VM);
	struct json_object *reply, *s, *drops;
	int fd = dial();

	stats->in_bytes = 1ull << 40; /* more than 32 bits */
	stats->drops.queue_full = 12;
	reply = ask(fd, "{\"do\": \"stats\", \"port\": \"a\"}");
	s = json_object_array_get_idx(member(reply, "ok"), 0);
	drops = member(s, "drops");
	CU_ASSERT_EQUAL(json_object_get_int64(member(s, "in_bytes")), 1ll << 40);
	CU_ASSERT_EQUAL(json_object_get_int64(member(drops, "queue_full")), 12);
	CU_ASSERT_EQUAL((size_t)json_object_object_length(drops),
			sizeof(struct vxs_drops) / sizeof(__u64));
	json_object_put(reply);
	stats->in_bytes = stats->drops.queue_full = 0;
	close(fd);
}

/* All time is in one of three sums, also that of a sleep which isn't over. */
static void test_workers(void)
{
	struct vxs_worker_stats *stats = tables_worker_stats(d->tables, 0);
	struct json_object *reply, *w, *paths;
	int64_t sleep = 0, was;
	int fd = dial(), i;

	for (i = 0; i < 3; i++) {
		was = sleep;
		reply = ask(fd, "{\"do\": \"workers\"}");
		CU_ASSERT_EQUAL_FATAL(json_object_array_length(member(reply, "ok")), 1);
		w = json_object_array_get_idx(member(reply, "ok"), 0);
#define NUMBER(key) json_object_get_int64(member(w, key))
		sleep = NUMBER("sleep_cycles");
		CU_ASSERT_EQUAL(NUMBER("elapsed_cycles"),
				NUMBER("busy_cycles") + NUMBER("idle_cycles") + sleep);
		CU_ASSERT(NUMBER("elapsed_cycles") > 0);
		CU_ASSERT(NUMBER("cycles_per_second") > 1000000);
		CU_ASSERT(NUMBER("started") > 0);
		CU_ASSERT_EQUAL(NUMBER("frames"), 0);
		CU_ASSERT_EQUAL(NUMBER("busy_cycles"), 0);
		CU_ASSERT_PTR_NOT_NULL(member(w, "rounds"));
		CU_ASSERT(sleep >= was);
		paths = member(w, "paths");
		CU_ASSERT_EQUAL((size_t)json_object_object_length(paths),
				sizeof(struct vxs_paths) / sizeof(struct vxs_path_stats));
		json_object_put(reply);
	}
	/* nothing goes that way here, so nobody writes there but us */
	__atomic_store_n(&stats->paths.host_vm.cycles, 1ull << 40, __ATOMIC_RELAXED);
	__atomic_store_n(&stats->paths.host_vm.frames, 1ull << 41, __ATOMIC_RELAXED);
	reply = ask(fd, "{\"do\": \"workers\"}");
	w = json_object_array_get_idx(member(reply, "ok"), 0);
	CU_ASSERT_EQUAL(NUMBER("busy_cycles"), 1ll << 40);
	w = member(member(w, "paths"), "host_vm");
	CU_ASSERT_EQUAL(NUMBER("cycles"), 1ll << 40);
	CU_ASSERT_EQUAL(NUMBER("frames"), 1ll << 41);
#undef NUMBER
	json_object_put(reply);
	__atomic_store_n(&stats->paths.host_vm.cycles, 0, __ATOMIC_RELAXED);
	reply = ask(fd, "{\"do\": \"workers\", \"port\": \"a\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(text(reply, "error"), "takes no \"port\""));
	json_object_put(reply);
	close(fd);
}

static void test_add_del(void)
{
	struct json_object *reply;
	char socket[128];
	int fd = dial();

	snprintf(socket, sizeof(socket), "%s/c.sock", opt.run_dir);
	reply = ask(fd, "{\"do\":\"port_add\",\"vm\":\"c,mac=52:54:00:00:00:0c,mtu=9000\"}");
	CU_ASSERT_STRING_EQUAL(text(member(reply, "ok"), "name"), "c");
	CU_ASSERT_STRING_EQUAL(text(member(reply, "ok"), "socket"), socket);
	CU_ASSERT_EQUAL(access(socket, F_OK), 0);
	CU_ASSERT_TRUE(json_object_object_get_ex(member(reply, "ok"), "warning", NULL));
	CU_ASSERT_PTR_NULL(member(member(reply, "ok"), "warning")); /* there is no wire */
	json_object_put(reply);
	reply = ask(fd, "{\"do\":\"port_add\",\"vm\":\"c\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(text(reply, "error"), "there is one of this name"));
	json_object_put(reply);
	reply = ask(fd, "{\"do\":\"port_add\",\"vm\":\"e,mac=52:54:00:00:00:0c\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(text(reply, "error"), "is the address of c"));
	json_object_put(reply);
	reply = ask(fd, "{\"do\":\"port_del\",\"port\":\"c\"}");
	CU_ASSERT_STRING_EQUAL(text(member(reply, "ok"), "name"), "c");
	CU_ASSERT_EQUAL(access(socket, F_OK), -1);
	json_object_put(reply);
	expect_error(fd, "{\"do\":\"port_del\",\"port\":\"c\"}",
		     "c: no such port; see `vxsctl port show`");
	close(fd);
}

static void test_bad_requests(void)
{
	struct json_object *reply;
	int fd = dial();
	unsigned i;

	for (i = 0; i < N_BAD; i++)
		expect_error(fd, bad[i][0], bad[i][1]);
	/* a NUL byte in the middle of the line */
	CU_ASSERT_TRUE(say(fd, "{\"do\":\0\"status\"}\n", 17));
	free(hear(fd));
	/* and the connection still serves */
	reply = ask(fd, " {\"do\":\"status\"} \r");
	CU_ASSERT_PTR_NOT_NULL(member(reply, "ok"));
	json_object_put(reply);
	close(fd);
}

static void test_pieces(void)
{
	static const char three[] =
		"{\"do\":\"status\"}\n{\"do\":\"fdb\"}\n{\"do\":\"x\"}\n{\"do\":";
	static const char rest[] = "\"ports\"}\n";
	static const char *const wanted[] = {"\"run_dir\"", "\"vlan\"", "\"error\"", "\"kind\""};
	int fd = dial(), i;
	char *reply;

	/* several in one go are answered in their order */
	CU_ASSERT_TRUE(say(fd, three, strlen(three)));
	for (i = 0; i < 3; i++) {
		reply = hear(fd);
		CU_ASSERT_TRUE(reply && strstr(reply, wanted[i]));
		free(reply);
	}
	/* one that comes byte by byte */
	for (i = 0; rest[i]; i++) {
		CU_ASSERT_TRUE(say(fd, rest + i, 1));
		turn(2);
	}
	reply = hear(fd);
	CU_ASSERT_TRUE(reply && strstr(reply, wanted[3]));
	free(reply);
	/* a client that says it all and ends its side still gets its answers */
	CU_ASSERT_TRUE(say(fd, three, strlen(three)));
	shutdown(fd, SHUT_WR);
	for (i = 0; i < 3; i++) {
		reply = hear(fd);
		CU_ASSERT_TRUE(reply && strstr(reply, wanted[i]));
		free(reply);
	}
	CU_ASSERT_PTR_NULL(hear(fd));
	close(fd);
}

static void test_socket(void)
{
	char other[128];
	struct ctl *c = NULL;
	struct stat st;
	int fd;

	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	/* a second one in the place of a socket that nobody has any more */
	snprintf(other, sizeof(other), "%s/other", dir);
	CU_ASSERT_EQUAL(ctl_open(&c, d, other), 0);
	CU_ASSERT_EQUAL(link(other, path), -1);
	ctl_close(c);
	CU_ASSERT_EQUAL(access(other, F_OK), -1);
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	CU_ASSERT_EQUAL(ctl_open(&c, d, other), -EEXIST);
	CU_ASSERT_EQUAL(access(other, F_OK), 0); /* what is not ours stays */
	close(fd);
	unlink(other);
	ctl_close(NULL);
}

static const struct check tests[] = {
	{"status", test_status},
	{"ports", test_ports},
	{"offers", test_offers},
	{"fdb", test_fdb},
	{"stats", test_stats},
	{"workers", test_workers},
	{"add_del", test_add_del},
	{"bad_requests", test_bad_requests},
	{"pieces", test_pieces},
	{"socket", test_socket},
	{},
};

int main(int argc, char **argv)
{
	return ctl_main("ctl", tests, argc, argv);
}
