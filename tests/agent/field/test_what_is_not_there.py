"""What is not on the node, or cannot be applied, is said; and one family or one owner does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, RefusedError, interface
from ec2ident_agent.config import parse
from ec2ident_agent.items import OURS, Address, Link, Observed, Route, Rule, Seen, family
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts
from tests.agent.conftest import ip

BOTH = (
    '[interface.eth1]\nsubnet = ["10.0.1.0/24", "2600:1f14::/64"]\nrouter = ["10.0.1.1", "fe80:ec2::1"]\ntable = 100\n'
)
FACTS = Facts(
    "eth1",
    subnets=("10.0.1.0/24", "2600:1f14::/64"),
    addresses=("10.0.1.10/32", "2600:1f14::10/128"),
    vpc=("10.0.0.0/16",),
    table=23601,
)


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel("eth0", "eth1")


def node_of(directory: Path, kernel: FakeKernel | None, text: str) -> Node:
    def facts(_: str, observed: Observed) -> Facts:
        from ec2ident_agent.profile import kernel_facts

        return replace(FACTS, routers=kernel_facts("eth1", observed).routers)

    config = parse("agent.toml", text.encode())
    return Node(config, state_dir=str(directory / "s"), names_dir=str(directory / "n"), kernel=kernel, facts=facts)


def versions(kernel: FakeKernel) -> set[int]:
    """The families of our default routes."""
    mine = (seen.item for seen in kernel.seen if seen.protocol == OURS)
    return {family(item.destination) for item in mine if isinstance(item, Route) and item.gateway}


def test_ipv6_that_is_disabled_does_not_take_ipv4_with_it(kernel: FakeKernel, tmp_path: Path) -> None:
    """Hardening guides set disable_ipv6: IPv4 is applied, and the report says what is not, and why."""
    kernel.links = [replace(link, ipv6=link.name != "eth1") for link in kernel.links]
    node = node_of(tmp_path, kernel, BOTH)
    report = node.apply()

    assert {4} == versions(kernel)
    assert [interface("eth1")] == [each.owner for each in report.refusals]
    assert "IPv6 is disabled on eth1, so only IPv4 is applied" in report.refusals[0].why
    assert (False, ()) == (node.status().in_order, node.status().steps)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_the_kernel_says_whether_a_device_has_ipv6_and_which_names(tmp_path: Path) -> None:
    """IFLA_INET6_CONF and IFLA_ALT_IFNAME, as `sysctl` and `ip link property` set them."""
    ip("link property add dev eth1 altname enp0s6 altname eni-092fd70511e6bb446")
    kernel = NetlinkKernel()
    links = {link.name: link for link in kernel.observe_links()}
    assert ("enp0s6", "eni-092fd70511e6bb446") == links["eth1"].alternatives
    assert ((), True, True) == (links["eth0"].alternatives, links["eth0"].ipv6, links["eth1"].ipv6)

    Path("/proc/sys/net/ipv6/conf/eth1/disable_ipv6").write_text("1", encoding="ascii")

    assert {"eth0": True, "eth1": False} == {
        link.name: link.ipv6 for link in kernel.observe_links() if link.name.startswith("eth")
    }
    kernel.close()
    with node_of(tmp_path, None, BOTH) as agent:
        agent.apply()
    assert "default via 10.0.1.1 dev eth1" in ip("route show table 100")


def test_an_interface_by_its_alternative_name(kernel: FakeKernel, tmp_path: Path) -> None:
    """Amazon Linux 2023 and RHEL: `ip link show enp0s6` works, so the configuration may say it; overlays too."""
    kernel.links = [replace(link, alternatives=("enp0s6",)) if link.name == "eth1" else link for link in kernel.links]
    text = BOTH.replace("eth1", "enp0s6") + '[[overlay]]\naddress = "192.168.10.10"\ndevice = "enp0s6"\n'
    node = node_of(tmp_path, kernel, text)
    node.apply()

    assert {4, 6} == versions(kernel)
    assert Address("eth1", "192.168.10.10/32", "eth1:1") in {seen.item for seen in kernel.seen}
    assert node.status().in_order
    node.hold_overlay("192.168.10.11", device="enp0s6")
    assert Address("eth1", "192.168.10.11/32", "eth1:2") in {seen.item for seen in kernel.seen}


def test_a_name_that_is_not_on_the_node_is_not_in_order(kernel: FakeKernel, tmp_path: Path) -> None:
    """A misspelt name gave "in order" for ever; an overlay on a device that does not exist too."""
    text = '[interface.eht1]\ntable = 100\n[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth9"\n'
    report = node_of(tmp_path, kernel, text).status()

    assert (["eht1", "overlay 192.168.10.10/32"], False) == ([*map(str, report.absent)], report.in_order)


def test_ipv6_without_a_router_is_said(kernel: FakeKernel, tmp_path: Path) -> None:
    """No default route of IPv6 in any table: IPv4 is applied, and IPv6 is unknown (exit 3)."""
    report = node_of(tmp_path, kernel, "[interface.eth1]\n").apply()

    assert {4} == versions(kernel)
    assert ["eth1"] == [str(each.owner) for each in report.unknown]
    assert (
        "IPv6 is not applied: router unknown: no router advertises itself for 2600:1f14::/64" in report.unknown[0].why
    )


@pytest.mark.parametrize("table", [254, 1001])
def test_the_router_of_ipv6_is_sought_in_every_table(kernel: FakeKernel, tmp_path: Path, table: int) -> None:
    """NetworkManager's never-default and networkd's RouteTable keep the default route out of main."""
    kernel.add(Seen(Route("::/0", "eth1", table, "fe80:ec2::1", 1024), 9))
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    node.apply()

    assert {4, 6} == versions(kernel)
    assert node.status().in_order


@pytest.mark.parametrize(
    ("address", "applied"),
    [("10.0.2.10/24", False), ("10.0.1.200/25", True), ("10.0.1.10/20", True), ("192.168.10.10/32", True)],
    ids=["another-subnet", "a-part", "wider", "an-address-alone-tells-no-subnet"],
)
def test_a_section_of_another_subnet_is_not_applied(
    kernel: FakeKernel, tmp_path: Path, address: str, applied: bool
) -> None:
    """After a stop and start another ENI has the name (delphix/delphix-platform#385): its packets would go nowhere."""
    kernel.add(Seen(Address("eth1", address), 16))
    node = node_of(tmp_path, kernel, '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n')
    report = node.apply()

    assert applied == bool(versions(kernel))
    assert applied == node.status().in_order
    if not applied:
        (refusal,) = report.refusals
        said = "its subnet 10.0.1.0/24 is not that of eth1, which has 10.0.2.0/24; write the subnet of eth1, or mac = …"
        assert refusal.why.startswith(said)


@pytest.mark.parametrize("said", [False, True], ids=["the-kernel-tells", "the-service-says"])
def test_a_further_network_of_one_family_does_not_make_it_another_eni(
    kernel: FakeKernel, tmp_path: Path, said: bool
) -> None:
    """Near delphix/delphix-platform#385: an address of an administrator's IPv6 network is there, and the one of the
    subnet is not yet. IPv4 shows that it is the right ENI. If the service says another subnet, it is not.
    """
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 16))
    kernel.add(Seen(Address("eth1", "fd12:3456::1/64"), 4))
    known = Facts("eth1", subnets=("10.0.1.0/24", "2600:1f14:9::/64") if said else None)
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    config = parse("agent.toml", (BOTH + 'addresses = "hold"\n').encode())
    node = Node(config, **where, kernel=kernel, facts=lambda *_: known)  # type: ignore[arg-type]

    assert said == bool(node.apply().refusals)
    assert bool(versions(kernel)) != said


