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
    from .settings import DnsSettings, EniSettings, RouteSettings, Service


def eni_part(settings: EniSettings, here: AgentBridge | None = None, *, force: bool = False) -> EniPart:
    """The part that these settings describe."""
    return EniPart(settings.find, here, settings.index, settings.grace, force)


def route_part(settings: RouteSettings, overlay: tuple[str, ...]) -> RoutePart:
    """The part that these settings describe, for a service with these overlay addresses."""
    return RoutePart(settings.select, overlay, settings.eni, settings.check)


def dns_part(settings: DnsSettings, overlay: tuple[str, ...]) -> DnsPart:
    """The part that these settings describe; without values of its own the name points to the overlay addresses."""
    found, values = settings, settings.values or overlay
    return DnsPart(found.zone, found.name, values, found.ttl, found.wait, found.resolver, found.vpc)


def parts_of(service: Service, here: AgentBridge | None = None, *, force: bool = False) -> tuple[AnyPart, ...]:
    """The parts of a service, in the order of a move. `here` is this node, None if the target is another node."""
    found: list[AnyPart | None] = [
        eni_part(service.eni, here, force=force) if service.eni else None,
        AddressPart(here, service.overlay, service.device, service.label) if here and service.overlay else None,
        route_part(service.route, service.overlay) if service.route else None,
        dns_part(service.dns, service.overlay) if service.dns else None,
    ]
    return tuple(part for part in found if part)
