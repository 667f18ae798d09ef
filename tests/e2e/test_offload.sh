#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What guests leave to the switch, in every direction: checksums and segments, with every checksum
# that comes out of the wire looked at; several queues, packed rings, rings that are reset, 9000 bytes.
#
#    namespace HOST                          namespace WIRE
#   ┌─────────────────────────────┐         ┌───────────────────┐
#   │  g1 .11          g2 .12     │         │   iperf3,         │
#   │   └──── vxsd ─────┘         │         │   wire_check      │
#   │          │ AF_XDP, TAP      │         │                   │
#   │         nic .1 ─────────────┼── veth ─┤ port .2           │
#   └─────────────────────────────┘         └───────────────────┘   10.78.0.0/24, fd78::/64
#
# g1 has four pairs of split rings, g2 one of packed ones. Where TCP's window is 96 KiB, all that is on
# its way fits into any ring: who then drops a frame has no excuse. What TCP sends again though nothing
# was dropped, nor found wrong by the receiver, it took for lost because its guest stood still.
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=offload
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

host=$name-host
wire=$name-wire
servers=()
watch_pid=''
declare -A v4=([g1]=10.78.0.11 [g2]=10.78.0.12 [host]=10.78.0.1 [wire]=10.78.0.2)
declare -A v6=([g1]=fd78::11 [g2]=fd78::12 [host]=fd78::1 [wire]=fd78::2)
declare -A mac=([g1]=02:76:78:73:04:11 [g2]=02:76:78:73:04:12)
window=96K
seconds=1

