/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A vhost-user front-end that says anything, with any file descriptors, to a VM in our own loop. */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/log.h"
#include "control/loop.h"
#include "fuzz/fuzz.h"
#include "switch/worker.h"
#include "vhost_user.h"
#include "vm/vm.h"

/*
 * Input: records. The first byte of each says what it is:
 *	0-15	the front-end hangs up and connects again
 *	16-23	it knows us: takes all that is offered, but for the virtio features that two bytes
 *		leave out
 *	24-31	it starts queue pair 0 (bit 0: size as the next byte says)
 *	32-55	it connects once more, beside the connection that it has
 *	56-59	the memory's file is cut to as many pages as the next byte says
 *	60-63	the guest writes: place (16 bits), length, bytes
 *	64-127	bytes as they are: a length byte, the bytes
 *	128-	a message: request, flags (0: as they should be; 1 in bit 7: another record follows
 *		before the loop runs), length, kind and number of fds, payload
 * After each record the loop runs, and so does what a worker would do with the queues.
 */
#define QUEUES      2
#define MEMORY      65536
#define RING        0x1000
#define FDS_MAX     16
#define RECORDS_MAX 64 /* of one input: more would be slow, and show nothing new */

static struct {
	struct loop *loop;
	struct worker *worker; /* never started: its work is done here */
	struct vm *vm;
	struct vxs_port_stats stats;
	struct sockaddr_un address;
	char dir[64];
	int memory, file, event;
	int pipe[2], pair[2];
	int fd, old_fd; /* the front-end's ends, or -1 */
	uint8_t *at;    /* the memory that it shares */
	size_t size;    /* of its file, now */
	int next_fd;    /* the lowest free file descriptor: it shows leaks */
} f;

static void clean_up(void)
{
	vm_free(f.vm);
	rmdir(f.dir);
}

static int next_fd(void)
{
	int fd = dup(f.memory);

	close(fd);
	return fd;
}

static void set_up(void)
{
	struct vm_options opt = {.name = "fuzz", .queues = QUEUES};
	unsigned i;

	if (f.loop)
		return;
	log_set_level(LOG_ERROR);
	strcpy(f.dir, "/tmp/vxs-fuzz-XXXXXX");
	FUZZ_CHECK(mkdtemp(f.dir));
	snprintf(opt.socket, sizeof(opt.socket), "%s/vm.sock", f.dir);
	f.address.sun_family = AF_UNIX;
	strcpy(f.address.sun_path, opt.socket);
	FUZZ_CHECK(!loop_new(&f.loop));
	FUZZ_CHECK(!worker_new(&f.worker, 0, NULL));
	FUZZ_CHECK(!vm_new(&f.vm, f.loop, &opt, VXS_PORT_VM, &f.stats));
	for (i = 0; i < QUEUES; i++)
		f.vm->port.worker[i] = f.worker;
	FUZZ_CHECK(!vm_listen(f.vm));
	atexit(clean_up);
	f.memory = memfd_create("guest", MFD_CLOEXEC);
	FUZZ_CHECK(f.memory >= 0 && !ftruncate(f.memory, MEMORY));
	f.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	f.file = open("/dev/null", O_RDWR | O_CLOEXEC);
	f.at = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, f.memory, 0);
	FUZZ_CHECK(f.at != MAP_FAILED);
	f.fd = f.old_fd = -1;
	FUZZ_CHECK(f.event >= 0 && f.file >= 0);
	FUZZ_CHECK(!pipe2(f.pipe, O_CLOEXEC | O_NONBLOCK));
	FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, f.pair));
	f.next_fd = next_fd();
}

static void hang_up(void)
{
	if (f.fd >= 0)
		close(f.fd);
	if (f.old_fd >= 0)
		close(f.old_fd);
	f.fd = f.old_fd = -1;
}

static void connect_beside(void)
{
	if (f.old_fd >= 0)
		close(f.old_fd);
	f.old_fd = f.fd;
	f.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(f.fd >= 0);
	FUZZ_CHECK(!connect(f.fd, (struct sockaddr *)&f.address, sizeof(f.address)) ||
		   errno == EAGAIN);
}

static void connect_again(void)
{
	hang_up();
	connect_beside();
}

/* One descriptor in a table at the memory's beginning, and an available ring at RING that has it.
 */
