#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: for as long as it runs (SECONDS in the environment), readers of all kinds see bytes of
# one version of a file, and never an older one than they saw before, while versions change, the
# daemon is killed and stopped, tiers are pulled, fail and come back, caches are dropped, and
# memory is short; when all that is over every file is right, and nothing is left in use.
#
# vm: disk=data:64M disk=other:96M timeout=240 mem=1G

import errno
import json
import mmap
import os
import random
import signal
import struct
import time

import hostile_daemon as h
import vmtest as t

SECONDS = float(os.environ.get("SECONDS", "45"))
SEED = int(os.environ.get("SEED", str(int(time.time()))))
READERS = 4
MIB, PAGE = 1 << 20, 4096
STORE, TARGET, CGROUP = "/mnt/store", "/mnt/data", "/sys/fs/cgroup/soak"
VOLUME = f"file://{STORE}"
OTHER, RAW = t.disk("other"), t.disk("data")
DATA = "/dev/mapper/data"
STOP = "/run/test/stop"
HOW = ("read", "random", "mmap", "direct", "sendfile")
# What a read may say while daemons and tiers come and go, and versions do.
ALLOWED = {"EIO", "ESTALE", "ETIMEDOUT"}
FILES = 40
rng = random.Random(SEED)
versions = {}


def name_of(n):
    return f"f{n:02}"


def size_of(n, version):
    """Of all kinds, and others from version to version."""
    return (0, 1, 5000, MIB, 3 * MIB + 77)[n % 5] * (1 + version % 2) + version % 3 * (n % 5 > 1)


def page_of(n, version, at):
    return struct.pack("<IIQ", n, version, at) * 256


def content(n, version):
    size = size_of(n, version)
    return b"".join(page_of(n, version, at) for at in range(0, size, PAGE))[:size]


def replace(n):
    """A new version, at once; its times tell it from others."""
    version = versions.get(n, 0) + 1
    with open(f"{STORE}/.new", "wb") as f:
        f.write(content(n, version))
    os.rename(f"{STORE}/.new", f"{STORE}/{name_of(n)}")
    versions[n] = version


class Wrong(Exception):
    pass


def version_in(n, data, pos):
    """Of bytes from @pos on. All must be of it."""
    if len(data) < 8:
        return None
    at = pos // PAGE * PAGE
    _, version, _ = struct.unpack_from("<IIQ", page_of(0, 0, 0) if pos % 16 else data.ljust(16, b"\0"))
    want = b"".join(page_of(n, version, p) for p in range(at, pos + len(data), PAGE))[pos - at:pos - at + len(data)]
    if data != want:
        bad = next(i for i, (a, b) in enumerate(zip(data, want)) if a != b)
        raise Wrong(f"{name_of(n)}: version {version} at {pos}, byte {bad} of {len(data)} is not of it: "
                    f"{data[bad // 16 * 16:bad // 16 * 16 + 16].hex()}")
    return version


def by_read(fd, rand):
    pos = 0
    while part := os.pread(fd, rand.choice((4096, 131072, MIB)), pos):
        yield part, pos
        pos += len(part)
        if pos % 16:
            return


def by_random(fd, rand):
    size = os.fstat(fd).st_size
    for _ in range(8 if size else 0):
        pos = rand.randrange(size) // 16 * 16
        yield os.pread(fd, rand.choice((16, 4096, 70000)), pos), pos


def by_mmap(fd, rand):
    """SIGBUS ends a process: in one of its own."""
    size = os.fstat(fd).st_size
    if size < PAGE:
        return
    out, inp = os.pipe()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as m:
            pos = rand.randrange(size) // PAGE * PAGE
            os.write(inp, struct.pack("<Q", pos) + m[pos:pos + PAGE])
        os._exit(0)
    os.close(inp)
    with os.fdopen(out, "rb") as f:
        got = f.read()
    _, status = os.waitpid(pid, 0)
    rand.random()       # the child had the same
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != signal.SIGBUS:
            raise Wrong(f"a reader of a mapping died of signal {os.WTERMSIG(status)}")
        raise OSError(errno.EIO, "SIGBUS")
    if len(got) > 8:
        data = got[8:]
        # The file may have become shorter since fstat() looked at it.
        yield data.rstrip(b"\0") if len(data) == PAGE and not data.strip(b"\0") else data, struct.unpack("<Q", got[:8])[0]


