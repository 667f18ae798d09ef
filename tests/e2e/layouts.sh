# shellcheck shell=bash disable=SC2034 # read by those who source it
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The ten ways in which DPDK's virtio-user lays out and walks its virtqueues. Sourced by
# tests/e2e/test_testpmd.sh and scripts/bench.
#
# A driver that can't do what it was asked for takes another way without a word in its exit status,
# and so does one to whom the device doesn't offer it: both sides must be asked afterwards.

layouts=(split-mergeable split-plain split-inorder-mergeable split-inorder split-vector
	packed-mergeable packed-plain packed-inorder-mergeable packed-inorder packed-vector)

# The device's arguments, behind path, mac and queues.
declare -A layout_device=(
	[split-mergeable]=packed_vq=0,mrg_rxbuf=1,in_order=0
	[split-plain]=packed_vq=0,mrg_rxbuf=0,in_order=0
	[split-inorder-mergeable]=packed_vq=0,mrg_rxbuf=1,in_order=1
	[split-inorder]=packed_vq=0,mrg_rxbuf=0,in_order=1
	[split-vector]=packed_vq=0,mrg_rxbuf=0,in_order=0,vectorized=1
	[packed-mergeable]=packed_vq=1,mrg_rxbuf=1,in_order=0
	[packed-plain]=packed_vq=1,mrg_rxbuf=0,in_order=0
	[packed-inorder-mergeable]=packed_vq=1,mrg_rxbuf=1,in_order=1
	[packed-inorder]=packed_vq=1,mrg_rxbuf=0,in_order=1
	[packed-vector]=packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1
)

# What it says of its two directions. Its functions for packed rings don't depend on the order, and
# those of split rings in order take mergeable buffers too: there the features make the difference.
declare -A layout_paths=(
	[split-mergeable]='standard Tx|mergeable buffer Rx'
	[split-plain]='standard Tx|standard Rx'
	[split-inorder-mergeable]='inorder Tx|inorder Rx'
	[split-inorder]='inorder Tx|inorder Rx'
	[split-vector]='standard Tx|vectorized Rx'
	[packed-mergeable]='packed ring standard Tx|packed ring mergeable buffer Rx'
	[packed-plain]='packed ring standard Tx|packed ring standard Rx'
	[packed-inorder-mergeable]='packed ring standard Tx|packed ring mergeable buffer Rx'
	[packed-inorder]='packed ring standard Tx|packed ring standard Rx'
	[packed-vector]='packed ring vectorized Tx|packed ring vectorized Rx'
)

# For testpmd's EAL: the paths are told, and vectors may be as wide as packed rings need them.
layout_eal=(--log-level='pmd.net.virtio.init:info' --force-max-simd-bitwidth=512)

# layout_lacks NAME: what the CPU lacks for it, in words; nothing if it can be used.
layout_lacks() {
	[ "$1" != packed-vector ] || grep -qw avx512f /proc/cpuinfo ||
		echo "vectorized packed rings need a CPU with AVX-512"
}

# layout_features NAME: of VIRTIO_NET_F_MRG_RXBUF (15), VIRTIO_F_RING_PACKED (34) and
# VIRTIO_F_IN_ORDER (35), those that must be negotiated.
layout_features() {
	local device=,${layout_device[$1]}, bits=0
	[[ $device != *,mrg_rxbuf=1,* ]] || bits=$((bits | 1 << 15))
	[[ $device != *,packed_vq=1,* ]] || bits=$((bits | 1 << 34))
	[[ $device != *,in_order=1,* ]] || bits=$((bits | 1 << 35))
	echo $bits
}
layout_features_mask=$((1 << 15 | 1 << 34 | 1 << 35))

# layout_taken NAME OUTPUT: testpmd's output says that both of its ports go the wanted way. If they
# don't, what it says instead is printed.
layout_taken() {
	local path n bad=0
	local -a paths
	IFS='|' read -ra paths <<<"${layout_paths[$1]}"
	for path in "${paths[@]}"; do
		n=$(grep -c "virtio: using $path path on port" "$2") || true
		[ "$n" -ge 2 ] || bad=1
	done
	[ "$bad" -eq 0 ] || grep -oE 'virtio: using .* path on port .*|disabled (packed|split) ring.*' "$2"
	return "$bad"
}
