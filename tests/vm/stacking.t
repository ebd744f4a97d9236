#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what containers and nodes do with a mount: overlayfs over it, bind mounts, mount and
# user namespaces, lazy unmounts; lowers of each kind (ext4, xfs, NFS, tmpfs), read-only and
# written through, cached and not; rights are those that the lower shows, and what is not
# supported is refused and not ignored.
#
# vm: disk=data:64M disk=ext4:64M disk=xfs:400M timeout=400 mem=1G

import ctypes
import errno
import hashlib
import mmap
import os
import stat
import subprocess

import hostile_daemon as h
import vmtest as t
from calls import as_user, caught

MIB = 1 << 20
STORE = "/mnt/store"
VOLUME = f"file://{STORE}"
DATA = t.disk("data")
SYS_MOUNT_SETATTR = 442
AT_EMPTY_PATH, MOUNT_ATTR_IDMAP = 0x1000, 0x00100000
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
files = {"top": os.urandom(3 * MIB + 777), "dir/a": os.urandom(300001), "dir/sub/b": os.urandom(70000), "empty": b"",
         "bin/tool": b"#!/bin/sh\necho tool runs\n"}


def read(path):
    with open(path, "rb") as f:
        return f.read()


def mapped(path):
    with open(path, "rb") as f:
        return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:] if os.fstat(f.fileno()).st_size else b""


def direct(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, MIB)
    got = b""
    try:
        while n := os.preadv(fd, [buffer], len(got)):
            got += buffer[:n]
            if n % 4096:
                break
    finally:
        os.close(fd)
    return got


def wrong(top, how=read):
    return [n for n, contents in files.items() if how(f"{top}/{n}") != contents]


def put(top):
    for name, contents in files.items():
        os.makedirs(os.path.dirname(f"{top}/{name}"), exist_ok=True)
        with open(f"{top}/{name}", "wb") as f:
            f.write(contents)
        os.utime(f"{top}/{name}", (1.7e9, 1.7e9))
    os.chmod(f"{top}/bin/tool", 0o755)


def may_read(path):
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, path)


