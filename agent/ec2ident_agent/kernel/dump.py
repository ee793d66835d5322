"""Reading the kernel: rules, routes, addresses and links, on a raw netlink socket, with no imports to pay.

Most calls find nothing to do, so looking must be cheap: this decoder takes what we need from four dumps and ignores the
rest; tests hold it against pyroute2's. Numbers are from linux/rtnetlink.h, fib_rules.h, if_addr.h, if_link.h; the
protocol is RFC 3549. Three traps: a dump that fails says so in NLMSG_DONE and not in NLMSG_ERROR; a dump during which
the tables changed is marked NLM_F_DUMP_INTR and must be taken again; a kernel before 4.20 filters nothing, so what is
read is filtered here too.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, error, inet_ntop, inet_pton, socket, timeout
from _struct import Struct
from sys import byteorder

from ec2ident_agent.errors import UnknownError
from ec2ident_agent.items import DEFAULT, OURS, Address, Link, Observed, Route, Rule, Seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .protocol import Decision, Query

    Attributes = dict[int, bytes]
    #: The first of the messages that differ in an address alone, by all their other bytes.
    Alike = dict[bytes, Seen]

AF_NETLINK, SOCK_RAW, SOCK_CLOEXEC, SOL_NETLINK, SOL_SOCKET = 16, 3, 0o2000000, 270, 1
SO_RCVBUF, SO_RCVBUFFORCE, MSG_TRUNC = 8, 33, 0x20
CAP_ACK, EXT_ACK, STRICT_CHECK = 10, 11, 12
NOOP, ERROR, DONE, OVERRUN = 1, 2, 3, 4
REQUEST, DUMP, INTERRUPTED, CAPPED, TEXT_FOLLOWS = 1, 0x300, 0x10, 0x100, 0x200
NEW_ROUTE = 24
GET_LINK, GET_ADDRESS, GET_ROUTE, GET_RULE = 18, 22, 26, 34

EINTR, ENOENT, EAGAIN, ENOBUFS = 4, 2, 11, 105
#: Larger than any dump message: the kernel builds them in at most 32 KiB, a link with many virtual functions more.
BUFFER = 1 << 18
#: Seconds for one answer. The kernel answers at once; this only means that no call hangs for ever.
PATIENCE = 10.0
#: How often a dump is taken again because the tables changed under it.
ATTEMPTS = 50

HEADER = Struct("=IHHII")
ATTRIBUTE = Struct("=HH")
INT, UINT = Struct("=i"), Struct("=I")
RULE_HEADER = Struct("=BBBBBBBBI")
ROUTE_HEADER = RULE_HEADER
ADDRESS_HEADER = Struct("=BBBBI")
LINK_HEADER = Struct("=BBHiII")

MAIN, LOCAL = 254, 255
#: The families that we know, and how long an address is.
SIZES = {AF_INET: 4, AF_INET6: 16}
#: IFLA_EXT_MASK = RTEXT_FILTER_SKIP_STATS: a link's statistics are most of its message, and are not needed.
SKIP_STATISTICS = Struct("=HHI").pack(8, 29, 8)


class Channel:
    """A netlink socket: requests out, whole messages in. Used for looking here, and for changing by `netlink`."""

    def __init__(self) -> None:
        self._sequence = 0
        #: True once the routes of the node were found to be too many to read all of them at each look.
        self.many = False
        self._open()

    def _open(self) -> None:
        try:
            self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
            self._socket.bind((0, 0))
        except OSError as refused:
            raise UnknownError(f"netlink socket: {os.strerror(refused.errno or 0)}") from refused
        self._socket.settimeout(PATIENCE)
        for option in (CAP_ACK, EXT_ACK):
            self._set(SOL_NETLINK, option, 1)
        #: True if the kernel filters a dump of routes by table (4.20).
        self.filters = self._set(SOL_NETLINK, STRICT_CHECK, 1)

    def _set(self, level: int, option: int, value: int) -> bool:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError:
            return False  # An older kernel: we filter ourselves, and errors come without text.
        return True

    def enlarge(self) -> None:
        """Room for many acknowledgements at once; without root, up to the system's limit."""
        for option in (SO_RCVBUF, SO_RCVBUFFORCE):
            self._set(SOL_SOCKET, option, 1 << 22)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def number(self) -> int:
        """A sequence number of its own for the next request."""
        self._sequence += 1
        return self._sequence

    def send(self, message: bytes) -> None:
        """Send one request to the kernel. Raises OSError."""
        self._socket.sendto(message, (0, 0))

    def messages(self) -> list[tuple[int, int, int, bytes]]:
        """One datagram's messages: type, flags, sequence number, payload. Raises UnknownError for other data."""
        data, _, flags, _ = self._socket.recvmsg(BUFFER)
        if flags & MSG_TRUNC:
            raise UnknownError("netlink: an answer larger than the buffer")
        found = []
        offset, end, unpack = 0, len(data), HEADER.unpack_from
        while offset + 16 <= end:
            length, kind, flags, sequence, _ = unpack(data, offset)
            if length < 16 or offset + length > end:
                break
            found.append((kind, flags, sequence, data[offset + 16 : offset + length]))
            offset += (length + 3) & ~3
        if offset < end:
            raise UnknownError("netlink: an answer that ends in the middle of a message")
        return found

    def dump(self, request: int, header: bytes) -> list[bytes]:
        """The payloads of a whole dump that nothing changed under. Raises UnknownError with the kernel's words."""
        return self.beginning(request, header, 0)[0]

    def beginning(self, request: int, header: bytes, most: int) -> tuple[list[bytes], bool]:
        """The same, and True; or, when there are more than `most` (0: no limit), the first ones, and False."""
        for _ in range(ATTEMPTS):
            try:
                answer = self._dump_once(request, header, most)
            except (timeout, error) as failed:
                if failed.errno in (EINTR, ENOBUFS):
                    continue
                raise UnknownError(f"netlink: no answer to a dump: {failed}") from failed
            if answer is not None:
                return answer
        raise UnknownError(f"netlink: the tables changed during each of {ATTEMPTS} dumps; try again")

    def _dump_once(self, request: int, header: bytes, most: int) -> tuple[list[bytes], bool] | None:
        sequence = self.number()
        self.send(HEADER.pack(16 + len(header), request, REQUEST | DUMP, sequence, 0) + header)
        payloads: list[bytes] = []
        marks = 0
        while True:
            for kind, flags, answered, payload in self.messages():
                if answered != sequence:
                    continue  # What is left of a dump that was given up.
                marks |= flags
                if kind > OVERRUN:
                    payloads.append(payload)
                elif kind == OVERRUN:
                    return None
                elif kind != NOOP:
                    failed, text = failure(kind, flags, payload)
                    if failed == EINTR:
                        return None
                    if failed not in (0, ENOENT):
                        raise UnknownError(f"netlink: dump refused: {text}")
                    return None if marks & INTERRUPTED else (payloads, True)
            if most and len(payloads) > most:
                # The kernel makes the rest of a dump as it is read; it ends with its socket.
                self.close()
                self._open()
                return None if marks & INTERRUPTED else (payloads, False)


