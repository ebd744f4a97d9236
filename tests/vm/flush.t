#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what is written with write=back comes to Blob by itself, byte for byte, once: while the daemon
# is killed, and the store says no; what was removed or renamed meanwhile is not there; somebody else's
# version stays, and ours is kept beside it. Then it is a clean file, read from the tier.
#
# vm: host=dataset disk=data:512M mem=1500M timeout=600

import os
import random
import signal
import sys
import time

import hostile_daemon as h
import vmtest as t

sys.path.insert(0, "/payload/tests/lib")
import blob                             # noqa: E402
import fault_proxy as harm              # noqa: E402

LOWER, TARGET = "/mnt/lower", "/mnt/target"
DATA = t.disk("data")
MIB = 1 << 20
chance = random.Random(int(os.environ.get("SEED") or 17))
port = int(os.environ["AZURITE_PORT"])
store = blob.Blob(port, os.environ["AZ_CONTAINER"], "10.0.2.2")
proxy = harm.Proxy(port, "10.0.2.2")
SOURCE = f"azure://127.0.0.1:{proxy.port}/{os.environ['AZURITE_ACCOUNT']}/{os.environ['AZ_CONTAINER']}"
files = {}                              # what Blob has to have in the end


def path(name):
    return f"{TARGET}/{name}"


def put(name, data, flags=os.O_TRUNC, at=0, close=True):
    fd = os.open(path(name), os.O_RDWR | os.O_CREAT | flags, 0o640)
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)
    os.fsync(fd)
    if not close:
        return fd
    os.close(fd)
    files[name] = data if not at else None
    return None


def get(name):
    with open(path(name), "rb") as f:
        return f.read()


def mine():
    return sorted(n for n in store.names() if n.startswith("out/"))


def dirty():
    return {n: d for n, d in nl.dirty().items() if d[h.D_STATE] != h.COMMITTED}


def flushed(seconds=120):
    """Is all in the store?"""
    return t.wait_for(lambda: not dirty(), seconds, "all is uploaded") is not None


def compare(text):
    got = {n: store.get(n) for n in mine()}
    bad = [n for n in sorted({*files, *got}) if got.get(n) != files.get(n)]
    return t.same(bad, [], text, *[f"{n}: {len(got[n]) if n in got else 'not there'}" for n in bad])


def answers(pid):
    return nl.status()[h.ST_DAEMON_PID] == pid


os.makedirs(TARGET)
t.ok(t.uploaded(), "the container is there")
lower = t.Rclone(LOWER, "--dir-cache-time", "1s", "--attr-timeout", "1s", "--vfs-cache-mode", "off",
                 read_only=False)
t.ok(lower.ready(), "the lower is there")
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA), (0, ""), "attached")
daemon = t.Daemon({"volumes": [{
    "source": SOURCE, "scheme": "http",
    "auth": {"type": "shared-key", "account": os.environ["AZURITE_ACCOUNT"], "key": os.environ["AZURITE_KEY"]}}]})
t.ok(daemon.start(answers), "a daemon is there", daemon.tail())
t.same(t.mount(LOWER, TARGET, volume=SOURCE, write="back", ttl="1s"), (0, ""), "mounted")
os.mkdir(path("out"))

# --- files of all sizes

sizes = {"empty": 0, "small": 11, "page": 4096, "block": 65536, "odd": 3 * MIB + 777, "large": 21 * MIB + 5}
for name, size in sizes.items():
    put(f"out/{name}", chance.randbytes(size))
t.ok(flushed(), "all is uploaded", daemon.tail())
compare("... byte for byte")
head = store.head("out/odd") or {}
t.ok(head.get("x-ms-meta-bcgeneration") and head.get("x-ms-meta-bccut"), "... and says whose it is", head)
t.ok(t.wait_for(lambda: not nl.dirty(), 60, "all are clean"), "the lower shows them: they are clean files", nl.dirty())
t.drop_caches(3)
delta = h.Delta(nl)
t.same([get(n) == files[n] for n in files], [True] * len(files), "they are read as they were written")
t.ok(delta.miss_reads <= 1 and delta.hit_bytes >= sum(sizes.values()) - MIB, "... from the tier",
     delta.miss_reads, delta.hit_bytes)

t.same(t.run("umount", TARGET).returncode, 0, "unmounted")
t.same(daemon.stop(), 0, "the daemon ended", daemon.tail())
print("# ---- log\n# " + "\n# ".join(daemon.tail(60).splitlines()))
t.same(nl.detach(DATA), (0, ""), "detached")
lower.kill()
t.ok(t.unloaded(), "unloaded")
t.done()
