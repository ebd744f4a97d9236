#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: memory that is refused to the module, and a device that fails bios, cost reads an
# error or the detour to the store, never a wrong byte, a name that is there, a hang or a
# leak; without memory to forget a name nothing is known of its volume; mounting, attaching and pinning fail as a whole or work; and once it is over, all
# reads are right, and come from the tier again.
#
# vm: kernel=debug disk=data:64M mem=1G timeout=300
# vm: allow=kmemleak:.Cannot.allocate.a.scan.area

import errno
import os
import random
import re
import threading

import fuseserver
import vmtest as t
from calls import caught

MIB = 1 << 20
LOWER, TARGET, SECOND, OWN, THIRD = "/mnt/lower", "/mnt/data", "/mnt/second", "/mnt/own", "/mnt/third"
VOLUME = f"file://{LOWER}"
FAULTS = "/sys/kernel/debug"
TIMES = 1 << 30
READERS = 3
# Of a read. Not ENOENT: what is there is there.
ALLOWED = {errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOBUFS}
TIER = t.disk("data")
files = {}


def write(path, value):
    with open(path, "w", encoding="ascii") as f:
        f.write(str(value))


def knob(kind, name, value):
    write(f"{FAULTS}/{kind}/{name}", value)


def module_code():
    """Addresses of the module's functions, by name."""
    with open("/proc/kallsyms", encoding="ascii") as f:
        return {m[2]: int(m[1], 16) for m in re.finditer(r"^([0-9a-f]+) [tT] (\S+)\t\[blobcache\]$", f.read(), re.M)}


def module_text():
    """First and last address of the module's code."""
    code = module_code().values()
    return min(code), max(code) + 4096


def function_text(name):
    """The same of a function."""
    code = module_code()
    return code[name], min(at for at in code.values() if at > code[name])


class Faults:
    """While inside, of what the module asks for @percent fails. Afterwards: .count of them."""

    def __init__(self, kind, percent, **knobs):
        self.kind, self.percent, self.knobs, self.count = kind, percent, knobs, 0

    def __enter__(self):
        for name, value in {"verbose": 0, "interval": 1, "space": 0, "times": TIMES, **self.knobs}.items():
            knob(self.kind, name.replace("_", "-"), value)
        knob(self.kind, "probability", self.percent)
        return self

    def __exit__(self, *unused):
        knob(self.kind, "probability", 0)
        with open(f"{FAULTS}/{self.kind}/times", encoding="ascii") as f:
            self.count = TIMES - int(f.read())
        t.diag(f"{self.kind}, {self.percent} %: {self.count} faults")


def of_module(kind, percent, text=module_text):
    start, end = text()
    options = {"ignore_gfp_wait": "N"}
    if kind == "fail_page_alloc":
        options.update(ignore_gfp_highmem="N", min_order=0)
    return Faults(kind, percent, require_start=hex(start), require_end=hex(end), stacktrace_depth=32, **options)


class Reader(threading.Thread):
    def __init__(self, seed, reads):
        super().__init__(daemon=True)
        self.rng, self.reads = random.Random(seed), reads
        self.right, self.wrong, self.errors = 0, [], {}
        self.start()

    def once(self):
        name = self.rng.choice(list(files))
        data = files[name]
        offset = self.rng.randrange(len(data))
        length = self.rng.choice((1, 4096, 70000, MIB))
        try:
            fd = os.open(f"{TARGET}/{name}", os.O_RDONLY)
            try:
                got = os.pread(fd, length, offset)
                if self.rng.random() < .5:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
        except OSError as e:
            self.errors[e.errno] = self.errors.get(e.errno, 0) + 1
            return
        # A read may end early where the next page could not be had.
        if got and got == data[offset:offset + len(got)]:
            self.right += 1
        else:
            self.wrong.append(f"{name} at {offset}: {len(got)} bytes")

    def run(self):
        for _ in range(self.reads):
            self.once()


