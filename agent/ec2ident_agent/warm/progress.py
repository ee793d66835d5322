"""How far it is, in words: a bar for a terminal, plain lines elsewhere. Pure: the caller has the clock."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds over which the speed is an average: long enough to be steady, short enough to follow a change.
WINDOW = 10.0
#: Seconds: a time left that is longer is not shown.
LONGEST = 100 * 24 * 3600
#: Characters between the brackets of the bar.
BAR = 24


class Speed:
    """Bytes a second over the last seconds."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []

    def add(self, now: float, done: int) -> float:
        """The speed after this sample; 0 before there are two."""
        self._samples.append((now, done))
        # The last sample before the window is kept: the window begins there.
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            del self._samples[0]
        began, before = self._samples[0]
        return (done - before) / (now - began) if now > began else 0.0


def amount(count: float) -> str:
    """Bytes as a person reads them: `512 B`, `3.2 GiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds as a clock: `0:07`, `2:05:09`."""
    whole = int(seconds + 0.5)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def line(done: int, size: int, speed: float) -> str:
    """How far it is, how fast, and how long it will take: `41%  3.2 GiB of 8.0 GiB  212.0 MiB/s  0:23 left`."""
    share = 100 * done // size if size else 100
    # A reader that hardly moves has no end that is worth showing: a hundred days and more.
    left = f"  {duration((size - done) / speed)} left" if speed * LONGEST > size - done else ""
    return f"{share:3}%  {amount(done)} of {amount(size)}  {amount(speed)}/s{left}"


def bar(done: int, size: int, speed: float, width: int) -> str:
    """The same behind a bar, in at most `width` characters."""
    full = BAR * done // size if size else BAR
    return f"[{'#' * full:{BAR}}] {line(done, size, speed)}"[: max(0, width)]


def ranges(offsets: Sequence[int], block: int, most: int = 5) -> str:
    """Blocks that could not be read, as ranges of bytes: `1048576-3145727, …`."""
    found: list[list[int]] = []
    for offset in sorted(offsets):
        start = offset - offset % block
        if found and start <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], start + block - 1)
        else:
            found.append([start, start + block - 1])
    shown = ", ".join(f"{first}-{last}" for first, last in found[:most])
    return shown + (", …" if len(found) > most else "")
