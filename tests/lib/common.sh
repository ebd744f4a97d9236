# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Shared by the scripts of tests/: where things are, locks, a private apt.
#
# Everything that costs a download or minutes of CPU goes to $CACHE, in
# directories keyed by their inputs.  They are made under a temporary name and
# renamed, so that a directory which exists is complete.

set -euo pipefail
export LC_ALL=C

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${BLOBCACHE_CACHE:-${HOME:-/root}/.cache/blobcache}
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd -P)
ME=${0##*/}
# shellcheck disable=SC2034 # used by the scripts that source this file
MATRIX="6.1 6.12 7"

say() { echo "$ME: $*" >&2; }
die() { say "$*"; exit 1; }

# lock NAME: hold an exclusive lock until the calling (sub)shell ends.
lock() {
	local fd
	mkdir -p "$CACHE/locks"
	exec {fd}>"$CACHE/locks/$1"
	flock "$fd"
}

# quietly CMD...: run CMD niced, show its output only when it fails.
quietly() {
	local log rc=0
	log=$(mktemp)
	nice "$@" >"$log" 2>&1 || rc=$?
	if [ $rc != 0 ]; then
		say "failed ($rc): $*"
		cat "$log" >&2
	fi
	rm -f "$log"
	return $rc
}

# key FILE-OR-STRING...: a short hash of all arguments (contents, if files).
key() {
	local a
	for a in "$@"; do
		if [ -f "$a" ]; then cat "$a"; else printf '%s\n' "$a"; fi
	done | sha256sum | cut -c1-16
}

# mirror: the Debian mirror which the system's own apt configuration names.
# security_mirror: likewise for the security suite.
mirror() {
	local u
	u=${BLOBCACHE_MIRROR:-$(apt-get indextargets \
		--format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "bookworm" || $1 == "stable" { print $2; exit }')}
	[ -n "$u" ] || die "no Debian mirror in the system's apt configuration; set BLOBCACHE_MIRROR"
	echo "${u%/}"
}

security_mirror() {
	local u
	u=${BLOBCACHE_SECURITY_MIRROR:-$(apt-get indextargets \
		--format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 ~ /-security$/ { print $2; exit }')}
	[ -n "$u" ] || u=$(mirror)-security
	echo "${u%/}"
}

# private_apt RELEASE: point APT_CONFIG at an apt of our own that knows only
# RELEASE with its security (bookworm) or backports (trixie) suite and thinks
# that nothing is installed; the system's apt is left alone.  Proxies and such
# are taken over from the system.
private_apt() {
	local rel=$1 a=$CACHE/apt/$1 m s sign
	m=$(mirror)
	s=$(security_mirror)
	sign='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	mkdir -p "$a"/state/lists/partial "$a"/cache/archives/partial \
		"$a"/etc/preferences.d "$a"/etc/apt.conf.d "$a"/etc/trusted.gpg.d
	: >"$a/state/status"
	{
		echo "deb $sign $m $rel main"
		case $rel in
		bookworm) echo "deb $sign $s $rel-security main" ;;
		*) echo "deb $sign $m $rel-backports main" ;;
		esac
	} >"$a/etc/sources.list"
	{
		apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|ForceIPv[46])' || :
		cat <<-X
		Dir::Etc "$a/etc/";
		Dir::Etc::sourceparts "-";
		Dir::State "$a/state/";
		Dir::State::status "$a/state/status";
		Dir::Cache "$a/cache/";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		X
	} >"$a/apt.conf"
	export APT_CONFIG=$a/apt.conf
}
