#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the power may go at any moment. A run that fills, evicts, detaches and
# attaches is recorded below the tier; of what the device may hold after a cut many
# images are made. In each, a record has its data, or its place was reused
# (tests/crash/crash.c); some are attached, and every byte read is right.
#
# IMAGES=n and ATTACHED=n (--env) for more; KEEP_LOG=1 leaves the recording in out/.
#
# vm: disk=data:20M disk=log:500M timeout=900 mem=1500M

import os
import random
import re
import shutil

import hostile_daemon as h
import vmtest as t

STORE, TARGET, DM = "/mnt/store", "/mnt/target", "/dev/mapper/recorded"
BASE = "/run/test/base"
IMAGES = int(os.environ.get("IMAGES", "500"))
ATTACHED = int(os.environ.get("ATTACHED", "20"))
FLUSHES = 12
DATA, LOG = t.disk("data"), t.disk("log")
chance = random.Random(4711)


def read(name):
    with open(f"{TARGET}/{name}", "rb", buffering=0) as f:
        data = b""
        while part := f.read(1 << 20):
            data += part
    return data


def mount():
    return t.mount(STORE, TARGET, ro=True, volume=f"file://{STORE}", ttl="1h", deadline="30s")


def crash(*argv):
    return t.run("crash", "--base", BASE, "--log", LOG, *argv, timeout=700)


def flushes():
    """Of the device, so far."""
    with open(f"/sys/block/{os.path.basename(DATA)}/stat", encoding="ascii") as f:
        return int(f.read().split()[15])


os.makedirs(TARGET)
os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=200m", "none", STORE)
files = {}
for n in range(40):
    size = chance.choice((chance.randrange(1, 60000), chance.randrange(1, 400000), 1 << 20,
                          chance.randrange(1 << 20, 3 << 20)))
    files[f"f{n}"] = chance.randbytes(size)
    with open(f"{STORE}/f{n}", "wb") as out:
        out.write(files[f"f{n}"])

t.load_module()
t.run("modprobe", "dm-log-writes")
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
shutil.copyfile(DATA, BASE)
sectors = os.path.getsize(BASE) // 512
if t.run("dmsetup", "create", "recorded", "--table", f"0 {sectors} log-writes {DATA} {LOG}").returncode:
    t.skip_all("no dm-log-writes here")
t.run("dmsetup", "mknodes")
daemon = t.Daemon({"volumes": [{"source": f"file://{STORE}"}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
t.same(nl.attach(DM)[0], 0, "the tier is attached, recorded")
t.same(mount()[0], 0, "a mount")
wrong, reads, attaches = [], 0, 1
before = flushes()
while reads < 4000 and (flushes() - before < FLUSHES or reads % 10 or nl.stats()["evicted_chunks"] <= 20):
    name = chance.choice(list(files))
    if read(name) != files[name]:
        wrong.append(name)
    reads += 1
    if chance.random() < 0.1:
        t.drop_caches(1)
    if chance.random() < 0.05:
        with open(f"{TARGET}/{name}", "rb") as f:
            nl.error(h.EVICT, h.u32(h.A_FD, f.fileno()))
    if attaches < 4 and flushes() - before > FLUSHES * attaches // 3:
        attaches += 1
        nl.detach(DM)
        nl.attach(DM)
t.ok(not wrong and flushes() - before >= FLUSHES, f"{reads} files read", wrong)
t.ok(nl.stats()["evicted_chunks"] > 20, "... more than fits", nl.stats())
t.same(t.run("umount", TARGET).returncode, 0, "unmounted")
t.same(nl.detach(DM)[0], 0, "detached")
t.run_ok("the record is closed", "dmsetup", "remove", "recorded")

p = crash("--images", IMAGES, "--seed", 1, "--chunks", 5)
t.ok(p.returncode == 0, f"{IMAGES} images: each record has its data", p.stdout)
t.diag(p.stdout)
p = crash("--images", IMAGES, "--no-flushes")
t.ok(p.returncode == 1 and "a record without its data" in p.stdout,
     "without flushes one comes before its data: that is found", p.stdout)
t.diag(p.stdout)

bad = []
for n in range(ATTACHED):
    p = crash("--image", n, "--seed", 2, "--write", DATA)
    want = re.search(r"chunks=(\d+)", p.stdout)
    error = nl.attach(DATA)
    if p.returncode or not want or error[0]:
        bad.append(f"image {n}: {p.stdout} {error}")
        break
    if nl.tier()["chunks"] != int(want[1]):
        bad.append(f"image {n}: {nl.tier()['chunks']} chunks attached, crash(1) found {want[1]}")
    mount()
    bad += [f"image {n}: {name} is wrong" for name, data in files.items() if read(name) != data]
    t.run("umount", TARGET)
    nl.detach(DATA)
    t.drop_caches(3)
t.ok(not bad, f"{ATTACHED} of them attached: the same chunks, and every byte is right", *bad[:10])
if os.environ.get("KEEP_LOG"):
    shutil.copyfile(BASE, "/out/base")
    shutil.copyfile(LOG, "/out/log")
t.same(daemon.stop(), 0, "the daemon ends")
t.done()
