/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A migration as its front-end sees it: a guest's memory is copied by the log while frames come. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "any_frame.h"
#include "vms.h"

/*
 *	a ── vxsd ── b, whose memory is copied
 *
 * The copy is made as QEMU makes it: all of the memory once, then the pages that the log says,
 *again and again while frames come, and a last time when the rings rest. What only the switch
 *writes must be the same in both then: receive buffers, used rings, device event areas.
 */
#define PAGE   VHOST_USER_LOG_PAGE
#define PAIRS  4
#define SPAN   (1ull << 30) /* guest physical addresses that the log is for */
#define LOG    (SPAN / PAGE / 8)
#define ROUNDS 150

#ifdef __SANITIZE_THREAD__
#define TIMES 1
#else
#define TIMES 2
#endif

static struct fake_vm *a, *b;
static uint8_t *copy[VHOST_USER_REGIONS_MAX];
static uint64_t *log_at;
static int log_fd = -1;
static unsigned received, fetched;

static void log_close(void)
{
	if (log_at)
		munmap(log_at, LOG);
	log_at = NULL;
	if (log_fd >= 0)
		close(log_fd);
	log_fd = -1;
}

static bool log_open(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(ftruncate(log_fd, LOG), 0);
	log_at = mmap(NULL, LOG, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	CU_ASSERT_NOT_EQUAL_FATAL(log_at, MAP_FAILED);
	return !fake_vm_set_log(b, log_fd, LOG, 0);
}

static void copy_page(uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < b->memory.n; i++) {
		const struct vhost_user_region *r = &b->memory.region[i];

		if (gpa - r->gpa < r->size)
			memcpy(copy[i] + (gpa - r->gpa), fake_vm_at(b, gpa), PAGE);
	}
}

static void copy_all(void)
{
	unsigned i;

	for (i = 0; i < b->memory.n; i++) {
		if (!copy[i])
			copy[i] = malloc(b->memory.region[i].size);
		memcpy(copy[i], fake_vm_at(b, b->memory.region[i].gpa), b->memory.region[i].size);
	}
}

static void copy_free(void)
{
	unsigned i;

	for (i = 0; i < VHOST_USER_REGIONS_MAX; i++) {
		free(copy[i]);
		copy[i] = NULL;
	}
}

/* Fetches what is marked, and copies it. */
static void fetch(void)
{
	unsigned i, bit;

	for (i = 0; i < LOG / 8; i++) {
		uint64_t bits = __atomic_load_n(&log_at[i], __ATOMIC_RELAXED);

		if (!bits)
			continue;
		bits = __atomic_exchange_n(&log_at[i], 0, __ATOMIC_SEQ_CST);
		for (; bits; bits &= bits - 1, fetched++) {
			bit = __builtin_ctzll(bits);
			copy_page((64ull * i + bit) * PAGE);
		}
	}
}

static bool same(const void *at, size_t len)
{
	uint64_t gpa = fake_vm_gpa(b, at);
	unsigned i;

	for (i = 0; i < b->memory.n; i++) {
		const struct vhost_user_region *r = &b->memory.region[i];

		if (gpa - r->gpa < r->size)
			return !memcmp(copy[i] + (gpa - r->gpa), at, len);
	}
	return false;
}

static unsigned count_different(void)
{
	unsigned i, n = 0;

	for (i = 0; i < b->n_queues; i++) {
		const struct fake_vq *q = &b->vq[i];
		unsigned k;

		if (q->packed)
			n += !same(q->device, sizeof(*q->device));
		else
			n += !same(q->used, 4 + 8 * q->size + 2);
		for (k = 0; i % 2 == 0 && k < q->slots; k++)
			n += !same(q->buffers + (size_t)k * q->stride, q->room);
	}
	return n;
}

/* Some frames on each pair, and whatever has come. */
static void talk(void)
{
	static uint8_t frame[9100], got[FAKE_VM_FRAME_MAX];
	unsigned i, pair;

	for (i = 0; i < 8; i++) {
		uint32_t len = any(4) ? 60 + any(1455) : 60 + any(9000);

		any_bytes(frame, len);
		vms_mac('b', frame);
		vms_mac('a', frame + 6);
		frame[12] = 0x88;
		frame[13] = 0xb5;
		frame[14] = any(256); /* the first bytes are the flow's */
		fake_vm_send(a, any(PAIRS), frame, len);
	}
	for (pair = 0; pair < PAIRS; pair++)
		while (fake_vm_recv(b, pair, got, sizeof(got)) > 0)
			received++;
	/* and back, so that b's transmit rings are written as well */
	vms_mac('a', frame);
	vms_mac('b', frame + 6);
	fake_vm_send(b, any(PAIRS), frame, 60);
	for (pair = 0; pair < PAIRS; pair++)
		while (fake_vm_recv(a, pair, got, sizeof(got)) > 0)
			;
}

