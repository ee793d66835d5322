"""`ec2ident-agent warm`: read whole volumes, show how far it is, and go on after an interruption."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager

from ec2ident.program import exit_codes
from ec2ident.value import Value
from ec2ident_agent.errors import ConfigError

from . import progress
from .position import DIRECTORY, Positions
from .reader import Rate, VolumeReader
from .volume import BLOCK, open_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .volume import Volume

    Line = Callable[[str], None]

MIB = 1 << 20
DEPTH, MOST_DEPTH = 32, 256
#: Seconds between two looks at the readers, two lines without a terminal, and two writes of the position.
LOOK, LINE, KEEP = 0.25, 10.0, 5.0
#: Seconds in which reads that have begun may end after an interruption.
PATIENCE = 3.0

NEEDLESS = (
    "reading is needed for a volume that was made from a snapshot alone, and not for one with fast snapshot restore "
    "or a provisioned initialization rate"
)


#: What a volume of EBS says that it is, where it is attached as NVMe.
EBS = "Amazon Elastic Block Store"

FIELDS = ("path", "state", "size", "first", "done", "seconds", "why")


class VolumeResult(Value):
    """What became of one volume."""

    path: str
    size: int
    #: Where this run began, in bytes, and how many bytes it has read.
    first: int
    done: int
    seconds: float
    state: str
    why: str = ""

    def __str__(self) -> str:
        """A line for a person."""
        said = f"{self.path}: {self.state}"
        if self.state in ("needless", "planned"):
            return f"{said}: {self.why}"
        speed = f", {progress.amount(self.done / self.seconds)}/s" if self.seconds else ""
        text = f"{said}: {progress.amount(self.done)} in {progress.duration(self.seconds)}{speed}"
        return f"{text}; {self.why}" if self.why else text


def command(
    *,
    say: Line,
    log: Line,
    paths: Sequence[str],
    rate: int | None = None,
    depth: int = DEPTH,
    state_dir: str = DIRECTORY,
    restart: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Read each of these block devices and files to its end; returns the exit code.

    `rate` is in MiB a second, over all volumes; `depth` is the number of reads at the same time for each volume.
    Raises ConfigError for a bad path or number before anything is read, and KeyboardInterrupt after Ctrl-C or
    SIGTERM, when positions and results are written.
    """
    if not paths:
        raise ConfigError("warm: name the volumes, such as /dev/nvme1n1")
    if not 1 <= depth <= MOST_DEPTH:
        raise ConfigError(f"--depth {depth}: not from 1 to {MOST_DEPTH}")
    if rate is not None and rate < 1:
        raise ConfigError(f"--rate {rate}: not a number of MiB a second from 1 on")
    # Windows has neither the owners nor the modes that make a state directory safe to believe.
    positions = Positions(state_dir) if hasattr(os, "geteuid") else None
    volumes: list[Volume] = []
    try:
        for path in paths:
            volumes.append(open_volume(path))
        first = {each: _first(each, positions, restart) for each in volumes}
        wanted = [each for each in volumes if not each.never_from_a_snapshot]
        results = [_needless(each) for each in volumes if each.never_from_a_snapshot]
        if dry_run:
            _print([*results, *(_planned(each, first[each]) for each in wanted)], say, as_json)
            return exit_codes.DRIFT if wanted else exit_codes.DONE
        for each in wanted:
            _announce(each, first[each], log)
        limit = Rate(None if rate is None else rate * float(MIB))
        run = _Run([VolumeReader(each, first=first[each], depth=depth, rate=limit) for each in wanted], positions, log)
        interrupted = run.to_the_end()
        results += map(run.result, run.readers)
    finally:
        for each in volumes:
            each.close()
    # A read that did not end in PATIENCE finds its file closed, and its thread ends with the program.
    _print(results, say, as_json)
    if interrupted:
        raise KeyboardInterrupt
    return exit_codes.FAILED if any(each.state == "failed" for each in results) else exit_codes.DONE


