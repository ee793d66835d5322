"""What we own, and for whom: written down before the kernel hears of it, struck out after it is gone.

One file in the state directory (`/run/ec2ident/`: gone with a reboot, as the kernel's tables are), replaced whole and
atomically, under a lock that dies with its holder. A journal that cannot be read is refused and never taken for an
empty one: what it said would be forgotten for ever.
"""

from __future__ import annotations

import os

from ec2ident.value import Value
from ec2ident_agent.errors import JournalError, LockedError
from ec2ident_agent.items import Address, Route, Rule, TableName

from . import statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ec2ident_agent.items import Item

STATE_DIRECTORY = "/run/ec2ident"
KIND, VERSION = "ec2ident-journal", 1

#: Who asked: the configuration, whose word counts at each apply, or a command, which holds until reverted. LEAVING is
#: what nobody asks for any more: ours as long as it may still be there.
CONFIG, COMMAND, LEAVING = "config", "command", "leaving"

_KINDS: dict[str, Any] = {"name": TableName, "address": Address, "route": Route, "rule": Rule}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_NUMBERS = {"number", "table", "metric", "priority", "suppress"}


class Record(Value):
    """One item that is ours: the interface or overlay it serves, who asked, and its device's index (0: no device)."""

    owner: str
    origin: str
    index: int
    item: Item


class State(Value):
    """All that we own."""

    records: tuple[Record, ...] = ()


class Journal:
    """The file. `read` needs no lock, because the file is replaced whole; every change does."""

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "journal")

    def read(self) -> State:
        """What we own; nothing when there is no file. Raises JournalError, never guesses."""
        try:
            data = statefile.read(self.path)
            return State() if data is None else State(tuple(map(_decode, statefile.unpack(KIND, VERSION, data))))
        except statefile.DamagedError as damaged:
            raise JournalError(f"{self.path}: {damaged}; {_ADVICE}") from damaged
        except OSError as failed:
            raise JournalError(f"{self.path}: {failed.strerror}") from failed

    def write(self, state: State) -> None:
        """Replace the journal; with nothing to say, remove it. Raises JournalError."""
        try:
            if state.records:
                statefile.write(self.path, statefile.pack(KIND, VERSION, map(_encode, state.records)))
            elif os.path.exists(self.path):
                os.unlink(self.path)
        except OSError as failed:
            raise JournalError(f"{self.path}: cannot be written: {failed.strerror}") from failed

    def lock(self, patience: float = 10.0, name: str = "lock") -> Lock:
        """Hold the node for one verb, waiting at most `patience` seconds for another process.

        Under another `name`: hold what may be done by one process alone, such as watching.
        """
        return Lock(self.directory, name, patience)


_ADVICE = "nothing was changed. Restore it, or remove it: what carries our protocol number is still known as ours"


class Lock:
    """An exclusive flock on the lock file, which names the holder's process. No stale lock: it dies with its holder."""

    def __init__(self, directory: str, name: str, patience: float) -> None:
        self._directory, self._path, self._patience = directory, os.path.join(directory, name), patience
        self._handle = -1

    def __enter__(self) -> Lock:
        try:
            os.makedirs(self._directory, mode=0o755, exist_ok=True)
            # For nobody else to open: whoever can read a file can lock it, and would keep every hook from its work.
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as failed:
            hint = " (needs root)" if isinstance(failed, PermissionError) else ""
            raise JournalError(f"{failed.filename or self._path}: {failed.strerror}{hint}") from failed
        try:
            self._wait()
        except BaseException:
            os.close(self._handle)
            raise
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # A full disk: it is held all the same, and its holder's name is for people.
        return self

    def _wait(self) -> None:
        from fcntl import LOCK_EX, LOCK_NB, flock
        from time import monotonic, sleep

        end = monotonic() + self._patience
        while True:
            try:
                flock(self._handle, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if monotonic() >= end:
                    holder = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
                    waited = f"waited {self._patience:g} s"
                    raise LockedError(
                        f"{self._path}: held by process {holder} ({waited}); nothing was changed"
                    ) from None
                sleep(0.02)
            else:
                return

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        os.close(self._handle)


def _encode(record: Record) -> statefile.Fields:
    item = record.item
    fields = (str(getattr(item, name)) for name in item._fields)
    return (record.owner, record.origin, str(record.index), _NAMES[type(item)], *fields)


def _decode(fields: statefile.Fields) -> Record:
    """The record of one line. Raises DamagedError: the checksum was right, so another program wrote it."""
    try:
        owner, origin, index, kind, *values = fields
        names = _KINDS[kind]._fields
        if len(values) != len(names) or origin not in (CONFIG, COMMAND, LEAVING):
            raise ValueError
        pairs = zip(names, values)
        item = _KINDS[kind](**{name: int(value) if name in _NUMBERS else value for name, value in pairs})
        return Record(owner, origin, int(index), item)
    except (ValueError, KeyError) as wrong:
        raise statefile.DamagedError(f"damaged: a record that makes no sense: {' '.join(fields)[:80]!r}") from wrong
