#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the clean table is on the device, not in memory. What of it cannot be read, or
# is damaged later than at attach, costs fetches of the chunks it describes, never a
# wrong byte, nor the tier; what cannot be written waits, is a hit meanwhile, and is
# written when it can be: after that an orderly detach loses nothing. A few bad places in it
# cost what they said, hold up no others, and are written anew. What is stored faster than it
# is written waits. What is not to be changed in a unit is not. What is in a frame that is to be emptied is found. A large tier
# takes little memory.
#
# vm: disk=data:64M timeout=600 mem=1G

import concurrent.futures
import os

import hostile_daemon as h
import tierdisk as td
import vmtest as t
from files import Files

MIB = 1 << 20
STORE, TARGET = "/mnt/store", "/mnt/data"
VOLUME = f"file://{STORE}"
RAW, TIER, ERROR = t.disk("data"), "/dev/mapper/tier", "/dev/mapper/error"
files = Files(STORE, TARGET)
put, wrong, is_right = files.put, files.wrong, files.is_right


def one_of(unit):
    """A file that the unit says something of."""
    for frame, slot, _, desc in disk.descs():
        if frame // td.CLEAN_FRAMES == unit and desc.block == 0:
            data = disk.read(disk.block_offset(frame, slot), 65536)
            for name in FILES:
                with open(f"{STORE}/{name}", "rb") as f:
                    if f.read(65536) == data:
                        return name
    return None


def table(kind, first=0, count=None):
    """What units of the clean table lie on from now on; the rest of the tier is as it was."""
    sectors = int(t.run("blockdev", "--getsz", RAW).stdout)
    fields = disk.current()[1].f
    begin = fields["clean_offset"] // 512 + first * 8
    length = (fields["clean_units"] - first if count is None else count) * 8
    end = begin + length
    rest = f"{end} {sectors - end} linear {RAW} {end}\n"
    lines = {"linear": f"0 {sectors} linear {RAW} 0\n",
             "error": f"0 {begin} linear {RAW} 0\n{begin} {length} error\n{rest}",
             # Reads fail, writes do not.
             "unreadable": f"0 {begin} linear {RAW} 0\n{begin} {length} delay {ERROR} {begin} 0 {RAW} {begin} 0\n{rest}"}
    # A file, since a table of several lines has to come from one.
    with open("/run/test/table", "w", encoding="ascii") as f:
        f.write(lines[kind])
    if os.path.exists(TIER):
        for argv in (["suspend", "--noflush", "--nolockfs", "tier"], ["load", "tier", "/run/test/table"], ["resume", "tier"]):
            t.run_ok("table: " + argv[0], "dmsetup", *argv)
    else:
        t.run("dmsetup", "create", "tier", "/run/test/table")
        t.run("dmsetup", "mknodes")


def described():
    """Blocks that the table on the device has."""
    return sum(1 for _ in disk.descs())


def valid():
    """Units that were ever written, and are undamaged."""
    fields = disk.current()[1].f
    units = {n: disk.clean_unit(n) for n in range(fields["clean_units"])}
    return {n for n, unit in units.items() if unit[24:40] == fields["uuid"] and td.seal(unit) == unit}


def blocks(names):
    return 4 * len(names)


def written(count):
    """The table says what it shall."""
    return t.wait_for(lambda: described() == count, 60)


def tier():
    return t.cachectl("device", "list")["devices"][0]


def adds_up(text):
    now = tier()
    t.same(now["used_bytes"] + now["free_bytes"], now["frame_bytes"], f"{text}: used + free = frames")


def again(text):
    t.run_ok(f"{text}: detached", "cachectl", "device", "detach", TIER)
    t.run_ok(f"{text}: attached", "cachectl", "device", "attach", TIER)
    t.same(tier()["was_clean"], True, f"{text}: it was in order")


