"""One node that is kept as it should be: what is seen at a look, what is repaired, and what is given up and why.

What is laid is what `apply` would lay, with two differences. An owner of whom the kernel refuses something does not
keep the others from what is theirs, and is tried again later. And an item that somebody deletes as fast as it is laid
is left alone for a while, loudly. Time and whoever has to be asked come in as arguments.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.engine import apply, held, status
from ec2ident_agent.errors import AgentError, ConflictError, KernelError
from ec2ident_agent.items import Address, Route, Rule, TableName

from .backoff import Fights, Pace, Setbacks, Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ec2ident_agent.engine import Report, Wish
    from ec2ident_agent.items import Item, Observed, Step
    from ec2ident_agent.kernel.events import Heard
    from ec2ident_agent.kernel.protocol import Failure, Kernel
    from ec2ident_agent.state.journal import Journal, State

    #: What is asked for now, and what is to be said about it.
    Asking = Callable[[Observed, State, float], tuple[list[Wish], list[str]]]
    #: Who deletes each of these items, and what prevents it, as far as he is known. With each item stands the name of a
    #: program that was seen to do so, or nothing.
    Blame = Callable[[Mapping[Item, str], Observed], Mapping[Item, tuple[str, str]]]
    #: A line for people, and whether it should stand out.
    Log = Callable[[str, bool], object]

#: Seconds to wait for another ec2ident-agent at one look; then at the next.
LOCK = 5.0
#: What failed when it was nobody's item in particular.
NODE = ("the node",)
ITEMS = (TableName, Address, Route, Rule)
#: Of a program's name the kernel keeps so many characters (TASK_COMM_LEN).
COMM = 15


class Program(Value):
    """A program that asked the kernel to delete one of ours: the name that the kernel has for it, and its number."""

    name: str
    process: int

    def __str__(self) -> str:
        return f"{self.name} (process {self.process})"


class Sight(Value):
    """What was seen and asked for at one moment, and what is to be said about it."""

    wishes: tuple[Wish, ...]
    observed: Observed
    state: State
    complaints: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Wish, ...]:
        """What commands asked for earlier included."""
        return (*self.wishes, *held(self.state, {wish.owner for wish in self.wishes}))

    def report(self, left: frozenset[Item]) -> Report:
        return status(self.wishes, self.observed, self.state, leave=left)

    def owner(self, item: Item) -> str | Item:
        """Whose place it stands in; of what stands in nobody's, the item itself."""
        asked = ((wish.owner, each.identity) for wish in self.all for each in wish.items)
        return next((owner for owner, identity in asked if identity == item.identity), item)

    def beside(self, item: Item) -> frozenset[Item]:
        """This one, with all that the owner of its place should have: half a profile is none."""
        owner = self.owner(item)
        return frozenset([item, *(each for wish in self.all if wish.owner == owner for each in wish.items)])


