#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: cached files need neither the lower mount nor the daemon. With both
# stopped (rclone and blobcached by SIGSTOP) and the page cache dropped, files
# whose identity is younger than ttl= open, stat and read as fast as before; when
# the identity is older, a thousand opens take at most 3 s longer.
#
# vm: host=dataset disk=data:256M mem=1500M timeout=600

. /payload/tests/vm/lib-blob.sh

T=/mnt/data

freeze() { kill -STOP "$BLOB_LOWER_PID" "$BC_PID"; }
thaw() { kill -CONT "$BLOB_LOWER_PID" "$BC_PID"; }

# Not drop_caches of lib.sh: its sync would be a test of its own.
drop_pages() { echo 1 >/proc/sys/vm/drop_caches; }

# read_all WHAT: sets $took
read_all() {
	drop_pages
	verify "$1: files open and read" check $T
	took=$(field ms)
}

blob_truth
blob_lower $T --read-only
run_ok "module loads" load_module || done_testing
run_ok "a tier can be made and attached" blob_tier || done_testing
blob_daemon
ok $? "the daemon comes" || done_testing
blob_ready

run_ok "mounted with ttl=1h" blob_mount $T ttl=1h || done_testing
blob_do tree $T && echo "$OUTPUT" >/run/test/tree.json
verify "cold: every byte is right" check $T
read_all "warm, all alive"
alive=$took
verify "warm, all alive: stat" tree $T as=/run/test/tree.json walk=0
stat_alive=$(field ms)
blob_settled
before=$(stat_of hit_bytes)
counts_before=$(stat_of lower_reads fetch_failed read_errors resolve_timeout)

freeze
read_all "lower and daemon stopped"
# Full speed is without a wait: whoever waits for the lower, which takes a second, finds it suspect.
num_le "$took" $((alive * 4 + 5000)) "without a wait (ms)"
verify "and stat as before" tree $T as=/run/test/tree.json walk=0
num_le "$(field ms)" $((stat_alive * 4 + 5000)) "without a wait (ms)"
is "$(cachectl status --json | jq -c '.mounts[0].lower_suspect')" false "nobody waited for the lower"
drop_pages
verify "and can be mapped" check $T mode=mmap match=shards/* match=edges/*
num_ge $(($(stat_of hit_bytes) - before)) 21906837 "the bytes came from the tier"
is "$(stat_of lower_reads fetch_failed read_errors resolve_timeout)" "$counts_before" \
	"neither daemon nor lower was waited for"
thaw
run_ok "unmounted" umount $T

run_ok "mounted with ttl=3s" blob_mount $T ttl=3s || done_testing
verify "every byte is right" check $T
verify "a thousand opens, all alive" opens $T count=1000
alive=$(field waited)
blob_settled
freeze
# Until no identity and no attribute is young any more.
end=$(($(now_ms) + 3500))
while [ "$(now_ms)" -lt $end ]; do pause 0.2; done
drop_pages
verify "a thousand opens, lower and daemon stopped" opens $T count=1000
num_le "$(field waited)" $((alive + 3000)) "they wait at most 3 s longer"
drop_pages
verify "and files read right" check $T
like "$(cachectl status --json | jq -c '.mounts[0].lower_suspect')" true "status tells of the lower"
thaw
wait_for '[ "$(cachectl status --json | jq .mounts[0].lower_suspect)" = false ]' 30
ok $? "alive again, the lower is found so"
verify "and a thousand opens work" opens $T count=1000
run_ok "unmounted" umount $T

# A restart, after which nobody but the tier knows anything; dentries and inodes are dropped, too.
run_ok "mounted to be walked" blob_mount $T ttl=1h || done_testing
verify "every file is read" check $T
blob_do tree $T && echo "$OUTPUT" >/run/test/tree.json
run_ok "unmounted" umount $T
run_ok "detached" cachectl device detach "$BLOB_TIER"
stop_daemon
run_ok "module unloads" unload_module
run_ok "module loads again" load_module
run_ok "attached again" cachectl device attach "$BLOB_TIER"
blob_daemon
ok $? "the daemon comes" || done_testing
run_ok "mounted again" blob_mount $T ttl=1h || done_testing
freeze
drop_pages
verify "after a restart, lower and daemon stopped: files are found by their paths, and read right" check $T
echo 3 >/proc/sys/vm/drop_caches
verify "also with the dentries dropped" check $T
verify "stat as before" tree $T as=/run/test/tree.json walk=0
like "$(ls $T/none 2>&1)" "Input/output error" "what is not known fails, and does not hang"
is "$(stat_of lower_reads read_errors)" $'0\t0' "nothing was read from the lower"
thaw
wait_for '[ "$(cachectl status --json | jq .mounts[0].lower_suspect)" = false ]' 30
ok $? "alive again, the lower is found so"
like "$(ls $T/none 2>&1)" "No such file" "what is not there is not there"
verify "files read right" check $T
run_ok "unmounted" umount $T

run_ok "detached" cachectl device detach "$BLOB_TIER"
stop_daemon
run_ok "module unloads" unload_module
done_testing
