# SPDX-License-Identifier: GPL-2.0-or-later
"""For VM tests in Python: TAP, the machine, and blobcache.

    import vmtest as t
    t.load_module()
    t.ok(t.run("cachectl", "device", "format", t.disk("data")).returncode == 0, "format")
    t.done()

What lib.sh is for tests in bash. A test that makes many small steps is far faster
this way: a process costs some 25 ms under emulation, a function call nothing.
"""
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

LIBC = ctypes.CDLL(None, use_errno=True)
SOCK = "/run/blobcache/blobcached.sock"
CONF = "/etc/blobcache/blobcached.json"
SLOW = float(os.environ.get("VM_SLOW", "1"))        # the debug kernel takes so many times longer

# --- TAP

_count = 0
_failed = 0


def diag(*lines):
    for line in lines:
        for part in str(line).splitlines():
            print("# " + part)
    sys.stdout.flush()


def ok(good, text, *why):
    """A point; @why is shown if it failed."""
    global _count, _failed      # pylint: disable=global-statement
    _count += 1
    print(f"{'' if good else 'not '}ok {_count} - {text}")
    if not good:
        _failed += 1
        diag(*why)
    sys.stdout.flush()
    return bool(good)


def same(got, want, text, *why):
    return ok(got == want, text, f"got:    {got!r}", f"wanted: {want!r}", *why)


def like(got, regex, text, *why):
    return ok(re.search(regex, str(got)), text, f"got:          {got!r}",
              f"not matching: {regex!r}", *why)


def skip(count, reason):
    global _count       # pylint: disable=global-statement
    for _ in range(count):
        _count += 1
        print(f"ok {_count} # SKIP {reason}")


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def bail(reason):
    print(f"Bail out! {reason}", flush=True)
    sys.exit(1)


def done():
    print(f"1..{_count}", flush=True)
    # No destructor of a mapped file or a thread shall keep the machine.
    os._exit(0)


# --- waiting

def wait_for(condition, seconds, what=""):
    """Poll until @condition() is true. Returns its value, or None after @seconds."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            diag(f"still not after {seconds} s: {what}" if what else f"not within {seconds} s")
            return None
        time.sleep(0.02)


# --- the machine

def run(*argv, timeout=60, **kw):
    """A command; standard output and error are both in .stdout."""
    try:
        return subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=timeout * SLOW, check=False, **kw)
    except subprocess.TimeoutExpired as e:
        text = e.stdout or b""
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        return subprocess.CompletedProcess(argv, 124, f"{text}\nno end after {timeout} s")


def run_ok(text, *argv, **kw):
    p = run(*argv, **kw)
    ok(p.returncode == 0, text, f"status {p.returncode}: {argv}", p.stdout)
    return p.stdout


def run_fails(text, regex, *argv, **kw):
    """It must fail, by itself, and say why."""
    p = run(*argv, **kw)
    ok(0 < p.returncode < 124 and re.search(regex, p.stdout), text,
       f"status {p.returncode}: {argv}", p.stdout, f"wanted to match: {regex}")
    return p.stdout


def disk(name):
    for d in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{d}/device/serial", encoding="ascii") as f:
                if f.read().strip() == name:
                    return "/dev/" + d
        except OSError:
            pass
    return bail(f"no disk {name}")


def drop_caches(which=1):
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write(str(which))


def kernel_stack(pid):
    try:
        with open(f"/proc/{pid}/stack", encoding="ascii") as f:
            return f.read()
    except OSError as e:
        return str(e)


def gone(pid):
    """Has the process ended? (A zombie has.)"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


# --- blobcache

# On a loaded machine a worker may stand still for seconds: who does not test that a lower, or a
# store, is not waited for has patience.
PATIENT = "patience_ms=20000"


def load_module(*parameters):
    p = run("modinfo", "-F", "depends", "/payload/blobcache.ko")
    for dep in filter(None, p.stdout.strip().split(",")):
        run("modprobe", dep)
    p = run("insmod", "/payload/blobcache.ko", *parameters)
    if p.returncode:
        bail("insmod: " + p.stdout)


