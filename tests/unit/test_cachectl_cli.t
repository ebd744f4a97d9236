#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# cachectl as it is called, without the module: usage, exit codes, and what
# "device format" refuses and does, on a loop device. Output: TAP.
set -u
export LC_ALL=C
unset NO_COLOR

top=$(cd "$(dirname "$0")/../.." && pwd -P)
cachectl=${CACHECTL:-$top/build/cachectl}
[ -n "${CACHECTL:-}" ] || make -s -C "$top" cli >&2 || exit 1

work=$(mktemp -d)
loop=
cleanup()
{
	mountpoint -q "$work/mnt" && umount "$work/mnt"
	[ -z "$loop" ] || losetup -d "$loop"
	rm -rf "$work"
}
trap cleanup EXIT

n=0
# check NAME CODE PATTERN ARG...: run cachectl; exit code and stdout+stderr must match
check()
{
	local name=$1 code=$2 pattern=$3 rc
	shift 3
	"$cachectl" "$@" >"$work/out" 2>&1 </dev/null
	rc=$?
	n=$((n + 1))
	if [ "$rc" = "$code" ] && grep -qE -- "$pattern" "$work/out"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		echo "# exit code $rc, not $code, or no match for: $pattern"
		sed 's/^/# /' "$work/out"
	fi
}

# hold NAME COMMAND...: the command must succeed
hold()
{
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$work/out" 2>&1; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' "$work/out"
	fi
}

