"""Addresses and prefixes in canonical text: the one place that reads what people write.

ipaddress is imported on use: the way of a hook with nothing to do does not come by here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address, IPv6Address


#: What a device's name may not hold: the kernel's isspace knows ISO 8859-1, so it refuses the byte of "à" too.
_NOT_IN_A_NAME = frozenset(b"/:\0\t\n\v\f\r \xa0")


def is_device_name(name: str) -> bool:
    """Is this a device's name: for the kernel 1 to 15 bytes of these (dev_valid_name in net/core/dev.c)?

    The kernel also takes "--all" and "-x", which programs would read as options: such a name is refused here.
    """
    octets = name.encode("utf-8", "surrogateescape")
    if name.startswith("-"):
        return False
    return 0 < len(octets) <= 15 and name not in (".", "..") and _NOT_IN_A_NAME.isdisjoint(octets)


def is_link_name(name: str) -> bool:
    """True for a device's name or an alternative name, which may have up to 127 bytes (ALTIFNAMSIZ)."""
    octets = name.encode("utf-8", "surrogateescape")
    return 0 < len(octets) <= 127 and name not in (".", "..") and _NOT_IN_A_NAME.isdisjoint(octets)


def is_mac(text: str) -> bool:
    """True for six pairs of hexadecimal digits in lower case, with colons between."""
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts)


def prefix(text: str) -> str:
    """A network ("10.0.1.0/24") in canonical form. Raises ValueError with the reason, host bits included."""
    from ipaddress import ip_network

    if "/" not in text:
        raise ValueError(f"{text}: the prefix length is missing")
    try:
        return str(ip_network(text))
    except ValueError as wrong:
        raise ValueError(str(wrong).replace("'", "")) from None


def host(text: str) -> str:
    """One address ("10.0.1.1") in canonical form. Raises ValueError with the reason."""
    return str(_host(text))


def _host(text: str) -> IPv4Address | IPv6Address:
    from ipaddress import ip_address

    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text}: not an IP address") from None
    if "%" in text or address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text}: not the address of one host")
    return address


def single(text: str) -> str:
    """One address with the length of one address ("192.168.10.10/32"); the length may be left out.

    One that can be routed to a node: on an interface the metadata service's own would take it away from the node.
    """
    address, slash, length = text.partition("/")
    found = _host(address)
    if not _routable(found):
        raise ValueError(f"{text}: not an address that can be routed to a node")
    full = str(found.max_prefixlen)
    if slash and length != full:
        raise ValueError(f"{text}: an overlay address is a /{full}, one address and no network")
    return f"{found}/{full}"


def _routable(address: IPv4Address | IPv6Address) -> bool:
    """Not of this node or this link alone, not what the VPC answers itself (fd00:ec2::/32), nor IPv4 in IPv6 (::/8)."""
    if address.is_loopback or address.is_link_local:
        return False
    if address.version == 6:
        return int(address) >> 120 != 0 and int(address) >> 96 != 0xFD000EC2
    return int(address) >> 24 != 0 and int(address) != 0xFFFFFFFF


def contains(network: str, address: str) -> bool:
    """Is an address in a network, both in canonical form? Of another family it is not."""
    return covers(network, address)


def covers(network: str, inside: str) -> bool:
    """True if every address of `inside`, an address or a network, lies in `network`; False for another family.

    Both are in canonical form. Done by hand, because a status does this for many addresses: ipaddress is not imported.
    """
    prefix, _, length = network.partition("/")
    other, _, longer = inside.partition("/")
    six = ":" in prefix
    if six != (":" in other):
        return False
    bits = 128 if six else 32
    if longer and int(longer) < int(length):
        return False
    return (_number(prefix) ^ _number(other)) >> (bits - int(length or bits)) == 0


def first_around(networks: Iterable[str]) -> Callable[[str], str]:
    """A function that tells the first of these networks that an address lies in; empty for none.

    As `covers` says of each of them. The networks are read once, for the many addresses that are asked about.
    """
    ranges: dict[bool, list[tuple[int, int, str]]] = {False: [], True: []}
    for network in networks:
        prefix, _, length = network.partition("/")
        six = ":" in prefix
        bits = 128 if six else 32
        rest = bits - int(length or bits)
        ranges[six].append((_number(prefix) >> rest, rest, network))

    def around(address: str) -> str:
        known = ranges[":" in address]
        value = _number(address) if known else 0
        for prefix, rest, network in known:
            if value >> rest == prefix:
                return network
        return ""

    return around


def _number(address: str) -> int:
    if ":" not in address:
        return int.from_bytes(map(int, address.split(".")), "big")
    if "." in address:  # ::ffff:10.0.0.1
        from ipaddress import ip_address

        return int(ip_address(address))
    head, _, tail = address.partition("::")
    first, last = ([int(group, 16) for group in part.split(":") if group] for part in (head, tail))
    value = 0
    for group in (*first, *[0] * (8 - len(first) - len(last)), *last):
        value = value << 16 | group
    return value


def is_unicast(network: str) -> bool:
    """True for a network that a router may lead to: not of this node or link alone, and not multicast."""
    from ipaddress import ip_network

    found = ip_network(network)
    return not (found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified)


def link_local(address: str) -> bool:
    """True for an address in 169.254.0.0/16 or fe80::/10. Raises ValueError for other text."""
    return covers("fe80::/10" if ":" in address else "169.254.0.0/16", address)


def vpc_router(network: str) -> str:
    """The first address of a subnet: AWS keeps it for the VPC router ("Subnet CIDR blocks", Amazon VPC User Guide)."""
    from ipaddress import ip_network

    return str(ip_network(network)[1])


def network_of(address: str) -> str:
    """The network that an address with its prefix length is in. IPv4 is done by hand, as in `covers`."""
    host, _, length = address.partition("/")
    if ":" in address:
        from ipaddress import ip_interface

        return str(ip_interface(address).network)
    rest = 32 - int(length)
    return f"{'.'.join(map(str, (_number(host) >> rest << rest).to_bytes(4, 'big')))}/{length}"
