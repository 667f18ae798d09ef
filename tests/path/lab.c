/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Starts and ends the lab, and sends and receives frames at its ends. */
#include "lab.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_packet.h>

#include "check.h"

const uint8_t lab_broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

bool lab_open(struct lab *lab, unsigned queues, const char *words)
{
	return lab_open_mtu(lab, queues, words, 1500);
}

bool lab_open_mtu(struct lab *lab, unsigned queues, const char *words, unsigned mtu)
{
	int err;

	memset(lab, 0, sizeof(*lab));
	if (strstr(words, "--cpus 0,1") && sysconf(_SC_NPROCESSORS_CONF) < 2) {
		check_skip("needs two CPUs");
		return false;
	}
	err = net_open(&lab->net, queues);
	if (err == -EPERM) {
		check_skip("needs root");
		return false;
	}
	if (err) {
		printf("--- no namespaces: %s\n", strerror(-err));
		CU_FAIL("namespaces");
		return false;
	}
	net_run(lab->net.host, "ip link set " NET_NIC " mtu %u", mtu);
	net_run(lab->net.wire, "ip link set " NET_FAR " mtu %u", mtu);
	err = child_open(&lab->vxsd, "/run");
	if (err)
		goto err;
	lab->vxsd.net_ns = lab->net.host;
	err = child_start(&lab->vxsd, words);
	if (err)
		goto err;
	return true;
err:
	printf("--- vxsd %s did not start: %s\n", words, strerror(-err));
	CU_FAIL("vxsd did not start");
	child_close(&lab->vxsd);
	net_close(&lab->net);
	return false;
}

bool lab_full(struct lab *lab, unsigned queues, const char *words)
{
	if (!lab_open(lab, queues, words))
		return false;
	if (lab_vm(lab, "a", NULL) && lab_vm(lab, "b", NULL) && lab_wire(lab) && lab_host(lab) &&
	    lab_learn(lab))
		return true;
	CU_FAIL("not everybody is there");
	child_dump(&lab->vxsd);
	lab_close(lab);
	return false;
}

void lab_leave(struct end *e)
{
	fake_vm_close(e->vm);
	e->vm = NULL;
	if (e->sock >= 0)
		close(e->sock);
	e->sock = -1;
	inbox_close(&e->in);
}

void lab_close(struct lab *lab)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < lab->n_ends; i++)
		lab_leave(&lab->end[i]);
	if (lab->vxsd.pid > 0)
		ret = child_end(&lab->vxsd, SIGTERM);
	CU_ASSERT_EQUAL(ret, 0);
	if (ret)
		child_dump(&lab->vxsd);
	child_close(&lab->vxsd);
	net_close(&lab->net);
}

static struct end *new_end(struct lab *lab, enum end_kind kind)
{
	struct end *e;
	unsigned i;

	/* An end that left makes room. */
	for (i = 0; i < lab->n_ends; i++)
		if (!lab->end[i].vm && lab->end[i].sock < 0)
			break;
	if (i == LAB_ENDS)
		return NULL;
	e = &lab->end[i];
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->sock = -1;
	if (inbox_open(&e->in))
		return NULL;
	if (i == lab->n_ends)
		lab->n_ends++;
	return e;
}

struct end *lab_vm(struct lab *lab, const char *name, const struct fake_vm_options *opt)
{
	static const struct fake_vm_options none;
	struct end *e = new_end(lab, END_VM);
	struct fake_vm_options o = opt ? *opt : none;
	char path[128];
	unsigned i;
	int err;

	if (!e)
		return NULL;
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->mac[0] = 0x52;
	e->mac[1] = 0x54;
	for (i = 0; name[i]; i++)
		e->mac[2 + i % 4] ^= name[i] + (i / 4) * 17;
	snprintf(path, sizeof(path), "%s/%s.sock", lab->vxsd.run_dir, name);
	if (!o.socket)
		o.socket = path;
	if (!o.ring_size)
		o.ring_size = 1024;
	err = fake_vm_open(&e->vm, &o);
	if (err) {
		printf("--- VM %s did not start: %s\n", name, strerror(-err));
		child_dump(&lab->vxsd);
		lab_leave(e);
		return NULL;
	}
	return e;
}

static struct end *new_socket(struct lab *lab, enum end_kind kind, int ns, const char *ifname,
			      const uint8_t mac[6])
{
	struct end *e = new_end(lab, kind);

	if (!e)
		return NULL;
	memcpy(e->mac, mac, 6);
	snprintf(e->name, sizeof(e->name), "%s", kind == END_WIRE ? NET_NIC : "host");
	e->sock = net_packet(&lab->net, ns, ifname);
	if (e->sock < 0) {
		printf("--- no socket on %s: %s\n", ifname, strerror(-e->sock));
		lab_leave(e);
		return NULL;
	}
	return e;
}

struct end *lab_wire(struct lab *lab)
{
	return new_socket(lab, END_WIRE, lab->net.wire, NET_FAR, lab->net.far_mac);
}