def failure(kind: int, flags: int, payload: bytes) -> tuple[int, str]:
    """The positive error number in an acknowledgement or at a dump's end, and the kernel's own words for it."""
    number = -INT.unpack_from(payload)[0] if len(payload) >= 4 else 0
    skip = 4
    if kind == ERROR:
        # The request's header is echoed, and without CAP_ACK or on success without CAPPED its body too.
        echoed = UINT.unpack_from(payload, 4)[0] if len(payload) >= 20 else 16
        skip += 16 if flags & CAPPED else (echoed + 3) & ~3
    text = attributes(payload, skip).get(1, b"") if flags & TEXT_FOLLOWS else b""
    words = text.split(b"\0")[0].decode("ascii", "replace")
    return number, words or os.strerror(number)


def attributes(payload: bytes, offset: int) -> Attributes:
    """Attribute type to value; of a type given twice the last one. Raises UnknownError when one does not fit."""
    found: Attributes = {}
    end, unpack = len(payload), ATTRIBUTE.unpack_from
    last = end - 4
    while offset <= last:
        length, kind = unpack(payload, offset)
        after = offset + length
        if length < 4 or after > end:
            raise UnknownError("netlink: an attribute longer than its message")
        found[kind & 0x3FFF] = payload[offset + 4 : after]
        offset = (after + 3) & ~3
    return found


