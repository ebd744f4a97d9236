#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the tables of docs/consistency.md, line by line. For each mode, and for each thing that may
# happen to a file, in the store only or in the lower, too: what who has it open reads of what is cached
# and of what is not, what a new open gets, and what it gets once the store has said that the old
# version is gone. The same while somebody appends through the mount. And what an open gets when
# nobody answers, younger and older than stale=.
#
# vm: disk=data:64M timeout=400 mem=1G

import os

import hostile_daemon as h
import vmtest as t
from calls import caught

DATA = t.disk("data")
MIB = 1 << 20
SIZE, BEHIND = MIB + 70000, MIB + 1000  # of files; what is not cached
# What happens in the store only, and what happens to a lower that is the store.
STORES = {"remote": ("/mnt/store", "/mnt/lower"), "both": ("/mnt/same", "/mnt/same")}
AWAY = ("/mnt/away-store", "/mnt/away-lower")

MODES = {
    "strict": {"consistency": "strict", "ttl": "1s"},
    "young": {"ttl": "1h"},             # close-to-open, younger than ttl
    "old": {"ttl": "1s"},               # close-to-open, older
    "immutable": {"consistency": "immutable", "ttl": "1s"},
}


class File:
    """What the store had of it, and has, and the lower shows if that is another directory."""

    def __init__(self, store, lower, name):
        self.name, self.store, self.was = name, f"{store}/{name}", os.urandom(SIZE)
        self.now = self.was
        self.lower = self.was if lower == store else os.urandom(SIZE)
        for path, data in ((self.store, self.was), (f"{lower}/{name}", self.lower)):
            with open(path, "wb") as f:
                f.write(data)
            os.utime(path, (1.7e9, 1.7e9))

    def replaced(self):
        self.now = os.urandom(SIZE // 2)
        with open(self.store + ".new", "wb") as f:
            f.write(self.now)
        os.rename(self.store + ".new", self.store)

    def cut(self):
        self.now = self.was[:SIZE // 3]
        os.truncate(self.store, len(self.now))

    def grown(self):
        self.now = self.was + os.urandom(5000)
        with open(self.store, "ab") as f:
            f.write(self.now[SIZE:])

    def deleted(self):
        os.unlink(self.store)

    def renamed(self):
        os.rename(self.store, self.store + ".renamed")

    def seen(self, where):
        """By a new open, of what is cached: was, now, lower, or the error."""
        try:
            fd = os.open(f"{where}/{self.name}", os.O_RDONLY)
        except OSError as e:
            return h.name(e.errno)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            got = os.pread(fd, 20, 0), os.lseek(fd, 0, os.SEEK_END)
        except OSError as e:
            return h.name(e.errno)
        finally:
            os.close(fd)
        return next((what for what in ("was", "now", "lower")
                     if got == (getattr(self, what)[:20], len(getattr(self, what)))), str(got))


CHANGES = {"replaced": File.replaced, "cut": File.cut, "grown": File.grown, "deleted": File.deleted, "renamed": File.renamed}

# By mode: what a new open gets after a change, and after a removal, of what is in the store only, or in the lower, too.
NEW_OPEN = {
    ("remote", "changed"): {"strict": "now", "young": "was", "old": "now", "immutable": "was"},
    ("remote", "gone"): {"strict": "lower", "young": "was", "old": "lower", "immutable": "was"},
    ("both", "changed"): {"strict": "now", "young": "was", "old": "now", "immutable": "was"},
    ("both", "gone"): {"strict": "ENOENT", "young": "was", "old": "ENOENT", "immutable": "ENOENT"},
}
# The same once a read of the old version has found out that it is gone.
LATER_OPEN = {
    ("remote", "changed"): {mode: "now" for mode in MODES},
    ("remote", "gone"): {mode: "lower" for mode in MODES},
    ("both", "changed"): {mode: "now" for mode in MODES},
    # The name is there for as long as ttl, and nothing is behind it.
    ("both", "gone"): {"strict": "ENOENT", "young": "ESTALE", "old": "ENOENT", "immutable": "ENOENT"},
}


def read(fd, offset):
    """A few bytes, or the error."""
    try:
        return os.pread(fd, 20, offset)
    except OSError as e:
        return h.name(e.errno)


def cached_in_part(paths):
    """Files, open, whose version is known, and of which the first chunk is cached."""
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, 100, 0)
    t.settled()
    return fds


def becomes(what, get, text):
    """What a mount shows after ttl."""
    t.wait_for(lambda: get() == what, 60)
    t.same(get(), what, text)


class Case:
    def __init__(self, where, mode, change):
        self.where, self.mode, self.change = where, mode, change
        self.mount = f"/mnt/{where}-{mode}"
        self.file = File(*STORES[where], f"{mode}-{change}")
        self.path = f"{self.mount}/{self.file.name}"
        self.kind = where, "gone" if change in ("deleted", "renamed") else "changed"
        self.fd = -1

    def check(self):
        file, text = self.file, f"{self.change} in {'the store' if self.where == 'remote' else 'both'}, {self.mode}"
        t.same(read(self.fd, 0), file.was[:20], f"{text}: who has it open reads what is cached")
        becomes(NEW_OPEN[self.kind][self.mode], lambda: file.seen(self.mount), f"{text}: a new open")
        if self.kind[1] == "changed" and self.mode == "strict":
            # Where the lower has another file by now, fstat is of the one that was there.
            t.same((os.stat(self.path).st_size, os.fstat(self.fd).st_size),
                   (len(file.now), SIZE if (self.where, self.change) == ("both", "replaced") else len(file.now)),
                   f"{text}: stat and fstat show the newest size")
        t.same(read(self.fd, SIZE), b"", f"{text}: the open file has its own end")
        t.same(read(self.fd, BEHIND), "ESTALE", f"{text}: what is not cached is stale")
        t.same(read(self.fd, 0), file.was[:20], f"{text}: what is cached is not")
        becomes(LATER_OPEN[self.kind][self.mode], lambda: file.seen(self.mount), f"{text}: a new open after that")
        if self.change == "renamed":
            t.same(caught(os.stat, self.path + ".renamed"), None if self.where == "both" else "ENOENT", f"{text}: the new name is the lower's")
        os.close(self.fd)


def attach(volume, lower, target, **options):
    status, output = t.mount(lower, target, volume=f"file://{volume}", **options)
    return t.same(status, 0, f"{target} is mounted", output)


def start_daemon():
    return t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())


