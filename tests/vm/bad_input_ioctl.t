#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the kernel trusts nobody who speaks to it. Malformed netlink messages and
# ioctls are refused with the right error; a daemon that lies, forgets, repeats
# itself, goes away in the middle or never answers can make a read fail or wait for
# its deadline, but never make it return bytes of two versions, bytes nobody gave, or
# hang; and only root in the initial user namespace is listened to.
#
# vm: disk=data:64M timeout=240 mem=768M

import ctypes
import errno
import mmap
import os
import random
import struct
import threading
import time

import hostile_daemon as h
import vmtest as t

LOWER, TARGET, VOLUME = "/data/lower", "/data/target", "azure://nowhere.invalid/container"
MIB = 1 << 20
EINVAL, ENOENT, ESTALE, EPERM = errno.EINVAL, errno.ENOENT, errno.ESTALE, errno.EPERM

sizes = {}
contents = {}


def lower_file(name, size):
    """A file of the lower; what the "store" says is another thing."""
    data = random.Random("lower " + name).randbytes(size)
    os.makedirs(os.path.dirname(f"{LOWER}/{name}"), exist_ok=True)
    with open(f"{LOWER}/{name}", "wb") as f:
        f.write(data)
    sizes[name] = size
    contents["lower", name] = data


def store(name, size=None, version=1):
    key = f"{version} {name}"
    if key not in contents:
        contents[key] = random.Random("store " + key).randbytes(sizes[name] if size is None else size)
    return contents[key]


class Reader(threading.Thread):
    """pread() of a file, in a thread; .result is bytes or an errno."""

    def __init__(self, name, offset=0, length=None, top=TARGET):
        super().__init__(daemon=True)
        self.top = top
        self.name_, self.offset, self.length = name, offset, length
        self.result = None
        self.seconds = None
        self.start()

    def run(self):
        start = time.monotonic()
        try:
            fd = os.open(f"{self.top}/{self.name_}", os.O_RDONLY)
            try:
                length = os.fstat(fd).st_size if self.length is None else self.length
                data = b""
                while len(data) < length:
                    part = os.pread(fd, length - len(data), self.offset + len(data))
                    if not part:
                        break
                    data += part
                self.result = data
            finally:
                os.close(fd)
        except OSError as e:
            self.result = e.errno
        self.seconds = time.monotonic() - start

    def wait(self, seconds=60):
        self.join(seconds)
        return not self.is_alive()

    def told(self):
        """The result, and of what each page of it is."""
        r = self.result
        if not isinstance(r, bytes):
            return f"error {h.name(r)}" if r else "no end"
        runs = []
        for at in range(0, len(r), 4096):
            part, place = r[at:at + 4096], at + self.offset
            origin = "zeros" if not part.strip(b"\0") else "nobody's"
            for key, data in contents.items():
                key = " ".join(key) if isinstance(key, tuple) else "store " + key
                if key.endswith(" " + self.name_) and data[place:place + len(part)] == part:
                    origin = key
            if not runs or runs[-1][1] != origin:
                runs.append((place, origin))
        return f"{len(r)} bytes: " + ", ".join(f"from {at}: {origin}" for at, origin in runs[:20])


def request_for(name, kind=h.FETCH, state=None, seconds=10):
    """The pending request of a path."""
    def find():
        for r in nl.requests(kind):
            if r[h.R_PATH] == name and (state is None or r[h.R_STATE] == state):
                return r
        return None
    return t.wait_for(find, seconds, f"a request for {name}")


def serve(dev, name, etag=b"etag-1", data=None, until=None, claim=True):
    """Answer all requests for a path as an honest daemon does."""
    data = store(name) if data is None else data
    served = 0
    while not until():
        mine = [r for r in nl.requests(h.FETCH) if r[h.R_PATH] == name and r[h.R_STATE] == h.NEW]
        for r in mine:
            if claim and dev.claim(r[h.R_ID]):
                continue
            dev.bind(r[h.R_ID], len(data), etag)
            part = data[r[h.R_OFFSET]:r[h.R_OFFSET] + r[h.R_LENGTH]]
            if part:
                dev.fill(r[h.R_ID], r[h.R_OFFSET], part)
            dev.done(r[h.R_ID], h.OK)
            served += 1
        if not mine:
            time.sleep(0.01)
    return served


def set_lease(ms):
    with open("/sys/module/blobcache/parameters/lease_ms", "w", encoding="ascii") as f:
        f.write(str(ms))


for i in range(24):
    lower_file(f"f{i:02}", 100000 + 1000 * i)
lower_file("big", 3 * MIB + 5000)
lower_file("big2", 3 * MIB + 5000)
lower_file("self", 3 * MIB)
lower_file("empty", 0)
deep = "/".join(["d" * 250] * 15 + ["deepest"])         # close to PATH_MAX
os.makedirs(LOWER, exist_ok=True)

t.load_module()
nl = h.Netlink()
DATA = t.disk("data")
p = t.run("cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there", p.stdout)
status, output = t.mount(LOWER, TARGET, ro=True, volume=VOLUME, ttl="1h", deadline="5s")
if not t.same(status, 0, "a mount is there", output):
    t.done()

