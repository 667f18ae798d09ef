/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A veth in a namespace of the test's own, and both roles around its ends. */
#include "nic_lab.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "check.h"

#define BURST    32 /* the kernel's queue between the ends of a veth holds 256 */
#define LIMIT_MS 5000

bool nic_lab_enter(void)
{
	return !unshare(CLONE_NEWNET) && !nic_lab_run("ip link set lo up");
}

int nic_lab_run(const char *format, ...)
{
	char command[256];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

bool nic_lab_says(const char *command, const char *text)
{
	static char out[1 << 16];
	FILE *f = popen(command, "r");
	size_t n;

	if (!f)
		return false;
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	pclose(f);
	return strstr(out, text) != NULL;
}

static int open_wire(void)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd, on = 1, size = 8 << 20;

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = if_nametoindex(WIRE);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

struct nic_lab *nic_lab_new(unsigned queues)
{
	LIBBPF_OPTS(bpf_map_create_opts, no_prealloc, .map_flags = BPF_F_NO_PREALLOC);
	struct nic_lab *l = aligned_alloc(64, (sizeof(*l) + 63) / 64 * 64);

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	memset(l, 0, sizeof(*l));
	l->queues = queues;
	strcpy(l->opt.ifname, NIC);
	snprintf(l->state_file, sizeof(l->state_file), "/tmp/nic-state.%d", getpid());
	nic_lab_run("ip link del " NIC " 2>/dev/null");
	CU_ASSERT_EQUAL_FATAL(nic_lab_run("ip link add " NIC " numrxqueues %u numtxqueues %u "
					  "type veth peer name " WIRE
					  " numrxqueues %u numtxqueues %u",
					  queues, queues, queues, queues),
			      0);
	/* The kernel's own chatter (IPv6, neighbours) would be counted among the frames. */
	nic_lab_run("ip link set " NIC " addrgenmode none arp off up");
	nic_lab_run("ip link set " WIRE " addrgenmode none arp off up");
	l->fdb_fd = bpf_map_create(BPF_MAP_TYPE_HASH, "fdb", sizeof(struct vxs_fdb_key),
				   sizeof(struct vxs_fdb_value), VXS_FDB_MAX, &no_prealloc);
	l->sockets_fd =
		bpf_map_create(BPF_MAP_TYPE_XSKMAP, "sockets", 4, 4, VXS_PORTS_MAX * queues, NULL);
	CU_ASSERT_FATAL(l->fdb_fd >= 0 && l->sockets_fd >= 0);
	l->wire_fd = open_wire();
	CU_ASSERT_EQUAL_FATAL(worker_new(&l->worker, 0, &l->sw), 0);
	return l;
}

void nic_lab_free(struct nic_lab *l)
{
	nic_lab_close(l);
	worker_free(l->worker);
	close(l->wire_fd);
	close(l->fdb_fd);
	close(l->sockets_fd);
	nic_lab_run("ip link del " NIC);
	free(l);
}

int nic_lab_open(struct nic_lab *l, bool host_share, bool attach)
{
	const struct nic_setup setup = {
		.opt = &l->opt,
		.host_share = host_share,
		.fdb_fd = l->fdb_fd,
		.sockets_fd = l->sockets_fd,
		.state_file = l->state_file,
		.trial = l->trial,
		.stats = &l->stats[VXS_PORT_UPLINK],
	};
	unsigned i;
	int err;

	err = nic_open(&l->nic, &setup);
	if (err)
		return err;
	for (i = 0; i < l->queues; i++)
		nic_port(l->nic)->worker[i] = l->worker;
	return attach ? nic_attach(l->nic) : 0;
}

void nic_lab_close(struct nic_lab *l)
{
	if (l->nic)
		nic_detach(l->nic);
	nic_free(l->nic);
	l->nic = NULL;
}

void nic_lab_vm(struct nic_lab *l, uint32_t id, unsigned queues, uint32_t takes)
{
	l->vm[id] = (struct port){.id = id, .kind = VXS_KIND_VM, .n_in = queues, .takes = takes};
	l->table.by_id[id] = &l->vm[id];
	l->sw.ports = &l->table;
	if (queues > 1)
		nic_want_hash(l->nic);
}

void nic_lab_mac(uint32_t id, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){2, 0, 0, 0, id >> 8, id}, 6);
}

void nic_lab_learn(struct nic_lab *l, uint32_t id)
{
	struct vxs_fdb_value value = {.port = id};
	struct vxs_fdb_key key = {};

	nic_lab_mac(id, key.mac);
	CU_ASSERT_EQUAL(bpf_map_update_elem(l->fdb_fd, &key, &value, BPF_ANY), 0);
}

/* An IPv4/UDP frame whose source port differs, so that the kernel spreads flows over queues. */
uint8_t nic_lab_byte(unsigned seq, unsigned i)
{
	static const uint8_t head[] = {0x08, 0x00, 0x45, 0,  0, 28, 0, 0,  0, 0, 64,
				       17,   0,    0,    10, 0, 0,  1, 10, 0, 0, 2};

	if (i < sizeof(head))
		return head[i];
	if (i < sizeof(head) + 2)
		return i == sizeof(head) ? seq >> 8 & 0x3f : seq;
	return seq * 7 + i;
}

static void make(uint8_t *frame, const uint8_t *mac, unsigned seq, unsigned len)
{
	unsigned i;

	memset(frame, 0, 12);
	memcpy(frame, mac, 6);
	frame[6] = 2;
	frame[11] = 0xee;
	for (i = 12; i < len; i++)
		frame[i] = nic_lab_byte(seq, i - 12);
}

