#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: one damaged sector among what a tier says of itself costs no byte that fsync made durable:
# the other copy serves, or the attach is refused and writes nothing, so that what is there stays
# there. Nothing is erased because its name cannot be read.
#
# vm: disk=data:64M timeout=300 mem=1G

import errno
import os
import random
import struct

import hostile_daemon as h
import tierdisk as td
import vmtest as t

STORE, TARGET, IMAGE = "/mnt/store", "/mnt/target", "/run/test/image"
DATA = t.disk("data")
chance = random.Random(5)
FILES = {name: chance.randbytes(size) for name, size in (("a", 200000), ("b", 10), ("c", 70000))}


def mount():
    return t.mount(STORE, TARGET, volume=f"file://{STORE}", write="back")


def put(name, data):
    with open(f"{TARGET}/{name}", "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def get():
    found = {}
    for name in os.listdir(TARGET):
        with open(f"{TARGET}/{name}", "rb") as f:
            found[name] = f.read()
    return found


def image():
    with open(DATA, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return disk.read(0, disk.size)


def damaged(whole, offset):
    """One sector of it."""
    whole = bytearray(whole)
    whole[offset + 512:offset + 1024] = chance.randbytes(512)
    return bytes(whole)


def attached(whole, text, want=FILES):
    disk.write(0, whole)
    error = nl.attach(DATA)
    if not t.same(error, (0, ""), f"{text}: attaches"):
        return
    t.same(mount(), (0, ""), f"{text}: mounted")
    t.ok(get() == want, f"{text}: every file is there", {n: len(d) for n, d in get().items()})
    t.run("umount", TARGET)
    t.same((nl.detach(DATA), nl.attach(DATA), mount(), get() == want, t.run("umount", TARGET).returncode,
            nl.detach(DATA)), ((0, ""), (0, ""), (0, ""), True, 0, (0, "")), f"{text}: ... and after another attach")


def refused(whole, text):
    disk.write(0, whole)
    error, message = nl.attach(DATA)
    t.ok(error == errno.EUCLEAN and "do not format" in message, f"{text}: refused, and says why",
         (h.name(error), message))
    if not error:
        nl.detach(DATA)
    t.ok(image() == whole, f"{text}: nothing was written")


def units(whole):
    """(offset of the older copy, of the newer) of those that both were written."""
    found = []
    for unit in range(top.f["dirty_units"]):
        at = [top.f["dirty_offset"] + (2 * unit + copy) * td.UNIT for copy in (0, 1)]
        generation = [struct.unpack_from("<Q", whole, a + 8)[0] for a in at]
        if all(generation):
            found.append(tuple(sorted(at, key=lambda a: struct.unpack_from("<Q", whole, a + 8))))
    return found


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=50m", "none", STORE)
t.load_module()
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
disk = td.Disk(DATA)
_, top = disk.current()
t.same((nl.attach(DATA), mount()), ((0, ""), (0, "")), "attached, mounted")
for round_ in (1, 2):
    for name, data in FILES.items():
        put(name, data if round_ == 2 else data[::-1])
put("gone", b"gone")
os.unlink(f"{TARGET}/gone")
# As after a power cut: nothing is under way.
crashed = image()
t.same((t.run("umount", TARGET).returncode, nl.detach(DATA)), (0, (0, "")), "unmounted, detached")
orderly = image()

for text, whole in (("after a power cut", crashed), ("after a detach", orderly)):
    attached(whole, text)
    for copy in (0, 1):
        attached(damaged(whole, copy * td.UNIT), f"{text}, superblock {copy} damaged")
for older, newer in units(orderly):
    attached(damaged(orderly, older), f"after a detach, the older copy at {older} damaged")
    refused(damaged(orderly, newer), f"after a detach, the newer copy at {newer} damaged")
for older, newer in units(crashed):
    attached(damaged(crashed, older), f"after a power cut, the older copy at {older} damaged")
    disk.write(0, damaged(crashed, newer))
    t.same((nl.attach(DATA), mount()), ((0, ""), (0, "")), f"after a power cut, the newer copy at {newer} damaged")
    t.ok(all(FILES.get(name, b"gone")[::-1] == data or FILES.get(name, b"gone") == data
             for name, data in get().items()), "... no file has bytes that are not its own")
    t.same((t.run("umount", TARGET).returncode, nl.detach(DATA)), (0, (0, "")), "... unmounted, detached")
t.ok(units(orderly) and units(crashed), "there were such units")
both = units(orderly)[0]
refused(damaged(damaged(orderly, both[0]), both[1]), "both copies of a unit damaged")
t.ok(t.unloaded(), "unloaded")
t.done()
