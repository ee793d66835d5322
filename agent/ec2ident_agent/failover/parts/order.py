"""Make the parts of a service from its settings, in the order of a move."""

from __future__ import annotations

from .address import AddressPart
from .assigned import AssignedPart
from .bgp import BgpPart
from .dns import DnsPart
from .eip import EipAssignment
from .eni import EniPart
from .private import PrivateAssignment
from .route import RoutePart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ec2ident_agent.failover.agent_bridge import AgentBridge
    from ec2ident_agent.failover.settings import Service

    from .part import AnyPart


def parts_of(service: Service, here: AgentBridge | None = None, *, force: bool = False) -> tuple[AnyPart, ...]:
    """The parts of a service, in the order of a move.

    `here` is this node, None if the target is another node. With `force` an ENI is detached by force at once.
    """
    private, eip, bgp = service.private, service.eip, service.bgp
    # Where both nodes announce the overlay addresses, both of them hold these for good.
    kept = bool(bgp and bgp.both)
    # An assigned address is held here if the settings name a device for it; else another program holds it.
    single = tuple(f"{each}/{128 if ':' in each else 32}" for each in private.single) if private else ()
    found: list[AnyPart | None] = [
        EniPart(service.eni, here, force) if service.eni else None,
        AddressPart(here, single, service.device, service.label, True) if here and single and service.device else None,
        AssignedPart("private", PrivateAssignment(private), private.addresses, private.eni, service.device)
        if private
        else None,
        AddressPart(here, service.overlay, service.device, service.label, kept=kept)
        if here and service.overlay
        else None,
        BgpPart(bgp, service.overlay) if bgp else None,
        RoutePart(service.route, service.overlay, service.device) if service.route else None,
        AssignedPart("eip", EipAssignment(eip), (eip.allocation,), eip.eni, service.device) if eip else None,
        DnsPart(service.dns, service.dns.values or service.addresses) if service.dns else None,
    ]
    return tuple(part for part in found if part)


def in_order_of_release(parts: Iterable[AnyPart]) -> list[AnyPart]:
    """What needs only this node comes first: the announcement, and then the addresses that it leads to."""
    first = ("bgp", "address")
    return sorted(parts, key=lambda part: first.index(part.name) if part.name in first else len(first))
