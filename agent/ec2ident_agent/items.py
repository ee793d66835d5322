"""What the agent adds to a node: addresses, routes, rules and table names; and the difference from what is there. Pure.

Prefixes are canonical text ("10.0.1.0/24", "2600:1f14::/64"), because text is what people compare, what the journal
keeps, and what costs no import. An object on the node is *owned* if the agent added it, and *foreign* otherwise.

Two items with the same `identity` are one object to the kernel (measured on 6.18): a rule is identified by all of its
selectors *and* its protocol; a route by table, destination, metric and TOS, but not its gateway; an address by device,
address and prefix length, but not its label.
"""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Union

    Item = Union["TableName", "Address", "Route", "Rule"]
    Identity = tuple[object, ...]

#: The agent's number in `rt_protos`, on every rule, route and address that it adds. No list that we know uses it
#: (iproute2, FRR, keepalived 18, Cilium, google-guest-agent 66); numbers from 4 on mean nothing to the kernel.
OURS = 236

#: The protocol that an owned object shows: the agent's number, or None where the kernel keeps none.
KEPT = (OURS, None)

#: The agent's own file of table names; the agent wrote everything in it.
NAMES_FILE = "ec2ident.conf"

#: Two defaults that mean the same everywhere.
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}

#: The kernel gives an IPv6 route this metric when none is asked for, so we ask for it and compare equal.
METRIC = {4: 0, 6: 1024}


def family(prefix: str) -> int:
    """4 or 6, of any address or prefix in text."""
    return 6 if ":" in prefix else 4


def version_of(item: Item) -> int:
    """4 or 6: the family of an address, a route or a rule; 0 for a table's name."""
    if isinstance(item, TableName):
        return 0
    if isinstance(item, Rule):
        return family(item.source or item.destination)
    return family(item.address if isinstance(item, Address) else item.destination)


#: Characters that a shell does not interpret. A device's name may hold quotes, dollars and semicolons.
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-@%+=,")


def word(text: str) -> str:
    """The text as one word of a shell's command line."""
    return text if text and PLAIN.issuperset(text) else "'" + text.replace("'", "'\\''") + "'"


class TableName(Value):
    """A routing table's name, a line of `rt_tables.d`: so that `ip rule` shows MYHA and not 100."""

    number: int
    name: str

    rank = 0

    @property
    def identity(self) -> Identity:
        """Two items of one identity are the same object in the kernel, or the same line."""
        return ("name", self.number, self.name)

    def command(self, verb: str) -> str:
        """The shell command that does the same; `verb` is `add` or `del`."""
        path = f"/etc/iproute2/rt_tables.d/{NAMES_FILE}"
        if verb == "add":
            return f"echo '{self.number} {self.name}' >>{path}"
        return f"sed -i '/^{self.number} {self.name}$/d' {path}"

    def __str__(self) -> str:
        return f"table {self.number} named {self.name}"


class Address(Value):
    """An address with its prefix length on a device; an IPv4 one may carry a label (at most 15 characters)."""

    device: str
    address: str
    label: str = ""

    rank = 1

    @property
    def identity(self) -> Identity:
        """The kernel holds an address once on a device."""
        return ("address", self.device, self.address)

    def command(self, verb: str) -> str:
        """The `ip` command that does the same; `verb` is `add` or `del`."""
        if family(self.address) == 6:
            # Without nodad a moved address cannot be used for seconds, while the kernel looks for duplicates.
            return f"ip -6 address {verb} {self}" + (" nodad" if verb == "add" else "")
        return f"ip address {verb} {self}"

    def __str__(self) -> str:
        label = f" label {word(self.label)}" if self.label else ""
        return f"{self.address} dev {word(self.device)}{label}"


