#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the suites of kmod/kunit/, which a module built for them runs as it is loaded;
# after them the module unloads, so that nothing is left of what they began.
#
# vm: kernel=debug module=no timeout=240

. /payload/tests/vm/lib.sh

[ -e /payload/blobcache-kunit.ko ] || bail "no build/$K/blobcache-kunit.ko"
run_ok "the module with the suites loads" insmod /payload/blobcache-kunit.ko || done_testing

# KTAP: one suite per file, its cases indented by four blanks.
suites=0
for f in /sys/kernel/debug/kunit/blobcache_*/results; do
	[ -e "$f" ] || break
	suites=$((suites + 1))
	suite=${f%/results}
	suite=${suite##*/} cases=0
	while IFS= read -r line; do
		case $line in
		'    '1..*) planned=${line##*1..} ;;
		'    ok '* | '    not ok '*)
			cases=$((cases + 1))
			[[ $line =~ ^\ *(not\ )?ok\ [0-9]+\ (.*) ]]
			[ -z "${BASH_REMATCH[1]}" ]
			ok $? "$suite: ${BASH_REMATCH[2]}"
			;;
		*) diag "$line" ;;
		esac
	done <"$f"
	is "$cases" "$planned" "$suite: all its cases ran"
done
is "$suites" 2 "every suite ran"
run_ok "the module unloads" rmmod blobcache
done_testing
