/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a NIC holds its interrupts back: two settings of the interface, for busy polling. */
#ifndef NIC_DEFER_H
#define NIC_DEFER_H

/* Which of the settings: bits, as the state file of nic_set.c keeps them. */
#define NIC_DEFER_IRQS  1 /* napi_defer_hard_irqs: empty polls before interrupts are on again */
#define NIC_DEFER_FLUSH 2 /* gro_flush_timeout: ns from one of these polls to the next */

/** nic_defer_unset() - which settings of @ifname are 0, as they are unless a user has set them.
 * NIC_DEFER_* or -errno. Control thread. */
int nic_defer_unset(const char *ifname);
/** nic_defer_set() - set those of @which. 0 or -errno. */
int nic_defer_set(const char *ifname, unsigned which);
/** nic_defer_put_back() - make those of @which 0 again that are as we set them. 0 or -errno. */
int nic_defer_put_back(const char *ifname, unsigned which);

#endif
