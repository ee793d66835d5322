"""What a policy rule selects by and does, and whether it matches a packet that this node sends. Pure.

As fib_rule_match and fib4_rule_match of the kernel. `kernel.dump` keeps what no item has a field for as words with the
value of the attribute; here they are read.
"""

from __future__ import annotations

from sys import byteorder

from ec2ident.value import Value

from .inet import contains
from .items import DEFAULT, Route, Rule, family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from .items import Seen
    from .kernel.protocol import Decision, Query

    Range = tuple[int, int]

#: linux/fib_rules.h: what a rule does. A rule without an action of these does nothing that this module knows.
LOOKUP, GOTO, BLACKHOLE, UNREACHABLE, PROHIBIT = 1, 2, 6, 7, 8
ACTIONS = {GOTO: "goto", BLACKHOLE: "blackhole", UNREACHABLE: "unreachable", PROHIBIT: "prohibit"}
#: Types of route that drop packets.
DROPS = frozenset(("blackhole", "unreachable", "prohibit"))
#: Packets that this node sends come "from" the loopback device (ip-rule(8): iif lo).
LOOPBACK = "lo"
TABLES = {253: "default", 254: "main", 255: "local"}
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"}


class Selectors(Value):
    """What a rule selects by besides source and destination, and its action."""

    negated: bool = False
    action: int = LOOKUP
    goto: int = 0
    mark: int = 0
    mask: int = 0
    users: Range | None = None
    protocol: int = 0
    source_ports: Range | None = None
    destination_ports: Range | None = None
    source_mask: int = 0xFFFF
    destination_mask: int = 0xFFFF
    tos: int = 0
    dscp: int = 0
    dscp_mask: int = 0
    iif: str = ""
    #: Words that are not understood: such a rule may match anything or nothing.
    unknown: tuple[str, ...] = ()


def selectors(seen: Seen) -> Selectors:
    """The selectors and the action of a rule, from its extra words."""
    found: dict[str, Any] = {}
    unknown = []
    for word in seen.extra:
        name, _, value = word.partition(" ")
        if name in ("inet6", "suppress_ifgroup"):
            continue
        if name == "not":
            found["negated"] = True
        elif name in ("tos", "action"):
            found[name] = int(value)
        elif name in _NUMBERS:
            found[_NUMBERS[name]] = _number(value)
        elif name in _RANGES:
            half = len(value) // 2
            found[_RANGES[name]] = (_number(value[:half]), _number(value[half:]))
        elif name == "iif":
            found["iif"] = bytes.fromhex(value).rstrip(b"\0").decode("utf-8", "surrogateescape")
        else:
            unknown.append(word)
    if "dscp" in found:
        found.setdefault("dscp_mask", 0x3F)
    return Selectors(**found, unknown=tuple(unknown))


_NUMBERS = {
    "fwmark": "mark", "fwmask": "mask", "goto": "goto", "ipproto": "protocol", "sport_mask": "source_mask",
    "dport_mask": "destination_mask", "dscp": "dscp", "dscp_mask": "dscp_mask",
}  # fmt: skip
_RANGES = {"uidrange": "users", "sport": "source_ports", "dport": "destination_ports"}


def _number(hexadecimal: str) -> int:
    return int.from_bytes(bytes.fromhex(hexadecimal), byteorder)


def matches(seen: Seen, chosen: Selectors, query: Query) -> bool:
    """True if the rule matches a packet that this node sends. A rule that is not understood does not."""
    item = seen.item
    assert isinstance(item, Rule)
    if seen.version != family(query.destination) or chosen.unknown:
        return False
    found = (
        chosen.iif in ("", LOOPBACK)
        and not (chosen.mark ^ query.mark) & chosen.mask
        and (not item.source or contains(item.source, query.source))
        and (not item.destination or contains(item.destination, query.destination))
        and _within(chosen.users, query.user)
        and chosen.protocol in (0, query.protocol)
        and _port(chosen.source_ports, chosen.source_mask, query.source_port)
        and _port(chosen.destination_ports, chosen.destination_mask, query.destination_port)
        and chosen.tos in (0, query.tos)
        and not (chosen.dscp ^ query.tos >> 2) & chosen.dscp_mask
    )
    return found != chosen.negated


def _within(wanted: Range | None, value: int) -> bool:
    return wanted is None or wanted[0] <= value <= wanted[1]


