#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# How vxsd begins and ends, and what bpftool sees and does meanwhile.
#
#    namespace HOST                      namespace WIRE
#   ┌─────────────────────────┐         ┌───────────────┐
#   │   vxsd (VMs a, b)       │         │               │
#   │     │ AF_XDP, TAP       │         │               │
#   │    nic .1 ──────────────┼── veth ─┤ port .2       │
#   └─────────────────────────┘         └───────────────┘   10.78.0.0/24, fd78::/64
#
# Nobody is connected to the VMs' sockets: what is sent to a VM shows up in its counter
# "not_running".
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=life
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

host=$name-host
wire=$name-wire
run=/run/vxs/$name
pins=$bpffs/vxs/$name
mac_a=02:76:78:73:04:0a
mac_hand=02:76:78:73:04:0f # nobody's, until bpftool gives it to b

clean_up() {
	vxsd_stop
	net_down "$host" "$wire"
}

net() {
	net_up "$host" "$wire" && net_address "$host" nic 10.78.0.1/24 fd78::1/64 &&
		net_address "$wire" port 10.78.0.2/24 fd78::2/64 &&
		in_ns "$host" ping -c 1 -W 5 10.78.0.2
}

switch_up() {
	vxsd_start "$host" --name "$name" --uplink nic --vm a,mac="$mac_a" --vm b "$@"
}

# The NIC and its namespace as they are without a vxsd.
scene() {
	in_ns "$host" ip -details link | sed 's/ *\(state\|qlen\|prog\/xdp\).*//; /^ *prog/d'
	in_ns "$host" ip link | grep -o 'xdp[a-z]*'
	in_ns "$host" bridge fdb show dev nic
	in_ns "$host" tc qdisc show
	in_ns "$host" ethtool -k nic
}

nothing_left() {
	local now
	now=$(scene)
	[ "$now" = "$before" ] || {
		diff <(echo "$before") <(echo "$now")
		return 1
	}
	! ls -lR "$run" "$pins" 2>/dev/null
}

all_there() {
	local f
	for f in "$run/ctl.sock" "$run/a.sock" "$run/b.sock"; do
		[ -S "$f" ] || { echo "no socket $f" && return 1; }
	done
	for f in fdb ports port_stats worker_stats sockets; do
		[ -e "$pins/$f" ] || { echo "no map $pins/$f" && return 1; }
	done
	in_ns "$host" ip link show nic | grep -q xdp &&
		in_ns "$host" ip link show "vxs-$name" | grep -q UP
}

ends_by() {
	vxsd_stop "$1" && nothing_left
}

says_ready() {
	local notify_pid status=1
	"$BUILD/tests/e2e/notify" "$work/notify" 20 >"$work/notify.out" 2>&1 &
	notify_pid=$!
	wait_until 10 test -S "$work/notify" || return 1
	export NOTIFY_SOCKET=$work/notify
	switch_up --host share && status=0
	unset NOTIFY_SOCKET
	wait "$notify_pid" || status=1
	cat "$work/notify.out"
	return "$status"
}

second_is_refused() {
	local said status
	said=$(in_ns "$host" timeout 20 "$vxsd" --name "$name" --vm c 2>&1 >/dev/null)
	status=$?
	echo "status $status: $said"
	[ "$status" -eq 1 ] && [ "$(wc -l <<<"$said")" -eq 1 ] && [[ $said == *"$name"* ]] &&
		all_there && ctl status
}

host_reaches_wire() {
	in_ns "$host" ping -c 3 -i 0.1 -W 5 10.78.0.2 && in_ns "$wire" ping -c 3 -i 0.1 -W 5 10.78.0.1 &&
		in_ns "$host" ping -c 3 -i 0.1 -W 5 fd78::2
}

starts_after_kill() {
	vxsd_kill && host_reaches_wire && switch_up --host share && all_there && host_reaches_wire
}

# dump MAP: one line for each entry.
dump() {
	bpftool map dump pinned "$pins/$1" | tr -d '\n\t ' | sed 's/,{"key"/\n{"key"/g'
	echo
}

fdb_has_names() {
	local text
	text=$(dump fdb)
	echo "$text"
	[[ $text == *'{"key":{"mac":['*'],"vlan":0},"value":{"port":'*'"flags":'* ]]
}

ports_have_names() {
	local text
	text=$(dump ports | head -n 6)
	echo "$text"
	[[ $text == *'"name":"a"'* && $text == *VXS_KIND_VM* ]]
}

