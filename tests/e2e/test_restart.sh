#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vxsd is killed and started again under two guests that run iperf3; then the guests' QEMUs are.
#
#    g1 .1 ── QEMU listens, vxsd calls it (role=client) ── vxsd ── QEMU calls (reconnect=1) ── g2 .2
#
# RESTARTS is how often (default 10); 100 of them take two minutes.
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=restart
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

run=$work/run
restarts=${RESTARTS:-10}
declare -A v4=([g1]=10.79.0.1 [g2]=10.79.0.2) v6=([g1]=fd79::1 [g2]=fd79::2)
declare -A boot_id qemu_fds qemu_rss
vxsd_fds='' vxsd_rss=''

clean_up() {
	guest_stop g1
	guest_stop g2
	vxsd_stop
}

switch_up() {
	vxsd_start '' --name "$name" --run-dir "$run" \
		--vm "g1,role=client,socket=$work/g1.sock" --vm g2
}

boot() {
	guest_start_port "$1" "${v4[$1]}/24" "${v6[$1]}/64"
}

up() {
	guest_ready "$1" 90 || {
		tail -n 5 "$work/$1.qemu" "$work/$1.console"
		return 1
	}
}

both_boot() {
	boot g1 && boot g2 && up g1 && up g2
}

pings() {
	guest_run g1 "ping -c 2 -W 5 ${v4[g2]}"
}

arguments_are_for_restarts() {
	local text
	text="$(ctl qemu g1) $(ctl qemu g2)"
	echo "$text"
	[[ $text == *"path=$work/g1.sock,server=on,wait=off"* ]] &&
		[[ $text == *"path=$run/g2.sock,reconnect=1"* ]]
}

guest_boot_id() {
	guest_run "$1" "cat /proc/sys/kernel/random/boot_id"
}

# The client writes what came of each half second to a file in its guest.
iperf_starts() {
	local g
	for g in g1 g2; do
		boot_id[$g]=$(guest_boot_id "$g") && [ -n "${boot_id[$g]}" ] || return 1
	done
	# something to be seen at any moment, whatever TCP waits for
	guest_run g1 "ping -i 0.1 ${v4[g2]} >/dev/null 2>&1 &" &&
		guest_run g2 "ping -i 0.1 ${v4[g1]} >/dev/null 2>&1 &" || return 1
	guest_run g1 "iperf3 -c ${v4[g2]} -t 3600 -i 0.5 -f k --forceflush >/tmp/iperf 2>&1 & echo \$! >/tmp/pid" &&
		wait_until 20 iperf_goes_on
}

# Half seconds in which something came, so far.
moments() {
	guest_run g1 "grep -c 'sec.* [1-9][0-9.]* Kbits' /tmp/iperf"
}

iperf_goes_on() {
	local before
	before=$(moments) && [ "${before:-0}" -gt 0 ] || return 1
	guest_run g1 "kill -0 \$(cat /tmp/pid)" || return 1
	wait_until 20 more_moments "$before"
}

more_moments() {
	[ "$(moments)" -gt $(($1 + 1)) ]
}

