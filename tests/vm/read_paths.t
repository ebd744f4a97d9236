#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: every way to read gives the same bytes, of the version that is open, and none
# that nobody wrote: O_DIRECT at any position and length, aligned or not, by aio, by
# readv, cold and warm, at the end, unverified and damaged, while the reader is killed;
# splice, sendfile, copy_file_range, mmap with large folios and without. Direct reads leave
# nothing in the page cache. Holes there are none. A sequential reader, by read, by direct
# reads and by page faults, meets what read-ahead has fetched; a random one, and one who
# said so, has nothing fetched for him; fadvise, readahead and madvise do what they are for.
# With a writer all of it reads the lower. A page fault whose tier fails is answered by
# the store, and if that fails by the lower if it may; SIGBUS is for when nobody has it.
#
# Store and lower have other bytes, so that it shows where a byte came from.
#
# vm: disk=data:256M disk=dying:64M timeout=500 mem=1500M

import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import struct
import time

import hostile_daemon as h
import tierdisk as td
import vmtest as t

LOWER, STORE, TARGET, OWN, OTHER = "/data/lower", "/data/store", "/data/target", "/data/own", "/data/other"
FULL = "/data/full"
WRITABLE, DYING, FAILING = "/data/writable", "/data/dying", "/data/failing"
MIB, KIB, PAGE, SECTOR = 1 << 20, 1 << 10, 4096, 512
VOLUME = "file://" + STORE
PARAMETERS = "/sys/module/blobcache/parameters/"
MADV_POPULATE_READ = 22
SYS_IO_SETUP, SYS_IO_DESTROY, SYS_IO_GETEVENTS, SYS_IO_SUBMIT, SYS_STATX, SYS_READAHEAD = 206, 207, 208, 209, 332, 187
_noise = random.Random(7).randbytes(48 * MIB + (1 << 17))
files = {}
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.syscall.restype = ctypes.c_long


def make(name, size):
    place = len(files) * 1000
    files[name] = _noise[place:place + size]
    for where, data in ((STORE, files[name]), (LOWER, of_lower(name))):
        with open(f"{where}/{name}", "wb") as f:
            f.write(data)
        os.utime(f"{where}/{name}", (1.7e9, 1.7e9))


def of_lower(name):
    return files[name][500:] + files[name][:500]


def settled():
    """Fills are stored and in the index."""
    t.wait_for(lambda: not nl.status()[h.ST_REQUESTS], 60, "no request pending")


def evict():
    """All of it is cold."""
    settled()
    t.drop_caches(3)
    nl.do(h.EVICT, h.text(h.A_DEVICE, DATA))


def resident(fd):
    return h.number(h.attrs(nl.do(h.RESIDENCY, h.u32(h.A_FD, fd))[h.A_RESIDENCY])[h.RESIDENT])


class Map:
    """A file mapped, with mincore(2) and madvise(2); not an empty one."""

    def __init__(self, fd, size):
        self.size = size
        self.at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if self.at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")

    def cached(self):
        """Pages in the page cache."""
        pages = (self.size + PAGE - 1) // PAGE
        vector = ctypes.create_string_buffer(pages)
        if libc.mincore(ctypes.c_void_p(self.at), ctypes.c_size_t(self.size), vector):
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(b & 1 for b in vector.raw)

    def advise(self, advice):
        return libc.madvise(ctypes.c_void_p(self.at), ctypes.c_size_t(self.size), advice)

    def get(self, offset, length):
        return ctypes.string_at(self.at + offset, length)

    def close(self):
        libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(self.size))


def cached(name):
    if not files[name]:
        return 0
    fd = os.open(f"{TARGET}/{name}", os.O_RDONLY)
    m = Map(fd, len(files[name]))
    os.close(fd)
    pages = m.cached()
    m.close()
    return pages


def available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable:"))


def all_resident():
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    settled()
    return resident(fd) == len(files["big"])


