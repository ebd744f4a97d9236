#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a store that refuses, breaks off, lies or hangs makes a read fail with an
# error, or be answered by the lower where the rules allow it, within its deadline;
# one open file never gets bytes of the store and of the lower, nor of two versions;
# what is cached stays cached and readable, the daemon lives, and all is well as
# soon as the store is.
#
# The store is fault_store.py in a process of its own, with faults that begin and end
# while it runs. Store and lower have other bytes for the same name, so that it shows
# where a byte came from.
#
# vm: disk=data:256M timeout=600 mem=1G

import errno
import os
import random
import re
import shutil
import signal
import threading
import time

import fault_store
import hostile_daemon as h
import vmtest as t

LOWER, STORE, TARGET, SOON = "/data/lower", "/data/store", "/data/target", "/data/soon"
MIB = 1 << 20
SIZE = MIB + 300000             # two chunks
DEADLINE = 14
STALL = 5                       # seconds of silence which the daemon takes for a hang

faults = {}                     # name in the store -> kind; in the store's process


class Handler(fault_store.Handler):
    """Faults by name, at run time, and some more of them."""

    def fault_of(self, name):
        kind = faults.get(name)
        if not kind:
            return None
        if kind.endswith("-get"):
            return None if self.command == "HEAD" else kind[:-4]
        return kind

    def fault_302(self, _reply):
        """A proxy's login page."""
        return self.error(302, "Found", {"Location": "http://127.0.0.1:1/login"})

    def fault_204(self, _reply):
        """Success, and nothing."""
        return fault_store.Reply(204, {"ETag": '"0x204"'})

    def fault_garbage(self, _reply):
        """Not HTTP at all."""
        self.wfile.write(random.Random(5).randbytes(20000))
        self.close_connection = True

    def fault_endless(self, _reply):
        """A header that does not end."""
        self.wfile.write(b"HTTP/1.1 206 Partial Content\r\n")
        for i in range(3000):
            self.wfile.write(b"x-%d: %s\r\n" % (i, b"y" * 1000))
        self.close_connection = True

    def fault_more(self, reply):
        """A body longer than its range, and than its Content-Length says."""
        if reply and reply.body:
            reply.body += b"M" * 100000
            self.close_connection = True
        return reply

    def fault_longer(self, reply):
        """A body longer than its range, Content-Length being right."""
        if reply and reply.body:
            return fault_store.Reply(reply.status, reply.headers, reply.body + b"M" * 100000)
        return reply

    def fault_size(self, reply):
        """A total size that changes while the ETag does not."""
        if reply and "Content-Range" in reply.headers:
            head, _, total = reply.headers["Content-Range"].partition("/")
            reply.headers["Content-Range"] = f"{head}/{int(total) + random.randrange(1, 1 << 20)}"
        return reply

    def fault_huge(self, reply):
        """A total size that nobody can have."""
        if reply and "Content-Range" in reply.headers:
            head, _, _ = reply.headers["Content-Range"].partition("/")
            reply.headers["Content-Range"] = f"{head}/18446744073709551615"
        return reply

    def fault_chunked(self, reply):
        """No Content-Length: a proxy that streams. This is legal."""
        if not reply or self.command == "HEAD":
            return reply
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(reply.body), 100000):
            part = reply.body[at:at + 100000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        return None


def make(name, size=SIZE):
    for where in (LOWER, STORE):
        path = f"{where}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content(where, name)[:size])
        os.utime(path, (1.7e9, 1.7e9))


# All contents are cut from one piece of noise, each at another place: no page occurs twice.
_noise = random.Random(1).randbytes(SIZE + (1 << 20))
_places = {}


def content(where, name):
    place = _places.setdefault((where, name), len(_places) * 1000)
    return _noise[place:place + SIZE]


class Reader(threading.Thread):
    """Reads a file to its end or its first error."""

    def __init__(self, name, offset=0, length=SIZE, where=TARGET, fds=None):
        super().__init__(daemon=True)
        self.name_, self.offset, self.length, self.where = name, offset, length, where
        self.fd = fds and fds[name]
        self.data = b""
        self.error = self.seconds = None
        self.start()

    def run(self):
        start = time.monotonic()
        try:
            fd = self.fd or os.open(f"{self.where}/{self.name_}", os.O_RDONLY)
            try:
                while len(self.data) < self.length:
                    part = os.pread(fd, min(128 << 10, self.length - len(self.data)), self.offset + len(self.data))
                    if not part:
                        break
                    self.data += part
            finally:
                if not self.fd:
                    os.close(fd)
        except OSError as e:
            self.error = errno.errorcode[e.errno]
        self.seconds = time.monotonic() - start

    def outcome(self, seconds=60):
        """"store", "lower", an error ("EIO"), "store+EIO": some bytes, then an error; or "mixed"."""
        self.join(seconds)
        if self.is_alive():
            return "no end"
        origins = set()
        for at in range(0, len(self.data), 4096):
            part, place = self.data[at:at + 4096], self.offset + at
            for where in (STORE, LOWER):
                if content(where, self.name_)[place:place + len(part)] == part:
                    origins.add(os.path.basename(where))
                    break
            else:
                origins.add("nobody")
        if len(origins) > 1 or "nobody" in origins:
            return "mixed: " + ",".join(sorted(origins))
        whole = len(self.data) == min(self.length, SIZE - self.offset)
        if not self.error and not whole:
            return f"only {len(self.data)} bytes of {','.join(origins)}"
        return "+".join(sorted(origins) + ([self.error] if self.error else []))


def read_all(names, seconds=60, **kw):
    """name -> (outcome, seconds it took), some at once."""
    found = {}
    # Those that take long, together.
    names = sorted(names, key=lambda n: n.rpartition("/")[2] not in ("429", "503", "hang", "stall", "short", "reset"))
    for at in range(0, len(names), 10):
        readers = {n: Reader(n, **kw) for n in names[at:at + 10]}
        found.update({n: (r.outcome(seconds), r.seconds or 0) for n, r in readers.items()})
    return found


def idle():
    return not nl.status()[h.ST_REQUESTS]


def log_text():
    with open(daemon.log, encoding="utf-8", errors="replace") as f:
        return f.read()


ERRORS = {"EIO", "ESTALE", "EACCES", "ETIMEDOUT"}
WAITED = {"EIO", "ETIMEDOUT"}
# What a file that nobody opened before may give; and the rest of an open one of which
# the first chunk is cached: there lower bytes are wrong in any case.
KINDS = {
    "401": ({"EACCES", "EIO"}, {"EIO", "EACCES"}), "403": ({"EACCES", "EIO"}, {"EIO", "EACCES"}),
    "404": ({"lower", "ESTALE"}, {"ESTALE"}), "412": ({"lower", "ESTALE"}, {"ESTALE"}),
    "416": ({"lower", "EIO", "ESTALE"}, {"EIO", "ESTALE"}),
    "429": (WAITED | {"lower"}, WAITED), "503": (WAITED | {"lower"}, WAITED),
    "500": (WAITED | {"lower"}, WAITED), "short": (WAITED | {"store", "lower"}, WAITED | {"store"}),
    "reset": (WAITED | {"store", "lower"}, WAITED | {"store"}), "range": (WAITED | {"lower"}, WAITED | {"ESTALE"}),
    "whole": ({"store", "lower", "EIO"}, {"store", "EIO"}), "hang": (WAITED | {"lower"}, WAITED),
    "stall": (WAITED | {"lower", "store"}, WAITED | {"store"}), "etag": ({"ESTALE"}, {"ESTALE"}),
    "weak": ({"lower"}, {"EIO", "ESTALE"}), "long": ({"lower"}, {"EIO", "ESTALE"}),
    "noetag": ({"lower"}, {"EIO", "ESTALE"}), "302": (WAITED | {"lower"}, WAITED),
    "204": (WAITED | {"lower"}, WAITED | {"ESTALE"}), "garbage": (WAITED | {"lower"}, WAITED),
    "endless": (WAITED | {"lower"}, WAITED), "more": ({"store"} | WAITED, {"store"} | WAITED),
    "longer": (WAITED | {"lower", "store"}, WAITED | {"store"}), "size": (WAITED | {"ESTALE", "lower"}, {"ESTALE", "EIO"}),
    "huge": (WAITED | {"lower"}, {"ESTALE", "EIO"}), "chunked": ({"store"}, {"store"}),
}
if os.environ.get("ONLY"):      # for a closer look at some
    KINDS = {k: KINDS[k] for k in os.environ["ONLY"].split(",")}
# What its log must tell an administrator.
TOLD = {"403": r"403.*AuthorizationFailure|AuthorizationFailure.*auth", "401": r"401|InvalidAuthentication",
        "416": "416|InvalidRange|range", "500": "500|OperationTimedOut", "503": "503|ServerBusy",
        "range": "Content-Range|other bytes|range", "hang": "nothing came|timed out", "weak": "weak",
        "long": "ETag", "noetag": "ETag", "short": "broke off|missing", "garbage": "HTTP|protocol|weird|respon"}

for kind in KINDS:
    make(f"new/{kind}")
    make(f"half/{kind}")
for i in range(4):
    make(f"cached/{i}")
    make(f"later/{i}")
server = fault_store.StoreProcess(Handler, faults, STORE, "/run/test/store.log")
VOLUME = f"azure://127.0.0.1:{server.port}/account/container"

t.load_module("patience_ms=3000")
nl = h.Netlink()
DATA = t.disk("data")
p = t.run("cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there", p.stdout)
daemon = t.Daemon({"fetch": {"retries": 1, "stall_timeout_ms": STALL * 1000, "connect_timeout_ms": 2000},
                   "volumes": [{"source": VOLUME, "scheme": "http", "auth": {"type": "anonymous"}}]})
if not t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "the daemon comes", daemon.tail()):
    t.done()