os.makedirs(STORE)
os.makedirs(TARGET)
t.run("mount", "-t", "tmpfs", "-o", "size=200m", "none", STORE)
FILES = [f"f{n:03}" for n in range(40)]
FILL = [f"fill{n:03}" for n in range(300)]
WHOLE, LATE = [f"whole{n}" for n in range(8)], ["late0", "late1"]
put(FILES + FILL)
put(WHOLE + LATE, MIB)
t.run("modprobe", "dm-mod")
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", "--index-ratio", "8", RAW)
disk = td.Disk(RAW)
table("linear")
t.run_ok("attached", "cachectl", "device", "attach", TIER)
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
if not t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail()):
    t.done()
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted", output)

# --- all of it is written once, so that there is something to read

delta = h.Delta(nl)
t.same(wrong(FILL), [], "a tier is filled: all is right")
t.same(wrong(FILL[:20]), [], "... also what was stored just now")
t.same(delta.unit_errors, 0, "... units that were never written are not taken for damaged")
t.ok(t.wait_for(lambda: described() * 65536 == tier()["used_bytes"], 60), "its table is written", described(), tier())

# --- a frame is emptied for a whole chunk

now = tier()
t.ok(now["free_bytes"] < MIB, "nothing is free", now)
delta = h.Delta(nl)
t.same(wrong(WHOLE), [], "whole chunks come to a tier full of short ones: all is right")
t.ok(len(WHOLE) <= delta.evicted_chunks <= len(WHOLE) * 5, "... at most one frame's go for each", delta.evicted_chunks)
there = sum(f["resident_bytes"] for f in t.cachectl("residency", *(f"{TARGET}/{n}" for n in WHOLE))["files"])
t.ok(there >= 2 * MIB, "... and what came last is there", there)
adds_up("emptied frames")
t.ok(t.wait_for(lambda: described() * 65536 == tier()["used_bytes"], 60), "the table is written", described(), tier())
again("to have nothing of it in memory")
table("error")
delta = h.Delta(nl)
t.same(wrong(LATE), [], "frames of which nobody can say what is there: all is right")
t.ok(delta.tier_read_errors > 0, "... it was asked for", delta.tier_read_errors)
t.same(tier()["state"], "live", "... the tier lives")
adds_up("frames not emptied")
table("linear")
t.ok(t.wait_for(lambda: described() * 65536 == tier()["used_bytes"], 60), "the table is written again", described(), tier())
t.run_ok("it is emptied", "cachectl", "evict", "--device", TIER)
t.ok(written(0), "... and the table, too", described())
there = valid()
t.ok(set(range(5)) <= there, "... of which each unit in use was written", there)

# --- it cannot be read, nor written

table("error")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "files are stored while it is away: all is right")
t.ok(t.wait_for(lambda: delta.tier_write_errors > 0, 60), "... it could not be written")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "... and are right")
t.same((delta.fetch_bytes, delta.crc_errors), (0, 0), "... from the tier: what waits is known")
t.same(described(), 0, "... the device says nothing of them")
adds_up("away")
table("linear")
t.ok(written(blocks(FILES)), "it comes back: what waited is written", described())
t.same(tier()["state"], "live", "the tier lives")
again("written late")
delta = h.Delta(nl)
t.same(wrong(FILES[:20]), [], "what waited is right after that")
t.same((delta.fetch_bytes, delta.crc_errors), (0, 0), "... and was there")
# Frames are filled in their order: those verified and those that are not may share one unit.
table("error")
delta = h.Delta(nl)
t.same(wrong(FILES[:20]), [], "away again: what was verified is right")
t.same((delta.fetch_bytes, delta.tier_read_errors), (0, 0), "... and read from the tier")
again_read = h.Delta(nl)
t.same(wrong(FILES), [], "what was not verified is right")
t.ok(again_read.fetch_bytes > 0 and again_read.tier_read_errors > 0, "... fetched anew", again_read.fetch_bytes,
     again_read.tier_read_errors)
t.same(tier()["state"], "live", "the tier lives")
adds_up("away again")
table("linear")
t.ok(written(blocks(FILES)), "what is there now is written", described())
t.ok(there <= valid(), "no unit was lost by that", there, valid())
again("and again")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "all is right")
t.same((delta.fetch_bytes, delta.crc_errors, delta.unit_errors), (0, 0, 0), "... and was there")

