# shellcheck shell=bash disable=SC2034,SC2154 # what one sets, the other reads: scripts/bench
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# How scripts/bench starts, readies and ends each of the switches that it compares. Sourced by it.
#
# start_PEER GROUP: leaves the process in pid_of[PEER]. Groups:
#
#   pair  listens on $work/PEER/{a,b}.sock
#   long  the same, for frames of 9000 bytes
#   tso   the same, and offers guests to take and give TCP segments of 64 KiB
#   idle  the same, and has $idle_vms VMs connected that do nothing; a second one, without them, is
#	  there in alone_pid, in $work/PEER/alone
#   dpdk  as pair, and talked to by DPDK's testpmd
#   qemu  as pair, and two QEMU guests run on it, and two more on a Linux bridge
#   nic   listens on $work/PEER/a.sock, and has the veth nic_of[PEER], whose far end is far_of[PEER]
#
# GROUP+adaptive: one that may sleep when there is nothing to do, where it can; else it polls.
# has_PEER: what is missing, in words; nothing if it can be run. Every switch has one CPU to itself,
# $switch_cpu; what else its process does is done on $generator_cpu.

declare -A pid_of=() title=([vxs]=vxs [testpmd]=testpmd [ovs]=OVS-DPDK [ceiling]=ceiling)
declare -A nic_of=([vxs]=nic [testpmd]=nic2 [ovs]=nic3 [ceiling]=nic4)
declare -A far_of=([vxs]=port [testpmd]=port2 [ovs]=port3 [ceiling]=port4)
all_peers=(vxs testpmd ovs ceiling)
groups=(pair long tso dpdk nic idle idle+adaptive qemu+adaptive pair+adaptive nic+adaptive)
kill_only=() # processes that don't hear a polite signal
pids=()

started() { # PEER PID
	pid_of[$1]=$2
	pids+=("$2")
}

has_vxs() {
	[ -x "$vxsd" ] || echo "$vxsd is not built"
}

# takes_part PEER GROUP: testpmd has at most 32 ports, Open vSwitch has no mode without polling, and
# the ceiling no table of ports that could be long. Layouts are compared with testpmd's alone, and
# guests with those on a bridge.
takes_part() {
	case $2 in
	idle* | qemu*) [ "$1" = vxs ] ;;
	dpdk) [ "$1" = vxs ] || [ "$1" = testpmd ] ;;
	esac
}

start_vxs() {
	local -a what=(--vm a --vm b) many=()
	local i mode=busy
	[[ $1 != *+adaptive ]] || mode=adaptive
	[[ $1 != nic* ]] || what=(--uplink "${nic_of[vxs]}" --host off --vm a)
	vxsd_log=$work/vxs/log
	what+=(--cpus "$switch_cpu" --poll "$mode")
	if [[ $1 = idle* ]]; then
		mkdir "$work/vxs/alone"
		vxsd_start "$host" --name "$id-alone" --run-dir "$work/vxs/alone" "${what[@]}" || return 1
		alone_pid=$vxsd_pid
		pids+=("$alone_pid")
		kill -STOP "$alone_pid"
		for ((i = 1; i <= idle_vms; i++)); do
			many+=(--vm "i$i")
		done
	fi
	vxsd_start "$host" --name "$id" --run-dir "$work/vxs" "${what[@]}" "${many[@]}" || return 1
	started vxs "$vxsd_pid"
	vxsd_pid=''
	case $1 in
	idle*) connect_idle "$work/vxs" ;;
	qemu*) start_guests ;;
	esac
}

