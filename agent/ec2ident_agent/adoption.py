"""Objects of another program that equal what the agent wants: how they become the agent's without a gap. Pure.

The kernel replaces a route and an address in place, so these only get the agent's protocol number. A rule's protocol is
part of what it is, so the agent's rule is added before the other one is deleted. An address's label cannot be replaced:
while an unlabelled address is deleted and added again with its label, the loopback device has it too, so that it goes
on to answer.

An object that differs in any attribute is not taken over; `near_misses` names both values.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .inet import covers
from .items import KEPT, OURS, Address, Route, Rule, Seen, Step, TableName, family, shadows, stands_for
from .selectors import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .desired import Desired
    from .items import Item, Observed
    from .state.owned import Owner

LOOPBACK = "lo"
#: A rule or route is a near miss if it differs in at most so many attributes.
FEW = 2


class Adoption(Value):
    """One item, the objects of other programs that equal it, and the steps that make them the agent's."""

    item: Item
    theirs: tuple[Seen, ...]
    steps: tuple[Step, ...] = ()

    @property
    def loopback(self) -> Address | None:
        """The address on the loopback device that stands in for the item's while its label is made."""
        items = [step.item for step in self.steps]
        return next((item for item in items if isinstance(item, Address) and item.device == LOOPBACK), None)

    def __str__(self) -> str:
        return f"{self.item}: {', '.join(map(str, self.theirs))}"


class Mismatch(Value):
    """One attribute in which an object differs from an item."""

    attribute: str
    there: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.attribute} is {self.there or 'not set'}, not {self.wanted or 'set in the configuration'}"


class NearMiss(Value):
    """An object of another program that resembles an item and is not taken over, with the reason."""

    owner: Owner
    item: Item | None
    seen: Seen
    mismatches: tuple[Mismatch, ...] = ()
    why: str = ""

    @property
    def reason(self) -> str:
        """Why it is not taken over: both values of each attribute that differs."""
        return "; ".join(map(str, self.mismatches)) or self.why

    def __str__(self) -> str:
        return f"{shown(self.seen)}: not adopted: {self.reason}"


class Obstacle(Value):
    """Why objects that equal an item cannot be taken over without a gap."""

    item: Item
    seen: Seen
    why: str


def shown(seen: Seen) -> str:
    """An object as `ip` shows it, with its protocol."""
    if isinstance(seen.item, Rule):
        return describe(seen) + (f" proto {seen.protocol}" if seen.protocol is not None else "")
    return str(replace(seen, extra=tuple(map(readable, seen.extra))))


def adoptions(
    items: Iterable[Item], observed: Observed, is_owned: Callable[[Seen], bool]
) -> tuple[tuple[Adoption, ...], tuple[Obstacle, ...]]:
    """How each of these items that stands there as another program's object is taken over, and what cannot be."""
    places: dict[object, list[Seen]] = {}
    for seen in observed.seen:
        places.setdefault(_place(seen.item), []).append(seen)
    found: list[Adoption | Obstacle] = []
    rules: list[tuple[Rule, list[Seen]]] = []
    for item in items:
        there = places.get(_place(item), [])
        # With the agent's number an object is as good as added: `diff` enters it in the journal.
        others = (seen for seen in there if seen.protocol != OURS and not is_owned(seen))
        theirs = [seen for seen in others if not seen.extra and _equal(item, seen.item)]
        if not theirs or isinstance(item, TableName):
            continue
        if isinstance(item, Rule):
            rules.append((item, theirs))
        elif len(there) > 1:
            found.append(Obstacle(item, theirs[0], "there is more than one object in its place"))
        elif theirs[0].item == item:
            known = observed.keeps_tags(type(item))
            steps = (Step("replace", item, OURS, theirs[0].protocol),) if known else ()
            found.append(Adoption(item, tuple(theirs), steps))
        else:
            assert isinstance(item, Address)
            found.append(_relabelled(item, theirs[0], observed))
    found += _rules(rules, observed, is_owned)
    taken = tuple(each for each in found if isinstance(each, Adoption))
    return taken, tuple(each for each in found if isinstance(each, Obstacle))


