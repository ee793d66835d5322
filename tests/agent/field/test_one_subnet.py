"""Several interfaces of one node in one subnet: rules take an interface's own packets and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, RefusedError, interface, overlay
from ec2ident_agent.config import overlay as overlay_of
from ec2ident_agent.config import parse, section
from ec2ident_agent.items import OURS, Address, Observed, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Config, Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Item

DHCP = 16
#: Two interfaces in one subnet, as the metadata service describes them.
FACTS = {
    name: Facts(
        name,
        subnets=("10.0.0.0/24", "2600:1f14::/64"),
        routers=("fe80::1",),
        addresses=(f"10.0.0.{host}/32", f"2600:1f14::{host}/128"),
        vpc=("10.0.0.0/16", "2600:1f14::/56"),
        table=23600 + number,
    )
    for number, (name, host) in enumerate((("eth0", 10), ("eth1", 11)))
}


def facts(device: str, _: Observed) -> Facts:
    return FACTS[device]


@pytest.fixture
def kernel() -> FakeKernel:
    """eth0 and eth1 with the addresses that DHCP gave them: IPv6 ones are alone, so that no subnet shows."""
    made = FakeKernel("eth0", "eth1")
    for name, host in (("eth0", 10), ("eth1", 11)):
        made.add(Seen(Address(name, f"10.0.0.{host}/24"), DHCP))
        made.add(Seen(Address(name, f"2600:1f14::{host}/128"), DHCP))
    return made


def node_of(directory: Path, kernel: FakeKernel, text: str) -> Node:
    config = parse("agent.toml", text.encode())
    return Node(config, state_dir=str(directory / "s"), names_dir=str(directory / "n"), kernel=kernel, facts=facts)


def ours(kernel: FakeKernel) -> set[Item]:
    return {seen.item for seen in kernel.seen if seen.protocol == OURS}


def sources(kernel: FakeKernel) -> dict[str, int]:
    """Source and table of each of our rules."""
    return {item.source: item.table for item in ours(kernel) if isinstance(item, Rule)}


def test_one_line_for_the_second_interface_takes_nothing_from_the_first(kernel: FakeKernel, tmp_path: Path) -> None:
    """`from SUBNET` would silence eth0 (amazonlinux/amazon-ec2-net-utils#174, lyft/cni-ipvlan-vpc-k8s#32)."""
    with node_of(tmp_path, kernel, "[interface.eth1]\n") as node:
        assert node.apply().in_order is False
        assert node.status().in_order

    assert {"10.0.0.11/32": 23601, "2600:1f14::11/128": 23601} == sources(kernel)


def test_each_of_two_interfaces_gets_its_own(kernel: FakeKernel, tmp_path: Path) -> None:
    """The second of two rules for one subnet would never be evaluated."""
    with node_of(tmp_path, kernel, "[interface.eth0]\n[interface.eth1]\n") as node:
        node.apply()

    expected = {"10.0.0.10/32": 23600, "2600:1f14::10/128": 23600, "10.0.0.11/32": 23601, "2600:1f14::11/128": 23601}
    assert expected == sources(kernel)


@pytest.mark.parametrize("scheme", ["by-source", "split"])
def test_without_the_service_a_second_look_agrees_with_the_first(
    kernel: FakeKernel, tmp_path: Path, scheme: str
) -> None:
    """amazonlinux/amazon-ec2-net-utils#174, and the metadata service is silent: what was applied by the kernel's facts
    is in order, and not unknown, because its sources are narrower than the subnet.
    """
    text = f'[interface.eth1]\ntable = 102\nscheme = "{scheme}"\nvpc = "10.0.0.0/16"\n'
    config, where = parse("agent.toml", text.encode()), {"state_dir": str(tmp_path), "names_dir": str(tmp_path / "n")}
    node = Node(config, **where, kernel=kernel, facts=lambda *_: Facts("eth1", unknown="no answer"))  # type: ignore[arg-type]
    node.apply()

    assert {"10.0.0.11/32"} == {*sources(kernel)}
    assert node.status().in_order
    assert () == node.status().unknown
    assert () == node.apply().steps


def test_alone_in_its_subnet_the_source_is_the_subnet(kernel: FakeKernel, tmp_path: Path) -> None:
    """The published recipe. The subnet counts again when the other interface is detached."""
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    node.apply()
    kernel.unplug("eth0")

    node.apply()

    assert {"10.0.0.0/24": 23601, "2600:1f14::/64": 23601} == sources(kernel)


def test_a_configured_subnet_that_is_shared_is_narrowed_too(kernel: FakeKernel, tmp_path: Path) -> None:
    """The configuration says which subnet, not which source; no fact is asked for."""
    text = '[interface.eth1]\nsubnet = "10.0.0.0/24"\ntable = 100\n'
    with node_of(tmp_path, kernel, text) as node:
        node.apply()

    assert {"10.0.0.11/32": 100} == sources(kernel)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('subnet = "10.0.0.0/16"\nrouter = "10.0.0.1"', "subnet 10.0.0.0/16 would take the packets of eth0, which has"),
        ('subnet = "10.0.0.0/24"\nsource = "10.0.0.0/28"', "source 10.0.0.0/28 would take the packets of eth0, which"),
    ],
    ids=["a-subnet-wider-than-its-own", "a-source"],
)
def test_what_would_take_another_interfaces_packets_is_refused(
    kernel: FakeKernel, tmp_path: Path, keys: str, says: str
) -> None:
    """Nothing is changed, both names are in the report, and the overlay beside it gets its address alone."""
    text = f'[interface.eth1]\n{keys}\ntable = 100\n[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth1"\n'
    with node_of(tmp_path, kernel, text) as node:
        report = node.apply()
        after = node.status()

    assert [interface("eth1")] == [each.owner for each in report.refusals]
    assert says in report.refusals[0].why
    assert {Address("eth1", "192.168.10.10/32", "eth1:1")} == ours(kernel)
    assert (False, ()) == (after.in_order, after.steps)


