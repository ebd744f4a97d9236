#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what the daemon uploads of a dirty file is the file as of one cut, whatever is written, cut
# off, renamed or removed meanwhile; what it acknowledges is known after a restart; a daemon that
# dies leaves nothing behind; a daemon that makes no sense is refused.
#
# vm: disk=data:256M timeout=400 mem=1G

import errno
import os
import random
import time

import hostile_daemon as h
import vmtest as t

STORE, TARGET = "/mnt/store", "/mnt/target"
DATA = t.disk("data")
chance = random.Random(11)


def mount():
    return t.mount(STORE, TARGET, volume=f"file://{STORE}", write="back", ttl="1h")


def path(name):
    return f"{TARGET}/{name}"


def put(name, data, at=0):
    fd = os.open(path(name), os.O_RDWR | os.O_CREAT, 0o640)
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)
    os.fsync(fd)
    os.close(fd)


def get(name):
    with open(path(name), "rb") as f:
        return f.read()


def ready(name):
    """It takes a moment after it was closed."""
    return t.wait_for(lambda: nl.dirty()[name][h.D_STATE] == h.READY, 30, f"{name} is ready")


def overwrite(data, piece, at):
    data = bytearray(data.ljust(at + len(piece), b"\0"))
    data[at:at + len(piece)] = piece
    return bytes(data)


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
t.load_module()
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA), (0, ""), "attached")
t.same(mount(), (0, ""), "mounted")

big = chance.randbytes((5 << 20) + 1234)
put("big", big)
put("hole", b"end", 300000)
put("empty", b"")
fd = os.open(path("open"), os.O_RDWR | os.O_CREAT)
os.write(fd, b"half")
os.fsync(fd)
dirty = nl.dirty()
t.same(sorted(dirty), ["big", "empty", "hole", "open"], "all are told of")
ready("big")
d = nl.dirty()["big"]
t.same((d[h.D_SOURCE], d[h.D_SIZE], d[h.D_STATE], d[h.D_BASE], d[h.D_DEVICE], d[h.D_MODE], h.D_CUT in d),
       (f"file://{STORE}", len(big), h.READY, h.BASE_NONE, DATA, 0o100640, False), "... rightly")
t.same((dirty["open"][h.D_STATE], dirty["open"][h.D_WRITERS]), (h.WRITING, 1),
       "one that is open for writing is not ready")
os.close(fd)

