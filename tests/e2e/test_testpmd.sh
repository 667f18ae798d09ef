#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# DPDK's testpmd as the front-end of both VMs: 10 million frames go round in each of its virtqueue
# layouts, and none gets lost.
#
#    dpdk-testpmd, io forwarding (what comes in on one port goes out of the other)
#   ┌──────────────────────────────┐
#   │  port 0 <────────> port 1    │   virtio-user devices
#   └────┬──────────────────┬──────┘
#        │ a.sock           │ b.sock
#   ┌────┴──────────────────┴──────┐
#   │             vxsd             │   an ordinary user's, without uplink
#   └──────────────────────────────┘
#
# One burst from each port is in the loop and never more, so no ring is ever full: a frame that
# is missing was lost. What testpmd sent on one port must be what vxsd took in, what vxsd gave out
# and, but for the frames that are in the loop when it stops, what testpmd received on the other.
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=testpmd
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"
# shellcheck source-path=SCRIPTDIR source=layouts.sh
. "$here/layouts.sh"

frames=10000000
burst=32
mac_a=02:76:78:73:03:01
mac_b=02:76:78:73:03:02
pages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
pages_before=''
testpmd_pid=''
layout=''

clean_up() {
	testpmd_kill
	vxsd_stop
	rm -rf "/run/dpdk/vxs-$$" # DPDK leaves it, however it ends
	if [ -n "$pages_before" ]; then
		umount "$work/huge" 2>/dev/null
		echo "$pages_before" >"$pages"
	fi
}

testpmd_kill() {
	[ -z "$testpmd_pid" ] || stop_pid "$testpmd_pid" KILL
	testpmd_pid=''
}

