"""Networks of the VPC that are behind the node, and routes of main by another ENI: which rules they get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, interface
from ec2ident_agent.cli import examine
from ec2ident_agent.config import parse
from ec2ident_agent.doctor.diagnosis import faults
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import OURS, Address, Observed, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts

KERNEL, BOOT, DHCP = 2, 3, 16
SPLIT = """
[interface.eth1]
subnet = ["10.0.1.0/24", "2600:1f14::/64"]
router = ["10.0.1.1", "fe80:ec2::1"]
table = 100
scheme = "split"
vpc = ["10.0.0.0/16", "2600:1f14::/56"]
source = ["10.0.1.10/32", "2600:1f14::10/128"]
"""
BY_SOURCE = SPLIT.partition("scheme")[0]
KINDS = {"br0": "bridge", "veth7": "veth", "tun0": "tun", "tailscale0": "tun"}


@pytest.fixture
def kernel() -> FakeKernel:
    """Two network cards, and devices that the kernel has a kind for."""
    made = FakeKernel("eth0", "eth1", *KINDS)
    made.links = [replace(link, kind=KINDS.get(link.name, "")) for link in made.links]
    for number in (0, 1):
        made.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), DHCP))
        made.add(Seen(Route(f"10.0.{number}.0/24", f"eth{number}", 254), KERNEL))
    made.add(Seen(Route("0.0.0.0/0", "eth0", 254, "10.0.0.1"), DHCP))
    return made


def node_of(directory: Path, kernel: FakeKernel, text: str, facts: Mapping[str, Facts] | None = None) -> Node:
    known = facts or {}

    def facts_of(device: str, _: Observed) -> Facts:
        return known.get(device, Facts(device))

    config = parse("agent.toml", text.encode())
    return Node(config, state_dir=str(directory / "s"), names_dir=str(directory / "n"), kernel=kernel, facts=facts_of)


def special(kernel: FakeKernel) -> set[str]:
    """Our rules but for those that every node with split has."""
    rules = [seen.item for seen in kernel.seen if seen.protocol == OURS and isinstance(seen.item, Rule)]
    usual = ("10.0.0.0/16", "2600:1f14::/56", "")
    return {str(rule) for rule in rules if rule.destination not in usual}


@pytest.mark.parametrize(
    "route",
    [
        Route("10.0.1.208/28", "br0", 254),
        Route("10.0.99.0/24", "br0", 254),
        Route("10.0.1.77/32", "veth7", 254),
        Route("10.0.8.0/24", "tun0", 254, "10.0.1.250"),
        Route("2600:1f14:0:0:1::/80", "br0", 254, metric=256),
    ],
    ids=["delegated-prefix", "a-network-of-its-own", "a-pod", "a-tunnel", "ipv6"],
)
def test_a_network_of_the_vpc_behind_the_node_is_reached_by_main(
    kernel: FakeKernel, tmp_path: Path, route: Route
) -> None:
    """lyft/cni-ipvlan-vpc-k8s and Docker with a delegated prefix: `from … to VPC` came first, and the node and its
    pods did not reach each other. One rule before it, for all sources; it ends with the network.
    """
    seen = Seen(route, KERNEL)
    kernel.add(seen)
    node = node_of(tmp_path, kernel, SPLIT)
    node.apply()

    assert {f"from all to {route.destination} table 254 suppress_prefixlength 0 priority 23599"} == special(kernel)
    assert node.status().in_order
    kernel.seen.remove(seen)
    node.apply()
    assert set() == special(kernel)


@pytest.mark.parametrize(
    "seen",
    [
        Seen(Route("172.17.0.0/16", "br0", 254), KERNEL),
        Seen(Route("10.50.0.0/16", "tun0", 254), BOOT),
        Seen(Route("10.0.1.0/24", "veth7", 254, metric=9), KERNEL),
        Seen(Route("10.0.0.0/15", "br0", 254), BOOT),
        Seen(Route("10.0.0.2/32", "eth0", 254), DHCP),
        Seen(Route("10.0.7.0/24", "eth0", 254, "10.0.0.1"), BOOT),
        Seen(Route("10.0.1.208/28", "br0", 77), BOOT),
        Seen(Route("10.0.9.0/24", "", 254), BOOT, ("blackhole",)),
        Seen(Route("10.0.99.0/24", "br0", 254), OURS),
        Seen(Route("169.254.169.254/32", "eth0", 254), DHCP),
        Seen(Route("fe80::/64", "eth0", 254, metric=256), KERNEL),
        Seen(Route("10.60.0.0/16", "eth1", 254, "10.0.1.1"), BOOT),
    ],
    ids=[
        "outside-the-vpc",
        "a-tunnel-outside",
        "the-subnet-of-an-eni-on-a-macvlan",
        "wider-than-the-vpc",
        "a-dns-server-by-another-eni",
        "the-vpc-by-another-eni",
        "another-table",
        "a-black-hole",
        "the-agents",
        "metadata",
        "link-local",
        "its-own-route",
    ],
)
def test_other_routes_of_main_change_nothing(kernel: FakeKernel, tmp_path: Path, seen: Seen) -> None:
    """Near misses: the rules of split are right as they are."""
    if seen.identity not in {each.identity for each in kernel.seen}:
        kernel.add(seen)
    node_of(tmp_path, kernel, SPLIT).apply()

    assert set() == special(kernel)


def test_a_delegated_prefix_is_known_before_a_bridge_has_it(kernel: FakeKernel, tmp_path: Path) -> None:
    """The metadata service lists it: no event of a bridge is needed. Its pods' networks are inside of it."""
    kernel.add(Seen(Route("10.0.1.210/32", "veth7", 254), BOOT))
    facts = {"eth1": Facts("eth1", addresses=("10.0.1.10/32", "10.0.1.208/28"), table=100)}
    text = SPLIT.replace("table = 100\n", "").partition("source")[0]
    node_of(tmp_path, kernel, text, facts).apply()

    assert "from all to 10.0.1.208/28 table 254 suppress_prefixlength 0 priority 23599" in special(kernel)
    assert not any("10.0.1.210" in rule for rule in special(kernel))