# has_frames PORT [OUT]: that its guest has sent something, and also got something.
has_frames() {
	ctl stats "$1" 2>/dev/null | awk -v port="$1" -v out="${2:-}" '
		$1 == port && $2 ~ /^[0-9]+$/ { found = $2 > 0 && (!out || $4 > 0) } END { exit !found }'
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# TCP has recovered. Without that, a next restart would have it wait longer and longer.
has_stream() {
	ctl stats g2 2>/dev/null | awk '$1 == "g2" && $2 ~ /^[0-9]+$/ { found = $5 > 500000 }
		END { exit !found }'
}

# restart: kill -9, start, and wait until frames flow both ways. How long after vxsd was ready the
# first one came from g1, and how long until g2 had got and sent one, goes to $took_..., in ms.
restart() {
	local begin end=$((SECONDS + 30))
	vxsd_kill || return 1
	switch_up || return 1
	begin=$(now_ms)
	took_g1='' took_g2=''
	until [ -n "$took_g1" ] && [ -n "$took_g2" ]; do
		[ -n "$took_g1" ] || ! has_frames g1 || took_g1=$(($(now_ms) - begin))
		[ -n "$took_g2" ] || ! has_frames g2 out || took_g2=$(($(now_ms) - begin))
		[ "$SECONDS" -lt "$end" ] || {
			ctl port show g1
			ctl port show g2
			ctl stats
			return 1
		}
	done
	wait_until 30 has_stream
}

fds_of() {
	find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

rss_of() {
	awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"
}

measure() {
	local g
	for g in g1 g2; do
		qemu_fds[$g]=$(fds_of "$(guest_pid "$g")")
		qemu_rss[$g]=$(rss_of "$(guest_pid "$g")")
	done
	vxsd_fds=$(fds_of "$vxsd_pid")
	vxsd_rss=$(rss_of "$vxsd_pid")
}

tell() {
	echo "     $1: vxsd $vxsd_fds fds $vxsd_rss KiB," \
		"g1 ${qemu_fds[g1]} fds ${qemu_rss[g1]} KiB, g2 ${qemu_fds[g2]} fds ${qemu_rss[g2]} KiB"
}

summary() { # of milliseconds, one a line
	sort -n | awk '{ v[NR] = $1 } END { printf "median %d, most %d ms", v[int((NR + 1) / 2)], v[NR] }'
}

restarts_many_times() {
	local i
	for ((i = 0; i < restarts; i++)); do
		restart || {
			echo "restart $i"
			return 1
		}
		echo "$took_g1" >>"$work/took-g1"
		echo "$took_g2" >>"$work/took-g2"
		[ "$i" -ne 2 ] || { # the first ones find every path for the first time
			measure
			tell "after 3" >"$work/first"
			first_fds="$vxsd_fds ${qemu_fds[g1]} ${qemu_fds[g2]}"
			first_rss=("$vxsd_rss" "${qemu_rss[g1]}" "${qemu_rss[g2]}")
		}
	done
	measure
}

fds_stay() {
	echo "$first_fds, then $vxsd_fds ${qemu_fds[g1]} ${qemu_fds[g2]}"
	[ "$first_fds" = "$vxsd_fds ${qemu_fds[g1]} ${qemu_fds[g2]}" ]
}

# QEMU's translations of guest code come and go; a map of the guest's memory that was left would be
# much more than this.
rss_stays() {
	echo "${first_rss[*]}, then $vxsd_rss ${qemu_rss[g1]} ${qemu_rss[g2]}"
	[ "$vxsd_rss" -lt $((first_rss[0] + 2048)) ] &&
		[ "${qemu_rss[g1]}" -lt $((first_rss[1] + 65536)) ] &&
		[ "${qemu_rss[g2]}" -lt $((first_rss[2] + 65536)) ]
}

no_reboot() {
	[ "$(guest_boot_id g1)" = "${boot_id[g1]}" ] && [ "$(guest_boot_id g2)" = "${boot_id[g2]}" ]
}

# Killed, so that its listening socket stays as a file that nobody listens on.
qemu_again() {
	local before=$vxsd_pid
	guest_stop "$1" KILL
	wait_until 10 says_gone "$1" || return 1
	boot "$1" && up "$1" && pings && [ "$vxsd_pid" = "$before" ] && [ -d "/proc/$before" ]
}

says_gone() {
	ctl port show "$1" | grep "last connection ended: the front-end hung up"
}

if ! "$top/scripts/guest" "$guest_image" >"$work/image.out" 2>&1; then
	check_fail "guest image" "$(cat "$work/image.out")"
	check_end
fi
check_or_end "vxsd starts" switch_up
check "vxsctl qemu prints how either side comes back" arguments_are_for_restarts
check_or_end "two guests boot" both_boot
check_or_end "they reach each other" pings
check_or_end "iperf3 runs" iperf_starts
check_or_end "vxsd is killed and started $restarts times, and frames flow each time" restarts_many_times
cat "$work/first"
tell "after $restarts"
echo "     first frame after vxsd is ready: role=client $(summary <"$work/took-g1");" \
	"reconnect=1, both ways: $(summary <"$work/took-g2")"
check "iperf3 has gone on" iperf_goes_on
check "no guest was rebooted" no_reboot
check "file descriptors of vxsd and both QEMUs are as many as before" fds_stay
check "so is their memory" rss_stays
check "QEMU is killed and starts again, role=client" qemu_again g1
check "QEMU is killed and starts again, role=server" qemu_again g2
check "vxsd ends cleanly" vxsd_stop
check_end
