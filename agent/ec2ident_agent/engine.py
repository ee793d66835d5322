"""status, apply, revert: observe, compare, write down, do.

Own before you act, disown after you undid: the journal names an item before the kernel hears of it, and forgets it
after it is gone. So at any moment, also after SIGKILL, what is there and ours is known, and `revert` takes it all off.

Every function takes the kernel and the journal as arguments, and what is wanted as `Wish`es: a few items for an owner,
which is an interface's name or an overlay address.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .errors import ConfigError, ConflictError, KernelError
from .items import Address, Difference, Route, Rule, Step, TableName, diff, owner_test, shadows
from .kernel.protocol import Failure
from .state.journal import COMMAND, CONFIG, LEAVING, Record, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .items import Conflict, Item, Link, Observed, Seen
    from .kernel.protocol import Kernel
    from .state.journal import Journal

    Log = Callable[[str], object]

#: Steps between two looks at whether one failed: what comes after a failure is undone with the rest.
CHUNK = 64


class Wish(Value):
    """What one owner should have: nothing, for an interface that is not there. `origin` says who asked."""

    owner: str
    items: tuple[Item, ...]
    origin: str = CONFIG


class Report(Value):
    """What is wanted, what differs, and what has to wait for its link to come up.

    `refused` are the owners of which nothing is touched, because something of somebody else's is in their place.
    """

    wishes: tuple[Wish, ...]
    difference: Difference
    waiting: tuple[Item, ...] = ()
    refused: frozenset[str] = frozenset()

    @property
    def in_order(self) -> bool:
        return not self.difference and not self.waiting

    def owner(self, item: Item) -> str:
        """The first who asks for it; empty for none."""
        return next((wish.owner for wish in self.wishes for mine in wish.items if mine.identity == item.identity), "")

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why, a line for each conflict, and one for each owner who has a table in common with another."""
        told = [(self.owner(conflict.item), str(conflict)) for conflict in self.difference.conflicts]
        beside = sorted(self.refused - {owner for owner, _ in told})
        told += [(owner, "not touched either, since it has a table in common with it") for owner in beside]
        return tuple(f"{owner}: {why}" for owner, why in told)


def status(
    wishes: Sequence[Wish],
    observed: Observed,
    state: State,
    *,
    everything: bool = True,
    leave: Collection[Item] = (),
) -> Report:
    """What apply would do now. Pure.

    With `everything`, what commands asked for earlier counts as wished too, and whatever else is ours is too much.
    Without, only the owners named by `wishes` are looked at. What is in `leave` is neither laid nor removed. Of an
    owner in whose way something of somebody else's stands nothing is touched: half of a profile is none.
    """
    state = follow(state, observed)
    wishes = tuple(wishes)
    if everything:
        wishes += held(state, {wish.owner for wish in wishes})
    owners = {wish.owner for wish in wishes}
    _one_owner_a_table(wishes, [] if everything else [r for r in state.records if r.owner not in owners])
    waiting = [wish for wish in wishes if _waits(wish, observed)]
    stays = {item.identity for wish in waiting for item in wish.items} | {item.identity for item in leave}
    if not everything:
        stays |= {record.item.identity for record in state.records if record.owner not in owners}
    named = [record.item for record in state.records]
    known = frozenset() if everything else frozenset(item.identity for item in named)

    def retire(seen: Seen) -> bool:
        return seen.item.identity not in stays and (everything or seen.item.identity in known)

    def wanted(wishes: Iterable[Wish]) -> list[Item]:
        possible = (item for wish in wishes if wish not in waiting for item in _possible(wish, observed))
        return [item for item in possible if item not in leave]

    ours = owner_test(observed, named)
    difference = diff(wanted(wishes), observed, ours, retire)
    refused = _refused(wishes, state.records, difference.conflicts)
    if refused:
        stays |= {item.identity for wish in wishes if wish.owner in refused for item in wish.items}
        stays |= {record.item.identity for record in state.records if record.owner in refused}
        others = diff(wanted(wish for wish in wishes if wish.owner not in refused), observed, ours, retire)
        difference = replace(difference, steps=others.steps, leftover=others.leftover)
    return Report(wishes, difference, tuple(item for wish in waiting for item in wish.items), refused)


