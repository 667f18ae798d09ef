#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vxsctl from the outside, and that option tables, --help, man pages and completion agree.
#
#   vxsctl ── ctl.sock ── vxsd --vm a --vm b (no uplink, no root), both in a directory of our own
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
dir=$(mktemp -d)
passed=0 failed=0 pid=''

finish() {
	[ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	rm -rf "$dir"
}
trap finish EXIT

report() { # NAME STATUS [TEXT]: counts and prints one test
	if [ "$2" -eq 0 ]; then
		echo "ok vxsctl/$1"
		passed=$((passed + 1))
	else
		echo "FAIL vxsctl/$1"
		printf '     %s\n' "${3:-}"
		failed=$((failed + 1))
	fi
}

ctl() {
	"$build/vxsctl" --name "vxsctl-$$" --run-dir "$dir/run" "$@"
}

# expect NAME STATUS PATTERN ARGUMENT...: vxsctl's exit status, and a regular expression that its
# output (both streams) matches.
expect() {
	local name=$1 status=$2 pattern=$3 out got
	shift 3
	out=$(ctl "$@" 2>&1)
	got=$?
	[ $got -eq "$status" ] && [[ $out =~ $pattern ]]
	report "$name" $? "vxsctl $*: status $got, said: $out"
}

# A man page as text without its fonts and escapes.
plain() {
	sed -e 's/\\f[BIRP]//g' -e 's/\\-/-/g' -e 's/"//g' -e 's/^\.[A-Z]* //' "user/man/$1"
}

# agree NAME PAGE WORD...: each word is in the page, as a whole one or at the start of one.
agree() {
	local name=$1 page=$2 word text missing=''
	shift 2
	text=$(plain "$page")
	for word in "$@"; do
		grep -qE -- "(^|[^a-z-])$word([^a-z-]|$)" <<<"$text" || missing+=" $word"
	done
	[ $# -gt 0 ] && [ -z "$missing" ]
	report "$name" $? "$page lacks:${missing:- nothing, but there was nothing to look for}"
}

options_of() { # of the help on stdin: --name, -j
	sed -n 's/^  \(--*[a-z-]*\).*/\1/p'
}

keys_of() {
	sed -n 's/^ \{10\}\([a-z-]*=\).*/\1/p'
}

commands_of() {
	sed -n '/^commands:/,$s/^  \([a-z][a-z ]*[a-z]\) .*/\1/p' | sed 's/  .*//'
}

# --- tables, help, man pages, completion ---

mapfile -t words < <("$build/vxsd" --help | options_of)
agree vxsd_options vxsd.8 "${words[@]}"
mapfile -t words < <("$build/vxsd" --help | keys_of)
agree vxsd_keys vxsd.8 "${words[@]}"
mapfile -t words < <("$build/vxsctl" --help | options_of)
agree vxsctl_options vxsctl.8 "${words[@]}"
mapfile -t words < <("$build/vxsctl" --help | keys_of)
agree vxsctl_keys vxsctl.8 "${words[@]}"
mapfile -t words < <("$build/vxsctl" --help | commands_of)
agree vxsctl_commands vxsctl.8 "${words[@]}"

# Each drop counter is in the man page, its text behind its name.
drops() { # "name text"
	sed -n 's/^\tDROP(\([a-z_]*\), "\(.*\)").*/\1 \2/p' include/vxs_drop.h
}
text=$(plain vxsctl.8 | sed -n '/^DROP COUNTERS$/,$p' | tr '\n' ' ')
missing=$(drops | while read -r line; do
	[[ $text == *" $line"* ]] || echo "$line;"
done)
[ "$(drops | wc -l)" -eq "$(grep -c '^	DROP(' include/vxs_drop.h)" ] && [ "$(drops | wc -l)" -gt 0 ] &&
	[ -z "$missing" ]
report drop_counters $? "vxsctl.8 lacks: $missing"

# So is what a way through the switch is called.
mapfile -t words < <(sed -n 's/^\tPATH([a-z_]*, "\(.*\)").*/\1/p' include/vxs_path.h)
[ ${#words[@]} -eq "$(grep -c '^	PATH(' include/vxs_path.h)" ]
report path_list $? "include/vxs_path.h: not every line of the list was read"
agree paths vxsctl.8 "${words[@]}"

for p in vxsd vxsctl; do
	long=$("$build/$p" --help | awk 'length > 80')
	[ -z "$long" ]
	report ${p}_help_width $? "over 80 columns: $long"
done

# The other way round: what the man pages describe exists.
stray=$(for p in vxsd vxsctl; do
	plain $p.8 | sed -n '/^OPTIONS$/,/^[A-Z][A-Z ]*$/s/^\(--[a-z-]*\).*/\1/p' | while read -r word; do
		"$build/$p" --help | options_of | grep -qxe "$word" || echo "$p $word"
	done
done)
[ -z "$stray" ]
report man_options $? "the man pages describe, and the programs don't know: $stray"

for p in vxsd vxsctl; do
	[ "$("$build/$p" --version)" = "$p $(sed -n 's/.*VERSION.*"\(.*\)"/\1/p' include/vxs_ctl.h)" ] &&
		grep -q "vxs $(sed -n 's/.*VERSION.*"\(.*\)"/\1/p' include/vxs_ctl.h)" user/man/$p.8
	report ${p}_version $? "program, header and man page name different versions"
done

wrong=$("$build/vxsctl" --help | commands_of | while read -r command; do
	# shellcheck disable=SC2086 # a command is one word or two
	"$build/vxsctl" $command --help | grep -q "^usage: vxsctl" || echo "$command"
done)
[ -z "$wrong" ]
report command_help $? "no help for: $wrong"

# --- usage errors: status 2, one line ---

expect no_command 2 '^vxsctl: no command; see .vxsctl --help.$'
expect unknown_command 2 '^vxsctl: dance: no such command; ' dance
expect half_command 2 '^vxsctl: port: no such command; ' port
expect missing 2 '^vxsctl: port add: NAME\[,key=value...\] is missing; ' port add
expect too_much 2 '^vxsctl: fdb show: "x" is too much; ' fdb show x
expect unknown_option 2 '^vxsctl: --colour: no such option; ' --colour status
expect no_value 2 '^vxsctl: --name: has no value: write --name NAME$' status --name
expect bad_name 2 '^vxsctl: --name a/b: "a/b" is not a name: ' --name a/b status
expect bad_memory 2 '^vxsctl: --memory 1x: not a size: ' qemu a --memory 1x
expect bad_seconds 2 '^vxsctl: --for 0: ' stats --workers --for 0
expect for_elsewhere 2 '^vxsctl: --for: goes with stats --workers alone: ' stats --for 1
expect workers_elsewhere 2 '^vxsctl: --workers: status does not take it: ' status --workers
expect workers_port 2 '^vxsctl: stats --workers: "a" is too much; ' stats a --workers
expect memory_elsewhere 2 '^vxsctl: --memory: status does not take it: ' status --memory 1G

# --- no daemon ---

expect no_daemon 1 "^vxsctl: switch in $dir/run does not run \(no $dir/run/ctl.sock\): start" status
out=$("$build/vxsctl" --name "vxsctl-none-$$" status 2>&1)
[ "$out" = "vxsctl: switch \"vxsctl-none-$$\" does not run (no /run/vxs/vxsctl-none-$$/ctl.sock): \
start vxsd, or choose --name" ]
report no_such_switch $? "$out"

# --- a daemon: ready when it says so in its log ---

mkfifo "$dir/log"
"$build/vxsd" --name "vxsctl-$$" --run-dir "$dir/run" --vm a --vm b,mac=52:54:00:00:00:0b,queues=4 \
	--vm m,mtu=9000,offloads=csum \
	2>"$dir/log" &
pid=$!
exec 3<>"$dir/log"
while IFS= read -r -t 10 -u 3 line; do # the fd stays open, the pipe holds the rest
	[[ $line == *ready* ]] && break
done
if [[ ${line:-} != *ready* ]]; then
	report start 1 "vxsd did not start: ${line:-}"
	echo "$passed passed, $failed failed"
	exit 1
fi

expect status 0 "switch +vxsctl-$$ .*ports +3.VM MTUs +9000" status
expect status_queues 0 'addresses +1

WORKER +CPU +ROUNDS +WITH-FRAMES +SLEEPS +QUEUES +POLLS
0 +any +[0-9]+ +[0-9]+ +[0-9]+ +0 +-$' status
expect status_json 0 '"name": *"vxsctl-' -j status
expect port_list 0 'ID +NAME.* a +vm +no +1 +any +learned .*b +vm +no +4 +any +52:54:00:00:00:0b' port show
expect port_mtu 0 'KIND +UP +QUEUES +MTU .* a +vm +no +1 +any .* m +vm +no +1 +9000 ' port show
expect port_offloads 0 'MTU +9000 \(mtu=\).offloads +checksums alone \(offloads=csum\)' port show m
expect port_offered 0 '"offered": *\[[^]]*"guest_tso6",[^]]*"ring_packed"' -j port show a
expect port_withheld 0 '"csum",[[:space:]]*"guest_csum",[[:space:]]*"mtu",' -j port show m
twice=$(ctl -j port show a | sed -n '/"offered"/,/]/s/^ *"\([a-z0-9_]*\)",*$/\1/p' | sort | uniq -d)
[ -z "$twice" ]
report port_offered_once $? "offered twice: $twice"
mapfile -t words < <(ctl -j port show a | sed -n 's/^ *"\([a-z_]*\)": .*/\1/p; s/^ *"\([a-z_]*\)":.*/\1/p' |
	grep -vx 'id\|name\|kind\|up' | sort -u)
agree port_keys vxsctl.8 "${words[@]}"
expect port_why_not 0 'traffic +does not pass: .*a\.sock' port show a
expect port_queues 0 ' 7 +in +[0-9]+ +stopped' port show b
expect port_none 1 '^vxsctl: x: no such port; ' port show x
expect fdb 0 'MAC +VLAN.*52:54:00:00:00:0b +0 +b +static +-' fdb show
expect stats 0 'PORT +IN-FRAMES .*a +0 +0 +0 +0 +0' stats
expect stats_json 0 '"queue_full": *0' -j stats a
expect workers 0 'WORKER +CPU +BUSY +IDLE +ASLEEP .*0 +any +0.0 % +[0-9.]+ % +[0-9.]+ % [^%]*-$' \
	stats --workers
expect workers_json 0 '"uplink_vm": *\{' -j stats --workers
# The time between two looks at the same worker, which does nothing: no frames, and less than all.
ever=$(ctl -j stats --workers | sed -n 's/.*"elapsed_cycles": *\([0-9]*\).*/\1/p')
past=$(ctl -j stats --workers --for=1 | sed -n 's/.*"elapsed_cycles": *\([0-9]*\).*/\1/p')
rate=$(ctl -j stats --workers | sed -n 's/.*"cycles_per_second": *\([0-9]*\).*/\1/p')
later=$(ctl -j stats --workers | sed -n 's/.*"elapsed_cycles": *\([0-9]*\).*/\1/p')
[ "${rate:-0}" -gt 0 ] && [ "$past" -ge $((rate * 9 / 10)) ] && [ "$past" -le $((later - ever)) ]
report workers_for $? "$past cycles of $later - $ever, $rate a second"
expect port_add 0 "^port \"c\" added: its socket is $dir/run/c.sock$" port add c,queues=2
expect port_add_many 0 '^port "n" added' port add n,queues=128
expect port_queues_many 0 ' 1 +in +0 +stopped +0 +0.\(queues 2 to 255 are stopped as well\)$' port show n
expect port_queues_json 0 '"index": *255,' -j port show n
expect port_del_many 0 '^port "n" deleted$' port del n
expect port_add_again 1 '^vxsctl: port "c": there is one of this name: ' port add c
expect port_add_nowhere 1 "^vxsctl: port \"d\": can't listen on /nonexistent/d: No such file or \
directory; make its directory first, or choose another path with socket=\$" \
	port add d,socket=/nonexistent/d
expect port_add_file 1 "^vxsctl: port \"d\": can't listen on $dir/log: File exists; it is no \
socket: remove it, " port add "d,socket=$dir/log"
expect port_add_taken 1 "^vxsctl: port \"d\": can't listen on $dir/run/a.sock: Address already \
in use; stop the process that listens on it, " port add "d,socket=$dir/run/a.sock"
expect port_add_key 1 '^vxsctl: d,colour=red: unknown key "colour"; keys are mac, socket, role, fd, queues, offloads, mtu, ring-reset, postcopy$' \
	port add d,colour=red
expect port_del 0 '^port "c" deleted$' port del c
expect port_del_again 1 '^vxsctl: c: no such port; ' port del c
expect qemu 0 "^-m 2G \\\\
-object memory-backend-memfd,id=vxs-mem,size=2G,share=on \\\\
-machine memory-backend=vxs-mem \\\\
-chardev socket,id=vxs-chr-b,path=$dir/run/b.sock,reconnect=1 \\\\
-netdev vhost-user,id=vxs-net-b,chardev=vxs-chr-b,queues=4 \\\\
-device virtio-net-pci,netdev=vxs-net-b,mac=52:54:00:00:00:0b,mq=on,vectors=10\$" \
	qemu b --memory 2G
expect qemu_mtu 0 'mac=52:54:00:..:..:..,host_mtu=9000$' qemu m
expect qemu_address 0 'netdev=vxs-net-a,mac=52:54:00:(..:){2}..$' qemu a
expect qemu_json 0 '"-m", *
 *"512M",' -j qemu --memory=512 a
[ "$(ctl qemu a)" = "$(ctl qemu a)" ]
report qemu_same $? "the address changes from call to call"

# --- completion, as bash would ask for it ---

complete_words() { # what follows the words
	# shellcheck disable=SC1091,SC2034 # the variables are the completion's
	(
		. user/man/vxsctl.bash-completion
		COMP_WORDS=("$build/vxsctl" --run-dir "$dir/run" "$@") COMP_CWORD=$(($# + 2))
		_vxsctl
		echo "${COMPREPLY[*]}"
	)
}
out="$(complete_words '')/$(complete_words port '')/$(complete_words port show '')"
out+="/$(complete_words stats b)/$(complete_words qemu --me)/$(complete_words fdb '')/"
out+=$(complete_words stats --workers --for "")/$(complete_words stats --w)
[ "$out" = "fdb help port qemu stats status/add del show/a b m/b/--memory/show//--workers" ]
report completion $? "$out"
keys='mac= socket= role= queues= offloads= mtu= ring-reset= postcopy='
[ "$(complete_words port add c,)" = "c,${keys// / c,}" ] &&
	[ "$(complete_words port add c,role = client,m)" = "client,mac= client,mtu=" ]
report completion_keys $? "$(complete_words port add c,)/$(complete_words port add c,role = client,m)"
all='--name --run-dir -j --help --version'
out="$(complete_words -)/$(complete_words status -)/$(complete_words qemu a -)/"
out+="$(complete_words stats -)/$(complete_words stats --workers '')"
[ "$out" = "$all/$all/${all/-j/-j --memory}/${all/-j/-j --workers --for}/" ]
report completion_own_options $? "$out"
mkdir "$dir/switches"
cd_elsewhere() { # /run/vxs is somebody's, so this is what the completion has in its place
	# shellcheck disable=SC2317 # the completion calls it
	cd() { builtin cd "$dir/switches" || return; }
	complete_words --name ''
}
out="$(cd_elsewhere)"
mkdir "$dir/switches/t1" "$dir/switches/t2"
out+="/$(cd_elsewhere)"
[ "$out" = "/t1 t2" ]
report completion_names $? "$out"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
