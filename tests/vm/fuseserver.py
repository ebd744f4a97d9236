# SPDX-License-Identifier: GPL-2.0-or-later
"""FUSE servers for lowers that do what a test tells them: one of what it wants to show, by answer(),
and one of a tree of nodes.

    class Files(fuseserver.Server):
        def answer(self, opcode, node, body): ...

    server = Files()
    server.mount("/mnt/lower")
    server.frozen = True
"""
import ctypes
import errno
import os
import select
import stat
import struct
import threading
import time

import vmtest as t

LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, OPEN, READ, STATFS = 1, 2, 3, 4, 10, 14, 15, 17
INIT, OPENDIR, READDIR, CREATE, INTERRUPT, BATCH_FORGET = 26, 27, 28, 35, 36, 42
ROOT = 1


def attr(node, mode, size=0, uid=0):
    """struct fuse_attr"""
    return struct.pack("<6Q10I", node, size, 1, 1000, 1000, 1000, 0, 0, 0, mode, 1, uid, 0, 0, 4096, 0)


def attr_out(attributes):
    """struct fuse_attr_out; the kernel is to remember nothing."""
    return struct.pack("<Q2I", 0, 0, 0) + attributes


def entry_out(node, attributes):
    """struct fuse_entry_out; the same."""
    return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + attributes


class Server(threading.Thread):
    """The protocol. What is not set in it is asked of answer()."""

    def __init__(self):
        super().__init__(daemon=True)
        self.frozen = False     # nothing is answered
        self.closed = False     # the connection is cut
        self.slow = {}          # seconds that a call takes, of opcodes, while that is said; others go on
        self.late = []
        self.fd = -1

    def mount(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if t.LIBC.mount(b"bctest", directory.encode(), b"fuse.bctest", 0, options):
            t.bail(f"mount: {os.strerror(ctypes.get_errno())}")
        self.start()

    def answer(self, opcode, node, body):
        """Bytes, or an errno, or None: it is asked again, and nothing else is answered until then."""
        raise NotImplementedError

    def _answer(self, opcode, node, body):
        if opcode == INIT:
            return struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 64, 48, 65536, 1, 0, 0, *[0] * 8)
        reply = self.answer(opcode, node, body)
        if reply == errno.ENOSYS and opcode in (OPEN, OPENDIR):
            return struct.pack("<Q2I", 0, 0, 0)
        if reply == errno.ENOSYS and opcode == STATFS:
            return struct.pack("<5Q10I", *[0] * 5, 4096, 255, 4096, *[0] * 7)
        return reply

    def _serve(self, request):
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (FORGET, INTERRUPT, BATCH_FORGET):
            return
        reply = self._answer(opcode, node, request[40:])
        while reply is None and not self.closed:
            time.sleep(0.02)
            reply = self._answer(opcode, node, request[40:])
        if self.closed:
            return
        error, data = (-reply, b"") if isinstance(reply, int) else (0, reply)
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
        except FileNotFoundError:
            pass        # it was interrupted

    def _receive(self):
        """A request, or None."""
        try:
            return os.read(self.fd, 1 << 17) if select.select([self.fd], [], [], 0.02)[0] else None
        except BlockingIOError:
            return None

    def _step(self):
        request = self._receive()
        if request:
            opcode = struct.unpack_from("<I", request, 4)[0]
            self.late.append((time.monotonic() + self.slow.get(opcode, 0), opcode, request))
        due = [r for r in self.late if r[0] <= time.monotonic() or r[1] not in self.slow]
        self.late = [r for r in self.late if r not in due]
        for _, _, request in due:
            self._serve(request)

    def run(self):
        try:
            while not self.closed:
                if self.frozen:
                    time.sleep(0.02)
                else:
                    self._step()
        except OSError as e:
            if e.errno != errno.ENODEV:     # it is unmounted
                raise
        os.close(self.fd)


def part(data, body):
    """What a READ gets of @data."""
    offset, size = struct.unpack_from("<QI", body, 8)
    return data[offset:offset + size]


class Node:
    """A file, or a directory."""
    count = ROOT

    def __init__(self, mode, uid=0, data=None, **children):
        Node.count += 1
        self.ino = Node.count
        self.mode, self.uid, self.data, self.children = mode, uid, data, children

    def attr(self):
        kind, size = (stat.S_IFDIR, 0) if self.data is None else (stat.S_IFREG, len(self.data))
        return attr(self.ino, kind | self.mode, size, self.uid)

    def walk(self, above=""):
        for name, child in self.children.items():
            yield above + name, child
            yield from child.walk(f"{above}{name}/")


class Tree(Server):
    """Shows nodes, asks nobody who he is, and changes nothing."""

    def __init__(self, root):
        super().__init__()
        self.nodes = {ROOT: root}
        self.calls = []         # what was done in a node, or tried: opcode, number

    def answer(self, opcode, node, body):
        here = self.nodes.get(node)
        if opcode == LOOKUP:
            child = here.children.get(body.rstrip(b"\0").decode())
            if not child:
                return errno.ENOENT
            self.nodes[child.ino] = child
            return entry_out(child.ino, child.attr())
        if opcode == GETATTR:
            return attr_out(here.attr())
        if opcode in (SETATTR, UNLINK, CREATE):
            self.calls.append((opcode, here.ino))
            return errno.EUCLEAN
        if opcode in (OPEN, OPENDIR):
            self.calls.append((opcode, here.ino))
        if opcode == READ:
            return part(here.data, body)
        if opcode == READDIR:
            return b""
        return errno.ENOSYS
