"""When to look, when to try again, and when to rest: what watch decides, as state over a clock's numbers. Pure.

Nothing here reads a clock or touches the node: times come in, as seconds of any monotonic clock, and so does what
happened.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable


class Debounce:
    """When to look next: at once after the first event of a burst; then 0.1 s after the last one, or 0.5 s after the
    first one since the look; and every 30 s.
    """

    #: Managers delete and add in bursts: after one repair, what is repaired in the middle may be deleted again.
    QUIET = 0.1
    #: From the first event of a burst that does not pause; then the repair still comes within a second.
    LATEST = 0.5
    #: Seconds without an event after which the next one begins another burst.
    CALM = 0.2
    #: A safety net: the kernel does not announce the IPv4 routes that it drops with a link, and a socket can overrun.
    PERIOD = 30.0
    #: After a look, a pause of twice its duration: endless events cost a third of one core at most.
    SHARE, LONGEST = 2.0, 0.5

    def __init__(self, now: float) -> None:
        self._first: float | None = None
        self._last = now
        self._at_once = False
        self._at = now
        self._earliest = now

    def changed(self, now: float) -> None:
        """An event that may matter."""
        if self._first is None:
            self._first = now
            self._at_once = now - self._last >= self.CALM
        self._last = now

    def at(self, when: float) -> None:
        """Look then at the latest."""
        self._at = min(self._at, when)

    @property
    def due(self) -> float:
        """The time of the next look."""
        if self._first is None:
            return max(self._at, self._earliest)
        soon = self._first if self._at_once else min(self._last + self.QUIET, self._first + self.LATEST)
        return max(min(soon, self._at), self._earliest)

    def looked(self, begun: float, ended: float) -> None:
        """A look is over; it has seen every change that was announced before it began."""
        self._first = None
        self._at = ended + self.PERIOD
        self._earliest = ended + min(self.SHARE * (ended - begun), self.LONGEST)


class FlapDamper:
    """Which items are deleted again and again, so that repairing them must slow down.

    Repairs are made at once. After the LIMITth within WINDOW seconds, and after each further one, the item rests: for
    1 s, then each time for twice as long, up to a minute. An item that stays in place for WINDOW seconds after a rest
    starts over. So a burst of deletions costs a second or two, and one that never ends is met once a minute.
    """

    LIMIT = 10
    WINDOW = 60.0
    #: Seconds: the first rest, and the longest.
    FIRST, LONGEST = 1.0, 60.0
    #: Warnings about one item are at least so many seconds apart.
    HOUR = 3600.0

    def __init__(self) -> None:
        self._repaired: dict[Hashable, tuple[float, ...]] = {}
        #: The end of the last rest, and its length.
        self._rests: dict[Hashable, tuple[float, float]] = {}
        self._warned: dict[Hashable, float] = {}

    def repaired(self, item: Hashable, now: float) -> bool:
        """Count a repair. True when a warning is due, once an hour: the item rests from now on, or is lost again and
        again, but slowly.
        """
        times = self._repaired[item] = (*self._repaired.get(item, ()), now)[-self.LIMIT :]
        until, rest = self._rests.get(item, (0.0, 0.0))
        if rest and now - until > self.WINDOW:
            del self._rests[item]
            rest = 0.0
        full = len(times) == self.LIMIT
        if rest or (full and now - times[0] <= self.WINDOW):
            rest = min(2 * rest, self.LONGEST) if rest else self.FIRST
            self._rests[item] = (now + rest, rest)
        elif not full or now - times[0] > self.HOUR:
            return False
        if now < self._warned.get(item, now):
            return False
        self._warned[item] = now + self.HOUR
        return True

    def resting(self, now: float) -> frozenset[Hashable]:
        """The items that rest at this time."""
        return frozenset(item for item, (until, _) in self._rests.items() if until > now)

    def next(self, now: float) -> float:
        """When the next rest ends."""
        return min((until for until, _ in self._rests.values() if until > now), default=float("inf"))

    def keep(self, items: Collection[Hashable]) -> None:
        """Forget all other items: they are no longer desired."""
        for known in (self._repaired, self._rests, self._warned):
            for item in [each for each in known if each not in items]:
                del known[item]

    def forget(self) -> None:
        """Start over: the administrator changed something."""
        self.keep(())


class Backoff:
    """What failed and why, and when to try it again: after 1, 2, 4 … 30 seconds.

    What the kernel refuses is tried again after 1, 2, 4 … 600 seconds as long as the node is as it was, since each
    attempt adds objects and removes them. `mark` is anything that differs when the node has changed; then the longest
    wait is 30 seconds too.
    """

    FIRST, LONGEST, UNCHANGED = 1.0, 30.0, 600.0

    def __init__(self) -> None:
        #: What -> when it failed, the wait, why, and the mark of the node.
        self._known: dict[Hashable, tuple[float, float, str, Hashable]] = {}

    def failed(self, what: Hashable, now: float, why: str, mark: Hashable = None) -> None:
        """It failed, now; the wait until the next try is twice the one before."""
        before = self._known[what][1] if what in self._known else self.FIRST / 2
        self._known[what] = (now, min(2 * before, self.UNCHANGED if mark is not None else self.LONGEST), why, mark)

    def waiting(self, now: float, mark: Hashable = None) -> frozenset[Hashable]:
        """What it is too early to try again on a node with this mark."""
        return frozenset(
            what
            for what, (at, wait, _, before) in self._known.items()
            if now < at + (wait if before == mark else min(wait, self.LONGEST))
        )

    def next(self, now: float) -> float:
        """When the next wait ends."""
        ends = (at + each for at, wait, *_ in self._known.values() for each in (wait, min(wait, self.LONGEST)))
        return min((end for end in ends if end > now), default=float("inf"))

    def reasons(self) -> tuple[str, ...]:
        """Why, each reason once."""
        return tuple(dict.fromkeys(why for _, _, why, _ in self._known.values()))

    def keep(self, what: Collection[Hashable]) -> None:
        """Forget all others: they succeeded, or are no longer desired."""
        self._known = {each: known for each, known in self._known.items() if each in what}


class OnceLog:
    """Which complaints were logged already: one that lasts is one line and not one at each look.

    A complaint is due when it has lasted for `after` seconds: what is over sooner is not worth a line.
    """

    def __init__(self, after: float = 0.0) -> None:
        self._after = after
        #: Complaint -> since when it is there; infinity once it was logged.
        self._since: dict[str, float] = {}

    def knows(self, complaint: str) -> bool:
        """True if the complaint was there the last time."""
        return complaint in self._since

    def new(self, complaints: Collection[str], now: float) -> list[str]:
        """Those to log now, in order. All others that were there the last time are over."""
        self._since = {each: self._since.get(each, now) for each in complaints}
        due = [each for each, since in self._since.items() if now >= since + self._after]
        self._since.update(dict.fromkeys(due, float("inf")))
        return due

    def next(self) -> float:
        """When the next complaint is due."""
        return min(self._since.values(), default=float("inf")) + self._after


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
