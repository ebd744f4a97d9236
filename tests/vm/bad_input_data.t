#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what a device gives back is not believed. Flipped bits in data, in
# descriptors and in table units, frames that changed places, records that are older
# than their bytes, and tables made by somebody who knows the checksum: after an
# orderly detach and after a crash a read never returns a byte that the store did
# not give; the damage is counted, the chunk fetched anew and cached again, and the
# rest of the tier is not lost by it.
#
# The lower has other bytes than the store, so that it shows where a byte came from.
#
# vm: disk=data:48M disk=crash:48M timeout=300 mem=1G

import os
import random
import struct
import threading

import hostile_daemon as h
import tierdisk as td
import vmtest as t

LOWER, STORE, TARGET = "/data/lower", "/data/store", "/data/target"
MIB, KIB = 1 << 20, 1 << 10
VOLUME = "file://" + STORE
_noise = random.Random(3).randbytes(8 * MIB)
files = {}


def make(name, size):
    place = len(files) * 2000
    files[name] = _noise[place:place + size]
    for where, data in ((STORE, files[name]), (LOWER, _noise[place + 1000:place + 1000 + size])):
        os.makedirs(os.path.dirname(f"{where}/{name}"), exist_ok=True)
        with open(f"{where}/{name}", "wb") as f:
            f.write(data)
        os.utime(f"{where}/{name}", (1.7e9, 1.7e9))


def read(name):
    try:
        with open(f"{TARGET}/{name}", "rb", buffering=0) as f:
            data = b""
            while part := f.read(1 << 20):
                data += part
            return data
    except OSError as e:
        return e.errno


def wrong_of(names):
    wrong = []
    for name in names:
        got = read(name)
        if got != files[name]:
            if isinstance(got, bytes):
                at = next((i for i, (a, b) in enumerate(zip(got, files[name])) if a != b), min(len(got), len(files[name])))
                got = f"{len(got)} bytes of {len(files[name])}, wrong from {at} on: {got[at:at + 16].hex()}"
            wrong.append(f"{name}: {got}")
    return wrong


def attach(device):
    error, message = nl.attach(device)
    return t.same(error, 0, f"{'the crash image' if device == CRASH else 'the tier'} attaches", message)


def mount():
    status, output = t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="60s")
    return status == 0 or t.ok(False, "mounted", output)


def umount():
    p = t.run("umount", TARGET)
    return p.returncode == 0 or t.ok(False, "unmounted", p.stdout)


def settled():
    """Fills are stored and in the index."""
    t.wait_for(lambda: not nl.status()[h.ST_REQUESTS], 60, "no request pending")


def balanced(text):
    tier = nl.tier()
    t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], f"{text}: the accounting adds up", tier)


def check(text, delta, **want):
    """All files are right; counters are as wanted; a second pass finds all repaired."""
    t.drop_caches(3)
    wrong = wrong_of(files)
    t.ok(not wrong, f"{text}: every byte is the store's", *wrong)
    for key, value in want.items():
        got = getattr(delta, key)
        good = value(got) if callable(value) else got == value
        t.ok(good, f"{text}: {key} is {got}", f"wanted: {value}")
    settled()
    delta = h.Delta(nl)
    t.drop_caches(3)
    wrong = wrong_of(files)
    t.ok(not wrong and not delta.fetch_bytes and not delta.crc_errors, f"{text}: fetched anew, it is cached and right",
         *wrong, f"fetched {delta.fetch_bytes}, crc_errors {delta.crc_errors}")
    balanced(text)


for i in range(10):
    make(f"one/{i}", MIB)
for i in range(8):
    make(f"small/{i}", 60 * KIB + 7777 * i)
make("four", 3 * MIB + 70 * KIB)
make("tail", MIB + 10)

t.load_module(t.PATIENT)
nl = h.Netlink()
DATA, CRASH = t.disk("data"), t.disk("crash")
p = t.run("cachectl", "device", "format", "--yes", DATA)
if not t.ok(p.returncode == 0, "formatted", p.stdout) or not attach(DATA):
    t.done()
daemon = t.Daemon({"allow_file": True, "volumes": [{"source": VOLUME}]})
if not t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "the daemon comes", daemon.tail()):
    t.done()
mount()
delta = h.Delta(nl)
wrong = wrong_of(files)
t.ok(not wrong, "cold: every byte is the store's", *wrong, daemon.tail())
settled()
t.same(delta.lower_bytes, 0, "... and none came from the lower")
delta = h.Delta(nl)
t.drop_caches(3)
wrong = wrong_of(files)
t.ok(not wrong and not delta.fetch_bytes, "warm: all of it is on the tier", *wrong, delta.fetch_bytes)
umount()
t.same(nl.detach(DATA)[0], 0, "detached in order")
disk = td.Disk(DATA)