def ends_in(kind: int, found: Attributes, attributes: bytes) -> bool:
    """Is it the last attribute? Of one that is there twice the place is the first one's, so then nothing is known."""
    once = sum((len(value) + 7) & ~3 for value in found.values()) == (len(attributes) + 3) & ~3
    return once and next(reversed(found), None) == kind


def number(value: bytes) -> int:
    """An unsigned integer in the byte order of this machine, as netlink has it."""
    return int.from_bytes(value, byteorder)


def text(family: int, value: bytes, length: int | None = None) -> str:
    """An address, or with `length` a prefix."""
    return inet_ntop(family, value) if length is None else f"{inet_ntop(family, value)}/{length}"


# -- rules ------------------------------------------------------------------------------------------------------------

#: What a rule may also select by, or do: attribute to the word that `ip rule` shows. Any of them makes it another rule.
RULE_EXTRAS = {
    3: "iif", 4: "goto", 10: "fwmark", 11: "realms", 12: "tun_id", 13: "suppress_ifgroup", 16: "fwmask", 17: "oif",
    19: "l3mdev", 20: "uidrange", 22: "ipproto", 23: "sport", 24: "dport", 25: "dscp", 26: "flowlabel",
    27: "flowlabel_mask", 28: "sport_mask", 29: "dport_mask", 30: "dscp_mask",
}  # fmt: skip
#: What says nothing about which rule it is: padding, and the neutral value of suppress_ifgroup.
RULE_KNOWN = {0, 1, 2, 6, 14, 15, 18, 21}
SOURCE = 2
#: Suppress nothing.
NONE = b"\xff\xff\xff\xff"


def rule(payload: bytes, _: dict[int, str], alike: Alike | None = None) -> Seen | None:
    """A rule. Hundreds may differ in their source alone, and its value comes last (fib4_rule_fill, fib6_rule_fill).

    `alike`, for the rules of one dump, keeps the first of them. Among the bytes that it is known by are all headers of
    attributes, so that nothing can stand elsewhere in the others, and they are not walked.
    """
    family, size = payload[0], SIZES.get(payload[0])
    if not size:
        return None  # multicast routing has rules of its own
    known = alike.get(payload[:-size]) if alike else None
    if known is None:
        found = attributes(payload, 12)
        seen = _rule(payload, found)
        if alike is not None and ends_in(SOURCE, found, payload[12:]) and len(payload) % 4 == 0:
            alike[payload[:-size]] = seen
        return seen
    item = known.item
    assert isinstance(item, Rule)
    source = f"{inet_ntop(family, payload[-size:])}/{payload[2]}"
    return Seen(Rule(source, item.table, item.priority, item.destination, item.suppress), known.protocol, known.extra)


