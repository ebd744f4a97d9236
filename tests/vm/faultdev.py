# SPDX-License-Identifier: GPL-2.0-or-later
"""A block device that fails as it is told, request by request: a loop device over the one file of a
FUSE server.

    table = faultdev.FaultDevice(65536, "/mnt/fault")
    table.write_errors[7] = 2           # the next two writes of that block fail
    table.flush_errors = 1
    t.run("cat", table.path)
"""
import errno
import struct

import fuseserver
import vmtest as t

BLOCK = 4096
WRITE, FSYNC = 16, 20
FOREVER = 1 << 60
FILE = 2


class FaultDevice(fuseserver.Server):
    """
    Of a block, or of flushes, how many calls more are to fail. A read of several blocks fails with
    any of them. What was done is counted in reads and writes, by block; writes and flushes are also in
    log, in their order: (block or None, whether it failed).
    """

    def __init__(self, size, directory):
        super().__init__()
        self.data = bytearray(size)
        self.read_errors, self.write_errors, self.damage = {}, {}, {}
        self.flush_errors = 0
        self.reads, self.writes, self.log = {}, {}, []
        self.mount(directory)
        t.run("modprobe", "loop")
        self.path = t.run("losetup", "--find", "--show", f"{directory}/file").stdout.strip()

    def block(self, number):
        return bytes(self.data[number * BLOCK:(number + 1) * BLOCK])

    @staticmethod
    def _take(left, blocks):
        """Is one of them to fail?"""
        found = [b for b in blocks if left.get(b, 0) > 0]
        for b in found:
            left[b] -= 1
        return bool(found)

    def _read(self, body):
        offset, size = struct.unpack_from("<QI", body, 8)
        blocks = range(offset // BLOCK, -(-(offset + size) // BLOCK))
        for b in blocks:
            self.reads[b] = self.reads.get(b, 0) + 1
        if self._take(self.read_errors, blocks):
            return errno.EIO
        data = bytearray(self.data[offset:offset + size])
        for b in blocks:
            if self._take(self.damage, [b]):
                data[b * BLOCK - offset + BLOCK // 2] ^= 1
        return bytes(data)

    def _write(self, body):
        offset, size = struct.unpack_from("<QI", body, 8)
        blocks = range(offset // BLOCK, -(-(offset + size) // BLOCK))
        for b in blocks:
            self.writes[b] = self.writes.get(b, 0) + 1
        failed = self._take(self.write_errors, blocks)
        self.log += [(b, failed) for b in blocks]
        if failed:
            return errno.EIO
        self.data[offset:offset + size] = body[40:40 + size]
        return struct.pack("<2I", size, 0)

    def _flush(self):
        self.log.append((None, self.flush_errors > 0))
        if self.flush_errors:
            self.flush_errors -= 1
            return errno.EIO
        return b""

    def answer(self, opcode, node, body):
        attributes = fuseserver.attr(node, 0o40755) if node == fuseserver.ROOT else \
            fuseserver.attr(FILE, 0o100644, len(self.data))
        if opcode == fuseserver.LOOKUP:
            return fuseserver.entry_out(FILE, fuseserver.attr(FILE, 0o100644, len(self.data)))
        if opcode in (fuseserver.GETATTR, fuseserver.SETATTR):
            return fuseserver.attr_out(attributes)
        if opcode == fuseserver.OPEN:
            # FOPEN_DIRECT_IO: each request comes here.
            return struct.pack("<Q2I", 0, 1, 0)
        if opcode == fuseserver.READ:
            return self._read(body)
        if opcode == WRITE:
            return self._write(body)
        if opcode == FSYNC:
            return self._flush()
        return errno.ENOSYS

    def end(self):
        t.run("losetup", "-d", self.path)
        self.closed = True
