"""What the kernel announces about links, addresses, routes and rules, on a netlink socket of its own.

An announcement is a reason to look, and does not say what is there: the kernel drops IPv4 routes with their link
without announcing it, and a socket that overruns has lost some. So three things are taken from an announcement: that it
may matter; that a link went down, because items lost with it count as no flap; and, for a deletion, which program asked
for it. The kernel passes on the number of the socket that sent the request (nlmsg_pid), which for a program's first
netlink socket is its process number (netlink_autobind in net/netlink/af_netlink.c), in a container the number that it
has there. That is a hint for people, and decides nothing.
"""

from __future__ import annotations

import os
from _socket import error, socket
from _struct import Struct
from struct import error as struct_error

from ec2ident.value import Value
from ec2ident_agent.errors import UnknownError
from ec2ident_agent.items import OURS

from .dump import (
    AF_NETLINK,
    CLONED,
    EAGAIN,
    EINTR,
    ENOBUFS,
    HEADER,
    LINK_HEADER,
    LOCAL,
    MAIN,
    ROUTE_HEADER,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SOCK_CLOEXEC,
    SOCK_RAW,
    SOL_SOCKET,
    UINT,
    address,
    matters,
    route,
    rule,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Seen

#: rtnetlink.h: RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE.
GROUPS = sum(1 << (group - 1) for group in (1, 5, 7, 8, 9, 11, 19))
LINKS, ADDRESSES, ROUTES, RULES = (16, 17), (20, 21), (24, 25), (32, 33)

#: Room for a burst. What does not fit is an overrun, which is an announcement like any other.
ROOM = 1 << 20
#: Messages taken at once: a storm must not keep us from looking.
MANY = 4096
LARGEST = 1 << 16


SO_ATTACH_FILTER = 26
#: A pointer to the instructions, and an instruction: linux/filter.h.
PROGRAM, INSTRUCTION = Struct("HP"), Struct("=HBBI")
#: Classic BPF (Documentation/networking/filter.rst): load 4, 2 or 1 octets of the message; jump; return.
LOAD_4, LOAD_2, LOAD_1, IF_EQUAL, IF_SET, RETURN = 0x20, 0x28, 0x30, 0x15, 0x45, 0x06
SHORT = Struct("=H")


def _as_loaded(form: Struct, value: int) -> int:
    """BPF reads in network order, and netlink is written in the machine's."""
    return int.from_bytes(form.pack(value), "big")


#: `relevant`, for the kernel to ask before it wakes us: routes of main may change thousands of times a second. Offsets
#: are those of nlmsghdr and of rtmsg behind it. An announcement of a route is a message alone (rtmsg_fib,
#: inet6_rt_notify). After each test stand the number of instructions to skip if it holds, and if it does not.
FILTER = b"".join(
    INSTRUCTION.pack(*each)
    for each in (
        (LOAD_2, 0, 0, 4),  # nlmsg_type
        (IF_EQUAL, 1, 0, _as_loaded(SHORT, ROUTES[0])),
        (IF_EQUAL, 0, 9, _as_loaded(SHORT, ROUTES[1])),  # something else: take it
        (LOAD_4, 0, 0, 24),  # rtm_flags
        (IF_SET, 8, 0, _as_loaded(UINT, CLONED)),
        (LOAD_1, 0, 0, 21),  # rtm_protocol
        (IF_EQUAL, 5, 0, OURS),
        (LOAD_1, 0, 0, 20),  # rtm_table
        (IF_EQUAL, 4, 0, LOCAL),
        (IF_EQUAL, 0, 2, MAIN),
        (LOAD_1, 0, 0, 17),  # rtm_dst_len: a default route of main names a router
        (IF_EQUAL, 0, 1, 0),
        (RETURN, 0, 0, 0xFFFFFFFF),  # take it
        (RETURN, 0, 0, 0),  # drop it
    )
)


class Deletion(Value):
    """An owned object was deleted, and the number of the socket that asked for it; 0 for the kernel itself."""

    seen: Seen
    sender: int


class Heard(Value):
    """What was announced: something that may matter, deletions of owned objects, and links that went down."""

    changed: bool = False
    deletions: tuple[Deletion, ...] = ()
    down: frozenset[str] = frozenset()


def relevant(kind: int, payload: bytes) -> bool:
    """True if the announcement may be about an object that watch would add again."""
    if kind in ROUTES and len(payload) >= ROUTE_HEADER.size:
        cached = ROUTE_HEADER.unpack_from(payload)[8] & CLONED
        return not cached and matters(payload)
    return kind in LINKS or kind in ADDRESSES or kind in ROUTES or kind in RULES


def deletion(kind: int, payload: bytes, sender: int, names: dict[int, str]) -> Deletion | None:
    """What was deleted, if it carries our number, or none because the kernel keeps none."""
    seen = None
    try:
        if kind == ADDRESSES[1]:
            seen = address(payload, names, {})
        elif kind == ROUTES[1]:
            seen = route(payload, names)
        elif kind == RULES[1]:
            seen = rule(payload, {})
    except (UnknownError, ValueError, IndexError, struct_error):
        return None  # An announcement is worth no more than a look.
    return Deletion(seen, sender) if seen and seen.protocol in (OURS, None) and not seen.extra else None


def fallen(kind: int, payload: bytes, names: dict[int, str]) -> str:
    """The name of a link that went down or away; empty for any other announcement. IFF_UP is bit 0 (linux/if.h)."""
    if kind not in LINKS or len(payload) < LINK_HEADER.size:
        return ""
    family, _, _, index, flags, _ = LINK_HEADER.unpack_from(payload)
    gone = family == 0 and (kind == LINKS[1] or not flags & 1)  # A bridge announces its ports as a family of its own.
    return names.get(index, "") if gone else ""


class Events:
    """The socket. `drain` takes what came; the file descriptor is readable when something did."""

    def __init__(self, room: int = ROOM) -> None:
        try:
            self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
            for option in (SO_RCVBUF, SO_RCVBUFFORCE):
                _try(self._socket, option, room)
            _filter(self._socket)
            self._socket.bind((0, GROUPS))
        except OSError as refused:
            raise UnknownError(f"netlink socket: {os.strerror(refused.errno or 0)}") from refused
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The socket's number, for `select`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def drain(self, names: dict[int, str]) -> Heard:
        """All that came since the last time. `names` are the links' by their index."""
        changed, found, down = False, list[Deletion](), set[str]()
        for _ in range(MANY):
            try:
                data, (source, _groups) = self._socket.recvfrom(LARGEST)
            except error as failed:
                if failed.errno == EAGAIN:
                    break
                if failed.errno not in (EINTR, ENOBUFS):
                    raise UnknownError(f"netlink socket: {failed.strerror}") from failed
                changed = True
                continue
            if source != 0:
                continue  # Not the kernel.
            for kind, sender, payload in _messages(data):
                if relevant(kind, payload):
                    changed = True
                    gone = deletion(kind, payload, sender, names)
                    found += [gone] if gone else []
                    down.add(fallen(kind, payload, names))
        return Heard(changed, tuple(found), frozenset(down - {""}))


def _filter(channel: socket) -> None:
    """Let the kernel drop what is not relevant. Where it refuses, `relevant` alone decides."""
    from array import array  # once for each watch: it imports collections

    code = array("B", FILTER)
    try:
        channel.setsockopt(
            SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM.pack(len(FILTER) // INSTRUCTION.size, code.buffer_info()[0])
        )
    except OSError:
        return


def _try(channel: socket, option: int, value: int) -> None:
    try:
        channel.setsockopt(SOL_SOCKET, option, value)
    except OSError:
        return  # Without the capability, the system's own limit.


def _messages(data: bytes) -> list[tuple[int, int, bytes]]:
    """Type, sender and payload of each message of one datagram; what is cut short is left out."""
    found, offset = [], 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, sender = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            break
        found.append((kind, sender, data[offset + HEADER.size : offset + length]))
        offset += (length + 3) & ~3
    return found
