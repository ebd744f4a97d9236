#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what a lower does to one file is not taken for its death, and what it keeps
# for ever is left behind, and who waited there has it from the next lower. EIO, ESTALE of a file leave the mount alone, unless the
# lower's root fails too or does not answer. With every worker stuck in a lower,
# relower gives a mount that works at once, and what is left in the old one neither counts
# nor speaks against the new one; what may be left so is bounded. nosuid and noexec of a new
# lower hold.
# mmap of a file without a version waits for one deadline.
#
# The lower is a FUSE server of our own, which fails and hangs as it is told.
#
# vm: mem=1G timeout=240

import errno
import mmap
import os
import shutil
import stat
import subprocess
import threading
import time

import fuseserver
import vmtest as t

L1, L2, L3, TARGET, WAIT = "/mnt/l1", "/mnt/l2", "/mnt/l3", "/mnt/a", "/mnt/b"
DATA = b"x" * 100


class Files(fuseserver.Server):
    """A directory in which every name is a file; see the attributes for what it does."""

    def __init__(self):
        super().__init__()
        self.lookup_errors = {}     # of names
        self.read_errors = {}
        self.root_error = 0         # of getattr of the root; None = no answer
        self.root_failed = 0        # how often it said that
        self.names, self.nodes = {}, {}

    @staticmethod
    def attr(node):
        return fuseserver.attr(node, 0o40755 if node == fuseserver.ROOT else 0o100644, len(DATA))

    def answer(self, opcode, node, body):
        if opcode == fuseserver.LOOKUP:
            name = body.rstrip(b"\0").decode()
            if name in self.lookup_errors:
                return self.lookup_errors[name]
            child = self.names.setdefault(name, len(self.names) + 2)
            self.nodes[child] = name
            return fuseserver.entry_out(child, self.attr(child))
        if opcode == fuseserver.GETATTR:
            if node == fuseserver.ROOT and self.root_error != 0:
                self.root_failed += 1
                return self.root_error
            return fuseserver.attr_out(self.attr(node))
        if opcode == fuseserver.READ:
            return self.read_errors.get(self.nodes.get(node)) or fuseserver.part(DATA, body)
        return errno.ENOSYS


class Call(threading.Thread):
    """A system call that may not come back soon."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.call, self.result = (function, arguments), None
        self.start()

    def run(self):
        try:
            self.result = self.call[0](*self.call[1])
        except OSError as e:
            self.result = e.errno


def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        return e.errno
    return 0


def content(path):
    with open(path, "rb") as f:
        return f.read()


def show(field):
    return (t.cachectl("mount", "show", TARGET) or {}).get(field)


def complaints():
    return t.run("dmesg").stdout.count("lower does not answer")


def relower(lower):
    t.run_ok(f"relower to {lower}", "cachectl", "mount", "relower", TARGET, lower)


def file_errors(server):
    """What happens to one file is not the lower's end."""
    server.lookup_errors = {"io": errno.EIO, "stale": errno.ESTALE}
    t.same(error_of(os.stat, f"{TARGET}/io"), errno.EIO, "lookup of one file: EIO")
    t.same(error_of(os.stat, f"{TARGET}/f1"), 0, "... and of another: none")
    t.same(error_of(os.stat, f"{TARGET}/stale"), errno.ESTALE, "lookup of one file: ESTALE")
    t.same(error_of(os.stat, f"{TARGET}/f2"), 0, "... and of another: none")
    server.read_errors = {"unread": errno.EIO}
    # Its lower read failed; it waits for a daemon now, or for another lower.
    failed = Call(content, f"{TARGET}/unread")
    t.wait_for(lambda: t.cachectl("stats")["lower_failed"] >= 1, 10, "it failed")
    t.same(content(f"{TARGET}/f3"), DATA, "read of another file than the one that cannot be read")
    server.root_error = errno.EACCES
    t.same(error_of(os.stat, f"{TARGET}/io"), errno.EIO, "EIO again, and the root says EACCES")
    t.ok(t.wait_for(lambda: server.root_failed, 10), "... when it is asked")
    t.same(error_of(os.stat, f"{TARGET}/f4"), 0, "... which is an answer")
    server.root_error = 0
    t.same(complaints(), 0, "the mount was never suspect")
    return failed


def root_errors(server):
    for error, text in (errno.EIO, "fails"), (None, "does not answer"):
        server.root_error = error
        t.same(error_of(os.stat, f"{TARGET}/io"), errno.EIO, f"EIO of a file, and the root {text}")
        # One that is being asked is not doubted again; and one that does not answer asks no name either.
        again = error is not None
        t.ok(t.wait_for(lambda a=again: show("lower_suspect") or (a and error_of(os.stat, f"{TARGET}/io") and None), 10),
             "... then the lower is suspect")
        server.root_error = 0
        t.ok(t.wait_for(lambda: not show("lower_suspect"), 10), "... until it answers")