clean_up() {
	guest_stop g1
	guest_stop g2
	[ -z "$watch_pid" ] || stop_pid "$watch_pid"
	vxsd_stop
	for pid in "${servers[@]}"; do
		stop_pid "$pid"
	done
	net_down "$host" "$wire"
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

# net MTU
net() {
	net_down "$host" "$wire"
	net_up "$host" "$wire" && in_ns "$host" ip link set nic mtu "$1" &&
		in_ns "$wire" ip link set port mtu "$1" &&
		in_ns "$wire" ethtool -K port gro off >/dev/null &&
		net_address "$host" nic "${v4[host]}/24" "${v6[host]}/64" &&
		net_address "$wire" port "${v4[wire]}/24" "${v6[wire]}/64" &&
		serve "$host" && serve "$wire"
}

# switch_up VM-WORDS-OF-g1 VM-WORDS-OF-g2
switch_up() {
	vxsd_start "$host" --name "$name" --uplink nic --host share \
		--vm "g1,mac=${mac[g1]},$1" --vm "g2,mac=${mac[g2]},$2"
}

# boot NAME QUEUES DEVICE-WORDS
boot() {
	local mq=''
	[ "$2" -eq 1 ] || mq=,mq=on
	guest_start_with "$1" "vxs.ip=${v4[$1]}/24 vxs.ip6=${v6[$1]}/64" \
		-object "memory-backend-memfd,id=mem,size=${guest_memory}M,share=on" \
		-numa node,memdev=mem \
		-chardev "socket,id=net,path=/run/vxs/$name/$1.sock" \
		-netdev "vhost-user,id=net,chardev=net,queues=$2" \
		-device "virtio-net-pci,netdev=net,mac=${mac[$1]}$mq${3:+,$3}"
}

up() {
	guest_ready "$1" 60 || {
		tail -n 5 "$work/$1.qemu" "$work/$1.console"
		return 1
	}
}

# both_boot DEVICE-WORDS-OF-g1 DEVICE-WORDS-OF-g2
both_boot() {
	boot g1 4 "$1" && boot g2 1 "$2" && up g1 && up g2
}

# feature GUEST FEATURE on|off
feature() {
	local out
	out=$(guest_run "$1" "ethtool -k eth0")
	echo "$out"
	grep -qE "^[[:space:]]*$2: $3( |$)" <<<"$out"
}

features() { # GUEST on|off FEATURE...
	local f
	for f in "${@:3}"; do
		feature "$1" "$f" "$2" || return 1
	done
}

takes_all() {
	features "$1" on tx-checksumming tx-tcp-segmentation tx-tcp6-segmentation \
		generic-segmentation-offload generic-receive-offload rx-checksumming
}

# Frames that were dropped so far, at any port, for any reason.
drops() {
	ctl -j stats | tr -d ' \n' | grep -o '"drops":{[^}]*}' | grep -o ':[0-9]*' |
		awk -F: '{ sum += $2 } END { print sum + 0 }'
}

# counter PORT NAME
counter() {
	ctl -j stats | tr -d ' \n' | grep -o "{\"port\":\"$1\"[^}]*" | grep -o "\"$2\":[0-9]*" |
		cut -d: -f2
}

# iperf FROM TO 4|6 [IPERF3-ARGUMENT...]: something arrives, and nothing is dropped.
iperf() {
	local out before dropped rate address=${v4[$2]}
	[ "$3" = 4 ] || address=${v6[$2]}
	before=$(drops)
	out=$(guest_run "$1" "iperf3 -$3 -c $address -t $seconds -f m --connect-timeout 5000 ${*:4}" 20 2>&1)
	dropped=$(($(drops) - before))
	echo "$out"
	rate=$(megabits <<<"$out") || rate=0
	[ "$rate" -eq 0 ] || [ "$dropped" -ne 0 ] || return 0
	echo "dropped: $dropped"
	ctl stats
	return 1
}

tcp() { # FROM TO 4|6 [-R]
	iperf "$@" -w "$window"
}

udp() { # FROM TO 4|6 [-R]: what a guest's socket has no room for isn't lost by the switch
	iperf "$@" -u -b 20M
}

both_ways() { # tcp|udp FROM TO
	local v
	for v in 4 6; do
		"$1" "$2" "$3" "$v" || return 1
		"$1" "$2" "$3" "$v" -R || return 1
	done
}

pings() { # FROM TO SIZE
	local out a
	for a in "${v4[$2]}" "${v6[$2]}"; do
		out=$(guest_run "$1" "ping -c 3 -W 5 -s $3 $a")
		echo "$out"
		[[ $out == *"3 packets transmitted, 3 "*"received"* ]] || return 1
	done
}

watch_wire() {
	: >"$work/watch"
	nsenter --net="/run/netns/$wire" "$BUILD/tests/e2e/wire_check" port >"$work/watch" 2>&1 &
	watch_pid=$!
	disown $!
	wait_until 10 grep -q ready "$work/watch"
}

# seen KEY: of what came out of the wire.
seen() {
	awk -v key="$1" '$1 == "frames" { for (i = 1; i < NF; i += 2) if ($i == key) print $(i + 1) }' \
		"$work/watch"
}

# all_right LONGEST DATAGRAMS: thousands of segments came out, and so many datagrams of either version at
# least, none with a wrong checksum, none longer, none missed.
all_right() {
	stop_pid "$watch_pid"
	watch_pid=''
	cat "$work/watch"
	[ "$(seen bad)" -eq 0 ] && [ "$(seen missed)" -eq 0 ] && [ "$(seen longest)" -eq "$1" ] &&
		[ "$(seen tcp4)" -gt 1000 ] && [ "$(seen tcp6)" -gt 1000 ] && [ "$(seen udp4)" -ge "$2" ] &&
		[ "$(seen udp6)" -ge "$2" ]
}

# mean_over BYTES IN|OUT COMMAND...: what guest 1 sent or got meanwhile was longer on the average: the
# guest left the segments to the switch, or the switch joined them.
mean_over() {
	local bytes=$1 way=$2 frames total
	local frames_after total_after
	frames=$(counter g1 "${way}_frames") total=$(counter g1 "${way}_bytes")
	"${@:3}" || return 1
	frames_after=$(counter g1 "${way}_frames") total_after=$(counter g1 "${way}_bytes")
	frames=$((${frames_after:-0} - ${frames:-0}))
	total=$((${total_after:-0} - ${total:-0}))
	echo "$total bytes in $frames frames"
	[ "$frames" -gt 0 ] && [ $((total / frames)) -gt "$bytes" ]
}

# errors WHERE: segments and datagrams that came in with a wrong checksum, or wrong otherwise.
errors() {
	local text
	case $1 in
	g?) text=$(guest_run "$1" "cat /proc/net/snmp; grep InCsumErrors /proc/net/snmp6") ;;
	*) text=$(in_ns "$1" cat /proc/net/snmp /proc/net/snmp6) ;;
	esac
	awk '/^(Tcp|Udp|Icmp):/ {
		if ($2 !~ /^-?[0-9]/) { for (i = 2; i <= NF; i++) title[i] = $i }
		else for (i = 2; i <= NF; i++) if (title[i] == "InCsumErrors") sum += $i
	}
	/^(Udp|Icmp)6InCsumErrors/ { sum += $2 }
	END { print sum + 0 }' <<<"$text"
}

nobody_saw_errors() {
	local who n bad=0
	for who in g1 g2 "$host" "$wire"; do
		n=$(errors "$who")
		echo "$who: $n"
		[ "$n" = 0 ] || bad=1
	done
	return "$bad"
}

# Queues change their number under traffic that goes on.
changes_queues() {
	local n
	guest_run g1 "iperf3 -c ${v4[g2]} -t 3 -f m >/tmp/iperf 2>&1 &"
	for n in 4 2 3 1 4; do
		guest_run g1 "ethtool -L eth0 combined $n" && pings g1 g2 56 || return 1
		queues_are "$n" || return 1
	done
	guest_run g1 "wait; while pgrep -f 'iperf3 -c' >/dev/null; do sleep 1; done; cat /tmp/iperf" 30 |
		tee "$work/queues.out"
	megabits <"$work/queues.out"
}

