#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vm: disk=data:256M timeout=400 mem=1G
. /payload/tests/vm/lib.sh
S=/run/src; M=/mnt/m
mkdir -p $S $M
ip link set lo up 2>/dev/null || ifconfig lo up
for k in ok fault-403 fault-404 fault-416 fault-500 fault-503 fault-short fault-range fault-hang fault-etag fault-weak fault-500-once fault-short-once fault-503-first2 fault-stall fault-reset-once; do mkdir -p $S/$k; head -c 1500000 /dev/urandom >$S/$k/f; done
python3 /payload/tests/vm/fault_store.py --port 10080 --log /run/store.log $S &
sleep 3
run_ok "module" load_module || done_testing
D=$(disk data); cachectl device format --yes "$D"; run_ok attach cachectl device attach "$D"
mkdir -p /etc/blobcache; cat >$BC_CONF <<X
{ "fetch": {"retries": 2, "stall_timeout_ms": 1000}, "volumes": [ {"source":"azure://127.0.0.1:10080/a/c","scheme":"http","auth":{"type":"anonymous"}} ] }
X
blobcached -f -v -c $BC_CONF >/run/test/blobcached.log 2>&1 & P=$!
sleep 2
blobcached -f -c $BC_CONF; is $? 69 "second daemon refused"
run_ok mount mount -t blobcache $S $M -o ro,volume=azure://127.0.0.1:10080/a/c,on_daemon_loss=fail
for k in $(ls $S); do
  t0=$(date +%s.%N)
  timeout 60 sha256sum < $M/$k/f >/tmp/a 2>/tmp/err; rc=$?
  sha256sum < $S/$k/f >/tmp/b
  t1=$(date +%s.%N)
  cmp -s /tmp/a /tmp/b; diag "$k: rc=$rc same=$? $(cat /tmp/err) $(echo "$t0 $t1" | awk '{print $2-$1}') s"
done
cachectl status | sed 's/^/# /'
diag "--- stop 10 s"
kill -STOP $P; (sleep 10; kill -CONT $P)& 
cp $S/ok/f $S/ok/g; 
t0=$(date +%s); timeout 60 cmp $M/ok/g $S/ok/g; diag "stopped: $? $(( $(date +%s)-t0 )) s"
wait %3 2>/dev/null
sleep 8
cp $S/ok/f $S/ok/h; 
timeout 60 cmp $M/ok/h $S/ok/h; is $? 0 "after stop"
t0=$(date +%s%N); kill $P; wait $P; is $? 0 "TERM"; diag "$(( ($(date +%s%N)-t0)/1000000 )) ms"
run_ok "background" blobcached -v -c $BC_CONF
cachectl status | sed 's/^/# /'
cp $S/ok/f $S/ok/i; cmp $M/ok/i $S/ok/i; is $? 0 "bg serves"
killall blobcached || kill $(pidof blobcached); sleep 1
diag_file /run/test/blobcached.log
sed 's/^/# S /' /run/store.log
umount $M; cachectl device detach "$D"; sleep 1
run_ok unload unload_module
done_testing
