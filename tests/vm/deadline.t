#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a read that nobody can answer fails at the mount's deadline: each of several readers of one
# page, by whatever call, and a page fault; not at a multiple of it, as each asks for the page again.
# Who comes later asks again, and is answered when the daemon is there.
#
# vm: timeout=180 mem=768M

import mmap
import os
import signal
import threading
import time

import hostile_daemon as h
import vmtest as t

MIB = 1 << 20
STORE, TARGET = "/mnt/store", "/mnt/target"
VOLUME = f"file://{STORE}"
DEADLINE = 15


class Call(threading.Thread):
    """.result: the error, and after how long"""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.call, self.result = (function, arguments), None
        self.begin = time.monotonic()
        self.start()

    def run(self):
        try:
            said = self.call[0](*self.call[1])
        except OSError as e:
            said = h.name(e.errno)
        self.result = said, time.monotonic() - self.begin


def opened():
    fd = os.open(f"{TARGET}/f", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    return fd


def pread(at):
    """Are the bytes right?"""
    return os.pread(opened(), 1000, at) == content[at:at + 1000]


def splice(at):
    out, inp = os.pipe()
    try:
        return os.splice(opened(), inp, 1000, offset_src=at)
    finally:
        os.close(out)
        os.close(inp)


def direct(at):
    with mmap.mmap(-1, 4096) as buffer:
        return os.preadv(os.open(f"{TARGET}/f", os.O_RDONLY | os.O_DIRECT), [buffer], at)


def fault(at):
    """The signal by which a process ends that looks at a page."""
    pid = os.fork()
    if not pid:
        m = mmap.mmap(opened(), 5 * MIB, prot=mmap.PROT_READ)
        os._exit(m[at] & 0)
    return signal.Signals(-os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).name


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
content = os.urandom(5 * MIB)
with open(f"{STORE}/f", "wb") as f:
    f.write(content)
t.load_module(t.PATIENT)
nl = h.Netlink()
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline=f"{DEADLINE}s")
t.same(status, 0, "mounted", output)
t.ok(pread(0), "a file is read, and its version known")
t.settled()
t.drop_caches(1)
os.kill(daemon.pid, signal.SIGSTOP)
# Of a chunk each.
calls = {f"reader {n}": Call(pread, MIB) for n in range(6)}
calls.update({"splice": Call(splice, 2 * MIB), "direct": Call(direct, 3 * MIB), "fault": Call(fault, 4 * MIB)})
for name, call in calls.items():
    call.join(10 * DEADLINE * t.SLOW)
    what, seconds = call.result or (None, 0)
    t.same(what, "SIGBUS" if name == "fault" else "EIO", f"{name}: fails")
    t.ok(DEADLINE - 2 < seconds < 1.7 * DEADLINE * t.SLOW, f"... at the deadline: {seconds:.1f} s")
os.kill(daemon.pid, signal.SIGCONT)
t.ok(all(pread(at) for at in range(0, 5 * MIB, MIB)), "the daemon goes on: all is right")
t.settled()
t.done()
