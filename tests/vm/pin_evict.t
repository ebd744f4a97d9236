#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: on a tier smaller than the data, pinned files stay, whenever they were
# pinned, and are never fetched twice; the rest turns over; the tier's accounting
# adds up to the device, and to the files, exactly; what was demoted goes first;
# evict leaves what is pinned, and harms nobody who reads what the lower gave;
# pins cannot take all of a tier; a new version leaves the old one's pin to be
# removed; the next tier takes the pins up.
#
# vm: disk=data:64M mem=1G timeout=420

import hashlib
import os

import vmtest as t

MIB = 1 << 20
BLOCK = 64 << 10
LOWER, TARGET = "/mnt/lower", "/mnt/data"
TIER = t.disk("data")
BIG = [f"big/{n:02d}" for n in range(11)]
SMALL = [f"small/{n:03d}" for n in range(40)]
sums, sizes = {}, {}


def put(name, data):
    with open(f"{LOWER}/{name}", "wb") as f:
        f.write(data)
    sums[name], sizes[name] = hashlib.sha256(data).digest(), len(data)


def wrong(names):
    """Of the files, which have not their bytes."""
    bad = []
    for name in names:
        with open(f"{TARGET}/{name}", "rb") as f:
            if hashlib.sha256(f.read()).digest() != sums[name]:
                bad.append(name)
    return bad


def paths(names):
    return [f"{TARGET}/{name}" for name in names]