def stuck(server, failed):
    """More callers than workers, for names and for bytes."""
    files = [os.open(f"{TARGET}/r{n}", os.O_RDONLY) for n in range(20)]
    server.frozen = True
    reads = [Call(os.read, fd, 10) for fd in files]
    stats = [Call(os.stat, f"{TARGET}/n{n}") for n in range(20)]
    t.ok(t.wait_for(lambda: show("lower_stuck") == 32, 10), "all workers are stuck")
    before = complaints()
    relower(L2)
    t.ok(t.wait_for(lambda: not any(c.is_alive() for c in [failed, *stats, *reads]), 5),
         "lookups and reads that waited go on at once")
    t.same([c.result for c in stats if isinstance(c.result, int)], [], "... and find their files")
    t.same([c.result for c in reads], [DATA[:10]] * 20, "... and their bytes")
    t.same(failed.result, DATA, "... those, too, that the old lower could not read")
    begin = time.monotonic()
    t.same(content(f"{TARGET}/new"), b"new", "a new file is found and read")
    t.ok(time.monotonic() - begin < 15 * t.SLOW, "... at once")
    t.ok(t.wait_for(lambda: show("lower_stuck") == 32, 10), "those stuck in the old lower are told", show("lower_stuck"))
    t.same(show("lower_type"), "tmpfs", "the type is the new one's")
    server.closed = True
    t.ok(t.wait_for(lambda: show("lower_stuck") == 0, 20), "... until its server is gone")
    t.same((show("lower_suspect"), complaints()), (False, before),
           "nothing of that spoke against the new lower")
    for fd in files:
        os.close(fd)


def too_many_left():
    """So many may be left behind in old lowers, and no more."""
    servers, calls, files = [], [], []
    while True:
        server, where = Files(), f"/mnt/m{len(servers)}"
        server.mount(where)
        p = t.run("cachectl", "mount", "relower", TARGET, where)
        if p.returncode or len(servers) > 8:
            break
        files += [os.open(f"{TARGET}/{where[5:]}-r{n}", os.O_RDONLY) for n in range(20)]
        server.frozen = True
        servers.append(server)
        calls += [Call(os.read, fd, 10) for fd in files[-20:]] + [Call(os.stat, f"{TARGET}/{where[5:]}-n{n}") for n in range(20)]
        t.wait_for(lambda: show("lower_stuck") == 32 * len(servers), 30, "all workers are stuck in this one, too")
    t.same(("too many workers are stuck in earlier lowers" in p.stdout, show("lower_stuck")), (True, 160),
           "more than 128 are stuck: relower is refused for that", p.stdout)
    server.closed = True
    for server in servers:
        server.closed = True
    t.ok(t.wait_for(lambda: show("lower_stuck") == 0, 30), "... until they are back", show("lower_stuck"))
    relower(L2)
    t.ok(t.wait_for(lambda: not any(c.is_alive() for c in calls), 60), "who waited comes back")
    for fd in files:
        os.close(fd)


def restrictions():
    tool = f"{TARGET}/tool"
    t.same((t.run(tool).returncode, os.stat(tool).st_mode & stat.S_ISUID), (0, stat.S_ISUID),
           "a set-id program runs")
    relower(L3)
    t.same(os.stat(tool).st_mode & stat.S_ISUID, 0, "a lower with nosuid: not set-id any more")
    t.same(error_of(subprocess.run, [tool]), errno.EACCES, "... with noexec: does not run")
    relower(L2)
    t.same((os.stat(tool).st_mode & stat.S_ISUID, error_of(subprocess.run, [tool])),
           (0, errno.EACCES), "... for good")


def timed(function, *arguments):
    begin = time.monotonic()
    error = error_of(function, *arguments)
    return error, time.monotonic() - begin


def one_deadline():
    status, output = t.mount(L2, WAIT, ro=True, volume="file:///nowhere", deadline="10s",
                             on_daemon_loss="wait")
    t.same(status, 0, "mount that waits for a daemon", output)
    fd, fd2 = os.open(f"{WAIT}/big", os.O_RDONLY), os.open(f"{WAIT}/big", os.O_RDONLY)
    error, read_time = timed(os.read, fd, 1)
    t.same(error, errno.ETIMEDOUT, "read without a daemon")
    error, mmap_time = timed(lambda: mmap.mmap(fd2, 4096, prot=mmap.PROT_READ, offset=1 << 20))
    t.same(error, errno.ETIMEDOUT, "mmap without a daemon")
    t.ok(mmap_time < 18, f"... waits as long, not twice: {mmap_time:.1f} s, {read_time:.1f} s")
    os.close(fd)
    os.close(fd2)


t.load_module()
t.run("modprobe", "fuse")
for d in L2, L3:
    os.makedirs(d)
t.run("mount", "-t", "tmpfs", "none", L2)
for n in range(20):
    for name in f"n{n}", f"r{n}", "unread":
        with open(f"{L2}/{name}", "wb") as f:
            f.write(DATA)
with open(f"{L2}/new", "wb") as f:
    f.write(b"new")
with open(f"{L2}/big", "wb") as f:
    f.truncate(3 << 20)
shutil.copy("/bin/true", f"{L2}/tool")
os.chmod(f"{L2}/tool", 0o4755)
t.run("mount", "--bind", L2, L3)
t.run("mount", "-o", "remount,bind,nosuid,noexec", L3)

lower_server = Files()
lower_server.mount(L1)
# A long ttl: cachectl must not be the one who asks the lower.
rc, said = t.mount(L1, TARGET, ro=True, volume="file:///nowhere", ttl="600s", deadline=f"{20 * t.SLOW:.0f}s")
t.same(rc, 0, "mount", said)
t.same(show("lower_type"), "fuse.bctest", "type of the lower")
reader = file_errors(lower_server)
root_errors(lower_server)
stuck(lower_server, reader)
too_many_left()
restrictions()
one_deadline()
t.run_ok("umount", "umount", WAIT)
t.run_ok("umount", "umount", TARGET)
rc, said = t.mount(L1, WAIT, ro=True, volume="file:///nowhere")
t.ok(rc and "onnect" in said, "a lower that is dead is not mounted over", rc, said)
t.run("umount", L1)
t.ok(t.unloaded(), "module unloads")
t.done()