def by_direct(fd, rand):
    buffer = mmap.mmap(-1, MIB)
    other = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT)
    try:
        pos = 0
        while n := os.preadv(other, [buffer], pos):
            yield buffer[:n], pos
            pos += n
            if n % PAGE:
                return
    finally:
        os.close(other)


def by_sendfile(fd, rand):
    out, inp = os.pipe()
    pos = 0
    try:
        while n := os.sendfile(inp, fd, pos, 65536):
            data = b""
            while len(data) < n:
                data += os.read(out, n - len(data))
            yield data, pos
            pos += n
            if pos % 16:
                return
    finally:
        os.close(out)
        os.close(inp)


def look(n, how, rand, seen):
    """One open file. Its bytes must be of one version, not older than what was seen before."""
    fd = os.open(f"{TARGET}/{name_of(n)}", os.O_RDONLY)
    got = None
    try:
        for data, pos in globals()[f"by_{how}"](fd, rand):
            version = version_in(n, data, pos)
            if version is None:
                continue
            if got not in (None, version) and how != "direct":
                raise Wrong(f"{name_of(n)}: versions {got} and {version} in one open file ({how})")
            got = version
            if version < seen.get(n, 0):
                raise Wrong(f"{name_of(n)}: version {version} after {seen[n]} ({how})")
        if got:
            seen[n] = got
    finally:
        os.close(fd)


def reader(number, out):
    """A process that reads until it is told to stop; then tells."""
    pid = os.fork()
    if pid:
        return pid
    if number == 0 and os.path.isdir(CGROUP):
        with open(f"{CGROUP}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))
    rand, seen = random.Random(SEED + number), {}
    told = {"reads": dict.fromkeys(HOW, 0), "errors": {}, "wrong": []}
    while not os.path.exists(STOP) and len(told["wrong"]) < 10:
        how = rand.choice(HOW)
        try:
            look(rand.randrange(FILES), how, rand, seen)
            told["reads"][how] += 1
        except OSError as e:
            kind = f"{how}: {h.name(e.errno)}"
            told["errors"][kind] = told["errors"].get(kind, 0) + 1
        except Wrong as e:
            told["wrong"].append(f"{how}: {e}")
    with open(out, "w", encoding="utf-8") as f:
        json.dump(told, f)
    os._exit(0)


# --- what happens to them

def start_daemon():
    return daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid)


def kill_daemon():
    daemon.stop(signal.SIGKILL)
    start_daemon()


def stop_daemon():
    daemon.kill(signal.SIGSTOP)
    pause(rng.choice((0.5, 3, 8)))
    daemon.kill(signal.SIGCONT)


def pull_tier():
    nl.detach(OTHER)
    pause(1)
    nl.attach(OTHER)


def table(kind):
    sectors = int(t.run("blockdev", "--getsz", RAW).stdout)
    line = {"linear": f"0 {sectors} linear {RAW} 0", "error": f"0 {sectors} error"}[kind]
    for argv in (["suspend", "--noflush", "--nolockfs", "data"], ["load", "data", "--table", line], ["resume", "data"]):
        t.run("dmsetup", *argv)


def fail_tier():
    table("error")
    pause(2)
    nl.detach(DATA)
    table("linear")
    nl.attach(DATA)


def evict():
    nl.error(h.EVICT, h.text(h.A_DEVICE, rng.choice((DATA, OTHER))))


def pause(seconds):
    end = time.monotonic() + seconds
    t.wait_for(lambda: time.monotonic() > end, seconds + 1)


