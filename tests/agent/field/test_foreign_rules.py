"""A rule of another program comes first: `status` says which one takes the packets, and `doctor` how to prevent it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, effect, interface
from ec2ident_agent.cli import examine, verdict
from ec2ident_agent.config import parse
from ec2ident_agent.doctor.diagnosis import faults
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import Address, Observed, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Decision, Query
from ec2ident_agent.selectors import Selectors, describe, selectors
from ec2ident_agent.show import table

CONFIG = """
[interface.eth1]
subnet = "10.0.1.0/24"
table = 100
scheme = "split"
vpc = "10.0.0.0/16"
"""
TAILSCALE, STRONGSWAN, BOOT = 52, 220, 3


def word(name: str, value: int) -> str:
    """An attribute of a rule, as it is read from the kernel."""
    return f"{name} {struct.pack('=I', value).hex()}"


@pytest.fixture
def kernel() -> FakeKernel:
    """eth0 and eth1, with main's default route by eth0."""
    made = FakeKernel("eth0", "eth1", "tun0")
    made.links = [replace(each, kind="tun") if each.name == "tun0" else each for each in made.links]
    for number in (0, 1):
        made.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), 16))
    made.add(Seen(Route("0.0.0.0/0", "eth0", 254, "10.0.0.1"), 16))
    return made


@pytest.fixture
def node(kernel: FakeKernel, tmp_path: Path) -> Node:
    config = parse("agent.toml", CONFIG.encode())
    made = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    made.apply()
    assert made.status().in_order
    return made