def _rule(payload: bytes, found: Attributes) -> Seen:
    family, to_length, from_length, tos, table, _r1, _r2, action, flags = RULE_HEADER.unpack_from(payload)
    get = found.get
    source, destination, suppress, whole = get(SOURCE), get(1), get(14, NONE), get(15)
    item = Rule(
        text(family, source, from_length) if source else "",
        int.from_bytes(whole, byteorder) if whole else table,
        int.from_bytes(get(6, b""), byteorder),
        text(family, destination, to_length) if destination else "",
        -1 if suppress == NONE else number(suppress),
    )
    extra = []
    if family == AF_INET6 and not (item.source or item.destination):
        extra.append("inet6")  # "from all" exists once in each family
    if tos:
        extra.append(f"tos {tos}")
    if action != 1:
        extra.append(f"action {action}")
    if flags & 2:
        extra.append("not")
    if not RULE_KNOWN.issuperset(found):
        extra += [
            f"{RULE_EXTRAS.get(kind, f'attribute {kind}')} {value.hex()}"
            for kind, value in sorted(found.items())
            if kind not in RULE_KNOWN and not (kind == 13 and value == NONE)
        ]
    return Seen(item, number(found[21]) if 21 in found else None, tuple(extra))


# -- routes -----------------------------------------------------------------------------------------------------------

UNICAST = 1
ROUTE_TYPES = {
    2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit",
    9: "throw", 10: "nat", 11: "xresolve",
}  # fmt: skip
#: Attributes of a route that no item has a field for -> the word that `ip route` shows.
ROUTE_EXTRAS = {2: "from", 3: "iif", 7: "src", 9: "multipath", 11: "realms", 16: "mark", 18: "via",
                20: "pref", 21: "encap-type", 22: "encap", 26: "sport", 30: "nhid"}  # fmt: skip
#: Ages, padding and the medium preference say nothing about which route it is.
ROUTE_KNOWN = {0, 1, 4, 5, 6, 8, 12, 15, 20, 23, 24, 25, 27, 28, 29}
#: RTA_METRICS, and in it RTAX_MTU and RTAX_ADVMSS; of any other metric an item has no field.
METRICS, MTU, ADVMSS = 8, 2, 8
METRICS_KNOWN = {MTU, ADVMSS}
CLONED, ONLINK = 0x200, 4


#: With more routes than this the table main is not read, but for its default routes: a BGP speaker's has 100,000.
LONG = 256


def matters(payload: bytes, main: bool = False) -> bool:
    """True for a route that is owned, or in a table that could be, or a default route of main, which names a router.

    With `main`, for every route of main. Every address has its route in the table local, and main may be long: those
    cost a look at their header only.
    """
    table = payload[4]
    return table not in (MAIN, LOCAL) or payload[5] == OURS or (table == MAIN and (main or payload[1] == 0))


def route(payload: bytes, names: dict[int, str]) -> Seen | None:
    """The route of one RTM_NEWROUTE message (rtnetlink(7)); None for what the agent does not manage."""
    family, length, _, tos, header_table, protocol, scope, kind, flags = ROUTE_HEADER.unpack_from(payload)
    if family not in SIZES or flags & CLONED:
        return None
    found = attributes(payload, 12)
    metrics = attributes(found[METRICS], 0) if METRICS in found else {}
    version = 4 if family == AF_INET else 6
    device = number(found.get(4, b""))
    item = Route(
        text(family, found[1], length) if 1 in found else DEFAULT[version],
        (names.get(device) or f"if{device}") if device else "",
        number(found[15]) if 15 in found else header_table,
        text(family, found[5]) if 5 in found else "",
        number(found.get(6, b"")),
        number(metrics.get(MTU, b"")),
        number(metrics.get(ADVMSS, b"")),
    )
    extra = []
    if tos:
        extra.append(f"tos {tos}")
    if not METRICS_KNOWN.issuperset(metrics):
        extra.append(f"metrics {found[METRICS].hex()}")
    if kind != UNICAST:
        extra.append(ROUTE_TYPES.get(kind, f"type {kind}"))
    if family == AF_INET and scope != (0 if item.gateway else 253) and kind == UNICAST:
        extra.append(f"scope {scope}")
    if flags & ONLINK:
        extra.append("onlink")
    extra += [
        f"{ROUTE_EXTRAS.get(attribute, f'attribute {attribute}')} {value.hex()}"
        for attribute, value in sorted(found.items())
        if attribute not in ROUTE_KNOWN
    ]
    return Seen(item, protocol, tuple(extra))


