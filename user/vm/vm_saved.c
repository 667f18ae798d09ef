/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes a port's state down for another host, and reads what came from one. */
#include "vm/vm_saved.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "switch/fdb.h"

/*
 * The format, all numbers little-endian:
 *
 *	"VXSPORT\0", u32 version, u32 size of all, u32 CRC-32 of all with this field as 0
 *	records: u16 type, u16 0, u32 length, @length bytes
 *
 *	1 name		characters
 *	2 settings	u8[6] mac, u16 queues, u32 mtu, u64 features
 *	3 addresses	each u8[6] MAC, u16: bits 0-11 VLAN, bit 15 static
 *	4 counters	each u8 length of its name, name, u64 value
 *
 * Settings must be there, and none may be there twice. A record may be longer in a newer version of
 * us, and there may be more types: what isn't known is skipped. What would have another meaning has
 * another version, which is refused.
 */
#define MAGIC   "VXSPORT"
#define VERSION 1
#define HEAD    20
#define SIZE_AT 12
#define CRC_AT  16

enum record { RECORD_NAME = 1, RECORD_SETTINGS, RECORD_ADDRESSES, RECORD_COUNTERS, RECORDS };

#define RECORD_HEAD   8
#define SETTINGS_SIZE 20
#define ADDRESS_SIZE  8
#define ADDRESS_FIXED 0x8000

#define FIELD(field, text) {#field, offsetof(struct vxs_port_stats, drops.field)},
static const struct counter {
	const char *name;
	size_t at;
} counters[] = {{"in_frames", offsetof(struct vxs_port_stats, in_frames)},
		{"in_bytes", offsetof(struct vxs_port_stats, in_bytes)},
		{"out_frames", offsetof(struct vxs_port_stats, out_frames)},
		{"out_bytes", offsetof(struct vxs_port_stats, out_bytes)},
		{"out_calls", offsetof(struct vxs_port_stats, out_calls)},
		VXS_DROP_LIST(FIELD)};
#undef FIELD
#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

/* No counter's name is longer than 32 characters. */
_Static_assert(HEAD + 4 * RECORD_HEAD + VXS_NAME_SIZE + SETTINGS_SIZE +
			       VM_SAVED_ADDRESSES * ADDRESS_SIZE + N_COUNTERS * 41 <
		       VM_SAVED_WRITE_MAX,
	       "there is room");

