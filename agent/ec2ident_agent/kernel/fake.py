"""A kernel in memory: strict, typed and shipped, for our tests and yours.

It refuses what the real one refuses, with the same numbers and the same words (measured on Linux 6.18), and nothing
else: a second rule with another protocol is another rule, a route with the same destination and metric is not, the same
address may stand on two devices.

    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth0", "10.0.0.10/24"), 3))
"""

from __future__ import annotations

import os

from ec2ident.value import replace
from ec2ident_agent.inet import contains
from ec2ident_agent.items import Address, Link, Observed, Route, Rule, Seen, family
from ec2ident_agent.selectors import BLACKHOLE, PROHIBIT, UNREACHABLE, evaluated, in_order

from .protocol import Decision, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ec2ident_agent.items import Item, Step
    from ec2ident_agent.selectors import Selectors

    from .protocol import Query

#: What a sender gets from a rule that drops its packets.
DROPS = {BLACKHOLE: 22, UNREACHABLE: 101, PROHIBIT: 13}
#: The same from a route.
DROPPING = {"blackhole": 22, "unreachable": 113, "prohibit": 13}
EPERM, ENOENT, ESRCH, EEXIST, ENODEV, ERANGE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH = 1, 2, 3, 17, 19, 34, 99, 100, 101


class FakeKernel:
    """Links, and what stands on them. `tags=False` plays a kernel that keeps no protocol of rules and addresses."""

    def __init__(self, *links: str, tags: bool = True, root: bool = True) -> None:
        names = ("lo", *links)
        self.links = [Link(index, name, f"06:00:00:00:00:{index:02x}") for index, name in enumerate(names, 1)]
        self._indices = len(names)
        self.tags, self.root = tags, root
        self.done: list[Step] = []
        self.seen: list[Seen] = []
        #: Device -> the IPv6 routers among its neighbours, and those that answer when they are asked for.
        self.neighbours: dict[str, tuple[str, ...]] = {}
        self.answering: dict[str, tuple[str, ...]] = {}
        for priority, table in ((0, 255), (32766, 254), (32767, 253)):
            self.add(Seen(Rule("", table, priority), 2))
        self.add(Seen(Address("lo", "::1/128"), 1))

    def observe(self, tables: Collection[int] = ()) -> Observed:
        """What this kernel holds."""
        return Observed(tuple(self.links), tuple(self.seen))

    def observe_links(self) -> tuple[Link, ...]:
        """The links that this kernel holds."""
        return tuple(self.links)

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        """The routing decision, by the rules and routes that stand here; every address is on its own link alone."""
        rules = in_order(self.seen)
        return [self._decision(query, rules) for query in queries]

    def routers(self, device: str, *, seek: bool) -> tuple[str, ...]:
        """What `neighbours` says, or else, if they are asked for, `answering`."""
        return self.neighbours.get(device, ()) or (self.answering.get(device, ()) if seek else ())

    def _decision(self, query: Query, rules: Sequence[tuple[Seen, Selectors]]) -> Decision:
        own = {each.item.address.partition("/")[0] for each in self.seen if isinstance(each.item, Address)}
        if query.source not in own and family(query.source) == 4:
            return Decision(errno=ENETUNREACH)
        for seen, chosen, _ in evaluated(rules, query):
            assert isinstance(seen.item, Rule)
            if chosen.action in DROPS:
                return Decision(errno=DROPS[chosen.action])
            found = self._route(seen.item, query.destination)
            if found is None or "throw" in found.extra:
                continue
            errno = next((DROPPING[word] for word in found.extra if word in DROPPING), 0)
            assert isinstance(found.item, Route)
            route = found.item
            return Decision(errno=errno) if errno else Decision(route.device, route.gateway, route.table)
        return Decision(errno=ENETUNREACH)

    def _route(self, rule: Rule, destination: str) -> Seen | None:
        """The route of the longest prefix, of equal ones that of the lowest metric, unless the rule suppresses it."""
        found = [
            (_length(seen.item), -seen.item.metric, seen)
            for seen in self.seen
            if isinstance(seen.item, Route) and seen.item.table == rule.table
            if family(seen.item.destination) == family(destination) and contains(seen.item.destination, destination)
        ]
        length, _, best = max(found, key=lambda each: each[:2], default=(-1, 0, None))
        return None if length <= rule.suppress else best

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Carry out the steps, and return those that this kernel refuses."""
        answers = [(step, self._one(step)) for step in steps]
        return [Failure(step, *answer) for step, answer in answers if answer]

    def close(self) -> None:
        """Nothing is open."""

    def add(self, seen: Seen) -> None:
        """Put an object there, as another program might."""
        if not self.tags and not isinstance(seen.item, Route):
            seen = replace(seen, protocol=None)
        assert seen.identity not in {each.identity for each in self.seen}, f"there already: {seen}"
        self.seen.append(seen)

    def flush_table(self, table: int) -> None:
        """What `ip route flush table N` does."""
        self._keep(lambda item: not (isinstance(item, Route) and item.table == table))

    def link_down(self, name: str) -> None:
        """The link's routes go, without a word for IPv4; its rules and IPv4 addresses stay."""
        self.links = [replace(link, up=link.up and link.name != name) for link in self.links]
        self._keep(lambda item: not (isinstance(item, Route) and item.device == name))

    def link_up(self, name: str) -> None:
        """Nothing comes back by itself."""
        self.links = [replace(link, up=link.up or link.name == name) for link in self.links]

    def unplug(self, name: str) -> None:
        """A detach: routes and addresses go with the link, its rules leak."""
        self.links = [link for link in self.links if link.name != name]
        self._keep(lambda item: isinstance(item, Rule) or item.device != name)

    def plug(self, name: str) -> None:
        """An attach; the index is a new one, also for a name that was here before."""
        self._indices = index = self._indices + 1
        self.links.append(Link(index, name, f"06:00:00:00:00:{index:02x}"))

    def _keep(self, stays: object) -> None:
        assert callable(stays)
        self.seen = [seen for seen in self.seen if stays(seen.item)]

    def _one(self, step: Step) -> tuple[int, str] | None:
        if not self.root:
            return EPERM, "Operation not permitted"
        refused = self._no_device(step.item) or (self._refused(step.item) if step.verb != "del" else None)
        if refused:
            return refused
        tag = step.protocol if self.tags or isinstance(step.item, Route) else None
        found = self._rule(step, tag) if isinstance(step.item, Rule) else self._same(step.item, tag)
        if step.verb == "replace" and found:
            # The kernel keeps an address's label, and replaces all of a route.
            item = found.item if isinstance(step.item, Address) else step.item
            self.seen[self.seen.index(found)] = Seen(item, tag)
        elif step.verb != "del":
            if found:
                return EEXIST, _EXISTS[type(step.item), family(_prefix(step.item))]
            self.seen.append(Seen(step.item, tag))
        else:
            if not found or not self._matches(step, found):
                return _MISSING[type(step.item), family(_prefix(step.item))]
            self.seen.remove(found)
        self.done.append(step)
        return None

    def _same(self, item: Item, tag: int | None) -> Seen | None:
        return next((seen for seen in self.seen if seen.identity == Seen(item, tag).identity), None)

    def _rule(self, step: Step, tag: int | None) -> Seen | None:
        """The first rule that the kernel takes for this one: what a rule does not select by, matches any.

        For a removal that is true of every selector (fib_nl_delrule), for an addition of source and destination alone
        (rule_exists, fib4_rule_compare).
        """
        item = step.item
        assert isinstance(item, Rule)
        for seen in self.seen:
            there, exact = seen.item, step.verb == "add"
            if not isinstance(there, Rule) or _version(there, seen) != _version(item):
                continue
            if seen.protocol != tag and (exact or tag != 0):
                continue
            if (there.priority, there.table) != (item.priority, item.table) or (exact and seen.extra):
                continue
            pairs = ((item.source, there.source), (item.destination, there.destination))
            suppress = there.suppress == item.suppress or (item.suppress == -1 and not exact)
            if suppress and all(wanted in ("", other) for wanted, other in pairs):
                return seen
        return None

    def _matches(self, step: Step, found: Seen) -> bool:
        """A route is removed with its protocol and its gateway; an address by its identity alone."""
        if isinstance(step.item, Route):
            return found.protocol == step.protocol and found.item == step.item
        return True

    def _no_device(self, item: Item) -> tuple[int, str] | None:
        name = getattr(item, "device", None)
        known = name is None or any(link.name == name for link in self.links)
        return None if known else (ENODEV, f"no such device {name}")

    def _refused(self, item: Item) -> tuple[int, str] | None:
        if isinstance(item, Rule):
            return None
        six = family(_prefix(item)) == 6
        assert isinstance(item, (Address, Route)), f"not for a kernel: {item}"
        link = next(link for link in self.links if link.name == item.device)
        if isinstance(item, Address):
            return (ERANGE, "Attribute failed policy validation") if len(item.label) > 15 else None
        if not link.up:
            return ENETDOWN, "Nexthop device is not up" if six else "Device for nexthop is not up"
        if item.gateway and not self._on_link(item):
            return (113, "No route to host") if six else (ENETUNREACH, "Nexthop has invalid gateway")
        return None

    def _on_link(self, item: Route) -> bool:
        from ipaddress import ip_address, ip_network

        gateway = ip_address(item.gateway)
        on_link = (
            seen.item.destination if isinstance(seen.item, Route) else seen.item.address
            for seen in self.seen
            if isinstance(seen.item, (Address, Route)) and seen.item.device == item.device
            if not (isinstance(seen.item, Route) and (seen.item.gateway or seen.item.table != item.table))
        )
        return gateway.is_link_local or any(gateway in ip_network(prefix, strict=False) for prefix in on_link)


