#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what is written through the mount is what the lower has, at once, by
# every call that writes; and nothing cached ever hides it, however late or in
# how many steps the store gets it. A directory written directly, and one written
# through the mount by the same calls, end the same. Errors are the lower's.
#
# vm: host=dataset disk=data:64M timeout=600 mem=1500M

import ctypes
import errno
import fcntl
import mmap
import os
import random
import shutil
import stat
import struct
import threading
import time
import urllib.error
import urllib.request

import hostile_daemon as h
import vmtest as t
from calls import as_user, caught

LOWER, TARGET, TWIN, STORE, SMALL = "/mnt/lower", "/mnt/target", "/mnt/twin", "/mnt/store", "/mnt/small"
RO, AZ, AZT = "/mnt/ro", "/mnt/az", "/mnt/azt"
MIB, PAGE = 1 << 20, 4096
SETTLE = 1.0
SYS_RENAMEAT2 = 316
CLOCK_REALTIME_COARSE = 5


def read(path):
    with open(path, "rb", buffering=0) as f:
        data = b""
        while part := f.read(1 << 20):
            data += part
        return data


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=None):
    fd = os.open(path, flags, 0o644, dir_fd=dir_fd)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def pattern(seed, size):
    return random.Random(seed).randbytes(size)


def tree(top, inode=False):
    """All that a directory says of itself, with contents."""
    out = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(where, name)
            s = os.lstat(path)
            entry = [s.st_mode, s.st_uid, s.st_gid]
            if stat.S_ISREG(s.st_mode):
                entry += [s.st_size, hash(read(path)), s.st_nlink]
            if inode:
                entry += [s.st_ino, s.st_mtime_ns]
            out[os.path.relpath(path, top)] = entry
    return out


def differences(a, b):
    return [f"{k}: {a.get(k)} / {b.get(k)}" for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k)]


def same_trees(text):
    found = differences(tree(TARGET, True), tree(LOWER, True)) + differences(tree(TARGET), tree(TWIN))
    return t.ok(not found, text, *found[:10])


def upload(*names):
    """The store gets what the lower has now."""
    for name in names:
        os.makedirs(os.path.dirname(f"{STORE}/{name}"), exist_ok=True)
        # By another name, so that nobody sees half of it; its time is that of now.
        shutil.copyfile(f"{LOWER}/{name}", f"{STORE}/.upload")
        os.rename(f"{STORE}/.upload", f"{STORE}/{name}")


def is_cached(path):
    """Does a new open read through the cache?"""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.pread(fd, 1, 0)
        nl.do(h.RESIDENCY, h.u32(h.A_FD, fd))
        return True
    except h.Refused as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
        return False
    finally:
        os.close(fd)


def cached_soon(path, seconds=20):
    return t.wait_for(lambda: is_cached(path), seconds, f"{path} is read through the cache")


def after(seconds):
    end = time.monotonic() + seconds
    t.wait_for(lambda: time.monotonic() > end, seconds + 10)


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t


def renameat2(old, new, flags):
    if libc.syscall(SYS_RENAMEAT2, -100, old.encode(), -100, new.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(path, mode, offset, length):
    fd = os.open(path, os.O_RDWR)
    try:
        if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def overwrite(path, offset, data):
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def map_write(path, offset, data):
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[offset:offset + len(data)] = data
        m.flush()


def append_twice(path, a, b):
    """Two open files append in turn."""
    one = os.open(path, os.O_WRONLY | os.O_APPEND)
    two = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_SYNC)
    for part in (a, b, a):
        os.write(one, part)
        os.write(two, part[::-1])
    os.close(one)
    os.close(two)


def sparse(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, b"end", 3 * MIB + 17)
    os.pwrite(fd, b"start", 0)
    assert os.lseek(fd, 0, os.SEEK_END) == 3 * MIB + 20
    os.lseek(fd, 5, os.SEEK_SET)
    os.write(fd, b"after")
    os.fdatasync(fd)
    os.close(fd)


