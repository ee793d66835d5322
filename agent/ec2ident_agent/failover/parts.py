"""Make the parts of a service from its settings, in the order of a move."""

from __future__ import annotations

from .address import AddressPart
from .dns import DnsPart
from .eni import EniPart
from .route import RoutePart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .agent_bridge import AgentBridge
    from .part import AnyPart
    from .settings import Service


def parts_of(service: Service, here: AgentBridge | None = None, *, force: bool = False) -> tuple[AnyPart, ...]:
    """The parts of a service, in the order of a move.

    `here` is this node, None if the target is another node. With `force` an ENI is detached by force at once.
    """
    found: list[AnyPart | None] = [
        EniPart(service.eni, here, force) if service.eni else None,
        AddressPart(here, service.overlay, service.device, service.label) if here and service.overlay else None,
        RoutePart(service.route, service.overlay, service.device) if service.route else None,
        DnsPart(service.dns, service.dns.values or service.overlay) if service.dns else None,
    ]
    return tuple(part for part in found if part)
