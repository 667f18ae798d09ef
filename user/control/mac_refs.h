/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many entries of the forwarding database each MAC address has: one per VLAN. */
#ifndef MAC_REFS_H
#define MAC_REFS_H

#include <stdint.h>

#include "switch/fdb.h"

#define MAC_REFS_SLOTS (2 * VXS_FDB_MAX) /* a power of two; never more than half full */

/* Control thread only. All zero is an empty set. */
struct mac_refs {
	unsigned n; /* addresses */
	struct {
		uint64_t mac;  /* from fdb_mac() */
		uint32_t refs; /* 0: free slot */
	} slot[MAC_REFS_SLOTS];
};

/** mac_refs_get() - count one more for @mac; returns how many there are now (0: the set is full).
 */
uint32_t mac_refs_get(struct mac_refs *set, uint64_t mac);

/** mac_refs_put() - count one less; returns how many are left. An unknown address has 0. */
uint32_t mac_refs_put(struct mac_refs *set, uint64_t mac);

#endif
