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
#   layout  frames that go round between the switch and both ends of DPDK's testpmd, whose virtqueues
#	    have that layout, and how busy testpmd was: at 100 % it is what the rate is limited by
#   iperf   iperf3's TCP between two QEMU guests, and the same over a Linux bridge
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

# A generator's standard input is a FIFO that stays open.
tell() {
	printf '%s\n' "$1" >&"$generator_in"
}

generator_says() {
	[ "$(grep -acF "$1" "$work/generator")" -ge "${2:-1}" ] || pid_gone "$generator_pid"
}

# start_generator DIRECTORY LAYOUT
start_generator() {
	rm -f "$work/generator.in"
	mkfifo "$work/generator.in"
	exec {generator_in}<>"$work/generator.in"
	stdbuf -oL dpdk-testpmd --lcores="0@$switch_cpu,1@$generator_cpu" --no-pci --in-memory \
		--single-file-segments -m 256 --file-prefix "$id-generator" "${layout_eal[@]}" \
		--vdev "net_virtio_user0,path=$1/a.sock,mac=02:76:78:73:05:0a,${layout_device[$2]}" \
		--vdev "net_virtio_user1,path=$1/b.sock,mac=02:76:78:73:05:0b,${layout_device[$2]}" \
		-- -i --nb-cores=1 --no-flush-rx --no-lsc-interrupt --total-num-mbufs=16384 \
		--eth-peer=0,02:76:78:73:05:0b --eth-peer=1,02:76:78:73:05:0a \
		<&"$generator_in" >"$work/generator" 2>&1 &
	generator_pid=$!
	wait_until 30 generator_says "testpmd>" && ! pid_gone "$generator_pid"
}

end_generator() {
	if ! pid_gone "$generator_pid"; then
		tell quit
		wait_until 5 pid_gone "$generator_pid" || true
	fi
	stop_pid "$generator_pid" KILL || true
	generator_pid=''
	exec {generator_in}>&-
	rm -rf "/run/dpdk/$id-generator"
}

# From testpmd's own figures: it counts between two questions, and its cycles while it has frames.
loop_figures() {
	tell "set record-core-cycles on"
	tell "start tx_first 4" # bursts of 32 at each end: less than a ring holds, so none is lost
	tell "show port stats all"
	wait_until 5 generator_says "Tx-pps:" 2
	sleep "$seconds"
	tell "show port stats all"
	wait_until 5 generator_says "Tx-pps:" 4
	tell stop
	wait_until 5 generator_says "CPU cycles/packet="
	gawk '/Rx-pps:/ { n++; if (n > 2) rate += $2 }
		match($0, /CPU cycles\/packet=([0-9.]+).* at ([0-9]+) MHz/, m) { cycles = m[1]; mhz = m[2] }
		END { if (rate && mhz)
			printf "rate %.0f generator %.1f", rate, rate * cycles / mhz / 1e4 }' "$work/generator"
}

measure_layout() {
	local peer=$1 layout=$2 status=0
	line=''
	kill -CONT "${pid_of[$peer]}"
	if ! start_generator "$work/$peer" "$layout"; then
		cp "$work/generator" "$work/errors"
		status=1
	elif ! layout_taken "$layout" "$work/generator" >"$work/errors"; then
		line="none doesn't offer the layout"
	else
		line=$(loop_figures)
		[ -n "$line" ] || status=1
		cp "$work/generator" "$work/errors"
	fi
	end_generator
	kill -STOP "${pid_of[$peer]}"
	return "$status"
}

# iperf3 FROM TO: bits a second
guests_iperf() {
	local rate guest
	for guest in "$1" "$2"; do
		kill -CONT "$(guest_pid "$guest")"
	done
	rate=$(guest_run "$1" "iperf3 -c ${guest_ip[$2]} -t $iperf_seconds -f m" 60 2>&1 |
		tee "$work/errors" | megabits) || rate=''
	for guest in "$1" "$2"; do
		kill -STOP "$(guest_pid "$guest")"
	done
	[ -n "$rate" ] && echo $((rate * 1000000))
}

measure_iperf() {
	local through bridged
	kill -CONT "${pid_of[$1]}"
	through=$(guests_iperf vxs-a vxs-b) || through=''
	kill -STOP "${pid_of[$1]}"
	[ -n "$through" ] || return 1
	bridged=$(guests_iperf bridge-a bridge-b) || return 1
	line="bits $through overbridge $(calc "$through / $bridged") bridge $bridged"
}
