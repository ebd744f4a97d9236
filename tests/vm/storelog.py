# SPDX-License-Identifier: GPL-2.0-or-later
"""What the store was asked for, by the store's own log (host service "dataset").

Commands of "verify.py log":

  mark NAME
      Makes a request which later questions can name; what was asked before it
      is in the log when this returns.
  count [since=MARK] [until=MARK]
      Prints shell assignments on one line:
      get head list         requests of blobcached
      get_bytes             asked for by these GETs
      twice_bytes           of these, bytes asked for more than once
      most_heads            most HEADs for one file
      most_lists            most listings of one directory
      failed                answered with 400 and up
      lower_get lower_head lower_list   requests of rclone, which is the lower mount
  whole [since=MARK] [until=MARK] [match=GLOB]...
      Are blobcached's GETs of each matching file together the file, with no byte
      twice? Status 1 if not.
  list [since=MARK] [until=MARK]
      Prints the requests.
"""
import collections
import fnmatch
import json
import os
import re
import socket
import time

import dataset


def http_get(url):
    """(status, body). Python's own module takes long to import."""
    host, _, path = url.partition("://")[2].partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), 30) as s:
        s.sendall(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        data = bytearray()
        while more := s.recv(1 << 20):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(None, 2)[1]), body.decode()


def host_json(name, patience=0):
    """A JSON file of the host's."""
    deadline = time.monotonic() + patience
    while True:
        status, body = http_get(f"{os.environ['HOST_LOGS']}/{name}")
        if status == 200:
            return json.loads(body)
        if time.monotonic() > deadline:
            raise OSError(f"the host has no {name}: status {status}")
        time.sleep(0.1)


def lines():
    body = http_get(os.environ["HOST_LOGS"] + "/requests.log")[1]
    # The last line may be half written.
    return [json.loads(line) for line in body.split("\n")[:-1]]


def mark(name):
    http_get(f"{os.environ['AZURITE_URL']}/mark/{name}")     # refused, but in the log
    deadline = time.monotonic() + 30
    while not any(line.get("path") == f"mark/{name}" for line in lines()):
        if time.monotonic() > deadline:
            raise OSError(f"mark {name} is not in the store's log")
        time.sleep(0.05)
    return 0


class Request:
    def __init__(self, line):
        self.verb = line["verb"]
        self.path = line["path"]
        self.agent = line["agent"]
        self.status = None
        self.if_match = line["if_match"]
        self.prefix = line["query"].get("prefix", "")
        if line["query"].get("comp") == "list":
            self.verb = "LIST"
        self.range = None
        found = re.match(r"bytes=(\d+)-(\d+)$", line["range"] or "")
        if found:
            self.range = (int(found.group(1)), int(found.group(2)) + 1)

    def __str__(self):
        return (f"{self.agent} {self.verb} {self.path} prefix={self.prefix!r} range={self.range} "
                f"if-match={self.if_match} status={self.status}")


def requests(words):
    """All between two marks, and the globs."""
    since = until = None
    match = []
    for word in words:
        key, _, value = word.partition("=")
        if key == "since":
            since = value
        elif key == "until":
            until = value
        elif key == "match":
            match.append(value)
        else:
            raise ValueError(f"unknown argument {word!r}")
    found = []
    by_id = {}
    on = not since
    for line in lines():
        if "verb" not in line:
            if line["id"] in by_id:
                by_id[line["id"]].status = line["status"]
        elif line["path"].startswith("mark/"):
            name = line["path"].partition("/")[2]
            on = (on or name == since) and name != until
        elif on:
            by_id[line["id"]] = Request(line)
            found.append(by_id[line["id"]])
    return found, match


def ranges_of(found):
    """Name -> sorted ranges of blobcached's GETs, clipped to the file, as the store does."""
    ranges = collections.defaultdict(list)
    sizes = dataset.files()
    for r in found:
        if r.verb == "GET" and "blobcached" in r.agent:
            name = r.path.partition("/")[2]         # behind the container
            size = sizes.get(name, 1 << 62)
            first, end = r.range or (0, size)
            ranges[name].append((min(first, size), max(first, min(end, size))))
    return {name: sorted(r) for name, r in ranges.items()}


def twice(ranges):
    """Bytes which a range has in common with those before it."""
    total = end = 0
    for first, last in ranges:
        total += max(0, min(end, last) - first)
        end = max(end, last)
    return total


def count(*words):
    found, _ = requests(words)
    n = collections.Counter()
    heads, listings = collections.Counter(), collections.Counter()
    for r in found:
        lower = "lower_" if "rclone" in r.agent else ""
        n[lower + r.verb.lower()] += 1
        if not lower:
            heads[r.path] += r.verb == "HEAD"
            listings[r.prefix] += r.verb == "LIST"
            n["failed"] += (r.status or 0) >= 400
    ranges = ranges_of(found)
    n["get_bytes"] = sum(b - a for r in ranges.values() for a, b in r)
    n["twice_bytes"] = sum(map(twice, ranges.values()))
    n["most_heads"] = max(heads.values(), default=0)
    n["most_lists"] = max(listings.values(), default=0)
    print(" ".join(f"{k}={n[k]}" for k in (
        "get", "head", "list", "get_bytes", "twice_bytes", "most_heads", "most_lists",
        "failed", "lower_get", "lower_head", "lower_list")))
    return 0


def gap(got, size):
    """What is wrong with these ranges of a file, or None."""
    end = 0
    for first, last in got + [(size, size)]:
        if first > end:
            return f"nobody asked for {end}-{first - 1}"
        end = max(end, last)
    return f"{twice(got)} bytes were asked for twice" if twice(got) else None


def whole(*words):
    found, match = requests(words)
    ranges = ranges_of(found)
    bad = checked = 0
    for name, size in dataset.files().items():
        if match and not any(fnmatch.fnmatchcase(name, m) for m in match):
            continue
        checked += 1
        trouble = gap(ranges.get(name, []), size)
        if trouble:
            bad += 1
            print(f"{name!r} of {size}: {trouble}; ranges: {ranges.get(name, [])[:20]}")
    print(f"files={checked} bad={bad}")
    return 1 if bad else 0


def show(*words):
    for r in requests(words)[0]:
        print(r)
    return 0


def run(what, *words):
    return {"mark": mark, "count": count, "whole": whole, "list": show}[what](*words)
