# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the benchmarks in virtual machines share: rounds of fio, in which each job is run by one
# subject after the other, with the disks' counters before and after. For tests/bench/report.
#
# Who sources this has two maps, subject -> file that fio reads, and subject -> disk below it:
#	declare -A file=([A]=...) dev=([A]=nvme1n1 ...)

# shellcheck source=tests/vm/lib.sh
. /payload/tests/vm/lib.sh

rounds=${ROUNDS:-5}
size=${SIZE_MIB:-64}
bench=$(basename "$0" .t)

die() {
	echo "$bench: $*" >&2
	tail -n 5 /run/test/blobcached.log >&2 2>/dev/null
	exit 1
}

# start_daemon VOLUME-JSON
start_daemon() {
	mkdir -p /etc/blobcache
	echo "{ \"volumes\": [ $1 ] }" >/etc/blobcache/blobcached.json
	blobcached -c /etc/blobcache/blobcached.json -f >>/run/test/blobcached.log 2>&1 &
	daemon=$!
	wait_for '[ "$(cachectl status --json | jq ".daemon.pid // 0")" = $daemon ]' 60 >&2 || die "no daemon"
}

counters() { cachectl stats --json >>/out/counters.jsonl; }

# The emulated time stamp counter is calibrated against a busy host and may be far off.
steady_clock() { echo acpi_pm >/sys/devices/system/clocksource/clocksource0/current_clocksource; }

# filled FILE LIKE: reads it all, compares; true when it all came from the tier
filled() {
	local before
	drop_caches 1
	before=$(cachectl stats --json | jq .hit_bytes)
	cmp "$1" "$2" >&2 || die "wrong bytes"
	[ $(($(cachectl stats --json | jq .hit_bytes) - before)) -ge $((size << 20)) ]
}

# on_tier FILE LIKE: reads until it is
on_tier() {
	local i
	for ((i = 0; ; i++)); do
		filled "$@" && break
		[ $i -lt 5 ] || die "the tier does not hold the file: $(cachectl stats --json)"
	done
	echo "file of $size MiB on the tier" >&2
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
	printf '%s\n' stonewall "filename=${file[$who]}" "$@"
	echo "exec_prerun=/run/test/before $round $name $kind $who ${dev[$who]}"
	echo "exec_postrun=/run/test/stat after $round $name $who ${dev[$who]}"
}

# run_rounds JOBS: JOBS ROUND prints the jobs. One fio per round: starting one takes seconds under emulation.
run_rounds() {
	local r
	counters
	for ((r = 1; r <= rounds; r++)); do
		{
			printf '%s\n' "[global]" ioengine=psync thread=1 clocksource=clock_gettime gtod_reduce=1 \
				"size=${size}M" "randseed=$r"
			"$1" "$r"
		} >"/out/round$r.fio"
		fio --readonly --output-format=json --output="/out/round$r.json" "/out/round$r.fio" >&2 ||
			die "fio failed"
		counters
		echo "round $r of $rounds" >&2
	done
}
