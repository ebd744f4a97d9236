# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck source=tests/vm/lib.sh
. /payload/tests/vm/lib.sh
shopt -s extglob
#
# For VM tests with a real Blob mount: Azurite on the host ("# vm: host=dataset"),
# rclone mount in the guest, blobcached between the two.
#
#   . /payload/tests/vm/lib-blob.sh
#   blob_lower /mnt/data
#   load_module && blob_tier && blob_daemon
#   blob_mount /mnt/data
#   verify "every byte is right" check /mnt/data readers=8
#   blob_mark warm
#   ...
#   blob_count since=warm && is "$get" 0 "nothing was fetched"

# One python for the whole test, as starting it costs a second under emulation.
coproc BLOB_PY { exec /payload/tests/vm/verify.py serve; }
exec {blob_in}<&"${BLOB_PY[0]}" {blob_out}>&"${BLOB_PY[1]}"

# blob_ask WORD...: sends a command to verify.py
blob_ask() {
	local IFS=$'\t'
	printf '%s\n' "$*" >&"$blob_out"
}

# blob_answer: waits for the answer: $OUTPUT, $SUMMARY (its last line), and status
blob_answer() {
	local line
	OUTPUT=
	while IFS= read -r line <&"$blob_in"; do
		if [[ $line = @+([0-9]) ]]; then
			OUTPUT=${OUTPUT%$'\n'}
			SUMMARY=${OUTPUT##*$'\n'}
			return "${line#@}"
		fi
		OUTPUT+=$line$'\n'
	done
	bail "verify.py is gone"
}

# blob_do WORD...: a command of verify.py
blob_do() { blob_ask "$@" && blob_answer; }

# blob_truth: the contents to compare with, and the end of the upload; in the
# background until blob_ready.
blob_truth() {
	blob_ask truth
	blob_truth_pending=1
}

# blob_lower DIR [RCLONE OPTIONS...]: mounts the container there with rclone, in
# the background until blob_ready.  $BLOB_LOWER_PID is rclone.
blob_lower() {
	BLOB_LOWER=$1
	shift
	mkdir -p "$BLOB_LOWER"
	[ -e /dev/fuse ] || modprobe fuse
	# Of the account; a prefix of the mount is rclone's own business.
	RCLONE_CONFIG_AZ_TYPE=azureblob RCLONE_CONFIG_AZ_SAS_URL=$AZ_SAS_URL \
		rclone mount "az:$AZ_CONTAINER" "$BLOB_LOWER" --config /dev/null \
		--log-file /run/test/rclone.log "$@" &
	BLOB_LOWER_PID=$!
}

# blob_ready: waits for blob_truth and blob_lower
blob_ready() {
	if [ -n "${blob_truth_pending:-}" ]; then
		blob_answer || bail "no files to compare with: $OUTPUT"
		blob_truth_pending=
	fi
	[ -z "${BLOB_LOWER:-}" ] && return
	wait_for 'mountpoint -q "$BLOB_LOWER" || [ ! -d /proc/$BLOB_LOWER_PID ]' 60 &&
		[ -d "/proc/$BLOB_LOWER_PID" ] ||
		bail "rclone did not mount: $(cat /run/test/rclone.log)"
}

# The disk "data", for the tier.
BLOB_TIER=$(disk data)

# blob_tier [FORMAT OPTIONS...]: formats it and attaches it
blob_tier() {
	cachectl device format "$@" "$BLOB_TIER" && cachectl device attach "$BLOB_TIER"
}

# blob_config: the daemon's configuration for AZ_SOURCE
blob_config() {
	mkdir -p "${BC_CONF%/*}"
	(
		umask 077
		echo "$AZURITE_KEY" >/run/test/key
		cat >"$BC_CONF" <<-X
		{ "volumes": [ {
		    "source": "$AZ_SOURCE", "scheme": "http",
		    "auth": { "type": "shared-key", "account": "$AZURITE_ACCOUNT",
		              "key_file": "/run/test/key" }
		} ], "fetch": { "connect_timeout_ms": 20000, "stall_timeout_ms": 30000 } }
		X
	)
}

# blob_daemon [ARGUMENTS...]: starts blobcached; returns when the kernel knows it.
# Its pid is in $BC_PID, its output in /run/test/blobcached.log. Not for run_ok,
# which runs it in a subshell, where nobody sees $BC_PID.
blob_daemon() {
	[ -e "$BC_CONF" ] || blob_config
	blobcached -c "$BC_CONF" -f "$@" >>/run/test/blobcached.log 2>&1 &
	BC_PID=$!
	if ! wait_for '[ ! -d /proc/$BC_PID ] || [ "$(daemon_pid)" = $BC_PID ]' 30 ||
	    [ ! -d /proc/$BC_PID ]; then
		diag "blobcached is not there"
		diag_file /run/test/blobcached.log
		return 1
	fi
}

# daemon_pid: of the daemon that the kernel has; 0 = none
daemon_pid() { cachectl status --json | jq '.daemon.pid // 0'; }

# blob_mount TARGET [OPTIONS]: over the lower
blob_mount() {
	mount -t blobcache "$BLOB_LOWER" "$1" -o "ro,volume=$AZ_SOURCE${2:+,$2}"
}

# verify TEXT WORD...: a point made by a command of verify.py, with what that
# sums up in its text
verify() {
	local text=$1
	shift
	if blob_do "$@"; then pass "$text ($SUMMARY)"; else
		nok "$text"
		diag "$OUTPUT"
		return 1
	fi
}

# field NAME: of the last summary: bytes, ms ...
field() {
	local f=" $SUMMARY "
	f=${f##* "$1"=}
	echo "${f%% *}"
}

# stat_of NAME...: counters of the module, on one line
stat_of() {
	local q=
	printf -v q '.%s,' "$@"
	cachectl stats --json | jq -r "[${q%,}] | @tsv"
}

# blob_settled: waits until nothing is asked for, and what was fetched is stored and in the index;
# twice, as a fill that is stored may begin anew for the rest of its chunk
blob_settled() {
	wait_for '[ "$(cachectl status --json | jq .request_count)$(cachectl status --json | jq .request_count)" = 00 ]' 60
}

# blob_mark NAME: a place in the store's log, for since= and until=
blob_mark() { blob_do log mark "$1" || bail "$OUTPUT"; }

# blob_count [since=MARK] [until=MARK]: sets $get, $head, $list ...: see storelog.py
blob_count() {
	blob_do log count "$@" || bail "$OUTPUT"
	diag "store, $*: $SUMMARY"
	eval "$SUMMARY"
}

# tables_written: waits until the tier's lazily written tables are on the device:
# until all is stored and it has not been written to for five seconds
tables_written() {
	local dev=${BLOB_TIER##*/} last=-1 writes since=0 end
	blob_settled || return
	end=$((SECONDS + 60 * ${VM_SLOW:-1}))
	while [ $SECONDS -lt $end ]; do
		# 5th field: writes completed
		read -r _ _ _ _ writes _ <"/sys/block/$dev/stat"
		if [ "$writes" != "$last" ]; then
			last=$writes
			since=$(now_ms)
		elif [ $(($(now_ms) - since)) -ge $((5000 * ${VM_SLOW:-1})) ]; then
			return
		fi
		pause 0.1
	done
	return 1
}
