#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A proxy between a program and a Blob store that does harm on purpose.

As a module: Proxy(port of the store).  Each request is one Exchange. The first rule that
matches it and has not been used up says what happens to it; without one it passes:

    proxy.rule("stage", corrupt, times=2)

Nothing here waits for time to pass: what has to come first is an event or a call.
"""
import http.client
import re
import socket
import socketserver
import struct
import threading


class Exchange:
    """One request, and what becomes of it."""

    def __init__(self, proxy, client, method, target, headers, body):
        self.proxy = proxy
        self.client = client            # socket
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.kind = kind_of(method, target)
        self.name = target.split("?")[0].rsplit("/", 1)[1]

    def ask(self, body=None):
        """Asks the store. Returns (status, reason, headers, body)."""
        connection = http.client.HTTPConnection(*self.proxy.store, timeout=60)
        connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers:
            connection.putheader(name, value)
        connection.endheaders(self.body if body is None else body)
        reply = connection.getresponse()
        answer = reply.status, reply.reason, reply.getheaders(), reply.read()
        connection.close()
        return answer

    def answer(self, status, reason, headers, body, send=None):
        """Answers the program; send = only so many bytes of the body, then no more."""
        lines = [f"HTTP/1.1 {status} {reason}"]
        has_length = False
        for name, value in headers:
            if name.lower() in ("transfer-encoding", "connection", "keep-alive"):
                continue
            has_length |= name.lower() == "content-length"
            lines.append(f"{name}: {value}")
        if not has_length:
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if self.method == "HEAD":
            body = b""
        self.client.sendall(head + (body if send is None else body[:send]))
        return send is None

    def forward(self):
        """Without harm."""
        return self.answer(*self.ask())

    def reset(self):
        """Breaks the program's connection."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


# Faults: they return whether the connection goes on.

def reset_before(exchange):
    """The store never hears of it."""
    return exchange.reset()


def lose_reply(exchange):
    """The store has done it, and the program does not hear of it."""
    exchange.ask()
    return exchange.reset()


def truncate(exchange):
    """Half of the body, then the connection to the store breaks, then that to the program."""
    half = exchange.body[:len(exchange.body) // 2]
    with socket.create_connection(exchange.proxy.store) as store:
        head = f"{exchange.method} {exchange.target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in exchange.headers)
        store.sendall(head.encode("latin-1") + b"\r\n" + half)
    return exchange.reset()


def truncate_reply(exchange):
    """Half of the reply's body."""
    answer = exchange.ask()
    exchange.answer(*answer, send=len(answer[3]) // 2)
    return False


def corrupt(exchange):
    """A bit of the body is another on its way to the store."""
    body = bytearray(exchange.body)
    body[len(body) // 3] ^= 4
    return exchange.answer(*exchange.ask(bytes(body)))


def corrupt_reply(exchange):
    """A bit of the reply's body is another on its way back."""
    status, reason, headers, body = exchange.ask()
    body = bytearray(body)
    body[len(body) // 3] ^= 4
    return exchange.answer(status, reason, headers, bytes(body))


def says(status, code, **headers):
    """The store answers so, and does nothing."""
    def fault(exchange):
        lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
        lines.append(("x-ms-error-code", code))
        return exchange.answer(status, code, lines, b"")
    return fault


def says_in_body(status, code):
    """The same; but only the body tells the code, as behind some proxies."""
    def fault(exchange):
        body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>x</Message></Error>"
        return exchange.answer(status, "Error", [], body.encode())
    return fault


def silence(exchange):
    """No answer, for as long as the program keeps the connection."""
    while exchange.client.recv(65536):
        pass
    return False


def first(call):
    """Something happens before the store hears of the request."""
    def fault(exchange):
        call()
        return exchange.forward()
    return fault


def then(call):
    """Something happens after the store did it, before the program hears of it."""
    def fault(exchange):
        answer = exchange.ask()
        call()
        return exchange.answer(*answer)
    return fault


def kind_of(method, target):
    """What a request is."""
    query = target.partition("?")[2]
    if re.search(r"(^|&)comp=blocklist(&|$)", query):
        return "commit" if method == "PUT" else "blocks"
    if re.search(r"(^|&)comp=block(&|$)", query):
        return "stage"
    return method.lower()


def read_request(stream):
    """Returns (method, target, headers, body), or None at the end."""
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers, length = [], 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
        if name.lower() == "content-length":
            length = int(value)
    body = stream.read(length)
    return (method, target, headers, body) if len(body) == length else None


class Handler(socketserver.StreamRequestHandler):
    """One connection of the program."""

    def handle(self):
        try:
            while (request := read_request(self.rfile)) is not None:
                exchange = Exchange(self.server.proxy, self.request, *request)
                if not self.server.proxy.handle(exchange):
                    return
        except OSError:
            pass                        # the program is gone

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    """With a thread per connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class Proxy:
    """Listens on a port of its own, .port."""

    def __init__(self, store_port, store_host="127.0.0.1"):
        self.store = (store_host, store_port)
        self.lock = threading.Lock()
        self.rules = []
        self.log = []                   # (kind, name) of each request
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.proxy = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rule(self, kind, fault, times=1, after=0):
        """For requests of a kind ("" = any): the first few pass, the next few are done harm."""
        with self.lock:
            self.rules.append([kind, fault, after, times])

    def clear(self):
        """No rules, nothing logged."""
        with self.lock:
            self.rules, self.log = [], []

    def count(self, kind):
        """How many requests of a kind there were."""
        with self.lock:
            return sum(1 for k, _ in self.log if k == kind)

    def unused(self):
        """How much harm was not done: a test whose fault never came proves nothing."""
        with self.lock:
            return sum(left for _, _, _, left in self.rules if left < 1000)

    def handle(self, exchange):
        """Returns whether the connection goes on."""
        fault = Exchange.forward
        with self.lock:
            self.log.append((exchange.kind, exchange.name))
            for rule in self.rules:
                if rule[0] not in ("", exchange.kind) or not rule[3]:
                    continue
                if rule[2]:
                    rule[2] -= 1
                    continue
                rule[3] -= 1
                fault = rule[1]
                break
        return fault(exchange)