def table():
    """(frame, slot) -> (offset of the descriptor, descriptor)."""
    return {(frame, slot): (at, desc) for frame, slot, at, desc in disk.descs()}


def extents(descs):
    """Runs of blocks of one chunk: lists of (frame, slot)."""
    found = []
    for place in sorted(descs):
        desc = descs[place][1]
        if desc.block % 16 == 0:
            found.append([place])
        else:
            found[-1].append(place)
    return found


def rewrite(changes):
    """Descriptors by place, in units with right checksums."""
    fields = disk.current()[1].f
    units = {}
    for (frame, slot), desc in changes.items():
        number = frame // td.CLEAN_FRAMES
        unit = units.setdefault(number, bytearray(disk.clean_unit(number)))
        at = 256 + (frame % td.CLEAN_FRAMES * td.FRAME_BLOCKS + slot) * 48
        unit[at:at + 48] = desc.pack() if isinstance(desc, td.Desc) else desc
        struct.pack_into("<Q", unit, 16, number)
        if unit[24:40] != fields["uuid"]:
            unit[:64] = struct.pack("<IIQQ16s24s", td.MAGIC_CLEAN, 0, 1, number, fields["uuid"], bytes(24))
    for number, unit in units.items():
        disk.write_clean_unit(number, td.seal(unit))


def session(text, **want):
    """Attach the damaged tier, check, detach in order."""
    delta = h.Delta(nl)
    if not attach(DATA):
        return
    balanced(text)
    mount()
    check(text, delta, **want)
    umount()
    t.same(nl.detach(DATA)[0], 0, f"{text}: detached")


# --- data

descs = table()
runs = extents(descs)
whole = [r for r in runs if len(r) == 16]
part = [r[-1] for r in runs if descs[r[-1]][1].length < td.BLOCK]
t.ok(len(whole) >= 14 and len(part) >= 3, f"on the tier: {len(whole)} whole chunks, {len(runs) - len(whole)} others")
disk.flip(disk.block_offset(*whole[0][0]), 0)                                   # first bit of a chunk
disk.flip(disk.block_offset(*whole[1][7]) + 12345, 5)                           # in the middle
disk.flip(disk.block_offset(*whole[2][15]) + td.BLOCK - 1, 7)                   # last bit of a chunk
disk.flip(disk.block_offset(*part[0]) + descs[part[0]][1].length - 1, 7)  # last valid bit of a tail
disk.flip(disk.block_offset(*part[1]) + descs[part[1]][1].length, 0)      # the one behind: means nothing
# Two frames exchanged, one of zeros, a block with its neighbour's bytes.
a, b = disk.block_offset(*whole[3][0]), disk.block_offset(*whole[4][0])
first, second = disk.read(a, td.FRAME), disk.read(b, td.FRAME)
disk.write(a, second)
disk.write(b, first)
disk.write(disk.block_offset(*whole[5][0]), bytes(td.FRAME))
disk.write(disk.block_offset(*whole[6][4]), disk.read(disk.block_offset(*whole[6][5]), td.BLOCK))
session("flipped bits and exchanged blocks", crc_errors=8, fetch_bytes=lambda n: n >= 7 * MIB, unit_errors=0)

# --- tables

unit = disk.current()[1].f["clean_offset"]
disk.flip(unit + 256 + 5, 3)                    # a key
disk.flip(unit + td.UNIT + 20, 0)               # the head
session("flipped bits in two units of the clean table", unit_errors=2, crc_errors=0, fetch_bytes=lambda n: n >= MIB)

descs = table()
changes = {}
runs = extents(descs)
whole = [r for r in runs if len(r) == 16]


def change(place, **fields):
    desc = td.Desc(descs[place][1].pack())
    for key, value in fields.items():
        setattr(desc, key, value)
    changes[place] = desc


change(whole[0][0], crc=descs[whole[0][0]][1].crc ^ 1)
change(whole[1][15], crc=0)
change(whole[2][3], length=0)
change(whole[3][3], length=65537)
change(whole[4][3], length=0xffffffff)
change(whole[5][0], block=1 << 40)
change(whole[6][0], kind=2)
change(whole[7][1], kind=9)
change(whole[8][1], flags=1)
change(whole[9][1], reserved=b"\0\0\0\0\0\1")
change(whole[10][0], seq=(1 << 64) - 1)
change(whole[11][2], key=descs[whole[0][0]][1].key)
# The same chunk twice, the second over another's bytes: key, length and checksum of the one.
for k in range(16):
    changes[whole[12][k]] = descs[whole[13][k]][1]