def test_a_peering_by_another_eni_is_not_for_this_enis_addresses(kernel: FakeKernel, tmp_path: Path) -> None:
    """amazon-ec2-net-utils#82: main has the peering by eth0. Packets from eth1's address would leave by eth0, and the
    VPC drops them: they use eth1's table, as they do for a further route of the configuration.
    """
    kernel.add(Seen(Route("10.50.0.0/16", "eth0", 254, "10.0.0.1"), BOOT))
    node = node_of(tmp_path, kernel, SPLIT + 'routes = ["10.60.0.0/16"]\n')
    node.apply()

    assert {
        "from 10.0.1.10/32 to 10.50.0.0/16 table 100 priority 23600",
        "from 10.0.1.10/32 to 10.60.0.0/16 table 100 priority 23600",
    } == special(kernel)
    assert node.status().in_order


def test_of_equal_routes_the_one_with_the_lower_metric_counts(kernel: FakeKernel, tmp_path: Path) -> None:
    """A tunnel with the peering as its second way, and the other way round."""
    kernel.add(Seen(Route("10.50.0.0/16", "eth0", 254, "10.0.0.1", 10), BOOT))
    kernel.add(Seen(Route("10.50.0.0/16", "tun0", 254, metric=20), BOOT))
    kernel.add(Seen(Route("10.51.0.0/16", "eth0", 254, "10.0.0.1", 20), BOOT))
    kernel.add(Seen(Route("10.51.0.0/16", "tun0", 254, metric=10), BOOT))
    node_of(tmp_path, kernel, SPLIT).apply()

    assert {"from 10.0.1.10/32 to 10.50.0.0/16 table 100 priority 23600"} == special(kernel)


