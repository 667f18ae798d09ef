/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink under real workers: ports come and go while frames go through and back. Root. */

/*
 *   worker 0 ─ queue 0 ┐
 *                      ├ nic0 ═══ veth ═══ wire0 ── test: packet socket
 *   worker 2 ─ queue 1 ┘
 *
 * A port of the test's own sends all that comes for a VM back to the wire. Both workers transmit
 * through queue 0 (their numbers modulo two), so they meet at its lock.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "nic_lab.h"
#include "switch/rcu.h"

#define VM_FIRST 2
#define VMS      4
#define ROUNDS   30

static struct nic_lab *l;

static void mirror_out(struct port *p, struct worker *w, const struct batch *b,
		       const uint16_t *which, unsigned n)
{
	(void)p;
	nic_port(l->nic)->ops->out(nic_port(l->nic), w, b, which, n);
}

static const struct port_ops mirror_ops = {.out = mirror_out};
static struct port mirror[VMS];
static struct port_table table;
static struct worker *second;

static void start(void)
{
	struct port *p = nic_port(l->nic);
	struct worker *w[2] = {l->worker, second};
	unsigned i;

	for (i = 0; i < VMS; i++) {
		mirror[i] = (struct port){
			.ops = &mirror_ops, .id = VM_FIRST + i, .stats = &l->stats[VM_FIRST + i]};
		table.by_id[VM_FIRST + i] = &mirror[i];
	}
	table.by_id[VXS_PORT_UPLINK] = p;
	rcu_set(l->sw.ports, &table);
	for (i = 0; i < 2; i++) {
		struct sources *s = calloc(1, sizeof(*s) + sizeof(s->source[0]));

		s->n = 1;
		s->source[0] = (struct source){.port = p, .queue = i};
		p->worker[i] = w[i];
		w[i]->sources = s;
		w[i]->poll = i ? POLL_INTERRUPT : POLL_ADAPTIVE;
	}
	CU_ASSERT_EQUAL(nic_attach(l->nic), 0);
	CU_ASSERT_EQUAL(worker_start(w[0]), 0);
	CU_ASSERT_EQUAL(worker_start(w[1]), 0);
}

static uint64_t load(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* What both workers counted at the uplink. */
#define UPLINK(field)                                                                              \
	(load(&port_stats(nic_port(l->nic), l->worker)->field) +                                   \
	 load(&port_stats(nic_port(l->nic), second)->field))

/* Frames whose fate is known: sent back, or dropped for a reason that has a name. */
static uint64_t settled(void)
{
	uint64_t n = UPLINK(out_frames) + UPLINK(drops.no_destination) + UPLINK(drops.nic_full) +
		     UPLINK(drops.nic_down);
	unsigned i;

	nic_read_drops(l->nic);
	for (i = 0; i < VM_FIRST + VMS; i++) {
		const struct vxs_drops *d = &l->stats[i].drops;

		n += load(&d->socket_full) + load(&d->umem_empty) + load(&d->socket_error);
	}
	return n;
}

static bool all_settled(void *sent)
{
	return settled() >= *(uint64_t *)sent;
}

static void burst(uint32_t id, unsigned n, uint64_t *sent)
{
	uint8_t frame[100] = {2, 0, 0, 0, 0, id, 2, 0, 0, 0, 0, 0xee, 8, 0, 0x45, 0, 0, 28};
	unsigned i;

	frame[22] = 64;
	frame[23] = 17;
	for (i = 0; i < n; i++) {
		frame[35] = i; /* another flow, perhaps another queue */
		CU_ASSERT_EQUAL(send(l->wire_fd, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
	}
	*sent += n;
}

static void test_ports_under_traffic(void)
{
	uint64_t sent = 0;
	unsigned i, round;

	if (!nic_lab_enter()) {
		check_skip("needs root and network namespaces");
		return;
	}
	l = nic_lab_new(2);
	l->sw.fdb = fdb_new();
	CU_ASSERT_EQUAL_FATAL(worker_new(&second, 2, &l->sw), 0);
	CU_ASSERT_EQUAL_FATAL(nic_lab_open(l, false, false), 0);
	start();
	for (i = 0; i < VMS; i++) {
		nic_lab_learn(l, VM_FIRST + i);
		CU_ASSERT_EQUAL(nic_add_port(l->nic, VM_FIRST + i, &l->stats[VM_FIRST + i]), 0);
	}
	for (round = 0; round < ROUNDS; round++) {
		uint32_t id = VM_FIRST + round % VMS;

		/* What finds no socket passes to the host, so nothing is sent to the one deleted,
		 * but what was sent before may still be in its ring. */
		for (i = 0; i < VMS; i++)
			burst(VM_FIRST + i, 32, &sent);
		CU_ASSERT(check_until(all_settled, &sent, 5000));
		burst(id, 32, &sent);
		CU_ASSERT(check_until(all_settled, &sent, 5000));
		nic_del_port(l->nic, id);
		burst(VM_FIRST + (round + 1) % VMS, 32, &sent);
		CU_ASSERT_EQUAL(nic_add_port(l->nic, id, &l->stats[id]), 0);
		CU_ASSERT(check_until(all_settled, &sent, 5000));
	}
	CU_ASSERT_EQUAL(settled(), sent);
	worker_stop(second);
	worker_stop(l->worker);
	CU_ASSERT_EQUAL(UPLINK(out_frames), sent);
	CU_ASSERT(second->stats->sleeps > 0);
	nic_lab_receive(l, 0);
	nic_lab_close(l);
	free(l->worker->sources);
	free(second->sources);
	worker_free(second);
	fdb_free(l->sw.fdb);
	nic_lab_free(l);
}

static const struct check tests[] = {
	{"ports_under_traffic", test_ports_under_traffic},
	{},
};

int main(int argc, char **argv)
{
	return check_main("nic_threads", tests, argc, argv);
}