# --- netlink

refused = []


def nl_case(text, want, cmd, *parts, **kw):
    error, message = nl.error(cmd, *parts, **kw)
    if error not in (want if isinstance(want, tuple) else (want,)):
        refused.append(f"{text}: {h.name(error)} {message!r}, wanted {want}")


def nl_point(text):
    t.ok(not refused, text, *refused)
    refused.clear()


for cmd in (0, h.CMD_MAX + 1, 255, h.EVENT_FETCH, h.EVENT_RESOLVE, h.EVENT_TIER):
    nl_case(f"command {cmd}", errno.EOPNOTSUPP, cmd)
for cmd in h.DUMP:
    nl_case(f"do {cmd}", errno.EOPNOTSUPP, cmd)
for cmd in h.DO:
    try:
        nl.dump(cmd)
        refused.append(f"dump {cmd} was accepted")
    except h.Refused as e:
        if e.errno != errno.EOPNOTSUPP:
            refused.append(f"dump {cmd}: {h.name(e.errno)}")
nl_point("commands that do not exist, and do for dump and the reverse: EOPNOTSUPP")

for cmd in h.DO:
    for kind in (h.A_MAX + 1, 200, 0x3fff):
        nl_case(f"command {cmd}, attribute {kind}", EINVAL, cmd, h.u32(kind, 1))
    nl_case(f"command {cmd}, attribute cut off", EINVAL, cmd, struct.pack("=HH", 100, h.A_FD))
    nl_case(f"command {cmd}, attribute of 3 bytes", EINVAL, cmd, struct.pack("=HH", 3, h.A_FD))
    nl_case(f"command {cmd}, 1 byte", EINVAL, cmd, b"x")
nl_point("unknown and cut off attributes, in every command: EINVAL")

for cmd, name in ((h.TIER_ATTACH, "attach"), (h.TIER_DETACH, "detach")):
    nl_case(f"{name}: nothing", EINVAL, cmd)
    nl_case(f"{name}: not a string", EINVAL, cmd, h.attr(h.A_DEVICE, b"/dev/null"))
    nl_case(f"{name}: no bytes", (EINVAL, errno.ERANGE), cmd, h.attr(h.A_DEVICE))
    nl_case(f"{name}: 60000 bytes", (EINVAL, errno.ERANGE), cmd, h.text(h.A_DEVICE, "/" * 60000))
    nl_case(f"{name}: 4096 bytes", (EINVAL, errno.ERANGE, ENOENT, errno.ENAMETOOLONG), cmd,
            h.text(h.A_DEVICE, "/" + "x" * 4095))
    nl_case(f"{name}: a number", (EINVAL, ENOENT, errno.EBUSY), cmd, h.u32(h.A_DEVICE, 77))
for size in (0, 1, 15, 17, 1000):
    nl_case(f"attach: node id of {size}", (EINVAL, errno.ERANGE), h.TIER_ATTACH, h.text(h.A_DEVICE, DATA),
            h.attr(h.A_NODE_ID, b"n" * size))
nl_point("attach and detach without, with cut off and with endless names: refused")

pipe = os.pipe()
directory = os.open(TARGET, os.O_RDONLY)
outside = os.open(f"{LOWER}/f00", os.O_RDONLY)
o_path = os.open(f"{TARGET}/f00", os.O_PATH)
for cmd in (h.RESIDENCY, h.PREFETCH, h.EVICT):
    nl_case(f"{cmd}: no fd", EINVAL, cmd)
    for fd in (9999, 0x7fffffff, 0x80000000, 0xffffffff, o_path):
        nl_case(f"{cmd}: fd {fd:x}", errno.EBADF, cmd, h.u32(h.A_FD, fd))
    for fd in (pipe[0], directory, outside, nl.sock.fileno()):
        nl_case(f"{cmd}: fd of something else", (EINVAL, errno.EXDEV, errno.EISDIR), cmd, h.u32(h.A_FD, fd))
    for size in (0, 1, 3):
        nl_case(f"{cmd}: fd of {size} bytes", (EINVAL, errno.ERANGE), cmd, h.attr(h.A_FD, b"\0" * size))
for fd, fd2 in ((9999, directory), (directory, 9999), (pipe[0], directory), (outside, directory),
                (directory, outside), (directory, directory), (directory, pipe[0]), (o_path, o_path)):
    nl_case(f"relower {fd} {fd2}", (EINVAL, errno.EBADF, errno.EXDEV, errno.ENOTDIR, errno.ELOOP), h.MOUNT_RELOWER,
            h.u32(h.A_FD, fd), h.u32(h.A_FD2, fd2))
nl_case("relower: one fd", EINVAL, h.MOUNT_RELOWER, h.u32(h.A_FD, directory))
inside = os.open(f"{TARGET}/f00", os.O_RDONLY)
nl_case("prefetch: offset of 4 bytes", (EINVAL, errno.ERANGE), h.PREFETCH, h.u32(h.A_FD, inside),
        h.attr(h.A_OFFSET, b"1234"))
