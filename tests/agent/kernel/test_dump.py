"""Our decoder against pyroute2's, on a kernel that holds nearly everything that rules, routes and addresses can be."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.errors import UnknownError
from ec2ident_agent.items import DEFAULT, Address, Link, Observed, Route, Rule, Seen
from ec2ident_agent.kernel import dump
from tests.agent.conftest import ip

T = TypeVar("T")

EVERYTHING = (
    "rule add from 10.0.1.0/24 to 10.2.0.0/16 table 1000 priority 70 protocol 236",
    "rule add from 10.0.2.0/24 to 10.2.0.0/16 table 1000 priority 70 protocol 236",
    "rule add from 10.0.2.0/25 to 10.2.0.0/16 table 1000 priority 70 protocol 236",
    "rule add from 10.0.2.0/24 to 10.3.0.0/16 table 1000 priority 70 protocol 236",
    "rule add from all fwmark 7/0xff table 70 priority 71",
    "rule add from 10.0.1.5/24 iif eth1 oif eth0 table 70 priority 72",
    "rule add not from 10.3.0.0/16 tos 0x10 table 70 priority 73",
    "rule add from 10.0.1.0/24 table main suppress_prefixlength 0 priority 74",
    "rule add from 10.0.1.0/24 table main suppress_ifgroup 5 priority 75",
    "rule add from 10.0.9.0/24 blackhole priority 76",
    "rule add from 10.0.9.0/24 unreachable priority 77",
    "rule add ipproto tcp dport 80-90 sport 7 table 70 priority 78",
    "rule add uidrange 5-6 table 70 priority 79",
    "rule add from 10.9.9.9 goto 32766 priority 80",
    "rule add from 10.9.9.9 table 70 realms 7 priority 81",
    "-6 rule add from fd00::/64 to fd01::/48 table 100000 priority 70 protocol 236",
    "-6 rule add from fd02::/64 to fd01::/48 table 100000 priority 70 protocol 236",
    "-6 rule add from all fwmark 7 table 70 priority 71",
    "route add 10.4.0.0/16 via 10.0.1.1 dev eth1 table 70 metric 5 proto 236 src 10.0.1.10",
    "route add 10.5.0.0/16 table 70 nexthop via 10.0.1.1 dev eth1 weight 2 nexthop via 10.0.0.1 dev eth0",
    "route add blackhole 10.6.0.0/16 table 70",
    "route add unreachable 10.7.0.0/16 table 70",
    "route add prohibit 10.8.0.0/16 table 70 metric 9",
    "route add throw 10.9.0.0/16 table 70",
    "route add local 10.10.0.0/16 dev lo table 70",
    "route add 10.11.0.0/16 dev eth1 tos 0x10 mtu 1400 table 100000",
    "route add 10.12.0.0/16 dev eth1 mtu 1400 advmss 1300 initcwnd 20 table 100000",
    "route add 10.13.0.0/16 dev eth1 mtu lock 1400 table 100000",
    "-6 route add fd00:77::/64 dev eth1 mtu 1400 hoplimit 64 table 100000",
    "route add 10.12.0.0/16 via 10.99.0.1 dev eth1 onlink table 70",
    "route add 10.13.0.0/16 via inet6 fd00:0:0:1::99 dev eth1 table 70",
    "route add default via 10.0.1.1 dev eth1 table 70",
    "nexthop add id 5 via 10.0.1.1 dev eth1",
    "route add 10.14.0.0/16 nhid 5 table 70",
    "-6 route add fd02::/48 via fd00:0:0:1::1 dev eth1 table 70 proto 236",
    "-6 route add fd03::/48 table 70 nexthop via fd00:0:0:1::1 dev eth1 nexthop via fd00::1 dev eth0",
    "-6 route add blackhole fd04::/48 table 70",
    "-6 route add unreachable fd05::/48 table 70",
    "-6 route add default via fe80::1 dev eth1 table 70 pref high",
    "address add 192.168.10.10/32 dev eth0 label eth0:1",
    "address add 192.168.10.11/32 dev eth0 label eth0:1",
    "address add 192.168.10.12/32 dev eth0",
    "address add 192.168.10.10/32 dev eth1",
    "address add 10.0.0.11/24 dev eth0 valid_lft 600 preferred_lft 300",
    "address add 10.77.0.1 peer 10.77.0.2/32 dev eth1",
    "address add 10.77.0.2 peer 10.77.0.3/32 dev eth1",
    "-6 address add fd77::1 peer fd77::2/128 dev eth1 nodad",
    "link set eth1 alias something",
)

#: Nexthop objects, and attributes of kernels from 6.11 on.
UNKNOWN_TO_PYROUTE2 = {"sport_mask", "dport_mask", "dscp", "dscp_mask", "flowlabel", "flowlabel_mask", "nhid"}
RULE_WORDS = {
    "FRA_IIFNAME": "iif", "FRA_OIFNAME": "oif", "FRA_FWMARK": "fwmark", "FRA_FWMASK": "fwmask", "FRA_GOTO": "goto",
    "FRA_SUPPRESS_IFGROUP": "suppress_ifgroup", "FRA_IP_PROTO": "ipproto", "FRA_SPORT_RANGE": "sport",
    "FRA_DPORT_RANGE": "dport", "FRA_UID_RANGE": "uidrange", "FRA_FLOW": "realms",
}  # fmt: skip
ROUTE_WORDS = {
    "RTA_PREFSRC": "src", "RTA_MULTIPATH": "multipath", "RTA_VIA": "via",
    "RTA_FLOW": "realms", "RTA_IIF": "iif", "RTA_SRC": "from",
}  # fmt: skip


@pytest.fixture
def busy(node: str) -> None:
    for command in EVERYTHING:
        ip(command)


@pytest.fixture
def theirs() -> Iterator[Any]:
    from pyroute2 import IPRoute  # type: ignore[import-untyped]

    with IPRoute() as route:
        yield route


@pytest.fixture
def channel() -> Iterator[dump.Channel]:
    channel = dump.Channel()
    yield channel
    channel.close()


def simple(seen: Seen) -> tuple[object, ...]:
    """An object with the kinds, but not the values, of what our items cannot say."""
    return seen.item, seen.protocol, sorted({word.split()[0] for word in seen.extra} - UNKNOWN_TO_PYROUTE2)


def rule_of(message: Any) -> tuple[object, ...]:
    attributes = dict(message["attrs"])
    source, destination = attributes.get("FRA_SRC"), attributes.get("FRA_DST")
    suppress = attributes.get("FRA_SUPPRESS_PREFIXLEN", 0xFFFFFFFF)
    item = Rule(
        f"{source}/{message['src_len']}" if source else "",
        attributes["FRA_TABLE"],
        attributes.get("FRA_PRIORITY", 0),
        f"{destination}/{message['dst_len']}" if destination else "",
        -1 if suppress == 0xFFFFFFFF else suppress,
    )
    extra = [word for name, word in RULE_WORDS.items() if name in attributes]
    if attributes.get("FRA_SUPPRESS_IFGROUP") == 0xFFFFFFFF:
        extra.remove("suppress_ifgroup")
    extra += ["inet6"] if message["family"] == 10 and not source and not destination else []
    extra += ["tos"] if message["tos"] else []
    extra += ["action"] if message["action"] != 1 else []
    extra += ["not"] if message["flags"] & 2 else []
    return item, attributes["FRA_PROTOCOL"], sorted(extra)


def route_of(message: Any, names: dict[int, str]) -> tuple[object, ...]:
    attributes = dict(message["attrs"])
    version = 4 if message["family"] == 2 else 6
    destination = attributes.get("RTA_DST")
    metrics = dict(attributes["RTA_METRICS"]["attrs"]) if "RTA_METRICS" in attributes else {}
    item = Route(
        f"{destination}/{message['dst_len']}" if destination else DEFAULT[version],
        names.get(attributes.get("RTA_OIF", 0), ""),
        attributes["RTA_TABLE"],
        attributes.get("RTA_GATEWAY") or "",
        attributes.get("RTA_PRIORITY", 0),
        metrics.get("RTAX_MTU", 0),
        metrics.get("RTAX_ADVMSS", 0),
    )
    extra = [word for name, word in ROUTE_WORDS.items() if name in attributes]
    extra += ["tos"] if message["tos"] else []
    extra += ["metrics"] if {*metrics} - {"RTAX_MTU", "RTAX_ADVMSS"} else []
    kinds = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}
    kinds |= {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
    extra += [kinds[message["type"]]] if message["type"] != 1 else []
    scope = 0 if item.gateway else 253
    extra += ["scope"] if version == 4 and message["type"] == 1 and message["scope"] != scope else []
    extra += ["onlink"] if message["flags"] & 4 else []
    return item, message["proto"], sorted(extra)


def address_of(message: Any, names: dict[int, str]) -> tuple[object, ...]:
    attributes = dict(message["attrs"])
    own = attributes.get("IFA_LOCAL") or attributes["IFA_ADDRESS"]
    device = names[message["index"]]
    label = attributes.get("IFA_LABEL", "")
    item = Address(device, f"{own}/{message['prefixlen']}", "" if label == device else label)
    # IFA_F_PERMANENT
    extra = [*(["peer"] if attributes["IFA_ADDRESS"] != own else []), *([] if message["flags"] & 0x80 else ["leased"])]
    return item, attributes.get("IFA_PROTO"), extra


def at_one_moment(channel: dump.Channel, look: Callable[[], T]) -> tuple[Observed, T]:
    """All that we read, and what another look saw while nothing changed: IPv6 adds routes when it comes to it."""
    end = time.monotonic() + 30
    while True:
        before, seen = dump.observe(channel, everything=True), look()
        if before == dump.observe(channel, everything=True):
            return before, seen
        assert time.monotonic() < end


@pytest.mark.root
@pytest.mark.usefixtures("busy")
def test_what_we_read_is_what_pyroute2_reads(channel: dump.Channel, theirs: Any) -> None:
    """Every rule, route, address and link of both families, in the kernel's order."""

    def look() -> tuple[list[Any], dict[type, list[tuple[object, ...]]]]:
        links = list(theirs.get_links())
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in links}
        return links, {
            Rule: [rule_of(each) for family in (2, 10) for each in theirs.get_rules(family=family)],
            Route: [route_of(each, names) for family in (2, 10) for each in theirs.get_routes(family=family)],
            Address: [address_of(each, names) for family in (2, 10) for each in theirs.get_addr(family=family)],
        }

    ours, (links, expected) = at_one_moment(channel, look)

    assert [
        Link(
            link["index"],
            link.get_attr("IFLA_IFNAME"),
            link.get_attr("IFLA_ADDRESS"),
            bool(link["flags"] & 1),
            kind=link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") if link.get_attr("IFLA_LINKINFO") else "",
            master=link.get_attr("IFLA_MASTER") or 0,
            lower=(link.get_attr("IFLA_LINK") if link.get_attr("IFLA_LINK_NETNSID") is None else 0) or 0,
        )
        for link in links
    ] == list(ours.links)
    for kind, objects in expected.items():
        assert objects == [simple(seen) for seen in ours.seen if isinstance(seen.item, kind)]
        assert len(objects) > 8


