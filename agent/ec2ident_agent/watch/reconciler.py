"""Reconcile one node: compare it with the desired state, repair what differs, and slow down where that does not last.

A repair does what `apply` would do, with two differences. A failure for one owner does not block the others; that owner
is tried again later. And an item that another program deletes as fast as it is added rests between repairs, with a line
in the log. The clock and whatever else has an effect are arguments.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent import engine
from ec2ident_agent.desired import held, without
from ec2ident_agent.errors import AgentError, KernelError
from ec2ident_agent.items import OURS, Address, Route, Rule, TableName, version_of
from ec2ident_agent.state.suppressed import in_force

from .backoff import Backoff, Debounce, FlapDamper, OnceLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from ec2ident_agent.desired import Desired
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
    #: A line for people, and whether it should stand out.
    Log = Callable[[str, bool], object]

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


class Program(Value):
    """A program that asked the kernel to delete one of our items: its name, and the number of its process."""

    name: str
    process: int

    def __str__(self) -> str:
        return f"{self.name} (process {self.process})"


class Sight(Value):
    """What was desired and seen at one moment, and what there is to complain about."""

    desired: tuple[Desired, ...]
    look: Look
    complaints: tuple[str, ...] = ()
    #: Facts that are not known yet.
    unknown: tuple[str, ...] = ()

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

    def beside(self, item: Item) -> frozenset[Item]:
        """This item, and what is changed together with it or not at all."""
        return engine.together(item, self.all, self.look) | {item}


class RecordingKernel:
    """A kernel that records what was added through it and not removed again."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.added: list[Item] = []

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
            if step not in failed and step.verb == "add":
                self.added.append(step.item)
            elif step not in failed and step.item in self.added:
                self.added.remove(step.item)
        return failures


class Reconciler:
    """One node under watch. `heard` takes what the kernel announced; `look` compares, repairs and logs what it did."""

    def __init__(self, node: Node, follow: Follow, log: Log, blame: Blame, clock: Callable[[], float]) -> None:
        self.node, self.follow, self.log, self.blame, self.clock = node, follow, log, blame, clock
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
        #: Devices that were down or away since the last repair: items that were lost with them count as no flap.
        self.down: frozenset[str] = frozenset()
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
        complaints, unknown = tuple[str, ...](), tuple[str, ...]()
        try:
            complaints, unknown = self._look(begun)
        except AgentError as wrong:
            self.backoff.failed(NODE, begun, str(wrong))
        complaints += self.backoff.reasons()
        for each in (*self.once.new(complaints, begun), *self.lasting.new(unknown, begun)):
            self.log(f"ec2ident-agent: {each}", True)
        self.state = self._state((*complaints, *unknown), begun)
        self.debounce.looked(begun, self.clock())
        self.debounce.at(min(self.damper.next(begun), self.backoff.next(begun), self.lasting.next()))

    def _look(self, now: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Compare and repair; returns the complaints, and what is unknown. Raises AgentError."""
        sight = self._sight(now)
        report = sight.report(self._left(sight, now))
        if self._begun and not report.steps and sight.journalled(report.difference.present):
            self.backoff.keep(self.backoff.waiting(now, self.mark) - {NODE})
            return (*sight.complaints, *map(str, report.refusals)), sight.unknown
        with self.node.journal.lock(LOCK):
            # Another process may have changed something until now.
            sight = self._sight(now)
            refusals = self._repair(sight, now)
        self._begun = True
        return (*sight.complaints, *refusals), sight.unknown

    def _sight(self, now: float) -> Sight:
        config, complaints = self.follow(now)
        survey = self.node.survey(config)
        look = survey.look
        suppressed = in_force(self.node.suppressed.read(), look.observed)
        state = without(survey.state, suppressed)
        absent = (each for each in survey.state.absent if each not in suppressed)
        unknown = (*map(str, state.unknown), *(f"{each}: its interface is not on this node" for each in absent))
        sight = Sight(state.desired, look, (*complaints, *map(str, state.refusals)), unknown)
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

    def _repair(self, sight: Sight, now: float) -> tuple[str, ...]:
        """Repair what can be repaired; returns the refusals. The caller holds the lock."""
        kernel, left, refusals = RecordingKernel(self.node.kernel), self._left(sight, now), tuple[str, ...]()
        kept = set(self.backoff.waiting(now, self.mark) - {NODE})
        look = sight.look
        while True:
            try:
                refusals = self._apply(sight, look, kernel, left)
                break
            except KernelError as wrong:
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
        again = [item for item in kernel.added if item in owned and not self.down & devices([item])]
        self._count(again, sight.look.observed, now)
        self.down -= {link.name for link in sight.look.observed.links if link.up}
        return refusals

    def _apply(self, sight: Sight, look: Look, kernel: Kernel, left: frozenset[Item]) -> tuple[str, ...]:
        """Apply everything but what is `left` and what is refused; returns the refusals. Raises KernelError.

        The steps are logged when they are done. The steps of an attempt that fails as the last one did are not logged.
        """
        steps: list[str] = []
        try:
            report = engine.attempt(sight.desired, look, kernel, self.node.journal, steps.append, leave=left)
        except KernelError as wrong:
            steps = [] if self.once.knows(str(wrong)) else steps
            raise
        finally:
            for step in steps:
                self.log(step, False)
        return tuple(map(str, report.refusals))

    def _left(self, sight: Sight, now: float) -> frozenset[Item]:
        """The items that are neither added nor removed at this look."""
        waiting, resting = self.backoff.waiting(now, self.mark), self.damper.resting(now)
        harmed = (item for what in waiting for item in self.harmed.get(what, ()))
        return frozenset(item for item in (*harmed, *resting) if isinstance(item, ITEMS))

    # -- flapping --

    def _count(self, repaired: Sequence[Item], observed: Observed, now: float) -> None:
        """Count what was repaired, and name the program that deletes it when that happens too often."""
        loud = [item for item in repaired if self.damper.repaired(item, now)]
        resting = self.damper.resting(now)
        again = f"deleted again {FlapDamper.LIMIT} times within"
        rests = f"so repairs wait for {FlapDamper.FIRST:g}, then 2, 4 … {FlapDamper.LONGEST:g} s"
        fast, slow = [item for item in loud if item in resting], [item for item in loud if item not in resting]
        self._accuse(f"{again} {FlapDamper.WINDOW:g} s, {rests}", fast, observed)
        self._accuse(f"{again} {FlapDamper.HOUR:g} s", slow, observed)

    def _accuse(self, what: str, items: Sequence[Item], observed: Observed) -> None:
        """One line for each program."""
        if not items:
            return
        names = {item: self.seen[item].name if item in self.seen else "" for item in items}
        known = self.blame(names, observed)
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(_culprit(self.seen.get(item), known.get(item)), []).append(item)
        for culprit, mine in groups.items():
            more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
            self.log(f"ec2ident-agent: {what}: {mine[0]}{more}: {culprit}", True)

    def _state(self, complaints: Sequence[str], now: float) -> str:
        resting = len(self.damper.resting(now))
        parts = [f"{len(self.items)} item{'s' * (len(self.items) != 1)}"]
        parts += [f"{resting} of them deleted again and again, so the next repair waits"] if resting else []
        parts += complaints[:1] or ([] if resting else ["in order"])
        return ": ".join(parts)


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
