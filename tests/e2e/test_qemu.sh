#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Two QEMU guests, their host and the wire on one switch: everyone reaches everyone, and guests,
# QEMU and vxsd may come and go.
#
#    namespace HOST                          namespace WIRE
#   ┌─────────────────────────────┐         ┌───────────────┐
#   │  g1 .11          g2 .12     │         │               │
#   │   └──── vxsd ─────┘         │         │               │
#   │          │ AF_XDP, TAP      │         │               │
#   │         nic .1 ─────────────┼── veth ─┤ port .2       │
#   └─────────────────────────────┘         └───────────────┘   10.77.0.0/24, fd77::/64
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=qemu
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

host=$name-host
wire=$name-wire
servers=()
declare -A v4=([g1]=10.77.0.11 [g2]=10.77.0.12 [host]=10.77.0.1 [wire]=10.77.0.2)
declare -A v6=([g1]=fd77::11 [g2]=fd77::12 [host]=fd77::1 [wire]=fd77::2)
declare -A mac=([g1]=02:76:78:73:02:11 [g2]=02:76:78:73:02:12)

clean_up() {
	guest_stop g1
	guest_stop g2
	vxsd_stop
	for pid in "${servers[@]}"; do
		stop_pid "$pid"
	done
	net_down "$host" "$wire"
}

# on WHERE COMMAND
on() {
	case $1 in
	host) in_ns "$host" bash -c "$2" ;;
	wire) in_ns "$wire" bash -c "$2" ;;
	*) guest_run "$1" "$2" "${3:-40}" ;;
	esac
}

# Three replies to three requests, none of them twice.
pings() {
	local out
	out=$(on "$1" "ping -c 3 -i 0.2 -W 5 $2" 2>&1)
	echo "$out"
	[[ $out == *"3 packets transmitted, 3 "*"received"* && $out != *[Dd][Uu][Pp]* ]]
}

both_ways() {
	pings "$1" "${v4[$2]}" && pings "$2" "${v4[$1]}" && pings "$1" "${v6[$2]}"
}

# Echo requests that came in at WHERE so far.
requests() {
	on "$1" "cat /proc/net/snmp" | awk '$1 == "IcmpMsg:" {
		if (!n++) { for (i = 2; i <= NF; i++) if ($i == "InType8") at = i }
		else if (at) { print $at; found = 1 }
	} END { if (!found) print 0 }'
}

# A broadcast comes to each of the others once. The ping after it, on the same way, says that it
# has come as often as it ever will.
broadcast_once() {
	local who flag='' n
	local -A before
	for who in g1 g2 host wire; do
		before[$who]=$(requests "$who")
	done
	[[ $1 == g? ]] || flag=-b # busybox needs no leave
	on "$1" "ping $flag -c 1 -W 1 10.77.0.255"
	for who in g1 g2 host wire; do
		[ "$who" != "$1" ] || continue
		on "$1" "ping -c 1 -W 5 ${v4[$who]}" || return 1
		n=$(($(requests "$who") - before[$who] - 1))
		[ "$n" -eq 1 ] || {
			echo "$who saw it $n times"
			return 1
		}
	done
}

# iperf FROM TO [-R]
iperf() {
	local out rate
	out=$(on "$1" "iperf3 -c ${v4[$2]} -t 2 -f m ${3:-}" 60 2>&1)
	echo "$out"
	rate=$(megabits <<<"$out") && [ "$rate" -gt 0 ]
}

serve() {
	nsenter --net="/run/netns/$1" iperf3 -s </dev/null >"$work/iperf-$1.log" 2>&1 &
	servers+=($!)
	disown $!
	wait_until 10 listens "$1"
}

listens() {
	[ -n "$(in_ns "$1" ss -Hltn 'sport = 5201')" ]
}

switch_up() {
	vxsd_start "$host" --name "$name" --uplink nic --vm g1,mac="${mac[g1]}" --vm g2 "$@"
}

boot() {
	guest_start "$1" "/run/vxs/$name/$1.sock" "${mac[$1]}" "${v4[$1]}/24" "${v6[$1]}/64"
}

up() {
	guest_ready "$1" 60 || {
		tail -n 5 "$work/$1.qemu" "$work/$1.console"
		return 1
	}
}

net() {
	net_up "$host" "$wire" && net_address "$host" nic "${v4[host]}/24" "${v6[host]}/64" &&
		net_address "$wire" port "${v4[wire]}/24" "${v6[wire]}/64" &&
		serve "$host" && serve "$wire"
}