status, output = t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline=f"{DEADLINE}s")
t.same(status, 0, "a mount is there", output)
status, output = t.mount(LOWER, SOON, ro=True, volume=VOLUME, ttl="1s", deadline=f"{DEADLINE}s")
t.same(status, 0, "another of the same volume, which asks the store again after a second", output)

cached = [f"cached/{i}" for i in range(4)]
got = {n: o for n, (o, _) in read_all(cached).items()}
t.same(set(got.values()), {"store"}, "an honest store: all bytes are the store's", got)
halves = [f"half/{k}" for k in KINDS]
halves_fd = {n: os.open(f"{TARGET}/{n}", os.O_RDONLY) for n in halves}
# Not from the beginning: a sequential reader would have the next chunk fetched ahead.
first = {n: o for n, (o, _) in read_all(halves, offset=MIB // 2, length=4096, fds=halves_fd).items()}
t.same(set(first.values()), {"store"}, "the beginning of some files is read", first)
t.ok(t.wait_for(idle, 60, "no request"), "... and fetched", nl.requests())
resident = [h.number(h.attrs(nl.do(h.RESIDENCY, h.u32(h.A_FD, fd))[h.A_RESIDENCY])[h.RESIDENT]) for fd in halves_fd.values()]
t.same(set(resident), {MIB}, "... one chunk of each is cached")
base = nl.stats()


def bad_of(got, column):
    bad = []
    for name, (outcome, seconds) in got.items():
        kind = name.rpartition("/")[2]
        allowed = KINDS[kind][column]
        good = outcome in allowed or any(outcome == f"store+{e}" for e in allowed if e in ERRORS)
        if not good or seconds > 3 * DEADLINE + 5:
            bad.append(f"{kind}: {outcome} after {seconds:.1f} s; right: {sorted(allowed)}")
    return bad


def told(got):
    t.diag(", ".join(f"{n.rpartition('/')[2]} {o} {s:.1f}s" for n, (o, s) in got.items()))


server.set({f"{where}/{kind}": kind for kind in KINDS for where in ("new", "half")})
got = read_all([f"new/{k}" for k in KINDS])
told(got)
bad = bad_of(got, 0)
t.ok(not bad, f"{len(KINDS)} faults, files nobody opened: the lower's bytes, the store's, or an error; no mixture", *bad)
got = read_all(halves, offset=MIB, length=SIZE - MIB, fds=halves_fd)
told(got)
bad = bad_of(got, 1)
t.ok(not bad, f"{len(KINDS)} faults, open files of which a part is cached: never the lower's bytes", *bad)

text = log_text()
missing = [f"{kind}: nothing like {regex!r}" for kind, regex in TOLD.items() if kind in KINDS and not re.search(regex, text)]
t.ok(not missing, "the daemon's log tells what is wrong", *missing, *text.splitlines()[-40:])
t.ok(daemon.alive(), "the daemon lives", daemon.tail())
t.drop_caches(1)
got = {n: o for n, (o, _) in read_all(cached).items()}
t.same(set(got.values()), {"store"}, "what was cached before is still read", got)
again = nl.stats()
t.ok(again["hit_bytes"] - base["hit_bytes"] >= 4 * SIZE, "... from the tier",
     again["hit_bytes"] - base["hit_bytes"])
got = read_all(halves, length=MIB, fds=halves_fd)
bad = [f"{n}: {o}" for n, (o, _) in got.items() if o != "store"]
t.ok(not bad, "... and so is the cached part of the others", *bad)
for fd in halves_fd.values():
    os.close(fd)

# --- the store is well again

server.set({})
time_limit = time.monotonic() + 60
# (A store that changes a size and not the ETag has broken its word; what it said last stays.)
names = [n for n in [f"new/{k}" for k in KINDS] + halves if not n.endswith("/size")]
for turn in range(20):
    got = {n: o for n, (o, _) in read_all(names, where=SOON).items()}
    names = [n for n, o in got.items() if o != "store"]
    if not names or (turn > 4 and time.monotonic() > time_limit):
        break
    time.sleep(0.5)     # for the ttl, or what was put off
t.ok(not names, "the faults end: every file is read from the store", *[f"{n}: {got[n]}" for n in names])
t.ok(t.wait_for(idle, 60, "no request"), "no request is left over", nl.requests())

# --- resolves: a version that is known, and a store that does not answer for it

later = [f"later/{i}" for i in range(4)]
t.same({o for o, _ in read_all(later, where=SOON).values()}, {"store"}, "files to be revalidated")
for kind, allowed in (("403", {"EACCES"}), ("401", {"EACCES", "store"}), ("404", {"lower"}), ("500", {"store"}), ("503", {"store"}),
                      ("hang", {"store"}), ("garbage", {"store"}), ("weak", {"lower"}), ("long", {"lower"}),
                      ("noetag", {"lower"})):
    time.sleep(1.1)     # more than the ttl
    server.set({n: kind for n in later[:2]})
    t.drop_caches(1)
    got = read_all(later[:2], where=SOON)
    bad = [f"{n}: {o} after {s:.1f} s; right: {allowed}" for n, (o, s) in got.items() if o not in allowed or s > DEADLINE]
    t.ok(not bad, f"revalidation answered with {kind}: {' or '.join(allowed)}", *bad)
    server.set({})
    t.wait_for(lambda: {o for o, _ in read_all(later[:2], where=SOON).values()} == {"store"}, 15, "back to the store")
t.ok(daemon.alive(), "the daemon lives")

# --- nobody listens any more

server.kill()
time.sleep(1.1)         # more than the ttl
t.drop_caches(1)
got = {n: o for n, (o, _) in read_all(cached, where=SOON).items()}
t.same(set(got.values()), {"store"}, "connection refused: what is cached is read", got)
make("never")
got = read_all(["never"])
t.ok(got["never"][0] in {"lower"} | WAITED, "... and a file nobody opened comes from the lower", got)
t.ok(re.search("refused|[Cc]ould *n.t connect|Failed to connect", log_text()), "... and the log says so", daemon.tail())

tier = nl.tier()
t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], "the tier's accounting adds up")
stats = nl.stats()
t.same((stats["crc_errors"], stats["tier_write_errors"]), (0, 0), "nothing on the tier was damaged")
t.run_ok("umount", "umount", TARGET, SOON)
t.same(daemon.stop(signal.SIGTERM), 0, "the daemon ends in order")
shutil.copy(daemon.log, "/out/")
shutil.copy("/run/test/store.log", "/out/")
t.same(nl.detach(DATA)[0], 0, "detach")
nl.close()
t.ok(t.unloaded(), "the module can be unloaded")
t.done()
