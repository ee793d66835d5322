"""When to look, when to try again, and when to give up: what watch decides, as pure state over a clock's numbers.

Nothing here reads a clock or touches the node: seconds come in, of any monotonic clock, and so does what happened.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable


class Pace:
    """When to look next: once a burst of events pauses, soon at the latest, and now and then without any event."""

    #: Managers delete and lay in bursts: what is repaired in the middle of one is deleted again.
    QUIET = 0.1
    #: From the first event of a burst that does not pause; then the repair still comes within a second.
    LATEST = 0.5
    #: A safety net: the kernel announces nothing of the IPv4 routes that it drops, and a socket can overrun.
    PERIOD = 30.0
    #: After a look a pause of twice its duration: events without end cost a third of one core at most.
    SHARE, LONGEST = 2.0, 0.5

    def __init__(self, now: float) -> None:
        self._first: float | None = None
        self._last = now
        self._at = now
        self._earliest = now

    def changed(self, now: float) -> None:
        """Something happened that may matter."""
        self._first = now if self._first is None else self._first
        self._last = now

    def at(self, when: float) -> None:
        """Look then, if not earlier."""
        self._at = min(self._at, when)

    @property
    def due(self) -> float:
        """The time of the next look."""
        if self._first is None:
            return max(self._at, self._earliest)
        soon = min(self._last + self.QUIET, self._first + self.LATEST)
        return max(min(soon, self._at), self._earliest)

    def looked(self, begun: float, ended: float) -> None:
        """A look is over; what was announced before it began is answered."""
        self._first = None
        self._at = ended + self.PERIOD
        self._earliest = ended + min(self.SHARE * (ended - begun), self.LONGEST)


class Fights:
    """Who loses the same item again and again, and has to stop laying it.

    An item that was laid LIMIT times within WINDOW seconds is left alone for REST seconds: somebody takes it away as
    fast as we lay it, and the node flaps between two states. One that is lost as often within an HOUR is worth a word.
    """

    LIMIT = 10
    WINDOW = 60.0
    HOUR = 3600.0
    REST = 600.0

    def __init__(self) -> None:
        self._laid: dict[Hashable, tuple[float, ...]] = {}
        self._until: dict[Hashable, float] = {}
        self._warned: dict[Hashable, float] = {}

    def laid(self, item: Hashable, now: float) -> bool:
        """Count a repair. True when it was one too many: the item is left alone from now on."""
        times = (*self._laid.get(item, ()), now)[-self.LIMIT :]
        self._laid[item] = times
        if len(times) < self.LIMIT or now - times[0] > self.WINDOW:
            return False
        self._until[item] = now + self.REST
        del self._laid[item]
        return True

    def often(self, item: Hashable, now: float) -> bool:
        """Is it lost again and again, if more slowly? True once an hour."""
        times = self._laid.get(item, ())
        if len(times) < self.LIMIT or now - times[0] > self.HOUR or now < self._warned.get(item, now):
            return False
        self._warned[item] = now + self.HOUR
        return True

    def left(self, now: float) -> frozenset[Hashable]:
        """What is left alone at this time."""
        self._until = {item: until for item, until in self._until.items() if until > now}
        return frozenset(self._until)

    def next(self) -> float:
        """When the next rest ends."""
        return min(self._until.values(), default=float("inf"))

    def keep(self, items: Collection[Hashable]) -> None:
        """Forget all that is not among these: what nobody wishes any more needs no memory."""
        for known in (self._laid, self._until, self._warned):
            for item in [each for each in known if each not in items]:
                del known[item]

    def forget(self) -> None:
        """Begin anew: the administrator changed something."""
        self.keep(())


class Setbacks:
    """What failed and why, and when to try it again: after 1, 2, 4 … 30 seconds."""

    FIRST, LONGEST = 1.0, 30.0

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, float, str]] = {}

    def failed(self, what: Hashable, now: float, why: str) -> None:
        _, before, _ = self._known.get(what, (now, self.FIRST / 2, ""))
        wait = min(2 * before, self.LONGEST)
        self._known[what] = (now + wait, wait, why)

    def waiting(self, now: float) -> frozenset[Hashable]:
        """What it is too early to try again."""
        return frozenset(what for what, (until, _, _) in self._known.items() if until > now)

    def next(self, now: float) -> float:
        """When the next wait ends."""
        return min((until for until, _, _ in self._known.values() if until > now), default=float("inf"))

    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(why for _, _, why in self._known.values()))

    def keep(self, what: Collection[Hashable]) -> None:
        """All but these succeeded, or are nobody's wish any more."""
        self._known = {each: known for each, known in self._known.items() if each in what}


class Told:
    """What was said already: a complaint that lasts is one line and not one a second."""

    def __init__(self) -> None:
        self._said: frozenset[str] = frozenset()

    def knows(self, complaint: str) -> bool:
        return complaint in self._said

    def new(self, complaints: Collection[str]) -> list[str]:
        """Those that were not there the last time, in order."""
        fresh = [each for each in dict.fromkeys(complaints) if each not in self._said]
        self._said = frozenset(complaints)
        return fresh


class Edition:
    """Which edition of a file is in force: an editor may write it in several steps, and the middle is not the end."""

    #: Seconds for which a file must stay as it is.
    SETTLED = 1.0

    def __init__(self, mark: Hashable, settled: float = SETTLED) -> None:
        self._mark = self._seen = mark
        self._settled = settled
        self._since = 0.0

    def ready(self, mark: Hashable, now: float) -> bool:
        """Is there another edition than the one in force, and has it come to rest? `mark` tells editions apart."""
        if mark != self._seen:
            self._seen, self._since = mark, now
        return mark != self._mark and now >= self.next()

    def next(self) -> float:
        """When an edition that is not in force yet will have come to rest."""
        return self._since + self._settled if self._seen != self._mark else float("inf")
