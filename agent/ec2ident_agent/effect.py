"""Do packets go where they should? What the kernel itself answers for each source, judged. Pure.

Objects that are all in place prove little: a rule that comes first, or another owner's rule, may take the packets.
So the kernel is asked for its own routing decision (RTM_GETROUTE) with each source, and again with what a foreign rule
selects by. Each answer must name the interface and the router of the source's table.

A rule for marked packets is not asked about, unless it is negated: the program that marks packets means them to go
another way. The same holds for a destination of its own that a bridge or tunnel reaches, such as a container. By
another ENI no packet of the source may leave, whatever its destination is: the VPC drops it. So the kernel is also
asked about destinations of routes by other ENIs, in the interface's own table and where foreign rules lead first.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .inet import contains, covers
from .items import DEFAULT, OURS, Address, Route, Rule, family
from .kernel.protocol import Query
from .main_table import eni_devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from .desired import Desired
    from .items import Observed, Seen
    from .kernel.protocol import Decision
    from .selectors import Selectors
    from .state.owned import Owner

MAIN, LOCAL, LOOPBACK = 254, 255, "lo"
#: Destinations outside of every VPC, reserved for documentation (RFC 5737, RFC 3849). No packet is sent. The IPv4 one
#: is in the upper half of the address space: a VPN may replace a default route by two halves.
OUTSIDE = {4: "198.51.100.1", 6: "2001:db8::1"}
#: The same for a rule that excludes the first one; IPv6's is of an example of RFC 9637.
ELSEWHERE = {4: "203.0.113.1", 6: "3fff::1"}
#: Networks that no router leads to: a source's own decision about them proves nothing.
NOT_ROUTED = ("169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8")
#: Routes of a table, by one device and router, of which one destination each is asked about.
SHOWN = 8
TCP, UDP = 6, 17
#: The protocols for which the kernel answers, by family (rtm_getroute_parse_ip_proto).
ASKABLE = {4: (0, 1, 6, 17), 6: (0, 6, 17, 58)}
#: What a rule may have beside its source and table without selecting anything.
PLAIN = frozenset(("inet6",))

#: Programs by the tables and the priorities of their rules: first and last.
PROGRAMS = (
    ("tailscale", (52, 52), (5210, 5270)),
    ("strongSwan", (220, 220), (220, 220)),
    ("Mullvad", (1836018789, 1836018789), (5208, 5209)),
    ("wg-quick", (51820, 51919), (-1, -1)),
    ("amazon-ec2-net-utils", (10001, 10999), (10000, 10999)),
    ("nm-cloud-setup", (30200, 30499), (30200, 30499)),
)


class Way(Value):
    """Which way the packets of a source should go: by this interface, through this router."""

    owner: Owner
    rule: Rule
    device: str
    router: str
    #: That of one of the table's further routes; empty for the default route.
    destination: str = ""


class Taken(Value):
    """The kernel sends packets of a source another way than the owner's table says."""

    way: Way
    query: Query
    answer: Decision
    #: The rule that comes first; None if that cannot be told.
    rule: Seen | None = None
    #: The owner of that rule, if the agent added it.
    by: Owner | None = None
    #: How many more sources of the same owner the same rule takes.
    more: int = 0

    @property
    def owner(self) -> Owner:
        """The owner that loses packets."""
        return self.way.owner

    @property
    def program(self) -> str:
        """The program that the rule belongs to, as far as its numbers tell; empty if they do not."""
        if self.rule is None or not isinstance(self.rule.item, Rule):
            return ""
        item = self.rule.item
        numbers = ((name, item.table, tables) for name, tables, _ in PROGRAMS)
        priorities = ((name, item.priority, range_) for name, _, range_ in PROGRAMS)
        return next((name for name, number, (low, high) in (*numbers, *priorities) if low <= number <= high), "")

    @property
    def culprit(self) -> str:
        """The rule that comes first, and its owner."""
        if self.rule is None:
            return f"table {self.answer.table}" if self.answer.table else "an unknown rule"
        from .selectors import describe

        owner = str(self.by) if self.by else self.program
        return f"rule {describe(self.rule)}" + (f" ({owner})" if owner else "")

    def __str__(self) -> str:
        more = f" and {self.more} more" if self.more else ""
        where = f"leaves {self.answer}" if self.answer.device else f"is dropped ({self.answer})"
        return f"from {self.query}{more} {where}, not by {self.way.device} via {self.way.router}: {self.culprit}"

    @property
    def advice(self) -> str:
        """How to prevent it."""
        if self.by == self.owner and self.answer.table == self.way.rule.table:
            return f"remove the route by {self.answer.device} from table {self.answer.table}: it is another program's"
        if self.by == self.owner and self.answer.table == MAIN:
            where = f"the route of main that it takes by {self.answer.device} (a VPN may halve its default route)"
            return f'remove {where}, or write scheme = "by-source" in [interface.{self.owner.name}]'
        if self.by:
            return f"write source = … with its own addresses in [interface.{self.by.name}]"
        if self.rule is None or not isinstance(self.rule.item, Rule):
            return "ip rule shows all rules"
        first = self.rule.item.priority - 3
        if first > 0:
            interface = self.owner.kind == "interface"
            where = f"[interface.{self.owner.name}]" if interface else f"the section of {self.way.device}"
            return f"write priority = {first} or less in {where}, or remove that rule"
        return "remove that rule, or give it a higher priority number than the agent's"


