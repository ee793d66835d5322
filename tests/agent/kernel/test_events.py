"""Which of the kernel's announcements may matter, and who deleted what; read as the kernel writes them."""

from __future__ import annotations

import os
from socket import AF_UNIX, SOCK_DGRAM, socketpair
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ec2ident_agent.items import OURS, Address, Route, Rule, Seen
from ec2ident_agent.kernel.events import Deletion, Events, Heard, _filter, deletion, fallen, relevant
from tests.agent.conftest import ip

NAMES = {2: "eth0", 3: "eth1"}


def attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def a_route(table: int, protocol: int, length: int, flags: int = 0) -> bytes:
    """`default via 10.0.1.1 dev eth1`, or something longer."""
    header = pack("=BBBBBBBBI", 2, length, 0, 0, table, protocol, 0, 1, flags)
    return header + attribute(5, bytes([10, 0, 1, 1])) + attribute(4, pack("=I", 3)) + attribute(15, pack("=I", table))


def a_rule(protocol: int, *extra: bytes) -> bytes:
    header = pack("=BBBBBBBBI", 2, 0, 24, 0, 100, 0, 0, 1, 0)
    attributes = (attribute(15, pack("=I", 100)), attribute(6, pack("=I", 100)), attribute(21, bytes([protocol])))
    return header + b"".join((*attributes, *extra)) + attribute(2, bytes([10, 0, 1, 0]))


def an_address(protocol: int) -> bytes:
    header = pack("=BBBBI", 2, 32, 0, 0, 2)
    value = bytes([192, 168, 10, 10])
    return (
        header
        + attribute(1, value)
        + attribute(2, value)
        + attribute(3, b"eth0:1\0")
        + attribute(11, bytes([protocol]))
    )


@pytest.mark.parametrize(
    ("what", "kind", "payload", "matters"),
    [
        ("a link", 16, bytes(16), True),
        ("a link that is gone", 17, bytes(16), True),
        ("an address", 20, bytes(8), True),
        ("an address that is gone", 21, bytes(8), True),
        ("a rule", 32, bytes(12), True),
        ("a rule that is gone", 33, bytes(12), True),
        ("a neighbour", 28, bytes(12), False),
        ("the agent's in its table", 25, a_route(100, OURS, 24), True),
        ("the agent's in main", 25, a_route(254, OURS, 24), True),
        ("a foreign one in the agent's table", 24, a_route(100, 4, 24), True),
        ("a default route of main", 24, a_route(254, 16, 0), True),
        ("any other of main: a routing daemon changes thousands", 24, a_route(254, 186, 24), False),
        ("an address's own in local", 24, a_route(255, 2, 32), False),
        ("a cached one", 24, a_route(100, OURS, 32, 0x200), False),
    ],
)
def test_what_cannot_be_about_the_agents_wakes_nothing(what: str, kind: int, payload: bytes, matters: bool) -> None:
    """Near misses one table or one protocol away."""
    assert matters == relevant(kind, payload), what


@pytest.mark.parametrize(
    ("kind", "payload", "item"),
    [
        (33, a_rule(OURS), Rule("10.0.1.0/24", 100, 100)),
        (25, a_route(100, OURS, 0), Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")),
        (21, an_address(OURS), Address("eth0", "192.168.10.10/32", "eth0:1")),
    ],
)
def test_a_deletion_of_the_agents_is_read_with_its_sender(
    kind: int, payload: bytes, item: Rule | Route | Address
) -> None:
    """Each kind, as the kernel announces it."""
    assert Deletion(Seen(item, OURS), 77) == deletion(kind, payload, 77, NAMES)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (32, a_rule(OURS)),  # added, not deleted
        (33, a_rule(201)),  # another program's
        (33, a_rule(OURS, attribute(10, pack("=I", 7)))),  # with a mark: another rule
        (25, a_route(100, 4, 0)),
        (21, an_address(3)),
        (17, bytes(16)),
    ],
)
def test_what_is_not_a_deletion_of_the_agents_has_no_sender(kind: int, payload: bytes) -> None:
    """One number away."""
    assert deletion(kind, payload, 77, NAMES) is None


@given(st.integers(0, 40), st.binary(max_size=80))
def test_no_bytes_break_it(kind: int, payload: bytes) -> None:
    """Cut short or nonsense: worth a look at most."""
    relevant(kind, payload)
    deletion(kind, payload, 1, NAMES)
    fallen(kind, payload, NAMES)


