#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's upload (daemon/upload/) against Azurite, with a proxy between the two that
does harm (tests/lib/fault_proxy.py). What each test guards is its first line; what all of
them do: nothing is lost, nothing is there twice, nobody else's version is written over.

AZURITE_JS names Azurite's main.js, as tests/lib/azurite prints it; skipped without.
SEED and KILLS: of the test that kills the program; SEED is told.
"""
import base64
import hashlib
import hmac
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import blob as emulator                 # noqa: E402
import fault_proxy as harm              # noqa: E402

PROGRAM = os.path.join(TOP, "build", "unit", "upload_file")
MIB = 1 << 20
GENERATION = bytes(range(16)).hex()
OTHER = bytes(range(100, 116)).hex()
KILLS = int(os.environ.get("KILLS") or 25)
LIMIT = 120 + 3 * KILLS                 # seconds; no test waits for it


class Failed(Exception):
    """What a test expected is not so."""


def need(condition, text):
    """An assertion."""
    if not condition:
        raise Failed(text)


def too_long(_signal, _frame):
    """A test that hangs has failed."""
    raise Failed(f"not done after {LIMIT} s")


class Run:
    """One run of the program."""

    all = []

    def __init__(self, command, source):
        self.lines = []
        self.out = {}
        self.process = subprocess.Popen(command + source, stdin=subprocess.PIPE, text=True, bufsize=1,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        Run.all.append(self.process)

    def read_until(self, pattern):
        """Reads lines until one matches; returns it."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return self.lines[-1]
        raise Failed(f"no '{pattern}' in: " + " | ".join(self.lines))

    def say(self, command):
        """Gives it a command, and waits until it was heard."""
        self.process.stdin.write(command + "\n")
        self.read_until("^ok$")

    def wait(self):
        """Until it ends: fields of the line that tells how."""
        end = self.read_until("^end ")
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
        self.process.stdin.close()
        status = self.process.wait(LIMIT)
        need(0 < status < 10, f"status {status}: " + " | ".join(self.lines))
        self.out = dict(re.findall(r"(\w+)=(\S*)", end))
        self.out["end"] = end.split()[1]
        self.out["text"] = end.partition("text=")[2]
        self.out["troubles"] = [line.split()[1] for line in self.lines if line.startswith("trouble")]
        return self.out


class Bench:
    """The emulator, the proxy, and files to upload."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="test_upload.")
        self.emulator = None
        self.count = 0
        self.files = {}

    def start(self):
        """Starts the emulator."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.emulator = subprocess.Popen(
            ["node", os.environ["AZURITE_JS"], "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent",
             "--disableTelemetry", "--inMemoryPersistence"], stdout=subprocess.DEVNULL)
        self.store = emulator.Blob(port, "data")
        need(self.store.create(), "no container")
        self.proxy = harm.Proxy(port)

    def stop(self):
        """Ends what was started."""
        if self.emulator:
            self.emulator.kill()
            self.emulator.wait()
        shutil.rmtree(self.directory)

    def name(self):
        """Of a blob that no other test has."""
        self.count += 1
        return f"ckpt/step-{self.count}/model shard+{self.count}.pt"

    def file(self, size, seed=0):
        """A file of that size. Returns (path, content)."""
        if (size, seed) not in self.files:
            path = os.path.join(self.directory, f"{size}-{seed}")
            content = random.Random(f"{size} {seed}").randbytes(size)
            with open(path, "wb") as file:
                file.write(content)
            os.utime(path, (1700000000, 1700000000))
            self.files[size, seed] = path, content
        return self.files[size, seed]

    def begin(self, path, name, *options, key=emulator.KEY, port=None, generation=GENERATION):
        """Starts an upload."""
        source = f"azure://127.0.0.1:{port or self.proxy.port}/{emulator.ACCOUNT}/data"
        keys = ["--key", key] if key else []
        return Run([PROGRAM, "--source", source, "--generation", generation, *keys, *options], [path, name])

    def upload(self, path, name, *options, **more):
        """Does an upload. Returns how it ended."""
        return self.begin(path, name, *options, **more).wait()

    def check(self, name, content, generation=GENERATION, cut=1, checksum=False):
        """The blob is that content, whole, of that writer."""
        head = self.store.head(name)
        need(head, f"{name} is not there")
        got = self.store.get(name)
        need(got == content, f"{name}: {len(got)} bytes that are not the file's {len(content)}")
        need(head.get("x-ms-meta-bcgeneration") == generation, f"{name}: another generation")
        need(head.get("x-ms-meta-bccut") == str(cut), f"{name}: cut {head.get('x-ms-meta-bccut')}")
        got = head.get("x-ms-meta-bccrc32c", "")
        need(re.fullmatch("[0-9a-f]{8}", got), f"{name}: no whole-blob checksum")
        need(not checksum or got == f"{crc32c(content):08x}", f"{name}: another whole-blob checksum")
        return head


