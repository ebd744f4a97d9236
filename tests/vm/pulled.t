#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: an NVMe device that is pulled out under its readers costs fetches of what it had, and no
# wrong byte; the other tier goes on, and has all of it in the end; what is left of the one can be
# detached, and the module unloaded. A device that was wiped while the node was reimaged is refused, and
# once it is formatted a cold cache.
#
# vm: disk=data:64M disk=other:64M timeout=240 mem=1G

import os

import hostile_daemon as h
import vmtest as t
from files import Files

STORE, TARGET = "/mnt/store", "/mnt/data"
VOLUME = f"file://{STORE}"
DATA, OTHER = t.disk("data"), t.disk("other")
files = Files(STORE, TARGET)
wrong = files.wrong


def tiers():
    return {d["device"]: d for d in t.cachectl("device", "list")["devices"]}


def pull(serial):
    for controller in os.listdir("/sys/class/nvme"):
        with open(f"/sys/class/nvme/{controller}/serial", encoding="ascii") as f:
            if f.read().strip() != serial:
                continue
        with open(f"/sys/class/nvme/{controller}/device/remove", "w", encoding="ascii") as f:
            f.write("1")
        return


def all_hits():
    delta = h.Delta(nl)
    return not wrong() and not delta.fetch_bytes


os.makedirs(STORE)
t.run("mount", "-t", "tmpfs", "-o", "size=100m", "none", STORE)
files.put([f"f{n:02}" for n in range(60)])
t.load_module(t.PATIENT)
nl = h.Netlink()
for device in DATA, OTHER:
    t.run_ok(f"{device} is formatted", "cachectl", "device", "format", "--yes", device)
    t.same(nl.attach(device)[0], 0, "... and attached")
daemon = t.Daemon({"volumes": [{"source": VOLUME}]})
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted", output)
t.same(wrong(), [], "all is read, and right")
t.ok(all(d["used_bytes"] for d in tiers().values()), "... some is on each", tiers())
events = h.Netlink()
events.listen()
pull("data")
t.ok(not os.path.exists(DATA), "one is pulled out")
t.same(wrong(), [], "all is right")
bad = []


def found():
    bad.extend(wrong())
    return tiers()[DATA]["state"] == "failed"


t.ok(t.wait_for(found, 60), "it is found to have failed", tiers())
t.same(bad, [], "... all is right meanwhile")
t.same(events.tier_event(60), (DATA, "failed"), "... of which there is an event")
events.close()
t.same(tiers()[OTHER]["state"], "live", "the other lives")
t.ok(t.wait_for(all_hits, 60), "... and has all of it soon")
p = t.run("cachectl", "device", "detach", DATA)
t.ok(set(tiers()) == {OTHER}, "what is left of the one can be detached", p.returncode, p.stdout)
t.same(wrong(), [], "all is right still")
t.run_ok("unmounted", "umount", TARGET)
t.run_ok("the other is detached", "cachectl", "device", "detach", OTHER)
t.same(daemon.stop(), 0, "the daemon ends")
nl.close()
t.ok(t.unloaded(), "the module unloads")

# --- wiped

t.run_ok("the other is wiped", "dd", "if=/dev/zero", f"of={OTHER}", "bs=1M", "count=64", "oflag=direct")
t.load_module(t.PATIENT)
nl = h.Netlink()
t.run_fails("... it is refused", "no blobcache tier on this device: format it", "cachectl", "device", "attach", OTHER)
t.run_ok("... formatted", "cachectl", "device", "format", "--yes", OTHER)
t.run_ok("... attached", "cachectl", "device", "attach", OTHER)
t.ok(daemon.start(lambda pid: nl.status()[h.ST_DAEMON_PID] == pid), "a daemon is there", daemon.tail())
status, output = t.mount(STORE, TARGET, ro=True, volume=VOLUME, ttl="1h")
t.same(status, 0, "mounted", output)
delta = h.Delta(nl)
t.same(wrong(), [], "it is cold: all is right")
t.ok(delta.fetch_bytes == files.size(files.sums), "... and fetched, once", delta.fetch_bytes)
delta = h.Delta(nl)
t.same(wrong(), [], "... and right the second time")
t.same((delta.fetch_bytes, delta.crc_errors), (0, 0), "... from the tier")
t.run_ok("unmounted at last", "umount", TARGET)
t.run_ok("detached at last", "cachectl", "device", "detach", OTHER)
daemon.stop()
nl.close()
t.ok(t.unloaded(), "the module unloads at last")
t.done()