def ways(desired: Iterable[Desired], observed: Observed) -> list[Way]:
    """The way of each rule that leads into a table of the agent's, as far as rule and default route are there.

    And that of each further route in the table, from the first of the rules.
    """
    there = {seen.item for seen in observed.seen if isinstance(seen.item, Rule) and seen.protocol in (OURS, None)}
    routes = {
        (seen.item.table, seen.item.destination): seen.item
        for seen in observed.seen
        if isinstance(seen.item, Route) and seen.item.destination in DEFAULT.values() and seen.protocol == OURS
    }
    found = []
    for each in desired:
        further = [item for item in each.items if isinstance(item, Route) and item.further]
        for item in each.items:
            if isinstance(item, Rule) and item.table != MAIN and not item.destination and item in there:
                route = routes.get((item.table, DEFAULT[family(item.source)]))
                if route:
                    found.append(Way(each.owner, item, route.device, route.gateway))
                if further:
                    mine = [more for more in further if family(more.destination) == family(item.source)]
                    found += [Way(each.owner, item, more.device, more.gateway, more.destination) for more in mine]
                    further = [more for more in further if more not in mine]
    return found


def questions(ways: Iterable[Way], observed: Observed) -> list[tuple[Way, Query]]:
    """What to ask the kernel: every source that is on the node, what foreign rules before it select by, and what other
    ENIs' routes lead to, where they may come first.
    """
    hosts: dict[str, str] = {}
    for seen in observed.seen:
        if isinstance(seen.item, Address):
            hosts.setdefault(seen.item.address.partition("/")[0], seen.item.device)
    ways = list(ways)
    special, found = _special(observed), []
    astray, asked = Astray(ways, observed), set()
    for way in ways:
        sources = _sources(way, hosts)
        if way.destination:
            there = _inside(way.destination, hosts)
            found += [(way, Query(source, there, protocol=TCP)) for source in sources[:1]]
            continue
        found += [(way, Query(source, OUTSIDE[family(source)], protocol=TCP)) for source in sources]
        if special:
            found += [(way, query) for query in _exceptions(special, way, sources, hosts)]
        if astray.routes and sources:
            for rule, destination, count in astray.before(way, sources):
                # One source of an owner stands for all that the same rule takes.
                if (key := (way.owner, rule, destination)) not in asked:
                    asked.add(key)
                    source = next(each for each in sources if not rule.source or contains(rule.source, each))
                    addresses = _several(destination, hosts, count)
                    found += [(way, Query(source, each, protocol=TCP)) for each in addresses]
    return found


