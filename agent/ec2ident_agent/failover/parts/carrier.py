"""Which ENI carries the traffic of a service: the configured one, that of a device, or the first one of the node."""

from __future__ import annotations

from ec2ident_agent.failover.aws import actions, consistency
from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.session import Device, Session

    from .part import PartSight

    class Target(TypedDict):
        """Which ENI carries the traffic."""

        eni: str
        instance: str
        device: Device | None


#: Seconds between two looks for an ENI that the kernel shows already.
AGAIN = 0.5


def carrier(
    api: Api, eni: str, instance: str, device: Device | None = None
) -> tuple[NetworkInterface, tuple[str, ...]]:
    """Read the ENI that carries the traffic, and what to warn of. Raises UsageError.

    It is `eni`, or else the ENI of `instance` with the MAC address of `device`, or else the first ENI of the instance:
    a loopback or dummy device has no ENI, and the kernel takes packets for its addresses from every interface.
    """
    if not (eni or instance):
        raise UsageError("target: neither an interface nor an instance is given")
    filters = {"network-interface-id": [eni]} if eni else {"attachment.instance-id": [instance]}
    began = api.deadline.used
    while True:
        looked = api.deadline.used
        found: tuple[NetworkInterface, ...] = api.pages(lambda token: actions.describe_interfaces(filters, token))
        # An instance with several network cards has an index 0 on each; the primary interface is on the first card.
        fits = [one for one in found if one.id == eni or (one.attachment and one.attachment.place == (0, 0))]
        same = [one for one in found if device and device.mac and one.mac == device.mac]
        # A network card of an instance is an ENI of it. A look that does not show it is older than the attach.
        card = device is not None and device.card and not device.is_loopback
        known = same or (fits and not card)
        if eni or known or looked - began >= consistency.SETTLED or api.deadline.left <= AGAIN:
            break
        api.deadline.pause(AGAIN, f"target: {instance}: its interfaces are not shown yet")
    fits, wanted = same or fits, eni or f"first interface of {instance}"
    if not fits:
        raise UsageError(f"target: no {wanted} in {api.access.region} (is it in another region or account?)")
    if len(fits) > 1:
        raise UsageError(f"target: {', '.join(one.id for one in fits)}: each is the {wanted}; name one by its id")
    if eni or same or not device or device.is_loopback or len(found) == 1:
        return fits[0], ()
    said = f"{device}: no interface of {instance} has its MAC address; the route goes to the first one, {fits[0].id}"
    return fits[0], (f"{said}; to choose another, write eni",)


def target_of(session: Session, eni: str, name: str, addresses: Sequence[str], earlier: Sequence[PartSight]) -> Target:
    """What `carrier` needs: the configured ENI, or the instance and the device `name` that has the addresses."""
    device = None if eni else session.device(name, addresses)
    if device and not device.mac:
        # The device may be that of an ENI that moves here first.
        eni = next((sight.interface.id for sight in earlier if sight.interface), "")
    return {"eni": eni, "instance": "" if eni else session.instance, "device": device}
