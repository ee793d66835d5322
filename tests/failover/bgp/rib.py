"""What a route server knows (RIB) and what it forwards by (FIB), of the paths that its endpoints hear. Pure.

"How Amazon VPC Route Server works" (Amazon VPC User Guide): received routes are in the RIB; the FIB has the best of
each prefix; routes of a device that is gone are withdrawn. "Create a route server": with persist routes enabled, routes
stay when *all* sessions have ended, and for 1 to 5 minutes after one is back.

Assumed: AWS does not say it:

- The shorter AS path wins, then the lower MED, whichever the neighbours' AS is. Of paths equal in both the one that
  came first stays, as in FRR and other routers.
- While routes persist, a kept path and a heard one compete like any two paths; a path heard from the same peer takes
  the kept one's place. If all sessions end again within that time, it begins anew with the next session.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Path(NamedTuple):
    """One prefix as one peer announced it to one endpoint. A path without a MED counts as 0 (RFC 4271, 9.1.2.2)."""

    prefix: str
    peer: str
    endpoint: str
    as_path: tuple[int, ...] = ()
    med: int = 0

    @property
    def source(self) -> tuple[str, str, str]:
        """A second path from the same source takes the place of the first."""
        return self.prefix, self.peer, self.endpoint


class Rib:
    """The paths, in the order in which they came. `persist`: seconds, 0 for "disabled"."""

    def __init__(self, persist: float = 0.0) -> None:
        self.persist = persist
        self._paths: dict[tuple[str, str, str], Path] = {}
        #: What stays although no session vouches for it, and until when; None while there is no session.
        self._kept: frozenset[tuple[str, str, str]] = frozenset()
        self._until: float | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(self._paths.values())

    def hear(self, heard: Iterable[Path], sessions: int, now: float) -> None:
        """All that the endpoints have heard of the peers with a session, the number of sessions, and the time."""
        live = {path.source: path for path in heard} if sessions else {}
        if not sessions and self.persist:
            self._kept, self._until = frozenset(self._paths), None
        elif self._kept and self._until is None:
            self._until = now + self.persist
        if self._until is not None and now >= self._until:
            self._kept, self._until = frozenset(), None
        self._kept -= live.keys()
        stay = {source: path for source, path in self._paths.items() if source in self._kept or source in live}
        # A path that changed keeps its age: an update does not make it younger.
        self._paths = {**stay, **live}

    def fib(self) -> dict[str, Path]:
        """The best path of each prefix."""
        best: dict[str, Path] = {}
        for path in self._paths.values():
            other = best.get(path.prefix)
            if other is None or _rank(path) < _rank(other):
                best[path.prefix] = path
        return best


def _rank(path: Path) -> tuple[int, int]:
    return len(path.as_path), path.med
