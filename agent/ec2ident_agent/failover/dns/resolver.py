"""Ask one DNS server one question over UDP, to see what clients see (RFC 1035). The reader is bounded and strict."""

from __future__ import annotations

import socket
import struct

from ec2ident_agent.failover.aws.response import name as normal
from ec2ident_agent.failover.errors import ApiUnknownError, MalformedResponseError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.failover.aws.deadline import Deadline

#: Seconds until a resolver is asked again that could not resolve the name.
SERVFAIL_PAUSE = 0.5

TYPES = {"A": 1, "AAAA": 28}

#: RFC 1035, 4.1.1 and RFC 6895.
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def question(name: str, kind: str, number: int) -> bytes:
    """A query packet. Raises UsageError for a malformed name."""
    labels = name.rstrip(".").split(".")
    try:
        packed = b"".join(bytes([len(label)]) + label.encode("ascii") for label in labels)
    except UnicodeEncodeError:
        raise UsageError(f"name: {name!r} is not ASCII; write it as xn--…") from None
    # With the empty label of the root that is 255 bytes at most (RFC 1035, 2.3.4).
    odd = not name.isprintable() or " " in name
    if odd or any(not 0 < len(label) < 64 for label in labels) or len(packed) > 254:
        raise UsageError(f"name: {name!r} is not a domain name")
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + packed + b"\0" + struct.pack(">2H", TYPES[kind], 1)


def read(packet: bytes, asked: bytes, kind: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The response code, and each address with its TTL. Raises MalformedResponseError.

    Names are skipped: the question has one name, and the server has followed every CNAME.
    """
    try:
        number, flags, questions, count = struct.unpack_from(">4H", packet)
        if number != struct.unpack_from(">H", asked)[0] or not flags & 0x8000 or questions != 1:
            raise MalformedResponseError("DNS: the answer is to another question")
        if packet[12 : len(asked)].lower() != asked[12:].lower():
            raise MalformedResponseError("DNS: the answer is to another question")
        found, offset = [], len(asked)
        for _ in range(count):
            offset = _skip(packet, offset)
            rtype, rclass, ttl, length = struct.unpack_from(">2HIH", packet, offset)
            data = packet[offset + 10 : offset + 10 + length]
            offset += 10 + length
            if (rtype, rclass) == (TYPES[kind], 1):
                found.append((_address(data, kind), ttl))
    except (struct.error, IndexError):
        raise MalformedResponseError("DNS: the answer breaks off") from None
    return CODES.get(flags & 15, str(flags & 15)), tuple(found)


def _address(data: bytes, kind: str) -> str:
    family, size = (socket.AF_INET, 4) if kind == "A" else (socket.AF_INET6, 16)
    if len(data) != size:
        raise MalformedResponseError(f"DNS: an address of {len(data)} bytes (expected {size})")
    return socket.inet_ntop(family, data)


def _skip(packet: bytes, offset: int) -> int:
    """The offset after a name; a compressed one ends with its pointer."""
    while True:
        length = packet[offset]
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
        if not length:
            return offset


def ask(server: str, name: str, kind: str, deadline: Deadline, number: int) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The answer of a server `ADDRESS[#PORT]`. Raises ApiUnknownError if there is none before the deadline."""
    address, _, port = server.partition("#")
    packet = question(name, kind, number)
    found: tuple[str, tuple[tuple[str, int], ...]] | None = None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            # A connected socket accepts packets from this server only.
            sock.connect((address, int(port or 53)))
            for _ in range(3):
                sock.send(packet)
                sock.settimeout(max(0.01, min(1.0, deadline.left)))
                try:
                    found = read(sock.recv(4096), packet, kind)
                except (socket.timeout, MalformedResponseError):
                    if not deadline.left:
                        break
                    continue
                if found[0] != "SERVFAIL":
                    return found
                # A resolver says so of a name server that did not answer it once; the next time it asks another.
                if deadline.left <= SERVFAIL_PAUSE:
                    break
                deadline.pause(SERVFAIL_PAUSE, "")
    except (OSError, ValueError) as error:
        raise ApiUnknownError(f"resolver {server}: {error}") from None
    if found:
        return found
    raise ApiUnknownError(f"resolver {server}: no answer for {normal(name)} {kind}")
