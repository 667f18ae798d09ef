# shellcheck shell=bash disable=SC2034,SC2154 # what one sets, the other reads: scripts/bench
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# How scripts/bench takes one figure of one switch. Sourced by it.
#
# measure_HOW PEER PROGRAM OPTION...: leaves a line "KEY VALUE..." in $line, which report.awk knows
# how to print, or "none WHY" where the switch can't do that; returns 1 when something went wrong,
# with the reason in the last lines of $work/errors.
#
#   flow    what the generator says
#   beside  the same with $idle_vms idle VMs on the switch, and its share of the rate without them
#   calls   system calls per frame while the generator sends
#   usage   CPU time and memory of a switch with idle VMs
#   quiet   system calls a second of a switch with idle VMs
#
# The switch is stopped before and after.

# generate DIRECTORY PEER PROGRAM OPTION...: runs a generator to its end.
generate() {
	local dir=$1 peer=$2 program=$3
	local -a options=("${@:4}")
	if [ "$program" = bench_pair ]; then
		options+=(--a "$dir/a.sock" --b "$dir/b.sock")
		[[ " ${options[*]} " != *' --tso '* ]] || case $peer in
		ceiling) options+=(--unasked) ;; # it copies whatever comes, and offers what vxs does
		ovs) options+=(--listen) ;;
		esac
	elif [ "$peer" = ceiling ]; then
		options+=(--shared "$dir/shared" --if "${far_of[$peer]}")
	else
		options+=(--vm "$dir/a.sock" --if "${far_of[$peer]}")
	fi
	line=$(timeout 60 nsenter --net="/run/netns/$wire" "$BUILD/tests/bench/$program" \
		"${options[@]}" --cpu "$generator_cpu" --seconds "$seconds" 2>"$work/errors" |
		tail -n 1) || true
	[ -n "$line" ]
}

# value KEY: of $line
value() {
	gawk -v key="$1" '{ for (i = 1; i < NF; i += 2) if ($i == key) print $(i + 1) }' <<<"$line"
}

# calc EXPRESSION: in floating point
calc() {
	gawk "BEGIN { printf \"%.9g\", $1 }"
}

measure_flow() {
	local status=0
	kill -CONT "${pid_of[$1]}"
	generate "$work/$1" "$@" || status=1
	kill -STOP "${pid_of[$1]}"
	return "$status"
}

measure_beside() {
	local with alone
	measure_flow "$@" || return 1
	with=$line
	kill -CONT "$alone_pid"
	generate "$work/$1/alone" "$@" || with=''
	kill -STOP "$alone_pid"
	[ -n "$with" ] || return 1
	alone=$(value rate)
	line=$with
	[ "$alone" = 0 ] || line="kept $(calc "$(value rate) / $alone") alone $alone $with"
}

# Which is why a run under it is counted as a whole: connecting takes some hundred calls, of
# millions of frames.
strace_start() {
	strace -q -f -c -o "$work/strace" -p "$1" >/dev/null 2>"$work/errors" &
	strace_pid=$!
	wait_until 10 is_traced "$1" && ! pid_gone "$strace_pid"
}

is_traced() {
	! grep -qsx $'TracerPid:\t0' "/proc/$1/task/"*/status || pid_gone "$strace_pid"
}

# How many calls there were goes to $calls. Nothing is written if there was none.
strace_end() {
	stop_pid "$strace_pid" || true
	strace_pid=''
	calls=$(gawk '$NF == "total" { n = $4 } END { print n + 0 }' "$work/strace")
}

measure_calls() {
	local pid=${pid_of[$1]} status=0 sent
	kill -CONT "$pid"
	if strace_start "$pid"; then
		generate "$work/$1" "$@" || status=1
	else
		status=1
	fi
	strace_end
	kill -STOP "$pid"
	[ "$status" -eq 0 ] || return 1
	sent=$(value sent)
	[ "$sent" = 0 ] || line="calls $(calc "$calls / $sent") $line"
}

measure_quiet() {
	local pid=${pid_of[$1]} status=0 began ended
	kill -CONT "$pid"
	strace_start "$pid" || status=1
	began=$EPOCHREALTIME
	[ "$status" -ne 0 ] || sleep "$idle_seconds"
	ended=$EPOCHREALTIME
	strace_end
	kill -STOP "$pid"
	line="callrate $(calc "$calls / ($ended - $began)")"
	return "$status"
}

# cpu_time PID: of all its threads, in nanoseconds, as fine as the kernel has it.
cpu_time() {
	if [ -e "/proc/$1/schedstat" ]; then
		gawk '{ sum += $1 } END { printf "%.0f", sum }' "/proc/$1/task/"*/schedstat
	else
		gawk -v hz="$(getconf CLK_TCK)" \
			'{ sub(/.*\) /, ""); printf "%.0f", ($12 + $13) * 1e9 / hz }' "/proc/$1/stat"
	fi
}

# rss: all memory that is there; own: without the guests', which is shared with them.
measure_usage() {
	local pid=${pid_of[$1]} began ended before after
	kill -CONT "$pid"
	sleep 0.1 # what became due while it was stopped is done, and isn't counted
	began=$EPOCHREALTIME
	before=$(cpu_time "$pid")
	sleep "$idle_seconds"
	after=$(cpu_time "$pid")
	ended=$EPOCHREALTIME
	line=$(gawk -v cpu="$(calc "($after - $before) / ($ended - $began) / 1e7")" \
		'{ kb[$1] = $2 } END { printf "cpu %s rss %d own %d", cpu, kb["VmRSS:"] * 1024,
			(kb["RssAnon:"] + kb["RssFile:"]) * 1024 }' "/proc/$pid/status")
	kill -STOP "$pid"
}