uint64_t nic_lab_landed(struct nic_lab *l)
{
	uint64_t n = 0;
	unsigned q, i;

	nic_read_drops(l->nic);
	for (i = 0; i < VXS_PORTS_MAX; i++) {
		const struct vxs_drops *d = &l->stats[i].drops;

		n += d->socket_full + d->umem_empty + d->socket_error;
		for (q = 0; q < l->queues && l->nic->vm[i]; q++)
			n += __atomic_load_n(l->nic->vm[i][q].in.producer, __ATOMIC_ACQUIRE);
	}
	for (q = 0; q < l->queues; q++)
		n += __atomic_load_n(l->nic->queue[q]->trunk.in.producer, __ATOMIC_ACQUIRE);
	return n;
}

unsigned nic_lab_parts(const struct nic_lab *l, unsigned len)
{
	unsigned room = l->nic->frame_size - UMEM_HEADROOM;

	return l->nic->sg ? (len + room - 1) / room : 1;
}

static bool all_landed(void *arg)
{
	struct nic_lab *l = arg;

	return nic_lab_landed(l) >= l->sent;
}

void nic_lab_send(struct nic_lab *l, const uint8_t mac[6], unsigned n, unsigned len, bool socket)
{
	uint8_t frame[NIC_LAB_FRAME];
	unsigned i;

	l->sent = nic_lab_landed(l);
	for (i = 0; i < n; i++) {
		make(frame, mac, i, len);
		CU_ASSERT_EQUAL(send(l->wire_fd, frame, len, 0), (ssize_t)len);
		l->sent += socket ? nic_lab_parts(l, len) : 0;
		if (socket && (i % BURST == BURST - 1 || i == n - 1))
			CU_ASSERT_FATAL(check_until(all_landed, l, LIMIT_MS));
	}
}

void nic_lab_send_raw(struct nic_lab *l, const void *frame, unsigned len)
{
	l->sent = nic_lab_landed(l) + nic_lab_parts(l, len);
	CU_ASSERT_EQUAL(send(l->wire_fd, frame, len, 0), (ssize_t)len);
	CU_ASSERT_FATAL(check_until(all_landed, l, LIMIT_MS));
}

unsigned nic_lab_join(const struct batch *b, const struct frame *f, uint8_t *to)
{
	unsigned i, at = f->shape.head_len;

	memcpy(to, f->head + f->shape.head_at, f->shape.head_len);
	for (i = 0; i < f->shape.n_pieces; i++) {
		memcpy(to + at, b->piece[f->piece + i].at, b->piece[f->piece + i].len);
		at += b->piece[f->piece + i].len;
	}
	return at;
}

static bool intact(const uint8_t *frame, unsigned len)
{
	unsigned seq = len > 35 ? frame[34] << 8 | frame[35] : 0, i;

	/* The low 14 bits of the sequence number are in the frame; the fill pattern has 8. */
	for (i = 12; i < len; i++)
		if (frame[i] != nic_lab_byte(seq, i - 12))
			return false;
	return true;
}

unsigned nic_lab_take(struct nic_lab *l)
{
	struct batch *b = &l->worker->batch;
	struct port *p = nic_port(l->nic);
	unsigned q, i, n = 0, idle;
	uint8_t frame[NIC_LAB_FRAME];

	for (q = 0; q < l->queues; q++) {
		for (idle = 0; idle < 2;) {
			idle = p->ops->in(p, l->worker, q, b) ? 0 : idle + 1;
			for (i = 0; i < b->n; i++) {
				const struct frame *f = &b->frame[i];

				CU_ASSERT_EQUAL(nic_lab_join(b, f, frame), f->len);
				CU_ASSERT(intact(frame, f->len));
				l->got[f->out == FRAME_PORT_NONE ? 0 : f->out]++;
			}
			n += b->n;
			p->ops->done(p, l->worker, q, b);
		}
	}
	return n;
}

void nic_lab_out(struct nic_lab *l, unsigned n, unsigned len, bool tag)
{
	static uint8_t data[BATCH_FRAMES][NIC_LAB_FRAME];
	struct batch *b = &l->worker->batch;
	struct port *p = nic_port(l->nic);
	uint16_t which[BATCH_FRAMES];
	uint8_t mac[6];
	unsigned i;

	nic_lab_mac(0xee, mac);
	b->n = n;
	b->n_pieces = 0;
	b->open = false;
	for (i = 0; i < n; i++) {
		struct frame *f = &b->frame[i];
		uint32_t rest = len > 20 ? len - 20 : 0, part = rest / 3;

		make(data[i], mac, i, len);
		if (tag)
			memcpy(data[i] + 12, (uint8_t[4]){0x81, 0, 0, 5}, 4);
		*f = (struct frame){.len = len, .shape = {.head_at = 4, .head_len = len - rest}};
		memcpy(f->head + 4, data[i], f->shape.head_len);
		f->piece = b->n_pieces;
		f->shape.n_pieces = rest ? 2 : 0;
		if (rest) {
			b->piece[b->n_pieces++] = (struct piece){data[i] + 20, part};
			b->piece[b->n_pieces++] = (struct piece){data[i] + 20 + part, rest - part};
		}
		which[i] = i;
	}
	p->ops->out(p, l->worker, b, which, n);
}

unsigned nic_lab_receive(struct nic_lab *l, unsigned n)
{
	struct pollfd p = {.fd = l->wire_fd, .events = POLLIN};
	uint8_t frame[NIC_LAB_FRAME];
	unsigned got = 0;
	ssize_t len;

	while (poll(&p, 1, got < n ? LIMIT_MS : 0) > 0) {
		len = recv(l->wire_fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (len < 14 || frame[5] != 0xee)
			continue;
		/* Of a tagged frame the kernel has taken the tag away, and the type with it. */
		CU_ASSERT(frame[12] != nic_lab_byte(0, 0) || intact(frame, len));
		got++;
	}
	return got;
}
