#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Counts the switch's instructions per frame, which no load on the machine changes: `make bench-insn`.
#
# tests/bench/insn.sh [update]
#
# Runs tests/bench/insn under callgrind, prints a line for each path, and fails when one is more than
# 3 % over its budget, which stands in tests/bench/insn.budget, or has none, or is gone (insn.awk).
# `update` writes the figures of this run there. Not measured is what an instruction costs: a cache miss
# counts as much as an addition.
#
# The budget holds for one architecture and about one compiler, which its head names; elsewhere the
# figures are printed and nothing fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source-path=SCRIPTDIR source=../../scripts/lib.sh
. scripts/lib.sh

budget=tests/bench/insn.budget
over=3 # percent
program=$BUILD/tests/bench/insn
compiler="$(uname -m) gcc $(gcc -dumpversion)"

case ${1:-} in
'' | update) ;;
*) die "\"$1\": not known; \"update\" writes the budget anew" ;;
esac
[ -x "$program" ] || die "$program is not built: run \`make bench-insn\`"
if ! command -v valgrind >/dev/null; then
	echo "skip bench-insn: valgrind is not installed (scripts/setup bench)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The C library chooses memcpy() by the CPU; the plain one is the same on all of them.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX512VL,-AVX512F,-SSSE3,-ERMS
valgrind --tool=callgrind --callgrind-out-file="$work/out" --toggle-collect=insn_round \
	--zero-before=insn_path --dump-after=insn_path "$program" >"$work/paths" 2>"$work/log" || {
	tail -n 5 "$work/log" >&2
	die "valgrind failed"
}

# The n-th sum belongs to the n-th line: "NAME INSTRUCTIONS-PER-FRAME".
n=0
while read -r name frames; do
	n=$((n + 1))
	sum=$(sed -n 's/^\(totals\|summary\): //p' "$work/out.$n" | tail -n 1)
	[ "${sum:-0}" -gt 0 ] || die "callgrind has no sum for $name"
	awk -v name="$name" -v sum="$sum" -v frames="$frames" \
		'BEGIN { printf "%s %.1f\n", name, sum / frames }'
done <"$work/paths" >"$work/counts"

if [ "${1:-}" = update ]; then
	{
		echo "# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
		echo "# Instructions per frame, as tests/bench/insn.sh counts them; \`make bench-insn BUDGET=update\`"
		echo "# compiler: $compiler"
		cat "$work/counts"
	} >"$budget"
	echo "written: $budget"
fi

strict=yes
if ! grep -qsxF "# compiler: $compiler" "$budget"; then
	echo "skip: the budget is another compiler's, nothing is compared with it ($compiler)"
	strict=''
fi
awk -v over="$over" -v strict="$strict" -f tests/bench/insn.awk \
	"$([ -e "$budget" ] && echo "$budget" || echo /dev/null)" "$work/counts"
