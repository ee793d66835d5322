"""One deadline over a whole action, and the way to leave whatever would outlast it.

A socket's time-out bounds one read, not an answer that drips, nor the look-up of a name. So what may hang runs in a
thread of its own, which is left behind when the time is over; being a daemon it does not hold up the process's end.
"""

from __future__ import annotations

import threading
import time

from ec2ident_agent.failover.errors import OutOfTimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar, Union

    T = TypeVar("T")
    Outcome = Union[T, BaseException]


class Deadline:
    """A moment on the monotonic clock. `seconds` from now; `clock` and `sleep` are effects that a test may replace."""

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
        """Seconds; never negative."""
        return max(0.0, self._end - self._clock())

    @property
    def used(self) -> float:
        return self.seconds - self.left

    def pause(self, seconds: float, what: str) -> None:
        """Sleep, or raise OutOfTimeError at once where the deadline would come first."""
        if seconds >= self.left:
            raise OutOfTimeError(f"{what}: not within {self.seconds:g} s")
        self._sleep(seconds)


def bounded(work: Callable[[], T], seconds: float, what: str) -> T:
    """What `work` returns or raises, or OutOfTimeError after so many seconds. It is then left to itself."""
    box: list[Outcome[T]] = []
    thread = threading.Thread(target=lambda: box.append(_outcome(work)), daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise OutOfTimeError(f"{what}: no answer within {seconds:.1f} s")
    return _unwrap(box[0])


def together(works: Sequence[Callable[[], T]]) -> list[Outcome[T]]:
    """Run all at the same time; each result or error, in order. Each must be bounded by itself."""
    if len(works) == 1:
        return [_outcome(works[0])]
    found: list[Outcome[T]] = [OutOfTimeError("not started")] * len(works)

    def run(index: int) -> None:
        found[index] = _outcome(works[index])

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def all_of(works: Sequence[Callable[[], T]]) -> list[T]:
    """As `together`, but the first error is raised."""
    return [_unwrap(outcome) for outcome in together(works)]


def _outcome(work: Callable[[], T]) -> Outcome[T]:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001  handed to the caller's thread, which raises it
        return error


def _unwrap(outcome: Outcome[T]) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