def crc_table():
    """Of CRC-32C."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc_table()
SUMS = {}


def crc32c(content):
    """Slow, and nothing of it is the program's."""
    key = hashlib.sha256(content).digest()
    if key not in SUMS:
        crc = 0xffffffff
        for byte in content:
            crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
        SUMS[key] = crc ^ 0xffffffff
    return SUMS[key]


bench = Bench()
TWO = 8 * MIB + 100001                  # two blocks
FIVE = 32 * MIB + 5


def test_plain():
    """a file is a blob: its bytes, its checksum, its writer; mode and mtime if asked for"""
    for size in (0, 1, 65536, 8 * MIB, TWO):
        name = bench.name()
        path, content = bench.file(size)
        os.chmod(path, 0o640)
        end = bench.upload(path, name, "--attributes")
        need(end["end"] == "committed" and end["etag"], str(end))
        head = bench.check(name, content, checksum=True)
        need(head["etag"].strip('"') == end["etag"], "another ETag")
        need(head["x-ms-meta-bcmode"] == "0640", "mode")
        need(head["x-ms-meta-bcmtime"] == "1700000000.000000000", "mtime")
        need(head["x-ms-meta-bcnode"] == "n1", "node")


def test_fresh():
    """a file that was never begun costs a request per block and a commit"""
    name = bench.name()
    path, content = bench.file(TWO)
    end = bench.upload(path, name, "--fresh")
    need(end["end"] == "committed", str(end))
    bench.check(name, content)
    need([kind for kind, _ in bench.proxy.log] == ["stage", "stage", "commit"], str(bench.proxy.log))


def test_bounds():
    """whatever the bounds of memory, blocks and threads are, all of it arrives"""
    path, content = bench.file(FIVE)
    for options in (["--memory", "1"], ["--blocks", "1", "--threads", "0"], ["--blocks", "3", "--threads", "16"],
                    ["--memory", str(16 * MIB), "--threads", "1"]):
        name = bench.name()
        need(bench.upload(path, name, *options)["end"] == "committed", str(options))
        bench.check(name, content)


def test_nothing_before_commit():
    """nothing shows before the commit, and what was staged is not sent again"""
    name = bench.name()
    path, content = bench.file(TWO)
    end = bench.upload(path, name, "--stage-only")
    need(end["end"] == "staged" and end["reused"] == "0", str(end))
    need(bench.store.head(name) is None, "it shows")
    bench.proxy.clear()
    end = bench.upload(path, name)
    need(end["end"] == "committed" and int(end["reused"]) == len(content), str(end))
    need(bench.proxy.count("stage") == 0, "sent again")
    bench.check(name, content, checksum=True)


def change(path, offset, text):
    """Writes to a copy of a file, in place. Returns (path, content)."""
    new = path + ".new"
    shutil.copyfile(path, new)
    with open(new, "r+b") as file:
        file.seek(offset)
        file.write(text)
        file.seek(0)
        return new, file.read()


