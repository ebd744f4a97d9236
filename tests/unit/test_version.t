#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The version is said once, in kmod/netlink.h; what cannot read it there agrees. And
# dkms.conf takes the kernels that are supported, no others.
set -u
cd "$(dirname "$0")/../.." || exit

n=0
is() {
	n=$((n + 1))
	if [ "$1" = "$2" ]; then echo "ok $n - $3"; else
		echo "not ok $n - $3"
		echo "# got '$1', wanted '$2'"
	fi
}

version=$(sed -n 's/^#define BC_MODULE_VERSION "\(.*\)"/\1/p' kmod/netlink.h)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]
is $? 0 "kmod/netlink.h: a version"
# shellcheck disable=SC2034 # of DKMS, which sources the file as well
kernel_source_dir=/
# shellcheck source=/dev/null
said=$(. ./dkms.conf; echo "$PACKAGE_NAME/$PACKAGE_VERSION")
is "$said" "blobcache/$version" "dkms.conf"
is "$(make -s --no-print-directory version)" "$version" "Makefile, hence the programs"

# shellcheck source=/dev/null
kernels=$(. ./dkms.conf; echo "$BUILD_EXCLUSIVE_KERNEL")
for k in 5.4.0-1 5.15.0-1116-azure 6.0.19 4.19.0 16; do
	[[ $k =~ $kernels ]]
	is $? 1 "not for $k"
done
for k in 6.1.0-56-cloud-amd64 6.6.150.1-1.azl3 6.8.0-1065-azure 6.12.117+deb12-cloud-amd64 \
	7.0.0-1011-azure 7.2.12 10.1.0; do
	[[ $k =~ $kernels ]]
	is $? 0 "for $k"
done
echo "1..$n"
