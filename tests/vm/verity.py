# SPDX-License-Identifier: GPL-2.0-or-later
"""dm-verity without its tools: the tree of hashes behind an image, and the table line for dmsetup."""
import hashlib
import os

BLOCK, DIGEST = 4096, 32
SALT = bytes(range(16))


def hashes(data):
    """The blocks that hold the hashes of the blocks of @data."""
    digests = b"".join(hashlib.sha256(SALT + data[at:at + BLOCK]).digest() for at in range(0, len(data), BLOCK))
    return digests + b"\0" * (-len(digests) % BLOCK)


def sign(path):
    """Append the tree to an image. Returns (data blocks, root hash)."""
    with open(path, "rb") as f:
        data = f.read()
    data += b"\0" * (-len(data) % BLOCK)
    levels = [hashes(data)]
    while len(levels[-1]) > BLOCK:
        levels.append(hashes(levels[-1]))
    with open(path, "wb") as f:
        f.write(data)
        # The highest comes first.
        f.write(b"".join(reversed(levels)))
    return len(data) // BLOCK, hashlib.sha256(SALT + levels[-1]).hexdigest()


def table(device, blocks, root):
    return (f"0 {blocks * BLOCK // 512} verity 1 {device} {device} {BLOCK} {BLOCK} {blocks} {blocks} sha256 "
            f"{root} {SALT.hex()}")


def flip(path, block):
    """One bit of a block."""
    with open(path, "r+b") as f:
        f.seek(block * BLOCK + 100)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 4]))