rewrite(changes)
session("descriptors with nonsense and right checksums", unit_errors=0, crc_errors=lambda n: n <= 13,
        fetch_bytes=lambda n: n >= 4 * MIB)     # of most chunks only the block in question
t.ok(disk.current()[1].f["seq_reserved"] < 1 << 63, "a sequence that nobody handed out is not carried on",
     disk.current()[1].f["seq_reserved"])

# A record that is older than its bytes: its block was reused, the new record was lost.
old = {n: disk.clean_unit(n) for n in range(disk.current()[1].f["clean_units"])}
if attach(DATA):
    mount()
    nl.do(h.EVICT, h.text(h.A_DEVICE, DATA))
    t.same(nl.tier()["used_bytes"], 0, "everything is evicted")
    for i in range(20, 34):
        make(f"new/{i}", MIB)
    wrong = wrong_of(n for n in files if n.startswith("new/"))
    t.ok(not wrong, "other files take its place", *wrong)
    settled()
    umount()
    t.same(nl.detach(DATA)[0], 0, "detached")
for number, data in old.items():
    disk.write_clean_unit(number, data)
session("records older than the bytes they describe", crc_errors=lambda n: n >= 8, unit_errors=0)

# Any table, with right checksums. The seed makes it repeatable.
rng = random.Random(99)
for turn in range(2):
    descs = table()
    places = list(descs)
    for place in rng.sample(places, len(places) // 4):
        raw = bytearray(descs[place][1].pack())
        for _ in range(rng.choice((1, 1, 4))):
            raw[rng.randrange(48)] ^= 1 << rng.randrange(8)
        changes = {place: bytes(raw)}
        descs[place] = (0, raw)
        if rng.random() < 0.2:
            changes[rng.choice(places)] = bytes(raw)
        rewrite(changes)
    session(f"a quarter of all descriptors damaged at random, {turn}", unit_errors=0)

# --- after a crash: the image of a device in use, taken in the middle

crash = td.Disk(CRASH)
if attach(DATA):
    mount()
    stop = threading.Event()

    def churn():
        """Files come and go while the image is taken."""
        turn = random.Random(5)
        names = list(files)
        while not stop.is_set():
            name = turn.choice(names)
            fd = os.open(f"{TARGET}/{name}", os.O_RDONLY)
            try:
                nl2.do(h.EVICT, h.u32(h.A_FD, fd))
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                if os.pread(fd, 4096, 0) != files[name][:4096]:
                    broken.append(name)
            except OSError as e:
                broken.append(f"{name}: {e}")
            finally:
                os.close(fd)

    nl2 = h.Netlink()
    broken = []
    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    delta = h.Delta(nl)
    t.wait_for(lambda: delta.tier_writes > 20, 60, "chunks are written")
    disk.copy_to(crash)
    more = delta.tier_writes
    t.wait_for(lambda: delta.tier_writes > more + 5, 60, "more chunks are written")
    stop.set()
    thread.join(60)
    t.ok(not broken and not thread.is_alive(), "reads go on while the image is taken", *broken[:5])
    settled()
    umount()
    t.same(nl.detach(DATA)[0], 0, "the original is detached")

delta = h.Delta(nl)
if attach(CRASH):
    t.same(nl.tier()["was_clean"], 0, "... and says that it was not detached in order")
    t.ok(nl.tier()["chunks"] > 0, f"... with {nl.tier()['chunks']} chunks")
    balanced("after the crash")
    mount()
    check("after the crash", delta, unit_errors=0)
    umount()
    # Another crash: flipped bits this time. No detach before the image is taken.
    t.same(nl.detach(CRASH)[0], 0, "detached")
if attach(CRASH):
    image = td.Disk(CRASH)
    t.same(image.current()[1].f["state"], 0, "an attached tier is not marked clean")
    image.copy_to(disk)
    nl.detach(CRASH)
    image.close()
    descs = table()
    whole = [r for r in extents(descs) if len(r) == 16]
    disk.flip(disk.block_offset(*whole[0][2]) + 99, 1)
    disk.flip(disk.block_offset(*whole[1][9]) + 1, 2)
    number = whole[-1][0][0] // td.CLEAN_FRAMES
    disk.flip(disk.current()[1].f["clean_offset"] + number * td.UNIT + 2000, 4)
    # Only what lies in a unit that is still good can be found damaged.
    want = sum(r[0][0] // td.CLEAN_FRAMES != number for r in whole[:2])
    session("flipped bits after a crash", crc_errors=want, unit_errors=1)

daemon_error = daemon.stop()
t.same(daemon_error, 0, "the daemon ends in order")
disk.close()
crash.close()
nl.close()
t.ok(t.unloaded(), "the module can be unloaded")
t.done()
