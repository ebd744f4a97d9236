#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The files which VM tests read: names, sizes, contents, the same everywhere.

The host service "dataset" uploads them; verify.py makes them again in the guest
and compares every byte. Contents are pseudo-random, so that no two blocks are
alike and a wrong byte can be traced to where it belongs.
"""
import hashlib
import random
import time

KIB, MIB = 1 << 10, 1 << 20


def files():
    """Name -> size, in the order of their names."""
    sizes = {
        # Whole chunks, and a part of one.
        "shards/deep/er/shard-big.bin": 9 * MIB + 64 * KIB + 7,
        "shards/shard-00.bin": 4 * MIB + 12345,
        "shards/shard-01.bin": 2 * MIB,
        "shards/shard-02.bin": MIB + 300 * KIB,
        # Around the sizes of a page, a block and a chunk.
        "edges/page-less.bin": 4095,
        "edges/page.bin": 4096,
        "edges/page-more.bin": 4097,
        "edges/block-less.bin": 64 * KIB - 1,
        "edges/block.bin": 64 * KIB,
        "edges/block-more.bin": 64 * KIB + 1,
        "edges/chunk-less.bin": MIB - 1,
        "edges/chunk.bin": MIB,
        "edges/chunk-more.bin": MIB + 1,
        "edges/empty": 0,
        # Names that want encoding in a URL, or look as if they were encoded.
        "names/with space.bin": 70001,
        "names/100% per%20cent.bin": 70002,
        "names/plus+and&equal=.bin": 70003,
        "names/\u00fcn\u00efc\u00f6d\u00eb/\u65e5\u672c\u8a9e.bin": 70004,
        "top level": 12,
    }
    for i in range(32):
        # 1 byte ... 100 KiB, odd sizes
        sizes[f"small/{i % 2}/f{i:02}.txt"] = 1 + (102399 * i * i) // (31 * 31)
    return dict(sorted(sizes.items()))


def content(name, version=1):
    """The bytes of a file."""
    size = files()[name] + (version - 1) * 1000
    return random.Random(f"{version} {name}").randbytes(size)


def own_mtime(name):
    """The time rclone keeps in a blob's metadata, or None: every third file has one."""
    if sum(name.encode()) % 3:
        return None
    return 981173106 + sum(name.encode()) * 1000     # 2001-02-03 and after


def own_mtime_text(name):
    at = own_mtime(name)
    return at and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    for path, length in files().items():
        print(f"{sha256(content(path))} {length:9} {path}")