both_boot() {
	boot g1 && boot g2 && up g1 && up g2
}

reboots() {
	local before
	before=$(guest_pid "$1")
	guest_reboot "$1" 60 && [ "$(guest_pid "$1")" = "$before" ] &&
		guest_run "$1" "test \$(cut -d. -f1 /proc/uptime) -lt 40"
}

qemu_again() {
	guest_stop "$1" KILL
	wait_until 10 port_is no "$1" || return 1
	boot "$1" && up "$1"
}

# port_is yes|no PORT: what the column UP says.
port_is() {
	[ "$(ctl port show | awk -v name="$2" '$2 == name { print $4 }')" = "$1" ]
}

wants_socket() {
	! "$vxsd" --name "$name-2" --run-dir "$work/second" --vm "x,socket=/run/vxs/$name/$1.sock"
}

# The host's own ping goes on while vxsd is killed, and while it starts again.
survives_kill() {
	local out ping_pid
	nsenter --net="/run/netns/$host" ping -i 0.1 -w 60 "${v4[wire]}" >"$work/ping.out" 2>&1 &
	ping_pid=$! # nsenter has become ping
	wait_until 10 replies 10 && vxsd_kill && replies_more 10 &&
		switch_up --host share && replies_more 10
	out=$?
	stop_pid "$ping_pid"
	cat "$work/ping.out"
	[ "$out" -eq 0 ] && ! grep -qi dup "$work/ping.out"
}

replies() {
	[ "$(grep -c 'bytes from' "$work/ping.out")" -ge "$1" ]
}

replies_more() {
	wait_until 10 replies $(($(grep -c 'bytes from' "$work/ping.out") + $1))
}

[ "$(id -u)" -eq 0 ] || {
	check_skip all "needs root"
	check_end
}
if ! "$top/scripts/guest" "$guest_image" >"$work/image.out" 2>&1; then
	check_fail "guest image" "$(cat "$work/image.out")"
	check_end
fi
bpffs_need
net_down "$host" "$wire"
check_or_end "namespaces" net
check_or_end "vxsd starts" switch_up --host share
check_or_end "two guests boot" both_boot

check "ping guest1 guest2" both_ways g1 g2
check "ping guest1 host" both_ways g1 host
check "ping guest1 wire" both_ways g1 wire
check "ping guest2 host" both_ways g2 host
check "ping guest2 wire" both_ways g2 wire
check "ping host wire" both_ways host wire
check "broadcast from guest1 is seen once by each" broadcast_once g1
check "broadcast from wire is seen once by each" broadcast_once wire
check "broadcast from host is seen once by each" broadcast_once host
check "iperf3 guest1 to guest2" iperf g1 g2
check "iperf3 guest2 to guest1" iperf g1 g2 -R
check "iperf3 guest1 to wire" iperf g1 wire
check "iperf3 wire to guest1" iperf g1 wire -R
check "iperf3 guest2 to host" iperf g2 host
check "iperf3 host to guest2" iperf g2 host -R

before=$vxsd_pid
check "another vxsd wants guest1's socket" wants_socket g1
check "guest1 did not notice that" both_ways g1 g2
check "guest1 reboots" reboots g1
check "after the reboot" both_ways g1 g2
check "QEMU of guest2 is killed and starts again" qemu_again g2
check "after QEMU's restart" both_ways g2 wire
check "guest1 did not notice" both_ways g1 g2
check "vxsd ran through all of it" test "$vxsd_pid" = "$before" -a -d "/proc/$before"

check "host traffic outlives kill -9 of vxsd" survives_kill
guest_stop g1
guest_stop g2
check "guests boot after vxsd's restart" both_boot
check "ping guest1 guest2 after vxsd's restart" both_ways g1 g2
check "ping guest2 wire after vxsd's restart" both_ways g2 wire

guest_stop g1
guest_stop g2
check "vxsd ends cleanly" vxsd_stop
check "vxsd starts with --host off" switch_up --host off
check "two guests boot, --host off" both_boot
check "ping guest1 guest2, --host off" both_ways g1 g2
check "ping guest1 wire, --host off" both_ways g1 wire
check "ping guest2 wire, --host off" both_ways g2 wire
check "ping host wire, --host off" both_ways host wire
check "iperf3 guest1 to wire, --host off" iperf g1 wire
check "iperf3 wire to guest1, --host off" iperf g1 wire -R
check_end
