#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what it costs to ask the lower for names, in what the lower is asked and in processors
# that are woken: a FUSE lower is asked for attributes together with the names, not one by one,
# and it is asked on the processor on which the caller waits.
#
# vm: timeout=200

import ctypes
import errno
import os
import stat
import struct

import fuseserver
import vmtest as t

LOWER, TARGET = "/mnt/lower", "/mnt/target"
FILES = 400
READDIRPLUS = 44
DO_READDIRPLUS, READDIRPLUS_AUTO = 1 << 13, 1 << 14
SYS_GETDENTS64 = 217
HOUR = 3600


class Listed(fuseserver.Server):
    """One directory, whose names and attributes are good for an hour."""

    def __init__(self):
        super().__init__()
        self.names = {f"file{n:04}": n + 2 for n in range(FILES)}
        self.asked = {}

    @staticmethod
    def attr(node):
        return fuseserver.attr(node, stat.S_IFDIR | 0o755 if node == fuseserver.ROOT else
                               stat.S_IFREG | 0o644, node)

    def entry(self, node):
        return struct.pack("<4Q2I", node, 0, HOUR, HOUR, 0, 0) + self.attr(node)

    def listing(self, body, plus):
        offset, size = struct.unpack_from("<QI", body, 8)
        data = b""
        for at, (name, node) in enumerate(self.names.items(), 1):
            dirent = struct.pack("<2Q2I", node, at, len(name), stat.S_IFREG >> 12) + name.encode()
            dirent = (self.entry(node) if plus else b"") + dirent + b"\0" * (-len(dirent) % 8)
            if at > offset and len(data) + len(dirent) > size:
                break
            data += dirent if at > offset else b""
        return data

    def _answer(self, opcode, node, body):
        self.asked[opcode] = self.asked.get(opcode, 0) + 1
        if opcode == fuseserver.INIT:
            return struct.pack("<4I2H2I2H8I", 7, 31, 65536, DO_READDIRPLUS | READDIRPLUS_AUTO, 64, 48,
                               65536, 1, 0, 0, *[0] * 8)
        return super()._answer(opcode, node, body)

    def answer(self, opcode, node, body):
        if opcode == fuseserver.LOOKUP:
            found = self.names.get(body.rstrip(b"\0").decode())
            return self.entry(found) if found else errno.ENOENT
        if opcode == fuseserver.GETATTR:
            return struct.pack("<Q2I", HOUR, 0, 0) + self.attr(node)
        if opcode in (fuseserver.READDIR, READDIRPLUS):
            return self.listing(body, opcode == READDIRPLUS)
        return errno.ENOSYS


def ipis():
    """Interrupts by which one processor told another to do something, so far."""
    total = 0
    with open("/proc/interrupts", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[0] in ("RES:", "CAL:"):
                total += sum(int(w) for w in words[1:] if w.isdigit())
    return total


def entries(directory, size):
    """Its names, by calls with a buffer of that size."""
    buffer, names = ctypes.create_string_buffer(size), []
    fd = os.open(directory, os.O_RDONLY)
    while (got := t.LIBC.syscall(SYS_GETDENTS64, fd, buffer, size)) > 0:
        at = 0
        while at < got:
            length = struct.unpack_from("<H", buffer, at + 16)[0]
            names.append(buffer[at + 19:at + length].split(b"\0")[0].decode())
            at += length
    os.close(fd)
    return [n for n in names if n not in (".", "..")] if got == 0 else got


t.run("modprobe", "fuse")
server = Listed()
server.mount(LOWER)
t.load_module(t.PATIENT)
status, output = t.mount(LOWER, TARGET, ro=True, volume="file:///nowhere", ttl="0")
t.same(status, 0, "mounted over a FUSE lower", output)

server.asked.clear()
with os.scandir(TARGET) as names:
    sizes = {e.name: os.stat(e.path).st_size for e in names}
t.same(sizes, server.names, "a walk finds each file, with its size")
t.diag(f"asked, by opcode: {server.asked}")
# How many names one answer has depends on the kernel.
t.ok(READDIRPLUS in server.asked and server.asked.get(fuseserver.LOOKUP, 0) < FILES / 4,
     "... which came with the names, not one by one", server.asked)
for size in (64, 500, 4096, 1 << 17):
    t.same(entries(TARGET, size), list(server.names), f"each name is listed once, {size} bytes at a time")

server.asked.clear()
before = ipis()
for name in server.names:
    os.stat(f"{TARGET}/{name}")
woken = ipis() - before
t.diag(f"{FILES} stats: {woken} interrupts between processors")
t.ok(sum(server.asked.values()) < FILES / 4, "what the lower remembers is asked of the lower, not of its server",
     server.asked)
t.ok(woken < FILES / 2, "... on the caller's processor", woken)
t.same(t.run("umount", TARGET).returncode, 0, "unmounted")
t.same(t.run("umount", LOWER).returncode, 0, "... the lower")
t.ok(t.unloaded(), "unloaded")
t.done()
