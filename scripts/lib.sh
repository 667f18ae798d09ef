# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What scripts/ and tests/e2e/ share: waiting, namespaces, bpffs, the daemon. Sourced by bash.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$top/build}
[[ $BUILD == /* ]] || BUILD=$top/$BUILD
# For make: dependency files name objects as make was told, so there must be one way to say it.
# shellcheck disable=SC2034 # used by those who source this
make_build=${BUILD#"$top"/}
vxsd=$BUILD/vxsd
vxsctl=$BUILD/vxsctl
bpffs=/sys/fs/bpf
export PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" -eq 0 ] || die "needs root (namespaces, XDP): run it with sudo"
}

# wait_until SECONDS COMMAND...: tries until COMMAND succeeds; 1 when time is up.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

pid_gone() {
	! kill -0 "$1" 2>/dev/null || grep -qs '^State:.Z' "/proc/$1/status"
}

# stop_pid PID [SIGNAL [SECONDS]]: asks, waits, insists. Its exit status if it is our child and
# ended by itself, 137 if it had to be killed.
stop_pid() {
	local status=0
	kill -s "${2:-TERM}" "$1" 2>/dev/null || true
	if ! wait_until "${3:-10}" pid_gone "$1"; then
		kill -9 "$1" 2>/dev/null
		wait_until 10 pid_gone "$1"
		status=137
	fi
	wait "$1" 2>/dev/null || status=$?
	[ "$status" -ne 127 ] || status=0 # not our child
	return "$status"
}

# --- bpffs: mounted when it isn't, and unmounted again only if it was us ---

bpffs_ours=''
bpffs_need() {
	[ "$(stat -f -c %T "$bpffs")" != bpf_fs ] || return 0
	mount -t bpf bpf "$bpffs" || die "can't mount bpffs on $bpffs"
	bpffs_ours=yes
}

bpffs_done() {
	[ -n "$bpffs_ours" ] || return 0
	bpffs_ours=''
	# Others may have begun to use it since; the kernel's own *.debug are always there.
	[ -n "$(find "$bpffs" -mindepth 1 ! -name '*.debug' -print -quit)" ] || umount "$bpffs"
}

# --- two namespaces joined by a veth, whose host end is the NIC ---
#
#    host namespace            wire namespace
#   ┌──────────────┐          ┌──────────────┐
#   │          nic ├── veth ──┤ port         │
#   └──────────────┘          └──────────────┘

# in_ns NAME COMMAND...: not `ip netns exec`, which would hide bpffs.
in_ns() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" "$@"
}

# net_up HOST WIRE [QUEUES]: both namespaces and the veth; addresses are net_address's business.
net_up() {
	local host=$1 wire=$2 queues=${3:-1} ns
	for ns in "$host" "$wire"; do
		ip netns add "$ns" || return 1
		in_ns "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
		in_ns "$ns" ip link set lo up
	done
	ip link add nic netns "$host" numrxqueues "$queues" numtxqueues "$queues" type veth \
		peer name port netns "$wire" numrxqueues "$queues" numtxqueues "$queues" || return 1
	in_ns "$host" ip link set nic address 02:76:78:73:01:01 up
	in_ns "$wire" ip link set port address 02:76:78:73:01:02 up
	# What leaves a wire has its checksum; a veth would leave it to the receiver.
	in_ns "$wire" ethtool -K port tx off >/dev/null
}

# net_address NS IF IP/LEN IP6/LEN
net_address() {
	in_ns "$1" ip addr add "$3" dev "$2" &&
		in_ns "$1" ip -6 addr add "$4" dev "$2" nodad
}

# net_down NS...: what runs in there has been ended before.
net_down() {
	local ns
	for ns in "$@"; do
		[ ! -e "/run/netns/$ns" ] || ip netns del "$ns"
	done
}

# ns_pids NS: processes that are inside.
ns_pids() {
	ip netns pids "$1" 2>/dev/null
}

# --- the daemon ---

vxsd_pid=''
vxsd_log=''
vxsd_ctl=()

# vxsd_start NS ARGUMENT...: in namespace NS ("" for this one), its log in $vxsd_log; returns when
# it answers vxsctl, 1 if it ended or said nothing for fifteen seconds.
vxsd_start() {
	local ns=$1 i
	local -a enter=()
	shift
	[ -z "$ns" ] || enter=(nsenter --net="/run/netns/$ns")
	vxsd_ctl=("$vxsctl")
	for ((i = 1; i < $#; i++)); do
		case ${!i} in
		--name | --run-dir) vxsd_ctl+=("${@:i:2}") ;;
		esac
	done
	"${enter[@]}" "$vxsd" "$@" >/dev/null 2>>"$vxsd_log" </dev/null &
	vxsd_pid=$!
	wait_until 15 vxsd_settled || return 1
	! pid_gone "$vxsd_pid"
}

vxsd_settled() {
	"${vxsd_ctl[@]}" status || pid_gone "$vxsd_pid"
}

# ctl WORD...: vxsctl for the daemon that vxsd_start started last.
ctl() {
	"${vxsd_ctl[@]}" "$@"
}

# vxsd_stop [SIGNAL]: its exit status.
vxsd_stop() {
	local pid=$vxsd_pid
	[ -n "$pid" ] || return 0
	vxsd_pid=''
	stop_pid "$pid" "${1:-TERM}"
}

# vxsd_kill: with no chance to tidy up.
vxsd_kill() {
	vxsd_stop KILL
	[ $? -eq 137 ]
}

# megabits: the receiver's rate in the output of `iperf3 -f m`, as a whole number.
megabits() {
	awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Mbits/sec") rate = $(i - 1) }
		END { if (rate + 0 <= 0) exit 1; printf "%d\n", rate }'
}