# -- addresses and links ----------------------------------------------------------------------------------------------

#: IFA_CACHEINFO: lifetimes, and when it was made and changed.
AGE = 6
#: IFA_F_PERMANENT: an address without it has a lifetime, as from a lease or a router advertisement.
PERMANENT = 0x80
#: The headers of IFA_ADDRESS and IFA_LOCAL with an IPv4 address each.
ADDRESS_AND_LOCAL = ATTRIBUTE.pack(8, 1) + ATTRIBUTE.pack(8, 2)


def address(payload: bytes, names: dict[int, str], alike: Alike | None = None) -> Seen | None:
    """An address. Hundreds may differ in nothing but their value, which comes first, and their age, which comes last.

    So says inet_fill_ifaddr; the value is there twice where there is no peer. `alike` is what it is for rules.
    """
    if payload[0] not in SIZES:
        return None
    own = payload[12:16]
    rest = payload[:12] + payload[16:20] + payload[24:-16] if own == payload[20:24] else b""
    known = alike.get(rest) if alike else None
    if known is None:
        found = attributes(payload, 8)
        seen = _address(payload, found, names)
        shaped = rest[8:16] == ADDRESS_AND_LOCAL and ends_in(AGE, found, payload[8:])
        if alike is not None and shaped and len(found[AGE]) == 16:
            alike[rest] = seen
        return seen
    item = known.item
    assert isinstance(item, Address)
    value = f"{inet_ntop(AF_INET, own)}/{payload[1]}"
    return Seen(Address(item.device, value, item.label), known.protocol, known.extra)


