"""Compare what should be with what is, write down what will be owned, change the kernel, and read back.

The journal names an item before the kernel is asked to add it, and forgets an item after it is removed. So at any
moment, also after SIGKILL, every item that the agent may have added is known, and `revert` removes all of them.

`compare` and `removals` are pure. `apply` and `revert` take a kernel, a journal, and a `Look`; the caller holds the
journal's lock, and took the look under it.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .desired import Refusal, held
from .errors import ConfigError, KernelError
from .items import OURS, Address, Difference, Route, Rule, Step, TableName, diff, owner_test, shadows, version_of
from .state.owned import ADOPTING, LEAVING, Record, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .adoption import Adoption, NearMiss
    from .desired import Desired, InsideVpc, Unknown
    from .effect import Taken
    from .items import Conflict, Item, Link, Observed, Seen
    from .kernel.protocol import Kernel
    from .notes import Note
    from .state.journal import Journal
    from .state.owned import Owner

    #: Takes each step before it is attempted.
    Log = Callable[[Step], object]

#: Steps in one request to the kernel. When one fails, the ones after it in the same request are undone with the others.
CHUNK = 64

#: Why an owner is left alone that has nothing wrong itself.
BESIDE = "not changed either, since it shares a table with the one before"


class Look(Value):
    """One look at the node: what is there, and what the journal says is owned."""

    observed: Observed
    state: State


class Report(Value):
    """What should be on the node, how the node differs from it, and what could not be told or done.

    A report of `apply` says what there was to do, and it was done, but for `waiting`, `refusals`, `unknown` and
    `unnamed`. A report of a look says what `apply` would do.
    """

    desired: tuple[Desired, ...]
    difference: Difference
    #: Items that wait until their link comes up: the kernel accepts no route through a link that is down.
    waiting: tuple[Item, ...] = ()
    #: Owners with items that need an interface which is not on this node.
    without_device: tuple[Owner, ...] = ()
    #: Owners of which nothing is changed: a foreign object is in the place of one of their items.
    refused: frozenset[Owner] = frozenset()
    #: Owners with desired items that would harm another interface: their present items stay.
    harmful: tuple[Refusal, ...] = ()
    #: Owners of which the kernel refused a step: nothing of the owner in that family was changed.
    failed: tuple[Refusal, ...] = ()
    #: Packets that the kernel sends another way although everything is in place.
    taken: tuple[Taken, ...] = ()
    #: Owners with an unknown fact: their present items stay.
    unknown: tuple[Unknown, ...] = ()
    #: What is not the agent's to do and good to know.
    notes: tuple[Note, ...] = ()
    #: Overlay addresses that cannot be reached where they are configured.
    warnings: tuple[InsideVpc, ...] = ()
    #: Why a table's name could not be written; empty if all were. Routing does not need the names.
    unnamed: str = ""
    #: Objects of other programs that are taken over: only `adopt` begins this, and every later apply ends it.
    adopted: tuple[Adoption, ...] = ()
    #: What `adopt` does not take over, although it resembles an item.
    near_misses: tuple[NearMiss, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The changes, in order; each is, as text, the command that does the same."""
        return self.difference.steps

    @property
    def in_order(self) -> bool:
        """True if the node is as it should be, as far as that is known."""
        return self.applied and not (self.taken or self.absent)

    @property
    def applied(self) -> bool:
        """True if `apply` has nothing to do, and refuses nothing. What is absent or taken it cannot mend."""
        return not (self.difference or self.waiting or self.harmful)

    @property
    def absent(self) -> tuple[Owner, ...]:
        """The owners that have no interface on this node."""
        known = {each.owner for each in self.harmful} | {each.owner for each in self.unknown}
        empty = (each.owner for each in self.desired if not each.items and each.owner not in known)
        return tuple(dict.fromkeys((*empty, *self.without_device)))

    def owner(self, item: Item) -> Owner | None:
        """The first owner that wants the item, or one in its place; None if there is no such owner."""
        return next(
            (each.owner for each in self.desired for mine in each.items if mine.identity == item.identity), None
        )

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """One for each harmful owner, each conflict, each owner that shares a table with one in conflict, and each
        refusal of the kernel.
        """
        found = [Refusal(self.owner(conflict.item), str(conflict)) for conflict in self.difference.conflicts]
        beside = self.refused - {refusal.owner for refusal in found}
        return (*self.harmful, *found, *(Refusal(owner, BESIDE) for owner in sorted(beside, key=str)), *self.failed)