class _Run:
    """The readers of one command."""

    def __init__(self, readers: Sequence[VolumeReader], positions: Positions | None, log: Line) -> None:
        self.readers, self._positions, self._log = readers, positions, log
        self._size = sum(reader.volume.size for reader in readers)
        self._began = time.monotonic()
        self._lost = False

    def to_the_end(self) -> bool:
        """Read all; returns True when Ctrl-C or SIGTERM came before the end."""
        screen, speed, kept = _Screen(self._log), progress.Speed(), self._began
        with _terminable():
            try:
                for reader in self.readers:
                    reader.start()
                while not all(reader.ended for reader in self.readers):
                    self._wait()
                    now = time.monotonic()
                    screen.show(now, self._read(), self._size, speed.add(now, self._read()))
                    if now - kept >= KEEP:
                        self._keep()
                        kept = now
                interrupted = False
            except KeyboardInterrupt:
                interrupted = True
                for reader in self.readers:
                    reader.stop()
            screen.end()
        for reader in self.readers:
            reader.join(PATIENCE)
        self._keep()
        return interrupted

    def result(self, reader: VolumeReader) -> VolumeResult:
        """What became of the volume of this reader."""
        seconds = time.monotonic() - self._began
        state, why = "read", ""
        if reader.failures:
            state = "failed"
            where = progress.ranges([each.offset for each in reader.failures], BLOCK)
            why = f"{len(reader.failures)} blocks could not be read ({reader.failures[0].why}): bytes {where}"
            why += "; gave up" if reader.gave_up else ""
        elif not reader.complete:
            state = "interrupted"
            then = "goes on there" if self._positions and not self._lost else "begins again"
            where = f"{progress.amount(reader.resume)} of {progress.amount(reader.volume.size)}"
            why = f"at {where}; the same command {then}"
        return VolumeResult(reader.volume.path, reader.volume.size, reader.first, reader.done, seconds, state, why)

    def _wait(self) -> None:
        """Wait for the next look, or the end of the last reader."""
        end = time.monotonic() + LOOK
        for reader in self.readers:
            reader.join(end - time.monotonic())

    def _read(self) -> int:
        """Bytes that this run and the runs before it have read."""
        return sum(reader.first + reader.done for reader in self.readers)

    def _keep(self) -> None:
        """Write the positions; forget those of volumes that are complete."""
        if self._positions is None:
            return
        for reader in self.readers:
            identity = reader.volume.identity
            try:
                if reader.complete:
                    self._positions.forget(identity)
                elif reader.resume:
                    self._positions.write(identity, reader.resume)
            except OSError as failed:
                if not self._lost:
                    self._log(f"warning: {self._positions.directory}: {failed.strerror}; the position is not kept")
                self._lost = True


class _Screen:
    """Standard error: one line that is written again on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, log: Line) -> None:
        self._log, self._next = log, time.monotonic() + LINE
        self._terminal, self._shown = sys.stderr.isatty(), False

    def show(self, now: float, done: int, size: int, speed: float) -> None:
        """Show how far it is."""
        if self._terminal:
            width = _columns() - 1
            self._write("\r" + f"{progress.bar(done, size, speed, width):{max(0, width)}}")
            self._shown = True
        elif now >= self._next:
            self._next = now + LINE
            self._log(progress.line(done, size, speed).strip())

    def end(self) -> None:
        """Leave the line as it is."""
        if self._shown:
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            # When the terminal has gone, only the bar is lost.
            self._terminal = False


def _columns() -> int:
    """The width of the terminal, in characters."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM becomes KeyboardInterrupt: the position is kept when systemd stops the unit."""
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first(volume: Volume, positions: Positions | None, restart: bool) -> int:
    """Where to begin, in bytes."""
    if restart or positions is None:
        return 0
    return min(positions.read(volume.identity), volume.size)


def _needless(volume: Volume) -> VolumeResult:
    why = f"its model is {volume.model!r}: its blocks never come from a snapshot"
    return VolumeResult(volume.path, volume.size, 0, 0, 0.0, "needless", why)


def _planned(volume: Volume, first: int) -> VolumeResult:
    why = f"{progress.amount(volume.size - first)} of {progress.amount(volume.size)} would be read"
    return VolumeResult(volume.path, volume.size, first, 0, 0.0, "planned", why)


def _announce(volume: Volume, first: int, log: Line) -> None:
    """Say what will be read, and what the reader of the line should know of it."""
    if first:
        where = f"{progress.amount(first)} of {progress.amount(volume.size)}"
        log(f"{volume.path}: goes on at {where} (--restart reads all)")
    if not volume.direct:
        log(f"warning: {volume.path}: no direct reads here; what the page cache has is not read again")
    if volume.model == EBS:
        log(f"{volume.path}: {NEEDLESS}")


def _print(results: Sequence[VolumeResult], say: Line, as_json: bool) -> None:
    """The results, a line each or as JSON."""
    if not as_json:
        for each in results:
            say(str(each))
        return
    import json

    say(json.dumps({"volumes": [{name: getattr(each, name) for name in FIELDS} for each in results]}, indent=2))
