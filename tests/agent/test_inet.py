"""Prefixes in text, held against the standard library."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from ec2ident_agent.inet import contains

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
