#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: names that the tier knows are found while the lower (rclone, SIGSTOP) does not answer,
# after a restart too, with the owners and rights that it showed last; names that were gone, or
# became something else, or are below a directory that did, do not come back, and what one lower
# shows is not for mounts over another. Who was let in by rights that the lower has taken away
# meanwhile does nothing in it; a lower that is slow is waited for, once by a walk. A small tier
# remembers directories before there are too many files.
#
# The second part has a FUSE server of our own for its lower, which may be written.
#
# vm: disk=data:64M timeout=300 mem=1500M

import os
import signal
import stat
import subprocess
import time

import fuseserver
import hostile_daemon as h
import tierdisk
import vmtest as t
from calls import as_user, caught
from fuseserver import Node

STORE, TARGET, OTHER = "/mnt/store", "/mnt/target", "/mnt/other"
VOLUME = f"file://{STORE}"
STORE2, OWN, TARGET2 = "/mnt/store2", "/mnt/own", "/mnt/target2"
VOLUME2 = f"file://{STORE2}"
DATA = t.disk("data")


def write(name, data):
    os.makedirs(os.path.dirname(f"{STORE}/{name}"), exist_ok=True)
    with open(f"{STORE}/{name}", "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Lower:
    """What rclone mounts of the store's directory."""

    def __init__(self, where, umask):
        os.makedirs(where, exist_ok=True)
        self.where = where
        self.process = subprocess.Popen(
            ["rclone", "mount", STORE, where, "--config", "/dev/null", "--read-only", "--umask", umask,
             "--allow-other", "--attr-timeout", "100ms", "--dir-cache-time", "100ms",
             "--log-file", f"/run/test/rclone.{os.path.basename(where)}"])
        t.wait_for(lambda: os.path.ismount(where), 60, f"rclone mounts {where}")

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


def start_daemon():
    return daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid)


def mount(lower, where):
    status, output = t.mount(lower.where, where, volume=VOLUME, ro=True, ttl="200ms", deadline="5s")
    return t.same(status, 0, f"{where} is mounted", output)


def suspect():
    """Of the only mount."""
    return t.cachectl("status")["mounts"][0]["lower_suspect"]


def doubts():
    return t.run("dmesg").stdout.count("lower does not answer")


def file(uid=0, mode=0o666):
    return Node(mode, uid, os.urandom(5000))


def own_tree():
    return Node(0o755, list=Node(0o755, inside=file()), open=Node(0o777, written=file(), seen=file()),
                many=Node(0o755, **{f"m{n}": file() for n in range(150)}),
                deep=Node(0o755, a=Node(0o755, b=Node(0o755, c=file()))),
                owned=file(1000, 0o644), sticky=Node(0o1777, mine=file(1000)),
                swap=Node(0o755, c=file()), gone=file(), tail=file())


def mount_own(deadline="20s"):
    status, output = t.mount(OWN, TARGET2, volume=VOLUME2, ttl="200ms", deadline=deadline)
    t.same(status, 0, "the lower of our own is mounted", output)


def freeze_own():
    """From now on names come from the table only."""
    own.frozen = True
    t.drop_caches(3)
    t.ok(t.wait_for(lambda: os.statvfs(TARGET2) and suspect(), 10), "it is suspect")


def thaw_own():
    own.frozen = False
    t.ok(t.wait_for(lambda: not suspect(), 30), "... and answers again")


def tighten(root):
    root.children["list"].mode = 0o700
    root.children["open"].mode = 0o755
    root.children["open"].children["written"].mode = 0o600
    root.children["open"].children["seen"].mode = 0o600
    root.children["owned"].uid = 0
    root.children["sticky"].children["mine"].uid = 0