class Counting:
    """A kernel, and what was laid through it and not undone."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.laid: list[Item] = []

    def observe(self) -> Observed:
        return self.kernel.observe()

    def close(self) -> None:
        """It belongs to somebody else."""

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        failures = self.kernel.do(steps)
        failed = {failure.step for failure in failures}
        for step in steps:
            if step not in failed and step.verb == "add":
                self.laid.append(step.item)
            elif step not in failed and step.item in self.laid:
                self.laid.remove(step.item)
        return failures


class Keeper:
    """One node. `heard` takes what the kernel announced, `look` sees, repairs and says what it did."""

    def __init__(
        self, asked: Asking, kernel: Kernel, journal: Journal, log: Log, blame: Blame, clock: Callable[[], float]
    ) -> None:
        self.asked, self.kernel, self.journal = asked, kernel, journal
        self.log, self.blame, self.clock = log, blame, clock
        self.pace = Pace(clock())
        self.fights, self.setbacks, self.told = Fights(), Setbacks(), Told()
        #: One line for people: how it is.
        self.state = "starting"
        #: The links by their index, and all that should be there, as of the last look.
        self.links: dict[int, str] = {}
        self.items: frozenset[Item] = frozenset()
        #: Who was seen to delete what should be there.
        self.seen: dict[Item, Program] = {}
        #: Devices that were down or away since ours were last laid: what went with them nobody fights over.
        self.down: frozenset[str] = frozenset()
        self._begun = False

    def heard(self, heard: Heard, name_of: Callable[[int], str]) -> None:
        """Something was announced."""
        if heard.changed:
            self.pace.changed(self.clock())
        self.down |= heard.down & devices(self.items)
        # A flush is over before we have read of its end: its program has the name that it had just now.
        names = {program.process: program.name for program in self.seen.values()}
        for each in heard.deletions:
            if each.seen.item in self.items:
                name = names[each.sender] = name_of(each.sender) or names.get(each.sender, "")
                if name:
                    self.seen[each.seen.item] = Program(name, each.sender)

    def anew(self) -> None:
        """The administrator asks for another try of everything, now."""
        self.fights.forget()
        self.setbacks.keep(())
        self.pace.at(self.clock())

    def look(self) -> None:
        """See, and repair. Raises nothing that another look could mend."""
        begun = self.clock()
        complaints: tuple[str, ...] = ()
        try:
            complaints = self._look(begun)
        except AgentError as wrong:
            self.setbacks.failed(NODE, begun, str(wrong))
        complaints += self.setbacks.reasons()
        for each in self.told.new(complaints):
            self.log(f"ec2ident-agent: {each}", True)
        self.state = self._state(complaints, begun)
        self.pace.looked(begun, self.clock())
        self.pace.at(min(self.fights.next(), self.setbacks.next(begun)))

    def _look(self, now: float) -> tuple[str, ...]:
        sight = self._sight(now)
        report = sight.report(self._left(sight, now))
        if self._begun and not report.difference.steps:
            self.setbacks.keep(self.setbacks.waiting(now) - {NODE})
            return (*sight.complaints, *report.refusals)
        with self.journal.lock(LOCK):
            # Another process may have been at work until now.
            sight = self._sight(now)
            refusals = self._mend(sight, now)
        self._begun = True
        return (*sight.complaints, *refusals)

    def _sight(self, now: float) -> Sight:
        observed, state = self.kernel.observe(), self.journal.read()
        wishes, complaints = self.asked(observed, state, now)
        sight = Sight(tuple(wishes), observed, state, tuple(complaints))
        self.links = {link.index: link.name for link in observed.links}
        self.items = frozenset(item for wish in sight.all for item in wish.items)
        self.down |= devices(self.items) - {link.name for link in observed.links if link.up}
        self.fights.keep(self.items)
        self.seen = {item: program for item, program in self.seen.items() if item in self.items}
        return sight

    def _mend(self, sight: Sight, now: float) -> tuple[str, ...]:
        """Repair what can be; returns what somebody else is in the way of. The caller holds the lock."""
        kernel, left, refusals = Counting(self.kernel), self._left(sight, now), tuple[str, ...]()
        kept = set(self.setbacks.waiting(now) - {NODE})
        while True:
            try:
                refusals = self._apply(sight, kernel, left)
                break
            except KernelError as wrong:
                who = sight.owner(wrong.item) if wrong.item else NODE
                self.setbacks.failed(who, now, str(wrong))
                kept.add(who)
                before, left = left, left | (sight.beside(wrong.item) if wrong.item else frozenset())
                if before == left:
                    break
        self.setbacks.keep(kept)
        owned = {record.item for record in sight.state.records}
        again = [item for item in kernel.laid if item in owned and not self.down & devices([item])]
        self._count(again, sight.observed, now)
        self.down -= {link.name for link in sight.observed.links if link.up}
        return refusals

    def _apply(self, sight: Sight, kernel: Kernel, left: frozenset[Item]) -> tuple[str, ...]:
        """All but what is left alone and what is refused, or nothing. Raises KernelError.

        The steps are said when they are done; those of an attempt that fails as the last one did are not.
        """
        steps: list[str] = []
        refusals: tuple[str, ...] = ()
        try:
            apply(sight.wishes, kernel, self.journal, steps.append, leave=left)
        except ConflictError as refused:
            refusals = refused.report.refusals
        except KernelError as wrong:
            steps = [] if self.told.knows(str(wrong)) else steps
            raise
        finally:
            for step in steps:
                self.log(step, False)
        return refusals

    def _left(self, sight: Sight, now: float) -> frozenset[Item]:
        """What is neither laid nor removed at this look."""
        waiting, given_up = self.setbacks.waiting(now), self.fights.left(now)
        mine = {item for wish in sight.all if wish.owner in waiting for item in wish.items}
        return frozenset(item for item in (*mine, *waiting, *given_up) if isinstance(item, ITEMS))

    # -- fights --

    def _count(self, laid: Sequence[Item], observed: Observed, now: float) -> None:
        """Count what was laid again, and say who takes it where that happens too often."""
        lost = [item for item in laid if self.fights.laid(item, now)]
        often = [item for item in laid if item not in lost and self.fights.often(item, now)]
        again = f"deleted again {Fights.LIMIT} times within"
        self._accuse(f"giving up for {Fights.REST:g} s what was {again} {Fights.WINDOW:g} s", lost, observed)
        self._accuse(f"{again} {Fights.HOUR:g} s", often, observed)

    def _accuse(self, what: str, items: Sequence[Item], observed: Observed) -> None:
        """One line for each culprit."""
        if not items:
            return
        names = {item: self.seen[item].name if item in self.seen else "" for item in items}
        known = self.blame(names, observed)
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(_culprit(self.seen.get(item), known.get(item)), []).append(item)
        for who, mine in groups.items():
            more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
            self.log(f"ec2ident-agent: {what}: {mine[0]}{more}: {who}", True)

    def _state(self, complaints: Sequence[str], now: float) -> str:
        left = len(self.fights.left(now))
        parts = [f"{len(self.items)} item{'s' * (len(self.items) != 1)}"]
        parts += [f"given up on {left} of them, which others delete"] if left else []
        parts += complaints[:1] or ([] if left else ["in order"])
        return ": ".join(parts)


def devices(items: Iterable[Item]) -> frozenset[str]:
    """The devices that these hang on."""
    return frozenset(item.device for item in items if isinstance(item, (Address, Route)))


def _culprit(program: Program | None, known: tuple[str, str] | None) -> str:
    """By whom, as far as he was seen or is known for it, and what prevents it."""
    who, prevent = known or ("", "")
    if not program:
        by = f"by {who}, most likely" if who else "by nobody that is known for it; ip monitor shows when"
    elif not who or who[:COMM] == program.name:
        by = f"by {program}"
    else:
        by = f"by {program}; {who} is known for it"
    return f"{by}. Prevent it: {prevent}" if prevent else by
