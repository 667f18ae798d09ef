/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one list of ways through the switch: counter name, and what the user is told. */
#ifndef VXS_PATH_H
#define VXS_PATH_H

/*
 * Each line is PATH(field, text): the kind of port that frames come from, and the kind that they go
 * to. The field is a member of struct vxs_paths, and so the name that `bpftool map dump` and
 * `vxsctl -j stats --workers` show. Between uplink and host there is no way: the kernel joins them.
 */
#define VXS_PATH_LIST(PATH)                                                                        \
	PATH(vm_vm, "VM to VM")                                                                    \
	PATH(vm_uplink, "VM to uplink")                                                            \
	PATH(vm_host, "VM to host")                                                                \
	PATH(uplink_vm, "uplink to VM")                                                            \
	PATH(host_vm, "host to VM")                                                                \
	PATH(nowhere, "nowhere") /* dropped before any destination was visited */

#endif
