#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what the clean table does about single requests that fail. A write that fails is made once
# more at once; one that fails again is made later, and nothing of it is lost. When a flush
# fails nothing is written, as the blocks may not be there, and all of it later. A unit that cannot be
# read is left alone for two minutes, and then written anew. A unit that comes damaged once is
# read again before an attach takes it for lost. An attach does without 64 bad places, and not without 65.
# A tier whose table hangs holds up no reads of another. Units that are read, written
# and given up for others at once say what they shall.
#
# vm: disk=data:512M disk=other:64M timeout=600 mem=1500M

import os
import random
import threading

import faultdev
import hostile_daemon as h
import tierdisk as td
import vmtest as t
from files import ROOM, Files

STORE, TARGET = "/mnt/store", "/mnt/data"
VOLUME = f"file://{STORE}"
RAW, OTHER, TIER = t.disk("data"), t.disk("other"), "/dev/mapper/tier"
FRAME_FILES = (1 << 20) // ROOM                 # so many fit in a frame
UNIT_FILES = FRAME_FILES * td.CLEAN_FRAMES      # a unit of the table describes so many
files = Files(STORE, TARGET)
wrong = files.wrong


def setup():
    """A tier whose clean table lies on a device that fails as it is told."""
    t.run_ok("formatted", "cachectl", "device", "format", "--yes", RAW)
    disk = td.Disk(RAW)
    fields = disk.current()[1].f
    disk.close()
    begin, count = fields["clean_offset"] // 512, fields["clean_units"] * 8
    device = faultdev.FaultDevice(count * 512, "/mnt/fault")
    sectors = int(t.run("blockdev", "--getsz", RAW).stdout)
    with open("/run/test/table", "w", encoding="ascii") as f:
        f.write(f"0 {begin} linear {RAW} 0\n{begin} {count} linear {device.path} 0\n"
                f"{begin + count} {sectors - begin - count} linear {RAW} {begin + count}\n")
    t.run("modprobe", "dm-mod")
    t.run_ok("the tier is put together", "dmsetup", "create", "tier", "/run/test/table")
    t.run("dmsetup", "mknodes")
    return device, fields


def described(unit):
    """Blocks that a unit describes, if it is good."""
    data = dev.block(unit)
    if data[24:40] != super_fields["uuid"] or td.seal(data) != data:
        return None
    return sum(1 for at in range(256, td.UNIT, 48) if data[at + 40])


def all_described():
    return sum(described(unit) or 0 for unit in range(super_fields["clean_units"]))


def tier(device=TIER):
    return {d["device"]: d for d in t.cachectl("device", "list")["devices"]}[device]


def settled():
    """All that is there is described."""
    return t.wait_for(lambda: all_described() * td.BLOCK == tier()["used_bytes"], 60, "the table is written")


def attach(device=TIER):
    t.run_ok(f"{device}: attached", "cachectl", "device", "attach", device)


def detach(device=TIER):
    t.run_ok(f"{device}: detached", "cachectl", "device", "detach", device)


def again():
    detach()
    attach()


def all_right(names, text, fetched=0):
    delta = h.Delta(nl)
    t.same(wrong(names), [], f"{text}: all is right")
    t.same(delta.fetch_bytes, fetched, "... and what should be is there")


class Reader(threading.Thread):
    """Reads a file: .right"""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name, self.right = name, None
        self.start()

    def run(self):
        self.right = files.is_right(self.name)


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=300m", "none", STORE)
FILES = [f"f{n:03}" for n in range(3 * UNIT_FILES)]
OTHERS = [f"o{n:03}" for n in range(20)]
files.put(FILES + OTHERS)
t.run("modprobe", "fuse")
t.load_module(t.PATIENT)
nl = h.Netlink()
dev, super_fields = setup()
attach()
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
if not t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail()):
    t.done()
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted", output)
t.same(wrong(FILES), [], "it is filled: all is right")
t.ok(settled(), "... and described", all_described(), tier())
t.same([u for u in range(3) if described(u) != 80], [], "... by three units")

# --- one that cannot be read, which takes a while

again()
dev.read_errors[0] = faultdev.FOREVER
first = h.Delta(nl)
delta = h.Delta(nl)
said, reads, writes = dev.block(0), dev.reads[0], dev.writes[0]
# In the order of frames: what is evicted is of unit 0, and not all of it.
t.run_ok("some of what a bad place describes changes", "cachectl", "evict", *(f"{TARGET}/{n}" for n in FILES[:5]))
t.ok(t.wait_for(lambda: delta.tier_write_errors >= 2, 60), "... it is tried again", delta.tier_write_errors)

# --- a write that fails

def since(mark):
    """What became of writes of unit 1, and of flushes."""
    return [done for done in dev.log[mark:] if done[0] in (1, None)]


