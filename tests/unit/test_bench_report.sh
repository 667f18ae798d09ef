#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# scripts/bench's report: medians, ranges and ratios of made-up results, in the table and in JSON.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

if ! command -v gawk >/dev/null; then
	echo "skip bench_report/all: gawk is not installed (scripts/setup)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi

# The ratio is the median of the rounds' ratios (2, 2, 3), not that of the medians.
cat >"$dir/results" <<-END
	flow vxs rate 20000000 sent 100 lost 0
	flow testpmd rate 10000000 sent 100 lost 1
	flow vxs rate 40000000 sent 100 lost 0
	flow testpmd rate 20000000 sent 100 lost 0
	flow vxs rate 90000000 sent 100 lost 0
	flow testpmd rate 30000000 sent 100 lost 0
	ping vxs p50 300 p99 400 p99.9 5000 rate 1000000 sent 10 lost 0
	ping testpmd p50 600 p99 800 p99.9 5000 rate 500000 sent 10 lost 0
	tso vxs none offers no TSO
	tso testpmd bits 17700000000 rate 36875 sent 10 lost 0
	nobody vxs none offers no TSO
	beside vxs kept 0.95 alone 20000000 rate 19000000 sent 10 lost 0
	idle vxs cpu 0.25 rss 16777216 own 8388608
	calls vxs calls 0.004 rate 1000000 sent 10 lost 0
	calls testpmd calls 0.0005 rate 1000000 sent 10 lost 0
	quiet vxs callrate 5.5
	missed vxs rate 0 sent 0 lost 0
	missed vxs kept 0.5 alone 4000000 rate 2000000 sent 10 lost 0
	missed vxs kept 0.7 alone 4000000 rate 2800000 sent 10 lost 0
END

report() { # PEERS [ROUNDS]
	gawk -v peers="$1" -v rounds="${2:-3}" -v seconds=0.5 -v json="$dir/json" -v data="$dir/data" \
		-f tests/bench/report.awk "$dir/results" >"$dir/table"
}

# says NAME FILE LINE: a line of the file is that, but for the number of blanks.
says() {
	if tr -s ' ' <"$dir/$2" | grep -qxF -- "$3"; then
		echo "ok bench_report/$1"
		passed=$((passed + 1))
	else
		echo "FAIL bench_report/$1"
		echo "     not there: $3"
		sed 's/^/     /' "$dir/$2"
		failed=$((failed + 1))
	fi
}

report "vxs testpmd"
says "median and ratio" table "flow Mpps 40.0 20.0 2.00"
says "range" table " 20.0-90.0 10.0-30.0"
says "rounds" table "Medians of 3 rounds of 0.5 s, their ranges below; Mpps: million frames a second, us: there and"
says "losses" table " lost: testpmd 0.33 % (1)"
says "percentile" table "ping p99.9 us 5.00 5.00 1.00"
says "bits instead of frames" table "tso Gbit/s - 17.7 -"
says "why not" table " vxs: offers no TSO"
says "nobody can" table "nobody - -"
says "rate beside idle VMs" table "beside Mpps 19.0 - -"
says "share kept" table " share kept x 0.95 - -"
says "a round without it" table " share kept x 0.60 - -"
says "CPU time" table "idle cpu % 0.25 - -"
says "memory" table "idle own MiB 8.00 - -"
says "calls in 1000 frames, no ratio to next to none" table "calls /1000 4.00 0.50 -"
says "calls a second" table "quiet /s 5.50 - -"
says "drawing's data" data '"idle rss" MiB 16 16 16 NaN NaN NaN'
says "JSON ratio" json ' "rate": {"unit": "frames/s", "vxs_to": {"testpmd": 2.000},'
says "JSON small figure" json ' "vxs": {"median": 0.004, "min": 0.004, "max": 0.004, "rounds": [0.004]},'
says "JSON remark" json ' "remarks": {"vxs": "offers no TSO"}},'
says "JSON of a row without frames" json ' "vxs": {"median": 5.5, "min": 5.5, "max": 5.5, "rounds": [5.5]}}},'
if command -v python3 >/dev/null; then
	if python3 -m json.tool "$dir/json" >"$dir/parsed" 2>&1; then
		echo "ok bench_report/JSON that a parser takes"
		passed=$((passed + 1))
	else
		echo "FAIL bench_report/JSON that a parser takes: $(cat "$dir/parsed")"
		failed=$((failed + 1))
	fi
fi
report "vxs testpmd ovs ceiling"
says "heads" table " unit vxs testpmd OVS-DPDK ceiling /testpmd /OVS /ceil"
width=$(awk '{ print length($0) }' "$dir/table" | head -n 1)
if [ "$width" -eq 100 ] && [ "$(sed -n 2p "$dir/table" | wc -c)" -eq 101 ]; then
	echo "ok bench_report/width"
	passed=$((passed + 1))
else
	echo "FAIL bench_report/width: $width columns, not 100 in each line"
	failed=$((failed + 1))
fi
report testpmd
says "no ratios without vxs" table "flow Mpps 20.0"
report testpmd 1
says "one round" table "Medians of 1 round of 0.5 s, their ranges below; Mpps: million frames a second, us: there and"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
