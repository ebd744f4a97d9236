#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness: complaints of the kernel are seen, and only complaints.  Output: TAP."""

import os
import subprocess
import tempfile

CHECK = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib", "check-kernel-log")

CLEAN = """\
[    0.020000] tsc: Unable to calibrate against PIT
[    1.041607] mtrr: your CPUs had inconsistent fixed MTRR settings
[    1.268808] acpi PNP0A03:00: fail to add MMCONFIG information, can't access extended configuration space
[    2.400000] tests/vm/init: sched_clock() is wrong: no soft lockups are looked for
[    3.104000] blobcache: loading out-of-tree module taints kernel.
[    3.104417] blobcache: module verification failed: signature and/or required key missing - tainting kernel
[    3.300000] EXT4-fs (nvme1n1): mounted filesystem r/w with ordered data mode. Quota mode: none.
[    4.000000] blobcache: tier ready: 4096 frames, 12 chunks resident
[    5.000000] bash (214): drop_caches: 1
"""

# Of others, and an address of ours near it.
OTHERS = """\
[   49.9] kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
unreferenced object 0xffff888003f6c000 (size 192):
  comm "swapper/0", pid 1, jiffies 4294900000
  backtrace (crc 0):
    __kmalloc_cache_noprof+0x123/0x200
    acpi_init+0x80/0x100
[   50.0] something [blobcache]
"""

COMPLAINTS = {
    "WARN_ON": """\
[   12.1] ------------[ cut here ]------------
[   12.1] WARNING: CPU: 0 PID: 214 at kmod/fill.c:99 bc_fill_end+0x1c/0x40 [blobcache]
""",
    "WARN_ON as 7.x prints it": "[   12.1] WARNING: kmod/fill.c:99 at bc_fill_end+0x1c/0x40, CPU#0: cat/214\n",
    "null pointer": "[   9.2] BUG: kernel NULL pointer dereference, address: 0000000000000008\n",
    "oops": "[   9.2] Oops: 0000 [#1] PREEMPT SMP NOPTI\n",
    "panic": "[   9.9] Kernel panic - not syncing: Fatal exception\n",
    "general protection fault": "[   9.2] general protection fault, probably for non-canonical address\n",
    "lockdep, circular": "[   7.0] WARNING: possible circular locking dependency detected\n",
    "lockdep, recursive": "[   7.0] WARNING: possible recursive locking detected\n",
    "KASAN": "[   7.0] BUG: KASAN: slab-use-after-free in bc_get+0x10/0x20 [blobcache]\n",
    "UBSAN": "[   7.0] UBSAN: array-index-out-of-bounds in kmod/index.c:12:3\n",
    "hung task": "[  188.1] INFO: task cat:311 blocked for more than 60 seconds.\n",
    "RCU stall": "[  99.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n",
    "soft lockup": "[  99.1] watchdog: BUG: soft lockup - CPU#1 stuck for 52s! [fio:300]\n",
    "sleeping in atomic": "[   7.1] BUG: sleeping function called from invalid context at mm/slab.h:321\n",
    "leaked objects": "[   8.8] BUG bc_chunk (Tainted: G           OE     ): Objects remaining on __kmem_cache_shutdown()\n",
    "leaked objects, older": "[   8.8] kmem_cache_destroy bc_chunk: Slab cache still has objects when called from x\n",
    "kmemleak": """\
unreferenced object 0xffff888003f6c000 (size 192):
  comm "cat", pid 300, jiffies 4294900000
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 0):
    __kmalloc_cache_noprof+0x123/0x200
    bc_client_create+0x20/0x300 [blobcache]
    do_syscall_64+0x80/0x100
""",
    "kmemleak, of a module that is gone": """\
unreferenced object 0xffff888003f6c000 (size 192):
  comm "cat", pid 300, jiffies 4294900000
  backtrace (crc 0):
    __kmalloc_cache_noprof+0x123/0x200
    0xffffffffa0123456
    do_syscall_64+0x80/0x100
""",
    "kmemleak that gave up": "[  50.0] kmemleak: Cannot allocate a kmemleak_object structure\n",
    "busy inodes": "[   8.8] VFS: Busy inodes after unmount of blobcache (blobcache)\n",
    "refcount": "[   8.8] refcount_t: underflow; use-after-free.\n",
    "trace without a heading": "[   8.8] Call Trace:\n",
    "missing symbol": "[   3.1] blobcache: Unknown symbol bdev_file_open_by_path (err -2)\n",
    "workqueue": "[  60.0] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 45s!\n",
}

RACE = """\
==================================================================
BUG: KCSAN: data-race in %s / %s

write to 0xffff888003f6c000 of 8 bytes by task 300 on cpu 0:
 %s+0x123/0x200
 vfs_read+0x20/0x300
 entry_SYSCALL_64_after_hwframe+0x76/0x7e

read to 0xffff888003f6c000 of 8 bytes by interrupt on cpu 1:
 %s+0x80/0x100
 asm_common_interrupt+0x26/0x40

value changed: 0x0000000000000001 -> 0x0000000000000002

Reported by Kernel Concurrency Sanitizer on:
CPU: 1 UID: 0 PID: 301 Comm: cat Tainted: G           O       6.12.117-kcsan #1
==================================================================
"""


def race(one, other, text=RACE):
    return text % ((one, other) * 2)


STOCK = race("dput", "d_lru_add")
CALLED = STOCK.replace(" vfs_read+", " bc_file_read+0x1/0x2 [blobcache]\n vfs_read+", 1)
COMPLAINTS["race"] = race("bc_fill_end [blobcache]", "bc_fill_start [blobcache]").partition("\n")[2]
COMPLAINTS["race with the kernel"] = race("bc_fill_end [blobcache]", "folio_lock").partition("\n")[2]
COMPLAINTS["race below"] = CALLED.partition("\n")[2]
COMPLAINTS["race of a module that is gone"] = CALLED.replace(
    "bc_file_read+0x1/0x2 [blobcache]", "0xffffffffa0123456").partition("\n")[2]
COMPLAINTS["race in a log that ends"] = STOCK.partition("\n")[2].partition("value changed")[0]

count = 0


def point(good, text):
    global count
    count += 1
    print(f"{'' if good else 'not '}ok {count} - {text}")


def check(log, *allowed):
    with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
        f.write(log)
        f.flush()
        p = subprocess.run([CHECK, f.name, *allowed], stdout=subprocess.PIPE, text=True, check=False)
    return p.returncode, p.stdout


point(check(CLEAN) == (0, ""), "a clean log passes")
point(check(CLEAN + OTHERS) == (0, ""), "so does one with what other parts of the kernel leaked")
rc, out = check(STOCK + OTHERS)
point(rc == 0 and "not blobcache's: BUG: KCSAN: data-race in dput" in out, "a stock kernel's race is told")
rc, out = check(STOCK + CALLED)
point(rc == 1 and out.count("not blobcache's") == 1, "one of ours after it is seen")
for name, text in COMPLAINTS.items():
    rc, out = check(CLEAN + text + CLEAN)
    point(rc == 1 and text.splitlines()[0] in out, f"seen and shown: {name}")
point(check("")[0] == 1, "an empty log, of a kernel that never ran, is not clean")
bad = COMPLAINTS["null pointer"]
point(check(CLEAN + bad, r"NULL pointer dereference, address: 0+8")[0] == 0, "what a test allows passes")
point(check(CLEAN + bad + COMPLAINTS["KASAN"], "NULL pointer")[0] == 1, "and nothing else")
print(f"1..{count}")
