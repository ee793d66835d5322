"""The journal: the items that the agent owns. An item is written down before the kernel is asked to add it, and struck
out after it is removed.

One file in the state directory (`/run/ec2ident/`, which a reboot empties, as it empties the kernel's tables). Each
write replaces the whole file in one step, under a lock that ends with the process that holds it. A journal that cannot
be read is refused and never taken for an empty one: the items that it names would be forgotten for ever.
"""

from __future__ import annotations

import os

from ec2ident.value import made
from ec2ident_agent.errors import JournalError, LockedError
from ec2ident_agent.items import Address, Route, Rule, TableName

from . import statefile
from .owned import ADOPTING, COMMAND, CONFIG, INTERFACE, LEAVING, OVERLAY, Owner, Record, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

STATE_DIRECTORY = "/run/ec2ident"
KIND, VERSION = "ec2ident-journal", 3
#: A journal of this version is read too, so that an upgrade forgets nothing: its routes have no mtu and no advmss.
BEFORE = 2

_KINDS: dict[str, Any] = {"name": TableName, "address": Address, "route": Route, "rule": Rule}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_NUMBERS = {"number", "table", "metric", "mtu", "advmss", "priority", "suppress"}
#: Each kind's class, its fields in order, and those that are numbers.
_SHAPES: dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]] = {
    kind: (cls, cls._fields, tuple(each for each in cls._fields if each in _NUMBERS)) for kind, cls in _KINDS.items()
}
_ADDED = {"mtu", "advmss"}
_ORIGINS = {CONFIG, COMMAND, LEAVING, ADOPTING}


class Journal:
    """The file. `read` needs no lock, because each write replaces the whole file; `write` needs it."""

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "journal")

    def read(self) -> State:
        """All that is owned; nothing when there is no file.

        Raises JournalError for a file that makes no sense, or in a directory that other users may write.
        """
        owners: dict[tuple[str, str], Owner] = {}
        _check(self.directory)
        try:
            data = statefile.read(self.path)
            version = BEFORE if data and data.startswith(b"%s %d\n" % (KIND.encode(), BEFORE)) else VERSION
            lines = [] if data is None else statefile.unpack(KIND, version, data)
            return State(tuple(_decode(line, owners) for line in lines))
        except statefile.DamagedError as damaged:
            raise JournalError(f"{self.path}: {damaged}; {_ADVICE}") from damaged
        except OSError as failed:
            raise JournalError(f"{self.path}: {failed.strerror}") from failed

    def write(self, state: State) -> None:
        """Replace the journal; remove it when nothing is owned. Raises JournalError."""
        try:
            if state.records:
                statefile.write(self.path, statefile.pack(KIND, VERSION, map(_encode, state.records)))
            elif os.path.exists(self.path):
                os.unlink(self.path)
        except OSError as failed:
            raise JournalError(f"{self.path}: cannot be written: {failed.strerror}") from failed

    def lock(self, patience: float = 10.0, name: str = "lock") -> Lock:
        """Hold the node for one verb, waiting at most `patience` seconds for another process to finish.

        Another `name` is another lock: "watch" is held by the one process that watches the node.
        """
        return Lock(self.directory, name, patience)


_ADVICE = (
    "nothing was changed. Restore it; or remove it and run apply, which enters what is there and configured;"
    " revert --all then names what is left over"
)


def _check(directory: str) -> None:
    """Raises JournalError for a state directory in which another user could replace files."""
    try:
        statefile.check_directory(directory)
    except statefile.DamagedError as wrong:
        raise JournalError(f"{directory}: {wrong}") from wrong
    except OSError as failed:
        raise JournalError(f"{directory}: {failed.strerror}") from failed


class Lock:
    """An exclusive flock on the lock file, which names the holder's process. It ends with that process."""

    def __init__(self, directory: str, name: str, patience: float) -> None:
        self._directory, self._path, self._patience = directory, os.path.join(directory, name), patience
        self._handle = -1

    def __enter__(self) -> Lock:
        self._open()
        while not os.fstat(self._handle).st_nlink:
            # An uninstall removed the file while this process waited for it. Other processes now use a new one.
            os.close(self._handle)
            self._open()
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # A full disk: the lock is held all the same; the number in it is only for messages.
        return self

    def _open(self) -> None:
        """Make the file if there is none, and lock it. Raises JournalError, LockedError."""
        try:
            statefile.make_directory(self._directory)
            _check(self._directory)
            # Mode 0600: any user who can open a file can lock it, and would then block every hook.
            # O_NONBLOCK: the name may be a device's.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._handle = os.open(self._path, flags, 0o600)
        except OSError as failed:
            hint = " (needs root)" if isinstance(failed, PermissionError) else ""
            raise JournalError(f"{failed.filename or self._path}: {failed.strerror}{hint}") from failed
        try:
            self._check_file()
            self._wait()
        except BaseException:
            os.close(self._handle)
            raise

    def _check_file(self) -> None:
        """The process number is written into it: never into a file that has another name too. Raises JournalError."""
        found = os.fstat(self._handle)
        try:
            statefile.check_regular(found)
        except statefile.DamagedError as wrong:
            raise JournalError(f"{self._path}: {wrong}; remove it") from wrong
        if found.st_nlink > 1:
            raise JournalError(f"{self._path}: a hard link, the file has {found.st_nlink} names; remove it")

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
    owner = record.owner
    return (owner.kind, owner.name, record.origin, str(record.index), _NAMES[type(item)], *fields)


def _decode(fields: statefile.Fields, owners: dict[tuple[str, str], Owner]) -> Record:
    """The record of one line. Raises DamagedError: the checksum was right, so another program wrote it.

    `owners` keeps one value for each owner, since many lines name the same one.
    """
    try:
        owner_kind, name, origin, index, kind, *values = fields
        cls, names, numbers = _SHAPES[kind]
        owner = owners.get((owner_kind, name))
        if owner is None and owner_kind in (INTERFACE, OVERLAY):
            owner = owners[owner_kind, name] = Owner(owner_kind, name)
        short = len(values) < len(names)
        if short:
            names, numbers = (tuple(each for each in some if each not in _ADDED) for some in (names, numbers))
        if len(values) != len(names) or owner is None or origin not in _ORIGINS:
            raise ValueError
        read: dict[str, Any] = dict(zip(names, values))
        for each in numbers:
            read[each] = int(read[each])
        item = cls(**read) if short else made(cls, read)
        return made(Record, {"owner": owner, "origin": origin, "index": int(index), "item": item})
    except (ValueError, KeyError) as wrong:
        raise statefile.DamagedError(f"damaged: a record that makes no sense: {' '.join(fields)[:80]!r}") from wrong