def _port(wanted: Range | None, mask: int, port: int) -> bool:
    """A port that is masked, or in a range: the kernel takes one of the two (fib_rule_port_match)."""
    if wanted is None or mask == 0xFFFF:
        return _within(wanted, port)
    return not (wanted[0] ^ port) & mask


def in_order(rules: Iterable[Seen]) -> list[tuple[Seen, Selectors]]:
    """The rules in the order in which the kernel evaluates them, each with its selectors."""
    found = [seen for seen in rules if isinstance(seen.item, Rule)]
    return [(seen, selectors(seen)) for seen in sorted(found, key=_priority)]


def _priority(seen: Seen) -> int:
    assert isinstance(seen.item, Rule)
    return seen.item.priority


def evaluated(rules: Sequence[tuple[Seen, Selectors]], query: Query) -> Iterator[tuple[Seen, Selectors, Seen | None]]:
    """The rules that match a packet, in order, with their selectors and the first `goto` that led there.

    A `goto` leads to the first rule of that priority, or if there is none (RULE unresolved) does nothing.
    """
    place, jumped = 0, None
    while place < len(rules):
        seen, chosen = rules[place]
        place += 1
        if not matches(seen, chosen, query):
            continue
        if chosen.action != GOTO:
            yield seen, chosen, jumped
            continue
        same = (n for n, (other, _) in enumerate(rules) if _priority(other) == chosen.goto)
        target = next((n for n in same if n >= place and rules[n][0].version == seen.version), None)
        if target is not None:
            place, jumped = target, jumped or seen


def taker(
    rules: Sequence[tuple[Seen, Selectors]], query: Query, answer: Decision, routes: Iterable[Seen] = ()
) -> Seen | None:
    """The rule by which the kernel came to its answer; None if that cannot be told.

    `routes` are those that are known: they tell whether a rule that suppresses default routes gave the answer, and
    which table drops packets.
    """
    defaults, drops = set(), set()
    longest: dict[int, int] = {}
    for seen in routes:
        route = seen.item
        if isinstance(route, Route) and contains(route.destination, query.destination):
            length = int(route.destination.partition("/")[2])
            longest[route.table] = max(length, longest.get(route.table, 0))
            if route.destination in DEFAULT.values():
                defaults.add((route.table, route.device, route.gateway))
            if not DROPS.isdisjoint(seen.extra):
                drops.add(route.table)
    for seen, chosen, jumped in evaluated(rules, query):
        item = seen.item
        assert isinstance(item, Rule)
        if not answer.device:
            found = chosen.action in ACTIONS or (chosen.action == LOOKUP and item.table in drops)
        else:
            suppressed = (item.table, answer.device, answer.gateway) in defaults
            suppressed = suppressed and longest[item.table] <= item.suppress
            found = chosen.action == LOOKUP and item.table == answer.table and not suppressed
        if found:
            return jumped or seen
    return None


def describe(seen: Seen) -> str:
    """The rule as `ip rule` shows it."""
    item, chosen = seen.item, selectors(seen)
    assert isinstance(item, Rule)
    words = ["not"] if chosen.negated else []
    words.append(f"from {item.source or 'all'}")
    words += [f"to {item.destination}"] if item.destination else []
    words += [f"tos {chosen.tos:#04x}"] if chosen.tos else []
    words += [f"dscp {chosen.dscp}"] if chosen.dscp_mask else []
    if chosen.mask:
        words.append(f"fwmark {chosen.mark:#x}" + (f"/{chosen.mask:#x}" if chosen.mask != 0xFFFFFFFF else ""))
    words += [f"iif {chosen.iif}"] if chosen.iif else []
    words += [f"uidrange {_range(chosen.users)}"] if chosen.users else []
    words += [f"ipproto {PROTOCOLS.get(chosen.protocol, chosen.protocol)}"] if chosen.protocol else []
    words += [f"sport {_range(chosen.source_ports)}"] if chosen.source_ports else []
    words += [f"dport {_range(chosen.destination_ports)}"] if chosen.destination_ports else []
    words += chosen.unknown
    if chosen.action == GOTO:
        words.append(f"goto {chosen.goto}")
    elif chosen.action in ACTIONS:
        words.append(ACTIONS[chosen.action])
    else:
        words.append(f"lookup {TABLES.get(item.table, item.table)}")
    words += [f"suppress_prefixlength {item.suppress}"] if item.suppress >= 0 else []
    return f"{item.priority}: {' '.join(words)}"


def _range(found: Range) -> str:
    return str(found[0]) if found[0] == found[1] else f"{found[0]}-{found[1]}"
