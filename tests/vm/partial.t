#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: who reads 4 KiB of a cold large file waits for 64 KiB of it and no more, the
# rest follows or is left out; a chunk that is there in part stays so over a restart
# and a power cut, answers for the blocks it has, and is asked only for those it has
# not, which take their place in its extent; a daemon that dies in the middle of a
# chunk leaves what it brought; what killed readers waited for is cancelled;
# contiguous chunks come in one GET of up to 16 MiB, and each survives its breaking
# off; and no byte is ever wrong, or fetched twice.
#
# The store is fault_store.py in a process of its own, which can be told to hold
# replies back. Both boots make the same files with the same ETags.
#
# vm: disk=data:256M boots=2 timeout=300 mem=1500M

import os
import random
import re
import signal
import threading
import time

import fault_store
import hostile_daemon as h
import vmtest as t

LOWER, STORE, TARGET, GETS = "/data/lower", "/data/store", "/data/target", "/run/test/gets.log"
MIB, BLOCK = 1 << 20, 64 << 10
PORT = 10080
VOLUME = f"azure://127.0.0.1:{PORT}/account/container"
MAX_REST = "/sys/module/blobcache/parameters/max_rest"
SIZES = {"big": 40 * MIB + 70000, "stream": 40 * MIB, "cut": 24 * MIB}
TIER, HELD = t.disk("data"), "/dev/mapper/held"

rules = {}


class Blob(fault_store.Blob):
    """The version does not depend on when the file was written."""

    def __init__(self, path):
        super().__init__(path)
        self.etag = f'"v1-{self.size}"'


class Handler(fault_store.Handler):
    """A GET of at least rules["hold"] bytes waits, after rules["part"] of its body, until there are other rules."""

    def fault_of(self, name):
        return None

    def send(self, reply):
        held = dict(rules)
        if self.command != "GET" or reply.status != 206 or len(reply.body) < held.get("hold", 1 << 40):
            super().send(reply)
            return
        body, part = reply.body, held.get("part", 0)
        reply.body = body[:part]
        super().send(reply)
        self.wfile.flush()
        while rules == held:
            time.sleep(0.02)
        if held.get("break"):
            self.close_connection = True
        else:
            self.wfile.write(body[part:])

    def make_reply(self, blob):
        if self.command == "GET":
            with open(GETS, "a", encoding="utf-8") as f:
                first, last = self.headers["Range"].partition("=")[2].split("-")
                f.write(f"{os.path.basename(blob.path)} {first} {int(last) + 1}\n")
        return super().make_reply(blob)


_noise = random.Random(7).randbytes(MIB)