# bytes MAC|NUMBER...: as bpftool takes them; numbers are 16 bits wide as "s:N", else 32.
bytes() {
	local word n
	for word in "$@"; do
		case $word in
		*:*:*) printf '%s ' "${word//:/ }" ;;
		s:*) n=${word#s:} && printf '%02x %02x ' $((n & 255)) $((n >> 8)) ;;
		*) printf '%02x %02x %02x %02x ' $((word & 255)) $((word >> 8 & 255)) 0 0 ;;
		esac
	done
}

id_of() {
	ctl port show | awk -v name="$1" '$2 == name { print $1 }'
}

# counter PORT NAME: out of the map itself.
counter() {
	bpftool map dump pinned "$pins/port_stats" | tr -d '\n\t ' | sed 's/,{"key"/\n{"key"/g' |
		grep "{\"key\":$(id_of "$1")," | grep -o "\"$2\":[0-9]*" | cut -d: -f2
}

counter_above() {
	[ "$(counter "$1" "$2")" -gt "$3" ]
}

# Ten frames from the wire to an address that nobody has answered for.
send_to() {
	in_ns "$wire" ip neigh replace 10.78.0.99 lladdr "$1" dev port nud permanent
	in_ns "$wire" ping -c 10 -i 0.01 -W 1 -q 10.78.0.99
	true
}

goes_to_fixed_address() {
	local start
	start=$(counter a not_running)
	send_to "$mac_a"
	wait_until 10 counter_above a not_running $((start + 9))
}

# The wire's frames for an address go where bpftool says, though vxsd never heard of it.
entry_by_hand() {
	local start key value
	start=$(counter b not_running)
	key=$(bytes "$mac_hand" s:0)
	value=$(bytes "$(id_of b)" 0)
	# shellcheck disable=SC2086 # words are what bpftool wants
	bpftool map update pinned "$pins/fdb" key hex $key value hex $value || return 1
	send_to "$mac_hand"
	wait_until 10 counter_above b not_running $((start + 9)) || {
		ctl stats
		return 1
	}
	# shellcheck disable=SC2086
	bpftool map delete pinned "$pins/fdb" key hex $key
}

# A VM's port comes and goes.
port_comes_and_goes() {
	ctl port add c && [ -S "$run/c.sock" ] && [ -n "$(id_of c)" ] && ctl port del c &&
		[ ! -e "$run/c.sock" ] && [ -z "$(id_of c)" ]
}

json_is_json() {
	local what
	for what in status "port show" "fdb show" stats; do
		# shellcheck disable=SC2086 # two words
		ctl -j $what | python3 -c 'import json, sys; json.load(sys.stdin)' || {
			echo "$what: not JSON"
			return 1
		}
	done
}

settings_are_as_needed() {
	in_ns "$host" ethtool -k nic | grep -E '^large-receive-offload: off|^rx-vlan-offload: off' |
		awk 'END { exit NR != 2 }'
}

[ "$(id -u)" -eq 0 ] || {
	check_skip all "needs root for namespaces"
	check_end
}
bpffs_need
net_down "$host" "$wire"
check_or_end "namespaces" net
before=$(scene)

check_or_end "READY=1 comes to the service manager" says_ready
check "sockets, maps, XDP program and TAP are there" all_there
check "VLAN stripping and LRO are off" settings_are_as_needed
check "the host reaches the wire" host_reaches_wire
check "bpftool shows the fdb's fields by name" fdb_has_names
check "bpftool shows the ports' fields by name" ports_have_names
check "frames for a fixed address come to its port" goes_to_fixed_address
check "bpftool's entry takes effect on the wire side" entry_by_hand
check "a port comes and goes" port_comes_and_goes
if command -v python3 >/dev/null; then
	check "vxsctl -j prints JSON" json_is_json
else
	check_skip "vxsctl -j prints JSON" "no python3 to read it with"
fi
check "a second daemon of one name is refused" second_is_refused
check "SIGTERM ends it cleanly" ends_by TERM

check "it starts again" switch_up --host share
check "SIGINT ends it cleanly" ends_by INT
check "it starts with --host off" switch_up --host off
check "the host reaches the wire, --host off" host_reaches_wire
check "SIGTERM ends it cleanly, --host off" ends_by TERM

check "it starts for kill -9" switch_up --host share
check "after kill -9 the host goes on, and it starts again" starts_after_kill
check "after kill -9, once more" starts_after_kill
check "SIGTERM leaves nothing of all three behind" ends_by TERM
check_end
