#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: whatever is done to a mount in whatever order, by several open files and
# mappings at once, each byte read is one that docs/consistency.md allows; with MODES=kill
# also while the daemon is killed and comes back. tests/vm/helpers/randops.c does it.
#
# More of it: tests/vm/run --env OPS=200000 [--env SEED=n] random_ops, with
# BLOBCACHE_TIMEOUT_SCALE for the time it takes. MODES=plain,ttl,kill is all that there is;
# without it plain only, until the others have run for long enough to be trusted.
#
# vm: disk=data:24M disk=lower:192M timeout=400 mem=1500M

import json
import os
import subprocess
import time

import hostile_daemon as h
import vmtest as t

LOWER, STORE, TARGET = "/mnt/lower", "/mnt/store", "/mnt/target"
OPS = int(os.environ.get("OPS", "20000"))
SECONDS = int(os.environ.get("SECONDS_EACH", "45" if "OPS" not in os.environ else "1000000"))
# The same one each time: a run shall fail by what was changed. SEED=0 is another one each time.
SEED = int(os.environ.get("SEED", "1")) or time.time_ns() % 10**9
MODES = os.environ.get("MODES", "plain").split(",")
VOLUME = f"file://{STORE}"

# How each mode differs: mount options, and those of the program.
KINDS = {
    # Each open asks: it has the newest version, or what was written here.
    "plain": ({"consistency": "strict", "ttl": "50ms", "deadline": "60s"}, []),
    # Versions may be that old.
    "ttl": ({"ttl": "300ms", "deadline": "60s"}, ["--ttl", "300"]),
    # Reads that cannot be served fail soon.
    "kill": ({"consistency": "strict", "ttl": "50ms", "deadline": "1s"},
             ["--daemon", f"blobcached -f -c {t.CONF} 2>>/run/test/blobcached.log"]),
}


def fresh():
    """Nothing in the lower, the store, and what is known of them."""
    for directory in (LOWER, STORE):
        for name in os.listdir(directory):
            if name != "lost+found":
                os.unlink(f"{directory}/{name}")


def program(*argv):
    """(status, its output), which is shown as it comes."""
    lines = []
    with subprocess.Popen(["randops", "--target", TARGET, "--lower", LOWER, "--store", STORE,
                           *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as p:
        for line in p.stdout:
            lines.append(line)
            if " operations in " in line or line.startswith(("WRONG", "STUCK", "spent:")):
                t.diag(line)
        status = p.wait()
    return status, "".join(lines)


for directory in (LOWER, STORE, TARGET):
    os.makedirs(directory)
t.run_ok("a lower: ext4", "sh", "-c",
         f"mkfs.ext4 -q -F {t.disk('lower')} && mount {t.disk('lower')} {LOWER}")
t.run("mount", "-t", "tmpfs", "-o", "size=200m", "none", STORE)
# A write counts as uploaded soon after it was; ten times this if times do not tell.
t.load_module(t.PATIENT, "settle_ms=20")
nl = h.Netlink()
DATA = t.disk("data")
t.run_ok("a small tier", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "... is attached")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})

for mode in MODES:
    options, argv = KINDS[mode]
    fresh()
    status, output = t.mount(LOWER, TARGET, volume=VOLUME, **options)
    t.same(status, 0, f"{mode}: mounted", output)
    if mode != "kill":
        t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "... a daemon", daemon.tail())
    before = nl.stats()
    status, output = program("--seed", SEED, "--ops", OPS, "--seconds", SECONDS, "--device", DATA, *argv)
    t.same(status, 0, f"{mode}: each byte was one that may be there", output)
    after = nl.stats()
    did = {k: after[k] - before[k] for k in after}
    t.diag(json.dumps({k: v for k, v in did.items() if v}))
    # Else it tests the lower filesystem.
    t.ok(all(did[k] > 20 for k in ("hit_reads", "fetch_requests", "tier_writes", "resolves")),
         f"{mode}: tier, store and versions took part", did)
    t.same(did["crc_errors"], 0, f"{mode}: no checksum was wrong")
    if mode == "plain":
        status, output = program("--seed", SEED + 1, "--ops", 100000, "--sabotage", 300)
        t.same(status, 1, "a byte that nobody wrote is found out", output)
        t.like(output, "WRONG at operation [1-9]", "... with the operations before it")
    if mode != "kill":
        t.same(daemon.stop(), 0, "the daemon ends")
    t.same(t.run("umount", TARGET).returncode, 0, f"{mode}: unmounted")
t.same(nl.detach(DATA)[0], 0, "the tier is detached")
t.done()
