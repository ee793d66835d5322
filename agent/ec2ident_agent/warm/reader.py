"""The parallel reader: many reads of one volume at the same time, in order, at a limited rate.

A read of a block that is still in Amazon S3 takes tens of milliseconds, whatever its size. So the speed comes from the
number of reads at the same time. Threads are enough: Python releases its lock while the kernel reads.
"""

from __future__ import annotations

import os
import threading
import time

from ec2ident.value import Value

from .volume import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .volume import Volume

#: Blocks of one volume that may fail before its reader gives up: the device has gone, or is broken.
FAILURES = 100


class Unread(Value):
    """A block that could not be read: where it begins, in bytes, and the system's words."""

    offset: int
    why: str


class Rate:
    """A limit of bytes a second over all volumes. Thread-safe. None: no limit."""

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self._clock, self._lock, self._free = limit, clock, threading.Lock(), 0.0

    def delay(self, size: int) -> float:
        """Seconds to wait before the next read of this many bytes, which are counted from now on."""
        if self.limit is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(now, self._free)
            self._free = begin + size / self.limit
            return begin - now


class VolumeReader:
    """Reads one volume from `first` on, with `depth` threads. Its numbers may be read at any time."""

    def __init__(self, volume: Volume, *, first: int, depth: int, rate: Rate) -> None:
        self.volume, self.first, self.rate = volume, first, rate
        #: Bytes that were read by this reader.
        self.done = 0
        self.failures: list[Unread] = []
        self._next, self._reading = first, set[int]()
        self._lock, self._stop = threading.Lock(), threading.Event()
        # Daemons: a read that never ends must not keep the program from ending after Ctrl-C.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(depth)]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further read."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait until every read has ended, at most so long; returns whether they have."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return self.ended

    @property
    def position(self) -> int:
        """Every byte before this one has been read or has failed."""
        with self._lock:
            return min(self._reading, default=min(self._next, self.volume.size))

    @property
    def resume(self) -> int:
        """Where a later run begins: every byte before this one has been read. A multiple of BLOCK, or the size."""
        position = self.position
        with self._lock:
            return min([position, *(each.offset - each.offset % BLOCK for each in self.failures)])

    @property
    def ended(self) -> bool:
        """True when no thread reads any more."""
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def gave_up(self) -> bool:
        """True after too many failures."""
        return len(self.failures) >= FAILURES

    @property
    def complete(self) -> bool:
        """True when every byte from `first` on has been read."""
        return not self.failures and self.position >= self.volume.size

    def _work(self) -> None:
        read = block_reader(self.volume)
        while not self._stop.is_set():
            with self._lock:
                offset = self._next
                if offset >= self.volume.size:
                    return
                self._next += BLOCK
                self._reading.add(offset)
            size = min(BLOCK, self.volume.size - offset)
            if self.rate.limit and self._stop.wait(self.rate.delay(size)):
                return
            self._note(offset, *_outcome(read, offset, size))

    def _note(self, offset: int, got: int, why: str) -> None:
        """Count what a read has returned."""
        with self._lock:
            self.done += got
            if why:
                self.failures.append(Unread(offset + got, why))
                if self.gave_up:
                    self._stop.set()
                    return
            self._reading.discard(offset)


def _outcome(read: Callable[[int], int], offset: int, size: int) -> tuple[int, str]:
    """Bytes of the block that were read, and why the rest was not; empty when all was read."""
    got = 0
    while got < size:
        try:
            more = read(offset + got)
        except OSError as failed:
            return got, failed.strerror or str(failed)
        if not more:
            return got, "the volume ends here: it was made smaller"
        got += more
    return size, ""


def block_reader(volume: Volume) -> Callable[[int], int]:
    """A function for one thread: read a block at an offset, forget it, and return its length."""
    import mmap

    # Direct reads need memory that begins at a page, as an anonymous mapping does.
    memory = mmap.mmap(-1, BLOCK)
    if hasattr(os, "preadv"):
        buffers: Sequence[mmap.mmap] = [memory]
        handle = volume.handle
        return lambda offset: os.preadv(handle, buffers, offset)
    own = open(volume.path, "rb", buffering=0)  # noqa: SIM115  # Windows: the position belongs to the file, so one each.

    def read(offset: int) -> int:
        own.seek(offset)
        return own.readinto(memory) or 0

    return read