nl_case("pins of another release", errno.EOPNOTSUPP, h.PIN_ADD, h.u32(h.A_FD, inside)) \
    if nl.error(h.PIN_ADD, h.u32(h.A_FD, inside))[0] else None
os.close(inside)
nl_point("file descriptors that are closed, too large, of other files and of other filesystems: refused")

before = nl.tier()
nl_case("evict of a device that is no tier", (ENOENT, EINVAL), h.EVICT, h.text(h.A_DEVICE, "/dev/nothing"))
nl_point("eviction of a device that is no tier: refused")

RR = h.RESOLVE_REPLY
ID, GOOD = h.u64(h.R_ID, 1 << 60), (h.u32(h.R_STATUS, h.OK), h.text(h.R_ETAG, "e"), h.u64(h.R_SIZE, 1))
nl_case("nothing", EINVAL, RR)
nl_case("not a nest", EINVAL, RR, h.attr(h.A_REQUEST, ID + b"".join(GOOD)))
nl_case("an empty nest", EINVAL, RR, h.nest(h.A_REQUEST))
nl_case("no id", EINVAL, RR, h.nest(h.A_REQUEST, *GOOD))
nl_case("no status", EINVAL, RR, h.nest(h.A_REQUEST, ID, *GOOD[1:]))
nl_case("no ETag", EINVAL, RR, h.nest(h.A_REQUEST, ID, GOOD[0], GOOD[2]))
nl_case("no size", EINVAL, RR, h.nest(h.A_REQUEST, ID, GOOD[0], GOOD[1]))
for value in (7, 8, 0xffffffff):
    nl_case(f"status {value}", (EINVAL, errno.ERANGE), RR, h.nest(h.A_REQUEST, ID, h.u32(h.R_STATUS, value)))
for etag in (h.text(h.R_ETAG, ""), h.text(h.R_ETAG, "x" * 65), h.attr(h.R_ETAG, b"unterminated"),
             h.text(h.R_ETAG, "x" * 9000), h.attr(h.R_ETAG)):
    nl_case(f"ETag {etag[:20]}", (EINVAL, errno.ERANGE), RR, h.nest(h.A_REQUEST, ID, GOOD[0], etag, GOOD[2]))
for value in ((1 << 64) - 1, 1 << 63, 1 << 53):
    nl_case(f"size {value:x}", EINVAL, RR, h.nest(h.A_REQUEST, ID, *GOOD[:2], h.u64(h.R_SIZE, value)))
nl_case("the nest claims more than there is", EINVAL, RR, h.attr(h.A_REQUEST | h.NLA_F_NESTED, ID, length=4000))
nl_case("an attribute in the nest does", EINVAL, RR,
        h.nest(h.A_REQUEST, ID, struct.pack("=HH", 600, h.R_STATUS) + b"1234"))
nl_case("unknown attribute in the nest", EINVAL, RR, h.nest(h.A_REQUEST, ID, *GOOD, h.u32(99, 1)))
nl_case("id of 4 bytes", (EINVAL, errno.ERANGE), RR, h.nest(h.A_REQUEST, h.u32(h.R_ID, 1), *GOOD))
deepest = ID
for _ in range(3000):
    deepest = h.nest(h.A_REQUEST, deepest)
    if len(deepest) > 60000:
        break
nl_case("nests in nests", EINVAL, RR, deepest)
nl_case("id that is not asked", ENOENT, RR, h.nest(h.A_REQUEST, ID, *GOOD))
nl_case("id 0", ENOENT, RR, h.nest(h.A_REQUEST, h.u64(h.R_ID, 0), *GOOD))
nl_point("answers to a resolve: cut off, too much, too long, not asked for: refused")

# Lengths of the message itself that are lies.
for length in (0, 1, 15, 16, 17, 19, 1 << 31, 0xffffffff):
    nl.sock.send(struct.pack("=IHHII", length, nl.family, 5, 999999, 0) + b"\x01\x01\0\0")
for data in (b"", b"x", b"\0" * 15, b"\0" * 16, b"\xff" * 64, b"\0" * 60000):
    try:
        nl.sock.send(data)
    except OSError:
        pass                    # some kernels say so at once
nl.sock.send(struct.pack("=IHHII", 20, nl.family, 5, 999998, 0) + struct.pack("=BBH", h.STATUS_GET, 1, 0xffff))
nl.sock.send(struct.pack("=IHHII", 20, nl.family, 5, 999997, 0) + struct.pack("=BBH", h.STATUS_GET, 255, 0))
t.ok(h.ST_MODULE_VERSION in h.attrs(nl.do(h.STATUS_GET)[h.A_STATUS]), "messages whose length is a lie are passed over")