def _address(payload: bytes, found: Attributes, names: dict[int, str]) -> Seen:
    family, length, flags, _, index = ADDRESS_HEADER.unpack_from(payload)
    get = found.get
    # On a point-to-point link IFA_ADDRESS is the peer, IFA_LOCAL our own; IPv6 without a peer has the first only.
    peer = get(1)
    own = get(2) or peer or b""
    label = get(3, b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    device = names.get(index) or f"if{index}"
    extra = () if peer is None or peer == own else (f"peer {text(family, peer)}",)
    item = Address(device, text(family, own, length), "" if label == device else label)
    protocol = get(11)
    if not flags & PERMANENT and protocol != bytes([OURS]):
        extra = (*extra, "leased")
    return Seen(item, protocol[0] if protocol else None, extra)


#: IFLA_PROP_LIST with IFLA_ALT_IFNAME in it; IFLA_AF_SPEC, in it AF_INET6, and in that IFLA_INET6_CONF with the
#: place of DEVCONF_DISABLE_IPV6 (linux/if_link.h, linux/ipv6.h).
PROPERTIES, ALTERNATIVE, FAMILIES, SETTINGS, DISABLED = 52, 53, 26, 2, 26
#: IFLA_LINKINFO, with IFLA_INFO_KIND in it.
LINK_INFO, KIND = 18, 1
#: IFLA_LINK, which is an index of another namespace where IFLA_LINK_NETNSID is there; IFLA_MASTER.
LOWER, ELSEWHERE, MASTER = 5, 37, 10


def link(payload: bytes) -> Link:
    """The link of one RTM_NEWLINK message (rtnetlink(7))."""
    _, _, _, index, flags, _ = LINK_HEADER.unpack_from(payload)
    found = attributes(payload, 16)
    name = found.get(3, b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    alternatives = _alternatives(found[PROPERTIES]) if PROPERTIES in found else ()
    kind = attributes(found[LINK_INFO], 0).get(KIND, b"") if LINK_INFO in found else b""
    what = kind.rstrip(b"\0").decode("ascii", "replace")
    master = number(found.get(MASTER, b""))
    lower = number(found.get(LOWER, b"")) if ELSEWHERE not in found else 0
    mac, up = found.get(1, b"").hex(":"), bool(flags & 1)
    return Link(index, name, mac, up, alternatives, _has_ipv6(found), what, master, lower)


def _alternatives(properties: bytes) -> tuple[str, ...]:
    found, offset = [], 0
    while offset + 4 <= len(properties):
        length, kind = ATTRIBUTE.unpack_from(properties, offset)
        if length < 4:
            break
        if kind & 0x3FFF == ALTERNATIVE:
            name = properties[offset + 4 : offset + length].rstrip(b"\0")
            found.append(name.decode("utf-8", "surrogateescape"))
        offset += (length + 3) & ~3
    return tuple(found)


def _has_ipv6(found: Attributes) -> bool:
    """False if the kernel has no IPv6 on the device, or has it disabled. Without the attribute: unknown, so True."""
    if FAMILIES not in found:
        return True
    six = attributes(found[FAMILIES], 0).get(AF_INET6)
    settings = attributes(six, 0).get(SETTINGS, b"") if six else b""
    if six is None:
        return False
    return len(settings) < 4 * (DISABLED + 1) or INT.unpack_from(settings, 4 * DISABLED)[0] == 0


# -- all of it --------------------------------------------------------------------------------------------------------


def links(channel: Channel) -> tuple[Link, ...]:
    """All links of this network namespace. Raises UnknownError if the kernel's answer is incomplete."""
    return tuple(
        link(payload) for payload in channel.dump(GET_LINK, LINK_HEADER.pack(0, 0, 0, 0, 0, 0) + SKIP_STATISTICS)
    )


#: Routes that a look reads at most before it asks table by table: they take 2 ms, and few nodes have more.
MANY = 4096
#: Routes that a look reads at most of another program's IPv4 table, where there are more than MANY in all. The default
#: route is the first one: the kernel dumps a table in the order of its keys (fib_table_dump in net/ipv4/fib_trie.c).
FIRST = 256


def observe(channel: Channel, tables: Collection[int] = (), *, everything: bool = False) -> Observed:
    """What is there now; with `everything` all routes. Raises UnknownError; could-not-read is never empty.

    On a node with very many routes the kernel is asked for those of these `tables`, of the tables that rules lead to,
    and for main's default routes; `Observed.tables` then names the tables of which all routes were read.
    """
    found = links(channel)
    names = {each.index: each.name for each in found}

    alike: Alike = {}
    rules = [each for each in (rule(payload, names, alike) for payload in channel.dump(GET_RULE, bytes(12))) if each]
    routes, known = _routes(channel, tables, rules, everything=everything)
    short = known is None and sum(payload[4] == MAIN for payload in routes) <= LONG
    seen = [*rules, *(route(payload, names) for payload in routes if everything or matters(payload, short))]
    seen += addresses(channel, names)
    return Observed(found, tuple(filter(None, seen)), tables=known)


def _routes(
    channel: Channel, tables: Collection[int], rules: Iterable[Seen], *, everything: bool
) -> tuple[list[bytes], frozenset[int] | None]:
    """Routes, and the tables of which these are all; None for all tables."""
    few = everything or not channel.filters
    if few or not channel.many:
        found, whole = channel.beginning(GET_ROUTE, bytes(12), 0 if few else MANY)
        if whole:
            return found, None
        channel.many = True
    known = {*tables, *(each.item.table for each in rules if each.protocol == OURS and isinstance(each.item, Rule))}
    led = {each.item.table for each in rules if isinstance(each.item, Rule)} - {LOCAL, 0}
    found = []
    for table in sorted(known | led | {MAIN}):
        for family in SIZES:
            most = 0 if family == AF_INET6 or table in known else FIRST
            body = ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + ATTRIBUTE.pack(8, 15) + UINT.pack(table)
            found += channel.beginning(GET_ROUTE, body, most)[0]
    return found, frozenset(known)


def addresses(channel: Channel, names: dict[int, str]) -> list[Seen]:
    """The addresses alone: for who asks for them every few seconds, on a node that may have very many routes."""
    alike: Alike = {}
    found = (address(payload, names, alike) for payload in channel.dump(GET_ADDRESS, bytes(8)))
    return [each for each in found if each]


# -- the kernel's own routing decision --------------------------------------------------------------------------------

#: RTM_F_LOOKUP_TABLE: the answer names the table in which the route was found.
LOOKUP_TABLE = 0x1000
#: Requests in one send: their answers fit the socket's buffer.
QUESTIONS = 64
PORT = Struct("!H")


def lookup(channel: Channel, queries: Sequence[Query]) -> list[Decision]:
    """The routing decision for each packet (RTM_GETROUTE). Raises UnknownError."""
    names = {each.index: each.name for each in links(channel)} if queries else {}
    found: list[Decision] = []
    for start in range(0, len(queries), QUESTIONS):
        found += _decisions(channel, queries[start : start + QUESTIONS], names)
    return found


def _decisions(channel: Channel, queries: Sequence[Query], names: dict[int, str]) -> list[Decision]:
    from .protocol import Decision  # a look does without

    numbers = [channel.number() for _ in queries]
    answers: dict[int, Decision] = {}
    try:
        channel.send(b"".join(map(_question, queries, numbers)))
        while len(answers) < len(numbers):
            for kind, flags, sequence, payload in channel.messages():
                if kind == ERROR:
                    answers[sequence] = Decision(errno=failure(kind, flags, payload)[0])
                elif kind == NEW_ROUTE:
                    answers[sequence] = _decision(payload, names)
    except OSError as failed:
        raise UnknownError(f"netlink: no answer to a routing decision: {failed}") from failed
    return [answers[number] for number in numbers]


def _question(query: Query, number: int) -> bytes:
    family = AF_INET6 if ":" in query.source else AF_INET
    bits = 8 * SIZES[family]
    # IPv6 names the table unasked, and its strict check refuses every flag that it does not know.
    flags = LOOKUP_TABLE if family == AF_INET else 0
    body = ROUTE_HEADER.pack(family, bits, bits, query.tos, 0, 0, 0, 0, flags)
    body += ATTRIBUTE.pack(4 + SIZES[family], 1) + inet_pton(family, query.destination)
    body += ATTRIBUTE.pack(4 + SIZES[family], 2) + inet_pton(family, query.source)
    body += ATTRIBUTE.pack(8, 25) + UINT.pack(query.user) + ATTRIBUTE.pack(5, 27) + bytes((query.protocol, 0, 0, 0))
    if query.mark:
        body += ATTRIBUTE.pack(8, 16) + UINT.pack(query.mark)
    for kind, port in ((28, query.source_port), (29, query.destination_port)):
        if port:
            body += ATTRIBUTE.pack(6, kind) + PORT.pack(port) + b"\0\0"
    return HEADER.pack(16 + len(body), GET_ROUTE, REQUEST, number, 0) + body


def _decision(payload: bytes, names: dict[int, str]) -> Decision:
    from .protocol import Decision

    family, _, _, _, header_table, _, _, kind, _ = ROUTE_HEADER.unpack_from(payload)
    found = attributes(payload, 12)
    if kind in DROPPED:
        return Decision(errno=DROPPED[kind])
    device = number(found.get(4, b""))
    gateway = text(family, found[5]) if 5 in found else ""
    if 18 in found and len(found[18]) == 18:  # RTA_VIA: an IPv4 route by an IPv6 router
        gateway = text(AF_INET6, found[18][2:])
    table = number(found[15]) if 15 in found else header_table
    return Decision(names.get(device) or f"if{device}", gateway, table)


#: Types of route that drop a packet, and the error that a sender gets.
DROPPED = {6: 22, 7: 113, 8: 13}
