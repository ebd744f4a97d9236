#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: one open file is one version. A blob is overwritten through REST, again and
# again, while eight readers and a mapping hold it: each open file gives bytes of one
# version only, or ESTALE (SIGBUS in the mapping). An open after ttl is of the new
# version, though the lower still shows the old size; with consistency=strict at once.
# What a tier holds of old versions is gone in the end, and the accounting adds up.
#
# vm: host=dataset disk=data:24M timeout=400 mem=1500M

import errno
import json
import mmap
import os
import random
import signal
import struct
import time
import urllib.request

import dataset
import hostile_daemon as h
import vmtest as t

LOWER, TARGET, STRICT, IMM = "/mnt/lower", "/mnt/target", "/mnt/strict", "/mnt/imm"
MIB = 1 << 20
TTL = 2
READERS = 8
VOLUME = os.environ["AZ_SOURCE"]
NAME = "shards/shard-00.bin"
STOP = "/run/test/stop"
BASE = 4 * MIB + 12345


def version(n):
    """Contents of version n: another size for each, and each page says whose it is."""
    if n == 1:
        return dataset.content(NAME)
    size = BASE + (n - 1) * 100000
    pages = b"".join(struct.pack("<QQ", n, at) * 256 for at in range(0, size, 4096))
    return pages[:size]


versions = {}