rng = random.Random(11)
commands = list(range(0, h.CMD_MAX + 3))
answers = {}
for i in range(4000):
    parts = b""
    for _ in range(rng.randrange(4)):
        kind = rng.choice((rng.randrange(h.A_MAX + 2), rng.randrange(h.A_MAX + 2) | h.NLA_F_NESTED, rng.randrange(1 << 16)))
        payload = rng.choice((rng.randbytes(rng.randrange(40)), struct.pack("=I", rng.choice((directory, pipe[0], 3, 999))),
                              h.u64(rng.randrange(16), rng.getrandbits(64)) + h.u32(rng.randrange(16), rng.getrandbits(32)),
                              b"/dev/" + rng.randbytes(4).hex().encode() + b"\0"))
        parts += h.attr(kind, payload, rng.choice((None, None, None, rng.randrange(80))))
    cmd = rng.choice(commands)
    flags = h.NLM_F_REQUEST | rng.choice((h.NLM_F_ACK, h.NLM_F_ACK, h.NLM_F_DUMP | h.NLM_F_ACK))
    nl.send(nl.family, cmd, parts, flags, version=rng.choice((1, 1, 0, 255)))
    try:
        nl.replies()
        answers[0] = answers.get(0, 0) + 1
    except h.Refused as e:
        answers[e.errno] = answers.get(e.errno, 0) + 1
t.ok(nl.tier() and answers.get(0) and answers.get(EINVAL), "4000 random messages: answered, and all is as it was",
     str({h.name(k): v for k, v in answers.items()}))
t.diag("answers: " + ", ".join(f"{h.name(k)} {v}" for k, v in sorted(answers.items())))

# --- who may speak


def as_child(what):
    """Result of what() in a child: its exit status."""
    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = what()
        except OSError as e:
            status = e.errno
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def all_refused(link):
    wrong = 0
    for cmd in h.DO:
        wrong += link.error(cmd, h.text(h.A_DEVICE, DATA), h.u32(h.A_FD, 0), h.u32(h.A_FD2, 0))[0] != EPERM
    for cmd in h.DUMP:
        try:
            link.dump(cmd)
            wrong += 1
        except h.Refused as e:
            wrong += e.errno != EPERM
    return wrong


def unprivileged():
    nobody()
    return all_refused(h.Netlink())


def inherited():
    link = h.Netlink()
    nobody()
    return all_refused(link)


def listening():
    nobody()
    h.Netlink().listen()
    return 0


def device():
    nobody()
    os.open("/dev/blobcache/control", os.O_RDWR)
    return 0


