"""Prefixes in text, held against the standard library."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ec2ident_agent.inet import contains, single

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(ADDRESSES, st.integers(0, 128), ADDRESSES, st.booleans())
@example(ip_address("0.0.0.0"), 0, ip_address("255.255.255.255"), False)
@example(ip_address("10.0.1.1"), 32, ip_address("10.0.1.2"), False)
def test_an_address_is_in_a_network_when_the_standard_library_says_so(
    base: object, length: int, other: object, near: bool
) -> None:
    """Of both families, of any length, near and far."""
    network = ip_network((str(base), min(length, 128 if ":" in str(base) else 32)), strict=False)
    address = network[-1] if near else ip_address(str(other))

    assert (address in network) == contains(str(network), str(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "255.255.255.255",
        "0.0.0.1",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.1",
    ],
)
def test_what_no_route_leads_to_is_no_overlay(address: str) -> None:
    """The metadata service's address on an interface would take the service away from the node."""
    with pytest.raises(ValueError, match=f"^{address}: not an address that can be routed to a node$"):
        single(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "198.18.0.1", "240.0.0.1", "fd00:ec1::1", "2600:1f14::b", "100::1"])
def test_whatever_can_be_routed_may_be_one(address: str) -> None:
    """A private address or a public one: it is the route table that makes it an overlay."""
    assert f"{address}/{128 if ':' in address else 32}" == single(address)