def test_rewritten():
    """of a file rewritten in place only blocks that changed are sent"""
    name = bench.name()
    path, content = bench.file(FIVE)
    first = bench.upload(path, name)
    bench.proxy.clear()
    new, content = change(path, 20 * MIB, b"changed")
    end = bench.upload(new, name, "--cut", "2", "--base", first["etag"])
    need(end["end"] == "committed", str(end))
    need(bench.proxy.count("stage") == 1, f"{bench.proxy.count('stage')} blocks sent")
    bench.check(name, content, cut=2)


def test_changed_after_staging():
    """what was staged and changed since is staged anew: never old bytes in a new version"""
    name = bench.name()
    path, content = bench.file(FIVE)
    bench.upload(path, name, "--stage-only")
    bench.proxy.clear()
    new, content = change(path, 8 * MIB - 3, b"crosses")
    need(bench.upload(new, name, "--cut", "2")["end"] == "committed", "not committed")
    need(bench.proxy.count("stage") == 2, f"{bench.proxy.count('stage')} blocks sent")
    bench.check(name, content, cut=2)


def test_written_to_meanwhile():
    """a file that is written to during its upload is not committed"""
    path, content = bench.file(TWO)
    new, _ = change(path, 0, b"1")
    name = bench.name()

    def write():
        with open(new, "r+b") as file:
            file.write(b"2")
    bench.proxy.rule("stage", harm.first(write))
    end = bench.upload(new, name, "--blocks", "1")
    need(end["end"] == "stale", str(end))
    need(bench.store.head(name) is None, "committed")


def test_resets():
    """connections that break, before the store hears of it or after, cost a retry"""
    for fault in (harm.reset_before, harm.lose_reply, harm.truncate):
        for kind in ("head", "blocks", "stage", "commit"):
            if fault is harm.truncate and kind in ("head", "blocks"):
                continue
            name = bench.name()
            path, content = bench.file(TWO)
            bench.proxy.clear()
            bench.proxy.rule(kind, fault)
            end = bench.upload(path, name)
            need(end["end"] == "committed", f"{fault.__name__} {kind}: {end}")
            need(not bench.proxy.unused(), "no fault came")
            bench.check(name, content)


def test_broken_replies():
    """a block list that is cut off or damaged is not believed"""
    for fault in (harm.truncate_reply, harm.corrupt_reply):
        name = bench.name()
        path, content = bench.file(TWO)
        bench.upload(path, name, "--stage-only")
        bench.proxy.clear()
        bench.proxy.rule("blocks", fault)
        end = bench.upload(path, name)
        need(end["end"] == "committed", f"{fault.__name__}: {end}")
        need(not bench.proxy.unused(), "no fault came")
        bench.check(name, content)