def use_own(prepared):
    """What another user was let in to, without the lower."""
    t.same(as_user(1000, lambda: os.open("new", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=prepared["open"])), "EACCES",
           "create: the lower's rights count")
    t.same(as_user(1000, lambda: os.unlink("mine", dir_fd=prepared["sticky"])), "EPERM", "unlink: the lower's owner counts")
    for what, wanted, call, *argv in (
            ("cut by descriptor", "EACCES", os.open, f"/proc/self/fd/{prepared['open/written']}", os.O_WRONLY | os.O_TRUNC),
            ("open by descriptor", "EACCES", os.open, f"/proc/self/fd/{prepared['open/seen']}", os.O_RDONLY),
            ("list", "EACCES", os.listdir, f"/proc/self/fd/{prepared['list']}"),
            ("list a path", "EACCES", os.listdir, f"{TARGET2}/list"),
            ("open for writing", "EACCES", os.open, f"/proc/self/fd/{prepared['open/written']}", os.O_WRONLY),
            ("cut", "EACCES", os.truncate, f"{TARGET2}/open/written", 0),
            ("chmod", "EPERM", os.chmod, f"/proc/self/fd/{prepared['owned']}", 0o777),
            ("chmod a path", "EPERM", os.chmod, f"{TARGET2}/owned", 0o777)):
        t.same(as_user(1000, call, *argv), wanted, f"{what}: the lower's rights count")


def rights_taken_away(root):
    mount_own()
    t.ok(all(read(f"{TARGET2}/{n}") == node.data for n, node in root.walk() if node.data is not None), "all is read")
    freeze_own()
    prepared = {n: os.open(f"{TARGET2}/{n}", os.O_PATH) for n in ("list", "open", "open/written", "open/seen", "owned", "sticky")}
    t.same(len(prepared), 6, "the lower is frozen: names are found")
    tighten(root)
    own.calls.clear()
    thaw_own()
    use_own(prepared)
    t.same(own.calls, [], "nobody did anything in the lower")
    for fd in prepared.values():
        os.close(fd)


def another_directory(root):
    t.same(os.stat(f"{TARGET2}/swap/c").st_mode & 0o777, 0o666, "a file in a directory")
    root.children["swap"] = Node(0o755, c=Node(0o600, 0, root.children["swap"].children["c"].data))
    time.sleep(0.5)
    os.stat(f"{TARGET2}/swap")
    freeze_own()
    t.same(caught(os.stat, f"{TARGET2}/open/written"), None, "frozen: a file is found")
    t.same(caught(os.stat, f"{TARGET2}/swap"), None, "... and another directory in the place of one")
    t.same(caught(os.stat, f"{TARGET2}/swap/c"), "EIO", "... but not what was below that")
    thaw_own()
    t.same(os.stat(f"{TARGET2}/swap/c").st_mode & 0o777, 0o600, "... until the lower shows it")


def below_another(root):
    """As above, for who has it in memory."""
    freeze_own()
    t.same(os.stat(f"{TARGET2}/swap/c").st_mode & 0o777, 0o600, "frozen: a file is found")
    thaw_own()
    root.children["swap"] = Node(0o755, c=Node(0o640, 0, root.children["swap"].children["c"].data))
    os.stat(f"{TARGET2}/swap")
    own.frozen = True
    t.ok(t.wait_for(lambda: os.statvfs(TARGET2) and suspect(), 10), "it is suspect again")
    t.same(caught(os.stat, f"{TARGET2}/swap/c"), "EIO", "it is below another directory by now: not known")
    thaw_own()


def open_already(root):
    """Who has a file open is not concerned with rights, nor with a lower that is slow."""
    freeze_own()
    fds = [os.open(f"{TARGET2}/{n}", os.O_RDONLY) for n in ("many/m1", "open/seen")]
    root.children["many"].mode = 0o700
    own.slow = {fuseserver.LOOKUP: 15 * t.SLOW}
    thaw_own()
    begin = time.monotonic()
    t.same([os.fstat(fd).st_size for fd in fds], [5000] * 2, "open files are asked about")
    t.ok(time.monotonic() - begin < 10 * t.SLOW, "... which does not wait for a slow lower", time.monotonic() - begin)
    own.slow = {}
    t.same(os.fstat(fds[0]).st_size, 5000, "... nor fails because rights above are others")
    for fd in fds:
        os.close(fd)
    root.children["many"].mode = 0o755


def change_by_descriptor(root):
    """Who was let in by rights that are others now may not change them by those."""
    freeze_own()
    fds = [os.open(f"{TARGET2}/many/{n}", os.O_RDONLY) for n in ("m2", "m3")]
    root.children["many"].children["m2"].mode = 0o600
    own.calls.clear()
    thaw_own()
    t.same(caught(os.fchmod, fds[0], 0o640), "ESTALE", "fchmod of a file that has other rights by now: fails")
    t.same(own.calls, [], "... before the lower is asked to do it")
    t.same(caught(os.fchmod, fds[0], 0o640), "EUCLEAN", "... once: then it is")
    t.same(caught(os.fchmod, fds[1], 0o640), "EUCLEAN", "one that has the same rights: the lower is asked at once")
    for fd in fds:
        os.close(fd)