def map_of(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def over(lower, target, **options):
    status, output = t.mount(lower, target, volume=VOLUME, **{"ttl": "300ms", **options})
    return t.same(status, 0, f"{target}: mounted over {lower}", output)


def unmounted(where, text):
    t.run_ok(text, "umount", where)


def has(filesystem):
    t.run("modprobe", "-q", filesystem)
    with open("/proc/filesystems", encoding="ascii") as f:
        return filesystem in f.read().split()


def idmap(path):
    """mount_setattr(2) of a clone of the mount, with a user namespace that maps 0 to 1000."""
    attr_size = 32
    holder = subprocess.Popen(["unshare", "-U", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    holder.stdout.readline()
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{holder.pid}/{kind}", "w", encoding="ascii") as f:
            f.write("0 1000 1000")
    ns = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
    tree = libc.syscall(428, -100, path.encode(), 1)		# open_tree(OPEN_TREE_CLONE)
    attr = MOUNT_ATTR_IDMAP.to_bytes(8, "little") + bytes(16) + ns.to_bytes(8, "little")
    failed = libc.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attr, attr_size)
    error = ctypes.get_errno() if failed else 0
    for fd in (ns, tree):
        os.close(fd)
    holder.kill()
    holder.wait()
    return error


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
put(STORE)
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())

# --- rights, and what is not supported

RO = "/mnt/ro"
os.chmod(f"{STORE}/dir/a", 0o640)
os.chown(f"{STORE}/dir/a", 1001, 1002)
os.chmod(f"{STORE}/dir/sub", 0o700)
over(STORE, RO, ro=True)
t.same(wrong(RO), [], "all is right")
t.same((as_user(1001, read, f"{RO}/dir/a"), as_user(1003, read, f"{RO}/dir/a", groups=[1002]),
        as_user(1003, read, f"{RO}/dir/a")), ("None", "None", "EACCES"), "owner, group, others: by the lower's mode")
t.same(as_user(1003, read, f"{RO}/dir/sub/b"), "EACCES", "a directory that others may not enter")
t.same((as_user(1001, may_read, f"{RO}/dir/a"), as_user(1003, may_read, f"{RO}/dir/a")), ("None", "EACCES"), "access(2) says so")
for call, argv in ((os.getxattr, ("user.x",)), (os.listxattr, ())):
    got = caught(call, f"{RO}/top", *argv)
    t.ok(got in (None, "ENOTSUP", "EOPNOTSUPP", "ENODATA"), f"{call.__name__}: there are none", got)
t.same(caught(os.setxattr, f"{RO}/top", "user.x", b"1"), "EROFS", "nor can they be set")
t.same(idmap(RO), errno.EINVAL, "an idmapped mount is refused")
for call, argv in ((os.mkdir, ("new",)), (os.unlink, ("top",)), (os.truncate, ("top", 0)), (os.chmod, ("top", 0o600))):
    t.same(caught(call, f"{RO}/{argv[0]}", *argv[1:]), "EROFS", f"read-only: {call.__name__}")
ours, lowers = os.statvfs(RO), os.statvfs(STORE)
t.same((ours.f_blocks * ours.f_frsize, ours.f_namemax), (lowers.f_blocks * lowers.f_frsize, lowers.f_namemax),
       "statfs is the lower's")

# --- numbers

stats = {n: os.stat(f"{RO}/{n}") for n in ("", "top", "dir", "dir/a", "dir/sub/b")}
t.same({s.st_dev for s in stats.values()}, {os.stat(RO).st_dev}, "st_dev: one")
t.ok(os.stat(RO).st_dev != os.stat(STORE).st_dev, "... and not the lower's")
t.same(len({s.st_ino for s in stats.values()}), len(stats), "st_ino: each another")
t.drop_caches(3)
t.same({n: os.stat(f"{RO}/{n}").st_ino for n in stats}, {n: s.st_ino for n, s in stats.items()},
       "... and the same after they were dropped from memory")
t.same(stats["top"].st_ino, os.stat(f"{STORE}/top").st_ino, "... the lower's")

# --- binds and namespaces

BIND, FILE = "/mnt/bind", "/mnt/file"
os.makedirs(BIND)
with open(FILE, "w", encoding="ascii"):
    pass
t.run_ok("a directory is bound elsewhere", "mount", "--bind", f"{RO}/dir", BIND)
t.run_ok("... and a file", "mount", "--bind", f"{RO}/top", FILE)
t.ok(read(f"{BIND}/a") == files["dir/a"] and read(FILE) == files["top"], "both are read")
inside = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", f"echo in; read x; cat {RO}/dir/a"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
t.same(inside.stdout.readline(), b"in\n", "a container has the mount in its namespace")
unmounted(RO, "the first mount goes")
t.drop_caches(3)
t.ok(read(f"{BIND}/a") == files["dir/a"] and mapped(FILE) == files["top"], "the binds are read still, by new lookups")
t.same(hashlib.sha256(inside.communicate(b"\n")[0]).digest(), hashlib.sha256(files["dir/a"]).digest(), "... and the container's")
for where in (BIND, FILE):
    unmounted(where, f"{where} is unmounted")
t.same(nl.status()[h.ST_MOUNTS], 0, "with the last of them the mount is gone")

over(STORE, RO, ro=True)
user = ["unshare", "-U", "-m", "-r", "sh", "-c"]
t.same(t.run(*user, f"cat {RO}/top | sha256sum").stdout.split()[0], hashlib.sha256(files["top"]).hexdigest(),
       "root of a user namespace reads what others may")
t.run_fails("... not what they may not", "cat: .*denied", *user, f"cat {RO}/dir/a", user=1003)
os.makedirs("/run/u")
t.run_fails("... and cannot mount", "mount: .*(denied|superuser|not permitted)", *user,
            f"mount -t blobcache {STORE} /run/u -o ro,volume={VOLUME}", user=1003)

# --- lazily unmounted, in use

holder = open(f"{RO}/dir/a", "rb")
view = map_of(f"{RO}/top")
t.run_ok("unmounted lazily, with a file open and one mapped", "umount", "-l", RO)
t.drop_caches(3)
t.ok(holder.read() == files["dir/a"] and view[:] == files["top"], "both are read on")
t.same(nl.status()[h.ST_MOUNTS], 1, "the mount is there still")
holder.close()
view.close()
t.ok(t.wait_for(lambda: nl.status()[h.ST_MOUNTS] == 0, 20), "... and goes with the last of them")

# --- overlayfs, as container images use it

if has("overlay"):
    over(STORE, RO, ro=True)
    for where in ("/mnt/upper", "/mnt/merged"):
        os.makedirs(where)
    t.run("mount", "-t", "tmpfs", "none", "/mnt/upper")
    for where in ("upper", "work"):
        os.makedirs(f"/mnt/upper/{where}")
    t.run_ok("overlayfs over it", "mount", "-t", "overlay", "overlay", "/mnt/merged", "-o",
             f"lowerdir={RO},upperdir=/mnt/upper/upper,workdir=/mnt/upper/work")
    M = "/mnt/merged"
    for how in (read, mapped, direct):
        t.drop_caches(3)
        t.same(wrong(M, how), [], f"{how.__name__}: all is right")
    t.same(t.run(f"{M}/bin/tool").stdout, "tool runs\n", "a program is executed")
    shared = map_of(f"{M}/dir/a")
    with open(f"{M}/dir/a", "r+b") as f:
        f.write(b"copied up")
    t.same(read(f"{M}/dir/a"), b"copied up" + files["dir/a"][9:], "a file is copied up, and written")
    t.ok(shared[:] == files["dir/a"], "... what was mapped before stays")
    shared.close()
    t.same(read(f"{RO}/dir/a"), files["dir/a"], "... and what is below")
    os.unlink(f"{M}/top")
    os.rename(f"{M}/empty", f"{M}/dir/full")
    t.same((caught(os.stat, f"{M}/top"), caught(os.stat, f"{M}/empty"), os.stat(f"{M}/dir/full").st_size), ("ENOENT", "ENOENT", 0),
           "names are removed and renamed")
    t.same(sorted(os.listdir(f"{M}/dir")), ["a", "full", "sub"], "... as directories show")
    t.same(wrong(RO), [], "nothing of it is below")
    put(STORE)
    unmounted(M, "overlayfs is unmounted")
    unmounted(RO, "and what is below it")
    unmounted("/mnt/upper", "and its upper")
else:
    t.skip(17, "no overlayfs in this kernel")

# --- lowers of other kinds

def check_lower(kind, lower):
    """Read-only with the cache, then written through; in the end the lower has what was written."""
    where = f"/mnt/over-{kind}"
    put(lower)
    put(f"{STORE}/{kind}")
    over(lower, where, ro=True, prefix=kind)
    for how in (read, mapped, direct):
        t.drop_caches(3)
        t.same(wrong(where, how), [], f"{kind}, {how.__name__}: all is right")
    t.settled()
    before = h.Delta(nl)
    t.drop_caches(3)
    t.same(wrong(where), [], f"{kind}: once more")
    t.ok(before.hit_bytes >= sum(map(len, files.values())) and not before.fetch_bytes, f"{kind}: ... from the tier",
         before.hit_bytes, before.fetch_bytes)
    t.same(sorted(os.listdir(where)), sorted(os.listdir(lower)), f"{kind}: names")
    unmounted(where, f"{kind}: unmounted")
    over(lower, where, prefix=kind)
    new = os.urandom(2 * MIB + 5)
    with open(f"{where}/dir/new", "wb") as f:
        f.write(new)
        f.flush()
        os.fsync(f.fileno())
    with open(f"{where}/top", "r+b") as f:
        f.seek(MIB)
        f.write(b"in the middle")
        f.truncate(2 * MIB)
    os.rename(f"{where}/dir/a", f"{where}/dir/c")
    os.mkdir(f"{where}/made")
    with open(f"{where}/dir/sub/b", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[100:106] = b"mapped"
    top = files["top"][:MIB] + b"in the middle" + files["top"][MIB + 13:2 * MIB]
    want = {"dir/new": new, "top": top, "dir/c": files["dir/a"],
            "dir/sub/b": files["dir/sub/b"][:100] + b"mapped" + files["dir/sub/b"][106:]}
    for name, contents in want.items():
        t.ok(read(f"{where}/{name}") == contents, f"{kind}: {name} is what was written")
    if kind == "ext4":
        frozen(lower, where, want)
    unmounted(where, f"{kind}: unmounted after that")
    for name, contents in want.items():
        t.ok(read(f"{lower}/{name}") == contents, f"{kind}: ... in the lower, too: {name}")
    t.same((caught(os.stat, f"{lower}/dir/a"), stat.S_ISDIR(os.stat(f"{lower}/made").st_mode)), ("ENOENT", True),
           f"{kind}: ... and the names")


def frozen(lower, where, want):
    """fsfreeze(8) of the lower: reads go on, a writer waits and can be killed or waits until it is over."""
    t.run_ok("the lower is frozen", "fsfreeze", "-f", lower)
    writer = subprocess.Popen(["sh", "-c", f"echo x >> {where}/frozen"])
    t.ok(all(read(f"{where}/{n}") == contents for n, contents in want.items()), "... reads go on")
    t.same(writer.poll(), None, "... a writer waits")
    t.run_ok("thawed", "fsfreeze", "-u", lower)
    t.same(writer.wait(30), 0, "... and then is done")
    t.same(read(f"{lower}/frozen"), b"x\n", "... as the lower shows")


def nfs(exported, where):
    """A server in this kernel, and its client; False if there is none."""
    if not has("nfsd") or not has("nfs4"):
        return False
    os.makedirs("/var/lib/nfs/v4recovery")
    for name in ("etab", "rmtab", "xtab"):
        with open(f"/var/lib/nfs/{name}", "w", encoding="ascii"):
            pass
    t.run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    # The longest that a server which knows of no clients waits for theirs to come back.
    for name in ("nfsv4leasetime", "nfsv4gracetime"):
        with open(f"/proc/fs/nfsd/{name}", "w", encoding="ascii") as f:
            f.write("10")
    for argv in (["exportfs", "-o", "rw,no_root_squash,fsid=0,insecure,no_subtree_check", f"127.0.0.1:{exported}"],
                 ["rpc.nfsd", "--no-nfs-version", "3", "--no-udp", "2"]):
        p = t.run(*argv)
        if p.returncode:
            t.diag(argv, p.stdout)
            return False
    subprocess.Popen(["rpc.mountd", "--foreground", "--no-nfs-version", "3"])
    os.makedirs(where)
    p = t.run("mount", "-t", "nfs4", "-o", "vers=4.2,actimeo=0,soft,timeo=100", "127.0.0.1:/", where, timeout=100)
    if p.returncode:
        t.diag("mount.nfs4", p.stdout)
    return not p.returncode


KINDS = [k for k in ("ext4", "xfs") if has(k)]
for kind in KINDS:
    lower = f"/mnt/{kind}"
    os.makedirs(lower)
    t.run_ok(f"mkfs.{kind}", f"mkfs.{kind}", "-q", t.disk(kind))
    t.run_ok(f"{kind} is mounted", "mount", "-t", kind, t.disk(kind), lower)
    check_lower(kind, lower)
os.makedirs("/mnt/tmpfs")
t.run("mount", "-t", "tmpfs", "none", "/mnt/tmpfs")
check_lower("tmpfs", "/mnt/tmpfs")
EXPORT = "/mnt/export"
os.makedirs(EXPORT)
t.run("mount", "-t", "tmpfs", "none", EXPORT)
if nfs(EXPORT, "/mnt/nfs"):
    check_lower("nfs", "/mnt/nfs")
    unmounted("/mnt/nfs", "the NFS client is unmounted")
    t.run("rpc.nfsd", "0")
    t.run("pkill", "rpc.mountd")
else:
    t.skip(1, "no NFS server in this kernel")

t.run_ok("detached", "cachectl", "device", "detach", DATA)
t.same(daemon.stop(), 0, "the daemon ends")
nl.close()
t.ok(t.unloaded(), "the module unloads")
t.done()
