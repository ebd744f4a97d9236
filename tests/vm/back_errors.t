#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: write=back on a tier that fails or is full. fsync tells of what is not durable, and the next
# one tries again; what was durable stays so; no room is ENOSPC, after a while, and loses nothing; what
# is removed makes room; new files are written through while there is none.
#
# vm: disk=data:24M timeout=600 mem=1G

import errno
import os
import random
import time

import hostile_daemon as h
import vmtest as t

STORE, TARGET, DM = "/mnt/store", "/mnt/target", "/dev/mapper/tier"
DATA = t.disk("data")
chance = random.Random(3)


def path(name):
    return f"{TARGET}/{name}"


def attempt(fn, *args):
    """Errno of a call, 0 = success."""
    try:
        fn(*args)
        return 0
    except OSError as e:
        return e.errno


def get(name):
    with open(path(name), "rb") as f:
        return f.read()


def put(name, data):
    with open(path(name), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def table(text):
    with open("/run/test/table", "w", encoding="ascii") as f:
        f.write(text + "\n")
    if any(t.run("dmsetup", *argv).returncode for argv in
           (("suspend", "--noflush", "--nolockfs", "tier"), ("load", "tier", "/run/test/table"), ("resume", "tier"))):
        t.bail("no table")


def mount():
    return t.mount(STORE, TARGET, volume=f"file://{STORE}", write="back")


def restart():
    bad = [t.run("umount", TARGET).returncode, nl.detach(DM), nl.attach(DM), mount()]
    t.ok(bad == [0, (0, ""), (0, ""), (0, "")], "unmounted, detached, attached, mounted again", bad)


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=50m", "none", STORE)
with open(f"/sys/block/{os.path.basename(DATA)}/size", encoding="ascii") as size:
    SECTORS = int(size.read())
GOOD = f"0 {SECTORS} linear {DATA} 0"
t.run("modprobe", "dm-flakey")
t.run("dmsetup", "create", "tier", "--table", GOOD)
t.run("dmsetup", "mknodes")
t.load_module()
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DM)
t.same(nl.attach(DM), (0, ""), "attached")
t.same(mount(), (0, ""), "mounted")

# Writes fail.
before, after = chance.randbytes(200000), chance.randbytes(200000)
put("file", before)
put("other", b"other")
fd = os.open(path("file"), os.O_RDWR)
table(f"0 {SECTORS} flakey {DATA} 0 0 1 1 error_writes")
os.pwrite(fd, after, 0)
t.same(attempt(os.fsync, fd), errno.EIO, "fsync fails when writes do")
t.same(os.pread(fd, 1 << 20, 0) == after, True, "what was written is read")
t.drop_caches(3)
t.same(os.pread(fd, 1 << 20, 0) == after, True, "... and stays in memory")
table(GOOD)
# The kernel may have tried meanwhile, and failed: that is told, too.
t.same([attempt(os.fsync, fd), attempt(os.fsync, fd)][1], 0, "a later one tries again")
os.close(fd)
restart()
t.same(get("file") == after, True, "... and all of it is there after a restart")

# So do those of names, and reads.
dirfd = os.open(TARGET, os.O_RDONLY | os.O_DIRECTORY)
with open(path("other"), "wb") as f:
    f.write(b"other")
t.same(attempt(os.fsync, dirfd), 0, "a directory is made durable")
table(f"0 {SECTORS} flakey {DATA} 0 0 1 1 error_writes")
with open(path("other"), "wb") as f:
    f.write(b"other")
t.same(attempt(os.fsync, dirfd), errno.EIO, "fsync of a directory fails if a file in it cannot be made durable")
table(GOOD)
t.same(([attempt(os.fsync, dirfd) for _ in range(3)][2], get("other")), (0, b"other"), "... and a later one tries again")
os.close(dirfd)
t.drop_caches(3)
table(f"0 {SECTORS} error")
t.same((attempt(os.truncate, path("file"), 100001), os.stat(path("file")).st_size), (errno.EIO, len(after)),
       "a file whose end cannot be read cannot be cut off there, and stays as it is")
table(GOOD)
restart()
t.same(get("file") == after, True, "... with every byte")
t.same((attempt(os.truncate, path("file"), 100001), get("file") == after[:100001]), (0, True), "then it can")
put("file", after)

# The dirty table cannot be written: what it says then is not known, until it is read again.
fd = os.open(path("file"), os.O_RDWR)
table(f"0 {SECTORS} flakey {DATA} 0 0 1 1 error_writes")
t.same(attempt(os.unlink, path("other")), errno.EIO, "a name cannot be removed durably")
table(GOOD)
t.same(attempt(os.pwrite, fd, b"!", 0), errno.EIO, "nothing more is written")
os.close(fd)
put("beside", b"beside")
t.ok(os.path.exists(f"{STORE}/beside"), "new files are written through")
restart()
t.same((get("file") == after, get("other") if os.path.exists(path("other")) else b"other"), (True, b"other"),
       "what was durable is there")
put("file", after)
restart()
t.same(get("file") == after, True, "... and more can be")

# No room.
t.same(attempt(os.unlink, path("file")), 0, "removed")
put("keep", before)
fd = os.open(path("fill"), os.O_RDWR | os.O_CREAT)
size, error, began = 0, 0, time.monotonic()
while not error and size < 50 << 20:
    try:
        size += os.pwrite(fd, chance.randbytes(65536), size)
    except OSError as e:
        error = e.errno
t.same(error, errno.ENOSPC, f"no room after {size} bytes, {time.monotonic() - began:.0f} s")
t.ok(size > 4 << 20, "... which is what may be dirty", size)
t.same((attempt(os.fsync, fd), os.fstat(fd).st_size), (0, size), "what was written can be made durable")
with open(path("fill"), "rb") as f:
    whole = f.read()
os.close(fd)
put("through", b"through")
t.ok(os.path.exists(f"{STORE}/through"), "a new file is written through")
restart()
t.same((get("fill") == whole, get("keep") == before, get("through")), (True, True, b"through"), "all is there")
free = nl.tier()["free_bytes"]
os.unlink(path("fill"))
t.ok(t.wait_for(lambda: nl.tier()["free_bytes"] > free + size, 20), "removed, it makes room")
put("again", after)
t.same((os.path.exists(f"{STORE}/again"), get("again") == after), (False, True), "a new file is written back again")
restart()
t.same((get("again") == after, get("keep") == before), (True, True), "all is there")
t.same((t.run("umount", TARGET).returncode, nl.detach(DM)), (0, (0, "")), "unmounted, detached")
t.ok(t.unloaded(), "unloaded")
t.done()