def all_cases():
    for where, (store, lower) in STORES.items():
        for mode, options in MODES.items():
            attach(store, lower, f"/mnt/{where}-{mode}", ro=True, **options)
    cases = [Case(where, mode, change) for where in STORES for mode in MODES for change in CHANGES]
    for case, fd in zip(cases, cached_in_part([c.path for c in cases])):
        case.fd = fd
    for case in cases:
        CHANGES[case.change](case.file)
    for case in cases:
        case.check()
    for where in STORES:
        for mode in MODES:
            t.run("umount", f"/mnt/{where}-{mode}")


def follow_local():
    """tail -f of what grows, and is cut, through the mount."""
    store = STORES["both"][0]
    for mode in ("strict", "young", "old"):
        where = f"/mnt/local-{mode}"
        attach(store, store, where, **MODES[mode])
        file = File(store, store, f"{mode}-tail")
        fd = cached_in_part([f"{where}/{file.name}"])[0]
        with open(f"{where}/{file.name}", "ab", buffering=0) as writer:
            for n in range(3):
                line = f"line {n}\n".encode()
                writer.write(line)
                t.same(read(fd, SIZE + n * len(line)), line, f"{mode}: tail -f reads line {n} as it is written")
            t.same(read(fd, BEHIND), file.was[BEHIND:BEHIND + 20], f"{mode}: ... and what was there before")
        os.truncate(f"{where}/{file.name}", 1000)
        t.same((read(fd, BEHIND), read(fd, 900)), (b"", file.was[900:920]), f"{mode}: cut: it ends there")
        with open(f"{where}/{file.name}", "rb") as f:
            t.same(f.read(), file.was[:1000], f"{mode}: ... for a new open, too")
        os.close(fd)
        t.run_ok(f"{where} is unmounted", "umount", where)


# Nobody answers: what an open gets whose identity is older than ttl.
NOBODY = {
    "stale=1h": ({}, "was"),
    "stale=forever": ({"stale": "forever"}, "was"),
    "immutable": ({"consistency": "immutable", "stale": "3s"}, "was"),
    "strict": ({"consistency": "strict"}, "lower"),
    "stale over, lower": ({"stale": "3s"}, "lower"),
    "stale over, fail": ({"stale": "3s", "on_daemon_loss": "fail"}, "EIO"),
    "stale over, wait": ({"stale": "3s", "on_daemon_loss": "wait", "deadline": "4s"}, "ETIMEDOUT"),
}


def nobody_answers():
    files = {}
    for n, (text, (options, _)) in enumerate(NOBODY.items()):
        attach(AWAY[0], AWAY[1], f"/mnt/away-{n}", ro=True, ttl="1s", **options)
        files[text] = File(*AWAY, f"f{n}"), f"/mnt/away-{n}"
    for fd in cached_in_part([f"{where}/{file.name}" for file, where in files.values()]):
        os.close(fd)
    daemon.stop()
    for text in sorted(NOBODY, key=lambda text: NOBODY[text][1] == "was"):
        file, where = files[text]
        becomes(NOBODY[text][1], lambda f=file, w=where: f.seen(w), f"no daemon, {text}: a new open gets what is right")
    t.ok(t.cachectl("mount", "show", files["stale=1h"][1])["stale_opens"] > 0, "stale opens are counted")
    start_daemon()
    for text in ("strict", "stale over, lower", "stale over, fail", "stale over, wait"):
        file, where = files[text]
        becomes("was", lambda f=file, w=where: f.seen(w), f"a daemon again, {text}: the store's version")


for directory in {*STORES["remote"], *STORES["both"], *AWAY}:
    os.makedirs(directory)
    t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", directory)
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.Daemon({"volumes": [{"source": f"file://{d}"} for d in (STORES["remote"][0], STORES["both"][0], AWAY[0])]})
if not start_daemon():
    t.done()
all_cases()
follow_local()
nobody_answers()
t.done()
