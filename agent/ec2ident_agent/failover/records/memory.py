"""What moves of a service changed on the way, so that a release can put it back.

One small file a service in `/run/ec2ident/failover`, written before the change. It is gone after a reboot, like the
overlay addresses. Nothing else depends on it: without the file a release puts back nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Fields = tuple[str, ...]

#: How many fields of a record name what was changed; the others say what it was.
KEYS = {"check": 2, "restored": 2, "record": 4}

_KIND, _VERSION = "ec2ident-failover-memory", 1


class Memory:
    """The records of one service. Without a directory nothing outlasts the action."""

    def __init__(self, directory: str = "", service: str = "") -> None:
        self._directory, self._name = directory, quoted(service)
        self._records: dict[Fields, Fields] = self._read(self._name)

    def _read(self, name: str) -> dict[Fields, Fields]:
        """The records of a file; none if it is missing, damaged or unreadable: unknown puts back nothing."""
        from ec2ident_agent.state import statefile

        if not self._directory:
            return {}
        try:
            data = statefile.read(os.path.join(self._directory, name))
            found = statefile.unpack(_KIND, _VERSION, data) if data is not None else []
        except (statefile.DamagedError, OSError):
            return {}
        return {row[: KEYS[row[0]]]: row[KEYS[row[0]] :] for row in found if row and len(row) > KEYS.get(row[0], 99)}

    def all(self, kind: str) -> Iterator[tuple[Fields, Fields]]:
        """The records of one kind: what was changed, and what it was."""
        yield from [(key[1:], value) for key, value in self._records.items() if key[0] == kind]

    def get(self, *key: str) -> Fields | None:
        """What a record says, None if there is none."""
        return self._records.get(key)

    def note(self, key: Fields, value: Fields) -> None:
        """Remember, in place of an earlier record of the same key. Raises OSError."""
        if self._records.get(key) != value:
            self._records[key] = value
            self._write()

    def forget(self, *key: str) -> None:
        """Drop a record. If the file cannot be written, the record stays: a release then puts back what is back."""
        if self._records.pop(key, None) is not None:
            try:
                self._write()
            except OSError:
                return

    def clear(self) -> None:
        """Drop all records. Raises OSError."""
        self._records.clear()
        self._write()

    def hand_over(self, other: str, key: Fields, value: Fields) -> None:
        """Give a record to another service, which was found by `others`. Raises OSError."""
        there = Memory(self._directory)
        there._name, there._records = other, there._read(other)
        there.note(key, value)
        self.forget(*key)

    def others(self, *key: str) -> list[str]:
        """The other services of this node that have a record of the same key."""
        try:
            names = os.listdir(self._directory) if self._directory else []
        except OSError:
            return []
        return sorted(name for name in names if name != self._name and key in self._read(name))

    def _write(self) -> None:
        from ec2ident_agent.state import statefile

        if not self._directory:
            return
        path = os.path.join(self._directory, self._name)
        if not self._records:
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
            return
        statefile.make_directory(self._directory)
        rows = [key + value for key, value in self._records.items()]
        statefile.write(path, statefile.pack(_KIND, _VERSION, rows))


#: The longest name of a file that is made of a service's name, in bytes; the kernel's limit is 255.
LONGEST_NAME = 200


def quoted(name: str) -> str:
    """A name as the name of a file, in ASCII: the locale of a cron job or of a cluster engine may have nothing else.

    Of a long name the end is its hash. Pure.
    """
    octets = name.encode("utf-8", "surrogateescape")
    plain = "".join(chr(c) if c < 128 and (chr(c).isalnum() or c in b"-_") else f"%{c:02x}" for c in octets)
    if len(plain) > LONGEST_NAME:
        import hashlib

        plain = plain[: LONGEST_NAME - 64] + hashlib.sha256(octets).hexdigest()
    return f"service-{plain}"