@pytest.mark.root
@pytest.mark.usefixtures("busy")
def test_what_cannot_matter_is_left_out_and_nothing_else(channel: dump.Channel) -> None:
    """The routes of local; and of a main that is long, but for the agent's and for the default routes."""
    for number in range(dump.LONG):
        ip("route add", f"10.77.{number}.0/24 dev eth1")
    everything, short = at_one_moment(channel, lambda: dump.observe(channel))

    left_out = [seen for seen in everything.seen if seen not in short.seen]
    assert left_out
    assert {254, 255} == {seen.item.table for seen in left_out if isinstance(seen.item, Route)}
    assert not any(seen.item.destination in DEFAULT.values() for seen in left_out
                   if isinstance(seen.item, Route) and seen.item.table == 254)  # fmt: skip
    assert "0.0.0.0/0 dev eth0" in {
        f"{seen.item.destination} dev {seen.item.device}" for seen in short.seen
        if isinstance(seen.item, Route) and seen.item.table == 254
    }  # fmt: skip


@pytest.mark.root
@pytest.mark.usefixtures("busy")
def test_a_main_that_is_not_long_is_read(channel: dump.Channel) -> None:
    """Its routes tell which networks are behind the node, and which another ENI leads to."""
    ip("route add 10.77.0.0/24 via 10.0.0.1 dev eth0")

    assert Route("10.77.0.0/24", "eth0", 254, "10.0.0.1") in {seen.item for seen in dump.observe(channel).seen}


