#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bench: reads of what is on the tier, and of what is in the page cache. The same
# file through blobcache (A), from ext4 on an equal disk (B), and through libfuse's
# passthrough_hp over that ext4 (C); rounds of A B C, job by job. For
# tests/bench/run, which brings passthrough_hp and makes of /out what is shown.
#
# vm: disk=data:512M disk=plain:512M mem=2G timeout=1500

. /payload/tests/vm/lib.sh

rounds=${ROUNDS:-5}
size=${SIZE_MIB:-64}
plain=$(disk plain)
tier=$(disk data)
source=file:///mnt/ext4
declare -A at=([A]=/mnt/blobcache [B]=/mnt/ext4 [C]=/mnt/fuse)
declare -A dev=([A]=${tier##*/} [B]=${plain##*/} [C]=${plain##*/})

die() {
	echo "hit: $*" >&2
	tail -n 5 /run/test/blobcached.log >&2 2>/dev/null
	exit 1
}

mkdir -p "${at[@]}"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$plain" && mount "$plain" /mnt/ext4 ||
	die "no ext4"
modprobe fuse 2>/dev/null
dd if=/dev/urandom of=/mnt/ext4/file bs=1M count="$size" conv=fsync status=none || die "no file"

# shellcheck disable=SC2086 # words
load_module ${PARAMETERS:-} || die "no module"
cachectl device format "$tier" >&2 && cachectl device attach "$tier" >&2 || die "no tier"
mkdir -p /etc/blobcache
echo "{ \"volumes\": [ { \"source\": \"$source\" } ] }" >/etc/blobcache/blobcached.json
blobcached -c /etc/blobcache/blobcached.json -f >>/run/test/blobcached.log 2>&1 &
daemon=$!
wait_for '[ "$(cachectl status --json | jq ".daemon.pid // 0")" = $daemon ]' 60 >&2 || die "no daemon"
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

# The emulated time stamp counter is calibrated against a busy host and may be far off.
echo acpi_pm >/sys/devices/system/clocksource/clocksource0/current_clocksource

counters() { cachectl stats --json >>/out/counters.jsonl; }

# filled: reads it all, compares; true when it all came from the tier
filled() {
	local before
	drop_caches 1
	before=$(cachectl stats --json | jq .hit_bytes)
	cmp "${at[A]}/file" /mnt/ext4/file || die "wrong bytes"
	[ $(($(cachectl stats --json | jq .hit_bytes) - before)) -ge $((size << 20)) ]
}

cat >/run/test/stat <<-'END'
#!/bin/bash
# WHEN ROUND JOB SUBJECT DEVICE: what the device has done so far
read -r reads merged sectors ms _ <"/sys/block/$5/stat"
echo "{\"when\":\"$1\",\"round\":$2,\"job\":\"$3\",\"subject\":\"$4\",\"reads\":$reads,\"merged\":$merged,\"sectors\":$sectors,\"ms\":$ms}" >>/out/disk.jsonl
END
cat >/run/test/before <<-'END'
#!/bin/bash
# ROUND JOB KIND SUBJECT DEVICE
[ "$3" = cached ] || echo 1 >/proc/sys/vm/drop_caches
exec /run/test/stat before "$1" "$2" "$4" "$5"
END
chmod +x /run/test/stat /run/test/before

# job ROUND NAME cold|cached SUBJECT FIO-OPTION...
job() {
	local round=$1 name=$2 kind=$3 who=$4
	shift 4
	echo "[$name.$who]"
	printf '%s\n' stonewall "filename=${at[$who]}/file" "$@"
	echo "exec_prerun=/run/test/before $round $name $kind $who ${dev[$who]}"
	echo "exec_postrun=/run/test/stat after $round $name $who ${dev[$who]}"
}

# One fio per round: starting one takes seconds under emulation.
round() {
	local r=$1 who
	{
		printf '%s\n' "[global]" ioengine=psync thread=1 clocksource=clock_gettime gtod_reduce=1 "size=${size}M" "randseed=$r"
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
	} >"/out/round$r.fio"
	fio --readonly --output-format=json --output="/out/round$r.json" "/out/round$r.fio" >&2 || die "fio failed"
}

{
	uname -r
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource
	for who in A B C; do echo "$who ${at[$who]} read_ahead_kb=$(ahead $who)"; done
	cat /sys/block/"${plain##*/}"/queue/{max_sectors_kb,max_hw_sectors_kb,scheduler}
} >/out/setting

for ((i = 0; ; i++)); do
	filled && break
	[ $i -lt 5 ] || die "the tier does not hold the file: $(cachectl stats --json)"
done
echo "file of $size MiB on the tier" >&2
counters
for ((r = 1; r <= rounds; r++)); do
	round "$r"
	counters
	echo "round $r of $rounds" >&2
done
umount "${at[C]}" "${at[A]}"
