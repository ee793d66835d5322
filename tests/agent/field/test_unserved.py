"""An ENI without a section: its address gives no answer, and `doctor` says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node
from ec2ident_agent.cli import examine
from ec2ident_agent.config import parse
from ec2ident_agent.doctor.diagnosis import faults
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import Address, Observed, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts
from ec2ident_agent.show import as_dict, table

ETH1 = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'


RULE = Seen(Rule("10.0.2.10/32", 10002, 10002), 3)


@pytest.mark.parametrize(
    ("text", "others", "named"),
    [
        (ETH1, [], ["eth2"]),
        ("", [], ["eth1", "eth2"]),
        (ETH1 + ETH1.replace("eth1", "eth2").replace("10.0.1.0", "10.0.2.0").replace("100", "200"), [], []),
        (ETH1, [RULE, Seen(Route("0.0.0.0/0", "eth2", 10002, "10.0.2.1"), 3)], []),
        (ETH1, [RULE], ["eth2"]),
        (ETH1, [RULE, Seen(Route("10.0.2.0/24", "eth2", 10002), 3)], ["eth2"]),
        (ETH1, [RULE, Seen(Route("0.0.0.0/0", "eth0", 10002, "10.0.0.1"), 3)], ["eth2"]),
    ],
    ids=["one-of-two", "nothing-configured", "both-configured", "served", "empty-table", "subnet-alone", "by-eth0"],
)
def test_an_interface_that_nothing_serves_is_named(
    tmp_path: Path, text: str, others: list[Seen], named: list[str]
) -> None:
    """eth0 is the first interface, by the metric of its default route in main; a bridge has none.

    amazonlinux/amazon-ec2-net-utils#132, aws/amazon-vpc-cni-k8s#1856: the other program's rule leads into a table
    without its routes, so the packets fall to main.
    """
    kernel = FakeKernel("eth0", "eth1", "eth2", "br0")
    for number in range(3):
        kernel.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), 16))
        kernel.add(Seen(Route("0.0.0.0/0", f"eth{number}", 254, f"10.0.{number}.1", 100 * number), 16))
    kernel.add(Seen(Address("br0", "172.17.0.1/16"), 2))
    for each in others:
        kernel.add(each)
    config = parse("agent.toml", text.encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    node.apply()

    found = [each.do for each in faults(examine(node, RootFs(str(tmp_path)))) if "nothing leads" in each.what]

    assert [f"write [interface.{name}]" for name in named] == found


def test_an_interface_with_ipv6_alone_counts(tmp_path: Path) -> None:
    """An IPv6-only subnet (amazonlinux/amazon-ec2-net-utils#40): main has no IPv4 default route."""
    kernel = FakeKernel("eth0", "eth1", "eth2")
    for number in range(3):
        kernel.add(Seen(Address(f"eth{number}", f"2600:1f14:0:{number}::a/128"), 16))
        kernel.add(Seen(Route("::/0", f"eth{number}", 254, "fe80:ec2::1", 512 + number), 9))
    text = '[interface.eth1]\nsubnet = "2600:1f14:0:1::/64"\ntable = 100\n'
    config = parse("agent.toml", text.encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    node.apply()

    assert ["write [interface.eth2]"] == [each.do for each in node.status().notes]


def test_a_tunnel_with_a_default_route_is_not_an_eni(tmp_path: Path) -> None:
    """Its route has no router. It is not the first interface either, however small its metric is."""
    kernel = FakeKernel("eth0", "tun0")
    for name, gateway, metric in (("eth0", "10.0.0.1", 100), ("tun0", "", 50)):
        kernel.add(Seen(Address(name, "10.0.0.10/24" if name == "eth0" else "10.8.0.2/24"), 16))
        kernel.add(Seen(Route("0.0.0.0/0", name, 254, gateway, metric), 16))
    state, names = str(tmp_path / "s"), str(tmp_path / "n")
    node = Node(parse("agent.toml", b""), state_dir=state, names_dir=names, kernel=kernel)

    assert [] == [each.what for each in faults(examine(node, RootFs(str(tmp_path)))) if "nothing leads" in each.what]


ENIS = {
    device: Facts(
        device,
        subnets=(f"10.0.{number}.0/24",),
        addresses=(f"10.0.{number}.10/32",),
        vpc=("10.0.0.0/16",),
        table=23600 + number,
        primary=number == 0,
    )
    for number, device in enumerate(("eth1", "eth0", "06:00:00:00:00:99"))
}


def facts(device: str, _: Observed) -> Facts:
    return replace(ENIS[device], others=tuple(known for name, known in ENIS.items() if name != device))


def test_the_first_interface_counts_where_no_rule_asks_main(tmp_path: Path) -> None:
    """systemd/systemd#41350: networkd has deleted the kernel's own rules for main and default, of IPv4 alone."""
    kernel = FakeKernel("eth0", "eth1")
    for item in (Address("eth1", "10.0.0.10/24"), Address("eth1", "2600::a/128"), Address("eth0", "10.0.1.10/24")):
        kernel.add(Seen(item, 16))
    kernel.add(Seen(Route("0.0.0.0/0", "eth1", 254, "10.0.0.1", 100), 16))
    kernel.seen = [each for each in kernel.seen if not (isinstance(each.item, Rule) and each.item.priority > 32765)]
    kernel.add(Seen(Rule("", 254, 32766), 2, ("inet6",)))
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    node = Node(parse("agent.toml", b"[interface.eth0]\n"), **where, kernel=kernel, facts=facts)  # type: ignore[arg-type]
    node.apply()

    assert ["eth1 has 10.0.0.10, and nothing"] == [str(each)[:31] for each in node.status().notes]


NET = "10.0.0.0/24"


@pytest.mark.parametrize(
    ("routes", "served"),
    [
        ([], True),
        ([Route("0.0.0.0/0", "eth0", 254, "10.0.0.1", 50)], False),
        ([Route("0.0.0.0/0", "eth0", 254, "10.0.0.1", 200)], True),
        ([Route("0.0.0.0/0", "tun0", 254, metric=50)], True),
        ([Route("0.0.0.0/0", "", 254, metric=50)], True),
        ([Route("0.0.0.0/0", "", 254, metric=50), Route("0.0.0.0/0", "eth0", 254, "10.0.0.1", 70)], True),
        ([Route(NET, "eth0", 254, metric=1), Route(NET, "eth1", 254, metric=2)], False),
        ([Route(NET, "eth0", 254, metric=2), Route(NET, "eth1", 254, metric=1)], True),
        ([Route("::/0", "eth0", 254, "fe80::1", 1024), Route("::/0", "eth1", 254, "fe80::1", 1024)], True),
        ([Route("::/0", "eth0", 254, "fe80::1", 512), Route("::/0", "eth1", 254, "fe80::1", 1024)], False),
    ],
    ids=[
        *("alone", "default", "default-behind", "vpn", "several-routers", "several-routers-first"),
        *("subnet", "subnet-behind", "ipv6-any", "ipv6"),
    ],
)
def test_the_first_interface_counts_where_main_leads_out_by_another(
    tmp_path: Path, routes: list[Route], served: bool
) -> None:
    """amazonlinux/amazon-ec2-net-utils#174: without a rule for the first interface main decides by which ENI its
    answers leave: by the metric of its default routes, and in a shared subnet by that of the subnet's routes.
    """
    kernel = FakeKernel("eth0", "eth1", "tun0")
    for item in (Address("eth1", "10.0.0.10/24"), Address("eth1", "2600::a/128"), Address("eth0", "10.0.1.10/24")):
        kernel.add(Seen(item, 16))
    # Two IPv6 routes may differ in the device alone.
    kernel.seen += [Seen(route, 16) for route in (Route("0.0.0.0/0", "eth1", 254, "10.0.0.1", 100), *routes)]
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    config = parse("agent.toml", b"[interface.eth0]\n")
    node = Node(config, **where, kernel=kernel, facts=facts)  # type: ignore[arg-type]
    node.apply()

    assert ([] if served else ["eth1"]) == [str(note.owner) for note in node.status().notes]


@pytest.mark.parametrize(
    ("text", "unserved", "named"),
    [
        ("[interface.eth1]\n", ["eth0"], "eth1 of [interface.eth1] is the first interface (device number 0)"),
        ("[interface.eth0]\n", [], ""),
    ],
)
def test_the_first_interface_is_told_by_its_number_and_not_by_its_name(
    tmp_path: Path, text: str, unserved: list[str], named: str
) -> None:
    """Without persistent names eth1 may be device number 0 (amazon-ec2-net-utils#48); main serves it.

    eth0 has no default route of its own in main, and the metadata service lists it. An ENI without a link on this node
    does not count.
    """
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth1", "10.0.0.10/24"), 16))
    kernel.add(Seen(Address("eth0", "10.0.1.10/24"), 16))
    kernel.add(Seen(Address("eth0", "fe80::1/64"), 2))
    kernel.add(Seen(Route("0.0.0.0/0", "eth1", 254, "10.0.0.1"), 16))
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    node = Node(parse("agent.toml", text.encode()), **where, kernel=kernel, facts=facts)  # type: ignore[arg-type]
    node.apply()
    report = node.status()

    assert unserved == [str(note.owner) for note in report.notes]
    assert report.in_order
    if unserved:
        assert named in str(report.notes[0])
        assert table(report)[-2].startswith("unserved  eth0  eth0 has 10.0.1.10, and nothing leads")
        assert "in order; 1 unserved" == table(report)[-1]
        assert [str(report.notes[0])] == as_dict(report)["notes"]
