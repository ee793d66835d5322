"""What the VPC of the fake forwards now: attached interfaces with their addresses, and the routes that lead there.

"Amazon VPC User Guide", "Route tables": a packet follows the table of the subnet that it comes from. "Amazon EC2 User
Guide", "source/destination checking": an interface with the check receives packets to its own addresses alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import cloud


class Attached(NamedTuple):
    """An interface that carries packets, and the instance that has it."""

    eni: str
    instance: str
    device: int
    addresses: tuple[str, ...]
    check: bool


class Forwarding(NamedTuple):
    """`routes` maps a subnet and a destination to an interface, whether or not that carries packets."""

    attached: dict[str, Attached]
    routes: dict[tuple[str, str], str]


def of(backend: Any) -> Forwarding:
    """Read moto's state. The caller holds the fake's lock."""
    attached = {}
    for eni in backend.enis.values():
        # While it is attaching or detaching no packet passes.
        if eni.instance is not None and not getattr(eni, "fake_phase", None):
            addresses = tuple(each["PrivateIpAddress"] for each in eni.private_ip_addresses)
            found = Attached(eni.id, eni.instance.id, int(eni.device_index), addresses, bool(eni.source_dest_check))
            attached[eni.id] = found
    routes = {}
    for table in backend.route_tables.values():
        subnets = table.get_filter_value("association.subnet-id")
        for row in cloud.routes(table):
            target = cloud.target(row)
            destination = row.destination_cidr_block or row.destination_ipv6_cidr_block
            if target is not None and destination:
                routes.update({(subnet, destination): target.id for subnet in subnets})
    return Forwarding(attached, routes)
