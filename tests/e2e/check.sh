# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What the end-to-end tests share: the lines of tests/check.c, and clean-up whatever happens.
#
# A test script sets $suite, sources this file, which gives it $work and $name, defines clean_up(),
# runs `check NAME COMMAND...` for each thing to be seen, and ends with check_end.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../scripts/lib.sh
. "$here/../../scripts/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../../scripts/guest.sh
. "$here/../../scripts/guest.sh"

checks_passed=0
checks_failed=0
checks_skipped=0
work=$(mktemp -d "/tmp/vxs-${suite:?}.XXXXXX")
export guest_dir=$work
# shellcheck disable=SC2034 # for the tests
name=e$$ # of the switch: two runs at once don't meet
vxsd_log=$work/vxsd.log
: >"$vxsd_log"

check_ok() {
	echo "ok $suite/$1"
	checks_passed=$((checks_passed + 1))
}

# check_fail NAME [TEXT]: the text is what the reader needs to see.
check_fail() {
	echo "FAIL $suite/$1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | tail -n 30 | sed 's/^/     /'
	checks_failed=$((checks_failed + 1))
}

check_skip() {
	echo "skip $suite/$1: $2"
	checks_skipped=$((checks_skipped + 1))
}

# check NAME COMMAND...: runs it in this shell; its output is shown if it fails.
check() {
	local check_name=$1 # bash shows locals to what is called
	shift
	if "$@" >"$work/check.out" 2>&1; then
		check_ok "$check_name"
	else
		check_fail "$check_name" "$(cat "$work/check.out")"
		return 1
	fi
}

# check_or_end NAME COMMAND...: nothing after it would make sense if it fails.
check_or_end() {
	check "$@" || check_end
}

check_end() {
	if [ $checks_failed -gt 0 ] && [ -s "$vxsd_log" ]; then
		echo "     the last lines of vxsd's log:"
		tail -n 20 "$vxsd_log" | sed 's/^/     /'
	fi
	printf '%d passed, %d failed' $checks_passed $checks_failed
	[ $checks_skipped -eq 0 ] || printf ', %d skipped' $checks_skipped
	echo
	[ $checks_failed -eq 0 ]
	exit
}

check_clean_up() {
	local status=$?
	trap '' INT TERM
	clean_up
	bpffs_done
	rm -rf "$work"
	exit $status
}
trap check_clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
