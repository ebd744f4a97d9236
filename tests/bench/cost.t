#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bench: what a read costs, in instructions: in a machine whose clock counts them, on disks that are
# memory and answer at once. A mount of blobcache and the ext4 file below it; a disk of blobcache, the
# raw device, and dm-linear on that. For tests/bench/run.
#
# vm: icount=yes mem=1500M timeout=1800

. /payload/tests/bench/lib.sh

bytes=$((64 << 20))
# memory_disk NAME: prints its device
memory_disk() {
	local dir=/sys/kernel/config/nullb/$1
	mkdir "$dir" && echo 192 >"$dir/size" && echo 1 >"$dir/memory_backed" && echo 0 >"$dir/irqmode" &&
		echo 2 >"$dir/queue_mode" && echo 512 >"$dir/blocksize" && echo 1 >"$dir/power" &&
		echo "/dev/$1"
}

mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config 2>/dev/null
modprobe null_blk nr_devices=0 || die "no null_blk"
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config || die "no configfs"
tier=$(memory_disk nulltier) && plain=$(memory_disk nullplain) && raw=$(memory_disk nullraw) || die "no memory disks"
store=/mnt/ext4
volume=file://$store
mkdir -p "$store" /mnt/blobcache
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$plain" && mount -o noatime "$plain" "$store" || die "no ext4"
# One file for the mount and one for the disk: who is cached by one way shall not be by the other.
head -c "$bytes" /dev/urandom >"$raw" || die "no bytes"
for f in file image; do head -c "$bytes" /dev/urandom >"$store/$f" || die "no bytes"; done
sync
# shellcheck disable=SC2086 # words
load_module ${PARAMETERS:-} || die "no module"
cachectl device format "$tier" >&2 && cachectl device attach "$tier" >&2 || die "no tier"
start_daemon "{ \"source\": \"$volume\" }"
mount -t blobcache "$store" /mnt/blobcache -o "ro,volume=$volume,consistency=immutable,ttl=1h" || die "no mount"
cachectl disk attach "$volume/image" --volume "$volume" --name cost >&2 || die "no disk"
modprobe dm-mod
dmsetup create linear --table "0 $(blockdev --getsz "$raw") linear $raw 0" >&2 && dmsetup mknodes ||
	die "no dm-linear"
declare -A at=([mount]=/mnt/blobcache/file [ext4]=$store/file [disk]=/dev/blobcache/cost [raw]=$raw [linear]=/dev/mapper/linear)

size=64
on_tier "${at[mount]}" "$store/file"
on_tier "${at[disk]}" "$store/image"
uname -r >/out/setting

# cost ROUND JOB SUBJECT MODE BLOCK OPS
cost() {
	local value
	value=$(readcost "$4" "${at[$3]}" "$bytes" "$5" "$6") || die "$2 of $3 failed"
	echo "{\"round\":$1,\"job\":\"$2\",\"subject\":\"$3\",\"value\":$value}" >>/out/values.jsonl
}

for ((r = 1; r <= rounds; r++)); do
	for who in mount ext4 disk raw linear; do
		cost "$r" direct_4k $who direct 4096 4000
		cost "$r" direct_128k $who direct 131072 512
		drop_caches 1
		cost "$r" buffered_4k $who buffered 4096 4000
		# What is cached of a device goes with who closes it last.
		exec 5<"${at[$who]}"
		head -c "$bytes" <&5 >/dev/null
		cost "$r" cached_4k $who buffered 4096 16000
		cost "$r" fault_64k $who fault 65536 1000
		exec 5<&-
		drop_caches 1
	done
	counters
	echo "round $r of $rounds" >&2
done
