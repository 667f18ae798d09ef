/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control protocol between vxsctl and vxsd. */
#ifndef VXS_CTL_H
#define VXS_CTL_H

/*
 * A SOCK_STREAM Unix socket, RUN-DIR/ctl.sock. Client and daemon exchange lines, each one JSON
 * object. A request is {"do": "COMMAND", ...arguments}. The reply is {"ok": RESULT} or
 * {"error": "one line: object, reason, remedy"}. A connection may carry many requests, one after
 * the other; the next is looked at when the reply to the one before was taken. A line that is too
 * long is answered with an error, and the connection ends.
 *
 * "do"      arguments          result
 * status    -                  STATUS
 * ports     ["port": NAME]     [PORT...]
 * fdb       -                  [{"mac","vlan","port","type":"static"|"learned","age":S|null}...]
 * stats     ["port": NAME]     [{"port","in_frames","in_bytes","out_frames","out_bytes",
 *                                "out_calls","drops":{REASON:N...}}...]
 * workers   -                  [WORKER...]
 * port_add  "vm": WORDS        {"name","id","socket","warning":TEXT|null}, WORDS as in --vm:
 *                              NAME[,key=value...]
 * port_del  "port": NAME       {"name"}
 *
 * STATUS    {"name","pid","version","uptime":S,"run_dir","maps":DIR|null,"poll",
 *            "idle_us":N|null (unless adaptive),"ageing":S,
 *            "uplink":NIC|null,"host":TAP|null,"ports":N,"addresses":N,
 *            "vm_mtus":{"least":N|null,"most":N|null,"over_uplink":N}, the last: VMs whose MTU is
 *            longer than the uplink's;
 *            "workers":[{"id","cpu":N|null,"rounds","busy_rounds","sleeps",
 *            "queues":[{"port":NAME,"queue":N}...]}...]}, those in-queues that run
 * NIC       {"ifname","ifindex","mode","umem","queues","nic_queues","mtu","mac","up",
 *            "busy_poll":BOOL,"busy_vain":BOOL,"busy_queues":N,"busy_polls":N,
 *            "busy_hits":N,"gro":BOOL}, busy_vain: frames came, and yet no queue could be polled
 * PORT      {"id","name","kind":"uplink"|"host"|"vm","up", and of the kinds:
 *   uplink   "nic":NIC
 *   host     "ifname","mtu"
 *   vm       "mac":MAC|null,"socket","role":"server"|"client","connected","running",
 *            "why_not":TEXT|null,"ended":TEXT|null,"peer_pid":N|null,
 *            "features":HEX,"protocol_features":HEX,
 *            "offered":[FEATURE...],"asked":[FEATURE...],"negotiated":[FEATURE...],
 *            "ignored":[FEATURE...],"protocol_offered","protocol_asked","protocol_negotiated",
 *            "offloads":"none"|"csum"|"all","asks":[OFFLOAD...],"takes":[OFFLOAD...],
 *            "ring":"split"|"packed"|null,"in_order":BOOL,"mergeable":BOOL,
 *            "mtu":N|null,"mtu_option":N|null,"mtu_told":N|null,"mtu_uplink":N|null,
 *            "regions","memory":BYTES,"connections","pairs":N,"spread":N,"queues":[{"index","direction":"in"|"out","worker":N|null,"started",
 *            "enabled","size","calls","broken":TEXT|null}...]}
 *
 *            why_not: the first thing that keeps frames from passing; ended: why the last
 *            connection ended; socket: "fd N" if it has no path; offered, asked, negotiated:
 *            FEATURE is virtio's name in small letters, or "bit_N"; asked: what the front-end
 *            wanted, features: what it got, as a number; protocol_...: vhost-user's own;
 *            ignored: negotiated, but what they need was not;
 *            asks, takes: what the guest may leave to the switch, and be left with: csum, tso4,
 *            tso6, ecn, ufo, uso4, uso6; mtu: in effect, of what mtu= and the front-end said;
 *            mtu_uplink: the uplink's, if it is shorter; spread: receive queues that frames are
 *            spread over
 *
 * WORKER    {"id","cpu":N|null,"cycles_per_second","started","elapsed_cycles","busy_cycles",
 *            "idle_cycles","sleep_cycles","rounds","busy_rounds","batches","frames","syscalls",
 *            "sleeps","wakeups","paths":{PATH:{"frames","batches","cycles"}...}}: the fields of
 *            vxs_bpf.h; elapsed_cycles, since the start, are the sum of the three behind them
 *
 * MACs are text (52:54:00:12:34:56), HEX is text (0x1f), S are seconds, REASON is a field of
 * vxs_drop.h, PATH one of vxs_path.h. What is null is not there or not known.
 */
#define VXS_CTL_SOCKET   "ctl.sock"
#define VXS_CTL_LINE_MAX 4096 /* bytes of a request, its newline included */
#define VXS_RUN_DIR      "/run/vxs"
#define VXS_PIN_DIR      "/sys/fs/bpf/vxs"
#define VXS_NAME_DEFAULT "vxs0"
#define VXS_VERSION      "0.1.0"

#endif