HAPPENS = {
    "new version": (20, lambda: replace(rng.randrange(FILES))),
    "caches dropped": (6, lambda: t.drop_caches(rng.choice((1, 2, 3)))),
    "evicted": (2, evict),
    "daemon killed": (2, kill_daemon),
    "daemon stopped": (1, stop_daemon),
    "tier pulled": (1, pull_tier),
    "tier failed": (1, fail_tier),
}

os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=250m", "none", STORE)
t.diag(f"SEED={SEED} SECONDS={SECONDS}")
for n in range(FILES):
    replace(n)
t.run("modprobe", "dm-mod")
t.run("dmsetup", "create", "data", "--table", f"0 {int(t.run('blockdev', '--getsz', RAW).stdout)} linear {RAW} 0")
t.run("dmsetup", "mknodes")
t.load_module(t.PATIENT, "lease_ms=2000")
nl = h.Netlink()
for device in DATA, OTHER:
    t.run_ok(f"{device} is formatted", "cachectl", "device", "format", "--yes", device)
    t.same(nl.attach(device)[0], 0, "... and attached")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(start_daemon(), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="500ms", deadline="10s", stale="5s")
t.same(status, 0, "mounted", output)
try:
    os.mkdir(CGROUP)
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as f:
        f.write("+memory")
    with open(f"{CGROUP}/memory.max", "w", encoding="ascii") as f:
        f.write(str(24 * MIB))
except OSError as e:
    t.diag(f"no memory cgroup: {e}")

outs = [f"/run/test/soak.{i}" for i in range(READERS)]
pids = [reader(i, out) for i, out in enumerate(outs)]
happened = dict.fromkeys(HAPPENS, 0)
end = time.monotonic() + SECONDS
while time.monotonic() < end and not all(t.gone(p) for p in pids):
    what = rng.choices(list(HAPPENS), [weight for weight, _ in HAPPENS.values()])[0]
    HAPPENS[what][1]()
    happened[what] += 1
    pause(rng.choice((0.02, 0.1, 0.5)))
open(STOP, "w", encoding="ascii").close()
t.diag(str(happened))

reads, errors, wrong = dict.fromkeys(HOW, 0), {}, []
for pid, out in zip(pids, outs):
    if not t.ok(t.wait_for(lambda p=pid: t.gone(p), 60), "a reader ends", t.kernel_stack(pid)):
        continue
    os.waitpid(pid, 0)
    if not t.ok(os.path.exists(out), "... and tells"):
        continue
    with open(out, encoding="utf-8") as f:
        told = json.load(f)
    wrong += told["wrong"]
    for key, value in told["reads"].items():
        reads[key] += value
    for key, value in told["errors"].items():
        errors[key] = errors.get(key, 0) + value
t.ok(not wrong, f"no byte was wrong: {reads}", *wrong)
t.ok(all(reads.values()), "readers of all kinds read")
t.ok(not {e for e in errors if e.split()[-1] not in ALLOWED}, f"errors: {errors}")

# --- it is over

t.ok(daemon.alive() or start_daemon(), "a daemon is there")


def all_right():
    t.drop_caches(3)
    for n in range(FILES):
        try:
            with open(f"{TARGET}/{name_of(n)}", "rb") as f:
                if f.read() != content(n, versions[n]):
                    return False
        except OSError:
            return False
    return True


t.ok(t.wait_for(all_right, 60), "every file is of its last version")
t.settled()
for d in t.cachectl("device", "list")["devices"]:
    t.same((d["state"], d["used_bytes"] + d["free_bytes"]), ("live", d["frame_bytes"]), f"{d['device']}: lives, and adds up")
t.run_ok("unmounted", "umount", TARGET)
for device in DATA, OTHER:
    t.same(nl.detach(device)[0], 0, f"{device} is detached")
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.run("dmsetup", "remove", "data")
t.done()