def test_the_rules_of_an_eni_that_is_gone_do_not_stay(kernel: FakeKernel, tmp_path: Path) -> None:
    """Another ENI gets the name while the node runs: what was there of the old one is removed.

    While the device is the same one, what is there stays: an administrator may be at work on its addresses.
    """
    first, second = Seen(Address("eth1", "10.0.1.10/24"), 16), Seen(Address("eth1", "10.0.2.10/24"), 16)
    kernel.add(first)
    node = node_of(tmp_path, kernel, '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n')
    node.apply()
    kernel.seen.remove(first)
    kernel.add(second)
    before = set(kernel.seen)
    node.apply()
    assert before == set(kernel.seen)

    kernel.unplug("eth1")
    kernel.plug("eth1")
    kernel.add(second)
    assert 1 == len(node.apply().refusals)
    assert set() == {seen for seen in kernel.seen if seen.protocol == OURS}


def test_two_sections_of_one_interface(kernel: FakeKernel, tmp_path: Path) -> None:
    """By its name and by an alternative name: the first section counts, and the second one is refused."""
    kernel.links = [replace(link, alternatives=("enp0s6",)) if link.name == "eth1" else link for link in kernel.links]
    text = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'
    report = node_of(tmp_path, kernel, text + text.replace("eth1", "enp0s6").replace("100", "101")).apply()

    assert ["enp0s6: it is eth1, as [interface.eth1] is; remove one of the two sections"] == [
        *map(str, report.refusals)
    ]
    assert {4} == versions(kernel)


BR0 = Link(9, "br0", "06:00:00:00:00:03", kind="bridge")