# Two guests on vxs, and two on a Linux bridge in the same namespace, whose TAPs take TSO frames; who
# isn't measured is stopped.
declare -A guest_ip=([vxs-a]=10.79.0.1 [vxs-b]=10.79.0.2 [bridge-a]=10.79.1.1 [bridge-b]=10.79.1.2)
guests=()
start_guests() {
	local name vhost=off
	local -a memory=(-object "memory-backend-memfd,id=mem,size=${guest_memory}M,share=on"
		-numa node,memdev=mem)
	[ ! -w /dev/vhost-net ] || vhost=on
	guest_enter=(nsenter --net="/run/netns/$host")
	in_ns "$host" ip link add bench-br type bridge && in_ns "$host" ip link set bench-br up || return 1
	for name in a b; do
		guests+=("vxs-$name" "bridge-$name")
		in_ns "$host" ip tuntap add "bench-$name" mode tap vnet_hdr &&
			in_ns "$host" ip link set "bench-$name" master bench-br up || return 1
		guest_start_with "vxs-$name" "vxs.ip=${guest_ip[vxs-$name]}/24" "${memory[@]}" \
			-chardev "socket,id=net,path=$work/vxs/$name.sock" \
			-netdev vhost-user,id=net,chardev=net \
			-device "virtio-net-pci,netdev=net,mac=02:76:78:73:05:1$name" || return 1
		guest_start_with "bridge-$name" "vxs.ip=${guest_ip[bridge-$name]}/24" "${memory[@]}" \
			-netdev "tap,id=net,ifname=bench-$name,script=no,downscript=no,vhost=$vhost" \
			-device "virtio-net-pci,netdev=net,mac=02:76:78:73:05:2$name" || return 1
	done
	for name in "${guests[@]}"; do
		guest_ready "$name" 60 && kill -STOP "$(guest_pid "$name")" || return 1
	done
}

end_guests() {
	local name
	for name in "${guests[@]}"; do
		kill -CONT "$(guest_pid "$name")" 2>/dev/null || true
		guest_stop "$name" || true
	done
	guests=()
	[ ! -e "/run/netns/$host" ] || for name in bench-a bench-b bench-br; do
		in_ns "$host" ip link del "$name" 2>/dev/null || true
	done
}

# connect_idle DIRECTORY: a process that is $idle_vms VMs.
connect_idle() {
	"$BUILD/tests/bench/bench_idle" --dir "$1" --vms "$idle_vms" --cpu "$generator_cpu" \
		>"$1/idle" 2>>"$1/log" &
	idle_pid=$!
	pids+=("$idle_pid")
	wait_until 30 idle_is_ready "$1" && ! pid_gone "$idle_pid"
}

idle_is_ready() {
	grep -q ready "$1/idle" || pid_gone "$idle_pid"
}

has_testpmd() {
	command -v dpdk-testpmd >/dev/null || echo "dpdk-testpmd is not installed (scripts/setup bench)"
}

# All frames of the one port to the other, with no look at them.
start_testpmd() {
	local dir=$work/testpmd offloads=''
	# What comes in as offloaded only goes out as such when it is marked in the old way.
	[ "$1" != tso ] || offloads=,tso=1,legacy-ol-flags=1
	local -a what=(--vdev "net_vhost0,iface=$dir/a.sock$offloads")
	if [[ $1 != nic* ]]; then
		what+=(--vdev "net_vhost1,iface=$dir/b.sock$offloads")
	else
		what+=(--vdev "net_af_xdp0,iface=${nic_of[testpmd]}")
	fi
	rm -f "$dir/in"
	mkfifo "$dir/in"
	exec {testpmd_in}<>"$dir/in" # it ends when it can't read
	nsenter --net="/run/netns/$host" dpdk-testpmd --lcores="0@$generator_cpu,1@$switch_cpu" \
		--no-pci --in-memory --single-file-segments -m 512 --file-prefix "$id-testpmd" "${what[@]}" \
		-- --forward-mode=io --auto-start --nb-cores=1 --total-num-mbufs=32768 \
		<&"$testpmd_in" >"$dir/log" 2>&1 &
	started testpmd $!
	kill_only+=("$!") # it waits for its input before it looks at signals
	disown
	wait_until 20 testpmd_is_ready && [ -S "$dir/a.sock" ]
}

testpmd_is_ready() {
	grep -q 'Checking link statuses' "$work/testpmd/log" || pid_gone "${pid_of[testpmd]}"
}

ovs_vswitchd=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
has_ovs() {
	local f
	for f in "$ovs_vswitchd" ovsdb-server ovsdb-tool ovs-vsctl; do
		if ! command -v "$f" >/dev/null; then
			echo "openvswitch-switch-dpdk is not installed (scripts/setup bench)"
			return
		fi
	done
}

# ovs_command NAME ARGUMENT...: sets $ovs to run one of its programs with directories of its own, so
# that the system's service isn't touched, in the namespace, where its bridge makes an interface.
# An array, not a function: a function in the background would be a shell between us and it.
ovs_command() {
	ovs=(env OVS_RUNDIR="$work/ovs" OVS_LOGDIR="$work/ovs" OVS_DBDIR="$work/ovs"
		OVS_SYSCONFDIR="$work/ovs" nsenter --net="/run/netns/$host" "$@")
}

