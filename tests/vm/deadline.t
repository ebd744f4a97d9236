#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a read that nobody can answer fails at the mount's deadline: each of several readers of one
# page, by whatever call, and page faults, also of a page that another one waits for; not at a
# multiple of it, as each asks for the page again. Who comes while others wait, and has not waited for
# long when they fail, asks again, and is answered when the daemon is there.
#
# vm: timeout=240 mem=768M

import mmap
import os
import signal
import threading
import time

import hostile_daemon as h
import vmtest as t

MIB = 1 << 20
SIZE = 9 * MIB
STORE, TARGET = "/mnt/store", "/mnt/target"
VOLUME = f"file://{STORE}"
DEADLINE = 30           # and not longer on a machine that is slower: so much longer than what a process takes


class Call(threading.Thread):
    """.result: what it returned, or the error, and when"""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.call, self.result = (function, arguments), None
        self.start()

    def run(self):
        try:
            said = self.call[0](*self.call[1])
        except OSError as e:
            said = h.name(e.errno)
        self.result = said, time.monotonic()


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
    """How a process ends that looks at a page: 0, or the signal."""
    pid = os.fork()
    if not pid:
        m = mmap.mmap(opened(), SIZE, prot=mmap.PROT_READ)
        os._exit(m[at] & 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status and signal.Signals(-status).name


def waiting(calls):
    return t.wait_for(lambda: t.cachectl("stats")["miss_reads"] >= calls, DEADLINE / 3, f"{calls} reads miss")


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
content = os.urandom(SIZE)
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
before = t.cachectl("stats")["miss_reads"]
begin = time.monotonic()
# Of a chunk each.
calls = {f"reader {n}": Call(pread, MIB) for n in range(6)}
calls.update({"splice": Call(splice, 2 * MIB), "direct": Call(direct, 3 * MIB), "fault": Call(fault, 4 * MIB)})
# Those may wait on, with who comes late and is the first to ask again.
firsts = [Call(call, at * MIB) for at, call in enumerate((pread, splice, fault, pread), 5)]
# Readers of one page miss once.
t.ok(waiting(before + 8), "a page of each chunk is asked for", t.cachectl("stats"))
# Who finds a page locked is in the lock of his VMA only, when he waits for the first time.
calls.update({f"fault of a page for which a {who} waits": Call(fault, at * MIB)
              for at, who in enumerate(("reader", "splice", "direct read", "fault"), 1)})
t.wait_for(lambda: time.monotonic() - begin > DEADLINE - 4, DEADLINE, "it is late")
late = {"reader": Call(pread, 5 * MIB), "splice": Call(splice, 6 * MIB), "fault": Call(fault, 7 * MIB),
        "fault after a reader": Call(fault, 8 * MIB)}
for name, call in calls.items():
    call.join(10 * DEADLINE)
    what, end = call.result or (None, 0)
    t.same(what, "SIGBUS" if name.startswith("fault") else "EIO", f"{name}: fails")
    t.ok(DEADLINE - 2 < end - begin < 2 * DEADLINE - 5, f"... at the deadline: {end - begin:.1f} s")
t.same([name for name, call in late.items() if call.result], [], "who came late waits still")
os.kill(daemon.pid, signal.SIGCONT)
for name, call in late.items():
    call.join(10 * DEADLINE)
    wanted = {"reader": True, "splice": 1000}.get(name, 0)
    t.same((call.result or [None])[0], wanted, f"... and is answered: {name}")
for call in firsts:
    call.join(10 * DEADLINE)
t.ok(all(pread(at) for at in range(0, SIZE, MIB)), "the daemon goes on: all is right")
t.settled()
t.done()
