#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what docs/failure.md says of unmounting. umount -f of a mount fails what its files wait
# for, and nothing of another mount, whichever of them asked for the bytes first; a mount in use is
# busy; one that is detached lazily is hidden, and its files are read until they are closed; umount
# works while the daemon and the lower stand still; what stands in line for a lower that hangs does
# not keep the module, only what is inside it.
#
# vm: disk=data:64M timeout=240 mem=1G

import os
import signal
import threading

import fuseserver
import hostile_daemon as h
import vmtest as t

MIB = 1 << 20
STORE, A, B, OWN, C = "/mnt/store", "/mnt/a", "/mnt/b", "/mnt/own", "/mnt/c"
VOLUME = f"file://{STORE}"
DATA = t.disk("data")
INSIDE, WAITERS = 16, 24        # as many of a mount are in its lower; the others stand in line


class Read(threading.Thread):
    """Bytes at a position, or the error."""

    def __init__(self, fd, at):
        super().__init__(daemon=True)
        self.fd, self.at, self.result = fd, at, None
        self.start()

    def run(self):
        try:
            self.result = os.pread(self.fd, 1000, self.at)
        except OSError as e:
            self.result = h.name(e.errno)


def waits(at, first, second):
    """Two files wait for the same bytes, of which nobody has any."""
    delta = h.Delta(nl)
    reads = [Read(first, at)]
    t.wait_for(lambda: delta.miss_reads >= 1, 30, "the first read waits")
    reads.append(Read(second, at))
    t.wait_for(lambda: delta.miss_reads >= 2, 30, "the second read waits")
    t.same([r.result for r in reads], [None, None], f"at {at}: both wait")
    return reads


def force(directory):
    t.run_fails("umount -f of a mount in use: busy", "busy", "umount", "-f", directory)


def ends(reads, seconds=60):
    for r in reads:
        r.join(seconds * t.SLOW)
    return [r.result for r in reads]


# --- two mounts, one fill

os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
content = os.urandom(4 * MIB)
with open(f"{STORE}/f", "wb") as f:
    f.write(content)
t.run("modprobe", "fuse")
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
for n in A, B:
    status, output = t.mount(STORE, n, ro=True, volume=VOLUME, ttl="1h", deadline="90s")
    t.same(status, 0, f"{n} is mounted", output)
fds = {n: os.open(f"{n}/f", os.O_RDONLY) for n in (A, B)}
for fd in fds.values():
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    t.same(os.pread(fd, 1000, 0), content[:1000], "it is read, and its version is known")
t.settled()
os.kill(daemon.pid, signal.SIGSTOP)
own_first, other_first = waits(MIB, fds[B], fds[A]), waits(2 * MIB, fds[A], fds[B])
force(B)
t.same(ends((own_first[0], other_first[1])), ["EIO", "EIO"], "its reads fail")
t.same((own_first[1].result, other_first[0].result), (None, None), "those of the other mount wait")
os.kill(daemon.pid, signal.SIGCONT)
t.same(ends((own_first[1], other_first[0])), [content[at:at + 1000] for at in (MIB, 2 * MIB)], "... and get their bytes")
t.same(os.pread(fds[B], 1000, 3 * MIB), content[3 * MIB:3 * MIB + 1000], "the mount is there still, and works")

# --- busy, lazily, while the daemon stands still

t.run_fails("umount of a mount in use: busy", "busy", "umount", B)
t.run_ok("detached lazily", "cachectl", "mount", "detach", "--lazy", B)
t.ok(not os.path.ismount(B) and not os.path.exists(f"{B}/f"), "it is hidden")
t.same(os.pread(fds[B], 1000, 3 * MIB + 5000), content[3 * MIB + 5000:3 * MIB + 6000], "... and its file is read")
os.close(fds.pop(B))
os.close(fds.pop(A))
t.settled()
os.kill(daemon.pid, signal.SIGSTOP)
t.run_ok("the daemon stands still: unmounted", "umount", A)
t.run_ok("... and detached", "cachectl", "device", "detach", DATA)
os.kill(daemon.pid, signal.SIGCONT)
t.same(daemon.stop(), 0, "the daemon ends")

# --- a lower that hangs, while no daemon is there

tree = fuseserver.Node(0o755, **{f"f{n}": fuseserver.Node(0o644, data=content[:5000]) for n in range(WAITERS)})
own = fuseserver.Tree(tree)
own.mount(OWN)
status, output = t.mount(OWN, C, ro=True, volume="file:///nowhere", ttl="1h", deadline="90s")
t.same(status, 0, "a mount over another lower", output)
opened = [os.open(f"{C}/{n}", os.O_RDONLY) for n in tree.children]
own.frozen = True
hanging = [Read(fd, 0) for fd in opened]
t.ok(t.wait_for(lambda: t.cachectl("mount", "show", C)["lower_stuck"] == INSIDE and nl.status()[h.ST_REQUESTS] == WAITERS, 60),
     f"it hangs, {INSIDE} reads are in it, others stand in line", nl.status())
force(C)
t.same(set(ends(hanging)), {"EIO"}, "all of them fail")
t.same(nl.status()[h.ST_REQUESTS], 0, "... and nothing is asked for any more")
for fd in opened:
    os.close(fd)
t.run_ok("unmounted, while the lower hangs", "umount", C)
t.ok(t.run("rmmod", "blobcache").returncode, "the module stays, for those inside it")
own.frozen = False
t.run("umount", OWN)
nl.close()
t.ok(t.unloaded(), "... until they are back")
t.done()
