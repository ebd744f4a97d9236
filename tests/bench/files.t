#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bench: many small files, in an erofs image on a disk of blobcache (A), in a mount of blobcache
# over a FUSE mount (B), and in that FUSE mount alone (C: libfuse's passthrough_hp over ext4, which
# has no store behind it and is faster than any Blob mount is). For tests/bench/run.
#
# FILES: how many, by thousands; SAMPLE: how many of them are read in a round, at random, each
# compared.
#
# vm: disk=data:3G disk=plain:8G mem=4G timeout=7200

. /payload/tests/bench/lib.sh

files=${FILES:-1000000}
sample=${SAMPLE:-2000}
plain=$(disk plain)
tier=$(disk data)
store=/mnt/ext4
volume=file://$store
declare -A at=([A]=/mnt/image [B]=/mnt/blobcache [C]=/mnt/fuse)

mkdir -p "${at[@]}" "$store"
mkfs.ext4 -q -O ^has_journal -N $((files + files / 50 + 1000)) -E lazy_itable_init=1 "$plain" &&
	mount -o noatime "$plain" "$store" || die "no ext4"
mkdir "$store/files"
manyfiles make "$store/files" "$files" || die "no files"
echo "$files files made" >&2
cachectl image build "$store/files" -o "$store/image" >&2 || die "no image"
echo "their image has $(stat -c %s "$store/image") bytes, they $(du -s --apparent-size -B1 "$store/files" | cut -f1)" >&2

# shellcheck disable=SC2086 # words
load_module ${PARAMETERS:-} || die "no module"
cachectl device format "$tier" >&2 && cachectl device attach "$tier" >&2 || die "no tier"
start_daemon "{ \"source\": \"$volume\" }"
modprobe fuse 2>/dev/null
# It keeps each file open that it was asked for.
ulimit -n 1048576
/payload/add/passthrough_hp "$store" "${at[C]}" >/run/test/fuse.log 2>&1 || die "no passthrough_hp"
wait_for 'mountpoint -q "${at[C]}"' 30 >&2 || die "no FUSE mount"
mount -t blobcache "${at[C]}" "${at[B]}" -o "ro,volume=$volume,consistency=immutable" || die "no mount"
cachectl image mount "$volume/image" "${at[A]}" --volume "$volume" >&2 || die "no image mount"
disk=$(cachectl disk list --json | jq -r '.disks[0].name')
declare -A tree=([A]=${at[A]} [B]=${at[B]}/files [C]=${at[C]}/files)
steady_clock
{
	uname -r
	echo "$files files, $sample of them in each round"
} >/out/setting

# measure ROUND JOB SUBJECT WORD...
measure() {
	local round=$1 job=$2 who=$3 value
	shift 3
	drop_caches 3
	value=$(manyfiles "$1" "${tree[$who]}" "${@:2}") || die "$job of $who failed"
	echo "{\"round\":$round,\"job\":\"$job\",\"subject\":\"$who\",\"value\":$value}" >>/out/values.jsonl
}

for ((r = 1; r <= rounds; r++)); do
	cachectl evict "/dev/blobcache/$disk" >&2 || die "the disk is not evicted"
	# Each round reads others: for B and C they are cold.
	for who in A B C; do measure "$r" cold $who read "$files" "$sample" "$r"; done
	for who in A B C; do measure "$r" warm $who read "$files" "$sample" "$r"; done
	for who in A B C; do measure "$r" stat_warm $who stat "$files" "$sample" "$r"; done
	for who in A B C; do measure "$r" walk $who walk 5; done
	counters
	echo "round $r of $rounds" >&2
done
cachectl image umount "${at[A]}" >&2
umount "${at[B]}" "${at[C]}"
