"""Secondary private addresses of an ENI: named while no program has brought them up, or added by the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, interface
from ec2ident_agent.config import parse
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.items import OURS, Address, Link, Observed, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts

ADDRESSES = ("10.0.1.10/32", "10.0.1.77/32", "2600:1f14::10/128", "2600:1f14::77/128", "10.0.1.64/28")
FACTS = Facts(
    "eth1",
    subnets=("10.0.1.0/24", "2600:1f14::/64"),
    routers=("fe80::1",),
    addresses=ADDRESSES,
    vpc=("10.0.0.0/16",),
    table=23601,
)
HOLD = '[interface.eth1]\naddresses = "hold"\n'


class Eni:
    """eth1 as the network manager has brought it up, with the first address of each family, and what its ENI has."""

    def __init__(self, directory: Path, *, tags: bool = True) -> None:
        self.directory, self.facts = directory, FACTS
        self.kernel = FakeKernel("eth0", "eth1", "br0", tags=tags)
        self.kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 16))
        self.kernel.add(Seen(Address("eth1", "2600:1f14::10/128"), 16))

    def node(self, text: str) -> Node:
        config, where = parse("agent.toml", text.encode()), str(self.directory)
        return Node(config, state_dir=where, names_dir=where + "/n", kernel=self.kernel, facts=lambda *_: self.facts)

    @property
    def held(self) -> set[str]:
        known = (self.node("").journal.read().records, self.kernel.seen)
        mine = {record.item for record in known[0]}
        return {seen.item.address for seen in known[1] if isinstance(seen.item, Address) and seen.item in mine}


@pytest.fixture
def eni(tmp_path: Path) -> Eni:
    return Eni(tmp_path)


def test_an_address_that_no_program_has_brought_up_is_said(eni: Eni) -> None:
    """Debian, Ubuntu and plain networkd bring up the first address alone (cloud-init#2361, amazon-eks-ami#2623).

    That is not drift: nothing in the configuration asks for it. An address on another device, such as a bridge, is up.
    """
    node = eni.node("[interface.eth1]\n")
    node.apply()
    report = node.status()

    (note,) = report.notes
    assert (True, interface("eth1")) == (report.in_order, note.owner)
    assert note.what == "10.0.1.77, 2600:1f14::77 belong to its ENI and are on no interface of this node"
    assert 'addresses = "hold" in [interface.eth1]' in note.do
    assert set() == eni.held

    eni.kernel.add(Seen(Address("br0", "10.0.1.77/32"), 2))
    eni.kernel.add(Seen(Address("eth1", "2600:1f14::77/64"), 2))
    assert () == node.status().notes


@pytest.mark.parametrize("tags", [True, False], ids=["tags", "no-tags"])
def test_held_they_are_added_repaired_and_removed(tmp_path: Path, tags: bool) -> None:
    """As amazon-ec2-net-utils 2 adds them: alone, without a network. The first IPv4 address is the manager's, and a
    delegated prefix is the container runtime's.
    """
    eni = Eni(tmp_path, tags=tags)
    before = set(eni.kernel.seen)
    node = eni.node(HOLD)
    node.apply()
    assert {"10.0.1.77/32", "2600:1f14::77/128"} == eni.held
    report = node.status()
    assert (True, ()) == (report.in_order, report.notes)

    eni.kernel.seen = [seen for seen in eni.kernel.seen if seen.item != Address("eth1", "10.0.1.77/32")]
    assert not node.status().in_order
    node.apply()
    assert {"10.0.1.77/32", "2600:1f14::77/128"} == eni.held

    eni.facts = replace(FACTS, addresses=(ADDRESSES[0], "10.0.1.78/32", ADDRESSES[2]))
    node.apply()
    assert {"10.0.1.78/32"} == eni.held

    node.revert(None)
    assert before == set(eni.kernel.seen)


def test_an_address_that_another_program_adds_later_is_left_to_it(eni: Eni) -> None:
    """The agent removes its own: an address stands twice only while both lengths differ."""
    node = eni.node(HOLD)
    node.apply()
    theirs = Seen(Address("eth1", "10.0.1.77/24"), 3)
    eni.kernel.add(theirs)

    node.apply()

    assert {"2600:1f14::77/128"} == eni.held
    assert theirs in eni.kernel.seen
    assert node.status().in_order


def test_while_the_addresses_are_unknown_what_is_there_stays(eni: Eni) -> None:
    """The service fails, and the last answer is lost: nothing is removed, and that is said (exit 3)."""
    node = eni.node(HOLD)
    node.apply()
    before = set(eni.kernel.seen)
    for lost in (
        Facts("eth1", unknown="no answer"),
        replace(FACTS, addresses=None, unknown="local-ipv4s: no answer"),
    ):
        eni.facts = lost
        assert [interface("eth1")] == [each.owner for each in node.apply().unknown]
        assert before == set(eni.kernel.seen)


def test_everything_else_written_the_addresses_are_still_asked_for(eni: Eni) -> None:
    """What the section leaves open is the addresses alone; while they are unknown the rest is applied."""
    text = f'{HOLD}subnet = "10.0.1.0/24"\ntable = 100\n'
    eni.facts = Facts("eth1", unknown="no answer")
    report = eni.node(text).apply()
    assert "addresses unknown: no answer" in report.unknown[0].why
    assert Rule("10.0.1.0/24", 100, 100) in {seen.item for seen in eni.kernel.seen if seen.protocol == OURS}

    eni.facts = FACTS
    eni.node(text).apply()
    assert {"10.0.1.77/32", "2600:1f14::77/128"} == eni.held


@pytest.mark.parametrize("held_by", ["configuration", "command"])
def test_an_overlay_holds_its_own_address(eni: Eni, held_by: str) -> None:
    """A cluster moves 10.0.1.77: the overlay has it, with its label, and the interface does not ask for it."""
    text = '[[overlay]]\naddress = "10.0.1.77"\ndevice = "eth1"\n' if held_by == "configuration" else ""
    node = eni.node(HOLD + text)
    if held_by == "command":
        node.hold_overlay("10.0.1.77", device="eth1")
    node.apply()

    assert Address("eth1", "10.0.1.77/32", "eth1:1") in {seen.item for seen in eni.kernel.seen}
    assert node.status().in_order


@pytest.mark.parametrize("value", ['"held"', "true", '""', "[]", "1"])
def test_another_word_is_refused(value: str) -> None:
    """One line, with the file's line and both words."""
    with pytest.raises(ConfigError, match=r"^f:2: interface\.eth1: addresses = .*: not report or hold$"):
        parse("f", f"[interface.eth1]\naddresses = {value}\n".encode())


def test_split_has_rules_for_each(eni: Eni) -> None:
    """The answers of a secondary address leave by its interface, as those of the first one do."""
    eni.node(HOLD + 'scheme = "split"\n').apply()

    sources = {seen.item.source for seen in eni.kernel.seen if isinstance(seen.item, Rule) and seen.protocol == OURS}
    assert {"10.0.1.77/32", "2600:1f14::77/128"} <= sources


def unused(_: str, observed: Observed) -> Facts:
    raise AssertionError(observed)


def test_a_section_that_says_everything_asks_nothing(eni: Eni) -> None:
    """Without `hold` no fact is needed, and no address is named."""
    config = parse("f", b'[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n')
    node = Node(config, state_dir=str(eni.directory), names_dir="/n", kernel=eni.kernel, facts=unused)
    node.apply()

    assert () == node.status().notes


PREFIX = Route("10.0.1.64/28", "br0", 254)
OTHER_HALF = Route("10.0.1.80/28", "br0", 254)
SUBNET = Seen(Route("10.0.1.0/24", "eth1", 254), 2)


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ([], False),
        ([Seen(OTHER_HALF, 2)], False),
        ([Seen(PREFIX, 2)], True),
        ([Seen(Route("10.0.1.66/32", "br0", 254), 2)], True),
        ([Seen(Address("br0", "10.0.1.65/28"), 2)], True),
    ],
    ids=["nothing", "the next prefix", "a bridge's route", "a pod's route", "an address"],
)
@pytest.mark.parametrize("text", ["[interface.eth1]\n", HOLD], ids=["report", "hold"])
def test_a_delegated_prefix_that_nothing_uses_is_said(eni: Eni, there: list[Seen], used: bool, text: str) -> None:
    """A prefix was delegated for containers that do not run here: packets to it get no answer.

    The subnet's own route does not count as a use, and neither does the agent's table.
    """
    eni.facts = replace(FACTS, addresses=(ADDRESSES[0], ADDRESSES[4]))
    eni.kernel.add(SUBNET)
    for each in there:
        eni.kernel.add(each)
    node = eni.node(text)
    node.apply()

    said = [note.what for note in node.status().notes]

    unused_prefix = "10.0.1.64/28 is delegated to its ENI, and no address or route of this node lies in it"
    assert ([] if used else [unused_prefix]) == said
    assert node.status().in_order