static void reset_memory(void)
{
	FUZZ_CHECK(!ftruncate(f.memory, MEMORY));
	f.size = MEMORY;
	memset(f.at, 0, MEMORY);
	memcpy(f.at, &(struct vring_desc){.addr = 0x8000, .len = 100}, sizeof(struct vring_desc));
	f.at[RING + 2] = 1;
}

/* @kind: what each of the @n fds is; with bit 3 they are all of other kinds. */
static void send_bytes(const void *bytes, size_t len, unsigned kind, unsigned n)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	const int from[] = {f.memory,  f.event,   f.file,    f.fd,
			    f.pipe[0], f.pipe[1], f.pair[0], f.memory};
	int fd[FDS_MAX];
	struct cmsghdr *c;
	unsigned i;

	if (n) {
		for (i = 0; i < n; i++)
			fd[i] = kind & 8 ? from[(kind + i) & 7] : from[kind & 7];
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fd, n * sizeof(int));
	}
	if (sendmsg(f.fd, &msg, MSG_NOSIGNAL) < 0)
		connect_again(); /* the VM hung up */
}

struct message {
	struct vhost_user_header header;
	uint8_t payload[512];
};

/* True: the loop is to run. */
static bool send_message(struct fuzz_input *in)
{
	struct message m = {0};
	uint8_t flags, len, fds;

	m.header.request = fuzz_take_u8(in);
	flags = fuzz_take_u8(in);
	len = fuzz_take_u8(in);
	fds = fuzz_take_u8(in);
	m.header.flags = flags & 0x7f ? flags & 0x7f : VHOST_USER_VERSION;
	m.header.size = 2 * len;
	fuzz_take(in, m.payload, 2 * len);
	send_bytes(&m, sizeof(m.header) + 2 * len, fds >> 4, fds & 15);
	return !(flags & 0x80);
}

static void say(uint32_t request, const void *payload, uint32_t size, int kind)
{
	struct message m = {.header = {request, VHOST_USER_VERSION, size}};

	memcpy(m.payload, payload, size);
	send_bytes(&m, sizeof(m.header) + size, kind < 0 ? 0 : kind, kind >= 0);
	loop_once(f.loop, 0);
}

static uint64_t ask(uint32_t request)
{
	struct {
		struct vhost_user_header header;
		uint64_t value;
	} __attribute__((packed)) reply = {.value = 0};

	say(request, "", 0, -1);
	while (recv(f.fd, &reply, sizeof(reply), MSG_DONTWAIT) > 0)
		;
	return reply.header.request == request ? reply.value : 0;
}

static void negotiate(uint16_t without)
{
	const uint64_t not = (uint64_t)(without & 0xff) << 28 | (uint64_t)(without >> 8) << 8;
	uint64_t features = ask(VHOST_USER_GET_FEATURES) & ~not ;
	uint64_t protocol = ask(VHOST_USER_GET_PROTOCOL_FEATURES);

	/* the specification knows no front-end that wants both */
	if (protocol & 1ull << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
		protocol &= ~(1ull << VHOST_USER_PROTOCOL_F_PAGEFAULT);
	say(VHOST_USER_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), -1);
	say(VHOST_USER_SET_FEATURES, &features, sizeof(features), -1);
}

/* Queue i: descriptors at i * 0x4000, then the other two parts. */
static void start(uint32_t size)
{
	struct vhost_user_memory memory = {1, 0, {{0, MEMORY, 0, 0}}};
	uint64_t i, at;

	say(VHOST_USER_SET_MEM_TABLE, &memory, 40, 0);
	for (i = 0; i < 2; i++) {
		struct vhost_user_vring_state num = {i, size}, base = {i, 0}, on = {i, 1};
		struct vhost_user_vring_addr addr = {.index = i};

		at = i * 4 * RING;
		addr.desc = at;
		addr.avail = at + RING;
		addr.used = at + 2 * RING;
		say(VHOST_USER_SET_VRING_NUM, &num, sizeof(num), -1);
		say(VHOST_USER_SET_VRING_BASE, &base, sizeof(base), -1);
		say(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1);
		say(VHOST_USER_SET_VRING_CALL, &i, sizeof(i), 1);
		say(VHOST_USER_SET_VRING_KICK, &i, sizeof(i), 1);
		say(VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), -1);
	}
}

