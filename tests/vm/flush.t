#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: what is written with write=back comes to Blob by itself, byte for byte, once: while the daemon
# is killed, and the store says no; what was removed or renamed meanwhile is not there; somebody else's
# version stays, and ours is kept beside it. Then it is a clean file, read from the tier.
#
# vm: host=dataset disk=data:512M mem=1500M timeout=600

import os
import random
import signal
import sys
import time

import hostile_daemon as h
import vmtest as t

sys.path.insert(0, "/payload/tests/lib")
import blob                             # noqa: E402
import fault_proxy as harm              # noqa: E402

LOWER, TARGET, STORE, OTHER = "/mnt/lower", "/mnt/target", "/mnt/store", "/mnt/other"
DATA = t.disk("data")
MIB = 1 << 20
chance = random.Random(int(os.environ.get("SEED") or 17))
port = int(os.environ["AZURITE_PORT"])
store = blob.Blob(port, os.environ["AZ_CONTAINER"], "10.0.2.2")
proxy = harm.Proxy(port, "10.0.2.2")
SOURCE = f"azure://127.0.0.1:{proxy.port}/{os.environ['AZURITE_ACCOUNT']}/{os.environ['AZ_CONTAINER']}"
files = {}                              # what Blob has to have in the end


def path(name):
    return f"{TARGET}/{name}"


def put(name, data, flags=os.O_TRUNC, at=0, close=True):
    fd = os.open(path(name), os.O_RDWR | os.O_CREAT | flags, 0o640)
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)
    os.fsync(fd)
    if not close:
        return fd
    os.close(fd)
    files[name] = data if not at else None
    return None


def get(name):
    with open(path(name), "rb") as f:
        return f.read()


def move(old, new):
    os.rename(path(old), path(new))
    files[new] = files.pop(old)


def remove(name):
    os.unlink(path(name))
    del files[name]


def mine():
    return sorted(n for n in store.names() if n.startswith("out/"))


def flush(*words, where="out"):
    return t.run("cachectl", "flush", "--wait", "--timeout", "120s", *words, path(where), timeout=180)


def compare(text):
    """All is in the store, byte for byte, and nothing else."""
    p = flush()
    got = {n: store.get(n) for n in mine()}
    bad = [n for n in sorted({*files, *got}) if got.get(n) != files.get(n)]
    return t.same((p.returncode, bad), (0, []), text, p.stdout, daemon.tail(),
                  *[f"{n}: {len(got[n]) if n in got else 'not there'}" for n in bad])


def flush_list():
    return {f["path"]: f for f in t.cachectl("flush", "list")["files"]}


def counts():
    return t.cachectl("flush", "list").get("counts", {})


def all_clean(text):
    return t.ok(t.wait_for(lambda: not nl.dirty(), 60, "all are clean") is not None, text, nl.dirty())


def commits():
    """Names, in the order in which they were committed."""
    return [name for kind, name in proxy.log if kind == "commit"]


def answers(pid):
    return nl.status()[h.ST_DAEMON_PID] == pid


for directory in (TARGET, STORE, OTHER):
    os.makedirs(directory)
t.ok(t.uploaded(), "the container is there")
lower = t.Rclone(LOWER, "--dir-cache-time", "1s", "--attr-timeout", "1s", "--vfs-cache-mode", "off",
                 read_only=False)
t.ok(lower.ready(), "the lower is there")
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA), (0, ""), "attached")
config = {"volumes": [{
    "source": SOURCE, "scheme": "http",
    "auth": {"type": "shared-key", "account": os.environ["AZURITE_ACCOUNT"], "key": os.environ["AZURITE_KEY"]}}]}
daemon = t.Daemon(config)
t.ok(daemon.start(answers), "a daemon is there", daemon.tail())
t.same(t.mount(LOWER, TARGET, volume=SOURCE, write="back", ttl="1s"), (0, ""), "mounted")
os.mkdir(path("out"))

# --- files of all sizes

sizes = {"empty": 0, "small": 11, "page": 4096, "block": 65536, "odd": 3 * MIB + 777, "large": 21 * MIB + 5}
for name, size in sizes.items():
    put(f"out/{name}", chance.randbytes(size))