static struct fake_vm *join(const char *name, uint64_t features, unsigned regions)
{
	struct fake_vm_options opt = {.pairs = PAIRS,
				      .protocol = FAKE_VM_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD),
				      .features = FAKE_VM_ALL | FAKE_VM_MQ | features,
				      .regions = regions,
				      .gap = 4 << 20,
				      .ring_size = 64,
				      .send_size = 9200,
				      .recv = {.pieces = 1 + any(3), .indirect = any(2)}};

	return vms_join(name, &opt);
}

static bool begin(uint64_t features)
{
	if (!vms_start(
		    "--vm a,queues=4,mac=02:00:00:00:00:61 --vm b,queues=4,mac=02:00:00:00:00:62",
		    true))
		return false;
	a = join("a", features, 1);
	b = join("b", features, 1 + any(3));
	received = fetched = 0;
	return a && b;
}

static void end(void)
{
	fake_vm_close(a);
	fake_vm_close(b);
	a = b = NULL;
	log_close();
	copy_free();
	vms_stop();
}

/* Logging begins, goes on in another file now and then, and ends with the rings. */
static void migrate(unsigned rounds)
{
	unsigned long long limit = vms_now() + VMS_WAIT;
	uint64_t *old;
	unsigned i;
	int fd;

	CU_ASSERT_TRUE(log_open());
	CU_ASSERT_EQUAL(fake_vm_log(b, true), 0);
	copy_all();
	received = 0;
	for (i = 0; i < rounds || (received < rounds && vms_now() < limit); i++) {
		talk();
		if (i % 50 == 49) { /* QEMU does so when memory is plugged in */
			old = log_at;
			fd = log_fd;
			CU_ASSERT_TRUE(log_open()); /* no ring writes to the old one any more */
			for (unsigned k = 0; k < LOG / 8; k++)
				__atomic_fetch_or(&log_at[k], old[k], __ATOMIC_SEQ_CST);
			munmap(old, LOG);
			close(fd);
		}
		if (any(2))
			fetch();
	}
	CU_ASSERT_EQUAL(fake_vm_stop(b), 0);
	fetch();
	CU_ASSERT_EQUAL(count_different(), 0);
	CU_ASSERT(received >= rounds);
}

static void copy_of(uint64_t features)
{
	unsigned i;

	if (!begin(features))
		return;
	for (i = 0; i < TIMES; i++) {
		migrate(ROUNDS);
		/* it fails, and the guest goes on here */
		CU_ASSERT_EQUAL(fake_vm_start(b), 0);
		CU_ASSERT_EQUAL(fake_vm_log(b, false), 0);
		log_close();
		talk();
	}
	CU_ASSERT(fetched > 10);
	CU_ASSERT_STRING_EQUAL(fake_vm_error(b), "");
	end();
}

static void test_split(void)
{
	copy_of(0);
}

static void test_packed(void)
{
	copy_of(FAKE_VM_PACKED);
}

static void test_in_order(void)
{
	copy_of(FAKE_VM_PACKED | FAKE_VM_IN_ORDER);
}

static bool has_received(void *arg)
{
	talk();
	return received >= *(unsigned *)arg;
}

/* Talks until @n frames have come. */
static bool talk_until(unsigned n)
{
	received = 0;
	return check_until(has_received, &n, VMS_WAIT);
}

/* Once nobody wants it, nothing is marked. */
static void test_off(void)
{
	unsigned i, marked = 0;

	if (!begin(0))
		return;
	CU_ASSERT_TRUE(log_open());
	CU_ASSERT_TRUE(talk_until(20));
	CU_ASSERT_EQUAL(fake_vm_log(b, true), 0);
	CU_ASSERT_EQUAL(fake_vm_log(b, false), 0);
	memset(log_at, 0, LOG);
	CU_ASSERT_TRUE(talk_until(20));
	CU_ASSERT_EQUAL(fake_vm_stop(b), 0);
	for (i = 0; i < LOG / 8; i++)
		marked += !!log_at[i];
	CU_ASSERT_EQUAL(marked, 0);
	end();
}

static bool hung_up(void *arg)
{
	(void)arg;
	talk();
	return fake_vm_hung_up(b, 0);
}

/* A log that is cut short costs its guest the connection, and nobody else anything. */
static void test_cut_short(void)
{
	unsigned times;

	if (!begin(0))
		return;
	for (times = 0; times < 3; times++) {
		CU_ASSERT_TRUE(log_open());
		CU_ASSERT_EQUAL(fake_vm_log(b, true), 0);
		talk();
		CU_ASSERT_EQUAL(ftruncate(log_fd, 0), 0);
		CU_ASSERT_TRUE(check_until(hung_up, NULL, VMS_WAIT));
		fake_vm_close(b);
		log_close();
		b = join("b", FAKE_VM_PACKED * (times % 2), 1);
		CU_ASSERT_PTR_NOT_NULL_FATAL(b);
		CU_ASSERT_TRUE(talk_until(20));
	}
	CU_ASSERT_EQUAL(child_count(&vxsd, "the dirty log is gone"), 3);
	end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"split", test_split}, {"packed", test_packed},       {"in_order", test_in_order},
		{"off", test_off},     {"cut_short", test_cut_short}, {},
	};

	any_state = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 20261121;
	return check_main("log_talk", tests, argc, argv);
}
