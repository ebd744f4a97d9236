#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: an image in one object is a disk: ext4, erofs and squashfs are read from it right, cold,
# warm without a fetch, without a daemon, and after a restart; it is read-only, of one version, shares
# what is cached with a mount of the same source, and is not taken away while somebody has it open.
#
# vm: disk=data:512M mem=1500M timeout=400

import hashlib
import os
import signal

import diskimage
import hostile_daemon as h
import vmtest as t

STORE, TREE = "/mnt/store", "/mnt/tree"
VOLUME = f"file://{STORE}"
RAW = t.disk("data")
PATH = {kind: f"images/{kind}.img" for kind in diskimage.KINDS}
NODE = {kind: f"/dev/blobcache/{kind}" for kind in diskimage.KINDS}
MNT = {kind: f"/mnt/{kind}" for kind in diskimage.KINDS}


def attach(kind, *options):
    return t.run("cachectl", "disk", "attach", f"{VOLUME}/{PATH[kind]}", "--volume", VOLUME, *options)


def mounted(kind):
    os.makedirs(MNT[kind], exist_ok=True)
    options = "ro,noload" if kind == "ext4" else "ro"
    return t.run("mount", "-t", kind, "-o", options, NODE[kind], MNT[kind])


def right(kind, text):
    t.drop_caches(3)
    t.same(diskimage.wrong(MNT[kind], sums), [], f"{kind}: {text}: the tree is right")


def disks():
    return {d["name"]: d for d in t.cachectl("disk", "list")["disks"]}


def opens(path, flags):
    try:
        os.close(os.open(path, flags))
        return None
    except OSError as e:
        return h.name(e.errno)