static uint32_t crc32_of(const uint8_t *at, size_t len)
{
	static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					    0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					    0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	uint32_t crc = UINT32_MAX;
	size_t i;

	for (i = 0; i < len; i++) {
		crc ^= i >= CRC_AT && i < CRC_AT + 4 ? 0 : at[i];
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return ~crc;
}

static uint8_t *put(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (; bytes; bytes--, value >>= 8)
		*to++ = value;
	return to;
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | from[bytes];
	return value;
}

static uint64_t *counter_of(const struct vxs_port_stats *stats, unsigned i)
{
	return (uint64_t *)((uint8_t *)stats + counters[i].at);
}

/* The record that begins at @from ends at @to. */
static uint8_t *put_head(uint8_t *from, enum record type, const uint8_t *to)
{
	from = put(from, type, 4);
	return put(from, to - from - 4, 4);
}

static uint8_t *put_counters(uint8_t *to, const struct vxs_port_stats *stats)
{
	unsigned i;

	for (i = 0; i < N_COUNTERS; i++) {
		size_t len = strlen(counters[i].name);

		*to++ = len;
		memcpy(to, counters[i].name, len);
		to = put(to + len, *counter_of(stats, i), 8);
	}
	return to;
}

size_t vm_saved_write(const struct vm_saved *s, uint8_t *to)
{
	uint8_t *at = to + HEAD, *record = at;
	size_t len = strnlen(s->name, sizeof(s->name) - 1);
	unsigned i;

	memcpy(at + RECORD_HEAD, s->name, len);
	at += RECORD_HEAD + len;
	put_head(record, RECORD_NAME, at);

	record = at;
	at = put(at + RECORD_HEAD, s->mac, 6);
	at = put(at, s->queues, 2);
	at = put(at, s->mtu, 4);
	at = put(at, s->features, 8);
	put_head(record, RECORD_SETTINGS, at);

	record = at;
	at += RECORD_HEAD;
	for (i = 0; i < s->n_addresses && i < VM_SAVED_ADDRESSES; i++) {
		at = put(at, fdb_key_mac(s->address[i]), 6);
		at = put(at,
			 fdb_key_vlan(s->address[i]) |
				 (s->address[i] & VM_SAVED_FIXED ? ADDRESS_FIXED : 0),
			 2);
	}
	put_head(record, RECORD_ADDRESSES, at);

	record = at;
	at = put_counters(at + RECORD_HEAD, &s->stats);
	put_head(record, RECORD_COUNTERS, at);

	memcpy(to, MAGIC, sizeof(MAGIC));
	put(to + sizeof(MAGIC), VERSION, 4);
	put(to + SIZE_AT, at - to, 4);
	put(to + CRC_AT, crc32_of(to, at - to), 4);
	return at - to;
}

static const char *read_name(struct vm_saved *s, const uint8_t *at, size_t len)
{
	size_t i;

	if (!len || len >= sizeof(s->name))
		return "its name's length can't be";
	for (i = 0; i < len; i++)
		if (at[i] <= ' ' || at[i] > '~')
			return "its name has a character that names don't have";
	memcpy(s->name, at, len);
	return NULL;
}

static const char *read_settings(struct vm_saved *s, const uint8_t *at, size_t len)
{
	if (len < SETTINGS_SIZE)
		return "its settings are cut short";
	s->mac = get(at, 6);
	s->queues = get(at + 6, 2);
	s->mtu = get(at + 8, 4);
	s->features = get(at + 12, 8);
	return !s->queues || s->mac & 1 ? "its settings can't be" : NULL;
}

static const char *read_addresses(struct vm_saved *s, const uint8_t *at, size_t len)
{
	if (len % ADDRESS_SIZE || len / ADDRESS_SIZE > VM_SAVED_ADDRESSES)
		return "it has too many addresses, or a part of one";
	for (; len; at += ADDRESS_SIZE, len -= ADDRESS_SIZE) {
		uint16_t vlan = get(at + 6, 2);
		uint64_t mac = get(at, 6);

		if (!mac || mac & 1 || (vlan & ~ADDRESS_FIXED) > 4095)
			return "it has an address that none can be";
		s->address[s->n_addresses++] = fdb_key(mac, vlan) |
					       (vlan & ADDRESS_FIXED ? VM_SAVED_FIXED : 0);
	}
	return NULL;
}

static void set_counter(struct vm_saved *s, const uint8_t *name, size_t len, uint64_t value)
{
	unsigned i;

	for (i = 0; i < N_COUNTERS; i++)
		if (strlen(counters[i].name) == len && !memcmp(counters[i].name, name, len))
			*counter_of(&s->stats, i) = value;
}

static const char *read_counters(struct vm_saved *s, const uint8_t *at, size_t len)
{
	while (len) {
		size_t name = at[0];
		uint64_t value;

		if (!name || len < 1 + name + 8)
			return "its counters are cut short";
		value = get(at + 1 + name, 8);
		if (value > VM_SAVED_COUNT_MAX)
			return "a counter is larger than any can be";
		set_counter(s, at + 1, name, value);
		at += 1 + name + 8;
		len -= 1 + name + 8;
	}
	return NULL;
}

static const char *read_records(struct vm_saved *s, const uint8_t *at, size_t len)
{
	static const char *(*const read[RECORDS])(struct vm_saved *, const uint8_t *, size_t) = {
		[RECORD_NAME] = read_name,
		[RECORD_SETTINGS] = read_settings,
		[RECORD_ADDRESSES] = read_addresses,
		[RECORD_COUNTERS] = read_counters,
	};
	bool had[RECORDS] = {false};
	const char *why;

	while (len) {
		uint32_t type, size;

		if (len < RECORD_HEAD)
			return "a record is cut short";
		type = get(at, 4);
		size = get(at + 4, 4);
		at += RECORD_HEAD;
		len -= RECORD_HEAD;
		if (size > len)
			return "a record is cut short";
		if (type < RECORDS && read[type]) {
			if (had[type])
				return "a record is there twice";
			had[type] = true;
			why = read[type](s, at, size);
			if (why)
				return why;
		}
		at += size;
		len -= size;
	}
	return had[RECORD_SETTINGS] ? NULL : "it has no settings";
}

int vm_saved_read(struct vm_saved *s, const uint8_t *from, size_t len, const char **why)
{
	memset(s, 0, sizeof(*s));
	*why = NULL;
	if (len < HEAD)
		*why = "it is cut short";
	else if (memcmp(from, MAGIC, sizeof(MAGIC)))
		*why = "it isn't a vxs port's";
	else if (get(from + sizeof(MAGIC), 4) != VERSION)
		*why = "it is of another version of vxs";
	else if (get(from + SIZE_AT, 4) != len || len > VM_SAVED_READ_MAX)
		*why = "it is cut short, or there is more behind it";
	else if (get(from + CRC_AT, 4) != crc32_of(from, len))
		*why = "its checksum is wrong";
	else
		*why = read_records(s, from + HEAD, len - HEAD);
	return *why ? -EINVAL : 0;
}
