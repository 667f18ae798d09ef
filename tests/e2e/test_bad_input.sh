#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What vxsd and vxsctl say to wrong words and in wrong places: one line that names the object and
# the remedy, exit status 1 (2 for usage), and nothing left behind.
#
#    namespace HOST           namespace WIRE
#   ┌──────────────┐         ┌──────────────┐
#   │ vxsd ── nic ─┼── veth ─┤ port         │
#   └──────────────┘         └──────────────┘
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=bad_input
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

host=$name-host
wire=$name-wire
run=$work/run

clean_up() {
	vxsd_stop
	net_down "$host" "$wire"
	rm -f "$bpffs/vxs_drop_$name"
}

# Everything that a vxsd could have left: files, pins, devices, programs, settings.
traces() {
	find "$work" -path "$run*" -o -name '*.sock' | sort
	find "/run/vxs/$name" "$bpffs/vxs/$name" 2>/dev/null
	in_ns "$host" ip -details link | sed 's/ *\(state\|qlen\|prog\/xdp\).*//; /^ *prog/d'
	in_ns "$host" ip link | grep -o 'xdp[a-z]*'
	in_ns "$host" tc qdisc show
	in_ns "$host" ethtool -k nic
}

# A function, or a program with a time limit; one that runs on for ever would be a failure.
limited() {
	if [ "$(type -t "$1")" = function ]; then
		"$@"
	else
		timeout -k 5 20 "$@"
	fi
}

# refused STATUS PATTERN COMMAND...: it ends by itself with that status and one line that matches.
refused() {
	local want=$1 pattern=$2 before status
	shift 2
	before=$(traces)
	limited "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
	status=$?
	echo "$*: status $status; it said:"
	cat "$work/stderr"
	[[ $status =~ ^$want$ ]] || return 1
	[ "$(wc -l <"$work/stderr")" -eq 1 ] || {
		echo "(not one line)"
		return 1
	}
	grep -qE -- "$pattern" "$work/stderr" || {
		echo "(nothing like: $pattern)"
		return 1
	}
	[ "$(traces)" = "$before" ] || {
		echo "left behind:"
		diff <(echo "$before") <(traces)
		return 1
	}
}

# usage NAME PATTERN ARGUMENT...: vxsd says how to use it.
usage() {
	local title=$1 pattern=$2
	shift 2
	check "$title" refused 2 "$pattern" "$vxsd" "$@"
}

# fails NAME PATTERN ARGUMENT...: vxsd in the namespace HOST can't do what it was asked for.
fails() {
	local title=$1 pattern=$2
	shift 2
	check "$title" refused 1 "$pattern" nsenter --net="/run/netns/$host" "$vxsd" --name "$name" "$@"
}

# An XDP program of somebody else.
other_program() {
	cat >"$work/drop.c" <<-'END'
		__attribute__((section("xdp"), used)) int drop_all(void *ctx) { return 1; }
		char _license[] __attribute__((section("license"), used)) = "GPL";
	END
	clang -O2 -g -target bpf -c "$work/drop.c" -o "$work/drop.o" &&
		bpftool prog load "$work/drop.o" "$bpffs/vxs_drop_$name" type xdp &&
		in_ns "$host" bpftool net attach xdp pinned "$bpffs/vxs_drop_$name" dev nic
}

other_program_gone() {
	in_ns "$host" bpftool net detach xdp dev nic && rm "$bpffs/vxs_drop_$name"
}

program_stays() {
	in_ns "$host" ip link show nic | grep -q xdp
}

# In a mount namespace of its own, where another file system covers bpffs.
without_bpffs() {
	unshare --mount --propagation private sh -c '
		mount -t tmpfs none /sys/fs/bpf && exec "$@"' sh \
		timeout -k 5 20 nsenter --net="/run/netns/$host" "$vxsd" --name "$name" --uplink nic --vm a
}

# Enters the namespace as root, and only then gives everything up.
nobody_in_host() {
	timeout -k 5 20 nsenter --net="/run/netns/$host" setpriv --reuid=65534 --regid=65534 --clear-groups \
		--inh-caps=-all --bounding-set=-all --no-new-privs "$@"
}

[ "$(id -u)" -eq 0 ] || {
	check_skip all "needs root for namespaces"
	check_end
}
bpffs_need
net_down "$host" "$wire"
check_or_end "namespaces" net_up "$host" "$wire"
chmod 711 "$work"
cp "$vxsd" "$work/vxsd"