def prepare():
    """The module, the tier, the daemon."""
    t.load_module(t.PATIENT)
    netlink = h.Netlink()
    t.run_ok("a tier is attached", "cachectl", "device", "attach", RAW)
    process = t.Daemon({"volumes": [{"source": VOLUME}]})
    t.ok(process.start(lambda pid: netlink.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", process.tail())
    return netlink, process


os.makedirs(f"{STORE}")
t.run("mount", "-t", "tmpfs", "-o", "size=200m", "none", STORE)
os.makedirs(f"{STORE}/images")
sums = diskimage.tree(TREE)
size = {kind: diskimage.make(kind, TREE, f"{STORE}/{PATH[kind]}") for kind in diskimage.KINDS}
digest = {}
for k in diskimage.KINDS:
    with open(f"{STORE}/{PATH[k]}", "rb") as image:
        digest[k] = hashlib.sha256(image.read()).hexdigest()
t.run("cachectl", "device", "format", "--yes", RAW)
nl, daemon = prepare()

# --- cold

for k in diskimage.KINDS:
    p = attach(k)
    t.ok(p.returncode == 0 and NODE[k] in p.stdout, f"{k}: attached", p.stdout)
    t.ok(os.path.exists(NODE[k]), f"{k}: the device is there")
    p = mounted(k)
    t.same(p.returncode, 0, f"{k}: mounted", p.stdout)
    right(k, "cold")
    t.same(diskimage.whole(NODE[k], size[k]), digest[k], f"{k}: the device is the object, and zeroes up to the next block")
    t.settled()
t.same({k: (d["size"], d["resident_bytes"], d["state"], bool(d["openers"])) for k, d in disks().items()},
       {k: (size[k], size[k], "live", True) for k in diskimage.KINDS}, "they are listed, and all of them is cached")
t.same(t.cachectl("status")["disk_count"], len(diskimage.KINDS), "... and counted")

# --- warm

delta = h.Delta(nl)
for k in diskimage.KINDS:
    right(k, "warm")
    t.same(diskimage.whole(NODE[k], size[k]), digest[k], f"{k}: warm: the device is the object")
t.ok(delta.fetch_bytes == 0 and delta.hit_bytes > 0, "warm: nothing was fetched", delta.fetch_bytes, delta.hit_bytes)

# --- the same object in a mount

status, output = t.mount(STORE, "/mnt/fs", ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "the store is mounted, too", output)
delta = h.Delta(nl)
for k in diskimage.KINDS:
    t.same(diskimage.one(f"/mnt/fs/{PATH[k]}"), digest[k], f"{k}: the file is the object")
t.ok(delta.fetch_bytes <= len(diskimage.KINDS) * diskimage.MIB, "what disks brought serves files, but for a chunk each, which tells their versions",
     delta.fetch_bytes)
t.ok(delta.hit_bytes >= sum(size.values()), "... from the tier", delta.hit_bytes)
t.run_ok("the files are evicted", "cachectl", "evict", *(f"/mnt/fs/{PATH[k]}" for k in diskimage.KINDS))
t.same(sum(d["resident_bytes"] for d in disks().values()), 0, "... and so are the disks")
t.drop_caches(3)
for k in diskimage.KINDS:
    diskimage.one(f"/mnt/fs/{PATH[k]}")
t.settled()
delta = h.Delta(nl)
for k in diskimage.KINDS:
    right(k, "brought by a file")
t.same(delta.fetch_bytes, 0, "what files brought serves disks")
t.run_ok("unmounted", "umount", "/mnt/fs")

# --- it is read-only, and one disk

K = diskimage.KINDS[-1]
# Some kernels refuse before the disk is asked, as it is mounted.
t.ok(opens(NODE[K], os.O_RDWR) in ("EROFS", "EBUSY"), "a disk cannot be opened for writing")
t.run_fails("... nor be made writable", "denied|failed|busy|Permission|Read-only|cannot",
            "sh", "-c", f"blockdev --setrw {NODE[K]}; echo x >{NODE[K]}")
t.run_fails("... nor discarded", "BLKDISCARD|cannot|failed|Read-only", "blkdiscard", "-f", NODE[K])
with open(f"/sys/block/blobcache!{K}/queue/discard_max_bytes", encoding="ascii") as f:
    t.same(f.read().strip(), "0", "... it says so")
t.run_fails("a second disk of the name is refused", "has this name", "cachectl", "disk", "attach",
            f"{VOLUME}/{PATH[K]}", "--volume", VOLUME)
t.run_ok("... one of another name is not", "cachectl", "disk", "attach", f"{VOLUME}/{PATH[K]}", "--volume", VOLUME,
         "--name", "again", "--block-size", "4096")
for name, want in (("queue/logical_block_size", 4096), ("queue/optimal_io_size", 1 << 20), ("queue/rotational", 0), ("ro", 1)):
    with open(f"/sys/block/blobcache!again/{name}", encoding="ascii") as f:
        t.same(int(f.read()), want, f"... its {name}")
t.same(diskimage.whole("/dev/blobcache/again", size[K]), digest[K], "... and it is the object, too")
t.run_ok("... which is detached again", "cachectl", "disk", "detach", "/dev/blobcache/again")
t.same(os.path.exists("/dev/blobcache/again"), False, "... and gone")
t.run_fails("a disk that is mounted is not detached", "is open", "cachectl", "disk", "detach", K)
t.same(diskimage.wrong(MNT[K], sums), [], "... and goes on")
t.run_fails("the module is not unloaded while there are disks", "in use", "rmmod", "blobcache")

# --- what is no disk

for words, why in (
        ([f"{VOLUME}/none", "--volume", VOLUME], "no such object"),
        ([f"{VOLUME}/images/ext4.img", "--volume", VOLUME, "--name", "a/b"], "not a name"),
        ([f"{VOLUME}/images/ext4.img", "--volume", VOLUME, "--name", "control"], "not a name"),
        ([f"{VOLUME}/images/ext4.img", "--volume", VOLUME, "--name", "x" * 22], "longer"),
        ([f"{VOLUME}/images/../x", "--volume", VOLUME], "not the path"),
        ([f"{VOLUME}/images/ext4.img", "--volume", VOLUME, "--name", "x", "--block-size", "1024"], "512 or 4096"),
        ([f"{VOLUME}/images/ext4.img", "--volume", VOLUME, "--name", "x", "--deadline", "100s"], "deadline"),
        ([f"{VOLUME}/empty", "--volume", VOLUME], "empty"),
        (["file:///elsewhere/x.img"], "does not serve"),
        (["x.img"], "no object"),
        (["azure://host/container"], "no object")):
    open(f"{STORE}/empty", "wb").close()
    t.run_fails(f"refused: {' '.join(words)}", why, "cachectl", "disk", "attach", *words)
t.run_fails("what is no disk is not detached", "no such disk", "cachectl", "disk", "detach", "none")

# --- without a daemon

daemon.stop(signal.SIGKILL)
delta = h.Delta(nl)
for k in diskimage.KINDS:
    right(k, "the daemon killed")
t.same(delta.read_errors, 0, "... no read failed")
t.run_fails("no disk is attached then", "no daemon answers", "cachectl", "disk", "attach", f"{VOLUME}/{PATH[K]}",
            "--volume", VOLUME, "--name", "x")

# --- after a restart

for k in diskimage.KINDS:
    t.run_ok(f"{k}: unmounted", "umount", MNT[k])
    t.run_ok(f"{k}: detached", "cachectl", "disk", "detach", k)
t.run_ok("the tier is detached", "cachectl", "device", "detach", RAW)
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
nl, daemon = prepare()
delta = h.Delta(nl)
for k in diskimage.KINDS:
    p = attach(k)
    t.same(p.returncode, 0, f"{k}: attached again", p.stdout)
    p = mounted(k)
    t.same(p.returncode, 0, f"{k}: mounted again", p.stdout)
    right(k, "after a restart")
t.same(delta.fetch_bytes, 0, "after a restart nothing is fetched")
t.ok(delta.blocks_verified > 0, "... and what is read is verified first")
t.same((delta.read_errors, delta.crc_errors, delta.tier_read_errors), (0, 0, 0), "... all of it good")

for k in diskimage.KINDS:
    t.run_ok(f"{k}: unmounted", "umount", MNT[k])
    t.run_ok(f"{k}: detached", "cachectl", "disk", "detach", k)
t.same(disks(), {}, "no disk is left")
t.same(os.listdir("/dev/blobcache"), ["control"], "... and no device")
t.run_ok("the tier is detached", "cachectl", "device", "detach", RAW)
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.same(opens("/dev/blobcache", os.O_RDONLY), "ENOENT", "... and with it the directory")
t.done()
