"""Reconcile one node: compare it with the desired state, repair what differs, and slow down where that does not last.

A repair does what `apply` would do, with two differences. A failure for one owner does not block the others; that owner
is tried again later. And an item that another program deletes as fast as it is added rests between repairs, with a line
in the log. The clock and whatever else has an effect are arguments.
"""

from __future__ import annotations

from ec2ident.value import Value, replace
from ec2ident_agent import engine
from ec2ident_agent.desired import held, without
from ec2ident_agent.errors import AgentError, KernelError
from ec2ident_agent.items import OURS, Address, Route, Rule, TableName, version_of
from ec2ident_agent.state.suppressed import in_force

from . import event
from .backoff import Backoff, Debounce, FlapDamper, OnceLog
from .event import Program, WatchEvent
from .standing import OwnerStanding, standings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from ec2ident_agent.desired import Desired, DesiredState, Refusal, Unknown
    from ec2ident_agent.engine import Look, Report
    from ec2ident_agent.items import Item, Link, Observed, Step
    from ec2ident_agent.kernel.events import Heard
    from ec2ident_agent.kernel.protocol import Decision, Failure, Kernel, Query
    from ec2ident_agent.node import Node
    from ec2ident_agent.profile import Config
    from ec2ident_agent.state.owned import Owner

    #: The configuration that counts at this time, and what is wrong with the file.
    Follow = Callable[[float], tuple[Config, tuple[str, ...]]]
    #: Which program deletes each of these items, and what prevents it, as far as that is known. With each item stands
    #: the name of a program that was seen to delete it, or "".
    Blame = Callable[[Mapping[Item, str], Observed], Mapping[Item, tuple[str, str]]]
    #: Takes what watch saw or did.
    Tell = Callable[[WatchEvent], object]

#: Seconds to wait for another process's lock at one look; then the next look waits again.
LOCK = 5.0
#: Stands for what failed when no single item did.
NODE = ("the node",)
ITEMS = (TableName, Address, Route, Rule)
#: The kernel keeps so many characters of a program's name (TASK_COMM_LEN).
COMM = 15
#: Seconds for which a fact may be unknown before that is worth a line: a new interface gets its address and its place
#: in the metadata service one after the other.
NEW = 10.0


class Sight(Value):
    """What was desired and seen at one moment, and what there is to complain about."""

    state: DesiredState
    look: Look
    #: What is wrong with the configuration file.
    broken: tuple[str, ...] = ()

    @property
    def desired(self) -> tuple[Desired, ...]:
        """What the configuration asks for."""
        return self.state.desired

    @property
    def complaints(self) -> dict[str, str]:
        """What there is to complain about, and the owner of each; empty for the node."""
        return {**dict.fromkeys(self.broken, ""), **_of_owners(self.state.refusals)}

    @property
    def unknown(self) -> dict[str, str]:
        """Facts that are not known yet, and the owner of each."""
        absent = {f"{each}: its interface is not on this node": str(each) for each in self.state.absent}
        return {**_of_owners(self.state.unknown), **absent}

    @property
    def all(self) -> tuple[Desired, ...]:
        """What is desired, with what commands hold."""
        return (*self.desired, *held(self.look.state, {each.owner for each in self.desired}))

    def report(self, left: frozenset[Item]) -> Report:
        """What differs. Items in `left` do not count."""
        return engine.compare(self.desired, self.look, leave=left)

    def journalled(self, present: Sequence[Item]) -> bool:
        """True if the journal names all of these items; it does not after it was lost."""
        named = {record.item for record in self.look.state.follow(self.look.observed).records}
        return named.issuperset(present)

    def owner(self, item: Item) -> Owner | Item:
        """The owner that wants this item, or one in its place; else the item itself."""
        asked = ((each.owner, mine.identity) for each in self.all for mine in each.items)
        return next((owner for owner, identity in asked if identity == item.identity), item)

    def owner_name(self, item: Item) -> str:
        """The owner of this item as `status` shows it: the one that wants it, or else had it; empty if none did."""
        owner = self.owner(item)
        return self.was(item) if owner is item else str(owner)

    def was(self, item: Item) -> str:
        """The owner that the journal named for this item before it was removed; empty if it named none."""
        records = self.look.state.follow(self.look.observed).records
        return next((str(each.owner) for each in records if each.item.identity == item.identity), "")

    def beside(self, item: Item) -> frozenset[Item]:
        """This item, and what is changed together with it or not at all."""
        return engine.together(item, self.all, self.look) | {item}


