#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The instruction budget: made-up counts that keep it, and some that don't.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

printf '%s\n' '# compiler: any' 'one 100.0' 'two 200.0' >"$dir/budget"

# check NAME STATUS LAST-LINE STRICT BUDGET COUNT...
check() {
	local name=$1 status=$2 last=$3 strict=$4 budget=$5 out got
	shift 5
	printf '%s\n' "$@" >"$dir/counts"
	out=$(awk -v over=3 -v strict="$strict" -f tests/bench/insn.awk "$budget" "$dir/counts")
	got=$?
	if [ "$got" = "$status" ] && [ "$(tail -n 1 <<<"$out")" = "$last" ]; then
		echo "ok insn/$name"
		passed=$((passed + 1))
	else
		echo "FAIL insn/$name: status $got"
		echo "$out"
		failed=$((failed + 1))
	fi
}

check kept 0 '2 passed, 0 failed' yes "$dir/budget" 'one 100.0' 'two 150.0'
check 'just within' 0 '2 passed, 0 failed' yes "$dir/budget" 'one 102.9' 'two 205.9'
check over 1 '1 passed, 1 failed' yes "$dir/budget" 'one 103.1' 'two 200.0'
check 'no budget' 1 '2 passed, 1 failed' yes "$dir/budget" 'one 100.0' 'two 200.0' 'three 1.0'
check 'not measured' 1 '1 passed, 1 failed' yes "$dir/budget" 'one 100.0'
check "another compiler's" 0 '0 passed, 0 failed, 2 skipped' '' "$dir/budget" 'one 900.0' 'two 1.0'
check 'no file' 1 '0 passed, 2 failed' yes /dev/null 'one 100.0' 'two 200.0'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
