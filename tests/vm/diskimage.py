# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of a tree of files, and whether what is mounted of them is that tree."""
import hashlib
import os
import random

import vmtest as t

# The debug kernel has not all of them.
KINDS = [k for k in ("ext4", "erofs", "squashfs") if t.run("modprobe", k).returncode == 0]
MIB = 1 << 20


def tree(root, count=300, seed="tree"):
    """Make it. Path -> SHA-256 of a file, or what a symbolic link says."""
    rand = random.Random(seed)
    os.makedirs(root)
    sums = {}
    for n in range(count):
        directory = f"{n % 7}/{n % 3}"
        os.makedirs(f"{root}/{directory}", exist_ok=True)
        size = 3 * MIB + 17 if n == 5 else 0 if n == 6 else rand.randrange(1, 60000)
        data = rand.randbytes(size)
        path = f"{directory}/f{n:04}"
        with open(f"{root}/{path}", "wb") as f:
            f.write(data)
        sums[path] = hashlib.sha256(data).hexdigest()
    os.symlink("0/0/f0000", f"{root}/link")
    sums["link"] = "-> 0/0/f0000"
    return sums


def make(kind, root, image):
    """An image of the tree. Its last block is not full: a device is longer than its object."""
    if kind == "ext4":
        # Blocks of 1 KiB want a device that has such.
        p = t.run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^has_journal", "-d", root, image, "24M")
    elif kind == "erofs":
        p = t.run("mkfs.erofs", "-zlz4", image, root)
    else:
        p = t.run("mksquashfs", root, image, "-quiet", "-noappend", "-no-progress", "-nopad")
    if p.returncode:
        t.bail(f"{kind}: {p.stdout}")
    with open(image, "ab") as f:
        f.write(b"the end" if f.tell() % 512 == 0 else b"")
    return os.path.getsize(image)


def wrong(root, sums, limit=10):
    """What of the tree is not there as it should be."""
    bad = []
    found = set()
    for directory, _, names in os.walk(root):
        if "lost+found" in directory:
            continue
        for name in names:
            path = os.path.relpath(f"{directory}/{name}", root)
            found.add(path)
            try:
                got = one(f"{root}/{path}")
            except OSError as e:
                got = str(e)
            if got != sums.get(path):
                bad.append(f"{path}: {got}")
    bad += [f"{path}: not there" for path in set(sums) - found]
    # Wrong bytes first: many errors must not hide them.
    return sorted(bad, key=lambda line: "Errno" in line or line.endswith("not there"))[:limit]


def one(path):
    if os.path.islink(path):
        return "-> " + os.readlink(path)
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def whole(device, size):
    """SHA-256 of the object's bytes, read from its device; a reason if what is behind them is not zero."""
    with open(device, "rb") as f:
        digest = hashlib.sha256()
        left = size
        while left:
            data = f.read(min(MIB, left))
            if not data:
                return f"it ends {left} bytes early"
            digest.update(data)
            left -= len(data)
        rest = f.read()
    if rest.strip(b"\0") or len(rest) >= 4096:
        return f"behind it: {len(rest)} bytes, {rest[:20]}"
    return digest.hexdigest()
