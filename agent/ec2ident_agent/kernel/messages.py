"""The requests that change the kernel, as bytes: pyroute2's message classes. The only importer of pyroute2.

`import pyroute2` loads 300 modules in 100 ms, more than all the rest of a first apply. The three classes need five of
them: they are loaded as if the package's own `__init__` were empty, where that is possible, and else with it.

pyroute2 encodes a message in 0.15 ms, five times what the kernel needs to act on it. Messages that differ in an address
alone are made from one of them: the first two of a kind are encoded in full, and the address is replaced in the others.
"""

from __future__ import annotations

import sys
from _socket import AF_INET, AF_INET6, inet_pton
from _struct import Struct

from ec2ident.value import Value
from ec2ident_agent.errors import KernelError
from ec2ident_agent.items import Address, Route, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ec2ident_agent.items import Step

    #: A message before its sequence number, and what stands between the places of the address after it.
    Template = tuple[bytes, list[bytes]]

#: rtnetlink.h: message types for (item, verb).
TYPES = {
    (Address, "add"): 20, (Address, "replace"): 20, (Address, "del"): 21,
    (Route, "add"): 24, (Route, "replace"): 24, (Route, "del"): 25,
    (Rule, "add"): 32, (Rule, "del"): 33,
}  # fmt: skip
#: REQUEST|ACK|EXCL|CREATE: an object that exists is an error, never overwritten. REQUEST|ACK|REPLACE|CREATE for what is
#: taken over.
FLAGS = {"add": 0x605, "replace": 0x505, "del": 0x5}
UNIVERSE, LINK_SCOPE, ANY_SCOPE = 0, 253, 255
UNICAST, TO_TABLE = 1, 1
NODAD = 0x02

SEQUENCE = Struct("=I")
#: Addresses to find the places of an address by. No octet is there twice, so none of them overlaps with itself.
MARKS = {AF_INET: "165.90.195.60", AF_INET6: "a55a:c33c:9669:f00f:b44b:d22d:8778:e11e"}
#: How often the address is in a message: an address is there as IFA_LOCAL and as IFA_ADDRESS.
PLACES = {Rule: 1, Address: 2}
#: Kinds of messages that are remembered.
KINDS = 256


class Classes(Value):
    """pyroute2's classes for a rule, a route and an address."""

    rule: Any
    route: Any
    address: Any


_loaded: list[Classes] = []


def load() -> Classes:
    """pyroute2's classes. Raises KernelError where it cannot be loaded."""
    if not _loaded:
        from ec2ident.dependency import Loading

        with Loading("pyroute2", lambda says: KernelError(f"{says}; it is needed to change anything")):
            _loaded.append(load_alone() or _import())
    return _loaded[0]


def load_alone() -> Classes | None:
    """The classes without all the rest of pyroute2; None where that cannot be done.

    Afterwards nothing of pyroute2 is in sys.modules: a program that imports it later gets all of it. In between another
    thread would get the empty package, so with other threads the whole package is imported.
    """
    from _thread import _count

    if _count() or "pyroute2" in sys.modules:
        return None
    from importlib.util import find_spec, module_from_spec

    try:
        spec = find_spec("pyroute2")
        if spec is None:
            return None
        sys.modules["pyroute2"] = module_from_spec(spec)
        return _import()
    except Exception:  # noqa: BLE001  # Whatever a new pyroute2 has moved, the whole of it is the fallback.
        return None
    finally:
        for name in [each for each in sys.modules if each.partition(".")[0] == "pyroute2"]:
            del sys.modules[name]


def _import() -> Classes:
    from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

    return Classes(fibmsg, rtmsg, ifaddrmsg)


class Encoder:
    """Makes the request for a step. It remembers messages, so that others like them cost little."""

    def __init__(self) -> None:
        self._known: dict[object, Template | None] = {}

    def __call__(self, step: Step, index: int, sequence: int) -> bytes:
        """The request, with its header. `index` is that of the item's device; 0 for a rule."""
        item = step.item
        if isinstance(item, Rule):
            prefix: str = item.source
            kind: tuple[object, ...] = (item.table, item.priority, item.destination, item.suppress)
        elif isinstance(item, Address):
            prefix, kind = item.address, (index, item.label)
        else:
            prefix = ""
        if not prefix:
            return encode(step, index, sequence)
        address, _, length = prefix.partition("/")
        family = _family(address)
        kind = (step.verb, step.protocol, type(item), family, length, *kind)
        if kind not in self._known:
            if len(self._known) >= KINDS:
                self._known.clear()
            self._known[kind] = None
            return encode(step, index, sequence)
        template = self._known[kind] or _template(step, index, family, length)
        if template is None:
            return encode(step, index, sequence)
        self._known[kind] = template
        head, pieces = template
        return head + SEQUENCE.pack(sequence) + inet_pton(family, address).join(pieces)


