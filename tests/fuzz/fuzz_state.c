/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of a port that moves in with its VM: anything, as it is and with a right checksum. */
#include "fuzz/fuzz.h"
#include "switch/fdb.h"
#include "vm/vm_saved.h"

/* What was read can be, and comes back the same when it is written and read again. */
static void check_read(const uint8_t *from, size_t len)
{
	static uint8_t bytes[VM_SAVED_WRITE_MAX];
	static struct vm_saved s, again;
	const char *why = NULL;
	unsigned i;
	size_t n;

	if (vm_saved_read(&s, from, len, &why)) {
		FUZZ_CHECK(why && *why);
		return;
	}
	FUZZ_CHECK(!why && s.queues && memchr(s.name, 0, sizeof(s.name)));
	FUZZ_CHECK(s.n_addresses <= VM_SAVED_ADDRESSES);
	for (i = 0; i < s.n_addresses; i++)
		FUZZ_CHECK(fdb_key_mac(s.address[i]) && !(fdb_key_mac(s.address[i]) & 1) &&
			   s.address[i] & FDB_KEY_VALID);
	if (!s.name[0])
		strcpy(s.name, "x");
	n = vm_saved_write(&s, bytes);
	FUZZ_CHECK(n <= sizeof(bytes));
	FUZZ_CHECK(!vm_saved_read(&again, bytes, n, &why));
	FUZZ_CHECK(!memcmp(&s, &again, sizeof(s)));
}

/* A checksum is easily made right: without it, nothing behind it would ever be tried. */
static void seal(uint8_t *at, size_t len)
{
	uint32_t crc = UINT32_MAX;
	unsigned bit;
	size_t i;

	memcpy(at, "VXSPORT\0\1\0\0\0", 12);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	check_read(data, size);
	if (size < 20 || size > VM_SAVED_READ_MAX)
		return 0;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	seal(copy, size);
	check_read(copy, size);
	free(copy);
	return 0;
}
