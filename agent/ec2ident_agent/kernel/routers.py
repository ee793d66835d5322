"""IPv6 routers on a link, beyond what routes say: the neighbours that say that they are routers, and who answers.

The kernel forgets its advertised default route where forwarding is enabled with accept_ra = 1, as Docker does, and
network managers may not add one at all. The neighbour table still marks the router (NTF_ROUTER), from its
advertisements and its answers to neighbour solicitations (RFC 4861). Only `seek` sends packets, to the link alone.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop, inet_pton, socket
from _struct import Struct

from ec2ident_agent.errors import UnknownError
from ec2ident_agent.profile import VPC_ROUTER6

from .dump import ATTRIBUTE, ERROR, HEADER, REQUEST, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .dump import Channel

NEW_NEIGHBOUR, GET_NEIGHBOUR = 28, 30
ACKNOWLEDGE, CREATE = 0x4, 0x400
#: struct ndmsg: family, two fields of padding, interface, state, flags, type (linux/neighbour.h).
NEIGHBOUR_HEADER = Struct("=BBHiHBB")
DESTINATION, ROUTER, USE = 1, 0x80, 0x01
#: NUD_INCOMPLETE and NUD_FAILED: it has not answered.
SILENT = 0x01 | 0x20

SOCK_RAW, ICMP6, IPPROTO_IPV6, MULTICAST_HOPS = 3, 58, 41, 18
ALL_ROUTERS = "ff02::2"
#: Type 133, code 0; the kernel computes the checksum.
SOLICITATION = b"\x85\0\0\0\0\0\0\0"
#: Seconds for an answer, and between two looks at the neighbours.
PATIENCE, PAUSE = 1.0, 0.05


def neighbours(channel: Channel, index: int) -> tuple[str, ...]:
    """The link-local addresses of the routers on this link, the VPC's first. Raises UnknownError."""
    header = NEIGHBOUR_HEADER.pack(AF_INET6, 0, 0, 0, 0, 0, 0)
    found = []
    for payload in channel.dump(GET_NEIGHBOUR, header):
        family, _, _, device, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(payload)
        address = attributes(payload, NEIGHBOUR_HEADER.size).get(DESTINATION, b"")
        if family == AF_INET6 and device == index and flags & ROUTER and not state & SILENT and len(address) == 16:
            found.append(inet_ntop(AF_INET6, address))
    return _ordered(found)


def seek(channel: Channel, index: int) -> tuple[str, ...]:
    """The same, after asking: a router solicitation, and a neighbour solicitation for the VPC's router.

    It waits until a router has answered, and at most PATIENCE seconds. Raises UnknownError.
    """
    from time import monotonic, sleep

    _solicit_routers(index)
    _solicit_the_vpcs_router(channel, index)
    end = monotonic() + PATIENCE
    while True:
        found = neighbours(channel, index)
        if found or monotonic() >= end:
            return found
        sleep(PAUSE)


def _solicit_routers(index: int) -> None:
    """Send a router solicitation; what cannot be sent, as while the link has no address, is not answered."""
    try:
        with_socket = socket(AF_INET6, SOCK_RAW, ICMP6)
    except OSError:
        return
    try:
        # RFC 4861: a solicitation with another hop limit than 255 is not from this link.
        with_socket.setsockopt(IPPROTO_IPV6, MULTICAST_HOPS, 255)
        with_socket.setblocking(False)
        with_socket.sendto(SOLICITATION, (ALL_ROUTERS, 0, 0, index))
    except OSError:
        return
    finally:
        with_socket.close()


def _solicit_the_vpcs_router(channel: Channel, index: int) -> None:
    """Let the kernel ask for the neighbour fe80:ec2::1 (NTF_USE). No route covers it, so no packet would.

    An older kernel may refuse. Raises UnknownError.
    """
    number = channel.number()
    body = NEIGHBOUR_HEADER.pack(AF_INET6, 0, 0, index, 0, USE, 0)
    body += ATTRIBUTE.pack(20, DESTINATION) + inet_pton(AF_INET6, VPC_ROUTER6)
    try:
        channel.send(HEADER.pack(16 + len(body), NEW_NEIGHBOUR, REQUEST | ACKNOWLEDGE | CREATE, number, 0) + body)
        while not any(kind == ERROR and sequence == number for kind, _, sequence, _ in channel.messages()):
            continue
    except OSError as failed:
        raise UnknownError(f"netlink: no answer to a neighbour solicitation: {failed}") from failed


def _ordered(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({each for each in addresses if each.startswith("fe80:")}, key=lambda each: each != VPC_ROUTER6))