def test_the_published_recipe_lets_pods_of_its_own_subnet_answer(kernel: FakeKernel, tmp_path: Path) -> None:
    """by-source: `from SUBNET` takes the packets between a pod of the delegated prefix and its node. Other bridges are
    what split is for.
    """
    kernel.add(Seen(Route("10.0.1.208/28", "br0", 254), KERNEL))
    kernel.add(Seen(Route("10.0.99.0/24", "br0", 254), KERNEL))
    node_of(tmp_path, kernel, BY_SOURCE).apply()

    assert {"from all to 10.0.1.208/28 table 254 suppress_prefixlength 0 priority 99"} == special(kernel)


def test_two_interfaces_share_the_rule_and_one_keeps_it(kernel: FakeKernel, tmp_path: Path) -> None:
    """Both need it; a revert of one leaves it for the other."""
    second = (
        SPLIT.replace("eth1", "eth0").replace("10.0.1", "10.0.0").replace("= 100", "= 101").replace("14::", "14:1::")
    )
    kernel.add(Seen(Route("10.0.99.0/24", "br0", 254), KERNEL))
    node = node_of(tmp_path, kernel, SPLIT + second.replace("2600:1f14:1::/56", "2600:1f14::/56"))
    node.apply()
    node.revert([interface("eth1")])
    assert 1 == len(special(kernel))
    node.revert([interface("eth0")])
    assert set() == special(kernel)


def test_a_silent_metadata_service_keeps_these_rules(kernel: FakeKernel, tmp_path: Path) -> None:
    """Unknown never removes: neither the rule for the bridge nor the one for the peering."""
    kernel.add(Seen(Route("10.0.99.0/24", "br0", 254), KERNEL))
    kernel.add(Seen(Route("10.50.0.0/16", "eth0", 254, "10.0.0.1"), BOOT))
    text = SPLIT.replace("table = 100\n", "")
    facts = {"eth1": Facts("eth1", table=100)}
    node_of(tmp_path, kernel, text, facts).apply()
    before = special(kernel)
    silent = {"eth1": Facts("eth1", unknown="no answer within 2 s")}
    node = node_of(tmp_path, kernel, text, silent)

    assert ["eth1"] == [str(each.owner) for each in node.apply().unknown]
    assert before == special(kernel)
    assert 2 == len(before)


def test_the_rules_of_a_cni_are_right(kernel: FakeKernel, tmp_path: Path) -> None:
    """amazon-vpc-cni: to a pod at 512, from a pod of a secondary ENI at 1536, marked connections at 1024."""
    for seen in (
        Seen(Route("10.0.1.77/32", "veth7", 254), BOOT),
        Seen(Rule("", 254, 512, destination="10.0.1.77/32"), BOOT),
        Seen(Rule("", 254, 1024), BOOT, ("fwmark 80000000", "fwmask 80000000")),
        Seen(Rule("10.0.1.77/32", 2, 1536), BOOT),
        Seen(Route("0.0.0.0/0", "eth1", 2, "10.0.1.1"), BOOT),
    ):
        kernel.add(seen)
    node = node_of(tmp_path, kernel, SPLIT)
    node.apply()

    assert set() == special(kernel)
    assert node.status().in_order
    assert [] == faults(examine(node, RootFs(str(tmp_path))))


@pytest.mark.parametrize(
    "rule",
    [
        Seen(Rule("", 254, 30000, destination="10.0.1.77/32"), BOOT),
        Seen(Rule("10.0.0.10/32", 254, 512, destination="10.0.1.77/32"), BOOT),
        Seen(Rule("", 77, 512, destination="10.0.1.77/32"), BOOT),
        Seen(Rule("", 254, 512, destination="10.0.1.77/32"), BOOT, ("fwmark 80000000",)),
    ],
    ids=["a-later-rule", "for-one-source", "another-table", "for-marked-packets"],
)
def test_a_rule_that_serves_a_pod_in_part_is_not_enough(kernel: FakeKernel, tmp_path: Path, rule: Seen) -> None:
    """Near misses of a CNI's rule: the pod gets one of the agent's."""
    kernel.add(Seen(Route("10.0.1.77/32", "veth7", 254), BOOT))
    kernel.add(rule)
    node_of(tmp_path, kernel, SPLIT).apply()

    assert {"from all to 10.0.1.77/32 table 254 suppress_prefixlength 0 priority 23599"} == special(kernel)