def test_corrupt():
    """bytes that arrive damaged are refused by the store, and sent again"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.proxy.rule("stage", harm.corrupt, times=3)
    bench.proxy.rule("commit", harm.corrupt)
    end = bench.upload(path, name)
    need(end["end"] == "committed" and "damaged" in end["troubles"], str(end))
    need(not bench.proxy.unused(), "no fault came")
    bench.check(name, content)


def test_storm():
    """a storm of 503 is waited out, as long as the store says, with fewer blocks at once"""
    name = bench.name()
    path, content = bench.file(FIVE)
    bench.proxy.rule("", harm.says(503, "ServerBusy", x_ms_retry_after_ms="30"), times=25)
    end = bench.upload(path, name)
    need(end["end"] == "committed" and "busy" in end["troubles"], str(end))
    need(not bench.proxy.unused(), "no fault came")
    bench.check(name, content)


def test_retry_after():
    """Retry-After is heeded"""
    name = bench.name()
    path, content = bench.file(1)
    bench.proxy.rule("stage", harm.says(503, "ServerBusy", Retry_After="1"))
    begin = time.monotonic()
    end = bench.upload(path, name)
    need(end["end"] == "committed", str(end))
    need(time.monotonic() - begin >= 1, "too early")
    bench.check(name, content)


def test_errors():
    """500 and the like, in the head or in the body, on each kind of request"""
    for kind in ("head", "blocks", "stage", "commit"):
        name = bench.name()
        path, content = bench.file(TWO)
        bench.proxy.clear()
        bench.proxy.rule(kind, harm.says(500, "OperationTimedOut"))
        bench.proxy.rule(kind, harm.says_in_body(500, "InternalError"))
        end = bench.upload(path, name)
        need(end["end"] == "committed", f"{kind}: {end}")
        need(not bench.proxy.unused(), "no fault came")
        bench.check(name, content)


def test_silence():
    """a store that does not answer is given up after the stall time, and asked again"""
    for kind in ("stage", "commit"):
        name = bench.name()
        path, content = bench.file(1)
        bench.proxy.clear()
        bench.proxy.rule(kind, harm.silence)
        end = bench.upload(path, name, "--stall", "1500")
        need(end["end"] == "committed" and "network" in end["troubles"], str(end))
        bench.check(name, content)


def test_lost_commit():
    """a commit whose reply is lost is found to be done, and not done twice"""
    versions = []

    def lose(exchange):
        versions.append(dict(exchange.ask()[2])["etag"].strip('"'))
        return exchange.reset()
    name = bench.name()
    path, content = bench.file(TWO)
    bench.proxy.rule("commit", lose)
    end = bench.upload(path, name)
    need(end["end"] == "committed" and end["etag"] == versions[0], f"{end} {versions}")
    need(bench.check(name, content)["etag"].strip('"') == versions[0], "another version")
    # And so in place.
    bench.proxy.clear()
    new, content = change(path, 5, b"x")
    bench.proxy.rule("commit", lose)
    end = bench.upload(new, name, "--cut", "2", "--base", end["etag"])
    need(end["end"] == "committed" and end["etag"] == versions[1], f"{end} {versions}")
    need(bench.check(name, content, cut=2)["etag"].strip('"') == versions[1], "another version")


def test_done_before():
    """who comes again for a cut that was committed does nothing"""
    name = bench.name()
    path, content = bench.file(TWO)
    first = bench.upload(path, name)
    bench.proxy.clear()
    end = bench.upload(path, name)
    need(end["end"] == "committed" and end["etag"] == first["etag"], str(end))
    need(bench.proxy.count("stage") + bench.proxy.count("commit") == 0, "sent again")
    # Without looking first, too.
    end = bench.upload(path, name, "--fresh")
    need(end["end"] == "committed" and end["etag"] == first["etag"], str(end))
    bench.check(name, content)


def test_lower_cut():
    """409 or 412 with our generation and a lower cut: committed on top of it"""
    for option in ([], ["--base", "0x8DC000000000000"], ["--fresh"]):
        name = bench.name()
        path, _ = bench.file(TWO)
        bench.upload(path, name)
        new, content = change(path, 5, b"x")
        end = bench.upload(new, name, "--cut", "2", *option)
        need(end["end"] == "committed", str(end))
        bench.check(name, content, cut=2)


def test_higher_cut():
    """an older cut is never committed over a later one of the same file"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.upload(path, name, "--cut", "7")
    for option in ([], ["--fresh"]):
        need(bench.upload(path, name, "--cut", "6", *option)["end"] == "superseded", "not superseded")
    bench.check(name, content, cut=7)


def test_renamed_over():
    """a file of ours that was renamed over another of ours replaces it, that one only"""
    name = bench.name()
    path, _ = bench.file(TWO)
    bench.upload(path, name, generation=OTHER)
    new, content = change(path, 5, b"x")
    end = bench.upload(new, name, "--no-aside")
    need(end["end"] == "conflict", str(end))
    end = bench.upload(new, name, "--over", OTHER)
    need(end["end"] == "committed", str(end))
    bench.check(name, content)


def conflict_name(name):
    """Of what is kept aside."""
    return f"{name}.conflict-n1-20231114T221320Z"