def append_no_more(path):
    """O_APPEND is taken back after the open."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"at the end")
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"in front", 0)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, b"and again")
    os.close(fd)


def splice_into(path):
    out, inp = os.pipe()
    fd = os.open(path, os.O_WRONLY)
    os.write(inp, b"through a pipe")
    assert os.splice(out, fd, 100, offset_dst=77) == 14
    for f in (out, inp, fd):
        os.close(f)


def copy_inside(base):
    a = os.open(f"{base}/dir/a", os.O_RDONLY)
    b = os.open(f"{base}/dir/copy", os.O_WRONLY | os.O_CREAT, 0o640)
    while os.sendfile(b, a, None, 1 << 20):
        pass
    os.ftruncate(b, 70001)
    os.close(a)
    os.close(b)


CALLS = (
    ("create, empty", lambda b: write(f"{b}/empty", b"")),
    ("mkdir", lambda b: os.mkdir(f"{b}/dir", 0o750)),
    ("mkdir below", lambda b: os.makedirs(f"{b}/dir/sub/deep")),
    ("create and write", lambda b: write(f"{b}/dir/a", pattern(1, 3 * MIB + 321))),
    ("append", lambda b: write(f"{b}/dir/a", pattern(2, 5000), os.O_WRONLY | os.O_APPEND)),
    ("appended by two in turn", lambda b: append_twice(f"{b}/dir/a", b"0123", pattern(3, 9999))),
    ("append, then not, then again", lambda b: append_no_more(f"{b}/dir/a")),
    ("splice from a pipe", lambda b: splice_into(f"{b}/dir/a")),
    ("overwrite in the middle", lambda b: overwrite(f"{b}/dir/a", MIB - 5, pattern(4, 100000))),
    ("overwrite beyond the end", lambda b: overwrite(f"{b}/dir/a", 5 * MIB, b"x")),
    ("truncate by path", lambda b: os.truncate(f"{b}/dir/a", 2 * MIB + 7)),
    ("truncate longer", lambda b: os.truncate(f"{b}/dir/a", 2 * MIB + 70000)),
    ("O_TRUNC", lambda b: write(f"{b}/dir/a", pattern(5, 80000))),
    ("a shared mapping is written", lambda b: map_write(f"{b}/dir/a", 5000, pattern(6, 30000))),
    ("holes", lambda b: sparse(f"{b}/sparse")),
    ("fallocate", lambda b: fallocate(f"{b}/sparse", 0, 4 * MIB, MIB)),
    ("punch a hole", lambda b: fallocate(f"{b}/dir/a", 3, 8192, 16384)),
    ("sendfile into it, ftruncate", copy_inside),
    ("chmod", lambda b: os.chmod(f"{b}/dir/a", 0o4711)),
    ("chmod of a directory", lambda b: os.chmod(f"{b}/dir/sub", 0o2775)),
    ("chown", lambda b: os.chown(f"{b}/dir/copy", 1234, 4321)),
    ("utimes", lambda b: os.utime(f"{b}/dir/copy", ns=(10**18, 10**18 + 123456789))),
    ("rename", lambda b: os.rename(f"{b}/dir/a", f"{b}/dir/b")),
    ("rename to another directory", lambda b: os.rename(f"{b}/dir/b", f"{b}/dir/sub/deep/b")),
    ("rename over a file", lambda b: os.rename(f"{b}/empty", f"{b}/dir/copy")),
    ("rename of a directory", lambda b: os.rename(f"{b}/dir/sub", f"{b}/moved")),
    ("... and a write below it", lambda b: overwrite(f"{b}/moved/deep/b", 100, b"below")),
    ("unlink", lambda b: os.unlink(f"{b}/sparse")),
    ("rmdir", lambda b: (os.mkdir(f"{b}/gone"), os.rmdir(f"{b}/gone"))),
    ("create where something was", lambda b: write(f"{b}/sparse", b"again")),
)

ERRORS = (
    ("a name that is there, O_EXCL", "EEXIST", lambda b: os.open(f"{b}/sparse", os.O_CREAT | os.O_EXCL)),
    ("mkdir of one that is there", "EEXIST", lambda b: os.mkdir(f"{b}/dir")),
    ("rmdir of one that is not empty", "ENOTEMPTY", lambda b: os.rmdir(f"{b}/moved")),
    ("rmdir of a file", "ENOTDIR", lambda b: os.rmdir(f"{b}/sparse")),
    ("unlink of a directory", "EISDIR", lambda b: os.unlink(f"{b}/dir")),
    ("rename into itself", "EINVAL", lambda b: os.rename(f"{b}/moved", f"{b}/moved/deep/x")),
    ("rename over a full directory", "ENOTEMPTY", lambda b: os.rename(f"{b}/dir", f"{b}/moved")),
    ("rename, no replace", "EEXIST", lambda b: renameat2(f"{b}/sparse", f"{b}/dir/copy", 1)),
    ("unlink of nothing", "ENOENT", lambda b: os.unlink(f"{b}/nothing")),
    ("a file below a file", "ENOTDIR", lambda b: os.open(f"{b}/sparse/x", os.O_CREAT)),
    ("a name too long", "ENAMETOOLONG", lambda b: os.open(f"{b}/{'n' * 256}", os.O_CREAT)),
    ("a directory opened for writing", "EISDIR", lambda b: os.open(f"{b}/dir", os.O_RDWR)),
)

# What Blob mounts have no use for is refused, not passed on.
REFUSED = (
    ("exchange", "EINVAL", lambda b: renameat2(f"{b}/sparse", f"{b}/dir/copy", 2)),
    ("symlink", "EPERM", lambda b: os.symlink("x", f"{b}/link")),
    ("link", "EPERM", lambda b: os.link(f"{b}/sparse", f"{b}/link")),
    ("mknod", "EPERM", lambda b: os.mkfifo(f"{b}/fifo")),
)

for directory in (LOWER, TARGET, TWIN, STORE, SMALL, RO, "/mnt/nosuid"):
    os.makedirs(directory)
for directory in (LOWER, TWIN, STORE):
    t.run("mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", directory)
t.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", SMALL)
rclone = t.Rclone(AZ, "--vfs-cache-mode", "writes", "--vfs-write-back", "1s", read_only=False)
t.load_module(t.PATIENT, f"settle_ms={int(SETTLE * 1000)}")
nl = h.Netlink()
DATA = t.disk("data")
t.run("cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.azure_daemon({"source": f"file://{STORE}"})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
VOLUME = f"file://{STORE}"

# --- which mounts may be written

status, output = t.mount(LOWER, TARGET, volume=VOLUME, consistency="immutable")
t.ok(status and "-o ro" in output + t.run("dmesg").stdout[-2000:], "immutable without ro is refused, and says why", output)
t.run("mount", "-o", "bind,ro", SMALL, SMALL)
t.run("mount", "-o", "remount,bind,ro", SMALL)
status, output = t.mount(SMALL, RO, volume="file:///small")
t.ok("ro," in [line for line in open("/proc/mounts", encoding="ascii") if f" {RO} " in line][0],
     "a lower that is read-only gives a read-only mount", output)
t.like(output, "read-only", "... and mount(8) says so")
t.same(caught(write, f"{RO}/x", b"x"), "EROFS", "... which refuses to write")
t.ok(t.run("mount", "-o", "remount,rw", RO).returncode != 0, "... and to be remounted")
t.run("umount", RO)
t.run("umount", SMALL)
status, output = t.mount(LOWER, TARGET, volume=VOLUME, ttl="200ms", deadline="60s")
if not t.same(status, 0, "a mount that can be written", output):
    t.done()
t.same(t.cachectl("mount", "show", TARGET)["read_only"], False, "cachectl says that it can")

# --- every call, the store knowing nothing of it

for text, call in CALLS:
    errors = [caught(call, base) for base in (TARGET, TWIN)]
    if t.same(errors[0], errors[1], text, "first: through the mount, second: without"):
        same_trees("... the lower, the mount and the twin agree")
for text, want, call in ERRORS:
    t.same([caught(call, base) for base in (TARGET, TWIN)], [want, want], f"{want}: {text}")
for text, want, call in REFUSED:
    t.same(caught(call, TARGET), want, f"{want}: {text} is refused")
same_trees("nothing of that changed anything")

# --- rights

for base in (TARGET, TWIN):
    os.mkdir(f"{base}/open")
    os.chmod(f"{base}/open", 0o1777)
    os.chmod(f"{base}/moved/deep/b", 0o4755)
    os.chown(f"{base}/moved/deep/b", 1000, 1000)
    os.chmod(f"{base}/moved/deep/b", 0o4755)
for text, call in (
        ("creates a file", lambda b: write(f"{b}/open/mine", b"mine")),
        ("makes a directory", lambda b: os.mkdir(f"{b}/open/dir")),
        ("may not where it has no right", lambda b: write(f"{b}/theirs", b"x")),
        ("may not write a file of root", lambda b: overwrite(f"{b}/sparse", 0, b"x")),
        ("may not chmod a file of root", lambda b: os.chmod(f"{b}/sparse", 0o777)),
        ("may not truncate it", lambda b: os.truncate(f"{b}/sparse", 0)),
        ("may not unlink it", lambda b: os.unlink(f"{b}/sparse")),
        ("writes its set-uid file, which then is not", lambda b: overwrite(f"{b}/moved/deep/b", 0, b"x"))):
    t.same(as_user(1000, call, TARGET, umask=0o027), as_user(1000, call, TWIN, umask=0o027), f"user 1000 {text}")
same_trees("what a user created is the user's")

# What an ACL refuses is refused from the first moment on: not only once the lower was asked again.
os.mkdir(f"{TARGET}/acl")
if t.run("setfacl", "-d", "-m", "u::rw-,g::---,u:1234:rw-,m::rw-,o::---", f"{LOWER}/acl").returncode:
    t.skip(3, "no ACLs here")
else:
    write(f"{TARGET}/acl/file", b"secret")
    t.same(oct(os.stat(f"{LOWER}/acl/file").st_mode & 0o777), "0o640", "a file that is created gets an ACL, and shows its mask as rights of the group")
    t.same(oct(os.stat(f"{TARGET}/acl/file").st_mode & 0o077), "0o0", "... which we do not show, from the first moment on")
    os.truncate(f"{TARGET}/acl/file", 3)
    t.same(oct(os.stat(f"{TARGET}/acl/file").st_mode & 0o077), "0o0", "... nor after a change")
shutil.rmtree(f"{LOWER}/acl")

# Capabilities of a program go when it is cut off, though we do not show that it has any.
write(f"{LOWER}/caps", b"program")
os.setxattr(f"{LOWER}/caps", "security.capability", struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0))
os.truncate(f"{TARGET}/caps", 3)
t.same(os.listxattr(f"{LOWER}/caps"), [], "truncated: the lower file has its capabilities no more")
os.unlink(f"{TARGET}/caps")

# Append-only and immutable files stay so, though root of ours writes for the user.
for flag, name in ((0x20, "append"), (0x10, "immutable")):
    write(f"{LOWER}/{name}", b"old")
    os.chmod(f"{LOWER}/{name}", 0o666)
    fd = os.open(f"{LOWER}/{name}", os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flag))
    except OSError as e:
        t.skip(2, f"no chattr here: {h.name(e.errno)}")
        continue
    t.same([caught(overwrite, f"{TARGET}/{name}", 0, b"x"), caught(os.truncate, f"{TARGET}/{name}", 0),
            caught(write, f"{TARGET}/{name}", b"x")], ["EPERM"] * 3, f"{name}: neither written nor cut")
    t.same((caught(write, f"{TARGET}/{name}", b"+", os.O_WRONLY | os.O_APPEND), read(f"{LOWER}/{name}")),
           (None, b"old+") if name == "append" else ("EPERM", b"old"), "... appended to, if that is allowed")
    fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0))
    os.close(fd)
    os.unlink(f"{LOWER}/{name}")

# Of a lower that is mounted nosuid we show no set-id bits; a write must drop them all the same.
os.makedirs(RO, exist_ok=True)
t.run("mount", "-o", "remount,bind,nosuid", SMALL)
write(f"{SMALL}/suid", b"program")
os.chown(f"{SMALL}/suid", 0, 1000)
os.chmod(f"{SMALL}/suid", 0o4775)
t.run("mount", "--bind", SMALL, "/mnt/nosuid")
t.run("mount", "-o", "remount,bind,nosuid", "/mnt/nosuid")
t.mount("/mnt/nosuid", RO, volume="file:///small")
t.same(oct(os.stat(f"{RO}/suid").st_mode), "0o100775", "a lower mounted nosuid: no set-id bit is shown")
t.same(as_user(1000, overwrite, f"{RO}/suid", 0, b"x"), "None", "... a user of its group writes it")
t.same(oct(os.stat(f"{SMALL}/suid").st_mode), "0o100775", "... and it is gone below, too")
t.run("umount", RO)
t.run("umount", "/mnt/nosuid")
os.unlink(f"{SMALL}/suid")

# --- space

os.makedirs(RO, exist_ok=True)
t.mount(SMALL, RO, volume="file:///small")
t.same(caught(write, f"{RO}/big", bytes(2 * MIB)), "ENOSPC", "a full lower: ENOSPC")
t.ok(t.wait_for(lambda: os.statvfs(RO).f_bavail == 0, 10), "... and statvfs shows it")
t.same(read(f"{RO}/big"), read(f"{SMALL}/big"), "... what found room is there")
os.unlink(f"{RO}/big")
t.ok(t.wait_for(lambda: caught(write, f"{RO}/big", bytes(100000)) is None, 10), "... after an unlink there is room again")
t.run("umount", RO)

# --- cached data never goes stale

old, new = pattern(10, 2 * MIB), pattern(11, 2 * MIB)


def cached_file(name, data):
    """A file that the store and the lower have, read through the mount."""
    os.makedirs(os.path.dirname(f"{LOWER}/{name}"), exist_ok=True)
    write(f"{LOWER}/{name}", data)
    upload(name)
    past = time.time() - 10
    os.utime(f"{STORE}/{name}", (past, past))
    path = f"{TARGET}/{name}"
    got = t.wait_for(lambda: caught(read, path) is None and is_cached(path), 10, f"{path} is cached")
    return t.ok(got and read(path) == data, f"{name}: read from the store, cached")


cached_file("hot", old)
HOT = f"{TARGET}/hot"
reader = os.open(HOT, os.O_RDONLY)
lazy = os.open(HOT, os.O_RDONLY)
os.pread(reader, 4096, 0)
before = mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_READ)
t.ok(before[:4096] == old[:4096], "a mapping of it")
writer = os.open(HOT, os.O_RDWR)
os.pwrite(writer, new[:MIB], 0)
t.ok(os.pread(reader, MIB, 0) == new[:MIB], "an open file reads what another just wrote")
t.ok(read(HOT) == new[:MIB] + old[MIB:], "... and so does a new one")
with open(HOT, "rb") as f, mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
    t.ok(m[:] == new[:MIB] + old[MIB:], "... and a new mapping")
    os.pwrite(writer, b"seen", 12345)
    t.ok(m[12345:12349] == b"seen", "... in which writes appear")
    os.pwrite(writer, new[12345:12349], 12345)
t.ok(before[MIB:] == old[MIB:] and before[:MIB] in (old[:MIB], new[:MIB]), "the mapping from before has its version")
before.close()
os.pwrite(writer, new[MIB:], MIB)
os.close(writer)
t.ok(os.pread(lazy, 2 * MIB, 0) == new, "an open file that read nothing meanwhile reads the new bytes, the writer gone")
t.ok(read(HOT) == new and not is_cached(HOT), "a new one too, past the cache")
after(SETTLE + 0.5)
t.drop_caches(3)
t.ok(read(HOT) == new, "the store has the old bytes still, of the same size: they are not read")
upload("hot")
t.ok(cached_soon(HOT) and read(HOT) == new, "the store has the new ones: the cache is used again, with them")
t.ok(os.pread(reader, 2 * MIB, 0) == new and os.pread(lazy, 2 * MIB, 0) == new, "files open since then read them too")
os.close(reader)
os.close(lazy)

third = pattern(12, 2 * MIB)
write(HOT, pattern(13, 2 * MIB))
shutil.copyfile(f"{LOWER}/hot", f"{STORE}/.between")     # an upload that takes its time
after(1.1)      # times of the store are seconds
past = time.time() - 1.1
write(HOT, third)
os.utime(f"{STORE}/.between", (past, past))
os.rename(f"{STORE}/.between", f"{STORE}/hot")
after(SETTLE + 0.5)
t.ok(read(HOT) == third, "the store has what was written in between: it is not read")
upload("hot")
t.ok(cached_soon(HOT) and read(HOT) == third, "... the last is")

fd = os.open(HOT, os.O_RDWR)
t.ok(not is_cached(HOT), "open for writing, though nobody writes: past the cache")
os.close(fd)
t.ok(is_cached(HOT) and read(HOT) == third, "... closed without a write: cached as before")

cached_file("idle", old)
shutil.copyfile(f"{LOWER}/idle", f"{STORE}/.upload")
with open(f"{STORE}/.upload", "r+b") as f:
    f.write(b"another node's")
os.rename(f"{STORE}/.upload", f"{STORE}/idle")


def open_idly():
    os.close(os.open(f"{TARGET}/idle", os.O_RDWR))
    return read(f"{TARGET}/idle")[:14] == b"another node's"


t.ok(t.wait_for(open_idly, 10), "opened for writing again and again, not written: what another node wrote is seen after the ttl")

os.truncate(HOT, 1000)
t.same((os.stat(HOT).st_size, read(HOT)), (1000, third[:1000]), "truncated by its path: its size and bytes, at once")
fd = os.open(HOT, os.O_RDONLY)
os.truncate(HOT, 10)
t.same((os.fstat(fd).st_size, os.pread(fd, 100, 0), os.lseek(fd, 0, os.SEEK_END)), (10, third[:10], 10), "... under an open file too")
os.close(fd)

cached_file("mapped", old)
with open(f"{TARGET}/mapped", "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
m[MIB:MIB + 5] = b"hello"
t.ok(read(f"{TARGET}/mapped")[MIB:MIB + 5] == b"hello", "written by a mapping whose file is closed: reads see it")
after(SETTLE + 0.5)
m[7:12] = b"again"
t.ok(read(f"{TARGET}/mapped")[7:12] == b"again" and not is_cached(f"{TARGET}/mapped"), "... for as long as it is there")
m.close()
want = old[:7] + b"again" + old[12:MIB] + b"hello" + old[MIB + 5:]
t.ok(read(f"{TARGET}/mapped") == want, "... and after it")
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/mapped") == want, "... and later")

cached_file("pipe", old)
fd = os.open(f"{TARGET}/pipe", os.O_WRONLY)
out, inp = os.pipe()
waits = threading.Thread(target=os.splice, args=(out, fd, 4096), kwargs={"offset_dst": 5})
waits.start()
changes = threading.Thread(target=os.chmod, args=(f"{TARGET}/pipe", 0o640))
changes.start()
changes.join(20)
t.ok(not changes.is_alive() and waits.is_alive(), "splice() waits for an empty pipe: the file can be changed meanwhile")
os.write(inp, b"from the pipe")
waits.join(20)
t.ok(read(f"{TARGET}/pipe")[:18] == old[:5] + b"from the pipe", "... and is written when something comes")
for f in (fd, out, inp):
    os.close(f)

cached_file("direct", old)
fd = os.open(f"{LOWER}/direct", os.O_WRONLY)
os.pwrite(fd, b"direct", 0)
t.ok(read(f"{TARGET}/direct")[:6] == b"direct", "open for writing in the lower, past the mount: opens read the lower")
os.close(fd)

# --- names that change under what is cached

cached_file("names/a", pattern(20, 100000))
cached_file("names/b", pattern(21, 100000))
fd = os.open(f"{TARGET}/names/b", os.O_RDONLY)
moved = os.open(f"{TARGET}/names/a", os.O_RDONLY)
os.rename(f"{TARGET}/names/a", f"{TARGET}/names/b")
t.ok(read(f"{TARGET}/names/b") == pattern(20, 100000), "a renamed onto b: b has the bytes of a")
t.ok(os.pread(fd, 200000, 0) == pattern(21, 100000), "... the b that is open has its own still")
t.ok(os.pread(moved, 200000, 0) == pattern(20, 100000), "... and the a that is open, too")
write(f"{TARGET}/names/a", pattern(22, 100000))
t.ok(read(f"{TARGET}/names/a") == pattern(22, 100000), "a new a has its own bytes")
again = os.open(f"/proc/self/fd/{moved}", os.O_RDONLY)
t.ok(os.pread(again, 200000, 0) == pattern(20, 100000), "the old a, opened again by its descriptor, is the old a")
t.same(os.fstat(moved).st_ino, os.stat(f"{TARGET}/names/b").st_ino, "... and has the inode number of b")
for f in (fd, moved, again):
    os.close(f)
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/names/b") == pattern(20, 100000) and read(f"{TARGET}/names/a") == pattern(22, 100000),
     "the store has the old ones, of the same sizes: they are not read")
upload("names/a", "names/b")
t.ok(cached_soon(f"{TARGET}/names/a") and cached_soon(f"{TARGET}/names/b"), "uploaded: both are cached")
t.ok(read(f"{TARGET}/names/b") == pattern(20, 100000) and read(f"{TARGET}/names/a") == pattern(22, 100000), "... with the right bytes")

def second_now():
    """As the kernel counts them, whose clock for that ticks more slowly than time.time()."""
    return int(time.clock_gettime(CLOCK_REALTIME_COARSE))


def next_second(second):
    t.wait_for(lambda: second_now() > second, 10, "the next second")


def later_than(path):
    """It is a later second than that of the file in the store: its time tells nothing now."""
    next_second(int(os.stat(path).st_mtime))


cached_file("there", pattern(23, 60000))
later_than(f"{STORE}/there")
fd = os.open(f"{TARGET}/there", os.O_RDONLY)
os.rename(f"{TARGET}/there", f"{TARGET}/here")
os.rename(f"{TARGET}/here", f"{TARGET}/there")
t.ok(os.pread(fd, 70000, 0) == pattern(23, 60000), "renamed there and back, held open: its bytes")
t.ok(cached_soon(f"{TARGET}/there") and read(f"{TARGET}/there") == pattern(23, 60000), "... and it is cached again, of the same version")
os.close(fd)
cached_file("late", pattern(26, 3 * PAGE))
# Not by the mmap module: that keeps a descriptor, whose close would tell of the write.
fd = os.open(f"{TARGET}/late", os.O_RDWR)
m = libc.mmap(None, ctypes.c_size_t(3 * PAGE), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, ctypes.c_long(0))
ctypes.memmove(m, b"early", 5)
os.close(fd)
next_second(second_now())
upload("late")
later_than(f"{STORE}/late")
ctypes.memmove(m + 5, b"late", 4)
os.utime(f"{LOWER}/late")	# as a lower does that is not in memory
time_of = os.stat(f"{LOWER}/late").st_mtime_ns
t.wait_for(lambda: os.stat(f"{TARGET}/late").st_mtime_ns == time_of, 10, "the mount shows the time of the lower")
os.close(os.open(f"{TARGET}/late", os.O_RDWR))
libc.munmap(m, 3 * PAGE)
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/late")[:9] == b"earlylate" and not is_cached(f"{TARGET}/late"),
     "a mapping wrote after the upload, and somebody opened it since: not the version of the upload, of the same size")
fd = os.open(f"{TARGET}/there.tmp", os.O_WRONLY | os.O_CREAT)
os.write(fd, pattern(24, 30000))
os.rename(f"{TARGET}/there.tmp", f"{TARGET}/there")
os.write(fd, pattern(25, 30000))
t.ok(not is_cached(f"{TARGET}/there"), "renamed while it is written: past the cache")
os.close(fd)
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/there") == pattern(24, 30000) + pattern(25, 30000), "... what was written after the rename is read")

cached_file("one/x", pattern(30, 50000))
cached_file("two/x", pattern(31, 50000))
cached_file("two/deep/y", pattern(32, 50000))
held = os.open(f"{TARGET}/two/x", os.O_RDONLY)
inside = os.open(f"{TARGET}/two", os.O_RDONLY)
os.rename(f"{TARGET}/one", f"{TARGET}/zero")
os.rename(f"{TARGET}/two", f"{TARGET}/one")
t.ok(read(f"{TARGET}/one/x") == pattern(31, 50000), "a directory renamed to where another was: its files, not the others'")
t.ok(read(f"{TARGET}/zero/x") == pattern(30, 50000), "... which are where that went")
t.ok(read(f"{TARGET}/one/deep/y") == pattern(32, 50000), "... also further below")
os.mkdir(f"{TARGET}/two")
write(f"{TARGET}/two/x", b"another two")
t.same(read(f"{TARGET}/two/x"), b"another two", "a new directory of the old name")
t.ok(os.pread(held, 60000, 0) == pattern(31, 50000), "a file open since then has its bytes")
again = os.open(f"/proc/self/fd/{held}", os.O_RDONLY)
t.ok(os.pread(again, 60000, 0) == pattern(31, 50000), "... also opened again by its descriptor")
f = os.open("x", os.O_RDONLY, dir_fd=inside)
t.ok(os.pread(f, 60000, 0) == pattern(31, 50000), "... and from within the directory")
for f in (held, again, f, inside):
    os.close(f)
after(SETTLE + 0.5)
t.drop_caches(3)
t.ok(read(f"{TARGET}/one/x") == pattern(31, 50000) and read(f"{TARGET}/one/deep/y") == pattern(32, 50000),
     "later, with nothing cached: the same")
upload("one/x", "one/deep/y", "zero/x", "two/x")
t.ok(all([cached_soon(f"{TARGET}/{n}") for n in ("one/x", "one/deep/y", "zero/x", "two/x")]), "uploaded: cached again")
t.ok(read(f"{TARGET}/one/x") == pattern(31, 50000) and read(f"{TARGET}/zero/x") == pattern(30, 50000), "... with the right bytes")

cached_file("caught", old)
os.close(os.open(f"{TARGET}/caught", os.O_RDWR))
shutil.copyfile(f"{LOWER}/caught", f"{STORE}/.upload")
with open(f"{STORE}/.upload", "r+b") as f:
    f.write(b"another node's")
os.rename(f"{STORE}/.upload", f"{STORE}/caught")
later_than(f"{STORE}/caught")
shutil.copyfile(f"{STORE}/caught", f"{LOWER}/caught")
t.ok(cached_soon(f"{TARGET}/caught") and read(f"{TARGET}/caught")[:14] == b"another node's",
     "opened for writing, not written, and then the lower shows another node's version: that is cached")

# What was uploaded before a rename is not taken for what the path names since; whatever else is known of it.
def later_upload(*names):
    """Their time in the store is later than any until now, and earlier than any from then on."""
    next_second(second_now())
    upload(*names)
    # A rename counts as begun one second earlier.
    next_second(int(os.stat(f"{STORE}/{names[-1]}").st_mtime) + 1)


os.makedirs(f"{TARGET}/cur")
os.makedirs(f"{TARGET}/next")
write(f"{TARGET}/cur/x", pattern(40, 50000))
write(f"{TARGET}/next/x", pattern(41, 50000))
later_upload("cur/x")
os.rename(f"{TARGET}/cur", f"{TARGET}/bak")
os.rename(f"{TARGET}/next", f"{TARGET}/cur")
caught(read, f"{TARGET}/cur/x")
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/cur/x") == pattern(41, 50000) and not is_cached(f"{TARGET}/cur/x"),
     "written, uploaded, and another by a rename of its directory: not what was uploaded")
os.makedirs(f"{TARGET}/stage/new")
os.makedirs(f"{TARGET}/stage/ckpt")
write(f"{TARGET}/stage/new/x", pattern(42, 50000))
write(f"{TARGET}/stage/ckpt/x", pattern(43, 50000))
os.rename(f"{TARGET}/stage", f"{TARGET}/run")
later_upload("run/ckpt/x")
os.rename(f"{TARGET}/run/ckpt", f"{TARGET}/run/old")
os.rename(f"{TARGET}/run/new", f"{TARGET}/run/ckpt")
caught(read, f"{TARGET}/run/ckpt/x")
after(SETTLE + 0.5)
t.ok(read(f"{TARGET}/run/ckpt/x") == pattern(42, 50000) and not is_cached(f"{TARGET}/run/ckpt/x"),
     "... by the last of two renames above it")

# A store that copies to rename has what was renamed from the time of the rename, by its own clock.
def rename_within_a_second(name):
    """A file that was written, and then renamed. Return: its name, and in which second that was."""
    write(f"{TARGET}/{name}.0", pattern(44, 50000))
    for n in range(100):
        second = second_now()
        os.rename(f"{TARGET}/{name}.{n}", f"{TARGET}/{name}.{n + 1}")
        if second_now() == second:
            break
    return f"{name}.{n + 1}", second


copies = [rename_within_a_second(n) for n in ("copied", "before")]
for (name, second), earlier in zip(copies, (1, 2)):
    upload(name)
    os.utime(f"{STORE}/{name}", (second - earlier, second - earlier))
t.ok(cached_soon(f"{TARGET}/{copies[0][0]}", 60), "renamed, and copied by the store in the second before: cached in time")
t.ok(not is_cached(f"{TARGET}/{copies[1][0]}"), "... but not what the store has from before that")

# Open, but nothing known of it yet: when it is asked for, its path must be its own.
for name, data in (("three/f", pattern(33, 70000)), ("three/g", pattern(34, 70000))):
    os.makedirs(f"{LOWER}/three", exist_ok=True)
    write(f"{LOWER}/{name}", data)
    upload(name)
held = os.open(f"{TARGET}/three/f", os.O_RDONLY)
seen = os.open(f"{TARGET}/three/g", os.O_RDONLY)
os.fstat(seen)
os.rename(f"{TARGET}/three", f"{TARGET}/four")
os.mkdir(f"{TARGET}/three")
write(f"{TARGET}/three/f", pattern(35, 70000))
upload("three/f")
t.ok(os.pread(held, 80000, 0) == pattern(33, 70000), "open, then its directory renamed and another file at its path: its own bytes")
with mmap.mmap(seen, 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
    t.ok(m[:] == pattern(34, 70000), "... also mapped")
for f in (held, seen):
    os.close(f)

# Renamed in the lower, past the mount, then back by it, before the old name was asked again.
write(f"{TARGET}/was", b"moved")
os.stat(f"{TARGET}/was")
os.rename(f"{LOWER}/was", f"{LOWER}/is")
t.same(caught(os.rename, f"{TARGET}/is", f"{TARGET}/was"), None, "renamed in the lower, and back by the mount")
t.same((caught(os.stat, f"{LOWER}/is"), caught(os.stat, f"{LOWER}/was")), ("ENOENT", None), "... it is back")

cached_file("reborn", old)
fd = os.open(f"{TARGET}/reborn", os.O_RDONLY)
os.unlink(f"{TARGET}/reborn")
t.same(caught(os.stat, f"{TARGET}/reborn"), "ENOENT", "unlinked: no such file")
t.ok(os.pread(fd, 3 * MIB, 0) == old, "... an open file has its bytes")
t.same(os.fstat(fd).st_nlink, 0, "... and no link")
write(f"{TARGET}/reborn", b"reborn")
t.same(read(f"{TARGET}/reborn"), b"reborn", "... created again: the new bytes, though the store has the old file")
t.ok(os.pread(fd, 3 * MIB, 0) == old, "... and the open file its own")
os.close(fd)

# --- at random: the mount must be the lower after each step

rng = random.Random(4711)
names = [f"r/{a}" for a in "abcdef"]
for base in (TARGET, TWIN):
    os.mkdir(f"{base}/r")
held = {}
bad = []
for step in range(400):
    name, other = rng.sample(names, 2)
    seed, size, at = rng.random(), rng.randrange(1, 300000), rng.randrange(200000)
    what = rng.choice(("write", "append", "patch", "map", "truncate", "rename", "unlink", "upload", "hold", "drop"))
    if what == "upload":
        if os.path.exists(f"{LOWER}/{name}"):
            upload(name)
            # What is written in that very second, with the same size, might be taken for this.
            later_than(f"{STORE}/{name}")
        continue
    if what == "hold":
        if caught(os.stat, f"{TARGET}/{name}") is None:
            fd = os.open(f"{TARGET}/{name}", os.O_RDONLY)
            twin = os.open(f"{TWIN}/{name}", os.O_RDONLY)
            if len(held) > 8:
                for f in held.popitem()[1]:
                    os.close(f)
            held[step] = (fd, twin)
        continue
    if what == "drop":
        t.drop_caches(rng.choice((1, 2, 3)))
    calls = {
        "write": lambda b: write(f"{b}/{name}", pattern(seed, size)),
        "append": lambda b: write(f"{b}/{name}", pattern(seed, size % 5000), os.O_WRONLY | os.O_APPEND),
        "patch": lambda b: overwrite(f"{b}/{name}", at, pattern(seed, size % 9000)),
        "map": lambda b: map_write(f"{b}/{name}", 3, b"MAPPED"),
        "truncate": lambda b: os.truncate(f"{b}/{name}", at),
        "rename": lambda b: os.rename(f"{b}/{name}", f"{b}/{other}"),
        "unlink": lambda b: os.unlink(f"{b}/{name}"),
        "drop": lambda b: None,
    }
    results = []
    for base in (TARGET, TWIN):
        try:
            results.append(caught(calls[what], base))
        except (ValueError, IndexError) as e:      # mmap of an empty or short file
            results.append(str(e))
    if results[0] != results[1]:
        bad.append(f"step {step}, {what} {name} {other}: {results}")
    for n in names:
        got = [caught(os.stat, f"{b}/{n}") or read(f"{b}/{n}") for b in (TARGET, LOWER, TWIN)]
        if got[0] != got[1] or got[0] != got[2]:
            bad.append(f"step {step}, after {what} {name} {other}: {n} differs")
    for begun, (fd, twin) in held.items():
        if os.pread(fd, 1 << 20, 0) != os.pread(twin, 1 << 20, 0):
            bad.append(f"step {step}, after {what} {name}: what was opened at {begun} differs")
    if bad:
        break
t.ok(not bad, f"{step + 1} changes at random, with files held open: the mount is the lower after each", *bad)
for pair in held.values():
    for fd in pair:
        os.close(fd)
t.same(t.run("umount", TARGET).returncode, 0, "umount")

# --- a real Blob mount

if not t.ok(rclone.ready() and t.uploaded(), "a Blob mount that can be written"):
    t.done()
status, output = t.mount(AZ, AZT, volume=os.environ["AZ_SOURCE"], ttl="500ms", deadline="20s")
t.same(status, 0, "the mount over it", output)


def blob(name):
    """What the store has."""
    url, _, sas = os.environ["AZ_SAS_URL"].partition("?")
    try:
        with urllib.request.urlopen(f"{url}/{name}?{sas}", timeout=60) as reply:
            return reply.read()
    except urllib.error.HTTPError as e:
        return e.code


PATH = f"{AZT}/ckpt/step-1.bin"
first, second = pattern(40, 3 * MIB + 77), pattern(41, 3 * MIB + 77)
os.mkdir(f"{AZT}/ckpt")
write(PATH, first)
t.ok(read(PATH) == first, "a file written into the Blob mount is read back")
t.ok(t.wait_for(lambda: blob("ckpt/step-1.bin") == first, 30), "... and arrives in the store")
t.ok(cached_soon(PATH, 30) and read(PATH) == first, "... then is read through the cache")
overwrite(PATH, 0, second[:MIB])
t.ok(read(PATH) == second[:MIB] + first[MIB:], "written in the middle: read at once")
write(PATH, b"tail", os.O_WRONLY | os.O_APPEND)
want = second[:MIB] + first[MIB:] + b"tail"
t.ok(read(PATH) == want, "appended: read at once")
t.ok(t.wait_for(lambda: blob("ckpt/step-1.bin") == want, 30), "... the store gets it")
os.rename(PATH, f"{AZT}/ckpt/latest.bin")
t.ok(read(f"{AZT}/ckpt/latest.bin") == want, "renamed")
t.same(caught(os.stat, PATH), "ENOENT", "... the old name is gone")
t.ok(cached_soon(f"{AZT}/ckpt/latest.bin", 30) and read(f"{AZT}/ckpt/latest.bin") == want, "... and it is cached in time")
with open(f"{AZT}/ckpt/latest.bin", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
    m[:5] = b"MMAP!"
t.ok(read(f"{AZT}/ckpt/latest.bin") == b"MMAP!" + want[5:], "written by a shared mapping")
t.ok(t.wait_for(lambda: blob("ckpt/latest.bin") == b"MMAP!" + want[5:], 30), "... the store gets it")
os.unlink(f"{AZT}/ckpt/latest.bin")
t.ok(t.wait_for(lambda: blob("ckpt/latest.bin") == 404, 30), "unlinked: gone from the store")
# Its inode numbers are made of paths: a new directory gets that of the one that was there.
os.mkdir(f"{AZT}/dir")
inside = os.open(f"{AZT}/dir", os.O_RDONLY)
if caught(os.rename, f"{AZT}/dir", f"{AZT}/other"):
    t.skip(3, "this lower renames no directories")
else:
    os.mkdir(f"{AZT}/dir")
    write(f"{AZT}/other/x", b"x")
    across = threading.Thread(target=os.rename, args=(f"{AZT}/other/x", f"{AZT}/dir/x"), daemon=True)
    across.start()
    across.join(60 * t.SLOW)
    t.ok(not across.is_alive(), "a directory renamed, another of its name made: from the one to the other")
    t.same((os.listdir(f"{AZT}/dir"), os.listdir(f"{AZT}/other")), (["x"], []), "... a file can be moved")
    write("y", b"y", dir_fd=inside)
    t.same((sorted(os.listdir(f"{AZT}/dir")), os.listdir(f"{AZT}/other")), (["x"], ["y"]), "who is in the old one stays in it")
    for name in ("dir/x", "other/y"):
        os.unlink(f"{AZT}/{name}")
    for name in ("dir", "other"):
        os.rmdir(f"{AZT}/{name}")
os.close(inside)
os.rmdir(f"{AZT}/ckpt")
t.same(caught(os.stat, f"{AZ}/ckpt"), "ENOENT", "rmdir")
t.same(t.run("umount", AZT).returncode, 0, "umount")
rclone.kill()
t.run("umount", "-l", AZ)

# rclone as it is without options: a file is written once, in order, by who created it.
rclone = t.Rclone(AZ, read_only=False)
t.ok(rclone.ready(), "rclone without a cache for writes")
status, output = t.mount(AZ, AZT, volume=os.environ["AZ_SOURCE"], ttl="500ms", deadline="20s")
t.same(status, 0, "the mount over it", output)
t.same(caught(write, f"{AZT}/plain.bin", first), None, "a file created and written in one go")
t.ok(t.wait_for(lambda: blob("plain.bin") == first, 30) and read(f"{AZT}/plain.bin") == first, "... is what the store has")
t.same(caught(overwrite, f"{AZT}/plain.bin", 10, b"x"), caught(overwrite, f"{AZ}/plain.bin", 10, b"x"),
       "what that rclone refuses is refused with its error")
t.ok(read(f"{AZT}/plain.bin") == first, "... and nothing is lost by it")
t.same(t.run("umount", AZT).returncode, 0, "umount")
t.same(daemon.stop(), 0, "the daemon ends")
t.done()
