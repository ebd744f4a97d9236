#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the files of a volume that the daemon's configuration does not have are the lower's, and no
# tier keeps them; a configuration with an error is refused by a reload, which names file, line
# and key, and changes nothing; one without is in use from the reload on.
#
# vm: disk=data:64M timeout=180 mem=768M

import json
import os
import signal

import hostile_daemon as h
import vmtest as t

DATA = t.disk("data")
STORES, LOWERS, TARGETS = ([f"/mnt/{what}{n}" for n in (1, 2)] for what in ("store", "lower", "target"))
SIZE = 150000
count = 0


def seen(volume):
    """Whose bytes a file has that nobody has opened before."""
    global count        # pylint: disable=global-statement
    count += 1
    data = {where[volume]: os.urandom(SIZE) for where in (STORES, LOWERS)}
    for where, content in data.items():
        with open(f"{where}/f{count}", "wb") as f:
            f.write(content)
    with open(f"{TARGETS[volume]}/f{count}", "rb") as f:
        got = f.read()
    return {data[STORES[volume]]: "store", data[LOWERS[volume]]: "lower"}.get(got)


def used():
    t.settled()
    return t.cachectl("device", "list")["devices"][0]["used_bytes"]


def said():
    with open(daemon.log, encoding="utf-8", errors="replace") as f:
        return f.read()


def reload_config(text, answer):
    """A point: it says @answer. What it said since."""
    with open(t.CONF, "w", encoding="utf-8") as f:
        f.write(text)
    before = len(said())
    daemon.kill(signal.SIGHUP)
    t.ok(t.wait_for(lambda: answer in said()[before:], 30), f"reload: {answer}", daemon.tail())
    return said()[before:]


def config(*volumes):
    return json.dumps({"volumes": [{"source": f"file://{STORES[n]}"} for n in volumes]}, indent=1)


for directory in STORES + LOWERS:
    os.makedirs(directory)
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_ok("formatted", "cachectl", "device", "format", "--yes", DATA)
t.same(nl.attach(DATA)[0], 0, "a tier is there")
daemon = t.Daemon(json.loads(config(0)))
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
for store, lower, target in zip(STORES, LOWERS, TARGETS):
    status, output = t.mount(lower, target, ro=True, volume=f"file://{store}", ttl="1s")
    t.same(status, 0, f"{target} is mounted", output)
t.same(seen(0), "store", "a volume that the daemon has: the store's bytes")
kept = used()
t.ok(kept > 0, "... which the tier keeps")
t.same(seen(1), "lower", "one that it has not: the lower's")
t.same(used(), kept, "... which it does not")
t.like(said(), f"no store for source 'file://{STORES[1]}'", "... and the log says why")

good = config(0)
answered = reload_config(good.replace(f'{STORES[0]}"', f'{STORES[0]}",\n   "origin": 1'), "the old configuration stays in use")
t.like(answered, rf"{t.CONF}:5: volumes\[0\].origin: ", "... and names file, line and key")
answered = reload_config(good.replace('"volumes":', '"volumes"'), "the old configuration stays in use")
t.like(answered, rf"{t.CONF}:2: column", "... or where it is no JSON")
t.same((seen(0), seen(1)), ("store", "lower"), "nothing has changed")
reload_config(config(0, 1), "configuration read again: 2 volumes")
t.same((seen(0), seen(1)), ("store", "store"), "both volumes are the daemon's now")
reload_config(config(1), "configuration read again: 1 volumes")
t.same((seen(0), seen(1)), ("lower", "store"), "one is not any more")
for target in TARGETS:
    t.run_ok("unmounted", "umount", target)
t.same(daemon.stop(), 0, "the daemon ends")
t.same(nl.detach(DATA)[0], 0, "detached")
nl.close()
t.ok(t.unloaded(), "the module unloads")
t.done()