def read_all(reads=60):
    """Points: nobody hangs, nothing is wrong, only errors that may be. Returns reads that were right, and failed."""
    readers = [Reader(n, reads) for n in range(READERS)]
    for r in readers:
        r.join(120 * t.SLOW)
    stuck = [r for r in readers if r.is_alive()]
    wrong = [w for r in readers for w in r.wrong]
    errors = {}
    for r in readers:
        for number, count in r.errors.items():
            errors[number] = errors.get(number, 0) + count
    told = ", ".join(f"{errno.errorcode[n]} {c}" for n, c in errors.items())
    right = sum(r.right for r in readers)
    t.ok(not stuck and not wrong and set(errors) <= ALLOWED,
         f"no read hangs, none is wrong ({right} right, errors: {told or 'none'})",
         *wrong[:10], *(t.kernel_stack(r.native_id) for r in stuck))
    return right, sum(errors.values())


def all_right():
    """Of the files, which are not right."""
    bad = []
    for name, data in files.items():
        try:
            with open(f"{TARGET}/{name}", "rb") as f:
                if f.read() != data:
                    bad.append(name)
        except OSError as e:
            bad.append(f"{name}: {errno.errorcode[e.errno]}")
    return bad


def recovers(text):
    t.drop_caches(1)
    t.wait_for(lambda: not all_right(), 30)
    t.drop_caches(1)
    t.same(all_right(), [], f"{text}: afterwards every byte is right")


def tier_state():
    return t.cachectl("device", "list")["devices"][0]["state"]


def empty():
    """Makes reads begin from the start; may fail for want of memory."""
    t.run("cachectl", "evict", "--device", TIER)
    t.drop_caches(1)


os.makedirs(LOWER)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", LOWER)
for n in range(24):
    os.makedirs(f"{LOWER}/{n % 3}", exist_ok=True)
    files[f"{n % 3}/{n}"] = os.urandom([1, 5000, 70000, MIB + 1, 2 * MIB + 4321][n % 5])
for file, content in files.items():
    with open(f"{LOWER}/{file}", "wb") as out:
        out.write(content)

t.run("modprobe", "fuse")
t.load_module()
t.run_ok("the tier can be formatted", "cachectl", "device", "format", "--yes", TIER)
t.run_ok("... and attached", "cachectl", "device", "attach", TIER)
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
if not daemon.start(lambda pid: (t.cachectl("status").get("daemon") or {}).get("pid") == pid):
    t.bail("no daemon")
OPTIONS = {"ro": True, "volume": VOLUME, "ttl": "1s", "deadline": "10s"}
status, output = t.mount(LOWER, TARGET, **OPTIONS)
t.ok(status == 0, "mounted", output)

# --- memory

for kind in "failslab", "fail_page_alloc":
    for percent in 2, 20:
        empty()
        with of_module(kind, percent) as faults:
            cold = read_all()
            t.drop_caches(2)
            empty()
            again = read_all()
        t.ok(faults.count > 10, f"{kind}, {percent} %: memory was refused", faults.count)
        if percent == 2:
            t.ok(cold[0] + again[0] > 0, "... and some reads were right all the same")
        recovers(f"{kind}, {percent} %")
t.ok(daemon.alive(), "the daemon lives", daemon.tail())


def attempt(text, do, undo, turns=15):
    """What fails under @do leaves nothing behind; what works can be undone."""
    worked = 0
    with of_module("failslab", 15) as refused:
        for _ in range(turns):
            worked += do() == 0
            knob("failslab", "probability", 0)
            undo()
            knob("failslab", "probability", 15)
    t.ok(refused.count > 0, f"{text}, memory being refused: worked {worked} times of {turns}")
    t.same(do(), 0, "... and works afterwards")


attempt("mounting", lambda: t.mount(LOWER, SECOND, **OPTIONS)[0],
        lambda: os.path.ismount(SECOND) and t.run_ok("... unmounted", "umount", SECOND))
t.run_ok("unmounted", "umount", SECOND)
one = f"{TARGET}/{next(iter(files))}"
attempt("pinning", lambda: t.run("cachectl", "pin", "add", one).returncode,
        lambda: t.run("cachectl", "pin", "remove", one))