def _template(step: Step, index: int, family: int, length: str) -> Template | None:
    """The message for another address; None if the octets of that address are in it elsewhere too."""
    from ec2ident.value import replace

    name, mark = "source" if isinstance(step.item, Rule) else "address", MARKS[family]
    data = encode(replace(step, item=replace(step.item, **{name: f"{mark}/{length}"})), index, 0)
    pieces = data[12:].split(inet_pton(family, mark))
    return (data[:8], pieces) if len(pieces) == PLACES[type(step.item)] + 1 else None


def encode(step: Step, index: int, sequence: int) -> bytes:
    """The request for one step, with its header, by pyroute2 alone."""
    item = step.item
    if isinstance(item, Rule):
        message = _rule(item, step.protocol)
    elif isinstance(item, Route):
        message = _route(item, index, step)
    else:
        assert isinstance(item, Address)
        message = _address(item, index, step)
    message["header"].update(
        {"type": TYPES[type(item), step.verb], "flags": FLAGS[step.verb], "sequence_number": sequence, "pid": 0}
    )
    message.encode()
    return bytes(message.data)


def _split(prefix: str) -> tuple[str, int]:
    address, _, length = prefix.partition("/")
    return address, int(length)


def _family(*prefixes: str) -> int:
    return AF_INET6 if any(":" in prefix for prefix in prefixes) else AF_INET


def _fill(message: Any, fields: dict[str, int], attributes: Sequence[tuple[str, Any]]) -> Any:
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = [(name, value) for name, value in attributes if value is not None]
    return message


def _rule(item: Rule, protocol: int | None) -> Any:
    source, source_length = _split(item.source) if item.source else (None, 0)
    destination, destination_length = _split(item.destination) if item.destination else (None, 0)
    fields = {
        "family": _family(item.source, item.destination),
        "src_len": source_length,
        "dst_len": destination_length,
        "table": item.table if item.table < 256 else 0,
        "action": TO_TABLE,
    }
    attributes = (
        ("FRA_TABLE", item.table),
        ("FRA_PRIORITY", item.priority),
        ("FRA_SRC", source),
        ("FRA_DST", destination),
        ("FRA_SUPPRESS_PREFIXLEN", item.suppress if item.suppress >= 0 else None),
        ("FRA_PROTOCOL", protocol),
    )
    return _fill(load().rule(), fields, attributes)


def _route(item: Route, index: int, step: Step) -> Any:
    destination, length = _split(item.destination)
    scope = UNIVERSE if item.gateway or ":" in item.destination else LINK_SCOPE
    metrics = [(name, value) for name, value in (("RTAX_MTU", item.mtu), ("RTAX_ADVMSS", item.advmss)) if value]
    fields = {
        "family": _family(item.destination),
        "dst_len": length,
        "table": item.table if item.table < 256 else 0,
        "proto": step.protocol or 0,
        "scope": ANY_SCOPE if step.verb == "del" else scope,
        "type": UNICAST,
    }
    attributes = (
        ("RTA_TABLE", item.table),
        ("RTA_DST", destination if length else None),
        ("RTA_OIF", index),
        ("RTA_GATEWAY", item.gateway or None),
        ("RTA_PRIORITY", item.metric or None),
        # A removal names no metrics: the kernel would remove the route only if it still has them.
        ("RTA_METRICS", {"attrs": metrics} if metrics and step.verb != "del" else None),
    )
    return _fill(load().route(), fields, attributes)


def _address(item: Address, index: int, step: Step) -> Any:
    address, length = _split(item.address)
    six = ":" in address
    # As bytes: pyroute2 counts a text's characters and sends as many bytes.
    adding = step.verb != "del"
    label = item.label.encode("utf-8", "surrogateescape") if adding and not six else b""
    fields = {"family": _family(address), "prefixlen": length, "index": index, "flags": 0, "scope": UNIVERSE}
    attributes = (
        ("IFA_LOCAL", address),
        ("IFA_ADDRESS", address),
        # A rename of the device rewrites labels, so a removal names the address alone.
        ("IFA_LABEL", label or None),
        ("IFA_FLAGS", NODAD if six and adding else None),
        ("IFA_PROTO", step.protocol if adding else None),
    )
    return _fill(load().address(), fields, attributes)