ovs_set() {
	ovs_command ovs-vsctl --db="unix:$work/ovs/db.sock" --timeout=20 "$@"
	"${ovs[@]}" >>"$work/ovs/log" 2>&1
}

# A learning bridge: the one flow "normal" that it has by itself. Its buffers hold a frame each, so
# long frames are asked for, where they come.
start_ovs() {
	local dir=$work/ovs schema=/usr/share/openvswitch/vswitch.ovsschema mtu=1500 tso=false port
	[ "$1" != long ] || mtu=9000
	[ "$1" != tso ] || tso=true
	ovs_command ovsdb-tool create "$dir/conf.db" "$schema"
	"${ovs[@]}" >>"$dir/log" 2>&1 || return 1
	ovs_command ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock"
	"${ovs[@]}" >>"$dir/log" 2>&1 </dev/null &
	pids+=("$!")
	wait_until 10 [ -S "$dir/db.sock" ] && ovs_set --no-wait init &&
		ovs_set --no-wait set Open_vSwitch . other_config:dpdk-init=true \
			other_config:dpdk-extra="--no-pci --in-memory --file-prefix=$id-ovs" \
			other_config:dpdk-socket-mem=512 other_config:userspace-tso-enable=$tso \
			other_config:dpdk-lcore-mask="$(printf '0x%x' $((1 << generator_cpu)))" \
			other_config:pmd-cpu-mask="$(printf '0x%x' $((1 << switch_cpu)))" || return 1
	ovs_command "$ovs_vswitchd" "unix:$dir/db.sock"
	"${ovs[@]}" >>"$dir/log" 2>&1 </dev/null &
	started ovs $!
	ovs_set add-br br0 -- set bridge br0 datapath_type=netdev || return 1
	if [ "$1" = tso ]; then # a vhost-user port offers it in the client's role only
		for port in a b; do
			ovs_set add-port br0 $port.sock -- set Interface $port.sock \
				type=dpdkvhostuserclient options:vhost-server-path="$dir/$port.sock" || return 1
		done
		return
	fi
	ovs_set add-port br0 a.sock -- set Interface a.sock type=dpdkvhostuser \
		mtu_request=$mtu || return 1
	if [[ $1 != nic* ]]; then
		ovs_set add-port br0 b.sock -- set Interface b.sock type=dpdkvhostuser \
			mtu_request=$mtu || return 1
	else
		ovs_set add-port br0 "${nic_of[ovs]}" -- set Interface "${nic_of[ovs]}" type=afxdp \
			options:xdp-mode=native options:use-need-wakeup=true options:n_rxq=1 || return 1
	fi
	wait_until 10 [ -S "$dir/a.sock" ] && ! grep -q 'could not.*\(nic\|sock\)' "$dir/log"
}

has_ceiling() {
	[ -x "$BUILD/tests/bench/ceiling" ] || echo "$BUILD/tests/bench/ceiling is not built"
}

start_ceiling() {
	local dir=$work/ceiling
	if [[ $1 != nic* ]]; then
		"$BUILD/tests/bench/ceiling" --a "$dir/a.sock" --b "$dir/b.sock" --cpu "$switch_cpu" \
			>"$dir/log" 2>&1 </dev/null &
		started ceiling $!
		wait_until 10 [ -S "$dir/b.sock" ]
	else
		nsenter --net="/run/netns/$host" "$BUILD/tests/bench/ceiling_nic" --if "${nic_of[ceiling]}" \
			--shared "$dir/shared" --cpu "$switch_cpu" >"$dir/log" 2>&1 </dev/null &
		started ceiling $!
		wait_until 10 grep -q ready "$dir/log"
	fi
}

# Stopped processes don't hear a polite signal before they go on.
end_peers() {
	local pid
	end_guests
	for pid in "${pids[@]}"; do
		kill -CONT "$pid" 2>/dev/null || true
	done
	for pid in "${kill_only[@]}"; do
		stop_pid "$pid" KILL || true
	done
	for pid in "${pids[@]}"; do
		stop_pid "$pid" || true
	done
	pids=() kill_only=() pid_of=()
	rm -rf "/run/dpdk/$id-testpmd" "/run/dpdk/$id-ovs" # what DPDK leaves when it is killed
}

# what_went_wrong PEER: the last line of its log that says so.
what_went_wrong() {
	grep -aiE 'error|fail|cannot|can.t|could not' "$work/$1/log" | tail -n 1 | cut -c 1-200
}