static void cut_memory(unsigned pages)
{
	f.size = pages * 4096 < MEMORY ? pages * 4096 : MEMORY;
	FUZZ_CHECK(!ftruncate(f.memory, f.size));
}

static void write_memory(struct fuzz_input *in)
{
	uint8_t bytes[256];
	uint16_t place = fuzz_take_u16(in);
	uint8_t n = fuzz_take_u8(in);

	fuzz_take(in, bytes, n);
	if ((size_t)place + n <= f.size)
		memcpy(f.at + place, bytes, n);
}

/* What a worker does with the VM's queues, and control with its reports. */
static void work(void)
{
	static struct batch b;
	const uint16_t which[2] = {0, 1};
	struct event e;
	unsigned i, n;

	for (i = 0; i < QUEUES; i++) {
		n = vm_in(&f.vm->port, f.worker, i, &b);
		FUZZ_CHECK(b.n <= BATCH_FRAMES || !n);
		if (n)
			vm_done(&f.vm->port, f.worker, i, &b);
		vm_wait(&f.vm->port, f.worker, i, true);
		vm_wait(&f.vm->port, f.worker, i, false);
	}
	memset(&b.frame[0], 0, 2 * sizeof(b.frame[0]));
	b.n = 2;
	b.frame[0].len = b.frame[0].shape.head_len = b.frame[1].len = b.frame[1].shape.head_len =
		20;
	vm_out(&f.vm->port, f.worker, &b, which, 2);
	while (worker_next_event(f.worker, &e))
		vm_broken(f.vm);
}

static void turn(void)
{
	char reply[4096];

	loop_once(f.loop, 0);
	while (f.fd >= 0 && recv(f.fd, reply, sizeof(reply), MSG_DONTWAIT) > 0)
		;
	work();
}

static void check_state(void)
{
	struct vm_queue_state queue;
	struct vm_state state;
	unsigned i;

	vm_state(f.vm, &state);
	FUZZ_CHECK(!state.mtu || (state.mtu >= VM_MTU_MIN && state.mtu <= VM_MTU_MAX));
	for (i = 0; i < 2 * QUEUES; i++) {
		vm_queue_state(f.vm, i, &queue);
		FUZZ_CHECK(!queue.started || (queue.size && queue.size <= 32768));
	}
}

/* Whatever the front-end did: when it is gone, nothing of it is left. */
static void check_end(void)
{
	struct vm_state state;
	const struct message m = {{VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0}, {0}};
	unsigned i;

	/* A front-end that sent its own end of the connection keeps it open; the next one ends it.
	 */
	connect_again();
	send_bytes(&m, sizeof(m.header), 0, 0);
	turn();
	turn();
	hang_up();
	for (i = 0; i < 100; i++) {
		loop_once(f.loop, 0);
		vm_state(f.vm, &state);
		if (!state.connected && next_fd() == f.next_fd)
			break;
	}
	FUZZ_CHECK(!state.connected);
	FUZZ_CHECK(!state.regions);
	FUZZ_CHECK(!state.mtu);
	FUZZ_CHECK(!f.vm->port.takes);
	FUZZ_CHECK(next_fd() == f.next_fd);
	for (i = 0; i < QUEUES; i++)
		FUZZ_CHECK(!f.vm->in[i] && !f.vm->out[i]);
}

/* True: the loop is to run. */
static bool record(struct fuzz_input *in)
{
	uint8_t bytes[256], what = fuzz_take_u8(in), n;

	if (what < 16) {
		connect_again();
	} else if (what < 24) {
		negotiate(fuzz_take_u16(in));
	} else if (what < 32) {
		start(what & 1 ? fuzz_take_u8(in) : 16);
	} else if (what < 56) {
		connect_beside();
	} else if (what < 60) {
		cut_memory(fuzz_take_u8(in));
	} else if (what < 64) {
		write_memory(in);
	} else if (what < 128) {
		n = fuzz_take_u8(in);
		fuzz_take(in, bytes, n);
		if (n)
			send_bytes(bytes, n, what >> 4 & 3, what & 3);
	} else {
		return send_message(in);
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	unsigned records = RECORDS_MAX;

	set_up();
	reset_memory();
	connect_again();
	turn();
	while (in.left && records--) {
		if (!record(&in))
			continue;
		turn();
		check_state();
	}
	check_end();
	return 0;
}
