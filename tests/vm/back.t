#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: write=back. What is written to a new file is on the tier when fsync returns, is read back
# right from the page cache and from the tier, and is there with its name after unmount, detach and
# attach. No lower, no daemon is needed for it. Overwriting, appending, holes, cutting off, mapping,
# removing and renaming do what POSIX says.
#
# vm: disk=data:256M timeout=400 mem=1G

import errno
import mmap
import os
import random

import hostile_daemon as h
import vmtest as t

STORE, TARGET = "/mnt/store", "/mnt/target"
DATA = t.disk("data")
chance = random.Random(7)


def mount(**options):
    options = {"volume": f"file://{STORE}", "write": "back", **options}
    return t.mount(STORE, TARGET, **options)


def path(name):
    return f"{TARGET}/{name}"


def put(name, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, sync=True):
    fd = os.open(path(name), flags, 0o644)
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
    if sync:
        os.fsync(fd)
    os.close(fd)


def get(name):
    with open(path(name), "rb", buffering=0) as f:
        data = b""
        while part := f.read(1 << 20):
            data += part
    return data


def restart():
    """Unmount, detach, attach, mount: nothing is left in memory."""
    bad = [t.run("umount", TARGET).returncode, nl.detach(DATA), nl.attach(DATA), mount()]
    t.ok(bad == [0, (0, ""), (0, ""), (0, "")], "unmounted, detached, attached, mounted again", bad)


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
with open(f"{STORE}/clean", "wb") as out:
    out.write(b"from the store")
os.mkdir(f"{STORE}/dir")

t.load_module()
nl = h.Netlink()
t.same(mount()[0], 32, "without a tier it is refused")
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA), (0, ""), "attached")
for bad in ("durability=peers=2", "durability=blob", "durability=x", "ro"):
    t.same(t.run("mount", "-t", "blobcache", STORE, TARGET, "-o",
                 f"volume=file://{STORE},write=back,{bad}").returncode, 32, f"{bad} is refused")
t.same(mount(), (0, ""), "mounted")
t.like(open("/proc/mounts").read(), "write=back,durability=local", "/proc/mounts says so")
t.same(t.mount(STORE, "/mnt/other", volume=f"file://{STORE}", write="back")[0], 32,
       "a second mount of the volume is refused")

files = {"small": b"hello", "empty": b"", "block": chance.randbytes(65536),
         "odd": chance.randbytes(200001), "big": chance.randbytes(9 << 20),
         "dir/below": chance.randbytes(70000)}
for name, data in files.items():
    put(name, data)
t.same({n: get(n) for n in files}, files, "written, synced, read back")
t.ok(all(not os.path.exists(f"{STORE}/{n}") for n in files), "the lower has none of them")
t.same(sorted(os.listdir(TARGET)), ["big", "block", "clean", "dir", "empty", "odd", "small"],
       "they are listed with the lower's")
t.same(os.listdir(path("dir")), ["below"], "... in directories, too")
t.same(get("clean"), b"from the store", "a clean file is what it was")
t.same({n: os.stat(path(n)).st_size for n in files}, {n: len(d) for n, d in files.items()}, "sizes")
t.drop_caches(3)
t.same({n: get(n) for n in files}, files, "read back from the tier")
t.same(nl.detach(DATA)[0], errno.EBUSY, "a tier in use by it cannot be detached")
ino = {n: os.stat(path(n)).st_ino for n in files}
restart()
t.same({n: get(n) for n in files}, files, "all of it is there after a restart")
t.same({n: os.stat(path(n)).st_ino for n in files}, ino, "... with its inode numbers")

# Overwriting, appending, holes.
for n in range(30):
    name = chance.choice(["odd", "big", "block", "small"])
    data = bytearray(files[name])
    at = chance.randrange(len(data) + 100000)
    piece = chance.randbytes(chance.choice([1, 100, 4096, 65536, 150000]))
    if len(data) < at:
        data += bytes(at - len(data))
    data[at:at + len(piece)] = piece
    fd = os.open(path(name), os.O_RDWR)
    os.pwrite(fd, piece, at)
    if chance.random() < 0.5:
        os.fsync(fd)
    os.close(fd)
    files[name] = bytes(data)
    if chance.random() < 0.3:
        t.drop_caches(3)
put("small", b"more", os.O_WRONLY | os.O_APPEND)
files["small"] += b"more"
t.same({n: get(n) == files[n] for n in files}, {n: True for n in files}, "overwritten at random")
restart()
t.same({n: get(n) == files[n] for n in files}, {n: True for n in files}, "... and after a restart")

# Cutting off.
for size in (150000, 70000, 65536, 100, 300000, 0, 5000):
    os.truncate(path("odd"), size)
    files["odd"] = files["odd"][:size] + bytes(max(0, size - len(files["odd"])))
    if size in (70000, 300000):
        restart()
    t.same(get("odd") == files["odd"], True, f"cut to {size}")
put("odd", b"x" * 10, os.O_WRONLY)
files["odd"] = b"x" * 10 + files["odd"][10:]
restart()
t.same(get("odd") == files["odd"], True, "no byte that was cut off is back")

# Mapped.
fd = os.open(path("big"), os.O_RDWR)
m = mmap.mmap(fd, 0)
data = bytearray(files["big"])
for n in range(40):
    at = chance.randrange(len(data) - 10)
    m[at:at + 10] = data[at:at + 10] = chance.randbytes(10)
m.flush()
m.close()
os.fsync(fd)
os.close(fd)
files["big"] = bytes(data)
t.same(get("big") == files["big"], True, "written by a mapping")
restart()
t.same(get("big") == files["big"], True, "... and after a restart")

# Names.
os.unlink(path("block"))
del files["block"]
t.ok(not os.path.exists(path("block")), "removed")
os.rename(path("small"), path("dir/moved"))
files["dir/moved"] = files.pop("small")
put("tmp", b"newer", sync=False)
os.rename(path("tmp"), path("odd"))
files["odd"] = b"newer"
put("tmp", b"over a clean one", sync=False)
os.rename(path("tmp"), path("clean"))
files["clean"] = b"over a clean one"
t.same({n: get(n) == files[n] for n in files}, {n: True for n in files}, "renamed")
restart()
t.same({n: get(n) == files[n] for n in files}, {n: True for n in files}, "... and after a restart")
t.same(sorted(os.listdir(TARGET)), ["big", "clean", "dir", "empty", "odd"], "the right names")
with open(f"{STORE}/clean", "rb") as f:
    t.same(f.read(), b"from the store", "the lower's file is as it was")
put("clean", b"written anew")
files["clean"] = b"written anew"
fd = os.open(path("clean"), os.O_RDONLY)
os.unlink(path("clean"))
del files["clean"]
t.ok(not os.path.exists(path("clean")) and not os.path.exists(f"{STORE}/clean"),
     "removed, and what the lower had by that name, too")
t.same(os.read(fd, 100), b"written anew", "who has it open reads on")
os.close(fd)
t.same(t.run("rmdir", path("dir")).returncode, 1, "a directory with dirty files is not empty")
before = nl.tier()["free_bytes"]
for name in list(files):
    os.unlink(path(name))
files.clear()
t.ok(t.wait_for(lambda: nl.tier()["free_bytes"] > before + (9 << 20), 20), "what they took is free")
restart()
t.same(os.listdir(TARGET), ["dir"], "no removed file returns")
t.same(t.run("umount", TARGET).returncode, 0, "unmounted")
t.same(nl.detach(DATA), (0, ""), "detached")
t.ok(t.unloaded(), "unloaded")
t.done()