class RecordingKernel:
    """A kernel that records what was added through it and not removed again, and the other way round."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.added: list[Item] = []
        self.removed: list[Item] = []

    def observe(self, tables: Collection[int] = ()) -> Observed:
        """What the kernel holds. Raises UnknownError."""
        return self.kernel.observe(tables)

    def observe_links(self) -> tuple[Link, ...]:
        """The links that the kernel has. Raises UnknownError."""
        return self.kernel.observe_links()

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        """The kernel's routing decision for each query. Raises UnknownError."""
        return self.kernel.lookup(queries)

    def routers(self, device: str, *, seek: bool) -> tuple[str, ...]:
        """The IPv6 routers on a link. Raises UnknownError."""
        return self.kernel.routers(device, seek=seek)

    def close(self) -> None:
        """The kernel stays open: this object did not open it."""

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Attempt every step; returns those that failed. Raises KernelError."""
        failures = self.kernel.do(steps)
        failed = {failure.step for failure in failures}
        for step in steps:
            if step in failed:
                continue
            if step.verb == "add":
                self.added.append(step.item)
                if step.item in self.removed:
                    self.removed.remove(step.item)
            elif step.item in self.added:
                self.added.remove(step.item)
            elif step.verb == "del":
                self.removed.append(step.item)
        return failures


class Reconciler:
    """One node under watch. `heard` takes what the kernel announced; `look` compares, repairs and logs what it did."""

    def __init__(self, node: Node, follow: Follow, tell: Tell, blame: Blame, clock: Callable[[], float]) -> None:
        self.node, self.follow, self.tell, self.blame, self.clock = node, follow, tell, blame, clock
        self.debounce = Debounce(clock())
        self.damper, self.backoff = FlapDamper(), Backoff()
        self.once, self.lasting = OnceLog(), OnceLog(NEW)
        #: One line for people: how the node is.
        self.state = "starting"
        #: The links by their index, and all desired items, as of the last look.
        self.links: dict[int, str] = {}
        self.items: frozenset[Item] = frozenset()
        #: What backs off, an owner and a family -> the items that wait with it.
        self.harmed: dict[Hashable, frozenset[Item]] = {}
        #: While something backs off: what differs when anything but the agent's objects has changed.
        self.mark: Hashable = None
        #: The programs that were seen to delete desired items.
        self.seen: dict[Item, Program] = {}
        #: What the kernel refuses -> the owner of the item.
        self.refusing: dict[str, str] = {}
        #: Devices that were down or away since the last repair: items that were lost with them count as no flap.
        self.down: frozenset[str] = frozenset()
        #: How each owner stood at the end of the last look; None if that look could not be completed.
        self.standings: tuple[OwnerStanding, ...] | None = None
        #: How often an item of an owner was lost and added again.
        self.repairs: dict[str, int] = {}
        self.looks, self.seconds, self.configuration_valid = 0, 0.0, True
        self._begun = False

    def heard(self, heard: Heard, name_of: Callable[[int], str]) -> None:
        """The kernel announced something."""
        if heard.changed:
            self.debounce.changed(self.clock())
        self.down |= heard.down & devices(self.items)
        # The program may have ended before its last deletion is read: then it has the name that it had just now.
        names = {program.process: program.name for program in self.seen.values()}
        for each in heard.deletions:
            if each.seen.item in self.items:
                name = names[each.sender] = name_of(each.sender) or names.get(each.sender, "")
                if name:
                    self.seen[each.seen.item] = Program(name, each.sender)

    def anew(self) -> None:
        """Try everything again now: the administrator asks for it."""
        self.damper.forget()
        self.backoff.keep(())
        self.debounce.at(self.clock())

    def look(self) -> None:
        """Compare and repair. An error is logged, and leads to another look later."""
        begun = self.clock()
        complaints, unknown = dict[str, str](), dict[str, str]()
        self.standings = None
        try:
            complaints, unknown = self._look(begun)
        except AgentError as wrong:
            self.backoff.failed(NODE, begun, str(wrong))
        reasons = self.backoff.reasons()
        self.refusing = {why: owner for why, owner in self.refusing.items() if why in reasons}
        complaints.update((why, self.refusing.get(why, "")) for why in reasons)
        for each in (*self.once.new(complaints, begun), *self.lasting.new(unknown, begun)):
            owner = complaints.get(each) or unknown.get(each, "")
            self.tell(WatchEvent(event.TROUBLE, each, loud=True, owner=owner))
        before, self.state = self.state, self._state((*complaints, *unknown), begun)
        if before != self.state:
            good = not (complaints or unknown or self.damper.resting(begun))
            self.tell(WatchEvent(event.STATE, state=self.state, in_order=good))
        ended = self.clock()
        self.looks, self.seconds = self.looks + 1, ended - begun
        self.debounce.looked(begun, ended)
        self.debounce.at(min(self.damper.next(begun), self.backoff.next(begun), self.lasting.next()))

    def _look(self, now: float) -> tuple[dict[str, str], dict[str, str]]:
        """Compare and repair; returns the complaints, and what is unknown. Raises AgentError."""
        sight = self._sight(now)
        left = self._left(sight, now)
        report = sight.report(left)
        if self._begun and not report.steps and sight.journalled(report.difference.present):
            self.backoff.keep(self.backoff.waiting(now, self.mark) - {NODE})
            self._stand(sight, report if not left else sight.report(frozenset()), left, frozenset())
            return {**sight.complaints, **_of_owners(report.refusals)}, sight.unknown
        with self.node.journal.lock(LOCK):
            # Another process may have changed something until now.
            sight = self._sight(now)
            # Before the repair, which replaces the journal's records.
            full = sight.report(frozenset())
            self._tell_drift(sight, full, self._left(sight, now))
            refusals, added = self._repair(sight, now)
        self._begun = True
        self._stand(sight, full, self._left(sight, now), added)
        return {**sight.complaints, **_of_owners(refusals)}, sight.unknown

    def _sight(self, now: float) -> Sight:
        config, broken = self.follow(now)
        self.configuration_valid = not broken
        survey = self.node.survey(config)
        look = survey.look
        suppressed = in_force(self.node.suppressed.read(), look.observed)
        state = without(survey.state, suppressed)
        sight = Sight(state, look, broken)
        self.links = {link.index: link.name for link in look.observed.links}
        items = frozenset(item for each in sight.all for item in each.items)
        if items != self.items:
            # Whatever the kernel refused was about other items.
            self.items = items
            self.backoff.keep({NODE})
        self.mark = _mark(look.observed) if self.backoff.reasons() else None
        self.down |= devices(self.items) - {link.name for link in look.observed.links if link.up}
        self.damper.keep(self.items)
        self.seen = {item: program for item, program in self.seen.items() if item in self.items}
        return sight

    def _repair(self, sight: Sight, now: float) -> tuple[tuple[Refusal, ...], frozenset[Item]]:
        """Repair what can be repaired; returns the refusals, and what was added. The caller holds the lock."""
        kernel, left = RecordingKernel(self.node.kernel), self._left(sight, now)
        refusals: tuple[Refusal, ...] = ()
        kept = set(self.backoff.waiting(now, self.mark) - {NODE})
        look = sight.look
        while True:
            try:
                refusals = self._apply(sight, look, kernel, left)
                break
            except KernelError as wrong:
                self.refusing[str(wrong)] = sight.owner_name(wrong.item) if wrong.item else ""
                what = (sight.owner(wrong.item), version_of(wrong.item)) if wrong.item else NODE
                self.mark = self.mark or _mark(sight.look.observed)
                self.backoff.failed(what, now, str(wrong), self.mark if wrong.item else None)
                kept.add(what)
                harmed = sight.beside(wrong.item) if wrong.item else frozenset()
                self.harmed[what] = harmed
                if harmed <= left:
                    break
                left |= harmed
                look = self.node.look()
        self.backoff.keep(kept)
        self.harmed = {what: items for what, items in self.harmed.items() if what in kept}
        owned = {record.item for record in sight.look.state.records}
        self._tell_done(sight, kernel, owned)
        again = [item for item in kernel.added if item in owned and not self.down & devices([item])]
        self._count(sight, again, now)
        self.down -= {link.name for link in sight.look.observed.links if link.up}
        return refusals, frozenset(kernel.added)

    def _apply(self, sight: Sight, look: Look, kernel: Kernel, left: frozenset[Item]) -> tuple[Refusal, ...]:
        """Apply everything but what is `left` and what is refused; returns the refusals. Raises KernelError.

        The steps are told when they are done. The steps of an attempt that fails as the last one did are not told.
        """
        steps: list[Step] = []
        try:
            report = engine.attempt(sight.desired, look, kernel, self.node.journal, steps.append, leave=left)
        except KernelError as wrong:
            steps = [] if self.once.knows(str(wrong)) else steps
            raise
        finally:
            for step in steps:
                self.tell(WatchEvent(event.STEP, str(step), owner=sight.owner_name(step.item), item=str(step.item)))
        return report.refusals

    def _left(self, sight: Sight, now: float) -> frozenset[Item]:
        """The items that are neither added nor removed at this look."""
        waiting, resting = self.backoff.waiting(now, self.mark), self.damper.resting(now)
        harmed = (item for what in waiting for item in self.harmed.get(what, ()))
        return frozenset(item for item in (*harmed, *resting) if isinstance(item, ITEMS))

    # -- telling --

    def _tell_drift(self, sight: Sight, report: Report, left: frozenset[Item]) -> None:
        """Tell what the journal names and is not there, but for what is left alone."""
        owned = {record.item for record in sight.look.state.records}
        for item in report.difference.missing:
            if item in owned and item not in left:
                self.tell(self._about(event.DRIFT, sight, item))

    def _tell_done(self, sight: Sight, kernel: RecordingKernel, owned: Collection[Item]) -> None:
        """Tell what was added and removed, and count what was lost and added again."""
        for item in kernel.added:
            self.tell(self._about(event.REPAIRED if item in owned else event.ADDED, sight, item))
            if item in owned:
                owner = sight.owner_name(item)
                self.repairs[owner] = self.repairs.get(owner, 0) + 1
        for item in kernel.removed:
            self.tell(WatchEvent(event.REMOVED, owner=sight.was(item), item=str(item)))

    def _about(self, kind: str, sight: Sight, item: Item) -> WatchEvent:
        return WatchEvent(kind, owner=sight.owner_name(item), item=str(item), program=self.seen.get(item))

    def _stand(self, sight: Sight, report: Report, left: frozenset[Item], added: frozenset[Item]) -> None:
        """Keep how each owner stands. `report` leaves nothing out; what was `added` since is not missing any more."""
        difference = report.difference
        in_the_way = (each.item for each in difference.conflicts)
        missing = frozenset((*difference.missing, *report.waiting, *in_the_way)) - added
        whole = replace(report, harmful=sight.state.refusals, unknown=sight.state.unknown)
        self.standings = standings(whole, missing, left)
        for each in self.standings:
            self.repairs.setdefault(each.owner, 0)

    # -- flapping --

    def _count(self, sight: Sight, repaired: Sequence[Item], now: float) -> None:
        """Count what was repaired, and name the program that deletes it when that happens too often."""
        loud = [item for item in repaired if self.damper.repaired(item, now)]
        resting = self.damper.resting(now)
        again = f"deleted again {FlapDamper.LIMIT} times within"
        rests = f"so repairs wait for {FlapDamper.FIRST:g}, then 2, 4 … {FlapDamper.LONGEST:g} s"
        fast, slow = [item for item in loud if item in resting], [item for item in loud if item not in resting]
        self._accuse(event.GIVEN_UP, f"{again} {FlapDamper.WINDOW:g} s, {rests}", fast, sight)
        self._accuse(event.TROUBLE, f"{again} {FlapDamper.HOUR:g} s", slow, sight)

    def _accuse(self, kind: str, what: str, items: Sequence[Item], sight: Sight) -> None:
        """One line for each program, and an event for each item."""
        if not items:
            return
        names = {item: self.seen[item].name if item in self.seen else "" for item in items}
        known = self.blame(names, sight.look.observed)
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(_culprit(self.seen.get(item), known.get(item)), []).append(item)
        for culprit, mine in groups.items():
            more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
            text = f"{what}: {mine[0]}{more}: {culprit}"
            for item in mine:
                told = replace(self._about(kind, sight, item), prevent=known.get(item, ("", ""))[1])
                self.tell(replace(told, text=text, loud=True) if item == mine[0] else told)

    def _state(self, complaints: Sequence[str], now: float) -> str:
        resting = len(self.damper.resting(now))
        parts = [f"{len(self.items)} item{'s' * (len(self.items) != 1)}"]
        parts += [f"{resting} of them deleted again and again, so the next repair waits"] if resting else []
        parts += complaints[:1] or ([] if resting else ["in order"])
        return ": ".join(parts)


def _of_owners(some: Iterable[Refusal | Unknown]) -> dict[str, str]:
    """What each says, and its owner."""
    return {str(each): str(each.owner or "") for each in some}


def _mark(observed: Observed) -> int:
    """A number that differs when links or objects of other programs do: then the kernel may accept what it refused."""
    return hash((observed.links, *(seen for seen in observed.seen if seen.protocol != OURS)))


def devices(items: Iterable[Item]) -> frozenset[str]:
    """The devices of these addresses and routes."""
    return frozenset(item.device for item in items if isinstance(item, (Address, Route)))


def _culprit(program: Program | None, known: tuple[str, str] | None) -> str:
    """Which program deleted it, as observed or as likely, and how to prevent it."""
    likely, prevent = known or ("", "")
    if not program:
        by = f"by {likely}, most likely" if likely else "by no program that is known for it; ip monitor shows when"
    elif not likely or likely[:COMM] == program.name:
        by = f"by {program}"
    else:
        by = f"by {program}; {likely} is known for it"
    return f"{by}. Prevent it: {prevent}" if prevent else by