class Buffer:
    """Memory that begins @shift bytes behind a page's begin."""

    def __init__(self, size, shift=0):
        self.map = mmap.mmap(-1, size + shift + PAGE)
        self.view = memoryview(self.map)[shift:shift + size]

    def read(self, fd, pos):
        """Bytes, or an errno."""
        try:
            return bytes(self.view[:os.preadv(fd, [self.view], pos)])
        except OSError as e:
            return e.errno


def direct(path):
    return os.open(path, os.O_RDONLY | os.O_DIRECT)


def check_direct(text, name, cases, fd=None):
    """(position, length, shift of the memory)"""
    wrong = []
    own = fd if fd is not None else direct(f"{TARGET}/{name}")
    for pos, length, shift in cases:
        want = files[name][pos:pos + length]
        got = Buffer(length, shift).read(own, pos)
        if got != want:
            wrong.append(f"{length} at {pos} to {shift}: {got if isinstance(got, int) else len(got)} instead of "
                         f"{want if isinstance(want, int) else len(want)}")
    if fd is None:
        os.close(own)
    return t.ok(not wrong, text, *wrong[:10])


def whole_direct(path, step=MIB, shift=0):
    """A file by read(2) to its end."""
    fd = direct(path)
    buffer = Buffer(step, shift)
    data = b""
    try:
        while n := os.readv(fd, [buffer.view]):
            data += bytes(buffer.view[:n])
    except OSError as e:
        data = e.errno
    os.close(fd)
    return data


def aio(fd, wants):
    """Reads (position, length) at once, by io_submit(2). Results in their order."""
    context = ctypes.c_ulong(0)
    if libc.syscall(SYS_IO_SETUP, len(wants), ctypes.byref(context)):
        raise OSError(ctypes.get_errno(), "io_setup")
    buffers = [Buffer(length) for _, length in wants]
    blocks, keep = (ctypes.c_void_p * len(wants))(), []
    for i, (pos, length) in enumerate(wants):
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffers[i].view))
        block = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", i, 0, 0, 0, 0, fd, address, length, pos, 0, 0, 0))
        keep.append(block)
        blocks[i] = ctypes.addressof(block)
    done = libc.syscall(SYS_IO_SUBMIT, context, ctypes.c_long(len(wants)), blocks)
    events = ctypes.create_string_buffer(32 * len(wants))
    got = libc.syscall(SYS_IO_GETEVENTS, context, ctypes.c_long(done), ctypes.c_long(len(wants)), events, None)
    results = [None] * len(wants)
    for i in range(max(got, 0)):
        data, _, res, _ = struct.unpack_from("<QQqq", events.raw, 32 * i)
        results[data] = bytes(buffers[data].view[:res]) if res >= 0 else -res
    libc.syscall(SYS_IO_DESTROY, context)
    return results


def statx_dio(path):
    """(memory, position) alignment, or None."""
    out = ctypes.create_string_buffer(256)
    if libc.syscall(SYS_STATX, -100, path.encode(), 0, 0x2000, out):
        raise OSError(ctypes.get_errno(), "statx")
    if not struct.unpack_from("<I", out.raw, 0)[0] & 0x2000:
        return None
    return struct.unpack_from("<II", out.raw, 0x98)


def caught(call, *argv):
    try:
        return call(*argv)
    except OSError as e:
        return errno.errorcode[e.errno]


def unmount(where=TARGET):
    return t.run_ok("unmounted", "umount", where)


def users():
    """What holds the module: mounts, tiers, the daemon, and workers."""
    with open("/sys/module/blobcache/refcnt", encoding="ascii") as f:
        return int(f.read())


def set_parameter(name, value):
    with open(PARAMETERS + name, "w", encoding="ascii") as f:
        f.write(str(value))


for d in (LOWER, STORE, OWN, OTHER):
    os.makedirs(d)
