#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the data path outlives its daemon, and the lower mount. blobcached is killed
# twenty times, and stopped, while processes read and compare every byte: on an
# immutable mount no read fails, none is wrong and none hangs; what is not cached comes
# from the lower meanwhile and never enters the tier. On a mount with defaults a file
# that is bound to a version waits for the next daemon, which takes the pending fill
# up, and a file nobody opened comes from the lower. A lower that died is replaced.
#
# fio verifies a file that it wrote itself, before that was uploaded. The other readers are our
# own: they know every byte of the dataset, tell where a wrong one belongs, and time each read.
#
# vm: host=dataset disk=data:96M timeout=600 mem=1500M

import errno
import json
import mmap
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request

import dataset
import hostile_daemon as h
import vmtest as t

LOWER, LOWER2, OTHER = "/mnt/lower", "/mnt/lower2", "/data/other"
IMM, DEF, STRANGE, FAIL = "/mnt/imm", "/mnt/def", "/mnt/strange", "/mnt/fail"
KILLS = 20
MIB = 1 << 20
VOLUME = os.environ["AZ_SOURCE"]
STOP = "/run/test/stop"

HALF, BIG = "shards/shard-02.bin", "shards/deep/er/shard-big.bin"
CACHED = ["shards/shard-00.bin", "shards/shard-01.bin"] + [f"small/0/f{i:02}.txt" for i in range(0, 32, 2)]
NEVER = [n for n in dataset.files() if n.startswith(("small/1/", "edges/", "names/")) and dataset.files()[n]]

rclone = t.Rclone(LOWER)
truth = {n: dataset.content(n) for n in CACHED + NEVER + [HALF, BIG]}


class Reader(threading.Thread):
    """One pread() of an open file, or of a name."""

    def __init__(self, where, name, offset=0, length=None, fd=None):
        super().__init__(daemon=True)
        self.path, self.name_, self.offset, self.fd = f"{where}/{name}", name, offset, fd
        self.length = length or len(truth[name]) - offset
        self.result = self.seconds = None
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            fd = os.open(self.path, os.O_RDONLY) if self.fd is None else self.fd
            try:
                data = b""
                while len(data) < self.length:
                    part = os.pread(fd, self.length - len(data), self.offset + len(data))
                    if not part:
                        break
                    data += part
                self.result = data
            finally:
                if self.fd is None:
                    os.close(fd)
        except OSError as e:
            self.result = e.errno
        self.seconds = time.monotonic() - begin

    def right(self, seconds=60):
        self.join(seconds)
        return self.result == truth[self.name_][self.offset:self.offset + self.length]

    def told(self):
        if self.is_alive():
            return f"{self.path}: no end\n{t.kernel_stack(self.native_id)}"
        if isinstance(self.result, int):
            return f"{self.path} at {self.offset}: {h.name(self.result)} after {self.seconds:.1f} s"
        what = "right" if self.right() else "wrong ones"
        return f"{self.path} at {self.offset}: {len(self.result)} bytes, {what}, after {self.seconds:.1f} s"


def watch(how, where, names, seed):
    """A process that reads and compares until STOP exists. Returns (pid, file with what it saw)."""
    out = f"/run/test/watch.{how}.{seed}"
    pid = os.fork()
    if pid:
        return pid, out
    rng = random.Random(seed)
    seen = {"reads": 0, "wrong": [], "errors": [], "slowest": 0.0}
    while not os.path.exists(STOP):
        name = rng.choice(names)
        offset = rng.randrange(len(truth[name])) & ~4095
        length = min(256 << 10, len(truth[name]) - offset)
        begin = time.monotonic()
        try:
            fd = os.open(f"{where}/{name}", os.O_RDONLY)
            try:
                if how == "mmap":
                    with mmap.mmap(fd, len(truth[name]), mmap.MAP_SHARED, mmap.PROT_READ) as m:
                        data = m[offset:offset + length]
                else:
                    data = os.pread(fd, length, offset)
            finally:
                os.close(fd)
            if data != truth[name][offset:offset + length]:
                seen["wrong"].append(f"{name} at {offset}")
        except OSError as e:
            seen["errors"].append(f"{name} at {offset}: {h.name(e.errno)}")
        seen["reads"] += 1
        seen["slowest"] = max(seen["slowest"], time.monotonic() - begin)
    with open(out, "w", encoding="utf-8") as f:
        json.dump(seen, f)
    os._exit(0)


