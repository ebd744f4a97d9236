#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: whatever lies on a device, format and attach either do what was asked or
# refuse it with an error that says why, and a refused device is not changed by one
# byte: foreign data is never overwritten unasked, a tier of a newer release or with
# data that is nowhere else is never touched, and a hostile superblock with a right
# checksum does no harm. (What is in tables and frames: bad_input_data.t.)
#
# vm: disk=data:64M disk=small:32M disk=other:64M timeout=240 mem=768M

import errno
import os
import random
import re
import struct

import hostile_daemon as h
import tierdisk as td
import vmtest as t

t.load_module()
nl = h.Netlink()
DATA, SMALL, OTHER = t.disk("data"), t.disk("small"), t.disk("other")


def fmt(device, *options):
    return t.run("cachectl", "device", "format", "--yes", *options, device)


# --- format: what is not blank stays as it is

def refused_unchanged(device, regex, text, *options):
    """Format fails, says why, and changes nothing."""
    with td_disk(device) as d:
        before = d.read(0, 2 << 20) + d.read(d.size - (1 << 20), 1 << 20)
    p = fmt(device, *options)
    with td_disk(device) as d:
        after = d.read(0, 2 << 20) + d.read(d.size - (1 << 20), 1 << 20)
    t.like(p.stdout, regex, f"{text}: refused, and says why")
    t.ok(0 < p.returncode < 124 and before == after, f"{text}: nothing was written",
         f"status {p.returncode}", f"same bytes: {before == after}")


class td_disk(td.Disk):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


with td_disk(OTHER) as other:
    t.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-L", "precious", OTHER)
    refused_unchanged(OTHER, r"ext4.*precious.*--force", "a device with ext4")
    os.makedirs("/tmp/mnt", exist_ok=True)
    t.run("mount", "-o", "ro", OTHER, "/tmp/mnt")
    refused_unchanged(OTHER, r"busy.*mounted on /tmp/mnt", "a mounted device with --force", "--force")
    error, message = nl.attach(OTHER)
    t.same((error, "in use" in message), (errno.EBUSY, True), "attach of a mounted device: EBUSY", message)
    t.run("umount", "/tmp/mnt")
    # A DOS partition table of one partition; no kernel partition is made of it.
    other.write(0, b"\0" * (1 << 20))
    mbr = bytearray(512)
    mbr[446:462] = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0x83, 0, 0, 0, 2048, 100000)
    mbr[510:] = b"\x55\xaa"
    other.write(0, bytes(mbr))
    refused_unchanged(OTHER, r"dos partition table.*--force", "a device with a partition table")
    other.write(0, b"\0" * (1 << 20))
    other.write(other.size - (1 << 20), b"\0" * (1 << 20))

p = fmt(OTHER)
t.ok(p.returncode == 0, "a blank device is formatted", p.stdout)
refused_unchanged(OTHER, r"blobcache tier.*--force", "a device with a tier")
p = fmt(OTHER, "--force")
t.ok(p.returncode == 0, "--force formats it again", p.stdout)
t.same(nl.attach(OTHER)[0], 0, "... to a tier that attaches")
p = fmt(OTHER, "--force")
t.like(p.stdout, "busy", "an attached device is refused even with --force")
t.ok(0 < p.returncode < 124, "... with an error status")
error, message = nl.attach(OTHER)
t.same(error, errno.EBUSY, "attached twice: EBUSY", message)
t.same(nl.detach(DATA)[0], errno.ENOENT, "detach of another device: ENOENT")
t.same(nl.detach(OTHER)[0], 0, "detached")
t.same(nl.detach(OTHER)[0], errno.ENOENT, "detached twice: ENOENT")

with open("/tmp/file", "wb") as f:
    f.truncate(32 << 20)
