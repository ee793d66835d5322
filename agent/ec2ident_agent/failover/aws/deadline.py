"""One deadline over a whole action, and a way to abandon work that would exceed it.

The time-out of a socket bounds one read. It bounds neither a slowly dripping answer nor the resolution of a name.
Work that may hang therefore runs in a daemon thread, which is abandoned when the time is over.
"""

from __future__ import annotations

import threading
import time

from ec2ident_agent.failover.errors import OutOfTimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar, Union

    A = TypeVar("A")
    B = TypeVar("B")
    S = TypeVar("S")
    T = TypeVar("T")
    Ended = Union[T, BaseException]


class Deadline:
    """A point in time, `seconds` from now on the monotonic clock. A test may replace `clock` and `sleep`."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self._clock, self._sleep = clock, sleep
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self._end - self._clock())

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return self.seconds - self.left

    def pause(self, seconds: float, what: str) -> None:
        """Sleep; raise OutOfTimeError at once if the deadline would pass during the pause."""
        if seconds >= self.left:
            raise OutOfTimeError(f"{what}: not within {self.seconds:g} s")
        self._sleep(seconds)


def bounded(work: Callable[[], T], seconds: float, what: str) -> T:
    """Return what `work` returns, or raise what it raises; raise OutOfTimeError after `seconds` and abandon it."""
    box: list[Ended[T]] = []
    thread = threading.Thread(target=lambda: box.append(_ended(work)), daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise OutOfTimeError(f"{what}: no answer within {seconds:.1f} s")
    return _unwrap(box[0])


def together(works: Sequence[Callable[[], T]]) -> list[Ended[T]]:
    """Run all at the same time; return each result or error, in order. Each must be bounded by itself."""
    if len(works) == 1:
        return [_ended(works[0])]
    found: list[Ended[T]] = [OutOfTimeError("not started")] * len(works)

    def run(index: int) -> None:
        found[index] = _ended(works[index])

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Run both at the same time and return both results. The first one's error is raised first."""
    box: list[Ended[B]] = []
    thread = threading.Thread(target=lambda: box.append(_ended(second)), daemon=True)
    thread.start()
    one = _ended(first)
    thread.join()
    return _unwrap(one), _unwrap(box[0])


def each(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Call `work` with every item at the same time and return the results, in order. The first error is raised."""
    return [_unwrap(ended) for ended in each_ended(work, items)]


def each_ended(work: Callable[[S], T], items: Iterable[S]) -> list[Ended[T]]:
    """Call `work` with every item at the same time and return each result or error, in order."""

    def bound(item: S) -> Callable[[], T]:
        return lambda: work(item)

    return together([bound(item) for item in items])


def _ended(work: Callable[[], T]) -> Ended[T]:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001  the caller's thread raises it
        return error


def _unwrap(ended: Ended[T]) -> T:
    if isinstance(ended, BaseException):
        raise ended
    return ended
