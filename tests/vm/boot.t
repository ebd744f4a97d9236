#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the harness itself (kernel, root image, disks by serial), and that the
# module loads into this kernel and leaves it again.
#
# vm: disk=data:64M disk=second:32M timeout=90 module=no

. /payload/tests/vm/lib.sh

diag "uptime when the test starts: $(cut -d' ' -f1 /proc/uptime) s"
is "$(uname -r)" "$KVER" "runs the kernel of series $K"
is "$(nproc)" 2 "has the processors it asked for"
is "$(blockdev --getsize64 "$(disk data)")" "$((64 << 20))" "disk data is there"
is "$(blockdev --getsize64 "$(disk second)")" "$((32 << 20))" "disk second is there"
run_ok "the kernel's own modules are there" modprobe loop

if [ -e /payload/blobcache.ko ]; then
	run_ok "module loads" load_module
	[ -d /sys/module/blobcache ]
	ok $? "module is live"
	run_ok "module unloads" unload_module
else
	skip 3 "no blobcache.ko for this kernel"
fi
done_testing