def compare(desired: Sequence[Desired], look: Look, *, everything: bool = True, leave: Collection[Item] = ()) -> Report:
    """What apply would do now. Pure. Raises ConfigError when two owners claim one routing table.

    With `everything`, items that commands hold are desired too, and all other owned objects are removed. Without it,
    only the owners in `desired` are compared. Items in `leave` are neither added nor removed. If a foreign object
    conflicts with any item of an owner, none of that owner's items is changed: a rule without its route would misroute.
    A further route in conflict is left out alone.
    """
    observed, state = look.observed, look.state.follow(look.observed)
    desired = tuple(desired)
    if everything:
        desired += held(state, {each.owner for each in desired})
    owners = {each.owner for each in desired}
    _one_owner_a_table(desired, [] if everything else [each for each in state.records if each.owner not in owners])
    parts = [(each, _possible(each, observed), _waits(each, observed)) for each in desired]
    waiting = [item for each, _, waits in parts if waits for item in each.items]
    stays = {item.identity for item in (*waiting, *leave)}
    if not everything:
        stays |= {record.item.identity for record in state.records if record.owner not in owners}
    named = [record.item for record in state.records]

    def retire(seen: Seen) -> bool:
        return seen.item.identity not in stays

    def wanted(besides: Collection[Owner] = ()) -> list[Item]:
        some = [items for each, items, waits in parts if not waits and each.owner not in besides]
        return [item for items in some for item in items if not leave or item not in leave]

    is_owned = owner_test(observed, named)
    taking: Sequence[Adoption] = ()
    if state.adopting:
        from .adoption import adopted, adoptions

        theirs = owner_test(observed, [record.item for record in state.records if record.origin != ADOPTING])
        taking, _ = adoptions([item for item in wanted() if item in state.adopting], observed, theirs)
        observed = adopted(observed, taking)
    tables = {item.table for item in named if isinstance(item, Route)}
    difference = diff(wanted(), observed, is_owned, retire, tables)
    refused = _refused(desired, state.records, difference.conflicts)
    if refused:
        stays |= {item.identity for each in desired if each.owner in refused for item in each.items}
        stays |= {record.item.identity for record in state.records if record.owner in refused}
        others = diff(wanted(refused), observed, is_owned, retire, tables)
        difference = replace(difference, steps=others.steps, leftover=others.leftover)
        untouched = {item for each in desired if each.owner in refused for item in each.items}
        taking = [each for each in taking if each.item not in untouched]
    if taking:
        steps = [step for each in taking for step in each.steps]
        difference = replace(difference, steps=(*steps, *difference.steps))
    apart = tuple(each.owner for each, items, _ in parts if each.items and not items)
    return Report(desired, difference, tuple(waiting), apart, refused, adopted=tuple(taking))


def apply(
    desired: Sequence[Desired],
    look: Look,
    kernel: Kernel,
    journal: Journal,
    log: Log,
    *,
    everything: bool = True,
    leave: Collection[Item] = (),
) -> Report:
    """Make it so for every owner that is not refused. Returns the report of what there was to do.

    When the kernel refuses a step, nothing is changed of that owner in that family, nor of what leads into the same
    tables (`together`); everything else is done, and the report names it (`failed`). Raises KernelError, with this
    call's own steps undone, when nothing else is left to do; ConfigError, with nothing changed, when two owners claim
    one routing table.
    """
    left, failed, before = frozenset(leave), tuple[Refusal, ...](), look.state
    while True:
        try:
            report = attempt(desired, look, kernel, journal, log, everything=everything, leave=left)
            return replace(report, failed=failed)
        except KernelError as wrong:
            harmed = together(wrong.item, desired, look) if wrong.item and wrong.clean else frozenset()
            if harmed <= left:
                raise
            report = compare(desired, look, everything=everything, leave=left)
            if not failed and harmed.issuperset(step.item for step in report.steps):
                journal.write(before)
                raise
            failed += _failed(wrong, harmed, report)
            left |= harmed
            state = journal.read()
            look = Look(kernel.observe(tables_of(_all_items(desired, state))), state)


def _failed(wrong: KernelError, harmed: Collection[Item], report: Report) -> tuple[Refusal, ...]:
    """One for each owner of what was left out."""
    assert wrong.item
    first, rest = report.owner(wrong.item), dict.fromkeys(map(report.owner, harmed))
    rest.pop(first, None)
    return (Refusal(first, str(wrong)), *(Refusal(owner, BESIDE) for owner in sorted(filter(None, rest), key=str)))


