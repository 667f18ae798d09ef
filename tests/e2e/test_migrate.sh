#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A guest moves from one host's vxsd to another's while it talks to a station on the wire between
# them: few pings are lost, no connection breaks, and the wire learns where the guest is now.
#
#    namespace HOST A              namespace WIRE              namespace HOST B
#   ┌────────────────┐       ┌───────────────────────┐       ┌────────────────┐
#   │ QEMU ── vxsd   │       │       bridge .2       │       │   vxsd ── QEMU │
#   │  .11     │     │       │      /         \      │       │     │      .11 │
#   │         nic ───┼─ veth ┼── to-a        to-b ───┼─ veth ┼─── nic         │
#   └────────────────┘       └───────────────────────┘       └────────────────┘   10.77.0.0/24
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=migrate
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

wire=$name-wire
declare -A host=([a]=$name-host-a [b]=$name-host-b) pid=() ctl=() idle_fds=()
declare -A qmp_fd=()
guest='' # the QEMU that the guest is in: m1, then m2, ...
guests=0
guest_side=''
netdev='' device='' qemu=() # how the guests of a run are made
mac=02:76:78:73:02:11
guest_ip=10.77.0.11
ping_pid='' iperf_pid=''
pings_lost_most=19 # at one every 10 ms
# QEMU before 9.0 under TCG forgets to look again at what its TLBs have as written, and loses it in a
# migration, of guests without any network as well; but not if the memory is no multiple of 256 KiB.
guest_memory=$((192 * 1024 - 8))K

clean_up() {
	local p i
	for p in $ping_pid $iperf_pid; do
		stop_pid "$p"
	done
	for ((i = 1; i <= guests; i++)); do
		guest_stop "m$i"
	done
	for p in "${pid[@]}"; do
		stop_pid "$p"
	done
	net_down "${host[@]}" "$wire"
}

# --- hosts and wire ---

net() {
	local ns side
	for ns in "${host[@]}" "$wire"; do
		ip netns add "$ns" && in_ns "$ns" ip link set lo up || return 1
		in_ns "$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	done
	in_ns "$wire" ip link add name lan address 02:76:78:73:01:02 type bridge || return 1
	for side in a b; do
		ip link add nic netns "${host[$side]}" type veth peer name "to-$side" netns "$wire" &&
			in_ns "${host[$side]}" ip link set nic up &&
			in_ns "$wire" ip link set "to-$side" master lan up || return 1
		# What leaves a wire has its checksum; a veth would leave it to the receiver.
		in_ns "$wire" ethtool -K "to-$side" tx off >/dev/null
	done
	in_ns "$wire" ethtool -K lan tx off >/dev/null
	in_ns "$wire" ip addr add 10.77.0.2/24 dev lan && in_ns "$wire" ip link set lan up
}

# switch_up SIDE PORT-WORDS
switch_up() {
	vxsd_start "${host[$1]}" --name "$name-$1" --uplink nic --host off --vm "m$2" || return 1
	pid[$1]=$vxsd_pid
	ctl[$1]=${vxsd_ctl[*]}
	idle_fds[$1]=$(count_fds "$1")
}

switch_down() {
	stop_pid "${pid[$1]}" && unset "pid[$1]"
}

# ports_with PORT-WORDS: both switches anew.
ports_with() {
	switch_down a && switch_down b && switch_up a "$1" && switch_up b "$1"
}

# on_switch SIDE WORD...: vxsctl.
on_switch() {
	local side=$1
	shift
	# shellcheck disable=SC2086 # words
	${ctl[$side]} "$@"
}

count_fds() {
	find "/proc/${pid[$1]}/fd" -mindepth 1 | wc -l
}

other() {
	[ "$1" = a ] && echo b || echo a
}

# --- QEMU, with a QMP monitor on a pair of FIFOs ---

# launch SIDE [QEMU-ARGUMENT...]: the next QEMU, $launched.
launch() {
	local side=$1 fd
	shift
	guests=$((guests + 1))
	launched=m$guests
	mkfifo "$work/$launched.qmp.in" "$work/$launched.qmp.out" || return 1
	guest_start_with "$launched" "vxs.ip=$guest_ip/24" \
		-object "memory-backend-memfd,id=mem,size=$guest_memory,share=on" \
		-numa node,memdev=mem "${qemu[@]}" \
		-chardev "socket,id=net,path=/run/vxs/$name-$side/m.sock" \
		-netdev "vhost-user,id=net,chardev=net$netdev" \
		-device "virtio-net-pci,netdev=net,mac=$mac$device" \
		-chardev "pipe,id=qmp,path=$work/$launched.qmp" -mon chardev=qmp,mode=control "$@"
	exec {fd}<>"$work/$launched.qmp.out" || return 1
	qmp_fd[$launched]=$fd
	qmp "$launched" qmp_capabilities
}

