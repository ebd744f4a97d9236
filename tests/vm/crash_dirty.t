#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the power may go at any moment while files are written back. Every fsynced byte is there, no
# removed or replaced file returns, no byte that was cut off is back, and a rename is done or not. A run
# that writes, overwrites, cuts off, renames and removes is recorded below the tier; of what the
# device may hold after a cut many images are made, and looked at by the module's own recovery
# (tests/crash/dirty.c). Some are attached and mounted, and have the same files, byte for byte.
#
# IMAGES=n, ATTACHED=n, OPS=n, SEED=n (--env); KEEP_LOG=1 leaves the recording in out/.
#
# vm: disk=data:32M disk=log:600M timeout=900 mem=1500M

import hashlib
import os
import random
import re
import shutil
import struct
import threading

import hostile_daemon as h
import vmtest as t

STORE, TARGET, DM = "/mnt/store", "/mnt/target", "/dev/mapper/recorded"
BASE = "/run/test/base"
IMAGES = int(os.environ.get("IMAGES", "1000"))
ATTACHED = int(os.environ.get("ATTACHED", "15"))
OPS = int(os.environ.get("OPS", "120"))
DATA, LOG = t.disk("data"), t.disk("log")
chance = random.Random(int(os.environ.get("SEED", "1")))
PAGE, NAMES = 4096, ["a", "b", "c", "d", "e", "f"]


def mount():
    return t.mount(STORE, TARGET, volume=f"file://{STORE}", write="back")


def crash(*argv):
    return t.run("crash", "--base", BASE, "--log", LOG, *argv, timeout=800)


def mark(text):
    # A mark is one word.
    if t.run("dmsetup", "message", "recorded", "0", "mark", text.replace(" ", ":")).returncode:
        t.bail("no mark")


def pages(number, first, end):
    """Bytes from page @first up to byte @end."""
    data = b""
    page = first
    while len(data) < end - first * PAGE:
        data += struct.pack("=II", number, page) * (PAGE // 8)
        page += 1
    return data[:end - first * PAGE]


def path(name):
    return f"{TARGET}/{name}"


def write(name, flags, data, at):
    fd = os.open(path(name), os.O_WRONLY | flags, 0o644)
    done = 0
    while done < len(data):
        # In pieces, so that some are written back before others.
        done += os.pwrite(fd, data[done:done + chance.choice([8192, 65536, 200000])], at + done)
        if chance.random() < 0.2:
            t.LIBC.sync_file_range(fd, t.ctypes.c_int64(0), t.ctypes.c_int64(0), 2)
    if chance.random() < 0.8:
        os.fsync(fd)
        os.close(fd)
    else:
        os.close(fd)
        os.sync()


def operation(number):
    """One of them, marked before and after."""
    there = [n for n in NAMES if os.path.exists(path(n))]
    kind = chance.choice("wwwooootrru")
    if kind == "w" or not there:
        name, size = chance.choice(NAMES), chance.choice([8, 4096, 65536, 70000, 300000, 900000]) // 8 * 8
        mark(f"B {number} w {name} {size}")
        write(name, os.O_CREAT | os.O_TRUNC, pages(number, 0, size), 0)
    elif kind == "o":
        name = chance.choice(there)
        size = os.stat(path(name)).st_size
        first = chance.randrange(min(size // PAGE + 1, 250))
        length = chance.choice([PAGE, 3 * PAGE, 20 * PAGE])
        mark(f"B {number} o {name} {first * PAGE} {length}")
        write(name, 0, pages(number, first, first * PAGE + length), first * PAGE)
    elif kind == "t":
        name, size = chance.choice(there), chance.choice([0, 8, 5000, 65536, 100000, 400000]) // 8 * 8
        mark(f"B {number} t {name} {size}")
        os.truncate(path(name), size)
        fd = os.open(path(name), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    elif kind == "r":
        name, other = chance.choice(there), chance.choice(NAMES)
        if name == other:
            return
        mark(f"B {number} r {name} {other}")
        os.rename(path(name), path(other))
    else:
        name = chance.choice(there)
        mark(f"B {number} u {name}")
        os.unlink(path(name))
    mark(f"E {number}")


def disturb():
    """Whoever else has files written back or made durable in the middle of it changes no promise."""
    other = random.Random(7)
    while not stop.is_set():
        with at_work:
            try:
                fd = os.open(path(other.choice(NAMES)), os.O_RDWR)
            except FileNotFoundError:
                continue
            how = other.randrange(3)
            if how == 0:
                os.fsync(fd)
            elif how == 1:
                t.LIBC.sync_file_range(fd, t.ctypes.c_int64(0), t.ctypes.c_int64(0), 2)
            os.close(fd)
        stop.wait(0.002)


stop, at_work = threading.Event(), threading.Lock()
os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=10m", "none", STORE)
t.load_module()
t.run("modprobe", "dm-log-writes")
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
shutil.copyfile(DATA, BASE)
sectors = os.path.getsize(BASE) // 512
if t.run("dmsetup", "create", "recorded", "--table", f"0 {sectors} log-writes {DATA} {LOG}").returncode:
    t.skip_all("no dm-log-writes here")
t.run("dmsetup", "mknodes")
t.same(nl.attach(DM), (0, ""), "the tier is attached, recorded")
t.same(mount(), (0, ""), "mounted")
others = threading.Thread(target=disturb)
others.start()
for n in range(1, OPS + 1):
    operation(n)
    if n == OPS // 2:
        with at_work:
            bad = [t.run("umount", TARGET).returncode, nl.detach(DM), nl.attach(DM), mount()]
        t.same(bad, [0, (0, ""), (0, ""), (0, "")], "unmounted, detached, attached, mounted in between")
stop.set()
others.join()
t.same(t.run("umount", TARGET).returncode, 0, f"{OPS} operations; unmounted")
t.same(nl.detach(DM), (0, ""), "detached")
t.run_ok("the record is closed", "dmsetup", "remove", "recorded")
if os.environ.get("KEEP_LOG"):
    shutil.copyfile(BASE, "/out/base")
    shutil.copyfile(LOG, "/out/log")

p = crash("--images", IMAGES, "--seed", 1, "--chunks", 0)
t.ok(p.returncode == 0, f"{IMAGES} images: each has what it must", p.stdout)
t.diag(p.stdout)
p = crash("--images", IMAGES // 2, "--chunks", 0, "--no-flushes")
t.ok(p.returncode == 1, "without flushes some have not: that is found", p.stdout)
t.diag(p.stdout)

bad = []
for n in range(ATTACHED):
    p = crash("--image", n, "--seed", 2, "--write", DATA)
    if p.returncode:
        bad.append(f"image {n}: {p.stdout}")
    want = {m[1]: (int(m[2]), m[3]) for m in re.finditer(r"^file (\S+) (\d+) (\w+)$", p.stdout, re.M)}
    error = nl.attach(DATA) + mount()
    if error != (0, "", 0, ""):
        bad.append(f"image {n}: {error}")
        break
    got = {}
    for name in os.listdir(TARGET):
        with open(path(name), "rb") as f:
            data = f.read()
        got[name] = (len(data), hashlib.blake2s(data, digest_size=16, key=b"crash").hexdigest())
    if got != want:
        bad.append(f"image {n}: {got}, crash(1) found {want}")
    t.run("umount", TARGET)
    nl.detach(DATA)
t.ok(not bad, f"{ATTACHED} of them attached and mounted: the same files, byte for byte", *bad[:5])
t.ok(t.unloaded(), "unloaded")
t.done()
