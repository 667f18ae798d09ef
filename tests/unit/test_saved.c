/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A port written down for another host, and read there: whole, cut short, and changed. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "switch/fdb.h"
#include "vm/vm_saved.h"

static struct vm_saved port, back;
static uint8_t bytes[VM_SAVED_WRITE_MAX], more[VM_SAVED_READ_MAX + 64];
static const char *why;

static size_t make(unsigned addresses)
{
	unsigned i;

	memset(&port, 0, sizeof(port));
	strcpy(port.name, "web-1");
	port.mac = 0x660000000002;
	port.mtu = 9000;
	port.queues = 3;
	port.features = 0xfedcba9876543210;
	port.n_addresses = addresses;
	for (i = 0; i < addresses; i++)
		port.address[i] = fdb_key(0x020000000002 + 4 * i, i & 4095) |
				  (i ? 0 : VM_SAVED_FIXED);
	for (i = 0; i < sizeof(port.stats.drops) / 8; i++)
		((__u64 *)&port.stats.drops)[i] = 1000 + i;
	port.stats.in_frames = VM_SAVED_COUNT_MAX;
	port.stats.out_calls = 1;
	return vm_saved_write(&port, bytes);
}

/* A checksum of its own making. */
static void seal(uint8_t *at, size_t len)
{
	uint32_t crc = UINT32_MAX;
	unsigned bit;
	size_t i;

	for (i = 0; i < 4; i++)
		at[12 + i] = len >> 8 * i;
	for (i = 0; i < len; i++) {
		crc ^= i >= 16 && i < 20 ? 0 : at[i];
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	for (i = 0; i < 4; i++)
		at[16 + i] = ~crc >> 8 * i;
}

static bool is_read(const uint8_t *at, size_t len)
{
	/* of its very size, so that AddressSanitizer sees what is read behind it */
	uint8_t *copy = malloc(len ? len : 1);
	bool ok;

	memcpy(copy, at, len);
	ok = !vm_saved_read(&back, copy, len, &why);
	CU_ASSERT(ok == !why);
	free(copy);
	return ok;
}

static void test_round_trip(void)
{
	const unsigned n[] = {0, 1, 1025, VM_SAVED_ADDRESSES};
	unsigned i;

	for (i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
		size_t len = make(n[i]);

		CU_ASSERT(len <= sizeof(bytes));
		CU_ASSERT(is_read(bytes, len));
		CU_ASSERT(!memcmp(&port, &back, sizeof(port)));
	}
}

static void test_cut_short(void)
{
	size_t i, len = make(2);

	for (i = 0; i < len; i++) {
		CU_ASSERT_FALSE(is_read(bytes, i));
		if (i < 20)
			continue;
		memcpy(more, bytes, i);
		seal(more, i);
		/* between two records it is whole */
		if (is_read(more, i))
			CU_ASSERT(back.queues == 3 && (!back.n_addresses || back.n_addresses == 2));
	}
	memcpy(more, bytes, len);
	CU_ASSERT_FALSE(is_read(more, len + 1));
	CU_ASSERT_FALSE(is_read(more, VM_SAVED_READ_MAX + 1));
	seal(more, VM_SAVED_READ_MAX + 1);
	CU_ASSERT_FALSE(is_read(more, VM_SAVED_READ_MAX + 1));
}

static void test_changed(void)
{
	size_t i, len = make(2);
	unsigned bit;

	for (i = 0; i < len; i++) {
		for (bit = 0; bit < 8; bit++) {
			bytes[i] ^= 1 << bit;
			CU_ASSERT_FALSE(is_read(bytes, len));
			bytes[i] ^= 1 << bit;
		}
	}
	CU_ASSERT(is_read(bytes, len));
	bytes[8] = 2; /* another version */
	seal(bytes, len);
	CU_ASSERT_FALSE(is_read(bytes, len));
}

/* Adds a record, and makes the checksum right. */
static size_t add(size_t len, uint32_t type, const void *contents, uint32_t size)
{
	memcpy(more, bytes, len);
	memcpy(more + len, &type, 4);
	memcpy(more + len + 4, &size, 4);
	memcpy(more + len + 8, contents, size);
	seal(more, len + 8 + size);
	return len + 8 + size;
}

static void test_records(void)
{
	static uint8_t zeros[100], twos[8 * VM_SAVED_ADDRESSES + 8];
	uint8_t settings[24] = {2, 0, 0, 0, 0, 1, 1, 0}, counter[16] = {3, 'a', 'b', 'c', 1};
	size_t len = make(1), head = 20;

	CU_ASSERT(is_read(more, add(len, 77, zeros, 100))); /* of a newer version */
	CU_ASSERT(is_read(more, add(len, 0, zeros, 0)));
	CU_ASSERT_FALSE(is_read(more, add(len, 1, "again", 5)));
	CU_ASSERT_FALSE(is_read(more, add(len, 4, zeros, 0)));
	CU_ASSERT_FALSE(is_read(more, add(head, 1, "no-settings", 11)));
	CU_ASSERT(is_read(more, add(head, 2, settings, 20)));
	CU_ASSERT(is_read(more, add(head, 2, settings, 24))); /* longer in a newer version */
	CU_ASSERT_FALSE(is_read(more, add(head, 2, settings, 19)));
	settings[0] = 3; /* a group address */
	CU_ASSERT_FALSE(is_read(more, add(head, 2, settings, 20)));
	settings[0] = 2;
	settings[6] = 0; /* no queues */
	CU_ASSERT_FALSE(is_read(more, add(head, 2, settings, 20)));
	settings[6] = 1;
	memcpy(bytes, more, add(head, 2, settings, 20));
	len = head + 28;
	CU_ASSERT_FALSE(is_read(more, add(len, 1, "", 0)));
	CU_ASSERT_FALSE(is_read(more, add(len, 1, zeros, 5)));
	CU_ASSERT_FALSE(is_read(more, add(len, 1, "two words", 9)));
	CU_ASSERT_FALSE(is_read(more, add(len, 1, "12345678901234567890123456789012", 32)));
	CU_ASSERT(is_read(more, add(len, 1, "1234567890123456789012345678901", 31)));
	CU_ASSERT_FALSE(is_read(more, add(len, 3, zeros, 8)));               /* no address */
	CU_ASSERT_FALSE(is_read(more, add(len, 3, "\1\0\0\0\0\1\0\0", 8)));  /* a group's */
	CU_ASSERT_FALSE(is_read(more, add(len, 3, "\2\0\0\0\0\1\0\20", 8))); /* VLAN 4096 */
	CU_ASSERT_FALSE(is_read(more, add(len, 3, "\2\0\0\0\0\1\0", 7)));
	CU_ASSERT(is_read(more, add(len, 3, "\2\0\0\0\0\1\377\17", 8)));
	CU_ASSERT_EQUAL(fdb_key_vlan(back.address[0]), 4095);
	memset(twos, 2, sizeof(twos)); /* each of them might be one */
	CU_ASSERT(is_read(more, add(len, 3, twos, 8 * VM_SAVED_ADDRESSES)));
	CU_ASSERT_FALSE(is_read(more, add(len, 3, twos, 8 * VM_SAVED_ADDRESSES + 8)));
	CU_ASSERT(is_read(more, add(len, 4, counter, 12))); /* none of ours */
	CU_ASSERT_FALSE(is_read(more, add(len, 4, counter, 11)));
	counter[11] = 0x20; /* too much */
	CU_ASSERT_FALSE(is_read(more, add(len, 4, counter, 12)));
}

static const struct check tests[] = {
	{"round trip", test_round_trip},
	{"cut short", test_cut_short},
	{"changed", test_changed},
	{"records", test_records},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("saved", tests, argc, argv);
}