def together(item: Item, desired: Iterable[Desired], look: Look) -> frozenset[Item]:
    """The items that are changed together with this one, or not at all. Pure.

    All of its owner in its family, and all of the owners with a route or rule of that family for the same tables: a
    rule without its route would misroute.
    """
    state = look.state.follow(look.observed)
    pairs = [(each.owner, mine) for each in desired for mine in each.items]
    pairs += [(record.owner, record.item) for record in state.records]
    version = version_of(item)
    mine = [pair for pair in pairs if version_of(pair[1]) == version]
    owners = _beside({owner for owner, each in mine if each.identity == item.identity}, mine, mine)
    return frozenset(each for owner, each in mine if owner in owners)


def _all_items(desired: Iterable[Desired], state: State) -> list[Item]:
    return [*(item for each in desired for item in each.items), *(record.item for record in state.records)]


def attempt(
    desired: Sequence[Desired],
    look: Look,
    kernel: Kernel,
    journal: Journal,
    log: Log,
    *,
    everything: bool = True,
    leave: Collection[Item] = (),
) -> Report:
    """Make it so for every owner that is not refused. Returns the report of what there was to do.

    Raises KernelError when the kernel refuses a step: then what is changed `together` with its item is as it was, and
    what else was done is in the journal. The caller goes on with a new look. Raises ConfigError as `apply`.
    """
    before = look.state
    report = compare(desired, look, everything=everything, leave=leave)
    after = written = _owning(report, look, everything, leave)
    if report.steps:
        written = _between(before, after)
        journal.write(written)
        # Half of an adoption is not left: the other program's object would be gone.
        part = None if report.adopted else lambda item: together(item, report.desired, look)
        try:
            _do(report.steps, kernel, log, part)
        except KernelError as failed:
            if failed.clean and part is None:
                journal.write(before)
            raise
        now = kernel.observe(tables_of(_all_items(report.desired, written)))
        _verify(desired, Look(now, after), everything, leave, report.refused)
    if (written if report.steps else before) != after:
        journal.write(after)
    return report


def adopt(
    desired: Sequence[Desired], look: Look, kernel: Kernel, journal: Journal, log: Log, *, everything: bool = True
) -> Report:
    """Apply, and take over the objects of other programs that equal a wanted item, without a moment without them.

    The journal names what is being taken over before the kernel is asked: after a crash the next apply ends it, and a
    revert removes what is the agent's by then. Returns and raises as `apply`.
    """
    intending = adopting(desired, look, everything=everything)
    if intending.state != look.state:
        journal.write(intending.state)
    try:
        return apply(desired, intending, kernel, journal, log, everything=everything)
    except KernelError as failed:
        if failed.clean:
            journal.write(look.state)
        raise


def adopting(desired: Sequence[Desired], look: Look, *, everything: bool) -> Look:
    """The look with the intention to take over all that equals an item of an owner that is not refused. Pure."""
    from .adoption import adoptions

    observed, state = look.observed, look.state.follow(look.observed)
    if everything:
        desired = (*desired, *held(state, {each.owner for each in desired}))
    is_owned = owner_test(observed, [record.item for record in state.records])
    found, _ = adoptions([item for each in desired for item in each.items], observed, is_owned)
    owners = {item: each.owner for each in reversed(desired) for item in each.items}
    records = []
    for each in found:
        records.append(_record(owners[each.item], ADOPTING, each.item, observed))
        if each.loopback:
            records.append(_record(owners[each.item], LEAVING, each.loopback, observed))
    intending = Look(observed, State((*look.state.records, *records)))
    refused = compare(desired, intending, everything=everything).refused
    kept = (record for record in records if record.owner not in refused)
    return Look(observed, State((*look.state.records, *kept)))


def with_near_misses(report: Report, look: Look) -> Report:
    """The report of an adoption, with what resembles a wanted item and is not taken over. Pure."""
    from .adoption import Obstacle, adoptions, near_misses

    observed = look.observed
    is_owned = owner_test(observed, [record.item for record in look.state.follow(observed).records])
    items = [item for each in report.desired for item in each.items]
    found, obstacles = adoptions(items, observed, is_owned)
    done = {each.item for each in report.adopted}
    why = "nothing of its owner is taken over, since the owner is refused or its link is down"
    left = [Obstacle(each.item, seen, why) for each in found if each.item not in done for seen in each.theirs]
    obstacles = (*obstacles, *left)
    return replace(report, near_misses=near_misses(report.desired, observed, is_owned, report.adopted, obstacles))


