"""What revert took off and the configuration still asks for: watch leaves it off until the next apply.

Otherwise `revert eth1` would last for a tenth of a second while watch runs, and the hook of an interface that goes down
would fight with it. An apply, by hand, at boot, or by the hook of an interface that comes up, makes it wished again; so
does another device in place of the one that was there, which has another index.
"""

from __future__ import annotations

import os

from . import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .journal import Journal, State

KIND, VERSION = "ec2ident-withdrawn", 1


def path(journal: Journal) -> str:
    return os.path.join(journal.directory, "withdrawn")


def read(journal: Journal) -> dict[str, int]:
    """Owner -> index of the device that it was about. A file that cannot be read says nothing."""
    try:
        data = records.read(path(journal))
        return {owner: int(index) for owner, index in records.unpack(KIND, VERSION, data)} if data else {}
    except (OSError, ValueError):
        return {}


def add(journal: Journal, state: State, owners: Collection[str] | None) -> None:
    """These owners (None: all) are about to be reverted. The caller holds the lock. Raises OSError."""
    mine = {record.owner: 0 for record in state.records if owners is None or record.owner in owners}
    for record in state.records:
        if record.owner in mine:
            mine[record.owner] = max(mine[record.owner], record.index)
    _write(journal, {**read(journal), **{owner: index for owner, index in mine.items() if index}})


def drop(journal: Journal, owners: Collection[str] | None) -> None:
    """These owners (None: all) are wished again. The caller holds the lock. Raises OSError."""
    there = read(journal)
    if there:
        _write(journal, {} if owners is None else {o: index for o, index in there.items() if o not in owners})


def _write(journal: Journal, owners: Mapping[str, int]) -> None:
    if owners == read(journal):
        return
    if owners:
        lines = ((owner, str(index)) for owner, index in owners.items())
        records.write(path(journal), records.pack(KIND, VERSION, lines))
    else:
        os.unlink(path(journal))
