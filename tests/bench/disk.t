#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bench: an object as a disk, read from the tier: through blobcache (A); the same bytes on a raw
# disk like the tier's (B); the same through dm-linear, which is what one more block device on top
# costs at least (C); and through nbdkit's curl plugin with its cache on such a disk (D), filled
# before. For tests/bench/run, which brings nbdkit and makes of /out what is shown.
#
# vm: host=dataset disk=data:512M disk=plain:512M disk=third:512M mem=2G timeout=1500

. /payload/tests/bench/lib.sh

plain=$(disk plain)
tier=$(disk data)
third=$(disk third)
url="${AZ_SAS_URL%%\?*}/image?${AZ_SAS_URL#*\?}"
# shellcheck disable=SC2034 # of job()
declare -A file=([A]=/dev/blobcache/bench [B]=$plain [C]=/dev/mapper/linear [D]=/dev/nbd0)
# shellcheck disable=SC2034
declare -A dev=([A]=${tier##*/} [B]=${plain##*/} [C]=${plain##*/} [D]=${third##*/})

# The raw disk has the bytes at its beginning; fio reads no further.
dd if=/dev/urandom of="$plain" bs=1M count="$size" oflag=direct status=none || die "no bytes"
dd if="$plain" of=/run/test/image bs=1M count="$size" status=none
until host_log dataset.json >/dev/null 2>&1; do pause 1; done
curl -sf -X PUT -H "x-ms-blob-type: BlockBlob" --data-binary @/run/test/image "$url" || die "no blob"

# shellcheck disable=SC2086 # words
load_module ${PARAMETERS:-} || die "no module"
cachectl device format "$tier" >&2 && cachectl device attach "$tier" >&2 || die "no tier"
start_daemon "{ \"source\": \"$AZ_SOURCE\", \"scheme\": \"http\",
	\"auth\": { \"type\": \"shared-key\", \"account\": \"$AZURITE_ACCOUNT\", \"key\": \"$AZURITE_KEY\" } }"
cachectl disk attach "$AZ_SOURCE/image" --volume "$AZ_SOURCE" --name bench >&2 || die "no disk"

modprobe dm-mod
dmsetup create linear --table "0 $(blockdev --getsz "$plain") linear $plain 0" >&2 && dmsetup mknodes ||
	die "no dm-linear"

# nbdkit and its client are Debian's, out of their packages.
nbd=/payload/add/nbdkit
export LD_LIBRARY_PATH=$nbd/usr/lib/x86_64-linux-gnu
plugins=$LD_LIBRARY_PATH/nbdkit
mkdir -p /mnt/third
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$third" && mount "$third" /mnt/third || die "no ext4"
modprobe nbd || die "no nbd"
TMPDIR=/mnt/third "$nbd/usr/bin/nbdkit" -U /run/test/nbd.sock -P /run/test/nbdkit.pid -r \
	--filter="$plugins/filters/nbdkit-cache-filter.so" "$plugins/plugins/nbdkit-curl-plugin.so" \
	"url=$url" cache-on-read=true >/run/test/nbdkit.log 2>&1 || die "no nbdkit: $(cat /run/test/nbdkit.log)"
wait_for '[ -S /run/test/nbd.sock ]' 30 >&2 || die "no nbdkit"
"$nbd/sbin/nbd-client" -unix /run/test/nbd.sock /dev/nbd0 >&2 || die "no nbd disk"
unset LD_LIBRARY_PATH

ours=$(basename /sys/block/blobcache*)
# All read ahead as far as we do, and in no other order than they are asked.
ahead=$(cat "/sys/block/$ours/queue/read_ahead_kb")
for d in nbd0 dm-0 "${plain##*/}"; do echo "$ahead" >"/sys/block/$d/queue/read_ahead_kb"; done
steady_clock

{
	uname -r
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource
	for d in "${plain##*/}" nbd0 "$ours"; do
		echo "$d $(cat "/sys/block/$d/queue/"{read_ahead_kb,max_sectors_kb,scheduler} 2>&1 | tr '\n' ' ')"
	done
} >/out/setting

jobs_of() {
	local r=$1 who
	for who in A B C D; do job "$r" direct_rand_4k cold $who rw=randread bs=4k io_size=8M direct=1; done
	for who in A B C D; do
		job "$r" direct_rand_4k_qd32 cold $who rw=randread bs=4k io_size=16M direct=1 ioengine=libaio iodepth=32
	done
	for who in A B C D; do job "$r" rand_4k cold $who rw=randread bs=4k io_size=8M; done
	for who in A B C D; do job "$r" direct_seq_1m cold $who rw=read bs=1M direct=1; done
	for who in A B C D; do job "$r" seq_1m cold $who rw=read bs=1M; done
}

on_tier /dev/blobcache/bench /run/test/image
cmp /dev/nbd0 /run/test/image >&2 || die "nbdkit has other bytes"
rm /run/test/image

gets() { host_log azurite.log | grep -c '"GET .*/image'; }
before=$(gets)
run_rounds jobs_of
[ "$(gets)" = "$before" ] || die "what was read was not in the caches: $(gets) GETs, $before before"
"$nbd/sbin/nbd-client" -d /dev/nbd0 >&2
kill "$(cat /run/test/nbdkit.pid)"
cachectl disk detach bench >&2