def test_a_refusal_keeps_what_there_is(kernel: FakeKernel, tmp_path: Path) -> None:
    """eth0's address comes after the rules: eth1 goes on to work, and the report says what is wrong."""
    text = '[interface.eth1]\nsubnet = "10.0.0.0/24"\nsource = "10.0.0.0/28"\ntable = 100\n'
    eth0 = [seen for seen in kernel.seen if isinstance(seen.item, Address) and seen.item.device == "eth0"]
    kernel.seen = [seen for seen in kernel.seen if seen not in eth0]
    node = node_of(tmp_path, kernel, text)
    node.apply()
    before = ours(kernel)
    kernel.seen += eth0

    assert ("eth1", False) == (str(node.apply().refusals[0].owner), node.status().in_order)
    assert before == ours(kernel)


def test_flags_are_refused_as_an_error(kernel: FakeKernel, tmp_path: Path) -> None:
    """A command that asks for one interface cannot do anything else."""
    given = Config((section("eth1", {"subnet": ["10.0.0.0/24"], "source": ["10.0.0.10/32"], "table": 100}),))
    with pytest.raises(RefusedError, match=r"eth1: source 10\.0\.0\.10/32 would take the packets of eth0"):
        node_of(tmp_path, kernel, "").hold(given)
    assert set() == ours(kernel)


def test_an_overlay_with_another_interfaces_address_is_refused(kernel: FakeKernel, tmp_path: Path) -> None:
    """Its rules would send the answers of eth0's first address by eth1."""
    text = '[interface.eth1]\n[[overlay]]\naddress = "10.0.0.10"\ndevice = "eth0"\nvia = "eth1"\n'
    report = node_of(tmp_path, kernel, text).apply()

    assert [overlay("10.0.0.10/32")] == [each.owner for each in report.refusals]
    assert "would take the packets of eth0, which has 10.0.0.10/24" in report.refusals[0].why


def test_while_the_interface_has_no_address_it_waits(kernel: FakeKernel, tmp_path: Path) -> None:
    """Nothing else is known to be its own, and the subnet is shared: unknown, with the key to write."""
    kernel.seen = [seen for seen in kernel.seen if getattr(seen.item, "device", "") != "eth1"]
    text = '[interface.eth1]\nsubnet = "10.0.0.0/24"\ntable = 100\n'
    report = node_of(tmp_path, kernel, text).apply()

    assert "10.0.0.0/24 is also eth0's, and eth1 has no address in it yet" in report.unknown[0].why
    assert set() == ours(kernel)


@pytest.mark.parametrize(
    ("device", "address"),
    [("lo", "10.0.0.50/32"), ("br0", "10.0.0.65/28"), ("br0", "2600:1f14::11/128")],
    ids=["loopback", "bridge-with-a-delegated-prefix", "its-own-address-elsewhere"],
)
def test_addresses_of_no_other_eni_change_nothing(tmp_path: Path, device: str, address: str) -> None:
    """Near misses: with these alone the published recipe stays as it is."""
    kernel = FakeKernel("eth1", "br0")
    kernel.add(Seen(Address("eth1", "10.0.0.11/24"), DHCP))
    kernel.add(Seen(Address(device, address), DHCP))
    node_of(tmp_path, kernel, "[interface.eth1]\n").apply()

    assert {"10.0.0.0/24": 23601, "2600:1f14::/64": 23601} == sources(kernel)