class Route(Value):
    """A unicast route in a table: to the link itself, or through a gateway.

    `mtu` and `advmss` are in bytes, and 0 for none: the largest packet, and the segment size that TCP announces.
    """

    destination: str
    device: str
    table: int
    gateway: str = ""
    metric: int = 0
    mtu: int = 0
    advmss: int = 0

    @property
    def further(self) -> bool:
        """True for a route beside the default route: rules and the other routes do their work without it."""
        return bool(self.gateway) and self.destination not in DEFAULT.values()

    @property
    def rank(self) -> int:
        """The place in the order of adding: routes after addresses, gateways after their link's route."""
        # A gateway may need the route to its own link, so that one comes first.
        return 3 if self.gateway else 2

    @property
    def identity(self) -> Identity:
        """The kernel holds one route for a destination and a metric in a table."""
        return ("route", self.table, self.destination, self.metric)

    def command(self, verb: str) -> str:
        """The `ip` command that does the same; `verb` is `add` or `del`."""
        return f"ip{' -6' if family(self.destination) == 6 else ''} route {verb} {self}"

    def __str__(self) -> str:
        where = "default" if self.destination in DEFAULT.values() else self.destination
        via = f" via {self.gateway}" if self.gateway else ""
        # A foreign route, such as a black hole, may have no device.
        device = f" dev {word(self.device)}" if self.device else ""
        scope = " scope link" if family(self.destination) == 4 and not self.gateway and device else ""
        numbers = (("metric", self.metric), ("mtu", self.mtu), ("advmss", self.advmss))
        more = "".join(f" {name} {number}" for name, number in numbers if number)
        return f"{where}{via}{device} table {self.table}{scope}{more}"


class Rule(Value):
    """A policy rule. An empty source or destination means all; `suppress` is suppress_prefixlength, -1 for none."""

    source: str
    table: int
    priority: int
    destination: str = ""
    suppress: int = -1

    rank = 4

    @property
    def identity(self) -> Identity:
        """What tells one rule from another."""
        return ("rule", self.priority, self.source, self.destination, self.table, self.suppress)

    def command(self, verb: str) -> str:
        """The `ip` command that does the same; `verb` is `add` or `del`."""
        return f"ip{' -6' if family(self.source or self.destination) == 6 else ''} rule {verb} {self}"

    def __str__(self) -> str:
        to = f" to {self.destination}" if self.destination else ""
        suppress = f" suppress_prefixlength {self.suppress}" if self.suppress >= 0 else ""
        return f"from {self.source or 'all'}{to} table {self.table}{suppress} priority {self.priority}"


class Step(Value):
    """One change: `add`, `del`, or `replace`, which gives an object that is there another protocol.

    `protocol` is that of the object after an addition and before a removal; `before` that of an object before it is
    replaced. The text is the command that does the same, but for the agent's own protocol number.
    """

    verb: str
    item: Item
    protocol: int | None = OURS
    before: int | None = OURS

    def __str__(self) -> str:
        command = self.item.command(self.verb)
        if self.verb != "replace" and self.protocol == OURS:
            return command
        word = "protocol" if isinstance(self.item, Rule) else "proto"
        return command if self.protocol is None else f"{command} {word} {self.protocol}"

    def undo(self) -> Step:
        """The step that reverses this one."""
        if self.verb == "replace":
            return Step("replace", self.item, self.before, self.protocol)
        return Step("del" if self.verb == "add" else "add", self.item, self.protocol)


class Seen(Value):
    """One object on the node. `protocol` is None where the kernel keeps none; `extra`: what items have no field for."""

    item: Item
    protocol: int | None = None
    extra: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        """The item's identity, and more where the kernel treats the object as another one."""
        item, extra = self.item, self.extra
        if isinstance(item, Rule) and (extra or self.protocol not in KEPT):
            return (*item.identity, *extra, self.protocol)
        return (*item.identity, *(word for word in extra if word.startswith("tos "))) if extra else item.identity

    @property
    def version(self) -> int:
        """As `version_of` the item; it is known of a rule without an address too."""
        return 6 if "inet6" in self.extra else version_of(self.item)

    def __str__(self) -> str:
        proto = f" proto {self.protocol}" if self.protocol is not None and not isinstance(self.item, TableName) else ""
        return " ".join((str(self.item) + proto, *self.extra))