compare("what was written is in the store, byte for byte")
t.same(sorted(commits()), sorted(sizes), "... each once")
head = store.head("out/odd") or {}
t.ok(head.get("x-ms-meta-bcgeneration") and head.get("x-ms-meta-bccut"), "... and says whose it is", head)
all_clean("the lower shows them: they are clean files")
t.drop_caches(3)
delta = h.Delta(nl)
t.same([get(n) == files[n] for n in files], [True] * len(files), "they are read as they were written")
t.ok(delta.miss_reads <= 1 and delta.hit_bytes >= sum(sizes.values()) - MIB, "... from the tier",
     delta.miss_reads, delta.hit_bytes)

# --- written again, renamed, removed

put("out/large", chance.randbytes(18 * MIB + 1))
fd = os.open(path("out/large"), os.O_RDONLY)
put("out/small", b"other")
compare("written anew")
proxy.clear()
# Who has it open keeps it from being a clean one: only what changed is sent.
data = files["out/large"]
put("out/large", b"changed", flags=0, at=9 * MIB)
files["out/large"] = data[:9 * MIB] + b"changed" + data[9 * MIB + 7:]
compare("changed in place")
t.same(proxy.count("stage"), 1, "... one block of three was sent")
os.close(fd)
put("out/tmp", chance.randbytes(2 * MIB))
move("out/tmp", "out/odd")
put("out/tmp2", b"2")
put("out/new", b"1")
move("out/tmp2", "out/new")
compare("renamed over others")
put("out/gone", chance.randbytes(MIB))
compare("one more")
move("out/gone", "out/there")
compare("one that was uploaded is renamed: it is not by the old name")
put("out/brief", b"x" * 70000)
compare("and another one")
remove("out/brief")
put("out/brief", b"y" * 70000)
compare("one that was uploaded is removed and written again")
all_clean("all are clean")

put("out/gone", chance.randbytes(9 * MIB))
proxy.rule("stage", harm.first(lambda: remove("out/gone")))
compare("removed while it is uploaded")
t.same(proxy.unused(), 0, "... it was")
put("out/gone", b"gone")
proxy.rule("commit", harm.then(lambda: remove("out/gone")))
t.ok(t.wait_for(lambda: not proxy.unused(), 30) and t.wait_for(lambda: "out/gone" not in store.names(), 30),
     "removed when the store had it: it is taken back", mine(), daemon.tail())
put("out/old", b"name")
proxy.rule("commit", harm.then(lambda: move("out/old", "out/moved")))
t.wait_for(lambda: not proxy.unused(), 30)
compare("renamed when the store had it: it is by the new name, not by the old one")
t.ok(t.wait_for(lambda: mine() == sorted(files), 30), "nothing else is there", mine())

# --- order