skip()
{
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# --- usage

check 'no command' 2 '^Usage  cachectl'
check 'help' 0 '^The cache in five steps' --help
check 'help of a noun' 0 'format +make a block device a tier' device --help
check 'help of a verb' 0 '^Examples' device format --help
check 'help command' 0 'cachectl mount attach \[OPTION' help mount attach
check 'help of nothing' 2 "did you mean 'device'" help devize
check 'help too deep' 2 'no commands of its own' help status now
check 'version' 0 '^cachectl [0-9]' --version
check 'unknown command' 2 "did you mean 'status'" statuz
check 'unknown verb' 2 "'device --help'|'cachectl device --help'" device frobnicate
check 'unknown option' 2 "unknown option '--frob'" status --frob
check 'a noun that is a verb, too' 2 "give one path, or none" flush a b
check '... its options, behind its argument' 2 "wants a time like" flush a --timeout never
check '... its own verb' 2 "flush show: give one path" flush show
check '... what it waits for is not told in vain' 2 "unknown option '--wit'" flush --wit
check 'unknown letter' 2 "unknown option '-x'" stats -x
check 'missing value' 2 "'--label' needs a value" device format --label
check 'too many arguments' 2 'exactly one device' device format /dev/a /dev/b
check 'bad number' 2 'not a number from 1 to 100' device format --dirty-percent 101 /dev/a
check 'bad UUID' 2 'not a UUID' device format --set-id xyz /dev/a
check 'long label' 2 'longer than 64' device format --label "$(printf '%065d' 0)" /dev/a
check 'bad interval' 2 'not a time' stats --watch often
check 'paths or device' 2 'either paths or --device' evict
check 'demote a device' 2 'for paths' evict --demote --device /dev/a
check 'completion of demote' 0 '^--demote$' __complete evict --
check 'no paths' 2 'at least one path' pin add
check 'unknown source' 2 'is no source' mount attach --source ftp://x /proc
check 'no store known' 1 'give --source' mount attach /proc
check 'nothing mounted' 3 'nothing is mounted there' mount detach "$work"
check 'other mount' 3 "of type 'proc'" mount detach /proc
check 'completion of verbs' 0 '^relower$' __complete mount ''
check 'completion of options' 0 '^--dirty-percent$' __complete device format --
check 'completion of devices' 0 '^:device$' __complete device attach ''

all_help()
{
	local noun verb
	for noun in $("$cachectl" __complete ''); do
		"$cachectl" "$noun" --help | grep -q "^Usage  cachectl $noun" || return 1
		for verb in $("$cachectl" __complete "$noun" '' | grep -v :); do
			"$cachectl" "$noun" "$verb" --help | grep -q '^Example' || return 1
		done
	done
}
hold 'every command has help with an example' all_help

if [ -e /sys/module/blobcache ]; then
	skip 'not loaded' 'the module is loaded'
else
	check 'not loaded' 3 "not loaded; run 'modprobe blobcache'" status
	check 'not loaded, JSON' 3 '"state": "not loaded"' status --json
	check 'mount without module' 3 'does not know the filesystem' \
		mount attach --source lower: "$work"
fi

# --- device format

check 'no such device' 3 'No such file' device format /dev/nosuch
check 'regular file' 1 "losetup --find --show" device format "$cachectl"
check 'character device' 1 'not a block device' device format /dev/null
check 'attach of nothing' 3 'No such file' device attach /dev/nosuch

truncate -s 64M "$work/img"
if ! loop=$(losetup --find --show "$work/img" 2>"$work/err"); then
	loop=
	skip 'device format' "no loop device: $(head -1 "$work/err")"
	echo "1..$n"
	exit 0
fi

check 'format' 0 '^formatted as tier' device format "$loop" --label fast
check 'its own signature' 1 'holds a blobcache tier "fast"' device format "$loop"
check 'unattached tier' 0 "$loop +unattached .* fast" device list --all
check 'again by force' 0 '"was_clean": true' device format "$loop" --force --json \
	--set-id 01234567-89ab-cdef-0123-456789abcdef
hold 'set id kept' sh -c "'$cachectl' device list --all --json |
	jq -e '.devices[] | select(.device == \"$loop\").set_id == \"01234567-89ab-cdef-0123-456789abcdef\"'"
check 'options in the layout' 0 '"chunks_max": 248' device format --force --json "$loop" \
	--index-ratio 4 --dirty-percent 100 --identities-per-frame 64
dd if=/dev/zero of="$loop" bs=1 seek=4200 count=4 conv=notrunc 2>/dev/null
check 'one damaged copy' 0 "$loop +unattached" device list --all
dd if=/dev/zero of="$loop" bs=1 seek=16 count=4 conv=notrunc 2>/dev/null
check 'both damaged' 0 "$loop +damaged: " device list --all
check 'damaged is not blank' 1 'a damaged blobcache tier' device format "$loop"

mkfs.ext4 -q -F -L old "$loop"
check 'ext4' 1 'holds ext4 "old"' device format "$loop"
mkdir "$work/mnt"
if mount "$loop" "$work/mnt" 2>/dev/null; then
	check 'mounted' 1 "busy \(mounted on $work/mnt\)" device format "$loop"
	check 'mounted, by force' 1 'busy \(mounted' device format --force --yes "$loop"
	umount "$work/mnt"
else
	skip 'mounted' 'cannot mount'
fi
hold 'still ext4' sh -c "blkid -p '$loop' | grep -q ext4"
if command -v script >/dev/null; then
	hold 'asked on a terminal, no' sh -c "sleep 5 | script -qec \
		\"'$cachectl' device format --force '$loop'\" /dev/null | grep -q 'Go on'"
	hold 'and left alone' sh -c "blkid -p '$loop' | grep -q ext4"
fi
check 'ext4 by force' 0 '^formatted' device format --force --yes "$loop"
hold 'no trace of ext4' sh -c "! blkid -p '$loop'"

"$cachectl" device format --force "$loop" >/dev/null
blkdiscard -z "$loop" 2>/dev/null || dd if=/dev/zero of="$loop" bs=1M 2>/dev/null
hold 'partition table made' sh -c "echo 'label: gpt' | sfdisk -q --no-reread '$loop'"
check 'partition table' 1 'gpt partition table' device format "$loop"
check 'partition table by force' 0 '^formatted' device format --force "$loop"
hold 'no trace of it' sh -c "! wipefs --noheadings '$loop' | grep ."

exec 9<>"$loop"
check 'open elsewhere, not held' 0 '^formatted' device format --force "$loop"
exec 9<&-

losetup -d "$loop"
loop=
truncate -s 4M "$work/small"
loop=$(losetup --find --show "$work/small")
check 'too small' 1 'has 4.00 MiB, .* needs at least [0-9.]+ MiB' device format "$loop"
losetup -d "$loop"
loop=$(losetup --find --show --read-only "$work/img")
check 'read-only' 1 'read-only|permission denied' device format --force "$loop"
echo "1..$n"
