/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The daemon starts, ends, is killed and starts again; the host's own traffic doesn't notice. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "check.h"
#include "lab.h"
#include "vxs_ctl.h"

#define WORDS "--uplink nic0 --vm a --vm b"

static struct lab lab;

enum { A, B, WIRE, HOST };

static struct end *at(unsigned i)
{
	return &lab.end[i];
}

/* ---- the host's own traffic: pings between the kernels of host and wire ---- */

struct ping {
	int sock;
	const char *to;
	unsigned seq, lost;
};

static bool open_ping(struct ping *p, int ns, const char *to)
{
	*p = (struct ping){.to = to};
	p->sock = net_socket(&lab.net, ns, AF_INET, SOCK_RAW, IPPROTO_ICMP);
	return p->sock >= 0;
}

static uint16_t sum(const void *data, size_t len)
{
	const uint16_t *at16 = data;
	uint32_t s = 0;

	for (; len > 1; len -= 2)
		s += *at16++;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s;
}

/* One echo; false if no answer came within @ms. */
static bool ping_once(struct ping *p, unsigned ms)
{
	struct {
		struct icmphdr h;
		uint8_t data[56];
	} echo = {.h = {.type = ICMP_ECHO}}, *reply;
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct pollfd fd = {.fd = p->sock, .events = POLLIN};
	uint8_t packet[256];
	ssize_t n;

	echo.h.un.echo.id = htons(getpid() & 0xffff);
	echo.h.un.echo.sequence = htons(++p->seq);
	echo.h.checksum = sum(&echo, sizeof(echo));
	inet_pton(AF_INET, p->to, &to.sin_addr);
	if (sendto(p->sock, &echo, sizeof(echo), 0, (struct sockaddr *)&to, sizeof(to)) < 0) {
		p->lost++;
		return false;
	}
	while (poll(&fd, 1, ms) > 0) {
		n = recv(p->sock, packet, sizeof(packet), 0);
		if (n < 20 + (ssize_t)sizeof(echo))
			continue;
		reply = (void *)(packet + 4 * (packet[0] & 15));
		if (reply->h.type == ICMP_ECHOREPLY && reply->h.un.echo.id == echo.h.un.echo.id &&
		    reply->h.un.echo.sequence == echo.h.un.echo.sequence)
			return true;
	}
	p->lost++;
	return false;
}

static void pings(struct ping p[2], unsigned n)
{
	while (n--) {
		ping_once(&p[0], 300);
		ping_once(&p[1], 300);
	}
}

/* ---- what vxsd must not leave behind ---- */

static void read_settings(char *text, size_t size)
{
	net_ask(lab.net.host, text, size,
		"ip -d link show " NET_NIC " | sed 's/ brd .*//; s/qdisc [a-z]* //; "
		"s/gso_[a-z0-9_]* [0-9]*//g; s/gro_[a-z0-9_]* [0-9]*//g; s/^[0-9]*: //'; "
		"ethtool -k " NET_NIC "; bridge fdb show dev " NET_NIC " 2>/dev/null; "
		"tc qdisc show dev " NET_NIC " clsact; tc filter show dev " NET_NIC " ingress; "
		"tc filter show dev " NET_NIC " egress; ip -br link | grep -v -e ^lo -e ^nic0");
}

/* No pins, no sockets, no TAP. */
static void check_nothing_left(struct child *c)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", VXS_PIN_DIR, c->name);
	CU_ASSERT(access(path, F_OK) && errno == ENOENT);
	snprintf(path, sizeof(path), "%s/ctl.sock", c->run_dir);
	CU_ASSERT(access(path, F_OK) && errno == ENOENT);
	snprintf(path, sizeof(path), "%s/a.sock", c->run_dir);
	CU_ASSERT(access(path, F_OK) && errno == ENOENT);
	CU_ASSERT_EQUAL(net_run(lab.net.host, "! ip -br link | grep -q vxs-"), 0);
	CU_ASSERT_EQUAL(net_run(lab.net.host, "! ip -d link show " NET_NIC " | grep -q prog/xdp"),
			0);
}