# --- what is not changed in a unit stays

before = {(frame, slot): desc.pack() for frame, slot, _, desc in disk.descs()}
t.run_ok("one is evicted", "cachectl", "evict", f"{TARGET}/{FILES[7]}")
t.ok(written(blocks(FILES) - 4), "... from the table, too", described())
after = {(frame, slot): desc.pack() for frame, slot, _, desc in disk.descs()}
t.ok(all(before[place] == desc for place, desc in after.items()), "... and all else in it is as it was")
t.same(wrong(FILES), [], "all is right")
t.ok(written(blocks(FILES)), "... and written", described())

# --- damaged while it is attached

again("before the damage")
delta = h.Delta(nl)
first = next(disk.descs())
disk.flip(disk.current()[1].f["clean_offset"] + first[0] // td.CLEAN_FRAMES * td.UNIT + 300, 4)
t.same(wrong(FILES), [], "a unit is damaged: all is right")
t.ok(delta.unit_errors == 1 and delta.crc_errors > 0, "... which is found, and counted once", delta.unit_errors, delta.crc_errors)
t.ok(delta.fetch_bytes < files.size(FILES), "... other units are good", delta.fetch_bytes)
t.ok(written(blocks(FILES)), "what was fetched anew is written", described())
adds_up("damaged")
again("after the damage")
delta = h.Delta(nl)
t.same(wrong(FILES), [], "all is right")
t.same((delta.fetch_bytes, delta.crc_errors, delta.unit_errors), (0, 0, 0), "... and was there")

# --- a few bad places in it

UNITS = disk.current()[1].f["clean_units"]
SECTORS = int(t.run("blockdev", "--getsz", RAW).stdout)
t.run("dmsetup", "create", "error", "--table", f"0 {SECTORS} error")
t.run("dmsetup", "mknodes")
t.run("modprobe", "dm-delay")
again("before a bad place")
unit = next(disk.descs())[0] // td.CLEAN_FRAMES
table("error", unit, 1)
delta = h.Delta(nl)
t.drop_caches(3)
# More readers at once than errors that a tier is given up for.
with concurrent.futures.ThreadPoolExecutor(24) as pool:
    found = list(pool.map(is_right, FILES))
t.ok(all(found), "all is right, read by many at once", found)
t.settled()
t.ok(0 < delta.tier_read_errors < 16 and delta.fetch_bytes > 0, "... a bad place is not asked for by each of them",
     delta.tier_read_errors, delta.fetch_bytes)
t.same(tier()["state"], "live", "... nor the tier given up")
adds_up("a bad place")
table("linear")
t.ok(written(blocks(FILES)), "it is good again: what is there now is written", described())
again("before one that can be written")
table("unreadable", unit, 1)
good = {(frame, slot): desc.pack() for frame, slot, _, desc in disk.descs()}
delta = h.Delta(nl)
# Not all of it: then it would not have to be read.
name = one_of(unit)
t.run_ok("it can be written only: some of it changes", "cachectl", "evict", f"{TARGET}/{name}")
t.ok(t.wait_for(lambda: delta.tier_write_errors >= 3, 60), "... it is tried again", delta.tier_write_errors, name, t.run("dmsetup", "table").stdout)
t.ok(all(desc.pack() == good[frame, slot] for frame, slot, _, desc in disk.descs() if frame // td.CLEAN_FRAMES == unit),
     "... and nothing of it is lost so soon")
t.run_ok("... detached", "cachectl", "device", "detach", TIER)
t.ok(unit in valid() and described() >= blocks(FILES) - 80, "... by which it is written anew", described())
table("linear")
t.run_ok("... attached", "cachectl", "device", "attach", TIER)
t.same(tier()["was_clean"], True, "... it was in order")
t.same(wrong(FILES), [], "... all is right")
t.ok(written(blocks(FILES)), "... and written", described())
t.run_ok("detached", "cachectl", "device", "detach", TIER)
table("error", unit, 1)
delta = h.Delta(nl)
t.run_ok("attached with a bad place", "cachectl", "device", "attach", TIER)
t.same(delta.unit_errors, 1, "... which is counted")
t.same(wrong(FILES), [], "... all is right")
t.ok(delta.fetch_bytes < files.size(FILES), "... the rest was there", delta.fetch_bytes)
table("linear")
t.ok(written(blocks(FILES)), "it is good again: all is written", described())
t.run_ok("it is emptied", "cachectl", "evict", "--device", TIER)
t.ok(written(0), "... and the table", described())
t.ok(UNITS > 10, "there are bad places at its front, and others behind", UNITS)
table("error", 0, 9)
delta = h.Delta(nl)
t.same(wrong(FILL), [], "... a tier is filled: all is right")
t.ok(t.wait_for(lambda: sum(1 for f, *_ in disk.descs() if f // td.CLEAN_FRAMES >= 9) >= 5 * 16, 60),
     "... those behind are written")
table("linear")
t.ok(t.wait_for(lambda: described() * 65536 == tier()["used_bytes"], 120), "they are good again: all is written", described(), tier())

# --- more than may wait

t.run_ok("detached", "cachectl", "device", "detach", TIER)
with open("/sys/module/blobcache/parameters/max_unwritten", "w", encoding="ascii") as f:
    f.write("2")
t.run_ok("attached", "cachectl", "device", "attach", TIER)
t.run_ok("it is emptied", "cachectl", "evict", "--device", TIER)
delta = h.Delta(nl)
t.same(wrong(FILL[:200]), [], "two frames may wait: all is right")
t.ok(delta.no_space == 0 and delta.tier_writes >= 200, "... and kept: what comes waits for the table", delta.no_space, delta.tier_writes)
t.run_ok("it is emptied", "cachectl", "evict", "--device", TIER)
t.ok(written(0), "... and the table", described())
table("error")
delta = h.Delta(nl)
t.same(wrong(FILL[:200]), [], "nothing can be written: all is right")
t.ok(delta.no_space > 0, "... and not kept", delta.no_space)
t.ok(t.wait_for(lambda: tier()["state"] == "read-only", 60), "... the tier keeps nothing more", tier()["state"])
table("linear")
t.ok(t.wait_for(lambda: tier()["state"] == "live", 120), "it can be written again: it does", tier()["state"])
t.same(wrong(FILL[:200]), [], "... all is right")
# What was not kept rests in memory for a while, and comes when it is fetched again.
t.ok(t.wait_for(lambda: not wrong(FILL[:200]) and described() == blocks(FILL[:200]), 120), "... and kept, and written", described())
again("after that")
t.run_ok("unmounted", "umount", TARGET)
t.run_ok("detached", "cachectl", "device", "detach", TIER)
disk.close()
t.run("dmsetup", "remove", "error")
t.run("dmsetup", "remove", "tier")

# --- memory

t.run("modprobe", "loop")
os.makedirs("/mnt/sparse")
t.run("mount", "-t", "tmpfs", "none", "/mnt/sparse")
with open("/mnt/sparse/file", "wb") as sparse:
    sparse.truncate(256 << 30)
loop = t.run("losetup", "--find", "--show", "/mnt/sparse/file").stdout.strip()
p = t.run("cachectl", "device", "format", "--yes", loop)
if t.ok(p.returncode == 0, "256 GiB are formatted", p.stdout):
    t.run_ok("... and attached", "cachectl", "device", "attach", loop, timeout=200)
    now = tier()
    frames = now["frame_bytes"] // MIB
    t.ok(frames > 250000 and now["memory_bytes"] < 2 * 43 * frames + MIB, "... with 43 bytes of memory per entry, and 1 MiB", now)
    t.run_ok("... and detached", "cachectl", "device", "detach", loop)
t.run("losetup", "-d", loop)
t.run("umount", "/mnt/sparse")
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.done()