g = d[h.D_GENERATION]
dev = h.Device()
t.same(dev.flush_begin(g)[0], errno.ENOTCONN, "only the daemon may flush")
h.io_flusher()
t.same(dev.hello(), 0, "hello")
error, cut, size, step = dev.flush_begin(g)
t.same((error, size), (0, len(big)), "a flush begins")
t.same(dev.flush_begin(g)[0], errno.EBUSY, "... once")
t.same(nl.dirty()["big"].get(h.D_CUT), cut, "... which is told of")
error, blocks = dev.flush_map(g, cut, 0, 100)
used = -(-len(big) // 65536)
t.ok(not error and all(0 < s <= cut for s, _, _ in blocks[:used]) and not any(s for s, _, _ in blocks[used:]),
     "its blocks", blocks)
t.same(dev.read_all(g, cut, size) == big, True, "its bytes")

# Everything changes; the cut does not.
now = big
for n in range(40):
    piece, at = chance.randbytes(chance.choice([10, 70000])), chance.randrange(len(now))
    now = overwrite(now, piece, at)
    put("big", piece, at)
    if n % 10 == 9:
        os.truncate(path("big"), 3 << 20)
        now = now[:3 << 20]
        put("big", b"!", 4 << 20)
        now = overwrite(now, b"!", 4 << 20)
t.same(get("big") == now, True, "written and cut off meanwhile")
t.same(dev.read_all(g, cut, size) == big, True, "the cut is what it was")
t.same(dev.flush_map(g, cut, 0, 100), (0, blocks), "... and its blocks")
t.drop_caches(3)
t.same(get("big") == now, True, "who reads the file sees what was written")

# Nonsense.
t.same([dev.read(g, cut, 1, 10)[0], dev.read(g, cut, 0, 0)[0], dev.read(g, cut, 0, (1 << 20) + 1)[0],
        dev.read(g, cut, 0, 10)[0], dev.read(g, cut, 6 << 20, 65536)[0], dev.read(g, cut + 1, 0, 65536)[0],
        dev.read(bytes(16), cut, 0, 65536)[0], dev.read(g, cut, 0, 65536, flags=1)[0],
        dev.read(g, cut, 0, 65536, size=8)[0], dev.read(g, cut, 0, 65536, reserved=(0, 1))[0]],
       [errno.EINVAL] * 3 + [errno.ERANGE] * 2 + [errno.ESTALE, errno.ENOENT] + [errno.EINVAL] * 3,
       "reads that make no sense")
t.same([dev.flush_map(g, cut, 0, 0)[0], dev.flush_map(g, cut, 0, 5000)[0], dev.flush_map(g, cut, 1 << 60, 1)[0],
        dev.flush_map(g, cut + 1, 0, 1)[0], dev.flush_begin(g, flags=1)[0], dev.flush_begin(g, size=0)[0],
        dev.flush_end(g, cut, b"x" * 65, length=65), dev.flush_end(g, cut, b"", flags=1),
        dev.flush_end(g, cut, b"a\0b"), dev.flush_end(g, cut, flags=2), dev.flush_end(g, cut + 1, b"e")],
       [errno.EINVAL] * 3 + [errno.ESTALE] + [errno.EINVAL] * 6 + [errno.ESTALE], "others")

# The acknowledgement of what is not all.
t.same(dev.flush_end(g, cut, b"etag-1", 1000), 0, "the store has the cut")
d = nl.dirty()["big"]
ready("big")
d = nl.dirty()["big"]
t.same((d[h.D_STATE], d[h.D_ACKED_SEQ], d[h.D_ACKED_ETAG], d[h.D_BASE], h.D_CUT in d),
       (h.READY, cut, "etag-1", h.BASE_ETAG, False), "... and what came later is for the next one")
t.same(dev.read(g, cut, 0, 65536)[0], errno.ESTALE, "that flush is over")
error, cut, size, step = dev.flush_begin(g)
t.same((error, size, dev.read_all(g, cut, size) == now), (0, len(now), True), "the next one has it")
t.same(dev.flush_end(g, cut, b"etag-2", 2000), 0, "the store has all")
t.same(nl.dirty()["big"][h.D_STATE], h.COMMITTED, "it is committed")
t.same(get("big") == now, True, "it is read as before")
put("big", b"new", 5)
now = overwrite(now, b"new", 5)
t.ok(ready("big"), "written again, it is not")

# Removed, renamed, given up, and a daemon that dies.
g = nl.dirty()["hole"][h.D_GENERATION]
error, cut, size, step = dev.flush_begin(g)
t.same((error, dev.read_all(g, cut, size)), (0, bytes(300000) + b"end"), "zeroes where nothing was written")
os.rename(path("hole"), path("renamed"))
t.same(dev.read_all(g, cut, size), bytes(300000) + b"end", "renamed, the cut can be read")
t.same(dev.flush_end(g, cut, b"etag-3"), errno.ESTALE, "... but it is by another name now")
error, cut, size, step = dev.flush_begin(g)
os.unlink(path("renamed"))
t.same((error, dev.read(g, cut, 0, 65536)[0], dev.flush_end(g, cut, b"e")), (0, errno.ENOENT, errno.ENOENT),
       "removed, it is not there")
g = nl.dirty()["big"][h.D_GENERATION]
error, cut, size, step = dev.flush_begin(g)
t.same((error, dev.flush_end(g, cut)), (0, 0), "a flush is given up")
g0 = nl.dirty()["empty"][h.D_GENERATION]
error, cut, size, step = dev.flush_begin(g0)
t.same((error, size, dev.flush_end(g0, cut, b"etag-0")), (0, 0, 0), "one of an empty file")
error, cut, size, step = dev.flush_begin(g)
put("big", chance.randbytes(200000), 70000)
now = get("big")
dev.close()
dev = h.Device()
t.same(dev.hello(), 0, "another daemon")
t.same(dev.read(g, cut, 0, 65536)[0], errno.ESTALE, "the flush of the one before is gone")
error, cut, size, step = dev.flush_begin(g)
t.same((error, dev.read_all(g, cut, size) == now), (0, True), "it can begin anew")

# A restart in the middle.
t.ok(all(ready(n) for n in ("big", "open")), "all are closed")
was = {n: {k: v for k, v in d.items() if k != h.D_CUT} for n, d in nl.dirty().items()}
bad = [t.run("umount", TARGET).returncode, nl.detach(DATA), dev.read(g, cut, 0, 65536)[0], nl.attach(DATA), mount()]
t.same(bad, [0, (0, ""), errno.ENOENT, (0, ""), (0, "")], "restarted in the middle of a flush")
t.same(nl.dirty(), was, "what is dirty, and what the store has, is known as before")
t.same(get("big") == now, True, "every byte is there")
error, cut, size, step = dev.flush_begin(g)
t.same((error, dev.read_all(g, cut, size) == now), (0, True), "... and can be uploaded")
t.same(dev.flush_end(g, cut), 0, "or not")

# The store has it, and the lower shows it.
done = chance.randbytes((3 << 20) + 100)
put("dir-a", b"x")
put("done", done)
ready("done")
g = nl.dirty()["done"][h.D_GENERATION]
error, cut, size, step = dev.flush_begin(g)
t.same((error, dev.read_all(g, cut, size) == done, dev.flush_end(g, cut, b"etag-done", 3000)), (0, True, 0),
       "another file is uploaded")
fd = os.open(path("done"), os.O_RDONLY)
time.sleep(1)
t.same(nl.dirty()["done"][h.D_STATE], h.COMMITTED, "it is committed; the lower does not show it")
with open(f"{STORE}/done", "wb") as out:
    out.write(done)
time.sleep(7)
t.ok("done" in nl.dirty(), "who has it open keeps it")
t.same(os.pread(fd, 1 << 22, 0) == done, True, "... and reads it")
os.close(fd)
t.ok(t.wait_for(lambda: "done" not in nl.dirty(), 30, "it is clean"), "then it is a clean file")
delta = h.Delta(nl)
t.same((get("done") == done, delta.hit_bytes, delta.miss_reads), (True, len(done), 0), "... read from the tier")
t.ok(delta.blocks_verified >= 49, "... and verified", delta.blocks_verified)
t.same(sorted(os.listdir(TARGET)).count("done"), 1, "it is listed once")
bad = [t.run("umount", TARGET).returncode, nl.detach(DATA), nl.attach(DATA), mount()]
t.same(bad, [0, (0, ""), (0, ""), (0, "")], "restarted")
delta = h.Delta(nl)
t.same((get("done") == done, delta.hit_bytes, delta.miss_reads), (True, len(done), 0), "read from the tier still")

for name in list(nl.dirty()):
    os.unlink(path(name))
t.same(nl.dirty(), {}, "nothing is dirty when all is removed")
dev.close()
t.same((t.run("umount", TARGET).returncode, nl.detach(DATA)), (0, (0, "")), "unmounted, detached")
t.ok(t.unloaded(), "unloaded")
t.done()