# queues_are N: so many of g1's pairs are enabled, says the guest.
queues_are() {
	[ "$(guest_run g1 "ethtool -l eth0" | awk '/^Combined/ { n = $2 } END { print n }')" = "$1" ]
}

# QEMU tells a vhost-user back-end nothing of a driver that resets its rings, and the guest would be
# cut off: it isn't offered there, so the driver refuses.
refuses_resets() {
	! guest_run "$1" "ethtool -G eth0 rx 128 tx 128" && ! has_feature "$1" 40 && pings "$1" "$2" 56
}

mtu_is() {
	[ "$(guest_run "$1" "cat /sys/class/net/eth0/mtu")" = "$2" ]
}

# has_feature PORT BIT: its driver took it.
has_feature() {
	local features
	features=$(ctl -j port show "$1" | grep -o '"features": *"0x[0-9a-f]*"' | grep -o '0x[0-9a-f]*')
	echo "$1: $features"
	[ $((features >> $2 & 1)) -eq 1 ]
}

ring_is() { # PORT split|packed
	if [ "$2" = packed ]; then
		has_feature "$1" 34
	else
		! has_feature "$1" 34
	fi
}

all_stop() {
	guest_stop g1
	guest_stop g2
	vxsd_stop
	local status=$?
	for pid in "${servers[@]}"; do
		stop_pid "$pid"
	done
	servers=()
	return "$status"
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
check_or_end "namespaces" net 1500
check_or_end "vxsd starts" switch_up queues=4 queues=1
check_or_end "two guests boot" both_boot '' packed=on

check "guest1 leaves checksums and segments to the switch" takes_all g1
check "guest2 leaves checksums and segments to the switch" takes_all g2
# QEMU 10.0 has USO for TAPs, but doesn't pass what a vhost-user back-end offers of it.
if has_feature g1 56 >/dev/null; then
	check "guest1 leaves UDP's segments to the switch" features g1 on tx-udp-segmentation
else
	check_skip "guest1 leaves UDP's segments to the switch" "this QEMU, or the guests' kernel, passes no USO"
fi
check "guest1 has split rings" ring_is g1 split
check "guest2 has packed rings" ring_is g2 packed
check "TCP guest1 guest2" both_ways tcp g1 g2
check "TSO frames stay whole from guest to guest" mean_over 3000 in tcp g1 g2 4
check "UDP guest1 guest2" both_ways udp g1 g2
check "TCP guest1 host" both_ways tcp g1 host
check "UDP guest1 host" both_ways udp g1 host
check "the wire is watched" watch_wire
check "TCP guest1 wire" both_ways tcp g1 wire
check "UDP guest1 wire" both_ways udp g1 wire
check "TCP guest2 wire" both_ways tcp g2 wire
check "TSO frames are cut for the wire" mean_over 3000 in tcp g1 wire 4
check "segments from the wire are joined" mean_over 1600 out tcp g1 wire 4 -R
check "every frame on the wire is right" all_right 1514 1000
check "guest1 changes its number of queues" changes_queues
check "nobody got a wrong checksum" nobody_saw_errors
check "guest1 can't reset single rings" refuses_resets g1 g2
check "vxsd ends cleanly" all_stop

check_or_end "namespaces, MTU 9000" net 9000
check_or_end "vxsd starts, MTU 9000" switch_up queues=4,mtu=9000 queues=1,mtu=9000,offloads=none
check_or_end "two guests boot, MTU 9000" both_boot packed=on,host_mtu=9000 host_mtu=9000
check "guest1 has MTU 9000" mtu_is g1 9000
check "guest1 has packed rings" ring_is g1 packed
check "guest2 leaves nothing to the switch" features g2 off tx-checksumming tx-tcp-segmentation \
	tx-tcp6-segmentation
check "9000 bytes guest1 guest2" pings g1 g2 8900
check "9000 bytes guest2 wire" pings g2 wire 8900
check "9000 bytes guest1 host" pings g1 host 8900
check "TCP guest1 guest2, MTU 9000" both_ways tcp g1 g2
check "the wire is watched, MTU 9000" watch_wire
check "TCP guest1 wire, MTU 9000" both_ways tcp g1 wire
check "UDP guest1 wire, MTU 9000" both_ways udp g1 wire
check "TCP guest2 wire, MTU 9000" both_ways tcp g2 wire
check "every frame on the wire is right, MTU 9000" all_right 9014 200
check "nobody got a wrong checksum, MTU 9000" nobody_saw_errors
check "vxsd ends cleanly, MTU 9000" all_stop
check_end