def apply(
    wishes: Sequence[Wish],
    kernel: Kernel,
    journal: Journal,
    log: Log,
    *,
    everything: bool = True,
    leave: Collection[Item] = (),
) -> Report:
    """Make it so, or leave everything as it was. The caller holds the lock. Returns what had been to do.

    Raises ConflictError when something of somebody else's is in the way of an owner: nothing of his was touched, and
    everything was done for the others. KernelError, with this call's own steps undone, when the kernel refuses one;
    ConfigError, with nothing done, when two owners claim one table.
    """
    before, observed = journal.read(), kernel.observe()
    report = status(wishes, observed, before, everything=everything, leave=leave)
    after = _owning(report, before, observed, everything)
    if report.difference.steps:
        journal.write(_between(before, after))
        try:
            _do(report.difference.steps, kernel, log)
        except KernelError as failed:
            if failed.clean:
                journal.write(before)
            raise
        _verify(wishes, kernel, after, everything, leave, report.refused)
    if journal.read() != after:
        journal.write(after)
    if report.refused:
        raise ConflictError("; ".join(report.refusals), report)
    return report


def revert(owners: Iterable[str] | None, kernel: Kernel, journal: Journal, log: Log) -> tuple[Step, ...]:
    """Take off what is ours: of these owners, or (None) all of it. The caller holds the lock. Returns what was done.

    Goes on past failures and names all of them in one KernelError; the journal keeps what is left.
    """
    state, observed = journal.read(), kernel.observe()
    steps = removals(owners, observed, state)
    shadowed = shadows((step.item for step in steps), observed)
    failures = [
        Failure(step, 17, f"the kernel would take away another rule first: {shadowed[step.item]}")
        for step in steps
        if step.item in shadowed
    ]
    safe = [step for step in steps if step.item not in shadowed]
    for step in safe:
        log(f"[#] {step}")
    failures += [failure for failure in kernel.do(safe) if not failure.gone]
    left = {failure.step.item.identity for failure in failures}
    stay = [record for record in state.records if not (owners is None or record.owner in owners)]
    stay += [
        record
        for record, now in zip(state.records, follow(state, observed).records)
        if record not in stay and now.item.identity in left
    ]
    if tuple(stay) != state.records:
        journal.write(State(tuple(stay)))
    if failures:
        raise KernelError("; ".join(map(str, failures)))
    return steps


def removals(owners: Iterable[str] | None, observed: Observed, state: State) -> tuple[Step, ...]:
    """What revert would do. Pure. A name is struck out even if it does not show: half a file may lie there.

    What another owner asks for too stays: a secondary address may be a source of its interface and an overlay as well.
    """
    named = follow(state, observed)
    mine = {record.item.identity for record in named.records if owners is None or record.owner in owners}
    if owners is not None:
        others = (record for record in named.records if record.owner not in owners and record.origin != LEAVING)
        mine -= {record.item.identity for record in others}

    def retire(seen: Seen) -> bool:
        return owners is None or seen.item.identity in mine

    steps = diff((), observed, owner_test(observed, [record.item for record in named.records]), retire).steps
    there = {step.item for step in steps}
    names = [record.item for record in named.records if isinstance(record.item, TableName)]
    return steps + tuple(
        Step("del", name) for name in dict.fromkeys(names) if name.identity in mine and name not in there
    )


def held(state: State, besides: Iterable[str] = ()) -> tuple[Wish, ...]:
    """What commands asked for: wished until it is reverted, whatever the configuration says or does not say."""
    items: dict[str, list[Item]] = {}
    for record in state.records:
        if record.origin == COMMAND and record.owner not in besides:
            items.setdefault(record.owner, []).append(record.item)
    return tuple(Wish(owner, tuple(mine), COMMAND) for owner, mine in items.items())


def follow(state: State, observed: Observed) -> State:
    """The state with each device under the name that it has now: a rename keeps the index, and all that hangs on it."""
    names = {link.index: link.name for link in observed.links}

    def now(record: Record) -> Record:
        name = names.get(record.index)
        if not name or not isinstance(record.item, (Address, Route)) or record.item.device == name:
            return record
        return replace(record, item=replace(record.item, device=name))

    return State(tuple(map(now, state.records)))


def _one_owner_a_table(wishes: Iterable[Wish], others: Iterable[Record]) -> None:
    """Two interfaces in one table would overwrite each other's default route. Raises ConfigError."""
    owners = {record.item.table: record.owner for record in others if isinstance(record.item, Route)}
    for wish in wishes:
        for item in wish.items:
            if isinstance(item, Route) and owners.setdefault(item.table, wish.owner) != wish.owner:
                both = f"{owners[item.table]} and by {wish.owner}"
                raise ConfigError(f"table {item.table} is claimed by {both}; choose another for one of them")


