/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one list of drop reasons: counter name, and what it tells the user. */
#ifndef VXS_DROP_H
#define VXS_DROP_H

/*
 * Each line is DROP(field, text). The field is a counter of struct vxs_drops, and so the name that
 * `bpftool map dump` and `vxsctl stats` show. A frame that was not delivered stands in exactly one
 * counter for every destination that missed it: on the port it came from, if the frame itself was
 * at fault, else on the port that could not take it.
 */
#define VXS_DROP_LIST(DROP)                                                                        \
	/* counted on the port that the frame came from */                                         \
	DROP(short_frame, "shorter than an Ethernet header")                                       \
	DROP(long_frame, "longer than 65,553 bytes, or in more pieces than a batch holds")         \
	DROP(bad_offload, "asks for an offload that was not negotiated, or is impossible")         \
	DROP(bad_source, "source address is multicast or zero")                                    \
	DROP(link_local, "for 01:80:c2:00:00:0x, which no bridge forwards")                        \
	DROP(same_port, "destination is behind the port that it came from")                        \
	DROP(no_destination, "no other port to send it to")                                        \
	DROP(queue_disabled, "sent by the guest on a queue that is not enabled")                   \
	DROP(over_mtu, "longer than the MTU of the port it came from")                             \
	/* counted on the port that the frame was for */                                           \
	DROP(not_running, "no front-end connected, or its receive queue is not running")           \
	DROP(queue_full, "the guest offered no receive buffer")                                    \
	DROP(buffer_short, "the guest's receive buffers are too small")                            \
	DROP(queue_broken, "the guest's receive queue is broken")                                  \
	DROP(memory_absent, "the guest's buffer is not there yet (migration, or its IOMMU)")       \
	DROP(too_big, "longer than the MTU of the port it was for")                                \
	DROP(nic_full, "the NIC's transmit ring is full")                                          \
	DROP(nic_down, "the NIC refused to transmit (link down?)")                                 \
	DROP(host_full, "the host's TAP queue is full")                                            \
	/* counted by the kernel on the port whose AF_XDP socket it is */                          \
	DROP(socket_full, "the AF_XDP receive ring was full")                                      \
	DROP(umem_empty, "the fill ring had run dry")                                              \
	DROP(socket_error, "the kernel dropped it on its way into the AF_XDP socket")              \
	/* counted by the kernel on the host port */                                               \
	DROP(tap_full, "the TAP towards the switch was full, so frames from the host were lost")

#endif
