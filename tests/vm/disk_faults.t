#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a disk under load and in trouble: direct reads of all sizes and depths are right; a flipped bit is an
# error under dm-verity; reads end by their deadline; a disk that somebody has open can be taken away by
# force; a tier that is pulled costs fetches; a version that is gone is never mixed with the new one, which
# 'refresh' brings; two hundred disks come and go.
#
# vm: disk=data:512M mem=1500M timeout=600
# vm: allow='Buffer I/O error on dev' allow='device-mapper: verity:' allow='erofs .*' allow='SQUASHFS error' allow='EXT4-fs .*' allow='I/O error' allow='read errors in a row'
# vm: allow='read of frame' allow='the store has version .* no longer' allow='table unit|could not be written'

import hashlib
import mmap
import os
import signal
import subprocess
import threading
import time

import diskimage
import hostile_daemon as h
import verity
import vmtest as t

STORE = "/mnt/store"
VOLUME = f"file://{STORE}"
MIB = 1 << 20
RAW = t.disk("data")
TIER = "/dev/mapper/tier"


def attach(path, name, *options):
    return t.run("cachectl", "disk", "attach", f"{VOLUME}/{path}", "--volume", VOLUME, "--name", name, *options)


def detach(name, *options):
    return t.run_ok(f"{name}: detached", "cachectl", "disk", "detach", name, *options)


def disk(name):
    return {d["name"]: d for d in t.cachectl("disk", "list")["disks"]}.get(name)


def node(name):
    return f"/dev/blobcache/{name}"


def put(path, size):
    data = os.urandom(size)
    with open(f"{STORE}/{path}.new", "wb") as f:
        f.write(data)
    os.rename(f"{STORE}/{path}.new", f"{STORE}/{path}")
    return data


def timed(call, *args):
    since = time.monotonic()
    return call(*args), time.monotonic() - since


