#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: several tiers: chunks are spread by capacity, found wherever they are, in whatever order
# tiers come; one that is detached, or fails under its readers, costs fetches of what it had, and
# no wrong byte; the others go on; no device is two tiers, nor a copy of one.
#
# vm: disk=small:64M disk=large:128M disk=copy:128M timeout=400 mem=1500M

import os

import hostile_daemon as h
import vmtest as t
from files import ROOM, Files

MIB = 1 << 20
STORE, TARGET = "/mnt/store", "/mnt/data"
VOLUME = f"file://{STORE}"
LARGE, COPY = t.disk("large"), t.disk("copy")
RAW = t.disk("small")
SMALL = "/dev/mapper/small"
files = Files(STORE, TARGET)
put, wrong, size = files.put, files.wrong, files.size


def tiers():
    return {d["device"]: d for d in t.cachectl("device", "list")["devices"]}


def used(device):
    return tiers()[device]["used_bytes"]


def resident(names):
    t.settled()
    return sum(f["resident_bytes"] for f in
               t.cachectl("residency", *(f"{TARGET}/{n}" for n in names))["files"])


def table(kind):
    """What is behind the small tier from now on."""
    sectors = int(t.run("blockdev", "--getsz", RAW).stdout)
    line = {"linear": f"0 {sectors} linear {RAW} 0", "error": f"0 {sectors} error",
            "read only": f"0 {sectors} flakey {RAW} 0 0 3600 1 error_writes"}[kind]
    if os.path.exists(SMALL):
        for argv in (["suspend", "--noflush", "--nolockfs", "small"], ["load", "small", "--table", line], ["resume", "small"]):
            t.run("dmsetup", *argv)
    else:
        t.run("dmsetup", "create", "small", "--table", line)
        t.run("dmsetup", "mknodes")


def all_hits(names):
    delta = h.Delta(nl)
    return not wrong(names) and not delta.fetch_bytes


def adds_up(text):
    for device, d in tiers().items():
        t.same(d["used_bytes"] + d["free_bytes"], d["frame_bytes"], f"{text}: {device}: used + free = frames")


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=300m", "none", STORE)
FILES = [f"f{n:03}" for n in range(120)]
put(FILES)
t.run("modprobe", "dm-mod")
table("linear")
t.load_module(t.PATIENT)
nl = h.Netlink()
for device in SMALL, LARGE:
    t.run_ok(f"{device} is formatted", "cachectl", "device", "format", "--yes", device)
    t.run_ok("... and attached", "cachectl", "device", "attach", device)
t.same(set(tiers()), {SMALL, LARGE}, "both are listed")
t.same(nl.status()[h.ST_TIERS], 2, "... and counted")
t.same(h.name(nl.attach(LARGE)[0]), "EBUSY", "a tier that is attached is not attached again")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted", output)

# --- spread, and found

t.same(wrong(FILES), [], "cold: all is right")
t.same(resident(FILES), size(FILES), "... and cached")
share = used(SMALL) / (used(SMALL) + used(LARGE))
t.ok(0.17 < share < 0.5, f"a third is on the tier that is a third of all: {share:.2f}")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "warm: all is right")
t.ok(delta.fetch_bytes == 0 and delta.hit_bytes >= size(FILES), "... from the tiers", delta.fetch_bytes, delta.hit_bytes)
adds_up("spread")

# --- one is detached, and comes back

gone = used(SMALL)
t.run_ok("the small one is detached", "cachectl", "device", "detach", SMALL)
t.ok(resident(FILES) < size(FILES), "what it had is not there")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "without it: all is right")
t.ok(0 < delta.fetch_bytes <= gone, "... what it had is fetched, and nothing else", delta.fetch_bytes, gone)
t.same(resident(FILES), size(FILES), "... and cached on the other")
t.run_ok("it is attached again", "cachectl", "device", "attach", SMALL)
t.same(used(SMALL), gone, "... with what it had")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "with it: all is right")
t.same(delta.fetch_bytes, 0, "... nothing is fetched")
t.same(resident(FILES), size(FILES), "what both have counts once")
t.run_ok("evicted", "cachectl", "evict", *(f"{TARGET}/{n}" for n in FILES))
t.same((used(SMALL), used(LARGE)), (0, 0), "... it is gone from both")