make("big", 48 * MIB)
make("tail", 3 * MIB + 70 * KIB + 123)
make("page", 2 * MIB + PAGE)
make("small", 5000)
make("tiny", 100)
make("empty", 0)

t.load_module(t.PATIENT)
nl = h.Netlink()
DATA, SICK = t.disk("data"), t.disk("dying")
for disk in (DATA, SICK):
    t.run_ok("formatted", "cachectl", "device", "format", "--yes", disk)
t.same(nl.attach(DATA)[0], 0, "the tier attaches")
daemon = t.Daemon({"allow_file": True, "volumes": [{"source": VOLUME}, {"source": "file://" + OWN}]})
if not t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "the daemon comes", daemon.tail()):
    t.done()
status, output = t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="30s")
if not t.ok(status == 0, "mounted", output):
    t.done()

# --- O_DIRECT

t.same(statx_dio(f"{TARGET}/tail"), (SECTOR, PAGE), "statx tells the alignment of direct reads")
for name in files:
    delta = h.Delta(nl)
    good = whole_direct(f"{TARGET}/{name}") == files[name]
    size = len(files[name])
    t.ok(good, f"{name}: cold, direct: right")
    settled()
    t.same((delta.fetch_bytes, delta.lower_bytes), (size, 0), f"{name}: ... each byte was fetched once")
    delta = h.Delta(nl)
    shift = SECTOR if name != "big" else 0
    good = whole_direct(f"{TARGET}/{name}", 300 * KIB, shift) == files[name]
    t.ok(good and not delta.miss_reads, f"{name}: warm, direct: right, from the tier", good, delta.miss_reads)
    t.ok(cached(name) <= 1, f"{name}: ... and the page cache has no more than its last page", cached(name))