def _length(route: Route) -> int:
    return int(route.destination.partition("/")[2])


def _version(rule: Rule, seen: Seen | None = None) -> int:
    return 6 if seen and "inet6" in seen.extra else family(rule.source or rule.destination)


def _prefix(item: Item) -> str:
    if isinstance(item, Address):
        return item.address
    if isinstance(item, Route):
        return item.destination
    assert isinstance(item, Rule), f"not for a kernel: {item}"
    return item.source or item.destination


_EXISTS = {
    (Rule, 4): os.strerror(EEXIST), (Rule, 6): os.strerror(EEXIST),
    (Route, 4): os.strerror(EEXIST), (Route, 6): os.strerror(EEXIST),
    (Address, 4): "ipv4: Address already assigned", (Address, 6): "ipv6: address already assigned",
}  # fmt: skip
_MISSING = {
    (Rule, 4): (ENOENT, os.strerror(ENOENT)), (Rule, 6): (ENOENT, os.strerror(ENOENT)),
    (Route, 4): (ESRCH, os.strerror(ESRCH)), (Route, 6): (ESRCH, os.strerror(ESRCH)),
    (Address, 4): (EADDRNOTAVAIL, "ipv4: Address not found"), (Address, 6): (EADDRNOTAVAIL, "ipv6: address not found"),
}  # fmt: skip