def writers_while_frozen():
    """A lower that is known not to answer is not waited for by who wants to change it."""
    freeze_own()
    for what, call, *argv in (("open for writing", os.open, f"{TARGET2}/many/m1", os.O_WRONLY), ("mkdir", os.mkdir, f"{TARGET2}/many/new"),
                              ("create", os.open, f"{TARGET2}/many/new", os.O_CREAT | os.O_WRONLY), ("unlink", os.unlink, f"{TARGET2}/many/m1"),
                              ("rename", os.rename, f"{TARGET2}/many/m1", f"{TARGET2}/many/m2"), ("chmod", os.chmod, f"{TARGET2}/many/m1", 0o600),
                              ("truncate", os.truncate, f"{TARGET2}/many/m1", 0)):
        begin = time.monotonic()
        t.same(caught(call, *argv), "EIO", f"frozen: {what} fails")
        t.ok(time.monotonic() - begin < t.SLOW, "... at once", time.monotonic() - begin)
    thaw_own()


def restart(*parameters):
    global nl
    t.run_ok("the lower of our own is unmounted", "umount", TARGET2)
    t.run_ok("detached", "cachectl", "device", "detach", DATA)
    t.same(daemon.stop(), 0, "the daemon ends")
    nl.close()
    t.ok(t.unloaded(), "module unloaded")
    t.load_module(*parameters)
    nl = h.Netlink()
    t.same(nl.attach(DATA)[0], 0, "a restart: attached")
    t.ok(start_daemon(), "a daemon is there", daemon.tail())
    mount_own()


def few_identities(root):
    restart("max_identities=64")
    many = [f"{TARGET2}/many/{n}" for n in root.children["many"].children]
    t.ok(all(caught(read, n) is None for n in many), "more files are read than there is room for")
    restart("max_identities=64")
    freeze_own()
    t.ok(sum(caught(os.stat, n) is None for n in many) >= 20, "those that there was room for are found, after a restart too")
    thaw_own()
    restart()


def slow_lower(root):
    root.children["owned"].mode = 0o600
    t.drop_caches(3)
    own.slow = {fuseserver.LOOKUP: 2}
    begin = time.monotonic()
    mode = os.stat(f"{TARGET2}/owned").st_mode & 0o777
    own.slow = {}
    t.ok(time.monotonic() - begin > 1.8 and mode == 0o600, "a slow lower is waited for", oct(mode), time.monotonic() - begin)


def slow_revalidation():
    """Names in memory are not waited for as long as that."""
    path, said = f"{TARGET2}/owned", doubts()
    t.same(caught(os.stat, path), None, "a name is in memory")
    own.slow = {fuseserver.LOOKUP: 60 * t.SLOW}
    begin = time.monotonic()
    t.ok(t.wait_for(lambda: caught(os.stat, path) is None and doubts() > said, 30), "a revalidation that takes too long makes the lower suspect")
    t.ok(time.monotonic() - begin < 20 * t.SLOW, "... and is not waited for", time.monotonic() - begin)
    own.slow = {}
    t.ok(t.wait_for(lambda: not suspect(), 30), "... until the lower answers")


def one_deadline():
    """A slow lower: a walk over known names waits for it once, not for each name."""
    deadline, names = int(12 * t.SLOW), 4
    t.run_ok("unmounted, for another deadline", "umount", TARGET2)
    mount_own(f"{deadline}s")
    t.same(caught(read, f"{TARGET2}/deep/a/b/c"), None, "a file is seen, far below")
    t.drop_caches(3)
    own.slow = {fuseserver.LOOKUP: 3 * deadline}
    begin = time.monotonic()
    t.same(caught(os.stat, f"{TARGET2}/deep/a/b/c"), None, "a lower that is too slow: it is found")
    took = time.monotonic() - begin
    t.ok(not suspect(), "... the lower being there")
    t.ok(took > deadline - 1, "... and waited for, for one deadline", took)
    # Then a second for each of the others.
    t.ok(took < deadline * names / 2, f"... not for {names}", took)
    own.slow = {}
    t.run_ok("unmounted again", "umount", TARGET2)
    mount_own()


