#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's part of tools/demo: a Blob mount, read without and with blobcache.

usage: demo.py azure|file

  azure  rclone mounts a container of Azurite, which runs on the host
  file   rclone mounts a local directory, and the store is that directory

Each pass opens, reads and closes every file once, one after the other. Timed is
just that; the SHA-256 of what was read is computed after each file, outside of the
time taken, and compared with the one of the file's contents before it went to the
store. A wrong file ends the demo.

Where the bytes came from is told by the module's counters, before and after a pass:
Blob is fetch_bytes, lower is lower_bytes; NVMe is what the module was asked for
beyond these; page cache is the rest of what was read, for which it was not asked.
"""
import json
import mmap
import os
import signal
import subprocess
import sys
import time

import demo_data    # beside this file
import storelog
import vmtest as t

LOWER = "/mnt/data"
SOURCE = "/data/source"
MIB = 1 << 20
PAGE = 4096
COLOUR = os.environ.get("DEMO_COLOUR") == "1"


def bold(text):
    return f"\033[1m{text}\033[0m" if COLOUR else text


def green(text):
    return f"\033[32m{text}\033[0m" if COLOUR else text


def say(text=""):
    print(text, flush=True)


def title(text):
    say()
    say(bold(text))


def fail(text):
    say(f"demo: {text}")
    sys.exit(1)


def shell(*words, show=None, quiet=False):
    """A command as a user types it, and what it says."""
    say("  $ " + (show or " ".join(words)))
    p = t.run(*words)
    if not quiet or p.returncode:
        for line in p.stdout.splitlines():
            say("    " + line)
    if p.returncode:
        fail(f"{words[0]} failed with status {p.returncode}")


class Listing:
    """What is to be read, and what it must be."""

    def __init__(self, listing):
        self.files = listing
        self.bytes = sum(f["size"] for f in listing.values())
        # As the page cache counts.
        self.in_pages = sum(-(-f["size"] // PAGE) * PAGE for f in listing.values())
        shards = [f["size"] for n, f in listing.items() if n.startswith("shards/")]
        self.shard_bytes = sum(shards)
        self.shards = len(shards)
        self.small = len(listing) - self.shards


class Pass:
    """One reading of everything."""

    # One for all passes: a fresh buffer would be paged in while the time runs.
    buffer = None

    def __init__(self, name, listing):
        self.name = name
        self.listing = listing
        self.shard_time = self.small_time = 0.0
        self.came_from = None
        if not Pass.buffer:
            Pass.buffer = mmap.mmap(-1, max(f["size"] for f in listing.files.values()) + 1)
            for at in range(0, len(Pass.buffer), PAGE):
                Pass.buffer[at] = 1
        self.view = memoryview(Pass.buffer)

    def read(self, path):
        """Open, read all, close. Returns bytes and seconds."""
        got = 0
        start = time.monotonic()
        fd = os.open(path, os.O_RDONLY)
        while n := os.readv(fd, [self.view[got:got + MIB]]):
            got += n
        os.close(fd)
        return got, time.monotonic() - start

    def run(self):
        done, told = 0, time.monotonic()
        for name, want in self.listing.files.items():
            if time.monotonic() > told + 20:
                told = time.monotonic()
                say(f"    {self.name}: {done >> 20} of {self.listing.bytes >> 20} MiB")
            try:
                got, seconds = self.read(os.path.join(LOWER, name))
            except OSError as e:
                fail(f"{name}: {e.strerror}")
            done += got
            if got != want["size"]:
                fail(f"{name}: {got} bytes were read, right are {want['size']}")
            if demo_data.sha256(self.view[:got]) != want["sha256"]:
                fail(f"{name}: wrong bytes: the SHA-256 is not that of what was stored")
            if name.startswith("shards/"):
                self.shard_time += seconds
            else:
                self.small_time += seconds
        say(f"  {self.name}: {self.listing.bytes >> 20} MiB in {self.time:.1f} s, "
            + green("every SHA-256 is right"))
        return self

    @property
    def time(self):
        return self.shard_time + self.small_time

    def counted(self):
        """Run, and tell where the bytes came from."""
        before = t.cachectl("stats")
        self.run()
        after = t.cachectl("stats")
        grew = {name: after[name] - before[name] for name in after}
        asked = grew["hit_bytes"] + grew["miss_bytes"]
        blob, lower = grew["fetch_bytes"], grew["lower_bytes"]
        # What the module was asked for is in whole pages.
        cached = min(max(self.listing.in_pages - asked, 0), self.listing.bytes)
        self.came_from = (cached, max(self.listing.bytes - cached - blob - lower, 0), blob, lower)
        return self


def azure_listing():
    """Waits for the upload."""
    last, told = None, 0
    while True:
        status, body = storelog.http_get(os.environ["HOST_LOGS"] + "/demo.json")
        if status == 200:
            return Listing(json.loads(body))
        status, body = storelog.http_get(os.environ["HOST_LOGS"] + "/demo.progress")
        if status == 200 and body != last and time.monotonic() > told + 5:
            say("  uploaded to Azurite: " + body.strip())
            last, told = body, time.monotonic()
        time.sleep(0.5)


def azure():
    """(listing, what rclone mounts, its environment, source, configuration)"""
    env = os.environ
    with open("/run/test/key", "w", opener=lambda p, f: os.open(p, f, 0o600),
              encoding="ascii") as f:
        f.write(env["AZURITE_KEY"] + "\n")
    volume = {"source": env["AZ_SOURCE"], "scheme": "http",
              "auth": {"type": "shared-key", "account": env["AZURITE_ACCOUNT"],
                       "key_file": "/run/test/key"}}
    rclone = {"RCLONE_CONFIG_AZ_TYPE": "azureblob", "RCLONE_CONFIG_AZ_SAS_URL": env["AZ_SAS_URL"]}
    return azure_listing(), "az:" + env["AZ_CONTAINER"], rclone, volume


def local():
    """The same for STORE=file."""
    disk = t.disk("source")
    os.makedirs(SOURCE)
    for argv in (["mke2fs", "-q", "-t", "ext4", disk], ["mount", disk, SOURCE]):
        p = t.run(*argv)
        if p.returncode:
            fail(p.stdout)
    listing = {}
    for name, size in demo_data.files(int(os.environ["DEMO_MIB"])).items():
        path = os.path.join(SOURCE, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = demo_data.content(name, size)
        with open(path, "wb") as f:
            f.write(data)
        listing[name] = {"size": size, "sha256": demo_data.sha256(data)}
    os.sync()
    return Listing(listing), SOURCE, {}, {"source": "file://" + SOURCE}


def mount_lower(remote, env):
    say(f"  $ rclone mount {remote} {LOWER} --read-only &")
    os.makedirs(LOWER, exist_ok=True)
    with open("/run/test/rclone.log", "wb") as log:
        rclone = subprocess.Popen(["rclone", "mount", remote, LOWER, "--config", "/dev/null",
                                   "--read-only"], env={**os.environ, **env},
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if not t.wait_for(lambda: os.path.ismount(LOWER), 60, "rclone mounts"):
        with open("/run/test/rclone.log", encoding="utf-8", errors="replace") as f:
            fail(f.read())
    return rclone


def start_daemon(volume):
    say("  $ blobcached --config /etc/blobcache/blobcached.json &")
    daemon = t.Daemon({"volumes": [volume]})
    if not daemon.start(lambda pid: t.cachectl("status")["daemon"].get("pid") == pid):
        fail("blobcached did not start")
    return daemon


def table(store, listing, passes):
    """The result. Sizes in MiB; a source that gave nothing is a dash."""
    first = passes[0]
    head = ("", "shards", "small files", "all", "ratio", "page cache", "NVMe", store, "lower")
    rows = []
    for p in passes:
        came = [f"{b / MIB:.0f} MiB" if b >= MIB / 2 else "-" for b in p.came_from]
        rows.append((p.name, f"{listing.shard_bytes / MIB / p.shard_time:.0f} MiB/s",
                     f"{listing.small / p.small_time:.0f} /s", f"{p.time:.2f} s",
                     f"{first.time / p.time:.1f}x", *came))
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row):
        return "  ".join([row[0].ljust(widths[0])]
                         + [row[i].rjust(widths[i]) for i in range(1, len(row))])

    say("  " + bold(line(head)))
    for row in rows:
        say("  " + line(row))
    say()
    say("  One reader, one file after the other; open, read and close are timed. Behind the ratio:")
    say(f"  where the bytes came from. {store}: fetched by blobcached; lower: read through rclone.")


def main():
    store = sys.argv[1]
    title("A Blob mount" if store == "azure" else "A FUSE mount of a local directory")
    listing, remote, env, volume = azure() if store == "azure" else local()
    say(f"  {listing.shards} shards with {listing.shard_bytes >> 20} MiB, {listing.small} small "
        f"files with {(listing.bytes - listing.shard_bytes) >> 20} MiB")
    rclone = mount_lower(remote, env)
    passes = [Pass("rclone alone", listing).run()]
    # All through the lower mount; the module is not even loaded.
    passes[0].came_from = (0, 0, 0, listing.bytes)

    title("blobcache over it, at the same path")
    t.load_module()
    disk = t.disk("data")
    shell("cachectl", "device", "format", "--yes", disk)
    shell("cachectl", "device", "attach", disk)
    daemon = start_daemon(volume)
    # rclone itself takes up to 5 minutes to see that a blob has changed.
    shell("cachectl", "mount", "attach", "--read-only", "-o", "ttl=5m", "--source",
          volume["source"], LOWER)

    passes.append(Pass("blobcache, cold", listing).counted())
    t.drop_caches(1)
    passes.append(Pass("warm, page cache dropped", listing).counted())
    passes.append(Pass("warm, page cache kept", listing).counted())

    title("The daemon is killed, rclone frozen, the page cache dropped")
    say(f"  $ kill -KILL {daemon.pid}                          # blobcached")
    say(f"  $ kill -STOP {rclone.pid}                          # rclone")
    say("  $ echo 1 >/proc/sys/vm/drop_caches")
    daemon.kill(signal.SIGKILL)
    daemon.process.wait()
    rclone.send_signal(signal.SIGSTOP)
    t.drop_caches(1)
    passes.append(Pass("daemon killed, rclone frozen", listing).counted())

    title("How fast, and where the bytes came from")
    table("Blob" if store == "azure" else "store", listing, passes)
    title("What cachectl says now")
    shell("cachectl", "status")
    sys.stdout.flush()
    # Nothing here needs to end in order, and no destructor shall wait for rclone.
    os._exit(0)


if __name__ == "__main__":
    main()