def expect_conflict(name, content, end, theirs):
    """Both versions are there."""
    need(end["end"] == "conflict", str(end))
    need(bench.store.get(name) == theirs, "somebody else's version was written over")
    bench.check(conflict_name(name), content)


def test_conflict():
    """somebody else's version stays; ours is kept aside; twice is not two copies"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.store.put(name, b"theirs")
    for option in ([], ["--fresh"], ["--base", "0x8DC000000000000"]):
        end = bench.upload(path, name, *option)
        expect_conflict(name, content, end, b"theirs")
    copies = [n for n in bench.store.names() if n.startswith(name)]
    need(copies == sorted([name, conflict_name(name)]), str(copies))
    end = bench.upload(path, name, "--no-aside")
    need(end["end"] == "conflict", str(end))


def test_conflict_late():
    """somebody who writes between our last look and our commit is found out by 412"""
    for base in (False, True):
        name = bench.name()
        path, content = bench.file(TWO)
        option = []
        if base:
            bench.store.put(name, b"base")
            option = ["--base", bench.store.head(name)["etag"].strip('"')]
        bench.proxy.clear()
        bench.proxy.rule("commit", harm.first(lambda n=name: bench.store.put(n, b"theirs")))
        end = bench.upload(path, name, *option)
        expect_conflict(name, content, end, b"theirs")
        # The name is a copy's of another file already: another one is found.
        end = bench.upload(path, name, generation=OTHER)
        need(end["end"] == "conflict", str(end))
        bench.check(conflict_name(name) + "-2", content, generation=OTHER)
        bench.check(conflict_name(name), content)


def test_conflict_lost():
    """a lost reply to the commit of what is kept aside makes no second copy"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.store.put(name, b"theirs")
    bench.proxy.rule("commit", harm.lose_reply)
    expect_conflict(name, content, bench.upload(path, name), b"theirs")
    need(sum(n.startswith(name) for n in bench.store.names()) == 2, "a second copy")


def test_replace():
    """to replace whatever is there means what is there at the beginning"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.store.put(name, b"old")
    need(bench.upload(path, name, "--replace")["end"] == "committed", "not committed")
    bench.check(name, content)
    name = bench.name()
    bench.store.put(name, b"old")
    bench.proxy.clear()
    bench.proxy.rule("commit", harm.first(lambda: bench.store.put(name, b"theirs")))
    expect_conflict(name, content, bench.upload(path, name, "--replace"), b"theirs")


def test_deleted():
    """a blob that somebody deleted meanwhile is there again, with all blocks"""
    name = bench.name()
    path, _ = bench.file(FIVE)
    first = bench.upload(path, name)
    new, content = change(path, 5, b"x")
    bench.proxy.clear()
    bench.proxy.rule("commit", harm.first(lambda: bench.store.request("DELETE", name)))
    end = bench.upload(new, name, "--cut", "2", "--base", first["etag"])
    need(end["end"] == "committed", str(end))
    bench.check(name, content, cut=2)


def drop_blocks(name):
    """A foreign commit that goes again: what was staged is dropped."""
    status = bench.store.request("PUT", name, "comp=blocklist", b"<BlockList></BlockList>")[0]
    need(status == 201, f"a foreign commit: {status}")
    bench.store.request("DELETE", name)


def test_dropped_blocks():
    """InvalidBlockList: what went missing is staged again, a bounded number of times"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.proxy.rule("commit", harm.first(lambda: drop_blocks(name)), times=3)
    end = bench.upload(path, name)
    need(end["end"] == "committed" and not bench.proxy.unused(), str(end))
    bench.check(name, content)
    # For ever: then somebody is told, and it waits.
    name = bench.name()
    bench.proxy.clear()
    bench.proxy.rule("commit", harm.first(lambda: drop_blocks(name)), times=1000)
    run = bench.begin(path, name)
    run.read_until("^trouble rival")
    need(bench.proxy.count("commit") >= 6, f"{bench.proxy.count('commit')} commits")
    bench.proxy.clear()
    need(run.wait()["end"] == "committed", "lost")
    bench.check(name, content)


