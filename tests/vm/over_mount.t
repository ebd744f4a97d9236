#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: laid over a real FUSE Blob mount, every byte of every file is the
# source's, cold and warm, by read, mmap and sendfile, with one and with eight
# readers at once; a cold file is fetched once however many read it, a warm one
# comes from the tier; names, sizes and times are the lower's; and taking the
# cache off gives the lower back.
#
# vm: host=dataset disk=data:256M mem=1500M timeout=600

. /payload/tests/vm/lib-blob.sh

T=/mnt/data
blob_truth
blob_lower $T --read-only
run_ok "module loads" load_module patience_ms=20000 || done_testing
run_ok "a tier can be made and attached" blob_tier || done_testing
blob_daemon
ok $? "the daemon comes" || done_testing
blob_ready
blob_do tree $T && echo "$OUTPUT" >/run/test/lower.json
lower_fs=$(stat -f -c %T $T)

run_ok "blobcache mounts over the Blob mount" blob_mount $T ttl=1h || done_testing
is "$(stat -f -c %t $T)" 62636163 "the path shows blobcache"
verify "names, types, modes, sizes and times are the lower's" tree $T as=/run/test/lower.json

# Eight times the files is too much for an emulated machine.
some=(match=shards/shard-02.bin match=edges/chunk* match=edges/empty match=small/1/f1* match=names/*)
for how in "read readers=8" "mmap readers=8 spread=1" "sendfile readers=8 spread=1" \
	"mmap" "sendfile" "read sha=1"; do
	id=${how// /-}
	files=()
	[ "${how/readers/}" = "$how" ] || files=("${some[@]}")
	# shellcheck disable=SC2206 # words
	args=(check $T mode=${how} "${files[@]}")

	blob_mark "cold-$id"
	verify "cold, $how: right" "${args[@]}"
	blob_mark "warm-$id"
	verify "cold, $how: the store was asked for each byte once" \
		log whole "since=cold-$id" "until=warm-$id" "${files[@]}"
	blob_count "since=cold-$id" "until=warm-$id"
	is "$lower_get" 0 "cold, $how: nothing came through the lower"

	blob_settled
	before=$(stat_of hit_bytes)
	drop_caches 3
	verify "warm, $how: right" "${args[@]}"
	# Readers share the page cache.
	readers=$(field readers)
	num_ge $(($(stat_of hit_bytes) - before)) $(($(field bytes) / readers)) \
		"warm, $how: the bytes came from the tier"
	blob_mark "end-$id"
	blob_count "since=warm-$id" "until=end-$id"
	is "$get $lower_get" "0 0" "warm, $how: nothing was fetched"
	[ "$how" = "read sha=1" ] && break

	run_ok "the tier can be emptied" cachectl evict --device "$BLOB_TIER" || break
	drop_caches 3
done

drop_caches 1
verify "page cache dropped: right" check $T
verify "after all, names, sizes and times are the lower's" tree $T as=/run/test/lower.json
is "$(stat_of read_errors stale_reads crc_errors fetch_failed lower_bytes)" \
	$'0\t0\t0\t0\t0' "no read failed, none went to the lower"
run_ok "it can be unmounted" umount $T
is "$(stat -f -c %T $T)" "$lower_fs" "the lower is back"
verify "and reads as before" check $T match=small/*
run_ok "the tier can be detached" cachectl device detach "$BLOB_TIER"
stop_daemon
run_ok "module unloads" unload_module
done_testing