# qmp NAME COMMAND [ARGUMENTS]: ARGUMENTS is JSON without its braces; the answer is in $qmp_line.
qmp() {
	printf '{"execute":"%s","arguments":{%s}}\n' "$2" "${3:-}" >"$work/$1.qmp.in"
	qmp_await "$1" '"(return|error)":' 10 && [[ $qmp_line != *'"error":'* ]]
}

# qmp_await NAME REGEX SECONDS: the next line that matches, in $qmp_line.
qmp_await() {
	local end=$((SECONDS + $3)) part=''
	while [ "$SECONDS" -lt "$end" ] && guest_alive "$1"; do
		if ! IFS= read -r -t 1 -u "${qmp_fd[$1]}" qmp_line; then
			part+=$qmp_line # time was up in the middle of a line
			continue
		fi
		qmp_line=$part$qmp_line
		part=''
		echo "$1: $qmp_line"
		[[ ! $qmp_line =~ $2 ]] || return 0
	done
	return 1
}

capability() {
	qmp "$1" migrate-set-capabilities "\"capabilities\":[{\"capability\":\"$2\",\"state\":true}]"
}

# boot SIDE
boot() {
	launch "$1" || return 1
	guest=$launched
	guest_side=$1
	guest_ready "$guest" 60 || {
		tail -n 5 "$work/$guest.qemu" "$work/$guest.console"
		return 1
	}
}

# --- migrations ---

# What a kind of migration does to two QEMUs that stand ready: SOURCE DESTINATION.
precopy() {
	capability "$1" events && capability "$2" events &&
		qmp "$1" migrate-set-parameters '"max-bandwidth":1000000000,"downtime-limit":50' &&
		migrates "$@" && migration_ends "$1"
}

# Newer QEMUs want to know all about it before the destination listens.
migrates() {
	local where="\"uri\":\"unix:$work/move.sock\""
	qmp "$2" migrate-incoming "$where" && qmp "$1" migrate "$where"
}

migration_ends() {
	qmp_await "$1" '"status": *"(completed|failed)"' 60 && [[ $qmp_line == *completed* ]]
}

# The guest goes at once, and its memory follows. It is sent slowly until then, so that most of it
# does; what is missed goes beside the rest, where QEMU knows how (7.2 or newer).
postcopy() {
	local name
	for name in "$1" "$2"; do
		capability "$name" events && capability "$name" postcopy-ram || return 1
	done
	! capability "$1" postcopy-preempt || capability "$2" postcopy-preempt || return 1
	qmp "$1" migrate-set-parameters '"max-bandwidth":10000000' &&
		migrates "$@" &&
		qmp_await "$1" '"status": *"(active|completed|failed)"' 60 &&
		qmp "$1" migrate-start-postcopy &&
		qmp_await "$1" '"status": *"(postcopy-active|completed|failed)"' 60 &&
		[[ $qmp_line == *postcopy-active* ]] && migration_ends "$1"
}

