#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What kill -9 leaves on the NIC goes at the next start, whatever that start is for.
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=left
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

host=$name-host
wire=$name-wire

clean_up() {
	vxsd_stop
	net_down "$host" "$wire"
}

scene() {
	in_ns "$host" tc qdisc show dev nic
	in_ns "$host" tc filter show dev nic egress
	in_ns "$host" tc filter show dev nic ingress
	in_ns "$host" ethtool -k nic
}

as_before() {
	diff <(echo "$before") <(scene)
}

killed() {
	vxsd_start "$host" --name "$name" --uplink nic --vm a || return 1
	stop_pid "$vxsd_pid" KILL
	vxsd_pid=''
	! as_before
}

# then_with ARGUMENT...: after a kill, with these arguments instead.
then_with() {
	killed && vxsd_start "$host" --name "$name" --vm a "$@"
}

no_filters() {
	[ -z "$(in_ns "$host" tc filter show dev nic egress)" ] &&
		[ -z "$(in_ns "$host" tc filter show dev nic ingress)" ]
}

host_off() {
	then_with --uplink nic --host off && no_filters && vxsd_stop && as_before
}

no_uplink() {
	then_with && as_before && vxsd_stop
}

other_uplink() {
	in_ns "$host" ip link add nic2 up type veth peer name far2 &&
		then_with --uplink nic2 && as_before && vxsd_stop
}

# The NIC is another switch's by now: hands off.
taken() {
	local other
	killed && vxsd_start "$host" --name "$name-2" --uplink nic --vm a || return 1
	other=$vxsd_pid
	vxsd_start "$host" --name "$name" --vm a && ! no_filters
	local status=$?
	vxsd_stop
	stop_pid "$other"
	return "$status"
}

need_root
bpffs_need
check_or_end namespaces net_up "$host" "$wire" 2
before=$(scene)
check host_off host_off
check no_uplink no_uplink
check other_uplink other_uplink
check taken taken
check_end
