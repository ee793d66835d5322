"""What revert took off and the configuration still asks for: watch and hooks leave it off until the next apply.

Otherwise `revert eth1` would last for a tenth of a second while watch runs, and the hook of an interface that goes down
would fight with it. An apply, by hand or at boot, makes it wished again; so does another device in place of the one
that was there, which has another index. The profile of a link that is down is not laid anyway, and is laid when that
comes up, whoever reverted it meanwhile: hooks may hear late of a flap.

The hook of an interface that comes up makes its own profile wished again, and nothing else: its neighbour may be going
down, and an overlay address that a cluster let go of may live on another node by now.
"""

from __future__ import annotations

import os

from ec2ident.value import replace
from ec2ident_agent.errors import JournalError
from ec2ident_agent.items import Route
from ec2ident_agent.show import log

from . import statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ec2ident_agent.engine import Wish
    from ec2ident_agent.items import Link, Observed

    from .journal import Journal, State

KIND, VERSION = "ec2ident-withdrawn", 1


def path(journal: Journal) -> str:
    return os.path.join(journal.directory, "withdrawn")


def read(journal: Journal) -> dict[str, int]:
    """Owner -> index of the device that it was about. A file that cannot be read says nothing."""
    try:
        data = statefile.read(path(journal))
        return {owner: int(index) for owner, index in statefile.unpack(KIND, VERSION, data)} if data else {}
    except (OSError, ValueError):
        return {}


def add(journal: Journal, state: State, observed: Observed, owners: Collection[str] | None) -> None:
    """These owners (None: all) are about to be reverted. The caller holds the lock.

    Where that cannot be written they are reverted all the same, and it is said.
    """
    down = {link.index for link in observed.links if not link.up}
    mine = [record for record in state.records if record.index and (owners is None or record.owner in owners)]
    waiting = {record.owner for record in mine if isinstance(record.item, Route) and record.index in down}
    off = {record.owner: record.index for record in mine if record.owner not in waiting}
    try:
        _write(journal, {**read(journal), **off})
    except JournalError as failed:
        log(f"ec2ident-agent: {failed}; watch will lay again what is reverted now")


def drop(journal: Journal, owners: Collection[str] | None) -> None:
    """These owners (None: all) are wished again. The caller holds the lock. Raises JournalError."""
    there = read(journal)
    if there:
        _write(journal, {} if owners is None else {o: index for o, index in there.items() if o not in owners})


def lift(journal: Journal, link: Link | None) -> None:
    """The profile of this link is wished again. The caller holds the lock. Raises JournalError."""
    if link:
        drop(journal, {o for o, index in read(journal).items() if index == link.index and not o.startswith("overlay ")})


def without(wishes: Iterable[Wish], journal: Journal, observed: Observed) -> list[Wish]:
    """The wishes, with nothing for an owner who was withdrawn and whose device is still there."""
    there = {link.index for link in observed.links}
    off = {owner for owner, index in read(journal).items() if index in there}
    return [replace(wish, items=()) if wish.owner in off else wish for wish in wishes]


def _write(journal: Journal, owners: Mapping[str, int]) -> None:
    if owners == read(journal):
        return
    lines = ((owner, str(index)) for owner, index in owners.items())
    try:
        if owners:
            statefile.write(path(journal), statefile.pack(KIND, VERSION, lines))
        else:
            os.unlink(path(journal))
    except OSError as failed:
        raise JournalError(f"{path(journal)}: cannot be written: {failed.strerror}") from failed