def user_namespace():
    nobody_uid, nobody_gid = 65534, 65534
    os.setgroups([])
    os.setgid(nobody_gid)
    os.setuid(nobody_uid)
    h.LIBC.prctl(4, 1, 0, 0, 0)             # PR_SET_DUMPABLE: /proc/self is ours
    if h.LIBC.unshare(0x10000000):          # CLONE_NEWUSER
        return 0 if ctypes.get_errno() == EPERM else 98
    for name, text in (("setgroups", "deny"), ("uid_map", "0 65534 1"), ("gid_map", "0 65534 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
            f.write(text)
    return all_refused(h.Netlink())


t.same(as_child(unprivileged), 0, "nobody: every command is EPERM")
t.same(as_child(inherited), 0, "nobody with a socket of root's: every command is EPERM")
t.same(as_child(user_namespace), 0, "root of a user namespace: every command is EPERM")
t.same(as_child(listening), EPERM, "nobody cannot hear the events")
t.ok(as_child(device) in (EPERM, errno.EACCES), "nobody cannot open /dev/blobcache/control")

# --- hello

dev = h.Device()
wrong = []


def call(text, got, *want):
    if got not in want:
        wrong.append(f"{text}: {h.name(got)}, wanted {' or '.join(map(h.name, want))}")


def point(text):
    t.ok(not wrong, text, *wrong)
    wrong.clear()


h.io_flusher(False)
call("claim", dev.claim(1), errno.ENOTCONN)
call("bind", dev.bind(1, 1), errno.ENOTCONN)
call("fill", dev.fill(1, 0, b"x" * 4096), errno.ENOTCONN)
call("done", dev.done(1, 0), errno.ENOTCONN)
call("claim from a bad address", dev.raw(h.CLAIM, 8), errno.ENOTCONN, errno.EFAULT)
point("before hello: ENOTCONN")
call("no IO_FLUSHER", dev.hello(), EPERM)
h.io_flusher()
for size in (0, 39, 41, 0xffffffff):
    call(f"size {size}", dev.hello(size=size), EINVAL)
call("flags", dev.hello(flags=1), EINVAL)
call("reserved", dev.hello(reserved=(0, 1)), EINVAL)
for version in (0, 2, 0xffffffff):
    call(f"version {version}", dev.hello(version=version), errno.EPROTONOSUPPORT)
for address in (0, 8, 0xffff888000000000, (1 << 64) - 8):
    call(f"address {address:x}", dev.raw(h.HELLO, address), errno.EFAULT)
call("another ioctl", dev.raw(h.ioc(3, 1, 48), bytearray(48)), errno.ENOTTY, errno.ENOTCONN)
point("hello without IO_FLUSHER, of a wrong size, version or address: refused")
call("hello", dev.hello(), 0)
call("hello again", dev.hello(), errno.EALREADY, errno.EBUSY)
second = h.Device()
call("a second daemon", second.hello(), errno.EBUSY)
call("claim of a second daemon", second.claim(1), errno.ENOTCONN)
t.same(nl.status()[h.ST_DAEMON_PID], os.getpid(), "status shows who the daemon is")
for cmd in (0, 0x1234, h.ioc(1, 0, 8), h.ioc(1, 6, 32), h.ioc(3, 2, 32), h.ioc(1, 2, 24), h.ioc(1, 5, 0)):
    call(f"ioctl {cmd:x}", dev.raw(cmd, bytearray(128)), errno.ENOTTY)
for cmd in (h.CLAIM, h.BIND, h.FILL, h.DONE):
    for address in (0, 8, 0xffff888000000000, (1 << 64) - 8):
        call(f"ioctl {cmd:x} at {address:x}", dev.raw(cmd, address), errno.EFAULT)
point("hello twice, a second daemon, unknown ioctls, bad addresses: refused")
for what in (lambda: os.read(dev.fd, 10), lambda: os.write(dev.fd, b"x"), lambda: mmap.mmap(dev.fd, 4096)):
    try:
        what()
        wrong.append("read, write or mmap of the device was accepted")
    except (OSError, ValueError):
        pass
point("the device cannot be read, written or mapped")

for ident in (0, 1 << 40, (1 << 64) - 1):
    call(f"claim {ident:x}", dev.claim(ident), ENOENT)
    call(f"renew {ident:x}", dev.claim(ident, flags=1), ENOENT)
    call(f"bind {ident:x}", dev.bind(ident, 10), ENOENT)
    call(f"fill {ident:x}", dev.fill(ident, 0, b"x" * 4096), ENOENT)
    call(f"done {ident:x}", dev.done(ident, 0), ENOENT)
point("ids that never were: ENOENT")

# --- one request, everything wrong

reader = Reader("f00")
r = request_for("f00")
ident, SIZE = r[h.R_ID], sizes["f00"]
t.ok(h.R_ETAG not in r and r[h.R_SOURCE] == VOLUME and r[h.R_STATE] == h.NEW, "a read becomes a request, unbound and new", r)
call("fill without claim", dev.fill(ident, 0, b"x" * 4096), ESTALE)
call("bind without claim", dev.bind(ident, 10), ESTALE)
call("done without claim", dev.done(ident, 0), ESTALE)
call("renew without claim", dev.claim(ident, flags=1), ESTALE)
call("claim with flags", dev.claim(ident, flags=2), EINVAL)
call("claim of a wrong size", dev.claim(ident, size=31), EINVAL)
call("claim with reserved", dev.claim(ident, reserved=(1, 0)), EINVAL)
call("claim", dev.claim(ident), 0)
call("claim again", dev.claim(ident), errno.EBUSY)
call("renew", dev.claim(ident, flags=1), 0)
call("fill before bind", dev.fill(ident, 0, b"x" * 4096), errno.EPROTO)
point("claim: refused unless new; fill before bind: EPROTO")
call("bind of a wrong size", dev.bind(ident, SIZE, size=119), EINVAL)
call("bind with flags", dev.bind(ident, SIZE, flags=1), EINVAL)
call("bind with reserved32", dev.bind(ident, SIZE, reserved32=1), EINVAL)
call("bind with reserved", dev.bind(ident, SIZE, reserved=(0, 9)), EINVAL)
for length in (0, 65, 1 << 31, 0xffffffff):
    call(f"ETag of {length}", dev.bind(ident, SIZE, length=length), EINVAL)
call("ETag with a zero", dev.bind(ident, SIZE, etag=b"a\0b"), EINVAL)
for size in (1 << 53, 1 << 63, (1 << 64) - 1):
    call(f"object of {size:x}", dev.bind(ident, size), EINVAL)
call("bind", dev.bind(ident, SIZE), 0)
call("the same again", dev.bind(ident, SIZE), 0)
call("another ETag", dev.bind(ident, SIZE, etag=b"etag-2"), ESTALE)
call("another size", dev.bind(ident, SIZE + 1), ESTALE)
point("bind: bad ETags and sizes are EINVAL, another version is ESTALE")
page = b"W" * 4096
call("fill of a wrong size", dev.fill(ident, 0, page, size=55), EINVAL)
call("fill with flags", dev.fill(ident, 0, page, flags=1), EINVAL)
call("fill with reserved32", dev.fill(ident, 0, page, reserved32=1), EINVAL)
call("fill with reserved", dev.fill(ident, 0, page, reserved=(1, 0)), EINVAL)
for offset in (1, 512, 4095, 4097):
    call(f"offset {offset}", dev.fill(ident, offset, page), EINVAL)
for offset in (SIZE + 4095 & ~4095, MIB, 1 << 40, 1 << 63, (1 << 64) - 4096):
    call(f"offset {offset:x}", dev.fill(ident, offset, page), errno.ERANGE)
for length in (0, 1, 4095, 5000, MIB + 4096, 1 << 31, 0xfffff000, 0xffffffff):
    call(f"length {length:x}", dev.fill(ident, 0, page, length=length), EINVAL, errno.ERANGE)
call("one page more than there is", dev.fill(ident, 0, b"W" * ((SIZE + 4095) // 4096 * 4096)), errno.ERANGE, EINVAL)
for address in (0, 8, 0xffff888000000000, (1 << 64) - 4096, 1 << 47):
    call(f"address {address:x}", dev.fill(ident, 0, page, address=address), errno.EFAULT)
for status in (7, 255, 0xffffffff):
    call(f"status {status}", dev.done(ident, status), EINVAL)
call("done of a wrong size", dev.done(ident, 0, size=48), EINVAL)
call("done with flags", dev.done(ident, 0, flags=2), EINVAL)
call("done with reserved", dev.done(ident, 0, reserved=(0, 1)), EINVAL)
point("fill and done: misaligned, outside, overflowing, from nowhere: refused")
t.ok(reader.is_alive(), "the reader still waits: nothing was given to it", reader.told())
# Half of it in memory that is there, half not.
area = mmap.mmap(-1, 16 * 4096)
base = ctypes.addressof(ctypes.c_char.from_buffer(area))
h.LIBC.mprotect(ctypes.c_void_p(base + 2 * 4096), ctypes.c_size_t(4096), 0)
area[:8192] = store("f00")[:8192]
t.same(dev.fill(ident, 0, b"", length=4 * 4096, address=base), errno.EFAULT, "a fill whose memory ends: EFAULT")
t.same(dev.fill(ident, 0, store("f00")), 0, "the whole in one fill")
t.same(dev.fill(ident, 0, page), 0, "other bytes for what is there: accepted as a repetition")
t.same(dev.done(ident, h.OK), 0, "done")
call("fill after done", dev.fill(ident, 0, page), ENOENT, ESTALE)
call("done after done", dev.done(ident, h.FAILED), ENOENT, ESTALE)
point("after done: refused")
t.ok(reader.wait() and reader.result == store("f00"), "the reader gets the first bytes, of the version bound", reader.told())
t.ok(t.wait_for(lambda: nl.tier()["chunks"] == 1, 10), "... and the tier has them", nl.tier())

# --- endings

reader = Reader("f01")
ident = request_for("f01")[h.R_ID]
t.same(dev.claim(ident), 0, "done before anything was given") and t.same(dev.done(ident, h.OK), errno.ENODATA, "... is ENODATA")
t.ok(reader.wait() and reader.result == contents["lower", "f01"], "... and the reader gets the lower's bytes", reader.told())

reader = Reader("f02")
ident = request_for("f02")[h.R_ID]
dev.claim(ident)
dev.bind(ident, SIZE, b"etag-1")
dev.fill(ident, 8192, store("f02")[8192:12288])
t.same(dev.done(ident, h.OK), errno.ENODATA, "done with bytes missing: ENODATA")
t.ok(reader.wait() and reader.result in (errno.EIO, ESTALE), "... and the read fails: it is bound to a version", reader.told())

for name, status in (("f03", h.GONE), ("f04", h.DENIED), ("f05", h.FAILED), ("f06", h.UNSUPPORTED), ("f07", h.CHANGED)):
    reader = Reader(name)
    ident = request_for(name)[h.R_ID]
    dev.claim(ident)
    got = dev.done(ident, status)
    t.ok(not got and reader.wait() and (reader.result == contents["lower", name] or isinstance(reader.result, int)),
         f"an unbound request ends with status {status}: the lower's bytes or an error", h.name(got), reader.told())
    t.diag(f"status {status}: {reader.told()}")

for name, status in (("f08", h.GONE), ("f09", h.DENIED), ("f10", h.FAILED), ("f11", h.UNSUPPORTED), ("f12", h.CHANGED)):
    reader = Reader(name, 65536, 20000)
    ident = request_for(name)[h.R_ID]
    dev.claim(ident)
    dev.bind(ident, sizes[name])
    dev.fill(ident, 0, store(name)[:65536])
    dev.done(ident, status)
    t.ok(reader.wait(20) and isinstance(reader.result, int), f"bound and half given, then status {status}: the read fails", reader.told())
    t.diag(f"status {status}: {reader.told()}")

reader = Reader("f13")
ident = request_for("f13")[h.R_ID]
dev.claim(ident)
t.same(dev.done(ident, h.RETRY_AFTER, 300), 0, "retry after 300 ms")
r = request_for("f13", state=h.NEW)
call("claim", dev.claim(r[h.R_ID]) if r else ENOENT, 0)
call("bind, size of nothing", dev.bind(ident, 0), 0)
call("fill of nothing", dev.fill(ident, 0, page), EINVAL, errno.ERANGE)
call("done", dev.done(ident, h.OK), 0)
point("... it is new again; bound to an empty object it takes no bytes")
t.ok(reader.wait() and reader.result == b"", "... and the reader is at the end of the file", reader.told())

reader = Reader("f14")
ident = request_for("f14")[h.R_ID]
dev.claim(ident)
t.same(dev.done(ident, h.RETRY_AFTER, 0xffffffff), 0, "retry after 49 days")
t.ok(reader.wait(20) and isinstance(reader.result, int) and reader.seconds < 12 * t.SLOW,
     f"... ends with the read's deadline of 5 s ({reader.told()} after {reader.seconds} s)")

# An object that is larger and smaller than the lower shows.
for name, size in (("f15", 5 * MIB + 77), ("f16", 10)):
    reader = Reader(name, 0, 8 * MIB)
    served = serve(dev, name, data=store(name, size), until=lambda r=reader: not r.is_alive())
    t.ok(reader.result == store(name, size), f"an object of {size} bytes where the lower shows {sizes[name]}: all of it, no more",
         reader.told())

# --- nobody answers, or a former owner does

reader = Reader("f17")
r = request_for("f17")
started = time.monotonic()
t.ok(reader.wait(20), f"a request that nobody claims: the read ends ({reader.told()} after {reader.seconds} s)")
t.ok(reader.result == contents["lower", "f17"] or isinstance(reader.result, int), "... with the lower's bytes or an error")

dev.claim(0)                    # it answers: no longer suspect
reader = Reader("f18")
ident = request_for("f18")[h.R_ID]
dev.claim(ident)
dev.bind(ident, sizes["f18"])
set_lease(300)
dev.fill(ident, 0, store("f18")[:4096])
t.ok(t.wait_for(lambda: [r for r in nl.requests() if r[h.R_ID] == ident and r[h.R_STATE] == h.NEW], 10),
     "a claim that rested too long: the request is new again")
t.same(dev.fill(ident, 4096, page), ESTALE, "... the late fill is ESTALE")
t.same(dev.done(ident, h.OK), ESTALE, "... and so is done")
set_lease(5000)
served = serve(dev, "f18", until=lambda: not reader.is_alive())
t.ok(reader.result == store("f18"), "... who claims it anew may go on with it, and no late byte got in", reader.told())

reader = Reader("big")
ident = request_for("big")[h.R_ID]
dev.claim(ident)
dev.bind(ident, sizes["big"])
dev.fill(ident, 0, store("big")[:65536])
old_epoch = dev.epoch
dev.close()
t.ok(t.wait_for(lambda: nl.status()[h.ST_DAEMON_PID] == 0, 5), "the daemon goes away in the middle")
t.same(second.hello(), 0, "the next one comes")
t.ok(second.epoch > old_epoch, "... with a higher epoch")
r = request_for("big", state=h.NEW)
t.ok(r and r[h.R_ID] == ident and r.get(h.R_ETAG) == "etag-1", "... and finds the request, new again and bound", r)
t.same(second.fill(ident, 65536, page), ESTALE, "its fill before its own claim, of the former owner's: ESTALE")
t.same(second.bind(ident, sizes["big"]), ESTALE, "... bind too")
dev = second
serve(dev, "big", until=lambda: not reader.is_alive())
t.ok(reader.result == store("big"), "it brings the rest of the same version, and the read is whole", reader.told())

# A new owner that brings another version.
reader = Reader("big2")
ident = request_for("big2")[h.R_ID]
dev.claim(ident)
dev.bind(ident, sizes["big2"])
dev.fill(ident, 0, store("big2")[:65536])
dev.close()
dev = h.Device()
dev.hello()
ident = request_for("big2", state=h.NEW)[h.R_ID]
dev.claim(ident)
t.same(dev.bind(ident, sizes["big2"], b"etag-2"), ESTALE, "a new owner with another version: ESTALE")
dev.done(ident, h.CHANGED)
t.ok(reader.wait(20) and reader.result in (ESTALE, errno.EIO), "... and the reader of the old one gets an error, not a mixture", reader.told())

# --- memory that waits for us

reader = Reader("self", 0, 4096)
ident = request_for("self")[h.R_ID]
dev.claim(ident)
dev.bind(ident, 3 * MIB)
dev.fill(ident, 0, store("self")[:MIB])
dev.done(ident, h.OK)
t.ok(reader.wait(20) and reader.result == store("self")[:4096], "a file of which one chunk is cached", reader.told())
fd = os.open(f"{TARGET}/self", os.O_RDONLY)
libc_mmap = h.LIBC.mmap
libc_mmap.restype = ctypes.c_void_p
address = libc_mmap(None, ctypes.c_size_t(3 * MIB), 1, 1, fd, ctypes.c_long(0))
reader = Reader("self", 2 * MIB, 4096)
ident = t.wait_for(lambda: [r for r in nl.requests() if r[h.R_OFFSET] == 2 * MIB], 10)[0][h.R_ID]
dev.claim(ident)
started = time.monotonic()
error = dev.fill(ident, 2 * MIB, b"", length=MIB, address=address + 2 * MIB)
t.ok(error and time.monotonic() - started < 90 * t.SLOW, f"a fill from a mapping of the very file it fills: ends ({h.name(error)} "
     f"after {time.monotonic() - started:.1f} s)")
t.ok(reader.wait(20) and isinstance(reader.result, int), "... and so does the read", reader.told())


# --- many at once, and long names

lower_file(deep, 5000)
os.makedirs(f"{LOWER}/many", exist_ok=True)
MANY = 100
for i in range(MANY):
    lower_file(f"many/{i}", 4096)
for i in range(MANY):
    os.stat(f"{TARGET}/many/{i}")       # looked up one by one: the lower is not what is tested
# They are many to start, and to answer: in good time.
patient = "/mnt/patient"
status, output = t.mount(LOWER, patient, ro=True, volume=VOLUME, ttl="1h", deadline="90s")
t.same(status, 0, "a mount with a long deadline", output)
set_lease(60000)
readers = [Reader(f"many/{i}", 0, 4096, top=patient) for i in range(MANY)]
t.ok(t.wait_for(lambda: nl.status()[h.ST_REQUESTS] >= MANY, 60), f"{MANY} requests at once")
found = nl.requests(h.FETCH)
t.same((len(found), len({r[h.R_ID] for r in found})), (MANY, MANY), "... all are dumped, each once")
for r in found:
    if r[h.R_PATH].startswith("many/") and not dev.claim(r[h.R_ID]):
        dev.bind(r[h.R_ID], 4096)
        dev.fill(r[h.R_ID], 0, store(r[h.R_PATH]))
        dev.done(r[h.R_ID], h.OK)
set_lease(5000)
t.ok(all(r.wait(90) for r in readers) and all(r.result in (store(f"many/{i}"), contents["lower", f"many/{i}"])
                                              for i, r in enumerate(readers)), "... each is answered with its own bytes",
     *[f"{i}: {r.told()}" for i, r in enumerate(readers) if not isinstance(r.result, bytes)][:5])


def deep_read():
    """The name is longer than one system call takes together with the mount point."""
    at = os.open(TARGET, os.O_RDONLY | os.O_DIRECTORY)
    parts = deep.split("/")
    for part in parts[:-1]:
        following = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = following
    deep_fd = os.open(parts[-1], os.O_RDONLY, dir_fd=at)
    result.append(os.pread(deep_fd, 5000, 0))
    os.close(deep_fd)
    os.close(at)


result = []
thread = threading.Thread(target=deep_read, daemon=True)
thread.start()
r = request_for(deep)
t.ok(r and r[h.R_PATH] == deep, f"a name of {len(deep)} bytes is dumped whole")
serve(dev, deep, until=lambda: not thread.is_alive())
t.ok(result == [store(deep)], "... and read")

# --- random ioctls, by an owner, with requests pending

readers = [Reader(f"f{i:02}", 0, 4096) for i in range(19, 24)]
t.wait_for(lambda: len(nl.requests(h.FETCH)) >= 5, 10)
ids = [r[h.R_ID] for r in nl.requests()] + [0, (1 << 64) - 1]
calls = {h.CLAIM: 32, h.BIND: 120, h.FILL: 56, h.DONE: 40, h.HELLO: 40}
counts = {}
for i in range(4000):
    cmd = rng.choice(list(calls))
    data = bytearray(rng.choice((bytes(calls[cmd]), rng.randbytes(calls[cmd]))))
    if rng.random() < 0.9:
        struct.pack_into("=II", data, 0, calls[cmd], 0)
    if rng.random() < 0.9:
        struct.pack_into("=Q", data, 8, rng.choice(ids))
    if cmd == h.FILL and rng.random() < 0.8:
        struct.pack_into("=QIIQQQ", data, 16, rng.choice((0, 4096, rng.getrandbits(64))), rng.choice((4096, rng.getrandbits(32))), 0,
                         rng.choice((0, base, rng.getrandbits(64))), 0, 0)
    if cmd == h.DONE and rng.random() < 0.95:
        struct.pack_into("=I", data, 16, rng.choice((99, h.RETRY_AFTER)))
    error = dev.raw(cmd, data)
    counts[error] = counts.get(error, 0) + 1
t.ok(counts.get(EINVAL) and len(counts) > 3, "4000 random ioctls: answered", str({h.name(k): v for k, v in counts.items()}))
dev.close()
t.ok(all(r.wait(30) for r in readers), "the readers of meanwhile come back", *[r.told() for r in readers])

# --- afterwards

dev = h.Device()
t.same(dev.hello(), 0, "an honest daemon comes")
reader = Reader("f00")
t.ok(reader.wait(20) and reader.result == store("f00"), "what was cached is still right", reader.told())
t.drop_caches(1)
reader = Reader("f00")
t.ok(reader.wait(20) and reader.result == store("f00"), "... from the tier, too", reader.told(), nl.tier(), nl.stats(), nl.requests())
lower_file("after", 200000)
reader = Reader("after")
serve(dev, "after", until=lambda: not reader.is_alive())
t.ok(reader.result == store("after"), "and new files are fetched", reader.told())
tier = nl.tier()
t.same(tier["used_bytes"] + tier["free_bytes"], tier["frame_bytes"], "the tier's accounting adds up")
t.ok(t.wait_for(lambda: not nl.requests(), 10), "no request is left over", nl.requests())
stats = nl.stats()
t.same(stats["crc_errors"], 0, "no block of the tier was damaged")
h.LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(3 * MIB))
os.close(fd)
os.close(directory)
os.close(o_path)
t.run_ok("umount", "umount", TARGET, patient)
t.same(nl.detach(DATA)[0], 0, "detach")
dev.close()
nl.close()
t.ok(t.unloaded(), "the module can be unloaded: nothing was left in use")
t.done()
