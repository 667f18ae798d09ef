/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Busy polling of the uplink: its sockets, the settings of the NIC, frames, sleep. Root. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nic/nic_defer.h"
#include "nic_lab.h"

#define VM_A 2

static bool entered;

/* A lab with one queue and busy-poll=on, or NULL with the reason. */
static struct nic_lab *lab(void)
{
	struct nic_lab *l;

	if (!entered) {
		check_skip("needs root and network namespaces");
		return NULL;
	}
	l = nic_lab_new(1);
	l->opt.busy_poll = true;
	return l;
}

static void add_vm(struct nic_lab *l)
{
	CU_ASSERT_EQUAL_FATAL(nic_add_port(l->nic, VM_A, &l->stats[VM_A]), 0);
	nic_lab_learn(l, VM_A);
}

static void send_to_vm(struct nic_lab *l, unsigned n)
{
	uint8_t mac[6];

	nic_lab_mac(VM_A, mac);
	nic_lab_send(l, mac, n, 60, true);
}

/* /sys shows another namespace: a look through a mount of our own. */
static bool is_set(const char *name, const char *value)
{
	char command[256], line[32];

	snprintf(line, sizeof(line), "=%s=", value);
	snprintf(command, sizeof(command),
		 "unshare -m sh -c 'mount -t sysfs sys /sys && echo =$(cat /sys/class/net/" NIC
		 "/%s)='",
		 name);
	return nic_lab_says(command, line);
}

static void write_setting(const char *name, const char *value)
{
	CU_ASSERT_EQUAL(nic_lab_run("unshare -m sh -c 'mount -t sysfs sys /sys && echo %s "
				    ">/sys/class/net/" NIC "/%s'",
				    value, name),
			0);
}

static int prefers(int fd)
{
	socklen_t len = sizeof(int);
	int on = -1;

	CU_ASSERT_EQUAL(getsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, &len), 0);
	return on;
}

static void test_sockets(void)
{
	struct nic_lab *l = lab();
	struct nic_queue *q;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l);
	q = l->nic->queue[0];
	CU_ASSERT_EQUAL(prefers(q->trunk.fd), 1);
	CU_ASSERT_EQUAL(prefers(l->nic->vm[VM_A][0].fd), 1);
	CU_ASSERT_EQUAL(prefers(q->out_fd), 0);
	nic_lab_close(l);
	l->opt.busy_poll = false;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT_EQUAL(prefers(l->nic->queue[0]->trunk.fd), 0);
	CU_ASSERT_EQUAL(l->nic->queue[0]->busy_fd, -1);
	nic_lab_free(l);
}

/* Frames both ways, polled for where the driver can be polled. */
static void test_frames(void)
{
	struct nic_lab *l = lab();
	struct nic_state state;
	struct nic_queue *q;
	unsigned i;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l);
	q = l->nic->queue[0];
	nic_busy_look(l->nic);
	nic_state(l->nic, &state);
	CU_ASSERT_FALSE(state.busy_vain); /* no frames have come */
	for (i = 0; i < 3; i++) {
		send_to_vm(l, 100);
		CU_ASSERT_EQUAL(nic_lab_take(l), 100);
		nic_lab_out(l, BATCH_FRAMES, 60, false);
		CU_ASSERT_EQUAL(nic_lab_receive(l, BATCH_FRAMES), BATCH_FRAMES);
		nic_busy_look(l->nic);
	}
	nic_state(l->nic, &state);
	CU_ASSERT(state.busy_poll);
	CU_ASSERT_EQUAL(state.busy_vain, !state.busy_queues);
	if (state.busy_queues) {
		CU_ASSERT(state.busy_polls > 0);
		CU_ASSERT(is_set("napi_defer_hard_irqs", "2"));
	} else {
		printf("--- this kernel doesn't let a veth be polled: calls without effect\n");
		CU_ASSERT_EQUAL(state.busy_polls, 0);
		CU_ASSERT(is_set("napi_defer_hard_irqs", "0"));
		q->busy_fd = l->nic->vm[VM_A][0].fd;
		send_to_vm(l, 100);
		CU_ASSERT_EQUAL(nic_lab_take(l), 100);
		nic_state(l->nic, &state);
		CU_ASSERT(state.busy_polls > 0);
	}
	/* Not by a socket that is gone. */
	q->busy_fd = l->nic->vm[VM_A][0].fd;
	nic_del_port(l->nic, VM_A);
	CU_ASSERT_EQUAL(q->busy_fd, -1);
	nic_lab_close(l);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "0"));
	nic_lab_free(l);
}