def test_foreign_blocks():
    """somebody's staged blocks are reported and never cleared; after them ours go in"""
    name = bench.name()
    path, content = bench.file(TWO)
    theirs = base64.b64encode(b"short").decode()
    query = "comp=block&blockid=" + urllib.parse.quote(theirs, safe="")
    need(bench.store.request("PUT", name, query, b"theirs")[0] == 201, "stage")
    for option in ([], ["--fresh"]):
        run = bench.begin(path, name, *option)
        run.read_until("^trouble foreign-blocks")
        listed = bench.store.request("GET", name, "comp=blocklist&blocklisttype=all")[2].decode()
        need(theirs in listed, "their block is gone")
        if option:
            need(bench.store.request("DELETE", name)[0] in (202, 404), "delete")
            drop_blocks(name)
            need(run.wait()["end"] == "committed", "lost")
        else:
            run.say("cancel")
            need(run.wait()["end"] == "cancelled", "not cancelled")
    bench.check(name, content)


def sas(seconds):
    """A SAS of the container that expires then."""
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    fields = ["racwdl", "", end, f"/blob/{emulator.ACCOUNT}/data", "", "", "", "2020-12-06", "c", "", "", "", "", "",
              "", ""]
    mac = hmac.new(base64.b64decode(emulator.KEY), "\n".join(fields).encode(), hashlib.sha256).digest()
    return urllib.parse.urlencode({"sv": "2020-12-06", "sr": "c", "sp": "racwdl", "se": end,
                                   "sig": base64.b64encode(mac).decode()})


def test_denied():
    """401 and 403 while dirty: kept, tried again, told; new credentials are used, no secret is said"""
    name = bench.name()
    path, content = bench.file(TWO)
    expired = sas(-60)
    run = bench.begin(path, name, key=expired)
    run.read_until("^trouble denied")
    good = sas(3600)
    run.say("key " + good)
    need(run.wait()["end"] == "committed", "lost")
    bench.check(name, content)
    for secret in (expired, good, emulator.KEY):
        part = secret.partition("sig=")[2] or secret
        need(not any(part in line for line in run.lines), "a secret is told")
    # In the middle.
    for status, kind in ((401, "stage"), (403, "stage"), (403, "commit")):
        name = bench.name()
        bench.proxy.clear()
        bench.proxy.rule(kind, harm.says(status, "AuthenticationFailed"), times=3)
        end = bench.upload(path, name)
        need(end["end"] == "committed" and "denied" in end["troubles"], str(end))
        bench.check(name, content)
    end = bench.upload(path, bench.name(), "--give-up", "50", "--fresh", key=None)
    need(end["end"] == "failed" and "anonymous" in end["text"], str(end))


