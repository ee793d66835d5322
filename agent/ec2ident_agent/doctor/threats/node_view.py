"""What is known of a node, and what an event may take from it: the values that every manager's module speaks."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.doctor.node_files import NodeFiles
from ec2ident_agent.install.layout import ROWS
from ec2ident_agent.items import Address, Route, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ec2ident_agent.items import Item, Link, Observed
    from ec2ident_agent.profile import Overlay, Profile

    T = TypeVar("T", Address, Route, Rule)

WATCH = "ec2ident-agent-watch.service"

OPEN, RETURNS, PREVENTED = "open", "returns", "prevented"


class DropIn(Value):
    """A file that prevents something, and what else it does when that is more than to spare foreign objects."""

    path: str
    content: str
    costs: str = ""


class Threat(Value):
    """One event that takes some of ours away. `spared` names the setting that is in force already."""

    who: str
    event: str
    items: tuple[Item, ...]
    prevent: str
    spared: str = ""
    #: Who lays them again; empty: nobody would notice.
    back: str = ""
    fixes: tuple[DropIn, ...] = ()
    #: What makes the setting count.
    then: str = ""

    @property
    def state(self) -> str:
        return PREVENTED if self.spared else RETURNS if self.back else OPEN


class NodeView(Value):
    """What is known: the node, what it should have, and what is there."""

    files: NodeFiles
    items: tuple[Item, ...]
    observed: Observed
    #: Paths that `install` laid.
    laid: frozenset[str] = frozenset()
    overlays: tuple[Overlay, ...] = ()
    profiles: tuple[Profile, ...] = ()

    def of(self, kind: type[T], device: str = "") -> tuple[T, ...]:
        return tuple(
            item
            for item in self.items
            if isinstance(item, kind) and (not device or getattr(item, "device", "") == device)
        )

    def on(self, device: str) -> tuple[Item, ...]:
        """What hangs on a device."""
        return (*self.of(Address, device), *self.of(Route, device))

    def devices(self) -> list[Link]:
        """The links that ours hang on and that are there."""
        names = dict.fromkeys(getattr(item, "device", "") for item in self.items)
        return [link for link in map(self.observed.link, filter(None, names)) if link]

    def back(self, manager: str = "") -> str:
        """Who lays again what was taken away: watch, else this manager's hook."""
        if self.files.enabled(WATCH):
            return "watch lays them again within a second"
        rows = ROWS[manager].rows if manager else ()
        return "its hook lays them again" if any(row.path in self.laid for row in rows) else ""


def by_hook(who: str, event: str, items: tuple[Item, ...], view: NodeView, manager: str) -> Threat:
    """What its own hook, or watch, lays again, and no setting prevents."""
    prevent = "no setting; ec2ident-agent install lays the hook and watch, which lay them again"
    return Threat(who, event, items, prevent, back=view.back(manager))
