"""The kernel in memory answers as the real one does: the same steps on both, the same numbers and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ec2ident_agent.items import OURS, Address, Route, Rule, Seen, Step
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.fake import FakeKernel
from tests.agent.conftest import ip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Item

OVERLAY, OVERLAY6 = Address("eth0", "192.168.10.10/32", "eth0:1"), Address("eth0", "fd00:5::1/128")
SUBNET, SUBNET6 = Route("10.0.1.0/24", "eth1", 100), Route("fd00:0:0:1::/64", "eth1", 100, metric=1024)
OUT, OUT6 = Route("0.0.0.0/0", "eth1", 100, "10.0.1.1"), Route("::/0", "eth1", 100, "fe80::1", 1024)
RULE, RULE6 = Rule("10.0.1.0/24", 100, 100), Rule("fd00:0:0:1::/64", 100, 100)
WRONG = (
    Route("0.0.0.0/0", "eth1", 101, "10.0.9.1"),
    Route("::/0", "eth1", 101, "2001:db8::1", 1024),
    Route("10.0.1.0/24", "eth9", 100),
    Address("eth0", "192.168.10.11/32", "eth0:abcdefghijk"),
    Address("eth9", "192.168.10.11/32"),
)
EACH: tuple[Item, ...] = (OVERLAY, OVERLAY6, SUBNET, SUBNET6, OUT, OUT6, RULE, RULE6)


@pytest.fixture
def real(node: str) -> Iterator[NetlinkKernel]:
    kernel = NetlinkKernel()
    yield kernel
    kernel.close()


@pytest.fixture
def fake() -> FakeKernel:
    kernel = FakeKernel("eth0", "eth1")
    for number in (0, 1):
        kernel.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), None))
        kernel.add(Seen(Address(f"eth{number}", f"fd00:0:0:{number}::10/64"), None))
    return kernel


def ours(kernel: FakeKernel | NetlinkKernel) -> set[Seen]:
    return {seen for seen in kernel.observe().seen if seen.protocol == OURS}


@pytest.mark.root
def test_they_answer_alike(real: NetlinkKernel, fake: FakeKernel) -> None:
    """Add, add again, remove, remove again, and what is wrong from the start."""
    script = [Step("add", item) for item in (*EACH, *EACH, *WRONG)]
    script += [Step("del", item) for item in (*reversed(EACH), *reversed(EACH), *WRONG[:3], WRONG[4])]

    for step in script:
        assert [(each.errno, each.text) for each in real.do([step])] == [
            (each.errno, each.text) for each in fake.do([step])
        ], str(step)
        assert ours(real) == ours(fake), str(step)


@pytest.mark.root
def test_they_take_rules_for_each_other_alike(real: NetlinkKernel, fake: FakeKernel) -> None:
    """The kernel compares what a rule selects by, and what it does not select by is the same as anything."""
    every = [
        Rule(source, table, 100, destination, suppress)
        for source, destination in (("10.0.1.0/24", "10.0.0.0/16"), ("fd00:0:0:1::/64", "fd00::/56"))
        for table, suppress in ((100, -1), (254, 0))
        for destination in ("", destination)
    ]
    steps = [Step(verb, rule) for verb in ("add", "del") for rule in every]

    for first in steps:
        for step in (first, *steps, first, *reversed(steps)):
            assert [str(each) for each in real.do([step])] == [str(each) for each in fake.do([step])], str(step)
            assert ours(real) == ours(fake), str(step)


@pytest.mark.root
def test_they_lose_alike(real: NetlinkKernel, fake: FakeKernel) -> None:
    """A flush, a link that goes down, a link that goes away: what is left of the agent's, and what is refused then."""
    steps = [Step("add", item) for item in (OVERLAY, SUBNET, OUT, RULE)]
    events: tuple[tuple[str, Callable[[], None]], ...] = (
        ("route flush table 100", partial(fake.flush_table, 100)),
        ("link set eth1 down", partial(fake.link_down, "eth1")),
        ("link set eth1 up", partial(fake.link_up, "eth1")),
        ("link del eth1", partial(fake.unplug, "eth1")),
    )
    for command, event in events:
        real.do(steps)
        fake.do(steps)
        ip(command)
        event()
        assert ours(real) == ours(fake), command
        assert [str(each) for each in real.do([Step("add", SUBNET)])] == [
            str(each) for each in fake.do([Step("add", SUBNET)])
        ]


def test_a_second_rule_with_another_protocol_is_another_rule(fake: FakeKernel) -> None:
    """And a removal takes the agent's only."""
    fake.add(Seen(RULE, 3))

    assert [] == fake.do([Step("add", RULE)])
    assert [] == fake.do([Step("del", RULE)])
    assert Seen(RULE, 3) in fake.seen


def test_it_refuses_what_is_there_twice(fake: FakeKernel) -> None:
    """A test that puts the same there twice is wrong, and fails."""
    fake.add(Seen(RULE, 3))

    with pytest.raises(AssertionError, match="there already"):
        fake.add(Seen(RULE, 3))


def test_without_root_every_change_is_refused() -> None:
    """EPERM, and looking works."""
    kernel = FakeKernel("eth0", root=False)

    (failure,) = kernel.do([Step("add", OVERLAY)])
    assert f"{Step('add', OVERLAY)}: Operation not permitted (needs root, or CAP_NET_ADMIN)" == str(failure)
    assert kernel.observe().links
