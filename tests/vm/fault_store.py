#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Blob store that misbehaves on purpose.

Serves a directory as anonymous Azure Blob storage in path style,

    http://HOST:PORT/ACCOUNT/CONTAINER/BLOB  ->  DIRECTORY/BLOB

whatever ACCOUNT and CONTAINER are: GET with and without a range, HEAD, If-Match,
list (prefix, delimiter, marker) and a plain PUT. ETags are strong and change
with the file.

The first segment of a blob's name chooses a fault:

    fault-KIND[-get][-once|-firstN]/...

"-get" spares HEAD; "-once" and "-firstN" spare all but the first requests of
each verb for each blob. KIND is one of the functions fault_* below. A file
DIRECTORY/fault-KIND/x is served as itself; if there is none, DIRECTORY/x is.

Each request makes a line in the log: VERB PATH RANGE STATUS FAULT, "-" = none.

usage: fault_store.py [--bind ADDRESS] [--port PORT] [--log FILE] [--page N] DIRECTORY

Port 0 picks one. "listening on ADDRESS:PORT" on standard output says it is ready.
"""
import argparse
import email.utils
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

FAULT = re.compile(r"^fault-([a-z0-9]+)(-get)?(?:-(once|first(\d+)))?$")
HANG_SECONDS = 120
PAUSE_SECONDS = 0.7


class Blob:
    """One version of a file."""

    def __init__(self, path):
        self.path = path
        stat = os.stat(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(path)
        self.size = stat.st_size
        self.etag = '"0x%X%X%X"' % (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self.modified = email.utils.formatdate(stat.st_mtime, usegmt=True)

    def read(self, first, length):
        with open(self.path, "rb") as file:
            file.seek(first)
            return file.read(length)


class Reply:
    """What is about to be sent; a fault changes it, or sends it itself."""

    def __init__(self, status, headers=None, body=b"", length=None):
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.length = len(body) if length is None else length


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "fault_store"

    # Faults. Each gets the honest reply, or None if the blob does not exist,
    # and returns what is sent instead; None = it dealt with the connection.

    def fault_401(self, _reply):
        """An expired token: Azure's 401 InvalidAuthenticationInfo."""
        return self.error(401, "InvalidAuthenticationInfo")

    def fault_403(self, _reply):
        """A revoked or expired SAS, a rotated key, a role taken away."""
        return self.error(403, "AuthorizationFailure")

    def fault_404(self, _reply):
        """Deleted behind the reader's back; the lower mount still lists it."""
        return self.error(404, "BlobNotFound")

    def fault_412(self, _reply):
        """Overwritten between the HEAD and the GET."""
        return self.error(412, "ConditionNotMet")

    def fault_416(self, reply):
        """Truncated, so that the range lies beyond the end."""
        size = reply.headers.get("x-size", "0") if reply else "0"
        return self.error(416, "InvalidRange", {"Content-Range": "bytes */" + size})

    def fault_429(self, _reply):
        """Throttled by a front end that speaks 429 rather than 503."""
        return self.error(429, "TooManyRequests", {"Retry-After": "1"})

    def fault_500(self, _reply):
        """Azure's 500 OperationTimedOut: a partition is being moved."""
        return self.error(500, "OperationTimedOut")

    def fault_503(self, _reply):
        """Azure's 503 ServerBusy: the account's request rate is exceeded."""
        return self.error(503, "ServerBusy", {"Retry-After": "1"})

    def fault_short(self, reply):
        """The connection ends in the middle of the body: a front end restarted."""
        if reply and reply.body:
            reply.body = reply.body[: len(reply.body) // 2]
            self.close_connection = True
        return reply

    def fault_reset(self, reply):
        """A TCP reset in the middle of the body: a middle box lost its state."""
        if not reply:
            return reply
        reply.body = reply.body[: len(reply.body) // 2]
        self.send(reply)
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        return None

    def fault_range(self, reply):
        """Content-Range of another place: a proxy that caches ranges wrongly."""
        if reply and "Content-Range" in reply.headers:
            first, last, total = map(
                int, re.findall(r"\d+", reply.headers["Content-Range"])
            )
            reply.headers["Content-Range"] = "bytes %d-%d/%d" % (
                first + 4096,
                last + 4096,
                total + 4096,
            )
        return reply

    def fault_whole(self, reply):
        """200 and the whole blob: a store or proxy that knows no ranges."""
        if reply and reply.status == 206:
            blob = self.blob
            reply.headers.pop("Content-Range")
            return Reply(200, reply.headers, blob.read(0, blob.size))
        return reply

    def fault_hang(self, _reply):
        """Accepts the request and never answers: a black hole behind a balancer."""
        self.server.stop.wait(HANG_SECONDS)
        self.close_connection = True
        return None

    def fault_stall(self, reply):
        """Half of the body, then silence: a path that lost its packets."""
        if reply:
            reply.body = reply.body[: len(reply.body) // 2]
            self.send(reply)
            self.wfile.flush()
            self.server.stop.wait(HANG_SECONDS)
            self.close_connection = True
        return None

    def fault_pause(self, reply):
        """Silence in the middle of the body, and of a block, then the rest: a path that lost its packets for a moment."""
        if not reply or self.command == "HEAD":
            return reply
        body, middle = reply.body, len(reply.body) // 2 + 12345
        reply.body = body[:middle]
        self.send(reply)
        self.wfile.flush()
        self.server.stop.wait(PAUSE_SECONDS)
        self.wfile.write(body[middle:])
        return None

    def fault_etag(self, reply):
        """Another ETag with each reply, If-Match ignored: a blob overwritten all
        the time behind a cache that does not know conditions."""
        if reply and reply.status in (200, 206):
            reply.headers["ETag"] = '"0x%X"' % time.monotonic_ns()
        return reply

    def fault_weak(self, reply):
        """A weak ETag: a proxy that compresses, or a plain web server."""
        if reply and "ETag" in reply.headers:
            reply.headers["ETag"] = "W/" + reply.headers["ETag"]
        return reply

    def fault_long(self, reply):
        """An ETag of more than 64 bytes: a store that puts hashes into it."""
        if reply and "ETag" in reply.headers:
            reply.headers["ETag"] = '"' + "e" * 65 + '"'
        return reply

    def fault_noetag(self, reply):
        """No ETag at all: a plain web server."""
        if reply:
            reply.headers.pop("ETag", None)
        return reply

    # The honest store.

    def error(self, status, code, headers=None):
        body = (
            '<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code>'
            "<Message>on purpose</Message></Error>" % code
        ).encode()
        headers = dict(headers or {})
        headers["x-ms-error-code"] = code
        headers["Content-Type"] = "application/xml"
        return Reply(status, headers, body)

    def find_blob(self, name):
        root = self.server.root
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(root + "/"):
            raise FileNotFoundError(name)
        if not os.path.exists(path) and FAULT.match(name.split("/")[0]):
            path = os.path.join(root, name.split("/", 1)[1])
        return Blob(path)

    def make_reply(self, blob):
        condition = self.headers.get("If-Match")
        if condition and condition != "*" and condition != blob.etag:
            return self.error(412, "ConditionNotMet")
        headers = {
            "ETag": blob.etag,
            "Last-Modified": blob.modified,
            "Accept-Ranges": "bytes",
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": "application/octet-stream",
            "x-size": str(blob.size),
        }
        if self.command == "HEAD":
            return Reply(200, headers, b"", blob.size)
        match = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if not match:
            return Reply(200, headers, blob.read(0, blob.size))
        first = int(match[1])
        last = min(int(match[2]) if match[2] else blob.size, blob.size - 1)
        if first > last:
            size = {"Content-Range": "bytes */%d" % blob.size}
            return self.error(416, "InvalidRange", size)
        headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, blob.size)
        return Reply(206, headers, blob.read(first, last - first + 1))

    def fault_of(self, name):
        match = FAULT.match(name.split("/")[0])
        if not match or (match[2] and self.command == "HEAD"):
            return None
        if match[3]:
            limit = int(match[4] or 1)
            if self.server.count((self.command, name)) > limit:
                return None
        return match[1]

    def send(self, reply):
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(reply.length))
        self.send_header("x-ms-request-id", "%016x" % time.monotonic_ns())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def note(self, status, fault):
        self.server.note(
            "%s %s %s %s %s"
            % (
                self.command,
                urllib.parse.unquote(self.path),
                self.headers.get("Range", "-"),
                status,
                fault or "-",
            )
        )

    def serve_blob(self, name):
        fault = self.fault_of(name)
        try:
            self.blob = self.find_blob(name)
            reply = self.make_reply(self.blob)
        except OSError:
            self.blob = None
            reply = None
        if fault:
            self.note("?", fault)
            reply = getattr(self, "fault_" + fault)(reply)
            if not reply and (self.close_connection or self.blob):
                return
        if not reply:
            reply = self.error(404, "BlobNotFound")
        if not fault:
            self.note(reply.status, None)
        self.send(reply)

    def names(self, prefix, delimiter):
        """(name, Blob or None for a directory), sorted as Azure does."""
        found = set()
        for top, _, files in os.walk(self.server.root):
            for file in files:
                name = os.path.relpath(os.path.join(top, file), self.server.root)
                if not name.startswith(prefix) or not os.path.isfile(os.path.join(top, file)):
                    continue
                rest = name[len(prefix):]
                if delimiter and delimiter in rest:
                    name = prefix + rest.split(delimiter)[0] + delimiter
                found.add(name)
        return sorted(found)

    def list_page(self, query):
        prefix = query.get("prefix", [""])[0]
        marker = query.get("marker", [""])[0]
        limit = min(int(query.get("maxresults", ["5000"])[0]), self.server.page)
        names = [n for n in self.names(prefix, query.get("delimiter", [""])[0])
                 if n >= marker]
        parts = []
        for name in names[:limit]:
            if name.endswith("/"):
                parts.append("<BlobPrefix><Name>%s</Name></BlobPrefix>" % escape(name))
                continue
            blob = self.find_blob(name)
            parts.append(
                "<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified>"
                "<Etag>%s</Etag><Content-Length>%d</Content-Length></Properties></Blob>"
                % (escape(name), blob.modified, blob.etag.strip('"'), blob.size)
            )
        following = escape(names[limit]) if len(names) > limit else ""
        return (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults>'
            "<Prefix>%s</Prefix><Blobs>%s</Blobs><NextMarker>%s</NextMarker>"
            "</EnumerationResults>" % (escape(prefix), "".join(parts), following)
        ).encode()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        parts = urllib.parse.unquote(url.path).split("/", 3)
        query = urllib.parse.parse_qs(url.query)
        if query.get("comp") == ["list"] and self.command == "GET":
            self.note(200, None)
            self.send(Reply(200, {"Content-Type": "application/xml"}, self.list_page(query)))
        elif len(parts) == 4:
            self.serve_blob(parts[3])
        else:
            self.note(400, None)
            self.send(self.error(400, "InvalidUri"))

    do_HEAD = do_GET

    def do_PUT(self):
        url = urllib.parse.urlsplit(self.path)
        name = urllib.parse.unquote(url.path).split("/", 3)[3]
        path = os.path.normpath(os.path.join(self.server.root, name))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not path.startswith(self.server.root + "/"):
            self.send(self.error(400, "InvalidUri"))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = "%s.%d.tmp" % (path, threading.get_ident())
        with open(temporary, "wb") as file:
            file.write(body)
        os.rename(temporary, path)
        self.note(201, None)
        self.send(Reply(201, {"ETag": Blob(path).etag}))

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Store(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address, root, log, page):
        super().__init__(address, Handler)
        self.root = os.path.realpath(root)
        self.page = page
        self.stop = threading.Event()
        self._log = open(log, "a", encoding="utf-8") if log else None
        self._counts = {}
        self._lock = threading.Lock()

    def count(self, key):
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            return self._counts[key]

    def note(self, line):
        if self._log:
            with self._lock:
                self._log.write(line + "\n")
                self._log.flush()

    def handle_error(self, request, client_address):
        # A client that went away in the middle of a body is no news here.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class StoreProcess:
    """A store in a process of its own, whose handler goes by @rules, a dictionary that set() changes there."""

    def __init__(self, handler, rules, root, log, port=0):
        theirs, self.pipe = os.pipe()
        answers, back = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self.pipe)
            server = Store(("127.0.0.1", port), root, log, 5000)
            server.RequestHandlerClass = handler
            threading.Thread(target=server.serve_forever, daemon=True).start()
            os.write(back, b"%d\n" % server.server_address[1])
            for line in os.fdopen(theirs):
                rules.clear()
                rules.update(json.loads(line))
                os.write(back, b"done\n")
            os._exit(0)
        os.close(theirs)
        os.close(back)
        self.answers = os.fdopen(answers)
        self.port = int(self.answers.readline())

    def set(self, rules):
        """These from now on, and no other."""
        os.write(self.pipe, json.dumps(rules).encode() + b"\n")
        self.answers.readline()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=10080)
    parser.add_argument("--log")
    parser.add_argument("--page", type=int, default=5000, help="most entries per list page")
    parser.add_argument("directory")
    options = parser.parse_args()
    store = Store((options.bind, options.port), options.directory, options.log, options.page)
    print("listening on %s:%d" % store.server_address[:2], flush=True)
    try:
        store.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