def blocks(size):
    return -(-size // BLOCK) * BLOCK


def stat(name):
    return t.cachectl("stats")[name]


# A reader has its bytes before the tier has them: what is there is asked for when it has come.

def tier():
    t.settled()
    return t.cachectl("device", "list")["devices"][0]


def pins():
    t.settled()
    return {pin["path"]: pin for pin in t.cachectl("pin", "list")["pins"]}


def residency(names):
    t.settled()
    return {f["path"][len(TARGET) + 1:]: f for f in
            t.cachectl("residency", *paths(names))["files"]}


def adds_up(text):
    """The tier's numbers agree with each other, with the device, and with the files."""
    now, files = tier(), residency(BIG + SMALL)
    used = sum(blocks(f["resident_bytes"]) for f in files.values())
    pinned = sum(blocks(f["resident_bytes"]) for f in files.values() if f["pinned"])
    t.same(now["used_bytes"] + now["free_bytes"], now["frame_bytes"], f"{text}: used + free = frames")
    t.ok(now["frame_bytes"] + now["table_bytes"] <= now["device_bytes"] == 64 * MIB and
         now["device_bytes"] - now["frame_bytes"] - now["table_bytes"] < MIB,
         f"{text}: frames and tables are the device, but for less than a frame", now)
    t.same(now["used_bytes"], used, f"{text}: used is what the files have there")
    t.same(now["pinned_bytes"], pinned, f"{text}: pinned is what the pinned files have there")
    return now


os.makedirs(LOWER)
t.run("mount", "-t", "tmpfs", "-o", "size=300m", "none", LOWER)
os.makedirs(f"{LOWER}/big")
os.makedirs(f"{LOWER}/small")
for number, file in enumerate(BIG):
    put(file, os.urandom(8 * MIB + number * 12345))
for number, file in enumerate(SMALL):
    put(file, os.urandom(number * 4345 + 1))

t.load_module(t.PATIENT, "lease_ms=30000")
t.run_ok("the tier can be formatted", "cachectl", "device", "format", "--yes", TIER)
t.run_ok("... and attached", "cachectl", "device", "attach", TIER)
daemon = t.Daemon({"volumes": [{"source": f"file://{LOWER}"}]})
if not daemon.start(lambda pid: (t.cachectl("status").get("daemon") or {}).get("pid") == pid):
    t.bail("no daemon")
status, output = t.mount(LOWER, TARGET, ro=True, volume=f"file://{LOWER}", ttl="1s")
t.ok(status == 0, "mounted", output)

# --- pinned before, half way, and after

t.same(pins(), {}, "nothing is pinned")
early, half, late = BIG[0], BIG[1], BIG[2]
EARLY = [early, *SMALL[:20]]
t.run_ok("files can be pinned before they are cached", "cachectl", "pin", "add", *paths(EARLY))
listed = pins()
t.same({p: (v["size"], v["source"]) for p, v in listed.items()},
       {p: (sizes[p], f"file://{LOWER}") for p in EARLY}, "... and are listed with their sizes")
t.ok(all(v["resident_bytes"] <= MIB for v in listed.values()),
     "... of which at most the beginning was fetched, to learn the version", listed)
t.run_ok("... and once more", "cachectl", "pin", "add", *paths(EARLY))
t.same(pins(), listed, "... which changes nothing")
adds_up("pinned, not read")
with open(f"{TARGET}/{half}", "rb") as reader:
    reader.read(3 * MIB)
t.run_ok("a file half cached can be pinned", "cachectl", "pin", "add", *paths([half]))
t.same(wrong([late]), [], "another is read")
t.run_ok("... and pinned after that", "cachectl", "pin", "add", *paths([late]))
t.same(wrong(EARLY + [half]), [], "pinned files are right")
PINNED = EARLY + [half, late]
t.same(adds_up("pinned files cached")["pinned_bytes"], sum(blocks(sizes[n]) for n in PINNED),
       "all of them is pinned")

# --- everything else passes through

for turn in range(2):
    t.drop_caches(3)
    t.same(wrong(BIG[3:] + SMALL[20:]), [], f"turn {turn}: the rest is right")
    now = adds_up(f"turn {turn}")
    t.ok(now["used_bytes"] > now["frame_bytes"] * 3 // 4, f"turn {turn}: the tier is in use", now)
t.ok(stat("evicted_chunks") > 40, "the rest turned over", stat("evicted_chunks"))
t.drop_caches(3)
before = stat("fetch_bytes"), stat("miss_bytes")
t.same(wrong(PINNED), [], "pinned files are right still")
t.same((stat("fetch_bytes"), stat("miss_bytes")), before, "... and nothing of them was fetched again")
t.ok(all(f["resident_bytes"] == f["size"] and f["pinned"] for f in residency(PINNED).values()),
     "... as residency says")
t.ok(all(v["resident_bytes"] == v["size"] for v in pins().values()), "... and the list")

# --- demoted files go first

new = "big/new"
put(new, os.urandom(4 * MIB))
before, free = residency(BIG), tier()["free_bytes"]
done = max(BIG[3:], key=lambda name: before[name]["resident_bytes"])
t.ok(before[done]["resident_bytes"] >= 4 * MIB, "some file is cached for the most part", before)
t.run_fails("a pinned file is not demoted", "pinned.*pin remove", "cachectl", "evict", "--demote",
            *paths([half]))
t.run_ok("another can be demoted", "cachectl", "evict", "--demote", *paths([done]))
t.same(residency(BIG), before, "... which frees nothing")
t.same(wrong([new]), [], "a new file is read")
t.ok(t.wait_for(lambda: residency([new])[new]["resident_bytes"] == 4 * MIB, 20, "it is cached"),
     "... and is cached")
lost = {name: before[name]["resident_bytes"] - now["resident_bytes"]
        for name, now in residency(BIG).items()}
t.ok(lost[done] + free >= 3 * MIB, "... in the place of the demoted one", lost, free)
t.ok(sum(lost.values()) - lost[done] <= MIB, "... not of others", lost)
t.run_ok("the new file can be evicted", "cachectl", "evict", *paths([new]))

# --- evict, and limits

t.run_fails("a pinned file is not evicted", "pinned.*pin remove", "cachectl", "evict", *paths([half]))
t.run_ok("the tier can be emptied", "cachectl", "evict", "--device", TIER)
now = adds_up("after that")
t.same(now["used_bytes"], now["pinned_bytes"], "what is used is pinned")
t.same(now["pinned_bytes"], sum(blocks(sizes[n]) for n in PINNED), "... and all pinned is there")
t.run_fails("not everything can be pinned", "too much of the tier", "cachectl", "pin", "add", *paths(BIG))
held = [name for name in BIG if name in pins()]
t.ok(len(held) * 8 * MIB <= now["frame_bytes"] * 9 // 10 < (len(held) + 1) * 9 * MIB,
     "... but up to the limit", held)
t.same(wrong(BIG + SMALL), [], "all is right with a tier nearly full of pins")
now = adds_up("nearly full of pins")
t.ok(now["pinned_bytes"] * 10 <= now["frame_bytes"] * 9, "pins keep to the limit", now)
t.drop_caches(3)
before = stat("fetch_bytes")
t.same(wrong(held), [], "... and those pinned are right")
t.same(stat("fetch_bytes"), before, "... and not fetched")
t.run_fails("what is not pinned cannot be unpinned", "not pinned", "cachectl", "pin", "remove",
            *paths([SMALL[30]]))
t.run_ok("pins can be removed", "cachectl", "pin", "remove", *paths(n for n in held if n != early))
t.same(set(pins()), set(EARLY), "the others are there still")
adds_up("pins removed")

# --- a new version, and another life of the tier

t.wait_for(lambda: put(early, os.urandom(5 * MIB)) or True, 1)
t.wait_for(lambda: not wrong([early]), 20, "the new version is seen")
t.same(wrong([early]), [], "a new version is read")
t.same((pins()[early]["size"], residency([early])[early]["pinned"]), (8 * MIB, False),
       "the pin is of the old one still")
old = pins()[early]["resident_bytes"]
t.same(old, 8 * MIB, "... which is there")
t.run_ok("the path's pin can be removed", "cachectl", "pin", "remove", *paths([early]))
t.same(set(pins()), set(EARLY) - {early}, "... whatever version it is of")
t.run_ok("the new version can be pinned", "cachectl", "pin", "add", *paths([early]))
t.drop_caches(3)
t.same(wrong([early]), [], "... and what is missing of it comes")
t.run_ok("the tier can be emptied again", "cachectl", "evict", "--device", TIER)
pinned = adds_up("with a new version")["pinned_bytes"]
t.same(pinned, sum(blocks(sizes[n]) for n in EARLY), "pinned is the new version and the others")
t.run_ok("detached", "cachectl", "device", "detach", TIER)
t.run_fails("without a tier nothing is pinned", "no tier", "cachectl", "pin", "add", *paths([half]))
t.run_ok("attached", "cachectl", "device", "attach", TIER)
t.same(adds_up("attached again")["pinned_bytes"], pinned, "the pins are taken up")
t.run_ok("all can be unpinned", "cachectl", "pin", "remove", *paths(EARLY))
t.same(pins(), {}, "nothing is pinned")
t.run_ok("emptied", "cachectl", "evict", "--device", TIER)
t.same(tier()["used_bytes"], 0, "nothing is left")
t.run_ok("a pin is left behind", "cachectl", "pin", "add", *paths([half]))

# --- evict, of what the lower gives

with open(f"{LOWER}/{SMALL[5]}", "r+b"):
    t.run_fails("what is read past the cache cannot be evicted", "past the cache", "cachectl", "evict", *paths([SMALL[5]]))
daemon.stop()
put("fresh", os.urandom(300000))
lower = stat("lower_bytes")
with open(f"{TARGET}/fresh", "rb", buffering=0) as reader:
    got = reader.read(100000)
    t.ok(stat("lower_bytes") >= lower + len(got), "no daemon: a file is read from the lower", stat("lower_bytes") - lower)
    t.run_ok("... what came of it can be evicted", "cachectl", "evict", *paths(["fresh"]))
    t.same(residency(["fresh"])["fresh"]["resident_bytes"], 0, "... no tier has any of it")
    while part := reader.read(100000):
        got += part
t.ok(hashlib.sha256(got).digest() == sums["fresh"], "... and its reader has its bytes", len(got))
t.same(wrong(["fresh"]), [], "... as has the next one")

t.run_ok("unmounted", "umount", TARGET)
t.run_ok("detached", "cachectl", "device", "detach", TIER)
t.ok(t.unloaded(), "the module unloads")
t.done()
