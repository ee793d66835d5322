"""Changing the kernel: pyroute2's message classes on our own socket, many requests a send, an answer for each.

The only importer of pyroute2. Importing it costs more than a hundred times the work of a hook that finds nothing to do,
so it is imported under the lock, when there is a change to make: of several hooks at once the first then pays for it,
and the others find nothing to do. Its errors are translated here.
"""

from __future__ import annotations

import os

from ec2ident_agent.errors import KernelError
from ec2ident_agent.items import OURS, Address, Route, Rule

from .dump import ERROR, Channel, failure, links, lookup, observe
from .protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ec2ident_agent.items import Link, Observed, Step

    from .protocol import Decision, Query

#: rtnetlink.h: message types for (item, verb).
TYPES = {
    (Address, "add"): 20, (Address, "del"): 21,
    (Route, "add"): 24, (Route, "del"): 25,
    (Rule, "add"): 32, (Rule, "del"): 33,
}  # fmt: skip
#: REQUEST|ACK|EXCL|CREATE: an object that exists is an error, never overwritten.
FLAGS = {"add": 0x605, "del": 0x5}
UNIVERSE, LINK_SCOPE, ANY_SCOPE = 0, 253, 255
UNICAST, TO_TABLE = 1, 1
NODAD = 0x02
#: Messages in one send: the gain of more is small, and a failure is noticed after at most this many.
BATCH = 64


class NetlinkKernel:
    """The kernel of the network namespace that this thread was in when it first looked."""

    def __init__(self) -> None:
        self._channel: Channel | None = None

    @property
    def channel(self) -> Channel:
        """The netlink socket, opened at first use. Raises UnknownError."""
        if self._channel is None:
            self._channel = Channel()
        return self._channel

    def close(self) -> None:
        """Close the socket, if it was opened."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def observe(self) -> Observed:
        """All links, rules, addresses, and the routes that matter. Raises UnknownError."""
        return observe(self.channel)

    def observe_links(self) -> tuple[Link, ...]:
        """The links alone: one dump in place of seven. Raises UnknownError."""
        return links(self.channel)

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        """The kernel's own routing decision for each packet. Raises UnknownError."""
        return lookup(self.channel, queries)

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Attempt every step, in order, and return those that failed. Raises KernelError when the socket fails."""
        _load()
        indexes = {link.name: link.index for link in links(self.channel)}
        self.channel.enlarge()
        failures: list[Failure] = []
        for start in range(0, len(steps), BATCH):
            failures += self._batch(steps[start : start + BATCH], indexes)
        return failures

    def _batch(self, steps: Sequence[Step], indexes: dict[str, int]) -> list[Failure]:
        asked: dict[int, Step] = {}
        failures: list[Failure] = []
        joined = b""
        for step in steps:
            device = getattr(step.item, "device", None)
            if device is not None and device not in indexes:
                failures.append(Failure(step, 19, f"no such device {device}"))
                continue
            sequence = self.channel.number()
            asked[sequence] = step
            joined += encode(step, indexes, sequence)
        try:
            if joined:
                self.channel.send(joined)
            while asked:
                for kind, flags, sequence, payload in self.channel.messages():
                    if kind == ERROR and sequence in asked:
                        step = asked.pop(sequence)
                        number, text = failure(kind, flags, payload)
                        if number:
                            failures.append(Failure(step, number, text))
        except OSError as failed:
            words = os.strerror(failed.errno) if failed.errno else str(failed)
            raise KernelError(f"netlink: no answer to {next(iter(asked.values()))}: {words}") from failed
        return failures


def _load() -> tuple[Any, Any, Any]:
    """pyroute2's classes for a rule, a route and an address. Raises KernelError where it cannot be loaded."""
    from ec2ident.dependency import Loading

    with Loading("pyroute2", lambda says: KernelError(f"{says}; it is needed to change anything")):
        from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
        from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]
    return fibmsg, rtmsg, ifaddrmsg


def encode(step: Step, indexes: dict[str, int], sequence: int) -> bytes:
    """The request for one step, with its header."""
    item = step.item
    if isinstance(item, Rule):
        message = _rule(item)
    elif isinstance(item, Route):
        message = _route(item, indexes[item.device], step.verb)
    else:
        assert isinstance(item, Address)
        message = _address(item, indexes[item.device], step.verb)
    message["header"].update(
        {"type": TYPES[type(item), step.verb], "flags": FLAGS[step.verb], "sequence_number": sequence, "pid": 0}
    )
    message.encode()
    return bytes(message.data)


def _split(prefix: str) -> tuple[str, int]:
    address, _, length = prefix.partition("/")
    return address, int(length)


def _family(*prefixes: str) -> int:
    return 10 if any(":" in prefix for prefix in prefixes) else 2


def _fill(message: Any, fields: dict[str, int], attributes: Sequence[tuple[str, Any]]) -> Any:
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = [(name, value) for name, value in attributes if value is not None]
    return message


def _rule(item: Rule) -> Any:
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
        ("FRA_PROTOCOL", OURS),
    )
    return _fill(_load()[0](), fields, attributes)


def _route(item: Route, index: int, verb: str) -> Any:
    destination, length = _split(item.destination)
    scope = UNIVERSE if item.gateway or ":" in item.destination else LINK_SCOPE
    fields = {
        "family": _family(item.destination),
        "dst_len": length,
        "table": item.table if item.table < 256 else 0,
        "proto": OURS,
        "scope": scope if verb == "add" else ANY_SCOPE,
        "type": UNICAST,
    }
    attributes = (
        ("RTA_TABLE", item.table),
        ("RTA_DST", destination if length else None),
        ("RTA_OIF", index),
        ("RTA_GATEWAY", item.gateway or None),
        ("RTA_PRIORITY", item.metric or None),
    )
    return _fill(_load()[1](), fields, attributes)


def _address(item: Address, index: int, verb: str) -> Any:
    address, length = _split(item.address)
    six = ":" in address
    # As bytes: pyroute2 counts a text's characters and sends as many bytes.
    label = item.label.encode("utf-8", "surrogateescape") if verb == "add" and not six else b""
    fields = {"family": _family(address), "prefixlen": length, "index": index, "flags": 0, "scope": UNIVERSE}
    attributes = (
        ("IFA_LOCAL", address),
        ("IFA_ADDRESS", address),
        # A rename of the device rewrites labels, so a removal names the address alone.
        ("IFA_LABEL", label or None),
        ("IFA_FLAGS", NODAD if six and verb == "add" else None),
        ("IFA_PROTO", OURS if verb == "add" else None),
    )
    return _fill(_load()[2](), fields, attributes)
