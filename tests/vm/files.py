# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a store, and whether a mount over it shows their bytes.

    files = files.Files(STORE, TARGET)
    files.put(["a", "b"])
    t.same(files.wrong(["a", "b"]), [], "all is right")
"""
import errno
import hashlib
import os

import vmtest as t

SIZE = 3 * (64 << 10) + 1000
ROOM = 4 * (64 << 10)           # what one takes of a tier


class Files:
    def __init__(self, store, target):
        self.store, self.target = store, target
        self.sums = {}

    def put(self, names, length=SIZE):
        for name in names:
            data = os.urandom(length)
            with open(f"{self.store}/{name}", "wb") as f:
                f.write(data)
            self.sums[name] = hashlib.sha256(data).digest()

    def is_right(self, name):
        with open(f"{self.target}/{name}", "rb") as f:
            return hashlib.sha256(f.read()).digest() == self.sums[name]

    def _fault(self, name):
        try:
            return None if self.is_right(name) else name
        except OSError as e:
            return f"{name}: {errno.errorcode.get(e.errno)}"

    def wrong(self, names=None):
        """Of these, or all, read anew, which have not their bytes."""
        t.drop_caches(3)
        bad = [fault for fault in map(self._fault, list(self.sums) if names is None else names) if fault]
        t.settled()
        return bad

    def size(self, names):
        return sum(os.path.getsize(f"{self.store}/{n}") for n in names)
