# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For VM tests in bash: TAP, and what most of them do to the machine.
#
#   . /payload/tests/vm/lib.sh
#   load_module
#   run_ok "the device can be formatted" cachectl device format "$(disk data)"
#   is "$(cat file)" "text" "the file has its text"
#   done_testing
#
# Processes cost much under emulation (a fork and exec some 10 ms): prefer one
# long-lived process to hundreds of small commands.

BC_SOCK=/run/blobcache/blobcached.sock
BC_CONF=/etc/blobcache/blobcached.json

# --- TAP

tap_n=0
tap_failed=0

# plan N | plan skip_all REASON (which ends the test)
plan() {
	if [ "$1" = skip_all ]; then
		echo "1..0 # SKIP ${2:-}"
		exit 0
	fi
	echo "1..$1"
	tap_planned=1
}

# Last line of a test which did not say plan N.
done_testing() {
	[ -n "${tap_planned:-}" ] || echo "1..$tap_n"
	exit 0
}

# diag TEXT...: lines of explanation
diag() { printf '%s\n' "$@" | sed 's/^/# /'; }

# diag_file FILE [LINES]: its last lines
diag_file() {
	if [ -s "$1" ]; then tail -n "${2:-20}" "$1" | sed 's/^/# /'; else echo "# $1: empty"; fi
}

bail() {
	echo "Bail out! $*"
	exit 1
}

# pass TEXT, nok TEXT: a point that succeeded, failed
pass() {
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $*"
}

nok() {
	tap_n=$((tap_n + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_n - $*"
	return 1
}

# ok STATUS TEXT: as in: cmp a b; ok $? "same"
ok() { if [ "$1" = 0 ]; then pass "$2"; else nok "$2"; fi; }

# is GOT WANT TEXT, isnt GOT UNWANTED TEXT
is() {
	if [ "$1" = "$2" ]; then pass "$3"; else
		nok "$3"
		diag "got:    $1" "wanted: $2"
		return 1
	fi
}

isnt() {
	if [ "$1" != "$2" ]; then pass "$3"; else
		nok "$3"
		diag "got, but did not want: $1"
		return 1
	fi
}

# like GOT ERE TEXT
like() {
	if [[ "$1" =~ $2 ]]; then pass "$3"; else
		nok "$3"
		diag "got:          $1" "not matching: $2"
		return 1
	fi
}

# num_le GOT MAX TEXT, num_ge GOT MIN TEXT: integers
num_le() {
	if [ "$1" -le "$2" ]; then pass "$3"; else
		nok "$3"
		diag "got $1, at most $2 is right"
		return 1
	fi
}

num_ge() {
	if [ "$1" -ge "$2" ]; then pass "$3"; else
		nok "$3"
		diag "got $1, at least $2 is right"
		return 1
	fi
}

# run_ok TEXT CMD..., run_fails TEXT CMD...: its output is in $OUTPUT, and shown
# when it does not end as wanted.
run_ok() {
	local text=$1 rc=0
	shift
	OUTPUT=$("$@" 2>&1) || rc=$?
	if [ $rc = 0 ]; then pass "$text"; else
		nok "$text"
		diag "status $rc: $*" "$OUTPUT"
		return 1
	fi
}

run_fails() {
	local text=$1 rc=0
	shift
	OUTPUT=$("$@" 2>&1) || rc=$?
	# 124 and up: killed, or not there
	if [ $rc != 0 ] && [ $rc -lt 124 ]; then pass "$text"; else
		nok "$text"
		diag "status $rc: $*" "$OUTPUT"
		return 1
	fi
}

# skip N REASON: N points that are not made
skip() {
	local i
	for ((i = 0; i < $1; i++)); do
		tap_n=$((tap_n + 1))
		echo "ok $tap_n # SKIP $2"
	done
}

# --- waiting

# pause SECONDS: for polling; without a process of its own.
exec {pause_fd}<> <(:)
pause() { read -r -t "$1" -u "$pause_fd" || :; }

# now_ms: monotonic enough, in milliseconds
now_ms() {
	local t=$EPOCHREALTIME
	echo "$((${t%.*} * 1000 + 10#${t#*.} / 1000))"
}

# wait_for CONDITION TIMEOUT: poll the shell condition; fails after TIMEOUT s, or as
# much longer as the debug kernel takes.
wait_for() {
	local end=$((SECONDS + $2 * ${VM_SLOW:-1}))
	until eval "$1"; do
		if [ "$SECONDS" -ge "$end" ]; then
			diag "still not after $2 s: $1"
			return 1
		fi
		pause 0.05
	done
}

# --- the machine

# disk NAME: the block device of "# vm: disk=NAME:SIZE"
disk() {
	local d s
	for d in /sys/block/nvme*; do
		[ -e "$d" ] && read -r s <"$d/device/serial" || continue
		if [ "$s" = "$1" ]; then
			echo "/dev/${d##*/}"
			return
		fi
	done
	echo "no disk $1" >&2
	return 1
}

# drop_caches [1|2|3]: after writing back
drop_caches() {
	sync
	echo "${1:-3}" >/proc/sys/vm/drop_caches
}

# power_cut: the machine loses power, now.  For tests with boots=N.
power_cut() {
	echo "@power-cut" >&7
	while :; do pause 1; done
}

# --- blobcache

# load_module [PARAMETER=VALUE...]
load_module() {
	local dep
	for dep in $(modinfo -F depends /payload/blobcache.ko | tr , ' '); do
		modprobe "$dep" || return
	done
	insmod /payload/blobcache.ko "$@"
}

# Its last user may be a worker that puts its mount down just now.
unload_module() { wait_for 'rmmod blobcache 2>/dev/null' 20; }

module_loaded() { [ -d /sys/module/blobcache ]; }

# start_daemon [ARGUMENTS...]: blobcached in the background, with $BC_CONF when
# that exists; returns when it serves its socket.  Its pid is in $BC_PID, its
# output in /run/test/blobcached.log.
start_daemon() {
	local conf=()
	[ -e "$BC_CONF" ] && conf=(--config "$BC_CONF")
	mkdir -p /run/blobcache /var/lib/blobcache
	rm -f "$BC_SOCK"
	blobcached "${conf[@]}" "$@" >>/run/test/blobcached.log 2>&1 &
	BC_PID=$!
	if ! wait_for '[ -S "$BC_SOCK" ] || [ ! -d /proc/$BC_PID ]' 30 || [ ! -d /proc/$BC_PID ]; then
		diag "blobcached did not start"
		diag_file /run/test/blobcached.log
		return 1
	fi
}

# stop_daemon [SIGNAL]: and wait until it is gone
stop_daemon() {
	kill "-${1:-TERM}" "$BC_PID" 2>/dev/null
	wait "$BC_PID" 2>/dev/null
	BC_PID=
}

# azurite_requests: "METHOD PATH[?QUERY] RANGE" of every request Azurite got so
# far, RANGE as in 0-4194303, or - without.
azurite_requests() {
	host_log azurite.debug | sed -nE '
		s/.* RequestMethod=([A-Z]+) RequestURL=http:\/\/[^/]+\/[^/]+([^ ]*) RequestHeaders:\{(.*)/\1 \2 \3/
		t found
		d
		: found
		s/^([A-Z]+ [^ ]*) .*"(x-ms-)?range":"bytes=([0-9-]+)".*/\1 \3/
		t print
		s/^([A-Z]+ [^ ]*) .*/\1 -/
		: print
		p'
}

# host_log FILE: a file of the runner's host/ directory, e.g. azurite.log
host_log() { curl -sSf "$HOST_LOGS/$1"; }