@pytest.mark.parametrize(
    ("changes", "others", "device"),
    [
        ({}, [], "eth1"),
        ({}, [replace(BR0, index=1)], "eth1"),
        ({"master": 9}, [BR0], "br0"),
        ({}, [replace(BR0, index=1, name="eth1.5", kind="vlan", lower=3)], "eth1"),
        ({"kind": "veth"}, [replace(BR0, index=1, name="ipvl0", kind="ipvlan", lower=3)], "eth1"),
    ],
    ids=["alone", "a-bridge-with-its-mac", "a-port", "a-vlan", "ipvlan"],
)
def test_a_mac_that_several_devices_have_means_the_one_that_gets_the_packets(
    kernel: FakeKernel, changes: dict[str, object], others: list[Link], device: str
) -> None:
    """A bridge or bond has the MAC of a port (systemd/systemd#25555), a VLAN or ipvlan that of the device below it."""
    eth1 = replace(kernel.links[-1], **changes)

    found = Observed((*others, eth1)).device_of(eth1.mac)

    assert found
    assert found.name == device


@pytest.mark.parametrize(
    ("kind", "port", "refused"),
    [("bridge", "eth1", True), ("bond", "eth1", True), ("vrf", "eth1", False), ("bridge", "eth0", False)],
)
def test_a_port_of_a_bridge_is_refused(kernel: FakeKernel, tmp_path: Path, kind: str, port: str, refused: bool) -> None:
    """harvester/harvester#534: the address is on the port. Its packets are the bridge's: a route by it leads nowhere.

    What is there stays. A port of a VRF keeps its packets.
    """
    node = node_of(tmp_path, kernel, BOTH + '[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth1"\n')
    node.apply()
    before = list(kernel.seen)
    kernel.links = [*(replace(each, master=9 * (each.name == port)) for each in kernel.links), replace(BR0, kind=kind)]

    report = node.status()

    say = f"eth1 is a port of the {kind} br0, which gets its packets; write "
    whys = [say + "[interface.br0], with the addresses on br0", say + "device = br0"]
    assert whys * refused == [each.why for each in report.refusals]
    assert refused != report.in_order
    node.apply()
    assert before == kernel.seen
    if refused:
        with pytest.raises(RefusedError, match="write device = br0"):
            node.hold_overlay("192.168.10.10")


def test_a_command_may_use_either_name(kernel: FakeKernel, tmp_path: Path) -> None:
    """The section has the alternative name and the command the device's, or the reverse."""
    kernel.links = [replace(link, alternatives=("enp0s6",)) if link.name == "eth1" else link for link in kernel.links]
    for section, other in (("enp0s6", "eth1"), ("eth1", "enp0s6")):
        node = node_of(tmp_path, kernel, f'[interface.{section}]\nsubnet = "10.0.1.0/24"\ntable = 100\n')
        node.apply([interface(other)])
        assert {4} == versions(kernel)
        assert [section] == [str(each.owner) for each in node.status([interface(other)]).desired]
        assert 3 == len(node.revert([interface(other)], dry_run=True))
        assert 3 == len(node.revert([interface(other)]))
        assert set() == versions(kernel)


def test_the_vpcs_router_of_another_interface_is_this_ones_too(kernel: FakeKernel, tmp_path: Path) -> None:
    """Every subnet of a VPC has fe80:ec2::1 (amazon-vpc-cni-k8s); any other router is its own link's."""
    kernel.add(Seen(Route("::/0", "eth0", 254, "fe80::1", 1024), 9))
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    assert 1 == len(node.apply().unknown)

    kernel.add(Seen(Route("::/0", "eth0", 254, "fe80:ec2::1", 512), 9))
    node.apply()
    assert {4, 6} == versions(kernel)
    assert node.status().in_order


def test_a_router_among_the_neighbours(kernel: FakeKernel, tmp_path: Path) -> None:
    """Docker enables forwarding, and the kernel forgets the advertised routes (moby#43466): the neighbour says it is a
    router. A look takes what is known, and a change asks for routers.
    """
    kernel.add(Seen(Address("eth1", "2600:1f14::10/128"), 16))
    kernel.answering["eth1"] = ("fe80:ec2::1",)
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    assert 1 == len(node.status().unknown)
    node.apply()
    assert {4} == versions(kernel)  # A facts provider of the caller's own is not asked again.

    kernel.neighbours["eth1"] = ("fe80:ec2::1",)
    node.apply()
    assert {4, 6} == versions(kernel)
    assert node.status().in_order