struct end *lab_host(struct lab *lab)
{
	return new_socket(lab, END_HOST, lab->net.host, NET_NIC, lab->net.nic_mac);
}

int end_raw(struct lab *lab, struct end *e, const void *frame, size_t len)
{
	unsigned long long end = now_ms() + LAB_WAIT;
	int ret;

	for (;;) {
		if (e->kind == END_VM) {
			ret = fake_vm_send(e->vm, e->pair, frame, len);
		} else {
			ret = send(e->sock, frame, len, 0);
			ret = ret < 0 ? (errno == ENOBUFS ? -EAGAIN : -errno) : 0;
		}
		if (ret != -EAGAIN || now_ms() > end)
			break;
		lab_drain(lab);
	}
	if (ret)
		printf("--- %s could not send: %s %s\n", e->name, strerror(-ret),
		       e->vm ? fake_vm_error(e->vm) : "");
	else
		e->sent++;
	return ret;
}

int end_shoot(struct lab *lab, struct end *e, const struct shot *shot)
{
	static uint8_t frame[65536];
	struct mark m = {.vlan = shot->vlan, .flow = shot->flow, .seq = shot->seq};
	size_t len = shot->len ? shot->len : 64;

	memcpy(m.dst, shot->to ? shot->to : lab_broadcast, 6);
	memcpy(m.src, shot->from ? shot->from : e->mac, 6);
	mark_write(frame, len, &m);
	/* A flow stays on its pair, as with a guest: only so it stays in order. */
	if (e->spread)
		e->pair = shot->flow % e->vm->opt.pairs;
	return end_raw(lab, e, frame, len);
}

/* Puts the VLAN tag that the kernel took out back into the frame. */
static ssize_t restore_tag(struct msghdr *msg, uint8_t *frame, ssize_t n)
{
	struct tpacket_auxdata aux;
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID) || n < 12)
			continue;
		memmove(frame + 16, frame + 12, n - 12);
		frame[12] = 0x81;
		frame[13] = 0;
		frame[14] = aux.tp_vlan_tci >> 8;
		frame[15] = aux.tp_vlan_tci;
		return n + 4;
	}
	return n;
}

static ssize_t read_socket(int sock, uint8_t *frame, size_t size)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = {frame, size - 4};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(sock, &msg, 0);

	return n <= 0 ? 0 : restore_tag(&msg, frame, n);
}

static unsigned drain(struct end *e)
{
	static uint8_t frame[65536 + 64];
	unsigned n = 0, pair;
	ssize_t len;

	if (e->deaf)
		return 0;
	if (e->sock >= 0)
		for (; n < 512 && (len = read_socket(e->sock, frame, sizeof(frame))) > 0; n++)
			inbox_put(&e->in, frame, len);
	for (pair = 0; e->vm && pair < e->vm->opt.pairs; pair++) {
		while ((len = fake_vm_recv(e->vm, pair, frame, sizeof(frame))) > 0) {
			inbox_put(&e->in, frame, len);
			n++;
		}
		if (len < 0) {
			printf("--- VM %s: %s\n", e->name, fake_vm_error(e->vm));
			e->in.bad++;
		}
	}
	return n;
}

unsigned lab_drain(struct lab *lab)
{
	unsigned i, n = 0;

	for (i = 0; i < lab->n_ends; i++)
		n += drain(&lab->end[i]);
	return n;
}

/* Nothing was there: give the CPU to the switch for a moment. */
static void rest(void)
{
	struct timespec moment = {.tv_nsec = 50000};

	nanosleep(&moment, NULL);
}

bool lab_got(struct lab *lab, struct end *e, unsigned flow, unsigned n)
{
	unsigned long long end = now_ms() + LAB_WAIT;

	while (e->in.flow[flow] < n) {
		if (lab_drain(lab))
			continue;
		if (now_ms() > end) {
			printf("--- %s got %u of %u frames of flow %u\n", e->name, e->in.flow[flow],
			       n, flow);
			return false;
		}
		rest();
	}
	return true;
}

void lab_quiet(struct lab *lab, unsigned ms)
{
	unsigned long long end = now_ms() + ms;

	while (now_ms() < end) {
		if (lab_drain(lab))
			end = now_ms() + ms;
		else
			rest();
	}
}

void lab_clear(struct lab *lab)
{
	unsigned i;

	for (i = 0; i < lab->n_ends; i++)
		if (lab->end[i].in.seen)
			inbox_clear(&lab->end[i].in);
}

bool lab_clean(struct lab *lab)
{
	bool clean = true;
	unsigned i;

	for (i = 0; i < lab->n_ends; i++) {
		struct inbox *in = &lab->end[i].in;

		if (!in->seen || inbox_clean(in))
			continue;
		printf("--- %s got %u bad, %u twice, %u out of order (of %u)\n", lab->end[i].name,
		       in->bad, in->twice, in->swapped, in->n);
		clean = false;
	}
	return clean;
}
