#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# scripts/bench measures something in every kind of row, briefly: so that it doesn't rot. How much is
# nobody's business here.
#
# shellcheck disable=SC2317 # check calls the functions
set -uo pipefail
suite=bench
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$(dirname "$0")/check.sh"

rows=(vm-vm-64 vm-vm-ping-64 vm-vm-packed-64 vm-vm-9000 vm-vm-tso vm-vm-tso-large
	vm-vm-packed-tso wire-vm-64 vm-wire-64 dpdk-split-mergeable vm-vm-64-idle256 vm-vm-64-idle256-adaptive idle-256 syscalls-idle syscalls-vm-vm-64
	syscalls-vm-wire-64)
bench_pid=''

clean_up() {
	[ -z "$bench_pid" ] || stop_pid "$bench_pid" TERM 30
}

bench() {
	"$top/scripts/bench" "$@" >"$work/table" 2>&1 </dev/null &
	bench_pid=$!
	local status=0
	wait "$bench_pid" || status=$?
	bench_pid=''
	cat "$work/table"
	return "$status"
}

measures() {
	bench --rounds 1 --seconds 0.1 --peers vxs,ceiling --out "$work" "${rows[@]}"
}

# A row that can't be measured on this machine is told with its name.
tells_each_row() {
	local row bad=0
	cat "$work/table"
	for row in "${rows[@]}"; do
		grep -q "^skip $row: " "$work/table" && continue
		grep -q "^$row " "$work/table" && grep -q "^  \"$row\": {" "$work/bench.json" && continue
		echo "no row $row"
		bad=1
	done
	return "$bad"
}

# figure ROW PEER: it has one, in the JSON.
figure() {
	gawk -v row="  \"$1\": {" -v peer="\"$2\": {\"median\": " \
		'/^  "/ { at = index($0, row) == 1 } at && index($0, peer) { found = 1 }
		END { exit !found }' "$work/bench.json"
}

has_figures() {
	cat "$work/bench.json"
	figure vm-vm-64 vxs && figure vm-vm-64 ceiling && figure vm-vm-packed-64 vxs &&
		figure vm-vm-packed-64 ceiling && figure vm-vm-packed-tso ceiling && figure vm-vm-ping-64 vxs &&
		figure vm-vm-tso ceiling && figure vm-vm-tso-large ceiling && figure wire-vm-64 vxs &&
		figure vm-wire-64 ceiling && figure idle-256 vxs && figure vm-vm-64-idle256 vxs
}

# Either measured, or with a word why not.
tells_why_no_tso() {
	cat "$work/table"
	figure vm-vm-tso vxs || grep -q '^  vxs: offers no TSO' "$work/table"
}

refuses() {
	! bench "$@" || return 1
	grep -q "^usage: " "$work/table"
}

[ "$(id -u)" -eq 0 ] || {
	check_skip all "needs root for namespaces"
	check_end
}
[ "$(nproc)" -ge 2 ] || {
	check_skip all "needs two CPUs"
	check_end
}
for program in bench_pair bench_idle wire ceiling ceiling_nic; do
	[ -x "$BUILD/tests/bench/$program" ] || {
		check_skip all "$program is not built (make tests)"
		check_end
	}
done
command -v gawk >/dev/null || {
	check_skip all "gawk is not installed (scripts/setup)"
	check_end
}

check "a row that there isn't" refuses vm-vm-65
check "rounds that are no number" refuses --rounds some vm-vm-64
check_or_end "every kind of row" measures
check "each row is told" tells_each_row
check "figures" has_figures
check "why a switch has no TSO figure" tells_why_no_tso
if command -v python3 >/dev/null; then
	check "JSON that a parser takes" python3 -m json.tool "$work/bench.json"
else
	check_skip "JSON that a parser takes" "python3 is not installed"
fi
if command -v gnuplot >/dev/null; then
	check "a whole drawing" grep -q '</svg>' "$work/bench.svg"
else
	check_skip "a whole drawing" "gnuplot is not installed (scripts/setup bench)"
fi
check_end