def test_ipv4_does_not_wait_for_the_router_of_a_configured_ipv6_subnet(kernel: FakeKernel, tmp_path: Path) -> None:
    """The router of IPv4 alone is written, or none: IPv6 is said, and it has no rule without a default route."""
    for router in ('router = "10.0.1.1"\n', ""):
        text = f'[interface.eth1]\nsubnet = ["10.0.1.0/24", "2600:1f14::/64"]\n{router}table = 100\n'
        report = node_of(tmp_path / router[:3], kernel, text).apply()
        assert "IPv6 is not applied: router unknown" in report.unknown[0].why
        assert {4} == versions(kernel)
        assert {"10.0.1.0/24"} == sources(kernel)

    kernel.neighbours["eth1"] = ("fe80::7",)
    kernel.add(Seen(Address("eth1", "2600:1f14::10/128"), 16))
    assert () == node_of(tmp_path, kernel, text).apply().unknown
    assert {"10.0.1.0/24", "2600:1f14::/64"} == sources(kernel)


def sources(kernel: FakeKernel) -> set[str]:
    return {seen.item.source for seen in kernel.seen if isinstance(seen.item, Rule) and seen.protocol == OURS}


def test_a_rule_never_leads_to_a_table_without_its_default_route(kernel: FakeKernel, tmp_path: Path) -> None:
    """An IPv6 source or overlay of an interface with IPv4 alone would be sent to an empty table."""
    text = """
[interface.eth1]
subnet = "10.0.1.0/24"
source = ["10.0.1.10/32", "2600:1f14::10/128"]
table = 100
[[overlay]]
address = "fd00:5::1"
device = "eth1"
"""
    report = node_of(tmp_path, kernel, text).apply()

    assert {"10.0.1.10/32"} == sources(kernel)
    assert Address("eth1", "fd00:5::1/128") in {seen.item for seen in kernel.seen}
    assert [
        "eth1: its IPv6 sources have no rules: the interface has no router of IPv6",
        "overlay fd00:5::1/128: it has no rules: eth1 has no router of IPv6",
    ] == [str(each).partition(";")[0] for each in report.unknown]


def test_a_router_that_the_kernel_forgets_is_unknown_and_nothing_is_removed(kernel: FakeKernel, tmp_path: Path) -> None:
    """moby#43466, docker/for-linux#1373: Docker switches forwarding on, and with accept_ra=1 the kernel forgets its
    advertised routers. IPv6 of eth1 goes on to work, and the report says which fact is missing.
    """
    advertised = Seen(Route("::/0", "eth1", 254, "fe80:ec2::1", 1024), 9)
    kernel.add(advertised)
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    node.apply()
    assert {4, 6} == versions(kernel)
    kernel.seen.remove(advertised)

    report = node.apply()

    assert {4, 6} == versions(kernel)
    assert ["eth1"] == [str(each.owner) for each in report.unknown]
    assert "router unknown" in report.unknown[0].why


def silent(directory: Path, kernel: FakeKernel, text: str) -> Node:
    config = parse("agent.toml", text.encode())
    where = str(directory / "s"), str(directory / "n")

    def facts(device: str, _: Observed) -> Facts:
        return Facts(device, unknown="no answer")

    return Node(config, state_dir=where[0], names_dir=where[1], kernel=kernel, facts=facts)


def test_while_the_service_is_silent_what_the_kernel_knows_is_enough(kernel: FakeKernel, tmp_path: Path) -> None:
    """The second apply finds exactly what the first one added, and nothing is unknown."""
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 16))
    node = silent(tmp_path, kernel, "[interface.eth1]\ntable = 100\n")
    assert node.apply().steps

    report = node.apply()

    assert ((), (), True) == (report.unknown, report.steps, report.in_order)


def test_a_configured_subnet_of_ipv6_is_not_replaced_by_the_kernel_s(kernel: FakeKernel, tmp_path: Path) -> None:
    """Its router is unknown, and there is no subnet of IPv4 in the configuration that could go first."""
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 16))
    report = silent(tmp_path, kernel, '[interface.eth1]\nsubnet = "2600:1f14::/64"\ntable = 100\n').apply()

    assert set() == versions(kernel)
    assert ["eth1"] == [str(each.owner) for each in report.unknown]


def test_ipv6_that_is_disabled_on_one_device_is_applied_on_the_other(kernel: FakeKernel, tmp_path: Path) -> None:
    """eth0 has no IPv6; eth1 gets both families, and nothing is refused."""
    kernel.links = [replace(link, ipv6=link.name != "eth0") for link in kernel.links]
    kernel.add(Seen(Route("::/0", "eth1", 254, "fe80:ec2::1", 1024), 9))
    report = node_of(tmp_path, kernel, "[interface.eth1]\n").apply()

    assert ({4, 6}, ()) == (versions(kernel), report.refusals)