# 400 pages of 2 MiB free for us, and a hugetlbfs of our own.
huge_pages() {
	local now want free
	[ -w $pages ] || return 1
	now=$(cat $pages)
	free=$(cat ${pages%/*}/free_hugepages)
	pages_before=$now
	want=$((now - free + 400))
	[ "$want" -le "$now" ] || echo $want >$pages
	mkdir "$work/huge"
	[ "$(cat ${pages%/*}/free_hugepages)" -ge 400 ] &&
		mount -t hugetlbfs -o pagesize=2M none "$work/huge"
}

# As an ordinary user, with no capability at all. The program may lie where nobody can read it.
nobody_starts() {
	rm -rf "$work/run"
	mkdir -p "$work/run"
	cp "$vxsd" "$work/vxsd"
	chmod 711 "$work"
	chown 65534:65534 "$work/run"
	local vxsd=$work/nobody
	cat >"$vxsd" <<-END
		#!/bin/sh
		exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \\
			--bounding-set=-all --no-new-privs "$work/vxsd" "\$@"
	END
	chmod 755 "$vxsd"
	vxsd_start '' --name "$name" --run-dir "$work/run" --poll busy --cpus "$cpu" "$@"
}

tell() {
	printf '%s\n' "$1" >&"$testpmd_in"
}

# says TEXT: it stands in testpmd's output.
says() {
	grep -qF "$1" "$work/testpmd.out" || pid_gone "$testpmd_pid"
}

# testpmd_starts DEVICE-ARGUMENTS QUEUES [ARGUMENT...]
testpmd_starts() {
	local device=$1 queues=$2
	shift 2
	rm -f "$work/testpmd.in"
	mkfifo "$work/testpmd.in"
	exec {testpmd_in}<>"$work/testpmd.in"
	stdbuf -oL dpdk-testpmd --lcores="0@$cpu,1@$cpu_busy" --no-pci --single-file-segments -m 512 \
		--huge-dir "$work/huge" --file-prefix "vxs-$$" --log-level=lib.eal:warning \
		"${layout_eal[@]}" \
		--vdev "net_virtio_user0,path=$work/run/a.sock,mac=$mac_a,queues=$queues,$device" \
		--vdev "net_virtio_user1,path=$work/run/b.sock,mac=$mac_b,queues=$queues,$device" \
		-- -i --nb-cores=1 --rxq="$queues" --txq="$queues" --burst="$burst" --no-flush-rx \
		--total-num-mbufs=16384 --eth-peer=0,"$mac_b" --eth-peer=1,"$mac_a" \
		--no-lsc-interrupt --disable-device-start "$@" \
		<&"$testpmd_in" >"$work/testpmd.out" 2>&1 &
	testpmd_pid=$!
	wait_until 30 says "testpmd>" && ! pid_gone "$testpmd_pid" || return 1
	tell "port start all"
	tell "set fwd io"
	tell "start tx_first"
}

# counter PORT NAME: of vxsd.
counter() {
	ctl -j stats | tr -d ' \n' | grep -o "{\"port\":\"$1\"[^}]*" | grep -o "\"$2\":[0-9]*" |
		cut -d: -f2
}

# No answer counts as nothing: an empty sum would be a syntax error, at which bash gives up the whole
# loop over the layouts, and testpmd with it.
has_come() {
	local a b
	a=$(counter a in_frames) b=$(counter b in_frames)
	[ $((${a:-0} + ${b:-0})) -ge "$frames" ]
}

# pmd_counter PORT RX|TX NAME: from testpmd's forward statistics.
pmd_counter() {
	awk -v port="$1" -v name="$2-$3:" '/Forward statistics for port/ { at = ($6 == port) }
		/Accumulated/ { at = 0 }
		at { for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }' "$work/testpmd.out" |
		tail -n 1
}

# same WHAT A B [SLACK]
same() {
	echo "$1: $2 and $3"
	[ -n "$2" ] && [ -n "$3" ] && [ "$2" -ge "$3" ] && [ $(($2 - $3)) -le "${4:-0}" ]
}

none_lost() {
	local queues=$1 from to i=0 bad=0 loop
	loop=$((2 * burst * queues))
	for from in a b; do
		to=$([ "$from" = a ] && echo b || echo a)
		same "sent by testpmd on $from, taken in by vxsd" \
			"$(pmd_counter "$i" TX packets)" "$(counter "$from" in_frames)" || bad=1
		same "taken in on $from, given out on $to" \
			"$(counter "$from" in_frames)" "$(counter "$to" out_frames)" || bad=1
		same "given out on $to, received by testpmd" \
			"$(counter "$to" out_frames)" "$(pmd_counter $((1 - i)) RX packets)" "$loop" || bad=1
		same "dropped by testpmd on $from" "$(pmd_counter "$i" TX dropped)" 0 || bad=1
		i=$((i + 1))
	done
	if ctl -j stats | tr -d ' \n' | grep -o '"drops":{[^}]*}' | grep -q ':[1-9]'; then
		ctl -j stats
		bad=1
	fi
	return "$bad"
}

# What was negotiated, and which way the driver chose then.
is_laid_out() {
	local port features want bad=0
	want=$(layout_features "$layout")
	for port in a b; do
		features=$(ctl -j port show "$port" | grep -o '"features": *"0x[0-9a-f]*"' | grep -o '0x[0-9a-f]*')
		[ $((features & layout_features_mask)) -eq "$want" ] || {
			printf '%s negotiated %s, of which 0x%x should be 0x%x\n' "$port" "$features" \
				"$layout_features_mask" "$want"
			bad=1
		}
	done
	layout_taken "$layout" "$work/testpmd.out" || bad=1
	return "$bad"
}

# layout_goes_round LAYOUT
layout_goes_round() {
	local layout=$1
	goes_round "${layout_device[$1]}" 1
}

# goes_round DEVICE-ARGUMENTS QUEUES [TESTPMD-ARGUMENT...]
goes_round() {
	local queues=$2 bad=0
	nobody_starts --vm a,queues="$queues" --vm b,queues="$queues" || {
		cat "$vxsd_log"
		return 1
	}
	testpmd_starts "$@" || bad="testpmd did not start"
	if [ "$bad" = 0 ]; then
		wait_until 60 has_come || bad="10 million frames did not come in 60 seconds"
		# Not before frames have come: testpmd starts its ports when it gets round to it.
		[ -z "$layout" ] || is_laid_out || bad="not the layout that was asked for"
		tell "stop"
		wait_until 10 says "Accumulated forward statistics" || bad="testpmd did not stop"
		[ "$bad" != 0 ] || none_lost "$queues" || bad="frames were lost"
		tell "quit"
		wait_until 20 pid_gone "$testpmd_pid" || bad="testpmd did not quit"
	fi
	if [ "$bad" != 0 ]; then
		grep -A 4 'Forward statistics' "$work/testpmd.out" || tail -n 10 "$work/testpmd.out"
		ctl stats
		echo "$bad"
	fi
	testpmd_kill
	exec {testpmd_in}>&-
	vxsd_stop && [ "$bad" = 0 ]
}

[ "$(id -u)" -eq 0 ] || {
	check_skip all "needs root for huge pages"
	check_end
}
command -v dpdk-testpmd >/dev/null || {
	check_skip all "dpdk-testpmd is not installed (scripts/setup)"
	check_end
}
mapfile -t cpus < <(taskset -cp $$ | sed 's/.*: //' | tr , '\n' |
	awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }')
[ ${#cpus[@]} -ge 2 ] || {
	check_skip all "needs two CPUs"
	check_end
}
cpu_busy=${cpus[0]}
cpu=${cpus[1]}
huge_pages || {
	check_skip all "the kernel gives no 400 huge pages of 2 MiB"
	check_end
}

for i in "${layouts[@]}"; do
	why=$(layout_lacks "$i")
	if [ -n "$why" ]; then
		check_skip "10 million frames, $i" "$why"
	else
		check "10 million frames, $i" layout_goes_round "$i"
	fi
done
check "10 million frames, 1514 bytes" goes_round "mrg_rxbuf=1" 1 --txpkts=1514
check "10 million frames, two queue pairs" goes_round "mrg_rxbuf=1" 2
check "10 million frames, packed, two queue pairs" goes_round "packed_vq=1,mrg_rxbuf=1" 2
check "10 million frames, rings of 1024" goes_round "mrg_rxbuf=0,queue_size=1024" 1
check_end