t.run_ok("unpinned", "cachectl", "pin", "remove", one)
t.run_ok("detached", "cachectl", "device", "detach", TIER)
attempt("attaching", lambda: t.run("cachectl", "device", "attach", TIER).returncode,
        lambda: t.run("cachectl", "device", "detach", TIER))
recovers("after all that")

# --- a name that is gone

tree = fuseserver.Node(0o755, gone=fuseserver.Node(0o755), here=fuseserver.Node(0o755))
own = fuseserver.Tree(tree)
own.mount(OWN)
status, output = t.mount(OWN, THIRD, ro=True, volume="file:///nowhere", ttl="100ms", deadline="20s")
t.ok(status == 0, "a lower of our own is mounted", output)


def without_lower():
    """What is known of the names while the lower does not answer."""
    own.frozen = True
    t.drop_caches(3)
    t.wait_for(lambda: os.statvfs(THIRD) and t.cachectl("mount", "show", THIRD)["lower_suspect"], 30)
    said = [caught(os.stat, f"{THIRD}/{n}") for n in ("gone", "here")]
    own.frozen = False
    t.wait_for(lambda: not t.cachectl("mount", "show", THIRD)["lower_suspect"], 60)
    return said


t.same([caught(os.stat, f"{THIRD}/{n}") for n in ("gone", "here")], [None, None], "names are seen")
t.same(without_lower(), [None, None], "... and known without the lower")
t.same([caught(os.stat, f"{THIRD}/{n}") for n in ("gone", "here")], [None, None], "... which answers again")
del tree.children["gone"]
with of_module("failslab", 100, lambda: function_text("bc_known_refused")) as faults:
    t.ok(t.wait_for(lambda: caught(os.stat, f"{THIRD}/gone") == "ENOENT", 30), "one is gone")
t.ok(faults.count > 0, "... and there was no memory to forget it")
t.same(without_lower(), ["EIO", "EIO"], "... it does not come back: nothing is known of the volume")
t.run_ok("unmounted", "umount", THIRD)

# --- the device

disk = os.path.basename(TIER)
write(f"/sys/block/{disk}/make-it-fail", 1)
for percent in 10, 50:
    empty()
    with Faults("fail_make_request", percent) as faults:
        read_all()
        t.drop_caches(1)
        read_all()
    t.ok(faults.count > 5, f"the device fails, {percent} %: it did", faults.count)
    if tier_state() != "live":
        t.diag("the tier was given up")
        t.run_ok("it can be detached", "cachectl", "device", "detach", TIER)
        t.run_ok("... and attached again", "cachectl", "device", "attach", TIER)
    recovers(f"the device fails, {percent} %")
with Faults("fail_make_request", 100):
    t.drop_caches(1)
    read_all()
    t.drop_caches(1)
    t.same(all_right(), [], "the device fails always: every byte is right, from elsewhere")
    t.ok(tier_state() != "live", "... and the tier is given up", tier_state())
    t.run("cachectl", "device", "detach", TIER)
write(f"/sys/block/{disk}/make-it-fail", 0)
if t.cachectl("device", "list")["devices"]:
    t.run_ok("detached", "cachectl", "device", "detach", TIER)
t.run_ok("attached again", "cachectl", "device", "attach", TIER)
t.same(tier_state(), "live", "the tier lives")
recovers("the device works again")


def from_tier():
    before = t.cachectl("stats")["hit_bytes"]
    t.drop_caches(1)
    bad = all_right()
    return not bad and t.cachectl("stats")["hit_bytes"] - before >= sum(map(len, files.values())) // 2


t.ok(t.wait_for(from_tier, 30, "reads come from the tier"), "reads come from the tier again", t.cachectl("stats"))
t.run_ok("unmounted", "umount", TARGET)
t.run_ok("detached", "cachectl", "device", "detach", TIER)
daemon.stop()
t.ok(t.unloaded(), "module unloads")
t.done()