def revert(
    owners: Collection[Owner] | None, look: Look, kernel: Kernel, journal: Journal, log: Log
) -> tuple[Step, ...]:
    """Remove the items of these owners, or (None) everything that the agent added. Returns the steps.

    A failure does not end it. At the end one KernelError names all failures; the journal keeps what is still there.
    """
    from .kernel.protocol import Failure

    state, observed = look.state, look.observed
    steps = removals(owners, look)
    shadowed = shadows((step.item for step in steps), observed)
    failures = [
        Failure(step, 17, f"the kernel would remove another rule first: {shadowed[step.item]}")
        for step in steps
        if step.item in shadowed
    ]
    safe = [step for step in steps if step.item not in shadowed]
    for step in safe:
        log(step)
    failures += [failure for failure in kernel.do(safe) if not failure.gone]
    left = {failure.step.item.identity for failure in failures}
    stay = [record for record in state.records if not (owners is None or record.owner in owners)]
    stay += [
        record
        for record, now in zip(state.records, state.follow(observed).records)
        if record not in stay and now.item.identity in left
    ]
    if tuple(stay) != state.records:
        journal.write(State(tuple(stay)))
    if failures:
        raise KernelError("; ".join(map(str, failures)), item=failures[0].step.item)
    return steps


def removals(owners: Collection[Owner] | None, look: Look) -> tuple[Step, ...]:
    """What revert would do. Pure.

    An item that another owner asks for too stays: a secondary address may be a source of its interface and an overlay
    as well. A table's name is removed even if it does not show, because a crash may have left half a file.
    """
    named = look.state.follow(look.observed)
    mine = {record.item.identity for record in named.records if owners is None or record.owner in owners}
    if owners is not None:
        others = (record for record in named.records if record.owner not in owners and record.origin != LEAVING)
        mine -= {record.item.identity for record in others}

    def retire(seen: Seen) -> bool:
        return owners is None or seen.item.identity in mine

    is_owned = owner_test(look.observed, [record.item for record in named.records])
    steps = diff((), look.observed, is_owned, retire).steps
    there = {step.item for step in steps}
    names = [record.item for record in named.records if isinstance(record.item, TableName)]
    return steps + tuple(
        Step("del", name) for name in dict.fromkeys(names) if name.identity in mine and name not in there
    )


def tables_of(items: Iterable[Item]) -> frozenset[int]:
    """The tables of these routes. Pure."""
    return frozenset(item.table for item in items if isinstance(item, Route))


def unlisted(look: Look) -> tuple[Seen, ...]:
    """Objects with the agent's number that the journal does not name: an agent with another state directory added them,
    or the journal was lost. Pure.
    """
    named = look.state.follow(look.observed).records
    is_owned = owner_test(look.observed, [record.item for record in named])
    return tuple(seen for seen in look.observed.seen if seen.protocol == OURS and seen.item.rank and not is_owned(seen))


def _one_owner_a_table(desired: Iterable[Desired], others: Iterable[Record]) -> None:
    """Two interfaces in one table would overwrite each other's default route. Raises ConfigError."""
    owners = {record.item.table: record.owner for record in others if isinstance(record.item, Route)}
    for each in desired:
        for item in each.items:
            if isinstance(item, Route) and owners.setdefault(item.table, each.owner) != each.owner:
                both = f"{owners[item.table]} and by {each.owner}"
                raise ConfigError(f"table {item.table} is claimed by {both}; choose another for one of them")


def _refused(desired: Sequence[Desired], records: Sequence[Record], conflicts: Iterable[Conflict]) -> frozenset[Owner]:
    """The owners of items in conflict, and the owners that share a table with them, now or before.

    Without the owners that share it a rule would lead into an empty table, or a route would replace one that must stay.
    """
    items = {each.item.identity for each in conflicts if not (isinstance(each.item, Route) and each.item.further)}
    if not items:
        return frozenset()
    asked = [(each.owner, item) for each in desired for item in each.items]
    having = [*asked, *((record.owner, record.item) for record in records)]
    return _beside({owner for owner, item in asked if item.identity in items}, having, asked)


def _beside(
    some: Collection[Owner], having: Collection[tuple[Owner, Item]], asked: Collection[tuple[Owner, Item]]
) -> frozenset[Owner]:
    """These owners and, step by step, all that ask for a route or rule of a table in which one of them has a route."""
    owners = frozenset(some)
    while owners:
        tables = tables_of(item for owner, item in having if owner in owners)
        beside = {owner for owner, item in asked if isinstance(item, (Route, Rule)) and item.table in tables}
        if beside <= owners:
            break
        owners |= beside
    return owners