p = fmt("/tmp/file")
t.ok(0 < p.returncode < 124 and "losetup" in p.stdout, "format of a regular file names losetup", p.stdout)
for path, want in (("/tmp/file", errno.ENOTBLK), ("/tmp", errno.ENOTBLK), ("/dev/null", errno.ENOTBLK),
                   ("/dev/nothing", errno.ENOENT), ("", errno.ENOENT), ("relative", errno.ENOENT)):
    error, message = nl.attach(path)
    t.ok(error and message, f"attach of {path!r} is refused ({h.name(error)}), and says why",
         f"wanted {h.name(want)}")
t.same(nl.attach(DATA)[0], errno.ENODATA, "attach of a blank device: ENODATA")
p = t.run("cachectl", "device", "attach", DATA)
t.ok(p.returncode and "format it first" in p.stdout, "... and cachectl says what to do", p.stdout)

# --- superblocks

p = fmt(DATA)
t.ok(p.returncode == 0, "data is formatted", p.stdout)
disk = td.Disk(DATA)


def good():
    return [disk.read(i * td.UNIT, td.UNIT) for i in (0, 1)]


fresh = good()


def restore():
    for i in (0, 1):
        disk.write(i * td.UNIT, fresh[i])


def attaches(text, copies, check=None):
    for i in (0, 1):
        disk.write(i * td.UNIT, copies[i])
    error, message = nl.attach(DATA)
    if t.same(error, 0, f"{text}: attaches", message):
        if check:
            check()
        nl.detach(DATA)
        _, after = disk.current()
        t.ok(after.pack(crc=None) == disk.read(disk.current()[0] * td.UNIT, td.UNIT) and
             after.f["state"] == 1, f"{text}: a clean superblock is left behind")
    restore()


def refused(text, copies, want, regex):
    for i in (0, 1):
        disk.write(i * td.UNIT, copies[i])
    error, message = nl.attach(DATA)
    t.ok(error in want and re.search(regex, message), f"{text}: refused, and says why",
         f"errno {h.name(error)}, message {message!r}", f"wanted {[h.name(w) for w in want]} {regex!r}")
    if not error:
        nl.detach(DATA)
    t.ok(good() == list(copies), f"{text}: nothing was written")
    restore()


newer, top = disk.current()
older, bottom = 1 - newer, disk.supers()[1 - newer]


def both(**changes):
    """Both copies with these fields changed and right checksums."""
    copies = [td.Super(fresh[0]).pack(**changes), td.Super(fresh[1]).pack(**changes)]
    return copies


def one(which, unit):
    copies = list(fresh)
    copies[which] = unit
    return copies


def broken(unit, at=300):
    unit = bytearray(unit)
    unit[at] ^= 0x10
    return bytes(unit)


def is_label():
    t.same(nl.tier()["chunks"], 0, "... as the empty tier it is")


attaches("untouched", fresh, is_label)
attaches("newer copy damaged", one(newer, broken(fresh[newer])), is_label)
attaches("older copy damaged", one(older, broken(fresh[older])), is_label)
attaches("newer copy zeroed", one(newer, bytes(td.UNIT)), is_label)
attaches("newer copy random", one(newer, random.Random(1).randbytes(td.UNIT)), is_label)
attaches("wrong magic in the newer", one(newer, top.pack(magic=b"BLBCACHF")), is_label)
refused("both copies damaged", [broken(u) for u in fresh], {errno.EBADMSG, errno.EINVAL, errno.EUCLEAN},
        "superblocks are damaged")
refused("both checksums wrong by one bit", [broken(u, 8) for u in fresh],
        {errno.EBADMSG, errno.EINVAL, errno.EUCLEAN}, "superblocks are damaged")
refused("wrong magic in both", both(magic=b"BLBCACHF"), {errno.ENODATA}, "no blobcache tier")
refused("version 2 in both", both(version=2), {errno.EPROTONOSUPPORT}, "newer module")
refused("version 2 in the older copy", one(older, bottom.pack(version=2)), {errno.EPROTONOSUPPORT},
        "newer module")
