#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the module cannot be unloaded while somebody uses it (daemon, tier,
# mount, an open file), and when it goes it leaves nothing: 50 rounds of load,
# attach, mount, read, umount, detach, unload leave no slab cache and no memory.
#
# vm: disk=data:64M timeout=600

. /payload/tests/vm/lib.sh

LOWER=/run/test/lower
T=/mnt/data
D=$(disk data)

mkdir -p $LOWER/dir "${BC_CONF%/*}"
head -c 3000000 /dev/urandom >$LOWER/big
head -c 70000 /dev/urandom >$LOWER/dir/middle
echo small >$LOWER/dir/small
cat $LOWER/big $LOWER/dir/middle $LOWER/dir/small >/run/test/all
echo '{ "allow_file": true, "volumes": [ { "source": "file://'$LOWER'" } ] }' >"$BC_CONF"
chmod 600 "$BC_CONF"

start() {
	blobcached -f -c "$BC_CONF" 2>>/run/test/blobcached.log &
	BC_PID=$!
}

# Reads wait until the daemon is there.
mounted() { mount -t blobcache $LOWER $T -o "ro,on_daemon_loss=wait,volume=file://$LOWER"; }

refused() {
	run_fails "cannot be unloaded $1" rmmod blobcache || return
	like "$OUTPUT" "in use" "and says why"
}

# --- who holds the module

run_ok "module loads" load_module || done_testing
run_ok "a tier can be made" cachectl device format "$D"
run_ok "and attached" cachectl device attach "$D"
refused "while a tier is attached"
run_ok "detached" cachectl device detach "$D"
start
wait_for '[ "$(cachectl status --json | jq .daemon.pid)" = $BC_PID ]' 30
ok $? "the daemon comes"
refused "while the daemon runs"
mkdir -p $T
run_ok "mounted" mounted
stop_daemon
refused "while mounted"
exec 5<$T/dir/small
run_ok "unmounted, lazily" umount -l $T
refused "while a file is open"
exec 5<&-
wait_for 'rmmod blobcache 2>/dev/null' 10
ok $? "can be unloaded when all that has ended"
[ ! -d /sys/module/blobcache ]
ok $? "it is gone"

# --- what it leaves

# As few processes as will do.
round() {
	insmod /payload/blobcache.ko && cachectl device attach "$D" >/dev/null && start && mounted &&
		cat $T/big $T/dir/middle $T/dir/small | cmp - /run/test/all &&
		[ "$(echo $T/* $T/*/*)" = "$T/big $T/dir $T/dir/middle $T/dir/small" ] &&
		umount $T && stop_daemon && cachectl device detach "$D" >/dev/null && rmmod blobcache
}

# memory: sets $used (kB that cannot be had), $SUnreclaim, $VmallocUsed, $Percpu:
# each the least of some looks, as freeing takes its time
memory() {
	local i name kb now stacks=0
	used=999999999 SUnreclaim=$used VmallocUsed=$used Percpu=$used
	for i in 1 2 3 4 5; do
		sync
		echo 3 >/proc/sys/vm/drop_caches
		pause 1.3
		echo 1 >/proc/sys/vm/stat_refresh
		while read -r name kb _; do
			case $name in
			MemTotal:) now=$kb ;;
			KernelStack:) stacks=$kb now=$((now - kb)) ;;
			# What the test itself keeps in files and processes is not ours.
			MemFree: | Cached: | Buffers: | AnonPages: | PageTables: | SReclaimable:)
				now=$((now - kb)) ;;
			SUnreclaim: | VmallocUsed: | Percpu:)
				name=${name%:}
				# Workers of the kernel come and go, with a stack each.
				[ "$name" != VmallocUsed ] || kb=$((kb - stacks))
				[ "$kb" -ge "${!name}" ] || printf -v "$name" %s "$kb" ;;
			esac
		done </proc/meminfo
		# Free, too: what the processors keep for their next allocations.
		while read -r name kb _; do
			[ "$name" = count: ] && now=$((now - kb * 4))
		done </proc/zoneinfo
		[ "$now" -ge "$used" ] || used=$now
	done
	diag "after $1: used=$used SUnreclaim=$SUnreclaim VmallocUsed=$VmallocUsed Percpu=$Percpu (kB)"
}

for ((i = 1; i <= 50; i++)); do
	round || { diag "round $i failed"; diag_file /run/test/blobcached.log; break; }
	[ $i = 10 ] && memory 10 && ten=("$used" "$SUnreclaim" "$VmallocUsed" "$Percpu")
done
is $i 51 "50 rounds of load, attach, mount, read, umount, detach, unload"
memory 50
# What one round leaves comes 40 times.
# The debug kernel keeps what is freed back for a while (KASAN), and has kmemleak to tell.
spare=1
[ ! -e /sys/kernel/debug/kmemleak ] || spare=4
num_le $((used - ten[0])) $((1024 * spare)) "40 rounds left no memory behind (kB)"
num_le $((SUnreclaim - ten[1])) $((512 * spare)) "nothing of slabs"
# A page per round is 160.
num_le $((VmallocUsed - ten[2])) 120 "no mapping"
num_le $((Percpu - ten[3])) 16 "nothing per processor"
is "$(grep -cE '^(bc_|blobcache)' /proc/slabinfo)" 0 "no slab cache is left"
is "$(ls -d /dev/blobcache* /sys/class/misc/blobcache* /sys/kernel/slab/*bc_* 2>/dev/null)" "" \
	"no device node is left"
is "$(grep -c 'blobcache' /proc/filesystems /proc/vmallocinfo | tr '\n' ' ')" \
	"/proc/filesystems:0 /proc/vmallocinfo:0 " "no filesystem type, no mapping is left"
run_ok "the disk is free" python3 -c "import os; os.open('$D', os.O_RDWR | os.O_EXCL)"
done_testing
