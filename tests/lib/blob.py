#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to Azurite from tests, with the emulator's published account and key.

usage: blob.py --port PORT create CONTAINER     once it answers
"""
import base64
import email.utils
import hashlib
import hmac
import http.client
import select
import sys
import time
import urllib.parse

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Blob:
    """A container of the emulator."""

    def __init__(self, port, container, host="127.0.0.1"):
        self.host = host
        self.port = port
        self.container = container

    def sign(self, method, path, query, headers, length):
        """The Authorization header."""
        low = {k.lower(): v for k, v in headers.items()}
        lines = [method, "", "", str(length) if length else "", low.get("content-md5", ""), "", "", "",
                 low.get("if-match", ""), low.get("if-none-match", ""), "", low.get("range", "")]
        lines += [f"{k}:{v}" for k, v in sorted(low.items()) if k.startswith("x-ms-")]
        text = "\n".join(lines) + f"\n/{ACCOUNT}{path}"
        for k, v in sorted(urllib.parse.parse_qsl(query, keep_blank_values=True)):
            text += f"\n{k}:{v}"
        mac = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256)
        return f"SharedKey {ACCOUNT}:{base64.b64encode(mac.digest()).decode()}"

    def request(self, method, name="", query="", body=b"", **headers):
        """Returns (status, headers, body). Header names: x_ms_y for x-ms-y."""
        path = f"/{ACCOUNT}/{self.container}" + (f"/{urllib.parse.quote(name)}" if name else "")
        all_headers = {k.replace("_", "-"): v for k, v in headers.items()}
        all_headers["x-ms-date"] = email.utils.formatdate(usegmt=True)
        all_headers["x-ms-version"] = "2021-12-02"
        all_headers["Authorization"] = self.sign(method, path, query, all_headers, len(body))
        # An empty one is not signed, but is to be sent with PUT.
        all_headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        connection.request(method, path + ("?" + query if query else ""), body, all_headers)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, content

    def create(self, seconds=60):
        """Makes the container as soon as the emulator answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.request("PUT", query="restype=container")[0] == 201
            except OSError:
                if time.monotonic() > end:
                    raise
                select.select([], [], [], 0.1)

    def get(self, name):
        """The blob's bytes, or None."""
        status, _, body = self.request("GET", name)
        return body if status == 200 else None

    def head(self, name):
        """The blob's headers, or None."""
        status, headers, _ = self.request("HEAD", name)
        return headers if status == 200 else None

    def put(self, name, body, **headers):
        """Somebody else's upload."""
        status = self.request("PUT", name, "", body, x_ms_blob_type="BlockBlob", **headers)[0]
        assert status == 201, status

    def names(self):
        """Of all blobs that are committed."""
        body = self.request("GET", query="restype=container&comp=list")[2].decode()
        return sorted(part.split("</Name>")[0] for part in body.split("<Name>")[1:])


def main():
    """The command."""
    if len(sys.argv) == 5 and sys.argv[1] == "--port" and sys.argv[3] == "create":
        sys.exit(not Blob(int(sys.argv[2]), sys.argv[4]).create())
    sys.exit(__doc__)


if __name__ == "__main__":
    main()