def content(name):
    """No two pages are alike: each has its number, and its file's name."""
    data = bytearray(_noise * (SIZES[name] // MIB + 1))[:SIZES[name]]
    for at in range(0, len(data) - 4096, 4096):
        data[at:at + 16] = b"%-6.6s%10d" % (name.encode(), at >> 12)
    return bytes(data)


truth = {name: content(name) for name in SIZES}


def make_files():
    for where in (LOWER, STORE):
        os.makedirs(where, exist_ok=True)
    for name, data in truth.items():
        with open(f"{STORE}/{name}", "wb") as f:
            f.write(data)
        os.utime(f"{STORE}/{name}", (1.7e9, 1.7e9))
        # The lower is never read: its file has the size, and no bytes.
        with open(f"{LOWER}/{name}", "wb") as f:
            f.truncate(len(data))
        os.utime(f"{LOWER}/{name}", (1.7e9, 1.7e9))


def gets(name, since=0):
    """Ranges of the GETs of a file, in their order; as the store clips them."""
    try:
        with open(GETS, encoding="utf-8") as f:
            lines = [line.split() for line in f]
    except FileNotFoundError:
        return []
    return [(int(a), min(int(b), SIZES[n])) for n, a, b in lines[since:] if n == name]


def mark():
    try:
        with open(GETS, encoding="utf-8") as f:
            return len(f.readlines())
    except FileNotFoundError:
        return 0


def twice(ranges):
    total = end = 0
    for first, last in sorted(ranges):
        total += max(0, min(end, last) - first)
        end = max(end, last)
    return total


def stat(name):
    return nl.stats()[name]


def idle():
    """Nothing is asked for; what came may still be on its way to the tier."""
    return not nl.requests(h.FETCH)


def settled():
    """All that came is on the tier, and in the index."""
    return t.wait_for(lambda: not nl.status()[h.ST_REQUESTS], 60, "no request pending")


def resident(name):
    found = t.cachectl("residency", f"{TARGET}/{name}")
    return found["files"][0]["resident_bytes"]


def pread(name, offset, length=4096):
    """
    By an open file of its own, without read-ahead. Return: whether it is right, and what was
    asked for by then of the chunks that were read.
    """
    before = mark()
    fd = os.open(f"{TARGET}/{name}", os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        data = os.pread(fd, length, offset)
        end = (offset + length + MIB - 1) // MIB * MIB
        return data == truth[name][offset:offset + length], [x for x in gets(name, before) if offset // MIB * MIB <= x[0] < end]
    finally:
        os.close(fd)


def prefetch(fd, offset, length):
    nl.do(h.PREFETCH, h.u32(h.A_FD, fd), h.u64(h.A_OFFSET, offset), h.u64(h.A_LENGTH, length))


def block(name, chunk, number, text):
    """One block of a chunk is read, and nothing else."""
    at = chunk * MIB + number * BLOCK
    right, asked = pread(name, at + 4096 * 3)
    t.ok(right and asked == [(at, min(at + BLOCK, SIZES[name]))], text, right, asked)


def set_rest(value):
    with open(MAX_REST, "w", encoding="ascii") as f:
        f.write(str(value))


def start_daemon():
    return daemon.start(lambda pid: (t.cachectl("status").get("daemon") or {}).get("pid") == pid)


def mounted():
    status, output = t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="90s")
    return t.same(status, 0, "mounted", output)


def whole(name, text):
    """All of a file is right, and each byte that was missing is fetched once."""
    t.drop_caches(1)
    settled()
    before, there = mark(), resident(name)
    with open(f"{TARGET}/{name}", "rb") as f:
        right = f.read() == truth[name]
    t.wait_for(idle, 20)
    asked = gets(name, before)
    t.ok(right and not twice(asked) and sum(b - a for a, b in asked) == SIZES[name] - there,
         text, right, there, asked)


make_files()
fault_store.Blob = Blob
store = fault_store.StoreProcess(Handler, rules, STORE, "/run/test/store.log", PORT)
t.load_module(t.PATIENT, "lease_ms=30000")
nl = h.Netlink()
daemon = t.Daemon({"volumes": [{"source": VOLUME, "scheme": "http", "auth": {"type": "anonymous"}}],
                   "fetch": {"stall_timeout_ms": 60000}})
CUT_PARTS = {3: (0,), 4: (7,), 5: (15,), 6: (2, 3)}      # chunk -> blocks of "cut"

if os.environ["VM_BOOT"] == "2":
    t.run_ok("attached after a power cut", "cachectl", "device", "attach", TIER)
    if not (t.ok(start_daemon(), "a daemon is there", daemon.tail()) and mounted()):
        t.done()
    set_rest(0)
    # The version is asked for anew, and by a whole chunk.
    pread("cut", 20 * MIB, MIB)
    settled()
    t.same(resident("cut"), 2 * MIB + BLOCK * sum(map(len, CUT_PARTS.values())), "what was there in part is still there")
    before = mark()
    for chunk, numbers in CUT_PARTS.items():
        for number in numbers:
            right, asked = pread("cut", chunk * MIB + number * BLOCK + 100, 60000)
            t.ok(right and not asked, f"block {number} of chunk {chunk}: right, and from the tier", right, asked)
    whole("cut", "all else of it is fetched, and nothing twice")
    t.same(nl.stats()["crc_errors"], 0, "no checksum was wrong")
    t.done()

t.run_ok("formatted", "cachectl", "device", "format", "--yes", TIER)
with open(f"/sys/class/block/{os.path.basename(os.path.realpath(TIER))}/size", encoding="ascii") as size:
    t.run_ok("a device that can be held", "dmsetup", "create", "held", "--table", f"0 {int(size.read())} linear {TIER} 0")
t.run("dmsetup", "mknodes")
t.run_ok("attached", "cachectl", "device", "attach", HELD)
if not (t.ok(start_daemon(), "a daemon is there", daemon.tail()) and mounted()):
    t.done()

# --- the needed block first

pread("big", 39 * MIB + 5)          # binds it
t.wait_for(idle, 20)
store.set(dict(hold=BLOCK + 1))
at = 5 * MIB + 6 * BLOCK
right, asked = pread("big", at + 5000)
t.ok(right and asked[0] == (at, at + BLOCK), "a read of 4 KiB waits for 64 KiB of the store", right, asked)
t.ok(t.wait_for(lambda: (at + BLOCK, 6 * MIB) in gets("big"), 20), "the rest of the chunk is asked for after that", gets("big"))
r = [r for r in nl.requests(h.FETCH) if r[h.R_OFFSET] >= 5 * MIB]
t.ok(r and all(x[h.R_PRIORITY] for x in r), "... with a lower priority", r)
store.set({})
t.ok(t.wait_for(idle, 20), "... and comes")
mine = [x for x in gets("big") if 5 * MIB <= x[0] < 6 * MIB]
t.ok(len(mine) == 3 and not twice(mine) and sum(b - a for a, b in mine) == MIB, "each byte of the chunk once, in three GETs", mine)
right, asked = pread("big", 5 * MIB, MIB)
t.ok(right and not asked, "the chunk is right, and on the tier", right, asked)

# --- the rest left out

set_rest(0)
settled()
used, fills, there = nl.tier()["used_bytes"], stat("partial_fills"), resident("big")
for chunk, number in ((10, 0), (11, 7), (12, 15), (13, 3)):
    block("big", chunk, number, f"block {number} of chunk {chunk} alone is fetched")
t.ok(settled(), "nothing else is asked for")
t.same(stat("partial_fills") - fills, 4, "the fills were of a part of their chunk")
t.same(resident("big") - there, 4 * BLOCK, "these blocks are on the tier")
t.same(nl.tier()["used_bytes"] - used, 4 * MIB, "... with room for the rest of their chunks")
t.drop_caches(1)
right, asked = pread("big", 11 * MIB + 7 * BLOCK, BLOCK)
t.ok(right and not asked, "a block that is there is a hit", right, asked)
before = mark()
right, asked = pread("big", 11 * MIB + 12 * BLOCK + 8192)
t.ok(right and asked[0] == (11 * MIB + 12 * BLOCK, 11 * MIB + 13 * BLOCK), "another of the chunk comes first", right, asked)
t.ok(t.wait_for(idle, 20), "... and all that is missing after it: the chunk is in use")
asked = gets("big", before)
t.ok(not twice(asked) and sum(b - a for a, b in asked) == 15 * BLOCK, "... nothing of it twice", asked)
t.same(nl.tier()["used_bytes"] - used, 4 * MIB, "... in the same extent")
before = mark()
right, _ = pread("big", 13 * MIB, MIB)
t.wait_for(idle, 20)
asked = gets("big", before)
t.ok(right and not twice(asked) and sum(b - a for a, b in asked) == 15 * BLOCK,
     "a read over what is there and what is not: right, and fetches what is not", right, asked)

before = mark()
t.run_ok("the device holds what is written", "dmsetup", "suspend", "--noflush", "--nolockfs", "held")
right, _ = pread("big", 14 * MIB + 3 * BLOCK)
t.ok(right and t.wait_for(idle, 20), "a block came, and is being written")
fd = os.open(f"{TARGET}/big", os.O_RDONLY)
prefetch(fd, 14 * MIB, MIB)
os.close(fd)
go, inp = os.pipe()
child = os.fork()
if not child:
    pread("big", 15 * MIB + 3 * BLOCK)
    os.read(go, 1)
    pread("big", 15 * MIB + 9 * BLOCK)
    os._exit(0)
# Only when the first is done: else it would join that, and not wait for what comes after it.
t.wait_for(lambda: (15 * MIB + 3 * BLOCK, 15 * MIB + 4 * BLOCK) in gets("big", before) and idle(), 20)
os.write(inp, b"x")
for end in (go, inp):
    os.close(end)
t.ok(t.wait_for(lambda: (15 * MIB + 3 * BLOCK, 15 * MIB + 4 * BLOCK) in gets("big", before) and idle()
                and re.search("folio_wait|wait_on_page|filemap_", t.kernel_stack(child)), 20),
     "another reader waits for what comes after that", t.kernel_stack(child))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
os.makedirs("/data/impatient", exist_ok=True)
status, output = t.mount(LOWER, "/data/impatient", ro=True, volume=VOLUME, ttl="1h", deadline=f"{int(5 * t.SLOW)}s")
t.same(status, 0, "a mount with a short deadline", output)
fd = os.open("/data/impatient/big", os.O_RDONLY)
t.same(os.pread(fd, 4096, 16 * MIB), truth["big"][16 * MIB:16 * MIB + 4096], "it reads, too")
t.wait_for(idle, 20)
try:
    os.pread(fd, 4096, 16 * MIB + 8 * BLOCK)
    error = None
except OSError as e:
    error = e.errno
t.same(h.name(error), "EIO", "who waits for what comes after that waits no longer than the deadline, while the device hangs")
os.close(fd)
t.run_ok("it is written", "dmsetup", "resume", "held")
t.ok(t.wait_for(lambda: idle() and sum(b - a for a, b in gets("big", before)) >= MIB, 20),
     "who asked for the chunk meanwhile gets all of it", gets("big", before))
right, asked = pread("big", 14 * MIB, MIB)
t.ok(right and not twice(gets("big", before)), "... nothing of it twice", right, asked)
t.run_ok("the impatient mount goes", "umount", "/data/impatient")
t.ok(not [x for x in gets("big", before) if x[0] == 15 * MIB + 9 * BLOCK], "what one waited for who was killed is not fetched", gets("big", before))

# --- a restart

block("big", 20, 0, "the first block of a chunk")
block("big", 21, 4, "one in the middle")
block("big", 22, 15, "the last one")
settled()
there = resident("big")
t.run_ok("unmounted", "umount", TARGET)
t.run_ok("detached", "cachectl", "device", "detach", HELD)
t.run_ok("a device like any other again", "dmsetup", "remove", "held")
daemon.stop()
nl.close()
t.ok(t.unloaded(), "module unloaded")
t.load_module(t.PATIENT, "lease_ms=30000")
nl = h.Netlink()
t.run_ok("attached again", "cachectl", "device", "attach", TIER)
if not (t.ok(start_daemon(), "a daemon is there again", daemon.tail()) and mounted()):
    t.done()
set_rest(0)
t.same(resident("big"), there, "the same blocks are there")
tier = nl.tier()
t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], "used and free are all")
for chunk, number in ((10, 0), (12, 15), (20, 0), (22, 15)):
    right, asked = pread("big", chunk * MIB + number * BLOCK + 4096, 8192)
    t.ok(right and not asked, f"block {number} of chunk {chunk} is a hit", right, asked)
chunks = nl.tier()["chunks"]
for chunk, number in ((10, 5), (12, 1), (20, 15), (21, 9), (22, 0)):
    before = mark()
    right, asked = pread("big", chunk * MIB + number * BLOCK)
    t.wait_for(idle, 20)
    asked = gets("big", before)
    t.ok(right and not twice(asked) and sum(b - a for a, b in asked) == 15 * BLOCK,
         f"chunk {chunk}: only what was missing is fetched", right, asked)
t.same(nl.tier()["chunks"], chunks, "... into the same extents")
t.drop_caches(1)
for chunk in (10, 12, 20, 21, 22):
    t.drop_caches(1)
    right, asked = pread("big", chunk * MIB, MIB)
    t.ok(right and not asked, f"chunk {chunk} is whole and right", right, asked)

# --- the daemon dies in the middle of a chunk

store.set(dict(hold=MIB, part=9 * BLOCK + 100))
fetched = stat("fetch_bytes")
results = []
reader = threading.Thread(target=lambda: results.append(pread("big", 30 * MIB, MIB)[0]))
before = mark()
reader.start()
t.ok(t.wait_for(lambda: stat("fetch_bytes") - fetched >= 9 * BLOCK, 20), "a part of a chunk came")
os.kill(daemon.pid, signal.SIGKILL)
daemon.process.wait()
t.ok(start_daemon(), "the daemon was killed, another is there", daemon.tail())
reader.join(100)
store.set({})
asked = gets("big", before)
t.ok(results == [True] and asked[-1][0] >= 30 * MIB + 9 * BLOCK and asked[-1][1] == 31 * MIB,
     "it fetches what is missing only, and the read is right", results, asked)

# --- killed readers

t.wait_for(idle, 20)
store.set(dict(hold=1))
cancelled = stat("fetch_cancelled")
child = os.fork()
if not child:
    pread("big", 33 * MIB + 100000)
    os._exit(0)
t.ok(t.wait_for(lambda: any(r[h.R_STATE] == h.CLAIMED for r in nl.requests(h.FETCH)), 20), "a reader waits")
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
t.ok(t.wait_for(idle, 3), "it is killed, and what it waited for is cancelled", nl.requests(h.FETCH))
t.ok(stat("fetch_cancelled") > cancelled, "... and counted")
store.set({})
right, asked = pread("big", 33 * MIB + 100000)
t.ok(right and asked, "the next reader asks again", right, asked)

# --- one GET for many chunks

pread("stream", 39 * MIB + 5)       # binds it
t.wait_for(idle, 20)
before, coalesced = mark(), stat("fetch_coalesced")
fd = os.open(f"{TARGET}/stream", os.O_RDONLY)
# It finds them all at once.
daemon.kill(signal.SIGSTOP)
prefetch(fd, 0, 39 * MIB)
daemon.kill(signal.SIGCONT)
t.ok(t.wait_for(lambda: idle() and resident("stream") == SIZES["stream"], 60), "39 contiguous chunks are prefetched", resident("stream"))
asked = gets("stream", before)
most, longest = 4, max(b - a for a, b in asked)
t.ok(len(asked) <= most and 2 * MIB < longest <= 16 * MIB and not twice(asked),
     "... by GETs of up to 16 MiB, each byte once", asked)
t.ok(stat("fetch_coalesced") - coalesced >= 39 - most, "... and counted", stat("fetch_coalesced") - coalesced)
right, asked = pread("stream", 0, SIZES["stream"])
os.close(fd)
t.ok(right and not asked, "... and right", right, asked)

pread("cut", 23 * MIB)
t.wait_for(idle, 20)
store.set({"hold": 2 * MIB, "part": 3 * MIB + 12345, "break": True})
fd = os.open(f"{TARGET}/cut", os.O_RDONLY)
fetched = stat("fetch_bytes")
prefetch(fd, 8 * MIB, 8 * MIB)
t.ok(t.wait_for(lambda: stat("fetch_bytes") - fetched >= 3 * MIB, 20), "some of several chunks came")
store.set({})
t.ok(t.wait_for(lambda: idle() and resident("cut") == 9 * MIB, 40), "the connection breaks: all chunks come in the end",
     resident("cut"), daemon.tail())
right, asked = pread("cut", 8 * MIB, 8 * MIB)
os.close(fd)
t.ok(right and not [a for a, b in asked if a < 16 * MIB], "... and are right", right, asked)

# --- accounting, and the power cut

settled()
t.run_ok("evicted", "cachectl", "evict", f"{TARGET}/cut", f"{TARGET}/stream")
t.same(resident("cut"), 0, "nothing of it is left")
t.drop_caches(1)
pread("cut", MIB, MIB)
set_rest(0)
for chunk, numbers in CUT_PARTS.items():
    at = chunk * MIB + numbers[-1] * BLOCK
    right, asked = pread("cut", at - 2000 * (len(numbers) - 1), 4000)
    t.ok(right and asked == [(chunk * MIB + numbers[0] * BLOCK, at + BLOCK)], f"blocks {numbers} of chunk {chunk}", right, asked)
t.ok(settled(), "that is all")
t.same(resident("cut"), MIB + BLOCK * sum(map(len, CUT_PARTS.values())), "they are on the tier")
s = nl.stats()
t.same([s[n] for n in ("crc_errors", "read_errors", "stale_reads", "lower_bytes")], [0] * 4,
       "no read failed, none went to the lower")
t.run("cp", "/run/test/blobcached.log", GETS, "/out")
time.sleep(5 * t.SLOW)       # the clean table is written a second after it changed
print(f"1..{t._count}", flush=True)
os.write(7, b"@power-cut\n")
time.sleep(60)