class Astray:
    """Destinations with a route by an ENI in a table that may be asked for a source of another ENI."""

    def __init__(self, ways: Sequence[Way], observed: Observed) -> None:
        last = max((way.rule.priority for way in ways), default=-1)
        rules = [seen for seen in observed.seen if isinstance(seen.item, Rule) and seen.protocol != OURS]
        rules = [seen for seen in rules if isinstance(seen.item, Rule) and seen.item.priority <= last]
        tables = {way.rule.table for way in ways} | {seen.item.table for seen in rules if isinstance(seen.item, Rule)}
        #: Table and family -> destinations of their own, each with its device; with none, where a route has several.
        self.routes: dict[tuple[int, int], list[tuple[str, str]]] = {}
        enis = eni_devices(observed, ())
        shown: dict[tuple[int, str, str], int] = {}
        for seen in observed.seen:
            route = seen.item
            if not isinstance(route, Route) or route.table not in tables or seen.protocol == OURS:
                continue
            spread = not route.device and any(word.startswith(("multipath ", "nhid ")) for word in seen.extra)
            alone = route.device in enis and route.destination not in DEFAULT.values()
            if not (spread or alone) or _on_link_alone(route.destination):
                continue
            key = (route.table, route.device, route.gateway)
            shown[key] = shown.get(key, 0) + 1
            if shown[key] <= SHOWN:
                place = (route.table, family(route.destination))
                self.routes.setdefault(place, []).append((route.destination, route.device))
        #: The foreign rules that lead to such routes, each with its family.
        self._rules = [pair for seen in rules for pair in self._leading(seen)] if self.routes else []

    def _leading(self, seen: Seen) -> Iterator[tuple[Rule, int]]:
        rule = seen.item
        assert isinstance(rule, Rule)
        if (rule.table, 4) in self.routes or (rule.table, 6) in self.routes:
            from .selectors import LOOKUP, selectors

            mine, chosen = seen.version, selectors(seen)
            found = self.routes.get((rule.table, mine), ())
            plain = not (chosen.mask or chosen.negated or chosen.unknown) and chosen.iif in ("", LOOPBACK)
            wide = any(not rule.destination or covers(rule.destination, destination) for destination, _ in found)
            if plain and wide and chosen.action == LOOKUP:
                yield rule, mine

    def before(self, way: Way, sources: Iterable[str]) -> Iterator[tuple[Rule, str, int]]:
        """The destinations by another device in the way's own table, and in tables of foreign rules before its rule.

        Each with how many of its addresses to ask about: of a route by several devices each address takes one of them.
        """
        mine = family(way.rule.source)
        rules = [rule for rule, version in self._rules if version == mine and rule.priority <= way.rule.priority]
        rules = [rule for rule in rules if not rule.source or any(contains(rule.source, each) for each in sources)]
        for rule in [way.rule, *rules]:
            for destination, device in self.routes.get((rule.table, mine), ()):
                if device != way.device and (not rule.destination or covers(rule.destination, destination)):
                    yield rule, destination, 1 if device else SHOWN


def _several(network: str, hosts: dict[str, str], count: int) -> list[str]:
    """Addresses of the network that are none of the node's, `count` of them if there are as many."""
    from ipaddress import ip_address, ip_network

    first = OUTSIDE[family(network)] if network in DEFAULT.values() else _inside(network, hosts)
    found, last = ip_address(first), ip_network(network)[-1]
    # Not the first one of the outside, of which the answer must be the way's own router.
    begin = 1 if network in DEFAULT.values() else 0
    near = (str(found + offset) for offset in range(begin, begin + count) if int(found) + offset <= int(last))
    return [each for each in near if each not in hosts]


def _on_link_alone(destination: str) -> bool:
    return any(covers(network, destination) for network in NOT_ROUTED)


def _exceptions(
    special: Iterable[tuple[Seen, Selectors]], way: Way, sources: Iterable[str], hosts: dict[str, str]
) -> Iterator[Query]:
    """Packets of these sources that foreign rules before the way's rule match."""
    from .selectors import matches

    for seen, chosen in special:
        assert isinstance(seen.item, Rule)
        if seen.item.priority > way.rule.priority or seen.version != family(way.rule.source):
            continue
        covered = (each for each in sources if not seen.item.source or contains(seen.item.source, each))
        for source in covered:
            packets = _packets(seen, chosen, source, hosts)
            yield from [query for query in packets if matches(seen, chosen, query)][:1]
            # A rule for every source is asked about with one of them.
            if not seen.item.source:
                break


def _sources(way: Way, hosts: dict[str, str]) -> list[str]:
    """The addresses on the node that the rule is for: only from these does the node send anything."""
    host, _, length = way.rule.source.partition("/")
    if length in ("32", "128"):
        return [host] if host in hosts else []
    return [each for each, device in hosts.items() if device == way.device and contains(way.rule.source, each)]