refused("version 0", both(version=0), {errno.EPROTONOSUPPORT}, "newer module")
unused = td.crc32c(bytes(8 * top.f["dirty_units"]))
attaches("a dirty table that was in use, and is empty", both(incompat=1, dirty_check=unused), is_label)
refused("a dirty table that is older than at the last detach", both(incompat=1, dirty_check=unused ^ 1),
        {errno.EUCLEAN}, "damaged.*do not format")
refused("an unknown incompat bit", both(incompat=1 << 7), {errno.EOPNOTSUPP}, "newer module")
refused("an unknown incompat bit, and reserved bytes used", both(incompat=1 << 7, reserved=b"x" * 3828),
        {errno.EOPNOTSUPP}, "newer module")
refused("an unknown ro_compat bit", both(ro_compat=1 << 3), {errno.EOPNOTSUPP}, "newer module")


def keeps_compat():
    t.same(disk.current()[1].f["compat"], 1 << 9, "an unknown compat bit is kept when written")


attaches("an unknown compat bit", both(compat=1 << 9), keeps_compat)
refused("copies at each other's place", [fresh[1], fresh[0]], {errno.EINVAL, errno.EUCLEAN}, "damaged|format")
refused("copies of two tiers", one(older, bottom.pack(uuid=b"U" * 16)), {errno.EINVAL, errno.EUCLEAN},
        "damaged|differ|format")
# A right checksum proves nothing: it may be the work of somebody.
BAD = {errno.EINVAL, errno.EUCLEAN, errno.EBADMSG, errno.EFBIG}
for field, values in {
        "frame_count": (0, 7, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 44, (1 << 64) - 1),
        "index_ratio": (0, 65, 0xffffffff), "device_bytes": (0, 4096, 1 << 40, 1 << 63, (1 << 64) - 1),
        "dirty_offset": (0, 4096, 8193, 1 << 63, (1 << 64) - 4096),
        "dirty_units": (0, 1 << 20, 1 << 52, (1 << 64) - 1),
        "clean_offset": (0, 4096, 1 << 50, (1 << 64) - 4096), "clean_units": (0, 1, 1 << 52, (1 << 64) - 1),
        "identity_offset": (0, 12289, 1 << 50, (1 << 64) - 4096),
        "identity_units": (0, 1 << 20, 1 << 52, (1 << 64) - 1),
        "frames_offset": (0, 1 << 20 | 4096, 1 << 50, (1 << 64) - (1 << 20)),
        "unit_shift": (0, 11, 13), "block_shift": (15, 17), "chunk_shift": (19, 21, 63),
        "state": (2, 0x80000001), "uuid": (bytes(16),), "generation": ((1 << 64) - 1,),
        "seq_reserved": ((1 << 64) - 1, (1 << 64) - (1 << 40)), "reserved": (b"\0" * 3827 + b"\1",),
        "label": (b"\x1b[31mred".ljust(64, b"\0"), b"a\0b".ljust(64, b"\0"))}.items():
    bad = []
    for value in values:
        copies = both(**{field: value})
        for i in (0, 1):
            disk.write(i * td.UNIT, copies[i])
        error, message = nl.attach(DATA)
        if not error:
            nl.detach(DATA)
        if error not in BAD or not message or good() != copies:
            bad.append(f"{value!r}: {h.name(error)} {message!r} unchanged={good() == copies}")
    t.ok(not bad, f"nonsense in {field}: refused with a message, nothing written ({len(values)} cases)", *bad)
    restore()