@pytest.mark.parametrize(
    ("rule", "route", "says"),
    [
        (
            Seen(Rule("", TAILSCALE, 5270), BOOT),
            Route("0.0.0.0/0", "tun0", TAILSCALE),
            "leaves by tun0, not by eth1 via 10.0.1.1: rule 5270: from all lookup 52 (tailscale)",
        ),
        (
            Seen(Rule("", STRONGSWAN, 220), BOOT),
            Route("0.0.0.0/0", "eth0", STRONGSWAN, "10.0.0.1"),
            "leaves by eth0 via 10.0.0.1, not by eth1 via 10.0.1.1: rule 220: from all lookup 220 (strongSwan)",
        ),
        (
            Seen(Rule("", 77, 5209), BOOT, ("not", word("fwmark", 0x1234), word("fwmask", 0xFFFFFFFF))),
            Route("128.0.0.0/1", "tun0", 77),
            "rule 5209: not from all fwmark 0x1234 lookup 77 (Mullvad)",
        ),
        (
            Seen(Rule("", 0, 9000), BOOT, ("action 7",)),
            None,
            "is dropped (unreachable), not by eth1 via 10.0.1.1: rule 9000: from all unreachable",
        ),
        (
            Seen(Rule("10.0.1.10/32", 0, 9000), BOOT, ("action 2", word("goto", 32766))),
            None,
            "rule 9000: from 10.0.1.10/32 goto 32766",
        ),
        (
            Seen(Rule("", 77, 9000, destination="203.0.113.0/24"), BOOT),
            Route("0.0.0.0/0", "eth0", 77, "10.0.0.1"),
            "from 10.0.1.10 to 203.0.113.1 leaves by eth0 via 10.0.0.1, not by eth1",
        ),
        (
            Seen(Rule("", 77, 9000), BOOT, ("uidrange " + struct.pack("=II", 1000, 2000).hex(),)),
            Route("0.0.0.0/0", "tun0", 77),
            "from 10.0.1.10 to 198.51.100.1 user 1000 leaves by tun0",
        ),
        (
            Seen(Rule("", 254, 9000), BOOT),
            None,
            "leaves by eth0 via 10.0.0.1, not by eth1 via 10.0.1.1: rule 9000: from all lookup main",
        ),
        (
            Seen(Rule("", 77, 9000, destination="203.0.113.0/24"), BOOT, (f"iif {b'lo'.hex()}00",)),
            Route("0.0.0.0/0", "eth0", 77, "10.0.0.1"),
            "from 10.0.1.10 to 203.0.113.1 leaves by eth0 via 10.0.0.1, not by eth1",
        ),
        (
            Seen(Rule("", 77, 8), BOOT),
            Route("10.0.0.0/24", "eth0", 77),
            "from 10.0.1.10 to 10.0.0.1 leaves by eth0, not by eth1",
        ),
        (
            Seen(Rule("", 77, 9000, destination="198.0.0.0/8"), BOOT, ("not",)),
            Route("0.0.0.0/0", "tun0", 77),
            "from 10.0.1.10 to 203.0.113.1 leaves by tun0, not by eth1",
        ),
        (
            Seen(Rule("", 77, 9000), BOOT, ("not", "uidrange " + struct.pack("=II", 0, 999).hex())),
            Route("0.0.0.0/0", "tun0", 77),
            "user 1000 leaves by tun0",
        ),
    ],
    ids=[
        *("tailscale", "strongswan", "not-fwmark", "unreachable", "goto", "to", "uidrange", "main", "to-iif-lo"),
        *("subnet-of-another", "not-to", "not-uidrange"),
    ],
)
def test_a_rule_that_takes_the_packets_is_named(
    node: Node, kernel: FakeKernel, tmp_path: Path, rule: Seen, route: Route | None, says: str
) -> None:
    """tailscale/tailscale#6231, r3nor/mullvad-tailscale#13 and denoland/clawpatrol#109 show such rules. All items are
    there; exit 1.
    """
    kernel.add(rule)
    if route:
        kernel.add(Seen(route, BOOT))

    report = node.status()

    assert [interface("eth1")] == [each.owner for each in report.taken]
    assert says in str(report.taken[0])
    assert (1, False, ()) == (verdict(report, report.in_order), report.in_order, report.steps)
    assert "drift: 1 taken" == table(report)[-1]
    fault = next(each for each in faults(examine(node, RootFs(str(tmp_path)))) if says in each.what)
    assert f"write priority = {rule.item.priority - 3} or less in [interface.eth1]" in fault.do  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rule", "route"),
    [
        (Seen(Rule("", TAILSCALE, 5270), BOOT), Route("100.100.100.100/32", "tun0", TAILSCALE)),
        (Seen(Rule("", 254, 5210), BOOT, (word("fwmark", 0x80000), word("fwmask", 0xFF0000))), None),
        (Seen(Rule("", 254, 512, destination="10.0.1.77/32"), BOOT), Route("10.0.1.77/32", "tun0", 254)),
        (Seen(Rule("", 77, 9000), BOOT, ("iif " + b"eth0\0".hex(),)), Route("0.0.0.0/0", "tun0", 77)),
        (Seen(Rule("10.0.0.0/24", 77, 9000), BOOT), Route("0.0.0.0/0", "tun0", 77)),
        (Seen(Rule("", 77, 30000), BOOT), Route("0.0.0.0/0", "tun0", 77)),
        (Seen(Rule("", 77, 30000), BOOT), Route("10.0.0.0/24", "eth0", 77)),
        (Seen(Rule("", 77, 9000), BOOT), Route("10.0.1.0/24", "eth1", 77)),
        (Seen(Rule("", 77, 9000), BOOT), Route("192.168.0.0/16", "tun0", 77, "10.8.0.1")),
        (Seen(Rule("", 77, 9000), BOOT), Route("169.254.169.254/32", "eth0", 77)),
        (Seen(Rule("", 77, 9000, destination="10.9.0.0/16"), BOOT), Route("10.0.0.0/24", "eth0", 77)),
        (Seen(Rule("", 77, 9000), BOOT, ("iif " + b"eth0\0".hex(),)), Route("10.0.0.0/24", "eth0", 77)),
        (Seen(Rule("", 77, 9000, destination="0.0.0.0/0"), BOOT, ("not",)), Route("0.0.0.0/0", "tun0", 77)),
    ],
    ids=[
        *("no-exit-node", "marked", "a-pod-by-amazon-vpc-cni", "forwarded", "another-source", "behind"),
        *("behind-a-subnet", "its-own-subnet", "a-vpn-with-a-router", "link-local", "to-elsewhere", "forwarded-subnet"),
        "not-to-anything",
    ],
)
def test_a_rule_that_takes_nothing_is_not(node: Node, kernel: FakeKernel, rule: Seen, route: Route | None) -> None:
    """Near misses: what these programs do when they do not take over is right."""
    kernel.add(rule)
    if route:
        kernel.add(Seen(route, BOOT))

    assert node.status().in_order