/* The namespaces without a vxsd. */
static bool open_net(void)
{
	int err;

	memset(&lab, 0, sizeof(lab));
	err = net_open(&lab.net, 1);
	if (err == -EPERM)
		check_skip("needs root");
	else
		CU_ASSERT_EQUAL(err, 0);
	if (err || child_open(&lab.vxsd, "/run"))
		return false;
	lab.vxsd.net_ns = lab.net.host;
	return true;
}

/* VMs, wire and host, when vxsd has started. */
static bool join(void)
{
	bool ok = lab_vm(&lab, "a", NULL) && lab_vm(&lab, "b", NULL);

	ok = ok && (lab.n_ends > 2 || (lab_wire(&lab) && lab_host(&lab)));
	ok = ok && lab_learn(&lab);
	CU_ASSERT(ok);
	return ok;
}

static void part(void)
{
	lab_leave(at(A));
	lab_leave(at(B));
}

static void end_cleanly(int how)
{
	static char before[16384], during[16384], after[16384];

	if (!open_net())
		return;
	read_settings(before, sizeof(before));
	CU_ASSERT_EQUAL(child_start(&lab.vxsd, WORDS), 0);
	read_settings(during, sizeof(during));
	CU_ASSERT_STRING_NOT_EQUAL(before, during);
	CU_ASSERT_PTR_NOT_NULL(strstr(during, "rx-vlan-offload: off"));
	if (join())
		CU_ASSERT(lab_talk(&lab, 20));
	CU_ASSERT_EQUAL(child_end(&lab.vxsd, how), 0);
	CU_ASSERT(lab.vxsd.stopping);
	check_nothing_left(&lab.vxsd);
	read_settings(after, sizeof(after));
	CU_ASSERT_STRING_EQUAL(before, after);
	if (strcmp(before, after))
		printf("--- before\n%s--- after\n%s", before, after);
	/* The VMs' connections are closed, and a start finds all as the first one did. */
	CU_ASSERT(fake_vm_hung_up(at(A)->vm, LAB_WAIT));
	part();
	CU_ASSERT_EQUAL(child_start(&lab.vxsd, WORDS), 0);
	if (join())
		CU_ASSERT(lab_talk(&lab, 20));
	lab_close(&lab);
}

static void test_sigterm(void)
{
	end_cleanly(SIGTERM);
}

static void test_sigint(void)
{
	end_cleanly(SIGINT);
}

static void test_kill(void)
{
	static char before[16384], after[16384];
	struct ping p[2];
	unsigned round;

	if (!open_net())
		return;
	CU_ASSERT(open_ping(&p[0], lab.net.host, NET_WIRE_IP));
	CU_ASSERT(open_ping(&p[1], lab.net.wire, NET_HOST_IP));
	read_settings(before, sizeof(before));
	for (round = 0; round < 3; round++) {
		CU_ASSERT_EQUAL(child_start(&lab.vxsd, WORDS), 0);
		if (!join())
			break;
		CU_ASSERT(lab_talk(&lab, 20));
		p[0].lost = p[1].lost = 0;
		pings(p, 20);
		CU_ASSERT_EQUAL(p[0].lost + p[1].lost, 0);
		CU_ASSERT_EQUAL(child_end(&lab.vxsd, SIGKILL), 128 + SIGKILL);
		pings(p, 50);
		CU_ASSERT_EQUAL(p[0].lost + p[1].lost, 0);
		/* ARP anew: broadcasts pass, too. */
		CU_ASSERT_EQUAL(net_run(lab.net.host, "ip neigh flush dev " NET_NIC), 0);
		CU_ASSERT_EQUAL(net_run(lab.net.wire, "ip neigh flush dev " NET_FAR), 0);
		pings(p, 5);
		CU_ASSERT_EQUAL(p[0].lost + p[1].lost, 0);
		part();
	}
	/* The settings of before the first start come back, not those that the killed one left. */
	CU_ASSERT_EQUAL(child_start(&lab.vxsd, WORDS), 0);
	if (join())
		CU_ASSERT(lab_talk(&lab, 20));
	CU_ASSERT_EQUAL(child_end(&lab.vxsd, SIGTERM), 0);
	check_nothing_left(&lab.vxsd);
	read_settings(after, sizeof(after));
	CU_ASSERT_STRING_EQUAL(before, after);
	if (strcmp(before, after))
		printf("--- before\n%s--- after\n%s", before, after);
	close(p[0].sock);
	close(p[1].sock);
	lab_close(&lab);
}

