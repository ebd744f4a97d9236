#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what was cached stays cached. After umount, detach, rmmod, insmod,
# attach and mount, and likewise after a power cut, all reads are hits with the
# right bytes; the store sees no GET, and at most one HEAD for a file or one
# listing of a directory.
#
# vm: host=dataset disk=data:256M mem=1500M boots=2 timeout=600

. /payload/tests/vm/lib-blob.sh

T=/mnt/data

# all_hits WHAT: every file is read; nothing may be fetched
all_hits() {
	local what=$1 hits misses id=$VM_BOOT-${1// /-}
	blob_mark "begin-$id"
	verify "$what: every byte is right" check $T sha=1
	read -r hits misses <<<"$(stat_of hit_bytes miss_bytes)"
	num_ge "$hits" "$(field bytes)" "$what: all bytes are hits"
	is "$misses" 0 "$what: none is a miss"
	blob_mark "end-$id"
	blob_count "since=begin-$id" "until=end-$id"
	is "$get $lower_get" "0 0" "$what: nothing was fetched"
	num_le "$most_heads" 1 "$what: at most one HEAD for a file"
	num_le "$most_lists" 1 "$what: at most one listing of a directory"
	is "$(stat_of crc_errors unit_errors tier_read_errors)" $'0\t0\t0' "$what: nothing was damaged"
	num_ge "$(stat_of blocks_verified)" 1 "$what: checksums were verified"
}

was_clean() { cachectl device list --json | jq -c '[.devices[].was_clean]'; }

blob_truth
blob_lower $T --read-only
run_ok "module loads" load_module patience_ms=20000 || done_testing
if [ "$VM_BOOT" = 1 ]; then
	run_ok "a tier can be made and attached" blob_tier || done_testing
	blob_daemon
	ok $? "the daemon comes" || done_testing
	blob_ready
	run_ok "mounted" blob_mount $T || done_testing
	verify "cold: every byte is right" check $T
	blob_settled
	run_ok "unmounted" umount $T
	run_ok "detached" cachectl device detach "$BLOB_TIER"
	stop_daemon
	run_ok "module unloads" unload_module || done_testing

	run_ok "module loads again" load_module patience_ms=20000
	run_ok "attached again" cachectl device attach "$BLOB_TIER"
	is "$(was_clean)" '[true]' "the last detach was orderly"
	blob_daemon
	ok $? "the daemon comes again"
	run_ok "mounted again" blob_mount $T
	all_hits "after a restart"

	# New places on the device for a part, so that both kinds meet the power cut.
	run_ok "some files can be evicted" cachectl evict -r $T/shards
	drop_caches 1
	verify "fetched again: right" check $T match=shards/*
	tables_written
	ok $? "the tables are written"
	echo "1..$tap_n"
	power_cut
fi

run_ok "attached after a power cut" cachectl device attach "$BLOB_TIER"
is "$(was_clean)" '[false]' "the last detach was not orderly"
blob_daemon
ok $? "the daemon comes"
blob_ready
run_ok "mounted" blob_mount $T || done_testing
all_hits "after a power cut"
drop_caches 1
verify "and again: right" check $T
run_ok "unmounted" umount $T
run_ok "detached" cachectl device detach "$BLOB_TIER"
stop_daemon
run_ok "module unloads" unload_module
done_testing
