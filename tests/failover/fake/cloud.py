"""moto's state, mended: attachments that take time, routes that show their owner and go blackhole, one check flag.

These are properties of the state itself, so they are patched into moto's classes, once, when this module is imported.
What a call is refused for stands in `gate.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from moto.ec2.models import ec2_backends, elastic_network_interfaces
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.elastic_network_interfaces import Attachment, NetworkInterface
from moto.ec2.models.instances import Instance
from moto.ec2.models.route_tables import Route, RouteTable

ACCOUNT = "123456789012"

#: In these states an instance carries no traffic. While it is stopping or shutting down its routes still say active.
DEAD = ("stopped", "terminated")


def nic0(instance: Any) -> Any:
    return instance.nics.get(0) or instance.nics.get("0")


def target(route: Any) -> Any:
    """The interface that a route goes to: its own, or the instance's first."""
    if route.interface:
        return route.interface
    return nic0(route.instance) if route.instance else None


def carrier(route: Any) -> Any:
    """The instance that a route ends at, or None."""
    eni = target(route)
    return eni.instance if eni and eni.id in eni.ec2_backend.enis else None


def state(route: Any) -> str:
    if not target(route):
        return "active"
    instance = carrier(route)
    return "blackhole" if instance is None or instance._state.name in DEAD else "active"


def attachment(eni: Any) -> Any:
    if not eni.attachment_id:
        return None
    found = Attachment(eni)
    found.status = getattr(eni, "fake_phase", None) or "attached"
    return found


def settle(eni: Any) -> None:
    """End a phase that has lasted its time."""
    phase = getattr(eni, "fake_phase", None)
    if phase and time.monotonic() >= eni.fake_due:
        eni.fake_phase = None
        if phase == "detaching":
            eni.instance.detach_eni(eni)


def begin(eni: Any, phase: str, seconds: float) -> None:
    """`attaching` or `detaching`, for so long. The attachment stays visible until a detach is due."""
    eni.fake_phase, eni.fake_due = phase, time.monotonic() + seconds
    settle(eni)


def backends() -> list[Any]:
    return [backend for account in ec2_backends.values() for backend in account.values()]


def settle_all() -> None:
    for backend in backends():
        for eni in list(backend.enis.values()):
            settle(eni)


def routes(table: Any) -> list[Any]:
    """A table's routes; older versions of moto keep them by id."""
    found = table.routes
    return list(found.values()) if isinstance(found, dict) else list(found)


def eni_filter(eni: Any, name: str, method: str | None = None) -> Any:
    special: dict[str, Callable[[], Any]] = {
        "addresses.private-ip-address": lambda: [item["PrivateIpAddress"] for item in eni.private_ip_addresses],
        "ipv6-addresses.ipv6-address": lambda: list(eni.ipv6_addresses),
        "mac-address": lambda: eni.mac_address,
        "attachment.status": lambda: eni.attachment.status if eni.attachment else None,
        "attachment.device-index": lambda: str(eni.device_index) if eni.attachment else None,
        "status": lambda: eni.status,
    }
    return special[name]() if name in special else _eni_filter(eni, name, method)


def table_filter(table: Any, name: str, method: str | None = None) -> Any:
    special = {
        "route.state": lambda: [route.state for route in routes(table)],
        "route.instance-id": lambda: [route.instance_id for route in routes(table) if route.instance_id],
        "route.destination-ipv6-cidr-block": lambda: [
            route.destination_ipv6_cidr_block for route in routes(table) if route.destination_ipv6_cidr_block
        ],
    }
    return special[name]() if name in special else _table_filter(table, name, method)


def _set_check(instance: Any, value: Any) -> None:
    for eni in getattr(instance, "nics", {}).values():
        eni.source_dest_check = str(value).lower() == "true"


_eni_filter = NetworkInterface.get_filter_value
_table_filter = RouteTable.get_filter_value


def mac() -> str:
    """Older versions of moto make addresses that are none."""
    import random

    return "02:" + ":".join(f"{random.randrange(256):02x}" for _ in range(5))


