"""Further routes of an interface and the MTU of a route: configured, taken over from main, or another program's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident_agent import Node
from ec2ident_agent.config import parse
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.items import OURS, Address, Route, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.show import as_dict, rows
from tests.agent.conftest import Agent, ip, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ETH1 = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'
BOTH = (
    '[interface.eth1]\nsubnet = ["10.0.1.0/24", "2600:1f14::/64"]\nrouter = ["10.0.1.1", "fe80:ec2::1"]\ntable = 100\n'
)
PEERINGS = """\
routes = ["10.50.0.0/16", "192.168.0.0/16 via 10.0.1.254 mtu 1400 advmss 1360", "2600:1f15::/56 via fe80:ec2::1"]
mtu = 1500
"""


@pytest.fixture
def kernel() -> FakeKernel:
    made = FakeKernel("eth0", "eth1")
    made.add(Seen(Address("eth1", "10.0.1.10/24"), 16))
    return made


def node_of(directory: Path, kernel: FakeKernel, text: str) -> Node:
    config = parse("agent.toml", text.encode())
    return Node(config, state_dir=str(directory / "s"), names_dir=str(directory / "n"), kernel=kernel)


def ours(kernel: FakeKernel) -> set[str]:
    return {str(seen.item) for seen in kernel.seen if seen.protocol == OURS}


def main_route(mtu: int = 0, advmss: int = 0, metric: int = 513) -> Seen:
    return Seen(Route("0.0.0.0/0", "eth1", 254, "10.0.1.1", metric, mtu, advmss), 16)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_peerings_and_on_premises_networks_are_routes_of_the_interface(agent: Agent) -> None:
    """lyft/cni-ipvlan-vpc-k8s PR#24, PR#48: on a real kernel, in both families, repaired and reverted like all else."""
    ip("-6 address add 2600:1f14::10/64 dev eth1 nodad")
    before = snapshot()
    agent.write(BOTH + PEERINGS)

    assert 0 == agent("apply")
    assert [
        "default via 10.0.1.1 dev eth1 mtu 1500",
        "10.0.1.0/24 dev eth1 scope link",
        "10.50.0.0/16 via 10.0.1.1 dev eth1",
        "192.168.0.0/16 via 10.0.1.254 dev eth1 mtu 1400 advmss 1360",
    ] == [" ".join(line.replace("proto 236", "").split()) for line in ip("route show table 100").splitlines()]
    six = ip("-6 route show table 100")
    assert "2600:1f15::/56 via fe80:ec2::1 dev eth1" in six
    assert "default via fe80:ec2::1 dev eth1 proto 236 metric 1024 mtu 1500" in six
    assert 0 == agent("status")

    ip("route del 10.50.0.0/16 table 100")
    ip("route change default via 10.0.1.1 dev eth1 table 100 proto 236")
    assert 1 == agent("status")
    assert 0 == agent("apply")
    assert "[#] ip route add default via 10.0.1.1 dev eth1 table 100 mtu 1500" in agent.err
    assert 0 == agent("status")

    agent.write(BOTH)
    assert 0 == agent("apply")
    assert "10.50.0.0/16" not in ip("route show table 100")
    assert 0 == agent("revert", "--all")
    assert before == snapshot()


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_flags_say_the_same(agent: Agent) -> None:
    """One for each route."""
    agent.write("")
    words = ("--subnet", "10.0.1.0/24", "--table", "100", "--mtu", "1500")
    assert 1 == agent("plan", "eth1", *words, "--route", "10.50.0.0/16", "--route", "10.60.0.0/16 via 10.0.1.9")
    assert "ip route add 10.60.0.0/16 via 10.0.1.9 dev eth1 table 100" in agent.out
    assert "ip route add default via 10.0.1.1 dev eth1 table 100 mtu 1500" in agent.out


def test_the_mtu_of_mains_route_is_not_lost(kernel: FakeKernel, tmp_path: Path) -> None:
    """AWS's guide sets the MTU by route where a link of 9001 bytes leads to an internet gateway or a VPN.

    It follows main, and stays while main has no default route by the interface, as between two leases.
    """
    kernel.add(main_route(1500, 1460))
    node = node_of(tmp_path, kernel, ETH1)
    node.apply()
    assert "default via 10.0.1.1 dev eth1 table 100 mtu 1500 advmss 1460" in ours(kernel)

    kernel.seen.remove(main_route(1500, 1460))
    assert node.status().in_order

    kernel.add(main_route(1400))
    assert not node.status().in_order
    node.apply()
    assert "default via 10.0.1.1 dev eth1 table 100 mtu 1400" in ours(kernel)

    kernel.seen.remove(main_route(1400))
    kernel.add(main_route())
    node.apply()
    assert "default via 10.0.1.1 dev eth1 table 100" in ours(kernel)


def test_a_configured_mtu_counts_before_mains(kernel: FakeKernel, tmp_path: Path) -> None:
    """Of two default routes by the interface the one with the lower metric counts."""
    kernel.add(main_route(1500))
    kernel.add(main_route(1300, metric=100))
    node_of(tmp_path / "1", kernel, ETH1 + "mtu = 9001\n").apply()
    assert "default via 10.0.1.1 dev eth1 table 100 mtu 9001" in ours(kernel)
    node_of(tmp_path / "1", kernel, ETH1).apply()
    assert "default via 10.0.1.1 dev eth1 table 100 mtu 1300" in ours(kernel)