def test_a_doubled_device_number_stops_one_interface(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata service says one device number for two ENIs just after an attach:
    the interface that has the table keeps it and is repaired, the other one waits and is named.
    """
    monkeypatch.setitem(FACTS, "eth2", replace(FACTS["eth1"], device="eth2"))
    kernel.plug("eth2")
    kernel.unplug("eth0")
    node = node_of(tmp_path, kernel, "[interface.eth1]\n")
    node.apply()
    kernel.flush_table(23601)
    node.config = parse("agent.toml", b"[interface.eth2]\n[interface.eth1]\n")

    report = node.apply()

    assert ["eth2: table 23601 is eth1's already; write another table = … in [interface.eth2]"] == [
        *map(str, report.refusals)
    ]
    assert Route("0.0.0.0/0", "eth1", 23601, "10.0.0.1") in ours(kernel)
    assert "eth2" not in {getattr(item, "device", "") for item in ours(kernel)}


def test_a_held_table_is_not_taken(kernel: FakeKernel, tmp_path: Path) -> None:
    """A command holds table 23601 for eth0; the configured eth1 is refused, and the rest of the node is repaired."""
    node = node_of(tmp_path, kernel, "")
    node.hold(Config((section("eth0", {"subnet": ["10.0.0.0/24"], "source": ["10.0.0.10/32"], "table": 23601}),)))
    node.config = Config((section("eth1", {}),), (overlay_of({"address": "192.168.10.10", "device": "eth1"}),))
    report = node.apply()

    assert [interface("eth1")] == [each.owner for each in report.refusals]
    assert {"10.0.0.10/32": 23601} == sources(kernel)
    assert Address("eth1", "192.168.10.10/32", "eth1:1") in ours(kernel)


def test_an_overlay_is_the_agents_where_the_kernel_shows_no_protocol(tmp_path: Path) -> None:
    """Before Linux 5.18 the journal alone tells that the address on eth0 is the agent's own."""
    kernel = FakeKernel("eth0", "eth1", tags=False)
    kernel.add(Seen(Address("eth1", "10.0.0.11/24"), DHCP))
    text = '[interface.eth1]\n[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth0"\nvia = "eth1"\n'
    node = node_of(tmp_path, kernel, text)
    node.apply()

    assert node.status().in_order
    assert () == node.apply().steps


@pytest.mark.parametrize("device", ["eth0", "06:00:00:00:00:09"], ids=["no-address-yet", "no-link-yet"])
def test_an_interface_that_only_the_service_knows_counts(tmp_path: Path, device: str) -> None:
    """Every card of a p4d or p5 is in one subnet (libfabric#6, amazon-eks-ami#2179): the service lists the other one
    before it has an address or a link on the node.
    """
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth1", "10.0.0.11/24"), DHCP))
    known = replace(FACTS["eth1"], others=(replace(FACTS["eth0"], device=device),))
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    config = parse("agent.toml", b"[interface.eth1]\n")
    Node(config, **where, kernel=kernel, facts=lambda *_: known).apply()  # type: ignore[arg-type]

    assert {"10.0.0.11/32": 23601, "2600:1f14::11/128": 23601} == sources(kernel)


def test_a_subnet_or_overlay_of_an_interface_that_only_the_service_knows_is_refused(tmp_path: Path) -> None:
    """With both names, and nothing of it is touched."""
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth1", "10.0.1.11/24"), DHCP))
    known = replace(FACTS["eth1"], subnets=("10.0.1.0/24",), addresses=("10.0.1.11/32",), others=(FACTS["eth0"],))
    text = """
[interface.eth1]
subnet = "10.0.0.0/16"
router = "10.0.1.1"
[[overlay]]
address = "10.0.0.10"
device = "eth1"
"""
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    node = Node(parse("f", text.encode()), **where, kernel=kernel, facts=lambda *_: known)  # type: ignore[arg-type]
    refusals = [str(each) for each in node.apply().refusals]

    assert "eth1: subnet 10.0.0.0/16 would take the packets of eth0, which has 10.0.0.10/32" in refusals[0]
    assert set() == {item for item in ours(kernel) if isinstance(item, (Route, Rule))}


def test_an_overlay_in_another_interfaces_delegated_prefix_is_refused(kernel: FakeKernel, tmp_path: Path) -> None:
    """The VPC delivers 10.0.0.70 to eth0, which has 10.0.0.64/28, on no interface of the node; near misses are not."""
    eth0 = replace(FACTS["eth0"], addresses=("10.0.0.10/32", "10.0.0.64/28"))
    known = replace(FACTS["eth1"], others=(eth0,))
    where = {"state_dir": str(tmp_path / "s"), "names_dir": str(tmp_path / "n")}
    for address, refused in (("10.0.0.70", True), ("10.0.0.80", False)):
        text = f'[interface.eth1]\n[[overlay]]\naddress = "{address}"\ndevice = "eth1"\n'
        node = Node(parse("f", text.encode()), **where, kernel=kernel, facts=lambda *_: known)  # type: ignore[arg-type]
        refusals = [*map(str, node.apply().refusals)]
        assert refused == bool(refusals)
        assert not refused or "would take the packets of eth0, which has 10.0.0.64/28" in refusals[0]
