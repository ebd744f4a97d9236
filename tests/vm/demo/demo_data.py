# SPDX-License-Identifier: GPL-2.0-or-later
"""The files which the demo reads: shards, as training data is kept in, and small
files beside them. Contents are pseudo-random, and the same everywhere."""
import hashlib
import random

MIB = 1 << 20
SHARD = 32 * MIB


def files(mib):
    """Name -> size, in the order in which they are read; @mib MiB of them."""
    small = min(300, mib * 4)
    sizes = {f"small/{i // 100}/sample-{i:03}.bin": 1024 + i * 7919 % (127 << 10)
             for i in range(small)}
    left = max(mib * MIB - sum(sizes.values()), 1)
    shards = {f"shards/train-{i:03}.tar": min(SHARD, left - i * SHARD)
              for i in range(-(-left // SHARD))}
    return {**shards, **sizes}


def content(name, size):
    return random.Random(name).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()