def small_tier(root):
    """Directories have a quarter of what a tier remembers, before there are too many files."""
    tier = tierdisk.Disk(DATA)
    room = tier.current()[1].f["identity_units"] * tierdisk.IDENTITIES
    tier.close()
    names = [f"d{n}" for n in range(room // 2)]
    for n in names:
        root.children[n] = Node(0o755, f=file())
        os.makedirs(f"{STORE2}/{n}")
        with open(f"{STORE2}/{n}/f", "wb") as f:
            f.write(root.children[n].children["f"].data)
    seen = [n for n, node in root.walk() if node.data is not None and caught(read, f"{TARGET2}/{n}") is None]
    t.ok(len(seen) > room, f"{len(seen)} files are seen, the tier remembers {room} names", len(seen))
    t.settled()
    restart()
    freeze_own()
    dirs = [n for n, node in root.children.items() if node.data is None and caught(os.stat, f"{TARGET2}/{n}") is None]
    t.same(len(dirs), room // 4, "a restart: of directories a quarter is found")
    files_there = [n for n in dirs if n in names and caught(os.stat, f"{TARGET2}/{n}/f") is None]
    t.ok(files_there, f"... and {len(files_there)} files in them")
    thaw_own()


def tail_gone(root):
    t.run_ok("the lower of our own is unmounted", "umount", TARGET2)
    t.run_ok("detached", "cachectl", "device", "detach", DATA)
    t.run_ok("module unloaded again", "rmmod", "blobcache")
    t.load_module()
    mount_own()
    del root.children["gone"]
    t.same(caught(os.stat, f"{TARGET2}/gone"), "ENOENT", "a restart: a file is gone, before there is a tier")
    t.run_ok("the tier comes", "cachectl", "device", "attach", DATA)
    freeze_own()
    t.same(caught(os.stat, f"{TARGET2}/gone"), "EIO", "... which does not bring it back")
    thaw_own()


def detached_early(root):
    t.drop_caches(3)
    t.same([n for n, node in root.walk() if node.data is not None and caught(read, f"{TARGET2}/{n}")], [], "the others are seen")
    t.run_ok("detached while it is mounted", "cachectl", "device", "detach", DATA)
    root.children["tail"].mode = 0o600
    t.run_ok("unmounted after that", "umount", TARGET2)
    t.run_ok("module unloaded after that", "rmmod", "blobcache")
    t.load_module()
    t.run_ok("attached after that", "cachectl", "device", "attach", DATA)
    mount_own()
    freeze_own()
    t.same(caught(os.stat, f"{TARGET2}/tail"), "EIO", "what the tier has not heard of later is not known")
    thaw_own()


for directory in (STORE, TARGET, OTHER, STORE2, TARGET2):
    os.makedirs(directory, exist_ok=True)
t.run("modprobe", "fuse")
files = {name: os.urandom(150000) for name in ("dir/a", "dir/sub/b", "top", "gone", "swap/c", "away/d")}
for n, contents in files.items():
    write(n, contents)
lower, wide = Lower("/mnt/lower", "027"), Lower("/mnt/wide", "000")
t.load_module()
nl = h.Netlink()
daemon = t.Daemon({"volumes": [{"source": VOLUME}, {"source": VOLUME2}]})
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
t.ok(start_daemon(), "a daemon is there", daemon.tail())
mount(lower, TARGET)
t.ok(all(read(f"{TARGET}/{n}") == contents for n, contents in files.items()), "all is read")
stats = {n: os.stat(f"{TARGET}/{n}") for n in ("dir", "dir/sub", "dir/a", "dir/sub/b", "top")}

os.unlink(f"{STORE}/gone")
os.unlink(f"{STORE}/swap/c")
os.rmdir(f"{STORE}/swap")
write("swap", b"a file now")
os.rename(f"{STORE}/away", f"{STORE}/elsewhere")
t.ok(t.wait_for(lambda: caught(os.stat, f"{TARGET}/gone") == "ENOENT" and caught(os.stat, f"{TARGET}/away") == "ENOENT" and
                stat.S_ISREG(os.stat(f"{TARGET}/swap").st_mode), 20), "what happened to some is seen")

t.run_ok("unmounted", "umount", TARGET)
t.run_ok("detached", "cachectl", "device", "detach", DATA)
t.same(daemon.stop(), 0, "the daemon ends")
nl.close()
t.run_ok("module unloaded", "rmmod", "blobcache")
t.load_module()
nl = h.Netlink()
t.same(nl.attach(DATA)[0], 0, "a restart: the tier is attached again")
t.ok(start_daemon(), "... a daemon is there")
mount(lower, TARGET)
lower.freeze()
os.kill(daemon.pid, signal.SIGSTOP)
start = time.monotonic()
t.same(caught(os.stat, f"{TARGET}/dir/sub/b"), None, "the lower and the daemon are frozen: a name is found by its path")
t.ok(time.monotonic() - start < 10 * t.SLOW, "... soon", time.monotonic() - start)
t.ok(t.wait_for(suspect, 10), "nobody waits for the lower any more")
for attempt in ("found", "dropped"):
    wrong = [n for n, was in stats.items() for s in (os.stat(f"{TARGET}/{n}"),)
             if (s.st_mode, s.st_uid, s.st_gid, s.st_mtime) != (was.st_mode, was.st_uid, was.st_gid, was.st_mtime) or
             (stat.S_ISREG(s.st_mode) and s.st_size != was.st_size)]
    t.ok(not wrong, f"names are {attempt}: type, owner, rights, size and time are those of before", *wrong)
    t.ok(all(read(f"{TARGET}/{n}") == files[n] for n in ("dir/a", "dir/sub/b", "top")), "... and the bytes")
    t.drop_caches(3)
t.same(as_user(1000, read, f"{TARGET}/top"), "EACCES", "another user may not read what he might not")
for name in ("gone", "away", "away/d", "swap/c", "never"):
    t.same(caught(os.stat, f"{TARGET}/{name}"), "EIO", f"{name}: is not known")
t.ok(caught(os.listdir, f"{TARGET}/swap") in ("EIO", "ENOTDIR"), "what was a directory is none")
t.same(caught(os.listdir, f"{TARGET}/dir"), "EIO", "a directory cannot be listed")
lower.thaw()
os.kill(daemon.pid, signal.SIGCONT)
t.ok(t.wait_for(lambda: not suspect(), 30), "the lower answers again")
t.same(caught(os.stat, f"{TARGET}/gone"), "ENOENT", "... and says what is not there")
t.same(sorted(os.listdir(f"{TARGET}/dir")), ["a", "sub"], "... and lists")
t.ok(all(read(f"{TARGET}/{n}") == files[n] for n in ("dir/a", "dir/sub/b", "top")), "what was found without it is right still")
t.same(read(f"{TARGET}/elsewhere/d"), files["away/d"], "... and what was never seen")

mount(wide, OTHER)
t.same(read(f"{OTHER}/top"), files["top"], "another lower of the volume shows other rights")
t.same(as_user(1000, read, f"{OTHER}/top"), "None", "... by which others may read")
t.drop_caches(3)
lower.freeze()
t.ok(caught(os.stat, f"{TARGET}/top") in ("EIO", "ETIMEDOUT"), "they are not those of the first, which is frozen")
lower.thaw()
t.ok(t.wait_for(lambda: caught(os.stat, f"{TARGET}/top") is None, 30), "it answers again")
t.same(as_user(1000, read, f"{TARGET}/top"), "EACCES", "... and has its own")

for n in (TARGET, OTHER):
    t.run_ok(f"{n} is unmounted", "umount", n)

tree = own_tree()
for n, leaf in tree.walk():
    if leaf.data is not None:
        os.makedirs(os.path.dirname(f"{STORE2}/{n}"), exist_ok=True)
        with open(f"{STORE2}/{n}", "wb") as f:
            f.write(leaf.data)
own = fuseserver.Tree(tree)
own.mount(OWN)
rights_taken_away(tree)
another_directory(tree)
below_another(tree)
open_already(tree)
change_by_descriptor(tree)
writers_while_frozen()
slow_lower(tree)
slow_revalidation()
one_deadline()
few_identities(tree)
t.same(daemon.stop(), 0, "the daemon ends again")
nl.close()
tail_gone(tree)
detached_early(tree)
nl = h.Netlink()
t.ok(start_daemon(), "a daemon is there again")
small_tier(tree)
t.same(daemon.stop(), 0, "the daemon ends at the end")
nl.close()
t.run_ok("the lower of our own is unmounted at the end", "umount", TARGET2)
t.run_ok("detached at the end", "cachectl", "device", "detach", DATA)
t.done()
