#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: write=back with several at work on one file. A reader at the end of a file that is cut off
# and grows again brings no byte back; a device that writes into a mapped page while the page is
# made durable spoils no block, and what it wrote last is durable after the next fsync; of writers,
# fsyncs, renames over the file and opens with O_TRUNC at once, the last version is there after a restart.
#
# vm: disk=data:256M disk=source:8M timeout=400 mem=1G

import errno
import mmap
import os
import random
import threading

import hostile_daemon as h
import vmtest as t

STORE, TARGET = "/mnt/store", "/mnt/target"
DATA, SOURCE = t.disk("data"), t.disk("source")
chance = random.Random(9)
BLOCK = 65536


def mount():
    return t.mount(STORE, TARGET, volume=f"file://{STORE}", write="back")


def path(name):
    return f"{TARGET}/{name}"


def get(name):
    with open(path(name), "rb") as f:
        return f.read()


def attempt(fn, *args):
    """Errno of a call, 0 = success."""
    try:
        fn(*args)
        return 0
    except OSError as e:
        return e.errno


def restart():
    bad = [t.run("umount", TARGET).returncode, nl.detach(DATA), nl.attach(DATA), mount()]
    t.ok(bad == [0, (0, ""), (0, ""), (0, "")], "unmounted, detached, attached, mounted again", bad)


class Beside:
    """Others, each of which does one thing again and again."""
    def __init__(self, *what):
        self.over = threading.Event()
        self.count = [0] * len(what)
        self.threads = [threading.Thread(target=self.work, args=(n, fn)) for n, fn in enumerate(what)]

    def work(self, n, fn):
        while not self.over.is_set():
            fn()
            self.count[n] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
t.load_module()
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA), (0, ""), "attached")
t.same(mount(), (0, ""), "mounted")

# Cut off and grown, with readers at the end.
fd = os.open(path("cut"), os.O_RDWR | os.O_CREAT)
look = os.open(path("cut"), os.O_RDONLY)
SIZE, CUT = 5 * BLOCK, BLOCK + 20000