# Anything at all, with a right checksum: it may attach, it must not harm. The seed makes it repeatable.
rng = random.Random(7)
names = [n for n, f in td.Super.LAYOUT if n not in ("crc", "magic", "reserved")]
accepted = refusals = 0
odd = []
for i in range(150):
    changes = {}
    for name in rng.sample(names, rng.choice((1, 1, 2, 3))):
        old = top.f[name]
        if isinstance(old, bytes):
            changes[name] = rng.randbytes(len(old))
        else:
            bits = 8 * struct.calcsize(dict(td.Super.LAYOUT)[name])
            changes[name] = rng.choice((old ^ 1 << rng.randrange(bits), rng.getrandbits(bits), old + 1, max(old, 1) - 1)) \
                & (1 << bits) - 1
    copies = both(**changes)
    for k in (0, 1):
        disk.write(k * td.UNIT, copies[k])
    error, message = nl.attach(DATA)
    if error:
        refusals += 1
        if not message or error in (errno.EFAULT, errno.ENOMEM) or good() != copies:
            odd.append(f"{changes}: {h.name(error)} {message!r}")
    else:
        accepted += 1
        tier = nl.tier()
        if tier["used_bytes"] + tier["free_bytes"] != tier["frame_bytes"]:
            odd.append(f"{changes}: {tier}")
        error, message = nl.detach(DATA)
        if error:
            odd.append(f"{changes}: detach: {h.name(error)} {message!r}")
    restore()
t.ok(not odd and refusals, f"150 random superblocks: {refusals} refused, {accepted} attached, none did harm", *odd[:10])

# --- a device that is shorter than its tier

small = td.Disk(SMALL)
disk.copy_to(small, small.size)
error, message = nl.attach(SMALL)
t.same((error, "shorter" in message), (errno.EFBIG, True), "a tier of 64 MiB on 32 MiB: EFBIG, and says so", message)
t.ok([small.read(i * td.UNIT, td.UNIT) for i in (0, 1)] == fresh, "... and nothing was written")
small.write(0, bytes(1 << 20))
small.close()
p = fmt(SMALL)
t.ok(p.returncode == 0, "the same device takes a tier of its own size", p.stdout)
t.same(nl.attach(SMALL)[0], 0, "... which attaches")
nl.detach(SMALL)

with open("/tmp/tier", "wb") as f:
    f.truncate(24 << 20)
loop = t.run("losetup", "--find", "--show", "/tmp/tier").stdout.strip()
if not loop.startswith("/dev/"):
    t.run("modprobe", "loop")
    loop = t.run("losetup", "--find", "--show", "/tmp/tier").stdout.strip()
p = fmt(loop)
t.same(p.returncode, 0, "a loop device is formatted", p.stdout)
t.run("losetup", "-d", loop)
os.truncate("/tmp/tier", (24 << 20) - 4096)
loop = t.run("losetup", "--find", "--show", "/tmp/tier").stdout.strip()
error, message = nl.attach(loop)
t.same((error, "shorter" in message), (errno.EFBIG, True), "truncated by one block: EFBIG, and says so", message)
t.run("losetup", "-d", loop)
for size in (0, 512, 4096, 8192, 1 << 20):
    with open("/tmp/tiny", "wb") as f:
        f.write(fresh[0][:size] + fresh[1][:max(0, size - 4096)])
        f.truncate(size)
    loop = t.run("losetup", "--find", "--show", "/tmp/tiny").stdout.strip()
    error, message = nl.attach(loop)
    t.ok(error and message, f"a device of {size} bytes: refused ({h.name(error)}), and says why")
    if size:
        p = fmt(loop, "--force")
        t.ok(0 < p.returncode < 124 and p.stdout, "... and format refuses it", p.stdout)
    t.run("losetup", "-d", loop)
loop = t.run("losetup", "--read-only", "--find", "--show", "/tmp/tier").stdout.strip()
os.truncate("/tmp/tier", 24 << 20)
t.run("losetup", "-c", loop)
error, message = nl.attach(loop)
t.ok(error and message, f"a read-only device: refused ({h.name(error)}), and says why", message)
t.run("losetup", "-d", loop)

# --- after all that

t.same(nl.attach(DATA)[0], 0, "the tier of the beginning still attaches")
t.same(nl.detach(DATA)[0], 0, "... and detaches")
nl.close()
disk.close()
t.ok(t.run("rmmod", "blobcache").returncode == 0, "the module can be unloaded: nothing was left in use")
t.done()
