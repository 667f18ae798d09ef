/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket under attack: no client can make the daemon wait, grow or fall. */
#include <malloc.h>

#include "ctl_rig.h"

static size_t heap(void)
{
	return mallinfo2().uordblks;
}

static void test_ten_thousand(void)
{
	int fd = -1, round, i;
	unsigned fds = 0;
	size_t used = 0;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < (round ? 10000 : 200); i++) {
			if (i % 50 == 0) {
				close(fd);
				fd = dial();
			}
			json_object_put(ask(fd, bad[i % N_BAD][0]));
		}
		close(fd);
		fd = -1;
		turn(3);
		if (!round) {
			fds = check_fds();
			used = heap();
		}
	}
	CU_ASSERT_EQUAL(check_fds(), fds);
	CU_ASSERT_TRUE(heap() <= used + 4096);
}

/* Requests with some bytes changed, always the same ones: each gets one reply, right or wrong. */
static void test_mutations(void)
{
	static const char *const seeds[] = {
		"{\"do\": \"status\"}", "{\"do\": \"ports\", \"port\": \"b\"}",
		"{\"do\":\"st\\u0061ts\",\"port\":null}", "{\"do\": [1, 2.5e3, {\"x\": true}]}"};
	unsigned i, k, good = 0, wrong = 0;
	struct json_object *reply;
	char request[64];
	uint32_t x = 1;
	int fd = dial();

	for (i = 0; i < 5000; i++) {
		strcpy(request, seeds[i % 4]);
		for (k = i / 4 % 4; k; k--) {
			x = x * 1664525 + 1013904223;
			request[(x >> 8) % strlen(seeds[i % 4])] = x >> 24 == '\n' ? 0x80 : x >> 24;
		}
		if (!say(fd, request, strlen(seeds[i % 4])) || !(reply = ask(fd, "")))
			break;
		good += !!member(reply, "ok");
		wrong += !!member(reply, "error");
		json_object_put(reply);
	}
	CU_ASSERT_EQUAL(good + wrong, 5000);
	CU_ASSERT_TRUE(good >= 625 && wrong > 1000); /* unchanged ones of the first two seeds */
	close(fd);
}

static void test_long_line(void)
{
	char line[VXS_CTL_LINE_MAX + 1];
	int fd = dial();
	char *reply;

	memset(line, ' ', sizeof(line));
	/* the longest that fits, its newline included */
	memcpy(line, "{\"do\":\"status\"}", 15);
	line[VXS_CTL_LINE_MAX - 1] = '\n';
	CU_ASSERT_TRUE(say(fd, line, VXS_CTL_LINE_MAX));
	reply = hear(fd);
	CU_ASSERT_TRUE(reply && strstr(reply, "\"ok\""));
	free(reply);
	/* one byte more: an error, and the connection ends */
	line[VXS_CTL_LINE_MAX - 1] = ' ';
	line[VXS_CTL_LINE_MAX] = '\n';
	CU_ASSERT_TRUE(say(fd, line, sizeof(line)));
	reply = hear(fd);
	CU_ASSERT_TRUE(reply && strstr(reply, "longer than 4096 bytes"));
	free(reply);
	CU_ASSERT_PTR_NULL(hear(fd));
	close(fd);
}

/* A client that asks and never reads: its replies and its requests stop, not the daemon. */
static void test_never_reads(void)
{
	static const char request[] = "{\"do\":\"stats\"}\n";
	struct json_object *reply;
	int fd = dial(), other = dial(), i;
	size_t sent = 0, used = heap();

	for (i = 0; i < 20000; i++) {
		sent += say(fd, request, strlen(request));
		loop_once(d->loop, 0);
	}
	CU_ASSERT_TRUE(sent < 20000); /* it was made to wait */
	CU_ASSERT_TRUE(heap() < used + 1024 * 1024);
	reply = ask(other, "{\"do\":\"status\"}");
	CU_ASSERT_PTR_NOT_NULL(member(reply, "ok"));
	json_object_put(reply);
	close(fd); /* in the middle of a reply */
	turn(5);
	reply = ask(other, "{\"do\":\"status\"}");
	CU_ASSERT_PTR_NOT_NULL(member(reply, "ok"));
	json_object_put(reply);
	close(other);
	turn(3);
}

/* Those who hold connections and say nothing lose them to those who come. */
static void test_many_clients(void)
{
	unsigned fds = check_fds(), i, held = 0;
	struct json_object *reply;
	int fd[3 * CTL_CLIENTS_MAX];
	char byte;

	for (i = 0; i < 3 * CTL_CLIENTS_MAX; i++) {
		fd[i] = dial();
		turn(2);
		reply = ask(fd[i], "{\"do\":\"status\"}");
		CU_ASSERT_PTR_NOT_NULL(member(reply, "ok"));
		json_object_put(reply);
	}
	for (i = 0; i < 3 * CTL_CLIENTS_MAX; i++)
		held += recv(fd[i], &byte, 1, 0) < 0 && errno == EAGAIN;
	CU_ASSERT_EQUAL(held, CTL_CLIENTS_MAX);
	for (i = 0; i < 3 * CTL_CLIENTS_MAX; i++)
		close(fd[i]);
	turn(2);
	CU_ASSERT_EQUAL(check_fds(), fds);
}

static const struct check tests[] = {
	{"ten_thousand", test_ten_thousand}, {"mutations", test_mutations},
	{"long_line", test_long_line},       {"never_reads", test_never_reads},
	{"many_clients", test_many_clients}, {},
};

int main(int argc, char **argv)
{
	return ctl_main("ctl_hostile", tests, argc, argv);
}
