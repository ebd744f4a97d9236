#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a lower that stops answering (rclone, SIGSTOP), dies (SIGKILL) and is
# replaced (mount relower), without any daemon: what was looked up and read
# before stays fast, nothing hangs, nothing vanishes, the next lower is used.
#
# vm: mem=1G timeout=300

. /payload/tests/vm/lib.sh

load_module
modprobe fuse
mkdir -p /mnt/data/dir /mnt/l1 /mnt/l2 /mnt/a
mount -t tmpfs -o size=100m none /mnt/data
mkdir -p /mnt/data/dir
for n in 1 2 3 4; do head -c 3000000 /dev/urandom > /mnt/data/dir/f$n; done
echo late > /mnt/data/dir/late

# rclone DIR: mount /mnt/data there
lower() {
	rclone mount /mnt/data "$1" --config /dev/null --read-only --attr-timeout 1s --dir-cache-time 1s \
		--log-file "/tmp/rclone.$(basename "$1")" 5<&- &
	rclone=$!
	wait_for "grep -q ' $1 fuse' /proc/mounts" 60 || bail "rclone did not mount $1"
}
ms() { local t; read -r t _ < /proc/uptime; echo $((10#${t/./} * 10)); }

lower /mnt/l1
first=$rclone
run_ok "mount" mount -t blobcache /mnt/l1 /mnt/a -o ro,volume=file:///nowhere,ttl=1s,deadline=20s
for n in 1 2 3; do
	wait_for "cmp -s /mnt/data/dir/f$n /mnt/a/dir/f$n" 20
	ok $? "file $n"
done
exec 5< /mnt/a/dir/f1

kill -STOP "$first"
pause 1.5
cat > /tmp/opens.py <<'END'
import os, time
t = time.monotonic()
for n in range(300):
    fd = os.open(f'/mnt/a/dir/f{n % 3 + 1}', os.O_RDONLY)
    os.fstat(fd)
    os.pread(fd, 100, 1000000)
    os.close(fd)
print(int((time.monotonic() - t) * 1000))
END
num_le "$(python3 /tmp/opens.py)" $((20000 * ${VM_SLOW:-1})) "300 opens with the lower stopped: ms"
run_ok "cached file is whole" cmp /mnt/data/dir/f2 /mnt/a/dir/f2
t=$(ms)
run_fails "file never looked up" cat /mnt/a/dir/late
num_le $(($(ms) - t)) 10000 "fails at once: ms"
t=$(ms)
timeout 20 ls /mnt/a/dir > /dev/null 2>&1
num_le $(($(ms) - t)) 15000 "listing does not hang: ms"
run_ok "statfs answers" timeout 10 stat -f /mnt/a
like "$(dmesg)" "lower does not answer" "it is said in the log"

kill -CONT "$first"
wait_for "cmp -s /mnt/data/dir/late /mnt/a/dir/late" 10
ok $? "and goes on when the lower does"
wait_for "cmp -s /mnt/data/dir/f4 /mnt/a/dir/f4" 20
ok $? "file 4"

kill -KILL "$first"
pause 1.5
num_le "$(python3 /tmp/opens.py)" $((20000 * ${VM_SLOW:-1})) "300 opens with the lower dead: ms"
[ -e /mnt/a/dir/f4 ]
ok $? "nothing vanishes"
lower /mnt/l2
run_ok "relower" cachectl mount relower /mnt/a /mnt/l2
echo 1 > /proc/sys/vm/drop_caches
wait_for "cmp -s /mnt/data/dir/f3 /mnt/a/dir/f3" 20
ok $? "read from the new lower"
wait_for "ls /mnt/a/dir >/dev/null 2>&1" 20
is "$(head -c 3000000 <&5 | md5sum)" "$(md5sum < /mnt/data/dir/f1)" "a file that stayed open"
is "$(ls /mnt/a/dir)" "$(ls /mnt/data/dir)" "listing"
pause 1.5
wait_for "cmp -s /mnt/data/dir/f3 /mnt/a/dir/f3" 20
ok $? "and after ttl"
exec 5<&-
run_ok "umount" umount /mnt/a
umount -l /mnt/l1
kill "$rclone"
wait_for "! grep -q ' /mnt/l2 ' /proc/mounts" 10 || umount -l /mnt/l2
wait_for "rmmod blobcache 2> /dev/null" 10
ok $? "module unloads"
done_testing
