"""Which interface has which addresses, as values: what a node's tests reach in few forms."""

from __future__ import annotations

import pytest

from ec2ident_agent.capture import Neighbourhood
from ec2ident_agent.items import Address, Link, Observed, Seen
from ec2ident_agent.profile import Facts
from ec2ident_agent.state.owned import State

DHCP = 16
OBSERVED = Observed(
    (Link(1, "lo"), Link(2, "eth0"), Link(3, "eth1")),
    (
        Seen(Address("lo", "127.0.0.1/8"), 2),
        Seen(Address("eth0", "10.0.0.10/24"), DHCP),
        Seen(Address("eth0", "192.168.10.10/32"), DHCP),
        Seen(Address("eth0", "2600:1f14::10/128"), DHCP),
        Seen(Address("eth0", "fe80::10/64"), 2),
    ),
)
FACTS = {
    "eth0": Facts("eth0"),
    "eth1": Facts("eth1", subnets=("10.0.1.0/24", "2600:1f14:0:1::/64"), addresses=("10.0.1.10/32", "10.0.1.208/28")),
}


def test_of_ipv4_networks_tell_a_subnet_and_of_ipv6_addresses() -> None:
    """An IPv4 address of its own may be an overlay address, and a link-local one is on every link."""
    around = Neighbourhood(OBSERVED, FACTS, State())

    assert ["10.0.0.0/24", "2600:1f14::10/128"] == around.networks_of("eth0")
    assert ["10.0.1.0/24", "2600:1f14:0:1::/64"] == around.networks_of("eth1")


@pytest.mark.parametrize(
    ("source", "others"),
    [
        ("10.0.1.0/24", ["10.0.1.10/32", "10.0.1.208/28", "10.0.1.0/24"]),
        ("10.0.1.208/32", ["10.0.1.208/28"]),
        ("10.0.1.224/32", []),
        ("10.0.0.0/23", ["10.0.1.10/32", "10.0.1.208/28", "10.0.1.0/24"]),
        ("2600:1f14::/56", ["2600:1f14:0:1::/64"]),
        ("10.0.2.0/24", []),
        ("127.0.0.0/8", []),
    ],
)
def test_a_subnet_of_which_no_address_is_known_is_another_interfaces_too(source: str, others: list[str]) -> None:
    """So are its addresses, and its delegated prefixes with every address in them."""
    assert others == [each for _, each in Neighbourhood(OBSERVED, FACTS, State()).others(source, "eth0")]