def _refused(wishes: Sequence[Wish], records: Sequence[Record], conflicts: Iterable[Conflict]) -> frozenset[str]:
    """Who asks for an item that is in conflict; and whoever has a table in common with them, old or new.

    Otherwise a rule would lead into what was refused, or a route take the place of one that is not to be touched.
    """
    items = {conflict.item.identity for conflict in conflicts}
    asked = [(wish.owner, item) for wish in wishes for item in wish.items]
    owners = {owner for owner, item in asked if item.identity in items}
    while owners:
        mine = [*asked, *((record.owner, record.item) for record in records)]
        tables = {item.table for owner, item in mine if owner in owners and isinstance(item, Route)}
        beside = {owner for owner, item in asked if isinstance(item, (Route, Rule)) and item.table in tables}
        if beside <= owners:
            break
        owners |= beside
    return frozenset(owners)


def _possible(wish: Wish, observed: Observed) -> tuple[Item, ...]:
    """The wish, or nothing while a link that it needs is not there: its rule alone would lead nowhere."""
    devices = {item.device for item in wish.items if isinstance(item, (Address, Route))}
    return wish.items if all(map(observed.link, devices)) else ()


def _waits(wish: Wish, observed: Observed) -> bool:
    """The kernel takes no route through a link that is down."""
    links = (_link(item, observed) for item in wish.items if isinstance(item, Route))
    return any(link and not link.up for link in links)


def _link(item: Item, observed: Observed) -> Link | None:
    return observed.link(getattr(item, "device", ""))


def _owning(report: Report, before: State, observed: Observed, everything: bool) -> State:
    """The journal as it is when the wishes are fulfilled, but those of the refused."""
    owners = {wish.owner for wish in report.wishes} - report.refused
    others = [
        record
        for record in before.records
        if record.owner in report.refused or not (everything or record.owner in owners)
    ]
    mine = [
        Record(wish.owner, wish.origin, link.index if link else 0, item)
        for wish in report.wishes
        for item in wish.items
        if wish.owner in owners and item not in report.difference.unnamed
        for link in [_link(item, observed)]
    ]
    return State(tuple(dict.fromkeys((*others, *mine))))


def _between(before: State, after: State) -> State:
    """What the journal says while the steps are done: all that may be there, but wished is only what is to come.

    After a crash the next apply then goes on to where this one was going.
    """
    coming = {record.item for record in after.records}
    leaving = (replace(record, origin=LEAVING) for record in before.records if record.item not in coming)
    return State((*after.records, *leaving))


def _do(steps: Sequence[Step], kernel: Kernel, log: Log) -> None:
    """All of the steps, or none. Raises KernelError with the first failure, and with what could not be undone."""
    done: list[Step] = []
    for start in range(0, len(steps), CHUNK):
        chunk = steps[start : start + CHUNK]
        for step in chunk:
            log(f"[#] {step}")
        try:
            failures = [failure for failure in kernel.do(chunk) if not failure.gone]
        except KernelError as broken:
            broken.clean = False  # How far it came nobody knows, so the journal goes on to name all of it.
            raise
        failed = {failure.step for failure in failures}
        done += [step for step in chunk if step not in failed]
        if failures:
            left = _undo(done, kernel, log)
            error = KernelError("; ".join([str(failures[0]), *left]))
            error.clean, error.item = not left, failures[0].step.item
            raise error


def _undo(done: Sequence[Step], kernel: Kernel, log: Log) -> list[str]:
    undo = [step.undo() for step in reversed(done)]
    for step in undo:
        log(f"[#] {step}")
    return [f"and could not undo: {failure}" for failure in kernel.do(undo) if not failure.gone]


def _verify(
    wishes: Sequence[Wish],
    kernel: Kernel,
    after: State,
    everything: bool,
    leave: Collection[Item],
    refused: frozenset[str],
) -> None:
    """Read back. A kernel may accept what it does not keep, and another manager may have been quicker."""
    left = status(wishes, kernel.observe(), after, everything=everything, leave=leave)
    if left.difference.steps or left.refused != refused:
        what = "; ".join([*left.refusals, *map(str, left.difference.steps)])
        error = KernelError(f"done, but reading back shows otherwise: still to do: {what}")
        error.clean = False
        raise error
