"""What is known of a node, and what an event may delete from it: the values of every manager's module."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.doctor.node_files import NodeFiles
from ec2ident_agent.install.layout import ROWS
from ec2ident_agent.items import Address, Route, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ec2ident_agent.desired import Refusal, Unknown
    from ec2ident_agent.effect import Taken
    from ec2ident_agent.items import Item, Link, Observed
    from ec2ident_agent.notes import Note
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
    """One event that deletes some of the agent's items. `spared` names the setting that prevents it already."""

    who: str
    event: str
    items: tuple[Item, ...]
    prevent: str
    spared: str = ""
    #: Which program adds them again; empty if none does.
    back: str = ""
    fixes: tuple[DropIn, ...] = ()
    #: The command after which the setting counts.
    then: str = ""
    #: False if none of the items is on the node now: then this is about the time after they are applied.
    there: bool = True

    @property
    def state(self) -> str:
        """PREVENTED by a setting, RETURNS because the watch or a hook repairs it, or OPEN."""
        return PREVENTED if self.spared else RETURNS if self.back else OPEN


class NodeView(Value):
    """What is known of a node: its files, what it should have, and what is there."""

    files: NodeFiles
    items: tuple[Item, ...]
    observed: Observed
    #: Those of `items` that are not on the node now.
    missing: frozenset[Item] = frozenset()
    #: Paths that `install` has written.
    installed: frozenset[str] = frozenset()
    overlays: tuple[Overlay, ...] = ()
    profiles: tuple[Profile, ...] = ()
    #: Owners with an unknown fact: their items are not among `items`, but for those that are on the node.
    unknown: tuple[Unknown, ...] = ()
    #: Owners with a configuration that would harm another interface: the same holds for their items.
    refusals: tuple[Refusal, ...] = ()
    #: Packets that the kernel sends another way than the items say.
    taken: tuple[Taken, ...] = ()
    #: Interfaces that nothing serves, and addresses of an ENI that are on no interface.
    notes: tuple[Note, ...] = ()

    def of(self, kind: type[T], device: str = "") -> tuple[T, ...]:
        """The agent's items of this kind; with `device`, those on that device."""
        return tuple(
            item
            for item in self.items
            if isinstance(item, kind) and (not device or getattr(item, "device", "") == device)
        )

    def on(self, device: str) -> tuple[Item, ...]:
        """The addresses and routes of a device."""
        return (*self.of(Address, device), *self.of(Route, device))

    def devices(self) -> list[Link]:
        """The links of the items, as far as they exist."""
        names = dict.fromkeys(getattr(item, "device", "") for item in self.items)
        return [link for link in map(self.observed.link, filter(None, names)) if link]

    def back(self, manager: str = "") -> str:
        """Which program adds again what was deleted: watch, else this manager's hook."""
        if self.files.enabled(WATCH):
            return "watch adds them again within a second"
        rows = ROWS[manager].rows if manager else ()
        return "its hook adds them again" if any(row.path in self.installed for row in rows) else ""


def by_hook(who: str, event: str, items: tuple[Item, ...], view: NodeView, manager: str) -> Threat:
    """A threat that no setting prevents; the manager's own hook, or watch, adds the items again."""
    prevent = "no setting; ec2ident-agent install adds the hook and watch, which add them again"
    return Threat(who, event, items, prevent, back=view.back(manager))