# move KIND [-S]: the guest goes to the other side, and QEMU ends on this one. With -S it goes on
# there when both have been seen to have the same memory.
move() {
	local from=$guest to
	to=$(other "$guest_side")
	rm -f "$work/move.sock"
	if ! launch "$to" -incoming defer "${@:2}" || ! "$1" "$from" "$launched"; then
		tail -n 5 "$work/$from.qemu" "$work/$launched.qemu"
		return 1
	fi
	if [ $# -gt 1 ]; then
		migration_ends "$launched" && cmp "$(memory_of "$from")" "$(memory_of "$launched")" &&
			qmp "$launched" cont || return 1
	fi
	guest=$launched
	guest_side=$to
	guest_stop "$from"
}

memory_of() {
	find "/proc/$(guest_pid "$1")/fd" -lname '/memfd:memory-backend-memfd*' -print -quit
}

# The guest is where we believe it to be, and runs.
answers() {
	[ "$(guest_run "$guest" 'expr 6 \* 7')" = 42 ] && port_is yes "$guest_side" &&
		wait_until 10 port_is no "$(other "$guest_side")"
}

# port_is yes|no SIDE: what the column UP says.
port_is() {
	[ "$(on_switch "$2" port show | awk '$2 == "m" { print $4 }')" = "$1" ]
}

# Both switches and the bridge between them know the way to the guest.
way_is_known() {
	wait_until 10 way_leads_to "$guest_side" && return
	in_ns "$wire" bridge fdb show br lan
	on_switch a fdb show
	on_switch b fdb show
	return 1
}

way_leads_to() {
	in_ns "$wire" bridge fdb show br lan | grep -q "^$mac dev to-$1 " &&
		fdb_says "$1" m && fdb_says "$(other "$1")" nic
}

# fdb_says SIDE PORT
fdb_says() {
	on_switch "$1" fdb show | awk -v mac="$mac" -v port="$2" \
		'$1 == mac { n++; found = $3 == port } END { exit !(n == 1 && found) }'
}

# has_feature yes|no NAME: whether the guest agreed to it.
has_feature() {
	local answer=no
	on_switch "$guest_side" -j port show m | tr -d ' \n' | grep -o '"negotiated":\[[^]]*\]' |
		grep -q "\"$2\"" && answer=yes
	[ "$answer" = "$1" ]
}

# --- what goes on meanwhile ---

# A ping every 10 ms, and one TCP connection with bytes both ways.
talk() {
	[ -z "$ping_pid" ] || stop_pid "$ping_pid" # of a run that failed
	nsenter --net="/run/netns/$wire" ping -i 0.01 "$guest_ip" >"$work/ping.out" 2>&1 &
	ping_pid=$!
	nsenter --net="/run/netns/$wire" iperf3 -c "$guest_ip" --bidir -b 20M -t 120 -i 0.25 -f k \
		--forceflush >"$work/iperf.out" 2>&1 </dev/null &
	iperf_pid=$!
	disown "$iperf_pid"
	wait_until 20 replies_more_than 50 && wait_until 20 receives_more_than 2
}

replies_more_than() {
	[ "$(grep -c 'bytes from' "$work/ping.out")" -gt "$1" ]
}

# Intervals in which the connection brought bytes from the guest.
intervals() {
	awk '/RX-C/ && $5 > 0 { n++ } END { print n + 0 }' "$work/iperf.out"
}

receives_more_than() {
	[ "$(intervals)" -gt "$1" ]
}

connection_lives() {
	wait_until 20 receives_more_than $(($(intervals) + 4)) && ! pid_gone "$iperf_pid" && return
	tail -n 8 "$work/iperf.out"
	return 1
}

few_pings_lost() {
	local sent got
	wait_until 20 replies_more_than $(($(grep -c 'bytes from' "$work/ping.out") + 50)) || return 1
	stop_pid "$ping_pid" INT
	ping_pid=''
	read -r sent _ _ got _ < <(grep 'packets transmitted' "$work/ping.out")
	echo "$sent sent, $got received"
	lost=$((sent - got))
	[ "$got" -gt 100 ] && [ "$lost" -le "$pings_lost_most" ]
}

# --- a run: there in silence, and back while it talks ---

# run TEXT KIND QUEUES FEATURE
run() {
	local text=$1 kind=$2 queues=$3
	netdev='' device='' qemu=()
	if [ "$queues" -gt 1 ]; then
		netdev=,queues=$queues
		device=,mq=on
		qemu=(-smp "$queues")
	fi
	device+=${4:-}
	check_or_end "$text: the guest boots" boot a
	check "$text: it goes to the other host" move "$kind" || check_end
	check "$text: it runs there" answers
	check "$text: the wire knows the way without a word from it" way_is_known
	check "$text: it talks" talk
	check "$text: it comes back meanwhile" move "$kind" || check_end
	check "$text: it runs here again" answers
	check "$text: the wire knows the way" way_is_known
	check "$text: its connection lives" connection_lives
	lost=all
	check "$text: fewer than $((pings_lost_most + 1)) pings are lost" few_pings_lost
	echo "     pings lost: $lost"
	check "$text: all of its memory goes with it" move "$kind" -S || check_end
	check "$text: it runs there again" answers
	check "$text: its connection still lives" connection_lives
	stop_pid "$iperf_pid"
	iperf_pid=''
}

# leaves_nothing: the last front-end goes, and with it all that it brought.
leaves_nothing() {
	guest_stop "$guest"
	wait_until 10 fds_are_back && return
	ls -l "/proc/${pid[a]}/fd" "/proc/${pid[b]}/fd"
	return 1
}

fds_are_back() {
	[ "$(count_fds a)" -eq "${idle_fds[a]}" ] && [ "$(count_fds b)" -eq "${idle_fds[b]}" ]
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
net_down "${host[@]}" "$wire"
check_or_end "namespaces" net
check_or_end "vxsd starts on host A" switch_up a ,queues=2
check_or_end "vxsd starts on host B" switch_up b ,queues=2

run "pre-copy" precopy 1
check "pre-copy: the guest could announce itself" has_feature yes guest_announce
check "pre-copy: nothing stays of it" leaves_nothing

run "pre-copy, 2 queues" precopy 2 ,guest_announce=off
check "pre-copy, 2 queues: only QEMU could announce it" has_feature no guest_announce
check "pre-copy, 2 queues: nothing stays of it" leaves_nothing

check_or_end "post-copy: ports for it" ports_with ,postcopy=on
run "post-copy" postcopy 1
check "post-copy: nothing stays of it" leaves_nothing

check "vxsd ends cleanly on host A" switch_down a
check "vxsd ends cleanly on host B" switch_down b
check_end
