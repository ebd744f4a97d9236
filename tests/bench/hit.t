#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bench: reads of what is on the tier, and of what is in the page cache. The same
# file through blobcache (A), from ext4 on an equal disk (B), and through libfuse's
# passthrough_hp over that ext4 (C); rounds of A B C, job by job. For
# tests/bench/run, which brings passthrough_hp and makes of /out what is shown.
#
# vm: disk=data:512M disk=plain:512M mem=2G timeout=1500

. /payload/tests/bench/lib.sh

plain=$(disk plain)
tier=$(disk data)
source=file:///mnt/ext4
declare -A at=([A]=/mnt/blobcache [B]=/mnt/ext4 [C]=/mnt/fuse) file
# shellcheck disable=SC2034 # of job()
declare -A dev=([A]=${tier##*/} [B]=${plain##*/} [C]=${plain##*/})
for who in A B C; do file[$who]=${at[$who]}/file; done

mkdir -p "${at[@]}"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$plain" && mount "$plain" /mnt/ext4 ||
	die "no ext4"
modprobe fuse 2>/dev/null
dd if=/dev/urandom of=/mnt/ext4/file bs=1M count="$size" conv=fsync status=none || die "no file"

# shellcheck disable=SC2086 # words
load_module ${PARAMETERS:-} || die "no module"
cachectl device format "$tier" >&2 && cachectl device attach "$tier" >&2 || die "no tier"
start_daemon "{ \"source\": \"$source\" }"
mount -t blobcache /mnt/ext4 "${at[A]}" -o "ro,volume=$source,consistency=immutable" || die "no mount"
/payload/add/passthrough_hp /mnt/ext4 "${at[C]}" >/run/test/fuse.log 2>&1 || die "no passthrough_hp"
wait_for 'mountpoint -q "${at[C]}"' 30 >&2 || die "no FUSE mount"

# ahead SUBJECT: its read_ahead_kb
ahead() {
	case $1 in
	A) cat /sys/class/bdi/blobcache-*/read_ahead_kb ;;
	B) cat "/sys/block/${plain##*/}/queue/read_ahead_kb" ;;
	C) cat "/sys/class/bdi/$(mountpoint -d "${at[C]}")/read_ahead_kb" ;;
	esac
}
# ext4 reads ahead as far as we do; FUSE does what it negotiates.
ahead A >"/sys/block/${plain##*/}/queue/read_ahead_kb"
steady_clock

jobs_of() {
	local r=$1 who
	for who in A B C; do job "$r" seq_1m cold $who rw=read bs=1M; done
	for who in A B C; do job "$r" rand_4k cold $who rw=randread bs=4k io_size=8M; done
	for who in A B C; do job "$r" direct_seq_1m cold $who rw=read bs=1M direct=1; done
	for who in A B C; do job "$r" direct_rand_4k cold $who rw=randread bs=4k io_size=8M direct=1; done
	for who in A B C; do
		# Reads it all, untimed, before it starts.
		job "$r" cached_seq_1m cached $who rw=read bs=1M pre_read=1 invalidate=0 \
			time_based runtime=2
	done
	for who in A B C; do
		job "$r" cached_rand_4k cached $who rw=randread bs=4k norandommap invalidate=0 \
			time_based runtime=2
	done
}

{
	uname -r
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource
	for who in A B C; do echo "$who ${at[$who]} read_ahead_kb=$(ahead $who)"; done
	cat /sys/block/"${plain##*/}"/queue/{max_sectors_kb,max_hw_sectors_kb,scheduler}
} >/out/setting

on_tier "${file[A]}" "${file[B]}"
run_rounds jobs_of
umount "${at[C]}" "${at[A]}"
