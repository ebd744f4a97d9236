#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Compares files below a mount, byte for byte, with what dataset.py says they are.

usage: verify.py COMMAND [ARGUMENTS]    one command
       verify.py serve                  many: lib-blob.sh keeps one such process,
                                        as starting python costs a second under
                                        emulation

  truth                  make the contents to compare with, once
  check ROOT [options]   read the files and compare
      mode=read|mmap|sendfile
      readers=N          processes which begin each file at the same moment
      spread=1           each begins at another place of the file
      match=GLOB         only these names; may be repeated
      block=BYTES        of one read()
      sha=1              compare the SHA-256 with the source's list, too
      errno=EIO,ESTALE   every file must fail so; maybe=1: or be right
      timeout=SECONDS    for one file
  opens ROOT [count=N] [match=GLOB] [limit=SECONDS]
                         open, read the first byte, close
  tree ROOT              names, types, sizes, times as JSON
  tree ROOT as=FILE      compare with what that wrote to FILE; walk=0: without
                         reading directories, by FILE's names
  log ...                see storelog.py

The last line of the answer sums up. Exit status 1 if something was bad. A wrong
byte is told with its offset and, if it can be found, where it belongs; a reader
that does not come back is told with its kernel stack.
"""
import errno
import fnmatch
import hashlib
import io
import json
import mmap
import os
import select
import signal
import socket
import stat
import sys
import time

import dataset
import storelog

TRUTH = "/run/test/truth"
SLOW = float(os.environ.get("VM_SLOW", "1"))


def arguments(words, **defaults):
    """KEY=VALUE words -> an object; a default's type converts, a list collects."""
    args = dict(defaults)
    for word in words:
        key, _, value = word.partition("=")
        if key not in defaults:
            raise SystemExit(f"unknown argument {word!r}")
        if isinstance(defaults[key], list):
            args[key] = args[key] + [value]
        else:
            args[key] = type(defaults[key])(value)
    return type("Arguments", (), args)


def chosen(match):
    return [n for n in dataset.files()
            if not match or any(fnmatch.fnmatchcase(n, m) for m in match)]


