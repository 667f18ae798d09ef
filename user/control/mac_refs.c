/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many entries of the forwarding database each MAC address has: one per VLAN. */

/*
 * The NIC's filter knows no VLANs: an address must be added with its first entry and removed with
 * its last. A hash table with linear probing; a removal moves later entries of its run back, so
 * that there are no deleted slots and years of coming and going don't slow it down.
 */
#include <stdbool.h>

#include "control/mac_refs.h"

#define MASK (MAC_REFS_SLOTS - 1)

/* The slot of @mac, or the free one where it would go. */
static uint32_t find(const struct mac_refs *set, uint64_t mac)
{
	uint32_t at = fdb_hash(mac);

	while (set->slot[at].refs && set->slot[at].mac != mac)
		at = (at + 1) & MASK;
	return at;
}

/* Frees a slot: entries behind it that would not be found any more move into the gap. */
static void remove_at(struct mac_refs *set, uint32_t gap)
{
	uint32_t at = gap;

	for (;;) {
		uint32_t home;

		at = (at + 1) & MASK;
		if (!set->slot[at].refs)
			break;
		home = fdb_hash(set->slot[at].mac);
		/* it may move if its home isn't between the gap (exclusive) and where it is */
		if (((at - home) & MASK) < ((at - gap) & MASK))
			continue;
		set->slot[gap] = set->slot[at];
		gap = at;
	}
	set->slot[gap].refs = 0;
	set->n--;
}

uint32_t mac_refs_get(struct mac_refs *set, uint64_t mac)
{
	uint32_t at = find(set, mac);

	if (!set->slot[at].refs) {
		if (set->n >= MAC_REFS_SLOTS / 2)
			return 0;
		set->slot[at].mac = mac;
		set->n++;
	}
	return ++set->slot[at].refs;
}

uint32_t mac_refs_put(struct mac_refs *set, uint64_t mac)
{
	uint32_t at = find(set, mac);

	if (!set->slot[at].refs)
		return 0;
	if (set->slot[at].refs == 1) {
		remove_at(set, at);
		return 0;
	}
	return --set->slot[at].refs;
}