@pytest.mark.root
@pytest.mark.usefixtures("node")
class TestOnAKernel:
    """Its announcements, in a namespace of its own."""

    def test_a_deletion_names_the_process_that_asked(self) -> None:
        """The number of its socket is the number of its process."""
        ip("rule add from 10.0.1.0/24 lookup 100 priority 100 protocol 236")
        events = Events()
        try:
            assert Heard() == events.drain(NAMES)
            done = os.spawnlp(os.P_NOWAIT, "ip", "ip", "rule", "del", "from", "10.0.1.0/24", "lookup", "100")
            os.waitpid(done, 0)

            gone = Deletion(Seen(Rule("10.0.1.0/24", 100, 100), OURS), done)
            assert Heard(True, (gone,)) == events.drain(NAMES)
            assert Heard() == events.drain(NAMES)
        finally:
            events.close()

    def test_a_link_that_went_down_is_named_though_it_is_up_again(self) -> None:
        """Faster than any look; one that was plugged out too, and an unknown one is none."""
        lines = (line.split(":") for line in ip("-o link").splitlines())
        names = {int(line[0]): line[1].strip().partition("@")[0] for line in lines}
        events = Events()
        try:
            ip("link set eth0 mtu 1400")
            assert frozenset() == events.drain(names).down
            ip("link set eth1 down")
            ip("link set eth1 up")
            assert {"eth1"} == events.drain(names).down
            ip("link del eth0")
            assert {"eth0", "r0"} == events.drain(names).down
            ip("link add eth9 type veth peer name r9")
            assert frozenset() == events.drain(names).down
        finally:
            events.close()

    def test_an_overrun_is_something_that_happened(self) -> None:
        """What was lost is unknown, so the watch looks; and then the socket hears again."""
        events = Events(room=1)
        try:
            for _ in range(40):
                ip("rule add from 10.9.0.0/24 lookup 100 priority 7")
                ip("rule del from 10.9.0.0/24 lookup 100 priority 7")
            assert events.drain(NAMES).changed
            assert Heard() == events.drain(NAMES)

            ip("route add 10.8.0.0/24 dev eth1")
            assert Heard() == events.drain(NAMES)
            ip("route add 10.8.0.0/24 dev eth1 table 100")
            assert events.drain(NAMES).changed
        finally:
            events.close()

    def test_what_another_process_sends_is_not_the_kernels(self) -> None:
        """Every program that may change the network can write to a netlink socket; only the kernel counts here."""
        from socket import AF_NETLINK, SOCK_RAW, socket

        events = Events()
        try:
            with socket(AF_NETLINK, SOCK_RAW, 0) as other:
                payload = a_rule(OURS)
                message = pack("=IHHII", 16 + len(payload), 33, 0, 0, 0) + payload
                assert len(message) == other.sendto(message, (events._socket.getsockname()[0], 0))

            assert Heard() == events.drain(NAMES)
        finally:
            events.close()


def verdict_of_the_filter(kind: int, payload: bytes) -> bool:
    """What the kernel makes of a message: the same filter on a pair of sockets that carry datagrams."""
    sender, receiver = socketpair(AF_UNIX, SOCK_DGRAM)
    with sender, receiver:
        _filter(receiver)
        receiver.setblocking(False)
        sender.send(pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload)
        try:
            return bool(receiver.recv(1 << 16))
        except BlockingIOError:
            return False


@pytest.mark.parametrize("kind", [16, 17, 20, 21, 24, 25, 32, 33])
@pytest.mark.parametrize("table", [100, 252, 253, 254, 255])
def test_the_kernels_filter_takes_what_is_relevant(kind: int, table: int) -> None:
    """Every way through it, against the reader's own words; what is not a route is always taken."""
    for protocol in (OURS, 2, 4, 16):
        for length in (0, 1, 24, 32):
            for flags in (0, 0x200, 0x4, 0x20000):
                payload = a_route(table, protocol, length, flags)
                assert relevant(kind, payload) == verdict_of_the_filter(kind, payload), (protocol, length, flags)


@given(st.sampled_from([24, 25]), st.binary(min_size=12, max_size=60))
@settings(deadline=None)
def test_the_filter_and_the_reader_agree_on_any_route(kind: int, payload: bytes) -> None:
    """Whatever stands in the header."""
    assert relevant(kind, payload) == verdict_of_the_filter(kind, payload)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_foreign_routes_of_main_wake_nobody() -> None:
    """The kernel drops them; a default route of main, and a route of another table, arrive."""
    events = Events()
    events.drain({})

    ip("route add 203.0.113.0/24 dev eth1")
    ip("-6 route add 2001:db8::/64 dev eth1")
    with pytest.raises(BlockingIOError):
        events._socket.recv(1)

    ip("route add 203.0.113.0/24 dev eth1 table 100")
    assert events.drain({}).changed
    ip("route add default dev eth1 metric 999")
    assert events.drain({}).changed
    events.close()