def test_an_administrators_route_does_not_stop_the_repair(kernel: FakeKernel, tmp_path: Path) -> None:
    """The lost default route comes back beside an `ip route add … table 100` by hand, and that route is shown."""
    theirs = Seen(Route("10.50.0.0/16", "eth1", 100, "10.0.1.1"), 3)
    kernel.add(theirs)
    node = node_of(tmp_path, kernel, ETH1)
    assert () == node.apply().refusals

    kernel.seen = [seen for seen in kernel.seen if seen.item != Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")]
    node.apply()

    report = node.status()
    assert report.in_order
    assert "default via 10.0.1.1 dev eth1 table 100" in ours(kernel)
    assert [("foreign", "eth1", str(theirs))] == [row for row in rows(report) if row[0] != "ok"]
    assert as_dict(report)["in_order"]
    node.revert(None)
    assert theirs in kernel.seen


def test_only_the_routes_that_collide_are_refused(kernel: FakeKernel, tmp_path: Path) -> None:
    """A further route that another program has added already is a conflict; all others are added."""
    theirs = Seen(Route("10.50.0.0/16", "eth1", 100, "10.0.1.7"), 3)
    kernel.add(theirs)
    report = node_of(tmp_path, kernel, ETH1 + 'routes = ["10.50.0.0/16"]\n').apply()
    assert ["table 100 holds a foreign route"] == [each.why.partition(":")[0] for each in report.refusals]
    assert 3 == len(ours(kernel))
    assert theirs in kernel.seen
    node = node_of(tmp_path, kernel, ETH1 + 'routes = ["10.50.0.0/16"]\n')
    assert (False, (), 1) == (node.status().in_order, node.status().steps, len(node.status().refusals))

    node.revert(None)
    assert (set(), True) == (ours(kernel), theirs in kernel.seen)
    assert node_of(tmp_path, kernel, ETH1).apply().refusals == ()


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ("[]", "routes = []: empty"),
        ('"10.50.0.0"', "the prefix length is missing"),
        ('"10.50.0.1/16"', "has host bits set"),
        ('"0.0.0.0/0"', "write router = …"),
        ('"default"', "write router = …"),
        ('"10.50.0.0/16 via"', "via: needs a value"),
        ('"10.50.0.0/16 vai 10.0.1.1"', "no such word"),
        ('"10.50.0.0/16 via 10.0.1.1 via 10.0.1.2"', "via: given twice"),
        ('"10.50.0.0/16 via 10.0.2.1"', "router 10.0.2.1 is not in its subnet"),
        ('"10.50.0.0/16 via fe80::1"', "router fe80::1 is not IPv4"),
        ('"2600:1f15::/56 via 10.0.1.1"', "router 10.0.1.1 is not IPv6"),
        ('"2600:1f15::/56"', "the interface has no router of IPv6"),
        ('"10.50.0.0/16 mtu 67"', "mtu 67: not a number from 68 to 65535"),
        ('"10.50.0.0/16 mtu ٣٤٥"', "not a number"),
        ('"10.50.0.0/16 advmss 99999999999999999999"', "not a number from 1 to 65535"),
        ('"10.0.1.0/24"', "that is the interface's own subnet"),
        ('"224.0.0.0/4"', "no network that a router leads to"),
        ('["10.50.0.0/16", "10.50.0.0/16 via 10.0.1.9"]', "is there twice"),
        ('["10.50.0.0/16", 7]', "routes = 7: not a text"),
        ('"10.0.1.9/32 via 10.0.1.9"', "its router is the destination itself"),
    ],
)
def test_a_route_that_makes_no_sense_is_one_clear_line(routes: str, said: str) -> None:
    """With the file's line, and before anything is touched."""
    with pytest.raises(ConfigError) as wrong:
        parse("agent.toml", f"{ETH1}routes = {routes}\n".encode())

    text = str(wrong.value)
    assert text.startswith("agent.toml:4: interface.eth1: ")
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize("key", ["mtu = 1279", "mtu = 65536", 'mtu = "1500"', "advmss = 0", "mtu = true"])
def test_a_number_out_of_range_is_refused(key: str) -> None:
    """IPv6 needs 1280 bytes (RFC 8200)."""
    with pytest.raises(ConfigError, match="not a number from"):
        parse("agent.toml", f"{ETH1}{key}\n".encode())


def test_a_further_route_that_another_rule_takes_is_not_in_order(kernel: FakeKernel, tmp_path: Path) -> None:
    """The kernel is asked about each further route: here a rule of another program takes its packets alone."""
    from ec2ident_agent.items import Rule

    node = node_of(tmp_path, kernel, ETH1 + 'routes = ["10.50.0.0/16 via 10.0.1.254"]\n')
    node.apply()
    assert node.status().in_order

    kernel.add(Seen(Route("10.50.0.0/16", "eth0", 77, "10.0.0.1"), 3))
    kernel.add(Seen(Rule("", 77, 50, "10.50.0.0/16"), 3))
    (taken, *_) = node.status().taken
    assert "rule 50" in str(taken)


def test_an_interface_without_ipv6_says_which_route_is_left_out(kernel: FakeKernel, tmp_path: Path) -> None:
    """The subnets come from the facts: IPv4 is applied, and the IPv6 route without a router is unknown (exit 3)."""
    from ec2ident_agent.profile import Facts

    config = parse("agent.toml", b'[interface.eth1]\ntable = 100\nroutes = ["10.50.0.0/16", "2600:1f15::/56"]\n')
    facts: Any = lambda device, _: Facts(device, ("10.0.1.0/24",), addresses=("10.0.1.10/32",))  # noqa: E731
    node = Node(config, state_dir=str(tmp_path), names_dir=str(tmp_path / "n"), kernel=kernel, facts=facts)
    report = node.apply()

    assert "10.50.0.0/16 via 10.0.1.1 dev eth1 table 100" in ours(kernel)
    assert ["route 2600:1f15::/56 is not applied: the interface has no router of IPv6"] == [
        each.why.partition(";")[0] for each in report.unknown
    ]