def _special(observed: Observed) -> list[tuple[Seen, Selectors]]:
    """The foreign rules that take only some of a source's packets, in order."""
    rules = [
        seen
        for seen in observed.seen
        if seen.protocol != OURS and isinstance(seen.item, Rule) and (seen.item.destination or {*seen.extra} - PLAIN)
    ]
    if not rules:
        return []  # As on most nodes, which need the reader of selectors for nothing.
    from .selectors import in_order

    return [(seen, chosen) for seen, chosen in in_order(rules) if _selective(seen, chosen)]


def _selective(seen: Seen, chosen: Selectors) -> bool:
    assert isinstance(seen.item, Rule)
    some = chosen.users or chosen.protocol or chosen.source_ports or chosen.destination_ports or chosen.tos
    some = some or chosen.dscp_mask
    marked = (chosen.mask or chosen.iif not in ("", LOOPBACK)) and not chosen.negated
    # An inverted rule for a protocol that is not askable matches TCP, about which the kernel is asked anyway.
    can_ask = chosen.protocol in ASKABLE[seen.version]
    return bool(some or seen.item.destination) and not (marked or chosen.unknown) and can_ask


def _packets(seen: Seen, chosen: Selectors, source: str, hosts: dict[str, str]) -> list[Query]:
    """Packets of which the rule matches one, if it matches any."""
    assert isinstance(seen.item, Rule)
    destination = seen.item.destination
    if chosen.negated:
        plain = Query(source, OUTSIDE[family(source)], protocol=TCP)
        user = chosen.users[1] + 1 if chosen.users else 0
        other = ELSEWHERE[family(source)]
        return [plain, replace(plain, protocol=UDP), replace(plain, user=user), replace(plain, destination=other)]
    packet = Query(
        source,
        _inside(destination, hosts) if destination else OUTSIDE[family(source)],
        protocol=chosen.protocol or TCP,
        user=chosen.users[0] if chosen.users else 0,
        source_port=chosen.source_ports[0] if chosen.source_ports else 0,
        destination_port=chosen.destination_ports[0] if chosen.destination_ports else 0,
        tos=chosen.tos or chosen.dscp << 2,
    )
    return [packet]


def _inside(network: str, hosts: dict[str, str]) -> str:
    """An address of the network that is none of the node's."""
    from ipaddress import ip_network

    found = ip_network(network)
    for offset in range(1, min(found.num_addresses, 64)):
        if str(found[offset]) not in hosts:
            return str(found[offset])
    return str(found[0])


def judge(
    asked: Sequence[tuple[Way, Query]], answers: Sequence[Decision], desired: Iterable[Desired], observed: Observed
) -> tuple[Taken, ...]:
    """What goes another way, one for each owner and rule that takes it."""
    rules: list[tuple[Seen, Selectors]] = []
    owners = {item: each.owner for each in desired for item in each.items if isinstance(item, Rule)}
    enis = eni_devices(observed, [way.device for way, _ in asked])
    found: dict[tuple[object, ...], Taken] = {}
    for (way, query), answer in zip(asked, answers):
        if _right(way, query, answer, enis):
            continue
        from .selectors import in_order, taker

        rules = rules or in_order(observed.seen)
        seen = taker(rules, query, answer, observed.seen)
        by = owners.get(seen.item) if seen and isinstance(seen.item, Rule) and seen.protocol in (OURS, None) else None
        key = (way.owner, family(query.source), seen)
        if key in found:
            more = found[key].more + (query.source != found[key].query.source)
            found[key] = replace(found[key], more=more)
        else:
            found[key] = Taken(way, query, answer, seen, by)
    return tuple(found.values())


def _right(way: Way, query: Query, answer: Decision, enis: Collection[str]) -> bool:
    """True if the packet goes the source's way, or for a destination of its own by this interface or by no ENI."""
    if (answer.device, answer.gateway) == (way.device, way.router):
        return True
    outside = (OUTSIDE[family(query.source)], ELSEWHERE[family(query.source)])
    own = query.destination not in outside and not way.destination
    return own and bool(answer.device) and (answer.device == way.device or answer.device not in enis)
