# SPDX-License-Identifier: GPL-2.0-or-later
"""The on-disk format of a tier, for tests that damage it on purpose.

After uapi/blobcache_disk.h. Reads and writes go past the page cache of the device,
so that what the kernel module reads and writes is what is seen here.
"""
import mmap
import os
import struct

UNIT = 4096
BLOCK = 64 << 10
FRAME = 1 << 20
FRAME_BLOCKS = 16
CLEAN_FRAMES = 5
CLEAN_DESCS = CLEAN_FRAMES * FRAME_BLOCKS
IDENTITIES = 15         # of a unit
MAGIC_CLEAN = 0x61656c43
MAGIC_IDENTITY = 0x6e656449


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _table()


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


class Super:
    """A superblock; fields by name, in a dict."""
    LAYOUT = (("magic", "8s"), ("crc", "I"), ("version", "I"), ("generation", "Q"),
              ("uuid", "16s"), ("node_id", "16s"), ("set_id", "16s"), ("compat", "I"),
              ("ro_compat", "I"), ("incompat", "I"), ("state", "I"), ("device_bytes", "Q"),
              ("unit_shift", "I"), ("block_shift", "I"), ("chunk_shift", "I"),
              ("index_ratio", "I"), ("frame_count", "Q"), ("dirty_offset", "Q"),
              ("dirty_units", "Q"), ("clean_offset", "Q"), ("clean_units", "Q"),
              ("identity_offset", "Q"), ("identity_units", "Q"), ("frames_offset", "Q"),
              ("seq_reserved", "Q"), ("attach_count", "Q"), ("formatted_at", "Q"),
              ("label", "64s"), ("dirty_check", "I"), ("reserved", "3828s"))
    FORMAT = "<" + "".join(f for _, f in LAYOUT)
    assert struct.calcsize(FORMAT) == UNIT

    def __init__(self, data):
        self.f = dict(zip((n for n, _ in self.LAYOUT), struct.unpack(self.FORMAT, data)))

    def pack(self, **changes):
        """The unit with these fields and a right checksum, unless crc is among them."""
        fields = {**self.f, **changes}
        fields.setdefault("crc", 0)
        crc = changes.get("crc")
        fields["crc"] = 0
        if crc is None:
            crc = crc32c(struct.pack(self.FORMAT, *(fields[n] for n, _ in self.LAYOUT)))
        fields["crc"] = crc
        return struct.pack(self.FORMAT, *(fields[n] for n, _ in self.LAYOUT))


class Desc:
    """A descriptor of a block."""
    FORMAT = "<16sQQIIBB6s"

    def __init__(self, data):
        (self.key, self.block, self.seq, self.length, self.crc, self.kind, self.flags,
         self.reserved) = struct.unpack(self.FORMAT, data)

    def pack(self):
        return struct.pack(self.FORMAT, self.key, self.block, self.seq, self.length, self.crc,
                           self.kind, self.flags, self.reserved)


def seal(unit):
    """A table unit with a right checksum."""
    unit = bytearray(unit)
    unit[4:8] = b"\0" * 4
    unit[4:8] = struct.pack("<I", crc32c(unit))
    return bytes(unit)


class Disk:
    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)

    def read(self, offset, length):
        start, end = offset & ~4095, (offset + length + 4095) & ~4095
        with mmap.mmap(-1, end - start) as buffer:
            os.preadv(self.fd, [buffer], start)
            return buffer[offset - start:offset - start + length]

    def write(self, offset, data):
        start, end = offset & ~4095, (offset + len(data) + 4095) & ~4095
        with mmap.mmap(-1, end - start) as buffer:
            if end - start != len(data):
                os.preadv(self.fd, [buffer], start)
            buffer[offset - start:offset - start + len(data)] = data
            os.pwritev(self.fd, [buffer], start)

    def flip(self, offset, bit=0):
        """Damage one bit."""
        self.write(offset, bytes([self.read(offset, 1)[0] ^ 1 << bit]))

    def copy_to(self, other, length=None):
        """As after a crash: what is on the device now."""
        length = length or self.size
        with mmap.mmap(-1, 4 << 20) as buffer:
            for at in range(0, length, len(buffer)):
                part = min(len(buffer), length - at)
                view = memoryview(buffer)[:part]
                os.preadv(self.fd, [view], at)
                os.pwritev(other.fd, [view], at)
                view.release()

    def close(self):
        os.close(self.fd)

    # --- the format

    def supers(self):
        return [Super(self.read(i * UNIT, UNIT)) for i in (0, 1)]

    def current(self):
        """Number of the copy that counts, and it."""
        copies = self.supers()
        newer = int(copies[1].f["generation"] > copies[0].f["generation"])
        return newer, copies[newer]

    def clean_unit(self, number):
        return self.read(self.current()[1].f["clean_offset"] + number * UNIT, UNIT)

    def write_clean_unit(self, number, data):
        self.write(self.current()[1].f["clean_offset"] + number * UNIT, data)

    def descs(self):
        """(frame, slot, offset of the descriptor on the disk, Desc) of all that are in use."""
        fields = self.current()[1].f
        table = self.read(fields["clean_offset"], fields["clean_units"] * UNIT)
        for frame in range(fields["frame_count"]):
            for slot in range(FRAME_BLOCKS):
                at = (frame // CLEAN_FRAMES * UNIT + 256 +
                      (frame % CLEAN_FRAMES * FRAME_BLOCKS + slot) * 48)
                if table[at + 40]:
                    yield frame, slot, fields["clean_offset"] + at, Desc(table[at:at + 48])

    def block_offset(self, frame, slot):
        return self.current()[1].f["frames_offset"] + frame * FRAME + slot * BLOCK
