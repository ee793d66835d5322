"""FRR's answers (`show bgp ... json`), parsed strictly. Pure.

Only what is asked for is read, and only in the form that FRR 8 to 10 document. Everything else raises
MalformedResponseError: what is not understood is unknown.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.errors import MalformedResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BgpSession(Value):
    """The session with one endpoint. `state` is FRR's word: Established, Active, Connect, Idle ..."""

    endpoint: str
    asn: int
    own_asn: int
    state: str
    #: FRR's word for BFD, such as Up; "" if the session has no BFD.
    bfd: str = ""
    #: The prefix lists by family: pairs of (family, list outwards, list inwards).
    filters: tuple[tuple[str, str, str], ...] = ()

    @property
    def established(self) -> bool:
        """Whether routes go over it."""
        return self.state == "Established"


class Announcement(Value):
    """How FRR announces one prefix: the endpoints that it was sent to; the metric and the length of the own path.

    Without a valid path of this node, `valid` is false: FRR does not know the prefix, or the node lacks the address.
    """

    block: str
    valid: bool = False
    to: tuple[str, ...] = ()
    metric: int = 0
    length: int = 0

    @property
    def holds(self) -> bool:
        """Whether it is announced with the shortest path, as the holder does."""
        return self.valid and not self.length


def sessions(text: str) -> tuple[BgpSession, ...]:
    """The answer to `show bgp neighbors json`."""
    found = []
    for name, value in _object(text).items():
        # With no BGP in this configuration FRR has the key bgpNoSuchInstance or nothing at all.
        if not isinstance(value, dict):
            continue
        bfd = _in(value, "peerBfdInfo", dict, {})
        families = _in(value, "addressFamilyInfo", dict, {})
        filters = tuple(
            (
                family.removesuffix("Unicast").lower(),
                _in(each, "outgoingUpdatePrefixFilterList", str, ""),
                _in(each, "incomingUpdatePrefixFilterList", str, ""),
            )
            for family, each in families.items()
            if isinstance(each, dict)
        )
        found.append(
            BgpSession(
                name,
                _in(value, "remoteAs", int),
                _in(value, "localAs", int),
                _in(value, "bgpState", str),
                _in(bfd, "status", str, "") if bfd else "",
                filters,
            )
        )
    return tuple(found)


def announcement(text: str, block: str) -> Announcement:
    """The answer to `show bgp FAMILY unicast BLOCK json`: the path of this node that FRR prefers."""
    top = _object(text)
    paths = _in(top, "paths", list, [])
    if top and _in(top, "prefix", str) != block:
        raise MalformedResponseError(f"FRR: asked for {block}, and the answer is about {top['prefix']!r}")
    for path in paths:
        if not isinstance(path, dict):
            raise MalformedResponseError("FRR: a path is not an object")
        own = _in(path, "sourced", bool, False) and _in(path, "valid", bool, False)
        if own and _in(_in(path, "bestpath", dict, {}), "overall", bool, False):
            length = _in(_in(path, "aspath", dict), "length", int)
            to = tuple(sorted(_in(top, "advertisedTo", dict, {})))
            return Announcement(block, True, to, _in(path, "metric", int, 0), length)
    return Announcement(block)


def advertised(text: str) -> tuple[str, ...]:
    """The answer to `show bgp FAMILY unicast neighbors ENDPOINT advertised-routes json`: every prefix that was sent."""
    return tuple(sorted(_in(_object(text), "advertisedRoutes", dict)))


def _object(text: str) -> dict[str, Any]:
    import json

    if text.count("{") + text.count("[") > 100_000:
        raise MalformedResponseError("FRR: the answer is too long")
    try:
        found = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise MalformedResponseError(f"FRR: the answer is not JSON: {' '.join(text[:80].split())!r}") from None
    if not isinstance(found, dict):
        raise MalformedResponseError(f"FRR: the answer is not an object: {text[:80]!r}")
    return found


def _refused(word: str) -> Any:
    raise ValueError(word)


def _in(found: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """The value of a key. Raises MalformedResponseError for another kind, and without a default if it is missing."""
    value = found.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedResponseError(f"FRR: {key} is {str(value)[:40]!r} in its answer")
    return value