def adopted(observed: Observed, adoptions: Iterable[Adoption]) -> Observed:
    """What will be on the node when these steps are done."""
    gone = {seen: each.item for each in adoptions for seen in each.theirs}
    stays = [seen for seen in observed.seen if seen not in gone]
    ours = {
        item: Seen(item, OURS if observed.keeps_tags(type(item)) else None) for item in dict.fromkeys(gone.values())
    }
    there = {seen.item for seen in stays if not seen.extra and seen.protocol in KEPT}
    return replace(observed, seen=(*stays, *(seen for item, seen in ours.items() if item not in there)))


def _place(item: Item) -> object:
    """What is in the same place: for a rule the same rule, for others what the kernel holds once."""
    return item if isinstance(item, Rule) else item.identity


def _equal(item: Item, there: Item) -> bool:
    """Equal, or an address that lacks its label alone."""
    return there == item or (isinstance(item, Address) and there == replace(item, label=""))


def _relabelled(item: Address, theirs: Seen, observed: Observed) -> Adoption | Obstacle:
    """The steps by which an unlabelled address gets its label. Never a moment without the address."""
    if not observed.keeps_tags(Address):
        return Obstacle(item, theirs, "this kernel cannot show which program's address it is while its label is made")
    host = item.address.partition("/")[0]
    elsewhere = [seen.item for seen in observed.seen if isinstance(seen.item, Address) and seen.item != theirs.item]
    second = any(each.address.partition("/")[0] == host for each in elsewhere)
    loopback = Address(LOOPBACK, item.address)
    link = observed.link(LOOPBACK)
    if not second and not (link and link.up):
        return Obstacle(item, theirs, f"{LOOPBACK} is down, so the address would be away while its label is made")
    steps = [Step("del", theirs.item, theirs.protocol), Step("add", item)]
    if not second:
        steps = [Step("add", loopback), *steps, Step("del", loopback)]
    return Adoption(item, (theirs,), tuple(steps))


def _rules(
    wanted: Sequence[tuple[Rule, list[Seen]]], observed: Observed, is_owned: Callable[[Seen], bool]
) -> Iterable[Adoption | Obstacle]:
    if not wanted:
        return
    if not observed.keeps_tags(Rule):
        yield from (Adoption(item, tuple(theirs)) for item, theirs in wanted)
        return
    taking = {seen for _, theirs in wanted for seen in theirs}
    others: dict[int, list[tuple[int, Seen]]] = {}
    place: dict[Seen, int] = {}
    for number, seen in enumerate(observed.seen):
        if seen in taking:
            place[seen] = number
        elif isinstance(seen.item, Rule):
            others.setdefault(seen.item.priority, []).append((number, seen))
    protocols = dict.fromkeys(seen.protocol for seen in taking)
    items = [item for item, _ in wanted]
    shadowed = {protocol: shadows(items, observed, (protocol,)) for protocol in protocols}
    for item, theirs in wanted:
        first = next((shadowed[seen.protocol][item] for seen in theirs if item in shadowed[seen.protocol]), None)
        if first is not None:
            yield Obstacle(item, theirs[0], f"the kernel would delete another rule in its place: {describe(first)}")
            continue
        start = min(place[seen] for seen in theirs)
        behind = (seen for number, seen in others.get(item.priority, ()) if number > start and not is_owned(seen))
        passed = next((seen for seen in behind if _overlap(item, seen)), None)
        if passed is not None:
            yield Obstacle(item, theirs[0], f"rule {describe(passed)} has the same priority, and would come first")
            continue
        add: tuple[Step, ...] = (Step("add", item),)
        if any(stands_for(item, seen) for seen in observed.seen):
            # A removal with protocol 0 removes the first of the equal rules: the agent's has to come last.
            add = (Step("del", item), *add) if any(not seen.protocol for seen in theirs) else ()
        yield Adoption(item, tuple(theirs), (*add, *(Step("del", item, seen.protocol) for seen in theirs)))