def overwrite(n):
    """Put Blob."""
    versions[n] = version(n)
    url, _, sas = os.environ["AZ_SAS_URL"].partition("?")
    request = urllib.request.Request(f"{url}/{NAME}?{sas}", data=versions[n], method="PUT", headers={
        "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60):
        pass


def piece(fd, offset, length):
    """A read may end early, where a page had to be fetched: not the file."""
    data = b""
    while len(data) < length and (part := os.pread(fd, length - len(data), offset + len(data))):
        data += part
    return data


def one_open(path, rng, slow):
    """Read a file whole, in an order of its own. Returns what was seen."""
    fd = os.open(path, os.O_RDONLY)
    got = {}
    error = None
    try:
        size = os.fstat(fd).st_size
        places = list(range(0, max(size, 1), 128 << 10))
        if rng.random() < 0.5:
            rng.shuffle(places)
        for offset in places:
            try:
                got[offset] = piece(fd, offset, min(128 << 10, size - offset))
            except OSError as e:
                error = errno.errorcode[e.errno]
                break
            if slow:
                time.sleep(slow)        # so that the blob changes in the middle
    finally:
        os.close(fd)
    return got, error


def hold(number, out):
    """A reader process: opens, reads, closes, until told to stop; tells what it saw."""
    pid = os.fork()
    if pid:
        return pid
    rng = random.Random(number)
    tally = open(f"{out}.opens", "w", encoding="ascii", buffering=1)
    seen = {"opens": 0, "stale": 0, "mixed": [], "errors": [], "by_version": {}}
    deadline = time.monotonic() + 200
    while not os.path.exists(STOP) and time.monotonic() < deadline:
        try:
            got, error = one_open(f"{TARGET}/{NAME}", rng, rng.choice((0, 0.02, 0.1)))
        except OSError as e:
            seen["errors"].append(f"open: {h.name(e.errno)}")
            continue
        seen["opens"] += 1
        tally.write("\n")
        # Versions of later on are not known to this process yet: they tell by their pages.
        found = set()
        for offset, data in got.items():
            found |= {page_version(data[at:at + 4096], offset + at) for at in range(0, len(data), 4096)}
        if len(found) > 1 or found & {None}:
            seen["mixed"].append(f"{sorted(map(str, found))}, error {error}")
        for n in found:
            seen["by_version"][n] = seen["by_version"].get(n, 0) + 1
        if error == "ESTALE":
            seen["stale"] += 1
        elif error:
            seen["errors"].append(error)
        elif len(found) == 1 and sum(map(len, got.values())) != len(version(found.copy().pop())):
            seen["mixed"].append(f"version {found} has {sum(map(len, got.values()))} bytes")
    with open(out, "w", encoding="utf-8") as f:
        json.dump(seen, f)
    os._exit(0)


def page_version(page, offset):
    """Which version a page at this offset is of; None: of no one."""
    if page == first[offset:offset + len(page)]:
        return 1
    if len(page) >= 16:
        n, at = struct.unpack_from("<QQ", page)
        if n < 1000 and at == offset and (struct.pack("<QQ", n, at) * 256)[:len(page)] == page:
            return n
    elif page in (struct.pack("<QQ", n, offset)[:len(page)] for n in range(2, 100)):
        return struct.unpack_from("<B", page)[0]
    return None


def hold_mapping(out):
    """Maps the file and compares it for ever; ends by SIGBUS when its version is gone."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    rng = random.Random(77)
    fd = os.open(f"{TARGET}/{NAME}", os.O_RDONLY)
    size = os.fstat(fd).st_size
    deadline = time.monotonic() + 200
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as m:
        loops = 0
        open(f"{out}.is", "w", encoding="ascii").close()
        while not os.path.exists(STOP) and time.monotonic() < deadline:
            offset = rng.randrange(size) & ~4095
            if page_version(m[offset:offset + 4096], offset) != 1:
                with open(out, "w", encoding="utf-8") as f:
                    f.write(f"a page at {offset} is not of the version that was mapped")
                os._exit(1)
            loops += 1
            if loops % 64 == 0:
                time.sleep(0.01)
    with open(out, "w", encoding="utf-8") as f:
        f.write(f"{loops} pages, all of the version that was mapped")
    os._exit(0)


def read_whole(path):
    with open(path, "rb", buffering=0) as f:
        data = b""
        while part := f.read(1 << 20):
            data += part
        return data


def evict(fd):
    nl.do(h.EVICT, h.u32(h.A_FD, fd))


def resident(fd):
    return h.number(h.attrs(nl.do(h.RESIDENCY, h.u32(h.A_FD, fd))[h.A_RESIDENCY])[h.RESIDENT])


def told(data):
    runs = []
    for at in range(0, len(data), 4096):
        n = page_version(data[at:at + 4096], at)
        if not runs or runs[-1][1] != n:
            runs.append((at, n))
    return f"{len(data)} bytes; versions from: {runs[:10]}"


rclone = t.Rclone(LOWER)
first = versions[1] = version(1)
t.load_module(t.PATIENT, "evict_window_ms=600000")
nl = h.Netlink()
DATA = t.disk("data")
t.run("cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there, smaller than all versions together")
daemon = t.azure_daemon()
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
if not t.ok(rclone.ready() and t.uploaded(), "a Blob mount is there"):
    t.done()
old_size = os.stat(f"{LOWER}/{NAME}").st_size
for target, options in ((TARGET, {"ttl": f"{TTL}s"}), (STRICT, {"consistency": "strict"}), (IMM, {"consistency": "immutable"})):
    status, output = t.mount(LOWER, target, ro=True, volume=VOLUME, deadline="90s", **options)
    if not t.same(status, 0, f"{target} is mounted {options}", output):
        t.done()

# --- one overwrite, looked at closely

data = read_whole(f"{TARGET}/{NAME}")
t.ok(data == first, "version 1 is read", told(data))
cached = os.open(f"{TARGET}/{NAME}", os.O_RDONLY)           # all of it is cached
partly = os.open(f"{TARGET}/{NAME}", os.O_RDONLY)
mapped = mmap.mmap(cached, len(first), mmap.MAP_SHARED, mmap.PROT_READ)
t.ok(t.wait_for(lambda: resident(cached) == len(first), 20), "... and on the tier", resident(cached))
overwrite(2)
t.same(os.stat(f"{LOWER}/{NAME}").st_size, old_size, "overwritten through REST: the lower still shows the old size")
data = read_whole(f"{STRICT}/{NAME}")
t.ok(data == versions[2], "strict: an open is of the new version at once", told(data))
data = read_whole(f"{IMM}/{NAME}")
t.ok(data in (first, versions[2]), "immutable: an open is of one version", told(data))
got = os.pread(cached, len(first) + 4096, 0)
t.ok(got == first, "the open file still has the old version, whole, from the cache", told(got))
t.ok(mapped[:] == first, "... and so has the mapping")


def is_new():
    return read_whole(f"{TARGET}/{NAME}") == versions[2]


begin = time.monotonic()
t.ok(t.wait_for(is_new, TTL + 10), "close-to-open: after the ttl an open is of the new version")
t.ok(time.monotonic() - begin < (TTL + 5) * t.SLOW, f"... it was after {time.monotonic() - begin:.1f} s, with a ttl of {TTL} s")
t.same(os.stat(f"{TARGET}/{NAME}").st_size, len(versions[2]), "stat shows the new size")
with open(f"{TARGET}/{NAME}", "rb") as f:
    t.same(os.fstat(f.fileno()).st_size, len(versions[2]), "... and so does fstat")
t.same(os.stat(f"{LOWER}/{NAME}").st_size, old_size, "... though the lower still shows the old one")
fd = os.open(f"{TARGET}/{NAME}", os.O_RDONLY)
# Dropped from memory and tier: the store does not have the old version any more.
evict(cached)
t.same(resident(cached), 0, "the old version is evicted")
mapped.close()
for held in (cached, partly):
    os.posix_fadvise(held, 0, 0, os.POSIX_FADV_DONTNEED)
t.drop_caches(1)
for held, where in ((cached, "an open file"), (partly, "another")):
    try:
        got = os.pread(held, 65536, 2 * MIB)
        t.ok(False, f"the old version is nowhere: {where} gets ESTALE", told(got))
    except OSError as e:
        t.same(h.name(e.errno), "ESTALE", f"the old version is nowhere: {where} gets ESTALE")


def child_maps():
    """Exit status of a process which maps the old version and touches it."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    with mmap.mmap(cached, len(first), mmap.MAP_SHARED, mmap.PROT_READ) as m:
        os._exit(1 if m[3 * MIB] == 256 else 0)
    return None


t.same(child_maps() & 0x7f, signal.SIGBUS, "... and a mapping of it SIGBUS")
got = os.pread(fd, 1 << 20, MIB)
t.ok(got == versions[2][MIB:2 * MIB], "an open file of the new version is not touched by that", told(got))
for held in (cached, partly, fd):
    os.close(held)

# --- many, while readers hold it

def opens():
    return sum(os.path.getsize(f"{out}.opens") for out in outs if os.path.exists(f"{out}.opens"))


latest = 2
mapping_out = "/run/test/mapping"
# The mapping is of version 1 again, so that it has something to lose.
overwrite(1)
t.ok(t.wait_for(lambda: read_whole(f"{TARGET}/{NAME}") == first, TTL + 10), "version 1 is put back")
outs = [f"/run/test/reader.{i}" for i in range(READERS)]
pids = [hold(i, out) for i, out in enumerate(outs)]
mapping = hold_mapping(mapping_out)
t.wait_for(lambda: os.path.exists(f"{mapping_out}.is"), 60, "the file is mapped")
for n in range(3, 9):
    overwrite(n)
    latest = n
    fd = os.open(f"{STRICT}/{NAME}", os.O_RDONLY)
    begin = os.pread(fd, 4096, 0)
    if begin != versions[n][:4096]:
        t.ok(False, f"strict: version {n} at once", told(begin))
    if n % 2:
        # The cache forgets all it has: whoever reads on needs the store.
        nl.do(h.EVICT, h.text(h.A_DEVICE, DATA))
        t.drop_caches(1)
    os.close(fd)
    pause, before = time.monotonic() + TTL + 0.5, opens()
    t.wait_for(lambda p=pause: time.monotonic() > p, 20)
    t.wait_for(lambda b=before: opens() >= b + READERS, 60, "readers read")
open(STOP, "w", encoding="ascii").close()
total = {"opens": 0, "stale": 0, "mixed": [], "errors": []}
by_version = {}
for pid, out in zip(pids, outs):
    if not t.wait_for(lambda p=pid: t.gone(p), 60, "a reader ends"):
        t.ok(False, "a reader does not come back", t.kernel_stack(pid))
        continue
    os.waitpid(pid, 0)
    with open(out, encoding="utf-8") as f:
        seen = json.load(f)
    for key in total:
        total[key] += seen[key]
    for n, count in seen["by_version"].items():
        by_version[int(n)] = by_version.get(int(n), 0) + count
t.ok(not total["mixed"] and total["opens"] > 2 * READERS,
     f"{READERS} readers, {total['opens']} opens: each of one version or ESTALE ({total['stale']} times)", *total["mixed"][:10])
t.ok(not total["errors"], "... and no other error", *total["errors"][:10])
t.ok(len(by_version) > 3, f"... {len(by_version)} versions were seen", by_version)
t.ok(t.wait_for(lambda: t.gone(mapping), 30), "the mapping's process ends")
_, status = os.waitpid(mapping, 0)
said = open(mapping_out, encoding="utf-8").read() if os.path.exists(mapping_out) else ""
t.ok(status in (0, signal.SIGBUS), f"the mapping had the version that was mapped to its end ({'SIGBUS' if status else said})",
     f"status {status:#x}", said)
t.ok(t.wait_for(lambda: read_whole(f"{TARGET}/{NAME}") == versions[latest], TTL + 10), "an open is of the last version")

# --- what is left of the old ones

keep = os.open(f"{TARGET}/{NAME}", os.O_RDONLY)
t.ok(t.wait_for(lambda: resident(keep) == len(versions[latest]), 20), "the last version is on the tier", resident(keep))
overwrite(latest + 1)
t.wait_for(lambda: read_whole(f"{TARGET}/{NAME}") == versions[latest + 1], TTL + 10, "the next version")
t.ok(resident(keep) > 0, "the next one comes; an open file still has chunks of the one before")
for n in range(latest + 2, latest + 12):
    overwrite(n)
    data = read_whole(f"{STRICT}/{NAME}")
    if data != versions[n]:
        t.ok(False, f"strict: version {n}", told(data))
    if not resident(keep):
        break
t.same(resident(keep), 0, f"later versions turn the tier over: of the old one nothing is left (after {n - latest} of them)",
       nl.tier())
tier = nl.tier()
t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], "the accounting adds up")
os.close(keep)
t.settled()
nl.do(h.EVICT, h.text(h.A_DEVICE, DATA))
t.ok(t.wait_for(lambda: nl.tier()["used_bytes"] == 0 and nl.tier()["chunks"] == 0, 10), "all evicted: nothing is in use", nl.tier())

stats = nl.stats()
t.diag(f"stale reads: {stats['stale_reads']}, read errors: {stats['read_errors']}, lower bytes: {stats['lower_bytes']}")
t.same(stats["crc_errors"], 0, "no block was damaged")
t.run_ok("unmounted", "umount", TARGET, STRICT, IMM)
t.same(nl.detach(DATA)[0], 0, "detached")
daemon.stop()
rclone.kill()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.done()
