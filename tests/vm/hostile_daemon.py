# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon that plays foul: the kernel's two interfaces for it, without manners.

Netlink messages and ioctls are put together byte by byte, so that a test can
send what no honest program would. The numbers are read from uapi/*.h.
"""
import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_IO_FLUSHER, SO_RCVBUFFORCE = 57, 33

# --- the numbers


def enums(path):
    """Name of the enum -> its members, of a header."""
    with open(path, encoding="ascii") as f:
        source = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    found = {}
    for tag, body in re.findall(r"enum (\w+) \{(.*?)\}", source, re.S):
        value = -1
        found[tag] = {}
        for member in filter(None, (m.strip() for m in body.split(","))):
            member, _, given = (w.strip() for w in member.partition("="))
            value = int(given, 0) if given else value + 1
            found[tag][member] = value
    return found


UAPI = os.environ.get("UAPI", "/payload/uapi")
_netlink = enums(UAPI + "/blobcache_netlink.h")
_device = enums(UAPI + "/blobcache_dev.h")


def _members(tag, prefix):
    members = {**_netlink, **_device}[tag]
    return {k.removeprefix(prefix): v for k, v in members.items() if k.startswith(prefix)}


# STATUS_GET ..., A_DEVICE ..., ST_DAEMON_PID ..., R_ID ..., FETCH, NEW ..., OK, CHANGED ...
_numbers = {
    **_members("bc_cmd", "BC_CMD_"),
    **{"A_" + k: v for k, v in _members("bc_attr", "BC_A_").items()},
    **{"ST_" + k: v for k, v in _members("bc_status_attr", "BC_STATUS_A_").items()},
    **{"R_" + k: v for k, v in _members("bc_request_attr", "BC_REQUEST_A_").items()},
    **_members("bc_request_kind", "BC_REQUEST_"), **_members("bc_request_state", "BC_REQUEST_"),
    **_members("bc_done_status", "BC_DONE_"),
    **{"D_" + k: v for k, v in _members("bc_dirty_attribute", "BC_DIRTY_A_").items()},
}
globals().update(_numbers)
CMD_MAX = max(_members("bc_cmd", "BC_CMD_").values())
A_MAX = max(_members("bc_attr", "BC_A_").values())
# pylint: disable=undefined-variable
DO = (STATUS_GET, TIER_ATTACH, TIER_DETACH, MOUNT_RELOWER, STATS_GET, RESOLVE_REPLY, RESIDENCY,
      PREFETCH, EVICT, PIN_ADD, PIN_REMOVE)
DUMP = (TIER_GET, MOUNT_GET, REQUEST_GET)
TIER_NAMES = {v: k.lower() for k, v in _members("bc_tier_attr", "BC_TIER_A_").items()}
TIER_STATES = {v: k.lower() for k, v in _members("bc_tier_state", "BC_TIER_").items()}
STAT_NAMES = {v: k.lower() for k, v in _members("bc_stat", "BC_STAT_").items()}
RESIDENT = _members("bc_residency_attr", "BC_RESIDENCY_A_")["RESIDENT"]

SIZES = {"hello": 40, "claim": 32, "bind": 120, "fill": 56, "done": 40}


def ioc(direction, nr, size):
    return direction << 30 | size << 16 | 0xbc << 8 | nr


HELLO, CLAIM, BIND, FILL, DONE = (ioc(3, 1, 40), ioc(1, 2, 32), ioc(1, 3, 120), ioc(1, 4, 56),
                                  ioc(1, 5, 40))

FLUSH_BEGIN, FLUSH_MAP, READ, FLUSH_END = ioc(3, 6, 64), ioc(1, 7, 72), ioc(1, 8, 72), ioc(1, 9, 128)
WRITING, READY, COMMITTED = 0, 1, 2             # enum bc_name_state
BASE_NONE, BASE_ETAG, BASE_UNKNOWN = 0, 1, 2    # enum bc_name_base

# --- netlink

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 1, 2, 4, 0x300
NLMSG_ERROR, NLMSG_DONE, NLM_F_CAPPED, NLM_F_ACK_TLVS = 2, 3, 0x100, 0x200
NLA_F_NESTED = 0x8000
NETLINK_GENERIC, SOL_NETLINK = 16, 270


def attr(kind, payload=b"", length=None):
    """@length: what it claims to be long, if that is a lie."""
    length = 4 + len(payload) if length is None else length
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-len(payload) % 4)


def u32(kind, value):
    return attr(kind, struct.pack("=I", value & 0xffffffff))


def u64(kind, value):
    return attr(kind, struct.pack("=Q", value & 0xffffffffffffffff))


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def nest(kind, *parts):
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def attrs(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found.setdefault(kind & 0x3fff, data[4:length])
        data = data[(length + 3) & ~3:]
    return found


def number(data):
    return int.from_bytes(data, "little")


class Refused(OSError):
    """An error reply; .message is the kernel's explanation."""

    def __init__(self, error, message):
        super().__init__(error, message or os.strerror(error))
        self.message = message


class Netlink:
    def __init__(self, family="blobcache"):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                                  NETLINK_GENERIC)
        self.sock.bind((0, 0))
        self.sock.setsockopt(SOL_NETLINK, 10, 1)        # NETLINK_CAP_ACK
        self.sock.setsockopt(SOL_NETLINK, 11, 1)        # NETLINK_EXT_ACK
        self.sock.settimeout(60)
        self.seq = 0
        reply = self.ask(16, 3, text(2, family))[0]     # CTRL_CMD_GETFAMILY
        self.family = number(reply[1])
        self.groups = {}
        for data in attrs(reply.get(7, b"")).values():
            group = attrs(data)
            self.groups[group[1].rstrip(b"\0").decode()] = number(group[2])

    def close(self):
        self.sock.close()

    def listen(self, group="events"):
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.sock.setsockopt(SOL_NETLINK, 1, self.groups[group])

    def tier_event(self, seconds):
        """(device, state) of the next event of a tier; others are passed over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = self.sock.recv(1 << 20)
            if data[16] == EVENT_TIER:
                tier = {TIER_NAMES[k]: v for k, v in attrs(attrs(data[20:])[A_TIER]).items()}
                return tier["device"].rstrip(b"\0").decode(), TIER_STATES[number(tier["state"])]
        return None

    def send(self, kind, cmd, payload, flags, version=1, length=None):
        self.seq += 1
        body = struct.pack("=BBH", cmd, version, 0) + payload
        length = 16 + len(body) if length is None else length
        self.sock.send(struct.pack("=IHHII", length, kind, flags, self.seq, 0) + body)

    def replies(self):
        """Attributes of each message up to the end, or Refused."""
        found = []
        while True:
            data = self.sock.recv(1 << 20)
            while len(data) >= 16:
                length, kind, flags, seq, _ = struct.unpack_from("=IHHII", data)
                message, data = data[:length], data[(length + 3) & ~3:]
                if seq != self.seq:
                    continue
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    error = struct.unpack_from("=i", message, 16)[0]
                    if error >= 0:
                        return found
                    at = 20 if kind == NLMSG_DONE else 36
                    more = attrs(message[at:]) if flags & NLM_F_ACK_TLVS else {}
                    raise Refused(-error, more.get(1, b"").rstrip(b"\0").decode(errors="replace"))
                found.append(attrs(message[20:]))

    def ask(self, kind, cmd, payload=b"", dump=False, **kw):
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else NLM_F_ACK)
        self.send(kind, cmd, payload, flags, **kw)
        return self.replies()

    def do(self, cmd, *parts, **kw):
        found = self.ask(self.family, cmd, b"".join(parts), **kw)
        return found[0] if found else {}

    def dump(self, cmd, *parts, **kw):
        return self.ask(self.family, cmd, b"".join(parts), dump=True, **kw)

    def error(self, cmd, *parts, **kw):
        """(errno, message); (0, "") if it was accepted."""
        try:
            self.do(cmd, *parts, **kw)
            return 0, ""
        except Refused as e:
            return e.errno, e.message

    # --- what tests ask often

    def attach(self, device):
        return self.error(TIER_ATTACH, text(A_DEVICE, device))

    def detach(self, device):
        return self.error(TIER_DETACH, text(A_DEVICE, device))

    def stats(self):
        found = attrs(self.do(STATS_GET)[A_STATS])
        return {STAT_NAMES[k]: number(v) for k, v in found.items() if k > 1}

    def status(self):
        return {k: number(v) for k, v in attrs(self.do(STATUS_GET)[A_STATUS]).items()
                if k != ST_MODULE_VERSION}

    def tier(self):
        """Of the attached tier, or None."""
        found = self.dump(TIER_GET)
        if not found:
            return None
        tier = {TIER_NAMES[k]: v for k, v in attrs(found[0][A_TIER]).items()}
        return {k: v if k in ("device", "uuid", "label") else number(v) for k, v in tier.items()}

    def requests(self, kind=None):
        found = []
        for message in self.dump(REQUEST_GET):
            request = attrs(message[A_REQUEST])
            for key in (R_ID, R_KIND, R_STATE, R_PRIORITY, R_OFFSET, R_LENGTH, R_SIZE, R_AGE_MS):
                if key in request:
                    request[key] = number(request[key])
            for key in (R_SOURCE, R_PATH, R_ETAG):
                if key in request:
                    request[key] = request[key].rstrip(b"\0").decode(errors="replace")
            if kind is None or request[R_KIND] == kind:
                found.append(request)
        return found

    def dirty(self):
        """Path -> attributes of each dirty object."""
        found = {}
        for message in self.dump(DIRTY_GET):
            d = attrs(message[A_DIRTY])
            texts = (D_SOURCE, D_PATH, D_DEVICE, D_ACKED_ETAG)
            d = {k: v.rstrip(b"\0").decode() if k in texts else
                 v if k == D_GENERATION else number(v) for k, v in d.items()}
            found[d[D_PATH]] = d
        return found

    def answer(self, ident, status, etag=None, size=None, modified=0):
        """Errno of a reply to a resolve."""
        parts = [u64(R_ID, ident), u32(R_STATUS, status)]
        if etag is not None:
            parts.append(text(R_ETAG, etag))
        if size is not None:
            parts += [u64(R_SIZE, size), u64(R_LAST_MODIFIED, modified)]
        return self.error(RESOLVE_REPLY, nest(A_REQUEST, *parts))[0]


# --- ioctls

class Delta:
    """What the counters that stats() gives moved by."""

    def __init__(self, nl):
        self._nl, self._begin = nl, nl.stats()

    def __getattr__(self, key):
        return self._nl.stats()[key] - self._begin[key]


def io_flusher(on=True):
    return LIBC.prctl(PR_SET_IO_FLUSHER, int(on), 0, 0, 0)


class Device:
    """/dev/blobcache/control, with what its calls return as errno, 0 = success."""

    def __init__(self):
        self.fd = os.open("/dev/blobcache/control", os.O_RDWR | os.O_CLOEXEC)
        self.epoch = self.lease_ms = None

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def raw(self, cmd, argument):
        """@argument: bytes-like, or an address to pass as it is."""
        if isinstance(argument, int):
            if LIBC.ioctl(self.fd, ctypes.c_ulong(cmd), ctypes.c_void_p(argument)) >= 0:
                return 0
            return ctypes.get_errno()
        try:
            fcntl.ioctl(self.fd, cmd, argument)
            return 0
        except OSError as e:
            return e.errno

    def hello(self, size=40, flags=0, version=1, reserved=(0, 0)):
        data = bytearray(struct.pack("=IIIIQQQ", size, flags, version, 0, 0, *reserved))
        error = self.raw(HELLO, data)
        if not error:
            self.lease_ms, self.epoch = struct.unpack_from("=IQ", data, 12)
        return error

    def claim(self, ident, flags=0, size=32, reserved=(0, 0)):
        return self.raw(CLAIM, struct.pack("=IIQQQ", size, flags, ident, *reserved))

    def bind(self, ident, object_size, etag=b"etag-1", modified=1000000000, length=None, size=120,
             flags=0, reserved32=0, reserved=(0, 0)):
        length = len(etag) if length is None else length
        return self.raw(BIND, struct.pack("=IIQQqII64sQQ", size, flags, ident, object_size,
                                          modified, length, reserved32, etag, *reserved))

    def fill(self, ident, offset, data, length=None, address=None, size=56, flags=0, reserved32=0,
             reserved=(0, 0)):
        keep = ctypes.create_string_buffer(data, len(data)) if data else None
        length = len(data) if length is None else length
        address = (ctypes.addressof(keep) if keep else 0) if address is None else address
        return self.raw(FILL, struct.pack("=IIQQIIQQQ", size, flags, ident, offset, length,
                                          reserved32, address, *reserved))

    def done(self, ident, status, retry_after_ms=0, size=40, flags=0, reserved=(0, 0)):
        return self.raw(DONE, struct.pack("=IIQIIQQ", size, flags, ident, status, retry_after_ms,
                                          *reserved))


    # --- flushes

    def flush_begin(self, generation, size=64, flags=0, reserved=(0, 0)):
        """(errno, cut, size of the object, step)"""
        data = bytearray(struct.pack("=II16sQQQQQ", size, flags, generation, 0, 0, 0, *reserved))
        error = self.raw(FLUSH_BEGIN, data)
        return (error, *struct.unpack_from("=QQQ", data, 24))

    def flush_map(self, generation, cut, block, count, size=72, flags=0, reserved=(0, 0)):
        """(errno, [(seq, crc, length)])"""
        array = ctypes.create_string_buffer(16 * max(count, 1))
        error = self.raw(FLUSH_MAP, struct.pack("=II16sQQIIQQQ", size, flags, generation, cut, block,
                                                count, 0, ctypes.addressof(array), *reserved))
        return error, list(struct.iter_unpack("=QII", array.raw))[:count]

    def read(self, generation, cut, offset, length, size=72, flags=0, reserved=(0, 0)):
        """(errno, bytes)"""
        data = ctypes.create_string_buffer(max(length, 1))
        error = self.raw(READ, struct.pack("=II16sQQIIQQQ", size, flags, generation, cut, offset,
                                           length, 0, ctypes.addressof(data), *reserved))
        return error, data.raw[:length]

    def read_all(self, generation, cut, size):
        data = b""
        while len(data) < size:
            error, part = self.read(generation, cut, len(data), min(1 << 20, size - len(data)))
            if error:
                raise OSError(error, os.strerror(error))
            data += part
        return data

    def flush_end(self, generation, cut, etag=None, modified=0, size=128, flags=None, length=None,
                  reserved=(0, 0)):
        flags = int(etag is not None) if flags is None else flags
        etag = etag or b""
        length = len(etag) if length is None else length
        return self.raw(FLUSH_END, struct.pack("=II16sQqII64sQQ", size, flags, generation, cut, modified,
                                               length, 0, etag, *reserved))


def name(error):
    return errno.errorcode.get(error, str(error))
