#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the harness itself: a test may cut the power and go on in a second boot, where
# what was synced to a disk is still there.
#
# vm: disk=data:16M boots=2 timeout=120 module=no

. /payload/tests/vm/lib.sh

d=$(disk data)
if [ "$VM_BOOT" = 1 ]; then
	echo "synced before the power went" | dd of="$d" conv=fsync status=none
	ok $? "written and synced"
	echo "1..1"
	power_cut
fi
is "$(head -c 28 "$d")" "synced before the power went" "still there after the power cut"
done_testing
