#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: DKMS adds, builds, installs and removes the module in a clean Debian root
# for the stock kernel, from sources that are read-only; what it installed is what
# modprobe loads in that kernel; "make install-dkms" puts the same to /usr/src.
#
# vm: host=dkms module=no timeout=1800 kernel=stock

. /payload/tests/vm/lib.sh

[ "$K" != debug ] || plan skip_all "no Debian package of this kernel"

# Seldom, as the host compiles meanwhile. The runner's timeout ends this.
until host_log dkms.done >/dev/null 2>&1; do pause 2; done
host_log dkms.points >points || bail "the host's part says nothing"
while IFS= read -r line; do
	case $line in
	"ok "*) pass "${line#ok }" ;;
	"not ok "*) nok "${line#not ok }" ;;
	*) echo "$line" ;;
	esac
done <points

# The machine's modules are read-only, and those of the kernel's package.
modprobe overlay
mkdir -p /run/modules/upper /run/modules/work
mount -t overlay none -o lowerdir=/lib/modules,upperdir=/run/modules/upper,workdir=/run/modules/work \
	/lib/modules || bail "no overlay"
host_log modules.tar | tar -x -C "/lib/modules/$KVER" || bail "DKMS installed nothing"

like "$(modinfo -F filename blobcache)" "^(/usr)?/lib/modules/${KVER//+/[+]}/updates/dkms/blobcache\.ko" \
	"modinfo finds what DKMS installed"
run_ok "modprobe blobcache" modprobe blobcache || done_testing
is "$(cat /sys/module/blobcache/version)" "$DKMS_VERSION" "its version is the sources'"
is "$(grep -cw blobcache /proc/filesystems)" 1 "the filesystem is there"
run_ok "modprobe -r blobcache" modprobe -r blobcache
run_fails "it is gone" module_loaded
done_testing