def test_two_owners_that_cover_each_other_are_named(kernel: FakeKernel, tmp_path: Path) -> None:
    """An address of the loopback device is in eth1's subnet and a source of eth0: eth1's rule comes first."""
    text = (
        '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'
        '[interface.eth0]\nsubnet = "10.0.0.0/24"\ntable = 101\nsource = "10.0.1.50/32"\npriority = 101\n'
    )
    kernel.add(Seen(Address("lo", "10.0.1.50/32"), 16))
    config = parse("agent.toml", text.encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    node.apply()

    assert [("eth0", "eth1")] == [(str(each.owner), str(each.by)) for each in node.status().taken]


def test_one_line_stands_for_many_sources(kernel: FakeKernel, tmp_path: Path) -> None:
    """A rule that takes 50 sources is one line, with their number."""
    for number in range(20, 69):
        kernel.add(Seen(Address("eth1", f"10.0.1.{number}/32"), 16))
    config = parse("agent.toml", CONFIG.encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    node.apply()
    kernel.add(Seen(Rule("", 254, 50), BOOT))

    assert [49] == [each.more for each in node.status().taken]
    assert "from 10.0.1.10 to 198.51.100.1 and 49 more leaves" in str(node.status().taken[0])


def test_a_vpn_that_halves_the_default_route_is_named(kernel: FakeKernel, node: Node) -> None:
    """OpenVPN's `redirect-gateway def1` puts 0.0.0.0/1 and 128.0.0.0/1 into main. To split these are more specific than
    the default, so that every answer leaves by the tunnel: not another program's rule, but a route, is to go.
    """
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        kernel.add(Seen(Route(half, "tun0", 254), BOOT))
    taken = node.status().taken

    assert ["eth1"] == [str(each.owner) for each in taken]
    assert "leaves by tun0, not by eth1 via 10.0.1.1: rule 23601" in str(taken[0])
    assert "remove the route of main that it takes by tun0" in taken[0].advice
    assert 'write scheme = "by-source" in [interface.eth1]' in taken[0].advice


@pytest.mark.parametrize(
    ("extra", "packet"),
    [
        (("ipproto 06", "dport " + struct.pack("=HH", 443, 443).hex()), "destination port 443"),
        (("ipproto 11", "sport " + struct.pack("=HH", 53, 53).hex()), "protocol 17 source port 53"),
        (("ipproto 01",), "protocol 1 "),
        (("tos 16",), "tos 16"),
        (("dscp 0a",), "tos 40"),
        (("iif " + b"lo\0".hex(),), "leaves by tun0"),
    ],
    ids=["dport", "sport", "icmp", "tos", "dscp", "iif-lo"],
)
def test_a_rule_for_some_packets_is_asked_about_with_such_a_packet(
    kernel: FakeKernel, node: Node, extra: tuple[str, ...], packet: str
) -> None:
    """Proxies and DNS clients that want one port of every source; the line says which packets are taken."""
    kernel.add(Seen(Rule("", 77, 9000), BOOT, extra))
    kernel.add(Seen(Route("0.0.0.0/0", "tun0", 77), BOOT))
    taken = node.status().taken

    assert 1 == len(taken)
    assert packet in str(taken[0])
    assert "rule 9000: from all" in str(taken[0])


def test_half_a_default_route_in_a_table_that_suppresses_the_whole_one(kernel: FakeKernel, node: Node) -> None:
    """`lookup 77 suppress_prefixlength 0`: the halves are routes of their own, so that nothing is suppressed."""
    kernel.add(Seen(Rule("", 77, 9000, suppress=0), BOOT))
    kernel.add(Seen(Route("0.0.0.0/0", "tun0", 77), BOOT))
    assert node.status().in_order
    kernel.add(Seen(Route("128.0.0.0/1", "tun0", 77), BOOT))

    assert "rule 9000: from all lookup 77 suppress_prefixlength 0" in str(node.status().taken[0])


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        (Route("203.0.113.0/24", "eth0", 100, "10.0.0.1"), "to 203.0.113.1 leaves by eth0 via 10.0.0.1"),
        (Route("0.0.0.0/1", "eth0", 100, "10.0.0.1"), "to 0.0.0.1 leaves by eth0 via 10.0.0.1"),
        (Route("203.0.113.0/24", "eth1", 100, "10.0.1.7"), ""),
        (Route("203.0.113.0/24", "tun0", 100), ""),
    ],
    ids=["a-peering", "half", "by-itself", "a-vpn"],
)
def test_a_route_by_another_eni_in_its_own_table_is_said(
    kernel: FakeKernel, node: Node, route: Route, taken: str
) -> None:
    """amazonlinux/amazon-ec2-net-utils#82: a peering by the first ENI, copied into the table of the second one. Every
    answer to it leaves by the wrong ENI, and the VPC drops it.
    """
    kernel.add(Seen(route, BOOT))

    found = node.status().taken

    assert bool(taken) == bool(found)
    assert all(taken in str(each) for each in found)
    assert all(each.advice.startswith("remove the route by eth0 from table 100") for each in found)


@pytest.mark.parametrize("destination", ["0.0.0.0/0", "203.0.113.0/24"])
@pytest.mark.parametrize(("extra", "count"), [("multipath 10", 8), ("nhid 07000000", 8), ("blackhole", 0)])
def test_of_a_route_by_several_devices_several_addresses_are_asked_about(
    kernel: FakeKernel, node: Node, destination: str, extra: str, count: int
) -> None:
    """systemd/systemd#21781: of a route by several routers the kernel takes one for each pair of addresses, so that one
    answer may be right by chance. The dump names no device. From Linux 6.15 on the source's own device comes first.
    """
    kernel.add(Seen(Rule("", 77, 9000), BOOT))
    kernel.add(Seen(Route(destination, "", 77), BOOT, (extra,)))
    report = node.status()
    asked = effect.questions(effect.ways(report.desired, kernel.observe()), kernel.observe())

    beside = [query.destination for _, query in asked if query.destination != "198.51.100.1"]
    assert count == len(beside) == len({*beside})
    assert all(each.startswith("198.51.100." if destination == "0.0.0.0/0" else "203.0.113.") for each in beside)