/* Each frame that comes while the worker sleeps wakes it, with interrupts held back as well. */
static void test_sleep(void)
{
	struct nic_lab *l = lab();
	struct epoll_event e;
	struct port *p;
	unsigned i;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	add_vm(l);
	nic_set_defer(&l->nic->set);
	p = nic_port(l->nic);
	for (i = 0; i < 200; i++) {
		while (epoll_wait(l->worker->epoll_fd, &e, 1, 0) > 0)
			;
		if (p->ops->wait(p, l->worker, 0, true))
			CU_FAIL("work that nobody sent");
		send_to_vm(l, 1);
		CU_ASSERT_EQUAL(epoll_wait(l->worker->epoll_fd, &e, 1, 5000), 1);
		CU_ASSERT(p->ops->wait(p, l->worker, 0, true));
		p->ops->wait(p, l->worker, 0, false);
		CU_ASSERT_EQUAL(nic_lab_take(l), 1);
		nic_busy_look(l->nic);
	}
	nic_lab_free(l);
}

static void test_settings(void)
{
	struct nic_lab *l = lab();

	if (!l)
		return;
	CU_ASSERT_EQUAL(nic_defer_unset("nosuch0"), -ENOENT);
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_set_defer(&l->nic->set);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "2"));
	CU_ASSERT(is_set("gro_flush_timeout", "200000"));
	nic_lab_close(l);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "0"));
	CU_ASSERT(is_set("gro_flush_timeout", "0"));
	/* What the user has set stays, before and after; so does what he changes meanwhile. */
	write_setting("gro_flush_timeout", "50000");
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	nic_set_defer(&l->nic->set);
	CU_ASSERT(is_set("gro_flush_timeout", "50000"));
	CU_ASSERT(is_set("napi_defer_hard_irqs", "2"));
	write_setting("napi_defer_hard_irqs", "7");
	nic_lab_close(l);
	CU_ASSERT(is_set("gro_flush_timeout", "50000"));
	CU_ASSERT(is_set("napi_defer_hard_irqs", "7"));
	nic_lab_free(l);
}

/* Killed, and started again without busy polling. */
static void test_kill(void)
{
	struct nic_lab *l = lab();
	int ready[2], status;
	char byte;
	pid_t pid;

	if (!l)
		return;
	CU_ASSERT_EQUAL_FATAL(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		if (!nic_lab_open(l, false, true)) {
			nic_set_defer(&l->nic->set);
			if (write(ready[1], "x", 1) == 1)
				pause();
		}
		_exit(1);
	}
	close(ready[1]);
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "2"));
	l->opt.busy_poll = false;
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, true), 0);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "0"));
	CU_ASSERT(is_set("gro_flush_timeout", "0"));
	nic_lab_free(l);
}

/* The state file of a version that knew nothing of it, and of a NIC that isn't ours any more. */
static void test_state_file(void)
{
	struct nic_lab *l = lab();
	char ifname[IF_NAMESIZE];
	FILE *f;

	if (!l)
		return;
	f = fopen(l->state_file, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fprintf(f, NIC " rxvlan=1 lro=0\n");
	fclose(f);
	write_setting("napi_defer_hard_irqs", "2");
	CU_ASSERT(nic_set_restore(l->state_file, "", ifname) > 0);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "2"));
	f = fopen(l->state_file, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fprintf(f, NIC " rxvlan=0 lro=0 defer=%d\n", NIC_DEFER_IRQS);
	fclose(f);
	CU_ASSERT(nic_set_restore(l->state_file, "", ifname) > 0);
	CU_ASSERT(is_set("napi_defer_hard_irqs", "0"));
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"sockets", test_sockets},
	{"frames", test_frames},
	{"sleep", test_sleep},
	{"settings", test_settings},
	{"kill", test_kill},
	{"state_file", test_state_file},
	{},
};

int main(int argc, char **argv)
{
	entered = nic_lab_enter();
	return check_main("nic_busy", tests, argc, argv);
}
