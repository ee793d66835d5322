"""When to look, when to try again, and when to give up: what watch decides, as state over a clock's numbers. Pure.

Nothing here reads a clock or touches the node: times come in, as seconds of any monotonic clock, and so does what
happened.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable


class Debounce:
    """When to look next: 0.1 s after the last event of a burst, at most 0.5 s after its first, and every 30 s."""

    #: Managers delete and add in bursts: what is repaired in the middle of one is deleted again.
    QUIET = 0.1
    #: From the first event of a burst that does not pause; then the repair still comes within a second.
    LATEST = 0.5
    #: A safety net: the kernel does not announce the IPv4 routes that it drops with a link, and a socket can overrun.
    PERIOD = 30.0
    #: After a look, a pause of twice its duration: endless events cost a third of one core at most.
    SHARE, LONGEST = 2.0, 0.5

    def __init__(self, now: float) -> None:
        self._first: float | None = None
        self._last = now
        self._at = now
        self._earliest = now

    def changed(self, now: float) -> None:
        """An event that may matter."""
        self._first = now if self._first is None else self._first
        self._last = now

    def at(self, when: float) -> None:
        """Look then at the latest."""
        self._at = min(self._at, when)

    @property
    def due(self) -> float:
        """The time of the next look."""
        if self._first is None:
            return max(self._at, self._earliest)
        soon = min(self._last + self.QUIET, self._first + self.LATEST)
        return max(min(soon, self._at), self._earliest)

    def looked(self, begun: float, ended: float) -> None:
        """A look is over; it has seen every change that was announced before it began."""
        self._first = None
        self._at = ended + self.PERIOD
        self._earliest = ended + min(self.SHARE * (ended - begun), self.LONGEST)


class FlapDamper:
    """Which items are deleted again and again, so that repairing them must stop.

    An item that was repaired LIMIT times within WINDOW seconds is given up for REST seconds: another program deletes it
    as fast as it is added, and the node would flap between two states. An item that is lost as often within an HOUR is
    repaired, and a warning is due.
    """

    LIMIT = 10
    WINDOW = 60.0
    HOUR = 3600.0
    REST = 600.0

    def __init__(self) -> None:
        self._repaired: dict[Hashable, tuple[float, ...]] = {}
        self._until: dict[Hashable, float] = {}
        self._warned: dict[Hashable, float] = {}

    def repaired(self, item: Hashable, now: float) -> bool:
        """Count a repair. True when it was the last one: the item is given up from now on."""
        times = (*self._repaired.get(item, ()), now)[-self.LIMIT :]
        self._repaired[item] = times
        if len(times) < self.LIMIT or now - times[0] > self.WINDOW:
            return False
        self._until[item] = now + self.REST
        del self._repaired[item]
        return True

    def often(self, item: Hashable, now: float) -> bool:
        """True when a warning is due, once an hour: the item is lost again and again, but slowly."""
        times = self._repaired.get(item, ())
        if len(times) < self.LIMIT or now - times[0] > self.HOUR or now < self._warned.get(item, now):
            return False
        self._warned[item] = now + self.HOUR
        return True

    def given_up(self, now: float) -> frozenset[Hashable]:
        """The items that are given up at this time."""
        self._until = {item: until for item, until in self._until.items() if until > now}
        return frozenset(self._until)

    def next(self) -> float:
        """When the next item will be tried again."""
        return min(self._until.values(), default=float("inf"))

    def keep(self, items: Collection[Hashable]) -> None:
        """Forget all other items: they are no longer desired."""
        for known in (self._repaired, self._until, self._warned):
            for item in [each for each in known if each not in items]:
                del known[item]

    def forget(self) -> None:
        """Start over: the administrator changed something."""
        self.keep(())


class Backoff:
    """What failed and why, and when to try it again: after 1, 2, 4 … 30 seconds."""

    FIRST, LONGEST = 1.0, 30.0

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, float, str]] = {}

    def failed(self, what: Hashable, now: float, why: str) -> None:
        """It failed, now; the wait until the next try is twice the one before."""
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
        """Why, each reason once."""
        return tuple(dict.fromkeys(why for _, _, why in self._known.values()))

    def keep(self, what: Collection[Hashable]) -> None:
        """Forget all others: they succeeded, or are no longer desired."""
        self._known = {each: known for each, known in self._known.items() if each in what}


class OnceLog:
    """Which complaints were logged already: one that lasts is one line and not one at each look."""

    def __init__(self) -> None:
        self._logged: frozenset[str] = frozenset()

    def knows(self, complaint: str) -> bool:
        """True if the complaint was there the last time."""
        return complaint in self._logged

    def new(self, complaints: Collection[str]) -> list[str]:
        """Those that were not there the last time, in order."""
        fresh = [each for each in dict.fromkeys(complaints) if each not in self._logged]
        self._logged = frozenset(complaints)
        return fresh


class SettledFile:
    """Which edition of a file counts: an editor may write it in several steps, so a new edition must settle first.

    `mark` is anything that differs between two editions.
    """

    #: Seconds for which a file must stay as it is.
    SETTLED = 1.0

    def __init__(self, mark: Hashable, settled: float = SETTLED) -> None:
        self._mark = self._seen = mark
        self._settled = settled
        self._since = 0.0

    def ready(self, mark: Hashable, now: float) -> bool:
        """True if `mark` is another edition than the one that counts, and has settled."""
        if mark != self._seen:
            self._seen, self._since = mark, now
        return mark != self._mark and now >= self.next()

    def next(self) -> float:
        """When a new edition will have settled."""
        return self._since + self._settled if self._seen != self._mark else float("inf")