class Truth:
    """All contents in one mapped file."""

    def __init__(self):
        self.places = {}
        self.size = 0
        for name, size in dataset.files().items():
            self.places[name] = (self.size, size)
            self.size += size
        with open(TRUTH, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
        self.view = memoryview(self.map)

    def origin(self, data):
        """Where these bytes are from."""
        if not data.strip(b"\0"):
            return "zeros"
        at = self.map.find(data)
        for name, (start, size) in self.places.items():
            if start <= at < start + size:
                return f"those of {name!r} at {at - start}"
        return "of no file"


class Wrong(Exception):
    pass


class Comparer:
    """Takes the bytes of one file."""

    def __init__(self, truth, name, sha, buffer):
        self.truth = truth
        self.start, self.size = truth.places[name]
        self.done = 0
        self.sha = hashlib.sha256() if sha else None
        self.buffer = buffer
        self.space = memoryview(buffer)

    def take(self, length, at):
        """The first @length bytes of the buffer are those at @at."""
        if at + length > self.size:
            raise Wrong(f"bytes beyond the end: {at + length} of {self.size}")
        want = self.truth.view[self.start + at:self.start + at + length]
        # bytearray and buffer: one memcmp
        got = self.buffer if length == len(self.buffer) else self.buffer[:length]
        if got != want:
            self.explain(bytes(got), bytes(want), at)
        if self.sha:
            self.sha.update(self.space[:length])
        self.done += length

    def explain(self, data, want, at):
        low, high = 0, len(data)
        while high - low > 1:       # the first half that differs has the first wrong byte
            mid = (low + high) // 2
            low, high = (low, mid) if data[low:mid] != want[low:mid] else (mid, high)
        block = (at + low) // 65536
        wrong = sum(a != b for a, b in zip(data[low:low + 65536], want[low:low + 65536]))
        raise Wrong(f"wrong byte at {at + low} (block {block}, {at + low - block * 65536} in it; "
                    f"{wrong} in the next 64 KiB), bytes there: {data[low:low + 16].hex()}, "
                    f"{self.truth.origin(data[low:low + 16])}; right: {want[low:low + 16].hex()}")

    def end(self, want_sha):
        if self.done != self.size:
            raise Wrong(f"{self.done} bytes, right are {self.size}")
        if self.sha and self.sha.hexdigest() != want_sha:
            raise Wrong("SHA-256 differs from the source's")


def pieces(size, first, block):
    """From @first to the end, then what is before it: (at, length)."""
    for at, end in ((first, size), (0, first)):
        while at < end:
            yield at, min(block, end - at)
            at += min(block, end - at)


def by_read(fd, size, first, comparer, block):
    for at, length in pieces(size, first, block):
        got = 0
        while got < length:
            n = os.preadv(fd, [comparer.space[got:length]], at + got)
            if not n:
                raise Wrong(f"end of file at {at + got} of {size}")
            got += n
        comparer.take(length, at)
    if os.pread(fd, 1, size):
        raise Wrong("a byte beyond the end")


def by_mmap(fd, size, first, comparer, block):
    if not size:
        return
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as mapped, \
         memoryview(mapped) as view:
        for at, length in pieces(size, first, block):
            comparer.space[:length] = view[at:at + length]
            comparer.take(length, at)


def by_sendfile(fd, size, first, comparer, block):
    a, b = socket.socketpair()
    with a, b:
        for at, length in pieces(size, first, min(block, 128 << 10)):
            got = 0
            while got < length:
                sent = os.sendfile(a.fileno(), fd, at + got, min(65536, length - got))
                if not sent:
                    raise Wrong(f"end of file at {at + got} of {size}")
                while sent:
                    n = b.recv_into(comparer.space[got:got + sent])
                    got += n
                    sent -= n
            comparer.take(length, at)


MODES = {"read": by_read, "mmap": by_mmap, "sendfile": by_sendfile}


class Reader:
    """A process which reads the files that it is told."""

    def __init__(self, number, root, args, truth, listing):
        self.number = number
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            return
        try:
            self.sock.close()
            self.serve(theirs, root, args, truth, listing)
        finally:
            os._exit(0)

    def serve(self, sock, root, args, truth, listing):
        buffer = bytearray(args.block)
        while name := sock.recv(8192).decode():
            answer = {"bytes": 0, "bad": None, "errno": None}
            try:
                comparer = Comparer(truth, name, listing and not self.number, buffer)
                answer["bytes"] = self.one(os.path.join(root, name), args, comparer)
                comparer.end(listing and listing[name]["sha256"])
            except Wrong as e:
                answer["bad"] = str(e)
            except OSError as e:
                answer["errno"] = errno.errorcode.get(e.errno, str(e.errno))
            except Exception as e:      # pylint: disable=broad-except
                answer["bad"] = repr(e)
            sock.send(json.dumps(answer).encode())

    def one(self, path, args, comparer):
        fd = os.open(path, os.O_RDONLY)
        try:
            first = 0
            if args.spread and self.number:
                first = comparer.size * self.number // args.readers & ~4095
            MODES[args.mode](fd, comparer.size, first, comparer, args.block)
            size = os.fstat(fd).st_size
            if size != comparer.size:
                raise Wrong(f"fstat says {size} bytes, right are {comparer.size}")
        finally:
            os.close(fd)
        return comparer.done

    def answer(self, timeout):
        """What it says; a string if it cannot say anything any more."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return f"no end after {timeout} s\n{kernel_stack(self.pid)}"
        text = self.sock.recv(65536)
        if text:
            return json.loads(text)
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"ended with status {os.WEXITSTATUS(status)}"


def stop(readers, hang=False):
    """End of their sockets first, as each has those of the readers before it."""
    for reader in readers:
        reader.sock.close()
    for reader in readers:
        if reader.pid and hang:
            os.kill(reader.pid, signal.SIGKILL)
        elif reader.pid:
            os.waitpid(reader.pid, 0)


def kernel_stack(pid):
    try:
        with open(f"/proc/{pid}/stack", encoding="ascii") as f:
            return f.read()
    except OSError as e:
        return str(e)


def check(root, *words):
    args = arguments(words, mode="read", readers=1, spread=0, match=[], block=128 << 10, sha=0,
                     errno="", maybe=0, timeout=60.0 * SLOW)
    truth = Truth()
    listing = storelog.host_json("dataset.json") if args.sha else None
    wanted = set(args.errno.split(",")) if args.errno else set()
    readers = [Reader(i, root, args, truth, listing) for i in range(args.readers)]
    total = bad = errors = 0
    names = chosen(args.match)
    start = time.monotonic()
    for name in names:
        for reader in readers:
            reader.sock.send(name.encode())
        for reader in readers:
            answer = reader.answer(args.timeout)
            if isinstance(answer, str):
                print(f"{name!r}: reader {reader.number}: {answer}")
                stop(readers, hang=True)
                return 1
            total += answer["bytes"]
            trouble = answer["bad"]
            if answer["errno"]:
                errors += 1
                trouble = answer["errno"] not in wanted and f"error {answer['errno']}"
            elif wanted and not trouble and not args.maybe:
                trouble = f"no error, but {args.errno} was expected"
            if trouble:
                bad += 1
                if bad <= 20:
                    print(f"{name!r}: reader {reader.number}: {trouble}")
    ms = int((time.monotonic() - start) * 1000)
    stop(readers)
    print(f"files={len(names)} bytes={total} readers={args.readers} errors={errors} "
          f"bad={bad} ms={ms}")
    return 1 if bad else 0


def opens(root, *words):
    args = arguments(words, count=1000, match=[], limit=60.0 * SLOW)
    truth = Truth()
    paths = [(os.path.join(root, n), truth.map[truth.places[n][0]])
             for n in chosen(args.match) if truth.places[n][1]]
    bad = worst = 0
    begin = time.process_time()
    start = last = time.monotonic()
    for i in range(args.count):
        path, byte = paths[i % len(paths)]
        try:
            fd = os.open(path, os.O_RDONLY)
            try:
                if os.read(fd, 1) != bytes([byte]):
                    raise Wrong("wrong first byte")
            finally:
                os.close(fd)
        except (OSError, Wrong) as e:
            bad += 1
            if bad <= 10:
                print(f"open {i}: {path}: {e}")
        now = time.monotonic()
        worst = max(worst, now - last)
        last = now
        if now - start > args.limit:
            bad += 1
            print(f"only {i + 1} opens in {args.limit:.0f} s")
            break
    # What a slow machine takes to compute does not count as waiting.
    waited = last - start - (time.process_time() - begin)
    print(f"opens={args.count} bad={bad} worst={int(worst * 1000)} ms={int((last - start) * 1000)} waited={int(waited * 1000)}")
    return 1 if bad else 0


def attributes(path, entry):
    st = os.lstat(path)
    found = {"type": oct(stat.S_IFMT(st.st_mode)), "mode": oct(stat.S_IMODE(st.st_mode)),
             "uid": st.st_uid, "gid": st.st_gid, "entry": entry}
    if not stat.S_ISDIR(st.st_mode):
        found.update(size=st.st_size, mtime=st.st_mtime_ns // 10**9)
    return found


def walk(directory, prefix, found):
    with os.scandir(directory) as entries:
        names = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    for name, is_dir in names:
        path = os.path.join(directory, name)
        found[prefix + name] = attributes(path, "directory" if is_dir else "other")
        if is_dir:
            walk(path, prefix + name + "/", found)


def tree(root, *words):
    args = arguments(words, walk=1, **{"as": ""})
    found = {}
    want = None
    if getattr(args, "as"):
        with open(getattr(args, "as"), encoding="utf-8") as f:
            want = json.load(f)
    start = time.monotonic()
    if args.walk:
        walk(root, "", found)
    else:
        for name, entry in want.items():
            found[name] = attributes(os.path.join(root, name), entry["entry"])
    ms = int((time.monotonic() - start) * 1000)
    if want is None:
        print(json.dumps(found))
        return 0
    bad = 0
    for name in sorted(found.keys() | want.keys()):
        if found.get(name) != want.get(name):
            bad += 1
            if bad <= 10:
                print(f"{name!r}: {found.get(name)}, right: {want.get(name)}")
    print(f"entries={len(found)} bad={bad} ms={ms}")
    return 1 if bad else 0


def make_truth():
    """The contents, and that they are what was uploaded."""
    with open(TRUTH, "wb") as f:
        for name in dataset.files():
            f.write(dataset.content(name))
    listing = storelog.host_json("dataset.json", 60)
    truth = Truth()
    if {n: p["size"] for n, p in listing.items()} != {n: p[1] for n, p in truth.places.items()}:
        print("the host has other files")
        return 1
    print(f"files={len(listing)} bytes={truth.size}")
    return 0


COMMANDS = {"truth": make_truth, "check": check, "opens": opens, "tree": tree,
            "log": storelog.run}


def command(words):
    """Return: exit status."""
    try:
        return COMMANDS[words[0]](*words[1:])
    except (SystemExit, TypeError, KeyError, ValueError, OSError) as e:
        print(f"{words}: {e!r}")
        return 2


def serve():
    """Each line a command, its words separated by tabs. Answer: lines, then "@STATUS"."""
    out = sys.stdout
    for line in sys.stdin:
        sys.stdout = text = io.StringIO()
        status = command(line.rstrip("\n").split("\t"))
        sys.stdout = out
        out.write(f"{text.getvalue().strip()}\n@{status}\n")
        out.flush()
    return 0


def main():
    if sys.argv[1:] == ["serve"]:
        sys.exit(serve())
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    sys.exit(command(sys.argv[1:]))


if __name__ == "__main__":
    main()
