"""Which addresses of other interfaces a rule's source would take, and the sources that take none. Pure.

Interfaces may share a subnet: `from SUBNET` for one of them would send the answers of all others by its table, and the
VPC drops a packet whose source is not an address of the ENI that it leaves by ("source/destination check", Amazon VPC
User Guide). So a default source is the subnet only as long as no other interface has an address in it.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .errors import RefusedError, UnknownFactError
from .inet import contains, covers, network_of
from .items import OURS, Address, family
from .profile import kernel_facts
from .state.owned import interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .desired import FactsByDevice
    from .items import Observed
    from .profile import Overlay, Profile, Section
    from .state.owned import Owner

LOOPBACK = "lo"


class Neighbour(Value):
    """Another interface, and one of its addresses (as the kernel has it) or subnets (as the metadata service says)."""

    device: str
    network: str


class CapturedError(RefusedError):
    """An owner would take the packets of another interface: `what` of it, and what to do about it."""

    def __init__(self, owner: Owner, what: str, other: Neighbour, advice: str) -> None:
        self.owner = owner
        self.why = f"{what} would take the packets of {other.device}, which has {other.network}; {advice}"
        super().__init__(f"{owner}: {self.why}")


def neighbours(source: str, device: str, observed: Observed, facts: FactsByDevice) -> list[Neighbour]:
    """The other interfaces with an address or a subnet in `source`. The loopback device sends nothing."""
    found = [
        Neighbour(seen.item.device, seen.item.address)
        for seen in observed.seen
        if isinstance(seen.item, Address) and seen.item.device not in (device, LOOPBACK) and seen.protocol != OURS
        if contains(source, seen.item.address.partition("/")[0])
    ]
    for name, known in facts.items() if facts else ():
        said = (*(known.addresses or ()), *(known.subnets or ())) if name != device else ()
        found += [Neighbour(name, each) for each in said if covers(source, each)]
    return found


def taken(source: str, device: str, mine: Sequence[str], observed: Observed, facts: FactsByDevice) -> Neighbour | None:
    """The first other interface whose packets a rule for `source` would take; None if it would take none.

    `mine` are the interface's own addresses and delegated prefixes: an address in them counts as its own on every
    device, such as a bridge. Subnets of a VPC do not nest, so a network inside the interface's own subnet is a
    container's and not an ENI's.
    """
    found = neighbours(source, device, observed, facts)
    networks = _networks(device, observed) if found else []
    for each in found:
        host, _, length = each.network.partition("/")
        nested = length not in ("32", "128") and any(
            int(length) > int(network.partition("/")[2]) and covers(network, each.network) for network in networks
        )
        if not nested and not any(contains(own, host) for own in mine):
            return each
    return None


def _networks(device: str, observed: Observed) -> list[str]:
    """The networks of a device's addresses, as far as the kernel knows them."""
    found = (
        seen.item.address for seen in observed.seen if isinstance(seen.item, Address) and seen.item.device == device
    )
    return [network_of(each) for each in found if family(each) == 4 and not each.endswith("/32")]


def own_sources(profile: Profile, section: Section, observed: Observed, facts: FactsByDevice) -> Profile:
    """The profile with sources that take no other interface's packets.

    In place of a subnet that another interface shares stand the interface's own addresses. Raises CapturedError for a
    configured source that holds another interface's address, and for a configured subnet that is wider than the
    interface's own; UnknownFactError while the interface has no address in a shared subnet.
    """
    device, owner = profile.device, interface(profile.name)
    found: list[str] = []
    for source in profile.sources:
        if not neighbours(source, device, observed, facts):
            found.append(source)
            continue
        known = kernel_facts(device, observed)
        mine = profile.addresses or known.addresses or ()
        other = taken(source, device, mine, observed, facts)
        if other is None:
            found.append(source)
            continue
        if source in section.sources:
            raise CapturedError(owner, f"source {source}", other, "write the interface's own addresses")
        subnets = (facts[device].subnets if device in facts else None) or known.subnets or ()
        narrower = [each for each in subnets if each != source and covers(source, each)]
        if narrower:
            advice = f"the interface's own subnet is {', '.join(narrower)}"
            raise CapturedError(owner, f"subnet {source}", other, advice)
        own = [each for each in mine if covers(source, each)]
        if not own:
            shared = f"{source} is also {other.device}'s, and {device} has no address in it yet"
            raise UnknownFactError(owner, f"source unknown: {shared}; write source = … in [interface.{profile.name}]")
        found += own
    sources = tuple(dict.fromkeys(found))
    return profile if sources == profile.sources else replace(profile, sources=sources)


def check_overlay(overlay: Overlay, profiles: Iterable[Profile], observed: Observed, facts: FactsByDevice) -> None:
    """Raises CapturedError for an overlay address that another interface has: its rules would take its packets."""
    device = next((each.device for each in profiles if each.carries(overlay)), "")
    other = taken(overlay.address, device, (), observed, facts) if device else None
    if other:
        what = f"its address on {overlay.device}, routed to {device},"
        raise CapturedError(overlay.owner, what, other, "choose an address that no interface has")