FIO = ["fio", "--name=verify", "--bs=64k", "--size=8m", "--verify=crc32c", "--verify_fatal=1", "--output-format=json"]
FIO_FILE, FIO_LOCAL = "shards/fio.bin", "/run/test/fio.bin"


def lay_out():
    """A file that fio can verify, in the store."""
    t.run_ok("fio writes a file", *FIO, f"--filename={FIO_LOCAL}", "--rw=write", "--do_verify=0")
    with open(FIO_LOCAL, "rb") as f:
        truth[FIO_FILE] = f.read()
    url, _, sas = os.environ["AZ_SAS_URL"].partition("?")
    request = urllib.request.Request(f"{url}/{FIO_FILE}?{sas}", data=truth[FIO_FILE], method="PUT",
                                     headers={"x-ms-blob-type": "BlockBlob"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        t.same(reply.status, 201, "... which is put into the store")


class Fio(threading.Thread):
    """Verifying jobs, one after the other, until STOP exists."""

    def __init__(self):
        super().__init__(daemon=True)
        self.jobs = self.reads = 0
        self.failed = []
        self.start()

    def run(self):
        while not os.path.exists(STOP):
            p = subprocess.run([*FIO, f"--filename={IMM}/{FIO_FILE}", "--rw=randread", "--readonly", "--time_based", "--runtime=3"],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            self.jobs += 1
            try:
                job = json.loads(p.stdout[p.stdout.index("{"):])["jobs"][0]
                self.reads += job["read"]["total_ios"]
                if p.returncode or job["error"]:
                    self.failed.append(f"error {job['error']}, status {p.returncode}: {p.stderr[-500:]}")
            except (ValueError, KeyError, IndexError):
                self.failed.append(f"status {p.returncode}: {p.stdout[-500:]} {p.stderr[-500:]}")

    def verified(self, text):
        self.join(120)
        t.ok(not self.is_alive() and self.reads > 100 and not self.failed,
             f"{text}: {self.reads} reads by {self.jobs} verifying fio jobs, none wrong, none failed", *self.failed[:5])


def watchers():
    if os.path.exists(STOP):
        os.unlink(STOP)
    return [watch("read", IMM, CACHED, 1), watch("mmap", IMM, CACHED, 2)], Fio()


def watched(running, text, slowest=20):
    """Stops the watchers; one point each."""
    open(STOP, "w", encoding="ascii").close()
    running, fio = running
    fio.verified(text)
    for pid, out in running:
        kind = out.split(".")[1]
        if not t.wait_for(lambda p=pid: t.gone(p), 60, f"the {kind} reader ends"):
            t.ok(False, f"{text}: the {kind} reader does not come back", t.kernel_stack(pid))
            continue
        _, status = os.waitpid(pid, 0)
        if status:
            t.ok(False, f"{text}: the {kind} reader ended with status {status:#x} (7 is SIGBUS)")
            continue
        with open(out, encoding="utf-8") as f:
            seen = json.load(f)
        t.ok(seen["reads"] > 20 and not seen["wrong"] and not seen["errors"] and seen["slowest"] < slowest,
             f"{text}: {seen['reads']} reads by {kind}, none wrong, none failed, slowest {seen['slowest']:.2f} s",
             f"{len(seen['wrong'])} wrong, {len(seen['errors'])} failed", *seen["wrong"][:5], *seen["errors"][:5])


def daemon_pid():
    return nl.status()[h.ST_DAEMON_PID]


def start():
    return daemon.start(lambda pid: daemon_pid() == pid)


def kill():
    daemon.process.kill()
    daemon.process.wait()
    return t.wait_for(lambda: not daemon_pid(), 10, "the kernel knows that the daemon is gone")


def idle():
    return not nl.status()[h.ST_REQUESTS]


def resident(fd):
    return h.number(h.attrs(nl.do(h.RESIDENCY, h.u32(h.A_FD, fd))[h.A_RESIDENCY])[h.RESIDENT])


def evict(fd):
    nl.do(h.EVICT, h.u32(h.A_FD, fd))
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def pending(name, offset):
    """Is a fill of this chunk asked for?"""
    return [r for r in nl.requests(h.FETCH) if r[h.R_PATH] == name and r[h.R_OFFSET] & ~(MIB - 1) == offset & ~(MIB - 1)]


def warm(lower):
    for where, _, names in os.walk(lower):
        for name in names:
            os.stat(os.path.join(where, name))


t.load_module()
nl = h.Netlink()
DATA = t.disk("data")
t.run("cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.azure_daemon()
t.ok(start(), "a daemon is there", daemon.tail())
if not t.ok(rclone.ready() and t.uploaded(), "a Blob mount is there"):
    t.done()
lay_out()
warm(LOWER)
# A lower that shows the half cached file with other bytes, but of the same size and time.
os.makedirs(f"{OTHER}/shards")
with open(f"{OTHER}/{HALF}", "wb") as f:
    f.write(b"\xee" * len(truth[HALF]))
stat = os.stat(f"{LOWER}/{HALF}")
os.utime(f"{OTHER}/{HALF}", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
for lower, target, options in ((LOWER, IMM, {"consistency": "immutable", "deadline": "25s", "ttl": "1h"}), (LOWER, DEF, {}),
                               (OTHER, STRANGE, {}), (LOWER, FAIL, {"on_daemon_loss": "fail"})):
    status, output = t.mount(lower, target, ro=True, volume=VOLUME, **{"deadline": "90s", **options})
    if not t.same(status, 0, f"{target} is mounted {options or 'with defaults'}", output):
        t.done()

wrong = [r.told() for r in (Reader(IMM, n) for n in [*CACHED, FIO_FILE]) if not r.right()]
t.ok(not wrong, "some files are cached", *wrong, daemon.tail())
# The first chunk only; and not by a sequential read, which would fetch the next ahead.
held = {(where, name): os.open(f"{where}/{name}", os.O_RDONLY)
        for where, name in ((IMM, HALF), (DEF, HALF), (STRANGE, HALF), (FAIL, HALF), (IMM, BIG), (DEF, BIG))}
for (where, name), fd in held.items():
    t.ok(Reader(where, name, 512 << 10, 4096, fd).right(), f"{where}/{name} is opened and bound")
t.ok(t.wait_for(idle, 30), "all that was asked for is there")
t.same(resident(held[DEF, HALF]), MIB, "... one chunk of the half cached file")

# --- twenty kills

def stored(seconds):
    """Does a tier get anything, meanwhile?"""
    before, end = nl.stats()["tier_writes"], time.monotonic() + seconds
    t.wait_for(lambda: time.monotonic() > end, seconds + 1)
    return nl.stats()["tier_writes"] != before


running = watchers()
claimed = taken = 0
problems = []
never = iter(NEVER)
begin = time.monotonic()
base = nl.stats()
for i in range(KILLS):
    where = (IMM, DEF)[i % 2]
    fd = held[where, BIG]
    chunk = random.Random(i).randrange(len(truth[BIG]) // MIB) * MIB
    evict(fd)
    reader = Reader(where, BIG, chunk + (512 << 10), 8192, fd)
    found = t.wait_for(lambda: pending(BIG, chunk) or not reader.is_alive(), 10)
    if isinstance(found, list) and i % 4 >= 2:
        found = t.wait_for(lambda: [r for r in pending(BIG, chunk) if r[h.R_STATE] == h.CLAIMED] or not reader.is_alive(), 1) or found
    if not kill():
        problems.append(f"kill {i}: the kernel still has a daemon")
    waiting = pending(BIG, chunk)
    claimed += any(r[h.R_STATE] == h.CLAIMED for r in found) if isinstance(found, list) else 0
    # What nobody opened yet comes from the lower, at once, and does not enter the tier.
    before = nl.stats()
    name = next(never)
    fresh = Reader(IMM, name)
    if not fresh.right(30) or fresh.seconds > 20:
        problems.append(f"kill {i}, not cached: {fresh.told()}")
    after = nl.stats()
    # What the daemon had given before it was killed is stored.
    t.wait_for(lambda: not stored(0.2), 10)
    written = nl.stats()["tier_writes"]
    if after["lower_bytes"] - before["lower_bytes"] < len(truth[name]):
        problems.append(f"kill {i}: {name} did not come from the lower")
    if where == IMM:
        if not reader.right(30):
            problems.append(f"kill {i}, being fetched: {reader.told()}")
        t.wait_for(idle, 10)
        settled = nl.stats()
        if settled["tier_writes"] != written:
            problems.append(f"kill {i}: the tier was written to without a daemon")
    # Its bytes may have come, and only the end of the request not.
    elif waiting and not reader.is_alive() and isinstance(reader.result, int):
        problems.append(f"kill {i}: the read of a bound file did not wait: {reader.told()}")
    if not start():
        problems.append(f"kill {i}: no next daemon: {daemon.tail()}")
    if not reader.right(60):
        problems.append(f"kill {i}, taken up by the next daemon: {reader.told()}")
    taken += bool(where == DEF and waiting)
    t.drop_caches(1)
seconds = time.monotonic() - begin
t.ok(not problems, f"{KILLS} kills in {seconds:.0f} s: no read failed, none was wrong", *problems)
t.ok(taken, f"{taken} of {KILLS // 2} times the next daemon took up a read that waited", nl.stats())
t.diag(f"{claimed} kills hit a claimed request; requeued: {nl.stats()['fetch_requeued'] - base['fetch_requeued']}")
watched(running, "under the kills")
t.ok(t.wait_for(idle, 30), "no request is left over", nl.requests())
stale = [n for n in NEVER[:KILLS] if not Reader(IMM, n).right()]
t.ok(not stale, "once there is a daemon again, all files are right")
delta = nl.stats()["fetch_bytes"]
fd = os.open(f"{IMM}/{NEVER[0]}", os.O_RDONLY)
os.pread(fd, 10, 0)
t.ok(t.wait_for(lambda: resident(fd), 10), "... and what came from the lower is now fetched and cached")
os.close(fd)

# --- one kill, looked at closely

never = [n for n in NEVER[KILLS:]]
half = len(truth[HALF]) - MIB
evict(held[DEF, HALF])
t.ok(Reader(DEF, HALF, 512 << 10, 4096, held[DEF, HALF]).right() and t.wait_for(idle, 30) and
     resident(held[DEF, HALF]) == MIB, "one chunk of the half cached file is on the tier")
t.drop_caches(1)
t.ok(kill(), "the daemon is killed")
base = nl.stats()
waiting = [Reader(where, HALF, MIB, half, held[where, HALF]) for where in (DEF, STRANGE)]
t.ok(t.wait_for(lambda: pending(HALF, MIB), 10), "defaults: a missing chunk of a bound file is asked for")
reader = Reader(DEF, HALF, 0, MIB, held[DEF, HALF])
t.ok(reader.right(40) and reader.seconds < 30, "defaults: its cached chunk is read meanwhile", reader.told())
reader = Reader(DEF, never[0])
t.ok(reader.right(40) and reader.seconds < 30, "defaults: a file nobody opened comes from the lower", reader.told())
t.ok(nl.stats()["lower_bytes"] - base["lower_bytes"] >= len(truth[never[0]]), "... really from there")
reader = Reader(IMM, HALF, MIB, half, held[IMM, HALF])
t.ok(reader.right(24) and reader.seconds < 20, "immutable: the missing chunk comes from the lower, though another mount waits "
     "for the same", reader.told())
reader = Reader(FAIL, HALF, MIB, half, held[FAIL, HALF])
reader.join(40)
t.ok(reader.result == errno.EIO and reader.seconds < 30, "on_daemon_loss=fail: it fails at once", reader.told())
t.ok(all(r.is_alive() for r in waiting), "defaults: the two readers still wait", *[r.told() for r in waiting if not r.is_alive()])
t.ok([r for r in pending(HALF, MIB) if r[h.R_STATE] == h.NEW and h.R_ETAG in r], "... and their request is new, with its version",
     nl.requests())
t.same(nl.stats()["tier_writes"], base["tier_writes"], "nothing entered the tier")
base = nl.stats()
t.ok(start(), "the next daemon comes", daemon.tail())
t.ok(all(r.right(60) for r in waiting), "... takes the request up, and the reads are right", *[r.told() for r in waiting])
t.same(nl.stats()["lower_bytes"] - base["lower_bytes"], 0, "... from the store")

# --- stopped, not dead

t.wait_for(idle, 30)
running = watchers()
evict(held[IMM, BIG])
daemon.kill(signal.SIGSTOP)
begin = time.monotonic()
uncached = [Reader(IMM, BIG, 3 * MIB, 4096, held[IMM, BIG]), Reader(IMM, never[1])]
waiting = Reader(DEF, BIG, 5 * MIB, 4096, held[DEF, BIG])
t.ok(all(r.right(30) for r in uncached), "stopped: immutable: what is not cached comes from the lower after the lease",
     *[r.told() for r in uncached])
t.diag(*[r.told() for r in uncached])
t.same(nl.status()[h.ST_DAEMON_ANSWERS], 0, "... and status says that the daemon does not answer")
after = [Reader(IMM, n) for n in never[4:7]]
t.ok(all(r.right(30) for r in after) and min(r.seconds for r in after) < 4, "... after which nobody waits for it any more",
     *[r.told() for r in after])
t.wait_for(lambda: time.monotonic() - begin > 60, 80)
t.ok(waiting.is_alive(), "stopped for a minute: defaults: the missing chunk of a bound file waits", waiting.told() if not waiting.is_alive() else "")
daemon.kill(signal.SIGCONT)
t.ok(waiting.right(60), "it goes on: the read is right", waiting.told())
t.ok(t.wait_for(lambda: nl.status()[h.ST_DAEMON_ANSWERS], 10), "... and status says so")
watched(running, "while it was stopped")

# --- the lower dies

t.wait_for(idle, 30)
running = watchers()
rclone.kill()
reader = Reader(IMM, BIG, 7 * MIB, 4096, held[IMM, BIG])
t.ok(reader.right(60), "the lower is dead: what is not cached comes from the store", reader.told())
t.ok(kill(), "... and the daemon, too")
reader = Reader(IMM, CACHED[0])
t.ok(reader.right(60), "both are dead: cached files are right", reader.told())
evict(held[IMM, BIG])
reader = Reader(IMM, BIG, 8 * MIB, 4096, held[IMM, BIG])
rclone = t.Rclone(LOWER2)
t.ok(rclone.ready(), "another lower comes")
# It has all names at hand before anybody waits a second at most for them.
warm(LOWER2)
for target in (IMM, DEF, FAIL):
    t.run_ok(f"cachectl mount relower {target}", "cachectl", "mount", "relower", target, LOWER2)
reader.join(70)
t.ok(reader.right(70) or isinstance(reader.result, int), "what was asked for in between is right, or failed", reader.told())
t.diag(reader.told() if isinstance(reader.result, int) else f"right after {reader.seconds:.1f} s")
t.wait_for(lambda: not any(m["lower_suspect"] for m in t.cachectl("status")["mounts"]), 30, "no lower is suspect")
reader = Reader(IMM, never[3])
t.ok(reader.right(30), "a file nobody opened comes from the new lower", reader.told())
reader = Reader(IMM, BIG, 4 * MIB, 4096, held[IMM, BIG])
t.ok(reader.right(30), "... and the missing chunk of one that was open", reader.told())
watched(running, "while the lower was dead")
t.ok(start(), "a daemon comes")
reader = Reader(DEF, BIG, 2 * MIB, 4096, held[DEF, BIG])
t.ok(reader.right(60), "... and all is as before", reader.told())

t.wait_for(idle, 30)
stats, tier = nl.stats(), nl.tier()
t.same((stats["crc_errors"], stats["tier_read_errors"]), (0, 0), "the tier is undamaged")
t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], "its accounting adds up")
for fd in held.values():
    os.close(fd)
t.run_ok("all are unmounted", "umount", IMM, DEF, STRANGE, FAIL)
t.same(nl.detach(DATA)[0], 0, "the tier is detached")
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.done()