rng = random.Random(11)
size = len(files["tail"])
edges = [0, SECTOR, PAGE - SECTOR, PAGE, 64 * KIB, MIB - PAGE, MIB - SECTOR, MIB, MIB + PAGE, 3 * MIB, size // PAGE * PAGE,
         size // SECTOR * SECTOR, size // PAGE * PAGE - PAGE, size // PAGE * PAGE + PAGE, size // PAGE * PAGE + 64 * KIB]
lengths = [SECTOR, PAGE, PAGE + SECTOR, 64 * KIB, 65 * KIB, MIB, MIB + PAGE, 4 * MIB]
cases = [(pos, length, 0) for pos in edges for length in lengths]
cases += [(rng.randrange(size // SECTOR) * SECTOR, rng.randrange(1, 3000) * SECTOR, rng.choice((0, 0, SECTOR, 7 * SECTOR)))
          for _ in range(100)]
cases += [(rng.randrange(size // PAGE) * PAGE, rng.randrange(1, 600) * PAGE, rng.choice((0, 0, SECTOR, 3 * SECTOR)))
          for _ in range(100)]
check_direct("direct, at edges and anywhere: the same bytes, short at the end, none behind it", "tail", cases)
cases = [(1, PAGE, 0), (PAGE + 100, PAGE, 0), (0, 100, 0), (0, PAGE + 1, 0), (0, PAGE, 1), (0, PAGE, 100),
         (size // SECTOR * SECTOR + 1, PAGE, 0), (size, PAGE, 0), (size + 1, 7, 3), (size + MIB, PAGE, 0)]
check_direct("direct, not aligned; at the end and behind it: nothing", "tail", cases)
fd = direct(f"{TARGET}/tail")
parts = [Buffer(n) for n in (PAGE, 2 * PAGE, MIB, 3 * PAGE, 2 * MIB)]
got = os.preadv(fd, [p.view for p in parts], MIB - PAGE)
data = b"".join(bytes(p.view) for p in parts)[:got]
t.ok(data == files["tail"][MIB - PAGE:] and got == len(data), "direct, to several pieces of whole pages", got)
parts = [Buffer(n) for n in (SECTOR, PAGE, SECTOR * 3, PAGE, 2 * PAGE)]
got = os.preadv(fd, [p.view for p in parts], 2 * MIB)
data = b"".join(bytes(p.view) for p in parts)
t.ok(data == files["tail"][2 * MIB:2 * MIB + len(data)] and got == len(data), "direct, to several pieces of sectors", got)
wants = [(0, PAGE), (MIB - PAGE, 2 * PAGE), (2 * MIB, MIB), (0, 4 * MIB), (size // PAGE * PAGE, PAGE), (4 * MIB, PAGE)]
results = aio(fd, wants)
t.ok(all(got == files["tail"][pos:pos + n] for got, (pos, n) in zip(results, wants)), "direct, by aio, warm",
     *[f"{w}: {len(r) if isinstance(r, bytes) else r}" for w, r in zip(wants, results)])
evict()
results = aio(fd, wants)
t.ok(all(got == files["tail"][pos:pos + n] for got, (pos, n) in zip(results, wants)), "direct, by aio, cold",
     *[f"{w}: {len(r) if isinstance(r, bytes) else r}" for w, r in zip(wants, results)])

# What the page cache has, and the tier not, is not fetched again.
os.close(fd)
with open(f"{TARGET}/page", "rb") as f:
    f.read()
settled()
nl.do(h.EVICT, h.text(h.A_DEVICE, DATA))
delta = h.Delta(nl)
check_direct("direct, of what only the page cache has", "page", [(0, 2 * MIB, 0), (MIB, PAGE, 0)])
t.same(delta.fetch_bytes, 0, "... fetches nothing")

# A reader who is killed while he waits leaves his memory to whoever fills it.
evict()
daemon.kill(signal.SIGSTOP)
pids = []
for n in range(4):
    pid = os.fork()
    if not pid:
        Buffer(8 * MIB, SECTOR * n).read(direct(f"{TARGET}/big"), 8 * MIB * n)
        os._exit(0)
    pids.append(pid)
t.wait_for(lambda: len(nl.requests()) >= 4, 30, "they wait")
start = time.monotonic()
for pid in pids:
    os.kill(pid, signal.SIGKILL)
ended = t.wait_for(lambda: all(t.gone(p) for p in pids), 10, "the killed readers are gone")
t.ok(ended, f"killed, direct readers are gone, after {time.monotonic() - start:.1f} s")
for pid in pids if ended else ():
    os.waitpid(pid, 0)
daemon.kill(signal.SIGCONT)
settled()
t.ok(whole_direct(f"{TARGET}/big", 8 * MIB) == files["big"], "... and what they had asked for is right")

# --- not verified yet, and damaged

settled()
unmount()
nl.detach(DATA)
t.ok(t.wait_for(lambda: users() == 1, 15), "nothing is left of them but the daemon", users())
disk = td.Disk(DATA)
places = [(frame, slot, desc) for frame, slot, _, desc in disk.descs() if desc.length == td.BLOCK]
for frame, slot, desc in places[10], places[100], places[400]:
    disk.flip(disk.block_offset(frame, slot) + 777, 3)
disk.close()
nl.attach(DATA)
t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="30s")
delta = h.Delta(nl)
check_direct("direct, first use: right", "big", [(PAGE, PAGE, 0), (64 * KIB, 64 * KIB, 0), (MIB - PAGE, 2 * PAGE, SECTOR)])
t.ok(delta.blocks_verified >= 3, "... and verified", delta.blocks_verified)
good = all(whole_direct(f"{TARGET}/{name}") == files[name] for name in files)
t.ok(good, "direct, three blocks damaged on the device: right")
t.same(delta.crc_errors, 3, "... and noticed")

# --- large folios

for large in 0, 1:
    unmount()
    set_parameter("large_folios", large)
    t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="30s")
    for how in "cold", "warm":
        if how == "cold":
            evict()
        t.drop_caches(3)
        wrong = []
        fd = os.open(f"{TARGET}/tail", os.O_RDONLY)
        for _ in range(40):
            pos, n = rng.randrange(size), rng.randrange(1, 200000)
            if os.pread(fd, n, pos) != files["tail"][pos:pos + n]:
                wrong.append((pos, n))
        m = Map(fd, size)
        if m.get(0, size) != files["tail"]:
            wrong.append("mmap")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        m.close()
        if os.pread(fd, size + 1, 0) != files["tail"]:
            wrong.append("read")
        os.close(fd)
        t.ok(not wrong, f"large_folios={large}, {how}: right at any position", *wrong)
set_parameter("large_folios", 1)

# --- read-ahead

MAX = 16
set_parameter("readahead_max_mib", MAX)


def by_read(fd, pos, length):
    for at in range(pos, pos + length, 256 * KIB):
        if os.pread(fd, 256 * KIB, at) != files["big"][at:at + 256 * KIB]:
            return False
    return True


def by_direct(fd, pos, length):
    buffer = Buffer(256 * KIB)
    return all(buffer.read(fd, at) == files["big"][at:at + 256 * KIB] for at in range(pos, pos + length, 256 * KIB))


def by_fault(fd, pos, length):
    m = Map(fd, len(files["big"]))
    good = all(m.get(at, 8) == files["big"][at:at + 8] for at in range(pos, pos + length, PAGE))
    m.close()
    return good


def ahead_of(how, length, advice=None):
    """MiB on the tier after a sequential read of the first @length bytes; counters' moves."""
    evict()
    fd = direct(f"{TARGET}/big") if how is by_direct else os.open(f"{TARGET}/big", os.O_RDONLY)
    if advice is not None:
        os.posix_fadvise(fd, 0, 0, advice)
    moved = h.Delta(nl)
    good = how(fd, 0, length)
    settled()
    there = resident(fd) // MIB
    os.close(fd)
    t.ok(good, f"{how.__name__}, {length // MIB} MiB, advice {advice}: right, {there} MiB on the tier")
    return there, moved


for how in by_read, by_direct, by_fault:
    there, moved = ahead_of(how, 10 * MIB)
    # The page cache's own windows count as read; how long they are, and how often they tell, is the kernel's affair.
    t.ok(11 <= there <= 10 + 8 + MAX + 1, f"{how.__name__}: fetched ahead, and not without end", there)
    t.ok(moved.prefetch_requests >= 6, f"{how.__name__}: ... before it was asked for", moved.prefetch_requests)
there, moved = ahead_of(by_direct, 20 * MIB, os.POSIX_FADV_SEQUENTIAL)
t.ok(there >= 20 + MAX - 2, "POSIX_FADV_SEQUENTIAL: twice as far ahead", there)
there, moved = ahead_of(by_read, 5 * MIB, os.POSIX_FADV_RANDOM)
t.same((there, moved.prefetch_requests), (5, 0), "POSIX_FADV_RANDOM: nothing fetched ahead")
set_parameter("readahead_max_mib", 0)
there, moved = ahead_of(by_direct, 5 * MIB)
t.same((there, moved.prefetch_requests), (5, 0), "readahead_max_mib=0: nothing fetched ahead")
set_parameter("readahead_max_mib", MAX)

for text, opened in ("read", os.O_RDONLY), ("direct", os.O_RDONLY | os.O_DIRECT):
    evict()
    fd = os.open(f"{TARGET}/big", opened)
    delta = h.Delta(nl)
    chunks = [31, 7, 40, 22, 3, 15]
    buffer = Buffer(16 * KIB)
    good = all(buffer.read(fd, c * MIB + 512 * KIB) == files["big"][c * MIB + 512 * KIB:][:16 * KIB] for c in chunks)
    settled()
    # What is left of a chunk is a hint, which may be dropped.
    there = resident(fd) // MIB
    t.ok(good and len(chunks) - 1 <= there <= len(chunks) and not delta.prefetch_requests,
         f"{text}, random: one chunk for each, none ahead", good, there, delta.prefetch_requests)
    os.close(fd)

# Two readers of one open file are two streams.
evict()
fd = os.open(f"{TARGET}/big", os.O_RDONLY)
good = all(os.pread(fd, 256 * KIB, base + at) == files["big"][base + at:][:256 * KIB]
           for at in range(0, 4 * MIB, 256 * KIB) for base in (0, 24 * MIB))
settled()
t.ok(good and resident(fd) >= 8 * MIB + 8 * MIB, "two sequential readers of one open file: fetched ahead of both", resident(fd))
os.close(fd)

# --- advice

evict()
fd = os.open(f"{TARGET}/big", os.O_RDONLY)
os.posix_fadvise(fd, 8 * MIB, 4 * MIB, os.POSIX_FADV_WILLNEED)
settled()
t.same(resident(fd), 4 * MIB, "POSIX_FADV_WILLNEED, cold: it is on the tier soon")
os.posix_fadvise(fd, 8 * MIB, 4 * MIB, os.POSIX_FADV_WILLNEED)
t.ok(t.wait_for(lambda: cached("big") == 4 * MIB // PAGE, 20), "POSIX_FADV_WILLNEED, warm: it is in the page cache", cached("big"))
os.posix_fadvise(fd, 8 * MIB, 4 * MIB, os.POSIX_FADV_DONTNEED)
t.same((cached("big"), resident(fd)), (0, 4 * MIB), "POSIX_FADV_DONTNEED: not in the page cache any more, on the tier still")
libc.syscall(SYS_READAHEAD, fd, ctypes.c_long(16 * MIB), ctypes.c_size_t(2 * MIB))
settled()
t.same(resident(fd), 6 * MIB, "readahead(2) fetches")
m = Map(fd, 3 * MIB)
m.advise(mmap.MADV_WILLNEED)
settled()
t.same(resident(fd), 9 * MIB, "MADV_WILLNEED fetches")
m.close()
t.same(caught(os.posix_fadvise, fd, 0, -1, os.POSIX_FADV_WILLNEED), "EINVAL", "a negative length is refused")
t.same(caught(os.posix_fadvise, fd, 1 << 40, 1 << 20, os.POSIX_FADV_WILLNEED), None, "what is behind the end is not wanted")
evict()
m = Map(fd, 12 * MIB)
delta = h.Delta(nl)
t.same(m.advise(MADV_POPULATE_READ), 0, "MADV_POPULATE_READ, cold")
t.ok(m.get(0, 12 * MIB) == files["big"][:12 * MIB], "... gives the bytes")
t.ok(m.cached() == 12 * MIB // PAGE and delta.prefetch_requests >= 4, "... and reads ahead", m.cached(), delta.prefetch_requests)
m.close()

# Memory that is full of files which cannot go leaves a quarter of the rest to advice.
t.ok(t.wait_for(all_resident, 120), "all of a file is fetched, by and by", resident(fd))
t.drop_caches(3)
os.makedirs(FULL)
t.run("mount", "-t", "tmpfs", "-o", "size=100%", "none", FULL)
with open(f"{FULL}/ballast", "wb") as f:
    os.posix_fallocate(f.fileno(), 0, max(available() - 100 * MIB, PAGE))
t.drop_caches(3)
quarter = available() // 4
delta = h.Delta(nl)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
# The tier has been asked by now for all that shall come.
t.ok(quarter // 2 <= delta.hit_bytes <= quarter * 3 // 2 < len(files["big"]),
     f"POSIX_FADV_WILLNEED, memory short: {quarter >> 20} MiB may go to the page cache, and no more", delta.hit_bytes >> 20)
t.ok(t.wait_for(lambda: cached("big") * PAGE >= quarter // 2, 60), "... they do", cached("big"))
t.run("umount", FULL)
os.close(fd)

# --- holes, extents, splice, copies

fd = os.open(f"{TARGET}/tail", os.O_RDONLY)
t.same([caught(os.lseek, fd, at, how) for how in (os.SEEK_DATA, os.SEEK_HOLE) for at in (0, MIB + 1, size - 1, size, size + 1)],
       [0, MIB + 1, size - 1, "ENXIO", "ENXIO"] + [size] * 3 + ["ENXIO"] * 2, "no holes: SEEK_DATA and SEEK_HOLE")
t.same(os.lseek(fd, 0, os.SEEK_END), size, "SEEK_END")
t.same(caught(fcntl.ioctl, fd, 0xc020660b, bytes(32)), errno.errorcode[errno.EOPNOTSUPP], "FIEMAP is refused")
t.ok(caught(fcntl.ioctl, fd, 1, bytes(4)) in ("EINVAL", "EPERM"), "FIBMAP is refused")


def drain(r, n):
    data = b""
    while len(data) < n:
        data += os.read(r, n - len(data))
    return data


for opened in os.O_RDONLY, os.O_RDONLY | os.O_DIRECT:
    for how in "cold", "warm":
        if how == "cold":
            evict()
        t.drop_caches(1)
        own = os.open(f"{TARGET}/tail", opened)
        r, w = os.pipe()
        spliced = sent = b""
        while n := os.splice(own, w, 65536, offset_src=len(spliced)):
            spliced += drain(r, n)
        while n := os.sendfile(w, own, len(sent), 50000):
            sent += drain(r, n)
        for at in (own, r, w):
            os.close(at)
        t.ok(spliced == files["tail"] and sent == files["tail"],
             f"{how}: splice and sendfile{' of a direct file' if opened & os.O_DIRECT else ''}: right", len(spliced), len(sent))
out = os.open(f"{OTHER}/copy", os.O_RDWR | os.O_CREAT)
got = caught(os.copy_file_range, fd, out, size)
t.ok(got in (size, "EXDEV"), f"copy_file_range to another filesystem: as from any, {got}")
t.same(caught(os.copy_file_range, out, fd, 1), "EBADF", "copy_file_range to what is open for reading is refused")
os.close(out)
os.close(fd)

# --- with a writer

with open(f"{OWN}/file", "wb") as f:
    f.write(files["page"])
os.utime(f"{OWN}/file", (1.7e9, 1.7e9))
status, output = t.mount(OWN, WRITABLE, volume="file://" + OWN, ttl="200ms", deadline="10s")
t.ok(status == 0, "mounted for writing", output)
reader, old = direct(f"{WRITABLE}/file"), os.open(f"{WRITABLE}/file", os.O_RDONLY)
buffer = Buffer(2 * MIB)
t.ok(buffer.read(reader, 0) == files["page"][:2 * MIB], "direct, before somebody writes")
writer = os.open(f"{WRITABLE}/file", os.O_RDWR)
os.pwrite(writer, b"new" * 1000, MIB - 1000)
want = files["page"][:MIB - 1000] + b"new" * 1000 + files["page"][MIB + 2000:]
t.ok(buffer.read(reader, 0) == want[:2 * MIB], "direct, of a file that is written: what was written")
t.same(Buffer(PAGE).read(reader, 2 * MIB), want[2 * MIB:], "... also at its end")
shared = mmap.mmap(writer, 2 * MIB)
shared[4096:4100] = b"map!"
t.same(Buffer(PAGE).read(reader, PAGE)[:4], b"map!", "direct, of a file that is mapped shared: what was stored")
shared.close()
os.ftruncate(writer, 3 * MIB)
os.pwrite(writer, b"end", 3 * MIB)
t.same([caught(os.lseek, reader, 0, os.SEEK_DATA), os.lseek(reader, 0, os.SEEK_END)], [0, 3 * MIB + 3],
       "SEEK_DATA and SEEK_END with a writer are the lower's")
below = os.open(f"{OWN}/file", os.O_RDONLY)
t.same(caught(os.lseek, reader, 0, os.SEEK_HOLE), caught(os.lseek, below, 0, os.SEEK_HOLE), "... and SEEK_HOLE")
os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_WILLNEED)
copy = os.open(f"{WRITABLE}/copy", os.O_RDWR | os.O_CREAT)
done = 0
while n := os.copy_file_range(old, copy, 4 * MIB):
    done += n
with open(f"{OWN}/file", "rb") as f:
    want = f.read()
t.ok(done == len(want) and os.pread(copy, 4 * MIB, 0) == want, "copy_file_range within the mount", done)
for at in (reader, old, writer, below, copy):
    os.close(at)
unmount(WRITABLE)

# --- a page fault, when one source after the other fails


def faulted(path, offset):
    """8 bytes by a page fault; "SIGBUS" or the like if it is none."""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        fd = os.open(path, os.O_RDONLY)
        m = Map(fd, os.fstat(fd).st_size)
        os.write(w, m.get(offset, 8))
        os._exit(0)
    os.close(w)
    data = b"".join(iter(lambda: os.read(r, 8), b""))
    os.close(r)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else data


settled()
unmount()
t.same(nl.detach(DATA)[0], 0, "the tier is detached")
t.ok(t.wait_for(lambda: users() == 1, 15), "... and nothing is left but the daemon", users())
t.same(nl.attach(SICK)[0], 0, "another one is attached")
for where, extra in ((TARGET, {"deadline": "30s"}), (DYING, {"lower_exact": "1", "deadline": "10s"}),
                     (FAILING, {"on_daemon_loss": "fail", "deadline": "10s"})):
    status, output = t.mount(LOWER, where, ro=True, volume=VOLUME, ttl="1h", stale="forever", **extra)
    t.ok(status == 0, "mounted", output)
for name in ("tail", "page", "small"):
    with open(f"{TARGET}/{name}", "rb") as f:
        f.read()
settled()
keep = os.open(f"{TARGET}/tail", os.O_RDONLY)
t.ok(resident(keep) == size, "it is on the tier", resident(keep))
t.drop_caches(1)
with open(f"/sys/block/{SICK.rpartition('/')[2]}/device/device/remove", "w", encoding="ascii") as f:
    f.write("1")
delta = h.Delta(nl)
t.same(faulted(f"{TARGET}/tail", MIB + 5), files["tail"][MIB + 5:MIB + 13], "the device is gone: a page fault has the store's bytes")
t.ok(delta.tier_read_errors >= 1, "... after the device failed", delta.tier_read_errors)
check_direct("... and so has a direct read", "page", [(MIB, PAGE, 0)])
settled()
daemon.kill(signal.SIGKILL)
t.wait_for(lambda: not nl.status()[h.ST_DAEMON_PID], 20, "the daemon is gone")
t.drop_caches(1)
t.same(faulted(f"{DYING}/tail", 2 * MIB + 5), of_lower("tail")[2 * MIB + 5:2 * MIB + 13],
       "device and store gone: it has the lower's, where the mount says that they are the same")
t.same(faulted(f"{FAILING}/tail", 2 * MIB + 5), "SIGBUS", "nobody may answer: SIGBUS")
os.close(keep)
t.ok(faulted(f"{FAILING}/tail", 2 * MIB + 5) == "SIGBUS", "... once more, and no hang")
for where in (TARGET, DYING, FAILING):
    unmount(where)
error, message = nl.detach(SICK)
t.ok(error == errno.EIO and "detached, but" in message and not nl.tier(), "a tier without device can be detached", error, message)
nl.close()
t.ok(t.wait_for(lambda: not users(), 15), "nothing is left", users())
t.ok(t.unloaded(), "the module can be unloaded")
t.done()