/* Attaching and detaching XDP resets a NIC: a ping or two may be lost then, and none else. */
static void host_untouched(const char *words)
{
	struct ping p[2];
	unsigned phase;

	if (!open_net())
		return;
	CU_ASSERT(open_ping(&p[0], lab.net.host, NET_WIRE_IP));
	CU_ASSERT(open_ping(&p[1], lab.net.wire, NET_HOST_IP));
	pings(p, 5);
	for (phase = 0; phase < 4; phase++) {
		p[0].lost = p[1].lost = 0;
		CU_ASSERT_EQUAL(child_spawn(&lab.vxsd, words), 0);
		while (!child_count(&lab.vxsd, "ready") && child_is_running(&lab.vxsd) &&
		       p[0].seq < 20000 && p[0].lost < 20)
			pings(p, 1);
		CU_ASSERT(child_is_running(&lab.vxsd));
		CU_ASSERT(p[0].lost + p[1].lost <= 4);
		p[0].lost = p[1].lost = 0;
		pings(p, 100);
		CU_ASSERT_EQUAL(p[0].lost + p[1].lost, 0);
		kill(lab.vxsd.pid, phase & 1 ? SIGKILL : SIGTERM);
		while (child_is_running(&lab.vxsd))
			pings(p, 1);
		CU_ASSERT(p[0].lost + p[1].lost <= 4);
		p[0].lost = p[1].lost = 0;
		pings(p, 50);
		CU_ASSERT_EQUAL(p[0].lost + p[1].lost, 0);
		lab.vxsd.log_len = 0;
		lab.vxsd.log[0] = '\0';
	}
	close(p[0].sock);
	close(p[1].sock);
	lab_close(&lab);
}

static void test_host_untouched(void)
{
	host_untouched(WORDS);
}

static void test_host_untouched_off(void)
{
	host_untouched(WORDS " --host off");
}

/* A second vxsd says so and ends with 1; the first one goes on. */
static void second(const char *run_dir, const char *name, const char *words)
{
	static struct child other;

	CU_ASSERT_EQUAL_FATAL(child_open(&other, "/run"), 0);
	other.net_ns = lab.net.host;
	if (name)
		snprintf(other.name, sizeof(other.name), "%s", name);
	if (run_dir)
		snprintf(other.run_dir, sizeof(other.run_dir), "%s", run_dir);
	CU_ASSERT_EQUAL(child_spawn(&other, words), 0);
	CU_ASSERT_EQUAL(child_wait(&other, 20000), 1);
	CU_ASSERT_EQUAL(child_count(&other, "\n"), 1);
	child_close(&other);
	CU_ASSERT(child_is_running(&lab.vxsd));
	CU_ASSERT(lab_talk(&lab, 20));
}

static void test_second(void)
{
	char words[256];

	if (!lab_full(&lab, 1, WORDS))
		return;
	second(lab.vxsd.run_dir, lab.vxsd.name, WORDS);
	second(lab.vxsd.run_dir, lab.vxsd.name, "--vm x");
	second(NULL, lab.vxsd.name, "--vm x");      /* the same pins */
	second(NULL, NULL, "--uplink nic0 --vm x"); /* the same NIC */
	snprintf(words, sizeof(words), "--vm x,socket=%s/a.sock", lab.vxsd.run_dir);
	second(NULL, NULL, words); /* the same socket */
	CU_ASSERT(lab_shout(&lab, 20));
	lab_close(&lab);
}

/* An XDP program of somebody else's, which passes everything. Its descriptor. */
static int other_program(void)
{
	const struct bpf_insn pass[] = {{.code = 0xb7, .dst_reg = 0, .imm = 2}, {.code = 0x95}};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", pass, 2, NULL);
}