class Direct:
    """Reads past the page cache."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.memory = mmap.mmap(-1, 4 * MIB)

    def read(self, pos, length, offset=0):
        """Bytes, or the name of an error."""
        view = memoryview(self.memory)[offset:offset + length]
        try:
            got = os.preadv(self.fd, [view], pos)
            return bytes(view[:got])
        except OSError as e:
            return h.name(e.errno)

    def close(self):
        os.close(self.fd)


def opened(name):
    try:
        os.close(os.open(node(name), os.O_RDONLY))
        return True
    except OSError as e:
        return h.name(e.errno)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def buffered(name, pos, length):
    """Bytes by the page cache, or the name of an error."""
    fd = os.open(node(name), os.O_RDONLY)
    try:
        return os.pread(fd, length, pos)
    except OSError as e:
        return h.name(e.errno)
    finally:
        os.close(fd)


def table(kind):
    """What is behind the tier from now on."""
    sectors = int(t.run("blockdev", "--getsz", RAW).stdout)
    line = {"linear": f"0 {sectors} linear {RAW} 0", "error": f"0 {sectors} error"}[kind]
    if os.path.exists(TIER):
        for argv in (["suspend", "--noflush", "--nolockfs", "tier"], ["load", "tier", "--table", line], ["resume", "tier"]):
            t.run("dmsetup", *argv)
    else:
        t.run("dmsetup", "create", "tier", "--table", line)
        t.run("dmsetup", "mknodes")


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=300m", "none", STORE)
t.run("modprobe", "dm-mod")
KIND = diskimage.KINDS[-1]
table("linear")
t.run("cachectl", "device", "format", "--yes", TIER)
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("a tier is attached", "cachectl", "device", "attach", TIER)
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())

# --- direct reads

content = put("raw", 5 * MIB + 700)
t.same(attach("raw", "raw").returncode, 0, "attached")
direct = Direct(node("raw"))
padded = content + b"\0" * (-len(content) % 4096)
CUTS = [(0, 512), (512, 512), (4096, 4096), (1024, 3072), (MIB - 512, 1024), (MIB - 4096, 8192), (65536 - 512, 66048),
        (MIB + 512, 2 * MIB + 1024), (3 * MIB, 2 * MIB), (5 * MIB, 1024), (5 * MIB + 512, 512), (1536, 300 * 512)]
for text in ("cold", "verified", "once more"):
    bad = [(pos, length, offset) for pos, length in CUTS for offset in (0, 512, 4096 - 512)
           if direct.read(pos, length, offset) != padded[pos:pos + length]]
    t.same(bad, [], f"direct reads at any sector into any memory: {text}: right")
    t.settled()
direct.close()
t.same(len(padded), int(t.run("blockdev", "--getsize64", node("raw")).stdout), "the disk ends where the object's last 4 KiB do")
detach("raw")

t.run("fio", "--name=w", f"--filename={STORE}/fio", "--rw=write", "--bs=64k", "--size=16m", "--verify=crc32c",
      "--verify_interval=512", "--do_verify=0", "--ioengine=psync")
t.same(attach("fio", "fio").returncode, 0, "what fio wrote is attached")
for engine, size, depth in (("psync", "512", 1), ("libaio", "4k", 16), ("libaio", "64k", 4), ("psync", "1m", 1), ("libaio", "1m", 8)):
    for mode in ("cold", "warm"):
        if mode == "cold":
            t.run("cachectl", "evict", node("fio"))
        p = t.run("fio", "--name=r", f"--filename={node('fio')}", "--rw=randread", f"--bs={size}", f"--iodepth={depth}", "--direct=1",
                  f"--ioengine={engine}", "--size=16m", f"--io_size={'1m' if size == '512' else '16m'}", "--verify=crc32c",
                  "--verify_interval=512", "--readonly", timeout=120)
        t.same(p.returncode, 0, f"fio: {size}, {depth} at once, {mode}: right", p.stdout[-2000:])
detach("fio")

# --- signed images

sums = diskimage.tree("/mnt/tree", count=60)
os.makedirs("/mnt/signed")


def signed():
    diskimage.make("erofs", "/mnt/tree", f"{STORE}/signed")
    with open(f"{STORE}/signed", "r+b") as f:
        f.truncate(os.path.getsize(f"{STORE}/signed") & ~4095)
    blocks, root = verity.sign(f"{STORE}/signed")
    t.same(attach("signed", "signed").returncode, 0, "a signed image is attached")
    t.run_ok("... verified by dm-verity", "dmsetup", "create", "signed", "--readonly", "--table", verity.table(node("signed"), blocks, root))
    t.run("dmsetup", "mknodes")
    t.run_ok("... and mounted", "mount", "-t", "erofs", "-o", "ro", "/dev/mapper/signed", "/mnt/signed")
    t.same(diskimage.wrong("/mnt/signed", sums), [], "... its tree is right")
    t.run_fails("a disk that dm has is not detached", "is open", "cachectl", "disk", "detach", "signed")
    t.run("umount", "/mnt/signed")
    t.run("dmsetup", "remove", "signed")
    detach("signed")
    verity.flip(f"{STORE}/signed", blocks // 2)
    t.same(attach("signed", "signed").returncode, 0, "one with a flipped bit is attached")
    t.run("dmsetup", "create", "signed", "--readonly", "--table", verity.table(node("signed"), blocks, root))
    t.run("dmsetup", "mknodes")
    reader = Direct("/dev/mapper/signed")
    t.same(reader.read(blocks // 2 * 4096, 4096), "EIO", "... its block is an error, not data")
    t.ok(len(reader.read(0, 4096)) == 4096, "... its neighbours are data")
    reader.close()
    t.run("dmsetup", "remove", "signed")
    detach("signed")


if t.run("modprobe", "dm-verity").returncode:
    t.skip(10, "this kernel has no dm-verity")
else:
    signed()

# --- deadlines

content = put("slow", 8 * MIB)
t.same(attach("slow", "fails", "--on-daemon-loss", "fail", "--deadline", "90s").returncode, 0, "attached: fail")
t.same(attach("slow", "waits", "--deadline", "90s").returncode, 0, "attached: wait")
t.same(attach("slow", "short", "--deadline", "2s").returncode, 0, "attached: wait for two seconds")
daemon.kill(signal.SIGSTOP)
fails, waits, short = (Direct(node(name)) for name in ("fails", "waits", "short"))
answer, seconds = timed(short.read, 2 * MIB, 4096)
t.ok(answer in ("EIO", "ETIMEDOUT") and seconds < 2 + 2 * t.SLOW, "the daemon stands still: a read fails by its deadline", answer, seconds)
answer, seconds = timed(fails.read, MIB, 4096)
t.ok(answer == "EIO" and seconds < 60, "... one that shall not wait fails long before, once that is known", answer, seconds)
answers = []
waiter = threading.Thread(target=lambda: answers.append(waits.read(3 * MIB, 4096)))
waiter.start()
t.ok(t.wait_for(lambda: any(r[h.R_OFFSET] >> 20 == 3 for r in nl.requests(h.FETCH)), 20), "... another waits")
daemon.kill(signal.SIGCONT)
waiter.join(60 * t.SLOW)
t.ok(answers == [content[3 * MIB:3 * MIB + 4096]], "the daemon goes on: that one is right")
t.same(fails.read(MIB, 4096), content[MIB:MIB + 4096], "... and so is the one that failed, now")

# --- one object, two disks: who waits in the other's fill, too, has no more time for that

names = ("one", "two", "three")
for name in names:
    t.same(attach("slow", name, "--deadline", "3s").returncode, 0, f"attached: {name}")
readers = [Direct(node(name)) for name in names]
daemon.kill(signal.SIGSTOP)
ended = []


waiting = [threading.Thread(target=lambda r=reader: ended.append(timed(r.read, 6 * MIB, 4096))) for reader in readers]
for waiter in waiting:
    waiter.start()
for waiter in waiting:
    waiter.join(60 * t.SLOW)
t.same([error in ("EIO", "ETIMEDOUT") for error, _ in ended], 3 * [True], "the daemon stands still: reads of one chunk by three disks fail", ended)
t.ok(all(2.5 < seconds < 3 + 2 * t.SLOW for _, seconds in ended), "... each by its deadline, not by one after the other", ended)
daemon.kill(signal.SIGCONT)
t.ok(t.wait_for(lambda: readers[0].read(6 * MIB, 4096) == content[6 * MIB:6 * MIB + 4096], 20), "the daemon goes on: they are right")
for name, reader in zip(names, readers):
    reader.close()
    detach(name)

# --- a chunk that somebody waits for all the time: those who come late wait on in one fill, and get it

crowd = put("busy", 4 * MIB)
limit = int(6 * t.SLOW)
t.same(attach("busy", "busy", "--deadline", f"{limit}s").returncode, 0, "attached: busy")
daemon.kill(signal.SIGSTOP)
busy, ended, asked = [Direct(node("busy")) for _ in range(8)], {}, set()


def read_block(number):
    pos = 2 * MIB + number * 65536
    ended[number] = (*timed(busy[number].read, pos, 4096), crowd[pos:pos + 4096])


def three_ended():
    asked.update(r[h.R_ID] for r in nl.requests(h.FETCH))
    return {0, 1, 2} <= set(ended)


waiting = [threading.Thread(target=read_block, args=(number,)) for number in range(len(busy))]
for waiter in waiting:
    waiter.start()
    time.sleep(0.7 * t.SLOW)      # what is tested: they come one after the other
t.ok(t.wait_for(three_ended, 30), "reads of one chunk, one after the other: the first have waited in vain", ended)
daemon.kill(signal.SIGCONT)
for waiter in waiting:
    waiter.join(60 * t.SLOW)
t.ok(len(asked) <= 2, "... the others wait in one fill, which has a deadline of its own", asked)
t.ok(ended[7][0] == ended[7][2], "... and the daemon goes on: who came last gets its bytes", {n: e[1] for n, e in ended.items()})
t.ok(all(e[0] in (e[2], "EIO", "ETIMEDOUT") and e[1] < limit + 3 * t.SLOW for e in ended.values()),
     "... none waits longer than it may, nor gets a wrong byte", {n: e[1] for n, e in ended.items()})
for reader in busy:
    reader.close()

# --- and by way of the page cache, which asks twice, and once more for each who waits for a page

daemon.kill(signal.SIGSTOP)
ended = []
waiting = [threading.Thread(target=lambda: ended.append(timed(buffered, "busy", 3 * MIB + 4096, 100))) for _ in range(6)]
for waiter in waiting:
    waiter.start()
for waiter in waiting:
    waiter.join(100 * t.SLOW)
t.same([answer for answer, _ in ended], 6 * ["EIO"], "buffered reads of one page fail", ended)
# The first has all of it, each other a moment; six deadlines would be 36 s.
t.ok(max(seconds for _, seconds in ended) < 20 * t.SLOW, "... soon after the first has", [round(seconds, 1) for _, seconds in ended])
daemon.kill(signal.SIGCONT)
t.ok(t.wait_for(lambda: buffered("busy", 3 * MIB + 4096, 100) == crowd[3 * MIB + 4096:3 * MIB + 4196], 20), "the daemon goes on: it is read")
detach("busy")

# --- taken away by force

daemon.kill(signal.SIGSTOP)
answers.clear()
waiter = threading.Thread(target=lambda: answers.append(waits.read(5 * MIB, 4096)))
waiter.start()
t.ok(t.wait_for(lambda: any(r[h.R_OFFSET] >> 20 == 5 for r in nl.requests(h.FETCH)), 20), "a read waits")
t.run_fails("not detached without force", "is open", "cachectl", "disk", "detach", "waits")
begin = time.monotonic()
t.run_ok("detached by force", "cachectl", "disk", "detach", "waits", "--force")
waiter.join(60 * t.SLOW)
t.ok(answers and answers[0] in ("EIO", "ENODEV") and time.monotonic() - begin < 60, "... what waited failed at once", answers)
t.ok(waits.read(0, 4096) in ("EIO", "ENODEV", "ENXIO", b""), "... what comes gets nothing, as on any device that is gone")
t.same((disk("waits"), os.path.exists(node("waits"))), (None, False), "... it is gone")
daemon.kill(signal.SIGCONT)
t.same(attach("slow", "waits").returncode, 0, "another one takes its name while that is still open")
again = Direct(node("waits"))
t.same(again.read(5 * MIB, 4096), content[5 * MIB:5 * MIB + 4096], "... and is read")
t.same(t.run("rmmod", "blobcache").returncode != 0, True, "the module stays")
for reader in (waits, again, fails, short):
    reader.close()
for name in ("waits", "fails", "short"):
    detach(name)

diskimage.make(KIND, "/mnt/tree", f"{STORE}/tree")

# --- status while the close of a killed reader waits for its read-ahead

t.same(attach("slow", "dying", "--deadline", "60s").returncode, 0, "attached: dying")
t.same(attach("tree", "coming", "--deadline", "90s").returncode, 0, "attached: coming")
daemon.kill(signal.SIGSTOP)
reader = subprocess.Popen(["cat", node("dying")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
t.ok(t.wait_for(lambda: nl.requests(h.FETCH), 20), "the daemon stands still: a reader waits")
reader.kill()
time.sleep(1)
begin = time.monotonic()
t.run_ok("the reader is killed: 'status' answers", "cachectl", "status", timeout=30)
t.ok("dying" in [d["name"] for d in t.cachectl("disk", "list")["disks"]], "... and so does 'disk list'")
patient = subprocess.Popen(["cachectl", "disk", "detach", "dying"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
t.ok(t.wait_for(lambda: "D" in state_of(patient.pid) or "S" in state_of(patient.pid), 20) and reader.poll() is None,
     "... somebody waits for the close to detach it", reader.poll())
p = t.run("cachectl", "disk", "detach", "dying", "--force", timeout=60)
t.ok(p.returncode == 0 or "no such disk" in p.stdout, "... it is detached by force all the same", p.stdout)
reader.wait(60)
patient.wait(60)
t.ok(disk("dying") is None and time.monotonic() - begin < 50, "... all of it long before the deadline", time.monotonic() - begin)

# --- taken away by force while it is being mounted

mounter = subprocess.Popen(["mount", "-t", KIND, "-o", "ro,noload" if KIND == "ext4" else "ro", node("coming"), "/mnt/signed"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
t.ok(t.wait_for(lambda: nl.requests(h.FETCH), 20), "a mount waits for its first block")
begin = time.monotonic()
t.run_ok("detached by force", "cachectl", "disk", "detach", "coming", "--force", timeout=60)
t.ok(mounter.wait(60 * t.SLOW) and time.monotonic() - begin < 60, "... at once, and the mount fails", time.monotonic() - begin)
daemon.kill(signal.SIGCONT)

# --- under load, mounted

t.same(attach("tree", "tree").returncode, 0, "attached")
t.run_ok("mounted", "mount", "-t", KIND, "-o", "ro,noload" if KIND == "ext4" else "ro", node("tree"), "/mnt/signed")
stop, found = threading.Event(), []


def read_on():
    while not stop.is_set():
        t.drop_caches(3)
        found.append(diskimage.wrong("/mnt/signed", sums))


readers = [threading.Thread(target=read_on) for _ in range(2)]
for reader in readers:
    reader.start()
t.ok(t.wait_for(lambda: len(found) >= 2, 60), "it is being read")
t.run_ok("detached by force under load", "cachectl", "disk", "detach", "tree", "--force")
t.ok(t.wait_for(lambda: found[-1], 60), "... its readers get errors, or find nothing", found[-1:])
stop.set()
for reader in readers:
    reader.join(60 * t.SLOW)
t.same([f for f in found for line in f if "Errno" not in line and "not there" not in line], [], "... and never a wrong byte")
t.run_ok("... it is unmounted", "umount", "/mnt/signed")

# --- a version that is gone

old = put("version", 4 * MIB)
t.same(attach("version", "version", "--pin").returncode, 0, "attached, pinned")
direct = Direct(node("version"))
t.same([direct.read(at, 4096) for at in (0, 3 * MIB)], [old[:4096], old[3 * MIB:3 * MIB + 4096]], "read in part")
t.settled()
new = put("version", 3 * MIB + 512)
t.same(direct.read(0, 4096), old[:4096], "the store has another version: what is cached is the old one")
t.same(direct.read(2 * MIB, 4096), "EIO", "... what is not cannot be read")
t.same(disk("version")["state"], "stale", "... and the disk says so")
t.same([direct.read(at, 8192) for at in (MIB - 4096, 3 * MIB - 4096)], ["EIO", "EIO"],
       "a read over the border of two chunks is an error if either is gone")
t.same([buffered("version", at, length) for at, length in ((3 * MIB - 4096, 8192), (3 * MIB - 65536, 131072), (2 * MIB, 2 * MIB))],
       3 * ["EIO"], "... also past the page cache's read-ahead")
t.same(direct.read(3 * MIB, 4096), old[3 * MIB:3 * MIB + 4096], "... the one that is cached is still right")
t.run_fails("it is not refreshed while it is open", "is open", "cachectl", "disk", "refresh", "version")
t.same(opened("version"), True, "... which can go on to be opened")
direct.close()
answer = t.cachectl("disk", "refresh", "version")
t.ok(answer and answer["changed"], "it is refreshed", answer)
direct = Direct(node("version"))
t.same([direct.read(at, 4096) == new[at:at + 4096] for at in (0, 2 * MIB)], [True, True], "... and is the new version")
direct.close()
state = disk("version")
t.same((state["size"], state["state"], state["pinned"]), (len(new), "live", True), "... live, as long as that, and pinned")
answer = t.cachectl("disk", "refresh", "version")
t.same(answer and answer["changed"], False, "refreshed once more it is the same")
t.settled()
os.rename(f"{STORE}/version", f"{STORE}/away")
t.run_fails("one whose object is gone is not refreshed", "no such object", "cachectl", "disk", "refresh", "version")
t.same(disk("version")["state"], "live", "... and stays")
t.run_ok("unpinned", "cachectl", "pin", "remove", node("version"))
t.same(opened("version"), True, "... and can be opened")
direct = Direct(node("version"))
t.same((direct.read(MIB, 4096), disk("version")["state"]), ("EIO", "stale"), "a read of what is not cached finds it stale")
direct.close()
os.rename(f"{STORE}/away", f"{STORE}/version")
answer = t.cachectl("disk", "refresh", "version")
t.same((answer and answer["changed"], disk("version")["state"]), (False, "live"), "its object is back: refreshed it is live again")
t.same(buffered("version", MIB, 4096), new[MIB:MIB + 4096], "... and read")
detach("version")

# --- prefetch, pin, residency by the device

content = put("whole", 12 * MIB + 3)
p = attach("whole", "whole", "--pin", "--prefetch")
t.same(p.returncode, 0, "attached, pinned, prefetched", p.stdout)
state = disk("whole")
t.same((state["resident_bytes"], state["pinned"]), (len(content), True), "all of it is here")
t.same(t.cachectl("residency", node("whole"))["files"][0]["resident_bytes"], len(content), "'residency' takes a disk")
t.run_fails("what is pinned is not evicted", "pinned", "cachectl", "evict", node("whole"))
t.run_fails("another block device is no disk of ours", "not a disk", "cachectl", "residency", RAW)
t.run_ok("unpinned", "cachectl", "pin", "remove", node("whole"))

# --- read-ahead

stream = put("ahead", 24 * MIB)
t.same(attach("ahead", "ahead").returncode, 0, "attached")
delta = h.Delta(nl)
direct = Direct(node("ahead"))
t.same([direct.read(at, MIB // 4) == stream[at:at + MIB // 4] for at in range(0, 2 * MIB, MIB // 4)], 8 * [True], "read in order: right")
direct.close()
t.settled()
t.ok(delta.prefetch_requests > 0 and disk("ahead")["resident_bytes"] >= 4 * MIB, "... what comes next is fetched ahead", disk("ahead"))
detach("ahead")

# --- little memory

os.makedirs("/sys/fs/cgroup/small", exist_ok=True)
with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as f:
    f.write("+memory")
with open("/sys/fs/cgroup/small/memory.max", "w", encoding="ascii") as f:
    f.write(str(24 * MIB))
p = t.run("sh", "-c", f"echo $$ >/sys/fs/cgroup/small/cgroup.procs; for i in 1 2 3; do sha256sum {node('whole')}; done", timeout=200)
padded = content + b"\0" * (-len(content) % 4096)
t.same([line.split()[0] for line in p.stdout.splitlines()], 3 * [hashlib.sha256(padded).hexdigest()], "with little memory it is right", p.stdout)

# --- the tier is pulled

table("error")
t.drop_caches(3)
t.same(diskimage.whole(node("whole"), len(content)), hashlib.sha256(content).hexdigest(), "the tier is pulled: what it had is fetched, and right")
t.drop_caches(3)
t.same(diskimage.whole(node("whole"), len(content)), hashlib.sha256(content).hexdigest(), "... and once more")
detach("whole")
t.run("cachectl", "device", "detach", TIER)
table("linear")
t.run_ok("the tier is back", "cachectl", "device", "attach", TIER)

# --- two hundred

A_DISK = h.A_DISK       # pylint: disable=no-member
ATTACH, DETACH = h.DISK_ATTACH, h.DISK_DETACH       # pylint: disable=no-member
NAME, SOURCE, PATH = 2, 3, 5
failed = []
for n in range(200):
    error, message = nl.error(ATTACH, h.nest(A_DISK, h.text(NAME, "often"), h.text(SOURCE, VOLUME), h.text(PATH, "whole")))
    if error:
        failed.append((n, "attach", h.name(error), message))
        continue
    if not n % 20:
        direct = Direct(node("often"))
        if direct.read(MIB, 4096) != content[MIB:MIB + 4096]:
            failed.append((n, "read"))
        direct.close()
    error, message = nl.error(DETACH, h.nest(A_DISK, h.text(NAME, "often")))
    if error:
        failed.append((n, "detach", h.name(error), message))
t.same(failed[:5], [], "two hundred disks come and go")
for parts, want in (((), "EINVAL"), ((h.text(NAME, "x"),), "EINVAL"), ((h.text(NAME, "x" * 30),), "EINVAL"),
                    ((h.text(NAME, ""), h.text(SOURCE, VOLUME), h.text(PATH, "whole")), "EINVAL"),
                    ((h.text(NAME, "x"), h.text(SOURCE, VOLUME + "/"), h.text(PATH, "whole")), "EINVAL"),
                    ((h.text(NAME, "x"), h.text(SOURCE, "nothing"), h.text(PATH, "whole")), "EINVAL")):
    t.same(h.name(nl.error(ATTACH, h.nest(A_DISK, *parts))[0]), want, f"bad requests are refused: {parts}")
t.same(h.name(nl.error(ATTACH)[0]), "EINVAL", "... one without anything, too")

t.same(t.cachectl("disk", "list")["disks"], [], "no disk is left")
t.run("cachectl", "device", "detach", TIER)
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.run("dmsetup", "remove", "tier")
t.done()