@pytest.mark.parametrize("extra", [("l3mdev 01",), ("oif " + b"eth1\0".hex(),), ("tun_id 0000000000000001",)])
def test_a_rule_for_devices_takes_nothing_of_a_source(kernel: FakeKernel, node: Node, extra: tuple[str, ...]) -> None:
    """A VRF's rule, a socket that is bound to a device, a tunnel's: near misses."""
    kernel.add(Seen(Rule("", 77, 1000), BOOT, extra))
    kernel.add(Seen(Route("0.0.0.0/0", "tun0", 77), BOOT))

    assert node.status().in_order


@pytest.mark.parametrize(
    ("table_", "priority", "program"),
    [
        *((52, 9999, "tailscale"), (7, 5210, "tailscale"), (7, 5270, "tailscale"), (53, 9999, ""), (7, 5271, "")),
        *((220, 9999, "strongSwan"), (7, 220, "strongSwan"), (221, 9999, ""), (7, 219, "")),
        *((1836018789, 9999, "Mullvad"), (7, 5208, "Mullvad"), (7, 5209, "Mullvad"), (7, 5207, "")),
        (1836018790, 9999, ""),
        *((51820, 9999, "wg-quick"), (51919, 9999, "wg-quick"), (51819, 9999, ""), (51920, 9999, ""), (7, 51820, "")),
        *((10001, 9999, "amazon-ec2-net-utils"), (10999, 9999, "amazon-ec2-net-utils"), (11000, 9999, "")),
        *((7, 10000, "amazon-ec2-net-utils"), (7, 10999, "amazon-ec2-net-utils"), (7, 11000, ""), (10000, 9999, "")),
        *((30200, 9999, "nm-cloud-setup"), (30499, 9999, "nm-cloud-setup"), (30500, 9999, ""), (30199, 9999, "")),
        *((7, 30200, "nm-cloud-setup"), (7, 30499, "nm-cloud-setup"), (7, 30500, ""), (7, 30199, "")),
    ],
)
def test_a_program_is_told_by_its_tables_and_priorities(table_: int, priority: int, program: str) -> None:
    """The first and the last number of each, and the next one, which is another program's."""
    way = effect.Way(interface("eth1"), Rule("10.0.1.0/24", 100, 10000), "eth1", "10.0.1.1")
    query = Query("10.0.1.10", "198.51.100.1")
    taken = effect.Taken(way, query, Decision(), Seen(Rule("", table_, priority), 3))

    assert program == taken.program


def test_the_rule_is_shown_as_ip_rule_shows_it() -> None:
    """With `not` where it is inverted, and only there."""
    seen = Seen(Rule("10.0.9.0/24", 7, 50), 3)

    assert "50: from 10.0.9.0/24 lookup 7" == describe(seen)
    assert "50: not from 10.0.9.0/24 lookup 7" == describe(replace(seen, extra=("not",)))


@pytest.mark.parametrize("ports", ["sport 50005000", "dport 50005000"])
def test_a_rule_for_ports_selects(kernel: FakeKernel, node: Node, ports: str) -> None:
    """Of the packets of a source it takes some."""
    seen = Seen(Rule("", 77, 1000), BOOT, (ports,))

    assert effect._selective(seen, selectors(seen))


@pytest.mark.parametrize("extra", [(), ("inet6",)])
def test_a_rule_that_selects_by_its_source_alone_needs_no_reader(extra: tuple[str, ...]) -> None:
    """Such rules are left out before the reader of selectors is imported: it would find nothing in them."""
    seen = Seen(Rule("10.0.9.0/24" if not extra else "", 7, 50), 3, extra)

    assert Selectors() == selectors(seen)
    assert not effect._selective(seen, Selectors())
    assert [] == effect._special(Observed(seen=(seen,)))


def test_a_rule_that_selects_by_anything_more_is_read(kernel: FakeKernel) -> None:
    """Whatever the word is: what is not known to be neutral goes to the reader."""
    some = (
        Seen(Rule("", 7, 50), 3, ("ipproto 06",)),
        Seen(Rule("", 7, 51, destination="10.9.0.0/16"), 3),
        Seen(Rule("", 7, 52), 3, ("inet6", "tos 8")),
    )

    assert list(some) == [seen for seen, _ in effect._special(Observed(seen=(*kernel.observe().seen, *some[::-1])))]