static void test_bad_start(void)
{
	static const struct {
		const char *words;
		int status;
	} bad[] = {
		{"--uplink nope0 --vm a", 1},
		{"--uplink nic0 --vm a,socket=/nonexistent/dir/a.sock", 1},
		{"--uplink nic0,queues=9 --vm a", 1},
		{"--uplink nic0,mode=zc --vm a", 1}, /* a veth has no zero-copy mode */
		{"--uplink nic0 --vm a --vm a", 2},
		{"--vm a,colour=red", 2},
		{"--vm a,mac=zz:00:00:00:00:00", 2},
		{"--nonsense", 2},
	};
	static char before[16384], after[16384];
	int fd, index;
	unsigned i;

	if (!open_net())
		return;
	read_settings(before, sizeof(before));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int status;

		lab.vxsd.log_len = 0;
		CU_ASSERT_EQUAL(child_spawn(&lab.vxsd, bad[i].words), 0);
		status = child_wait(&lab.vxsd, 10000);
		if (status != bad[i].status ||
		    child_count(&lab.vxsd, status == 1 ? "error:" : "\n") != 1) {
			printf("--- vxsd %s ended with %d and said:\n%s", bad[i].words, status,
			       lab.vxsd.log);
			CU_FAIL("status or number of lines");
		}
		check_nothing_left(&lab.vxsd);
		read_settings(after, sizeof(after));
		CU_ASSERT_STRING_EQUAL(before, after);
	}
	/* Somebody else's program stays. */
	CU_ASSERT_EQUAL(net_enter(lab.net.host), 0);
	index = if_nametoindex(NET_NIC);
	fd = other_program();
	CU_ASSERT(fd >= 0);
	CU_ASSERT_EQUAL(bpf_xdp_attach(index, fd, 0, NULL), 0);
	CU_ASSERT_EQUAL(net_enter(lab.net.home), 0);
	CU_ASSERT_EQUAL(child_spawn(&lab.vxsd, WORDS), 0);
	CU_ASSERT_EQUAL(child_wait(&lab.vxsd, 10000), 1);
	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip -d link show " NET_NIC " | grep -q prog/xdp"), 0);
	CU_ASSERT_EQUAL(net_enter(lab.net.host), 0);
	bpf_xdp_detach(index, 0, NULL);
	CU_ASSERT_EQUAL(net_enter(lab.net.home), 0);
	close(fd);
	CU_ASSERT_EQUAL(child_start(&lab.vxsd, WORDS), 0);
	lab_close(&lab);
}

/* The link goes down and up: what was meant for the wire is counted, the rest goes on. */
static void test_link(void)
{
	struct account books;
	struct shot shot = {.flow = 3};

	if (!lab_full(&lab, 1, WORDS))
		return;
	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip link set " NET_NIC " down"), 0);
	lab_quiet(&lab, 50);
	lab_clear(&lab);
	CU_ASSERT(lab_begin(&lab, &books, "a", NET_NIC));
	for (shot.to = at(WIRE)->mac; shot.seq < 10; shot.seq++)
		CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &shot), 0);
	CU_ASSERT(lab_balances(&lab, &books, 10, 0));
	shot.to = at(B)->mac;
	shot.seq = 0;
	CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &shot), 0);
	CU_ASSERT(lab_got(&lab, at(B), 3, 1));
	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip link set " NET_NIC " up"), 0);
	CU_ASSERT(child_says(&lab.vxsd, "link is up", LAB_WAIT));
	lab_quiet(&lab, 50);
	CU_ASSERT(lab_talk(&lab, 20));
	CU_ASSERT(lab_shout(&lab, 20));
	lab_close(&lab);
}

/* The NIC vanishes: the VMs go on among themselves. */
static void test_nic_gone(void)
{
	struct shot shot = {.flow = 3};

	if (!lab_full(&lab, 1, WORDS))
		return;
	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip link del " NET_NIC), 0);
	CU_ASSERT(child_says(&lab.vxsd, "gone", LAB_WAIT));
	lab_leave(at(HOST));
	lab_leave(at(WIRE));
	lab_clear(&lab);
	for (shot.to = at(B)->mac; shot.seq < 100; shot.seq++) {
		CU_ASSERT_EQUAL(end_shoot(&lab, at(A), &shot), 0);
		CU_ASSERT(lab_got(&lab, at(B), 3, shot.seq + 1));
	}
	CU_ASSERT_EQUAL(child_do(&lab.vxsd, "status"), 0);
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"sigterm", test_sigterm},
		{"sigint", test_sigint},
		{"kill", test_kill},
		{"host_untouched", test_host_untouched},
		{"host_untouched_off", test_host_untouched_off},
		{"second", test_second},
		{"bad_start", test_bad_start},
		{"link", test_link},
		{"nic_gone", test_nic_gone},
		{},
	};

	return check_main("life", tests, argc, argv);
}