proxy.clear()
proxy.rule("stage", harm.says(503, "ServerBusy", Retry_After="1"), times=3)
os.mkdir(path("out/ckpt"))
names = [f"{n}.distcp" for n in range(6)] + [".metadata"]
for n in names:
    put(f"out/ckpt/{n}", chance.randbytes(MIB // 2 if n != ".metadata" else 100))
compare("a checkpoint")
t.same((sorted(commits()[:-1]), commits()[-1:]), (names[:-1], names[-1:]), "... became visible, its marker last")

# --- the store says no

proxy.clear()
proxy.rule("", harm.says(503, "ServerBusy", Retry_After="1"), times=25)
for n in range(4):
    put(f"out/storm-{n}", chance.randbytes(MIB))
compare("a storm of 503")
t.same(proxy.unused(), 0, "... it was one")
for fault, kind, text in ((harm.lose_reply, "commit", "the reply to the commit is lost"),
                          (harm.reset_before, "stage", "connections break"),
                          (harm.says(403, "AuthenticationFailed"), "stage", "the credentials are refused for a while"),
                          (harm.says(400, "InvalidBlockList"), "commit", "the staged blocks went"),
                          (harm.corrupt, "stage", "bytes arrive damaged")):
    proxy.clear()
    proxy.rule(kind, fault, times=2)
    put("out/fault", chance.randbytes(9 * MIB))
    compare(text)
    t.same(proxy.unused(), 0, "... it was so")
failures = counts().get("failures", {})
t.ok(all(failures.get(k) for k in ("busy", "network", "denied", "damaged")), "all that was counted", failures)

# --- somebody else's version

proxy.clear()
proxy.rule("commit", harm.first(lambda: store.put("out/both", b"theirs")))
put("out/both", b"ours")
p = flush()
t.ok(p.returncode == 1 and "conflict" in p.stdout, "somebody else was there first: that is told", p.stdout, daemon.tail())
aside = [n for n in mine() if n.startswith("out/both.conflict-")]
t.same((store.get("out/both"), [store.get(n) for n in aside]), (b"theirs", [b"ours"]), "... his stays, ours is beside it")
shown = flush_list().get("out/both", {})
t.same((shown.get("flush"), shown.get("aside")), ("conflict", aside[0] if aside else ""), "... the list says so", shown)
t.same(get("out/both"), b"ours", "... here it is ours")
os.unlink(path("out/both"))
t.wait_for(lambda: "out/both" not in flush_list(), 30)
files["out/both"] = b"theirs"
files.update({n: b"ours" for n in aside})
compare("removed here, his is there")

# --- killed

proxy.clear()
for n in range(8):
    for i in range(3):
        put(f"out/kill-{i}", chance.randbytes(chance.randrange(1, 12 * MIB)))
    time.sleep(chance.random() * 2)
    daemon.kill(signal.SIGKILL)
    daemon.process.wait()
    if not daemon.start(answers):
        break
compare("the daemon was killed again and again")
t.ok(t.wait_for(lambda: mine() == sorted(files), 30), "nothing is there twice", mine())

for how, text in ((remove, "removed"), (lambda n: move(n, "out/after"), "renamed")):
    put("out/window", chance.randbytes(70000))

    def killed():
        daemon.kill(signal.SIGKILL)
        daemon.process.wait()
    proxy.clear()
    proxy.rule("commit", harm.then(killed))
    t.ok(t.wait_for(lambda: daemon.process.poll() is not None, 60) and "out/window" in store.names(),
         "the daemon was killed when the store had a file")
    how("out/window")
    t.ok(daemon.start(answers) and t.wait_for(lambda: mine() == sorted(files), 60),
         f"... which was {text} then: the next one takes it back", mine(), daemon.tail())
compare("all is there")

# --- by hand

config["flush"] = {"paused": True}
t.Daemon(config)
daemon.kill(signal.SIGHUP)
t.wait_for(lambda: counts().get("paused"), 30, "paused")
put("out/paused", b"x" * 70000)
t.ok(t.wait_for(lambda: flush_list().get("out/paused", {}).get("flush") == "paused", 30), "paused, it waits", flush_list())
t.like(t.run("cachectl", "flush", "show", path("out/paused")).stdout, r"state +paused", "... which can be seen")
t.run_fails("... and waited for in vain", "not uploaded yet", "cachectl", "flush", "--wait", "--timeout", "1s", path("out"))
config["flush"] = {"bandwidth_mib": 100, "stage_mib": 8}
t.Daemon(config)
daemon.kill(signal.SIGHUP)
compare("then it goes on")
t.same(t.mount(STORE, OTHER, volume=f"file://{STORE}", write="back"), (0, ""), "a mount of which the daemon knows nothing")
with open(f"{OTHER}/x", "wb") as f:
    f.write(b"x")
p = t.run("cachectl", "flush", "--wait", OTHER)
t.ok(p.returncode == 1 and "no credentials" in p.stdout, "... its files are not uploaded, which is told", p.stdout)
os.unlink(f"{OTHER}/x")
t.same(t.run("umount", OTHER).returncode, 0, "unmounted")

# --- a large file that is open for long

proxy.clear()
data = chance.randbytes(20 * MIB)
fd = put("out/open", data, close=False)
t.ok(t.wait_for(lambda: proxy.count("stage") >= 3, 60) and "out/open" not in store.names(),
     "what is open for writing is sent ahead, and not seen", proxy.log, daemon.tail())
t.wait_for(lambda: flush_list().get("out/open", {}).get("flush") == "writing", 30, "all is staged")
os.pwrite(fd, b"end", len(data))
os.fsync(fd)
os.close(fd)
files["out/open"] = data + b"end"
compare("closed, it is there")
t.same(proxy.count("stage"), 4, "... only what came last was sent then")

all_clean("all are clean")
t.drop_caches(3)
t.same([n for n in files if "both" not in n and get(n) != files[n]], [], "all are read as they were written")
t.same(t.run("umount", TARGET).returncode, 0, "unmounted")
t.same(daemon.stop(), 0, "the daemon ended", daemon.tail())
t.same(nl.detach(DATA), (0, ""), "detached")
lower.kill()
t.ok(t.unloaded(), "unloaded")
t.done()