mark = len(dev.log)
dev.write_errors[1] = 1
t.run_ok("of another unit a write fails", "cachectl", "evict", f"{TARGET}/{FILES[UNIT_FILES]}")
t.ok(t.wait_for(lambda: described(1) == 76, 60), "... and is made", described(1))
# A later run flushes before it writes.
t.same(since(mark)[-2:], [(1, True), (1, False)], "... once more, at once")
mark = len(dev.log)
dev.write_errors[1] = 2
t.run_ok("... it fails twice", "cachectl", "evict", f"{TARGET}/{FILES[UNIT_FILES + 1]}")
t.ok(t.wait_for(lambda: described(1) == 72, 60), "... and is made later", described(1))
t.same(since(mark)[-4:], [(1, True), (1, True), (None, False), (1, False)], "... by another run")

# --- a flush that fails

mark = len(dev.log)
dev.flush_errors = 3
t.run_ok("flushes fail", "cachectl", "evict", f"{TARGET}/{FILES[UNIT_FILES + 2]}")
t.ok(t.wait_for(lambda: described(1) == 68, 60), "... and it is written", described(1))
t.same(since(mark)[-5:], [(None, True)] * 3 + [(None, False), (1, False)], "... once one was made")

# --- the bad place is given up

t.ok(dev.writes[0] == writes and dev.block(0) == said, "the bad place is left alone meanwhile", dev.writes[0] - writes)
t.ok(t.wait_for(lambda: dev.writes[0] > writes, 200), "... and is written in the end")
t.ok(dev.reads[0] - reads >= 8, "... after eight tries", dev.reads[0] - reads)
t.same((first.unit_errors, described(0)), (1, 0), "... what it said is lost, and counted")
t.same(tier()["state"], "live", "the tier lives")
dev.read_errors.clear()
t.same(wrong(FILES), [], "all is right")
t.ok(settled(), "... and described", all_described(), tier())
detach()
attach()
t.same(tier()["was_clean"], True, "it was in order")
all_right(FILES, "after that")

# --- damaged on its way

detach()
dev.damage[1] = 1
delta = h.Delta(nl)
attach()
t.same((dev.damage[1], delta.unit_errors), (0, 0), "a unit comes damaged once: it is read again")
all_right(FILES, "... nothing is lost")
detach()
dev.damage[1] = 2
delta = h.Delta(nl)
attach()
t.same((dev.damage[1], delta.unit_errors), (0, 1), "a unit comes damaged twice: it is lost")
all_right(FILES, "... others are good", files.size(FILES[UNIT_FILES:2 * UNIT_FILES]))
t.ok(settled(), "... it is described anew", all_described(), tier())

# --- more bad places than an attach does without

t.ok(super_fields["clean_units"] > 70, "the table is large enough", super_fields["clean_units"])
detach()
dev.read_errors = {u: faultdev.FOREVER for u in range(3, 68)}
t.run_fails("65 bad places: it is not attached", "clean table unreadable", "cachectl", "device", "attach", TIER)
del dev.read_errors[3]
delta = h.Delta(nl)
attach()
t.same(delta.unit_errors, 64, "64: it is")
dev.read_errors = {}
all_right(FILES, "... what others describe is there")

# --- one tier hangs

detach()
t.run_ok("another is formatted", "cachectl", "device", "format", "--yes", OTHER)
attach(OTHER)
t.same(wrong(OTHERS), [], "another tier has other files")
detach(OTHER)
attach()
attach(OTHER)
t.drop_caches(3)
dev.frozen = True
delta = h.Delta(nl)
readers = [Reader(name) for name in FILES]
t.ok(t.wait_for(lambda: delta.hit_reads >= len(FILES), 60), f"the table of one hangs, for which {len(FILES)} readers wait",
     delta.hit_reads)
t.same([name for name in OTHERS if not files.is_right(name)], [], "... the other is read")
t.same((delta.fetch_bytes, [r.name for r in readers if r.right is not None]), (0, []), "... while they wait")
dev.frozen = False
for reader in readers:
    reader.join(60 * t.SLOW)
t.same([r.name for r in readers if not r.right], [], "... they have their bytes then")
t.same(delta.fetch_bytes, 0, "... from the tier")
detach(OTHER)

# --- all at once

detach()
with open("/sys/module/blobcache/parameters/max_unwritten", "w", encoding="ascii") as f:
    f.write("2")
attach()
seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
t.diag(f"SEED={seed}")
bad = []


def reads_files(number):
    """Reads some, over and over, and evicts what it read."""
    chance = random.Random(seed + number)
    for _ in range(60):
        name = chance.choice(FILES[number::4])
        if not files.is_right(name):
            bad.append(name)
        if chance.random() < 0.5:
            t.run("cachectl", "evict", f"{TARGET}/{name}")
        if chance.random() < 0.1:
            t.drop_caches(1)


delta = h.Delta(nl)
for _ in range(2):
    threads = [threading.Thread(target=reads_files, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240 * t.SLOW)
    t.same((bad, [th.name for th in threads if th.is_alive()]), ([], []), "read, evicted, written, all at once: all is right")
    t.ok(settled(), "... and described", all_described(), tier())
    t.same((delta.crc_errors, delta.unit_errors, delta.tier_read_errors), (0, 0, 0), "... nothing was half written")
    # Nothing is verified then, and units are read.
    again()
t.same(tier()["was_clean"], True, "it was in order")
t.run_ok("unmounted", "umount", TARGET)
detach()
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.run("dmsetup", "remove", "tier")
dev.end()
t.done()