def _possible(desired: Desired, observed: Observed) -> tuple[Item, ...]:
    """The items, or none while a link that they need is missing: a rule alone would lead nowhere."""
    devices = {item.device for item in desired.items if isinstance(item, (Address, Route))}
    return desired.items if all(map(observed.link, devices)) else ()


def _waits(desired: Desired, observed: Observed) -> bool:
    """True if a route needs a link that is down: the kernel would refuse it."""
    links = (_link(item, observed) for item in desired.items if isinstance(item, Route))
    return any(link and not link.up for link in links)


def _link(item: Item, observed: Observed) -> Link | None:
    return observed.link(getattr(item, "device", ""))


def _owning(report: Report, look: Look, everything: bool, leave: Collection[Item]) -> State:
    """The journal when the report's steps are done: the items of all owners that are not refused, and what is left."""
    owners, difference = {each.owner for each in report.desired} - report.refused, report.difference
    left_out = {*difference.unnamed, *(conflict.item for conflict in difference.conflicts)}
    others = []
    if report.refused or leave or not everything:
        others = [
            record
            for record, now in zip(look.state.records, look.state.follow(look.observed).records)
            if record.owner in report.refused or not (everything or record.owner in owners) or now.item in leave
        ]
    links: dict[str, int] = {}
    mine = []
    for each in report.desired:
        for item in each.items if each.owner in owners else ():
            if not left_out or item not in left_out:
                device = getattr(item, "device", "")
                if device not in links:
                    links[device] = _index(item, look.observed)
                mine.append(Record(each.owner, each.origin, links[device], item))
    # What is present and what is missing have an identity each: then no two records are of one item.
    if not others and len(mine) == len(difference.present) + len(difference.missing):
        return State(tuple(mine))
    return State(tuple(dict.fromkeys((*others, *mine))))


def _record(owner: Owner, origin: str, item: Item, observed: Observed) -> Record:
    return Record(owner, origin, _index(item, observed), item)


def _index(item: Item, observed: Observed) -> int:
    """The index of the item's device; 0 for none."""
    link = _link(item, observed)
    return link.index if link else 0


def _between(before: State, after: State) -> State:
    """The journal while the steps are done: everything that may be there, but only the new items are desired.

    After a crash the next apply then continues to the new state, and ends what is being taken over.
    """
    coming = {record.item for record in after.records}
    leaving = (replace(record, origin=LEAVING) for record in before.records if record.item not in coming)
    taking = (each for each in before.records if each.origin == ADOPTING and each.item in coming)
    return State(tuple(dict.fromkeys((*after.records, *leaving, *taking))))


def _do(
    steps: Sequence[Step], kernel: Kernel, log: Log, part: Callable[[Item], Collection[Item]] | None = None
) -> None:
    """All of the steps. Raises KernelError when one fails, with what could not be undone.

    Then none of the steps about the `part` of its item are done, and some of the others; without `part`, none at all.
    """
    done: list[Step] = []
    for start in range(0, len(steps), CHUNK):
        chunk = steps[start : start + CHUNK]
        for step in chunk:
            log(step)
        # If this raises, here or below, it is unknown which steps took effect: the journal goes on to name all of them.
        failures = [failure for failure in kernel.do(chunk) if not failure.gone]
        failed = {failure.step for failure in failures}
        done += [step for step in chunk if step not in failed]
        if failures:
            harmed = part(failures[0].step.item) if part else ()
            left = _undo([step for step in done if not harmed or step.item in harmed], kernel, log)
            raise KernelError("; ".join([str(failures[0]), *left]), item=failures[0].step.item, clean=not left)


def _undo(done: Sequence[Step], kernel: Kernel, log: Log) -> list[str]:
    undo = [step.undo() for step in reversed(done)]
    for step in undo:
        log(step)
    return [f"and could not undo: {failure}" for failure in kernel.do(undo) if not failure.gone]


def _verify(
    desired: Sequence[Desired], look: Look, everything: bool, leave: Collection[Item], refused: frozenset[Owner]
) -> None:
    """Compare what is there after the steps. The kernel may accept a setting and drop it, or another manager may have
    changed it since. Raises KernelError.
    """
    left = compare(desired, look, everything=everything, leave=leave)
    if left.steps or left.refused != refused:
        what = "; ".join(map(str, (*left.refusals, *left.steps)))
        raise KernelError(f"done, but reading back shows otherwise: still to do: {what}")