def test_lease():
    """a lease of somebody is reported, and waited for"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.store.put(name, b"base")
    etag = bench.store.head(name)["etag"].strip('"')
    status = bench.store.request("PUT", name, "comp=lease", x_ms_lease_action="acquire", x_ms_lease_duration="-1")[0]
    need(status == 201, "lease")
    run = bench.begin(path, name, "--base", etag)
    run.read_until("^trouble leased")
    need(bench.store.get(name) == b"base", "written over")
    bench.store.request("PUT", name, "comp=lease", x_ms_lease_action="break", x_ms_lease_break_period="0")
    need(run.wait()["end"] == "committed", "lost")
    bench.check(name, content)


def test_no_container():
    """404 of the container: kept, tried again, told; a version in it is not thought to be gone"""
    for kind in ("head", "blocks", "stage", "commit"):
        name = bench.name()
        path, content = bench.file(TWO)
        bench.store.put(name, b"base")
        etag = bench.store.head(name)["etag"].strip('"')
        bench.proxy.clear()
        bench.proxy.rule(kind, harm.says(404, "ContainerNotFound"), times=2)
        end = bench.upload(path, name, "--base", etag)
        need(end["end"] == "committed" and "gone" in end["troubles"], f"{kind}: {end}")
        need(not bench.proxy.unused(), "no fault came")
        bench.check(name, content)


def test_refused():
    """what the store refuses without our knowing why is looked at, kept, and told"""
    name = bench.name()
    path, content = bench.file(TWO)
    bench.proxy.rule("commit", harm.says(409, "BlobImmutableDueToPolicy"), times=2)
    bench.proxy.rule("stage", harm.says(413, "RequestBodyTooLarge"))
    end = bench.upload(path, name)
    need(end["end"] == "committed" and "refused" in end["troubles"], str(end))
    bench.check(name, content)
    # A blob of another kind is somebody else's.
    name = bench.name()
    status = bench.store.request("PUT", name, x_ms_blob_type="AppendBlob")[0]
    need(status == 201, "append blob")
    for option in ([], ["--fresh"]):
        expect_conflict(name, content, bench.upload(path, name, *option), b"")


def test_give_up():
    """who does not want to wait for ever is told why it failed, and goes on later"""
    name = bench.name()
    path, content = bench.file(FIVE)
    bench.proxy.rule("stage", harm.reset_before, after=2, times=1000)
    end = bench.upload(path, name, "--give-up", "300", "--blocks", "1")
    need(end["end"] == "failed" and end["text"].strip(), str(end))
    bench.proxy.clear()
    end = bench.upload(path, name)
    need(end["end"] == "committed" and bench.proxy.count("stage") == 3, str(end))
    bench.check(name, content)


def test_pause():
    """paused it begins nothing; blocks under way end; resumed it goes on; cancelled it is gone"""
    name = bench.name()
    path, content = bench.file(FIVE)
    here, go = threading.Event(), threading.Event()

    def hold():
        here.set()
        need(go.wait(LIMIT), "held for ever")
    bench.proxy.rule("stage", harm.first(hold), after=1)
    run = bench.begin(path, name, "--blocks", "1")
    need(here.wait(LIMIT), "no second block")
    run.say("pause")
    go.set()
    run.read_until(f"progress {16 * MIB}/")
    # It has heard of the end of the second block, and answers: nothing was begun since.
    run.say("pause")
    need(bench.proxy.count("stage") == 2, f"{bench.proxy.count('stage')} blocks")
    run.say("resume")
    need(run.wait()["end"] == "committed", "lost")
    bench.check(name, content)
    name = bench.name()
    here.clear()
    go.clear()
    bench.proxy.clear()
    bench.proxy.rule("commit", harm.first(hold))
    run = bench.begin(path, name)
    need(here.wait(LIMIT), "no commit")
    run.say("cancel")
    end = run.wait()
    go.set()
    need(end["end"] == "cancelled", str(end))


def test_rate():
    """the limit holds within a block, and over all blocks"""
    for size, rate, least in ((3 * 65536, 3 * 65536, 0.5), (FIVE, 32 * MIB, 0.95)):
        path, content = bench.file(size)
        name = bench.name()
        begin = time.monotonic()
        bench.upload(path, name, "--rate", str(rate))
        need(time.monotonic() - begin >= least, "too fast")
        bench.check(name, content)


def test_directory_store():
    """a directory as a store: the same, with a rename for the commit"""
    root = os.path.join(bench.directory, "store")
    os.mkdir(root)
    path, content = bench.file(TWO)

    def upload(file, *options):
        return Run([PROGRAM, "--source", "file://" + root, "--generation", GENERATION, *options], [file, "a/b"]).wait()

    def read(name="a/b"):
        with open(os.path.join(root, name), "rb") as file:
            return file.read()
    first = upload(path)
    need(first["end"] == "committed" and read() == content, str(first))
    need(upload(path)["etag"] == first["etag"], "committed twice")
    new, changed = change(path, 5, b"x")
    end = upload(new, "--cut", "2", "--base", first["etag"])
    need(end["end"] == "committed" and read() == changed, str(end))
    with open(os.path.join(root, "a/b.new"), "wb") as file:
        file.write(b"theirs")
    os.rename(os.path.join(root, "a/b.new"), os.path.join(root, "a/b"))
    end = upload(path, "--cut", "3", "--base", end["etag"])
    need(end["end"] == "conflict" and read() == b"theirs", str(end))
    need(read("a/b.conflict-n1-20231114T221320Z") == content, "not kept")
    need(upload(path, "--cut", "4", "--stage-only")["end"] == "staged", "not staged")
    left = [name for name in os.listdir(os.path.join(root, "a")) if name.startswith(".blobcache-")]
    need(not left, "what nobody can go on with is left: " + " ".join(left))


def kill_once(rng, path, name, options):
    """Kills the program at some request, before it, in it, or between it and its reply."""
    run = None
    started = threading.Event()

    def kill():
        started.wait(LIMIT)
        run.process.send_signal(signal.SIGKILL)
        run.process.wait()

    def before(exchange):
        kill()
        return exchange.reset()

    def middle(exchange):
        kill()
        return harm.truncate(exchange)

    def after(exchange):
        exchange.ask()
        kill()
        return exchange.reset()
    bench.proxy.clear()
    fault = rng.choice([before, middle, after])
    bench.proxy.rule("", fault, after=rng.randrange(9))
    run = bench.begin(path, name, *options)
    started.set()
    for line in run.process.stdout:
        run.lines.append(line)
    run.process.stdin.close()
    return run.process.wait(LIMIT), fault.__name__


def test_killed():
    """kill -9 at random points of uploads, then again: the blob is right, and only one"""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    rng = random.Random(seed)
    print(f"# SEED={seed} KILLS={KILLS}")
    done, ended = 0, 0
    while done < KILLS:
        name, generation = bench.name(), rng.randbytes(16).hex()
        path, content = bench.file(FIVE)
        options, theirs = [], None
        if rng.random() < 0.3:
            theirs = b"theirs"
            bench.store.put(name, theirs)
        while True:
            status, how = kill_once(rng, path, name, ["--generation", generation, *options])
            if status != -signal.SIGKILL:
                need(0 < status < 10, f"status {status}")
                ended += 1
                break
            done += 1
            print(f"# killed {how} after {len(bench.proxy.log)} requests")
            current = bench.store.get(name)
            need(current in (theirs, None if theirs else content), "half a blob")
        if theirs:
            need(bench.store.get(name) == theirs, "written over")
        bench.check(conflict_name(name) if theirs else name, content, generation=generation)
        copies = sum(n.startswith(name) for n in bench.store.names())
        need(copies == (2 if theirs else 1), f"{copies} copies")
    print(f"# {done} kills, {ended} uploads")


def main():
    """All tests, or those named."""
    if not os.environ.get("AZURITE_JS"):
        print("1..0 # SKIP no AZURITE_JS")
        return
    wanted = sys.argv[1:]
    tests = [f for n, f in globals().items() if n.startswith("test_") and (not wanted or n in wanted)]
    print(f"1..{len(tests)}", flush=True)
    failed = False
    signal.signal(signal.SIGALRM, too_long)
    try:
        bench.start()
        for number, test in enumerate(tests, 1):
            bench.proxy.clear()
            begin = time.monotonic()
            signal.alarm(LIMIT)
            try:
                test()
                print(f"ok {number} - {test.__name__}: {test.__doc__}")
            except (Failed, OSError, subprocess.SubprocessError) as error:
                failed = True
                print(f"not ok {number} - {test.__name__}: {test.__doc__}\n# {error}")
            signal.alarm(0)
            while Run.all:
                process = Run.all.pop()
                process.kill()
                process.wait()
            print(f"# {time.monotonic() - begin:.1f} s", flush=True)
    finally:
        bench.stop()
    sys.exit(failed)


if __name__ == "__main__":
    main()
