"""Addresses and prefixes in canonical text: the one place that reads what people write.

ipaddress is imported on use: the way of a hook with nothing to do does not come by here.
"""

from __future__ import annotations


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
    from ipaddress import ip_address

    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text}: not an IP address") from None
    if "%" in text or address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text}: not the address of one host")
    return str(address)


def single(text: str) -> str:
    """One address with the length of one address ("192.168.10.10/32"); the length may be left out."""
    address, slash, length = text.partition("/")
    address = host(address)
    full = "128" if ":" in address else "32"
    if slash and length != full:
        raise ValueError(f"{text}: an overlay address is a /{full}, one address and no network")
    return f"{address}/{full}"


def contains(network: str, address: str) -> bool:
    """Is an address in a network, both in canonical form? Of another family it is not."""
    if ":" in network or ":" in address:
        from ipaddress import ip_address, ip_network

        return ip_address(address) in ip_network(network)
    # By hand, because every status asks whether an overlay lies in the VPC.
    prefix, _, length = network.partition("/")
    one, other = (int.from_bytes(map(int, each.split(".")), "big") for each in (prefix, address))
    return (one ^ other) >> (32 - int(length)) == 0


def link_local(address: str) -> bool:
    from ipaddress import ip_address

    return ip_address(address).is_link_local


def first(network: str) -> str:
    """The first address of a subnet: AWS keeps it for the VPC router ("Subnet CIDR blocks", Amazon VPC User Guide)."""
    from ipaddress import ip_network

    return str(ip_network(network)[1])


def network_of(address: str) -> str:
    """The network that an address with its prefix length is in."""
    from ipaddress import ip_interface

    return str(ip_interface(address).network)