class Script(dump.Channel):
    """A channel to a kernel that says what the test wrote: a list of datagrams for each request."""

    def __init__(self, *answers: list[bytes]) -> None:
        self._sequence = 0
        self._answers = iter(answers)

    def send(self, message: bytes) -> None:
        self._now = iter(next(self._answers))

    @property
    def _socket(self) -> Any:  # type: ignore[override]
        return self

    def recvmsg(self, size: int) -> tuple[bytes, None, int, None]:
        return next(self._now), None, 0, None


def message(kind: int, payload: bytes = b"", flags: int = 2, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload


def done(errno: int = 0, text: bytes = b"", flags: int = 2, sequence: int = 1) -> bytes:
    attribute = struct.pack("=HH", 4 + len(text), 1) + text if text else b""
    return message(3, struct.pack("=i", -errno) + attribute, flags | (0x200 if text else 0), sequence)


def test_an_error_at_the_end_of_a_dump_is_an_error() -> None:
    """It comes in NLMSG_DONE, after what looks like an empty table."""
    with pytest.raises(UnknownError, match="Invalid header for fib rule dump request"):
        Script([done(22, b"Invalid header for fib rule dump request\0")]).dump(34, bytes(12))


def test_a_table_that_does_not_exist_is_empty() -> None:
    """ENOENT is the kernel's answer to a dump of it."""
    assert [] == Script([done(2, b"ipv4: FIB table does not exist\0")]).dump(26, bytes(12))


def test_a_dump_that_was_interrupted_is_taken_again() -> None:
    """NLM_F_DUMP_INTR: the tables changed under it, and it may have missed or doubled an object."""
    first = [message(32, bytes(12), flags=0x12) + message(32, bytes(12)), done()]
    second = [message(32, bytes(12), sequence=2), done(sequence=2)]

    assert 1 == len(Script(first, second).dump(34, bytes(12)))


def test_a_dump_that_is_interrupted_for_ever_is_unknown() -> None:
    """Not an answer that might be half of one."""
    answers = [[done(flags=0x12, sequence=number)] for number in range(1, dump.ATTEMPTS + 1)]

    with pytest.raises(UnknownError, match="changed during each of"):
        Script(*answers).dump(34, bytes(12))


def test_what_is_left_of_an_earlier_dump_is_passed_over() -> None:
    """Another sequence number is another question's answer."""
    assert [] == Script([message(32, bytes(12), sequence=77) + done()]).dump(34, bytes(12))


@pytest.mark.parametrize("data", [b"\0" * 15, struct.pack("=IHHII", 8, 3, 0, 1, 0), message(32, bytes(12))[:-1]])
def test_a_message_that_does_not_fit_is_unknown(data: bytes) -> None:
    """A length that is too short, or longer than the datagram."""
    with pytest.raises(UnknownError, match="ends in the middle"):
        Script([data]).dump(34, bytes(12))


@given(st.binary(max_size=200))
def test_any_attributes_are_read_or_unknown(data: bytes) -> None:
    """Never another exception, never outside the message."""
    try:
        found = dump.attributes(data, 0)
    except UnknownError:
        return
    assert all(value in data for value in found.values())


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


#: Few values, so that many messages are alike; some of them hold what looks like the header of an address.
ONE, OTHER = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
BOTH = [ONE, OTHER]
LIKE = [attribute(2, each) for each in BOTH]
RULE_PARTS = [
    *(attribute(kind, each) for kind in (1, 2) for each in BOTH), *(attribute(kind, each) for kind in (3, 20)
    for each in LIKE), attribute(6, b"\1\0\0\0"), attribute(15, b"\1\1\0\0"), attribute(21, b"\xec"),
]  # fmt: skip
ADDRESS_STARTS = [
    *(attribute(kind, each) for kind in (1, 2) for each in BOTH),
    *(attribute(1, one) + attribute(2, other) for one in BOTH for other in BOTH),
]
ADDRESS_PARTS = [
    *(attribute(kind, each) for kind in (3, 77) for each in (b"eth0\0", b"eth0:1\0", *LIKE, bytes(16))),
    *(attribute(6, each) for each in (bytes(16), bytes(15) + b"\1", *LIKE)), attribute(11, b"\xec"), *ADDRESS_STARTS,
]  # fmt: skip


def messages(size: int, starts: list[bytes], parts: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """IPv4 messages: a header of this size, how they start, and some attributes in any order."""
    header = st.sampled_from((b"\2\x20\x20", b"\2\x18\x20", b"\2\x20\x18")).map(lambda first: first.ljust(size, b"\0"))
    rest = st.lists(st.sampled_from(parts), max_size=4).map(b"".join)
    one = st.tuples(header, st.sampled_from(starts), rest).map(b"".join)
    return st.lists(one, max_size=12)


@given(messages(12, [b""], RULE_PARTS))
def test_rules_that_are_alike_are_what_each_is_by_itself(payloads: list[bytes]) -> None:
    """What is read once for all of them never hides a difference, wherever it is."""
    alike: dict[bytes, Seen] = {}

    assert [dump.rule(each, {}) for each in payloads] == [dump.rule(each, {}, alike) for each in payloads]


@given(messages(8, ADDRESS_STARTS, ADDRESS_PARTS))
def test_addresses_that_are_alike_are_what_each_is_by_itself(payloads: list[bytes]) -> None:
    """With a peer and without, with any attribute anywhere."""
    alike: dict[bytes, Seen] = {}

    assert [dump.address(each, {}) for each in payloads] == [dump.address(each, {}, alike) for each in payloads]


def test_of_a_thousand_that_are_alike_one_is_kept() -> None:
    """Otherwise the two tests before would hold for a decoder that never finds two messages alike."""
    rules: dict[bytes, Seen] = {}
    addresses: dict[bytes, Seen] = {}
    table, age = attribute(15, b"\1\1\0\0"), attribute(6, bytes(16))
    for number in range(1000):
        value = struct.pack(">I", number)
        dump.rule(b"\2\0\x20" + bytes(9) + table + attribute(2, value), {}, rules)
        dump.address(b"\2\x20" + bytes(6) + attribute(1, value) + attribute(2, value) + age, {}, addresses)

    assert (1, 1) == (len(rules), len(addresses))
