# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# QEMU guests for scripts/demo and the end-to-end tests; sourced after scripts/lib.sh.
#
# A guest is driven through its second serial port, a pair of FIFOs that QEMU holds open:
#
#   guest_run ── NAME.in ──> ttyS1 ──> shell in the guest (scripts/guest-init)
#             <── NAME.out ── ttyS1 <──
#
# Files of guest NAME lie in $guest_dir: NAME.in, NAME.out, NAME.pid, NAME.console, NAME.qemu.

guest_image=${VXS_GUEST_IMAGE:-$top/build/guest}
guest_dir=${guest_dir:-}
guest_memory=192 # MiB
guest_enter=()	 # a command that runs QEMU elsewhere and becomes it: nsenter
guest_serial=0

# Which accelerator boots a guest here: /dev/kvm may exist and yet run no kernel. The answer is
# kept until the machine's next boot.
guest_accel() {
	local boot answer
	[ -z "${VXS_ACCEL:-}" ] || {
		echo "$VXS_ACCEL"
		return
	}
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if [ -r "$guest_image/accel" ]; then
		read -r answer <"$guest_image/accel"
		if [ "${answer% *}" = "$boot" ]; then
			echo "${answer#* }"
			return
		fi
	fi
	answer=tcg
	if [ -r /dev/kvm ] && [ -w /dev/kvm ] && guest_probe_kvm; then
		answer=kvm
	fi
	echo "$boot $answer" >"$guest_image/accel"
	echo "$answer"
}

# A kernel that comes as far as its shell within five seconds was run by KVM.
guest_probe_kvm() {
	local guest_dir result
	guest_dir=$(mktemp -d)
	result=1
	guest_launch kvm probe '' && guest_ready probe 5 && result=0
	guest_stop probe
	rm -rf "$guest_dir"
	return $result
}

# guest_launch ACCEL NAME KERNEL-WORDS [QEMU-ARGUMENT...]: starts QEMU and returns at once.
guest_launch() {
	local accel=$1 name=$2 words=$3 base=$guest_dir/$2 cpu=max
	shift 3
	[ "$accel" = tcg ] && cpu=qemu64
	rm -f "$base.in" "$base.out"
	mkfifo "$base.in" "$base.out" || return 1
	"${guest_enter[@]}" qemu-system-x86_64 -name "$name" -machine "pc,accel=$accel" -cpu "$cpu" -m "$guest_memory" \
		-nodefaults -no-user-config -display none \
		-kernel "$guest_image/vmlinuz" -initrd "$guest_image/initrd" \
		-append "console=ttyS0 quiet panic=-1 vxs.name=$name $words" \
		-chardev "file,id=console,path=$base.console" -serial chardev:console \
		-chardev "pipe,id=shell,path=$base" -serial chardev:shell \
		"$@" </dev/null >"$base.qemu" 2>&1 &
	echo $! >"$base.pid"
	disown $! # it may die as it likes, without a word from this shell
}

# guest_start NAME SOCKET MAC IP/LEN IP6/LEN: a guest whose one NIC is a vhost-user socket.
guest_start() {
	local name=$1 socket=$2 mac=$3 accel
	accel=$(guest_accel)
	guest_start_with "$name" "vxs.ip=$4 vxs.ip6=$5" \
		-object "memory-backend-memfd,id=mem,size=${guest_memory}M,share=on" \
		-numa node,memdev=mem \
		-chardev "socket,id=net,path=$socket" \
		-netdev vhost-user,id=net,chardev=net \
		-device "virtio-net-pci,netdev=net,mac=$mac"
}

# guest_start_with NAME KERNEL-WORDS QEMU-ARGUMENT...: the same with QEMU arguments of one's own
# (what `vxsctl qemu` printed). QEMU 7.2 under TCG crashes when a driver with MSI-X starts a
# vhost-user device: there the device gets no vectors.
guest_start_with() {
	local name=$1 words=$2 accel argument extra=romfile=
	local -a arguments=()
	shift 2
	accel=$(guest_accel)
	[ "$accel" = tcg ] && extra+=,vectors=0
	for argument in "$@"; do
		[[ $argument == virtio-net-pci,* ]] && argument+=,$extra
		arguments+=("$argument")
	done
	guest_launch "$accel" "$name" "$words" "${arguments[@]}"
}

guest_pid() {
	cat "$guest_dir/$1.pid" 2>/dev/null
}

# guest_alive NAME: its QEMU runs.
guest_alive() {
	local pid
	pid=$(guest_pid "$1") && kill -0 "$pid" 2>/dev/null
}

# guest_await NAME ID SECONDS: prints what the guest says until the line "@@ID STATUS", whose
# status is returned; 124 when time is up or QEMU is gone. Lines of other IDs are stale.
guest_await() {
	local name=$1 id=$2 end=$((SECONDS + $3)) line part='' fd
	exec {fd}<>"$guest_dir/$name.out" || return 124
	while [ $SECONDS -lt $end ]; do
		if ! IFS= read -r -t 1 -u "$fd" line; then
			part+=$line # time was up in the middle of a line
			guest_alive "$name" && continue
			break
		fi
		line=$part${line%$'\r'}
		part=''
		case $line in
		"@@$id "*)
			exec {fd}>&-
			return "${line##* }"
			;;
		@@*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done
	exec {fd}>&-
	return 124
}

# guest_ready NAME SECONDS: waits for the shell that each boot ends with.
guest_ready() {
	guest_await "$1" ready "$2" >/dev/null
}

# guest_run NAME COMMAND [SECONDS]: prints the command's output, returns its exit status.
guest_run() {
	local id
	guest_alive "$1" || return 124
	guest_serial=$((guest_serial + 1))
	id=$BASHPID-$guest_serial-$RANDOM
	printf '%s %s\n' "$id" "$2" >"$guest_dir/$1.in"
	guest_await "$1" "$id" "${3:-30}"
}

# guest_reboot NAME SECONDS: QEMU stays; returns when the guest's shell is back.
guest_reboot() {
	printf 'reboot reboot -f\n' >"$guest_dir/$1.in"
	guest_ready "$1" "$2"
}

# guest_stop NAME [SIGNAL]: ends QEMU and waits for it.
guest_stop() {
	local pid
	pid=$(guest_pid "$1") || return 0
	stop_pid "$pid" "${2:-TERM}"
	rm -f "$guest_dir/$1.pid" "$guest_dir/$1.in" "$guest_dir/$1.out"
}

# guest_start_port NAME IP/LEN IP6/LEN: a guest on port NAME of the running vxsd, with the
# arguments that `vxsctl qemu` prints.
guest_start_port() {
	local name=$1 text
	local -a arguments
	text=$(ctl qemu "$name" --memory "${guest_memory}M") || return 1
	eval "arguments=($text)" # it is written for a shell
	guest_start_with "$name" "vxs.ip=$2 vxs.ip6=$3" "${arguments[@]}"
}