def unloaded():
    """Its last user may be a worker that puts its mount down just now."""
    return wait_for(lambda: run("rmmod", "blobcache").returncode == 0, 20, "rmmod")


def cachectl(*argv, **kw):
    """Its JSON answer; None if it failed."""
    p = run("cachectl", *argv, "--json", **kw)
    if p.returncode:
        diag(f"cachectl {' '.join(map(str, argv))}: status {p.returncode}", p.stdout)
        return None
    return json.loads(p.stdout) if p.stdout.strip() else {}


def mount(lower, target, **options):
    """Returns (status, output) of mount(8)."""
    os.makedirs(target, exist_ok=True)
    words = [key if value is True else f"{key}={value}" for key, value in options.items()]
    p = run("mount", "-t", "blobcache", lower, target, "-o", ",".join(words))
    return p.returncode, p.stdout


def settled():
    """Nothing is asked for, and what was fetched is stored and in the index."""
    def quiet():
        # Twice, as a fill that is stored may begin anew for the rest of its chunk.
        return all((cachectl("status") or {}).get("request_count") == 0 for _ in range(2))

    return wait_for(quiet, 60, "no request pending")


class Daemon:
    """blobcached in the foreground, and what it said."""

    def __init__(self, config, log="/run/test/blobcached.log"):
        self.log = log
        self.process = None
        os.makedirs(os.path.dirname(CONF), exist_ok=True)
        with open(CONF, "w", encoding="utf-8") as f:
            json.dump(config, f)
        os.chmod(CONF, 0o600)

    def start(self, answers, seconds=30):
        """@answers() tells whether the kernel has a daemon."""
        log = open(self.log, "ab")
        self.process = subprocess.Popen(["blobcached", "-f", "-v", "-c", CONF],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        here = wait_for(lambda: self.process.poll() is not None or answers(self.process.pid),
                        seconds, "blobcached serves")
        if not here or self.process.poll() is not None:
            diag(f"blobcached did not start: {self.process.poll()}", self.tail())
            return False
        return True

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process and self.process.poll() is None

    def kill(self, sig):
        self.process.send_signal(sig)

    def stop(self, sig=signal.SIGTERM):
        if self.alive():
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
        return self.process.wait(30 * SLOW)

    def tail(self, lines=20):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError as e:
            return str(e)


# --- a real Blob mount: Azurite on the host ("# vm: host=dataset"), rclone in the guest

class Rclone:
    """rclone mount of the container. It caches attributes and listings for minutes, as users' mounts do."""

    def __init__(self, directory, *options, read_only=True):
        self.directory = directory
        if read_only:
            options = ("--read-only", *options)
        os.makedirs(directory, exist_ok=True)
        run("modprobe", "fuse")         # a module in some kernels
        env = {**os.environ, "RCLONE_CONFIG_AZ_TYPE": "azureblob",
               "RCLONE_CONFIG_AZ_SAS_URL": os.environ["AZ_SAS_URL"]}
        self.process = subprocess.Popen(
            ["rclone", "mount", "az:" + os.environ["AZ_CONTAINER"], directory, "--config", "/dev/null",
             "--log-file", "/run/test/rclone.log", *options],
            stdin=subprocess.DEVNULL, env=env)

    def ready(self, seconds=60):
        return wait_for(lambda: os.path.ismount(self.directory), seconds, "rclone mounts")

    def kill(self):
        self.process.kill()
        self.process.wait()


def azure_daemon(*others):
    """A blobcached which is not started yet, for the container, and for other volumes."""
    return Daemon({"volumes": [*others, {
        "source": os.environ["AZ_SOURCE"], "scheme": "http",
        "auth": {"type": "shared-key", "account": os.environ["AZURITE_ACCOUNT"],
                 "key": os.environ["AZURITE_KEY"]}}]})


def uploaded(seconds=60):
    """Has the host uploaded the dataset? It does so while the machine boots."""
    def there():
        try:
            with urllib.request.urlopen(os.environ["HOST_LOGS"] + "/dataset.json") as reply:
                return json.load(reply)
        except OSError:
            return None
    return wait_for(there, seconds, "the dataset is uploaded")