usage "unknown option" "--colour.*--help" --colour red
usage "word that is no option" "vm1.*--help" vm1
usage "option without a value" "--vm.*--vm NAME" --vm
usage "unknown key" "colour" --vm a,colour=red
usage "unknown key of --uplink" "speed" --uplink nic,speed=fast
usage "key without a value" "mac" --vm a,mac
usage "MAC of letters" "zz:.*MAC" --vm a,mac=zz:zz:zz:zz:zz:zz
usage "MAC too short" "MAC" --vm a,mac=02:00:00:00:00
usage "MAC too long" "MAC" --vm a,mac=02:00:00:00:00:01:02
usage "multicast MAC" "multicast" --vm a,mac=01:00:5e:00:00:01
usage "zero MAC" "00:00:00:00:00:00" --vm a,mac=00:00:00:00:00:00
usage "one MAC for two VMs" "02:00:00:00:00:01" --vm a,mac=02:00:00:00:00:01 --vm b,mac=02:00:00:00:00:01
usage "one name for two VMs" "a" --vm a --vm a
usage "empty VM name" "--vm" --vm ""
usage "VM name with a slash" "a/b" --vm a/b
usage "VM name that is too long" "long" --vm "$(printf 'x%.0s' {1..40})"
usage "too many queues" "queues" --vm a,queues=1000
usage "no queues" "queues" --vm a,queues=0
usage "socket path that is too long" "long|at most|characters" --vm "a,socket=/tmp/$(printf 'x%.0s' {1..200})"
usage "unknown mode" "warp.*auto" --uplink nic,mode=warp
usage "unknown word for busy polling" "maybe.*off, on" --uplink nic,busy-poll=maybe
usage "unknown polling" "often.*busy" --poll often
usage "idle time that no worker waits" "idle-us 50.*busy.*leave" --idle-us 50 --poll busy
usage "idle time of more than a second" "idle-us.*1000000" --idle-us 1000001
usage "list of CPUs" "cpus" --cpus 0-
usage "a CPU that isn't there" "4095" --cpus 4095
usage "unknown word for --host" "maybe.*share" --host maybe
usage "--host share without uplink" "uplink" --host share
usage "unknown log level" "loud.*error" --log-level loud
usage "name of the switch with a slash" "a/b" --name a/b

fails "interface that doesn't exist" "nosuch0" --uplink nosuch0 --vm a
if check "another XDP program is attached" other_program; then
	fails "interface with another XDP program" "nic.*(XDP|program)" --uplink nic --vm a
	check "the other program stays" program_stays
	check "the other program goes" other_program_gone
fi
fails "more queues than the NIC has" "nic.*queue" --uplink nic,queues=64 --vm a
check "bpffs is missing" refused 1 "/sys/fs/bpf.*mount" without_bpffs
fails "directory that can't be made" "/proc/vxs" --run-dir /proc/vxs --vm a
fails "socket in a directory that doesn't exist" "$work/none/a.sock" --vm "a,socket=$work/none/a.sock"
check "too few rights for the uplink" refused 1 "right|root|CAP_|Permission denied.*--run-dir" \
	nobody_in_host "$work/vxsd" --name "$name" --run-dir "$run" --uplink nic --vm a
mkdir "$run"
chown 65534:65534 "$run"
check "too few rights for the uplink, with a directory" refused 1 "right|root|CAP_" \
	nobody_in_host "$work/vxsd" --name "$name" --run-dir "$run" --uplink nic --vm a
rmdir "$run"
if nobody_in_host test -w /run; then
	check_skip "too few rights for /run/vxs" "anybody may write to /run here"
else
	check "too few rights for /run/vxs" refused 1 "/run/vxs.*--run-dir" \
		nobody_in_host "$work/vxsd" --name "$name" --vm a
fi
: >"$work/file"
fails "socket path that is a file" "$work/file" --vm "a,socket=$work/file"
check "the file is still there" test -f "$work/file"

check_or_end "a switch starts" vxsd_start '' --name "$name-2" --run-dir "$work/other" --vm a
fails "socket path in use" "$work/other/a.sock" --vm "b,socket=$work/other/a.sock"
check "its socket is still there" test -S "$work/other/a.sock"
check "second switch of one name" refused 1 "$name-2.*--name" \
	"$vxsd" --name "$name-2" --run-dir "$work/other" --vm b
check "the first one goes on" ctl status

ctl_refused() {
	local title=$1 status=$2 pattern=$3
	shift 3
	check "vxsctl: $title" refused "$status" "$pattern" "${vxsd_ctl[@]}" "$@"
}

check "vxsctl: no such switch" refused 1 "e2e-none" "$vxsctl" --name e2e-none status
ctl_refused "unknown command" 2 "dance" dance
ctl_refused "unknown sub-command" 2 "paint" port paint
ctl_refused "port that doesn't exist" 1 "nosuch" port del nosuch
ctl_refused "qemu arguments for a port that doesn't exist" 1 "nosuch" qemu nosuch
ctl_refused "port name that is taken" 1 "a" port add a
ctl_refused "unknown key" "[12]" "colour" port add c,colour=red
ctl_refused "bad MAC" "[12]" "MAC" port add c,mac=zz
ctl_refused "socket path in use" 1 "$work/other/a.sock" port add "c,socket=$work/other/a.sock"
check "still in good health" ctl port show
check "vxsd ends cleanly" vxsd_stop
check_end