class Link(Value):
    """A network device."""

    index: int
    name: str
    mac: str = ""
    up: bool = True
    #: Alternative names (`ip link property add dev eth1 altname enp0s6`), which every tool takes for the name.
    alternatives: tuple[str, ...] = ()
    #: False where IPv6 is disabled on the device, or on the whole node.
    ipv6: bool = True
    #: What the kernel calls a device of its own ("bridge", "veth", "tun"); empty for a network card.
    kind: str = ""
    #: The index of the bridge, bond, team or VRF that it is a port of; 0 for none.
    master: int = 0
    #: The index of the device on which it is stacked, as a VLAN or a macvlan is; 0 for none in this namespace.
    lower: int = 0


class Observed(Value):
    """What was on the node at one moment. `names`: True if a table's name could be written here."""

    links: tuple[Link, ...] = ()
    seen: tuple[Seen, ...] = ()
    names: bool = True
    #: The tables of which all routes were read; None for all tables.
    tables: frozenset[int] | None = None

    def unread(self, tables: Collection[int]) -> frozenset[int]:
        """Those of these tables of which not all routes were read."""
        return frozenset() if self.tables is None else frozenset(tables) - self.tables

    def link(self, name: str) -> Link | None:
        """The link with this name, or else with this alternative name."""
        for link in self.links:
            if link.name == name:
                return link
        for link in self.links:
            if name in link.alternatives:
                return link
        return None

    def keeps_tags(self, kind: type) -> bool:
        """True if this kernel keeps a protocol on this kind of object: then some object of the kind shows one."""
        return any(seen.protocol is not None for seen in self.seen if isinstance(seen.item, kind))

    def device_of(self, mac: str) -> Link | None:
        """The link with this MAC (lower case, with colons), or None.

        A bridge or bond has the MAC of a port, and its packets; a VLAN or ipvlan has the MAC of the device below it. A
        network card comes before a device of the kernel's own.
        """
        same = [link for link in self.links if link.mac == mac]
        if len(same) > 1:
            indexes = {link.index for link in same}
            same.sort(key=lambda link: (link.master in indexes, link.lower in indexes, bool(link.kind)))
        return same[0] if same else None

    def over(self, link: Link) -> Link | None:
        """The bridge, bond or team that gets the packets of this link, which is its port; None for none.

        A port of a VRF keeps its own.
        """
        master = next((each for each in self.links if each.index == link.master), None) if link.master else None
        return master if master and master.kind != "vrf" else None


class Conflict(Value):
    """A foreign object stands where an item should be, or, with `rule`, the whole table is another program's."""

    item: Item
    seen: Seen
    #: The foreign rule that leads every packet into the item's table.
    rule: Seen | None = None

    @property
    def what(self) -> str:
        """What is in the way of what."""
        if not isinstance(self.item, Route):
            return f"{self.item}: a foreign object is there: {self.seen}"
        used = f", and another program uses it: {self.rule}" if self.rule else ""
        return f"table {self.item.table} holds a foreign route: {self.seen}{used}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.rule:
            return "choose another table"
        if self.seen.item == self.item and not self.seen.extra:
            return "ec2ident-agent adopt takes it over, if it is what you want; otherwise remove it"
        return "remove it, or choose another table" if isinstance(self.item, Route) else "remove it"

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"


