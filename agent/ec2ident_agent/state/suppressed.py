"""Owners that were reverted by hand while the configuration asks for them: suppressed until the next apply.

Without this list `revert eth1` would last for a tenth of a second while watch runs, and watch would work against the
hook of an interface that goes down. An owner is suppressed together with the index of its device, so another device in
its place, which has another index, is not. These end it:

- an apply, by hand or at boot;
- for an interface's own profile, the hook of that interface when it comes up. The hook lifts nothing else: the
  neighbour's interface may be going down, and an overlay address that a cluster released may be on another node by now.

The profile of a link that is down is not suppressed: it is not applied anyway until the link comes up, and then it
should be, because a hook may report a short loss of the link late.
"""

from __future__ import annotations

import os

from ec2ident_agent.errors import JournalError
from ec2ident_agent.items import Route

from . import statefile
from .owned import INTERFACE, OVERLAY, Owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ec2ident_agent.items import Observed

    from .owned import State

    #: Owner -> index of its device.
    Suppressed = Mapping[Owner, int]

KIND, VERSION = "ec2ident-suppressed", 1


def with_reverted(
    before: Suppressed, owners: Collection[Owner] | None, state: State, observed: Observed
) -> dict[Owner, int]:
    """The list when these owners (None: all) are reverted. Pure."""
    down = {link.index for link in observed.links if not link.up}
    mine = [record for record in state.records if record.index and (owners is None or record.owner in owners)]
    waiting = {record.owner for record in mine if isinstance(record.item, Route) and record.index in down}
    return {**before, **{record.owner: record.index for record in mine if record.owner not in waiting}}


def without(before: Suppressed, owners: Collection[Owner] | None) -> dict[Owner, int]:
    """The list when these owners (None: all) are applied. Pure."""
    return {} if owners is None else {owner: index for owner, index in before.items() if owner not in owners}


def without_profiles_on(before: Suppressed, index: int) -> dict[Owner, int]:
    """The list when the interface with this index comes up. Pure."""
    return {owner: at for owner, at in before.items() if at != index or owner.kind != INTERFACE}


def in_force(suppressed: Suppressed, observed: Observed) -> frozenset[Owner]:
    """The owners with the same device as when they were reverted. Pure."""
    there = {link.index for link in observed.links}
    return frozenset(owner for owner, index in suppressed.items() if index in there)


class SuppressedFile:
    """The list in the state directory. The caller of `write` holds the lock."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "suppressed")

    def read(self) -> dict[Owner, int]:
        """The list; an empty one where the file is missing or makes no sense: then the configuration counts."""
        try:
            data = statefile.read(self.path)
            rows = statefile.unpack(KIND, VERSION, data) if data else []
            return {Owner(kind, name): int(index) for kind, name, index in rows if kind in (INTERFACE, OVERLAY)}
        except (OSError, ValueError):
            return {}

    def write(self, before: Suppressed, after: Suppressed) -> None:
        """Replace the list that was read; nothing is written when it is the same. Raises JournalError."""
        if before == after:
            return
        lines = ((owner.kind, owner.name, str(index)) for owner, index in after.items())
        try:
            if after:
                statefile.write(self.path, statefile.pack(KIND, VERSION, lines))
            else:
                os.unlink(self.path)
        except OSError as failed:
            raise JournalError(f"{self.path}: cannot be written: {failed.strerror}") from failed