def read():
    os.posix_fadvise(look, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(look, SIZE, 0)


def read_end():
    os.posix_fadvise(look, 2 * BLOCK, 0, os.POSIX_FADV_DONTNEED)
    os.pread(look, 4096, SIZE - 4096)
    os.pread(look, 4096, 2 * BLOCK)


back = []
with Beside(read, read_end) as beside:
    for n in range(60):
        os.pwrite(fd, b"\xff" * SIZE, 0)
        if n % 3 == 0:
            os.fsync(fd)
        else:
            t.LIBC.sync_file_range(fd, t.ctypes.c_int64(0), t.ctypes.c_int64(0), 7)
        os.ftruncate(fd, CUT)
        os.ftruncate(fd, SIZE)
        data = os.pread(fd, SIZE, 0)
        if data != b"\xff" * CUT + bytes(SIZE - CUT):
            back.append(f"round {n}: {sum(1 for b in data if b)} bytes are not zero, of {CUT}")
        # What is read is what becomes durable.
        os.pwrite(fd, b"!", 3 * BLOCK)
        os.fsync(fd)
t.ok(not back, "what was cut off is not back when the file grows", *back[:5])
t.ok(all(n > 10 for n in beside.count), "... with readers at work", beside.count)
os.close(fd)
os.close(look)
restart()
want = bytearray(b"\xff" * CUT + bytes(SIZE - CUT))
want[3 * BLOCK] = ord("!")
t.ok(get("cut") == want, "... nor after a restart")

# A device writes into a mapping that is being made durable.
random_bytes = [chance.randbytes(4 * BLOCK) for _ in range(4)]
raw = os.open(SOURCE, os.O_RDWR | os.O_DIRECT)
buffer = mmap.mmap(-1, 4 * BLOCK)
for n, data in enumerate(random_bytes):
    buffer[:] = data
    os.pwritev(raw, [buffer], n * 4 * BLOCK)
fd = os.open(path("mapped"), os.O_RDWR | os.O_CREAT)
os.pwrite(fd, bytes(6 * BLOCK), 0)
os.fsync(fd)
mapped = mmap.mmap(fd, 6 * BLOCK)
turns = [0, 0]


def into(turn, at):
    def read_into():
        turns[turn] += 1
        os.preadv(raw, [memoryview(mapped)[at:at + 2 * BLOCK]], turns[turn] % 4 * 4 * BLOCK + at)
    return read_into


def into_end():
    try:
        os.preadv(raw, [memoryview(mapped)[4 * BLOCK:]], 0)
    except OSError as e:
        # It was cut off just now.
        if e.errno != errno.EFAULT:
            raise


def cut_end():
    os.ftruncate(fd, 4 * BLOCK)
    os.ftruncate(fd, 6 * BLOCK)


with Beside(into(0, 0), into(1, 2 * BLOCK), into_end, cut_end) as beside:
    for n in range(150):
        os.fsync(fd)
os.ftruncate(fd, 4 * BLOCK)
t.ok(all(n > 10 for n in beside.count), "a device wrote into a mapping while it was made durable", beside.count)
want = (random_bytes[turns[0] % 4][:2 * BLOCK] + random_bytes[turns[1] % 4][2 * BLOCK:])
os.fsync(fd)
t.ok(mapped[:4 * BLOCK] == want, "what it wrote last is there")
mapped.close()
os.close(fd)
restart()
t.ok(get("mapped") == want, "... and after a restart: no block is spoiled")

# Renames over a file that others make durable, write and cut off.
errors = []


def disturb(flags):
    def one():
        try:
            f = os.open(path("latest"), os.O_RDWR | flags)
        except FileNotFoundError as e:
            # It is replaced, never gone.
            errors.append(e)
            return
        try:
            os.fsync(f)
        except OSError as e:
            errors.append(e)
        finally:
            os.close(f)
    return one


with open(path("latest"), "wb") as f:
    f.write(b"0")
with Beside(disturb(0), disturb(0), lambda: t.run("stat", path("latest"))) as beside:
    for n in range(1, 80):
        with open(path(f"tmp{n}"), "wb") as f:
            f.write(b"%d" % n * 30000)
            f.flush()
            os.fsync(f.fileno())
        os.rename(path(f"tmp{n}"), path("latest"))
        data = get("latest")
        if data != b"%d" % n * 30000:
            errors.append(f"round {n}: {len(data)} bytes, {data[:4]}")
t.ok(not errors, "renamed over a file that others have open", *errors[:5])
t.ok(all(n > 10 for n in beside.count), "... and make durable", beside.count)
restart()
t.ok(get("latest") == b"79" * 30000, "the last one is there after a restart")

clean = chance.randbytes(3 * BLOCK)
for n in range(30):
    with open(f"{STORE}/clean{n}", "wb") as f:
        f.write(clean)
lost = []


def rewrite(name, data, flags):
    f = os.open(path(name), os.O_WRONLY | flags)
    os.pwrite(f, data, 0)
    os.fsync(f)
    os.close(f)


for n in range(30):
    name = f"clean{n}"
    two = [threading.Thread(target=rewrite, args=(name, b"A" * 100, os.O_TRUNC)),
           threading.Thread(target=rewrite, args=(name, b"B" * 50, 0))]
    for thread in two:
        thread.start()
    for thread in two:
        thread.join()
    data = get(name)
    if data not in (b"A" * 100, b"B" * 50 + b"A" * 50):
        lost.append(f"{name}: {len(data)} bytes, {data[:60]}")
t.ok(not lost, "opened for writing and with O_TRUNC at once: both see one file", *lost[:5])

# What no name block can say.
t.same([attempt(os.truncate, path("latest"), (1 << 52) + 1), attempt(os.truncate, path("mapped"), 1 << 62)],
       [errno.EFBIG] * 2, "files above 4 PiB are refused")
os.truncate(path("latest"), 1 << 52)
fd = os.open(path("latest"), os.O_RDWR)
t.same(attempt(os.pwrite, fd, b"x", 1 << 52), errno.EFBIG, "... and bytes behind them")
os.pwrite(fd, b"end", (1 << 52) - 3)
os.fsync(fd)
os.close(fd)
restart()
fd = os.open(path("latest"), os.O_RDONLY)
t.same((os.fstat(fd).st_size, os.pread(fd, 10, (1 << 52) - 3), os.pread(fd, 2, 0)), (1 << 52, b"end", b"79"),
       "one of 4 PiB is there after a restart")
os.close(fd)

t.same((t.run("umount", TARGET).returncode, nl.detach(DATA)), (0, (0, "")), "unmounted, detached")
t.ok(t.unloaded(), "unloaded")
t.done()