def _overlap(item: Rule, seen: Seen) -> bool:
    """True if both rules may match one packet, by their families and sources."""
    assert isinstance(seen.item, Rule)
    if seen.version != family(item.source or item.destination):
        return False
    there = seen.item.source
    return not there or not item.source or covers(there, item.source) or covers(item.source, there)


# -- what resembles an item -------------------------------------------------------------------------------------------


def near_misses(
    desired: Sequence[Desired],
    observed: Observed,
    is_owned: Callable[[Seen], bool],
    taken: Collection[Adoption],
    obstacles: Iterable[Obstacle],
) -> tuple[NearMiss, ...]:
    """The objects of other programs that resemble a wanted item, or stand in a table of the agent's."""
    found: list[NearMiss] = []
    owners = {item: each.owner for each in reversed(desired) for item in each.items}
    done = {seen for each in taken for seen in each.theirs}
    for each in obstacles:
        found.append(NearMiss(owners[each.item], each.item, each.seen, why=each.why))
        done.add(each.seen)
    groups: dict[object, list[Item]] = {}
    for item in owners:
        for key in _groups(item):
            groups.setdefault(key, []).append(item)
    for seen in observed.seen:
        if seen in done or is_owned(seen) or isinstance(seen.item, TableName):
            continue
        alike = [item for key in _groups(seen.item) for item in groups.get(key, ()) if type(item) is type(seen.item)]
        pairs = [(mismatches(item, seen), item) for item in alike]
        if not pairs:
            continue
        fewest, item = min(pairs, key=lambda pair: len(pair[0]))
        there = seen.item
        if isinstance(there, Route) and isinstance(item, Route) and there.destination != item.destination:
            found.append(NearMiss(owners[item], None, seen, why=f"no route of {owners[item]} leads there"))
        elif fewest and len(fewest) <= FEW:
            found.append(NearMiss(owners[item], item, seen, fewest))
    return tuple(found)


def _groups(item: Item) -> tuple[object, ...]:
    """Two items that share one of these may resemble each other."""
    if isinstance(item, Address):
        return (("host", item.address.partition("/")[0]),)
    if isinstance(item, Route):
        return (("table", item.table, family(item.destination)),)
    if isinstance(item, Rule):
        kernels = 253 <= item.table <= 255
        return (("source", item.source), *(() if kernels else (("rules of table", item.table),)))
    return ()


def mismatches(item: Item, seen: Seen) -> tuple[Mismatch, ...]:
    """Each attribute in which an object differs from an item of the same kind."""
    there = seen.item
    found = [
        Mismatch(_NAMES.get(name, name), _value(name, getattr(there, name)), _value(name, getattr(item, name)))
        for name in item._fields
        if getattr(there, name) != getattr(item, name)
    ]
    extra = [readable(word) for word in seen.extra if word != "inet6"]
    return (*found, *(Mismatch(*_halves(word), "") for word in extra))


_NAMES = {"suppress": "suppress_prefixlength", "source": "from", "destination": "to"}


def _value(name: str, value: object) -> str:
    return "" if value == -1 or (value == 0 and name in ("mtu", "advmss")) else str(value)


def _halves(word: str) -> tuple[str, str]:
    name, _, value = word.partition(" ")
    return name, value or "set"


def readable(word: str) -> str:
    """An extra attribute with its value as people write it, where that is an address or a number."""
    from ipaddress import ip_address

    name, _, value = word.partition(" ")
    try:
        octets = bytes.fromhex(value)
    except ValueError:
        return word
    if name in ("src", "from") and len(octets) in (4, 16):
        return f"{name} {ip_address(octets)}"
    if name in ("fwmark", "fwmask") and len(octets) == 4:
        from sys import byteorder

        return f"{name} {int.from_bytes(octets, byteorder):#x}"
    return word