class Difference(Value):
    """What is missing, what is there, what is too much, what is in the way; and the steps from here to there.

    `unnamed` are the tables with a name that cannot be written on this node; routing does not need the names.
    `foreign` are other programs' routes in the desired items' tables, which are not in the way of any item.
    """

    steps: tuple[Step, ...] = ()
    present: tuple[Item, ...] = ()
    missing: tuple[Item, ...] = ()
    leftover: tuple[Item, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    unnamed: tuple[TableName, ...] = ()
    foreign: tuple[Seen, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.conflicts)


def owner_test(observed: Observed, owned: Iterable[Item]) -> Callable[[Seen], bool]:
    """A function that tells whether an object is owned: the journal's items (`owned`) name it, and it has the agent's
    protocol number, or none where the kernel keeps none.

    The number alone is not enough: an agent with another state directory adds objects with the same number. An object
    with an attribute that no item has a field for is foreign, whatever its number is.
    """
    tagless = {kind for kind in (Address, Route, Rule) if not observed.keeps_tags(kind)}
    journal = frozenset(item.identity for item in owned)

    def is_owned(seen: Seen) -> bool:
        tagged = seen.protocol == OURS or (seen.protocol is None and type(seen.item) in tagless)
        return tagged and not seen.extra and seen.item.identity in journal

    return is_owned


def stands_for(item: Item, seen: Seen) -> bool:
    """True if the object equals the item and has the agent's number: it is as good as added, whatever journal names it.

    So `apply` enters it in the journal, also after the journal was lost. A table's name may be in any file.
    """
    return seen.item == item and not seen.extra and (seen.protocol == OURS or isinstance(item, TableName))


def diff(
    desired: Sequence[Item],
    observed: Observed,
    is_owned: Callable[[Seen], bool],
    retire: Callable[[Seen], bool] = lambda _: True,
    tables: Collection[int] = (),
) -> Difference:
    """The steps from what is there to what is desired: additions in order of rank, then removals in reverse.

    `tables` are those that the agent has had routes in. An object is removed only if `is_owned` and `retire` are true
    of it. An object that its successor would conflict with (another gateway, another label, a rule's other destination)
    is removed directly before it.
    """
    there = {seen.identity: seen for seen in observed.seen}
    wanted = sorted({item.identity: item for item in desired}.items(), key=lambda pair: pair[1].rank)
    present, missing, steps, unnamed = [], [], [], []
    conflicts, foreign = _strangers([item for _, item in wanted], observed, is_owned, tables)
    for identity, item in wanted:
        # Desired items are taken out of `there`, so that leftovers remain at the end.
        found = there.pop(identity, None)
        if found is None and isinstance(item, TableName) and not observed.names:
            unnamed.append(item)
        elif found is None:
            missing.append(item)
            steps.append(Step("add", item))
        elif stands_for(item, found) or (found.item == item and is_owned(found)):
            present.append(item)
        elif is_owned(found):
            missing.append(item)
            steps += [Step("del", found.item), Step("add", item)]
        elif not isinstance(item, Route):
            # A foreign route in an item's place is among the conflicts already.
            conflicts.append(Conflict(item, found))
    extra = [seen for seen in there.values() if is_owned(seen) and retire(seen)]
    # Backwards within a rank too, so that undoing adds them in the order in which they were.
    leftover = tuple(seen.item for seen in sorted(extra, key=lambda seen: seen.item.rank)[::-1])
    steps = _making_room(steps, leftover)
    rest = (leftover, tuple(conflicts), tuple(unnamed), tuple(foreign))
    return Difference(tuple(steps), tuple(present), tuple(missing), *rest)


def _making_room(steps: Sequence[Step], leftover: Sequence[Item]) -> list[Step]:
    """The steps, then the removals; but a rule goes directly before a rule that differs in its destination alone.

    The kernel treats a new rule without a destination as the same as an existing rule with any (fib4_rule_compare). So
    the old rule goes first, whichever of the two has no destination, since undoing adds them in the other order.
    """
    going = dict.fromkeys(leftover)
    places: dict[Identity, list[Item]] = {}
    for item in leftover:
        if isinstance(item, Rule):
            places.setdefault(_place(item), []).append(item)
    found: list[Step] = []
    for step in steps:
        for old in places.pop(_place(step.item), ()) if places and isinstance(step.item, Rule) else ():
            found.append(Step("del", old))
            del going[old]
        found.append(step)
    return [*found, *(Step("del", item) for item in going)]


def _place(rule: Rule) -> Identity:
    return (rule.priority, rule.source, rule.table, rule.suppress)


def _strangers(
    wanted: Sequence[Item], observed: Observed, is_owned: Callable[[Seen], bool], had: Collection[int]
) -> tuple[list[Conflict], list[Seen]]:
    """Foreign routes in the way of a desired one, and foreign routes beside them in the same tables.

    A route is in the way if it has the same destination and would come first, or equal. A table is another program's if
    that program leads every packet into it: a default route there would take them all. And a foreign name, equal to a
    desired one, of another table is in the way: rules would be shown, and typed, with the wrong table.
    """
    mine: dict[int, dict[str, Route]] = {}
    for item in wanted:
        if isinstance(item, Route):
            mine.setdefault(item.table, {})[item.destination] = item
    names = {item.name: item for item in wanted if isinstance(item, TableName)}
    conflicts: list[Conflict] = []
    beside: list[Seen] = []
    ours = set(had)
    for seen in observed.seen:
        other = seen.item
        if isinstance(other, Route) and other.table in mine:
            route = mine[other.table].get(other.destination)
            if is_owned(seen) or (route and stands_for(route, seen)):
                ours.add(other.table)
            elif route and other.metric <= route.metric and not any(each.startswith("tos ") for each in seen.extra):
                conflicts.append(Conflict(route, seen))
            else:
                beside.append(seen)
        elif isinstance(other, TableName) and other.name in names and other.number != names[other.name].number:
            conflicts += [] if is_owned(seen) else [Conflict(names[other.name], seen)]
    conflicts += _used_by_others({table: mine[table] for table in mine if table not in ours}, observed, beside)
    return conflicts, beside


def _used_by_others(
    tables: Mapping[int, Mapping[str, Route]], observed: Observed, foreign: Iterable[Seen]
) -> Iterator[Conflict]:
    """Tables with a route by another interface, and with a foreign rule for all packets that leads there."""
    rules = {seen.item.table: seen for seen in observed.seen if isinstance(seen.item, Rule) and _for_all(seen)}
    told = set()
    for seen in foreign if tables else ():
        route = seen.item
        assert isinstance(route, Route)
        first = next(iter(tables.get(route.table, {}).values()), None)
        if first and route.table in rules and route.device not in ("", first.device) and route.table not in told:
            told.add(route.table)
            yield Conflict(first, seen, rules[route.table])


def _for_all(seen: Seen) -> bool:
    """True for a rule that selects all packets, or all but some, as a VPN's `not fwmark` does."""
    assert isinstance(seen.item, Rule)
    every = not seen.item.source and not seen.item.destination
    return every and ("not" in seen.extra or seen.extra in ((), ("inet6",)))


def shadows(items: Iterable[Item], observed: Observed, protocols: Sequence[int | None] = KEPT) -> dict[Item, Seen]:
    """For each rule that cannot be removed without removing another rule in its place, that other rule.

    A removal is a pattern: a selector that it does not name matches anything (fib_nl_delrule), and the first match is
    removed. So an earlier rule that is alike but has one selector more would be removed instead. A removal names its
    protocol; `protocols` are those with which a rule may match, and 0 matches any.
    """
    alike: dict[Identity, list[Seen]] = {}
    for seen in observed.seen:
        if isinstance(seen.item, Rule) and (seen.protocol in protocols or 0 in protocols):
            alike.setdefault((seen.item.table, seen.item.priority, seen.item.source), []).append(seen)
    found: dict[Item, Seen] = {}
    for item in items:
        if isinstance(item, Rule):
            matches = (seen for seen in alike.get((item.table, item.priority, item.source), ()) if _matches(item, seen))
            first = next(matches, None)
            if first is not None and (first.item != item or first.extra):
                found[item] = first
    return found


def _matches(item: Rule, seen: Seen) -> bool:
    assert isinstance(seen.item, Rule)
    return item.destination in ("", seen.item.destination) and item.suppress in (-1, seen.item.suppress)
