"""Several services, one FRR: what this node's daemon has to say for all of them. Pure."""

from __future__ import annotations

from ec2ident.value import replace
from ec2ident_agent.failover.errors import UsageError

from .frr import Speaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ec2ident_agent.failover.settings import Service


def speaker(services: Sequence[Service], address: str, source_to: Callable[[str], str]) -> Speaker:
    """The speaker for these services, each with `bgp`.

    The node's own address is `address`, else that of the settings, else what `source_to` says for the first endpoint.
    Raises UsageError if the services differ in what belongs to the session, or have one address twice.
    """
    found = [each.bgp for each in services if each.bgp]
    first, names = found[0], ", ".join(each.name for each in services)
    for key in ("asn", "endpoint_asn", "endpoints", "address", "bfd", "prepend"):
        if any(getattr(each, key) != getattr(first, key) for each in found):
            word = "liveness" if key == "bfd" else key
            raise UsageError(f"bgp: {word} differs between {names}: the sessions of a node are the same for all")
    if not first.endpoints:
        raise UsageError(f"bgp: {names}: endpoints is missing: those of the route server in this node's subnet")
    own = address or first.address or source_to(first.endpoints[0])
    blocks = [block for each in services for block in each.overlay]
    if own in first.endpoints or any(own == block.partition("/")[0] for block in blocks):
        raise UsageError(f"bgp: {own} is an endpoint or an overlay address; give this node's own one with --address")
    if len({*blocks}) < len(blocks):
        raise UsageError(f"bgp: {names}: one overlay address belongs to two of them")
    made = Speaker(first.asn, first.endpoint_asn, first.endpoints, own, (), (), first.prepend, first.bfd)
    both = tuple(block for each in services if each.bgp and each.bgp.both for block in each.overlay)
    return replace(made, holder=tuple(block for block in blocks if block not in both), both=both)