# --- a copy

t.same(wrong(FILES), [], "cached once more: all is right")
t.run("dd", f"if={LARGE}", f"of={COPY}", "bs=1M", "count=1", "conv=fsync")
error, message = nl.attach(COPY)
t.same((h.name(error), "copy" in message), ("EEXIST", True), "a copy of an attached tier is refused, and why", message)
t.run_ok("... and let go of", "cachectl", "device", "format", "--yes", "--force", COPY)

# --- the same chunk on both: some of it here, all of it there

BIG = [f"big{n:02}" for n in range(12)]
put(BIG, 2 * MIB)
t.run_ok("all is evicted", "cachectl", "evict", *(f"{TARGET}/{n}" for n in FILES))
t.drop_caches(3)
for only, other in ((SMALL, LARGE), (LARGE, SMALL)):
    t.run_ok(f"{other} is detached", "cachectl", "device", "detach", other)
    if only == SMALL:
        with open("/sys/module/blobcache/parameters/max_rest", "w", encoding="ascii") as f:
            f.write("0")
        for n in BIG:
            fd = os.open(f"{TARGET}/{n}", os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            # What binds it is fetched as a whole chunk.
            os.pread(fd, 100, 0)
            os.pread(fd, 100, MIB + 500000)
            os.close(fd)
        t.settled()
        t.same((used(SMALL), resident(BIG)), (24 * MIB, 12 * (MIB + (64 << 10))), "one has a block of each of some chunks")
    else:
        t.same(wrong(BIG), [], "the other has all of them")
    t.run_ok(f"{other} is attached again", "cachectl", "device", "attach", other)
daemon.stop()
delta = h.Delta(nl)
t.same(resident(BIG), size(BIG), "of both it is the one with all that counts")
t.same(wrong(BIG), [], "... and is read, without a daemon")
t.same(delta.fetch_bytes, 0, "... nothing is fetched")
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon comes", daemon.tail())
t.run_ok("they are pinned", "cachectl", "pin", "add", *(f"{TARGET}/{n}" for n in BIG))
pinned = {name: d["pinned_bytes"] for name, d in tiers().items()}
t.ok(sum(pinned.values()) == 24 * MIB and pinned[LARGE] >= 12 * MIB, "pinned is what is read, once", pinned)
t.run_ok("unpinned again", "cachectl", "pin", "remove", *(f"{TARGET}/{n}" for n in BIG))
t.run_ok("they are evicted", "cachectl", "evict", *(f"{TARGET}/{n}" for n in BIG))

# --- pins

t.same(wrong(FILES), [], "cached: all is right")

t.run_ok("half of the files are pinned", "cachectl", "pin", "add", *(f"{TARGET}/{n}" for n in FILES[:60]))
t.same(sum(d["pinned_bytes"] for d in tiers().values()), 60 * ROOM, "pinned is what of them is on both")
t.ok(all(d["pinned_bytes"] for d in tiers().values()), "... some on each", tiers())
for device in SMALL, LARGE:
    t.run_ok(f"{device} is emptied", "cachectl", "evict", "--device", device)
    t.same(used(device), tiers()[device]["pinned_bytes"], "... but for what is pinned")
delta = h.Delta(nl)
t.same(wrong(FILES[:60]), [], "pinned files are right")
t.same(delta.fetch_bytes, 0, "... and there")
t.run_ok("unpinned", "cachectl", "pin", "remove", *(f"{TARGET}/{n}" for n in FILES[:60]))
t.same(sum(d["pinned_bytes"] for d in tiers().values()), 0, "nothing is pinned")

# --- another order, after a restart

t.same(wrong(FILES), [], "all is cached, and right")
t.run_ok("unmounted", "umount", TARGET)
for device in SMALL, LARGE:
    t.run_ok(f"{device} is detached", "cachectl", "device", "detach", device)
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.load_module(t.PATIENT)
nl = h.Netlink()
for device in LARGE, SMALL:
    t.run_ok(f"{device} is attached", "cachectl", "device", "attach", device)
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted again", output)
delta = h.Delta(nl)
t.same(wrong(FILES), [], "in another order: all is right")
t.ok(delta.fetch_bytes == 0 and delta.hit_bytes >= size(FILES), "... and all hits", delta.fetch_bytes, delta.hit_bytes)

# --- one fails

table("error")
t.same(wrong(FILES), [], "one fails under its readers: all is right")
MORE = [f"more{n:03}" for n in range(30)]
put(MORE)
bad = []
t.ok(t.wait_for(lambda: bad.extend(wrong(FILES + MORE)) or tiers()[SMALL]["state"] == "failed", 60), "... it is found to have failed", tiers())
t.ok(nl.stats()["tier_read_errors"] > 0, "... by who read")
t.same(bad, [], "... and all was right")
t.same(tiers()[LARGE]["state"], "live", "... the other lives")
before = used(SMALL)
t.same(wrong(FILES + MORE), [], "all that is asked for now is right")
delta = h.Delta(nl)
t.same(wrong(FILES + MORE), [], "... and once more")
t.same(delta.fetch_bytes, 0, "... all from the tier that is left")
t.same(used(SMALL), before, "... nothing is kept on the other")
t.run_fails("it can be detached, if not in order", "could not be written", "cachectl", "device", "detach", SMALL)
t.same(set(tiers()), {LARGE}, "... and is gone")
table("linear")
t.run_ok("repaired, it is attached again", "cachectl", "device", "attach", SMALL)
t.same(wrong(FILES + MORE), [], "all is right")
adds_up("in the end")

# --- one only fails what is written

adds_up("before")
with open("/sys/module/blobcache/parameters/max_rest", "r+", encoding="ascii") as f:
    rest = f.read()
    f.seek(0)
    f.write("0")
HALF = [f"half{n:03}" for n in range(16)]
put(HALF, 600000)
t.same(wrong(HALF), [], "more files are read")
t.run_ok("one is detached for a while", "cachectl", "device", "detach", SMALL)
t.drop_caches(1)
for name in HALF:
    with open(f"{TARGET}/{name}", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(f.fileno(), 10, 300000)
t.ok(any(0 < resident([n]) < size([n]) for n in HALF), "... of some files the other has a part")
t.run_ok("... and attached again", "cachectl", "device", "attach", SMALL)
table("read only")
events = h.Netlink()
events.listen()
LATER = [f"later{n:03}" for n in range(60)]
put(LATER)
t.same(wrong(FILES + LATER), [], "one takes no more writes: all is right")
t.ok(t.wait_for(lambda: tiers()[SMALL]["state"] == "read-only", 60), "... which is found out", tiers())
t.ok(nl.stats()["tier_write_errors"] > 0, "... by what was written")
t.same(events.tier_event(60), (SMALL, "read_only"), "... of which there is an event")
served = [n for n in FILES if resident([n]) == size([n])]
t.ok(len(served) > 50, f"{len(served)} files are cached, on both")
delta = h.Delta(nl)
t.same(wrong(HALF), [], "what is whole on it, and in part on the other, is right")
delta = h.Delta(nl)
t.same(wrong(served), [], "what it has is right")
t.same(delta.fetch_bytes, 0, "... and read from it")
t.ok("read-only" in t.run("cachectl", "status").stdout, "... and cachectl says so")
t.same(wrong(FILES + LATER), [], "all that is asked for now is right")
# What could not be written rests in memory for some seconds, and is fetched once more after that.
t.ok(t.wait_for(lambda: all_hits(FILES + LATER), 60), "... and is kept, on the other tier")
t.run_fails("it can be detached, if not in order", "could not be written", "cachectl", "device", "detach", SMALL)
t.same(events.tier_event(60), (SMALL, "detached"), "... of which there is an event")
events.close()
with open("/sys/module/blobcache/parameters/max_rest", "w", encoding="ascii") as f:
    f.write(rest)
table("linear")
t.run_ok("repaired, it is attached again", "cachectl", "device", "attach", SMALL)

t.run_ok("unmounted at last", "umount", TARGET)
for device in LARGE, SMALL:
    t.run_ok(f"{device} is detached at last", "cachectl", "device", "detach", device)
t.same(nl.status()[h.ST_TIERS], 0, "no tier is left")
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.run("dmsetup", "remove", "small")
t.done()