@pytest.mark.parametrize(
    ("route", "used"),
    [
        (Route("10.0.1.77/32", "eni1", 254), True),
        (Route("10.0.1.77/32", "eth0", 254, "10.0.0.1"), False),
        (Route("10.0.1.77/32", "eni1", 77), False),
        (Route("10.0.1.76/31", "eth1", 254), False),
    ],
    ids=["a-pod", "by-a-router", "another-table", "a-network"],
)
def test_an_address_with_a_route_of_its_own_is_a_pods(eni: Eni, route: Route, used: bool) -> None:
    """Of aws/amazon-vpc-cni-k8s#75 and cilium/cilium#23938: secondary addresses are given to pods, each behind a device
    of its own. The address on the interface would take the pod's packets.
    """
    eni.facts = replace(FACTS, addresses=ADDRESSES[:2])
    eni.kernel.links = [*eni.kernel.links, Link(9, "eni1", "06:00:00:00:00:09", kind="veth")]
    eni.kernel.add(Seen(route, 3))

    assert used == (eni.node("[interface.eth1]\n").status().notes == ())
    eni.node(HOLD).apply()
    assert eni.held == (set() if used else {"10.0.1.77/32"})


def test_a_table_main_that_was_not_read_says_nothing_of_prefixes(eni: Eni) -> None:
    """On a node with 100,000 routes a look has no route of main but default routes: the bridge's is not in it."""
    eni.facts = replace(FACTS, addresses=(ADDRESSES[0], ADDRESSES[4]))
    node = eni.node("[interface.eth1]\n")
    node.apply()

    assert () == node.status().notes
