#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: a directory becomes an image by 'cachectl image build', and a directory again by 'image mount',
# which undoes what it did if it fails; images in Azure's emulator are read right, cold, warm and after a
# restart without a GET, and without a daemon.
#
# vm: host=dataset disk=data:512M mem=1500M timeout=600

import hashlib
import json
import os
import signal
import subprocess
import tarfile
import time
import urllib.request

import diskimage
import hostile_daemon as h
import vmtest as t

TREE, MNT = "/mnt/tree", "/mnt/image"
SOURCE = os.environ["AZ_SOURCE"]
RAW = t.disk("data")


def upload(name, path):
    url, _, sas = os.environ["AZ_SAS_URL"].partition("?")
    with open(path, "rb") as f:
        request = urllib.request.Request(f"{url}/{name}?{sas}", data=f.read(), method="PUT", headers={
            "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request) as reply:
        return reply.status


def requests(method, name):
    """How often the store was asked for a blob."""
    with urllib.request.urlopen(os.environ["HOST_LOGS"] + "/azurite.log") as reply:
        return sum(f'"{method} ' in line and f"/{name}" in line for line in reply.read().decode(errors="replace").splitlines())


def image(command, *words, **kw):
    return t.run("cachectl", "image", command, *words, timeout=120, **kw)


def answered(p):
    """What a command said in JSON, after its progress."""
    return json.loads(p.stdout[p.stdout.index("{"):]) if "{" in p.stdout else {}


def mount(name, *words):
    return image("mount", f"{SOURCE}/{name}", MNT, "--volume", SOURCE, *words)


def disks():
    return [d["name"] for d in t.cachectl("disk", "list")["disks"]]


def prepare():
    t.load_module(t.PATIENT)
    netlink = h.Netlink()
    t.run_ok("a tier is attached", "cachectl", "device", "attach", RAW)
    process = t.azure_daemon()
    t.ok(process.start(lambda pid: netlink.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", process.tail())
    return netlink, process


os.makedirs(MNT)
sums = diskimage.tree(TREE, count=120)

# --- build

p = image("build", TREE, "-o", "/run/test/erofs.img")
t.ok(p.returncode == 0 and os.path.exists("/run/test/erofs.img"), "an image is built", p.stdout)
p = image("build", TREE, "-o", "file:///run/test/small.img", "--compress", "lz4")
t.same(p.returncode, 0, "... a compressed one, too", p.stdout)
with open("/run/test/list", "w", encoding="utf-8") as f:
    f.write("".join(f"{name}\n" for name in reversed(sorted(sums))))
p = image("build", TREE, "-o", "/run/test/ordered.img", "--order", "/run/test/list")
if "--sort" in t.run("mkfs.erofs", "--help").stdout:
    t.same(p.returncode, 0, "... and one in an order", p.stdout)
else:
    t.like(p.stdout, "too old to be given an order", "one in an order is refused by old tools, and why")
with open("/run/test/x.part", "wb") as f:
    f.write(b"mine")
for words, why in ((["/none", "-o", "/run/test/x"], "No such file"), (["/etc/fstab", "-o", "/run/test/x"], "is no directory"),
                   ([TREE], "where to"), ([TREE, "-o", "azure://host/x"], "is no object"),
                   ([TREE, "-o", "azure://host/container/x", "--config", "/none"], "/none"),
                   ([TREE, "-o", "/run/test/x", "--order", "/run/test/list", "--compress", "lz4"], "has no order"),
                   ([TREE, "-o", "/none/x"], "No such file"),
                   ([TREE, "-o", f"{TREE}/0/x"], "packed into itself"), ([TREE, "-o", "/run/test/x", "--compress", "none"], "mkfs.erofs failed")):
    p = image("build", *words)
    t.ok(p.returncode and why in p.stdout, f"refused: {' '.join(words)}", p.stdout)
t.same([n for n in os.listdir("/run/test") if n == "x" or n.startswith(".cachectl")], [], "... and nothing is left of those")
with open("/run/test/x.part", "rb") as f:
    t.same(f.read(), b"mine", "... and a file of that name is left alone")

# What a mkfs.erofs of 1.8 is given: this one keeps it.
os.makedirs("/run/test/bin")
with open("/run/test/bin/mkfs.erofs", "w", encoding="ascii") as f:
    f.write('#!/bin/sh\ncase "$*" in *--help*) echo --sort; exit;; *--tar=f*--sort=none*) ;; *) exit 9;; esac\n'
            'eval "exec cat >\\"\\${$#}\\""\n')
os.chmod("/run/test/bin/mkfs.erofs", 0o755)
attribute = "trusted.blobcache"
try:
    os.setxattr(f"{TREE}/0/0/f0000", attribute, b"kept")
except OSError:
    attribute = None
p = image("build", TREE, "-o", "/run/test/ordered.tar", "--order", "/run/test/list",
          env={**os.environ, "PATH": "/run/test/bin:" + os.environ["PATH"]})
t.same(p.returncode, 0, "an archive for a newer mkfs.erofs", p.stdout)
with tarfile.open("/run/test/ordered.tar") as archive:
    members = archive.getmembers()
t.same([m.name for m in members if not m.isdir()], list(reversed(sorted(sums))), "... has the files in the order of the list")
t.same(sorted(m.name.strip("./") for m in members if m.isdir()), sorted({""} | {d for n in sums for d in (os.path.dirname(n), n.split("/")[0]) if "/" in n}),
       "... and the directories")
if attribute:
    t.same([m.pax_headers.get(f"SCHILY.xattr.{attribute}") for m in members if m.name.endswith("0/0/f0000")], ["kept"], "... and extended attributes")
    os.removexattr(f"{TREE}/0/0/f0000", attribute)
else:
    t.skip(1, "no extended attributes here")

# --- mount

t.ok(t.uploaded(), "the container is there")
for kind in diskimage.KINDS:
    path = f"/run/test/{kind}.img"
    if not os.path.exists(path):
        diskimage.make(kind, TREE, path)
    t.same(upload(f"{kind}.img", path), 201, f"{kind}: uploaded")
with open("/run/test/text", "w", encoding="utf-8") as f:
    f.write("no filesystem at all\n" * 1000)
upload("text.img", "/run/test/text")
t.run("cachectl", "device", "format", "--yes", RAW)
nl, daemon = prepare()
p = mount("text.img")
t.ok(p.returncode and "no filesystem" in p.stdout and not disks(), "what has no filesystem is not mounted, and no disk is left", p.stdout)
if t.run("mkswap", "-V").returncode == 0:
    with open("/run/test/swap.img", "wb") as f:
        f.truncate(1 << 20)
    t.run("mkswap", "/run/test/swap.img")
    upload("swap.img", "/run/test/swap.img")
    p = mount("swap.img")
    t.ok(p.returncode and "of type swap" in p.stdout and not disks(), "what is found is not mounted as just anything", p.stdout)
p = mount("text.img", "--type", "erofs")
t.ok(p.returncode and "cannot mount" in p.stdout and not disks(), "... nor as what it is not", p.stdout)
p = image("umount", "/mnt")
t.ok(p.returncode and "no disk of blobcache" in p.stdout, "what is no image is not unmounted", p.stdout)


def rounds(text, fetched):
    for name in diskimage.KINDS:
        begin = requests("GET", f"{name}.img")
        done = mount(f"{name}.img")
        t.same(done.returncode, 0, f"{name}: {text}: mounted", done.stdout)
        for again in ("", " once more"):
            t.drop_caches(3)
            t.same(diskimage.wrong(MNT, sums), [], f"{name}: {text}{again}: the tree is right")
        t.settled()
        gets = requests("GET", f"{name}.img") - begin
        t.ok(gets > 0 if fetched else gets == 0, f"{name}: {text}: {gets} GETs")
        with open(f"{MNT}/0/0/f0000", "rb"):
            done = image("umount", MNT)
            t.ok(done.returncode and name in disks(), f"{name}: not unmounted while a file is open", done.stdout)
        done = image("umount", MNT)
        t.ok(done.returncode == 0 and not disks(), f"{name}: unmounted and detached", done.stdout)


# --- upload

p = image("build", TREE, "-o", f"{SOURCE}/sent.img", "--volume", SOURCE, "--json")
t.ok(p.returncode == 0 and answered(p).get("size", 0) > 0, "an image is built, and uploaded with the daemon's credentials", p.stdout)
p = mount("sent.img")
t.same((p.returncode, diskimage.wrong(MNT, sums)), (0, []), "... mounted, its tree is right", p.stdout)
image("umount", MNT)
t.same([n for n in os.listdir("/var/tmp") if n.startswith("cachectl")], [], "... and nothing is left here")
with open("/run/test/raw", "wb") as f:
    f.write(os.urandom(20 << 20))
first = answered(image("upload", "/run/test/raw", f"{SOURCE}/raw", "--volume", SOURCE, "--json"))
with open("/run/test/raw", "r+b") as f:
    f.seek(9 << 20)
    f.write(b"changed")
again = answered(image("upload", "/run/test/raw", f"{SOURCE}/raw", "--volume", SOURCE, "--json"))
t.ok(again["etag"] != first["etag"] and (first["reused_bytes"], again["reused_bytes"]) == (0, 12 << 20),
     "a file that changed a little is uploaded in part", first, again)
with open("/run/test/raw", "rb") as f:
    wanted = hashlib.sha256(f.read()).hexdigest()
t.run_ok("it is attached", "cachectl", "disk", "attach", f"{SOURCE}/raw", "--volume", SOURCE)
t.same(diskimage.whole("/dev/blobcache/raw", 20 << 20), wanted, "... and what the file is")
t.run("cachectl", "disk", "detach", "raw")
for words, why in ((("/none", f"{SOURCE}/x"), "No such file"), (("/run/test", f"{SOURCE}/x"), "regular"),
                   (("/run/test/raw", "azure://other.example/c/x"), "credentials"),
                   (("/run/test/raw", "file:///run/test/copy"), "copy it there")):
    p = image("upload", *words, "--volume", words[1].rsplit("/", 1)[0])
    t.ok(p.returncode and why in p.stdout, f"not uploaded: {words[0]} to {words[1].split('/')[2]}", p.stdout)
with open("/run/test/big", "wb") as f:
    f.write(os.urandom(150 << 20))
p = subprocess.Popen(["cachectl", "image", "upload", "/run/test/big", f"{SOURCE}/big", "--volume", SOURCE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
t.ok(t.wait_for(lambda: requests("PUT", "big?comp=block") or requests("PUT", "big"), 60), "a larger one is on its way")
p.send_signal(signal.SIGINT)
p.wait(60)
said = p.stdout.read().decode()
t.ok(p.returncode == 1 and "interrupted" in said and not requests("PUT", "big?comp=blocklist"), "... interrupted, it says so, and is no object", p.returncode, said)
p = image("upload", "/run/test/big", f"{SOURCE}/big", "--volume", SOURCE, "--json")
t.ok(p.returncode == 0 and answered(p).get("reused_bytes", 0) > 0, "... and goes on where it was", p.stdout)
os.unlink("/run/test/big")

rounds("cold", True)
rounds("warm", False)
p = mount(f"{diskimage.KINDS[-1]}.img", "--prefetch", "--name", "mine", "--json")
t.ok(p.returncode == 0 and '"target"' in p.stdout, "mounted by another name, and prefetched", p.stdout)
daemon.stop(signal.SIGKILL)
t.drop_caches(3)
t.same(diskimage.wrong(MNT, sums), [], "the daemon killed: the tree is right")
answer = json.loads(image("umount", MNT, "--json").stdout)
t.same(answer["name"], "mine", "unmounted")

# --- an interrupt while the store does not answer. This daemon says how long the object is, and no more.

h.io_flusher()
device = h.Device()
t.same(device.hello(), 0, "a daemon that fetches nothing")
p = subprocess.Popen(["cachectl", "image", "mount", f"{SOURCE}/never", MNT, "--volume", SOURCE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
asked = t.wait_for(lambda: nl.requests(h.RESOLVE), 20)
t.same(nl.answer(asked[0][h.R_ID], h.OK, "etag-1", 1 << 20, 1000000000), 0, "it tells a mount how long the object is")
t.ok(t.wait_for(lambda: nl.requests(h.FETCH), 20) and disks() == ["never"], "... which waits for its first byte", nl.requests(), disks())
begin = time.monotonic()
p.send_signal(signal.SIGINT)
p.wait(60)
t.same((p.returncode, disks()), (-signal.SIGINT, []), "... interrupted, it leaves no disk", p.stdout.read())
t.ok(time.monotonic() - begin < 20, "... at once", time.monotonic() - begin)
t.ok(not os.path.ismount(MNT), "... and no mount")
device.close()
t.run("cachectl", "device", "detach", RAW)
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
nl, daemon = prepare()
rounds("after a restart", False)
t.run("cachectl", "device", "detach", RAW)
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module is unloaded")
t.done()
