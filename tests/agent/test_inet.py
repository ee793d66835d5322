"""Prefixes in text, held against the standard library."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ec2ident_agent.inet import (
    contains,
    covers,
    first_around,
    is_device_name,
    is_link_name,
    is_unicast,
    network_of,
    prefix,
    single,
)

from .conftest import ip

#: From <linux/sockios.h>.
SIOCSIFNAME = 0x8923

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


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 128)), max_size=6), ADDRESSES, st.booleans())
@example([(ip_address("::ffff:10.0.0.1"), 127), (ip_address("10.0.0.1"), 31)], ip_address("10.0.0.1"), False)
def test_networks_that_are_read_once_hold_what_each_of_them_covers(
    bases: list[tuple[object, int]], other: object, near: bool
) -> None:
    """The first one, in the order in which they are given; and an address alone is a network of its own."""
    found = [ip_network((str(base), min(bits, 128 if ":" in str(base) else 32)), strict=False) for base, bits in bases]
    address = str(found[-1][-1] if near and found else other)
    networks = [*map(str, found), address]

    for some in (networks, networks[:-1], networks[::-1]):
        assert next((each for each in some if covers(each, address)), "") == first_around(some)(address)


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
def test_what_no_route_leads_to_is_not_an_overlay(address: str) -> None:
    """The metadata service's address on an interface would take the service away from the node."""
    with pytest.raises(ValueError, match=f"^{address}: not an address that can be routed to a node$"):
        single(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "198.18.0.1", "240.0.0.1", "fd00:ec1::1", "2600:1f14::b", "100::1"])
def test_whatever_can_be_routed_may_be_one(address: str) -> None:
    """A private address or a public one: it is the route table that makes it an overlay."""
    assert f"{address}/{128 if ':' in address else 32}" == single(address)


NAMES = {
    **dict.fromkeys(("a", "eth0.100", "a-", "...", "@", "\u2003", "fifteen-bytes15", "\u00fc" * 7 + "x"), True),
    **dict.fromkeys(("sixteen-bytes-16", "\u00fc" * 8, "", ".", "..", "a/b", "a:1", "\u00e0", "a\u00a0"), False),
    # The kernel takes these; every program would read them as options.
    **dict.fromkeys(("-", "-x", "--all"), False),
    **{f"a{space}b": False for space in " \t\n\v\f\r"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_device_s_name_has_1_to_15_bytes(name: str) -> None:
    """Bytes, not characters: seven of two bytes and one more fit, eight of two do not."""
    assert NAMES[name] == is_device_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("a", "enp0s5", "sixteen-bytes-16", "a" * 127, "...", "-x")),
        *((name, False) for name in ("", ".", "..", "a/b", "a b", "a" * 128, "\u00fc" * 64)),
    ],
)
def test_an_alternative_name_has_1_to_127_bytes(name: str, expected: bool) -> None:
    """ALTIFNAMSIZ is 128, with the byte that ends it; else it is as a device's name."""
    assert expected == is_link_name(name)


@pytest.mark.parametrize("network", ["0.0.0.0/32", "::/128", "127.0.0.0/8", "169.254.0.0/16", "fe80::/64", "ff00::/8"])
def test_no_router_leads_to_a_network_of_this_node_or_link(network: str) -> None:
    """The unspecified address is one of them; the network beside it is not."""
    assert not is_unicast(network)
    assert is_unicast("10.0.0.0/8")
    assert is_unicast("fd00::/8")


@pytest.mark.root
def test_the_kernel_takes_the_same_names(node: str) -> None:
    """The kernel itself renames a device to each of them (SIOCSIFNAME, netdevice(7)), but for those like an option."""
    ip("link set r1 down")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for name in NAMES:
            octets = name.encode()
            if name.startswith("-") or not 0 < len(octets) <= 15:
                continue  # the request has room for 15 bytes; an empty name asks for nothing
            request = struct.pack("16s16s8x", b"r1", octets)
            if not NAMES[name]:
                with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                    fcntl.ioctl(channel, SIOCSIFNAME, request)
                continue
            fcntl.ioctl(channel, SIOCSIFNAME, request)
            fcntl.ioctl(channel, SIOCSIFNAME, struct.pack("16s16s8x", octets, b"r1"))


def test_a_network_has_its_length() -> None:
    """An address alone is refused, and so are host bits; a length is kept."""
    assert "10.0.1.0/24" == prefix("10.0.1.0/24")
    assert "fd00::/64" == prefix("fd00:0:0::/64")
    with pytest.raises(ValueError, match=r"10\.0\.1\.0: the prefix length is missing"):
        prefix("10.0.1.0")
    with pytest.raises(ValueError, match=r"10\.0\.1\.5/24 has host bits set"):
        prefix("10.0.1.5/24")


@pytest.mark.parametrize("length", range(1, 33))
def test_the_neighbour_network_is_another(length: int) -> None:
    """The network that differs in the last bit of the prefix alone has none of our addresses."""
    first = int(ip_address("10.0.1.7"))
    ours = ip_network((first, length), strict=False)

    assert contains(str(ours), str(ip_address(first)))
    assert not contains(str(ours), str(ip_address(first ^ (1 << (32 - length)))))
    assert str(ours) == network_of(f"10.0.1.7/{length}")