def show_owners(answer: bytes) -> bytes:
    """Older versions of moto show a route's interface and leave out the instance."""

    def shown(row: re.Match[bytes]) -> bytes:
        found = re.search(rb"<networkInterfaceId>([^<]+)<", row[0])
        if not found or b"<instanceId>" in row[0]:
            return row[0]
        eni: Any = next((b.enis[found[1].decode()] for b in backends() if found[1].decode() in b.enis), None)
        instance = eni.instance if eni else None
        row_now = row[0]
        if instance is None or instance._state.name in DEAD:
            row_now = row_now.replace(b"<state>active</state>", b"<state>blackhole</state>")
        if instance is None:
            return row_now
        shows = f"<instanceId>{instance.id}</instanceId><instanceOwnerId>{eni.owner_id}</instanceOwnerId>".encode()
        return row_now.replace(b"<networkInterfaceId>", shows + b"<networkInterfaceId>")

    return re.sub(rb"<item>\s*<destination.*?</item>", shown, answer, flags=re.DOTALL)


def show_advertised(answer: bytes) -> bytes:
    """Routes that a route server wrote have an origin of their own; moto knows none, and has no such routes."""
    for table in (table for backend in backends() for table in backend.route_tables.values()):
        mark = f"<routeTableId>{table.id}</routeTableId>".encode()
        before, found, after = answer.partition(mark)
        rows, end, rest = after.partition(b"</routeSet>")
        for route in routes(table) if found else ():
            if getattr(route, "fake_advertised", False):
                destination = route.destination_cidr_block or route.destination_ipv6_cidr_block
                row = rb"(>%s<(?:(?!</item>).)*<origin>)\w+" % re.escape(destination.encode())
                rows = re.sub(row, rb"\1Advertisement", rows, count=1, flags=re.DOTALL)
        answer = before + found + rows + end + rest
    return answer


def show_prefixes(answer: bytes) -> bytes:
    """moto knows no delegated prefixes."""
    held = [
        (eni.id, list(eni.fake_prefixes))
        for b in backends()
        for eni in b.enis.values()
        if getattr(eni, "fake_prefixes", ())
    ]
    for eni_id, prefixes in held:
        rows = {
            six: "".join(
                f"<item><ipv{6 if six else 4}Prefix>{p}</ipv{6 if six else 4}Prefix></item>"
                for p in prefixes
                if (":" in p) == six
            )
            for six in (False, True)
        }
        said = "".join(
            f"<ipv{6 if six else 4}PrefixSet>{row}</ipv{6 if six else 4}PrefixSet>" for six, row in rows.items() if row
        )
        mark = f"<networkInterfaceId>{eni_id}</networkInterfaceId>".encode()
        answer = answer.replace(mark, mark + said.encode())
    return answer


LAID_OVER: tuple[tuple[type, str, Any], ...] = (
    (NetworkInterface, "fake_prefixes", ()),
    (ElasticAddress, "fake_private", None),
    (NetworkInterface, "attachment", property(attachment)),
    (NetworkInterface, "get_filter_value", eni_filter),
    (RouteTable, "get_filter_value", table_filter),
    (Route, "network_interface_id", property(lambda route: target(route).id if target(route) else None)),
    (Route, "instance_id", property(lambda route: carrier(route).id if carrier(route) else None)),
    (Route, "instance_owner_id", property(lambda route: carrier(route).owner_id if carrier(route) else None)),
    (Route, "state", property(state)),
    (
        ElasticAddress,
        "private_ip_address",
        property(lambda eip: getattr(eip, "fake_private", None) or eip.eni.private_ip_address if eip.eni else None),
    ),
    (ElasticAddress, "instance_id", property(lambda eip: eip.eni.instance.id if eip.eni and eip.eni.instance else "")),
    # One flag: the instance's is the one of its first interface.
    (Instance, "source_dest_check", property(lambda instance: nic0(instance).source_dest_check, _set_check)),
)

elastic_network_interfaces.random_mac_address = mac  # type: ignore[attr-defined]

for owner, name, value in LAID_OVER:
    setattr(owner, name, value)


def power(instance: Any, name: str) -> None:
    """Set an instance's state by its name, `stopping` included."""
    codes = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
    instance._state.name, instance._state.code = name, codes[name]
